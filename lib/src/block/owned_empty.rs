//! A block to be filled on any thread.

use std::fmt;
use std::ops::{Deref, DerefMut};

use super::Label;
use crate::error::Error;
use crate::region::Detached;
use crate::region::layout::Sent;
use crate::returns::{Refused, UNSENT};

/// A block to be filled, on any thread: made by
/// [`EmptyBlock::detach`](crate::EmptyBlock::detach). Its bytes are those of a `&mut [u8]`,
/// with what was in there the last time. Dropped unsent, also by a panic, it is empty again.
///
/// It borrows nothing: the [`Reader`](crate::Reader) may be moved, used, closed or dropped
/// meanwhile, and the bytes stay. What is sent passes through the Reader, which is woken for
/// it while it waits, and otherwise passes it on in its next call. What one thread sends
/// arrives in that order.
pub struct OwnedEmptyBlock {
    detached: Detached,
}

impl OwnedEmptyBlock {
    pub(crate) fn new(detached: Detached) -> OwnedEmptyBlock {
        OwnedEmptyBlock { detached }
    }

    pub(crate) fn detached(&mut self) -> &mut Detached {
        &mut self.detached
    }

    /// As [`EmptyBlock::send`](crate::EmptyBlock::send).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUse`] if `len` is beyond the block, after
    /// [`Reader::close`](crate::Reader::close), or when the Reader is no more: nothing is
    /// sent then, and the block is empty again. What was sent before `close` (by whatever
    /// says so between threads) arrives.
    ///
    /// Likewise while the Reader has lost its Writer and not found another: from
    /// [`Reader::into_unreturned`](crate::Reader::into_unreturned) until
    /// [`Unreturned::rejoin`](crate::Unreturned::rejoin) has returned. What must not be lost
    /// is sent after that.
    pub fn send(self, len: usize, tag: u64) -> Result<(), Error> {
        self.send_as(len, Label::new(0, tag))
    }

    /// As [`EmptyBlock::send_as`](crate::EmptyBlock::send_as).
    ///
    /// # Errors
    ///
    /// As [`OwnedEmptyBlock::send`].
    pub fn send_as(mut self, len: usize, label: Label) -> Result<(), Error> {
        if len > self.detached.len() {
            return Err(Error::InvalidUse("the length sent is beyond the block"));
        }
        if !self.detached.is_here() {
            return Err(Error::InvalidUse(
                "the block is the parent's: this process was forked off it",
            ));
        }
        let sent = Sent {
            block: self.detached.number() as u16,
            kind: label.kind,
            len: len as u32,
            more: label.more,
            tag: label.tag,
        };
        self.detached.send(sent.to_words()).map_err(refused)
    }
}

fn refused(why: Refused) -> Error {
    Error::InvalidUse(match why {
        Refused::Closed => "a block sent after the end of the data, or between two Writers",
        Refused::Gone => "a block sent when its Reader was no more",
    })
}

impl Deref for OwnedEmptyBlock {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        self.detached.bytes()
    }
}

impl DerefMut for OwnedEmptyBlock {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.detached.bytes_mut()
    }
}

impl AsRef<[u8]> for OwnedEmptyBlock {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for OwnedEmptyBlock {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl Drop for OwnedEmptyBlock {
    fn drop(&mut self) {
        self.detached.put(UNSENT);
    }
}

impl fmt::Debug for OwnedEmptyBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedEmptyBlock")
            .field("number", &self.detached.number())
            .field("len", &self.detached.len())
            .finish()
    }
}
