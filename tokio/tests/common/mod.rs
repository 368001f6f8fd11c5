//! What several files of tests need.
#![allow(dead_code, reason = "each file of tests needs some of it")]

pub(crate) mod other;

use std::future::Future;
use std::panic;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use brigade::Seat;
use brigade_tokio::{AsyncReader, AsyncWriter, Error, Options, Role, join, wait};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// No test takes this long; one that does hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// Runs `test`, and fails when it hangs.
pub(crate) fn bounded(test: impl FnOnce() + Send + 'static) {
    let (done, finished) = mpsc::channel();
    let thread = thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    let ended = finished.recv_timeout(LIMIT);
    assert_ne!(ended, Err(RecvTimeoutError::Timeout), "the test hangs");
    if let Err(why) = thread.join() {
        panic::resume_unwind(why);
    }
}

pub(crate) fn runtimes() -> [Runtime; 2] {
    let one = Builder::new_current_thread().enable_all().build().unwrap();
    let several = Builder::new_multi_thread()
        .worker_threads(3)
        .enable_all()
        .build()
        .unwrap();
    [one, several]
}

/// Runs `test` as a task, in a runtime of one thread and in one of several.
pub(crate) fn in_both<F>(test: fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    bounded(move || {
        for runtime in runtimes() {
            runtime.block_on(async { tokio::spawn(test()).await.unwrap() });
        }
    });
}

pub(crate) fn place() -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let name = format!("{}/n", directory.path().display());
    (directory, name)
}

pub(crate) fn options(size: usize, count: usize) -> Options {
    Options::new().block_size(size).block_count(count)
}

/// Two ends with `count` blocks of `size` bytes.
pub(crate) async fn pair(size: usize, count: usize) -> (AsyncReader, AsyncWriter) {
    let (_directory, name) = place();
    let options = options(size, count);
    // The first is there before the second comes, however busy the machine is.
    let seat = Seat::take(&name, &options).unwrap();
    match tokio::try_join!(wait(seat), join(&name, &options)).unwrap() {
        (Role::Reader(reader), Role::Writer(writer)) => (reader, writer),
        both => panic!("not a reader and a writer: {both:?}"),
    }
}

/// Sends a block that says its own number, which it is tagged with, too.
pub(crate) async fn send_number(reader: &mut AsyncReader, number: u64) -> Result<(), Error> {
    let mut block = reader.empty_block().await?;
    block[..8].copy_from_slice(&number.to_le_bytes());
    reader.send_block(block, 8, number)
}

/// The blocks that come until the end of the data are those of `numbers`, and no others.
pub(crate) async fn expect_numbers(
    writer: &mut AsyncWriter,
    numbers: impl IntoIterator<Item = u64>,
) {
    for number in numbers {
        let block = writer.data_block().await.unwrap().unwrap();
        assert_eq!((&*block, block.tag()), (&number.to_le_bytes()[..], number));
    }
    assert!(writer.data_block().await.unwrap().is_none());
}

/// Waits for what cannot be waited for.
pub(crate) async fn until(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "it is never so");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
