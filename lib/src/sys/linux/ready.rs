//! One descriptor that is readable as long as one of several is (`epoll`).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFlags, Timespec};
use rustix::io::Errno;

use super::limits::failed;
use crate::error::Error;
use crate::sys::unix::link::poll_until;

/// A set of descriptors, each with the events that it is watched for.
pub(in crate::sys) struct Ready<const N: usize>(OwnedFd);

impl<const N: usize> Ready<N> {
    pub(in crate::sys) fn new() -> Result<Ready<N>, Error> {
        epoll::create(CreateFlags::CLOEXEC)
            .map(Ready)
            .map_err(|errno| failed("create a set of descriptors to wait for", errno))
    }

    /// Hang-up and error are always watched for.
    pub(in crate::sys) fn add(
        &self,
        place: usize,
        fd: BorrowedFd<'_>,
        events: EventFlags,
    ) -> Result<(), Error> {
        epoll::add(&self.0, fd, EventData::new_u64(place as u64), events)
            .map_err(|errno| failed("wait for a descriptor", errno))
    }

    /// The events of each place; none if the deadline passed.
    pub(in crate::sys) fn wait(&self, deadline: Option<Instant>) -> Result<[EventFlags; N], Error> {
        // epoll_wait counts in milliseconds where the kernel is older than 5.11. What was
        // ready may not be any more, since others can read from it.
        let now = Timespec::default();
        if deadline.is_some() {
            let [ready] = poll_until([(self.0.as_fd(), PollFlags::IN)], deadline)?;
            if ready.is_empty() {
                return Ok([EventFlags::empty(); N]);
            }
        }
        let mut events = [Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(0),
        }; N];
        let count = loop {
            match epoll::wait(&self.0, &mut events, deadline.map(|_| &now)) {
                Ok(count) => break count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(failed("wait", errno)),
            }
        };
        let mut found = [EventFlags::empty(); N];
        for event in &events[..count] {
            found[event.data.u64() as usize] = event.flags;
        }
        Ok(found)
    }
}

impl<const N: usize> AsFd for Ready<N> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
