//! Doorbell and alarm (`eventfd`), and the remote barrier (`membarrier`).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, PollFlags, eventfd};
use rustix::fs::OFlags;
use rustix::thread::{MembarrierCommand, MembarrierQuery};

use super::limits::failed;
use crate::error::Error;
use crate::sys::unix::discard::Stranger;

/// The doorbell that this process sleeps on.
pub(crate) struct Bell(pub(in crate::sys) OwnedFd);

/// The partner's.
pub(crate) struct RemoteBell(pub(in crate::sys) OwnedFd);

fn new_eventfd(purpose: &str) -> Result<OwnedFd, Error> {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|errno| failed(format!("create {purpose}"), errno))
}

/// Its counter is only ever "rung or not": a full one (EAGAIN) is rung already.
pub(in crate::sys) fn ring_eventfd(eventfd: &OwnedFd) {
    let _ = rustix::io::retry_on_intr(|| rustix::io::write(eventfd, &1u64.to_ne_bytes()));
}

impl RemoteBell {
    /// Ringing must never block, so it has to be an eventfd (which is of no file
    /// type), and not a pipe or a socket that may be full, and non-blocking.
    pub(in crate::sys) fn open(bell: Stranger) -> Result<RemoteBell, &'static str> {
        const FILE_TYPE: u32 = 0o170_000;
        let stat = rustix::fs::fstat(&bell).map_err(|_| "its doorbell is unknown")?;
        let flags = rustix::fs::fcntl_getfl(&bell).map_err(|_| "its doorbell is unknown")?;
        if stat.st_mode & FILE_TYPE != 0 || !flags.contains(OFlags::NONBLOCK) {
            return Err("its doorbell is no non-blocking eventfd");
        }
        Ok(RemoteBell(bell.into_known()))
    }
}

impl Bell {
    pub(crate) fn new() -> Result<Bell, Error> {
        new_eventfd("a doorbell").map(Bell)
    }
}

/// Once rung, wakes every wait of this process that was given it, for good.
#[derive(Debug)]
pub(crate) struct Alarm(OwnedFd);

impl Alarm {
    pub(crate) fn new() -> Result<Alarm, Error> {
        new_eventfd("an alarm").map(Alarm)
    }

    pub(crate) fn ring(&self) {
        ring_eventfd(&self.0);
    }

    pub(in crate::sys) fn polled(&self) -> (BorrowedFd<'_>, PollFlags) {
        (self.0.as_fd(), PollFlags::IN)
    }
}

pub(crate) fn can_barrier_remotely() -> bool {
    let needed = MembarrierQuery::GLOBAL_EXPEDITED | MembarrierQuery::REGISTER_GLOBAL_EXPEDITED;
    rustix::thread::membarrier_query().contains(needed)
        && rustix::thread::membarrier(MembarrierCommand::RegisterGlobalExpedited).is_ok()
}

pub(crate) fn barrier_remotely() -> Result<(), Error> {
    rustix::thread::membarrier(MembarrierCommand::GlobalExpedited)
        .map_err(|errno| Error::os("execute a barrier (membarrier)", errno))
}
