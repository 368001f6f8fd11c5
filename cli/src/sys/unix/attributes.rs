//! Who may do what with a file, and what else it has beside its data.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::metadata::{ExtendedAttribute, Metadata as Kept, Stamp};

pub(crate) fn metadata(file: &File) -> io::Result<Kept> {
    let found = file.metadata()?;
    // The mode means something else without it.
    let list = attribute(file, ACCESS_LIST, &mut Vec::new())?;
    Ok(Kept {
        mode: Some(found.mode() & 0o7777),
        modified: Some(Stamp::of(found.modified()?)),
        accessed: Some(Stamp::of(found.accessed()?)),
        owner: Some((found.uid(), found.gid())),
        attributes: list.into_iter().collect(),
        ..Kept::default()
    })
}

pub(crate) fn attributes(file: &File) -> io::Result<Vec<ExtendedAttribute>> {
    Ok(attributes_that(file, |name| !is_access_list(name))?)
}

/// All that `is_wanted` by its name; none where files have none.
fn attributes_that(
    file: &File,
    is_wanted: impl Fn(&[u8]) -> bool,
) -> rustix::io::Result<Vec<ExtendedAttribute>> {
    let mut buffer = Vec::new();
    let len = match list_attributes(file, &mut buffer) {
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        len => len?,
    };
    let names = buffer[..len].to_vec();
    let mut attributes = Vec::new();
    for name in names.split(|&byte| byte == 0) {
        if name.is_empty() || !is_wanted(name) {
            continue;
        }
        // One that is gone by now was removed meanwhile.
        attributes.extend(attribute(file, name, &mut buffer)?);
    }
    Ok(attributes)
}

/// One of them; `None` if the file has it not, or cannot have it.
fn attribute(
    file: impl AsFd + Copy,
    name: &[u8],
    buffer: &mut Vec<u8>,
) -> rustix::io::Result<Option<ExtendedAttribute>> {
    match get_attribute(file, name, buffer) {
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        len => Ok(Some(ExtendedAttribute {
            name: name.to_vec(),
            value: buffer[..len?].to_vec(),
        })),
    }
}

/// The access list that new files get in a directory that is held open.
pub(super) fn inherited_list(directory: BorrowedFd<'_>) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = Vec::new();
    let list = match attribute(directory, INHERITED_LIST, &mut buffer) {
        // No /proc here.
        Err(Errno::NOENT) => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let directory = rustix::fs::openat(directory, ".", flags, Mode::empty())?;
            attribute(&directory, INHERITED_LIST, &mut buffer)?
        }
        list => list?,
    };
    Ok(list.map(|list| list.value))
}

fn list_attributes(file: &File, buffer: &mut Vec<u8>) -> rustix::io::Result<usize> {
    with_room(buffer, |buffer| {
        match rustix::fs::flistxattr(file, &mut *buffer) {
            Err(Errno::BADF) => rustix::fs::listxattr(path_of_held(file), buffer),
            listed => listed,
        }
    })
}

fn get_attribute(
    file: impl AsFd + Copy,
    name: &[u8],
    buffer: &mut Vec<u8>,
) -> rustix::io::Result<usize> {
    with_room(buffer, |buffer| {
        match rustix::fs::fgetxattr(file, name, &mut *buffer) {
            Err(Errno::BADF) => rustix::fs::getxattr(path_of_held(file), name, buffer),
            got => got,
        }
    })
}

/// Room for what most files have. The system clears as much memory as it is offered, and
/// this process clears it, too.
const ATTRIBUTE_BYTES_USUAL: usize = 1024;

/// Lets `fill` fill `buffer`, with room for all that can be only if it has to be: nothing is
/// longer, so nothing that grows meanwhile is too long for it.
fn with_room(
    buffer: &mut Vec<u8>,
    fill: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<usize> {
    if buffer.is_empty() {
        buffer.resize(ATTRIBUTE_BYTES_USUAL, 0);
    }
    match fill(buffer) {
        Err(Errno::RANGE) if buffer.len() < ATTRIBUTE_BYTES_MAX => {
            buffer.resize(ATTRIBUTE_BYTES_MAX, 0);
            fill(buffer)
        }
        filled => filled,
    }
}

/// The only way to the attributes of a file that is held open, but not for reading or
/// writing (`O_PATH`): open(2).
fn path_of_held(file: impl AsFd) -> String {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())
}

/// Who may do what with a file, and what else it has beside its data.
pub(crate) struct Access {
    kept: Kept,
    is_new: bool,
}

impl Access {
    pub(crate) fn new(mode: u32) -> Access {
        let kept = Kept {
            mode: Some(mode),
            ..Default::default()
        };
        Access { kept, is_new: true }
    }

    /// Of exactly the file that is held open; `O_PATH` is enough where there is /proc.
    pub(crate) fn of_file(held: &File) -> io::Result<Access> {
        let found = held.metadata()?;
        let attributes = attributes_that(held, is_kept).map_err(|errno| match errno {
            Errno::NOENT => io::Error::new(
                io::ErrorKind::Unsupported,
                "its extended attributes can be seen only where /proc is mounted",
            ),
            errno => errno.into(),
        })?;
        let kept = Kept {
            mode: Some(found.mode() & 0o777),
            owner: Some((found.uid(), found.gid())),
            attributes,
            ..Default::default()
        };
        Ok(Access {
            kept,
            is_new: false,
        })
    }

    /// Nothing: `open_partial` made it for this user alone.
    pub(crate) fn begin(&self, _file: &File) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn kept(&self) -> &Kept {
        &self.kept
    }

    pub(crate) fn is_new(&self) -> bool {
        self.is_new
    }
}

/// The extended attribute that holds a file's access control list.
const ACCESS_LIST: &[u8] = b"system.posix_acl_access";

/// The extended attribute that holds what a directory hands down to new files.
const INHERITED_LIST: &[u8] = b"system.posix_acl_default";

/// The most that Linux lets an attribute, and the list of their names, have.
const ATTRIBUTE_BYTES_MAX: usize = 64 * 1024;

/// What a user gave to a file, and who may do what with it. The rest is the system's,
/// which gives it to each file by its own rules.
fn is_kept(name: &[u8]) -> bool {
    is_access_list(name) || is_user_attribute(name)
}

pub(crate) fn is_user_attribute(name: &[u8]) -> bool {
    name.starts_with(b"user.")
}

pub(crate) fn is_access_list(name: &[u8]) -> bool {
    name == ACCESS_LIST
}

pub(crate) fn set_attribute(file: &File, attribute: &ExtendedAttribute) -> io::Result<()> {
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::fsetxattr(file, &attribute.name[..], &attribute.value, flags)?;
    Ok(())
}

pub(crate) fn remove_access_list(file: &File) -> io::Result<()> {
    match rustix::fs::fremovexattr(file, ACCESS_LIST) {
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        removed => Ok(removed?),
    }
}

pub(crate) fn owner(file: &File) -> io::Result<Option<(u32, u32)>> {
    let found = file.metadata()?;
    Ok(Some((found.uid(), found.gid())))
}

pub(crate) fn set_owner(file: &File, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
    std::os::unix::fs::fchown(file, user, group)
}

pub(crate) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(mode))
}

/// What is not this user's to give; an owner that does not exist in this namespace
/// (`EINVAL`); and what a file system has not: vfat says `EPERM`, FUSE `ENOSYS`.
pub(crate) fn is_refusal(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::PERM | Errno::ACCESS | Errno::INVAL | Errno::NOTSUP | Errno::NOSYS)
    )
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_all_that_can_be_if_it_has_to_be() {
        let of = |len| {
            let mut buffer = Vec::new();
            let filled = with_room(&mut buffer, |room| {
                let room = room.get_mut(..len).ok_or(Errno::RANGE)?;
                room.fill(7);
                Ok(len)
            });
            filled.map(|len| buffer[..len].to_vec())
        };
        for len in [0, 1, 1024, 1025, ATTRIBUTE_BYTES_MAX] {
            assert_eq!(of(len), Ok(vec![7; len]));
        }
        assert_eq!(of(ATTRIBUTE_BYTES_MAX + 1), Err(Errno::RANGE));
    }

    #[test]
    fn what_a_held_file_has_is_told_of_that_file_and_not_of_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let other = directory.path().join("b");
        for (path, mode, value) in [(&path, 0o640, b"held"), (&other, 0o604, b"else")] {
            std::fs::write(path, "").unwrap();
            let mode = Permissions::from_mode(mode);
            std::fs::set_permissions(path, mode).unwrap();
            let attribute = ExtendedAttribute {
                name: b"user.x".to_vec(),
                value: value.to_vec(),
            };
            let file = File::open(path).unwrap();
            if set_attribute(&file, &attribute).is_err() {
                eprintln!("skipped: no extended attributes here");
                return;
            }
        }
        let open = |flags| rustix::fs::open(&path, flags, Mode::empty()).unwrap();
        let held = [OFlags::PATH, OFlags::RDONLY, OFlags::WRONLY].map(open);
        std::fs::rename(&other, &path).unwrap();
        for held in held {
            let access = Access::of_file(&held.into()).unwrap();
            assert!(!access.is_new());
            assert_eq!(access.kept().mode, Some(0o640));
            assert_eq!(access.kept().attributes[0].value, b"held");
        }
    }
}
