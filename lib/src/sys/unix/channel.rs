//! Messages of joining, over a socket.

use std::cell::{OnceCell, RefCell};
use std::io::{IoSlice, IoSliceMut};
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, UCred,
};

use super::discard::{Socket, Stranger};
use super::link::{Link, poll_until};
use super::users::User;
use crate::error::Error;
use crate::join::message::{self, Kind};
use crate::sys::kernel::limits::failed;
use crate::sys::kernel::memory::Memory;
use crate::sys::kernel::process::{named_process, peer_process, socket_peercred};
use crate::sys::kernel::wake::{Alarm, Bell, RemoteBell};
use crate::sys::{Message, Peer};

/// Descriptors in an offer of one lane: region and doorbell.
const ONE_LANE: usize = 2;

/// In an offer of two lanes: those of each, and from the host the second lane's socket.
const TWO_LANES: usize = 2 * ONE_LANE;
const TWO_LANES_FROM_HOST: usize = TWO_LANES + 1;

/// Room for what may come with a message.
const CONTROL_SPACE: usize = rustix::cmsg_space!(ScmRights(TWO_LANES_FROM_HOST), ScmCredentials(1));

const TOO_MANY: &str = "its message has too many descriptors";

/// A connection to the process that may become the partner.
pub(crate) struct Channel {
    socket: Socket,
    part: Part,
    peer: Peer,
    process: Option<Arc<OwnedFd>>,
    /// Of a process that was invited: who it is by the kernel's word on its messages.
    invited: OnceCell<(Peer, Option<Arc<OwnedFd>>)>,
    /// Made before anybody is admitted, as all that may fail.
    ours: RefCell<Shown<Bell>>,
    theirs: RefCell<Shown<RemoteBell>>,
}

/// What this process is in the joining.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Host,
    /// The host of a process that it has started.
    Inviting,
    Second,
    /// Its messages tell the host who it is.
    Invited,
}

/// What the links of an offer's lanes need.
struct Shown<B> {
    /// One for each lane.
    bells: Vec<B>,
    /// The second lane's, at both ends made by the host.
    second_socket: Option<Socket>,
}

impl<B> Shown<B> {
    fn nothing() -> Shown<B> {
        Shown {
            bells: Vec::new(),
            second_socket: None,
        }
    }
}

impl Channel {
    pub(super) fn to_host(socket: Socket) -> Result<Channel, Error> {
        Channel::connected(socket, Part::Second)
    }

    pub(super) fn to_second(socket: Socket) -> Result<Channel, Error> {
        Channel::connected(socket, Part::Host)
    }

    /// From a process that was invited: the kernel knows who made the pair of sockets.
    pub(super) fn to_inviting(socket: Socket) -> Result<Channel, Error> {
        Channel::connected(socket, Part::Invited)
    }

    /// To the process `process_id`, which was started by this one, or to whom it passes the
    /// invitation on.
    pub(super) fn to_invited(socket: Socket, process_id: u32) -> Channel {
        let user = User::own();
        Channel::new(socket, Part::Inviting, Peer { user, process_id }, None)
    }

    fn connected(socket: Socket, part: Part) -> Result<Channel, Error> {
        let (user, process_id) = socket_peercred(socket.as_fd())?;
        let process = peer_process(socket.as_fd(), process_id)?;
        let user = User::new(user);
        Ok(Channel::new(
            socket,
            part,
            Peer { user, process_id },
            process,
        ))
    }

    fn new(socket: Socket, part: Part, peer: Peer, process: Option<Arc<OwnedFd>>) -> Channel {
        Channel {
            socket,
            part,
            peer,
            process,
            invited: OnceCell::new(),
            ours: RefCell::new(Shown::nothing()),
            theirs: RefCell::new(Shown::nothing()),
        }
    }

    pub(crate) fn peer(&self) -> &Peer {
        self.invited.get().map_or(&self.peer, |(peer, _)| peer)
    }

    fn is_host(&self) -> bool {
        matches!(self.part, Part::Host | Part::Inviting)
    }

    pub(crate) fn offer(&self, lanes: &[&Memory]) -> Result<bool, Error> {
        // Known from here on, whatever this process lacks later.
        let _ = self.peer().is_own_user();
        let mut ours = self.ours.borrow_mut();
        ours.bells = lanes
            .iter()
            .map(|_| Bell::new())
            .collect::<Result<_, Error>>()?;
        let mut fds = Vec::with_capacity(TWO_LANES_FROM_HOST);
        for (memory, bell) in lanes.iter().zip(&ours.bells) {
            let file = memory.file();
            fds.push(file.map_err(|errno| failed("show shared memory", errno))?);
            fds.push(bell.as_fd());
        }
        if lanes.len() < 2 || !self.is_host() {
            return self.send(Kind::Offer, "", &fds);
        }
        let (socket, shown) = new_pair()?;
        fds.push(shown.as_fd());
        let sent = self.send(Kind::Offer, "", &fds)?;
        ours.second_socket = Some(Socket::new(socket)?);
        Ok(sent)
    }

    /// Best effort: the peer may be gone.
    pub(crate) fn refuse(&self, number: u16, reason: &str) {
        let _ = self.send(Kind::Refused(number), reason, &[]);
    }

    /// False if the peer has left.
    pub(crate) fn admit(&self) -> Result<bool, Error> {
        self.send(Kind::Admitted, "", &[])
    }

    /// False if the peer has left, or lets messages lie.
    fn send(&self, kind: Kind, text: &str, fds: &[BorrowedFd<'_>]) -> Result<bool, Error> {
        let (head, text) = (message::head(kind), message::cut(text).as_bytes());
        let mut space = [MaybeUninit::uninit(); CONTROL_SPACE];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(fds));
        }
        if self.part == Part::Invited {
            ancillary.push(SendAncillaryMessage::ScmCredentials(UCred {
                pid: rustix::process::getpid(),
                uid: rustix::process::geteuid(),
                gid: rustix::process::getegid(),
            }));
        }
        let parts = [IoSlice::new(&head), IoSlice::new(text)];
        match rustix::net::sendmsg(&self.socket, &parts, &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(_) => Ok(true),
            Err(
                Errno::PIPE | Errno::CONNRESET | Errno::CONNREFUSED | Errno::NOTCONN | Errno::AGAIN,
            ) => Ok(false),
            // What this process lacks, it would lack for the next one, too.
            Err(errno) => Err(failed("send to the joining process", errno)),
        }
    }

    /// `Ok(None)` when the deadline has passed or the alarm rang.
    pub(crate) fn receive(
        &self,
        alarm: &Alarm,
        deadline: Option<Instant>,
    ) -> Result<Option<Message>, Error> {
        let fds = [(self.socket.as_fd(), PollFlags::IN), alarm.polled()];
        let [socket, alarm] = poll_until(fds, deadline)?;
        if !alarm.is_empty() || socket.is_empty() {
            return Ok(None);
        }
        self.next_message().map(Some)
    }

    /// A message is looked at while it stays in the socket, and taken out only if it is
    /// right. So whatever else came with it is closed together with the socket, or with
    /// what was received: never here, where it might block.
    fn next_message(&self) -> Result<Message, Error> {
        let mut bytes = [0; message::LONGEST];
        let mut peeked = match despite_reset(|| self.peek(&mut bytes)) {
            Ok(peeked) => peeked,
            Err(Errno::CONNRESET | Errno::AGAIN) => return Ok(Message::HungUp),
            Err(errno) => return Err(failed("receive from the joining process", errno)),
        };
        if peeked.len == 0 {
            return Ok(Message::HungUp);
        }
        if peeked.flags.contains(ReturnFlags::TRUNC) {
            return Ok(Message::Malformed("its message is too long"));
        }
        let cut = peeked.flags.contains(ReturnFlags::CTRUNC);
        // There is room for more of them, if the sender's identity does not come, too.
        if cut && peeked.fds.len() >= TWO_LANES_FROM_HOST {
            return Ok(Message::Malformed(TOO_MANY));
        }
        if cut {
            // There was room for what was sent, but not in this process.
            let operation = "receive the joining process's memory";
            return Err(failed(operation, Errno::MFILE));
        }
        if self.part == Part::Inviting && !self.note_sender(peeked.sender)? {
            return Ok(Message::Malformed(
                "its messages come from several processes",
            ));
        }
        let message = self.parse(&bytes[..peeked.len], &mut peeked.fds);
        if !matches!(message, Message::Malformed(_)) && self.discard_message().is_err() {
            return Ok(Message::HungUp);
        }
        Ok(message)
    }

    /// The next message, and second descriptors of what came with it.
    fn peek(&self, bytes: &mut [u8]) -> Result<Peeked, Errno> {
        let mut space = [MaybeUninit::uninit(); CONTROL_SPACE];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT | RecvFlags::PEEK;
        let mut parts = [IoSliceMut::new(bytes)];
        let found = rustix::net::recvmsg(&self.socket, &mut parts, &mut ancillary, flags)?;
        let mut peeked = Peeked {
            len: found.bytes,
            flags: found.flags,
            fds: Vec::new(),
            sender: None,
        };
        for message in ancillary.drain() {
            match message {
                RecvAncillaryMessage::ScmRights(fds) => peeked.fds.extend(fds.map(Stranger::new)),
                RecvAncillaryMessage::ScmCredentials(sender) => peeked.sender = Some(sender),
                _ => {}
            }
        }
        Ok(peeked)
    }

    /// Takes out the message that was looked at: as long as what came with it has other
    /// descriptors, nothing is closed for good.
    fn discard_message(&self) -> Result<(), Errno> {
        despite_reset(|| {
            let mut no_room = RecvAncillaryBuffer::default();
            rustix::net::recvmsg(&self.socket, &mut [], &mut no_room, RecvFlags::DONTWAIT)?;
            Ok(())
        })
    }

    /// The kernel's word on who sent a message. False if it is another than before.
    fn note_sender(&self, sender: Option<UCred>) -> Result<bool, Error> {
        let Some(sender) = sender else {
            return Ok(false);
        };
        let peer = Peer {
            user: User::new(sender.uid.as_raw()),
            process_id: sender.pid.as_raw_pid().unsigned_abs(),
        };
        if let Some((known, _)) = self.invited.get() {
            return Ok(known.user == peer.user && known.process_id == peer.process_id);
        }
        let process = named_process(peer.process_id)?;
        Ok(self.invited.set((peer, process)).is_ok())
    }

    /// Leaves of `fds` what belongs to no offer.
    fn parse(&self, bytes: &[u8], fds: &mut Vec<Stranger>) -> Message {
        match message::parse(bytes) {
            Ok((Kind::Offer, _)) => match self.open_offer(mem::take(fds)) {
                Ok(lanes) => Message::Offer(lanes),
                Err(why) => Message::Malformed(why),
            },
            Ok((Kind::Refused(number), text)) => Message::Refused(number, text),
            Ok((Kind::Admitted, _)) => Message::Admitted,
            Err(why) => Message::Malformed(why),
        }
    }

    /// Takes `fds` only if they are what they should be.
    fn open_offer(&self, fds: Vec<Stranger>) -> Result<Vec<Memory>, &'static str> {
        let two_lanes = match self.is_host() {
            true => TWO_LANES,
            false => TWO_LANES_FROM_HOST,
        };
        match fds.len() {
            0..ONE_LANE => return Err("its offer lacks the region or the doorbell"),
            len if len != ONE_LANE && len != two_lanes => return Err(TOO_MANY),
            _ => {}
        }
        let (mut lanes, mut theirs) = (Vec::new(), Shown::nothing());
        let mut fds = fds.into_iter();
        while let Some(first) = fds.next() {
            let Some(bell) = fds.next() else {
                theirs.second_socket = Some(open_second_socket(first)?);
                break;
            };
            lanes.push(Memory::open(first)?);
            theirs.bells.push(RemoteBell::open(bell)?);
        }
        *self.theirs.borrow_mut() = theirs;
        Ok(lanes)
    }

    pub(crate) fn into_links(self) -> Result<Vec<Link>, Error> {
        let is_foreign = !self.peer().is_own_user();
        let process = self.invited.into_inner().map_or(self.process, |(_, p)| p);
        let (ours, theirs) = (self.ours.into_inner(), self.theirs.into_inner());
        let second_socket = ours.second_socket.or(theirs.second_socket);
        let sockets = [Some(self.socket), second_socket].into_iter().flatten();
        let bells = ours.bells.into_iter().zip(theirs.bells);
        bells
            .zip(sockets)
            .map(|((bell, remote), socket)| {
                Link::new(bell, remote, socket, process.clone(), is_foreign)
            })
            .collect()
    }
}

/// That the peer has left, with something unread, is reported once, and before what it sent
/// last.
fn despite_reset<T>(mut receive: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    match receive() {
        Err(Errno::CONNRESET) => receive(),
        received => received,
    }
}

/// A message, as it lies in the socket.
struct Peeked {
    len: usize,
    flags: ReturnFlags,
    fds: Vec<Stranger>,
    sender: Option<UCred>,
}

/// Two connected sockets.
pub(super) fn new_pair() -> Result<(OwnedFd, OwnedFd), Error> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .map_err(|errno| failed("create a pair of sockets", errno))
}

/// One that can be hung up without blocking, as others may not.
fn open_second_socket(socket: Stranger) -> Result<Socket, &'static str> {
    let domain = rustix::net::sockopt::socket_domain(&socket);
    if domain != Ok(AddressFamily::UNIX) {
        return Err("its second lane has no socket");
    }
    Socket::shared(socket).map_err(|_| "its second lane's socket cannot be used")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// Or else they could be closed before the message is taken out, whose descriptors would be the
    /// last ones then, and closed by who waits.
    #[test]
    fn what_comes_with_a_message_stays_open_until_that_is_taken_out() {
        let (socket, _other) = new_pair().unwrap();
        let channel = Channel::to_host(Socket::new(socket).unwrap()).unwrap();
        for (kind, left) in [(Kind::Refused(1), 2), (Kind::Admitted, 2), (Kind::Offer, 0)] {
            let (first, second) = new_pair().unwrap();
            let mut fds = vec![Stranger::new(first), Stranger::new(second)];
            channel.parse(&message::head(kind), &mut fds);
            assert_eq!(fds.len(), left);
        }
    }
}
