//! Users, by their security identifier.
#![expect(unsafe_code, reason = "the system's interface is all unsafe functions")]

use std::fmt;
use std::io;
use std::os::windows::io::{AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSidToSidW, GetSecurityInfo, SE_KERNEL_OBJECT,
};
use windows_sys::Win32::Security::{
    GetTokenInformation, LookupAccountSidW, OWNER_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, PSID,
    TOKEN_QUERY, TOKEN_USER, TokenUser,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

use super::objects::{LocalMemory, wide};
use crate::error::Error;

/// A user, by security identifier (S-1-…); shown with the name, which is looked up
/// only then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User(pub(super) String);

/// The identifier of nobody: stands for a user that the system would not tell.
const NOBODY: &str = "S-1-0-0";

impl User {
    pub(crate) fn own() -> User {
        // Every process may look at its own token.
        own_sid().map_or_else(|_| User(NOBODY.into()), User)
    }

    pub(crate) fn as_number(&self) -> Option<u32> {
        None
    }

    /// Whether it is known who it is.
    pub(crate) fn is_certain(&self) -> bool {
        self.0 != NOBODY
    }

    /// Objects lie in the namespace of one user's login session.
    pub(crate) fn parse(_text: &str) -> Result<User, Error> {
        Err(Error::Unsupported {
            needed: "let another user be the partner",
            source: io::ErrorKind::Unsupported.into(),
        })
    }

    /// Who owns `object`: who created it, by the system's word.
    pub(super) fn owner_of(object: BorrowedHandle<'_>) -> io::Result<User> {
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
