//! Waiting for any of several objects, until a deadline; and the alarm.
#![expect(unsafe_code, reason = "the system's interface is all unsafe functions")]

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, OwnedHandle};
use std::time::Instant;

use windows_sys::Win32::Foundation::{WAIT_FAILED, WAIT_TIMEOUT};
use windows_sys::Win32::System::Threading::{INFINITE, WaitForMultipleObjects};

use super::objects::{create_own_event, set};
use super::registered::Registered;
use crate::error::Error;
use crate::sys::Handle;

/// Most objects that one call of the system waits for (MAXIMUM_WAIT_OBJECTS of winnt.h).
const AT_ONCE: usize = 64;

/// Once rung, wakes all that were given it, for good: while joining.
#[derive(Debug)]
pub(crate) struct Alarm(pub(super) OwnedHandle);

impl Alarm {
    pub(crate) fn new() -> Result<Alarm, Error> {
        create_own_event().map(Alarm)
    }

    pub(crate) fn ring(&self) {
        set(&self.0);
    }
}

/// The index of a handle that is signalled, the first of several; `None` for a
/// deadline that passed. From one handle to [`AT_ONCE`] of them, all different.
pub(super) fn wait_any(
    handles: &[BorrowedHandle<'_>],
    deadline: Option<Instant>,
) -> Result<Option<usize>, Error> {
    loop {
        let left_ms = match deadline {
            None => INFINITE,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                // Rounded up, so that no time is spent in waits of nothing; and a
                // wait that the system cannot count is made in several.
                left.as_nanos()
                    .div_ceil(1_000_000)
                    .min(u128::from(INFINITE - 1)) as u32
            }
        };
        // SAFETY: as many handles as said, which are of the system's form
        // (`BorrowedHandle` promises it), and which the caller's borrows keep open.
        let woken = unsafe {
            WaitForMultipleObjects(handles.len() as u32, handles.as_ptr().cast(), 0, left_ms)
        };
        match woken {
            WAIT_FAILED => return Err(Error::os("wait", io::Error::last_os_error())),
            WAIT_TIMEOUT if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                return Ok(None);
            }
            WAIT_TIMEOUT => {}
            // WAIT_OBJECT_0 is 0; mutexes, which could be abandoned, are not used.
            index => return Ok(Some(index as usize)),
        }
    }
}

/// Which of `handles` (events that stay set) are signalled, as soon as one is; none if
/// the deadline passed.
pub(super) fn wait_for_handles(
    handles: &[Handle<'_>],
    deadline: Option<Instant>,
) -> Result<Vec<bool>, Error> {
    // The system refuses to wait for one object twice.
    let mut distinct = handles.to_vec();
    distinct.sort_unstable_by_key(number);
    distinct.dedup_by_key(|handle| number(handle));
    // Before a wait that may be costly to prepare.
    let mut found = signalled(&distinct)?;
    if found.is_empty() {
        wait_for_one(&distinct, deadline)?;
        found = signalled(&distinct)?;
    }
    let is_ready = |handle| found.binary_search(&number(handle)).is_ok();
    Ok(handles.iter().map(is_ready).collect())
}

fn number(handle: &BorrowedHandle<'_>) -> usize {
    handle.as_raw_handle().addr()
}

/// The numbers of those that are signalled now, in the order of `handles`.
fn signalled(mut handles: &[BorrowedHandle<'_>]) -> Result<Vec<usize>, Error> {
    let past = Some(Instant::now());
    let mut found = Vec::new();
    while !handles.is_empty() {
        let chunk = &handles[..handles.len().min(AT_ONCE)];
        let first = wait_any(chunk, past)?;
        found.extend(first.map(|index| number(&chunk[index])));
        let seen = first.map_or(chunk.len(), |index| index + 1);
        handles = &handles[seen..];
    }
    Ok(found)
}

/// Returns once one of `handles` is signalled, or the deadline passed.
fn wait_for_one(handles: &[BorrowedHandle<'_>], deadline: Option<Instant>) -> Result<(), Error> {
    if (1..=AT_ONCE).contains(&handles.len()) {
        return wait_any(handles, deadline).map(drop);
    }
    // Those beyond what a call can wait for set an event that it waits for; without any
    // handle, nobody does.
    let (here, beyond) = handles.split_at(handles.len().min(AT_ONCE - 1));
    let any_beyond = create_own_event()?;
    let registered: io::Result<Vec<Registered>> = beyond
        .iter()
        // SAFETY: the caller's borrows and this function's variables outlive what is
        // dropped at the end of this function.
        .map(|handle| unsafe { Registered::new(*handle, any_beyond.as_handle()) })
        .collect();
    let registered =
        registered.map_err(|error| Error::os(format!("wait for {} ends", handles.len()), error))?;
    let mut waited = here.to_vec();
    waited.push(any_beyond.as_handle());
    let woken = wait_any(&waited, deadline);
    drop(registered);
    woken.map(drop)
}

/// There is none: FlushProcessWriteBuffers reaches the own process only.
pub(crate) fn can_barrier_remotely() -> bool {
    false
}

pub(crate) fn barrier_remotely() -> Result<(), Error> {
    Err(Error::Unsupported {
        needed: "execute a barrier in another process",
        source: io::ErrorKind::Unsupported.into(),
    })
}

/// The process in which something was made: always this one, since nothing forks here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin;

impl Origin {
    pub(crate) fn here() -> Result<Origin, Error> {
        Ok(Origin)
    }

    #[inline(always)]
    pub(crate) fn is_here(self) -> bool {
        true
    }
}
