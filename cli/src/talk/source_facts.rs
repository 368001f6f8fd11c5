//! What the Reader tells of its open source before it reads any of it.

use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure};
use crate::metadata::{Stamp, null_as_absent};
use crate::sys::{Facts, Identity, Kind};
use crate::talk::object;
use crate::talk::which_file::WhichFile;

/// The longest file that can be.
pub(super) const FILE_BYTES_MAX: u64 = i64::MAX as u64;

/// Permission bits without the special ones.
const PLAIN_BITS: u32 = 0o777;

/// In a letter of kind `ASK`, as JSON. All of it is optional, and none is trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SourceFacts {
    /// Bytes that will come, if that is known.
    pub(crate) size: Option<u64>,
    /// Not fewer will come, unless the copy fails.
    #[serde(deserialize_with = "null_as_absent")]
    pub(crate) whole: bool,
    /// Bytes that it takes where it is: less than its size if it has holes.
    pub(crate) allocated: Option<u64>,
    /// Permission bits.
    pub(crate) mode: Option<u32>,
    /// When its content was changed last.
    pub(crate) modified: Option<Stamp>,
    /// When anything about it was changed last, names and permissions too.
    pub(crate) changed: Option<Stamp>,
    /// Which file it is.
    pub(crate) identity: Option<Identity>,
    /// After the data comes the hash of it.
    #[serde(deserialize_with = "null_as_absent")]
    pub(crate) digest: bool,
    /// After the data comes what a destination can keep of the source.
    #[serde(deserialize_with = "null_as_absent")]
    pub(crate) metadata: bool,
    /// Extended attributes are part of that, if the source has some.
    #[serde(deserialize_with = "null_as_absent")]
    pub(crate) attributes: bool,
    /// Among the data comes what stands for its whole subtrees.
    #[serde(deserialize_with = "null_as_absent")]
    pub(crate) subtrees: bool,
    /// Options that this Reader was given, and that only a Writer heeds: `Settings::savers`.
    #[serde(deserialize_with = "null_as_absent")]
    pub(crate) for_writer: Vec<String>,
    /// What this Reader was asked for, to tell it from others: see `Settings::mark`.
    pub(crate) options: Option<String>,
    /// The Writer takes the place of one that died.
    pub(crate) goes_on: Option<GoesOn>,
}

/// How far a copy is whose Writer died, for the next one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GoesOn {
    /// The first byte that is not known to be written.
    pub(crate) offset: u64,
    /// Which file the dead Writer wrote into.
    pub(crate) partial: Option<WhichFile>,
    /// Which file that would have replaced.
    pub(crate) old: Option<WhichFile>,
    /// What it was asked for.
    pub(crate) options: Option<String>,
    /// It had given back all that there is, and was told that this was all.
    #[serde(default, deserialize_with = "null_as_absent")]
    pub(crate) all: bool,
}

impl SourceFacts {
    /// Of a source that is no regular file nothing is known but its `size`, if that.
    pub(crate) fn of(found: &Facts, size: Option<u64>) -> SourceFacts {
        let is_file = found.kind == Kind::File;
        SourceFacts {
            size,
            allocated: found.allocated.filter(|_| is_file),
            mode: found.mode.filter(|_| is_file),
            modified: found.modified.filter(|_| is_file),
            changed: found.changed.filter(|_| is_file),
            identity: Some(found.identity).filter(|_| is_file),
            ..SourceFacts::default()
        }
    }

    /// Refuses a source that might be another one, or changed, when the copy is resumed.
    pub(crate) fn check_resumable(&self, words: &str) -> Result<(), Failure> {
        if self.identity.is_some() && self.modified.is_some() && self.size.is_some() {
            return Ok(());
        }
        let message = format!(
            "--resume needs a source that is a file, which tells its size and when it was changed, and {words} does not"
        );
        Err(Failure::new(Exit::Failed, message))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        // What consists of numbers can always be encoded.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// `None` if it is no JSON object, or not of these facts.
    pub(crate) fn decode(bytes: &[u8]) -> Option<SourceFacts> {
        let mut facts: SourceFacts = object::decode(bytes)?;
        facts.size = facts.size.filter(|&size| size <= FILE_BYTES_MAX);
        facts.mode = facts.mode.map(|mode| mode & PLAIN_BITS);
        // A moment that cannot be is none.
        facts.modified = facts.modified.filter(|stamp| stamp.to_time().is_some());
        let goes_on = facts.goes_on.as_ref();
        let can_go_on = goes_on.is_none_or(|goes_on| goes_on.offset <= FILE_BYTES_MAX);
        Some(facts).filter(|_| can_go_on)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brigade::LETTER_MAX;

    #[test]
    fn facts_survive_the_way_and_have_room_in_a_letter() {
        let facts = SourceFacts {
            size: Some(FILE_BYTES_MAX),
            whole: true,
            allocated: Some(u64::MAX),
            mode: Some(0o777),
            modified: Some(Stamp {
                seconds: -9_999_999_999,
                nanoseconds: 999_999_999,
            }),
            digest: true,
            metadata: true,
            attributes: true,
            changed: Some(Stamp {
                seconds: -9_999_999_999,
                nanoseconds: 999_999_999,
            }),
            identity: Some((u64::MAX, u64::MAX)),
            subtrees: true,
            for_writer: [
                "--no-clobber",
                "--update",
                "--in-place",
                "--backup",
                "--resume",
            ]
            .map(str::to_owned)
            .into(),
            options: Some("0123456789abcdef".to_owned()),
            goes_on: Some(GoesOn {
                offset: FILE_BYTES_MAX,
                partial: Some(WhichFile::longest()),
                old: Some(WhichFile::longest()),
                options: Some("0123456789abcdef".to_owned()),
                all: true,
            }),
        };
        let encoded = facts.encode();
        assert!(encoded.len() <= LETTER_MAX * 3 / 4, "{}", encoded.len());
        assert_eq!(SourceFacts::decode(&encoded), Some(facts));
        let unknown = br#"{"size":null,"digest":null,"metadata":null,"attributes":null}"#;
        for unknown in [&b"{}"[..], unknown] {
            assert_eq!(SourceFacts::decode(unknown), Some(SourceFacts::default()));
        }
    }

    #[test]
    fn rights_and_moments_that_cannot_be_are_ignored_and_nonsense_is_none() {
        let told = br#"{"size":9223372036854775808,"mode":2541,"modified":{"seconds":1,"nanoseconds":1000000000},"x":1}"#;
        let facts = SourceFacts::decode(told).unwrap_or_default();
        assert_eq!((facts.mode, facts.modified), (Some(0o755), None));
        assert_eq!(facts.size, None);
        let beyond = br#"{"goes_on":{"offset":9223372036854775808}}"#;
        for bytes in [&b""[..], b"[]", b"{}x", b"{\"size\":-1}", b"\xff", beyond] {
            assert_eq!(SourceFacts::decode(bytes), None);
        }
    }
}
