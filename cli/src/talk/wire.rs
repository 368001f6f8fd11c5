//! The numbers of the conversation: its version, the kinds of letters and of blocks, the
//! figures that each half shows the other. `docs/copy-protocol.md` says what they mean and in which
//! order they come.

use brigade::Monitor;

/// Two halves of different versions refuse each other.
pub(crate) const PROTOCOL: u32 = 4;

// ---- kinds of letters -----------------------------------------------------------

/// The Reader's only letter: shall the copy begin? It holds what is told of the source
/// before any of it is read (`SourceFacts`, as JSON).
pub(crate) const ASK: u16 = 1;

/// The Writer's: what it has decided (`Answer`, as JSON).
pub(crate) const ANSWER: u16 = 2;

/// The Writer's, after an answer that speaks of subtrees: what stands for them ([`Begun`]).
///
/// [`Begun`]: crate::tree::Begun
pub(crate) const SUBTREES: u16 = 3;

/// The Reader's, after an answer that resumes a copy: where it goes on, as JSON.
pub(crate) const GOES_ON: u16 = 4;

// ---- kinds of blocks ------------------------------------------------------------

/// Data; the tag is its offset.
pub(crate) const DATA: u16 = 0;

/// Zeros that were not read and need not be written. An empty block; its tag is how
/// many bytes.
pub(crate) const HOLE: u16 = 1;

/// A piece of what is told of the source once all of it was read (`Metadata`, as
/// JSON); its tag is the offset of the piece.
pub(crate) const METADATA: u16 = 2;

/// A piece of the hash of all data, holes as zeros (BLAKE3, 32 bytes); its tag is the
/// offset of the piece.
pub(crate) const DIGEST: u16 = 3;

/// What stands for the whole subtrees so far of the hash of all data, for another Reader
/// to go on from; its tag is how many these are.
pub(crate) const SUBTREE: u16 = 4;

/// The most bytes that all pieces of `METADATA` may have: four for each of a good
/// number of extended attributes of the largest size.
pub(crate) const METADATA_BYTES_MAX: usize = 1 << 20;

// ---- figures --------------------------------------------------------------------

/// The Reader's: how far it has come in the source, in bytes; how many of them were
/// holes; 1 once all was read, or [`ALL_SENT`].
pub(crate) const READ: usize = 0;
pub(crate) const HOLES: usize = 1;
pub(crate) const ALL_READ: usize = 3;

/// In `ALL_READ`: all was sent, too, and the end of the data comes next.
pub(crate) const ALL_SENT: u64 = 2;

/// The Writer's: bytes that are on disk, or only written if no more was asked for; 1
/// once the whole destination is on disk; bytes written, to which those are added that
/// were read again to verify them.
pub(crate) const ON_DISK: usize = 0;
pub(crate) const ALL_ON_DISK: usize = 1;
pub(crate) const WRITTEN: usize = 3;

/// Of both: how long it has waited for its partner, in milliseconds.
pub(crate) const WAITED_MS: usize = 2;

/// Lets the partner know how long this end has waited for it so far.
pub(crate) fn set_waited(monitor: &Monitor) {
    let waited_ms = u64::try_from(monitor.waited().as_millis());
    monitor.set_figure(WAITED_MS, waited_ms.unwrap_or(u64::MAX));
}
