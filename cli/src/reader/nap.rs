//! The wait for an empty block, without a wake for each.
//!
//! A Reader that is faster than its Writer would sleep and be woken once for each block. But
//! when all blocks are full, the Writer has work for a while; so the Reader naps for less than
//! that, and then finds several.

use std::cell::Cell;
use std::thread;
use std::time::Duration;

use brigade::{EmptyBlock, Error, Reader};

/// No Writer takes more than that in a nanosecond out of blocks: it would have to be faster
/// than memory.
const BYTES_PER_NS: u64 = 16;

/// With less before it, a Writer could have to wait.
const LEAST: u64 = 1 << 20;

/// However large the pool is: so much later the Reader hears of what became of its Writer.
const LONGEST: Duration = Duration::from_micros(500);

/// Elsewhere a sleep may last for many milliseconds.
const CAN_NAP: bool = cfg!(target_os = "linux");

/// The blocks that a Reader fills with data.
pub(super) struct Blocks<'r> {
    reader: &'r Reader,
    /// In blocks, to this Writer.
    sent_bytes: Cell<u64>,
}

impl<'r> Blocks<'r> {
    pub(super) fn of(reader: &'r Reader) -> Blocks<'r> {
        Blocks {
            reader,
            sent_bytes: Cell::new(reader.delivered().bytes),
        }
    }

    pub(super) fn count(&self, len: usize) {
        self.sent_bytes.set(self.sent_bytes.get() + len as u64);
    }

    /// As [`Reader::empty_block`].
    pub(super) fn empty(&self) -> Result<EmptyBlock<'r>, Error> {
        if !CAN_NAP {
            return self.reader.empty_block();
        }
        if let Some(block) = self.reader.try_empty_block()? {
            return Ok(block);
        }
        // What another Writer had not given back counts as delivered, and not as sent.
        let delivered = self.reader.delivered().bytes;
        if let Some(nap) = nap(self.sent_bytes.get().saturating_sub(delivered)) {
            thread::sleep(nap);
        }
        self.reader.empty_block()
    }
}

/// For how long a Writer that has `bytes` before it is busy for sure.
fn nap(bytes: u64) -> Option<Duration> {
    let busy = Duration::from_nanos(bytes / BYTES_PER_NS);
    (bytes >= LEAST).then(|| busy.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_naps_for_as_long_as_its_writer_is_busy_at_least() {
        assert_eq!(nap(LEAST - 1), None);
        assert_eq!(nap(4 << 20), Some(Duration::from_nanos(262_144)));
        assert_eq!(nap(u64::MAX), Some(LONGEST));
    }
}
