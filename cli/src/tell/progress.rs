//! How far the copy is: figures, the bar, and the report in words.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use brigade::{FIGURES, Monitor, Side};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle, TermLike};

use crate::outcome::Report;
use crate::talk::wire;
use crate::units::bytes;

/// Times a second that the bar may change.
const RATE_HZ: u8 = 10;

/// Columns that the bar may take where no terminal says how many it has.
const WIDTH: u16 = 80;

/// How far the copy is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) elapsed: Duration,
    /// Of the source in bytes, if it is known.
    pub(crate) size: Option<u64>,
    /// Bytes that the Reader has read or skipped, and of these how many were holes.
    pub(crate) read: u64,
    pub(crate) holes: u64,
    pub(crate) all_read: bool,
    /// Bytes that the Writer has written, and read again to verify them.
    pub(crate) written: u64,
    /// Bytes that are as good as they will be: on disk, unless that was not asked for.
    pub(crate) done: u64,
    pub(crate) on_disk: bool,
    pub(crate) blocks_full: u64,
    pub(crate) blocks: u64,
    pub(crate) reader_waited: Duration,
    pub(crate) writer_waited: Duration,
}

impl Progress {
    /// As one of the two halves sees it.
    pub(crate) fn of(side: Side, monitor: &Monitor) -> Progress {
        let (own, partner) = (monitor.figures(), monitor.partner_figures());
        let (reader, writer) = match side {
            Side::Reader => (own, partner),
            Side::Writer => (partner, own),
        };
        let mut progress = Progress::of_figures(reader, writer);
        progress.blocks_full = monitor.blocks_under_way();
        // Of itself a half knows it to the moment.
        match side {
            Side::Reader => progress.reader_waited = monitor.waited(),
            Side::Writer => progress.writer_waited = monitor.waited(),
        }
        progress
    }

    /// As the two halves tell it.
    pub(crate) fn of_figures(reader: [u64; FIGURES], writer: [u64; FIGURES]) -> Progress {
        Progress {
            read: reader[wire::READ],
            holes: reader[wire::HOLES],
            all_read: reader[wire::ALL_READ] != 0,
            written: writer[wire::WRITTEN],
            done: writer[wire::ON_DISK],
            reader_waited: Duration::from_millis(reader[wire::WAITED_MS]),
            writer_waited: Duration::from_millis(writer[wire::WAITED_MS]),
            ..Progress::default()
        }
    }

    /// Bytes that were read again: the Writer counts them after those it has written.
    pub(crate) fn verified(&self) -> u64 {
        match self.all_read {
            true => self.written.saturating_sub(self.read),
            false => 0,
        }
    }

    /// That both have done anything since `earlier`.
    pub(crate) fn has_moved_since(&self, earlier: &Progress) -> bool {
        let figures = |progress: &Progress| {
            (
                (progress.read, progress.holes, progress.all_read),
                (progress.written, progress.done, progress.blocks_full),
            )
        };
        figures(self) != figures(earlier)
    }

    /// What the figures say beside the bar.
    fn words(&self) -> String {
        if self.verified() > 0 {
            let (verified, read) = (bytes(self.verified()), bytes(self.read));
            return format!("all written; verified {verified} of {read}");
        }
        let slow = match self.blocks_full * 4 {
            _ if self.all_read => "all read",
            full if full >= self.blocks * 3 => "the destination is the bottleneck",
            full if full <= self.blocks => "the source is the bottleneck",
            _ => "both are equally fast",
        };
        format!(
            "read {}, {} of {} blocks full: {slow}",
            bytes(self.read),
            self.blocks_full,
            self.blocks
        )
    }
}

/// The slower of the two halves.
pub(crate) struct Slow {
    pub(crate) side: Side,
    /// Of the time that the copy took, how much the other one has waited.
    pub(crate) percent: u64,
}

/// Below that, neither is.
const BOTTLENECK_PERCENT: u64 = 5;

/// Whom the other half has waited for, if it did so for long.
pub(crate) fn bottleneck(took: Duration, progress: &Progress) -> Option<Slow> {
    let (reader, writer) = (progress.reader_waited, progress.writer_waited);
    let (side, waited) = match reader > writer {
        true => (Side::Writer, reader),
        false => (Side::Reader, writer),
    };
    let percent = percent(waited, took);
    (percent >= BOTTLENECK_PERCENT).then_some(Slow { side, percent })
}

fn percent(part: Duration, whole: Duration) -> u64 {
    let whole = whole.as_secs_f64().max(1e-9);
    (part.as_secs_f64() / whole * 100.0).round().min(100.0) as u64
}

/// A bar on standard error: bytes done out of the source's size, rate and time
/// left; without a size, bytes and rate. Below it, what both halves are at.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn new(size: Option<u64>, on_disk: bool) -> Bar {
        let mut target = ProgressDrawTarget::stderr_with_hz(RATE_HZ);
        if target.is_hidden() {
            // No terminal, but the user wants it.
            target = ProgressDrawTarget::term_like_with_hz(Box::new(StandardError), RATE_HZ);
        }
        let bar = ProgressBar::with_draw_target(size, target);
        let on_disk = if on_disk { " on disk" } else { "" };
        let template = match size {
            Some(_) => format!(
                "{{percent:>3}}% [{{wide_bar}}] {{done}} of {{size}}{on_disk}, {{rate}}, {{eta}} left\n     {{msg}}"
            ),
            None => format!("{{done}}{on_disk}, {{rate}}, {{elapsed}}\n{{msg}}"),
        };
        if let Ok(style) = ProgressStyle::with_template(&template) {
            // In the words of the report, not in indicatif's own.
            let style = style
                .with_key("done", |state: &ProgressState, to: &mut dyn fmt::Write| {
                    let _ = to.write_str(&bytes(state.pos()));
                })
                .with_key("size", |state: &ProgressState, to: &mut dyn fmt::Write| {
                    let _ = to.write_str(&bytes(state.len().unwrap_or(0)));
                })
                .with_key("rate", |state: &ProgressState, to: &mut dyn fmt::Write| {
                    let _ = write!(to, "{}/s", bytes(state.per_sec() as u64));
                });
            bar.set_style(style.progress_chars("=> "));
        }
        Bar(bar)
    }

    pub(crate) fn draw(&self, progress: &Progress) {
        self.0.set_message(progress.words());
        self.0.set_position(progress.done);
        self.0.tick();
    }

    /// Lets `write` write where the bar is.
    pub(crate) fn beside(&self, write: impl FnOnce()) {
        self.0.suspend(write);
    }

    pub(crate) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

/// Standard error that is no terminal: who asks for the bar gets it.
#[derive(Debug)]
struct StandardError;

impl StandardError {
    fn control(&self, count: usize, letter: char) -> io::Result<()> {
        match count {
            0 => Ok(()),
            _ => write!(io::stderr(), "\x1b[{count}{letter}"),
        }
    }
}

impl TermLike for StandardError {
    fn width(&self) -> u16 {
        WIDTH
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.control(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.control(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.control(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.control(n, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        writeln!(io::stderr(), "{text}")
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        write!(io::stderr(), "{text}")
    }

    fn clear_line(&self) -> io::Result<()> {
        write!(io::stderr(), "\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Shorter copies are over before a bottleneck could show.
const LONG: Duration = Duration::from_secs(1);

/// The last line of a copy that succeeded.
pub(crate) fn summary(report: &Report, progress: &Progress) -> String {
    let rate = report.bytes as f64 / report.took.as_secs_f64().max(1e-9);
    let mut line = format!(
        "done: {} in {:.2} s ({}/s)",
        bytes(report.bytes),
        report.took.as_secs_f64(),
        bytes(rate as u64),
    );
    if report.on_disk {
        line += ", on disk";
    }
    if report.holes > 0 {
        line += &format!(", {} of it holes", bytes(report.holes));
    }
    if let Some(digest) = report.digest {
        line += &format!(", verified: BLAKE3 {}", blake3::Hash::from(digest));
    }
    if report.took >= LONG
        && let Some(slow) = bottleneck(report.took, progress)
    {
        let (place, other, percent) = (place_of(slow.side), slow.side.other(), slow.percent);
        line += &format!("; the {place} was the bottleneck: the {other} waited {percent} %");
    }
    line
}

fn place_of(side: Side) -> &'static str {
    match side {
        Side::Reader => "source",
        Side::Writer => "destination",
    }
}

/// More of the same, for who wants it.
pub(crate) fn details(report: &Report, progress: &Progress) -> String {
    let waited = |who: Side, waited: Duration| {
        let percent = percent(waited, report.took);
        format!(
            "the {who} waited {:.2} s ({percent} %)",
            waited.as_secs_f64()
        )
    };
    format!(
        "{} bytes, of these {} in holes; {}, {}",
        report.bytes,
        report.holes,
        waited(Side::Reader, progress.reader_waited),
        waited(Side::Writer, progress.writer_waited),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(bytes: u64, seconds: u64) -> Report {
        Report {
            bytes,
            holes: 0,
            took: Duration::from_secs(seconds),
            on_disk: true,
            digest: None,
            kept: None,
        }
    }

    #[test]
    fn the_summary_says_how_much_how_fast_and_whether_it_is_on_disk() {
        let progress = Progress::default();
        let line = summary(&report(3 << 30, 2), &progress);
        assert_eq!(line, "done: 3.0 GiB in 2.00 s (1.5 GiB/s), on disk");
        let mut nothing = report(0, 0);
        nothing.on_disk = false;
        assert_eq!(summary(&nothing, &progress), "done: 0 B in 0.00 s (0 B/s)");
    }

    #[test]
    fn the_summary_says_whom_the_other_half_waited_for_if_it_did() {
        let mut progress = Progress::default();
        let line = |progress: &Progress| summary(&report(1 << 30, 10), progress);
        progress.writer_waited = Duration::from_millis(7100);
        progress.reader_waited = Duration::from_millis(100);
        let expected = "; the source was the bottleneck: the writer waited 71 %";
        assert!(line(&progress).ends_with(expected), "{}", line(&progress));
        progress.reader_waited = Duration::from_secs(9);
        let expected = "; the destination was the bottleneck: the reader waited 90 %";
        assert!(line(&progress).ends_with(expected), "{}", line(&progress));
        progress = Progress::default();
        assert!(!line(&progress).contains("bottleneck"));
    }

    #[test]
    fn the_words_beside_the_bar_say_which_half_is_slow_now() {
        let mut progress = Progress {
            read: 3 << 20,
            written: 1 << 20,
            blocks_full: 16,
            blocks: 16,
            ..Progress::default()
        };
        let expected = "read 3.0 MiB, 16 of 16 blocks full: the destination is the bottleneck";
        assert_eq!(progress.words(), expected);
        progress.blocks_full = 0;
        assert!(progress.words().ends_with("the source is the bottleneck"));
        progress.blocks_full = 8;
        assert!(progress.words().ends_with("equally fast"));
        progress.all_read = true;
        progress.written = 5 << 20;
        assert_eq!(progress.words(), "all written; verified 2.0 MiB of 3.0 MiB");
    }
}
