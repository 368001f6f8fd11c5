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
        self.empty_after(thread::sleep)
    }

    fn empty_after(&self, sleep: impl FnOnce(Duration)) -> Result<EmptyBlock<'r>, Error> {
        if !CAN_NAP {
            return self.reader.empty_block();
        }
        if let Some(block) = self.reader.try_empty_block()? {
            return Ok(block);
        }
        // What another Writer had not given back counts as delivered, and not as sent.
        let delivered = self.reader.delivered().bytes;
        if let Some(nap) = nap(self.sent_bytes.get().saturating_sub(delivered)) {
            sleep(nap);
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
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// Within this much time anything is ready, however busy the machine.
    #[cfg(target_os = "linux")]
    const SOON: Duration = Duration::from_secs(60);

    /// Two ends in this process.
    #[cfg(target_os = "linux")]
    fn pair() -> (Reader, brigade::Writer) {
        let directory = tempfile::tempdir().unwrap();
        let name = format!("{}/n", directory.path().display());
        let options = brigade::Options::new();
        let seat = brigade::Seat::take(&name, &options).unwrap();
        let host = thread::spawn(move || seat.wait());
        let second = loop {
            match brigade::join(&name, &options) {
                // A busy machine keeps the host from opening its door.
                Err(Error::TooManyInstances { .. }) => {}
                joined => break joined.unwrap(),
            }
        };
        let reader = host.join().unwrap().unwrap().into_reader().unwrap();
        (reader, second.into_writer().unwrap())
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_reader_naps_once_when_all_blocks_are_full_and_then_finds_what_came_back() {
        use std::sync::mpsc::channel;
        let (reader, writer) = pair();
        let count = reader.block_count();
        let (nap_begins, begun) = channel();
        let (all_are_back, back) = channel();
        // Gives the blocks back during the nap; much later, if there is none.
        let drainer = thread::spawn(move || {
            let napped = begun.recv_timeout(SOON).ok();
            (0..count).for_each(|_| drop(writer.data_block().unwrap()));
            all_are_back.send(()).unwrap();
            (writer, napped)
        });
        let blocks = Blocks::of(&reader);
        let awake = |_| unreachable!("it napped with empty blocks");
        for _ in 0..count {
            let block = blocks.empty_after(awake).unwrap();
            let len = block.len();
            block.send(len, 0).unwrap();
            blocks.count(len);
        }
        let nap = |nap| {
            nap_begins.send(nap).unwrap();
            back.recv().unwrap();
        };
        let mut held = vec![blocks.empty_after(nap).unwrap()];
        held.extend((1..count).map(|_| blocks.empty_after(awake).unwrap()));
        let (_writer, napped) = drainer.join().unwrap();
        assert_eq!(napped, super::nap(4 << 20));
    }

    #[test]
    fn a_reader_naps_for_as_long_as_its_writer_is_busy_at_least() {
        assert_eq!(nap(LEAST - 1), None);
        assert_eq!(nap(4 << 20), Some(Duration::from_nanos(262_144)));
        assert_eq!(nap(u64::MAX), Some(LONGEST));
    }
}
