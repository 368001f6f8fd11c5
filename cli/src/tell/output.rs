//! Standard error, written by a thread of its own: if nobody reads what it is
//! connected to, that thread waits, and nobody else.
//!
//! Lines are kept until they can be written; of progress only the latest matters, so
//! none is passed on while there is some to be drawn.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::Value;

use crate::failure::Failure;
use crate::sys;
use crate::tell::bar::Bar;
use crate::tell::json as event;
use crate::tell::progress::Progress;
use crate::visible;

/// How long the end of the process waits for what was said last to be written.
const PATIENCE: Duration = Duration::from_millis(200);

static OUTPUT: OnceLock<Output> = OnceLock::new();

struct Output {
    items: Sender<Item>,
    /// Progress that is not drawn yet.
    pending: Arc<AtomicBool>,
    json: bool,
}

enum Item {
    Line(String),
    Progress(Box<Progress>),
    EventOfProgress(String),
    EndOfProgress,
    /// Answered when all before it was written.
    Drain(Sender<()>),
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
    output().send(Item::EndOfProgress);
}

/// Waits until all is written, but not for long.
pub(crate) fn drain() {
    let (sender, drained) = channel();
    output().send(Item::Drain(sender));
    let _ = drained.recv_timeout(PATIENCE);
}

impl Output {
    fn new(json: bool) -> Output {
        let (items, received) = channel();
        let pending = Arc::new(AtomicBool::new(false));
        let drawn = Arc::clone(&pending);
        // Without the thread the receiver is gone, which `send` notices.
        let _ = std::thread::Builder::new()
            .name("output".into())
            .spawn(move || write_on(&received, &drawn));
        Output {
            items,
            pending,
            json,
        }
    }

    fn send(&self, item: Item) {
        // Where no thread could be had, this one writes, and may have to wait.
        if let Err(SendError(item)) = self.items.send(item) {
            write_one(item, &mut None, &self.pending);
        }
    }

    fn send_if_idle(&self, item: Item) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            self.send(item);
        }
    }
}

fn write_on(items: &Receiver<Item>, pending: &AtomicBool) {
    let mut bar = None;
    while let Ok(item) = items.recv() {
        write_one(item, &mut bar, pending);
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
mod tests {
    use super::*;

    #[test]
    fn a_bug_is_one_line_whatever_it_says() {
        let bug = bug("index out of\nbounds\x1b[2J", "cli/src/main.rs:1:2");
        assert_eq!(
            visible::line(&bug),
            r"internal error: index out of\nbounds\u{1b}[2J (at cli/src/main.rs:1:2); please report this"
        );
    }
}
