//! What Linux does with files that POSIX has no call for.
#![expect(unsafe_code, reason = "a system call that rustix lacks")]

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::Mode;
use rustix::io::Errno;

/// Changes the mode of what `entry` was opened as with `O_PATH`.
pub(in crate::sys) fn change_mode(entry: &OwnedFd, mode: u32) -> Result<(), Errno> {
    const FCHMODAT2: i64 = 452; // on all architectures, since Linux 6.6
    // SAFETY: the descriptor is open, the path is empty and ends with a zero.
    let changed = unsafe {
        libc::syscall(
            FCHMODAT2,
            entry.as_raw_fd(),
            c"".as_ptr(),
            mode,
            libc::AT_EMPTY_PATH,
        )
    };
    if changed == 0 {
        return Ok(());
    }
    match Errno::from_io_error(&std::io::Error::last_os_error()) {
        // Older, or forbidden by a filter that does not know it: through /proc.
        Some(Errno::NOSYS | Errno::PERM) | None => {
            let path = format!("/proc/self/fd/{}", entry.as_raw_fd());
            rustix::fs::chmod(path, Mode::from_raw_mode(mode))
        }
        Some(errno) => Err(errno),
    }
}
