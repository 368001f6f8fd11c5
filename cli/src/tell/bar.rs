//! The bar: one or two lines on standard error that say how far the copy is. They
//! shrink with the terminal, and are never wrapped.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::Duration;

use console::Term;

use crate::tell::progress::Progress;
use crate::units::{bytes, duration};

/// Columns that the bar may take where no terminal says how many it has.
const WIDTH: usize = 80;

/// Left free at the end of a line: the terminal may show "^C" there.
const SPARE: usize = 3;

/// The percentage and the brackets, and the shortest bar between them.
const FRAME: usize = "100% [] ".len();
const BAR_MIN: usize = 8;

/// Rate and time left are those of the last so much time.
const WINDOW: Duration = Duration::from_secs(10);

/// Nothing moves for a moment in any copy; after this, it is said.
const STALLED: Duration = Duration::from_secs(3);

/// The bar, as it stands on the screen.
pub(crate) struct Bar {
    screen: Screen,
    pace: Pace,
    lines: Vec<String>,
}

impl Bar {
    pub(crate) fn new() -> Bar {
        Bar {
            screen: Screen::new(),
            pace: Pace::default(),
            lines: Vec::new(),
        }
    }

    pub(crate) fn draw(&mut self, progress: &Progress) {
        self.pace.note(progress);
        let room = self.screen.width().saturating_sub(SPARE);
        self.lines = lines(progress, &self.pace, room);
        self.screen.show(&self.lines);
    }

    /// Lets `write` write where the bar is.
    pub(crate) fn beside(&mut self, write: impl FnOnce()) {
        self.screen.show(&[]);
        write();
        self.screen.show(&self.lines);
    }

    pub(crate) fn clear(mut self) {
        self.screen.show(&[]);
    }
}

/// How fast it goes.
#[derive(Default)]
struct Pace {
    /// When, and how many bytes were done and read by then.
    samples: VecDeque<(Duration, u64, u64)>,
    now: Duration,
    /// What was there before.
    before: u64,
    /// How far it was when it moved last, and when that was.
    moved: (Progress, Duration),
}

impl Pace {
    fn note(&mut self, progress: &Progress) {
        self.now = progress.elapsed;
        self.before = progress.before;
        if self.samples.is_empty() || progress.has_moved_since(&self.moved.0) {
            self.moved = (progress.clone(), self.now);
        }
        self.samples
            .push_back((self.now, progress.done, progress.read));
        // One is kept that is as old as the window.
        while let Some((second, ..)) = self.samples.get(1)
            && self.now - *second >= WINDOW
        {
            self.samples.pop_front();
        }
    }

    /// Bytes in a second, of a figure of the samples.
    fn rate(&self, figure: impl Fn(&(Duration, u64, u64)) -> u64) -> f64 {
        let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) else {
            return 0.0;
        };
        // From the beginning, if that is all that there is.
        let (since, from) = match first.0 + WINDOW > self.now {
            true => (Duration::ZERO, self.before),
            false => (first.0, figure(first)),
        };
        let seconds = (last.0 - since).as_secs_f64().max(1e-3);
        figure(last).saturating_sub(from) as f64 / seconds
    }

    /// Whole seconds since anything moved, if that is long ago.
    fn stalled(&self) -> Option<Duration> {
        let since = self.now.saturating_sub(self.moved.1);
        (since >= STALLED).then(|| Duration::from_secs(since.as_secs()))
    }

    fn left(&self, progress: &Progress) -> Option<Duration> {
        let rate = self.rate(|sample| sample.1);
        let bytes = progress.size?.saturating_sub(progress.done);
        let seconds = Duration::try_from_secs_f64((bytes as f64 / rate).ceil());
        // With no rate yet, or hardly any, nobody knows.
        seconds.ok().filter(|left| left.as_secs() < 100 * 86_400)
    }
}

/// What fits into `room` columns.
fn lines(progress: &Progress, pace: &Pace, room: usize) -> Vec<String> {
    let first = match progress.size {
        Some(size) => with_bar(progress, size, pace, room),
        None => without_bar(progress, pace, room),
    };
    let mut lines = vec![first.chars().take(room).collect()];
    let words = progress.words(pace.rate(|sample| sample.2));
    let indented = words.iter().map(|words| format!("     {words}"));
    lines.extend(indented.into_iter().find(|line| line.len() <= room));
    lines
}

fn speed(progress: &Progress, pace: &Pace, and: impl Fn(String) -> String) -> (String, String) {
    match pace.stalled() {
        _ if progress.vacancy.is_some() => ("waiting".to_owned(), "waiting".to_owned()),
        Some(since) => {
            let words = format!("stalled for {}", duration(since));
            (words.clone(), words)
        }
        None => {
            let rate = format!("{}/s", bytes(pace.rate(|sample| sample.1) as u64));
            (and(rate.clone()), rate)
        }
    }
}

fn with_bar(progress: &Progress, size: u64, pace: &Pace, room: usize) -> String {
    let (speed, rate) = speed(progress, pace, |rate| match pace.left(progress) {
        Some(left) => format!("{rate}, {} left", duration(left)),
        None => rate,
    });
    let on_disk = if progress.on_disk { " on disk" } else { "" };
    let (done, all) = (bytes(progress.done), bytes(size));
    let part = progress.done as f64 / size.max(1) as f64;
    let percent = format!("{:>3}%", (part.min(1.0) * 100.0) as u64);
    let texts = [
        format!("{done} of {all}{on_disk}, {speed}"),
        format!("{done} of {all}, {speed}"),
        speed.clone(),
        rate.clone(),
    ];
    let fitting = texts
        .iter()
        .find(|text| FRAME + BAR_MIN + text.len() <= room);
    if let Some(text) = fitting {
        let bar = bar(part, room - FRAME - text.len());
        return format!("{percent} [{bar}] {text}");
    }
    let texts = [format!("{percent}, {speed}"), format!("{percent}, {rate}")];
    let fitting = texts.into_iter().find(|text| text.len() <= room);
    fitting.unwrap_or(percent)
}

fn without_bar(progress: &Progress, pace: &Pace, room: usize) -> String {
    let elapsed = duration(Duration::from_secs(progress.elapsed.as_secs()));
    let (speed, rate) = speed(progress, pace, |rate| format!("{rate}, {elapsed}"));
    let on_disk = if progress.on_disk { " on disk" } else { "" };
    let done = bytes(progress.done);
    let texts = [
        format!("{done}{on_disk}, {speed}"),
        format!("{done}, {speed}"),
        format!("{done}, {rate}"),
    ];
    let fitting = texts.into_iter().find(|text| text.len() <= room);
    fitting.unwrap_or(done)
}

fn bar(part: f64, width: usize) -> String {
    let full = (part.clamp(0.0, 1.0) * width as f64) as usize;
    let head = if full < width { ">" } else { "" };
    format!("{:<width$}", "=".repeat(full) + head)
}

/// Where the lines are shown: the cursor stays at the end of the last one.
struct Screen {
    term: Term,
    /// Columns of each line that is there.
    shown: Vec<usize>,
}

impl Screen {
    fn new() -> Screen {
        Screen {
            term: Term::buffered_stderr(),
            shown: Vec::new(),
        }
    }

    fn width(&self) -> usize {
        match self.term.size_checked() {
            Some((_, columns @ 1..)) => columns.into(),
            _ => WIDTH,
        }
    }

    /// `lines` in the place of what is there. Whoever has no terminal any more does
    /// not want them.
    fn show(&mut self, lines: &[String]) {
        let _ = self.replace(lines);
    }

    fn replace(&mut self, lines: &[String]) -> io::Result<()> {
        if !self.shown.is_empty() {
            let width = self.width();
            // A terminal that was made narrower has wrapped what was there.
            let rows = self.shown.iter().map(|len| len.div_ceil(width).max(1));
            self.wipe(rows.sum::<usize>() - 1)?;
        }
        self.shown = lines.iter().map(String::len).collect();
        self.term.write_str(&lines.join("\n"))?;
        self.term.flush()
    }

    /// From `up` lines above the cursor on.
    fn wipe(&self, up: usize) -> io::Result<()> {
        if self.term.is_term() {
            self.term.write_str("\r")?;
            self.term.move_cursor_up(up)?;
            return self.term.clear_to_end_of_screen();
        }
        let up = match up {
            0 => String::new(),
            _ => format!("\x1b[{up}A"),
        };
        write!(io::stderr(), "\r{up}\x1b[J")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tell::progress::Vacancy;

    fn progress(elapsed: u64, done: u64) -> Progress {
        Progress {
            elapsed: Duration::from_secs(elapsed),
            size: Some(3 << 30),
            read: done,
            written: done,
            done,
            on_disk: true,
            blocks: 16,
            ..Progress::default()
        }
    }

    fn pace(all: &[Progress]) -> Pace {
        let mut pace = Pace::default();
        all.iter().for_each(|progress| pace.note(progress));
        pace
    }

    #[test]
    fn each_width_shows_what_fits_and_no_more() {
        let now = progress(3, 900 << 20);
        let pace = pace(&[progress(0, 0), now.clone()]);
        let at = |columns: usize| lines(&now, &pace, columns - SPARE);
        let slow = "     read 900.0 MiB, 0 of 16 blocks full: the source is the bottleneck";
        assert_eq!(
            at(80),
            [
                " 29% [=====>            ] 900.0 MiB of 3.0 GiB on disk, 300.0 MiB/s, 8 s left",
                slow
            ]
        );
        assert_eq!(
            at(40),
            [
                " 29% [==>     ] 300.0 MiB/s, 8 s left",
                "     the source is the bottleneck"
            ]
        );
        assert_eq!(at(30), [" 29% [==>     ] 300.0 MiB/s"]);
        assert_eq!(at(29), [" 29%, 300.0 MiB/s"]);
        assert_eq!(at(20), [" 29%, 300.0 MiB/s"]);
        assert_eq!(at(10), [" 29%"]);
        for size in [None, now.size] {
            let now = Progress {
                size,
                ..now.clone()
            };
            for columns in 4..200 {
                for line in lines(&now, &pace, columns - SPARE) {
                    assert!(line.len() <= columns - SPARE, "{columns}: {line:?}");
                }
            }
        }
    }

    #[test]
    fn while_a_place_is_held_the_bar_says_for_whom_and_how_long_yet() {
        let now = Progress {
            vacancy: Some((
                brigade::Side::Writer,
                Vacancy::Held(Duration::from_millis(125_900)),
            )),
            ..progress(30, 900 << 20)
        };
        let pace = pace(&[progress(0, 0), now.clone()]);
        let at = |columns: usize| lines(&now, &pace, columns - SPARE);
        let lines = at(80);
        assert!(
            lines[0].ends_with("900.0 MiB of 3.0 GiB on disk, waiting"),
            "{lines:?}"
        );
        let words = "     waiting for a new writer; its place is held for another 2 min 5 s";
        assert_eq!(lines[1], words);
        assert_eq!(at(50)[1], "     waiting for a new writer: 2 min 5 s");
    }

    #[test]
    fn what_was_there_before_was_not_copied_at_any_rate() {
        let mut resumed = progress(2, 900 << 20);
        resumed.before = 880 << 20;
        let pace = pace(&[progress(0, 0), resumed]);
        let rate = pace.rate(|sample| sample.1) / f64::from(1 << 20);
        assert!((9.0..11.0).contains(&rate), "{rate}");
    }

    #[test]
    fn what_does_not_move_is_stalled_and_has_no_rate() {
        let mut all: Vec<Progress> = (0..5)
            .map(|second| progress(second, second << 20))
            .collect();
        all.extend((5..20).map(|second| progress(second, 4 << 20)));
        let now = progress(19, 4 << 20);
        let stalled = pace(&all);
        let first = &lines(&now, &stalled, 77)[0];
        assert!(first.ends_with("on disk, stalled for 15 s"), "{first}");
        assert!(!first.contains("/s") && !first.contains("left"), "{first}");
        all.push(progress(20, 5 << 20));
        let moves = pace(&all);
        assert!(moves.stalled().is_none());
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut all: Vec<Progress> = (0..60)
            .map(|second| progress(second, second << 20))
            .collect();
        all.extend((60..75).map(|second| progress(second, (60 + (second - 60) * 10) << 20)));
        let rate = pace(&all).rate(|sample| sample.1) / f64::from(1 << 20);
        assert!((9.0..11.0).contains(&rate), "{rate}");
    }

    #[test]
    fn where_a_limit_is_what_slows_it_down_that_is_said() {
        let now = Progress {
            limit_rate: Some(1 << 20),
            ..progress(10, 10 << 20)
        };
        let pace = pace(&[progress(0, 0), now.clone()]);
        let lines = lines(&now, &pace, 77);
        assert!(lines[1].ends_with("limited by --limit-rate"), "{lines:?}");
    }
}
