"""Data passes, whole and in order."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import brigade
import pytest
from conftest import LIMIT, Start, join_reader, join_writer
from pairs import beside, pair

ECHO = """
with brigade.join(name, side="writer", **BLOCKS) as writer:
    for block in writer:
        say(block.tag, block.kind, block.more, len(block), bytes(block)[:8].hex())
"""


def test_what_is_filled_through_a_view_arrives_with_its_label(name: str, start: Start) -> None:
    writer = start(ECHO)
    with join_reader(name) as reader:
        block = reader.empty_block()
        with memoryview(block) as view:
            assert not view.readonly and len(view) == len(block) == 4096
            view[:3] = b"abc"
        block.send(3, tag=7, kind=2, more=True)
        reader.send(b"xyz", tag=8)
        reader.send(b"")
    assert writer.end() == "7 2 True 3 616263\n8 0 False 3 78797a\n0 0 False 0 "
    assert reader.closed


def test_a_block_that_was_sent_arrives_though_nobody_calls_the_end(
    name: str, start: Start
) -> None:
    writer = start(ECHO)
    reader = join_reader(name)
    for tag in range(20):
        reader.empty_block(LIMIT).send(8, tag=tag)
        assert writer.hear().startswith(f"{tag} ")
    reader.finish(LIMIT)
    writer.end()


def test_a_block_that_was_given_back_is_there_though_nobody_calls_the_end(
    name: str, start: Start
) -> None:
    reader = start(
        """
        with brigade.join(name, side="reader", **BLOCKS) as reader:
            for tag in range(20):
                reader.send(bytes([tag]) * 8, tag=tag)
                reader.post(b"")
                while reader.delivered.blocks <= tag:
                    time.sleep(0.001)
        """
    )
    with join_writer(name) as writer:
        for tag in range(20):
            block = writer.data_block(LIMIT)
            assert block is not None and block.tobytes() == bytes([tag]) * 8
            assert writer.letter(LIMIT) is not None
            if tag % 2:
                block.done()
            del block
        assert writer.data_block(LIMIT) is None
    reader.end()


@pytest.mark.parametrize("size", [1, 4096, 1 << 20])
def test_blocks_are_copied_to_a_buffer_and_given_back_at_once(
    name: str, start: Start, size: int
) -> None:
    reader = start(
        f"""
        with brigade.join(name, side="reader", block_size={size}, block_count=2, timeout=30.0) as reader:
            for tag in range(20):
                reader.send(bytes([tag]) * ({size} - tag % 2), tag=tag)
                while reader.delivered.blocks <= tag:
                    time.sleep(0.001)
        """
    )
    with brigade.join(name, side="writer", block_size=size, block_count=2, timeout=30.0) as writer:
        room = bytearray(size + 3)
        for tag in range(20):
            room[:] = b"x" * len(room)
            came = size - tag % 2
            assert writer.recv_into(room, LIMIT) == came
            assert room == bytes([tag]) * came + b"x" * (len(room) - came)
            assert writer.held == 0
        assert writer.recv_into(room) is None and writer.at_end
        assert writer.recv_into(room) is None
    reader.end()


def test_a_block_that_is_longer_than_the_buffer_is_for_the_next_call(
    name: str, start: Start
) -> None:
    reader = start(
        """
        with brigade.join(name, side="reader", **BLOCKS) as reader:
            for tag in range(5):
                reader.send(bytes([tag]) * 9, tag=tag)
        """
    )
    with join_writer(name) as writer:
        room = bytearray(9)
        for _ in range(2):
            with pytest.raises(ValueError, match="longer"):
                writer.recv_into(memoryview(room)[:8], LIMIT)
        assert not any(room)
        assert writer.recv_into(room, LIMIT) == 9 and room == bytes(9)
        with pytest.raises(ValueError):
            writer.recv_into(bytearray(), LIMIT)
        block = writer.data_block(LIMIT)
        assert block is not None and block.tag == 1
        with pytest.raises(BufferError):
            writer.recv_into(bytes(9), LIMIT)
        block.done()
        with pytest.raises(ValueError):
            writer.recv_into(bytearray(), LIMIT)
        # What was kept comes first, and is given back, too.
        assert [block.tag for block in writer] == [2, 3, 4]
    reader.end()


def test_messages_of_any_length_pass(name: str, start: Start) -> None:
    reader = start(
        """
        with brigade.join(name, side="reader", **BLOCKS) as reader:
            for length in (0, 1, 4096, 4097, 50_000):
                reader.send_message(bytes([length % 251]) * length, tag=length, kind=3)
        """
    )
    with join_writer(name) as writer:
        for length in (0, 1, 4096, 4097, 50_000):
            message = writer.message(50_000, LIMIT)
            assert message is not None
            assert (message.tag, message.kind, message.more) == (length, 3, False)
            assert bytes(message) == bytes([length % 251]) * length
        assert writer.message(1, LIMIT) is None
        assert writer.at_end
    reader.end()


def test_letters_pass_beside_the_blocks(name: str, start: Start) -> None:
    other = start(
        """
        with brigade.join(name, side="writer", **BLOCKS) as writer:
            while (letter := writer.letter()) is not None:
                writer.post(bytes(letter).upper(), letter.kind + 1)
            assert writer.data_block() is None
        """
    )
    with join_reader(name) as reader:
        for kind in range(40):
            reader.post(b"word", kind)
            letter = reader.letter(LIMIT)
            assert letter == brigade.Letter(kind + 1, b"WORD")
    other.end()


def test_both_ways_at_once(name: str, start: Start) -> None:
    script = """
        reader, writer, is_first = brigade.join_both_ways(name, block_size=64)
        with reader, writer:
            reader.send(b"from the first" if is_first else b"from the second")
            reader.close()
            for block in writer:
                say(is_first, bytes(block).decode())
            writer.finish()
            reader.verdict()
        """
    said = {start(script).end for _ in range(2)}
    assert {end() for end in said} == {"True from the second", "False from the first"}


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")
def test_invited_processes_that_nobody_asks_for_do_not_stay_in_the_systems_table() -> None:
    # It is there yet when its object is gone.
    script = "import brigade, time\nwith brigade.accept(): pass\ntime.sleep(0.2)"
    pids = []
    for _ in range(3):
        child, reader = brigade.invite([Path(sys.executable), "-P", "-c", script], timeout=LIMIT)
        pids.append(child.pid)
        with pytest.raises(brigade.PartnerAborted), reader:
            pass
        del child
        place = Path(f"/proc/{pids[-1]}/stat")
        while place.exists() and place.read_text().split()[2] != "Z":
            time.sleep(0.001)
    # Each was asked for by the next invitation, but for the last one.
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids[:-1])


def test_a_process_is_invited(name: str) -> None:
    script = "import brigade\nwith brigade.accept() as w:\n    assert [bytes(b) for b in w] == [b'1']"
    child, reader = brigade.invite([sys.executable, "-P", "-c", script], side="reader", timeout=LIMIT)
    with reader:
        assert reader.partner.process_id == child.pid
        reader.send(b"1")
    assert child.wait(LIMIT) == 0


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 1_000_000])
def test_streams_carry_any_number_of_bytes(name: str, start: Start, size: int) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    data = data[:size]
    other = start(
        """
        import hashlib, shutil, io
        with brigade.join(name, side="writer", **BLOCKS) as writer:
            whole = io.BytesIO()
            with writer.stream() as stream:
                shutil.copyfileobj(stream, whole)
        say(hashlib.sha256(whole.getvalue()).hexdigest())
        """
    )
    import hashlib
    import io
    import shutil

    with join_reader(name) as reader:
        with io.BufferedWriter(reader.stream(), 4096) as stream:
            shutil.copyfileobj(io.BytesIO(data), stream, 1000)
    assert other.end() == hashlib.sha256(data).hexdigest()


def test_threads_that_read_one_stream_get_every_byte_once(name: str) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        reader, writer = pair(name)
        stream, came = writer.stream(), []

        def read() -> None:
            while piece := stream.read(100):
                came.append(piece)

        reading = [beside(read) for _ in range(4)]
        sent = reader.stream()
        for number in range(1000):
            sent.write(bytes([number % 251]) * 250)
        reader.close()
        for thread in reading:
            thread.join(LIMIT)
            assert not thread.is_alive()
    finally:
        sys.setswitchinterval(interval)
    assert sum(len(piece) for piece in came) == 250_000
    assert sorted(b"".join(came)) == sorted(bytes(number % 251 for number in range(1000)) * 250)
    writer.finish()


def test_sessions_are_seen_from_outside(name: str, start: Start) -> None:
    other = start(ECHO)
    with join_reader(name):
        pids = [session.writer.process_id for session in brigade.sessions() if session.writer]
        assert other.pid in pids
    other.end()


def test_the_newest_block_says_how_many_were_passed_over(name: str, start: Start) -> None:
    reader = start(
        """
        with brigade.join(name, side="reader", **BLOCKS) as reader:
            for tag in range(3):
                reader.send(b"", tag=tag)
            reader.post(b"")
            assert reader.letter() is not None
            reader.send(b"", tag=3)
        """
    )
    with join_writer(name) as writer:
        assert writer.letter(LIMIT) is not None
        newest = writer.newest_block(LIMIT)
        assert newest is not None and (newest.tag, newest.skipped) == (2, 2)
        writer.post(b"")
        block = writer.data_block(LIMIT)
        assert block is not None and (block.tag, block.skipped) == (3, 0)
        assert writer.newest_block(LIMIT) is None
        newest.done()
        block.done()
    reader.end()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="takes another user")
def test_another_user_s_blocks_are_seen_as_copies_that_last(start: Start) -> None:
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o777)
        path = Path(directory, "name")
        other = start(
            f"""
            os.setuid(1)
            with brigade.join("{path}", side="reader", allow_users=["0"], **BLOCKS) as reader:
                block = reader.empty_block()
                view = memoryview(block)
                view[:5] = b"first"
                reader.send(b"other")
                view.release()
                block.send(5)
            """
        )
        with brigade.join(path, side="writer", allow_users=["1"], block_size=4096, block_count=4) as writer:
            assert not writer.partner.is_own_user and writer.partner.user_id == 1
            views = []
            room = bytearray(5)
            for block in writer:
                assert block.copy_to(room) == len(block) == 5
                views.append((bytes(room), memoryview(block)))
            assert [data for data, _ in views] == [b"other", b"first"]
            assert all(view == data for data, view in views)
            views.clear()
        other.end()


def test_lines_are_not_read_byte_by_byte(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = pair(name)
    lines = [b"short\n", b"x" * 10_000 + b"\n", b"\n", b"the last one"]
    with reader:
        # Lines begin and end anywhere in blocks, and some of these are empty.
        sent = b"".join(lines)
        for piece in (sent[:3], b"", sent[3:4000], sent[4000:8000], sent[8000:]):
            reader.send(piece)
            if piece == sent[3:4000]:
                stream, reads = writer.stream(), 0
                readinto = type(stream).readinto
                assert stream.peek() == b"sho"

                def counted(self: Any, buffer: bytearray) -> int:
                    nonlocal reads
                    reads += 1
                    count: int = readinto(self, buffer)
                    return count

                monkeypatch.setattr(type(stream), "readinto", counted)
                assert stream.readline() == lines[0]
        reader.close()
        assert list(stream) == lines[1:]
        assert stream.peek() == b"" and reads < 40, reads
        stream.close()
        with pytest.raises(ValueError):
            stream.peek()
        writer.finish()
