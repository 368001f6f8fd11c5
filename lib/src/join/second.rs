//! The second's side of joining.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::host::refused_by;
use super::intent::Intent;
use super::terms::{
    Lane, allocation_limit, check_peer, check_sides, heads, lanes, numbers, pairs, refuse, whole,
};
use crate::error::Error;
use crate::options::Side;
use crate::pair::{Core, Pair};
use crate::refusal::Refused;
use crate::region::Region;
use crate::region::access::Theirs;
use crate::region::layout::Geometry;
use crate::steps::at_step;
use crate::sys::{self, Message};

/// How long a holder that was reached may take to answer. Far longer than
/// needed, since a busy machine is no reason to refuse the rightful second.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// How long a second waits for each answer of its host: some seconds, but
#[derive(Clone, Copy)]
pub(super) enum Patience {
    /// so long at least;
    AtLeast(Duration),
    /// not beyond this, if there is such an end.
    Until(Option<Instant>),
}

impl Patience {
    /// For an answer that is waited for from now on, to a process that has to allocate
    /// `geometry` first. `None` for a limit beyond what a clock can count.
    fn deadline(self, geometry: &Geometry) -> Option<Instant> {
        let (least, end) = match self {
            Patience::AtLeast(least) => (least, None),
            Patience::Until(end) => (Duration::ZERO, end),
        };
        let limit = least.max(ANSWER_LIMIT);
        let limit = limit.saturating_add(allocation_limit(geometry));
        let deadline = Instant::now().checked_add(limit);
        [deadline, end].into_iter().flatten().min()
    }
}

/// How a second gets its claim to the seat.
pub(super) struct Claiming<'a> {
    pub(super) name: &'a sys::Name,
    pub(super) guests: &'a [sys::User],
    /// It has it already.
    pub(super) claim: Option<&'a Arc<sys::Claim>>,
    /// There is no other try after this one.
    pub(super) is_last: bool,
}

impl Claiming<'_> {
    /// `None` if another process has it, or its object, which the host may be about to
    /// remove.
    fn take(&self) -> Result<Option<Arc<sys::Claim>>, Error> {
        if let Some(claim) = self.claim {
            return Ok(Some(Arc::clone(claim)));
        }
        match sys::Claim::take(self.name, self.guests) {
            Err(error) if !self.is_last && error.is_in_the_way() => Ok(None),
            taken => Ok(taken?.map(Arc::new)),
        }
    }
}

/// A pair for each lane, and the claim to the seat, if one was wanted.
type Joined = (Vec<Pair>, Option<Arc<sys::Claim>>);

/// The second process's way in (protocol J8, J11, J14): a pair for each lane. `None` if the host went away or took another.
pub(super) fn join_host(
    channel: sys::Channel,
    core: &Core,
    intent: &Intent,
    name: &str,
    patience: Patience,
    claiming: Option<Claiming<'_>>,
) -> Result<Option<Joined>, Error> {
    if let Err(refused) = intent.check_who(&channel) {
        return refuse(&channel, refused);
    }
    at_step("host reached");
    let alarm = core.alarm()?;
    core.look_ahead();
    let answer = || {
        let deadline = patience.deadline(&intent.geometry);
        match channel.receive(&alarm, deadline)? {
            None => core
                .check()
                .and(Err(Error::NotAnswering { name: name.into() })),
            Some(Message::Refused(number, text)) => Err(refused_by(&channel, number, &text).into()),
            Some(Message::Malformed(why)) => {
                let id = channel.peer().process_id;
                let text = format!("process {id} cannot be joined: {why}");
                refuse(&channel, Refused::malformed(text))
            }
            Some(message) => Ok(message),
        }
    };
    let Message::Offer(memories) = answer()? else {
        return Ok(None);
    };
    let heads = match heads(&channel, memories, intent) {
        Ok(Some(heads)) => heads,
        Ok(None) => return Ok(None),
        Err(refused) => return refuse(&channel, refused),
    };
    let checked = check_heads(&channel, &heads, intent)
        .and_then(|side| Ok((side, numbers(&channel, &heads)?)));
    let (side, numbers) = match checked {
        Ok(checked) => checked,
        Err(refused) => return refuse(&channel, refused),
    };
    let Some(peers) = whole(&heads)? else {
        return Ok(None);
    };
    // Before it can be admitted: from then on there is no moment without it.
    let claim = match claiming {
        None => None,
        Some(claiming) => match claiming.take()? {
            None => return Ok(None),
            claim => claim,
        },
    };
    let own = intent.regions(side, numbers)?;
    let shown: Vec<_> = own.iter().map(Region::memory).collect();
    // Whoever has given up does not pair with a host that came later.
    core.check()?;
    if !channel.offer(&shown)? {
        return Ok(None);
    }
    at_step("offer answered");
    // It may have let this process in just now: then it hears why that is gone.
    let admitted = answer().inspect_err(|error| {
        let (code, reason) = match error {
            Error::Aborted { code, reason } => (*code, reason.clone()),
            error => (0, error.to_string()),
        };
        for ((_, side), own) in lanes(side, own.len()).zip(&own) {
            Pair::show_abort(own, side, code, &reason);
        }
    });
    let Message::Admitted = admitted? else {
        return Ok(None);
    };
    at_step("let in");
    let pairs = pairs(channel, side, intent.geometry, own, peers)?;
    Ok(Some((pairs, claim)))
}

/// This process's side in the first lane, if what the host shows fits.
fn check_heads(
    channel: &sys::Channel,
    heads: &[Region<Theirs>],
    intent: &Intent,
) -> Result<Side, Refused> {
    let mut own = intent.options.side;
    for (number, head) in heads.iter().enumerate() {
        let ways = heads.len();
        let theirs = check_peer(channel, head, Lane { number, ways }, &intent.geometry)?;
        // In the second lane the sides are swapped.
        let side = match number {
            0 => *own.get_or_insert(theirs.other()),
            _ => own.map_or(theirs, Side::other),
        };
        check_sides(side, theirs)?;
    }
    Ok(own.unwrap_or(Side::Writer))
}
