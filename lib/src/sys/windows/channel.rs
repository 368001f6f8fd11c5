//! Messages of joining, as letters in sections.

use std::io;
use std::os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::card::{Card, LANES, LETTERS, LaneNumbers};
use super::link::{Bell, Link, RemoteBell};
use super::memory::Memory;
use super::names::{FIRST, Name, SECOND, SECOND_BELL};
use super::objects::{
    Created, OLD_BELL, REGION, create_semaphore, is_own, open_semaphore, release, unique,
};
use super::process::{Process, own_id};
use super::rendezvous::Turn;
use super::users::User;
use super::wake::{Alarm, wait_any};
use crate::error::Error;
use crate::join::message::Kind;
use crate::region::access::{Own, Theirs};
use crate::region::layout::{self, CONTROL_SIZE, VERSION};
use crate::sys::{Message, Peer};

/// How long a process may take to end once its objects are gone.
const DYING: Duration = Duration::from_millis(100);

/// A connection to the process that may become the partner.
pub(crate) struct Channel {
    own: Letters,
    bell: Arc<OwnedHandle>,
    written: AtomicUsize,
    /// One for each lane that was offered.
    bells: OnceLock<Vec<Bell>>,
    /// What a process of version 1 looks for before it looks at the version.
    old_bell: OnceLock<OwnedHandle>,
    other: OnceLock<Box<Other>>,
    read: AtomicUsize,
    /// One for each lane that the other has offered.
    remote_bells: OnceLock<Vec<RemoteBell>>,
}

/// Where this process writes.
pub(super) enum Letters {
    Host(Turn),
    /// As a host that one process was invited to: the child, of which it hears by its
    /// letters.
    Inviter(Turn, Box<Invited>),
    Second(Card<Own>),
}

/// The process that was started to join, whether or not it has.
pub(super) struct Invited {
    pub(super) name: Name,
    pub(super) process: OwnedHandle,
    pub(super) peer: Peer,
}

/// The process at the other end.
pub(super) struct Other {
    card: Card<Theirs>,
    bell: OwnedHandle,
    process: Arc<Process>,
    peer: Peer,
}

impl Letters {
    fn card(&self) -> &Card<Own> {
        match self {
            Letters::Host(turn) | Letters::Inviter(turn, _) => &turn.letters,
            Letters::Second(card) => card,
        }
    }
}

impl Other {
    pub(super) fn new(
        card: Card<Theirs>,
        bell: OwnedHandle,
        process: Process,
    ) -> Result<Other, Error> {
        let user = User::owner_of(card.memory.section.as_handle())
            .map_err(|error| Error::os("ask who the joining process is", error))?;
        let peer = Peer {
            user,
            process_id: process.id,
        };
        Ok(Other {
            card,
            bell,
            process: Arc::new(process),
            peer,
        })
    }

    /// The second that has written to the host of `name` in its turn `turn`. Nothing
    /// if there is none; nothing in it if it is gone already.
    pub(super) fn second(name: &Name, turn: u64) -> Option<Option<Other>> {
        let card = Card::open(&name.letters(turn, SECOND))?;
        let meet = || {
            let process = card.process()?;
            let bell = open_semaphore(&name.letters(turn, SECOND_BELL))?;
            Other::new(card, bell, process).ok()
        };
        Some(meet())
    }
}

impl Channel {
    /// To `other`, if it is here already.
    pub(super) fn new(own: Letters, bell: Arc<OwnedHandle>, other: Option<Other>) -> Channel {
        Channel {
            own,
            bell,
            written: 0.into(),
            bells: OnceLock::new(),
            old_bell: OnceLock::new(),
            other: other
                .map(Box::new)
                .map_or_else(OnceLock::new, OnceLock::from),
            read: 0.into(),
            remote_bells: OnceLock::new(),
        }
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
        let host = Other::new(theirs, their_bell, holder)?;
        let own = Letters::Second(own);
        Ok(Some(Channel::new(own, Arc::new(bell), Some(host))))
    }

    /// The other process, if it is here: one that was invited may be yet to come.
    fn other(&self) -> Option<&Other> {
        if let (None, Letters::Inviter(turn, invited)) = (self.other.get(), &self.own)
            && let Some(Some(other)) = Other::second(&invited.name, turn.number)
        {
            return Some(self.other.get_or_init(|| Box::new(other)));
        }
        self.other.get().map(Box::as_ref)
    }

    pub(crate) fn peer(&self) -> &Peer {
        match (&self.own, self.other.get()) {
            (_, Some(other)) => &other.peer,
            (Letters::Inviter(_, invited), None) => &invited.peer,
            (Letters::Host(_) | Letters::Second(_), None) => unreachable!("see `new`"),
        }
    }

    /// False if the other has left.
    pub(crate) fn offer(&self, lanes: &[&Memory]) -> Result<bool, Error> {
        let bells = lanes.iter().map(|_| Bell::new());
        let bells = bells.collect::<Result<Vec<_>, _>>()?;
        let mut numbers = [[0; 2]; LANES];
        for (numbers, (memory, bell)) in numbers.iter_mut().zip(lanes.iter().zip(&bells)) {
            *numbers = [memory.number, bell.number];
        }
        let (Created::New(old_bell) | Created::Existing(old_bell)) =
            create_semaphore(&unique(own_id(), numbers[0][1], OLD_BELL))?;
        let _ = self.old_bell.set(old_bell);
        if self.bells.set(bells).is_err() {
            return Err(Error::InvalidUse("a process makes one offer"));
        }
        Ok(self.send(Kind::Offer, numbers, "").is_ok())
    }

    /// Best effort: the peer may be gone.
    pub(crate) fn refuse(&self, number: u16, reason: &str) {
        let mut numbers = [[0; 2]; LANES];
        numbers[0][0] = number.into();
        let _ = self.send(Kind::Refused(number), numbers, reason);
    }

    /// False if the other has left.
    pub(crate) fn admit(&self) -> Result<bool, Error> {
        // Not of a process whose letters are of another version, whatever its region says.
        if self.remote_bells.get().is_none_or(Vec::is_empty) {
            return Ok(false);
        }
        Ok(self.send(Kind::Admitted, [[0; 2]; LANES], "").is_ok())
    }

    fn send(&self, kind: Kind, lanes: [LaneNumbers; LANES], text: &str) -> Result<(), Error> {
        let other = self.other();
        let index = self.written.load(Ordering::Relaxed);
        if index == LETTERS || other.is_some_and(|other| other.card.has_left()) {
            let error = io::ErrorKind::BrokenPipe;
            return Err(Error::os("send to the joining process", error));
        }
        self.own.card().write(index, kind, lanes, text);
        self.written.store(index + 1, Ordering::Relaxed);
        if let Some(other) = other {
            release(&other.bell);
        }
        Ok(())
    }

    /// `Ok(None)` when the deadline has passed or the alarm rang.
    pub(crate) fn receive(
        &self,
        alarm: &Alarm,
        deadline: Option<Instant>,
    ) -> Result<Option<Message>, Error> {
        let mut died = None;
        loop {
            let process = self.awaited();
            let handles = [alarm.0.as_handle(), self.bell.as_handle(), process.1];
            // In this order: what it wrote before it left comes first.
            let left = died == Some(process.0)
                || self.other.get().is_some_and(|other| other.card.has_left());
            if let Some(message) = self.read_letter() {
                if matches!(message, Message::Malformed(_)) && self.is_lost()? {
                    return Ok(Some(Message::HungUp));
                }
                return Ok(Some(message));
            }
            if left {
                return Ok(Some(Message::HungUp));
            }
            match wait_any(&handles, deadline)? {
                None | Some(0) => return Ok(None),
                Some(index) => died = (index == 2).then_some(process.0),
            }
        }
    }

    /// Whether the other has left, so that what it had shown is not there any more. What a
    /// dying process has shown is gone before the process is, so this may wait a moment.
    fn is_lost(&self) -> Result<bool, Error> {
        if self.other.get().is_some_and(|other| other.card.has_left()) {
            return Ok(true);
        }
        let (_, process) = self.awaited();
        Ok(wait_any(&[process], Some(Instant::now() + DYING))?.is_some())
    }

    /// Whose message is waited for, by number and handle. An invited process may start
    /// another that joins in its place.
    fn awaited(&self) -> (u32, BorrowedHandle<'_>) {
        match (&self.own, self.other()) {
            (Letters::Inviter(_, invited), None) => {
                (invited.peer.process_id, invited.process.as_handle())
            }
            (_, Some(other)) => (other.process.id, other.process.handle.as_handle()),
            (Letters::Host(_) | Letters::Second(_), None) => unreachable!("see `new`"),
        }
    }

    fn read_letter(&self) -> Option<Message> {
        let other = self.other.get()?;
        let index = self.read.load(Ordering::Relaxed);
        let letter = other.card.letters.get(index)?;
        // Pairs with the Release in `Card::write`.
        let kind = letter.kind.load_acquire();
        if kind == 0 {
            return None;
        }
        self.read.store(index + 1, Ordering::Relaxed);
        // Of a refusal, the first is the number of the reason.
        let lanes = other.card.lanes(index);
        let reason = lanes[0][0] as u16;
        Some(match Kind::from_number(kind, reason) {
            Ok(Kind::Offer) => self
                .open_offer(other, lanes)
                .map_or_else(Message::Malformed, Message::Offer),
            Ok(Kind::Refused(number)) => {
                let len = letter.text_len.load();
                let text = layout::load_text(&letter.text, len);
                Message::Refused(number, String::from_utf8_lossy(&text).into_owned())
            }
            Ok(Kind::Admitted) => Message::Admitted,
            Err(why) => Message::Malformed(why),
        })
    }

    fn open_offer(
        &self,
        other: &Other,
        lanes: [LaneNumbers; LANES],
    ) -> Result<Vec<Memory>, &'static str> {
        let id = other.process.id;
        // In another version, what lies beyond the first region may mean anything: its
        // head will tell.
        if other.card.version.load() != VERSION {
            return Ok(vec![open_region(id, lanes[0][0])?]);
        }
        let shown = if lanes[1] == [0; 2] { 1 } else { LANES };
        let (mut regions, mut bells) = (Vec::new(), Vec::new());
        for [region, bell] in &lanes[..shown] {
            regions.push(open_region(id, *region)?);
            bells.push(RemoteBell::open(id, *bell).ok_or("its doorbell cannot be opened")?);
        }
        if self.remote_bells.set(bells).is_err() {
            return Err("it makes a second offer");
        }
        Ok(regions)
    }

    pub(crate) fn into_links(mut self) -> Result<Vec<Link>, Error> {
        let Some(process) = self.other().map(|other| Arc::clone(&other.process)) else {
            return Err(Error::InvalidUse("a pair needs two processes"));
        };
        let own = self.bells.take().unwrap_or_default();
        let theirs = self.remote_bells.take().unwrap_or_default();
        if own.is_empty() || theirs.is_empty() {
            return Err(Error::InvalidUse("a pair needs an offer from each process"));
        }
        let links = own.into_iter().zip(theirs);
        let links = links.map(|(own, theirs)| Link::new(own, theirs, Arc::clone(&process)));
        Ok(links.collect())
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.own.card().leave();
        if let Some(other) = self.other() {
            release(&other.bell);
        }
        // The other may have taken this process for its partner already.
        drop(self.bells.take());
        for bell in self.remote_bells.take().unwrap_or_default() {
            bell.ring();
        }
    }
}

fn open_region(process_id: u32, number: u64) -> Result<Memory, &'static str> {
    let memory = Memory::open(&unique(process_id, number, REGION));
    let Ok(Some(memory)) = memory else {
        return Err("its region cannot be opened");
    };
    if !is_own(&memory.section) {
        return Err("its region belongs to another user");
    }
    if memory.len() < CONTROL_SIZE {
        return Err("its region is too small");
    }
    Ok(memory)
}
