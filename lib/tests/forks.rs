//! What becomes of a session when one of its processes forks, on Unix: the session stays
//! the parent's, and the child's copy of it does nothing.
#![cfg(unix)]
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it expects by unwrapping it, and forks by hand"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use brigade::{
    Error, Interest, Options, Reader, Role, Seat, Side, Writer, accept, invite, join, wait_any,
};
use tempfile::TempDir;

/// The variables that say which task the process that a test starts has, and on what name.
const TASK: &str = "BRIGADE_TEST_TASK";
const NAME: &str = "BRIGADE_TEST_NAME";

const LIMIT: Duration = Duration::from_secs(60);

fn options() -> Options {
    Options::new().block_size(64).block_count(4).wait(LIMIT)
}

/// A child has copies of what all threads of this process have open. So that none waits for
/// the end of what another holds, there is one test at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A name that nobody else has, in a directory of its own.
struct Place {
    directory: TempDir,
    name: String,
    _turn: MutexGuard<'static, ()>,
}

fn place() -> Place {
    let turn = ONE_AT_A_TIME.lock();
    let directory = tempfile::tempdir().unwrap();
    Place {
        name: format!("{}/n", directory.path().display()),
        directory,
        _turn: turn.unwrap_or_else(PoisonError::into_inner),
    }
}

fn start(task: &str, name: &str) -> Child {
    let mut command = Command::new("timeout");
    command
        .arg("100")
        .arg(std::env::current_exe().unwrap())
        .args(["the_process_that_other_tests_start", "--exact"])
        .arg("--nocapture")
        .env(TASK, task)
        .env(NAME, name)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn the_process_that_other_tests_start() {
    let Ok(task) = std::env::var(TASK) else {
        return;
    };
    let name = std::env::var(NAME).unwrap();
    match task.as_str() {
        "drain" => drain(&as_writer(&name)),
        "fill" => fill(&as_reader(&name)),
        "accept" => match accept(&options()).unwrap() {
            Role::Writer(writer) => drain(&writer),
            role => panic!("{role:?}"),
        },
        "fork and die" => fork_and_die(&name),
        task => panic!("there is no task {task}"),
    }
}

fn as_reader(name: &str) -> Reader {
    match join(name, &options().side(Side::Reader)).unwrap() {
        Role::Reader(reader) => reader,
        role => panic!("{role:?}"),
    }
}

/// Both ends in this process.
fn pair_here() -> (Place, Reader, Writer) {
    let place = place();
    let host = Seat::take(&place.name, &options().side(Side::Reader)).unwrap();
    let name = place.name.clone();
    let writer = std::thread::spawn(move || as_writer(&name));
    let Role::Reader(reader) = host.wait().unwrap() else {
        panic!("not the reader");
    };
    let writer = writer.join().unwrap();
    (place, reader, writer)
}

fn as_writer(name: &str) -> Writer {
    match join(name, &options().side(Side::Writer)).unwrap() {
        Role::Writer(writer) => writer,
        role => panic!("{role:?}"),
    }
}

const BLOCKS: u64 = 100;

fn fill(reader: &Reader) {
    for tag in 0..BLOCKS {
        reader.empty_block().unwrap().send(8, tag).unwrap();
    }
    assert_eq!(reader.finish().unwrap().blocks, BLOCKS);
}

fn drain(writer: &Writer) {
    for tag in 0..BLOCKS {
        assert_eq!(writer.data_block().unwrap().unwrap().tag(), tag);
    }
    assert!(writer.data_block().unwrap().is_none());
    writer.finish().unwrap();
}

/// Runs `act` in a forked child, which then exits as a program that ends; whether all that
/// `act` looked at was as it should be.
fn in_fork(act: impl FnOnce() -> bool) -> libc::pid_t {
    // SAFETY: the child goes on as this one thread, and what it does needs no other.
    match unsafe { libc::fork() } {
        -1 => panic!("no fork"),
        0 => {
            let is_good = act();
            // SAFETY: the end of this process.
            unsafe { libc::exit(if is_good { 0 } else { 1 }) }
        }
        child => child,
    }
}

fn assert_was_good(child: libc::pid_t) {
    let mut status = 0;
    // SAFETY: `status` is this function's own.
    let waited = unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!((waited, status), (child, 0));
}

fn is_refused<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::InvalidUse(why)) if why.contains("forked"))
}

fn assert_name_is_taken(name: &str) {
    let third = Seat::take(name, &options());
    assert!(
        matches!(third, Err(Error::TooManyInstances { .. })),
        "{third:?}"
    );
}

#[test]
fn a_forked_child_drops_all_that_a_reader_has_and_the_session_goes_on() {
    let place = place();
    let name = place.name.clone();
    let mut partner = start("drain", &name);
    let reader = as_reader(&name);
    let (monitor, block) = (reader.monitor(), reader.empty_block().unwrap());
    let mut held = Some((block, monitor));
    let child = in_fork(|| {
        drop(held.take());
        // The end itself, whose owner the parent stays.
        // SAFETY: the child, whose memory is a copy, never uses it again.
        drop(unsafe { std::ptr::read(&raw const reader) });
        true
    });
    assert_was_good(child);
    assert_name_is_taken(&name);
    drop(held);
    fill(&reader);
    assert!(partner.wait().unwrap().success());
}

#[test]
fn a_forked_child_drops_all_that_a_writer_has_and_the_session_goes_on() {
    let place = place();
    let name = place.name.clone();
    let mut partner = start("fill", &name);
    let writer = as_writer(&name);
    let (monitor, block) = (writer.monitor(), writer.data_block().unwrap().unwrap());
    assert_eq!(block.tag(), 0);
    let mut held = Some((block, monitor));
    let child = in_fork(|| {
        drop(held.take());
        // SAFETY: the child, whose memory is a copy, never uses it again.
        drop(unsafe { std::ptr::read(&raw const writer) });
        true
    });
    assert_was_good(child);
    assert_name_is_taken(&name);
    drop(held);
    for tag in 1..BLOCKS {
        assert_eq!(writer.data_block().unwrap().unwrap().tag(), tag);
    }
    assert!(writer.data_block().unwrap().is_none());
    writer.finish().unwrap();
    assert!(partner.wait().unwrap().success());
}

#[test]
fn what_a_forked_child_calls_is_refused_and_changes_nothing() {
    let place = place();
    let name = place.name.clone();
    let mut partner = start("drain", &name);
    let reader = as_reader(&name);
    let monitor = reader.monitor();
    let mut block = Some(reader.empty_block().unwrap());
    let child = in_fork(|| {
        monitor.abort("a child's word");
        monitor.set_figure(0, 7);
        let soon = Instant::now() + Duration::from_secs(1);
        [
            is_refused(block.take().unwrap().send(1, 99)),
            is_refused(reader.empty_block()),
            is_refused(reader.empty_block_until(soon)),
            is_refused(reader.try_empty_block()),
            is_refused(reader.post(1, b"letter")),
            is_refused(reader.try_letter()),
            is_refused(reader.check()),
            is_refused(reader.arm(Interest::BLOCKS)),
            is_refused(reader.handle()),
            is_refused(wait_any(&[(&reader, Interest::LETTERS)], Some(soon))),
            is_refused(reader.finish()),
            is_refused(monitor.watch()),
            monitor.partner().is_none(),
        ]
        .into_iter()
        .all(|is_good| is_good)
    });
    assert_was_good(child);
    assert_eq!(monitor.figures()[0], 0);
    drop(block);
    fill(&reader);
    assert!(partner.wait().unwrap().success());
}

#[test]
fn a_forked_child_gets_no_block_though_its_parent_has_seen_that_there_are_some() {
    let (_place, reader, writer) = pair_here();
    for tag in 0..4 {
        reader.empty_block().unwrap().send(8, tag).unwrap();
    }
    // One look finds all of them.
    assert_eq!(writer.data_block().unwrap().unwrap().tag(), 0);
    assert_was_good(in_fork(|| {
        is_refused(writer.data_block()) && is_refused(writer.try_data_block())
    }));
    for tag in 1..4 {
        assert_eq!(writer.data_block().unwrap().unwrap().tag(), tag);
    }
    let block = reader.empty_block().unwrap();
    assert_was_good(in_fork(|| {
        is_refused(reader.empty_block()) && is_refused(reader.try_empty_block())
    }));
    block.send(8, 4).unwrap();
    assert_eq!(writer.data_block().unwrap().unwrap().tag(), 4);
    reader.close().unwrap();
    assert!(writer.data_block().unwrap().is_none());
    writer.finish().unwrap();
    assert_eq!(reader.verdict().unwrap().blocks, 5);
}

#[test]
fn a_forked_child_lets_go_of_nothing_that_a_batch_of_its_parent_keeps_back() {
    let (_place, reader, writer) = pair_here();
    let mut batch = Some(reader.batch(10));
    let block = batch.as_ref().unwrap().empty_block().unwrap();
    block.send(8, 0).unwrap();
    assert_was_good(in_fork(|| {
        drop(batch.take());
        reader.pass_on();
        true
    }));
    assert!(writer.try_data_block().unwrap().is_none());
    drop(batch);
    assert_eq!(writer.data_block().unwrap().unwrap().tag(), 0);
}

#[test]
fn a_forked_child_can_neither_use_its_copy_of_an_invitation_nor_write_to_one_of_a_stream() {
    let invitation = invite(&options().wait(Duration::from_secs(20))).unwrap();
    let place = place();
    let name = place.name.clone();
    let mut partner = start("drain", &name);
    let reader = as_reader(&name);
    let mut stream = reader.stream();
    stream.write_all(b"x").unwrap();
    let child = in_fork(|| {
        // SAFETY: the child, whose memory is a copy, never uses it again.
        let copy = unsafe { std::ptr::read(&raw const invitation) };
        let spawned = copy.spawn(&mut std::process::Command::new("true"));
        is_refused(spawned) && stream.write(b"y").is_err()
    });
    assert_was_good(child);
    drop(stream);
    for tag in 1..BLOCKS {
        reader.empty_block().unwrap().send(8, tag).unwrap();
    }
    assert_eq!(reader.finish().unwrap().bytes, 1 + 8 * (BLOCKS - 1));
    assert!(partner.wait().unwrap().success());
    drop(invitation);
}

#[test]
fn a_forked_child_of_a_waiting_host_drops_the_seat_and_the_host_stays_reachable() {
    let place = place();
    let name = place.name.clone();
    let seat = Seat::take(&name, &options().side(Side::Reader)).unwrap();
    let files = || std::fs::read_dir(place.directory.path()).unwrap().count();
    let before = files();
    let child = in_fork(|| {
        // SAFETY: the child, whose memory is a copy, never uses it again.
        drop(unsafe { std::ptr::read(&raw const seat) });
        true
    });
    assert_was_good(child);
    assert_eq!(files(), before);
    let mut partner = start("drain", &name);
    let Role::Reader(reader) = seat.wait().unwrap() else {
        panic!("not the reader");
    };
    fill(&reader);
    assert!(partner.wait().unwrap().success());
}

#[test]
fn a_forked_child_can_not_go_on_in_its_parents_place_nor_give_it_up() {
    for survivor_first in [true, false] {
        let place = place();
        let keeping = || options().takeover(LIMIT);
        let first = if survivor_first {
            Side::Writer
        } else {
            Side::Reader
        };
        let seat = Seat::take(&place.name, &keeping().side(first)).unwrap();
        let host = std::thread::spawn(move || seat.wait());
        let second = join(&place.name, &keeping()).unwrap();
        let host = host.join().unwrap().unwrap();
        let (writer, reader) = match survivor_first {
            true => (host, second),
            false => (second, host),
        };
        drop(reader);
        let Role::Writer(writer) = writer else {
            panic!("not the writer");
        };
        let mut survivor = writer.into_survivor().unwrap();
        let files = || std::fs::read_dir(place.directory.path()).unwrap().count();
        assert_eq!(files(), 1);
        assert_was_good(in_fork(|| {
            // SAFETY: the child, whose memory is a copy, never uses it again.
            let mut copy = unsafe { std::ptr::read(&raw const survivor) };
            is_refused(copy.rejoin(&place.name, &keeping()))
        }));
        assert_eq!(files(), 1);
        // Who comes now finds it kept: only this process is the host.
        let name = place.name.clone();
        let newcomer = std::thread::spawn(move || join(&name, &keeping()).unwrap());
        let writer = survivor.rejoin(&place.name, &keeping()).unwrap();
        assert_eq!(writer.epoch(), 2);
        drop((writer, newcomer.join().unwrap()));
        assert_eq!(files(), 0);
    }
}

#[test]
fn a_session_ends_and_its_name_is_free_though_a_forked_child_lives_on() {
    let place = place();
    let name = place.name.clone();
    let seat = Seat::take(&name, &options().side(Side::Reader)).unwrap();
    let mut partner = start("drain", &name);
    let Role::Reader(reader) = seat.wait().unwrap() else {
        panic!("not the reader");
    };
    let (mut end, writing_end) = std::io::pipe().unwrap();
    let child = in_fork(|| {
        // Lives until the parent has closed the other end of this, too.
        // SAFETY: the child, whose memory is a copy, never uses it again.
        drop(unsafe { std::ptr::read(&raw const writing_end) });
        end.read(&mut [0]).is_ok()
    });
    fill(&reader);
    assert!(partner.wait().unwrap().success());
    drop(reader);
    let again = Seat::take(&name, &options()).unwrap();
    assert!(again.is_first());
    drop(writing_end);
    assert_was_good(child);
}

#[test]
fn an_end_that_is_dropped_is_missed_at_once_though_a_forked_child_lives_on() {
    let place = place();
    let name = place.name.clone();
    let host = Seat::take(&name, &options().side(Side::Reader)).unwrap();
    let other = name.clone();
    let writer = std::thread::spawn(move || as_writer(&other));
    let Role::Reader(reader) = host.wait().unwrap() else {
        panic!("not the reader");
    };
    let writer = writer.join().unwrap();
    let (mut end, writing_end) = std::io::pipe().unwrap();
    let child = in_fork(|| {
        // SAFETY: the child, whose memory is a copy, never uses it again.
        drop(unsafe { std::ptr::read(&raw const writing_end) });
        end.read(&mut [0]).is_ok()
    });
    drop(reader);
    let failed = writer.data_block_until(Instant::now() + LIMIT);
    assert!(
        matches!(failed, Err(Error::PartnerAborted { .. })),
        "{failed:?}"
    );
    drop(writing_end);
    assert_was_good(child);
}

fn fork_and_die(name: &str) {
    let reader = as_reader(name);
    let mut stdin = std::io::stdin();
    in_fork(|| {
        // Until whoever started this closes it.
        let _ = stdin.read(&mut [0]);
        true
    });
    reader.empty_block().unwrap().send(1, 5).unwrap();
    println!("forked");
    std::io::stdout().flush().unwrap();
    std::process::abort();
}

#[test]
fn a_partner_that_dies_is_missed_within_a_second_though_its_forked_child_lives_on() {
    let place = place();
    let name = place.name.clone();
    let mut partner = start("fork and die", &name);
    let writer = as_writer(&name);
    let mut lines = BufReader::new(partner.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("forked")));
    let since = Instant::now();
    assert_eq!(writer.data_block().unwrap().unwrap().tag(), 5);
    let failed = writer.data_block_until(since + LIMIT);
    assert!(
        matches!(failed, Err(Error::PartnerDied { .. })),
        "{failed:?}"
    );
    assert!(since.elapsed() < LIMIT / 2, "{:?}", since.elapsed());
    // Which ends the child.
    drop(partner.stdin.take());
    partner.wait().unwrap();
}

#[test]
fn a_forked_child_can_join_a_session_of_its_own() {
    let place = place();
    let name = place.name.clone();
    let mut partner = start("drain", &name);
    let reader = as_reader(&name);
    let other = format!("{name}-other");
    let mut other_partner = start("drain", &other);
    let child = in_fork(|| {
        let reader = as_reader(&other);
        for tag in 0..BLOCKS {
            let sent = reader.empty_block().and_then(|block| block.send(8, tag));
            if sent.is_err() {
                return false;
            }
        }
        reader.finish().is_ok()
    });
    fill(&reader);
    assert_was_good(child);
    assert!(partner.wait().unwrap().success());
    assert!(other_partner.wait().unwrap().success());
}

#[test]
fn a_process_whose_first_three_descriptors_are_closed_can_invite() {
    let _place = place();
    let child = in_fork(|| {
        for standard in 0..3 {
            // SAFETY: this process is about to end, and uses none of them.
            unsafe { libc::close(standard) };
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["the_process_that_other_tests_start", "--exact"])
            .env(TASK, "accept")
            .env(NAME, "")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let (mut invited, seat) = invite(&options()).unwrap().spawn(&mut command).unwrap();
        let Ok(Role::Reader(reader)) = seat.wait() else {
            return false;
        };
        fill(&reader);
        invited.wait().unwrap().success()
    });
    assert_was_good(child);
}
