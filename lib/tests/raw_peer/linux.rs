//! The protocol's binding to Linux (sections 13 and 13a), by hand, and the tests of
//! what only Linux has: seals, descriptors in messages, users by the kernel's word.

use std::cell::Cell;
use std::ffi::CString;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use brigade::{
    Error, Interest, Reader, Refusal, Role, Seat, Side, Violation, Waitable, Writer, wait_any,
};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{FallocateFlags, FlockOperation, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use tempfile::TempDir;

use super::vectors::{Attacked, Row, Vector, assert_breach, store_all, with_both};
use super::{
    ADMITTED, MAGIC, OFFER, Offer, READER_REGION, REFUSED, VERSION, WRITER, WRITER_REGION,
    assert_reader_finds, assert_writer_finds, bounded, offer, real_reader, violation,
};

// ---- memory and doorbell --------------------------------------------------------------

const SEALS: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::FUTURE_WRITE)
    .union(SealFlags::SEAL);

/// A mapped memory file.
pub(super) struct Region {
    pub(super) start: *mut u8,
    pub(super) len: usize,
    file: OwnedFd,
}

impl Region {
    fn map(file: OwnedFd, len: usize, protection: ProtFlags) -> Region {
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe {
            rustix::mm::mmap(ptr::null_mut(), len, protection, MapFlags::SHARED, &file, 0)
        };
        Region {
            start: start.unwrap().cast(),
            len,
            file,
        }
    }

    fn sealed(len: usize, seals: SealFlags) -> Region {
        Region::with_allocated(len, len, seals)
    }

    /// Of `len` bytes, the first `allocated` of which are really there.
    fn with_allocated(len: usize, allocated: usize, seals: SealFlags) -> Region {
        let file = memory_file(len, allocated, SealFlags::empty());
        let region = Region::map(file, len, ProtFlags::READ | ProtFlags::WRITE);
        rustix::fs::fcntl_add_seals(&region.file, seals).unwrap();
        region
    }

    pub(super) fn new(len: usize) -> Region {
        Region::sealed(len, SEALS)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: what `map` mapped.
        unsafe { rustix::mm::munmap(self.start.cast(), self.len) }.unwrap();
    }
}

fn memory_file(len: usize, allocated: usize, seals: SealFlags) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create(c"raw", flags).unwrap();
    rustix::fs::ftruncate(&file, len as u64).unwrap();
    let all = FallocateFlags::empty();
    rustix::fs::fallocate(&file, all, 0, allocated as u64).unwrap();
    rustix::fs::fcntl_add_seals(&file, seals).unwrap();
    file
}

pub(super) struct Bell(OwnedFd);

impl Bell {
    pub(super) fn new() -> Bell {
        Bell(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap())
    }
}

pub(super) struct PeerBell(OwnedFd);

impl PeerBell {
    pub(super) fn ring(&self) {
        rustix::io::write(&self.0, &1u64.to_ne_bytes()).unwrap();
    }
}

// ---- messages -------------------------------------------------------------------------

fn message(kind: u32) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(kind.to_le_bytes());
    bytes
}

fn kind_of(message: &[u8]) -> u32 {
    assert_eq!(&message[..10], &self::message(0)[..10]);
    u32::from_le_bytes(message[12..16].try_into().unwrap())
}

/// In one message (SCM_MAX_FD of Linux).
const MOST_DESCRIPTORS: usize = 253;

/// A connected socket.
pub(super) struct Channel {
    socket: OwnedFd,
    version: Cell<u32>,
}

impl Channel {
    fn new(socket: OwnedFd) -> Channel {
        let version = Cell::new(VERSION);
        Channel { socket, version }
    }

    pub(super) fn be_of_version_1(&self) {
        self.version.set(1);
    }

    fn message(&self, kind: u32) -> Vec<u8> {
        let mut bytes = message(kind);
        bytes[8..12].copy_from_slice(&self.version.get().to_le_bytes());
        bytes
    }

    fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(fds)));
        }
        let parts = [IoSlice::new(bytes)];
        // The other end may have hung up already, which is what is tested then.
        let _ = rustix::net::sendmsg(&self.socket, &parts, &mut ancillary, SendFlags::NOSIGNAL);
    }

    /// The next message, and the descriptors in it; empty at the end.
    fn receive(&self) -> (Vec<u8>, Vec<OwnedFd>) {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let Ok(received) = rustix::net::recvmsg(&self.socket, &mut parts, &mut ancillary, flags)
        else {
            return (Vec::new(), Vec::new());
        };
        let fds = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let fds = fds.flatten().collect();
        (bytes[..received.bytes].to_vec(), fds)
    }

    pub(super) fn offer(&self, region: &Region, bell: &Bell) {
        self.send(&self.message(OFFER), &[region.file.as_fd(), bell.0.as_fd()]);
    }

    pub(super) fn refuse(&self, number: u16, text: &[u8]) {
        let mut refusal = self.message(REFUSED);
        refusal[10..12].copy_from_slice(&number.to_le_bytes());
        refusal.extend(text);
        self.send(&refusal, &[]);
    }

    pub(super) fn admit(&self) {
        self.send_kind(ADMITTED);
    }

    pub(super) fn send_kind(&self, kind: u32) {
        self.send(&self.message(kind), &[]);
    }

    /// The kind of the next message; `None` at the end.
    pub(super) fn receive_kind(&self) -> Option<u32> {
        let (bytes, _) = self.receive();
        (!bytes.is_empty()).then(|| kind_of(&bytes))
    }

    /// The offer that comes next: the real end's region, read-only, and its doorbell.
    pub(super) fn receive_offer(&self) -> (Region, PeerBell) {
        let (bytes, fds) = self.receive();
        assert_eq!(bytes, message(OFFER));
        let [memory, bell] = <[OwnedFd; 2]>::try_from(fds).unwrap();
        let len = rustix::fs::fstat(&memory).unwrap().st_size as usize;
        (Region::map(memory, len, ProtFlags::READ), PeerBell(bell))
    }

    /// The refusal that comes next: its reason's number, and its text; `None` at the end.
    pub(super) fn next_refusal(&self) -> Option<(u16, String)> {
        let (bytes, _) = self.receive();
        if bytes.is_empty() {
            return None;
        }
        assert_eq!(kind_of(&bytes), REFUSED, "{bytes:?}");
        let number = u16::from_le_bytes([bytes[10], bytes[11]]);
        Some((number, String::from_utf8(bytes[16..].to_vec()).unwrap()))
    }

    pub(super) fn into_link(self, bell: Bell) -> Link {
        Link {
            channel: self,
            bell,
        }
    }
}

pub(super) struct Link {
    channel: Channel,
    bell: Bell,
}

impl Link {
    /// Sends a message, which is a violation.
    pub(super) fn disturb(&self, _bell: &PeerBell) {
        self.channel.send(b"junk", &[]);
    }
}

// ---- name and host --------------------------------------------------------------------

fn new_socket() -> OwnedFd {
    let flags = SocketFlags::CLOEXEC;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
}

fn connected(path: &Path) -> Channel {
    let socket = new_socket();
    let address = SocketAddrUnix::new(path).unwrap();
    rustix::net::connect(&socket, &address).unwrap();
    Channel::new(socket)
}

pub(super) struct Place {
    directory: TempDir,
    pub(super) name: String,
}

impl Place {
    pub(super) fn new() -> Place {
        let directory = tempfile::tempdir().unwrap();
        let name = format!("{}/n", directory.path().display());
        Place { directory, name }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn is_there(&self) -> bool {
        let address = SocketAddrUnix::new(self.file("n.sock")).unwrap();
        rustix::net::connect(new_socket(), &address).is_ok()
    }

    pub(super) fn connect(&self) -> Channel {
        connected(&self.file("n.sock"))
    }

    pub(super) fn raw_host(&self) -> RawHost {
        let lock = rustix::fs::open(
            self.file("n.lock"),
            OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC,
            Mode::RUSR | Mode::WUSR,
        );
        let lock = lock.unwrap();
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        let listener = new_socket();
        let address = SocketAddrUnix::new(self.file("n.sock")).unwrap();
        rustix::net::bind(&listener, &address).unwrap();
        rustix::net::listen(&listener, 16).unwrap();
        RawHost {
            listener,
            _lock: lock,
        }
    }
}

pub(super) struct RawHost {
    listener: OwnedFd,
    _lock: OwnedFd,
}

impl RawHost {
    pub(super) fn accept(&self) -> Channel {
        Channel::new(rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC).unwrap())
    }

    pub(super) fn accept_within(&self, limit: Duration) -> Option<Channel> {
        let mut polled = [PollFd::new(&self.listener, PollFlags::IN)];
        let limit = Timespec::try_from(limit).unwrap();
        let ready = poll(&mut polled, Some(&limit)).unwrap();
        (ready != 0).then(|| self.accept())
    }
}

pub(super) fn child(task: &str, _name: &str) {
    panic!("there is no task {task} on Linux");
}

// ---- bad offers -----------------------------------------------------------------------

fn sized(channel: &Channel, len: usize, seals: SealFlags) {
    let region = Region::sealed(len, seals);
    if len >= 4096 {
        region.fill_head(WRITER);
    }
    offer(channel, &region);
}

/// Of whose region only the first page is there.
fn sparse(channel: &Channel, len: usize) {
    let region = Region::with_allocated(len, 4096, SEALS);
    region.fill_head(WRITER);
    offer(channel, &region);
}

/// Made as a Writer's, beside a real Reader.
pub(super) const BAD_OFFERS: &[Offer] = &[
    ("region is too small", |c| sized(c, 4095, SEALS)),
    ("region is not sealed", |c| {
        sized(c, WRITER_REGION, SealFlags::empty())
    }),
    ("region is not sealed", |c| {
        sized(c, WRITER_REGION, SealFlags::GROW | SealFlags::SEAL)
    }),
    ("region is not allocated", |c| sparse(c, WRITER_REGION)),
    ("region is no memfd", |c| {
        let bells = [Bell::new(), Bell::new()];
        c.send(&message(OFFER), &[bells[0].0.as_fd(), bells[1].0.as_fd()])
    }),
    ("lacks the region", |c| c.send_kind(OFFER)),
    ("lacks the region", |c| {
        c.send(&message(OFFER), &[Bell::new().0.as_fd()])
    }),
    ("too short", |c| c.send(b"junk", &[])),
    ("not brigade's", |c| c.send(&[b'x'; 40], &[])),
    ("too long", |c| c.send(&[0; 2000], &[])),
];

// ---- vectors --------------------------------------------------------------------------

/// What is sent in place of an offer, to a host or to a second.
enum Sent<'a> {
    Bytes(&'a [u8]),
    /// A right offer's bytes with these descriptors.
    Offer(&'a [BorrowedFd<'a>]),
}

fn send_instead(channel: &Channel, sent: &Sent<'_>) {
    match sent {
        Sent::Bytes(bytes) => channel.send(bytes, &[]),
        Sent::Offer(fds) => channel.send(&message(OFFER), fds),
    }
}

/// Both refuse that, and the host pairs with the next joiner.
fn both_refuse(row: &Row, sent: &Sent<'_>) {
    let place = Place::new();
    let host = place.real_host(Side::Reader);
    let (number, _) = place.refusal(|channel, _| send_instead(channel, sent));
    assert_eq!(number, 7, "{}", row.id());
    place.assert_real_pair_works(host);
    let place = Place::new();
    let (host, guest) = (place.raw_host(), place.real_guest());
    let channel = host.accept();
    send_instead(&channel, sent);
    assert_eq!(channel.receive_refusal().0, 7, "{}", row.id());
    let error = guest.join().unwrap().unwrap_err();
    let Error::Refused { reason, .. } = error else {
        panic!("{}: {error:?}", row.id());
    };
    assert_eq!(reason, Refusal::Malformed);
}

fn each_message_is_refused(row: &Row) {
    for bytes in row.bytes() {
        // The line's last bytes are another kind in the same message.
        let bytes = match bytes.len() {
            1 => message(bytes[0].into()),
            _ => bytes,
        };
        both_refuse(row, &Sent::Bytes(&bytes));
    }
}

pub(super) const VECTORS: &[Vector] = &[
    ("V1", "as a hang-up", |_| {
        let place = Place::new();
        let host = place.real_host(Side::Reader);
        let channel = place.connect();
        let _shown = channel.receive_offer();
        channel.send(b"", &[]);
        assert_eq!(channel.receive_kind(), None);
        place.assert_real_pair_works(host);
        // A second tries again.
        let place = Place::new();
        let (host, guest) = (place.raw_host(), place.real_guest());
        let channel = host.accept();
        channel.send(b"", &[]);
        let _raw = host.admit(Region::of(super::READER));
        guest.join().unwrap().unwrap();
    }),
    ("V2", "refusal 7", each_message_is_refused),
    ("V3", "refusal 7", each_message_is_refused),
    ("V4", "refusal 7", each_message_is_refused),
    ("V5", "refusal 7", |row| {
        let refusal = [message(REFUSED), vec![b'x'; 1025]].concat();
        both_refuse(row, &Sent::Bytes(&refusal));
    }),
    ("V6", "refusal 7", |row| {
        let (region, bell) = (Region::of(WRITER), Bell::new());
        let both = [region.file.as_fd(), bell.0.as_fd()];
        for count in [0, 1, 3, 6] {
            let fds: Vec<_> = both.into_iter().cycle().take(count).collect();
            both_refuse(row, &Sent::Offer(&fds));
        }
    }),
    ("V7", "refusal 7, and nothing is allocated", |row| {
        let (_read_end, pipe) = std::io::pipe().unwrap();
        let regions = [
            OwnedFd::from(pipe),
            memory_file(WRITER_REGION, WRITER_REGION, SealFlags::empty()),
            memory_file(4095, 4095, SEALS),
            memory_file(WRITER_REGION, 4096, SEALS),
        ];
        for region in &regions {
            both_refuse(row, &Sent::Offer(&[region.as_fd(), Bell::new().0.as_fd()]));
        }
        let blocks = rustix::fs::fstat(&regions[3]).unwrap().st_blocks;
        assert_eq!(blocks * 512, 4096);
    }),
    ("V8", "refusal 7", |row| {
        let (_read_end, pipe) = std::io::pipe().unwrap();
        let bells = [
            OwnedFd::from(pipe),
            eventfd(0, EventfdFlags::CLOEXEC).unwrap(),
            OwnedFd::from(tempfile::tempfile().unwrap()),
        ];
        for bell in &bells {
            let region = Region::of(WRITER);
            both_refuse(row, &Sent::Offer(&[region.file.as_fd(), bell.as_fd()]));
        }
    }),
    ("V9", "refusal 7, without delay", |_| {
        refused_without_delay(|channel, slow| {
            let region = Region::of(WRITER);
            channel.send(&message(OFFER), &[region.file.as_fd(), slow]);
        });
        refused_without_delay(|channel, slow| {
            channel.send(&message(OFFER), &[slow, Bell::new().0.as_fd()]);
        });
    }),
    ("V10", "no answer; the next", |_| {
        let place = Place::new();
        let host = place.real_host(Side::Reader);
        let channel = place.connect();
        let _shown = channel.receive_offer();
        channel.admit();
        assert_eq!(channel.receive_kind(), None);
        place.assert_real_pair_works(host);
    }),
    ("V11", "shown with these replaced", |row| {
        let place = Place::new();
        let (host, guest) = (place.raw_host(), place.real_guest());
        host.accept().refuse(0, &row.bytes().concat());
        let error = guest.join().unwrap().unwrap_err();
        let Error::Refused { text, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(text, "\u{fffd}[2J\u{fffd}");
    }),
    ("V33", "none, but one ring", |row| {
        rung_once::<Writer>(row);
        rung_once::<Reader>(row);
    }),
    ("V46", "breach", |_| {
        any_message_is_a_breach::<Writer>();
        any_message_is_a_breach::<Reader>();
    }),
    ("V48", "a hang-up (S18)", |_| {
        if is_root() {
            assert_hangs_up_before_a_strangers_bell_blocks();
        }
    }),
];

/// All of them are played here.
pub(super) const NO_VECTORS: &[&str] = &[];

/// By a host and by a second, which soon have the only descriptor of what `send` is given.
fn refused_without_delay(send: impl Fn(&Channel, BorrowedFd<'_>)) {
    let refusal = |channel: &Channel| {
        let (slow, _unread) = slow_to_close();
        let since = Instant::now();
        send(channel, slow.as_fd());
        // Elsewhere: if this one is the last, it is this that takes long.
        thread::spawn(move || drop(slow));
        let refusal = channel.next_refusal();
        assert!(since.elapsed() < LINGER, "{:?}", since.elapsed());
        refusal
    };
    let place = Place::new();
    let host = place.real_host(Side::Reader);
    // The channel itself closes when what was sent has.
    assert_eq!(place.refusal_by(|channel, _| refusal(channel)).0, 7);
    place.assert_real_pair_works(host);
    let place = Place::new();
    let (host, guest) = (place.raw_host(), place.real_guest());
    assert_eq!(refusal(&host.accept()).unwrap().0, 7);
    assert!(matches!(guest.join().unwrap(), Err(Error::Refused { .. })));
}

fn rung_once<E: Attacked>(row: &Row) {
    with_both(|end: E, raw| {
        store_all(raw, &row.offsets(), &row.bytes());
        for _ in 0..3 {
            end.post().unwrap();
        }
        let mut count = [0; 8];
        rustix::io::read(&raw.link.bell.0, &mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), 1);
    });
}

fn any_message_is_a_breach<E: Attacked>() {
    for sent in [
        &b"junk"[..],
        &message(OFFER),
        &message(REFUSED),
        &message(ADMITTED),
    ] {
        with_both(|end: E, raw| {
            raw.link.channel.send(sent, &[]);
            assert_eq!(
                assert_breach(raw, end.look(super::soon())),
                Violation::Message
            );
        });
    }
}

/// As one that everybody may reach.
fn assert_hangs_up_before_a_strangers_bell_blocks() {
    let place = Place::new();
    let options = super::options().allow_user(&STRANGER.to_string());
    let seat = Seat::take(&place.name, &options).unwrap();
    let host = thread::spawn(move || seat.wait());
    open_to_everyone(place.directory.path());
    open_to_everyone(&place.file("n.sock"));
    let path = place.file("n.sock");
    let channel = as_stranger(move || connected(&path));
    let bell = Bell::new();
    let (peer, _peer_bell) = channel.receive_offer();
    let own = Region::of(WRITER);
    own.copy_numbers(&peer);
    channel.offer(&own, &bell);
    assert_eq!(channel.receive_kind(), Some(ADMITTED));
    let Role::Reader(reader) = host.join().unwrap().unwrap() else {
        panic!("the host is no Reader");
    };
    rustix::io::write(&bell.0, &(u64::MAX - 1).to_ne_bytes()).unwrap();
    let flags = rustix::fs::fcntl_getfl(&bell.0).unwrap();
    rustix::fs::fcntl_setfl(&bell.0, flags - OFlags::NONBLOCK).unwrap();
    // It sleeps.
    own.put(256, 1);
    reader.post(0, b"letter").unwrap();
    assert_eq!(channel.receive_kind(), None, "no hang-up");
    let error = reader.letter_until(super::soon()).unwrap_err();
    assert!(matches!(error, Error::PartnerDied { .. }), "{error:?}");
}

// ---- tests ----------------------------------------------------------------------------

#[test]
fn a_partners_region_can_neither_be_written_nor_resized() {
    bounded(|| {
        let (reader, raw) = real_reader(true);
        let file = &raw.peer.file;
        let reopened = rustix::fs::open(
            format!("/proc/self/fd/{}", file.as_raw_fd()),
            OFlags::RDWR | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let both = ProtFlags::READ | ProtFlags::WRITE;
        for file in [Some(file), reopened.as_ref().ok()].into_iter().flatten() {
            for len in [0, 4096, READER_REGION as u64 * 2] {
                assert!(
                    rustix::fs::ftruncate(file, len).is_err(),
                    "resized to {len}"
                );
            }
            // SAFETY: a new mapping, which nothing refers to, if it succeeds at all.
            let mapped =
                unsafe { rustix::mm::mmap(ptr::null_mut(), 4096, both, MapFlags::SHARED, file, 0) };
            assert!(mapped.is_err(), "mapped writable");
            assert!(rustix::io::pwrite(file, b"x", 0).is_err(), "written");
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            assert!(
                rustix::fs::fallocate(file, hole, 0, 4096).is_err(),
                "punched"
            );
            let grow = FallocateFlags::empty();
            assert!(
                rustix::fs::fallocate(file, grow, 0, 1 << 20).is_err(),
                "grown"
            );
            assert!(
                rustix::fs::fcntl_add_seals(file, SealFlags::WRITE).is_err(),
                "sealed"
            );
        }
        let writable = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: the mapping is this test's own.
        let changed = unsafe { rustix::mm::mprotect(raw.peer.start.cast(), 4096, writable) };
        assert!(changed.is_err(), "made writable");
        reader.check().unwrap();
    });
}

#[test]
fn a_writers_message_during_the_session_is_a_violation() {
    bounded(|| {
        assert_reader_finds(Violation::Message, |raw| raw.link.disturb(&raw.peer_bell));
        for watched in [true, false] {
            let (reader, raw) = real_reader(true);
            raw.link.channel.send_kind(ADMITTED);
            let result = match watched {
                true => reader.monitor().watch(),
                false => reader.check(),
            };
            assert_eq!(violation(result), Violation::Message);
        }
    });
}

#[test]
fn a_readers_message_during_the_session_is_a_violation() {
    bounded(|| {
        assert_writer_finds(Violation::Message, |raw| raw.link.disturb(&raw.peer_bell));
    });
}

#[test]
fn more_descriptors_than_two_are_too_many() {
    bounded(|| {
        let place = Place::new();
        let host = place.real_host(Side::Reader);
        let (region, bell) = (Region::of(WRITER), Bell::new());
        let fds = [region.file.as_fd(), bell.0.as_fd(), bell.0.as_fd()];
        let (_, text) = place.refusal(|channel, _| channel.send(&message(OFFER), &fds));
        assert!(text.contains("too many descriptors"), "{text}");
        place.assert_real_pair_works(host);
    });
}

#[test]
fn however_many_descriptors_a_guest_sends_it_is_refused_and_the_host_waits_on() {
    bounded(|| {
        let place = Place::new();
        let host = place.real_host(Side::Reader);
        let bell = Bell::new();
        for count in [6, 14, 16, 17, 40, MOST_DESCRIPTORS] {
            let fds = vec![bell.0.as_fd(); count];
            let (_, text) = place.refusal(|channel, _| channel.send(&message(OFFER), &fds));
            assert!(text.contains("too many descriptors"), "{count}: {text}");
        }
        place.assert_real_pair_works(host);
    });
}

#[test]
fn a_guest_that_leaves_while_the_host_looks_at_its_message_does_not_end_the_hosts_wait() {
    bounded(|| {
        let place = Place::new();
        let host = place.real_host(Side::Reader);
        let bell = Bell::new();
        // When the host is between its look and its taking is not known: so often enough.
        for turn in 0..300 {
            let channel = place.connect();
            let mut offer = [PollFd::new(&channel.socket, PollFlags::IN)];
            assert_eq!(poll(&mut offer, None).unwrap(), 1);
            // Descriptors keep the host busy in between, and the offer is left unread.
            channel.send(&message(ADMITTED), &[bell.0.as_fd(); 14]);
            let since = Instant::now();
            while since.elapsed() < Duration::from_micros(turn * 37 % 900) {
                std::hint::spin_loop();
            }
        }
        place.assert_real_pair_works(host);
    });
}

#[test]
fn why_a_host_refuses_is_told_though_it_left_the_offer_unread() {
    bounded(|| {
        let place = Place::new();
        let raw = place.raw_host();
        let guest = place.real_guest();
        let channel = raw.accept();
        channel.offer(&Region::of(super::READER), &Bell::new());
        let mut answer = [PollFd::new(&channel.socket, PollFlags::IN)];
        assert_eq!(poll(&mut answer, None).unwrap(), 1);
        channel.refuse(0, b"not today");
        drop(channel);
        let Err(Error::Refused { text, .. }) = guest.join().unwrap() else {
            panic!("not refused");
        };
        assert!(text.contains("not today"), "{text}");
    });
}

#[test]
fn a_region_that_is_not_allocated_is_refused_and_never_is() {
    bounded(|| {
        let place = Place::new();
        let host = place.real_host(Side::Reader);
        // Far from what the geometry allows, and from what takes no time.
        let region = Region::with_allocated(1 << 30, 4096, SEALS);
        region.fill_head(WRITER);
        let (_, text) = place.refusal(|channel, _| offer(channel, &region));
        assert!(text.contains("not allocated"), "{text}");
        let blocks = rustix::fs::fstat(&region.file).unwrap().st_blocks;
        assert_eq!(blocks * 512, 4096, "the host made it allocated");
        place.assert_real_pair_works(host);
    });
}

#[test]
fn a_region_of_huge_pages_is_refused() {
    bounded(|| {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::HUGETLB;
        let Ok(file) = rustix::fs::memfd_create(c"huge", flags) else {
            eprintln!("skipped: there are no huge pages");
            return;
        };
        rustix::fs::ftruncate(&file, 64 << 20).unwrap();
        rustix::fs::fcntl_add_seals(&file, SEALS).unwrap();
        let place = Place::new();
        let host = place.real_host(Side::Reader);
        let bell = Bell::new();
        let fds = [file.as_fd(), bell.0.as_fd()];
        let (_, text) = place.refusal(|channel, _| channel.send(&message(OFFER), &fds));
        assert!(text.contains("plain pages"), "{text}");
        place.assert_real_pair_works(host);
    });
}

#[test]
fn a_region_of_the_wrong_size_is_refused_before_more_than_its_head_is_mapped() {
    bounded(|| {
        let place = Place::new();
        let host = place.real_host(Side::Reader);
        let region = Region::new(64 << 20);
        region.fill_head(WRITER);
        let (_, text) = place.refusal(|channel, _| offer(channel, &region));
        assert!(text.contains("wrong size"), "{text}");
        place.assert_real_pair_works(host);
    });
}

/// What the last closing of a slow socket takes.
const LINGER: Duration = Duration::from_secs(5);

/// A TCP socket whose last closing takes that long: what was sent is never read.
fn slow_to_close() -> (OwnedFd, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let slow = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (unread, _) = listener.accept().unwrap();
    slow.set_nonblocking(true).unwrap();
    let data = [0; 1 << 16];
    while std::io::Write::write(&mut &slow, &data).is_ok() {}
    rustix::net::sockopt::set_socket_linger(&slow, Some(LINGER)).unwrap();
    // Only a blocking one lingers.
    slow.set_nonblocking(false).unwrap();
    (OwnedFd::from(slow), unread)
}

/// Whatever `send` makes of an offer and something that is slow to close, a host that may
/// wait for 300 ms waits for about that.
fn assert_holds_its_deadline(send: impl FnOnce(&Channel, [BorrowedFd<'_>; 3])) {
    let place = Place::new();
    let options = super::options().wait(Duration::from_millis(300));
    let seat = brigade::Seat::take(&place.name, &options).unwrap();
    let channel = place.connect();
    let (slow, _unread) = slow_to_close();
    let (region, bell) = (Region::of(WRITER), Bell::new());
    send(
        &channel,
        [region.file.as_fd(), bell.0.as_fd(), slow.as_fd()],
    );
    // The last descriptor here: what is in the message has the only one.
    drop(slow);
    drop(channel);
    let since = Instant::now();
    let waited = seat.wait();
    let took = since.elapsed();
    assert!(waited.is_err(), "{waited:?}");
    assert!(took < LINGER, "{took:?}");
}

#[test]
fn a_descriptor_that_is_slow_to_close_does_not_keep_a_host_beyond_its_deadline() {
    bounded(|| {
        let offer = message(OFFER);
        assert_holds_its_deadline(|c, [region, bell, slow]| c.send(&offer, &[region, bell, slow]));
        assert_holds_its_deadline(|c, [_, bell, slow]| c.send(&offer, &[slow, bell]));
        assert_holds_its_deadline(|c, [region, _, slow]| c.send(&offer, &[region, slow]));
        assert_holds_its_deadline(|c, [_, _, slow]| c.send(&message(REFUSED), &[slow]));
        assert_holds_its_deadline(|c, [_, _, slow]| c.send(b"", &[slow]));
        // Behind what the host reads, so that it never receives it.
        assert_holds_its_deadline(|c, [_, _, slow]| {
            c.send(&message(REFUSED), &[]);
            c.send(b"", &[]);
            c.send(b"", &[slow]);
        });
    });
}

#[test]
fn a_descriptor_that_is_slow_to_close_does_not_keep_an_end_that_leaves() {
    bounded(|| {
        let (reader, raw) = real_reader(true);
        let (slow, _unread) = slow_to_close();
        raw.link.channel.send(b"", &[slow.as_fd()]);
        drop(slow);
        drop(raw);
        let since = Instant::now();
        drop(reader);
        assert!(since.elapsed() < LINGER);
    });
}

#[test]
fn strangers_that_connect_and_say_nothing_do_not_keep_a_host_beyond_its_deadline() {
    bounded(|| {
        let place = Place::new();
        let options = super::options().wait(Duration::from_millis(300));
        let seat = brigade::Seat::take(&place.name, &options).unwrap();
        // More than the host could look at in that time.
        let _silent: Vec<_> = (0..12).map(|_| place.connect()).collect();
        let since = Instant::now();
        let waited = seat.wait();
        let took = since.elapsed();
        assert!(matches!(waited, Err(Error::NoPartner { .. })), "{waited:?}");
        assert!(took >= Duration::from_millis(300), "{took:?}");
        assert!(took < Duration::from_secs(3), "{took:?}");
    });
}

#[test]
fn a_guest_that_stays_silent_keeps_the_host_for_a_second_only() {
    bounded(|| {
        let place = Place::new();
        let host = place.real_host(Side::Reader);
        let silent = [place.connect(), place.connect()];
        let since = Instant::now();
        place.assert_real_pair_works(host);
        assert!(since.elapsed() >= Duration::from_secs(1));
        assert!(since.elapsed() < Duration::from_secs(5));
        drop(silent);
    });
}

// ---- strangers ----------------------------------------------------------------------------

/// A user that this test is not.
const STRANGER: u32 = 65534;

/// Runs `act` as another user: the kernel's word on a thread is that thread's own.
fn as_stranger<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = thread::spawn(move || {
        let stranger = rustix::process::Uid::from_raw(STRANGER);
        rustix::thread::set_thread_res_uid(stranger, stranger, stranger).unwrap();
        act()
    });
    thread.join().unwrap()
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: only root can be another user, too");
    }
    root
}

fn open_to_everyone(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
}

#[test]
fn a_guest_of_another_user_is_refused_with_both_named_before_it_is_shown_anything() {
    if !is_root() {
        return;
    }
    bounded(|| {
        let place = Place::new();
        let host = place.real_host(Side::Reader);
        open_to_everyone(place.directory.path());
        open_to_everyone(&place.file("n.sock"));
        let path = place.file("n.sock");
        let channel = as_stranger(move || connected(&path));
        let (number, refusal) = channel.receive_refusal();
        assert_eq!(number, 1);
        assert!(refusal.contains("root (0)"), "{refusal}");
        assert!(refusal.contains(&STRANGER.to_string()), "{refusal}");
        place.assert_real_pair_works(host);
    });
}

#[test]
fn a_host_of_another_user_is_refused_with_both_named() {
    if !is_root() {
        return;
    }
    bounded(|| {
        let place = Place::new();
        // This user's lock, so that only the socket's owner is foreign.
        let lock = std::fs::File::create(place.file("n.lock")).unwrap();
        lock.lock().unwrap();
        open_to_everyone(place.directory.path());
        let path = place.file("n.sock");
        let listener = as_stranger(move || {
            let listener = new_socket();
            rustix::net::bind(&listener, &SocketAddrUnix::new(path).unwrap()).unwrap();
            rustix::net::listen(&listener, 16).unwrap();
            listener
        });
        let guest = place.real_guest();
        let channel =
            Channel::new(rustix::net::accept_with(&listener, SocketFlags::CLOEXEC).unwrap());
        let (number, told) = channel.receive_refusal();
        assert_eq!(number, 1);
        let Err(Error::Refused { reason, text }) = guest.join().unwrap() else {
            panic!("not refused");
        };
        let Refusal::OtherUser { user } = reason else {
            panic!("{reason:?}");
        };
        assert!(user.contains(&STRANGER.to_string()), "{user}");
        assert_eq!(text, told);
        assert!(text.contains("root (0)"), "{text}");
        assert!(text.contains(&user), "{text}");
    });
}

#[test]
fn a_doorbell_that_could_block_whoever_rings_it_is_refused() {
    bounded(|| {
        let place = Place::new();
        let host = place.real_host(Side::Reader);
        let (_read_end, pipe) = std::io::pipe().unwrap();
        let blocking = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        for bell in [OwnedFd::from(pipe), blocking].map(Bell) {
            let region = Region::of(WRITER);
            let (_, refusal) = place.refusal(|channel, _| channel.offer(&region, &bell));
            assert!(refusal.contains("doorbell"), "{refusal}");
        }
        place.assert_real_pair_works(host);
    });
}

/// Both ends have the same eventfd, so its maker's is not more its own than the partner's.
#[test]
fn a_partner_that_lets_the_doorbell_block_holds_up_nobody() {
    bounded(|| {
        let (reader, raw) = real_reader(true);
        // The Reader has one empty block after the other, and no letter.
        assert!(reader.arm(Interest::LETTERS).unwrap());
        let flags = rustix::fs::fcntl_getfl(&raw.peer_bell.0).unwrap();
        rustix::fs::fcntl_setfl(&raw.peer_bell.0, flags - OFlags::NONBLOCK).unwrap();
        reader.disarm().unwrap();
        let ends: [(&dyn Waitable, Interest); 1] = [(&reader, Interest::LETTERS)];
        assert!(wait_any(&ends, Some(super::soon())).unwrap().is_empty());
        raw.ring();
        let late = reader.letter_until(super::soon());
        assert!(matches!(late, Err(Error::TimedOut)), "{late:?}");
        drop(raw);
        let died = reader.letter().unwrap_err();
        assert!(matches!(died, Error::PartnerDied { .. }), "{died:?}");
    });
}

/// The root of a file system whose server never answers, and the server's end.
fn unanswering_directory(at: &std::path::Path) -> Option<(OwnedFd, OwnedFd)> {
    let server = rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let server = server.ok()?;
    let options = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0",
        server.as_raw_fd()
    );
    let [at, options] = [at.to_str()?, options.as_str()].map(|text| CString::new(text).unwrap());
    let (kind, flags) = (c"fuse".as_ptr(), libc::MS_NOSUID | libc::MS_NODEV);
    // SAFETY: texts that end with a zero and live until the call has returned.
    let mounted = unsafe { libc::mount(kind, at.as_ptr(), kind, flags, options.as_ptr().cast()) };
    if mounted != 0 {
        return None;
    }
    let root = rustix::fs::open(&*at, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    // SAFETY: as above. Who has it open keeps it.
    unsafe { libc::umount2(at.as_ptr(), libc::MNT_DETACH) };
    Some((root.unwrap(), server))
}

#[test]
fn a_doorbell_in_a_file_system_that_does_not_answer_does_not_keep_a_host() {
    bounded(|| {
        let place = Place::new();
        let Some((root, server)) = unanswering_directory(place.directory.path()) else {
            eprintln!("skipped: no file system can be mounted here");
            return;
        };
        let host = place.real_host(Side::Reader);
        let (region, bell) = (Region::of(WRITER), Bell(root));
        let (_, text) = place.refusal(|channel, _| channel.offer(&region, &bell));
        assert!(text.contains("doorbell"), "{text}");
        place.assert_real_pair_works(host);
        drop(server);
    });
}
