//! How far the copy is: the bar, and the figures in words.

use std::io::{self, Write};
use std::time::Duration;

use bytesize::ByteSize;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

/// Times a second that the bar may change.
const RATE_HZ: u8 = 10;

/// Columns that the bar may take where no terminal says how many it has.
const WIDTH: u16 = 80;

/// A bar on standard error: bytes done out of the source's size, rate and time
/// left; without a size, bytes and rate.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn new(size: Option<u64>) -> Bar {
        let mut target = ProgressDrawTarget::stderr_with_hz(RATE_HZ);
        if target.is_hidden() {
            // No terminal, but the user wants it.
            target = ProgressDrawTarget::term_like_with_hz(Box::new(StandardError), RATE_HZ);
        }
        let bar = ProgressBar::with_draw_target(size, target);
        let template = match size {
            Some(_) => {
                "{percent:>3}% [{bar:30}] {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left"
            }
            None => "{binary_bytes}, {binary_bytes_per_sec}, {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Bar(bar)
    }

    pub(crate) fn draw(&self, done: u64) {
        self.0.set_position(done);
        self.0.tick();
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

/// "1.5 GiB"
pub(crate) fn bytes(count: u64) -> String {
    ByteSize::b(count).display().iec().to_string()
}

/// The last line of a copy that succeeded.
pub(crate) fn summary(count: u64, took: Duration, on_disk: bool) -> String {
    let rate = count as f64 / took.as_secs_f64().max(1e-9);
    let where_to = if on_disk { ", on disk" } else { "" };
    format!(
        "done: {} in {:.2} s ({}/s){where_to}",
        bytes(count),
        took.as_secs_f64(),
        bytes(rate as u64),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_how_much_how_fast_and_whether_it_is_on_disk() {
        let line = summary(3 << 30, Duration::from_secs(2), true);
        assert_eq!(line, "done: 3.0 GiB in 2.00 s (1.5 GiB/s), on disk");
        assert!(summary(0, Duration::ZERO, false).starts_with("done: 0 B in 0.00 s"));
    }
}
