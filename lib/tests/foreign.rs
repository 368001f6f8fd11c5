//! A Reader of another user that changes what it has sent. To be another user needs root.
#![cfg(target_os = "linux")]
#![allow(
    unsafe_code,
    reason = "a partner that breaks the rules has to write memory by hand"
)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

use std::io::{self, BufRead, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use brigade::{DataBlock, Error, Label, Options, Role, Seat, Side, Writer};
use tempfile::TempDir;

/// A user that this test is not.
const STRANGER: u32 = 65534;

/// Tells the process that a test starts what it is to do.
const TASK: &str = "BRIGADE_TEST_TASK";
const NAME: &str = "BRIGADE_TEST_NAME";
const USER: &str = "BRIGADE_TEST_USER";

/// Not whole words, and more than one piece of a copy.
const BLOCK_SIZE: usize = 20_003;
const BLOCK_COUNT: usize = 4;

/// Where the blocks begin in the Reader's region.
const AT_BLOCKS: usize = 24576;

/// Long, as machines may be slow: only a test that hangs takes it.
const LIMIT: Duration = Duration::from_secs(60);

fn options(partner: &str) -> Options {
    Options::new()
        .block_size(BLOCK_SIZE)
        .block_count(BLOCK_COUNT)
        .wait(LIMIT)
        .allow_user(partner)
}

/// A process of another user, killed when the test is done with it.
struct Stranger {
    process: Child,
    _directory: TempDir,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A Writer whose Reader is a process of another user that does `task`; `None` if this
/// test cannot be another user.
fn writer_of_a_stranger(task: &str) -> Option<(Writer, Stranger)> {
    let own = rustix::process::geteuid();
    if !own.is_root() {
        eprintln!("skipped: only root can be another user, too");
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let everybody = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(directory.path(), everybody).unwrap();
    // Where this program lies, the stranger may not look.
    let program = directory.path().join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let name = format!("{}/n", directory.path().display());
    let options = options(&STRANGER.to_string()).side(Side::Writer);
    let seat = Seat::take(&name, &options).unwrap();
    let process = Command::new(program)
        .args(["--exact", "the_process_that_other_tests_start"])
        .env(TASK, task)
        .env(NAME, &name)
        .env(USER, own.as_raw().to_string())
        .current_dir(directory.path())
        .stdout(Stdio::null())
        .uid(STRANGER)
        .gid(STRANGER)
        .spawn()
        .unwrap();
    let stranger = Stranger {
        process,
        _directory: directory,
    };
    let Role::Writer(writer) = seat.wait().unwrap() else {
        panic!("not the writer");
    };
    assert!(!writer.partner().is_own_user());
    Some((writer, stranger))
}

#[test]
fn the_process_that_other_tests_start() {
    let (Ok(task), Ok(name)) = (std::env::var(TASK), std::env::var(NAME)) else {
        return;
    };
    let options = options(&std::env::var(USER).unwrap()).side(Side::Reader);
    let Role::Reader(reader) = brigade::join(&name, &options).unwrap() else {
        panic!("not the reader");
    };
    let mut region = own_region();
    if task == "change the blocks" {
        region.drain(..AT_BLOCKS / 8);
    }
    thread::spawn(move || change(&region));
    // Until it is killed; what becomes of the session does not matter.
    for tag in 0.. {
        if let Ok(block) = reader.empty_block() {
            let label = Label {
                kind: 1,
                tag,
                more: tag % 3 != 0,
            };
            let _ = block.send_as(BLOCK_SIZE, label);
        }
    }
}

/// The words of the one region that this process may write.
fn own_region() -> Vec<&'static AtomicU64> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let is_own = |line: &&str| line.contains("/memfd:brigade") && line.contains(" rw-s ");
    let line = maps.lines().find(is_own).unwrap();
    let (range, _) = line.split_once(' ').unwrap();
    let (start, end) = range.split_once('-').unwrap();
    let [start, end] = [start, end].map(|text| usize::from_str_radix(text, 16).unwrap());
    // SAFETY: it stays mapped as long as the Reader, which lives until this process ends.
    let word = |at| unsafe { AtomicU64::from_ptr(at as *mut u64) };
    (start..end).step_by(8).map(word).collect()
}

/// Text whose characters begin and end anywhere, and no text at all, in turn.
fn change(region: &[&AtomicU64]) {
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    for pass in 0u64.. {
        for word in region {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let value = match pass % 4 {
                0 => u64::from_ne_bytes(*b"water   "),
                1 => u64::from_ne_bytes([0xf0, 0x9f, 0xaa, 0xa3].repeat(2).try_into().unwrap()),
                2 => random & 0x7f7f_7f7f_7f7f_7f7f,
                _ => random,
            };
            word.store(value, Ordering::Relaxed);
        }
    }
}

/// Looks at `block` as text, and as bytes again and again; they do not change.
fn look_at(block: &DataBlock<'_>) {
    let seen = block.to_vec();
    assert_eq!(seen.len(), block.len());
    for _ in 0..3 {
        match (std::str::from_utf8(block), std::str::from_utf8(&seen)) {
            (Ok(text), Ok(seen)) => {
                let chars = || text.chars().map(u64::from).sum::<u64>();
                assert_eq!(chars(), seen.chars().map(u64::from).sum());
                assert!(text.split_whitespace().eq(seen.split_whitespace()));
            }
            (text, seen) => assert_eq!(text, seen),
        }
        let mut copy = [0; BLOCK_SIZE];
        assert_eq!(block.copy_to(&mut copy), block.len());
        assert_eq!(copy[..block.len()], seen);
        let mut written = Vec::new();
        block.write_to(&mut written).unwrap();
        assert_eq!(written, seen);
    }
}

/// Drains something in the way that `turn` says.
fn drain_one(writer: &Writer, turn: usize) -> io::Result<()> {
    let deadline = Instant::now() + LIMIT;
    let mut bytes = Vec::new();
    match turn % 8 {
        0 => writer.data_block_until(deadline)?.iter().for_each(look_at),
        1 => {
            if let Some(newest) = writer.newest_block_until(deadline)? {
                look_at(&newest.block);
            }
        }
        2 => {
            if let Some(block) = writer.data_block_until(deadline)? {
                bytes.resize(block.len(), 0);
                assert_eq!(block.copy_to(&mut bytes), block.len());
            }
        }
        3 => {
            if let Some(block) = writer.data_block_until(deadline)? {
                block.write_to(&mut bytes)?;
                assert_eq!(bytes.len(), block.len());
                look_at(&block);
            }
        }
        4 => match writer.message(&mut bytes, 3 * BLOCK_SIZE) {
            // Where its messages end, the stranger changes, too.
            Ok(_) | Err(Error::MessageTooLong { .. }) => {}
            Err(error) => Err(error)?,
        },
        5 => {
            bytes.resize(2 * BLOCK_SIZE, 0);
            let mut stream = writer.stream();
            stream.read_exact(&mut bytes)?;
            // Nothing is left of a block, whatever length the stranger gave it.
            let left = stream.fill_buf()?.len();
            stream.consume(left);
        }
        6 => {
            let batch = writer.batch(2);
            let block = batch.data_block_until(deadline)?;
            block.iter().for_each(look_at);
        }
        _ => {
            let mut stream = writer.stream();
            let text = std::str::from_utf8(stream.fill_buf()?).unwrap_or("no text");
            assert!(text.chars().count() <= BLOCK_SIZE);
            let len = stream.fill_buf()?.len();
            stream.consume(len);
        }
    }
    Ok(())
}

/// What brigade says of it.
fn inner(error: &io::Error) -> &Error {
    error.get_ref().unwrap().downcast_ref().unwrap()
}

#[test]
fn blocks_that_a_stranger_keeps_changing_are_read_in_every_way() {
    let Some((writer, _stranger)) = writer_of_a_stranger("change the blocks") else {
        return;
    };
    for turn in 0..600 {
        drain_one(&writer, turn).unwrap();
    }
    writer.check().unwrap();
}

#[test]
fn a_stranger_that_changes_all_of_its_region_ends_the_session_and_nothing_else() {
    for _ in 0..10 {
        let Some((writer, _stranger)) = writer_of_a_stranger("change everything") else {
            return;
        };
        let ended =
            (0..).try_for_each(|turn| drain_one(&writer, turn).map(|()| assert!(turn < 1_000_000)));
        let error = ended.unwrap_err();
        // What it says of its own end cannot be trusted either.
        let ended = inner(&error);
        let is_definite = matches!(
            ended,
            Error::ProtocolViolation { .. } | Error::PartnerAborted { .. }
        );
        assert!(is_definite, "{ended:?}");
    }
}

#[test]
fn bytes_that_were_seen_do_not_change_though_the_stranger_writes_them() {
    let Some((writer, _stranger)) = writer_of_a_stranger("change the blocks") else {
        return;
    };
    let next = || {
        writer
            .data_block_until(Instant::now() + LIMIT)
            .unwrap()
            .unwrap()
    };
    let (seen, watched) = (next(), next());
    let before = seen.to_vec();
    // The stranger changes all blocks in turn: three changes of one, and it has been at
    // the other in between.
    let mut changes = 0;
    let (mut last, mut now) = ([0; 8], [0; 8]);
    let since = Instant::now();
    while changes < 5 {
        assert_eq!(watched.copy_to(&mut now), 8);
        changes += usize::from(now != last);
        last = now;
        assert!(since.elapsed() < LIMIT, "the stranger changes nothing");
    }
    assert_eq!(*seen, before);
    look_at(&seen);
    // The next block in the same place is seen anew.
    drop((seen, watched));
    look_at(&next());
}
