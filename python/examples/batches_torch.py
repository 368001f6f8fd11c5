"""Batches for PyTorch: a worker process loads and augments them, right into blocks of brigade, and the training
loop has them as tensors where they lie. Beside it the same with PyTorch's own DataLoader and its worker process.

    pip install torch
    python python/examples/batches_torch.py 4

runs so many epochs with each, in turn, and says how many batches a second it were. Both give the same batches,
so the models must be the same in the end. Then each worker is killed in the middle of an epoch, which the loop
gets to know by an exception.
"""

import os
import signal
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator

import brigade
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

Batch = tuple[torch.Tensor, torch.Tensor]  # the labels, and the images

BATCH = 64
SIDE = 96
IMAGES = 40 * BATCH
IMAGE = (3, SIDE, SIDE)
CLASSES = 8

# A batch in a block: the labels, and then the images from the next multiple of 64 bytes on.
LABEL_BYTES = 8 * BATCH
BLOCK = LABEL_BYTES + 4 * BATCH * 3 * SIDE * SIDE

# The kind of an epoch's last block, and of the letters to the worker: it shall load an epoch, or end.
LAST = 1
EPOCH, STOP = 1, 2


class Pictures(Dataset[Batch]):
    """Noise over one of a few patterns, which is to be told. Each epoch has other crops of the same images."""

    def __init__(self) -> None:
        source = torch.Generator().manual_seed(1)
        self.labels = torch.randint(CLASSES, (IMAGES,), generator=source)
        small = torch.randint(0, 256, (CLASSES, 3, 4, 4), generator=source).float()
        patterns = torch.nn.functional.interpolate(small, SIDE + 8)
        noise = torch.rand((CLASSES, 3, SIDE + 8, SIDE + 8), generator=source) * 128
        self.images = (patterns / 2 + noise).byte()

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, number: int) -> Batch:
        """The image of this number, which says also in which epoch: one has `IMAGES` of them."""
        label = self.labels[number % IMAGES]
        chance = torch.Generator().manual_seed(number)
        x, y, is_flipped = torch.randint(8, (3,), generator=chance).tolist()
        image = self.images[label, :, y : y + SIDE, x : x + SIDE]
        return label, (image.flip(2) if is_flipped % 2 else image).float().div_(255)


class Shuffled(Sampler[int]):
    """The numbers of one epoch after the other."""

    def __init__(self) -> None:
        self.epoch = 0

    def __len__(self) -> int:
        return IMAGES

    def __iter__(self) -> Iterator[int]:
        chance = torch.Generator().manual_seed(self.epoch)
        order = torch.randperm(IMAGES, generator=chance) + self.epoch * IMAGES
        self.epoch += 1
        return iter(order.tolist())


def tensors(block: brigade.EmptyBlock | brigade.DataBlock) -> Batch:
    """A batch where it lies. As long as these, or parts of them, are there, the block does not go."""
    with warnings.catch_warnings():
        # One that has come is read-only, which tensors cannot say.
        warnings.filterwarnings("ignore", "The given buffer is not writable")
        labels = torch.frombuffer(block, dtype=torch.int64, count=BATCH)
        images = torch.frombuffer(block, dtype=torch.float32, offset=LABEL_BYTES)
    return labels, images.view(BATCH, *IMAGE)


def work(reader: brigade.Reader) -> None:
    """The worker: an epoch for each letter."""
    torch.set_num_threads(1)
    dataset, shuffled = Pictures(), Shuffled()
    while (letter := reader.letter()) is not None and letter.kind == EPOCH:
        numbers = list(shuffled)
        for first in range(0, IMAGES, BATCH):
            samples = [dataset[number] for number in numbers[first : first + BATCH]]
            block = reader.empty_block()
            labels, images = tensors(block)
            torch.stack([label for label, _ in samples], out=labels)
            torch.stack([image for _, image in samples], out=images)
            # No tensor may see a block that is sent.
            del labels, images
            block.send(kind=LAST if first + BATCH == IMAGES else 0)


class Worker:
    """A worker process, and what it loads: an epoch each time it is iterated over."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", __file__, "--worker"]
        self.child, self.writer = brigade.invite(
            command, side="writer", block_size=BLOCK, block_count=4, timeout=60
        )

    def __iter__(self) -> Iterator[Batch]:
        self.writer.post(b"", EPOCH)
        is_last = False
        while not is_last:
            block = self.writer.data_block()
            if block is None:
                raise EOFError("the worker has ended")
            is_last = block.kind == LAST
            yield tensors(block)

    def close(self) -> None:
        self.writer.post(b"", STOP)
        assert self.writer.data_block() is None
        self.writer.finish()
        assert self.child.wait(60) == 0


def dataloader() -> DataLoader[Batch]:
    """The same, by PyTorch's means."""
    return DataLoader(
        Pictures(),
        BATCH,
        sampler=Shuffled(),
        num_workers=1,
        prefetch_factor=4,
        persistent_workers=True,
    )


class Model:
    """A small one, so that loading is what takes time."""

    def __init__(self) -> None:
        torch.manual_seed(2)
        self.pool = torch.nn.AvgPool2d(SIDE // 4)
        self.linear = torch.nn.Linear(3 * 4 * 4, CLASSES)
        self.optimizer = torch.optim.Adam(self.linear.parameters(), 0.02)

    def train(self, batches: Iterable[Batch]) -> float:
        """One epoch; its mean loss."""
        losses = []
        for labels, images in batches:
            told = self.linear(self.pool(images).flatten(1))
            loss = torch.nn.functional.cross_entropy(told, labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        return statistics.mean(losses)


def kill_in_the_middle(batches: Iterable[Batch], pid: Callable[[], int]) -> Exception:
    """What the loop gets when the worker dies."""
    try:
        for number, _ in enumerate(batches):
            if number == 3:
                os.kill(pid(), signal.SIGTERM)
    except (brigade.PartnerDied, RuntimeError) as error:
        return error
    raise AssertionError("nobody noticed")


def main(epochs: int) -> None:
    torch.set_num_threads(1)
    worker, loader = Worker(), dataloader()
    sources: dict[str, Iterable[Batch]] = {"brigade": worker, "DataLoader": loader}
    models = {name: Model() for name in sources}
    rates: dict[str, list[float]] = {name: [] for name in sources}
    losses: dict[str, list[float]] = {name: [] for name in sources}
    for epoch in range(epochs):
        for name, batches in sources.items():
            start = time.perf_counter()
            losses[name].append(models[name].train(batches))
            rates[name].append(IMAGES / BATCH / (time.perf_counter() - start))
            print(f"epoch {epoch}, {name}: loss {losses[name][-1]:.4f}, {rates[name][-1]:.1f} batches/s")
    assert losses["brigade"] == losses["DataLoader"], "not the same batches"
    assert losses["brigade"][-1] < losses["brigade"][0], "nothing was learned"
    # The first epoch has the start of DataLoader's worker in it.
    medians = {name: statistics.median(rate[1:] or rate) for name, rate in rates.items()}
    for name, rate in medians.items():
        print(f"{name}: {rate:.1f} batches/s, {rate * BLOCK / 1e6:.0f} MB/s")

    worker.close()
    killed = Worker()
    for name, batches, pid in [
        ("brigade", killed, lambda: killed.child.pid),
        ("DataLoader", loader, lambda: loader._iterator._workers[0].pid),
    ]:
        error = kill_in_the_middle(batches, pid)
        print(f"{name}, its worker killed: {type(error).__name__}: {error}")
    killed.child.wait(60)


if __name__ == "__main__":
    if sys.argv[1:] == ["--worker"]:
        with brigade.accept(side="reader", block_size=BLOCK, block_count=4) as reader:
            work(reader)
    elif len(sys.argv) <= 2:
        main(int(sys.argv[1]) if len(sys.argv) == 2 else 4)
    else:
        sys.exit("batches_torch.py [EPOCHS]")
