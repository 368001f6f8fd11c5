"""What is used wrongly raises, or does what is right: it never crashes, hangs, or mixes data up."""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import signal
import struct
import sys
import sysconfig
import threading
import time
import weakref
from typing import Any

import brigade
import numpy
import pytest
from conftest import LIMIT, Start, join_reader, join_writer, seen

SINK = """
with brigade.join(name, side="writer", **BLOCKS) as writer:
    for block in writer:
        say(block.tag, len(block), bytes(block)[:4].hex())
        block.done()
"""
SOURCE = """
with brigade.join(name, side="reader", **BLOCKS) as reader:
    for tag in range({count}):
        reader.send(bytes([tag % 256]) * 4096, tag=tag)
"""


def test_a_block_is_used_up_when_it_is_sent(name: str, start: Start) -> None:
    other = start(SINK)
    with join_reader(name) as reader:
        block = reader.empty_block(LIMIT)
        block.send(0)
        for use in (
            lambda: block.send(),
            lambda: memoryview(block),
            lambda: block.copy_from(b"x"),
            lambda: seen(block),
        ):
            with pytest.raises(brigade.InvalidUse):
                use()
        block.put_back()
        assert len(block) == 4096 and block
    assert other.end() == "0 0 "


def test_a_block_that_is_seen_is_not_sent_until_the_last_view_is_gone(
    name: str, start: Start
) -> None:
    other = start(SINK)
    with join_reader(name) as reader:
        block = reader.empty_block(LIMIT)
        array = seen(block)
        view = memoryview(block)
        array[:4] = 1
        for use in (block.send, block.put_back):
            with pytest.raises(BufferError):
                use()
        part = array[2:]
        del array
        view.release()
        with pytest.raises(BufferError):
            block.send(4)
        del part
        with pytest.raises(ValueError):
            block.send(4097)
        with pytest.raises(OverflowError):
            block.send(4, kind=65536)
        with pytest.raises(OverflowError):
            block.send(-1)
        block.send(4)
    assert other.end() == "0 4 01010101"


def test_who_releases_a_buffer_and_keeps_its_owner_still_sees_the_block(
    name: str, start: Start
) -> None:
    """As torch.frombuffer does."""
    other = start(SINK)
    with join_reader(name) as reader:
        block = reader.empty_block(LIMIT)
        with memoryview(block) as view:
            owner = view.obj
        with pytest.raises(BufferError):
            block.send(0)
        del owner
        block.send(0)
    assert other.end() == "0 0 "


def test_a_tensor_sees_a_block_as_long_as_it_lives(name: str, start: Start) -> None:
    torch = pytest.importorskip("torch")
    other = start(SINK)
    with join_reader(name) as reader:
        block = reader.empty_block(LIMIT)
        tensor = torch.frombuffer(block, dtype=torch.uint8)
        tensor[:4] = 7
        with pytest.raises(BufferError):
            block.send(4)
        part = tensor[1:]
        del tensor
        with pytest.raises(BufferError):
            block.send(4)
        del part
        block.send(4)
    assert other.end() == "0 4 07070707"


def test_pyarrow_sees_a_block_as_long_as_it_lives(name: str, start: Start) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    other = start(SOURCE.format(count=1))
    with join_writer(name) as writer:
        block = writer.data_block(LIMIT)
        assert block is not None
        array = pyarrow.Array.from_buffers(pyarrow.int64(), 512, [None, pyarrow.py_buffer(block)])
        with pytest.raises(BufferError):
            block.done()
        assert array.sum().as_py() == 0
        del array
        block.done()
        assert writer.data_block(LIMIT) is None
    other.end()


def test_a_block_that_is_seen_is_not_given_back(name: str, start: Start) -> None:
    other = start(SOURCE.format(count=6))
    with join_writer(name) as writer:
        block = writer.data_block(LIMIT)
        assert block is not None
        array = seen(block)
        assert not array.flags.writeable
        with pytest.raises(BufferError):
            block.done()
        with pytest.raises(BufferError):
            with block:
                pass
        # It shows what it showed, whatever comes.
        for tag in range(1, 6):
            following = writer.data_block(LIMIT)
            assert following is not None and following.tag == tag
            following.done()
        assert (array == 0).all()
        del array
        block.done()
        block.done()
        with pytest.raises(brigade.InvalidUse):
            block.tobytes()
        with pytest.raises(brigade.InvalidUse):
            memoryview(block)
        assert writer.data_block(LIMIT) is None
    other.end()


def test_a_verdict_with_a_view_left_is_refused_and_both_know(name: str, start: Start) -> None:
    other = start(
        """
        try:
            with brigade.join(name, side="reader", **BLOCKS) as reader:
                reader.send(b"data")
        except brigade.PartnerAborted as error:
            say(error.reason)
        """
    )
    with pytest.raises(brigade.NotGivenBack), join_writer(name) as writer:
        arrays = [seen(block) for block in writer]
    assert arrays[0].tobytes() == b"data"
    assert other.end() == "no verdict: not all blocks were given back: 1 missing"


def test_a_data_block_cannot_be_written_to(name: str, start: Start) -> None:
    other = start(SOURCE.format(count=1))
    with join_writer(name) as writer:
        block = writer.data_block(LIMIT)
        assert block is not None
        with open("/dev/zero" if os.name != "nt" else __file__, "rb", buffering=0) as file:
            with pytest.raises(TypeError):
                file.readinto(block)
        with pytest.raises(BufferError, match="cannot be written to"):
            block.copy_to(block)
        with memoryview(block) as view:
            with pytest.raises(TypeError):
                view[0] = 1
        room = bytearray(5000)
        assert block.copy_to(room) == 4096 and not any(room)
        assert block.copy_to(memoryview(room)[:3]) == 3
        # What failed has left no view behind.
        block.done()
        assert writer.data_block(LIMIT) is None
    other.end()


def test_the_variable_of_a_loop_does_not_keep_its_last_block(name: str, start: Start) -> None:
    other = start(SOURCE.format(count=3))
    with join_writer(name) as writer:
        for block in writer:
            array = seen(block)
        assert array[0] == 2 and writer.held == 1
        del array
        # The variable has it yet; the end of `with` gives it back.
        assert writer.held == 1
    assert len(block) == 4096
    with pytest.raises(brigade.InvalidUse):
        block.tobytes()
    other.end()


def test_what_is_not_sent_is_empty_again(name: str, start: Start) -> None:
    other = start(SINK)
    with join_reader(name) as reader:
        for _ in range(20):
            with reader.empty_block(LIMIT):
                pass
            reader.empty_block(LIMIT).put_back()
            reader.empty_block(LIMIT)
        with pytest.raises(ZeroDivisionError):
            with reader.empty_block(LIMIT) as block:
                view = memoryview(block)
                len(view) / 0
        with pytest.raises(BufferError):
            block.send(0)
        view.release()
        block.send(0)
    other.end()


def test_blocks_and_ends_in_cycles_are_collected(name: str, start: Start) -> None:
    class Holder:
        held: object

    other = start(SINK)
    reader = join_reader(name)
    gc.disable()
    try:
        gone = []
        for _ in range(3):
            holder = Holder()
            block = reader.empty_block(LIMIT)
            holder.held = [holder, block, memoryview(block), reader]
            gone.append(weakref.ref(block))
            del holder, block
        with pytest.raises(brigade.TimedOut):
            kept = [reader.empty_block(0) for _ in range(4)]
        kept = []
        gc.collect()
        assert [ref() for ref in gone] == [None] * 3
        kept = [reader.empty_block(LIMIT) for _ in range(4)]
    finally:
        gc.enable()
    kept.clear()
    reader.finish(LIMIT)
    del reader
    other.end()


def test_an_end_that_was_left_says_so(name: str, start: Start) -> None:
    other = start(SINK)
    with join_reader(name) as reader:
        block = reader.empty_block(LIMIT)
        monitor = reader.monitor
    for use in (
        reader.empty_block,
        reader.close,
        reader.finish,
        reader.check,
        reader.fileno,
        reader.arm,
        reader.into_unreturned,
        lambda: reader.send(b""),
        lambda: reader.post(b""),
        block.send,
    ):
        with pytest.raises(brigade.InvalidUse):
            use()
    assert reader.block_size == 4096 and reader.partner.process_id == other.pid
    assert reader.delivered.blocks == 0
    monitor.abort()
    monitor.watch(LIMIT)
    with reader:
        pass
    other.end()


def test_two_iterators_share_the_blocks(name: str, start: Start) -> None:
    other = start(SOURCE.format(count=100))
    with join_writer(name) as writer:
        one, two = iter(writer), iter(writer)
        tags = [block.tag for pair in zip(one, two) for block in pair]
        assert tags == list(range(100))
        assert list(one) == []
        del two
    other.end()


def test_a_loop_that_keeps_its_blocks_gets_them_spent_and_goes_on(
    name: str, start: Start
) -> None:
    other = start(SOURCE.format(count=20))
    with join_writer(name) as writer:
        blocks = list(writer)
        assert [block.tag for block in blocks] == list(range(20))
        with pytest.raises(brigade.InvalidUse):
            bytes(blocks[0])
    other.end()


def test_eight_threads_use_one_block(name: str, start: Start) -> None:
    """Whoever sends it, it is sent once, and is all one thread's."""
    other = start(
        """
        with brigade.join(name, side="writer", **BLOCKS) as writer:
            for block in writer:
                data = bytes(block)
                assert len(data) == 4096 and data == data[:1] * 4096, (block.tag, set(data))
        say(writer.delivered.blocks)
        """
    )
    rounds, threads = 200, 8
    with join_reader(name) as reader:
        unexpected: list[BaseException] = []
        sent = [0]
        barrier = threading.Barrier(threads, timeout=LIMIT)
        current: list[brigade.EmptyBlock] = [reader.empty_block()]

        def hammer(number: int) -> None:
            mine = bytes([number]) * 4096
            for turn in range(rounds):
                if barrier.wait() == 0:
                    current[0] = reader.empty_block(LIMIT)
                barrier.wait()
                block = current[0]
                for use in (
                    lambda: block.copy_from(mine),
                    lambda: memoryview(block).release(),
                    lambda: block.send(tag=turn),
                    lambda: block.put_back(),
                ):
                    try:
                        use()
                        if "send" in use.__code__.co_names:
                            sent[0] += 1
                    except (BufferError, brigade.InvalidUse):
                        pass
                    except BaseException as error:
                        unexpected.append(error)
                if barrier.wait() == 0 and bool(block):
                    try:
                        block.put_back()
                    except BufferError as error:
                        unexpected.append(error)

        workers = [threading.Thread(target=hammer, args=(n,)) for n in range(1, threads + 1)]
        current[0].put_back()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(LIMIT)
            assert not worker.is_alive()
        assert not unexpected
        delivered = reader.finish(LIMIT)
    assert other.end() == str(delivered.blocks)
    assert 0 < delivered.blocks <= rounds


def test_many_threads_send_and_nothing_is_left_behind(name: str, start: Start) -> None:
    """Each thread ends with a send, after which nobody calls the end."""
    other = start(
        """
        with brigade.join(name, side="writer", **BLOCKS) as writer:
            for block in writer:
                block.done()
        """
    )
    with join_reader(name) as reader:
        for turn in range(1, 101):
            barrier = threading.Barrier(8, timeout=LIMIT)

            def send() -> None:
                barrier.wait()
                reader.empty_block(LIMIT).send(8)

            workers = [threading.Thread(target=send) for _ in range(8)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join(LIMIT)
            until = time.monotonic() + LIMIT
            # This asks the monitor, and not the end.
            while reader.delivered.blocks < 8 * turn:
                assert time.monotonic() < until
                time.sleep(0)
    other.end()


def test_threads_that_wait_in_one_end_take_turns(name: str, start: Start) -> None:
    """One waits for letters, one for blocks, and the main thread finishes."""
    other = start(
        """
        with brigade.join(name, side="writer", **BLOCKS) as writer:
            for block in writer:
                writer.post(block)
        """
    )
    letters: list[bytes] = []
    with join_reader(name) as reader:

        def listen() -> None:
            while (letter := reader.letter()) is not None:
                letters.append(letter.data)

        listener = threading.Thread(target=listen)
        listener.start()
        # If one had to wait until the other one's slice is over, these would take minutes.
        for number in range(1000):
            reader.send(b"%d" % number, timeout=LIMIT)
        reader.finish(LIMIT)
        # Letters that nobody has read when the end is left are lost.
        listener.join(LIMIT)
    other.end()
    assert letters == [b"%d" % number for number in range(1000)]


def test_who_listens_is_let_in_while_another_thread_sends_without_a_pause(name: str, start: Start) -> None:
    other = start(
        """
        with brigade.join(name, side="writer", block_size=1 << 24, block_count=8, timeout=30) as writer:
            for number, block in enumerate(writer, 1):
                if number % 50 == 0:
                    writer.post(b"%d" % number)
        """
    )
    sent = 0
    late: list[int] = []
    with brigade.join(name, side="reader", block_size=1 << 24, block_count=8, timeout=30) as reader:

        def listen() -> None:
            while (letter := reader.letter()) is not None:
                late.append(sent - int(letter.data))

        listener = threading.Thread(target=listen)
        listener.start()
        data = bytes(1 << 24)
        for sent in range(1, 501):
            reader.send(data, timeout=LIMIT)
        reader.finish(LIMIT)
        listener.join(LIMIT)
    other.end()
    # Usually two, and some hundred if those who come take what was left for those who wait.
    assert len(late) == 10 and sorted(late)[5] < 50, late


def test_who_sends_is_let_in_before_all_who_listen(name: str, start: Start) -> None:
    other = start(
        """
        with brigade.join(name, side="writer", block_size=1024, block_count=4, timeout=30) as writer:
            for block in writer:
                pass
        """
    )
    with brigade.join(name, side="reader", block_size=1024, block_count=4, timeout=30) as reader:
        heard: list[brigade.Letter | None] = []
        listeners = [threading.Thread(target=lambda: heard.append(reader.letter())) for _ in range(5)]
        for listener in listeners:
            listener.start()
        # If each of those who listen had a slice first, these would take minutes.
        for number in range(1000):
            reader.send(b"%d" % number, timeout=LIMIT)
        reader.finish(LIMIT)
        for listener in listeners:
            listener.join(LIMIT)
    other.end()
    assert heard == [None] * 5


@pytest.mark.skipif(sys.platform == "win32", reason="needs counts of the system's")
def test_threads_that_wait_for_one_another_sleep(name: str, start: Start) -> None:
    import resource

    other = start(
        """
        with brigade.join(name, side="reader", block_size=1024, block_count=4, timeout=30) as reader:
            for number in range(100):
                time.sleep(0.005)
                reader.send(b"", tag=number)
        """
    )

    def switches() -> int:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_nvcsw + used.ru_nivcsw

    tags: list[int] = []
    with brigade.join(name, side="writer", block_size=1024, block_count=4, timeout=30) as writer:

        def receive() -> None:
            while (block := writer.data_block(LIMIT)) is not None:
                tags.append(block.tag)
                block.done()

        before = switches()
        receivers = [threading.Thread(target=receive) for _ in range(8)]
        for receiver in receivers:
            receiver.start()
        for receiver in receivers:
            receiver.join(LIMIT)
        count = switches() - before
    other.end()
    assert sorted(tags) == list(range(100))
    # Some 400; thousands if one of them gives the processor away again and again until another one wakes up.
    assert count < 100 * 25, count


def test_a_second_thread_s_call_has_its_own_timeout(name: str, start: Start) -> None:
    other = start('writer = brigade.join(name, side="writer", **BLOCKS)\ntime.sleep(60)')
    reader = join_reader(name)
    failed: list[BaseException] = []

    def listen() -> None:
        try:
            reader.letter()
        except brigade.Aborted as error:
            failed.append(error)

    listener = threading.Thread(target=listen)
    listener.start()
    time.sleep(0.1)
    for timeout in (0, 0.01, 0.2):
        with pytest.raises(brigade.TimedOut):
            reader.letter(timeout)
    # What is there, is found.
    reader.empty_block(0).put_back()
    reader.abort("enough", 7)
    listener.join(LIMIT)
    assert len(failed) == 1
    with pytest.raises(brigade.Aborted) as aborted:
        reader.check()
    assert (aborted.value.reason, aborted.value.code) == ("enough", 7)
    other.kill()


@pytest.mark.skipif(os.name == "nt", reason="there is no signal to a single process")
def test_a_signal_handler_that_calls_the_end_that_waits_is_told(name: str, start: Start) -> None:
    other = start(
        """
        reader = brigade.join(name, side="reader", **BLOCKS)
        def handle(*_):
            try:
                reader.letter(0)
            except brigade.TimedOut:
                # Before the call, or after it: the next signal comes soon.
                pass
            except brigade.InvalidUse as error:
                signal.setitimer(signal.ITIMER_REAL, 0)
                say(error)
                reader.abort("by a signal")
        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        try:
            reader.letter()
        except brigade.Aborted as error:
            say(error)
        """
    )
    writer = join_writer(name)
    with pytest.raises(brigade.PartnerAborted, match="by a signal"):
        writer.data_block()
    said = "this thread is in a call of the same end already\naborted: by a signal"
    assert other.end() == said


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_is_told_and_changes_nothing(name: str, start: Start) -> None:
    other = start(SINK)
    script = """
        reader = brigade.join(name, side="reader", **BLOCKS)
        block, sent = reader.empty_block(), reader.empty_block()
        view = memoryview(reader.empty_block())
        sent.send(4, tag=1)
        # One that waits, and has the end to itself.
        waiting = threading.Thread(target=lambda: reader.letter())
        waiting.start()
        time.sleep(0.2)
        if os.fork() == 0:
            uses = [block.send, block.put_back, lambda: memoryview(block), reader.empty_block,
                lambda: block.copy_from(b""), reader.close, reader.finish, reader.letter, reader.abort, reader.fileno]
            for use in uses:
                try:
                    use()
                    say("not refused", use)
                except brigade.InvalidUse:
                    pass
            with reader:
                pass
            reader.monitor.abort("the child")
            view.release()
            del block, sent, view, reader
            gc.collect()
            sys.exit(7)
        say(os.waitstatus_to_exitcode(os.wait()[1]))
        block.send(4, tag=2)
        view.release()
        reader.finish()
        waiting.join()
        say("done")
        """
    parent = start(script)
    assert parent.end() == "7\ndone"
    assert [line.split()[0] for line in other.end().splitlines()] == ["1", "2"]


ENDINGS = {
    "with blocks and views out": "",
    "by an exception": "raise ValueError('so')",
    "by sys.exit": "sys.exit(3)",
    "with a thread that waits": """
threading.Thread(target=end.letter, daemon=True).start()
threading.Thread(target=end.monitor.watch, daemon=True).start()
time.sleep(0.2)
""",
    "with threads that use the end": """
def use():
    while True:
        try:
            end.check()
            end.delivered, end.partner
            kept.append(memoryview(kept[0]))
            del kept[-1]
            end.letter(0)
        except Exception as error:
            pass
for _ in range(4):
    threading.Thread(target=use, daemon=True).start()
time.sleep(0.2)
""",
    "in the middle of joining": """
threading.Thread(target=lambda: brigade.join(name + "-nobody"), daemon=True).start()
time.sleep(0.2)
""",
    "with all in a cycle": "cycle = [kept, end]\ncycle.append(cycle)\ndel kept, end, views",
}


@pytest.mark.parametrize("side", ["reader", "writer"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_the_interpreter_ends_whatever_is_out(
    name: str, start: Start, ending: str, side: str
) -> None:
    is_free = sysconfig.get_config_var("Py_GIL_DISABLED") == 1
    if "use" in ending and is_free and sys.version_info < (3, 14):
        pytest.skip("this interpreter unwinds threads that are in calls")
    script = f"""
end = brigade.join(name, side="{side}", **BLOCKS)
kept = [end.empty_block() if "{side}" == "reader" else end.data_block() for _ in range(2)]
views = [memoryview(block) for block in kept]
say("in")
{ENDINGS[ending]}
"""
    other = start(script, "-X", "dev", "-X", "faulthandler")
    end = join_writer(name) if side == "reader" else join_reader(name)
    if isinstance(end, brigade.Reader):
        end.send(b"1")
        end.send(b"2")
    assert other.hear() == "in"
    other.end(returncode={"by an exception": 1, "by sys.exit": 3}.get(ending, 0))
    assert "Fatal" not in other.errors and "panicked" not in other.errors
    assert "ResourceWarning" not in other.errors
    with pytest.raises((brigade.PartnerAborted, brigade.PartnerDied)):
        end.monitor.watch(LIMIT)


def test_a_message_that_stops_in_the_middle_gives_the_session_up(name: str, start: Start) -> None:
    other = start(
        """
        writer = brigade.join(name, side="writer", **BLOCKS)
        try:
            writer.monitor.watch()
        except brigade.PartnerAborted as error:
            say(error.reason)
        """
    )
    reader = join_reader(name)
    with pytest.raises(brigade.TimedOut):
        reader.send_message(bytes(100_000), timeout=0.1)
    assert other.end() == "it stopped in the middle of a message"
    with pytest.raises((brigade.Aborted, brigade.PartnerAborted)):
        reader.send(b"more")


def test_a_message_that_is_not_whole_in_time_is_gone_on_with(name: str, start: Start) -> None:
    other = start(
        """
        with brigade.join(name, side="reader", **BLOCKS) as reader:
            reader.send(b"in ", tag=5, more=True)
            reader.letter()
            reader.send(b"parts")
        """
    )
    with join_writer(name) as writer:
        for timeout in (0, 0.1, 0):
            with pytest.raises(brigade.TimedOut):
                while True:
                    assert writer.message(100, timeout) is None
        writer.post(b"")
        message = writer.message(100, LIMIT)
        assert message is not None and (message.data, message.tag) == (b"in parts", 5)
        assert writer.message(100, LIMIT) is None
    other.end()


def test_messages_of_several_threads_are_not_mixed_up(name: str, start: Start) -> None:
    other = start(
        """
        import collections
        with brigade.join(name, side="writer", **BLOCKS) as writer:
            found = collections.Counter()
            while (message := writer.message(1_000_000)) is not None:
                data = message.data
                assert data == data[:1] * len(data) and data[0] == message.tag
                found[message.tag, len(data)] += 1
        say(sorted(found.items()))
        """
    )
    with join_reader(name) as reader:

        def send(tag: int) -> None:
            for length in (1, 4096, 10_000, 50_000):
                for _ in range(5):
                    reader.send_message(bytes([tag]) * length, tag=tag)

        workers = [threading.Thread(target=send, args=(tag,)) for tag in range(1, 5)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(LIMIT)
            assert not worker.is_alive()
    expected = [((tag, n), 5) for tag in range(1, 5) for n in (1, 4096, 10_000, 50_000)]
    assert other.end() == str(expected)


def test_what_is_no_data_is_refused(name: str, start: Start) -> None:
    other = start(SINK)
    with join_reader(name) as reader:
        block = reader.empty_block(LIMIT)
        grid = numpy.arange(16, dtype="u1").reshape(4, 4)
        for data in ("text", None, 5, [1, 2]):
            for use in (reader.send, reader.send_message, reader.post, block.copy_from):
                with pytest.raises(TypeError):
                    use(data)  # type: ignore[arg-type]
        with pytest.raises(BufferError, match="do not lie together"):
            reader.send(grid[:, 1])
        with pytest.raises(BufferError, match="do not lie together"):
            block.copy_from(grid.T)
        with pytest.raises(ValueError):
            reader.send(bytes(4097))
        with pytest.raises(ValueError):
            block.copy_from(bytes(4096), 1)
        with pytest.raises(ValueError):
            block.copy_from(b"", 2**60)
        with pytest.raises(OverflowError):
            block.copy_from(b"", -1)
        with pytest.raises(brigade.InvalidUse):
            reader.post(bytes(1017))
        with pytest.raises(ValueError):
            reader.arm(0)
        with pytest.raises(ValueError):
            reader.arm(16)
        with pytest.raises(IndexError):
            reader.monitor.set_figure(4, 1)
        # A block may be copied to itself, and an array of any type to it.
        with memoryview(block) as view:
            view[:4] = b"abcd"
            assert block.copy_from(view[:4], 2) == 4
            assert bytes(view[:6]) == b"ababcd"
        assert block.copy_from(numpy.array([1.5])) == 8
        assert block.copy_from(numpy.array(["2000-01-01"], "M8[D]")) == 8
        block.send(4)
        reader.send(grid[1])
    other.end()


@pytest.mark.skipif(os.name == "nt", reason="there is no signal to a single process")
def test_ctrl_c_at_the_end_of_with_is_told_to_the_partner(name: str, start: Start) -> None:
    other = start(
        """
        try:
            with brigade.join(name, side="reader", **BLOCKS) as reader:
                threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        except KeyboardInterrupt:
            say("interrupted")
        """
    )
    writer = join_writer(name)
    with pytest.raises(brigade.PartnerAborted, match="KeyboardInterrupt"):
        writer.monitor.watch(LIMIT)
    assert other.end() == "interrupted"


@pytest.mark.skipif(os.name == "nt", reason="there is no signal to a single process")
def test_a_storm_of_signals_loses_nothing(name: str, start: Start) -> None:
    other = start(
        """
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        with brigade.join(name, side="writer", **BLOCKS) as writer:
            say([block.tag for block in writer] == list(range(2000)))
        signal.setitimer(signal.ITIMER_REAL, 0)
        """
    )
    with join_reader(name) as reader:
        for tag in range(2000):
            if tag % 200 == 0:
                time.sleep(0.05)
            reader.send(b"", tag=tag)
    assert other.end() == "True"


def test_an_end_that_is_shared_by_many_threads_ends_once(name: str, start: Start) -> None:
    """Finishing, aborting, leaving and waiting at once: each returns or raises."""
    other = start(
        """
        writer = brigade.join(name, side="writer", **BLOCKS)
        try:
            for block in writer:
                pass
            writer.finish()
        except brigade.Error:
            pass
        """
    )
    reader = join_reader(name)
    unexpected: list[BaseException] = []

    def use(call: str) -> None:
        for _ in range(50):
            try:
                match call:
                    case "with":
                        with reader:
                            time.sleep(0.001)
                    case "blocks":
                        reader.empty_block(0.01).send(0)
                    case "finish":
                        reader.finish(0.001)
                    case "letter":
                        reader.letter(0.01)
                    case "stream":
                        reader.stream().write(bytes(10_000))
                    case "look":
                        if reader.arm():
                            reader.disarm()
                        reader.monitor.delivered
                        reader.check()
            except brigade.Error:
                pass
            except BaseException as error:
                unexpected.append(error)

    calls = ["with", "blocks", "finish", "letter", "stream", "look", "blocks", "letter"]
    workers = [threading.Thread(target=use, args=(call,)) for call in calls]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(LIMIT)
        assert not worker.is_alive()
    assert not unexpected
    with pytest.raises(brigade.InvalidUse):
        reader.check()
    other.end()


SEEING = {
    "memoryview": "memoryview(block)",
    "a part of a memoryview": "memoryview(block)[3:]",
    "numpy.frombuffer": "numpy.frombuffer(block, dtype='u1')",
    "numpy.asarray": "numpy.asarray(block)",
    "numpy.array without a copy": "numpy.array(block, copy=False)",
    "a part of an array": "numpy.frombuffer(block, dtype='u8').reshape(2, -1)[1]",
    # Of the block itself, it would keep only that, and nothing tells.
    "numpy.ndarray": "numpy.ndarray(512, dtype='f8', buffer=memoryview(block))",
    "ctypes": "(ctypes.c_char * 100).from_buffer(block)",
    "an array's interface": "numpy.frombuffer(block, dtype='u1').__array_interface__ and numpy.asarray(memoryview(block))",
    "pyarrow": "pyarrow.py_buffer(block)",
    "a slice in pyarrow": "pyarrow.py_buffer(block).slice(5)",
    "torch": "torch.frombuffer(block, dtype=torch.uint8)",
    "torch, by numpy": "torch.from_numpy(numpy.frombuffer(block, dtype='u1'))",
    "pickle.PickleBuffer": "pickle.PickleBuffer(block)",
    "struct": "struct.Struct('8s').iter_unpack(block)",
}


@pytest.mark.parametrize("way", SEEING)
def test_whoever_sees_a_block_keeps_it(name: str, start: Start, way: str) -> None:
    """Ways of others to keep a buffer, which differ."""
    modules = {word: pytest.importorskip(word) for word in ("pyarrow", "torch") if word in SEEING[way]}
    other = start(SINK)
    with join_reader(name) as reader:
        block = reader.empty_block(LIMIT)
        names = {"block": block, "numpy": numpy, "ctypes": ctypes, "pickle": pickle, "struct": struct}
        names |= modules
        view = eval(SEEING[way], names)
        with pytest.raises(BufferError):
            block.send(0)
        del view
        gc.collect()
        block.send(0)
    other.end()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("call", ["join", "letter"])
def test_a_forked_child_has_sessions_of_its_own_whatever_the_parents_threads_wait_for(
    start: Start, call: str
) -> None:
    parent = start(
        f"""
        import itertools
        from concurrent.futures import ThreadPoolExecutor
        numbers = itertools.count()
        def pair():
            of = f"{{name}}-{{os.getpid()}}-{{next(numbers)}}"
            with ThreadPoolExecutor(1) as other:
                reader = other.submit(brigade.join, of, side="reader", **BLOCKS)
                writer = brigade.join(of, side="writer", **BLOCKS)
                return reader.result(), writer
        reader, writer = pair()
        waits = {{"join": lambda: brigade.join(name), "letter": reader.letter}}[{call!r}]
        for _ in range(3 if {call!r} == "letter" else 1):
            threading.Thread(target=waits, daemon=True).start()
        time.sleep(0.2)
        for _ in range(5):
            child = os.fork()
            if child == 0:
                for _ in range(5):
                    reader, writer = pair()
                    senders = [threading.Thread(target=reader.send, args=(b"",)) for _ in range(4)]
                    for sender in senders: sender.start()
                    for _ in senders: writer.data_block(30).done()
                    for sender in senders: sender.join()
                os._exit(0)
            say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        os._exit(0)
        """,
        "-W",
        "ignore",
    )
    assert parent.end().split() == ["0"] * 5


class Enough(Exception):
    """What a signal's handler raises."""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there is no such timer")
@pytest.mark.parametrize("what", ["block", "iteration", "copy", "newest", "message", "letter"])
def test_a_handler_that_raises_while_something_comes_loses_nothing(
    name: str, start: Start, what: str
) -> None:
    """The interpreter drops what a call returns when a signal's handler has raised."""
    other = start(
        """
        what = sys.stdin.readline().strip()
        with brigade.join(name, side="reader", **BLOCKS) as reader:
            for number in range(300):
                time.sleep(0.003)
                if what == "letter":
                    reader.post(str(number).encode(), timeout=30)
                else:
                    reader.send(str(number).encode(), tag=number, timeout=30)
        """
    )
    other.tell(what)

    in_call = False

    def stop(*_: object) -> None:
        nonlocal in_call
        if in_call:
            in_call = False
            raise Enough

    seen: list[int] = []
    room = bytearray(100)
    passed_over = interrupted = 0
    writer = join_writer(name)
    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
        found: Any = True
        while found is not None:
            try:
                in_call = True
                if what == "letter":
                    found = writer.letter(LIMIT)
                elif what == "message":
                    found = writer.message(100, LIMIT)
                elif what == "newest":
                    found = writer.newest_block(LIMIT)
                elif what == "block":
                    found = writer.data_block(LIMIT)
                elif what == "copy":
                    length = writer.recv_into(room, LIMIT)
                    found = None if length is None else room[:length]
                else:
                    found = next(iter(writer), None)
                in_call = False
            except Enough:
                interrupted += 1
                continue
            if found is not None:
                seen.append(int(bytes(found)))
                passed_over += found.skipped if what == "newest" else 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted > 3
    # Between the call and the next line there is a moment, as with any call of Python's.
    assert len(seen) + passed_over >= 300 - interrupted // 2
    assert seen == sorted(set(seen))
    assert writer.data_block(LIMIT) is None
    writer.finish()
    other.end()


def test_nothing_is_sent_after_an_end_gave_up(name: str, start: Start) -> None:
    other = start(
        """
        writer = brigade.join(name, side="writer", **BLOCKS)
        writer.data_block(30).done()
        say("first")
        sys.stdin.readline()
        try:
            say(writer.data_block(30))
        except brigade.PartnerAborted as error:
            say(error.reason)
        """
    )
    reader = join_reader(name)
    reader.send(b"first")
    assert other.hear() == "first"
    block = reader.empty_block(LIMIT)
    reader.abort("enough")
    with pytest.raises(brigade.Aborted):
        block.send(1)
    other.tell("look")
    assert other.end() == "enough"
