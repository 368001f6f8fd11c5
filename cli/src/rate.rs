//! No more than so many bytes in a second.

use std::time::{Duration, Instant};

/// How much is done at once, at most, and how much of what was missed is made up for:
/// what comes in small pieces is smooth.
const PIECE: Duration = Duration::from_millis(50);

/// A limit, or none.
pub(crate) struct Limiter {
    bytes_per_second: Option<u64>,
    /// When what was done so far may be done.
    due: Instant,
}

impl Limiter {
    pub(crate) fn new(bytes_per_second: Option<u64>) -> Limiter {
        Limiter {
            bytes_per_second,
            due: Instant::now(),
        }
    }

    /// How many of `max` bytes to do next.
    pub(crate) fn piece(&self, max: usize) -> usize {
        let Some(rate) = self.bytes_per_second else {
            return max;
        };
        let bytes = rate as f64 * PIECE.as_secs_f64();
        max.min((bytes as usize).max(1))
    }

    /// Waits until `bytes` more may have been done. What was missed while there was
    /// nothing to do is not made up for.
    pub(crate) fn pace(&mut self, bytes: usize) {
        let wait = self.wait_after(bytes, Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
    }

    fn wait_after(&mut self, bytes: usize, now: Instant) -> Duration {
        let Some(rate) = self.bytes_per_second else {
            return Duration::ZERO;
        };
        let cost = Duration::from_secs_f64(bytes as f64 / rate as f64);
        self.due = self.due.max(now.checked_sub(PIECE).unwrap_or(now)) + cost;
        self.due.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes done in each of four seconds by one that always has more to do, and whose
    /// every sleep takes `late` longer than it should.
    fn seconds(rate: u64, block: usize, late: Duration) -> [u64; 4] {
        let mut limiter = Limiter::new(Some(rate));
        let start = limiter.due;
        let mut now = start;
        let mut done = [0; 4];
        while let Some(second) = done.get_mut((now - start).as_secs() as usize) {
            let bytes = limiter.piece(block);
            *second += bytes as u64;
            let wait = limiter.wait_after(bytes, now);
            now += wait + if wait.is_zero() { Duration::ZERO } else { late };
        }
        done
    }

    #[test]
    fn each_second_gets_what_it_may_within_a_twentieth() {
        for rate in [1000, 64 << 10, 1 << 20, 1 << 30] {
            for late in [0, 1, 20].map(Duration::from_millis) {
                for block in [512, 256 << 10, 1 << 30] {
                    for bytes in seconds(rate, block, late) {
                        let off = bytes.abs_diff(rate) as f64 / rate as f64;
                        // A block cannot be done in parts of itself.
                        let coarse = (block as f64).min(rate as f64 / 20.0) / rate as f64;
                        assert!(off <= f64::max(0.05, coarse) + 0.01, "{bytes} of {rate}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let mut limiter = Limiter::new(Some(1000));
        let later = limiter.due + Duration::from_secs(3600);
        let wait = limiter.wait_after(1000, later);
        assert_eq!(wait, Duration::from_secs(1) - PIECE);
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let mut limiter = Limiter::new(None);
        assert_eq!(limiter.piece(usize::MAX), usize::MAX);
        let now = limiter.due;
        assert_eq!(limiter.wait_after(usize::MAX, now), Duration::ZERO);
    }
}
