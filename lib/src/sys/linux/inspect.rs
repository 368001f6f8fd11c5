//! Regions of this user's processes, found through `/proc`.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::memory::{Memory, SEALS};
use crate::error::Error;
use crate::region::layout::CONTROL_SIZE;
use crate::sys::unix::users::User;

/// As the kernel shows a region's memfd.
const REGION_LINK: &str = "/memfd:brigade";

pub(crate) fn observe() -> Result<Vec<(u32, Memory)>, Error> {
    let failed = |error| Error::os("list the processes in /proc", error);
    // Where it is not mounted, an empty directory would say that there are no processes.
    let mounted = |error| Error::os("look at /proc/self (is /proc mounted?)", error);
    std::fs::symlink_metadata("/proc/self").map_err(mounted)?;
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok());
        let is_own = || std::fs::metadata(&path).is_ok_and(|m| m.uid() == User::own().number());
        if let Some(process_id) = number
            && is_own()
        {
            let regions = match own_regions(&path) {
                Err(error) if is_own_limit(&error) => return Err(failed(error)),
                // One that ends meanwhile, or shows itself to nobody, is none.
                regions => regions.unwrap_or_default(),
            };
            found.extend(regions.into_iter().map(|memory| (process_id, memory)));
        }
    }
    Ok(found)
}

/// Whether it says nothing of the process that was looked at, but of this one.
fn is_own_limit(error: &std::io::Error) -> bool {
    let own = [Errno::MFILE, Errno::NFILE, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|error| own.contains(&error))
}

/// The regions that the process at `path` has mapped writable: it alone can.
fn own_regions(path: &Path) -> std::io::Result<Vec<Memory>> {
    let maps = std::fs::read_to_string(path.join("maps"))?;
    // Address, access, offset, device, number of the file, its name: proc_pid_maps(5).
    let files: Vec<u64> = maps
        .lines()
        .filter(|line| line.contains(REGION_LINK))
        .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>())
        .filter(|words| words.get(1) == Some(&"rw-s"))
        .filter_map(|words| words.get(4)?.parse().ok())
        .collect();
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let mut regions = Vec::new();
    for entry in std::fs::read_dir(path.join("fd"))? {
        let link = entry?.path();
        let is_region = std::fs::read_link(&link).is_ok_and(|target| {
            target
                .as_os_str()
                .as_encoded_bytes()
                .starts_with(REGION_LINK.as_bytes())
        });
        if is_region {
            match open_first_page(&link, &files).map_err(std::io::Error::from) {
                Ok(memory) => regions.push(memory),
                Err(error) if is_own_limit(&error) => return Err(error),
                Err(_) => {}
            }
        }
    }
    Ok(regions)
}

fn open_first_page(link: &Path, files: &[u64]) -> Result<Memory, Errno> {
    let file = rustix::fs::open(link, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::fstat(&file)?;
    // Of fixed size, so that it can be looked at in peace.
    let is_sealed = rustix::fs::fcntl_get_seals(&file)?.contains(SEALS);
    if !files.contains(&stat.st_ino) || !is_sealed || stat.st_size < CONTROL_SIZE as i64 {
        return Err(Errno::NOENT);
    }
    Memory::first_page(file, stat.st_size as u64)
}
