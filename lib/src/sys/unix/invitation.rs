//! A channel to a process that this one starts: a pair of sockets, one end of which the
//! child inherits.
#![expect(
    unsafe_code,
    reason = "what a child does before its program, and what it inherits"
)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{Errno, FdFlags};
use rustix::net::{AddressFamily, SocketType, sockopt};

use super::channel::{Channel, new_pair};
use super::discard::Socket;
use crate::error::Error;
use crate::sys::INVITATION;
use crate::sys::kernel::limits::failed;

/// The two ends of a channel, in this process.
pub(crate) struct Invitation {
    own: OwnedFd,
    childs: OwnedFd,
}

/// Below it are a program's input, output and error.
const FIRST_INHERITED: RawFd = 3;

impl Invitation {
    pub(crate) fn new() -> Result<Invitation, Error> {
        let (own, childs) = new_pair()?;
        // Of this process the first three may be closed, and a child is given its own.
        let childs = rustix::io::fcntl_dupfd_cloexec(&childs, FIRST_INHERITED)
            .map_err(|errno| failed("keep a socket for a child", errno))?;
        // Both ends were made here, so only its messages can tell who has the other.
        rustix::net::sockopt::set_socket_passcred(&own, true)
            .map_err(|errno| failed("ask who the invited process is", errno))?;
        Ok(Invitation { own, childs })
    }

    pub(crate) fn spawn(self, command: &mut Command) -> Result<(Child, Channel), Error> {
        let fd = self.childs.as_raw_fd();
        let number =
            number_of(self.childs.as_fd()).map_err(|errno| failed("look at a socket", errno))?;
        let is_meant = Arc::new(AtomicBool::new(true));
        let in_child = Arc::clone(&is_meant);
        let inherit = move || match in_child.load(Ordering::Relaxed) {
            // SAFETY: open, since it is until the spawn that this is for has returned.
            true => let_inherit(unsafe { BorrowedFd::borrow_raw(fd) }),
            false => Ok(()),
        };
        // SAFETY: it loads an atomic and makes a system call, which is allowed in a child
        // that was forked off a process with several threads.
        unsafe { command.pre_exec(inherit) };
        command.env(INVITATION, format!("{fd}:{number}"));
        let spawned = command.spawn();
        // The command keeps the closure, and may be used again.
        is_meant.store(false, Ordering::Relaxed);
        command.env_remove(INVITATION);
        let child = spawned.map_err(|error| {
            let program = command.get_program().display();
            Error::os(format!("start {program}"), error)
        })?;
        let channel = Channel::to_invited(Socket::new(self.own)?, child.id());
        Ok((child, channel))
    }
}

fn let_inherit(fd: BorrowedFd<'_>) -> std::io::Result<()> {
    rustix::io::fcntl_setfd(fd, FdFlags::empty())?;
    Ok(())
}

/// By which a socket is told from all others, so that a variable that was passed on too far
/// leads to nothing else.
fn number_of(socket: BorrowedFd<'_>) -> Result<u64, Errno> {
    rustix::fs::fstat(socket).map(|stat| stat.st_ino)
}

/// That the invitation of this process was accepted.
static ACCEPTED: AtomicBool = AtomicBool::new(false);

pub(crate) fn accept() -> Result<Option<Channel>, Error> {
    let none = Error::InvalidUse("this process was not started by an invitation");
    let Some((fd, number)) = std::env::var(INVITATION).ok().as_deref().and_then(parse) else {
        return Err(none);
    };
    // SAFETY: only looked at, and the answer for one that is not open is an error.
    let found = number_of(unsafe { BorrowedFd::borrow_raw(fd) });
    if found != Ok(number) {
        return Err(none);
    }
    // SAFETY: it was open just now; this looks at it, too, and nothing closes what a program
    // was started with but that program.
    check_type(unsafe { BorrowedFd::borrow_raw(fd) })?;
    if ACCEPTED.swap(true, Ordering::Relaxed) {
        return Err(Error::InvalidUse("the invitation was accepted already"));
    }
    // SAFETY: the process that started this one left it open for this purpose alone, and
    // the line above lets only one come here.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC)
        .map_err(|errno| failed("keep the invitation to this process", errno))?;
    Channel::to_inviting(Socket::new(socket)?).map(Some)
}

/// A file of another file system may have the number of a socket.
fn check_type(socket: BorrowedFd<'_>) -> Result<(), Error> {
    let found = sockopt::socket_domain(socket).and_then(|domain| {
        let kind = sockopt::socket_type(socket)?;
        Ok((domain, kind))
    });
    match found {
        Ok((AddressFamily::UNIX, SocketType::SEQPACKET)) => Ok(()),
        Ok(_) => Err(Error::InvalidUse(
            "what BRIGADE_INVITATION names is a socket of another type than an invitation's",
        )),
        Err(Errno::NOTSOCK) => Err(Error::InvalidUse(
            "what BRIGADE_INVITATION names is no socket, and so no invitation",
        )),
        Err(errno) => Err(failed("look at the invitation to this process", errno)),
    }
}

/// Descriptor and number, as `Invitation::spawn` writes them.
fn parse(text: &str) -> Option<(RawFd, u64)> {
    let (fd, number) = text.split_once(':')?;
    let fd = fd.parse().ok().filter(|&fd| fd >= 0)?;
    Some((fd, number.parse().ok()?))
}
