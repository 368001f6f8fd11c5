//! Blocks, letters and the end, in one process: two ends there differ from two processes in
//! nothing but that neither can die alone.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

mod common;

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use brigade::Seat;
use brigade_tokio::{
    AsyncReader, AsyncWriter, BothWays, Error, Filled, Interest, Label, OwnedDataBlock,
    OwnedEmptyBlock, Role, accept, join, join_both_ways, wait, wait_both_ways,
};
use common::{bounded, expect_numbers, in_both, options, pair, place, runtimes, send_number};
use futures_util::{FutureExt, SinkExt, StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::sleep;

#[test]
fn what_a_task_has_can_go_to_other_threads() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    fn all(mut reader: AsyncReader, mut writer: AsyncWriter, name: &str) {
        drop(is_send(join(name, &options(1, 1))));
        drop(is_send(join_both_ways(name, &options(1, 1))));
        drop(is_send(accept(&options(1, 1))));
        drop(is_send(reader.empty_block()));
        drop(is_send(reader.finish()));
        drop(is_send(reader.letter()));
        drop(is_send(reader.post(0, b"")));
        drop(is_send(reader.watch()));
        drop(is_send(reader.ready(Interest::ROOM)));
        drop(is_send(reader.stream().finish()));
        drop(is_send(writer.data_block()));
        drop(is_send(writer.newest_block()));
        drop(is_send(writer.letter()));
        drop(is_send(writer.post(0, b"")));
        drop(is_send(writer.watch()));
        drop(is_send(writer.ready(Interest::BLOCKS)));
        is_send(writer.stream());
        is_send((reader.into_stream(), writer.into_stream()));
    }
    fn is_sync<T: Sync>() {}
    is_sync::<OwnedDataBlock>();
    is_sync::<OwnedEmptyBlock>();
    let _ = all;
}

#[test]
fn blocks_arrive_in_order_with_their_labels_and_both_learn_of_the_end() {
    in_both(|| async {
        let (mut reader, mut writer) = pair(8, 3).await;
        let filling = tokio::spawn(async move {
            for number in 0..3000 {
                if number % 500 == 0 {
                    sleep(Duration::from_millis(2)).await;
                }
                let mut block = reader.empty_block().await.unwrap();
                block.copy_from_slice(&u64::to_le_bytes(number));
                let label = Label {
                    kind: 7,
                    tag: number,
                    more: number % 2 == 0,
                };
                reader.send_block_as(block, 8, label).unwrap();
            }
            reader.finish().await.unwrap()
        });
        for number in 0..3000u64 {
            if number % 700 == 0 {
                sleep(Duration::from_millis(2)).await;
            }
            let block = writer.data_block().await.unwrap().unwrap();
            assert_eq!(*block, number.to_le_bytes());
            assert_eq!(
                (block.kind(), block.tag(), block.more()),
                (7, number, number % 2 == 0)
            );
        }
        assert!(writer.data_block().await.unwrap().is_none() && writer.at_end());
        assert_eq!(writer.finish().unwrap().blocks, 3000);
        assert_eq!(filling.await.unwrap().bytes, 24000);
    });
}

#[test]
fn with_one_block_the_two_take_turns() {
    in_both(|| async {
        let (mut reader, mut writer) = pair(8, 1).await;
        let filling = tokio::spawn(async move {
            for number in 0..2000 {
                send_number(&mut reader, number).await.unwrap();
            }
            reader.finish().await.unwrap();
        });
        expect_numbers(&mut writer, 0..2000).await;
        writer.finish().unwrap();
        filling.await.unwrap();
    });
}

#[test]
fn a_stream_of_blocks_is_passed_on_to_a_sink_of_buffers() {
    in_both(|| async {
        let (mut first, second) = pair(8, 2).await;
        let (mut third, mut fourth) = pair(8, 2).await;
        let feeding = tokio::spawn(async move {
            for number in 0..500 {
                send_number(&mut first, number).await.unwrap();
            }
            first.finish().await.unwrap();
        });
        let passing = tokio::spawn(async move {
            let mut second = second;
            (&mut second).forward(&mut third).await.unwrap();
            second.finish().unwrap();
            third.verdict().await.unwrap();
        });
        for number in 0..500u64 {
            let block = fourth.next().await.unwrap().unwrap();
            assert_eq!(*block, number.to_le_bytes());
        }
        assert!(fourth.next().await.is_none());
        fourth.finish().unwrap();
        feeding.await.unwrap();
        passing.await.unwrap();
    });
}

#[test]
fn a_sink_takes_buffers_that_fit_and_filled_blocks() {
    in_both(|| async {
        let (mut reader, mut writer) = pair(4, 2).await;
        SinkExt::<&[u8]>::send(&mut reader, b"one").await.unwrap();
        // Asked for, and used by another call than that of the sink.
        SinkExt::<&[u8]>::feed(&mut reader, b"two").await.unwrap();
        let long = SinkExt::<&[u8]>::send(&mut reader, b"three");
        assert!(long.now_or_never().is_none(), "both blocks are away");
        for expected in [b"one", b"two"] {
            assert_eq!(&*writer.data_block().await.unwrap().unwrap(), expected);
        }
        let long = SinkExt::<&[u8]>::send(&mut reader, b"three").await;
        assert!(matches!(long, Err(Error::InvalidUse(_))));
        let mut block = reader.empty_block().await.unwrap();
        block[..4].copy_from_slice(b"four");
        reader.send(Filled::new(block, 4, 9)).await.unwrap();
        let block = writer.data_block().await.unwrap().unwrap();
        assert_eq!((&*block, block.tag()), (&b"four"[..], 9));
        drop(block);
        SinkExt::<Filled>::close(&mut reader).await.unwrap();
        assert!(writer.data_block().await.unwrap().is_none());
        writer.finish().unwrap();
        assert_eq!(reader.verdict().await.unwrap().blocks, 3);
    });
}

#[test]
fn a_stream_of_blocks_ends_after_an_error() {
    in_both(|| async {
        let (mut reader, mut writer) = pair(8, 2).await;
        send_number(&mut reader, 0).await.unwrap();
        reader.abort("enough");
        assert!(writer.next().await.unwrap().is_ok());
        let error = writer.next().await.unwrap().unwrap_err();
        assert!(matches!(error, Error::PartnerAborted { .. }), "{error:?}");
        assert!(writer.next().await.is_none());
        // The end itself goes on failing.
        writer.data_block().await.unwrap_err();
    });
}

#[test]
fn blocks_are_filled_and_drained_by_other_tasks_while_their_ends_wait() {
    in_both(|| async {
        const BLOCKS: u64 = 1000;
        let (mut reader, mut writer) = pair(8, 4).await;
        let (give, mut given) = mpsc::channel::<(OwnedEmptyBlock, u64)>(1);
        let filling = tokio::spawn(async move {
            while let Some((mut block, number)) = given.recv().await {
                block.copy_from_slice(&number.to_le_bytes());
                tokio::task::yield_now().await;
                block.send(8, number).unwrap();
            }
        });
        let sending = tokio::spawn(async move {
            for number in 0..BLOCKS {
                let block = reader.empty_block().await.unwrap();
                give.send((block, number)).await.unwrap();
            }
            drop(give);
            filling.await.unwrap();
            reader.finish().await.unwrap();
        });
        let (take, mut taken) = mpsc::channel::<OwnedDataBlock>(1);
        let draining = tokio::spawn(async move {
            let mut sum = 0;
            while let Some(block) = taken.recv().await {
                tokio::task::yield_now().await;
                sum += u64::from_le_bytes(block[..].try_into().unwrap());
            }
            sum
        });
        while let Some(block) = writer.data_block().await.unwrap() {
            take.send(block).await.unwrap();
        }
        drop(take);
        assert_eq!(draining.await.unwrap(), BLOCKS * (BLOCKS - 1) / 2);
        writer.finish().unwrap();
        sending.await.unwrap();
    });
}

#[test]
fn blocks_that_other_tasks_are_done_with_are_passed_on_while_their_end_watches() {
    in_both(|| async {
        let (mut reader, mut writer) = pair(8, 1).await;
        let block = reader.empty_block().await.unwrap();
        let working = tokio::spawn(async move {
            yield_now().await;
            block.send(8, 1).unwrap();
        });
        let watching = tokio::spawn(async move { reader.watch().await });
        let block = writer.data_block().await.unwrap().unwrap();
        assert_eq!(block.tag(), 1);
        working.await.unwrap();
        drop((block, writer));
        watching.await.unwrap().unwrap_err();

        let (mut reader, mut writer) = pair(8, 1).await;
        send_number(&mut reader, 1).await.unwrap();
        let block = writer.data_block().await.unwrap().unwrap();
        let working = tokio::spawn(async move {
            yield_now().await;
            drop(block);
        });
        let watching = tokio::spawn(async move { writer.watch().await });
        // There is no other one.
        let block = reader.empty_block().await.unwrap();
        working.await.unwrap();
        drop((block, reader));
        watching.await.unwrap().unwrap_err();
    });
}

#[test]
fn what_is_sent_goes_at_once_and_after_what_other_tasks_have_sent() {
    in_both(|| async {
        let (mut reader, mut writer) = pair(8, 4).await;
        let early = reader.empty_block().await.unwrap();
        let late = reader.empty_block().await.unwrap();
        early.send(0, 1).unwrap();
        assert!(writer.try_data_block().unwrap().is_none());
        reader.send_block(late, 0, 2).unwrap();
        // The Reader makes no other call.
        for tag in [1, 2] {
            assert_eq!(writer.data_block().await.unwrap().unwrap().tag(), tag);
        }
    });
}

#[test]
fn the_newest_block_is_what_has_come_last() {
    in_both(|| async {
        let (mut reader, mut writer) = pair(8, 4).await;
        for number in 0..3 {
            send_number(&mut reader, number).await.unwrap();
        }
        let (block, skipped) = writer.newest_block().await.unwrap().unwrap();
        assert_eq!((block.tag(), skipped), (2, 2));
        drop(block);
        reader.close().unwrap();
        assert!(writer.newest_block().await.unwrap().is_none());
    });
}

#[test]
fn letters_pass_both_ways_and_one_that_has_no_room_waits() {
    in_both(|| async {
        let (mut reader, mut writer) = pair(8, 1).await;
        let posting = tokio::spawn(async move {
            for number in 0..200u16 {
                writer.post(number, &number.to_le_bytes()).await.unwrap();
            }
            let mut count = 0;
            while let Some(letter) = writer.letter().await.unwrap() {
                assert_eq!((letter.kind, &letter.bytes[..]), (count, &b"back"[..]));
                count += 1;
            }
            assert_eq!(count, 30);
            writer
        });
        for number in 0..200u16 {
            if number % 60 == 0 {
                sleep(Duration::from_millis(2)).await;
            }
            let letter = reader.letter().await.unwrap().unwrap();
            assert_eq!(
                (letter.kind, &letter.bytes[..]),
                (number, &number.to_le_bytes()[..])
            );
        }
        for number in 0..30 {
            reader.post(number, b"back").await.unwrap();
        }
        reader.close().unwrap();
        let mut writer = posting.await.unwrap();
        assert!(writer.data_block().await.unwrap().is_none());
        writer.finish().unwrap();
        reader.verdict().await.unwrap();
    });
}

#[test]
fn one_task_waits_for_blocks_and_letters_at_once() {
    in_both(|| async {
        let (mut reader, mut writer) = pair(8, 2).await;
        let sending = tokio::spawn(async move {
            for number in 0..300 {
                send_number(&mut reader, number).await.unwrap();
                if number % 3 == 0 {
                    reader.post(0, b"letter").await.unwrap();
                }
                if number % 50 == 0 {
                    sleep(Duration::from_millis(1)).await;
                }
            }
            reader.finish().await.unwrap();
        });
        let (mut blocks, mut letters) = (0, 0);
        while !writer.at_end() || letters < 100 {
            let blocks_too = match writer.at_end() {
                true => Interest::LETTERS,
                false => Interest::LETTERS | Interest::BLOCKS,
            };
            writer.ready(blocks_too).await.unwrap();
            while let Some(block) = writer.try_data_block().unwrap() {
                assert_eq!(block.tag(), blocks);
                blocks += 1;
            }
            while writer.get_ref().try_letter().unwrap().is_some() {
                letters += 1;
            }
        }
        assert_eq!((blocks, letters), (300, 100));
        writer.finish().unwrap();
        sending.await.unwrap();
    });
}

#[test]
fn one_task_serves_many_sessions() {
    in_both(|| async {
        const SESSIONS: usize = 40;
        let (mut readers, mut writers) = (Vec::new(), Vec::new());
        for _ in 0..SESSIONS {
            let (reader, writer) = pair(8, 2).await;
            readers.push(reader);
            writers.push(writer);
        }
        let feeding = tokio::spawn(async move {
            for number in 0..20 {
                for reader in &mut readers {
                    send_number(reader, number).await.unwrap();
                }
            }
            for reader in &mut readers {
                reader.close().unwrap();
            }
            for reader in &mut readers {
                reader.verdict().await.unwrap();
            }
        });
        // Each is polled only when it was woken, with a waker of its own.
        let mut all = stream::select_all(&mut writers);
        let mut sum = 0;
        while let Some(block) = all.try_next().await.unwrap() {
            sum += block.tag() + 1;
        }
        assert_eq!(sum, SESSIONS as u64 * 20 * 21 / 2);
        drop(all);
        for mut writer in writers {
            writer.finish().unwrap();
        }
        feeding.await.unwrap();
    });
}

#[test]
fn data_goes_both_ways() {
    in_both(|| async {
        let (_directory, name) = place();
        let options = options(8, 2);
        let seat = Seat::take(&name, &options.clone().both_ways()).unwrap();
        let both = tokio::try_join!(wait_both_ways(seat), join_both_ways(&name, &options));
        let (one, other) = both.unwrap();
        assert!(one.is_first && !other.is_first);
        async fn talk(both: BothWays) {
            let (mut reader, mut writer) = (both.reader, both.writer);
            let sending = async {
                for number in 0..500 {
                    send_number(&mut reader, number).await.unwrap();
                }
                reader.close().unwrap();
            };
            let (_, ()) = tokio::join!(sending, expect_numbers(&mut writer, 0..500));
            writer.finish().unwrap();
            reader.verdict().await.unwrap();
        }
        let other = tokio::spawn(talk(other));
        talk(one).await;
        other.await.unwrap();
    });
}

#[test]
fn a_task_talks_to_a_thread_that_blocks() {
    in_both(|| async {
        let (_directory, name) = place();
        let second = name.clone();
        let thread = std::thread::spawn(move || {
            let role = brigade::join(&second, &options(8, 2)).unwrap();
            match role {
                brigade::Role::Reader(reader) => {
                    for number in 0..2000u64 {
                        let mut block = reader.empty_block().unwrap();
                        block.copy_from_slice(&number.to_le_bytes());
                        block.send(8, number).unwrap();
                    }
                    reader.finish().unwrap();
                }
                brigade::Role::Writer(writer) => {
                    for number in 0..2000 {
                        assert_eq!(writer.data_block().unwrap().unwrap().tag(), number);
                    }
                    assert!(writer.data_block().unwrap().is_none());
                    writer.finish().unwrap();
                }
            }
        });
        match join(&name, &options(8, 2)).await.unwrap() {
            Role::Reader(mut reader) => {
                for number in 0..2000 {
                    send_number(&mut reader, number).await.unwrap();
                }
                reader.finish().await.unwrap();
            }
            Role::Writer(mut writer) => {
                expect_numbers(&mut writer, 0..2000).await;
                writer.finish().unwrap();
            }
        }
        tokio::task::spawn_blocking(|| thread.join().unwrap())
            .await
            .unwrap();
    });
}

#[test]
fn a_seat_that_was_taken_is_waited_for() {
    in_both(|| async {
        let (_directory, name) = place();
        let seat = Seat::take(&name, &options(8, 1)).unwrap();
        let options = options(8, 1);
        let (first, second) = tokio::try_join!(wait(seat), join(&name, &options)).unwrap();
        assert!(first.into_reader().is_some() && second.into_writer().is_some());
    });
}

#[test]
fn who_is_always_ready_lets_other_tasks_run() {
    bounded(|| {
        const BLOCKS: u64 = 4096;
        // In a runtime of one thread, they run only if they are let.
        let [runtime, _] = runtimes();
        runtime.block_on(async {
            let (mut reader, mut writer) = pair(8, BLOCKS as usize).await;
            let turns = Arc::new(AtomicU64::new(0));
            let counted = Arc::clone(&turns);
            let counting = tokio::spawn(poll_fn(move |cx| -> Poll<()> {
                counted.fetch_add(1, Ordering::Relaxed);
                cx.waker().wake_by_ref();
                Poll::Pending
            }));
            let both = tokio::spawn(async move {
                let turn = || turns.load(Ordering::Relaxed);
                let first = turn();
                for number in 0..BLOCKS {
                    send_number(&mut reader, number).await.unwrap();
                }
                let sent = turn();
                for number in 0..BLOCKS {
                    assert_eq!(writer.data_block().await.unwrap().unwrap().tag(), number);
                }
                [sent - first, turn() - sent]
            });
            let turns = both.await.unwrap();
            counting.abort();
            assert!(turns.iter().all(|turns| *turns > 10), "{turns:?}");
        });
    });
}
