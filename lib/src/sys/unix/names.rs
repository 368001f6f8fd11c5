//! Names, and the two files that stand for each.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::users::User;
use crate::error::Error;

/// Longest path of a socket, without its closing zero: `sun_path` in unix(7).
const SOCKET_PATH_MAX: usize = 107;

/// A name, as the two files that stand for it.
#[derive(Debug)]
pub(crate) struct Name {
    pub(in crate::sys) lock: PathBuf,
    pub(in crate::sys) socket: PathBuf,
    /// In the directory that only this user can enter.
    pub(in crate::sys) is_private: bool,
}

impl Name {
    pub(crate) fn parse(text: &str) -> Result<Name, Error> {
        let invalid = |why: &str| Err(Error::InvalidOption(format!("the name {text:?} {why}")));
        if text.contains('\0') {
            return invalid("contains a zero byte");
        }
        let path = Path::new(text);
        let Some(base) = path.file_name().and_then(|base| base.to_str()) else {
            return invalid("is empty or ends in no file name");
        };
        if !text.ends_with(base) {
            return invalid("ends in no file name");
        }
        let directory = if text.contains('/') {
            // Absolute, so that it means the same after a change of directory.
            std::path::absolute(path.parent().unwrap_or(Path::new("/")))
                .map_err(|error| Error::os(format!("use the name {text}"), error))?
        } else {
            private_directory()?
        };
        let socket = directory.join(format!("{base}.sock"));
        if socket.as_os_str().len() > SOCKET_PATH_MAX {
            return invalid(&format!(
                "is too long: {} must not exceed {SOCKET_PATH_MAX} bytes, the system's limit for sockets",
                socket.display()
            ));
        }
        Ok(Name {
            lock: directory.join(format!("{base}.lock")),
            socket,
            is_private: !text.contains('/'),
        })
    }
}

/// `$XDG_RUNTIME_DIR/brigade`, or else `/tmp/brigade-UID`: a directory that no
/// other user can enter, made if need be.
fn private_directory() -> Result<PathBuf, Error> {
    let user = User::own();
    // Not if it is another user's, as after `su`: that user could not be met
    // there, and this one should not leave anything there.
    let is_ours = |path: &PathBuf| {
        path.is_absolute() && std::fs::metadata(path).is_ok_and(|m| m.is_dir() && m.uid() == user.0)
    };
    let directory = match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        Some(path) if is_ours(&path) => path.join("brigade"),
        _ => PathBuf::from(format!("/tmp/brigade-{}", user.0)),
    };
    match std::fs::DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            let operation = format!("create the directory {}", directory.display());
            return Err(Error::os(operation, error));
        }
        _ => {}
    }
    let found = std::fs::symlink_metadata(&directory)
        .map_err(|error| Error::os(format!("look at {}", directory.display()), error))?;
    if found.is_dir() && found.uid() == user.0 && found.mode() & 0o077 == 0 {
        return Ok(directory);
    }
    Err(Error::Refused(format!(
        "{} must be a directory of {user} that nobody else can enter, but it is a {} of {} \
         with mode {:03o}; remove it, or give a name that is a path",
        directory.display(),
        if found.is_dir() { "directory" } else { "file" },
        User(found.uid()),
        found.mode() & 0o7777,
    )))
}
