//! The numbers of the conversation: its version, the kinds of blocks, the figures that
//! each half shows the other. `docs/copy-protocol.md` says what they mean and in which
//! order they come.

use brigade::Monitor;

/// Two halves of different versions refuse each other.
pub(crate) const PROTOCOL: u32 = 2;

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

/// A piece of what is told of the source before any of it is read (`SourceFacts`, as
/// JSON); its tag is the offset of the piece.
pub(crate) const FACTS: u16 = 4;

/// The facts are complete: shall the copy begin? An empty block; its tag is how many
/// bytes the facts have. The Writer keeps it until it has decided.
pub(crate) const ASK: u16 = 5;

/// The most bytes that all pieces of `FACTS` may have.
pub(crate) const FACTS_BYTES_MAX: usize = 4096;

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

/// The Writer's: bytes that are on disk, or only written if no more was asked for; one
/// of the states below; bytes written, to which those are added that were read again to
/// verify them.
pub(crate) const ON_DISK: usize = 0;
pub(crate) const STATE: usize = 1;
pub(crate) const WRITTEN: usize = 3;

/// Of both: how long it has waited for its partner, in milliseconds.
pub(crate) const WAITED_MS: usize = 2;

// ---- what the Writer's STATE can be, beside 0: not decided yet ----------------------

/// The copy shall begin.
pub(crate) const AGREED: u64 = 1;

/// The whole destination is on disk.
pub(crate) const ALL_ON_DISK: u64 = 2;

/// Set just before the Writer gives up: its destination stays as it is, which is what
/// was asked for. The reason that it gives is for the user.
pub(crate) const KEPT: u64 = 3;

/// The same, since the source is not newer than the destination.
pub(crate) const KEPT_AS_NEWER: u64 = 4;

/// Lets the partner know how long this end has waited for it so far.
pub(crate) fn set_waited(monitor: &Monitor) {
    let waited_ms = u64::try_from(monitor.waited().as_millis());
    monitor.set_figure(WAITED_MS, waited_ms.unwrap_or(u64::MAX));
}
