"""What can go wrong, one exception for each thing that a caller would do differently."""

from __future__ import annotations

from ._records import Delivered, Partner


class Error(Exception):
    """Why a call failed; all of brigade's exceptions are of this kind."""

    number: int = 0
    """A number for this kind of error, which no other kind has: for logs and exit codes."""
    delivered: Delivered | None = None
    """What the Writer had given back until then, if the session has ended."""
    partner: Partner | None = None
    """Who was at the other end, if the session has ended."""


class TooManyInstances(Error):
    """Two processes use the name already."""


class NotAnswering(Error):
    """A process holds the name, or has invited this one, and does not answer."""


class InvitationOver(Error):
    """The other process of an invitation has ended, or has let go of it: nobody else can come."""


class NoPartner(Error, TimeoutError):
    """No partner came in time."""


class Refused(Error):
    """The two processes do not fit, or the name cannot be used: nothing changes by trying again."""


class NotPrivate(Error):
    """The directory of plain names does not belong to this user alone."""


class TimedOut(Error, TimeoutError):
    """The call's timeout has passed. The session goes on."""


class PartnerDied(Error, ConnectionError):
    """The partner's process ended without finishing the session."""


class PartnerAborted(Error, ConnectionError):
    """The partner gave up and said why."""

    reason: str = ""
    """In the partner's words."""
    code: int = 0
    """The number that it gave; 0 if it gave none."""


class Aborted(Error):
    """This process has given the session up, by `abort`."""

    reason: str = ""
    code: int = 0


class ProtocolViolation(Error):
    """What the partner wrote into its memory cannot be. This process is unharmed."""


class MessageTooLong(Error, ValueError):
    """A message has more bytes than the caller would take. The session goes on."""


class InvalidUse(Error, RuntimeError):
    """A rule of the interface was broken: a block used after it was sent, for instance."""


class NotGivenBack(Error):
    """The verdict was asked for while blocks were still held, by a view perhaps: there is none, and the
    Reader was told so."""


class InvalidOption(Error, ValueError):
    """An option's value, or a name, cannot be."""


class OutOfMemory(Error, MemoryError):
    """The blocks do not fit into memory."""


class Unsupported(Error):
    """The system lacks something that cannot be done without."""


class Os(Error, OSError):
    """The system refused something else; `errno` says what it said."""


for _kind in (Error, *Error.__subclasses__()):
    # By the name that a program catches, in what is printed of one that it does not.
    _kind.__module__ = "brigade"
