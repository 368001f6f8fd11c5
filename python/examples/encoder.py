"""An encoder that is slower than its camera and wants the newest frame.

    python python/examples/encoder.py my-camera 300

Its camera is camera.py, c/examples/camera.c, or the example `camera` of the Rust library.
"""

import sys
import time

import brigade

FRAME = 640 * 480

# The kinds of the encoder's letters,
KEY_FRAME_PLEASE, KEY_FRAME_SEEN, STOP = 1, 2, 3
# and of the camera's blocks.
PLAIN_FRAME, KEY_FRAME = 0, 1


def encode(frame: brigade.DataBlock) -> None:
    """This would be the encoding."""
    with memoryview(frame) as pixels:
        assert pixels == bytes([frame.tag % 256]) * FRAME, f"frame {frame.tag} is torn"
    time.sleep(0.005)


def record(writer: brigade.Writer, frames: int) -> None:
    encoded = skipped = key_frames = 0
    last_number = -1
    is_key_wanted = False
    while encoded < frames or is_key_wanted:
        if encoded % 30 == 0 and encoded < frames:
            writer.post(b"", KEY_FRAME_PLEASE)
            is_key_wanted = True
        frame = writer.newest_block()
        if frame is None:
            raise EOFError("the camera has stopped")
        skipped += frame.skipped
        # At the end of `with` the block goes back.
        with frame:
            encode(frame)
            assert frame.tag > last_number, "frames only get newer"
            last_number = frame.tag
            if is_key_wanted and frame.kind == KEY_FRAME:
                writer.post(b"", KEY_FRAME_SEEN)
                is_key_wanted = False
                key_frames += 1
        encoded += 1
    writer.post(b"", STOP)
    skipped += sum(1 for _ in writer)
    delivered = writer.finish().blocks
    print(f"encoder: {encoded} frames encoded, {skipped} skipped, {key_frames} key frames")
    assert key_frames > 0
    assert encoded + skipped == delivered


if not 2 <= len(sys.argv) <= 3:
    sys.exit("encoder.py NAME [FRAMES]")
frames = int(sys.argv[2]) if len(sys.argv) == 3 else 300
with brigade.join(sys.argv[1], side="writer", block_size=FRAME, block_count=32) as writer:
    record(writer, frames)
