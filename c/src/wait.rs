//! How long a call waits.

use std::ffi::c_int;
use std::ops::BitOr;
use std::time::{Duration, Instant};

use engine::{Handle, Interest};

use crate::numbers::*;
use crate::status::{Failed, misuse};

/// Which of the library's three calls is meant.
pub(crate) enum Wait {
    Not,
    Until(Instant),
    Forever,
}

impl Wait {
    /// Nothing at or below zero waits: so says a caller whose own deadline has passed.
    #[inline(always)]
    pub(crate) fn for_ms(ms: i64) -> Wait {
        match ms {
            BRIGADE_FOREVER => Wait::Forever,
            ..=BRIGADE_NO_WAIT => Wait::Not,
            ms => Wait::until(ms),
        }
    }

    fn until(ms: i64) -> Wait {
        let limit = Duration::from_millis(ms.unsigned_abs());
        // What the clock cannot say is beyond all ends.
        Instant::now()
            .checked_add(limit)
            .map_or(Wait::Forever, Wait::Until)
    }
}

/// A limit for an option: none for ever.
pub(crate) fn limit(ms: i64) -> Option<Duration> {
    match ms {
        BRIGADE_FOREVER => None,
        ms => Some(Duration::from_millis(ms.max(0).unsigned_abs())),
    }
}

/// What is waited for, as the library has it.
pub(crate) fn interest(interests: c_int) -> Result<Interest, Failed> {
    let known = [
        (BRIGADE_WAIT_BLOCKS, Interest::BLOCKS),
        (BRIGADE_WAIT_LETTERS, Interest::LETTERS),
        (BRIGADE_WAIT_ROOM, Interest::ROOM),
        (BRIGADE_WAIT_VERDICT, Interest::VERDICT),
    ];
    let all = known.iter().fold(0, |all, (number, _)| all | number);
    let wanted = known.iter().filter(|(number, _)| interests & number != 0);
    let wanted = wanted.map(|(_, interest)| *interest).reduce(BitOr::bitor);
    wanted
        .filter(|_| interests & !all == 0)
        .ok_or_else(|| misuse("nothing is waited for, or what nobody knows"))
}

/// What an application's own loop waits for.
#[cfg(unix)]
pub type brigade_handle = c_int;
#[cfg(windows)]
pub type brigade_handle = *mut std::ffi::c_void;

#[cfg(unix)]
pub(crate) const NO_HANDLE: brigade_handle = -1;
#[cfg(windows)]
pub(crate) const NO_HANDLE: brigade_handle = std::ptr::null_mut();

#[cfg(unix)]
pub(crate) fn raw(handle: Handle<'_>) -> brigade_handle {
    std::os::fd::AsRawFd::as_raw_fd(&handle)
}

#[cfg(windows)]
pub(crate) fn raw(handle: Handle<'_>) -> brigade_handle {
    std::os::windows::io::AsRawHandle::as_raw_handle(&handle)
}
