//! Who looks at a region, and what that lets them do with its words: the owner stores
//! and loads, the partner only loads.
//!
//! The partner's mapping is read-only, and there only a Relaxed load is defined: the
//! compiler may make any other atomic access of an instruction that stores
//! (`std::sync::atomic`, "Atomic accesses to read-only memory"). So an acquiring load is
//! a Relaxed load and a fence, and these types have nothing else.

use super::layout::{AtomicU32, AtomicU64};

#[cfg(not(loom))]
use std::sync::atomic::{Ordering, fence};

#[cfg(loom)]
use loom::sync::atomic::{Ordering, fence};

/// What the words of a region are to whoever looks at it.
///
/// Both types are atomics, or one inside, so that any bytes are valid and they may
/// change meanwhile; `region::mapped` relies on it.
pub(crate) trait Access {
    /// A word of 32 bits.
    type U32;
    /// A word of 64 bits.
    type U64;
}

/// The process whose region it is.
#[derive(Debug)]
pub(crate) enum Own {}

/// Everybody else.
#[derive(Debug)]
pub(crate) enum Theirs {}

impl Access for Own {
    type U32 = AtomicU32;
    type U64 = AtomicU64;
}

impl Access for Theirs {
    type U32 = ReadOnlyU32;
    type U64 = ReadOnlyU64;
}

/// A word that another process stores.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct ReadOnlyU32(AtomicU32);

/// A word that another process stores.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct ReadOnlyU64(AtomicU64);

impl ReadOnlyU32 {
    /// Relaxed.
    #[inline(always)]
    pub(crate) fn load(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Pairs with the owner's Release store of the value that is found.
    #[inline(always)]
    pub(crate) fn load_acquire(&self) -> u32 {
        let value = self.load();
        fence(Ordering::Acquire);
        value
    }
}

impl ReadOnlyU64 {
    /// Relaxed.
    #[inline(always)]
    pub(crate) fn load(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Pairs with the owner's Release store of the value that is found.
    #[inline(always)]
    pub(crate) fn load_acquire(&self) -> u64 {
        let value = self.load();
        fence(Ordering::Acquire);
        value
    }
}
