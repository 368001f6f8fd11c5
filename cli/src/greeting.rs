//! What the Reader tells of its source when it joins, for the Writer to name, size
//! and protect the destination by. All of it is optional, and none is trusted.

use std::ffi::{OsStr, OsString};

use crate::plan::Place;
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
    /// Permission bits.
    pub(crate) mode: Option<u32>,
    /// File name without directory.
    pub(crate) name: Option<OsString>,
}

impl Greeting {
    /// Looked up without opening, which could block.
    pub(crate) fn of(source: Option<&Place>) -> Greeting {
        match source {
            None => Greeting::default(),
            Some(Place::Standard) => sys::standard_input()
                .and_then(|file| sys::facts(&file))
                .map(|facts| Greeting::from_facts(&facts))
                .unwrap_or_default(),
            Some(Place::Path(path)) => Greeting {
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
            mode: facts.mode,
            name: None,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(size) = self.size {
            bytes.extend(format!("size={size}\n").bytes());
        }
        if let Some(mode) = self.mode {
            bytes.extend(format!("mode={mode:o}\n").bytes());
        }
        if let Some(name) = self.name.as_deref().and_then(sys::name_to_bytes) {
            bytes.extend(b"name=");
            bytes.extend(name);
        }
        bytes
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
                Some(("mode", value)) => {
                    let mode = u32::from_str_radix(value, 8).ok();
                    greeting.mode = mode.map(|mode| mode & 0o777);
                }
                _ => {}
            }
            bytes = rest.get(1..).unwrap_or(&[]);
        }
        greeting
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
                mode: Some(0o640),
                name: Some(name.into()),
            };
            assert_eq!(Greeting::decode(&greeting.encode()), greeting);
        }
        assert_eq!(Greeting::decode(b""), Greeting::default());
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
