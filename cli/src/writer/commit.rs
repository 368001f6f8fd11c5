//! The last step: the finished file takes the destination's name.
//!
//! With a backup, nothing is lost at any step that fails:
//!
//! ```text
//! link    b              -> .b.brigade-backup     the old file has two names
//! link    b~             -> .b.brigade-older      so has the older backup, if there is one
//! rename  .b.brigade-backup -> b~
//! rename  .b.brigade-partial -> b                 fails: the two steps before are undone
//! remove  .b.brigade-older
//! ```

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use brigade::at_step;

use crate::failure::{Exit, Failure, reason};
use crate::request::settings::OnExisting;
use crate::sys::{self, Entry, Held, Kind};
use crate::tell::output;
use crate::visible;
use crate::writer::partial::{Partial, name_beside};
use crate::writer::skip_rule::LastLook;

/// How long to wait for another process to let go of the old destination: on some
/// systems, virus scanners and indexers look at files for a moment now and then.
const PATIENCE: Duration = Duration::from_millis(300);

/// Other names of the old file, and of an older backup, while they are exchanged.
const BACKUP: &str = ".brigade-backup";
const OLDER: &str = ".brigade-older";

/// What takes which name.
pub(super) struct Commit<'a> {
    pub(super) partial: &'a Partial,
    pub(super) target: &'a Entry,
    /// What had the name when the copy began.
    pub(super) old: Option<&'a Held>,
    pub(super) on_existing: &'a OnExisting,
    /// The old file's permission bits, as the new one has got them.
    pub(super) old_mode: Option<u32>,
    pub(super) last_look: LastLook,
    /// As the target is shown.
    pub(super) path: &'a Path,
    pub(super) durably: bool,
}

impl Commit<'_> {
    pub(super) fn run(&self) -> Result<(), Failure> {
        self.partial.check(self.path)?;
        let Some(old) = self.old else {
            return self.take_new_name();
        };
        let found = self.target.hold();
        let found = found.map_err(|error| Failure::io("look at", self.path, &error))?;
        let why = match found {
            Some(found) if found.facts.identity != old.facts.identity => {
                "another file took its name while this copy ran, and is kept"
            }
            Some(found) if self.last_look.keeps(&found.facts) => {
                "it was changed while this copy ran, and is kept: the source is not newer"
            }
            Some(found)
                if self
                    .old_mode
                    .is_some_and(|mode| found.facts.mode != Some(mode)) =>
            {
                "its mode was changed again and again while this copy ended; run it again"
            }
            Some(_) => {
                return match self.on_existing {
                    OnExisting::BackUp(suffix) => self.back_up(old, suffix),
                    _ => self.take_name(),
                };
            }
            None => "it was removed while this copy ran",
        };
        let message = format!("cannot replace {}: {why}", visible::name(self.path));
        Err(Failure::new(Exit::Failed, message))
    }

    fn take_new_name(&self) -> Result<(), Failure> {
        let renamed = self.partial.entry.rename_to_new(self.target, self.durably);
        renamed.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => self
                .rename_failed(&error)
                .remark("it came while this copy ran, and is kept"),
            _ => self.rename_failed(&error),
        })
    }

    fn take_name(&self) -> Result<(), Failure> {
        let renamed = rename(&self.partial.entry, self.target, self.durably);
        renamed.map_err(|error| self.rename_failed(&error))
    }

    fn rename_failed(&self, error: &io::Error) -> Failure {
        Failure::io("rename the finished file to", self.path, error)
    }

    /// The old file gets the name with `suffix`, in the place of an older backup.
    fn back_up(&self, old: &Held, suffix: &OsStr) -> Result<(), Failure> {
        let backup = self.target.sibling(with_suffix(self.target.name(), suffix));
        let failed = |error: io::Error| {
            let path = self.path.with_file_name(backup.name());
            Failure::io("make the backup", &path, &error)
        };
        let older = self.set_aside(&backup).map_err(failed)?;
        at_step("older backup set aside");
        let named = self.name_old(&backup).map_err(failed);
        at_step("backup made");
        let Err(failure) = named.and_then(|()| self.take_name()) else {
            if let Some(Err(error)) = older.as_ref().map(remove_if_there) {
                self.warn(&format!("the older backup stays: {}", reason(&error)));
            }
            return Ok(());
        };
        match self.undo(old, &backup, older) {
            Ok(()) => Err(failure),
            Err(error) => {
                let (name, why) = (visible::name(backup.name()), reason(&error));
                let left = format!("and the backup could not be undone: {why}; look at {name}");
                Err(failure.remark(&left))
            }
        }
    }

    /// Gives a backup that is there already another name; `None` if there is none.
    fn set_aside(&self, backup: &Entry) -> io::Result<Option<Entry>> {
        let aside = self.beside(OLDER)?;
        if aside.hold()?.is_some() {
            // A killed copy had come as far as this.
            bring_back(&aside, backup)?;
        }
        if backup.hold()?.is_none() {
            return Ok(None);
        }
        match backup.link_to(&aside) {
            // A file that can have but one name is moved; then there is no backup for a
            // moment.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                backup.rename_to_new(&aside, self.durably)?;
            }
            linked => linked?,
        }
        Ok(Some(aside))
    }

    /// Gives the old file the name `backup` as well, or at least.
    fn name_old(&self, backup: &Entry) -> io::Result<()> {
        // A new name takes no other's place, so it is made beside and renamed.
        let spare = self.beside(BACKUP)?;
        remove_if_there(&spare)?;
        match self.target.link_to(&spare) {
            // For a moment, nothing has the target's name.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                return rename(self.target, backup, self.durably);
            }
            linked => linked?,
        }
        let renamed = rename(&spare, backup, self.durably);
        // Still there if that failed, or if both names are of one file already.
        renamed.and(remove_if_there(&spare))
    }

    /// As it was before, but for the reason that is told.
    fn undo(&self, old: &Held, backup: &Entry, older: Option<Entry>) -> io::Result<()> {
        let is_old = |entry: &Entry| -> io::Result<bool> {
            let found = entry.hold()?;
            Ok(found.is_some_and(|found| found.facts.identity == old.facts.identity))
        };
        if !is_old(self.target)? && is_old(backup)? {
            backup.rename_to_new(self.target, self.durably)?;
        }
        match older {
            Some(older) => {
                rename(&older, backup, self.durably)?;
                // Still there if both names are of one file.
                remove_if_there(&older)
            }
            None if is_old(backup)? => backup.remove(),
            None => Ok(()),
        }
    }

    fn warn(&self, what: &str) {
        let path = visible::name(self.path);
        output::warn(&format!("writer: warning: {path}: {what}"));
    }

    fn beside(&self, suffix: &str) -> io::Result<Entry> {
        let max = self.target.name_max()?;
        let name = name_beside(self.target.name(), suffix, max);
        Ok(self.target.sibling(name))
    }
}

/// Removes what a copy left that was killed while it made a backup, as far as no name of
/// it would be the last one of a file.
pub(super) fn clear_left_over(target: &Entry) -> io::Result<()> {
    for suffix in [BACKUP, OLDER] {
        let name = name_beside(target.name(), suffix, target.name_max()?);
        let left = target.sibling(name);
        if left.hold()?.is_some_and(|found| found.facts.names > 1) {
            left.remove()?;
        }
    }
    Ok(())
}

/// Ends what a Writer began that had replaced its destination, and died: an older backup
/// has a successor by now.
pub(super) fn clear_older(target: &Entry) -> io::Result<()> {
    let name = name_beside(target.name(), OLDER, target.name_max()?);
    remove_if_there(&target.sibling(name))?;
    clear_left_over(target)
}

/// An older backup gets its name back, unless its successor has it already.
fn bring_back(aside: &Entry, backup: &Entry) -> io::Result<()> {
    match aside.rename_to_new(backup, false) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => aside.remove(),
        renamed => renamed,
    }
}

pub(super) fn remove_if_there(entry: &Entry) -> io::Result<()> {
    match entry.remove() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// What cannot be a backup should not come out when all is written.
pub(super) fn check_backup(target: &Entry, path: &Path, suffix: &OsStr) -> Result<(), Failure> {
    let name = with_suffix(target.name(), suffix);
    let shown = path.with_file_name(&name);
    let failed = |error| Failure::io("make the backup", &shown, &error);
    let refused = |why: &str| {
        let message = format!("cannot make the backup {}: {why}", visible::name(&shown));
        Err(Failure::new(Exit::Failed, message))
    };
    if sys::name_len(&name) > target.name_max().map_err(failed)? {
        return refused("its name would be too long");
    }
    match target.sibling(name).hold().map_err(failed)? {
        Some(found) if found.facts.kind == Kind::Directory && !found.facts.is_link => {
            refused("a directory has that name")
        }
        _ => Ok(()),
    }
}

/// The name that a destination is kept under when it is replaced.
pub(crate) fn with_suffix(name: &OsStr, suffix: &OsStr) -> OsString {
    let mut name = name.to_owned();
    name.push(suffix);
    name
}

/// Tries again for a while if another process is in the way.
fn rename(from: &Entry, to: &Entry, durably: bool) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match from.rename_to(to, durably) {
            Err(error) if sys::is_in_use(&error) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            renamed => return renamed,
        }
    }
}
