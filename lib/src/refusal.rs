//! Why two processes did not become a pair.

use std::path::PathBuf;

use crate::error::Error;

/// Why a process was refused, or refused another, for [`Error::Refused`]: one variant for
/// each thing that a caller would do differently.
///
/// Where a reason is about the partner, both processes learn it; what they are told of the
/// other is that one's word, but for users and process ids, which are the system's.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The other process, or the file that stands for the name, is of another user, whom
    /// [`Options::allow_user`](crate::Options::allow_user) does not let in, here or there.
    OtherUser {
        /// That user: name and number (on Windows, identifier).
        user: String,
    },
    /// The other process has another version of the protocol.
    OtherVersion {
        /// The other process's.
        version: u32,
    },
    /// The two have chosen blocks of another size, or another number of them.
    OtherGeometry {
        /// What the other process has chosen, in bytes.
        block_size: u64,
        /// What the other process has chosen.
        block_count: u64,
    },
    /// One of the two wants data to go both ways, and the other does not.
    OtherWays,
    /// Both want to be the Reader, or both the Writer.
    SameSide,
    /// One of the two expects another process
    /// ([`Options::expect_process`](crate::Options::expect_process)).
    OtherProcess {
        /// The process that came instead: this one, if it was not the expected one.
        process_id: u32,
    },
    /// The other process shows or says what the protocol does not allow.
    Malformed,
    /// Something that is not brigade's is where the name's own file must be.
    InTheWay {
        /// What is in the way.
        path: PathBuf,
    },
    /// The files that stand for the name were removed while this process waited, and
    /// another process has the name now. To start again leads to that process.
    NameLost,
    /// The partner said no for a reason that is none of these: a later version's, for
    /// instance.
    ByPartner {
        /// Its number; 0 if it gave none.
        number: u16,
    },
}

impl Refusal {
    /// The number that stands for this reason where the partner is told of it, and in
    /// [`Error::code`]. It never changes.
    pub fn number(&self) -> u16 {
        match self {
            Refusal::OtherUser { .. } => 1,
            Refusal::OtherVersion { .. } => 2,
            Refusal::OtherGeometry { .. } => 3,
            Refusal::OtherWays => 4,
            Refusal::SameSide => 5,
            Refusal::OtherProcess { .. } => 6,
            Refusal::Malformed => 7,
            Refusal::InTheWay { .. } => 8,
            Refusal::NameLost => 9,
            Refusal::ByPartner { number } => *number,
        }
    }

    /// What the partner, a process of `user`, means by `number`. What it means by the
    /// others is for this process to find out first, and is not taken from it.
    pub(crate) fn by_partner(number: u16, user: &str) -> Refusal {
        match number {
            1 => Refusal::OtherUser { user: user.into() },
            4 => Refusal::OtherWays,
            5 => Refusal::SameSide,
            6 => Refusal::OtherProcess {
                process_id: std::process::id(),
            },
            7 => Refusal::Malformed,
            number => Refusal::ByPartner { number },
        }
    }
}

/// A reason, and the words for it, which are right in both processes.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) reason: Refusal,
    pub(crate) text: String,
}

impl Refused {
    pub(crate) fn new(reason: Refusal, text: impl Into<String>) -> Refused {
        Refused {
            reason,
            text: text.into(),
        }
    }

    pub(crate) fn malformed(text: impl Into<String>) -> Refused {
        Refused::new(Refusal::Malformed, text)
    }
}

impl From<Refused> for Error {
    fn from(Refused { reason, text }: Refused) -> Error {
        Error::Refused { reason, text }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_number_from_the_partner_means_what_it_means_there_or_stays_a_number() {
        for number in 0..=u16::MAX {
            assert_eq!(Refusal::by_partner(number, "ann").number(), number);
        }
    }
}
