//! Regions: `memfd_create`, allocated, sealed.
#![expect(unsafe_code, reason = "mmap and munmap")]

use std::os::fd::OwnedFd;
use std::path::Path;
use std::ptr::{self, NonNull};

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use crate::error::Error;
use crate::region::layout::CONTROL_SIZE;

/// A mapped region.
pub(crate) struct Memory {
    start: NonNull<u8>,
    len: usize,
    writable: bool,
    pub(in crate::sys) file: OwnedFd,
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

impl Memory {
    pub(crate) fn create(size: u64) -> Result<Memory, Error> {
        let failed = |what: &str| {
            let operation = format!("{what} {size} bytes of shared memory");
            move |errno: Errno| Error::os(operation, errno)
        };
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
        let memory = Memory::map(file, size, true).map_err(failed("map"))?;
        rustix::fs::fcntl_add_seals(&memory.file, SEALS).map_err(|errno| match errno {
            Errno::INVAL => Error::Unsupported {
                needed: "seal shared memory against a partner's writes \
                         (F_SEAL_FUTURE_WRITE, since Linux 5.1)",
                source: errno.into(),
            },
            errno => failed("seal")(errno),
        })?;
        Ok(memory)
    }

    /// The partner's region, which must be sealed as ours is.
    pub(in crate::sys) fn open(file: OwnedFd) -> Result<Memory, &'static str> {
        let seals = rustix::fs::fcntl_get_seals(&file).map_err(|_| "its region is no memfd")?;
        if !seals.contains(SEALS) {
            return Err("its region is not sealed");
        }
        let stat = rustix::fs::fstat(&file).map_err(|_| "its region has no size")?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if size < CONTROL_SIZE as u64 {
            return Err("its region is too small");
        }
        Memory::map(file, size, false).map_err(|_| "its region cannot be mapped")
    }

    pub(in crate::sys) fn map(file: OwnedFd, size: u64, writable: bool) -> Result<Memory, Errno> {
        let len = usize::try_from(size).map_err(|_| Errno::NOMEM)?;
        let protection = if writable {
            ProtFlags::READ | ProtFlags::WRITE
        } else {
            ProtFlags::READ
        };
        // Populated at once: one fault for each page, on the way of the data,
        // costs several times as much.
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { rustix::mm::mmap(ptr::null_mut(), len, protection, flags, &file, 0)? };
        Ok(Memory {
            start: NonNull::new(start.cast()).ok_or(Errno::NOMEM)?,
            len,
            writable,
            file,
        })
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

/// `MemAvailable` of the machine, or what this process's control group still
/// allows, whichever is less.
pub(crate) fn available_memory() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("MemAvailable:"))?;
            let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
            Some(kib * 1024)
        });
    let group = std::fs::read_to_string("/proc/self/cgroup")
        .ok()
        .and_then(|text| {
            let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
            let directory = Path::new("/sys/fs/cgroup").join(path);
            let number = |file: &str| -> Option<u64> {
                let text = std::fs::read_to_string(directory.join(file)).ok()?;
                text.trim().parse().ok()
            };
            // Cached files count as used, but make room when asked to.
            let stat = std::fs::read_to_string(directory.join("memory.stat")).ok()?;
            let cached = stat.lines().filter_map(|line| {
                let (key, value) = line.split_once(' ')?;
                let is_file = matches!(key, "active_file" | "inactive_file");
                value.parse::<u64>().ok().filter(|_| is_file)
            });
            let used = number("memory.current")?.saturating_sub(cached.sum());
            Some(number("memory.max")?.saturating_sub(used))
        });
    machine.into_iter().chain(group).min()
}
