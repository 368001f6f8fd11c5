"""Python objects as messages: `send_object` and `recv_object`.

An object is pickled with protocol 5. The pickle goes first, and then each buffer that it has
(the bytes of a NumPy array, of a `pyarrow.Buffer`, ...), as messages of their own: so large
buffers are copied once, into blocks, and not at all on the other side if they fit into one.

    pickle | u64 length of each buffer | u32 number of buffers | b"BRO1"
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from . import _steps

if TYPE_CHECKING:
    from ._brigade import DataBlock, Reader, Writer

#: The `kind` of blocks with a pickle, and with one of its buffers.
OBJECT = 0xFF02
BUFFER = 0xFF03

_FOOT = struct.Struct("<I4s")
_MAGIC = b"BRO1"


def sent(obj: Any, room: int, tag: int) -> Iterator[_steps.Part]:
    """An object, in blocks with `room`."""
    buffers: list[memoryview] = []
    pickled = pickle.dumps(obj, protocol=5, buffer_callback=lambda made: buffers.append(made.raw()))
    lengths = struct.pack(f"<{len(buffers)}Q", *(view.nbytes for view in buffers))
    message = b"".join((pickled, lengths, _FOOT.pack(len(buffers), _MAGIC)))
    yield from _steps.parts(memoryview(message), room, OBJECT, tag)
    for view in buffers:
        if view.nbytes:
            yield from _steps.parts(view, room, BUFFER, tag)


def received(writer: Writer, max_bytes: int) -> _steps.Receiving[Any]:
    """An object that comes."""
    block = yield
    if block is None:
        raise EOFError("the data has ended")
    message = memoryview((yield from _gathered(block, OBJECT, max_bytes)))
    del block
    if len(message) < _FOOT.size:
        raise _broken("it has no end")
    count, magic = _FOOT.unpack_from(message, len(message) - _FOOT.size)
    end = len(message) - _FOOT.size - 8 * count
    if magic != _MAGIC or end < 0:
        raise _broken("it has no end")
    lengths = struct.unpack_from(f"<{count}Q", message, end)
    if sum(lengths) + end > max_bytes:
        raise ValueError(f"an object of {sum(lengths) + end} bytes; the most is {max_bytes}")
    buffers = []
    for length in lengths:
        buffers.append((yield from _buffer(writer, length)) if length else b"")
    try:
        return pickle.loads(message[:end], buffers=buffers)
    except (pickle.UnpicklingError, EOFError) as error:
        # Not the end of the data.
        raise _broken("it cannot be unpickled") from error


def _buffer(writer: Writer, length: int) -> _steps.Receiving[Any]:
    block = yield
    if block is None or block.kind != BUFFER:
        raise _broken("a buffer is missing")
    if not block.more and len(block) == length and writer.held * 2 <= writer.block_count:
        return block
    gathered = yield from _gathered(block, BUFFER, length)
    if len(gathered) != length:
        raise _broken(f"{len(gathered)} bytes for a buffer of {length}")
    return memoryview(gathered).toreadonly()


def _gathered(block: DataBlock | None, kind: int, most: int) -> _steps.Receiving[bytearray]:
    """The bytes of a message that begins with `block`; its blocks are given back."""
    gathered = bytearray()
    while True:
        if block is None or block.kind != kind:
            raise _broken("it ends too early" if gathered else f"a block of kind {block and block.kind}")
        if len(block) > most - len(gathered):
            raise ValueError(f"more than {most} bytes")
        if block.more and not len(block):
            raise _broken("a part of it is empty")
        with memoryview(block) as view:
            gathered += view
        more = block.more
        block.done()
        if not more:
            return gathered
        block = yield


def send_object(reader: Reader, obj: Any, *, tag: int = 0, timeout: float | None = None) -> None:
    """Sends what can be pickled.

    `timeout`, in seconds, limits the wait for the first block; what is begun is sent, or the session
    is given up. Raises what pickling does, and then nothing was sent; and what `empty_block` does.
    """
    _steps.send(reader, sent(obj, reader.block_size, tag), timeout)


def recv_object(
    writer: Writer, timeout: float | None = None, *, max_bytes: int = 1 << 32
) -> Any:
    """The next object; `EOFError` at the end of the data.

    **To unpickle is to run what the sender says**: a partner of another user is refused
    (`PermissionError`), and one of this user must be trusted.

    Buffers that came in one block are not copied: arrays are read-only, and the block goes back
    when nothing of it is left. While more than half of the blocks are out like this, they are
    copied. `timeout`, in seconds, limits the wait for the beginning; who is interrupted later gets the
    object by the next call. Raises `ValueError` if what comes is no object or has more than
    `max_bytes`, and what `data_block` does.
    """
    check(writer)
    return _steps.receive(writer, received, timeout, max_bytes)


def check(writer: Writer) -> None:
    """That the partner may say what runs here."""
    if not writer.partner.is_own_user:
        raise PermissionError("an object of another user's could run what that user wants")


def _broken(why: str) -> ValueError:
    return ValueError(f"what came is no object of brigade's: {why}")
