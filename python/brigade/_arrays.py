"""NumPy arrays as blocks: `send_array` and `recv_array`.

An array that fits goes in one block: its bytes in C order, then the *header*. One that does
not fit goes in several: the header in a block of its own, then the bytes, in blocks that are
full but for the last. All but the last block of an array say that more comes.

    header:  JSON {"descr": ..., "shape": [...]} | u32 length of the JSON | b"BRA1"

`descr` is what NumPy's own file format has. So each array can be read without those before it,
also after a takeover, and the bytes begin where a block does, on 4096 bytes.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from . import _steps

if TYPE_CHECKING:
    import numpy as np

    from ._brigade import DataBlock, EmptyBlock, Reader, Writer

#: The `kind` of a block that belongs to an array.
ARRAY = 0xFF01

_MAGIC = b"BRA1"
_FOOT = struct.Struct("<I4s")

# A header that is longer is none.
_HEADER_MAX = 1 << 16


@lru_cache(maxsize=256)
def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    from numpy.lib.format import dtype_to_descr

    if dtype.hasobject:
        raise TypeError("an array of Python objects has no bytes to send; see send_object")
    told = json.dumps({"descr": dtype_to_descr(dtype), "shape": shape}).encode("ascii")
    if len(told) > _HEADER_MAX:
        raise ValueError(f"the dtype has a description of {len(told)} bytes; the most is {_HEADER_MAX}")
    return told + _FOOT.pack(len(told), _MAGIC)


@lru_cache(maxsize=256)
def _parse(told: bytes) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
    """The dtype, the shape, the number of items and of bytes."""
    from numpy.lib.format import descr_to_dtype

    try:
        header = json.loads(told)
        dtype = descr_to_dtype(_tuples(header["descr"]))
        shape = tuple(header["shape"])
    except Exception as error:
        raise _broken("its header cannot be read") from error
    if dtype.hasobject or len(shape) > 64 or any(type(length) is not int or length < 0 for length in shape):
        raise _broken("its header cannot be")
    count = math.prod(shape)
    return dtype, shape, count, count * dtype.itemsize


def _tuples(descr: Any) -> Any:
    """JSON has lists only; a dtype with fields is a list of tuples, and so are its shapes, and a
    field's title with its name."""
    if not isinstance(descr, list):
        return descr
    return [tuple(_field(part) for part in field) for field in descr]


def _field(part: Any) -> Any:
    if not isinstance(part, list):
        return part
    is_descr = any(isinstance(field, list) for field in part)
    return _tuples(part) if is_descr else tuple(part)


def _broken(why: str) -> ValueError:
    return ValueError(f"what came is no array of brigade's: {why}")


def sent(array: Any, room: int, tag: int) -> Iterator[_steps.Part]:
    """An array, in blocks with `room`."""
    import numpy as np

    array = np.asarray(array)
    header = _header(array.dtype, array.shape)
    size: int = array.nbytes
    if len(header) > room:
        raise ValueError(f"blocks of {room} bytes are too small for the header, {len(header)} bytes")
    if size + len(header) <= room:

        def fill(block: EmptyBlock) -> int:
            if array.flags.c_contiguous:
                block.copy_from(_bytes(array))
            else:
                to = np.frombuffer(block, array.dtype, array.size).reshape(array.shape)
                np.copyto(to, array)
            block.copy_from(header, size)
            return size + len(header)

        yield _steps.Part(fill, ARRAY, tag, False)
        return
    yield from _steps.parts(memoryview(header), room, ARRAY, tag, more=True)
    yield from _steps.parts(memoryview(_bytes(np.ascontiguousarray(array))), room, ARRAY, tag)


def _bytes(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The array's, in C order: of many dtypes, dates for instance, NumPy gives no buffer otherwise."""
    import numpy as np

    return array.reshape(-1).view(np.uint8) if array.nbytes else np.empty(0, np.uint8)


def received(writer: Writer) -> _steps.Receiving[np.ndarray[Any, Any] | None]:
    """An array that comes."""
    import numpy as np

    block = yield
    if block is None:
        return None
    told, size = _foot(block)
    dtype, shape, count, nbytes = _parse(told)
    if not block.more:
        if size != nbytes:
            raise _broken(f"{size} bytes for an array of {nbytes}")
        return _array(writer, block, dtype, shape, count)
    if size or not nbytes:
        raise _broken("it goes on behind its header")
    block.done()
    block = _checked((yield))
    if not block.more and len(block) == nbytes:
        return _array(writer, block, dtype, shape, count)
    # No more than comes: what the header says may be anything.
    data = bytearray()
    while True:
        if len(block) > nbytes - len(data):
            raise _broken("more bytes than its header says")
        if block.more and not len(block):
            raise _broken("a part of it is empty")
        with memoryview(block) as view:
            data += view
        more = block.more
        block.done()
        if not more:
            break
        block = _checked((yield))
    if len(data) != nbytes:
        raise _broken(f"{len(data)} bytes for an array of {nbytes}")
    return np.frombuffer(data, dtype).reshape(shape)


def send_array(reader: Reader, array: Any, *, tag: int = 0, timeout: float | None = None) -> None:
    """Sends an array, or what `numpy.asarray` makes one of; its bytes are copied.

    `timeout`, in seconds, limits the wait for the first block; what is begun is sent, or the session
    is given up. Raises `TypeError` for arrays of Python objects, and what `empty_block` does.
    """
    _steps.send(reader, sent(array, reader.block_size, tag), timeout)


def recv_array(writer: Writer, timeout: float | None = None) -> np.ndarray[Any, Any] | None:
    """The next array, or `None` at the end of the data.

    An array in one block is not copied: it is read-only, and the block goes back when neither
    it nor a view of it is left. While more than half of the blocks are out like this, arrays
    are copied instead, so that whoever keeps them all does not wait for ever. `timeout`, in
    seconds, limits the wait for the beginning; who is interrupted later gets the array by the next
    call. Raises `ValueError` if what comes is no array, and what `data_block` does.
    """
    return _steps.receive(writer, received, timeout)


def _foot(block: DataBlock) -> tuple[bytes, int]:
    """The JSON at a block's end, and what comes before it."""
    if block.kind != ARRAY:
        raise _broken(f"a block of kind {block.kind}")
    length = len(block)
    if length < _FOOT.size:
        raise _broken("it has no header")
    with memoryview(block) as view:
        told, magic = _FOOT.unpack_from(view, length - _FOOT.size)
        size = length - _FOOT.size - told
        if magic != _MAGIC or told > _HEADER_MAX or size < 0:
            raise _broken("it has no header")
        return bytes(view[size : size + told]), size


def _array(
    writer: Writer, block: DataBlock, dtype: np.dtype[Any], shape: tuple[int, ...], count: int
) -> np.ndarray[Any, Any]:
    import numpy as np

    if not count or not dtype.itemsize:
        block.done()
        try:
            return np.ndarray(shape, dtype, b"")
        except (ValueError, TypeError) as error:
            raise _broken("its shape cannot be") from error
    array = np.frombuffer(block, dtype, count).reshape(shape)
    if writer.held * 2 > writer.block_count:
        copy = array.copy()
        del array
        block.done()
        return copy
    return array


def _checked(block: DataBlock | None) -> DataBlock:
    """One of an array's, behind its header."""
    if block is None or block.kind != ARRAY:
        raise _broken("it ends before its bytes do")
    return block
