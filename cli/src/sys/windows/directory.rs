//! Names in directories that are held open: while one is, the system lets nobody rename
//! or remove it, or a directory that it lies in. So a path into it stays what it was.
//!
//! A file that is open cannot be replaced, so of a file it is kept which one it was.
#![expect(unsafe_code, reason = "the system's interface is all unsafe functions")]

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_FILE_NOT_FOUND, ERROR_INVALID_FUNCTION, ERROR_NOT_SUPPORTED,
    ERROR_TOO_MANY_LINKS, GENERIC_READ, GENERIC_WRITE,
};
use windows_sys::Win32::Storage::FileSystem::{
    DELETE, FILE_ATTRIBUTE_READONLY, FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT,
    FILE_LIST_DIRECTORY, FILE_SHARE_READ, FILE_SHARE_WRITE, GetDiskFreeSpaceExW,
    MOVEFILE_REPLACE_EXISTING, MOVEFILE_WRITE_THROUGH, MoveFileExW, READ_CONTROL,
    SECURITY_IDENTIFICATION, WRITE_DAC,
};

use super::super::{Facts, FollowLast, Identity, Kind, Resolved};
use super::attributes::Access;
use super::errors::*;
use super::facts::*;
use super::names::*;
use super::reading::open_to_read;
use super::writing::is_in_use;

/// A directory that is held open.
#[derive(Clone, Debug)]
pub(crate) struct Directory(Arc<HeldDirectory>);

#[derive(Debug)]
struct HeldDirectory {
    path: PathBuf,
    _handle: File,
}

/// A name in a directory that is held open.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    directory: Directory,
    name: OsString,
}

/// What a name led to when it was looked at.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) facts: Facts,
    path: PathBuf,
    /// So that the path stays what it is; `None` for devices and pipes.
    _directory: Option<Directory>,
}

pub(crate) fn resolve(path: &Path, follow: FollowLast) -> io::Result<Resolved> {
    if path.as_os_str().is_empty() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let last = path.as_os_str().encode_wide().last();
    let must_be_directory =
        last.is_some_and(|unit| unit == u16::from(b'\\') || unit == u16::from(b'/'));
    let found = find(std::path::absolute(path)?, follow)?;
    match found {
        Resolved::Directory(_) => Ok(found),
        _ if must_be_directory => Err(io::ErrorKind::NotADirectory.into()),
        found => Ok(found),
    }
}

pub(crate) fn whereabouts(path: &Path) -> io::Result<(Identity, OsString)> {
    let (directory, name) = match resolve(path, FollowLast::No)? {
        Resolved::Name(entry, _) => (entry.directory, entry.name),
        Resolved::Directory(directory) => (directory, OsString::new()),
        Resolved::Open(held) => return Ok((held.facts.identity, held.path.into())),
    };
    Ok((facts_at(&directory.0.path)?.identity, name))
}

pub(crate) fn is_link(path: &Path) -> io::Result<bool> {
    match resolve(path, FollowLast::No)? {
        Resolved::Name(_, Some(held)) => Ok(held.facts.is_link),
        _ => Ok(false),
    }
}

/// What the system says where nothing is.
pub(crate) fn not_found() -> io::Error {
    system_error(ERROR_FILE_NOT_FOUND)
}

fn find(mut path: PathBuf, follow: FollowLast) -> io::Result<Resolved> {
    if is_device(&path) {
        let facts = facts_at(&path)?;
        let _directory = None;
        return Ok(Resolved::Open(Held {
            facts,
            path,
            _directory,
        }));
    }
    let mut facts = match facts_of_name(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Resolved::Name(Entry::of(&path)?, None));
        }
        facts => facts?,
    };
    if facts.is_link && follow == FollowLast::Yes {
        path = std::fs::canonicalize(&path)?;
        facts = facts_at(&path)?;
    }
    if facts.kind == Kind::Directory && !(facts.is_link && follow == FollowLast::No) {
        return Ok(Resolved::Directory(Directory::hold(&path)?));
    }
    let entry = Entry::of(&path)?;
    let held = entry.held(facts);
    Ok(Resolved::Name(entry, Some(held)))
}

impl Directory {
    fn hold(path: &Path) -> io::Result<Directory> {
        let open = |access| {
            OpenOptions::new()
                .access_mode(access)
                .share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE)
                .custom_flags(FILE_FLAG_BACKUP_SEMANTICS)
                .open(path)
        };
        let handle = match open(FILE_LIST_DIRECTORY) {
            // Who may not list it can still use what is in it.
            Err(error) if is_code(&error, ERROR_ACCESS_DENIED) => open(0)?,
            opened => opened?,
        };
        if facts(&handle)?.kind != Kind::Directory {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Directory(Arc::new(HeldDirectory {
            path: path.to_path_buf(),
            _handle: handle,
        })))
    }

    /// As the function of that name, from here on.
    pub(crate) fn resolve(&self, name: &OsStr, follow: FollowLast) -> io::Result<Resolved> {
        find(self.0.path.join(name), follow)
    }

    pub(crate) fn entry(&self, name: impl Into<OsString>) -> Entry {
        Entry {
            directory: self.clone(),
            name: name.into(),
        }
    }
}

/// Nothing: the renames have written it through.
pub(crate) struct DirectorySync;

impl DirectorySync {
    pub(crate) fn sync(&self, _file: &File) -> io::Result<()> {
        Ok(())
    }
}

impl Entry {
    fn of(path: &Path) -> io::Result<Entry> {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        Ok(Directory::hold(directory)?.entry(name))
    }

    fn path(&self) -> PathBuf {
        self.directory.0.path.join(&self.name)
    }

    fn held(&self, facts: Facts) -> Held {
        Held {
            facts,
            path: self.path(),
            _directory: Some(self.directory.clone()),
        }
    }

    pub(crate) fn name(&self) -> &OsStr {
        &self.name
    }

    /// Another name in the same directory.
    pub(crate) fn sibling(&self, name: impl Into<OsString>) -> Entry {
        self.directory.entry(name)
    }

    pub(crate) fn hold(&self) -> io::Result<Option<Held>> {
        match facts_of_name(&self.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            facts => Ok(Some(self.held(facts?))),
        }
    }

    /// A new file's access is what its directory hands down, as it is for every file.
    pub(crate) fn create_new(&self) -> io::Result<File> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .access_mode(GENERIC_READ | GENERIC_WRITE | WRITE_DAC)
            .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT)
            .open(self.path())
    }

    /// Not `ReplaceFileW`, which may fail halfway and leave nothing under the name that
    /// counts (`ERROR_UNABLE_TO_MOVE_REPLACEMENT_2`, 1177).
    /// <https://learn.microsoft.com/windows/win32/api/winbase/nf-winbase-replacefilew>
    pub(crate) fn rename_to(&self, to: &Entry, durably: bool) -> io::Result<()> {
        let to = to.path();
        rename(&self.path(), &to, durably, MOVEFILE_REPLACE_EXISTING)
            .map_err(|error| why_not_removable(&error, &to).unwrap_or(error))
    }

    pub(crate) fn rename_to_new(&self, to: &Entry, durably: bool) -> io::Result<()> {
        rename(&self.path(), &to.path(), durably, 0)
    }

    pub(crate) fn link_to(&self, to: &Entry) -> io::Result<()> {
        /// What says that the file cannot have another name.
        const CANNOT: [u32; 3] = [
            ERROR_INVALID_FUNCTION,
            ERROR_NOT_SUPPORTED,
            ERROR_TOO_MANY_LINKS,
        ];
        match std::fs::hard_link(self.path(), to.path()) {
            Err(error) if CANNOT.iter().any(|&code| is_code(&error, code)) => {
                Err(io::ErrorKind::Unsupported.into())
            }
            linked => linked,
        }
    }

    pub(crate) fn remove(&self) -> io::Result<()> {
        std::fs::remove_file(self.path())
    }

    pub(crate) fn open_to_sync(&self) -> io::Result<DirectorySync> {
        Ok(DirectorySync)
    }

    /// Nobody can rename a directory that is held.
    pub(crate) fn is_reached_by(&self, _path: &Path) -> io::Result<bool> {
        Ok(true)
    }

    /// The system hands lists down by itself, and there are no modes to limit.
    pub(crate) fn inherited_list(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    pub(crate) fn name_max(&self) -> io::Result<usize> {
        Ok(NAME_MAX)
    }

    pub(crate) fn free_bytes(&self) -> io::Result<Option<u64>> {
        let directory = verbatim(&self.directory.0.path)?;
        let mut free = 0;
        // SAFETY: the path ends in a zero and lives, as does `free`; nothing else is
        // asked for.
        let done = unsafe {
            GetDiskFreeSpaceExW(
                directory.as_ptr(),
                &mut free,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        match done {
            0 => Err(io::Error::last_os_error()),
            _ => Ok(Some(free)),
        }
    }

    pub(crate) fn why_not_replaced(&self, _old: Option<&Held>) -> io::Result<Option<&'static str>> {
        let has_colon = self.name.as_encoded_bytes().contains(&b':');
        Ok(has_colon.then_some("its name has a colon, so it is a stream of another file"))
    }
}

impl Held {
    /// Who may do what with the file, and what else it has beside its data, as it is now.
    pub(crate) fn access(&self) -> io::Result<Access> {
        let file = OpenOptions::new()
            .access_mode(READ_CONTROL)
            .custom_flags(FILE_FLAG_BACKUP_SEMANTICS)
            .open(&self.path)?;
        self.check(&file)?;
        Access::of_file(&file)
    }

    /// The same file, as it is now.
    pub(crate) fn facts_now(&self) -> io::Result<Facts> {
        let look = open_to_look(&self.path, FILE_FLAG_BACKUP_SEMANTICS)?;
        self.check(&look)?;
        facts(&look)
    }

    pub(crate) fn open_to_read(&self) -> io::Result<File> {
        let file = open_to_read(&self.path)?;
        self.check(&file)?;
        Ok(file)
    }

    /// With the same care for pipes as `open_to_read`.
    pub(crate) fn open_to_write(&self) -> io::Result<File> {
        let file = OpenOptions::new()
            .write(true)
            .security_qos_flags(SECURITY_IDENTIFICATION)
            .open(&self.path)?;
        self.check(&file)?;
        Ok(file)
    }

    /// As the one that `Entry::create_new` gives.
    pub(crate) fn open_to_read_and_write(&self) -> io::Result<File> {
        let file = OpenOptions::new()
            .access_mode(GENERIC_READ | GENERIC_WRITE | WRITE_DAC)
            .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT)
            .open(&self.path)?;
        self.check(&file)?;
        Ok(file)
    }

    /// That a volume on it is mounted is not looked at.
    pub(crate) fn open_disk_alone(&self) -> io::Result<File> {
        self.open_to_write()
    }

    /// Fails now, and not only when all is written, if another process has the file open
    /// and lets nobody write or remove it.
    pub(crate) fn may_write(&self) -> io::Result<()> {
        let look = open_to_look(&self.path, FILE_FLAG_BACKUP_SEMANTICS)?;
        let attributes = winapi_util::file::information(&look)?.file_attributes();
        if attributes & u64::from(FILE_ATTRIBUTE_READONLY) != 0 {
            let kind = io::ErrorKind::PermissionDenied;
            return Err(io::Error::new(kind, "it is read-only"));
        }
        OpenOptions::new()
            .access_mode(GENERIC_WRITE | DELETE | READ_CONTROL)
            .open(&self.path)?;
        Ok(())
    }

    /// That `file`, which was opened by the path, is the one that was looked at.
    fn check(&self, file: &File) -> io::Result<()> {
        if self.facts.kind != Kind::File || facts(file)?.identity == self.facts.identity {
            return Ok(());
        }
        Err(io::Error::other("another file has its name by now"))
    }
}

fn rename(from: &Path, to: &Path, durably: bool, flags: u32) -> io::Result<()> {
    let through = if durably { MOVEFILE_WRITE_THROUGH } else { 0 };
    let [from, to] = [verbatim(from)?, verbatim(to)?];
    // SAFETY: both paths end in a zero and live.
    let done = unsafe { MoveFileExW(from.as_ptr(), to.as_ptr(), flags | through) };
    match done {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// That another process has a file open is a refusal like any other to
/// `MoveFileExW`; but not to who opens the file for removing it.
fn why_not_removable(refusal: &io::Error, path: &Path) -> Option<io::Error> {
    if !is_code(refusal, ERROR_ACCESS_DENIED) {
        return None;
    }
    let opened = OpenOptions::new().access_mode(DELETE).open(path);
    opened.err().filter(is_in_use)
}
