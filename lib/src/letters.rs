//! Letters: small messages of the application, from either end to the other, beside the
//! blocks. Pure code over memory that it is given, like the ring.
//!
//! Each end *posts* into the slots of its own region and *takes* from the partner's. Two
//! counters say how far that has come: what the owner has posted, and, in the other
//! region, what the partner has taken of it. A slot is used again only after its letter
//! was taken, so at most [`LETTERS`] lie unread.

use std::cell::Cell;

use crate::error::Violation;
use crate::region::access::{Own, ReadOnlyU64, Theirs};
use crate::region::layout::{
    AtomicU64, Control, LETTER_MAX, LETTER_WORDS, LETTERS, load_text, store_text,
};

#[cfg(not(loom))]
use std::sync::atomic::Ordering;

#[cfg(loom)]
use loom::sync::atomic::Ordering;

/// A message of the application's, as the partner posted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The number that it was posted with.
    pub kind: u16,
    /// What it says, at most [`LETTER_MAX`] bytes.
    pub bytes: Vec<u8>,
}

/// What this end has posted.
#[derive(Default)]
pub(crate) struct Outbox {
    posted: Cell<u64>,
    /// The partner's `taken` as last seen.
    seen: Cell<u64>,
}

impl Outbox {
    /// Whether there is room for one more letter.
    pub(crate) fn has_room(&self, peer: &Control<Theirs>) -> Result<bool, Violation> {
        self.has_room_of(LETTERS as u64, peer)
    }

    fn has_room_of(&self, room: u64, peer: &Control<Theirs>) -> Result<bool, Violation> {
        let (posted, seen) = (self.posted.get(), self.seen.get());
        if posted - seen < room {
            return Ok(true);
        }
        // Pairs with the Release in `Inbox::take`.
        let found = peer.letters.0.taken.load_acquire();
        if found < seen || found > posted {
            let (least, most) = (seen, posted);
            return Err(Violation::LetterCount { found, least, most });
        }
        self.seen.set(found);
        Ok(posted - found < room)
    }

    /// Posts a letter of at most [`LETTER_MAX`] bytes; false if there is no room for it.
    pub(crate) fn post(
        &self,
        own: &Control<Own>,
        slots: &[AtomicU64],
        peer: &Control<Theirs>,
        kind: u16,
        bytes: &[u8],
    ) -> Result<bool, Violation> {
        let room = slots.len() / LETTER_WORDS;
        if !self.has_room_of(room as u64, peer)? {
            return Ok(false);
        }
        let posted = self.posted.get();
        let slot = slot(slots, posted);
        let head = bytes.len() as u64 | u64::from(kind) << 32;
        slot[0].store(head, Ordering::Relaxed);
        store_text(&slot[1..], bytes);
        self.posted.set(posted + 1);
        // Pairs with the Acquire in `Inbox::is_waiting`.
        own.letters.0.posted.store(posted + 1, Ordering::Release);
        Ok(true)
    }
}

/// What this end has taken of the partner's letters.
#[derive(Default)]
pub(crate) struct Inbox {
    taken: Cell<u64>,
}

impl Inbox {
    /// Whether there is a letter to be taken.
    pub(crate) fn is_waiting(&self, peer: &Control<Theirs>) -> Result<bool, Violation> {
        let taken = self.taken.get();
        // Pairs with the Release in `Outbox::post`.
        let found = peer.letters.0.posted.load_acquire();
        if found.wrapping_sub(taken) > LETTERS as u64 {
            let (least, most) = (taken, taken.saturating_add(LETTERS as u64));
            return Err(Violation::LetterCount { found, least, most });
        }
        Ok(found != taken)
    }

    /// The next letter, if there is one.
    pub(crate) fn take(
        &self,
        own: &Control<Own>,
        peer: &Control<Theirs>,
        slots: &[ReadOnlyU64],
    ) -> Result<Option<Letter>, Violation> {
        if !self.is_waiting(peer)? {
            return Ok(None);
        }
        let taken = self.taken.get();
        let slot = slot(slots, taken);
        let head = slot[0].load();
        let (found, kind) = (head as u32, (head >> 32) as u16);
        if found as usize > LETTER_MAX {
            return Err(Violation::LetterLength { found });
        }
        let bytes = load_text(&slot[1..], found);
        self.taken.set(taken + 1);
        // Pairs with the Acquire in `Outbox::has_room`: the letter was read before.
        own.letters.0.taken.store(taken + 1, Ordering::Release);
        Ok(Some(Letter { kind, bytes }))
    }
}

/// The slot that the count `index` falls on.
fn slot<W>(slots: &[W], index: u64) -> &[W; LETTER_WORDS] {
    let (slots, _) = slots.as_chunks::<LETTER_WORDS>();
    &slots[index as usize % slots.len()]
}

/// Letters under loom: see `ring_model.rs`.
#[cfg(all(test, loom))]
#[allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it"
)]
mod model {
    use super::*;
    use crate::region::as_theirs;
    use std::sync::Arc;

    struct Region {
        control: Control<Own>,
        slots: Vec<AtomicU64>,
    }

    impl Region {
        /// With room for two letters.
        fn new() -> Region {
            let words = 0..2 * LETTER_WORDS;
            Region {
                control: Control::for_test(),
                slots: words.map(|_| AtomicU64::new(0)).collect(),
            }
        }
    }

    /// In words: loom's own choice is too small for a control page of its atomics.
    const STACK_SIZE: usize = 1 << 16;

    fn spawn(run: impl FnOnce() + Send + 'static) -> loom::thread::JoinHandle<()> {
        let builder = loom::thread::Builder::new();
        builder.stack_size(STACK_SIZE).spawn(run).unwrap()
    }

    fn post_all(here: &Region, there: &Region, letters: u64) {
        let outbox = Outbox::default();
        let peer = as_theirs::control(&there.control);
        for number in 0..letters {
            let bytes = (number + 7).to_ne_bytes();
            while !outbox
                .post(&here.control, &here.slots, peer, number as u16, &bytes)
                .unwrap()
            {
                loom::thread::yield_now();
            }
        }
    }

    fn take_all(here: &Region, there: &Region, letters: u64) {
        let inbox = Inbox::default();
        let peer = as_theirs::control(&there.control);
        let slots = as_theirs::queue(&there.slots);
        for number in 0..letters {
            let letter = loop {
                match inbox.take(&here.control, peer, slots).unwrap() {
                    Some(letter) => break letter,
                    None => loom::thread::yield_now(),
                }
            };
            assert_eq!(u64::from(letter.kind), number);
            assert_eq!(letter.bytes, (number + 7).to_ne_bytes());
        }
    }

    #[test]
    fn model_letters_arrive_whole_and_in_order_and_no_slot_is_used_too_early() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(|| {
            let whole = spawn(|| {
                let regions = Arc::new((Region::new(), Region::new()));
                let taker = Arc::clone(&regions);
                let taking = spawn(move || take_all(&taker.1, &taker.0, 4));
                post_all(&regions.0, &regions.1, 4);
                taking.join().unwrap();
            });
            whole.join().unwrap();
        });
    }
}

#[cfg(all(test, not(loom)))]
#[allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it"
)]
mod tests {
    use super::*;
    use crate::region::as_theirs;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    struct Side {
        control: Control<Own>,
        slots: Vec<AtomicU64>,
        outbox: Outbox,
        inbox: Inbox,
    }

    impl Side {
        fn new() -> Side {
            Side {
                control: Control::for_test(),
                slots: (0..LETTERS * LETTER_WORDS)
                    .map(|_| AtomicU64::new(0))
                    .collect(),
                outbox: Outbox::default(),
                inbox: Inbox::default(),
            }
        }

        fn post(&self, to: &Side, kind: u16, bytes: &[u8]) -> Result<bool, Violation> {
            let peer = as_theirs::control(&to.control);
            self.outbox
                .post(&self.control, &self.slots, peer, kind, bytes)
        }

        fn take(&self, from: &Side) -> Result<Option<Letter>, Violation> {
            let peer = as_theirs::control(&from.control);
            self.inbox
                .take(&self.control, peer, as_theirs::queue(&from.slots))
        }
    }

    proptest! {
        #[test]
        fn letters_arrive_whole_in_order_and_no_more_than_there_is_room_for(
            steps in prop::collection::vec(
                prop::option::of((any::<u16>(), prop::collection::vec(any::<u8>(), 0..LETTER_MAX + 1))),
                0..200,
            )
        ) {
            let (here, there) = (Side::new(), Side::new());
            let mut under_way = VecDeque::new();
            for step in steps {
                match step {
                    Some((kind, bytes)) => {
                        let posted = here.post(&there, kind, &bytes).unwrap();
                        prop_assert_eq!(posted, under_way.len() < LETTERS);
                        if posted {
                            under_way.push_back(Letter { kind, bytes });
                        }
                    }
                    None => prop_assert_eq!(there.take(&here).unwrap(), under_way.pop_front()),
                }
            }
        }
    }

    #[test]
    fn counts_and_lengths_that_cannot_be_are_breaches() {
        let (here, there) = (Side::new(), Side::new());
        let relaxed = Ordering::Relaxed;
        for posted in [LETTERS as u64 + 1, u64::MAX] {
            here.control.letters.0.posted.store(posted, relaxed);
            let error = there.take(&here).unwrap_err();
            assert!(
                matches!(error, Violation::LetterCount { found, .. } if found == posted),
                "{error}"
            );
        }
        here.control.letters.0.posted.store(1, relaxed);
        here.slots[0].store(LETTER_MAX as u64 + 1, relaxed);
        let error = there.take(&here).unwrap_err();
        assert!(matches!(error, Violation::LetterLength { .. }), "{error}");

        let (here, there) = (Side::new(), Side::new());
        for _ in 0..LETTERS {
            assert!(here.post(&there, 0, b"x").unwrap());
        }
        there.control.letters.0.taken.store(17, relaxed);
        assert!(here.post(&there, 0, b"x").is_err());
        there.control.letters.0.taken.store(5, relaxed);
        for _ in 0..5 {
            assert!(here.post(&there, 0, b"x").unwrap());
        }
        there.control.letters.0.taken.store(4, relaxed);
        assert!(here.post(&there, 0, b"x").is_err());
    }
}
