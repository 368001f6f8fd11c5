//! Messages of joining, as letters in sections.

use std::io;
use std::os::windows::io::{AsHandle, OwnedHandle};
use std::sync::Arc;
use std::time::Instant;

use super::card::{Card, LETTERS};
use super::memory::Memory;
use super::names::{FIRST, Name, SECOND, SECOND_BELL};
use super::objects::{Created, REGION, create_semaphore, is_own, open_semaphore, release, unique};
use super::process::Process;
use super::rendezvous::Turn;
use super::users::User;
use super::wake::{Alarm, Bell, Link, RemoteBell, wait_any};
use crate::error::Error;
use crate::join::message::Kind;
use crate::region::access::{Own, Theirs};
use crate::region::layout::{self, CONTROL_SIZE};
use crate::sys::{Message, Peer};

/// A connection to the process that may become the partner.
pub(crate) struct Channel {
    own: Letters,
    bell: Arc<OwnedHandle>,
    written: std::cell::Cell<usize>,
    theirs: Card<Theirs>,
    their_bell: OwnedHandle,
    read: std::cell::Cell<usize>,
    process: Arc<Process>,
    peer: Peer,
}

/// Where this process writes.
pub(super) enum Letters {
    Host(Turn),
    Second(Card<Own>),
}

impl Letters {
    fn card(&self) -> &Card<Own> {
        match self {
            Letters::Host(turn) => &turn.letters,
            Letters::Second(card) => card,
        }
    }
}

impl Channel {
    pub(super) fn new(
        own: Letters,
        bell: Arc<OwnedHandle>,
        theirs: Card<Theirs>,
        their_bell: OwnedHandle,
        process: Process,
    ) -> Result<Channel, Error> {
        let user = User::owner_of(theirs.memory.section.as_handle())
            .map_err(|error| Error::os("ask who the joining process is", error))?;
        Ok(Channel {
            peer: Peer {
                user,
                process_id: process.id,
            },
            own,
            bell,
            written: 0.into(),
            theirs,
            their_bell,
            read: 0.into(),
            process: Arc::new(process),
        })
    }

    /// From the process that has taken the count in `turn`. `None` if that turn is
    /// over, or used by another.
    pub(super) fn to_host(
        name: &Name,
        turn: u64,
        holder: Process,
    ) -> Result<Option<Channel>, Error> {
        let Some(theirs) = Card::open(&name.letters(turn, FIRST)) else {
            return Ok(None);
        };
        let Some(their_bell) = open_semaphore(&name.bell()) else {
            return Ok(None);
        };
        let Created::New(bell) = create_semaphore(&name.letters(turn, SECOND_BELL))? else {
            return Ok(None);
        };
        let Some(own) = Card::create(&name.letters(turn, SECOND))? else {
            return Ok(None);
        };
        release(&their_bell);
        let own = Letters::Second(own);
        Channel::new(own, Arc::new(bell), theirs, their_bell, holder).map(Some)
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    pub(crate) fn offer(&self, memory: &Memory, bell: &Bell) -> Result<(), Error> {
        self.send(Kind::Offer, [memory.number, bell.number], "")
    }

    /// Best effort: the peer may be gone.
    pub(crate) fn refuse(&self, reason: &str) {
        let _ = self.send(Kind::Refused, [0; 2], reason);
    }

    pub(crate) fn admit(&self) -> Result<(), Error> {
        self.send(Kind::Admitted, [0; 2], "")
    }

    fn send(&self, kind: Kind, objects: [u64; 2], text: &str) -> Result<(), Error> {
        let index = self.written.get();
        if index == LETTERS || self.theirs.has_left() {
            let error = io::ErrorKind::BrokenPipe;
            return Err(Error::os("send to the joining process", error));
        }
        self.own.card().write(index, kind, objects, text);
        self.written.set(index + 1);
        release(&self.their_bell);
        Ok(())
    }

    /// `Ok(None)` when the deadline has passed or the alarm rang.
    pub(crate) fn receive(
        &self,
        alarm: &Alarm,
        deadline: Option<Instant>,
    ) -> Result<Option<Message>, Error> {
        let handles = [
            alarm.0.as_handle(),
            self.bell.as_handle(),
            self.process.handle.as_handle(),
        ];
        let mut died = false;
        loop {
            // In this order: what it wrote before it left comes first.
            let left = died || self.theirs.has_left();
            if let Some(message) = self.read_letter() {
                return Ok(Some(message));
            }
            if left {
                return Ok(Some(Message::HungUp));
            }
            match wait_any(handles, deadline)? {
                None | Some(0) => return Ok(None),
                Some(index) => died = index == 2,
            }
        }
    }

    fn read_letter(&self) -> Option<Message> {
        let letter = self.theirs.letters.get(self.read.get())?;
        // Pairs with the Release in `Card::write`.
        let kind = letter.kind.load_acquire();
        if kind == 0 {
            return None;
        }
        self.read.set(self.read.get() + 1);
        Some(match Kind::from_number(kind) {
            Ok(Kind::Offer) => {
                let objects = [0, 1].map(|index| letter.objects[index].load());
                open_offer(self.process.id, objects)
            }
            Ok(Kind::Refused) => {
                let len = letter.text_len.load();
                let text = layout::load_text(&letter.text, len);
                Message::Refused(String::from_utf8_lossy(&text).into_owned())
            }
            Ok(Kind::Admitted) => Message::Admitted,
            Err(why) => Message::Malformed(why),
        })
    }

    pub(crate) fn into_link(self, bell: Bell, remote_bell: RemoteBell) -> Link {
        Link {
            bell,
            remote_bell,
            process: Arc::clone(&self.process),
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.own.card().leave();
        release(&self.their_bell);
    }
}

fn open_offer(process_id: u32, [region, bell]: [u64; 2]) -> Message {
    let memory = Memory::open(&unique(process_id, region, REGION));
    let Ok(Some(memory)) = memory else {
        return Message::Malformed("its region cannot be opened");
    };
    if !is_own(&memory.section) {
        return Message::Malformed("its region belongs to another user");
    }
    if memory.len() < CONTROL_SIZE {
        return Message::Malformed("its region is too small");
    }
    match RemoteBell::open(process_id, bell) {
        Some(bell) => Message::Offer(memory, bell),
        None => Message::Malformed("its doorbell cannot be opened"),
    }
}
