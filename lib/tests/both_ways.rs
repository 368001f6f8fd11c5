//! Sessions in which data goes both ways.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use brigade::{
    BothWays, Error, Interest, Options, Reader, Refusal, Waitable, Writer, join, join_both_ways,
    wait_any,
};
use common::{LIMIT, bounded};
use tempfile::TempDir;

fn place() -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let name = format!("{}/n", directory.path().display());
    (directory, name)
}

fn small() -> Options {
    Options::new().block_size(64).block_count(2)
}

/// Who came first, and who came second.
fn pair() -> (BothWays, BothWays) {
    let (_directory, name) = place();
    let other = name.clone();
    let second = thread::spawn(move || join_both_ways(&other, &small()).unwrap());
    let ends = (
        join_both_ways(&name, &small()).unwrap(),
        second.join().unwrap(),
    );
    assert_ne!(ends.0.is_first, ends.1.is_first);
    match ends {
        (first, second) if first.is_first => (first, second),
        (second, first) => (first, second),
    }
}

fn say(reader: &Reader, number: u64) {
    let mut block = reader.empty_block().unwrap();
    block[..8].copy_from_slice(&number.to_le_bytes());
    block.send(8, number).unwrap();
}

fn hear(writer: &Writer) -> Option<u64> {
    let block = writer.data_block().unwrap()?;
    Some(u64::from_le_bytes((*block).try_into().unwrap()))
}

fn assert_failed<T: std::fmt::Debug>(result: Result<T, Error>, expected: &str) {
    match result.unwrap_err() {
        Error::PartnerAborted { reason, .. } => assert_eq!(reason, expected),
        error => panic!("{error:?}"),
    }
}

#[test]
fn questions_are_answered_and_both_ways_end_with_a_verdict() {
    bounded(|| {
        let (asking, answering) = pair();
        let other = thread::spawn(move || {
            let BothWays { reader, writer, .. } = answering;
            while let Some(question) = hear(&writer) {
                say(&reader, question + 1);
            }
            writer.finish().unwrap();
            reader.finish().unwrap().blocks
        });
        let BothWays { reader, writer, .. } = asking;
        for number in 0..1000 {
            say(&reader, number);
            assert_eq!(hear(&writer), Some(number + 1));
        }
        assert_eq!(reader.finish().unwrap().blocks, 1000);
        assert_eq!(hear(&writer), None);
        writer.finish().unwrap();
        assert_eq!(other.join().unwrap(), 1000);
    });
}

#[test]
fn each_end_can_go_to_a_thread_of_its_own_and_both_directions_are_busy_at_once() {
    fn run(ends: BothWays) -> u64 {
        const NUMBERS: u64 = 10_000;
        let BothWays { reader, writer, .. } = ends;
        let sending = thread::spawn(move || {
            (0..NUMBERS).for_each(|number| say(&reader, number));
            reader.finish().unwrap();
        });
        let mut heard = 0;
        while let Some(number) = hear(&writer) {
            assert_eq!(number, heard);
            heard += 1;
        }
        writer.finish().unwrap();
        sending.join().unwrap();
        heard
    }
    bounded(|| {
        let (here, there) = pair();
        let other = thread::spawn(move || run(there));
        assert_eq!((run(here), other.join().unwrap()), (10_000, 10_000));
    });
}

#[test]
fn one_thread_waits_for_both_ends() {
    bounded(|| {
        let (here, there) = pair();
        let other = thread::spawn(move || {
            for number in 0..200 {
                say(&there.reader, number);
                if number % 3 == 0 {
                    hear(&there.writer).unwrap();
                }
            }
            there.reader.close().unwrap();
            while hear(&there.writer).is_some() {}
            there.writer.finish().unwrap();
            there.reader.verdict().unwrap();
        });
        let (mut said, mut heard) = (0, 0);
        while said < 200 || !here.writer.at_end() {
            let mut ends: Vec<(&dyn Waitable, Interest)> = Vec::new();
            if said < 200 {
                ends.push((&here.reader, Interest::BLOCKS));
            }
            if !here.writer.at_end() {
                ends.push((&here.writer, Interest::BLOCKS));
            }
            assert!(!wait_any(&ends, None).unwrap().is_empty());
            if said < 200
                && let Some(block) = here.reader.try_empty_block().unwrap()
            {
                block.send(8, 0).unwrap();
                said += 1;
                if said == 200 {
                    here.reader.close().unwrap();
                }
            }
            while here.writer.try_data_block().unwrap().is_some() {
                heard += 1;
            }
        }
        assert_eq!(heard, 200);
        here.writer.finish().unwrap();
        here.reader.verdict().unwrap();
        other.join().unwrap();
    });
}

#[test]
fn to_abort_or_drop_one_end_ends_both_on_both_sides() {
    let ways: [fn(BothWays) -> BothWaysLeft; 4] = [
        |ends| {
            ends.reader.abort("enough");
            BothWaysLeft::Writer(ends.writer, "enough")
        },
        |ends| {
            ends.writer.abort("enough");
            BothWaysLeft::Reader(ends.reader, "enough")
        },
        |ends| {
            drop(ends.reader);
            BothWaysLeft::Writer(ends.writer, "it stopped before the end of the session")
        },
        |ends| {
            ends.writer.monitor().abort("enough");
            BothWaysLeft::Reader(ends.reader, "enough")
        },
    ];
    for way in ways {
        bounded(move || {
            let (here, there) = pair();
            let left = way(here);
            let expected = match left {
                BothWaysLeft::Reader(reader, expected) => {
                    let error = reader.verdict().unwrap_err();
                    assert!(matches!(error, Error::Aborted { .. }), "{error:?}");
                    expected
                }
                BothWaysLeft::Writer(writer, expected) => {
                    let error = writer.data_block().unwrap_err();
                    assert!(matches!(error, Error::Aborted { .. }), "{error:?}");
                    expected
                }
            };
            assert_failed(there.writer.data_block(), expected);
            assert_failed(there.reader.finish(), expected);
        });
    }
}

enum BothWaysLeft {
    Reader(Reader, &'static str),
    Writer(Writer, &'static str),
}

#[test]
fn what_has_ended_well_leaves_the_other_way_as_it_is() {
    bounded(|| {
        let (here, there) = pair();
        say(&here.reader, 7);
        here.reader.close().unwrap();
        assert_eq!((hear(&there.writer), hear(&there.writer)), (Some(7), None));
        there.writer.finish().unwrap();
        here.reader.verdict().unwrap();
        drop((here.reader, there.writer));
        say(&there.reader, 8);
        assert_eq!(hear(&here.writer), Some(8));
        there.reader.close().unwrap();
        assert_eq!(hear(&here.writer), None);
        here.writer.finish().unwrap();
        there.reader.verdict().unwrap();
    });
}

#[test]
fn the_name_is_taken_until_both_ways_have_ended() {
    bounded(|| {
        let (_directory, name) = place();
        let other = name.clone();
        let second = thread::spawn(move || join_both_ways(&other, &small()).unwrap());
        let here = join_both_ways(&name, &small()).unwrap();
        let there = second.join().unwrap();
        let is_taken = || {
            let third = brigade::Seat::take(&name, &small());
            matches!(third, Err(Error::TooManyInstances { .. }))
        };
        for (from, to) in [(&here, &there), (&there, &here)] {
            assert!(is_taken());
            from.reader.close().unwrap();
            assert_eq!(hear(&to.writer), None);
            to.writer.finish().unwrap();
            from.reader.verdict().unwrap();
        }
        assert!(!is_taken());
    });
}

#[test]
fn one_way_and_both_ways_refuse_each_other_and_the_host_waits_on() {
    fn refused<T: std::fmt::Debug>(result: Result<T, Error>) {
        let error = result.unwrap_err();
        let is_refused = matches!(
            error,
            Error::Refused {
                reason: Refusal::OtherWays,
                ..
            }
        );
        assert!(is_refused, "{error:?}");
    }
    bounded(|| {
        let (_directory, name) = place();
        let host = brigade::Seat::take(&name, &small()).unwrap();
        let waiting = thread::spawn(move || host.wait().unwrap());
        refused(join_both_ways(&name, &small()));
        drop(join(&name, &small()).unwrap());
        drop(waiting.join().unwrap());

        let (_directory, name) = place();
        let other = name.clone();
        let waiting = thread::spawn(move || join_both_ways(&other, &small()).unwrap());
        while !std::path::Path::new(&format!("{name}.sock")).exists() && cfg!(unix) {
            thread::sleep(Duration::from_millis(1));
        }
        if cfg!(not(unix)) {
            thread::sleep(Duration::from_millis(300));
        }
        refused(join(&name, &small().side(brigade::Side::Writer)));
        drop(join_both_ways(&name, &small()).unwrap());
        drop(waiting.join().unwrap());
    });
}

// ---- a partner that dies --------------------------------------------------------------

const NAME: &str = "BRIGADE_BOTH_WAYS_NAME";

/// To close its Reader before it is killed.
const CLOSES: &str = "BRIGADE_BOTH_WAYS_CLOSES";

/// Joins, says so, and waits to be killed.
#[test]
#[ignore = "a process that another test starts"]
fn the_process_that_is_killed() {
    if let Ok(name) = std::env::var(NAME) {
        let ends = join_both_ways(&name, &small()).unwrap();
        say(&ends.reader, 7);
        if std::env::var_os(CLOSES).is_some() {
            ends.reader.close().unwrap();
        }
        writeln!(std::io::stdout(), "joined").unwrap();
        thread::sleep(LIMIT);
    }
}

fn start(name: &str, closes: bool) -> Child {
    let arguments = [
        "--exact",
        "the_process_that_is_killed",
        "--ignored",
        "--nocapture",
    ];
    let mut command = Command::new(std::env::current_exe().unwrap());
    if closes {
        command.env(CLOSES, "1");
    }
    command
        .args(arguments)
        .env(NAME, name)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn wait_until_joined(other: &mut Child) {
    let mut lines = BufReader::new(other.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("joined")));
}

#[test]
fn what_one_end_does_about_a_death_takes_nothing_from_the_other() {
    bounded(|| {
        let (_directory, name) = place();
        let mut other = start(&name, true);
        let BothWays { reader, writer, .. } = join_both_ways(&name, &small()).unwrap();
        wait_until_joined(&mut other);
        say(&reader, 1);
        other.kill().unwrap();
        other.wait().unwrap();
        // All was received, and the end, so there is a verdict, though nobody hears it.
        let error = reader.finish().unwrap_err();
        assert!(matches!(error, Error::PartnerDied { .. }), "{error:?}");
        let unreturned = reader.into_unreturned().unwrap();
        assert_eq!(unreturned.len(), 1);
        drop(unreturned);
        assert_eq!((hear(&writer), hear(&writer)), (Some(7), None));
        writer.finish().unwrap();
    });
    bounded(|| {
        let (_directory, name) = place();
        let mut other = start(&name, true);
        let BothWays { reader, writer, .. } = join_both_ways(&name, &small()).unwrap();
        wait_until_joined(&mut other);
        say(&reader, 1);
        other.kill().unwrap();
        other.wait().unwrap();
        // Given up before it saw the end.
        drop(writer);
        assert_eq!(reader.into_unreturned().unwrap().len(), 1);
    });
}

#[test]
fn a_death_ends_both_ways_after_all_that_was_sent() {
    bounded(|| {
        let (_directory, name) = place();
        let mut other = start(&name, false);
        let BothWays { reader, writer, .. } = join_both_ways(&name, &small()).unwrap();
        wait_until_joined(&mut other);
        let draining = thread::spawn(move || {
            assert_eq!(hear(&writer), Some(7));
            let error = writer.data_block().unwrap_err();
            assert!(matches!(error, Error::PartnerDied { .. }), "{error:?}");
        });
        let killed = Instant::now();
        other.kill().unwrap();
        other.wait().unwrap();
        let error = reader.finish().unwrap_err();
        assert!(matches!(error, Error::PartnerDied { .. }), "{error:?}");
        draining.join().unwrap();
        assert!(killed.elapsed() < Duration::from_secs(20));
    });
}
