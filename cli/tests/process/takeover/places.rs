//! Who may take a place that is held and who may not, and what is told of it.

use super::*;

/// A pair whose half `side` was killed; the other one.
fn bereft(copy: &Copy<'_>, side: Side) -> Half {
    survivor(copy.pair(), side)
}

/// Of a pair whose half `side` is killed, the other one.
fn survivor([reader, writer]: [Half; 2], side: Side) -> Half {
    let (mut victim, other) = match side {
        Reader => (reader, writer),
        Writer => (writer, reader),
    };
    victim.kill();
    other.hear(HOLDS);
    other
}

#[test]
fn who_is_not_fit_for_a_place_is_told_why_and_it_is_held_for_the_next() {
    let data = noise(SIZE);
    for (side, options, paths, why, is_told) in [
        (
            Reader,
            &[][..],
            ["other", "b"],
            "its source is another one",
            true,
        ),
        (
            Reader,
            &["--sparse=never"],
            ["a", "b"],
            "other options",
            true,
        ),
        // It names its own destination itself.
        (Writer, &[], ["a", "other"], "cannot go on with", false),
        (Writer, &["--no-sync"], ["a", "b"], "other options", true),
    ] {
        let place = Place::new();
        place.file("a", &data);
        place.file("other", noise(SIZE));
        let copy = Copy {
            place: &place,
            options: &[SLOW],
            source: "a",
        };
        let other = bereft(&copy, side);
        let name = place.name();
        let mut unfit = place.brigade(["--as", side.name(), "--name", &name, HELD]);
        unfit.args(options).args(paths);
        let unfit = Half::start(unfit).end();
        assert!(matches!(unfit.code, Some(1 | 4)), "{unfit:?}");
        assert!(unfit.said.contains(why), "{unfit:?}");
        other.hear("still waiting for another");
        assert!(other.said().contains(why), "{}", other.said());
        let fit = match is_told {
            true => Half::start(place.brigade(told(&unfit.said))),
            false => copy.half(side),
        };
        fit.end().expect(0);
        other.end().expect(0);
        assert_whole(&place, &data);
        assert!(std::fs::read(place.path("other")).unwrap() == noise(SIZE));
    }
}

#[test]
fn a_source_that_was_changed_is_not_gone_on_with_and_nobody_is_waited_for() {
    for side in [Reader, Writer] {
        let place = Place::new();
        let a = place.file("a", noise(SIZE));
        place.file("b", "old");
        let copy = Copy {
            place: &place,
            options: &[SLOW],
            source: "a",
        };
        let other = bereft(&copy, side);
        let mut a = std::fs::OpenOptions::new().append(true).open(a).unwrap();
        a.write_all(b"more").unwrap();
        drop(a);
        // As soon as somebody comes, and not when all is copied.
        let again = copy.half(side).end().expect(4);
        let other = other.end().expect(6);
        for half in [again, other] {
            assert!(half.said.contains("change"), "{half:?}");
            assert!(!half.said.contains(TAKEN), "{half:?}");
        }
        assert_eq!(std::fs::read(place.path("b")).unwrap(), b"old");
        // A killed Writer leaves what it wrote to the next copy.
        if side == Reader {
            place.assert_only_locks_left();
        }
    }
}

#[test]
fn a_partial_file_that_is_not_what_was_left_is_not_gone_on_with() {
    type Change = fn(&Place);
    let changes: &[(Change, &str)] = &[
        (
            |place| std::fs::remove_file(place.path(PARTIAL)).unwrap(),
            "it is gone",
        ),
        (
            |place| {
                let file = std::fs::File::options()
                    .write(true)
                    .open(place.path(PARTIAL));
                file.unwrap().set_len(1).unwrap();
            },
            "it was shortened",
        ),
        (
            |place| {
                let other = place.file("other", noise(SIZE));
                std::fs::rename(other, place.path(PARTIAL)).unwrap();
            },
            "it is not the file that was written",
        ),
        #[cfg(unix)]
        (
            // Many file systems give it the same number. Windows counts how often it was given; but
            // Wine, where these tests may run, shows that of the system beneath.
            |place| {
                std::fs::remove_file(place.path(PARTIAL)).unwrap();
                drop(place.file(PARTIAL, noise(SIZE)));
            },
            "it is not the file that was written",
        ),
        (
            |place| std::fs::hard_link(place.path(PARTIAL), place.path("named")).unwrap(),
            "it has another name, too",
        ),
    ];
    for &(change, why) in changes {
        let place = Place::new();
        place.file("a", noise(SIZE));
        place.file("b", "old");
        let copy = Copy {
            place: &place,
            options: &["--no-sync", "--block-size=16K", SLOW],
            source: "a",
        };
        let [reader, mut writer] = copy.pair();
        let partial = place.path(PARTIAL);
        wait_until("some blocks", SOON, || {
            std::fs::metadata(&partial).is_ok_and(|found| found.len() > 100_000)
        });
        writer.kill();
        reader.hear(HOLDS);
        change(&place);
        let writer = copy.half(Writer).end().expect(1);
        assert!(writer.said.contains(why), "{writer:?}");
        reader.hear("still waiting for another");
        assert_eq!(std::fs::read(place.path("b")).unwrap(), b"old");
    }
}

#[test]
fn a_link_in_the_place_of_the_partial_file_is_not_written_through() {
    let place = Place::new();
    place.file("a", noise(SIZE));
    let precious = place.file("precious", "precious");
    let copy = Copy {
        place: &place,
        options: &["--no-sync", SLOW],
        source: "a",
    };
    let reader = bereft(&copy, Writer);
    std::fs::remove_file(place.path(PARTIAL)).unwrap();
    if !sys::link("precious", &place.path(PARTIAL)) {
        return;
    }
    let writer = copy.half(Writer).end().expect(1);
    assert!(writer.said.contains("symbolic link"), "{writer:?}");
    reader.hear("still waiting for another");
    assert_eq!(std::fs::read(precious).unwrap(), b"precious");
}

#[test]
fn a_partial_file_that_may_only_be_read_by_now_is_gone_on_with_all_the_same() {
    if !sys::has_modes() {
        return;
    }
    let place = Place::new();
    let data = noise(SIZE);
    place.file("a", &data);
    let copy = Copy {
        place: &place,
        options: &["--no-sync", SLOW],
        source: "a",
    };
    let reader = bereft(&copy, Writer);
    // As it may be when it has got its source's mode.
    sys::set_mode(&place.path(PARTIAL), 0o444);
    copy.half(Writer).end().expect(0);
    reader.end().expect(0);
    assert_whole(&place, &data);
}

#[test]
fn a_survivor_that_is_frozen_keeps_its_place_and_goes_on_when_it_thaws() {
    let place = Place::new();
    let data = noise(SIZE);
    place.file("a", &data);
    let copy = Copy {
        place: &place,
        options: &["--no-sync", SLOW],
        source: "a",
    };
    for side in [Reader, Writer] {
        let [reader, writer] = copy.pair();
        let (mut victim, other) = match side {
            Reader => (reader, writer),
            Writer => (writer, reader),
        };
        other.freeze();
        victim.kill();
        let again = copy.half(side);
        std::thread::sleep(Duration::from_millis(700));
        other.thaw();
        other.hear(TAKEN);
        again.end().expect(0);
        other.end().expect(0);
        assert_whole(&place, &data);
        std::fs::remove_file(place.path("b")).unwrap();
    }
}

#[test]
fn a_newcomer_whose_disk_is_full_fails_both_and_the_old_destination_stays() {
    let place = Place::new();
    place.file("a", noise(SIZE));
    place.file("b", "old");
    let copy = Copy {
        place: &place,
        options: &[SLOW],
        source: "a",
    };
    let reader = bereft(&copy, Writer);
    let name = place.name();
    let args = ["--as", "writer", "--name", &name, HELD, SLOW, "a", "b"];
    // As much as a limit of this process lets it write.
    let limit = format!("--fsize={}", SIZE - 100_000);
    let Some(command) = sys::limited(&place, &limit, &args) else {
        return;
    };
    let writer = Half::start(command).end().expect(1);
    assert!(writer.said.contains("ulimit -f"), "{writer:?}");
    let reader = reader.end().expect(4);
    assert!(reader.said.contains("ulimit -f"), "{reader:?}");
    assert_eq!(std::fs::read(place.path("b")).unwrap(), b"old");
    place.assert_only_locks_left();
}

#[test]
fn nobody_need_hear_of_it() {
    let place = Place::new();
    let data = noise(SIZE);
    place.file("a", &data);
    let copy = Copy {
        place: &place,
        options: &["--no-sync", SLOW],
        source: "a",
    };
    let silent = |side: Side| {
        let mut command = sys::shell(&place, r#"exec "$0" "$@" >&- 2>&-"#)?;
        command.args(copy.command(side).get_args());
        Some(Half::start(command))
    };
    for side in [Reader, Writer] {
        let (Some(mut victim), Some(other)) = (silent(side), silent(side.other())) else {
            return;
        };
        place.wait_for_data();
        victim.kill();
        let again = silent(side).unwrap().end().expect(0);
        let other = other.end().expect(0);
        assert_eq!(other.said + &again.said, "");
        assert_whole(&place, &data);
        std::fs::remove_file(place.path("b")).unwrap();
    }
}

#[test]
fn another_user_takes_nobody_s_place() {
    if !sys::is_root() {
        return;
    }
    let place = Place::new();
    place.public_program();
    let data = noise(SIZE);
    // Whatever the umask.
    sys::set_mode(&place.file("a", &data), 0o644);
    let name = place.name();
    let args = |side: Side, guest| {
        let side = ["--as", side.name(), "--name", &name, HELD, SLOW];
        let words = [&side[..], &["--allow-user", guest, "a", "b"]].concat();
        words.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let half = |side: Side| Half::start(place.brigade(args(side, "nobody")));
    let other_user = |side: Side| {
        let args = args(side, "root");
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        Half::start(sys::as_nobody(&place, &args))
    };
    let (reader, mut writer) = (half(Reader), half(Writer));
    place.wait_for_data();
    writer.kill();
    reader.hear(HOLDS);
    let refused = other_user(Writer).end().expect(1);
    assert!(
        refused.said.contains("the reader is user root"),
        "{refused:?}"
    );
    reader.hear("still waiting for another");
    // Who only reads might know of the source what anybody can see, and not what is in it.
    let (mut reader, writer) = (reader, half(Writer));
    reader.hear(TAKEN);
    reader.kill();
    writer.hear(HOLDS);
    let refused = other_user(Reader).end().expect(4);
    assert!(refused.said.contains("it is user nobody"), "{refused:?}");
    writer.hear("still waiting for another");
    half(Reader).end().expect(0);
    writer.end().expect(0);
    assert_whole(&place, &data);
    // Between two users, a Reader knows of no file that another Writer could go on with.
    std::fs::remove_file(place.path("b")).unwrap();
    let (reader, mut writer) = (other_user(Reader), half(Writer));
    place.wait_for_data();
    writer.kill();
    let ended = reader.end_within(PROMISED).expect(4);
    assert!(!ended.said.contains(HOLDS), "{ended:?}");
}

#[test]
fn a_place_that_is_held_is_seen_from_outside_and_told_as_an_event() {
    let place = Place::new();
    let data = noise(SIZE);
    place.file("a", &data);
    let copy = |options: &[&str]| {
        let args = [options, &[HELD, "--no-sync", SLOW, "a", "b"]].concat();
        Half::start(place.brigade(args))
    };
    let reader = copy(&["--json"]);
    reader.hear(r#""event":"waiting""#);
    let mut writer = copy(&[]);
    place.wait_for_data();
    writer.kill();
    reader.hear(r#""event":"lost""#);
    let fields = format!(r#""role":"writer","process":{}"#, writer.pid());
    assert!(reader.said().contains(&fields), "{}", reader.said());
    let since = Instant::now();
    loop {
        let mut status = Half::start(place.brigade(["--status"]));
        status.collect_output();
        let output = status.end().expect(0).output;
        let shown = String::from_utf8(output).unwrap();
        if shown.contains("waiting for a new writer") {
            assert!(shown.contains("writer died"), "{shown}");
            break;
        }
        assert!(since.elapsed() < SOON, "{shown}");
    }
    let again = copy(&["--json"]);
    let process = again.pid();
    let again = again.end().expect(0);
    let reader = reader.end().expect(0);
    for (half, partners) in [(reader, 2), (again, 1)] {
        let of_whom = format!(r#""role":"writer","process":{process},"partners":{partners}"#);
        let event = half.said.lines().find(|line| line.contains("taken_over"));
        assert!(event.unwrap().contains(&of_whom), "{half:?}");
    }
    assert_whole(&place, &data);
}

#[test]
fn while_a_place_is_held_status_tells_how_far_the_copy_is() {
    let place = Place::new();
    let data = noise(SIZE);
    place.file("a", &data);
    let copy = Copy {
        place: &place,
        options: &["--no-sync", SLOW],
        source: "a",
    };
    // Other copies are listed, too.
    let name = place.name();
    let status = |options: &[&str]| {
        let mut status = Half::start(place.brigade(options));
        status.collect_output();
        String::from_utf8(status.end().expect(0).output).unwrap()
    };
    let text = || {
        let list = status(&["--status"]);
        let own = list.split_once(&name).map(|(_, own)| own.to_owned());
        own.unwrap_or_default()
    };
    for side in [Reader, Writer] {
        let pair = copy.pair();
        let partial = place.path(PARTIAL);
        wait_until("some blocks", SOON, || {
            std::fs::metadata(&partial).is_ok_and(|found| found.len() > 1_000_000)
        });
        let other = survivor(pair, side);
        let is_held = || text().contains(", waiting for a new");
        wait_until("a place that is held", SOON, is_held);
        let figures = text().lines().nth(1).unwrap().to_owned();
        assert!(figures.starts_with("  read "), "{figures}");
        assert!(figures.contains("of 6.0 MiB"), "{figures}");
        let list = status(&["--status", "--json"]);
        let mut copies = list.lines().map(|line| serde_json::from_str(line).unwrap());
        let shown = copies.find(|copy: &serde_json::Value| copy["name"] == *name);
        let shown = shown.unwrap();
        assert_eq!(shown["waiting_for_new"], side.name(), "{shown}");
        assert_eq!(shown["size"], SIZE, "{shown}");
        for figure in ["read", "written", "done"] {
            assert!(shown[figure].as_u64().unwrap() > 0, "{figure}: {shown}");
        }
        copy.half(side).end().expect(0);
        other.end().expect(0);
        assert_whole(&place, &data);
        std::fs::remove_file(place.path("b")).unwrap();
    }
}

#[test]
fn nothing_times_out_while_a_place_is_held() {
    let place = Place::new();
    let data = noise(SIZE);
    place.file("a", &data);
    let copy = Copy {
        place: &place,
        options: &["--no-sync", "--timeout=1", SLOW],
        source: "a",
    };
    for side in [Reader, Writer] {
        let other = bereft(&copy, side);
        std::thread::sleep(Duration::from_millis(2500));
        copy.half(side).end().expect(0);
        other.end().expect(0);
        assert_whole(&place, &data);
        std::fs::remove_file(place.path("b")).unwrap();
    }
}

#[test]
fn the_bar_says_for_whom_a_place_is_held_and_the_report_how_long_it_was_empty() {
    let place = Place::new();
    let data = noise(SIZE);
    place.file("a", &data);
    let copy = Copy {
        place: &place,
        options: &["--no-sync", "--progress=always", SLOW],
        source: "a",
    };
    for side in [Reader, Writer] {
        let other = bereft(&copy, side);
        let name = side.name();
        other.hear(&format!(
            "waiting for a new {name}; its place is held for another 5"
        ));
        copy.half(side).end().expect(0);
        let other = other.end().expect(0);
        let (_, report) = other.said.rsplit_once("done: ").unwrap();
        assert!(
            report.contains("s of it waiting for a new partner"),
            "{report}"
        );
        assert_whole(&place, &data);
        std::fs::remove_file(place.path("b")).unwrap();
    }
}

#[test]
fn whoever_meets_a_slow_newcomer_is_not_stuck() {
    let place = Place::new();
    place.file("a", noise(SIZE));
    place.file("b", "old");
    let name = place.name();
    let held = Duration::from_secs(5);
    let half = |side: Side| {
        let args = ["--as", side.name(), "--name", &name, "--takeover=5", SLOW];
        Half::start(place.brigade(args.iter().chain(&["a", "b"])))
    };
    let (mut reader, mut writer) = (half(Reader), half(Writer));
    place.wait_for_data();
    writer.kill();
    reader.hear(HOLDS);
    let options = brigade::Options::new()
        .side(brigade::Side::Writer)
        .greeting(GREETING);
    let newcomer = brigade::join(&name, &options).unwrap();
    // It does not answer for longer than the place is held.
    std::thread::sleep(held + Duration::from_secs(2));
    assert!(!reader.has_ended(), "{}", reader.said());
    drop(newcomer);
    let reader = reader.end().expect(4);
    assert!(reader.said.contains("nobody took its place within 5 s"));
    assert!(!reader.said.contains("stuck"), "{reader:?}");
}

#[test]
fn while_a_newcomer_looks_at_what_was_copied_the_bar_says_so_and_how_far_it_is() {
    let place = Place::new();
    place.file("a", noise(SIZE));
    let copy = Copy {
        place: &place,
        options: &["--progress=always", SLOW],
        source: "a",
    };
    let reader = bereft(&copy, Writer);
    reader.hear("waiting for a new writer; its place is held for another 5");
    let options = brigade::Options::new()
        .side(brigade::Side::Writer)
        .greeting(GREETING);
    let newcomer = brigade::join(&place.name(), &options).unwrap();
    let newcomer = newcomer.into_writer().unwrap();
    newcomer.monitor().set_figure(WRITTEN, 3 << 20);
    reader.hear("a new writer is here, and looks at what was copied: 3.0 MiB");
    drop(newcomer);
    let told = count(&reader, "waiting for a new writer; ");
    wait_to_hear(&reader, "waiting for a new writer; ", told + 1);
}

#[test]
fn a_writer_that_hashes_what_another_one_wrote_shows_how_far_it_is() {
    let place = Place::new();
    let data = noise(SIZE);
    let digest = format!("--expect-blake3={}", blake3::hash(&data));
    let name = place.name();
    let writer = || {
        let args = ["--as", "writer", "--name", &name, HELD, &digest, "b"];
        Half::start(place.brigade(args))
    };
    let answer = |facts: &str| {
        let options = brigade::Options::new()
            .side(brigade::Side::Reader)
            .wait(SOON)
            .greeting(GREETING);
        let reader = brigade::join(&name, &options).unwrap();
        let reader = reader.into_reader().unwrap();
        reader.post(ASK, facts.as_bytes()).unwrap();
        let letter = reader.letter().unwrap().unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&letter.bytes).unwrap();
        (reader, answer)
    };
    let mut first = writer();
    let (reader, answered) = answer("{}");
    first.kill();
    first.end();
    drop(reader);
    let mut partial = std::fs::File::options();
    let mut partial = partial.write(true).open(place.path(PARTIAL)).unwrap();
    let written = SIZE / 2;
    partial.write_all(&data[..written]).unwrap();
    drop(partial);
    let (partial, options) = (&answered["partial"], &answered["options"]);
    let goes_on =
        format!(r#"{{"goes_on":{{"offset":{written},"partial":{partial},"options":{options}}}}}"#);
    let _second = writer();
    let (reader, answered) = answer(&goes_on);
    assert_eq!(answered["offset"], written);
    let figures = reader.monitor().partner_figures();
    assert_eq!(figures[WRITTEN], written as u64);
}

/// The half `side`, which dies when it passes `step`.
fn dying(copy: &Copy<'_>, side: Side, step: &str) {
    let alive = copy.place.file("alive", "");
    let mut command = copy.command(side);
    command.env("BRIGADE_DIE_AT", format!("{step}:1:{}", alive.display()));
    let outcome = Half::start(command).end();
    assert!(!alive.exists(), "{outcome:?}");
}

#[test]
fn before_anything_is_written_another_source_is_as_good() {
    let place = Place::new();
    let data = noise(SIZE);
    place.file("a", "of the first reader");
    place.file("other", &data);
    for options in [&["--no-sync"][..], &["--in-place"]] {
        let copy = |source| Copy {
            place: &place,
            options,
            source,
        };
        // Before and after the Writer has answered.
        for step in ["letter posted", "answer heard"] {
            place.file("b", "old");
            let writer = copy("a").half(Writer);
            dying(&copy("a"), Reader, step);
            writer.hear(HOLDS);
            assert_eq!(std::fs::read(place.path("b")).unwrap(), b"old");
            copy("other").half(Reader).end().expect(0);
            let writer = writer.end().expect(0);
            assert!(!writer.said.contains("half written"), "{writer:?}");
            assert_whole(&place, &data);
        }
    }
}

#[test]
fn a_destination_that_was_complete_and_is_not_any_more_is_gone_on_with() {
    let place = Place::new();
    let data = noise(SIZE);
    place.file("a", &data);
    let copy = Copy {
        place: &place,
        options: &["--verify"],
        source: "a",
    };
    let reader = copy.half(Reader);
    dying(&copy, Writer, "name taken");
    wait_until("a death", SOON, || count(&reader, HOLDS) == 1);
    // It finds that all is done.
    dying(&copy, Writer, "about to end");
    wait_until("another", SOON, || count(&reader, HOLDS) == 2);
    std::fs::rename(place.path("b"), place.path(PARTIAL)).unwrap();
    copy.half(Writer).end().expect(0);
    reader.end().expect(0);
    assert_whole(&place, &data);
}

#[test]
fn the_reader_of_an_empty_file_can_be_replaced_too() {
    let place = Place::new();
    place.file("a", "");
    let copy = Copy {
        place: &place,
        options: &[],
        source: "a",
    };
    let writer = copy.half(Writer);
    dying(&copy, Reader, "answer heard");
    writer.hear(HOLDS);
    copy.half(Reader).end().expect(0);
    writer.end().expect(0);
    assert_whole(&place, b"");
}

#[test]
fn the_command_that_is_told_takes_the_place_whatever_was_asked_for() {
    let data = noise(SIZE);
    for options in [
        &["--no-sync", "--sparse=never", "--allow-changes", SLOW][..],
        &["--backup=.old", "-p", "--direct=never", SLOW],
        &["--in-place", "--timeout=60", SLOW],
        &["-n", SLOW],
        &["-u", SLOW],
    ] {
        for side in [Reader, Writer] {
            let place = Place::new();
            place.file("a", &data);
            if options[0].starts_with("--") {
                place.file("b", "old");
            }
            let copy = Copy {
                place: &place,
                options,
                source: "a",
            };
            let other = bereft(&copy, side);
            Half::start(place.brigade(told_by(&other))).end().expect(0);
            other.end().expect(0);
            assert!(std::fs::read(place.path("b")).unwrap() == data);
        }
    }
}

#[test]
fn who_types_both_while_a_place_is_held_is_told_what_to_type_and_it_is_held_on() {
    let data = noise(SIZE);
    for side in [Reader, Writer] {
        let place = Place::new();
        place.file("a", &data);
        let copy = Copy {
            place: &place,
            options: &[SLOW],
            source: "a",
        };
        let other = bereft(&copy, side);
        let name = place.name();
        let both = ["--both", "--name", &name, HELD, SLOW, "a", "b"];
        let both = Half::start(place.brigade(both)).end();
        let there = format!("the {} is at this copy already", side.other().name());
        assert_eq!(both.code, Some(1), "{both:?}");
        assert!(both.said.contains(&there), "{both:?}");
        assert!(
            both.said
                .contains("without --both, the same command joins it")
        );
        copy.half(side).end().expect(0);
        other.end().expect(0);
        assert_whole(&place, &data);
    }
}

/// The command that `half` has told last.
fn told_by(half: &Half) -> Vec<String> {
    wait_until("a whole line", SOON, || half.said().ends_with('\n'));
    told(&half.said())
}

/// The words after the program's of the last command in `said`.
fn told(said: &str) -> Vec<String> {
    let (_, told) = said.rsplit_once("run: ").unwrap();
    let words = told.lines().next().unwrap().split(' ').skip(1);
    // What is no plain word is quoted, as a short name is on Windows.
    let words = words.map(|word| word.trim_matches('"').to_owned());
    words.collect()
}

#[test]
fn the_command_that_is_told_has_the_path_that_only_the_dead_half_had() {
    let data = noise(SIZE);
    for side in [Reader, Writer] {
        let place = Place::new();
        place.file("a", &data);
        let name = place.name();
        // With --quiet, too: else nobody would know.
        let half = |side: Side| {
            let path = if side == Reader { "a" } else { "b" };
            let args = ["--as", side.name(), "--name", &name, HELD, SLOW, "-q", path];
            Half::start(place.brigade(args))
        };
        let (mut victim, other) = (half(side), half(side.other()));
        place.wait_for_data();
        victim.kill();
        other.hear(HOLDS);
        Half::start(place.brigade(told_by(&other))).end().expect(0);
        other.end().expect(0);
        assert_whole(&place, &data);
    }
}

#[test]
fn a_place_can_be_held_for_ever() {
    let place = Place::new();
    place.file("a", noise(SIZE));
    let args = ["--takeover=1e19", SLOW, "a", "b"];
    let reader = Half::start(place.brigade(args));
    reader.hear("waiting");
    let mut writer = Half::start(place.brigade(args));
    place.wait_for_data();
    writer.kill();
    reader.hear(HOLDS);
    Half::start(place.brigade(args)).end().expect(0);
    reader.end().expect(0);
}

#[test]
fn a_partner_of_another_version_does_not_end_who_waits() {
    let place = Place::new();
    let data = noise(SIZE);
    place.file("a", &data);
    let copy = Copy {
        place: &place,
        options: &[SLOW],
        source: "a",
    };
    let reader = bereft(&copy, Writer);
    let options = brigade::Options::new()
        .side(brigade::Side::Writer)
        .greeting(b"protocol=3\n");
    assert_ne!(GREETING, b"protocol=3\n");
    let other = brigade::join(&place.name(), &options).unwrap();
    reader.hear("the other half speaks copy protocol 3");
    drop(other);
    copy.half(Writer).end().expect(0);
    reader.end().expect(0);
    assert_whole(&place, &data);
}

#[test]
fn where_files_do_not_tell_when_they_were_made_no_writer_is_replaced() {
    let Some(mounted) = sys::mounted("ramfs") else {
        return;
    };
    let place = Place::new();
    place.file("a", noise(SIZE));
    let name = place.name();
    let b = mounted.path().join("b").to_str().unwrap().to_owned();
    let half = |side: Side| {
        let args = ["--as", side.name(), "--name", &name, HELD, SLOW, "a", &b];
        Half::start(place.brigade(args))
    };
    let (reader, mut writer) = (half(Reader), half(Writer));
    let partial = mounted.path().join(PARTIAL);
    let has_data = || std::fs::metadata(&partial).is_ok_and(|found| found.len() > 0);
    wait_until("data", SOON, has_data);
    writer.kill();
    let ended = reader.end_within(PROMISED).expect(4);
    assert!(!ended.said.contains(HOLDS), "{ended:?}");
}

#[test]
fn what_cannot_go_on_fails_at_once_as_it_does_without() {
    // A stream whose Reader is gone.
    let place = Place::new();
    let copy = Copy::of_a_stream(&place);
    let (mut reader, mut input) = copy.reader_of_a_pipe();
    let writer = copy.half(Writer);
    input.write_all(&noise(100_000)).unwrap();
    place.wait_for_data();
    reader.kill();
    let ended = writer.end_within(PROMISED).expect(4);
    assert!(
        ended.said.contains("died") && ended.said.contains("its place is not held: "),
        "{ended:?}"
    );
    drop(input);
    // What went to a pipe is gone.
    let place = Place::new();
    place.file("a", noise(SIZE));
    let name = place.name();
    let reader = Half::start(place.brigade(["--as", "reader", "--name", &name, HELD, "a"]));
    let mut writer = Half::start(place.brigade(["--as", "writer", "--name", &name, HELD, "-"]));
    let mut some = [0];
    let mut output = writer.output();
    std::io::Read::read_exact(&mut output, &mut some).unwrap();
    writer.kill();
    let ended = reader.end_within(PROMISED).expect(4);
    assert!(
        ended.said.contains("died") && ended.said.contains("its place is not held: "),
        "{ended:?}"
    );
}
