//! What a name led to when it was looked at: that file, whatever becomes of the name.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::super::Facts;
use super::attributes::Access;
use super::directory::*;
use super::facts::facts;

/// What a name led to when it was looked at, held open. It stays that file, whatever
/// becomes of the name.
#[derive(Debug)]
pub(crate) struct Held {
    pub(super) file: File,
    pub(crate) facts: Facts,
    /// Where it was found; `None` for what has no name (a pipe in /proc/self/fd).
    entry: Option<Entry>,
}

impl Held {
    pub(super) fn new(file: OwnedFd, entry: Option<Entry>) -> io::Result<Held> {
        let file = File::from(file);
        let facts = facts(&file)?;
        Ok(Held { file, facts, entry })
    }

    /// Who may do what with the file, and what else it has beside its data, as it is now.
    pub(crate) fn access(&self) -> io::Result<Access> {
        match Access::of_file(&self.file) {
            // No /proc here; but what is open for reading or writing is shown.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                let opened = match self.open_to_read() {
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        self.open_to_write()?
                    }
                    opened => opened?,
                };
                Access::of_file(&opened)
            }
            access => access,
        }
    }

    /// The same file, as it is now.
    pub(crate) fn facts_now(&self) -> io::Result<Facts> {
        facts(&self.file)
    }

    pub(crate) fn open_to_read(&self) -> io::Result<File> {
        self.open(OFlags::RDONLY)
    }

    pub(crate) fn open_to_write(&self) -> io::Result<File> {
        self.open(OFlags::WRONLY)
    }

    pub(crate) fn open_to_read_and_write(&self) -> io::Result<File> {
        self.open(OFlags::RDWR)
    }

    pub(crate) fn open_disk_alone(&self) -> io::Result<File> {
        self.open(OFlags::WRONLY | OFlags::EXCL)
    }

    pub(crate) fn may_write(&self) -> io::Result<()> {
        use rustix::fs::Access;
        let flags = AtFlags::EMPTY_PATH | AtFlags::EACCESS;
        match rustix::fs::accessat(&self.file, "", Access::WRITE_OK, flags) {
            // Before Linux 5.8; and what has no name is asked by opening it.
            Err(Errno::NOSYS | Errno::INVAL) => self.may_write_by_name(),
            may => Ok(may?),
        }
    }

    fn may_write_by_name(&self) -> io::Result<()> {
        use rustix::fs::Access;
        let Some(entry) = &self.entry else {
            return Ok(());
        };
        let (directory, flags) = (&entry.directory.0, AtFlags::EACCESS);
        Ok(rustix::fs::accessat(
            directory,
            &entry.name,
            Access::WRITE_OK,
            flags,
        )?)
    }

    /// Opens this very file, which a name may not lead to any more.
    fn open(&self, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY;
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(file) => Ok(file.into()),
            // No /proc here.
            Err(Errno::NOENT) => self.open_by_name(flags),
            Err(errno) => Err(errno.into()),
        }
    }

    pub(super) fn open_by_name(&self, flags: OFlags) -> io::Result<File> {
        let Some(entry) = &self.entry else {
            return Err(Errno::NOENT.into());
        };
        let file = File::from(entry.open(flags | OFlags::NOFOLLOW, Mode::empty())?);
        if facts(&file)?.identity != self.facts.identity {
            return Err(io::Error::other("another file has its name by now"));
        }
        Ok(file)
    }
}
