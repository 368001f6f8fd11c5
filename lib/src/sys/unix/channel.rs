//! Messages of joining, over a socket.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use super::link::{Link, poll_until};
use super::rendezvous::Seat;
use super::users::User;
use crate::error::Error;
use crate::region::layout::{MAGIC, REASON_MAX, VERSION};
use crate::sys::kernel::memory::Memory;
use crate::sys::kernel::process::{peer_process, socket_peercred};
use crate::sys::kernel::wake::{Alarm, Bell, RemoteBell};
use crate::sys::{Message, Peer};

/// Kinds of message; `docs/protocol.md`, "Joining".
const KIND_OFFER: u32 = 1;
const KIND_REFUSED: u32 = 2;
const KIND_ADMITTED: u32 = 3;

/// Magic, version, kind: eight, four and four bytes.
const MESSAGE_HEAD: usize = 16;

/// A connection to the process that may become the partner.
pub(crate) struct Channel {
    socket: OwnedFd,
    peer: Peer,
    process: Option<OwnedFd>,
}

impl Channel {
    pub(in crate::sys) fn new(socket: OwnedFd) -> Result<Channel, Error> {
        let credentials = socket_peercred(&socket)?;
        let process = peer_process(socket.as_fd(), credentials.1);
        Ok(Channel {
            socket,
            peer: Peer {
                user: User(credentials.0),
                process_id: credentials.1,
            },
            process,
        })
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    pub(crate) fn offer(&self, memory: &Memory, bell: &Bell) -> Result<(), Error> {
        self.send(KIND_OFFER, "", &[memory.file.as_fd(), bell.0.as_fd()])
    }

    /// Best effort: the peer may be gone.
    pub(crate) fn refuse(&self, reason: &str) {
        let _ = self.send(KIND_REFUSED, reason, &[]);
    }

    pub(crate) fn admit(&self) -> Result<(), Error> {
        self.send(KIND_ADMITTED, "", &[])
    }

    fn send(&self, kind: u32, text: &str, fds: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let mut head = [0; MESSAGE_HEAD];
        head[..8].copy_from_slice(&MAGIC.to_le_bytes());
        head[8..12].copy_from_slice(&VERSION.to_le_bytes());
        head[12..].copy_from_slice(&kind.to_le_bytes());
        let text = &text.as_bytes()[..text.floor_char_boundary(REASON_MAX)];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(fds));
        }
        let parts = [IoSlice::new(&head), IoSlice::new(text)];
        rustix::net::sendmsg(&self.socket, &parts, &mut ancillary, SendFlags::NOSIGNAL)
            .map_err(|errno| Error::os("send to the joining process", errno))?;
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
        let mut bytes = [0; MESSAGE_HEAD + REASON_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let received = match rustix::net::recvmsg(&self.socket, &mut parts, &mut ancillary, flags) {
            Ok(received) => received,
            Err(Errno::CONNRESET) => return Ok(Some(Message::HungUp)),
            Err(errno) => return Err(Error::os("receive from the joining process", errno)),
        };
        // Owned at once, whatever the message turns out to be.
        let fds: Vec<OwnedFd> = ancillary
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            })
            .flatten()
            .collect();
        if received.bytes == 0 {
            return Ok(Some(Message::HungUp));
        }
        if received
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
        {
            return Ok(Some(Message::Malformed("its message is too long")));
        }
        Ok(Some(parse_message(&bytes[..received.bytes], fds)))
    }

    pub(crate) fn into_link(self, bell: Bell, remote_bell: RemoteBell, seat: Option<Seat>) -> Link {
        Link {
            bell,
            remote_bell,
            socket: self.socket,
            process: self.process,
            _seat: seat,
        }
    }
}

fn parse_message(bytes: &[u8], fds: Vec<OwnedFd>) -> Message {
    let Some((head, text)) = bytes.split_at_checked(MESSAGE_HEAD) else {
        return Message::Malformed("its message is too short");
    };
    if head[..8] != MAGIC.to_le_bytes() {
        return Message::Malformed("its message is not brigade's");
    }
    match u32::from_le_bytes([head[12], head[13], head[14], head[15]]) {
        KIND_OFFER => match <[OwnedFd; 2]>::try_from(fds) {
            Ok([memory, bell]) => match (Memory::open(memory), RemoteBell::open(bell)) {
                (Ok(memory), Ok(bell)) => Message::Offer(memory, bell),
                (Err(why), _) | (_, Err(why)) => Message::Malformed(why),
            },
            Err(_) => Message::Malformed("its offer lacks the region or the doorbell"),
        },
        KIND_REFUSED => Message::Refused(String::from_utf8_lossy(text).into_owned()),
        KIND_ADMITTED => Message::Admitted,
        _ => Message::Malformed("its message is of an unknown kind"),
    }
}
