//! The partners of a half: one, or with --takeover one after the other. The place of one
//! that died is held, and whoever takes it is met anew.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use brigade::{Error, Monitor, Options, Partner, Side};

use crate::copy::child::{self, Fate};
use crate::copy::half::{self, Event};
use crate::failure::{Failure, Loss};
use crate::request::plan::Plan;
use crate::talk::agreement::Step;
use crate::talk::greeting::Greeting;
use crate::talk::wire;
use crate::tell::progress::Progress;
use crate::units;

/// How long a half waits at a time for a partner that it has started: it should notice if
/// that has ended.
const AT_A_TIME: Duration = Duration::from_secs(2);

/// Between two tries of which the first one failed at once.
const PAUSE: Duration = Duration::from_millis(20);

/// How many times --both starts a half in the place of one that died.
pub(crate) const RESTARTS: u32 = 3;

/// Who gets to know that this half has its place again.
pub(super) type Seated<'s> = &'s dyn Fn(Monitor);

pub(super) struct Partners<'p> {
    plan: &'p Plan,
    side: Side,
    events: &'p Sender<Event>,
    /// This process is to end.
    given_up: Arc<AtomicBool>,
    /// How many there were, with the present one.
    number: u64,
    /// The present one and this half have agreed.
    agreed: Cell<bool>,
    /// Another process could go on where it is.
    can_be_replaced: Cell<bool>,
    /// What is known of the present one, or was of the last.
    monitor: Option<Monitor>,
    /// A place that is empty.
    vacancy: Option<Vacancy>,
    /// With --both, how many times another one may be started.
    restarts: Option<u32>,
}

/// The place of a partner that died.
struct Vacancy {
    /// Why it is empty.
    failure: Failure,
    /// When it is held no longer.
    until: Instant,
    /// What those are told that come for it.
    greeting: Greeting,
}

impl<'p> Partners<'p> {
    pub(super) fn new(
        plan: &'p Plan,
        side: Side,
        starts_partner: bool,
        events: &'p Sender<Event>,
        given_up: &Arc<AtomicBool>,
    ) -> Partners<'p> {
        Partners {
            plan,
            side,
            events,
            given_up: Arc::clone(given_up),
            number: 0,
            agreed: Cell::new(false),
            can_be_replaced: Cell::new(true),
            monitor: None,
            vacancy: None,
            restarts: match (starts_partner, plan.started_by_both) {
                (true, _) => Some(RESTARTS),
                (false, true) => Some(plan.restarts),
                (false, false) => None,
            },
        }
    }

    /// There is another one. What is set when that is lost in turn.
    pub(super) fn met(&mut self, monitor: &Monitor) -> Arc<AtomicBool> {
        self.number += 1;
        self.agreed.set(false);
        self.monitor = Some(monitor.clone());
        let is_lost = Arc::new(AtomicBool::new(false));
        let number = self.number;
        let _ = self.events.send(Event::Paired {
            number,
            monitor: monitor.clone(),
        });
        watch(number, monitor, &is_lost, self.events);
        is_lost
    }

    /// How far the two have come to agree.
    pub(super) fn step(&self, step: Step) {
        if let Step::Answered {
            can_be_replaced, ..
        } = step
        {
            self.agreed.set(true);
            self.can_be_replaced.set(can_be_replaced);
        }
        let _ = self.events.send(Event::Agreement(step));
    }

    pub(super) fn has_agreed(&self) -> bool {
        self.agreed.get()
    }

    /// Whether another partner may do better than the one that `failure` is about.
    pub(super) fn may_go_on(&self, failure: &Failure) -> bool {
        let takes_over = self.plan.settings.takeover.is_some() && self.restarts != Some(0);
        if !takes_over || failure.already_reported {
            return false;
        }
        match failure.loss {
            None => false,
            Some(Loss::Died) => self.could_be_replaced(),
            // One that came in another's place is no reason to give that up.
            Some(Loss::GaveUp | Loss::Unfit) => self.number > 1 && !self.agreed.get(),
        }
    }

    /// Before the two have agreed, nothing is lost with the present one.
    fn could_be_replaced(&self) -> bool {
        !self.agreed.get() || self.can_be_replaced.get()
    }

    /// A failure that no other partner mends, with the reason if that was asked for.
    pub(super) fn end(&self, failure: Failure) -> Failure {
        let is_missed = failure.loss == Some(Loss::Died) && !failure.already_reported;
        if self.plan.settings.takeover.is_none() || !is_missed || self.could_be_replaced() {
            return failure;
        }
        failure.remark(match self.side.other() {
            Side::Reader => "its place is not held: what it had read cannot be read again",
            Side::Writer => "its place is not held: no other process can go on with what it wrote",
        })
    }

    /// Waits for another partner by `rejoin`, in place of the one that `failure` is about.
    pub(super) fn next<T>(
        &mut self,
        failure: Failure,
        mut rejoin: impl FnMut(&Options, Seated<'_>) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        let limit = self.plan.settings.takeover.unwrap_or_default();
        if self.agreed.get() {
            // All that was lost before was found again.
            self.vacancy = None;
        }
        let vacancy = match self.vacancy.take() {
            Some(vacancy) => {
                let _ = self.events.send(Event::NotTaken(failure));
                vacancy
            }
            None => {
                let (number, failure_too) = (self.number, failure.clone());
                let _ = self.events.send(Event::Lost(number, failure_too));
                Vacancy {
                    failure,
                    until: Instant::now() + limit,
                    greeting: self.greeting(),
                }
            }
        };
        let first = || vacancy.failure.clone();
        let options = half::options(self.plan, &vacancy.greeting).side(self.side);
        let mut started = self.start_another()?;
        let found = loop {
            if self.given_up.load(Ordering::Relaxed) {
                return Err(first().reported());
            }
            let left = vacancy.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let limit = units::duration(limit);
                return Err(first().remark(&format!("nobody took its place within {limit}")));
            }
            if started.as_ref().is_some_and(Fate::has_ended) {
                if self.restarts == Some(0) {
                    return Err(first().remark("no other one could take its place"));
                }
                started = self.start_another()?;
            }
            let wait = started.as_ref().map_or(left, |_| left.min(AT_A_TIME));
            let seated = |monitor| drop(self.events.send(Event::Held(monitor)));
            match rejoin(&options.clone().wait(wait), &seated) {
                Ok(found) => break found,
                // This process is to end, if it was aborted.
                Err(Error::NoPartner { .. } | Error::Aborted { .. }) => {}
                Err(
                    Error::TooManyInstances { .. }
                    | Error::NotAnswering { .. }
                    | Error::Refused { .. }
                    | Error::PartnerDied { .. }
                    | Error::PartnerAborted { .. }
                    | Error::ProtocolViolation { .. },
                ) => std::thread::sleep(PAUSE),
                Err(error) => return Err(error.into()),
            }
        };
        self.vacancy = Some(vacancy);
        Ok(found)
    }

    /// What others get to know while the place of the partner is held.
    fn greeting(&self) -> Greeting {
        let own = Greeting::of_plan(self.plan);
        let Some(monitor) = &self.monitor else {
            return own;
        };
        let theirs = monitor.partner();
        let theirs = theirs.map(|partner| Greeting::decode(partner.greeting()));
        let lost = self.side.other();
        let progress = Progress::of(self.side, monitor);
        Greeting {
            size: own.size.or(theirs.and_then(|theirs| theirs.size)),
            lost: Some(lost),
            // With --both, nobody need type anything.
            run: (self.restarts.is_none()).then(|| successor_command(self.plan, lost, monitor)),
            so_far: Some(progress.so_far()),
            ..own
        }
    }

    /// What one of this user is told that is not fit for the place.
    pub(super) fn to_unfit(&self, failure: &Failure) -> String {
        let is_own = |monitor: &Monitor| monitor.partner().is_some_and(|of| of.is_own_user());
        let greeting = self.vacancy.as_ref().map(|vacancy| &vacancy.greeting);
        let run = greeting.and_then(|greeting| greeting.run.as_ref());
        let run = run.filter(|_| self.monitor.as_ref().is_some_and(is_own));
        with_command(&failure.message, run.map(String::as_str))
    }

    /// With --both, another process in the place of the one that died.
    fn start_another(&mut self) -> Result<Option<Fate>, Failure> {
        let Some(left @ 1..) = self.restarts else {
            return Ok(None);
        };
        self.restarts = Some(left - 1);
        let partner = self.side.other();
        child::start(self.plan, partner, left - 1, self.events).map(Some)
    }
}

/// What the library cuts a reason to, in bytes.
const REASON_BYTES_MAX: usize = 1024;

/// `why`, and what to type, if there is room for all of it: a command of which the end is
/// missing looks like a whole one.
fn with_command(why: &str, run: Option<&str>) -> String {
    let told = run.map(|run| format!("{why}; run: {run}"));
    let whole = told.filter(|told| told.len() <= REASON_BYTES_MAX);
    whole.unwrap_or_else(|| why.to_owned())
}

/// What to type for who takes the place of the partner of `monitor`, which was `side`.
pub(super) fn successor_command(plan: &Plan, side: Side, monitor: &Monitor) -> String {
    // What another user says is no part of a command that this one types.
    let partner = monitor.partner().filter(Partner::is_own_user);
    let path = partner.and_then(|partner| {
        let greeting = Greeting::decode(partner.greeting());
        match side {
            Side::Reader => greeting.source,
            Side::Writer => greeting.destination,
        }
    });
    let path = path.filter(|path| is_as_given(path));
    plan.successor_command.line(path.as_deref())
}

/// Whether a path that is told as it can be shown is surely the one that was given: what
/// cannot be shown is `?`, or `\xff` ([`Greeting`]).
fn is_as_given(shown: &str) -> bool {
    !shown.contains('?') && !shown.contains(r"\x")
}

/// Watches over a partner in a thread of its own, since the half's may be stuck in a read or
/// a write when the partner dies.
fn watch(number: u64, monitor: &Monitor, is_lost: &Arc<AtomicBool>, events: &Sender<Event>) {
    let watch = {
        let (monitor, events, is_lost) = (monitor.clone(), events.clone(), Arc::clone(is_lost));
        move || {
            let Err(error) = monitor.watch() else {
                return;
            };
            if is_no_loss(&error, &monitor) {
                return;
            }
            let failure = Failure::from(error);
            // That this half gave up is its own to tell.
            if !failure.already_reported {
                is_lost.store(true, Ordering::Relaxed);
                let _ = events.send(Event::PartnerGone(number, failure));
            }
        }
    };
    let thread = std::thread::Builder::new().name("watch".into());
    if let Err(error) = thread.spawn(watch) {
        let failure = Failure::system("start a thread", &error);
        let _ = events.send(Event::Unwatched(failure));
    }
}

/// A Reader that has sent everything is needed no more: the Writer finds the end of the
/// data, or by itself that it is missing.
fn is_no_loss(error: &Error, writer: &Monitor) -> bool {
    let reader_died =
        matches!(error, Error::PartnerDied { partner, .. } if partner.side() == Side::Reader);
    reader_died && writer.partner_figures()[wire::ALL_READ] == wire::ALL_SENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_has_no_room_is_left_out_whole() {
        let run = "brigade a b";
        let room = REASON_BYTES_MAX - "; run: ".len() - run.len();
        let why = "w".repeat(room);
        assert_eq!(with_command(&why, Some(run)), format!("{why}; run: {run}"));
        let why = "w".repeat(room + 1);
        assert_eq!(with_command(&why, Some(run)), why);
        assert_eq!(with_command("why", None), "why");
    }

    #[test]
    fn no_command_has_a_path_that_is_only_what_can_be_shown_of_another_one() {
        for path in ["/a/b", "-", "/ä b/'c'", r"C:\a\b"] {
            assert!(is_as_given(path), "{path}");
        }
        for path in ["/a?b", r"/a\xff"] {
            assert!(!is_as_given(path), "{path}");
        }
    }
}
