//! This process: its user, its program, and what ends it.

use std::io::{self};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit, setrlimit};
use signal_hook::consts::*;

use super::super::Interruption;

/// Read by setting it, so before there are other threads.
pub(crate) fn umask() -> u32 {
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    mask.bits()
}

pub(crate) fn own_user() -> Option<u32> {
    Some(rustix::process::geteuid().as_raw())
}

/// Not the path it was started by, where another version may be by now.
pub(crate) const OWN_PROGRAM: &str = "/proc/self/exe";

pub(crate) fn own_program() -> io::Result<Command> {
    // An error that names it, and not the process to be started.
    std::fs::symlink_metadata(OWN_PROGRAM)?;
    let mut command = Command::new(OWN_PROGRAM);
    command.arg0("brigade");
    Ok(command)
}

/// Bit N - 1 stands for signal N.
pub(crate) type Ignored = u64;

pub(crate) fn ignored_interruptions() -> io::Result<Ignored> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .ok_or_else(|| io::Error::other("/proc/self/status does not say so"))
}

/// What ends a process from outside unless it is caught. Not the signals that stand for
/// a fault of the program itself, and SIGPIPE, which Rust's runtime ignores.
const INTERRUPTIONS: [i32; 12] = [
    SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGABRT, SIGALRM, SIGVTALRM, SIGPROF, SIGUSR1, SIGUSR2,
    SIGXCPU, SIGIO,
];

/// These end it, too; the C library keeps the first of them to itself.
const REAL_TIME: std::ops::RangeInclusive<i32> = 32..=64;

pub(crate) fn watch_interruptions(
    ignored: Ignored,
    tell: impl Fn(Interruption) + Send + Sync + 'static,
) -> io::Result<()> {
    // One that is ignored from the start (nohup, a shell's background job) was
    // meant to be.
    let is_wanted = |signal: &i32| ignored >> (signal - 1) & 1 == 0;
    let wanted = INTERRUPTIONS.into_iter().filter(is_wanted);
    let mut signals = signal_hook::iterator::Signals::new(wanted)?;
    for signal in REAL_TIME.filter(is_wanted) {
        match signals.add_signal(signal) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            added => added?,
        }
    }
    let thread = std::thread::Builder::new().name("signals".into());
    let started = thread.spawn(move || {
        for signal in signals.forever() {
            tell(Interruption {
                // As shells show a death by this signal.
                code: 128 + signal as u8,
                name: name(signal),
            });
        }
    });
    started.map(drop)
}

fn name(signal: i32) -> &'static str {
    match signal {
        SIGXCPU => "SIGXCPU: ulimit -t",
        _ => signal_hook::low_level::signal_name(signal).unwrap_or("a real-time signal"),
    }
}

pub(crate) fn survive_limits() -> io::Result<()> {
    // Nobody looks at the flag: that there is a handler makes a write fail.
    signal_hook::flag::register(SIGXFSZ, Arc::default()).map(drop)
}

pub(crate) fn open_files_max() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // Everybody may do that; if it fails, the limit is what it was.
        limit.current = limit.maximum;
        let _ = setrlimit(Resource::Nofile, limit);
    }
    getrlimit(Resource::Nofile).current
}

pub(crate) fn limit_behind(error: &io::Error) -> Option<&'static str> {
    let has = |resource| getrlimit(resource).current.is_some();
    match Errno::from_io_error(error)? {
        Errno::FBIG if has(Resource::Fsize) => Some("ulimit -f"),
        // Of no process or thread: whoever reads or writes waits until it can.
        Errno::AGAIN => Some("ulimit -u or -v, or the container's limits"),
        Errno::MFILE => Some("ulimit -n"),
        Errno::NOMEM if has(Resource::As) => Some("ulimit -v"),
        _ => None,
    }
}
