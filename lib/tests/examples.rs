//! The examples, as the processes that they are: each checks itself, and says by its exit
//! status whether all was as it should be.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// No example takes this long; one that does hangs.
const LIMIT: Duration = Duration::from_secs(120);

/// Between two looks at what cannot be waited for.
const PAUSE: Duration = Duration::from_millis(10);

fn place() -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let name = format!("{}/n", directory.path().display());
    (directory, name)
}

/// Built with the tests, and beside them.
fn program(example: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let file = format!("{example}{}", std::env::consts::EXE_SUFFIX);
    let program = own
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples")
        .join(file);
    assert!(
        program.exists(),
        "{} is not built: see cargo build --examples",
        program.display()
    );
    program
}

/// A process that ends with the test, however that ends.
struct Process {
    what: String,
    child: Child,
    output: Vec<JoinHandle<String>>,
    start: Instant,
}

impl Process {
    fn start(example: &str, arguments: &[&str]) -> Process {
        let mut child = Command::new(program(example))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Process {
            what: format!("{example} {}", arguments.join(" ")),
            output: vec![
                collect(child.stdout.take().unwrap()),
                collect(child.stderr.take().unwrap()),
            ],
            child,
            start: Instant::now(),
        }
    }

    /// What it said, when it has ended.
    fn end(&mut self) -> (ExitStatus, String) {
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if self.start.elapsed() > LIMIT => panic!("{} hangs", self.what),
                None => thread::sleep(PAUSE),
            }
        };
        let said = self.output.drain(..).map(|thread| thread.join().unwrap());
        (status, said.collect())
    }

    /// What it said, when it has ended well.
    fn succeed(&mut self) -> String {
        let (status, said) = self.end();
        assert!(status.success(), "{}: {status}\n{said}", self.what);
        said
    }

    /// That it has neither ended nor hangs.
    fn check(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            let (_, said) = self.end();
            panic!("{} ended: {status}\n{said}", self.what);
        }
        let is_late = self.start.elapsed() > LIMIT;
        assert!(!is_late, "{} hangs", self.what);
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut said = Vec::new();
        from.read_to_end(&mut said).unwrap();
        String::from_utf8_lossy(&said).into_owned()
    })
}

/// Runs an example twice with one name and the same arguments; what both have said.
fn run_twice(example: &str, arguments: &[&str]) -> String {
    let (_directory, name) = place();
    let arguments: Vec<_> = [name.as_str()]
        .into_iter()
        .chain(arguments.iter().copied())
        .collect();
    let mut processes = [0, 1].map(|_| Process::start(example, &arguments));
    processes.iter_mut().map(Process::succeed).collect()
}

#[track_caller]
fn assert_says(said: &str, what: &[&str]) {
    for what in what {
        assert!(said.contains(what), "not said: {what}\n{said}");
    }
}

#[test]
fn a_camera_never_waits_and_its_encoder_gets_the_newest_frames_and_the_key_frames() {
    let said = run_twice("camera", &["60"]);
    assert_says(&said, &["frames made", "skipped", "2 key frames"]);
}

#[test]
fn small_messages_go_through_a_stream_and_large_ones_by_themselves() {
    let said = run_twice("messages", &["100000"]);
    assert_says(&said, &["100000 small messages", "5 large messages"]);
}

#[test]
fn questions_and_answers_go_both_ways_with_several_on_the_way() {
    let said = run_twice("duplex", &["2000"]);
    assert_says(
        &said,
        &["2000 questions answered", "2000 answers", "up to 8"],
    );
}

#[test]
fn four_threads_compress_blocks_and_what_they_keep_is_good() {
    let said = run_twice("workers", &[]);
    assert_says(&said, &["sent", "kept"]);
}

#[test]
fn blocks_become_arrow_buffers() {
    let said = run_twice("arrow", &[]);
    assert_says(&said, &["sent", "summed up"]);
}

/// A block of what the example copies.
const COPIED: u64 = 64 << 10;

#[test]
fn a_copy_goes_on_with_the_next_writer_when_one_is_killed() {
    let (directory, name) = place();
    let path = directory.path().join("copy");
    let file = path.to_str().unwrap();
    let mut fill = Process::start("restart", &[&name, "fill", "4"]);
    for blocks in [2, 4] {
        // Slow: it is killed long before the end.
        let mut drain = Process::start("restart", &[&name, "drain", file, "500"]);
        while fs::metadata(&path).map_or(0, |found| found.len()) < blocks * COPIED {
            drain.check();
            thread::sleep(PAUSE);
        }
        drain.kill();
    }
    Process::start("restart", &[&name, "drain", file, "0"]).succeed();
    assert_says(
        &fill.succeed(),
        &["blocks are sent again", "after 2 restarts"],
    );
    let block = |index| (0..COPIED).map(move |offset| ((index * COPIED + offset) % 251) as u8);
    assert!((0..64).flat_map(block).eq(fs::read(&path).unwrap()));
}

#[test]
fn a_copy_goes_on_whichever_process_is_killed_and_started_again() {
    let (directory, name) = place();
    let path = directory.path().join("copy");
    let file = path.to_str().unwrap();
    // Slow: they are killed long before the end.
    let start = || Process::start("takeover", &[&name, "4", file, "100"]);
    let wait_for = |blocks: u64, alive: &mut [&mut Process]| {
        while fs::metadata(&path).map_or(0, |found| found.len()) < blocks * COPIED {
            alive.iter_mut().for_each(|process| process.check());
            thread::sleep(PAUSE);
        }
    };
    // One of the two, and then the one that outlived it.
    let (mut first, mut second) = (start(), start());
    wait_for(2, &mut [&mut first, &mut second]);
    first.kill();
    let mut third = start();
    // More than the pool holds: the two are a pair.
    wait_for(14, &mut [&mut second, &mut third]);
    second.kill();
    let mut fourth = start();
    assert_says(&fourth.succeed(), &["pair 3", "all was written"]);
    assert_says(&third.succeed(), &["died", "all was written"]);
    let block = |index| (0..COPIED).map(move |offset| ((index * COPIED + offset) % 251) as u8);
    assert!((0..64).flat_map(block).eq(fs::read(&path).unwrap()));
}

#[test]
fn a_host_goes_on_with_another_plugin_when_one_crashes() {
    let said = Process::start("plugin_host", &["20"]).succeed();
    assert_says(
        &said,
        &["question 7", "died", "20 questions asked, 1 without"],
    );
}
