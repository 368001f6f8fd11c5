//! Halves that die and are replaced: the copy goes on where it was, and is whole.

mod places;

use std::io::Write;
use std::process::{ChildStdin, Command, Stdio};
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

impl<'t> Copy<'t> {
    fn of_a_stream(place: &'t Place) -> Copy<'t> {
        Copy {
            place,
            options: &["--no-sync"],
            source: "-",
        }
    }

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

    /// A Reader of standard input, and what it gets there.
    fn reader_of_a_pipe(&self) -> (Half, ChildStdin) {
        let mut command = self.command(Reader);
        command.stdin(Stdio::piped());
        let mut reader = Half::start(command);
        let input = reader.input();
        (reader, input)
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
fn where_the_copy_is_stays_known_if_a_writer_dies_while_a_new_reader_reads_again() {
    let place = Place::new();
    let data = noise(40 << 20);
    place.file("a", &data);
    let copy = Copy {
        place: &place,
        options: &["--verify", "--no-sync", "--limit-rate=20M"],
        source: "a",
    };
    let [mut reader, mut writer] = copy.pair();
    let partial = place.path(PARTIAL);
    wait_until("a whole subtree", SOON, || {
        std::fs::metadata(&partial).is_ok_and(|found| found.len() > 20 << 20)
    });
    reader.kill();
    writer.hear(HOLDS);
    let reader = copy.half(Reader);
    // For the next second, the last whole subtree is read again.
    writer.hear("the copy goes on at byte");
    writer.kill();
    reader.hear(HOLDS);
    let writer = copy.half(Writer);
    let at = "has taken the writer's place; the copy goes on at byte ";
    reader.hear(at);
    let said = reader.said();
    let (_, at) = said.split_once(at).unwrap();
    assert!(!at.starts_with("0\n"), "{said}");
    for half in [reader, writer] {
        assert_eq!(half.end().code, Some(0));
    }
    assert_whole(&place, &data);
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
        let (reader, mut input) = copy.reader_of_a_pipe();
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
    let copy = Copy::of_a_stream(&place);
    let (reader, mut input) = copy.reader_of_a_pipe();
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
fn what_a_stream_s_reader_has_read_ahead_goes_to_the_next_writer() {
    const AHEAD: usize = 40 << 20;
    let place = Place::new();
    let copy = Copy::of_a_stream(&place);
    let (reader, mut input) = copy.reader_of_a_pipe();
    let mut writer = copy.half(Writer);
    let data = noise(AHEAD);
    let (first, rest) = data.split_at(1 << 20);
    input.write_all(first).unwrap();
    place.wait_for_data();
    writer.freeze();
    let (sender, fed) = std::sync::mpsc::channel();
    let rest = rest.to_vec();
    std::thread::spawn(move || {
        input.write_all(&rest).unwrap();
        sender.send(input).unwrap();
    });
    let input = fed.recv_timeout(SOON).unwrap();
    // The Reader waits for both by now, and hears that one of them is gone.
    let killed = Instant::now();
    writer.kill();
    assert_soon(&reader, HOLDS, killed);
    let writer = copy.half(Writer);
    reader.hear(TAKEN);
    drop(input);
    writer.end().expect(0);
    reader.end().expect(0);
    assert_whole(&place, &data);
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
