"""Whatever the languages of the two ends: what one sends, the other gets, and a death is an error.

c/tests/languages/ has one program three times.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from programs import BUILDING, ROOT, C, Program, rust

LANGUAGES = ("rust", "c", "python")
PAIRS = [pytest.param(*pair, id="-".join(pair)) for pair in itertools.product(LANGUAGES, repeat=2)]

SOURCES = ROOT / "c" / "tests" / "languages"

BLOCKS = "1000, 499878 bytes, f9768a692ec71a29"
"""What passes, whatever the languages."""

PARTNER_DIED = 5

NUMBERS = itertools.count()

End = Callable[..., Program]

pytestmark = pytest.mark.timeout(BUILDING)


@pytest.fixture(scope="module")
def end(tmp_path_factory: pytest.TempPathFactory) -> End:
    """Starts one end: of a language, a side, a session's name, and where it stops."""
    place = tmp_path_factory.mktemp("languages")
    c = C(place)
    programs: dict[str, list[str | Path]] = {
        "rust": [rust("end")],
        "c": [c.compile("c/tests/languages/end.c")],
        "python": [sys.executable, "-P", SOURCES / "end.py"],
    }

    def end(language: str, side: str, name: Path, *stop: str) -> Program:
        return Program([*programs[language], side, name, *stop], **c.libraries)

    return end


def told(said: str) -> dict[str, str]:
    """What an end says, by what it says it of."""
    return dict(line.split(": ", 1) for line in said.splitlines())


@pytest.mark.parametrize(("reader", "writer"), PAIRS)
def test_what_is_sent_arrives_whole_and_letters_both_ways(
    reader: str, writer: str, end: End, tmp_path: Path
) -> None:
    name = tmp_path / "name"
    with end(reader, "reader", name) as sends, end(writer, "writer", name) as drains:
        sent, drained = told(sends.end()), told(drains.end())
    assert sent["blocks"] == drained["blocks"] == BLOCKS
    assert sent["posted"] == drained["heard"] != sent["heard"] == drained["posted"]
    assert sent["posted"].startswith("10, ") and drained["posted"].startswith("10, ")
    assert sent["delivered"] == drained["delivered"] == "1000, 499878 bytes"


@pytest.mark.parametrize(("reader", "writer"), PAIRS)
def test_a_writer_gets_all_that_a_killed_reader_had_sent_and_then_an_error(
    reader: str, writer: str, end: End, tmp_path: Path
) -> None:
    def kill() -> float:
        name = tmp_path / f"name-{next(NUMBERS)}"
        with end(reader, "reader", name, "500") as sends, end(writer, "writer", name, "496") as drains:
            assert sends.hear() == drains.hear() == "stopped"
            sends.kill()
            start = time.monotonic()
            drains.go_on()
            drained = told(drains.hear() + "\n" + drains.hear())
            took = time.monotonic() - start
            assert drains.end(1) == ""
        assert drained["blocks"].startswith("500, ")
        assert drained["error"] == f"{PARTNER_DIED}, delivered: 500"
        return took

    assert_soon(kill)


@pytest.mark.parametrize(("reader", "writer"), PAIRS)
def test_a_reader_whose_writer_is_killed_gets_an_error_and_knows_what_arrived(
    reader: str, writer: str, end: End, tmp_path: Path
) -> None:
    def kill() -> float:
        name = tmp_path / f"name-{next(NUMBERS)}"
        with end(reader, "reader", name) as sends, end(writer, "writer", name, "500") as drains:
            assert drains.hear() == "stopped"
            start = time.monotonic()
            drains.kill()
            sent = told(sends.hear() + "\n" + sends.hear())
            took = time.monotonic() - start
            assert sends.end(1) == ""
        assert sent["blocks"].startswith("508, "), "more than it and its eight blocks"
        assert sent["error"] == f"{PARTNER_DIED}, delivered: 500"
        return took

    assert_soon(kill)


def assert_soon(kill: Callable[[], float]) -> None:
    """Within a second; a busy machine gets three tries."""
    assert any(kill() < 1.0 for _ in range(3))
