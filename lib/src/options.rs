//! What a caller says before joining, and learns of the partner after it.

use std::time::Duration;

use crate::region::layout::{Geometry, ROLE_READER, ROLE_WRITER};
use crate::sys;

/// Blocks of 256 KiB are large enough that waking up for one costs little...
const DEFAULT_BLOCK_SIZE: usize = 256 * 1024;
/// ...and sixteen of them keep both sides busy while the pool stays in the
/// processor's cache.
const DEFAULT_BLOCK_COUNT: usize = 16;

/// What a process does in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Fills blocks from a source.
    Reader,
    /// Drains blocks into a destination.
    Writer,
}

impl Side {
    /// The partner's.
    pub fn other(self) -> Side {
        match self {
            Side::Reader => Side::Writer,
            Side::Writer => Side::Reader,
        }
    }

    pub(crate) fn role(self) -> u32 {
        match self {
            Side::Reader => ROLE_READER,
            Side::Writer => ROLE_WRITER,
        }
    }

    pub(crate) fn from_role(role: u32) -> Option<Side> {
        match role {
            ROLE_READER => Some(Side::Reader),
            ROLE_WRITER => Some(Side::Writer),
            _ => None,
        }
    }

    pub(crate) fn region_size(self, geometry: &Geometry) -> u64 {
        match self {
            Side::Reader => geometry.reader_region_size(),
            Side::Writer => geometry.writer_region_size(),
        }
    }
}

/// How to join: see each method. The defaults fit bulk data.
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) block_size: usize,
    pub(crate) block_count: usize,
    pub(crate) wait: Option<Duration>,
    pub(crate) greeting: Vec<u8>,
    pub(crate) side: Option<Side>,
    pub(crate) guests: Vec<String>,
    pub(crate) expected: Option<u32>,
    pub(crate) takeover: Option<Duration>,
    /// How many lanes the session has.
    pub(crate) ways: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            block_size: DEFAULT_BLOCK_SIZE,
            block_count: DEFAULT_BLOCK_COUNT,
            wait: None,
            greeting: Vec::new(),
            side: None,
            guests: Vec::new(),
            expected: None,
            takeover: None,
            ways: 1,
        }
    }
}

impl Options {
    /// The defaults: 16 blocks of 256 KiB, an empty greeting, a side by arrival,
    /// and patience without end.
    pub fn new() -> Options {
        Options::default()
    }

    /// Size of a block in bytes, 1 to [`BLOCK_SIZE_MAX`](crate::BLOCK_SIZE_MAX).
    /// Both processes must choose the same.
    pub fn block_size(mut self, bytes: usize) -> Options {
        self.block_size = bytes;
        self
    }

    /// Number of blocks, 1 to [`BLOCK_COUNT_MAX`](crate::BLOCK_COUNT_MAX). Both
    /// processes must choose the same. With one block, the two ends take turns.
    pub fn block_count(mut self, count: usize) -> Options {
        self.block_count = count;
        self
    }

    /// How long the first process waits for the second; for ever without it.
    pub fn wait(mut self, limit: Duration) -> Options {
        self.wait = Some(limit);
        self
    }

    /// Bytes that the partner gets to see when it has joined, at most
    /// [`GREETING_MAX`](crate::GREETING_MAX): the source's size, for instance.
    pub fn greeting(mut self, bytes: &[u8]) -> Options {
        self.greeting = bytes.to_vec();
        self
    }

    /// This process's side, whether it comes first or second. Without it the
    /// first is the Reader, and the second what the first is not: so if one
    /// process has a fixed side, the other should have the other.
    pub fn side(mut self, side: Side) -> Options {
        self.side = Some(side);
        self
    }

    /// Data goes both ways: for [`Seat::take`](crate::Seat::take) and
    /// [`Seat::accept`](crate::Seat::accept), whose seat is then for
    /// [`Seat::wait_both_ways`](crate::Seat::wait_both_ways). Functions that have it in their
    /// name, as [`join_both_ways`](crate::join_both_ways), need not be told.
    pub fn both_ways(mut self) -> Options {
        self.ways = 2;
        self
    }

    /// Lets the partner be `user`, by name or number, beside this process's own user.
    /// May be called for several. The partner must allow this process's user in turn.
    ///
    /// The session's name must be a path then, in a directory where both can make
    /// files: another user cannot enter where plain names live. Whoever can enter that
    /// directory can keep the name taken, but not join.
    ///
    /// In a directory where nobody can remove another user's files, as `/tmp`, what the
    /// other user's process left when it was killed (files that end in `.lock`, `.claim` and
    /// `.sock`) stays until a process of that user has used the name again, or it or root has
    /// removed them: until then, processes that do not allow that user are refused.
    ///
    /// On Linux only; elsewhere joining fails with
    /// [`Error::Unsupported`](crate::Error::Unsupported).
    pub fn allow_user(mut self, user: &str) -> Options {
        self.guests.push(user.to_owned());
        self
    }

    /// If the partner is lost (it dies, gives up or hangs up), this process keeps its place,
    /// so that another process can take the lost one's: whoever joins under the name comes
    /// second, has the other side, and waits until this process turns to it. Nobody comes
    /// between and begins a session of its own. Each of the two decides for itself: what
    /// counts is the option of the one that is left.
    ///
    /// `limit` is how long that process is waited for, counted from the call that leaves the
    /// lost one behind: [`Reader::into_unreturned`](crate::Reader::into_unreturned) or
    /// [`Writer::into_survivor`](crate::Writer::into_survivor). So long at most the `rejoin` of
    /// what these give waits, all calls of it together. The place is kept until that is
    /// dropped.
    ///
    /// A process that joins while the survivor is busy or stopped waits for five seconds, and
    /// then fails with [`Error::NotAnswering`](crate::Error::NotAnswering); it may try again.
    /// (Half a second, and [`Error::TooManyInstances`](crate::Error::TooManyInstances), if the
    /// lost one was the second and did not die keeping its place, but left.) The survivor
    /// loses nothing by that.
    ///
    /// On Linux, the second keeps a lock for that: a file beside that of the first, and one
    /// descriptor (two in the directory of plain names). As with the name itself, a child that
    /// was forked off a dead process keeps its place taken.
    ///
    /// Not for sessions in which data goes both ways, and not for invitations: joining fails
    /// with [`Error::InvalidOption`](crate::Error::InvalidOption).
    pub fn takeover(mut self, limit: Duration) -> Options {
        self.takeover = Some(limit);
        self
    }

    /// Lets only the process with this id be the partner, by the system's word: that of a
    /// child, for instance. Others are refused with
    /// [`Refusal::OtherProcess`](crate::Refusal::OtherProcess), and the first process waits
    /// on; one that comes second and meets another than this fails with it.
    ///
    /// An id says which process only as long as that lives. One that the system cannot tell
    /// from here, as in another container, is never the expected one.
    pub fn expect_process(mut self, id: u32) -> Options {
        self.expected = Some(id);
        self
    }
}

/// The process at the other end.
#[derive(Clone, Debug)]
pub struct Partner {
    pub(crate) side: Side,
    pub(crate) peer: sys::Peer,
    pub(crate) greeting: Vec<u8>,
}

impl Partner {
    /// What it does: the opposite of this process.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Its process id as seen from this process, by the system's word; 0 if it
    /// lives where this process cannot see (another container, for instance).
    pub fn process_id(&self) -> u32 {
        self.peer.process_id
    }

    /// Its user, by the system's word: name and number (on Windows, identifier).
    pub fn user(&self) -> String {
        self.peer.user.to_string()
    }

    /// Whether its user is this process's own, by the system's word. If not, it is one
    /// that [`Options::allow_user`] let in, or one of whom the system does not say enough:
    /// in a user namespace all that have no number there look like one, the overflow user
    /// (65534 as a rule), so that one is nobody's own.
    pub fn is_own_user(&self) -> bool {
        self.peer.is_own_user()
    }

    /// The number of its user, by the system's word; `None` where users have none
    /// (Windows).
    pub fn user_id(&self) -> Option<u32> {
        self.peer.user.as_number()
    }

    /// What it gave to [`Options::greeting`]: its word alone.
    pub fn greeting(&self) -> &[u8] {
        &self.greeting
    }
}
