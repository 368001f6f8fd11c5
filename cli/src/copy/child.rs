//! The processes that --both starts: the second one, and with --takeover another one in the
//! place of either that died.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use brigade::Side;

use crate::copy::half::Event;
use crate::failure::{Exit, Failure};
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
    let mut command = command(plan, side, restarts, false)?;
    watch(spawn(command.stdin(Stdio::null()))?, events)
}

/// A process that was started before this one has its seat: the two get ready side by
/// side, but it joins nobody until it is told to.
pub(super) struct Ahead(Child);

/// What that process waits for; without it, it ends and says nothing.
#[derive(Clone)]
pub(super) struct Word(Arc<Mutex<Option<ChildStdin>>>);

/// As [`start`], but ahead of time.
pub(super) fn start_ahead(plan: &Plan, side: Side, restarts: u32) -> Result<Ahead, Failure> {
    let mut command = command(plan, side, restarts, true)?;
    command.stdin(Stdio::piped());
    spawn(&mut command).map(Ahead)
}

impl Ahead {
    pub(super) fn watch(self, events: &Sender<Event>) -> Result<Word, Failure> {
        let Ahead(mut child) = self;
        let word = Word(Arc::new(Mutex::new(child.stdin.take())));
        watch(child, events)?;
        Ok(word)
    }
}

impl Word {
    /// This process has its seat.
    pub(super) fn tell(&self) {
        if let Some(mut input) = self.take() {
            // Whoever watches that process tells if it is no more.
            let _ = input.write_all(&BEGIN);
        }
    }

    /// This process is to end: that one shall not wait for what may never come.
    pub(super) fn withdraw(&self) {
        drop(self.take());
    }

    fn take(&self) -> Option<ChildStdin> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

const BEGIN: [u8; 1] = *b"!";

/// In that process: waits for the word.
pub(super) fn wait_for_word() -> Result<(), Failure> {
    let mut word = [0; BEGIN.len()];
    let told = sys::standard_input().and_then(|mut input| input.read_exact(&mut word));
    told.map_err(|_| first_has_ended())?;
    // As if it had never been there.
    let forgotten = sys::forget_standard_input();
    forgotten.map_err(|error| Failure::system("let go of standard input", &error))
}

/// It was started by this user, who hears from the first process why that has ended.
pub(super) fn first_has_ended() -> Failure {
    let message = "the first process ended before this one joined";
    Failure::new(Exit::Partner, message).reported()
}

/// Starts `command`, of this very program.
fn spawn(command: &mut Command) -> Result<Child, Failure> {
    let started = command.spawn();
    started.map_err(|error| Failure::system("start the second process", &error))
}

fn watch(child: Child, events: &Sender<Event>) -> Result<Fate, Failure> {
    let id = child.id();
    let fate = Fate(Arc::default());
    // Told first: it may end at once.
    let _ = events.send(Event::ChildStarted(id));
    let watched = wait_for(child, events.clone(), Arc::clone(&fate.0));
    watched.map_err(|error| Failure::system("start a thread", &error))?;
    Ok(fate)
}

fn command(plan: &Plan, side: Side, restarts: u32, is_ahead: bool) -> Result<Command, Failure> {
    let program = sys::own_program().map_err(|error| {
        let way_out = "run the same command twice, without --both";
        Failure::io(
            "find the program of this process,",
            sys::OWN_PROGRAM.as_ref(),
            &error,
        )
        .remark(way_out)
    })?;
    Ok(with_words(program, plan, side, restarts, is_ahead))
}

fn with_words(
    mut command: Command,
    plan: &Plan,
    side: Side,
    restarts: u32,
    is_ahead: bool,
) -> Command {
    command.args(["--as", &side.to_string(), "--started-by-both"]);
    if is_ahead {
        command.arg("--when-told");
    }
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
