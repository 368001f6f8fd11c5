//! Regions of this user's processes, found through `/proc`.
//!
//! A process's mappings say which regions it alone can write. Its memory shows them, where this
//! one may look at it; the rest is found through its descriptors. What is opened once is looked up
//! from there, so that all that is found belongs to one process, however soon its number is used
//! again.

use std::collections::HashMap;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{CWD, Mode, OFlags, RawDir};
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use crate::error::Error;
use crate::region::layout::SHOWN;
use crate::sys::unix::users::User;

use super::mappings;

/// As the kernel shows a region's memfd.
const REGION_LINK: &[u8] = b"/memfd:brigade";

/// As many bytes of names as are asked for at once.
const NAMES_AT_ONCE: usize = 16 << 10;

/// As many bytes of the text of mappings as are asked for at once: the kernel gives a page of it.
const MAPS_AT_ONCE: usize = 4 << 10;

type Page = [u8; SHOWN];

pub(crate) fn observe(mut seen: impl FnMut(u32, &Page)) -> Result<(), Error> {
    // Where it is not mounted, an empty directory would say that there are no processes.
    let mounted = |error| Error::os("look at /proc/self (is /proc mounted?)", error);
    std::fs::symlink_metadata("/proc/self").map_err(mounted)?;
    let failed = |errno: Errno| Error::os("list the processes in /proc", errno);
    look_at_all(&mut seen).map_err(failed)
}

fn look_at_all(seen: &mut impl FnMut(u32, &Page)) -> Result<(), Errno> {
    let own = User::own().number();
    let mut looker = Looker::new(may_look_at_memory());
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
            true => looker.look(process_id, process.as_fd(), &mut |page| {
                seen(process_id, page)
            }),
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

/// Whether this process may look at others' memory. Yama (see
/// `Documentation/admin-guide/LSM/Yama.rst` of the kernel) writes a try that it refuses into the
/// kernel's log, so none is made. Processes need the same numbers in `/proc` as for that call.
fn may_look_at_memory() -> bool {
    let own = std::fs::read_link("/proc/self");
    if !own.is_ok_and(|own| number(own.as_os_str().as_bytes()) == Some(std::process::id())) {
        return false;
    }
    match std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope") {
        Ok(scope) if ["1", "2"].contains(&scope.trim()) => {
            let sets = rustix::thread::capabilities(None);
            sets.is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_PTRACE))
        }
        Ok(scope) => scope.trim() == "0",
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// The numbers of the files of regions, and where these are mapped.
type Regions = HashMap<u64, u64>;

/// Where processes are looked at, one after the other.
#[derive(Default)]
struct Looker {
    looks_at_memory: bool,
    /// For each mapping; or else the text of all of them is read.
    asks_for_mappings: bool,
    maps: Vec<u8>,
    /// Those that were not found yet.
    regions: Regions,
    pages: Vec<Page>,
}

impl Looker {
    fn new(looks_at_memory: bool) -> Looker {
        Looker {
            looks_at_memory,
            asks_for_mappings: true,
            ..Looker::default()
        }
    }

    /// Shows the regions that the process has mapped writable: it alone can.
    fn look(
        &mut self,
        process_id: u32,
        process: BorrowedFd<'_>,
        seen: &mut impl FnMut(&Page),
    ) -> Result<(), Errno> {
        let maps = open(process, c"maps", OFlags::empty())?;
        self.regions = self.mapped(maps.as_fd())?;
        if self.looks_at_memory && !self.regions.is_empty() {
            self.look_at_memory(process_id, maps.as_fd(), seen)?;
        }
        self.look_at_descriptors(process, seen)
    }

    /// Those regions that the process has mapped writable.
    fn mapped(&mut self, maps: BorrowedFd<'_>) -> Result<Regions, Errno> {
        if self.asks_for_mappings {
            match asked_for(maps) {
                Ok(found) => return Ok(found),
                // It has ended.
                Err(Errno::SRCH) => return Err(Errno::SRCH),
                // Before Linux 6.11, or something forbids it: the text says the same.
                Err(_) => self.asks_for_mappings = false,
            }
        }
        self.maps.clear();
        loop {
            let read = self.maps.len();
            self.maps.resize(read + MAPS_AT_ONCE, 0);
            let len = rustix::io::pread(maps, &mut self.maps[read..], read as u64)?;
            self.maps.truncate(read + len);
            if len == 0 {
                break;
            }
        }
        let lines = self.maps.split(|&byte| byte == b'\n');
        Ok(lines.filter_map(own_region).collect())
    }

    /// One call for many regions, and one or two more for each, where descriptors take nine. What it
    /// cannot show stays.
    fn look_at_memory(
        &mut self,
        process_id: u32,
        maps: BorrowedFd<'_>,
        seen: &mut impl FnMut(&Page),
    ) -> Result<(), Errno> {
        let regions: Vec<_> = self.regions.iter().map(|(&file, &at)| (file, at)).collect();
        let places: Vec<u64> = regions.iter().map(|&(_, place)| place).collect();
        self.pages.resize(places.len(), [0; SHOWN]);
        let read = match mappings::read(process_id, &places, &mut self.pages) {
            Ok(read) => read,
            Err(errno) => {
                let is_for_all = matches!(errno, Errno::PERM | Errno::NOSYS);
                self.looks_at_memory &= !is_for_all;
                return Ok(());
            }
        };
        // Only what was mapped there all the time was seen: something else may be there by now, or
        // another process have that number.
        let still = match self.asks_for_mappings {
            true => None,
            false => Some(self.mapped(maps)?),
        };
        for index in read {
            let (file, place) = regions[index];
            let is_still_there = match &still {
                Some(still) => still.get(&file) == Some(&place),
                None => match mappings::at(maps, place) {
                    Ok(found) => found.is_some_and(|found| {
                        (found.file, found.start, found.offset) == (file, place, 0)
                    }),
                    Err(Errno::SRCH) => return Err(Errno::SRCH),
                    // Descriptors will tell.
                    Err(_) => false,
                },
            };
            if is_still_there {
                self.regions.remove(&file);
                seen(&self.pages[index]);
            }
        }
        Ok(())
    }

    fn look_at_descriptors(
        &mut self,
        process: BorrowedFd<'_>,
        seen: &mut impl FnMut(&Page),
    ) -> Result<(), Errno> {
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
        if self
            .regions
            .remove(&rustix::fs::fstat(&file)?.st_ino)
            .is_none()
        {
            return Ok(None);
        }
        let mut page = [0; SHOWN];
        let len = rustix::io::pread(&file, &mut page, 0)?;
        Ok((len == page.len()).then_some(page))
    }
}

/// One after the other: those that are regions.
fn asked_for(maps: BorrowedFd<'_>) -> Result<Regions, Errno> {
    let (mut found, mut address) = (Regions::new(), 0);
    let mut name = [0; mappings::NAME_MAX];
    while let Some(mapping) = mappings::next(maps, address, &mut name)? {
        if mapping.offset == 0 && name.starts_with(REGION_LINK) {
            found.insert(mapping.file, mapping.start);
        }
        address = mapping.end;
    }
    Ok(found)
}

/// The number of the file and where it is mapped, if `mapping` is of a region's beginning and
/// writable.
fn own_region(mapping: &[u8]) -> Option<(u64, u64)> {
    // Addresses, access, offset, device, number of the file, its name: proc_pid_maps(5).
    let words = mapping.split(|&byte| byte == b' ');
    let mut words = words.filter(|word| !word.is_empty());
    let mut next = || words.next();
    let [addresses, access, offset, _, file, name] =
        [next()?, next()?, next()?, next()?, next()?, next()?];
    let is_own = access == b"rw-s" && number(offset) == Some(0) && name.starts_with(REGION_LINK);
    let start = addresses.split(|&byte| byte == b'-').next()?;
    let start = u64::from_str_radix(str::from_utf8(start).ok()?, 16);
    is_own.then_some((number(file)?, start.ok()?))
}

fn number<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    str::from_utf8(text).ok()?.parse().ok()
}

fn open(directory: impl AsFd, name: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY;
    rustix::fs::openat(directory, name, flags, Mode::empty())
}

#[cfg(all(test, not(loom)))]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::region::layout::{Control, GREETING_MAX};
    use crate::{Options, Seat};

    /// A seat that can be told from others, and its greeting.
    fn seat() -> (tempfile::TempDir, Seat, String) {
        let directory = tempfile::tempdir().unwrap();
        let name = format!("{}/n", directory.path().display());
        let seat = Seat::take(&name, &Options::new().greeting(name.as_bytes())).unwrap();
        (directory, seat, name)
    }

    /// This process.
    struct Here {
        process: OwnedFd,
        maps: OwnedFd,
    }

    fn here() -> Here {
        let process = open(CWD, c"/proc/self", OFlags::PATH | OFlags::DIRECTORY).unwrap();
        let maps = open(&process, c"maps", OFlags::empty()).unwrap();
        Here { process, maps }
    }

    impl Here {
        fn mapped(&self, looker: &mut Looker) -> Regions {
            looker.mapped(self.maps.as_fd()).unwrap()
        }

        fn in_memory(&self, looker: &mut Looker, mut seen: impl FnMut(&Page)) {
            let own = std::process::id();
            looker
                .look_at_memory(own, self.maps.as_fd(), &mut seen)
                .unwrap();
        }

        fn by_descriptors(
            &self,
            looker: &mut Looker,
            mut seen: impl FnMut(&Page),
        ) -> Result<(), Errno> {
            looker.look_at_descriptors(self.process.as_fd(), &mut seen)
        }
    }

    fn greets(page: &Page, greeting: &str) -> bool {
        let place = std::mem::offset_of!(Control<crate::region::access::Theirs>, greeting);
        page[place..][..GREETING_MAX].starts_with(greeting.as_bytes())
    }

    #[test]
    fn however_it_is_looked_for_a_region_is_found_once() {
        let (_directory, _seat, name) = seat();
        let here = here();
        let mut looker = Looker::new(true);
        for asks_for_mappings in [true, false] {
            looker.asks_for_mappings = asks_for_mappings;
            let mut found = [0; 2];
            let regions = here.mapped(&mut looker);
            looker.regions.clone_from(&regions);
            here.in_memory(&mut looker, |page| {
                found[0] += usize::from(greets(page, &name))
            });
            assert!(looker.regions.len() < regions.len());
            looker.regions = regions;
            let seen = |page: &Page| found[1] += usize::from(greets(page, &name));
            here.by_descriptors(&mut looker, seen).unwrap();
            assert_eq!(found, [1, 1]);
        }
    }

    /// The process goes on while it is looked at.
    #[test]
    fn what_is_mapped_elsewhere_by_now_is_left_to_descriptors() {
        let (_directory, _seat, name) = seat();
        let (_another_directory, _another_seat, _) = seat();
        let here = here();
        let mut looker = Looker::new(true);
        let regions = here.mapped(&mut looker);
        let places: Vec<u64> = regions.values().copied().collect();
        for (file, place) in &regions {
            for wrong in places.iter().filter(|other| *other != place) {
                looker.regions = Regions::from([(*file, *wrong)]);
                here.in_memory(&mut looker, |_| panic!("another region's page was shown"));
                assert!(looker.regions.contains_key(file));
            }
        }
        // In the middle of the same one.
        looker.regions = regions
            .iter()
            .map(|(file, at)| (*file, at + 4096))
            .collect();
        here.in_memory(&mut looker, |_| {
            panic!("what is no region's beginning was shown")
        });
        assert_eq!(looker.regions.len(), regions.len());
        let mut is_found = false;
        looker.regions = regions.keys().map(|file| (*file, 0)).collect();
        here.in_memory(&mut looker, |_| panic!("there is nothing at 0"));
        here.by_descriptors(&mut looker, |page| is_found |= greets(page, &name))
            .unwrap();
        assert!(is_found);
    }

    /// Of the process that is looked at, or of another one of this user: they go on meanwhile.
    #[test]
    fn a_descriptor_that_becomes_another_one_during_the_look_is_left_out() {
        use rustix::fs::{MemfdFlags, memfd_create};
        use rustix::io::{dup, dup2};

        // Like a region, and before those of the session, so that all of them are looked at.
        let region = memfd_create("brigade", MemfdFlags::CLOEXEC).unwrap();
        let (socket, _other) = UnixStream::pair().unwrap();
        let mut changing = dup(&region).unwrap();
        let (_directory, _seat, name) = seat();
        let here = here();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    dup2(&socket, &mut changing).unwrap();
                    dup2(&region, &mut changing).unwrap();
                }
            });
            let looks: Vec<_> = (0..300)
                .map(|_| {
                    let (mut looker, mut found) = (Looker::new(false), 0);
                    looker.regions = here.mapped(&mut looker);
                    let seen = |page: &Page| found += usize::from(greets(page, &name));
                    here.by_descriptors(&mut looker, seen).map(|()| found)
                })
                .collect();
            is_over.store(true, Ordering::Relaxed);
            for look in looks {
                assert_eq!(look, Ok(1));
            }
        });
    }
}
