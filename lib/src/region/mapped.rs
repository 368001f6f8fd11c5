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

use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::region::layout::{AtomicU64, CONTROL_SIZE, Control, Geometry};
use crate::sys::Memory;

/// A region: this process's own (writable) or the partner's (read-only).
///
/// References into it are to atomics only. A store through a read-only mapping,
/// the one misuse that this type leaves open, is stopped by the processor.
pub(crate) struct Region {
    pub(super) memory: Memory,
    pub(super) pool_taken: AtomicBool,
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

    #[inline(always)]
    pub(crate) fn control(&self) -> &Control {
        // SAFETY: as in `Region::control`; `_region` keeps the mapping alive.
        unsafe { self.start.cast::<Control>().as_ref() }
    }

    #[inline(always)]
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
