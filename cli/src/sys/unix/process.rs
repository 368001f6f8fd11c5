//! This process: its user, its program, and what ends it.

use std::io::{self};
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::super::Interruption;

/// Read by setting it, so before there are other threads.
pub(crate) fn umask() -> u32 {
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    mask.bits()
}

/// Not the path it was started by, where another version may be by now.
pub(crate) fn own_user() -> Option<u32> {
    Some(rustix::process::geteuid().as_raw())
}

pub(crate) fn own_program() -> io::Result<Command> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("brigade");
    Ok(command)
}

pub(crate) fn watch_interruptions(
    tell: impl Fn(Interruption) + Send + Sync + 'static,
) -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let ignored = ignored_signals();
    // One that is ignored from the start (nohup, a shell's background job) was
    // meant to be.
    let wanted = [SIGHUP, SIGINT, SIGTERM].map(|signal| (signal, ignored >> (signal - 1) & 1));
    let wanted = wanted.iter().filter(|(_, ignored)| *ignored == 0);
    let mut signals = signal_hook::iterator::Signals::new(wanted.map(|(signal, _)| signal))?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            tell(Interruption {
                // As shells show a death by this signal.
                code: 128 + signal as u8,
                name: signal_hook::low_level::signal_name(signal).unwrap_or("a signal"),
            });
        }
    });
    Ok(())
}

/// The mask of signals that this process was started to ignore; none if it cannot
/// be known.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}
