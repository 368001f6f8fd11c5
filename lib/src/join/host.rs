//! The host's side of joining.

use std::time::{Duration, Instant};

use super::intent::{Intent, Numbers};
use super::terms::{
    allocation_limit, check_numbers, check_peer, check_sides, heads, lanes, pairs, whole,
};
use crate::error::Error;
use crate::options::Side;
use crate::pair::{Core, Hold, Pair};
use crate::refusal::{Refusal, Refused};
use crate::region::Region;
use crate::region::access::{Own, Theirs};
use crate::region::layout::printable;
use crate::steps::at_step;
use crate::sys::{self, Message};

/// How long a joining process may keep its host from looking at the next.
const JOINER_LIMIT: Duration = Duration::from_secs(1);

pub(super) struct Host {
    door: Door,
    showing: Showing,
}

/// Where others come from.
pub(super) enum Door {
    /// A name, under which any number may come.
    Named(sys::Host),
    /// An invitation, which leads one here.
    Invited(sys::Channel),
}

/// What became of a joiner.
enum Joiner {
    /// What it shows, in all lanes.
    Admitted(Vec<Region<Theirs>>),
    /// One of the two will not pair with the other.
    Refused(Refused),
    /// It left, or did not answer in time.
    Left,
}

impl Host {
    pub(super) fn new(door: Door, showing: Showing) -> Host {
        Host { door, showing }
    }

    /// In the first lane.
    pub(super) fn side(&self) -> Side {
        self.showing.side()
    }

    /// The first process's side of joining (protocol J7, J10, J12).
    pub(super) fn wait(self, core: &Core, limit: Option<Duration>) -> Result<Vec<Pair>, Error> {
        let since = Instant::now();
        // A limit beyond what a clock can count is no limit.
        let deadline = limit.and_then(|limit| since.checked_add(limit));
        match self.door {
            Door::Named(host) => self.showing.wait_for_any(host, core, since, deadline),
            Door::Invited(channel) => self
                .showing
                .wait_for_invited(channel, core, since, deadline),
        }
    }
}

/// What a host shows to each joiner.
pub(super) struct Showing {
    intent: Intent,
    numbers: Numbers,
    /// One for each lane.
    own: Vec<Region<Own>>,
}

impl Showing {
    pub(super) fn new(intent: Intent) -> Result<Showing, Error> {
        let numbers = intent.numbers();
        let side = intent.options.side.unwrap_or(Side::Reader);
        Ok(Showing {
            own: intent.regions(side, numbers)?,
            intent,
            numbers,
        })
    }

    /// In the first lane.
    fn side(&self) -> Side {
        self.intent.options.side.unwrap_or(Side::Reader)
    }

    fn wait_for_any(
        self,
        mut host: sys::Host,
        core: &Core,
        since: Instant,
        deadline: Option<Instant>,
    ) -> Result<Vec<Pair>, Error> {
        let alarm = core.alarm()?;
        core.look_ahead();
        at_step("seat taken");
        loop {
            let Some(channel) = host.next(&alarm, deadline)? else {
                core.check()?;
                let waited = since.elapsed();
                return Err(Error::NoPartner { waited });
            };
            let limit = Instant::now() + JOINER_LIMIT + allocation_limit(&self.intent.geometry);
            let limit = deadline.map_or(limit, |deadline| deadline.min(limit));
            // Whatever is wrong with one joiner is no reason to stop waiting for
            // the right one; it has been told.
            if let Joiner::Admitted(peers) = self.consider(&channel, &alarm, Some(limit))? {
                core.keep(Hold::Seat(host.close()), self.intent.outlives_pair());
                return self.pairs(channel, peers);
            }
            // Looked at on every turn: joiners may come without a pause.
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                let waited = since.elapsed();
                return Err(Error::NoPartner { waited });
            }
        }
    }

    /// Nobody else can come: what is wrong with this one ends the wait. It has yet to
    /// start, so no limit but the caller's holds.
    fn wait_for_invited(
        self,
        channel: sys::Channel,
        core: &Core,
        since: Instant,
        deadline: Option<Instant>,
    ) -> Result<Vec<Pair>, Error> {
        let alarm = core.alarm()?;
        match self.consider(&channel, &alarm, deadline)? {
            Joiner::Admitted(peers) => self.pairs(channel, peers),
            Joiner::Refused(refused) => Err(refused.into()),
            Joiner::Left => {
                core.check()?;
                let waited = since.elapsed();
                Err(match deadline {
                    Some(deadline) if deadline <= Instant::now() => Error::NoPartner { waited },
                    _ => Error::InvitationOver,
                })
            }
        }
    }

    fn pairs(self, channel: sys::Channel, peers: Vec<Region<Theirs>>) -> Result<Vec<Pair>, Error> {
        let side = self.side();
        pairs(channel, side, self.intent.geometry, self.own, peers)
    }

    /// Admits the process at the other end of `channel`, if it fits.
    fn consider(
        &self,
        channel: &sys::Channel,
        alarm: &sys::Alarm,
        limit: Option<Instant>,
    ) -> Result<Joiner, Error> {
        let refuse = |refused: Refused| {
            channel.refuse(refused.reason.number(), &refused.text);
            Ok(Joiner::Refused(refused))
        };
        if let Err(refused) = self.intent.check_who(channel) {
            return refuse(refused);
        }
        // A message that cannot be sent is a joiner that has left.
        let shown: Vec<_> = self.own.iter().map(Region::memory).collect();
        if !channel.offer(&shown)? {
            // It may have said why.
            let last = channel.receive(alarm, Some(Instant::now()))?;
            return Ok(match last {
                Some(Message::Refused(number, text)) => {
                    Joiner::Refused(refused_by(channel, number, &text))
                }
                _ => Joiner::Left,
            });
        }
        at_step("offer sent");
        let memories = match channel.receive(alarm, limit)? {
            Some(Message::Offer(memories)) => memories,
            Some(Message::Malformed(why)) => return refuse(Refused::malformed(why)),
            Some(Message::Refused(number, text)) => {
                return Ok(Joiner::Refused(refused_by(channel, number, &text)));
            }
            _ => return Ok(Joiner::Left),
        };
        let heads = match self.check(channel, memories) {
            Ok(Some(heads)) => heads,
            Ok(None) => return Ok(Joiner::Left),
            Err(refused) => return refuse(refused),
        };
        let Some(peers) = whole(&heads)? else {
            return Ok(Joiner::Left);
        };
        at_step("about to admit");
        let admitted = channel.admit()?;
        at_step("admitted");
        Ok(match admitted {
            true => Joiner::Admitted(peers),
            false => Joiner::Left,
        })
    }

    /// What the joiner shows, if it fits. `None` if it is not even a head.
    fn check(
        &self,
        channel: &sys::Channel,
        memories: Vec<sys::Memory>,
    ) -> Result<Option<Vec<Region<Theirs>>>, Refused> {
        // Who was invited is known only now.
        self.intent.check_who(channel)?;
        let Some(heads) = heads(channel, memories, &self.intent)? else {
            return Ok(None);
        };
        let side = self.side();
        for ((lane, side), head) in lanes(side, heads.len()).zip(&heads) {
            let theirs = check_peer(channel, head, lane, &self.intent.geometry)?;
            check_sides(side, theirs)?;
        }
        check_numbers(channel, &heads, self.numbers)?;
        Ok(Some(heads))
    }
}

/// What the process at the other end of `channel` says when it will not pair with this one.
pub(super) fn refused_by(channel: &sys::Channel, number: u16, text: &str) -> Refused {
    let reason = Refusal::by_partner(number, &channel.peer().user.to_string());
    Refused::new(reason, printable(text))
}
