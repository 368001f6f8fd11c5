//! That a process does not grow.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// What the system says of this process, where it says it (Linux).
#[derive(Clone, Copy, Debug)]
struct Size {
    memory_kib: u64,
    descriptors: usize,
    threads: u64,
}

impl Size {
    fn now() -> Option<Size> {
        // What Wine shows there is another process's.
        if cfg!(not(target_os = "linux")) {
            return None;
        }
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let number = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Some(Size {
            memory_kib: number("VmRSS:")?,
            descriptors: fs::read_dir("/proc/self/fd").ok()?.count(),
            threads: number("Threads:")?,
        })
    }

    fn is_beyond(self, first: Size) -> bool {
        self.threads > first.threads
            || self.descriptors > first.descriptors + SLACK_DESCRIPTORS
            || self.memory_kib > first.memory_kib + SLACK_KIB
    }
}

/// What an allocator may keep of what was given back. A pool that stays mapped for each
/// pair, or a word for each block, is more in the long run.
const SLACK_KIB: u64 = 8 * 1024;

/// Who holds the name has a descriptor more: now the one process, now the other.
const SLACK_DESCRIPTORS: usize = 1;

/// A thread that has ended may be seen for a moment yet.
const PATIENCE: Duration = Duration::from_secs(10);

/// Looked at each time that this process has a new partner.
pub(crate) struct Flat {
    role: &'static str,
    pairs: u64,
    /// When all that is made only once was there.
    first: Option<Size>,
    last: Option<Size>,
}

impl Flat {
    pub(crate) fn new(role: &'static str) -> Flat {
        Flat {
            role,
            pairs: 0,
            first: None,
            last: None,
        }
    }

    pub(crate) fn observe(&mut self) {
        self.pairs += 1;
        self.last = Size::now();
        if self.pairs == 2 {
            self.first = self.last;
        }
        let Some(first) = self.first else {
            return;
        };
        let since = Instant::now();
        while let Some(last) = self.last
            && last.is_beyond(first)
        {
            let pairs = self.pairs;
            assert!(
                since.elapsed() < PATIENCE,
                "{pairs} pairs: {first:?} to {last:?}"
            );
            thread::sleep(Duration::from_millis(1));
            self.last = Size::now();
        }
        if self.pairs.is_multiple_of(10) {
            self.tell();
        }
    }

    /// For who reads along.
    fn tell(&self) {
        if let (Some(first), Some(last)) = (self.first, self.last) {
            println!(
                "{}, {} pairs: from {first:?} to {last:?}",
                self.role, self.pairs
            );
        }
    }
}
