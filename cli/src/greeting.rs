//! What the Reader tells of its source when it joins, for the Writer to name, size
//! and protect the destination by. All of it is optional, and none is trusted.

use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;

use crate::plan::Place;

/// Longest file name, in bytes; a greeting has to hold it.
const NAME_MAX: usize = 255;

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
            Some(Place::Standard) => match crate::source::standard_input() {
                Ok(file) => file.metadata().map(|m| Greeting::from_metadata(&m)),
                Err(error) => Err(error),
            }
            .unwrap_or_default(),
            Some(Place::Path(path)) => Greeting {
                name: path
                    .file_name()
                    .filter(|name| name.len() <= NAME_MAX)
                    .map(OsStr::to_owned),
                ..std::fs::metadata(path)
                    .map(|metadata| Greeting::from_metadata(&metadata))
                    .unwrap_or_default()
            },
        }
    }

    fn from_metadata(metadata: &Metadata) -> Greeting {
        // Files that are made up as they are read (in /proc) say that they are
        // empty.
        let size = metadata.is_file().then_some(metadata.len());
        Greeting {
            size: size.filter(|&size| size > 0),
            mode: metadata
                .is_file()
                .then(|| metadata.permissions().mode() & 0o777),
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
        if let Some(name) = &self.name {
            bytes.extend(b"name=");
            bytes.extend(name.as_bytes());
        }
        bytes
    }

    pub(crate) fn decode(mut bytes: &[u8]) -> Greeting {
        let mut greeting = Greeting::default();
        while !bytes.is_empty() {
            if let Some(name) = bytes.strip_prefix(b"name=") {
                greeting.name = plain_file_name(name);
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

/// A partner's word must not lead out of the directory that the user named.
fn plain_file_name(name: &[u8]) -> Option<OsString> {
    let plain = !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/') && !name.contains(&0);
    plain.then(|| OsString::from_vec(name.to_vec()))
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
