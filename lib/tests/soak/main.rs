//! A Reader and a Writer that pass blocks on and on, in and out of order, from several
//! threads each, while one or the other is killed. Every block is checked; each time,
//! what was sent and not given back is accounted for; and what lives on does not grow.
//!
//! Three kinds of process: the test, which starts the other two and kills them, and these.
//! The long run takes some minutes, and is started by hand:
//!
//! ```text
//! cargo test --release -p brigade --test soak -- --ignored --nocapture
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it expects by unwrapping it, and a long one what it has done"
)]

mod content;
mod flat;
mod joining;
mod ledger;
mod reader;
mod tally;
mod writer;

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use ledger::Progress;

/// Threads at each end, beside the one that has the end.
const WORKERS: usize = 4;

/// Who sends: each worker, and the thread that has the end. A lane's blocks arrive in the
/// order in which it has sent them.
const LANES: usize = WORKERS + 1;

/// The lane of the thread that has the end: the blocks that it sends are borrowed.
const BORROWED: usize = WORKERS;

/// Blocks that are handed to a worker at once, or held borrowed at once.
const BATCH: usize = 8;

/// Without any progress for so long, the processes hang.
const LIMIT: Duration = Duration::from_secs(100);

/// The variable that tells a process that a test starts what it is.
const TASK: &str = "BRIGADE_TEST_TASK";

/// What the two processes share, beside the session.
#[derive(Clone, Debug)]
struct Task {
    directory: PathBuf,
    block_size: usize,
    block_count: usize,
    /// Who lives on keeps the session, and another process takes the dead one's place.
    takeover: bool,
}

impl Task {
    fn to_text(&self, role: &str) -> String {
        let directory = self.directory.display();
        format!(
            "{role}\n{directory}\n{}\n{}\n{}",
            self.block_size, self.block_count, self.takeover
        )
    }

    fn from_text(text: &str) -> (String, Task) {
        let [role, directory, block_size, block_count, takeover] =
            text.split('\n').collect::<Vec<_>>().try_into().unwrap();
        let task = Task {
            directory: directory.into(),
            block_size: block_size.parse().unwrap(),
            block_count: block_count.parse().unwrap(),
            takeover: takeover.parse().unwrap(),
        };
        (role.to_owned(), task)
    }
}

/// How much is to be passed on, and how often one of the two is killed meanwhile.
struct Scale {
    block_size: usize,
    block_count: usize,
    blocks: u64,
    kills: u64,
    takeover: bool,
}

#[test]
fn small_blocks_survive_kills_and_nothing_grows() {
    run(&Scale {
        block_size: 64,
        block_count: 1024,
        blocks: 100_000,
        kills: 6,
        takeover: false,
    });
}

#[test]
fn large_blocks_survive_kills_and_nothing_grows() {
    run(&Scale {
        block_size: 64 * 1024,
        block_count: 64,
        blocks: 2_000,
        kills: 6,
        takeover: false,
    });
}

#[test]
fn the_dead_are_replaced_and_nothing_grows() {
    for (block_size, block_count, blocks) in [(64, 1024, 100_000), (64 * 1024, 64, 2_000)] {
        run(&Scale {
            block_size,
            block_count,
            blocks,
            kills: 6,
            takeover: true,
        });
    }
}

/// 100 GB through one session.
#[test]
#[ignore = "takes minutes"]
fn much_data_goes_through_one_session_in_which_the_dead_are_replaced_and_nothing_grows() {
    run(&Scale {
        block_size: 64 * 1024,
        block_count: 64,
        // Some are not quite full.
        blocks: 100_000_000_000 / (64 * 1024 - 64) + 1,
        kills: 100,
        takeover: true,
    });
}

/// 10^8 small blocks and 100 GB in large ones.
#[test]
#[ignore = "takes minutes"]
fn many_blocks_and_much_data_survive_many_kills_and_nothing_grows() {
    run(&Scale {
        block_size: 64,
        block_count: 1024,
        blocks: 100_000_000,
        kills: 30,
        takeover: false,
    });
    run(&Scale {
        block_size: 64 * 1024,
        block_count: 64,
        // Some are not quite full.
        blocks: 100_000_000_000 / (64 * 1024 - 64) + 1,
        kills: 30,
        takeover: false,
    });
}

#[test]
fn the_process_that_other_tests_start() {
    let Ok(text) = std::env::var(TASK) else {
        return;
    };
    match Task::from_text(&text) {
        (role, task) if role == "reader" => reader::run(&task),
        (_, task) => writer::run(&task),
    }
}

/// One of the two processes; killed with the test, if it fails.
struct Process {
    role: &'static str,
    child: Child,
}

impl Process {
    fn start(role: &'static str, task: &Task) -> Process {
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "the_process_that_other_tests_start",
                "--exact",
                "--nocapture",
            ])
            .env(TASK, task.to_text(role))
            .spawn()
            .unwrap();
        Process { role, child }
    }

    fn assert_runs(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "the {} has ended: {ended:?}", self.role);
    }

    fn kill(&mut self) {
        self.assert_runs();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn assert_ends_well(&mut self) {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return assert!(status.success(), "the {}: {status}", self.role);
            }
            assert!(since.elapsed() < LIMIT, "the {} does not end", self.role);
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Who is killed: for a third of the time always the one, then always the other, so that
/// each partner survives many; then by turns.
fn victim(kill: u64, kills: u64) -> usize {
    match (kill * 3 / kills, kill % 2) {
        (0, _) => 1,
        (1, _) => 0,
        (_, turn) => turn as usize,
    }
}

fn run(scale: &Scale) {
    let since = Instant::now();
    let directory = tempfile::tempdir().unwrap();
    let task = Task {
        directory: directory.path().to_owned(),
        block_size: scale.block_size,
        block_count: scale.block_count,
        takeover: scale.takeover,
    };
    let mut pair = ["reader", "writer"].map(|role| Process::start(role, &task));
    let gap = scale.blocks / (scale.kills + 1);
    for kill in 0..scale.kills {
        // From where it is now: whoever was started last has done its share.
        let goal = Progress::read(directory.path()).blocks + gap;
        wait_for(goal, directory.path(), &mut pair);
        let victim = &mut pair[victim(kill, scale.kills)];
        victim.kill();
        *victim = Process::start(victim.role, &task);
    }
    wait_for(scale.blocks, directory.path(), &mut pair);
    ledger::say_enough(directory.path());
    pair.iter_mut().for_each(Process::assert_ends_well);
    let Progress { blocks, bytes } = Progress::read(directory.path());
    println!(
        "{blocks} blocks of up to {} bytes, {bytes} bytes, {} kills: {:.1?}",
        scale.block_size,
        scale.kills,
        since.elapsed()
    );
}

/// Waits until `goal` blocks have been drained in all.
fn wait_for(goal: u64, directory: &Path, pair: &mut [Process; 2]) {
    let mut last = (Progress::read(directory).blocks, Instant::now());
    while last.0 < goal {
        thread::sleep(Duration::from_millis(1));
        pair.iter_mut().for_each(Process::assert_runs);
        let blocks = Progress::read(directory).blocks;
        if blocks != last.0 {
            last = (blocks, Instant::now());
        }
        assert!(
            last.1.elapsed() < LIMIT,
            "no progress after {blocks} blocks"
        );
    }
}
