//! The seat of a name, and reaching whoever has it: a semaphore of 0 to 1.

use std::os::windows::io::{AsHandle, OwnedHandle};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::card::Card;
use super::channel::{Channel, Letters, Other};
use super::names::{FIRST, Name};
use super::objects::{Created, create_semaphore, find_semaphore, open_semaphore, release};
use super::users::User;
use super::wake::{Alarm, wait_any};
use crate::error::Error;
use crate::refusal::{Refusal, Refused};
use crate::region::access::Own;
use crate::sys::Arrival;

/// How long somebody who has knocked may take to write. Longer than it waits for the
/// count, half a second, and then needs to write.
const KNOCK_LIMIT: Duration = Duration::from_secs(1);

/// The name's semaphore and the card that says who holds it, as long as this lives.
pub(crate) struct Seat {
    // In this order when dropped: the semaphore last, since whoever creates it next
    // creates a card and a bell, too.
    card: Card<Own>,
    /// Kept while nobody can come, too: one that came before may have it open, and then it
    /// could not be made again.
    bell: Arc<OwnedHandle>,
    semaphore: OwnedHandle,
    base: String,
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seat").finish_non_exhaustive()
    }
}

impl Seat {
    pub(crate) fn is_of(&self, name: &Name) -> bool {
        self.base == name.base
    }

    /// Whether nobody has taken the count: takes it, and gives it back at once.
    fn is_free(&self) -> Result<bool, Error> {
        let past = Some(Instant::now());
        let free = wait_any(&[self.semaphore.as_handle()], past)?.is_some();
        if free {
            release(&self.semaphore);
        }
        Ok(free)
    }
}

impl Drop for Seat {
    /// Whoever waits for the count hears that there is nothing to wait for, tells the
    /// next one, and lets go; the last one to do so leaves the name free.
    fn drop(&mut self) {
        self.card.leave();
        release(&self.semaphore);
    }
}

/// The process that holds a name and can be reached under it.
pub(crate) struct Host {
    // In this order when dropped: unreachable first, the name free last.
    turn: Option<Turn>,
    turns: u64,
    name: Name,
    seat: Arc<Seat>,
}

/// What a second holds on a name, so that the seat is its own if the host dies: a semaphore
/// that is there, whatever it counts.
pub(crate) struct Claim {
    _semaphore: OwnedHandle,
    base: String,
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim").finish_non_exhaustive()
    }
}

impl Claim {
    /// `None` if another process has it, or is just looking whether there is one.
    pub(crate) fn take(name: &Name, _guests: &[User]) -> Result<Option<Claim>, Error> {
        match create_semaphore(&name.claim())? {
            Created::New(semaphore) => Ok(Some(Claim {
                _semaphore: semaphore,
                base: name.base.clone(),
            })),
            Created::Existing(semaphore) => {
                refuse_foreign(&name.claim(), &semaphore)?;
                Ok(None)
            }
        }
    }

    pub(crate) fn is_of(&self, name: &Name) -> bool {
        self.base == name.base
    }
}

/// Whether a process has a claim to the seat of `name`.
fn is_claimed(name: &Name) -> Result<bool, Error> {
    let Some(semaphore) = find_semaphore(&name.claim())? else {
        return Ok(false);
    };
    refuse_foreign(&name.claim(), &semaphore)?;
    Ok(true)
}

/// The host's offer to meet one process.
pub(super) struct Turn {
    pub(super) number: u64,
    pub(super) letters: Card<Own>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.letters.leave();
    }
}

/// A process on its way to the seat of a name, or to its host.
pub(crate) struct Arriving<'n> {
    name: &'n Name,
    has_claims: bool,
    /// It has the claim itself.
    is_claimant: bool,
}

impl<'n> Arriving<'n> {
    pub(crate) fn new(
        name: &'n Name,
        _guests: &'n [User],
        has_claims: bool,
        claim: Option<&'n Claim>,
    ) -> Result<Arriving<'n>, Error> {
        Ok(Arriving {
            name,
            has_claims,
            is_claimant: claim.is_some(),
        })
    }

    pub(crate) fn attempt(
        &mut self,
        deadline: Instant,
        last: bool,
    ) -> Result<Option<Arrival>, Error> {
        let name = self.name;
        match create_semaphore(name.seat())? {
            Created::New(seat) => {
                // With the seat in hand: nobody becomes a second who is none now.
                if !self.is_claimant && is_claimed(name)? {
                    return Ok(Some(Arrival::Later));
                }
                let host = Host::new(name, seat, self.has_claims)?;
                Ok(host.map(|host| Arrival::Host(Box::new(host))))
            }
            Created::Existing(seat) => {
                refuse_foreign(name.seat(), &seat)?;
                if let Some(channel) = enter(name, &seat, deadline)? {
                    return Ok(Some(Arrival::Second(channel)));
                }
                Ok((last && will_open(name)?).then_some(Arrival::Later))
            }
        }
    }
}

/// The name has this user in it, but anybody in the same login session could have
/// guessed it.
fn refuse_foreign(object: &str, semaphore: &OwnedHandle) -> Result<(), Error> {
    let owner = User::owner_of(semaphore.as_handle())
        .map_err(|error| Error::os(format!("ask who owns the semaphore {object}"), error))?;
    let own = User::own();
    if owner == own {
        return Ok(());
    }
    let text = format!(
        "the name is in use by user {owner}, this process runs as user {own} ({object} is theirs)",
    );
    let user = owner.to_string();
    Err(Refused::new(Refusal::OtherUser { user }, text).into())
}

/// Whether the host of `name` has no second, or none any more: it is yet to be ready, or busy,
/// or yet to find out that whoever had taken the count was killed. Not if a process keeps the place
/// of its second.
fn will_open(name: &Name) -> Result<bool, Error> {
    let Some(card) = Card::open(&name.card()).filter(|card| card.process().is_some()) else {
        return Ok(false);
    };
    Ok((card.open.load() != 0 || card.stays.load() != 0) && !is_claimed(name)?)
}

/// Takes the count of `seat`, if its holder releases it in time. `None` if not, or if
/// there is no holder (yet, or any more).
fn enter(name: &Name, seat: &OwnedHandle, deadline: Instant) -> Result<Option<Channel>, Error> {
    let Some(card) = Card::open(&name.card()) else {
        return Ok(None);
    };
    let Some(holder) = card.process() else {
        return Ok(None);
    };
    // Before the count is taken: a process that is killed with it cannot give it
    // back, and the holder has to know that somebody was about to take it.
    if let Some(bell) = open_semaphore(&name.bell()) {
        release(&bell);
    }
    let handles = [holder.handle.as_handle(), seat.as_handle()];
    if wait_any(&handles, Some(deadline))? != Some(1) {
        return Ok(None);
    }
    if card.has_left() {
        release(seat);
        return Ok(None);
    }
    Channel::to_host(name, card.turn.load_acquire(), holder)
}

impl Host {
    /// `None` if objects of an earlier holder are still there.
    fn new(name: &Name, seat: OwnedHandle, has_claims: bool) -> Result<Option<Host>, Error> {
        let Some(card) = Card::create(&name.card())? else {
            return Ok(None);
        };
        let Created::New(bell) = create_semaphore(&name.bell())? else {
            return Ok(None);
        };
        let seat = Seat {
            card,
            bell: Arc::new(bell),
            semaphore: seat,
            base: name.base.clone(),
        };
        Host::again(name, &Arc::new(seat), &[], has_claims)
    }

    pub(crate) fn again(
        name: &Name,
        seat: &Arc<Seat>,
        _guests: &[User],
        has_claims: bool,
    ) -> Result<Option<Host>, Error> {
        let stays = &seat.card.stays;
        stays.store(has_claims.into(), Ordering::Relaxed);
        seat.card.open.store(1, Ordering::Relaxed);
        Ok(Some(Host {
            turn: None,
            // No number is used twice: a late joiner of an earlier turn finds nothing.
            turns: seat.card.turn.load(Ordering::Relaxed),
            name: Name {
                base: name.base.clone(),
            },
            seat: Arc::clone(seat),
        }))
    }

    pub(crate) fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }

    /// `Ok(None)` when the deadline has passed or the alarm rang.
    pub(crate) fn next(
        &mut self,
        alarm: &Alarm,
        deadline: Option<Instant>,
    ) -> Result<Option<Channel>, Error> {
        // The last one is done with.
        self.turn = None;
        // Somebody may have knocked before.
        let mut write_by = Some(Instant::now() + KNOCK_LIMIT);
        loop {
            self.open_turn()?;
            let until = [deadline, write_by].into_iter().flatten().min();
            let woken = wait_any(&[alarm.0.as_handle(), self.seat.bell.as_handle()], until)?;
            if woken == Some(0) {
                return Ok(None);
            }
            if let Some(channel) = self.meet() {
                return Ok(Some(channel));
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Ok(None);
            }
            if write_by.is_some_and(|limit| limit <= now) {
                if self.seat.is_free()? {
                    write_by = None;
                } else {
                    // Whoever has taken the count was killed before it wrote, or
                    // sleeps: it will find that its turn is over.
                    self.turn = None;
                    write_by = Some(now + KNOCK_LIMIT);
                }
            }
            if woken.is_some() {
                // Knocks that follow gain no time, or those who try again and again
                // would keep a lost count lost.
                write_by.get_or_insert(now + KNOCK_LIMIT);
            }
        }
    }

    /// Prepares to meet somebody and says so, unless that was done.
    fn open_turn(&mut self) -> Result<(), Error> {
        while self.turn.is_none() {
            self.turns += 1;
            let number = self.turns;
            let name = self.name.letters(number, FIRST);
            // Taken by something of an earlier holder: the next number will do.
            if let Some(letters) = Card::create(&name)? {
                self.turn = Some(Turn { number, letters });
                self.seat.card.turn.store(number, Ordering::Release);
                release(&self.seat.semaphore);
            }
        }
        Ok(())
    }

    /// The process that took the count in this turn, if it has written.
    fn meet(&mut self) -> Option<Channel> {
        let number = self.turn.as_ref()?.number;
        let second = Other::second(&self.name, number)?;
        let turn = self.turn.take()?;
        // If it is gone already, the next turn begins.
        let bell = Arc::clone(&self.seat.bell);
        Some(Channel::new(Letters::Host(turn), bell, Some(second?)))
    }

    pub(crate) fn close(self) -> Arc<Seat> {
        // Without a claim of its second, nobody can tell from outside whether that lives.
        let stays = &self.seat.card.stays;
        if stays.load(Ordering::Relaxed) != 0 && matches!(is_claimed(&self.name), Ok(false)) {
            stays.store(0, Ordering::Relaxed);
        }
        // Its count stays taken: nobody else gets in.
        Arc::clone(&self.seat)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.seat.card.open.store(0, Ordering::Relaxed);
    }
}
