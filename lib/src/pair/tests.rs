//! What a wait does, by counting: no time is measured.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use crate::{Error, Options, Reader, Seat, Writer, join};

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

#[test]
fn a_wait_whose_deadline_has_passed_looks_once() {
    let (reader, _writer) = pair();
    let now = Instant::now();
    assert_eq!(looks_until(&reader, now), 1);
    assert_eq!(looks_until(&reader, now - Duration::from_secs(1)), 1);
    // That looks are counted: one that has time looks before and after it sleeps.
    assert!(looks_until(&reader, Instant::now() + Duration::from_millis(5)) > 2);
}
