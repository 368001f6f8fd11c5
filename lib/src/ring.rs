//! The queues and the way to sleep: pure code over memory that it is given, so
//! that it runs under the model checker, in one process, and in two.
//!
//! Each end *publishes* into the queue of its own region and *observes* the
//! partner's. A queue has a slot for each block, and a block is in one place at
//! a time, so a queue can never overflow, and one counter a side is all the
//! state that both share: it only grows, and only its owner stores it.
//!
//! **Publish**: write the entry, then store the counter with Release. The
//! observer's acquiring load of the counter makes the entry, and the block that it
//! names, visible. Several entries can be written, and the counter stored once for
//! all of them.
//!
//! **Sleep and wake.** Whoever finds nothing to do *announces* that it sleeps,
//! looks once more, and only then sleeps; whoever publishes looks at the
//! partner's announcement afterwards, and rings if it is there. Lost wakes are
//! the classic danger: both sides store, then load what the other stored. If
//! both loads could be satisfied before both stores, the publisher would see
//! nobody asleep and the sleeper nothing published. One full barrier between
//! store and load on each side forbids that. The publisher's barrier would be
//! paid for every block and costs more than all the rest (89 million blocks of
//! 64 bytes a second without, 23 million with it, in a bare ring), so where the
//! system can, the sleeper pays for both: it makes every processor that runs
//! either process execute a barrier ([`Barrier::Remote`]); the publisher then
//! only has to keep the compiler from swapping the two.

use std::cell::Cell;

use crate::error::Violation;
use crate::lag::{self, Lag};
use crate::region::access::{Own, ReadOnlyU64, Theirs};
use crate::region::layout::{AtomicU64, Control};
use crate::region::prefetch::{self, LINE_SIZE};
use crate::steps::at_step;

#[cfg(not(loom))]
use std::sync::atomic::{Ordering, fence};

#[cfg(loom)]
use loom::sync::atomic::{Ordering, fence};

/// A sleeper's barrier where it cannot act on the publisher's processor.
pub(crate) fn full_fence() {
    fence(Ordering::SeqCst);
}

/// How store and load are kept apart where a wake could be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Barrier {
    /// Both sides execute a fence.
    Fence,
    /// The sleeper makes the publisher's processor execute one.
    Remote,
}

impl Barrier {
    /// Between publishing and looking at the partner's announcement. Pairs with
    /// the barrier in [`Sleeps::wait`].
    #[inline(always)]
    fn after_publishing(self) {
        // The model checker knows no remote barrier; its effect is a fence
        // on both sides, and that is what is modelled.
        if cfg!(loom) || self == Barrier::Fence {
            fence(Ordering::SeqCst);
        }
        #[cfg(not(loom))]
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
    }
}

/// The queue in one's own region, of entries of `WORDS` words.
pub(crate) struct Outgoing<const WORDS: usize> {
    /// Entries written so far. The last of them may not be published yet.
    appended: Cell<u64>,
    /// This end's own copy of its `published`: another end may have the region by now.
    published: Cell<u64>,
}

impl<const WORDS: usize> Outgoing<WORDS> {
    pub(crate) fn new() -> Self {
        Outgoing {
            appended: Cell::new(0),
            published: Cell::new(0),
        }
    }

    /// How many entries were written, published or not.
    #[inline(always)]
    pub(crate) fn appended(&self) -> u64 {
        self.appended.get()
    }

    /// How many entries were published.
    #[inline(always)]
    pub(crate) fn published(&self) -> u64 {
        self.published.get()
    }

    /// What was written and not published never will be.
    pub(crate) fn forget_kept(&self) {
        self.published.set(self.appended.get());
    }

    /// Writes `entry`, for the next [`Outgoing::publish`]. `queue` is this end's own, of a
    /// power of two of entries, and has room because the caller gives away a block that it
    /// holds.
    #[inline(always)]
    pub(crate) fn append(&self, queue: &[AtomicU64], entry: [u64; WORDS]) {
        let appended = self.appended.get();
        for (word, value) in entry_words::<_, WORDS>(queue, appended).iter().zip(entry) {
            word.store(value, Ordering::Relaxed);
        }
        at_step("entry written");
        self.appended.set(appended + 1);
    }

    /// Fetches the lines in which the next entry and `count` more will be written: by a store,
    /// as [`crate::region::prefetch`] says.
    pub(crate) fn prefetch(&self, queue: &[AtomicU64], count: usize) {
        let entries_of_a_line = (LINE_SIZE / (8 * WORDS)) as u64;
        let next = self.appended.get();
        for line in next / entries_of_a_line..=(next + count as u64) / entries_of_a_line {
            let word = &entry_words::<_, WORDS>(queue, line * entries_of_a_line)[0];
            prefetch::to_store(word);
            word.store(word.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Publishes all that was written.
    #[inline(always)]
    pub(crate) fn publish(&self, own: &Control<Own>) {
        let appended = self.appended.get();
        self.published.set(appended);
        // Pairs with the Acquire in `Incoming::observe`.
        own.published.0.blocks.store(appended, Ordering::Release);
    }
}

/// The queue in the partner's region, of entries of `WORDS` words.
pub(crate) struct Incoming<const WORDS: usize> {
    /// Entries taken so far.
    taken: Cell<u64>,
    /// The partner's `published` as last loaded.
    found: Cell<u64>,
    /// How far of that the last look has gone: while it is ahead of `taken`, nothing shared
    /// but the entry is touched.
    seen: Cell<u64>,
    /// `taken` at the last look.
    looked_at: Cell<u64>,
    /// `taken` when the counter was loaded last.
    observed_at: Cell<u64>,
    /// How long to lag behind a partner that is only just ahead.
    lag: Lag,
    /// How many entries one look goes on at most: those that are prefetched.
    most_seen: u64,
    /// Nothing is taken for now.
    paused: Cell<bool>,
}

impl<const WORDS: usize> Incoming<WORDS> {
    pub(crate) fn new(lag: Lag, most_seen: u64) -> Self {
        Incoming {
            taken: Cell::new(0),
            found: Cell::new(0),
            seen: Cell::new(0),
            looked_at: Cell::new(0),
            observed_at: Cell::new(0),
            paused: Cell::new(false),
            most_seen,
            lag,
        }
    }

    pub(crate) fn taken(&self) -> u64 {
        self.taken.get()
    }

    /// Whether there is an entry to take, or a count that [`Incoming::take`] refuses.
    pub(crate) fn is_ready(&self, peer: &Control<Theirs>) -> bool {
        let taken = self.taken.get();
        // No entry is read here; whoever takes it acquires it.
        // While it is paused, who looks is told why.
        self.paused.get() || self.found.get() != taken || peer.published.0.blocks.load() != taken
    }

    /// From here on nothing is taken, as if there were nothing; or all is again.
    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.set(paused);
        // So that the next take looks here, and others need not.
        self.seen.set(self.taken.get());
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.get()
    }

    /// Takes the next entry, if there is one. `out` is how many blocks the
    /// partner holds at most: more cannot come.
    #[inline(always)]
    pub(crate) fn take(
        &self,
        peer: &Control<Theirs>,
        queue: &[ReadOnlyU64],
        out: impl FnOnce() -> u64,
    ) -> Result<Option<[u64; WORDS]>, Violation> {
        if !self.is_seen() && !self.look(peer, out())? {
            return Ok(None);
        }
        let entry = self.entry(queue);
        self.advance();
        Ok(Some(entry))
    }

    /// The next entry, if it was seen that there is one: without a look at what is shared but
    /// at the entry. It stays the next one until [`Incoming::advance`].
    #[inline(always)]
    pub(crate) fn peek(&self, queue: &[ReadOnlyU64]) -> Option<[u64; WORDS]> {
        self.is_seen().then(|| self.entry(queue))
    }

    /// Takes the entry that was peeked at.
    #[inline(always)]
    pub(crate) fn advance(&self) {
        self.taken.set(self.taken.get() + 1);
    }

    #[inline(always)]
    fn is_seen(&self) -> bool {
        self.taken.get() != self.seen.get()
    }

    #[inline(always)]
    fn entry(&self, queue: &[ReadOnlyU64]) -> [u64; WORDS] {
        load_entry(queue, self.taken.get())
    }

    /// Looks, at the partner's counter if there is nothing left of what it said last; true
    /// if there is something to take.
    #[inline(never)]
    fn look(&self, peer: &Control<Theirs>, out: u64) -> Result<bool, Violation> {
        if self.paused.get() {
            return Ok(false);
        }
        let taken = self.taken.get();
        if self.found.get() == taken {
            self.observe(peer, out)?;
        }
        let left = self.found.get() - taken;
        self.seen.set(taken + left.min(self.most_seen));
        self.looked_at.set(taken);
        Ok(left != 0)
    }

    /// Loads the partner's counter.
    fn observe(&self, peer: &Control<Theirs>, out: u64) -> Result<(), Violation> {
        let taken = self.taken.get();
        self.lag.pause(self.found_last());
        self.observed_at.set(taken);
        // Pairs with the Release in `Outgoing::publish`.
        let found = peer.published.0.blocks.load_acquire();
        if found.wrapping_sub(taken) > out {
            return Err(Violation::Count {
                found,
                least: taken,
                most: taken.saturating_add(out),
            });
        }
        self.found.set(found);
        Ok(())
    }

    /// How many were taken since the partner's counter was loaded last.
    fn found_last(&self) -> u64 {
        self.taken.get().wrapping_sub(self.observed_at.get())
    }

    /// The next look does not lag: this end was woken for what it will find, has just rung, or
    /// is in a call that does not wait.
    pub(crate) fn set_urgent(&self) {
        let out_of_step = self.taken.get().wrapping_sub(lag::MANY);
        self.observed_at.set(out_of_step);
    }

    /// Whether what was taken last is the first that a look has found.
    pub(crate) fn has_just_looked(&self) -> bool {
        self.taken.get() == self.looked_at.get() + 1
    }

    /// The entries that will be taken without another look, unchecked.
    pub(crate) fn seen(
        &self,
        queue: &[ReadOnlyU64],
    ) -> impl ExactSizeIterator<Item = [u64; WORDS]> {
        let (taken, seen) = (self.taken.get(), self.seen.get());
        let entry = move |ahead| load_entry(queue, taken + ahead as u64);
        (0..(seen - taken) as usize).map(entry)
    }
}

/// The words of the entry that the count `index` falls on.
#[inline(always)]
fn entry_words<W, const WORDS: usize>(queue: &[W], index: u64) -> &[W; WORDS] {
    let (entries, _) = queue.as_chunks::<WORDS>();
    &entries[index as usize & (entries.len() - 1)]
}

#[inline(always)]
fn load_entry<const WORDS: usize>(queue: &[ReadOnlyU64], index: u64) -> [u64; WORDS] {
    let words = entry_words::<_, WORDS>(queue, index);
    std::array::from_fn(|i| words[i].load())
}

/// One end's memory of sleeps: its own, counted, and the partner's last one for
/// which it rang.
pub(crate) struct Sleeps {
    own: Cell<u64>,
    rung_for: Cell<u64>,
}

impl Sleeps {
    pub(crate) fn new() -> Self {
        Sleeps {
            own: Cell::new(0),
            rung_for: Cell::new(0),
        }
    }

    /// To be asked after publishing: does the partner want its doorbell rung?
    /// True once for each of its sleeps: until it has woken, everything more
    /// that is published is found by the same wake.
    #[inline(always)]
    pub(crate) fn partner_wants_ring(&self, peer: &Control<Theirs>, barrier: Barrier) -> bool {
        barrier.after_publishing();
        let asleep = peer.asleep.0.load();
        if asleep == 0 || asleep == self.rung_for.get() {
            return false;
        }
        self.rung_for.set(asleep);
        true
    }

    /// Says that this end is about to sleep. A barrier, which pairs with that in
    /// [`Sleeps::partner_wants_ring`], and a look MUST follow before it does. Rings that
    /// are there must have been consumed before.
    pub(crate) fn announce(&self, own: &Control<Own>) {
        // A new number each time: a ring for an earlier sleep may be what ended the
        // last one, and announcing only once would lose the next.
        self.own.set(self.own.get() + 1);
        own.asleep.0.store(self.own.get(), Ordering::Relaxed);
    }

    /// Takes the announcement back.
    pub(crate) fn withdraw(&self, own: &Control<Own>) {
        own.asleep.0.store(0, Ordering::Relaxed);
    }

    /// Looks and sleeps until `look` finds something or fails.
    ///
    /// `look` may be called any number of times. `consume` takes the rings that are there,
    /// if there are any: before an announcement, so that none for it is lost, and after the
    /// look that follows a wake, so that the wake does not wait for it. `barrier` is the
    /// sleeper's half of the barrier. `sleep` blocks until there is a ring that was not
    /// consumed; it may return early for other reasons, which `look` must then find, or it
    /// fails itself.
    pub(crate) fn wait<T, E>(
        &self,
        own: &Control<Own>,
        mut look: impl FnMut() -> Result<Option<T>, E>,
        mut consume: impl FnMut() -> Result<(), E>,
        mut barrier: impl FnMut() -> Result<(), E>,
        mut sleep: impl FnMut() -> Result<(), E>,
    ) -> Result<T, E> {
        let _withdrawn_at_the_end = Announcement { sleeps: self, own };
        loop {
            consume()?;
            self.announce(own);
            // Pairs with the barrier in `partner_wants_ring`.
            barrier()?;
            if let Some(found) = look()? {
                return Ok(found);
            }
            sleep()?;
            if let Some(found) = look()? {
                return Ok(found);
            }
        }
    }
}

/// Withdrawn when dropped, so that no way out of [`Sleeps::wait`] leaves the
/// partner ringing for nobody.
struct Announcement<'a> {
    sleeps: &'a Sleeps,
    own: &'a Control<Own>,
}

impl Drop for Announcement<'_> {
    fn drop(&mut self) {
        self.sleeps.withdraw(self.own);
    }
}

#[cfg(all(test, loom))]
#[path = "ring_model.rs"]
mod model;

#[cfg(all(test, not(loom)))]
#[path = "ring_tests.rs"]
mod tests;
