//! What all threads of an end share, from taking a seat to the end.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::Pair;
use crate::error::{Delivered, Error};
use crate::options::Partner;
use crate::region::layout::FIGURES;
use crate::sys;

/// What a process holds of a name.
#[derive(Clone, Debug)]
pub(crate) enum Hold {
    /// The host's.
    Seat(Arc<sys::Seat>),
    /// The second's, if the session outlives a partner.
    Claim(Arc<sys::Claim>),
}

impl Hold {
    pub(crate) fn is_of(&self, name: &sys::Name) -> bool {
        match self {
            Hold::Seat(seat) => seat.is_of(name),
            Hold::Claim(claim) => claim.is_of(name),
        }
    }
}

/// What outlives the change from seat to pair, shared by all threads.
#[derive(Debug)]
pub(crate) struct Core {
    state: Mutex<CoreState>,
    paired: Condvar,
    origin: sys::Origin,
    /// That of the other lane, in a session of both ways: they end together, unless well.
    sibling: OnceLock<Weak<Core>>,
    has_one_processor: OnceLock<bool>,
}

#[derive(Debug, Default)]
struct CoreState {
    /// Ends the waits of joining; there until the pair is, whose link can be hung up.
    alarm: Option<Arc<sys::Alarm>>,
    pair: Option<Arc<Pair>>,
    /// The process's hold on the name: here, and not in the pair, so that the name is free
    /// as soon as the session is over, whichever threads still look at the pair. Given up
    /// under this lock: who finds the session over, finds the name free. Each lane of a
    /// session keeps it.
    hold: Option<Hold>,
    /// Once the partner is lost, the hold on the name goes on to the next pair.
    outlives_pair: bool,
    aborted: Option<Aborted>,
    /// Finished, or given up: nothing more will happen.
    over: bool,
    /// What monitors may still ask for when the pair is gone.
    last: Last,
}

/// Why this process gave up.
#[derive(Clone, Debug)]
struct Aborted {
    code: u32,
    reason: String,
}

impl From<Aborted> for Error {
    fn from(Aborted { code, reason }: Aborted) -> Error {
        Error::Aborted { code, reason }
    }
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

impl CoreState {
    fn give_up_name(&mut self) {
        if !self.outlives_pair {
            self.hold = None;
        }
    }

    /// The name is free then, and every wait of this process returns.
    fn end_waits(&mut self) {
        self.hold = None;
        if let Some(alarm) = &self.alarm {
            alarm.ring();
        }
        if let Some(pair) = &self.pair {
            pair.link.hang_up();
        }
    }
}

#[cold]
#[inline(never)]
pub(crate) fn forked() -> Error {
    Error::InvalidUse("the session is the parent's: this process was forked off it")
}

impl Core {
    pub(crate) fn new() -> Result<Core, Error> {
        let alarm = Some(Arc::new(sys::Alarm::new()?));
        Ok(Core {
            state: Mutex::new(CoreState {
                alarm,
                ..CoreState::default()
            }),
            paired: Condvar::new(),
            origin: sys::Origin::here()?,
            sibling: OnceLock::new(),
            has_one_processor: OnceLock::new(),
        })
    }

    /// That of the second lane of the session whose first lane's this is.
    pub(crate) fn second_lane(self: &Arc<Core>) -> Result<Arc<Core>, Error> {
        let second = Arc::new(Core {
            state: Mutex::new(CoreState {
                alarm: self.state().alarm.clone(),
                ..CoreState::default()
            }),
            paired: Condvar::new(),
            origin: self.origin,
            sibling: OnceLock::from(Arc::downgrade(self)),
            has_one_processor: self.has_one_processor.clone(),
        });
        match self.sibling.set(Arc::downgrade(&second)) {
            Ok(()) => Ok(second),
            Err(_) => Err(Error::InvalidUse("a session has two lanes at most")),
        }
    }

    /// Asks the system what the pair will need to know of it, while its partner is busy.
    pub(crate) fn look_ahead(&self) {
        self.has_one_processor();
        sys::User::own().is_certain();
    }

    /// For this process, and the two together if they are in one container.
    pub(crate) fn has_one_processor(&self) -> bool {
        let ask = || std::thread::available_parallelism().is_ok_and(|n| n.get() == 1);
        *self.has_one_processor.get_or_init(ask)
    }

    fn sibling(&self) -> Option<Arc<Core>> {
        self.sibling.get()?.upgrade()
    }

    pub(crate) fn origin(&self) -> sys::Origin {
        self.origin
    }

    /// What ends the waits of joining.
    pub(crate) fn alarm(&self) -> Result<Arc<sys::Alarm>, Error> {
        self.check_here()?;
        let joined = Error::InvalidUse("this process has joined already");
        self.state().alarm.clone().ok_or(joined)
    }

    /// An error in a forked child, whose copy of a session is not its own: it may not even
    /// lock the state, which may be locked by a thread that is not there.
    pub(crate) fn check_here(&self) -> Result<(), Error> {
        match self.origin.is_here() {
            true => Ok(()),
            false => Err(forked()),
        }
    }

    /// A panic while it was held leaves it valid: each use is a single step.
    fn state(&self) -> MutexGuard<'_, CoreState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_paired(&self, pair: &Arc<Pair>) {
        let mut state = self.state();
        if let Some(aborted) = &state.aborted {
            pair.post_abort(aborted.code, &aborted.reason);
        }
        state.pair = Some(Arc::clone(pair));
        state.alarm = None;
        self.paired.notify_all();
    }

    /// Lets `use_it` use the pair, if it is there, before anybody can end it.
    pub(crate) fn with_pair(&self, use_it: impl FnOnce(&Pair)) {
        if self.check_here().is_ok()
            && let Some(pair) = &self.state().pair
        {
            use_it(pair);
        }
    }

    /// Waits until the pair is complete, until `deadline`; `None` if the session was over
    /// before.
    pub(crate) fn wait_for_pair(
        &self,
        deadline: Option<Instant>,
    ) -> Result<Option<Arc<Pair>>, Error> {
        self.check_here()?;
        let mut state = self.state();
        loop {
            if let Some(aborted) = state.aborted.clone() {
                return Err(aborted.into());
            }
            if state.over {
                return Ok(None);
            }
            if let Some(pair) = &state.pair {
                return Ok(Some(Arc::clone(pair)));
            }
            state = self.sleep_until_paired(state, deadline)?;
        }
    }

    /// One sleep, which may end early.
    fn sleep_until_paired<'s>(
        &self,
        state: MutexGuard<'s, CoreState>,
        deadline: Option<Instant>,
    ) -> Result<MutexGuard<'s, CoreState>, Error> {
        let Some(deadline) = deadline else {
            let woken = self.paired.wait(state);
            return Ok(woken.unwrap_or_else(PoisonError::into_inner));
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::TimedOut);
        }
        let woken = self.paired.wait_timeout(state, left);
        Ok(woken.unwrap_or_else(PoisonError::into_inner).0)
    }

    /// An error if the session was aborted in this process.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.check_here()?;
        match self.state().aborted.clone() {
            Some(aborted) => Err(aborted.into()),
            None => Ok(()),
        }
    }

    pub(crate) fn abort(&self, reason: &str) {
        self.abort_with(0, reason);
    }

    /// The first reason counts. Ends the other lane, too.
    pub(crate) fn abort_with(&self, code: u32, reason: &str) {
        // Each has a lock of its own, and only one is held at a time.
        if self.abort_lane(code, reason)
            && let Some(sibling) = self.sibling()
        {
            sibling.abort_lane(code, reason);
        }
    }

    /// Whether this did it, and not an earlier abort, or the end.
    pub(super) fn abort_lane(&self, code: u32, reason: &str) -> bool {
        if self.check_here().is_err() {
            return false;
        }
        let mut state = self.state();
        if state.aborted.is_some() || state.over {
            return false;
        }
        state.aborted = Some(Aborted {
            code,
            reason: reason.to_owned(),
        });
        if let Some(pair) = &state.pair {
            pair.post_abort(code, reason);
        }
        state.end_waits();
        self.paired.notify_all();
        true
    }

    pub(super) fn set_over(&self) {
        let mut state = self.state();
        state.over = true;
        state.end_waits();
        self.paired.notify_all();
    }

    /// Keeps the name taken until the session is over, in all its lanes; or, if it
    /// `outlives_pair`, until that is told or the end is gone.
    pub(crate) fn keep(&self, hold: Hold, outlives_pair: bool) {
        if let Some(sibling) = self.sibling() {
            sibling.keep_shared(hold.clone(), outlives_pair);
        }
        self.keep_shared(hold, outlives_pair);
    }

    fn keep_shared(&self, hold: Hold, outlives_pair: bool) {
        let mut state = self.state();
        if state.aborted.is_none() && !state.over {
            state.hold = Some(hold);
            state.outlives_pair = outlives_pair;
        }
    }

    /// The hold on the name, for the next pair, if it outlives this one.
    pub(crate) fn take_hold(&self) -> Option<Hold> {
        self.check_here().ok()?;
        let mut state = self.state();
        state.outlives_pair.then(|| state.hold.take())?
    }

    /// The session cannot go on, though this end may not know it yet; not if its place is
    /// kept for another partner.
    pub(crate) fn give_up_name(&self) {
        if self.check_here().is_ok() {
            self.state().give_up_name();
            if let Some(sibling) = self.sibling() {
                sibling.state().give_up_name();
            }
        }
    }

    /// The end is gone: monitors that live on do not keep the name taken.
    pub(crate) fn release(&self) {
        if self.check_here().is_err() {
            return;
        }
        let mut state = self.state();
        state.hold = None;
        if let Some(pair) = state.pair.take() {
            state.last = pair.last();
        }
    }

    /// How the pair stands, or stood when it ended.
    pub(crate) fn last(&self) -> Last {
        if self.check_here().is_err() {
            return Last::default();
        }
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
