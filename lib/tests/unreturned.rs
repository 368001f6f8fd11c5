//! What was sent and not given back, through the public interface.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

mod common;

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use brigade::{Error, Label, Options, Reader, Role, Seat, Side, Unreturned};
use common::{bounded, invalid_use, pair};

fn send_as(reader: &Reader, bytes: &[u8], label: Label) {
    let mut block = reader.empty_block().unwrap();
    block[..bytes.len()].copy_from_slice(bytes);
    block.send_as(bytes.len(), label).unwrap();
}

fn tags(unreturned: &Unreturned) -> Vec<u64> {
    let tags: Vec<_> = unreturned.iter().map(|(label, _)| label.tag).collect();
    assert_eq!(tags.len(), unreturned.len());
    tags
}

#[test]
fn what_was_not_given_back_is_told_with_labels_and_bytes_in_the_order_of_sending() {
    bounded(|| {
        let (reader, writer) = pair(8, 8);
        let sent = [
            (&b"water"[..], Label::new(1, 10)),
            (
                b"",
                Label {
                    kind: u16::MAX,
                    tag: u64::MAX,
                    more: true,
                },
            ),
            (b"01234567", Label::new(3, 0)),
        ];
        for (bytes, label) in sent {
            send_as(&reader, bytes, label);
        }
        writer.abort("no room");
        let unreturned = reader.into_unreturned().unwrap();
        let found: Vec<_> = unreturned.iter().collect();
        assert_eq!(found, sent.map(|(bytes, label)| (label, bytes)));
        assert!(!unreturned.is_empty());
    });
}

#[test]
fn blocks_given_back_in_any_order_and_sent_again_leave_the_right_ones() {
    bounded(|| {
        let (reader, writer) = pair(8, 4);
        let mut held = Vec::new();
        let mut tag = 0;
        let mut fill = |count: u64| {
            for _ in 0..count {
                send_as(&reader, &tag_bytes(tag), Label::new(0, tag));
                tag += 1;
            }
        };
        fill(4);
        for _ in 0..4 {
            held.push(writer.data_block().unwrap().unwrap());
        }
        // The first stays away while the queue goes round several times.
        for _ in 0..5 {
            held.truncate(1);
            fill(3);
            for _ in 0..3 {
                held.push(writer.data_block().unwrap().unwrap());
            }
        }
        held.remove(2);
        fill(1);
        let expected: Vec<u64> = held.iter().map(|block| block.tag()).chain([19]).collect();
        assert_eq!(expected, [0, 16, 18, 19]);
        // Forgotten, they are not given back by what ends the Writer.
        held.into_iter().for_each(std::mem::forget);
        drop(writer);
        let unreturned = reader.into_unreturned().unwrap();
        assert_eq!(tags(&unreturned), expected);
        for (label, bytes) in unreturned.iter() {
            assert_eq!(bytes, tag_bytes(label.tag));
        }
    });
}

fn tag_bytes(tag: u64) -> [u8; 8] {
    tag.to_ne_bytes()
}

#[test]
fn what_was_given_back_before_the_writer_was_lost_counts_and_what_was_not_sent_does_not() {
    bounded(|| {
        let (reader, writer) = pair(8, 4);
        for tag in 0..3 {
            send_as(&reader, b"x", Label::new(0, tag));
        }
        drop(writer.data_block().unwrap());
        std::mem::forget(reader.empty_block().unwrap());
        drop(writer);
        assert_eq!(tags(&reader.into_unreturned().unwrap()), [1, 2]);

        let (reader, writer) = pair(8, 4);
        drop(writer);
        assert!(reader.into_unreturned().unwrap().is_empty());
    });
}

#[test]
fn it_is_told_after_a_finish_that_failed() {
    bounded(|| {
        let (reader, writer) = pair(8, 4);
        send_as(&reader, b"x", Label::new(0, 7));
        writer.abort("no room");
        let error = reader.finish().unwrap_err();
        assert!(matches!(error, Error::PartnerAborted { .. }), "{error:?}");
        assert_eq!(tags(&reader.into_unreturned().unwrap()), [7]);
    });
}

#[test]
fn a_writer_that_is_there_or_has_given_its_verdict_keeps_nothing_back() {
    bounded(|| {
        let (reader, writer) = pair(8, 4);
        send_as(&reader, b"x", Label::default());
        invalid_use(reader.into_unreturned());
        let heard = writer.data_block().unwrap().unwrap();
        drop(heard);
        assert!(writer.data_block().is_err());

        let (reader, writer) = pair(8, 4);
        reader.close().unwrap();
        assert!(writer.data_block().unwrap().is_none());
        writer.finish().unwrap();
        reader.verdict().unwrap();
        invalid_use(reader.into_unreturned());
    });
}

#[test]
fn whoever_gave_up_first_is_told_so() {
    bounded(|| {
        let (reader, writer) = pair(8, 4);
        reader.monitor().abort("enough");
        let error = reader.into_unreturned().unwrap_err().to_string();
        assert!(error.contains("gave up"), "{error}");
        drop(writer);
    });
}

/// Tells the process that a test starts under which name it is to join.
const NAME: &str = "BRIGADE_TEST_NAME";

#[test]
fn the_process_that_other_tests_start() {
    let Ok(name) = std::env::var(NAME) else {
        return;
    };
    let Role::Writer(writer) = brigade::join(&name, &options()).unwrap() else {
        panic!("not the writer");
    };
    drop(writer.data_block().unwrap().unwrap());
    let _held = writer.data_block().unwrap().unwrap();
    writer.post(0, b"one given back").unwrap();
    loop {
        thread::sleep(Duration::from_secs(1));
    }
}

fn options() -> Options {
    Options::new().block_size(8).block_count(4)
}

#[test]
fn what_a_killed_writer_had_is_told_also_after_this_process_gave_up_for_it() {
    bounded(|| {
        let directory = tempfile::tempdir().unwrap();
        let name = format!("{}/n", directory.path().display());
        let seat = Seat::take(&name, &options().side(Side::Reader)).unwrap();
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_process_that_other_tests_start"])
            .env(NAME, &name)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let Role::Reader(reader) = seat.wait().unwrap() else {
            panic!("not the reader");
        };
        for tag in 0..3 {
            send_as(&reader, &tag_bytes(tag), Label::new(0, tag));
        }
        assert_eq!(reader.letter().unwrap().unwrap().bytes, b"one given back");
        process.kill().unwrap();
        process.wait().unwrap();
        let error = reader.finish().unwrap_err();
        assert!(matches!(error, Error::PartnerDied { .. }), "{error:?}");
        let unreturned = reader.into_unreturned().unwrap();
        assert_eq!(tags(&unreturned), [1, 2]);
        for (label, bytes) in unreturned.iter() {
            assert_eq!(bytes, tag_bytes(label.tag));
        }
    });
}
