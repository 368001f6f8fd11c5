//! This process: its user, its program, and what ends it.

use std::io::{self};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit, setrlimit};

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

/// What ends a process from outside unless it is caught, beside the real-time signals. Not
/// the signals that stand for a fault of the program itself, and SIGPIPE, which Rust's
/// runtime ignores.
const INTERRUPTIONS: [Signal; 12] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGABRT,
    Signal::SIGALRM,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGXCPU,
    Signal::SIGIO,
];

/// These, and the real-time signals: all that have no name here, but for what the C library
/// keeps to itself.
fn interruptions() -> SigSet {
    let mut signals = SigSet::all();
    let others = Signal::iterator().filter(|signal| !INTERRUPTIONS.contains(signal));
    others.for_each(|signal| signals.remove(signal));
    signals
}

/// A thread that waits for leave to tell of signals.
pub(crate) struct Interruptions(Sender<Ignored>);

/// They are blocked, so that each waits until it is read. (A handler for each of more than
/// forty took some 0.1 ms to set up.)
pub(crate) fn hold_interruptions(
    tell: impl Fn(Interruption) + Send + 'static,
) -> io::Result<Interruptions> {
    let watched = interruptions();
    watched.thread_block()?;
    let signals = SignalFd::with_flags(&watched, SfdFlags::SFD_CLOEXEC)?;
    let (sender, ignored) = channel();
    let thread = std::thread::Builder::new().name("signals".into());
    let started = thread.spawn(move || {
        if let Ok(ignored) = ignored.recv() {
            read_on(&signals, ignored, tell);
        }
    });
    started.map(|_| Interruptions(sender))
}

impl Interruptions {
    pub(crate) fn tell_all_but(self, ignored: Ignored) {
        // Received for sure.
        let _ = self.0.send(ignored);
    }
}

fn read_on(signals: &SignalFd, ignored: Ignored, tell: impl Fn(Interruption)) {
    loop {
        match signals.read_signal() {
            Ok(Some(found)) => {
                let number = found.ssi_signo;
                // One that is ignored from the start (nohup, a shell's background job) was
                // meant to be.
                if ignored >> (number - 1) & 1 == 0 {
                    tell(interruption(number));
                }
            }
            Ok(None) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

/// Bit N - 1 stands for signal N.
pub(crate) type Ignored = u64;

pub(crate) fn ignored_interruptions() -> io::Result<Ignored> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .ok_or_else(|| io::Error::other("/proc/self/status does not say so"))
}

fn interruption(number: u32) -> Interruption {
    let signal = i32::try_from(number).ok();
    let signal = signal.and_then(|number| Signal::try_from(number).ok());
    Interruption {
        // As shells show a death by this signal.
        code: 128 + number as u8,
        name: match signal {
            Some(Signal::SIGXCPU) => "SIGXCPU: ulimit -t",
            Some(signal) => signal.as_str(),
            None => "a real-time signal",
        },
    }
}

pub(crate) fn leave_interruptions() {
    // Only invalid numbers of signals could fail.
    let _ = interruptions().thread_block();
}

pub(crate) fn survive_limits() -> io::Result<()> {
    // What a process that watches them has started would have them blocked, too.
    interruptions().thread_unblock()?;
    // Nobody reads it: that it does not end the process makes a write fail.
    let limit = SigSet::from(Signal::SIGXFSZ);
    Ok(limit.thread_block()?)
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
