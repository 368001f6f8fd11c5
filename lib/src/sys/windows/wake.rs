//! Doorbell (a semaphore), alarm and hang-up (events), and the wait for all of them.
#![expect(unsafe_code, reason = "the system's interface is all unsafe functions")]

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, OwnedHandle};
use std::sync::Arc;
use std::time::Instant;

use windows_sys::Win32::Foundation::{HANDLE, WAIT_FAILED, WAIT_TIMEOUT};
use windows_sys::Win32::System::Threading::{INFINITE, WaitForMultipleObjects};

use super::objects::{
    BELL, Created, GONE, create_event, create_semaphore, create_unique, open_event, open_semaphore,
    release, set, unique,
};
use super::process::{Process, own_id};
use crate::error::Error;
use crate::sys::Wake;

/// The doorbell that this process sleeps on, and the event by which it hangs up.
pub(crate) struct Bell {
    pub(super) number: u64,
    semaphore: OwnedHandle,
    gone: OwnedHandle,
}

/// The partner's.
pub(crate) struct RemoteBell {
    semaphore: OwnedHandle,
    gone: OwnedHandle,
}

impl RemoteBell {
    pub(super) fn open(process_id: u32, number: u64) -> Option<RemoteBell> {
        let semaphore = open_semaphore(&unique(process_id, number, BELL))?;
        let gone = open_event(&unique(process_id, number, GONE))?;
        Some(RemoteBell { semaphore, gone })
    }
}

impl Bell {
    pub(crate) fn new() -> Result<Bell, Error> {
        let (number, (semaphore, gone)) = create_unique(|number| {
            let name = |suffix| unique(own_id(), number, suffix);
            let Created::New(semaphore) = create_semaphore(&name(BELL))? else {
                return Ok(None);
            };
            let gone = create_event(Some(&name(GONE)))?;
            Ok(gone.map(|gone| (semaphore, gone)))
        })?;
        Ok(Bell {
            number,
            semaphore,
            gone,
        })
    }
}

impl Drop for Bell {
    /// Whoever was shown it may take this process for its partner already.
    fn drop(&mut self) {
        set(&self.gone);
    }
}

/// Once rung, wakes every wait of this process that was given it, for good.
#[derive(Debug)]
pub(crate) struct Alarm(pub(super) OwnedHandle);

impl Alarm {
    pub(crate) fn new() -> Result<Alarm, Error> {
        match create_event(None)? {
            Some(event) => Ok(Alarm(event)),
            // Without a name, it is always new.
            None => Err(Error::os("create an alarm", io::ErrorKind::AlreadyExists)),
        }
    }

    pub(crate) fn ring(&self) {
        set(&self.0);
    }
}

/// What connects two processes that have joined.
pub(crate) struct Link {
    pub(super) bell: Bell,
    pub(super) remote_bell: RemoteBell,
    pub(super) process: Arc<Process>,
}

impl Link {
    pub(crate) fn wait(&self, alarm: &Alarm, deadline: Option<Instant>) -> Result<Wake, Error> {
        // The first of several that are signalled counts; taking the bell's count
        // consumes the ring.
        let handles = [
            alarm.0.as_handle(),
            self.bell.semaphore.as_handle(),
            self.remote_bell.gone.as_handle(),
            self.process.handle.as_handle(),
        ];
        Ok(match wait_any(handles, deadline)? {
            None => Wake::Timeout,
            Some(0) => Wake::Alarm,
            Some(1) => Wake::Bell,
            Some(_) => Wake::Gone,
        })
    }

    pub(crate) fn watch(&self, alarm: &Alarm, deadline: Option<Instant>) -> Result<Wake, Error> {
        let handles = [
            alarm.0.as_handle(),
            self.remote_bell.gone.as_handle(),
            self.process.handle.as_handle(),
        ];
        Ok(match wait_any(handles, deadline)? {
            None => Wake::Timeout,
            Some(0) => Wake::Alarm,
            Some(_) => Wake::Gone,
        })
    }

    pub(crate) fn ring(&self) {
        release(&self.remote_bell.semaphore);
    }

    pub(crate) fn hang_up(&self) {
        set(&self.bell.gone);
    }
}

/// The index of a handle that is signalled, the first of several; `None` for a
/// deadline that passed.
pub(super) fn wait_any<const N: usize>(
    handles: [BorrowedHandle<'_>; N],
    deadline: Option<Instant>,
) -> Result<Option<usize>, Error> {
    let handles: [HANDLE; N] = handles.map(|handle| handle.as_raw_handle());
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
        // SAFETY: `handles` are N open handles, which the caller's borrows keep so.
        let woken = unsafe { WaitForMultipleObjects(N as u32, handles.as_ptr(), 0, left_ms) };
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
