//! What DESTINATION leads to: found once, and held; what cannot be replaced; what is
//! written in place; every step of the end that can fail.

use std::path::Path;
use std::process::Stdio;

use crate::harness::{Half, Outcome, Place, noise, skip, sys};
#[cfg(unix)]
use crate::harness::{SOON, wait_until};

fn content(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()
}

fn both(place: &Place, args: &[&str]) -> Outcome {
    Half::start(place.brigade([&["--both"], args].concat())).end()
}

/// Runs `script` to its end; `None` if what it needs cannot be had here.
fn run(command: Option<std::process::Command>) -> Option<(Outcome, String)> {
    let mut half = Half::start(command?);
    half.collect_output();
    let outcome = half.end();
    if outcome.code == Some(99) {
        skip(&format!("cannot be set up here: {}", outcome.said));
        return None;
    }
    let output = String::from_utf8_lossy(&outcome.output).into_owned();
    Some((outcome, output))
}

// ---- names that change meanwhile --------------------------------------------

#[test]
fn another_file_that_took_the_name_meanwhile_is_kept() {
    let place = Place::new();
    let b = place.file("b", "old");
    let another = place.file("c", "another's");
    let mut copy = place.begin(&[]);
    let mut input = copy.input();
    std::io::Write::write_all(&mut input, b"ne").unwrap();
    place.wait_for_data();
    std::fs::remove_file(&b).unwrap();
    std::fs::rename(another, &b).unwrap();
    drop(input);
    let outcome = copy.end().expect(1);
    assert!(outcome.said.contains("another file"), "{outcome:?}");
    assert_eq!(content(&b), "another's");
    place.assert_nothing_left();
}

#[test]
fn a_directory_that_is_renamed_meanwhile_is_the_one_that_gets_the_file() {
    let place = Place::new();
    std::fs::create_dir(place.path("d")).unwrap();
    let mut command = place.brigade(["--both", "-v", "-", "d/b"]);
    command.stdin(Stdio::piped());
    let mut copy = Half::start(command);
    copy.hear("the partner is");
    let partial = place.path("d/.b.brigade-partial");
    crate::harness::wait_until("a partial file", crate::harness::SOON, || partial.exists());
    if std::fs::rename(place.path("d"), place.path("e")).is_err() {
        return skip("a directory that is in use cannot be renamed here");
    }
    copy.feed(b"new".to_vec());
    let outcome = copy.end().expect(0);
    assert!(outcome.said.contains("d/b was renamed"), "{outcome:?}");
    assert_eq!(content(&place.path("e/b")), "new");
    assert_eq!(std::fs::read_dir(place.path("e")).unwrap().count(), 1);
}

#[test]
fn a_signal_cleans_up_in_the_directory_that_was_found_whatever_it_is_called_now() {
    if !sys::can_interrupt() {
        return;
    }
    let place = Place::new();
    std::fs::create_dir(place.path("d")).unwrap();
    let mut command = place.brigade(["--both", "-v", "-", "d/b"]);
    command.stdin(Stdio::piped());
    let mut copy = Half::start(command);
    let _input = copy.input();
    copy.hear("the partner is");
    let partial = place.path("d/.b.brigade-partial");
    crate::harness::wait_until("a partial file", crate::harness::SOON, || partial.exists());
    if std::fs::rename(place.path("d"), place.path("e")).is_err() {
        return skip("a directory that is in use cannot be renamed here");
    }
    copy.interrupt(&sys::INTERRUPTIONS[0]);
    copy.end();
    assert_eq!(std::fs::read_dir(place.path("e")).unwrap().count(), 0);
}

#[test]
fn a_copy_that_waited_for_another_replaces_what_that_one_made() {
    for options in [&[][..], &["--backup"]] {
        for old in [None, Some("old")] {
            let place = Place::new();
            place.file("a", "second");
            let b = place.path("b");
            if let Some(old) = old {
                place.file("b", old);
            }
            let mut first = place.begin(&[]);
            let args = [&["--both", "-v"], options, &["a", "b"]].concat();
            let second = Half::start(place.brigade(args));
            second.hear("the partner is");
            // It waits for two seconds.
            std::thread::sleep(std::time::Duration::from_millis(200));
            first.feed(b"first".to_vec());
            first.end().expect(0);
            second.end().expect(0);
            assert_eq!(content(&b), "second");
            if !options.is_empty() {
                assert_eq!(content(&place.path("b~")), "first");
            }
            place.assert_nothing_left();
        }
    }
}

// ---- what cannot be replaced ------------------------------------------------

/// A copy whose source has said nothing yet has been refused, for `parts`.
fn refused_at_once(place: &Place, command: std::process::Command, parts: &[&str]) {
    let mut command = command;
    command.stdin(Stdio::piped());
    let mut copy = Half::start(command);
    let input = copy.input();
    copy.end().expect_line(1, parts);
    drop(input);
    place.assert_nothing_left();
}

#[test]
fn what_would_fail_when_all_is_written_is_refused_before_the_first_byte() {
    if !sys::is_root() {
        return;
    }
    let place = Place::new();
    let b = place.file("b", "old");
    for (flag, undo, file, why) in [
        ("+i", "-i", "b", "immutable"),
        ("+a", "-a", "b", "added to"),
        ("+i", "-i", ".", "immutable"),
        ("+a", "-a", ".", "added to"),
    ] {
        let chattr = |flag: &str| {
            let mut command = place.command("chattr".as_ref(), [flag, file]);
            command
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        };
        if !chattr(flag) {
            return skip("chattr does nothing here");
        }
        let name = place.name();
        let mut command = place.brigade(["--both", "--name", &name, "-", "b"]);
        command.stdin(Stdio::piped());
        let mut copy = Half::start(command);
        let input = copy.input();
        let outcome = copy.end();
        assert!(chattr(undo));
        drop(input);
        outcome.expect_line(1, &["cannot", "b", why]);
        assert_eq!(content(&b), "old");
        place.assert_nothing_left();
    }
    // Another user's, where each may replace only their own.
    let sticky = place.path("sticky");
    std::fs::create_dir(&sticky).unwrap();
    sys::set_mode(&sticky, 0o1777);
    sys::set_mode(&place.file("sticky/b", "old"), 0o666);
    let name = format!("{}2", place.name());
    let args = ["--both", "--name", &name, "-", "sticky/b"];
    refused_at_once(
        &place,
        sys::as_nobody(&place, &args),
        &["sticky", "--in-place"],
    );
    // A directory that this user cannot write to.
    let closed = place.path("closed");
    std::fs::create_dir(&closed).unwrap();
    sys::set_mode(&place.file("closed/b", "old"), 0o666);
    let args = ["--both", "--name", &name, "-", "closed/b"];
    refused_at_once(
        &place,
        sys::as_nobody(&place, &args),
        &["Permission denied", "--in-place"],
    );
}

#[test]
fn a_mount_point_is_refused_and_written_in_place() {
    let place = Place::new();
    place.file("a", "new");
    let script = r#"
        echo other > other; echo old > b
        mount --bind other b || exit 99
        "$0" --both a b && exit 1
        "$0" --both --in-place a b
        cat b other
    "#;
    let Some((outcome, output)) = run(sys::shell_of_mounts(&place, script)) else {
        return;
    };
    let outcome = outcome.expect(0);
    assert!(outcome.said.contains("mount point"), "{outcome:?}");
    assert!(outcome.said.contains("--in-place"), "{outcome:?}");
    assert_eq!(output, "newnew");
    assert_eq!(content(&place.path("b")), "old\n");
}

#[test]
fn too_little_room_is_told_before_the_first_byte_and_force_tries() {
    let place = Place::new();
    place.file("a", noise(4 << 20));
    let script = r#"
        mkdir small; mount -t tmpfs -o size=1m none small || exit 99
        echo old > small/b
        "$0" --both a small/b && exit 1
        "$0" --both --force a small/b && exit 1
        cat small/b
    "#;
    let Some((outcome, output)) = run(sys::shell_of_mounts(&place, script)) else {
        return;
    };
    let outcome = outcome.expect(0);
    let lines: Vec<&str> = outcome.said.lines().collect();
    assert!(lines[0].contains("it needs 4.0 MiB"), "{outcome:?}");
    assert!(lines[0].contains("--force"), "{outcome:?}");
    assert!(lines[1].contains("No space left"), "{outcome:?}");
    assert_eq!(output, "old\n");
}

#[test]
fn what_a_killed_copy_left_is_room_for_the_next_one() {
    let place = Place::new();
    place.file("a", noise(700_000));
    let script = r#"
        mkdir small; mount -t tmpfs -o size=1m none small || exit 99
        head -c 600000 a > small/.b.brigade-partial
        "$0" --both a small/b && cmp a small/b
    "#;
    if let Some((outcome, _)) = run(sys::shell_of_mounts(&place, script)) {
        outcome.expect(0);
    }
}

#[test]
fn a_disk_that_is_in_use_is_refused_and_so_is_more_than_a_disk_holds() {
    let place = Place::new();
    let file = place.file("disk", vec![0; 4 << 20]);
    place.file("a", noise(1 << 20));
    place.file("large", noise(5 << 20));
    let Some(disk) = sys::disk(&file) else {
        return;
    };
    both(&place, &["large", disk.path()]).expect_line(1, &["holds 4.0 MiB", "has 5.0 MiB"]);
    let script = format!(
        r#"
        disk={}
        command -v mkfs.ext4 > mkfs || exit 99
        mkfs.ext4 -q $disk; mkdir m; mount $disk m || exit 99
        echo kept > m/f
        "$0" --both a $disk && exit 1
        umount m; mount $disk m; cat m/f; umount m
        "$0" --both a $disk
        cmp -n 1048576 a $disk && echo same
        "#,
        disk.path()
    );
    let Some((outcome, output)) = run(sys::shell_of_mounts(&place, &script)) else {
        return;
    };
    let outcome = outcome.expect(0);
    assert!(outcome.said.contains("mounted"), "{outcome:?}");
    assert!(outcome.said.contains("--force"), "{outcome:?}");
    assert_eq!(output, "kept\nsame\n");
}

// ---- in place ---------------------------------------------------------------

#[test]
fn in_place_other_names_and_the_file_itself_stay_and_its_end_is_cut() {
    let place = Place::new();
    let data = noise(3 << 20);
    place.file("a", &data);
    for old in [10, 5 << 20] {
        let b = place.file("b", vec![1; old]);
        let _ = std::fs::remove_file(place.path("c"));
        std::fs::hard_link(&b, place.path("c")).unwrap();
        let before = sys::identity(&b);
        both(&place, &["--in-place", "--verify", "a", "b"]).expect(0);
        assert_eq!(sys::identity(&b), before);
        assert!(std::fs::read(place.path("c")).unwrap() == data);
        place.assert_nothing_left();
    }
    // A new one is made; it goes if the copy fails.
    both(&place, &["--in-place", "a", "d"]).expect(0);
    assert!(std::fs::read(place.path("d")).unwrap() == data);
    let (broken, _) = sys::broken_source(&place);
    both(&place, &["--in-place", &broken, "e"]).expect(1);
    assert!(!place.path("e").exists());
}

#[test]
fn in_place_holes_are_zeros_over_what_was_there() {
    let place = Place::new();
    let a = place.file("a", "");
    let file = std::fs::File::create(&a).unwrap();
    file.set_len(2 << 20).unwrap();
    std::io::Write::write_all(&mut &file, b"begin").unwrap();
    drop(file);
    let data = std::fs::read(&a).unwrap();
    let b = place.file("b", noise(3 << 20));
    both(&place, &["--in-place", "--verify", "a", "b"]).expect(0);
    assert!(std::fs::read(&b).unwrap() == data);
}

#[test]
fn in_place_a_copy_that_fails_says_that_the_file_is_not_whole() {
    let place = Place::new();
    place.file("b", "old");
    let mut command = place.brigade(["--both", "-v", "--in-place", "--timeout", "0.5", "-", "b"]);
    command.stdin(Stdio::piped());
    let mut copy = Half::start(command);
    let mut input = copy.input();
    std::io::Write::write_all(&mut input, b"ne").unwrap();
    let outcome = copy.end().expect(1);
    drop(input);
    assert!(
        outcome.said.contains("b may be half written"),
        "{outcome:?}"
    );
}

#[test]
#[cfg(unix)]
fn in_place_a_file_that_others_have_taken_away_meanwhile_is_no_success() {
    let place = Place::new();
    let b = place.path("b");
    let removed = || std::fs::remove_file(&b).unwrap();
    let replaced = || std::fs::rename(place.file("other", "new"), &b).unwrap();
    for change in [&removed as &dyn Fn(), &replaced] {
        place.file("b", "what was there before");
        let mut command = place.brigade(["--both", "--in-place", "-", "b"]);
        command.stdin(Stdio::piped());
        let mut copy = Half::start(command);
        let mut input = copy.input();
        std::io::Write::write_all(&mut input, b"nine byte").unwrap();
        let is_written = || std::fs::read(&b).is_ok_and(|found| found.starts_with(b"nine byte"));
        wait_until("the bytes", SOON, is_written);
        change();
        drop(input);
        let outcome = copy.end().expect(1);
        assert!(outcome.said.contains("removed or replaced"), "{outcome:?}");
    }
}

#[test]
fn in_place_where_no_file_can_be_made() {
    if !sys::is_root() {
        return;
    }
    let place = Place::new();
    sys::set_mode(&place.file("a", "new"), 0o644);
    let closed = place.path("closed");
    std::fs::create_dir(&closed).unwrap();
    let b = place.file("closed/b", "older and longer");
    sys::set_mode(&b, 0o666);
    let args = [
        "--both",
        "--name",
        &place.name(),
        "--in-place",
        "a",
        "closed/b",
    ];
    Half::start(sys::as_nobody(&place, &args)).end().expect(0);
    assert_eq!(content(&b), "new");
    // In a namespace of its own, whose host name is nobody else's.
    let script = r#"
        printf brigade > a
        unshare --uts sh -euc '"$0" --both --in-place a /proc/sys/kernel/hostname
            cat /proc/sys/kernel/hostname' "$0"
    "#;
    if let Some((outcome, output)) = run(sys::shell(&place, script)) {
        outcome.expect(0);
        assert_eq!(output, "brigade\n");
    }
}

// ---- directories ------------------------------------------------------------

#[test]
fn directories_that_cannot_be_listed_or_entered_by_their_whole_name_or_are_very_deep() {
    if !sys::is_root() {
        return;
    }
    let place = Place::new();
    place.public_program();
    sys::set_mode(&place.file("a", "new"), 0o644);
    let drop_box = place.path("drop");
    std::fs::create_dir(&drop_box).unwrap();
    sys::set_mode(&drop_box, 0o733);
    let args = ["--both", "--name", &place.name(), "a", "drop/b"];
    Half::start(sys::as_nobody(&place, &args)).end().expect(0);
    assert_eq!(content(&place.path("drop/b")), "new");

    let program = place.public_program();
    let script = format!(
        r#"
        mkdir -p x/y/z; echo new > x/y/z/a; chown -R 65534:65534 x
        cd x/y/z; chmod 000 ../..
        setpriv --reuid 65534 --regid 65534 --clear-groups "{}" --both --name {} a b
        chmod 755 ../..; cat b
        "#,
        program.display(),
        place.name()
    );
    let (outcome, output) = run(sys::shell(&place, &script)).unwrap();
    outcome.expect(0);
    assert_eq!(output, "new\n");

    // A whole name of more than 4096 bytes; run twice, so that both have to find it.
    let script = r#"
        d=$(printf '%0200d' 0); i=0
        while [ $i -lt 25 ]; do mkdir $d; cd -P $d 2> /dev/null || cd $d; i=$((i + 1)); done
        echo new > a
        "$0" a b & "$0" a b; wait $!
        cat b
    "#;
    let (outcome, output) = run(sys::shell(&place, script)).unwrap();
    outcome.expect(0);
    assert_eq!(output, "new\n");
}

// ---- each step that can fail ------------------------------------------------

#[test]
fn what_closing_the_file_tells_is_heard() {
    let place = Place::new();
    place.file("a", "new");
    let b = place.file("b", "old");
    for options in [["--no-sync", "-q"], ["-q", "-q"]] {
        let args = ["--both", options[0], "a", "b"];
        let faults = ["close:error=EIO"];
        let name = ".b.brigade-partial";
        let Some(copy) = sys::with_faults_of(&place, name, &faults, &args) else {
            return;
        };
        let outcome = Half::start(copy).end().expect(1);
        assert!(outcome.said.contains("cannot close"), "{outcome:?}");
        assert_eq!(content(&b), "old");
        place.assert_nothing_left();
    }
}

/// Which of the contents is under each name.
fn backed_up(place: &Place) -> [Option<String>; 2] {
    ["b", "b~"].map(|name| std::fs::read_to_string(place.path(name)).ok())
}

#[test]
fn nothing_is_lost_whichever_step_of_the_end_fails() {
    let place = Place::new();
    place.file("a", "new");
    let [old, older, new] = ["old", "older", "new"].map(|text| Some(text.to_owned()));
    for call in ["linkat", "renameat", "renameat2", "unlinkat"] {
        for options in [
            &["--backup"][..],
            &["--backup", "--no-sync"],
            &[],
            &["--no-clobber"],
        ] {
            for when in 1..=4 {
                place.file("b", "old");
                place.file("b~", "older");
                let is_kept = options == ["--no-clobber"];
                if is_kept {
                    std::fs::remove_file(place.path("b")).unwrap();
                }
                let fault = format!("{call}:error=EIO:when={when}");
                let args = [&["--both", "-q"], options, &["a", "b"]].concat();
                let Some(copy) = sys::with_faults(&place, &[&fault], &args) else {
                    return;
                };
                let outcome = Half::start(copy).end();
                let _ = std::fs::remove_file(place.path("strace"));
                let found = backed_up(&place);
                let what = format!("{fault} {options:?} {found:?} {outcome:?}");
                let expected = match (outcome.code, options.contains(&"--backup")) {
                    (Some(0), true) => [new.clone(), old.clone()],
                    (Some(0), false) => [new.clone(), older.clone()],
                    _ if is_kept => [None, older.clone()],
                    _ => [old.clone(), older.clone()],
                };
                assert_eq!(found, expected, "{what}");
                let litter = [
                    ".b.brigade-partial",
                    ".b.brigade-backup",
                    ".b.brigade-older",
                ];
                for name in litter {
                    // What cannot be removed is told.
                    let _ = std::fs::remove_file(place.path(name));
                }
            }
        }
    }
}

#[test]
fn an_error_of_a_look_is_never_taken_for_no() {
    let place = Place::new();
    place.file("a", "new");
    let [old, new] = ["old", "new"].map(|text| Some(text.to_owned()));
    // Looks are many; those of the end are among the last.
    for call in ["statx", "fstat", "newfstatat", "openat"] {
        for when in 1..=60 {
            place.file("b", "old");
            let _ = std::fs::remove_file(place.path("b~"));
            let fault = format!("{call}:error=EIO:when={when}");
            let args = [
                "--as",
                "writer",
                "--name",
                &place.name(),
                "-q",
                "--backup",
                "b",
            ];
            let Some(writer) = sys::with_faults(&place, &[&fault], &args) else {
                return;
            };
            let reader = [
                "--as",
                "reader",
                "--name",
                &place.name(),
                "-q",
                "--wait",
                "2",
                "a",
            ];
            let reader = Half::start(place.brigade(reader));
            let outcome = Half::start(writer).end();
            let _ = reader.end();
            let injected = std::fs::read_to_string(place.path("strace")).unwrap();
            let _ = std::fs::remove_file(place.path("strace"));
            let what = format!("{fault} {outcome:?}");
            let found = backed_up(&place);
            match outcome.code {
                Some(0) => assert_eq!(found, [new.clone(), old.clone()], "{what}"),
                // It says so if only that is left.
                _ if outcome
                    .said
                    .contains("was replaced, but may not be on disk") =>
                {
                    assert_eq!(found, [new.clone(), old.clone()], "{what}");
                }
                _ => assert_eq!(found, [old.clone(), None], "{what}"),
            }
            let _ = std::fs::remove_file(place.path(".b.brigade-partial"));
            if !injected.contains("INJECTED") {
                break;
            }
        }
    }
}

#[test]
fn what_fails_right_after_the_partial_file_was_made_leaves_none() {
    let place = Place::new();
    place.file("a", "new");
    for fault in ["flock:error=EIO", "statx:error=EIO", "fstat:error=EIO"] {
        let name = ".b.brigade-partial";
        let args = ["--both", "-q", "a", "b"];
        let Some(copy) = sys::with_faults_of(&place, name, &[fault], &args) else {
            return;
        };
        let outcome = Half::start(copy).end();
        let _ = std::fs::remove_file(place.path("strace"));
        if outcome.code != Some(0) {
            assert!(!place.path("b").exists());
        }
        let _ = std::fs::remove_file(place.path("b"));
        place.assert_nothing_left();
    }
}

#[test]
fn a_file_system_without_locks_is_copied_to() {
    let place = Place::new();
    place.file("a", "new");
    for error in ["ENOLCK", "EOPNOTSUPP", "ENOSYS"] {
        let fault = format!("flock:error={error}");
        let (name, args) = (".b.brigade-partial", ["--both", "-q", "a", "b"]);
        let Some(copy) = sys::with_faults_of(&place, name, &[&fault], &args) else {
            return;
        };
        Half::start(copy).end().expect(0);
        assert_eq!(content(&place.path("b")), "new");
        // Whether somebody writes what is there cannot be told.
        place.file(name, "left over");
        let copy = sys::with_faults_of(&place, name, &[&fault], &args).unwrap();
        Half::start(copy)
            .end()
            .expect_line(1, &["no locks", "remove it"]);
        std::fs::remove_file(place.path(name)).unwrap();
    }
}

#[test]
fn a_partial_file_that_stays_locked_ends_the_copy_in_time() {
    let place = Place::new();
    place.file("a", "new");
    let (name, args) = (".b.brigade-partial", ["--both", "-q", "a", "b"]);
    let faults = ["flock:error=EAGAIN"];
    let Some(copy) = sys::with_faults_of(&place, name, &faults, &args) else {
        return;
    };
    Half::start(copy).end().expect_line(1, &["another copy"]);
    place.assert_nothing_left();
}

#[test]
fn the_next_copy_removes_what_a_killed_one_left_beside_the_destination() {
    let place = Place::new();
    place.file("a", "new");
    let b = place.file("b", "old");
    for options in [&[][..], &["--backup"]] {
        place.file(".b.brigade-partial", "half");
        std::fs::hard_link(&b, place.path(".b.brigade-backup")).unwrap();
        both(&place, &[options, &["a", "b"]].concat()).expect(0);
        place.assert_nothing_left();
    }
    assert_eq!(content(&place.path("b~")), "new");
}

// ---- one file by two names --------------------------------------------------

#[test]
fn a_backup_of_one_of_two_names_is_made_as_cp_makes_it() {
    let place = Place::new();
    let reset = || {
        for name in ["a", "a~", "l", "l~", "h", "h~"] {
            let _ = std::fs::remove_file(place.path(name));
        }
        let a = place.file("a", "water");
        std::fs::hard_link(&a, place.path("h")).unwrap();
        sys::link("a", &place.path("l"))
    };
    // A link gives its name away.
    if reset() {
        both(&place, &["--backup", "a", "l"]).expect(0);
        assert!(place.path("l~").is_symlink() && !place.path("l").is_symlink());
        assert_eq!(content(&place.path("l")), "water");
        // But what it leads to is not taken from under it.
        reset();
        both(&place, &["--backup", "l", "a"]).expect_line(1, &["same file"]);
    }
    // One of two names.
    reset();
    let old = sys::identity(&place.path("h"));
    both(&place, &["--backup", "a", "h"]).expect(0);
    assert_eq!(sys::identity(&place.path("h~")), old);
    assert_ne!(sys::identity(&place.path("h")), old);
    // The backup's name is another one of the source.
    reset();
    std::fs::hard_link(place.path("a"), place.path("x~")).unwrap();
    place.file("x", "old");
    both(&place, &["--backup", "a", "x"]).expect(0);
    assert_eq!(
        (content(&place.path("x")), content(&place.path("x~"))),
        ("water".into(), "old".into())
    );
    assert_eq!(content(&place.path("a")), "water");
    // Its own name it keeps.
    for args in [["a", "a"], ["a", "./a"]] {
        both(&place, &[&["--backup"], &args[..]].concat()).expect_line(1, &["same file"]);
    }
}
