//! The protocol's binding to Windows (section 13b), by hand, and the tests of what only
//! Windows has: named objects, who may open them, and a count that can be lost.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use brigade::{Error, Seat, Side, join};
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_ALREADY_EXISTS, ERROR_FILE_NOT_FOUND, FILETIME, HANDLE,
    INVALID_HANDLE_VALUE, LocalFree, WAIT_OBJECT_0,
};
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::{
    GetTokenInformation, SECURITY_ATTRIBUTES, TOKEN_QUERY, TOKEN_USER, TokenUser,
};
use windows_sys::Win32::System::Memory::{
    CreateFileMappingW, FILE_MAP_READ, FILE_MAP_WRITE, MEMORY_BASIC_INFORMATION,
    MEMORY_MAPPED_VIEW_ADDRESS, MapViewOfFile, OpenFileMappingW, PAGE_READWRITE, SEC_RESERVE,
    UnmapViewOfFile, VirtualProtect, VirtualQuery,
};
use windows_sys::Win32::System::Threading::{
    CreateEventW, CreateSemaphoreW, EVENT_MODIFY_STATE, GetCurrentProcess, GetProcessTimes,
    OpenEventW, OpenProcessToken, OpenSemaphoreW, ReleaseSemaphore, SEMAPHORE_MODIFY_STATE,
    SYNCHRONIZATION_SYNCHRONIZE, SetEvent, WaitForSingleObject,
};

use super::vectors::Vector;
use super::{
    ADMITTED, AT_VERSION, MAGIC, OFFER, Offer, Other, READER, REFUSED, VERSION, WRITER,
    WRITER_REGION, assert_pair_works, at, bounded, offer, options, real_reader, soon,
};

// ---- objects --------------------------------------------------------------------------

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

/// `Err` with the system's reason, if there is no handle.
fn owned(handle: HANDLE) -> io::Result<OwnedHandle> {
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system just made it, for this call alone.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

fn code(error: &io::Error) -> u32 {
    error.raw_os_error().unwrap() as u32
}

fn own_sid() -> String {
    let (mut token, mut buffer, mut len) = (ptr::null_mut(), [0u64; 32], 0);
    let mut text = ptr::null_mut();
    // SAFETY: all pointers are to live variables, and the buffer has the size given;
    // the texts are the system's, end with a zero, and are freed once.
    unsafe {
        assert_ne!(
            OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &mut token),
            0
        );
        let token = owned(token).unwrap();
        let (into, size) = (buffer.as_mut_ptr().cast(), size_of_val(&buffer) as u32);
        let found = GetTokenInformation(token.as_raw_handle(), TokenUser, into, size, &mut len);
        assert_ne!(found, 0);
        let user = buffer.as_ptr().cast::<TOKEN_USER>();
        assert_ne!(ConvertSidToStringSidW((*user).User.Sid, &mut text), 0);
        let len = (0..).take_while(|&index| *text.add(index) != 0).count();
        let sid = String::from_utf16(std::slice::from_raw_parts(text, len)).unwrap();
        LocalFree(text.cast());
        sid
    }
}

/// What the table of objects says that the user's processes may do.
const ALL: u32 = 0x001f_0003;
const READ: u32 = 0x0002_0005;
const WAIT: u32 = 0x0012_0000;
const SET: u32 = 0x0002_0002;

/// Creates with an owner and a list of one entry (J49); whether it is new.
fn create(
    access: u32,
    make: impl FnOnce(*const SECURITY_ATTRIBUTES) -> HANDLE,
) -> (OwnedHandle, bool) {
    let sid = own_sid();
    let text = wide(&format!("O:{sid}D:P(A;;{access:#x};;;{sid})"));
    let mut descriptor = ptr::null_mut();
    // SAFETY: the text ends with a zero, the pointer is to a live variable.
    let made = unsafe {
        ConvertStringSecurityDescriptorToSecurityDescriptorW(
            text.as_ptr(),
            SDDL_REVISION_1,
            &mut descriptor,
            ptr::null_mut(),
        )
    };
    assert_ne!(made, 0);
    let attributes = SECURITY_ATTRIBUTES {
        nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
        lpSecurityDescriptor: descriptor,
        bInheritHandle: 0,
    };
    let handle = make(&attributes);
    let error = io::Error::last_os_error();
    // SAFETY: allocated by the call above, and freed once.
    unsafe { LocalFree(descriptor) };
    assert!(!handle.is_null(), "{error}");
    (owned(handle).unwrap(), code(&error) != ERROR_ALREADY_EXISTS)
}

fn create_semaphore(name: &str) -> (OwnedHandle, bool) {
    let name = wide(name);
    // SAFETY: both pointers are to live objects, the name ends with a zero.
    create(ALL, |security| unsafe {
        CreateSemaphoreW(security, 0, 1, name.as_ptr())
    })
}

fn open_semaphore(name: &str) -> io::Result<OwnedHandle> {
    let access = SEMAPHORE_MODIFY_STATE | SYNCHRONIZATION_SYNCHRONIZE;
    // SAFETY: the name ends with a zero.
    owned(unsafe { OpenSemaphoreW(access, 0, wide(name).as_ptr()) })
}

/// Whether there was no ring, or count, already.
fn release(semaphore: &OwnedHandle) -> bool {
    // SAFETY: the handle is open.
    unsafe { ReleaseSemaphore(semaphore.as_raw_handle(), 1, ptr::null_mut()) != 0 }
}

/// Takes the count, or finds it set.
fn wait(object: &OwnedHandle, limit: Duration) -> bool {
    let limit_ms = limit.as_millis() as u32;
    // SAFETY: the handle is open.
    unsafe { WaitForSingleObject(object.as_raw_handle(), limit_ms) == WAIT_OBJECT_0 }
}

fn create_event(name: &str, access: u32) -> OwnedHandle {
    let name = wide(name);
    // SAFETY: both pointers are to live objects, the name ends with a zero.
    let event = create(access, |security| unsafe {
        CreateEventW(security, 1, 0, name.as_ptr())
    });
    event.0
}

fn open_event(name: &str, access: u32) -> io::Result<OwnedHandle> {
    // SAFETY: the name ends with a zero.
    owned(unsafe { OpenEventW(access, 0, wide(name).as_ptr()) })
}

fn set(event: &OwnedHandle) {
    // SAFETY: the handle is open.
    assert_ne!(unsafe { SetEvent(event.as_raw_handle()) }, 0);
}

/// How all names of this user's objects begin.
fn prefix() -> String {
    let hash = blake3::hash(own_sid().as_bytes()).to_hex();
    format!(r"Local\brigade-{}", &hash[..16])
}

/// The name of a process's numbered object.
fn numbered(process_id: u32, number: u64, what: &str) -> String {
    format!("{}-{process_id}-{number}.{what}", prefix())
}

/// Numbers that the library, which is in the same process, does not come to.
fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1 << 40);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn own_start() -> u64 {
    let [mut created, mut exited, mut kernel, mut user] = [FILETIME::default(); 4];
    // SAFETY: the pointers are to live variables.
    let found = unsafe {
        GetProcessTimes(
            GetCurrentProcess(),
            &mut created,
            &mut exited,
            &mut kernel,
            &mut user,
        )
    };
    assert_ne!(found, 0);
    u64::from(created.dwHighDateTime) << 32 | u64::from(created.dwLowDateTime)
}

// ---- memory and doorbell --------------------------------------------------------------

/// A mapped section.
pub(super) struct Region {
    pub(super) start: *mut u8,
    pub(super) len: usize,
    number: u64,
    section: OwnedHandle,
}

impl Region {
    fn map(section: OwnedHandle, access: u32, number: u64) -> Region {
        // SAFETY: a new mapping at an address of the system's choice.
        let view = unsafe { MapViewOfFile(section.as_raw_handle(), access, 0, 0, 0) };
        assert!(!view.Value.is_null(), "{}", io::Error::last_os_error());
        let mut found = MEMORY_BASIC_INFORMATION::default();
        let size = size_of::<MEMORY_BASIC_INFORMATION>();
        // SAFETY: `found` has the size given.
        assert_ne!(unsafe { VirtualQuery(view.Value, &mut found, size) }, 0);
        Region {
            start: view.Value.cast(),
            len: found.RegionSize,
            number,
            section,
        }
    }

    fn create(name: &str, len: usize, number: u64, extra: u32) -> Region {
        let name = wide(name);
        // SAFETY: both pointers are to live objects, the name ends with a zero.
        let (section, is_new) = create(READ, |security| unsafe {
            CreateFileMappingW(
                INVALID_HANDLE_VALUE,
                security,
                PAGE_READWRITE | extra,
                0,
                len as u32,
                name.as_ptr(),
            )
        });
        assert!(is_new, "the name is taken");
        Region::map(section, FILE_MAP_READ | FILE_MAP_WRITE, number)
    }

    pub(super) fn new(len: usize) -> Region {
        let number = next_number();
        let name = numbered(std::process::id(), number, "region");
        Region::create(&name, len, number, 0)
    }

    fn open(name: &str) -> io::Result<Region> {
        // SAFETY: the name ends with a zero.
        let section = owned(unsafe { OpenFileMappingW(FILE_MAP_READ, 0, wide(name).as_ptr()) })?;
        Ok(Region::map(section, FILE_MAP_READ, 0))
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let view = MEMORY_MAPPED_VIEW_ADDRESS {
            Value: self.start.cast(),
        };
        // SAFETY: what `map` mapped.
        assert_ne!(unsafe { UnmapViewOfFile(view) }, 0);
    }
}

/// A doorbell, and the event by which this peer hangs up.
pub(super) struct Bell {
    number: u64,
    ring: OwnedHandle,
    gone: Arc<OwnedHandle>,
}

impl Bell {
    pub(super) fn new() -> Bell {
        let number = next_number();
        let name = |what| numbered(std::process::id(), number, what);
        Bell {
            number,
            ring: create_event(&name("ring"), SET),
            gone: Arc::new(create_event(&name("gone"), WAIT)),
        }
    }
}

pub(super) struct PeerBell {
    ring: OwnedHandle,
    gone: OwnedHandle,
}

impl PeerBell {
    pub(super) fn ring(&self) {
        set(&self.ring);
    }
}

// ---- cards and letters ----------------------------------------------------------------

const CARD_SIZE: usize = 4096;
const AT_PROCESS: usize = 12;
const AT_STARTED: usize = 16;
const AT_TURN: usize = 24;
const AT_LEFT: usize = 32;
const AT_LETTERS: usize = 40;
const AT_OPEN: usize = 2176;
const LETTER_SIZE: usize = 1048;
const LETTERS: usize = 2;

/// This process's, as J54 wants it, but that it says that the process was created
/// `late` after it was.
fn create_card(name: &str, late: u64) -> Region {
    let card = Region::create(name, CARD_SIZE, 0, 0);
    card.put32(AT_VERSION, VERSION);
    card.put32(AT_PROCESS, std::process::id());
    card.put(AT_STARTED, own_start() + late);
    card.put(0, u64::from_le_bytes(MAGIC));
    card
}

/// What the other process wrote, once it is complete.
fn open_card(name: &str) -> Option<Region> {
    let card = Region::open(name).ok()?;
    (card.get(0) == u64::from_le_bytes(MAGIC)).then_some(card)
}

/// Longer than any letter takes.
const LETTER_LIMIT: Duration = Duration::from_secs(20);

/// The letters of two processes that found each other.
pub(super) struct Channel {
    own: Region,
    /// In a host, the one of its name.
    bell: OwnedHandle,
    written: Cell<usize>,
    theirs: Region,
    their_bell: OwnedHandle,
    read: Cell<usize>,
    /// What was offered, until the other has opened it; and how to hang up.
    offered: RefCell<Vec<OwnedHandle>>,
    hang_up: RefCell<Option<Arc<OwnedHandle>>>,
}

impl Channel {
    pub(super) fn be_of_version_1(&self) {
        self.own.put32(AT_VERSION, 1);
    }

    fn send(&self, kind: u32, objects: [u64; 2], text: &[u8]) {
        let index = self.written.get();
        if index == LETTERS {
            return;
        }
        self.written.set(index + 1);
        let letter = AT_LETTERS + index * LETTER_SIZE;
        for (word, object) in objects.into_iter().enumerate() {
            self.own.put(letter + 8 + word * 8, object);
        }
        for (word, bytes) in text.chunks(8).enumerate() {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            let at = letter + 24 + word * 8;
            self.own.put(at, u64::from_ne_bytes(padded));
        }
        self.own.put32(letter + 4, text.len() as u32);
        self.own.put32(letter, kind);
        release(&self.their_bell);
    }

    /// Where the next letter is, and its kind; `None` at the end.
    fn receive(&self) -> Option<(usize, u32)> {
        loop {
            let left = self.theirs.get(AT_LEFT) != 0;
            let index = self.read.get();
            let letter = AT_LETTERS + index * LETTER_SIZE;
            if index < LETTERS
                && let kind @ 1.. = self.theirs.get32(letter)
            {
                self.read.set(index + 1);
                return Some((letter, kind));
            }
            if left {
                return None;
            }
            assert!(wait(&self.bell, LETTER_LIMIT), "no letter comes");
        }
    }

    fn keep(&self, object: &OwnedHandle) {
        let object = object.try_clone().unwrap();
        self.offered.borrow_mut().push(object);
    }

    pub(super) fn offer(&self, region: &Region, bell: &Bell) {
        self.keep(&region.section);
        self.keep(&bell.ring);
        *self.hang_up.borrow_mut() = Some(Arc::clone(&bell.gone));
        self.send(OFFER, [region.number, bell.number], b"");
    }

    pub(super) fn refuse(&self, number: u16, text: &[u8]) {
        self.send(REFUSED, [number.into(), 0], text);
    }

    pub(super) fn admit(&self) {
        self.send_kind(ADMITTED);
    }

    pub(super) fn send_kind(&self, kind: u32) {
        self.send(kind, [0; 2], b"");
    }

    /// The kind of the next message; `None` at the end.
    pub(super) fn receive_kind(&self) -> Option<u32> {
        self.receive().map(|(_, kind)| kind)
    }

    /// The offer that comes next: the real end's region, read-only, and its doorbell.
    pub(super) fn receive_offer(&self) -> (Region, PeerBell) {
        let (letter, kind) = self.receive().unwrap();
        assert_eq!(kind, OFFER);
        let process_id = self.theirs.get32(AT_PROCESS);
        let name = |at, what| numbered(process_id, self.theirs.get(letter + at), what);
        let mut region = Region::open(&name(8, "region")).unwrap();
        region.number = self.theirs.get(letter + 8);
        (
            region,
            PeerBell {
                ring: open_event(&name(16, "ring"), EVENT_MODIFY_STATE).unwrap(),
                gone: open_event(&name(16, "gone"), SYNCHRONIZATION_SYNCHRONIZE).unwrap(),
            },
        )
    }

    /// The refusal that comes next: its reason's number, and its text; `None` at the end.
    pub(super) fn next_refusal(&self) -> Option<(u16, String)> {
        let (letter, kind) = self.receive()?;
        assert_eq!(kind, REFUSED);
        let len = self.theirs.get32(letter + 4) as usize;
        let text = String::from_utf8(self.theirs.bytes(letter + 24, len)).unwrap();
        Some((self.theirs.get(letter + 8) as u16, text))
    }

    pub(super) fn into_link(self, bell: Bell) -> Link {
        // That is the link's from now on.
        *self.hang_up.borrow_mut() = None;
        Link(bell)
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        if let Some(gone) = self.hang_up.take() {
            set(&gone);
        }
        self.own.put(AT_LEFT, 1);
        release(&self.their_bell);
    }
}

pub(super) struct Link(Bell);

impl Link {
    /// Rings that nobody asked for are all that there is: the event is not the real
    /// end's to be set by others.
    #[allow(clippy::unused_self, reason = "other systems have more")]
    pub(super) fn disturb(&self, bell: &PeerBell) {
        bell.ring();
        bell.ring();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        set(&self.0.gone);
    }
}

// ---- name and host --------------------------------------------------------------------

pub(super) struct Place {
    pub(super) name: String,
}

/// How the names of all objects of the name begin (J47).
fn base_of(name: &str) -> String {
    let hash = blake3::hash(name.as_bytes()).to_hex();
    format!("{}-{}", prefix(), &hash[..32])
}

/// What a guest has when it has taken the count (J54).
struct Taken {
    base: String,
    turn: u64,
}

impl Taken {
    fn letters(&self, of: &str) -> String {
        format!("{}.{}.{of}", self.base, self.turn)
    }

    /// `None` if there is no host, or it does not release the count.
    fn take(base: &str) -> Option<Taken> {
        let card = open_card(&format!("{base}.host"))?;
        release(&open_semaphore(&format!("{base}.bell")).ok()?);
        let seat = open_semaphore(base).ok()?;
        if !wait(&seat, Duration::from_millis(500)) {
            return None;
        }
        if card.get(AT_LEFT) != 0 {
            release(&seat);
            return None;
        }
        Some(Taken {
            base: base.to_owned(),
            turn: card.get(AT_TURN),
        })
    }

    fn write(&self, late: u64) -> Option<Channel> {
        let theirs = open_card(&self.letters("first"))?;
        let their_bell = open_semaphore(&format!("{}.bell", self.base)).ok()?;
        let (bell, true) = create_semaphore(&self.letters("second.bell")) else {
            return None;
        };
        let own = create_card(&self.letters("second"), late);
        release(&their_bell);
        Some(Channel {
            own,
            bell,
            written: Cell::new(0),
            theirs,
            their_bell,
            read: Cell::new(0),
            offered: RefCell::default(),
            hang_up: RefCell::default(),
        })
    }
}

impl Place {
    /// Without a separator, so that it means itself.
    pub(super) fn new() -> Place {
        let (process_id, number) = (std::process::id(), next_number());
        Place {
            name: format!("raw {process_id} {number}"),
        }
    }

    fn base(&self) -> String {
        base_of(&self.name)
    }

    fn connect_late(&self, late: u64) -> Channel {
        let limit = soon();
        loop {
            let taken = Taken::take(&self.base());
            if let Some(channel) = taken.and_then(|taken| taken.write(late)) {
                return channel;
            }
            assert!(Instant::now() < limit, "there is no host");
            thread::sleep(Duration::from_millis(2));
        }
    }

    pub(super) fn is_there(&self) -> bool {
        open_semaphore(&self.base()).is_ok()
    }

    pub(super) fn connect(&self) -> Channel {
        self.connect_late(0)
    }

    fn raw_host_late(&self, late: u64) -> RawHost {
        let base = self.base();
        let (seat, is_new) = create_semaphore(&base);
        assert!(is_new, "there is a host");
        RawHost {
            card: create_card(&format!("{base}.host"), late),
            _bell: create_semaphore(&format!("{base}.bell")).0,
            open_turn: RefCell::new(None),
            base,
            seat,
        }
    }

    pub(super) fn raw_host(&self) -> RawHost {
        self.raw_host_late(0)
    }
}

pub(super) struct RawHost {
    // The seat is closed last.
    card: Region,
    _bell: OwnedHandle,
    /// Letters that nobody has answered.
    open_turn: RefCell<Option<Region>>,
    base: String,
    seat: OwnedHandle,
}

impl RawHost {
    pub(super) fn accept(&self) -> Channel {
        self.accept_within(LETTER_LIMIT).unwrap()
    }

    pub(super) fn accept_within(&self, limit: Duration) -> Option<Channel> {
        let mut open_turn = self.open_turn.borrow_mut();
        let turn = self.card.get(AT_TURN) + u64::from(open_turn.is_none());
        let letters = |of: &str| format!("{}.{turn}.{of}", self.base);
        let own = open_turn.take().unwrap_or_else(|| {
            let own = create_card(&letters("first"), 0);
            self.card.put(AT_TURN, turn);
            release(&self.seat);
            own
        });
        let bell = open_semaphore(&format!("{}.bell", self.base)).unwrap();
        let deadline = Instant::now() + limit;
        loop {
            if let Some(theirs) = open_card(&letters("second")) {
                return Some(Channel {
                    own,
                    bell,
                    written: Cell::new(0),
                    theirs,
                    their_bell: open_semaphore(&letters("second.bell")).unwrap(),
                    read: Cell::new(0),
                    offered: RefCell::default(),
                    hang_up: RefCell::default(),
                });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if !wait(&bell, left) && left.is_zero() {
                *open_turn = Some(own);
                return None;
            }
        }
    }
}

impl Drop for RawHost {
    fn drop(&mut self) {
        self.card.put(AT_LEFT, 1);
        release(&self.seat);
    }
}

const TAKES_THE_COUNT: &str = "take the count";

/// What another process does for the tests below.
pub(super) fn child(task: &str, name: &str) {
    assert_eq!(task, TAKES_THE_COUNT);
    let taken = Taken::take(&base_of(name)).unwrap();
    at("taken");
    drop(taken);
}

// ---- vectors --------------------------------------------------------------------------

pub(super) const VECTORS: &[Vector] = &[];

/// Those that are about messages of another kind, and about doorbells that count or block.
pub(super) const NO_VECTORS: &[&str] = &[
    "V1", "V2", "V3", "V4", "V5", "V6", "V7", "V8", "V9", "V10", "V11", "V33", "V46", "V48",
];

// ---- tests ----------------------------------------------------------------------------

/// Made as a Writer's, beside a real Reader.
pub(super) const BAD_OFFERS: &[Offer] = &[
    ("region cannot be opened", |c| {
        c.send(OFFER, [next_number(), Bell::new().number], b"")
    }),
    ("region cannot be opened", |c| c.send_kind(OFFER)),
    ("region cannot be opened", |c| {
        // Without memory behind it.
        let number = next_number();
        let name = numbered(std::process::id(), number, "region");
        let region = Region::create(&name, WRITER_REGION, number, SEC_RESERVE);
        offer(c, &region);
    }),
    ("doorbell cannot be opened", |c| {
        let region = Region::of(WRITER);
        c.keep(&region.section);
        c.send(OFFER, [region.number, next_number()], b"");
    }),
];

/// Whether there is a semaphore of that name.
fn is_there(name: &str) -> bool {
    match open_semaphore(name) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(code(&error), ERROR_FILE_NOT_FOUND, "{error}");
            false
        }
    }
}

#[test]
fn the_seat_is_absent_then_free_once_then_taken_then_absent_again() {
    bounded(|| {
        let place = Place::new();
        let base = place.base();
        assert!(!is_there(&base));
        let first = Seat::take(&place.name, &options().side(Side::Reader)).unwrap();
        // To be waited for, but not to be had before the memory is there.
        let seat = open_semaphore(&base).unwrap();
        let host = thread::spawn(move || first.wait());
        assert!(wait(&seat, LETTER_LIMIT), "never 1");
        assert!(!wait(&seat, Duration::ZERO), "more than 1");
        assert!(release(&seat));
        let second = join(&place.name, &options()).unwrap();
        let first = host.join().unwrap().unwrap();
        assert!(!wait(&seat, Duration::ZERO), "a third gets in");
        drop(seat);
        assert!(is_there(&base));
        assert_pair_works(first, second);
        assert!(!is_there(&base));
    });
}

/// Names of all objects that a name alone leads to.
fn objects_of(base: &str) -> Vec<String> {
    let mut found = Vec::new();
    for suffix in ["", ".bell", ".1.second.bell", ".2.second.bell"] {
        let name = format!("{base}{suffix}");
        if is_there(&name) {
            found.push(name);
        }
    }
    for suffix in [".host", ".1.first", ".1.second", ".2.first", ".2.second"] {
        let name = format!("{base}{suffix}");
        match Region::open(&name) {
            Ok(_) => found.push(name),
            Err(error) => assert_eq!(code(&error), ERROR_FILE_NOT_FOUND, "{error}"),
        }
    }
    let suffixes = found.into_iter().map(|name| name[base.len()..].to_owned());
    suffixes.collect()
}

#[test]
fn a_name_leads_to_the_objects_of_the_protocol_and_to_nothing_at_the_end() {
    bounded(|| {
        let place = Place::new();
        let base = place.base();
        let host = place.real_host(Side::Reader);
        // Ready once the count is there.
        let seat = open_semaphore(&base).unwrap();
        assert!(wait(&seat, LETTER_LIMIT) && release(&seat));
        drop(seat);
        assert_eq!(objects_of(&base), ["", ".bell", ".host", ".1.first"]);
        let raw = place.join_raw(Region::of(WRITER));
        let role = host.join().unwrap().unwrap();
        assert_eq!(objects_of(&base), ["", ".bell", ".host"]);
        let region = numbered(std::process::id(), raw.peer.number, "region");
        assert!(Region::open(&region).is_ok());
        drop(raw);
        drop(role);
        assert_eq!(objects_of(&base), [""; 0]);
        assert_eq!(
            code(&Region::open(&region).err().unwrap()),
            ERROR_FILE_NOT_FOUND
        );
    });
}

#[test]
fn a_guest_that_is_killed_with_the_count_keeps_nobody_out_for_long() {
    bounded(|| {
        let place = Place::new();
        let host = place.real_host(Side::Reader);
        // It looks whether the count is lost a second after it has come, and then after a knock.
        thread::sleep(Duration::from_millis(1100));
        let mut guest = Other::start(TAKES_THE_COUNT, &place.name);
        guest.reaches("taken");
        guest.kill();
        // By then it has found out: longer than who meets two would try.
        let second = join(&place.name, &options()).unwrap();
        assert_pair_works(host.join().unwrap().unwrap(), second);
    });
}

#[test]
fn a_host_shows_that_it_is_open_until_it_has_a_second() {
    bounded(|| {
        let place = Place::new();
        let host = place.real_host(Side::Reader);
        let card = open_card(&format!("{}.host", place.base())).unwrap();
        assert_eq!(card.get(AT_OPEN), 1);
        let second = place.real_guest().join().unwrap().unwrap();
        let host = host.join().unwrap().unwrap();
        assert_eq!(card.get(AT_OPEN), 0);
        assert_pair_works(host, second);
    });
}

#[test]
fn a_host_that_is_open_and_lets_nobody_in_does_not_answer_and_another_one_is_full() {
    bounded(|| {
        for open in [0, 1] {
            let place = Place::new();
            let host = place.raw_host();
            host.card.put(AT_OPEN, open);
            let error = place.real_guest().join().unwrap().unwrap_err();
            match open {
                0 => assert!(matches!(error, Error::TooManyInstances { .. }), "{error:?}"),
                _ => assert!(matches!(error, Error::NotAnswering { .. }), "{error:?}"),
            }
        }
    });
}

#[test]
fn a_process_that_was_created_at_another_time_is_another_process() {
    bounded(|| {
        let place = Place::new();
        let host = place.raw_host_late(1);
        let error = place.real_guest().join().unwrap().unwrap_err();
        assert!(matches!(error, Error::TooManyInstances { .. }), "{error:?}");
        drop(host);

        let host = place.real_host(Side::Reader);
        let channel = place.connect_late(1);
        // Nobody is there to be rung for.
        while channel.theirs.get(AT_LEFT) == 0 {
            thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(channel.receive_kind(), None, "shown something");
        drop(channel);
        place.assert_real_pair_works(host);
    });
}

#[test]
fn an_object_of_another_kind_under_the_name_is_an_error_that_says_so() {
    bounded(|| {
        let place = Place::new();
        let _event = create_event(&place.base(), WAIT);
        let error = join(&place.name, &options()).unwrap_err();
        let Error::Os { .. } = error else {
            panic!("{error:?}");
        };
        let text = error.to_string();
        assert!(text.contains("something else"), "{text}");
        assert!(text.contains(&place.base()), "{text}");
    });
}

#[test]
fn a_partners_objects_can_be_looked_at_but_not_changed() {
    bounded(|| {
        let (reader, raw) = real_reader(true);
        let name = wide(&numbered(std::process::id(), raw.peer.number, "region"));
        // SAFETY: the name ends with a zero.
        let section = owned(unsafe { OpenFileMappingW(FILE_MAP_WRITE, 0, name.as_ptr()) });
        assert_eq!(code(&section.unwrap_err()), ERROR_ACCESS_DENIED);
        // SAFETY: a new mapping, which nothing refers to, if it succeeds at all.
        let view =
            unsafe { MapViewOfFile(raw.peer.section.as_raw_handle(), FILE_MAP_WRITE, 0, 0, 0) };
        assert!(view.Value.is_null(), "mapped writable");
        let mut before = 0;
        // SAFETY: the mapping is this test's own, `before` a live variable.
        let changed =
            unsafe { VirtualProtect(raw.peer.start.cast(), 4096, PAGE_READWRITE, &mut before) };
        assert_eq!(changed, 0, "made writable");
        reader.check().unwrap();
    });
}

#[test]
fn a_guest_that_gives_up_after_its_offer_has_hung_up() {
    bounded(|| {
        let place = Place::new();
        let (host, guest) = (place.raw_host(), place.real_guest());
        let channel = host.accept();
        channel.offer(&Region::of(READER), &Bell::new());
        let (_shown, bell) = channel.receive_offer();
        assert!(!wait(&bell.gone, Duration::ZERO));
        let error = guest.join().unwrap().unwrap_err();
        assert!(matches!(error, Error::NotAnswering { .. }), "{error:?}");
        assert!(wait(&bell.gone, Duration::ZERO), "it is still there");
    });
}
