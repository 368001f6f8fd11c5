"""What passes in several blocks, told apart from how the blocks are waited for: the calls that
wait by blocking and those of `brigade.aio` take the same steps.

To receive is a generator that is given block after block, `None` at the end of the data, and returns
what came. To send is one that gives, for each block, what fills it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary, proxy

from ._errors import InvalidUse, TimedOut

if TYPE_CHECKING:
    from ._brigade import DataBlock, EmptyBlock, Reader, Writer

T = TypeVar("T")

Receiving = Generator[None, "DataBlock | None", T]


class Part(NamedTuple):
    """What goes in one block."""

    fill: Callable[[EmptyBlock], int]
    """Fills the block; how many bytes of it."""
    kind: int
    tag: int
    more: bool

    def send(self, block: EmptyBlock) -> None:
        block.send(self.fill(block), kind=self.kind, tag=self.tag, more=self.more)


def parts(data: memoryview, room: int, kind: int, tag: int = 0, more: bool = False) -> Iterator[Part]:
    """`data`, in as many blocks with `room` as it needs, one at least; `more` comes behind it."""
    for start in range(0, len(data), room) or (0,):
        piece = data[start : start + room]
        goes_on = more or start + room < len(data)
        yield Part(partial(_copy, piece), kind, tag, goes_on)


def _copy(piece: memoryview, block: EmptyBlock) -> int:
    return block.copy_from(piece)


class _Turn:
    """Who sends or receives in several blocks, keeps others out meanwhile."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.thread = 0


_turns: WeakKeyDictionary[Reader | Writer, _Turn] = WeakKeyDictionary()


@contextmanager
def turn(end: Reader | Writer, timeout: float | None = None) -> Iterator[None]:
    """Keeps other threads out, that would send or receive in several blocks, too."""
    mine = _turns.setdefault(end, _Turn())
    # A signal's handler, or what is pickled, may call the end, too.
    if mine.thread == threading.get_ident():
        raise InvalidUse("this thread is in a call of the same end already")
    if not mine.lock.acquire(timeout=-1 if timeout is None else min(max(timeout, 0), threading.TIMEOUT_MAX)):
        raise TimedOut("another thread is sending or receiving in several blocks")
    try:
        mine.thread = threading.get_ident()
        yield
    finally:
        mine.thread = 0
        mine.lock.release()


def send(reader: Reader, sent: Iterator[Part], timeout: float | None) -> None:
    """Sends all parts; `timeout` is for the first block. If that stops in the middle, the
    session is given up: the Writer could not tell what is missing."""
    with turn(reader, timeout):
        part: Part | None = next(sent)
        in_the_middle = False
        try:
            while part is not None:
                block = reader.empty_block(None if in_the_middle else timeout)
                following = next(sent, None)
                # Before it is sent: who is interrupted then cannot know whether it was.
                in_the_middle = in_the_middle or following is not None
                part.send(block)
                part = following
        except BaseException:
            if in_the_middle:
                reader.abort(BROKEN_OFF)
            raise


BROKEN_OFF = "something in several blocks was broken off"

#: What an interrupted call has begun to receive, for the next one.
_begun: WeakKeyDictionary[Writer, Receiving[Any]] = WeakKeyDictionary()


if hasattr(os, "register_at_fork"):
    # Threads that had a turn are not in the child.
    os.register_at_fork(after_in_child=_turns.clear)


def begin(
    writer: Writer, what: Callable[..., Receiving[T]], *arguments: Any
) -> tuple[Receiving[T], bool]:
    """The steps to receive, and whether they go on where a call was interrupted."""
    begun = _begun.pop(writer, None)
    if begun is None:
        # A weak one: what was begun must not keep the Writer.
        steps = what(proxy(writer), *arguments)
        next(steps)
        return steps, False
    if begun.gi_code is not what.__code__:  # type: ignore[attr-defined]
        _begun[writer] = begun
        raise ValueError("a call was interrupted in the middle of something else, which comes first")
    return begun, True


def interrupted(writer: Writer, steps: Receiving[Any], begun: bool) -> None:
    """A call is, while it waits for a block."""
    if begun:
        _begun[writer] = steps


def receive(
    writer: Writer, what: Callable[..., Receiving[T]], timeout: float | None, *arguments: Any
) -> T:
    """What comes; `timeout` is for the first block."""
    with turn(writer, timeout):
        steps, begun = begin(writer, what, *arguments)
        while True:
            try:
                block = writer.data_block(None if begun else timeout)
            except BaseException:
                interrupted(writer, steps, begun)
                raise
            try:
                steps.send(block)
            except StopIteration as came:
                return came.value  # type: ignore[no-any-return]
            # Else it could not be given back yet.
            del block
            begun = True
