//! The two halves of a copy, each in a thread of its own: whatever it is stuck in,
//! the thread that supervises it is not.
//!
//! ```text
//! source ──fill──> empty block ──send──> │ ──> data block ──write──> partial file ──rename──> destination
//!                       ^                │          │                     │
//!                       └────────────────┴── back ──┘           sync, again and again
//! ```

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use brigade::{Error, Monitor, Options, Refusal, Seat, Side};

use crate::copy::child::{self, Word};
use crate::copy::partners::Partners;
use crate::copy::{reading, writing};
use crate::failure::{Exit, Failure};
use crate::outcome::Report;
use crate::request::plan::Plan;
use crate::sys::Interruption;
use crate::talk::agreement::Step;
use crate::talk::greeting::Greeting;
use crate::writer::gate::CommitGate;

/// What the supervisor gets to hear.
pub(crate) enum Event {
    /// The role is settled.
    Seated {
        side: Side,
        monitor: Monitor,
        is_first: bool,
    },
    /// This half waits for its partner.
    Waiting,
    /// A partner is here: the first one, or the next. How many that makes.
    Paired { number: u64, monitor: Monitor },
    /// The two are about to agree.
    Agreement(Step),
    /// The Reader has sent everything: the rest is the Writer's.
    AllSent,
    /// This half has ended.
    Done(Result<Report, Failure>),
    /// The partner of that number is gone, or gave up.
    PartnerGone(u64, Failure),
    /// The partner of that number died, and its place is held from now on.
    Lost(u64, Failure),
    /// This half has its own place again, and waits.
    Held(Monitor),
    /// Who came in its place did not take it.
    NotTaken(Failure),
    /// Nothing would notice the partner's death: the copy must not go on.
    Unwatched(Failure),
    /// --both has started a process.
    ChildStarted(u32),
    /// A process that --both started has ended.
    ChildEnded(u32, Option<i32>),
    /// A signal that means stop.
    Interruption(Interruption),
}

/// Joins, and does this process's half; with --takeover, until `given_up` is set, with
/// another partner if one dies. With --both there is a partner that waits for a word, or
/// the reason why it could not be started.
pub(super) fn run(
    plan: &Plan,
    word: Option<Result<Word, Failure>>,
    gate: &Arc<CommitGate>,
    events: &Sender<Event>,
    given_up: &Arc<AtomicBool>,
) -> Result<Report, Failure> {
    let start_partner = word.is_some();
    if plan.when_told {
        child::wait_for_word()?;
    }
    let seat = take_seat(plan);
    let seat = seat.map_err(|error| match error {
        Error::Refused {
            reason: Refusal::SameSide,
            ..
        } if start_partner => {
            let message = format!("the reader is at this copy already; {JOIN_IT}");
            Failure::new(Exit::Failed, message)
        }
        // Of a small source, --both has fewer blocks than whoever waits.
        Error::Refused {
            reason: Refusal::OtherGeometry { .. },
            ..
        } if start_partner => {
            let message = format!("another process is at this copy already; {JOIN_IT}");
            Failure::new(Exit::TooManyInstances, message)
        }
        error => error.into(),
    })?;
    let side = seat.side();
    let _ = events.send(Event::Seated {
        side,
        monitor: seat.monitor(),
        is_first: seat.is_first(),
    });
    let partners = Partners::new(plan, side, start_partner, events, given_up);
    match side {
        Side::Reader => reading::read(plan, word, seat, events, partners),
        Side::Writer => writing::write(plan, gate, seat, events, partners),
    }
}

/// What --both could be meant for where somebody waits.
pub(super) const JOIN_IT: &str =
    "without --both, the same command joins it; or choose another --name";

/// How long a process that may take a place tries if there seem to be two already: whoever
/// has just lost its partner may be about to open, on a busy machine.
const TWO_PATIENCE: Duration = Duration::from_secs(5);

/// The place of one that died is there to be taken once the one that is left has done what
/// it was at, which may be longer than it has for an answer.
fn take_seat(plan: &Plan) -> Result<Seat, Error> {
    let options = options(plan, &Greeting::of_plan(plan));
    let limit = plan.settings.takeover.unwrap_or_default();
    let began = Instant::now();
    loop {
        match Seat::take(&plan.name, &options) {
            Err(Error::NotAnswering { .. }) if began.elapsed() < limit => continue,
            Err(Error::TooManyInstances { .. }) if began.elapsed() < limit.min(TWO_PATIENCE) => {
                continue;
            }
            taken => return taken,
        }
    }
}

/// What the library gets to know of `plan`, and others by `greeting`.
pub(super) fn options(plan: &Plan, greeting: &Greeting) -> Options {
    let mut options = Options::new()
        .block_size(plan.settings.block_size)
        .block_count(plan.settings.blocks)
        .greeting(&greeting.encode());
    if let Some(side) = plan.side {
        options = options.side(side);
    }
    if let Some(wait) = plan.wait {
        options = options.wait(wait);
    }
    if let Some(limit) = plan.settings.takeover {
        options = options.takeover(limit);
    }
    for user in &plan.allow_user {
        options = options.allow_user(user);
    }
    options
}

pub(super) fn missing(what: &str) -> Failure {
    Failure::new(Exit::Usage, format!("this process has no {what}"))
}
