//! What travels from half to half beside the data: kinds of blocks, and numbers of
//! progress.

use brigade::Monitor;

/// A block of data; its tag is the offset.
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

/// The most bytes that all pieces of `METADATA` may have: four for each of a good
/// number of extended attributes of the largest size.
pub(crate) const METADATA_BYTES_MAX: usize = 1 << 20;

/// The Reader's numbers: how far it has come in the source, in bytes; how many of them
/// were holes; how long it has waited for the Writer, in milliseconds.
pub(crate) const READ: usize = 0;
pub(crate) const HOLES: usize = 1;

/// Of the Reader: 1 once all was read.
pub(crate) const ALL_READ: usize = 3;

/// The Writer's numbers: bytes that are as good as they will be (on disk, unless that
/// was not asked for); 1 once the whole destination is on disk, or [`KEPT`]; bytes
/// written, to which those are added that were read again to verify them.
pub(crate) const DONE: usize = 0;
pub(crate) const ON_DISK: usize = 1;
pub(crate) const WRITTEN: usize = 3;

/// In `ON_DISK`, just before the Writer gives up: its destination stays as it is,
/// which is what was asked for. The reason that it gives is for the user.
pub(crate) const KEPT: u64 = 2;

/// Of both: how long it has waited for its partner, in milliseconds.
pub(crate) const WAITED_MS: usize = 2;

/// Lets the partner know how long this end has waited for it so far.
pub(crate) fn set_waited(monitor: &Monitor) {
    let waited_ms = u64::try_from(monitor.waited().as_millis());
    monitor.set_figure(WAITED_MS, waited_ms.unwrap_or(u64::MAX));
}
