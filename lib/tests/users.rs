//! Partners of two users, on Linux. To be another user needs root.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::thread::{self, JoinHandle};

use brigade::{Error, Options, Role, Seat, join};
use tempfile::TempDir;

/// A user that this test is not.
const STRANGER: u32 = 65534;

/// Runs `act` as another user: the kernel's word on a thread is that thread's own.
fn as_user<T: Send + 'static>(
    user: u32,
    act: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    thread::spawn(move || {
        let user = rustix::process::Uid::from_raw(user);
        rustix::thread::set_thread_res_uid(user, user, user).unwrap();
        act()
    })
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: only root can be another user, too");
    }
    root
}

/// A name in a directory where everybody can make files.
fn shared_name(mode: u32) -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let everybody = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(directory.path(), everybody).unwrap();
    let name = format!("{}/n", directory.path().display());
    (directory, name)
}

/// One block's way, from whoever is the Reader.
fn work(role: Role) {
    match role {
        Role::Reader(reader) => {
            let mut block = reader.empty_block().unwrap();
            block[..5].copy_from_slice(b"water");
            block.send(5, 0).unwrap();
            reader.finish().unwrap();
        }
        Role::Writer(writer) => {
            assert_eq!(&*writer.data_block().unwrap().unwrap(), b"water");
            assert!(writer.data_block().unwrap().is_none());
            writer.finish().unwrap();
        }
    }
}

#[test]
fn two_users_that_allow_each_other_meet_whoever_comes_first_and_again() {
    if !is_root() {
        return;
    }
    // As a directory of a group, and as /tmp, where nobody removes another's files.
    for mode in [0o777, 0o1777] {
        let (directory, name) = shared_name(mode);
        for first in [0, STRANGER, 0] {
            let second = STRANGER - first;
            let options = |guest: u32| Options::new().allow_user(&guest.to_string());
            let (host_name, guest_name) = (name.clone(), name.clone());
            let (taken, is_taken) = std::sync::mpsc::channel();
            let host = as_user(first, move || {
                let seat = Seat::take(&host_name, &options(second)).unwrap();
                assert!(seat.is_first());
                taken.send(()).unwrap();
                work(seat.wait().unwrap());
            });
            is_taken.recv().unwrap();
            let guest = as_user(second, move || {
                work(join(&guest_name, &options(first)).unwrap());
            });
            guest.join().unwrap();
            host.join().unwrap();
        }
        let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn who_allows_is_not_allowed_by_that_and_both_are_named() {
    if !is_root() {
        return;
    }
    let (_directory, name) = shared_name(0o777);
    let stranger = STRANGER.to_string();
    let seat = Seat::take(&name, &Options::new().allow_user(&stranger)).unwrap();
    let host = thread::spawn(move || seat.wait());
    let guest_name = name.clone();
    let guest = as_user(STRANGER, move || join(&guest_name, &Options::new()));
    let Err(Error::Refused { text, .. }) = guest.join().unwrap() else {
        panic!("not refused");
    };
    assert!(
        text.contains("root (0)") && text.contains(&stranger),
        "{text}"
    );
    let second = join(&name, &Options::new()).unwrap();
    let second = thread::spawn(move || work(second));
    work(host.join().unwrap().unwrap());
    second.join().unwrap();
}

#[test]
fn a_third_user_is_refused_by_a_host_that_allows_another() {
    if !is_root() {
        return;
    }
    let (_directory, name) = shared_name(0o777);
    let seat = Seat::take(&name, &Options::new().allow_user("12345")).unwrap();
    let host = thread::spawn(move || seat.wait());
    let guest_name = name.clone();
    let options = Options::new().allow_user("root");
    let guest = as_user(STRANGER, move || join(&guest_name, &options));
    let Err(Error::Refused { text, .. }) = guest.join().unwrap() else {
        panic!("not refused");
    };
    assert!(text.contains("must allow the other's"), "{text}");
    let second = join(&name, &Options::new()).unwrap();
    let second = thread::spawn(move || work(second));
    work(host.join().unwrap().unwrap());
    second.join().unwrap();
}

#[test]
fn a_lock_file_is_open_to_others_only_if_they_are_allowed() {
    let (directory, name) = shared_name(0o700);
    let mode = || {
        let lock = std::fs::metadata(directory.path().join("n.lock")).unwrap();
        lock.mode() & 0o777
    };
    let options = Options::new().allow_user("12345");
    let seat = Seat::take(&name, &options.wait(std::time::Duration::from_secs(1))).unwrap();
    assert_eq!(mode(), 0o644);
    let host = thread::spawn(move || seat.wait());
    // Somebody who allows nobody, and does not fit, leaves it as it is.
    let error = Seat::take(&name, &Options::new().block_size(1)).unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    assert_eq!(mode(), 0o644);
    host.join().unwrap().unwrap_err();
    let _seat = Seat::take(&name, &Options::new()).unwrap();
    assert_eq!(mode(), 0o600);
}

#[test]
fn a_lock_file_that_was_left_and_that_no_guest_could_open_is_named_by_who_would_host() {
    let (directory, name) = shared_name(0o700);
    let lock = directory.path().join("n.lock");
    std::fs::write(&lock, "").unwrap();
    std::fs::set_permissions(&lock, std::fs::Permissions::from_mode(0o600)).unwrap();
    let allowing = Options::new().allow_user("12345");
    let error = Seat::take(&name, &allowing).unwrap_err().to_string();
    assert!(error.contains("n.lock was left from earlier"), "{error}");
    // Beside a host that allows nobody it does not matter.
    let seat = Seat::take(&name, &Options::new()).unwrap();
    let host = thread::spawn(move || seat.wait());
    let second = join(&name, &allowing).unwrap();
    drop((host.join().unwrap().unwrap(), second));
}

#[test]
fn another_user_needs_a_name_that_is_a_path_and_has_to_exist() {
    let invalid = |name: &str, user: &str| {
        let error = Seat::take(name, &Options::new().allow_user(user)).unwrap_err();
        assert!(matches!(error, Error::InvalidOption(_)), "{error:?}");
        error.to_string()
    };
    assert!(invalid("plain", "root").contains("must be a path"));
    let (_directory, name) = shared_name(0o700);
    assert!(invalid(&name, "no-such-user").contains("no-such-user"));
    assert!(invalid(&name, "no\0user").contains("no user"));
}

#[test]
fn the_overflow_user_is_nobodys_own_where_not_all_users_have_numbers() {
    if !is_root() {
        return;
    }
    let overflow = std::fs::read_to_string("/proc/sys/kernel/overflowuid").unwrap();
    let overflow = overflow.trim().parse().unwrap();
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    let all_have_numbers = map.split_ascii_whitespace().eq(["0", "0", "4294967295"]);
    for (user, is_own) in [(12345, true), (overflow, all_have_numbers)] {
        let (_directory, name) = shared_name(0o777);
        let both = [(), ()].map(|()| {
            let name = name.clone();
            as_user(user, move || {
                let role = join(&name, &Options::new()).unwrap();
                let partner = match &role {
                    Role::Reader(reader) => reader.partner(),
                    Role::Writer(writer) => writer.partner(),
                };
                assert_eq!(partner.user_id(), Some(user));
                assert_eq!(partner.is_own_user(), is_own);
                work(role);
            })
        });
        for thread in both {
            thread.join().unwrap();
        }
    }
}
