//! The back end for Windows 10 and later: see the contract in `mod.rs`.
//!
//! | Contract | Here |
//! |---|---|
//! | `Memory` | named section on the paging file, which others may open for reading only |
//! | the name's first seat | named semaphore, 0 of 1: whoever creates it is the first |
//! | reaching the holder | taking that semaphore's count, which the holder releases when it is ready |
//! | messages | letters in sections, one for each direction |
//! | the peer's identity | the owner of what it created; its process by number and time of creation |
//! | doorbell, alarm | named semaphore, event |
//! | death | process handle; an event for hanging up |
//! | remote barrier | none |
//!
//! Nothing is left after a kill: the system removes each object with its last
//! handle. The count of the semaphore, which a killed process does not give back, is
//! the holder's to release again ([`Host::next`]).
#![expect(unsafe_code, reason = "the system's interface is all unsafe functions")]

use std::fmt;
use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use windows_sys::Win32::Foundation::{
    ERROR_ALREADY_EXISTS, ERROR_FILE_NOT_FOUND, ERROR_INVALID_HANDLE, ERROR_INVALID_PARAMETER,
    FILETIME, HANDLE, INVALID_HANDLE_VALUE, LocalFree, WAIT_FAILED, WAIT_TIMEOUT,
};
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW,
    ConvertStringSidToSidW, GetSecurityInfo, SDDL_REVISION_1, SE_KERNEL_OBJECT,
};
use windows_sys::Win32::Security::{
    GetTokenInformation, LookupAccountSidW, OWNER_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, PSID,
    SECURITY_ATTRIBUTES, TOKEN_QUERY, TOKEN_USER, TokenUser,
};
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, PROCESSENTRY32W, Process32FirstW, Process32NextW, TH32CS_SNAPPROCESS,
};
use windows_sys::Win32::System::Memory::{
    CreateFileMappingW, FILE_MAP_READ, FILE_MAP_WRITE, MEM_COMMIT, MEMORY_BASIC_INFORMATION,
    MEMORY_MAPPED_VIEW_ADDRESS, MapViewOfFile, OpenFileMappingW, PAGE_READONLY, PAGE_READWRITE,
    UnmapViewOfFile, VirtualQuery,
};
use windows_sys::Win32::System::SystemInformation::{GlobalMemoryStatusEx, MEMORYSTATUSEX};
use windows_sys::Win32::System::Threading::{
    CreateEventW, CreateSemaphoreW, GetCurrentProcess, GetProcessTimes, INFINITE, OpenEventW,
    OpenProcess, OpenProcessToken, OpenSemaphoreW, PROCESS_QUERY_LIMITED_INFORMATION,
    PROCESS_SYNCHRONIZE, ReleaseSemaphore, SEMAPHORE_MODIFY_STATE, SYNCHRONIZATION_SYNCHRONIZE,
    SetEvent, WaitForMultipleObjects,
};

use super::{Arrival, Message, Peer, Wake};
use crate::error::Error;
use crate::layout::{self, CONTROL_SIZE, MAGIC, REASON_MAX, VERSION};

// ---- memory -----------------------------------------------------------------

/// A mapped region.
pub(crate) struct Memory {
    start: NonNull<u8>,
    len: usize,
    writable: bool,
    /// The number in its name, by which the partner opens it.
    number: u64,
    section: OwnedHandle,
}

// SAFETY: it is an address range; what may be done there from which thread is
// decided where references are made, in `crate::memory` and `Card`.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    pub(crate) fn create(size: u64) -> Result<Memory, Error> {
        let (number, mut memory) =
            create_unique(|number| Memory::create_named(&unique(own_id(), number, REGION), size))?;
        memory.number = number;
        Ok(memory)
    }

    /// `None` if the name is taken.
    ///
    /// Committed at once, as sections are without SEC_RESERVE, so that no access can
    /// fail for want of memory; of fixed size; and for this process alone to write,
    /// since whoever else opens it is allowed to read only.
    fn create_named(name: &str, size: u64) -> Result<Option<Memory>, Error> {
        let failed = |what: &str| {
            let operation = format!("{what} {size} bytes of shared memory ({name})");
            move |error: io::Error| Error::os(operation, error)
        };
        let security = Security::new(SECTION_ACCESS).map_err(failed("protect"))?;
        let attributes = security.attributes();
        let wide = wide(name);
        // SAFETY: both pointers are to live objects; the name ends with a zero.
        let created = created(|| unsafe {
            CreateFileMappingW(
                INVALID_HANDLE_VALUE,
                &attributes,
                PAGE_READWRITE,
                (size >> 32) as u32,
                size as u32,
                wide.as_ptr(),
            )
        });
        match created.map_err(failed("create"))? {
            Created::New(section) => {
                let access = FILE_MAP_READ | FILE_MAP_WRITE;
                Memory::map(section, access)
                    .map(Some)
                    .map_err(failed("map"))
            }
            Created::Existing(_) => Ok(None),
        }
    }

    /// Another process's, read-only; `None` if there is none of that name.
    fn open(name: &str) -> io::Result<Option<Memory>> {
        let wide = wide(name);
        let access = FILE_MAP_READ | READ_CONTROL;
        // SAFETY: the name ends with a zero.
        let section = opened(|| unsafe { OpenFileMappingW(access, 0, wide.as_ptr()) })?;
        section
            .map(|section| Memory::map(section, FILE_MAP_READ))
            .transpose()
    }

    fn map(section: OwnedHandle, access: u32) -> io::Result<Memory> {
        // SAFETY: a new mapping of all of the section, at an address of the
        // system's choice.
        let view = unsafe { MapViewOfFile(section.as_raw_handle(), access, 0, 0, 0) };
        let start = NonNull::new(view.Value.cast()).ok_or_else(io::Error::last_os_error)?;
        let mut memory = Memory {
            start,
            len: 0,
            writable: access & FILE_MAP_WRITE != 0,
            number: 0,
            section,
        };
        memory.len = memory.committed_len()?;
        Ok(memory)
    }

    /// Length of the mapping, if all of it can be used.
    fn committed_len(&self) -> io::Result<usize> {
        let mut found = MEMORY_BASIC_INFORMATION::default();
        let size = size_of::<MEMORY_BASIC_INFORMATION>();
        // SAFETY: `found` has room for `size` bytes.
        let filled = unsafe { VirtualQuery(self.start.as_ptr().cast(), &mut found, size) };
        if filled == 0 {
            return Err(io::Error::last_os_error());
        }
        let protection = if self.writable {
            PAGE_READWRITE
        } else {
            PAGE_READONLY
        };
        if found.State != MEM_COMMIT || found.Protect != protection {
            return Err(io::Error::other("the section is not committed memory"));
        }
        Ok(found.RegionSize)
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
        let view = MEMORY_MAPPED_VIEW_ADDRESS {
            Value: self.start.as_ptr().cast(),
        };
        // SAFETY: exactly what `map` mapped, and nothing refers to it any more.
        // Failing is impossible for such an address, and could not be helped.
        let _ = unsafe { UnmapViewOfFile(view) };
    }
}

/// What this process may still commit: main memory and paging file.
pub(crate) fn available_memory() -> Option<u64> {
    let mut status = MEMORYSTATUSEX {
        dwLength: size_of::<MEMORYSTATUSEX>() as u32,
        ..MEMORYSTATUSEX::default()
    };
    // SAFETY: `status` is of the size that it says.
    let found = unsafe { GlobalMemoryStatusEx(&mut status) };
    // Wine says 0 now and then, when it could not find out.
    (found != 0)
        .then_some(status.ullAvailPageFile)
        .filter(|&available| available > 0)
}

// ---- users and names ----------------------------------------------------------

/// A user, by security identifier (S-1-…); shown with the name, which is looked up
/// only then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User(String);

/// The identifier of nobody: stands for a user that the system would not tell.
const NOBODY: &str = "S-1-0-0";

impl User {
    pub(crate) fn own() -> User {
        // Every process may look at its own token.
        own_sid().map_or_else(|_| User(NOBODY.into()), User)
    }

    /// Objects lie in the namespace of one user's login session.
    pub(crate) fn parse(_text: &str) -> Result<User, Error> {
        Err(Error::Unsupported {
            needed: "let another user be the partner",
            source: io::ErrorKind::Unsupported.into(),
        })
    }

    /// Who owns `object`: who created it, by the system's word.
    fn owner_of(object: BorrowedHandle<'_>) -> io::Result<User> {
        let mut owner: PSID = ptr::null_mut();
        let mut descriptor: PSECURITY_DESCRIPTOR = ptr::null_mut();
        // SAFETY: the pointers are to live variables; the handle is open.
        let status = unsafe {
            GetSecurityInfo(
                object.as_raw_handle(),
                SE_KERNEL_OBJECT,
                OWNER_SECURITY_INFORMATION,
                &mut owner,
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
                &mut descriptor,
            )
        };
        if status != 0 {
            return Err(io::Error::from_raw_os_error(status as i32));
        }
        let _descriptor = LocalMemory(descriptor);
        // SAFETY: `owner` points into the descriptor, which lives until the end.
        unsafe { sid_text(owner) }.map(User)
    }

    fn name(&self) -> Option<String> {
        let wide = wide(&self.0);
        let mut sid: PSID = ptr::null_mut();
        // SAFETY: the text ends with a zero, `sid` is a live variable.
        if unsafe { ConvertStringSidToSidW(wide.as_ptr(), &mut sid) } == 0 {
            return None;
        }
        let sid = LocalMemory(sid);
        // The longest user and domain names have fewer units than that.
        let (mut name, mut domain) = ([0u16; 512], [0u16; 512]);
        let (mut name_len, mut domain_len) = (name.len() as u32, domain.len() as u32);
        let mut kind = 0;
        // SAFETY: the buffers have the lengths given; a null system is this one.
        let found = unsafe {
            LookupAccountSidW(
                ptr::null(),
                sid.0,
                name.as_mut_ptr(),
                &mut name_len,
                domain.as_mut_ptr(),
                &mut domain_len,
                &mut kind,
            )
        };
        let text = |units: &[u16], len: u32| {
            let units = units.get(..len as usize)?;
            Some(String::from_utf16_lossy(units))
        };
        let (name, domain) = (text(&name, name_len)?, text(&domain, domain_len)?);
        (found != 0).then(|| format!(r"{domain}\{name}"))
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

fn own_sid() -> io::Result<String> {
    let mut token = ptr::null_mut();
    // SAFETY: the handle of the own process needs no closing; `token` is a live
    // variable.
    if unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &mut token) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, for this function alone.
    let token = unsafe { OwnedHandle::from_raw_handle(token) };
    // In words, for their alignment; a SID has 68 bytes at most.
    let mut buffer = [0u64; 32];
    let mut len = size_of_val(&buffer) as u32;
    // SAFETY: the buffer has room for `len` bytes.
    let found = unsafe {
        GetTokenInformation(
            token.as_raw_handle(),
            TokenUser,
            buffer.as_mut_ptr().cast(),
            len,
            &mut len,
        )
    };
    if found == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call filled the buffer, which is aligned, with a `TOKEN_USER` whose
    // SID lies in the buffer, too.
    unsafe { sid_text((*buffer.as_ptr().cast::<TOKEN_USER>()).User.Sid) }
}

/// # Safety
///
/// `sid` points to a valid SID.
unsafe fn sid_text(sid: PSID) -> io::Result<String> {
    let mut text = ptr::null_mut();
    // SAFETY: the caller's promise; `text` is a live variable.
    if unsafe { ConvertSidToStringSidW(sid, &mut text) } == 0 {
        return Err(io::Error::last_os_error());
    }
    let text = LocalMemory(text.cast());
    let first = text.0.cast::<u16>().cast_const();
    // SAFETY: the call made a text that ends with a zero; it lives until the end.
    let units = unsafe {
        let len = (0..).take_while(|&index| *first.add(index) != 0).count();
        std::slice::from_raw_parts(first, len)
    };
    Ok(String::from_utf16_lossy(units))
}

/// A name, as the beginning of the names of all objects that stand for it.
#[derive(Debug)]
pub(crate) struct Name {
    base: String,
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
        let meant = if text.contains(['/', '\\']) {
            // Absolute and resolved: the same for all who mean the same.
            let directory = path.parent().unwrap_or(Path::new(r"\"));
            let directory = std::fs::canonicalize(directory)
                .map_err(|error| Error::os(format!("use the name {text}"), error))?;
            folded(&directory.join(base).to_string_lossy())
        } else {
            text.to_owned()
        };
        let hash = hash(&meant, 32);
        Ok(Name {
            base: format!("{}-{hash}", prefix()),
        })
    }

    /// The semaphore that decides.
    fn seat(&self) -> &str {
        &self.base
    }

    /// The holder's card, which says who it is.
    fn card(&self) -> String {
        format!("{}.host", self.base)
    }

    /// The semaphore that the holder sleeps on until somebody comes.
    fn bell(&self) -> String {
        format!("{}.bell", self.base)
    }

    /// What `of` writes to its peer in the holder's turn `turn`.
    fn letters(&self, turn: u64, of: &str) -> String {
        format!("{}.{turn}.{of}", self.base)
    }
}

/// Upper case, one character for one, as file systems here fold names: they know of
/// no `ß` that becomes two.
fn folded(text: &str) -> String {
    let fold = |c: char| {
        let mut upper = c.to_uppercase();
        match (upper.next(), upper.next()) {
            (Some(single), None) => single,
            _ => c,
        }
    };
    text.chars().map(fold).collect()
}

/// The first `digits` of the hash of `text`.
fn hash(text: &str, digits: usize) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..digits].to_owned()
}

/// How the names of all objects of this user begin: in the namespace of the login
/// session, so that no privilege is needed.
fn prefix() -> String {
    format!(r"Local\brigade-{}", hash(&User::own().0, 16))
}

// ---- rendezvous -----------------------------------------------------------------

/// How long to pause between two tries to reach the holder of a name.
const RETRY_PAUSE: Duration = Duration::from_millis(2);

/// How long somebody who has knocked may take to write. Longer than it waits for the
/// count, half a second, and then needs to write.
const KNOCK_LIMIT: Duration = Duration::from_secs(1);

/// The name's semaphore and the card that says who holds it, as long as this lives.
pub(crate) struct Seat {
    // In this order when dropped: the semaphore last, since whoever creates it next
    // creates a card, too.
    card: Card,
    semaphore: OwnedHandle,
}

impl Seat {
    /// Whether nobody has taken the count: takes it, and gives it back at once.
    fn is_free(&self) -> Result<bool, Error> {
        let past = Some(Instant::now());
        let free = wait_any([self.semaphore.as_handle()], past)?.is_some();
        if free {
            release(&self.semaphore);
        }
        Ok(free)
    }
}

impl Drop for Seat {
    /// Whoever waits for the count hears that there is nothing to wait for, tells the
    /// next one, and lets go; the last one to do so leaves the name free.
    fn drop(&mut self) {
        self.card.leave();
        release(&self.semaphore);
    }
}

/// The process that holds a name and can be reached under it.
pub(crate) struct Host {
    // In this order when dropped: unreachable first, the name free last.
    turn: Option<Turn>,
    turns: u64,
    bell: Arc<OwnedHandle>,
    name: Name,
    seat: Seat,
}

/// The host's offer to meet one process.
struct Turn {
    number: u64,
    letters: Card,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.letters.leave();
    }
}

pub(crate) fn arrive(name: &Name, _guests: &[User], deadline: Instant) -> Result<Arrival, Error> {
    loop {
        // Looked at before the tries, so that one of them is made after it.
        let last = Instant::now() >= deadline;
        match create_semaphore(name.seat())? {
            Created::New(seat) => {
                if let Some(host) = Host::new(name, seat)? {
                    return Ok(Arrival::First(host));
                }
            }
            Created::Existing(seat) => {
                refuse_foreign(name, &seat)?;
                if let Some(channel) = enter(name, &seat, deadline)? {
                    return Ok(Arrival::Second(channel));
                }
            }
        }
        if last {
            return Ok(Arrival::Full);
        }
        std::thread::sleep(RETRY_PAUSE);
    }
}

/// The name has this user in it, but anybody in the same login session could have
/// guessed it.
fn refuse_foreign(name: &Name, seat: &OwnedHandle) -> Result<(), Error> {
    let owner = User::owner_of(seat.as_handle())
        .map_err(|error| Error::os(format!("ask who owns the semaphore {}", name.seat()), error))?;
    let own = User::own();
    if owner == own {
        return Ok(());
    }
    Err(Error::Refused(format!(
        "the name is in use by user {owner}, this process runs as user {own} ({} is theirs)",
        name.seat()
    )))
}

/// Takes the count of `seat`, if its holder releases it in time. `None` if not, or if
/// there is no holder (yet, or any more).
fn enter(name: &Name, seat: &OwnedHandle, deadline: Instant) -> Result<Option<Channel>, Error> {
    let Some(card) = Card::open(&name.card()) else {
        return Ok(None);
    };
    let Some(holder) = card.process() else {
        return Ok(None);
    };
    // Before the count is taken: a process that is killed with it cannot give it
    // back, and the holder has to know that somebody was about to take it.
    if let Some(bell) = open_semaphore(&name.bell()) {
        release(&bell);
    }
    let handles = [holder.handle.as_handle(), seat.as_handle()];
    if wait_any(handles, Some(deadline))? != Some(1) {
        return Ok(None);
    }
    if card.has_left() {
        release(seat);
        return Ok(None);
    }
    Channel::to_host(name, card.turn.load(Ordering::Acquire), holder)
}

impl Host {
    /// `None` if objects of an earlier holder are still there.
    fn new(name: &Name, seat: OwnedHandle) -> Result<Option<Host>, Error> {
        let Some(card) = Card::create(&name.card())? else {
            return Ok(None);
        };
        let Created::New(bell) = create_semaphore(&name.bell())? else {
            return Ok(None);
        };
        Ok(Some(Host {
            turn: None,
            turns: 0,
            bell: Arc::new(bell),
            name: Name {
                base: name.base.clone(),
            },
            seat: Seat {
                card,
                semaphore: seat,
            },
        }))
    }

    /// `Ok(None)` when the deadline has passed or the alarm rang.
    pub(crate) fn next(
        &mut self,
        alarm: &Alarm,
        deadline: Option<Instant>,
    ) -> Result<Option<Channel>, Error> {
        // The last one is done with.
        self.turn = None;
        // Somebody may have knocked before.
        let mut write_by = Some(Instant::now() + KNOCK_LIMIT);
        loop {
            self.open_turn()?;
            let until = [deadline, write_by].into_iter().flatten().min();
            let woken = wait_any([alarm.0.as_handle(), self.bell.as_handle()], until)?;
            if woken == Some(0) {
                return Ok(None);
            }
            if let Some(channel) = self.meet() {
                return Ok(Some(channel));
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Ok(None);
            }
            if write_by.is_some_and(|limit| limit <= now) {
                if self.seat.is_free()? {
                    write_by = None;
                } else {
                    // Whoever has taken the count was killed before it wrote, or
                    // sleeps: it will find that its turn is over.
                    self.turn = None;
                    write_by = Some(now + KNOCK_LIMIT);
                }
            }
            if woken.is_some() {
                // Knocks that follow gain no time, or those who try again and again
                // would keep a lost count lost.
                write_by.get_or_insert(now + KNOCK_LIMIT);
            }
        }
    }

    /// Prepares to meet somebody and says so, unless that was done.
    fn open_turn(&mut self) -> Result<(), Error> {
        while self.turn.is_none() {
            self.turns += 1;
            let number = self.turns;
            let name = self.name.letters(number, FIRST);
            // Taken by something of an earlier holder: the next number will do.
            if let Some(letters) = Card::create(&name)? {
                self.turn = Some(Turn { number, letters });
                self.seat.card.turn.store(number, Ordering::Release);
                release(&self.seat.semaphore);
            }
        }
        Ok(())
    }

    /// The process that took the count in this turn, if it has written.
    fn meet(&mut self) -> Option<Channel> {
        let number = self.turn.as_ref()?.number;
        let theirs = Card::open(&self.name.letters(number, SECOND))?;
        let turn = self.turn.take()?;
        // If it is gone already, the next turn begins.
        let process = theirs.process()?;
        let their_bell = open_semaphore(&self.name.letters(number, SECOND_BELL))?;
        let bell = Arc::clone(&self.bell);
        Channel::new(Letters::Host(turn), bell, theirs, their_bell, process).ok()
    }

    pub(crate) fn close(self) -> Seat {
        // Its count stays taken: nobody else gets in.
        self.seat
    }
}

// ---- channel ----------------------------------------------------------------------

/// Kinds of message; `docs/protocol.md`, "Joining".
const KIND_OFFER: u32 = 1;
const KIND_REFUSED: u32 = 2;
const KIND_ADMITTED: u32 = 3;

/// Whose letters, at the end of an object's name.
const FIRST: &str = "first";
const SECOND: &str = "second";
const SECOND_BELL: &str = "second.bell";

/// Most letters from one process to another: an offer, and an answer to the peer's.
const LETTERS: usize = 2;

/// What one process tells another while they join: a section that it alone writes.
/// All fields are atomics, since the other may read meanwhile.
#[repr(C)]
struct CardPage {
    /// [`MAGIC`], stored last of the head.
    magic: AtomicU64,
    /// [`VERSION`]
    version: AtomicU32,
    process_id: AtomicU32,
    /// When the process was created, in the system's units (of 100 ns).
    started: AtomicU64,
    /// On a holder's card: which turn it is.
    turn: AtomicU64,
    /// 1 once the process wants nothing more of this.
    left: AtomicU64,
    letters: [Letter; LETTERS],
}

/// One message.
#[repr(C)]
struct Letter {
    /// 0 until it is written; stored last, with Release.
    kind: AtomicU32,
    /// Bytes used of `text`.
    text_len: AtomicU32,
    /// Of an offer, the numbers of the region and of the doorbell.
    objects: [AtomicU64; 2],
    text: [AtomicU64; REASON_MAX / 8],
}

/// Size of a card's section: a page.
const CARD_SIZE: usize = 4096;

const _: () = {
    assert!(size_of::<CardPage>() <= CARD_SIZE);
    assert!(std::mem::offset_of!(CardPage, started) == 16);
    assert!(std::mem::offset_of!(CardPage, turn) == 24);
    assert!(std::mem::offset_of!(CardPage, left) == 32);
    assert!(std::mem::offset_of!(CardPage, letters) == 40);
    assert!(size_of::<Letter>() == 24 + REASON_MAX);
};

/// A [`CardPage`] in a section of its own, this process's or another's.
struct Card(Memory);

impl std::ops::Deref for Card {
    type Target = CardPage;

    fn deref(&self) -> &CardPage {
        // SAFETY: the mapping lives as long as `self`, begins on a page and has
        // CARD_SIZE bytes (`create`, `open`); all fields are atomics, valid for any
        // bytes. Only `create`'s are stored to.
        unsafe { self.0.start.cast::<CardPage>().as_ref() }
    }
}

impl Card {
    /// This process's, with its head filled in; `None` if the name is taken.
    fn create(name: &str) -> Result<Option<Card>, Error> {
        let Some(memory) = Memory::create_named(name, CARD_SIZE as u64)? else {
            return Ok(None);
        };
        let started = started(current_process())
            .map_err(|error| Error::os("ask when this process was created", error))?;
        let card = Card(memory);
        card.version.store(VERSION, Ordering::Relaxed);
        card.process_id.store(own_id(), Ordering::Relaxed);
        card.started.store(started, Ordering::Relaxed);
        card.magic.store(MAGIC, Ordering::Release);
        Ok(Some(card))
    }

    /// Another process's of this user, once its head is there.
    fn open(name: &str) -> Option<Card> {
        let memory = Memory::open(name).ok()??;
        if memory.len() < CARD_SIZE || !is_own(&memory.section) {
            return None;
        }
        let card = Card(memory);
        (card.magic.load(Ordering::Acquire) == MAGIC).then_some(card)
    }

    /// The process whose card it is, unless it is gone.
    fn process(&self) -> Option<Process> {
        let id = self.process_id.load(Ordering::Relaxed);
        Process::open(id, self.started.load(Ordering::Relaxed))
    }

    fn leave(&self) {
        self.left.store(1, Ordering::Release);
    }

    fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire) != 0
    }

    fn write(&self, index: usize, kind: u32, objects: [u64; 2], text: &str) {
        let letter = &self.letters[index];
        let text = &text.as_bytes()[..text.floor_char_boundary(REASON_MAX)];
        layout::store_text(&letter.text, text);
        letter.text_len.store(text.len() as u32, Ordering::Relaxed);
        for (word, object) in letter.objects.iter().zip(objects) {
            word.store(object, Ordering::Relaxed);
        }
        letter.kind.store(kind, Ordering::Release);
    }
}

/// A connection to the process that may become the partner.
pub(crate) struct Channel {
    own: Letters,
    bell: Arc<OwnedHandle>,
    written: std::cell::Cell<usize>,
    theirs: Card,
    their_bell: OwnedHandle,
    read: std::cell::Cell<usize>,
    process: Arc<Process>,
    peer: Peer,
}

/// Where this process writes.
enum Letters {
    Host(Turn),
    Second(Card),
}

impl Letters {
    fn card(&self) -> &Card {
        match self {
            Letters::Host(turn) => &turn.letters,
            Letters::Second(card) => card,
        }
    }
}

impl Channel {
    fn new(
        own: Letters,
        bell: Arc<OwnedHandle>,
        theirs: Card,
        their_bell: OwnedHandle,
        process: Process,
    ) -> Result<Channel, Error> {
        let user = User::owner_of(theirs.0.section.as_handle())
            .map_err(|error| Error::os("ask who the joining process is", error))?;
        Ok(Channel {
            peer: Peer {
                user,
                process_id: process.id,
            },
            own,
            bell,
            written: 0.into(),
            theirs,
            their_bell,
            read: 0.into(),
            process: Arc::new(process),
        })
    }

    /// From the process that has taken the count in `turn`. `None` if that turn is
    /// over, or used by another.
    fn to_host(name: &Name, turn: u64, holder: Process) -> Result<Option<Channel>, Error> {
        let Some(theirs) = Card::open(&name.letters(turn, FIRST)) else {
            return Ok(None);
        };
        let Some(their_bell) = open_semaphore(&name.bell()) else {
            return Ok(None);
        };
        let Created::New(bell) = create_semaphore(&name.letters(turn, SECOND_BELL))? else {
            return Ok(None);
        };
        let Some(own) = Card::create(&name.letters(turn, SECOND))? else {
            return Ok(None);
        };
        release(&their_bell);
        let own = Letters::Second(own);
        Channel::new(own, Arc::new(bell), theirs, their_bell, holder).map(Some)
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    pub(crate) fn offer(&self, memory: &Memory, bell: &Bell) -> Result<(), Error> {
        self.send(KIND_OFFER, [memory.number, bell.number], "")
    }

    /// Best effort: the peer may be gone.
    pub(crate) fn refuse(&self, reason: &str) {
        let _ = self.send(KIND_REFUSED, [0; 2], reason);
    }

    pub(crate) fn admit(&self) -> Result<(), Error> {
        self.send(KIND_ADMITTED, [0; 2], "")
    }

    fn send(&self, kind: u32, objects: [u64; 2], text: &str) -> Result<(), Error> {
        let index = self.written.get();
        if index == LETTERS || self.theirs.has_left() {
            let error = io::ErrorKind::BrokenPipe;
            return Err(Error::os("send to the joining process", error));
        }
        self.own.card().write(index, kind, objects, text);
        self.written.set(index + 1);
        release(&self.their_bell);
        Ok(())
    }

    /// `Ok(None)` when the deadline has passed or the alarm rang.
    pub(crate) fn receive(
        &self,
        alarm: &Alarm,
        deadline: Option<Instant>,
    ) -> Result<Option<Message>, Error> {
        let handles = [
            alarm.0.as_handle(),
            self.bell.as_handle(),
            self.process.handle.as_handle(),
        ];
        let mut died = false;
        loop {
            // In this order: what it wrote before it left comes first.
            let left = died || self.theirs.has_left();
            if let Some(message) = self.read_letter() {
                return Ok(Some(message));
            }
            if left {
                return Ok(Some(Message::HungUp));
            }
            match wait_any(handles, deadline)? {
                None | Some(0) => return Ok(None),
                Some(index) => died = index == 2,
            }
        }
    }

    fn read_letter(&self) -> Option<Message> {
        let letter = self.theirs.letters.get(self.read.get())?;
        // Pairs with the Release in `Card::write`.
        let kind = letter.kind.load(Ordering::Acquire);
        if kind == 0 {
            return None;
        }
        self.read.set(self.read.get() + 1);
        Some(match kind {
            KIND_OFFER => {
                let objects = [0, 1].map(|index| letter.objects[index].load(Ordering::Relaxed));
                open_offer(self.process.id, objects)
            }
            KIND_REFUSED => {
                let len = letter.text_len.load(Ordering::Relaxed);
                let text = layout::load_text(&letter.text, len);
                Message::Refused(String::from_utf8_lossy(&text).into_owned())
            }
            KIND_ADMITTED => Message::Admitted,
            _ => Message::Malformed("its message is of an unknown kind"),
        })
    }

    pub(crate) fn into_link(self, bell: Bell, remote_bell: RemoteBell, seat: Option<Seat>) -> Link {
        Link {
            bell,
            remote_bell,
            process: Arc::clone(&self.process),
            _seat: seat,
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.own.card().leave();
        release(&self.their_bell);
    }
}

fn open_offer(process_id: u32, [region, bell]: [u64; 2]) -> Message {
    let memory = Memory::open(&unique(process_id, region, REGION));
    let Ok(Some(memory)) = memory else {
        return Message::Malformed("its region cannot be opened");
    };
    if !is_own(&memory.section) {
        return Message::Malformed("its region belongs to another user");
    }
    if memory.len() < CONTROL_SIZE {
        return Message::Malformed("its region is too small");
    }
    match RemoteBell::open(process_id, bell) {
        Some(bell) => Message::Offer(memory, bell),
        None => Message::Malformed("its doorbell cannot be opened"),
    }
}

/// A process that cannot be mistaken for a later one of the same number.
struct Process {
    handle: OwnedHandle,
    id: u32,
}

impl Process {
    /// `None` if the process of that number is not the one created at `started`, or
    /// there is none.
    fn open(id: u32, at: u64) -> Option<Process> {
        let access = PROCESS_SYNCHRONIZE | PROCESS_QUERY_LIMITED_INFORMATION;
        // SAFETY: takes no pointers.
        let handle = opened(|| unsafe { OpenProcess(access, 0, id) }).ok()??;
        let same = started(handle.as_handle()).ok()? == at;
        same.then_some(Process { handle, id })
    }
}

fn current_process() -> BorrowedHandle<'static> {
    // SAFETY: a constant that stands for this process, valid for ever.
    unsafe { BorrowedHandle::borrow_raw(GetCurrentProcess()) }
}

fn own_id() -> u32 {
    std::process::id()
}

/// When `process` was created.
fn started(process: BorrowedHandle<'_>) -> io::Result<u64> {
    let [mut created, mut exited, mut kernel, mut user] = [FILETIME::default(); 4];
    // SAFETY: the handle is open, the pointers are to live variables.
    let found = unsafe {
        GetProcessTimes(
            process.as_raw_handle(),
            &mut created,
            &mut exited,
            &mut kernel,
            &mut user,
        )
    };
    if found == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::from(created.dwHighDateTime) << 32 | u64::from(created.dwLowDateTime))
}

// ---- link ---------------------------------------------------------------------------

/// The doorbell that this process sleeps on, and the event by which it hangs up.
pub(crate) struct Bell {
    number: u64,
    semaphore: OwnedHandle,
    gone: OwnedHandle,
}

/// The partner's.
pub(crate) struct RemoteBell {
    semaphore: OwnedHandle,
    gone: OwnedHandle,
}

impl RemoteBell {
    fn open(process_id: u32, number: u64) -> Option<RemoteBell> {
        let semaphore = open_semaphore(&unique(process_id, number, BELL))?;
        let gone = open_event(&unique(process_id, number, GONE))?;
        Some(RemoteBell { semaphore, gone })
    }
}

impl Bell {
    pub(crate) fn new() -> Result<Bell, Error> {
        let (number, (semaphore, gone)) = create_unique(|number| {
            let name = |suffix| unique(own_id(), number, suffix);
            let Created::New(semaphore) = create_semaphore(&name(BELL))? else {
                return Ok(None);
            };
            let gone = create_event(Some(&name(GONE)))?;
            Ok(gone.map(|gone| (semaphore, gone)))
        })?;
        Ok(Bell {
            number,
            semaphore,
            gone,
        })
    }
}

impl Drop for Bell {
    /// Whoever was shown it may take this process for its partner already.
    fn drop(&mut self) {
        set(&self.gone);
    }
}

/// Once rung, wakes every wait of this process that was given it, for good.
#[derive(Debug)]
pub(crate) struct Alarm(OwnedHandle);

impl Alarm {
    pub(crate) fn new() -> Result<Alarm, Error> {
        match create_event(None)? {
            Some(event) => Ok(Alarm(event)),
            // Without a name, it is always new.
            None => Err(Error::os("create an alarm", io::ErrorKind::AlreadyExists)),
        }
    }

    pub(crate) fn ring(&self) {
        set(&self.0);
    }
}

/// What connects two processes that have joined.
pub(crate) struct Link {
    bell: Bell,
    remote_bell: RemoteBell,
    process: Arc<Process>,
    _seat: Option<Seat>,
}

impl Link {
    pub(crate) fn wait(&self, alarm: &Alarm, deadline: Option<Instant>) -> Result<Wake, Error> {
        // The first of several that are signalled counts; taking the bell's count
        // consumes the ring.
        let handles = [
            alarm.0.as_handle(),
            self.bell.semaphore.as_handle(),
            self.remote_bell.gone.as_handle(),
            self.process.handle.as_handle(),
        ];
        Ok(match wait_any(handles, deadline)? {
            None => Wake::Timeout,
            Some(0) => Wake::Alarm,
            Some(1) => Wake::Bell,
            Some(_) => Wake::Gone,
        })
    }

    pub(crate) fn watch(&self, alarm: &Alarm, deadline: Option<Instant>) -> Result<Wake, Error> {
        let handles = [
            alarm.0.as_handle(),
            self.remote_bell.gone.as_handle(),
            self.process.handle.as_handle(),
        ];
        Ok(match wait_any(handles, deadline)? {
            None => Wake::Timeout,
            Some(0) => Wake::Alarm,
            Some(_) => Wake::Gone,
        })
    }

    pub(crate) fn ring(&self) {
        release(&self.remote_bell.semaphore);
    }

    pub(crate) fn hang_up(&self) {
        set(&self.bell.gone);
    }
}

/// The index of a handle that is signalled, the first of several; `None` for a
/// deadline that passed.
fn wait_any<const N: usize>(
    handles: [BorrowedHandle<'_>; N],
    deadline: Option<Instant>,
) -> Result<Option<usize>, Error> {
    let handles: [HANDLE; N] = handles.map(|handle| handle.as_raw_handle());
    loop {
        let left_ms = match deadline {
            None => INFINITE,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                // Rounded up, so that no time is spent in waits of nothing; and a
                // wait that the system cannot count is made in several.
                left.as_nanos()
                    .div_ceil(1_000_000)
                    .min(u128::from(INFINITE - 1)) as u32
            }
        };
        // SAFETY: `handles` are N open handles, which the caller's borrows keep so.
        let woken = unsafe { WaitForMultipleObjects(N as u32, handles.as_ptr(), 0, left_ms) };
        match woken {
            WAIT_FAILED => return Err(Error::os("wait", io::Error::last_os_error())),
            WAIT_TIMEOUT if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                return Ok(None);
            }
            WAIT_TIMEOUT => {}
            // WAIT_OBJECT_0 is 0; mutexes, which could be abandoned, are not used.
            index => return Ok(Some(index as usize)),
        }
    }
}

// ---- barrier --------------------------------------------------------------------------

/// There is none: FlushProcessWriteBuffers reaches the own process only.
pub(crate) fn can_barrier_remotely() -> bool {
    false
}

pub(crate) fn barrier_remotely() -> Result<(), Error> {
    Err(Error::Unsupported {
        needed: "execute a barrier in another process",
        source: io::ErrorKind::Unsupported.into(),
    })
}

// ---- observation --------------------------------------------------------------------

/// How many numbers of each process to look for: a region gets the first of them, if
/// the process is in one session.
const OBSERVED_NUMBERS: u64 = 8;

pub(crate) fn observe() -> Result<Vec<(u32, Memory)>, Error> {
    let failed = |error| Error::os("list the processes", error);
    let mut found = Vec::new();
    for process_id in process_ids().map_err(failed)? {
        for number in 1..=OBSERVED_NUMBERS {
            let memory = Memory::open(&unique(process_id, number, REGION));
            if let Ok(Some(memory)) = memory
                && memory.len() >= CONTROL_SIZE
                && is_own(&memory.section)
            {
                found.push((process_id, memory));
            }
        }
    }
    Ok(found)
}

fn process_ids() -> io::Result<Vec<u32>> {
    // SAFETY: takes no pointers.
    let snapshot = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0) };
    if snapshot == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system just made it, for this call alone.
    let snapshot = unsafe { OwnedHandle::from_raw_handle(snapshot) };
    let mut entry = PROCESSENTRY32W {
        dwSize: size_of::<PROCESSENTRY32W>() as u32,
        ..PROCESSENTRY32W::default()
    };
    let mut ids = Vec::new();
    // SAFETY: the handle is open, `entry` is of the size that it says.
    let mut more = unsafe { Process32FirstW(snapshot.as_raw_handle(), &mut entry) };
    while more != 0 {
        ids.push(entry.th32ProcessID);
        // SAFETY: as above.
        more = unsafe { Process32NextW(snapshot.as_raw_handle(), &mut entry) };
    }
    Ok(ids)
}

// ---- objects --------------------------------------------------------------------------

/// Standard access rights (winnt.h).
const READ_CONTROL: u32 = 0x0002_0000;

/// What an object's creator lets others of its user do with it. `CreateSemaphoreW`
/// asks for all there is when it finds that the semaphore exists.
const SEMAPHORE_ACCESS: u32 = 0x001f_0003;
/// To map for reading, to look at; not to write.
const SECTION_ACCESS: u32 = READ_CONTROL | 0x0005;
/// To wait for, to look at; not to set or reset.
const EVENT_ACCESS: u32 = READ_CONTROL | SYNCHRONIZATION_SYNCHRONIZE;

/// What an object is, at the end of its name.
const REGION: &str = "region";
const BELL: &str = "bell";
const GONE: &str = "gone";

/// The name of an object that a process made, and tells its peer the number of.
fn unique(process_id: u32, number: u64, what: &str) -> String {
    format!("{}-{process_id}-{number}.{what}", prefix())
}

/// Calls `create` with numbers that this process has not used, until it makes
/// something: what a dead process of the same number made may still be in use.
fn create_unique<T>(create: impl Fn(u64) -> Result<Option<T>, Error>) -> Result<(u64, T), Error> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        if let Some(made) = create(number)? {
            return Ok((number, made));
        }
    }
}

/// What the system made of a wish to create something.
enum Created {
    New(OwnedHandle),
    /// Something of that name and kind was there.
    Existing(OwnedHandle),
}

fn created(create: impl FnOnce() -> HANDLE) -> io::Result<Created> {
    let handle = create();
    let error = io::Error::last_os_error();
    if handle.is_null() {
        // How the system says that the name is of an object of another kind.
        return Err(match is_code(&error, ERROR_INVALID_HANDLE) {
            true => io::Error::other("something else of that name is in the way"),
            false => error,
        });
    }
    // SAFETY: the system just made it, for this call alone.
    let handle = unsafe { OwnedHandle::from_raw_handle(handle) };
    Ok(match is_code(&error, ERROR_ALREADY_EXISTS) {
        true => Created::Existing(handle),
        false => Created::New(handle),
    })
}

/// `None` if there is nothing to open.
fn opened(open: impl FnOnce() -> HANDLE) -> io::Result<Option<OwnedHandle>> {
    let handle = open();
    if handle.is_null() {
        let error = io::Error::last_os_error();
        let absent = [ERROR_FILE_NOT_FOUND, ERROR_INVALID_PARAMETER];
        return match absent.into_iter().any(|code| is_code(&error, code)) {
            true => Ok(None),
            false => Err(error),
        };
    }
    // SAFETY: the system just made it, for this call alone.
    Ok(Some(unsafe { OwnedHandle::from_raw_handle(handle) }))
}

fn is_code(error: &io::Error, code: u32) -> bool {
    error.raw_os_error() == Some(code as i32)
}

/// Whether this user created `object`.
fn is_own(object: &OwnedHandle) -> bool {
    User::owner_of(object.as_handle()).is_ok_and(|owner| owner == User::own())
}

/// A semaphore that counts to 1, and begins with 0.
fn create_semaphore(name: &str) -> Result<Created, Error> {
    let failed = |error| Error::os(format!("create the semaphore {name}"), error);
    let security = Security::new(SEMAPHORE_ACCESS).map_err(failed)?;
    let (attributes, wide) = (security.attributes(), wide(name));
    // SAFETY: both pointers are to live objects; the name ends with a zero.
    created(|| unsafe { CreateSemaphoreW(&attributes, 0, 1, wide.as_ptr()) }).map_err(failed)
}

/// Another process's of this user, if it is there.
fn open_semaphore(name: &str) -> Option<OwnedHandle> {
    let access = SEMAPHORE_MODIFY_STATE | SYNCHRONIZATION_SYNCHRONIZE | READ_CONTROL;
    let wide = wide(name);
    // SAFETY: the name ends with a zero.
    let handle = opened(|| unsafe { OpenSemaphoreW(access, 0, wide.as_ptr()) }).ok()??;
    is_own(&handle).then_some(handle)
}

/// It counts to 1: one that is there already is as good.
fn release(semaphore: &OwnedHandle) {
    // SAFETY: the handle is open; a null pointer asks for no former count.
    let _ = unsafe { ReleaseSemaphore(semaphore.as_raw_handle(), 1, ptr::null_mut()) };
}

/// An event that stays set; `None` if the name is taken.
fn create_event(name: Option<&str>) -> Result<Option<OwnedHandle>, Error> {
    let failed = |error| Error::os(format!("create the event {}", name.unwrap_or("")), error);
    let security = Security::new(EVENT_ACCESS).map_err(failed)?;
    let (attributes, wide) = (security.attributes(), name.map(wide));
    let name = wide.as_ref().map_or(ptr::null(), |wide| wide.as_ptr());
    // SAFETY: both pointers are to live objects, or null; the name ends with a zero.
    match created(|| unsafe { CreateEventW(&attributes, 1, 0, name) }).map_err(failed)? {
        Created::New(event) => Ok(Some(event)),
        Created::Existing(_) => Ok(None),
    }
}

/// Another process's of this user, if it is there.
fn open_event(name: &str) -> Option<OwnedHandle> {
    let wide = wide(name);
    // SAFETY: the name ends with a zero.
    let handle = opened(|| unsafe { OpenEventW(EVENT_ACCESS, 0, wide.as_ptr()) }).ok()??;
    is_own(&handle).then_some(handle)
}

fn set(event: &OwnedHandle) {
    // SAFETY: the handle is open.
    let _ = unsafe { SetEvent(event.as_raw_handle()) };
}

/// Who may do what with an object: this user what was given, nobody else anything.
struct Security(LocalMemory);

impl Security {
    fn new(access: u32) -> io::Result<Security> {
        let user = User::own().0;
        // Owner; protected list of one entry: allow, to that user.
        let text = wide(&format!("O:{user}D:P(A;;{access:#x};;;{user})"));
        let mut descriptor: PSECURITY_DESCRIPTOR = ptr::null_mut();
        // SAFETY: the text ends with a zero; `descriptor` is a live variable; a null
        // pointer asks for no size.
        let made = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &mut descriptor,
                ptr::null_mut(),
            )
        };
        if made == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Security(LocalMemory(descriptor)))
    }

    /// To be used while `self` lives. No child process inherits the handle.
    fn attributes(&self) -> SECURITY_ATTRIBUTES {
        SECURITY_ATTRIBUTES {
            nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
            lpSecurityDescriptor: self.0.0,
            bInheritHandle: 0,
        }
    }
}

/// What a call has allocated for its caller to free.
struct LocalMemory(*mut core::ffi::c_void);

impl Drop for LocalMemory {
    fn drop(&mut self) {
        // SAFETY: allocated by the system for this value alone, and freed once.
        let _ = unsafe { LocalFree(self.0) };
    }
}

/// As the system takes text: UTF-16, with a zero at its end.
fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}
