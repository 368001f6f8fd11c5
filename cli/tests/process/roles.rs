//! Exactly one Reader and one Writer, whoever comes when.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::harness::{Half, Outcome, Place, SOON, noise, skip, sys};

/// One of the two read, the other wrote, both succeeded.
#[track_caller]
fn assert_one_of_each(outcomes: [Outcome; 2]) {
    let mut roles = outcomes.map(|outcome| {
        let outcome = outcome.expect(0);
        ["reader", "writer"].map(|role| outcome.said.contains(&format!("joined as {role}")))
    });
    roles.sort();
    assert_eq!(roles, [[false, true], [true, false]]);
}

#[test]
fn two_hundred_pairs_started_at_once_one_after_the_other_and_many_together() {
    let place = Place::new();
    let data = noise(100_000);
    place.file("a", &data);
    let check = |pairs: Vec<(String, [Half; 2])>| {
        for (name, halves) in pairs {
            assert_one_of_each(halves.map(Half::end));
            assert!(std::fs::read(place.path(&name)).unwrap() == data);
        }
    };
    let start = |name: String| {
        let halves = place.twice(&["-v", "--no-sync", "a", &name]);
        (name, halves)
    };
    for index in 0..sys::MANY {
        check(vec![start(format!("one-{index}"))]);
    }
    let together = sys::MANY.isqrt();
    for round in 0..together {
        check(
            (0..together)
                .map(|index| start(format!("many-{round}-{index}")))
                .collect(),
        );
    }
    place.assert_nothing_left();
}

#[test]
fn a_copy_that_succeeds_leaves_nothing_where_the_halves_met() {
    let place = Place::new();
    place.file("a", "water");
    for _ in 0..40 {
        Half::start(place.brigade(["--both", "a", "b"]))
            .end()
            .expect(0);
        match std::fs::read_dir(place.path("run/brigade")) {
            // Names are not files here.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            found => assert_eq!(found.unwrap().count(), 0),
        }
    }
}

#[test]
fn the_second_may_come_five_seconds_late() {
    let place = Place::new();
    place.file("a", "water");
    let first = Half::start(place.brigade(["-v", "a", "b"]));
    std::thread::sleep(Duration::from_secs(5));
    let second = Half::start(place.brigade(["-v", "a", "b"]));
    assert_one_of_each([first.end(), second.end()]);
}

#[test]
fn a_source_smaller_than_the_pool_does_not_let_the_reader_leave_early() {
    for content in ["", "x"] {
        let place = Place::new();
        place.file("a", content);
        let first = Half::start(place.brigade(["-v", "a", "b"]));
        std::thread::sleep(Duration::from_secs(2));
        let second = Half::start(place.brigade(["-v", "a", "b"]));
        assert_one_of_each([first.end(), second.end()]);
        assert_eq!(std::fs::read_to_string(place.path("b")).unwrap(), content);
    }
}

#[test]
fn a_reader_that_waits_says_once_what_to_run_next() {
    let place = Place::new();
    place.file("a b", "water");
    let first = Half::start(place.brigade(["a b", "c"]));
    first.hear("waiting for the writer; run next: ");
    let suffix = std::env::consts::EXE_SUFFIX;
    first.hear(&format!("brigade{suffix} {} c\n", sys::QUOTED));
    let second = Half::start(place.brigade(["a b", "c"]));
    second.end().expect(0);
    assert_eq!(first.end().expect(0).said.matches("waiting").count(), 1);
}

#[test]
fn what_only_the_reader_was_told_and_only_the_writer_heeds_is_refused() {
    for option in [
        "--verify",
        "--no-clobber",
        "--update",
        "--in-place",
        "--backup",
        "--backup=.old",
        "--resume",
    ] {
        let place = Place::new();
        place.file("a", "water");
        place.file("b", "precious");
        let first = Half::start(place.brigade([option, "a", "b"]));
        first.hear("waiting");
        let second = Half::start(place.brigade(["a", "b"]));
        let (told, _) = option.split_once('=').unwrap_or((option, ""));
        let expected = format!("the reader was started with {told}, the writer without");
        for half in [first, second] {
            let outcome = half.end();
            assert_ne!(outcome.code, Some(0));
            assert!(outcome.said.contains(&expected), "{option}: {outcome:?}");
        }
        assert_eq!(std::fs::read(place.path("b")).unwrap(), b"precious");
        // The other way round there is nothing to lose, but that a hash has to come from the Reader.
        if !["--verify", "--resume"].contains(&told) {
            let first = Half::start(place.brigade(["a", "b"]));
            first.hear("waiting");
            Half::start(place.brigade([option, "a", "b"]))
                .end()
                .expect(0);
            first.end().expect(0);
        }
    }
}

#[test]
fn the_command_for_a_writer_has_what_the_writer_needs_of_it() {
    let place = Place::new();
    place.file("a", "water");
    let name = place.name();
    let options = ["--in-place", "--no-sync", "--verify"];
    let role = ["--as", "reader", "--name", &name];
    let reader = Half::start(place.brigade([&role[..], &options, &["a"]].concat()));
    reader.hear(" DESTINATION\n");
    for option in options {
        assert!(reader.said().contains(option), "{}", reader.said());
    }
    let role = ["--as", "writer", "--name", &name];
    let writer = Half::start(place.brigade([&role[..], &options, &["b"]].concat()));
    writer.end().expect(0);
    reader.end().expect(0);
}

#[test]
fn a_third_process_is_refused_after_half_a_second_and_disturbs_nobody() {
    let place = Place::new();
    let args = ["-v", "-", "b"];
    let mut command = place.brigade(args);
    command.stdin(Stdio::piped());
    let mut reader = Half::start(command);
    reader.hear("waiting");
    let writer = Half::start(place.brigade(args));
    writer.hear("the partner is");
    let start = Instant::now();
    let third = Half::start(place.brigade(["-", "b"])).end();
    let took = start.elapsed();
    third.expect_line(3, &["too many instances"]);
    assert!(took >= Duration::from_millis(500), "{took:?}");
    assert!(took <= SOON, "{took:?}");
    reader.feed(noise(1 << 20));
    assert_one_of_each([reader.end(), writer.end()]);
    assert!(std::fs::read(place.path("b")).unwrap() == noise(1 << 20));
}

#[test]
fn fixed_roles_meet_whichever_comes_first() {
    for first_role in ["reader", "writer"] {
        let place = Place::new();
        place.file("a", "water");
        let name = place.name();
        let start = |role: &str| {
            let path = if role == "reader" { "a" } else { "b" };
            Half::start(place.brigade(["--as", role, "--name", &name, path]))
        };
        let first = start(first_role);
        first.hear("waiting");
        let second = start(if first_role == "reader" {
            "writer"
        } else {
            "reader"
        });
        first.end().expect(0);
        second.end().expect(0);
        assert_eq!(std::fs::read(place.path("b")).unwrap(), b"water");
        place.assert_nothing_left();
    }
}

#[test]
fn two_of_one_role_are_refused_and_the_first_goes_on() {
    let place = Place::new();
    place.file("a", "water");
    let name = place.name();
    let reader = ["--as", "reader", "--name", &name, "a"];
    let first = Half::start(place.brigade(reader));
    first.hear("waiting");
    let again = Half::start(place.brigade(reader)).end();
    again.expect_line(1, &["both processes want to be the reader"]);
    let writer = ["--as", "writer", "--name", &name, "b"];
    Half::start(place.brigade(writer)).end().expect(0);
    first.end().expect(0);
}

#[test]
fn without_a_partner_the_wait_ends_when_it_was_told_to() {
    let place = Place::new();
    place.file("a", "water");
    let start = Instant::now();
    let alone = Half::start(place.brigade(["--wait", "0.3", "a", "b"])).end();
    assert!(start.elapsed() >= Duration::from_millis(300));
    alone.expect_line(5, &["no partner came within"]);
    place.assert_nothing_left();
}

#[test]
fn waiting_takes_no_time_of_the_processor() {
    let place = Place::new();
    let name = place.name();
    let mut command = place.brigade(["--as", "reader", "--name", &name, "-"]);
    command.stdin(Stdio::piped());
    let mut reader = Half::start(command);
    reader.hear("waiting");
    if !sys::tells_processor_time(&reader) {
        return;
    }
    assert_idle(&[&reader], "for a partner");

    // Its output is not read: when the pipe is full, everybody waits.
    let writer = Half::start(place.brigade(["-v", "--as", "writer", "--name", &name, "-"]));
    writer.hear("the partner is");
    assert_idle(&[&reader, &writer], "for data");
    reader.feed(noise(32 << 20));
    assert_idle(&[&reader, &writer], "for empty blocks");
}

#[track_caller]
fn assert_idle(halves: &[&Half], what: &str) {
    let times = || {
        halves
            .iter()
            .map(|half| half.processor_time())
            .sum::<Duration>()
    };
    // On a busy machine what came before may take a while; a half that polls never
    // stops.
    let mut used = Duration::MAX;
    for _second in 0..8 {
        let before = times();
        std::thread::sleep(Duration::from_secs(1));
        used = times() - before;
        if used < sys::IDLE {
            return;
        }
    }
    assert!(used < sys::IDLE, "{used:?} in a second of waiting {what}");
}

#[test]
fn a_process_of_another_user_is_refused_with_both_named_and_the_pair_goes_on() {
    if !sys::is_root() {
        return;
    }
    const OTHER: &str = "65534";
    for reader_is_root in [true, false] {
        let place = Place::new();
        let program = place.public_program();
        // Whatever the umask.
        sys::set_mode(&place.file("a", "water"), 0o644);
        let name = place.name();
        let start = |root: bool, role: &str, path: &str| {
            let args = ["--as", role, "--name", &name, path];
            if root {
                return Half::start(place.command(&program, args));
            }
            let user = ["--reuid", OTHER, "--regid", OTHER, "--clear-groups"];
            let user = user.iter().copied().chain([program.to_str().unwrap()]);
            Half::start(place.command("setpriv".as_ref(), user.chain(args)))
        };
        let reader = start(reader_is_root, "reader", "a");
        reader.hear("waiting");
        let stranger = start(!reader_is_root, "writer", "b").end();
        stranger.expect_line(1, &["root (0)", OTHER]);
        start(reader_is_root, "writer", "b").end().expect(0);
        reader.end().expect(0);
        assert_eq!(std::fs::read(place.path("b")).unwrap(), b"water");
    }
}

#[test]
fn halves_of_different_geometry_are_refused_with_both_named() {
    let place = Place::new();
    place.file("a", "water");
    let first = Half::start(place.brigade(["a", "b"]));
    first.hear("waiting");
    let other = Half::start(place.brigade(["--block-size", "64K", "a", "b"])).end();
    other.expect_line(
        1,
        &["16 blocks of 65536 bytes", "16 blocks of 262144 bytes"],
    );
    Half::start(place.brigade(["a", "b"])).end().expect(0);
    first.end().expect(0);
}

#[test]
fn both_does_not_pair_with_a_stranger_that_waits_under_its_name() {
    let place = Place::new();
    place.file("a", noise(4 << 20));
    let name = place.name();
    let writer = ["--as", "writer", "--name", &name, "other"];
    let writer = Half::start(place.brigade(writer));
    writer.hear("waiting");
    let both = Half::start(place.brigade(["--both", "--name", &name, "a", "mine"]));
    both.end().expect_line(1, &["at this copy already"]);
    writer.end().expect(4);
    assert!(!place.path("mine").exists() && !place.path("other").exists());
}

#[test]
fn a_stranger_that_both_meets_with_fewer_blocks_waits_on_for_whom_it_wants() {
    let place = Place::new();
    place.file("a", "water");
    let name = place.name();
    let writer = ["--as", "writer", "--name", &name, "other"];
    let writer = Half::start(place.brigade(writer));
    writer.hear("waiting");
    let both = Half::start(place.brigade(["--both", "--name", &name, "a", "mine"]));
    let expected = ["another process is at this copy already", "without --both"];
    both.end().expect_line(3, &expected);
    let reader = ["--as", "reader", "--name", &name, "a"];
    Half::start(place.brigade(reader)).end().expect(0);
    writer.end().expect(0);
    assert_eq!(std::fs::read(place.path("other")).unwrap(), b"water");
    assert!(!place.path("mine").exists());
}

#[test]
fn the_process_that_both_started_does_not_wait_for_another_first() {
    let place = Place::new();
    let name = place.name();
    let args = ["--as", "writer", "--started-by-both", "--name", &name, "b"];
    let orphan = Half::start(place.brigade(args)).end();
    // Whoever started it is told by the process that is gone, or knows that it is.
    orphan.expect_silence(4);
    place.assert_nothing_left();
}

#[test]
fn the_process_that_both_started_ahead_joins_nobody_before_it_is_told_to() {
    let place = Place::new();
    place.file("a", "water");
    let name = place.name();
    let reader = Half::start(place.brigade(["--as", "reader", "--name", &name, "a"]));
    reader.hear("waiting");
    let second = || {
        let name = format!("--name={name}");
        let args = ["--as=writer", "--started-by-both", "--when-told", &name];
        let mut command = place.brigade(args.iter().chain(&["b"]));
        command.stdin(Stdio::piped());
        let mut second = Half::start(command);
        let input = second.input();
        (second, input)
    };
    // Whoever started it has failed, and says why.
    let (untold, input) = second();
    drop(input);
    untold.end().expect_silence(4);
    let (told, mut input) = second();
    input.write_all(b"!").unwrap();
    told.end().expect(0);
    reader.end().expect(0);
    assert_eq!(std::fs::read(place.path("b")).unwrap(), b"water");
    place.assert_nothing_left();
}

#[test]
fn a_name_and_paths_that_look_like_options_are_taken_as_they_are() {
    let place = Place::new();
    place.file("-a", "water");
    let both = ["--both", "--name=-n", "--", "-a", "-b"];
    Half::start(place.brigade(both)).end().expect(0);
    assert_eq!(std::fs::read(place.path("-b")).unwrap(), b"water");
    let reader = ["--as=reader", "--name=-n", "--blocks=3", "--", "-a", "-c"];
    let reader = Half::start(place.brigade(reader));
    reader.hear("brigade --as writer --name=-n --blocks=3 -- -a -c\n");
    let writer = ["--as=writer", "--name=-n", "--blocks=3", "--", "-a", "-c"];
    Half::start(place.brigade(writer)).end().expect(0);
    reader.end().expect(0);
}

#[test]
fn a_path_as_name_does_not_remove_what_is_not_a_dead_brigade_s() {
    if !sys::HAS_SOCKETS {
        return skip("a name is no file here");
    }
    let place = Place::new();
    place.file("a", "water");
    let precious = place.file("run/session.sock", "precious");
    let copy = || Half::start(place.brigade(["--both", "--name", &place.name(), "a", "b"])).end();
    copy().expect_line(1, &["session.sock is in the way"]);
    assert_eq!(std::fs::read(&precious).unwrap(), b"precious");
    std::fs::remove_file(&precious).unwrap();
    let listener = sys::listen(&precious);
    copy().expect_line(1, &["session.sock is in the way"]);
    // Nobody listens on it any more.
    drop(listener);
    copy().expect(0);
}

#[test]
fn paths_that_differ_only_in_case_mean_one_copy_where_they_mean_one_file() {
    let place = Place::new();
    place.file("a", "water");
    if sys::NAMES_DIFFER_IN_CASE {
        place.file("A", "another");
    }
    let first = Half::start(place.brigade(["-v", "a", "b"]));
    first.hear("waiting");
    let second = Half::start(place.brigade(["-v", "--wait", "0.3", "A", "B"]));
    if sys::NAMES_DIFFER_IN_CASE {
        second.end().expect(5);
        let second = Half::start(place.brigade(["-v", "a", "b"]));
        assert_one_of_each([first.end(), second.end()]);
    } else {
        assert_one_of_each([first.end(), second.end()]);
    }
    assert_eq!(std::fs::read(place.path("b")).unwrap(), b"water");
}
