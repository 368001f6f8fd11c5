//! What becomes of a task's wait when its process forks, on Unix: the session, and what the
//! runtime tells of it, stay the parent's.
#![cfg(unix)]
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it, and forks by hand"
)]

mod common;

use std::future::{Future, poll_fn};
use std::pin::pin;

use common::{LIMIT, in_both, pair, send_number};
use tokio::sync::oneshot;

/// What `wait` gives, which does not have it at once: then `waits` is told.
async fn late<T>(wait: impl Future<Output = T>, waits: oneshot::Sender<()>) -> T {
    let mut wait = pin!(wait);
    let mut waits = Some(waits);
    poll_fn(|cx| {
        let found = wait.as_mut().poll(cx);
        if let Some(waits) = waits.take() {
            assert!(found.is_pending());
            waits.send(()).unwrap();
        }
        found
    })
    .await
}

/// Runs `act` in a forked child, until that has ended.
fn in_fork(act: impl FnOnce()) {
    // SAFETY: the child goes on as this one thread, and what it does needs no other.
    match unsafe { libc::fork() } {
        -1 => panic!("no fork"),
        0 => {
            // SAFETY: it has no handler, so the child ends if it hangs.
            unsafe { libc::alarm(LIMIT.as_secs() as u32 / 2) };
            act();
            // SAFETY: the end of this process.
            unsafe { libc::_exit(0) }
        }
        child => {
            let mut status = 0;
            // SAFETY: `status` is this function's own.
            let waited = unsafe { libc::waitpid(child, &mut status, 0) };
            assert_eq!((waited, status), (child, 0));
        }
    }
}

#[test]
fn a_forked_child_that_drops_its_ends_takes_no_wake_from_the_parents() {
    in_both(|| async {
        let (mut reader, mut writer) = pair(8, 1).await;
        in_fork(|| {
            // SAFETY: the child, whose memory is a copy, never uses them again.
            unsafe {
                drop(std::ptr::read(&raw const reader));
                drop(std::ptr::read(&raw const writer));
            }
        });
        let (tell, told) = oneshot::channel();
        let taking = tokio::spawn(async move {
            let block = late(writer.data_block(), tell).await.unwrap().unwrap();
            (writer, block)
        });
        told.await.unwrap();
        send_number(&mut reader, 1).await.unwrap();
        let (writer, block) = taking.await.unwrap();
        let (tell, told) = oneshot::channel();
        let asking = tokio::spawn(async move { late(reader.empty_block(), tell).await.map(drop) });
        told.await.unwrap();
        drop(block);
        writer.get_ref().pass_on();
        asking.await.unwrap().unwrap();
    });
}
