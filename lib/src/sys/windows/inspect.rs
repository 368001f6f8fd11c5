//! Regions of this user's processes, found by their names.
#![expect(unsafe_code, reason = "the system's interface is all unsafe functions")]

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};

use windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE;
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, PROCESSENTRY32W, Process32FirstW, Process32NextW, TH32CS_SNAPPROCESS,
};

use super::memory::Memory;
use super::objects::{REGION, is_own, unique};
use crate::error::Error;
use crate::region::layout::SHOWN;

/// How many numbers of each process to look for: its first sessions' regions get the
/// first of them, and their doorbells; a session of both ways takes four.
const OBSERVED_NUMBERS: u64 = 32;

pub(crate) fn observe(mut seen: impl FnMut(u32, &[u8; SHOWN])) -> Result<(), Error> {
    let failed = |error| Error::os("list the processes", error);
    for process_id in process_ids().map_err(failed)? {
        for number in 1..=OBSERVED_NUMBERS {
            let memory = match Memory::open(&unique(process_id, number, REGION)) {
                Ok(Some(memory)) if is_own(&memory.section) => memory,
                Ok(_) => continue,
                // Another user's.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => continue,
                Err(error) => return Err(Error::os("look at a process's memory", error)),
            };
            if let Some(shown) = memory
                .first_page()
                .as_ref()
                .and_then(|page| page.first_chunk())
            {
                seen(process_id, shown);
            }
        }
    }
    Ok(())
}

fn process_ids() -> io::Result<Vec<u32>> {
    // SAFETY: takes no pointers.
    let snapshot = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0) };
    if snapshot == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system just made it, for this call alone.
    let snapshot = unsafe { OwnedHandle::from_raw_handle(snapshot) };
    let mut entry = PROCESSENTRY32W {
        dwSize: size_of::<PROCESSENTRY32W>() as u32,
        ..PROCESSENTRY32W::default()
    };
    let mut ids = Vec::new();
    // SAFETY: the handle is open, `entry` is of the size that it says.
    let mut more = unsafe { Process32FirstW(snapshot.as_raw_handle(), &mut entry) };
    while more != 0 {
        ids.push(entry.th32ProcessID);
        // SAFETY: as above.
        more = unsafe { Process32NextW(snapshot.as_raw_handle(), &mut entry) };
    }
    Ok(ids)
}
