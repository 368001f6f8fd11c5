//! Both ends as streams of bytes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

mod common;

use std::io;

use brigade_tokio::Error;
use common::{in_both, pair, send_number};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, copy, copy_buf};

fn invalid_use(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(Error::InvalidUse(_)))
}

#[test]
fn bytes_are_copied_through_by_the_runtimes_own_functions() {
    in_both(|| async {
        let (mut reader, mut writer) = pair(1000, 3).await;
        let data: Vec<u8> = (0..1_000_003u32).map(|number| number as u8).collect();
        let sent = data.clone();
        let sending = tokio::spawn(async move {
            let mut stream = reader.stream();
            assert_eq!(copy(&mut &sent[..], &mut stream).await.unwrap(), 1_000_003);
            stream.finish().await.unwrap()
        });
        let mut received = Vec::new();
        let mut stream = writer.stream();
        copy_buf(&mut stream, &mut received).await.unwrap();
        assert!(received == data);
        stream.finish().unwrap();
        let delivered = sending.await.unwrap();
        assert_eq!((delivered.blocks, delivered.bytes), (1001, 1_000_003));
    });
}

#[test]
fn blocks_are_tagged_with_their_offset_and_what_was_not_flushed_goes_when_the_stream_is_dropped() {
    in_both(|| async {
        let (mut reader, mut writer) = pair(4, 4).await;
        let mut stream = reader.stream();
        stream.write_all(b"abcdef").await.unwrap();
        stream.flush().await.unwrap();
        stream.write_all(b"gh").await.unwrap();
        drop(stream);
        reader.close().unwrap();
        for (tag, bytes) in [(0, &b"abcd"[..]), (4, b"ef"), (6, b"gh")] {
            let block = writer.data_block().await.unwrap().unwrap();
            assert_eq!((block.tag(), &*block), (tag, bytes));
        }
        assert!(writer.data_block().await.unwrap().is_none());
    });
}

#[test]
fn a_stream_that_is_forgotten_loses_nothing() {
    in_both(|| async {
        let (mut reader, mut writer) = pair(4, 4).await;
        for bytes in [b"ab", b"cd"] {
            let mut stream = reader.stream();
            stream.write_all(bytes).await.unwrap();
            std::mem::forget(stream);
        }
        let mut stream = reader.stream();
        stream.write_all(b"ef").await.unwrap();
        std::mem::forget(stream);
        // After what was written before.
        send_number_of_four(&mut reader).await;
        let mut stream = reader.stream();
        stream.write_all(b"gh").await.unwrap();
        std::mem::forget(stream);
        reader.close().unwrap();
        let mut all = Vec::new();
        writer.stream().read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"abcdef4444gh");
    });
}

async fn send_number_of_four(reader: &mut brigade_tokio::AsyncReader) {
    let mut block = reader.empty_block().await.unwrap();
    block.copy_from_slice(b"4444");
    reader.send_block(block, 4, 0).unwrap();
}

#[test]
fn what_a_stream_leaves_of_a_block_is_the_next_streams() {
    in_both(|| async {
        let (mut reader, mut writer) = pair(8, 2).await;
        reader.stream().write_all(b"onetwo").await.unwrap();
        let mut three = [0; 3];
        writer.stream().read_exact(&mut three).await.unwrap();
        assert_eq!(&three, b"one");
        for _ in 0..2 {
            let error = writer.data_block().await.unwrap_err();
            assert!(matches!(error, Error::InvalidUse(_)), "{error:?}");
        }
        let mut stream = writer.stream();
        assert_eq!(stream.fill_buf().await.unwrap(), b"two");
        stream.consume(2);
        let mut stream = writer.stream();
        assert_eq!(stream.fill_buf().await.unwrap(), b"o");
        // More than there is.
        stream.consume(7);
        // It has gone back without another call.
        assert_eq!(reader.delivered().blocks, 1);
        send_number(&mut reader, 7).await.unwrap();
        assert_eq!(writer.data_block().await.unwrap().unwrap().tag(), 7);
    });
}

#[test]
fn an_empty_block_is_not_the_end_of_a_stream() {
    in_both(|| async {
        let (mut reader, writer) = pair(8, 2).await;
        let sending = tokio::spawn(async move {
            for bytes in [&b""[..], b"a", b"", b"", b"b", b""] {
                let mut block = reader.empty_block().await.unwrap();
                block[..bytes.len()].copy_from_slice(bytes);
                reader.send_block(block, bytes.len(), 0).unwrap();
            }
            reader.finish().await.unwrap();
        });
        let mut stream = writer.into_stream();
        let mut all = String::new();
        stream.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "ab");
        stream.finish().unwrap();
        sending.await.unwrap();
    });
}

#[test]
fn nothing_is_written_after_the_end_of_the_data() {
    in_both(|| async {
        let (reader, mut writer) = pair(8, 2).await;
        let mut stream = reader.into_stream();
        stream.write_all(b"all").await.unwrap();
        stream.shutdown().await.unwrap();
        stream.shutdown().await.unwrap();
        assert!(invalid_use(&stream.write_all(b"more").await.unwrap_err()));
        assert_eq!(&*writer.data_block().await.unwrap().unwrap(), b"all");
        assert!(writer.data_block().await.unwrap().is_none());
        writer.finish().unwrap();
        assert_eq!(stream.finish().await.unwrap().bytes, 3);
    });
}

#[test]
fn whoever_has_said_the_end_or_given_up_no_stream_takes_bytes_that_cannot_arrive() {
    in_both(|| async {
        let (mut reader, mut writer) = pair(8, 2).await;
        reader.get_ref().close().unwrap();
        let error = reader.stream().write_all(b"lost").await.unwrap_err();
        assert!(invalid_use(&error), "{error:?}");
        assert!(writer.data_block().await.unwrap().is_none());
        writer.finish().unwrap();
        assert_eq!(reader.verdict().await.unwrap().bytes, 0);

        let (mut reader, _writer) = pair(8, 2).await;
        reader.monitor().abort("enough");
        let error = reader.stream().write_all(b"lost").await.unwrap_err();
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        assert!(matches!(inner, Some(Error::Aborted { .. })), "{error:?}");
    });
}

#[test]
fn bytes_that_a_forgotten_stream_took_are_sent_or_there_is_no_verdict() {
    in_both(|| async {
        let (mut reader, mut writer) = pair(8, 2).await;
        let mut stream = reader.stream();
        stream.write_all(b"lost").await.unwrap();
        std::mem::forget(stream);
        // Not by the call that sends them first.
        reader.get_ref().close().unwrap();
        assert!(writer.data_block().await.unwrap().is_none());
        writer.finish().unwrap();
        for _ in 0..2 {
            let error = reader.verdict().await.unwrap_err();
            assert!(matches!(error, Error::InvalidUse(_)), "{error:?}");
        }
    });
}

#[test]
fn a_partner_that_gives_up_is_an_error_of_the_stream() {
    in_both(|| async {
        let (mut reader, writer) = pair(1, 1).await;
        reader.stream().write_all(b"a").await.unwrap();
        writer.abort("enough");
        let error = reader.stream().write_all(b"b").await.unwrap_err();
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        assert!(matches!(inner, Some(Error::PartnerAborted { .. })));
    });
}
