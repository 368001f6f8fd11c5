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

use brigade::{Error, Monitor, Options, Reader, Role, Seat, Side};

use crate::copy::child;
use crate::failure::{Exit, Failure};
use crate::outcome::Report;
use crate::reader::pump::{self, Filled};
use crate::reader::source::Source;
use crate::request::endpoint::Endpoint;
use crate::request::plan::Plan;
use crate::request::settings::Preserve;
use crate::sys::{self, FollowLast, Interruption};
use crate::talk::agreement::{self, Decision};
use crate::talk::greeting::Greeting;
use crate::talk::source_facts::SourceFacts;
use crate::talk::wire;
use crate::writer::gate::CommitGate;
use crate::writer::receive::{Received, receive};

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
    /// The partner is here.
    Paired(Monitor),
    /// The Reader has looked at its source: its size, if it is known.
    SourceSize(Option<u64>),
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
    let seat = Seat::take(&plan.name, &options(plan))?;
    let _ = events.send(Event::Seated {
        side: seat.side(),
        monitor: seat.monitor(),
        is_first: seat.is_first(),
    });
    match seat.side() {
        Side::Reader => read(plan, start_partner, seat, events),
        Side::Writer => write(plan, gate, seat, events),
    }
}

/// What the library gets to know of `plan`.
fn options(plan: &Plan) -> Options {
    let mut options = Options::new()
        .block_size(plan.settings.block_size)
        .block_count(plan.settings.blocks)
        .greeting(&Greeting::of_plan(plan).encode());
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
    start_partner: bool,
    seat: Seat,
    events: &Sender<Event>,
) -> Result<Report, Failure> {
    let place = plan.source.as_ref().ok_or_else(|| missing("SOURCE"))?;
    if let Err(failure) = prepare(plan, place, start_partner, &seat, events) {
        seat.abort(&failure.message);
        return Err(failure);
    }
    let Role::Reader(reader) = seat.wait()? else {
        return Err(missing("role"));
    };
    let monitor = reader.monitor();
    paired(&monitor, events);
    let started = Instant::now();
    let filled = match send(plan, place, &reader, events) {
        Ok(Sent::Whole(filled)) => filled,
        // The Writer is about to say why, and to give up.
        Ok(Sent::Nothing) => return ended_kept(reader.finish().map(drop), &monitor),
        Err(failure) => {
            let ended = reader.check();
            // The partner's own failure is no news to it, and this does nothing.
            reader.abort(&failure.message);
            return match failure.is_partners() || failure.already_reported {
                true => ended_kept(ended, &monitor).map_err(|_| failure),
                // That the source changed, for instance: then nothing was kept rightly.
                false => Err(failure),
            };
        }
    };
    let _ = events.send(Event::AllSent);
    monitor.set_figure(wire::ALL_READ, wire::ALL_SENT);
    if let Err(error) = reader.finish() {
        let knows_the_end = matches!(error, Error::PartnerAborted { .. });
        let ended = ended_kept(Err(error), &monitor);
        return ended.map_err(|failure| match knows_the_end || failure.already_reported {
            true => failure,
            false => failure.remark(&may_be_complete(plan)),
        });
    }
    Ok(Report {
        bytes: filled.bytes,
        holes: filled.holes,
        took: started.elapsed(),
        on_disk: monitor.partner_figures()[wire::STATE] == wire::ALL_ON_DISK,
        digest: filled.digest,
        kept: None,
    })
}

/// What a Reader can tell that has no verdict, though it has sent everything.
pub(super) fn may_be_complete(plan: &Plan) -> String {
    format!(
        "everything was sent, so the writer may still complete the copy: \
         look at {} and at the writer's exit status",
        plan.destination_words()
    )
}

/// What was sent once the Writer had decided.
enum Sent {
    Whole(Filled),
    /// The destination is kept.
    Nothing,
}

/// Tells what the source is, and sends it if the copy shall begin.
fn send(
    plan: &Plan,
    place: &Endpoint,
    reader: &Reader,
    events: &Sender<Event>,
) -> Result<Sent, Failure> {
    agreement::check_version(reader.partner())?;
    let opened = Source::open_at_once(place)?;
    let settings = &plan.settings;
    let mut facts = SourceFacts {
        digest: settings.verify,
        metadata: settings.preserve != Preserve::default(),
        attributes: settings.preserve.xattr,
        ..opened.as_ref().map(Source::facts).unwrap_or_default()
    };
    let expected = settings.expected;
    expected.check_told(&plan.source_words(), facts.size)?;
    facts.size = facts.size.or(expected.size);
    let _ = events.send(Event::SourceSize(facts.size));
    match (agreement::ask(reader, &facts)?, &opened) {
        (Decision::Copy, _) => {}
        (Decision::Keep, _) | (Decision::KeepAsNewer, None) => return Ok(Sent::Nothing),
        (Decision::KeepAsNewer, Some(source)) => {
            // It may be newer than what was told.
            source.check_unchanged()?;
            return Ok(Sent::Nothing);
        }
    }
    let mut source = match opened {
        Some(source) => source,
        None => Source::open(place)?,
    };
    pump::fill(plan, reader, &mut source).map(Sent::Whole)
}

/// What need not wait for the partner, above all what is wrong with the source.
fn prepare(
    plan: &Plan,
    place: &Endpoint,
    start_partner: bool,
    seat: &Seat,
    events: &Sender<Event>,
) -> Result<(), Failure> {
    // It is opened anew when the Writer is there: it may be another one by then.
    Source::open_at_once(place)?;
    if start_partner {
        if !seat.is_first() {
            let message = "another process is already at this copy; choose another --name";
            return Err(Failure::new(Exit::TooManyInstances, message));
        }
        child::start(plan, events)?;
    } else if seat.is_first() {
        let _ = events.send(Event::Waiting);
    }
    Ok(())
}

/// What is made of the end of a session that had no verdict: success, if the Writer
/// gave up because its destination is kept.
fn ended_kept(ended: Result<(), Error>, monitor: &Monitor) -> Result<Report, Failure> {
    let decision = Decision::shown_to(monitor);
    let is_kept = decision.is_some_and(|decision| decision != Decision::Copy);
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
    paired(&writer.monitor(), events);
    let started = Instant::now();
    let tell_size = |size| drop(events.send(Event::SourceSize(size)));
    match receive(plan, place, gate, &writer, tell_size) {
        Ok(Received::Kept(words)) => {
            writer.abort(&words);
            Ok(Report::kept(words))
        }
        Ok(Received::Whole(drained)) => {
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
    let Err(error) = found else {
        return Ok(());
    };
    let failure = Failure::io("create", path, &error);
    Err(match path.parent() {
        Some(directory) if error.kind() == std::io::ErrorKind::NotFound => {
            let command = sys::quoted(directory.as_os_str());
            failure.remark(&format!("its directory is missing: mkdir -p {command}"))
        }
        _ => failure,
    })
}

/// A Reader that has sent everything is needed no more: the Writer finds the end of the
/// data, or by itself that it is missing.
fn is_no_loss(error: &Error, writer: &Monitor) -> bool {
    let reader_died =
        matches!(error, Error::PartnerDied { partner, .. } if partner.side() == Side::Reader);
    reader_died && writer.partner_figures()[wire::ALL_READ] == wire::ALL_SENT
}

/// Tells the supervisor, and watches over the partner in a thread of its own, since
/// this one may be stuck in a read or a write when the partner dies.
fn paired(monitor: &Monitor, events: &Sender<Event>) {
    let _ = events.send(Event::Paired(monitor.clone()));
    let watch = {
        let (monitor, events) = (monitor.clone(), events.clone());
        move || {
            let Err(error) = monitor.watch() else {
                return;
            };
            // Whether it was kept rightly is for the half to find out.
            let is_looked_at = Decision::shown_to(&monitor) == Some(Decision::KeepAsNewer);
            if is_no_loss(&error, &monitor) || is_looked_at {
                return;
            }
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
