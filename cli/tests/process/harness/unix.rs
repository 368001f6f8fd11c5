//! What the tests ask of Linux; `windows.rs` offers the same.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::{Half, Interruption, Place, Stream};

/// How often is often: pairs that are started, moments of a death.
pub(crate) const MANY: usize = 100;

/// What an idle process may use in a second.
pub(crate) const IDLE: Duration = Duration::from_millis(5);

pub(crate) const NAMES_DIFFER_IN_CASE: bool = true;

/// Whether a session with a path as its name has a socket there.
pub(crate) const HAS_SOCKETS: bool = true;

/// A word with a space, as a shell reads it.
pub(crate) const QUOTED: &str = "'a b'";

// What goes wrong, by the system's numbers.
pub(crate) const NO_SUCH_FILE: i32 = 2;
pub(crate) const NO_SUCH_DIRECTORY: i32 = 2;
pub(crate) const CLOSED_STREAM: i32 = 9;
pub(crate) const BROKEN_PIPE: &[i32] = &[32];

pub(crate) const NULL_DEVICE: &str = "/dev/null";
pub(crate) const FULL_DEVICE: Option<&str> = Some("/dev/full");

/// A file that says that it is empty, and is not.
pub(crate) const LYING_FILE: Option<&str> = Some("/proc/self/mountinfo");

/// A source that can be opened, but not read; and why not.
pub(crate) fn broken_source(_place: &Place) -> (String, String) {
    // Reading the memory of a process at address 0 is an I/O error.
    ("/proc/self/mem".to_owned(), super::why(5))
}

// ---- processes --------------------------------------------------------------

pub(crate) fn prepare(_command: &mut Command) {}

pub(crate) const INTERRUPTIONS: &[Interruption] = &[
    Interruption {
        number: Signal::INT.as_raw() as u32,
        code: 130,
        name: "SIGINT",
    },
    Interruption {
        number: Signal::TERM.as_raw() as u32,
        code: 143,
        name: "SIGTERM",
    },
];

pub(crate) fn can_interrupt() -> bool {
    true
}

pub(crate) fn interrupt(child: &Child, interruption: &Interruption) {
    let signal = Signal::from_named_raw(interruption.number as i32).unwrap();
    send(child, signal);
}

pub(crate) fn freeze(child: &Child) {
    send(child, Signal::STOP);
}

pub(crate) fn thaw(child: &Child) {
    send(child, Signal::CONT);
}

fn send(child: &Child, signal: Signal) {
    rustix::process::kill_process(Pid::from_child(child), signal).unwrap();
}

/// Time that all its threads have run.
pub(crate) fn processor_time(child: &Child) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    let run_ns = tasks.map(|task| {
        let path = task.unwrap().path().join("schedstat");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let first = text.split(' ').next().unwrap_or("0");
        first.parse::<u64>().unwrap_or(0)
    });
    Duration::from_nanos(run_ns.sum())
}

pub(crate) fn is_gone(process_id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process_id}/stat"));
    stat.map_or(true, |stat| stat.contains(") Z "))
}

/// The program with a standard stream closed.
pub(crate) fn without(place: &Place, stream: Stream, args: &[&str]) -> Command {
    let script = match stream {
        Stream::Input => r#"exec "$0" "$@" <&-"#,
        Stream::Output => r#"exec "$0" "$@" >&-"#,
    };
    let shell = ["-c", script, env!("CARGO_BIN_EXE_brigade")];
    place.command("sh".as_ref(), shell.iter().chain(args))
}

/// Whether this test runs as root; says so if not.
pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        super::skip("needs root");
    }
    root
}

// ---- files ------------------------------------------------------------------

pub(crate) fn has_modes() -> bool {
    true
}

pub(crate) fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, mode).unwrap();
}

/// Modes take their place.
pub(crate) fn has_access_lists() -> bool {
    false
}

pub(crate) fn protect(_path: &Path) {}

pub(crate) fn access_list(_path: &Path) -> Vec<u8> {
    Vec::new()
}

/// An open file that nobody else may open.
pub(crate) fn open_alone(_path: &Path) -> Option<std::fs::File> {
    None
}

pub(crate) fn link(target: &str, link: &Path) -> bool {
    std::os::unix::fs::symlink(target, link).unwrap();
    true
}

/// Takes a name from a file that a process has open.
pub(crate) fn take_name(path: &Path) {
    std::fs::remove_file(path).unwrap();
}

pub(crate) fn free_bytes(path: &Path) -> u64 {
    let free = rustix::fs::statvfs(path).unwrap();
    free.f_bavail * free.f_frsize
}

/// Something that listens where a session's socket would be.
pub(crate) fn listen(path: &Path) -> std::os::unix::net::UnixListener {
    std::os::unix::net::UnixListener::bind(path).unwrap()
}

/// A pipe with a path.
pub(crate) struct Fifo(PathBuf);

impl Fifo {
    pub(crate) fn new(place: &Place) -> Fifo {
        let path = place.path("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        Fifo(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// All that one writer writes.
    pub(crate) fn read(self, _writer: &Half) -> Vec<u8> {
        std::fs::read(&self.0).unwrap()
    }
}
