//! A block to be filled.

use std::ops::{Deref, DerefMut};

use super::OwnedEmptyBlock;
use super::label::Label;
use crate::error::Error;
use crate::reader::Reader;
use crate::region::Block;
use crate::region::layout::Sent;

/// A block to be filled: its bytes are those of a `&mut [u8]`, with what was in
/// there the last time. Dropped unsent, it is empty again.
#[derive(Debug)]
pub struct EmptyBlock<'r> {
    pub(crate) reader: &'r Reader,
    pub(crate) block: Block,
}

impl EmptyBlock<'_> {
    /// Sends the first `len` bytes, with a number of the application's choice
    /// (an offset, for instance). Never blocks.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUse`] if `len` is beyond the block, or after
    /// [`Reader::close`]; [`Error::Aborted`] if this process has given up: nothing is sent
    /// then.
    #[inline(always)]
    pub fn send(self, len: usize, tag: u64) -> Result<(), Error> {
        self.send_as(len, Label::new(0, tag))
    }

    /// As [`EmptyBlock::send`], with all that can travel with a block; `send` gives
    /// kind 0, and no more.
    ///
    /// # Errors
    ///
    /// As there.
    #[inline(always)]
    pub fn send_as(mut self, len: usize, label: Label) -> Result<(), Error> {
        let reader = self.reader;
        if len > reader.block_size() {
            return Err(Error::InvalidUse("the length sent is beyond the block"));
        }
        reader
            .end()
            .can_publish("a block sent after the end of the data")?;
        let Some(block) = self.block.take() else {
            return Ok(());
        };
        let order = reader.end().published();
        let sent = Sent {
            block: reader.end().pool().depart(block, order) as u16,
            kind: label.kind,
            len: len as u32,
            more: label.more,
            tag: label.tag,
        };
        reader.publish(sent);
        Ok(())
    }

    /// The block itself, to be made a token again by the same end.
    pub(crate) fn into_block(mut self) -> Block {
        self.block.take_out()
    }

    /// The same block, to be filled and sent on any thread.
    pub fn detach(mut self) -> OwnedEmptyBlock {
        OwnedEmptyBlock::new(self.reader.end().detach(&mut self.block))
    }
}

impl Deref for EmptyBlock<'_> {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        self.reader.end().pool().bytes(&self.block)
    }
}

impl DerefMut for EmptyBlock<'_> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.reader.end().pool().bytes_mut(&mut self.block)
    }
}

impl Drop for EmptyBlock<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.reader.end().pool().put_back(block);
        }
    }
}
