"""Samples of a wave, which numpy computes right into blocks. Whoever sums them up is c/examples/waves.c.

    pip install numpy
    python python/examples/waves.py my-waves 100

The last thing is a letter with the sum, as numpy has it. If the other process has found another one, it gives
up, and here is the exception for that.
"""

import struct
import sys

import brigade
import numpy as np

SAMPLES = 65536  # of a block
RATE = 48000.0  # of them are a second
TOTAL = 1  # the kind of the letter


def produce(reader: brigade.Reader, blocks: int) -> None:
    total = 0.0
    for number in range(blocks):
        first = number * SAMPLES
        block = reader.empty_block()
        wave = np.frombuffer(block, "f8")
        np.sin(np.arange(first, first + SAMPLES) * (2 * np.pi * 440 / RATE), out=wave)
        wave += 1
        total += wave.sum()
        # No array may see a block that is sent.
        del wave
        block.send(tag=first)
    reader.post(struct.pack("=Qd", blocks * SAMPLES, total), TOTAL)
    reader.finish()
    print(f"waves: {blocks * SAMPLES} samples, whose sum is {total:.6f}")


if not 2 <= len(sys.argv) <= 3:
    sys.exit("waves.py NAME [BLOCKS]")
blocks = int(sys.argv[2]) if len(sys.argv) == 3 else 100
with brigade.join(sys.argv[1], side="reader", block_size=8 * SAMPLES) as reader:
    produce(reader, blocks)
