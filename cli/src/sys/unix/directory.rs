//! Names in directories that are held open, so that what was looked at is what is used.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, StatxAttributes};
use rustix::io::Errno;

use super::super::{FollowLast, Resolved};
use super::attributes::inherited_list;
use super::held::*;
use super::walk::*;

/// What a directory or a file is held by: it can be asked about and led on from, but
/// neither read nor written.
pub(super) const HOLD: OFlags = OFlags::PATH.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// A directory that is held open, whatever becomes of its name.
#[derive(Clone, Debug)]
pub(crate) struct Directory(pub(super) Arc<OwnedFd>);

/// A name in a directory that is held open.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(super) directory: Directory,
    pub(super) name: OsString,
}

impl Directory {
    /// As the function of that name, from here on.
    pub(crate) fn resolve(&self, name: &OsStr, follow: FollowLast) -> io::Result<Resolved> {
        Walk::from(self, vec![name.to_owned()], follow).run()
    }

    pub(crate) fn entry(&self, name: impl Into<OsString>) -> Entry {
        Entry {
            directory: self.clone(),
            name: name.into(),
        }
    }

    pub(super) fn enter(&self, name: &OsStr) -> Result<Directory, Errno> {
        let flags = HOLD | OFlags::DIRECTORY;
        let opened = rustix::fs::openat(&self.0, name, flags, Mode::empty())?;
        Ok(Directory(Arc::new(opened)))
    }

    pub(super) fn hold(&self, name: &OsStr) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(&self.0, name, HOLD, Mode::empty())
    }
}

/// A directory that can be synced.
pub(crate) struct DirectorySync(Option<OwnedFd>);

impl DirectorySync {
    pub(crate) fn sync(&self, file: &File) -> io::Result<()> {
        let synced = rustix::io::retry_on_intr(|| match &self.0 {
            Some(directory) => rustix::fs::fsync(directory),
            None => rustix::fs::syncfs(file),
        });
        match synced {
            // Some file systems cannot, and say so; then there is nothing to do.
            Err(Errno::INVAL | Errno::NOTSUP) => Ok(()),
            synced => Ok(synced?),
        }
    }
}

impl Entry {
    pub(crate) fn name(&self) -> &OsStr {
        &self.name
    }

    /// Another name in the same directory.
    pub(crate) fn sibling(&self, name: impl Into<OsString>) -> Entry {
        self.directory.entry(name)
    }

    pub(crate) fn hold(&self) -> io::Result<Option<Held>> {
        match self.directory.hold(&self.name) {
            Ok(file) => Held::new(file, Some(self.clone())).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    pub(crate) fn create_new(&self) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = self.open(flags, mode)?;
        Ok(file.into())
    }

    pub(crate) fn rename_to(&self, to: &Entry, _durably: bool) -> io::Result<()> {
        let (from_directory, to_directory) = (&self.directory.0, &to.directory.0);
        rustix::fs::renameat(from_directory, &self.name, to_directory, &to.name)?;
        Ok(())
    }

    pub(crate) fn rename_to_new(&self, to: &Entry, durably: bool) -> io::Result<()> {
        match self.rename_with(to, RenameFlags::NOREPLACE) {
            // Not every file system can; but a second name never takes another's place.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                match self.link_to(to) {
                    // Nor second names: then only a look is left.
                    Err(error) if error.kind() == io::ErrorKind::Unsupported => match to.hold()? {
                        Some(_) => Err(Errno::EXIST.into()),
                        None => self.rename_to(to, durably),
                    },
                    linked => linked.and_then(|()| self.remove()),
                }
            }
            renamed => Ok(renamed?),
        }
    }

    fn rename_with(&self, to: &Entry, flags: RenameFlags) -> Result<(), Errno> {
        let (from_directory, to_directory) = (&self.directory.0, &to.directory.0);
        rustix::fs::renameat_with(from_directory, &self.name, to_directory, &to.name, flags)
    }

    pub(crate) fn link_to(&self, to: &Entry) -> io::Result<()> {
        let (from_directory, to_directory) = (&self.directory.0, &to.directory.0);
        let flags = AtFlags::empty();
        match rustix::fs::linkat(from_directory, &self.name, to_directory, &to.name, flags) {
            // The last: of another user's file, where `fs.protected_hardlinks` is on.
            Err(Errno::NOTSUP | Errno::NOSYS | Errno::MLINK | Errno::PERM) => {
                Err(io::ErrorKind::Unsupported.into())
            }
            linked => Ok(linked?),
        }
    }

    pub(crate) fn remove(&self) -> io::Result<()> {
        rustix::fs::unlinkat(&self.directory.0, &self.name, AtFlags::empty())?;
        Ok(())
    }

    pub(crate) fn open_to_sync(&self) -> io::Result<DirectorySync> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(&self.directory.0, ".", flags, Mode::empty());
        match rustix::io::retry_on_intr(open) {
            Ok(directory) => Ok(DirectorySync(Some(directory))),
            // Who may not list it can still have all of its file system synced.
            Err(Errno::ACCESS) => Ok(DirectorySync(None)),
            Err(errno) => Err(errno.into()),
        }
    }

    pub(crate) fn inherited_list(&self) -> io::Result<Option<Vec<u8>>> {
        inherited_list(self.directory.0.as_fd())
    }

    pub(crate) fn is_reached_by(&self, path: &Path) -> io::Result<bool> {
        let found = match resolve(path, FollowLast::Yes) {
            Ok(Resolved::Name(entry, _)) => entry.directory,
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let [here, there] = [
            rustix::fs::fstat(&self.directory.0)?,
            rustix::fs::fstat(&found.0)?,
        ];
        Ok((here.st_dev, here.st_ino) == (there.st_dev, there.st_ino))
    }

    pub(crate) fn name_max(&self) -> io::Result<usize> {
        let found = rustix::fs::fstatvfs(&self.directory.0)?.f_namemax;
        // What does not say has the usual limit.
        Ok(match usize::try_from(found) {
            Ok(max @ 1..) => max,
            _ => super::names::NAME_MAX,
        })
    }

    pub(crate) fn free_bytes(&self) -> io::Result<Option<u64>> {
        let found = rustix::fs::fstatvfs(&self.directory.0)?;
        if found.f_blocks == 0 {
            return Ok(None);
        }
        let blocks = match rustix::process::geteuid().is_root() {
            true => found.f_bfree,
            false => found.f_bavail,
        };
        Ok(Some(blocks.saturating_mul(found.f_frsize)))
    }

    /// What the system asks before it lets one file take another's name: rename(2).
    pub(crate) fn why_not_replaced(&self, old: Option<&Held>) -> io::Result<Option<&'static str>> {
        let directory = attributes(&self.directory.0)?;
        if directory.intersects(StatxAttributes::IMMUTABLE) {
            return Ok(Some("its directory is immutable (chattr +i)"));
        }
        if directory.intersects(StatxAttributes::APPEND) {
            return Ok(Some("names can only be added to its directory (chattr +a)"));
        }
        let Some(old) = old else {
            return Ok(None);
        };
        let file = attributes(&old.file)?;
        if file.intersects(StatxAttributes::IMMUTABLE) {
            return Ok(Some("it is immutable (chattr +i)"));
        }
        if file.intersects(StatxAttributes::APPEND) {
            return Ok(Some("it can only be added to (chattr +a)"));
        }
        if file.intersects(StatxAttributes::MOUNT_ROOT) {
            return Ok(Some("it is a mount point (a file that was bind-mounted)"));
        }
        let [directory, file] = [
            rustix::fs::fstat(&self.directory.0)?,
            rustix::fs::fstat(&old.file)?,
        ];
        let own = rustix::process::geteuid().as_raw();
        let is_sticky = directory.st_mode & 0o1000 != 0;
        if is_sticky && file.st_uid != own && directory.st_uid != own && !may_act_as_owner()? {
            return Ok(Some(
                "it is another user's, in a directory where each may replace only their own (sticky)",
            ));
        }
        Ok(None)
    }

    pub(super) fn open(&self, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        // A terminal must not become this process's.
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY;
        rustix::fs::openat(&self.directory.0, &self.name, flags, mode)
    }
}

/// Of a file or directory; none where the system does not tell.
fn attributes(file: impl std::os::fd::AsFd) -> io::Result<StatxAttributes> {
    let flags = AtFlags::EMPTY_PATH;
    match rustix::fs::statx(file, "", flags, rustix::fs::StatxFlags::BASIC_STATS) {
        Ok(found) => Ok(found.stx_attributes),
        Err(Errno::NOSYS) => Ok(StatxAttributes::empty()),
        Err(errno) => Err(errno.into()),
    }
}

fn may_act_as_owner() -> io::Result<bool> {
    use rustix::thread::CapabilitySet;
    let own = rustix::thread::capabilities(None)?;
    Ok(own.effective.contains(CapabilitySet::FOWNER))
}
