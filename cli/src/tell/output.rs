//! Standard error, written by a thread of its own: if nobody reads what it is
//! connected to, that thread waits, and nobody else. Who says nothing has none.
//!
//! Lines are kept until they can be written; of progress only the latest matters, so
//! none is passed on while there is some to be drawn.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SendError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::failure::Failure;
use crate::sys;
use crate::tell::bar::Bar;
use crate::tell::json as event;
use crate::tell::progress::Progress;
use crate::visible;

/// How long the end of the process waits for what was said last to be written, if nobody
/// reads it;
const PATIENCE: Duration = Duration::from_millis(200);

/// and if the thread that writes has not had its turn yet, on a busy machine.
const PATIENCE_FOR_A_TURN: Duration = Duration::from_secs(2);

static OUTPUT: OnceLock<Output> = OnceLock::new();

struct Output {
    items: Sender<Item>,
    /// Until there is something to be written.
    unread: Mutex<Option<Receiver<Item>>>,
    state: Arc<State>,
    json: bool,
}

/// What is known of the thread that writes.
#[derive(Default)]
struct State {
    /// There is progress that is not drawn yet.
    pending: AtomicBool,
    /// It is in the system, which may take its time.
    writing: AtomicBool,
}

enum Item {
    Line(String),
    Progress(Box<Progress>),
    EventOfProgress(String),
    EndOfProgress,
    /// Answered when all before it was written.
    Drain(Sender<()>),
}

/// Why the wait for what was said last has ended.
#[derive(Debug, PartialEq, Eq)]
enum Drained {
    /// It was written, or will never be.
    All,
    /// Nobody reads.
    Stuck,
    /// The thread that writes has not had its turn.
    NoTurn,
}

/// Decides how this process speaks. Without it, in text.
pub(crate) fn start(json: bool) {
    let _ = OUTPUT.set(Output::new(json));
}

fn output() -> &'static Output {
    OUTPUT.get_or_init(|| Output::new(false))
}

/// Whether events are told, and not text.
pub(crate) fn is_json() -> bool {
    output().json
}

/// A line of text; to who wants events, as an event of its kind.
pub(crate) fn line(text: impl Into<String>) {
    output().send(Item::Line(visible::line(&text.into())));
}

/// Something that is no failure, but should be known.
pub(crate) fn warn(text: &str) {
    match is_json() {
        true => event(event::warning(text)),
        false => line(format!("brigade: {text}")),
    }
}

/// The last words of a process that did not get as far as to have a half.
pub(crate) fn last_words(failure: &Failure) {
    match is_json() {
        true => event(event::failed(failure, failure.code)),
        false => line(format!("brigade: {}", failure.message)),
    }
}

pub(crate) fn event(event: Value) {
    output().send(Item::Line(visible::json(&event.to_string())));
}

/// Whether anybody still listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listener {
    Listens,
    /// As `head` does when it has enough. That is no failure.
    IsGone,
}

/// What was asked for, on standard output, as it is.
pub(crate) fn print(text: &str) -> Result<Listener, Failure> {
    match write_out(text) {
        Ok(()) => Ok(Listener::Listens),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Listener::IsGone),
        Err(error) => Err(Failure::io("write to", "standard output".as_ref(), &error)),
    }
}

fn write_out(text: &str) -> io::Result<()> {
    // An error if it was closed, which std hides.
    drop(sys::standard_output()?);
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}

/// Lines of text for standard output.
pub(crate) fn print_lines(lines: &[String]) -> Result<Listener, Failure> {
    let shown = lines.iter().map(|line| visible::line(line) + "\n");
    print(&shown.collect::<String>())
}

/// The same of an event.
pub(crate) fn print_event(event: &Value) -> Result<Listener, Failure> {
    print(&format!("{}\n", visible::json(&event.to_string())))
}

/// How far it is, unless the last time is not written yet.
pub(crate) fn progress(progress: Progress) {
    output().send_if_idle(Item::Progress(Box::new(progress)));
}

pub(crate) fn event_of_progress(event: &Value) {
    let text = visible::json(&event.to_string());
    output().send_if_idle(Item::EventOfProgress(text));
}

pub(crate) fn end_of_progress() {
    if output().has_begun() {
        output().send(Item::EndOfProgress);
    }
}

/// Waits until all is written, but not for long.
pub(crate) fn drain() {
    output().drain();
}

impl Output {
    fn new(json: bool) -> Output {
        let (items, received) = channel();
        Output {
            items,
            unread: Mutex::new(Some(received)),
            state: Arc::default(),
            json,
        }
    }

    fn unread(&self) -> MutexGuard<'_, Option<Receiver<Item>>> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_begun(&self) -> bool {
        self.unread().is_none()
    }

    fn begin(&self) {
        let Some(received) = self.unread().take() else {
            return;
        };
        let state = Arc::clone(&self.state);
        // Without the thread the receiver is gone, which `send` notices.
        let _ = std::thread::Builder::new()
            .name("output".into())
            .spawn(move || write_on(&received, &state));
    }

    fn send(&self, item: Item) {
        self.begin();
        // Where no thread could be had, this one writes, and may have to wait.
        if let Err(SendError(item)) = self.items.send(item) {
            write_one(item, &mut None, &self.state.pending);
        }
    }

    fn send_if_idle(&self, item: Item) {
        if !self.state.pending.swap(true, Ordering::AcqRel) {
            self.send(item);
        }
    }

    fn drain(&self) -> Drained {
        if !self.has_begun() {
            return Drained::All;
        }
        let since = Instant::now();
        let (sender, drained) = channel();
        self.send(Item::Drain(sender));
        while drained.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            if self.state.writing.load(Ordering::Relaxed) {
                return Drained::Stuck;
            }
            if since.elapsed() >= PATIENCE_FOR_A_TURN {
                return Drained::NoTurn;
            }
        }
        Drained::All
    }
}

fn write_on(items: &Receiver<Item>, state: &State) {
    sys::leave_interruptions();
    let mut bar = None;
    while let Ok(item) = items.recv() {
        state.writing.store(true, Ordering::Relaxed);
        write_one(item, &mut bar, &state.pending);
        state.writing.store(false, Ordering::Relaxed);
    }
}

fn write_one(item: Item, bar: &mut Option<Bar>, pending: &AtomicBool) {
    match item {
        Item::Line(line) => match bar {
            Some(bar) => bar.beside(|| write(&line)),
            None => write(&line),
        },
        Item::Progress(progress) => {
            bar.get_or_insert_with(Bar::new).draw(&progress);
            pending.store(false, Ordering::Release);
        }
        Item::EventOfProgress(line) => {
            write(&line);
            pending.store(false, Ordering::Release);
        }
        Item::EndOfProgress => {
            if let Some(bar) = bar.take() {
                bar.clear();
            }
        }
        Item::Drain(drained) => {
            let _ = drained.send(());
        }
    }
}

/// In one piece, so that two processes that share a terminal do not mix their lines.
fn write(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// What a bug in this program says, in one line.
pub(crate) fn watch_panics() {
    std::panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let what = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let place = info.location().map(ToString::to_string);
        let line = bug(what.unwrap_or("?"), place.as_deref().unwrap_or("?"));
        warn(&line);
    }));
}

fn bug(what: &str, place: &str) -> String {
    format!("internal error: {what} (at {place}); please report this")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_end_waits_for_a_thread_that_is_late_and_not_for_one_that_is_stuck() {
        let begun = || {
            let output = Output::new(false);
            let items = output.unread().take().unwrap();
            (output, items)
        };
        let (output, items) = begun();
        let (state, late) = (Arc::clone(&output.state), PATIENCE * 2);
        let since = Instant::now();
        let written = std::thread::spawn(move || {
            std::thread::sleep(late);
            write_on(&items, &state);
        });
        output.drain();
        assert!(since.elapsed() >= late && !written.is_finished());
        drop(output);
        assert!(written.join().is_ok());
        let (output, _items) = begun();
        output.state.writing.store(true, Ordering::Relaxed);
        assert_eq!(output.drain(), Drained::Stuck);
    }

    #[test]
    fn who_says_nothing_has_no_thread_and_no_wait_at_the_end() {
        let output = Output::new(false);
        assert_eq!(output.drain(), Drained::All);
        assert!(!output.has_begun());
        output.send(Item::EndOfProgress);
        assert!(output.has_begun());
        assert_eq!(output.drain(), Drained::All);
    }

    #[test]
    fn a_bug_is_one_line_whatever_it_says() {
        let bug = bug("index out of\nbounds\x1b[2J", "cli/src/main.rs:1:2");
        assert_eq!(
            visible::line(&bug),
            r"internal error: index out of\nbounds\u{1b}[2J (at cli/src/main.rs:1:2); please report this"
        );
    }
}
