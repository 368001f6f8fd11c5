//! A peer made from the protocol's bytes alone, not from this library's code: it
//! joins a real end by hand and then keeps the protocol, or breaks it.
//!
//! Whatever it does, the real end must answer with a definite error, in bounded
//! time, and never with a panic.
//!
//! This file has what is alike on all systems. How the peer joins there, and the
//! tests of what one system alone has, are in `linux.rs` and `windows.rs`, which
//! offer the same names:
//!
//! | Item | What it does |
//! |---|---|
//! | `Region::new(len)`, `start`, `len` | memory of this process, zeroed, that a partner may map for reading |
//! | `Bell::new()` | what this peer sleeps on, and what else its offer shows |
//! | `PeerBell::ring()` | rings the real end's |
//! | `Place::{new, name, connect, raw_host}` | a name that nobody else has; reaching its host; being its host |
//! | `RawHost::{accept, accept_within}` | reaching the next guest |
//! | `Channel::{offer, refuse, admit, send_kind}` | one message; none of them fails if nobody is there any more |
//! | `Channel::{receive_kind, receive_offer, next_refusal}` | the next message |
//! | `Channel::be_of_version_1()` | what it says from now on is of that version |
//! | `Place::is_there()` | whether a host can be reached |
//! | `Channel::into_link(bell)` | what is left of it after joining; to drop it is to hang up |
//! | `Link::disturb(bell)` | what else the system lets a partner do to a link |
//! | `BAD_OFFERS` | offers that are bad on this system only |
//! | `VECTORS` | the vectors of the document that are this system's only |
//! | `NO_VECTORS` | and those that are not this system's |
//! | `child(task, name)` | what another process does for this system's tests |
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

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as system;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as system;

mod vectors;

use std::cell::Cell;
use std::fmt::Debug;
use std::io::{self, BufRead, BufReader, Write};
use std::panic;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use brigade::{
    Error, Label, Options, Reader, Refusal, Role, Seat, Side, Unreturned, Violation, Writer, join,
};
use system::{Bell, Channel, Link, PeerBell, Place, RawHost, Region};

// ---- the protocol, once more ----------------------------------------------------------

/// Begins every region and message.
const MAGIC: [u8; 8] = *b"brigade\0";
const VERSION: u32 = 2;
const STAMP: u64 = 0x0102_0304_0010_0008;
const READER: u32 = 1;
const WRITER: u32 = 2;

const AT_VERSION: usize = 8;
const AT_ROLE: usize = 12;
const AT_STAMP: usize = 16;
const AT_BLOCK_SIZE: usize = 24;
const AT_BLOCK_COUNT: usize = 32;
const AT_GREETING_LEN: usize = 44;
const AT_SESSION: usize = 48;
const AT_PUBLISHED: usize = 128;
const AT_PUBLISHED_BYTES: usize = 136;
const AT_STATE: usize = 384;
const AT_REASON_LEN: usize = 388;
const AT_REASON_CODE: usize = 392;
const AT_EPOCH: usize = 56;
const AT_WAYS: usize = 64;
const AT_LANE: usize = 68;
const AT_LETTERS: usize = 640;
const AT_GREETING: usize = 768;
const AT_REASON: usize = 1792;
const AT_QUEUE: usize = 20480;

const ENDED: u32 = 1;
const ABORTED: u32 = 2;

const OFFER: u32 = 1;
const REFUSED: u32 = 2;
const ADMITTED: u32 = 3;

/// All tests use four blocks of 64 bytes.
const BLOCK_SIZE: u64 = 64;
const BLOCK_COUNT: u64 = 4;
const AT_BLOCKS: usize = 24576;
const READER_REGION: usize = 28672;
const WRITER_REGION: usize = 24576;

fn region_size(role: u32) -> usize {
    if role == READER {
        READER_REGION
    } else {
        WRITER_REGION
    }
}

// ---- the raw peer ---------------------------------------------------------------------

// SAFETY: an address range, used through atomics only.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// A good one.
    fn of(role: u32) -> Region {
        let region = Region::new(region_size(role));
        region.fill_head(role);
        region
    }

    fn fill_head(&self, role: u32) {
        self.put(0, u64::from_le_bytes(MAGIC));
        self.put32(AT_VERSION, VERSION);
        self.put32(AT_ROLE, role);
        self.put(AT_STAMP, STAMP);
        self.put(AT_BLOCK_SIZE, BLOCK_SIZE);
        self.put(AT_BLOCK_COUNT, BLOCK_COUNT);
        self.put(AT_EPOCH, 1);
        self.put32(AT_WAYS, 1);
    }

    /// As a second does with its host's.
    fn copy_numbers(&self, host: &Region) {
        for at in [AT_SESSION, AT_EPOCH] {
            self.put(at, host.get(at));
        }
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

/// One that has joined.
struct Raw {
    // First, so that it hangs up before it lets go of the rest.
    link: Link,
    own: Region,
    peer: Region,
    peer_bell: PeerBell,
}

impl Raw {
    /// Stores the count of blocks handed over, and rings.
    fn publish(&self, count: u64) {
        self.own.put(AT_PUBLISHED, count);
        self.ring();
    }

    fn ring(&self) {
        self.peer_bell.ring();
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

const LIMIT: Duration = Duration::from_secs(120);

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
impl Place {
    /// A real host, ready to be joined.
    fn real_host(&self, side: Side) -> JoinHandle<Result<Role, Error>> {
        let seat = Seat::take(&self.name, &options().side(side)).unwrap();
        thread::spawn(move || seat.wait())
    }

    /// Joins the real host here as its guest, with `own` to show.
    fn join_raw(&self, own: Region) -> Raw {
        loop {
            let (since, channel, bell) = (Instant::now(), self.connect(), Bell::new());
            let (peer, peer_bell) = channel.receive_offer();
            own.copy_numbers(&peer);
            channel.offer(&own, &bell);
            let Some(kind) = channel.receive_kind() else {
                assert_was_late(since);
                continue;
            };
            assert_eq!(kind, ADMITTED);
            let link = channel.into_link(bell);
            return Raw {
                link,
                own,
                peer,
                peer_bell,
            };
        }
    }

    /// What the real host here tells a guest that answers its offer by `act`, before it
    /// closes the channel.
    fn refusal(&self, act: impl Fn(&Channel, &Region)) -> (u16, String) {
        self.refusal_by(|channel, shown| {
            act(channel, shown);
            let refusal = channel.next_refusal()?;
            assert_eq!(channel.receive_kind(), None, "the channel is closed");
            Some(refusal)
        })
    }

    /// What `act` gets for its answer to the real host's offer.
    fn refusal_by(
        &self,
        act: impl Fn(&Channel, &Region) -> Option<(u16, String)>,
    ) -> (u16, String) {
        loop {
            let (since, channel) = (Instant::now(), self.connect());
            let (shown, _bell) = channel.receive_offer();
            match act(&channel, &shown) {
                Some(refusal) => return refusal,
                None => assert_was_late(since),
            }
        }
    }

    fn wait_until_there(&self) {
        let until = soon();
        while !self.is_there() {
            assert!(Instant::now() < until, "nobody comes");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// A real second for the host here, to show that the name still works.
    fn assert_real_pair_works(&self, host: JoinHandle<Result<Role, Error>>) {
        let second = join(&self.name, &options()).unwrap();
        assert_pair_works(host.join().unwrap().unwrap(), second);
    }

    fn real_guest(&self) -> JoinHandle<Result<Role, Error>> {
        let name = self.name.clone();
        thread::spawn(move || join(&name, &options()))
    }
}

/// How long a host waits for a guest's answer. On a busy machine a test may take longer,
/// and begins again then.
const JOINER_LIMIT: Duration = Duration::from_secs(1);

#[track_caller]
fn assert_was_late(since: Instant) {
    let took = since.elapsed();
    assert!(took >= JOINER_LIMIT, "closed without a word after {took:?}");
}

impl Channel {
    fn receive_refusal(&self) -> (u16, String) {
        self.next_refusal().expect("a refusal")
    }
}

impl RawHost {
    /// Lets the real guest in, with `own` to show.
    fn admit(&self, own: Region) -> Raw {
        let (channel, bell) = (self.accept(), Bell::new());
        channel.offer(&own, &bell);
        let (peer, peer_bell) = channel.receive_offer();
        channel.admit();
        Raw {
            link: channel.into_link(bell),
            own,
            peer,
            peer_bell,
        }
    }
}

#[test]
fn a_host_that_lets_in_who_gives_up_just_then_is_told_why() {
    bounded(|| {
        let place = Place::new();
        let (host, name) = (place.raw_host(), place.name.clone());
        let (begun, monitor) = mpsc::channel();
        let guest = thread::spawn(move || {
            let begun = |monitor| begun.send(monitor).unwrap();
            Seat::take_with(&name, &options(), begun).map(drop)
        });
        let (channel, bell) = (host.accept(), Bell::new());
        channel.offer(&Region::of(WRITER), &bell);
        let (peer, _) = channel.receive_offer();
        monitor.recv().unwrap().abort_with(7, "changed its mind");
        let error = guest.join().unwrap().unwrap_err();
        assert!(matches!(error, Error::Aborted { code: 7, .. }), "{error:?}");
        channel.admit();
        assert_eq!(peer.get32(AT_STATE), ABORTED);
        assert_eq!(peer.get32(AT_REASON_CODE), 7);
        let len = peer.get32(AT_REASON_LEN) as usize;
        assert_eq!(peer.bytes(AT_REASON, len), b"changed its mind");
    });
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
    real_writer_that_sees(Region::of(READER), hosting)
}

fn real_writer_that_sees(own: Region, hosting: bool) -> (Writer, Raw) {
    let place = Place::new();
    let (role, raw) = if hosting {
        let host = place.real_host(Side::Writer);
        let raw = place.join_raw(own);
        (host.join(), raw)
    } else {
        let (host, guest) = (place.raw_host(), place.real_guest());
        let raw = host.admit(own);
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

/// The first bytes of a Reader's region as `docs/protocol.md` shows them; `None` for `xx`.
fn documented_head() -> Vec<Option<u8>> {
    let page = include_str!("../../../docs/protocol.md");
    let lines = page
        .lines()
        .skip_while(|line| !line.starts_with("00000000  "));
    let lines = lines.take_while(|line| line.starts_with("000000"));
    let bytes = lines.flat_map(|line| line[10..58].split_whitespace());
    bytes
        .map(|byte| (byte != "xx").then(|| u8::from_str_radix(byte, 16).unwrap()))
        .collect()
}

#[test]
fn a_readers_control_page_begins_with_the_bytes_of_the_protocol() {
    bounded(|| {
        // The session of the page: three blocks of five bytes.
        let place = Place::new();
        let options = options().side(Side::Reader).block_size(5).block_count(3);
        let seat = Seat::take(&place.name, &options).unwrap();
        let host = thread::spawn(move || seat.wait());
        let own = Region::of(WRITER);
        own.put(AT_BLOCK_SIZE, 5);
        own.put(AT_BLOCK_COUNT, 3);
        let raw = place.join_raw(own);
        host.join().unwrap().unwrap();
        let (found, expected) = (raw.peer.bytes(0, 128), documented_head());
        assert_eq!(expected.len(), found.len());
        for (at, (found, expected)) in found.into_iter().zip(expected).enumerate() {
            match at {
                // Features: one bit, which depends on the system.
                40 => assert!(found <= 1, "{found}"),
                _ => assert_eq!(found, expected.unwrap_or(found), "byte {at}"),
            }
        }
        assert_eq!(raw.peer.len, READER_REGION);
    });
}

#[test]
fn a_second_copies_the_numbers_of_session_and_epoch_from_its_host() {
    bounded(|| {
        for number in [0, 42, u64::MAX] {
            let place = Place::new();
            let (host, guest) = (place.raw_host(), place.real_guest());
            let own = Region::of(READER);
            own.put(AT_SESSION, number);
            own.put(AT_EPOCH, !number);
            let raw = host.admit(own);
            assert_eq!(raw.peer.get(AT_SESSION), number);
            assert_eq!(raw.peer.get(AT_EPOCH), !number);
            guest.join().unwrap().unwrap();
        }
    });
}

#[test]
fn a_raw_writer_that_keeps_the_protocol_gets_everything_from_a_real_reader() {
    bounded(|| {
        for hosting in [true, false] {
            let (reader, raw) = real_reader(hosting);
            let mut block = reader.empty_block().unwrap();
            block[..5].copy_from_slice(b"water");
            block.send_as(5, Label::new(7, 9)).unwrap();
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

#[test]
fn a_verdict_that_comes_while_its_writer_is_dismissed_stands() {
    bounded(|| {
        // It comes in time sooner or later.
        loop {
            let (reader, raw) = real_reader(true);
            reader.close().unwrap();
            let (ready, is_ready) = mpsc::channel();
            let writer = thread::spawn(move || {
                ready.send(()).unwrap();
                while raw.peer.get32(AT_STATE) != ABORTED {
                    std::hint::spin_loop();
                }
                raw.own.put32(AT_STATE, ENDED);
                raw
            });
            is_ready.recv().unwrap();
            let dismissed = reader.dismiss(7, "not fit");
            drop(writer.join().unwrap());
            match dismissed {
                Ok(unreturned) => assert!(unreturned.is_empty()),
                Err(Error::InvalidUse(why)) => return assert!(why.contains("verdict"), "{why}"),
                Err(error) => panic!("{error:?}"),
            }
        }
    });
}

// ---- a Reader that goes on with another Writer -------------------------------------------

/// A real Reader that has sent `water` and `fires`, of which the first was given back, and
/// has lost its raw Writer. The number of their session.
fn lost_writer(hosting: bool) -> (Unreturned, u64) {
    let (reader, raw) = real_reader(hosting);
    for (tag, bytes) in [(5, b"water"), (6, b"fires")] {
        let mut block = reader.empty_block().unwrap();
        block[..5].copy_from_slice(bytes);
        block.send_as(5, Label::new(9, tag)).unwrap();
    }
    reader.post(1, b"a letter").unwrap();
    raw.put_returned(0, 0);
    raw.own.put(AT_PUBLISHED, 1);
    let session = raw.peer.get(AT_SESSION);
    drop(raw);
    let error = reader.finish_until(soon()).unwrap_err();
    assert!(matches!(error, Error::PartnerDied { .. }), "{error:?}");
    (reader.into_unreturned().unwrap(), session)
}

/// And that this is all, and all of it is given back.
fn assert_was_sent_again(raw: &Raw) {
    // The end of the data, too.
    while raw.peer.get32(AT_STATE) != ENDED {
        thread::yield_now();
    }
    assert_eq!(raw.peer.get(AT_PUBLISHED), 1);
    assert_eq!(raw.peer.get(AT_LETTERS), 0);
    let entry = raw.peer.get(AT_QUEUE);
    let block = (entry >> 32 & 0xffff) as usize;
    assert_eq!(entry & !(0xffff << 32), 5 | 9 << 48);
    assert_eq!(raw.peer.get(AT_QUEUE + 8), 6);
    assert_eq!(raw.peer.bytes(AT_BLOCKS + block * 64, 5), b"fires");
    raw.put_returned(0, block as u64);
    raw.publish(1);
    raw.set_state(ENDED);
}

#[test]
fn a_reader_that_goes_on_as_host_shows_the_next_epoch_of_its_session_and_all_else_at_zero() {
    bounded(|| {
        let (mut unreturned, session) = lost_writer(true);
        let place = Place::new();
        let name = place.name.clone();
        let reader = thread::spawn(move || unreturned.rejoin(&name, &options()));
        place.wait_until_there();
        let refused = place.refusal(|late, shown| {
            assert_eq!(shown.get(AT_SESSION), session);
            assert_eq!(shown.get(AT_EPOCH), 2);
            assert!(shown.bytes(128, 640).iter().all(|byte| *byte == 0));
            // An answer to what the first epoch showed.
            let own = Region::of(WRITER);
            own.put(AT_SESSION, session);
            offer(late, &own);
        });
        assert_eq!(refused.0, 7);
        let raw = place.join_raw(Region::of(WRITER));
        assert_was_sent_again(&raw);
        let reader = reader.join().unwrap().unwrap();
        assert_eq!(reader.verdict_until(soon()).unwrap().blocks, 1);
    });
}

#[test]
fn a_reader_that_goes_on_as_second_takes_the_hosts_numbers() {
    bounded(|| {
        let (mut unreturned, _) = lost_writer(false);
        let place = Place::new();
        let name = place.name.clone();
        let host = place.raw_host();
        let reader = thread::spawn(move || unreturned.rejoin(&name, &options()));
        let own = Region::of(WRITER);
        own.put(AT_SESSION, 42);
        own.put(AT_EPOCH, 7);
        let raw = host.admit(own);
        assert_eq!(raw.peer.get(AT_SESSION), 42);
        assert_eq!(raw.peer.get(AT_EPOCH), 7);
        assert_was_sent_again(&raw);
        let reader = reader.join().unwrap().unwrap();
        assert_eq!(reader.verdict_until(soon()).unwrap().blocks, 1);
    });
}

/// A real Reader whose Writer, another process, was killed with two blocks.
fn killed_writer() -> Unreturned {
    let place = Place::new();
    let host = place.real_host(Side::Reader);
    let mut second = Other::start("second", &place.name);
    second.reaches("paired");
    let Role::Reader(reader) = host.join().unwrap().unwrap() else {
        panic!("the host is no Reader");
    };
    for tag in 0..2 {
        let block = reader.empty_block().unwrap();
        block.send(1, tag).unwrap();
    }
    second.kill();
    let error = reader.finish_until(soon()).unwrap_err();
    assert!(matches!(error, Error::PartnerDied { .. }), "{error:?}");
    reader.into_unreturned().unwrap()
}

#[test]
fn what_was_shown_to_a_host_that_may_have_let_this_process_in_is_not_shown_to_another() {
    bounded(|| {
        let mut unreturned = killed_writer();
        let (silent, place) = (Place::new(), Place::new());
        let name = silent.name.clone();
        let host = silent.raw_host();
        let rejoining = thread::spawn(move || {
            let result = unreturned.rejoin(&name, &options());
            (unreturned, result)
        });
        let channel = host.accept();
        offer(&channel, &Region::of(WRITER));
        let (shown, _bell) = channel.receive_offer();
        let (mut unreturned, result) = rejoining.join().unwrap();
        assert!(matches!(result, Err(Error::NotAnswering { .. })));
        // It may take itself for the partner.
        channel.admit();
        let name = place.name.clone();
        let writer = thread::spawn(move || {
            let Role::Writer(writer) = join(&name, &options().side(Side::Writer)).unwrap() else {
                panic!("no Writer");
            };
            while writer.data_block_until(soon()).unwrap().is_some() {}
            writer.finish().unwrap().blocks
        });
        let reader = unreturned.rejoin(&place.name, &options()).unwrap();
        reader.verdict_until(soon()).unwrap();
        assert_eq!(writer.join().unwrap(), 2);
        assert_eq!(shown.get(AT_PUBLISHED), 0);
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
        for found in [65, u64::from(u32::MAX >> 1)] {
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
        raw.own.put32(AT_REASON_CODE, 77);
        raw.own
            .put(AT_REASON, u64::from_ne_bytes(*b"\x1b[31m\xff\xfe!"));
        raw.set_state(ABORTED);
        match writer.data_block_until(soon()).unwrap_err() {
            Error::PartnerAborted { reason, code, .. } => {
                assert_eq!(code, 77);
                assert!(!reason.chars().any(char::is_control), "{reason:?}");
                assert_eq!(reason.chars().count(), 1024);
            }
            error => panic!("{error:?}"),
        }
    });
}

// ---- joining: a raw guest -----------------------------------------------------------------

/// An offer that must not be taken, and what the refusal must say of it.
type Offer = (&'static str, fn(&Channel));

fn offer(channel: &Channel, region: &Region) {
    channel.offer(region, &Bell::new());
}

fn changed(channel: &Channel, change: impl FnOnce(&Region)) {
    let region = Region::of(WRITER);
    change(&region);
    offer(channel, &region);
}

fn sized(channel: &Channel, len: usize) {
    let region = Region::new(len);
    region.fill_head(WRITER);
    offer(channel, &region);
}

/// Made as a Writer's, beside a real Reader.
const BAD_OFFERS: [Offer; 15] = [
    ("version 1", |c| changed(c, |r| r.put32(AT_VERSION, 1))),
    ("in layout 0x7", |c| changed(c, |r| r.put(AT_STAMP, 7))),
    ("is not brigade", |c| changed(c, |r| r.put(0, 0))),
    ("5 blocks", |c| changed(c, |r| r.put(AT_BLOCK_COUNT, 5))),
    ("65 bytes", |c| changed(c, |r| r.put(AT_BLOCK_SIZE, 65))),
    ("both ways", |c| changed(c, |r| r.put32(AT_WAYS, 2))),
    ("both ways", |c| changed(c, |r| r.put32(AT_WAYS, 0))),
    ("a region of another lane", |c| {
        changed(c, |r| r.put32(AT_LANE, 1))
    }),
    ("a role that does not exist", |c| {
        changed(c, |r| r.put32(AT_ROLE, 0))
    }),
    ("a role that does not exist", |c| {
        changed(c, |r| r.put32(AT_ROLE, 3))
    }),
    ("region of the wrong size", |c| {
        changed(c, |r| r.put32(AT_ROLE, READER))
    }),
    ("want to be the reader", |c| offer(c, &Region::of(READER))),
    ("region of the wrong size", |c| {
        sized(c, WRITER_REGION + 4096)
    }),
    ("region of the wrong size", |c| sized(c, 4096)),
    ("unknown kind", |c| c.send_kind(99)),
];

/// The number of the reason, for the text of a refusal.
fn number_for(text: &str) -> u16 {
    match text {
        _ if text.starts_with("version") => 2,
        _ if text.ends_with("blocks") || text.ends_with("bytes") => 3,
        _ if text == "both ways" => 4,
        _ if text.starts_with("want to be") => 5,
        _ => 7,
    }
}

fn bad_offers() -> impl Iterator<Item = &'static Offer> {
    BAD_OFFERS.iter().chain(system::BAD_OFFERS)
}

#[test]
fn a_guest_with_a_bad_offer_is_told_what_is_wrong_and_the_host_takes_the_next() {
    bounded(|| {
        let place = Place::new();
        let host = place.real_host(Side::Reader);
        for (expected, bad) in bad_offers() {
            let (number, text) = place.refusal(|channel, _| bad(channel));
            assert!(text.contains(expected), "{text:?}, not {expected:?}");
            assert_eq!(number, number_for(expected), "{text}");
        }
        assert!(!host.is_finished());
        place.assert_real_pair_works(host);
    });
}

#[test]
fn a_guest_that_shows_another_session_or_epoch_is_refused_and_told_both() {
    bounded(|| {
        let place = Place::new();
        let host = place.real_host(Side::Reader);
        let changes: [fn(&Region); 5] = [
            |r| r.put(AT_SESSION, !r.get(AT_SESSION)),
            |r| r.put(AT_SESSION, 0),
            |r| r.put(AT_EPOCH, 0),
            |r| r.put(AT_EPOCH, 2),
            |r| r.put(AT_EPOCH, u64::MAX),
        ];
        for change in changes {
            let named = |r: &Region| {
                let (epoch, session) = (r.get(AT_EPOCH), r.get(AT_SESSION));
                format!("epoch {epoch} of session {session:016x}")
            };
            let both = Cell::new([const { String::new() }; 2]);
            let (number, text) = place.refusal(|channel, shown| {
                let own = Region::of(WRITER);
                own.copy_numbers(shown);
                change(&own);
                offer(channel, &own);
                both.set([named(&own), named(shown)]);
            });
            assert_eq!(number, 7, "{text}");
            for named in both.take() {
                assert!(text.contains(&named), "{text}, not {named}");
            }
        }
        place.assert_real_pair_works(host);
    });
}

/// Sizes of the regions that version 1 had for these blocks.
const READER_REGION_1: usize = 12288;
const WRITER_REGION_1: usize = 8192;

/// As version 1 made it.
fn region_1(role: u32, len: usize) -> Region {
    let region = Region::new(len);
    region.fill_head(role);
    region.put32(AT_VERSION, 1);
    region.put(AT_EPOCH, 0);
    region.put32(AT_WAYS, 0);
    region
}

fn assert_names_both_versions(text: &str) {
    assert!(text.contains("version 1"), "{text}");
    assert!(text.contains("version 2"), "{text}");
}

#[test]
fn a_guest_of_version_1_sees_the_hosts_version_and_is_told_both() {
    bounded(|| {
        let place = Place::new();
        let host = place.real_host(Side::Reader);
        let (number, text) = place.refusal(|channel, shown| {
            channel.be_of_version_1();
            // What version 1 looks at first, where it looks for it.
            assert_eq!(shown.bytes(0, 8), MAGIC);
            assert_eq!(shown.get32(AT_VERSION), 2);
            offer(channel, &region_1(WRITER, WRITER_REGION_1));
        });
        assert_eq!(number, 2);
        assert_names_both_versions(&text);
        // What it would say itself is no reason to stop waiting.
        let channel = place.connect();
        channel.be_of_version_1();
        let _shown = channel.receive_offer();
        channel.refuse(0, b"process 7 has protocol version 1");
        assert_eq!(channel.receive_kind(), None);
        place.assert_real_pair_works(host);
    });
}

#[test]
fn a_host_of_version_1_is_refused_with_both_versions_and_its_own_refusal_is_read() {
    bounded(|| {
        let place = Place::new();
        let (host, guest) = (place.raw_host(), place.real_guest());
        let channel = host.accept();
        channel.be_of_version_1();
        offer(&channel, &region_1(READER, READER_REGION_1));
        let (number, told) = channel.receive_refusal();
        assert_eq!(number, 2);
        match guest.join().unwrap().unwrap_err() {
            Error::Refused { reason, text } => {
                assert_eq!(reason, Refusal::OtherVersion { version: 1 });
                assert_eq!(text, told);
                assert_names_both_versions(&text);
            }
            error => panic!("{error:?}"),
        }
        drop(channel);
        let guest = place.real_guest();
        let channel = host.accept();
        channel.be_of_version_1();
        channel.refuse(0, b"no room");
        match guest.join().unwrap().unwrap_err() {
            Error::Refused { reason, text } => {
                assert_eq!(reason, Refusal::ByPartner { number: 0 });
                assert_eq!(text, "no room");
            }
            error => panic!("{error:?}"),
        }
    });
}

#[test]
fn a_guest_that_leaves_at_any_step_before_its_offer_leaves_the_host_waiting() {
    bounded(|| {
        let place = Place::new();
        let host = place.real_host(Side::Reader);
        drop(place.connect());
        let channel = place.connect();
        let _shown = channel.receive_offer();
        drop(channel);
        for nonsense in [ADMITTED, REFUSED] {
            let channel = place.connect();
            let _shown = channel.receive_offer();
            channel.send_kind(nonsense);
            assert_eq!(channel.receive_kind(), None, "the channel is closed");
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
            let channel = place.connect();
            let (shown, _bell) = channel.receive_offer();
            let own = Region::of(WRITER);
            own.copy_numbers(&shown);
            offer(&channel, &own);
            drop(channel);
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

// ---- joining: a raw host ------------------------------------------------------------------

#[test]
fn a_host_with_a_bad_offer_is_refused_by_the_guest_and_told_why() {
    bounded(|| {
        for (expected, bad) in bad_offers() {
            // Beside a guest that takes either side this one is good.
            if *expected == "want to be the reader" {
                continue;
            }
            let place = Place::new();
            let (host, guest) = (place.raw_host(), place.real_guest());
            let channel = host.accept();
            bad(&channel);
            let told = channel.receive_refusal();
            match guest.join().unwrap().unwrap_err() {
                Error::Refused { reason, text } => {
                    assert!(text.contains(expected), "{text:?}, not {expected:?}");
                    assert_eq!(reason.number(), number_for(expected), "{text}");
                    assert_eq!((reason.number(), text), told);
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
        let channel = host.accept();
        channel.refuse(0, b"no\n\x1b[2J\xff");
        match guest.join().unwrap().unwrap_err() {
            Error::Refused { text, .. } => assert_eq!(text, "no\u{fffd}\u{fffd}[2J\u{fffd}"),
            error => panic!("{error:?}"),
        }
    });
}

#[test]
fn the_number_of_a_hosts_refusal_is_what_the_guest_gets_as_data() {
    bounded(|| {
        let process_id = std::process::id();
        for expected in [
            Refusal::OtherWays,
            Refusal::SameSide,
            Refusal::OtherProcess { process_id },
            Refusal::Malformed,
            Refusal::ByPartner { number: 0 },
            Refusal::ByPartner { number: 3 },
            Refusal::ByPartner { number: u16::MAX },
        ] {
            let place = Place::new();
            let (host, guest) = (place.raw_host(), place.real_guest());
            host.accept().refuse(expected.number(), b"no");
            let error = guest.join().unwrap().unwrap_err();
            assert_eq!(error.code(), 100 + i32::from(expected.number()));
            match error {
                Error::Refused { reason, text } => assert_eq!((reason, &*text), (expected, "no")),
                error => panic!("{error:?}"),
            }
        }
    });
}

#[test]
fn a_host_that_closes_the_channel_at_any_step_is_full_as_long_as_it_holds_the_name() {
    bounded(|| {
        for after_offer in [false, true] {
            let place = Place::new();
            let (host, guest) = (place.raw_host(), place.real_guest());
            let over = Arc::new(AtomicBool::new(false));
            let seen = Arc::clone(&over);
            let closing = thread::spawn(move || {
                // Until the guest has given up: it tries anew each time.
                let mut turns = 0;
                while !seen.load(Ordering::Acquire) {
                    let Some(channel) = host.accept_within(Duration::from_millis(10)) else {
                        continue;
                    };
                    if after_offer {
                        offer(&channel, &Region::of(READER));
                        let _offered = channel.receive_kind();
                    } else {
                        thread::sleep(Duration::from_millis(5));
                    }
                    turns += 1;
                }
                turns
            });
            let error = guest.join().unwrap().unwrap_err();
            assert!(matches!(error, Error::TooManyInstances { .. }), "{error:?}");
            over.store(true, Ordering::Release);
            assert!(closing.join().unwrap() >= 1);
        }
    });
}

#[test]
fn a_guest_whose_host_dies_while_it_joins_becomes_the_first() {
    bounded(|| {
        for after_offer in [false, true] {
            let place = Place::new();
            let host = place.raw_host();
            let name = place.name.clone();
            let guest = thread::spawn(move || Seat::take(&name, &options()));
            let channel = host.accept();
            if after_offer {
                offer(&channel, &Region::of(READER));
                let _shown = channel.receive_offer();
            }
            drop((host, channel));
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
        let channel = host.accept();
        let error = guest.join().unwrap().unwrap_err();
        assert!(matches!(error, Error::NotAnswering { .. }), "{error:?}");
        assert!(since.elapsed() < Duration::from_secs(10));
        drop(channel);
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
        5 => raw.link.disturb(&raw.peer_bell),
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

/// The least rounds of it, which on a busy machine take longer.
const ROUNDS: u64 = 20;

fn fire_at_writer(seed: u64) {
    let (writer, raw) = real_writer(seed.is_multiple_of(2));
    under_fire(raw, seed, move || {
        let deadline = Instant::now() + Duration::from_millis(100);
        let mut held = Vec::new();
        let error = loop {
            match writer.data_block_until(deadline) {
                Ok(Some(block)) => {
                    assert!(block.len() <= BLOCK_SIZE as usize);
                    std::hint::black_box(block.iter().filter(|byte| **byte != 0).count());
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
}

fn fire_at_reader(seed: u64) {
    let (reader, raw) = real_reader(seed.is_multiple_of(2));
    under_fire(raw, seed, move || {
        let deadline = Instant::now() + Duration::from_millis(100);
        let error = loop {
            match reader.empty_block_until(deadline) {
                Ok(mut block) => {
                    block.fill(1);
                    // A breach found on the way to the block has ended all.
                    if let Err(error) = block.send(64, 0) {
                        break error;
                    }
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
}

#[test]
fn a_real_writer_survives_a_reader_that_writes_random_bytes_everywhere() {
    bounded(|| {
        let until = Instant::now() + SCRIBBLED_FOR;
        for seed in 1.. {
            if seed > ROUNDS && Instant::now() >= until {
                break;
            }
            fire_at_writer(seed);
        }
    });
}

#[test]
fn a_real_reader_survives_a_writer_that_writes_random_bytes_everywhere() {
    bounded(|| {
        let until = Instant::now() + SCRIBBLED_FOR;
        for seed in 1.. {
            if seed > ROUNDS && Instant::now() >= until {
                break;
            }
            fire_at_reader(seed);
        }
    });
}

#[test]
fn a_real_host_survives_guests_whose_regions_are_random_bytes() {
    bounded(|| {
        let place = Place::new();
        let mut random = Random(42);
        let host = place.real_host(Side::Reader);
        for _ in 0..500 {
            let region = Region::of(WRITER);
            // At least one word of the head that is compared, so never a good one.
            for at in [AT_STAMP, random.below(1024) as usize * 8] {
                region.put(at, random.next());
            }
            let (_, text) = place.refusal(|channel, _| offer(channel, &region));
            assert!(!text.is_empty());
        }
        assert!(!host.is_finished());
        place.assert_real_pair_works(host);
    });
}

// ---- other processes ----------------------------------------------------------------------

/// Says to [`the_process_that_other_tests_start`] what to do, and with which name.
const TASK: &str = "BRIGADE_RAW_PEER_TASK";
const NAME: &str = "BRIGADE_RAW_PEER_NAME";

/// Another process of this program, which goes on from step to step when it is told
/// to, and can be killed.
struct Other {
    process: Child,
    said: BufReader<ChildStdout>,
}

impl Other {
    fn start(task: &str, name: &str) -> Other {
        let program = std::env::current_exe().unwrap();
        let mut process = Command::new(program)
            .args([
                "the_process_that_other_tests_start",
                "--exact",
                "--nocapture",
            ])
            .env(TASK, task)
            .env(NAME, name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(process.stdout.take().unwrap());
        Other { process, said }
    }

    /// Waits until it has come to `step`.
    fn reaches(&mut self, step: &str) {
        let mut line = String::new();
        // The test harness has something to say, too.
        while !line.contains(step) {
            line.clear();
            assert_ne!(self.said.read_line(&mut line).unwrap(), 0, "not {step}");
        }
    }

    fn go_on(&mut self) {
        let mut stdin = self.process.stdin.as_ref().unwrap();
        stdin.write_all(b"\n").unwrap();
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // It may have ended or been killed already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// In the other process: says that it has come to `step`, and waits to be told to go
/// on.
fn at(step: &str) {
    let mut stdout = io::stdout();
    writeln!(stdout, "{step}").unwrap();
    stdout.flush().unwrap();
    // At the end of the file, the process that asked is gone.
    io::stdin().read_line(&mut String::new()).unwrap();
}

/// What the other process does if it is the host.
fn child_host(name: &str) {
    let seat = Seat::take(name, &options()).unwrap();
    assert!(seat.is_first());
    at("seated");
    let role = seat.wait().unwrap();
    at("paired");
    drop(role);
    at("dropped");
}

fn child_second(name: &str) {
    let seat = Seat::take(name, &options()).unwrap();
    assert!(!seat.is_first());
    let role = seat.wait().unwrap();
    at("paired");
    drop(role);
    at("dropped");
}

#[test]
fn the_process_that_other_tests_start() {
    let (Ok(task), Ok(name)) = (std::env::var(TASK), std::env::var(NAME)) else {
        return;
    };
    match task.as_str() {
        "host" => child_host(&name),
        "second" => child_second(&name),
        task => system::child(task, &name),
    }
}

/// Long enough for another thread to have gone to sleep in a call.
const A_WHILE: Duration = Duration::from_millis(100);

/// How much of the half second for which a joiner tries may be over when what it waits
/// for happens.
const MOST_OF_THE_PATIENCE: Duration = Duration::from_millis(350);

/// One that arrives at a name: when it began, and what becomes of it.
fn third(name: &str) -> (Instant, JoinHandle<Result<Seat, Error>>) {
    let name = name.to_owned();
    let since = Instant::now();
    let thread = thread::spawn(move || Seat::take(&name, &options()));
    (since, thread)
}

#[test]
fn when_a_host_is_killed_its_second_learns_of_it_and_a_third_that_waits_becomes_the_first() {
    bounded(|| {
        loop {
            let place = Place::new();
            let mut host = Other::start("host", &place.name);
            host.reaches("seated");
            host.go_on();
            let Role::Writer(writer) = join(&place.name, &options()).unwrap() else {
                panic!("the second is no Writer");
            };
            host.reaches("paired");
            let (arrived, third) = third(&place.name);
            let survivor = thread::spawn(move || {
                let error = writer.data_block_until(soon()).unwrap_err();
                (error, Instant::now(), writer)
            });
            thread::sleep(A_WHILE);
            let killed = Instant::now();
            host.kill();
            let in_time = arrived.elapsed() < MOST_OF_THE_PATIENCE;
            // It stays, as a survivor has no hold on the name.
            let (error, told, _writer) = survivor.join().unwrap();
            assert!(matches!(error, Error::PartnerDied { .. }), "{error:?}");
            assert!(told - killed < Duration::from_secs(5));
            let seat = third.join().unwrap();
            // On a machine so busy that it took this long, the third may have given up.
            if in_time {
                assert!(seat.unwrap().is_first());
                break;
            }
        }
    });
}

#[test]
fn when_a_host_is_killed_before_anybody_could_join_it_one_that_waits_becomes_the_first() {
    bounded(|| {
        loop {
            let place = Place::new();
            let mut host = Other::start("host", &place.name);
            host.reaches("seated");
            let (arrived, third) = third(&place.name);
            thread::sleep(A_WHILE);
            host.kill();
            let in_time = arrived.elapsed() < MOST_OF_THE_PATIENCE;
            let seat = third.join().unwrap();
            if in_time {
                let seat = seat.unwrap();
                assert!(seat.is_first());
                let host = thread::spawn(move || seat.wait());
                place.assert_real_pair_works(host);
                break;
            }
        }
    });
}

#[test]
fn when_a_second_is_killed_its_host_learns_of_it() {
    bounded(|| {
        let place = Place::new();
        let host = place.real_host(Side::Reader);
        let mut second = Other::start("second", &place.name);
        second.reaches("paired");
        let Role::Reader(reader) = host.join().unwrap().unwrap() else {
            panic!("the host is no Reader");
        };
        send_all(&reader);
        let killed = Instant::now();
        second.kill();
        let error = reader.empty_block_until(soon()).unwrap_err();
        assert!(matches!(error, Error::PartnerDied { .. }), "{error:?}");
        assert!(killed.elapsed() < Duration::from_secs(5));
    });
}
