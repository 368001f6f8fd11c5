//! The second's side of joining.

use std::time::{Duration, Instant};

use super::terms::{
    Lane, allocation_limit, check_peer, check_sides, heads, lanes, new_region, pairs, refuse, whole,
};
use crate::error::Error;
use crate::options::{Options, Side};
use crate::pair::{Core, Pair};
use crate::refusal::{Refusal, Refused};
use crate::region::Region;
use crate::region::access::Theirs;
use crate::region::layout::{Geometry, printable};
use crate::sys::{self, Message};

/// How long a holder that was reached may take to answer. Far longer than
/// needed, since a busy machine is no reason to refuse the rightful second.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// The second process's way in (protocol J8, J11, J14), once the host's user was
/// checked: a pair for each lane. `None` if the host went away or took another.
pub(super) fn join_host(
    channel: sys::Channel,
    core: &Core,
    geometry: &Geometry,
    options: &Options,
    name: &str,
) -> Result<Option<Vec<Pair>>, Error> {
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
    let Message::Offer(memories) = answer()? else {
        return Ok(None);
    };
    let heads = match heads(memories, options.ways) {
        Ok(Some(heads)) => heads,
        Ok(None) => return Ok(None),
        Err(refused) => return refuse(&channel, refused),
    };
    let own_side = match check_heads(&channel, &heads, geometry, options) {
        Ok(side) => side,
        Err(refused) => return refuse(&channel, refused),
    };
    let Some(peers) = whole(&heads)? else {
        return Ok(None);
    };
    let session = peers[0].control().session.load();
    let own: Result<Vec<_>, _> = lanes(own_side, options.ways)
        .map(|(lane, side)| new_region(lane, side, geometry, &options.greeting, session))
        .collect();
    let own = own?;
    let shown: Vec<_> = own.iter().map(Region::memory).collect();
    if !channel.offer(&shown)? {
        return Ok(None);
    }
    let Message::Admitted = answer()? else {
        return Ok(None);
    };
    pairs(channel, own_side, *geometry, own, peers).map(Some)
}

/// This process's side in the first lane, if what the host shows fits.
fn check_heads(
    channel: &sys::Channel,
    heads: &[Region<Theirs>],
    geometry: &Geometry,
    options: &Options,
) -> Result<Side, Refused> {
    let mut own = options.side;
    for (number, head) in heads.iter().enumerate() {
        let ways = heads.len();
        let theirs = check_peer(channel, head, Lane { number, ways }, geometry)?;
        // In the second lane the sides are swapped.
        let side = match number {
            0 => *own.get_or_insert(theirs.other()),
            _ => own.map_or(theirs, Side::other),
        };
        check_sides(side, theirs)?;
    }
    Ok(own.unwrap_or(Side::Writer))
}
