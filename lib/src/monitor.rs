//! The handle on a session for other threads.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::error::{Delivered, Error, Violation};
use crate::options::Partner;
use crate::pair::{Core, Pair};
use crate::region::layout::FIGURES;
use crate::sys::Wake;

/// A second handle on a session, for other threads: it sees the partner's fate,
/// shows and reads progress, and can give up.
///
/// A thread that is stuck outside the library (reading a silent source, say)
/// cannot notice that its partner died; one that sits in [`Monitor::watch`] can.
#[derive(Clone, Debug)]
pub struct Monitor {
    core: Arc<Core>,
}

impl Monitor {
    pub(crate) fn new(core: &Arc<Core>) -> Monitor {
        Monitor {
            core: Arc::clone(core),
        }
    }

    /// Ends the session from this side: the partner gets `reason` (cut to 1024
    /// bytes) as [`Error::PartnerAborted`], and each call of this process that
    /// waits, or would wait, fails with [`Error::Aborted`], as does each that sends a block
    /// or posts a letter. Calls that need not wait and only take something still succeed.
    /// Only the first reason counts; after the end of the session nothing happens.
    pub fn abort(&self, reason: &str) {
        self.abort_with(0, reason);
    }

    /// As [`Monitor::abort`], with a number of the application's choice.
    pub fn abort_with(&self, code: u32, reason: &str) {
        self.core.abort_with(code, reason);
    }

    /// False in a child that was forked off the process of this session.
    #[doc(hidden)]
    pub fn is_here(&self) -> bool {
        self.core.origin().is_here()
    }

    /// For who lets several threads take turns in one end: the call that waits there, or if
    /// none does the next one, returns with [`Error::TimedOut`], whatever its deadline.
    #[doc(hidden)]
    pub fn cut_wait_short(&self) {
        self.core.with_pair(Pair::cut_wait_short);
    }

    /// Waits until the session is over. May be called by several threads.
    ///
    /// # Errors
    ///
    /// [`Error::PartnerDied`], [`Error::PartnerAborted`], [`Error::Aborted`]: how
    /// it ended, if it did not end well.
    pub fn watch(&self) -> Result<(), Error> {
        self.watch_for(None)
    }

    /// As [`Monitor::watch`], but waits no longer than `deadline`.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::TimedOut`] if the session goes on.
    pub fn watch_until(&self, deadline: Instant) -> Result<(), Error> {
        self.watch_for(Some(deadline))
    }

    fn watch_for(&self, deadline: Option<Instant>) -> Result<(), Error> {
        let Some(pair) = self.core.wait_for_pair(deadline)? else {
            return Ok(());
        };
        let ended = match pair.link.watch(deadline)? {
            Wake::Timeout => return Err(Error::TimedOut),
            Wake::HungUp => self.core.check(),
            Wake::Message => self.core.tell(Err(pair.violation(Violation::Message))),
            _ => self.core.tell(pair.gone()),
        };
        if ended.is_err() {
            // Whoever is told may end the process before its end is dropped.
            self.core.give_up_name();
        }
        ended
    }

    /// The partner, once it is here.
    pub fn partner(&self) -> Option<Partner> {
        self.core.last().partner
    }

    /// What has passed through the session so far.
    pub fn delivered(&self) -> Delivered {
        self.core.last().delivered
    }

    /// Blocks that are sent and not given back yet. If it stays near the count of blocks,
    /// the Writer is the slower one; if near 0, the Reader.
    pub fn blocks_under_way(&self) -> u64 {
        self.core.last().under_way
    }

    /// How long this end has waited for its partner so far: for empty blocks or for
    /// data, and at the end for the verdict. Waits of some microseconds, which do not
    /// sleep, are not counted; nor are those for which somebody else sleeps: `poll_…` (all
    /// that a task waits for), and [`Reader::arm`](crate::Reader::arm).
    ///
    /// The end that waits much is the faster one: what the other one reads from or
    /// writes to is the bottleneck.
    pub fn waited(&self) -> Duration {
        self.core.last().waited
    }

    /// Shows the partner one of [`FIGURES`] numbers of progress, whose meaning is
    /// the application's. Without a partner, nothing happens.
    ///
    /// # Panics
    ///
    /// If `index` is not below [`FIGURES`].
    pub fn set_figure(&self, index: usize, value: u64) {
        assert!(index < FIGURES);
        self.core.with_pair(|pair| {
            pair.own.control().figures.0[index].store(value, Ordering::Relaxed);
        });
    }

    /// This process's own numbers, each as last set; zeros before.
    pub fn figures(&self) -> [u64; FIGURES] {
        self.core.last().own_figures
    }

    /// The partner's numbers, each as last set there; zeros before.
    pub fn partner_figures(&self) -> [u64; FIGURES] {
        self.core.last().partner_figures
    }
}
