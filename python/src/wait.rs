//! How long a call waits, and that signals are heeded meanwhile.

use std::cell::Cell;
use std::ops::BitOr;
use std::time::{Duration, Instant};

use engine::{Error, Handle, Interest};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::errors::raised;

/// How long a wait of the main thread lasts before it looks for signals: Ctrl-C shall be
/// noticed within a tenth of a second.
pub(crate) const SLICE: Duration = Duration::from_millis(50);

pub(crate) const BLOCKS: u8 = 1;
pub(crate) const LETTERS: u8 = 2;
pub(crate) const ROOM: u8 = 4;
pub(crate) const VERDICT: u8 = 8;

/// How long a caller would wait, in seconds, before it has begun to: so who finds something at once does not
/// look at the clock.
#[derive(Clone, Copy)]
pub(crate) struct Timeout(Option<f64>);

impl Timeout {
    #[inline]
    pub(crate) fn new(timeout: Option<f64>) -> PyResult<Timeout> {
        match timeout {
            Some(seconds) if seconds.is_nan() => Err(not_a_number()),
            _ => Ok(Timeout(timeout)),
        }
    }

    /// From now on; `None` is for ever, and nothing below zero waits.
    pub(crate) fn limit(self) -> Limit {
        match self.0 {
            None => Limit::Forever,
            Some(seconds) if seconds <= 0.0 => Limit::Not,
            Some(seconds) => {
                // What the clock cannot say is beyond all ends.
                let limit = Duration::try_from_secs_f64(seconds).ok();
                let until = limit.and_then(|limit| Instant::now().checked_add(limit));
                until.map_or(Limit::Forever, Limit::Until)
            }
        }
    }
}

/// Until when a caller would wait.
#[derive(Clone, Copy)]
pub(crate) enum Limit {
    Not,
    Until(Instant),
    Forever,
}

impl Limit {
    /// That of a [`Timeout`] which begins at once.
    #[inline(always)]
    pub(crate) fn new(timeout: Option<f64>) -> PyResult<Limit> {
        Timeout::new(timeout).map(Timeout::limit)
    }

    /// The next moment at which the waiting thread looks for signals, or gives up.
    fn slice(self) -> Instant {
        let slice = Instant::now() + SLICE;
        match self {
            Limit::Not => Instant::now(),
            Limit::Until(until) => until.min(slice),
            Limit::Forever => slice,
        }
    }

    /// In place of not waiting at all.
    pub(crate) fn or(self, limit: Duration) -> Limit {
        match self {
            Limit::Not => Limit::Until(Instant::now() + limit),
            waits => waits,
        }
    }

    fn is_over(self) -> bool {
        match self {
            Limit::Not => true,
            Limit::Until(until) => until <= Instant::now(),
            Limit::Forever => false,
        }
    }

    fn deadline(self) -> Option<Instant> {
        match self {
            Limit::Not => Some(Instant::now()),
            Limit::Until(until) => Some(until),
            Limit::Forever => None,
        }
    }
}

#[cold]
fn not_a_number() -> PyErr {
    PyValueError::new_err("a timeout that is not a number")
}

/// `None` if it is longer than can be said.
pub(crate) fn duration(seconds: f64) -> PyResult<Option<Duration>> {
    if seconds.is_nan() {
        return Err(not_a_number());
    }
    Ok(Duration::try_from_secs_f64(seconds.max(0.0)).ok())
}

/// What one call waits for.
#[derive(Clone, Copy)]
pub(crate) enum Awaited {
    Blocks,
    Letters,
    Room,
    Verdict,
}

impl Awaited {
    pub(crate) const ALL: [Awaited; 4] = [
        Awaited::Blocks,
        Awaited::Letters,
        Awaited::Room,
        Awaited::Verdict,
    ];

    pub(crate) fn interest(self) -> Interest {
        match self {
            Awaited::Blocks => Interest::BLOCKS,
            Awaited::Letters => Interest::LETTERS,
            Awaited::Room => Interest::ROOM,
            Awaited::Verdict => Interest::VERDICT,
        }
    }
}

/// A wait in slices.
pub(crate) struct Slices {
    limit: Limit,
    heeds_signals: bool,
}

impl Slices {
    pub(crate) fn of(limit: Limit) -> Slices {
        Slices {
            limit,
            // Whose thread this is, is asked only by waits that are long.
            heeds_signals: true,
        }
    }

    /// Until when to wait next; a slice only, if somebody else wants a turn.
    pub(crate) fn next(&self, is_shared: bool) -> Option<Instant> {
        match self.heeds_signals || is_shared {
            true => Some(self.limit.slice()),
            false => self.limit.deadline(),
        }
    }

    /// Nothing has come: an error if a signal has, or if the limit has passed.
    #[cold]
    pub(crate) fn pause(&mut self, py: Python<'_>) -> PyResult<()> {
        py.check_signals()?;
        if self.limit.is_over() {
            return Err(raised(py, Error::TimedOut));
        }
        self.heeds_signals = is_main_thread(py)?;
        Ok(())
    }
}

/// Lets `step` wait, until it has something or `limit` has passed; without the interpreter's
/// lock. `step` gives [`Error::TimedOut`] when the moment that it is told has passed.
pub(crate) fn wait<T: Send>(
    py: Python<'_>,
    limit: Limit,
    mut step: impl FnMut(Option<Instant>) -> Result<T, Error> + Send,
) -> PyResult<T> {
    let mut slices = Slices::of(limit);
    loop {
        let until = slices.next(false);
        match py.detach(|| step(until)) {
            Err(Error::TimedOut) => slices.pause(py)?,
            found => return found.map_err(|error| raised(py, error)),
        }
    }
}

/// Only the main thread is told of signals.
fn is_main_thread(py: Python<'_>) -> PyResult<bool> {
    thread_local! {
        /// What was found, and in which process: in a forked one, another thread is the main
        /// one.
        static FOUND: Cell<Option<(u32, bool)>> = const { Cell::new(None) };
    }
    let process = std::process::id();
    if let Some((found_in, is_main)) = FOUND.get()
        && found_in == process
    {
        return Ok(is_main);
    }
    let threading = py.import("threading")?;
    let main = threading.call_method0("main_thread")?.getattr("ident")?;
    let is_main = main.eq(threading.call_method0("get_ident")?)?;
    FOUND.set(Some((process, is_main)));
    Ok(is_main)
}

/// What is waited for, as the library has it.
pub(crate) fn interest(interests: u8) -> PyResult<Interest> {
    let known = [
        (BLOCKS, Interest::BLOCKS),
        (LETTERS, Interest::LETTERS),
        (ROOM, Interest::ROOM),
        (VERDICT, Interest::VERDICT),
    ];
    let all = known.iter().fold(0, |all, (bit, _)| all | bit);
    let wanted = known.iter().filter(|(bit, _)| interests & bit != 0);
    let wanted = wanted.map(|(_, interest)| *interest).reduce(BitOr::bitor);
    wanted
        .filter(|_| interests & !all == 0)
        .ok_or_else(|| PyValueError::new_err("nothing is waited for, or what nobody knows"))
}

/// What an application's own loop waits for, as Python has it.
#[cfg(unix)]
pub(crate) fn raw(handle: Handle<'_>) -> i64 {
    std::os::fd::AsRawFd::as_raw_fd(&handle).into()
}

#[cfg(windows)]
pub(crate) fn raw(handle: Handle<'_>) -> i64 {
    std::os::windows::io::AsRawHandle::as_raw_handle(&handle) as i64
}
