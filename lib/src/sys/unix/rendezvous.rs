//! Reaching whoever holds a name: a socket, bound by the holder of the seat alone.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::channel::Channel;
use super::discard::{Listener, Socket};
use super::link::poll_until;
use super::lock::{
    Claim, Claimed, Claims, Identity, Seat, foreign, in_the_way, leads_to, take_seat,
};
use super::names::Name;
use super::users::User;
use crate::error::Error;
use crate::refusal::{Refusal, Refused};
use crate::sys::Arrival;
use crate::sys::kernel::files::change_mode;
use crate::sys::kernel::limits::failed;
use crate::sys::kernel::origin::Origin;
use crate::sys::kernel::wake::Alarm;

/// Joiners that can wait to be looked at.
const BACKLOG: i32 = 16;

/// How often a host looks whether its files are still there: whoever cleans the directory
/// may have removed them, and then nobody finds it.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The process that holds a name and can be reached under it.
pub(crate) struct Host {
    // In this order when dropped: unreachable first, the name free last.
    door: Door,
    seat: Arc<Seat>,
    name: Name,
    guests: Vec<User>,
    looked: Instant,
}

/// A socket that others can connect to.
struct Door {
    entry: SocketFile,
    listener: Listener,
}

/// The socket's entry in its directory, removed when dropped if it is still that.
struct SocketFile {
    name: Name,
    identity: Identity,
    origin: Origin,
}

impl SocketFile {
    fn is_there(&self) -> Result<bool, Errno> {
        leads_to(self.name.socket(), self.identity)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Whoever takes the name next removes what stays here.
        if self.origin.is_here() && self.is_there() == Ok(true) {
            let _ = rustix::fs::unlink(self.name.socket());
        }
    }
}

/// A process on its way to the seat of a name, or to its host.
pub(crate) struct Arriving<'n> {
    name: &'n Name,
    guests: &'n [User],
    has_claims: bool,
    /// This process's own.
    claim: Option<&'n Claim>,
}

impl<'n> Arriving<'n> {
    pub(crate) fn new(
        name: &'n Name,
        guests: &'n [User],
        has_claims: bool,
        claim: Option<&'n Claim>,
    ) -> Result<Arriving<'n>, Error> {
        if name.is_private() && !guests.is_empty() {
            return Err(Error::InvalidOption(
                "to meet another user, the name must be a path in a directory of both".into(),
            ));
        }
        Ok(Arriving {
            name,
            guests,
            has_claims,
            claim,
        })
    }

    pub(crate) fn attempt(
        &mut self,
        _deadline: Instant,
        last: bool,
    ) -> Result<Option<Arrival>, Error> {
        match self.try_both(last) {
            Err(error) if !last && self.may_pass(&error) => Ok(None),
            tried => tried,
        }
    }

    /// Whether the next attempt may do without `error`: a host may be about to open its
    /// files to others; and who meets a process with the claim does not stay.
    fn may_pass(&self, error: &Error) -> bool {
        error.is_in_the_way() && (self.claim.is_some() || !self.guests.is_empty())
    }

    fn try_both(&mut self, last: bool) -> Result<Option<Arrival>, Error> {
        let claims = || Claims::of(self.name, self.guests);
        if let Some(seat) = take_seat(self.name, self.guests, self.has_claims)? {
            // Under the lock of the seat: nobody becomes a second who is none now.
            if self.claim.is_none() && claims().look(true)? == Claimed::Held {
                return Ok(Some(Arrival::Later));
            }
            let host = Host::new(self.name, Arc::new(seat), self.guests)?;
            return Ok(Some(Arrival::Host(Box::new(host))));
        }
        if let Some(channel) = connect(self.name.socket())? {
            return Ok(Some(Arrival::Second(channel)));
        }
        // A host whose second was killed may be yet to open its door again.
        Ok(match last && claims().look(false)? == Claimed::Left {
            true => Some(Arrival::Later),
            false => None,
        })
    }
}

impl Door {
    fn open(name: &Name, guests: &[User]) -> Result<Door, Error> {
        let path = name.socket();
        let failed = |what: &str| {
            let operation = format!("{what} the socket {}", path.display());
            move |errno: Errno| failed(operation, errno)
        };
        let listener = Listener::new(new_socket().map_err(failed("create"))?)?;
        let address = SocketAddrUnix::new(path).map_err(failed("name"))?;
        remove_stale(path, &address)?;
        rustix::net::bind(&listener, &address)
            .map_err(|errno| name.cannot_be_made(failed("bind")(errno)))?;
        let entry = SocketFile {
            identity: Identity::of(&rustix::fs::lstat(path).map_err(failed("look at"))?),
            name: name.clone(),
            origin: Origin::here()?,
        };
        if !guests.is_empty() {
            open_to_others(path, entry.identity).map_err(failed("open to other users"))?;
        }
        rustix::net::listen(&listener, BACKLOG).map_err(failed("listen on"))?;
        Ok(Door { entry, listener })
    }
}

/// Lets everybody connect, which is to write; who has connected is looked at then.
///
/// In a directory that others can write to, `path` may be anything by now, so what is
/// changed is what was looked at.
fn open_to_others(path: &Path, bound: Identity) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let entry = rustix::fs::open(path, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&entry)?;
    let is_bound = Identity::of(&stat) == bound;
    let is_socket = FileType::from_raw_mode(stat.st_mode) == FileType::Socket;
    if !is_bound || !is_socket || User::of(&stat) != User::own() {
        return Err(Errno::ACCESS);
    }
    change_mode(&entry, 0o666)
}

/// Removes the socket of a dead holder: this process has the lock, so no live one
/// is brigade's. But a path may name anybody's.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), Error> {
    let failed = |errno| failed(format!("remove the stale socket {}", path.display()), errno);
    let socket = new_socket().map_err(failed)?;
    match rustix::net::connect(&socket, address) {
        Err(Errno::NOENT) => return Ok(()),
        // No socket, or one that nobody listens on; told apart by its type.
        Err(Errno::CONNREFUSED) => {}
        _ => return Err(taken_path(path)),
    }
    let stat = rustix::fs::lstat(path).map_err(failed)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(taken_path(path));
    }
    rustix::fs::unlink(path).map_err(failed)
}

fn taken_path(path: &Path) -> Error {
    in_the_way(
        path,
        "is in the way, and is not brigade's; choose another name",
    )
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
    let failed = |errno| failed(format!("connect to the socket {}", path.display()), errno);
    let socket = new_socket().map_err(failed)?;
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) => Channel::to_host(Socket::new(socket)?).map(Some),
        // Not there yet or any more, dead, or swamped by joiners.
        Err(Errno::NOENT | Errno::CONNREFUSED | Errno::AGAIN) => Ok(None),
        Err(errno) => Err(foreign(path).unwrap_or(failed(errno))),
    }
}

impl Host {
    fn new(name: &Name, seat: Arc<Seat>, guests: &[User]) -> Result<Host, Error> {
        Ok(Host {
            door: Door::open(name, guests)?,
            seat,
            name: name.clone(),
            guests: guests.to_vec(),
            looked: Instant::now(),
        })
    }

    pub(crate) fn again(
        name: &Name,
        seat: &Arc<Seat>,
        guests: &[User],
        _has_claims: bool,
    ) -> Result<Option<Host>, Error> {
        if !seat.is_there()? {
            return Ok(None);
        }
        let host = Host::new(name, Arc::clone(seat), guests)?;
        // What a killed second left, which not everybody may be able to take who may come
        // now. Otherwise it stays: it asks whoever finds the door closed for patience.
        if !guests.is_empty() {
            Claims::of(name, guests).look(true)?;
        }
        Ok(Some(host))
    }

    pub(crate) fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }

    /// `Ok(None)` when the deadline has passed or the alarm rang.
    pub(crate) fn next(
        &mut self,
        alarm: &Alarm,
        deadline: Option<Instant>,
    ) -> Result<Option<Channel>, Error> {
        loop {
            let look_again = self.looked + LOOK_AGAIN;
            let until = deadline.map_or(look_again, |deadline| deadline.min(look_again));
            let fds = [(self.door.listener.as_fd(), PollFlags::IN), alarm.polled()];
            let [listener, alarm] = poll_until(fds, Some(until))?;
            if !alarm.is_empty() {
                return Ok(None);
            }
            if Instant::now() >= look_again {
                self.stay_reachable()?;
            }
            if !listener.is_empty()
                && let Some(channel) = self.accept()?
            {
                return Ok(Some(channel));
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(None);
            }
        }
    }

    /// `None` if the joiner left before it was looked at.
    fn accept(&self) -> Result<Option<Channel>, Error> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match rustix::net::accept_with(&self.door.listener, flags) {
            Ok(socket) => Channel::to_second(Socket::new(socket)?).map(Some),
            Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => Ok(None),
            Err(errno) => Err(failed("accept a joining process", errno)),
        }
    }

    /// Makes the files again if somebody has removed them.
    fn stay_reachable(&mut self) -> Result<(), Error> {
        if !self.seat.is_there()? && !self.seat.take_again(&self.name, &self.guests)? {
            let text = format!(
                "{} was removed while this process waited, and another process has the name \
                 now; start again",
                self.name.lock().display()
            );
            return Err(Refused::new(Refusal::NameLost, text).into());
        }
        let socket = &self.door.entry;
        let look = |errno| failed(format!("look at {}", self.name.socket().display()), errno);
        if !socket.is_there().map_err(look)? {
            self.door = Door::open(&self.name, &self.guests)?;
        }
        self.looked = Instant::now();
        Ok(())
    }

    pub(crate) fn close(self) -> Arc<Seat> {
        let Host {
            door,
            seat,
            name,
            guests,
            ..
        } = self;
        // What a killed one left would say that this host is yet to open. What cannot be
        // removed costs those who come patience, no more.
        let _ = Claims::of(&name, &guests).look(true);
        // Joiners still in the queue are reset, and try again.
        drop(door);
        seat
    }
}
