//! The processes that --both starts: the second one, and with --takeover another one in the
//! place of either that died.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use brigade::Side;

use crate::copy::half::Event;
use crate::failure::Failure;
use crate::request::endpoint::Endpoint;
use crate::request::plan::Plan;
use crate::sys;

/// What becomes of a process that was started.
pub(super) struct Fate(Arc<AtomicBool>);

impl Fate {
    pub(super) fn has_ended(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Starts the half `side` as the user would, and tells when it has ended. That process may
/// start others in its turn, so many times.
pub(super) fn start(
    plan: &Plan,
    side: Side,
    restarts: u32,
    events: &Sender<Event>,
) -> Result<Fate, Failure> {
    let program = sys::own_program().map_err(|error| {
        let way_out = "run the same command twice, without --both";
        Failure::io(
            "find the program of this process,",
            sys::OWN_PROGRAM.as_ref(),
            &error,
        )
        .remark(way_out)
    })?;
    let started = command(plan, side, restarts, program).spawn();
    let child = started.map_err(|error| Failure::system("start the second process", &error))?;
    let id = child.id();
    let fate = Fate(Arc::default());
    // Told first: it may end at once.
    let _ = events.send(Event::ChildStarted(id));
    let watched = wait_for(child, events.clone(), Arc::clone(&fate.0));
    watched.map_err(|error| Failure::system("start a thread", &error))?;
    Ok(fate)
}

fn command(plan: &Plan, side: Side, restarts: u32, mut command: Command) -> Command {
    command.args(["--as", &side.to_string(), "--started-by-both"]);
    if plan.json {
        command.arg("--json");
    } else {
        command.args(["--progress", "never"]);
        if plan.quiet {
            command.arg("--quiet");
        }
    }
    command.arg(format!("--name={}", plan.name));
    command.args(plan.whole.words());
    let source = match (&plan.source, plan.settings.takeover) {
        (Some(Endpoint::Path(source)), Some(_)) => Some(source),
        _ => None,
    };
    if source.is_some() {
        // What the first process knows, should it die.
        command.arg(format!("--restarts={restarts}"));
        command.args(plan.whole.words_of_reader());
    }
    command.arg("--").args(source);
    match &plan.destination {
        Some(Endpoint::Path(path)) => command.arg(path),
        _ => command.arg("-"),
    };
    command.stdin(Stdio::null());
    command
}

/// Left to itself if no thread can be had: it ends with the session.
fn wait_for(
    mut child: Child,
    events: Sender<Event>,
    has_ended: Arc<AtomicBool>,
) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("child".into());
    let started = thread.spawn(move || {
        let id = child.id();
        // Without a status it was ended from outside, or cannot be asked.
        let code = child.wait().ok().and_then(|status| status.code());
        has_ended.store(true, Ordering::Relaxed);
        let _ = events.send(Event::ChildEnded(id, code));
    });
    started.map(drop)
}
