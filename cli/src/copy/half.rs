//! The two halves of a copy, each in a thread of its own: whatever it is stuck in,
//! the thread that supervises it is not.
//!
//! ```text
//! source ──fill──> empty block ──send──> │ ──> data block ──write──> partial file ──rename──> destination
//!                       ^                │          │                     │
//!                       └────────────────┴── back ──┘           sync, again and again
//! ```

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use brigade::{Error, Monitor, Options, Role, Seat, Side};

use crate::copy::child;
use crate::failure::{Exit, Failure};
use crate::outcome::Report;
use crate::reader::pump;
use crate::reader::source::Source;
use crate::request::endpoint::Endpoint;
use crate::request::plan::Plan;
use crate::sys::{self, FollowLast, Interruption};
use crate::talk::greeting::Greeting;
use crate::talk::wire;
use crate::writer::gate::CommitGate;
use crate::writer::sink;

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
    /// The partner is here; the source's size, if it is known.
    Paired(Monitor, Option<u64>),
    /// The Reader has sent everything: the rest is the Writer's.
    AllSent,
    /// This half has ended.
    Done(Result<Report, Failure>),
    /// The partner is gone, or gave up.
    PartnerGone(Failure),
    /// Nothing would notice the partner's death: the copy must not go on.
    Unwatched(Failure),
    /// --both has started the second process.
    ChildStarted,
    /// The process that --both started has ended.
    ChildEnded(Option<i32>),
    /// A signal that means stop.
    Interruption(Interruption),
}

/// Joins, and does this process's half.
pub(crate) fn run(
    plan: &Plan,
    start_partner: bool,
    gate: &Arc<CommitGate>,
    events: &Sender<Event>,
) -> Result<Report, Failure> {
    let greeting = Greeting::of_plan(plan);
    let seat = Seat::take(&plan.name, &options(plan, &greeting))?;
    let _ = events.send(Event::Seated {
        side: seat.side(),
        monitor: seat.monitor(),
        is_first: seat.is_first(),
    });
    match seat.side() {
        Side::Reader => read(plan, &greeting, start_partner, seat, events),
        Side::Writer => write(plan, &greeting, gate, seat, events),
    }
}

/// What the library gets to know of `plan`.
fn options(plan: &Plan, greeting: &Greeting) -> Options {
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
    for user in &plan.allow_user {
        options = options.allow_user(user);
    }
    options
}

fn read(
    plan: &Plan,
    own: &Greeting,
    start_partner: bool,
    seat: Seat,
    events: &Sender<Event>,
) -> Result<Report, Failure> {
    let place = plan.source.as_ref().ok_or_else(|| missing("SOURCE"))?;
    let mut opened = match prepare(plan, place, start_partner, &seat, events) {
        Ok(opened) => opened,
        Err(failure) => {
            seat.abort(&failure.message);
            return Err(failure);
        }
    };
    let Role::Reader(reader) = seat.wait()? else {
        return Err(missing("role"));
    };
    let monitor = reader.monitor();
    if let Some(Err(failure)) = opened.as_mut().map(Source::begin) {
        reader.abort(&failure.message);
        return Err(failure);
    }
    // What takes time to open (a fifo) has no size.
    let size = opened.as_ref().and_then(Source::size);
    paired(&monitor, size, events);
    let started = Instant::now();
    let keep = Greeting::decode(reader.partner().greeting()).keep;
    if keep.is_some_and(|keep| keep.applies_to(own.modified)) {
        // Nothing is taken from a source that others may want. The Writer decides
        // alike, and then gives up.
        let ended = reader.finish();
        return ended_kept(ended.map(drop), &monitor);
    }
    let filled = match opened {
        Some(source) => Ok(source),
        None => Source::open(place),
    }
    .and_then(|mut source| pump::fill(plan, &reader, &mut source));
    match filled {
        Ok(filled) => {
            let _ = events.send(Event::AllSent);
            if let Err(error) = reader.finish() {
                return ended_kept(Err(error), &monitor);
            }
            Ok(Report {
                bytes: filled.bytes,
                holes: filled.holes,
                took: started.elapsed(),
                on_disk: monitor.partner_figures()[wire::ON_DISK] == 1,
                digest: filled.digest,
                kept: None,
            })
        }
        Err(failure) => {
            let ended = reader.check();
            // The partner's own failure is no news to it, and this does nothing.
            reader.abort(&failure.message);
            ended_kept(ended, &monitor).map_err(|_| failure)
        }
    }
}

/// What need not wait for the partner, above all what is wrong with the source.
fn prepare(
    plan: &Plan,
    place: &Endpoint,
    start_partner: bool,
    seat: &Seat,
    events: &Sender<Event>,
) -> Result<Option<Source>, Failure> {
    let opened = match Source::opens_at_once(place) {
        true => Some(Source::open(place)?),
        false => None,
    };
    if start_partner {
        if !seat.is_first() {
            let message = "another process is already at this copy; choose another --name";
            return Err(Failure::new(Exit::TooManyInstances, message));
        }
        child::start(plan, events)?;
    } else if seat.is_first() {
        let _ = events.send(Event::Waiting);
    }
    Ok(opened)
}

/// What is made of the end of a session that had no verdict: success, if the Writer
/// gave up because its destination is kept.
fn ended_kept(ended: Result<(), Error>, monitor: &Monitor) -> Result<Report, Failure> {
    let is_kept = monitor.partner_figures()[wire::ON_DISK] == wire::KEPT;
    match ended {
        Err(Error::PartnerAborted {
            reason, partner, ..
        }) if is_kept && partner.side() == Side::Writer => Ok(Report::kept(reason)),
        Err(error) => Err(error.into()),
        Ok(()) => {
            let message = "the writer did not keep its destination, though it said so";
            Err(Failure::new(Exit::Partner, message))
        }
    }
}

fn write(
    plan: &Plan,
    own: &Greeting,
    gate: &Arc<CommitGate>,
    seat: Seat,
    events: &Sender<Event>,
) -> Result<Report, Failure> {
    let place = plan
        .destination
        .as_ref()
        .ok_or_else(|| missing("DESTINATION"))?;
    // What is wrong with the directory should not wait for a partner.
    if let Err(failure) = check_directory(place) {
        seat.abort(&failure.message);
        return Err(failure);
    }
    if seat.is_first() {
        if plan.started_by_both {
            let message = "the first process ended before this one joined";
            // It was started by this user, who hears why from it.
            return Err(Failure::new(Exit::Partner, message).reported());
        }
        let _ = events.send(Event::Waiting);
    }
    let Role::Writer(writer) = seat.wait()? else {
        return Err(missing("role"));
    };
    let greeting = Greeting::decode(writer.partner().greeting());
    let monitor = writer.monitor();
    paired(&monitor, greeting.size, events);
    let started = Instant::now();
    let target = match sink::find(plan, place, &greeting) {
        Ok(target) => target,
        Err(failure) => {
            writer.abort(&failure.message);
            return Err(failure);
        }
    };
    if let Some(words) = target
        .as_ref()
        .and_then(|target| sink::kept(plan, own.keep, target, &greeting))
    {
        monitor.set_figure(wire::ON_DISK, wire::KEPT);
        writer.abort(&words);
        return Ok(Report::kept(words));
    }
    match sink::drain(plan, target, &greeting, gate, &writer) {
        Ok(drained) => {
            // The destination is complete. That the Reader may have died since it
            // was looked at last changes nothing about that.
            let _ = writer.finish();
            Ok(Report {
                bytes: drained.bytes,
                holes: drained.holes,
                took: started.elapsed(),
                on_disk: drained.on_disk,
                digest: drained.digest,
                kept: None,
            })
        }
        Err(failure) => {
            writer.abort(&failure.message);
            Err(failure)
        }
    }
}

fn missing(what: &str) -> Failure {
    Failure::new(Exit::Usage, format!("this process has no {what}"))
}

fn check_directory(place: &Endpoint) -> Result<(), Failure> {
    let Endpoint::Path(path) = place else {
        return Ok(());
    };
    let found = sys::resolve(path, FollowLast::Yes);
    found
        .map(drop)
        .map_err(|error| Failure::io("create", path, &error))
}

/// Tells the supervisor, and watches over the partner in a thread of its own, since
/// this one may be stuck in a read or a write when the partner dies.
fn paired(monitor: &Monitor, size: Option<u64>, events: &Sender<Event>) {
    let _ = events.send(Event::Paired(monitor.clone(), size));
    let watch = {
        let (monitor, events) = (monitor.clone(), events.clone());
        move || {
            let Err(error) = monitor.watch() else {
                return;
            };
            let event = match ended_kept(Err(error), &monitor) {
                // The half itself may be stuck in a read of a silent source.
                Ok(report) => Event::Done(Ok(report)),
                // That this half gave up is its own to tell.
                Err(failure) if failure.already_reported => return,
                Err(failure) => Event::PartnerGone(failure),
            };
            let _ = events.send(event);
        }
    };
    let thread = std::thread::Builder::new().name("watch".into());
    if let Err(error) = thread.spawn(watch) {
        let failure = Failure::system("start a thread", &error);
        let _ = events.send(Event::Unwatched(failure));
    }
}
