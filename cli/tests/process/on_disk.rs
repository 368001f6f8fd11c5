//! "On disk" is what the system was asked for, in the right order, and an error of it
//! is one of the copy.

use crate::harness::{Half, Place, noise, sys};

/// More than what is synced while the copy runs.
const SIZE: usize = 40 << 20;

#[test]
fn data_is_on_disk_before_it_gets_its_name_and_the_name_before_the_end() {
    let place = Place::new();
    place.file("a", noise(SIZE));
    // There are not that many calls, so none fails; but all of these are logged.
    let calls = ["fsync", "fdatasync", "rename", "renameat", "renameat2"];
    let faults = calls.map(|call| format!("{call}:error=EIO:when=65535"));
    let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
    let Some(copy) = sys::with_faults(&place, &faults, &["--both", "a", "b"]) else {
        return;
    };
    Half::start(copy).end().expect(0);
    let log = std::fs::read_to_string(place.path("strace")).unwrap();
    // "PROCESS CALL(…".
    let made = log.lines().filter_map(|line| {
        let (call, _) = line.split_once('(')?;
        call.split_whitespace().last()
    });
    let made: Vec<&str> = made.filter(|call| calls.contains(call)).collect();
    let renamed = made.iter().position(|call| call.starts_with("rename"));
    let renamed = renamed.unwrap();
    assert!(made[..renamed].contains(&"fsync"), "{log}");
    assert_eq!(made[renamed + 1..], ["fsync"], "{log}");
}

#[test]
fn a_sync_that_fails_is_a_failure_of_the_copy() {
    let place = Place::new();
    let data = noise(SIZE);
    place.file("a", &data);
    // While the copy runs, at its end, and of the directory.
    for (fault, what, is_replaced) in [
        ("fdatasync:error=EIO:when=1", "cannot sync", false),
        ("fsync:error=EIO:when=1", "cannot sync", false),
        ("fsync:error=EIO:when=2", "may not be on disk", true),
    ] {
        place.file("b", "old");
        let Some(copy) = sys::with_faults(&place, &[fault], &["--both", "a", "b"]) else {
            return;
        };
        let outcome = Half::start(copy).end().expect(1);
        assert!(outcome.said.contains(what), "{fault} {outcome:?}");
        let is_new = std::fs::read(place.path("b")).unwrap() == data;
        assert_eq!(is_new, is_replaced, "{fault}");
        place.assert_nothing_left();
    }
}
