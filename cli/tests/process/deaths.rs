//! Halves that are killed, interrupted or frozen.

use std::io::Write;
use std::process::{ChildStdin, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::{Half, Interruption, PROMISED, Place, noise, sys, wait_until};

/// A pair that is copying from a stream.
struct Copying {
    reader: Half,
    writer: Half,
    flow: Flow,
}

/// What feeds the Reader, until this is dropped.
struct Flow {
    stop: Arc<AtomicBool>,
}

impl Copying {
    /// `flowing`: data keeps coming; else the stream is silent.
    fn start(place: &Place, flowing: bool) -> Copying {
        place.file("b", "old");
        let name = place.name();
        let mut command = place.brigade(["-v", "--as", "reader", "--name", &name, "-"]);
        command.stdin(Stdio::piped());
        let mut reader = Half::start(command);
        let input = reader.input();
        let writer = ["-v", "--no-sync", "--as", "writer", "--name", &name, "b"];
        let writer = Half::start(place.brigade(writer));
        reader.hear("the partner is");
        writer.hear("the partner is");
        Copying {
            reader,
            writer,
            flow: Flow::start(input, flowing),
        }
    }
}

impl Flow {
    fn start(input: ChildStdin, flowing: bool) -> Flow {
        let stop = Arc::new(AtomicBool::new(false));
        std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || flow(input, flowing, &stop)
        });
        Flow { stop }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Feeds `input`, or keeps it open at least, until told to stop.
fn flow(mut input: ChildStdin, flowing: bool, stop: &AtomicBool) {
    let data = noise(100_000);
    while !stop.load(Ordering::Relaxed) {
        if flowing && input.write_all(&data).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The destination is as it was, nothing is left, and the same commands, run again
/// at once, succeed.
fn assert_whole_and_run_again(place: &Place) {
    assert_eq!(std::fs::read(place.path("b")).unwrap(), b"old");
    place.file("a", "new");
    let name = place.name();
    let reader = Half::start(place.brigade(["--as", "reader", "--name", &name, "a"]));
    let writer = ["--no-sync", "--as", "writer", "--name", &name, "b"];
    let writer = Half::start(place.brigade(writer));
    reader.end().expect(0);
    writer.end().expect(0);
    assert_eq!(std::fs::read(place.path("b")).unwrap(), b"new");
    place.assert_only_locks_left();
}

#[test]
fn a_reader_killed_at_a_hundred_moments_ends_the_writer_and_harms_nothing() {
    for moment in 0..sys::MANY {
        let place = Place::new();
        let mut copying = Copying::start(&place, true);
        let pid = copying.reader.pid();
        std::thread::sleep(random_moment(moment));
        copying.reader.kill();
        drop(copying.flow);
        let writer = copying.writer.end_within(PROMISED).expect(4);
        assert_death_is_told(&writer.said, "reader", pid);
        place.assert_only_locks_left();
        assert_whole_and_run_again(&place);
    }
}

#[test]
fn a_writer_killed_at_a_hundred_moments_ends_the_reader_and_harms_nothing() {
    for moment in 0..sys::MANY {
        let place = Place::new();
        let mut copying = Copying::start(&place, true);
        let pid = copying.writer.pid();
        std::thread::sleep(random_moment(moment));
        copying.writer.kill();
        let reader = copying.reader.end_within(PROMISED).expect(4);
        assert_death_is_told(&reader.said, "writer", pid);
        // Its partial file may be there; the next copy uses it.
        assert_whole_and_run_again(&place);
    }
}

fn random_moment(seed: usize) -> Duration {
    let bytes = noise(seed + 8);
    Duration::from_micros(u64::from(u16::from_le_bytes([bytes[0], bytes[1]])) / 2)
}

#[track_caller]
fn assert_death_is_told(said: &str, who: &str, pid: u32) {
    let expected = format!("the {who} (process {pid}, user ");
    assert!(said.contains(&expected), "{said}");
    assert!(
        said.contains(") died; ") && said.contains("were delivered"),
        "{said}"
    );
}

#[test]
fn a_signal_to_either_half_of_a_pair_ends_both_whether_data_flows_or_not() {
    if !sys::can_interrupt() {
        return;
    }
    for flowing in [false, true] {
        // The usual ones; the others have a test of their own.
        for interruption in sys::INTERRUPTIONS.iter().take(2) {
            for to_reader in [true, false] {
                assert_interruption_ends_both(interruption, flowing, to_reader);
            }
        }
    }
}

#[track_caller]
fn assert_interruption_ends_both(interruption: &Interruption, flowing: bool, to_reader: bool) {
    let place = Place::new();
    let copying = Copying::start(&place, flowing);
    std::thread::sleep(Duration::from_millis(30));
    let (hit, other) = match to_reader {
        true => (copying.reader, copying.writer),
        false => (copying.writer, copying.reader),
    };
    hit.interrupt(interruption);
    let hit = hit.end_within(PROMISED).expect(interruption.code);
    let what = format!("interrupted ({}", interruption.name);
    assert!(hit.said.contains(&what), "{hit:?}");
    let other = other.end_within(PROMISED).expect(4);
    let what = format!("failed: {what}");
    assert!(other.said.contains(&what), "{other:?}");
    place.assert_nothing_left();
    assert_whole_and_run_again(&place);
}

#[test]
fn a_signal_to_a_half_that_waits_for_its_partner_ends_it_and_leaves_nothing() {
    if !sys::can_interrupt() {
        return;
    }
    for interruption in sys::INTERRUPTIONS {
        for role in ["reader", "writer"] {
            let place = Place::new();
            place.file("a", "water");
            let name = place.name();
            let path = if role == "reader" { "a" } else { "b" };
            let half = Half::start(place.brigade(["--as", role, "--name", &name, path]));
            half.hear("waiting");
            half.interrupt(interruption);
            half.end_within(PROMISED).expect(interruption.code);
            place.assert_nothing_left();
            assert!(!place.path("b").exists());
        }
    }
}

#[test]
fn whatever_ends_a_process_and_can_be_caught_removes_what_it_has_made() {
    if !sys::can_interrupt() {
        return;
    }
    for interruption in sys::INTERRUPTIONS {
        let place = Place::new();
        let mut both = place.begin(&["--no-sync"]);
        let input = both.input();
        both.interrupt(interruption);
        let ended = both.end_within(PROMISED).expect(interruption.code);
        assert!(ended.said.contains(interruption.name), "{ended:?}");
        drop(input);
        place.assert_nothing_left();
    }
}

#[test]
fn a_writer_that_is_hit_by_any_signal_removes_its_partial_file() {
    if !sys::can_interrupt() {
        return;
    }
    for interruption in sys::INTERRUPTIONS {
        let place = Place::new();
        let copying = Copying::start(&place, true);
        place.wait_for_data();
        copying.writer.interrupt(interruption);
        copying
            .writer
            .end_within(PROMISED)
            .expect(interruption.code);
        copying.reader.end_within(PROMISED).expect(4);
        // The Reader may be in a read as it ends, and its lock file stays.
        place.assert_nothing_left();
    }
}

#[test]
fn pipelines_leave_nothing_in_the_private_directory_whether_they_end_or_are_ended() {
    let place = Place::new();
    let left = || {
        let names = std::fs::read_dir(place.path("run/brigade"));
        names.into_iter().flatten().count()
    };
    for _ in 0..3 {
        let mut copy = place.begin(&[]);
        drop(copy.input());
        copy.end().expect(0);
        assert_eq!(left(), 0);
    }
    if sys::can_interrupt() {
        let mut copy = place.begin(&[]);
        let input = copy.input();
        copy.interrupt(&sys::INTERRUPTIONS[0]);
        copy.end().expect(sys::INTERRUPTIONS[0].code);
        drop(input);
        assert_eq!(left(), 0);
    }
}

#[test]
fn what_a_process_was_started_to_ignore_does_not_end_it() {
    let place = Place::new();
    let args = ["--both", "-v", "-", "b"];
    let Some(mut command) = sys::ignoring_interruptions(&place, &args) else {
        return;
    };
    command.stdin(Stdio::piped());
    let mut both = Half::start(command);
    let mut input = both.input();
    both.hear("the partner is");
    both.interrupt(&sys::INTERRUPTIONS[0]);
    input.write_all(b"water").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    drop(input);
    both.end().expect(0);
    assert_eq!(std::fs::read(place.path("b")).unwrap(), b"water");
}

#[test]
fn these_tests_pass_in_the_background_of_a_script() {
    let name = "deaths::a_signal_to_both_together_ends_both_and_the_copy_of_both_too";
    let Some(output) = sys::test_in_background(name) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let passed = output.status.success() && said.contains("1 passed");
    assert!(passed, "{said}");
}

#[test]
fn a_signal_to_both_together_ends_both_and_the_copy_of_both_too() {
    if !sys::can_interrupt() {
        return;
    }
    let place = Place::new();
    place.file("b", "old");
    let mut command = place.brigade(["--both", "-v", "-", "b"]);
    command.stdin(Stdio::piped());
    let mut both = Half::start(command);
    let input = both.input();
    both.hear("the partner is");
    let writer = writer_of(&both.said());
    both.interrupt(&sys::INTERRUPTIONS[0]);
    both.end_within(PROMISED).expect(130);
    wait_until_gone(writer);
    drop(input);
    place.assert_nothing_left();
    assert_eq!(std::fs::read(place.path("b")).unwrap(), b"old");
}

#[test]
fn the_process_that_both_started_does_not_outlive_its_parent() {
    let place = Place::new();
    place.file("b", "old");
    let mut command = place.brigade(["--both", "-v", "-", "b"]);
    command.stdin(Stdio::piped());
    let mut both = Half::start(command);
    let input = both.input();
    both.hear("the partner is");
    let writer = writer_of(&both.said());
    both.kill();
    wait_until_gone(writer);
    // Nobody else is left to tell.
    both.hear("brigade: writer: the reader (process ");
    both.hear(" died; ");
    drop(input);
    place.assert_only_locks_left();
    assert_eq!(std::fs::read(place.path("b")).unwrap(), b"old");
}

fn writer_of(said: &str) -> u32 {
    let (_, rest) = said.split_once("the writer (process ").unwrap();
    rest.split_once(',').unwrap().0.parse().unwrap()
}

fn wait_until_gone(process_id: u32) {
    let what = format!("process {process_id} is gone");
    wait_until(&what, PROMISED, || sys::is_gone(process_id));
}

#[test]
fn a_frozen_writer_stops_the_reader_and_nothing_is_lost_when_it_thaws() {
    let place = Place::new();
    let data = noise(20 << 20);
    place.file("a", &data);
    let reader = Half::start(place.brigade(["a", "b"]));
    reader.hear("waiting");
    let writer = Half::start(place.brigade(["-v", "a", "b"]));
    writer.hear("joined");
    writer.freeze();
    std::thread::sleep(Duration::from_millis(300));
    writer.thaw();
    reader.end().expect(0);
    writer.end().expect(0);
    assert!(std::fs::read(place.path("b")).unwrap() == data);
}

#[test]
fn a_process_that_holds_a_name_but_is_frozen_is_reported_as_such() {
    let place = Place::new();
    place.file("a", "water");
    let mut first = Half::start(place.brigade(["a", "b"]));
    first.hear("waiting");
    // It says so a moment before anybody can join.
    std::thread::sleep(Duration::from_millis(300));
    first.freeze();
    let second = Half::start(place.brigade(["a", "b"])).end();
    second.expect_line(5, &["does not answer"]);
    first.thaw();
    first.kill();
}

/// A pair whose Reader has sent everything, and waits for a Writer that takes its time.
fn all_sent(place: &Place) -> [Half; 2] {
    place.file("a", noise(100_000));
    place.file("b", "old");
    let name = place.name();
    let reader = Half::start(place.brigade(["--as", "reader", "--name", &name, "a"]));
    let slow = ["--as", "writer", "--name", &name, "--limit-rate=200K", "b"];
    let writer = Half::start(place.brigade(slow));
    place.wait_for_data();
    std::thread::sleep(Duration::from_millis(50));
    [reader, writer]
}

#[test]
fn a_reader_that_is_killed_when_it_has_sent_everything_is_not_missed() {
    for _ in 0..5 {
        let place = Place::new();
        let [mut reader, writer] = all_sent(&place);
        reader.kill();
        writer.end().expect(0);
        assert!(std::fs::read(place.path("b")).unwrap() == noise(100_000));
        place.assert_only_locks_left();
    }
}

#[test]
fn a_reader_without_a_verdict_says_that_the_copy_may_be_complete() {
    let place = Place::new();
    let [reader, mut writer] = all_sent(&place);
    writer.kill();
    let parts = [
        "died",
        "everything was sent",
        "may still complete",
        "look at",
    ];
    let said = reader.end_within(PROMISED).expect(4).said;
    assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    if !sys::can_interrupt() {
        return;
    }
    let place = Place::new();
    let [reader, writer] = all_sent(&place);
    reader.interrupt(&sys::INTERRUPTIONS[0]);
    let said = reader.end_within(PROMISED).expect(130).said;
    assert!(said.contains("everything was sent"), "{said}");
    writer.end().expect(4);
    assert_eq!(std::fs::read(place.path("b")).unwrap(), b"old");
}
