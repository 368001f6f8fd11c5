//! Who may do what with a file, and what else it has beside its data.

use std::fs::{File, Permissions};
use std::io::{self};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::talk::metadata::{ExtendedAttribute, Metadata as Kept, Stamp};

pub(crate) fn metadata(file: &File, with_attributes: bool) -> Kept {
    let Ok(found) = file.metadata() else {
        return Kept::default();
    };
    let mut kept = Kept {
        mode: Some(found.mode() & 0o7777),
        modified: found.modified().ok().map(Stamp::of),
        accessed: found.accessed().ok().map(Stamp::of),
        owner: Some((found.uid(), found.gid())),
        ..Kept::default()
    };
    if with_attributes {
        match attributes(file) {
            Ok(attributes) => kept.attributes = attributes,
            Err(error) => kept.attributes_error = Some(error.to_string()),
        }
    }
    kept
}

/// All of an open file's; none where files have none.
fn attributes(file: &File) -> rustix::io::Result<Vec<ExtendedAttribute>> {
    let mut names = vec![0; ATTRIBUTE_BYTES_MAX];
    let len = match rustix::fs::flistxattr(file, &mut names[..]) {
        Err(rustix::io::Errno::NOTSUP) => 0,
        len => len?,
    };
    let names = names[..len].split(|&byte| byte == 0);
    let mut attributes = Vec::new();
    for name in names.filter(|name| !name.is_empty()) {
        let mut value = vec![0; ATTRIBUTE_BYTES_MAX];
        let len = rustix::fs::fgetxattr(file, name, &mut value[..])?;
        value.truncate(len);
        let name = name.to_vec();
        attributes.push(ExtendedAttribute { name, value });
    }
    Ok(attributes)
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

    /// Replacing needs only the directory; but who protected the file against
    /// writing means its content.
    pub(crate) fn to_replace(path: &Path) -> io::Result<Access> {
        rustix::fs::access(path, rustix::fs::Access::WRITE_OK)?;
        let metadata = std::fs::metadata(path)?;
        let kept = Kept {
            mode: Some(metadata.mode() & 0o777),
            owner: Some((metadata.uid(), metadata.gid())),
            attributes: attributes_to_keep(path)?,
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

/// The most that Linux lets an attribute, and the list of their names, have.
const ATTRIBUTE_BYTES_MAX: usize = 64 * 1024;

/// What a user gave to a file, and who may do what with it. The rest is the system's,
/// which gives it to each file by its own rules.
fn attributes_to_keep(path: &Path) -> io::Result<Vec<ExtendedAttribute>> {
    let mut names = vec![0; ATTRIBUTE_BYTES_MAX];
    // Where files have none, that is an error.
    let len = rustix::fs::listxattr(path, &mut names[..]).unwrap_or(0);
    let names = names[..len].split(|&byte| byte == 0);
    let mut attributes = Vec::new();
    for name in names {
        if !is_access_list(name) && !name.starts_with(b"user.") {
            continue;
        }
        let mut value = vec![0; ATTRIBUTE_BYTES_MAX];
        match rustix::fs::getxattr(path, name, &mut value[..]) {
            Ok(len) => {
                value.truncate(len);
                let name = name.to_vec();
                attributes.push(ExtendedAttribute { name, value });
            }
            // Without its list, others might get in.
            Err(error) if is_access_list(name) => return Err(error.into()),
            Err(_) => {}
        }
    }
    Ok(attributes)
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
    use rustix::io::Errno;
    match rustix::fs::fremovexattr(file, ACCESS_LIST) {
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        removed => Ok(removed?),
    }
}

/// The list's entry for the file's group is what the mode of a file with a list does
/// not show: there it says what *any* entry gives at most.
pub(crate) fn mode_without(list: &ExtendedAttribute) -> u32 {
    /// As `linux/posix_acl_xattr.h` has it: a version, and then entries of kind,
    /// permissions and identifier, little-endian.
    const VERSION_BYTES: usize = 4;
    const ENTRY_BYTES: usize = 8;
    const GROUP: [u8; 2] = [4, 0];
    let entries = list.value.get(VERSION_BYTES..).unwrap_or_default();
    let mut entries = entries.chunks_exact(ENTRY_BYTES);
    let group = entries.find(|entry| entry[..2] == GROUP);
    let permissions = group.map_or(0, |entry| u32::from(entry[2]) & 0o7);
    0o7707 | permissions << 3
}

pub(crate) fn owner(file: &File) -> Option<(u32, u32)> {
    let metadata = file.metadata().ok()?;
    Some((metadata.uid(), metadata.gid()))
}

pub(crate) fn set_owner(file: &File, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
    std::os::unix::fs::fchown(file, user, group)
}

pub(crate) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(mode))
}
