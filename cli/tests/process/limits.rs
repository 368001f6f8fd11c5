//! Limits of this process and of its surroundings: each is named in one line, with the
//! way out, and nothing stays behind.

use crate::harness::{Half, Outcome, Place, noise, sys};

/// A line for each of the two processes at most, all of which say `part`.
#[track_caller]
fn assert_named(outcome: &Outcome, part: &str) {
    assert!(outcome.said.lines().count() <= 2, "{outcome:?}");
    assert!(!outcome.said.is_empty(), "{outcome:?}");
    for line in outcome.said.lines() {
        assert!(line.contains(part), "no {part:?} in {line:?}");
    }
}

#[test]
fn a_destination_beyond_the_limit_of_a_file_is_an_error_and_cleaned_up() {
    let place = Place::new();
    place.file("a", noise(12 << 20));
    place.file("b", "old");
    let args = ["--both", "a", "b"];
    let Some(command) = sys::limited(&place, "--fsize=8388608", &args) else {
        return;
    };
    let parts = ["cannot write to", "File too large (ulimit -f)"];
    Half::start(command).end().expect_line(1, &parts);
    assert_eq!(std::fs::read(place.path("b")).unwrap(), b"old");
    place.assert_nothing_left();
    // The pool is a file, too.
    let command = sys::limited(&place, "--fsize=1048576", &args).unwrap();
    let outcome = Half::start(command).end().expect(1);
    assert_named(&outcome, "ulimit -f");
    place.assert_nothing_left();
}

#[test]
fn documents_beyond_the_limit_of_a_file_are_an_error() {
    let place = Place::new();
    let Some(mut command) = sys::limited(&place, "--fsize=1000", &["--man"]) else {
        return;
    };
    command.stdout(std::fs::File::create(place.path("man")).unwrap());
    let outcome = Half::start_as_it_is(command).end();
    outcome.expect_line(1, &["cannot write to standard output", "ulimit -f"]);
}

#[test]
fn too_few_open_files_are_refused_at_once_with_what_to_type() {
    let place = Place::new();
    place.file("a", "water");
    for limit in ["--nofile=8", "--nofile=14", "--nofile=31"] {
        let Some(command) = sys::limited(&place, limit, &["--both", "a", "b"]) else {
            return;
        };
        Half::start(command)
            .end()
            .expect_line(1, &["run: ulimit -n 32"]);
    }
    let command = sys::limited(&place, "--nofile=32", &["--both", "a", "b"]).unwrap();
    Half::start(command).end().expect(0);
    // A limit that this process may raise is none.
    let command = sys::limited(&place, "--nofile=14:64", &["--both", "a", "b"]).unwrap();
    Half::start(command).end().expect(0);
}

#[test]
fn too_little_memory_is_named_whatever_it_is_too_little_for() {
    let place = Place::new();
    place.file("a", "water");
    let mut failed = 0;
    for mib in 10..40 {
        let limit = format!("--as={}", mib << 20);
        let Some(command) = sys::limited(&place, &limit, &["--both", "a", "b"]) else {
            return;
        };
        let outcome = Half::start(command).end();
        if outcome.code == Some(127) {
            // The system could not start it.
            continue;
        }
        if (outcome.code, outcome.said.as_str(), failed) == (None, "", 0) {
            // Nor could it give it a stack to begin with.
            continue;
        }
        let fatal = ["memory allocation of", "Fatal glibc error"];
        if fatal.iter().any(|words| outcome.said.contains(words)) {
            // A few bytes were missing, in between two things that fail with words: no
            // program of Rust survives that.
            continue;
        }
        match outcome.code {
            Some(0) => {}
            _ => {
                assert!(outcome.said.contains("-v"), "{outcome:?}");
                assert_named(&outcome, "ulimit -");
                failed += 1;
            }
        }
        place.assert_nothing_left();
    }
    assert!(failed > 0, "no limit was too low");
}

#[test]
fn too_few_processes_are_named_whatever_could_not_be_started() {
    let place = Place::new();
    // For more than one thread to hash.
    place.file("a", noise(1 << 20));
    let mut failed = 0;
    for processes in 0..16 {
        let limit = format!("--nproc={processes}");
        let args = ["--both", "--verify", "a", "b"];
        let Some(command) = sys::limited_stranger(&place, &limit, &args) else {
            return;
        };
        let outcome = Half::start(command).end();
        if outcome.code != Some(0) {
            assert_named(&outcome, "ulimit -u");
            failed += 1;
        }
        place.assert_nothing_left();
    }
    assert!(failed > 0, "no limit was too low");
}

#[test]
fn without_proc_two_terminals_do_it_and_both_says_so() {
    let place = Place::new();
    place.file("a", "water");
    let hidden = |args: &[&str]| sys::surrounded(&place, "mount -t tmpfs none /proc", args);
    let Some(command) = hidden(&["--both", "a", "b"]) else {
        return;
    };
    let outcome = Half::start(command).end().expect(1);
    let last = outcome.said.lines().last().unwrap();
    for part in [
        "/proc/self/exe",
        "run the same command twice, without --both",
    ] {
        assert!(last.contains(part), "{outcome:?}");
    }
    let reader = Half::start(hidden(&["a", "b"]).unwrap());
    reader.hear("waiting");
    let writer = Half::start(hidden(&["a", "b"]).unwrap()).end().expect(0);
    assert!(
        writer.said.contains("cannot tell which signals"),
        "{writer:?}"
    );
    reader.end().expect(0);
    assert_eq!(std::fs::read(place.path("b")).unwrap(), b"water");
}

#[test]
fn a_private_directory_that_cannot_be_made_names_the_way_out() {
    let place = Place::new();
    place.file("a", "water");
    let script = "mount --bind run run && mount -o remount,bind,ro run";
    let Some(command) = sys::surrounded(&place, script, &["--both", "a", "b"]) else {
        return;
    };
    let parts = ["Read-only file system", "--name", "XDG_RUNTIME_DIR"];
    Half::start(command).end().expect_line(1, &parts);
}
