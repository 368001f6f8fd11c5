"""A partner that is lost is replaced, and nothing that was sent is."""

from __future__ import annotations

import os
import time

import brigade
import pytest
from conftest import BLOCKS, LIMIT, Start

KEEPING: brigade.OtherOptions = {**BLOCKS, "takeover": LIMIT}


def test_what_a_dead_writer_had_not_given_back_goes_to_the_next_one(
    name: str, start: Start
) -> None:
    first = start(
        """
        writer = brigade.join(name, side="writer", takeover=30.0, **BLOCKS)
        writer.data_block().done()
        kept = writer.data_block()
        say("in")
        time.sleep(60)
        """
    )
    reader = brigade.join(name, side="reader", **KEEPING)
    for tag in range(4):
        reader.send(b"%d" % tag, tag=tag)
    assert first.hear() == "in"
    late = reader.empty_block(LIMIT)
    first.kill()
    with pytest.raises(brigade.PartnerDied):
        while True:
            reader.letter()
    unreturned = reader.into_unreturned()
    assert len(unreturned) == 3 and not unreturned.closed
    assert [(m.tag, bytes(m)) for m in unreturned.messages()] == [
        (1, b"1"),
        (2, b"2"),
        (3, b"3"),
    ]
    unreturned.keep_from(1)
    with pytest.raises(brigade.NoPartner):
        unreturned.rejoin(name, block_size=4096, block_count=4, takeover=LIMIT, timeout=0.05)
    second = start(
        """
        with brigade.join(name, takeover=30.0, **BLOCKS) as writer:
            say(writer.epoch, *(block.tag for block in writer))
        """
    )
    with unreturned.rejoin(name, **KEEPING) as again:
        # A block of before goes the new way, at once.
        late.send(1, tag=4)
        until = time.monotonic() + LIMIT
        while again.delivered.blocks < 3:
            assert time.monotonic() < until
            time.sleep(0.001)
        again.send(b"", tag=5)
        assert again.epoch == 2
    assert second.end() == "2 2 3 4 5"
    with pytest.raises(brigade.InvalidUse):
        reader.finish()


def test_a_writer_goes_on_with_another_reader(name: str, start: Start) -> None:
    script = """
        reader = brigade.join(name, takeover=30.0, **{**BLOCKS, "timeout": None}, %s)
        with reader:
            reader.send(b"%s")
            reader.post(b"")
            %s
        """
    first = start(script % ("side='reader'", "one", "time.sleep(60)"))
    writer = brigade.join(name, side="writer", **KEEPING)
    assert writer.letter(LIMIT)
    first.kill()
    with pytest.raises(brigade.PartnerDied):
        while (block := writer.data_block()) is not None:
            assert bytes(block) == b"one"
    survivor = writer.into_survivor()
    second = start(script % ("side='reader'", "two", "pass"))
    with survivor.rejoin(name, **KEEPING) as again:
        assert [bytes(block) for block in again] == [b"two"]
    second.end()


def test_a_partner_that_is_not_fit_is_dismissed(name: str, start: Start) -> None:
    first = start(
        """
        try:
            brigade.join(name, side="writer", **BLOCKS).data_block()
        except brigade.PartnerAborted as error:
            say(error.reason, error.code)
        """
    )
    reader = brigade.join(name, side="reader", **KEEPING)
    unreturned = reader.dismiss("not you", 5)
    assert first.end() == "not you 5"
    second = start('with brigade.join(name, **BLOCKS) as writer: say(*writer)')
    with unreturned.rejoin(name, **KEEPING):
        pass
    second.end()


def test_who_is_not_lost_is_not_left_and_the_session_goes_on(name: str, start: Start) -> None:
    other = start(
        """
        with brigade.join(name, side="writer", **BLOCKS) as writer:
            try:
                writer.into_survivor()
            except brigade.InvalidUse as error:
                say(error)
            say(*(bytes(block) for block in writer))
        """
    )
    with brigade.join(name, side="reader", **KEEPING) as reader:
        assert "still there" in other.hear()
        with pytest.raises(brigade.InvalidUse, match="still there"):
            reader.into_unreturned()
        reader.send(b"water")
    assert other.end() == "b'water'"


def test_a_writer_that_has_not_taken_all_can_take_it_yet_and_go_on(name: str, start: Start) -> None:
    first = start(
        """
        reader = brigade.join(name, side="reader", **BLOCKS)
        reader.send(b"one")
        reader.post(b"")
        time.sleep(60)
        """
    )
    writer = brigade.join(name, side="writer", **KEEPING)
    assert writer.letter(LIMIT)
    first.kill()
    with pytest.raises(brigade.PartnerDied):
        writer.letter(LIMIT)
    with pytest.raises(brigade.InvalidUse, match="not all"):
        writer.into_survivor()
    block = writer.data_block()
    assert block is not None and bytes(block) == b"one"
    block.done()
    writer.into_survivor()


@pytest.mark.skipif(os.name == "nt", reason="there is no signal to a single process")
def test_ctrl_c_ends_a_rejoin_which_can_be_called_again(name: str, start: Start) -> None:
    first = start('writer = brigade.join(name, side="writer", **BLOCKS)\nsay("in")\ntime.sleep(60)')
    other = start(
        """
        reader = brigade.join(name, side="reader", takeover=30.0, **BLOCKS)
        try:
            reader.letter()
        except brigade.PartnerDied:
            unreturned = reader.into_unreturned()
        try:
            threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
            unreturned.rejoin(name, **BLOCKS)
        except KeyboardInterrupt:
            say("interrupted")
        while True:
            try:
                reader = unreturned.rejoin(name, **BLOCKS)
                break
            except brigade.InvalidUse:
                time.sleep(0.01)
        with reader:
            reader.send(b"after all")
        """
    )
    assert first.hear() == "in"
    first.kill()
    assert other.hear() == "interrupted"
    with brigade.join(name, side="writer", **BLOCKS) as writer:
        assert [bytes(block) for block in writer] == [b"after all"]
    other.end()
