//! The blocks, and the tokens for them: where bytes of shared memory become slices.
//!
//! What soundness rests on, beside what `mapped` says. Each block has at most one
//! [`Block`] token in this process, and only that token gives access to its bytes; a
//! [`Pool`] hands it out only while the block is this end's. That the *partner* leaves
//! alone a block that it gave away cannot be checked: bytes read from a block may change
//! under a broken or hostile Reader, and then are wrong, as any bytes from it may be.
#![expect(
    unsafe_code,
    reason = "shared memory has to become references somewhere: in region and sys alone"
)]

use std::cell::Cell;
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::access::Access;
use super::mapped::{Mapping, Region};
use crate::error::Violation;
use crate::region::layout::Geometry;

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
    _mapping: Arc<Mapping>,
}

// SAFETY: the bytes behind `first` are reached through tokens only, which borrow
// the pool, so moving it to another thread takes all access with it.
unsafe impl Send for Pool {}

impl Pool {
    /// The blocks in `region`, a Reader's; all of them spare if the region is
    /// this process's own, all with the partner otherwise.
    ///
    /// # Panics
    ///
    /// If the region has a pool already (a second one could make a second token
    /// for the same block) or is too small: both ruled out by the session.
    pub(crate) fn new<A: Access>(region: &Region<A>, geometry: &Geometry) -> Pool {
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
        Ok(Block::new(number as usize, len))
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
        // SAFETY: `start` is within the mapping, which the pool keeps, and so is
        // the block's length, which `arrive` checked; the token is the only one
        // for the block, and the partner has given it away (the trust that the
        // module's head states).
        unsafe { slice::from_raw_parts(self.start(block).as_ptr(), block.len()) }
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
    const NONE: u64 = u64::MAX;

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
        let block = Block(std::mem::replace(&mut self.0, Block::NONE));
        (block.0 != Block::NONE).then_some(block)
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
