//! Regions: named sections on the paging file.
#![expect(unsafe_code, reason = "the system's interface is all unsafe functions")]

use std::io;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE;
use windows_sys::Win32::System::Memory::{
    CreateFileMappingW, FILE_MAP_READ, FILE_MAP_WRITE, MEM_COMMIT, MEMORY_BASIC_INFORMATION,
    MEMORY_MAPPED_VIEW_ADDRESS, MapViewOfFile, OpenFileMappingW, PAGE_READONLY, PAGE_READWRITE,
    UnmapViewOfFile, VirtualQuery,
};
use windows_sys::Win32::System::SystemInformation::{GlobalMemoryStatusEx, MEMORYSTATUSEX};

use super::objects::{
    Created, READ_CONTROL, REGION, SECTION_ACCESS, Security, create_unique, created, opened,
    unique, wide,
};
use super::process::own_id;
use crate::error::Error;
use crate::region::layout::CONTROL_SIZE;

/// A mapped region.
pub(crate) struct Memory {
    pub(super) start: NonNull<u8>,
    len: usize,
    writable: bool,
    /// The number in its name, by which the partner opens it.
    pub(super) number: u64,
    pub(super) section: OwnedHandle,
}

// SAFETY: it is an address range; what may be done there from which thread is
// decided where references are made, in `crate::region` and `Card`.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    pub(crate) fn create(size: u64) -> Result<Memory, Error> {
        let (number, mut memory) =
            create_unique(|number| Memory::create_named(&unique(own_id(), number, REGION), size))?;
        memory.number = number;
        Ok(memory)
    }

    /// `None` if the name is taken.
    ///
    /// Committed at once, as sections are without SEC_RESERVE, so that no access can
    /// fail for want of memory; of fixed size; and for this process alone to write,
    /// since whoever else opens it is allowed to read only.
    pub(super) fn create_named(name: &str, size: u64) -> Result<Option<Memory>, Error> {
        let failed = |what: &str| {
            let operation = format!("{what} {size} bytes of shared memory ({name})");
            move |error: io::Error| Error::os(operation, error)
        };
        let security = Security::new(SECTION_ACCESS).map_err(failed("protect"))?;
        let attributes = security.attributes();
        let wide = wide(name);
        // SAFETY: both pointers are to live objects; the name ends with a zero.
        let created = created(|| unsafe {
            CreateFileMappingW(
                INVALID_HANDLE_VALUE,
                &attributes,
                PAGE_READWRITE,
                (size >> 32) as u32,
                size as u32,
                wide.as_ptr(),
            )
        });
        match created.map_err(failed("create"))? {
            Created::New(section) => {
                let access = FILE_MAP_READ | FILE_MAP_WRITE;
                Memory::map(section, access)
                    .map(Some)
                    .map_err(failed("map"))
            }
            Created::Existing(_) => Ok(None),
        }
    }

    /// Another process's, read-only; `None` if there is none of that name.
    pub(super) fn open(name: &str) -> io::Result<Option<Memory>> {
        let wide = wide(name);
        let access = FILE_MAP_READ | READ_CONTROL;
        // SAFETY: the name ends with a zero.
        let section = opened(|| unsafe { OpenFileMappingW(access, 0, wide.as_ptr()) })?;
        section.map(Memory::map_for_reading).transpose()
    }

    /// Of whoever made it.
    pub(super) fn map_for_reading(section: OwnedHandle) -> io::Result<Memory> {
        Memory::map(section, FILE_MAP_READ)
    }

    fn map(section: OwnedHandle, access: u32) -> io::Result<Memory> {
        // SAFETY: a new mapping of all of the section, at an address of the
        // system's choice.
        let view = unsafe { MapViewOfFile(section.as_raw_handle(), access, 0, 0, 0) };
        let start = NonNull::new(view.Value.cast()).ok_or_else(io::Error::last_os_error)?;
        let mut memory = Memory {
            start,
            len: 0,
            writable: access & FILE_MAP_WRITE != 0,
            number: 0,
            section,
        };
        memory.len = memory.committed_len()?;
        Ok(memory)
    }

    /// Length of the mapping, if all of it can be used.
    fn committed_len(&self) -> io::Result<usize> {
        let mut found = MEMORY_BASIC_INFORMATION::default();
        let size = size_of::<MEMORY_BASIC_INFORMATION>();
        // SAFETY: `found` has room for `size` bytes.
        let filled = unsafe { VirtualQuery(self.start.as_ptr().cast(), &mut found, size) };
        if filled == 0 {
            return Err(io::Error::last_os_error());
        }
        let protection = if self.writable {
            PAGE_READWRITE
        } else {
            PAGE_READONLY
        };
        if found.State != MEM_COMMIT || found.Protect != protection {
            return Err(io::Error::other("the section is not committed memory"));
        }
        Ok(found.RegionSize)
    }

    /// A copy of its first page; `None` if it is smaller than that.
    pub(super) fn first_page(&self) -> Option<[u8; CONTROL_SIZE]> {
        let words = self.start.cast::<AtomicU64>();
        let mut page = [0; CONTROL_SIZE];
        if self.len < page.len() {
            return None;
        }
        for (index, bytes) in page.chunks_exact_mut(8).enumerate() {
            // SAFETY: within the mapping, which begins on a page; its owner stores by
            // atomics, and a Relaxed load is defined where only reading is allowed.
            let word = unsafe { words.add(index).as_ref() }.load(Ordering::Relaxed);
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        Some(page)
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of the region, all of which are mapped.
    pub(crate) fn size(&self) -> u64 {
        self.len as u64
    }

    /// All of the region, mapped for reading once more.
    pub(crate) fn whole(&self) -> Result<Memory, Error> {
        let section = self.section.try_clone();
        let mapped = section.and_then(Memory::map_for_reading);
        mapped.map_err(|error| Error::os("map the partner's shared memory", error))
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.writable
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let view = MEMORY_MAPPED_VIEW_ADDRESS {
            Value: self.start.as_ptr().cast(),
        };
        // SAFETY: exactly what `map` mapped, and nothing refers to it any more.
        // Failing is impossible for such an address, and could not be helped.
        let _ = unsafe { UnmapViewOfFile(view) };
    }
}

/// What this process may still commit: main memory and paging file.
pub(crate) fn available_memory() -> Option<u64> {
    let mut status = MEMORYSTATUSEX {
        dwLength: size_of::<MEMORYSTATUSEX>() as u32,
        ..MEMORYSTATUSEX::default()
    };
    // SAFETY: `status` is of the size that it says.
    let found = unsafe { GlobalMemoryStatusEx(&mut status) };
    // Wine says 0 now and then, when it could not find out.
    (found != 0)
        .then_some(status.ullAvailPageFile)
        .filter(|&available| available > 0)
}
