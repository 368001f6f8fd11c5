//! Where the blocks are, and the tokens for them: here bytes of shared memory become
//! slices.
//!
//! What soundness rests on, beside what `mapped` says. Each block has at most one
//! [`Block`] token in this process, and only that token gives access to its bytes; the
//! [`Pool`](super::Pool) makes it only while the block is this end's; while there is none, only
//! `prefetch_to_store` stores to the block, and changes nothing. That the *partner*
//! leaves alone a block that it gave away cannot be checked. A partner of this process's own
//! user is trusted to: it could as well write to this process's memory by other means
//! (ptrace). A foreign one is not: its blocks are read by atomics and through `copies`.
#![expect(
    unsafe_code,
    reason = "shared memory has to become references somewhere: in region and sys alone"
)]

use std::io::{self, Write};
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::access::{Access, ReadOnlyU64};
use super::copies;
use super::mapped::{Mapping, Region};
use super::prefetch::{self, LINE_SIZE};
use crate::region::layout::Geometry;

/// How much of a foreign block is copied at once on its way to somewhere else, in bytes:
/// it stays in the processor's nearest cache.
pub(super) const PIECE: usize = 16 * 1024;

/// Where the blocks of a region are.
#[derive(Clone)]
pub(super) struct Blocks {
    first: NonNull<u8>,
    stride: usize,
    size: usize,
    count: usize,
    /// This process may write to them.
    are_own: bool,
    _mapping: Arc<Mapping>,
}

// SAFETY: the bytes behind `first` are reached through tokens only, of which each block has
// one: a shared one gives shared access, and to give it away takes all access with it.
unsafe impl Send for Blocks {}
// SAFETY: as above.
unsafe impl Sync for Blocks {}

impl Blocks {
    /// The blocks in `region`, a Reader's.
    ///
    /// # Panics
    ///
    /// If they were asked for before (then there could be a second token for the same
    /// block) or the region is too small: both ruled out by the session.
    pub(super) fn of<A: Access>(region: &Region<A>, geometry: &Geometry) -> Blocks {
        let mapping = region.mapping();
        let count = geometry.block_count();
        let end = geometry.blocks_offset() + geometry.stride() * count;
        assert!(end <= mapping.memory.len());
        assert!(!mapping.pool_taken.swap(true, Ordering::Relaxed));
        Blocks {
            // SAFETY: within the mapping, as asserted above.
            first: unsafe { mapping.memory.start().byte_add(geometry.blocks_offset()) },
            stride: geometry.stride(),
            size: geometry.block_size(),
            count,
            are_own: mapping.memory.is_writable(),
            _mapping: Arc::clone(mapping),
        }
    }

    /// The same region, and none of its blocks.
    pub(super) fn none(&self) -> Blocks {
        Blocks {
            count: 0,
            ..self.clone()
        }
    }

    /// Whether they are this process's own.
    pub(super) fn are_own(&self) -> bool {
        self.are_own
    }

    /// Of each block, in bytes.
    #[inline(always)]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The bytes of `block`. Not for a foreign partner's.
    #[inline(always)]
    pub(super) fn bytes<'b>(&'b self, block: &'b Block) -> &'b [u8] {
        // SAFETY: `start` is within the mapping, which is kept here, and so is the block's
        // length, which the pool checked; the token is the only one for the block, and
        // the partner has given it away (the trust that the module's head states).
        unsafe { slice::from_raw_parts(self.start(block).as_ptr(), block.len()) }
    }

    /// The bytes of `block`, to be filled. Only for a Reader's own blocks.
    #[inline(always)]
    pub(super) fn bytes_mut<'b>(&'b self, block: &'b mut Block) -> &'b mut [u8] {
        // SAFETY: as in `bytes`, and `&mut` makes this the only reference made
        // from the only token.
        unsafe { slice::from_raw_parts_mut(self.start(block).as_ptr(), block.len()) }
    }

    /// The shared bytes of `block` in words, the last of which may be longer than it.
    pub(super) fn words(&self, block: &Block) -> &[ReadOnlyU64] {
        let count = block.len().div_ceil(8);
        // SAFETY: blocks begin on lines of 64 bytes and the stride is a multiple of that,
        // so the words are aligned and the last one is within the mapping, as `start` is.
        // Atomics may change under a shared reference, and are valid for any bytes.
        unsafe { slice::from_raw_parts(self.start(block).cast().as_ptr(), count) }
    }

    /// Copies the bytes of `block`, as many as `to` has room for, from `fixed` if there are
    /// any that nobody changes. How many they are.
    pub(super) fn copy_to(&self, block: &Block, fixed: Option<&[u8]>, to: &mut [u8]) -> usize {
        let len = block.len().min(to.len());
        let to = &mut to[..len];
        match fixed {
            Some(bytes) => to.copy_from_slice(&bytes[..len]),
            None => copies::load(self.words(block), to),
        }
        len
    }

    /// Writes the bytes of `block` to `to`, from `fixed` as in `copy_to`.
    pub(super) fn write_to(
        &self,
        block: &Block,
        fixed: Option<&[u8]>,
        to: &mut impl Write,
    ) -> io::Result<()> {
        if let Some(bytes) = fixed {
            return to.write_all(bytes);
        }
        let mut left = block.len();
        let mut buffer = [0; PIECE];
        for words in self.words(block).chunks(PIECE / 8) {
            let piece = &mut buffer[..left.min(PIECE)];
            copies::load(words, piece);
            to.write_all(piece)?;
            left -= piece.len();
        }
        Ok(())
    }

    /// Fetches the lines of block `number`, to be stored to: by stores, as
    /// [`prefetch`](super::prefetch) says. Only for a block whose token is nowhere, as the pool
    /// knows (see the module's head): one that is with the partner, or on its way.
    pub(super) fn prefetch_to_store(&self, number: usize) {
        if !self.are_own {
            return;
        }
        let start = self.start_of(number);
        for offset in (0..self.size).step_by(LINE_SIZE) {
            // SAFETY: within the block.
            let word = unsafe { start.byte_add(offset) }.cast::<u64>();
            prefetch::to_store(word.as_ptr());
            // SAFETY: within the mapping, which may be written to, and aligned, as in `words`;
            // without a token no reference to the block's bytes was made from this pool, and
            // the partner, which may still read them, does not write and finds the same.
            unsafe { word.write_volatile(word.read_volatile()) };
        }
    }

    /// Fetches the lines of block `number`, to be loaded from.
    pub(super) fn prefetch_to_load(&self, number: usize) {
        if number < self.count {
            let start = self.start_of(number).as_ptr();
            for offset in (0..self.size).step_by(LINE_SIZE) {
                prefetch::to_load(start.wrapping_byte_add(offset));
            }
        }
    }

    #[inline(always)]
    pub(super) fn start(&self, block: &Block) -> NonNull<u8> {
        self.start_of(block.number())
    }

    #[inline(always)]
    fn start_of(&self, number: usize) -> NonNull<u8> {
        assert!(number < self.count);
        // SAFETY: the number is below the count of blocks, all of which lie within
        // the mapping, as `of` asserted.
        unsafe { self.first.byte_add(number * self.stride) }
    }
}

/// The right to a block's bytes, as the [`Pool`](super::Pool) that made it gives them;
/// never to be shown to another pool, which is why the ends keep it in one struct with
/// theirs. To be given up with `depart` or `put_back`; dropped, the block would be
/// nobody's, and stay so.
///
/// Number and length share one word so that a public token, a reference and this,
/// is two words, which are moved in registers. A larger one is moved through
/// memory, stored in pieces and loaded as a whole, and then the processor waits
/// until the pieces have left its store buffer, behind all the stores to shared
/// memory before them: some 25 of the 62 ns that passing on a block of 64 bytes
/// took then.
pub(crate) struct Block(u64);

impl Block {
    /// No block: what is left in a token whose block was taken out.
    const NONE: Block = Block(u64::MAX);

    /// A bit between number and length.
    const IN_BATCH: u64 = 1 << 31;

    #[inline(always)]
    pub(super) fn new(number: usize, len: usize) -> Block {
        Block(number as u64 | (len as u64) << 32)
    }

    /// The same block; who passes it on, leaves it to the next one to tell the partner.
    #[inline(always)]
    pub(crate) fn in_batch(self) -> Block {
        Block(self.0 | Block::IN_BATCH)
    }

    #[inline(always)]
    pub(crate) fn is_in_batch(&self) -> bool {
        self.0 & Block::IN_BATCH != 0
    }

    #[inline(always)]
    pub(crate) fn number(&self) -> usize {
        usize::from(self.0 as u16)
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        (self.0 >> 32) as usize
    }

    /// Takes the block out of a token that is about to be dropped.
    #[inline(always)]
    pub(crate) fn take(&mut self) -> Option<Block> {
        let block = self.take_out();
        (block.0 != Block::NONE.0).then_some(block)
    }

    /// As [`Block::take`], for a token that is surely there.
    #[inline(always)]
    pub(crate) fn take_out(&mut self) -> Block {
        std::mem::replace(self, Block::NONE)
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Block")
            .field("number", &self.number())
            .field("len", &self.len())
            .finish()
    }
}
