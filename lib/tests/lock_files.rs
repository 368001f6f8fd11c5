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

/// Nothing takes that long.
const LIMIT: Duration = Duration::from_secs(60);

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

/// What is in the directory.
fn files(place: &Place) -> Vec<std::ffi::OsString> {
    let entries = std::fs::read_dir(place.directory.path()).unwrap();
    entries.map(|entry| entry.unwrap().file_name()).collect()
}

#[test]
fn nothing_is_left_of_a_name_when_its_host_is_done() {
    let place = Place::new();
    drop(Seat::take(&place.name, &Options::new()).unwrap());
    assert!(files(&place).is_empty(), "{:?}", files(&place));
    for _ in 0..20 {
        let host = Seat::take(&place.name, &Options::new()).unwrap();
        let host = thread::spawn(move || host.wait());
        let second = join(&place.name, &Options::new()).unwrap();
        let host = host.join().unwrap().unwrap();
        assert_eq!(files(&place), ["n.lock"], "while both are there");
        drop((host, second));
        assert!(files(&place).is_empty(), "{:?}", files(&place));
    }
}

#[test]
fn of_many_that_come_and_go_at_the_same_time_no_two_hold_a_name() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let place = Place::new();
    let holders = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let until = std::time::Instant::now() + Duration::from_secs(2);
                let options = Options::new().side(brigade::Side::Reader);
                while std::time::Instant::now() < until {
                    // All want the same side, so who does not host is refused, or full.
                    if let Ok(seat) = Seat::take(&place.name, &options) {
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                        thread::sleep(Duration::from_micros(50));
                        holders.fetch_sub(1, Ordering::SeqCst);
                        drop(seat);
                    }
                }
            });
        }
    });
}

#[test]
fn a_file_that_is_not_empty_is_no_lock_and_stays_as_it_is() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let lock = place.file("n.lock");
    std::fs::write(&lock, "version = 4\n").unwrap();
    std::fs::set_permissions(&lock, std::fs::Permissions::from_mode(0o640)).unwrap();
    for options in [Options::new(), Options::new().allow_user("12345")] {
        let error = Seat::take(&place.name, &options).unwrap_err().to_string();
        assert!(error.contains("n.lock is not empty"), "{error}");
        assert!(error.contains("choose another name"), "{error}");
    }
    let mode = std::fs::metadata(&lock).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert_eq!(std::fs::read(&lock).unwrap(), b"version = 4\n");
}

#[test]
fn a_file_with_a_second_name_is_no_lock_and_stays_as_it_is() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let other = place.file("other");
    std::fs::write(&other, "").unwrap();
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o640)).unwrap();
    std::fs::hard_link(&other, place.file("n.lock")).unwrap();
    for options in [Options::new(), Options::new().allow_user("12345")] {
        let error = Seat::take(&place.name, &options).unwrap_err().to_string();
        assert!(error.contains("second name"), "{error}");
    }
    let mode = std::fs::metadata(&other).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn a_lock_file_that_a_killed_host_left_is_removed_by_the_next_one_whoever_made_it() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let lock = place.file("n.lock");
    std::fs::write(&lock, "").unwrap();
    // As a host marks what it makes.
    std::fs::set_permissions(&lock, std::fs::Permissions::from_mode(0o1600)).unwrap();
    drop(Seat::take(&place.name, &Options::new()).unwrap());
    assert!(files(&place).is_empty(), "{:?}", files(&place));
}

#[test]
fn an_empty_lock_file_that_was_there_is_used_and_stays_with_its_mode() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let lock = place.file("n.lock");
    std::fs::write(&lock, "").unwrap();
    std::fs::set_permissions(&lock, std::fs::Permissions::from_mode(0o640)).unwrap();
    drop(Seat::take(&place.name, &Options::new()).unwrap());
    let mode = std::fs::metadata(&lock).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn a_host_whose_files_were_removed_makes_them_again_and_is_met() {
    for removed in [&["n.lock"][..], &["n.sock"], &["n.lock", "n.sock"]] {
        let place = Place::new();
        let host = Seat::take(&place.name, &Options::new()).unwrap();
        let host = thread::spawn(move || host.wait());
        for file in removed {
            std::fs::remove_file(place.file(file)).unwrap();
        }
        let since = std::time::Instant::now();
        while files(&place).len() < 2 {
            assert!(since.elapsed() < LIMIT, "not made again");
            thread::sleep(Duration::from_millis(20));
        }
        // On a busy machine the host may not have come to answer within half a second.
        let second = loop {
            match join(&place.name, &Options::new()) {
                Err(Error::TooManyInstances { .. }) if since.elapsed() < LIMIT => {}
                joined => break joined.unwrap(),
            }
        };
        drop((host.join().unwrap().unwrap(), second));
        assert!(files(&place).is_empty(), "{:?}", files(&place));
    }
}

#[test]
fn a_host_whose_name_another_took_meanwhile_ends_with_the_reason() {
    let place = Place::new();
    let host = Seat::take(&place.name, &Options::new()).unwrap();
    std::fs::remove_file(place.file("n.lock")).unwrap();
    std::fs::remove_file(place.file("n.sock")).unwrap();
    let other = Seat::take(&place.name, &Options::new()).unwrap();
    assert!(other.is_first());
    let error = host.wait().unwrap_err().to_string();
    assert!(
        error.contains("was removed while this process waited"),
        "{error}"
    );
    // Nothing of the other's went with it.
    assert_eq!(files(&place).len(), 2, "{:?}", files(&place));
    let other = thread::spawn(move || other.wait());
    join(&place.name, &Options::new()).unwrap();
    other.join().unwrap().unwrap();
}

// ---- plain names ------------------------------------------------------------------

/// Where a test starts this program again, with a private directory of its own.
const DIRECTORY: &str = "BRIGADE_TEST_DIRECTORY";

#[test]
fn of_a_plain_name_nothing_stays_whatever_was_left_from_earlier() {
    let directory = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "the_process_that_uses_a_plain_name",
            "--exact",
            "--nocapture",
        ])
        .env("XDG_RUNTIME_DIR", directory.path())
        .env(DIRECTORY, directory.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_process_that_uses_a_plain_name() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let directory = PathBuf::from(directory).join("brigade");
    let entries = || std::fs::read_dir(&directory).unwrap().count();
    drop(Seat::take("plain", &Options::new()).unwrap());
    assert_eq!(entries(), 0);
    // As after a kill.
    std::fs::write(directory.join("plain.lock"), "").unwrap();
    drop(UnixListener::bind(directory.join("plain.sock")).unwrap());
    let host = Seat::take("plain", &Options::new()).unwrap();
    // So that whoever cleans the directory leaves it alone.
    let locked = std::fs::File::open(&directory).unwrap();
    assert!(locked.try_lock().is_err(), "the directory is not held");
    let host = thread::spawn(move || host.wait());
    let second = join("plain", &Options::new()).unwrap();
    drop((host.join().unwrap().unwrap(), second));
    assert_eq!(entries(), 0);
    locked.try_lock().unwrap();
}
