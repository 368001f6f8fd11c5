//! What can be counted exactly on any machine, however busy, against getting worse:
//! instructions (callgrind) and system calls (strace) of the fast path and of whole copies.
//!
//! A figure that a change makes worse on purpose is written anew here, and why in that
//! change. Better ones should be, too: the limits are 5 % above what was counted.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it"
)]

mod program;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use program::{is_there, program};
use tempfile::TempDir;

/// The compiler that the instructions were counted with. Others may need a few more or less.
const COMPILER: &str = "rustc 1.95.0";

const BENCH: &str = env!("CARGO_BIN_EXE_brigade-bench");

/// Blocks in each turn of `alone`.
const BLOCKS: u64 = 16;

/// Turns in the shorter of two runs, whose difference is counted. The other one has twice as many.
const TURNS: u64 = 1000;

/// The longest that one program may take.
const SECONDS: &str = "300";

/// Fails if `counted` is more than 5 % above `before`; or above nothing by what threads that
/// begin and end may do in more or fewer steps.
fn assert_no_worse(what: &str, counted: f64, before: f64) {
    println!("{what}: {counted:.2}, {before} before");
    let most = (before * 1.05).max(0.05);
    assert!(counted <= most, "{what}: {counted:.2}, {before} before");
}

/// A command below `program`, with a time limit.
fn below(program: &str, options: &[&str], command: &[&str]) -> Command {
    let mut whole = Command::new("timeout");
    whole.args([SECONDS, program]).args(options).args(command);
    whole
}

fn assert_succeeds(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}", output.status);
}

const CALLGRIND: [&str; 2] = ["--tool=callgrind", "--callgrind-out-file=/dev/null"];

/// Instructions that a program has executed below [`CALLGRIND`].
fn instructions(output: &Output) -> f64 {
    assert_succeeds(output);
    let said = String::from_utf8_lossy(&output.stderr);
    let (_, rest) = said.split_once("Collected :").unwrap();
    rest.lines().next().unwrap().trim().parse().unwrap()
}

/// A system call: its name, what it was given and gave, as strace shows it with paths.
struct Call {
    name: String,
    all: String,
}

impl Call {
    fn of(line: &str) -> Option<Call> {
        let (name, _) = line.split_once('(')?;
        let is_name = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        is_name.then(|| Call {
            name: name.into(),
            all: line.into(),
        })
    }

    /// How often depends on who gets a processor when.
    fn is_left_to_chance(&self) -> bool {
        let names = [
            "futex",
            "sched_yield",
            "restart_syscall",
            "membarrier",
            "clock_nanosleep",
        ];
        names.contains(&self.name.as_str())
            || self.name.contains("poll")
            || self.all.contains("[eventfd")
            || self.all.contains("<anon_inode:")
    }

    /// Its directory.
    fn closes_a_process(&self) -> bool {
        let path = self
            .all
            .strip_prefix("close(")
            .and_then(|rest| rest.split_once("</proc/"));
        let name = path.and_then(|(_, rest)| rest.split_once('>'));
        name.is_some_and(|(name, _)| name.parse::<u32>().is_ok())
    }

    fn bytes(&self) -> Option<u64> {
        let (_, result) = self.all.rsplit_once(" = ")?;
        result.split(' ').next()?.parse().ok()
    }
}

/// System calls of `command` and the processes that it starts.
fn calls(command: &[&str]) -> Vec<Call> {
    let directory = tempfile::tempdir().unwrap();
    // A file for each thread: in one for all, calls that others interrupt are in two pieces.
    let to = directory.path().join("calls");
    let options = ["-ff", "-y", "-s", "0", "-e", "signal=none", "-o"];
    let mut strace = below("strace", &[&options[..], &[path(&to)]].concat(), command);
    assert_succeeds(&strace.output().unwrap());
    let files = std::fs::read_dir(directory.path()).unwrap();
    let texts = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let calls = texts.map(|text| text.lines().filter_map(Call::of).collect::<Vec<_>>());
    calls.flatten().collect()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What one block of `way` takes more, if another thousand of turns is made.
fn per_block(way: &str, count: impl Fn(&[&str]) -> f64) -> f64 {
    let turns = [TURNS, 2 * TURNS].map(|turns| turns.to_string());
    let [few, many] = turns.map(|turns| count(&[BENCH, "alone", way, &turns]));
    (many - few) / (TURNS * BLOCKS) as f64
}

#[test]
fn instructions_for_a_block_of_64_bytes_that_is_filled_sent_taken_and_given_back() {
    if !is_there("valgrind") {
        return;
    }
    let version = Command::new("rustc").arg("--version").output().unwrap();
    let is_ours = version.stdout.starts_with(COMPILER.as_bytes());
    let other = if is_ours { 1.0 } else { 1.25 };
    for (way, before) in [("blocks", 322.0), ("detached", 717.0)] {
        let count = |command: &[&str]| {
            instructions(&below("valgrind", &CALLGRIND, command).output().unwrap())
        };
        assert_no_worse(way, per_block(way, count), other * before);
    }
}

#[test]
fn a_block_takes_no_system_call_unless_the_partner_sleeps_and_then_one_wakes_it_for_all() {
    if !is_there("strace") {
        return;
    }
    let per_turn = |way| per_block(way, |command| calls(command).len() as f64) * BLOCKS as f64;
    for way in ["blocks", "detached"] {
        assert_no_worse(way, per_turn(way), 0.0);
    }
    // The barrier before the sleep, one ring, that it was heard, and before the next sleep a
    // look for a late one.
    assert_no_worse("asleep", per_turn("asleep"), 4.0);
}

/// A file of so many bytes, which are not zero, and a place for its copy.
struct Files {
    directory: TempDir,
    bytes: usize,
}

impl Files {
    fn new(bytes: usize) -> Files {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a"), vec![7; bytes]).unwrap();
        Files { directory, bytes }
    }

    /// What copies, or one half of it.
    fn command(&self, options: &[&str]) -> Vec<String> {
        let [from, to] = ["a", "b"].map(|name| path(&self.directory.path().join(name)).to_owned());
        let mut command = vec![path(&program()).to_owned(), "-q".into(), "--no-sync".into()];
        command.extend(options.iter().map(|&option| option.to_owned()));
        command.extend([from, to]);
        command
    }

    fn calls(&self, options: &[&str]) -> Vec<Call> {
        let command = self.command(&[&["--both"], options].concat());
        let calls = calls(&command.iter().map(String::as_str).collect::<Vec<_>>());
        self.check();
        calls
    }

    /// Those of both halves.
    fn instructions(&self) -> f64 {
        // With large blocks, so that little else is done; and each half by itself, since who
        // starts it as a child starts what it is itself: valgrind.
        let command = self.command(&["--block-size", "4M"]);
        let command: Vec<_> = command.iter().map(String::as_str).collect();
        let halves = [(); 2].map(|()| {
            let mut half = below("valgrind", &CALLGRIND, &command);
            half.stderr(Stdio::piped()).spawn().unwrap()
        });
        let outputs = halves.map(|half| half.wait_with_output().unwrap());
        self.check();
        outputs.iter().map(instructions).sum()
    }

    fn check(&self) {
        let copy = std::fs::metadata(self.directory.path().join("b")).unwrap();
        assert_eq!(copy.len(), self.bytes as u64);
    }
}

const READING: [&str; 3] = ["read", "pread64", "readv"];
const WRITING: [&str; 3] = ["write", "pwrite64", "writev"];

/// How many bytes each call has read, or written, of those that are for data.
fn data_bytes(calls: &[Call], names: [&str; 3]) -> Vec<u64> {
    let data = calls
        .iter()
        .filter(|call| names.contains(&call.name.as_str()) && !call.is_left_to_chance());
    let bytes = data.filter_map(Call::bytes);
    bytes.filter(|&bytes| bytes >= 4096).collect()
}

#[test]
fn a_copy_reads_and_writes_each_byte_once_a_block_at_a_time() {
    if !is_there("strace") {
        return;
    }
    const BYTES: usize = 64 << 20;
    let calls = Files::new(BYTES).calls(&[]);
    for (what, names) in [("read", READING), ("write", WRITING)] {
        let data = data_bytes(&calls, names);
        let bytes: u64 = data.iter().sum();
        assert!(bytes >= BYTES as u64, "{bytes} bytes were seen");
        let times = bytes as f64 / BYTES as f64;
        assert_no_worse(&format!("{what}: each byte"), times, 1.0);
        assert_no_worse(&format!("{what}: calls"), data.len() as f64, 256.0);
    }
}

/// As those of another size: so that a disk need not wait for the whole of one, and the source
/// shows how far it is.
#[test]
fn a_large_block_of_a_file_is_copied_256_kib_at_a_time_and_written_to_a_stream_at_once() {
    if !is_there("strace") {
        return;
    }
    const BYTES: usize = 16 << 20;
    let files = Files::new(BYTES);
    let options = ["--block-size", "4M"];
    let to_file = files.calls(&options);
    assert_eq!(data_bytes(&to_file, READING), [256 << 10; 64]);
    assert_eq!(data_bytes(&to_file, WRITING), [256 << 10; 64]);

    let mut command = files.command(&[&["--both"], &options[..]].concat());
    let copy = command.pop().unwrap();
    let words = format!("{} - | cat > {copy}", command.join(" "));
    let mut to_pipe = calls(&["sh", "-c", &words]);
    files.check();
    to_pipe.retain(|call| call.all.contains("<pipe:["));
    assert_eq!(data_bytes(&to_pipe, WRITING), [4 << 20; 4]);
}

#[test]
fn a_copy_moves_no_byte_in_the_memory_of_its_processes() {
    if !is_there("valgrind") {
        return;
    }
    let of = |mib: usize| Files::new(mib << 20).instructions();
    let per_mib = (of(96) - of(32)) / 64.0;
    println!("instructions for a MiB: {per_mib:.0}");
    // The widest registers that valgrind knows take 32 bytes, and what is loaded is stored.
    let copied_once = (1 << 20) as f64 / 32.0 * 2.0;
    // What waits looks about while it does: on a busy machine more often.
    assert!(per_mib < 0.9 * copied_once, "{per_mib:.0}");
}

#[test]
fn system_calls_of_a_copy_of_one_kib() {
    if !is_there("strace") {
        return;
    }
    let calls = Files::new(1 << 10).calls(&[]);
    let counted = calls.iter().filter(|call| !call.is_left_to_chance());
    assert_no_worse("1 KiB", counted.count() as f64, 1130.0);
}

/// System calls of a look at all sessions, for each of those of two processes: between the
/// opening of a process's directory and its closing.
fn calls_for_a_session(sessions: usize) -> f64 {
    const LOOKS: usize = 3;
    let [number, looks] = [sessions, LOOKS].map(|number| number.to_string());
    let command = [BENCH, "measure", "sessions-scan", &number, &looks];
    let calls = calls(&command);
    let is_first = |call: &Call| call.all.contains("</proc>, \"");
    let processes = calls.chunk_by(|call, next| !call.closes_a_process() && !is_first(next));
    // Others may have a session or two.
    let ours = processes.filter(|of_one| {
        let looked = of_one.iter().filter(|call| call.name == "process_vm_readv");
        let bytes: u64 = looked.filter_map(Call::bytes).sum();
        is_first(&of_one[0]) && bytes >= (sessions << 10) as u64
    });
    let counted: Vec<usize> = ours.map(<[Call]>::len).collect();
    assert_eq!(counted.len(), 2 * LOOKS);
    counted.iter().sum::<usize>() as f64 / (LOOKS * sessions) as f64
}

#[test]
fn system_calls_of_a_look_at_a_session_are_as_many_however_many_sessions_there_are() {
    if !is_there("strace") {
        return;
    }
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("skipped: others than root may not look at other processes' memory everywhere");
        return;
    }
    // By who may look at other processes' memory, as root may: to find each region, and to see that it
    // is still there once all were looked at. What is needed for each process is shared by all of its
    // sessions.
    for sessions in [64, 256] {
        let counted = calls_for_a_session(sessions);
        assert_no_worse(&format!("{sessions} sessions"), counted, 4.27);
    }
}
