//! Who is at the other end of a socket, and a handle of that process.
#![expect(unsafe_code, reason = "two socket options that rustix lacks")]

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use super::limits::failed;
use crate::error::Error;
use crate::sys::unix::link::poll_until;

/// User and process id, as the kernel recorded them when the peer connected or
/// began to listen. Process id 0 if the peer lives in a pid namespace that
/// cannot be seen from here.
pub(in crate::sys) fn socket_peercred(socket: BorrowedFd<'_>) -> Result<(u32, u32), Error> {
    let mut found = MaybeUninit::<libc::ucred>::uninit();
    get_socket_option(socket, libc::SO_PEERCRED, &mut found)
        .map_err(|errno| failed("ask who the joining process is", errno))?;
    // SAFETY: `get_socket_option` filled it whole.
    let found = unsafe { found.assume_init() };
    Ok((found.uid, u32::try_from(found.pid).unwrap_or(0)))
}

/// A descriptor for the peer's process, if it can be had. Without one (a pid
/// namespace that cannot be seen from here, before Linux 6.5) the socket's hang-up
/// alone tells of the peer's death.
pub(in crate::sys) fn peer_process(
    socket: BorrowedFd<'_>,
    process_id: u32,
) -> Result<Option<Arc<OwnedFd>>, Error> {
    let found = find_peer_process(socket, process_id)?;
    Ok(found.map(|process| shared(process_id, process)))
}

/// As [`peer_process`], of a process that the kernel has named: its number may be another's
/// only if it has died since.
pub(in crate::sys) fn named_process(process_id: u32) -> Result<Option<Arc<OwnedFd>>, Error> {
    let Some(process) = process_number(process_id) else {
        return Ok(None);
    };
    let found = open_process(process)?;
    Ok(found.map(|process| shared(process_id, process)))
}

/// A partner's process, as long as a session with it uses it.
struct Held {
    process_id: u32,
    process: Weak<OwnedFd>,
}

/// All sessions with a process hold on to it by one descriptor.
static HELD: Mutex<Vec<Held>> = Mutex::new(Vec::new());

/// `process`, or the descriptor by which this process holds on to the same one already.
fn shared(process_id: u32, process: OwnedFd) -> Arc<OwnedFd> {
    let process = Arc::new(process);
    // In a forked child, a thread that is not there may have it locked. Nor is another one waited for that
    // joins just now: that costs one descriptor.
    let Ok(mut held) = HELD.try_lock() else {
        return process;
    };
    held.retain(|held| held.process.strong_count() > 0);
    // Two that live at the same time and have the same number are one. Not so where the
    // number is that of nobody who can be seen from here.
    let same = held
        .iter()
        .filter(|held| held.process_id == process_id && process_id != 0)
        .filter_map(|held| held.process.upgrade())
        .find(|held| lives(&process) && lives(held));
    same.unwrap_or_else(|| {
        held.push(Held {
            process_id,
            process: Arc::downgrade(&process),
        });
        process
    })
}

fn lives(process: &OwnedFd) -> bool {
    let fds = [(process.as_fd(), PollFlags::IN)];
    poll_until(fds, Some(Instant::now())).is_ok_and(|[events]| events.is_empty())
}

fn find_peer_process(socket: BorrowedFd<'_>, process_id: u32) -> Result<Option<OwnedFd>, Error> {
    const SO_PEERPIDFD: i32 = 77; // asm-generic/socket.h, since Linux 6.5
    let mut found = MaybeUninit::<i32>::uninit();
    let errno = match get_socket_option(socket, SO_PEERPIDFD, &mut found) {
        Ok(()) => {
            // SAFETY: filled whole by the call.
            let found = unsafe { found.assume_init() };
            // SAFETY: the kernel just made it, for this call alone.
            return Ok(Some(unsafe { OwnedFd::from_raw_fd(found) }));
        }
        Err(errno) => errno,
    };
    match (errno, process_number(process_id)) {
        (Errno::NOPROTOOPT, Some(process)) => open_process(process),
        (Errno::NOPROTOOPT, None) => Ok(None),
        // Not by its number: the kernel knows that the process is gone, and the number
        // may be another's by now.
        _ => none_unless_exhausted(errno),
    }
}

fn process_number(process_id: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(process_id).ok()?)
}

fn open_process(process: Pid) -> Result<Option<OwnedFd>, Error> {
    match rustix::process::pidfd_open(process, PidfdFlags::empty()) {
        Ok(process) => Ok(Some(process)),
        Err(errno) => none_unless_exhausted(errno),
    }
}

fn none_unless_exhausted(errno: Errno) -> Result<Option<OwnedFd>, Error> {
    match errno {
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => {
            Err(failed("hold on to the joining process", errno))
        }
        _ => Ok(None),
    }
}

fn get_socket_option<T>(
    socket: BorrowedFd<'_>,
    option: i32,
    value: &mut MaybeUninit<T>,
) -> Result<(), Errno> {
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
        let error = std::io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::INVAL));
    }
    if len as usize != size_of::<T>() {
        return Err(Errno::INVAL);
    }
    Ok(())
}

/// As by `kill -9`.
#[cfg(all(debug_assertions, not(loom)))]
pub(crate) fn die() {
    let own = rustix::process::getpid();
    let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
}
