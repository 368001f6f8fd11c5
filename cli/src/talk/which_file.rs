//! Which file it is, now and later.

use serde::{Deserialize, Serialize};

use crate::metadata::Stamp;
use crate::sys::{Facts, Identity};

/// The number of a file that is gone may be another's soon; but that one was made later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WhichFile {
    pub(crate) identity: Identity,
    pub(crate) born: Stamp,
}

impl WhichFile {
    /// `None` if that cannot be told later.
    pub(crate) fn of(found: &Facts) -> Option<WhichFile> {
        let identity = found.identity;
        let born = found.born?;
        // Not everything has one.
        (identity != (0, 0)).then_some(WhichFile { identity, born })
    }
}

#[cfg(test)]
impl WhichFile {
    /// The one that takes most room in a letter.
    pub(crate) fn longest() -> WhichFile {
        WhichFile {
            identity: (u64::MAX, u64::MAX),
            born: Stamp {
                seconds: -9_999_999_999,
                nanoseconds: 999_999_999,
            },
        }
    }
}
