//! The seat of a name, and reaching whoever has it: `flock` and a socket.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::channel::Channel;
use super::link::poll_until;
use super::names::Name;
use super::users::User;
use crate::error::Error;
use crate::sys::Arrival;
use crate::sys::kernel::wake::Alarm;

/// How long to pause between two tries to reach the holder of a name.
const RETRY_PAUSE: Duration = Duration::from_millis(2);

/// Joiners that can wait to be looked at.
const BACKLOG: i32 = 16;

/// The name's lock, held as long as this lives.
pub(crate) struct Seat {
    _lock: OwnedFd,
}

/// The process that holds a name and can be reached under it.
pub(crate) struct Host {
    // In this order when dropped: unreachable first, the name free last.
    socket_file: SocketFile,
    listener: OwnedFd,
    seat: Seat,
}

/// The socket's entry in its directory, removed when dropped.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Whoever takes the name next removes what stays here.
        let _ = std::fs::remove_file(&self.0);
    }
}

pub(crate) fn arrive(name: &Name, guests: &[User], deadline: Instant) -> Result<Arrival, Error> {
    if name.is_private && !guests.is_empty() {
        return Err(Error::InvalidOption(
            "to meet another user, the name must be a path in a directory of both".into(),
        ));
    }
    loop {
        // Looked at before the tries, so that one of them is made after it.
        let last = Instant::now() >= deadline;
        if let Some(seat) = take_lock(&name.lock, guests)? {
            return Ok(Arrival::Host(listen(name, seat, guests)?));
        }
        match connect(&name.socket) {
            Ok(Some(channel)) => return Ok(Arrival::Second(channel)),
            // Its host may be about to open it to others.
            Err(_) if !guests.is_empty() && !last => {}
            Err(error) => return Err(error),
            Ok(None) => {}
        }
        if last {
            return Ok(Arrival::Full);
        }
        std::thread::sleep(RETRY_PAUSE);
    }
}

/// Mode of a lock file that only its owner can take, and of one that others can, to
/// whom being allowed to read is enough.
const LOCK_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const SHARED_LOCK_MODE: Mode = LOCK_MODE.union(Mode::RGRP).union(Mode::ROTH);

fn take_lock(path: &Path, guests: &[User]) -> Result<Option<Seat>, Error> {
    let failed = |errno: Errno| Error::os(format!("open the lock file {}", path.display()), errno);
    let lock = match open_lock(path, !guests.is_empty()) {
        Ok(lock) => lock,
        Err(Errno::ACCESS | Errno::PERM) => {
            return Err(foreign(path).unwrap_or(failed(Errno::ACCESS)));
        }
        Err(errno) => return Err(failed(errno)),
    };
    let stat = rustix::fs::fstat(&lock).map_err(failed)?;
    let (owner, own) = (User(stat.st_uid), User::own());
    if owner != own && !guests.contains(&owner) {
        return Err(foreign(path).unwrap_or(failed(Errno::ACCESS)));
    }
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        return Err(Error::Refused(format!(
            "{} should be a lock file, but is no regular file; choose another name",
            path.display()
        )));
    }
    let mode = match guests {
        [] => LOCK_MODE,
        _ => SHARED_LOCK_MODE,
    };
    if owner == own && Mode::from_raw_mode(stat.st_mode) != mode {
        rustix::fs::fchmod(&lock, mode).map_err(failed)?;
    }
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Seat { _lock: lock })),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(Error::os(format!("lock {}", path.display()), errno)),
    }
}

fn open_lock(path: &Path, shared: bool) -> Result<OwnedFd, Errno> {
    let careful = OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    match rustix::fs::open(path, OFlags::RDWR | OFlags::CREATE | careful, LOCK_MODE) {
        // Another user's, which can be locked all the same.
        Err(Errno::ACCESS) if shared => {
            rustix::fs::open(path, OFlags::RDONLY | careful, Mode::empty())
        }
        opened => opened,
    }
}

/// The refusal for a name whose lock file is another user's; `None` if it is not.
fn foreign(path: &Path) -> Option<Error> {
    let owner = User(std::fs::symlink_metadata(path).ok()?.uid());
    let own = User::own();
    (owner != own).then(|| {
        Error::Refused(format!(
            "the name is in use by user {owner}, this process runs as user {own} ({} is theirs)",
            path.display()
        ))
    })
}

fn listen(name: &Name, seat: Seat, guests: &[User]) -> Result<Host, Error> {
    let path = &name.socket;
    let failed = |what: &str| {
        let operation = format!("{what} the socket {}", path.display());
        move |errno: Errno| Error::os(operation, errno)
    };
    let listener = new_socket().map_err(failed("create"))?;
    let address = SocketAddrUnix::new(path).map_err(failed("name"))?;
    remove_stale(path, &address)?;
    rustix::net::bind(&listener, &address).map_err(failed("bind"))?;
    let socket_file = SocketFile(path.clone());
    if !guests.is_empty() {
        open_to_others(path).map_err(failed("open to other users"))?;
    }
    rustix::net::listen(&listener, BACKLOG).map_err(failed("listen on"))?;
    Ok(Host {
        socket_file,
        listener,
        seat,
    })
}

/// Lets everybody connect, which is to write; who has connected is looked at then.
///
/// In a directory that others can write to, `path` may be anything by now, so what is
/// changed is what was looked at.
fn open_to_others(path: &Path) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let entry = rustix::fs::open(path, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&entry)?;
    let is_socket =
        rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Socket;
    if !is_socket || User(stat.st_uid) != User::own() {
        return Err(Errno::ACCESS);
    }
    let entry = format!("/proc/self/fd/{}", entry.as_raw_fd());
    rustix::fs::chmod(entry, Mode::from_raw_mode(0o666))
}

/// Removes the socket of a dead holder: this process has the lock, so no live one
/// is brigade's. But a path may name anybody's.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), Error> {
    let failed = |errno| Error::os(format!("remove the stale socket {}", path.display()), errno);
    let socket = new_socket().map_err(failed)?;
    match rustix::net::connect(&socket, address) {
        Err(Errno::NOENT) => return Ok(()),
        // No socket, or one that nobody listens on; told apart by its type.
        Err(Errno::CONNREFUSED) => {}
        _ => return Err(taken_path(path)),
    }
    let stat = rustix::fs::lstat(path).map_err(failed)?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::Socket {
        return Err(taken_path(path));
    }
    rustix::fs::unlink(path).map_err(failed)
}

fn taken_path(path: &Path) -> Error {
    Error::Refused(format!(
        "{} is in the way, and is not brigade's; choose another name",
        path.display()
    ))
}

fn new_socket() -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
}

fn connect(path: &Path) -> Result<Option<Channel>, Error> {
    let failed = |errno| Error::os(format!("connect to the socket {}", path.display()), errno);
    let socket = new_socket().map_err(failed)?;
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) => Channel::new(socket).map(Some),
        // Not there yet or any more, dead, or swamped by joiners.
        Err(Errno::NOENT | Errno::CONNREFUSED | Errno::AGAIN) => Ok(None),
        Err(errno) => Err(foreign(path).unwrap_or(failed(errno))),
    }
}

impl Host {
    /// `Ok(None)` when the deadline has passed or the alarm rang.
    pub(crate) fn next(
        &mut self,
        alarm: &Alarm,
        deadline: Option<Instant>,
    ) -> Result<Option<Channel>, Error> {
        loop {
            let fds = [(self.listener.as_fd(), PollFlags::IN), alarm.polled()];
            let [listener, alarm] = poll_until(fds, deadline)?;
            if !alarm.is_empty() || listener.is_empty() {
                return Ok(None);
            }
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match rustix::net::accept_with(&self.listener, flags) {
                Ok(socket) => return Channel::new(socket).map(Some),
                // The joiner left before it was looked at.
                Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => {}
                Err(errno) => return Err(Error::os("accept a joining process", errno)),
            }
        }
    }

    pub(crate) fn close(self) -> Seat {
        let Host {
            socket_file,
            listener,
            seat,
        } = self;
        drop(socket_file);
        // Joiners still in the backlog are reset, and try again.
        drop(listener);
        seat
    }
}
