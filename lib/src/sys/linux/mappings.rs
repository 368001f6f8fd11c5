//! What other processes have mapped, and what is there.
#![expect(unsafe_code, reason = "an ioctl, and a call that rustix lacks")]

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

/// Room for any name, and the zero at its end.
pub(super) const NAME_MAX: usize = 4096;

/// A part of a file that a process has mapped.
pub(super) struct Mapping {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Where in the file it begins.
    pub(super) offset: u64,
    /// The number of the file.
    pub(super) file: u64,
}

/// The first mapping of a file, shared and writable, that ends after `address`; its name comes into
/// `name`, with a zero at the end. `maps` is that file of a process.
///
/// # Errors
///
/// [`Errno::NOTTY`] before Linux 6.11.
pub(super) fn next(
    maps: BorrowedFd<'_>,
    address: u64,
    name: &mut [u8; NAME_MAX],
) -> Result<Option<Mapping>, Errno> {
    ask(maps, OR_NEXT, address, Some(name))
}

/// Such a mapping, if it has `address` in it. It takes less time than [`next`], as nobody asks for
/// its name.
///
/// # Errors
///
/// As [`next`].
pub(super) fn at(maps: BorrowedFd<'_>, address: u64) -> Result<Option<Mapping>, Errno> {
    ask(maps, 0, address, None)
}

fn ask(
    maps: BorrowedFd<'_>,
    flags: u64,
    address: u64,
    name: Option<&mut [u8; NAME_MAX]>,
) -> Result<Option<Mapping>, Errno> {
    let mut query = Query {
        size: size_of::<Query>() as u64,
        flags: flags | WRITABLE | SHARED | OF_A_FILE,
        address,
        ..Query::default()
    };
    if let Some(name) = name {
        name[0] = 0;
        query.name_size = NAME_MAX as u32;
        query.name = name.as_mut_ptr() as u64;
    }
    // SAFETY: the structure is the kernel's, with its size in it, and that of what is to be written
    // elsewhere: nothing, or `name`, which is borrowed for this.
    if unsafe { libc::ioctl(maps.as_raw_fd(), QUERY as _, &raw mut query) } == 0 {
        return Ok(Some(Mapping {
            start: query.start,
            end: query.end,
            offset: query.offset,
            file: query.inode,
        }));
    }
    match last_error() {
        Errno::NOENT => Ok(None),
        errno => Err(errno),
    }
}

/// As many places as one call takes: `IOV_MAX`.
const AT_ONCE: usize = 1024;

/// Copies what a process has at each of `places`; returns which of them could be read. The number is
/// one of this process's own namespace.
pub(super) fn read<const LEN: usize>(
    process_id: u32,
    places: &[u64],
    copies: &mut [[u8; LEN]],
) -> Result<Vec<usize>, Errno> {
    let (mut read, mut next) = (Vec::new(), 0);
    while next < places.len() {
        let end = places.len().min(next + AT_ONCE);
        let some = match read_some(process_id, &places[next..end], &mut copies[next..end]) {
            Err(Errno::FAULT) => 0,
            some => some?,
        };
        read.extend(next..next + some);
        // At the next place there is nothing any more, if there is one.
        next += some + 1;
    }
    Ok(read)
}

/// As many as there are before the first that cannot be read, unless that is the first.
fn read_some<const LEN: usize>(
    process_id: u32,
    places: &[u64],
    copies: &mut [[u8; LEN]],
) -> Result<usize, Errno> {
    let part = |start: *mut libc::c_void| libc::iovec {
        iov_base: start,
        iov_len: LEN,
    };
    let there: Vec<_> = places
        .iter()
        // What has no address in this process has none that it can name.
        .map(|&place| part(usize::try_from(place).unwrap_or(0) as *mut _))
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
    usize::try_from(read)
        .map(|read| read / LEN)
        .map_err(|_| last_error())
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
