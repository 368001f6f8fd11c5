//! A block to be filled.

use std::mem;
use std::ops::{Deref, DerefMut};

use super::OwnedEmptyBlock;
use super::label::Label;
use crate::error::Error;
use crate::reader::Reader;
use crate::region::Block;

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
    pub fn send_as(self, len: usize, label: Label) -> Result<(), Error> {
        let reader = self.reader;
        if len > reader.block_size() {
            return Err(Error::InvalidUse("the length sent is beyond the block"));
        }
        reader
            .end()
            .can_publish("a block sent after the end of the data")?;
        reader.send(self.into_block(), len, label);
        Ok(())
    }

    /// The block itself, to be made a token again by the same end.
    #[inline(always)]
    pub(crate) fn into_block(mut self) -> Block {
        let block = self.block.take_out();
        // So that to drop a token always is to put a block back: nothing is left here.
        mem::forget(self);
        block
    }

    /// For interfaces to other languages, which have no borrowing: the block's number, for
    /// which [`Reader::lent`] gives the block back. Until then it counts as held, and its bytes
    /// are nobody's here.
    #[doc(hidden)]
    #[inline(always)]
    pub fn lend(self) -> usize {
        let reader = self.reader;
        reader.end().pool().lend(self.into_block())
    }

    /// The same block, to be filled and sent on any thread.
    pub fn detach(self) -> OwnedEmptyBlock {
        let reader = self.reader;
        OwnedEmptyBlock::new(reader.end().detach(self.into_block()))
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
        self.reader.put_back(self.block.take_out());
    }
}
