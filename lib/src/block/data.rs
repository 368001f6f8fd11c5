//! A filled block.

use std::io::{self, Write};
use std::mem;
use std::ops::Deref;

use super::OwnedDataBlock;
use super::label::Label;
use crate::region::Block;
use crate::writer::Writer;

/// A filled block: its bytes are those of a `&[u8]`. Dropped, it is given back.
///
/// They lie in the Reader's memory, and its process cannot be forced to leave them alone.
/// If it is of this process's own user, it is trusted to, and nothing is copied: a program
/// of one's own user that breaks this rule could as well write to this process's memory as
/// a debugger does. If it is of another user ([`Partner::is_own_user`]), the `&[u8]` is a
/// private copy, made the first time that the block is looked at, in a buffer that is used
/// again for later blocks: as large as the pool in the end. [`DataBlock::copy_to`] and
/// [`DataBlock::write_to`] do without it.
///
/// [`Partner::is_own_user`]: crate::Partner::is_own_user
#[derive(Debug)]
pub struct DataBlock<'w> {
    pub(crate) writer: &'w Writer,
    pub(crate) block: Block,
}

impl DataBlock<'_> {
    /// What the block was sent with.
    #[inline(always)]
    pub fn label(&self) -> Label {
        self.writer.label(&self.block)
    }

    /// The number that the block was sent with.
    #[inline(always)]
    pub fn tag(&self) -> u64 {
        self.label().tag
    }

    /// The smaller number that the block was sent with; 0 if none was given.
    #[inline(always)]
    pub fn kind(&self) -> u16 {
        self.label().kind
    }

    /// Whether the message goes on in the next block.
    #[inline(always)]
    pub fn more(&self) -> bool {
        self.label().more
    }

    /// Copies the block's bytes into `to`, as many as it has room for, and returns how
    /// many these are. With a partner of another user it costs one copy, where the `&[u8]`
    /// costs one more; but what is copied may then differ from call to call.
    pub fn copy_to(&self, to: &mut [u8]) -> usize {
        self.writer.end().pool().copy_to(&self.block, to)
    }

    /// Writes the block's bytes to `to`; with a partner of another user, piece by piece
    /// through a small buffer, and then as [`DataBlock::copy_to`] does.
    ///
    /// # Errors
    ///
    /// Those of `to`.
    pub fn write_to(&self, to: &mut impl Write) -> io::Result<()> {
        self.writer.end().pool().write_to(&self.block, to)
    }

    /// Gives the block back, as dropping it does. Never blocks.
    #[inline(always)]
    pub fn done(self) {}

    /// The block itself, to be made a token again by the same end.
    #[inline(always)]
    pub(crate) fn into_block(mut self) -> Block {
        let block = self.block.take_out();
        // So that to drop a token always is to give a block back: nothing is left here.
        mem::forget(self);
        block
    }

    /// As [`EmptyBlock::lend`](crate::EmptyBlock::lend), for
    /// [`Writer::lent`](crate::Writer::lent).
    #[doc(hidden)]
    #[inline(always)]
    pub fn lend(self) -> usize {
        let writer = self.writer;
        writer.end().pool().lend(self.into_block())
    }

    /// The same block, to be drained and given back on any thread.
    pub fn detach(self) -> OwnedDataBlock {
        let (writer, label) = (self.writer, self.label());
        OwnedDataBlock::new(writer.end().detach(self.into_block()), label)
    }
}

impl Deref for DataBlock<'_> {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        self.writer.end().pool().bytes(&self.block)
    }
}

impl Drop for DataBlock<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.writer.give_back(self.block.take_out());
    }
}
