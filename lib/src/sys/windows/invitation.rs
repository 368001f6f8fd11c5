//! A name for two processes alone: the one that starts the other, and that one.
#![expect(unsafe_code, reason = "the system's interface is all unsafe functions")]

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::process::{Child, Command};
use std::ptr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use windows_sys::Win32::Foundation::DuplicateHandle;
use windows_sys::Win32::Security::Cryptography::{
    BCRYPT_USE_SYSTEM_PREFERRED_RNG, BCryptGenRandom,
};

use super::card::Card;
use super::channel::{Channel, Invited, Letters};
use super::memory::Memory;
use super::names::{FIRST, Name, prefix};
use super::objects::{Created, SECTION_ACCESS, create_semaphore};
use super::process::{Process, current_process, own_id, started};
use super::rendezvous::Turn;
use super::users::User;
use crate::error::Error;
use crate::region::access::{Access, Own, Theirs};
use crate::region::layout::VERSION;
use crate::sys::{INVITATION, Peer};

/// What an invitation says, in a section of its own. Alike in every version.
#[repr(C)]
struct Page<A: Access> {
    /// [`MAGIC`]
    magic: A::U64,
    /// [`VERSION`]; nobody looks at it.
    version: A::U32,
    /// Of the host, with the next.
    process_id: A::U32,
    started: A::U64,
    /// The number in the name.
    number: [A::U64; 2],
}

const _: () = {
    assert!(std::mem::offset_of!(Page<Own>, started) == 16);
    assert!(std::mem::offset_of!(Page<Own>, number) == 24);
};

/// "invited" and a zero, in memory; not what a region or a card begins with.
const MAGIC: u64 = u64::from_le_bytes(*b"invited\0");

/// Size of an invitation's section: a page.
const PAGE_SIZE: usize = 4096;

/// The one turn of a host that awaits one process.
const ONLY_TURN: u64 = 1;

/// The host's half of a channel, and what the other half needs.
pub(crate) struct Invitation {
    name: Name,
    letters: Turn,
    bell: OwnedHandle,
    page: Memory,
}

impl Invitation {
    pub(crate) fn new() -> Result<Invitation, Error> {
        let number = random_number()?;
        let name = name(number);
        let taken = || Error::os("invite a process", io::ErrorKind::AlreadyExists);
        let letters = Card::create(&name.letters(ONLY_TURN, FIRST))?.ok_or_else(taken)?;
        let Created::New(bell) = create_semaphore(&name.bell())? else {
            return Err(taken());
        };
        let page = Memory::create_named(&format!("{}.invitation", name.base), PAGE_SIZE as u64)?;
        let page = page.ok_or_else(taken)?;
        write(&page, number)?;
        Ok(Invitation {
            name,
            letters: Turn {
                number: ONLY_TURN,
                letters,
            },
            bell,
            page,
        })
    }

    /// Another child that this process starts in the same moment inherits the handle,
    /// too, and does not know of it: the standard library has no way to choose.
    pub(crate) fn spawn(self, command: &mut Command) -> Result<(Child, Channel), Error> {
        let failed = |error| Error::os("invite a process", error);
        let inherited = inheritable(self.page.section.as_handle()).map_err(failed)?;
        command.env(INVITATION, inherited.as_raw_handle().addr().to_string());
        let child = command.spawn();
        command.env_remove(INVITATION);
        let child = child.map_err(|error| {
            let program = command.get_program().display();
            Error::os(format!("start {program}"), error)
        })?;
        let process = child.as_handle().try_clone_to_owned().map_err(failed)?;
        let invited = Box::new(Invited {
            name: self.name,
            process,
            peer: Peer {
                user: User::own(),
                process_id: child.id(),
            },
        });
        let own = Letters::Inviter(self.letters, invited);
        Ok((child, Channel::new(own, Arc::new(self.bell), None)))
    }
}

/// The channel to the process that invited this one, unless that is gone.
pub(crate) fn accept() -> Result<Option<Channel>, Error> {
    static TAKEN: Mutex<bool> = Mutex::new(false);
    let none = Error::InvalidUse("this process was not started by an invitation");
    let handle = std::env::var(INVITATION).ok();
    let Some(handle) = handle.and_then(|handle| handle.parse::<u32>().ok()) else {
        return Err(none);
    };
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    if *taken {
        return Err(Error::InvalidUse("the invitation was accepted already"));
    }
    let handle = ptr::without_provenance_mut(handle as usize);
    // SAFETY: lives until the next line, where the system refuses what is no handle.
    let borrowed = unsafe { BorrowedHandle::borrow_raw(handle) };
    let Some((number, host)) = borrowed.try_clone_to_owned().ok().and_then(read) else {
        return Err(none);
    };
    *taken = true;
    // SAFETY: it is an invitation's, so it was inherited for this function, which takes
    // it once.
    drop(unsafe { OwnedHandle::from_raw_handle(handle) });
    match Process::open(host.0, host.1) {
        Some(host) => Channel::to_host(&name(number), ONLY_TURN, host),
        None => Ok(None),
    }
}

fn name(number: [u64; 2]) -> Name {
    let [first, second] = number;
    Name {
        base: format!("{}-{first:016x}{second:016x}", prefix()),
    }
}

fn random_number() -> Result<[u64; 2], Error> {
    let mut bytes = [0; 16];
    // SAFETY: no algorithm is named, as the flag allows; the buffer is of that length.
    let status = unsafe {
        BCryptGenRandom(
            ptr::null_mut(),
            bytes.as_mut_ptr(),
            bytes.len() as u32,
            BCRYPT_USE_SYSTEM_PREFERRED_RNG,
        )
    };
    if status != 0 {
        let error = io::Error::other(format!("status {status:#x}"));
        return Err(Error::os("get random bytes", error));
    }
    let number = u128::from_ne_bytes(bytes);
    Ok([(number >> 64) as u64, number as u64])
}

/// A second handle, for a child to inherit: it can read, and not write.
fn inheritable(section: BorrowedHandle<'_>) -> io::Result<OwnedHandle> {
    let process = current_process().as_raw_handle();
    let mut handle = ptr::null_mut();
    // SAFETY: the handles are open, `handle` is a live variable.
    let made = unsafe {
        DuplicateHandle(
            process,
            section.as_raw_handle(),
            process,
            &mut handle,
            SECTION_ACCESS,
            1,
            0,
        )
    };
    if made == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system just made it, for this call alone.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

fn write(memory: &Memory, number: [u64; 2]) -> Result<(), Error> {
    let started = started(current_process())
        .map_err(|error| Error::os("ask when this process was created", error))?;
    // SAFETY: a writable mapping of PAGE_SIZE bytes, which begins on a page and lives on;
    // all fields are atomics, valid for any bytes.
    let page = unsafe { memory.start().cast::<Page<Own>>().as_ref() };
    page.version.store(VERSION, Ordering::Relaxed);
    page.process_id.store(own_id(), Ordering::Relaxed);
    page.started.store(started, Ordering::Relaxed);
    for (word, part) in page.number.iter().zip(number) {
        word.store(part, Ordering::Relaxed);
    }
    page.magic.store(MAGIC, Ordering::Release);
    Ok(())
}

/// The number in the name, and the host by number and creation; `None` if it is no
/// invitation.
fn read(section: OwnedHandle) -> Option<([u64; 2], (u32, u64))> {
    let memory = Memory::map_for_reading(section).ok()?;
    if memory.len() < PAGE_SIZE {
        return None;
    }
    // SAFETY: a mapping of PAGE_SIZE bytes, which begins on a page and lives until the
    // end; all fields are atomics, valid for any bytes, and none is stored to.
    let page = unsafe { memory.start().cast::<Page<Theirs>>().as_ref() };
    if page.magic.load_acquire() != MAGIC {
        return None;
    }
    let number = [0, 1].map(|word| page.number[word].load());
    Some((number, (page.process_id.load(), page.started.load())))
}
