//! What --resume makes of what an earlier copy has left: a partial file, and the journal
//! that says how much of it is on disk.
//!
//! Nothing of it is taken at its word. The journal must be this user's and whole; the partial
//! file the one that it speaks of, and nobody else's to write; the source the same file in the
//! same state; and the last subtree that is said to be on disk is read again from there. The
//! Reader compares the same subtree with its source.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use brigade::Monitor;

use crate::failure::{Exit, Failure};
use crate::hashing::{self, Until};
use crate::request::settings::Settings;
use crate::sys::{self, Entry, Facts};
use crate::talk::agreement::StartsOver;
use crate::talk::source_facts::SourceFacts;
use crate::talk::wire;
use crate::tree::{Begun, Tree};
use crate::writer::gate::CommitGate;
use crate::writer::journal::{self, Record};
use crate::writer::journaling::Journal;
use crate::writer::partial::{LeftFile, PATIENCE, Partial};

/// A copy that might go on with what is there.
pub(crate) struct Resuming<'a> {
    pub(super) source: journal::Source,
    pub(super) settings: &'a Settings,
    /// By the word of another user's Reader, which may not know the source's content.
    pub(super) is_guest: bool,
    /// Shows how far it is in what is read again.
    pub(super) monitor: &'a Monitor,
}

/// What there is to go on with.
pub(super) enum Found {
    /// No copy has left anything.
    Nothing,
    /// What was left is of no use.
    Useless(StartsOver),
    GoesOn(Box<GoesOn>),
}

pub(super) struct GoesOn {
    pub(super) file: File,
    pub(super) partial: Partial,
    pub(super) journal: Journal,
    /// What is on disk.
    pub(super) begun: Begun,
}

/// The source as a journal tells of it; `None` if its changes, or its end, cannot be seen.
pub(super) fn source_of(facts: &SourceFacts) -> Option<journal::Source> {
    Some(journal::Source {
        identity: sys::lasting(facts.identity?),
        size: facts.size?,
        modified: Some(facts.modified?),
        changed: facts.changed,
    })
}

/// What is written where it is, is not kept beside it.
pub(super) fn refused(path: &str) -> Failure {
    let message = format!("--resume needs a file to write, and {path} is none");
    Failure::new(Exit::Failed, message)
}

pub(super) fn partial_of(found: &Facts) -> journal::Partial {
    journal::Partial {
        identity: sys::lasting(found.identity),
        born: found.born,
    }
}

impl Resuming<'_> {
    /// What a journal says of this copy before there is anything on disk.
    pub(super) fn record(&self, partial: &Facts) -> Record {
        Record {
            source: self.source,
            partial: partial_of(partial),
            sparse: self.settings.sparse,
            on_disk: None,
        }
    }

    /// Looks for what was left of a copy to `target`, and takes it if it is of use.
    pub(super) fn find(
        &self,
        target: &Entry,
        path: &Path,
        gate: &Arc<CommitGate>,
    ) -> Result<Found, Failure> {
        // Locked first: until then the journal may be another copy's, and say more soon.
        let left = LeftFile::lock(target, path, PATIENCE, Some("remove it"))?;
        let journal = Journal::open_left(target, path)?;
        let (left, journal) = match (left, journal) {
            (None, None) => return Ok(Found::Nothing),
            (Some(_), None) => return Ok(Found::Useless(StartsOver::NoJournal)),
            (None, Some(_)) => return Ok(Found::Useless(StartsOver::PartialIsGone)),
            (Some(_), Some(Err(why))) => return Ok(Found::Useless(why)),
            (Some(left), Some(Ok(journal))) => (left, journal),
        };
        let begun = match self.judge(journal.record(), &left) {
            Ok(begun) => begun,
            Err(why) => return Ok(Found::Useless(why)),
        };
        let (mut file, partial) = left.take(begun.end(), gate)?;
        let is_same = self.is_same(&mut file, &begun);
        if !is_same.map_err(|error| Failure::io("read again", path, &error))? {
            return Ok(Found::Useless(StartsOver::PartialWasChanged));
        }
        Ok(Found::GoesOn(Box::new(GoesOn {
            file,
            partial,
            journal,
            begun,
        })))
    }

    /// How much there is to go on with, by all that can be seen without reading it again.
    pub(super) fn look(&self, target: &Entry, path: &Path) -> Result<Option<u64>, Failure> {
        let Some(Ok(journal)) = Journal::open_left(target, path)? else {
            return Ok(None);
        };
        // Who makes a new one says what is wrong with this.
        let Ok(Some(left)) = LeftFile::lock(target, path, Duration::ZERO, None) else {
            return Ok(None);
        };
        let begun = self.judge(journal.record(), &left);
        Ok(begun.ok().map(|begun| begun.end()))
    }

    /// What is on disk by the journal, if what was left is still that.
    fn judge(&self, said: &Record, left: &LeftFile) -> Result<Begun, StartsOver> {
        if self.is_guest {
            return Err(StartsOver::ReaderIsAnothers);
        }
        if said.partial != partial_of(&left.facts) {
            return Err(StartsOver::PartialIsAnotherFile);
        }
        if !left.is_own() {
            return Err(StartsOver::PartialIsAnothers);
        }
        if !left.is_locked {
            return Err(StartsOver::PartialCannotBeLocked);
        }
        if said.source.identity != self.source.identity {
            return Err(StartsOver::SourceIsAnotherFile);
        }
        if said.source != self.source {
            return Err(StartsOver::SourceWasChanged);
        }
        if said.sparse != self.settings.sparse {
            return Err(StartsOver::SparseIsOther);
        }
        let begun = said.on_disk.clone();
        let begun = begun.ok_or(StartsOver::NothingIsOnDisk)?;
        if left.facts.len < begun.end() {
            return Err(StartsOver::PartialWasShortened);
        }
        match (self.settings.verify, begun.is_whole()) {
            (true, false) => Err(StartsOver::NotHashed),
            (true, true) => Ok(begun),
            (false, _) => Ok(begun.last_alone()),
        }
    }

    /// Whether the subtrees are on disk that `begun` stands for. The next byte that is
    /// written to `file` is the one after them.
    fn is_same(&self, file: &mut File, begun: &Begun) -> io::Result<bool> {
        file.sync_all()?;
        sys::forget_cached(file, 0, None);
        let tree = match begun.is_whole() {
            true => Tree::new(),
            false => Tree::before_last_of(begun),
        };
        let show = |at| self.monitor.set_figure(wire::WRITTEN, at);
        let tree = hashing::add(tree, file, Until::Offset(begun.end()), show)?;
        file.seek(SeekFrom::Start(begun.end()))?;
        Ok(begun.agrees_with(&tree))
    }
}
