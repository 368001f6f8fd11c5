//! This process: its user, its program, and what ends it.
#![expect(unsafe_code, reason = "the system's interface is all unsafe functions")]

use std::io::{self};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT,
    SetConsoleCtrlHandler,
};
use windows_sys::core::BOOL;

use super::super::Interruption;

/// Access lists take its place.
pub(crate) fn umask() -> u32 {
    0
}

pub(crate) fn own_user() -> Option<u32> {
    None
}

/// As messages call it.
pub(crate) const OWN_PROGRAM: &str = "brigade.exe";

/// A program that runs cannot be replaced by another version.
pub(crate) fn own_program() -> io::Result<Command> {
    Ok(Command::new(std::env::current_exe()?))
}

/// What hears of the console's events.
type Tell = Box<dyn Fn(Interruption) + Send + Sync>;

static TELL: OnceLock<Tell> = OnceLock::new();

/// Exit status for an interruption, as on other systems after Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Ctrl-C reaches no process that was started to ignore it.
#[derive(Default)]
pub(crate) struct Ignored {}

pub(crate) fn ignored_interruptions() -> io::Result<Ignored> {
    Ok(Ignored {})
}

/// They need not wait.
pub(crate) struct Interruptions {}

impl Interruptions {
    pub(crate) fn tell_all_but(self, _ignored: Ignored) {}
}

pub(crate) fn hold_interruptions(
    tell: impl Fn(Interruption) + Send + Sync + 'static,
) -> io::Result<Interruptions> {
    // Called once; a second time, the first listener stays.
    let _ = TELL.set(Box::new(tell));
    // SAFETY: the function lives as long as the process, and may run in any thread.
    let done = unsafe { SetConsoleCtrlHandler(Some(on_console_event), 1) };
    match done {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(Interruptions {}),
    }
}

/// The system tells it in a thread of its own.
pub(crate) fn leave_interruptions() {}

/// There are no such limits.
pub(crate) fn survive_limits() -> io::Result<()> {
    Ok(())
}

pub(crate) fn open_files_max() -> Option<u64> {
    None
}

pub(crate) fn limit_behind(_error: &io::Error) -> Option<&'static str> {
    None
}

/// Called by the system in a thread of its own.
/// <https://learn.microsoft.com/windows/console/handlerroutine>
extern "system" fn on_console_event(event: u32) -> BOOL {
    let (name, is_last) = match event {
        CTRL_C_EVENT => ("Ctrl-C", false),
        CTRL_BREAK_EVENT => ("Ctrl-Break", false),
        CTRL_CLOSE_EVENT => ("the console was closed", true),
        CTRL_LOGOFF_EVENT => ("the user logs off", true),
        CTRL_SHUTDOWN_EVENT => ("the system shuts down", true),
        _ => return 0,
    };
    if let Some(tell) = TELL.get() {
        let code = INTERRUPTED;
        tell(Interruption { code, name });
    }
    if is_last {
        // When this function returns, the process ends; but until then, for some
        // seconds, it can clean up. It ends by itself long before this.
        std::thread::sleep(Duration::from_secs(10));
    }
    1
}
