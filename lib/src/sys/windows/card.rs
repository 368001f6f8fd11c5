//! What one process tells another while they join: a section that it alone writes.
#![expect(unsafe_code, reason = "the system's interface is all unsafe functions")]

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::memory::Memory;
use super::objects::is_own;
use super::process::{Process, current_process, own_id, started};
use crate::error::Error;
use crate::region::layout::{self, MAGIC, REASON_MAX, VERSION};

/// Most letters from one process to another: an offer, and an answer to the peer's.
pub(super) const LETTERS: usize = 2;

/// What one process tells another while they join: a section that it alone writes.
/// All fields are atomics, since the other may read meanwhile.
#[repr(C)]
pub(super) struct CardPage {
    /// [`MAGIC`], stored last of the head.
    magic: AtomicU64,
    /// [`VERSION`]
    version: AtomicU32,
    process_id: AtomicU32,
    /// When the process was created, in the system's units (of 100 ns).
    started: AtomicU64,
    /// On a holder's card: which turn it is.
    pub(super) turn: AtomicU64,
    /// 1 once the process wants nothing more of this.
    left: AtomicU64,
    pub(super) letters: [Letter; LETTERS],
}

/// One message.
#[repr(C)]
pub(super) struct Letter {
    /// 0 until it is written; stored last, with Release.
    pub(super) kind: AtomicU32,
    /// Bytes used of `text`.
    pub(super) text_len: AtomicU32,
    /// Of an offer, the numbers of the region and of the doorbell.
    pub(super) objects: [AtomicU64; 2],
    pub(super) text: [AtomicU64; REASON_MAX / 8],
}

/// Size of a card's section: a page.
const CARD_SIZE: usize = 4096;

const _: () = {
    assert!(size_of::<CardPage>() <= CARD_SIZE);
    assert!(std::mem::offset_of!(CardPage, started) == 16);
    assert!(std::mem::offset_of!(CardPage, turn) == 24);
    assert!(std::mem::offset_of!(CardPage, left) == 32);
    assert!(std::mem::offset_of!(CardPage, letters) == 40);
    assert!(size_of::<Letter>() == 24 + REASON_MAX);
};

/// A [`CardPage`] in a section of its own, this process's or another's.
pub(super) struct Card(pub(super) Memory);

impl std::ops::Deref for Card {
    type Target = CardPage;

    fn deref(&self) -> &CardPage {
        // SAFETY: the mapping lives as long as `self`, begins on a page and has
        // CARD_SIZE bytes (`create`, `open`); all fields are atomics, valid for any
        // bytes. Only `create`'s are stored to.
        unsafe { self.0.start.cast::<CardPage>().as_ref() }
    }
}

impl Card {
    /// This process's, with its head filled in; `None` if the name is taken.
    pub(super) fn create(name: &str) -> Result<Option<Card>, Error> {
        let Some(memory) = Memory::create_named(name, CARD_SIZE as u64)? else {
            return Ok(None);
        };
        let started = started(current_process())
            .map_err(|error| Error::os("ask when this process was created", error))?;
        let card = Card(memory);
        card.version.store(VERSION, Ordering::Relaxed);
        card.process_id.store(own_id(), Ordering::Relaxed);
        card.started.store(started, Ordering::Relaxed);
        card.magic.store(MAGIC, Ordering::Release);
        Ok(Some(card))
    }

    /// Another process's of this user, once its head is there.
    pub(super) fn open(name: &str) -> Option<Card> {
        let memory = Memory::open(name).ok()??;
        if memory.len() < CARD_SIZE || !is_own(&memory.section) {
            return None;
        }
        let card = Card(memory);
        (card.magic.load(Ordering::Acquire) == MAGIC).then_some(card)
    }

    /// The process whose card it is, unless it is gone.
    pub(super) fn process(&self) -> Option<Process> {
        let id = self.process_id.load(Ordering::Relaxed);
        Process::open(id, self.started.load(Ordering::Relaxed))
    }

    pub(super) fn leave(&self) {
        self.left.store(1, Ordering::Release);
    }

    pub(super) fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire) != 0
    }

    pub(super) fn write(&self, index: usize, kind: u32, objects: [u64; 2], text: &str) {
        let letter = &self.letters[index];
        let text = &text.as_bytes()[..text.floor_char_boundary(REASON_MAX)];
        layout::store_text(&letter.text, text);
        letter.text_len.store(text.len() as u32, Ordering::Relaxed);
        for (word, object) in letter.objects.iter().zip(objects) {
            word.store(object, Ordering::Relaxed);
        }
        letter.kind.store(kind, Ordering::Release);
    }
}
