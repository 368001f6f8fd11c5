//! One descriptor that is readable as long as one of several is (`epoll`).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::limits::failed;
use crate::error::Error;

/// A set of descriptors, each with the events that it is watched for.
pub(in crate::sys) struct Ready(OwnedFd);

impl Ready {
    pub(in crate::sys) fn new() -> Result<Ready, Error> {
        epoll::create(CreateFlags::CLOEXEC)
            .map(Ready)
            .map_err(|errno| failed("create a set of descriptors to wait for", errno))
    }

    /// Hang-up and error are always watched for.
    pub(in crate::sys) fn add(&self, fd: BorrowedFd<'_>, events: EventFlags) -> Result<(), Error> {
        // Nobody asks which of them it was.
        let place = EventData::new_u64(0);
        epoll::add(&self.0, fd, place, events)
            .map_err(|errno| failed("wait for a descriptor", errno))
    }
}

impl AsFd for Ready {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
