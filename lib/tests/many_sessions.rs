//! A thousand sessions between two processes, in one of which they fit into the usual limit of
//! descriptors; on Windows, where there is no such limit, two hundred.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it expects by unwrapping it"
)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use brigade::{Interest, Options, Seat, Side, Waitable, Writer, join, wait_any};

const SESSIONS: usize = if cfg!(unix) { 1000 } else { 200 };

/// Blocks that go through each session.
const BLOCKS: u64 = 3;

const LIMIT: Duration = Duration::from_secs(300);

/// The variable that says where the sessions are, for the process that the test starts.
const PLACE: &str = "BRIGADE_TEST_PLACE";

fn options(side: Side) -> Options {
    let options = Options::new().block_size(64).block_count(2);
    options.side(side).wait(LIMIT)
}

fn name(place: &str, index: usize) -> String {
    format!("{place}/{index}")
}

/// What the partner makes when it has all names, so that it is the host of each session.
fn all_taken(place: &str) -> PathBuf {
    Path::new(place).join("all taken")
}

/// What a process may have open, and has, where it can be told.
#[cfg(target_os = "linux")]
mod descriptors {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    /// What a second's session takes: its own region, the socket, and two doorbells.
    pub(super) const EACH: usize = 4;
    /// What a host's takes before the partner is there, and more than later: region, lock,
    /// socket, alarm.
    const EACH_SEAT: usize = 5;
    /// The usual limit where services are started.
    const LIMIT: u64 = 4096;
    /// The process's own, and its one handle on the partner's process.
    const OTHERS: usize = 64;

    pub(super) fn limit() {
        set(LIMIT + count() as u64);
    }

    /// Whether the system allows the limit that the partner needs; sets it there.
    pub(super) fn can_be_host() -> bool {
        let needed = needed_by_host();
        let maximum = getrlimit(Resource::Nofile).maximum;
        if maximum.is_some_and(|maximum| maximum < needed) {
            eprintln!("skipped: a process may not have {needed} descriptors (ulimit -Hn)");
            return false;
        }
        true
    }

    pub(super) fn raise() {
        set(needed_by_host());
    }

    /// Beside what is open before: whoever starts tests may have left them any number.
    fn needed_by_host() -> u64 {
        (super::SESSIONS * EACH_SEAT + OTHERS + count()) as u64
    }

    fn set(limit: u64) {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let current = Some(limit);
        setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
    }

    pub(super) fn count() -> usize {
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    }
}

#[cfg(not(target_os = "linux"))]
mod descriptors {
    pub(super) const EACH: usize = 0;

    pub(super) fn limit() {}

    pub(super) fn can_be_host() -> bool {
        true
    }

    pub(super) fn raise() {}

    pub(super) fn count() -> usize {
        0
    }
}

struct Partner(Child);

impl Partner {
    fn start(place: &str) -> Partner {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([
                "the_process_that_the_other_test_starts",
                "--exact",
                "--nocapture",
            ])
            .env(PLACE, place)
            .stdout(Stdio::null());
        Partner(command.spawn().unwrap())
    }

    fn succeed(mut self) {
        let status = until(|| self.0.try_wait().unwrap());
        assert!(status.success(), "{status}");
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        if let Some(found) = look() {
            return found;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("the partner hangs");
}

#[test]
fn a_thousand_sessions_are_joined_used_and_ended_by_one_thread_in_each_process() {
    if !descriptors::can_be_host() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_str().unwrap();
    let mut partner = Partner::start(place);
    until(|| {
        assert!(partner.0.try_wait().unwrap().is_none(), "the partner ended");
        all_taken(place).exists().then_some(())
    });
    descriptors::limit();
    let before = descriptors::count();
    let start = Instant::now();
    let writers: Vec<_> = (0..SESSIONS)
        .map(|index| join(&name(place, index), &options(Side::Writer)).unwrap())
        .map(|role| role.into_writer().unwrap())
        .collect();
    let used = descriptors::count() - before;
    println!(
        "{SESSIONS} sessions: joined in {:?}, {:.2} descriptors each",
        start.elapsed(),
        used as f64 / SESSIONS as f64
    );
    // One more, for the partner's process.
    assert!(used <= SESSIONS * descriptors::EACH + 1, "{used}");
    measure_wait(&writers);
    writers[0].post(0, b"go").unwrap();
    let start = Instant::now();
    drain_all(&writers);
    for writer in &writers {
        assert_eq!(writer.finish().unwrap().blocks, BLOCKS);
    }
    println!("drained and ended in {:?}", start.elapsed());
    partner.succeed();
    drop(writers);
    assert_eq!(descriptors::count(), before);
}

/// What a wait for all costs while nothing is there.
fn measure_wait(writers: &[Writer]) {
    const WAITS: u32 = 50;
    let ends: Vec<_> = (writers.iter())
        .map(|writer| (writer as &dyn Waitable, Interest::BLOCKS))
        .collect();
    let start = Instant::now();
    for _ in 0..WAITS {
        let ready = wait_any(&ends, Some(Instant::now())).unwrap();
        assert!(
            ready.is_empty(),
            "{ready:?} are ready before anything was sent"
        );
    }
    let each = start.elapsed() / WAITS / SESSIONS as u32;
    println!("a wait for all: {each:?} a session");
}

fn drain_all(writers: &[Writer]) {
    let deadline = Instant::now() + LIMIT;
    let mut open: Vec<&Writer> = writers.iter().collect();
    while !open.is_empty() {
        let ends: Vec<_> = (open.iter())
            .map(|writer| (*writer as &dyn Waitable, Interest::BLOCKS))
            .collect();
        let ready = wait_any(&ends, Some(deadline)).unwrap();
        assert!(!ready.is_empty(), "{} sessions hang", open.len());
        for index in ready {
            while let Some(block) = open[index].try_data_block().unwrap() {
                assert_eq!(*block, block.tag().to_le_bytes());
            }
        }
        open.retain(|writer| !writer.at_end());
    }
}

#[test]
fn the_process_that_the_other_test_starts() {
    let Ok(place) = std::env::var(PLACE) else {
        return;
    };
    descriptors::raise();
    let seats: Vec<_> = (0..SESSIONS)
        .map(|index| Seat::take(&name(&place, index), &options(Side::Reader)).unwrap())
        .collect();
    assert!(seats.iter().all(Seat::is_first));
    File::create(all_taken(&place)).unwrap();
    let readers: Vec<_> = seats
        .into_iter()
        .map(|seat| seat.wait().unwrap().into_reader().unwrap())
        .collect();
    readers[0].letter().unwrap().unwrap();
    for tag in 0..BLOCKS {
        for reader in &readers {
            let mut block = reader.empty_block().unwrap();
            block[..8].copy_from_slice(&tag.to_le_bytes());
            block.send(8, tag).unwrap();
        }
    }
    readers.iter().for_each(|reader| reader.close().unwrap());
    for reader in &readers {
        assert_eq!(reader.verdict().unwrap().blocks, BLOCKS);
    }
}
