//! "When this is signalled, set that event": by the system's pool of threads.
#![expect(unsafe_code, reason = "the system's interface is all unsafe functions")]

use std::ffi::c_void;
use std::io;
use std::os::windows::io::{AsRawHandle, BorrowedHandle};
use std::ptr;

use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Threading::{
    INFINITE, RegisterWaitForSingleObject, SetEvent, UnregisterWaitEx, WT_EXECUTEINWAITTHREAD,
    WT_EXECUTEONLYONCE,
};

/// Sets an event once an object is signalled, until dropped.
pub(super) struct Registered(HANDLE);

// SAFETY: the handle may be used from any thread, and only `drop` uses it.
unsafe impl Send for Registered {}
// SAFETY: as above.
unsafe impl Sync for Registered {}

impl Registered {
    /// # Safety
    ///
    /// Both handles stay open until the value was dropped, which it is.
    pub(super) unsafe fn new(
        object: BorrowedHandle<'_>,
        event: BorrowedHandle<'_>,
    ) -> io::Result<Registered> {
        let mut wait = ptr::null_mut();
        // SAFETY: `wait` is a live variable, the callback takes the event for its context,
        // and both handles are open as long as it may be called (the caller's promise).
        let registered = unsafe {
            RegisterWaitForSingleObject(
                &mut wait,
                object.as_raw_handle(),
                Some(set_event),
                event.as_raw_handle(),
                INFINITE,
                WT_EXECUTEONLYONCE | WT_EXECUTEINWAITTHREAD,
            )
        };
        match registered {
            0 => Err(io::Error::last_os_error()),
            _ => Ok(Registered(wait)),
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // SAFETY: registered by `new`, and unregistered once. Returns when the callback
        // is not running and never will be, so what it refers to may go.
        let _ = unsafe { UnregisterWaitEx(self.0, INVALID_HANDLE_VALUE) };
    }
}

/// # Safety
///
/// `event` is an event's open handle.
unsafe extern "system" fn set_event(event: *mut c_void, _timed_out: bool) {
    // SAFETY: the caller's promise (`Registered::new`).
    let _ = unsafe { SetEvent(event) };
}
