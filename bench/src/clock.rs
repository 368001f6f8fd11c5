//! How long blocks take, one after the other.

use std::time::Instant;

use crate::Outcome;
use crate::throughput::blocks;

/// Starts late: two processes that have just begun often share a processor of a virtual machine until
/// the system notices, which takes up to 40 ms, unless they spin before, as the bare ring's drainer does;
/// and the blocks' memory is new.
pub struct Clock {
    /// Blocks until it starts.
    left: u64,
    start: Option<Instant>,
    timed: u64,
}

impl Clock {
    /// For `count` blocks of `size` bytes.
    pub fn new(size: usize, count: u64) -> Clock {
        let untimed = (count / 3 * 2)
            .max(blocks(size) as u64)
            .min(count.saturating_sub(1));
        Clock {
            left: untimed,
            start: None,
            timed: count - untimed,
        }
    }

    /// The next block has come.
    #[inline(always)]
    pub fn tick(&mut self) {
        if self.left == 0 {
            self.start = Some(Instant::now());
        }
        self.left = self.left.wrapping_sub(1);
    }

    /// When the last one was copied: seconds for each.
    pub fn seconds(&self) -> Outcome<f64> {
        let start = self.start.ok_or("not enough came")?;
        Ok(start.elapsed().as_secs_f64() / self.timed as f64)
    }
}
