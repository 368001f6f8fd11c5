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

use brigade::{Error, Monitor, Options, Reader, Seat, Side, at_step};

use crate::copy::child;
use crate::failure::{Exit, Failure};
use crate::outcome::Report;
use crate::reader::pump::{self, Filled};
use crate::reader::source::Source;
use crate::request::endpoint::Endpoint;
use crate::request::plan::Plan;
use crate::request::settings::Preserve;
use crate::sys::{self, FollowLast, Interruption};
use crate::talk::agreement::{self, Answer, Because, Step};
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
    /// The two are about to agree.
    Agreement(Step),
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
    let reader = seat.wait()?.into_reader().ok_or_else(|| missing("role"))?;
    let monitor = reader.monitor();
    paired(&monitor, events);
    let started = Instant::now();
    let sent = match send(plan, place, &reader, events) {
        Ok(sent) => sent,
        Err(failure) => {
            // The partner's own failure is no news to it, and this does nothing.
            reader.abort(&failure.message);
            return Err(failure);
        }
    };
    at_step("all sent");
    monitor.set_figure(wire::ALL_READ, wire::ALL_SENT);
    let filled = match sent {
        Sent::Whole(filled) => filled,
        Sent::Nothing(words) => {
            reader.finish()?;
            agreement::check_that_no_more_was_answered(&reader)?;
            return Ok(Report::kept(words));
        }
    };
    let _ = events.send(Event::AllSent);
    if let Err(error) = reader.finish() {
        let knows_the_end = matches!(error, Error::PartnerAborted { .. });
        let failure = Failure::from(error);
        return Err(match knows_the_end || failure.already_reported {
            true => failure,
            false => failure.remark(&may_be_complete(plan)),
        });
    }
    agreement::check_that_no_more_was_answered(&reader)?;
    Ok(Report {
        bytes: filled.bytes,
        holes: filled.holes,
        took: started.elapsed(),
        on_disk: monitor.partner_figures()[wire::ALL_ON_DISK] != 0,
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
    /// The destination is kept: what the user gets to hear of it.
    Nothing(String),
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
        options: Some(settings.mark()),
        ..opened.as_ref().map(Source::facts).unwrap_or_default()
    };
    let expected = settings.expected;
    expected.check_told(&plan.source_words(), facts.size)?;
    facts.size = facts.size.or(expected.size);
    let size = facts.size;
    let _ = events.send(Event::Agreement(Step::Asked { size }));
    let answer = agreement::ask(reader, &facts)?;
    at_step("answer heard");
    let begins = matches!(answer, Answer::Begin(_));
    let _ = events.send(Event::Agreement(Step::Answered { begins }));
    let begin = match answer {
        Answer::Begin(begin) => begin,
        Answer::Keep {
            because,
            destination,
        } => {
            if let (Because::SourceIsNotNewer, Some(source)) = (because, &opened) {
                // It may be newer than what was told.
                source.check_unchanged()?;
            }
            return Ok(Sent::Nothing(because.words(&destination)));
        }
    };
    let mut source = match opened {
        Some(source) => source,
        None => Source::open(place)?,
    };
    pump::fill(plan, reader, &mut source, &begin, facts.subtrees).map(Sent::Whole)
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
    let writer = seat.wait()?.into_writer().ok_or_else(|| missing("role"))?;
    paired(&writer.monitor(), events);
    let started = Instant::now();
    let tell = |step| drop(events.send(Event::Agreement(step)));
    match receive(plan, place, gate, &writer, tell) {
        Ok(Received::Kept(words)) => {
            // Nothing has come, and nothing was changed: that stands, whatever becomes
            // of the Reader.
            let _ = writer.finish();
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
            if is_no_loss(&error, &monitor) {
                return;
            }
            let failure = Failure::from(error);
            // That this half gave up is its own to tell.
            if !failure.already_reported {
                let _ = events.send(Event::PartnerGone(failure));
            }
        }
    };
    let thread = std::thread::Builder::new().name("watch".into());
    if let Err(error) = thread.spawn(watch) {
        let failure = Failure::system("start a thread", &error);
        let _ = events.send(Event::Unwatched(failure));
    }
}
