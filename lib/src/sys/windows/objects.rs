//! Named objects of the system: made, opened, protected, released.
#![expect(unsafe_code, reason = "the system's interface is all unsafe functions")]

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use windows_sys::Win32::Foundation::{
    ERROR_ALREADY_EXISTS, ERROR_FILE_NOT_FOUND, ERROR_INVALID_HANDLE, ERROR_INVALID_PARAMETER,
    HANDLE, LocalFree,
};
use windows_sys::Win32::Security::Authorization::{
    ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::{PSECURITY_DESCRIPTOR, SECURITY_ATTRIBUTES};
use windows_sys::Win32::System::Threading::{
    CreateEventW, CreateSemaphoreW, EVENT_MODIFY_STATE, OpenEventW, OpenSemaphoreW,
    ReleaseSemaphore, ResetEvent, SEMAPHORE_MODIFY_STATE, SYNCHRONIZATION_SYNCHRONIZE, SetEvent,
};

use super::names::prefix;
use super::users::User;
use crate::error::Error;

/// Standard access rights (winnt.h).
pub(super) const READ_CONTROL: u32 = 0x0002_0000;

/// What an object's creator lets others of its user do with it. `CreateSemaphoreW`
/// asks for all there is when it finds that the semaphore exists.
const SEMAPHORE_ACCESS: u32 = 0x001f_0003;
/// To map for reading, to look at; not to write.
pub(super) const SECTION_ACCESS: u32 = READ_CONTROL | 0x0005;
/// Of an event: to wait for, to look at; not to set or reset.
pub(super) const WAIT_ACCESS: u32 = READ_CONTROL | SYNCHRONIZATION_SYNCHRONIZE;
/// Of an event: to set, to look at; not to wait for.
pub(super) const SET_ACCESS: u32 = READ_CONTROL | EVENT_MODIFY_STATE;

/// What an object is, at the end of its name.
pub(super) const REGION: &str = "region";
pub(super) const RING: &str = "ring";
pub(super) const GONE: &str = "gone";
/// What a doorbell was in version 1 of the protocol, whose processes look for it before
/// they look at the version.
pub(super) const OLD_BELL: &str = "bell";

/// The name of an object that a process made, and tells its peer the number of.
pub(super) fn unique(process_id: u32, number: u64, what: &str) -> String {
    format!("{}-{process_id}-{number}.{what}", prefix())
}

/// Calls `create` with numbers that this process has not used, until it makes
/// something: what a dead process of the same number made may still be in use.
pub(super) fn create_unique<T>(
    create: impl Fn(u64) -> Result<Option<T>, Error>,
) -> Result<(u64, T), Error> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        if let Some(made) = create(number)? {
            return Ok((number, made));
        }
    }
}

/// What the system made of a wish to create something.
pub(super) enum Created {
    New(OwnedHandle),
    /// Something of that name and kind was there.
    Existing(OwnedHandle),
}

pub(super) fn created(create: impl FnOnce() -> HANDLE) -> io::Result<Created> {
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
pub(super) fn opened(open: impl FnOnce() -> HANDLE) -> io::Result<Option<OwnedHandle>> {
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
pub(super) fn is_own(object: &OwnedHandle) -> bool {
    User::owner_of(object.as_handle()).is_ok_and(|owner| owner == User::own())
}

/// A semaphore that counts to 1, and begins with 0.
pub(super) fn create_semaphore(name: &str) -> Result<Created, Error> {
    let failed = |error| Error::os(format!("create the semaphore {name}"), error);
    let security = Security::new(SEMAPHORE_ACCESS).map_err(failed)?;
    let (attributes, wide) = (security.attributes(), wide(name));
    // SAFETY: both pointers are to live objects; the name ends with a zero.
    created(|| unsafe { CreateSemaphoreW(&attributes, 0, 1, wide.as_ptr()) }).map_err(failed)
}

/// Another process's of this user, if it is there.
pub(super) fn open_semaphore(name: &str) -> Option<OwnedHandle> {
    let access = SEMAPHORE_MODIFY_STATE | SYNCHRONIZATION_SYNCHRONIZE | READ_CONTROL;
    let wide = wide(name);
    // SAFETY: the name ends with a zero.
    let handle = opened(|| unsafe { OpenSemaphoreW(access, 0, wide.as_ptr()) }).ok()??;
    is_own(&handle).then_some(handle)
}

/// As [`open_semaphore`], of whomever; and what cannot be looked at is an error.
pub(super) fn find_semaphore(name: &str) -> Result<Option<OwnedHandle>, Error> {
    let wide = wide(name);
    // SAFETY: the name ends with a zero.
    opened(|| unsafe { OpenSemaphoreW(READ_CONTROL, 0, wide.as_ptr()) })
        .map_err(|error| Error::os(format!("look at the semaphore {name}"), error))
}

/// It counts to 1: one that is there already is as good.
pub(super) fn release(semaphore: &OwnedHandle) {
    // SAFETY: the handle is open; a null pointer asks for no former count.
    let _ = unsafe { ReleaseSemaphore(semaphore.as_raw_handle(), 1, ptr::null_mut()) };
}

/// An event that stays set until it is reset, and of which others of this user may do
/// `access`; `None` if the name is taken.
pub(super) fn create_event(name: Option<&str>, access: u32) -> Result<Option<OwnedHandle>, Error> {
    let failed = |error| Error::os(format!("create the event {}", name.unwrap_or("")), error);
    let security = Security::new(access).map_err(failed)?;
    let (attributes, wide) = (security.attributes(), name.map(wide));
    let name = wide.as_ref().map_or(ptr::null(), |wide| wide.as_ptr());
    // SAFETY: both pointers are to live objects, or null; the name ends with a zero.
    match created(|| unsafe { CreateEventW(&attributes, 1, 0, name) }).map_err(failed)? {
        Created::New(event) => Ok(Some(event)),
        Created::Existing(_) => Ok(None),
    }
}

/// One that only this process knows.
pub(super) fn create_own_event() -> Result<OwnedHandle, Error> {
    // Without a name, it is always new.
    create_event(None, WAIT_ACCESS)?
        .ok_or_else(|| Error::os("create an event", io::ErrorKind::AlreadyExists))
}

/// Another process's of this user, if it is there.
pub(super) fn open_event(name: &str, access: u32) -> Option<OwnedHandle> {
    let wide = wide(name);
    // SAFETY: the name ends with a zero.
    let handle = opened(|| unsafe { OpenEventW(access, 0, wide.as_ptr()) }).ok()??;
    is_own(&handle).then_some(handle)
}

pub(super) fn set(event: &OwnedHandle) {
    // SAFETY: the handle is open.
    let _ = unsafe { SetEvent(event.as_raw_handle()) };
}

pub(super) fn reset(event: &OwnedHandle) {
    // SAFETY: the handle is open.
    let _ = unsafe { ResetEvent(event.as_raw_handle()) };
}

/// Who may do what with an object: this user what was given, nobody else anything.
pub(super) struct Security(LocalMemory);

impl Security {
    pub(super) fn new(access: u32) -> io::Result<Security> {
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
    pub(super) fn attributes(&self) -> SECURITY_ATTRIBUTES {
        SECURITY_ATTRIBUTES {
            nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
            lpSecurityDescriptor: self.0.0,
            bInheritHandle: 0,
        }
    }
}

/// What a call has allocated for its caller to free.
pub(super) struct LocalMemory(pub(super) *mut core::ffi::c_void);

impl Drop for LocalMemory {
    fn drop(&mut self) {
        // SAFETY: allocated by the system for this value alone, and freed once.
        let _ = unsafe { LocalFree(self.0) };
    }
}

/// As the system takes text: UTF-16, with a zero at its end.
pub(super) fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}
