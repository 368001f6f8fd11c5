"""What the library tells, as records.

They are tuples because the compiled part makes them, in threads that may be stopped at any moment by the end of the
interpreter: no Python code runs for it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Sequence, TypedDict

from ._buffer import Buffer

Side = Literal["reader", "writer"]


class OtherOptions(TypedDict, total=False):
    """How to join, but for the side: the keywords of `join` and its like. The two processes must agree on the
    blocks."""

    block_size: int
    """Size of each block in bytes; 256 KiB without it."""
    block_count: int
    """Number of blocks; 16 without it."""
    timeout: float | None
    """How many seconds the first process waits for the second; for ever without it."""
    greeting: Buffer
    """Bytes that the partner gets to see, in `Partner.greeting`: at most 1024."""
    takeover: float | None
    """How many seconds a lost partner's place is held for another process; not at all without it."""
    expect_process: int | None
    """The only process that may be the partner, by its id."""
    allow_users: Sequence[str]
    """Other users that the partner may be of, by name or number (Linux; the name must be a path)."""


class Options(OtherOptions, total=False):
    """All keywords of `join` and its like."""

    side: Side | None
    """This process's side, whether it comes first or second. Without it the first is the Reader."""


class Delivered(NamedTuple):
    """What has passed through a session: what the Writer has given back."""

    blocks: int
    bytes: int


class Partner(NamedTuple):
    """The process at the other end."""

    side: Side
    process_id: int
    """By the system's word; 0 if it lives where this process cannot see."""
    user: str
    """By the system's word: name and number."""
    user_id: int | None
    is_own_user: bool
    greeting: bytes
    """What it gave as `greeting`: its word alone."""


class Letter(NamedTuple):
    """A small message beside the blocks."""

    kind: int
    data: bytes

    def __bytes__(self) -> bytes:
        return self.data


class Message(NamedTuple):
    """Bytes that came in as many blocks as they needed, with what they were sent with."""

    data: bytes
    tag: int
    kind: int
    more: bool

    def __bytes__(self) -> bytes:
        return self.data


class Member(NamedTuple):
    """One of the processes of a `Session`, by its own word."""

    process_id: int
    greeting: bytes
    figures: list[int]


class Session(NamedTuple):
    """A session of this user's processes, as it was when `sessions` looked."""

    block_size: int
    block_count: int
    reader: Member | None
    writer: Member | None
    delivered: Delivered
    blocks_under_way: int
