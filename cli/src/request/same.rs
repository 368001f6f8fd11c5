//! Refuses a copy of a file onto itself, and a backup in the place of the source: as cp
//! does, also where links are in the way.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::failure::{Exit, Failure};
use crate::request::endpoint::Endpoint;
use crate::sys::{self, Facts, Kind};
use crate::visible;

/// SOURCE and DESTINATION are one file, which would be lost.
pub(crate) fn refuse_same_file(
    source: &Endpoint,
    destination: &Endpoint,
    backup: Option<&OsStr>,
) -> Result<(), Failure> {
    let (Some(from), Some(to)) = (
        look(source, sys::standard_input)?,
        look(destination, sys::standard_output)?,
    ) else {
        return Ok(());
    };
    // A device read and written at once (a terminal, /dev/null) is no mistake.
    if from.kind != Kind::File || from.identity != to.identity {
        return Ok(());
    }
    if let (Some(_), Endpoint::Path(source), Endpoint::Path(destination)) =
        (backup, source, destination)
        && may_back_up(source, destination)?
    {
        return Ok(());
    }
    let (source, destination) = (
        source.words("standard input"),
        destination.words("standard output"),
    );
    let message = format!("{source} and {destination} are the same file");
    Err(Failure::new(Exit::Failed, message))
}

/// The backup would take the source's name.
pub(crate) fn refuse_same_backup(
    source: &Path,
    destination: &Path,
    suffix: &OsStr,
) -> Result<(), Failure> {
    let backup = backup_path(destination, suffix);
    let [source_place, backup_place] = [source, &backup].map(sys::whereabouts);
    let (Some(from), Some(to)) = (found(source, source_place)?, found(&backup, backup_place)?)
    else {
        return Ok(());
    };
    if from != to {
        return Ok(());
    }
    let message = format!(
        "the backup of {} would replace the source {}; choose another suffix with --backup=SUFFIX",
        visible::name(destination),
        visible::name(source)
    );
    Err(Failure::new(Exit::Failed, message))
}

/// The name that a destination is kept under when it is replaced.
fn backup_path(destination: &Path, suffix: &OsStr) -> PathBuf {
    let mut path: OsString = destination.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Of one file with two names, the one that is replaced can be kept under a third; and a
/// link can give its name away. But the source's own name must not go, nor what it is a
/// link to.
fn may_back_up(source: &Path, destination: &Path) -> Result<bool, Failure> {
    let is_link = |path: &Path| -> Result<bool, Failure> {
        let is_link = sys::is_link(path);
        is_link.map_err(|error| Failure::io("look at", path, &error))
    };
    if is_link(source)? && !is_link(destination)? {
        return Ok(false);
    }
    let [from, to] = [source, destination].map(sys::whereabouts);
    Ok(found(source, from)? != found(destination, to)?)
}

fn look(place: &Endpoint, standard: fn() -> io::Result<File>) -> Result<Option<Facts>, Failure> {
    match place {
        // One that is closed is told by whoever reads or writes it.
        Endpoint::Standard => Ok(standard().and_then(|file| sys::facts(&file)).ok()),
        Endpoint::Path(path) => found(path, sys::facts_at(path)),
    }
}

/// What is not there is nothing; whoever may not look will not be able to open either.
fn found<T>(path: &Path, looked: io::Result<T>) -> Result<Option<T>, Failure> {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    match looked {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory | PermissionDenied) => {
            Ok(None)
        }
        Err(error) => Err(Failure::io("look at", path, &error)),
    }
}
