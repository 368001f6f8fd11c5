//! The back end for Linux 5.4 and later: see the contract in `mod.rs`.
//!
//! | Contract | Here |
//! |---|---|
//! | `Memory` | `memfd_create`, allocated, sealed: dies with its last user |
//! | the name's first seat | `flock` on `NAME.lock`: given back by the kernel at death |
//! | reaching the holder | a `SOCK_SEQPACKET` socket `NAME.sock`, bound only under that lock |
//! | the peer's identity | `SO_PEERCRED`, and `SO_PEERPIDFD` where the kernel has it (6.5) |
//! | doorbell, alarm | `eventfd` |
//! | death | `pidfd`, and the socket's hang-up |
//! | remote barrier | `membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED)` |
//!
//! After a kill there may be left: `NAME.lock` (always; an empty file, never
//! removed, since removing a lock file that others may have open gives two
//! holders), and `NAME.sock` if the holder was killed while it waited; the next
//! process with that name removes it.
#![expect(
    unsafe_code,
    reason = "mmap, and two system interfaces that rustix lacks"
)]

use std::ffi::{CStr, CString};
use std::fmt;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{FallocateFlags, FlockOperation, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketAddrUnix, SocketFlags,
    SocketType,
};
use rustix::thread::{MembarrierCommand, MembarrierQuery};

use super::{Arrival, Message, Peer, Wake};
use crate::error::Error;
use crate::layout::{CONTROL_SIZE, MAGIC, REASON_MAX, VERSION};

// ---- memory -----------------------------------------------------------------

/// A mapped region.
pub(crate) struct Memory {
    start: NonNull<u8>,
    len: usize,
    writable: bool,
    file: OwnedFd,
}

// SAFETY: it is an address range; what may be done there from which thread is
// decided where references are made, in `crate::memory`.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

/// What the owner lets nobody do: resize the region (an access beyond its end
/// would kill the process), map it writable or write to it anew (the owner's own
/// mapping stays), or lift any of this.
const SEALS: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::FUTURE_WRITE)
    .union(SealFlags::SEAL);

impl Memory {
    pub(crate) fn create(size: u64) -> Result<Memory, Error> {
        let failed = |what: &str| {
            let operation = format!("{what} {size} bytes of shared memory");
            move |errno: Errno| Error::os(operation, errno)
        };
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // Since Linux 6.3, which may be set up to demand it.
        let file = rustix::fs::memfd_create(c"brigade", flags | MemfdFlags::NOEXEC_SEAL)
            .or_else(|_| rustix::fs::memfd_create(c"brigade", flags))
            .map_err(failed("create"))?;
        // Allocated now: running out of memory later would be a SIGBUS.
        rustix::fs::ftruncate(&file, size).map_err(failed("size"))?;
        rustix::io::retry_on_intr(|| {
            rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, size)
        })
        .map_err(failed("allocate"))?;
        let memory = Memory::map(file, size, true).map_err(failed("map"))?;
        rustix::fs::fcntl_add_seals(&memory.file, SEALS).map_err(|errno| match errno {
            Errno::INVAL => Error::Unsupported {
                needed: "seal shared memory against a partner's writes \
                         (F_SEAL_FUTURE_WRITE, since Linux 5.1)",
                source: errno.into(),
            },
            errno => failed("seal")(errno),
        })?;
        Ok(memory)
    }

    /// The partner's region, which must be sealed as ours is.
    fn open(file: OwnedFd) -> Result<Memory, &'static str> {
        let seals = rustix::fs::fcntl_get_seals(&file).map_err(|_| "its region is no memfd")?;
        if !seals.contains(SEALS) {
            return Err("its region is not sealed");
        }
        let stat = rustix::fs::fstat(&file).map_err(|_| "its region has no size")?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if size < CONTROL_SIZE as u64 {
            return Err("its region is too small");
        }
        Memory::map(file, size, false).map_err(|_| "its region cannot be mapped")
    }

    fn map(file: OwnedFd, size: u64, writable: bool) -> Result<Memory, Errno> {
        let len = usize::try_from(size).map_err(|_| Errno::NOMEM)?;
        let protection = if writable {
            ProtFlags::READ | ProtFlags::WRITE
        } else {
            ProtFlags::READ
        };
        // Populated at once: one fault for each page, on the way of the data,
        // costs several times as much.
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { rustix::mm::mmap(ptr::null_mut(), len, protection, flags, &file, 0)? };
        Ok(Memory {
            start: NonNull::new(start.cast()).ok_or(Errno::NOMEM)?,
            len,
            writable,
            file,
        })
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.writable
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: exactly what `map` mapped, and nothing refers to it any more.
        // Failing is impossible for such arguments, and could not be helped.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// `MemAvailable` of the machine, or what this process's control group still
/// allows, whichever is less.
pub(crate) fn available_memory() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("MemAvailable:"))?;
            let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
            Some(kib * 1024)
        });
    let group = std::fs::read_to_string("/proc/self/cgroup")
        .ok()
        .and_then(|text| {
            let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
            let directory = Path::new("/sys/fs/cgroup").join(path);
            let number = |file: &str| -> Option<u64> {
                let text = std::fs::read_to_string(directory.join(file)).ok()?;
                text.trim().parse().ok()
            };
            // Cached files count as used, but make room when asked to.
            let stat = std::fs::read_to_string(directory.join("memory.stat")).ok()?;
            let cached = stat.lines().filter_map(|line| {
                let (key, value) = line.split_once(' ')?;
                let is_file = matches!(key, "active_file" | "inactive_file");
                value.parse::<u64>().ok().filter(|_| is_file)
            });
            let used = number("memory.current")?.saturating_sub(cached.sum());
            Some(number("memory.max")?.saturating_sub(used))
        });
    machine.into_iter().chain(group).min()
}

// ---- users and names ----------------------------------------------------------

/// A user, by number; shown with the name, which is looked up only then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct User(u32);

impl User {
    pub(crate) fn own() -> User {
        User(rustix::process::geteuid().as_raw())
    }

    /// A number, or a name that the system knows.
    pub(crate) fn parse(text: &str) -> Result<User, Error> {
        if let Ok(number) = text.parse() {
            return Ok(User(number));
        }
        let unknown = || Error::InvalidOption(format!("there is no user {text:?}"));
        let name = CString::new(text).map_err(|_| unknown())?;
        // SAFETY: the name ends with a zero, the other pointers are to live objects of
        // the sizes given.
        let find = |entry: &mut libc::passwd, buffer: &mut [u8], found: &mut *mut _| unsafe {
            let (start, len) = (buffer.as_mut_ptr().cast(), buffer.len());
            libc::getpwnam_r(name.as_ptr(), entry, start, len, found)
        };
        account(find, |entry| User(entry.pw_uid)).ok_or_else(unknown)
    }

    fn name(self) -> Option<String> {
        // SAFETY: the pointers are to live objects of the sizes given.
        let find = |entry: &mut libc::passwd, buffer: &mut [u8], found: &mut *mut _| unsafe {
            let (start, len) = (buffer.as_mut_ptr().cast(), buffer.len());
            libc::getpwuid_r(self.0, entry, start, len, found)
        };
        account(find, |entry| {
            // SAFETY: a string that ends with a zero, within the buffer.
            let name = unsafe { CStr::from_ptr(entry.pw_name) };
            name.to_string_lossy().into_owned()
        })
    }
}

/// What `get` makes of the entry that `find` finds in the system's accounts.
fn account<T>(
    find: impl FnOnce(&mut libc::passwd, &mut [u8], &mut *mut libc::passwd) -> i32,
    get: impl FnOnce(&libc::passwd) -> T,
) -> Option<T> {
    let mut buffer = vec![0u8; 16 * 1024];
    // SAFETY: all-zero is a valid `passwd` (null pointers).
    let mut entry: libc::passwd = unsafe { MaybeUninit::zeroed().assume_init() };
    let mut found = ptr::null_mut();
    let status = find(&mut entry, &mut buffer, &mut found);
    (status == 0 && !found.is_null() && !entry.pw_name.is_null()).then(|| get(&entry))
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Longest path of a socket, without its closing zero: `sun_path` in unix(7).
const SOCKET_PATH_MAX: usize = 107;

/// A name, as the two files that stand for it.
#[derive(Debug)]
pub(crate) struct Name {
    lock: PathBuf,
    socket: PathBuf,
    /// In the directory that only this user can enter.
    is_private: bool,
}

impl Name {
    pub(crate) fn parse(text: &str) -> Result<Name, Error> {
        let invalid = |why: &str| Err(Error::InvalidOption(format!("the name {text:?} {why}")));
        if text.contains('\0') {
            return invalid("contains a zero byte");
        }
        let path = Path::new(text);
        let Some(base) = path.file_name().and_then(|base| base.to_str()) else {
            return invalid("is empty or ends in no file name");
        };
        if !text.ends_with(base) {
            return invalid("ends in no file name");
        }
        let directory = if text.contains('/') {
            // Absolute, so that it means the same after a change of directory.
            std::path::absolute(path.parent().unwrap_or(Path::new("/")))
                .map_err(|error| Error::os(format!("use the name {text}"), error))?
        } else {
            private_directory()?
        };
        let socket = directory.join(format!("{base}.sock"));
        if socket.as_os_str().len() > SOCKET_PATH_MAX {
            return invalid(&format!(
                "is too long: {} must not exceed {SOCKET_PATH_MAX} bytes, the system's limit for sockets",
                socket.display()
            ));
        }
        Ok(Name {
            lock: directory.join(format!("{base}.lock")),
            socket,
            is_private: !text.contains('/'),
        })
    }
}

/// `$XDG_RUNTIME_DIR/brigade`, or else `/tmp/brigade-UID`: a directory that no
/// other user can enter, made if need be.
fn private_directory() -> Result<PathBuf, Error> {
    let user = User::own();
    // Not if it is another user's, as after `su`: that user could not be met
    // there, and this one should not leave anything there.
    let is_ours = |path: &PathBuf| {
        path.is_absolute() && std::fs::metadata(path).is_ok_and(|m| m.is_dir() && m.uid() == user.0)
    };
    let directory = match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        Some(path) if is_ours(&path) => path.join("brigade"),
        _ => PathBuf::from(format!("/tmp/brigade-{}", user.0)),
    };
    match std::fs::DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            let operation = format!("create the directory {}", directory.display());
            return Err(Error::os(operation, error));
        }
        _ => {}
    }
    let found = std::fs::symlink_metadata(&directory)
        .map_err(|error| Error::os(format!("look at {}", directory.display()), error))?;
    if found.is_dir() && found.uid() == user.0 && found.mode() & 0o077 == 0 {
        return Ok(directory);
    }
    Err(Error::Refused(format!(
        "{} must be a directory of {user} that nobody else can enter, but it is a {} of {} \
         with mode {:03o}; remove it, or give a name that is a path",
        directory.display(),
        if found.is_dir() { "directory" } else { "file" },
        User(found.uid()),
        found.mode() & 0o7777,
    )))
}

// ---- rendezvous -----------------------------------------------------------------

/// How long to pause between two tries to reach the holder of a name.
const RETRY_PAUSE: Duration = Duration::from_millis(2);

/// Joiners that can wait to be looked at.
const BACKLOG: i32 = 16;

/// The name's lock, held as long as this lives.
pub(crate) struct Seat {
    _lock: OwnedFd,
}

/// The process that holds a name and can be reached under it.
pub(crate) struct Host {
    // In this order when dropped: unreachable first, the name free last.
    socket_file: SocketFile,
    listener: OwnedFd,
    seat: Seat,
}

/// The socket's entry in its directory, removed when dropped.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Whoever takes the name next removes what stays here.
        let _ = std::fs::remove_file(&self.0);
    }
}

pub(crate) fn arrive(name: &Name, guests: &[User], deadline: Instant) -> Result<Arrival, Error> {
    if name.is_private && !guests.is_empty() {
        return Err(Error::InvalidOption(
            "to meet another user, the name must be a path in a directory of both".into(),
        ));
    }
    loop {
        // Looked at before the tries, so that one of them is made after it.
        let last = Instant::now() >= deadline;
        if let Some(seat) = take_lock(&name.lock, guests)? {
            return Ok(Arrival::First(listen(name, seat, guests)?));
        }
        match connect(&name.socket) {
            Ok(Some(channel)) => return Ok(Arrival::Second(channel)),
            // Its host may be about to open it to others.
            Err(_) if !guests.is_empty() && !last => {}
            Err(error) => return Err(error),
            Ok(None) => {}
        }
        if last {
            return Ok(Arrival::Full);
        }
        std::thread::sleep(RETRY_PAUSE);
    }
}

/// Mode of a lock file that only its owner can take, and of one that others can, to
/// whom being allowed to read is enough.
const LOCK_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const SHARED_LOCK_MODE: Mode = LOCK_MODE.union(Mode::RGRP).union(Mode::ROTH);

fn take_lock(path: &Path, guests: &[User]) -> Result<Option<Seat>, Error> {
    let failed = |errno: Errno| Error::os(format!("open the lock file {}", path.display()), errno);
    let lock = match open_lock(path, !guests.is_empty()) {
        Ok(lock) => lock,
        Err(Errno::ACCESS | Errno::PERM) => {
            return Err(foreign(path).unwrap_or(failed(Errno::ACCESS)));
        }
        Err(errno) => return Err(failed(errno)),
    };
    let stat = rustix::fs::fstat(&lock).map_err(failed)?;
    let (owner, own) = (User(stat.st_uid), User::own());
    if owner != own && !guests.contains(&owner) {
        return Err(foreign(path).unwrap_or(failed(Errno::ACCESS)));
    }
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        return Err(Error::Refused(format!(
            "{} should be a lock file, but is no regular file; choose another name",
            path.display()
        )));
    }
    let mode = match guests {
        [] => LOCK_MODE,
        _ => SHARED_LOCK_MODE,
    };
    if owner == own && Mode::from_raw_mode(stat.st_mode) != mode {
        rustix::fs::fchmod(&lock, mode).map_err(failed)?;
    }
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Seat { _lock: lock })),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(Error::os(format!("lock {}", path.display()), errno)),
    }
}

fn open_lock(path: &Path, shared: bool) -> Result<OwnedFd, Errno> {
    let careful = OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    match rustix::fs::open(path, OFlags::RDWR | OFlags::CREATE | careful, LOCK_MODE) {
        // Another user's, which can be locked all the same.
        Err(Errno::ACCESS) if shared => {
            rustix::fs::open(path, OFlags::RDONLY | careful, Mode::empty())
        }
        opened => opened,
    }
}

/// The refusal for a name whose lock file is another user's; `None` if it is not.
fn foreign(path: &Path) -> Option<Error> {
    let owner = User(std::fs::symlink_metadata(path).ok()?.uid());
    let own = User::own();
    (owner != own).then(|| {
        Error::Refused(format!(
            "the name is in use by user {owner}, this process runs as user {own} ({} is theirs)",
            path.display()
        ))
    })
}

fn listen(name: &Name, seat: Seat, guests: &[User]) -> Result<Host, Error> {
    let path = &name.socket;
    let failed = |what: &str| {
        let operation = format!("{what} the socket {}", path.display());
        move |errno: Errno| Error::os(operation, errno)
    };
    let listener = new_socket().map_err(failed("create"))?;
    let address = SocketAddrUnix::new(path).map_err(failed("name"))?;
    remove_stale(path, &address)?;
    rustix::net::bind(&listener, &address).map_err(failed("bind"))?;
    let socket_file = SocketFile(path.clone());
    if !guests.is_empty() {
        open_to_others(path).map_err(failed("open to other users"))?;
    }
    rustix::net::listen(&listener, BACKLOG).map_err(failed("listen on"))?;
    Ok(Host {
        socket_file,
        listener,
        seat,
    })
}

/// Lets everybody connect, which is to write; who has connected is looked at then.
///
/// In a directory that others can write to, `path` may be anything by now, so what is
/// changed is what was looked at.
fn open_to_others(path: &Path) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let entry = rustix::fs::open(path, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&entry)?;
    let is_socket =
        rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Socket;
    if !is_socket || User(stat.st_uid) != User::own() {
        return Err(Errno::ACCESS);
    }
    let entry = format!("/proc/self/fd/{}", entry.as_raw_fd());
    rustix::fs::chmod(entry, Mode::from_raw_mode(0o666))
}

/// Removes the socket of a dead holder: this process has the lock, so no live one
/// is brigade's. But a path may name anybody's.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), Error> {
    let failed = |errno| Error::os(format!("remove the stale socket {}", path.display()), errno);
    let socket = new_socket().map_err(failed)?;
    match rustix::net::connect(&socket, address) {
        Err(Errno::NOENT) => return Ok(()),
        // No socket, or one that nobody listens on; told apart by its type.
        Err(Errno::CONNREFUSED) => {}
        _ => return Err(taken_path(path)),
    }
    let stat = rustix::fs::lstat(path).map_err(failed)?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::Socket {
        return Err(taken_path(path));
    }
    rustix::fs::unlink(path).map_err(failed)
}

fn taken_path(path: &Path) -> Error {
    Error::Refused(format!(
        "{} is in the way, and is not brigade's; choose another name",
        path.display()
    ))
}

fn new_socket() -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
}

fn connect(path: &Path) -> Result<Option<Channel>, Error> {
    let failed = |errno| Error::os(format!("connect to the socket {}", path.display()), errno);
    let socket = new_socket().map_err(failed)?;
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) => Channel::new(socket).map(Some),
        // Not there yet or any more, dead, or swamped by joiners.
        Err(Errno::NOENT | Errno::CONNREFUSED | Errno::AGAIN) => Ok(None),
        Err(errno) => Err(foreign(path).unwrap_or(failed(errno))),
    }
}

impl Host {
    /// `Ok(None)` when the deadline has passed or the alarm rang.
    pub(crate) fn next(
        &mut self,
        alarm: &Alarm,
        deadline: Option<Instant>,
    ) -> Result<Option<Channel>, Error> {
        loop {
            let fds = [(self.listener.as_fd(), PollFlags::IN), alarm.polled()];
            let [listener, alarm] = poll_until(fds, deadline)?;
            if !alarm.is_empty() || listener.is_empty() {
                return Ok(None);
            }
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match rustix::net::accept_with(&self.listener, flags) {
                Ok(socket) => return Channel::new(socket).map(Some),
                // The joiner left before it was looked at.
                Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => {}
                Err(errno) => return Err(Error::os("accept a joining process", errno)),
            }
        }
    }

    pub(crate) fn close(self) -> Seat {
        let Host {
            socket_file,
            listener,
            seat,
        } = self;
        drop(socket_file);
        // Joiners still in the backlog are reset, and try again.
        drop(listener);
        seat
    }
}

// ---- channel ----------------------------------------------------------------------

/// Kinds of message; `docs/protocol.md`, "Joining".
const KIND_OFFER: u32 = 1;
const KIND_REFUSED: u32 = 2;
const KIND_ADMITTED: u32 = 3;

/// Magic, version, kind: eight, four and four bytes.
const MESSAGE_HEAD: usize = 16;

/// A connection to the process that may become the partner.
pub(crate) struct Channel {
    socket: OwnedFd,
    peer: Peer,
    process: Option<OwnedFd>,
}

impl Channel {
    fn new(socket: OwnedFd) -> Result<Channel, Error> {
        let credentials = socket_peercred(&socket)?;
        let process = peer_process(socket.as_fd(), credentials.1);
        Ok(Channel {
            socket,
            peer: Peer {
                user: User(credentials.0),
                process_id: credentials.1,
            },
            process,
        })
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    pub(crate) fn offer(&self, memory: &Memory, bell: &Bell) -> Result<(), Error> {
        self.send(KIND_OFFER, "", &[memory.file.as_fd(), bell.0.as_fd()])
    }

    /// Best effort: the peer may be gone.
    pub(crate) fn refuse(&self, reason: &str) {
        let _ = self.send(KIND_REFUSED, reason, &[]);
    }

    pub(crate) fn admit(&self) -> Result<(), Error> {
        self.send(KIND_ADMITTED, "", &[])
    }

    fn send(&self, kind: u32, text: &str, fds: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let mut head = [0; MESSAGE_HEAD];
        head[..8].copy_from_slice(&MAGIC.to_le_bytes());
        head[8..12].copy_from_slice(&VERSION.to_le_bytes());
        head[12..].copy_from_slice(&kind.to_le_bytes());
        let text = &text.as_bytes()[..text.floor_char_boundary(REASON_MAX)];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(fds));
        }
        let parts = [IoSlice::new(&head), IoSlice::new(text)];
        rustix::net::sendmsg(&self.socket, &parts, &mut ancillary, SendFlags::NOSIGNAL)
            .map_err(|errno| Error::os("send to the joining process", errno))?;
        Ok(())
    }

    /// `Ok(None)` when the deadline has passed or the alarm rang.
    pub(crate) fn receive(
        &self,
        alarm: &Alarm,
        deadline: Option<Instant>,
    ) -> Result<Option<Message>, Error> {
        let fds = [(self.socket.as_fd(), PollFlags::IN), alarm.polled()];
        let [socket, alarm] = poll_until(fds, deadline)?;
        if !alarm.is_empty() || socket.is_empty() {
            return Ok(None);
        }
        let mut bytes = [0; MESSAGE_HEAD + REASON_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let received = match rustix::net::recvmsg(&self.socket, &mut parts, &mut ancillary, flags) {
            Ok(received) => received,
            Err(Errno::CONNRESET) => return Ok(Some(Message::HungUp)),
            Err(errno) => return Err(Error::os("receive from the joining process", errno)),
        };
        // Owned at once, whatever the message turns out to be.
        let fds: Vec<OwnedFd> = ancillary
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            })
            .flatten()
            .collect();
        if received.bytes == 0 {
            return Ok(Some(Message::HungUp));
        }
        if received
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
        {
            return Ok(Some(Message::Malformed("its message is too long")));
        }
        Ok(Some(parse_message(&bytes[..received.bytes], fds)))
    }

    pub(crate) fn into_link(self, bell: Bell, remote_bell: RemoteBell, seat: Option<Seat>) -> Link {
        Link {
            bell,
            remote_bell,
            socket: self.socket,
            process: self.process,
            _seat: seat,
        }
    }
}

fn parse_message(bytes: &[u8], fds: Vec<OwnedFd>) -> Message {
    let Some((head, text)) = bytes.split_at_checked(MESSAGE_HEAD) else {
        return Message::Malformed("its message is too short");
    };
    if head[..8] != MAGIC.to_le_bytes() {
        return Message::Malformed("its message is not brigade's");
    }
    match u32::from_le_bytes([head[12], head[13], head[14], head[15]]) {
        KIND_OFFER => match <[OwnedFd; 2]>::try_from(fds) {
            Ok([memory, bell]) => match (Memory::open(memory), RemoteBell::open(bell)) {
                (Ok(memory), Ok(bell)) => Message::Offer(memory, bell),
                (Err(why), _) | (_, Err(why)) => Message::Malformed(why),
            },
            Err(_) => Message::Malformed("its offer lacks the region or the doorbell"),
        },
        KIND_REFUSED => Message::Refused(String::from_utf8_lossy(text).into_owned()),
        KIND_ADMITTED => Message::Admitted,
        _ => Message::Malformed("its message is of an unknown kind"),
    }
}

/// User and process id, as the kernel recorded them when the peer connected or
/// began to listen. Process id 0 if the peer lives in a pid namespace that
/// cannot be seen from here.
fn socket_peercred(socket: &OwnedFd) -> Result<(u32, u32), Error> {
    let mut found = MaybeUninit::<libc::ucred>::uninit();
    get_socket_option(socket.as_fd(), libc::SO_PEERCRED, &mut found)
        .map_err(|error| Error::os("ask who the joining process is", error))?;
    // SAFETY: `get_socket_option` filled it whole.
    let found = unsafe { found.assume_init() };
    Ok((found.uid, u32::try_from(found.pid).unwrap_or(0)))
}

/// A descriptor for the peer's process, if it can be had. Without one (a pid
/// namespace that cannot be seen from here, before Linux 6.5) the socket's hang-up
/// alone tells of the peer's death.
fn peer_process(socket: BorrowedFd<'_>, process_id: u32) -> Option<OwnedFd> {
    const SO_PEERPIDFD: i32 = 77; // asm-generic/socket.h, since Linux 6.5
    let mut found = MaybeUninit::<i32>::uninit();
    match get_socket_option(socket, SO_PEERPIDFD, &mut found) {
        Ok(()) => {
            // SAFETY: filled whole by the call.
            let found = unsafe { found.assume_init() };
            // SAFETY: the kernel just made it, for this call alone.
            return Some(unsafe { OwnedFd::from_raw_fd(found) });
        }
        // Not by its number, if the kernel knows that the process is gone: it may
        // be another's by now.
        Err(error) if error.raw_os_error() != Some(libc::ENOPROTOOPT) => return None,
        Err(_) => {}
    }
    let process_id = rustix::process::Pid::from_raw(i32::try_from(process_id).ok()?)?;
    rustix::process::pidfd_open(process_id, rustix::process::PidfdFlags::empty()).ok()
}

fn get_socket_option<T>(
    socket: BorrowedFd<'_>,
    option: i32,
    value: &mut MaybeUninit<T>,
) -> std::io::Result<()> {
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` has room for `len` bytes.
    let status = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            value.as_mut_ptr().cast(),
            &mut len,
        )
    };
    if status != 0 {
        return Err(std::io::Error::last_os_error());
    }
    if len as usize != size_of::<T>() {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    Ok(())
}

// ---- link ---------------------------------------------------------------------------

/// The doorbell that this process sleeps on.
pub(crate) struct Bell(OwnedFd);

/// The partner's.
pub(crate) struct RemoteBell(OwnedFd);

fn new_eventfd(purpose: &str) -> Result<OwnedFd, Error> {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|errno| Error::os(format!("create {purpose}"), errno))
}

/// Its counter is only ever "rung or not": a full one (EAGAIN) is rung already.
fn ring_eventfd(eventfd: &OwnedFd) {
    let _ = rustix::io::retry_on_intr(|| rustix::io::write(eventfd, &1u64.to_ne_bytes()));
}

impl RemoteBell {
    /// Ringing must never block, so it has to be an eventfd (which is of no file
    /// type), and not a pipe or a socket that may be full, and non-blocking.
    fn open(bell: OwnedFd) -> Result<RemoteBell, &'static str> {
        const FILE_TYPE: u32 = 0o170_000;
        let stat = rustix::fs::fstat(&bell).map_err(|_| "its doorbell is unknown")?;
        let flags = rustix::fs::fcntl_getfl(&bell).map_err(|_| "its doorbell is unknown")?;
        if stat.st_mode & FILE_TYPE != 0 || !flags.contains(OFlags::NONBLOCK) {
            return Err("its doorbell is no non-blocking eventfd");
        }
        Ok(RemoteBell(bell))
    }
}

impl Bell {
    pub(crate) fn new() -> Result<Bell, Error> {
        new_eventfd("a doorbell").map(Bell)
    }
}

/// Once rung, wakes every wait of this process that was given it, for good.
#[derive(Debug)]
pub(crate) struct Alarm(OwnedFd);

impl Alarm {
    pub(crate) fn new() -> Result<Alarm, Error> {
        new_eventfd("an alarm").map(Alarm)
    }

    pub(crate) fn ring(&self) {
        ring_eventfd(&self.0);
    }

    fn polled(&self) -> (BorrowedFd<'_>, PollFlags) {
        (self.0.as_fd(), PollFlags::IN)
    }
}

/// What connects two processes that have joined.
pub(crate) struct Link {
    bell: Bell,
    remote_bell: RemoteBell,
    socket: OwnedFd,
    process: Option<OwnedFd>,
    _seat: Option<Seat>,
}

impl Link {
    pub(crate) fn wait(&self, alarm: &Alarm, deadline: Option<Instant>) -> Result<Wake, Error> {
        let wake = self.poll(Some(&self.bell), alarm, deadline)?;
        if wake == Wake::Bell {
            // Non-blocking; nothing to read is a ring that was seen already.
            let _ = rustix::io::read(&self.bell.0, &mut [0; 8]);
        }
        Ok(wake)
    }

    pub(crate) fn watch(&self, alarm: &Alarm, deadline: Option<Instant>) -> Result<Wake, Error> {
        self.poll(None, alarm, deadline)
    }

    fn poll(
        &self,
        bell: Option<&Bell>,
        alarm: &Alarm,
        deadline: Option<Instant>,
    ) -> Result<Wake, Error> {
        let socket = self.socket.as_fd();
        // Asking for no events of a descriptor keeps its place in the array.
        let process = match &self.process {
            Some(process) => (process.as_fd(), PollFlags::IN),
            None => (socket, PollFlags::empty()),
        };
        let bell = match bell {
            Some(bell) => (bell.0.as_fd(), PollFlags::IN),
            None => (socket, PollFlags::empty()),
        };
        let fds = [
            alarm.polled(),
            bell,
            process,
            (socket, PollFlags::IN | PollFlags::RDHUP),
        ];
        let [alarm, bell, process, socket] = poll_until(fds, deadline)?;
        let hung_up = PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR;
        Ok(if !alarm.is_empty() {
            Wake::Alarm
        } else if bell.contains(PollFlags::IN) {
            Wake::Bell
        } else if !process.is_empty() || socket.intersects(hung_up) {
            Wake::Gone
        } else if !socket.is_empty() {
            Wake::Message
        } else {
            Wake::Timeout
        })
    }

    pub(crate) fn ring(&self) {
        ring_eventfd(&self.remote_bell.0);
    }

    pub(crate) fn hang_up(&self) {
        // Already hung up by the partner is as good.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Write);
    }
}

/// The events that came, none for a deadline that passed.
fn poll_until<const N: usize>(
    fds: [(BorrowedFd<'_>, PollFlags); N],
    deadline: Option<Instant>,
) -> Result<[PollFlags; N], Error> {
    let mut fds = fds.map(|(fd, events)| PollFd::from_borrowed_fd(fd, events));
    loop {
        let left = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: left.as_secs().min(i32::MAX as u64) as i64,
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        match poll(&mut fds, left.as_ref()) {
            Ok(_) => return Ok(fds.map(|fd| fd.revents())),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::os("wait", errno)),
        }
    }
}

// ---- barrier --------------------------------------------------------------------------

pub(crate) fn can_barrier_remotely() -> bool {
    let needed = MembarrierQuery::GLOBAL_EXPEDITED | MembarrierQuery::REGISTER_GLOBAL_EXPEDITED;
    rustix::thread::membarrier_query().contains(needed)
        && rustix::thread::membarrier(MembarrierCommand::RegisterGlobalExpedited).is_ok()
}

pub(crate) fn barrier_remotely() -> Result<(), Error> {
    rustix::thread::membarrier(MembarrierCommand::GlobalExpedited)
        .map_err(|errno| Error::os("execute a barrier (membarrier)", errno))
}

// ---- observation --------------------------------------------------------------------

/// As the kernel shows a region's memfd.
const REGION_LINK: &str = "/memfd:brigade";

pub(crate) fn observe() -> Result<Vec<(u32, Memory)>, Error> {
    let failed = |error| Error::os("list the processes in /proc", error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok());
        let is_own = || std::fs::metadata(&path).is_ok_and(|m| m.uid() == User::own().0);
        if let Some(process_id) = number
            && is_own()
        {
            // One that ends meanwhile is none.
            let regions = own_regions(&path).unwrap_or_default();
            found.extend(regions.into_iter().map(|memory| (process_id, memory)));
        }
    }
    Ok(found)
}

/// The regions that the process at `path` has mapped writable: it alone can.
fn own_regions(path: &Path) -> std::io::Result<Vec<Memory>> {
    let maps = std::fs::read_to_string(path.join("maps"))?;
    // Address, access, offset, device, number of the file, its name: proc_pid_maps(5).
    let files: Vec<u64> = maps
        .lines()
        .filter(|line| line.contains(REGION_LINK))
        .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>())
        .filter(|words| words.get(1) == Some(&"rw-s"))
        .filter_map(|words| words.get(4)?.parse().ok())
        .collect();
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let mut regions = Vec::new();
    for entry in std::fs::read_dir(path.join("fd"))? {
        let link = entry?.path();
        let is_region = std::fs::read_link(&link).is_ok_and(|target| {
            target
                .as_os_str()
                .as_encoded_bytes()
                .starts_with(REGION_LINK.as_bytes())
        });
        if is_region && let Ok(memory) = open_first_page(&link, &files) {
            regions.push(memory);
        }
    }
    Ok(regions)
}

fn open_first_page(link: &Path, files: &[u64]) -> Result<Memory, Errno> {
    let file = rustix::fs::open(link, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::fstat(&file)?;
    // Of fixed size, so that it can be looked at in peace.
    let is_sealed = rustix::fs::fcntl_get_seals(&file)?.contains(SEALS);
    if !files.contains(&stat.st_ino) || !is_sealed || stat.st_size < CONTROL_SIZE as i64 {
        return Err(Errno::NOENT);
    }
    Memory::map(file, CONTROL_SIZE as u64, false)
}
