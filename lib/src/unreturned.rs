//! What was sent and not given back, once the Writer is gone.

use crate::block::Label;
use crate::error::Error;
use crate::reader::Reader;
use crate::region::Block;
use crate::region::layout::{SENT_WORDS, Sent};

/// What a [`Reader`] has sent and its Writer has not given back, in the order of sending:
/// made by [`Reader::into_unreturned`].
///
/// The Writer may have drained some of it before it died: it has not said so. Whoever
/// sends it again must be able to get it twice.
#[derive(Debug)]
pub struct Unreturned {
    reader: Reader,
    blocks: Vec<(Block, Label)>,
}

impl Unreturned {
    /// Recalls what the Writer had when it was lost.
    fn new(reader: Reader) -> Unreturned {
        // A block that is with the Writer was sent, so its record is one.
        let recall = |(number, entry): (usize, [u64; SENT_WORDS])| {
            let sent = Sent::from_words(entry);
            let (order, block) = reader.end().pool().recall(number, sent.len as usize)?;
            Some((order, (block, Label::of(sent))))
        };
        let mut blocks: Vec<_> = reader
            .end()
            .records()
            .enumerate()
            .filter_map(recall)
            .collect();
        blocks.sort_unstable_by_key(|(order, _)| *order);
        Unreturned {
            blocks: blocks.into_iter().map(|(_, block)| block).collect(),
            reader,
        }
    }

    /// What each block was sent with, and its bytes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Label, &[u8])> {
        let pool = self.reader.end().pool();
        self.blocks
            .iter()
            .map(|(block, label)| (*label, pool.bytes(block)))
    }

    /// How many blocks these are.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether all was given back.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }
}

impl Reader {
    /// What was sent and not given back, after the Writer has died, given up or hung up:
    /// to be kept, or sent to another one.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUse`] if the Writer is still there, if it has given its verdict (so
    /// all was given back), or if this process gave up before the Writer was found dead.
    /// [`Error::ProtocolViolation`] if what it gave back cannot be. The Reader is dropped
    /// then.
    pub fn into_unreturned(self) -> Result<Unreturned, Error> {
        self.end().find_lost()?;
        self.end().close_home();
        self.take_all_back()?;
        Ok(Unreturned::new(self))
    }
}
