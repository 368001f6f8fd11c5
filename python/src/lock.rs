//! A lock that can be waited for until a deadline, and handed to who waits.
//!
//! Of the library's locks for Rust, those with a deadline keep a table of who sleeps, of all locks of
//! the process. A forked child inherits it with threads that it does not have, and the first lock of
//! its own that it wakes somebody for goes through their memory. This one keeps nothing
//! outside of itself.
//!
//! There are two lines before it: of those who have just come, and of those who had it and wait for
//! another turn. These have nothing to do with it but to wait, so all others go first.
#![allow(unsafe_code, reason = "what a lock has to promise is declared unsafe")]

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Condvar, MutexGuard as State, PoisonError};
use std::time::{Duration, Instant};

use lock_api::{GuardSend, RawMutex, RawMutexFair, RawMutexTimed};

pub(crate) type Mutex<T> = lock_api::Mutex<Raw, T>;
pub(crate) type MutexGuard<'m, T> = lock_api::MutexGuard<'m, Raw, T>;
pub(crate) type MappedMutexGuard<'m, T> = lock_api::MappedMutexGuard<'m, Raw, T>;

/// What `lock_api` makes a lock of.
///
/// To take a free lock, and to leave one that nobody waits for, is one step each at `word`. All else is
/// done under `others`: who waits says so in `word`, and who leaves then finds it there.
pub(crate) struct Raw {
    word: AtomicU8,
    others: std::sync::Mutex<Others>,
    /// For each line.
    left: [Condvar; 2],
}

const FREE: u8 = 0;
const TAKEN: u8 = 1;
/// Taken, and somebody waits, or has waited: only under `others` is it known.
const WANTED: u8 = 2;

struct Others {
    lines: [Line; 2],
    /// How many have ever waited.
    arrivals: u64,
    /// It was left for one of this line that had come before so many, and for nobody else.
    handed: Option<(Whose, u64)>,
}

/// Which line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// Of those who have just come.
    Newcomers,
    /// Of those who have had their turn, and wait for another one.
    Again,
}

struct Line {
    waiting: usize,
    /// Since when it waits for one of it to have a turn.
    since: Option<Instant>,
}

impl Line {
    const EMPTY: Line = Line {
        waiting: 0,
        since: None,
    };

    /// The next one to leave hands it over.
    fn is_overdue(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| since + PATIENCE <= now)
    }

    fn come(&mut self, now: Instant) {
        self.waiting += 1;
        self.since.get_or_insert(now);
    }

    /// One of it has had a turn, or does not wait any more.
    fn go(&mut self, had_turn: bool) {
        self.waiting -= 1;
        self.since = match (self.waiting, had_turn) {
            (0, _) => None,
            (_, true) => Some(Instant::now()),
            (_, false) => self.since,
        };
    }
}

impl Others {
    fn line(&mut self, whose: Whose) -> &mut Line {
        &mut self.lines[whose as usize]
    }

    /// Who goes first, if anybody waits.
    fn next(&self) -> Option<Whose> {
        let all = [Whose::Newcomers, Whose::Again];
        all.into_iter()
            .find(|whose| self.lines[*whose as usize].waiting > 0)
    }

    /// Who has waited for long, if anybody has: those first who are last otherwise.
    fn overdue(&self) -> Option<Whose> {
        let now = Instant::now();
        let all = [Whose::Again, Whose::Newcomers];
        all.into_iter()
            .find(|whose| self.lines[*whose as usize].is_overdue(now))
    }
}

/// As `lock` and `try_lock_until`, for who had the lock and left it to others: behind those who have just come.
pub(crate) fn lock_again<T>(
    mutex: &Mutex<T>,
    deadline: Option<Instant>,
) -> Option<MutexGuard<'_, T>> {
    // SAFETY: a lock that was taken is left by its guard, which is made for it alone.
    unsafe {
        let is_taken = mutex.raw().take(Whose::Again, deadline);
        is_taken.then(|| mutex.make_guard_unchecked())
    }
}

/// How long one waits while others come and go.
const PATIENCE: Duration = Duration::from_millis(1);

impl Raw {
    fn others(&self) -> State<'_, Others> {
        // Nobody panics with it.
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn step(&self, from: u8, to: u8, success: Ordering) -> bool {
        let failure = Ordering::Relaxed;
        let changed = self.word.compare_exchange(from, to, success, failure);
        changed.is_ok()
    }

    /// Whether it is this thread's now; it is not if `deadline` has passed.
    fn take(&self, whose: Whose, deadline: Option<Instant>) -> bool {
        self.try_lock() || self.wait(whose, deadline)
    }

    #[cold]
    fn wait(&self, whose: Whose, deadline: Option<Instant>) -> bool {
        let mut others = self.others();
        others.line(whose).come(Instant::now());
        others.arrivals += 1;
        let arrival = others.arrivals;
        let is_mine = loop {
            let is_handed = |(to, last)| to == whose && arrival <= last;
            // Who has just left it for another one is here sooner than that one wakes.
            if others.handed.is_some_and(is_handed)
                || self.word.swap(WANTED, Ordering::Acquire) == FREE
            {
                break true;
            }
            let rest = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
            others = match deadline.map(rest) {
                Some(Duration::ZERO) => break false,
                Some(rest) => {
                    let waited = self.left[whose as usize].wait_timeout(others, rest);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.left[whose as usize]
                    .wait(others)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        };
        others.line(whose).go(is_mine);
        if is_mine {
            others.handed = None;
            let word = if others.next().is_none() {
                TAKEN
            } else {
                WANTED
            };
            self.word.store(word, Ordering::Relaxed);
        }
        is_mine
    }

    /// Leaves it to who comes first, unless one of those who wait has waited for long.
    #[cold]
    fn leave(&self) {
        let others = self.others();
        let overdue = others.overdue();
        self.leave_to(others, overdue);
    }

    /// Leaves it to one of those who wait, if there are any.
    #[cold]
    fn hand_over(&self) {
        let others = self.others();
        let next = others.next();
        self.leave_to(others, next);
    }

    fn leave_to(&self, mut others: State<'_, Others>, heirs: Option<Whose>) {
        others.handed = heirs.map(|whose| (whose, others.arrivals));
        if heirs.is_none() {
            self.word.store(FREE, Ordering::Release);
        }
        if let Some(whose) = heirs.or(others.next()) {
            self.left[whose as usize].notify_one();
        }
    }
}

// SAFETY: `word` leaves `FREE` by one thread's step at a time, and is `FREE` again when that thread
// leaves; or it stays as it is, and `handed` is found by one thread, under a lock.
unsafe impl RawMutex for Raw {
    const INIT: Raw = Raw {
        word: AtomicU8::new(FREE),
        others: std::sync::Mutex::new(Others {
            lines: [Line::EMPTY; 2],
            arrivals: 0,
            handed: None,
        }),
        left: [const { Condvar::new() }; 2],
    };

    type GuardMarker = GuardSend;

    fn lock(&self) {
        self.take(Whose::Newcomers, None);
    }

    #[inline]
    fn try_lock(&self) -> bool {
        self.step(FREE, TAKEN, Ordering::Acquire)
    }

    #[inline]
    unsafe fn unlock(&self) {
        if !self.step(TAKEN, FREE, Ordering::Release) {
            self.leave();
        }
    }
}

// SAFETY: as above.
unsafe impl RawMutexTimed for Raw {
    type Duration = Duration;
    type Instant = Instant;

    fn try_lock_for(&self, limit: Duration) -> bool {
        self.take(Whose::Newcomers, Instant::now().checked_add(limit))
    }

    fn try_lock_until(&self, deadline: Instant) -> bool {
        self.take(Whose::Newcomers, Some(deadline))
    }
}

// SAFETY: as above; one of those who wait finds `handed`, also if its time is over.
unsafe impl RawMutexFair for Raw {
    unsafe fn unlock_fair(&self) {
        if !self.step(TAKEN, FREE, Ordering::Release) {
            self.hand_over();
        }
    }
}
