//! Both ends as streams of bytes, through the public interface.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

mod common;

use std::io::{BufRead, Read, Write};
use std::thread;

use brigade::{Error, Interest, Reader, ReceiveStream, SendStream, Writer};
use common::{bounded, invalid_use, pair, partner_aborted, send};

/// Drains everything and gives the verdict.
fn drain(writer: Writer) -> Vec<u8> {
    let mut data = Vec::new();
    while let Some(block) = writer.data_block().unwrap() {
        data.extend_from_slice(&block);
    }
    writer.finish().unwrap();
    data
}

fn read(stream: &mut impl Read, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn bytes_pass_through_the_streams_whatever_the_sizes_of_the_pieces() {
    bounded(|| {
        let data: Vec<u8> = (0..10_000u32).map(|i| (i * 31 / 8) as u8).collect();
        for (size, count) in [(1, 1), (7, 3), (4096, 2), (100_000, 2)] {
            let (reader, writer) = pair(size, count);
            let expected = data.clone();
            let writer = thread::spawn(move || {
                let (mut stream, mut found) = (writer.stream(), Vec::new());
                for len in [0, 1, 3, 10, 1000].into_iter().cycle() {
                    let mut piece = vec![0; len];
                    let got = stream.read(&mut piece).unwrap();
                    found.extend_from_slice(&piece[..got]);
                    if got == 0 && len > 0 {
                        break;
                    }
                }
                drop(stream);
                assert!(found == expected, "the bytes differ");
                writer.finish().unwrap()
            });
            let mut stream = reader.stream();
            let (mut rest, mut lens) = (&data[..], [0, 1, 2, 5, 13, 999].into_iter().cycle());
            while !rest.is_empty() {
                let len = lens.next().unwrap().min(rest.len());
                stream.write_all(&rest[..len]).unwrap();
                rest = &rest[len..];
            }
            stream.flush().unwrap();
            stream.flush().unwrap();
            drop(stream);
            let delivered = reader.finish().unwrap();
            assert_eq!(delivered.bytes, data.len() as u64);
            assert_eq!(delivered.blocks, data.len().div_ceil(size) as u64);
            assert_eq!(writer.join().unwrap(), delivered);
        }
    });
}

#[test]
fn what_a_stream_did_not_flush_is_sent_when_it_is_dropped_and_all_is_tagged_by_offset() {
    bounded(|| {
        let (reader, writer) = pair(4, 4);
        let mut stream = reader.stream();
        stream.write_all(b"0123456").unwrap();
        let block = writer.data_block().unwrap().unwrap();
        assert_eq!((&*block, block.tag()), (&b"0123"[..], 0));
        drop(block);
        assert!(writer.try_data_block().unwrap().is_none());
        drop(stream);
        let block = writer.data_block().unwrap().unwrap();
        assert_eq!((&*block, block.tag()), (&b"456"[..], 4));
        drop(block);
        let mut stream = reader.stream();
        stream.write_all(b"01234").unwrap();
        stream.flush().unwrap();
        let tags: Vec<_> = (0..2)
            .map(|_| writer.data_block().unwrap().unwrap().tag())
            .collect();
        assert_eq!(tags, [0, 4]);
    });
}

#[test]
fn what_is_copied_into_a_stream_arrives_whole_without_a_flush() {
    bounded(|| {
        let (reader, writer) = pair(4, 4);
        let writer = thread::spawn(move || drain(writer));
        std::io::copy(&mut &b"the tail, too"[..], &mut reader.stream()).unwrap();
        assert_eq!(reader.finish().unwrap().bytes, 13);
        assert_eq!(writer.join().unwrap(), b"the tail, too");
    });
}

#[test]
fn bytes_in_a_stream_that_was_forgotten_fail_the_finish_and_the_writer_is_told() {
    bounded(|| {
        let (reader, writer) = pair(4, 4);
        let mut stream = reader.stream();
        stream.write_all(b"012345").unwrap();
        std::mem::forget(stream);
        // Another stream that sends all of its own changes nothing.
        reader.stream().write_all(b"01").unwrap();
        let error = reader.finish().unwrap_err();
        assert!(matches!(error, Error::InvalidUse(_)), "{error:?}");
        drop(writer.data_block().unwrap().unwrap());
        drop(writer.data_block().unwrap().unwrap());
        let reason = partner_aborted(writer.data_block());
        assert!(reason.contains("never sent"), "{reason}");
    });
}

#[test]
fn an_empty_block_in_a_stream_is_not_its_end() {
    bounded(|| {
        let (reader, writer) = pair(4, 4);
        let writer = thread::spawn(move || {
            let mut text = String::new();
            writer.stream().read_to_string(&mut text).unwrap();
            writer.finish().unwrap();
            text
        });
        for piece in ["a", "", "b", "", ""] {
            send(&reader, piece.as_bytes(), 0);
        }
        reader.finish().unwrap();
        assert_eq!(writer.join().unwrap(), "ab");
    });
}

#[test]
fn a_stream_fails_with_the_whole_error_inside() {
    bounded(|| {
        let (reader, writer) = pair(4, 1);
        reader.abort("no source");
        let error = writer.stream().read(&mut [0; 4]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
        let inner = error.get_ref().unwrap().downcast_ref::<Error>().unwrap();
        assert!(matches!(inner, Error::PartnerAborted { reason, .. } if reason == "no source"));
    });
}

#[test]
fn lines_are_read_across_blocks() {
    bounded(|| {
        let (reader, writer) = pair(4, 2);
        let writing = thread::spawn(move || {
            let mut stream = reader.stream();
            stream.write_all(b"one\ntwo and more\n\nthe last").unwrap();
            drop(stream);
            reader.finish().unwrap()
        });
        let lines: Result<Vec<_>, _> = writer.stream().lines().collect();
        assert_eq!(lines.unwrap(), ["one", "two and more", "", "the last"]);
        writer.finish().unwrap();
        writing.join().unwrap();
    });
}

#[test]
fn a_block_is_given_back_with_its_last_byte() {
    bounded(|| {
        let (reader, writer) = pair(4, 1);
        send(&reader, b"0123", 0);
        let mut stream = writer.stream();
        assert_eq!(stream.fill_buf().unwrap(), b"0123");
        stream.consume(3);
        assert_eq!(stream.fill_buf().unwrap(), b"3");
        assert!(reader.try_empty_block().unwrap().is_none());
        stream.consume(1);
        drop(reader.empty_block().unwrap());
    });
}

#[test]
fn what_a_dropped_stream_has_left_of_a_block_is_the_next_ones() {
    bounded(|| {
        let (reader, writer) = pair(8, 2);
        send(&reader, b"01234567", 0);
        send(&reader, b"89", 0);
        reader.close().unwrap();
        assert_eq!(read(&mut writer.stream(), 3), b"012");
        drop(writer.stream());
        assert_eq!(read(&mut writer.stream(), 1), b"3");
        let mut stream = writer.stream();
        assert_eq!(read(&mut stream, 5), b"45678");
        drop(stream);
        // The owned one, too, takes it up.
        let mut stream = writer.into_stream();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "9");
        stream.finish().unwrap();
        reader.verdict().unwrap();
    });
}

#[test]
fn no_block_is_taken_past_what_a_stream_has_left_of_one() {
    bounded(|| {
        let (reader, writer) = pair(8, 2);
        send(&reader, b"01234567", 0);
        send(&reader, b"next", 1);
        reader.close().unwrap();
        read(&mut writer.stream(), 3);
        for _ in 0..2 {
            invalid_use(writer.data_block());
            invalid_use(writer.try_data_block());
            invalid_use(writer.newest_block());
            invalid_use(writer.message(&mut Vec::new(), 100));
            assert!(!writer.arm(Interest::BLOCKS).unwrap());
        }
        let left = writer.stream().fill_buf().unwrap().len();
        assert_eq!(left, 5);
        writer.stream().consume(left);
        invalid_use(writer.data_block());
        let mut stream = writer.stream();
        stream.fill_buf().unwrap();
        stream.consume(left);
        drop(stream);
        assert_eq!(&*writer.data_block().unwrap().unwrap(), b"next");
        assert!(writer.data_block().unwrap().is_none());
        writer.finish().unwrap();
        reader.verdict().unwrap();
    });
}

#[test]
fn two_streams_at_a_time_leave_two_rests_in_the_order_of_dropping() {
    bounded(|| {
        let (reader, writer) = pair(4, 2);
        send(&reader, b"0123", 0);
        send(&reader, b"4567", 0);
        reader.close().unwrap();
        let (mut one, mut other) = (writer.stream(), writer.stream());
        assert_eq!(read(&mut one, 1), b"0");
        assert_eq!(read(&mut other, 1), b"4");
        drop(other);
        drop(one);
        invalid_use(writer.data_block());
        let mut rest = String::new();
        writer.stream().read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "567123");
        writer.finish().unwrap();
        reader.verdict().unwrap();
    });
}

#[test]
fn owned_streams_can_go_to_other_threads_and_finish_the_session() {
    bounded(|| {
        let data: Vec<u8> = (0..10_000).map(|i| (i % 251) as u8).collect();
        let (reader, writer) = pair(64, 3);
        let expected = data.clone();
        let writing: Box<dyn FnOnce() -> _ + Send> = {
            let mut stream: SendStream<Reader> = reader.into_stream();
            Box::new(move || {
                stream.write_all(&data).unwrap();
                stream.finish().unwrap()
            })
        };
        let writing = thread::spawn(writing);
        let mut stream: ReceiveStream<Writer> = writer.into_stream();
        let reading = thread::spawn(move || {
            let mut found = Vec::new();
            stream.read_to_end(&mut found).unwrap();
            (found, stream.finish().unwrap())
        });
        let (found, delivered) = reading.join().unwrap();
        assert!(found == expected, "the bytes differ");
        assert_eq!(delivered.bytes, 10_000);
        assert_eq!(writing.join().unwrap(), delivered);
    });
}

#[test]
fn an_owned_stream_that_is_dropped_sends_what_it_has_and_gives_up() {
    bounded(|| {
        let (reader, writer) = pair(8, 2);
        let mut stream = reader.into_stream();
        stream.write_all(b"water").unwrap();
        drop(stream);
        let mut stream = writer.into_stream();
        assert_eq!(read(&mut stream, 5), b"water");
        let error = stream.read(&mut [0]).unwrap_err();
        let inner = error.get_ref().unwrap().downcast_ref::<Error>().unwrap();
        assert!(matches!(inner, Error::PartnerAborted { .. }), "{inner:?}");
    });
}

#[test]
fn a_stream_is_not_finished_before_its_end_was_seen() {
    bounded(|| {
        let (reader, writer) = pair(8, 2);
        send(&reader, b"water", 0);
        let mut stream = writer.into_stream();
        read(&mut stream, 2);
        invalid_use(stream.finish());
        partner_aborted(reader.finish());
    });
}

#[test]
fn what_is_written_after_the_end_is_an_error() {
    bounded(|| {
        let (reader, writer) = pair(8, 2);
        let writing = thread::spawn(move || drain(writer));
        reader.finish().unwrap();
        let error = reader.stream().write_all(b"late and longer than a block");
        let error = error.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert!(writing.join().unwrap().is_empty());
    });
}

#[test]
fn a_stream_takes_nothing_after_the_end_of_the_data_or_an_abort() {
    bounded(|| {
        let (reader, writer) = pair(64, 2);
        let mut stream = reader.stream();
        reader.close().unwrap();
        let error = stream.write(b"lost").unwrap_err();
        let error = error.get_ref().unwrap().downcast_ref().unwrap();
        assert!(matches!(error, Error::InvalidUse(_)), "{error:?}");
        drop(stream);
        assert_eq!(drain(writer), b"");
        reader.verdict().unwrap();

        let (reader, _writer) = pair(64, 2);
        let mut stream = reader.stream();
        stream.write_all(b"begun").unwrap();
        reader.monitor().abort("enough");
        let error = stream.write(b"lost").unwrap_err();
        let error = error.get_ref().unwrap().downcast_ref().unwrap();
        assert!(matches!(error, Error::Aborted { .. }), "{error:?}");
    });
}
