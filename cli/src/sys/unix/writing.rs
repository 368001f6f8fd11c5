//! What is asked of a destination.

use std::fs::File;
use std::io;

pub(crate) fn handle_for_syncing(file: &File) -> io::Result<File> {
    file.try_clone()
}

/// Where what was written before is zeros from now on, and takes no room.
pub(crate) fn make_hole(file: &File, offset: u64, len: u64) -> io::Result<()> {
    use rustix::fs::FallocateFlags;
    use rustix::io::Errno;
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(file, flags, offset, len) {
        Err(Errno::NOTSUP | Errno::NOSYS | Errno::NODEV | Errno::INVAL) => {
            Err(io::ErrorKind::Unsupported.into())
        }
        made => Ok(made?),
    }
}

/// What is skipped is a hole on every file system that has them.
pub(crate) fn expect_holes(_file: &File) {}

pub(crate) fn memory_bytes() -> Option<u64> {
    let system = rustix::system::sysinfo();
    Some(system.totalram * u64::from(system.mem_unit))
}

pub(crate) fn spare_memory() -> Option<u64> {
    use rustix::process::{Resource, getrlimit};
    // What lacks memory then may be something that ends the program.
    let is_limited = |resource| getrlimit(resource).current.is_some();
    match is_limited(Resource::As) || is_limited(Resource::Data) {
        true => Some(0),
        false => brigade::available_memory(),
    }
}

pub(crate) fn forget_cached(file: &File, offset: u64, len: Option<u64>) {
    let len = len.and_then(std::num::NonZeroU64::new);
    let _ = rustix::fs::fadvise(file, offset, len, rustix::fs::Advice::DontNeed);
}

/// Files can be opened, renamed and removed by all at once.
pub(crate) fn is_in_use(_error: &io::Error) -> bool {
    false
}

/// Closes `file`, and tells what the system held back until then: some file systems
/// (over a network) find only now that there is no room.
#[expect(unsafe_code, reason = "std closes without a word")]
pub(crate) fn close(file: File) -> io::Result<()> {
    let descriptor = std::os::fd::IntoRawFd::into_raw_fd(file);
    // SAFETY: it was owned by `file`, which is gone, so nobody else closes or uses it.
    Ok(unsafe { rustix::io::try_close(descriptor) }?)
}

/// Whether the file system has no locks.
pub(crate) fn has_no_locks(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::NOLCK | Errno::NOTSUP | Errno::NOSYS))
}

/// Whether a file has to be open for writing to be locked, as over NFS (flock(2)).
pub(crate) fn must_write_to_lock(error: &io::Error) -> bool {
    rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::BADF)
}
