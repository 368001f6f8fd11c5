//! What other processes have mapped, and what is there.
#![expect(unsafe_code, reason = "two calls that rustix lacks")]

use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// `struct procmap_query` of `linux/fs.h`.
#[repr(C)]
#[derive(Default)]
struct Query {
    size: u64,
    flags: u64,
    address: u64,
    start: u64,
    end: u64,
    found_flags: u64,
    page_size: u64,
    offset: u64,
    inode: u64,
    device_major: u32,
    device_minor: u32,
    name_size: u32,
    build_id_size: u32,
    name: u64,
    build_id: u64,
}

/// `PROCMAP_QUERY`: `_IOWR('f', 17, struct procmap_query)`.
const QUERY: u64 = 3 << 30 | (size_of::<Query>() as u64) << 16 | (b'f' as u64) << 8 | 17;

const WRITABLE: u64 = 0x02;
const SHARED: u64 = 0x08;
/// Where there is none, the next one.
const OR_NEXT: u64 = 0x10;
const OF_A_FILE: u64 = 0x20;

/// Longest name that is told, with the zero at its end.
const NAME_MAX: usize = 32;

/// A part of a file that a process has mapped.
pub(super) struct Mapping {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Where in the file it begins.
    pub(super) offset: u64,
    /// The number of the file.
    pub(super) file: u64,
    /// Its name, and zeros; only these if it is longer.
    pub(super) name: [u8; NAME_MAX],
}

/// The first mapping of a file, shared and writable, that does not end before `address`. `maps`
/// is that file of a process.
///
/// # Errors
///
/// [`Errno::NOTTY`] before Linux 6.11.
pub(super) fn writable(maps: BorrowedFd<'_>, address: u64) -> Result<Option<Mapping>, Errno> {
    let mut name = [0; NAME_MAX];
    let asked = match ask(maps, address, &mut name) {
        Err(Errno::NAMETOOLONG) => ask(maps, address, &mut []),
        asked => asked,
    };
    match asked {
        Ok(found) => Ok(Some(Mapping {
            start: found.start,
            end: found.end,
            offset: found.offset,
            file: found.inode,
            name,
        })),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// The name comes into `name`, if that is not empty.
fn ask(maps: BorrowedFd<'_>, address: u64, name: &mut [u8]) -> Result<Query, Errno> {
    let mut query = Query {
        size: size_of::<Query>() as u64,
        flags: WRITABLE | SHARED | OR_NEXT | OF_A_FILE,
        address,
        ..Query::default()
    };
    if !name.is_empty() {
        query.name = name.as_mut_ptr() as u64;
        query.name_size = u32::try_from(name.len()).unwrap_or(u32::MAX);
    }
    // SAFETY: the structure is the kernel's, with its size in it and that of `name`, which is
    // borrowed for this.
    match unsafe { libc::ioctl(maps.as_raw_fd(), QUERY as _, &raw mut query) } {
        0 => Ok(query),
        _ => Err(last_error()),
    }
}

/// As many places as one call takes: `IOV_MAX`.
const AT_ONCE: usize = 1024;

/// Copies what a process has at each of `places`; returns how many could be read, before one that
/// could not. The number is one of this process's own namespace.
pub(super) fn read<const LEN: usize>(
    process_id: u32,
    places: &[u64],
    copies: &mut [[u8; LEN]],
) -> usize {
    let mut done = 0;
    for (places, copies) in places.chunks(AT_ONCE).zip(copies.chunks_mut(AT_ONCE)) {
        let part = |start: *mut libc::c_void| libc::iovec {
            iov_base: start,
            iov_len: LEN,
        };
        let there: Vec<_> = places
            .iter()
            .map(|&place| part(place as usize as *mut _))
            .collect();
        let here: Vec<_> = copies
            .iter_mut()
            .map(|copy| part(copy.as_mut_ptr().cast()))
            .collect();
        let (here_len, there_len) = (here.len() as libc::c_ulong, there.len() as libc::c_ulong);
        // SAFETY: `here` is of memory that is borrowed for this; `there` is of another process, in
        // which the kernel only reads.
        let read = unsafe {
            libc::process_vm_readv(
                process_id.cast_signed(),
                here.as_ptr(),
                here_len,
                there.as_ptr(),
                there_len,
                0,
            )
        };
        // What is less than nothing is an error: none of these.
        let whole = usize::try_from(read).unwrap_or(0) / LEN;
        done += whole;
        if whole < places.len() {
            break;
        }
    }
    done
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
