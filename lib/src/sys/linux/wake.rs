//! Doorbell and alarm (`eventfd`), and the remote barrier (`membarrier`).

use std::io::IoSliceMut;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, PollFlags, eventfd};
use rustix::fs::{AtFlags, OFlags, StatxFlags};
use rustix::io::{Errno, ReadWriteFlags};
use rustix::thread::{MembarrierCommand, MembarrierQuery};

use super::limits::failed;
use crate::error::Error;
use crate::sys::unix::discard::Stranger;

/// The doorbell that this process sleeps on. Each link has new ones, so a ring is never of
/// an earlier pair.
pub(in crate::sys) struct Bell(OwnedFd);

/// The partner's.
pub(in crate::sys) struct RemoteBell(OwnedFd);

fn new_eventfd(purpose: &str) -> Result<OwnedFd, Error> {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|errno| failed(format!("create {purpose}"), errno))
}

/// Its counter is only ever "rung or not": a full one (EAGAIN) is rung already.
fn ring_eventfd(eventfd: &OwnedFd) {
    let _ = rustix::io::retry_on_intr(|| rustix::io::write(eventfd, &1u64.to_ne_bytes()));
}

impl RemoteBell {
    /// Ringing must never block, so it has to be an eventfd (which is of no file
    /// type), and not a pipe or a socket that may be full, and non-blocking.
    pub(in crate::sys) fn open(bell: Stranger) -> Result<RemoteBell, &'static str> {
        const FILE_TYPE: u16 = 0o170_000;
        // Without asking a file system, which may answer to nobody.
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let stat = rustix::fs::statx(&bell, c"", flags, StatxFlags::TYPE)
            .map_err(|_| "its doorbell is unknown")?;
        if stat.stx_mode & FILE_TYPE != 0 || !is_nonblocking(bell.as_fd()) {
            return Err("its doorbell is no non-blocking eventfd");
        }
        Ok(RemoteBell(bell.into_known()))
    }

    pub(in crate::sys) fn ring(&self) {
        ring_eventfd(&self.0);
    }

    /// Whoever made it can change that at any time.
    pub(in crate::sys) fn is_nonblocking(&self) -> bool {
        is_nonblocking(self.0.as_fd())
    }
}

fn is_nonblocking(bell: BorrowedFd<'_>) -> bool {
    rustix::fs::fcntl_getfl(bell).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK))
}

impl Bell {
    pub(in crate::sys) fn new() -> Result<Bell, Error> {
        new_eventfd("a doorbell").map(Bell)
    }

    pub(in crate::sys) fn ring(&self) {
        ring_eventfd(&self.0);
    }

    pub(in crate::sys) fn consume(&self) -> Result<(), Error> {
        match rustix::io::retry_on_intr(|| self.read()) {
            // Nothing to read is a ring that was consumed already.
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(errno) => Err(failed("read a doorbell", errno)),
        }
    }

    /// Does not block, though the partner, who has the same eventfd, can let it.
    fn read(&self) -> Result<usize, Errno> {
        // Where the eventfd is: it has no position.
        const HERE: u64 = u64::MAX;
        let mut count = [0; 8];
        let parts = &mut [IoSliceMut::new(&mut count)];
        match rustix::io::preadv2(&self.0, parts, HERE, ReadWriteFlags::NOWAIT) {
            // Before Linux 5.9, eventfds do not know how.
            Err(Errno::OPNOTSUPP) if is_nonblocking(self.0.as_fd()) => {
                rustix::io::read(&self.0, &mut count)
            }
            done => done,
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Once rung, wakes all of this process that was given it, for good: while it joins.
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
