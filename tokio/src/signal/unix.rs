//! By the runtime's own reactor, which waits for descriptors.
#![expect(
    unsafe_code,
    reason = "the reactor trusts that a descriptor stays open, and is left alone in a forked child"
)]

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, RawFd};
use std::process;
use std::task::{Context, Poll, ready};

use brigade::{Handle, Readiness};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor in the runtime's reactor, until dropped.
#[derive(Debug)]
pub(crate) struct Signal {
    watched: ManuallyDrop<AsyncFd<Descriptor>>,
    /// The process that it was made in.
    process_id: u32,
}

#[derive(Debug)]
struct Descriptor(RawFd);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl Signal {
    /// # Safety
    ///
    /// The handle stays open until the value was dropped.
    ///
    /// # Panics
    ///
    /// Outside of a runtime, and if that has no I/O.
    pub(crate) unsafe fn new(handle: Handle<'_>) -> io::Result<Signal> {
        let descriptor = Descriptor(handle.as_raw_fd());
        // SAFETY: the caller's promise, and the number never changes.
        let watched = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
        Ok(Signal {
            watched: ManuallyDrop::new(watched?),
            process_id: process::id(),
        })
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        // A forked child has the reactor's descriptor, too: taken out there, the parent would
        // never be woken again.
        if process::id() == self.process_id {
            // SAFETY: dropped here alone, and not used after it.
            unsafe { ManuallyDrop::drop(&mut self.watched) };
        }
    }
}

impl Readiness for Signal {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut ready = ready!(self.watched.poll_read_ready(cx))?;
        // The reactor hears of each ring (it is edge-triggered), so what comes after this is
        // told again. If one has come just now, this does nothing.
        ready.clear_ready();
        Poll::Ready(Ok(()))
    }
}
