//! `--timeout`: a half that is stuck ends both, and says where.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use crate::harness::{GREETING, Half, Place, SOON, noise, skip, sys};

/// Which of a Writer's figures it is.
const WRITTEN: usize = 3;

/// Several times what a busy machine may pause for, and still short.
const TIMEOUT: &str = "--timeout=1";

#[test]
fn a_source_that_comes_to_a_halt_ends_both_with_the_offset() {
    let place = Place::new();
    place.file("b", "old");
    let mut command = place.brigade(["--both", TIMEOUT, "-", "b"]);
    command.stdin(Stdio::piped());
    let mut copy = Half::start(command);
    let mut input = copy.input();
    input.write_all(b"water").unwrap();
    let parts = [
        "no progress for 1 s",
        "the reader is stuck reading standard input at byte 5",
    ];
    copy.end().expect_line(1, &parts);
    drop(input);
    assert_eq!(std::fs::read(place.path("b")).unwrap(), b"old");
    place.assert_nothing_left();
}

#[test]
fn a_block_that_takes_longer_to_read_than_the_timeout_is_no_halt() {
    let place = Place::new();
    let data = noise(8 << 20);
    place.file("a", &data);
    // 1.6 s for each block, in pieces of 0.1 s.
    let args = "--both --block-size=4M --blocks=1";
    let args: Vec<_> = args.split(' ').chain([TIMEOUT, "a", "b"]).collect();
    let slow = ["read:delay_enter=100000"];
    let Some(copy) = sys::with_faults_of(&place, "a", &slow, &args) else {
        return;
    };
    Half::start(copy).end().expect(0);
    assert!(std::fs::read(place.path("b")).unwrap() == data);
}

#[test]
fn both_halves_name_the_one_that_is_stuck() {
    let place = Place::new();
    let name = place.name();
    let half = |side, path| {
        let args = ["--as", side, "--name", &name, TIMEOUT, path];
        let mut command = place.brigade(args);
        command.stdin(Stdio::piped());
        Half::start(command)
    };
    let (mut reader, writer) = (half("reader", "-"), half("writer", "b"));
    let input = reader.input();
    let stuck = "the reader is stuck reading standard input at byte 0";
    writer.end().expect_line(4, &["no progress", stuck]);
    reader.end().expect_line(1, &["no progress", stuck]);
    drop(input);
    place.assert_nothing_left();
}

#[test]
fn a_destination_that_takes_nothing_ends_both() {
    let place = Place::new();
    place.file("a", noise(16 << 20));
    let mut copy = Half::start(place.brigade(["--both", TIMEOUT, "a", "-"]));
    // Which nobody reads.
    let _output = copy.output();
    let parts = [
        "no progress for 1 s",
        "the writer is stuck writing to standard output at byte",
    ];
    copy.end().expect_line(1, &parts);
}

#[test]
fn a_partner_that_is_frozen_is_named_by_the_other_half() {
    let place = Place::new();
    place.file("a", noise(16 << 20));
    let name = place.name();
    let args = ["--as", "writer", "--name", &name, "--limit-rate=2M", "b"];
    let writer = Half::start(place.brigade(args));
    let args = ["-v", "--as", "reader", "--name", &name, TIMEOUT, "a"];
    let reader = Half::start(place.brigade(args));
    reader.hear("the partner is");
    place.wait_for_data();
    writer.freeze();
    let outcome = reader.end().expect(4);
    assert!(
        outcome.said.contains("the writer is stuck writing to"),
        "{outcome:?}"
    );
    writer.thaw();
    let outcome = writer.end().expect(4);
    assert!(outcome.said.contains("no progress for 1 s"), "{outcome:?}");
    place.assert_nothing_left();
}

#[test]
fn what_is_slow_but_moves_is_not_stuck() {
    let place = Place::new();
    place.file("a", noise(1 << 20));
    // Ten pieces in each time that nothing may move.
    let args = ["--both", "--timeout=2", "--limit-rate=256K", "a", "b"];
    Half::start(place.brigade(args)).end().expect(0);
}

#[test]
fn waiting_for_a_partner_is_not_limited_by_it() {
    let place = Place::new();
    place.file("a", "water");
    let reader = Half::start(place.brigade(["--timeout=0.2", "a", "b"]));
    reader.hear("waiting");
    std::thread::sleep(Duration::from_secs(1));
    Half::start(place.brigade(["a", "b"])).end().expect(0);
    reader.end().expect(0);
}

/// A partner that joins, and then neither asks nor answers.
fn silent_partner(place: &Place, side: brigade::Side) -> brigade::Role {
    let options = brigade::Options::new()
        .side(side)
        .wait(SOON)
        .greeting(GREETING);
    brigade::join(&place.name(), &options).unwrap()
}

#[test]
fn a_partner_that_never_answers_or_asks_is_named() {
    for (side, partner, path, stuck) in [
        (
            "reader",
            brigade::Side::Writer,
            "a",
            "the writer is stuck opening",
        ),
        (
            "writer",
            brigade::Side::Reader,
            "b",
            "the reader is stuck reading",
        ),
    ] {
        let place = Place::new();
        place.file("a", "water");
        let args = ["--as", side, "--name", &place.name(), TIMEOUT, path];
        let half = Half::start(place.brigade(args));
        half.hear("waiting");
        let partner = silent_partner(&place, partner);
        half.end().expect_line(4, &["no progress for 1 s", stuck]);
        drop(partner);
        place.assert_nothing_left();
    }
}

#[test]
fn a_writer_that_is_stuck_reading_what_was_written_before_is_named_with_the_offset() {
    let place = Place::new();
    place.file("a", "water");
    let args = ["--as", "reader", "--name", &place.name(), TIMEOUT, "a"];
    let half = Half::start(place.brigade(args));
    half.hear("waiting");
    let partner = silent_partner(&place, brigade::Side::Writer);
    let writer = partner.into_writer().unwrap();
    let monitor = writer.monitor();
    monitor.set_figure(WRITTEN, 5);
    let stuck = "the writer is stuck reading again what is in its destination at byte 5";
    half.end().expect_line(4, &["no progress for 1 s", stuck]);
}

#[test]
fn a_writer_that_is_stuck_opening_its_destination_is_named_by_both() {
    let place = Place::new();
    place.file("a", "water");
    // Nobody reads it, and on Windows nobody need.
    let fifo = sys::Fifo::new(&place);
    if !sys::has_modes() {
        return skip("a pipe is opened at once here");
    }
    let name = place.name();
    let half = |side, path| {
        let args = ["--as", side, "--name", &name, TIMEOUT, path];
        Half::start(place.brigade(args))
    };
    let (reader, writer) = (half("reader", "a"), half("writer", fifo.path()));
    let stuck = "the writer is stuck opening";
    reader.end().expect_line(4, &["no progress", stuck]);
    writer.end().expect_line(1, &["no progress", stuck]);
    fifo.remove();
    place.assert_nothing_left();
}
