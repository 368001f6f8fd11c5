//! How long an end that has caught up with its partner pauses before it looks for more.
//!
//! Each look takes the line of the partner's counter away from the partner's processor, which
//! stops at its next store to it. Two ends in lockstep, of which one looks after each block
//! that the other publishes, spend most of their time so. An end that pauses first finds several
//! blocks at once. Where no more will come, since the partner waits for an answer or has no
//! block left, a pause is only lost time. So a longer pause stays only if it found more.

use std::cell::Cell;

/// Blocks up to this size, in bytes, take less time to copy than the two ends to tell each
/// other of some.
const SMALL_BLOCK: usize = 4 << 10;

/// Who found as many as this at once is not in lockstep.
pub(crate) const MANY: u64 = 64;

/// The shortest pause: some hundred nanoseconds. All are counted in pauses of the processor.
const SHORTEST: u32 = 16;

/// The longest.
const LONGEST: u32 = 128;

/// An end for which it did not pay to pause looks so many times without, and then tries again.
const UNTRIED: u32 = 64;

pub(crate) struct Lag {
    /// How long to pause: nothing, or between the shortest and the longest.
    pauses: Cell<u32>,
    /// Longer pauses are being tried, not shorter ones.
    is_growing: Cell<bool>,
    /// What the look before the last one found.
    found_before: Cell<u64>,
    /// There was a pause before the last look.
    has_paused: Cell<bool>,
    /// The last look found nothing.
    is_idle: Cell<bool>,
    /// Looks until the next try.
    until_try: Cell<u32>,
    /// Whether it can pay to pause.
    can_pay: bool,
}

impl Lag {
    pub(crate) fn new(block_size: usize, block_count: usize, has_one_processor: bool) -> Lag {
        Lag {
            pauses: Cell::new(0),
            is_growing: Cell::new(true),
            found_before: Cell::new(0),
            has_paused: Cell::new(false),
            is_idle: Cell::new(false),
            until_try: Cell::new(0),
            // A partner with one block, or without a processor, cannot get ahead.
            can_pay: block_size <= SMALL_BLOCK && block_count > 1 && !has_one_processor,
        }
    }

    /// Before a look, if the last one `found` so many blocks.
    pub(crate) fn pause(&self, found: u64) {
        if self.can_pay {
            for _ in 0..self.pauses_after(found) {
                std::hint::spin_loop();
            }
        }
    }

    fn pauses_after(&self, found: u64) -> u32 {
        let was_idle = self.is_idle.replace(found == 0);
        let has_paused = self.has_paused.replace(false);
        if found == 0 && was_idle {
            // Nothing comes for now.
            self.set(self.pauses.get() / 4);
        }
        if found == 0 || found >= MANY {
            return 0;
        }
        let before = self.found_before.replace(found);
        if has_paused {
            self.learn(before, found);
        } else if self.pauses.get() == 0 && self.is_to_try() {
            self.is_growing.set(true);
            self.pauses.set(SHORTEST);
        }
        self.has_paused.set(self.pauses.get() > 0);
        self.pauses.get()
    }

    /// A pause found so many, and another one, or none, `before` that.
    fn learn(&self, before: u64, found: u64) {
        let is_growing = match self.is_growing.get() {
            true => 2 * found >= 3 * before,
            false => 3 * found <= 2 * before,
        };
        self.is_growing.set(is_growing);
        let pauses = self.pauses.get();
        self.set(match is_growing {
            true => 2 * pauses,
            false => pauses / 2,
        });
    }

    fn set(&self, pauses: u32) {
        let is_one = pauses >= SHORTEST;
        self.pauses
            .set(if is_one { pauses.min(LONGEST) } else { 0 });
    }

    fn is_to_try(&self) -> bool {
        let left = self.until_try.get();
        self.until_try.set(left.checked_sub(1).unwrap_or(UNTRIED));
        left == 0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn lag() -> Lag {
        Lag::new(64, 2, false)
    }

    fn after<const N: usize>(lag: &Lag, found: [u64; N]) -> [u32; N] {
        found.map(|found| lag.pauses_after(found))
    }

    /// The pauses of an end that finds `found(pauses)` blocks after so many, in the mean.
    fn mean(looks: u32, found: impl Fn(u32) -> u64) -> f64 {
        let (lag, mut paused) = (lag(), 0);
        let mut pauses = 0;
        for _ in 0..looks {
            pauses = lag.pauses_after(found(pauses));
            paused += pauses;
        }
        f64::from(paused) / f64::from(looks)
    }

    #[test]
    fn it_can_pay_with_small_blocks_of_which_there_are_several() {
        assert!(Lag::new(4 << 10, 2, false).can_pay);
        assert!(!Lag::new(4 << 10, 1, false).can_pay);
        assert!(!Lag::new((4 << 10) + 1, 2, false).can_pay);
        assert!(!Lag::new(4 << 10, 2, true).can_pay);
    }

    #[test]
    fn a_pause_that_finds_more_is_followed_by_a_longer_one() {
        let lag = lag();
        assert_eq!(after(&lag, [1, 2, 4, 8, 15]), [16, 32, 64, 128, 128]);
        // Who finds many, or nothing, looks at once; what was learnt stays.
        assert_eq!(after(&lag, [MANY, 1000, 2, 0, 2]), [0, 0, 128, 0, 128]);
        assert_eq!(after(&lag, [0, 0, 0, 2]), [0, 0, 0, 0]);
    }

    #[test]
    fn a_pause_that_finds_no_more_is_followed_by_none() {
        for found in 1..MANY {
            let lag = lag();
            assert_eq!(after(&lag, [found; 4]), [16, 0, 0, 0], "{found}");
            // And is tried again.
            let tries = (0..1000).filter(|_| lag.pauses_after(found) > 0).count();
            assert!((1000 / 70..1000 / 60).contains(&tries), "{found}: {tries}");
        }
    }

    #[test]
    fn a_stream_is_paused_for_and_a_few_blocks_at_a_time_for_no_longer_than_they_take() {
        // A block in the time of 8 pauses, or of 16.
        for slowness in [8, 16] {
            let mean = mean(10_000, |pauses| 1 + u64::from(pauses / slowness));
            assert!(mean > 48.0, "{slowness}: {mean}");
        }
        // Of no more than a few, however long the pause, nobody pauses much longer than it takes
        // to find them all.
        for few in 1..40 {
            let mean = mean(10_000, |pauses| few.min(1 + u64::from(pauses)));
            assert!(mean < 2.0 * few as f64, "{few}: {mean}");
        }
    }
}
