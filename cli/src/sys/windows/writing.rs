//! What is asked of a destination.
#![expect(unsafe_code, reason = "the system's interface is all unsafe functions")]

use std::fs::File;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle};
use std::ptr;

use windows_sys::Win32::Foundation::{
    ERROR_INVALID_FUNCTION, ERROR_LOCK_VIOLATION, ERROR_NOT_SUPPORTED, ERROR_SHARING_VIOLATION,
    GENERIC_WRITE, INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE, ReOpenFile,
};
use windows_sys::Win32::System::IO::DeviceIoControl;
use windows_sys::Win32::System::Ioctl::FSCTL_SET_SPARSE;

use super::errors::*;

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

pub(crate) fn spare_memory() -> Option<u64> {
    brigade::available_memory()
}

/// The system cannot be told.
pub(crate) fn forget_cached(_file: &File, _offset: u64, _len: Option<u64>) {}

pub(crate) fn is_in_use(error: &io::Error) -> bool {
    is_code(error, ERROR_SHARING_VIOLATION) || is_code(error, ERROR_LOCK_VIOLATION)
}

/// What was there before is overwritten with zeros instead.
pub(crate) fn make_hole(_file: &File, _offset: u64, _len: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Closing tells nothing here.
pub(crate) fn close(_file: File) -> io::Result<()> {
    Ok(())
}

/// Whether the file system has no locks.
pub(crate) fn has_no_locks(error: &io::Error) -> bool {
    is_code(error, ERROR_NOT_SUPPORTED) || is_code(error, ERROR_INVALID_FUNCTION)
}

/// Never.
pub(crate) fn must_write_to_lock(_error: &io::Error) -> bool {
    false
}
