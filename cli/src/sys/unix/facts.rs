//! What a file is.

use std::fs::{File, Metadata};
use std::io::{self};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::super::{Facts, Identity, Kind};
use crate::metadata::Stamp;

/// What `st_blocks` counts: stat(2).
const BLOCK_BYTES: u64 = 512;

pub(crate) fn facts(file: &File) -> io::Result<Facts> {
    Ok(Facts::from_metadata(&file.metadata()?))
}

pub(crate) fn facts_at(path: &Path) -> io::Result<Facts> {
    Ok(Facts::from_metadata(&std::fs::metadata(path)?))
}

/// The number of the device is given anew.
pub(crate) fn lasting((_, number): Identity) -> Identity {
    (0, number)
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
            allocated: Some(metadata.blocks().saturating_mul(BLOCK_BYTES)),
            identity: (metadata.dev(), metadata.ino()),
            names: metadata.nlink(),
            mode: Some(metadata.mode() & 0o777),
            modified: metadata.modified().ok().map(Stamp::of),
            changed: Some(Stamp {
                seconds: metadata.ctime(),
                nanoseconds: metadata.ctime_nsec() as u32,
            }),
            born: metadata.created().ok().map(Stamp::of),
        }
    }
}
