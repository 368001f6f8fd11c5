//! Decides, between the thread that writes and the one that watches, whether what was
//! written becomes the destination or goes away: one of them, once.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crate::failure::{Exit, Failure, reason};
use crate::sys::{self, Entry, Identity};
use crate::tell::output;
use crate::visible;

/// How long the thread that watches waits for one that makes a file: it may be stuck
/// in the system.
const CLOSING_PATIENCE: Duration = Duration::from_millis(200);

#[derive(Debug, Default)]
pub(crate) struct CommitGate {
    state: Mutex<GateState>,
}

#[derive(Debug, Default)]
struct GateState {
    stage: Stage,
    /// What goes away if the copy fails: the file that is written, and its journal.
    made: Option<Made>,
    journal: Option<Made>,
    /// They stay all the same, since a later copy can go on from so many bytes.
    kept_bytes: Option<u64>,
    /// Whatever is noted of it, what was written is of no use to anybody.
    is_wrong: bool,
    /// An old file that is written into, and then not what it was.
    written: Option<PathBuf>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Open,
    /// Checked for the last time; being renamed, or renamed.
    Committing,
    Closed,
}

#[derive(Debug)]
struct Made {
    entry: Entry,
    /// Which file it is, once that is known. Until then the name is this copy's: it was
    /// made as a new one a moment ago.
    identity: Option<Identity>,
}

impl CommitGate {
    /// Valid even if a thread panicked with it: each change is a single step.
    fn state(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the file `entry`, which is removed again unless it is committed. In one
    /// step, so that a signal in between leaves nothing.
    pub(super) fn create(&self, entry: &Entry) -> Result<io::Result<File>, Failure> {
        let mut state = self.state();
        if state.stage == Stage::Closed {
            return Err(given_up());
        }
        let made = entry.create_new();
        if made.is_ok() {
            let (entry, identity) = (entry.clone(), None);
            state.made = Some(Made { entry, identity });
            state.kept_bytes = None;
        }
        Ok(made)
    }

    /// The file `entry`, which an earlier process made, is this copy's from now on.
    pub(super) fn adopt(&self, entry: &Entry, identity: Identity) -> Result<(), Failure> {
        let mut state = self.state();
        if state.stage == Stage::Closed {
            return Err(given_up());
        }
        let (entry, identity) = (entry.clone(), Some(identity));
        state.made = Some(Made { entry, identity });
        Ok(())
    }

    /// The same for the journal of that file; by which `bytes` of it are on disk, and both
    /// stay if this copy fails.
    pub(super) fn adopt_journal(&self, entry: &Entry, identity: Identity, bytes: Option<u64>) {
        let mut state = self.state();
        let (entry, identity) = (entry.clone(), Some(identity));
        state.journal = Some(Made { entry, identity });
        state.kept_bytes = bytes;
    }

    /// As `create`, for the journal of what was made.
    pub(super) fn create_journal(&self, entry: &Entry) -> Result<io::Result<File>, Failure> {
        let mut state = self.state();
        if state.stage == Stage::Closed {
            return Err(given_up());
        }
        let made = entry.create_new();
        if let Ok(file) = &made {
            let identity = sys::facts(file).ok().map(|facts| facts.identity);
            let entry = entry.clone();
            state.journal = Some(Made { entry, identity });
        }
        Ok(made)
    }

    /// From now on, what was made stays if the copy fails: by its journal, `bytes` of it
    /// are on disk.
    pub(super) fn keep(&self, bytes: u64) {
        let mut state = self.state();
        if state.made.is_some() && state.journal.is_some() && !state.is_wrong {
            state.kept_bytes = Some(bytes);
        }
    }

    /// It is of no use, until more is noted.
    pub(super) fn keep_nothing(&self) {
        self.state().kept_bytes = None;
    }

    /// It is of no use, whatever is noted by who syncs meanwhile.
    pub(super) fn set_wrong(&self) {
        let mut state = self.state();
        state.is_wrong = true;
        state.kept_bytes = None;
    }

    /// The copy is complete: there is nothing to go on with.
    pub(super) fn remove_journal(&self) {
        let journal = self.state().journal.take();
        remove(journal.as_slice());
    }

    /// How much a later copy can go on from, if what was made stays.
    pub(crate) fn kept_bytes(&self) -> Option<u64> {
        let state = self.state_soon()?;
        state
            .kept_bytes
            .filter(|_| state.stage != Stage::Committing)
    }

    /// The old file `path` is written into: if the copy fails, that is told.
    pub(super) fn write_into(&self, path: &Path) {
        self.state().written = Some(path.to_path_buf());
    }

    /// From now on the name is removed only if it is still this file's.
    pub(super) fn identify(&self, identity: Identity) {
        if let Some(made) = &mut self.state().made {
            made.identity = Some(identity);
        }
    }

    /// `check` and the point of no return are one step for the thread that watches;
    /// `rename` may take its time.
    pub(super) fn commit(
        &self,
        check: impl FnOnce() -> Result<(), Failure>,
        rename: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut state = self.state();
        if state.stage == Stage::Closed {
            return Err(given_up());
        }
        check()?;
        state.stage = Stage::Committing;
        drop(state);
        rename().inspect_err(|_| self.state().stage = Stage::Open)
    }

    /// Does `stop`, unless the point of no return has passed.
    pub(crate) fn unless_committing(&self, stop: impl FnOnce()) {
        let state = self.state_soon();
        if state.is_none_or(|state| state.stage != Stage::Committing) {
            stop();
        }
    }

    /// Removes what was made.
    pub(super) fn discard(&self) {
        let mut state = self.state();
        if state.stage != Stage::Committing {
            remove_made(&mut state);
        }
    }

    /// As `discard`, and nothing can be committed any more. False if it was
    /// committed already: then the copy has succeeded.
    pub(crate) fn close(&self) -> bool {
        let Some(mut state) = self.state_soon() else {
            output::warn("writer: a file is just being made, and may be left");
            return true;
        };
        if state.stage == Stage::Committing {
            return false;
        }
        remove_made(&mut state);
        state.stage = Stage::Closed;
        true
    }

    fn state_soon(&self) -> Option<MutexGuard<'_, GateState>> {
        let deadline = Instant::now() + CLOSING_PATIENCE;
        loop {
            match self.state.try_lock() {
                Ok(state) => return Some(state),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return None,
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

/// What the thread that writes gets to hear if the other one closed the gate; that
/// one tells the user why.
fn given_up() -> Failure {
    Failure {
        already_reported: true,
        ..Failure::new(Exit::Failed, "given up")
    }
}

fn remove_made(state: &mut GateState) {
    if let Some(path) = state.written.take() {
        let path = visible::name(path);
        output::warn(&format!(
            "writer: warning: {path} may be half written (--in-place)"
        ));
    }
    // A journal without a file harms less than it would the other way round.
    let made = [state.journal.take(), state.made.take()];
    if state.kept_bytes.is_some() {
        return;
    }
    for made in made {
        remove(made.as_slice());
    }
}

fn remove(made: &[Made]) {
    for made in made {
        if let Err(error) = made.remove() {
            let (name, why) = (visible::name(made.entry.name()), reason(&error));
            output::warn(&format!("writer: cannot remove {name}: {why}"));
        }
    }
}

impl Made {
    /// Not if the name is another file's by now.
    fn remove(&self) -> io::Result<()> {
        if let Some(identity) = self.identity {
            let found = self.entry.hold()?;
            if found.is_none_or(|found| found.facts.identity != identity) {
                return Ok(());
            }
        }
        self.entry.remove()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::sys::{FollowLast, Resolved};

    #[test]
    fn what_is_wrong_is_not_kept_whatever_is_noted_of_it_meanwhile() {
        let directory = tempfile::tempdir().unwrap();
        let entry = |name| {
            let found = sys::resolve(&directory.path().join(name), FollowLast::Yes);
            let Ok(Resolved::Name(entry, None)) = found else {
                unreachable!("there is such a file");
            };
            entry
        };
        let gate = CommitGate::default();
        gate.create(&entry("partial")).unwrap().unwrap();
        gate.create_journal(&entry("journal")).unwrap().unwrap();
        gate.keep(1);
        gate.keep_nothing();
        gate.keep(2);
        assert_eq!(gate.kept_bytes(), Some(2));
        gate.set_wrong();
        gate.keep(3);
        assert_eq!(gate.kept_bytes(), None);
        gate.discard();
        assert_eq!(directory.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn once_closed_nothing_can_be_committed_and_once_committed_nothing_closed() {
        let gate = CommitGate::default();
        assert!(gate.close());
        assert!(gate.commit(|| Ok(()), || Ok(())).is_err());
        let gate = CommitGate::default();
        gate.commit(|| Ok(()), || Ok(())).unwrap();
        assert!(!gate.close());
    }
}
