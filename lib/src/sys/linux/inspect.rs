//! Regions of this user's processes, found through `/proc`.
//!
//! A process's mappings say which regions it alone can write, and its descriptors lead to
//! them. What is opened once is looked up from there, so that all that is found belongs to
//! one process, however soon its number is used again.

use std::collections::HashSet;
use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, RawDir};
use rustix::io::Errno;

use crate::error::Error;
use crate::region::layout::CONTROL_SIZE;
use crate::sys::unix::users::User;

/// As the kernel shows a region's memfd.
const REGION_LINK: &[u8] = b"/memfd:brigade";

/// As many bytes of names as are asked for at once.
const NAMES_AT_ONCE: usize = 16 << 10;

type Page = [u8; CONTROL_SIZE];

pub(crate) fn observe(mut seen: impl FnMut(u32, &Page)) -> Result<(), Error> {
    // Where it is not mounted, an empty directory would say that there are no processes.
    let mounted = |error| Error::os("look at /proc/self (is /proc mounted?)", error);
    std::fs::symlink_metadata("/proc/self").map_err(mounted)?;
    let failed = |errno: Errno| Error::os("list the processes in /proc", errno);
    look_at_all(&mut seen).map_err(failed)
}

fn look_at_all(seen: &mut impl FnMut(u32, &Page)) -> Result<(), Errno> {
    let own = User::own().number();
    let mut looker = Looker::default();
    let mut names = [MaybeUninit::uninit(); NAMES_AT_ONCE];
    let processes = open(CWD, c"/proc", OFlags::DIRECTORY)?;
    let mut entries = RawDir::new(&processes, &mut names);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let Some(process_id) = number(entry.file_name().to_bytes()) else {
            continue;
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let Some(process) = unless_unseen(open(&processes, entry.file_name(), flags))? else {
            continue;
        };
        let looked = rustix::fs::fstat(&process).and_then(|facts| match facts.st_uid == own {
            true => looker.look(process.as_fd(), &mut |page| seen(process_id, page)),
            false => Ok(()),
        });
        unless_unseen(looked)?;
    }
    Ok(())
}

/// `None` of a process that has ended, of a descriptor that it has closed, and of what it
/// shows to nobody. Any other error does not say that there is nothing.
fn unless_unseen<T>(looked: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match looked {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::SRCH | Errno::ACCESS | Errno::PERM) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Where processes are looked at, one after the other.
#[derive(Default)]
struct Looker {
    maps: Vec<u8>,
    /// The numbers of the files of the regions that were not found yet.
    regions: HashSet<u64>,
}

impl Looker {
    /// Shows the regions that the process has mapped writable: it alone can.
    fn look(&mut self, process: BorrowedFd<'_>, seen: &mut impl FnMut(&Page)) -> Result<(), Errno> {
        self.maps.clear();
        let mut maps = File::from(open(process, c"maps", OFlags::empty())?);
        let read = maps.read_to_end(&mut self.maps);
        read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        self.regions.clear();
        let lines = self.maps.split(|&byte| byte == b'\n');
        self.regions.extend(lines.filter_map(own_region));
        if self.regions.is_empty() {
            return Ok(());
        }
        let descriptors = open(process, c"fd", OFlags::DIRECTORY)?;
        let mut names = [MaybeUninit::uninit(); NAMES_AT_ONCE];
        let mut entries = RawDir::new(&descriptors, &mut names);
        while !self.regions.is_empty()
            && let Some(entry) = entries.next()
        {
            let entry = entry?;
            let name = entry.file_name();
            // The directory itself, and what is above it.
            if name.to_bytes().starts_with(b".") {
                continue;
            }
            let found = self.first_page(descriptors.as_fd(), name);
            if let Some(Some(page)) = unless_unseen(found)? {
                seen(&page);
            }
        }
        Ok(())
    }

    /// `None` if it is none of the regions that were not found yet.
    fn first_page(
        &mut self,
        descriptors: BorrowedFd<'_>,
        name: &CStr,
    ) -> Result<Option<Page>, Errno> {
        let mut target = [0; REGION_LINK.len()];
        rustix::fs::readlinkat_raw(descriptors, name, &mut target)?;
        if target != REGION_LINK {
            return Ok(None);
        }
        let file = match open(descriptors, name, OFlags::NONBLOCK) {
            // The number of a socket or a doorbell by now, which cannot be opened: open(2).
            Err(Errno::NXIO) => return Ok(None),
            opened => opened?,
        };
        if !self.regions.remove(&rustix::fs::fstat(&file)?.st_ino) {
            return Ok(None);
        }
        let mut page = [0; CONTROL_SIZE];
        let len = rustix::io::pread(&file, &mut page, 0)?;
        Ok((len == page.len()).then_some(page))
    }
}

/// The number of the file, if `mapping` is of a region and writable.
fn own_region(mapping: &[u8]) -> Option<u64> {
    // Address, access, offset, device, number of the file, its name: proc_pid_maps(5).
    let words = mapping.split(|&byte| byte == b' ');
    let mut words = words.filter(|word| !word.is_empty()).skip(1);
    let is_shared = words.next()? == b"rw-s";
    let file = words.nth(2)?;
    let is_own = is_shared && words.next()?.starts_with(REGION_LINK);
    is_own.then(|| number(file))?
}

fn number<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    str::from_utf8(text).ok()?.parse().ok()
}

fn open(directory: impl AsFd, name: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY;
    rustix::fs::openat(directory, name, flags, Mode::empty())
}
