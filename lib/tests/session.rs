//! A session through the public interface. Two threads stand for the two
//! processes, which to the system differ in nothing but that neither can die alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

mod common;

use std::collections::VecDeque;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use brigade::{
    BLOCK_COUNT_MAX, BLOCK_SIZE_MAX, DataBlock, Delivered, EmptyBlock, Error, FIGURES,
    GREETING_MAX, LETTER_MAX, LETTERS, Label, Monitor, Options, Reader, Role, Seat, Side, Writer,
    join,
};
use common::{LIMIT, bounded};
use proptest::prelude::*;
use tempfile::TempDir;

/// Long enough for another thread to have gone to sleep in a call.
const A_WHILE: Duration = Duration::from_millis(50);

/// A name that nobody else has.
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

    /// The first one, in a thread of its own, already to be met.
    fn host(&self, options: &Options) -> JoinHandle<Result<Role, Error>> {
        let seat = Seat::take(&self.name, options).unwrap();
        assert!(seat.is_first());
        thread::spawn(move || seat.wait())
    }

    fn pair(&self, options: &Options) -> (Reader, Writer) {
        let host = self.host(options);
        let second = join(&self.name, options).unwrap();
        reader_and_writer(host.join().unwrap().unwrap(), second)
    }
}

fn pair(options: &Options) -> (Reader, Writer) {
    Place::new().pair(options)
}

fn reader_and_writer(one: Role, other: Role) -> (Reader, Writer) {
    match (one, other) {
        (Role::Reader(reader), Role::Writer(writer))
        | (Role::Writer(writer), Role::Reader(reader)) => (reader, writer),
        both => panic!("two of a kind: {both:?}"),
    }
}

fn blocks(size: usize, count: usize) -> Options {
    Options::new().block_size(size).block_count(count)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(20)
}

/// Sends `bytes` under `tag`.
fn send(reader: &Reader, bytes: &[u8], tag: u64) {
    let mut block = reader.empty_block().unwrap();
    block[..bytes.len()].copy_from_slice(bytes);
    block.send(bytes.len(), tag).unwrap();
}

/// Drains everything and gives the verdict.
fn drain(writer: Writer) -> Vec<u8> {
    let mut data = Vec::new();
    while let Some(block) = writer.data_block().unwrap() {
        data.extend_from_slice(&block);
    }
    writer.finish().unwrap();
    data
}

/// That this pair works, from the first block to the verdict.
fn assert_works(reader: Reader, writer: Writer) {
    let writer = thread::spawn(move || drain(writer));
    send(&reader, b"water", 0);
    let delivered = reader.finish().unwrap();
    assert_eq!((delivered.blocks, delivered.bytes), (1, 5));
    assert_eq!(writer.join().unwrap(), b"water");
}

fn partner_aborted<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result.unwrap_err() {
        Error::PartnerAborted { reason, .. } => reason,
        error => panic!("{error:?}"),
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result.unwrap_err() {
        Error::Refused { text, .. } => text,
        error => panic!("{error:?}"),
    }
}

fn nothing<T: std::fmt::Debug>(result: Result<Option<T>, Error>) {
    assert!(matches!(result, Ok(None)), "{result:?}");
}

fn timed_out<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::TimedOut)), "{result:?}");
}

// ---- joining ----------------------------------------------------------------------

#[test]
fn a_role_gives_the_end_that_it_is_and_of_the_other_nothing_but_word_to_the_partner() {
    let roles = || {
        let place = Place::new();
        let host = place.host(&Options::new());
        let second = join(&place.name, &Options::new()).unwrap();
        (host.join().unwrap().unwrap(), second)
    };
    let (host, second) = roles();
    let reader = host.into_reader().unwrap();
    assert!(second.into_reader().is_none());
    let error = reader.finish().unwrap_err();
    assert!(matches!(error, Error::PartnerAborted { .. }), "{error:?}");
    let (host, second) = roles();
    let writer = second.into_writer().unwrap();
    assert!(host.into_writer().is_none());
    let error = writer.data_block().unwrap_err();
    assert!(matches!(error, Error::PartnerAborted { .. }), "{error:?}");
}

#[test]
fn the_first_to_come_is_the_reader_and_the_second_the_writer() {
    bounded(|| {
        let place = Place::new();
        let host = place.host(&Options::new());
        let second = Seat::take(&place.name, &Options::new()).unwrap();
        assert!(!second.is_first());
        assert_eq!(second.side(), Side::Writer);
        let Role::Writer(writer) = second.wait().unwrap() else {
            panic!("the second is no Writer");
        };
        let Role::Reader(reader) = host.join().unwrap().unwrap() else {
            panic!("the first is no Reader");
        };
        assert_works(reader, writer);
    });
}

#[test]
fn a_fixed_side_is_kept_whoever_comes_first() {
    bounded(|| {
        let (reader, writer) = (Some(Side::Reader), Some(Side::Writer));
        for (first, second) in [
            (reader, writer),
            (writer, reader),
            (reader, None),
            (writer, None),
            (None, writer),
        ] {
            let place = Place::new();
            let with = |side: Option<Side>| side.map_or(Options::new(), |s| Options::new().side(s));
            let host = place.host(&with(first));
            let second = join(&place.name, &with(second)).unwrap();
            let host = host.join().unwrap().unwrap();
            let is_reader = matches!(host, Role::Reader(_));
            assert_eq!(is_reader, first != writer);
            let (reader, writer) = reader_and_writer(host, second);
            assert_works(reader, writer);
        }
    });
}

#[test]
fn two_that_want_the_same_side_are_told_so_and_the_host_waits_on() {
    bounded(|| {
        let place = Place::new();
        let host = place.host(&Options::new().side(Side::Writer));
        let text = refused(join(&place.name, &Options::new().side(Side::Writer)));
        assert_eq!(text, "both processes want to be the writer");
        let second = join(&place.name, &Options::new()).unwrap();
        let (reader, writer) = reader_and_writer(host.join().unwrap().unwrap(), second);
        assert_works(reader, writer);
    });
}

#[test]
fn a_first_by_arrival_is_a_reader_so_a_fixed_reader_is_refused_beside_it() {
    bounded(|| {
        let place = Place::new();
        let host = place.host(&Options::new());
        let text = refused(join(&place.name, &Options::new().side(Side::Reader)));
        assert_eq!(text, "both processes want to be the reader");
        let second = join(&place.name, &Options::new().side(Side::Writer)).unwrap();
        let (reader, writer) = reader_and_writer(host.join().unwrap().unwrap(), second);
        assert_works(reader, writer);
    });
}

#[test]
fn a_third_is_refused_after_half_a_second_and_the_pair_is_undisturbed() {
    bounded(|| {
        let place = Place::new();
        let (reader, writer) = place.pair(&Options::new());
        send(&reader, b"before", 0);
        let since = Instant::now();
        let error = join(&place.name, &Options::new()).unwrap_err();
        let took = since.elapsed();
        assert!(matches!(&error, Error::TooManyInstances { name } if *name == place.name));
        assert!(error.to_string().contains("too many instances"), "{error}");
        assert!(took >= Duration::from_millis(500), "{took:?}");
        assert!(took < Duration::from_secs(3), "{took:?}");
        reader.check().unwrap();
        writer.check().unwrap();
        assert_eq!(&*writer.data_block().unwrap().unwrap(), b"before");
        let writer = thread::spawn(move || drain(writer));
        send(&reader, b"after", 0);
        reader.finish().unwrap();
        assert_eq!(writer.join().unwrap(), b"after");
    });
}

#[test]
fn a_name_is_free_again_when_the_host_has_let_go_of_it() {
    bounded(|| {
        let place = Place::new();
        for _ in 0..3 {
            let (reader, writer) = place.pair(&Options::new());
            assert_works(reader, writer);
        }
        drop(Seat::take(&place.name, &Options::new()).unwrap());
        assert!(Seat::take(&place.name, &Options::new()).unwrap().is_first());
    });
}

#[test]
fn a_host_waits_as_long_as_it_was_told_to_and_no_longer() {
    bounded(|| {
        let place = Place::new();
        let limit = Duration::from_millis(100);
        let since = Instant::now();
        let error = join(&place.name, &Options::new().wait(limit)).unwrap_err();
        assert!(since.elapsed() < Duration::from_secs(3));
        let Error::NoPartner { waited } = error else {
            panic!("{error:?}");
        };
        assert!(waited >= limit, "{waited:?}");
    });
}

#[test]
fn a_wait_beyond_what_a_clock_can_count_is_no_limit() {
    bounded(|| {
        let (reader, writer) = pair(&Options::new().wait(Duration::MAX));
        assert_works(reader, writer);
    });
}

#[test]
fn a_monitor_ends_the_wait_for_a_partner() {
    bounded(|| {
        let place = Place::new();
        let seat = Seat::take(&place.name, &Options::new()).unwrap();
        let monitor = seat.monitor();
        let watching = thread::spawn({
            let monitor = monitor.clone();
            move || monitor.watch()
        });
        let waiting = thread::spawn(move || seat.wait());
        thread::sleep(A_WHILE);
        assert!(monitor.partner().is_none());
        monitor.abort("no patience");
        let error = waiting.join().unwrap().unwrap_err();
        assert!(matches!(&error, Error::Aborted { reason, .. } if reason == "no patience"));
        let watched = watching.join().unwrap();
        assert!(matches!(watched, Err(Error::Aborted { .. })), "{watched:?}");
        assert!(Seat::take(&place.name, &Options::new()).unwrap().is_first());
    });
}

#[test]
fn an_abort_before_the_wait_fails_the_wait() {
    bounded(|| {
        let place = Place::new();
        let seat = Seat::take(&place.name, &Options::new()).unwrap();
        seat.monitor().abort("changed my mind");
        let result = seat.wait();
        assert!(matches!(result, Err(Error::Aborted { .. })), "{result:?}");
    });
}

#[test]
fn a_second_that_gives_its_seat_up_tells_the_host_why() {
    bounded(|| {
        for reason in [Some("no space left"), None] {
            let place = Place::new();
            let host = place.host(&Options::new());
            let seat = Seat::take(&place.name, &Options::new()).unwrap();
            assert!(!seat.is_first());
            match reason {
                Some(reason) => seat.abort(reason),
                None => drop(seat),
            }
            let Role::Reader(reader) = host.join().unwrap().unwrap() else {
                panic!("the first is no Reader");
            };
            let told = partner_aborted(reader.finish());
            assert_eq!(told, reason.unwrap_or("it gave up its place"));
        }
    });
}

#[test]
fn each_sees_the_others_greeting_side_process_and_user() {
    bounded(|| {
        let place = Place::new();
        let longest = [0xa5; GREETING_MAX];
        let host = place.host(&Options::new().greeting(b"\0from the reader"));
        let second = join(&place.name, &Options::new().greeting(&longest)).unwrap();
        let (reader, writer) = reader_and_writer(host.join().unwrap().unwrap(), second);
        assert_eq!(reader.partner().greeting(), longest);
        assert_eq!(writer.partner().greeting(), b"\0from the reader");
        assert_eq!(reader.partner().side(), Side::Writer);
        assert_eq!(writer.partner().side(), Side::Reader);
        for partner in [reader.partner(), writer.partner()] {
            assert_eq!(partner.process_id(), std::process::id());
            assert!(!partner.user().is_empty());
            let text = partner.to_string();
            assert!(text.contains(&format!("process {}", std::process::id())));
        }
        let seen = reader.monitor().partner().unwrap();
        assert_eq!(seen.greeting(), longest);
        assert_works(reader, writer);
    });
}

#[test]
fn another_geometry_is_refused_naming_both_and_the_host_then_pairs_with_the_right_one() {
    bounded(|| {
        let place = Place::new();
        let host = place.host(&blocks(64, 4));
        for (options, theirs) in [
            (blocks(128, 4), "4 blocks of 128 bytes"),
            (blocks(64, 5), "5 blocks of 64 bytes"),
        ] {
            let text = refused(join(&place.name, &options));
            assert!(text.contains("4 blocks of 64 bytes"), "{text}");
            assert!(text.contains(theirs), "{text}");
            assert!(!host.is_finished());
        }
        let second = join(&place.name, &blocks(64, 4)).unwrap();
        let (reader, writer) = reader_and_writer(host.join().unwrap().unwrap(), second);
        assert_works(reader, writer);
    });
}

// ---- options, names and files -------------------------------------------------------

fn invalid_option(name: &str, options: &Options) -> String {
    match Seat::take(name, options).unwrap_err() {
        Error::InvalidOption(text) => text,
        error => panic!("{error:?}"),
    }
}

#[test]
fn an_option_out_of_range_is_refused_and_the_text_says_the_range() {
    let place = Place::new();
    for (size, count) in [
        (0, 1),
        (1, 0),
        (BLOCK_SIZE_MAX + 1, 1),
        (1, BLOCK_COUNT_MAX + 1),
    ] {
        let text = invalid_option(&place.name, &blocks(size, count));
        assert!(text.contains("must be from 1 to"), "{text}");
    }
    let greeting = [0; GREETING_MAX + 1];
    let text = invalid_option(&place.name, &Options::new().greeting(&greeting));
    assert!(text.contains("1025") && text.contains("1024"), "{text}");
    let left = place.directory.path().read_dir().unwrap().count();
    assert_eq!(left, 0, "refused before it is tried");
}

#[test]
fn a_pool_beyond_the_machine_is_refused_and_the_text_says_both_sizes() {
    let place = Place::new();
    let error = Seat::take(&place.name, &blocks(BLOCK_SIZE_MAX, BLOCK_COUNT_MAX)).unwrap_err();
    let Error::OutOfMemory { needed, available } = error else {
        panic!("{error:?}");
    };
    assert!(needed >= 1 << 46 && available < needed);
    let left = place.directory.path().read_dir().unwrap().count();
    assert_eq!(left, 0);
}

/// It does not make the pool: where its Reader has, less memory may be available than that takes.
#[test]
fn a_writer_needs_no_memory_for_the_pool() {
    let place = Place::new();
    let options = blocks(BLOCK_SIZE_MAX, BLOCK_COUNT_MAX).side(Side::Writer);
    let seat = Seat::take(&place.name, &options).unwrap();
    assert_eq!(seat.side(), Side::Writer);
}

#[test]
fn a_name_that_cannot_be_one_is_refused() {
    let place = Place::new();
    let path = place.directory.path().display().to_string();
    for name in [
        String::new(),
        "a/".into(),
        "/".into(),
        "a\0b".into(),
        format!("{path}/.."),
        format!("{path}/"),
    ] {
        let text = invalid_option(&name, &Options::new());
        assert!(text.contains("the name"), "{text}");
    }
}

#[test]
fn a_name_in_a_directory_that_does_not_exist_is_an_error_that_names_it() {
    let place = Place::new();
    let name = format!("{}/missing/n", place.directory.path().display());
    let error = Seat::take(&name, &Options::new()).unwrap_err();
    assert!(error.to_string().contains("missing/n"), "{error}");
}

// ---- blocks -------------------------------------------------------------------------

#[test]
fn both_ends_can_move_to_another_thread_and_a_monitor_be_shared() {
    fn is_send<T: Send>() {}
    fn is_sync<T: Sync>() {}
    is_send::<Reader>();
    is_send::<Writer>();
    is_send::<Seat>();
    is_send::<Monitor>();
    is_sync::<Monitor>();
}

#[test]
fn several_blocks_can_be_held_sent_and_given_back_in_any_order() {
    bounded(|| {
        let (reader, writer) = pair(&blocks(8, 4));
        for round in 0..100u64 {
            let mut held: Vec<_> = (0..4).map(|_| reader.empty_block().unwrap()).collect();
            for tag in 0..4 {
                // From either end of what is held, so not in the order taken.
                let mut block = held.swap_remove(tag as usize % held.len());
                block[0] = tag as u8;
                block.send(1, round * 4 + tag).unwrap();
            }
            let mut arrived: Vec<_> = (0..4)
                .map(|_| writer.data_block().unwrap().unwrap())
                .collect();
            for (tag, block) in arrived.iter().enumerate() {
                assert_eq!((&**block, block.tag() % 4), (&[tag as u8][..], tag as u64));
            }
            arrived.swap_remove(1).done();
            drop(arrived);
        }
        assert_eq!(writer.delivered().blocks, 400);
        assert_eq!(reader.delivered(), writer.delivered());
    });
}

#[test]
fn every_block_has_bytes_of_its_own() {
    bounded(|| {
        for size in [1, 64, 65, 4095, 4096, 5000] {
            let (reader, writer) = pair(&blocks(size, 5));
            let mut held: Vec<_> = (0..5).map(|_| reader.empty_block().unwrap()).collect();
            for (number, block) in held.iter_mut().enumerate() {
                assert_eq!(block.len(), size);
                block.fill(number as u8);
            }
            for block in held {
                block.send(size, 0).unwrap();
            }
            for number in 0..5 {
                let block = writer.data_block().unwrap().unwrap();
                assert!(block.len() == size && block.iter().all(|byte| *byte == number));
            }
        }
    });
}

#[test]
fn an_empty_block_that_is_dropped_unsent_is_empty_again_and_nothing_arrives() {
    bounded(|| {
        let (reader, writer) = pair(&blocks(8, 1));
        for _ in 0..10 {
            drop(reader.try_empty_block().unwrap());
        }
        nothing(writer.try_data_block());
        send(&reader, b"once", 0);
        assert_eq!(&*writer.data_block().unwrap().unwrap(), b"once");
    });
}

#[test]
fn a_length_beyond_the_block_sends_nothing_and_the_block_is_empty_again() {
    bounded(|| {
        let (reader, writer) = pair(&blocks(8, 1));
        let result = reader.empty_block().unwrap().send(9, 0);
        assert!(matches!(result, Err(Error::InvalidUse(_))), "{result:?}");
        nothing(writer.try_data_block());
        assert_works(reader, writer);
    });
}

#[test]
fn a_block_travels_with_its_length_and_its_label() {
    bounded(|| {
        let (reader, writer) = pair(&blocks(100, 4));
        let more = Label {
            kind: u16::MAX,
            tag: u64::MAX,
            more: true,
        };
        let sent = [
            (0, Label::default()),
            (100, more),
            (1, Label::new(7, 1 << 63)),
        ];
        for (len, label) in sent {
            let block = reader.empty_block().unwrap();
            block.send_as(len, label).unwrap();
        }
        reader.empty_block().unwrap().send(3, 4).unwrap();
        for (len, label) in sent.into_iter().chain([(3, Label::new(0, 4))]) {
            let block = writer.data_block().unwrap().unwrap();
            assert_eq!((block.len(), block.label()), (len, label));
            let each = (block.kind(), block.tag(), block.more());
            assert_eq!(each, (label.kind, label.tag, label.more));
        }
    });
}

#[test]
fn try_and_until_time_out_and_the_session_goes_on() {
    bounded(|| {
        let (reader, writer) = pair(&blocks(8, 1));
        nothing(writer.try_data_block());
        let deadline = soon();
        timed_out(writer.data_block_until(deadline));
        assert!(Instant::now() >= deadline);
        timed_out(writer.data_block_until(Instant::now() - Duration::from_millis(1)));
        let block = reader.try_empty_block().unwrap().unwrap();
        nothing(reader.try_empty_block());
        timed_out(reader.empty_block_until(soon()));
        block.send(0, 1).unwrap();
        nothing(reader.try_empty_block());
        let block = writer.try_data_block().unwrap().unwrap();
        timed_out(reader.empty_block_until(soon()));
        drop(block);
        drop(reader.empty_block_until(soon()).unwrap());
        assert_eq!(reader.delivered().blocks, 1);
        send(&reader, b"more", 0);
        assert_eq!(&*writer.data_block_until(soon()).unwrap().unwrap(), b"more");
    });
}

#[test]
fn with_any_number_of_blocks_all_data_arrives_in_order_while_both_ends_run() {
    bounded(|| {
        const MESSAGES: u64 = 5_000;
        for count in [1, 2, 3, 16] {
            let (reader, writer) = pair(&blocks(16, count));
            let writer = thread::spawn(move || {
                let mut next = 0;
                while let Some(block) = writer.data_block().unwrap() {
                    assert_eq!(block.tag(), next);
                    assert_eq!(*block, next.to_le_bytes());
                    next += 1;
                }
                assert_eq!(next, MESSAGES);
                writer.finish().unwrap()
            });
            for tag in 0..MESSAGES {
                send(&reader, &tag.to_le_bytes(), tag);
            }
            let expected = Delivered {
                blocks: MESSAGES,
                bytes: MESSAGES * 8,
            };
            assert_eq!(reader.finish().unwrap(), expected);
            assert_eq!(writer.join().unwrap(), expected);
        }
    });
}

#[test]
fn an_end_that_sleeps_is_woken_however_long_the_other_takes() {
    bounded(|| {
        let (reader, writer) = pair(&blocks(8, 1));
        let writer = thread::spawn(move || {
            let mut tags = Vec::new();
            while let Some(block) = writer.data_block().unwrap() {
                thread::sleep(Duration::from_millis(5));
                tags.push(block.tag());
            }
            writer.finish().unwrap();
            tags
        });
        for tag in 0..10 {
            thread::sleep(Duration::from_millis(5 * (tag % 3)));
            send(&reader, b"", tag);
        }
        reader.finish().unwrap();
        assert!(writer.join().unwrap().into_iter().eq(0..10));
    });
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    TakeEmpty,
    DropUnsent(usize),
    Send(usize, usize),
    TakeData,
    GiveBack(usize),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        3 => Just(Operation::TakeEmpty),
        1 => any::<usize>().prop_map(Operation::DropUnsent),
        4 => (any::<usize>(), 0usize..=24).prop_map(|(pick, len)| Operation::Send(pick, len)),
        3 => Just(Operation::TakeData),
        3 => any::<usize>().prop_map(Operation::GiveBack),
    ]
}

fn pick_from<T>(items: &mut Vec<T>, pick: usize) -> Option<T> {
    (!items.is_empty()).then(|| items.remove(pick % items.len()))
}

/// What a block sent under `tag` holds.
fn contents(tag: u64, len: usize) -> Vec<u8> {
    (0..len).map(|i| (tag as usize + i) as u8).collect()
}

/// Both ends in one thread, which the `try_` variants allow.
fn run_operations(reader: &Reader, writer: &Writer, operations: &[Operation]) {
    let count = reader.block_count();
    let mut filling: Vec<EmptyBlock<'_>> = Vec::new();
    let mut draining: Vec<DataBlock<'_>> = Vec::new();
    let mut sent: VecDeque<(u64, usize)> = VecDeque::new();
    let mut next_tag = 0;
    for operation in operations {
        match *operation {
            Operation::TakeEmpty => {
                let free = count - filling.len() - draining.len() - sent.len();
                match reader.try_empty_block() {
                    Ok(Some(block)) => filling.push(block),
                    Ok(None) => assert_eq!(free, 0),
                    Err(error) => panic!("{error}"),
                }
                assert!(filling.len() + draining.len() + sent.len() <= count);
            }
            Operation::DropUnsent(pick) => drop(pick_from(&mut filling, pick)),
            Operation::Send(pick, len) => {
                if let Some(mut block) = pick_from(&mut filling, pick) {
                    block[..len].copy_from_slice(&contents(next_tag, len));
                    block.send(len, next_tag).unwrap();
                    sent.push_back((next_tag, len));
                    next_tag += 1;
                }
            }
            Operation::TakeData => match (writer.try_data_block(), sent.pop_front()) {
                (Ok(Some(block)), Some((tag, len))) => {
                    assert_eq!((block.tag(), block.len()), (tag, len));
                    draining.push(block);
                }
                (Ok(None), None) => {}
                other => panic!("{other:?}"),
            },
            Operation::GiveBack(pick) => drop(pick_from(&mut draining, pick)),
        }
        // Held blocks keep their bytes, whatever happens to the others.
        for block in &draining {
            assert_eq!(**block, contents(block.tag(), block.len()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_sequence_of_operations_through_the_interface_does_what_a_model_does(
        count in 1usize..=5,
        operations in prop::collection::vec(operation(), 0..200),
    ) {
        let (reader, writer) = pair(&blocks(24, count));
        run_operations(&reader, &writer, &operations);
    }
}

// ---- the end --------------------------------------------------------------------------

#[test]
fn finish_returns_only_after_the_writers_verdict() {
    bounded(|| {
        let (reader, writer) = pair(&blocks(8, 2));
        send(&reader, b"water", 0);
        let judged = std::sync::Arc::new(AtomicBool::new(false));
        let finishing = thread::spawn({
            let judged = std::sync::Arc::clone(&judged);
            move || {
                let result = reader.finish();
                assert!(judged.load(Ordering::SeqCst), "before the verdict");
                result
            }
        });
        drop(writer.data_block().unwrap().unwrap());
        assert!(writer.data_block().unwrap().is_none());
        assert!(writer.data_block().unwrap().is_none(), "stays the end");
        thread::sleep(A_WHILE);
        judged.store(true, Ordering::SeqCst);
        let expected = Delivered {
            blocks: 1,
            bytes: 5,
        };
        assert_eq!(writer.finish().unwrap(), expected);
        assert_eq!(finishing.join().unwrap().unwrap(), expected);
    });
}

#[test]
fn a_session_without_data_ends_well() {
    bounded(|| {
        let (reader, writer) = pair(&Options::new());
        let writer = thread::spawn(move || drain(writer));
        assert_eq!(reader.finish().unwrap(), Delivered::default());
        assert_eq!(writer.join().unwrap(), b"");
    });
}

#[test]
fn finish_before_the_end_of_the_data_is_an_invalid_use_and_the_reader_is_told() {
    bounded(|| {
        let (reader, writer) = pair(&Options::new());
        let result = writer.finish();
        assert!(matches!(result, Err(Error::InvalidUse(_))), "{result:?}");
        drop(writer);
        let reason = partner_aborted(reader.finish());
        assert_eq!(reason, "it stopped before the end of the session");
    });
}

#[test]
fn a_verdict_is_refused_while_a_block_was_not_given_back_and_the_reader_is_told() {
    bounded(|| {
        let (reader, writer) = pair(&blocks(64, 2));
        send(&reader, b"water", 0);
        let reader = thread::spawn(move || reader.finish());
        std::mem::forget(writer.data_block().unwrap().unwrap());
        assert!(writer.data_block().unwrap().is_none());
        let error = writer.finish().unwrap_err();
        assert!(
            matches!(error, Error::NotGivenBack { blocks: 1 }),
            "{error:?}"
        );
        let reason = partner_aborted(reader.join().unwrap());
        assert!(reason.contains("no verdict"), "{reason}");
    });
}

#[test]
fn a_finish_that_times_out_may_be_repeated() {
    bounded(|| {
        let (reader, writer) = pair(&Options::new());
        send(&reader, b"water", 0);
        timed_out(reader.finish_until(soon()));
        nothing(reader.try_verdict());
        drop(writer.data_block().unwrap().unwrap());
        assert!(writer.data_block().unwrap().is_none());
        writer.finish().unwrap();
        assert_eq!(reader.finish_until(soon()).unwrap().bytes, 5);
    });
}

#[test]
fn two_sessions_one_each_way_end_where_both_close_before_they_wait() {
    fn talk(out: &Reader, back: &Writer, word: &[u8]) -> Vec<u8> {
        send(out, word, 0);
        out.close().unwrap();
        let mut heard = Vec::new();
        while let Some(block) = back.data_block().unwrap() {
            heard.extend_from_slice(&block);
        }
        back.finish().unwrap();
        out.verdict().unwrap();
        heard
    }
    bounded(|| {
        let (here, there) = (pair(&Options::new()), pair(&Options::new()));
        let other = thread::spawn(move || talk(&there.0, &here.1, b"answer"));
        assert_eq!(talk(&here.0, &there.1, b"request"), b"answer");
        assert_eq!(other.join().unwrap(), b"request");
    });
}

#[test]
fn nothing_is_sent_after_the_end_and_there_is_no_verdict_before_it() {
    bounded(|| {
        let (reader, writer) = pair(&blocks(8, 2));
        let invalid = |result: Result<(), Error>| {
            assert!(matches!(result, Err(Error::InvalidUse(_))), "{result:?}");
        };
        invalid(reader.verdict().map(drop));
        invalid(reader.try_verdict().map(drop));
        let late = reader.empty_block().unwrap();
        reader.close().unwrap();
        reader.close().unwrap();
        invalid(late.send(1, 0));
        invalid(reader.try_post(0, b"late").map(drop));
        assert!(writer.data_block().unwrap().is_none() && writer.at_end());
        assert!(!writer.have_letters_ended());
        assert!(writer.try_letter().unwrap().is_none() && writer.have_letters_ended());
        writer.finish().unwrap();
        invalid(writer.finish().map(drop));
        invalid(writer.try_post(0, b"late").map(drop));
        assert_eq!(reader.verdict().unwrap(), Delivered::default());
    });
}

#[test]
fn a_writer_can_finish_where_a_block_was_just_matched() {
    fn drain(writer: &Writer) -> Result<Delivered, Error> {
        loop {
            match writer.data_block()? {
                Some(block) => block.done(),
                None => return writer.finish(),
            }
        }
    }
    bounded(|| {
        let (reader, writer) = pair(&Options::new());
        send(&reader, b"water", 0);
        reader.close().unwrap();
        assert_eq!(drain(&writer).unwrap().bytes, 5);
        reader.verdict().unwrap();
    });
}

// ---- letters ------------------------------------------------------------------------

#[test]
fn letters_pass_both_ways_in_order_beside_the_blocks() {
    bounded(|| {
        let (reader, writer) = pair(&blocks(8, 1));
        nothing(writer.try_letter());
        // Longer than there is room for, so that each waits for the other.
        let here = thread::spawn(move || {
            for number in 0..100u16 {
                reader.post(number, &contents(number.into(), 7)).unwrap();
                let answer = reader.letter().unwrap().unwrap();
                assert_eq!((answer.kind, answer.bytes.len()), (number, LETTER_MAX));
            }
            send(&reader, b"water", 0);
            reader.finish().unwrap();
            assert!(reader.letter().unwrap().is_none());
        });
        for number in 0..100u16 {
            let letter = writer.letter().unwrap().unwrap();
            assert_eq!(letter.kind, number);
            assert_eq!(letter.bytes, contents(number.into(), 7));
            writer.post(number, &[1; LETTER_MAX]).unwrap();
        }
        assert!(writer.letter().unwrap().is_none(), "after the end");
        drop(writer.data_block().unwrap().unwrap());
        assert!(writer.data_block().unwrap().is_none());
        writer.finish().unwrap();
        here.join().unwrap();
    });
}

#[test]
fn a_letter_waits_until_there_is_room_for_it_and_a_longer_one_is_refused() {
    bounded(|| {
        let (reader, writer) = pair(&blocks(8, 1));
        for _ in 0..LETTERS {
            assert!(writer.try_post(1, b"").unwrap());
        }
        assert!(!writer.try_post(1, b"").unwrap());
        timed_out(writer.post_until(1, b"", soon()));
        let posting = thread::spawn(move || {
            writer.post(2, b"seventeenth").unwrap();
            writer
        });
        thread::sleep(A_WHILE);
        assert_eq!(reader.letter().unwrap().unwrap().kind, 1);
        let writer = posting.join().unwrap();
        let long = writer.try_post(1, &[0; LETTER_MAX + 1]);
        assert!(matches!(long, Err(Error::InvalidUse(_))), "{long:?}");
        writer.abort("enough");
        for _ in 1..LETTERS {
            assert_eq!(reader.letter().unwrap().unwrap().kind, 1);
        }
        // What was posted before comes before the abort.
        assert_eq!(reader.letter().unwrap().unwrap().bytes, b"seventeenth");
        assert_eq!(partner_aborted(reader.letter()), "enough");
        assert_eq!(partner_aborted(reader.try_letter()), "enough");
    });
}

#[test]
fn the_verdict_stands_after_the_writer_is_gone() {
    bounded(|| {
        let (reader, writer) = pair(&Options::new());
        let monitor = writer.monitor();
        let finishing = thread::spawn(move || reader.finish());
        assert!(writer.data_block().unwrap().is_none());
        writer.finish().unwrap();
        monitor.abort("too late");
        finishing.join().unwrap().unwrap();
    });
}

#[test]
fn a_reason_reaches_the_other_end_from_either_side() {
    bounded(|| {
        let (reader, writer) = pair(&Options::new());
        reader.abort("the source is broken");
        assert_eq!(partner_aborted(writer.data_block()), "the source is broken");
        assert_eq!(
            partner_aborted(writer.try_data_block()),
            "the source is broken"
        );
        assert_eq!(partner_aborted(writer.check()), "the source is broken");
        assert_eq!(
            partner_aborted(writer.monitor().watch()),
            "the source is broken"
        );

        let (reader, writer) = pair(&blocks(8, 1));
        send(&reader, b"water", 0);
        writer.abort("the disk is full");
        assert_eq!(partner_aborted(reader.empty_block()), "the disk is full");
        assert_eq!(partner_aborted(reader.check()), "the disk is full");
        assert_eq!(
            partner_aborted(reader.monitor().watch()),
            "the disk is full"
        );
        assert_eq!(partner_aborted(reader.finish()), "the disk is full");
    });
}

#[test]
fn a_reason_arrives_whole_up_to_its_limit_and_on_one_line() {
    bounded(|| {
        // Cut where a character ends: the 1024th byte is within an "ä".
        let long = format!("x{}", "ä".repeat(600));
        for (given, expected) in [
            (String::new(), String::new()),
            (
                "two\nlines\x1b[1m".into(),
                "two\u{fffd}lines\u{fffd}[1m".into(),
            ),
            (long.clone(), long[..1023].to_string()),
        ] {
            let (reader, writer) = pair(&Options::new());
            reader.abort(&given);
            assert_eq!(partner_aborted(writer.data_block()), expected);
        }
    });
}

#[test]
fn only_the_first_reason_counts() {
    bounded(|| {
        let (reader, writer) = pair(&Options::new());
        reader.monitor().abort("first");
        reader.monitor().abort("second");
        drop(reader);
        assert_eq!(partner_aborted(writer.data_block()), "first");
    });
}

/// What an end that is blocked in `call`, and then its partner, are told when
/// `abort` is called meanwhile.
fn assert_aborts(result: Result<(), Error>) {
    assert!(
        matches!(&result, Err(Error::Aborted { reason, .. }) if reason == "stop"),
        "{result:?}"
    );
}

#[test]
fn a_monitor_wakes_every_call_that_blocks_and_the_partner_gets_the_reason() {
    bounded(|| {
        type Block = fn(Reader) -> Result<(), Error>;
        let reader_calls: [Block; 2] = [
            |reader| {
                let _all = reader.empty_block()?;
                reader.empty_block().map(drop)
            },
            |reader| reader.finish().map(drop),
        ];
        for call in reader_calls {
            let (reader, writer) = pair(&blocks(8, 1));
            let monitor = reader.monitor();
            let blocked = thread::spawn(move || call(reader));
            thread::sleep(A_WHILE);
            monitor.abort("stop");
            assert_aborts(blocked.join().unwrap());
            assert_eq!(partner_aborted(writer.data_block()), "stop");
        }
        let (reader, writer) = pair(&blocks(8, 1));
        let monitor = writer.monitor();
        let blocked = thread::spawn(move || writer.data_block().map(drop));
        thread::sleep(A_WHILE);
        monitor.abort("stop");
        assert_aborts(blocked.join().unwrap());
        assert_eq!(partner_aborted(reader.finish()), "stop");
    });
}

#[test]
fn after_an_abort_what_need_not_wait_succeeds_and_what_would_wait_fails() {
    bounded(|| {
        let (reader, writer) = pair(&blocks(8, 2));
        send(&reader, b"water", 0);
        writer.monitor().abort("stop");
        assert_eq!(&*writer.data_block().unwrap().unwrap(), b"water");
        assert_aborts(writer.data_block().map(drop));
        assert_aborts(writer.try_data_block().map(drop));
        assert_aborts(writer.check());
        drop(reader.empty_block().unwrap());
    });
}

#[test]
fn after_an_abort_nothing_more_is_sent() {
    bounded(|| {
        let (reader, writer) = pair(&blocks(64, 2));
        let block = reader.empty_block().unwrap();
        reader.monitor().abort("stop");
        assert_aborts(block.send(1, 0));
        assert_aborts(reader.post(0, b"late"));
        assert_eq!(partner_aborted(writer.letter()), "stop");
        assert_eq!(partner_aborted(writer.data_block()), "stop");

        let (reader, writer) = pair(&blocks(64, 2));
        writer.monitor().abort("stop");
        assert_aborts(writer.post(0, b"late"));
        assert_eq!(partner_aborted(reader.letter()), "stop");
    });
}

#[test]
fn an_abort_wakes_a_partner_that_sleeps() {
    bounded(|| {
        let (reader, writer) = pair(&Options::new());
        let sleeping = thread::spawn(move || partner_aborted(writer.data_block()));
        thread::sleep(A_WHILE);
        reader.abort("stop");
        assert_eq!(sleeping.join().unwrap(), "stop");

        let (reader, writer) = pair(&Options::new());
        let sleeping = thread::spawn(move || partner_aborted(reader.finish()));
        thread::sleep(A_WHILE);
        writer.abort("stop");
        assert_eq!(sleeping.join().unwrap(), "stop");
    });
}

#[test]
fn an_end_that_is_dropped_early_is_seen_as_aborted_after_all_that_it_sent() {
    bounded(|| {
        let (reader, writer) = pair(&blocks(8, 4));
        send(&reader, b"one", 1);
        send(&reader, b"two", 2);
        drop(reader);
        for expected in [b"one", b"two"] {
            assert_eq!(&*writer.data_block().unwrap().unwrap(), expected);
        }
        let error = writer.data_block().unwrap_err();
        let Error::PartnerAborted {
            partner,
            reason,
            delivered,
            ..
        } = error
        else {
            panic!("{error:?}");
        };
        assert_eq!(partner.side(), Side::Reader);
        assert_eq!(reason, "it stopped before the end of the session");
        assert_eq!((delivered.blocks, delivered.bytes), (2, 6));

        let (reader, writer) = pair(&blocks(8, 4));
        drop(writer);
        assert_eq!(
            partner_aborted(reader.finish()),
            "it stopped before the end of the session"
        );
    });
}

#[test]
fn an_end_whose_thread_panicked_says_so() {
    bounded(|| {
        let (reader, writer) = pair(&Options::new());
        let panicking = thread::spawn(move || {
            let _dropped = writer;
            panic::resume_unwind(Box::new("on purpose"));
        });
        panicking.join().unwrap_err();
        let reason = partner_aborted(reader.finish());
        assert_eq!(reason, "it panicked before the end of the session");
    });
}

// ---- monitors -------------------------------------------------------------------------

#[test]
fn figures_reach_the_partner_and_each_end_has_its_own() {
    bounded(|| {
        let (reader, writer) = pair(&Options::new());
        let (here, there) = (reader.monitor(), writer.monitor());
        assert_eq!(there.partner_figures(), [0; FIGURES]);
        for index in 0..FIGURES {
            here.set_figure(index, 10 + index as u64);
        }
        there.set_figure(3, u64::MAX);
        assert_eq!(there.partner_figures(), [10, 11, 12, 13]);
        assert_eq!(here.partner_figures(), [0, 0, 0, u64::MAX]);
        // Readable after the end, too.
        drop(reader);
        assert_eq!(there.partner_figures(), [10, 11, 12, 13]);
    });
}

#[test]
#[should_panic(expected = "index < FIGURES")]
fn a_figure_beyond_the_last_is_a_panic() {
    let seat = Seat::take(&Place::new().name, &Options::new()).unwrap();
    seat.monitor().set_figure(FIGURES, 0);
}

#[test]
fn all_watches_on_both_ends_return_well_when_the_session_has_ended_well() {
    bounded(|| {
        let (reader, writer) = pair(&Options::new());
        let monitors = [reader.monitor(), reader.monitor(), writer.monitor()];
        let watching = monitors.map(|monitor| thread::spawn(move || monitor.watch()));
        let after = [reader.monitor(), writer.monitor()];
        thread::sleep(A_WHILE);
        assert_works(reader, writer);
        for watch in watching {
            watch.join().unwrap().unwrap();
        }
        for monitor in after {
            monitor.watch().unwrap();
        }
    });
}

#[test]
fn the_end_that_waits_for_its_partner_knows_how_long_while_it_does_and_after_it() {
    bounded(|| {
        let (reader, writer) = pair(&blocks(8, 1));
        let (slow, fast) = (reader.monitor(), writer.monitor());
        let writer = thread::spawn(move || drain(writer));
        let long = Duration::from_millis(100);
        while fast.waited() < long {
            thread::sleep(long / 10);
        }
        send(&reader, b"water", 0);
        assert_eq!(slow.waited(), Duration::ZERO);
        reader.finish().unwrap();
        writer.join().unwrap();
        assert!(fast.waited() >= long, "{:?}", fast.waited());
    });
}

#[test]
fn a_monitor_still_knows_what_was_delivered_when_the_end_is_gone() {
    bounded(|| {
        let (reader, writer) = pair(&Options::new());
        let monitors = [reader.monitor(), writer.monitor()];
        assert_works(reader, writer);
        for monitor in monitors {
            assert_eq!(monitor.delivered().bytes, 5);
        }
    });
}

#[test]
fn a_monitor_that_outlives_both_ends_does_not_keep_the_name() {
    bounded(|| {
        let place = Place::new();
        let (reader, writer) = place.pair(&Options::new());
        let monitors = [reader.monitor(), writer.monitor()];
        assert_works(reader, writer);
        let next = Seat::take(&place.name, &Options::new()).unwrap();
        assert!(next.is_first());
        drop(monitors);
    });
}

#[test]
fn a_name_is_free_when_the_session_is_over_though_other_threads_still_watch() {
    bounded(|| {
        for aborted in [true, false] {
            let place = Place::new();
            let (reader, writer) = place.pair(&Options::new());
            let monitor = reader.monitor();
            let watching = thread::spawn(move || monitor.watch());
            thread::sleep(A_WHILE);
            match aborted {
                // The reader, which hosts, is still there.
                true => reader.monitor().abort("enough"),
                false => {
                    let writer = thread::spawn(move || drain(writer));
                    reader.finish().unwrap();
                    writer.join().unwrap();
                }
            }
            let next = Seat::take(&place.name, &Options::new()).unwrap();
            assert!(next.is_first());
            let _ = watching.join().unwrap();
        }
    });
}

#[test]
fn a_watch_sees_the_partners_fate_while_nobody_else_calls() {
    bounded(|| {
        let (reader, writer) = pair(&Options::new());
        let monitor = writer.monitor();
        let watching = thread::spawn(move || partner_aborted(monitor.watch()));
        thread::sleep(A_WHILE);
        reader.abort("stop");
        assert_eq!(watching.join().unwrap(), "stop");
        drop(writer);
    });
}

#[test]
fn a_watch_returns_when_no_partner_came_and_says_so() {
    bounded(|| {
        let place = Place::new();
        let seat = Seat::take(&place.name, &Options::new().wait(A_WHILE)).unwrap();
        let monitor = seat.monitor();
        let watching = thread::spawn(move || monitor.watch());
        assert!(matches!(seat.wait(), Err(Error::NoPartner { .. })));
        let error = watching.join().unwrap().unwrap_err();
        assert!(error.to_string().contains("no partner came"), "{error}");
    });
}

#[test]
fn a_watch_may_begin_before_the_partner_is_there() {
    bounded(|| {
        let place = Place::new();
        let seat = Seat::take(&place.name, &Options::new()).unwrap();
        let monitor = seat.monitor();
        let watching = thread::spawn(move || monitor.watch());
        let host = thread::spawn(move || seat.wait());
        thread::sleep(A_WHILE);
        let second = join(&place.name, &Options::new()).unwrap();
        let (reader, writer) = reader_and_writer(host.join().unwrap().unwrap(), second);
        assert_works(reader, writer);
        watching.join().unwrap().unwrap();
    });
}

#[test]
fn a_watch_with_a_deadline_ends_by_it_before_the_partner_comes_and_after_and_changes_nothing() {
    bounded(|| {
        let place = Place::new();
        let seat = Seat::take(&place.name, &Options::new()).unwrap();
        let monitor = seat.monitor();
        let is_late = |monitor: &Monitor, limit| {
            let watched = monitor.watch_until(Instant::now() + limit);
            assert!(matches!(watched, Err(Error::TimedOut)), "{watched:?}");
        };
        is_late(&monitor, Duration::ZERO);
        is_late(&monitor, A_WHILE);
        let host = thread::spawn(move || seat.wait());
        let second = join(&place.name, &Options::new()).unwrap();
        let (reader, writer) = reader_and_writer(host.join().unwrap().unwrap(), second);
        let other = writer.monitor();
        for monitor in [&monitor, &other] {
            is_late(monitor, Duration::ZERO);
            is_late(monitor, A_WHILE);
        }
        assert_works(reader, writer);
        for monitor in [&monitor, &other] {
            monitor.watch_until(Instant::now() + LIMIT).unwrap();
        }
    });
}
