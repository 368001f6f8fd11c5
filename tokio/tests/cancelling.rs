//! Futures that are dropped before they are ready: nothing is lost, nothing comes twice.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

mod common;

use std::time::Duration;

use brigade_tokio::{
    AsyncReader, AsyncWriter, Error, Interest, Options, OwnedDataBlock, Role, join, join_both_ways,
};
use common::{LIMIT, bounded, in_both, options, pair, place, runtimes, send_number, until};
use futures_util::{FutureExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

/// Turns in which something is dropped.
const TURNS: u64 = if cfg!(windows) { 2_000 } else { 10_000 };

#[test]
fn blocks_that_are_waited_for_again_and_again_come_once_and_in_order() {
    in_both(|| async {
        let (mut reader, mut writer) = pair(8, 3).await;
        for _ in 0..100 {
            assert!(writer.data_block().now_or_never().is_none());
        }
        let sending = tokio::spawn(async move {
            let mut sent = 0;
            while sent < TURNS {
                tokio::select! {
                    biased;
                    block = reader.empty_block() => {
                        let mut block = block.unwrap();
                        block.copy_from_slice(&sent.to_le_bytes());
                        reader.send_block(block, 8, sent).unwrap();
                        sent += 1;
                    }
                    () = yield_now() => {}
                }
                if sent % 1000 == 0 {
                    sleep(Duration::from_millis(1)).await;
                }
            }
            reader.finish().await.unwrap();
        });
        let (mut expected, mut dropped) = (0, 0);
        loop {
            // Each turn by another one of the ways to wait, and many of them are dropped.
            let block = match (expected + dropped) % 4 {
                0 => timeout(Duration::ZERO, writer.data_block()).await.ok(),
                1 => tokio::select! {
                    biased;
                    block = writer.data_block() => Some(block),
                    () = yield_now() => None,
                },
                2 => writer.next().now_or_never().map(Option::transpose),
                _ => {
                    let _ = writer.ready(Interest::LETTERS).now_or_never();
                    let _ = writer.watch().now_or_never();
                    writer.data_block().now_or_never()
                }
            };
            match block.map(Result::unwrap) {
                None => {
                    dropped += 1;
                    yield_now().await;
                }
                Some(None) => break,
                Some(Some(block)) => {
                    assert_eq!(*block, u64::to_le_bytes(expected));
                    expected += 1;
                }
            }
        }
        assert_eq!(expected, TURNS);
        writer.finish().unwrap();
        sending.await.unwrap();
    });
}

/// Numbers by chance, the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Sends `count` blocks, some of them by other tasks, and begins other waits in between.
async fn send_by_chance(reader: &mut AsyncReader, count: u64, mut dice: Dice) {
    let (mut sent, mut posted, mut heard) = (0u64, 0, 0);
    while sent < count {
        match dice.roll(7) {
            0 => drop(reader.watch().now_or_never()),
            1 => drop(
                reader
                    .ready(Interest::LETTERS | Interest::ROOM)
                    .now_or_never(),
            ),
            2 => {
                if let Some(letter) = reader.letter().now_or_never() {
                    assert_eq!(letter.unwrap().unwrap().kind, heard);
                    heard = heard.wrapping_add(1);
                }
            }
            3 => {
                if let Some(done) = reader.post(posted, b"").now_or_never() {
                    done.unwrap();
                    posted = posted.wrapping_add(1);
                }
            }
            4 => yield_now().await,
            way => {
                let block = match way {
                    5 => reader.empty_block().now_or_never(),
                    _ => Some(reader.empty_block().await),
                };
                let Some(block) = block else {
                    continue;
                };
                let mut block = block.unwrap();
                block.copy_from_slice(&sent.to_le_bytes());
                let number = sent;
                match dice.roll(2) {
                    0 => reader.send_block(block, 8, number).unwrap(),
                    _ => {
                        let task = tokio::spawn(async move { block.send(8, number).unwrap() });
                        drop(reader.ready(Interest::LETTERS).now_or_never());
                        task.await.unwrap();
                    }
                }
                sent += 1;
            }
        }
    }
}

/// Takes blocks until there is an end or an error; how many.
async fn take_by_chance(writer: &mut AsyncWriter, mut dice: Dice) -> (u64, Option<Error>) {
    let (mut taken, mut posted, mut heard, mut held) = (0u64, 0, 0, Vec::new());
    loop {
        let block = match dice.roll(7) {
            0 => writer.data_block().now_or_never(),
            1 => {
                drop(writer.watch().now_or_never());
                None
            }
            2 => {
                if let Some(Ok(Some(letter))) = writer.letter().now_or_never() {
                    assert_eq!(letter.kind, heard);
                    heard = heard.wrapping_add(1);
                }
                None
            }
            3 => {
                if let Some(Ok(())) = writer.post(posted, b"").now_or_never() {
                    posted = posted.wrapping_add(1);
                }
                None
            }
            4 => {
                // While the end is armed for something else.
                let back = held.pop();
                drop(writer.ready(Interest::LETTERS).now_or_never());
                tokio::spawn(async move { drop::<Option<OwnedDataBlock>>(back) });
                drop(writer.ready(Interest::ROOM).now_or_never());
                None
            }
            5 => {
                yield_now().await;
                None
            }
            _ => {
                held.clear();
                Some(writer.data_block().await)
            }
        };
        match block {
            None => {}
            Some(Ok(None)) => return (taken, None),
            Some(Err(error)) => return (taken, Some(error)),
            Some(Ok(Some(block))) => {
                assert_eq!((&*block, block.tag()), (&taken.to_le_bytes()[..], taken));
                taken += 1;
                held.push(block);
                // The Reader would wait for these, and this end for the Reader.
                held.truncate(2);
            }
        }
    }
}

#[test]
fn whatever_waits_are_begun_and_dropped_in_whatever_order_all_comes_once() {
    const COUNT: u64 = TURNS / 10;
    in_both(|| async {
        for seed in 1..=12 {
            let (mut reader, mut writer) = pair(8, 3).await;
            let sending = tokio::spawn(async move {
                send_by_chance(&mut reader, COUNT, Dice(seed)).await;
                match seed % 3 {
                    0 => reader.abort("enough"),
                    1 => drop(reader),
                    _ => {
                        reader.close().unwrap();
                        let verdict = reader.verdict().await;
                        // Whatever the other end still has, it gives back soon.
                        assert_eq!(verdict.unwrap().blocks, COUNT);
                    }
                }
            });
            let (taken, error) = take_by_chance(&mut writer, Dice(seed + 100)).await;
            assert_eq!(taken, COUNT, "seed {seed}");
            match error {
                None => {
                    // Blocks that other tasks have may be on their way.
                    until_finished(&mut writer).await;
                }
                Some(error) => {
                    assert!(matches!(error, Error::PartnerAborted { .. }), "{error:?}");
                }
            }
            sending.await.unwrap();
        }
    });
}

/// The verdict, once every block is back.
async fn until_finished(writer: &mut AsyncWriter) {
    while writer.delivered().blocks < TURNS / 10 {
        writer.get_ref().pass_on();
        yield_now().await;
    }
    writer.finish().unwrap();
}

#[test]
fn a_wait_that_was_dropped_in_one_task_goes_on_in_another() {
    in_both(|| async {
        let (mut reader, mut writer) = pair(8, 1).await;
        for number in 0..200 {
            assert!(writer.data_block().now_or_never().is_none());
            let taking = tokio::spawn(async move {
                let tag = writer.data_block().await.unwrap().unwrap().tag();
                (writer, tag)
            });
            yield_now().await;
            send_number(&mut reader, number).await.unwrap();
            let (same, tag) = taking.await.unwrap();
            writer = same;
            assert_eq!(tag, number);
        }
    });
}

#[test]
fn letters_and_the_verdict_are_not_lost_with_a_wait_for_them() {
    in_both(|| async {
        let (mut reader, mut writer) = pair(8, 1).await;
        let posting = tokio::spawn(async move {
            let mut posted = 0;
            while posted < 2000 {
                tokio::select! {
                    biased;
                    done = writer.post(posted, b"") => {
                        done.unwrap();
                        posted += 1;
                    }
                    () = yield_now() => {}
                }
            }
            while writer.data_block().await.unwrap().is_some() {}
            sleep(Duration::from_millis(2)).await;
            writer.finish().unwrap();
        });
        let mut taken = 0;
        while taken < 2000 {
            if let Some(letter) = reader.letter().now_or_never() {
                assert_eq!(letter.unwrap().unwrap().kind, taken);
                taken += 1;
            } else {
                yield_now().await;
            }
        }
        reader.close().unwrap();
        let verdict = loop {
            match timeout(Duration::from_micros(50), reader.verdict()).await {
                Ok(verdict) => break verdict,
                Err(_) => yield_now().await,
            }
        };
        verdict.unwrap();
        posting.await.unwrap();
    });
}

#[test]
fn a_stream_that_has_the_reader_in_it_waits_for_the_verdict_as_often_as_it_takes() {
    in_both(|| async {
        let (reader, writer) = pair(8, 2).await;
        let mut sending = reader.into_stream();
        sending.write_all(b"all").await.unwrap();
        for _ in 0..2 {
            assert!(sending.finish().now_or_never().is_none());
        }
        let mut receiving = writer.into_stream();
        // Before the end was seen.
        let error = receiving.finish().unwrap_err();
        assert!(matches!(error, Error::InvalidUse(_)), "{error:?}");
        let mut all = Vec::new();
        receiving.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"all");
        receiving.finish().unwrap();
        assert_eq!(sending.finish().await.unwrap().bytes, 3);
    });
}

#[test]
fn who_stops_joining_gives_the_place_up() {
    in_both(|| async {
        let (_directory, name) = place();
        for round in 0..20 {
            // On its way to the place, or at it, or before it has begun.
            let patience = Duration::from_micros(200 * round);
            let first = timeout(patience, join(&name, &options(8, 1))).await;
            assert!(first.is_err());
        }
        // Nobody is in the way of these two, and nobody who has given up is the partner of one.
        let options = options(8, 1);
        let both = tokio::try_join!(join(&name, &options), join(&name, &options));
        match both.unwrap() {
            (Role::Reader(mut reader), Role::Writer(mut writer))
            | (Role::Writer(mut writer), Role::Reader(mut reader)) => {
                send_number(&mut reader, 7).await.unwrap();
                assert_eq!(writer.data_block().await.unwrap().unwrap().tag(), 7);
            }
            both => panic!("not a reader and a writer: {both:?}"),
        }
    });
}

#[test]
fn a_place_that_is_waited_for_in_is_free_soon_after_the_wait_was_dropped() {
    in_both(|| async {
        let (directory, name) = place();
        let is_held = || {
            std::fs::read_dir(directory.path()).unwrap().any(|file| {
                let name = file.unwrap().file_name();
                name.to_string_lossy().ends_with(".sock")
            })
        };
        let options = options(8, 1);
        let mut joining = Box::pin(join(&name, &options));
        // What can be seen of it differs from system to system.
        let wait = match cfg!(unix) {
            true => until(is_held).left_future(),
            false => sleep(Duration::from_millis(200)).right_future(),
        };
        tokio::select! {
            _ = &mut joining => panic!("there is nobody"),
            () = wait => {}
        }
        drop(joining);
        until(|| !is_held()).await;
        let both = tokio::try_join!(
            join_both_ways(&name, &options),
            join_both_ways(&name, &options)
        );
        let (one, other) = both.unwrap();
        assert_ne!(one.is_first, other.is_first);
    });
}

#[test]
fn a_runtime_that_is_shut_down_does_not_wait_for_who_joins() {
    bounded(|| {
        for runtime in runtimes() {
            let (_directory, name) = place();
            let same = name.clone();
            runtime.spawn(async move { join(&same, &options(8, 1)).await.map(drop) });
            runtime.block_on(async { sleep(Duration::from_millis(20)).await });
            drop(runtime);
            // The place is free: this one is the first again.
            let limit = Duration::from_millis(1);
            let alone = brigade::join(&name, &options(8, 1).wait(limit)).unwrap_err();
            assert!(matches!(alone, Error::NoPartner { .. }), "{alone:?}");
        }
    });
}

#[test]
fn nobody_comes_is_an_error_after_the_time_that_was_given() {
    in_both(|| async {
        let (_directory, name) = place();
        let options = Options::new().wait(Duration::from_millis(20));
        let alone = timeout(LIMIT, join(&name, &options)).await.unwrap();
        assert!(matches!(alone, Err(Error::NoPartner { .. })));
    });
}
