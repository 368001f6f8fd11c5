//! What is asked of a source.
#![expect(unsafe_code, reason = "the system's interface is all unsafe functions")]

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::ops::Range;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::AsRawHandle;
use std::path::Path;
use std::ptr;

use windows_sys::Win32::Foundation::{
    ERROR_MORE_DATA, ERROR_OPERATION_ABORTED, ERROR_SUCCESS, SetLastError,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_FLAG_SEQUENTIAL_SCAN, ReadFile, SECURITY_IDENTIFICATION,
};
use windows_sys::Win32::System::IO::DeviceIoControl;
use windows_sys::Win32::System::Ioctl::{
    FILE_ALLOCATED_RANGE_BUFFER, FSCTL_QUERY_ALLOCATED_RANGES, GET_LENGTH_INFORMATION,
    IOCTL_DISK_GET_LENGTH_INFO,
};

use super::errors::*;
use super::streams::*;

/// A pipe's server may learn who its client is, but not act as the client.
pub(super) fn open_to_read(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(FILE_FLAG_SEQUENTIAL_SCAN)
        .security_qos_flags(SECURITY_IDENTIFICATION)
        .open(path)
}

/// Can be said only while opening.
pub(crate) fn expect_in_order(_file: &File) {}

pub(crate) fn capacity(file: &File) -> io::Result<Option<u64>> {
    let mut found = GET_LENGTH_INFORMATION::default();
    let mut len = 0;
    // SAFETY: the handle is open, and `found` is as large as is said.
    let done = unsafe {
        DeviceIoControl(
            file.as_raw_handle(),
            IOCTL_DISK_GET_LENGTH_INFO,
            ptr::null(),
            0,
            ptr::from_mut(&mut found).cast(),
            size_of_val(&found) as u32,
            &mut len,
            ptr::null_mut(),
        )
    };
    Ok((done != 0).then_some(found.Length as u64))
}

pub(crate) fn read_at(file: &File, block: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, block, offset)
}

pub(crate) fn read(mut file: &File, block: &mut [u8]) -> io::Result<usize> {
    if winapi_util::console::mode(file).is_ok() {
        return read_console(file, block);
    }
    match file.read(block) {
        // A pipe gives nothing, too, when an empty message comes through it, or
        // when somebody made it non-blocking. At its end, it cannot be looked into.
        Ok(0) if peek(file).is_ok() => Err(io::ErrorKind::WouldBlock.into()),
        read => read,
    }
}

/// Ctrl-C ends a read with nothing, as the end of the input does; the difference is
/// in the last error alone.
/// <https://learn.microsoft.com/windows/console/readconsole>
fn read_console(file: &File, block: &mut [u8]) -> io::Result<usize> {
    /// Older consoles cannot give many bytes at once, and nobody types as many.
    const LEN_MAX: usize = 8192;
    let mut len = 0;
    // SAFETY: the handle is open, and `block` is at least as long as is said.
    let done = unsafe {
        SetLastError(ERROR_SUCCESS);
        ReadFile(
            file.as_raw_handle(),
            block.as_mut_ptr(),
            block.len().min(LEN_MAX) as u32,
            &mut len,
            ptr::null_mut(),
        )
    };
    let error = io::Error::last_os_error();
    match (done, len) {
        (_, 0) if is_code(&error, ERROR_OPERATION_ABORTED) => {
            Err(io::ErrorKind::Interrupted.into())
        }
        (0, _) => Err(error),
        _ => Ok(len as usize),
    }
}

/// Without the cache, Windows reads whole sectors into aligned memory only.
pub(crate) fn read_past_cache(_file: &File, _block: &mut [u8]) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn next_data(file: &File, position: u64) -> io::Result<Option<Range<u64>>> {
    let asked = FILE_ALLOCATED_RANGE_BUFFER {
        FileOffset: position as i64,
        Length: i64::MAX - position as i64,
    };
    let mut found = FILE_ALLOCATED_RANGE_BUFFER::default();
    let size = size_of_val(&found) as u32;
    let mut len = 0;
    // SAFETY: the handle is open, both buffers are live and of the sizes given.
    let done = unsafe {
        DeviceIoControl(
            file.as_raw_handle(),
            FSCTL_QUERY_ALLOCATED_RANGES,
            (&raw const asked).cast(),
            size,
            (&raw mut found).cast(),
            size,
            &mut len,
            ptr::null_mut(),
        )
    };
    let more = io::Error::last_os_error().raw_os_error() == Some(ERROR_MORE_DATA as i32);
    if done == 0 && !more {
        // Files have no holes here, or nobody can tell.
        return Ok(Some(0..u64::MAX));
    }
    if len < size {
        return Ok(None);
    }
    let start = found.FileOffset as u64;
    Ok(Some(start..start.saturating_add(found.Length as u64)))
}

/// `next_data` is told ranges, and has no doubts.
pub(crate) fn is_in_hole(_file: &File, _position: u64) -> io::Result<bool> {
    Ok(true)
}

pub(crate) fn may_lie_about_size(_file: &File) -> io::Result<bool> {
    Ok(false)
}
