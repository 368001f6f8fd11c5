//! What becomes of the system's copy of what was read.

use std::fs::File;
use std::io;

use crate::sys;

/// What was read is dropped from the cache so many bytes at a time, where the system
/// cannot be asked to keep it out in the first place.
const FORGET_BYTES: u64 = 8 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cache {
    /// The system's affair.
    Kept,
    /// It is not made.
    Avoided,
    /// It is dropped, up to this offset so far.
    Dropped { until: u64 },
}

impl Cache {
    /// Reads the next bytes of `file`, `offset` from where the copy began.
    pub(super) fn read(&mut self, file: &File, offset: u64, block: &mut [u8]) -> io::Result<usize> {
        if *self == Cache::Avoided {
            match sys::read_past_cache(file, block) {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    *self = Cache::Dropped { until: offset };
                }
                read => return read,
            }
        }
        sys::read(file, block)
    }

    /// Drops what was read of `file` up to `offset`, if it is time to.
    pub(super) fn forget(&mut self, file: &File, start: u64, offset: u64) {
        if let Cache::Dropped { until } = *self
            && offset - until >= FORGET_BYTES
        {
            sys::forget_cached(file, start + until, Some(offset - until));
            *self = Cache::Dropped { until: offset };
        }
    }
}
