//! Whoever has lost its partner goes on with another one: what `rejoin.rs` does not say of
//! Readers, and all of Writers.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

mod common;

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use brigade::{
    BothWays, Error, Label, Options, Reader, Role, Seat, Side, Survivor, Unreturned, Writer, join,
    join_both_ways,
};
use common::{bounded, drain, invalid_use, pair, partner_aborted, patiently, send};
use tempfile::TempDir;

fn place() -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let name = format!("{}/n", directory.path().display());
    (directory, name)
}

fn options() -> Options {
    let options = Options::new().block_size(8).block_count(4);
    options.wait(Duration::from_secs(30))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// The Writer of a pair whose Reader sent `sent` blocks, all of which were taken, and gave up.
fn survivor(sent: u64) -> Survivor {
    let (reader, writer) = pair(8, 4);
    for tag in 0..sent {
        send(&reader, &tag.to_le_bytes(), tag);
        drop(writer.data_block().unwrap().unwrap());
    }
    reader.abort("no source");
    assert_eq!(partner_aborted(writer.data_block()), "no source");
    writer.into_survivor().unwrap()
}

/// Joins as the second: the place of a lost partner, if somebody waits for one there.
fn as_second(name: &str, side: Side) -> Role {
    let until = soon();
    loop {
        let seat = Seat::take(name, &options().side(side)).unwrap();
        if !seat.is_first() {
            return seat.wait().unwrap();
        }
        drop(seat);
        assert!(Instant::now() < until, "nobody waits");
        thread::sleep(Duration::from_millis(1));
    }
}

fn as_reader(name: &str) -> Reader {
    match as_second(name, Side::Reader) {
        Role::Reader(reader) => reader,
        role => panic!("{role:?}"),
    }
}

fn as_writer(name: &str) -> Writer {
    match as_second(name, Side::Writer) {
        Role::Writer(writer) => writer,
        role => panic!("{role:?}"),
    }
}

/// Another Reader, which sends these tags and ends.
fn fill(name: &str, tags: std::ops::Range<u64>) -> thread::JoinHandle<Reader> {
    let name = name.to_owned();
    thread::spawn(move || {
        let reader = as_reader(&name);
        for tag in tags {
            send(&reader, &tag.to_le_bytes(), tag);
        }
        reader.finish_until(soon()).unwrap();
        reader
    })
}

#[test]
fn a_writer_goes_on_with_the_next_reader_and_counts_anew() {
    bounded(|| {
        let (_directory, name) = place();
        let mut survivor = survivor(3);
        let reader = fill(&name, 3..20);
        let writer = patiently(|| survivor.rejoin(&name, &options()));
        assert_eq!(drain(&writer), Vec::from_iter(3..20));
        assert_eq!(writer.delivered().blocks, 17);
        reader.join().unwrap();
        invalid_use(survivor.rejoin(&name, &options()));
    });
}

#[test]
fn a_survivor_whose_rejoin_fails_loses_nothing_and_can_try_again() {
    bounded(|| {
        let (_directory, name) = place();
        let mut survivor = survivor(1);
        let nobody = options().wait(Duration::from_millis(50));
        let error = survivor.rejoin(&name, &nobody).unwrap_err();
        assert!(matches!(error, Error::NoPartner { .. }), "{error:?}");
        let error = survivor.rejoin(&name, &options().block_count(5));
        assert!(matches!(error, Err(Error::InvalidOption(_))), "{error:?}");
        let error = survivor.rejoin(&name, &options().side(Side::Reader));
        assert!(matches!(error, Err(Error::InvalidOption(_))), "{error:?}");
        // Beside another Writer.
        let seat = Seat::take(&name, &options().side(Side::Writer)).unwrap();
        let host = thread::spawn(move || seat.wait());
        let error = survivor.rejoin(&name, &options()).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
        drop(as_reader(&name));
        drop(host.join().unwrap().unwrap());

        let reader = fill(&name, 1..2);
        let writer = patiently(|| survivor.rejoin(&name, &options()));
        assert_eq!(drain(&writer), [1]);
        reader.join().unwrap();
    });
}

#[test]
fn a_wait_for_the_next_partner_ends_when_this_process_gives_it_up_and_can_begin_again() {
    bounded(|| {
        let (_directory, name) = place();
        let mut survivor = survivor(1);
        let mut aborting = None;
        let aborted = survivor.rejoin_with(&name, &options(), |monitor| {
            aborting = Some(thread::spawn(move || {
                thread::sleep(Duration::from_millis(20));
                monitor.abort("enough");
            }));
        });
        assert!(matches!(aborted, Err(Error::Aborted { .. })), "{aborted:?}");
        aborting.unwrap().join().unwrap();
        let reader = fill(&name, 1..2);
        let writer = patiently(|| survivor.rejoin(&name, &options()));
        assert_eq!(drain(&writer), [1]);
        reader.join().unwrap();
    });
}

#[test]
fn the_time_for_a_takeover_is_that_of_all_calls_together() {
    bounded(|| {
        let (_directory, name) = place();
        let mut survivor = survivor(1);
        let limit = options().takeover(Duration::from_secs(2));
        let start = Instant::now();
        for _ in 0..50 {
            let error = survivor.rejoin(&name, &limit).unwrap_err();
            assert!(matches!(error, Error::NoPartner { .. }), "{error:?}");
        }
        // Far less than each for itself.
        assert!(start.elapsed() < Duration::from_secs(60));
    });
}

#[test]
fn a_writer_that_can_still_take_blocks_or_misses_nobody_is_no_survivor() {
    bounded(|| {
        let (reader, writer) = pair(8, 4);
        let why = invalid_use(writer.into_survivor());
        assert!(why.contains("still there"), "{why}");
        drop(reader);

        let (reader, writer) = pair(8, 4);
        send(&reader, b"x", 0);
        drop(reader);
        let why = invalid_use(writer.into_survivor());
        assert!(why.contains("was taken"), "{why}");

        let (reader, writer) = pair(8, 4);
        send(&reader, b"xyz", 0);
        let mut stream = writer.stream();
        stream.read_exact(&mut [0]).unwrap();
        drop(stream);
        drop(reader);
        let why = invalid_use(writer.into_survivor());
        assert!(why.contains("was taken"), "{why}");

        let (reader, writer) = pair(8, 4);
        writer.monitor().abort("enough");
        let why = invalid_use(writer.into_survivor());
        assert!(why.contains("gave up"), "{why}");
        drop(reader);

        let (reader, writer) = pair(8, 4);
        reader.close().unwrap();
        assert!(writer.data_block().unwrap().is_none());
        writer.finish().unwrap();
        drop(reader);
        let why = invalid_use(writer.into_survivor());
        assert!(why.contains("verdict"), "{why}");
    });
}

#[test]
fn nobody_is_dismissed_once_there_is_a_verdict() {
    bounded(|| {
        let (reader, writer) = pair(8, 4);
        reader.close().unwrap();
        assert!(writer.data_block().unwrap().is_none());
        writer.finish().unwrap();
        let why = invalid_use(reader.dismiss(0, "too late"));
        assert!(why.contains("verdict"), "{why}");
        let why = invalid_use(writer.dismiss(0, "too late"));
        assert!(why.contains("verdict"), "{why}");
    });
}

#[test]
fn who_is_dismissed_before_it_was_read_from_or_written_to_hears_why() {
    bounded(|| {
        let (_directory, name) = place();
        let (reader, writer) = pair(8, 4);
        send(&reader, b"x", 0);
        let mut survivor = writer.dismiss(3, "another source").unwrap();
        match reader.check().unwrap_err() {
            Error::PartnerAborted { code, reason, .. } => {
                assert_eq!((code, &*reason), (3, "another source"));
            }
            error => panic!("{error:?}"),
        }
        let Next {
            reader: next,
            writer,
        } = writer_goes_on(&mut survivor, &name);
        // Nothing of what it had sent comes, and it has it still.
        assert!(writer.try_data_block().unwrap().is_none());
        assert_eq!(reader.into_unreturned().unwrap().len(), 1);
        drop((next, writer));
    });
}

/// The ends of the next pair.
struct Next {
    reader: Reader,
    writer: Writer,
}

/// With another Writer.
fn reader_goes_on(unreturned: &mut Unreturned, name: &str) -> Next {
    let other = name.to_owned();
    let writer = thread::spawn(move || as_writer(&other));
    let reader = patiently(|| unreturned.rejoin(name, &options()));
    let writer = writer.join().unwrap();
    Next { reader, writer }
}

/// With another Reader.
fn writer_goes_on(survivor: &mut Survivor, name: &str) -> Next {
    let other = name.to_owned();
    let reader = thread::spawn(move || as_reader(&other));
    let writer = patiently(|| survivor.rejoin(name, &options()));
    let reader = reader.join().unwrap();
    Next { reader, writer }
}

#[test]
fn each_takeover_of_either_side_is_the_next_epoch_of_the_session() {
    bounded(|| {
        let (_directory, name) = place();
        let (reader, writer) = pair(8, 4);
        assert_eq!((reader.epoch(), writer.epoch()), (1, 1));
        let mut next = Next { reader, writer };
        for round in 0..8u64 {
            send(&next.reader, &round.to_le_bytes(), round);
            next = match round % 2 {
                0 => {
                    drop(next.writer);
                    let mut unreturned = next.reader.into_unreturned().unwrap();
                    let next = reader_goes_on(&mut unreturned, &name);
                    // What the lost one had comes first.
                    let block = next.writer.data_block().unwrap().unwrap();
                    assert_eq!(block.tag(), round);
                    drop(block);
                    next
                }
                _ => {
                    drop(next.writer.data_block().unwrap().unwrap());
                    drop(next.reader);
                    let mut survivor = next.writer.into_survivor().unwrap();
                    writer_goes_on(&mut survivor, &name)
                }
            };
            let epochs = (next.reader.epoch(), next.writer.epoch());
            assert_eq!(epochs, (round + 2, round + 2));
        }
        next.reader.close().unwrap();
        assert_eq!(drain(&next.writer), []);
        next.reader.verdict().unwrap();
    });
}

#[test]
fn letters_and_figures_begin_anew_on_both_sides() {
    bounded(|| {
        for lost in [Side::Reader, Side::Writer] {
            let (_directory, name) = place();
            let (reader, writer) = pair(8, 4);
            reader.post(1, b"old, of the reader").unwrap();
            writer.post(1, b"old, of the writer").unwrap();
            reader.monitor().set_figure(0, 5);
            writer.monitor().set_figure(0, 6);
            let Next { reader, writer } = match lost {
                Side::Writer => {
                    drop(writer);
                    reader_goes_on(&mut reader.into_unreturned().unwrap(), &name)
                }
                Side::Reader => {
                    drop(reader);
                    writer_goes_on(&mut writer.into_survivor().unwrap(), &name)
                }
            };
            assert!(reader.try_letter().unwrap().is_none());
            assert!(writer.try_letter().unwrap().is_none());
            assert_eq!(reader.monitor().partner_figures(), [0; 4]);
            assert_eq!(writer.monitor().partner_figures(), [0; 4]);
            // All slots are free, and what is posted is what comes.
            for number in 0..16 {
                assert!(reader.try_post(number, b"new").unwrap());
                assert!(writer.try_post(number, b"new").unwrap());
            }
            for number in 0..16 {
                assert_eq!(writer.letter().unwrap().unwrap().kind, number);
                assert_eq!(reader.letter().unwrap().unwrap().kind, number);
            }
        }
    });
}

#[test]
fn blocks_that_a_survivor_has_detached_keep_their_bytes_and_are_given_back_to_nobody() {
    bounded(|| {
        let (_directory, name) = place();
        let (reader, writer) = pair(8, 4);
        for tag in 0..3u64 {
            send(&reader, &tag.to_le_bytes(), tag);
        }
        let next = || writer.data_block().unwrap().unwrap().detach();
        let (before, between, after) = (next(), next(), next());
        drop(before);
        drop(reader);
        let mut survivor = writer.into_survivor().unwrap();
        drop(between);
        let Next { reader, writer } = writer_goes_on(&mut survivor, &name);
        assert_eq!(*after, 2u64.to_le_bytes());
        let elsewhere = thread::spawn(move || {
            assert_eq!(*after, 2u64.to_le_bytes());
            drop(after);
        });
        // The new pool has its own blocks, all of them.
        for tag in 10..14u64 {
            send(&reader, &tag.to_le_bytes(), tag);
        }
        elsewhere.join().unwrap();
        assert!(reader.try_empty_block().unwrap().is_none());
        reader.close().unwrap();
        assert_eq!(drain(&writer), [10, 11, 12, 13]);
        assert_eq!(reader.verdict().unwrap().blocks, 4);
    });
}

#[test]
fn a_monitor_of_a_lost_pair_reaches_nobody_in_the_next_one() {
    bounded(|| {
        let (_directory, name) = place();
        let (reader, writer) = pair(8, 4);
        let old = writer.monitor();
        let watching = thread::spawn({
            let monitor = writer.monitor();
            move || monitor.watch()
        });
        drop(reader);
        let mut survivor = writer.into_survivor().unwrap();
        old.abort("too late");
        let Next { reader, writer } = writer_goes_on(&mut survivor, &name);
        assert!(watching.join().unwrap().is_err());
        old.set_figure(0, 7);
        old.abort("too late");
        assert!(old.watch().is_err());
        send(&reader, &1u64.to_le_bytes(), 1);
        reader.close().unwrap();
        assert_eq!(drain(&writer), [1]);
        assert_eq!(reader.monitor().partner_figures(), [0; 4]);
        reader.verdict().unwrap();
    });
}

#[test]
fn what_is_not_retained_is_not_sent_again_and_its_blocks_are_empty() {
    bounded(|| {
        for is_dead in [false, true] {
            let (_directory, name) = place();
            // A Writer that lives on may still look at the blocks, so they are copied.
            let (reader, writer, other) = match is_dead {
                false => {
                    let (reader, writer) = pair(8, 4);
                    (reader, Some(writer), None)
                }
                true => {
                    let seat = Seat::take(&name, &options().side(Side::Reader)).unwrap();
                    let other = Other::start(&name, Side::Writer);
                    (reader_of(seat), None, Some(other))
                }
            };
            for tag in 0..4u64 {
                let kind = (tag % 2) as u16;
                let mut block = reader.empty_block().unwrap();
                block.copy_from_slice(&tag.to_le_bytes());
                block.send_as(8, Label::new(kind, tag)).unwrap();
            }
            reader.close().unwrap();
            drop((writer, other));
            let mut unreturned = reader.into_unreturned().unwrap();
            assert!(unreturned.is_closed());
            unreturned.retain(|label, bytes| {
                assert_eq!(bytes, label.tag.to_le_bytes());
                label.kind == 1
            });
            assert_eq!(unreturned.len(), 2);
            unreturned.reopen();
            assert!(!unreturned.is_closed());
            let Next { reader, writer } = reader_goes_on(&mut unreturned, &name);
            // Two of four are under way.
            for tag in [10u64, 11] {
                send(&reader, &tag.to_le_bytes(), tag);
            }
            assert!(reader.try_empty_block().unwrap().is_none());
            reader.close().unwrap();
            assert_eq!(drain(&writer), [1, 3, 10, 11]);
            reader.verdict().unwrap();
        }
    });
}

fn reader_of(seat: Seat) -> Reader {
    match seat.wait().unwrap() {
        Role::Reader(reader) => reader,
        role => panic!("{role:?}"),
    }
}

fn writer_of(seat: Seat) -> Writer {
    match seat.wait().unwrap() {
        Role::Writer(writer) => writer,
        role => panic!("{role:?}"),
    }
}

#[test]
fn both_ways_and_invited_there_is_no_takeover_and_joining_says_so() {
    let (_directory, name) = place();
    let options = options().takeover(Duration::from_secs(1));
    let refused = [
        join_both_ways(&name, &options).map(drop),
        brigade::invite(&options).map(drop),
        brigade::invite_both_ways(&options).map(drop),
        brigade::accept(&options).map(drop),
        brigade::accept_both_ways(&options).map(drop),
    ];
    for refused in refused {
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::InvalidOption(_)), "{error:?}");
    }
}

#[test]
fn the_writer_of_a_session_of_both_ways_goes_on_in_one_of_one_way() {
    bounded(|| {
        let (_directory, name) = place();
        let other = name.clone();
        let second = thread::spawn(move || join_both_ways(&other, &options()).unwrap());
        let BothWays { reader, writer, .. } = join_both_ways(&name, &options()).unwrap();
        drop(second.join().unwrap());
        let mut survivor = writer.into_survivor().unwrap();
        let error = reader.check().unwrap_err();
        assert!(matches!(error, Error::PartnerAborted { .. }), "{error:?}");
        let Next {
            reader: next,
            writer,
        } = writer_goes_on(&mut survivor, &name);
        drop(reader);
        send(&next, &1u64.to_le_bytes(), 1);
        next.close().unwrap();
        assert_eq!(drain(&writer), [1]);
        next.verdict().unwrap();
    });
}

// ---- processes that are killed --------------------------------------------------------

/// What a process that a test starts is to be, and under which name.
const NAME: &str = "BRIGADE_TAKEOVER_NAME";
const SIDE: &str = "BRIGADE_TAKEOVER_SIDE";

/// What it sends: as many as are never sent, as it is killed first.
const ENDLESS: u64 = u64::MAX;

#[test]
fn the_process_that_other_tests_start() {
    let Ok(name) = std::env::var(NAME) else {
        return;
    };
    let side = match std::env::var(SIDE).unwrap().as_str() {
        "reader" => Side::Reader,
        _ => Side::Writer,
    };
    match join(&name, &options().side(side)).unwrap() {
        // As far as the Writer has come, by its word.
        Role::Reader(reader) => {
            let (from, to) = range_of(reader.partner().greeting());
            for tag in from..to {
                send(&reader, &tag.to_le_bytes(), tag);
            }
            reader.finish().unwrap();
        }
        Role::Writer(writer) => {
            let mut held = Vec::new();
            while let Some(block) = writer.data_block().unwrap() {
                held.push(block);
            }
            // Until it is killed.
            thread::sleep(Duration::from_secs(600));
        }
    }
}

/// Which tags a Reader is to send, as a greeting.
fn greeting(from: u64, to: u64) -> Vec<u8> {
    [from.to_le_bytes(), to.to_le_bytes()].concat()
}

fn range_of(greeting: &[u8]) -> (u64, u64) {
    let (words, _) = greeting.as_chunks::<8>();
    (u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1]))
}

struct Other(Child);

impl Other {
    fn start(name: &str, side: Side) -> Other {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_process_that_other_tests_start"])
            .env(NAME, name)
            .env(SIDE, side.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Other(child.unwrap())
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How many Readers are killed.
const KILLED: u64 = 20;

#[test]
fn of_twenty_killed_readers_all_that_they_sent_arrives_once_and_in_order() {
    let (_directory, name) = place();
    let tell = |from, to| options().side(Side::Writer).greeting(&greeting(from, to));
    let seat = Seat::take(&name, &tell(0, ENDLESS)).unwrap();
    let mut other = Other::start(&name, Side::Reader);
    let mut writer = writer_of(seat);
    let mut next = 0;
    for number in 1..=KILLED {
        let kill_at = next + number % 7 + 1;
        let lost = loop {
            match writer.data_block_until(soon()) {
                Ok(Some(block)) => {
                    assert_eq!(block.tag(), next);
                    next += 1;
                }
                Ok(None) => panic!("the end"),
                Err(error) => break error,
            }
            if next == kill_at {
                other.kill();
            }
        };
        assert!(matches!(lost, Error::PartnerDied { .. }), "{lost:?}");
        let to = if number == KILLED {
            next + 100
        } else {
            ENDLESS
        };
        let mut survivor = writer.into_survivor().unwrap();
        other = Other::start(&name, Side::Reader);
        writer = patiently(|| survivor.rejoin(&name, &tell(next, to)));
    }
    let from = next;
    while let Some(block) = writer.data_block_until(soon()).unwrap() {
        assert_eq!(block.tag(), next);
        next += 1;
    }
    assert_eq!(next, from + 100);
    writer.finish().unwrap();
    assert!(other.0.wait().unwrap().success());
}
