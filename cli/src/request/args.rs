//! What was typed, as types.

use std::ffi::OsString;
use std::time::Duration;

use clap_complete::Shell;

use clap::{ArgAction, Parser, ValueEnum};

/// As 256K reads; and the pool is of 4 MiB. The library's defaults.
pub(crate) const DEFAULT_BLOCK_SIZE: usize = 256 * 1024;
pub(crate) const DEFAULT_BLOCKS: usize = 16;

/// Copy a file, device or stream with two processes through shared memory.
///
/// Run the same command twice: the first process reads SOURCE, the second writes
/// DESTINATION. Or let --both start the second one.
#[derive(Debug, Parser)]
#[command(
    name = "brigade",
    version,
    max_term_width = 100,
    override_usage = "brigade [OPTIONS] <SOURCE> <DESTINATION>      (twice, or once with --both)\n       \
                      brigade [OPTIONS] --as reader --name NAME <SOURCE>\n       \
                      brigade [OPTIONS] --as writer --name NAME <DESTINATION>\n       \
                      brigade --status [NAME]",
    after_help = "Exit status: 0 the destination is complete; 1 the copy failed in this process; 2 usage;\n\
                  3 too many instances; 4 the partner failed or died; 5 no partner came in time;\n\
                  6 the source changed while it was copied; 128 + N ended by signal N (130: Ctrl-C)."
)]
pub(crate) struct Args {
    /// SOURCE and DESTINATION; '-' is standard input or output
    #[arg(required_unless_present_any = ["status", "man", "completions"], num_args = 1..=2, value_name = "PATH", value_parser = clap::value_parser!(OsString))]
    pub(crate) paths: Vec<OsString>,

    /// Start the partner, too: the whole copy in one command
    #[arg(long)]
    pub(crate) both: bool,

    /// Take this role, whichever process comes first
    #[arg(long = "as", value_name = "ROLE", conflicts_with = "both")]
    pub(crate) role: Option<RoleArg>,

    /// What the two processes find each other by [default: made from the two paths];
    /// with a '/' in it, a path, for processes that share only a directory
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// Size of a block; K, M, G are powers of 1024, kB, MB, GB of 1000
    #[arg(long, value_name = "SIZE", default_value = "256K", value_parser = size)]
    pub(crate) block_size: usize,

    /// Number of blocks [default: 16; with --both no more than a small SOURCE fills, and one].
    /// Without this and --block-size, a stream is read ahead if the other end is slow: 56 MiB
    /// at most
    #[arg(long, value_name = "COUNT")]
    pub(crate) blocks: Option<usize>,

    /// Give up if no partner has come after this time: 30, 1.5s, 2min [default: wait for ever]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) wait: Option<Duration>,

    /// Let the partner be this user, too; the name must be a path then. May be repeated.
    /// Such a Reader names no file in a directory that exists there or begins with a dot
    #[arg(long, value_name = "NAME|UID")]
    pub(crate) allow_user: Vec<String>,

    /// Give up if a process makes no progress for this time [default: wait for ever]
    #[arg(long, value_name = "DURATION", value_parser = timeout)]
    pub(crate) timeout: Option<Duration>,

    /// If the partner dies, hold its place for this time: the same command, run again, takes
    /// it, and the copy goes on where it was
    #[arg(long, value_name = "DURATION", value_parser = timeout)]
    pub(crate) takeover: Option<Duration>,

    /// Do not wait until the data is on disk
    #[arg(long)]
    pub(crate) no_sync: bool,

    /// Read again what was written, and compare it with what was read (BLAKE3)
    #[arg(long)]
    pub(crate) verify: bool,

    /// Go on with what an earlier copy has left that was broken off, and leave it if this one
    /// is; starts over if source or partial file are not what they were. Of files alone; it is
    /// the Writer that keeps or removes what was left, so give it to both
    #[arg(long, conflicts_with_all = ["no_sync", "in_place"])]
    pub(crate) resume: bool,

    /// Fail unless the source has exactly this many bytes: for a stream, whose end may be
    /// that of its sender. K, M, G as for --block-size
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub(crate) size: Option<u64>,

    /// Fail unless all bytes of the source have this BLAKE3 hash, in 64 hexadecimal digits
    #[arg(long, value_name = "HEX", value_parser = digest)]
    pub(crate) expect_blake3: Option<blake3::Hash>,

    /// Keep what the source has: mode, timestamps, ownership, xattr, acl, all; the
    /// first three without a list
    #[arg(short, long, value_name = "LIST", num_args = 0..=1, require_equals = true,
          value_delimiter = ',', default_missing_value = "mode,timestamps,ownership")]
    pub(crate) preserve: Vec<Attribute>,

    /// Holes: keep those of the source, make them of all zeros, or fill them
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub(crate) sparse: When,

    /// Do not replace a destination that exists
    #[arg(short, long, conflicts_with_all = ["backup", "update"])]
    pub(crate) no_clobber: bool,

    /// Keep a destination that is replaced under its name and SUFFIX [default: ~]
    #[arg(long, value_name = "SUFFIX", num_args = 0..=1, require_equals = true,
          default_missing_value = "~")]
    pub(crate) backup: Option<OsString>,

    /// Write into the file that is there: its other names (hard links), owner and mode
    /// stay. Not all or nothing: a copy that fails leaves it half written
    #[arg(long, conflicts_with = "backup")]
    pub(crate) in_place: bool,

    /// Write to a disk that is in use, and where there seems to be too little room
    #[arg(long)]
    pub(crate) force: bool,

    /// Replace a destination only if it is older than the source
    #[arg(short, long)]
    pub(crate) update: bool,

    /// Go on if the source changes while it is copied
    #[arg(long)]
    pub(crate) allow_changes: bool,

    /// Read, or write, no more than this in a second
    #[arg(long, value_name = "SIZE", value_parser = rate)]
    pub(crate) limit_rate: Option<u64>,

    /// Go past the system's cache of files: auto does for what is large
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub(crate) direct: When,

    /// Show progress: auto does if standard error is a terminal
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub(crate) progress: When,

    /// Tell what happens on standard error as JSON, an event in a line
    #[arg(long, conflicts_with_all = ["quiet", "verbose", "progress"])]
    pub(crate) json: bool,

    /// Say nothing but errors
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// Say more
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// List this user's copies, or follow that of NAME
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "",
          conflicts_with = "paths")]
    pub(crate) status: Option<String>,

    /// Print the manual page
    #[arg(long, exclusive = true)]
    pub(crate) man: bool,

    /// Print what a shell needs to complete options
    #[arg(long, value_name = "SHELL", exclusive = true)]
    pub(crate) completions: Option<Shell>,

    /// Started by --both, which speaks for both.
    #[arg(long, hide = true, action = ArgAction::SetTrue)]
    pub(crate) started_by_both: bool,

    /// With that: it joins once its standard input says so.
    #[arg(long, hide = true, requires = "started_by_both")]
    pub(crate) when_told: bool,

    /// With that: how many times it may start a partner in the place of one that died.
    #[arg(long, hide = true, value_name = "COUNT", default_value_t = 0)]
    pub(crate) restarts: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleArg {
    /// Fills blocks from SOURCE
    Reader,
    /// Drains blocks into DESTINATION
    Writer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    Auto,
    Always,
    Never,
}

impl When {
    /// As it is typed.
    pub(crate) fn word(self) -> &'static str {
        match self {
            When::Auto => "auto",
            When::Always => "always",
            When::Never => "never",
        }
    }
}

/// What a destination can keep of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Attribute {
    /// Permission bits, with the special ones if the owner is the same, and the access control list
    Mode,
    /// Times of the last change and access
    Timestamps,
    /// User and group
    Ownership,
    /// Extended attributes
    Xattr,
    /// Access control lists
    Acl,
    /// All of these, as far as possible
    All,
}

/// Bytes in a second.
fn rate(text: &str) -> Result<u64, String> {
    match size(text)? {
        0 => Err("must be more than 0".to_owned()),
        bytes => Ok(bytes as u64),
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    size(text).map(|bytes| bytes as u64)
}

fn digest(text: &str) -> Result<blake3::Hash, String> {
    blake3::Hash::from_hex(text)
        .map_err(|_| "not 64 hexadecimal digits, as b3sum prints them".to_owned())
}

/// A size as dd, mbuffer and rsync read it: a bare letter is a power of 1024.
fn size(text: &str) -> Result<usize, String> {
    let bare_letter = text.ends_with(['k', 'K', 'm', 'M', 'g', 'G', 't', 'T']);
    let unit = if bare_letter { "iB" } else { "" };
    let size: bytesize::ByteSize = format!("{text}{unit}")
        .parse()
        .map_err(|_| "not a size; for instance 65536, 256K, 1MiB or 1MB".to_owned())?;
    usize::try_from(size.as_u64()).map_err(|_| "too large".to_owned())
}

/// A duration in which something can happen.
fn timeout(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be more than 0".to_owned()),
        timeout => Ok(timeout),
    }
}

/// A hundred years: nobody waits longer, and no clock ends before.
const DURATION_MAX: Duration = Duration::from_secs(36_500 * 86_400);

/// A duration; a bare number is of seconds, as for sleep and timeout.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed = match text.parse::<f64>() {
        Ok(seconds) if seconds > DURATION_MAX.as_secs_f64() => Some(DURATION_MAX),
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => humantime::parse_duration(text).ok(),
    };
    match parsed {
        Some(duration) => Ok(duration.min(DURATION_MAX)),
        None => Err("not a duration; for instance 30, 1.5s or 2min".to_owned()),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_of_the_options_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_default_block_size_is_the_one_that_it_says() {
        let args = Args::parse_from(["brigade", "a", "b"]);
        assert_eq!(args.block_size, DEFAULT_BLOCK_SIZE);
    }

    #[test]
    fn sizes_are_read_as_dd_reads_them() {
        for (text, bytes) in [
            ("1", 1),
            ("64K", 65536),
            ("64k", 65536),
            ("1M", 1 << 20),
            ("1MiB", 1 << 20),
            ("1MB", 1_000_000),
            ("2G", 2 << 30),
        ] {
            assert_eq!(size(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "K", "-1", "1X", "1 2"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_seconds_or_have_a_unit() {
        assert_eq!(duration("30").unwrap(), Duration::from_secs(30));
        assert_eq!(duration("0.5").unwrap(), Duration::from_millis(500));
        assert_eq!(duration("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(duration("2min").unwrap(), Duration::from_secs(120));
        for text in ["", "-1", "soon", "NaN"] {
            let why = duration(text).unwrap_err();
            assert!(why.starts_with("not a duration"), "{text}: {why}");
        }
    }

    #[test]
    fn what_is_as_good_as_for_ever_ends_before_the_clock_does() {
        for text in ["1e19", "1e300", "inf", "500000000000years"] {
            let longest = duration(text).unwrap() + Duration::from_secs(86_400);
            assert!(std::time::Instant::now().checked_add(longest).is_some());
        }
    }
}
