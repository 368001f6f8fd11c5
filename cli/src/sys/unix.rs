//! The back end for Linux and its relatives: see the contract in `mod.rs`.
//!
//! | Contract | Here |
//! |---|---|
//! | readiness | `poll` |
//! | the partial file's access | mode 0600 at first; owner, attributes and mode at the end |
//! | replacing | `rename`, then `fsync` of the directory |
//! | interruptions | signals, 128 and their number |

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use super::{Facts, Interruption, Kind};
use crate::talk::metadata::{ExtendedAttribute, Metadata as Kept, Stamp};

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
            modified: metadata.modified().ok().map(Stamp::of),
            changed: Some(Stamp {
                seconds: metadata.ctime(),
                nanoseconds: metadata.ctime_nsec() as u32,
            }),
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

/// From Linux 6.14 on: what was not in the cache before is not afterwards
/// (`RWF_DONTCACHE`, linux/fs.h).
pub(crate) fn read_past_cache(file: &File, block: &mut [u8]) -> io::Result<usize> {
    use rustix::io::{Errno, ReadWriteFlags};
    const DONT_CACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);
    /// From where the file's position is, which moves on.
    const HERE: u64 = u64::MAX;
    let mut parts = [io::IoSliceMut::new(block)];
    match rustix::io::preadv2(file, &mut parts, HERE, DONT_CACHE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Err(io::ErrorKind::Unsupported.into()),
        read => Ok(read?),
    }
}

pub(crate) fn next_data(file: &File, position: u64) -> io::Result<Option<Range<u64>>> {
    use rustix::io::Errno;
    let seek = |from| rustix::fs::seek(file, from);
    let start = match seek(rustix::fs::SeekFrom::Data(position)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::NOTSUP | Errno::NOSYS) => return Ok(Some(0..u64::MAX)),
        Err(error) => return Err(error.into()),
    };
    match seek(rustix::fs::SeekFrom::Hole(start)) {
        Ok(end) => Ok(Some(start..end)),
        // It was cut meanwhile.
        Err(Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn metadata(file: &File, with_attributes: bool) -> Kept {
    let Ok(found) = file.metadata() else {
        return Kept::default();
    };
    let mut kept = Kept {
        mode: Some(found.mode() & 0o7777),
        modified: found.modified().ok().map(Stamp::of),
        accessed: found.accessed().ok().map(Stamp::of),
        owner: Some((found.uid(), found.gid())),
        ..Kept::default()
    };
    if with_attributes {
        match attributes(file) {
            Ok(attributes) => kept.attributes = attributes,
            Err(error) => kept.attributes_error = Some(error.to_string()),
        }
    }
    kept
}

/// All of an open file's; none where files have none.
fn attributes(file: &File) -> rustix::io::Result<Vec<ExtendedAttribute>> {
    let mut names = vec![0; ATTRIBUTE_BYTES_MAX];
    let len = match rustix::fs::flistxattr(file, &mut names[..]) {
        Err(rustix::io::Errno::NOTSUP) => 0,
        len => len?,
    };
    let names = names[..len].split(|&byte| byte == 0);
    let mut attributes = Vec::new();
    for name in names.filter(|name| !name.is_empty()) {
        let mut value = vec![0; ATTRIBUTE_BYTES_MAX];
        let len = rustix::fs::fgetxattr(file, name, &mut value[..])?;
        value.truncate(len);
        let name = name.to_vec();
        attributes.push(ExtendedAttribute { name, value });
    }
    Ok(attributes)
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

/// Who may do what with a file, and what else it has beside its data.
pub(crate) struct Access {
    kept: Kept,
    is_new: bool,
}

impl Access {
    pub(crate) fn new(mode: u32) -> Access {
        let kept = Kept {
            mode: Some(mode),
            ..Default::default()
        };
        Access { kept, is_new: true }
    }

    /// Replacing needs only the directory; but who protected the file against
    /// writing means its content.
    pub(crate) fn to_replace(path: &Path) -> io::Result<Access> {
        rustix::fs::access(path, rustix::fs::Access::WRITE_OK)?;
        let metadata = std::fs::metadata(path)?;
        let kept = Kept {
            mode: Some(metadata.mode() & 0o777),
            owner: Some((metadata.uid(), metadata.gid())),
            attributes: attributes_to_keep(path)?,
            ..Default::default()
        };
        Ok(Access {
            kept,
            is_new: false,
        })
    }

    /// Nothing: `open_partial` made it for this user alone.
    pub(crate) fn begin(&self, _file: &File) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn kept(&self) -> &Kept {
        &self.kept
    }

    pub(crate) fn is_new(&self) -> bool {
        self.is_new
    }
}

/// The extended attribute that holds a file's access control list.
const ACCESS_LIST: &[u8] = b"system.posix_acl_access";

/// The most that Linux lets an attribute, and the list of their names, have.
const ATTRIBUTE_BYTES_MAX: usize = 64 * 1024;

/// What a user gave to a file, and who may do what with it. The rest is the system's,
/// which gives it to each file by its own rules.
fn attributes_to_keep(path: &Path) -> io::Result<Vec<ExtendedAttribute>> {
    let mut names = vec![0; ATTRIBUTE_BYTES_MAX];
    // Where files have none, that is an error.
    let len = rustix::fs::listxattr(path, &mut names[..]).unwrap_or(0);
    let names = names[..len].split(|&byte| byte == 0);
    let mut attributes = Vec::new();
    for name in names {
        if !is_access_list(name) && !name.starts_with(b"user.") {
            continue;
        }
        let mut value = vec![0; ATTRIBUTE_BYTES_MAX];
        match rustix::fs::getxattr(path, name, &mut value[..]) {
            Ok(len) => {
                value.truncate(len);
                let name = name.to_vec();
                attributes.push(ExtendedAttribute { name, value });
            }
            // Without its list, others might get in.
            Err(error) if is_access_list(name) => return Err(error.into()),
            Err(_) => {}
        }
    }
    Ok(attributes)
}

pub(crate) fn is_access_list(name: &[u8]) -> bool {
    name == ACCESS_LIST
}

pub(crate) fn set_attribute(file: &File, attribute: &ExtendedAttribute) -> io::Result<()> {
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::fsetxattr(file, &attribute.name[..], &attribute.value, flags)?;
    Ok(())
}

pub(crate) fn remove_access_list(file: &File) -> io::Result<()> {
    use rustix::io::Errno;
    match rustix::fs::fremovexattr(file, ACCESS_LIST) {
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        removed => Ok(removed?),
    }
}

/// The list's entry for the file's group is what the mode of a file with a list does
/// not show: there it says what *any* entry gives at most.
pub(crate) fn mode_without(list: &ExtendedAttribute) -> u32 {
    /// As `linux/posix_acl_xattr.h` has it: a version, and then entries of kind,
    /// permissions and identifier, little-endian.
    const VERSION_BYTES: usize = 4;
    const ENTRY_BYTES: usize = 8;
    const GROUP: [u8; 2] = [4, 0];
    let entries = list.value.get(VERSION_BYTES..).unwrap_or_default();
    let mut entries = entries.chunks_exact(ENTRY_BYTES);
    let group = entries.find(|entry| entry[..2] == GROUP);
    let permissions = group.map_or(0, |entry| u32::from(entry[2]) & 0o7);
    0o7707 | permissions << 3
}

pub(crate) fn owner(file: &File) -> Option<(u32, u32)> {
    let metadata = file.metadata().ok()?;
    Some((metadata.uid(), metadata.gid()))
}

pub(crate) fn set_owner(file: &File, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
    std::os::unix::fs::fchown(file, user, group)
}

pub(crate) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(mode))
}

/// What is skipped is a hole on every file system that has them.
pub(crate) fn expect_holes(_file: &File) {}

pub(crate) fn memory_bytes() -> Option<u64> {
    let system = rustix::system::sysinfo();
    Some(system.totalram * u64::from(system.mem_unit))
}

pub(crate) fn forget_cached(file: &File, offset: u64, len: Option<u64>) {
    let len = len.and_then(std::num::NonZeroU64::new);
    let _ = rustix::fs::fadvise(file, offset, len, rustix::fs::Advice::DontNeed);
}

pub(crate) fn replace(from: &Path, to: &Path, _durably: bool) -> io::Result<()> {
    std::fs::rename(from, to)
}

pub(crate) fn rename_new(from: &Path, to: &Path, _durably: bool) -> io::Result<()> {
    use rustix::io::Errno;
    let flags = rustix::fs::RenameFlags::NOREPLACE;
    match rustix::fs::renameat_with(rustix::fs::CWD, from, rustix::fs::CWD, to, flags) {
        // Not every file system can; but a second name never takes another's place.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            std::fs::hard_link(from, to)?;
            std::fs::remove_file(from)
        }
        renamed => Ok(renamed?),
    }
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
pub(crate) fn own_user() -> Option<u32> {
    Some(rustix::process::geteuid().as_raw())
}

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
