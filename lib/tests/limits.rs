//! What a process meets that the system allows little, on Linux: an error that names the
//! limit and the way out, and never a panic or a signal. Limits are a whole process's, so
//! each test sets them in a process of its own. So do tests that need a system that
//! answers otherwise (strace).
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use brigade::{Error, Interest, Member, Options, Role, Seat, Side, Waitable, join, wait_any};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

/// The variable that says which task the process that a test starts has.
const TASK: &str = "BRIGADE_TEST_TASK";

/// What it is started with.
const ARGUMENTS: [&str; 3] = [
    "the_process_that_other_tests_start",
    "--exact",
    "--nocapture",
];

fn command(program: Option<&str>, task: &str) -> Command {
    let own = std::env::current_exe().unwrap();
    let mut command = match program {
        Some(program) => {
            let mut command = Command::new("timeout");
            command.arg("60").args(program.split(' ')).arg(own);
            command
        }
        None => {
            let mut command = Command::new("timeout");
            command.arg("60").arg(own);
            command
        }
    };
    command.args(ARGUMENTS).env(TASK, task);
    command
}

/// That the process did its task, which checks for itself.
fn assert_does(task: &str) {
    assert_succeeds(&command(None, task).output().unwrap());
}

fn assert_succeeds(output: &Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{:?}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
}

#[test]
fn the_process_that_other_tests_start() {
    match std::env::var(TASK).as_deref() {
        Ok("few files") => few_files(),
        Ok("few files to look with") => few_files_to_look_with(),
        Ok("few files for a survivor") => few_files_for_a_survivor(),
        Ok("join with few files") => join_with_few_files(),
        Ok("many sessions") => many_sessions(),
        Ok("many partners") => many_partners(),
        Ok("a session alone") => session_alone(),
        Ok("a lowered limit") => a_lowered_limit(),
        Ok("many descriptors under way") => many_descriptors_under_way(),
        Ok("small files") => small_files(),
        Ok("little address space") => little_address_space(),
        Ok("no private directory") => no_private_directory(),
        Ok("no locks") => no_locks(),
        Ok("no /proc") => no_proc(),
        Ok("a bell that rings on") => a_bell_that_rings_on(),
        Ok(task) => panic!("there is no task {task}"),
        Err(_) => {}
    }
}

fn place() -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let name = format!("{}/n", directory.path().display());
    (directory, name)
}

fn limit(resource: Resource, value: u64) {
    let maximum = getrlimit(resource).maximum;
    let current = Some(value);
    setrlimit(resource, Rlimit { current, maximum }).unwrap();
}

fn pair(name: &str) -> Result<(Role, Role), Error> {
    let host = Seat::take(name, &Options::new().wait(Duration::from_secs(60)))?;
    // Not for long, if it finds itself the first: then the host has failed.
    let options = Options::new().wait(Duration::from_millis(500));
    let monitor = host.monitor();
    thread::scope(|scope| {
        let host = scope.spawn(move || host.wait());
        let second = join(name, &options);
        if second.is_err() {
            monitor.abort("nobody comes");
        }
        // What the system said is the first reason, whoever it said it to.
        match (host.join().unwrap(), second) {
            (Ok(host), Ok(second)) => Ok((host, second)),
            (_, Err(error @ Error::Os { .. }))
            | (Err(error @ Error::Os { .. }), _)
            | (_, Err(error))
            | (Err(error), _) => Err(error),
        }
    })
}

/// Limits on open files, from none at all to more than a pair needs. It is the number of a
/// descriptor that is limited, not how many are open: a process may have been started with
/// some, whose numbers are any, and then others are free.
fn numbers_of_files() -> std::ops::Range<u64> {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count();
    0..100 + open as u64
}

/// The variables of a process that joins with such a limit.
const NAME: &str = "BRIGADE_TEST_NAME";
const LIMIT: &str = "BRIGADE_TEST_LIMIT";

/// What such a process ends with if it could not join.
const COULD_NOT: i32 = 3;

fn join_with_few_files() {
    let (name, files) = (std::env::var(NAME).unwrap(), std::env::var(LIMIT).unwrap());
    limit(Resource::Nofile, files.parse().unwrap());
    match join(&name, &Options::new().side(Side::Writer)) {
        Ok(Role::Writer(writer)) => {
            assert!(writer.data_block().unwrap().is_none());
            writer.finish().unwrap();
        }
        Ok(role) => panic!("{role:?}"),
        Err(_) => std::process::exit(COULD_NOT),
    }
}

#[test]
fn a_joiner_that_lacks_a_descriptor_finds_out_before_it_is_let_in() {
    let (_directory, name) = place();
    let options = Options::new().wait(Duration::from_secs(60));
    let seat = Seat::take(&name, &options).unwrap();
    let host = thread::spawn(move || match seat.wait().unwrap() {
        Role::Reader(reader) => reader.finish().map(drop),
        role => panic!("{role:?}"),
    });
    for files in numbers_of_files() {
        let mut joiner = command(None, "join with few files");
        joiner.env(NAME, &name).env(LIMIT, files.to_string());
        let output = joiner.output().unwrap();
        if output.status.code() != Some(COULD_NOT) {
            assert_succeeds(&output);
            break;
        }
    }
    host.join().unwrap().unwrap();
}

#[test]
fn with_too_few_descriptors_the_limit_is_named_whichever_call_it_hits() {
    assert_does("few files");
}

fn few_files() {
    let (_directory, name) = place();
    let mut failures = 0;
    for files in numbers_of_files() {
        limit(Resource::Nofile, files);
        match pair(&name) {
            Ok(_) => {
                assert!(failures > 5, "there were too few limits to hit");
                return;
            }
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("ulimit -n"), "{files}: {text}");
                failures += 1;
            }
        }
    }
    panic!("no limit was enough for a pair");
}

#[test]
fn with_too_few_descriptors_nobody_says_that_there_are_no_sessions() {
    assert_does("few files to look with");
}

fn few_files_to_look_with() {
    let (_directory, name) = place();
    let _pair = pair(&name).unwrap();
    let is_found = || Ok::<_, Error>(brigade::sessions()?.iter().any(|it| it.block_count() == 16));
    assert!(is_found().unwrap());
    let (mut failures, numbers) = (0, numbers_of_files());
    for files in numbers.clone() {
        limit(Resource::Nofile, files);
        match is_found() {
            Ok(is_found) => assert!(is_found, "{files}"),
            Err(error) => {
                assert!(matches!(error, Error::Os { .. }), "{files}: {error}");
                failures += 1;
            }
        }
    }
    assert!((1..numbers.end).contains(&failures), "{failures}");
}

#[test]
fn with_too_few_descriptors_a_survivor_is_told_so_and_its_place_is_kept() {
    assert_does("few files for a survivor");
}

fn few_files_for_a_survivor() {
    let keeping = || {
        let options = Options::new().takeover(Duration::from_secs(60));
        options.wait(Duration::from_millis(20))
    };
    for survivor_first in [true, false] {
        let (directory, name) = place();
        let first = if survivor_first {
            Side::Writer
        } else {
            Side::Reader
        };
        let patient = || keeping().wait(Duration::from_secs(60));
        let seat = Seat::take(&name, &patient().side(first)).unwrap();
        let host = thread::spawn(move || seat.wait());
        let second = join(&name, &patient()).unwrap();
        let (Role::Writer(writer), Role::Reader(reader)) = (match survivor_first {
            true => (host.join().unwrap().unwrap(), second),
            false => (second, host.join().unwrap().unwrap()),
        }) else {
            panic!("not as was asked for");
        };
        drop(reader);
        let mut survivor = writer.into_survivor().unwrap();
        let all = getrlimit(Resource::Nofile);
        let mut failures = 0;
        for files in numbers_of_files() {
            limit(Resource::Nofile, files);
            let error = survivor.rejoin(&name, &keeping()).unwrap_err();
            setrlimit(Resource::Nofile, all).unwrap();
            if matches!(error, Error::NoPartner { .. }) {
                break;
            }
            let text = error.to_string();
            assert!(text.contains("ulimit -n"), "{files}: {text}");
            failures += 1;
            let left = std::fs::read_dir(directory.path()).unwrap().count();
            assert_eq!(left, 1, "the claim, or the seat");
        }
        assert!(failures > 5, "there were too few limits to hit");
        drop(survivor);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

/// The variable that says where the sessions of a task are.
const PLACE: &str = "BRIGADE_TEST_PLACE";

const SESSIONS: usize = 300;

/// What a session may hold open: own region, socket, two doorbells; and the host its lock.
/// The partner's process, and whatever the test has open, once for all.
const DESCRIPTORS: usize = 5;

#[test]
fn three_hundred_sessions_with_one_partner_fit_into_a_small_limit_of_descriptors() {
    assert_does("many sessions");
}

#[test]
fn a_session_is_seen_whatever_else_its_process_has_mapped() {
    let directory = tempfile::tempdir().unwrap();
    // In no encoding, and with what ends lines and words.
    let program = directory
        .path()
        .join(OsStr::from_bytes(b"\xff \n memfd:brigade"));
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut command = Command::new(program);
    command.arg0("limits").args(ARGUMENTS);
    assert_succeeds(&command.env(TASK, "a session alone").output().unwrap());
}

fn session_alone() {
    let (_directory, name) = place();
    let greeting = name.as_bytes();
    let _seat = Seat::take(&name, &Options::new().greeting(greeting)).unwrap();
    let found = brigade::sessions().unwrap();
    let is_here = |member: &Member| member.greeting() == greeting;
    let mut ends = found.iter().flat_map(|it| [it.reader(), it.writer()]);
    assert!(ends.any(|end| end.is_some_and(is_here)));
}

fn many_sessions() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_str().unwrap();
    let mut command = command(None, "many partners");
    let mut partner = command.env(PLACE, place).spawn().unwrap();
    sessions(place);
    assert!(partner.wait().unwrap().success());
}

fn many_partners() {
    sessions(&std::env::var(PLACE).unwrap());
}

fn sessions(place: &str) {
    limit(Resource::Nofile, 2048);
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let options = Options::new().block_size(64).block_count(1);
    let before = count();
    let roles: Vec<_> = (0..SESSIONS)
        .map(|index| join(&format!("{place}/{index}"), &options).unwrap())
        .collect();
    let used = count() - before;
    assert!(used <= SESSIONS * DESCRIPTORS + 1, "{used}");
    for role in &roles {
        match role {
            Role::Reader(reader) => reader.empty_block().unwrap().send(1, 1).unwrap(),
            Role::Writer(writer) => drop(writer.data_block().unwrap().unwrap()),
        }
    }
    looks_from_outside(roles.len());
    for role in &roles {
        match role {
            Role::Reader(reader) => drop(reader.finish().unwrap()),
            Role::Writer(writer) => {
                assert!(writer.data_block().unwrap().is_none());
                writer.finish().unwrap();
            }
        }
    }
    drop(roles);
    assert_eq!(count(), before);
}

/// Finds so many sessions, whose processes have blocks of 64 bytes, with no more descriptors
/// than for one.
fn looks_from_outside(sessions: usize) {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let numbers = open.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let highest = numbers.map(|number| number.parse::<u64>().unwrap()).max();
    let all = getrlimit(Resource::Nofile);
    limit(Resource::Nofile, highest.unwrap() + 8);
    let found = brigade::sessions().unwrap();
    let found = found.iter().filter(|session| session.block_size() == 64);
    assert!(found.count() >= sessions);
    setrlimit(Resource::Nofile, all).unwrap();
}

#[test]
fn a_limit_of_descriptors_that_was_lowered_is_named_by_a_wait_for_more_and_by_the_handle() {
    assert_does("a lowered limit");
}

fn a_lowered_limit() {
    const LOWERED: u64 = 16;
    let (directory, _) = place();
    let pairs: Vec<_> = (0..LOWERED)
        .map(|index| pair(&format!("{}/{index}", directory.path().display())).unwrap())
        .collect();
    let ends: Vec<_> = pairs
        .iter()
        .flat_map(|(host, second)| [host, second])
        .filter_map(|role| match role {
            Role::Writer(writer) => Some((writer as &dyn Waitable, Interest::BLOCKS)),
            Role::Reader(_) => None,
        })
        .collect();
    let now = Some(Instant::now());
    assert!(wait_any(&ends, now).unwrap().is_empty());
    limit(Resource::Nofile, LOWERED);
    let error = wait_any(&ends, now).unwrap_err().to_string();
    assert!(error.contains("ulimit -n"), "{error}");
    // What fits goes on, and so does a wait for one.
    assert!(wait_any(&ends[..5], now).unwrap().is_empty());
    let Role::Reader(reader) = &pairs[0].0 else {
        panic!("the host is the Reader");
    };
    reader.post(1, b"").unwrap();
    let Role::Writer(writer) = &pairs[0].1 else {
        panic!("the second is the Writer");
    };
    assert_eq!(writer.letter().unwrap().unwrap().kind, 1);
    // Input, output and error.
    limit(Resource::Nofile, 3);
    let error = writer.handle().unwrap_err().to_string();
    assert!(error.contains("ulimit -n"), "{error}");
}

#[test]
fn a_host_that_can_send_no_descriptors_says_so_and_does_not_drop_joiner_after_joiner() {
    assert_does("many descriptors under way");
}

fn many_descriptors_under_way() {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
    use std::os::fd::AsFd;
    use std::os::unix::fs::PermissionsExt;
    let (directory, name) = place();
    let everybody = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(directory.path(), everybody).unwrap();
    if rustix::process::geteuid().is_root() {
        // Whom the limit does not bind; threads that are started later are this user, too.
        let user = rustix::process::Uid::from_raw(65534);
        rustix::thread::set_thread_res_uid(user, user, user).unwrap();
    }
    let seat = Seat::take(&name, &Options::new().wait(Duration::from_secs(20))).unwrap();
    limit(Resource::Nofile, 64);
    let (from, _to) = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::NONBLOCK,
        None,
    )
    .unwrap();
    // As many as the limit, and a few more.
    let refused = (0..40).find_map(|_| {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds = [from.as_fd(), from.as_fd()];
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
        let parts = [std::io::IoSlice::new(b"x")];
        rustix::net::sendmsg(&from, &parts, &mut ancillary, SendFlags::NOSIGNAL).err()
    });
    assert_eq!(refused, Some(rustix::io::Errno::TOOMANYREFS));
    let host = thread::spawn(move || seat.wait());
    let _ = join(&name, &Options::new().wait(Duration::from_millis(100)));
    match host.join().unwrap().unwrap_err() {
        Error::Os { operation, source } => {
            assert!(operation.contains("send"), "{operation}");
            let number = rustix::io::Errno::TOOMANYREFS.raw_os_error();
            assert_eq!(source.raw_os_error(), Some(number));
        }
        error => panic!("{error:?}"),
    }
}

#[test]
fn a_limit_on_the_size_of_files_is_named_before_it_kills() {
    assert_does("small files");
}

fn small_files() {
    let (_directory, name) = place();
    limit(Resource::Fsize, 1 << 20);
    let error = pair(&name).unwrap_err().to_string();
    assert!(error.contains("ulimit -f"), "{error}");
    assert!(error.contains("1048576 bytes"), "{error}");
    limit(Resource::Fsize, 64 << 20);
    pair(&name).unwrap();
}

#[test]
fn a_limit_on_address_space_is_named() {
    assert_does("little address space");
}

fn little_address_space() {
    let (_directory, name) = place();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let kib: u64 = size
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    limit(Resource::As, kib * 1024 + (2 << 20));
    let error = Seat::take(&name, &Options::new()).unwrap_err().to_string();
    assert!(error.contains("ulimit -v"), "{error}");
}

#[test]
fn a_private_directory_that_cannot_be_made_is_an_error_with_the_way_out() {
    // A directory of this user's in which nothing can be made, not even by root.
    let mut command = command(None, "no private directory");
    let output = command.env("XDG_RUNTIME_DIR", "/proc/self").output();
    assert_succeeds(&output.unwrap());
}

fn no_private_directory() {
    let error = Seat::take("limits-test", &Options::new())
        .unwrap_err()
        .to_string();
    assert!(error.contains("/proc/self/brigade"), "{error}");
    assert!(error.contains("set XDG_RUNTIME_DIR"), "{error}");
    assert!(error.contains("a name that is a path"), "{error}");
}

/// It stands for what this machine does not have.
fn has_strace() -> bool {
    let strace = Command::new("strace").arg("--version").output();
    let found = strace.is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped: strace is not installed");
    }
    found
}

#[test]
fn where_proc_is_not_mounted_no_sessions_is_not_the_answer() {
    if !has_strace() {
        return;
    }
    let inject = "strace -f -qq -o /dev/null -P /proc/self -e inject=statx:error=ENOENT";
    assert_succeeds(&command(Some(inject), "no /proc").output().unwrap());
}

fn no_proc() {
    let error = brigade::sessions().unwrap_err().to_string();
    assert!(error.contains("is /proc mounted?"), "{error}");
}

#[test]
fn a_file_system_without_locks_is_an_error_with_the_way_out() {
    if !has_strace() {
        return;
    }
    for errno in ["ENOLCK", "EOPNOTSUPP", "ENOSYS"] {
        let inject = format!("strace -f -qq -o /dev/null -e inject=flock:error={errno}");
        assert_succeeds(&command(Some(&inject), "no locks").output().unwrap());
    }
}

fn no_locks() {
    let (directory, name) = place();
    let error = Seat::take(&name, &Options::new()).unwrap_err().to_string();
    assert!(error.contains("n.lock"), "{error}");
    assert!(error.contains("has no locks"), "{error}");
    assert!(error.contains("another directory"), "{error}");
    let left = std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(left, 0, "what was made for nothing stays");
}

#[test]
fn a_partner_that_rings_without_pause_keeps_nobody_beyond_a_deadline() {
    if !has_strace() {
        return;
    }
    // What is consumed of a doorbell is there again at once.
    let inject = "strace -f -qq -o /dev/null -P anon_inode:[eventfd] -e inject=read:retval=8";
    let task = "a bell that rings on";
    assert_succeeds(&command(Some(inject), task).output().unwrap());
}

fn a_bell_that_rings_on() {
    let (_directory, name) = place();
    let (Role::Reader(reader), Role::Writer(writer)) = pair(&name).unwrap() else {
        panic!("the host reads");
    };
    let in_ms = |ms| Instant::now() + Duration::from_millis(ms);
    let filled = (0..reader.block_count()).map(|_| reader.empty_block().unwrap());
    for block in filled {
        block.send(1, 0).unwrap();
    }
    // The reader sleeps when it gets a block back, so that it is rung for.
    let giver = thread::spawn(move || {
        thread::sleep(Duration::from_millis(100));
        drop(writer.data_block().unwrap().unwrap());
        writer
    });
    let block = reader.empty_block_until(in_ms(10_000)).unwrap();
    let _writer = giver.join().unwrap();
    block.send(1, 0).unwrap();
    let late = reader.empty_block_until(in_ms(100)).map(drop);
    assert!(matches!(late, Err(Error::TimedOut)), "{late:?}");
    let late = reader.finish_until(in_ms(100));
    assert!(matches!(late, Err(Error::TimedOut)), "{late:?}");
}
