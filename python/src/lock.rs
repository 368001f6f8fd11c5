//! A lock that can be waited for until a deadline, and handed to who waits.
//!
//! Of the library's locks for Rust, those with a deadline keep a table of who sleeps, of all locks of
//! the process. A forked child inherits it with threads that it does not have, and the first lock of
//! its own that it wakes somebody for goes through their memory. This one keeps nothing
//! outside of itself.
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
    left: Condvar,
}

const FREE: u8 = 0;
const TAKEN: u8 = 1;
/// Taken, and somebody waits, or has waited: only under `others` is it known.
const WANTED: u8 = 2;

struct Others {
    waiting: usize,
    /// How many have ever waited.
    arrivals: u64,
    /// It was left for one of those that had come before so many, and for nobody else.
    handed: Option<u64>,
    /// One of those who wait was too late again and again: the next one to leave hands it over.
    is_overdue: bool,
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
    fn take(&self, deadline: Option<Instant>) -> bool {
        self.try_lock() || self.wait(deadline)
    }

    #[cold]
    fn wait(&self, deadline: Option<Instant>) -> bool {
        let since = Instant::now();
        let mut others = self.others();
        others.waiting += 1;
        others.arrivals += 1;
        let arrival = others.arrivals;
        let is_mine = loop {
            // Who has just left it for another one is here sooner than that one wakes.
            let is_handed = others.handed.is_some_and(|last| arrival <= last);
            if is_handed || self.word.swap(WANTED, Ordering::Acquire) == FREE {
                break true;
            }
            let now = Instant::now();
            others.is_overdue |= since + PATIENCE <= now;
            others = match deadline.map(|deadline| deadline.saturating_duration_since(now)) {
                Some(Duration::ZERO) => break false,
                Some(rest) => {
                    let waited = self.left.wait_timeout(others, rest);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self
                    .left
                    .wait(others)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        };
        others.waiting -= 1;
        if is_mine {
            others.handed = None;
            others.is_overdue = false;
            let word = if others.waiting == 0 { TAKEN } else { WANTED };
            self.word.store(word, Ordering::Relaxed);
        }
        is_mine
    }

    /// Leaves it to who comes first, unless one of those who wait has waited for long.
    #[cold]
    fn leave(&self) {
        let others = self.others();
        let is_handed = others.is_overdue;
        self.leave_to(others, is_handed);
    }

    /// Leaves it to one of those who wait, if there are any.
    #[cold]
    fn hand_over(&self) {
        self.leave_to(self.others(), true);
    }

    fn leave_to(&self, mut others: State<'_, Others>, is_handed: bool) {
        others.handed = (is_handed && others.waiting > 0).then_some(others.arrivals);
        if others.handed.is_none() {
            self.word.store(FREE, Ordering::Release);
        }
        if others.waiting > 0 {
            self.left.notify_one();
        }
    }
}

// SAFETY: `word` leaves `FREE` by one thread's step at a time, and is `FREE` again when that thread
// leaves; or it stays as it is, and `handed` is found by one thread, under a lock.
unsafe impl RawMutex for Raw {
    const INIT: Raw = Raw {
        word: AtomicU8::new(FREE),
        others: std::sync::Mutex::new(Others {
            waiting: 0,
            arrivals: 0,
            handed: None,
            is_overdue: false,
        }),
        left: Condvar::new(),
    };

    type GuardMarker = GuardSend;

    fn lock(&self) {
        self.take(None);
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
        self.take(Instant::now().checked_add(limit))
    }

    fn try_lock_until(&self, deadline: Instant) -> bool {
        self.take(Some(deadline))
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
