//! A path is walked once, part by part, each from the directory before it. Symbolic
//! links are followed here and not by the system, which follows those that other users
//! leave in directories like /tmp, too, where `fs.protected_symlinks` is off.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::super::{FollowLast, Identity, Kind, Resolved};
use super::directory::*;
use super::held::*;

/// As many links as the system follows in one path: path_resolution(7).
const LINKS_MAX: usize = 40;

pub(crate) fn resolve(path: &Path, follow: FollowLast) -> io::Result<Resolved> {
    if path.as_os_str().is_empty() {
        return Err(Errno::NOENT.into());
    }
    let start = open_start(path.as_os_str().as_bytes())?;
    let mut walk = Walk::from(&start, Vec::new(), follow);
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
pub(super) struct Walk {
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
    /// Of `parts`, the next one last.
    pub(super) fn from(start: &Directory, parts: Vec<OsString>, follow: FollowLast) -> Walk {
        Walk {
            directory: start.clone(),
            parts,
            links: 0,
            follow,
            by_link: false,
        }
    }

    pub(super) fn run(mut self) -> io::Result<Resolved> {
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

/// What the system says where nothing is.
pub(crate) fn not_found() -> io::Error {
    Errno::NOENT.into()
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
