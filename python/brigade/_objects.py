"""Python objects as messages: `send_object` and `recv_object`.

An object is pickled with protocol 5. The pickle goes first, and then each buffer that it has
(the bytes of a NumPy array, of a `pyarrow.Buffer`, ...), as messages of their own: so large
buffers are copied once, into blocks, and not at all on the other side if they fit into one.

    pickle | u64 length of each buffer | u32 number of buffers | b"BRO1"
"""

from __future__ import annotations

import pickle
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._brigade import DataBlock, Reader, Writer

#: The `kind` of blocks with a pickle, and with one of its buffers.
OBJECT = 0xFF02
BUFFER = 0xFF03

_FOOT = struct.Struct("<I4s")
_MAGIC = b"BRO1"


def send_object(reader: Reader, obj: Any, *, tag: int = 0, timeout: float | None = None) -> None:
    """Sends what can be pickled.

    `timeout`, in seconds, limits the wait for the first block; what is begun is sent. Raises
    what pickling does, and then nothing was sent; and what `empty_block` does.
    """
    buffers: list[memoryview] = []
    pickled = pickle.dumps(obj, protocol=5, buffer_callback=lambda made: buffers.append(made.raw()))
    lengths = struct.pack(f"<{len(buffers)}Q", *(view.nbytes for view in buffers))
    message = b"".join((pickled, lengths, _FOOT.pack(len(buffers), _MAGIC)))
    reader.send_message(message, tag=tag, kind=OBJECT, timeout=timeout)
    for view in buffers:
        if view.nbytes:
            reader.send_message(view, tag=tag, kind=BUFFER)


def recv_object(
    writer: Writer, timeout: float | None = None, *, max_bytes: int = 1 << 32
) -> Any:
    """The next object; `EOFError` at the end of the data.

    **To unpickle is to run what the sender says**: a partner of another user is refused
    (`PermissionError`), and one of this user must be trusted.

    Buffers that came in one block are not copied: arrays are read-only, and the block goes back
    when nothing of it is left. While more than half of the blocks are out like this, they are
    copied. `timeout`, in seconds, limits the wait for the beginning. Raises `ValueError` if what
    comes is no object or has more than `max_bytes`, and what `data_block` does.
    """
    if not writer.partner.is_own_user:
        raise PermissionError("an object of another user's could run what that user wants")
    block = writer.data_block(timeout)
    if block is None:
        raise EOFError("the data has ended")
    message = memoryview(_gather(writer, block, OBJECT, max_bytes))
    if len(message) < _FOOT.size:
        raise _broken("it has no end")
    count, magic = _FOOT.unpack_from(message, len(message) - _FOOT.size)
    end = len(message) - _FOOT.size - 8 * count
    if magic != _MAGIC or end < 0:
        raise _broken("it has no end")
    lengths = struct.unpack_from(f"<{count}Q", message, end)
    if sum(lengths) + end > max_bytes:
        raise ValueError(f"an object of {sum(lengths) + end} bytes; the most is {max_bytes}")
    buffers = [_buffer(writer, length) for length in lengths]
    return pickle.loads(message[:end], buffers=buffers)


def _buffer(writer: Writer, length: int) -> Any:
    if not length:
        return b""
    block = writer.data_block()
    if block is None or block.kind != BUFFER:
        raise _broken("a buffer is missing")
    if not block.more and len(block) == length and writer.held * 2 <= writer.block_count:
        return block
    gathered = _gather(writer, block, BUFFER, length)
    if len(gathered) != length:
        raise _broken(f"{len(gathered)} bytes for a buffer of {length}")
    return memoryview(gathered).toreadonly()


def _gather(writer: Writer, first: DataBlock, kind: int, most: int) -> bytearray:
    """The bytes of a message; its blocks are given back."""
    gathered = bytearray()
    block: DataBlock | None = first
    while True:
        if block is None or block.kind != kind:
            raise _broken("it ends too early" if gathered else f"a block of kind {block and block.kind}")
        if len(block) > most - len(gathered):
            raise ValueError(f"more than {most} bytes")
        with memoryview(block) as view:
            gathered += view
        more = block.more
        block.done()
        if not more:
            return gathered
        block = writer.data_block()


def _broken(why: str) -> ValueError:
    return ValueError(f"what came is no object of brigade's: {why}")
