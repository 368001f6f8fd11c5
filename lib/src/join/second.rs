//! The second's side of joining.

use std::time::{Duration, Instant};

use super::terms::{
    allocation_limit, check_peer, check_sides, new_region, only, other_ways, partner, refuse,
};
use crate::error::Error;
use crate::options::Options;
use crate::pair::{Core, Pair};
use crate::refusal::{Refusal, Refused};
use crate::region::Region;
use crate::region::layout::{Geometry, printable};
use crate::sys::{self, Message};

/// How long a holder that was reached may take to answer. Far longer than
/// needed, since a busy machine is no reason to refuse the rightful second.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// The second process's way in (protocol J8, J11, J14), once the host's user was
/// checked. `None` if the host went away or took another.
pub(super) fn join_host(
    channel: sys::Channel,
    core: &Core,
    geometry: &Geometry,
    options: &Options,
    name: &str,
) -> Result<Option<Pair>, Error> {
    let limit = ANSWER_LIMIT + allocation_limit(geometry);
    let alarm = core.alarm()?;
    let answer = || match channel.receive(&alarm, Some(Instant::now() + limit))? {
        None => Err(Error::NotAnswering { name: name.into() }),
        Some(Message::Refused(number, text)) => {
            let reason = Refusal::by_partner(number, &channel.peer().user.to_string());
            Err(Refused::new(reason, printable(&text)).into())
        }
        Some(Message::Malformed(why)) => {
            let id = channel.peer().process_id;
            let text = format!("process {id} cannot be joined: {why}");
            refuse(&channel, Refused::malformed(text))
        }
        Some(message) => Ok(message),
    };
    let Message::Offer(lanes) = answer()? else {
        return Ok(None);
    };
    let Ok([memory]) = <[_; 1]>::try_from(lanes) else {
        return refuse(&channel, other_ways());
    };
    let Some(head) = Region::theirs(memory) else {
        return Ok(None);
    };
    let own_side = match check_peer(&channel, &head, geometry).and_then(|theirs| {
        let own = options.side.unwrap_or(theirs.other());
        check_sides(own, theirs).map(|()| own)
    }) {
        Ok(side) => side,
        Err(refused) => return refuse(&channel, refused),
    };
    let Some(peer) = Region::theirs(head.memory().whole()?) else {
        return Ok(None);
    };
    let session = peer.control().session.load();
    let own = new_region(own_side, geometry, &options.greeting, session)?;
    if !channel.offer(&[own.memory()])? {
        return Ok(None);
    }
    let Message::Admitted = answer()? else {
        return Ok(None);
    };
    let partner = partner(&channel, &peer, own_side);
    let link = only(channel.into_links()?)?;
    Ok(Some(Pair::new(
        own_side, *geometry, own, peer, partner, link,
    )))
}
