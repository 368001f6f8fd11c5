//! How long an end has waited for its partner.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long this end has slept, and since when it sleeps now, for other threads to
/// see. Of no weight beside the sleep itself.
pub(super) struct Waits {
    epoch: Instant,
    /// Whole sleeps, in nanoseconds.
    total_ns: AtomicU64,
    /// When this one began, in nanoseconds since `epoch`; 0 while awake.
    since_ns: AtomicU64,
}

impl Waits {
    pub(super) fn new() -> Waits {
        Waits {
            epoch: Instant::now(),
            total_ns: AtomicU64::new(0),
            since_ns: AtomicU64::new(0),
        }
    }

    fn now_ns(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    pub(super) fn count<T>(&self, sleep: impl FnOnce() -> T) -> T {
        let since = self.now_ns().max(1);
        self.since_ns.store(since, Ordering::Relaxed);
        let woken = sleep();
        self.since_ns.store(0, Ordering::Relaxed);
        let slept = self.now_ns() - since;
        // One thread at a time waits, so no read-modify-write is needed.
        let total = self.total_ns.load(Ordering::Relaxed) + slept;
        self.total_ns.store(total, Ordering::Relaxed);
        woken
    }

    pub(super) fn so_far(&self) -> Duration {
        let current = match self.since_ns.load(Ordering::Relaxed) {
            0 => 0,
            since => self.now_ns().saturating_sub(since),
        };
        Duration::from_nanos(self.total_ns.load(Ordering::Relaxed) + current)
    }
}
