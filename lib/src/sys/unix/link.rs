//! What connects two processes that have joined: one set of descriptors for all that may
//! happen.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::Shutdown;

use super::discard::Socket;
use crate::error::Error;
use crate::sys::kernel::limits::failed;
use crate::sys::kernel::ready::Ready;
use crate::sys::kernel::wake::{Bell, RemoteBell};
use crate::sys::{Handle, Wake};

/// Places in the set.
const BELL: usize = 0;
const SOCKET: usize = 1;
const PROCESS: usize = 2;
const NUDGES: usize = 3;
pub(super) const LINKED: usize = 4;

/// What connects two processes that have joined.
pub(crate) struct Link {
    bell: Bell,
    remote_bell: RemoteBell,
    socket: Socket,
    process: Option<Arc<OwnedFd>>,
    /// What this process rings to wake itself, where the partner is of another user: it
    /// has the doorbell, too, and could let that block.
    nudges: Option<Bell>,
    ready: Ready<LINKED>,
    hung_up: AtomicBool,
}

impl Link {
    pub(super) fn new(
        bell: Bell,
        remote_bell: RemoteBell,
        socket: Socket,
        process: Option<Arc<OwnedFd>>,
        is_foreign: bool,
        ready: Ready<LINKED>,
    ) -> Result<Link, Error> {
        ready.add(BELL, bell.as_fd(), EventFlags::IN)?;
        ready.add(SOCKET, socket.as_fd(), EventFlags::IN | EventFlags::RDHUP)?;
        if let Some(process) = &process {
            ready.add(PROCESS, process.as_fd(), EventFlags::IN)?;
        }
        let nudges = is_foreign.then(Bell::new).transpose()?;
        if let Some(nudges) = &nudges {
            ready.add(NUDGES, nudges.as_fd(), EventFlags::IN)?;
        }
        Ok(Link {
            bell,
            remote_bell,
            socket,
            process,
            nudges,
            ready,
            hung_up: false.into(),
        })
    }

    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Result<Wake, Error> {
        let [bell, socket, process, nudges] = self.ready.wait(deadline)?;
        let hung_up = EventFlags::HUP | EventFlags::RDHUP | EventFlags::ERR;
        Ok(if self.hung_up.load(Ordering::Acquire) {
            Wake::HungUp
        } else if !process.is_empty() || socket.intersects(hung_up) {
            Wake::Gone
        } else if !socket.is_empty() {
            Wake::Message
        } else if !bell.is_empty() || !nudges.is_empty() {
            Wake::Rung
        } else {
            Wake::Timeout
        })
    }

    pub(crate) fn consume(&self) -> Result<(), Error> {
        self.nudges.as_ref().map_or(Ok(()), Bell::consume)?;
        self.bell.consume()
    }

    pub(crate) fn watch(&self, deadline: Option<Instant>) -> Result<Wake, Error> {
        let socket = self.socket.as_fd();
        // Asking for no events of a descriptor keeps its place in the array.
        let process = match &self.process {
            Some(process) => (process.as_fd(), PollFlags::IN),
            None => (socket, PollFlags::empty()),
        };
        let fds = [process, (socket, PollFlags::IN | PollFlags::RDHUP)];
        let [process, socket] = poll_until(fds, deadline)?;
        let hung_up = PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR;
        Ok(if self.hung_up.load(Ordering::Acquire) {
            Wake::HungUp
        } else if !process.is_empty() || socket.intersects(hung_up) {
            Wake::Gone
        } else if !socket.is_empty() {
            Wake::Message
        } else {
            Wake::Timeout
        })
    }

    pub(crate) fn is_partner_dead(&self) -> Result<bool, Error> {
        let Some(process) = &self.process else {
            return Ok(false);
        };
        let now = Some(Instant::now());
        let [process] = poll_until([(process.as_fd(), PollFlags::IN)], now)?;
        Ok(process.contains(PollFlags::IN))
    }

    pub(crate) fn ring(&self) {
        // The partner can let its doorbell block at any time. One of this user could do
        // worse; another user's is asked each time.
        if self.nudges.is_some() && !self.remote_bell.is_nonblocking() {
            let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
            return;
        }
        self.remote_bell.ring();
    }

    pub(crate) fn nudge(&self) {
        self.nudges.as_ref().unwrap_or(&self.bell).ring();
    }

    /// Also wakes this process's own waits: they see the socket's hang-up.
    pub(crate) fn hang_up(&self) {
        self.hung_up.store(true, Ordering::Release);
        // Already hung up by the partner is as good.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
    }

    pub(crate) fn handle(&self) -> Handle<'_> {
        self.ready.as_fd()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // To close the socket is not enough: a forked child may have a copy.
        if self.socket.is_of_this_process() {
            self.hang_up();
        }
    }
}

pub(crate) fn wait_for_handles(
    handles: &[Handle<'_>],
    deadline: Option<Instant>,
) -> Result<Vec<bool>, Error> {
    let mut fds: Vec<_> = handles
        .iter()
        .map(|handle| PollFd::from_borrowed_fd(*handle, PollFlags::IN))
        .collect();
    poll_all(&mut fds, deadline)?;
    Ok(fds.iter().map(|fd| !fd.revents().is_empty()).collect())
}

/// The events that came, none for a deadline that passed.
pub(in crate::sys) fn poll_until<const N: usize>(
    fds: [(BorrowedFd<'_>, PollFlags); N],
    deadline: Option<Instant>,
) -> Result<[PollFlags; N], Error> {
    let mut fds = fds.map(|(fd, events)| PollFd::from_borrowed_fd(fd, events));
    poll_all(&mut fds, deadline)?;
    Ok(fds.map(|fd| fd.revents()))
}

fn poll_all(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> Result<(), Error> {
    loop {
        let left = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: left.as_secs().min(i32::MAX as u64) as i64,
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        match poll(fds, left.as_ref()) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failed("wait", errno)),
        }
    }
}
