//! What a destination keeps beside its data: of its source, as far as that was asked
//! for, and else of the file that it replaces.
//!
//! Until then the file is this user's alone. It gets its owner first, since the system
//! takes special bits and capabilities from a file that is given away; then what
//! narrows its mode, then the mode, and the times last, which all else would change.

use std::fs::{File, FileTimes};
use std::io;
use std::path::Path;

use crate::failure::{Exit, Failure, reason};
use crate::request::settings::Preserve;
use crate::sys;
use crate::talk::metadata::{ExtendedAttribute, Metadata};
use crate::tell::output;

/// Permission bits without the special ones.
const PLAIN_BITS: u32 = 0o777;
const ALL_BITS: u32 = 0o7777;

/// A file that has all its data, and what there is for it beside that.
pub(crate) struct Finish<'a> {
    pub(crate) file: &'a File,
    /// The name that it will have.
    pub(crate) path: &'a Path,
    /// What it gets unless the source's is asked for.
    pub(crate) old: &'a Metadata,
    /// Nothing is there yet that it replaces.
    pub(crate) is_new: bool,
    pub(crate) source: &'a Metadata,
    /// The Reader, whose word `source` is, is a process of this user.
    pub(crate) from_own_user: bool,
    pub(crate) preserve: Preserve,
}

impl Finish<'_> {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        self.give_owner()?;
        self.give_attributes()?;
        let mode = self.give_access_list()?;
        if let Some(mode) = mode {
            let given = sys::set_mode(self.file, mode);
            given.map_err(|error| self.failed("mode", &error))?;
        }
        self.give_times()
    }

    fn give_owner(&self) -> Result<(), Failure> {
        let Some((user, group)) = self.source.owner.filter(|_| self.preserve.ownership) else {
            // Only root can, and only root would take a file from its owner.
            if let Some((user, group)) = self.old.owner {
                let _ = sys::set_owner(self.file, Some(user), Some(group));
            }
            return Ok(());
        };
        let Err(error) = sys::set_owner(self.file, Some(user), Some(group)) else {
            return Ok(());
        };
        // As for cp: who has not the right to keep the owner may keep the group.
        let _ = sys::set_owner(self.file, None, Some(group));
        match error.kind() {
            // The second: a user that does not exist in this namespace.
            io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput => {
                self.warn("owner", &reason(&error));
                Ok(())
            }
            _ => Err(self.failed("owner", &error)),
        }
    }

    /// All but access lists.
    fn give_attributes(&self) -> Result<(), Failure> {
        for attribute in plain(self.old) {
            let _ = sys::set_attribute(self.file, attribute);
        }
        let preserve = self.preserve;
        if let Some(why) = &self.source.attributes_error
            && (preserve.xattr || preserve.acl)
        {
            self.lose("extended attributes", why)?;
        }
        if !preserve.xattr {
            return Ok(());
        }
        let mut lost = None;
        for attribute in plain(self.source) {
            let given = sys::set_attribute(self.file, attribute);
            // One line for all of them.
            lost = lost.or(given.err().map(|error| {
                let name = String::from_utf8_lossy(&attribute.name);
                format!(
                    "{}: {}",
                    name.replace(char::is_control, "?"),
                    reason(&error)
                )
            }));
        }
        match lost {
            Some(why) => self.lose("extended attributes", &why),
            None => Ok(()),
        }
    }

    /// Before the mode, which would let in whom the list keeps out. What is left to be
    /// set as the mode.
    fn give_access_list(&self) -> Result<Option<u32>, Failure> {
        let mode = self.mode();
        // cp keeps a list as a part of the mode.
        let is_sources = self.preserve.acl || self.preserve.mode;
        let told = if is_sources { self.source } else { self.old };
        let Some(list) = access_list(told) else {
            // What the directory hands down is for new files.
            if is_sources || !self.is_new {
                sys::remove_access_list(self.file)
                    .map_err(|error| self.failed("access list", &error))?;
            }
            return Ok(mode);
        };
        match sys::set_attribute(self.file, list) {
            // The list has set the mode, but for special bits.
            Ok(()) if is_sources && !self.preserve.mode => Ok(None),
            Ok(()) => Ok(mode),
            Err(error) if is_sources => {
                let is_asked = self.preserve.acl && !self.preserve.all;
                if is_asked {
                    return Err(self.failed("access list", &error));
                }
                self.warn("access list", &reason(&error));
                Ok(mode.map(|mode| mode & sys::mode_without(list)))
            }
            Err(error) => Err(self.failed("access list", &error)),
        }
    }

    /// Special bits only if the file belongs to whom it belonged to, as for cp, and if
    /// this user's own process says so: they make others act as the file's owner.
    fn mode(&self) -> Option<u32> {
        let Some(mode) = self.source.mode.filter(|_| self.preserve.mode) else {
            return self.old.mode;
        };
        let may_have_special_bits = self.from_own_user
            && self.source.owner.is_some()
            && sys::owner(self.file) == self.source.owner;
        Some(
            mode & if may_have_special_bits {
                ALL_BITS
            } else {
                PLAIN_BITS
            },
        )
    }

    fn give_times(&self) -> Result<(), Failure> {
        if !self.preserve.timestamps {
            return Ok(());
        }
        let time = |stamp: Option<crate::talk::metadata::Stamp>| stamp.map(|stamp| stamp.to_time());
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

    /// What may be lost if all was asked for, but not if just this was.
    fn lose(&self, what: &str, why: &str) -> Result<(), Failure> {
        if self.preserve.all {
            self.warn(what, why);
            return Ok(());
        }
        let message = format!("cannot keep the {what} of {}: {why}", self.path.display());
        Err(Failure::new(Exit::Failed, message))
    }

    fn failed(&self, what: &str, error: &io::Error) -> Failure {
        Failure::io(&format!("keep the {what} of"), self.path, error)
    }

    /// Said even by a process that is quiet: the destination is not all that was asked
    /// for.
    fn warn(&self, what: &str, why: &str) {
        let path = self.path.display();
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
