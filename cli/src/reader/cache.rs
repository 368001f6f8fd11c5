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
            && offset.saturating_sub(until) >= FORGET_BYTES
        {
            sys::forget_cached(file, start + until, Some(offset - until));
            *self = Cache::Dropped { until: offset };
        }
    }

    /// The next bytes that are read are those at `offset`, from where the copy began.
    pub(super) fn begin_at(&mut self, offset: u64) {
        if let Cache::Dropped { until } = self {
            *until = offset;
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_again_from_the_beginning_is_dropped_again() {
        let file = tempfile::tempfile().unwrap();
        let mut cache = Cache::Dropped { until: 0 };
        let until = |cache: Cache| match cache {
            Cache::Dropped { until } => until,
            Cache::Kept | Cache::Avoided => unreachable!("it is dropped"),
        };
        cache.forget(&file, 0, 2 * FORGET_BYTES);
        assert_eq!(until(cache), 2 * FORGET_BYTES);
        // A moment before it is told.
        cache.forget(&file, 0, 1);
        cache.begin_at(0);
        cache.forget(&file, 0, FORGET_BYTES);
        assert_eq!(until(cache), FORGET_BYTES);
    }
}
