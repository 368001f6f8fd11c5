"""The compiled part of the package."""

import os
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Literal, Self, Unpack, final, overload

from ._buffer import Buffer
from ._records import Delivered, Letter, Message, Options, OtherOptions, Partner, Session
from ._streams import ReceiveStream, SendStream

__all__ = [
    "BLOCKS",
    "LETTERS",
    "ROOM",
    "VERDICT",
    "Blocks",
    "Child",
    "DataBlock",
    "EmptyBlock",
    "Monitor",
    "Reader",
    "Seat",
    "Survivor",
    "Unreturned",
    "Writer",
    "accept",
    "accept_both_ways",
    "invite",
    "join",
    "join_both_ways",
    "sessions",
    "take",
]

BLOCKS: Final = 1
"""A block to take: an empty one, or data; for a Writer also the end of the data."""
LETTERS: Final = 2
"""A letter of the partner's, or that none can come any more."""
ROOM: Final = 4
"""Room for a letter to the partner."""
VERDICT: Final = 8
"""For a Reader that has closed: the Writer's verdict."""

@overload
def join(
    name: str | os.PathLike[str], *, side: Literal["reader"], **options: Unpack[OtherOptions]
) -> Reader: ...
@overload
def join(
    name: str | os.PathLike[str], *, side: Literal["writer"], **options: Unpack[OtherOptions]
) -> Writer: ...
@overload
def join(name: str | os.PathLike[str], **options: Unpack[Options]) -> Reader | Writer:
    """Joins the session `name` and waits for the partner.

    The first process becomes the Reader and the second the Writer, unless `side` says otherwise. A name with a
    separator in it is a path, for processes that share a directory; others are private to the user.

    Raises TooManyInstances, NoPartner after `timeout`, Refused, InvalidOption, and what the system says.
    """

def join_both_ways(
    name: str | os.PathLike[str], **options: Unpack[Options]
) -> tuple[Reader, Writer, bool]:
    """As `join`, for a session in which data goes both ways: what this process sends with, what it receives
    with, and whether it came first."""

@overload
def invite(
    args: Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    side: Literal["reader"],
    **options: Unpack[OtherOptions],
) -> tuple[Child, Reader]: ...
@overload
def invite(
    args: Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    side: Literal["writer"],
    **options: Unpack[OtherOptions],
) -> tuple[Child, Writer]: ...
@overload
def invite(
    args: Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    **options: Unpack[Options],
) -> tuple[Child, Reader | Writer]:
    """Starts a process that this one invites to a session without a name, and waits for it to `accept`. This
    process is the Reader, unless `side` says otherwise. If it fails, the process is killed."""

@overload
def accept(*, side: Literal["reader"], **options: Unpack[OtherOptions]) -> Reader: ...
@overload
def accept(*, side: Literal["writer"], **options: Unpack[OtherOptions]) -> Writer: ...
@overload
def accept(**options: Unpack[Options]) -> Reader | Writer:
    """Joins the session to which the process that started this one invited it."""

def accept_both_ways(**options: Unpack[Options]) -> tuple[Reader, Writer, bool]:
    """As `accept`, for a session in which data goes both ways."""

def take(name: str | os.PathLike[str], **options: Unpack[Options]) -> Seat:
    """A place in the session `name`, whose partner may be yet to come."""

def sessions() -> list[Session]:
    """All sessions of this user's processes on this machine; the processes do not notice."""

@final
class Reader:
    """The end that takes empty blocks, fills them and sends them.

    As a context manager, it finishes the session, or gives it up with what was raised.
    """

    @property
    def block_size(self) -> int: ...
    @property
    def block_count(self) -> int: ...
    @property
    def epoch(self) -> int:
        """1 in a new session, and one more for each process that has taken a lost one's place."""

    @property
    def partner(self) -> Partner: ...
    @property
    def monitor(self) -> Monitor: ...
    @property
    def delivered(self) -> Delivered: ...
    @property
    def held(self) -> int:
        """How many blocks this process has in hand: not sent, given back or collected yet."""

    @property
    def closed(self) -> bool:
        """Whether it was said that no more data will come."""

    def empty_block(self, timeout: float | None = None) -> EmptyBlock:
        """The next empty block. While this process holds all blocks, none can come."""

    def send(
        self,
        data: Buffer,
        *,
        tag: int = 0,
        kind: int = 0,
        more: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Sends a copy of `data` in one block; ValueError if it is longer."""

    def send_message(
        self, data: Buffer, *, tag: int = 0, kind: int = 0, timeout: float | None = None
    ) -> None:
        """Sends a copy of `data` in as many blocks as it needs. If that stops in the middle, by `timeout` say,
        the session is given up."""

    def close(self) -> None:
        """Says that no more data will come. Does not wait for the Writer."""

    def verdict(self, timeout: float | None = None) -> Delivered:
        """Waits, after `close`, until the Writer has said that it has got everything."""

    def finish(self, timeout: float | None = None) -> Delivered:
        """`close` and `verdict`."""

    def check(self) -> None:
        """Raises PartnerDied or PartnerAborted, if it is so."""

    def abort(self, reason: str = "it was aborted", code: int = 0) -> None:
        """Gives up: the partner gets `reason`, and calls of other threads that wait fail with Aborted."""

    def post(self, data: Buffer, kind: int = 0, timeout: float | None = None) -> None:
        """Posts a letter of at most 1016 bytes; waits while 16 lie unread."""

    def letter(self, timeout: float | None = None) -> Letter | None:
        """The partner's next letter; None if none will come any more."""

    def arm(self, interest: int = 1) -> bool:
        """For who sleeps by other means. True: wait until `fileno` is readable, then `disarm`, and look by calls
        with `timeout=0`. False: look now."""

    def disarm(self) -> None: ...
    def fileno(self) -> int:
        """The descriptor for `arm`, on Windows the handle. Nothing may be read from it."""

    def stream(self) -> SendStream: ...
    def into_unreturned(self) -> Unreturned:
        """After the Writer was lost: what was sent and not given back. This end is left, unless that raises
        `InvalidUse`."""

    def dismiss(self, reason: str, code: int = 0) -> Unreturned:
        """As `into_unreturned`, of a Writer that is still there, and gets `reason`."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        _traceback: TracebackType | None,
        /,
    ) -> None: ...

@final
class EmptyBlock:
    """A block to be filled. Its bytes are seen through the buffer protocol, with what was in there the last time.
    Not sent, it is empty again when it is collected, or at the end of `with`."""

    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    def send(
        self, length: int | None = None, *, tag: int = 0, kind: int = 0, more: bool = False
    ) -> None:
        """Sends the first `length` bytes, or all. Does not wait. BufferError while the bytes are seen, by a
        memoryview or an array; InvalidUse if the block was sent before."""

    def copy_from(self, data: Buffer, offset: int = 0) -> int:
        """Copies `data` to the block; how many bytes these are."""

    def put_back(self) -> None:
        """It is empty again."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
        /,
    ) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __release_buffer__(self, buffer: memoryview, /) -> None: ...

@final
class Writer:
    """The end that takes filled blocks, drains them and gives them back.

    As a context manager, it says at the end that all is good if the end of the data was seen; else it gives up.
    """

    @property
    def block_size(self) -> int: ...
    @property
    def block_count(self) -> int: ...
    @property
    def epoch(self) -> int:
        """1 in a new session, and one more for each process that has taken a lost one's place."""

    @property
    def partner(self) -> Partner: ...
    @property
    def monitor(self) -> Monitor: ...
    @property
    def delivered(self) -> Delivered: ...
    @property
    def held(self) -> int:
        """How many blocks this process has in hand: not sent, given back or collected yet."""

    @property
    def at_end(self) -> bool:
        """Whether the end of the data was seen."""

    def data_block(self, timeout: float | None = None) -> DataBlock | None:
        """The next block, in the order of sending; None at the end of the data."""

    def recv_into(self, buffer: Buffer, timeout: float | None = None) -> int | None:
        """Copies the next block to `buffer` and gives it back; how many bytes it had, None at the end of the data.
        ValueError if it is longer than `buffer`: the next call gets it then."""

    def newest_block(self, timeout: float | None = None) -> DataBlock | None:
        """The newest block; older ones are given back unread."""

    def __iter__(self) -> Blocks: ...
    def message(self, max_bytes: int, timeout: float | None = None) -> Message | None:
        """What was sent by `send_message`, or a single block; None at the end of the data. MessageTooLong if it
        has more than `max_bytes`. What has come when `timeout` has passed is kept for the next call."""

    def finish(self) -> Delivered:
        """Says that everything was drained and is good, after the end of the data. NotGivenBack if blocks are
        still held, or seen by an array."""

    def check(self) -> None:
        """Raises PartnerDied or PartnerAborted, if it is so."""

    def abort(self, reason: str = "it was aborted", code: int = 0) -> None:
        """Gives up: the partner gets `reason`, and calls of other threads that wait fail with Aborted."""

    def post(self, data: Buffer, kind: int = 0, timeout: float | None = None) -> None:
        """Posts a letter of at most 1016 bytes; waits while 16 lie unread."""

    def letter(self, timeout: float | None = None) -> Letter | None:
        """The partner's next letter; None if none will come any more."""

    def arm(self, interest: int = 1) -> bool:
        """As `Reader.arm`."""

    def disarm(self) -> None: ...
    def fileno(self) -> int: ...
    def stream(self) -> ReceiveStream: ...
    def into_survivor(self) -> Survivor:
        """After the Reader was lost, and all that it had sent was taken. This end is left, unless that raises
        `InvalidUse`."""

    def dismiss(self, reason: str, code: int = 0) -> Survivor:
        """As `into_survivor`, of a Reader that is still there, and gets `reason`."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        _traceback: TracebackType | None,
        /,
    ) -> None: ...

@final
class Blocks:
    """The blocks of a Writer, one after the other, until the end of the data. Each is given back when the next one
    is asked for, unless its bytes are still seen then."""

    def __iter__(self) -> Self: ...
    def __next__(self) -> DataBlock: ...

@final
class DataBlock:
    """A filled block. Its bytes are seen through the buffer protocol, read-only. It is given back when it is
    collected, if not before."""

    @property
    def tag(self) -> int: ...
    @property
    def kind(self) -> int: ...
    @property
    def more(self) -> bool:
        """Whether the message goes on in the next block."""

    @property
    def skipped(self) -> int:
        """How many older blocks were given back unread for this one, by `newest_block`."""

    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    def __bytes__(self) -> bytes: ...
    def tobytes(self) -> bytes: ...
    def copy_to(self, buffer: Buffer) -> int:
        """Copies as many bytes to `buffer` as it has room for; how many these are."""

    def done(self) -> None:
        """Gives the block back. BufferError while its bytes are seen; a second time does nothing."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
        /,
    ) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __release_buffer__(self, buffer: memoryview, /) -> None: ...

@final
class Monitor:
    """A second handle on a session, for other threads: no call of it waits for one of the end's."""

    def abort(self, reason: str = "it was aborted", code: int = 0) -> None: ...
    def watch(self, timeout: float | None = None) -> None:
        """Waits until the session is over; raises how, if it did not end well. TimedOut if it goes on."""

    @property
    def partner(self) -> Partner | None: ...
    @property
    def delivered(self) -> Delivered: ...
    @property
    def blocks_under_way(self) -> int:
        """Blocks that are sent and not given back."""

    @property
    def waited(self) -> float:
        """Seconds that this end has waited for its partner: who waits much is the faster one."""

    @property
    def figures(self) -> list[int]: ...
    @property
    def partner_figures(self) -> list[int]: ...
    def set_figure(self, index: int, value: int) -> None:
        """Shows the partner one of 4 numbers, whose meaning is the application's."""

@final
class Child:
    """A process that was invited."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None:
        """How it ended, as `subprocess` says it; None if it has not."""

    def wait(self, timeout: float | None = None) -> int: ...
    def kill(self) -> None: ...

@final
class Seat:
    """For who joins in a thread and shall be able to end that: see `brigade.aio`. Its wait heeds no signals."""

    def wait(self) -> Reader | Writer: ...
    def abort(self, reason: str) -> None: ...

@final
class Unreturned:
    """What a Reader has sent and its lost Writer has not given back: it may have been drained, and is sent again to
    the next one. With the option `takeover`, this keeps the Reader's place as long as it lives."""

    def __len__(self) -> int: ...
    def messages(self) -> list[Message]:
        """Copies of the blocks, in the order of sending."""

    def keep_from(self, first: int) -> None:
        """Drops the blocks before the one with this number in `messages`: they are not sent again."""

    @property
    def closed(self) -> bool: ...
    def reopen(self) -> None:
        """More data will come after all."""

    def rejoin(self, name: str | os.PathLike[str], **options: Unpack[Options]) -> Reader:
        """Joins another Writer, as `join` does, to which these blocks are sent first. If it fails, it can be
        called again."""

@final
class Survivor:
    """What is left of a Writer that has lost its Reader. With the option `takeover`, this keeps the Writer's place
    as long as it lives."""

    def rejoin(self, name: str | os.PathLike[str], **options: Unpack[Options]) -> Writer:
        """Joins another Reader, as `join` does. If it fails, it can be called again."""
