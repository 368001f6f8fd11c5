//! What becomes of a destination that is there already.

use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use crate::harness::{Half, Outcome, Place, noise, skip, sys, why};

/// Both ways of running, with --both and twice by hand, succeed; what each process
/// said last.
#[track_caller]
fn run(place: &Place, options: &[&str], source: &str, destination: &str) -> Vec<String> {
    let args = [options, &[source, destination]].concat();
    let both = [&["--both"][..], &args].concat();
    let both = Half::start(place.brigade(both)).end().expect(0);
    let halves = place.twice(&args).map(|half| half.end().expect(0));
    place.assert_nothing_left();
    let said = [both].into_iter().chain(halves).map(|outcome| outcome.said);
    said.map(|said| last_line(&said)).collect()
}

fn last_line(said: &str) -> String {
    said.lines().last().unwrap_or_default().to_owned()
}

fn content(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn set_modified(path: &Path, seconds: u64, nanoseconds: u32) {
    let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds);
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_modified(time).unwrap();
}

#[test]
fn no_clobber_keeps_what_is_there_and_both_halves_say_so_and_succeed() {
    let place = Place::new();
    place.file("a", noise(1 << 20));
    let b = place.file("b", "old");
    for said in run(&place, &["--no-clobber"], "a", "b") {
        assert!(
            said.contains("kept") && said.ends_with("b: it exists"),
            "{said}"
        );
    }
    assert_eq!(content(&b), "old");
    let quiet = Half::start(place.brigade(["--both", "-q", "-n", "a", "b"]));
    assert_eq!(quiet.end().expect(0).said, "");
    Half::start(place.brigade(["--both", "-n", "a", "c"]))
        .end()
        .expect(0);
    assert!(std::fs::read(place.path("c")).unwrap() == noise(1 << 20));
}

#[test]
fn no_clobber_takes_nothing_from_a_stream_and_does_not_wait_for_it() {
    let place = Place::new();
    let b = place.file("b", "old");
    let mut command = place.brigade(["--both", "-n", "-", "b"]);
    command.stdin(Stdio::piped());
    let mut both = Half::start(command);
    // Open, and silent.
    let input = both.input();
    both.end().expect(0);
    drop(input);
    assert_eq!(content(&b), "old");
}

#[test]
fn no_clobber_in_a_directory_whose_file_only_the_reader_can_name() {
    let place = Place::new();
    place.file("a", noise(16 << 20));
    std::fs::create_dir(place.path("d")).unwrap();
    let b = place.file("d/a", "old");
    let name = place.name();
    for source in ["a", "fifo"] {
        let fifo = sys::Fifo::new(&place);
        let (source, file) = match source {
            "a" => ("a", "d"),
            // Nobody writes: the Reader is stuck when it hears.
            _ => (fifo.path(), "d/a"),
        };
        let writer = ["--as", "writer", "-n", "--name", &name, file];
        let writer = Half::start(place.brigade(writer));
        writer.hear("waiting");
        let reader = Half::start(place.brigade(["--as", "reader", "--name", &name, source]));
        for half in [reader, writer] {
            let said = half.end().expect(0).said;
            assert!(last_line(&said).ends_with("a: it exists"), "{said}");
        }
        assert_eq!(content(&b), "old");
        fifo.remove();
    }
}

#[test]
fn a_destination_that_came_meanwhile_is_kept_and_no_clobber_fails() {
    let place = Place::new();
    let mut copy = place.begin(&["--no-clobber"]);
    let mut input = copy.input();
    std::io::Write::write_all(&mut input, b"ne").unwrap();
    place.wait_for_data();
    let b = place.file("b", "another's");
    drop(input);
    let outcome = copy.end().expect(1);
    assert!(
        outcome.said.contains("it came while this copy ran"),
        "{outcome:?}"
    );
    assert_eq!(content(&b), "another's");
    place.assert_nothing_left();
}

#[test]
fn update_replaces_only_what_is_older_to_the_nanosecond() {
    let place = Place::new();
    let (a, b) = (place.file("a", "new"), place.path("b"));
    for (source, destination, is_kept) in [
        ((5, 0), (5, 0), true),
        ((5, 100), (5, 200), true),
        ((5, 0), (6, 0), true),
        ((5, 200), (5, 100), false),
        ((6, 0), (5, 999_999_900), false),
    ] {
        set_modified(&a, source.0, source.1);
        let reset = || {
            std::fs::write(&b, "old").unwrap();
            set_modified(&b, destination.0, destination.1);
        };
        reset();
        let said = Half::start(place.brigade(["--both", "--update", "a", "b"]));
        let said = said.end().expect(0).said;
        let case = format!("{source:?} {destination:?} {said}");
        assert_eq!(said.contains("the source is not newer"), is_kept, "{case}");
        assert_eq!(content(&b), if is_kept { "old" } else { "new" }, "{case}");
        reset();
        for half in place.twice(&["-u", "a", "b"]) {
            half.end().expect(0);
        }
        assert_eq!(content(&b), if is_kept { "old" } else { "new" }, "{case}");
    }
}

#[test]
fn update_copies_where_there_is_nothing_and_from_what_has_no_time() {
    let place = Place::new();
    let a = place.file("a", "new");
    run(&place, &["--update"], "a", "b");
    assert_eq!(content(&place.path("b")), "new");
    set_modified(&a, 5, 0);
    let mut copy = place.begin(&["--update"]);
    copy.feed(b"stream".to_vec());
    copy.end().expect(0);
    assert_eq!(content(&place.path("b")), "stream");
}

#[test]
fn a_backup_keeps_the_old_file_itself_in_the_place_of_an_older_backup() {
    let place = Place::new();
    place.file("a", "new");
    for (option, backup) in [("--backup", "b~"), ("--backup=.old", "b.old")] {
        let b = place.file("b", "old");
        let backup = place.file(backup, "older");
        let identity = sys::identity(&b);
        Half::start(place.brigade(["--both", option, "a", "b"]))
            .end()
            .expect(0);
        assert_eq!(
            (content(&b), content(&backup)),
            ("new".into(), "old".into())
        );
        assert_eq!(sys::identity(&backup), identity);
        for half in place.twice(&[option, "a", "b"]) {
            half.end().expect(0);
        }
        assert_eq!(
            (content(&b), content(&backup)),
            ("new".into(), "new".into())
        );
        place.assert_nothing_left();
    }
    Half::start(place.brigade(["--both", "--backup", "a", "c"]))
        .end()
        .expect(0);
    assert!(!place.path("c~").exists());
}

#[test]
fn a_backup_that_cannot_be_made_leaves_all_as_it_was() {
    let place = Place::new();
    place.file("a", "new");
    let b = place.file("b", "old");
    std::fs::create_dir(place.path("b~")).unwrap();
    let too_long = format!("--backup={}", "~".repeat(300));
    for (option, why) in [("--backup", "a directory"), (&too_long, "too long")] {
        // Not only when a stream has come to its end.
        let mut command = place.brigade(["--both", option, "-", "b"]);
        command.stdin(Stdio::piped());
        let both = Half::start(command);
        both.end()
            .expect_line(1, &["cannot make the backup", "b~", why]);
        place.assert_nothing_left();
    }
    assert_eq!(content(&b), "old");
    std::fs::remove_dir(place.path("b~")).unwrap();
    // One that fails before that makes none.
    let (broken, _) = sys::broken_source(&place);
    Half::start(place.brigade(["--both", "--backup", &broken, "b"]))
        .end()
        .expect(1);
    assert!(!place.path("b~").exists());
    assert_eq!(content(&b), "old");
}

#[test]
fn a_backup_of_another_user_s_file_is_that_file() {
    if !sys::is_root() {
        return;
    }
    let place = Place::new();
    place.file("a", "new");
    let b = place.file("b", "old");
    let identity = sys::identity(&b);
    // Linux may refuse this user a second name for it.
    let args = ["--both", "--backup", "--name", &place.name(), "a", "b"];
    Half::start(sys::as_nobody(&place, &args)).end().expect(0);
    let backup = place.path("b~");
    assert_eq!(
        (content(&b), content(&backup)),
        ("new".into(), "old".into())
    );
    assert_eq!(sys::identity(&backup), identity);
    assert_eq!((sys::owner(&b).0, sys::owner(&backup).0), (65534, 0));
    place.assert_nothing_left();
}

#[test]
fn a_backup_never_takes_the_source_s_place_and_its_suffix_never_leads_elsewhere() {
    let place = Place::new();
    let source = place.file("b~", "new");
    place.file("b", "old");
    let both = |options: &[&str]| -> Outcome {
        Half::start(place.brigade([&["--both"], options, &["b~", "b"]].concat())).end()
    };
    both(&["--backup"]).expect_line(1, &["backup", "would replace the source"]);
    for suffix in ["--backup=/x", "--backup=../x", "--backup="] {
        both(&[suffix]).expect_line(2, &["--backup", "end of a file name"]);
    }
    assert_eq!(content(&source), "new");
    assert_eq!(content(&place.path("b")), "old");
}

#[test]
fn the_destination_never_lacks_a_file_while_its_backup_is_made() {
    let place = Place::new();
    place.file("a", "new");
    let b = place.file("b", "old");
    let looking = AtomicBool::new(true);
    let missing = std::thread::scope(|scope| {
        let looker = scope.spawn(|| {
            let mut missing = 0;
            while looking.load(Ordering::Relaxed) {
                missing += u32::from(!sys::exists(&b));
            }
            missing
        });
        let copies: Vec<_> = (0..20)
            .map(|_| {
                let args = ["--both", "--no-sync", "--backup", "a", "b"];
                Half::start(place.brigade(args)).end()
            })
            .collect();
        // Before anything can fail: the scope waits for the other thread.
        looking.store(false, Ordering::Relaxed);
        for copy in copies {
            copy.expect(0);
        }
        looker.join().unwrap()
    });
    assert_eq!(missing, 0);
}

#[test]
fn a_backup_of_a_link_is_the_link_and_without_one_its_file_is_replaced() {
    let place = Place::new();
    place.file("a", "new");
    let target = place.file("target", "old");
    if !sys::link("target", &place.path("b")) {
        return;
    }
    for said in run(&place, &["--no-clobber"], "a", "b") {
        assert!(said.contains("kept"), "{said}");
    }
    assert_eq!(content(&target), "old");
    Half::start(place.brigade(["--both", "--backup", "a", "b"]))
        .end()
        .expect(0);
    assert_eq!(content(&target), "old");
    let [b, backup] = ["b", "b~"].map(|name| place.path(name));
    assert!(!b.is_symlink() && backup.is_symlink());
    assert_eq!(
        (content(&b), content(&backup)),
        ("new".into(), "old".into())
    );
    Half::start(place.brigade(["--both", "a", "b~"]))
        .end()
        .expect(0);
    assert_eq!(content(&target), "new");
    assert!(backup.is_symlink());
}

#[test]
fn what_is_written_in_place_is_never_backed_up_but_can_be_kept() {
    let place = Place::new();
    place.file("a", "water");
    let fifo = sys::Fifo::new(&place);
    let both = Half::start(place.brigade(["--both", "--backup", "a", fifo.path()]));
    assert_eq!(fifo.read(&both), b"water");
    both.end().expect(0);
    assert!(!place.path("fifo~").exists());
    let said = Half::start(place.brigade(["--both", "-n", "a", sys::NULL_DEVICE]));
    let said = said.end().expect(0).said;
    assert!(said.contains("kept"), "{said}");
    Half::start(place.brigade(["--both", "-u", "a", sys::NULL_DEVICE]))
        .end()
        .expect(0);
    place.assert_nothing_left();
}

#[test]
fn a_device_that_is_full_is_written_in_place_and_says_so() {
    let Some(full) = sys::FULL_DEVICE else {
        return skip("no device is always full here");
    };
    let place = Place::new();
    place.file("a", "water");
    let both = Half::start(place.brigade(["--both", "--backup", "a", full]));
    both.end()
        .expect_line(1, &["cannot write to", full, "No space left"]);
}

#[test]
fn options_that_exclude_each_other_are_refused() {
    let place = Place::new();
    place.file("a", "new");
    for options in [["-n", "-u"], ["-n", "--backup"]] {
        let both = [&["--both"], &options[..], &["a", "b"]].concat();
        let outcome = Half::start(place.brigade(both)).end();
        outcome.expect_line(2, &["cannot be used with"]);
    }
    let missing = Half::start(place.brigade(["--both", "-n", "missing", "b"])).end();
    missing.expect_line(1, &["missing", &why(sys::NO_SUCH_FILE)]);
}
