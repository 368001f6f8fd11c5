//! Messages of any length, and the newest block, through the public interface.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

mod common;

use std::thread;

use brigade::{Error, Label, Violation, Writer};
use common::{bounded, invalid_use, pair, partner_aborted, send, soon};

/// No message of these tests is longer.
const MAX: usize = 1000;

fn message(writer: &Writer, max: usize) -> Result<Option<(Label, Vec<u8>)>, Error> {
    let mut bytes = b"of before".to_vec();
    let label = writer.message(&mut bytes, max)?;
    Ok(label.map(|label| (label, bytes)))
}

fn too_long(writer: &Writer, most: usize) {
    match message(writer, most) {
        Err(Error::MessageTooLong { max }) => assert_eq!(max, most),
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_of_any_length_arrive_whole_with_their_labels() {
    bounded(|| {
        for (size, count) in [(1, 1), (7, 3), (64, 2), (5000, 4)] {
            let (reader, writer) = pair(size, count);
            let lens = [0, 1, 6, 7, 8, 63, 64, 65, 128, MAX];
            let bytes = |len: usize| (0..len).map(|i| (i * 7 + len) as u8).collect::<Vec<_>>();
            let sending = thread::spawn(move || {
                for len in lens {
                    let label = Label::new(len as u16, u64::MAX - len as u64);
                    reader.send_message(label, &bytes(len)).unwrap();
                }
                reader.finish().unwrap()
            });
            for len in lens {
                let (label, found) = message(&writer, MAX).unwrap().unwrap();
                assert_eq!(label, Label::new(len as u16, u64::MAX - len as u64));
                assert_eq!(found, bytes(len));
            }
            assert_eq!(message(&writer, MAX).unwrap(), None);
            let delivered = writer.finish().unwrap();
            let blocks: usize = lens.iter().map(|len| len.div_ceil(size).max(1)).sum();
            assert_eq!(delivered.blocks, blocks as u64);
            assert_eq!(sending.join().unwrap(), delivered);
        }
    });
}

#[test]
fn a_message_can_be_sent_in_parts_and_by_blocks() {
    bounded(|| {
        let (reader, writer) = pair(4, 8);
        let more = Label {
            kind: 1,
            tag: 2,
            more: true,
        };
        reader.send_message(more, b"012345").unwrap();
        reader.send_message(Label::new(3, 4), b"6789a").unwrap();
        // Its blocks say more, but for the last.
        let blocks: Vec<_> = (0..4)
            .map(|_| writer.data_block().unwrap().unwrap())
            .collect();
        let more: Vec<_> = blocks.iter().map(|block| block.more()).collect();
        assert_eq!(more, [true, true, true, false]);
        drop(blocks);
        for (bytes, more) in [(b"ab", true), (b"cd", false)] {
            let mut block = reader.empty_block().unwrap();
            block[..2].copy_from_slice(bytes);
            block
                .send_as(
                    2,
                    Label {
                        more,
                        ..Label::new(5, 6)
                    },
                )
                .unwrap();
        }
        let found = message(&writer, MAX).unwrap();
        assert_eq!(found, Some((Label::new(5, 6), b"abcd".to_vec())));
    });
}

#[test]
fn a_message_beyond_what_is_wanted_is_an_error_and_the_next_one_arrives() {
    bounded(|| {
        let (reader, writer) = pair(4, 2);
        let sending = thread::spawn(move || {
            for bytes in [&b"0123456789"[..], b"", b"01234567", b"abc"] {
                reader.send_message(Label::default(), bytes).unwrap();
            }
            reader.finish().unwrap();
        });
        too_long(&writer, 3);
        assert_eq!(message(&writer, 0).unwrap().unwrap().1, b"");
        // Found out at its last block.
        too_long(&writer, 7);
        assert_eq!(message(&writer, 3).unwrap().unwrap().1, b"abc");
        assert_eq!(message(&writer, 3).unwrap(), None);
        writer.finish().unwrap();
        sending.join().unwrap();
    });
}

#[test]
fn the_rest_of_a_message_that_was_begun_by_blocks_is_passed_over() {
    bounded(|| {
        let (reader, writer) = pair(4, 8);
        for bytes in [&b"0123456789"[..], b"abcdef"] {
            reader.send_message(Label::default(), bytes).unwrap();
        }
        assert_eq!(&*writer.data_block().unwrap().unwrap(), b"0123");
        assert_eq!(message(&writer, MAX).unwrap().unwrap().1, b"abcdef");
    });
}

#[test]
fn a_message_that_is_not_whole_at_the_deadline_is_gone_on_with_unless_others_took_blocks() {
    bounded(|| {
        let (reader, writer) = pair(4, 8);
        let part = |text: &[u8], tag, more| {
            let mut block = reader.empty_block().unwrap();
            block[..text.len()].copy_from_slice(text);
            let label = Label { kind: 5, tag, more };
            block.send_as(text.len(), label).unwrap();
        };
        let mut message = Vec::new();
        let mut next = || {
            let now = std::time::Instant::now();
            match writer.message_until(&mut message, 10, now) {
                Ok(label) => Some((label.unwrap().tag, message.clone())),
                Err(Error::TimedOut) => None,
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!(next(), None);
        part(b"abcd", 1, true);
        assert_eq!(next(), None);
        assert_eq!(next(), None);
        part(b"ef", 2, false);
        assert_eq!(next(), Some((1, b"abcdef".to_vec())));
        // The middle goes elsewhere: so does the rest.
        part(b"gh", 3, true);
        assert_eq!(next(), None);
        part(b"ij", 4, true);
        assert_eq!(&*writer.data_block().unwrap().unwrap(), b"ij");
        part(b"kl", 5, true);
        assert_eq!(next(), None);
        part(b"mn", 6, false);
        part(b"op", 7, false);
        assert_eq!(next(), Some((7, b"op".to_vec())));
        // One that becomes too long in a later call.
        part(b"0123", 8, true);
        part(b"4567", 8, true);
        assert_eq!(next(), None);
        part(b"89ab", 8, true);
        let now = std::time::Instant::now();
        let too_long = writer.message_until(&mut message, 10, now);
        assert!(matches!(too_long, Err(Error::MessageTooLong { max: 10 })));
        part(b"", 8, false);
        part(b"qr", 9, false);
        assert_eq!(
            writer.message_until(&mut message, 10, now).unwrap(),
            Some(Label::new(5, 9))
        );
        assert_eq!(message, b"qr");
    });
}

#[test]
fn a_begun_message_is_passed_over_if_its_beginning_is_not_in_the_vector_that_is_given_next() {
    bounded(|| {
        for other in [&b"what was in it"[..], b""] {
            let (reader, writer) = pair(4, 8);
            let part = |text: &[u8], tag, more| {
                let mut block = reader.empty_block().unwrap();
                block[..text.len()].copy_from_slice(text);
                let label = Label { kind: 5, tag, more };
                block.send_as(text.len(), label).unwrap();
            };
            part(b"abcd", 1, true);
            let now = std::time::Instant::now();
            let begun = writer.message_until(&mut Vec::new(), MAX, now);
            assert!(matches!(begun, Err(Error::TimedOut)), "{begun:?}");
            part(b"efgh", 1, true);
            part(b"ij", 1, false);
            part(b"next", 2, false);
            let mut bytes = other.to_vec();
            let label = writer.message(&mut bytes, MAX).unwrap();
            assert_eq!((label, &bytes[..]), (Some(Label::new(5, 2)), &b"next"[..]));
        }
    });
}

#[test]
fn an_end_in_the_middle_of_a_message_is_a_breach_of_which_the_reader_is_told() {
    bounded(|| {
        for max in [MAX, 0] {
            let (reader, writer) = pair(4, 8);
            let more = Label {
                more: true,
                ..Label::default()
            };
            reader.send_message(more, b"01").unwrap();
            reader.close().unwrap();
            if max == 0 {
                too_long(&writer, max);
            }
            match message(&writer, max).unwrap_err() {
                Error::ProtocolViolation { violation, .. } => {
                    assert_eq!(violation, Violation::UnfinishedMessage);
                }
                error => panic!("{error:?}"),
            }
            let reason = partner_aborted(reader.verdict());
            assert!(reason.contains("middle of a message"), "{reason}");
        }
    });
}

#[test]
fn a_reader_that_gives_up_in_the_middle_of_a_message_is_heard() {
    bounded(|| {
        let (reader, writer) = pair(4, 8);
        let more = Label {
            more: true,
            ..Label::default()
        };
        reader.send_message(more, b"01").unwrap();
        reader.abort("no more of it");
        assert_eq!(partner_aborted(message(&writer, MAX)), "no more of it");
    });
}

#[test]
fn no_message_is_sent_after_the_end() {
    bounded(|| {
        let (reader, writer) = pair(4, 1);
        reader.close().unwrap();
        invalid_use(reader.send_message(Label::default(), b"late"));
        assert_eq!(message(&writer, MAX).unwrap(), None);
        writer.finish().unwrap();
        reader.verdict().unwrap();
    });
}

// ---- the newest block -----------------------------------------------------------------

#[test]
fn the_newest_block_is_the_last_sent_and_says_how_many_were_skipped() {
    bounded(|| {
        let (reader, writer) = pair(8, 4);
        assert!(writer.try_newest_block().unwrap().is_none());
        let late = writer.newest_block_until(soon());
        assert!(matches!(late, Err(Error::TimedOut)), "{late:?}");
        for sent in [1, 4, 2] {
            for tag in 0..sent {
                send(&reader, b"state", tag);
            }
            let newest = writer.newest_block().unwrap().unwrap();
            assert_eq!(newest.block.tag(), sent - 1);
            assert_eq!(&*newest.block, b"state");
            assert_eq!(newest.skipped as u64, sent - 1);
            // The others were given back.
            drop(newest);
            let empty: Vec<_> = (0..4).map(|_| reader.empty_block().unwrap()).collect();
            drop(empty);
        }
        assert_eq!(writer.delivered().blocks, 7);
    });
}

#[test]
fn a_block_that_is_held_stays_when_the_newest_is_taken() {
    bounded(|| {
        let (reader, writer) = pair(8, 4);
        for tag in 0..4 {
            send(&reader, &[tag as u8], tag);
        }
        let held = writer.data_block().unwrap().unwrap();
        let newest = writer.try_newest_block().unwrap().unwrap();
        assert_eq!((newest.block.tag(), newest.skipped), (3, 2));
        assert_eq!((held.tag(), &*held), (0, &[0][..]));
    });
}

#[test]
fn a_newest_block_is_found_beside_a_reader_that_never_pauses_and_then_the_end() {
    bounded(|| {
        const SENT: u64 = 20_000;
        let (reader, writer) = pair(8, 3);
        let sending = thread::spawn(move || {
            for tag in 0..SENT {
                send(&reader, &tag.to_ne_bytes(), tag);
            }
            reader.finish().unwrap()
        });
        let (mut seen, mut next) = (0, 0);
        while let Some(newest) = writer.newest_block().unwrap() {
            let tag = newest.block.tag();
            assert_eq!(*newest.block, tag.to_ne_bytes());
            assert_eq!(tag, next + newest.skipped as u64);
            next = tag + 1;
            seen += 1 + newest.skipped as u64;
        }
        assert_eq!((seen, next), (SENT, SENT));
        assert!(writer.at_end());
        writer.finish().unwrap();
        assert_eq!(sending.join().unwrap().blocks, SENT);
    });
}
