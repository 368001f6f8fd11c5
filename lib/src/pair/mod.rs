//! A pair: the two regions and the link between their owners.
//!
//! [`Core`] is what all threads share, from taking a seat to the end: the alarm that
//! ends every wait, and why it was rung. [`Pair`] is there once the partner is.
//! [`End`] is one side's half of the traffic, alike for both sides but for the
//! entries' sizes.

mod clock;
mod end;
mod shared;

pub(crate) use end::{End, Patience};
pub(crate) use shared::Core;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::{Delivered, Error, Violation};
use crate::options::{Partner, Side};
use crate::region::Region;
use crate::region::layout::{self, Geometry, REASON_MAX, load_text, printable, store_text};
use crate::ring::Barrier;
use crate::sys;
use clock::Waits;
use shared::Last;

/// The two regions and the link between their owners.
pub(crate) struct Pair {
    pub(crate) side: Side,
    geometry: Geometry,
    pub(crate) own: Arc<Region>,
    pub(crate) peer: Arc<Region>,
    pub(crate) partner: Partner,
    pub(crate) link: sys::Link,
    barrier: Barrier,
    waits: Waits,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair")
            .field("side", &self.side)
            .field("partner", &self.partner)
            .finish_non_exhaustive()
    }
}

impl Pair {
    pub(crate) fn new(
        side: Side,
        geometry: Geometry,
        own: Arc<Region>,
        peer: Arc<Region>,
        partner: Partner,
        link: sys::Link,
    ) -> Pair {
        let features = |region: &Region| region.control().features.load(Ordering::Relaxed);
        let both = features(&own) & features(&peer);
        let barrier = match both & layout::FEATURE_REMOTE_BARRIER {
            0 => Barrier::Fence,
            _ => Barrier::Remote,
        };
        Pair {
            side,
            geometry,
            own,
            peer,
            partner,
            link,
            barrier,
            waits: Waits::new(),
        }
    }

    /// Publishes why this end gives up, and wakes the partner. The Writer's
    /// verdict, once given, stands.
    pub(crate) fn post_abort(&self, reason: &str) {
        let control = self.own.control();
        let bytes = &reason.as_bytes()[..reason.floor_char_boundary(REASON_MAX)];
        store_text(&control.reason, bytes);
        let status = &control.status.0;
        status
            .reason_len
            .store(bytes.len() as u32, Ordering::Relaxed);
        // Release: whoever sees the state sees the reason.
        let _ = status
            .state
            .fetch_update(Ordering::Release, Ordering::Relaxed, |state| {
                let verdict = self.side == Side::Writer && state == layout::ENDED;
                (!verdict).then_some(layout::ABORTED)
            });
        self.link.hang_up();
    }

    /// Whether the partner has ended (in its own sense); an error if it gave up.
    fn partner_ended(&self) -> Result<bool, Error> {
        let status = &self.peer.control().status.0;
        // Pairs with the Release in `End::end` and `post_abort`.
        match status.state.load(Ordering::Acquire) {
            layout::RUNNING => Ok(false),
            layout::ENDED => Ok(true),
            layout::ABORTED => {
                let len = status.reason_len.load(Ordering::Relaxed);
                let reason = load_text(&self.peer.control().reason, len);
                Err(Error::PartnerAborted {
                    partner: self.partner.clone(),
                    reason: printable(&String::from_utf8_lossy(&reason)),
                    delivered: self.delivered(),
                })
            }
            found => Err(self.violation(Violation::State { found })),
        }
    }

    pub(crate) fn delivered(&self) -> Delivered {
        let writer = match self.side {
            Side::Reader => &self.peer,
            Side::Writer => &self.own,
        };
        let published = &writer.control().published.0;
        Delivered {
            blocks: published.blocks.load(Ordering::Acquire),
            bytes: published.bytes.load(Ordering::Relaxed),
        }
    }

    fn under_way(&self) -> u64 {
        let (reader, writer) = match self.side {
            Side::Reader => (&self.own, &self.peer),
            Side::Writer => (&self.peer, &self.own),
        };
        let blocks = |region: &Region| region.control().published.0.blocks.load(Ordering::Acquire);
        // Looked at first, so that what is sent meanwhile does not make it negative.
        let returned = blocks(writer);
        let under_way = blocks(reader).saturating_sub(returned);
        under_way.min(self.geometry.block_count() as u64)
    }

    fn last(&self) -> Last {
        let figures = |region: &Region| {
            let figures = &region.control().figures.0;
            std::array::from_fn(|index| figures[index].load(Ordering::Relaxed))
        };
        Last {
            partner: Some(self.partner.clone()),
            delivered: self.delivered(),
            under_way: self.under_way(),
            waited: self.waits.so_far(),
            own_figures: figures(&self.own),
            partner_figures: figures(&self.peer),
        }
    }

    fn died(&self) -> Error {
        Error::PartnerDied {
            partner: self.partner.clone(),
            delivered: self.delivered(),
        }
    }

    pub(crate) fn violation(&self, violation: Violation) -> Error {
        Error::ProtocolViolation {
            partner: self.partner.clone(),
            violation,
            delivered: self.delivered(),
        }
    }

    /// What the partner's being gone means: it said why, it died, or the session
    /// is over, which the Writer's verdict makes it.
    pub(crate) fn gone(&self) -> Result<(), Error> {
        let over = match self.side {
            Side::Reader => self.partner_ended()?,
            Side::Writer => {
                self.partner_ended()?;
                let own = &self.own.control().status.0.state;
                own.load(Ordering::Relaxed) == layout::ENDED
            }
        };
        if over { Ok(()) } else { Err(self.died()) }
    }
}
