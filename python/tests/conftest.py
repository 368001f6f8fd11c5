"""What all tests use: names, and other processes."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import brigade
import numpy
import pytest

LIMIT = 30.0
"""Seconds within which anything that is waited for has come, or never will."""

PREAMBLE = """
import gc, os, signal, sys, threading, time
import brigade
name = sys.argv[1]
BLOCKS = dict(block_size=4096, block_count=4, timeout=30.0)
def say(*words):
    print(*words, flush=True)
"""

Start = Callable[..., "Process"]


class Process:
    """Another process, which runs a script."""

    def __init__(self, script: str, name: str, python: tuple[str, ...]) -> None:
        text = PREAMBLE + textwrap.dedent(script)
        self.process = subprocess.Popen(
            [sys.executable, "-P", *python, "-c", text, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def hear(self) -> str:
        """The next line that it says."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def tell(self, line: str) -> None:
        """Lets it read a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(LIMIT)

    def end(self, returncode: int | None = 0) -> str:
        """What it has said, once it has ended, as it should."""
        out, err = self.process.communicate(timeout=LIMIT)
        if returncode is not None:
            assert self.process.returncode == returncode, err
        self.errors = err
        return out.rstrip("\n")


@pytest.fixture
def start(name: str) -> Iterator[Start]:
    """Starts a process; all of them have ended when the test has."""
    started: list[Process] = []

    def start(script: str, *python: str) -> Process:
        started.append(Process(script, name, python))
        return started[-1]

    yield start
    for process in started:
        if process.process.poll() is None:
            process.kill()
        for pipe in (process.process.stdin, process.process.stdout, process.process.stderr):
            assert pipe is not None
            pipe.close()


NUMBERS = itertools.count()

BLOCKS: brigade.OtherOptions = {"block_size": 4096, "block_count": 4, "timeout": LIMIT}


@pytest.fixture
def name() -> str:
    """A session's name that nobody else uses."""
    return f"brigade-python-test-{os.getpid()}-{next(NUMBERS)}"


def join_reader(name: str) -> brigade.Reader:
    """The Reader of a session with small blocks."""
    return brigade.join(name, side="reader", **BLOCKS)


def join_writer(name: str) -> brigade.Writer:
    """The Writer of such a session."""
    return brigade.join(name, side="writer", **BLOCKS)


def seen(block: brigade.EmptyBlock | brigade.DataBlock) -> numpy.ndarray[Any, Any]:
    """An array of all its bytes."""
    return numpy.frombuffer(block, dtype="u1")
