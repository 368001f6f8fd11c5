//! What connects two processes that have joined, and waiting for what may happen to it.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
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

/// What connects two processes that have joined.
pub(crate) struct Link {
    bell: Bell,
    remote_bell: RemoteBell,
    socket: Socket,
    process: Option<Arc<OwnedFd>>,
    /// What this process rings to wake itself, where the partner is of another user: it
    /// has the doorbell, too, and could let that block.
    nudges: Option<Bell>,
    /// One descriptor for all of these, for who asks for it.
    ready: OnceLock<Ready>,
    hung_up: AtomicBool,
}

/// A descriptor, and what is asked of it. Hang-up and error are always told.
type Polled<'a> = (BorrowedFd<'a>, PollFlags);

impl Link {
    pub(super) fn new(
        bell: Bell,
        remote_bell: RemoteBell,
        socket: Socket,
        process: Option<Arc<OwnedFd>>,
        is_foreign: bool,
    ) -> Result<Link, Error> {
        Ok(Link {
            bell,
            remote_bell,
            socket,
            process,
            nudges: is_foreign.then(Bell::new).transpose()?,
            ready: OnceLock::new(),
            hung_up: false.into(),
        })
    }

    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Result<Wake, Error> {
        let ([process, socket], [bell, nudges]) = (self.ends(), self.bells());
        let found = match self.nudges {
            Some(_) => poll_until([process, socket, bell, nudges], deadline)?,
            None => {
                let [process, socket, bell] = poll_until([process, socket, bell], deadline)?;
                [process, socket, bell, bell]
            }
        };
        Ok(self.wake(found))
    }

    pub(crate) fn watch(&self, deadline: Option<Instant>) -> Result<Wake, Error> {
        let [process, socket] = poll_until(self.ends(), deadline)?;
        let not_asked = PollFlags::empty();
        Ok(self.wake([process, socket, not_asked, not_asked]))
    }

    /// What tells of the partner's end: its process and the socket.
    fn ends(&self) -> [Polled<'_>; 2] {
        let socket = self.socket.as_fd();
        // Asking for no events of a descriptor keeps its place in the array.
        let process = match &self.process {
            Some(process) => (process.as_fd(), PollFlags::IN),
            None => (socket, PollFlags::empty()),
        };
        [process, (socket, PollFlags::IN | PollFlags::RDHUP)]
    }

    /// What is rung: by the partner, and by this process.
    fn bells(&self) -> [Polled<'_>; 2] {
        [&self.bell, self.nudges()].map(|bell| (bell.as_fd(), PollFlags::IN))
    }

    fn nudges(&self) -> &Bell {
        self.nudges.as_ref().unwrap_or(&self.bell)
    }

    /// What the events of the ends and of the bells mean.
    fn wake(&self, [process, socket, bell, nudges]: [PollFlags; 4]) -> Wake {
        let hung_up = PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR;
        if self.hung_up.load(Ordering::Acquire) {
            Wake::HungUp
        } else if !process.is_empty() || socket.intersects(hung_up) {
            Wake::Gone
        } else if !socket.is_empty() {
            Wake::Message
        } else if !bell.is_empty() || !nudges.is_empty() {
            Wake::Rung
        } else {
            Wake::Timeout
        }
    }

    pub(crate) fn consume(&self) -> Result<(), Error> {
        self.nudges.as_ref().map_or(Ok(()), Bell::consume)?;
        self.bell.consume()
    }

    pub(crate) fn is_partner_dead(&self, deadline: Instant) -> Result<bool, Error> {
        let Some(process) = &self.process else {
            return Ok(false);
        };
        let fds = [(process.as_fd(), PollFlags::IN)];
        let [process] = poll_until(fds, Some(deadline))?;
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
        self.nudges().ring();
    }

    /// Also wakes this process's own waits: they see the socket's hang-up.
    pub(crate) fn hang_up(&self) {
        self.hung_up.store(true, Ordering::Release);
        // Already hung up by the partner is as good.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
    }

    pub(crate) fn handle(&self) -> Result<Handle<'_>, Error> {
        if let Some(ready) = self.ready.get() {
            return Ok(ready.as_fd());
        }
        let ready = self.new_ready()?;
        Ok(self.ready.get_or_init(|| ready).as_fd())
    }

    fn new_ready(&self) -> Result<Ready, Error> {
        let ready = Ready::new()?;
        ready.add(self.bell.as_fd(), EventFlags::IN)?;
        ready.add(self.socket.as_fd(), EventFlags::IN | EventFlags::RDHUP)?;
        if let Some(process) = &self.process {
            ready.add(process.as_fd(), EventFlags::IN)?;
        }
        if let Some(nudges) = &self.nudges {
            ready.add(nudges.as_fd(), EventFlags::IN)?;
        }
        Ok(ready)
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

pub(crate) fn wait_for_links(
    links: &[&Link],
    deadline: Option<Instant>,
) -> Result<Vec<Wake>, Error> {
    let mut polled = AllPolled::default();
    let places: Vec<_> = links.iter().map(|link| polled.add_link(link)).collect();
    poll_all(&mut polled.fds, deadline)?;
    let events = |places: [usize; 4]| places.map(|place| polled.fds[place].revents());
    let links = links.iter().zip(places);
    Ok(links
        .map(|(link, places)| link.wake(events(places)))
        .collect())
}

/// What is polled for several links, and where in `fds` the processes are that have a place:
/// the same one serves all links to it.
#[derive(Default)]
struct AllPolled<'a> {
    fds: Vec<PollFd<'a>>,
    processes: HashMap<i32, usize>,
}

impl<'a> AllPolled<'a> {
    /// The places of the ends and the bells, as [`Link::wake`] takes them.
    fn add_link(&mut self, link: &'a Link) -> [usize; 4] {
        let ([process, socket], [bell, nudges]) = (link.ends(), link.bells());
        let process = match &link.process {
            Some(_) => self.add_process(process),
            None => self.add(process),
        };
        let (socket, bell) = (self.add(socket), self.add(bell));
        let nudges = match &link.nudges {
            Some(_) => self.add(nudges),
            None => bell,
        };
        [process, socket, bell, nudges]
    }

    fn add(&mut self, (fd, events): Polled<'a>) -> usize {
        self.fds.push(PollFd::from_borrowed_fd(fd, events));
        self.fds.len() - 1
    }

    fn add_process(&mut self, polled: Polled<'a>) -> usize {
        let number = polled.0.as_raw_fd();
        if let Some(place) = self.processes.get(&number) {
            return *place;
        }
        let place = self.add(polled);
        self.processes.insert(number, place);
        place
    }
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
            Err(Errno::INVAL) => return Err(too_many(fds.len())),
            Err(errno) => return Err(failed("wait", errno)),
        }
    }
}

/// Open they may be, if the limit was lowered since.
fn too_many(count: usize) -> Error {
    let operation = format!(
        "wait for {count} descriptors at once (the limit of open files is one of these, too; \
         raise it: ulimit -n)"
    );
    Error::os(operation, Errno::INVAL)
}
