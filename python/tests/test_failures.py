"""What goes wrong is an exception, soon, and after all that was sent before."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import brigade
import numpy
import pytest
from conftest import LIMIT, Start, join_reader, join_writer, seen

SOON = 10.0
"""Seconds within which the death of a partner is known, and a signal is heeded, on the busiest machine; a tenth
of one as a rule."""


def test_a_reader_that_is_killed_while_its_writer_waits_is_an_exception_after_all_its_data(
    name: str, start: Start
) -> None:
    other = start(
        """
        reader = brigade.join(name, side="reader", **BLOCKS)
        for tag in range(3):
            reader.send(b"data", tag=tag)
        reader.post(b"")
        time.sleep(60)
        """
    )
    with pytest.raises(brigade.PartnerDied) as died, join_writer(name) as writer:
        assert writer.letter(LIMIT) is not None
        killer = threading.Timer(0.3, other.kill)
        killer.start()
        for tag in range(3):
            block = writer.data_block(LIMIT)
            assert block is not None and block.tag == tag
            block.done()
        writer.data_block(LIMIT)
    killer.join()
    assert died.value.partner is not None and died.value.partner.process_id == other.pid
    assert died.value.delivered == (3, 12)
    assert isinstance(died.value, ConnectionError)


def test_a_writer_that_is_killed_is_an_exception_in_every_wait_of_its_reader(
    name: str, start: Start
) -> None:
    other = start('writer = brigade.join(name, side="writer", **BLOCKS)\ntime.sleep(60)')
    reader = join_reader(name)
    blocks = [reader.empty_block(LIMIT) for _ in range(4)]
    killer = threading.Timer(0.3, other.kill)
    killer.start()
    with pytest.raises(brigade.PartnerDied):
        reader.empty_block(LIMIT)
    killer.join()
    since = time.monotonic()
    with pytest.raises(brigade.PartnerDied):
        reader.check()
    with pytest.raises(brigade.PartnerDied):
        reader.letter()
    with pytest.raises(brigade.PartnerDied):
        reader.monitor.watch()
    with pytest.raises(brigade.PartnerDied):
        reader.finish()
    assert time.monotonic() - since < SOON
    del blocks


def test_views_outlive_the_partner_and_the_end(name: str, start: Start) -> None:
    other = start(
        """
        reader = brigade.join(name, side="reader", **BLOCKS)
        reader.send(b"lasting")
        time.sleep(60)
        """
    )
    writer = join_writer(name)
    block = writer.data_block(LIMIT)
    assert block is not None
    view = memoryview(block)
    other.kill()
    with pytest.raises(brigade.PartnerDied):
        writer.data_block(LIMIT)
    del writer, block
    gc.collect()
    assert bytes(view) == b"lasting"


def test_nothing_comes_in_time_and_the_session_goes_on(name: str, start: Start) -> None:
    other = start(
        """
        with brigade.join(name, side="reader", **BLOCKS) as reader:
            reader.letter()
            reader.send(b"late")
        """
    )
    with join_writer(name) as writer:
        for timeout in (0, -1, 0.01, 0.12):
            with pytest.raises(brigade.TimedOut) as late:
                writer.data_block(timeout)
            assert isinstance(late.value, TimeoutError)
            with pytest.raises(brigade.TimedOut):
                writer.letter(timeout)
            with pytest.raises(brigade.TimedOut):
                writer.message(10, timeout)
        with pytest.raises(ValueError):
            writer.data_block(float("nan"))
        writer.post(b"")
        block = writer.data_block(1e300)
        assert block is not None and bytes(block) == b"late"
        del block
        assert writer.data_block() is None
    other.end()


def test_an_exception_inside_with_is_told_to_the_partner(name: str, start: Start) -> None:
    other = start(
        """
        with brigade.join(name, side="writer", **BLOCKS) as writer:
            raise ValueError("the disk is full")
        """
    )
    with pytest.raises(brigade.PartnerAborted) as failed, join_reader(name) as reader:
        reader.finish(LIMIT)
    assert failed.value.reason == "ValueError: the disk is full"
    other.end(returncode=1)


def test_a_writer_that_leaves_before_the_end_of_the_data_says_so(name: str, start: Start) -> None:
    other = start('with brigade.join(name, side="writer", **BLOCKS): pass')
    with pytest.raises(brigade.PartnerAborted, match="left before the end"), join_reader(name) as r:
        r.finish(LIMIT)
    other.end()


def test_nobody_comes_in_time(name: str) -> None:
    with pytest.raises(brigade.NoPartner):
        brigade.join(name, timeout=0.05)
    with pytest.raises(brigade.InvalidOption):
        brigade.join(name, block_size=0)
    with pytest.raises(TypeError):
        brigade.join(name, blocksize=1)  # type: ignore[call-overload]
    with pytest.raises(ValueError):
        brigade.join(name, side="drainer")  # type: ignore[call-overload]


WAITS = {
    "join": "brigade.join(name + '-nobody')",
    "empty_block": "while True: kept.append(end.empty_block())",
    "verdict": "end.finish()",
    "letter": "end.letter()",
    "post": "while True: end.post(b'')",
    "send": "while True: end.send(b'')",
    "send_message": "end.send_message(bytes(1000_000))",
    "watch": "end.monitor.watch()",
    "another thread's call": """
threading.Thread(target=end.letter, daemon=True).start()
time.sleep(0.2)
end.letter()
""",
}


@pytest.mark.skipif(os.name == "nt", reason="there is no signal to a single process")
@pytest.mark.parametrize("wait", WAITS)
def test_ctrl_c_ends_every_wait(name: str, start: Start, wait: str) -> None:
    script = f"""
kept = []
end = brigade.join(name, side="reader", **BLOCKS)
def interrupt():
    time.sleep(0.4)
    global since
    since = time.monotonic()
    os.kill(os.getpid(), signal.SIGINT)
try:
    threading.Thread(target=interrupt, daemon=True).start()
    exec('''{WAITS[wait]}''')
except KeyboardInterrupt:
    say("interrupted", time.monotonic() - since < {SOON})
os._exit(0)
"""
    other = start(script)
    writer = join_writer(name)
    assert other.end() == "interrupted True"
    del writer


def test_errors_can_be_pickled() -> None:
    for kind in (brigade.PartnerAborted, brigade.TimedOut, brigade.InvalidUse):
        error = kind("so it is")
        error.delivered = brigade.Delivered(1, 2)
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is kind and str(again) == "so it is" and again.delivered == (1, 2)


def test_a_third_process_is_refused(name: str, start: Start) -> None:
    other = start('writer = brigade.join(name, side="writer", **BLOCKS)\nsay("in")\ntime.sleep(60)')
    reader = join_reader(name)
    assert other.hear() == "in"
    with pytest.raises(brigade.TooManyInstances):
        brigade.join(name, timeout=5)
    del reader


def test_the_system_s_own_error_has_its_number(tmp_path: object) -> None:
    with pytest.raises(OSError) as failed:
        brigade.join(f"{tmp_path}/not/there/name", timeout=0)
    assert isinstance(failed.value, brigade.Os)
    assert failed.value.errno == 2


def test_an_exception_is_printed_by_the_name_that_catches_it() -> None:
    kinds: list[type[brigade.Error]] = [brigade.Error, *brigade.Error.__subclasses__()]
    assert len(kinds) > 15
    for kind in kinds:
        assert kind.__module__ == "brigade" and getattr(brigade, kind.__name__) is kind


@pytest.mark.parametrize("moment", range(6))
def test_whenever_a_reader_is_killed_all_that_came_is_whole_and_stays(
    name: str, start: Start, moment: int
) -> None:
    """Four threads fill its blocks, some of which are seen until after its death."""
    other = start(
        """
        reader = brigade.join(name, side="reader", **BLOCKS)
        lock, sent = threading.Lock(), 0
        def fill():
            global sent
            while True:
                block = reader.empty_block()
                with lock:
                    block.copy_from(sent.to_bytes(8, "little") * 512)
                    block.send(tag=sent)
                    sent += 1
        for _ in range(3):
            threading.Thread(target=fill, daemon=True).start()
        fill()
        """
    )
    kept: list[tuple[int, numpy.ndarray[Any, Any]]] = []
    count = 0
    with pytest.raises(brigade.PartnerDied) as died, join_writer(name) as writer:
        killer = threading.Timer(0.05 * moment, other.kill)
        killer.start()
        for block in writer:
            assert block.tag == count and bytes(block) == count.to_bytes(8, "little") * 512
            if len(kept) < 2 and count % 7 == 5:
                kept.append((count, seen(block)))
            count += 1
    killer.join()
    assert died.value.delivered is not None and died.value.delivered.blocks <= count
    for number, array in kept:
        assert array.tobytes() == number.to_bytes(8, "little") * 512
