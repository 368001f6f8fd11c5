//! How long an end looks before it sleeps: about as long as a sleep and a wake would cost.

use std::time::{Duration, Instant};

use crate::error::Error;

/// How often to look without a pause, about a microsecond: the partner of an end that keeps
/// up answers within that.
const SPINS: u32 = 50;

/// The same where each look lasts longer: with small blocks.
const SPINS_LAGGING: u32 = 5;

/// How long to look and give the processor away in between, before sleeping: about what a
/// sleep and a wake cost. The partner may be waiting for this very processor: to keep it for
/// as long took 44 microseconds to wake a partner, and 21 so.
const YIELDS: Duration = Duration::from_micros(20);

pub(super) struct Patience {
    spins: u32,
}

impl Patience {
    /// `lags`: each look lasts long (see [`crate::ring::Incoming`]).
    pub(super) fn new(lags: bool, has_one_processor: bool) -> Patience {
        // On one processor, spinning only keeps the partner from running.
        let spins = match (has_one_processor, lags) {
            (true, _) => 0,
            (false, true) => SPINS_LAGGING,
            (false, false) => SPINS,
        };
        Patience { spins }
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
        let mut until = None;
        loop {
            if let Some(found) = look()? {
                return Ok(Some(found));
            }
            // After a look: who finds something has no need of the time.
            let now = Instant::now();
            let until = *until.get_or_insert_with(|| {
                let enough = now + YIELDS;
                deadline.map_or(enough, |deadline| deadline.min(enough))
            });
            if until <= now {
                return Ok(None);
            }
            std::thread::yield_now();
        }
    }
}
