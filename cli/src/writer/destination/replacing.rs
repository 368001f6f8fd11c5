//! A file that is to be replaced: the partial file is made, or found, and the old one held.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use brigade::at_step;

use super::{Destination, Replaced, Resumed, Way};
use crate::failure::{Exit, Failure};
use crate::request::settings::{OnExisting, Settings};
use crate::sys::{self, Entry, Held, Kind};
use crate::talk::which_file::WhichFile;
use crate::tree::SUBTREE_BYTES;
use crate::visible;
use crate::writer::commit::{self, check_backup};
use crate::writer::gate::CommitGate;
use crate::writer::journaling::{self, Journal};
use crate::writer::partial::{Left, Partial};
use crate::writer::resume::{Found, Resuming};
use crate::writer::target::{IN_PLACE, check_replaceable};

/// What a copy is written into.
struct Opened {
    file: File,
    partial: Partial,
    journal: Option<Journal>,
    resumed: Resumed,
}

/// A target that is to be replaced.
pub(super) struct Replacing {
    pub(super) entry: Entry,
    pub(super) old: Option<Held>,
    pub(super) path: PathBuf,
    pub(super) must_be_new: bool,
    pub(super) new_mode: u32,
}

impl Replacing {
    pub(super) fn open(
        mut self,
        settings: &Settings,
        left: Option<Left>,
        resuming: Option<&Resuming>,
        gate: &Arc<CommitGate>,
    ) -> Result<Destination, Failure> {
        let on_existing = settings.on_existing();
        self.check(&on_existing)?;
        let Opened {
            file,
            partial,
            journal,
            resumed,
        } = match left {
            Some(left) => self.open_left(left, &on_existing, resuming, gate)?,
            None => self.open_or_make(settings, resuming, gate)?,
        };
        at_step("partial file made");
        // It may have waited for another copy to the same destination.
        self.look_again(&on_existing)?;
        if let Some(left) = left {
            self.check_old(left.old, &on_existing)?;
        }
        let left = commit::clear_left_over(&self.entry);
        left.map_err(|error| Failure::io("write to", &self.path, &error))?;
        let path = self.path;
        let replaced = Replaced {
            partial,
            journal,
            target: self.entry,
            old: self.old,
            on_existing,
            old_mode: None,
            new_mode: self.new_mode,
        };
        let access = replaced.access();
        let access = access.map_err(|error| Failure::io("write to", &path, &error))?;
        let begun = access.begin(&file);
        begun.map_err(|error| Failure::io("protect", &path, &error))?;
        Ok(Destination {
            file,
            path,
            way: Way::Replaced(Box::new(replaced)),
            can_sync: true,
            has_holes: false,
            old_changed: None,
            resumed,
        })
    }

    /// Takes the place of a Writer that died a moment ago, and goes on with its journal.
    fn open_left(
        &self,
        left: Left,
        on_existing: &OnExisting,
        resuming: Option<&Resuming>,
        gate: &Arc<CommitGate>,
    ) -> Result<Opened, Failure> {
        let old_user = self.old_user(on_existing);
        let old_user = old_user.map_err(|error| Failure::io("look at", &self.path, &error))?;
        let (file, partial) = Partial::open_left(&self.entry, &self.path, left, old_user, gate)?;
        let mut journal = None;
        if let Some(resuming) = resuming {
            let facts = sys::facts(&file);
            let facts = facts.map_err(|error| Failure::io("look at", &self.path, &error))?;
            let expected = resuming.record(&facts);
            let found = Journal::open_left(&self.entry, &self.path)?;
            // Without one, or with another, this copy is one that cannot be resumed.
            journal = found.and_then(Result::ok);
            journal.take_if(|journal| !journal.is_of(&expected));
        }
        // What had not been given back is written again.
        if let Some(journal) = &mut journal
            && journal.bytes() > Some(left.offset)
        {
            let noted = journal.start_over();
            noted.map_err(|error| Failure::io("write to the journal of", &self.path, &error))?;
        }
        Ok(Opened {
            file,
            partial,
            journal,
            resumed: Resumed::default(),
        })
    }

    /// Whose file is replaced, if the new one becomes theirs.
    fn old_user(&self, on_existing: &OnExisting) -> io::Result<Option<u32>> {
        match (&self.old, on_existing) {
            (None, _) | (_, OnExisting::BackUp(_)) => Ok(None),
            (Some(old), _) => {
                let owner = old.access()?.kept().owner;
                Ok(owner.map(|(user, _)| user))
            }
        }
    }

    /// Goes on with what an earlier copy has left, if it is of use and that was asked for;
    /// else begins anew.
    fn open_or_make(
        &self,
        settings: &Settings,
        resuming: Option<&Resuming>,
        gate: &Arc<CommitGate>,
    ) -> Result<Opened, Failure> {
        let mut resumed = Resumed::default();
        match resuming {
            Some(resuming) if settings.resume => {
                match resuming.find(&self.entry, &self.path, gate)? {
                    Found::Nothing => {}
                    Found::Useless(why) => resumed.starts_over = Some(why),
                    Found::GoesOn(found) => {
                        let adopted = found.journal.adopt(gate);
                        adopted.map_err(|error| Failure::io("look at", &self.path, &error))?;
                        resumed.begun = Some(found.begun);
                        return Ok(Opened {
                            file: found.file,
                            partial: found.partial,
                            journal: Some(found.journal),
                            resumed,
                        });
                    }
                }
            }
            Some(resuming) => resumed.unused = resuming.look(&self.entry, &self.path)?,
            None => {}
        }
        let hint = self.old.as_ref().map(|_| IN_PLACE);
        let (file, partial) = Partial::make(&self.entry, &self.path, hint, gate)?;
        journaling::clear_left(&self.entry, &self.path, settings.resume, &file)?;
        let journal = match resuming {
            // Of less, nothing would ever be noted.
            Some(resuming)
                if settings.resume
                    && resuming.source.size > SUBTREE_BYTES
                    && !resuming.is_guest =>
            {
                let facts = sys::facts(&file);
                let facts = facts.map_err(|error| Failure::io("look at", &self.path, &error))?;
                let record = resuming.record(&facts);
                Some(Journal::make(&self.entry, &self.path, record, gate)?)
            }
            _ => None,
        };
        Ok(Opened {
            file,
            partial,
            journal,
            resumed,
        })
    }

    /// Whether the name can be given to another file, and may be.
    fn check(&self, on_existing: &OnExisting) -> Result<(), Failure> {
        check_replaceable(&self.entry, self.old.as_ref(), &self.path)?;
        match (&self.old, on_existing) {
            // What is there goes as it is; so all is new, as it is for cp.
            (_, OnExisting::BackUp(suffix)) => check_backup(&self.entry, &self.path, suffix),
            // Replacing needs only the directory; but who protected the file against
            // writing means its content.
            (Some(old), _) => {
                let may = old.may_write();
                may.map_err(|error| Failure::io("write to", &self.path, &error))
            }
            (None, _) => Ok(()),
        }
    }

    /// Refuses to replace what the Writer would have kept that died, which found `told`.
    fn check_old(&self, told: Option<WhichFile>, on_existing: &OnExisting) -> Result<(), Failure> {
        let found = self.old.as_ref().map(|held| WhichFile::of(&held.facts));
        let path = visible::name(&self.path);
        let message = match found {
            None if told.is_none() || self.is_backed_up(told, on_existing)? => return Ok(()),
            None => format!("cannot replace {path}: it was removed while this copy ran"),
            Some(found) if told.is_some() && found == told => return Ok(()),
            Some(_) if told.is_none() => {
                format!("cannot write to {path}: it came while this copy ran, and is kept")
            }
            Some(_) => format!(
                "cannot replace {path}: another file took its name while this copy ran, and is kept"
            ),
        };
        Err(Failure::new(Exit::Failed, message))
    }

    /// Whether the Writer that died had come as far as giving `old` its other name; where a
    /// file can have but one, nothing has the destination's then.
    fn is_backed_up(
        &self,
        old: Option<WhichFile>,
        on_existing: &OnExisting,
    ) -> Result<bool, Failure> {
        let OnExisting::BackUp(suffix) = on_existing else {
            return Ok(false);
        };
        let name = commit::with_suffix(self.entry.name(), suffix);
        let found = self.entry.sibling(name).hold();
        let found =
            found.map_err(|error| Failure::io("look at the backup of", &self.path, &error))?;
        Ok(found.is_some_and(|found| WhichFile::of(&found.facts) == old))
    }

    /// From now on no other copy replaces the file: so what is there now is the old one.
    fn look_again(&mut self, on_existing: &OnExisting) -> Result<(), Failure> {
        let now = self.entry.hold();
        let now = now.map_err(|error| Failure::io("write to", &self.path, &error))?;
        let identity = |held: &Option<Held>| held.as_ref().map(|held| held.facts.identity);
        if identity(&now) == identity(&self.old) {
            return Ok(());
        }
        let is_file = |held: &Held| held.facts.kind == Kind::File && !held.facts.is_link;
        let must_be_new = self.must_be_new || *on_existing == OnExisting::Keep;
        let is_kept = must_be_new && now.is_some();
        if is_kept || !now.as_ref().is_none_or(is_file) {
            let path = visible::name(&self.path);
            let message = format!(
                "cannot write to {path}: what it is changed while this copy began; run it again"
            );
            return Err(Failure::new(Exit::Failed, message));
        }
        self.old = now;
        self.check(on_existing)
    }
}
