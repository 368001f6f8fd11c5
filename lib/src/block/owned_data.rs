//! A filled block, to be drained on any thread.

use std::fmt;
use std::io::{self, Write};
use std::ops::Deref;

use super::Label;
use crate::region::Detached;

/// A filled block, to be drained on any thread: made by
/// [`DataBlock::detach`](crate::DataBlock::detach). Its bytes are those of a `&[u8]`, as in
/// a [`DataBlock`](crate::DataBlock). Dropped, also by a panic, it is given back.
///
/// It borrows nothing: the [`Writer`](crate::Writer) may be moved, used or dropped
/// meanwhile, and the bytes stay. To be given back it passes through the Writer, which is
/// woken for it while it waits, and otherwise passes it on in its next call.
pub struct OwnedDataBlock {
    detached: Detached,
    label: Label,
}

impl OwnedDataBlock {
    pub(crate) fn new(detached: Detached, label: Label) -> OwnedDataBlock {
        OwnedDataBlock { detached, label }
    }

    /// How many bytes it has: without looking at them, as the slice's `len` would (which
    /// copies them, if they are another user's).
    #[allow(clippy::len_without_is_empty, reason = "the slice's does")]
    pub fn len(&self) -> usize {
        self.detached.len()
    }

    /// As [`DataBlock::label`](crate::DataBlock::label).
    pub fn label(&self) -> Label {
        self.label
    }

    /// As [`DataBlock::tag`](crate::DataBlock::tag).
    pub fn tag(&self) -> u64 {
        self.label.tag
    }

    /// As [`DataBlock::kind`](crate::DataBlock::kind).
    pub fn kind(&self) -> u16 {
        self.label.kind
    }

    /// As [`DataBlock::more`](crate::DataBlock::more).
    pub fn more(&self) -> bool {
        self.label.more
    }

    /// As [`DataBlock::copy_to`](crate::DataBlock::copy_to).
    pub fn copy_to(&self, to: &mut [u8]) -> usize {
        self.detached.copy_to(to)
    }

    /// As [`DataBlock::write_to`](crate::DataBlock::write_to).
    ///
    /// # Errors
    ///
    /// Those of `to`.
    pub fn write_to(&self, to: &mut impl Write) -> io::Result<()> {
        self.detached.write_to(to)
    }

    /// Gives the block back, as dropping it does. Never blocks.
    pub fn done(self) {}
}

impl Deref for OwnedDataBlock {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        self.detached.bytes()
    }
}

impl AsRef<[u8]> for OwnedDataBlock {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for OwnedDataBlock {
    fn drop(&mut self) {
        let (number, len) = (self.detached.number(), self.detached.len());
        self.detached.put([number as u64, len as u64]);
    }
}

impl fmt::Debug for OwnedDataBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedDataBlock")
            .field("number", &self.detached.number())
            .field("len", &self.detached.len())
            .field("label", &self.label)
            .finish()
    }
}
