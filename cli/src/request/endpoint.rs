//! Where a copy comes from, and where it goes to.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use crate::failure::{Exit, Failure};
use crate::sys::{self, Kind};
use crate::visible;

/// One end of the copy.
#[derive(Clone, Debug)]
pub(crate) enum Endpoint {
    /// Standard input or output.
    Standard,
    /// A path, as it was typed: what is relative stays so.
    Path(PathBuf),
}

impl Endpoint {
    pub(crate) fn new(path: &OsStr) -> Result<Endpoint, Failure> {
        if path == "-" {
            return Ok(Endpoint::Standard);
        }
        Ok(Endpoint::Path(path.into()))
    }

    /// For who looks from outside, and may be elsewhere.
    pub(crate) fn shown(&self) -> String {
        match self {
            Endpoint::Standard => "-".to_owned(),
            Endpoint::Path(path) => {
                // A directory that has no whole name any more is shown as it was typed.
                let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                visible::name(absolute)
            }
        }
    }

    /// The same in a sentence, with `standard` for a standard stream.
    pub(crate) fn words(&self, standard: &str) -> String {
        match self {
            Endpoint::Standard => standard.to_owned(),
            Endpoint::Path(path) => visible::name(path),
        }
    }

    pub(crate) fn file_name(&self) -> Option<&OsStr> {
        match self {
            Endpoint::Standard => None,
            Endpoint::Path(path) => path.file_name(),
        }
    }

    pub(crate) fn refuse_directory(&self) -> Result<(), Failure> {
        let Endpoint::Path(path) = self else {
            return Ok(());
        };
        if is_directory(path) {
            return Err(Failure::new(
                Exit::Failed,
                format!(
                    "{} is a directory; brigade copies one file",
                    visible::name(path)
                ),
            ));
        }
        // Whoever opens it will say what is wrong with it.
        Ok(())
    }
}

/// A destination that is a directory means the file of `name` in there.
pub(crate) fn enter_directory(path: &mut PathBuf, name: Option<&OsStr>) -> Result<(), Failure> {
    let last = path.as_os_str().as_encoded_bytes().last();
    let typed_as_directory = last.is_some_and(|&byte| std::path::is_separator(byte.into()));
    if !is_directory(path) {
        if typed_as_directory {
            let error = io::Error::from(io::ErrorKind::NotADirectory);
            return Err(Failure::io("write to", path, &error));
        }
        return Ok(());
    }
    let Some(name) = name else {
        return Err(Failure::new(
            Exit::Failed,
            format!(
                "{} is a directory, and the source has no name to use in it",
                visible::name(path)
            ),
        ));
    };
    path.push(name);
    if is_directory(path) {
        let error = io::Error::from(io::ErrorKind::IsADirectory);
        return Err(Failure::io("write to", path, &error));
    }
    Ok(())
}

fn is_directory(path: &Path) -> bool {
    sys::facts_at(path).is_ok_and(|found| found.kind == Kind::Directory)
}
