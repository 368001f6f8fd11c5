//! The host's side of joining.

use std::time::{Duration, Instant};

use super::terms::{
    allocation_limit, check_peer, check_sides, check_user, only, other_ways, partner,
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
    pub(super) own: Region<Own>,
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
    ) -> Result<Pair, Error> {
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
            if let Some(peer) = self.consider(&channel, &alarm, side, deadline)? {
                let partner = partner(&channel, &peer, side);
                core.keep(self.host.close());
                let link = only(channel.into_links()?)?;
                return Ok(Pair::new(
                    side,
                    self.geometry,
                    self.own,
                    peer,
                    partner,
                    link,
                ));
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
    ) -> Result<Option<Region<Theirs>>, Error> {
        let refuse = |refused: Refused| {
            channel.refuse(refused.reason.number(), &refused.text);
            Ok(None)
        };
        if let Err(refused) = check_user(channel, &self.guests) {
            return refuse(refused);
        }
        // A message that cannot be sent is a joiner that has left.
        if !channel.offer(&[self.own.memory()])? {
            return Ok(None);
        }
        let limit = Instant::now() + JOINER_LIMIT + allocation_limit(&self.geometry);
        let limit = deadline.map_or(limit, |deadline| deadline.min(limit));
        let lanes = match channel.receive(alarm, Some(limit))? {
            Some(Message::Offer(lanes)) => lanes,
            Some(Message::Malformed(why)) => return refuse(Refused::malformed(why)),
            _ => return Ok(None),
        };
        // Who was invited is known only now.
        if let Err(refused) = check_user(channel, &self.guests) {
            return refuse(refused);
        }
        let Ok([memory]) = <[_; 1]>::try_from(lanes) else {
            return refuse(other_ways());
        };
        let Some(head) = Region::theirs(memory) else {
            return Ok(None);
        };
        let fits = check_peer(channel, &head, &self.geometry);
        if let Err(refused) = fits.and_then(|theirs| check_sides(side, theirs)) {
            return refuse(refused);
        }
        let peer = Region::theirs(head.memory().whole()?);
        match channel.admit() {
            Ok(()) => Ok(peer),
            Err(_) => Ok(None),
        }
    }
}
