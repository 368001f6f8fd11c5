"""Arrays pass, with their types and shapes."""

from __future__ import annotations

import gc
import json
import os
import signal
import struct
import threading
import weakref
from typing import Any

import brigade
import numpy as np
import pytest
from conftest import LIMIT, Start, join_reader, join_writer
from pairs import beside, pair

FIELDS = np.dtype([("a", "<i4"), ("b", [("c", "<f8"), ("d", "<U3")]), ("e", "<i2", (2, 2))])
DATED = np.dtype([("at", "M8[s]"), ("value", "<f4")])

ARRAYS: list[Any] = [
    np.arange(12, dtype="f4").reshape(3, 4),
    np.arange(5, dtype=">i2"),
    np.array(7.5),
    np.zeros((0, 3)),
    np.array([True, False]),
    np.array(["water", "fire"]),
    np.array([b"a", b"bc"]),
    np.arange(3) + 2j,
    np.arange("2026-01", "2026-04", dtype="M8[M]"),
    np.arange(3).astype("m8[ms]"),
    np.arange(6).astype("m8[ms]").reshape(2, 3).T,
    np.array([(1, (2.5, "x"), [[1, 2], [3, 4]]), (2, (0, ""), 0)], dtype=FIELDS),
    np.array([("2026-01-01", 1), ("2026-01-02", 2)], dtype=DATED),
    np.array([("2026-01-01", 1), ("2026-01-02", 2)], dtype=DATED)[::-1],
    np.array([(1,), (2,)], dtype=[(("a title", "a"), "<i4")]),
    np.asfortranarray(np.arange(6).reshape(2, 3)),
    np.arange(20)[::3],
    np.arange(24).reshape(2, 3, 4).T,
    [[1, 2], [3, 4]],
    np.array(["water", "fire"] * 500),
    np.zeros(500, dtype=FIELDS),
    np.zeros(500, dtype=DATED),
    np.arange(5000).astype("m8[ms]").reshape(2, -1).T,
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: str(np.asarray(array).dtype))
@pytest.mark.parametrize("block_size", [4096, 512, 200])
def test_an_array_arrives_as_it_was(name: str, array: Any, block_size: int) -> None:
    reader, writer = pair(name, block_size)
    sending = beside(lambda: brigade.send_array(reader, array, tag=1))
    came = brigade.recv_array(writer, LIMIT)
    sending.join(LIMIT)
    assert came is not None
    sent = np.asarray(array)
    assert came.dtype == sent.dtype and came.shape == sent.shape
    assert np.array_equal(came, sent)


@pytest.mark.parametrize("size", [0, 1, 4000, 4096, 4097, 8192, 100_000])
def test_bytes_of_every_length_arrive(name: str, size: int) -> None:
    reader, writer = pair(name)
    data = np.frombuffer(np.random.default_rng(1).bytes(size), "u1")
    sending = beside(lambda: brigade.send_array(reader, data))
    came = brigade.recv_array(writer, LIMIT)
    assert came is not None and np.array_equal(came, data)
    sending.join(LIMIT)
    assert not sending.is_alive()


@pytest.mark.parametrize("size", [3000, 4096])
def test_an_array_in_one_block_is_not_copied_and_keeps_its_block(name: str, size: int) -> None:
    reader, writer = pair(name)
    brigade.send_array(reader, np.full(size, 7, "u1"))
    came = brigade.recv_array(writer, LIMIT)
    assert came is not None and not came.flags.writeable and not came.flags.owndata
    # Where a block begins.
    assert came.ctypes.data % 4096 == 0
    assert writer.held == 1
    part = came[1:3]
    del came
    gc.collect()
    assert writer.held == 1 and part.tolist() == [7, 7]
    del part
    gc.collect()
    assert writer.held == 0


def test_who_keeps_all_arrays_gets_copies_before_the_blocks_run_out(
    name: str, start: Start
) -> None:
    reader = start(
        """
        import numpy as np
        with brigade.join(name, side="reader", **BLOCKS) as reader:
            for number in range(50):
                brigade.send_array(reader, np.full(500, number))
        """
    )

    with join_writer(name) as writer:
        kept = []
        while (array := brigade.recv_array(writer, LIMIT)) is not None:
            kept.append(array)
        assert [int(array[0]) for array in kept] == list(range(50))
        # Blocks that are still seen were not given back, so there is no verdict yet.
        del array
        kept.clear()
        gc.collect()
    reader.end()


def test_what_has_no_bytes_is_refused_and_nothing_is_sent(name: str) -> None:
    reader, writer = pair(name)
    with pytest.raises(TypeError):
        brigade.send_array(reader, np.array([object()]))
    with pytest.raises(TypeError):
        brigade.send_array(reader, np.zeros(1, dtype=[("a", "O")]))
    reader.close()
    assert brigade.recv_array(writer, LIMIT) is None


def test_blocks_that_are_too_small_for_a_header_are_said_to_be(name: str) -> None:
    reader, _writer = pair(name, block_size=16)
    with pytest.raises(ValueError, match="too small"):
        brigade.send_array(reader, np.zeros(4))


def header(told: object) -> bytes:
    text = json.dumps(told).encode()
    return text + struct.pack("<I4s", len(text), b"BRA1")


KIND = 0xFF01

LIES: list[tuple[bytes, int]] = [
    (b"", KIND),
    (b"no array", KIND),
    (header({"descr": "<f8", "shape": [1]}) + b"x", KIND),
    (struct.pack("<I4s", 1000, b"BRA1"), KIND),
    (struct.pack("<I4s", 0, b"BRA1"), KIND),
    (header({"descr": "<f8", "shape": [2]}), KIND),
    (bytes(8) + header({"descr": "<f8", "shape": [2]}), KIND),
    (header({"descr": "<f8", "shape": [-1]}), KIND),
    (header({"descr": "<f8", "shape": [1 << 70]}), KIND),
    (header({"descr": "<f8", "shape": [0] * 65}), KIND),
    (header({"descr": "<f8", "shape": ["1"]}), KIND),
    (bytes(8) + header({"descr": "<f8", "shape": ["1"]}), KIND),
    (bytes(8) + header({"descr": "<f8", "shape": [True]}), KIND),
    (bytes(8) + header({"descr": "<f8", "shape": [1.5]}), KIND),
    (bytes(8) + header({"descr": "<f8", "shape": "1"}), KIND),
    (header({"descr": "<f8", "shape": [0, 1 << 70]}), KIND),
    (header({"descr": "|V0", "shape": [1 << 70]}), KIND),
    (header({"descr": "<f8"}), KIND),
    (header({"descr": "|O", "shape": [0]}), KIND),
    (header({"descr": [["a", "|O"]], "shape": [0]}), KIND),
    (header({"descr": [["a"]], "shape": [0]}), KIND),
    (header({"descr": 7, "shape": [0]}), KIND),
    (header([]), KIND),
    (b"[" * 4000 + struct.pack("<I4s", 4000, b"BRA1"), KIND),
    (header({"descr": "<f8", "shape": [0]}), 0),
]


@pytest.mark.parametrize("number", range(len(LIES)))
def test_what_cannot_be_an_array_is_an_error_and_the_next_one_arrives(
    name: str, number: int
) -> None:
    reader, writer = pair(name)
    lie, kind = LIES[number]
    reader.send(lie, kind=kind)
    brigade.send_array(reader, np.arange(3))
    with pytest.raises(ValueError):
        brigade.recv_array(writer, LIMIT)
    gc.collect()
    assert writer.held == 0
    came = brigade.recv_array(writer, LIMIT)
    assert came is not None and came.tolist() == [0, 1, 2]


@pytest.mark.parametrize("parts", [[b"x" * 8], [b"x" * 8, b"y" * 9], [b"x" * 17], [b"", b"x" * 16], []])
def test_parts_that_are_not_what_the_header_says_are_an_error(
    name: str, parts: list[bytes]
) -> None:
    reader, writer = pair(name)
    reader.send(header({"descr": "<f8", "shape": [2]}), kind=KIND, more=True)
    for index, part in enumerate(parts):
        reader.send(part, kind=KIND, more=index + 1 < len(parts))
    if parts:
        reader.close()
    else:
        reader.abort("as it wanted")
    with pytest.raises((ValueError, brigade.PartnerAborted)):
        brigade.recv_array(writer, LIMIT)


def test_a_huge_shape_allocates_nothing_before_its_bytes_come(name: str) -> None:
    reader, writer = pair(name)
    reader.send(header({"descr": "<f8", "shape": [1 << 50]}), kind=KIND, more=True)
    reader.send(b"12345678", kind=KIND)
    with pytest.raises(ValueError, match="8 bytes for an array of"):
        brigade.recv_array(writer, LIMIT)


def test_a_deadline_takes_and_sends_nothing(name: str) -> None:
    reader, writer = pair(name)
    with pytest.raises(brigade.TimedOut):
        brigade.recv_array(writer, 0.01)
    for _ in range(4):
        brigade.send_array(reader, np.zeros(1), timeout=LIMIT)
    with pytest.raises(brigade.TimedOut):
        brigade.send_array(reader, np.zeros(1), timeout=0.01)
    reader.close()
    count = 0
    while brigade.recv_array(writer, LIMIT) is not None:
        count += 1
    assert count == 4


def test_the_partners_death_is_told_in_the_middle_of_an_array(name: str, start: Start) -> None:
    writer = start(
        """
        with brigade.join(name, side="writer", **BLOCKS) as writer:
            say("joined")
            time.sleep(60)
        """
    )
    reader = join_reader(name)
    assert writer.hear() == "joined"
    beside(writer.kill)
    with pytest.raises(brigade.PartnerDied):
        brigade.send_array(reader, np.zeros(1 << 20))


class Enough(Exception):
    """What a signal's handler raises."""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there is no such timer")
def test_who_is_interrupted_in_the_middle_gets_the_array_by_the_next_call(
    name: str, start: Start
) -> None:
    reader = start(
        """
        import numpy as np
        from brigade import _arrays
        with brigade.join(name, side="reader", **BLOCKS) as reader:
            for number, part in enumerate(_arrays.sent(np.arange(2000), 4096, 0)):
                if number == 3:
                    say("half")
                    sys.stdin.readline()
                part.send(reader.empty_block())
        """
    )

    writer = join_writer(name)

    def stop(*_: object) -> None:
        # In the middle: three parts have been taken.
        if writer.delivered.blocks == 3:
            raise Enough

    assert reader.hear() == "half"
    before = signal.signal(signal.SIGALRM, stop)
    try:
        with pytest.raises(Enough):
            signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
            brigade.recv_array(writer)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    with pytest.raises(ValueError, match="something else"):
        brigade.recv_object(writer)
    reader.tell("go on")
    came = brigade.recv_array(writer, LIMIT)
    assert came is not None and np.array_equal(came, np.arange(2000))
    assert brigade.recv_array(writer, LIMIT) is None
    writer.finish()
    reader.end()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_is_told_while_a_thread_receives(name: str, start: Start) -> None:
    other = start(
        """
        # Not by the thread, at the fork.
        import numpy
        writer = brigade.join(name, side="writer", **BLOCKS)
        def receive():
            try:
                brigade.recv_array(writer)
            except brigade.Error:
                pass
        threading.Thread(target=receive, daemon=True).start()
        time.sleep(0.2)
        if os.fork() == 0:
            try:
                brigade.recv_array(writer)
            except brigade.InvalidUse:
                os._exit(7)
            os._exit(1)
        say(os.waitstatus_to_exitcode(os.wait()[1]))
        """
    )
    reader = join_reader(name)
    assert other.hear() == "7"
    reader.abort("seen")
    other.end()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there is no alarm")
def test_a_signal_handler_that_receives_in_the_middle_is_told(name: str) -> None:
    reader, writer = pair(name)
    told: list[str] = []

    def handle(*_: object) -> None:
        try:
            brigade.recv_array(writer)
        except brigade.InvalidUse as error:
            told.append(str(error))
        reader.send(bytes(8), kind=KIND)

    reader.send(header({"descr": "<f8", "shape": [1]}), kind=KIND, more=True)
    before = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        came = brigade.recv_array(writer)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert came is not None and came.tolist() == [0]
    assert told == ["this thread is in a call of the same end already"]


def test_a_writer_that_was_interrupted_in_the_middle_is_collected(name: str) -> None:
    reader, writer = pair(name)
    reader.send(header({"descr": "<f8", "shape": [1]}), kind=KIND, more=True)
    aborting = threading.Timer(0.2, writer.abort)
    aborting.start()
    try:
        brigade.recv_array(writer)
    except brigade.Aborted:
        pass
    aborting.join(LIMIT)
    gone = weakref.ref(writer)
    del writer, aborting
    gc.collect()
    assert gone() is None


def test_threads_that_send_and_receive_in_several_blocks_take_turns(name: str) -> None:
    reader, writer = pair(name)
    came: list[int] = []

    def receive() -> None:
        while (array := brigade.recv_array(writer, LIMIT)) is not None:
            assert (array == array[0]).all()
            came.append(int(array[0]))

    def send(start: int) -> None:
        for number in range(start, start + 10):
            brigade.send_array(reader, np.full(1500 + number, number), timeout=LIMIT)

    receiving = [beside(receive) for _ in range(3)]
    sending = [beside(lambda start=start: send(start)) for start in (0, 10, 20)]
    for thread in sending:
        thread.join(LIMIT)
    reader.close()
    for thread in receiving:
        thread.join(LIMIT)
    assert sorted(came) == list(range(30))
