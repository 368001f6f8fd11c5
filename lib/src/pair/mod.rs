//! A pair: the two regions and the link between their owners.
//!
//! [`Core`] is what all threads share, from taking a seat to the end: the alarm that
//! ends every wait, and why it was rung. [`Pair`] is there once the partner is.
//! [`End`] is one side's half of the traffic, alike for both sides but for the
//! entries' sizes.

mod arm;
mod clock;
mod end;
mod mail;
mod patience;
mod poll;
mod shared;

pub(crate) use end::End;
pub(crate) use shared::{Core, Hold, forked};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Delivered, Error, Violation};
use crate::options::{Partner, Side};
use crate::region::Region;
use crate::region::access::{Own, Theirs};
use crate::region::layout::{self, Geometry, REASON_MAX, load_text, printable, store_text};
use crate::ring::Barrier;
use crate::sys;
use clock::Waits;
use shared::Last;

/// The two regions and the link between their owners.
pub(crate) struct Pair {
    pub(crate) side: Side,
    geometry: Geometry,
    pub(crate) own: Region<Own>,
    pub(crate) peer: Region<Theirs>,
    pub(crate) partner: Partner,
    /// Shared with blocks that were detached.
    pub(crate) link: Arc<sys::Link>,
    barrier: Barrier,
    waits: Waits,
    /// The partner's death was found before this process gave up.
    found_dead: AtomicBool,
    /// Somebody wants the wait in this end to return.
    cut_short: AtomicBool,
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
        own: Region<Own>,
        peer: Region<Theirs>,
        partner: Partner,
        link: sys::Link,
    ) -> Pair {
        let both = own.control().features.load(Ordering::Relaxed) & peer.control().features.load();
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
            link: Arc::new(link),
            barrier,
            waits: Waits::new(),
            found_dead: AtomicBool::new(false),
            cut_short: AtomicBool::new(false),
        }
    }

    /// Lets the wait in this end, or the next one, return as if its deadline had passed.
    pub(crate) fn cut_wait_short(&self) {
        // Release: whoever sees it, sees why.
        self.cut_short.store(true, Ordering::Release);
        self.link.nudge();
    }

    /// True once for each time.
    fn is_cut_short(&self) -> bool {
        self.cut_short.load(Ordering::Relaxed) && self.cut_short.swap(false, Ordering::Acquire)
    }

    /// Publishes why this end gives up, and wakes the partner.
    pub(crate) fn post_abort(&self, code: u32, reason: &str) {
        Pair::show_abort(&self.own, self.side, code, reason);
        self.link.hang_up();
    }

    /// Publishes in the region of who is `side` why it gives up. The Writer's verdict, once
    /// given, stands.
    pub(crate) fn show_abort(own: &Region<Own>, side: Side, code: u32, reason: &str) {
        let control = own.control();
        let bytes = &reason.as_bytes()[..reason.floor_char_boundary(REASON_MAX)];
        store_text(&control.reason, bytes);
        let status = &control.status.0;
        status
            .reason_len
            .store(bytes.len() as u32, Ordering::Relaxed);
        status.reason_code.store(code, Ordering::Relaxed);
        // Release: whoever sees the state sees the reason.
        let _ = status
            .state
            .fetch_update(Ordering::Release, Ordering::Relaxed, |state| {
                let verdict = side == Side::Writer && state == layout::ENDED;
                (!verdict).then_some(layout::ABORTED)
            });
    }

    /// Whether the partner has ended (in its own sense); an error if it gave up.
    fn partner_ended(&self) -> Result<bool, Error> {
        let status = &self.peer.control().status.0;
        // Pairs with the Release in `End::end` and `post_abort`.
        match status.state.load_acquire() {
            layout::RUNNING => Ok(false),
            layout::ENDED => Ok(true),
            layout::ABORTED => {
                let len = status.reason_len.load();
                let reason = load_text(&self.peer.control().reason, len);
                Err(Error::PartnerAborted {
                    partner: self.partner.clone(),
                    code: status.reason_code.load(),
                    reason: printable(&String::from_utf8_lossy(&reason)),
                    delivered: self.delivered(),
                })
            }
            found => Err(self.violation(Violation::State { found })),
        }
    }

    pub(crate) fn delivered(&self) -> Delivered {
        // The Writer's word.
        match self.side {
            Side::Reader => {
                let published = &self.peer.control().published.0;
                Delivered {
                    blocks: published.blocks.load_acquire(),
                    bytes: published.bytes.load(),
                }
            }
            Side::Writer => {
                let published = &self.own.control().published.0;
                Delivered {
                    blocks: published.blocks.load(Ordering::Acquire),
                    bytes: published.bytes.load(Ordering::Relaxed),
                }
            }
        }
    }

    fn under_way(&self) -> u64 {
        let own = || {
            self.own
                .control()
                .published
                .0
                .blocks
                .load(Ordering::Acquire)
        };
        let theirs = || self.peer.control().published.0.blocks.load_acquire();
        // What was returned is looked at first, so that what is sent meanwhile does not
        // make it negative.
        let (returned, sent) = match self.side {
            Side::Reader => (theirs(), own()),
            Side::Writer => (own(), theirs()),
        };
        let under_way = sent.saturating_sub(returned);
        under_way.min(self.geometry.block_count() as u64)
    }

    fn last(&self) -> Last {
        let own = &self.own.control().figures.0;
        let theirs = &self.peer.control().figures.0;
        Last {
            partner: Some(self.partner.clone()),
            delivered: self.delivered(),
            under_way: self.under_way(),
            waited: self.waits.so_far(),
            own_figures: std::array::from_fn(|index| own[index].load(Ordering::Relaxed)),
            partner_figures: std::array::from_fn(|index| theirs[index].load()),
        }
    }

    /// Whether a call of this end has reported the partner's death.
    fn was_found_dead(&self) -> bool {
        self.found_dead.load(Ordering::Relaxed)
    }

    fn died(&self) -> Error {
        self.found_dead.store(true, Ordering::Relaxed);
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

#[cfg(all(test, not(loom)))]
mod tests;
