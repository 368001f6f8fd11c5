//! What connects two processes that have joined: one `poll` for all that may happen.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::Shutdown;

use super::discard::Socket;
use crate::error::Error;
use crate::sys::Wake;
use crate::sys::kernel::limits::failed;
use crate::sys::kernel::wake::{Alarm, Bell, RemoteBell, ring_eventfd};

/// What connects two processes that have joined.
pub(crate) struct Link {
    pub(in crate::sys) bell: Bell,
    pub(in crate::sys) remote_bell: RemoteBell,
    pub(in crate::sys) socket: Socket,
    pub(in crate::sys) process: Option<OwnedFd>,
}

impl Link {
    pub(crate) fn wait(&self, alarm: &Alarm, deadline: Option<Instant>) -> Result<Wake, Error> {
        let wake = self.poll(Some(&self.bell), alarm, deadline)?;
        if wake == Wake::Bell {
            // Non-blocking; nothing to read is a ring that was seen already.
            let _ = rustix::io::read(&self.bell.0, &mut [0; 8]);
        }
        Ok(wake)
    }

    pub(crate) fn watch(&self, alarm: &Alarm, deadline: Option<Instant>) -> Result<Wake, Error> {
        self.poll(None, alarm, deadline)
    }

    fn poll(
        &self,
        bell: Option<&Bell>,
        alarm: &Alarm,
        deadline: Option<Instant>,
    ) -> Result<Wake, Error> {
        let socket = self.socket.as_fd();
        // Asking for no events of a descriptor keeps its place in the array.
        let process = match &self.process {
            Some(process) => (process.as_fd(), PollFlags::IN),
            None => (socket, PollFlags::empty()),
        };
        let bell = match bell {
            Some(bell) => (bell.0.as_fd(), PollFlags::IN),
            None => (socket, PollFlags::empty()),
        };
        let fds = [
            alarm.polled(),
            bell,
            process,
            (socket, PollFlags::IN | PollFlags::RDHUP),
        ];
        let [alarm, bell, process, socket] = poll_until(fds, deadline)?;
        let hung_up = PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR;
        Ok(if !alarm.is_empty() {
            Wake::Alarm
        } else if bell.contains(PollFlags::IN) {
            Wake::Bell
        } else if !process.is_empty() || socket.intersects(hung_up) {
            Wake::Gone
        } else if !socket.is_empty() {
            Wake::Message
        } else {
            Wake::Timeout
        })
    }

    pub(crate) fn ring(&self) {
        ring_eventfd(&self.remote_bell.0);
    }

    pub(crate) fn hang_up(&self) {
        // Already hung up by the partner is as good.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Write);
    }
}

/// The events that came, none for a deadline that passed.
pub(in crate::sys) fn poll_until<const N: usize>(
    fds: [(BorrowedFd<'_>, PollFlags); N],
    deadline: Option<Instant>,
) -> Result<[PollFlags; N], Error> {
    let mut fds = fds.map(|(fd, events)| PollFd::from_borrowed_fd(fd, events));
    loop {
        let left = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: left.as_secs().min(i32::MAX as u64) as i64,
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        match poll(&mut fds, left.as_ref()) {
            Ok(_) => return Ok(fds.map(|fd| fd.revents())),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failed("wait", errno)),
        }
    }
}
