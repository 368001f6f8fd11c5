//! Ends of a pipeline that give, or take, so many bytes a second; always, or on and off by turns.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::Outcome;

/// What is given, or taken, at a time: less than a pipe holds.
const PIECE: usize = 32 << 10;

/// How much time of its own an end makes up for: a device has no larger memory.
const MADE_UP: f64 = 0.010;

/// When an end gives or takes. In seconds.
#[derive(Clone, Copy)]
struct Phases {
    on: f64,
    off: f64,
    /// When the first begins.
    first: f64,
}

impl Phases {
    /// `steady`, or three numbers of milliseconds: how long on, how long off, and when the
    /// first begins.
    fn parse(text: &str) -> Outcome<Phases> {
        if text == "steady" {
            return Ok(Phases {
                on: f64::MAX,
                off: 0.0,
                first: 0.0,
            });
        }
        let numbers: Result<Vec<f64>, _> = text.split('/').map(str::parse).collect();
        match numbers?[..] {
            [on, off, first] if on > 0.0 => Ok(Phases {
                on: on / 1e3,
                off: off / 1e3,
                first: first / 1e3,
            }),
            _ => Err("phases are steady, or ON/OFF/FIRST in milliseconds".into()),
        }
    }

    /// How much of the time until `now` was on.
    fn on_by(self, now: f64) -> f64 {
        let since = now - self.first;
        if since <= 0.0 {
            return 0.0;
        }
        let whole = (since / (self.on + self.off)).floor();
        whole * self.on + (since - whole * (self.on + self.off)).min(self.on)
    }

    /// When so much was on, and it goes on.
    fn when(self, on: f64) -> f64 {
        let whole = (on / self.on).floor();
        self.first + on + whole * self.off
    }
}

struct Pacer {
    phases: Phases,
    rate: f64,
    start: Instant,
    /// How much has to have been on before the next piece.
    due: f64,
}

impl Pacer {
    /// One that begins now.
    fn new(rate: &str, phases: &str) -> Outcome<Pacer> {
        Ok(Pacer {
            phases: Phases::parse(phases)?,
            rate: rate.parse()?,
            start: Instant::now(),
            due: 0.0,
        })
    }

    fn wait(&self) {
        let wait = self.phases.when(self.due) - self.start.elapsed().as_secs_f64();
        if wait > 0.0 {
            std::thread::sleep(Duration::from_secs_f64(wait));
        }
    }

    /// So many more have passed.
    fn note(&mut self, bytes: usize) {
        let on = self.phases.on_by(self.start.elapsed().as_secs_f64());
        self.due = self.due.max(on - MADE_UP) + bytes as f64 / self.rate;
    }
}

/// Writes so many bytes to standard output.
pub fn give(bytes: u64, rate: &str, phases: &str) -> Outcome<()> {
    let mut pacer = Pacer::new(rate, phases)?;
    let mut output = std::io::stdout().lock();
    let piece = [1; PIECE];
    let mut left = bytes;
    while left > 0 {
        let len = left.min(PIECE as u64) as usize;
        pacer.wait();
        output.write_all(&piece[..len])?;
        output.flush()?;
        pacer.note(len);
        left -= len as u64;
    }
    Ok(())
}

/// Reads standard input to its end; it is an error if that is not so many bytes.
pub fn take(bytes: u64, rate: &str, phases: &str) -> Outcome<()> {
    let mut pacer = Pacer::new(rate, phases)?;
    let mut input = std::io::stdin().lock();
    let mut piece = vec![0; PIECE];
    let mut taken = 0;
    loop {
        // The end may come at any time.
        if taken < bytes {
            pacer.wait();
        }
        match input.read(&mut piece)? {
            0 if taken == bytes => return Ok(()),
            0 => return Err(format!("{taken} of {bytes} bytes came").into()),
            len => {
                taken += len as u64;
                pacer.note(len);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_and_when_fit_together() {
        let phases = Phases::parse("1000/500/250").unwrap();
        for (now, on) in [
            (0.1, 0.0),
            (0.25, 0.0),
            (1.0, 0.75),
            (1.25, 1.0),
            (1.7, 1.0),
            (2.0, 1.25),
        ] {
            assert!((phases.on_by(now) - on).abs() < 1e-9, "{now}");
        }
        for (on, when) in [(0.0, 0.25), (0.75, 1.0), (1.0, 1.75), (1.25, 2.0)] {
            assert!((phases.when(on) - when).abs() < 1e-9, "{on}");
        }
        let steady = Phases::parse("steady").unwrap();
        assert_eq!((steady.on_by(3.0), steady.when(3.0)), (3.0, 3.0));
        assert!(Phases::parse("1/2").is_err());
    }
}
