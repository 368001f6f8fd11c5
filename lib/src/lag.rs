//! How long an end that has caught up with its partner pauses before it looks for more.
//!
//! Each look takes the line of the partner's counter away from the partner's processor, which
//! stops at its next store to it. Two ends in lockstep, of which one looks after each block
//! that the other publishes, spend most of their time so. An end that pauses finds several
//! blocks at once. Where the partner waits for an answer to each block there is nothing to be
//! found, and a pause is only lost time. So what was found after the last pause says how long
//! the next one is.

use std::cell::Cell;

/// Blocks up to this size, in bytes, take less time to copy than the two ends to tell each
/// other of some.
const SMALL_BLOCK: usize = 16 << 10;

/// Who found as many as this at once is not in lockstep.
pub(crate) const MANY: u64 = 16;

/// The shortest pause: a few hundred nanoseconds. All are counted in pauses of the processor.
const SHORTEST: u32 = 16;

/// The longest.
const LONGEST: u32 = 128;

/// An end that does not pause and finds one block each time tries a pause once for so many:
/// there may have been more if it had waited.
const TRIED_ONCE_FOR: u32 = 64;

pub(crate) struct Lag {
    /// Zero, or between the shortest and the longest.
    pauses: Cell<u32>,
    /// Nothing was found the last time.
    is_idle: Cell<bool>,
    /// Single blocks until the next try.
    until_try: Cell<u32>,
    /// Whether it can pay to pause.
    can_pay: bool,
}

impl Lag {
    pub(crate) fn new(block_size: usize, block_count: usize) -> Lag {
        Lag {
            pauses: Cell::new(0),
            is_idle: Cell::new(false),
            until_try: Cell::new(0),
            // With one block, the partner cannot get ahead.
            can_pay: block_size <= SMALL_BLOCK && block_count > 1,
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
        if found >= MANY {
            return 0;
        }
        let last = self.pauses.get();
        let was_idle = self.is_idle.replace(found == 0);
        let next = match found {
            // Those that were found before may all have been taken when this look began.
            0 if !was_idle => last,
            0 => last / 4,
            1 if last == 0 => self.attempt(),
            1 => last / 2,
            _ => (2 * last).clamp(SHORTEST, LONGEST),
        };
        let next = if next < SHORTEST { 0 } else { next };
        self.pauses.set(next);
        next
    }

    fn attempt(&self) -> u32 {
        match self.until_try.get() {
            0 => {
                self.until_try.set(TRIED_ONCE_FOR);
                SHORTEST
            }
            left => {
                self.until_try.set(left - 1);
                0
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn after<const N: usize>(lag: &Lag, found: [u64; N]) -> [u32; N] {
        found.map(|found| lag.pauses_after(found))
    }

    #[test]
    fn it_can_pay_with_small_blocks_of_which_there_are_several() {
        assert!(Lag::new(16 << 10, 2).can_pay);
        assert!(!Lag::new(16 << 10, 1).can_pay && !Lag::new((16 << 10) + 1, 2).can_pay);
    }

    #[test]
    fn who_finds_a_few_each_time_pauses_for_longer_and_longer() {
        let lag = Lag::new(64, 2);
        assert_eq!(after(&lag, [2, 15, 3, 2, 2]), [16, 32, 64, 128, 128]);
        // What many are worth is not forgotten.
        assert_eq!(after(&lag, [16, 1000, 2]), [0, 0, 128]);
    }

    #[test]
    fn who_finds_nothing_more_soon_does_not_pause() {
        let lag = Lag::new(64, 2);
        after(&lag, [2, 2, 2, 2]);
        // Once, since what is found next may be more than a few.
        assert_eq!(after(&lag, [0, 0, 0, 0]), [128, 32, 0, 0]);
    }

    #[test]
    fn of_single_blocks_few_are_paused_for() {
        let lag = Lag::new(64, 2);
        after(&lag, [2, 2, 2, 2]);
        assert_eq!(after(&lag, [1, 1, 1]), [64, 32, 16]);
        let answered = || (0..1000).map(|turn| lag.pauses_after(turn % 2));
        let paused = answered().filter(|&pauses| pauses != 0).count();
        // For each try once more, with nothing found.
        assert!((1..=2 * 500 / 64 + 2).contains(&paused), "{paused}");
        // If a try finds several, it was worth it.
        let tried = (0..1000).find(|_| lag.pauses_after(1) != 0);
        assert!(tried.is_some());
        assert_eq!(after(&lag, [2, 2]), [32, 64]);
    }
}
