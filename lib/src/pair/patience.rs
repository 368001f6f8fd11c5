//! How long an end looks before it sleeps: about as long as a sleep and a wake would cost.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::error::Error;

/// How often to look with one pause in between, for about two microseconds: the partner of an end
/// that keeps up answers within that.
const SPINS: u32 = 50;

/// How often to pause between two looks from then on.
const PAUSES: u32 = 8;

/// How long to look before sleeping: about what a sleep and a wake cost.
///
/// An end that has just rung gives the processor away between its looks, since the partner may be waiting
/// for this very one: to keep it for as long took 44 microseconds to wake a partner, and 21 so. Any other
/// end keeps it, and pauses: what two processors of a virtual machine, or of one core, leave to each
/// other, they leave in pauses. While one copied blocks of 256 KiB and the other gave its processor away
/// again and again, a block took 17.6 microseconds, and 7.5 so.
const ENOUGH: Duration = Duration::from_micros(20);

/// Whoever gives the processor away for as long as this has given it to somebody who is busy
/// for himself: a partner takes microseconds.
const TAKEN: Duration = Duration::from_micros(200);

/// For how many times as long an end then sleeps at once, so that it loses little.
const TIMES_AS_LONG: u32 = 32;

/// Who looks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// An end that has just rung, and whose partner may wait for this very processor.
    HasRung,
    /// A task. Its thread has often just been woken by whom it waits for, or has rung it over the
    /// session's other lane: where it kept its processor, a question over Tokio and its answer took 84
    /// microseconds, and 16 where it gives it away.
    Task,
    /// Any other end.
    Thread,
}

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

    /// Looks, until `deadline` at most. Whether it gives the processor away in between, and when, depends
    /// on `who` looks; where there is only one, it always does.
    pub(super) fn look<T>(
        &self,
        who: Who,
        deadline: Option<Instant>,
        look: impl Fn() -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        let keeps = who == Who::Thread && self.spins > 0;
        if who != Who::HasRung {
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
        if !keeps && !self.gives_away(now) {
            return Ok(None);
        }
        let enough = now + ENOUGH;
        let until = deadline.map_or(enough, |deadline| deadline.min(enough));
        while now < until {
            match keeps {
                true => (0..PAUSES).for_each(|_| std::hint::spin_loop()),
                false => std::thread::yield_now(),
            }
            let before = std::mem::replace(&mut now, Instant::now());
            if !keeps {
                self.learn(now - before, now);
            }
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
            let found = patience.look(Who::Thread, None, || {
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

    #[test]
    fn who_has_not_just_rung_keeps_the_processor_and_looks_on() {
        let patience = Patience::new(false);
        // Whoever gave it away now would lose it to somebody.
        patience.learn(Duration::from_secs(3600), Instant::now());
        let looks = |who| {
            let looks = Cell::new(0);
            let look = || {
                looks.set(looks.get() + 1);
                Ok(None::<()>)
            };
            assert!(patience.look(who, None, look).unwrap().is_none());
            looks.get()
        };
        assert_eq!(looks(Who::HasRung), 1);
        assert_eq!(looks(Who::Task), SPINS + 1);
        assert!(looks(Who::Thread) > SPINS + 1);
    }
}
