//! What a wait does, by counting: no time is measured.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::cell::Cell;
use std::io;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Error, Interest, Options, Reader, Readiness, Seat, Writer, join};

/// A pair in this process.
fn pair() -> (Reader, Writer) {
    let directory = tempfile::tempdir().unwrap();
    let name = format!("{}/n", directory.path().display());
    let options = Options::new();
    let seat = Seat::take(&name, &options).unwrap();
    let host = thread::spawn(move || seat.wait());
    let second = loop {
        match join(&name, &options) {
            // A busy machine keeps the host from opening its door.
            Err(Error::TooManyInstances { .. }) => {}
            joined => break joined.unwrap(),
        }
    };
    let reader = host.join().unwrap().unwrap().into_reader().unwrap();
    (reader, second.into_writer().unwrap())
}

/// How often a wait looks that finds nothing until `deadline`.
fn looks_until(reader: &Reader, deadline: Instant) -> u32 {
    let looks = Cell::new(0);
    let waited = reader.end().wait(Some(deadline), || {
        looks.set(looks.get() + 1);
        Ok(None::<()>)
    });
    assert!(matches!(waited, Err(Error::TimedOut)));
    looks.get()
}

/// A runtime that has nothing to say.
struct Silent;

impl Readiness for Silent {
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

/// How often a poll looks that finds nothing.
fn looks_of_a_poll(reader: &Reader) -> u32 {
    let looks = Cell::new(0);
    let look = || {
        looks.set(looks.get() + 1);
        Ok(None::<()>)
    };
    let mut cx = Context::from_waker(Waker::noop());
    let end = reader.end();
    assert!(
        end.poll(Interest::LETTERS, &mut Silent, &mut cx, look)
            .is_pending()
    );
    end.withdraw();
    looks.get()
}

#[test]
fn of_several_ends_of_a_thread_one_looks_for_a_while_before_it_is_pending() {
    if thread::available_parallelism().is_ok_and(|count| count.get() == 1) {
        return;
    }
    let ((first, _partner), (second, _other)) = (pair(), pair());
    for reader in [&first, &first, &second] {
        thread::sleep(Duration::from_millis(1));
        assert!(looks_of_a_poll(reader) > 40);
    }
    // On a busy machine the second one may come late.
    let is_short = || {
        thread::sleep(Duration::from_millis(1));
        looks_of_a_poll(&first) > 40 && looks_of_a_poll(&second) < 10
    };
    assert!((0..1000).any(|_| is_short()));
}

#[test]
fn a_wait_whose_deadline_has_passed_looks_once() {
    let (reader, _writer) = pair();
    let now = Instant::now();
    assert_eq!(looks_until(&reader, now), 1);
    assert_eq!(looks_until(&reader, now - Duration::from_secs(1)), 1);
    // That looks are counted: one that has time looks before and after it sleeps.
    assert!(looks_until(&reader, Instant::now() + Duration::from_millis(5)) > 2);
}
