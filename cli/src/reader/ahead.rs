//! What is read before there is an empty block for it: while the destination takes little or
//! nothing, a stream is read on, into memory of this process. So a source that gives in bursts
//! need not wait for a destination that takes in bursts.
//!
//! ```text
//! source ─┬──────────────> empty block    while blocks come back in time
//!         └──> pieces ───> empty block    from then on, until all pieces are sent
//! ```

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::reader::source::Source;
use crate::sys;

/// As large as a block.
const PIECE: usize = 256 * 1024;

/// A second at 50 MB/s, and some more. A process that has a pool of 4 MiB and all of this
/// stays below 68 MiB.
const MOST: usize = 56 << 20;

/// No more than this part of what memory there is.
const MEMORY_PART: u64 = 8;

/// How often it is asked how much that is, at most.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Pieces that are kept when none is needed: to get one and give it back for each small delay
/// would cost more than to copy it.
const SPARE: usize = 4;

/// How long the destination is looked at to know how fast it is.
const WINDOW: Duration = Duration::from_millis(10);

/// One that takes more than this in a second is no reason to copy all data once more.
const FAST: u64 = 128 << 20;

/// What to do where no block is empty.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Wait for an empty block.
    Wait,
    /// The same, and ask again at that time.
    WaitUntil(Instant),
    /// Read ahead, or wait for whichever comes first.
    Read,
}

/// What was read ahead.
pub(super) struct Ahead {
    pieces: VecDeque<Piece>,
    spare: Vec<Box<[u8]>>,
    /// Bytes in all pieces.
    len: usize,
    /// Bytes of memory that they may take, and when that was found out.
    most: usize,
    asked: Option<Instant>,
    /// The source has more than there is room for.
    is_full: bool,
    is_at_end: bool,
    failed: Option<io::Error>,
    speed: Speed,
}

struct Piece {
    bytes: Box<[u8]>,
    /// Where in it the rest begins and ends.
    rest: Range<usize>,
}

/// How fast the destination takes.
struct Speed {
    since: Instant,
    /// Bytes that it had taken by then.
    taken: u64,
    is_slow: bool,
}

impl Ahead {
    /// Nothing is ever read ahead unless that `is_wanted`.
    pub(super) fn new(is_wanted: bool) -> Ahead {
        Ahead {
            pieces: VecDeque::new(),
            spare: Vec::new(),
            len: 0,
            most: 0,
            asked: None,
            is_full: false,
            is_at_end: !is_wanted,
            failed: None,
            speed: Speed {
                since: Instant::now(),
                taken: 0,
                is_slow: false,
            },
        }
    }

    /// Bytes that were read and not taken.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// What to do where no block is empty.
    pub(super) fn next(&mut self) -> Next {
        if self.is_at_end || self.failed.is_some() {
            return Next::Wait;
        }
        let is_empty = self.len == 0;
        self.is_full &= !is_empty;
        // One that is as fast as this source can do without: the pieces run out then.
        if !self.speed.is_slow && (is_empty || self.is_full) {
            return Next::WaitUntil(self.speed.since + WINDOW);
        }
        match self.make_room() {
            true => Next::Read,
            false => {
                self.is_full = true;
                Next::Wait
            }
        }
    }

    /// After each wait for a block that did not come; `is_first`, if there was one before that.
    /// The destination has `taken` so many bytes so far.
    pub(super) fn look(&mut self, is_first: bool, taken: impl FnOnce() -> u64) {
        self.speed.look(is_first, Instant::now(), taken);
    }

    /// Reads what `source` has now, no more than `most` bytes. How many that were.
    pub(super) fn read(&mut self, source: &mut Source, most: usize) -> usize {
        let Some(last) = self.pieces.back_mut() else {
            return 0;
        };
        let room = &mut last.bytes[last.rest.end..];
        let most = most.min(room.len());
        match source.fill(&mut room[..most]) {
            Ok(0) => self.is_at_end = true,
            Ok(len) => {
                last.rest.end += len;
                self.len += len;
                return len;
            }
            // The Writer is lost, and the source is not.
            Err(_) if source.was_interrupted() => {}
            Err(error) => self.failed = Some(error),
        }
        0
    }

    /// The next bytes, as many as `block` has room for; `None` if nothing was read ahead.
    pub(super) fn take(&mut self, block: &mut [u8]) -> Option<io::Result<usize>> {
        if self.len == 0 {
            return self.failed.take().map(Err);
        }
        let mut taken = 0;
        while let Some(first) = self.pieces.front_mut()
            && taken < block.len()
        {
            let len = first.rest.len().min(block.len() - taken);
            let rest = first.rest.start..first.rest.start + len;
            block[taken..taken + len].copy_from_slice(&first.bytes[rest]);
            first.rest.start += len;
            taken += len;
            if first.rest.is_empty() {
                self.spare
                    .extend(self.pieces.pop_front().map(|piece| piece.bytes));
            }
        }
        self.len -= taken;
        if self.len == 0 {
            self.spare.truncate(SPARE);
        }
        Some(Ok(taken))
    }

    /// Whether there is room in the last piece, by now.
    fn make_room(&mut self) -> bool {
        if let Some(last) = self.pieces.back()
            && last.rest.end < PIECE
        {
            return true;
        }
        self.ask();
        if (self.pieces.len() + 1) * PIECE > self.most {
            return false;
        }
        let Some(bytes) = self.spare.pop().or_else(new_piece) else {
            return false;
        };
        let rest = 0..0;
        self.pieces.push_back(Piece { bytes, rest });
        true
    }

    /// How much memory there is, unless that was asked a moment ago.
    fn ask(&mut self) {
        let now = Instant::now();
        if self.asked.is_none_or(|asked| now - asked >= ASK_EVERY) {
            let part = sys::spare_memory().unwrap_or(0) / MEMORY_PART;
            self.most = usize::try_from(part).map_or(MOST, |part| part.min(MOST));
            self.asked = Some(now);
        }
    }
}

/// `None` if there is no memory for it.
fn new_piece() -> Option<Box<[u8]>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(PIECE).ok()?;
    bytes.resize(PIECE, 0);
    Some(bytes.into())
}

impl Speed {
    /// Looks once in each window. What was long ago says nothing of a destination that has
    /// had nothing to do since.
    fn look(&mut self, is_first: bool, now: Instant, taken: impl FnOnce() -> u64) {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed < WINDOW {
            return;
        }
        let taken = taken();
        let bytes = taken.saturating_sub(self.taken);
        let is_old = is_first && elapsed > 2 * WINDOW;
        self.is_slow = !is_old && (bytes as f64) < FAST as f64 * elapsed.as_secs_f64();
        self.since = now;
        self.taken = taken;
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::request::endpoint::Endpoint;

    /// All of a file of so many bytes, which are different ones, and what was read ahead of it.
    fn read_ahead(len: usize, most: usize) -> (Vec<u8>, Ahead) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let bytes: Vec<u8> = (0..len).map(|at| (at ^ at >> 8 ^ at >> 16) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let mut source = Source::open(&Endpoint::Path(path)).unwrap();
        let mut ahead = Ahead::new(true);
        ahead.asked = Some(Instant::now() + Duration::from_secs(3600));
        ahead.most = most;
        while ahead.make_room() && !ahead.is_at_end {
            ahead.read(&mut source, 100_000);
        }
        (bytes, ahead)
    }

    #[test]
    fn what_was_read_ahead_comes_in_its_order_whatever_room_there_is_for_it() {
        for room in [1000, PIECE - 1, PIECE, 3 * PIECE] {
            let (bytes, mut ahead) = read_ahead(4 * PIECE + 10, MOST);
            assert_eq!(ahead.len(), bytes.len());
            let (mut block, mut taken) = (vec![0; room], Vec::<u8>::new());
            while let Some(len) = ahead.take(&mut block) {
                taken.extend(&block[..len.unwrap()]);
                assert_eq!(ahead.len(), bytes.len() - taken.len());
            }
            assert!(taken == bytes, "{room}");
            assert!(ahead.spare.len() <= SPARE);
            assert_eq!(ahead.next(), Next::Wait);
        }
    }

    #[test]
    fn no_more_memory_is_taken_than_there_is_for_it() {
        let (_, ahead) = read_ahead(4 * PIECE, 3 * PIECE - 1);
        assert_eq!((ahead.pieces.len(), ahead.len()), (2, 2 * PIECE));
        let (_, mut ahead) = read_ahead(PIECE, 0);
        assert_eq!(ahead.len(), 0);
        assert!(ahead.take(&mut [0]).is_none());
    }

    #[test]
    fn an_error_comes_after_what_was_read_before_it() {
        let (_, mut ahead) = read_ahead(10, MOST);
        ahead.is_at_end = false;
        ahead.failed = Some(io::ErrorKind::NotConnected.into());
        assert_eq!(ahead.next(), Next::Wait);
        assert_eq!(ahead.take(&mut [0; 20]).unwrap().unwrap(), 10);
        let error = ahead.take(&mut [0; 20]).unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        assert!(ahead.take(&mut [0; 20]).is_none());
    }

    #[test]
    fn a_destination_is_slow_if_it_was_so_for_a_whole_window_of_waiting() {
        let begin = Instant::now();
        let mut speed = Speed {
            since: begin,
            taken: 0,
            is_slow: false,
        };
        let mut look = |is_first, windows: f64, taken| {
            speed.look(is_first, begin + WINDOW.mul_f64(windows), || taken);
            speed.is_slow
        };
        assert!(!look(true, 0.5, 0));
        assert!(look(true, 1.0, 1 << 20));
        assert!(look(true, 1.5, 9 << 20));
        assert!(!look(false, 2.0, 9 << 20));
        // It had nothing to do, which is not its fault; but then it does nothing.
        assert!(!look(true, 100.0, 9 << 20));
        assert!(look(false, 101.0, 9 << 20));
        assert!(look(false, 200.0, 9 << 20));
    }
}
