//! What is asked of a destination.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

pub(crate) fn open_to_write(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(path)
}

pub(crate) fn open_partial(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits() as i32)
        .open(path)
}

pub(crate) fn handle_for_syncing(file: &File) -> io::Result<File> {
    file.try_clone()
}

/// What is skipped is a hole on every file system that has them.
pub(crate) fn expect_holes(_file: &File) {}

pub(crate) fn memory_bytes() -> Option<u64> {
    let system = rustix::system::sysinfo();
    Some(system.totalram * u64::from(system.mem_unit))
}

pub(crate) fn forget_cached(file: &File, offset: u64, len: Option<u64>) {
    let len = len.and_then(std::num::NonZeroU64::new);
    let _ = rustix::fs::fadvise(file, offset, len, rustix::fs::Advice::DontNeed);
}

pub(crate) fn replace(from: &Path, to: &Path, _durably: bool) -> io::Result<()> {
    std::fs::rename(from, to)
}

pub(crate) fn rename_new(from: &Path, to: &Path, _durably: bool) -> io::Result<()> {
    use rustix::io::Errno;
    let flags = rustix::fs::RenameFlags::NOREPLACE;
    match rustix::fs::renameat_with(rustix::fs::CWD, from, rustix::fs::CWD, to, flags) {
        // Not every file system can; but a second name never takes another's place.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            std::fs::hard_link(from, to)?;
            std::fs::remove_file(from)
        }
        renamed => Ok(renamed?),
    }
}

pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    match File::open(path).and_then(|directory| directory.sync_all()) {
        // Some file systems cannot, and say so; then there is nothing to do.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

/// Files can be opened, renamed and removed by all at once.
pub(crate) fn is_in_use(_error: &io::Error) -> bool {
    false
}
