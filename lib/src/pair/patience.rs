//! How long an end looks before it sleeps: about as long as a sleep and a wake would cost.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::error::Error;

/// How often to look without a pause, about a microsecond: the partner of an end that keeps
/// up answers within that.
const SPINS: u32 = 50;

/// How long to look and give the processor away in between, before sleeping: about what a
/// sleep and a wake cost. The partner may be waiting for this very processor: to keep it for
/// as long took 44 microseconds to wake a partner, and 21 so.
const YIELDS: Duration = Duration::from_micros(20);

/// Whoever gives the processor away for as long as this has given it to somebody who is busy
/// for himself: a partner takes microseconds.
const TAKEN: Duration = Duration::from_micros(200);

/// For how many times as long an end then sleeps at once, so that it loses little.
const TIMES_AS_LONG: u32 = 32;

pub(super) struct Patience {
    spins: u32,
    /// Until when this end does not give the processor away.
    sleeps_until: Cell<Option<Instant>>,
}

impl Patience {
    pub(super) fn new(has_one_processor: bool) -> Patience {
        Patience {
            // On one processor, spinning only keeps the partner from running.
            spins: if has_one_processor { 0 } else { SPINS },
            sleeps_until: Cell::new(None),
        }
    }

    /// Looks, until `deadline` at most. Keeps the processor at first, unless this end
    /// `has_just_rung`, and then gives it away in between.
    pub(super) fn look<T>(
        &self,
        has_just_rung: bool,
        deadline: Option<Instant>,
        look: impl Fn() -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        if !has_just_rung {
            for _ in 0..self.spins {
                if let Some(found) = look()? {
                    return Ok(Some(found));
                }
                std::hint::spin_loop();
            }
        }
        if let Some(found) = look()? {
            return Ok(Some(found));
        }
        // After a look: who finds something has no need of the time.
        let mut now = Instant::now();
        if !self.gives_away(now) {
            return Ok(None);
        }
        let enough = now + YIELDS;
        let until = deadline.map_or(enough, |deadline| deadline.min(enough));
        while now < until {
            std::thread::yield_now();
            let before = std::mem::replace(&mut now, Instant::now());
            self.learn(now - before, now);
            if let Some(found) = look()? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn gives_away(&self, now: Instant) -> bool {
        self.sleeps_until.get().is_none_or(|until| until <= now)
    }

    /// The processor was given away, and came back `now`, after so long.
    fn learn(&self, away: Duration, now: Instant) {
        if away >= TAKEN {
            self.sleeps_until.set(now.checked_add(away * TIMES_AS_LONG));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    #[test]
    fn who_has_given_the_processor_to_somebody_busy_sleeps_at_once_for_a_while() {
        let (patience, now) = (Patience::new(true), Instant::now());
        let looks = || {
            let looks = Cell::new(0);
            let found = patience.look(false, None, || {
                looks.set(looks.get() + 1);
                Ok(None::<()>)
            });
            assert!(found.unwrap().is_none());
            looks.get()
        };
        assert!(looks() > 1);
        patience.sleeps_until.set(None);
        patience.learn(TAKEN / 2, now);
        assert!(patience.gives_away(now));
        patience.learn(TAKEN, now);
        assert!(!patience.gives_away(now));
        assert!(patience.gives_away(now + TAKEN * TIMES_AS_LONG));
        // Longer than this test may take.
        patience.learn(Duration::from_secs(3600), now);
        assert_eq!(looks(), 1);
    }
}
