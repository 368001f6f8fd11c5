//! What one process tells another while they join: a section that it alone writes.
#![expect(unsafe_code, reason = "the system's interface is all unsafe functions")]

use std::marker::PhantomData;
use std::sync::atomic::Ordering;

use super::memory::Memory;
use super::objects::is_own;
use super::process::{Process, current_process, own_id, started};
use crate::error::Error;
use crate::join::message::{self, Kind};
use crate::region::access::{Access, Own, Theirs};
use crate::region::layout::{self, MAGIC, REASON_MAX, VERSION};

/// Most letters from one process to another: an offer, and an answer to the peer's.
pub(super) const LETTERS: usize = 2;

/// Most lanes of a session.
pub(super) const LANES: usize = 2;

/// What one process tells another while they join: a section that it alone writes.
/// All fields are atomics, since the other may read meanwhile.
#[repr(C)]
pub(super) struct CardPage<A: Access> {
    /// [`MAGIC`], stored last of the head.
    magic: A::U64,
    /// [`VERSION`]
    pub(super) version: A::U32,
    process_id: A::U32,
    /// When the process was created, in the system's units (of 100 ns).
    started: A::U64,
    /// On a holder's card: which turn it is.
    pub(super) turn: A::U64,
    /// 1 once the process wants nothing more of this.
    left: A::U64,
    pub(super) letters: [Letter<A>; LETTERS],
    /// Of each letter that is an offer, the numbers of lane 1, or zeros if it has none.
    /// Behind all that version 1 knew, which keeps its place; covered by the letter's kind.
    second_lanes: [[A::U64; 2]; LETTERS],
    /// On a holder's card: 1 if it stays when its second is gone, for another one.
    pub(super) stays: A::U64,
    /// On a holder's card: 1 as long as it waits for a second, or prepares to.
    pub(super) open: A::U64,
}

/// What an offer tells of one lane: the numbers of the region, and of the doorbell and
/// hang-up. None is 0.
pub(super) type LaneNumbers = [u64; 2];

/// One message.
#[repr(C)]
pub(super) struct Letter<A: Access> {
    /// 0 until it is written; stored last, with Release.
    pub(super) kind: A::U32,
    /// Bytes used of `text`.
    pub(super) text_len: A::U32,
    /// Of an offer, the numbers of lane 0; of a refusal, that of the reason.
    objects: [A::U64; 2],
    pub(super) text: [A::U64; REASON_MAX / 8],
}

/// Size of a card's section: a page.
const CARD_SIZE: usize = 4096;

const _: () = {
    assert!(size_of::<CardPage<Own>>() <= CARD_SIZE);
    assert!(std::mem::offset_of!(CardPage<Own>, started) == 16);
    assert!(std::mem::offset_of!(CardPage<Own>, turn) == 24);
    assert!(std::mem::offset_of!(CardPage<Own>, left) == 32);
    assert!(std::mem::offset_of!(CardPage<Own>, letters) == 40);
    assert!(std::mem::offset_of!(CardPage<Own>, second_lanes) == 2136);
    assert!(std::mem::offset_of!(CardPage<Own>, stays) == 2168);
    assert!(std::mem::offset_of!(CardPage<Own>, open) == 2176);
    assert!(size_of::<Letter<Own>>() == 24 + REASON_MAX);
};

/// A [`CardPage`] in a section of its own: this process's, or another's.
pub(super) struct Card<A> {
    pub(super) memory: Memory,
    access: PhantomData<A>,
}

impl<A: Access> std::ops::Deref for Card<A> {
    type Target = CardPage<A>;

    fn deref(&self) -> &CardPage<A> {
        // SAFETY: the mapping lives as long as `self`, begins on a page and has
        // CARD_SIZE bytes (`create`, `open`); all fields are atomics, valid for any
        // bytes. Only `Own`'s can be stored to, and only `create` makes such.
        unsafe { self.memory.start.cast::<CardPage<A>>().as_ref() }
    }
}

impl Card<Own> {
    /// This process's, with its head filled in; `None` if the name is taken.
    pub(super) fn create(name: &str) -> Result<Option<Card<Own>>, Error> {
        let Some(memory) = Memory::create_named(name, CARD_SIZE as u64)? else {
            return Ok(None);
        };
        let started = started(current_process())
            .map_err(|error| Error::os("ask when this process was created", error))?;
        let card: Card<Own> = Card {
            memory,
            access: PhantomData,
        };
        card.version.store(VERSION, Ordering::Relaxed);
        card.process_id.store(own_id(), Ordering::Relaxed);
        card.started.store(started, Ordering::Relaxed);
        card.magic.store(MAGIC, Ordering::Release);
        Ok(Some(card))
    }

    pub(super) fn leave(&self) {
        self.left.store(1, Ordering::Release);
    }

    pub(super) fn write(&self, index: usize, kind: Kind, lanes: [LaneNumbers; LANES], text: &str) {
        let letter = &self.letters[index];
        let text = message::cut(text).as_bytes();
        layout::store_text(&letter.text, text);
        letter.text_len.store(text.len() as u32, Ordering::Relaxed);
        let words = letter.objects.iter().chain(&self.second_lanes[index]);
        for (word, number) in words.zip(lanes.as_flattened()) {
            word.store(*number, Ordering::Relaxed);
        }
        letter.kind.store(kind.number(), Ordering::Release);
    }
}

impl Card<Theirs> {
    /// Another process's of this user, once its head is there.
    pub(super) fn open(name: &str) -> Option<Card<Theirs>> {
        let memory = Memory::open(name).ok()??;
        if memory.len() < CARD_SIZE || !is_own(&memory.section) {
            return None;
        }
        let card: Card<Theirs> = Card {
            memory,
            access: PhantomData,
        };
        (card.magic.load_acquire() == MAGIC).then_some(card)
    }

    /// The process whose card it is, unless it is gone.
    pub(super) fn process(&self) -> Option<Process> {
        Process::open(self.process_id.load(), self.started.load())
    }

    pub(super) fn has_left(&self) -> bool {
        self.left.load_acquire() != 0
    }

    /// Of the letter `index`, which is an offer.
    pub(super) fn lanes(&self, index: usize) -> [LaneNumbers; LANES] {
        [&self.letters[index].objects, &self.second_lanes[index]]
            .map(|words| [0, 1].map(|word| words[word].load()))
    }
}
