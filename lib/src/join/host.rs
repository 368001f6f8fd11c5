//! The host's side of joining.

use std::time::{Duration, Instant};

use super::terms::{
    allocation_limit, check_peer, check_sides, check_user, heads, lanes, pairs, whole,
};
use crate::error::Error;
use crate::options::Side;
use crate::pair::{Core, Pair};
use crate::refusal::Refused;
use crate::region::Region;
use crate::region::access::{Own, Theirs};
use crate::region::layout::Geometry;
use crate::sys::{self, Message};

/// How long a joining process may keep its host from looking at the next.
const JOINER_LIMIT: Duration = Duration::from_secs(1);

pub(super) struct Host {
    pub(super) host: sys::Host,
    /// One for each lane.
    pub(super) own: Vec<Region<Own>>,
    pub(super) geometry: Geometry,
    pub(super) guests: Vec<sys::User>,
}

impl Host {
    /// The first process's side of joining (protocol J7, J10, J12).
    pub(super) fn wait(
        mut self,
        core: &Core,
        side: Side,
        limit: Option<Duration>,
    ) -> Result<Vec<Pair>, Error> {
        let since = Instant::now();
        let alarm = core.alarm()?;
        // A limit beyond what a clock can count is no limit.
        let deadline = limit.and_then(|limit| since.checked_add(limit));
        loop {
            let Some(channel) = self.host.next(&alarm, deadline)? else {
                core.check()?;
                let waited = since.elapsed();
                return Err(Error::NoPartner { waited });
            };
            // Whatever is wrong with one joiner is no reason to stop waiting for
            // the right one; it has been told.
            if let Some(peers) = self.consider(&channel, &alarm, side, deadline)? {
                core.keep(self.host.close());
                return pairs(channel, side, self.geometry, self.own, peers);
            }
            // Looked at on every turn: joiners may come without a pause.
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                let waited = since.elapsed();
                return Err(Error::NoPartner { waited });
            }
        }
    }

    /// Admits the process at the other end of `channel`; `None` if it is refused or left.
    fn consider(
        &self,
        channel: &sys::Channel,
        alarm: &sys::Alarm,
        side: Side,
        deadline: Option<Instant>,
    ) -> Result<Option<Vec<Region<Theirs>>>, Error> {
        let refuse = |refused: Refused| {
            channel.refuse(refused.reason.number(), &refused.text);
            Ok(None)
        };
        if let Err(refused) = check_user(channel, &self.guests) {
            return refuse(refused);
        }
        // A message that cannot be sent is a joiner that has left.
        let shown: Vec<_> = self.own.iter().map(Region::memory).collect();
        if !channel.offer(&shown)? {
            return Ok(None);
        }
        let limit = Instant::now() + JOINER_LIMIT + allocation_limit(&self.geometry);
        let limit = deadline.map_or(limit, |deadline| deadline.min(limit));
        let memories = match channel.receive(alarm, Some(limit))? {
            Some(Message::Offer(memories)) => memories,
            Some(Message::Malformed(why)) => return refuse(Refused::malformed(why)),
            _ => return Ok(None),
        };
        // Who was invited is known only now.
        if let Err(refused) = check_user(channel, &self.guests) {
            return refuse(refused);
        }
        let heads = match heads(memories, self.own.len()) {
            Ok(Some(heads)) => heads,
            Ok(None) => return Ok(None),
            Err(refused) => return refuse(refused),
        };
        for ((lane, side), head) in lanes(side, heads.len()).zip(&heads) {
            let fits = check_peer(channel, head, lane, &self.geometry);
            if let Err(refused) = fits.and_then(|theirs| check_sides(side, theirs)) {
                return refuse(refused);
            }
        }
        let peers = whole(&heads)?;
        match channel.admit() {
            Ok(()) => Ok(peers),
            Err(_) => Ok(None),
        }
    }
}
