//! A thousand sessions between two processes, under a limit of descriptors; on Windows, where
//! there is no such limit, two hundred.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it expects by unwrapping it"
)]

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use brigade::{Interest, Options, Reader, Role, Side, Waitable, Writer, join, wait_any};

const SESSIONS: usize = if cfg!(unix) { 1000 } else { 200 };

/// Blocks that go through each session.
const BLOCKS: u64 = 3;

const LIMIT: Duration = Duration::from_secs(300);

/// The variable that says where the sessions are, for the process that the test starts.
const PLACE: &str = "BRIGADE_TEST_PLACE";

fn join_all(place: &str, side: Side) -> Vec<Role> {
    let options = Options::new().block_size(64).block_count(2).side(side);
    let options = options.wait(LIMIT);
    (0..SESSIONS)
        .map(|index| join(&format!("{place}/{index}"), &options).unwrap())
        .collect()
}

/// What this process may have open, and has, where it can be told.
#[cfg(target_os = "linux")]
mod descriptors {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    /// The most that a session may take: its own region, socket, two doorbells and the
    /// handle; and the host's lock.
    const EACH: usize = 6;
    /// The process's own, and its one handle on the partner's process.
    const OTHERS: usize = 64;

    /// Whether the system allows the limit that the sessions must fit into.
    pub(super) fn limit() -> bool {
        let needed = (super::SESSIONS * EACH + OTHERS) as u64;
        let maximum = getrlimit(Resource::Nofile).maximum;
        if maximum.is_some_and(|maximum| maximum < needed) {
            eprintln!("skipped: a process may not have {needed} descriptors (ulimit -Hn)");
            return false;
        }
        let current = Some(needed);
        setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
        true
    }

    pub(super) fn count() -> usize {
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    }
}

#[cfg(not(target_os = "linux"))]
mod descriptors {
    pub(super) fn limit() -> bool {
        true
    }

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
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            if let Some(status) = self.0.try_wait().unwrap() {
                assert!(status.success(), "{status}");
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("the partner hangs");
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_thousand_sessions_are_joined_used_and_ended_by_one_thread_in_each_process() {
    if !descriptors::limit() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_str().unwrap();
    let before = descriptors::count();
    let partner = Partner::start(place);
    let start = Instant::now();
    let writers: Vec<_> = join_all(place, Side::Writer)
        .into_iter()
        .map(writer)
        .collect();
    let used = descriptors::count() - before;
    println!(
        "{SESSIONS} sessions: joined in {:?}, {:.2} descriptors each",
        start.elapsed(),
        used as f64 / SESSIONS as f64
    );
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
    assert!(descriptors::limit());
    let readers: Vec<_> = join_all(&place, Side::Reader)
        .into_iter()
        .map(reader)
        .collect();
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

fn reader(role: Role) -> Reader {
    match role {
        Role::Reader(reader) => reader,
        role => panic!("{role:?}"),
    }
}

fn writer(role: Role) -> Writer {
    match role {
        Role::Writer(writer) => writer,
        role => panic!("{role:?}"),
    }
}
