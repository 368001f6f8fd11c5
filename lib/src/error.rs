//! What can go wrong, one variant for each thing that a caller would do
//! differently.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::options::{Partner, Side};
use crate::refusal::Refusal;

/// What had passed through the session when it ended early.
///
/// A block is delivered when the Writer has given it back. The Reader knows this
/// by the Writer's word alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Number of blocks.
    pub blocks: u64,
    /// Sum of their lengths, in bytes.
    pub bytes: u64,
}

impl fmt::Display for Delivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes in {} blocks", self.bytes, self.blocks)
    }
}

/// Why joining, or a call on a [`Reader`](crate::Reader) or
/// [`Writer`](crate::Writer), failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two processes already hold this name. Refused after half a second.
    #[error("too many instances: two processes already use the name {name}")]
    TooManyInstances {
        /// The name as it was given.
        name: String,
    },

    /// A process holds this name but did not answer: it is frozen, or this
    /// machine is very busy. Likewise of the process that has
    /// [invited](crate::accept()) this one.
    #[error("{}", not_answering(name))]
    NotAnswering {
        /// The name as it was given; empty for an invitation, which has none.
        name: String,
    },

    /// The other process of an [invitation](crate::invite) has ended, or let go of the
    /// invitation, before the two were a pair. Nobody else can come.
    #[error("the other process of the invitation has ended, or has let go of it")]
    InvitationOver,

    /// No partner came within [`Options::wait`](crate::Options::wait).
    #[error("no partner came within {waited:?}")]
    NoPartner {
        /// How long this end waited.
        waited: Duration,
    },

    /// The partner and this process do not fit, or the name cannot be used: another
    /// user, another version, another geometry, the same fixed side. Nothing changes by
    /// trying again.
    #[error("{text}")]
    Refused {
        /// Why, as data.
        reason: Refusal,
        /// Why, in words that name both sides; free of control characters.
        text: String,
    },

    /// The directory of plain names does not belong to this user alone, so nothing may be
    /// put there. A name that is a path needs no such directory.
    #[error(
        "{} must be a directory of {user} that nobody else can enter, but it is {found}; \
         remove it, or give a name that is a path",
        directory.display()
    )]
    NotPrivate {
        /// Where plain names live.
        directory: PathBuf,
        /// This process's user.
        user: String,
        /// What is there.
        found: String,
    },

    /// The deadline of this call has passed, or the `try_` variant had nothing
    /// to give. The session goes on.
    #[error("timed out")]
    TimedOut,

    /// The partner's process ended without finishing the session.
    #[error("{partner} died; {delivered} were delivered")]
    PartnerDied {
        /// Who it was.
        partner: Partner,
        /// How far the transfer had come.
        delivered: Delivered,
    },

    /// The partner gave up and said why.
    #[error("{partner} failed: {reason}")]
    PartnerAborted {
        /// Who it was.
        partner: Partner,
        /// The number that it gave ([`Reader::abort_with`](crate::Reader::abort_with));
        /// 0 if it gave none.
        code: u32,
        /// The reason in the partner's words, freed of control characters.
        reason: String,
        /// How far the transfer had come.
        delivered: Delivered,
    },

    /// What the partner wrote into its region cannot be: it is broken, or of
    /// another make. This end stays unharmed.
    #[error("{partner} broke the protocol: {violation}")]
    ProtocolViolation {
        /// Who it was.
        partner: Partner,
        /// What was wrong.
        violation: Violation,
        /// How far the transfer had come.
        delivered: Delivered,
    },

    /// [`Monitor::abort`](crate::Monitor::abort) was called in this process.
    #[error("aborted: {reason}")]
    Aborted {
        /// The number given there ([`Monitor::abort_with`](crate::Monitor::abort_with));
        /// 0 if none was.
        code: u32,
        /// The reason given there.
        reason: String,
    },

    /// A message has more bytes than the caller would take. The session goes on.
    #[error("a message is longer than {max} bytes")]
    MessageTooLong {
        /// The most that the caller would take, in bytes.
        max: usize,
    },

    /// The caller broke a rule of the interface, for instance a length beyond
    /// the block, or `finish` before the end of data.
    #[error("{0}")]
    InvalidUse(&'static str),

    /// [`Writer::finish`](crate::Writer::finish) while blocks were still held, or after
    /// some were forgotten: there was no verdict, and the Reader was told so.
    #[error("not all blocks were given back: {blocks} missing")]
    NotGivenBack {
        /// How many, detached ones among them.
        blocks: u64,
    },

    /// An option's value, or a name, cannot be.
    #[error("{0}")]
    InvalidOption(String),

    /// The pool does not fit into this machine's (or this container's) memory.
    #[error("a pool of {needed} bytes does not fit into the {available} bytes of memory available")]
    OutOfMemory {
        /// Size of the shared memory asked for, in bytes.
        needed: u64,
        /// What could be had, in bytes.
        available: u64,
    },

    /// The operating system lacks something that cannot be done without.
    #[error("this system cannot {needed}: {source}")]
    Unsupported {
        /// What is missing, and since when it exists.
        needed: &'static str,
        /// The system's answer.
        source: io::Error,
    },

    /// The operating system refused something else.
    #[error("cannot {operation}: {source}")]
    Os {
        /// What was tried, on what.
        operation: String,
        /// The system's answer.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn os(operation: impl Into<String>, source: impl Into<io::Error>) -> Error {
        Error::Os {
            operation: operation.into(),
            source: source.into(),
        }
    }

    /// Whether it is another process's object that is, or may be, in the way: it can be gone
    /// the next moment, or open to this process.
    pub(crate) fn is_in_the_way(&self) -> bool {
        match self {
            Error::Refused { .. } => true,
            Error::Os { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            _ => false,
        }
    }

    /// A number for this kind of error, for logs, exit codes and other languages. None of
    /// them is ever given to another kind.
    ///
    /// | Number | Error |
    /// |---:|---|
    /// | 1 | [`Error::TooManyInstances`] |
    /// | 2 | [`Error::NotAnswering`] |
    /// | 3 | [`Error::NoPartner`] |
    /// | 4 | [`Error::TimedOut`] |
    /// | 5 | [`Error::PartnerDied`] |
    /// | 6 | [`Error::PartnerAborted`] |
    /// | 7 | [`Error::ProtocolViolation`] |
    /// | 8 | [`Error::Aborted`] |
    /// | 9 | [`Error::InvalidUse`] |
    /// | 10 | [`Error::InvalidOption`] |
    /// | 11 | [`Error::OutOfMemory`] |
    /// | 12 | [`Error::Unsupported`] |
    /// | 13 | [`Error::Os`] |
    /// | 14 | [`Error::NotPrivate`] |
    /// | 15 | [`Error::MessageTooLong`] |
    /// | 16 | [`Error::NotGivenBack`] |
    /// | 17 | [`Error::InvitationOver`] |
    /// | 100 | [`Error::Refused`] by the partner for a reason without a number |
    /// | 101 | for [`Refusal::OtherUser`] |
    /// | 102 | for [`Refusal::OtherVersion`] |
    /// | 103 | for [`Refusal::OtherGeometry`] |
    /// | 104 | for [`Refusal::OtherWays`] |
    /// | 105 | for [`Refusal::SameSide`] |
    /// | 106 | for [`Refusal::OtherProcess`] |
    /// | 107 | for [`Refusal::Malformed`] |
    /// | 108 | for [`Refusal::InTheWay`] |
    /// | 109 | for [`Refusal::NameLost`] |
    /// | 110 and more | for other numbers of [`Refusal::ByPartner`], plus 100 |
    pub fn code(&self) -> i32 {
        match self {
            Error::TooManyInstances { .. } => 1,
            Error::NotAnswering { .. } => 2,
            Error::NoPartner { .. } => 3,
            Error::TimedOut => 4,
            Error::PartnerDied { .. } => 5,
            Error::PartnerAborted { .. } => 6,
            Error::ProtocolViolation { .. } => 7,
            Error::Aborted { .. } => 8,
            Error::InvalidUse(_) => 9,
            Error::InvalidOption(_) => 10,
            Error::OutOfMemory { .. } => 11,
            Error::Unsupported { .. } => 12,
            Error::Os { .. } => 13,
            Error::NotPrivate { .. } => 14,
            Error::MessageTooLong { .. } => 15,
            Error::NotGivenBack { .. } => 16,
            Error::InvitationOver => 17,
            Error::Refused { reason, .. } => 100 + i32::from(reason.number()),
        }
    }
}

fn not_answering(name: &str) -> String {
    match name {
        "" => "the process that invited this one does not answer".into(),
        name => format!("the process that holds the name {name} does not answer"),
    }
}

impl From<Error> for io::Error {
    /// For the [`io::Read`] and [`io::Write`] adaptors: the whole error is
    /// kept inside, and its kind says the nearest that `io` knows.
    fn from(error: Error) -> io::Error {
        let kind = match &error {
            Error::TimedOut | Error::NoPartner { .. } => io::ErrorKind::TimedOut,
            Error::PartnerDied { .. } | Error::PartnerAborted { .. } | Error::InvitationOver => {
                io::ErrorKind::BrokenPipe
            }
            Error::ProtocolViolation { .. } => io::ErrorKind::InvalidData,
            Error::InvalidUse(_) | Error::InvalidOption(_) | Error::NotGivenBack { .. } => {
                io::ErrorKind::InvalidInput
            }
            Error::OutOfMemory { .. } => io::ErrorKind::OutOfMemory,
            Error::Unsupported { .. } => io::ErrorKind::Unsupported,
            Error::Os { source, .. } => source.kind(),
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// A value in the partner's region that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// The count of published blocks went back, or beyond what can be out.
    Count {
        /// What was read.
        found: u64,
        /// The least that could be.
        least: u64,
        /// The most that could be.
        most: u64,
    },
    /// A block's number is beyond the pool.
    BlockNumber {
        /// What was read.
        found: u64,
    },
    /// A block was handed over that was not the partner's to give.
    BlockNotTheirs {
        /// The block's number.
        block: u64,
    },
    /// A block's length is beyond the block.
    Length {
        /// What was read, in bytes.
        found: u64,
        /// The block's size, in bytes.
        most: u64,
    },
    /// A state that does not exist, or that this side cannot have.
    State {
        /// What was read.
        found: u32,
    },
    /// The verdict came before all blocks were given back.
    EarlyVerdict,
    /// A message that has no place in the session.
    Message,
    /// The data ended in the middle of a message, whose last block said that it goes on.
    UnfinishedMessage,
    /// A count of letters went back, or beyond the room for them.
    LetterCount {
        /// What was read.
        found: u64,
        /// The least that could be.
        least: u64,
        /// The most that could be.
        most: u64,
    },
    /// A letter's length is beyond [`LETTER_MAX`](crate::LETTER_MAX).
    LetterLength {
        /// What was read, in bytes.
        found: u32,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Count { found, least, most } => {
                write!(
                    f,
                    "its count of blocks is {found}, not from {least} to {most}"
                )
            }
            Violation::BlockNumber { found } => write!(f, "there is no block {found}"),
            Violation::BlockNotTheirs { block } => {
                write!(f, "it handed over block {block}, which it did not have")
            }
            Violation::Length { found, most } => {
                write!(f, "it gave a length of {found} bytes to a block of {most}")
            }
            Violation::State { found } => write!(f, "its state is {found}"),
            Violation::EarlyVerdict => write!(f, "it ended before it had given every block back"),
            Violation::Message => write!(f, "it sent a message that has no place here"),
            Violation::UnfinishedMessage => write!(f, "it ended in the middle of a message"),
            Violation::LetterCount { found, least, most } => {
                write!(
                    f,
                    "its count of letters is {found}, not from {least} to {most}"
                )
            }
            Violation::LetterLength { found } => {
                write!(f, "it gave a length of {found} bytes to a letter")
            }
        }
    }
}

/// "the Reader (process 17, user ann (1000))", as messages name a partner.
impl fmt::Display for Partner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the {} (process {}, user {})",
            self.side(),
            self.process_id(),
            self.user()
        )
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Reader => "reader",
            Side::Writer => "writer",
        })
    }
}
