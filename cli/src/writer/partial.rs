//! The partial file: what the destination is called until it is whole.
//!
//! Directories like /tmp are full of strangers, so the file that is written is always
//! made by this copy. What a killed copy left there is removed, if nobody has it locked;
//! it is opened for writing only by who knows which file that was, and goes on with it.

use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use brigade::at_step;

use crate::failure::{Exit, Failure};
use crate::sys::{self, Entry, Facts, Held, Identity, Kind};
use crate::talk::which_file::WhichFile;
use crate::visible;
use crate::writer::gate::CommitGate;

/// How long to wait for another process to let go of the partial file: a killed
/// copy's second half may still be cleaning up.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// What the name of the partial file ends in.
const SUFFIX: &str = ".brigade-partial";

/// Its permission bits until it is whole.
const PARTIAL_MODE: u32 = 0o600;

/// A file that nobody but this copy writes.
pub(super) struct Partial {
    pub(super) entry: Entry,
    pub(super) identity: Identity,
    /// For who goes on with it, if anybody can.
    pub(super) which: Option<WhichFile>,
    pub(super) gate: Arc<CommitGate>,
    /// Another handle on the file, which keeps its lock until it has its name, or is gone.
    pub(super) lock: File,
}

/// What an earlier process of this copy left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left {
    /// Which file it wrote.
    pub(crate) file: WhichFile,
    /// So many bytes are in it.
    pub(crate) offset: u64,
    /// It may have got its source's owner; else it is this user's, or the old file's owner's.
    pub(crate) may_be_given_away: bool,
    /// Which file it replaces.
    pub(crate) old: Option<WhichFile>,
}

/// What came of one try to make it.
enum Try {
    Made(File, Facts),
    /// Another process was in the way, for this reason.
    Again(Failure),
}

impl Partial {
    /// Makes the partial file of `target`, which is shown as `path`; where none can be made,
    /// `hint` says what else can be done.
    pub(super) fn make(
        target: &Entry,
        path: &Path,
        hint: Option<&str>,
        gate: &Arc<CommitGate>,
    ) -> Result<(File, Partial), Failure> {
        let failed = |error| Failure::io("write to", path, &error);
        let (entry, shown) = beside(target, path)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let is_last = Instant::now() >= deadline;
            match try_to_make(&entry, &shown, hint, gate)? {
                Try::Made(file, facts) => {
                    let lock = file.try_clone().map_err(|error| {
                        gate.discard();
                        failed(error)
                    })?;
                    let gate = Arc::clone(gate);
                    let partial = Partial {
                        entry,
                        identity: facts.identity,
                        which: WhichFile::of(&facts),
                        gate,
                        lock,
                    };
                    return Ok((file, partial));
                }
                Try::Again(why) if is_last => return Err(why),
                Try::Again(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Opens the one of `target` that is `left`, for this process to go on with: locked,
    /// for nobody else to read, and nothing in it after what is known to be there. The file that
    /// it replaces is `old_user`'s. It is not removed before [`Partial::adopt`].
    pub(super) fn open_left(
        target: &Entry,
        path: &Path,
        left: Left,
        old_user: Option<u32>,
        gate: &Arc<CommitGate>,
    ) -> Result<(File, Partial), Failure> {
        let found = LeftFile::lock(target, path, PATIENCE, None)?;
        let (_, shown) = beside(target, path)?;
        let found = found.ok_or_else(|| cannot_go_on(&shown, "it is gone"))?;
        if WhichFile::of(&found.facts) != Some(left.file) {
            return Err(cannot_go_on(&shown, "it is not the file that was written"));
        }
        let is_old_user_s = found.user.is_some() && found.user == old_user;
        if !(found.is_own() || is_old_user_s || left.may_be_given_away) {
            return Err(cannot_go_on(&shown, "it is another user's"));
        }
        found.take(left.offset, gate)
    }

    /// From now on it is removed if this copy fails.
    pub(super) fn adopt(&self) -> Result<(), Failure> {
        self.gate.adopt(&self.entry, self.identity)
    }

    /// An error unless its name still stands for it.
    pub(super) fn check(&self, path: &Path) -> Result<(), Failure> {
        let failed = |error| Failure::io("look at the partial file of", path, &error);
        let found = self.entry.hold().map_err(failed)?;
        if found.is_some_and(|found| found.facts.identity == self.identity) {
            return Ok(());
        }
        let message = format!(
            "the partial file of {} was removed or replaced by someone",
            visible::name(path)
        );
        Err(Failure::new(Exit::Failed, message))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        self.gate.discard();
    }
}

/// A partial file that was left, and is locked, but for that as it was.
pub(super) struct LeftFile {
    entry: Entry,
    shown: PathBuf,
    file: File,
    pub(super) facts: Facts,
    /// Whose it is, where files are somebody's.
    user: Option<u32>,
    /// Otherwise another process may be writing it, for all that can be known.
    pub(super) is_locked: bool,
}

impl LeftFile {
    /// That of `target`, if there is one, and no other process has it by the end of
    /// `patience`. If it cannot be what a copy has left, `hint` says what to do.
    pub(super) fn lock(
        target: &Entry,
        path: &Path,
        patience: Duration,
        hint: Option<&str>,
    ) -> Result<Option<LeftFile>, Failure> {
        let until = Instant::now() + patience;
        let (entry, shown) = beside(target, path)?;
        let failed = |what: &'static str| {
            let shown = &shown;
            move |error: io::Error| Failure::io(what, shown, &error)
        };
        let Some(held) = entry.hold().map_err(failed("look at"))? else {
            return Ok(None);
        };
        let with_hint = |failure: Failure| match hint {
            Some(hint) => failure.remark(hint),
            None => failure,
        };
        if let Some(why) = unfit(&held.facts) {
            return Err(with_hint(cannot_go_on(&shown, why)));
        }
        let failed_to_open = |error| with_hint(failed("open")(error));
        let file = match held.open_to_read_and_write() {
            // It has got the mode that it should have in the end.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let look = held.open_to_read().map_err(failed_to_open)?;
                lock_left(&look, &shown, patience)?;
                let protected = keep_from_others(&look);
                protected.map_err(|error| with_hint(failed("protect")(error)))?;
                drop(look);
                held.open_to_read_and_write().map_err(failed_to_open)?
            }
            opened => opened.map_err(failed_to_open)?,
        };
        let is_locked = lock_left(&file, &shown, patience)?;
        if !is_still(&entry, &held).map_err(failed("look at"))? {
            // Whoever had it locked has given it its name, or removed it; there may be
            // another one by now.
            let left = until.saturating_duration_since(Instant::now());
            return match left.is_zero() {
                true => Ok(None),
                false => LeftFile::lock(target, path, left, hint),
            };
        }
        // As it is now that nobody else writes it.
        let facts = sys::facts(&file).map_err(failed("look at"))?;
        if let Some(why) = unfit(&facts) {
            return Err(with_hint(cannot_go_on(&shown, why)));
        }
        let owner = sys::owner(&file).map_err(failed("look at"))?;
        Ok(Some(LeftFile {
            entry,
            shown,
            file,
            facts,
            user: owner.map(|(user, _)| user),
            is_locked,
        }))
    }

    /// Whether it is this process's user's.
    pub(super) fn is_own(&self) -> bool {
        is_own_user(self.user)
    }

    /// To go on with, after the first `offset` bytes.
    pub(super) fn take(
        self,
        offset: u64,
        gate: &Arc<CommitGate>,
    ) -> Result<(File, Partial), Failure> {
        if self.facts.len < offset {
            return Err(cannot_go_on(&self.shown, "it was shortened"));
        }
        let failed = |what: &'static str| {
            let shown = &self.shown;
            move |error: io::Error| Failure::io(what, shown, &error)
        };
        keep_from_others(&self.file).map_err(failed("protect"))?;
        let cut = self.file.set_len(offset);
        cut.map_err(failed("write to"))?;
        at_step("left file cut");
        let lock = self.file.try_clone().map_err(failed("open"))?;
        let partial = Partial {
            entry: self.entry,
            identity: self.facts.identity,
            which: WhichFile::of(&self.facts),
            gate: Arc::clone(gate),
            lock,
        };
        Ok((self.file, partial))
    }
}

/// Of a finished file, which has the name `target`, and others: a Writer that could not give it
/// that name in one step may have died before it could remove the partial file's.
pub(super) fn has_other_name(target: &Entry, path: &Path) -> Result<Failure, Failure> {
    let (entry, shown) = beside(target, path)?;
    let failed = |error| Failure::io("look at", &shown, &error);
    let identity = |held: Option<Held>| held.map(|held| held.facts.identity);
    let named = identity(target.hold().map_err(failed)?);
    let left = identity(entry.hold().map_err(failed)?);
    if named.is_none() || named != left {
        return Ok(cannot_go_on(path, "it has another name, too"));
    }
    let why = format!(
        "{} is the same file; remove that name",
        visible::name(&shown)
    );
    Ok(cannot_go_on(path, &why))
}

fn cannot_go_on(shown: &Path, why: &str) -> Failure {
    let message = format!("cannot go on with {}: {why}", visible::name(shown));
    Failure::new(Exit::Failed, message)
}

/// Whether it is this process's user's, where files are somebody's.
pub(super) fn is_own(file: &File) -> io::Result<bool> {
    let owner = sys::owner(file)?;
    Ok(is_own_user(owner.map(|(user, _)| user)))
}

fn is_own_user(user: Option<u32>) -> bool {
    user.is_none() || user == sys::own_user()
}

/// What the partial file of `target` takes on its disk, if one was left.
pub(super) fn room_of_left(target: &Entry) -> io::Result<u64> {
    let name = name_beside(target.name(), SUFFIX, target.name_max()?);
    let left = target.sibling(name).hold()?;
    Ok(left.and_then(|left| left.facts.allocated).unwrap_or(0))
}

/// Where the partial file of `target` is, and how it is shown.
fn beside(target: &Entry, path: &Path) -> Result<(Entry, PathBuf), Failure> {
    let max = target.name_max();
    let max = max.map_err(|error| Failure::io("write to", path, &error))?;
    let name = name_beside(target.name(), SUFFIX, max);
    Ok((target.sibling(&name), path.with_file_name(&name)))
}

/// As it was when it was made: some file systems have no modes.
fn keep_from_others(file: &File) -> io::Result<()> {
    match sys::set_mode(file, PARTIAL_MODE) {
        Err(error) if sys::is_refusal(&error) => Ok(()),
        set => set.and_then(|()| sys::remove_access_list(file)),
    }
}

/// Locks what an earlier process left, which may take a moment to be gone; false if that
/// cannot be.
fn lock_left(file: &File, shown: &Path, patience: Duration) -> Result<bool, Failure> {
    let deadline = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                return Err(in_use(shown));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
            // As when it was made: its name alone keeps others away.
            Err(TryLockError::Error(error)) if sys::has_no_locks(&error) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(Failure::io("lock", shown, &error)),
        }
    }
}

/// A name for a file beside `name`: it begins with a dot, ends with `suffix` and is no
/// longer than `max`.
pub(super) fn name_beside(name: &OsStr, suffix: &str, max: usize) -> OsString {
    /// Of a name that is too long, what is kept of the beginning; the hash tells it from
    /// others of that beginning.
    const HASH_LEN: usize = 32;
    let mut beside = OsString::from(".");
    if 1 + sys::name_len(name) + suffix.len() <= max {
        beside.push(name);
    } else {
        let hash = blake3::hash(name.as_encoded_bytes()).to_hex();
        let room = max.saturating_sub(1 + HASH_LEN + suffix.len());
        beside.push(sys::name_beginning(name, room.min(100)));
        beside.push(&hash[..HASH_LEN]);
    }
    beside.push(suffix);
    beside
}

fn try_to_make(
    entry: &Entry,
    shown: &Path,
    hint: Option<&str>,
    gate: &CommitGate,
) -> Result<Try, Failure> {
    let failed = |what: &'static str| move |error: io::Error| Failure::io(what, shown, &error);
    let file = match gate.create(entry)? {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return clear(entry, shown).map(Try::Again);
        }
        Err(error) => {
            let failure = failed("create")(error);
            return Err(match hint {
                Some(hint) => failure.remark(hint),
                None => failure,
            });
        }
    };
    // Whatever fails from here on, what was made is removed; but only that, once it is
    // known: the name may be another copy's by then.
    let facts = sys::facts(&file);
    let facts = facts.map_err(|error| {
        gate.discard();
        failed("look at")(error)
    })?;
    gate.identify(facts.identity);
    let made = own(entry, &file, facts.identity).map_err(|(what, error)| failed(what)(error));
    match made {
        Ok(true) => Ok(Try::Made(file, facts)),
        Ok(false) => {
            gate.discard();
            Ok(Try::Again(in_use(shown)))
        }
        Err(failure) => {
            gate.discard();
            Err(failure)
        }
    }
}

/// Locks the new `file`; false if another process took it for one that was left, and
/// removes it.
fn own(entry: &Entry, file: &File, identity: Identity) -> Result<bool, (&'static str, io::Error)> {
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(false),
        // Then its name alone keeps others away.
        Err(TryLockError::Error(error)) if sys::has_no_locks(&error) => {}
        Err(TryLockError::Error(error)) => return Err(("lock", error)),
    }
    let named = entry.hold().map_err(|error| ("look at", error))?;
    Ok(named.is_some_and(|named| named.facts.identity == identity))
}

/// Removes what a killed copy left under the name. Why the name may still be taken.
fn clear(entry: &Entry, shown: &Path) -> Result<Failure, Failure> {
    let failed = |what: &'static str| move |error: io::Error| Failure::io(what, shown, &error);
    let Some(left) = entry.hold().map_err(failed("look at"))? else {
        return Ok(in_use(shown));
    };
    let refused = |why: &str| {
        let message = format!("cannot use {}: {why}; remove it", visible::name(shown));
        Failure::new(Exit::Failed, message)
    };
    if let Some(why) = unfit(&left.facts) {
        return Err(refused(why));
    }
    // Only to lock it.
    let file = match left.open_to_read() {
        Ok(file) => file,
        // It got its name, or was removed, since it was looked at.
        Err(_) if !is_still(entry, &left).map_err(failed("look at"))? => return Ok(in_use(shown)),
        Err(error) => return Err(failed("open")(error)),
    };
    let mut lock = file;
    let mut locked = lock.try_lock();
    if matches!(&locked, Err(TryLockError::Error(error)) if sys::must_write_to_lock(error)) {
        // Nothing is written, all the same.
        lock = left.open_to_write().map_err(failed("open"))?;
        locked = lock.try_lock();
    }
    match locked {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(in_use(shown)),
        Err(TryLockError::Error(error)) if sys::has_no_locks(&error) => {
            let message = format!(
                "cannot use {}: another copy may be writing it, and this file system has no locks to tell by; remove it if none is",
                visible::name(shown)
            );
            return Err(Failure::new(Exit::Failed, message));
        }
        Err(TryLockError::Error(error)) => return Err(failed("lock")(error)),
    }
    if is_still(entry, &left).map_err(failed("look at"))? {
        entry.remove().map_err(failed("remove"))?;
    }
    Ok(in_use(shown))
}

fn is_still(entry: &Entry, left: &Held) -> io::Result<bool> {
    let now = entry.hold()?;
    Ok(now.is_some_and(|now| now.facts.identity == left.facts.identity))
}

fn in_use(shown: &Path) -> Failure {
    let shown = visible::name(shown);
    let message = format!("another copy is being written to this destination ({shown} is in use)");
    Failure::new(Exit::Failed, message)
}

/// Why a file cannot be what a killed copy left. Whose it is says nothing: some file
/// systems show another owner; and removing a name takes nothing from who has the file.
fn unfit(found: &Facts) -> Option<&'static str> {
    if found.is_link {
        Some("it is a symbolic link")
    } else if found.kind != Kind::File {
        Some("it is no regular file")
    } else if found.names > 1 {
        Some("it has another name, too")
    } else {
        None
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::sys::{FollowLast, Resolved};

    fn make(target: &Path) -> Result<(File, Partial), Failure> {
        let Ok(Resolved::Name(entry, _)) = sys::resolve(target, FollowLast::Yes) else {
            unreachable!("a name in a directory");
        };
        Partial::make(&entry, target, None, &Arc::default())
    }

    fn refusal(target: &Path) -> String {
        make(target).err().unwrap().message
    }

    #[test]
    fn a_link_and_a_second_name_are_never_written() {
        let directory = tempfile::tempdir().unwrap();
        let precious = directory.path().join("precious");
        std::fs::write(&precious, "precious").unwrap();
        let target = directory.path().join("x");
        let partial = directory.path().join(".x.brigade-partial");

        if sys::testing::link(&precious, &partial) {
            assert!(refusal(&target).contains("symbolic link"));
            std::fs::remove_file(&partial).unwrap();
        } else {
            eprintln!("skipped: no symbolic link can be made here");
        }

        std::fs::hard_link(&precious, &partial).unwrap();
        assert!(refusal(&target).contains("another name"));
        std::fs::remove_file(&partial).unwrap();

        std::fs::create_dir(&partial).unwrap();
        assert!(refusal(&target).contains("cannot"));
        std::fs::remove_dir(&partial).unwrap();
        assert_eq!(std::fs::read(&precious).unwrap(), b"precious");
    }

    #[test]
    fn a_partial_file_left_by_a_killed_copy_is_made_anew_but_never_by_two() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("x");
        let partial = directory.path().join(".x.brigade-partial");
        std::fs::write(&partial, "left over").unwrap();
        let (first, held) = make(&target).unwrap();
        assert_eq!(first.metadata().unwrap().len(), 0);
        assert!(refusal(&target).contains("another copy"));
        drop((first, held));
        assert!(!partial.exists());
        make(&target).unwrap();
    }

    fn open_left(target: &Path, left: Left) -> Result<(File, Partial), Failure> {
        let Ok(Resolved::Name(entry, _)) = sys::resolve(target, FollowLast::Yes) else {
            unreachable!("a name in a directory");
        };
        Partial::open_left(&entry, target, left, None, &Arc::default())
    }

    #[test]
    fn what_was_left_is_gone_on_with_if_it_is_that_file_and_all_that_was_written_is_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("x");
        let path = directory.path().join(".x.brigade-partial");
        std::fs::write(&path, "written, and more").unwrap();
        let left = Left {
            file: WhichFile::of(&sys::facts_at(&path).unwrap()).unwrap(),
            offset: 7,
            may_be_given_away: false,
            old: None,
        };
        let why_not = |left: Left| open_left(&target, left).err().unwrap().message;

        let (mut other, mut later) = (left, left);
        other.file.identity.1 += 1;
        later.file.born.seconds -= 1;
        for other in [other, later] {
            assert!(why_not(other).contains("not the file that was written"));
        }
        let longer = Left { offset: 18, ..left };
        assert!(why_not(longer).contains("it was shortened"));
        let named = directory.path().join("named");
        std::fs::hard_link(&path, &named).unwrap();
        assert!(why_not(left).contains("another name"));
        std::fs::remove_file(&named).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"written, and more");

        let (_file, partial) = open_left(&target, left).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"written");
        assert!(why_not(left).contains("in use"));
        // Not this copy's yet.
        drop(partial);
        assert!(path.exists());
        drop(_file);
        let (file, partial) = open_left(&target, left).unwrap();
        partial.adopt().unwrap();
        drop((file, partial));
        assert!(!path.exists());
        assert!(why_not(left).contains("it is gone"));
    }

    #[test]
    fn the_longest_names_have_a_partial_file_too() {
        for max in [sys::NAME_MAX, 143, 60] {
            let long = OsString::from("n".repeat(max));
            let name = name_beside(&long, SUFFIX, max);
            assert!(name.len() <= max);
            let other = OsString::from("n".repeat(max - 1));
            assert_ne!(name_beside(&other, SUFFIX, max), name);
        }
    }

    #[test]
    fn a_partial_file_that_was_replaced_is_not_the_one_that_was_made() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("x");
        let (_file, partial) = make(&target).unwrap();
        partial.check(&target).unwrap();
        let path = directory.path().join(".x.brigade-partial");
        std::fs::rename(&path, directory.path().join("y")).unwrap();
        std::fs::write(&path, "another's").unwrap();
        assert!(partial.check(&target).is_err());
        drop(partial);
        assert_eq!(std::fs::read(&path).unwrap(), b"another's");
    }
}
