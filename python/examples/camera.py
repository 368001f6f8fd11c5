"""A camera that never waits: where there is no empty block, it drops the frame.

    python python/examples/camera.py my-camera

Its encoder is encoder.py, c/examples/encoder.c, or the example `camera` of the Rust library; this one serves
all of them.
"""

import sys
import time

import brigade

FRAME = 640 * 480

# The kinds of the encoder's letters,
KEY_FRAME_PLEASE, KEY_FRAME_SEEN, STOP = 1, 2, 3
# and of the camera's blocks.
PLAIN_FRAME, KEY_FRAME = 0, 1


def letter(reader: brigade.Reader) -> brigade.Letter | None:
    """A letter, if one is there."""
    try:
        return reader.letter(timeout=0)
    except brigade.TimedOut:
        return None


def empty_block(reader: brigade.Reader) -> brigade.EmptyBlock | None:
    """An empty block, if one is there."""
    try:
        return reader.empty_block(timeout=0)
    except brigade.TimedOut:
        return None


def record(reader: brigade.Reader) -> None:
    made = dropped = 0
    kind = PLAIN_FRAME
    while True:
        while (wish := letter(reader)) is not None:
            if wish.kind == STOP:
                sent = reader.finish().blocks
                print(f"camera: {made} frames made, {sent} sent, {dropped} dropped")
                assert made == sent + dropped
                return
            kind = KEY_FRAME if wish.kind == KEY_FRAME_PLEASE else PLAIN_FRAME
        if (block := empty_block(reader)) is not None:
            # What has a `readinto` would get the view.
            with memoryview(block) as frame:
                frame[:] = bytes([made % 256]) * FRAME
            block.send(tag=made, kind=kind)
        else:
            dropped += 1
        made += 1
        time.sleep(0.001)


if len(sys.argv) != 2:
    sys.exit("camera.py NAME")
# More blocks than frames are made while one is encoded: the newest always finds room.
with brigade.join(sys.argv[1], side="reader", block_size=FRAME, block_count=32) as reader:
    record(reader)
