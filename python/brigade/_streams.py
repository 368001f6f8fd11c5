"""Both ends as raw streams of bytes, for `io`, `shutil`, `tarfile` and the like. Several threads may use
one."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from . import _steps
from ._buffer import Buffer

if TYPE_CHECKING:
    from ._brigade import DataBlock, Reader, Writer


#: So many bytes are peeked at: more than a line has, and few, since they are copied.
_PEEKED = 512


class SendStream(io.RawIOBase):
    """Sends what is written, at once: each `write` in as many blocks as it needs, tagged with the offset
    in the stream. `io.BufferedWriter(stream, reader.block_size)` gathers small writes. To close it ends
    the stream and not the session."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._offset = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        self._checkClosed()
        with _steps.turn(self._reader), memoryview(data) as view, view.cast("B") as rest:
            size = self._reader.block_size
            for start in range(0, len(rest), size):
                with rest[start : start + size] as piece:
                    self._reader.send(piece, tag=self._offset)
                    self._offset += len(piece)
            return len(rest)

    def tell(self) -> int:
        return self._offset

    def _checkClosed(self) -> None:
        if self.closed:
            raise ValueError("write to a closed stream")


class ReceiveStream(io.RawIOBase):
    """Gives the blocks' bytes, one after the other. A block is given back when its last byte was read.
    What is left of a block when the stream is closed is given back unread."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._block: DataBlock | None = None
        self._rest = memoryview(b"")
        self._offset = 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._offset

    def peek(self, size: int = 1, /) -> bytes:
        """What comes next, some bytes of it, which stay there; waits as a read does. `readline`, and a loop over
        the lines, would ask for single bytes without it."""
        self._check_open()
        with _steps.turn(self._writer):
            return bytes(self._rest[:_PEEKED]) if self._has_rest() else b""

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("read of a closed stream")

    def _has_rest(self) -> bool:
        """Waits for it; false at the end of the data."""
        # An empty block is not the end.
        while not self._rest:
            self._let_go()
            self._block = self._writer.data_block()
            if self._block is None:
                return False
            self._rest = memoryview(self._block)
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        self._check_open()
        with _steps.turn(self._writer), memoryview(buffer) as view, view.cast("B") as room:
            if not room or not self._has_rest():
                return 0
            count = min(len(room), len(self._rest))
            room[:count] = self._rest[:count]
            self._rest, read = self._rest[count:], self._rest
            read.release()
            self._offset += count
            if not self._rest:
                self._let_go()
            return count

    def _let_go(self) -> None:
        self._rest.release()
        self._rest = memoryview(b"")
        block, self._block = self._block, None
        if block is not None:
            block.done()

    def close(self) -> None:
        if not self.closed:
            self._let_go()
        super().close()
