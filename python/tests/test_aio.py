"""The same in an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import sys
from collections.abc import Coroutine
from typing import Any

import brigade
import numpy as np
import pytest
from brigade import aio
from conftest import LIMIT, Start
from pairs import beside, pair

OPTIONS: brigade.Options = {"block_size": 4096, "block_count": 4, "timeout": LIMIT}

#: Calls that take seconds.
MANY = 1_000_000


def run(what: Coroutine[Any, Any, None]) -> None:
    """Runs what a test does, which ends in time."""

    async def limited() -> None:
        async with asyncio.timeout(LIMIT):
            await what

    asyncio.run(limited(), debug=True)


@pytest.fixture(params=["loop", "thread"], autouse=True)
def sleep(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to sleep, though each system uses one of them."""
    if request.param == "thread":
        monkeypatch.setattr(aio, "_Sleep", aio._ThreadSleep)
    elif sys.platform == "win32":
        pytest.skip("the event loop of Windows has no such call")


async def join(name: str, side: brigade.Side) -> Any:
    options: brigade.Options = {**OPTIONS, "side": side}
    return await aio.join(name, **options)


async def both(name: str) -> tuple[aio.Reader, aio.Writer]:
    reader, writer = await asyncio.gather(join(name, "reader"), join(name, "writer"))
    return reader, writer


def test_blocks_pass_and_both_hear_the_verdict(name: str) -> None:
    async def send(count: int) -> None:
        async with aio.join(name, **{**OPTIONS, "side": "reader"}) as reader:
            assert isinstance(reader, aio.Reader)
            for number in range(count):
                block = await reader.empty_block()
                block.copy_from(number.to_bytes(8, "little"))
                block.send(8, tag=number)
                if number % 100 == 0:
                    await asyncio.sleep(0)

    async def receive() -> list[int]:
        seen = []
        async with aio.join(name, **{**OPTIONS, "side": "writer"}) as writer:
            assert isinstance(writer, aio.Writer)
            async for block in writer:
                assert block.tag == int.from_bytes(block.tobytes(), "little")
                seen.append(block.tag)
        return seen

    async def test() -> None:
        _, seen = await asyncio.gather(send(1000), receive())
        assert seen == list(range(1000))

    run(test())


def test_blocks_are_copied_to_a_buffer(name: str) -> None:
    async def test() -> None:
        reader, writer = await both(name)
        room = bytearray(4)
        with pytest.raises(brigade.TimedOut):
            await writer.recv_into(room, 0.01)
        waiting = asyncio.ensure_future(writer.recv_into(room))
        await asyncio.sleep(0.01)
        await reader.send(b"abc")
        assert await waiting == 3 and room == b"abc\0"
        reader.close()
        assert await writer.recv_into(room) is None
        writer.finish()
        await reader.verdict()

    run(test())


def test_an_end_that_never_waits_lets_other_tasks_run(name: str) -> None:
    async def test() -> None:
        reader, writer = await both(name)
        stop = False

        async def others() -> None:
            nonlocal stop
            for _ in range(3):
                await asyncio.sleep(0)
            stop = True

        other = asyncio.ensure_future(others())
        # Nobody but this process sends here, so there is always something.
        room = bytearray(4)
        for _ in range(MANY):
            await reader.send(b"abc")
            assert await writer.recv_into(room) == 3
            if stop:
                break
        assert stop
        await other
        # A task that is to end is one of those that have to have a turn.
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                for _ in range(MANY):
                    (await reader.empty_block()).put_back()
        await writer.post(b"letter")
        assert await reader.letter() is not None
        reader.close()
        assert await writer.data_block() is None
        writer.finish()
        await reader.verdict()

    run(test())


def test_a_wait_that_is_cancelled_takes_nothing(name: str, start: Start) -> None:
    reader = start(
        """
        with brigade.join(name, side="reader", **BLOCKS) as reader:
            for number in range(2000):
                reader.send(b"", tag=number)
                # Until the other one has caught up, and waits.
                if number % 7 == 0:
                    time.sleep(0.003)
        """
    )

    async def test() -> None:
        writer = await join(name, "writer")
        seen, cancelled = [], 0
        async with writer:
            while True:
                waiting = asyncio.ensure_future(writer.data_block())
                await asyncio.sleep(0)
                if waiting.cancel():
                    try:
                        block = await waiting
                    except asyncio.CancelledError:
                        cancelled += 1
                        # Else it would look only, and never wait.
                        try:
                            block = await writer.data_block(0.0001)
                        except brigade.TimedOut:
                            continue
                else:
                    block = await waiting
                if block is None:
                    break
                seen.append(block.tag)
                block.done()
        assert seen == list(range(2000)) and cancelled

    run(test())
    reader.end()


def test_a_deadline_is_one_and_the_session_goes_on(name: str) -> None:
    async def test() -> None:
        reader, writer = await both(name)
        for timeout in (0, 1e-6, 0.02):
            with pytest.raises(brigade.TimedOut):
                await writer.data_block(timeout)
        with pytest.raises(brigade.TimedOut):
            await reader.letter(0.02)
        (await reader.empty_block()).send(0)
        block = await writer.data_block(LIMIT)
        assert block is not None
        block.done()
        await close(reader, writer)

    run(test())


async def close(reader: aio.Reader, writer: aio.Writer) -> None:
    finishing = asyncio.ensure_future(reader.finish())
    assert await writer.data_block() is None
    writer.finish()
    await finishing


def test_tasks_wait_for_different_things_at_one_end(name: str) -> None:
    async def test() -> None:
        reader, writer = await both(name)
        letter = asyncio.ensure_future(writer.letter())
        block = asyncio.ensure_future(writer.data_block())
        await asyncio.sleep(0.02)
        await reader.post(b"hello", 4)
        assert bytes(await letter or b"") == b"hello" and not block.done()
        (await reader.empty_block()).send(0, tag=9)
        came = await block
        assert came is not None and came.tag == 9
        came.done()
        await close(reader, writer)

    run(test())


def test_tasks_share_the_blocks_of_one_end(name: str, start: Start) -> None:
    reader = start(
        """
        with brigade.join(name, side="reader", **BLOCKS) as reader:
            for number in range(500):
                reader.send(b"", tag=number)
        """
    )

    async def test() -> None:
        writer = await join(name, "writer")
        seen: list[int] = []

        async def take() -> None:
            while (block := await writer.data_block()) is not None:
                seen.append(block.tag)
                block.done()
                await asyncio.sleep(0)

        async with writer:
            await asyncio.gather(*(take() for _ in range(5)))
        assert sorted(seen) == list(range(500))

    run(test())
    reader.end()


def test_a_block_that_another_thread_gives_back_wakes_who_waits(name: str) -> None:
    async def test() -> None:
        reader, writer = await both(name)
        blocks = [await reader.empty_block() for _ in range(4)]
        waiting = asyncio.ensure_future(reader.empty_block())
        await asyncio.sleep(0.02)
        assert not waiting.done()
        beside(blocks.pop().put_back)
        (await waiting).put_back()
        for block in blocks:
            block.put_back()
        await close(reader, writer)

    run(test())


def test_a_call_beside_tasks_that_sleep_does_not_wait_by_itself(name: str) -> None:
    """It would take the rings that are for them."""

    class Spied:
        def __init__(self, end: Any) -> None:
            self.end, self.limits = end, list[float]()

        def __getattr__(self, attribute: str) -> Any:
            return getattr(self.end, attribute)

        def data_block(self, limit: float) -> Any:
            self.limits.append(limit)
            return self.end.data_block(limit)

    async def test() -> None:
        reader, writer = await both(name)
        letter = asyncio.ensure_future(writer.letter())
        while not writer._waiters:
            await asyncio.sleep(0.02)
        spied: Any = Spied(writer._end)
        writer._end = spied
        block = asyncio.ensure_future(writer.data_block())
        await asyncio.sleep(0.02)
        (await reader.empty_block()).send(0, tag=9)
        came = await block
        assert came is not None and came.tag == 9
        came.done()
        await reader.post(b"hello", 4)
        assert bytes(await letter or b"") == b"hello"
        assert spied.limits and not any(spied.limits)
        await close(reader, writer)

    run(test())


def test_who_waits_in_an_end_that_is_left_hears_of_it(name: str) -> None:
    async def test() -> None:
        reader, writer = await both(name)
        waiting = [
            asyncio.ensure_future(what)
            for what in (reader.letter(), writer.letter(), writer.recv_array())
        ]
        await asyncio.sleep(0.02)
        for end in (writer, reader):
            with pytest.raises(LookupError):
                async with end:
                    raise LookupError("no room")
        for task in waiting:
            async with asyncio.timeout(LIMIT / 2):
                with pytest.raises(brigade.Error):
                    await task
        if sys.platform == "win32":
            return
        # A descriptor that gets the number of the end's is as good as any other.
        loop, pairs = asyncio.get_running_loop(), [socket.socketpair() for _ in range(8)]
        for one, other in pairs:
            told = asyncio.Event()
            loop.add_reader(one, told.set)
            other.send(b"1")
            await told.wait()
            loop.remove_reader(one)
        for one, other in pairs:
            one.close()
            other.close()

    run(test())


def test_letters_wait_for_room(name: str) -> None:
    async def test() -> None:
        reader, writer = await both(name)

        async def post() -> None:
            for number in range(200):
                await writer.post(number.to_bytes(2, "big"))

        posting = asyncio.ensure_future(post())
        for number in range(200):
            letter = await reader.letter()
            assert letter is not None and int.from_bytes(letter.data, "big") == number
        await posting
        await close(reader, writer)

    run(test())


@pytest.mark.parametrize("wait", ["empty_block", "letter", "verdict"])
def test_the_writers_death_ends_every_wait_of_the_reader(
    name: str, start: Start, wait: str
) -> None:
    writer = start(
        """
        writer = brigade.join(name, side="writer", **BLOCKS)
        say("joined")
        time.sleep(60)
        """
    )

    async def test() -> None:
        reader = await join(name, "reader")
        assert writer.hear() == "joined"
        if wait == "empty_block":
            for _ in range(4):
                (await reader.empty_block()).send(0)
        if wait == "verdict":
            reader.close()
        waiting = asyncio.ensure_future(getattr(reader, wait)())
        await asyncio.sleep(0.02)
        assert not waiting.done()
        writer.kill()
        with pytest.raises(brigade.PartnerDied):
            await asyncio.wait_for(waiting, LIMIT)

    run(test())


def test_the_readers_death_is_told_after_all_that_it_sent(name: str, start: Start) -> None:
    reader = start(
        """
        reader = brigade.join(name, side="reader", **BLOCKS)
        for number in range(3):
            reader.send(b"", tag=number)
        say("sent")
        time.sleep(60)
        """
    )

    async def test() -> None:
        writer = await join(name, "writer")
        assert reader.hear() == "sent"
        reader.kill()
        for number in range(3):
            block = await writer.data_block()
            assert block is not None and block.tag == number
        with pytest.raises(brigade.PartnerDied):
            await writer.data_block()
        with pytest.raises(brigade.PartnerDied):
            await writer.data_block()

    run(test())


def test_what_is_raised_within_is_the_partners_reason(name: str, start: Start) -> None:
    reader = start(
        """
        try:
            with brigade.join(name, side="reader", **BLOCKS) as reader:
                while True:
                    reader.send(b"")
        except brigade.PartnerAborted as error:
            say(error.reason)
        """
    )

    async def test() -> None:
        async with aio.join(name, **{**OPTIONS, "side": "writer"}) as writer:
            assert isinstance(writer, aio.Writer)
            async for _ in writer:
                raise LookupError("no room")

    with pytest.raises(LookupError):
        run(test())
    assert reader.end() == "LookupError: no room"


def test_joining_that_is_cancelled_leaves_the_name(name: str) -> None:
    async def test() -> None:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await aio.join(name, **OPTIONS)
        reader, writer = await both(name)
        await close(reader, writer)

    run(test())


def test_errors_of_joining_are_raised(name: str) -> None:
    async def test() -> None:
        with pytest.raises(brigade.NoPartner):
            await aio.join(name, timeout=0.01)
        with pytest.raises(brigade.InvalidOption):
            await aio.join("")
        reader, writer = await both(name)
        with pytest.raises(brigade.TooManyInstances):
            await aio.join(name, **OPTIONS)
        await close(reader, writer)

    run(test())


def test_a_loop_that_ends_while_a_task_waits_leaves_nothing(name: str) -> None:
    reader, writer = pair(name)
    ends = []

    async def test() -> None:
        end = aio.Writer(writer)
        ends.append(end)
        asyncio.ensure_future(end.data_block())
        await asyncio.sleep(0.02)

    run(test())
    reader.send(b"later", tag=5)

    async def again() -> None:
        block = await ends[0].data_block(LIMIT)
        assert block is not None and block.tag == 5
        block.done()

    run(again())
    gc.collect()
    assert writer.held == 0


def test_a_loop_that_is_closed_while_a_task_waits_leaves_nothing(name: str) -> None:
    """Nobody has cancelled the tasks, and they are still known."""
    reader, writer = pair(name)
    end = aio.Writer(writer)
    loop = asyncio.new_event_loop()
    waiting = [loop.create_task(end.data_block()), loop.create_task(end.recv_array())]
    loop.run_until_complete(asyncio.sleep(0.02))
    loop.close()

    async def again() -> None:
        receiving = asyncio.ensure_future(end.data_block(LIMIT))
        await asyncio.sleep(0.02)
        reader.send(b"later", tag=5)
        block = await receiving
        assert block is not None and block.tag == 5
        block.done()
        brigade.send_array(reader, np.arange(3))
        array = await end.recv_array(LIMIT)
        assert array is not None and array.tolist() == [0, 1, 2]

    run(again())
    for task in waiting:
        # It will never be done.
        task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_more_joins_wait_than_an_executor_has_threads(name: str) -> None:
    async def test() -> None:
        count = 40
        readers = [asyncio.ensure_future(join(f"{name}-{number}", "reader")) for number in range(count)]
        await asyncio.sleep(0.1)
        writers = [asyncio.ensure_future(join(f"{name}-{number}", "writer")) for number in range(count)]
        await asyncio.gather(*readers, *writers)

    run(test())


def test_who_waits_for_another_task_has_a_deadline(name: str) -> None:
    async def test() -> None:
        reader, writer = await both(name)
        first = asyncio.ensure_future(writer.recv_array())
        await asyncio.sleep(0.02)
        for timeout in (0, 0.02):
            with pytest.raises(brigade.TimedOut):
                await writer.recv_array(timeout)
        await reader.send_array(np.arange(3))
        array = await first
        assert array is not None and array.tolist() == [0, 1, 2]
        del array, first
        await close(reader, writer)

    run(test())


def test_nothing_is_done_while_nothing_comes(name: str) -> None:
    async def test() -> None:
        reader, writer = await both(name)
        waiting = asyncio.ensure_future(writer.data_block())
        await asyncio.sleep(0.05)
        turns = 0
        loop = asyncio.get_running_loop()
        run_once = loop._run_once  # type: ignore[attr-defined]

        def counted() -> None:
            nonlocal turns
            turns += 1
            run_once()

        loop._run_once = counted  # type: ignore[attr-defined]
        await asyncio.sleep(0.5)
        # The loop turns for this sleep, and for nobody else.
        assert turns < 20
        (await reader.empty_block()).send(0)
        block = await waiting
        assert block is not None
        block.done()
        await close(reader, writer)

    run(test())


def test_arrays_objects_and_messages_pass_in_several_blocks_and_tasks_take_turns(name: str) -> None:
    async def test() -> None:
        reader, writer = await both(name)
        count = 20

        async def send(number: int) -> None:
            await reader.send_array(np.full(2000, number))

        sending = [asyncio.ensure_future(send(number)) for number in range(count)]
        came = await asyncio.gather(*(writer.recv_array(LIMIT) for _ in range(count)))
        await asyncio.gather(*sending)
        sums = sorted(int(array.sum()) // 2000 for array in came if array is not None)
        assert sums == list(range(count))

        what: dict[str, Any] = {"arrays": [np.arange(n) for n in (0, 10, 5000)], "text": "x" * 10_000}
        posting = asyncio.ensure_future(reader.send_object(what))
        got = await writer.recv_object()
        await posting
        assert got["text"] == what["text"]
        assert [a.tolist() for a in got["arrays"]] == [a.tolist() for a in what["arrays"]]
        del got

        posting = asyncio.ensure_future(reader.send_message(b"y" * 10_000, tag=3))
        message = await writer.message(20_000)
        await posting
        assert message is not None and (message.tag, message.data) == (3, b"y" * 10_000)

        await reader.send(b"one", tag=1)
        await reader.send(b"two", tag=2)
        newest = await writer.newest_block()
        assert newest is not None and bytes(newest) == b"two"
        newest.done()
        finishing = asyncio.ensure_future(reader.finish())
        assert await writer.recv_array() is None and writer.held == 0
        writer.finish()
        await finishing
        assert reader.closed

    run(test())


def test_who_is_cancelled_in_the_middle_of_an_array_gets_it_next_time(name: str) -> None:
    async def test() -> None:
        reader, writer = await both(name)
        sending = asyncio.ensure_future(reader.send_array(np.arange(20_000)))
        cancelled = 0
        while True:
            waiting = asyncio.ensure_future(writer.recv_array())
            for _ in range(3):
                await asyncio.sleep(0)
            if waiting.done():
                break
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting
                break
            cancelled += 1
        array = waiting.result()
        assert array is not None and np.array_equal(array, np.arange(20_000))
        await sending
        await close(reader, writer)

    run(test())


def test_who_is_cancelled_in_the_middle_of_sending_gives_up_the_session(name: str) -> None:
    async def test() -> None:
        reader, writer = await both(name)
        sending = asyncio.ensure_future(reader.send_array(np.arange(20_000)))
        await asyncio.sleep(0.02)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        with pytest.raises(brigade.PartnerAborted, match="broken off"):
            await writer.recv_array()

    run(test())
