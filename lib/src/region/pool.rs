//! The blocks, and the tokens for them: where bytes of shared memory become slices.
//!
//! What soundness rests on, beside what `mapped` says. Each block has at most one
//! [`Block`] token in this process, and only that token gives access to its bytes; a
//! [`Pool`] hands it out only while the block is this end's. That the *partner* leaves
//! alone a block that it gave away cannot be checked. A partner of this process's own
//! user is trusted to: it could as well write to this process's memory by other means
//! (ptrace). A foreign one is not: its blocks are read by atomics and through `copies`.
#![expect(
    unsafe_code,
    reason = "shared memory has to become references somewhere: in region and sys alone"
)]

use std::cell::Cell;
use std::io::{self, Write};
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::access::{Access, ReadOnlyU64};
use super::copies::{self, Copies};
use super::mapped::{Mapping, Region};
use crate::error::Violation;
use crate::region::layout::Geometry;

/// How much of a foreign block is copied at once on its way to somewhere else, in bytes:
/// it stays in the processor's nearest cache.
const PIECE: usize = 16 * 1024;

/// Where a block is, as this process knows it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Here, and nobody uses it.
    Spare,
    /// Here, as a [`Block`].
    Held,
    /// With the partner, or on its way to or from it.
    Partner,
}

/// The blocks, and where each of them is.
pub(crate) struct Pool {
    first: NonNull<u8>,
    stride: usize,
    block_size: usize,
    places: Box<[Cell<Place>]>,
    /// A stack of the blocks whose place is `Spare`: the first `spare_count`.
    spare: Box<[Cell<u16>]>,
    spare_count: Cell<usize>,
    /// Only if the region is of another user's.
    copies: Option<Copies>,
    _mapping: Arc<Mapping>,
}

// SAFETY: the bytes behind `first` are reached through tokens only, which borrow
// the pool, so moving it to another thread takes all access with it.
unsafe impl Send for Pool {}

impl Pool {
    /// The blocks in `region`, a Reader's; all of them spare if the region is
    /// this process's own, all with the partner otherwise. With `is_foreign` their bytes
    /// are never trusted to stay as they are.
    ///
    /// # Panics
    ///
    /// If the region has a pool already (a second one could make a second token
    /// for the same block) or is too small: both ruled out by the session.
    pub(crate) fn new<A: Access>(
        region: &Region<A>,
        geometry: &Geometry,
        is_foreign: bool,
    ) -> Pool {
        let mapping = region.mapping();
        let count = geometry.block_count();
        let end = geometry.blocks_offset() + geometry.stride() * count;
        assert!(end <= mapping.memory.len());
        assert!(!mapping.pool_taken.swap(true, Ordering::Relaxed));
        let (place, spare_count) = match mapping.memory.is_writable() {
            true => (Place::Spare, count),
            false => (Place::Partner, 0),
        };
        // Block 0 on top, so that it is the first to be taken.
        let spare = (0..count).rev().map(|number| Cell::new(number as u16));
        Pool {
            // SAFETY: within the mapping, as asserted above.
            first: unsafe { mapping.memory.start().byte_add(geometry.blocks_offset()) },
            stride: geometry.stride(),
            block_size: geometry.block_size(),
            places: (0..count).map(|_| Cell::new(place)).collect(),
            spare: spare.collect(),
            spare_count: Cell::new(spare_count),
            copies: is_foreign.then(|| Copies::new(count)),
            _mapping: Arc::clone(mapping),
        }
    }

    pub(crate) fn block_size(&self) -> usize {
        self.block_size
    }

    /// Whether a block is here and unused.
    pub(crate) fn has_spare(&self) -> bool {
        self.spare_count.get() > 0
    }

    /// A block that is here and unused, with its full length.
    #[inline(always)]
    pub(crate) fn take_spare(&self) -> Option<Block> {
        let top = self.spare_count.get().checked_sub(1)?;
        self.spare_count.set(top);
        let number = usize::from(self.spare[top].get());
        self.places[number].set(Place::Held);
        Some(Block::new(number, self.block_size))
    }

    /// The block `number`, which the partner says that it hands over with `len`
    /// bytes in it.
    #[inline(always)]
    pub(crate) fn arrive(&self, number: u64, len: usize) -> Result<Block, Violation> {
        let place = self
            .places
            .get(number as usize)
            .ok_or(Violation::BlockNumber { found: number })?;
        if place.get() != Place::Partner {
            return Err(Violation::BlockNotTheirs { block: number });
        }
        if len > self.block_size {
            let (found, most) = (len as u64, self.block_size as u64);
            return Err(Violation::Length { found, most });
        }
        place.set(Place::Held);
        if let Some(copies) = &self.copies {
            copies.renew(number as usize);
        }
        Ok(Block::new(number as usize, len))
    }

    /// Block `number` with the `len` bytes that it was sent with, if the partner still had
    /// it when it was lost. Only for a Reader's own blocks.
    pub(crate) fn recall(&self, number: usize, len: usize) -> Option<Block> {
        let place = self.places.get(number)?;
        let is_away = place.get() == Place::Partner && len <= self.block_size;
        is_away.then(|| {
            place.set(Place::Held);
            Block::new(number, len)
        })
    }

    /// Gives `block` up, because it goes to the partner. Its number.
    #[inline(always)]
    pub(crate) fn depart(&self, block: Block) -> usize {
        self.places[block.number()].set(Place::Partner);
        block.number()
    }

    /// Gives `block` up, because it is not used after all.
    #[inline(always)]
    pub(crate) fn put_back(&self, block: Block) {
        self.places[block.number()].set(Place::Spare);
        let count = self.spare_count.get();
        self.spare[count].set(block.number() as u16);
        self.spare_count.set(count + 1);
    }

    /// The bytes of `block`.
    #[inline(always)]
    pub(crate) fn bytes<'b>(&'b self, block: &'b Block) -> &'b [u8] {
        match &self.copies {
            None => self.shared_bytes(block),
            Some(copies) => self.copied_bytes(copies, block),
        }
    }

    #[inline(always)]
    fn shared_bytes<'b>(&'b self, block: &'b Block) -> &'b [u8] {
        debug_assert!(self.copies.is_none());
        // SAFETY: `start` is within the mapping, which the pool keeps, and so is
        // the block's length, which `arrive` checked; the token is the only one
        // for the block, and the partner has given it away (the trust that the
        // module's head states).
        unsafe { slice::from_raw_parts(self.start(block).as_ptr(), block.len()) }
    }

    #[cold]
    #[inline(never)]
    fn copied_bytes<'b>(&'b self, copies: &'b Copies, block: &'b Block) -> &'b [u8] {
        copies.get(block, self.words(block))
    }

    /// The bytes of `block`, as many as `to` has room for. How many they are.
    pub(crate) fn copy_to(&self, block: &Block, to: &mut [u8]) -> usize {
        let len = block.len().min(to.len());
        let to = &mut to[..len];
        match self.bytes_if_fixed(block) {
            Some(bytes) => to.copy_from_slice(&bytes[..len]),
            None => copies::load(self.words(block), to),
        }
        len
    }

    /// Writes the bytes of `block` to `to`.
    pub(crate) fn write_to(&self, block: &Block, to: &mut impl Write) -> io::Result<()> {
        if let Some(bytes) = self.bytes_if_fixed(block) {
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

    /// The bytes of `block`, if there are any that nobody changes.
    fn bytes_if_fixed<'b>(&'b self, block: &'b Block) -> Option<&'b [u8]> {
        match &self.copies {
            None => Some(self.shared_bytes(block)),
            Some(copies) => copies.made(block),
        }
    }

    /// The shared bytes of `block` in words, the last of which may be longer than it.
    fn words(&self, block: &Block) -> &[ReadOnlyU64] {
        let count = block.len().div_ceil(8);
        // SAFETY: blocks begin on lines of 64 bytes and the stride is a multiple of that,
        // so the words are aligned and the last one is within the mapping, as `start` is.
        // Atomics may change under a shared reference, and are valid for any bytes.
        unsafe { slice::from_raw_parts(self.start(block).cast().as_ptr(), count) }
    }

    /// The bytes of `block`, to be filled. Only for a Reader's own blocks.
    #[inline(always)]
    pub(crate) fn bytes_mut<'b>(&'b self, block: &'b mut Block) -> &'b mut [u8] {
        // SAFETY: as in `bytes`, and `&mut` makes this the only reference made
        // from the only token.
        unsafe { slice::from_raw_parts_mut(self.start(block).as_ptr(), block.len()) }
    }

    #[inline(always)]
    fn start(&self, block: &Block) -> NonNull<u8> {
        assert!(block.number() < self.places.len());
        // SAFETY: the number is below the count of blocks, all of which lie within
        // the mapping, as `new` asserted.
        unsafe { self.first.byte_add(block.number() * self.stride) }
    }
}

/// The right to a block's bytes, as the [`Pool`] that made it gives them; never to
/// be shown to another pool, which is why the ends keep it in one struct with
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
    pub(crate) const NONE: Block = Block(u64::MAX);

    #[inline(always)]
    fn new(number: usize, len: usize) -> Block {
        Block(number as u64 | (len as u64) << 32)
    }

    #[inline(always)]
    pub(crate) fn number(&self) -> usize {
        self.0 as u32 as usize
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        (self.0 >> 32) as usize
    }

    /// Takes the block out of a token that is about to be dropped.
    #[inline(always)]
    pub(crate) fn take(&mut self) -> Option<Block> {
        let block = std::mem::replace(self, Block::NONE);
        (block.0 != Block::NONE.0).then_some(block)
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

#[cfg(all(test, not(loom)))]
#[allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it"
)]
mod tests {
    use super::*;
    use crate::region::access::Own;
    use crate::sys::Memory;

    const SIZE: usize = 3 * PIECE + 5;

    fn pool(is_foreign: bool) -> Pool {
        let geometry = Geometry::new(SIZE, 2).unwrap();
        let memory = Memory::create(geometry.reader_region_size()).unwrap();
        let region: Region<Own> = Region::own(memory).unwrap();
        Pool::new(&region, &geometry, is_foreign)
    }

    /// Block `number` comes from the partner.
    fn arrive(pool: &Pool, number: usize, len: usize) -> Block {
        pool.places[number].set(Place::Partner);
        pool.arrive(number as u64, len).unwrap()
    }

    /// What a partner does that breaks the rules.
    fn change(pool: &Pool, number: usize, value: u8) {
        // SAFETY: the blocks of a test's own region.
        unsafe {
            let start = pool.first.byte_add(number * pool.stride);
            start.write_bytes(value, SIZE);
        }
    }

    fn copied(pool: &Pool, block: &Block) -> Vec<u8> {
        let mut bytes = vec![0; SIZE + 1];
        let len = pool.copy_to(block, &mut bytes);
        bytes.truncate(len);
        bytes
    }

    fn written(pool: &Pool, block: &Block) -> Vec<u8> {
        let mut bytes = Vec::new();
        pool.write_to(block, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_foreign_block_that_was_seen_does_not_change_until_it_comes_again() {
        let pool = pool(true);
        for (len, value) in [(SIZE, 1), (3, 2), (0, 3), (PIECE, 4), (PIECE + 9, 5)] {
            change(&pool, 1, value);
            let block = arrive(&pool, 1, len);
            let expected = vec![value; len];
            assert_eq!(pool.bytes(&block), expected);
            change(&pool, 1, 0xff);
            assert_eq!(pool.bytes(&block), expected);
            assert_eq!(copied(&pool, &block), expected);
            assert_eq!(written(&pool, &block), expected);
            pool.depart(block);
        }
    }

    #[test]
    fn a_foreign_block_that_was_not_seen_is_copied_anew_each_time_and_whole() {
        let pool = pool(true);
        for len in [SIZE, 0, 1, 8, PIECE - 1, PIECE, 2 * PIECE + 7] {
            let block = arrive(&pool, 0, len);
            for value in [1, 2] {
                change(&pool, 0, value);
                assert_eq!(copied(&pool, &block), vec![value; len]);
                assert_eq!(written(&pool, &block), vec![value; len]);
            }
            let mut short = [0; 7];
            assert_eq!(pool.copy_to(&block, &mut short), len.min(7));
            pool.depart(block);
        }
    }

    #[test]
    fn only_a_foreign_block_is_copied_to_be_seen() {
        for is_foreign in [false, true] {
            let pool = pool(is_foreign);
            let block = arrive(&pool, 1, SIZE);
            let is_shared = pool.bytes(&block).as_ptr() == pool.start(&block).as_ptr();
            assert_eq!(is_shared, !is_foreign);
            assert_eq!(copied(&pool, &block), pool.bytes(&block));
            assert_eq!(written(&pool, &block), pool.bytes(&block));
            pool.depart(block);
        }
    }
}
