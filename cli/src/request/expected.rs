//! What the user knows of the source beforehand: how many bytes it has, and their hash.
//! A stream whose sender died looks like one that is complete; this tells them apart.

use crate::failure::{Exit, Failure};

/// Checked by each half that was told so, before the destination is replaced.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Expected {
    pub(crate) size: Option<u64>,
    pub(crate) digest: Option<blake3::Hash>,
}

impl Expected {
    /// Of a `source` that says how many bytes it has.
    pub(crate) fn check_told(self, source: &str, told: Option<u64>) -> Result<(), Failure> {
        match (told, self.size) {
            (Some(told), Some(size)) if told != size => Err(refused(format!(
                "{source} has {told} bytes, and not the {size} of --size"
            ))),
            _ => Ok(()),
        }
    }

    /// When there are `bytes`, and perhaps more.
    pub(crate) fn check_so_far(self, source: &str, bytes: u64) -> Result<(), Failure> {
        match self.size {
            Some(size) if bytes > size => Err(refused(format!(
                "{source} has more than the {size} bytes of --size"
            ))),
            _ => Ok(()),
        }
    }

    /// When there were `bytes` and no more.
    pub(crate) fn check_end(self, source: &str, bytes: u64) -> Result<(), Failure> {
        match self.size {
            Some(size) if bytes != size => Err(refused(format!(
                "{source} ended after {bytes} bytes, and not the {size} of --size"
            ))),
            _ => Ok(()),
        }
    }

    pub(crate) fn check_digest(self, source: &str, found: &blake3::Hash) -> Result<(), Failure> {
        match self.digest {
            Some(digest) if *found != digest => Err(refused(format!(
                "{source} has the BLAKE3 hash {found}, and not the {digest} of --expect-blake3"
            ))),
            _ => Ok(()),
        }
    }
}

fn refused(message: String) -> Failure {
    Failure::new(Exit::Failed, message)
}
