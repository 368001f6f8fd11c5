//! How far the copy is: figures, and what they say in words.

use std::time::Duration;

use brigade::{FIGURES, Monitor, Side};

use crate::outcome::Report;
use crate::talk::greeting::SoFar;
use crate::talk::wire;
use crate::units::{bytes, duration};

/// How far the copy is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) elapsed: Duration,
    /// Of the source in bytes, if it is known.
    pub(crate) size: Option<u64>,
    /// Bytes that were there when the copy began.
    pub(crate) before: u64,
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
    /// The least that either half was told to take for its limit, bytes in a second.
    pub(crate) limit_rate: Option<u64>,
    /// How long in all this half has had no partner, since one had died.
    pub(crate) alone: Duration,
    /// Whose place is empty now.
    pub(crate) vacancy: Option<(Side, Vacancy)>,
}

/// A place of which the one that had it died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vacancy {
    /// It is held so long yet.
    Held(Duration),
    /// Somebody is here for it, and is yet to agree with the other half.
    Met,
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

    /// The same for who looks while a place is empty.
    pub(crate) fn of_so_far([read, holes, written, done]: SoFar) -> Progress {
        Progress {
            read,
            holes,
            written,
            done,
            ..Progress::default()
        }
    }

    pub(crate) fn so_far(&self) -> SoFar {
        [self.read, self.holes, self.written, self.done]
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

    /// What the figures say beside the bar, the longest first, if the source is read
    /// with this many bytes in a second.
    pub(crate) fn words(&self, rate: f64) -> Vec<String> {
        match self.vacancy {
            None => {}
            Some((side, Vacancy::Held(left))) => {
                let left = duration(Duration::from_secs(left.as_secs()));
                return vec![
                    format!("waiting for a new {side}; its place is held for another {left}"),
                    format!("waiting for a new {side}: {left}"),
                    format!("waiting for a new {side}"),
                ];
            }
            Some((side, Vacancy::Met)) => {
                let looked = match side {
                    Side::Reader => String::new(),
                    Side::Writer => format!(": {}", bytes(self.written)),
                };
                return vec![
                    format!("a new {side} is here, and looks at what was copied{looked}"),
                    format!("a new {side} is here{looked}"),
                    format!("a new {side} is here"),
                ];
            }
        }
        if self.verified() > 0 {
            let (verified, read) = (bytes(self.verified()), bytes(self.read));
            return vec![
                format!("all written; verified {verified} of {read}"),
                format!("verified {verified}"),
            ];
        }
        let slow = match self.blocks_full * 4 {
            _ if self.all_read => "all read",
            _ if self.is_limited(rate) => "limited by --limit-rate",
            full if full >= self.blocks * 3 => "the destination is the bottleneck",
            full if full <= self.blocks => "the source is the bottleneck",
            _ => "both are equally fast",
        };
        let (full, blocks) = (self.blocks_full, self.blocks);
        vec![
            format!(
                "read {}, {full} of {blocks} blocks full: {slow}",
                bytes(self.read)
            ),
            slow.to_owned(),
        ]
    }

    /// Whether it goes as fast as it may.
    fn is_limited(&self, rate: f64) -> bool {
        self.limit_rate
            .is_some_and(|limit| rate >= limit as f64 * LIMITED_PART)
    }
}

/// A copy that is this near to its limit is slowed down by it.
const LIMITED_PART: f64 = 0.7;

/// What made a copy last as long as it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bottleneck {
    /// It was as fast as --limit-rate allows.
    Limit,
    /// The slower half, and of the time that the copy took, how much percent the other
    /// one has waited.
    Half(Side, u64),
}

/// Below that, neither is.
const BOTTLENECK_PERCENT: u64 = 5;

/// Whom the other half has waited for, if it did so for long.
pub(crate) fn bottleneck(report: &Report, progress: &Progress) -> Option<Bottleneck> {
    // Who had no partner was slowed down by nobody.
    let took = report.took.saturating_sub(progress.alone);
    if progress.is_limited(report.rate_without(progress.alone)) {
        return Some(Bottleneck::Limit);
    }
    let (reader, writer) = (progress.reader_waited, progress.writer_waited);
    let (side, waited) = match reader > writer {
        true => (Side::Writer, reader),
        false => (Side::Reader, writer),
    };
    let percent = percent(waited, took);
    (percent >= BOTTLENECK_PERCENT).then_some(Bottleneck::Half(side, percent))
}

fn percent(part: Duration, whole: Duration) -> u64 {
    let whole = whole.as_secs_f64().max(1e-9);
    (part.as_secs_f64() / whole * 100.0).round().min(100.0) as u64
}

/// Shorter copies are over before a bottleneck could show.
const LONG: Duration = Duration::from_secs(1);

/// The last line of a copy that succeeded; `names`: from where, to where.
pub(crate) fn summary(names: &str, report: &Report, progress: &Progress) -> String {
    let mut line = format!(
        "done: {names}: {} in {:.2} s ({}/s)",
        bytes(report.bytes),
        report.took.as_secs_f64(),
        bytes(report.rate() as u64),
    );
    if progress.alone > Duration::ZERO {
        let alone = duration(progress.alone);
        line += &format!(", {alone} of it waiting for a new partner");
    }
    if report.before > 0 {
        line += &format!(", {} of it before", bytes(report.before));
    }
    if report.on_disk {
        line += ", on disk";
    }
    if report.holes > 0 {
        line += &format!(", {} of it holes", bytes(report.holes));
    }
    if let Some(digest) = report.digest {
        // Of a stream, or for --expect-blake3, it is of what was read, and nothing was read again.
        let verified = match progress.verified() > 0 || report.bytes == 0 {
            true => "verified: ",
            false => "",
        };
        line += &format!(", {verified}BLAKE3 {}", blake3::Hash::from(digest));
    }
    if report.took >= LONG {
        line += &match bottleneck(report, progress) {
            None => String::new(),
            Some(Bottleneck::Limit) => "; limited by --limit-rate".to_owned(),
            Some(Bottleneck::Half(side, percent)) => {
                let (place, other) = (place_of(side), side.other());
                format!("; the {place} was the bottleneck: the {other} waited {percent} %")
            }
        };
    }
    line
}

pub(crate) fn place_of(side: Side) -> &'static str {
    match side {
        Side::Reader => "source",
        Side::Writer => "destination",
    }
}

/// More of the same, for who wants it.
pub(crate) fn details(report: &Report, progress: &Progress) -> String {
    let waited = |who: Side, waited: Duration| {
        let percent = percent(waited, report.took.saturating_sub(progress.alone));
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
            before: 0,
            took: Duration::from_secs(seconds),
            on_disk: true,
            digest: None,
            kept: None,
        }
    }

    #[test]
    fn the_summary_says_how_much_how_fast_and_whether_it_is_on_disk() {
        let progress = Progress::default();
        let line = summary("a -> b", &report(3 << 30, 2), &progress);
        assert_eq!(line, "done: a -> b: 3.0 GiB in 2.00 s (1.5 GiB/s), on disk");
        let mut resumed = report(3 << 30, 2);
        resumed.before = 1 << 30;
        let line = summary("a -> b", &resumed, &progress);
        let expected = "3.0 GiB in 2.00 s (1.0 GiB/s), 1.0 GiB of it before, on disk";
        assert!(line.ends_with(expected), "{line}");
        let mut nothing = report(0, 0);
        nothing.on_disk = false;
        let line = summary("-", &nothing, &progress);
        assert_eq!(line, "done: -: 0 B in 0.00 s (0 B/s)");
    }

    #[test]
    fn the_summary_says_whom_the_other_half_waited_for_if_it_did() {
        let mut progress = Progress::default();
        let line = |progress: &Progress| summary("a -> b", &report(1 << 30, 10), progress);
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
    fn a_copy_that_was_as_fast_as_it_may_be_has_no_slow_half() {
        let progress = Progress {
            limit_rate: Some(100 << 20),
            writer_waited: Duration::from_secs(9),
            ..Progress::default()
        };
        let line = |bytes| summary("a -> b", &report(bytes, 10), &progress);
        let limited = line(1000 << 20);
        assert!(limited.ends_with("; limited by --limit-rate"), "{limited}");
        let slower = line(500 << 20);
        assert!(slower.contains("the source was the bottleneck"), "{slower}");
    }

    #[test]
    fn the_time_without_a_partner_is_told_and_slows_down_neither_half() {
        let mut progress = Progress {
            alone: Duration::from_secs(90),
            writer_waited: Duration::from_secs(9),
            ..Progress::default()
        };
        let line = |progress: &Progress| summary("a -> b", &report(100 << 20, 100), progress);
        let waited = line(&progress);
        let expected = "100.00 s (1.0 MiB/s), 1 min 30 s of it waiting for a new partner, on disk";
        assert!(waited.contains(expected), "{waited}");
        assert!(waited.ends_with("the writer waited 90 %"), "{waited}");
        progress.limit_rate = Some(10 << 20);
        let limited = line(&progress);
        assert!(limited.ends_with("; limited by --limit-rate"), "{limited}");
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
        let words = |progress: &Progress| progress.words(1e6).swap_remove(0);
        let expected = "read 3.0 MiB, 16 of 16 blocks full: the destination is the bottleneck";
        assert_eq!(words(&progress), expected);
        progress.blocks_full = 0;
        assert!(words(&progress).ends_with("the source is the bottleneck"));
        progress.blocks_full = 8;
        assert!(words(&progress).ends_with("equally fast"));
        progress.all_read = true;
        progress.written = 5 << 20;
        assert_eq!(words(&progress), "all written; verified 2.0 MiB of 3.0 MiB");
    }
}
