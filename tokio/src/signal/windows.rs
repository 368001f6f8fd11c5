//! By the system's own thread, which waits for what is registered with it.
#![expect(unsafe_code, reason = "the system's interface is all unsafe functions")]

use std::ffi::c_void;
use std::io;
use std::os::windows::io::AsRawHandle;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, ThreadId};

use brigade::{Handle, Readiness};
use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Threading::{
    INFINITE, RegisterWaitForSingleObject, UnregisterWaitEx, WT_EXECUTEINWAITTHREAD,
    WT_EXECUTEONLYONCE,
};

/// Wakes a task when an object is signalled, each time that it is asked to.
#[derive(Debug)]
pub(crate) struct Signal {
    /// While there is one, the system waits, or has found the object signalled.
    registered: Option<Registered>,
    /// Open as long as this value (the promise of `new`).
    object: HANDLE,
    shared: Arc<Shared>,
}

// SAFETY: the handle may be used from any thread.
unsafe impl Send for Signal {}
// SAFETY: as above, and nothing is done with it by a shared reference.
unsafe impl Sync for Signal {}

/// What the system's thread sees.
#[derive(Debug, Default)]
struct Shared(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    is_signalled: bool,
    waker: Option<Waker>,
    /// The system's thread, while it wakes the task.
    waking: Option<ThreadId>,
}

impl Shared {
    /// A panic while it was held leaves it valid: each use is a single step.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Signal {
    /// # Safety
    ///
    /// The handle stays open until the value was dropped.
    #[expect(clippy::unnecessary_wraps, reason = "the contract is of both systems")]
    pub(crate) unsafe fn new(handle: Handle<'_>) -> io::Result<Signal> {
        Ok(Signal {
            registered: None,
            object: handle.as_raw_handle(),
            shared: Arc::default(),
        })
    }
}

impl Readiness for Signal {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.shared.state();
        if state.is_signalled {
            state.is_signalled = false;
            drop(state);
            // Made for one time.
            self.registered = None;
            return Poll::Ready(Ok(()));
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        drop(state);
        if self.registered.is_none() {
            // SAFETY: the object is open as long as `self`, which drops the value.
            let registered = unsafe { Registered::new(self.object, &self.shared) };
            self.registered = Some(registered?);
        }
        Poll::Pending
    }
}

/// One wait of the system's, until dropped.
#[derive(Debug)]
struct Registered {
    wait: HANDLE,
    shared: Arc<Shared>,
}

impl Registered {
    /// # Safety
    ///
    /// `object` stays open until the value was dropped, which it is.
    unsafe fn new(object: HANDLE, shared: &Arc<Shared>) -> io::Result<Registered> {
        let shared = Arc::clone(shared);
        let mut wait = ptr::null_mut();
        // SAFETY: `wait` is a live variable; the callback takes a pointer from an `Arc` for
        // its context, which the value keeps alive as long as it may be called; the object is
        // open so long (the caller's promise).
        let done = unsafe {
            RegisterWaitForSingleObject(
                &mut wait,
                object,
                Some(wake),
                Arc::as_ptr(&shared).cast(),
                INFINITE,
                WT_EXECUTEONLYONCE | WT_EXECUTEINWAITTHREAD,
            )
        };
        match done {
            0 => Err(io::Error::last_os_error()),
            _ => Ok(Registered { wait, shared }),
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // The callback cannot wait for its own end: a waker may drop the task at once. It was
        // called then, for the only time, and uses nothing of this value any more.
        let is_inside = self.shared.state().waking == Some(thread::current().id());
        let until = match is_inside {
            true => ptr::null_mut(),
            false => INVALID_HANDLE_VALUE,
        };
        // SAFETY: registered by `new`, and unregistered once. Returns, but for the case above,
        // when the callback is not running and never will be.
        let _ = unsafe { UnregisterWaitEx(self.wait, until) };
    }
}

/// # Safety
///
/// `shared` is a pointer from an `Arc<Shared>` that is there when this is called.
unsafe extern "system" fn wake(shared: *mut c_void, _timed_out: bool) {
    let shared: *const Shared = shared.cast_const().cast();
    // SAFETY: the caller's promise (`Registered::new`). A count of its own lets it outlive what
    // the waker drops.
    let shared = unsafe {
        Arc::increment_strong_count(shared);
        Arc::from_raw(shared)
    };
    let mut state = shared.state();
    state.is_signalled = true;
    state.waking = Some(thread::current().id());
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
    shared.state().waking = None;
}
