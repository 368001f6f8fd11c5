//! A peer made from the protocol's bytes alone, not from this library's code: it
//! joins a real end by hand and then keeps the protocol, or breaks it.
//!
//! Whatever it does, the real end must answer with a definite error, in bounded
//! time, and never with a panic.
#![cfg(target_os = "linux")]
#![allow(
    unsafe_code,
    reason = "a peer that breaks the rules has to map and write memory by hand"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

use std::fmt::Debug;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::panic;
use std::path::PathBuf;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use brigade::{Error, Options, Reader, Role, Seat, Side, Violation, Writer, join};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{FallocateFlags, FlockOperation, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use tempfile::TempDir;

// ---- the protocol, once more ----------------------------------------------------------

const VERSION: u32 = 1;
const STAMP: u64 = 0x0102_0304_0010_0008;
const READER: u32 = 1;
const WRITER: u32 = 2;

const AT_VERSION: usize = 8;
const AT_ROLE: usize = 12;
const AT_STAMP: usize = 16;
const AT_BLOCK_SIZE: usize = 24;
const AT_BLOCK_COUNT: usize = 32;
const AT_GREETING_LEN: usize = 44;
const AT_PUBLISHED: usize = 128;
const AT_PUBLISHED_BYTES: usize = 136;
const AT_STATE: usize = 384;
const AT_REASON_LEN: usize = 388;
const AT_GREETING: usize = 640;
const AT_REASON: usize = 1664;
const AT_QUEUE: usize = 4096;

const ENDED: u32 = 1;
const ABORTED: u32 = 2;

const OFFER: u32 = 1;
const REFUSED: u32 = 2;
const ADMITTED: u32 = 3;

/// All tests use four blocks of 64 bytes.
const BLOCK_SIZE: u64 = 64;
const BLOCK_COUNT: u64 = 4;
const AT_BLOCKS: usize = 8192;
const READER_REGION: usize = 12288;
const WRITER_REGION: usize = 8192;

const SEALS: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::FUTURE_WRITE)
    .union(SealFlags::SEAL);

fn region_size(role: u32) -> usize {
    if role == READER {
        READER_REGION
    } else {
        WRITER_REGION
    }
}

// ---- the raw peer ---------------------------------------------------------------------

/// A mapped memory file.
struct Region {
    start: *mut u8,
    len: usize,
    file: OwnedFd,
}

// SAFETY: an address range, used through atomics only.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

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

    fn new(len: usize, seals: SealFlags) -> Region {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create(c"raw", flags).unwrap();
        rustix::fs::ftruncate(&file, len as u64).unwrap();
        let region = Region::map(file, len, ProtFlags::READ | ProtFlags::WRITE);
        rustix::fs::fcntl_add_seals(&region.file, seals).unwrap();
        region
    }

    /// A good one.
    fn of(role: u32) -> Region {
        let region = Region::new(region_size(role), SEALS);
        region.fill_head(role);
        region
    }

    fn fill_head(&self, role: u32) {
        self.put(0, u64::from_le_bytes(*b"brigade\0"));
        self.put32(AT_VERSION, VERSION);
        self.put32(AT_ROLE, role);
        self.put(AT_STAMP, STAMP);
        self.put(AT_BLOCK_SIZE, BLOCK_SIZE);
        self.put(AT_BLOCK_COUNT, BLOCK_COUNT);
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.len);
        // SAFETY: within the mapping, aligned, and an atomic is valid for any bytes.
        unsafe { &*self.start.add(offset).cast() }
    }

    fn half(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.len);
        // SAFETY: as in `word`.
        unsafe { &*self.start.add(offset).cast() }
    }

    fn put(&self, offset: usize, value: u64) {
        self.word(offset).store(value, Ordering::Release);
    }

    fn put32(&self, offset: usize, value: u32) {
        self.half(offset).store(value, Ordering::Release);
    }

    fn get(&self, offset: usize) -> u64 {
        self.word(offset).load(Ordering::Acquire)
    }

    fn get32(&self, offset: usize) -> u32 {
        self.half(offset).load(Ordering::Acquire)
    }

    fn bytes(&self, offset: usize, len: usize) -> Vec<u8> {
        let words = (offset..offset + len.next_multiple_of(8)).step_by(8);
        let mut bytes: Vec<u8> = words.flat_map(|at| self.get(at).to_ne_bytes()).collect();
        bytes.truncate(len);
        bytes
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: what `map` mapped.
        unsafe { rustix::mm::munmap(self.start.cast(), self.len) }.unwrap();
    }
}

fn new_bell() -> OwnedFd {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap()
}

fn new_socket() -> OwnedFd {
    let flags = SocketFlags::CLOEXEC;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
}

fn message(kind: u32) -> Vec<u8> {
    let mut bytes = b"brigade\0".to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(kind.to_le_bytes());
    bytes
}

fn send(socket: &OwnedFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(fds)));
    }
    let parts = [IoSlice::new(bytes)];
    // The other end may have hung up already, which is what is tested then.
    let _ = rustix::net::sendmsg(socket, &parts, &mut ancillary, SendFlags::NOSIGNAL);
}

/// The next message, and the descriptors in it; empty at the end.
fn receive(socket: &OwnedFd) -> (Vec<u8>, Vec<OwnedFd>) {
    let mut bytes = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let Ok(received) = rustix::net::recvmsg(socket, &mut parts, &mut ancillary, flags) else {
        return (Vec::new(), Vec::new());
    };
    let fds = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fds = fds.flatten().collect();
    (bytes[..received.bytes].to_vec(), fds)
}

fn kind_of(message: &[u8]) -> u32 {
    assert_eq!(&message[..12], &self::message(0)[..12]);
    u32::from_le_bytes(message[12..16].try_into().unwrap())
}

/// The refusal that comes next.
fn receive_refusal(socket: &OwnedFd) -> String {
    let (bytes, _) = receive(socket);
    assert_eq!(kind_of(&bytes), REFUSED, "{bytes:?}");
    String::from_utf8(bytes[16..].to_vec()).unwrap()
}

/// The offer that comes next: the real end's region, read-only, and its doorbell.
fn receive_offer(socket: &OwnedFd) -> (Region, OwnedFd) {
    let (bytes, fds) = receive(socket);
    assert_eq!(bytes, message(OFFER));
    let [memory, bell] = <[OwnedFd; 2]>::try_from(fds).unwrap();
    let len = rustix::fs::fstat(&memory).unwrap().st_size as usize;
    (Region::map(memory, len, ProtFlags::READ), bell)
}

fn send_offer(socket: &OwnedFd, region: &Region, bell: &OwnedFd) {
    send(
        socket,
        &message(OFFER),
        &[region.file.as_fd(), bell.as_fd()],
    );
}

/// One that has joined.
struct Raw {
    socket: OwnedFd,
    own: Region,
    peer: Region,
    peer_bell: OwnedFd,
    _bell: OwnedFd,
}

impl Raw {
    /// Stores the count of blocks handed over, and rings.
    fn publish(&self, count: u64) {
        self.own.put(AT_PUBLISHED, count);
        self.ring();
    }

    fn ring(&self) {
        rustix::io::write(&self.peer_bell, &1u64.to_ne_bytes()).unwrap();
    }

    /// A Writer's entry: `block` is given back as the `index`th.
    fn put_returned(&self, index: usize, block: u64) {
        self.own.put(AT_QUEUE + index % 4 * 8, block);
    }

    /// A Reader's entry.
    fn put_sent(&self, index: usize, block: u64, len: u64, kind: u64, tag: u64) {
        let at = AT_QUEUE + index % 4 * 16;
        self.own.put(at, len | block << 32 | kind << 48);
        self.own.put(at + 8, tag);
    }

    fn set_state(&self, state: u32) {
        self.own.put32(AT_STATE, state);
        self.ring();
    }

    /// That the real end has told this one why it gave up.
    fn assert_was_told(&self, expected: &str) {
        assert_eq!(self.peer.get32(AT_STATE), ABORTED);
        let len = self.peer.get32(AT_REASON_LEN) as usize;
        let reason = String::from_utf8(self.peer.bytes(AT_REASON, len)).unwrap();
        assert!(reason.contains(expected), "{reason}");
    }
}

// ---- the real end ---------------------------------------------------------------------

const LIMIT: Duration = Duration::from_secs(60);

/// Runs `test`, and fails when it hangs.
fn bounded(test: impl FnOnce() + Send + 'static) {
    let (done, finished) = mpsc::channel();
    let thread = thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    let ended = finished.recv_timeout(LIMIT);
    assert_ne!(ended, Err(RecvTimeoutError::Timeout), "the test hangs");
    if let Err(why) = thread.join() {
        panic::resume_unwind(why);
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn options() -> Options {
    Options::new()
        .block_size(BLOCK_SIZE as usize)
        .block_count(BLOCK_COUNT as usize)
        .wait(Duration::from_secs(20))
}

struct Place {
    directory: TempDir,
    name: String,
}

impl Place {
    fn new() -> Place {
        let directory = tempfile::tempdir().unwrap();
        let name = format!("{}/n", directory.path().display());
        Place { directory, name }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A real host, ready to be joined.
    fn real_host(&self, side: Side) -> JoinHandle<Result<Role, Error>> {
        let seat = Seat::take(&self.name, &options().side(side)).unwrap();
        thread::spawn(move || seat.wait())
    }

    fn connect(&self) -> OwnedFd {
        let socket = new_socket();
        let address = SocketAddrUnix::new(self.file("n.sock")).unwrap();
        rustix::net::connect(&socket, &address).unwrap();
        socket
    }

    /// Joins the real host here as its guest, with `own` to show.
    fn join_raw(&self, own: Region) -> Raw {
        let socket = self.connect();
        let (peer, peer_bell) = receive_offer(&socket);
        let bell = new_bell();
        send_offer(&socket, &own, &bell);
        assert_eq!(receive(&socket).0, message(ADMITTED));
        Raw {
            socket,
            own,
            peer,
            peer_bell,
            _bell: bell,
        }
    }

    /// A real second for the host here, to show that the name still works.
    fn assert_real_pair_works(&self, host: JoinHandle<Result<Role, Error>>) {
        let second = join(&self.name, &options()).unwrap();
        assert_pair_works(host.join().unwrap().unwrap(), second);
    }

    fn raw_host(&self) -> RawHost {
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

    fn real_guest(&self) -> JoinHandle<Result<Role, Error>> {
        let name = self.name.clone();
        thread::spawn(move || join(&name, &options()))
    }
}

struct RawHost {
    listener: OwnedFd,
    _lock: OwnedFd,
}

impl RawHost {
    fn accept(&self) -> OwnedFd {
        rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC).unwrap()
    }

    /// Lets the real guest in, with `own` to show.
    fn admit(&self, own: Region) -> Raw {
        let (socket, bell) = (self.accept(), new_bell());
        send_offer(&socket, &own, &bell);
        let (peer, peer_bell) = receive_offer(&socket);
        send(&socket, &message(ADMITTED), &[]);
        Raw {
            socket,
            own,
            peer,
            peer_bell,
            _bell: bell,
        }
    }
}

fn assert_pair_works(one: Role, other: Role) {
    let (Role::Reader(reader), Role::Writer(writer)) = (match one {
        Role::Reader(_) => (one, other),
        Role::Writer(_) => (other, one),
    }) else {
        panic!("two of a kind");
    };
    let writer = thread::spawn(move || {
        let len = writer.data_block_until(soon()).unwrap().unwrap().len();
        assert!(writer.data_block_until(soon()).unwrap().is_none());
        writer.finish().unwrap();
        len
    });
    let block = reader.empty_block_until(soon()).unwrap();
    block.send(5, 0).unwrap();
    reader.finish_until(soon()).unwrap();
    assert_eq!(writer.join().unwrap(), 5);
}

/// A real Reader and a raw Writer; the real one hosts if `hosting`.
fn real_reader(hosting: bool) -> (Reader, Raw) {
    let place = Place::new();
    let (role, raw) = if hosting {
        let host = place.real_host(Side::Reader);
        let raw = place.join_raw(Region::of(WRITER));
        (host.join(), raw)
    } else {
        let (host, guest) = (place.raw_host(), place.real_guest());
        let raw = host.admit(Region::of(WRITER));
        (guest.join(), raw)
    };
    match role.unwrap().unwrap() {
        Role::Reader(reader) => (reader, raw),
        role => panic!("{role:?}"),
    }
}

/// A real Writer and a raw Reader.
fn real_writer(hosting: bool) -> (Writer, Raw) {
    let place = Place::new();
    let (role, raw) = if hosting {
        let host = place.real_host(Side::Writer);
        let raw = place.join_raw(Region::of(READER));
        (host.join(), raw)
    } else {
        let (host, guest) = (place.raw_host(), place.real_guest());
        let raw = host.admit(Region::of(READER));
        (guest.join(), raw)
    };
    match role.unwrap().unwrap() {
        Role::Writer(writer) => (writer, raw),
        role => panic!("{role:?}"),
    }
}

fn send_all(reader: &Reader) {
    for tag in 0..BLOCK_COUNT {
        let block = reader.empty_block_until(soon()).unwrap();
        block.send(1, tag).unwrap();
    }
}

fn violation<T: Debug>(result: Result<T, Error>) -> Violation {
    match result.unwrap_err() {
        Error::ProtocolViolation { violation, .. } => violation,
        error => panic!("{error:?}"),
    }
}

// ---- what the bytes are ---------------------------------------------------------------

#[test]
fn a_readers_control_page_begins_with_the_bytes_of_the_protocol() {
    bounded(|| {
        let (_reader, raw) = real_reader(true);
        let mut found = raw.peer.bytes(0, 128);
        // The session's number may be any.
        found[48..56].fill(0);
        let mut expected = b"brigade\0".to_vec();
        expected.extend([1, 0, 0, 0]); // version
        expected.extend([1, 0, 0, 0]); // role: Reader
        expected.extend([0x08, 0x00, 0x10, 0x00, 0x04, 0x03, 0x02, 0x01]); // stamp
        expected.extend([64, 0, 0, 0, 0, 0, 0, 0]); // block size
        expected.extend([4, 0, 0, 0, 0, 0, 0, 0]); // block count
        // Features: one bit, which depends on the system.
        expected.extend([found[40] & 1, 0, 0, 0]);
        expected.extend([0; 4]); // length of the greeting
        expected.extend([0; 80]); // reserved
        assert_eq!(found, expected);
        assert_eq!(raw.peer.len, READER_REGION);
    });
}

#[test]
fn a_raw_writer_that_keeps_the_protocol_gets_everything_from_a_real_reader() {
    bounded(|| {
        for hosting in [true, false] {
            let (reader, raw) = real_reader(hosting);
            let mut block = reader.empty_block().unwrap();
            block[..5].copy_from_slice(b"water");
            block.send_kind(5, 7, 9).unwrap();
            assert_eq!(raw.peer.get(AT_PUBLISHED), 1);
            assert_eq!(raw.peer.get(AT_QUEUE), 5 | 7 << 48);
            assert_eq!(raw.peer.get(AT_QUEUE + 8), 9);
            assert_eq!(raw.peer.bytes(AT_BLOCKS, 5), b"water");
            let finishing = thread::spawn(move || reader.finish_until(soon()));
            while raw.peer.get32(AT_STATE) != ENDED {
                thread::yield_now();
            }
            raw.put_returned(0, 0);
            raw.own.put(AT_PUBLISHED_BYTES, 5);
            raw.publish(1);
            raw.set_state(ENDED);
            let delivered = finishing.join().unwrap().unwrap();
            assert_eq!((delivered.blocks, delivered.bytes), (1, 5));
        }
    });
}

#[test]
fn a_raw_reader_that_keeps_the_protocol_brings_everything_to_a_real_writer() {
    bounded(|| {
        for hosting in [true, false] {
            let (writer, raw) = real_writer(hosting);
            raw.own
                .put(AT_BLOCKS + 2 * 64, u64::from_ne_bytes(*b"bucket 2"));
            raw.put_sent(0, 2, 8, 7, 9);
            raw.publish(1);
            let block = writer.data_block_until(soon()).unwrap().unwrap();
            assert_eq!(
                (&*block, block.kind(), block.tag()),
                (&b"bucket 2"[..], 7, 9)
            );
            assert_eq!(raw.peer.get(AT_PUBLISHED), 0);
            drop(block);
            assert_eq!(raw.peer.get(AT_PUBLISHED), 1);
            assert_eq!(raw.peer.get(AT_PUBLISHED_BYTES), 8);
            assert_eq!(raw.peer.get(AT_QUEUE), 2);
            raw.set_state(ENDED);
            assert!(writer.data_block_until(soon()).unwrap().is_none());
            assert_eq!(raw.peer.get32(AT_STATE), 0);
            writer.finish().unwrap();
            assert_eq!(raw.peer.get32(AT_STATE), ENDED);
        }
    });
}

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

// ---- a raw Writer that breaks the protocol ------------------------------------------------

/// What a real Reader that has sent all four blocks makes of it.
#[track_caller]
fn assert_reader_finds(expected: Violation, breaks: impl FnOnce(&Raw)) {
    let (reader, raw) = real_reader(true);
    send_all(&reader);
    breaks(&raw);
    // At most four good blocks may come first.
    let found = (0..5).map(|_| reader.empty_block_until(soon()));
    let results: Vec<_> = found.collect();
    let error = results.into_iter().find(Result::is_err).unwrap();
    assert_eq!(violation(error), expected);
    raw.assert_was_told("broke the protocol");
    assert!(matches!(reader.check(), Err(Error::Aborted { .. })));
}

#[test]
fn a_writers_count_beyond_what_it_has_is_a_violation() {
    bounded(|| {
        for found in [5, 1 << 40, u64::MAX] {
            let (least, most) = (0, 4);
            let expected = Violation::Count { found, least, most };
            assert_reader_finds(expected, |raw| raw.publish(found));
        }
    });
}

#[test]
fn a_writers_count_that_goes_back_is_a_violation() {
    bounded(|| {
        let (reader, raw) = real_reader(true);
        send_all(&reader);
        raw.put_returned(0, 0);
        raw.put_returned(1, 1);
        raw.publish(2);
        let held: Vec<_> = (0..2).map(|_| reader.empty_block().unwrap()).collect();
        raw.publish(1);
        let (found, least, most) = (1, 2, 4);
        let expected = Violation::Count { found, least, most };
        assert_eq!(violation(reader.empty_block_until(soon())), expected);
        drop(held);
    });
}

#[test]
fn a_block_given_back_that_does_not_exist_is_a_violation() {
    bounded(|| {
        for found in [4, 1 << 16, 1 << 32, u64::MAX] {
            assert_reader_finds(Violation::BlockNumber { found }, |raw| {
                raw.put_returned(0, found);
                raw.publish(1);
            });
        }
    });
}

#[test]
fn a_block_given_back_twice_is_a_violation() {
    bounded(|| {
        let (reader, raw) = real_reader(true);
        send_all(&reader);
        raw.put_returned(0, 3);
        raw.put_returned(1, 3);
        raw.publish(2);
        let held = reader.empty_block().unwrap();
        let expected = Violation::BlockNotTheirs { block: 3 };
        assert_eq!(violation(reader.empty_block_until(soon())), expected);
        // Only one token for it came into being, and it still works.
        drop(held);
        raw.assert_was_told("block 3");
    });
}

#[test]
fn a_writers_state_that_does_not_exist_is_a_violation() {
    bounded(|| {
        for found in [3, 77, u32::MAX] {
            assert_reader_finds(Violation::State { found }, |raw| raw.set_state(found));
        }
    });
}

#[test]
fn a_verdict_before_all_is_given_back_is_a_violation() {
    bounded(|| {
        assert_reader_finds(Violation::EarlyVerdict, |raw| raw.set_state(ENDED));
        let (reader, raw) = real_reader(true);
        send_all(&reader);
        raw.put_returned(0, 0);
        raw.publish(1);
        raw.set_state(ENDED);
        let result = reader.finish_until(soon());
        assert_eq!(violation(result), Violation::EarlyVerdict);
    });
}

#[test]
fn a_writers_message_during_the_session_is_a_violation() {
    bounded(|| {
        assert_reader_finds(Violation::Message, |raw| send(&raw.socket, b"junk", &[]));
        for watched in [true, false] {
            let (reader, raw) = real_reader(true);
            send(&raw.socket, &message(ADMITTED), &[]);
            let result = match watched {
                true => reader.monitor().watch(),
                false => reader.check(),
            };
            assert_eq!(violation(result), Violation::Message);
        }
    });
}

#[test]
fn a_writer_that_hangs_up_without_a_word_has_died() {
    bounded(|| {
        for hosting in [true, false] {
            let (reader, raw) = real_reader(hosting);
            send_all(&reader);
            raw.put_returned(0, 0);
            raw.own.put(AT_PUBLISHED, 1);
            raw.own.put(AT_PUBLISHED_BYTES, 1);
            drop(raw);
            drop(reader.empty_block_until(soon()).unwrap());
            let held = reader.empty_block_until(soon()).unwrap();
            let error = reader.empty_block_until(soon()).unwrap_err();
            let Error::PartnerDied { delivered, .. } = error else {
                panic!("{error:?}");
            };
            assert_eq!((delivered.blocks, delivered.bytes), (1, 1));
            assert!(matches!(reader.check(), Err(Error::PartnerDied { .. })));
            let watched = reader.monitor().watch();
            assert!(matches!(watched, Err(Error::PartnerDied { .. })));
            drop(held);
            let finished = reader.finish_until(soon());
            assert!(matches!(finished, Err(Error::PartnerDied { .. })));
        }
    });
}

#[test]
fn a_verdict_before_the_end_of_the_data_is_a_violation_though_all_was_given_back() {
    bounded(|| {
        let (reader, raw) = real_reader(true);
        reader.empty_block().unwrap().send(1, 0).unwrap();
        raw.put_returned(0, 0);
        raw.publish(1);
        raw.set_state(ENDED);
        let result = reader.finish_until(soon());
        assert_eq!(violation(result), Violation::EarlyVerdict);
    });
}

#[test]
fn a_writer_that_hangs_up_after_its_verdict_has_not_died() {
    bounded(|| {
        let (reader, raw) = real_reader(true);
        reader.empty_block().unwrap().send(1, 0).unwrap();
        let monitor = reader.monitor();
        let watching = thread::spawn(move || monitor.watch());
        let finishing = thread::spawn(move || reader.finish_until(soon()));
        while raw.peer.get32(AT_STATE) != ENDED {
            thread::yield_now();
        }
        raw.put_returned(0, 0);
        raw.own.put(AT_PUBLISHED, 1);
        raw.own.put32(AT_STATE, ENDED);
        drop(raw);
        finishing.join().unwrap().unwrap();
        watching.join().unwrap().unwrap();
    });
}

// ---- a raw Reader that breaks the protocol ------------------------------------------------

#[track_caller]
fn assert_writer_finds(expected: Violation, breaks: impl FnOnce(&Raw)) {
    let (writer, raw) = real_writer(true);
    breaks(&raw);
    assert_eq!(violation(writer.data_block_until(soon())), expected);
    raw.assert_was_told("broke the protocol");
    assert!(matches!(writer.check(), Err(Error::Aborted { .. })));
}

#[test]
fn a_readers_count_beyond_what_it_has_is_a_violation() {
    bounded(|| {
        for found in [5, 1 << 40, u64::MAX] {
            let (least, most) = (0, 4);
            let expected = Violation::Count { found, least, most };
            assert_writer_finds(expected, |raw| raw.publish(found));
        }
        // A block that the Writer holds cannot be sent.
        let (writer, raw) = real_writer(true);
        raw.put_sent(0, 0, 1, 0, 0);
        raw.publish(1);
        let _held = writer.data_block().unwrap();
        raw.publish(5);
        let (found, least, most) = (5, 1, 4);
        let expected = Violation::Count { found, least, most };
        assert_eq!(violation(writer.data_block_until(soon())), expected);
    });
}

#[test]
fn a_readers_count_that_goes_back_is_a_violation() {
    bounded(|| {
        let (writer, raw) = real_writer(true);
        raw.put_sent(0, 0, 1, 0, 0);
        raw.put_sent(1, 1, 1, 0, 0);
        raw.publish(2);
        for _ in 0..2 {
            drop(writer.data_block().unwrap().unwrap());
        }
        raw.publish(1);
        let (found, least, most) = (1, 2, 6);
        let expected = Violation::Count { found, least, most };
        assert_eq!(violation(writer.data_block_until(soon())), expected);
    });
}

#[test]
fn a_sent_block_that_does_not_exist_is_a_violation() {
    bounded(|| {
        for found in [4, 0xffff] {
            assert_writer_finds(Violation::BlockNumber { found }, |raw| {
                raw.put_sent(0, found, 1, 0, 0);
                raw.publish(1);
            });
        }
    });
}

#[test]
fn a_block_sent_twice_is_a_violation_and_the_first_keeps_its_label() {
    bounded(|| {
        let (writer, raw) = real_writer(true);
        raw.put_sent(0, 3, 1, 10, 11);
        raw.put_sent(1, 3, 2, 20, 21);
        raw.publish(2);
        let held = writer.data_block().unwrap().unwrap();
        let expected = Violation::BlockNotTheirs { block: 3 };
        assert_eq!(violation(writer.data_block_until(soon())), expected);
        assert_eq!((held.len(), held.kind(), held.tag()), (1, 10, 11));
    });
}

#[test]
fn a_length_beyond_the_block_is_a_violation() {
    bounded(|| {
        for found in [65, u64::from(u32::MAX)] {
            let most = BLOCK_SIZE;
            assert_writer_finds(Violation::Length { found, most }, |raw| {
                raw.put_sent(0, 0, found, 0, 0);
                raw.publish(1);
            });
        }
    });
}

#[test]
fn a_readers_state_that_does_not_exist_is_a_violation() {
    bounded(|| {
        for found in [3, 77, u32::MAX] {
            assert_writer_finds(Violation::State { found }, |raw| raw.set_state(found));
        }
    });
}

#[test]
fn a_readers_message_during_the_session_is_a_violation() {
    bounded(|| {
        assert_writer_finds(Violation::Message, |raw| send(&raw.socket, b"junk", &[]));
    });
}

#[test]
fn a_reader_that_hangs_up_without_a_word_has_died_after_all_that_it_sent() {
    bounded(|| {
        for hosting in [true, false] {
            let (writer, raw) = real_writer(hosting);
            raw.put_sent(0, 0, 1, 0, 0);
            raw.own.put(AT_PUBLISHED, 1);
            drop(raw);
            drop(writer.data_block_until(soon()).unwrap().unwrap());
            let error = writer.data_block_until(soon()).unwrap_err();
            assert!(matches!(error, Error::PartnerDied { .. }), "{error:?}");
            let error = writer.try_data_block().unwrap_err();
            assert!(matches!(error, Error::PartnerDied { .. }), "{error:?}");
        }
    });
}

#[test]
fn a_reader_that_hangs_up_after_its_end_leaves_a_session_that_can_be_finished() {
    bounded(|| {
        let (writer, raw) = real_writer(true);
        raw.put_sent(0, 0, 1, 0, 0);
        raw.own.put(AT_PUBLISHED, 1);
        raw.own.put32(AT_STATE, ENDED);
        drop(raw);
        drop(writer.data_block_until(soon()).unwrap().unwrap());
        assert!(writer.data_block_until(soon()).unwrap().is_none());
        assert!(matches!(writer.check(), Err(Error::PartnerDied { .. })));
        writer.finish().unwrap();
    });
}

#[test]
fn a_reason_or_greeting_of_an_impossible_length_is_cut() {
    bounded(|| {
        let place = Place::new();
        let host = place.real_host(Side::Writer);
        let own = Region::of(READER);
        own.put32(AT_GREETING_LEN, u32::MAX);
        own.put(AT_GREETING, u64::from_ne_bytes(*b"greeting"));
        let raw = place.join_raw(own);
        let Role::Writer(writer) = host.join().unwrap().unwrap() else {
            panic!("the host is no Writer");
        };
        assert_eq!(writer.partner().greeting().len(), 1024);
        assert!(writer.partner().greeting().starts_with(b"greeting"));
        raw.own.put32(AT_REASON_LEN, u32::MAX);
        raw.own
            .put(AT_REASON, u64::from_ne_bytes(*b"\x1b[31m\xff\xfe!"));
        raw.set_state(ABORTED);
        match writer.data_block_until(soon()).unwrap_err() {
            Error::PartnerAborted { reason, .. } => {
                assert!(!reason.chars().any(char::is_control), "{reason:?}");
                assert_eq!(reason.chars().count(), 1024);
            }
            error => panic!("{error:?}"),
        }
    });
}

// ---- joining: a raw guest -----------------------------------------------------------------

/// An offer that must not be taken, and what the refusal must say of it.
type Offer = (&'static str, fn(&OwnedFd));

fn offer(socket: &OwnedFd, region: &Region) {
    send_offer(socket, region, &new_bell());
}

fn changed(socket: &OwnedFd, change: impl FnOnce(&Region)) {
    let region = Region::of(WRITER);
    change(&region);
    offer(socket, &region);
}

fn sized(socket: &OwnedFd, len: usize, seals: SealFlags) {
    let region = Region::new(len, seals);
    if len >= 4096 {
        region.fill_head(WRITER);
    }
    offer(socket, &region);
}

/// Made as a Writer's, beside a real Reader.
const BAD_OFFERS: [Offer; 21] = [
    ("version 2", |s| changed(s, |r| r.put32(AT_VERSION, 2))),
    ("in layout 0x7", |s| changed(s, |r| r.put(AT_STAMP, 7))),
    ("is not brigade", |s| changed(s, |r| r.put(0, 0))),
    ("5 blocks", |s| changed(s, |r| r.put(AT_BLOCK_COUNT, 5))),
    ("65 bytes", |s| changed(s, |r| r.put(AT_BLOCK_SIZE, 65))),
    ("a role that does not exist", |s| {
        changed(s, |r| r.put32(AT_ROLE, 0))
    }),
    ("a role that does not exist", |s| {
        changed(s, |r| r.put32(AT_ROLE, 3))
    }),
    ("region of the wrong size", |s| {
        changed(s, |r| r.put32(AT_ROLE, READER))
    }),
    ("want to be the reader", |s| offer(s, &Region::of(READER))),
    ("region of the wrong size", |s| {
        sized(s, WRITER_REGION + 4096, SEALS)
    }),
    ("region of the wrong size", |s| sized(s, 4096, SEALS)),
    ("region is too small", |s| sized(s, 4095, SEALS)),
    ("region is not sealed", |s| {
        sized(s, WRITER_REGION, SealFlags::empty())
    }),
    ("region is not sealed", |s| {
        sized(s, WRITER_REGION, SealFlags::GROW | SealFlags::SEAL)
    }),
    ("region is no memfd", |s| {
        send(
            s,
            &message(OFFER),
            &[new_bell().as_fd(), new_bell().as_fd()],
        )
    }),
    ("lacks the region", |s| send(s, &message(OFFER), &[])),
    ("lacks the region", |s| {
        send(s, &message(OFFER), &[new_bell().as_fd()])
    }),
    ("too short", |s| send(s, b"junk", &[])),
    ("not brigade's", |s| send(s, &[b'x'; 40], &[])),
    ("unknown kind", |s| send(s, &message(99), &[])),
    ("too long", |s| send(s, &[0; 2000], &[])),
];

#[test]
fn a_guest_with_a_bad_offer_is_told_what_is_wrong_and_the_host_takes_the_next() {
    bounded(|| {
        let place = Place::new();
        let host = place.real_host(Side::Reader);
        for (expected, bad) in BAD_OFFERS {
            let socket = place.connect();
            let _shown = receive_offer(&socket);
            bad(&socket);
            let text = receive_refusal(&socket);
            assert!(text.contains(expected), "{text:?}, not {expected:?}");
            assert_eq!(receive(&socket).0, b"", "the channel is closed");
        }
        assert!(!host.is_finished());
        place.assert_real_pair_works(host);
    });
}

#[test]
fn more_descriptors_than_two_are_too_many() {
    bounded(|| {
        let place = Place::new();
        let host = place.real_host(Side::Reader);
        let socket = place.connect();
        let _shown = receive_offer(&socket);
        let (region, bell) = (Region::of(WRITER), new_bell());
        let fds = [region.file.as_fd(), bell.as_fd(), bell.as_fd()];
        send(&socket, &message(OFFER), &fds);
        let text = receive_refusal(&socket);
        assert!(
            text.contains("too long") || text.contains("lacks"),
            "{text}"
        );
        place.assert_real_pair_works(host);
    });
}

#[test]
fn a_guest_that_leaves_at_any_step_before_its_offer_leaves_the_host_waiting() {
    bounded(|| {
        let place = Place::new();
        let host = place.real_host(Side::Reader);
        drop(place.connect());
        let socket = place.connect();
        let _shown = receive_offer(&socket);
        drop(socket);
        for nonsense in [ADMITTED, REFUSED] {
            let socket = place.connect();
            let _shown = receive_offer(&socket);
            send(&socket, &message(nonsense), &[]);
            assert_eq!(receive(&socket).0, b"", "the channel is closed");
        }
        assert!(!host.is_finished());
        place.assert_real_pair_works(host);
    });
}

#[test]
fn a_guest_that_leaves_after_its_offer_has_died_or_never_came() {
    bounded(|| {
        for _ in 0..50 {
            let place = Place::new();
            let host = place.real_host(Side::Reader);
            let socket = place.connect();
            let _shown = receive_offer(&socket);
            send_offer(&socket, &Region::of(WRITER), &new_bell());
            drop(socket);
            // Whether the host could still admit it is a matter of luck.
            match Seat::take(&place.name, &options().wait(Duration::from_secs(5))) {
                Ok(second) if !second.is_first() => {
                    assert_pair_works(host.join().unwrap().unwrap(), second.wait().unwrap());
                }
                _ => {
                    let Role::Reader(reader) = host.join().unwrap().unwrap() else {
                        panic!("the host is no Reader");
                    };
                    let result = reader.finish_until(soon());
                    assert!(
                        matches!(result, Err(Error::PartnerDied { .. })),
                        "{result:?}"
                    );
                }
            }
        }
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

// ---- joining: a raw host ------------------------------------------------------------------

#[test]
fn a_host_with_a_bad_offer_is_refused_by_the_guest_and_told_why() {
    bounded(|| {
        for (expected, bad) in BAD_OFFERS {
            // Beside a guest that takes either side this one is good.
            if expected == "want to be the reader" {
                continue;
            }
            let place = Place::new();
            let (host, guest) = (place.raw_host(), place.real_guest());
            let socket = host.accept();
            bad(&socket);
            let told = receive_refusal(&socket);
            match guest.join().unwrap().unwrap_err() {
                Error::Refused(text) => {
                    assert!(text.contains(expected), "{text:?}, not {expected:?}");
                    assert_eq!(text, told);
                }
                error => panic!("{error:?}, not {expected:?}"),
            }
        }
    });
}

#[test]
fn a_hosts_refusal_arrives_free_of_control_characters() {
    bounded(|| {
        let place = Place::new();
        let (host, guest) = (place.raw_host(), place.real_guest());
        let socket = host.accept();
        let mut refusal = message(REFUSED);
        refusal.extend(b"no\n\x1b[2J\xff");
        send(&socket, &refusal, &[]);
        match guest.join().unwrap().unwrap_err() {
            Error::Refused(text) => assert_eq!(text, "no\u{fffd}\u{fffd}[2J\u{fffd}"),
            error => panic!("{error:?}"),
        }
    });
}

#[test]
fn a_host_that_closes_the_channel_at_any_step_is_full_as_long_as_it_holds_the_name() {
    bounded(|| {
        for after_offer in [false, true] {
            let place = Place::new();
            let (host, guest) = (place.raw_host(), place.real_guest());
            let closing = thread::spawn(move || {
                // Until the guest has given up: it tries anew each time.
                let mut turns = 0;
                while let Ok(socket) =
                    rustix::net::accept_with(&host.listener, SocketFlags::CLOEXEC)
                {
                    if after_offer {
                        send_offer(&socket, &Region::of(READER), &new_bell());
                        let offered = receive(&socket).0;
                        if offered == b"stop" {
                            break;
                        }
                    } else if receive_now(&socket) == b"stop" {
                        break;
                    }
                    turns += 1;
                }
                turns
            });
            let error = guest.join().unwrap().unwrap_err();
            assert!(matches!(error, Error::TooManyInstances { .. }), "{error:?}");
            send(&place.connect(), b"stop", &[]);
            assert!(closing.join().unwrap() >= 1);
        }
    });
}

/// What came within a moment.
fn receive_now(socket: &OwnedFd) -> Vec<u8> {
    thread::sleep(Duration::from_millis(5));
    let mut bytes = [0; 64];
    match rustix::net::recv(socket, &mut bytes[..], RecvFlags::DONTWAIT) {
        Ok((len, _)) => bytes[..len].to_vec(),
        Err(_) => Vec::new(),
    }
}

#[test]
fn a_guest_whose_host_dies_while_it_joins_becomes_the_first() {
    bounded(|| {
        for after_offer in [false, true] {
            let place = Place::new();
            let host = place.raw_host();
            let name = place.name.clone();
            let guest = thread::spawn(move || Seat::take(&name, &options()));
            let socket = host.accept();
            if after_offer {
                send_offer(&socket, &Region::of(READER), &new_bell());
                let _shown = receive_offer(&socket);
            }
            drop((host, socket));
            let seat = guest.join().unwrap().unwrap();
            assert!(seat.is_first());
            let host = thread::spawn(move || seat.wait());
            place.assert_real_pair_works(host);
        }
    });
}

#[test]
fn a_host_that_stays_silent_does_not_answer() {
    bounded(|| {
        let place = Place::new();
        let (host, guest) = (place.raw_host(), place.real_guest());
        let since = Instant::now();
        let socket = host.accept();
        let error = guest.join().unwrap().unwrap_err();
        assert!(matches!(error, Error::NotAnswering { .. }), "{error:?}");
        assert!(since.elapsed() < Duration::from_secs(10));
        drop(socket);
    });
}

// ---- random bytes -------------------------------------------------------------------------

/// xorshift64*, so that a failure comes again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// Writes anything anywhere, near misses of good values more often than not.
fn scribble(raw: &Raw, random: &mut Random) {
    let queue_words = (region_size(raw.own.get32(AT_ROLE)).min(AT_BLOCKS) - AT_QUEUE) as u64 / 8;
    match random.below(8) {
        0 | 1 => raw.own.put(AT_PUBLISHED, random.below(8)),
        2 => raw.own.put32(AT_STATE, random.below(4) as u32),
        3 => {
            let at = AT_QUEUE + random.below(queue_words.min(8)) as usize * 8;
            let number = random.below(5);
            raw.own.put(at, number | number << 32 | random.below(66));
        }
        4 => raw.own.put32(AT_REASON_LEN, random.next() as u32),
        5 => send(&raw.socket, b"junk", &[]),
        _ => {
            let at = random.below(raw.own.len as u64 / 8) as usize * 8;
            raw.own.put(at, random.next());
        }
    }
    if random.below(2) == 0 {
        raw.ring();
    }
}

/// Scribbles in a thread of its own while `end` runs.
fn under_fire<T>(raw: Raw, seed: u64, end: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let raw = raw;
            let mut random = Random(seed);
            // Now and then it hangs up without a word.
            let last = random.below(3000);
            for _ in 0..last {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                scribble(&raw, &mut random);
            }
        });
        let found = end();
        over.store(true, Ordering::Relaxed);
        found
    })
}

/// That `error` is one of those that a partner may cause.
fn assert_partners_fault(error: &Error) {
    assert!(
        matches!(
            error,
            Error::ProtocolViolation { .. }
                | Error::PartnerAborted { .. }
                | Error::PartnerDied { .. }
                | Error::TimedOut
                // Of a violation that an earlier call has reported.
                | Error::Aborted { .. }
        ),
        "{error:?}"
    );
    assert!(!error.to_string().is_empty());
}

const SCRIBBLED_FOR: Duration = Duration::from_secs(3);

#[test]
fn a_real_writer_survives_a_reader_that_writes_random_bytes_everywhere() {
    bounded(|| {
        let (until, mut rounds, mut drained) = (Instant::now() + SCRIBBLED_FOR, 0, 0);
        for seed in 1.. {
            if Instant::now() >= until {
                break;
            }
            let (writer, raw) = real_writer(seed % 2 == 0);
            under_fire(raw, seed, || {
                let deadline = Instant::now() + Duration::from_millis(100);
                let mut held = Vec::new();
                let error = loop {
                    match writer.data_block_until(deadline) {
                        Ok(Some(block)) => {
                            assert!(block.len() <= BLOCK_SIZE as usize);
                            drained += block.iter().filter(|byte| **byte != 0).count();
                            let _labels = (block.kind(), block.tag());
                            held.push(block);
                            if held.len() > 2 {
                                held.remove(0);
                            }
                        }
                        Ok(None) => break None,
                        Err(error) => break Some(error),
                    }
                };
                error.iter().for_each(assert_partners_fault);
                let _ = (writer.check(), writer.delivered());
                let _ = (
                    writer.monitor().partner_figures(),
                    writer.partner().to_string(),
                );
                drop(held);
                if let Err(error) = writer.finish() {
                    let early = matches!(error, Error::InvalidUse(_));
                    if !early {
                        assert_partners_fault(&error);
                    }
                }
            });
            rounds += 1;
        }
        assert!(rounds > 20, "{rounds} rounds, {drained} bytes");
    });
}

#[test]
fn a_real_reader_survives_a_writer_that_writes_random_bytes_everywhere() {
    bounded(|| {
        let (until, mut rounds) = (Instant::now() + SCRIBBLED_FOR, 0);
        for seed in 1.. {
            if Instant::now() >= until {
                break;
            }
            let (reader, raw) = real_reader(seed % 2 == 0);
            under_fire(raw, seed, || {
                let deadline = Instant::now() + Duration::from_millis(100);
                let error = loop {
                    match reader.empty_block_until(deadline) {
                        Ok(mut block) => {
                            block.fill(1);
                            block.send(64, 0).unwrap();
                        }
                        Err(error) => break error,
                    }
                };
                assert_partners_fault(&error);
                let _ = (reader.check(), reader.delivered());
                if let Err(error) = reader.finish_until(deadline) {
                    assert_partners_fault(&error);
                }
            });
            rounds += 1;
        }
        assert!(rounds > 20, "{rounds} rounds");
    });
}

#[test]
fn a_real_host_survives_guests_whose_regions_are_random_bytes() {
    bounded(|| {
        let place = Place::new();
        let mut random = Random(42);
        let host = place.real_host(Side::Reader);
        for _ in 0..500 {
            let socket = place.connect();
            let _shown = receive_offer(&socket);
            let region = Region::of(WRITER);
            // At least one word of the head that is compared, so never a good one.
            for at in [AT_STAMP, random.below(1024) as usize * 8] {
                region.put(at, random.next());
            }
            offer(&socket, &region);
            assert!(!receive_refusal(&socket).is_empty());
        }
        assert!(!host.is_finished());
        place.assert_real_pair_works(host);
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
        let socket = as_stranger(move || {
            let socket = new_socket();
            let address = SocketAddrUnix::new(path).unwrap();
            rustix::net::connect(&socket, &address).unwrap();
            socket
        });
        let refusal = receive_refusal(&socket);
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
        let socket = rustix::net::accept_with(&listener, SocketFlags::CLOEXEC).unwrap();
        let refusal = receive_refusal(&socket);
        let Err(Error::Refused(reason)) = guest.join().unwrap() else {
            panic!("not refused");
        };
        assert_eq!(reason, refusal);
        assert!(reason.contains("root (0)"), "{reason}");
        assert!(reason.contains(&STRANGER.to_string()), "{reason}");
    });
}

#[test]
fn a_doorbell_that_could_block_whoever_rings_it_is_refused() {
    bounded(|| {
        let place = Place::new();
        let host = place.real_host(Side::Reader);
        let (_read_end, pipe) = std::io::pipe().unwrap();
        let blocking = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        for bell in [OwnedFd::from(pipe), blocking] {
            let socket = place.connect();
            let _shown = receive_offer(&socket);
            send_offer(&socket, &Region::of(WRITER), &bell);
            let refusal = receive_refusal(&socket);
            assert!(refusal.contains("doorbell"), "{refusal}");
        }
        place.assert_real_pair_works(host);
    });
}
