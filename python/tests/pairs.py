"""Both ends in one process, for tests of what passes between them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import brigade
from conftest import LIMIT


def pair(name: str, block_size: int = 4096, block_count: int = 4) -> tuple[brigade.Reader, brigade.Writer]:
    """The two ends of a session."""

    def join(side: brigade.Side) -> brigade.Reader | brigade.Writer:
        return brigade.join(
            name, side=side, block_size=block_size, block_count=block_count, timeout=LIMIT
        )

    with ThreadPoolExecutor(1) as other:
        coming = other.submit(join, "reader")
        writer = join("writer")
        reader = coming.result(LIMIT)
    assert isinstance(reader, brigade.Reader) and isinstance(writer, brigade.Writer)
    return reader, writer


def beside(what: object) -> threading.Thread:
    """A thread that runs `what`, and has begun."""
    assert callable(what)
    thread = threading.Thread(target=what, daemon=True)
    thread.start()
    return thread
