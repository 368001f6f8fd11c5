//! The two halves of a copy, each in a thread of its own: whatever it is stuck in,
//! the thread that supervises it is not.
//!
//! ```text
//! source ──fill──> empty block ──send──> │ ──> data block ──write──> partial file ──rename──> destination
//!                       ^                │          │                     │
//!                       └────────────────┴── back ──┘           sync, again and again
//! ```

use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use brigade::{Monitor, Reader, Role, Seat, Side, Writer};

use crate::destination::{Destination, Gate};
use crate::durable::Durable;
use crate::failure::{Failure, Status};
use crate::greeting::Greeting;
use crate::plan::{Place, Plan, enter_directory};
use crate::source::Source;
use crate::sys::{self, Interruption, Kind};

/// The number of progress that both halves show: bytes that are as good as they
/// will be (on disk, unless that was not asked for), from the Writer.
pub(crate) const FIGURE_DONE: usize = 0;

/// 1 once the destination is on disk, from the Writer.
const FIGURE_ON_DISK: usize = 1;

/// Permissions of a new file, before the mask, if the source says none.
const DEFAULT_MODE: u32 = 0o666;

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
    /// --both has started the second process.
    ChildStarted,
    /// The process that --both started has ended.
    ChildEnded(Option<i32>),
    /// A signal that means stop.
    Interruption(Interruption),
}

/// A copy that succeeded.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) bytes: u64,
    pub(crate) took: Duration,
    pub(crate) on_disk: bool,
}

/// Joins, and does this process's half.
pub(crate) fn run(
    plan: &Plan,
    start_partner: bool,
    gate: &Arc<Gate>,
    events: &Sender<Event>,
) -> Result<Report, Failure> {
    let seat = Seat::take(&plan.name, &plan.options)?;
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

fn read(
    plan: &Plan,
    start_partner: bool,
    seat: Seat,
    events: &Sender<Event>,
) -> Result<Report, Failure> {
    let place = plan.source.as_ref().ok_or_else(|| missing("SOURCE"))?;
    // What is wrong with the source should not wait for a partner.
    let mut opened = None;
    if Source::opens_at_once(place) {
        match Source::open(place) {
            Ok(source) => opened = Some(source),
            Err(failure) => {
                seat.abort(&failure.message);
                return Err(failure);
            }
        }
    }
    if start_partner {
        if !seat.is_first() {
            let failure = Failure::new(
                Status::TooManyInstances,
                "another process is already at this copy; choose another --name",
            );
            seat.abort(&failure.message);
            return Err(failure);
        }
        let child = start(plan).map_err(|error| {
            let program = Path::new("the second process");
            Failure::io("start", program, &error)
        })?;
        let _ = events.send(Event::ChildStarted);
        wait_for(child, events.clone());
    } else if seat.is_first() {
        let _ = events.send(Event::Waiting);
    }
    let Role::Reader(reader) = seat.wait()? else {
        return Err(missing("role"));
    };
    let monitor = reader.monitor();
    // What takes time to open (a fifo) has no size.
    let size = opened.as_ref().and_then(Source::size);
    paired(&monitor, size, events);
    let started = Instant::now();
    let filled = match opened {
        Some(source) => Ok(source),
        None => Source::open(place),
    }
    .and_then(|mut source| fill(&reader, &mut source));
    match filled {
        Ok(bytes) => {
            let _ = events.send(Event::AllSent);
            reader.finish()?;
            Ok(Report {
                bytes,
                took: started.elapsed(),
                on_disk: monitor.partner_figures()[FIGURE_ON_DISK] == 1,
            })
        }
        Err(failure) => {
            // The partner's own failure is no news to it, and this does nothing.
            reader.abort(&failure.message);
            Err(failure)
        }
    }
}

fn fill(reader: &Reader, source: &mut Source) -> Result<u64, Failure> {
    let mut offset = 0;
    loop {
        let mut block = reader.empty_block()?;
        let len = source.fill(&mut block).map_err(|error| {
            Failure::io("read", source.path(), &error).remark(&format!("at byte {offset}"))
        })?;
        if len == 0 {
            return Ok(offset);
        }
        block.send(len, offset)?;
        offset += len as u64;
    }
}

fn write(
    plan: &Plan,
    gate: &Arc<Gate>,
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
            return Err(Failure::new(
                Status::Partner,
                "the first process ended before this one joined",
            ));
        }
        let _ = events.send(Event::Waiting);
    }
    let Role::Writer(writer) = seat.wait()? else {
        return Err(missing("role"));
    };
    let greeting = Greeting::decode(writer.partner().greeting());
    paired(&writer.monitor(), greeting.size, events);
    let started = Instant::now();
    match drain(plan, place, &greeting, gate, &writer) {
        Ok((bytes, on_disk)) => {
            // The destination is complete. That the Reader may have died since it
            // was looked at last changes nothing about that.
            let _ = writer.finish();
            Ok(Report {
                bytes,
                took: started.elapsed(),
                on_disk,
            })
        }
        Err(failure) => {
            writer.abort(&failure.message);
            Err(failure)
        }
    }
}

/// Bytes written, and whether they are on disk.
fn drain(
    plan: &Plan,
    place: &Place,
    greeting: &Greeting,
    gate: &Arc<Gate>,
    writer: &Writer,
) -> Result<(u64, bool), Failure> {
    let mut place = place.clone();
    if let Place::Path(path) = &mut place {
        enter_directory(path, greeting.name.as_deref())?;
    }
    let new_mode = greeting.mode.unwrap_or(DEFAULT_MODE) & !plan.umask;
    let mut destination = Destination::open(&place, new_mode, gate)?;
    let path = destination.path().to_path_buf();
    let failed = |what: &str| {
        let (what, path) = (what.to_owned(), path.clone());
        move |error| Failure::io(&what, &path, &error)
    };
    let sync = plan.sync && destination.can_sync();
    let monitor = writer.monitor();
    let durable = match sync {
        true => {
            let file = destination.handle().map_err(failed("sync"))?;
            let monitor = monitor.clone();
            let report = move |bytes| monitor.set_figure(FIGURE_DONE, bytes);
            Some(Durable::start(file, report).map_err(failed("sync"))?)
        }
        false => None,
    };
    let mut written = 0;
    while let Some(block) = writer.data_block()? {
        if block.tag() != written {
            return Err(Failure::new(
                Status::Partner,
                format!(
                    "the reader sent byte {} where byte {written} is due",
                    block.tag()
                ),
            ));
        }
        destination.write(&block).map_err(failed("write to"))?;
        written += block.len() as u64;
        match &durable {
            Some(durable) => durable.written(written).map_err(failed("sync"))?,
            None => monitor.set_figure(FIGURE_DONE, written),
        }
    }
    if let Some(durable) = durable {
        durable.finish().map_err(failed("sync"))?;
    }
    destination.commit(sync, || Ok(writer.check()?))?;
    monitor.set_figure(FIGURE_DONE, written);
    monitor.set_figure(FIGURE_ON_DISK, sync.into());
    Ok((written, sync))
}

fn missing(what: &str) -> Failure {
    Failure::new(Status::Usage, format!("this process has no {what}"))
}

fn check_directory(place: &Place) -> Result<(), Failure> {
    let Place::Path(path) = place else {
        return Ok(());
    };
    // What is no file is not created, and may be in no directory (a pipe on Windows).
    if sys::facts_at(path).is_ok_and(|found| matches!(found.kind, Kind::Disk | Kind::Stream)) {
        return Ok(());
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    match sys::facts_at(directory) {
        Ok(found) if found.kind == Kind::Directory => Ok(()),
        Ok(_) => {
            let error = std::io::ErrorKind::NotADirectory.into();
            Err(Failure::io("create", path, &error))
        }
        Err(error) => Err(Failure::io("create", path, &error)),
    }
}

/// Tells the supervisor, and watches over the partner in a thread of its own, since
/// this one may be stuck in a read or a write when the partner dies.
fn paired(monitor: &Monitor, size: Option<u64>, events: &Sender<Event>) {
    let _ = events.send(Event::Paired(monitor.clone(), size));
    let (monitor, events) = (monitor.clone(), events.clone());
    std::thread::spawn(move || {
        let Err(error) = monitor.watch() else {
            return;
        };
        let failure = Failure::from(error);
        // That this half gave up is its own to tell.
        if !failure.is_echo {
            let _ = events.send(Event::PartnerGone(failure));
        }
    });
}

/// The Writer for --both, as the user would start it.
fn start(plan: &Plan) -> std::io::Result<Child> {
    let mut command = sys::own_program()?;
    command.args([
        "--as",
        "writer",
        "--started-by-both",
        "--quiet",
        "--progress",
        "never",
    ]);
    command.arg(format!("--name={}", plan.name));
    command.arg("--block-size").arg(plan.block_size.to_string());
    command.arg("--blocks").arg(plan.blocks.to_string());
    if !plan.sync {
        command.arg("--no-sync");
    }
    command.arg("--");
    match &plan.destination {
        Some(Place::Path(path)) => command.arg(path),
        _ => command.arg("-"),
    };
    command.stdin(Stdio::null()).spawn()
}

fn wait_for(mut child: Child, events: Sender<Event>) {
    std::thread::spawn(move || {
        let code = child.wait().ok().and_then(|status| status.code());
        let _ = events.send(Event::ChildEnded(code));
    });
}
