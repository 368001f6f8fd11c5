//! How long blocks take, one after the other.

use std::time::Instant;

use crate::Outcome;
use crate::throughput::blocks;

/// With fewer blocks of `size` bytes, many of those that are timed would have come before.
pub fn least(size: usize) -> u64 {
    6 * blocks(size) as u64
}

/// Starts late: two processes that have just begun were seen on one processor of a virtual machine for up
/// to 25 ms; and the blocks' memory is new, but for that of the bare ring, which has filled it.
pub struct Clock {
    /// Blocks until it starts.
    left: u64,
    start: Option<Instant>,
    timed: u64,
}

impl Clock {
    /// For `count` blocks, of which it times the last third: [`least`] makes that enough.
    pub fn new(count: u64) -> Clock {
        let untimed = count / 3 * 2;
        Clock {
            left: untimed,
            start: None,
            timed: count - untimed,
        }
    }

    /// The next block is about to be copied.
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
