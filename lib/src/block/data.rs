//! A filled block.

use std::ops::Deref;

use super::label::Label;
use crate::region::Block;
use crate::writer::Writer;

/// A filled block: its bytes are those of a `&[u8]`. Dropped, it is given back.
///
/// The bytes are the Reader's to write: they stay as they are as long as the
/// Reader keeps the protocol, which its process cannot be forced to.
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

    /// Gives the block back, as dropping it does. Never blocks.
    #[inline(always)]
    pub fn done(self) {}
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
        if let Some(block) = self.block.take() {
            let end = self.writer.end();
            let len = block.len();
            let number = end.pool().depart(block);
            // In a forked child there is nothing to give back.
            if end.is_here() {
                end.count(len);
                end.publish([number as u64]);
            }
        }
    }
}
