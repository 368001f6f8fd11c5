"""Objects pass as pickles, and their buffers beside them."""

from __future__ import annotations

import gc
import os
import pickle
import struct
from typing import Any

import brigade
import numpy as np
import pytest
from conftest import LIMIT, Start, join_writer
from pairs import beside, pair


@pytest.mark.parametrize(
    "what",
    [None, 7, "water", [1, {"a": (2, 3)}], b"x" * 10_000, list(range(5000)), {"empty": b""}],
    ids=lambda what: type(what).__name__,
)
def test_an_object_arrives_as_it_was(name: str, what: Any) -> None:
    reader, writer = pair(name)
    sending = beside(lambda: brigade.send_object(reader, what, tag=3))
    assert brigade.recv_object(writer, LIMIT) == what
    sending.join(LIMIT)


def test_arrays_in_objects_arrive_whether_they_fit_into_a_block_or_not(name: str) -> None:
    reader, writer = pair(name)
    arrays = [np.arange(n) for n in (0, 1, 100, 512, 513, 5000)]
    sending = beside(lambda: brigade.send_object(reader, {"arrays": arrays, "twice": arrays}))
    came = brigade.recv_object(writer, LIMIT)
    sending.join(LIMIT)
    assert [a.tolist() for a in came["arrays"]] == [a.tolist() for a in arrays]
    assert came["twice"] is came["arrays"]
    assert not any(a.flags.writeable for a in came["arrays"] if a.size)


def test_a_buffer_in_one_block_is_not_copied_and_keeps_its_block(name: str) -> None:
    reader, writer = pair(name)
    brigade.send_object(reader, {"frame": np.full(4096, 5, "u1"), "number": 1})
    came = brigade.recv_object(writer, LIMIT)
    assert came["frame"].ctypes.data % 4096 == 0 and writer.held == 1
    del came
    gc.collect()
    assert writer.held == 0


def test_an_object_with_more_buffers_than_there_are_blocks_arrives(name: str) -> None:
    reader, writer = pair(name)
    sending = beside(lambda: brigade.send_object(reader, [np.full(10, n) for n in range(100)]))
    came = brigade.recv_object(writer, LIMIT)
    sending.join(LIMIT)
    assert [int(array[0]) for array in came] == list(range(100))


def test_the_end_is_an_eof_error_and_none_is_an_object(name: str) -> None:
    reader, writer = pair(name)
    brigade.send_object(reader, None)
    reader.close()
    assert brigade.recv_object(writer, LIMIT) is None
    with pytest.raises(EOFError):
        brigade.recv_object(writer, LIMIT)
    writer.finish()


def test_what_cannot_be_pickled_sends_nothing(name: str) -> None:
    reader, writer = pair(name)
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        brigade.send_object(reader, lambda: None)
    reader.close()
    with pytest.raises(EOFError):
        brigade.recv_object(writer, LIMIT)


class Sends:
    """Sends something when it is pickled, and says what came of that."""

    def __init__(self, reader: brigade.Reader) -> None:
        self.reader = reader

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        try:
            brigade.send_object(self.reader, "within")
        except brigade.InvalidUse as error:
            return str, (str(error),)
        return str, ("it was sent",)


def test_what_is_pickled_cannot_send_through_the_same_end(name: str) -> None:
    reader, writer = pair(name)
    brigade.send_object(reader, Sends(reader), timeout=LIMIT)
    assert brigade.recv_object(writer, LIMIT) == "this thread is in a call of the same end already"


def test_parts_that_are_empty_are_an_error(name: str) -> None:
    """Else there would be no end to them."""
    reader, writer = pair(name)
    reader.send(b"", kind=0xFF02, more=True)
    with pytest.raises(ValueError, match="empty"):
        brigade.recv_object(writer, LIMIT)


FOOT = struct.pack("<I4s", 0, b"BRO1")


@pytest.mark.parametrize(
    ("lie", "kind"),
    [
        (b"", 0xFF02),
        (b"nothing", 0xFF02),
        (struct.pack("<I4s", 1 << 30, b"BRO1"), 0xFF02),
        (struct.pack("<QI4s", 1 << 60, 1, b"BRO1"), 0xFF02),
        (FOOT, 0xFF02),
        (pickle.dumps(1)[:-1] + FOOT, 0xFF02),
        (b"\x80\x05\x97." + FOOT, 0xFF02),
        (pickle.dumps(1) + FOOT, 0),
        (pickle.dumps(1) + FOOT, 0xFF03),
    ],
)
def test_what_cannot_be_an_object_is_an_error_and_the_next_one_arrives(
    name: str, lie: bytes, kind: int
) -> None:
    reader, writer = pair(name)
    reader.send(lie, kind=kind)
    brigade.send_object(reader, "next")
    with pytest.raises(ValueError):
        brigade.recv_object(writer, LIMIT)
    gc.collect()
    assert writer.held == 0
    assert brigade.recv_object(writer, LIMIT) == "next"


def test_no_more_bytes_are_taken_than_the_caller_allows(name: str) -> None:
    reader, writer = pair(name)
    sending = beside(lambda: brigade.send_object(reader, b"x" * 5000))
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        brigade.recv_object(writer, LIMIT, max_bytes=1000)
    reader.abort("enough")
    sending.join(LIMIT)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root, to be another user")
def test_what_another_user_pickled_is_not_run(name: str, start: Start, tmp_path: Any) -> None:
    # A name that both can use is a path, in a directory that both can reach.
    import tempfile

    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        os.chmod(place, 0o777)
        path = f"{place}/name"
        reader = start(
            f"""
            os.setgid(65534); os.setuid(65534)
            with brigade.join({path!r}, side="reader", allow_users=["root"], **BLOCKS) as reader:
                brigade.send_object(reader, 1)
            """
        )
        writer = brigade.join(
            path, side="writer", allow_users=["65534"], block_size=4096, block_count=4, timeout=LIMIT
        )
        assert isinstance(writer, brigade.Writer)
        with pytest.raises(PermissionError):
            brigade.recv_object(writer, LIMIT)
        writer.abort("refused")
        reader.end(None)


def test_a_deadline_takes_nothing(name: str, start: Start) -> None:
    reader = start(
        """
        with brigade.join(name, side="reader", **BLOCKS) as reader:
            time.sleep(0.2)
            brigade.send_object(reader, "late")
        """
    )
    with join_writer(name) as writer:
        with pytest.raises(brigade.TimedOut):
            brigade.recv_object(writer, 0.001)
        assert brigade.recv_object(writer, LIMIT) == "late"
        with pytest.raises(EOFError):
            brigade.recv_object(writer, LIMIT)
    reader.end()
