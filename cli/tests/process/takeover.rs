//! Halves that die and are replaced: the copy goes on where it was, and is whole.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::Side::{self, Reader, Writer};
use crate::harness::{ASK, GREETING, Half, PARTIAL, PROMISED, Place, SOON, noise, sys, wait_until};

/// As long as any of these tests wants a place to be held.
const HELD: &str = "--takeover=60";

/// A copy of `a`, or of a stream, to `b`, whose halves are started one by one.
struct Copy<'t> {
    place: &'t Place,
    options: &'t [&'t str],
    source: &'t str,
}

impl Copy<'_> {
    fn command(&self, side: Side) -> Command {
        let name = self.place.name();
        let mut args = vec!["--as", side.name(), "--name", &name, HELD];
        args.extend(self.options);
        args.extend([self.source, "b"]);
        self.place.brigade(args)
    }

    fn half(&self, side: Side) -> Half {
        Half::start(self.command(side))
    }

    /// Reader and Writer, which have agreed and write.
    fn pair(&self) -> [Half; 2] {
        let reader = self.half(Reader);
        let writer = self.half(Writer);
        if self.options.contains(&"--in-place") {
            let b = self.place.path("b");
            let is_old = || std::fs::metadata(&b).is_ok_and(|found| found.len() <= 3);
            wait_until("data", SOON, || !is_old());
        } else {
            self.place.wait_for_data();
        }
        [reader, writer]
    }
}

/// How soon a death was told, and how soon the copy went on once another half was started.
#[derive(Default)]
struct Times {
    noticed: Vec<Duration>,
    gone_on: Vec<Duration>,
}

/// Which of a Writer's figures it is.
const WRITTEN: usize = 3;

const HOLDS: &str = "its place is held";
const TAKEN: &str = "has taken the";

fn count(half: &Half, words: &str) -> usize {
    count_in(&half.said(), words)
}

fn count_in(said: &str, words: &str) -> usize {
    said.matches(words).count()
}

/// Waits until `half` has said `words` so many times.
#[track_caller]
fn wait_to_hear(half: &Half, words: &str, times: usize) {
    let since = Instant::now();
    while count(half, words) < times {
        assert!(since.elapsed() < SOON, "{}", half.said());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Kills halves of `copy` at moments that `seed` decides, those of `sides` by turns, and
/// starts others in their place, until so many `kills` were survived or the copy is whole.
/// Then both halves have succeeded. How many that were.
fn survive(
    copy: &Copy<'_>,
    sides: &[Side],
    kills: usize,
    seed: usize,
    times: &mut Times,
    mut halves: [Half; 2],
) -> usize {
    let mut survived = 0;
    for kill in 0..kills {
        let moments = noise(8 * (1 + seed * 100 + kill));
        let moment = u64::from(moments[moments.len() - 8]) * 400;
        std::thread::sleep(Duration::from_micros(moment));
        let side = sides[usize::from(moments[moments.len() - 7]) % sides.len()];
        let [victim, other] = match (side, &mut halves) {
            (Reader, [reader, writer]) => [reader, writer],
            (Writer, [reader, writer]) => [writer, reader],
        };
        let (held, taken) = (count(other, HOLDS), count(other, TAKEN));
        let killed = Instant::now();
        victim.kill();
        // It may have been over before, or need no other half any more.
        let mut is_over = false;
        while count(other, HOLDS) == held {
            is_over = other.has_ended();
            if is_over {
                break;
            }
            assert!(killed.elapsed() < SOON, "{}", other.said());
            std::thread::sleep(Duration::from_millis(1));
        }
        if is_over {
            break;
        }
        times.noticed.push(killed.elapsed());
        let started = Instant::now();
        *victim = copy.half(side);
        while count(other, TAKEN) == taken && !other.said().contains("done: ") {
            assert!(
                started.elapsed() < SOON,
                "not gone on with: {}\n{}",
                other.said(),
                victim.said()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        times.gone_on.push(started.elapsed());
        survived += 1;
    }
    for half in halves {
        let ended = half.end();
        // One that was killed at the very end was not missed.
        assert!(matches!(ended.code, Some(0) | None), "{ended:?}");
    }
    survived
}

const SIZE: usize = 6 << 20;

/// Of a copy that is killed some times while it lasts.
const SLOW: &str = "--limit-rate=8M";

fn assert_whole(place: &Place, data: &[u8]) {
    let found = std::fs::read(place.path("b")).unwrap();
    assert!(found == data, "{} of {} bytes", found.len(), data.len());
    place.assert_only_locks_left();
    place.assert_none_ends_in(&[".brigade-journal"]);
}

fn killed_again_and_again(options: &[&str], data: &[u8], seed: usize, times: &mut Times) -> usize {
    let place = Place::new();
    place.file("a", data);
    if !options.iter().any(|option| ["-n", "-u"].contains(option)) {
        place.file("b", "old");
    }
    let copy = Copy {
        place: &place,
        options,
        source: "a",
    };
    let halves = copy.pair();
    let survived = survive(&copy, &[Reader, Writer], 10, seed, times, halves);
    assert_whole(&place, data);
    survived
}

#[test]
fn a_copy_whose_halves_are_killed_again_and_again_is_whole() {
    let data = noise(SIZE);
    let mut survived = 0;
    for seed in 0..3 {
        survived += killed_again_and_again(&[SLOW], &data, seed, &mut Times::default());
    }
    assert!(survived > 0);
}

#[test]
fn so_it_is_whatever_is_asked_for_beside() {
    let mut data = noise(SIZE);
    // Two holes, and what is long enough for one.
    data[1 << 20..2 << 20].fill(0);
    data[4 << 20..(4 << 20) + 70_000].fill(0);
    let digest = format!("--expect-blake3={}", blake3::hash(&data));
    let size = format!("--size={}", data.len());
    for (seed, options) in [
        &["--verify"][..],
        &["-p", "--no-sync"],
        &["--sparse=always", "--verify"],
        &["--sparse=never", &digest, &size],
        &["--backup", "--block-size=10000"],
        &["--in-place", "--verify"],
        &["-u", "--timeout=30", "--direct=always"],
        &["-n"],
        &["--resume"],
        &["--resume", "--verify"],
    ]
    .into_iter()
    .enumerate()
    {
        eprintln!("{options:?}");
        let options = [options, &[SLOW]].concat();
        killed_again_and_again(&options, &data, 10 + seed, &mut Times::default());
    }
}

#[test]
fn a_hash_goes_on_from_the_last_whole_subtree_with_another_half() {
    // Of more than two.
    let data = noise(40 << 20);
    for seed in 20..22 {
        killed_again_and_again(
            &["--verify", "--no-sync", "--limit-rate=60M"],
            &data,
            seed,
            &mut Times::default(),
        );
    }
}

#[test]
fn a_disk_goes_on_with_other_halves() {
    let data = noise(SIZE);
    let place = Place::new();
    place.file("a", &data);
    let image = place.file("image", vec![0xff; SIZE + 4096]);
    let Some(disk) = sys::disk(&image) else {
        return;
    };
    let name = place.name();
    let half = |side: Side| {
        let args = ["--as", side.name(), "--name", &name, HELD, "--verify"];
        let words = [&args[..], &["--block-size=64K", SLOW, "a", disk.path()]].concat();
        Half::start(place.brigade(words))
    };
    let (mut reader, mut writer) = (half(Reader), half(Writer));
    let begins = |half: &Half, disk: &str| {
        let first = std::fs::read(disk).is_ok_and(|found| found[..4096] == data[..4096]);
        first && count(half, HOLDS) == count(half, TAKEN)
    };
    wait_until("data", SOON, || begins(&reader, disk.path()));
    std::thread::sleep(Duration::from_millis(100));
    writer.kill();
    reader.hear(HOLDS);
    writer = half(Writer);
    reader.hear(TAKEN);
    std::thread::sleep(Duration::from_millis(50));
    reader.kill();
    writer.hear(HOLDS);
    half(Reader).end().expect(0);
    writer.end().expect(0);
    let found = std::fs::read(disk.path()).unwrap();
    assert!(found[..SIZE] == data && found[SIZE..].iter().all(|&byte| byte == 0xff));
}

#[test]
fn a_stream_goes_on_with_another_writer() {
    let data = noise(SIZE);
    for (seed, options) in [&["--verify"][..], &["--sparse=always", "--no-sync"]]
        .into_iter()
        .enumerate()
    {
        let place = Place::new();
        let copy = Copy {
            place: &place,
            options,
            source: "-",
        };
        let mut command = copy.command(Reader);
        command.stdin(Stdio::piped());
        let mut reader = Half::start(command);
        let mut input = reader.input();
        let slowly = data.clone();
        std::thread::spawn(move || {
            for piece in slowly.chunks(100_000) {
                std::thread::sleep(Duration::from_millis(10));
                if input.write_all(piece).is_err() {
                    return;
                }
            }
        });
        let writer = copy.half(Writer);
        place.wait_for_data();
        let halves = [reader, writer];
        let survived = survive(
            &copy,
            &[Writer],
            10,
            30 + seed,
            &mut Times::default(),
            halves,
        );
        assert!(survived > 0);
        assert_whole(&place, &data);
    }
}

/// That a half says what is promised within a second: `of` the moment when that began.
#[track_caller]
fn assert_soon(half: &Half, words: &str, of: Instant) {
    half.hear(words);
    assert!(of.elapsed() < PROMISED + sys_margin(), "{:?}", of.elapsed());
}

/// Nothing is decided by how busy the machine is.
fn sys_margin() -> Duration {
    Duration::from_secs(4)
}

#[test]
fn a_reader_that_waits_for_a_silent_stream_notices_and_goes_on() {
    let place = Place::new();
    let copy = Copy {
        place: &place,
        options: &["--no-sync"],
        source: "-",
    };
    let mut command = copy.command(Reader);
    command.stdin(Stdio::piped());
    let mut reader = Half::start(command);
    let mut input = reader.input();
    let mut writer = copy.half(Writer);
    input.write_all(b"water").unwrap();
    place.wait_for_data();
    let killed = Instant::now();
    writer.kill();
    assert_soon(&reader, HOLDS, killed);
    let started = Instant::now();
    let writer = copy.half(Writer);
    assert_soon(&reader, TAKEN, started);
    input.write_all(b" and wine").unwrap();
    drop(input);
    writer.end().expect(0);
    reader.end().expect(0);
    assert_whole(&place, b"water and wine");
}

#[test]
fn a_death_is_told_with_the_command_that_takes_the_place() {
    let place = Place::new();
    place.file("a", noise(SIZE));
    let args = [HELD, SLOW, "a", "b"];
    let reader = Half::start(place.brigade(args));
    reader.hear("waiting");
    let mut writer = Half::start(place.brigade(args));
    place.wait_for_data();
    let killed = Instant::now();
    writer.kill();
    assert_soon(&reader, "held for 1 min; run: ", killed);
    // The same command, without a word about which half.
    let said = reader.said();
    let died = format!("the writer (process {}, user ", writer.pid());
    assert!(said.contains(&died) && said.contains(") died; "), "{said}");
    assert!(said.contains(&format!("{SLOW} a b")), "{said}");
    let again = Half::start(place.brigade(args));
    reader.hear(TAKEN);
    again.end().expect(0);
    reader.end().expect(0);
}

#[test]
fn a_place_that_nobody_takes_in_time_is_given_up_and_the_copy_fails() {
    for side in [Reader, Writer] {
        let place = Place::new();
        place.file("a", noise(SIZE));
        place.file("b", "old");
        let name = place.name();
        let half = |side: Side| {
            let args = ["--as", side.name(), "--name", &name, "--takeover=0.5", SLOW];
            let mut command = place.brigade(args);
            command.args(["a", "b"]);
            Half::start(command)
        };
        let (mut victim, other) = (half(side), half(side.other()));
        place.wait_for_data();
        victim.kill();
        other.hear(HOLDS);
        let ended = other.end().expect(4);
        let why = format!("the {} (process {}", side.name(), victim.pid());
        assert!(ended.said.contains(&why), "{ended:?}");
        assert!(ended.said.contains("nobody took its place within 0.5 s"));
        assert_eq!(std::fs::read(place.path("b")).unwrap(), b"old");
        // The next copy removes what a killed Writer left.
        place.both(&[], "a", "b").expect(0);
        place.assert_only_locks_left();
    }
}

#[test]
fn a_half_that_waits_for_another_partner_ends_when_it_is_told_to() {
    if !sys::can_interrupt() {
        return;
    }
    for side in [Reader, Writer] {
        let place = Place::new();
        place.file("a", noise(SIZE));
        let copy = Copy {
            place: &place,
            options: &[SLOW],
            source: "a",
        };
        let [reader, writer] = copy.pair();
        let (mut victim, other) = match side {
            Reader => (reader, writer),
            Writer => (writer, reader),
        };
        victim.kill();
        other.hear(HOLDS);
        other.interrupt(&sys::INTERRUPTIONS[0]);
        other
            .end_within(PROMISED)
            .expect(sys::INTERRUPTIONS[0].code);
        if side == Reader {
            assert!(!place.path(PARTIAL).exists());
        }
    }
}

// ---- who may not take a place -------------------------------------------------------------

/// A pair whose half `side` was killed; the other one.
fn bereft(copy: &Copy<'_>, side: Side) -> Half {
    let [reader, writer] = copy.pair();
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
    for (side, options, paths, why) in [
        (Reader, &[][..], ["other", "b"], "its source is another one"),
        (Reader, &["--sparse=never"], ["a", "b"], "other options"),
        (Writer, &[], ["a", "other"], "cannot go on with"),
        (Writer, &["--no-sync"], ["a", "b"], "other options"),
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
        copy.half(side).end().expect(0);
        other.end().expect(0);
        assert_whole(&place, &data);
        assert!(std::fs::read(place.path("other")).unwrap() == noise(SIZE));
    }
}

#[test]
fn a_source_that_was_changed_is_not_gone_on_with() {
    let place = Place::new();
    let a = place.file("a", noise(SIZE));
    place.file("b", "old");
    let copy = Copy {
        place: &place,
        options: &[SLOW],
        source: "a",
    };
    let writer = bereft(&copy, Reader);
    std::fs::OpenOptions::new()
        .append(true)
        .open(a)
        .unwrap()
        .write_all(b"more")
        .unwrap();
    let reader = copy.half(Reader).end().expect(4);
    assert!(reader.said.contains("has changed since"), "{reader:?}");
    writer.hear("still waiting for another");
    assert_eq!(std::fs::read(place.path("b")).unwrap(), b"old");
}

#[test]
fn a_partial_file_that_is_not_what_was_left_is_not_gone_on_with() {
    type Change = fn(&Place);
    let changes: [(Change, &str); 5] = [
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
        (
            // Many file systems give it the same number.
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
    for (change, why) in changes {
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
    place.file("a", &data);
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
    let again = copy(&[]);
    reader.hear(r#""event":"taken_over""#);
    let fields = format!(r#""process":{},"partners":2"#, again.pid());
    assert!(reader.said().contains(&fields), "{}", reader.said());
    again.end().expect(0);
    reader.end().expect(0);
    assert_whole(&place, &data);
}

#[test]
fn nothing_times_out_while_a_place_is_held() {
    let place = Place::new();
    let data = noise(SIZE);
    place.file("a", &data);
    let copy = Copy {
        place: &place,
        options: &["--no-sync", "--timeout=0.5", SLOW],
        source: "a",
    };
    for side in [Reader, Writer] {
        let other = bereft(&copy, side);
        std::thread::sleep(Duration::from_millis(1200));
        copy.half(side).end().expect(0);
        other.end().expect(0);
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
        place.file("b", "old");
        let writer = copy("a").half(Writer);
        dying(&copy("a"), Reader, "letter posted");
        writer.hear(HOLDS);
        copy("other").half(Reader).end().expect(0);
        let writer = writer.end().expect(0);
        assert!(!writer.said.contains("half written"), "{writer:?}");
        assert_whole(&place, &data);
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
            wait_until("a whole line", SOON, || other.said().ends_with('\n'));
            let said = other.said();
            let (_, told) = said.rsplit_once("run: ").unwrap();
            // What is no plain word is quoted, as a short name is on Windows.
            let words = told.lines().next().unwrap().split(' ').skip(1);
            let told = words.map(|word| word.trim_matches('"'));
            Half::start(place.brigade(told)).end().expect(0);
            other.end().expect(0);
            assert!(std::fs::read(place.path("b")).unwrap() == data);
        }
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
    let copy = Copy {
        place: &place,
        options: &["--no-sync"],
        source: "-",
    };
    let mut command = copy.command(Reader);
    command.stdin(Stdio::piped());
    let mut reader = Half::start(command);
    let mut input = reader.input();
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

// ---- --both ---------------------------------------------------------------------------------

/// The process that has taken a place last, or had it first.
fn partner_of(said: &str) -> u32 {
    let (_, rest) = said.rsplit_once("the partner is the ").unwrap();
    let (_, rest) = rest.split_once("(process ").unwrap();
    rest.split_once(',').unwrap().0.parse().unwrap()
}

#[test]
fn both_starts_another_writer_three_times_and_no_more() {
    for kills in [3, 4] {
        let place = Place::new();
        place.file("b", "old");
        let mut command = place.brigade(["--both", "-v", HELD, "--no-sync", "-", "b"]);
        command.stdin(Stdio::piped());
        let mut both = Half::start(command);
        let mut input = both.input();
        for kill in 0..kills {
            wait_to_hear(&both, "the partner is", kill + 1);
            wait_to_hear(&both, TAKEN, kill);
            input.write_all(b"water").unwrap();
            place.wait_for_data();
            if !sys::kill(partner_of(&both.said())) {
                return;
            }
            wait_to_hear(&both, ") died; ", kill + 1);
        }
        if kills == 3 {
            drop(input);
            both.end().expect(0);
            assert_whole(&place, &b"water".repeat(kills));
        } else {
            let ended = both.end_within(PROMISED).expect(4);
            assert_eq!(count_in(&ended.said, "another one is started"), 3);
            assert_eq!(std::fs::read(place.path("b")).unwrap(), b"old");
        }
    }
}

#[test]
fn where_both_starts_another_one_no_command_is_told() {
    let place = Place::new();
    let mut command = place.brigade(["--both", "--json", HELD, "--no-sync", "-", "b"]);
    command.stdin(Stdio::piped());
    let mut both = Half::start(command);
    let mut input = both.input();
    input.write_all(b"water").unwrap();
    place.wait_for_data();
    both.hear(r#""event":"paired""#);
    let said = both.said();
    let (_, partner) = said.split_once(r#""partner_process":"#).unwrap();
    let (partner, _) = partner.split_once(',').unwrap();
    if !sys::kill(partner.parse().unwrap()) {
        return;
    }
    both.hear(r#""event":"taken_over""#);
    drop(input);
    let both = both.end().expect(0);
    assert!(both.said.contains(r#""command":null"#), "{both:?}");
    assert_whole(&place, b"water");
}

#[test]
fn a_writer_that_both_started_starts_another_reader_again_and_again() {
    let place = Place::new();
    let data = noise(SIZE);
    place.file("a", &data);
    let options = ["--verify", "--limit-rate=4M"];
    let words = [&["--both", HELD], &options[..], &["a", "b"]].concat();
    let mut both = Half::start(place.brigade(words));
    place.wait_for_data();
    both.kill();
    both.hear("another one is started");
    both.hear(TAKEN);
    let said = both.said();
    let (before, _) = said.rsplit_once(TAKEN).unwrap();
    let (_, process) = before.trim_end().rsplit_once(' ').unwrap();
    if sys::kill(process.parse().unwrap()) {
        wait_to_hear(&both, TAKEN, 2);
    }
    both.hear("done: ");
    assert!(std::fs::read(place.path("b")).unwrap() == data);
    wait_until("nothing is left", SOON, || !place.path(PARTIAL).exists());
}

// ---- for long -------------------------------------------------------------------------------

/// How many halves are killed in the long form.
const MANY: usize = 1000;

/// And how long that may take.
const LONG: Duration = Duration::from_secs(40 * 60);

#[test]
#[ignore = "takes many minutes"]
fn a_thousand_halves_are_killed_and_every_copy_is_whole() {
    let data = noise(SIZE);
    let (mut kills, mut copies, mut times) = (0, 0, Times::default());
    let began = Instant::now();
    while kills < MANY {
        assert!(began.elapsed() < LONG, "{kills} kills in {LONG:?}");
        let options = [&["--no-sync", "--verify", SLOW][..], &["--no-sync", SLOW]];
        kills += killed_again_and_again(options[copies % 2], &data, 1000 + copies, &mut times);
        copies += 1;
    }
    for (what, times) in [
        ("noticed", &mut times.noticed),
        ("going on", &mut times.gone_on),
    ] {
        times.sort_unstable();
        let [half, most] = [times[times.len() / 2], times[times.len() - 1]];
        eprintln!("{what}: {half:?} (median), {most:?} (most)");
    }
    eprintln!("{kills} kills in {copies} copies, {:?}", began.elapsed());
}
