//! Names, and the files that stand for each.

use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::users::User;
use crate::error::Error;

/// Longest path of a socket, without its closing zero: `sun_path` in unix(7).
const SOCKET_PATH_MAX: usize = 107;

/// A name, as the files that stand for it.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    lock: PathBuf,
    claim: PathBuf,
    socket: PathBuf,
    /// In the directory that only this user can enter.
    is_private: bool,
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
            claim: directory.join(format!("{base}.claim")),
            socket,
            is_private: !text.contains('/'),
        })
    }

    pub(super) fn lock(&self) -> &Path {
        &self.lock
    }

    pub(super) fn claim(&self) -> &Path {
        &self.claim
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) fn is_private(&self) -> bool {
        self.is_private
    }

    /// `error`, with the way out if it is this user's own directory that cannot be used.
    pub(super) fn cannot_be_made(&self, error: Error) -> Error {
        match error {
            Error::Os { operation, source } => {
                let advice = if self.is_private {
                    OTHER_PLACE
                } else {
                    OTHER_DIRECTORY
                };
                Error::os(format!("{operation} ({advice})"), source)
            }
            error => error,
        }
    }
}

/// What to do where the private directory cannot be used.
const OTHER_PLACE: &str = "set XDG_RUNTIME_DIR to a directory of this user that can be written, \
                           or give a name that is a path";

/// The same for the directory of a name that is a path.
const OTHER_DIRECTORY: &str = "give a name in a directory where both processes can make files";

/// `$XDG_RUNTIME_DIR/brigade`, or else `/tmp/brigade-UID`: a directory that no
/// other user can enter, made if need be.
fn private_directory() -> Result<PathBuf, Error> {
    let user = User::own();
    let directory = match runtime_directory(user)? {
        Some(path) => path.join("brigade"),
        None => PathBuf::from(format!("/tmp/brigade-{}", user.number())),
    };
    match std::fs::DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            let operation = format!(
                "create the directory {} ({OTHER_PLACE})",
                directory.display()
            );
            return Err(Error::os(operation, error));
        }
        _ => {}
    }
    let found = std::fs::symlink_metadata(&directory)
        .map_err(|error| Error::os(format!("look at {}", directory.display()), error))?;
    if found.is_dir() && found.uid() == user.number() && found.mode() & 0o077 == 0 {
        return Ok(directory);
    }
    let found = format!(
        "a {} of {} with mode {:03o}",
        if found.is_dir() { "directory" } else { "file" },
        User::new(found.uid()),
        found.mode() & 0o7777,
    );
    Err(Error::NotPrivate {
        directory,
        user: user.to_string(),
        found,
    })
}

/// `$XDG_RUNTIME_DIR`, unless it is unset, absent or another user's, as after `su`: that
/// user could not be met there, and this one should not leave anything there.
fn runtime_directory(user: User) -> Result<Option<PathBuf>, Error> {
    let Some(path) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) else {
        return Ok(None);
    };
    if !path.is_absolute() {
        return Ok(None);
    }
    match std::fs::metadata(&path) {
        Ok(found) => Ok((found.is_dir() && found.uid() == user.number()).then_some(path)),
        // What this user may not even look at is another's.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::PermissionDenied
            ) =>
        {
            Ok(None)
        }
        Err(error) => {
            let operation = format!("look at XDG_RUNTIME_DIR, {}", path.display());
            Err(Error::os(operation, error))
        }
    }
}
