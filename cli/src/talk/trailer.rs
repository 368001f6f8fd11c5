//! What the Reader tells of its source once all of it was read.

use crate::failure::{Exit, Failure};
use crate::metadata::Metadata;
use crate::talk::object;
use crate::talk::pieces::{self, nonsense};
use crate::talk::wire;

/// All that came after the data, in pieces.
#[derive(Default)]
pub(crate) struct Trailer {
    metadata: Vec<u8>,
    digest: Vec<u8>,
}

impl Trailer {
    /// Takes the piece at `offset`, if it is one of a trailer: false if not.
    pub(crate) fn add(&mut self, kind: u16, offset: u64, piece: &[u8]) -> Result<bool, Failure> {
        let (all, len_max) = match kind {
            wire::METADATA => (&mut self.metadata, wire::METADATA_BYTES_MAX),
            wire::DIGEST => (&mut self.digest, blake3::OUT_LEN),
            _ => return Ok(false),
        };
        pieces::add(all, offset, piece, len_max)?;
        Ok(true)
    }

    /// The hash of all data, as the Reader has read it.
    pub(crate) fn digest(&self) -> Result<[u8; blake3::OUT_LEN], Failure> {
        let digest = self.digest.as_slice().try_into();
        digest.map_err(|_| nonsense("no hash, or half of one"))
    }

    pub(crate) fn metadata(&self) -> Result<Metadata, Failure> {
        object::decode(&self.metadata).ok_or_else(|| nonsense("metadata that makes no sense"))
    }
}

/// The two processes were started by hand, with different options.
pub(crate) fn started_without(option: &str) -> Failure {
    let message = format!("the reader was started without {option}; give it to both processes");
    Failure::new(Exit::Failed, message)
}

/// The other way round.
pub(crate) fn started_with(option: &str) -> Failure {
    let message = format!(
        "the reader was started with {option}, the writer without; give it to both processes"
    );
    Failure::new(Exit::Failed, message)
}
