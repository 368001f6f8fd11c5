//! The file of a second's claim on Linux, beside that of the seat.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

mod common;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use brigade::{Error, Options, Refusal, Role, Seat, Side, Survivor, join};
use common::other::{self, Other, keeping, options};
use common::{LIMIT, bounded};
use tempfile::TempDir;

#[test]
fn the_process_that_other_tests_start() {
    other::run();
}

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

    /// One where everybody can make files.
    fn shared(mode: u32) -> Place {
        let place = Place::new();
        let everybody = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(place.directory.path(), everybody).unwrap();
        place
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What is in the directory, sorted.
    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path()).unwrap();
        let mut files: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        files
    }

    fn pair(&self, first: &Options, second: &Options) -> (Role, Role) {
        let seat = Seat::take(&self.name, first).unwrap();
        let host = thread::spawn(move || seat.wait());
        let second = join(&self.name, second).unwrap();
        (host.join().unwrap().unwrap(), second)
    }
}

/// The descriptors of this process that lead into a directory.
fn descriptors_in(place: &Place) -> usize {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    entries
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter(|target| target.starts_with(place.directory.path()))
        .count()
}

#[test]
fn only_a_second_that_keeps_its_place_has_a_claim_and_each_is_one_file_and_one_descriptor() {
    let place = Place::new();
    for (first, second) in [(false, false), (true, false), (false, true), (true, true)] {
        let options = |keeps| if keeps { keeping() } else { options() };
        let ends = place.pair(&options(first), &options(second));
        let expected: &[&str] = match second {
            true => &["n.claim", "n.lock"],
            false => &["n.lock"],
        };
        assert_eq!(place.files(), expected);
        assert_eq!(descriptors_in(&place), expected.len());
        if second {
            let claim = std::fs::metadata(place.file("n.claim")).unwrap();
            assert_eq!((claim.len(), claim.mode() & 0o7777), (0, 0o1600));
        }
        drop(ends);
        assert!(place.files().is_empty(), "{:?}", place.files());
        assert_eq!(descriptors_in(&place), 0);
    }
}

#[test]
fn a_verdict_frees_the_name_at_once_on_both_sides() {
    let place = Place::new();
    let (reader, writer) = place.pair(&keeping(), &keeping());
    let (Role::Reader(reader), Role::Writer(writer)) = (reader, writer) else {
        panic!("not a reader and a writer");
    };
    reader.close().unwrap();
    assert!(writer.data_block().unwrap().is_none());
    writer.finish().unwrap();
    assert_eq!(place.files(), ["n.lock"]);
    reader.verdict().unwrap();
    assert!(place.files().is_empty(), "{:?}", place.files());
    drop((reader, writer));
}

/// A pair of processes; the first is the Reader.
fn others(place: &Place) -> (Other, Other) {
    let first = Other::keeping(&place.name, "reader");
    first.expect("first");
    let second = Other::keeping(&place.name, "writer");
    second.expect("second");
    for one in [&first, &second] {
        one.expect("paired 1");
    }
    (first, second)
}

#[test]
fn what_killed_processes_leave_is_removed_by_the_next_host_whatever_that_wants() {
    for keeps in [true, false] {
        let place = Place::new();
        let (mut first, mut second) = others(&place);
        first.kill();
        second.kill();
        assert_eq!(place.files(), ["n.claim", "n.lock"]);
        let options = if keeps { keeping() } else { options() };
        let seat = Seat::take(&place.name, &options).unwrap();
        assert_eq!(place.files(), ["n.lock", "n.sock"]);
        drop(seat);
        assert!(place.files().is_empty(), "{:?}", place.files());
    }
}

#[test]
fn a_host_that_ends_removes_what_its_killed_second_left() {
    let place = Place::new();
    let (mut first, mut second) = others(&place);
    second.kill();
    first.ask("lose", "lost");
    first.tell("stop");
    first.child.wait().unwrap();
    assert!(place.files().is_empty(), "{:?}", place.files());
}

#[test]
fn a_survivor_that_ends_leaves_nothing_whether_it_has_moved_or_not() {
    for moves in [true, false] {
        let place = Place::new();
        let seat = Seat::take(&place.name, &keeping().side(Side::Writer)).unwrap();
        let mut other = Other::keeping(&place.name, "reader");
        let Role::Writer(writer) = seat.wait().unwrap() else {
            panic!("not the writer");
        };
        other.kill();
        let mut survivor = writer.into_survivor().unwrap();
        if moves {
            let nobody = keeping().wait(Duration::ZERO);
            survivor.rejoin(&place.name, &nobody).unwrap_err();
        }
        drop(survivor);
        assert!(place.files().is_empty(), "{:?}", place.files());
    }
}

#[test]
fn what_is_no_claim_of_brigade_is_left_alone_and_named() {
    type Make = fn(&std::path::Path);
    let makes: [(Make, &str); 4] = [
        (|path| std::fs::write(path, "mine").unwrap(), "is not empty"),
        (|path| std::fs::create_dir(path).unwrap(), "is a directory"),
        (
            |path| std::os::unix::fs::symlink("elsewhere", path).unwrap(),
            "symbolic link",
        ),
        (
            |path| {
                std::fs::write(path, "").unwrap();
                std::fs::hard_link(path, path.with_extension("other")).unwrap();
            },
            "second name",
        ),
    ];
    for (make, why) in makes {
        let place = Place::new();
        make(&place.file("n.claim"));
        let before = std::fs::symlink_metadata(place.file("n.claim"))
            .unwrap()
            .ino();
        let error = Seat::take(&place.name, &options()).unwrap_err().to_string();
        assert!(error.contains("n.claim") && error.contains(why), "{error}");
        let after = std::fs::symlink_metadata(place.file("n.claim"))
            .unwrap()
            .ino();
        assert_eq!(before, after);
        assert!(!place.file("n.lock").exists());
    }
}

#[test]
fn an_empty_file_that_brigade_did_not_make_is_used_and_stays() {
    let place = Place::new();
    std::fs::write(place.file("n.claim"), "").unwrap();
    let ends = place.pair(&keeping(), &keeping());
    assert_eq!(place.files(), ["n.claim", "n.lock"]);
    drop(ends);
    assert_eq!(place.files(), ["n.claim"]);
}

#[test]
fn a_directory_that_is_removed_while_a_survivor_is_on_its_way_is_an_error_and_nothing_hangs() {
    for host_dies in [true, false] {
        let place = Place::new();
        let (other, role) = match host_dies {
            true => {
                let other = Other::keeping(&place.name, "reader");
                other.expect("first");
                let role = join(&place.name, &keeping()).unwrap();
                (other, role)
            }
            false => {
                let seat = Seat::take(&place.name, &keeping().side(Side::Writer)).unwrap();
                let other = Other::keeping(&place.name, "reader");
                (other, seat.wait().unwrap())
            }
        };
        let Role::Writer(writer) = role else {
            panic!("not the writer");
        };
        drop(other);
        let mut survivor = writer.into_survivor().unwrap();
        let there = place.directory.path().to_owned();
        std::fs::remove_dir_all(&there).unwrap();
        let limited = keeping().wait(Duration::from_millis(700));
        let error = survivor.rejoin(&place.name, &limited).unwrap_err();
        assert!(matches!(error, Error::Os { .. }), "{error:?}");
        std::fs::create_dir(&there).unwrap();
        let other = Other::keeping(&place.name, "any");
        let writer = survivor.rejoin(&place.name, &keeping()).unwrap();
        // It had nothing any more that could keep the newcomer from coming first.
        let heard = other.hear();
        assert!(heard == "first" || heard == "second", "{heard}");
        drop(writer);
    }
}

/// A user that this test is not, but where it says so.
const STRANGER: u32 = 65534;

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: only root can be another user, too");
    }
    root
}

/// Runs `act` as another user: the kernel's word on a thread is that thread's own.
fn as_stranger<T: Send + 'static>(
    act: impl FnOnce() -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    thread::spawn(move || {
        let user = rustix::process::Uid::from_raw(STRANGER);
        rustix::thread::set_thread_res_uid(user, user, user).unwrap();
        act()
    })
}

fn allowing(user: u32) -> Options {
    keeping().allow_user(&user.to_string())
}

/// A Writer that had the first place and has lost its Reader.
fn survivor(place: &Place) -> Survivor {
    let (writer, reader) = place.pair(&keeping().side(Side::Writer), &keeping());
    drop(reader);
    match writer {
        Role::Writer(writer) => writer.into_survivor().unwrap(),
        role => panic!("{role:?}"),
    }
}

/// Waits until the host has made its lock file, and its socket.
fn wait_for_files(place: &Place) {
    let until = Instant::now() + LIMIT;
    while !(place.file("n.lock").exists() && place.file("n.sock").exists()) {
        assert!(Instant::now() < until);
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_survivor_whose_lock_file_was_removed_keeps_its_place_by_the_next_one() {
    let place = Place::new();
    let mut survivor = survivor(&place);
    let (name, stop) = (place.name.clone(), Arc::new(AtomicBool::new(false)));
    let stops = Arc::clone(&stop);
    let waiting = thread::spawn(move || {
        // As it is when it has failed, whatever it waited for.
        while !stops.load(Ordering::SeqCst) {
            let limited = keeping().wait(Duration::from_secs(3));
            let error = survivor.rejoin(&name, &limited).unwrap_err();
            assert!(matches!(error, Error::NoPartner { .. }), "{error:?}");
        }
        survivor
    });
    wait_for_files(&place);
    std::fs::remove_file(place.file("n.lock")).unwrap();
    wait_for_files(&place);
    stop.store(true, Ordering::SeqCst);
    let survivor = waiting.join().unwrap();
    let seat = Seat::take(&place.name, &options());
    assert!(
        matches!(seat, Err(Error::TooManyInstances { .. })),
        "{seat:?}"
    );
    drop(survivor);
    assert!(place.files().is_empty(), "{:?}", place.files());
}

#[test]
fn a_host_whose_lock_file_was_removed_gives_way_to_who_has_the_claim() {
    let place = Place::new();
    let mut survivor = survivor(&place);
    let name = place.name.clone();
    let limited = keeping().wait(LIMIT);
    let waiting = thread::spawn(move || survivor.rejoin(&name, &limited).map(drop));
    wait_for_files(&place);
    // A second of others, whose host is gone.
    let file = std::fs::File::create(place.file("n.claim")).unwrap();
    file.try_lock().unwrap();
    std::fs::remove_file(place.file("n.lock")).unwrap();
    let error = waiting.join().unwrap().unwrap_err();
    let Error::Refused { reason, .. } = &error else {
        panic!("{error:?}");
    };
    assert!(matches!(reason, Refusal::NameLost), "{error:?}");
    assert_eq!(place.files(), ["n.claim"]);
}

#[test]
fn a_survivor_that_comes_second_waits_no_longer_for_its_host_than_for_a_partner() {
    bounded(|| {
        let place = Place::new();
        let mut survivor = survivor(&place);
        let elsewhere = Place::new();
        // It answers nobody.
        let seat = Seat::take(&elsewhere.name, &options()).unwrap();
        for wait in [Duration::ZERO, Duration::from_millis(300)] {
            let since = Instant::now();
            let error = survivor.rejoin(&elsewhere.name, &keeping().wait(wait));
            let error = error.unwrap_err();
            assert!(matches!(error, Error::NotAnswering { .. }), "{error:?}");
            // The five seconds that others give it are not over.
            assert!(since.elapsed() < Duration::from_secs(5));
        }
        drop(seat);
    });
}

#[test]
fn a_newcomer_of_another_user_is_refused_and_one_that_is_allowed_takes_the_place() {
    if !is_root() {
        return;
    }
    for (allowed, mode) in [
        (false, 0o777),
        (false, 0o1777),
        (true, 0o777),
        (true, 0o1777),
    ] {
        for host_dies in [true, false] {
            let place = Place::shared(mode);
            let own = match allowed {
                true => allowing(STRANGER),
                false => keeping(),
            };
            let writer = own.clone().side(Side::Writer);
            let (reader, writer) = match host_dies {
                true => place.pair(&own, &writer),
                false => {
                    let (writer, reader) = place.pair(&writer, &own);
                    (reader, writer)
                }
            };
            drop(reader);
            let Role::Writer(writer) = writer else {
                panic!("not the writer");
            };
            let mut survivor = writer.into_survivor().unwrap();
            let name = place.name.clone();
            let newcomer = as_stranger(move || join(&name, &allowing(0)).map(drop));
            let met = survivor.rejoin(&place.name, &own.wait(Duration::from_secs(3)));
            let joined = newcomer.join().unwrap();
            match allowed {
                true => {
                    joined.unwrap();
                    assert_eq!(met.unwrap().partner().user_id(), Some(STRANGER));
                }
                false => {
                    let error = met.unwrap_err();
                    assert!(matches!(error, Error::NoPartner { .. }), "{error:?}");
                    let error = joined.unwrap_err();
                    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
                }
            }
            drop(survivor);
            assert!(place.files().is_empty(), "{:?}", place.files());
        }
    }
}

#[test]
fn what_a_killed_second_left_keeps_no_user_out_that_its_host_allows() {
    if !is_root() {
        return;
    }
    let place = Place::shared(0o777);
    let options = allowing(STRANGER).side(Side::Writer);
    let seat = Seat::take(&place.name, &options).unwrap();
    let mut other = Other::keeping(&place.name, "reader");
    let Role::Writer(writer) = seat.wait().unwrap() else {
        panic!("not the writer");
    };
    other.expect("second");
    other.kill();
    let claim = std::fs::metadata(place.file("n.claim")).unwrap();
    assert_eq!(claim.mode() & 0o7777, 0o1600);
    let mut survivor = writer.into_survivor().unwrap();
    let name = place.name.clone();
    let met = thread::spawn(move || {
        survivor
            .rejoin(&name, &options)
            .map(|writer| (survivor, writer))
    });
    while !place.file("n.sock").exists() {
        assert!(!met.is_finished());
        thread::yield_now();
    }
    let name = place.name.clone();
    let newcomer = as_stranger(move || join(&name, &allowing(0)));
    let newcomer = newcomer.join().unwrap().unwrap();
    let (survivor, writer) = met.join().unwrap().unwrap();
    assert_eq!(writer.partner().user_id(), Some(STRANGER));
    drop((survivor, writer, newcomer));
}

#[test]
fn a_file_that_a_killed_process_left_is_opened_to_who_is_allowed_now() {
    for file in ["n.lock", "n.claim"] {
        let place = Place::shared(0o777);
        // As a process leaves it that allows nobody.
        std::fs::write(place.file(file), "").unwrap();
        let mode = std::fs::Permissions::from_mode(0o1600);
        std::fs::set_permissions(place.file(file), mode).unwrap();
        let options = allowing(12345);
        let ends = place.pair(&options, &options);
        for file in ["n.claim", "n.lock"] {
            let mode = std::fs::metadata(place.file(file)).unwrap().mode();
            assert_eq!(mode & 0o7777, 0o1644, "{file}");
        }
        drop(ends);
        assert!(place.files().is_empty(), "{:?}", place.files());
    }
}

#[test]
fn a_second_that_outlives_its_host_opens_what_that_left_to_who_is_allowed_now() {
    let place = Place::new();
    let mut other = Other::keeping(&place.name, "reader");
    other.expect("first");
    let role = join(&place.name, &allowing(12345)).unwrap();
    let Role::Writer(writer) = role else {
        panic!("not the writer");
    };
    other.kill();
    let lock = std::fs::metadata(place.file("n.lock")).unwrap();
    assert_eq!(lock.mode() & 0o7777, 0o1600);
    let mut survivor = writer.into_survivor().unwrap();
    let wait = Duration::from_millis(300);
    let error = survivor.rejoin(&place.name, &allowing(12345).wait(wait));
    let error = error.unwrap_err();
    assert!(matches!(error, Error::NoPartner { .. }), "{error:?}");
    let lock = std::fs::metadata(place.file("n.lock")).unwrap();
    assert_eq!(lock.mode() & 0o7777, 0o1644);
    drop(survivor);
    assert!(place.files().is_empty(), "{:?}", place.files());
}

#[test]
fn a_survivor_that_allows_others_says_at_once_what_it_lacks() {
    bounded(|| {
        for host_dies in [true, false] {
            let place = Place::new();
            let (first, second) = place.pair(&allowing(12345), &allowing(12345));
            let (dead, survivor) = match host_dies {
                true => (first, second),
                false => (second, first),
            };
            drop(dead);
            let there = place.directory.path().to_owned();
            std::fs::remove_dir_all(&there).unwrap();
            let error = match survivor {
                Role::Reader(reader) => {
                    let mut unreturned = reader.into_unreturned().unwrap();
                    unreturned.rejoin(&place.name, &allowing(12345)).map(drop)
                }
                Role::Writer(writer) => {
                    let mut survivor = writer.into_survivor().unwrap();
                    survivor.rejoin(&place.name, &allowing(12345)).map(drop)
                }
            };
            let error = error.unwrap_err();
            assert!(matches!(error, Error::Os { .. }), "{error:?}");
            std::fs::create_dir(&there).unwrap();
        }
    });
}
