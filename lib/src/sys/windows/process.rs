//! Processes, by their number and the moment of their creation.
#![expect(unsafe_code, reason = "the system's interface is all unsafe functions")]

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, OwnedHandle};

use windows_sys::Win32::Foundation::FILETIME;
#[cfg(all(debug_assertions, not(loom)))]
use windows_sys::Win32::System::Threading::TerminateProcess;
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetProcessTimes, OpenProcess, PROCESS_QUERY_LIMITED_INFORMATION,
    PROCESS_SYNCHRONIZE,
};

use super::objects::opened;

/// A process that cannot be mistaken for a later one of the same number.
pub(super) struct Process {
    pub(super) handle: OwnedHandle,
    pub(super) id: u32,
}

impl Process {
    /// `None` if the process of that number is not the one created at `started`, or
    /// there is none.
    pub(super) fn open(id: u32, at: u64) -> Option<Process> {
        let access = PROCESS_SYNCHRONIZE | PROCESS_QUERY_LIMITED_INFORMATION;
        // SAFETY: takes no pointers.
        let handle = opened(|| unsafe { OpenProcess(access, 0, id) }).ok()??;
        let same = started(handle.as_handle()).ok()? == at;
        same.then_some(Process { handle, id })
    }
}

pub(super) fn current_process() -> BorrowedHandle<'static> {
    // SAFETY: a constant that stands for this process, valid for ever.
    unsafe { BorrowedHandle::borrow_raw(GetCurrentProcess()) }
}

pub(super) fn own_id() -> u32 {
    std::process::id()
}

/// When `process` was created.
pub(super) fn started(process: BorrowedHandle<'_>) -> io::Result<u64> {
    let [mut created, mut exited, mut kernel, mut user] = [FILETIME::default(); 4];
    // SAFETY: the handle is open, the pointers are to live variables.
    let found = unsafe {
        GetProcessTimes(
            process.as_raw_handle(),
            &mut created,
            &mut exited,
            &mut kernel,
            &mut user,
        )
    };
    if found == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::from(created.dwHighDateTime) << 32 | u64::from(created.dwLowDateTime))
}

/// As by another process that ends this one.
#[cfg(all(debug_assertions, not(loom)))]
pub(crate) fn die() {
    // SAFETY: the pseudo-handle of this process is always valid, and nothing runs afterwards.
    unsafe { TerminateProcess(GetCurrentProcess(), 9) };
}
