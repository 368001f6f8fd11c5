//! A lock that can be waited for until a deadline, and handed to who waits.
//!
//! Of the library's locks for Rust, those with a deadline keep a table of who sleeps, of all locks of
//! the process. A forked child inherits it with threads that it does not have, and the first lock of
//! its own that it wakes somebody for goes through their memory. This one keeps nothing
//! outside of itself.
#![allow(unsafe_code, reason = "what a lock has to promise is declared unsafe")]

use std::sync::{Condvar, MutexGuard as State, PoisonError};
use std::time::{Duration, Instant};

use lock_api::{GuardSend, RawMutex, RawMutexFair, RawMutexTimed};

pub(crate) type Mutex<T> = lock_api::Mutex<Raw, T>;
pub(crate) type MutexGuard<'m, T> = lock_api::MutexGuard<'m, Raw, T>;
pub(crate) type MappedMutexGuard<'m, T> = lock_api::MappedMutexGuard<'m, Raw, T>;

/// What `lock_api` makes a lock of.
pub(crate) struct Raw {
    state: std::sync::Mutex<Taken>,
    left: Condvar,
}

struct Taken {
    is_taken: bool,
    /// It was left for one of those who wait, and for nobody else.
    is_handed: bool,
    waiting: usize,
}

impl Raw {
    fn state(&self) -> State<'_, Taken> {
        // Nobody panics with it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is this thread's now; it is not if `deadline` has passed.
    fn take(&self, deadline: Option<Instant>) -> bool {
        let mut state = self.state();
        if !state.is_taken {
            state.is_taken = true;
            return true;
        }
        state.waiting += 1;
        let is_mine = loop {
            if !state.is_taken || state.is_handed {
                break true;
            }
            let now = Instant::now();
            state = match deadline.map(|deadline| deadline.saturating_duration_since(now)) {
                Some(Duration::ZERO) => break false,
                Some(rest) => {
                    let waited = self.left.wait_timeout(state, rest);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self
                    .left
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        };
        state.waiting -= 1;
        if is_mine {
            (state.is_taken, state.is_handed) = (true, false);
        }
        is_mine
    }
}

// SAFETY: `is_taken` is set by one thread at a time, under a lock, and stays set until that thread
// leaves, or whoever it hands the lock to.
unsafe impl RawMutex for Raw {
    const INIT: Raw = Raw {
        state: std::sync::Mutex::new(Taken {
            is_taken: false,
            is_handed: false,
            waiting: 0,
        }),
        left: Condvar::new(),
    };

    type GuardMarker = GuardSend;

    fn lock(&self) {
        self.take(None);
    }

    fn try_lock(&self) -> bool {
        !std::mem::replace(&mut self.state().is_taken, true)
    }

    unsafe fn unlock(&self) {
        let mut state = self.state();
        state.is_taken = false;
        if state.waiting > 0 {
            self.left.notify_one();
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

// SAFETY: as above; one of those who wait finds `is_handed`, also if its time is over.
unsafe impl RawMutexFair for Raw {
    unsafe fn unlock_fair(&self) {
        let mut state = self.state();
        match state.waiting {
            0 => state.is_taken = false,
            _ => {
                state.is_handed = true;
                self.left.notify_one();
            }
        }
    }
}
