//! Who may do what with a file, and what else it has beside its data.
#![expect(unsafe_code, reason = "the system's interface is all unsafe functions")]

use std::fs::File;
use std::io::{self};
use std::os::windows::io::AsRawHandle;
use std::ptr;

use windows_sys::Win32::Foundation::{ERROR_SUCCESS, LocalFree};
use windows_sys::Win32::Security::Authorization::{
    GetSecurityInfo, SE_FILE_OBJECT, SetSecurityInfo,
};
use windows_sys::Win32::Security::{
    ACL, DACL_SECURITY_INFORMATION, GetSecurityDescriptorControl,
    PROTECTED_DACL_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, SE_DACL_PROTECTED,
    UNPROTECTED_DACL_SECURITY_INFORMATION,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_ARCHIVE, FILE_ATTRIBUTE_ENCRYPTED, FILE_ATTRIBUTE_HIDDEN, FILE_ATTRIBUTE_NORMAL,
    FILE_ATTRIBUTE_NOT_CONTENT_INDEXED, FILE_ATTRIBUTE_OFFLINE, FILE_ATTRIBUTE_READONLY,
    FILE_ATTRIBUTE_SYSTEM, FILE_ATTRIBUTE_TEMPORARY, FILE_BASIC_INFO, FileBasicInfo,
    GetVolumeInformationByHandleW, SetFileInformationByHandle,
};
use windows_sys::Win32::System::SystemServices::FILE_PERSISTENT_ACLS;

use super::errors::*;
use crate::metadata::{ExtendedAttribute, Metadata, Stamp};

pub(crate) fn attributes(_file: &File) -> io::Result<Vec<ExtendedAttribute>> {
    Ok(Vec::new())
}

pub(crate) fn metadata(file: &File) -> io::Result<Metadata> {
    let found = file.metadata()?;
    Ok(Metadata {
        modified: Some(Stamp::of(found.modified()?)),
        accessed: Some(Stamp::of(found.accessed()?)),
        ..Metadata::default()
    })
}

/// Who may do what with a file, and how it is shown and kept.
pub(crate) struct Access {
    /// That of the file that is replaced, on a file system that has such lists.
    list: Option<AccessList>,
    /// Its attributes, as the system counts them.
    marks: Option<u32>,
    /// Nothing.
    kept: Metadata,
}

/// Attributes that a user gives to a file.
const MARKS: u32 =
    FILE_ATTRIBUTE_HIDDEN | FILE_ATTRIBUTE_SYSTEM | FILE_ATTRIBUTE_NOT_CONTENT_INDEXED;

/// Attributes that are set as such; the others by calls of their own.
const SETTABLE: u32 = MARKS
    | FILE_ATTRIBUTE_READONLY
    | FILE_ATTRIBUTE_ARCHIVE
    | FILE_ATTRIBUTE_TEMPORARY
    | FILE_ATTRIBUTE_OFFLINE;

impl Access {
    /// Permission bits say nothing here.
    pub(crate) fn new(_mode: u32) -> Access {
        Access {
            list: None,
            marks: None,
            kept: Metadata::default(),
        }
    }

    /// Of exactly the file that is open, with `READ_CONTROL`.
    pub(crate) fn of_file(held: &File) -> io::Result<Access> {
        let list = match has_access_lists(held) {
            true => Some(AccessList::of(held)?),
            false => None,
        };
        Ok(Access {
            list,
            marks: Some(marks(held)?),
            kept: Metadata::default(),
        })
    }

    /// Before there is data that not everybody should read.
    pub(crate) fn begin(&self, file: &File) -> io::Result<()> {
        if let Some(list) = &self.list {
            list.give_to(file)?;
        }
        match self.marks {
            Some(old) => give_marks(file, old),
            None => Ok(()),
        }
    }

    /// Nothing: `begin` did all.
    pub(crate) fn kept(&self) -> &Metadata {
        &self.kept
    }

    pub(crate) fn is_new(&self) -> bool {
        self.list.is_none()
    }
}

pub(crate) fn is_user_attribute(_name: &[u8]) -> bool {
    false
}

/// Access lists are no attributes here.
pub(crate) fn is_access_list(_name: &[u8]) -> bool {
    false
}

pub(crate) fn set_attribute(_file: &File, _attribute: &ExtendedAttribute) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn remove_access_list(_file: &File) -> io::Result<()> {
    Ok(())
}

pub(crate) fn owner(_file: &File) -> io::Result<Option<(u32, u32)>> {
    Ok(None)
}

pub(crate) fn set_owner(_file: &File, _user: Option<u32>, _group: Option<u32>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn set_mode(_file: &File, _mode: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
}

fn marks(file: &File) -> io::Result<u32> {
    Ok(winapi_util::file::information(file)?.file_attributes() as u32)
}

/// Makes `file` as hidden as the old one was. The system encrypts a file for the users
/// that it knows of, so encryption cannot be handed on, only be there already: where the
/// directory encrypts what is made in it.
fn give_marks(file: &File, old: u32) -> io::Result<()> {
    let found = marks(file)?;
    if old & !found & FILE_ATTRIBUTE_ENCRYPTED != 0 {
        let why = "it is encrypted, and what replaces it would not be; --in-place keeps it so";
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    }
    match marks_to_set(found, old) {
        Some(marks) => set_marks(file, marks),
        None => Ok(()),
    }
}

/// What a file with the attributes `found` needs to be like one with `old`.
fn marks_to_set(found: u32, old: u32) -> Option<u32> {
    let wanted = found & !MARKS | old & MARKS;
    let settable = match wanted & SETTABLE {
        // None would mean that they stay as they are.
        0 => FILE_ATTRIBUTE_NORMAL,
        some => some,
    };
    (wanted != found).then_some(settable)
}

fn set_marks(file: &File, marks: u32) -> io::Result<()> {
    // Times of zero stay as they are.
    let information = FILE_BASIC_INFO {
        FileAttributes: marks,
        ..Default::default()
    };
    // SAFETY: the handle is open; the pointer is to a live structure of that size.
    let done = unsafe {
        SetFileInformationByHandle(
            file.as_raw_handle(),
            FileBasicInfo,
            ptr::from_ref(&information).cast(),
            size_of::<FILE_BASIC_INFO>() as u32,
        )
    };
    match done {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Whether the file's file system has such lists; FAT has none. Yes if it does not
/// say: better an error than a file without protection.
fn has_access_lists(file: &File) -> bool {
    let mut flags = 0;
    // SAFETY: the handle is open, and `flags` lives; nothing else is asked for.
    let done = unsafe {
        GetVolumeInformationByHandleW(
            file.as_raw_handle(),
            ptr::null_mut(),
            0,
            ptr::null_mut(),
            ptr::null_mut(),
            &mut flags,
            ptr::null_mut(),
            0,
        )
    };
    done == 0 || flags & FILE_PERSISTENT_ACLS != 0
}

/// A file's discretionary access list.
struct AccessList {
    /// Owned, and to be freed with `LocalFree`.
    descriptor: PSECURITY_DESCRIPTOR,
    /// Lies in `descriptor`; null if everybody may do everything.
    list: *mut ACL,
}

impl AccessList {
    /// Of a file that is open with `READ_CONTROL`.
    fn of(file: &File) -> io::Result<AccessList> {
        let mut found = AccessList {
            descriptor: ptr::null_mut(),
            list: ptr::null_mut(),
        };
        // SAFETY: the handle is open, and both places for pointers live.
        let code = unsafe {
            GetSecurityInfo(
                file.as_raw_handle(),
                SE_FILE_OBJECT,
                DACL_SECURITY_INFORMATION,
                ptr::null_mut(),
                ptr::null_mut(),
                &mut found.list,
                ptr::null_mut(),
                &mut found.descriptor,
            )
        };
        match code {
            ERROR_SUCCESS => Ok(found),
            code => Err(system_error(code)),
        }
    }

    /// To a file that is open with `WRITE_DAC`.
    fn give_to(&self, file: &File) -> io::Result<()> {
        let inheritance = match self.is_protected()? {
            true => PROTECTED_DACL_SECURITY_INFORMATION,
            false => UNPROTECTED_DACL_SECURITY_INFORMATION,
        };
        // SAFETY: the handle is open; the list lives as long as its descriptor.
        let code = unsafe {
            SetSecurityInfo(
                file.as_raw_handle(),
                SE_FILE_OBJECT,
                DACL_SECURITY_INFORMATION | inheritance,
                ptr::null_mut(),
                ptr::null_mut(),
                self.list,
                ptr::null(),
            )
        };
        match code {
            ERROR_SUCCESS => Ok(()),
            code => Err(system_error(code)),
        }
    }

    /// Whether what the directory hands down does not reach the file.
    fn is_protected(&self) -> io::Result<bool> {
        let (mut control, mut revision) = (0, 0);
        // SAFETY: the descriptor is the system's own, and lives.
        let done =
            unsafe { GetSecurityDescriptorControl(self.descriptor, &mut control, &mut revision) };
        match done {
            0 => Err(io::Error::last_os_error()),
            _ => Ok(control & SE_DACL_PROTECTED != 0),
        }
    }
}

impl Drop for AccessList {
    fn drop(&mut self) {
        // SAFETY: `GetSecurityInfo` gave it to this value alone; null does nothing.
        unsafe { LocalFree(self.descriptor) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_gets_what_hides_the_old_one_and_loses_what_does_not() {
        const ENCRYPTED: u32 = FILE_ATTRIBUTE_ENCRYPTED;
        let hidden = FILE_ATTRIBUTE_HIDDEN;
        for (found, old, expected) in [
            (FILE_ATTRIBUTE_ARCHIVE, 0, None),
            (0, hidden | ENCRYPTED, Some(hidden)),
            (hidden | ENCRYPTED, 0, Some(FILE_ATTRIBUTE_NORMAL)),
            (hidden, hidden | FILE_ATTRIBUTE_ARCHIVE, None),
        ] {
            assert_eq!(marks_to_set(found, old), expected, "{found:x} {old:x}");
        }
    }
}
