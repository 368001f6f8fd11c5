//! What the halves tell each other when they join: the Reader of its source, for the
//! Writer to name, size and protect the destination by; the Writer of what is there
//! already. Also what `--status` shows. All of it is optional, and none is trusted.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use brigade::GREETING_MAX;

use crate::metadata::Stamp;
use crate::request::endpoint::Endpoint;
use crate::request::plan::Plan;
use crate::request::settings::Settings;
use crate::sys::{self, Facts, Kind};

/// Longest file name, in bytes: 255 units of UTF-16 may take three each. A greeting
/// has to hold it.
const NAME_BYTES_MAX: usize = 3 * 255;

/// Text lines `key=value`; unknown keys are ignored. The name comes last and runs
/// to the end, since a name may contain anything but '/'.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Greeting {
    /// Size in bytes, if it is known before reading.
    pub(crate) size: Option<u64>,
    /// Bytes that it takes where it is: less than its size if it has holes.
    pub(crate) allocated: Option<u64>,
    /// Permission bits.
    pub(crate) mode: Option<u32>,
    /// When the source was changed last.
    pub(crate) modified: Option<Stamp>,
    /// From the Writer: its destination is there, and to be kept.
    pub(crate) keep: Option<Keep>,
    /// The session's name, for who looks from outside.
    pub(crate) session: Option<String>,
    /// Source and destination, if this process was given them, for who looks from
    /// outside: as they can be shown.
    pub(crate) source: Option<String>,
    pub(crate) destination: Option<String>,
    /// File name without directory.
    pub(crate) name: Option<OsString>,
}

/// When a destination is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Because it is there.
    Always,
    /// If the source is not newer than this.
    UnlessNewerThan(Stamp),
}

impl Greeting {
    /// What the partner of `plan` gets to see, as it is now.
    pub(crate) fn of_plan(plan: &Plan) -> Greeting {
        let keep = match &plan.destination {
            Some(Endpoint::Path(path)) => Keep::of(path, &plan.settings),
            _ => None,
        };
        Greeting {
            keep,
            session: Some(plan.name.clone()),
            source: plan.source.as_ref().map(Endpoint::shown),
            destination: plan.destination.as_ref().map(Endpoint::shown),
            ..Greeting::of(plan.source.as_ref())
        }
    }

    /// The Reader's. Looked up without opening, which could block.
    fn of(source: Option<&Endpoint>) -> Greeting {
        match source {
            None => Greeting::default(),
            Some(Endpoint::Standard) => sys::standard_input()
                .and_then(|file| sys::facts(&file))
                .map(|facts| Greeting::from_facts(&facts))
                .unwrap_or_default(),
            Some(Endpoint::Path(path)) => Greeting {
                name: path
                    .file_name()
                    .filter(|name| name.len() <= NAME_BYTES_MAX)
                    .map(OsStr::to_owned),
                ..sys::facts_at(path)
                    .map(|facts| Greeting::from_facts(&facts))
                    .unwrap_or_default()
            },
        }
    }

    fn from_facts(facts: &Facts) -> Greeting {
        if facts.kind != Kind::File {
            return Greeting::default();
        }
        Greeting {
            // Files that are made up as they are read (in /proc) say that they are
            // empty.
            size: Some(facts.len).filter(|&size| size > 0),
            allocated: facts.allocated,
            mode: facts.mode,
            modified: facts.modified,
            ..Greeting::default()
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut lines = String::new();
        let mut add = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                lines += &format!("{key}={value}\n");
            }
        };
        add("size", self.size.map(|size| size.to_string()));
        add("allocated", self.allocated.map(|bytes| bytes.to_string()));
        add("mode", self.mode.map(|mode| format!("{mode:o}")));
        add("modified", self.modified.map(Stamp::to_text));
        add("keep", self.keep.map(Keep::to_text));
        let mut name = Vec::new();
        if let Some(bytes) = self.name.as_deref().and_then(sys::name_to_bytes) {
            name.extend(b"name=");
            name.extend(bytes);
        }
        // For show only: left out if there is no room.
        let shown = [
            ("session", &self.session),
            ("source", &self.source),
            ("destination", &self.destination),
        ];
        for (key, shown) in shown {
            if let Some(shown) = shown {
                let shown = shown.replace(char::is_control, "?");
                let line = format!("{key}={shown}\n");
                if lines.len() + line.len() + name.len() <= GREETING_MAX {
                    lines += &line;
                }
            }
        }
        [lines.into_bytes(), name].concat()
    }

    pub(crate) fn decode(mut bytes: &[u8]) -> Greeting {
        let mut greeting = Greeting::default();
        while !bytes.is_empty() {
            if let Some(name) = bytes.strip_prefix(b"name=") {
                // A partner's word must not lead out of the directory that the user
                // named.
                greeting.name = sys::name_from_bytes(name);
                break;
            }
            let end = bytes.iter().position(|&byte| byte == b'\n');
            let (line, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            let line = std::str::from_utf8(line).unwrap_or("");
            match line.split_once('=') {
                Some(("size", value)) => greeting.size = value.parse().ok(),
                Some(("allocated", value)) => greeting.allocated = value.parse().ok(),
                Some(("mode", value)) => {
                    let mode = u32::from_str_radix(value, 8).ok();
                    greeting.mode = mode.map(|mode| mode & 0o777);
                }
                Some(("modified", value)) => greeting.modified = Stamp::from_text(value),
                Some(("keep", value)) => greeting.keep = Keep::from_text(value),
                Some(("session", value)) => greeting.session = Some(shown(value)),
                Some(("source", value)) => greeting.source = Some(shown(value)),
                Some(("destination", value)) => greeting.destination = Some(shown(value)),
                _ => {}
            }
            bytes = rest.get(1..).unwrap_or(&[]);
        }
        greeting
    }
}

/// Fit to be printed.
fn shown(value: &str) -> String {
    value.replace(char::is_control, "?")
}

impl Keep {
    /// What `settings` mean for the destination `path` as it is now; `None` if the
    /// copy goes on.
    pub(crate) fn of(path: &Path, settings: &Settings) -> Option<Keep> {
        Keep::of_facts(&sys::facts_at(path).ok()?, settings)
    }

    /// The same of what was found there.
    pub(crate) fn of_facts(found: &Facts, settings: &Settings) -> Option<Keep> {
        match found.kind {
            Kind::Directory => None,
            _ if settings.no_clobber => Some(Keep::Always),
            // What is written in place has a time, but not that of its content.
            Kind::File if settings.update => found.modified.map(Keep::UnlessNewerThan),
            _ => None,
        }
    }

    /// What the user gets to hear of it.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Keep::Always => "it exists",
            Keep::UnlessNewerThan(_) => "the source is not newer",
        }
    }

    /// Whether a source of that age leaves the destination as it is.
    pub(crate) fn applies_to(self, modified: Option<Stamp>) -> bool {
        match (self, modified) {
            (Keep::Always, _) => true,
            (Keep::UnlessNewerThan(kept), Some(modified)) => modified <= kept,
            // Of unknown age, so perhaps newer.
            (Keep::UnlessNewerThan(_), None) => false,
        }
    }

    fn to_text(self) -> String {
        match self {
            Keep::Always => "always".to_owned(),
            Keep::UnlessNewerThan(stamp) => stamp.to_text(),
        }
    }

    fn from_text(text: &str) -> Option<Keep> {
        match text {
            "always" => Some(Keep::Always),
            _ => Stamp::from_text(text).map(Keep::UnlessNewerThan),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_survives_the_way_with_any_name() {
        for name in ["a", "size=1\nmode=7", "ü\n", "-"] {
            let greeting = Greeting {
                size: Some(u64::MAX),
                allocated: Some(4096),
                mode: Some(0o640),
                modified: Some(Stamp {
                    seconds: -1,
                    nanoseconds: 999_999_999,
                }),
                keep: Some(Keep::Always),
                session: Some("copy".to_owned()),
                source: Some("/a/ü".to_owned()),
                destination: Some("-".to_owned()),
                name: Some(name.into()),
            };
            assert_eq!(Greeting::decode(&greeting.encode()), greeting);
        }
        assert_eq!(Greeting::decode(b""), Greeting::default());
    }

    #[test]
    fn what_is_for_show_only_is_left_out_if_there_is_no_room() {
        let greeting = Greeting {
            source: Some("p".repeat(GREETING_MAX)),
            session: Some("s".to_owned()),
            name: Some("n".repeat(NAME_BYTES_MAX / 3).into()),
            ..Greeting::default()
        };
        let encoded = greeting.encode();
        assert!(encoded.len() <= GREETING_MAX);
        let decoded = Greeting::decode(&encoded);
        assert_eq!((decoded.source, decoded.name), (None, greeting.name));
        assert_eq!(decoded.session, greeting.session);
    }

    #[test]
    fn a_name_that_leads_elsewhere_and_nonsense_are_ignored() {
        for bytes in [
            &b"name=.."[..],
            b"name=a/b",
            b"name=",
            b"size=x\nmode=9\n\xff\xff\n=\n",
        ] {
            assert_eq!(Greeting::decode(bytes), Greeting::default());
        }
    }
}
