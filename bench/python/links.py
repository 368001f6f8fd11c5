"""Ways to pass arrays of bytes from one Python process to another.

Each link has two halves, in two processes. Both are given what `prepare` makes: what
the processes share, and what can be sent to a child process. `fill` copies `source`
into the link again and again and ends the stream when `until` says so; `drain` copies
each array out into `target` and yields for each, when that was, unless it is now. Every wait ends: on a deadline, or with
the child process, which has one for all that it does.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing import shared_memory
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.uint8]
# Whether it is time to end.
Until = Callable[[], bool]
# Called by each half when it is ready, returns when both are.
Meet = Callable[[], None]

# What may be under way at once, in bytes, where that can be chosen: more than a processor's own
# cache, and less than what processors share, so that no rival waits for the memory.
UNDER_WAY = 4 << 20


def slots_of(size: int) -> int:
    """How many arrays of `size` bytes may be under way."""
    return min(max(UNDER_WAY // size, 2), 16)

# How long a half waits for the other, in seconds.
PATIENCE = 20.0

_spawn = multiprocessing.get_context("spawn")


class Brigade:
    """Blocks of brigade, filled and drained where they are."""

    def prepare(self, size: int) -> Any:
        import brigade  # noqa: F401

        return f"bench-{uuid.uuid4()}"

    def _options(self, size: int) -> dict[str, Any]:
        return {"block_size": size, "block_count": slots_of(size), "timeout": PATIENCE}

    def fill(self, name: Any, source: Array, until: Until, meet: Meet) -> None:
        import brigade

        size = source.nbytes
        reader = brigade.join(name, side="reader", **self._options(size))
        meet()
        while not until():
            with reader.empty_block(timeout=PATIENCE) as block:
                np.copyto(np.frombuffer(block, np.uint8), source)
                block.send(size)
        reader.finish(timeout=PATIENCE)

    def drain(self, name: Any, target: Array, meet: Meet) -> Iterator[float | None]:
        import brigade

        writer = brigade.join(name, side="writer", **self._options(target.nbytes))
        meet()
        while (block := writer.data_block(timeout=PATIENCE)) is not None:
            with block:
                np.copyto(target, np.frombuffer(block, np.uint8))
            yield None
        writer.finish()


class BrigadeCopies(Brigade):
    """The same blocks; brigade's own methods copy."""

    def fill(self, name: Any, source: Array, until: Until, meet: Meet) -> None:
        import brigade

        reader = brigade.join(name, side="reader", **self._options(source.nbytes))
        meet()
        while not until():
            reader.send(source)
        reader.finish(timeout=PATIENCE)

    def drain(self, name: Any, target: Array, meet: Meet) -> Iterator[float | None]:
        import brigade

        writer = brigade.join(name, side="writer", **self._options(target.nbytes))
        meet()
        while writer.recv_into(target, timeout=PATIENCE) is not None:
            yield None
        writer.finish()


class BrigadeAsyncio(Brigade):
    """The same, awaited."""

    def fill(self, name: Any, source: Array, until: Until, meet: Meet) -> None:
        asyncio.run(self._fill(name, source, until, meet))

    def drain(self, name: Any, target: Array, meet: Meet) -> Iterator[float | None]:
        yield from asyncio.run(self._drain(name, target, meet))

    async def _fill(self, name: Any, source: Array, until: Until, meet: Meet) -> None:
        from brigade import aio

        reader = await aio.join(name, side="reader", **self._options(source.nbytes))
        meet()
        while not until():
            block = await reader.empty_block()
            block.copy_from(source)
            block.send()
        await reader.finish()

    async def _drain(self, name: Any, target: Array, meet: Meet) -> list[float]:
        from brigade import aio

        writer = await aio.join(name, side="writer", **self._options(target.nbytes))
        meet()
        times = []
        async for block in writer:
            block.copy_to(target)
            times.append(time.monotonic())
        writer.finish()
        return times


class SharedMemory:
    """A ring of slots in `multiprocessing.shared_memory`; queues pass their numbers."""

    def prepare(self, size: int) -> Any:
        count = slots_of(size)
        memory = shared_memory.SharedMemory(create=True, size=count * size)
        free, sent = _spawn.Queue(), _spawn.Queue()
        for slot in range(count):
            free.put(slot)
        return memory, free, sent

    def fill(self, shared: Any, source: Array, until: Until, meet: Meet) -> None:
        memory, free, sent = shared
        size = source.nbytes
        slots = [np.ndarray(size, np.uint8, memory.buf, size * i) for i in range(slots_of(size))]
        meet()
        while not until():
            slot = free.get(timeout=PATIENCE)
            np.copyto(slots[slot], source)
            sent.put(slot)
        sent.put(None)
        # The queue's thread passes it on, and ends.
        sent.close()
        sent.join_thread()
        slots.clear()
        memory.close()

    def drain(self, shared: Any, target: Array, meet: Meet) -> Iterator[float | None]:
        memory, free, sent = shared
        size = target.nbytes
        slots = [np.ndarray(size, np.uint8, memory.buf, size * i) for i in range(slots_of(size))]
        meet()
        while (slot := sent.get(timeout=PATIENCE)) is not None:
            np.copyto(target, slots[slot])
            free.put(slot)
            yield None
        slots.clear()
        free.cancel_join_thread()
        memory.close()
        memory.unlink()


class Pipe:
    """`multiprocessing.Pipe`, with the methods that copy least."""

    def prepare(self, size: int) -> Any:
        return _spawn.Pipe(duplex=False)

    def fill(self, ends: Any, source: Array, until: Until, meet: Meet) -> None:
        _, sender = ends
        meet()
        with sender:
            while not until():
                sender.send_bytes(source)
            # What ends the stream: the other half has a copy of this end, too.
            sender.send_bytes(b"")

    def drain(self, ends: Any, target: Array, meet: Meet) -> Iterator[float | None]:
        receiver, sender = ends
        meet()
        sender.close()
        with receiver:
            while receiver.recv_bytes_into(target) != 0:
                yield None


class Arrow:
    """A stream of Arrow's record batches, through a pipe."""

    def prepare(self, size: int) -> Any:
        import pyarrow  # noqa: F401

        return _spawn.Pipe(duplex=False)

    def fill(self, ends: Any, source: Array, until: Until, meet: Meet) -> None:
        import pyarrow as pa

        column = pa.Array.from_buffers(pa.uint8(), source.nbytes, [None, pa.py_buffer(source)])
        batch = pa.record_batch([column], names=["bytes"])
        with closing(ends[1]), open(os.dup(ends[1].fileno()), "wb") as sink:
            meet()
            with pa.ipc.new_stream(sink, batch.schema) as writer:
                while not until():
                    writer.write_batch(batch)

    def drain(self, ends: Any, target: Array, meet: Meet) -> Iterator[float | None]:
        import pyarrow as pa

        receiver, sender = ends
        with closing(receiver), open(os.dup(receiver.fileno()), "rb") as stream:
            meet()
            sender.close()
            for batch in pa.ipc.open_stream(stream):
                np.copyto(target, batch.column(0).to_numpy())
                yield None


class Iceoryx2:
    """Samples of iceoryx2 0.10, loaned and filled where they are; waits as its own
    benchmark does: it looks again and again."""

    has_events = False

    def prepare(self, size: int) -> Any:
        import iceoryx2  # noqa: F401

        return f"bench-{uuid.uuid4()}"

    def _services(self, name: str, size: int) -> tuple[Any, Any, Any]:
        import ctypes

        import iceoryx2 as iox2

        iox2.set_log_level(iox2.LogLevel.Error)
        node = iox2.NodeBuilder.new().create(iox2.ServiceType.Ipc)
        samples = (
            node.service_builder(iox2.ServiceName.new(name))
            .publish_subscribe(iox2.Slice[ctypes.c_uint8])
            .payload_alignment(iox2.Alignment.new(64))
            .max_publishers(1)
            .max_subscribers(1)
            .history_size(0)
            .subscriber_max_buffer_size(slots_of(size))
            .enable_safe_overflow(False)
            .open_or_create()
        )
        events = node.service_builder(iox2.ServiceName.new(name)).event().open_or_create()
        return node, samples, events

    def fill(self, name: Any, source: Array, until: Until, meet: Meet) -> None:
        import iceoryx2 as iox2

        _node, samples, events = self._services(name, source.nbytes)
        publisher = (
            samples.publisher_builder()
            .initial_max_slice_len(source.nbytes)
            .allocation_strategy(iox2.AllocationStrategy.Static)
            .backpressure_strategy(iox2.BackpressureStrategy.RetryUntilDelivered)
            .create()
        )
        notifier = events.notifier_builder().create() if self.has_events else None

        def send(data: Array) -> None:
            sample = publisher.loan_slice_uninit(data.nbytes)
            np.copyto(np.frombuffer(sample.payload().as_memory_view(), np.uint8), data)
            sample.assume_init().send()
            if notifier is not None:
                notifier.notify()

        meet()
        # What finds no subscriber that has connected is lost.
        meet()
        while not until():
            send(source)
        # A short one ends the stream. What was sent is there as long as this process is.
        send(source[:1])
        meet()

    def drain(self, name: Any, target: Array, meet: Meet) -> Iterator[float | None]:
        _node, samples, events = self._services(name, target.nbytes)
        subscriber = samples.subscriber_builder().create()
        listener = events.listener_builder().create() if self.has_events else None
        meet()
        # Connects.
        subscriber.has_samples()
        meet()
        while True:
            sample = self._receive(subscriber, listener)
            data = np.frombuffer(sample.payload().as_memory_view(), np.uint8)
            if data.nbytes < target.nbytes:
                break
            np.copyto(target, data)
            # Given back at once, not with the next one.
            del data
            sample.delete()
            yield None
        meet()

    def _receive(self, subscriber: Any, listener: Any) -> Any:
        while (sample := subscriber.receive()) is None:
            pass
        return sample


class Iceoryx2Events(Iceoryx2):
    """The same; waits for events, as its example for event-based communication does."""

    has_events = True

    def _receive(self, subscriber: Any, listener: Any) -> Any:
        import iceoryx2 as iox2

        while (sample := subscriber.receive()) is None:
            listener.timed_wait(iox2.Duration.from_millis(100))
        return sample


LINKS: dict[str, Any] = {
    "brigade": Brigade,
    "brigade-copies": BrigadeCopies,
    "brigade-asyncio": BrigadeAsyncio,
    "shared-memory": SharedMemory,
    "pipe": Pipe,
    "arrow": Arrow,
    "iceoryx2": Iceoryx2,
    "iceoryx2-events": Iceoryx2Events,
}
