//! How long an end looks before it sleeps: about as long as a sleep and a wake would cost.

use std::time::{Duration, Instant};

use crate::error::Error;

/// How often to look without a pause, about a microsecond: the partner of an end that keeps
/// up answers within that.
const SPINS: u32 = 50;

/// The same with small blocks, where each look lasts longer (`ring::Incoming`
/// lags).
const SPINS_SMALL: u32 = 5;

/// Blocks up to this size, in bytes, take less time to copy than the two ends to
/// tell each other of one.
pub(super) const SMALL_BLOCK: usize = 4096;

/// How long to look and give the processor away in between, before sleeping: about what a
/// sleep and a wake cost. The partner may be waiting for this very processor: to keep it for
/// as long took 44 microseconds to wake a partner, and 21 so.
const YIELDS: Duration = Duration::from_micros(20);

pub(super) struct Patience {
    spins: u32,
}

impl Patience {
    pub(super) fn new(block_size: usize, has_one_processor: bool) -> Patience {
        // On one processor, spinning only keeps the partner from running.
        let spins = match (has_one_processor, block_size <= SMALL_BLOCK) {
            (true, _) => 0,
            (false, true) => SPINS_SMALL,
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
        let enough = Instant::now() + YIELDS;
        let until = deadline.map_or(enough, |deadline| deadline.min(enough));
        loop {
            let found = look()?;
            if found.is_some() || until <= Instant::now() {
                return Ok(found);
            }
            std::thread::yield_now();
        }
    }
}
