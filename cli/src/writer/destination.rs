//! Where the bytes go: all or nothing.
//!
//! A file is written under another name beside its own (the [partial file](Partial)),
//! and takes the place of the old one in a single step when everything is in it and on
//! disk. What is no file (a device, a fifo, a pipe) is written directly; so is a file
//! with `--in-place`.
//!
//! ```text
//! DESTINATION ── find, once ──> directory, name, old file: held open
//!                                   │
//!        partial file <── make ─────┤        old file ── facts, again at the end
//!             │ write, sync, close  │                 │
//!             └────── rename ──> name, if it still is that file
//! ```

mod replacing;

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use brigade::at_step;

use crate::failure::{Exit, Failure};
use crate::hashing::{self, Until};
use crate::metadata::{Metadata, Stamp, Teller};
use crate::request::settings::{OnExisting, Preserve, Settings};
use crate::sys::{self, Access, Entry, FollowLast, Held, Kind, Resolved};
use crate::talk::agreement::StartsOver;
use crate::talk::which_file::WhichFile;
use crate::tell::output;
use crate::tree::{Begun, Tree};
use crate::units::bytes;
use crate::visible;
use crate::writer::attributes::Finish;
use crate::writer::commit::Commit;
use crate::writer::gate::CommitGate;
use crate::writer::journaling::{Journal, Keeper, Marks};
use crate::writer::partial::{Left, Partial};
use crate::writer::resume::{self, Resuming};
use crate::writer::rights::NewMode;
use crate::writer::skip_rule::LastLook;
use crate::writer::target::{SourceSize, Target, TargetPlace};
use replacing::Replacing;

/// An open destination.
pub(crate) struct Destination {
    file: File,
    path: PathBuf,
    way: Way,
    /// Whether it can be on disk at all.
    can_sync: bool,
    /// Some of it was skipped.
    has_holes: bool,
    /// When the file that is replaced was changed last, as it was asked for its access.
    old_changed: Option<Stamp>,
    /// Where the copy goes on, if an earlier one has left something.
    resumed: Resumed,
}

/// What became of what an earlier copy has left.
#[derive(Debug, Default)]
pub(crate) struct Resumed {
    /// What is on disk already, to go on after.
    pub(crate) begun: Option<Begun>,
    /// Why that is nothing, though something was left.
    pub(crate) starts_over: Option<StartsOver>,
    /// So much could have been gone on from, but was not asked for.
    pub(crate) unused: Option<u64>,
}

impl Resumed {
    pub(crate) fn offset(&self) -> u64 {
        self.begun.as_ref().map_or(0, Begun::end)
    }
}

/// Of a block that is larger, a cold disk has the first part to write while the next one is
/// copied, and how far it is can be seen.
const WRITE_AT_ONCE: usize = 256 * 1024;

/// How it is written.
enum Way {
    /// As a new file, which takes the name at the end.
    Replaced(Box<Replaced>),
    /// Into a file that is there, from its beginning.
    InPlace(InPlace),
    /// Into a disk, from its beginning.
    Disk(Held),
    /// One byte after the other.
    Stream,
}

struct Replaced {
    partial: Partial,
    /// Until who syncs gets it.
    journal: Option<Journal>,
    target: Entry,
    old: Option<Held>,
    on_existing: OnExisting,
    /// The old file's permission bits, as they were asked for last.
    old_mode: Option<u32>,
    /// Of a file that is not there yet.
    new_mode: u32,
}

struct InPlace {
    held: Held,
    gate: Arc<CommitGate>,
    /// What was made for this copy goes if it fails; and gets this mode.
    new_mode: Option<u32>,
    /// Whether it is not what it was before the copy, by this process or one before it.
    is_changed: bool,
}

impl Destination {
    /// Opens `target` for a source of `size`, or goes on with what is `left`. A file that
    /// does not exist yet gets `new_mode`; one that does keeps its own.
    pub(crate) fn open(
        target: Target,
        size: SourceSize,
        new_mode: NewMode,
        settings: &Settings,
        left: Option<Left>,
        resuming: Option<&Resuming>,
        gate: &Arc<CommitGate>,
    ) -> Result<Destination, Failure> {
        let path = target.path.clone();
        let mut destination = match target.is_direct() {
            true if settings.resume => return Err(resume::refused(&visible::name(&path))),
            true => Destination::open_directly(target, size, settings)?,
            false => {
                let how = (left, resuming);
                Destination::open_file(target, size, new_mode, settings, how, gate)?
            }
        };
        if let Some(left) = left {
            if destination.which_file() != Some(left.file) {
                let message = format!(
                    "cannot go on with {}: it is not the file that was written",
                    visible::name(&path)
                );
                return Err(Failure::new(Exit::Failed, message));
            }
            destination.check_not_cut(left.offset)?;
            let moved = destination.file.seek(SeekFrom::Start(left.offset));
            moved.map_err(|error| Failure::io("write to", &path, &error))?;
            if let Way::InPlace(place) = &mut destination.way {
                place.is_changed = true;
            }
        }
        Ok(destination)
    }

    /// That the first `len` bytes are there, which were written before.
    fn check_not_cut(&self, len: u64) -> Result<(), Failure> {
        let found = sys::facts(&self.file);
        let found = found.map_err(|error| Failure::io("look at", &self.path, &error))?;
        if !self.is_file() || found.len >= len {
            return Ok(());
        }
        let path = visible::name(&self.path);
        let message = format!("cannot go on with {path}: it was shortened");
        Err(Failure::new(Exit::Failed, message))
    }

    fn open_file(
        target: Target,
        size: SourceSize,
        new_mode: NewMode,
        settings: &Settings,
        (left, resuming): (Option<Left>, Option<&Resuming>),
        gate: &Arc<CommitGate>,
    ) -> Result<Destination, Failure> {
        if left.is_none() {
            target.check_room(size, settings)?;
        }
        let Target {
            path,
            place,
            must_be_new,
        } = target;
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error: io::Error| Failure::io("write to", &path, &error)
        };
        match place {
            TargetPlace::Name(entry, old) if !settings.in_place => {
                let new_mode = new_mode.of(&entry).map_err(failed(&path))?;
                let replaced = Replacing {
                    entry,
                    old,
                    path,
                    new_mode,
                    must_be_new,
                };
                replaced.open(settings, left, resuming, gate)
            }
            TargetPlace::Name(_, None) if left.is_some() => {
                Err(failed(&path)(io::ErrorKind::NotFound.into()))
            }
            TargetPlace::Name(entry, None) => {
                let new_mode = new_mode.of(&entry).map_err(failed(&path))?;
                open_new(entry, path, new_mode, gate)
            }
            TargetPlace::Name(_, Some(held)) | TargetPlace::Open(held) => {
                open_in_place(held, path, gate)
            }
        }
    }

    /// Standard output.
    pub(crate) fn standard() -> Result<Destination, Failure> {
        let path = PathBuf::from("standard output");
        let file = sys::standard_output().map_err(|error| Failure::io("open", &path, &error))?;
        let facts = sys::facts(&file).map_err(|error| Failure::io("look at", &path, &error))?;
        Ok(Destination {
            file,
            path,
            way: Way::Stream,
            can_sync: matches!(facts.kind, Kind::File | Kind::Disk),
            has_holes: false,
            old_changed: None,
            resumed: Resumed::default(),
        })
    }

    fn open_directly(
        target: Target,
        size: SourceSize,
        settings: &Settings,
    ) -> Result<Destination, Failure> {
        let path = target.path;
        let (TargetPlace::Name(_, Some(held)) | TargetPlace::Open(held)) = target.place else {
            return Err(Failure::io("open", &path, &io::ErrorKind::NotFound.into()));
        };
        let failed = |error: io::Error| Failure::io("write to", &path, &error);
        if held.facts.kind != Kind::Disk {
            let file = held.open_to_write().map_err(failed)?;
            return Ok(Destination {
                file,
                path,
                way: Way::Stream,
                can_sync: false,
                has_holes: false,
                old_changed: None,
                resumed: Resumed::default(),
            });
        }
        let file = match held.open_disk_alone() {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && settings.force => {
                held.open_to_write().map_err(failed)?
            }
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                return Err(failed(error).remark(
                    "a file system on it may be mounted, or another program uses it; --force writes all the same",
                ));
            }
            opened => opened.map_err(failed)?,
        };
        check_capacity(&file, &path, size.bytes)?;
        Ok(Destination {
            file,
            path,
            way: Way::Disk(held),
            can_sync: true,
            has_holes: false,
            old_changed: None,
            resumed: Resumed::default(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Which file is written, for who goes on with it; `None` if nobody can.
    pub(crate) fn which_file(&self) -> Option<WhichFile> {
        match &self.way {
            Way::Replaced(replaced) => replaced.partial.which,
            // What was made for this copy goes with it.
            Way::InPlace(place) if place.new_mode.is_some() => None,
            Way::InPlace(InPlace { held, .. }) | Way::Disk(held) => WhichFile::of(&held.facts),
            Way::Stream => None,
        }
    }

    /// Which file it replaces in the end.
    pub(crate) fn old(&self) -> Option<WhichFile> {
        match &self.way {
            Way::Replaced(replaced) => WhichFile::of(&replaced.old.as_ref()?.facts),
            _ => None,
        }
    }

    /// What was left is this copy's own from now on: it goes if that fails.
    pub(crate) fn adopt(&self) -> Result<(), Failure> {
        match &self.way {
            Way::Replaced(replaced) => {
                // First: what it says is on disk stays if this copy fails.
                if let Some(journal) = &replaced.journal {
                    let adopted = journal.adopt(&replaced.partial.gate);
                    adopted.map_err(|error| Failure::io("look at", &self.path, &error))?;
                }
                replaced.partial.adopt()
            }
            Way::InPlace(place) if place.is_changed => {
                place.tell_if_it_fails(&self.path);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// An old file is not what it was from now on.
    fn note_change(&mut self) {
        if let Way::InPlace(place) = &mut self.way
            && !place.is_changed
        {
            place.is_changed = true;
            place.tell_if_it_fails(&self.path);
        }
    }

    /// What became of what an earlier copy has left.
    pub(crate) fn resumed(&self) -> &Resumed {
        &self.resumed
    }

    /// Whether a later copy may go on with what this one leaves.
    pub(crate) fn has_journal(&self) -> bool {
        matches!(&self.way, Way::Replaced(replaced) if replaced.journal.is_some())
    }

    /// What was left is of no use, and written over: not before that is on disk.
    pub(crate) fn start_over(&mut self) -> Result<(), Failure> {
        self.resumed = Resumed::default();
        if let Way::Replaced(replaced) = &mut self.way {
            replaced.partial.gate.keep_nothing();
            if let Some(journal) = &mut replaced.journal {
                let noted = journal.start_over();
                noted
                    .map_err(|error| Failure::io("write to the journal of", &self.path, &error))?;
            }
        }
        let emptied = self.file.set_len(0);
        let emptied = emptied.and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied
            .map(drop)
            .map_err(|error| Failure::io("write to", &self.path, &error))
    }

    /// For who syncs: what is on disk is noted where `marks` says.
    pub(crate) fn journal_keeper(&mut self, marks: &Arc<Marks>) -> Option<Keeper> {
        let Way::Replaced(replaced) = &mut self.way else {
            return None;
        };
        Some(Keeper {
            journal: replaced.journal.take()?,
            marks: Arc::clone(marks),
            gate: Arc::clone(&replaced.partial.gate),
            path: self.path.clone(),
            is_named: false,
        })
    }

    /// What was written is wrong: nobody shall go on with it.
    pub(crate) fn set_wrong(&self) {
        if let Way::Replaced(replaced) = &self.way {
            replaced.partial.gate.set_wrong();
        }
    }

    /// Another handle on the file, for syncing it from another thread.
    pub(crate) fn handle(&self) -> io::Result<File> {
        sys::handle_for_syncing(&self.file)
    }

    /// Whether this destination can be on disk at all.
    pub(crate) fn can_sync(&self) -> bool {
        self.can_sync
    }

    /// How many bytes to write at a time, at most.
    pub(crate) fn at_once(&self) -> usize {
        match self.way {
            Way::Replaced(_) | Way::InPlace(_) | Way::Disk(_) => WRITE_AT_ONCE,
            // To a tape, or a socket of messages, one call is one record.
            Way::Stream => usize::MAX,
        }
    }

    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.note_change();
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => bytes = &bytes[len..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Somebody else set this pipe to non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    sys::wait_until_room(&self.file)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Skips `len` bytes of a source of `size`, which are zeros then; false if they have
    /// to be written, since something else may be there.
    ///
    /// Some file systems (XFS) take room beyond the end of a file that grows by writing,
    /// which would be in its holes. So it has its length first; where that is not known,
    /// what was taken is given back.
    pub(crate) fn skip(&mut self, len: u64, size: Option<u64>) -> io::Result<bool> {
        self.note_change();
        let is_replaced = match &self.way {
            Way::Disk(_) | Way::Stream => return Ok(false),
            Way::InPlace(_) => false,
            Way::Replaced(_) => true,
        };
        if is_replaced && !self.has_holes {
            sys::expect_holes(&self.file);
            if let Some(size) = size {
                self.file.set_len(size)?;
            }
        }
        if !is_replaced || size.is_none() {
            let offset = self.file.stream_position()?;
            match sys::make_hole(&self.file, offset, len) {
                Err(error) if error.kind() == io::ErrorKind::Unsupported && is_replaced => {}
                Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(false),
                made => made?,
            }
        }
        self.has_holes = true;
        let len = i64::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let end = self.file.seek(SeekFrom::Current(len))?;
        // Who goes on with it takes a file that is shorter for one that was cut.
        let is_shorter = match is_replaced {
            true => size.is_none(),
            false => sys::facts(&self.file)?.len < end,
        };
        if is_shorter {
            self.file.set_len(end)?;
        }
        Ok(true)
    }

    /// Ends what was written after `len` bytes, the last of which may be skipped.
    pub(crate) fn end(&mut self, len: u64) -> io::Result<()> {
        self.note_change();
        let is_longer = match &self.way {
            Way::InPlace(place) => place.held.facts.len > len,
            _ => false,
        };
        match self.has_holes || is_longer {
            true => self.file.set_len(len),
            false => Ok(()),
        }
    }

    /// Whether all data is in a file of its own.
    pub(crate) fn is_file(&self) -> bool {
        matches!(self.way, Way::Replaced(_) | Way::InPlace(_))
    }

    /// Whether what was written can be read from where it is kept.
    pub(crate) fn can_read_again(&self) -> bool {
        !matches!(self.way, Way::Stream)
    }

    /// The hash of the first `len` bytes, which were written before; the next ones are
    /// written after them all the same. `show` gets to know how many were read again.
    pub(crate) fn hash_of_first(
        &mut self,
        len: u64,
        show: impl Fn(u64) + Sync,
    ) -> io::Result<Tree> {
        if len == 0 {
            return Ok(Tree::new());
        }
        let written = self.read_again()?;
        let tree = hashing::add(Tree::new(), &written, Until::Offset(len), show)?;
        if tree.end() < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // Both handles may have one position.
        self.file.seek(SeekFrom::Start(len))?;
        Ok(tree)
    }

    /// What was written, from the disk and not from memory, if the system can be moved
    /// to that.
    pub(crate) fn read_again(&self) -> io::Result<File> {
        let mut file = match &self.way {
            Way::Disk(held) => held.open_to_read()?,
            Way::InPlace(place) => place.held.open_to_read()?,
            Way::Replaced(_) | Way::Stream => self.file.try_clone()?,
        };
        self.file.sync_all()?;
        sys::forget_cached(&file, 0, None);
        file.seek(SeekFrom::Start(0))?;
        Ok(file)
    }

    /// Gives the file what it keeps of its source, or of the file that it replaces, as
    /// that is by now; nothing to a disk or stream.
    pub(crate) fn finish(
        &mut self,
        source: &Metadata,
        teller: Teller,
        preserve: Preserve,
    ) -> Result<(), Failure> {
        let changed = self.old_changed_now();
        self.old_changed = changed.map_err(|error| Failure::io("look at", &self.path, &error))?;
        let access = match &mut self.way {
            Way::Replaced(replaced) => replaced.access_at_end(),
            Way::InPlace(place) if place.new_mode.is_some() || preserve != Preserve::default() => {
                place.access()
            }
            _ => return Ok(()),
        };
        let access = access.map_err(|error| Failure::io("look at", &self.path, &error))?;
        if matches!(self.way, Way::Replaced(_)) {
            // What was narrowed since the copy began is narrow.
            let narrowed = access.begin(&self.file);
            narrowed.map_err(|error| Failure::io("protect", &self.path, &error))?;
        }
        let finish = Finish {
            file: &self.file,
            path: &self.path,
            old: access.kept(),
            is_new: access.is_new(),
            is_old: matches!(&self.way, Way::InPlace(place) if place.new_mode.is_none()),
            source,
            teller,
            preserve,
        };
        finish.run()
    }

    /// Waits until all is on disk that the file has so far.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Whether the file that is replaced has been changed since `finish` asked it.
    pub(crate) fn old_has_changed(&self) -> io::Result<bool> {
        Ok(self.old_changed_now()? != self.old_changed)
    }

    /// When anything about the file was changed last whose access the new one gets.
    fn old_changed_now(&self) -> io::Result<Option<Stamp>> {
        match &self.way {
            Way::Replaced(replaced) => replaced.old_changed(),
            _ => Ok(None),
        }
    }

    /// Makes what was written the destination, durably if `sync`; `last_look` may keep
    /// a file that is there, and `last_check` is asked just before the point of no return.
    pub(crate) fn commit(
        self,
        sync: bool,
        last_look: LastLook,
        last_check: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let path = &self.path;
        match &self.way {
            Way::Disk(_) | Way::Stream => last_check(),
            Way::InPlace(place) => {
                close(self.file, path)?;
                place.check_that_it_is_there(path)?;
                place.gate.commit(last_check, || Ok(()))
            }
            Way::Replaced(replaced) => {
                replaced.commit(self.file, path, sync, last_look, last_check)
            }
        }
    }
}

impl Replaced {
    /// What the finished file gets; nobody may be kept out of the old one afterwards.
    fn access_at_end(&mut self) -> io::Result<Access> {
        self.old_mode = match &self.old {
            Some(old) if !matches!(self.on_existing, OnExisting::BackUp(_)) => {
                old.facts_now()?.mode
            }
            _ => None,
        };
        self.access()
    }

    fn old_changed(&self) -> io::Result<Option<Stamp>> {
        match &self.old {
            Some(old) if !matches!(self.on_existing, OnExisting::BackUp(_)) => {
                Ok(old.facts_now()?.changed)
            }
            _ => Ok(None),
        }
    }

    fn access(&self) -> io::Result<Access> {
        match &self.old {
            Some(old) if !matches!(self.on_existing, OnExisting::BackUp(_)) => old.access(),
            _ => Ok(Access::new(self.new_mode)),
        }
    }

    fn commit(
        &self,
        file: File,
        path: &Path,
        sync: bool,
        last_look: LastLook,
        last_check: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        close(file, path)?;
        let commit = Commit {
            partial: &self.partial,
            target: &self.target,
            old: self.old.as_ref(),
            on_existing: &self.on_existing,
            old_mode: self.old_mode,
            last_look,
            path,
            durably: sync,
        };
        // Opened before: what cannot be synced should not come out afterwards.
        let directory = match sync {
            true => Some(self.target.open_to_sync()),
            false => None,
        };
        let failed = |error: io::Error| Failure::io("sync the directory of", path, &error);
        let directory = directory.transpose().map_err(failed)?;
        self.partial.gate.commit(last_check, || commit.run())?;
        at_step("name taken");
        self.partial.gate.remove_journal();
        at_step("journal removed");
        self.warn_if_elsewhere(path);
        let Some(directory) = directory else {
            return Ok(());
        };
        directory.sync(&self.partial.lock).map_err(|error| {
            failed(error).remark("the destination was replaced, but may not be on disk")
        })
    }

    /// The file is in the directory that was found; that may be called otherwise by now.
    fn warn_if_elsewhere(&self, path: &Path) {
        if !matches!(self.target.is_reached_by(path), Ok(false)) {
            return;
        }
        let path = visible::name(path);
        output::warn(&format!(
            "writer: warning: the directory of {path} was renamed or removed while this copy ran; the copy is in there"
        ));
    }
}

impl InPlace {
    /// That the old file may be half written; one that was made for this copy goes.
    fn tell_if_it_fails(&self, path: &Path) {
        if self.new_mode.is_none() {
            self.gate.write_into(path);
        }
    }

    /// Others may have removed or replaced what was written into: then the destination is not what
    /// was copied.
    fn check_that_it_is_there(&self, path: &Path) -> Result<(), Failure> {
        let found = match sys::resolve(path, FollowLast::Yes) {
            Ok(Resolved::Name(_, held)) => held,
            Ok(Resolved::Open(held)) => Some(held),
            Ok(Resolved::Directory(_)) => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Failure::io("look at", path, &error)),
        };
        if found.is_some_and(|held| held.facts.identity == self.held.facts.identity) {
            return Ok(());
        }
        let message = format!(
            "{} is not the file any more that was written into: that was removed or replaced meanwhile",
            visible::name(path)
        );
        Err(Failure::new(Exit::Failed, message))
    }

    fn access(&self) -> io::Result<Access> {
        match self.new_mode {
            Some(mode) => Ok(Access::new(mode)),
            None => self.held.access(),
        }
    }
}

impl Drop for InPlace {
    fn drop(&mut self) {
        self.gate.discard();
    }
}

/// What the system held back until now may fail: over a network, for want of room.
fn close(file: File, path: &Path) -> Result<(), Failure> {
    sys::close(file).map_err(|error| Failure::io("close", path, &error))
}

fn open_in_place(
    held: Held,
    path: PathBuf,
    gate: &Arc<CommitGate>,
) -> Result<Destination, Failure> {
    let failed = |error: io::Error| Failure::io("write to", &path, &error);
    let file = held.open_to_write().map_err(failed)?;
    let can_sync = can_sync(&file).map_err(failed)?;
    Ok(Destination {
        file,
        path,
        way: Way::InPlace(InPlace {
            held,
            gate: Arc::clone(gate),
            new_mode: None,
            is_changed: false,
        }),
        can_sync,
        has_holes: false,
        old_changed: None,
        resumed: Resumed::default(),
    })
}

/// What is no file on a disk (in /proc, for instance) has nothing to sync, and says so.
fn can_sync(file: &File) -> io::Result<bool> {
    match file.sync_data() {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(false),
        synced => synced.map(|()| true),
    }
}

/// There is no file yet to write into.
fn open_new(
    entry: Entry,
    path: PathBuf,
    new_mode: u32,
    gate: &Arc<CommitGate>,
) -> Result<Destination, Failure> {
    let failed = |error: io::Error| Failure::io("write to", &path, &error);
    let file = gate.create(&entry)?.map_err(failed)?;
    let held = entry.hold().map_err(failed);
    let held = held.and_then(|held| held.ok_or_else(|| failed(io::ErrorKind::NotFound.into())));
    let identity = sys::facts(&file)
        .map(|facts| facts.identity)
        .map_err(failed);
    let identity = identity.inspect_err(|_| gate.discard())?;
    gate.identify(identity);
    let held = held.inspect_err(|_| gate.discard())?;
    if held.facts.identity != identity {
        gate.discard();
        let error = io::Error::other("another file has its name by now");
        return Err(failed(error));
    }
    Ok(Destination {
        file,
        path,
        way: Way::InPlace(InPlace {
            held,
            gate: Arc::clone(gate),
            new_mode: Some(new_mode),
            is_changed: false,
        }),
        can_sync: true,
        has_holes: false,
        old_changed: None,
        resumed: Resumed::default(),
    })
}

fn check_capacity(file: &File, path: &Path, size: Option<u64>) -> Result<(), Failure> {
    let capacity = sys::capacity(file);
    let capacity = capacity.map_err(|error| Failure::io("look at", path, &error))?;
    let (Some(size), Some(capacity)) = (size, capacity) else {
        return Ok(());
    };
    if size <= capacity {
        return Ok(());
    }
    let message = format!(
        "cannot write to {}: it holds {}, the source has {}",
        visible::name(path),
        bytes(capacity),
        bytes(size)
    );
    Err(Failure::new(Exit::Failed, message))
}
