//! Names, and those of the objects that stand for each.

use std::path::Path;

use super::users::User;
use crate::error::Error;

/// A name, as the beginning of the names of all objects that stand for it.
#[derive(Debug)]
pub(crate) struct Name {
    pub(super) base: String,
}

impl Name {
    pub(crate) fn parse(text: &str) -> Result<Name, Error> {
        let invalid = |why: &str| Err(Error::InvalidOption(format!("the name {text:?} {why}")));
        if text.contains('\0') {
            return invalid("contains a zero byte");
        }
        let path = Path::new(text);
        let Some(base) = path.file_name().and_then(|base| base.to_str()) else {
            return invalid("is empty or ends in no file name");
        };
        if !text.ends_with(base) {
            return invalid("ends in no file name");
        }
        let meant = if text.contains(['/', '\\']) {
            // Absolute and resolved: the same for all who mean the same.
            let directory = path.parent().unwrap_or(Path::new(r"\"));
            let directory = std::fs::canonicalize(directory)
                .map_err(|error| Error::os(format!("use the name {text}"), error))?;
            folded(&directory.join(base).to_string_lossy())
        } else {
            text.to_owned()
        };
        let hash = hash(&meant, 32);
        Ok(Name {
            base: format!("{}-{hash}", prefix()),
        })
    }

    /// The semaphore that decides.
    pub(super) fn seat(&self) -> &str {
        &self.base
    }

    /// The holder's card, which says who it is.
    pub(super) fn card(&self) -> String {
        format!("{}.host", self.base)
    }

    /// The semaphore that the holder sleeps on until somebody comes.
    pub(super) fn bell(&self) -> String {
        format!("{}.bell", self.base)
    }

    /// The semaphore that is a second's claim to the seat: it exists, or does not.
    pub(super) fn claim(&self) -> String {
        format!("{}.claim", self.base)
    }

    /// What `of` writes to its peer in the holder's turn `turn`.
    pub(super) fn letters(&self, turn: u64, of: &str) -> String {
        format!("{}.{turn}.{of}", self.base)
    }
}

/// Upper case, one character for one, as file systems here fold names: they know of
/// no `ß` that becomes two.
fn folded(text: &str) -> String {
    let fold = |c: char| {
        let mut upper = c.to_uppercase();
        match (upper.next(), upper.next()) {
            (Some(single), None) => single,
            _ => c,
        }
    };
    text.chars().map(fold).collect()
}

/// The first `digits` of the hash of `text`.
fn hash(text: &str, digits: usize) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..digits].to_owned()
}

/// How the names of all objects of this user begin: in the namespace of the login
/// session, so that no privilege is needed.
pub(super) fn prefix() -> String {
    format!(r"Local\brigade-{}", hash(&User::own().0, 16))
}

/// Whose letters, at the end of an object's name.
pub(super) const FIRST: &str = "first";
pub(super) const SECOND: &str = "second";
pub(super) const SECOND_BELL: &str = "second.bell";
