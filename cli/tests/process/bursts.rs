//! Streams that come in bursts: a source is read ahead while the destination takes nothing.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use crate::harness::{Half, Place, SOON, noise, sys};

/// More than any pool and all pipes, and less than what may be read ahead.
const AHEAD: usize = 40 << 20;

/// What is never read ahead, with all pipes and some to spare.
const POOL_MOST: usize = 8 << 20;

/// A pool, and all that may be read ahead.
const MOST: usize = 72 << 20;

/// Noise with holes in it.
fn data() -> Vec<u8> {
    let mut data = noise(AHEAD + (1 << 20));
    for hole in data.chunks_mut(3 << 20) {
        let len = hole.len() / 5;
        hole[..len].fill(0);
    }
    data
}

#[test]
fn a_stream_is_read_ahead_while_the_destination_takes_nothing() {
    let place = Place::new();
    let data = data();
    for options in [&[][..], &["--sparse=always", "--verify"]] {
        let mut copy = start(place.brigade([&["--both"], options, &["-", "-"]].concat()));
        let (mut input, mut output) = (copy.input(), copy.output());
        let (sender, fed) = channel();
        let feeder = std::thread::spawn({
            let data = data.clone();
            move || {
                let (ahead, rest) = data.split_at(AHEAD);
                input.write_all(ahead).unwrap();
                sender.send(()).unwrap();
                input.write_all(rest).unwrap();
            }
        });
        fed.recv_timeout(SOON).unwrap();
        // Nobody has read until now.
        let mut taken = Vec::new();
        output.read_to_end(&mut taken).unwrap();
        feeder.join().unwrap();
        copy.end().expect(0);
        assert!(taken == data, "{options:?}");
    }
    place.assert_nothing_left();
}

#[test]
fn a_destination_that_takes_nothing_is_stuck_however_much_was_read_ahead() {
    let place = Place::new();
    let command = place.brigade(["--both", "--timeout=1", "-", "-"]);
    let fed = feed_until_stuck(command);
    assert!(fed < MOST, "{fed}");
}

#[test]
fn who_says_how_large_the_pool_is_has_no_more_than_that() {
    let place = Place::new();
    for pool in ["--blocks=16", "--block-size=128K"] {
        let command = place.brigade(["--both", "--timeout=1", pool, "-", "-"]);
        let fed = feed_until_stuck(command);
        assert!(fed < POOL_MOST, "{pool}: {fed}");
    }
}

#[test]
fn a_process_whose_memory_is_limited_reads_nothing_ahead() {
    let place = Place::new();
    let args = ["--both", "--timeout=1", "-", "-"];
    let Some(command) = sys::limited(&place, "--as=1073741824", &args) else {
        return;
    };
    let fed = feed_until_stuck(command);
    assert!(fed < POOL_MOST, "{fed}");
}

fn start(mut command: Command) -> Half {
    command.stdin(Stdio::piped());
    Half::start(command)
}

/// How many bytes a copy from a stream takes to one that takes nothing, until it gives up.
fn feed_until_stuck(command: Command) -> usize {
    let mut copy = start(command);
    let (mut input, _output) = (copy.input(), copy.output());
    let feeder: JoinHandle<usize> = std::thread::spawn(move || {
        let piece = noise(64 << 10);
        let mut fed = 0;
        while input.write_all(&piece).is_ok() {
            fed += piece.len();
        }
        fed
    });
    let parts = [
        "no progress for 1 s",
        "the writer is stuck writing to standard output at byte",
    ];
    copy.end().expect_line(1, &parts);
    feeder.join().unwrap()
}
