//! What DESTINATION leads to: found once, and held open from then on.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use crate::failure::{Exit, Failure};
use crate::request::args::When;
use crate::request::settings::{OnExisting, Settings};
use crate::sys::{self, Entry, Facts, FollowLast, Held, Kind, Resolved};
use crate::talk::source_facts::GoesOn;
use crate::talk::which_file::WhichFile;
use crate::units::bytes;
use crate::visible;
use crate::writer::commit;
use crate::writer::{journaling, partial};

/// How much will come, as far as it is known before.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SourceSize {
    pub(crate) bytes: Option<u64>,
    /// What it takes where it is: less if it has holes.
    pub(crate) allocated: Option<u64>,
}

impl SourceSize {
    /// The least room that a copy takes; nothing is known of how well it compresses.
    fn room(self, sparse: When) -> Option<u64> {
        let bytes = self.bytes?;
        match sparse {
            When::Never => Some(bytes),
            When::Auto => Some(self.allocated.unwrap_or(bytes).min(bytes)),
            // Nobody knows how many zeros will come.
            When::Always => None,
        }
    }
}

/// Where the copy goes.
#[derive(Debug)]
pub(crate) struct Target {
    /// As it is shown to the user.
    pub(crate) path: PathBuf,
    pub(super) place: TargetPlace,
    /// Another user chose the name, so no file may be replaced.
    pub(super) must_be_new: bool,
}

#[derive(Debug)]
pub(super) enum TargetPlace {
    /// A name, and what it stands for.
    Name(Entry, Option<Held>),
    /// What is open already, and has no name of its own to be given to another file.
    Open(Held),
}

impl Target {
    /// Finds `path`; in a directory, `name` in there.
    pub(crate) fn find(
        path: &Path,
        name: Option<&OsStr>,
        on_existing: &OnExisting,
    ) -> Result<Target, Failure> {
        // What is there gets another name as it is, be it a link; and else is written
        // through, as it is for cp.
        let follow = match on_existing {
            OnExisting::BackUp(_) => FollowLast::No,
            _ => FollowLast::Yes,
        };
        let mut path = path.to_path_buf();
        let failed = |path: &Path, error: io::Error| Failure::io("write to", path, &error);
        let mut found = sys::resolve(&path, follow).map_err(|error| failed(&path, error))?;
        if matches!(&found, Resolved::Name(_, Some(held)) if held.facts.is_link) {
            // A link to a directory means the directory.
            match sys::resolve(&path, FollowLast::Yes) {
                Ok(directory @ Resolved::Directory(_)) => found = directory,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(&path, error)),
            }
        }
        if let Resolved::Directory(directory) = &found {
            let name = name.ok_or_else(|| {
                let message = format!(
                    "{} is a directory, and the source has no name to use in it; name the file",
                    visible::name(&path)
                );
                Failure::new(Exit::Failed, message)
            })?;
            path.push(name);
            found = directory
                .resolve(name, follow)
                .map_err(|error| failed(&path, error))?;
        }
        let place = match found {
            Resolved::Name(entry, held) => TargetPlace::Name(entry, held),
            Resolved::Open(held) => TargetPlace::Open(held),
            Resolved::Directory(_) => {
                return Err(failed(&path, io::ErrorKind::IsADirectory.into()));
            }
        };
        Ok(Target {
            path,
            place,
            must_be_new: false,
        })
    }

    /// What is there, as it was when it was found.
    pub(crate) fn facts(&self) -> Option<&Facts> {
        self.held().map(|held| &held.facts)
    }

    pub(super) fn held(&self) -> Option<&Held> {
        match &self.place {
            TargetPlace::Name(_, held) => held.as_ref(),
            TargetPlace::Open(held) => Some(held),
        }
    }

    /// Whether it is written where it is, for what it is: a device, a fifo, a pipe.
    pub(super) fn is_direct(&self) -> bool {
        let is_file = |held: &Held| held.facts.kind == Kind::File || held.facts.is_link;
        self.held().is_some_and(|held| !is_file(held))
    }

    /// Whether the Writer before had given the file that it wrote this name: then nothing is
    /// left to do, but for what that may have died before.
    pub(crate) fn is_complete(
        &self,
        goes_on: &GoesOn,
        settings: &Settings,
    ) -> Result<bool, Failure> {
        let TargetPlace::Name(entry, Some(found)) = &self.place else {
            return Ok(false);
        };
        let is_written_as_it_is = settings.in_place || self.is_direct();
        let which = WhichFile::of(&found.facts);
        if is_written_as_it_is || which.is_none() || which != goes_on.partial {
            return Ok(false);
        }
        // Somebody else can have given it this name.
        if !goes_on.all || found.facts.len != goes_on.offset {
            return Ok(false);
        }
        if found.facts.names > 1 {
            return Err(partial::has_other_name(entry, &self.path)?);
        }
        let failed = |what| move |error| Failure::io(what, &self.path, &error);
        let file = found.open_to_read().map_err(failed("open"))?;
        // As what it replaced may have been.
        let may_be_another_s =
            settings.preserve.ownership || goes_on.old.is_some() && settings.backup.is_none();
        if !may_be_another_s && !partial::is_own(&file).map_err(failed("look at"))? {
            return Ok(false);
        }
        if settings.backup.is_some() {
            commit::clear_older(entry).map_err(failed("make the backup of"))?;
        }
        if settings.resume {
            journaling::clear_left(entry, &self.path, false, &file)?;
        }
        if settings.sync {
            let directory = entry.open_to_sync();
            let synced = directory.and_then(|directory| directory.sync(&file));
            synced.map_err(failed("sync the directory of"))?;
        }
        Ok(true)
    }

    /// Refuses what would fail only once everything is written: a name that cannot be
    /// given to another file, too little room.
    pub(super) fn check_room(&self, size: SourceSize, settings: &Settings) -> Result<(), Failure> {
        let (TargetPlace::Name(entry, held), Some(needed)) =
            (&self.place, size.room(settings.sparse))
        else {
            return Ok(());
        };
        let failed = |error| Failure::io("look at the file system of", &self.path, &error);
        let Some(mut free) = entry.free_bytes().map_err(failed)? else {
            return Ok(());
        };
        let own = match settings.in_place {
            true => held.as_ref().map_or(0, |held| held.facts.len),
            // What an earlier copy left is gone on with, or removed.
            false => partial::room_of_left(entry).map_err(failed)?,
        };
        free = free.saturating_add(own);
        if needed <= free || settings.force {
            return Ok(());
        }
        let message = format!(
            "cannot write to {}: it needs {}, {} are free on its file system; --force tries all the same",
            visible::name(&self.path),
            bytes(needed),
            bytes(free)
        );
        Err(Failure::new(Exit::Failed, message))
    }
}

/// Refuses a name that the finished file could not take in the end.
pub(super) fn check_replaceable(
    entry: &Entry,
    old: Option<&Held>,
    path: &Path,
) -> Result<(), Failure> {
    let failed = |error| Failure::io("look at", path, &error);
    let Some(why) = entry.why_not_replaced(old).map_err(failed)? else {
        return Ok(());
    };
    let message = format!("cannot replace {}: {why}", visible::name(path));
    let failure = Failure::new(Exit::Failed, message);
    Err(match old {
        Some(_) => failure.remark(IN_PLACE),
        None => failure,
    })
}

/// What else can be done with a file that cannot be replaced.
pub(super) const IN_PLACE: &str = "--in-place writes into the file that is there";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_that_is_needed_depends_on_what_becomes_of_zeros() {
        let size = SourceSize {
            bytes: Some(100),
            allocated: Some(10),
        };
        let rooms = [When::Never, When::Auto, When::Always].map(|sparse| size.room(sparse));
        assert_eq!(rooms, [Some(100), Some(10), None]);
        let stream = SourceSize::default();
        assert_eq!(stream.room(When::Never), None);
    }
}
