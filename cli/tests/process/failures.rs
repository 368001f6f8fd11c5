//! One half fails: both say why, the old destination stays, the partial file goes.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;

use crate::harness::{Half, Place, Stream, noise, skip, sys, why};

/// A pair in which one half fails: it with 1, the other with 4, both with the
/// reason; with --both, with 1 and the reason in one line.
#[track_caller]
fn assert_both_know(place: &Place, source: &str, destination: &str, who: &str, why: &[&str]) {
    let name = place.name();
    let writer = ["--as", "writer", "--name", &name, destination];
    let writer = Half::start(place.brigade(writer));
    writer.hear("waiting");
    let reader = Half::start(place.brigade(["--as", "reader", "--name", &name, source]));
    for (half, role) in [(reader, "reader"), (writer, "writer")] {
        let code = if role == who { 1 } else { 4 };
        half.end().expect_line(code, why);
    }
    let both = Half::start(place.brigade(["--both", source, destination]));
    both.end().expect_line(1, why);
    place.assert_nothing_left();
}

#[test]
fn a_source_that_is_missing_unreadable_or_broken() {
    let place = Place::new();
    place.file("b", "old");
    assert_both_know(
        &place,
        "missing",
        "b",
        "reader",
        &["missing", &why(sys::NO_SUCH_FILE)],
    );
    let (path, what) = sys::broken_source(&place);
    assert_both_know(&place, &path, "b", "reader", &[&path, &what]);
    assert_eq!(std::fs::read(place.path("b")).unwrap(), b"old");
}

#[test]
fn a_source_that_is_missing_fails_at_once_though_no_partner_came() {
    let place = Place::new();
    for half in place.twice(&["missing", "b"]) {
        let code = half.end();
        assert!(matches!(code.code, Some(1 | 4)), "{code:?}");
        let expected = format!("missing: {}", why(sys::NO_SUCH_FILE));
        assert!(code.said.contains(&expected), "{code:?}");
    }
    place.assert_nothing_left();
}

#[test]
fn a_destination_that_is_full() {
    let Some(full) = sys::FULL_DEVICE else {
        return skip("no device is always full here");
    };
    let place = Place::new();
    place.file("a", noise(1 << 20));
    assert_both_know(&place, "a", full, "writer", &[full, "No space left"]);
}

#[test]
fn a_file_system_that_is_full_keeps_the_old_destination() {
    if !sys::is_root() {
        return;
    }
    let place = Place::new();
    place.file("a", noise(4 << 20));
    std::fs::create_dir(place.path("small")).unwrap();
    let script = r#"
        mount -t tmpfs -o size=1m none small || exit 99
        echo old > small/b
        "$0" --both a small/b
        cat a | "$0" --both - small/b
        code=$?
        cat small/b; ls -A small
        exit $code
    "#;
    let shell = ["-m", "/bin/sh", "-c", script, env!("CARGO_BIN_EXE_brigade")];
    let mut half = Half::start(place.command("unshare".as_ref(), shell));
    half.collect_output();
    let outcome = half.end();
    if outcome.code == Some(99) {
        return skip("no tmpfs can be mounted here");
    }
    let outcome = outcome.expect(1);
    // Before the first byte, where the size is known.
    let lines: Vec<&str> = outcome.said.lines().collect();
    assert!(
        lines[0].contains("needs 4.0 MiB, 1020.0 KiB are free"),
        "{outcome:?}"
    );
    assert!(lines[1].contains("No space left"), "{outcome:?}");
    assert_eq!(String::from_utf8(outcome.output).unwrap(), "old\nb\n");
}

#[test]
fn a_destination_that_cannot_be_made() {
    let place = Place::new();
    place.file("a", "water");
    // The Writer finds out before it waits, so the order is the other way round.
    let name = place.name();
    let reader = Half::start(place.brigade(["--as", "reader", "--name", &name, "a"]));
    reader.hear("waiting");
    let writer = ["--as", "writer", "--name", &name, "no/where/b"];
    let why = ["no/where/b", &why(sys::NO_SUCH_DIRECTORY)];
    Half::start(place.brigade(writer))
        .end()
        .expect_line(1, &why);
    reader.end().expect_line(4, &why);
    Half::start(place.brigade(["--both", "a", "no/where/b"]))
        .end()
        .expect_line(1, &why);
    place.assert_nothing_left();
}

#[test]
fn a_destination_that_may_not_be_written() {
    if !sys::is_root() {
        return;
    }
    let place = Place::new();
    let program = place.public_program();
    place.file("a", "new");
    let b = place.file("b", "old");
    sys::set_mode(&b, 0o444);
    let user = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let copy = [
        program.to_str().unwrap(),
        "--both",
        "--name",
        &place.name(),
        "a",
        "b",
    ];
    let half = Half::start(place.command("setpriv".as_ref(), user.iter().chain(&copy)));
    half.end().expect_line(1, &["b: Permission denied"]);
    assert_eq!(std::fs::read(&b).unwrap(), b"old");
}

#[test]
fn a_destination_that_is_read_only_or_that_another_process_has_open() {
    let place = Place::new();
    place.file("a", "new");
    let b = place.file("b", "old");
    let Some(open) = sys::open_alone(&b) else {
        return skip("an open file can be replaced, and only users are read-only here");
    };
    let copy = || Half::start(place.brigade(["--both", "a", "b"])).end();
    copy().expect_line(1, &["b: another process has it open"]);
    drop(open);
    set_read_only(&b, true);
    copy().expect_line(1, &["b: it is read-only"]);
    assert_eq!(std::fs::read(&b).unwrap(), b"old");
    set_read_only(&b, false);
    copy().expect(0);
    assert_eq!(std::fs::read(&b).unwrap(), b"new");
}

fn set_read_only(path: &Path, read_only: bool) {
    let mut permissions = std::fs::metadata(path).unwrap().permissions();
    permissions.set_readonly(read_only);
    std::fs::set_permissions(path, permissions).unwrap();
}

#[test]
fn a_destination_that_another_process_opens_while_it_is_copied() {
    let place = Place::new();
    let b = place.file("b", "old");
    let mut copy = place.begin(&[]);
    let Some(open) = sys::open_alone(&b) else {
        return skip("an open file can be replaced here");
    };
    copy.feed(b"new".to_vec());
    let outcome = copy.end().expect(1);
    assert!(
        outcome.said.contains("b: another process has it open"),
        "{outcome:?}"
    );
    drop(open);
    assert_eq!(std::fs::read(&b).unwrap(), b"old");
    place.assert_nothing_left();
}

#[test]
fn a_dangling_link_is_not_written_through() {
    let place = Place::new();
    place.file("a", "water");
    if !sys::link("nowhere", &place.path("b")) {
        return;
    }
    let both = Half::start(place.brigade(["--both", "a", "b"])).end();
    // Its directory is there.
    assert!(!both.said.contains("mkdir"), "{both:?}");
    both.expect_line(1, &["symbolic link"]);
    assert!(!place.path("nowhere").exists());
}

#[test]
fn two_copies_to_one_destination_do_not_mix() {
    let place = Place::new();
    place.file("b", "old");
    let mut first = place.begin(&[]);
    place.file("a", "second");
    let second = Half::start(place.brigade(["--both", "a", "b"])).end();
    second.expect_line(1, &["another copy is being written"]);
    first.feed(b"first".to_vec());
    first.end().expect(0);
    assert_eq!(std::fs::read(place.path("b")).unwrap(), b"first");
}

#[test]
fn a_reader_of_the_output_that_leaves_is_no_success() {
    let place = Place::new();
    place.file("a", noise(8 << 20));
    let mut both = Half::start(place.brigade(["--both", "a", "-"]));
    let mut output = both.output();
    output.read_exact(&mut [0]).unwrap();
    drop(output);
    let outcome = both.end().expect(1);
    let line = |code: &i32| format!("standard output: {}", why(*code));
    let said = |code| outcome.said.contains(&line(code));
    assert!(sys::BROKEN_PIPE.iter().any(said), "{outcome:?}");
}

#[test]
fn a_partial_file_that_was_replaced_by_hand_does_not_become_the_destination() {
    let place = Place::new();
    place.file("b", "old");
    let mut copy = place.begin(&[]);
    let partial = place.path(".b.brigade-partial");
    let mut input = copy.input();
    input.write_all(b"ne").unwrap();
    // Before there is data in it, it would be taken for another copy's.
    while std::fs::metadata(&partial).unwrap().len() == 0 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    sys::take_name(&partial);
    std::fs::write(&partial, "another").unwrap();
    input.write_all(b"w").unwrap();
    drop(input);
    let outcome = copy.end().expect(1);
    assert!(outcome.said.contains("removed or replaced"), "{outcome:?}");
    assert_eq!(std::fs::read(place.path("b")).unwrap(), b"old");
    assert_eq!(std::fs::read(&partial).unwrap(), b"another");
}

#[test]
fn that_nobody_can_hear_it_is_no_reason_to_fail() {
    let place = Place::new();
    place.file("a", "water");
    let (nobody, pipe) = std::io::pipe().unwrap();
    drop(nobody);
    let mut deaf = vec![Stdio::from(pipe)];
    if let Some(full) = sys::FULL_DEVICE {
        let full = OpenOptions::new().write(true).open(full).unwrap();
        deaf.push(full.into());
    }
    for (index, stderr) in deaf.into_iter().enumerate() {
        let name = format!("b{index}");
        let mut command = place.brigade(["--both", "-v", "--progress", "always", "a", &name]);
        // A hang here is ended by the test runner's own limit.
        let status = command.stdout(Stdio::null()).stderr(stderr).status();
        assert!(status.unwrap().success());
        assert_eq!(std::fs::read(place.path(&name)).unwrap(), b"water");
    }
}

#[test]
fn a_closed_standard_stream_is_an_error_and_not_an_empty_file() {
    let place = Place::new();
    place.file("a", "water");
    place.file("b", "old");
    for (stream, source, destination) in [(Stream::Input, "-", "b"), (Stream::Output, "a", "-")] {
        let both = sys::without(&place, stream, &["--both", source, destination]);
        let both = Half::start_as_it_is(both).end();
        both.expect_line(1, &["standard", &why(sys::CLOSED_STREAM)]);
    }
    assert_eq!(std::fs::read(place.path("b")).unwrap(), b"old");
    // The null device is another matter.
    for (source, destination) in [("a", "-"), ("-", "b")] {
        let mut both = place.brigade(["--both", source, destination]);
        both.stdout(Stdio::null());
        Half::start_as_it_is(both).end().expect(0);
    }
    assert_eq!(std::fs::read(place.path("b")).unwrap(), b"");
}

#[test]
fn a_file_is_not_appended_to_itself_through_standard_output() {
    let place = Place::new();
    let a = place.file("a", "water");
    let appended = OpenOptions::new().append(true).open(a).unwrap();
    let mut both = place.brigade(["--both", "a", "-"]);
    both.stdout(appended);
    Half::start_as_it_is(both)
        .end()
        .expect_line(1, &["a and standard output are the same"]);
    assert_eq!(std::fs::read(place.path("a")).unwrap(), b"water");
}

#[test]
fn on_disk_is_said_only_of_what_is() {
    let place = Place::new();
    place.file("a", "water");
    let said = |args: &[&str]| {
        let mut half = Half::start(place.brigade(args));
        half.collect_output();
        half.end().expect(0).said.contains("on disk")
    };
    assert!(said(&["--both", "a", "b"]));
    assert!(!said(&["--both", "--no-sync", "a", "b"]));
    assert!(!said(&["--both", "a", "-"]));
}
