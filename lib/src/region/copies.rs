//! Private copies of blocks, where the partner is of another user.
//!
//! A reference to bytes is a promise that they stay as they are, and the compiler relies
//! on it: text that was found to be UTF-8 may be read beyond its end if it changes
//! afterwards. So what another user can still write is loaded by atomics only, and given
//! out as a copy.
#![expect(
    unsafe_code,
    reason = "a buffer is filled again while the pool is shared, as its block is used again"
)]

use std::cell::{Cell, UnsafeCell};
use std::sync::OnceLock;

use super::access::ReadOnlyU64;
use super::blocks::Block;

/// For each block a buffer, made when it is needed first, and used again.
pub(super) struct Copies {
    slots: Box<[Slot]>,
}

#[derive(Default)]
struct Slot {
    bytes: UnsafeCell<Vec<u8>>,
    /// The bytes are those of the block that is here.
    is_made: Cell<bool>,
}

impl Copies {
    pub(super) fn new(count: usize) -> Copies {
        Copies {
            slots: (0..count).map(|_| Slot::default()).collect(),
        }
    }

    /// Forgets what block `number` held before. Only while nobody has its token.
    pub(super) fn renew(&self, number: usize) {
        self.slots[number].is_made.set(false);
    }

    /// The copy of `block`, if it was made, for a token that takes it along.
    pub(super) fn take(&self, block: &mut Block) -> Copy {
        let slot = &self.slots[block.number()];
        let copy = OnceLock::new();
        if slot.is_made.replace(false) {
            // SAFETY: `&mut` to the only token of the block: nobody refers to the buffer,
            // see `made`.
            let bytes = unsafe { &mut *slot.bytes.get() };
            let _ = copy.set(std::mem::take(bytes));
        }
        Box::new(copy)
    }

    /// The copy of `block`, if it was made.
    pub(super) fn made<'b>(&'b self, block: &'b Block) -> Option<&'b [u8]> {
        let slot = &self.slots[block.number()];
        slot.is_made.get().then(|| {
            // SAFETY: the buffer changes only while `is_made` is false. That becomes true
            // once for each token of the block, of which there is one, and false when
            // there is none; the result borrows the token.
            unsafe { &**slot.bytes.get() }
        })
    }

    /// The copy of `block`; made of `words`, its shared bytes, unless it was made before.
    pub(super) fn get<'b>(&'b self, block: &'b Block, words: &[ReadOnlyU64]) -> &'b [u8] {
        let slot = &self.slots[block.number()];
        if !slot.is_made.get() {
            // SAFETY: nobody refers to the buffer: `is_made` is false, see `made`. And
            // nothing that is called here comes back to it.
            let bytes = unsafe { &mut *slot.bytes.get() };
            bytes.resize(block.len(), 0);
            load(words, bytes);
            slot.is_made.set(true);
        }
        // SAFETY: as in `made`.
        unsafe { &*slot.bytes.get() }
    }
}

/// The copy of one block, for any thread.
pub(super) type Copy = Box<OnceLock<Vec<u8>>>;

/// Fills `to` from `words`, which are as long and may change meanwhile.
pub(super) fn load(words: &[ReadOnlyU64], to: &mut [u8]) {
    for (word, to) in words.iter().zip(to.chunks_mut(8)) {
        let bytes = word.load().to_ne_bytes();
        to.copy_from_slice(&bytes[..to.len()]);
    }
}
