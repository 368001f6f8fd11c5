//! Who is at the other end of a socket, and a handle of that process.
#![expect(unsafe_code, reason = "two socket options that rustix lacks")]

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::error::Error;

/// User and process id, as the kernel recorded them when the peer connected or
/// began to listen. Process id 0 if the peer lives in a pid namespace that
/// cannot be seen from here.
pub(in crate::sys) fn socket_peercred(socket: &OwnedFd) -> Result<(u32, u32), Error> {
    let mut found = MaybeUninit::<libc::ucred>::uninit();
    get_socket_option(socket.as_fd(), libc::SO_PEERCRED, &mut found)
        .map_err(|error| Error::os("ask who the joining process is", error))?;
    // SAFETY: `get_socket_option` filled it whole.
    let found = unsafe { found.assume_init() };
    Ok((found.uid, u32::try_from(found.pid).unwrap_or(0)))
}

/// A descriptor for the peer's process, if it can be had. Without one (a pid
/// namespace that cannot be seen from here, before Linux 6.5) the socket's hang-up
/// alone tells of the peer's death.
pub(in crate::sys) fn peer_process(socket: BorrowedFd<'_>, process_id: u32) -> Option<OwnedFd> {
    const SO_PEERPIDFD: i32 = 77; // asm-generic/socket.h, since Linux 6.5
    let mut found = MaybeUninit::<i32>::uninit();
    match get_socket_option(socket, SO_PEERPIDFD, &mut found) {
        Ok(()) => {
            // SAFETY: filled whole by the call.
            let found = unsafe { found.assume_init() };
            // SAFETY: the kernel just made it, for this call alone.
            return Some(unsafe { OwnedFd::from_raw_fd(found) });
        }
        // Not by its number, if the kernel knows that the process is gone: it may
        // be another's by now.
        Err(error) if error.raw_os_error() != Some(libc::ENOPROTOOPT) => return None,
        Err(_) => {}
    }
    let process_id = rustix::process::Pid::from_raw(i32::try_from(process_id).ok()?)?;
    rustix::process::pidfd_open(process_id, rustix::process::PidfdFlags::empty()).ok()
}

fn get_socket_option<T>(
    socket: BorrowedFd<'_>,
    option: i32,
    value: &mut MaybeUninit<T>,
) -> std::io::Result<()> {
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` has room for `len` bytes.
    let status = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            value.as_mut_ptr().cast(),
            &mut len,
        )
    };
    if status != 0 {
        return Err(std::io::Error::last_os_error());
    }
    if len as usize != size_of::<T>() {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    Ok(())
}
