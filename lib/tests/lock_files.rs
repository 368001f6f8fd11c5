//! What a name's two files may be on Linux, and what is made of others.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use brigade::{Error, Options, Seat, join};
use tempfile::TempDir;

/// A name that nobody else has.
struct Place {
    directory: TempDir,
    name: String,
}

impl Place {
    fn new() -> Place {
        let directory = tempfile::tempdir().unwrap();
        let name = format!("{}/n", directory.path().display());
        Place { directory, name }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn assert_refused_for_its_lock_file(&self) {
        let error = Seat::take(&self.name, &Options::new()).unwrap_err();
        assert!(error.to_string().contains("n.lock"), "{error}");
    }
}

#[test]
fn a_name_in_a_directory_that_does_not_exist_is_an_error_that_names_the_file() {
    let place = Place::new();
    let name = format!("{}/missing/n", place.directory.path().display());
    let error = Seat::take(&name, &Options::new()).unwrap_err();
    assert!(error.to_string().contains("missing/n.lock"), "{error}");
}

#[test]
fn a_name_whose_socket_would_have_too_long_a_path_is_refused_and_the_text_says_the_limit() {
    let place = Place::new();
    let name = format!("{}/{}", place.directory.path().display(), "x".repeat(108));
    let error = Seat::take(&name, &Options::new()).unwrap_err();
    assert!(matches!(error, Error::InvalidOption(_)), "{error:?}");
    assert!(error.to_string().contains("107 bytes"), "{error}");
}

#[test]
fn a_socket_file_that_a_dead_host_left_is_replaced() {
    let place = Place::new();
    drop(UnixListener::bind(place.file("n.sock")).unwrap());
    assert!(place.file("n.sock").exists());
    let seat = Seat::take(&place.name, &Options::new()).unwrap();
    assert!(seat.is_first());
    assert!(place.file("n.sock").exists());
    drop(seat);
    assert!(!place.file("n.sock").exists());
}

#[test]
fn a_lock_file_that_is_a_symlink_is_refused_and_not_followed() {
    let place = Place::new();
    let target = place.file("target");
    std::os::unix::fs::symlink(&target, place.file("n.lock")).unwrap();
    place.assert_refused_for_its_lock_file();
    assert!(!target.exists());
    std::fs::write(&target, "").unwrap();
    place.assert_refused_for_its_lock_file();
}

#[test]
fn a_lock_file_that_is_a_directory_is_refused() {
    let place = Place::new();
    std::fs::create_dir(place.file("n.lock")).unwrap();
    place.assert_refused_for_its_lock_file();
}

#[test]
fn the_socket_is_there_for_as_long_as_a_host_can_be_reached() {
    let place = Place::new();
    let socket = place.file("n.sock");
    let host = Seat::take(&place.name, &Options::new()).unwrap();
    assert!(socket.exists());
    let host = thread::spawn(move || host.wait());
    let second = join(&place.name, &Options::new()).unwrap();
    let first = host.join().unwrap().unwrap();
    assert!(!socket.exists(), "a third could reach the host");
    drop((first, second));

    drop(Seat::take(&place.name, &Options::new()).unwrap());
    assert!(!socket.exists());
    let patience = Options::new().wait(Duration::from_millis(10));
    let error = join(&place.name, &patience).unwrap_err();
    assert!(matches!(error, Error::NoPartner { .. }), "{error:?}");
    assert!(!socket.exists());
}
