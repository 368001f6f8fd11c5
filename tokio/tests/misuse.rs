//! What is done in the wrong order, by the wrong one, or at the wrong time.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

mod common;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

use brigade_tokio::{Error, Interest};
use common::{bounded, in_both, pair, place, runtimes, send_number};
use futures_util::{FutureExt, SinkExt};
use tokio::io::AsyncReadExt;
use tokio::time::sleep;

#[track_caller]
fn invalid_use<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::InvalidUse(_))), "{result:?}");
}

#[track_caller]
fn partner_aborted<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::PartnerAborted { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_block_of_another_reader_is_refused_and_empty_again() {
    in_both(|| async {
        let (mut one, _writer) = pair(8, 1).await;
        let (mut other, mut writer) = pair(8, 1).await;
        let block = one.empty_block().await.unwrap();
        invalid_use(other.send_block(block, 0, 0));
        assert!(writer.try_data_block().unwrap().is_none());
        drop(one.empty_block().await.unwrap());
        let block = other.empty_block().await.unwrap();
        invalid_use(other.send_block(block, 9, 0));
        drop(other.empty_block().await.unwrap());
    });
}

#[test]
fn the_end_has_its_order() {
    in_both(|| async {
        let (mut reader, mut writer) = pair(8, 2).await;
        invalid_use(reader.verdict().await);
        invalid_use(writer.finish());
        send_number(&mut reader, 1).await.unwrap();
        let late = reader.empty_block().await.unwrap();
        reader.close().unwrap();
        reader.close().unwrap();
        invalid_use(reader.send_block(late, 0, 0));
        invalid_use(reader.post(0, b"").await);
        invalid_use(writer.finish());
        drop(writer.data_block().await.unwrap().unwrap());
        assert!(writer.data_block().await.unwrap().is_none());
        assert!(writer.data_block().await.unwrap().is_none());
        writer.finish().unwrap();
        invalid_use(writer.finish());
        reader.verdict().await.unwrap();
        // Over: there is nothing that could be waited for.
        assert!(reader.letter().await.unwrap().is_none());
        reader.watch().await.unwrap();
        writer.watch().await.unwrap();
    });
}

#[test]
fn a_verdict_while_another_task_has_a_block_is_none() {
    in_both(|| async {
        let (mut reader, mut writer) = pair(8, 2).await;
        send_number(&mut reader, 1).await.unwrap();
        reader.close().unwrap();
        let block = writer.data_block().await.unwrap().unwrap();
        assert!(writer.data_block().await.unwrap().is_none());
        assert!(matches!(
            writer.finish(),
            Err(Error::NotGivenBack { blocks: 1 })
        ));
        drop(block);
        let reason = partner_aborted(reader.verdict().await);
        assert!(reason.contains("given back"), "{reason}");
    });
}

#[test]
fn to_wait_for_a_block_that_a_sink_or_a_stream_has_is_no_wait_for_ever() {
    in_both(|| async {
        let (mut reader, mut writer) = pair(8, 1).await;
        // A sink that is ready has the only block.
        poll_fn(|cx| SinkExt::<&[u8]>::poll_ready_unpin(&mut reader, cx))
            .await
            .unwrap();
        writer.post(0, b"letter").await.unwrap();
        reader.ready(Interest::LETTERS).await.unwrap();
        reader.start_send_unpin(&b"12345678"[..]).unwrap();
        drop(writer.data_block().await.unwrap().unwrap());
        writer.get_ref().pass_on();
        poll_fn(|cx| SinkExt::<&[u8]>::poll_ready_unpin(&mut reader, cx))
            .await
            .unwrap();
        reader.ready(Interest::BLOCKS).await.unwrap();
        let block = reader.get_ref().try_empty_block().unwrap().unwrap();
        block.send(8, 0).unwrap();
        // A stream has begun to read it.
        writer.stream().read_exact(&mut [0; 1]).await.unwrap();
        invalid_use(writer.ready(Interest::BLOCKS).await);
        invalid_use(writer.ready(Interest::LETTERS | Interest::BLOCKS).await);
        reader.post(0, b"letter").await.unwrap();
        writer.ready(Interest::LETTERS).await.unwrap();
    });
}

#[test]
fn an_end_that_is_dropped_while_it_waits_tells_its_partner() {
    in_both(|| async {
        let (mut reader, mut writer) = pair(8, 1).await;
        assert!(writer.data_block().now_or_never().is_none());
        send_number(&mut reader, 1).await.unwrap();
        let waiting = tokio::spawn(async move { reader.empty_block().await.map(drop) });
        let block = writer.data_block().await.unwrap().unwrap();
        assert!(writer.data_block().now_or_never().is_none());
        drop(writer);
        let reason = partner_aborted(waiting.await.unwrap());
        assert!(reason.contains("stopped"), "{reason}");
        // It outlives its end, and the session.
        assert_eq!(*block, 1u64.to_le_bytes());
    });
}

#[test]
fn an_abort_in_this_process_ends_a_wait() {
    in_both(|| async {
        let (mut reader, mut writer) = pair(8, 1).await;
        let monitor = writer.monitor();
        let waiting = tokio::spawn(async move { writer.data_block().await.map(drop) });
        sleep(Duration::from_millis(5)).await;
        monitor.abort_with(7, "enough");
        let error = waiting.await.unwrap().unwrap_err();
        assert!(matches!(error, Error::Aborted { code: 7, .. }), "{error:?}");
        assert_eq!(partner_aborted(reader.watch().await), "enough");
        let block = reader.empty_block().await.unwrap();
        reader.send_block(block, 0, 0).unwrap();
        reader.abort("for nothing");
    });
}

#[test]
fn a_runtime_that_is_shut_down_drops_its_ends_and_leaves_the_blocks() {
    bounded(|| {
        for runtime in runtimes() {
            let (_directory, name) = place();
            let (tell, told) = mpsc::channel();
            let same = name.clone();
            runtime.spawn(async move {
                let options = common::options(8, 2);
                let role = brigade_tokio::join(&same, &options.side(brigade::Side::Writer));
                let mut writer = role.await.unwrap().into_writer().unwrap();
                let block = writer.data_block().await.unwrap().unwrap();
                tell.send(block).unwrap();
                let _ = writer.data_block().await;
                panic!("nothing else comes");
            });
            let (enough, has_enough) = tokio::sync::oneshot::channel();
            let driving = std::thread::spawn(move || {
                runtime.block_on(has_enough).unwrap();
                drop(runtime);
            });
            let options = common::options(8, 2).side(brigade::Side::Reader);
            let role = brigade::join(&name, &options).unwrap();
            let reader = role.into_reader().unwrap();
            let mut block = reader.empty_block().unwrap();
            block.copy_from_slice(b"outlived");
            block.send(8, 0).unwrap();
            let block = told.recv().unwrap();
            enough.send(()).unwrap();
            driving.join().unwrap();
            partner_aborted(reader.monitor().watch());
            assert_eq!(&*block, b"outlived");
            drop(reader);
            assert_eq!(&*block, b"outlived");
        }
    });
}

#[test]
#[cfg(unix)]
fn an_end_whose_runtime_is_gone_fails_and_does_not_hang() {
    bounded(|| {
        let [other, runtime] = runtimes();
        let (mut reader, mut writer) = runtime.block_on(pair(8, 1));
        drop(runtime);
        other.block_on(async {
            // What need not wait is done.
            send_number(&mut reader, 1).await.unwrap();
            drop(writer.data_block().await.unwrap());
            for _ in 0..3 {
                let error = writer.data_block().await.unwrap_err();
                assert!(matches!(error, Error::Os { .. }), "{error:?}");
                let error = writer.watch().await.unwrap_err();
                assert!(matches!(error, Error::Os { .. }), "{error:?}");
            }
            // The library's end is as it was, for another runtime.
            let mut writer = brigade_tokio::AsyncWriter::new(writer.into_inner()).unwrap();
            let mut reader = brigade_tokio::AsyncReader::new(reader.into_inner()).unwrap();
            let waiting = tokio::spawn(async move { writer.data_block().await.unwrap() });
            sleep(Duration::from_millis(5)).await;
            send_number(&mut reader, 2).await.unwrap();
            assert_eq!(waiting.await.unwrap().unwrap().tag(), 2);
        });
    });
}

#[test]
fn who_waits_is_not_polled_while_nothing_happens() {
    in_both(|| async {
        let (mut reader, mut writer) = pair(8, 4).await;
        // What nobody takes is no reason to look again and again.
        reader.post(0, b"unread").await.unwrap();
        let _ = writer.ready(Interest::LETTERS).await;
        let mut polls = 0;
        {
            let mut waiting = pin!(writer.data_block());
            let counted = poll_fn(|cx| {
                polls += 1;
                waiting.as_mut().poll(cx)
            });
            let nothing = tokio::time::timeout(Duration::from_millis(50), counted).await;
            assert!(nothing.is_err());
        }
        assert!(polls < 10, "{polls}");
        polls = 0;
        {
            let mut watching = pin!(writer.watch());
            let counted = poll_fn(|cx| -> Poll<_> {
                polls += 1;
                watching.as_mut().poll(cx)
            });
            let sending = async {
                for number in 0..4 {
                    send_number(&mut reader, number).await.unwrap();
                }
                sleep(Duration::from_millis(20)).await;
            };
            tokio::select! {
                over = counted => panic!("{over:?}"),
                () = sending => {}
            }
        }
        assert!(polls < 10, "{polls}");
    });
}
