//! What a destination gets beside its data: what its source has, as far as that was
//! asked for, and else what the file has that it replaces.
//!
//! Until then the file is this user's alone. It gets its owner first, since the system
//! takes special bits and capabilities from a file that is given away; then its
//! attributes; then its access list, and the mode after that: the bare mode may grant
//! more. The times come last, since all else would change them.

use std::fs::{File, FileTimes};
use std::io;
use std::path::Path;

use crate::failure::{Exit, Failure, reason};
use crate::metadata::{ExtendedAttribute, Metadata, Stamp, Teller};
use crate::request::settings::Preserve;
use crate::sys;
use crate::tell::output;
use crate::visible;
use crate::writer::rights::{Lost, mode_without, narrowed_list, narrowed_mode};

/// Permission bits without the special ones.
const PLAIN_BITS: u32 = 0o777;
const ALL_BITS: u32 = 0o7777;

/// Why another user's Reader gives no access list.
const GUEST_LIST: &str = "another user's reader cannot set it";

/// Permissions of the group and of all others.
const FOR_OTHERS: u32 = 0o077;

/// A file that has all its data, and what there is for it beside that.
pub(crate) struct Finish<'a> {
    pub(crate) file: &'a File,
    /// The name that it will have.
    pub(crate) path: &'a Path,
    /// What it gets unless the source's is asked for.
    pub(crate) old: &'a Metadata,
    /// Nothing is there yet that it replaces.
    pub(crate) is_new: bool,
    /// It is the old file itself, written in place.
    pub(crate) is_old: bool,
    pub(crate) source: &'a Metadata,
    /// Whose word `source` is.
    pub(crate) teller: Teller,
    pub(crate) preserve: Preserve,
}

impl Finish<'_> {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let lost = self.give_owner()?;
        self.give_old_attributes()?;
        self.give_source_attributes()?;
        match self.source.mode {
            Some(mode) if self.preserve.mode => self.give_source_rights(mode)?,
            Some(_) if self.preserve.acl => self.give_source_list(lost)?,
            _ => self.give_old_rights(lost)?,
        }
        self.give_times()
    }

    // ---- the owner --------------------------------------------------------------

    /// What of the old file's owner is lost, unless another owner was asked for.
    fn give_owner(&self) -> Result<Lost, Failure> {
        let asked = self.asked_owner();
        let both = |(user, group)| (Some(user), Some(group));
        let Some(wanted) = asked.or(self.old.owner.map(both)) else {
            return Ok(Lost::default());
        };
        let refused = self.try_owner(wanted)?;
        match (asked, &refused) {
            (Some(_), None) => return Ok(Lost::default()),
            (Some(_), Some(error)) => self.warn("owner", &reason(error)),
            (None, _) => {}
        }
        // What it has by now and not what was refused: some file systems show all
        // files with the same owner.
        let (Some(old), Some(found)) = (self.old.owner, self.owner()?) else {
            return Ok(Lost::default());
        };
        Ok(Lost {
            user: found.0 != old.0,
            group: found.1 != old.1,
        })
    }

    /// The source's user and group, as far as they were asked for and the Reader may
    /// name them: another user's can give the file to that user alone.
    fn asked_owner(&self) -> Option<(Option<u32>, Option<u32>)> {
        let (user, group) = self.source.owner.filter(|_| self.preserve.ownership)?;
        let (may_user, may_group) = match self.teller {
            Teller::OwnUser => (true, true),
            Teller::Guest(guest) => (guest == Some(user), false),
        };
        if !may_user {
            self.warn("owner", "another user's reader can name no other owner");
            return None;
        }
        if !may_group {
            self.warn("group", "another user's reader can name none");
        }
        Some((Some(user), may_group.then_some(group)))
    }

    /// As for cp: who may not give the file to its user may give it to its group. Why
    /// not both were given, if so.
    fn try_owner(
        &self,
        (user, group): (Option<u32>, Option<u32>),
    ) -> Result<Option<io::Error>, Failure> {
        let is_already = |(old_user, old_group): (u32, u32)| {
            user.is_none_or(|user| user == old_user) && group.is_none_or(|group| group == old_group)
        };
        if self.owner()?.is_some_and(is_already) {
            return Ok(None);
        }
        let mut refusal = None;
        for (user, group) in [(user, group), (None, group), (user, None)] {
            match sys::set_owner(self.file, user, group) {
                Ok(()) => break,
                Err(error) if sys::is_refusal(&error) => refusal = refusal.or(Some(error)),
                Err(error) => return Err(self.failed("owner", &error)),
            }
        }
        Ok(refusal)
    }

    fn owner(&self) -> Result<Option<(u32, u32)>, Failure> {
        sys::owner(self.file).map_err(|error| self.failed("owner", &error))
    }

    // ---- attributes, all but access lists -----------------------------------------

    fn give_old_attributes(&self) -> Result<(), Failure> {
        for attribute in plain(self.old) {
            match sys::set_attribute(self.file, attribute) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    self.warn("extended attributes", &about(attribute, &reason(&error)));
                }
                Err(error) => {
                    let why = about(attribute, &reason(&error));
                    return Err(self.failure("extended attributes", &why));
                }
            }
        }
        Ok(())
    }

    fn give_source_attributes(&self) -> Result<(), Failure> {
        let preserve = self.preserve;
        if let Some(why) = &self.source.attributes_error
            && preserve.xattr
        {
            self.lose("extended attributes", why)?;
        }
        if !preserve.xattr {
            return Ok(());
        }
        let mut lost = None;
        for attribute in plain(self.source) {
            // One line for all of them.
            lost = lost.or(self.give_source_attribute(attribute));
        }
        match lost {
            Some(why) => self.lose("extended attributes", &why),
            None => Ok(()),
        }
    }

    /// Why it was not given, if so.
    fn give_source_attribute(&self, attribute: &ExtendedAttribute) -> Option<String> {
        if self.teller != Teller::OwnUser && !sys::is_user_attribute(&attribute.name) {
            // Some give rights: security.capability, trusted.*.
            return Some(about(attribute, "another user's reader cannot set it"));
        }
        let given = sys::set_attribute(self.file, attribute);
        given.err().map(|error| about(attribute, &reason(&error)))
    }

    // ---- who may do what ----------------------------------------------------------

    /// The old file's access list and mode, or less: nobody shall gain by what is
    /// lost of its owner.
    fn give_old_rights(&self, lost: Lost) -> Result<(), Failure> {
        if self.is_old && !lost.user && !lost.group {
            // It has them.
            return Ok(());
        }
        if let Some(list) = access_list(self.old) {
            let list = narrowed_list(list, lost).ok_or_else(|| {
                self.failure("access list", "the system shows it in an unknown form")
            })?;
            // It sets the mode, too.
            return self.give_list(&list);
        }
        // What the directory hands down is for new files.
        if !self.is_new {
            self.remove_list()?;
        }
        self.give_old_mode(ALL_BITS, lost)
    }

    /// The source's access list alone, which sets the mode, too. If it has none, the
    /// old mode stays, without what a list kept it from being.
    fn give_source_list(&self, lost: Lost) -> Result<(), Failure> {
        let mut most = access_list(self.old).map_or(ALL_BITS, mode_without);
        if let Some(list) = access_list(self.source) {
            if self.teller == Teller::OwnUser {
                return self.give_list(list);
            }
            self.warn("access list", GUEST_LIST);
            most &= mode_without(list);
        }
        self.remove_list()?;
        self.give_old_mode(most, lost)
    }

    /// The source's access list and mode: cp keeps a list as a part of the mode.
    fn give_source_rights(&self, mode: u32) -> Result<(), Failure> {
        let mut mode = mode & self.bits_of_source(mode)?;
        match access_list(self.source) {
            None => self.remove_list()?,
            Some(list) if self.teller != Teller::OwnUser => {
                self.warn("access list", GUEST_LIST);
                self.remove_list()?;
                mode &= mode_without(list);
            }
            Some(list) if self.preserve.acl && !self.preserve.all => self.give_list(list)?,
            Some(list) => {
                if let Err(error) = sys::set_attribute(self.file, list) {
                    self.lose_list(&error)?;
                    mode &= mode_without(list);
                }
            }
        }
        self.give_mode(mode).map_err(|error| {
            let remedy = "--preserve=ownership,timestamps leaves it to the file system";
            self.failed("mode", &error).remark(remedy)
        })
    }

    /// Special bits only if the file belongs to whom it belonged to, as for cp, and if
    /// this user's own process says so: they make others act as the file's owner.
    fn bits_of_source(&self, mode: u32) -> Result<u32, Failure> {
        let has_special_bits = mode & !PLAIN_BITS != 0;
        if self.teller != Teller::OwnUser {
            if has_special_bits {
                self.warn("special mode bits", "another user's reader cannot set them");
            }
            return Ok(PLAIN_BITS);
        }
        if self.source.owner.is_some() && self.owner()? == self.source.owner {
            return Ok(ALL_BITS);
        }
        // Else the owner is what was warned of.
        if has_special_bits && !self.preserve.ownership {
            let why = "the new file has another owner; keep that, too: --preserve=mode,ownership";
            self.warn("special mode bits", why);
        }
        Ok(PLAIN_BITS)
    }

    fn lose_list(&self, error: &io::Error) -> Result<(), Failure> {
        if !sys::is_refusal(error) {
            return Err(self.failed("access list", error));
        }
        self.warn("access list", &reason(error));
        self.remove_list()
    }

    fn give_list(&self, list: &ExtendedAttribute) -> Result<(), Failure> {
        let given = sys::set_attribute(self.file, list);
        given.map_err(|error| self.failed("access list", &error))
    }

    /// The mode that is left may let in whom the list keeps out, so it is narrowed before;
    /// it is given afterwards.
    fn remove_list(&self) -> Result<(), Failure> {
        let mode = self.mode().map_err(|error| self.failed("mode", &error))?;
        if let Some(mode) = mode.filter(|mode| mode & FOR_OTHERS != 0) {
            match sys::set_mode(self.file, mode & !FOR_OTHERS) {
                // Where modes cannot be set, there are no lists either.
                Err(error) if !sys::is_refusal(&error) => return Err(self.failed("mode", &error)),
                _ => {}
            }
        }
        let removed = sys::remove_access_list(self.file);
        removed.map_err(|error| self.failed("access list", &error))
    }

    /// At most `most` of the old file's mode. Some file systems have their own mind
    /// about modes; that is no error unless it lets somebody in.
    fn give_old_mode(&self, most: u32, lost: Lost) -> Result<(), Failure> {
        let Some(mode) = self.old.mode else {
            return Ok(());
        };
        let mode = narrowed_mode(mode & most, lost);
        match self.give_mode(mode) {
            Err(error) if sys::is_refusal(&error) && self.lets_in_nobody_else(mode)? => Ok(()),
            given => given.map_err(|error| self.failed("mode", &error)),
        }
    }

    /// Whether what the file has instead of `mode` is no more than that. A new file
    /// may have what the file system gives to all.
    fn lets_in_nobody_else(&self, mode: u32) -> Result<bool, Failure> {
        let found = self.mode().map_err(|error| self.failed("mode", &error))?;
        Ok(self.is_new || found.is_some_and(|found| found & !mode == 0))
    }

    fn give_mode(&self, mode: u32) -> io::Result<()> {
        match self.mode()? == Some(mode) {
            true => Ok(()),
            false => sys::set_mode(self.file, mode),
        }
    }

    /// With the special bits, which a file that is written in place may have.
    fn mode(&self) -> io::Result<Option<u32>> {
        Ok(sys::metadata(self.file)?.mode)
    }

    // ---- the times ------------------------------------------------------------------

    fn give_times(&self) -> Result<(), Failure> {
        if !self.preserve.timestamps {
            return Ok(());
        }
        let time = |stamp: Option<Stamp>| stamp.map(|stamp| stamp.to_time());
        let (Some(modified), accessed) = (time(self.source.modified), time(self.source.accessed))
        else {
            return Ok(());
        };
        let unheard_of = || {
            let message = "the reader told a time that cannot be";
            Failure::new(Exit::Partner, message)
        };
        let mut times = FileTimes::new().set_modified(modified.ok_or_else(unheard_of)?);
        if let Some(accessed) = accessed {
            times = times.set_accessed(accessed.ok_or_else(unheard_of)?);
        }
        let given = self.file.set_times(times);
        given.map_err(|error| self.failed("timestamps", &error))
    }

    // ---- what is told of it -----------------------------------------------------------

    /// What may be lost if all was asked for, but not if just this was.
    fn lose(&self, what: &str, why: &str) -> Result<(), Failure> {
        if !self.preserve.all {
            return Err(self.failure(what, why));
        }
        self.warn(what, why);
        Ok(())
    }

    fn failed(&self, what: &str, error: &io::Error) -> Failure {
        self.failure(what, &reason(error))
    }

    fn failure(&self, what: &str, why: &str) -> Failure {
        let message = format!(
            "cannot keep the {what} of {}: {why}",
            visible::name(self.path)
        );
        Failure::new(Exit::Failed, message)
    }

    /// Said even by a process that is quiet: the destination is not all that was asked
    /// for.
    fn warn(&self, what: &str, why: &str) {
        let path = visible::name(self.path);
        output::warn(&format!(
            "writer: warning: cannot keep the {what} of {path}: {why}"
        ));
    }
}

fn plain(metadata: &Metadata) -> impl Iterator<Item = &ExtendedAttribute> {
    let attributes = metadata.attributes.iter();
    attributes.filter(|attribute| !sys::is_access_list(&attribute.name))
}

fn access_list(metadata: &Metadata) -> Option<&ExtendedAttribute> {
    let mut attributes = metadata.attributes.iter();
    attributes.find(|attribute| sys::is_access_list(&attribute.name))
}

/// "NAME: WHY"
fn about(attribute: &ExtendedAttribute, why: &str) -> String {
    let name = String::from_utf8_lossy(&attribute.name);
    format!("{}: {why}", visible::name(&*name))
}
