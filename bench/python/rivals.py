"""How many bytes a second cross from one Python process to another.

    pip install -r bench/python/requirements.txt    # and brigade's own package
    python bench/python/rivals.py [--rounds N] [--seconds S] [--sizes BYTES...] [LINK...]
    python bench/python/rivals.py --run LINK BYTES SECONDS

One process copies a numpy array into the link, the other copies it out into an array of
its own. The rivals take turns within each round, and ratios are taken round by round:
what else the machine does then hits them alike. A rival that is not installed is named and
skipped. The second form is a single run, for `bench/run`, which has a rotation of its own: it
prints bytes per second.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np

from links import LINKS, PATIENCE, Array

SIZES = [4 << 10, 64 << 10, 1 << 20, 6_000_000]
# A ratio of medians settles slowly: with fewer rounds it is a hint at best.
ROUNDS = 7
# After so many arrays, who sends looks at the clock.
ARRAYS_A_LOOK = 16
# Exit status of a run whose rival is not installed.
NOT_INSTALLED = 77


def data(size: int) -> Array:
    """Bytes that look different at each place, as far as that goes."""
    return np.random.default_rng(size).integers(0, 256, size, np.uint8)


def meet(partner: Any) -> None:
    """Returns when the other process has called this, too."""
    partner.send(None)
    if not partner.poll(PATIENCE):
        raise TimeoutError("the other process is not ready")
    partner.recv()


def fill(name: str, shared: Any, size: int, seconds: float, partner: Any) -> None:
    """Sends for so many seconds; runs in a process of its own."""
    count = 0
    end = float("inf")

    def has_met() -> None:
        nonlocal end
        meet(partner)
        end = time.monotonic() + seconds

    def until() -> bool:
        nonlocal count
        # Of a small array, the clock would be a good part.
        if count % ARRAYS_A_LOOK == 0 and time.monotonic() >= end:
            return True
        count += 1
        return False

    LINKS[name]().fill(shared, data(size), until, has_met)
    partner.send(count)


def run(name: str, size: int, seconds: float) -> float:
    """Bytes per second of one link, with arrays of `size` bytes, from the first that came to the last."""
    link = LINKS[name]()
    shared = link.prepare(size)
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    child = spawn.Process(target=fill, args=(name, shared, size, seconds, theirs), daemon=True)
    child.start()
    # The end of the child is then an error here.
    theirs.close()
    target = np.zeros(size, np.uint8)
    count = 0
    first = last = 0.0
    for when in link.drain(shared, target, lambda: meet(ours)):
        last = when or time.monotonic()
        first = first or last
        count += 1
    if not ours.poll(PATIENCE) or ours.recv() != count:
        raise RuntimeError(f"{name}: not all that was sent has come")
    child.join(PATIENCE)
    if count < 2 or not np.array_equal(target, data(size)):
        raise RuntimeError(f"{name}: what came is not what was sent")
    return (count - 1) * size / (last - first)


def measure(name: str, size: int, seconds: float) -> float | None:
    """[`run`] in a fresh process that does not outlive its time; None if it is not installed."""
    command = [sys.executable, __file__, "--run", name, str(size), str(seconds)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds + 3 * PATIENCE)
    if ran.returncode == NOT_INSTALLED:
        return None
    sys.stderr.write(ran.stderr)
    ran.check_returncode()
    return float(ran.stdout)


def quartiles(values: list[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.3f}"
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def table(names: list[str], size: int, rounds: int, seconds: float, against: str) -> None:
    rates: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        # Nobody is always the first.
        first = number % len(names)
        for name in names[first:] + names[:first]:
            if (rate := measure(name, size, seconds)) is not None:
                rates[name].append(rate)
    base = rates.get(against)
    print(f"\n{size} bytes\n{'':>16}  {'GB/s':>24}  {against + ' / this':>24}")
    for name, ours in rates.items():
        ratio = quartiles([a / b for a, b in zip(base, ours)]) if base and ours else ""
        speed = quartiles([value / 1e9 for value in ours]) if ours else "skipped: not installed"
        print(f"{name:>16}  {speed:>24}  {ratio:>24}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("links", nargs="*", metavar="LINK", help=f"of {', '.join(LINKS)}; all without one")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="BYTES")
    parser.add_argument("--against", default="brigade", metavar="LINK", help="what the ratios are of")
    parser.add_argument("--run", nargs=3, metavar=("LINK", "BYTES", "SECONDS"), help="one run")
    args = parser.parse_args()
    if args.run:
        name, size, seconds = args.run
        try:
            print(run(name, int(size), float(seconds)))
        except ModuleNotFoundError as error:
            print(error, file=sys.stderr)
            sys.exit(NOT_INSTALLED)
        return
    names = args.links or list(LINKS)
    if unknown := [name for name in names if name not in LINKS]:
        parser.error(f"unknown: {', '.join(unknown)}")
    print(f"{args.rounds} rounds in rotation of {args.seconds} s each; median (quartiles)")
    for size in args.sizes:
        table(names, size, args.rounds, args.seconds, args.against)


if __name__ == "__main__":
    main()
