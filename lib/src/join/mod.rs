//! Two processes becoming a pair.
//!
//! ```text
//! Seat::take ── host ───> Host ── wait: offer, check, admit ──┐
//!           └── second ─> check, offer, wait to be admitted ──┴─> Pair ─> Reader or Writer
//! ```

mod arriving;
mod both_ways;
mod host;
mod intent;
mod invitation;
mod lone;
pub(crate) mod message;
mod seat;
mod second;
mod terms;

pub use both_ways::{BothWays, accept_both_ways, invite_both_ways, join_both_ways};
pub(crate) use intent::Numbers;
pub use invitation::{Invitation, accept, invite};
pub(crate) use lone::Lone;
pub use seat::Seat;

use crate::error::Error;
use crate::options::Options;
use crate::reader::Reader;
use crate::sys;
use crate::writer::Writer;

/// What this process became.
#[derive(Debug)]
pub enum Role {
    /// It fills blocks.
    Reader(Reader),
    /// It drains blocks.
    Writer(Writer),
}

impl Role {
    /// The Reader, for who has said by [`Options::side`], or by inviting, that it is one.
    /// `None` if this process became the Writer, which is dropped then: its partner is told
    /// that it stopped.
    pub fn into_reader(self) -> Option<Reader> {
        match self {
            Role::Reader(reader) => Some(reader),
            Role::Writer(_) => None,
        }
    }

    /// The Writer; otherwise as [`Role::into_reader`].
    pub fn into_writer(self) -> Option<Writer> {
        match self {
            Role::Writer(writer) => Some(writer),
            Role::Reader(_) => None,
        }
    }
}

/// Joins the session `name` and waits for the partner.
///
/// The first process to come becomes the Reader, the second the Writer (unless
/// [`Options::side`] says otherwise); a third is refused with
/// [`Error::TooManyInstances`] after half a second. To do something between
/// learning the role and meeting the partner, use [`Seat::take`] and
/// [`Seat::wait`], which this function calls.
///
/// A plain name is private to the user: each user has names of their own. A name
/// with a path separator in it is a path, for processes that share a directory
/// but not an environment (containers, for instance). The directory must exist. On
/// Linux, files are made there, which are empty or vanish, and whose names begin with
/// the path; on Windows, none.
///
/// # Errors
///
/// [`Error::TooManyInstances`], [`Error::Refused`], [`Error::NoPartner`] after
/// [`Options::wait`], [`Error::InvalidOption`], [`Error::OutOfMemory`], and what
/// the system says.
///
/// # Example
///
/// Two threads stand in for the two processes:
///
/// ```
/// use brigade::{Options, Role};
///
/// # let directory = tempfile::tempdir().unwrap();
/// # let name = format!("{}/example", directory.path().display());
/// # let other = name.clone();
/// # let thread = std::thread::spawn(move || run(&other).unwrap());
/// fn run(name: &str) -> Result<Option<Vec<u8>>, brigade::Error> {
///     match brigade::join(name, &Options::new())? {
///         Role::Reader(reader) => {
///             let mut block = reader.empty_block()?;
///             block[..5].copy_from_slice(b"water");
///             block.send(5, 0)?;
///             reader.finish()?; // waits until the Writer has said that all is well
///             Ok(None)
///         }
///         Role::Writer(writer) => {
///             let mut data = Vec::new();
///             while let Some(block) = writer.data_block()? {
///                 data.extend_from_slice(&block);
///             }
///             writer.finish()?;
///             Ok(Some(data))
///         }
///     }
/// }
/// # let here = run(&name).unwrap();
/// # assert_eq!(here.or(thread.join().unwrap()).unwrap(), b"water");
/// ```
pub fn join(name: &str, options: &Options) -> Result<Role, Error> {
    Seat::take(name, options)?.wait()
}

/// Does ahead of time what joining would do anyway. Nobody needs to call it.
///
/// On Linux, the first joining in a process that has more than one thread takes
/// some ten milliseconds longer than in one that has not: the kernel waits until
/// all processors know that this process takes part in remote barriers (see
/// membarrier(2)). Called at the start of `main`, this spares a program that.
pub fn prepare() {
    sys::can_barrier_remotely();
}
