//! The journal of a copy, as a file beside the partial one: it is there before the first
//! byte, and says what is on disk once it is.
//!
//! ```text
//! thread that writes     ... subtree is written, and hashed ──> mark
//! thread that syncs      fdatasync of the partial file ── past the mark? ─> journal ─ fdatasync
//! ```
//!
//! To hash everything would take a part of a fast copy's time. So only a subtree that the
//! journal will name is hashed: the first one to begin once it is time for the next mark.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use brigade::at_step;

use crate::failure::{Exit, Failure, reason};
use crate::sys::{self, Entry, Facts, Kind};
use crate::talk::agreement::StartsOver;
use crate::tell::output;
use crate::tree::{Begun, SUBTREE_BYTES, Tree};
use crate::visible;
use crate::writer::gate::CommitGate;
use crate::writer::journal::{JOURNAL_BYTES, Record, SLOT_BYTES, Unreadable};
use crate::writer::partial::{self, name_beside};

/// What the name of the journal ends in.
const SUFFIX: &str = ".brigade-journal";

/// Between two notes: what is copied in less is not worth one.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// What is lost at most, and what is on its way to the disk.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// In between, the notes and what is hashed for them take one part in so many of the time.
const COST_PART: u32 = 200;

/// A journal that can be written.
pub(super) struct Journal {
    file: File,
    entry: Entry,
    /// What it says.
    record: Record,
    /// How often it was written.
    number: u64,
}

/// The journal of `target`, and how it is shown.
fn beside(target: &Entry, path: &Path) -> Result<(Entry, PathBuf), Failure> {
    let max = target.name_max();
    let max = max.map_err(|error| Failure::io("write to", path, &error))?;
    let name = name_beside(target.name(), SUFFIX, max);
    Ok((target.sibling(&name), path.with_file_name(&name)))
}

impl Journal {
    /// Makes the journal of `target`, which says that nothing is on disk. It has all its room
    /// from now on; it need not be on disk, since one that is missing says the same.
    pub(super) fn make(
        target: &Entry,
        path: &Path,
        record: Record,
        gate: &CommitGate,
    ) -> Result<Journal, Failure> {
        let (entry, shown) = beside(target, path)?;
        let file = gate.create_journal(&entry)?;
        let file = file.map_err(|error| Failure::io("create", &shown, &error))?;
        let mut journal = Journal {
            file,
            entry,
            record,
            number: 0,
        };
        let written = journal.write_both();
        written.map_err(|error| Failure::io("write to", &shown, &error))?;
        Ok(journal)
    }

    /// The one that was left beside `target`; `None` if there is none, and else perhaps why
    /// nothing can be gone on from.
    pub(super) fn open_left(
        target: &Entry,
        path: &Path,
    ) -> Result<Option<Result<Journal, StartsOver>>, Failure> {
        let (entry, shown) = beside(target, path)?;
        let failed = |what: &'static str| {
            let shown = &shown;
            move |error: io::Error| Failure::io(what, shown, &error)
        };
        let Some(held) = entry.hold().map_err(failed("look at"))? else {
            return Ok(None);
        };
        if !is_fit(&held.facts) {
            return Ok(Some(Err(StartsOver::JournalIsNone)));
        }
        let file = match held.open_to_read_and_write() {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Ok(Some(Err(StartsOver::JournalIsAnothers)));
            }
            opened => opened.map_err(failed("open"))?,
        };
        if !partial::is_own(&file).map_err(failed("look at"))? {
            return Ok(Some(Err(StartsOver::JournalIsAnothers)));
        }
        let mut said = Vec::new();
        let most = JOURNAL_BYTES as u64 + 1;
        let read = (&file).take(most).read_to_end(&mut said);
        read.map_err(failed("read"))?;
        // So it is found that was never on disk.
        if said.iter().all(|&byte| byte == 0) {
            return Ok(Some(Err(StartsOver::NothingIsOnDisk)));
        }
        Ok(Some(match Record::decode(&said) {
            Ok((number, record)) => Ok(Journal {
                file,
                entry,
                record,
                number,
            }),
            Err(Unreadable::OtherVersion) => Err(StartsOver::JournalIsOfAnotherVersion),
            Err(Unreadable::Damaged) => Err(StartsOver::JournalIsDamaged),
        }))
    }

    /// Whether it is that of this copy, but for how much is on disk.
    pub(super) fn is_of(&self, copy: &Record) -> bool {
        let on_disk = self.record.on_disk.clone();
        self.record
            == Record {
                on_disk,
                ..copy.clone()
            }
    }

    /// How much of the partial file is on disk, if anything.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.record.on_disk.as_ref().map(Begun::end)
    }

    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// This copy's own, from now on.
    pub(super) fn adopt(&self, gate: &CommitGate) -> io::Result<()> {
        let identity = sys::facts(&self.file)?.identity;
        gate.adopt_journal(&self.entry, identity, self.bytes());
        Ok(())
    }

    /// Says that `on_disk` is, which must be so by now; on disk itself when this returns.
    fn note(&mut self, on_disk: Begun) -> io::Result<()> {
        self.record.on_disk = Some(on_disk);
        self.write()?;
        at_step("noted");
        self.file.sync_data()?;
        at_step("note on disk");
        Ok(())
    }

    /// Says that nothing is on disk, whichever slot survives: what comes next is written over
    /// what was.
    pub(super) fn start_over(&mut self) -> io::Result<()> {
        self.record.on_disk = None;
        self.write_both()?;
        at_step("nothing noted");
        self.file.sync_data()
    }

    fn write_both(&mut self) -> io::Result<()> {
        self.write()?;
        self.write()
    }

    /// The older slot gets what the journal says by now.
    fn write(&mut self) -> io::Result<()> {
        // Where numbers end, a note is lost; nothing wrong is said.
        self.number = self.number.wrapping_add(1);
        let slot = self.record.encode(self.number);
        let place = self.number % 2 * SLOT_BYTES as u64;
        self.file.seek(SeekFrom::Start(place))?;
        self.file.write_all(&slot)
    }
}

/// Removes a journal that was left beside `target`, durably: what is written from now on is
/// not what it speaks of. `file` lies in the same directory.
///
/// What cannot be a journal stays: nobody would believe it. It is in the way of one, if one
/// `is_wanted`.
pub(super) fn clear_left(
    target: &Entry,
    path: &Path,
    is_wanted: bool,
    file: &File,
) -> Result<(), Failure> {
    let (entry, shown) = beside(target, path)?;
    let failed = |what: &'static str| {
        let shown = &shown;
        move |error: io::Error| Failure::io(what, shown, &error)
    };
    let Some(held) = entry.hold().map_err(failed("look at"))? else {
        return Ok(());
    };
    if !is_fit(&held.facts) {
        if !is_wanted {
            return Ok(());
        }
        let shown = visible::name(&shown);
        let message = format!("cannot use {shown}: it is no journal; remove it");
        return Err(Failure::new(Exit::Failed, message));
    }
    let directory = entry
        .open_to_sync()
        .map_err(failed("sync the directory of"))?;
    match entry.remove() {
        // Another user's, in a directory where each may remove only their own.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !is_wanted => Ok(()),
        removed => {
            removed.map_err(failed("remove"))?;
            at_step("old journal removed");
            directory
                .sync(file)
                .map_err(failed("sync the directory of"))
        }
    }
}

/// Whether it can be a journal.
fn is_fit(found: &Facts) -> bool {
    !found.is_link && found.kind == Kind::File && found.names == 1
}

/// Where the journal may say that a copy can go on, once that is on disk.
pub(crate) struct Marks(Mutex<State>);

struct State {
    /// The next one, and how long it took to hash; there is no other until it was noted.
    mark: Option<(Begun, Duration)>,
    /// When it is time for another; never, if the journal cannot be written.
    next: Option<Instant>,
}

impl Marks {
    /// A copy that `goes_on` has had its pause before.
    pub(super) fn new(goes_on: bool) -> Arc<Marks> {
        let pause = if goes_on { Duration::ZERO } else { PAUSE_MIN };
        Arc::new(Marks(Mutex::new(State {
            mark: None,
            next: Some(Instant::now() + pause),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is time for the next one.
    pub(super) fn is_due(&self) -> bool {
        let state = self.state();
        state.mark.is_none() && state.next.is_some_and(|next| Instant::now() >= next)
    }

    /// So much is written; to know what stands for it took `cost`.
    pub(super) fn set(&self, mark: Begun, cost: Duration) {
        self.state().mark = Some((mark, cost));
    }

    fn take(&self, until: u64) -> Option<(Begun, Duration)> {
        let mark = &mut self.state().mark;
        mark.take_if(|(mark, _)| mark.end() <= until)
    }

    /// One was noted, which took `cost` in all.
    fn pause(&self, cost: Duration) {
        let pause = (cost * COST_PART).clamp(PAUSE_MIN, PAUSE_MAX);
        self.state().next = Some(Instant::now() + pause);
    }
}

/// Hashes the subtrees that are marked, of all that is written in order.
pub(super) struct Sampler {
    marks: Arc<Marks>,
    /// The subtree that is hashed, and how long that took so far.
    present: Option<(Tree, Duration)>,
}

impl Sampler {
    pub(super) fn new(marks: &Arc<Marks>) -> Sampler {
        Sampler {
            marks: Arc::clone(marks),
            present: None,
        }
    }

    /// `len` bytes were written at `offset`: `update` hashes those of a range of them.
    pub(super) fn written(
        &mut self,
        mut offset: u64,
        len: u64,
        update: impl Fn(&mut Tree, std::ops::Range<u64>),
    ) {
        let (start, end) = (offset, offset + len);
        while offset < end {
            if offset.is_multiple_of(SUBTREE_BYTES) && self.marks.is_due() {
                let tree = Tree::of_subtree(offset / SUBTREE_BYTES + 1);
                self.present = Some((tree, Duration::ZERO));
            }
            let boundary = (offset / SUBTREE_BYTES + 1) * SUBTREE_BYTES;
            let until = boundary.min(end);
            if let Some((tree, cost)) = &mut self.present {
                let began = Instant::now();
                update(tree, offset - start..until - start);
                *cost += began.elapsed();
            }
            offset = until;
            if offset == boundary
                && let Some((tree, cost)) = self.present.take()
                && let Some(begun) = tree.begun()
            {
                self.marks.set(begun.last_alone(), cost);
            }
        }
    }
}

/// What the thread that syncs does with a journal.
pub(crate) struct Keeper {
    pub(super) journal: Journal,
    pub(super) marks: Arc<Marks>,
    pub(super) gate: Arc<CommitGate>,
    /// Of the destination, as it is shown.
    pub(super) path: PathBuf,
    /// The names of both files are on disk.
    pub(super) is_named: bool,
}

impl Keeper {
    /// All before `until` is on disk.
    pub(super) fn on_disk(&mut self, until: u64) {
        let Some((mark, cost)) = self.marks.take(until) else {
            return;
        };
        let (began, bytes) = (Instant::now(), mark.end());
        match self.note(mark) {
            Ok(()) => {
                self.gate.keep(bytes);
                self.marks.pause(cost + began.elapsed());
            }
            Err(error) => {
                // The copy is as good as before, and so is what the journal said last.
                self.marks.state().next = None;
                let (path, why) = (visible::name(&self.path), reason(&error));
                output::warn(&format!(
                    "writer: warning: cannot write the journal of {path} any more: {why}"
                ));
            }
        }
    }

    fn note(&mut self, mark: Begun) -> io::Result<()> {
        if !self.is_named {
            let directory = self.journal.entry.open_to_sync()?;
            directory.sync(&self.journal.file)?;
            self.is_named = true;
        }
        at_step("about to note");
        self.journal.note(mark)
    }
}
