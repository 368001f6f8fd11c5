//! Typed views of the two regions, and the tokens for their blocks: the one
//! place where bytes of shared memory become Rust references.
//!
//! What soundness rests on. A region's mapping lives as long as anything here
//! refers to it, is never moved, and cannot shrink (sealed, and checked for the
//! partner's, by `sys`). Everything that both processes touch at the same time is
//! atomic. Each block has at most one [`Block`] token in this process, and only
//! that token gives access to its bytes; a [`Pool`] hands it out only while the
//! block is this end's. That the *partner* leaves alone a block that it gave
//! away cannot be checked: bytes read from a block may change under a broken or
//! hostile Reader, and then are wrong, as any bytes from it may be.
#![expect(
    unsafe_code,
    reason = "shared memory has to become references somewhere: here and in sys alone"
)]

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Violation;
use crate::layout::{AtomicU64, CONTROL_SIZE, Control, Geometry};
use crate::sys::Memory;

/// A region: this process's own (writable) or the partner's (read-only).
///
/// References into it are to atomics only. A store through a read-only mapping,
/// the one misuse that this type leaves open, is stopped by the processor.
pub(crate) struct Region {
    memory: Memory,
    pool_taken: AtomicBool,
}

impl Region {
    /// Takes charge of `memory`; `None` if it has not even a control page.
    pub(crate) fn new(memory: Memory) -> Option<Arc<Region>> {
        (memory.len() >= CONTROL_SIZE).then(|| {
            Arc::new(Region {
                memory,
                pool_taken: AtomicBool::new(false),
            })
        })
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(crate) fn control(&self) -> &Control {
        // SAFETY: `new` checked that the mapping, which lives as long as `self`
        // and begins on a page, holds a `Control`; all its fields are atomics,
        // valid for any bytes.
        unsafe { self.memory.start().cast::<Control>().as_ref() }
    }
}

/// A region's control page and queue, ready for the fast path.
pub(crate) struct View {
    start: NonNull<u8>,
    queue_words: usize,
    _region: Arc<Region>,
}

// SAFETY: it gives access to atomics only, and keeps their mapping alive.
unsafe impl Send for View {}

impl View {
    /// # Panics
    ///
    /// If the region is too small, which the session has ruled out before.
    pub(crate) fn new(region: &Arc<Region>, geometry: &Geometry, words_per_entry: usize) -> View {
        let queue_words = geometry.queue_len() * words_per_entry;
        assert!(CONTROL_SIZE + queue_words * 8 <= region.memory.len());
        View {
            start: region.memory.start(),
            queue_words,
            _region: Arc::clone(region),
        }
    }

    #[inline]
    pub(crate) fn control(&self) -> &Control {
        // SAFETY: as in `Region::control`; `_region` keeps the mapping alive.
        unsafe { self.start.cast::<Control>().as_ref() }
    }

    #[inline]
    pub(crate) fn queue(&self) -> &[AtomicU64] {
        // SAFETY: `new` checked the bounds, the control page's size keeps the
        // alignment, `_region` keeps the mapping alive, and atomics may change
        // under a shared reference.
        unsafe {
            let first = self.start.byte_add(CONTROL_SIZE).cast::<AtomicU64>();
            slice::from_raw_parts(first.as_ptr(), self.queue_words)
        }
    }
}

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
    /// The blocks whose place is `Spare`.
    spare: RefCell<Vec<u16>>,
    _region: Arc<Region>,
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
    pub(crate) fn new(region: &Arc<Region>, geometry: &Geometry) -> Pool {
        let count = geometry.block_count();
        let end = geometry.blocks_offset() + geometry.stride() * count;
        assert!(end <= region.memory.len());
        assert!(!region.pool_taken.swap(true, Ordering::Relaxed));
        let mut spare = Vec::new();
        let mut place = Place::Partner;
        if region.memory.is_writable() {
            // Pushed highest first, so that block 0 is the first to be taken.
            spare.extend((0..count).rev().map(|number| number as u16));
            place = Place::Spare;
        }
        Pool {
            // SAFETY: within the mapping, as asserted above.
            first: unsafe { region.memory.start().byte_add(geometry.blocks_offset()) },
            stride: geometry.stride(),
            block_size: geometry.block_size(),
            places: (0..count).map(|_| Cell::new(place)).collect(),
            spare: RefCell::new(spare),
            _region: Arc::clone(region),
        }
    }

    pub(crate) fn block_size(&self) -> usize {
        self.block_size
    }

    /// A block that is here and unused.
    #[inline]
    pub(crate) fn take_spare(&self) -> Option<Block<'_>> {
        let number = self.spare.borrow_mut().pop()?;
        Some(self.hold(number))
    }

    /// The block `number`, which the partner says that it hands over.
    #[inline]
    pub(crate) fn arrive(&self, number: u64) -> Result<Block<'_>, Violation> {
        let place = self.places.get(number as usize);
        match place.map(Cell::get) {
            Some(Place::Partner) => Ok(self.hold(number as u16)),
            Some(_) => Err(Violation::BlockNotTheirs { block: number }),
            None => Err(Violation::BlockNumber { found: number }),
        }
    }

    #[inline]
    fn hold(&self, number: u16) -> Block<'_> {
        self.places[usize::from(number)].set(Place::Held);
        Block { pool: self, number }
    }
}

/// The only access to a block's bytes. Dropped, the block is spare.
pub(crate) struct Block<'p> {
    pool: &'p Pool,
    number: u16,
}

impl Block<'_> {
    #[inline]
    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    #[inline]
    fn start(&self) -> NonNull<u8> {
        // SAFETY: `number` is below the count of blocks, all of which lie within
        // the mapping, as `Pool::new` asserted.
        unsafe {
            self.pool
                .first
                .byte_add(usize::from(self.number) * self.pool.stride)
        }
    }

    /// The first `len` bytes.
    ///
    /// # Panics
    ///
    /// If `len` is beyond the block.
    #[inline]
    pub(crate) fn bytes(&self, len: usize) -> &[u8] {
        assert!(len <= self.pool.block_size);
        // SAFETY: within the mapping, which the pool keeps; this token is the
        // only one for the block, and the partner has given it away (the trust
        // that the module's head states).
        unsafe { slice::from_raw_parts(self.start().as_ptr(), len) }
    }

    /// All bytes of the block, to be filled. Only for a Reader's own blocks.
    #[inline]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` makes this the only reference
        // made from the only token.
        unsafe { slice::from_raw_parts_mut(self.start().as_ptr(), self.pool.block_size) }
    }

    /// Gives the token up, because the block goes to the partner.
    #[inline]
    pub(crate) fn depart(self) -> u16 {
        let this = ManuallyDrop::new(self);
        this.pool.places[usize::from(this.number)].set(Place::Partner);
        this.number
    }
}

impl std::fmt::Debug for Block<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Block").field(&self.number).finish()
    }
}

impl Drop for Block<'_> {
    fn drop(&mut self) {
        self.pool.places[usize::from(self.number)].set(Place::Spare);
        self.pool.spare.borrow_mut().push(self.number);
    }
}
