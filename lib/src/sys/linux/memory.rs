//! Regions: `memfd_create`, allocated, sealed.
#![expect(unsafe_code, reason = "mmap and munmap")]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use super::limits;
use crate::error::Error;
use crate::region::layout::CONTROL_SIZE;
use crate::sys::unix::discard::Stranger;

/// A mapped region.
pub(crate) struct Memory {
    start: NonNull<u8>,
    len: usize,
    writable: bool,
    /// Bytes of the region, of which `len` are mapped.
    size: u64,
    /// For others to look at, or until all of it is mapped.
    file: Option<OwnedFd>,
}

// SAFETY: it is an address range; what may be done there from which thread is
// decided where references are made, in `crate::region`.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

/// What the owner lets nobody do: resize the region (an access beyond its end
/// would kill the process), map it writable or write to it anew (the owner's own
/// mapping stays), or lift any of this.
pub(in crate::sys) const SEALS: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::FUTURE_WRITE)
    .union(SealFlags::SEAL);

/// What the file system of huge pages is known by.
const HUGETLBFS_MAGIC: u32 = 0x9584_58f6;

impl Memory {
    pub(crate) fn create(size: u64) -> Result<Memory, Error> {
        let failed = |what: &str| {
            let operation = format!("{what} {size} bytes of shared memory");
            move |errno: Errno| limits::failed(operation, errno)
        };
        limits::check_file_size(size)?;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // Since Linux 6.3, which may be set up to demand it.
        let file = rustix::fs::memfd_create(c"brigade", flags | MemfdFlags::NOEXEC_SEAL)
            .or_else(|_| rustix::fs::memfd_create(c"brigade", flags))
            .map_err(failed("create"))?;
        // Allocated now: running out of memory later would be a SIGBUS.
        rustix::fs::ftruncate(&file, size).map_err(failed("size"))?;
        rustix::io::retry_on_intr(|| {
            rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, size)
        })
        .map_err(failed("allocate"))?;
        let mut memory = Memory::map(&file, size, size, true).map_err(failed("map"))?;
        rustix::fs::fcntl_add_seals(&file, SEALS).map_err(|errno| match errno {
            Errno::INVAL => Error::Unsupported {
                needed: "seal shared memory against a partner's writes \
                         (F_SEAL_FUTURE_WRITE, since Linux 5.1)",
                source: errno.into(),
            },
            errno => failed("seal")(errno),
        })?;
        memory.file = Some(file);
        Ok(memory)
    }

    /// Another process's region, which must be sealed as ours is: its first page, until
    /// [`Memory::whole`].
    ///
    /// All of it must be allocated: to look at what is not would allocate it here, and at
    /// this process's expense.
    pub(in crate::sys) fn open(file: Stranger) -> Result<Memory, &'static str> {
        let seals = rustix::fs::fcntl_get_seals(&file).map_err(|_| "its region is no memfd")?;
        let file = file.into_known();
        if !seals.contains(SEALS) {
            return Err("its region is not sealed");
        }
        // Of huge pages less than one can be mapped, but not unmapped.
        match rustix::fs::fstatfs(&file) {
            Ok(of) if of.f_type as u32 != HUGETLBFS_MAGIC => {}
            _ => return Err("its region is not of plain pages"),
        }
        let stat = rustix::fs::fstat(&file).map_err(|_| "its region has no size")?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if size < CONTROL_SIZE as u64 {
            return Err("its region is too small");
        }
        let allocated = u64::try_from(stat.st_blocks)
            .unwrap_or(0)
            .saturating_mul(512);
        if allocated < size {
            return Err("its region is not allocated");
        }
        Memory::first_page(file, size).map_err(|_| "its region cannot be mapped")
    }

    /// The first page of a region that somebody else wrote, to be looked at.
    pub(in crate::sys) fn first_page(file: OwnedFd, size: u64) -> Result<Memory, Errno> {
        let mut memory = Memory::map(&file, size, CONTROL_SIZE as u64, false)?;
        memory.file = Some(file);
        Ok(memory)
    }

    /// All of the region, of which this is the first page only. It needs no descriptor.
    pub(crate) fn whole(&self) -> Result<Memory, Error> {
        let size = self.size;
        let mapped = self
            .file()
            .and_then(|file| Memory::map(file, size, size, false));
        mapped.map_err(|errno| {
            let operation = format!("map {size} bytes of the partner's shared memory");
            limits::failed(operation, errno)
        })
    }

    fn map(file: impl AsFd, size: u64, len: u64, writable: bool) -> Result<Memory, Errno> {
        let len = usize::try_from(len).map_err(|_| Errno::NOMEM)?;
        let protection = if writable {
            ProtFlags::READ | ProtFlags::WRITE
        } else {
            ProtFlags::READ
        };
        // Page by page, when first used: to populate all at once takes as long if all is
        // used, and the milliseconds of a whole pool if one block is.
        let flags = MapFlags::SHARED;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { rustix::mm::mmap(ptr::null_mut(), len, protection, flags, file, 0)? };
        Ok(Memory {
            start: NonNull::new(start.cast()).ok_or(Errno::NOMEM)?,
            len,
            writable,
            size,
            file: None,
        })
    }

    pub(in crate::sys) fn file(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.file.as_ref().map(AsFd::as_fd).ok_or(Errno::BADF)
    }

    /// Bytes of the region, whether they are mapped or not.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.writable
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: exactly what `map` mapped, and nothing refers to it any more.
        // Failing is impossible for such arguments, and could not be helped.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

#[cfg(all(test, not(loom)))]
#[allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it"
)]
mod tests {
    use super::*;

    /// Bytes of `memory` that this process has mapped (proc_pid_smaps(5)).
    fn mapped_bytes(memory: &Memory) -> u64 {
        let map = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let start = format!("{:08x}-", memory.start().addr());
        let mut lines = map.lines().skip_while(|line| !line.starts_with(&start));
        let kib = lines.find_map(|line| line.strip_prefix("Rss:"));
        let kib = kib.unwrap().trim().strip_suffix(" kB").unwrap();
        kib.parse::<u64>().unwrap() * 1024
    }

    #[test]
    fn all_of_a_region_is_allocated_and_only_what_is_used_of_it_is_mapped() {
        const SIZE: u64 = 4 << 20;
        let memory = Memory::create(SIZE).unwrap();
        let stat = rustix::fs::fstat(memory.file().unwrap()).unwrap();
        assert!(stat.st_blocks as u64 * 512 >= SIZE);
        assert_eq!(mapped_bytes(&memory), 0);
        // SAFETY: the first byte of a region that is this test's own.
        unsafe { memory.start().write(1) };
        assert!((1..SIZE).contains(&mapped_bytes(&memory)));
        let theirs = memory.whole().unwrap();
        assert_eq!(mapped_bytes(&theirs), 0);
    }
}
