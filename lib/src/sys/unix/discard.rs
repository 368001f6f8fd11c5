//! Closing what strangers sent, where it can do no harm.
//!
//! To close the last descriptor of something may block for as long as its maker likes: a
//! TCP socket with `SO_LINGER`, a file of a file system that answers to nobody. That also
//! goes for descriptors in messages that were never received, when their socket is
//! closed. So such things are closed by a thread that nobody waits for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::net::{RecvAncillaryBuffer, RecvFlags, ReturnFlags, Shutdown, SocketFlags};

use crate::error::Error;
use crate::sys::kernel::origin::Origin;

/// Threads that are stuck so, at the most: beyond it, whoever closes waits.
const CLOSERS_MAX: usize = 32;

/// Messages that can lie in a socket: net.unix.max_dgram_qlen is 10 or 512, and this is
/// more than anybody sets it to.
const MESSAGES_MAX: usize = 1 << 16;

static CLOSERS: AtomicUsize = AtomicUsize::new(0);

/// Drops `things` in another thread; in this one if there can be none.
pub(super) fn close_elsewhere<T: Send + 'static>(things: T) {
    if CLOSERS.fetch_add(1, Ordering::Relaxed) < CLOSERS_MAX {
        let thread = std::thread::Builder::new().name("brigade-close".into());
        // A thread that cannot be made drops what it was given, too: here and now.
        let started = thread.spawn(move || {
            drop(things);
            CLOSERS.fetch_sub(1, Ordering::Relaxed);
        });
        if started.is_ok() {
            return;
        }
    }
    CLOSERS.fetch_sub(1, Ordering::Relaxed);
}

/// A descriptor from another process, of which nothing is known yet.
pub(in crate::sys) struct Stranger(Option<OwnedFd>);

impl Stranger {
    pub(super) fn new(fd: OwnedFd) -> Stranger {
        Stranger(Some(fd))
    }

    /// For who has found out that it closes at once.
    pub(in crate::sys) fn into_known(mut self) -> OwnedFd {
        taken(&mut self.0)
    }
}

impl AsFd for Stranger {
    fn as_fd(&self) -> BorrowedFd<'_> {
        lent(&self.0)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        if let Some(fd) = self.0.take() {
            close_elsewhere(fd);
        }
    }
}

/// A connected socket, in which anything may still lie when it is closed.
pub(in crate::sys) struct Socket {
    socket: Option<OwnedFd>,
    origin: Origin,
    is_shared: bool,
}

impl Socket {
    pub(super) fn new(socket: OwnedFd) -> Result<Socket, Error> {
        Ok(Socket {
            socket: Some(socket),
            origin: Origin::here()?,
            is_shared: false,
        })
    }

    /// One that the partner made, and may have kept a copy of: it can make every call block
    /// that takes something out, so none is made.
    pub(super) fn shared(socket: Stranger) -> Result<Socket, Error> {
        let mut socket = Socket::new(socket.into_known())?;
        socket.is_shared = true;
        Ok(socket)
    }

    /// False in a forked child, whose copy is closed and left alone otherwise.
    pub(super) fn is_of_this_process(&self) -> bool {
        self.origin.is_here()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        lent(&self.socket)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let Some(socket) = self.socket.take() else {
            return;
        };
        if !self.origin.is_here() {
            return;
        }
        if self.is_shared {
            close_elsewhere(socket);
        } else if !is_empty_for_good(&socket) {
            close_elsewhere(Drained(socket));
        }
    }
}

/// Emptied before it is closed: else the other end would lose what was sent to it last,
/// why it was refused, to an error ("connection reset").
struct Drained(OwnedFd);

impl Drop for Drained {
    fn drop(&mut self) {
        // Nothing more gets in, and a queue of messages is short (unix(7)).
        for _ in 0..MESSAGES_MAX {
            let mut no_room = RecvAncillaryBuffer::default();
            let flags = RecvFlags::DONTWAIT;
            match rustix::net::recvmsg(&self.0, &mut [], &mut no_room, flags) {
                Ok(found) if found.flags.contains(ReturnFlags::CTRUNC) => {}
                _ => return,
            }
        }
    }
}

/// Lets nothing more into `socket`; whether nothing is in there.
fn is_empty_for_good(socket: &OwnedFd) -> bool {
    // With this, each message says on receipt that there was no room for the sender's
    // identity; the end of the messages says nothing. So an empty message is told from
    // the end, which also has no bytes.
    let told_apart = rustix::net::sockopt::set_socket_passcred(socket, true);
    if told_apart.is_err() || rustix::net::shutdown(socket, Shutdown::Read).is_err() {
        return false;
    }
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let mut no_room = RecvAncillaryBuffer::default();
    let found = rustix::net::recvmsg(socket, &mut [], &mut no_room, flags);
    found.is_ok_and(|found| !found.flags.contains(ReturnFlags::CTRUNC))
}

/// A listening socket. Whoever has connected and was not looked at may have sent
/// something already.
pub(super) struct Listener(OwnedFd, Origin);

impl Listener {
    pub(super) fn new(listener: OwnedFd) -> Result<Listener, Error> {
        Ok(Listener(listener, Origin::here()?))
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Nobody can connect after this, so the queue ends. A forked child's copy is its
        // parent's to close.
        if !self.1.is_here() || rustix::net::shutdown(&self.0, Shutdown::Read).is_err() {
            return;
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        while let Ok(socket) = rustix::net::accept_with(&self.0, flags) {
            if let Ok(socket) = Socket::new(socket) {
                drop(socket);
            }
        }
    }
}

fn lent(fd: &Option<OwnedFd>) -> BorrowedFd<'_> {
    match fd {
        Some(fd) => fd.as_fd(),
        None => unreachable!("it is taken only at the end"),
    }
}

fn taken(fd: &mut Option<OwnedFd>) -> OwnedFd {
    match fd.take() {
        Some(fd) => fd,
        None => unreachable!("it is taken once"),
    }
}
