//! A Reader that has lost its Writer goes on with another one.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it, and forks by hand"
)]

mod common;

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use brigade::{Error, Label, Options, Reader, Role, Seat, Side, Unreturned, Writer, join};
use common::{bounded, drain, invalid_use, pair, patiently, send};
use tempfile::TempDir;

fn place() -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let name = format!("{}/n", directory.path().display());
    (directory, name)
}

fn options() -> Options {
    let options = Options::new().block_size(8).block_count(4);
    options.wait(Duration::from_secs(30))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// The Reader of a pair whose Writer gave up, having given `given_back` blocks back.
fn lost(sent: u64, given_back: usize) -> Unreturned {
    let (reader, writer) = pair(8, 4);
    for tag in 0..sent {
        send(&reader, &tag.to_le_bytes(), tag);
    }
    for _ in 0..given_back {
        drop(writer.data_block().unwrap().unwrap());
    }
    writer.abort("no room");
    reader.into_unreturned().unwrap()
}

/// A new Writer that drains all, and the tags of that.
fn drain_as_writer(name: &str) -> thread::JoinHandle<Vec<u64>> {
    let name = name.to_owned();
    thread::spawn(move || drain(&as_writer(&name)))
}

fn as_writer(name: &str) -> Writer {
    match patiently(|| join(name, &options().side(Side::Writer))) {
        Role::Writer(writer) => writer,
        role => panic!("{role:?}"),
    }
}

#[test]
fn what_was_not_given_back_comes_first_and_in_order_and_then_the_reader_goes_on() {
    bounded(|| {
        let (_directory, name) = place();
        let mut unreturned = lost(3, 1);
        let writer = drain_as_writer(&name);
        let reader = patiently(|| unreturned.rejoin(&name, &options()));
        assert!(unreturned.is_empty());
        for tag in 3..20u64 {
            send(&reader, &tag.to_le_bytes(), tag);
        }
        let delivered = reader.finish_until(soon()).unwrap();
        assert_eq!(delivered.blocks, 19);
        assert_eq!(writer.join().unwrap(), Vec::from_iter(1..20));
    });
}

#[test]
fn a_full_pool_goes_on_and_labels_and_lengths_are_kept() {
    bounded(|| {
        let (_directory, name) = place();
        let labels = [3, 1, 2, 0].map(|kind| Label {
            kind,
            tag: u64::from(kind) << 40,
            more: kind % 2 == 1,
        });
        let (reader, writer) = pair(8, 4);
        for label in labels {
            let mut block = reader.empty_block().unwrap();
            block.fill(label.kind as u8);
            block.send_as(usize::from(label.kind), label).unwrap();
        }
        drop(writer);
        let mut unreturned = reader.into_unreturned().unwrap();
        let other = name.clone();
        let writer = thread::spawn(move || {
            let writer = as_writer(&other);
            for label in labels {
                let block = writer.data_block_until(soon()).unwrap().unwrap();
                assert_eq!(block.label(), label);
                assert_eq!(*block, vec![label.kind as u8; label.kind.into()]);
            }
            assert!(writer.data_block_until(soon()).unwrap().is_none());
            writer.finish().unwrap();
        });
        let reader = patiently(|| unreturned.rejoin(&name, &options()));
        reader.finish_until(soon()).unwrap();
        writer.join().unwrap();
    });
}

#[test]
fn one_that_fails_loses_nothing_and_can_be_called_again() {
    bounded(|| {
        let (_directory, name) = place();
        let mut unreturned = lost(3, 1);
        let before: Vec<_> = tags(&unreturned);
        let nobody = options().wait(Duration::from_millis(50));
        let error = unreturned.rejoin(&name, &nobody).unwrap_err();
        assert!(matches!(error, Error::NoPartner { .. }), "{error:?}");
        let other_pool = options().block_count(5);
        let error = unreturned.rejoin(&name, &other_pool).unwrap_err();
        assert!(matches!(error, Error::InvalidOption(_)), "{error:?}");
        let as_writer = options().side(Side::Writer);
        let error = unreturned.rejoin(&name, &as_writer).unwrap_err();
        assert!(matches!(error, Error::InvalidOption(_)), "{error:?}");
        // Beside another Reader.
        let seat = Seat::take(&name, &options().side(Side::Reader)).unwrap();
        let host = thread::spawn(move || seat.wait());
        let error = unreturned.rejoin(&name, &options()).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
        assert_eq!(tags(&unreturned), before);
        drop(as_second_writer(&name));
        drop(host.join().unwrap().unwrap());

        let writer = drain_as_writer(&name);
        let reader = patiently(|| unreturned.rejoin(&name, &options()));
        reader.finish_until(soon()).unwrap();
        assert_eq!(writer.join().unwrap(), before);
        invalid_use(unreturned.rejoin(&name, &options()));
    });
}

fn as_second_writer(name: &str) -> Writer {
    match patiently(|| join(name, &options())) {
        Role::Writer(writer) => writer,
        role => panic!("{role:?}"),
    }
}

fn tags(unreturned: &Unreturned) -> Vec<u64> {
    unreturned.iter().map(|(label, _)| label.tag).collect()
}

#[test]
fn a_reader_that_was_closed_is_closed_again_and_only_the_verdict_is_missing() {
    bounded(|| {
        for finished in [false, true] {
            let (_directory, name) = place();
            let (reader, writer) = pair(8, 4);
            send(&reader, &7u64.to_le_bytes(), 7);
            reader.close().unwrap();
            writer.abort("no room");
            if finished {
                reader.verdict().unwrap_err();
            }
            let mut unreturned = reader.into_unreturned().unwrap();
            let writer = drain_as_writer(&name);
            let reader = patiently(|| unreturned.rejoin(&name, &options()));
            let block = reader.empty_block().unwrap();
            invalid_use(block.send(0, 0));
            reader.verdict_until(soon()).unwrap();
            assert_eq!(writer.join().unwrap(), [7]);
        }
    });
}

#[test]
fn bytes_that_a_forgotten_stream_took_still_forbid_the_end_of_the_data() {
    bounded(|| {
        let (_directory, name) = place();
        let (reader, writer) = pair(8, 4);
        let mut stream = reader.stream();
        stream.write_all(b"lost").unwrap();
        std::mem::forget(stream);
        writer.abort("no room");
        let mut unreturned = reader.into_unreturned().unwrap();
        let other = name.clone();
        let writer = thread::spawn(move || as_writer(&other).data_block_until(soon()).map(drop));
        let reader = patiently(|| unreturned.rejoin(&name, &options()));
        let why = invalid_use(reader.close());
        assert!(why.contains("never sent"), "{why}");
        let error = writer.join().unwrap().unwrap_err();
        assert!(matches!(error, Error::PartnerAborted { .. }), "{error:?}");
    });
}

#[test]
fn the_name_of_a_lost_pair_can_be_used_for_the_next_whoever_had_it() {
    bounded(|| {
        for reader_first in [true, false] {
            let (_directory, name) = place();
            let side = if reader_first {
                Side::Reader
            } else {
                Side::Writer
            };
            let seat = Seat::take(&name, &options().side(side)).unwrap();
            let host = thread::spawn(move || seat.wait());
            let second = patiently(|| join(&name, &options()));
            let (reader, writer) = match (host.join().unwrap().unwrap(), second) {
                (Role::Reader(reader), Role::Writer(writer))
                | (Role::Writer(writer), Role::Reader(reader)) => (reader, writer),
                both => panic!("{both:?}"),
            };
            send(&reader, &1u64.to_le_bytes(), 1);
            drop(writer);
            let monitor = reader.monitor();
            let mut unreturned = reader.into_unreturned().unwrap();
            let writer = drain_as_writer(&name);
            let reader = patiently(|| unreturned.rejoin(&name, &options()));
            // One of the old pair says nothing in the new one.
            monitor.set_figure(0, 7);
            monitor.abort("too late");
            reader.finish_until(soon()).unwrap();
            assert_eq!(writer.join().unwrap(), [1]);
            drop(unreturned);
        }
    });
}

#[test]
fn a_detached_block_of_a_writer_that_lives_on_comes_to_nothing() {
    bounded(|| {
        let (_directory, name) = place();
        let (reader, writer) = pair(8, 4);
        let detached = reader.empty_block().unwrap().detach();
        let dropped = reader.empty_block().unwrap().detach();
        send(&reader, &1u64.to_le_bytes(), 1);
        writer.abort("no room");
        let mut unreturned = reader.into_unreturned().unwrap();
        let writer = drain_as_writer(&name);
        let reader = patiently(|| unreturned.rejoin(&name, &options()));
        drop(dropped);
        invalid_use(detached.send(8, 9));
        // All blocks of the new pool are there.
        let held: Vec<_> = (0..3).map(|_| reader.empty_block().unwrap()).collect();
        drop(held);
        reader.finish_until(soon()).unwrap();
        assert_eq!(writer.join().unwrap(), [1]);
    });
}

// ---- Writers that are killed ------------------------------------------------------------

/// What a process that a test starts is to do: `drain`, under which name, and the file for
/// the tags of what it drained.
const NAME: &str = "BRIGADE_REJOIN_NAME";
const TAGS: &str = "BRIGADE_REJOIN_TAGS";

#[test]
fn the_process_that_other_tests_start() {
    let Ok(name) = std::env::var(NAME) else {
        return;
    };
    let path = PathBuf::from(std::env::var_os(TAGS).unwrap());
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .unwrap();
    let seat = patiently(|| Seat::take(&name, &options().side(Side::Writer)));
    writeln!(std::io::stdout(), "seated").unwrap();
    let Role::Writer(writer) = seat.wait().unwrap() else {
        panic!("not the writer");
    };
    #[cfg(target_os = "linux")]
    if std::env::var_os(slow_death::WANTED).is_some() {
        slow_death::die(&writer);
    }
    #[cfg(target_os = "linux")]
    heir::fork_one(&path.with_extension("late"));
    while let Some(block) = writer.data_block().unwrap() {
        assert_eq!(*block, block.tag().to_le_bytes());
        // Noted before it is given back, in one piece.
        file.write_all(&block.tag().to_le_bytes()).unwrap();
    }
    writer.finish().unwrap();
}

/// A killed Writer's child: it still has all that its parent had, and misuses it.
#[cfg(target_os = "linux")]
mod heir {
    use std::path::Path;
    use std::time::Duration;

    /// Forks a child that waits for the file `late`, and then stores into all of its
    /// parent's region and rings all of its doorbells, without an end.
    pub(super) fn fork_one(late: &Path) {
        // SAFETY: the child uses what it has of its own, and never returns.
        if unsafe { libc::fork() } != 0 {
            return;
        }
        while !late.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let regions = writable_regions();
        assert!(!regions.is_empty());
        for value in 0u64.. {
            for (start, len) in &regions {
                for at in (128..*len).step_by(8) {
                    // SAFETY: a mapping that the child inherited, and aligned.
                    unsafe { std::ptr::write_volatile((start + at) as *mut u64, value % 5) };
                }
            }
            ring_all();
            std::fs::File::create(late.with_extension("raging")).unwrap();
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Address and size of each shared mapping of a memfd that can be written.
    fn writable_regions() -> Vec<(usize, usize)> {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let parse = |line: &str| {
            let (range, rest) = line.split_once(' ')?;
            let (start, end) = range.split_once('-')?;
            let start = usize::from_str_radix(start, 16).ok()?;
            let end = usize::from_str_radix(end, 16).ok()?;
            let is_ours = rest.starts_with("rw-s") && rest.contains("memfd");
            is_ours.then_some((start, end - start))
        };
        maps.lines().filter_map(parse).collect()
    }

    fn ring_all() {
        for entry in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
            let is_bell = std::fs::read_link(entry.path())
                .is_ok_and(|target| target.to_string_lossy().contains("eventfd"));
            let fd = entry.file_name().to_string_lossy().parse::<i32>();
            if let (true, Ok(fd)) = (is_bell, fd) {
                // SAFETY: eight bytes to a descriptor of this process.
                unsafe { libc::write(fd, (&raw const ONE).cast(), 8) };
            }
        }
    }

    static ONE: u64 = 1;
}

/// A Writer in a process of its own, with all that it leaves behind.
struct Other {
    process: Child,
    tags: PathBuf,
}

impl Other {
    fn start(directory: &Path, name: &str, number: u64) -> Other {
        Other::start_with(directory, name, number, &[])
    }

    /// With these environment variables.
    fn start_with(directory: &Path, name: &str, number: u64, variables: &[&str]) -> Other {
        let tags = directory.join(number.to_string());
        File::create(&tags).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "the_process_that_other_tests_start"])
            .arg("--nocapture")
            .env(NAME, name)
            .env(TAGS, &tags)
            .envs(variables.iter().map(|name| (name, "")))
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        // So that its child can be ended, too.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let process = command.spawn().unwrap();
        Other { process, tags }
    }

    fn wait_until_seated(&mut self) {
        let mut said = BufReader::new(self.process.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("seated") {
            line.clear();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "it ended");
        }
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// What its child waits for.
    fn is_late(&self) {
        File::create(self.tags.with_extension("late")).unwrap();
    }

    fn has_raged(&self) -> bool {
        self.tags.with_extension("raging").exists()
    }

    /// What it has noted, which must be in order, and nothing twice.
    fn noted(&self) -> Vec<u64> {
        let bytes = std::fs::read(&self.tags).unwrap();
        let (tags, _) = bytes.as_chunks::<8>();
        let tags: Vec<_> = tags
            .iter()
            .map(|bytes| u64::from_le_bytes(*bytes))
            .collect();
        assert!(tags.is_sorted_by(|a, b| a < b), "{tags:?}");
        tags
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.process.kill();
        #[cfg(unix)]
        if let Some(group) = rustix::process::Pid::from_raw(self.process.id() as i32) {
            // Nobody may be left.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.process.wait();
    }
}

/// Sends until the Writer is found dead; the next tag.
fn send_until_death(reader: &Reader, mut tag: u64) -> u64 {
    loop {
        match reader.empty_block() {
            Ok(mut block) => {
                block.copy_from_slice(&tag.to_le_bytes());
                block.send(8, tag).unwrap();
                tag += 1;
            }
            Err(Error::PartnerDied { .. }) => return tag,
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// A Writer in a process of its own, and its Reader, which is the host: as long as a child of
/// a dead host lives, its name stays taken.
fn first_writer(directory: &Path, name: &str) -> (Other, Reader) {
    let seat = Seat::take(name, &options().side(Side::Reader)).unwrap();
    let other = Other::start(directory, name, 0);
    match seat.wait().unwrap() {
        Role::Reader(reader) => (other, reader),
        role => panic!("{role:?}"),
    }
}

fn first_reader(name: &str) -> Reader {
    match patiently(|| join(name, &options().side(Side::Reader))) {
        Role::Reader(reader) => reader,
        role => panic!("{role:?}"),
    }
}

/// How many Writers are killed.
const KILLED: u64 = 50;

#[test]
fn of_fifty_killed_writers_every_item_arrives_and_never_twice_in_one_epoch() {
    let (directory, base) = place();
    let (mut next, mut all) = (0, HashSet::new());
    let mut unreturned: Option<Unreturned> = None;
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    // The heir of the last one, if it came to have one, rages during the next.
    let mut raged = 0;
    let mut last: Option<Other> = None;
    for number in 0..=KILLED {
        // As long as a child of a dead host lives, its name stays taken.
        let name = format!("{base}{number}");
        let mut other = Other::start(directory.path(), &name, number);
        // Else whoever is faster comes first.
        if number % 3 == 0 {
            other.wait_until_seated();
        }
        let reader = match &mut unreturned {
            None => first_reader(&name),
            Some(unreturned) => patiently(|| unreturned.rejoin(&name, &options())),
        };
        if number == KILLED {
            for _ in 0..100 {
                send(&reader, &u64::to_le_bytes(next), next);
                next += 1;
            }
            reader.finish_until(soon()).unwrap();
            assert!(other.process.wait().unwrap().success());
            all.extend(other.noted());
            break;
        }
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let pause = Duration::from_micros((random >> 33) % 15_000);
        let killer = thread::spawn(move || {
            thread::sleep(pause);
            other.kill();
            other
        });
        next = send_until_death(&reader, next);
        let other = killer.join().unwrap();
        unreturned = Some(reader.into_unreturned().unwrap());
        other.is_late();
        all.extend(other.noted());
        let before = last.replace(other);
        raged += before.map_or(0, |before| i32::from(before.has_raged()));
    }
    assert!(next > KILLED, "{next}");
    assert!(raged > 0 || !cfg!(target_os = "linux"));
    let missing: Vec<_> = (0..next).filter(|tag| !all.contains(tag)).collect();
    assert!(missing.is_empty(), "{missing:?} of {next}");
}

#[test]
fn a_detached_block_stays_out_when_the_writer_is_killed_and_comes_back_to_the_next() {
    bounded(|| {
        let (directory, name) = place();
        let (mut first, reader) = first_writer(directory.path(), &name);
        let mut detached = reader.empty_block().unwrap().detach();
        let dropped = reader.empty_block().unwrap().detach();
        detached.copy_from_slice(&5u64.to_le_bytes());
        first.kill();
        assert_eq!(send_until_death(&reader, 0), 2);
        let mut unreturned = reader.into_unreturned().unwrap();
        assert_eq!(tags(&unreturned), [0, 1]);
        first.is_late();
        let mut second = Other::start(directory.path(), &name, 1);
        let reader = patiently(|| unreturned.rejoin(&name, &options()));
        // The pool has four: two were sent again, two are out.
        let waiting = thread::spawn(move || {
            let mut held = Vec::new();
            for _ in 0..4 {
                held.push(reader.empty_block_until(soon()).unwrap());
            }
            drop(held);
            reader
        });
        thread::sleep(Duration::from_millis(50));
        detached.send(8, 5).unwrap();
        drop(dropped);
        let reader = waiting.join().unwrap();
        reader.finish_until(soon()).unwrap();
        assert!(second.process.wait().unwrap().success());
        assert_eq!(second.noted(), [0, 1, 5]);
    });
}

#[test]
fn an_old_end_that_is_dropped_says_nothing_in_the_region_that_another_has_by_then() {
    bounded(|| {
        let (directory, name) = place();
        let (mut first, reader) = first_writer(directory.path(), &name);
        // More than the pool, so that no new Writer could have had as many.
        for tag in 0..20u64 {
            send(&reader, &tag.to_le_bytes(), tag);
        }
        first.kill();
        let sent = send_until_death(&reader, 20);
        let mut unreturned = reader.into_unreturned().unwrap();
        first.is_late();
        let mut second = Other::start(directory.path(), &name, 1);
        let reader = patiently(|| unreturned.rejoin(&name, &options()));
        drop(unreturned);
        // The Writer sees what was published before anything covers it up.
        thread::sleep(Duration::from_millis(100));
        send(&reader, &sent.to_le_bytes(), sent);
        reader.finish_until(soon()).unwrap();
        assert!(second.process.wait().unwrap().success());
        assert_eq!(second.noted().last(), Some(&sent));
    });
}

/// A process whose sockets are closed some time before the kernel says that it has ended.
#[cfg(target_os = "linux")]
mod slow_death {
    use super::*;

    /// Tells a process that a test starts to end in this way.
    pub(super) const WANTED: &str = "BRIGADE_REJOIN_SLOW_DEATH";

    /// Takes a block, hangs up without a word, and ends a little later.
    pub(super) fn die(writer: &Writer) -> ! {
        std::mem::forget(writer.data_block().unwrap());
        for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
            let path = entry.unwrap().path();
            if std::fs::read_link(&path)
                .is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
            {
                let fd = path.file_name().unwrap().to_str().unwrap();
                // SAFETY: the call takes no pointers.
                unsafe { libc::shutdown(fd.parse().unwrap(), libc::SHUT_RDWR) };
            }
        }
        thread::sleep(Duration::from_millis(50));
        std::process::exit(0);
    }

    /// Whether a detached block is still the Reader's after it has gone on at once.
    fn is_kept() -> bool {
        let (directory, name) = place();
        let _other = Other::start_with(directory.path(), &name, 0, &[WANTED]);
        let reader = first_reader(&name);
        let mut detached = reader.empty_block().unwrap().detach();
        detached.copy_from_slice(&3u64.to_le_bytes());
        assert_eq!(send_until_death(&reader, 0), 3);
        let mut unreturned = reader.into_unreturned().unwrap();
        let writer = drain_as_writer(&name);
        let reader = patiently(|| unreturned.rejoin(&name, &options()));
        let is_kept = detached.send(8, 3).is_ok();
        reader.finish_until(soon()).unwrap();
        let drained = writer.join().unwrap();
        assert_eq!(drained.len(), if is_kept { 4 } else { 3 });
        is_kept
    }

    #[test]
    fn a_writer_that_is_about_to_end_is_waited_for_so_that_the_blocks_stay_where_they_are() {
        // Where the process does not get to its end in time, another one does.
        bounded(|| assert!((0..20).any(|_| is_kept())));
    }
}
