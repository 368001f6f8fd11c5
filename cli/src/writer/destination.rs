//! Where the bytes go: all or nothing.
//!
//! A file is written under another name beside its own (the *partial file*), and
//! takes the place of the old one in a single step when everything is in it and on
//! disk. What is no file (a device, a fifo, a pipe) is written directly.
//!
//! Directories like /tmp are full of strangers, so the partial file is used only
//! if it is a regular file of this user, with one name, not reached through a
//! link, and locked: never two copies at once.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::failure::{Failure, Status, reason};
use crate::request::plan::backup_path;
use crate::request::settings::{Preserve, Settings};
use crate::sys::{self, Access, Facts, Identity, Kind};
use crate::talk::metadata::Metadata;
use crate::tell::output;
use crate::writer::attributes::Finish;

/// How long to wait for another process to let go of the partial file: a killed
/// copy's second half may still be cleaning up.
const PARTIAL_PATIENCE: Duration = Duration::from_secs(2);

/// How long to wait for another process to let go of the old destination: on some
/// systems, virus scanners and indexers look at files for a moment now and then.
const REPLACING_PATIENCE: Duration = Duration::from_millis(300);

/// An open destination.
pub(crate) struct Destination {
    file: File,
    path: PathBuf,
    /// A disk, written from its beginning.
    is_disk: bool,
    /// Some of it was skipped.
    has_holes: bool,
    /// `None` for what is written directly.
    partial: Option<Partial>,
}

/// The file that becomes the destination.
struct Partial {
    path: PathBuf,
    identity: Identity,
    access: Access,
    old: Old,
    gate: Arc<Gate>,
}

/// What happens to a file that is there already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Old {
    Replaced,
    /// Stays; one that comes while the copy runs makes it fail.
    Kept,
    /// Gets a name with this suffix.
    BackedUp(OsString),
}

impl Old {
    pub(crate) fn of(settings: &Settings) -> Old {
        match &settings.backup {
            Some(suffix) => Old::BackedUp(suffix.clone()),
            None if settings.no_clobber => Old::Kept,
            None => Old::Replaced,
        }
    }
}

impl Destination {
    /// Opens `place`. A file that does not exist yet gets `new_mode`; one that does
    /// keeps its own.
    pub(crate) fn open(
        path: &Path,
        new_mode: u32,
        old: Old,
        gate: &Arc<Gate>,
    ) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::io("write to", path, &error);
        let existing = match sys::facts_at(path) {
            Ok(facts) => Some(facts.kind),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        let (path, access) = match (existing, &old) {
            (Some(Kind::Directory), _) => {
                return Err(failed(io::ErrorKind::IsADirectory.into()));
            }
            (Some(kind @ (Kind::Disk | Kind::Stream)), _) => {
                return Destination::open_directly(path, kind == Kind::Disk);
            }
            // What is there goes, be it a link; so all is new, as it is for cp.
            (_, Old::BackedUp(suffix)) => {
                check_backup(&backup_path(path, suffix))?;
                (path.to_path_buf(), Access::new(new_mode))
            }
            (Some(Kind::File), _) => {
                let access = Access::to_replace(path).map_err(failed)?;
                (through_link(path)?, access)
            }
            (None, _) => (through_link(path)?, Access::new(new_mode)),
        };
        Destination::open_beside(path, access, old, gate)
    }

    /// Standard output.
    pub(crate) fn standard() -> Result<Self, Failure> {
        let path = PathBuf::from("standard output");
        let file = sys::standard_output().map_err(|error| Failure::io("open", &path, &error))?;
        Ok(Destination {
            file,
            path,
            is_disk: false,
            has_holes: false,
            partial: None,
        })
    }

    fn open_beside(
        path: PathBuf,
        access: Access,
        old: Old,
        gate: &Arc<Gate>,
    ) -> Result<Self, Failure> {
        let partial = partial_path(&path)?;
        let (file, identity) = open_partial(&partial)?;
        gate.register(&partial, identity)?;
        let begun = access.begin(&file);
        let destination = Destination {
            file,
            path,
            is_disk: false,
            has_holes: false,
            partial: Some(Partial {
                path: partial,
                identity,
                access,
                old,
                gate: Arc::clone(gate),
            }),
        };
        begun.map_err(|error| Failure::io("protect", &destination.path, &error))?;
        Ok(destination)
    }

    fn open_directly(path: &Path, is_disk: bool) -> Result<Self, Failure> {
        let file =
            sys::open_to_write(path).map_err(|error| Failure::io("write to", path, &error))?;
        Ok(Destination {
            file,
            path: path.to_path_buf(),
            is_disk,
            has_holes: false,
            partial: None,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Another handle on the file, for syncing it from another thread.
    pub(crate) fn handle(&self) -> io::Result<File> {
        sys::handle_for_syncing(&self.file)
    }

    /// Whether this destination can be on disk at all.
    pub(crate) fn can_sync(&self) -> bool {
        sys::facts(&self.file).is_ok_and(|facts| matches!(facts.kind, Kind::File | Kind::Disk))
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Skips `len` bytes, which are zeros then; false if they have to be written,
    /// since something else may be there.
    pub(crate) fn skip(&mut self, len: u64) -> io::Result<bool> {
        if self.partial.is_none() {
            return Ok(false);
        }
        if !self.has_holes {
            sys::expect_holes(&self.file);
            self.has_holes = true;
        }
        let len = i64::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.file.seek(SeekFrom::Current(len))?;
        Ok(true)
    }

    /// Ends what was written after `len` bytes, the last of which may be skipped.
    pub(crate) fn end(&mut self, len: u64) -> io::Result<()> {
        match self.has_holes {
            true => self.file.set_len(len),
            false => Ok(()),
        }
    }

    /// Whether all data is in a file of its own.
    pub(crate) fn is_file(&self) -> bool {
        self.partial.is_some()
    }

    /// Whether what was written can be read from where it is kept.
    pub(crate) fn can_read_again(&self) -> bool {
        self.is_file() || self.is_disk
    }

    /// What was written, from the disk and not from memory, if the system can be moved
    /// to that.
    pub(crate) fn read_again(&self) -> io::Result<File> {
        let mut file = match self.is_file() {
            true => self.file.try_clone()?,
            false => sys::open_to_read(&self.path)?,
        };
        self.file.sync_all()?;
        sys::forget_cached(&file, 0, None);
        file.seek(SeekFrom::Start(0))?;
        Ok(file)
    }

    /// Gives the file what it keeps of its source, or of the file that it replaces;
    /// nothing to what is written in place.
    pub(crate) fn finish(
        &self,
        source: &Metadata,
        from_own_user: bool,
        preserve: Preserve,
    ) -> Result<(), Failure> {
        let Some(partial) = &self.partial else {
            return Ok(());
        };
        let finish = Finish {
            file: &self.file,
            path: &self.path,
            old: partial.access.kept(),
            is_new: partial.access.is_new(),
            source,
            from_own_user,
            preserve,
        };
        finish.run()
    }

    /// Makes what was written the destination: on disk if `sync`; `last_check` is
    /// asked just before the point of no return.
    pub(crate) fn commit(
        self,
        sync: bool,
        last_check: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let failed = |what: &str| {
            let path = self.path.clone();
            let what = what.to_owned();
            move |error: io::Error| Failure::io(&what, &path, &error)
        };
        if sync && self.can_sync() {
            self.file.sync_all().map_err(failed("sync"))?;
        }
        let Some(partial) = &self.partial else {
            return last_check();
        };
        partial.gate.commit(last_check, || {
            if !is_still(&partial.path, partial.identity) {
                let message = "the partial file was removed or replaced by someone";
                return Err(Failure::new(Status::Failed, message));
            }
            partial.take_name(&self.path, sync)
        })?;
        if sync {
            sync_directory(&self.path)?;
        }
        Ok(())
    }
}

impl Partial {
    /// Becomes the destination `path`.
    fn take_name(&self, path: &Path, durably: bool) -> Result<(), Failure> {
        let taken = |from: &Path, to: &Path| replace(from, to, durably);
        let failed = |error: io::Error| Failure::io("rename the finished file to", path, &error);
        match &self.old {
            Old::Replaced => taken(&self.path, path).map_err(failed),
            Old::Kept => sys::rename_new(&self.path, path, durably).map_err(|error| {
                let came = error.kind() == io::ErrorKind::AlreadyExists;
                match came {
                    true => failed(error).remark("it came while this copy ran, and is kept"),
                    false => failed(error),
                }
            }),
            Old::BackedUp(suffix) => {
                let backup = backup_path(path, suffix);
                let undo = back_up(path, &backup, &self.path, durably)?;
                taken(&self.path, path).map_err(|error| {
                    undo.run(path, &backup);
                    failed(error)
                })
            }
        }
    }
}

/// How a backup is taken back if the destination cannot be replaced after all.
enum Undo {
    Nothing,
    RemoveBackup,
    RenameBackup,
}

impl Undo {
    fn run(self, path: &Path, backup: &Path) {
        // The failure that led here is told; what is left shows itself.
        let _ = match self {
            Undo::Nothing => Ok(()),
            Undo::RemoveBackup => std::fs::remove_file(backup),
            Undo::RenameBackup => std::fs::rename(backup, path),
        };
    }
}

/// What cannot be a backup should not come out when all is written.
fn check_backup(backup: &Path) -> Result<(), Failure> {
    let failed = |why: &str| {
        let message = format!("cannot make the backup {}: {why}", backup.display());
        Err(Failure::new(Status::Failed, message))
    };
    let name = backup.file_name().unwrap_or_default();
    if sys::name_len(name) > sys::NAME_MAX {
        return failed("its name would be too long");
    }
    match sys::facts_of_name(backup) {
        Ok(found) if found.kind == Kind::Directory => failed("a directory has that name"),
        _ => Ok(()),
    }
}

/// Gives what is called `path` the name `backup`, in the place of an older backup. It
/// is called `path`, too, until that is replaced, where a file can have two names;
/// elsewhere nothing is, for a moment.
fn back_up(path: &Path, backup: &Path, partial: &Path, durably: bool) -> Result<Undo, Failure> {
    let failed = |error: io::Error| Failure::io("make the backup", backup, &error);
    if sys::facts_of_name(path).is_err() {
        return Ok(Undo::Nothing);
    }
    // A new name takes no other's place, so it is made beside and renamed. What a
    // killed copy left there is another name of the destination.
    let spare = partial.with_extension("brigade-backup");
    let _ = std::fs::remove_file(&spare);
    if std::fs::hard_link(path, &spare).is_err() {
        replace(path, backup, durably).map_err(failed)?;
        return Ok(Undo::RenameBackup);
    }
    let renamed = replace(&spare, backup, durably);
    // Still there if it failed, or if both names are of one file already.
    let _ = std::fs::remove_file(&spare);
    renamed.map_err(failed)?;
    Ok(Undo::RemoveBackup)
}

impl Drop for Destination {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            partial.gate.discard();
        }
    }
}

fn sync_directory(path: &Path) -> Result<(), Failure> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    sys::sync_directory(directory).map_err(|error| {
        Failure::io("sync the directory", directory, &error)
            .remark("the destination was replaced, but may not be on disk")
    })
}

/// Tries again for a while if another process is in the way.
fn replace(partial: &Path, path: &Path, durably: bool) -> io::Result<()> {
    let deadline = Instant::now() + REPLACING_PATIENCE;
    loop {
        match sys::replace(partial, path, durably) {
            Err(error) if sys::is_in_use(&error) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            replaced => return replaced,
        }
    }
}

/// The file that a symbolic link stands for, as cp writes through links.
fn through_link(path: &Path) -> Result<PathBuf, Failure> {
    let is_link = sys::facts_of_name(path).is_ok_and(|found| found.is_link);
    if !is_link {
        return Ok(path.to_path_buf());
    }
    std::fs::canonicalize(path)
        .map_err(|error| Failure::io("write through the symbolic link", path, &error))
}

/// `.NAME.brigade-partial`, beside the destination.
fn partial_path(path: &Path) -> Result<PathBuf, Failure> {
    let Some(name) = path.file_name() else {
        let error = io::Error::from(io::ErrorKind::IsADirectory);
        return Err(Failure::io("write to", path, &error));
    };
    let mut partial = OsString::from(".");
    const SUFFIX: &str = ".brigade-partial";
    if sys::name_len(name) + 1 + SUFFIX.len() <= sys::NAME_MAX {
        partial.push(name);
    } else {
        // The beginning, and something to tell it from others of that beginning.
        let hash = blake3::hash(name.as_encoded_bytes()).to_hex();
        partial.push(sys::name_beginning(name, 100));
        partial.push(&hash[..32]);
    }
    partial.push(SUFFIX);
    Ok(path.with_file_name(partial))
}

/// Whether `path` still names that file, and not another by now.
fn is_still(path: &Path, expected: Identity) -> bool {
    sys::facts_of_name(path).is_ok_and(|found| found.identity == expected)
}

fn open_partial(path: &Path) -> Result<(File, Identity), Failure> {
    let refused = |why: &str| {
        let message = format!("cannot use {}: {why}; remove it", path.display());
        Failure::new(Status::Failed, message)
    };
    let deadline = Instant::now() + PARTIAL_PATIENCE;
    loop {
        let last = Instant::now() >= deadline;
        let is_left_over = sys::facts_of_name(path).is_ok();
        let opened = sys::open_partial(path);
        let found = sys::facts_of_name(path);
        let file = match (opened, &found) {
            (Ok(file), _) => file,
            (Err(_), Ok(found)) if found.is_link => {
                return Err(refused("it is a symbolic link"));
            }
            (Err(_), Ok(found)) if !found.is_own => {
                return Err(refused("it belongs to another user"));
            }
            (Err(error), _) => return Err(Failure::io("create", path, &error)),
        };
        let opened = sys::facts(&file).map_err(|error| Failure::io("look at", path, &error))?;
        if let Some(why) = unfit(&opened) {
            return Err(refused(why));
        }
        match file.try_lock() {
            // Ours, if it is still what the name stands for: the last holder may
            // have removed or renamed it since it was opened.
            Ok(()) => {
                if !is_still(path, opened.identity) {
                    // Try again.
                } else if is_left_over {
                    // A killed copy may have given it to others already.
                    std::fs::remove_file(path)
                        .map_err(|error| Failure::io("remove", path, &error))?;
                } else {
                    return Ok((file, opened.identity));
                }
            }
            Err(TryLockError::WouldBlock) if last => {
                let message = format!(
                    "another copy is being written to this destination ({} is in use)",
                    path.display()
                );
                return Err(Failure::new(Status::Failed, message));
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(Failure::io("lock", path, &error)),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Why an open file must not be the partial file.
fn unfit(opened: &Facts) -> Option<&'static str> {
    if opened.is_link {
        Some("it is a symbolic link")
    } else if opened.kind != Kind::File {
        Some("it is no regular file")
    } else if !opened.is_own {
        Some("it belongs to another user")
    } else if opened.names > 1 {
        Some("it has another name, too")
    } else {
        None
    }
}

/// Decides, between the thread that writes and the one that watches, whether the
/// partial file becomes the destination or goes away: one of them, once.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<GateState>,
}

#[derive(Debug, Default)]
enum GateState {
    #[default]
    Nothing,
    Partial(PathBuf, Identity),
    /// Checked for the last time; being renamed, or renamed.
    Committing,
    Closed,
}

impl Gate {
    /// Valid even if a thread panicked with it: each change is a single step.
    fn state(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, path: &Path, identity: Identity) -> Result<(), Failure> {
        let mut state = self.state();
        if matches!(*state, GateState::Closed) {
            remove(path, identity);
            return Err(given_up());
        }
        *state = GateState::Partial(path.to_path_buf(), identity);
        Ok(())
    }

    /// `check` and the point of no return are one step for the thread that watches;
    /// `rename` may take its time.
    fn commit(
        &self,
        check: impl FnOnce() -> Result<(), Failure>,
        rename: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut state = self.state();
        if matches!(*state, GateState::Closed) {
            return Err(given_up());
        }
        check()?;
        let before = std::mem::replace(&mut *state, GateState::Committing);
        drop(state);
        rename().inspect_err(|_| *self.state() = before)
    }

    /// Does `stop`, unless the point of no return has passed.
    pub(crate) fn unless_committing(&self, stop: impl FnOnce()) {
        let state = self.state();
        if !matches!(*state, GateState::Committing) {
            stop();
        }
    }

    /// Removes the partial file, if there is one.
    fn discard(&self) {
        let mut state = self.state();
        if let GateState::Partial(path, identity) = &*state {
            remove(path, *identity);
            *state = GateState::Nothing;
        }
    }

    /// As `discard`, and nothing can be committed any more. False if it was
    /// committed already: then the copy has succeeded.
    pub(crate) fn close(&self) -> bool {
        let mut state = self.state();
        match &*state {
            GateState::Committing => return false,
            GateState::Partial(path, identity) => remove(path, *identity),
            _ => {}
        }
        *state = GateState::Closed;
        true
    }
}

/// What the thread that writes gets to hear if the other one closed the gate; that
/// one tells the user why.
fn given_up() -> Failure {
    Failure {
        is_echo: true,
        ..Failure::new(Status::Failed, "given up")
    }
}

/// Not if it is another copy's by now.
fn remove(path: &Path, identity: Identity) {
    if !is_still(path, identity) {
        return;
    }
    if let Err(error) = std::fs::remove_file(path) {
        let (path, why) = (path.display(), reason(&error));
        output::warn(&format!("writer: cannot remove {path}: {why}"));
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn refusal(path: &Path) -> String {
        open_partial(path).unwrap_err().message
    }

    #[test]
    fn a_stranger_s_file_a_link_and_a_second_name_are_never_written() {
        let directory = tempfile::tempdir().unwrap();
        let precious = directory.path().join("precious");
        std::fs::write(&precious, "precious").unwrap();
        let partial = directory.path().join(".x.brigade-partial");

        if sys::testing::link(&precious, &partial) {
            assert!(refusal(&partial).contains("symbolic link"));
            std::fs::remove_file(&partial).unwrap();
        } else {
            eprintln!("skipped: no symbolic link can be made here");
        }

        std::fs::hard_link(&precious, &partial).unwrap();
        assert!(refusal(&partial).contains("another name"));
        std::fs::remove_file(&partial).unwrap();

        std::fs::create_dir(&partial).unwrap();
        assert!(refusal(&partial).contains("cannot"));
        std::fs::remove_dir(&partial).unwrap();

        std::fs::write(&partial, "").unwrap();
        if sys::testing::give_away(&partial) {
            assert!(refusal(&partial).contains("another user"));
        } else {
            eprintln!("skipped: no file can be given to another user here");
        }
        assert_eq!(std::fs::read(&precious).unwrap(), b"precious");
    }

    #[test]
    fn a_partial_file_left_by_a_killed_copy_is_used_again_but_never_by_two() {
        let directory = tempfile::tempdir().unwrap();
        let partial = directory.path().join(".x.brigade-partial");
        std::fs::write(&partial, "left over").unwrap();
        let (first, _) = open_partial(&partial).unwrap();
        assert_eq!(first.metadata().unwrap().len(), 0);
        assert!(refusal(&partial).contains("another copy"));
        drop(first);
        open_partial(&partial).unwrap();
    }

    #[test]
    fn the_longest_names_have_a_partial_file_too() {
        let long = PathBuf::from("/d").join("n".repeat(sys::NAME_MAX));
        let name = partial_path(&long).unwrap();
        assert!(name.file_name().unwrap().len() <= sys::NAME_MAX);
        let other = PathBuf::from("/d").join("n".repeat(sys::NAME_MAX - 1));
        assert_ne!(partial_path(&other).unwrap(), name);
    }

    #[test]
    fn once_closed_nothing_can_be_committed_and_once_committed_nothing_closed() {
        let gate = Gate::default();
        assert!(gate.close());
        assert!(gate.commit(|| Ok(()), || Ok(())).is_err());
        let gate = Gate::default();
        gate.commit(|| Ok(()), || Ok(())).unwrap();
        assert!(!gate.close());
    }
}
