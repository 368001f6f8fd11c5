//! Names in directories that are held open, so that what was looked at is what is used.
//!
//! A path is walked once, part by part, each from the directory before it. Symbolic
//! links are followed here and not by the system, which follows those that other users
//! leave in directories like /tmp, too, where `fs.protected_symlinks` is off.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, Stat, StatxAttributes};
use rustix::io::Errno;

use super::super::{Facts, FollowLast, Identity, Kind, Resolved};
use super::attributes::{Access, inherited_list};
use super::facts::facts;

/// As many links as the system follows in one path: path_resolution(7).
const LINKS_MAX: usize = 40;

/// What a directory or a file is held by: it can be asked about and led on from, but
/// neither read nor written.
const HOLD: OFlags = OFlags::PATH.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// A directory that is held open, whatever becomes of its name.
#[derive(Clone, Debug)]
pub(crate) struct Directory(Arc<OwnedFd>);

/// A name in a directory that is held open.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    directory: Directory,
    name: OsString,
}

/// What a name led to when it was looked at, held open. It stays that file, whatever
/// becomes of the name.
#[derive(Debug)]
pub(crate) struct Held {
    file: File,
    pub(crate) facts: Facts,
    /// Where it was found; `None` for what has no name (a pipe in /proc/self/fd).
    entry: Option<Entry>,
}

// ---- walking ----------------------------------------------------------------

pub(crate) fn resolve(path: &Path, follow: FollowLast) -> io::Result<Resolved> {
    if path.as_os_str().is_empty() {
        return Err(Errno::NOENT.into());
    }
    let mut walk = Walk {
        directory: open_start(path.as_os_str().as_bytes())?,
        parts: Vec::new(),
        links: 0,
        follow,
        by_link: false,
    };
    walk.push(path.as_os_str().as_bytes());
    walk.run()
}

pub(crate) fn whereabouts(path: &Path) -> io::Result<(Identity, OsString)> {
    let (directory, name) = match resolve(path, FollowLast::No)? {
        Resolved::Name(entry, _) => (entry.directory, entry.name),
        Resolved::Directory(directory) => (directory, OsString::new()),
        Resolved::Open(held) => return Ok((held.facts.identity, OsString::new())),
    };
    let found = rustix::fs::fstat(&directory.0)?;
    Ok(((found.st_dev, found.st_ino), name))
}

pub(crate) fn is_link(path: &Path) -> io::Result<bool> {
    match resolve(path, FollowLast::No)? {
        Resolved::Name(_, Some(held)) => Ok(held.facts.is_link),
        _ => Ok(false),
    }
}

/// A path that is being walked.
struct Walk {
    directory: Directory,
    /// What is left of the path, the next part last.
    parts: Vec<OsString>,
    links: usize,
    follow: FollowLast,
    /// The part that is the last one by now was named by a link.
    by_link: bool,
}

fn open_start(path: &[u8]) -> io::Result<Directory> {
    let start = if path.starts_with(b"/") { "/" } else { "." };
    let flags = HOLD | OFlags::DIRECTORY;
    let opened = rustix::fs::openat(CWD, start, flags, Mode::empty())?;
    Ok(Directory(Arc::new(opened)))
}

impl Walk {
    fn run(mut self) -> io::Result<Resolved> {
        loop {
            if let Some(found) = self.step()? {
                return Ok(found);
            }
        }
    }

    fn push(&mut self, path: &[u8]) {
        // An empty part at the end says that it must be a directory, as "." does.
        let parts = path.split(|&byte| byte == b'/').rev();
        for (index, part) in parts.enumerate() {
            match part {
                b"" if index == 0 => self.parts.push(".".into()),
                b"" => {}
                part => self.parts.push(OsStr::from_bytes(part).to_owned()),
            }
        }
    }

    /// Takes the next part; what the path leads to, at its end.
    fn step(&mut self) -> io::Result<Option<Resolved>> {
        let Some(part) = self.parts.pop() else {
            return Ok(Some(Resolved::Directory(self.directory.clone())));
        };
        if part == "." {
            return Ok(None);
        }
        let is_last = self.parts.is_empty();
        if !is_last || part == ".." {
            match self.directory.enter(&part) {
                Ok(directory) => {
                    self.directory = directory;
                    return Ok(None);
                }
                // Perhaps a link.
                Err(Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        let held = match self.directory.hold(&part) {
            Ok(held) => held,
            // One that leads nowhere is no way to name a new file: as for cp.
            Err(Errno::NOENT) if is_last && self.by_link => return Err(dangling()),
            Err(Errno::NOENT) if is_last => {
                return Ok(Some(Resolved::Name(self.directory.entry(part), None)));
            }
            Err(errno) => return Err(errno.into()),
        };
        let stat = rustix::fs::fstat(&held)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink if !is_last || self.follow == FollowLast::Yes => {
                self.follow_link(&held, &stat, &part)
            }
            _ if !is_last => Err(Errno::NOTDIR.into()),
            FileType::Directory => Ok(Some(Resolved::Directory(self.directory.enter(&part)?))),
            _ => {
                let entry = self.directory.entry(part);
                let held = Held::new(held, Some(entry.clone()))?;
                Ok(Some(Resolved::Name(entry, Some(held))))
            }
        }
    }

    fn follow_link(
        &mut self,
        link: &OwnedFd,
        stat: &Stat,
        name: &OsStr,
    ) -> io::Result<Option<Resolved>> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Errno::LOOP.into());
        }
        if !may_follow(&rustix::fs::fstat(&self.directory.0)?, stat) {
            let kind = io::ErrorKind::PermissionDenied;
            let why = "it leads through another user's symbolic link in a directory that everybody can write to";
            return Err(io::Error::new(kind, why));
        }
        // In /proc, a link stands for an open file, which may have no path.
        if rustix::fs::fstatfs(link)?.f_type == rustix::fs::PROC_SUPER_MAGIC {
            return self.enter_open(name);
        }
        let target = rustix::fs::readlinkat(link, "", Vec::new())?;
        let target = target.as_bytes();
        if target.starts_with(b"/") {
            self.directory = open_start(target)?;
        }
        self.by_link |= self.parts.is_empty();
        self.push(target);
        Ok(None)
    }

    /// What the system makes of a link that only it can follow.
    fn enter_open(&mut self, name: &OsStr) -> io::Result<Option<Resolved>> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let open = rustix::fs::openat(&self.directory.0, name, flags, Mode::empty())?;
        let held = Held::new(open, None)?;
        match held.facts.kind {
            Kind::Directory => {
                self.directory = Directory(Arc::new(held.file.into()));
                Ok(None)
            }
            _ if self.parts.is_empty() => Ok(Some(Resolved::Open(held))),
            _ => Err(Errno::NOTDIR.into()),
        }
    }
}

fn dangling() -> io::Error {
    let why = "it is a symbolic link to what does not exist";
    io::Error::new(io::ErrorKind::NotFound, why)
}

/// As `fs.protected_symlinks` has it (proc(5)), also where that is off: in a sticky
/// directory that everybody can write to, only links of this user, or of the
/// directory's owner.
fn may_follow(directory: &Stat, link: &Stat) -> bool {
    let everybody_writes = directory.st_mode & 0o1002 == 0o1002;
    let own = rustix::process::geteuid().as_raw();
    !everybody_writes || link.st_uid == own || link.st_uid == directory.st_uid
}

// ---- names ------------------------------------------------------------------

impl Directory {
    /// As the function of that name, from here on.
    pub(crate) fn resolve(&self, name: &OsStr, follow: FollowLast) -> io::Result<Resolved> {
        let walk = Walk {
            directory: self.clone(),
            parts: vec![name.to_owned()],
            links: 0,
            follow,
            by_link: false,
        };
        walk.run()
    }

    pub(crate) fn entry(&self, name: impl Into<OsString>) -> Entry {
        Entry {
            directory: self.clone(),
            name: name.into(),
        }
    }

    fn enter(&self, name: &OsStr) -> Result<Directory, Errno> {
        let flags = HOLD | OFlags::DIRECTORY;
        let opened = rustix::fs::openat(&self.0, name, flags, Mode::empty())?;
        Ok(Directory(Arc::new(opened)))
    }

    fn hold(&self, name: &OsStr) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(&self.0, name, HOLD, Mode::empty())
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

    pub(crate) fn rename_to_new(&self, to: &Entry, _durably: bool) -> io::Result<()> {
        match self.rename_with(to, RenameFlags::NOREPLACE) {
            // Not every file system can; but a second name never takes another's place.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                self.link_to(to)?;
                self.remove()
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

    pub(crate) fn sync_directory(&self, file: &File) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = match rustix::fs::openat(&self.directory.0, ".", flags, Mode::empty()) {
            Ok(directory) => directory,
            // Who may not list it can still have all of its file system synced.
            Err(Errno::ACCESS) => return Ok(rustix::fs::syncfs(file)?),
            Err(errno) => return Err(errno.into()),
        };
        match rustix::fs::fsync(&directory) {
            // Some file systems cannot, and say so; then there is nothing to do.
            Err(Errno::INVAL | Errno::NOTSUP) => Ok(()),
            synced => Ok(synced?),
        }
    }

    pub(crate) fn inherited_list(&self) -> io::Result<Option<Vec<u8>>> {
        inherited_list(self.directory.0.as_fd())
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

    fn open(&self, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
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

// ---- what is held -----------------------------------------------------------

impl Held {
    fn new(file: OwnedFd, entry: Option<Entry>) -> io::Result<Held> {
        let file = File::from(file);
        let facts = facts(&file)?;
        Ok(Held { file, facts, entry })
    }

    /// Who may do what with the file, and what else it has beside its data, as it is now.
    pub(crate) fn access(&self) -> io::Result<Access> {
        Access::of_file(&self.file)
    }

    pub(crate) fn open_to_read(&self) -> io::Result<File> {
        self.open(OFlags::RDONLY)
    }

    pub(crate) fn open_to_write(&self) -> io::Result<File> {
        self.open(OFlags::WRONLY)
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

    fn open_by_name(&self, flags: OFlags) -> io::Result<File> {
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

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn name_of(resolved: Resolved) -> (OsString, Option<Held>) {
        match resolved {
            Resolved::Name(entry, held) => (entry.name().to_owned(), held),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_path_leads_where_the_system_s_own_walk_leads() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        std::fs::create_dir_all(at("d/e")).unwrap();
        std::fs::write(at("d/e/f"), "x").unwrap();
        symlink("d/e", at("l")).unwrap();
        symlink(at("d"), at("absolute")).unwrap();
        symlink("../d/e/f", at("d/up")).unwrap();
        symlink("nothing", at("dangling")).unwrap();
        symlink("loop", at("loop")).unwrap();
        for path in [
            "d/e/f",
            "d//e/./f",
            "l/f",
            "absolute/e/f",
            "d/up",
            "l/../e/f",
        ] {
            let (name, held) = name_of(resolve(&at(path), FollowLast::Yes).unwrap());
            assert_eq!(name, "f", "{path}");
            assert_eq!(held.unwrap().facts.len, 1);
        }
        let (name, held) = name_of(resolve(&at("nothing"), FollowLast::Yes).unwrap());
        assert_eq!((name.to_str(), held.is_none()), (Some("nothing"), true));
        let (name, held) = name_of(resolve(&at("l"), FollowLast::No).unwrap());
        assert!(name == "l" && held.unwrap().facts.is_link);
        for path in ["", "d/", "l", "l/", "d/e/.."] {
            let found = resolve(&at(path), FollowLast::Yes).unwrap();
            assert!(matches!(found, Resolved::Directory(_)), "{path}");
        }
        let refused = |path: &str| resolve(&at(path), FollowLast::Yes).unwrap_err();
        let errno = |error: io::Error| Errno::from_io_error(&error).unwrap();
        assert_eq!(errno(refused("d/e/f/")), Errno::NOTDIR);
        assert_eq!(errno(refused("d/e/f/x")), Errno::NOTDIR);
        assert_eq!(errno(refused("nothing/x")), Errno::NOENT);
        assert_eq!(errno(refused("loop")), Errno::LOOP);
        assert_eq!(refused("dangling").kind(), io::ErrorKind::NotFound);
        assert!(resolve(Path::new(""), FollowLast::Yes).is_err());
    }

    #[test]
    fn in_a_sticky_directory_another_user_s_link_is_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let mode = std::fs::Permissions::from_mode(0o1777);
        std::fs::set_permissions(place.path(), mode).unwrap();
        let at = |name: &str| place.path().join(name);
        std::fs::create_dir(at("d")).unwrap();
        std::fs::write(at("d/f"), "").unwrap();
        symlink("d/f", at("file")).unwrap();
        symlink("d", at("directory")).unwrap();
        for path in ["file", "directory/f"] {
            assert!(resolve(&at(path), FollowLast::Yes).is_ok());
            let link = at(path.split('/').next().unwrap());
            if std::os::unix::fs::lchown(&link, Some(12345), None).is_err() {
                eprintln!("skipped: no link can be given to another user here");
                return;
            }
            let refusal = resolve(&at(path), FollowLast::Yes).unwrap_err();
            assert!(refusal.to_string().contains("another user's"), "{refusal}");
        }
    }

    #[test]
    fn what_is_held_stays_the_same_file() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a");
        std::fs::write(&path, "first").unwrap();
        let (_, held) = name_of(resolve(&path, FollowLast::Yes).unwrap());
        std::fs::rename(&path, place.path().join("b")).unwrap();
        std::fs::write(&path, "second").unwrap();
        let held = held.unwrap();
        let read = std::io::read_to_string(held.open_to_read().unwrap()).unwrap();
        assert_eq!(read, "first");
        assert!(held.open_by_name(OFlags::RDONLY).is_err());
    }
}
