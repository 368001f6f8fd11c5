//! What all threads of an end share, from taking a seat to the end.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Pair;
use crate::error::{Delivered, Error};
use crate::options::Partner;
use crate::region::layout::FIGURES;
use crate::sys;

/// What outlives the change from seat to pair, shared by all threads.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) alarm: sys::Alarm,
    state: Mutex<CoreState>,
    paired: Condvar,
}

#[derive(Debug, Default)]
struct CoreState {
    pair: Option<Arc<Pair>>,
    /// The host's hold on the name: here, and not in the pair, so that the name is free
    /// as soon as the session is over, whichever threads still look at the pair. Given up
    /// under this lock: who finds the session over, finds the name free.
    seat: Option<sys::Seat>,
    aborted: Option<String>,
    /// Finished, or given up: nothing more will happen.
    over: bool,
    /// What monitors may still ask for when the pair is gone.
    last: Last,
}

/// What monitors see of a pair, or saw when it ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Last {
    pub(crate) partner: Option<Partner>,
    pub(crate) delivered: Delivered,
    /// Blocks that were sent and not given back.
    pub(crate) under_way: u64,
    /// Time that this end has slept, waiting for its partner.
    pub(crate) waited: Duration,
    pub(crate) own_figures: [u64; FIGURES],
    pub(crate) partner_figures: [u64; FIGURES],
}

impl Core {
    pub(crate) fn new() -> Result<Core, Error> {
        Ok(Core {
            alarm: sys::Alarm::new()?,
            state: Mutex::default(),
            paired: Condvar::new(),
        })
    }

    /// A panic while it was held leaves it valid: each use is a single step.
    fn state(&self) -> MutexGuard<'_, CoreState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_paired(&self, pair: &Arc<Pair>) {
        let mut state = self.state();
        if let Some(reason) = &state.aborted {
            pair.post_abort(reason);
        }
        state.pair = Some(Arc::clone(pair));
        self.paired.notify_all();
    }

    pub(crate) fn pair(&self) -> Option<Arc<Pair>> {
        self.state().pair.clone()
    }

    /// Waits until the pair is complete; `None` if the session was over before.
    pub(crate) fn wait_for_pair(&self) -> Result<Option<Arc<Pair>>, Error> {
        let mut state = self.state();
        loop {
            if let Some(reason) = state.aborted.clone() {
                return Err(Error::Aborted { reason });
            }
            if state.over {
                return Ok(None);
            }
            if let Some(pair) = &state.pair {
                return Ok(Some(Arc::clone(pair)));
            }
            let woken = self.paired.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// An error if the session was aborted in this process.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match &self.state().aborted {
            Some(reason) => Err(Error::Aborted {
                reason: reason.clone(),
            }),
            None => Ok(()),
        }
    }

    /// The first reason counts.
    pub(crate) fn abort(&self, reason: &str) {
        let mut state = self.state();
        if state.aborted.is_some() || state.over {
            return;
        }
        state.aborted = Some(reason.to_owned());
        if let Some(pair) = &state.pair {
            pair.post_abort(reason);
        }
        state.seat = None;
        self.alarm.ring();
        self.paired.notify_all();
    }

    pub(super) fn set_over(&self) {
        let mut state = self.state();
        state.over = true;
        state.seat = None;
        self.alarm.ring();
        self.paired.notify_all();
    }

    /// Keeps the name taken until the session is over.
    pub(crate) fn keep(&self, seat: sys::Seat) {
        let mut state = self.state();
        if state.aborted.is_none() && !state.over {
            state.seat = Some(seat);
        }
    }

    /// The session cannot go on, though this end may not know it yet.
    pub(crate) fn give_up_name(&self) {
        self.state().seat = None;
    }

    /// The end is gone: monitors that live on do not keep the name taken.
    pub(crate) fn release(&self) {
        let mut state = self.state();
        state.seat = None;
        if let Some(pair) = state.pair.take() {
            state.last = pair.last();
        }
    }

    /// How the pair stands, or stood when it ended.
    pub(crate) fn last(&self) -> Last {
        let state = self.state();
        match &state.pair {
            Some(pair) => pair.last(),
            None => state.last.clone(),
        }
    }

    /// Lets the partner know if it broke the protocol.
    pub(crate) fn tell<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error @ Error::ProtocolViolation { .. }) = &result {
            self.abort(&error.to_string());
        }
        result
    }
}
