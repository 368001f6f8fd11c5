//! What several files of tests need: a pair in one process, whose two ends differ from two
//! processes in nothing but that neither can die alone.
#![allow(dead_code, reason = "each file of tests needs some of it")]

pub(crate) mod other;

use std::panic;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use brigade::{Error, Options, Reader, Role, Seat, Writer, join};

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

/// Repeats `join` as long as a busy machine keeps the other process from opening its door:
/// the library tries for half a second.
pub(crate) fn patiently<T>(mut join: impl FnMut() -> Result<T, Error>) -> T {
    let since = Instant::now();
    loop {
        match join() {
            Err(Error::TooManyInstances { .. }) if since.elapsed() < LIMIT / 4 => {}
            joined => return joined.unwrap(),
        }
    }
}

/// Two ends with `count` blocks of `size` bytes.
pub(crate) fn pair(size: usize, count: usize) -> (Reader, Writer) {
    let directory = tempfile::tempdir().unwrap();
    let name = format!("{}/n", directory.path().display());
    let options = Options::new().block_size(size).block_count(count);
    let seat = Seat::take(&name, &options).unwrap();
    let host = thread::spawn(move || seat.wait());
    let second = patiently(|| join(&name, &options));
    match (host.join().unwrap().unwrap(), second) {
        (Role::Reader(reader), Role::Writer(writer)) => (reader, writer),
        both => panic!("not a reader and a writer: {both:?}"),
    }
}

/// Sends `bytes` under `tag`.
pub(crate) fn send(reader: &Reader, bytes: &[u8], tag: u64) {
    let mut block = reader.empty_block().unwrap();
    block[..bytes.len()].copy_from_slice(bytes);
    block.send(bytes.len(), tag).unwrap();
}

/// The tags of all blocks that come, up to the verdict; each block is its tag.
pub(crate) fn drain(writer: &Writer) -> Vec<u64> {
    let deadline = Instant::now() + LIMIT;
    let mut tags = Vec::new();
    while let Some(block) = writer.data_block_until(deadline).unwrap() {
        assert_eq!(*block, block.tag().to_le_bytes());
        tags.push(block.tag());
    }
    writer.finish().unwrap();
    tags
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_millis(20)
}

pub(crate) fn invalid_use<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    match result.unwrap_err() {
        Error::InvalidUse(text) => text,
        error => panic!("{error:?}"),
    }
}

pub(crate) fn partner_aborted<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result.unwrap_err() {
        Error::PartnerAborted { reason, .. } => reason,
        error => panic!("{error:?}"),
    }
}
