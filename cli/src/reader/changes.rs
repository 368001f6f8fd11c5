//! Whether a source is what it was when the copy began.

use crate::sys::Facts;

/// What became of the name that a source was found by.
pub(super) enum Name {
    /// It had none: standard input.
    None,
    /// It leads to this by now.
    LeadsTo(Facts),
    /// It leads nowhere.
    Removed,
}

/// What has changed between two looks at a regular file, in words.
pub(super) fn what_changed(before: &Facts, after: &Facts, name: &Name) -> Option<String> {
    match name {
        Name::LeadsTo(named) if named.identity != before.identity => {
            return Some("another file has its name now".to_owned());
        }
        Name::Removed => return Some("it was removed".to_owned()),
        Name::LeadsTo(_) | Name::None => {}
    }
    if before.len != after.len {
        let (before, after) = (before.len, after.len);
        return Some(format!("it had {before} bytes and has {after}"));
    }
    if before.modified != after.modified {
        return Some("it was written to".to_owned());
    }
    (before.changed != after.changed).then(|| "its owner, mode or names changed".to_owned())
}
