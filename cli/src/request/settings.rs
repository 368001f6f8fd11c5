//! How to copy: what both halves should know alike.

use std::ffi::OsString;
use std::time::Duration;

use crate::request::args::{Args, Attribute, DEFAULT_BLOCK_SIZE, DEFAULT_BLOCKS, When};
use crate::request::expected::Expected;
use crate::sys;

/// A file is large if it is more than one part in so many of the machine's memory.
const LARGE_PART: u64 = 4;

/// Digits of [`Settings::mark`].
const MARK_LEN: usize = 16;

/// The options of a copy that are not about who meets whom.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Of one block, in bytes, and how many there are.
    pub(crate) block_size: usize,
    pub(crate) blocks: usize,
    /// A stream may be read ahead, since nobody has said how much memory to take.
    pub(crate) reads_ahead: bool,
    pub(crate) sync: bool,
    pub(crate) verify: bool,
    /// Goes on with what was left, and leaves what can be gone on with.
    pub(crate) resume: bool,
    pub(crate) expected: Expected,
    pub(crate) preserve: Preserve,
    pub(crate) sparse: When,
    pub(crate) no_clobber: bool,
    /// Suffix of the name that a replaced destination gets.
    pub(crate) backup: Option<OsString>,
    pub(crate) update: bool,
    pub(crate) allow_changes: bool,
    /// Bytes in a second.
    pub(crate) limit_rate: Option<u64>,
    pub(crate) direct: When,
    pub(crate) timeout: Option<Duration>,
    /// How long the place of a partner that died is held for another one.
    pub(crate) takeover: Option<Duration>,
    /// Into the file that is there, and not all or nothing.
    pub(crate) in_place: bool,
    /// Also where it looks like a mistake.
    pub(crate) force: bool,
}

/// What happens to a file that is there already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OnExisting {
    Replace,
    /// Stays; one that comes while the copy runs makes it fail.
    Keep,
    /// Gets a name with this suffix.
    BackUp(OsString),
}

/// What the destination keeps of its source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Preserve {
    pub(crate) mode: bool,
    pub(crate) timestamps: bool,
    pub(crate) ownership: bool,
    pub(crate) xattr: bool,
    pub(crate) acl: bool,
    /// All was asked for: what this system cannot keep is no error then.
    pub(crate) all: bool,
}

impl Settings {
    pub(crate) fn of(args: &Args) -> Settings {
        Settings {
            block_size: args.block_size,
            blocks: args.blocks.unwrap_or(DEFAULT_BLOCKS),
            reads_ahead: args.blocks.is_none() && args.block_size == DEFAULT_BLOCK_SIZE,
            sync: !args.no_sync,
            verify: args.verify,
            resume: args.resume,
            expected: Expected {
                size: args.size,
                digest: args.expect_blake3,
            },
            preserve: Preserve::of(&args.preserve),
            sparse: args.sparse,
            no_clobber: args.no_clobber,
            backup: args.backup.clone(),
            update: args.update,
            allow_changes: args.allow_changes,
            limit_rate: args.limit_rate,
            direct: args.direct,
            timeout: args.timeout,
            takeover: args.takeover,
            in_place: args.in_place,
            force: args.force,
        }
    }

    pub(crate) fn on_existing(&self) -> OnExisting {
        match &self.backup {
            Some(suffix) => OnExisting::BackUp(suffix.clone()),
            None if self.no_clobber => OnExisting::Keep,
            None => OnExisting::Replace,
        }
    }

    /// Whether another process may go on with this copy: that must find the usual pool.
    pub(crate) fn may_be_gone_on_with(&self) -> bool {
        self.resume || self.takeover.is_some()
    }

    /// Whether the Reader hashes what it reads.
    pub(crate) fn is_hashed(&self) -> bool {
        self.verify || self.expected.digest.is_some()
    }

    /// Whether a file of `size` bytes should not stay in the system's cache: what is
    /// large would push out what others use.
    pub(crate) fn spares_cache(&self, size: Option<u64>) -> bool {
        match self.direct {
            When::Always => true,
            When::Never => false,
            When::Auto => {
                let memory = sys::memory_bytes();
                size.zip(memory)
                    .is_some_and(|(size, memory)| size > memory / LARGE_PART)
            }
        }
    }

    /// What tells these settings from others that write another file, or another way; it
    /// says nothing of how fast, and how patiently.
    pub(crate) fn mark(&self) -> String {
        let alike = Settings {
            timeout: None,
            takeover: None,
            direct: When::Auto,
            force: false,
            ..self.clone()
        };
        let mut hash = blake3::Hasher::new();
        for word in alike.words() {
            let word = word.as_encoded_bytes();
            hash.update(&(word.len() as u64).to_le_bytes());
            hash.update(word);
        }
        hash.finalize().to_hex()[..MARK_LEN].to_owned()
    }

    /// What works only if both halves were told so, as words.
    pub(crate) fn words_for_both(&self) -> Vec<OsString> {
        let block_size = (self.block_size != DEFAULT_BLOCK_SIZE)
            .then(|| format!("--block-size={}", self.block_size));
        let blocks = (self.blocks != DEFAULT_BLOCKS).then(|| format!("--blocks={}", self.blocks));
        let verify = self.verify.then(|| "--verify".to_owned());
        let resume = self.resume.then(|| "--resume".to_owned());
        let list = self.preserve.list();
        let preserve = list.map(|list| format!("--preserve={list}"));
        let takeover = self.takeover.map(|takeover| takeover.as_secs_f64());
        let takeover = takeover.map(|seconds| format!("--takeover={seconds}"));
        let words = [block_size, blocks, verify, resume, preserve, takeover];
        words.into_iter().flatten().map(OsString::from).collect()
    }

    /// What is limited and checked on the side that reads, as words.
    pub(crate) fn words_of_reader(&self) -> Vec<OsString> {
        let limit = self.limit_rate.map(|rate| format!("--limit-rate={rate}"));
        let size = self.expected.size.map(|size| format!("--size={size}"));
        let digest = self.expected.digest;
        let digest = digest.map(|digest| format!("--expect-blake3={digest}"));
        let words = [limit, size, digest];
        words.into_iter().flatten().map(OsString::from).collect()
    }

    /// What the Writer alone heeds, as words.
    pub(crate) fn words_of_writer(&self) -> Vec<OsString> {
        let mut words = flags(&[
            ("--no-sync", !self.sync),
            ("--no-clobber", self.no_clobber),
            ("--update", self.update),
            ("--in-place", self.in_place),
        ]);
        if let Some(suffix) = &self.backup {
            let mut word = OsString::from("--backup=");
            word.push(suffix);
            words.push(word);
        }
        words
    }

    /// Of the options by which something survives of what is there already, those that
    /// were given, or were not. Who gives one of them to a Reader means its Writer.
    pub(crate) fn savers(&self, given: bool) -> Vec<&'static str> {
        let all = [
            ("--no-clobber", self.no_clobber),
            ("--update", self.update),
            ("--in-place", self.in_place),
            ("--backup", self.backup.is_some()),
            ("--resume", self.resume),
        ];
        let found = all.into_iter().filter(|(_, is_set)| *is_set == given);
        found.map(|(option, _)| option).collect()
    }

    /// The same as words, for the process that --both starts. The rate is limited,
    /// and what is expected of the source is checked, once, on the side that reads.
    pub(crate) fn words(&self) -> Vec<OsString> {
        let mut words = self.words_for_both();
        words.extend(self.words_of_writer());
        words.extend(flags(&[
            ("--allow-changes", self.allow_changes),
            ("--force", self.force),
        ]));
        for (option, when) in [("--sparse", self.sparse), ("--direct", self.direct)] {
            if when != When::Auto {
                words.push(format!("{option}={}", when.word()).into());
            }
        }
        if let Some(timeout) = self.timeout {
            words.push(format!("--timeout={}", timeout.as_secs_f64()).into());
        }
        words
    }
}

fn flags(flags: &[(&str, bool)]) -> Vec<OsString> {
    let set = flags.iter().filter(|(_, is_set)| *is_set);
    set.map(|(flag, _)| OsString::from(flag)).collect()
}

impl Preserve {
    fn of(list: &[Attribute]) -> Preserve {
        let all = list.contains(&Attribute::All);
        let has = |attribute| all || list.contains(&attribute);
        Preserve {
            mode: has(Attribute::Mode),
            timestamps: has(Attribute::Timestamps),
            ownership: has(Attribute::Ownership),
            xattr: has(Attribute::Xattr),
            acl: has(Attribute::Acl),
            all,
        }
    }

    fn list(self) -> Option<String> {
        if self.all {
            return Some("all".to_owned());
        }
        let words = [
            ("mode", self.mode),
            ("timestamps", self.timestamps),
            ("ownership", self.ownership),
            ("xattr", self.xattr),
            ("acl", self.acl),
        ];
        let set: Vec<&str> = words
            .iter()
            .filter(|(_, is)| *is)
            .map(|(word, _)| *word)
            .collect();
        (!set.is_empty()).then(|| set.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn the_second_process_of_both_gets_the_same_settings() {
        let typed = [
            "brigade",
            "--block-size=1M",
            "--blocks=3",
            "--no-sync",
            "--verify",
            "--preserve=mode,acl",
            "--sparse",
            "always",
            "--backup=.old",
            "--update",
            "--allow-changes",
            "--direct",
            "never",
            "--timeout",
            "1.5",
            "--takeover=60",
            "--force",
            "a",
            "b",
        ];
        // Not every option goes with every other.
        let resumed = typed.map(|word| {
            if word == "--no-sync" {
                "--resume"
            } else {
                word
            }
        });
        for typed in [typed, resumed] {
            let settings = Settings::of(&Args::parse_from(typed));
            let words = settings.words();
            let again: Vec<OsString> = ["brigade".into()]
                .into_iter()
                .chain(words)
                .chain(["a".into(), "b".into()])
                .collect();
            let again = Settings::of(&Args::parse_from(again));
            assert_eq!(format!("{settings:?}"), format!("{again:?}"));
        }
    }

    #[test]
    fn settings_that_write_another_file_have_another_mark() {
        let mark = |words: &[&str]| {
            let words = [&["brigade"], words, &["a", "b"]].concat();
            Settings::of(&Args::parse_from(words)).mark()
        };
        let usual = mark(&[]);
        for alike in [
            &["--timeout", "1"][..],
            &["--takeover", "1"],
            &["--limit-rate", "1M"],
            &["--direct", "always"],
            &["--force"],
            &["-q"],
        ] {
            assert_eq!(mark(alike), usual, "{alike:?}");
        }
        for other in [
            "-p",
            "--verify",
            "--in-place",
            "--backup",
            "--sparse=always",
        ] {
            assert_ne!(mark(&[other]), usual, "{other}");
        }
    }

    #[test]
    fn preserve_without_a_list_is_what_it_is_for_cp() {
        let settings = Settings::of(&Args::parse_from(["brigade", "-p", "a", "b"]));
        let expected = Preserve {
            mode: true,
            timestamps: true,
            ownership: true,
            ..Preserve::default()
        };
        assert_eq!(settings.preserve, expected);
        let settings = Settings::of(&Args::parse_from(["brigade", "a", "b"]));
        assert_eq!(settings.preserve, Preserve::default());
    }
}
