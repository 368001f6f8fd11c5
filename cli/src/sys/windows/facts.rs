//! What a file is.

use std::fs::{File, OpenOptions};
use std::io::{self};
use std::os::windows::fs::OpenOptionsExt;
use std::path::{Component, Path, Prefix};

use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_REPARSE_POINT, FILE_FLAG_BACKUP_SEMANTICS,
    FILE_FLAG_OPEN_REPARSE_POINT,
};

use super::super::{Facts, Identity, Kind};
use super::reading::*;
use crate::metadata::Stamp;

pub(crate) fn facts(file: &File) -> io::Result<Facts> {
    if !winapi_util::file::typ(file)?.is_disk() {
        return Ok(Facts::without_file(Kind::Stream));
    }
    match winapi_util::file::information(file) {
        Ok(information) => Ok(Facts::from_information(&information)),
        // A disk is not a file on it, but its handle's type is the same.
        Err(error) => match capacity(file)? {
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

pub(super) fn facts_of_name(path: &Path) -> io::Result<Facts> {
    if is_device(path) {
        return Ok(Facts::without_file(Kind::Stream));
    }
    let flags = FILE_FLAG_OPEN_REPARSE_POINT | FILE_FLAG_BACKUP_SEMANTICS;
    facts(&open_to_look(path, flags)?)
}

/// Directories, too; and files that others have open, whatever they share.
pub(super) fn open_to_look(path: &Path, flags: u32) -> io::Result<File> {
    OpenOptions::new()
        .access_mode(0)
        .custom_flags(flags)
        .open(path)
}

/// Whether an absolute path names a device (`\\.\NUL`, `\\.\PhysicalDrive0`) or a
/// pipe (`\\.\pipe\NAME`), and not a file by way of a device (`\\.\C:\FILE`).
/// <https://learn.microsoft.com/windows/win32/fileio/naming-a-file#win32-device-namespaces>
pub(super) fn is_device(path: &Path) -> bool {
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

/// A volume's serial number stays.
pub(crate) fn lasting(identity: Identity) -> Identity {
    identity
}

impl Facts {
    fn without_file(kind: Kind) -> Facts {
        Facts {
            kind,
            is_link: false,
            len: 0,
            allocated: None,
            identity: (0, 0),
            names: 1,
            mode: None,
            modified: None,
            changed: None,
            born: None,
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
            allocated: None,
            identity: (information.volume_serial_number(), information.file_index()),
            names: information.number_of_links(),
            mode: None,
            modified: Some(stamp(information.last_write_time())),
            changed: None,
            // The index is never another file's, since the system counts the uses of each
            // place for a file. And a new file may have the time of the one that had its name.
            born: Some(stamp(None)),
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
