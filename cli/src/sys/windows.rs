//! The back end for Windows 10 and later: see the contract in `mod.rs`.
//!
//! | Contract | Here |
//! |---|---|
//! | what a path leads to | an open of no access, but for devices and pipes, which are told by their names |
//! | readiness | `PeekNamedPipe` |
//! | the partial file's access | the old file's access list, before there is data; else what the directory hands down |
//! | replacing | `MoveFileExW`, written through |
//! | interruptions | the console's events, exit status 130 |
//!
//! Paths reach the system absolute and with `\\?\` before them, by std's hand or by
//! [`verbatim`], so that they may be longer than 260 characters.
#![expect(unsafe_code, reason = "the system's interface is all unsafe functions")]

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::ops::Range;
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsHandle, AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::{Component, Path, Prefix};
use std::process::Command;
use std::ptr;
use std::sync::OnceLock;
use std::time::Duration;
use std::time::SystemTime;

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_INVALID_HANDLE, ERROR_LOCK_VIOLATION, ERROR_MORE_DATA,
    ERROR_OPERATION_ABORTED, ERROR_SHARING_VIOLATION, ERROR_SUCCESS, GENERIC_READ, GENERIC_WRITE,
    INVALID_HANDLE_VALUE, LocalFree, SetLastError,
};
use windows_sys::Win32::Security::Authorization::{
    GetSecurityInfo, SE_FILE_OBJECT, SetSecurityInfo,
};
use windows_sys::Win32::Security::{
    ACL, DACL_SECURITY_INFORMATION, GetSecurityDescriptorControl,
    PROTECTED_DACL_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, SE_DACL_PROTECTED,
    UNPROTECTED_DACL_SECURITY_INFORMATION,
};
use windows_sys::Win32::Storage::FileSystem::{
    DELETE, FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_READONLY, FILE_ATTRIBUTE_REPARSE_POINT,
    FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT, FILE_FLAG_SEQUENTIAL_SCAN,
    FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE, GetVolumeInformationByHandleW,
    MOVEFILE_REPLACE_EXISTING, MOVEFILE_WRITE_THROUGH, MoveFileExW, READ_CONTROL, ReOpenFile,
    ReadFile, SECURITY_IDENTIFICATION, WRITE_DAC,
};
use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT,
    SetConsoleCtrlHandler,
};
use windows_sys::Win32::System::IO::DeviceIoControl;
use windows_sys::Win32::System::Ioctl::{
    FILE_ALLOCATED_RANGE_BUFFER, FSCTL_QUERY_ALLOCATED_RANGES, FSCTL_SET_SPARSE,
    GET_LENGTH_INFORMATION, IOCTL_DISK_GET_LENGTH_INFO,
};
use windows_sys::Win32::System::Pipes::PeekNamedPipe;
use windows_sys::Win32::System::SystemServices::FILE_PERSISTENT_ACLS;
use windows_sys::core::BOOL;

use super::{Facts, Interruption, Kind};
use crate::talk::metadata::{ExtendedAttribute, Metadata, Stamp};

// ---- standard streams -------------------------------------------------------

pub(crate) fn standard_input() -> io::Result<File> {
    if_open(io::stdin().as_handle().try_clone_to_owned()?)
}

pub(crate) fn standard_output() -> io::Result<File> {
    if_open(io::stdout().as_handle().try_clone_to_owned()?)
}

/// A stream that was closed has no handle; std calls that a handle, which it reads
/// as empty.
fn if_open(stream: OwnedHandle) -> io::Result<File> {
    if stream.as_raw_handle().is_null() {
        return Err(system_error(ERROR_INVALID_HANDLE));
    }
    Ok(stream.into())
}

// ---- facts ------------------------------------------------------------------

pub(crate) fn facts(file: &File) -> io::Result<Facts> {
    if !winapi_util::file::typ(file)?.is_disk() {
        return Ok(Facts::without_file(Kind::Stream));
    }
    match winapi_util::file::information(file) {
        Ok(information) => Ok(Facts::from_information(&information)),
        // A disk is not a file on it, but its handle's type is the same.
        Err(error) => match capacity(file) {
            Some(_) => Ok(Facts::without_file(Kind::Disk)),
            None => Err(error),
        },
    }
}

pub(crate) fn facts_at(path: &Path) -> io::Result<Facts> {
    if is_device(path) {
        return Ok(Facts::without_file(Kind::Stream));
    }
    facts(&open_to_look(path, FILE_FLAG_BACKUP_SEMANTICS)?)
}

pub(crate) fn facts_of_name(path: &Path) -> io::Result<Facts> {
    if is_device(path) {
        return Ok(Facts::without_file(Kind::Stream));
    }
    let flags = FILE_FLAG_OPEN_REPARSE_POINT | FILE_FLAG_BACKUP_SEMANTICS;
    facts(&open_to_look(path, flags)?)
}

/// Directories, too; and files that others have open, whatever they share.
fn open_to_look(path: &Path, flags: u32) -> io::Result<File> {
    OpenOptions::new()
        .access_mode(0)
        .custom_flags(flags)
        .open(path)
}

/// Whether an absolute path names a device (`\\.\NUL`, `\\.\PhysicalDrive0`) or a
/// pipe (`\\.\pipe\NAME`), and not a file by way of a device (`\\.\C:\FILE`).
/// <https://learn.microsoft.com/windows/win32/fileio/naming-a-file#win32-device-namespaces>
fn is_device(path: &Path) -> bool {
    let mut components = path.components();
    let Some(Component::Prefix(prefix)) = components.next() else {
        return false;
    };
    let Prefix::DeviceNS(device) = prefix.kind() else {
        return false;
    };
    // A root follows the prefix even where none is written.
    let leads_on = components.any(|part| part != Component::RootDir);
    !leads_on || device.eq_ignore_ascii_case("pipe")
}

impl Facts {
    fn without_file(kind: Kind) -> Facts {
        Facts {
            kind,
            is_link: false,
            len: 0,
            identity: (0, 0),
            names: 1,
            is_own: true,
            mode: None,
            modified: None,
            changed: None,
        }
    }

    fn from_information(information: &winapi_util::file::Information) -> Facts {
        let has = |attribute: u32| information.file_attributes() & u64::from(attribute) != 0;
        Facts {
            kind: match has(FILE_ATTRIBUTE_DIRECTORY) {
                true => Kind::Directory,
                false => Kind::File,
            },
            is_link: has(FILE_ATTRIBUTE_REPARSE_POINT),
            len: information.file_size(),
            identity: (information.volume_serial_number(), information.file_index()),
            names: information.number_of_links(),
            // Left to access lists: the owner tells little where files that an
            // elevated process made belong to the group of administrators, and
            // files on a server to a user of that server.
            is_own: true,
            mode: None,
            modified: Some(stamp(information.last_write_time())),
            changed: None,
        }
    }
}

/// The system counts units of 100 ns since 1601.
fn stamp(file_time: Option<u64>) -> Stamp {
    let file_time = file_time.unwrap_or(0) as i64;
    const UNITS: i64 = 10_000_000;
    const SECONDS_FROM_1601_TO_1970: i64 = 11_644_473_600;
    Stamp {
        seconds: file_time.div_euclid(UNITS) - SECONDS_FROM_1601_TO_1970,
        nanoseconds: file_time.rem_euclid(UNITS) as u32 * 100,
    }
}

// ---- reading ----------------------------------------------------------------

/// A pipe's server may learn who its client is, but not act as the client.
pub(crate) fn open_to_read(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(FILE_FLAG_SEQUENTIAL_SCAN)
        .security_qos_flags(SECURITY_IDENTIFICATION)
        .open(path)
}

/// Can be said only while opening.
pub(crate) fn expect_in_order(_file: &File) {}

pub(crate) fn capacity(file: &File) -> Option<u64> {
    let mut found = GET_LENGTH_INFORMATION::default();
    let mut len = 0;
    // SAFETY: the handle is open, and `found` is as large as is said.
    let done = unsafe {
        DeviceIoControl(
            file.as_raw_handle(),
            IOCTL_DISK_GET_LENGTH_INFO,
            ptr::null(),
            0,
            ptr::from_mut(&mut found).cast(),
            size_of_val(&found) as u32,
            &mut len,
            ptr::null_mut(),
        )
    };
    (done != 0).then_some(found.Length as u64)
}

pub(crate) fn read(mut file: &File, block: &mut [u8]) -> io::Result<usize> {
    if winapi_util::console::mode(file).is_ok() {
        return read_console(file, block);
    }
    match file.read(block) {
        // A pipe gives nothing, too, when an empty message comes through it, or
        // when somebody made it non-blocking. At its end, it cannot be looked into.
        Ok(0) if peek(file).is_ok() => Err(io::ErrorKind::WouldBlock.into()),
        read => read,
    }
}

/// Ctrl-C ends a read with nothing, as the end of the input does; the difference is
/// in the last error alone.
/// <https://learn.microsoft.com/windows/console/readconsole>
fn read_console(file: &File, block: &mut [u8]) -> io::Result<usize> {
    /// Older consoles cannot give many bytes at once, and nobody types as many.
    const LEN_MAX: usize = 8192;
    let mut len = 0;
    // SAFETY: the handle is open, and `block` is at least as long as is said.
    let done = unsafe {
        SetLastError(ERROR_SUCCESS);
        ReadFile(
            file.as_raw_handle(),
            block.as_mut_ptr(),
            block.len().min(LEN_MAX) as u32,
            &mut len,
            ptr::null_mut(),
        )
    };
    let error = io::Error::last_os_error();
    match (done, len) {
        (_, 0) if is_code(&error, ERROR_OPERATION_ABORTED) => {
            Err(io::ErrorKind::Interrupted.into())
        }
        (0, _) => Err(error),
        _ => Ok(len as usize),
    }
}

/// Without the cache, Windows reads whole sectors into aligned memory only.
pub(crate) fn read_past_cache(_file: &File, _block: &mut [u8]) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn next_data(file: &File, position: u64) -> io::Result<Option<Range<u64>>> {
    let asked = FILE_ALLOCATED_RANGE_BUFFER {
        FileOffset: position as i64,
        Length: i64::MAX - position as i64,
    };
    let mut found = FILE_ALLOCATED_RANGE_BUFFER::default();
    let size = size_of_val(&found) as u32;
    let mut len = 0;
    // SAFETY: the handle is open, both buffers are live and of the sizes given.
    let done = unsafe {
        DeviceIoControl(
            file.as_raw_handle(),
            FSCTL_QUERY_ALLOCATED_RANGES,
            (&raw const asked).cast(),
            size,
            (&raw mut found).cast(),
            size,
            &mut len,
            ptr::null_mut(),
        )
    };
    let more = io::Error::last_os_error().raw_os_error() == Some(ERROR_MORE_DATA as i32);
    if done == 0 && !more {
        // Files have no holes here, or nobody can tell.
        return Ok(Some(0..u64::MAX));
    }
    if len < size {
        return Ok(None);
    }
    let start = found.FileOffset as u64;
    Ok(Some(start..start.saturating_add(found.Length as u64)))
}

pub(crate) fn metadata(file: &File, _with_attributes: bool) -> Metadata {
    let found = file.metadata();
    let time = |time: io::Result<SystemTime>| time.ok().map(Stamp::of);
    found.map_or_else(
        |_| Metadata::default(),
        |found| Metadata {
            modified: time(found.modified()),
            accessed: time(found.accessed()),
            ..Metadata::default()
        },
    )
}

pub(crate) fn is_ready(file: &File) -> io::Result<bool> {
    match peek(file) {
        Ok(len) => Ok(len > 0),
        // The end is there at once. What is no pipe cannot be looked into at all.
        Err(error) => Ok(error.kind() == io::ErrorKind::BrokenPipe),
    }
}

/// How many bytes lie in a pipe.
fn peek(pipe: &File) -> io::Result<u32> {
    let mut len = 0;
    // SAFETY: the handle is open, and `len` lives; nothing else is asked for.
    let done = unsafe {
        PeekNamedPipe(
            pipe.as_raw_handle(),
            ptr::null_mut(),
            0,
            ptr::null_mut(),
            &mut len,
            ptr::null_mut(),
        )
    };
    match done {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(len),
    }
}

/// A pause is all there is: a pipe cannot be waited for, and the next read of one
/// that was not made non-blocking waits by itself.
pub(crate) fn wait_until_ready(_file: &File) -> io::Result<()> {
    std::thread::sleep(Duration::from_millis(1));
    Ok(())
}

// ---- writing ----------------------------------------------------------------

/// With the same care for pipes as `open_to_read`.
pub(crate) fn open_to_write(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .security_qos_flags(SECURITY_IDENTIFICATION)
        .open(path)
}

/// A new file's access is what its directory hands down, as it is for every file.
pub(crate) fn open_partial(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .access_mode(GENERIC_READ | GENERIC_WRITE | WRITE_DAC)
        .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT)
        .open(path)
}

/// A second open: of one that is not for overlapped operations, and its copies, the
/// system does one operation at a time, so writing would wait for syncing.
pub(crate) fn handle_for_syncing(file: &File) -> io::Result<File> {
    let share = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    // SAFETY: the handle is open.
    let handle = unsafe { ReOpenFile(file.as_raw_handle(), GENERIC_WRITE, share, 0) };
    if handle == INVALID_HANDLE_VALUE {
        // Not every device can; waiting is no harm but to speed.
        return file.try_clone();
    }
    // SAFETY: it was opened on the line above, and nobody else has it.
    Ok(unsafe { File::from_raw_handle(handle) })
}

/// Who may do what with a file.
pub(crate) struct Access {
    /// That of the file that is replaced, on a file system that has such lists.
    list: Option<AccessList>,
    /// Nothing.
    kept: Metadata,
}

impl Access {
    /// Permission bits say nothing here.
    pub(crate) fn new(_mode: u32) -> Access {
        Access {
            list: None,
            kept: Metadata::default(),
        }
    }

    pub(crate) fn to_replace(path: &Path) -> io::Result<Access> {
        let information =
            winapi_util::file::information(&open_to_look(path, FILE_FLAG_BACKUP_SEMANTICS)?)?;
        if information.file_attributes() & u64::from(FILE_ATTRIBUTE_READONLY) != 0 {
            let kind = io::ErrorKind::PermissionDenied;
            return Err(io::Error::new(kind, "it is read-only"));
        }
        // Fails now, and not only when all is written, if another process has the
        // file open and lets nobody write or remove it.
        let file = OpenOptions::new()
            .access_mode(GENERIC_WRITE | DELETE | READ_CONTROL)
            .open(path)?;
        let list = match has_access_lists(&file) {
            true => Some(AccessList::of(&file)?),
            false => None,
        };
        Ok(Access {
            list,
            kept: Metadata::default(),
        })
    }

    /// Before there is data that not everybody should read.
    pub(crate) fn begin(&self, file: &File) -> io::Result<()> {
        match &self.list {
            Some(list) => list.give_to(file),
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

pub(crate) fn mode_without(_list: &ExtendedAttribute) -> u32 {
    0
}

pub(crate) fn owner(_file: &File) -> Option<(u32, u32)> {
    None
}

pub(crate) fn set_owner(_file: &File, _user: Option<u32>, _group: Option<u32>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn set_mode(_file: &File, _mode: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Otherwise what is skipped takes room, and is filled with zeros.
pub(crate) fn expect_holes(file: &File) {
    let mut len = 0;
    // SAFETY: the handle is open; nothing goes in or out.
    unsafe {
        DeviceIoControl(
            file.as_raw_handle(),
            FSCTL_SET_SPARSE,
            ptr::null(),
            0,
            ptr::null_mut(),
            0,
            &mut len,
            ptr::null_mut(),
        )
    };
}

/// Nothing here depends on it.
pub(crate) fn memory_bytes() -> Option<u64> {
    None
}

/// The system cannot be told.
pub(crate) fn forget_cached(_file: &File, _offset: u64, _len: Option<u64>) {}

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

/// Not `ReplaceFileW`, which may fail halfway and leave nothing under the name that
/// counts (`ERROR_UNABLE_TO_MOVE_REPLACEMENT_2`, 1177).
/// <https://learn.microsoft.com/windows/win32/api/winbase/nf-winbase-replacefilew>
pub(crate) fn replace(from: &Path, to: &Path, durably: bool) -> io::Result<()> {
    rename(from, to, durably, MOVEFILE_REPLACE_EXISTING)
        .map_err(|error| why_not_removable(&error, to).unwrap_or(error))
}

pub(crate) fn rename_new(from: &Path, to: &Path, durably: bool) -> io::Result<()> {
    rename(from, to, durably, 0)
}

fn rename(from: &Path, to: &Path, durably: bool, flags: u32) -> io::Result<()> {
    let through = if durably { MOVEFILE_WRITE_THROUGH } else { 0 };
    let [from, to] = [verbatim(from)?, verbatim(to)?];
    // SAFETY: both paths end in a zero and live.
    let done = unsafe { MoveFileExW(from.as_ptr(), to.as_ptr(), flags | through) };
    match done {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// That another process has a file open is a refusal like any other to
/// `MoveFileExW`; but not to who opens the file for removing it.
fn why_not_removable(refusal: &io::Error, path: &Path) -> Option<io::Error> {
    if !is_code(refusal, ERROR_ACCESS_DENIED) {
        return None;
    }
    let opened = OpenOptions::new().access_mode(DELETE).open(path);
    opened.err().filter(is_in_use)
}

/// `replace` has written it through.
pub(crate) fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}

pub(crate) fn is_in_use(error: &io::Error) -> bool {
    is_code(error, ERROR_SHARING_VIOLATION) || is_code(error, ERROR_LOCK_VIOLATION)
}

// ---- names ------------------------------------------------------------------

/// In UTF-16 units.
pub(crate) const NAME_MAX: usize = 255;

pub(crate) fn name_len(name: &OsStr) -> usize {
    name.encode_wide().count()
}

pub(crate) fn name_beginning(name: &OsStr, len: usize) -> OsString {
    let mut units: Vec<u16> = name.encode_wide().take(len).collect();
    if let Some(0xd800..0xdc00) = units.last() {
        // The first half of a character.
        units.pop();
    }
    OsString::from_wide(&units)
}

pub(crate) fn name_to_bytes(name: &OsStr) -> Option<&[u8]> {
    name.to_str().map(str::as_bytes)
}

/// The system itself tells what it makes of the name: devices (NUL), directories
/// and drives lead elsewhere, dots at the end are dropped. A colon stays in it, and
/// would open another stream of a file.
pub(crate) fn name_from_bytes(bytes: &[u8]) -> Option<OsString> {
    let name = std::str::from_utf8(bytes).ok()?;
    let here = std::path::absolute(".").ok()?;
    let path = std::path::absolute(name).ok()?;
    let plain = !name.contains([':', '\0'])
        && path.parent() == Some(&here)
        && path.file_name() == Some(OsStr::new(name));
    plain.then(|| name.into())
}

/// In capitals, as file systems compare names: one character for one.
pub(crate) fn folded(path: &Path) -> Vec<u8> {
    char::decode_utf16(path.as_os_str().encode_wide())
        .flat_map(|unit| match unit {
            Ok(c) => capital(c).encode_utf16(&mut [0; 2]).to_vec(),
            Err(half) => vec![half.unpaired_surrogate()],
        })
        .flat_map(u16::to_le_bytes)
        .collect()
}

/// Itself, if the capital is more than one character (ß).
fn capital(c: char) -> char {
    let mut capitals = c.to_uppercase();
    match (capitals.next(), capitals.next()) {
        (Some(capital), None) => capital,
        _ => c,
    }
}

/// In double quotes, which cmd and PowerShell both take, with backslashes as the
/// C runtime reads them: they stand for themselves, but before a quote.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || r"-_./\=:+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut quoted = String::from('"');
    let mut backslashes = 0;
    for c in word.chars() {
        if c == '"' {
            quoted.extend(std::iter::repeat_n('\\', backslashes + 1));
        }
        backslashes = if c == '\\' { backslashes + 1 } else { 0 };
        quoted.push(c);
    }
    quoted.extend(std::iter::repeat_n('\\', backslashes));
    quoted.push('"');
    quoted
}

/// A path for raw calls: absolute, of any length, ended by a zero.
fn verbatim(path: &Path) -> io::Result<Vec<u16>> {
    let path = std::path::absolute(path)?;
    let prefix = match path.components().next() {
        Some(Component::Prefix(prefix)) => Some(prefix.kind()),
        _ => None,
    };
    let (start, skipped) = match prefix {
        Some(Prefix::Disk(_)) => (r"\\?\", 0),
        // \\SERVER\SHARE becomes \\?\UNC\SERVER\SHARE.
        Some(Prefix::UNC(..)) => (r"\\?\UNC", 1),
        _ => ("", 0),
    };
    let rest = path.as_os_str().encode_wide().skip(skipped);
    Ok(start.encode_utf16().chain(rest).chain([0]).collect())
}

// ---- processes --------------------------------------------------------------

/// Access lists take its place.
pub(crate) fn umask() -> u32 {
    0
}

/// A program that runs cannot be replaced by another version.
pub(crate) fn own_user() -> Option<u32> {
    None
}

pub(crate) fn own_program() -> io::Result<Command> {
    Ok(Command::new(std::env::current_exe()?))
}

/// What hears of the console's events.
type Tell = Box<dyn Fn(Interruption) + Send + Sync>;

static TELL: OnceLock<Tell> = OnceLock::new();

/// Exit status for an interruption, as on other systems after Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Ctrl-C reaches no process that was started to ignore it.
pub(crate) fn watch_interruptions(
    tell: impl Fn(Interruption) + Send + Sync + 'static,
) -> io::Result<()> {
    // Called once; a second time, the first listener stays.
    let _ = TELL.set(Box::new(tell));
    // SAFETY: the function lives as long as the process, and may run in any thread.
    let done = unsafe { SetConsoleCtrlHandler(Some(on_console_event), 1) };
    match done {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Called by the system in a thread of its own.
/// <https://learn.microsoft.com/windows/console/handlerroutine>
extern "system" fn on_console_event(event: u32) -> BOOL {
    let (name, is_last) = match event {
        CTRL_C_EVENT => ("Ctrl-C", false),
        CTRL_BREAK_EVENT => ("Ctrl-Break", false),
        CTRL_CLOSE_EVENT => ("the console was closed", true),
        CTRL_LOGOFF_EVENT => ("the user logs off", true),
        CTRL_SHUTDOWN_EVENT => ("the system shuts down", true),
        _ => return 0,
    };
    if let Some(tell) = TELL.get() {
        let code = INTERRUPTED;
        tell(Interruption { code, name });
    }
    if is_last {
        // When this function returns, the process ends; but until then, for some
        // seconds, it can clean up. It ends by itself long before this.
        std::thread::sleep(Duration::from_secs(10));
    }
    1
}

// ---- errors -----------------------------------------------------------------

fn system_error(code: u32) -> io::Error {
    io::Error::from_raw_os_error(code as i32)
}

fn is_code(error: &io::Error, code: u32) -> bool {
    error.raw_os_error() == Some(code as i32)
}

// ---- for tests --------------------------------------------------------------

#[cfg(test)]
pub(crate) mod testing {
    use std::path::Path;

    /// Looks whether it is there, since Wine says that it made what it did not.
    pub(crate) fn link(target: &Path, link: &Path) -> bool {
        std::os::windows::fs::symlink_file(target, link).is_ok() && link.is_symlink()
    }

    pub(crate) fn give_away(_path: &Path) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_only_in_case_are_one_name() {
        let [small, large] = [r"C:\dir\äa.txt", r"c:\DIR\ÄA.TXT"].map(|path| folded(path.as_ref()));
        assert_eq!(small, large);
        let [one, two] = [r"C:\ß", r"C:\SS"].map(|path| folded(path.as_ref()));
        assert_ne!(one, two);
    }

    #[test]
    fn cmd_and_powershell_read_a_quoted_word_as_it_was() {
        for (word, expected) in [
            (r"C:\a.txt", r"C:\a.txt"),
            ("", r#""""#),
            ("a b", r#""a b""#),
            (r"C:\a b\", r#""C:\a b\\""#),
            (r#"a\"b"#, r#""a\\\"b""#),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }

    #[test]
    fn a_name_that_the_system_would_take_for_something_else_is_none() {
        for name in [
            "", ".", "..", "a/b", r"a\b", r"\a", "C:a", "a:b", "NUL", "con", "a.", "a\0",
        ] {
            assert_eq!(name_from_bytes(name.as_bytes()), None, "{name}");
        }
        for name in ["a", "ä b.txt", ".x", "NULL"] {
            assert_eq!(name_from_bytes(name.as_bytes()), Some(name.into()));
        }
    }

    #[test]
    fn devices_and_pipes_are_told_from_files_by_their_paths() {
        for (path, expected) in [
            ("NUL", true),
            (r"\\.\PhysicalDrive0", true),
            (r"\\.\pipe\x", true),
            (r"\\.\C:", true),
            (r"\\.\C:\x", false),
            (r"C:\x", false),
            (r"\\server\share\x", false),
        ] {
            let absolute = std::path::absolute(path).unwrap_or_default();
            assert_eq!(is_device(&absolute), expected, "{path} is {absolute:?}");
        }
    }

    #[test]
    fn paths_for_raw_calls_have_no_limit_on_their_length() {
        for (path, expected) in [
            (r"C:\a", r"\\?\C:\a"),
            (r"\\server\share\a", r"\\?\UNC\server\share\a"),
            (r"\\?\C:\a", r"\\?\C:\a"),
        ] {
            let expected: Vec<u16> = expected.encode_utf16().chain([0]).collect();
            assert!(verbatim(path.as_ref()).is_ok_and(|path| path == expected));
        }
    }

    #[test]
    fn a_name_is_never_cut_within_a_character() {
        let name = OsStr::new("a😀");
        assert_eq!(name_len(name), 3);
        assert_eq!(name_beginning(name, 2), "a");
    }
}
