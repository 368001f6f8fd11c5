//! Processes that a task starts and invites.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

mod common;

use std::process::{Command, Stdio};

use brigade::{invite, invite_both_ways};
use brigade_tokio::{BothWays, Error, accept, accept_both_ways, wait, wait_both_ways};
use common::{LIMIT, bounded, expect_numbers, in_both, options, send_number};
use tokio::runtime::Builder;
use tokio::time::timeout;

/// In how many ways data goes, for the process that is started.
const WAYS: &str = "BRIGADE_INVITED_WAYS";

#[test]
fn the_process_that_other_tests_start() {
    let Ok(ways) = std::env::var(WAYS) else {
        return;
    };
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = options(8, 2);
        match ways.as_str() {
            "one" => {
                let mut writer = accept(&options).await.unwrap().into_writer().unwrap();
                expect_numbers(&mut writer, 0..100).await;
                writer.finish().unwrap();
            }
            "two" => {
                let BothWays { reader, writer, .. } = accept_both_ways(&options).await.unwrap();
                let (mut reader, mut writer) = (reader, writer);
                while let Some(block) = writer.data_block().await.unwrap() {
                    send_number(&mut reader, block.tag()).await.unwrap();
                }
                writer.finish().unwrap();
                reader.finish().await.unwrap();
            }
            _ => {}
        }
    });
}

fn command(ways: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "the_process_that_other_tests_start"])
        .env(WAYS, ways)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

#[test]
fn a_process_that_was_started_is_the_partner() {
    in_both(|| async {
        let invitation = invite(&options(8, 2)).unwrap();
        let (mut child, seat) = invitation.spawn(&mut command("one")).unwrap();
        let role = timeout(LIMIT, wait(seat)).await.unwrap().unwrap();
        let mut reader = role.into_reader().unwrap();
        for number in 0..100 {
            send_number(&mut reader, number).await.unwrap();
        }
        reader.finish().await.unwrap();
        assert!(child.wait().unwrap().success());

        let invitation = invite_both_ways(&options(8, 2)).unwrap();
        let (mut child, seat) = invitation.spawn(&mut command("two")).unwrap();
        let both = timeout(LIMIT, wait_both_ways(seat)).await.unwrap().unwrap();
        let (mut reader, mut writer) = (both.reader, both.writer);
        let asking = async {
            for number in 0..100 {
                send_number(&mut reader, number).await.unwrap();
            }
            reader.close().unwrap();
        };
        tokio::join!(asking, expect_numbers(&mut writer, 0..100));
        writer.finish().unwrap();
        reader.verdict().await.unwrap();
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn a_process_that_ends_without_an_answer_is_not_waited_for() {
    in_both(|| async {
        let invitation = invite(&options(8, 2)).unwrap();
        let (mut child, seat) = invitation.spawn(&mut command("none")).unwrap();
        let none = timeout(LIMIT, wait(seat)).await.unwrap();
        assert!(matches!(none, Err(Error::InvitationOver)), "{none:?}");
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn who_was_not_invited_is_told_so() {
    bounded(|| {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let none = runtime.block_on(accept(&options(8, 2)));
        assert!(matches!(none, Err(Error::InvalidUse(_))), "{none:?}");
    });
}
