//! The way home of the blocks that other threads have: pure code over atomics, like the
//! ring, so that it runs under the model checker.
//!
//! An end is one thread's at a time, but a detached block is filled or drained by any.
//! Whoever is done with one *pushes* it onto a list, with two words that say what is to
//! be done with it. The end *takes* the whole list when it looks, and does it, in the order
//! of pushing. A block is in the list at most once, because to push it is to give up its
//! token; so each block has one node, linked by the block's number.
//!
//! **Push**: write the node, then make it the head by compare-and-swap with Release.
//! **Take**: swap the head for "empty" with Acquire, which makes all nodes in the list, and
//! what was done to their blocks before, visible. Nodes are taken only all at once, so a
//! push is right even if its head was taken and has come back meanwhile.
//!
//! **Sleep and wake.** That the end sleeps is a bit of the same word. The end sets it in
//! the swap that empties the list; the first push after that finds it, clears it, and has
//! to nudge the end. Nothing can happen in between, so no barrier is needed.
//!
//! **The end of sending** is another bit. What was pushed to be sent before the bit was set
//! is taken after it; a later one is refused. A block that is only put back never is.

#[cfg(not(loom))]
use std::sync::atomic::Ordering;

#[cfg(loom)]
use loom::sync::atomic::Ordering;

use crate::region::layout::{AtomicU32, AtomicU64};

/// The bits of the head that are the number of the block pushed last.
const NUMBER: u32 = (1 << 17) - 1;

/// In their place: the list is empty. A block's number has 16 bits.
const NONE: u32 = NUMBER;

/// The end sleeps, or is about to: whoever pushes has to nudge it.
const ASLEEP: u32 = 1 << 31;

/// Nothing is sent any more.
const CLOSED: u32 = 1 << 30;

/// Nobody looks any more.
const GONE: u32 = 1 << 29;

/// What is to be done with a block that has come home: of a Reader's, the words of its
/// entry in the queue, or [`UNSENT`]; of a Writer's, its number and its length.
pub(crate) type Errand = [u64; 2];

/// Nothing is to be done. No entry looks like this: no block is so long.
pub(crate) const UNSENT: Errand = [u64::MAX, 0];

/// The list.
pub(crate) struct Returns {
    head: AtomicU32,
    nodes: Box<[Node]>,
}

struct Node {
    next: AtomicU32,
    errand: [AtomicU64; 2],
}

/// Why a block cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Nothing is sent any more.
    Closed,
    /// The end is no more.
    Gone,
}

impl Returns {
    pub(crate) fn new(block_count: usize) -> Returns {
        let node = || Node {
            next: AtomicU32::new(NONE),
            errand: [AtomicU64::new(0), AtomicU64::new(0)],
        };
        Returns {
            head: AtomicU32::new(NONE),
            nodes: (0..block_count).map(|_| node()).collect(),
        }
    }

    /// Pushes block `number`, whose token the caller has given up. Whether the end
    /// has to be nudged.
    #[must_use]
    pub(crate) fn put(&self, number: usize, errand: Errand) -> bool {
        let pushed = self.push(number, errand, 0);
        // Nothing is refused for a bit that is not asked for.
        pushed == Ok(true)
    }

    /// As [`Returns::put`], for a block that is to be sent: if it still can be.
    pub(crate) fn send(&self, number: usize, errand: Errand) -> Result<bool, Refused> {
        self.push(number, errand, CLOSED | GONE)
    }

    fn push(&self, number: usize, errand: Errand, refusing: u32) -> Result<bool, Refused> {
        let node = &self.nodes[number];
        for (word, value) in node.errand.iter().zip(errand) {
            word.store(value, Ordering::Relaxed);
        }
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if head & refusing != 0 {
                return Err(match head & GONE {
                    0 => Refused::Closed,
                    _ => Refused::Gone,
                });
            }
            node.next.store(head & NUMBER, Ordering::Relaxed);
            let new = head & (CLOSED | GONE) | number as u32;
            // Pairs with the Acquire in `take`.
            let (success, failure) = (Ordering::Release, Ordering::Relaxed);
            match self.head.compare_exchange(head, new, success, failure) {
                Ok(_) => return Ok(head & ASLEEP != 0),
                Err(found) => head = found,
            }
        }
    }

    /// Takes what was pushed. If the end is about to sleep (`asleep`), whoever pushes next
    /// will be told to nudge it. Only for the end, as all that follows.
    pub(crate) fn take(&self, asleep: bool) -> Taken<'_> {
        let head = self.head.load(Ordering::Relaxed);
        let known = !asleep || head & ASLEEP != 0;
        if known && head & NUMBER == NONE {
            return Taken {
                nodes: &self.nodes,
                next: NONE,
            };
        }
        // The other two bits are only the end's to set.
        let bits = head & (CLOSED | GONE) | if asleep { ASLEEP } else { 0 };
        // Pairs with the Release in `push`.
        let head = self.head.swap(bits | NONE, Ordering::Acquire);
        Taken {
            nodes: &self.nodes,
            next: self.reversed(head & NUMBER),
        }
    }

    /// The oldest of a list that was taken, whose newest is `next`: from there on, each
    /// one's next is the one that was pushed after it.
    fn reversed(&self, mut next: u32) -> u32 {
        let mut oldest = NONE;
        while next != NONE {
            let node = &self.nodes[next as usize];
            let before = node.next.load(Ordering::Relaxed);
            node.next.store(oldest, Ordering::Relaxed);
            oldest = next;
            next = before;
        }
        oldest
    }

    /// The end is about to sleep and lets go of a block: whoever pushes next will be told to
    /// nudge it, as after a [`Returns::take`]. Nothing can be missed, since that block was not
    /// pushed yet.
    pub(crate) fn sleep(&self) {
        self.head.fetch_or(ASLEEP, Ordering::Relaxed);
    }

    /// The end is awake again.
    pub(crate) fn wake(&self) {
        if self.head.load(Ordering::Relaxed) & ASLEEP != 0 {
            self.head.fetch_and(!ASLEEP, Ordering::Relaxed);
        }
    }

    /// Nothing is sent any more, but for what was pushed already.
    pub(crate) fn close(&self) {
        self.head.fetch_or(CLOSED, Ordering::Relaxed);
    }

    /// Blocks are sent again, by an end that has taken the place of the one that closed.
    pub(crate) fn reopen(&self) {
        self.head.fetch_and(!CLOSED, Ordering::Relaxed);
    }

    /// The end is no more.
    pub(crate) fn leave(&self) {
        self.head.fetch_or(GONE, Ordering::Relaxed);
    }
}

/// What was pushed, oldest first; to be used up.
pub(crate) struct Taken<'r> {
    nodes: &'r [Node],
    next: u32,
}

impl Iterator for Taken<'_> {
    /// A block's number, and what is to be done with it.
    type Item = (usize, Errand);

    fn next(&mut self) -> Option<(usize, Errand)> {
        if self.next == NONE {
            return None;
        }
        let number = self.next as usize;
        let node = &self.nodes[number];
        self.next = node.next.load(Ordering::Relaxed);
        let errand = std::array::from_fn(|word| node.errand[word].load(Ordering::Relaxed));
        Some((number, errand))
    }
}

#[cfg(all(test, loom))]
#[path = "returns_model.rs"]
mod model;

#[cfg(all(test, not(loom)))]
#[path = "returns_tests.rs"]
mod tests;
