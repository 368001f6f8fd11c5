//! Messages of joining, over a socket.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, RecvMsg, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};

use super::discard::{Socket, Stranger};
use super::link::{Link, poll_until};
use super::users::User;
use crate::error::Error;
use crate::join::message::{self, Kind};
use crate::sys::kernel::limits::failed;
use crate::sys::kernel::memory::Memory;
use crate::sys::kernel::process::{peer_process, socket_peercred};
use crate::sys::kernel::wake::{Alarm, Bell, RemoteBell};
use crate::sys::{Message, Peer};

/// Descriptors in an offer: region and doorbell.
const OFFERED: usize = 2;

/// A connection to the process that may become the partner.
pub(crate) struct Channel {
    socket: Socket,
    peer: Peer,
    process: Option<OwnedFd>,
}

impl Channel {
    pub(in crate::sys) fn new(socket: Socket) -> Result<Channel, Error> {
        let credentials = socket_peercred(socket.as_fd())?;
        let process = peer_process(socket.as_fd(), credentials.1)?;
        Ok(Channel {
            socket,
            peer: Peer {
                user: User::new(credentials.0),
                process_id: credentials.1,
            },
            process,
        })
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    pub(crate) fn offer(&self, memory: &Memory, bell: &Bell) -> Result<(), Error> {
        self.send(Kind::Offer, "", &[memory.file(), bell.0.as_fd()])
    }

    /// Best effort: the peer may be gone.
    pub(crate) fn refuse(&self, reason: &str) {
        let _ = self.send(Kind::Refused, reason, &[]);
    }

    pub(crate) fn admit(&self) -> Result<(), Error> {
        self.send(Kind::Admitted, "", &[])
    }

    fn send(&self, kind: Kind, text: &str, fds: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let (head, text) = (message::head(kind), message::cut(text).as_bytes());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(fds));
        }
        let parts = [IoSlice::new(&head), IoSlice::new(text)];
        rustix::net::sendmsg(&self.socket, &parts, &mut ancillary, SendFlags::NOSIGNAL)
            .map_err(|errno| failed("send to the joining process", errno))?;
        Ok(())
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
        let (found, mut fds) = match self.peek(&mut bytes) {
            Ok(found) => found,
            Err(Errno::CONNRESET) => return Ok(Message::HungUp),
            Err(errno) => return Err(failed("receive from the joining process", errno)),
        };
        if found.bytes == 0 {
            return Ok(Message::HungUp);
        }
        if found.flags.contains(ReturnFlags::TRUNC) {
            return Ok(Message::Malformed("its message is too long"));
        }
        let cut = found.flags.contains(ReturnFlags::CTRUNC);
        if fds.len() > OFFERED || (cut && fds.len() == OFFERED) {
            return Ok(Message::Malformed("its message has too many descriptors"));
        }
        if cut {
            // There was room for what was sent, but not in this process.
            let operation = "receive the joining process's memory";
            return Err(failed(operation, Errno::MFILE));
        }
        let message = parse_message(&bytes[..found.bytes], &mut fds);
        if !matches!(message, Message::Malformed(_)) {
            self.discard_message()?;
        }
        Ok(message)
    }

    /// The next message, and second descriptors of what came with it.
    fn peek(&self, bytes: &mut [u8]) -> Result<(RecvMsg, Vec<Stranger>), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(OFFERED))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT | RecvFlags::PEEK;
        let mut parts = [IoSliceMut::new(bytes)];
        let found = rustix::net::recvmsg(&self.socket, &mut parts, &mut ancillary, flags)?;
        let fds = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let fds = fds.flatten().map(Stranger::new).collect();
        Ok((found, fds))
    }

    /// Takes out the message that was looked at: what came with it has other
    /// descriptors, so nothing is closed for good.
    fn discard_message(&self) -> Result<(), Error> {
        let mut no_room = RecvAncillaryBuffer::default();
        rustix::net::recvmsg(&self.socket, &mut [], &mut no_room, RecvFlags::DONTWAIT)
            .map_err(|errno| failed("receive from the joining process", errno))?;
        Ok(())
    }

    pub(crate) fn into_link(self, bell: Bell, remote_bell: RemoteBell) -> Link {
        Link {
            bell,
            remote_bell,
            socket: self.socket,
            process: self.process,
        }
    }
}

/// Takes `fds` only if they are what they should be.
fn parse_message(bytes: &[u8], fds: &mut Vec<Stranger>) -> Message {
    match message::parse(bytes) {
        Ok((Kind::Offer, _)) => open_offer(std::mem::take(fds))
            .map_or_else(Message::Malformed, |(memory, bell)| {
                Message::Offer(memory, bell)
            }),
        Ok((Kind::Refused, text)) => Message::Refused(text),
        Ok((Kind::Admitted, _)) => Message::Admitted,
        Err(why) => Message::Malformed(why),
    }
}

fn open_offer(fds: Vec<Stranger>) -> Result<(Memory, RemoteBell), &'static str> {
    let [memory, bell] = <[Stranger; OFFERED]>::try_from(fds)
        .map_err(|_| "its offer lacks the region or the doorbell")?;
    Ok((Memory::open(memory)?, RemoteBell::open(bell)?))
}
