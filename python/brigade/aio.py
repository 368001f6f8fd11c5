"""brigade for asyncio: the same ends, whose waits are awaited.

    async with brigade.aio.join("frames") as end:
        async for block in end:
            ...

On Linux an end that waits is one more descriptor in the event loop, and there is no thread. On
Windows, whose event loop has no such call, a thread of the loop's executor waits for it. Joining
waits in a thread of its own everywhere.

Blocks are those of `brigade`. A wait that is cancelled takes nothing. Several tasks may wait for
one end, in one event loop.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import _arrays, _brigade, _objects, _steps
from ._brigade import BLOCKS, LETTERS, ROOM, VERDICT, DataBlock, EmptyBlock, Monitor
from ._errors import Error, TimedOut
from ._buffer import Buffer
from ._records import Delivered, Letter, Message, Partner

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Reader", "Writer", "join"]

_T = TypeVar("_T")
_E = TypeVar("_E", _brigade.Reader, _brigade.Writer)

#: So long an end looks before it sleeps, in seconds: about what a turn of the event loop costs.
_LOOK = 20e-6

#: An end that need not wait lets other tasks run when it has kept them from it for so long, in seconds...
_SHARE = 1e-3
#: ...which it looks at every so many calls, since to look takes time, too.
_CALLS = 8


class _End(Generic[_E]):
    """What both ends have."""

    def __init__(self, end: _E) -> None:
        """Takes an end of `brigade` over, which nobody else may use from now on."""
        self._end: _E = end
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn = asyncio.Lock()
        self._waiters: dict[asyncio.Future[None], int] = {}
        self._sleep = _Sleep(end, self._wake)
        self._calls = 0
        self._last_turn = 0.0

    def __repr__(self) -> str:
        return f"<brigade.aio.{type(self).__name__} of {self._end!r}>"

    @property
    def partner(self) -> Partner:
        return self._end.partner

    @property
    def monitor(self) -> Monitor:
        return self._end.monitor

    @property
    def epoch(self) -> int:
        return self._end.epoch

    @property
    def block_size(self) -> int:
        return self._end.block_size

    @property
    def block_count(self) -> int:
        return self._end.block_count

    @property
    def held(self) -> int:
        return self._end.held

    @property
    def delivered(self) -> Delivered:
        return self._end.delivered

    def check(self) -> None:
        """Raises what is wrong with the session, if anything is."""
        self._end.check()

    def abort(self, reason: str = "it was aborted", code: int = 0) -> None:
        self._end.abort(reason, code)

    async def post(self, data: Buffer, kind: int = 0, timeout: float | None = None) -> None:
        """Posts a letter, once there is room for it."""
        await self._when(ROOM, lambda limit: self._end.post(data, kind, limit), timeout)

    async def letter(self, timeout: float | None = None) -> Letter | None:
        """The partner's next letter; `None` if none can come any more."""
        return await self._when(LETTERS, self._end.letter, timeout)

    async def _when(
        self, interest: int, look: Callable[[float], _T], timeout: float | None
    ) -> _T:
        """What `look` finds, once it finds something."""
        self._calls += 1
        if self._calls >= _CALLS:
            await self._let_others_run()
        # A call that waits takes the rings that come meanwhile, also those for tasks that sleep.
        longest = 0 if self._waiters else _LOOK
        try:
            return look(longest if timeout is None else min(timeout, longest))
        except TimedOut:
            if timeout is not None and timeout <= _LOOK:
                raise
        try:
            async with asyncio.timeout(timeout):
                while True:
                    await self._wait(interest)
                    # Nothing is awaited behind this: so who is cancelled has taken nothing.
                    try:
                        return look(0)
                    except TimedOut:
                        continue
        except TimeoutError as error:
            if isinstance(error, Error):
                raise
            raise TimedOut("nothing came in time") from None

    async def _let_others_run(self) -> None:
        """A partner that keeps up never lets this end wait. Before anything is taken, so that it is not
        lost if this is cancelled."""
        self._calls = 0
        if time.monotonic() - self._last_turn > _SHARE:
            await asyncio.sleep(0)
            self._last_turn = time.monotonic()

    @contextlib.asynccontextmanager
    async def _alone(self, timeout: float | None) -> AsyncIterator[None]:
        """Who sends or receives in several blocks, keeps others out meanwhile."""
        self._move()
        turn = self._turn
        try:
            async with asyncio.timeout(timeout):
                await turn.acquire()
        except TimeoutError:
            raise TimedOut("another task is sending or receiving in several blocks") from None
        try:
            yield
        finally:
            turn.release()

    def _move(self) -> None:
        """To the loop that runs: those that waited in another one, which was closed perhaps, are
        not woken any more."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._sleep.end()
            self._waiters = {}
            self._loop, self._turn = loop, asyncio.Lock()

    async def _wait(self, interest: int) -> None:
        """Until there may be something to find."""
        self._move()
        waiter = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = interest
        try:
            wanted = 0
            for other in self._waiters.values():
                wanted |= other
            if self._end.arm(wanted):
                self._sleep.begin()
                await waiter
                self._calls, self._last_turn = 0, time.monotonic()
            else:
                self._wake()
        finally:
            self._waiters.pop(waiter, None)
            if not self._waiters:
                self._sleep.end()

    def _leave(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Tasks that wait find out that the end was left; its handle is closed then.
        self._move()
        self._wake()
        self._end.__exit__(kind, error, trace)

    def _wake(self) -> None:
        self._sleep.end()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()


class Reader(_End[_brigade.Reader]):
    """The end that fills blocks, as `brigade.Reader`."""

    async def empty_block(self, timeout: float | None = None) -> EmptyBlock:
        """A block to be filled and sent (`EmptyBlock.send` does not wait)."""
        return await self._when(BLOCKS, self._end.empty_block, timeout)

    async def send(
        self,
        data: Buffer,
        *,
        tag: int = 0,
        kind: int = 0,
        more: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Sends a copy of `data` in one block."""

        def look(limit: float) -> None:
            self._end.send(data, tag=tag, kind=kind, more=more, timeout=limit)

        await self._when(BLOCKS, look, timeout)

    async def send_message(
        self, data: Buffer, *, tag: int = 0, kind: int = 0, timeout: float | None = None
    ) -> None:
        """As `brigade.Reader.send_message`; `timeout` is for the first block."""
        view = memoryview(data).cast("B")
        await self._send(_steps.parts(view, self.block_size, kind, tag), timeout)

    async def send_array(self, array: Any, *, tag: int = 0, timeout: float | None = None) -> None:
        """As `brigade.send_array`."""
        await self._send(_arrays.sent(array, self.block_size, tag), timeout)

    async def send_object(self, obj: Any, *, tag: int = 0, timeout: float | None = None) -> None:
        """As `brigade.send_object`."""
        await self._send(_objects.sent(obj, self.block_size, tag), timeout)

    async def _send(self, sent: Iterator[_steps.Part], timeout: float | None) -> None:
        async with self._alone(timeout):
            part = next(sent)
            part.send(await self.empty_block(timeout))
            try:
                for part in sent:
                    part.send(await self.empty_block())
            except BaseException:
                self.abort(_steps.BROKEN_OFF)
                raise

    def close(self) -> None:
        """Says that no more data will come."""
        self._end.close()

    @property
    def closed(self) -> bool:
        return self._end.closed

    async def verdict(self, timeout: float | None = None) -> Delivered:
        """The Writer's verdict, after `close`."""
        return await self._when(VERDICT, self._end.verdict, timeout)

    async def finish(self, timeout: float | None = None) -> Delivered:
        """`close` and `verdict`."""
        self.close()
        return await self.verdict(timeout)

    async def __aenter__(self) -> Reader:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self.finish()
        else:
            self._leave(kind, error, trace)


class Writer(_End[_brigade.Writer]):
    """The end that drains blocks, as `brigade.Writer`; `async for` has them all."""

    async def data_block(self, timeout: float | None = None) -> DataBlock | None:
        """The next block; `None` at the end of the data."""
        return await self._when(BLOCKS, self._end.data_block, timeout)

    async def recv_into(self, buffer: Buffer, timeout: float | None = None) -> int | None:
        """As `brigade.Writer.recv_into`."""
        return await self._when(BLOCKS, lambda limit: self._end.recv_into(buffer, limit), timeout)

    async def newest_block(self, timeout: float | None = None) -> DataBlock | None:
        """The newest block; older ones are given back unread."""
        return await self._when(BLOCKS, self._end.newest_block, timeout)

    async def message(self, max_bytes: int, timeout: float | None = None) -> Message | None:
        """As `brigade.Writer.message`."""
        return await self._when(BLOCKS, lambda limit: self._end.message(max_bytes, limit), timeout)

    async def recv_array(self, timeout: float | None = None) -> np.ndarray[Any, Any] | None:
        """As `brigade.recv_array`."""
        return await self._receive(_arrays.received, timeout)

    async def recv_object(self, timeout: float | None = None, *, max_bytes: int = 1 << 32) -> Any:
        """As `brigade.recv_object`."""
        _objects.check(self._end)
        return await self._receive(_objects.received, timeout, max_bytes)

    async def _receive(
        self, what: Callable[..., _steps.Receiving[_T]], timeout: float | None, *arguments: Any
    ) -> _T:
        async with self._alone(timeout):
            steps, begun = _steps.begin(self._end, what, *arguments)
            while True:
                try:
                    block = await self.data_block(None if begun else timeout)
                except BaseException:
                    _steps.interrupted(self._end, steps, begun)
                    raise
                try:
                    steps.send(block)
                except StopIteration as came:
                    return came.value  # type: ignore[no-any-return]
                # Else it could not be given back yet.
                del block
                begun = True

    @property
    def at_end(self) -> bool:
        return self._end.at_end

    def finish(self) -> Delivered:
        """The verdict, at the end of the data: all is good."""
        return self._end.finish()

    async def __aiter__(self) -> AsyncIterator[DataBlock]:
        """All blocks, one after the other. Each is given back when the next one is asked for,
        unless its bytes are still seen then."""
        while (block := await self.data_block()) is not None:
            yield block
            with contextlib.suppress(BufferError):
                block.done()

    async def __aenter__(self) -> Writer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(kind, error, trace)


class _Joining:
    """What `join` returns: to be awaited, or entered."""

    def __init__(self, take: Callable[[], _brigade.Seat]) -> None:
        self._take = take
        self._joined: Reader | Writer | None = None

    def __await__(self) -> Generator[Any, None, Reader | Writer]:
        return self._join().__await__()

    async def __aenter__(self) -> Reader | Writer:
        self._joined = await self
        return await self._joined.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._joined is not None:
            await self._joined.__aexit__(kind, error, trace)

    async def _join(self) -> Reader | Writer:
        seat = await _in_thread(self._take, lambda seat: seat.abort(_CANCELLED))
        end = await _in_thread(seat.wait, lambda end: end.abort(_CANCELLED), lambda: seat.abort(_CANCELLED))
        return Reader(end) if isinstance(end, _brigade.Reader) else Writer(end)


_CANCELLED = "joining was cancelled"


def join(name: str, **options: Any) -> _Joining:
    """Joins the session `name`, as `brigade.join` with the same options does.

    To be awaited, or entered with `async with`. Who is cancelled leaves the place.
    """
    return _Joining(lambda: _brigade.take(name, **options))


async def _in_thread(
    call: Callable[[], _T], undo: Callable[[_T], object], stop: Callable[[], object] = lambda: None
) -> _T:
    """What `call` returns, from a thread; cancelled, it is stopped, and undone if it was too late.

    The thread is its own: the loop's executor has few, and partners may wait for one another."""
    started = _started(call)
    try:
        return await asyncio.shield(asyncio.wrap_future(started))
    except asyncio.CancelledError:
        stop()
        # Not by the loop, which may be closed by then.
        started.add_done_callback(lambda done: None if done.exception() else undo(done.result()))
        raise


def _started(call: Callable[[], _T]) -> concurrent.futures.Future[_T]:
    """Runs `call` in a thread that the interpreter's end does not wait for."""
    future: concurrent.futures.Future[_T] = concurrent.futures.Future()

    def run() -> None:
        try:
            result = call()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    future.set_running_or_notify_cancel()
    threading.Thread(target=run, name="brigade.aio.join", daemon=True).start()
    return future


class _LoopSleep:
    """Calls `wake` once the armed end's handle is ready, from the event loop."""

    def __init__(self, end: _brigade.Reader | _brigade.Writer, wake: Callable[[], None]) -> None:
        self._end, self._wake = end, wake
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fd = -1

    def begin(self) -> None:
        if self._loop is None:
            self._fd = self._end.fileno()
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._fd, self._wake)

    def end(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            # One that was closed has let go of it.
            if not loop.is_closed():
                loop.remove_reader(self._fd)
            self._end.disarm()


class _ThreadSleep:
    """The same, by a thread that waits for a copy of the handle, which it closes itself."""

    def __init__(self, end: _brigade.Reader | _brigade.Writer, wake: Callable[[], None]) -> None:
        self._end, self._wake = end, wake
        self._over: threading.Event | None = None

    def begin(self) -> None:
        if self._over is None:
            self._over = threading.Event()
            loop = asyncio.get_running_loop()
            handle = _Handle(self._end)
            loop.run_in_executor(None, self._wait, handle, self._over, loop)

    def _wait(
        self, handle: _Handle, over: threading.Event, loop: asyncio.AbstractEventLoop
    ) -> None:
        with handle:
            while not over.is_set():
                if handle.wait(_SLICE):
                    # The loop may be closed by now.
                    with contextlib.suppress(RuntimeError):
                        loop.call_soon_threadsafe(self._wake_unless, over)
                    return

    def _wake_unless(self, over: threading.Event) -> None:
        if not over.is_set():
            self._wake()

    def end(self) -> None:
        over, self._over = self._over, None
        if over is not None:
            over.set()
            self._end.disarm()


#: So often a thread that waits looks whether it still shall, in seconds.
_SLICE = 0.1

if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    _kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    _kernel.GetCurrentProcess.restype = wintypes.HANDLE
    _kernel.DuplicateHandle.argtypes = [
        wintypes.HANDLE,
        wintypes.HANDLE,
        wintypes.HANDLE,
        ctypes.POINTER(wintypes.HANDLE),
        wintypes.DWORD,
        wintypes.BOOL,
        wintypes.DWORD,
    ]
    _kernel.WaitForSingleObject.argtypes = [wintypes.HANDLE, wintypes.DWORD]
    _kernel.WaitForSingleObject.restype = wintypes.DWORD
    _kernel.CloseHandle.argtypes = [wintypes.HANDLE]

    class _Handle:
        """A copy of an end's handle, to be waited for in another thread."""

        def __init__(self, end: _brigade.Reader | _brigade.Writer) -> None:
            self._copy = wintypes.HANDLE()
            this, same_access = _kernel.GetCurrentProcess(), 2
            made = _kernel.DuplicateHandle(
                this, end.fileno(), this, ctypes.byref(self._copy), 0, False, same_access
            )
            if not made:
                raise ctypes.WinError(ctypes.get_last_error())

        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            _kernel.CloseHandle(self._copy)

        def wait(self, seconds: float) -> bool:
            timed_out = 0x102
            waited: int = _kernel.WaitForSingleObject(self._copy, int(seconds * 1000))
            return waited != timed_out

    _Sleep = _ThreadSleep
else:
    import os
    import select

    class _Handle:
        """A copy of an end's descriptor, to be waited for in another thread."""

        def __init__(self, end: _brigade.Reader | _brigade.Writer) -> None:
            self._copy = os.dup(end.fileno())

        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            os.close(self._copy)

        def wait(self, seconds: float) -> bool:
            poll = select.poll()
            poll.register(self._copy, select.POLLIN)
            return bool(poll.poll(seconds * 1000))

    _Sleep = _LoopSleep
