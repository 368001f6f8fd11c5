//! What is asked of a destination.
#![expect(unsafe_code, reason = "the system's interface is all unsafe functions")]

use std::fs::{File, OpenOptions};
use std::io::{self};
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle};
use std::path::Path;
use std::ptr;

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_LOCK_VIOLATION, ERROR_SHARING_VIOLATION, GENERIC_READ,
    GENERIC_WRITE, INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Storage::FileSystem::{
    DELETE, FILE_FLAG_OPEN_REPARSE_POINT, FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE,
    MOVEFILE_REPLACE_EXISTING, MOVEFILE_WRITE_THROUGH, MoveFileExW, ReOpenFile,
    SECURITY_IDENTIFICATION, WRITE_DAC,
};
use windows_sys::Win32::System::IO::DeviceIoControl;
use windows_sys::Win32::System::Ioctl::FSCTL_SET_SPARSE;

use super::errors::*;
use super::names::*;

/// With the same care for pipes as `open_to_read`.
pub(crate) fn open_to_write(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .security_qos_flags(SECURITY_IDENTIFICATION)
        .open(path)
}

/// A new file's access is what its directory hands down, as it is for every file.
pub(crate) fn open_partial(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .access_mode(GENERIC_READ | GENERIC_WRITE | WRITE_DAC)
        .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT)
        .open(path)
}

/// A second open: of one that is not for overlapped operations, and its copies, the
/// system does one operation at a time, so writing would wait for syncing.
pub(crate) fn handle_for_syncing(file: &File) -> io::Result<File> {
    let share = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    // SAFETY: the handle is open.
    let handle = unsafe { ReOpenFile(file.as_raw_handle(), GENERIC_WRITE, share, 0) };
    if handle == INVALID_HANDLE_VALUE {
        // Not every device can; waiting is no harm but to speed.
        return file.try_clone();
    }
    // SAFETY: it was opened on the line above, and nobody else has it.
    Ok(unsafe { File::from_raw_handle(handle) })
}

/// Otherwise what is skipped takes room, and is filled with zeros.
pub(crate) fn expect_holes(file: &File) {
    let mut len = 0;
    // SAFETY: the handle is open; nothing goes in or out.
    unsafe {
        DeviceIoControl(
            file.as_raw_handle(),
            FSCTL_SET_SPARSE,
            ptr::null(),
            0,
            ptr::null_mut(),
            0,
            &mut len,
            ptr::null_mut(),
        )
    };
}

/// Nothing here depends on it.
pub(crate) fn memory_bytes() -> Option<u64> {
    None
}

/// The system cannot be told.
pub(crate) fn forget_cached(_file: &File, _offset: u64, _len: Option<u64>) {}

/// Not `ReplaceFileW`, which may fail halfway and leave nothing under the name that
/// counts (`ERROR_UNABLE_TO_MOVE_REPLACEMENT_2`, 1177).
/// <https://learn.microsoft.com/windows/win32/api/winbase/nf-winbase-replacefilew>
pub(crate) fn replace(from: &Path, to: &Path, durably: bool) -> io::Result<()> {
    rename(from, to, durably, MOVEFILE_REPLACE_EXISTING)
        .map_err(|error| why_not_removable(&error, to).unwrap_or(error))
}

pub(crate) fn rename_new(from: &Path, to: &Path, durably: bool) -> io::Result<()> {
    rename(from, to, durably, 0)
}

fn rename(from: &Path, to: &Path, durably: bool, flags: u32) -> io::Result<()> {
    let through = if durably { MOVEFILE_WRITE_THROUGH } else { 0 };
    let [from, to] = [verbatim(from)?, verbatim(to)?];
    // SAFETY: both paths end in a zero and live.
    let done = unsafe { MoveFileExW(from.as_ptr(), to.as_ptr(), flags | through) };
    match done {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// That another process has a file open is a refusal like any other to
/// `MoveFileExW`; but not to who opens the file for removing it.
fn why_not_removable(refusal: &io::Error, path: &Path) -> Option<io::Error> {
    if !is_code(refusal, ERROR_ACCESS_DENIED) {
        return None;
    }
    let opened = OpenOptions::new().access_mode(DELETE).open(path);
    opened.err().filter(is_in_use)
}

/// `replace` has written it through.
pub(crate) fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}

pub(crate) fn is_in_use(error: &io::Error) -> bool {
    is_code(error, ERROR_SHARING_VIOLATION) || is_code(error, ERROR_LOCK_VIOLATION)
}
