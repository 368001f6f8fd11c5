//! Typed views of the two regions: where bytes of shared memory become references
//! to atomics.
//!
//! What soundness rests on. A region's mapping lives as long as anything here
//! refers to it, is never moved, and cannot shrink (`sys` sees to that). Everything
//! that both processes touch at the same time is atomic.
#![expect(
    unsafe_code,
    reason = "shared memory has to become references somewhere: in region and sys alone"
)]

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::access::{Access, Own, Theirs};
use super::layout::{CONTROL_SIZE, Control, Geometry, LETTER_WORDS, LETTERS, QUEUE_OFFSET};
use crate::sys::Memory;

/// What a [`Region`] and what was made from it keep alive together.
pub(super) struct Mapping {
    pub(super) memory: Memory,
    pub(super) pool_taken: AtomicBool,
}

/// A region, seen as `A` says: this process's [`Own`], or [`Theirs`].
pub(crate) struct Region<A> {
    mapping: Arc<Mapping>,
    access: PhantomData<A>,
}

impl Region<Own> {
    /// Takes charge of `memory`; `None` if it has not even a control page, or cannot be
    /// written.
    pub(crate) fn own(memory: Memory) -> Option<Region<Own>> {
        memory.is_writable().then(|| Region::new(memory))?
    }
}

impl Region<Own> {
    /// The same region, for another pair.
    pub(crate) fn again(&self) -> Region<Own> {
        Region {
            mapping: Arc::clone(&self.mapping),
            access: PhantomData,
        }
    }
}

impl Region<Theirs> {
    /// Takes charge of `memory`; `None` if it has not even a control page.
    pub(crate) fn theirs(memory: Memory) -> Option<Region<Theirs>> {
        Region::new(memory)
    }
}

impl<A: Access> Region<A> {
    fn new(memory: Memory) -> Option<Region<A>> {
        (memory.len() >= CONTROL_SIZE).then(|| Region {
            mapping: Arc::new(Mapping {
                memory,
                pool_taken: AtomicBool::new(false),
            }),
            access: PhantomData,
        })
    }

    pub(super) fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.mapping.memory
    }

    pub(crate) fn control(&self) -> &Control<A> {
        // SAFETY: `new` checked that the mapping, which lives as long as `self`
        // and begins on a page, holds a `Control`; all its fields are atomics,
        // valid for any bytes. Only `Own`'s can be stored to, and `own` checked that
        // they may be.
        unsafe { self.memory().start().cast::<Control<A>>().as_ref() }
    }
}

/// A region's control page, letters and queue, ready for the fast path.
pub(crate) struct View<A> {
    start: NonNull<u8>,
    queue_words: usize,
    _mapping: Arc<Mapping>,
    access: PhantomData<A>,
}

// SAFETY: it gives access to atomics only, and keeps their mapping alive.
unsafe impl<A> Send for View<A> {}

impl<A: Access> View<A> {
    /// # Panics
    ///
    /// If the region is too small, which joining has ruled out before.
    pub(crate) fn new(region: &Region<A>, geometry: &Geometry, words_per_entry: usize) -> View<A> {
        let queue_words = geometry.queue_len() * words_per_entry;
        assert!(QUEUE_OFFSET + queue_words * 8 <= region.memory().len());
        View {
            start: region.memory().start(),
            queue_words,
            _mapping: Arc::clone(&region.mapping),
            access: PhantomData,
        }
    }

    #[inline(always)]
    pub(crate) fn control(&self) -> &Control<A> {
        // SAFETY: as in `Region::control`; `_mapping` keeps the mapping alive.
        unsafe { self.start.cast::<Control<A>>().as_ref() }
    }

    #[inline(always)]
    pub(crate) fn queue(&self) -> &[A::U64] {
        // SAFETY: `new` checked the bounds, the offset keeps the alignment,
        // `_mapping` keeps the mapping alive, and atomics may change under a shared
        // reference.
        unsafe {
            let first = self.start.byte_add(QUEUE_OFFSET).cast::<A::U64>();
            slice::from_raw_parts(first.as_ptr(), self.queue_words)
        }
    }

    /// The slots of the letters, one after the other.
    pub(crate) fn letters(&self) -> &[A::U64] {
        // SAFETY: as in `queue`, before which the letters lie.
        unsafe {
            let first = self.start.byte_add(CONTROL_SIZE).cast::<A::U64>();
            slice::from_raw_parts(first.as_ptr(), LETTERS * LETTER_WORDS)
        }
    }
}

/// What one end of a test owns, as the other end sees it.
#[cfg(test)]
pub(crate) mod as_theirs {
    use super::*;
    use crate::region::access::ReadOnlyU64;
    use crate::region::layout::AtomicU64;

    pub(crate) fn control(own: &Control<Own>) -> &Control<Theirs> {
        // SAFETY: the same fields in the same order, each with the same atomic inside.
        unsafe { &*std::ptr::from_ref(own).cast() }
    }

    pub(crate) fn queue(own: &[AtomicU64]) -> &[ReadOnlyU64] {
        // SAFETY: `ReadOnlyU64` is the same atomic in a transparent wrapper.
        unsafe { slice::from_raw_parts(own.as_ptr().cast(), own.len()) }
    }
}
