//! The standard streams, and when they are ready.
#![expect(unsafe_code, reason = "the system's interface is all unsafe functions")]

use std::fs::File;
use std::io::{self};
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, OwnedHandle};
use std::ptr;
use std::time::{Duration, Instant};

use windows_sys::Win32::Foundation::{ERROR_INVALID_HANDLE, WAIT_FAILED, WAIT_TIMEOUT};
use windows_sys::Win32::System::Pipes::PeekNamedPipe;
use windows_sys::Win32::System::Threading::{INFINITE, WaitForSingleObject};

use super::errors::*;

pub(crate) fn standard_input() -> io::Result<File> {
    if_open(io::stdin().as_handle().try_clone_to_owned()?)
}

pub(crate) fn standard_output() -> io::Result<File> {
    if_open(io::stdout().as_handle().try_clone_to_owned()?)
}

/// No name leads there; and whoever has said all through it has closed it.
pub(crate) fn forget_standard_input() -> io::Result<()> {
    Ok(())
}

/// A stream that was closed has no handle; std calls that a handle, which it reads
/// as empty.
fn if_open(stream: OwnedHandle) -> io::Result<File> {
    if stream.as_raw_handle().is_null() {
        return Err(system_error(ERROR_INVALID_HANDLE));
    }
    Ok(stream.into())
}

pub(crate) fn is_ready(file: &File) -> io::Result<bool> {
    match peek(file) {
        Ok(len) => Ok(len > 0),
        // The end is there at once. What is no pipe cannot be looked into at all.
        Err(error) => Ok(error.kind() == io::ErrorKind::BrokenPipe),
    }
}

/// How many bytes lie in a pipe.
pub(super) fn peek(pipe: &File) -> io::Result<u32> {
    let mut len = 0;
    // SAFETY: the handle is open, and `len` lives; nothing else is asked for.
    let done = unsafe {
        PeekNamedPipe(
            pipe.as_raw_handle(),
            ptr::null_mut(),
            0,
            ptr::null_mut(),
            &mut len,
            ptr::null_mut(),
        )
    };
    match done {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(len),
    }
}

/// A pause is all there is: a pipe cannot be waited for, and the next read of one
/// that was not made non-blocking waits by itself.
pub(crate) fn wait_until_ready(_file: &File) -> io::Result<()> {
    std::thread::sleep(Duration::from_millis(1));
    Ok(())
}

/// By looking again and again. What is no pipe cannot be looked into.
pub(crate) fn wait_to_read(file: &File, limit: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + limit;
    loop {
        match peek(file) {
            Ok(0) if Instant::now() >= deadline => return Ok(false),
            Ok(0) => std::thread::sleep(Duration::from_millis(1)),
            // Whatever it is, the read finds out.
            Ok(_) | Err(_) => return Ok(true),
        }
    }
}

/// By looking at the pipe each time that the handle was waited for a moment. Beside what is no
/// pipe, the handle alone is waited for.
pub(crate) fn wait_to_read_beside(file: &File, other: BorrowedHandle<'_>) -> io::Result<()> {
    loop {
        let limit_ms = match peek(file) {
            Ok(0) => 1,
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(_) => INFINITE,
        };
        // SAFETY: the handle is open as long as it is borrowed.
        match unsafe { WaitForSingleObject(other.as_raw_handle(), limit_ms) } {
            WAIT_TIMEOUT => {}
            WAIT_FAILED => return Err(io::Error::last_os_error()),
            _ => return Ok(()),
        }
    }
}

/// As for `wait_until_ready`.
pub(crate) fn wait_until_room(_file: &File) -> io::Result<()> {
    std::thread::sleep(Duration::from_millis(1));
    Ok(())
}
