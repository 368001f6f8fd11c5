//! When a destination stays as it is. It is asked once both halves are there, of both
//! files as they are then, and again just before the destination is replaced.

use crate::metadata::Stamp;
use crate::request::settings::Settings;
use crate::sys::{Facts, Kind};
use crate::talk::agreement::Because;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SkipRule {
    /// A destination that is there is replaced.
    Never,
    /// It stays.
    Existing,
    /// It stays if the source is not newer.
    NotOlder,
}

impl SkipRule {
    pub(crate) fn of(settings: &Settings) -> SkipRule {
        match (settings.no_clobber, settings.update) {
            (true, _) => SkipRule::Existing,
            (false, true) => SkipRule::NotOlder,
            (false, false) => SkipRule::Never,
        }
    }

    /// Why a destination stays, if it does, for a source that was changed at `modified`.
    pub(crate) fn why_kept(self, found: &Facts, modified: Option<Stamp>) -> Option<Because> {
        match self {
            SkipRule::Existing => Some(Because::ItExists),
            SkipRule::NotOlder if self.keeps(found, modified) => Some(Because::SourceIsNotNewer),
            SkipRule::NotOlder | SkipRule::Never => None,
        }
    }

    /// Whether a destination is too new for the source, as both are by now.
    fn keeps(self, found: &Facts, modified: Option<Stamp>) -> bool {
        // What is written in place has a time, but not that of its content; and a source
        // of unknown age is perhaps newer.
        let is_newer = found.modified.zip(modified);
        let is_newer = is_newer.is_some_and(|(found, modified)| modified <= found);
        self == SkipRule::NotOlder && found.kind == Kind::File && is_newer
    }
}

/// What is asked once more when everything is written, of the destination as it is then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastLook {
    pub(crate) rule: SkipRule,
    /// When the source was changed last, as far as the Reader tells.
    pub(crate) modified: Option<Stamp>,
}

impl LastLook {
    /// Whether `found` became too new to be replaced.
    pub(crate) fn keeps(self, found: &Facts) -> bool {
        self.rule.keeps(found, self.modified)
    }
}
