//! One half fails: both say why, the old destination stays, the partial file goes.

use std::os::unix::fs::PermissionsExt;

use crate::harness::{Half, Place, is_root, noise};

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
        &["missing", "No such file"],
    );
    // Reading the memory of a process at address 0 is an I/O error.
    assert_both_know(
        &place,
        "/proc/self/mem",
        "b",
        "reader",
        &["/proc/self/mem", "Input/output"],
    );
    assert_eq!(std::fs::read(place.path("b")).unwrap(), b"old");
}

#[test]
fn a_source_that_is_missing_fails_at_once_though_no_partner_came() {
    let place = Place::new();
    for half in place.twice(&["missing", "b"]) {
        let code = half.end();
        assert!(matches!(code.code, Some(1 | 4)), "{code:?}");
        assert!(code.said.contains("missing: No such file"), "{code:?}");
    }
    place.assert_nothing_left();
}

#[test]
fn a_destination_that_is_full() {
    let place = Place::new();
    place.file("a", noise(1 << 20));
    let why = ["/dev/full", "No space left"];
    assert_both_know(&place, "a", "/dev/full", "writer", &why);
}

#[test]
fn a_file_system_that_is_full_keeps_the_old_destination() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    place.file("a", noise(4 << 20));
    std::fs::create_dir(place.path("small")).unwrap();
    let script = r#"
        mount -t tmpfs -o size=1m none small || exit 99
        echo old > small/b
        "$0" --both a small/b
        code=$?
        cat small/b; ls -A small
        exit $code
    "#;
    let shell = ["-m", "/bin/sh", "-c", script, env!("CARGO_BIN_EXE_brigade")];
    let mut half = Half::start(place.command("unshare".as_ref(), shell));
    half.collect_output();
    let outcome = half.end();
    if outcome.code == Some(99) {
        eprintln!("skipped: no tmpfs can be mounted here");
        return;
    }
    let outcome = outcome.expect(1);
    assert!(outcome.said.contains("No space left"), "{outcome:?}");
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
    let why = ["no/where/b", "No such file"];
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
    if !is_root() {
        return;
    }
    let place = Place::new();
    let program = place.public_program();
    place.file("a", "new");
    let b = place.file("b", "old");
    std::fs::set_permissions(&b, std::fs::Permissions::from_mode(0o444)).unwrap();
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
fn a_dangling_link_is_not_written_through() {
    let place = Place::new();
    place.file("a", "water");
    std::os::unix::fs::symlink("nowhere", place.path("b")).unwrap();
    let both = Half::start(place.brigade(["--both", "a", "b"])).end();
    both.expect_line(1, &["symbolic link", "No such file"]);
    assert!(!place.path("nowhere").exists());
}

#[test]
fn two_copies_to_one_destination_do_not_mix() {
    let place = Place::new();
    place.file("b", "old");
    let mut command = place.brigade(["--both", "-v", "-", "b"]);
    command.stdin(std::process::Stdio::piped());
    let mut first = Half::start(command);
    first.hear("the partner is");
    let partial = place.path(".b.brigade-partial");
    while !partial.exists() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
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
    let script = r#""$0" --both a - | head -c 1 >/dev/null"#;
    let shell = [
        "-o",
        "pipefail",
        "-c",
        script,
        env!("CARGO_BIN_EXE_brigade"),
    ];
    let half = Half::start(place.command("bash".as_ref(), shell));
    half.end()
        .expect_line(1, &["standard output", "Broken pipe"]);
}

/// The program in a shell's command.
fn shell(place: &Place, script: &str) -> crate::harness::Outcome {
    let args = ["-c", script, env!("CARGO_BIN_EXE_brigade")];
    let mut half = Half::start(place.command("sh".as_ref(), args));
    half.collect_output();
    half.end()
}

#[test]
fn a_partial_file_that_was_replaced_by_hand_does_not_become_the_destination() {
    let place = Place::new();
    place.file("b", "old");
    let mut command = place.brigade(["--both", "-v", "-", "b"]);
    command.stdin(std::process::Stdio::piped());
    let mut copy = Half::start(command);
    let partial = place.path(".b.brigade-partial");
    while !partial.exists() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    std::fs::remove_file(&partial).unwrap();
    std::fs::write(&partial, "another").unwrap();
    copy.feed(b"new".to_vec());
    let outcome = copy.end().expect(1);
    assert!(outcome.said.contains("removed or replaced"), "{outcome:?}");
    assert_eq!(std::fs::read(place.path("b")).unwrap(), b"old");
    assert_eq!(std::fs::read(&partial).unwrap(), b"another");
}

#[test]
fn that_nobody_can_hear_it_is_no_reason_to_fail() {
    let place = Place::new();
    place.file("a", "water");
    let script = r#""$0" --both -v --progress always a b 2>/dev/full"#;
    shell(&place, script).expect(0);
    assert_eq!(std::fs::read(place.path("b")).unwrap(), b"water");
}

#[test]
fn a_closed_standard_stream_is_an_error_and_not_an_empty_file() {
    let place = Place::new();
    place.file("a", "water");
    place.file("b", "old");
    for script in [r#""$0" --both - b <&-"#, r#""$0" --both a - >&-"#] {
        shell(&place, script).expect_line(1, &["standard", "Bad file descriptor"]);
    }
    assert_eq!(std::fs::read(place.path("b")).unwrap(), b"old");
    shell(
        &place,
        r#""$0" --both a - >/dev/null && "$0" --both - b </dev/null"#,
    )
    .expect(0);
    assert_eq!(std::fs::read(place.path("b")).unwrap(), b"");
}

#[test]
fn a_file_is_not_appended_to_itself_through_standard_output() {
    let place = Place::new();
    place.file("a", "water");
    shell(&place, r#""$0" --both a - >>a"#).expect_line(1, &["a and standard output are the same"]);
    assert_eq!(std::fs::read(place.path("a")).unwrap(), b"water");
}

#[test]
fn on_disk_is_said_only_of_what_is() {
    let place = Place::new();
    place.file("a", "water");
    let said = |script: &str| shell(&place, script).expect(0).said.contains("on disk");
    assert!(said(r#""$0" --both a b"#));
    assert!(!said(r#""$0" --both --no-sync a b"#));
    assert!(!said(r#""$0" --both a - | cat"#));
}
