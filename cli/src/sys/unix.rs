//! The back end for Linux and its relatives: see the contract in `mod.rs`.
//!
//! | Contract | Here |
//! |---|---|
//! | readiness | `poll` |
//! | the partial file's access | mode 0600 at first; owner and mode at the end |
//! | replacing | `rename`, then `fsync` of the directory |
//! | interruptions | signals, 128 and their number |

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use super::{Facts, Interruption, Kind};

// ---- standard streams -------------------------------------------------------

pub(crate) fn standard_input() -> io::Result<File> {
    if_open(io::stdin().as_fd().try_clone_to_owned()?.into())
}

pub(crate) fn standard_output() -> io::Result<File> {
    if_open(io::stdout().as_fd().try_clone_to_owned()?.into())
}

/// Rust's runtime puts the null device, open for both, in the place of a standard
/// stream that was closed. To copy from or to that would lose everything without a
/// word; who means the null device redirects to it, and opens it for one.
fn if_open(file: File) -> io::Result<File> {
    let metadata = file.metadata()?;
    let number = metadata.rdev();
    let number = (rustix::fs::major(number), rustix::fs::minor(number));
    let is_null = metadata.file_type().is_char_device() && number == (1, 3);
    let access = rustix::fs::fcntl_getfl(&file)? & OFlags::RWMODE;
    if is_null && access == OFlags::RDWR {
        return Err(rustix::io::Errno::BADF.into());
    }
    Ok(file)
}

// ---- facts ------------------------------------------------------------------

pub(crate) fn facts(file: &File) -> io::Result<Facts> {
    Ok(Facts::from_metadata(&file.metadata()?))
}

pub(crate) fn facts_at(path: &Path) -> io::Result<Facts> {
    Ok(Facts::from_metadata(&std::fs::metadata(path)?))
}

pub(crate) fn facts_of_name(path: &Path) -> io::Result<Facts> {
    Ok(Facts::from_metadata(&std::fs::symlink_metadata(path)?))
}

impl Facts {
    fn from_metadata(metadata: &Metadata) -> Facts {
        let kind = match metadata.file_type() {
            kind if kind.is_file() => Kind::File,
            kind if kind.is_dir() => Kind::Directory,
            kind if kind.is_block_device() => Kind::Disk,
            _ => Kind::Stream,
        };
        Facts {
            kind,
            is_link: metadata.is_symlink(),
            len: metadata.len(),
            identity: (metadata.dev(), metadata.ino()),
            names: metadata.nlink(),
            is_own: metadata.uid() == rustix::process::geteuid().as_raw(),
            mode: Some(metadata.mode() & 0o777),
        }
    }
}

// ---- reading ----------------------------------------------------------------

pub(crate) fn open_to_read(path: &Path) -> io::Result<File> {
    File::open(path)
}

pub(crate) fn expect_in_order(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Sequential);
}

pub(crate) fn capacity(mut file: &File) -> Option<u64> {
    let position = file.stream_position().ok()?;
    let end = file.seek(SeekFrom::End(0)).ok()?;
    file.seek(SeekFrom::Start(position)).ok()?;
    Some(end)
}

pub(crate) fn read(mut file: &File, block: &mut [u8]) -> io::Result<usize> {
    file.read(block)
}

pub(crate) fn is_ready(file: &File) -> io::Result<bool> {
    poll_for_input(file, Some(&Timespec::default()))
}

pub(crate) fn wait_until_ready(file: &File) -> io::Result<()> {
    poll_for_input(file, None).map(drop)
}

fn poll_for_input(file: &File, timeout: Option<&Timespec>) -> io::Result<bool> {
    let mut fds = [PollFd::new(file, PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| poll(&mut fds, timeout))?;
    Ok(ready > 0)
}

// ---- writing ----------------------------------------------------------------

pub(crate) fn open_to_write(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(path)
}

pub(crate) fn open_partial(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits() as i32)
        .open(path)
}

pub(crate) fn handle_for_syncing(file: &File) -> io::Result<File> {
    file.try_clone()
}

/// Who may do what with a file.
pub(crate) struct Access {
    mode: u32,
    /// User and group of the file that is replaced.
    owner: Option<(u32, u32)>,
}

impl Access {
    pub(crate) fn new(mode: u32) -> Access {
        Access { mode, owner: None }
    }

    /// Replacing needs only the directory; but who protected the file against
    /// writing means its content.
    pub(crate) fn to_replace(path: &Path) -> io::Result<Access> {
        rustix::fs::access(path, rustix::fs::Access::WRITE_OK)?;
        let metadata = std::fs::metadata(path)?;
        Ok(Access {
            mode: metadata.mode() & 0o777,
            owner: Some((metadata.uid(), metadata.gid())),
        })
    }

    /// Nothing: `open_partial` made it for this user alone.
    pub(crate) fn begin(&self, _file: &File) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn finish(&self, file: &File) -> io::Result<()> {
        if let Some((user, group)) = self.owner {
            // Only root can, and only root would take a file from its owner.
            let _ = std::os::unix::fs::fchown(file, Some(user), Some(group));
        }
        file.set_permissions(Permissions::from_mode(self.mode))
    }
}

pub(crate) fn replace(from: &Path, to: &Path, _durably: bool) -> io::Result<()> {
    std::fs::rename(from, to)
}

pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    match File::open(path).and_then(|directory| directory.sync_all()) {
        // Some file systems cannot, and say so; then there is nothing to do.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

/// Files can be opened, renamed and removed by all at once.
pub(crate) fn is_in_use(_error: &io::Error) -> bool {
    false
}

// ---- names ------------------------------------------------------------------

/// In bytes: that of the usual file systems.
pub(crate) const NAME_MAX: usize = 255;

pub(crate) fn name_len(name: &OsStr) -> usize {
    name.len()
}

pub(crate) fn name_beginning(name: &OsStr, len: usize) -> OsString {
    let bytes = name.as_bytes();
    OsStr::from_bytes(&bytes[..len.min(bytes.len())]).to_owned()
}

pub(crate) fn name_to_bytes(name: &OsStr) -> Option<&[u8]> {
    Some(name.as_bytes())
}

pub(crate) fn name_from_bytes(bytes: &[u8]) -> Option<OsString> {
    let plain =
        !matches!(bytes, b"" | b"." | b"..") && !bytes.contains(&b'/') && !bytes.contains(&0);
    plain.then(|| OsString::from_vec(bytes.to_vec()))
}

/// All that differs makes another name.
pub(crate) fn folded(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

// ---- processes --------------------------------------------------------------

/// Read by setting it, so before there are other threads.
pub(crate) fn umask() -> u32 {
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    mask.bits()
}

/// Not the path it was started by, where another version may be by now.
pub(crate) fn own_program() -> io::Result<Command> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("brigade");
    Ok(command)
}

pub(crate) fn watch_interruptions(
    tell: impl Fn(Interruption) + Send + Sync + 'static,
) -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let ignored = ignored_signals();
    // One that is ignored from the start (nohup, a shell's background job) was
    // meant to be.
    let wanted = [SIGHUP, SIGINT, SIGTERM].map(|signal| (signal, ignored >> (signal - 1) & 1));
    let wanted = wanted.iter().filter(|(_, ignored)| *ignored == 0);
    let mut signals = signal_hook::iterator::Signals::new(wanted.map(|(signal, _)| signal))?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            tell(Interruption {
                // As shells show a death by this signal.
                code: 128 + signal as u8,
                name: signal_hook::low_level::signal_name(signal).unwrap_or("a signal"),
            });
        }
    });
    Ok(())
}

/// The mask of signals that this process was started to ignore; none if it cannot
/// be known.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

// ---- for tests --------------------------------------------------------------

#[cfg(test)]
pub(crate) mod testing {
    use std::path::Path;

    pub(crate) fn link(target: &Path, link: &Path) -> bool {
        std::os::unix::fs::symlink(target, link).is_ok()
    }

    pub(crate) fn give_away(path: &Path) -> bool {
        std::os::unix::fs::chown(path, Some(12345), None).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_in_anything_are_different_names() {
        assert_ne!(folded(Path::new("/d/a")), folded(Path::new("/d/A")));
    }

    #[test]
    fn a_shell_reads_a_quoted_word_as_it_was() {
        for (word, expected) in [
            ("a", "a"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("$HOME", "'$HOME'"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
