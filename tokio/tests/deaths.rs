//! A partner that is killed: an error, soon, from whatever waits, after all that it had sent.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

mod common;

use std::future::Future;
use std::time::Duration;

use brigade_tokio::{AsyncReader, Error, Interest};
use common::other::{BLOCKS, Other};
use common::{in_both, send_number};
use futures_util::{StreamExt, TryStreamExt};
use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, timeout};

/// How long the news of a death may take, on a machine that does ten other things.
const SOON: Duration = Duration::from_secs(20);

/// Lets a wait begin. If it has not, the test shows less.
const BEGUN: Duration = Duration::from_millis(20);

#[test]
fn the_process_that_other_tests_start() {
    common::other::run();
}

/// The partner is killed while `wait` waits, in a task of its own.
async fn killed_during<T: Send + std::fmt::Debug + 'static>(
    other: &mut Other,
    wait: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Error {
    let waiting = tokio::spawn(wait);
    sleep(BEGUN).await;
    assert!(!waiting.is_finished());
    other.kill();
    timeout(SOON, waiting).await.unwrap().unwrap().unwrap_err()
}

fn died(error: &Error) -> u64 {
    match error {
        Error::PartnerDied { delivered, .. } => delivered.blocks,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reader_that_is_killed_is_an_error_after_all_that_it_sent() {
    in_both(|| async {
        let (mut other, mut writer) = Other::reading("read").await;
        other.is_done().await;
        let error = killed_during(&mut other, async move {
            for tag in 0..3 {
                assert_eq!(writer.data_block().await?.unwrap().tag(), tag);
            }
            writer.data_block().await
        });
        assert_eq!(died(&error.await), 3);
        // Also if nobody looked before it was dead.
        let (mut other, mut writer) = Other::reading("read").await;
        other.is_done().await;
        other.kill();
        for tag in 0..3 {
            assert_eq!(writer.next().await.unwrap().unwrap().tag(), tag);
        }
        // Again and again.
        for _ in 0..3 {
            let error = timeout(SOON, writer.data_block()).await.unwrap();
            died(&error.unwrap_err());
        }
    });
}

#[test]
fn a_writer_that_is_killed_is_an_error_for_who_waits_for_a_block() {
    in_both(|| async {
        let (mut other, mut reader) = Other::writing("write").await;
        for number in 0..2 {
            send_number(&mut reader, number).await.unwrap();
        }
        other.is_done().await;
        let error = killed_during(&mut other, async move {
            for number in 2.. {
                send_number(&mut reader, number).await?;
            }
            Ok(())
        });
        assert_eq!(died(&error.await), 1);
    });
}

#[test]
fn a_death_ends_every_other_wait() {
    async fn filled(reader: &mut AsyncReader) {
        for number in 0..BLOCKS as u64 {
            send_number(reader, number).await.unwrap();
        }
    }
    in_both(|| async {
        let (mut other, mut reader) = Other::writing("write nothing").await;
        died(&killed_during(&mut other, async move { reader.letter().await }).await);

        let (mut other, mut reader) = Other::writing("write nothing").await;
        let posting = async move {
            loop {
                reader.post(0, b"").await?;
            }
            #[expect(unreachable_code, reason = "what it would say")]
            Ok(())
        };
        died(&killed_during(&mut other, posting).await);

        let (mut other, mut reader) = Other::writing("write nothing").await;
        died(&killed_during(&mut other, async move { reader.watch().await }).await);

        let (mut other, mut reader) = Other::writing("write nothing").await;
        filled(&mut reader).await;
        let both = Interest::BLOCKS | Interest::LETTERS;
        died(&killed_during(&mut other, async move { reader.ready(both).await }).await);

        let (mut other, mut reader) = Other::writing("write nothing").await;
        filled(&mut reader).await;
        let error = killed_during(&mut other, async move {
            let written = reader.stream().write_all(b"more").await;
            written.map_err(|error| error.downcast().unwrap())
        });
        died(&error.await);

        let (mut other, mut reader) = Other::writing("write all").await;
        filled(&mut reader).await;
        died(&killed_during(&mut other, async move { reader.finish().await }).await);

        let (mut other, mut writer) = Other::reading("read nothing").await;
        died(&killed_during(&mut other, async move { writer.letter().await }).await);

        let (mut other, mut writer) = Other::reading("read").await;
        died(&killed_during(&mut other, async move { writer.watch().await }).await);
    });
}

#[test]
fn what_is_held_of_a_dead_reader_s_stays_as_it_is() {
    in_both(|| async {
        let (mut other, mut writer) = Other::reading("read").await;
        let block = writer.data_block().await.unwrap().unwrap();
        other.is_done().await;
        other.kill();
        assert_eq!(*block, 0u64.to_le_bytes());
        let rest: Vec<_> = (&mut writer).take(2).try_collect().await.unwrap();
        assert_eq!(rest.len(), 2);
        let error = timeout(SOON, writer.data_block()).await.unwrap();
        died(&error.unwrap_err());
        drop(writer);
        assert_eq!(*block, 0u64.to_le_bytes());
    });
}

#[test]
fn who_is_idle_learns_of_a_death_by_its_next_call_or_by_watching() {
    in_both(|| async {
        let (mut other, mut writer) = Other::reading("read nothing").await;
        // Armed by a wait that was dropped, and then nobody polls.
        assert!(timeout(BEGUN, writer.data_block()).await.is_err());
        other.kill();
        sleep(BEGUN).await;
        died(
            &timeout(SOON, writer.data_block())
                .await
                .unwrap()
                .unwrap_err(),
        );
        died(&timeout(SOON, writer.watch()).await.unwrap().unwrap_err());

        // Whichever of two waits hears of it first.
        let (mut other, mut reader) = Other::writing("write nothing").await;
        for number in 0..BLOCKS as u64 {
            send_number(&mut reader, number).await.unwrap();
        }
        assert!(timeout(BEGUN, reader.empty_block()).await.is_err());
        other.kill();
        sleep(BEGUN).await;
        died(&timeout(SOON, reader.letter()).await.unwrap().unwrap_err());
        died(
            &timeout(SOON, reader.empty_block())
                .await
                .unwrap()
                .unwrap_err(),
        );

        // Beside a source that is silent.
        let (mut other, mut reader) = Other::writing("write nothing").await;
        let error = killed_during(&mut other, async move {
            let source = std::future::pending::<()>();
            tokio::select! {
                () = source => Ok(()),
                lost = reader.watch() => lost,
            }
        });
        died(&error.await);
    });
}

#[test]
fn a_reader_that_has_said_all_and_is_killed_is_not_missed() {
    in_both(|| async {
        let (mut other, mut writer) = Other::reading("close").await;
        other.is_done().await;
        other.kill();
        assert!(writer.data_block().await.unwrap().is_some());
        assert!(writer.data_block().await.unwrap().is_none());
        assert_eq!(writer.finish().unwrap().blocks, 1);
    });
}

#[test]
fn a_partner_that_is_killed_at_any_moment_costs_nothing_that_it_sent() {
    in_both(|| async {
        for round in 0..10u64 {
            let (mut other, mut writer) = Other::reading("read on").await;
            let taking = tokio::spawn(async move {
                let mut expected = 0;
                loop {
                    match writer.data_block().await {
                        Ok(Some(block)) => {
                            assert_eq!(*block, u64::to_le_bytes(expected));
                            expected += 1;
                        }
                        Ok(None) => panic!("no end was said"),
                        Err(error) => return (expected, died(&error), writer),
                    }
                }
            });
            other.is_done().await;
            sleep(Duration::from_micros(700 * round)).await;
            other.kill();
            let (taken, delivered, writer) = timeout(SOON, taking).await.unwrap().unwrap();
            assert_eq!(taken, delivered);
            // It could go on with another one.
            drop(writer.into_inner().into_survivor().unwrap());

            let (mut other, mut reader) = Other::writing("write on").await;
            let sending = tokio::spawn(async move {
                for number in 0.. {
                    if let Err(error) = send_number(&mut reader, number).await {
                        return (number, died(&error), reader);
                    }
                }
                unreachable!()
            });
            other.is_done().await;
            sleep(Duration::from_micros(700 * round)).await;
            other.kill();
            let (sent, delivered, reader) = timeout(SOON, sending).await.unwrap().unwrap();
            // The rest is there, to be sent to another one.
            let unreturned = reader.into_inner().into_unreturned().unwrap();
            assert_eq!(unreturned.len() as u64, sent - delivered);
        }
    });
}
