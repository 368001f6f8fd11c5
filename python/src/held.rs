//! What an end's object shares with its blocks: the end, which one call at a time may use.
//!
//! A block that was sent or given back comes home through its end. Whoever lets one come home
//! looks whether a call is in the end; if none is, it brings the block home itself, and if one
//! is, that call does: it looks when it has left the end. Nothing falls between the two: the
//! one stores that a block is on its way and then looks whether the end is free, the other one
//! frees the end and then looks whether a block is on its way, each with a full barrier in
//! between. A call that sleeps is woken by the library.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use engine::{Error, Monitor, Partner, Reader, Writer};
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::errors::raised;
use crate::wait::{Limit, wait};

/// A Reader or a Writer.
pub(crate) trait End: Send {
    fn bring_home(&self);
    fn facts(&self) -> Facts;
}

impl End for Reader {
    fn bring_home(&self) {
        Reader::bring_home(self);
    }

    fn facts(&self) -> Facts {
        Facts {
            block_size: self.block_size(),
            block_count: self.block_count(),
            epoch: self.epoch(),
            partner: self.partner().clone(),
            monitor: self.monitor(),
        }
    }
}

impl End for Writer {
    fn bring_home(&self) {
        Writer::bring_home(self);
    }

    fn facts(&self) -> Facts {
        Facts {
            block_size: self.block_size(),
            block_count: self.block_count(),
            epoch: self.epoch(),
            partner: self.partner().clone(),
            monitor: self.monitor(),
        }
    }
}

/// What does not change as long as the end lives, and nobody has to wait for.
pub(crate) struct Facts {
    pub(crate) block_size: usize,
    pub(crate) block_count: usize,
    pub(crate) epoch: u64,
    pub(crate) partner: Partner,
    pub(crate) monitor: Monitor,
}

/// An end, as its object and its blocks have it.
pub(crate) struct Held<E> {
    pub(crate) facts: Facts,
    /// `None` once it was left, or has become something else.
    end: Mutex<Option<E>>,
    /// The thread whose call is in the end; 0 if none is.
    inside: AtomicUsize,
    /// A block is on its way home.
    has_homecomers: AtomicBool,
    /// How many blocks Python has.
    lent: AtomicUsize,
    /// What has the blocks, once another end has taken this one's place.
    heir: OnceLock<Arc<Held<E>>>,
    /// The last word was said: no more data, or that the data has ended.
    pub(crate) has_ended: AtomicBool,
    /// The verdict is there, or this process gave up by itself.
    pub(crate) is_over: AtomicBool,
}

/// What tells the threads of a process apart, and is never 0.
fn this_thread() -> usize {
    thread_local! {
        static PLACE: u8 = const { 0 };
    }
    PLACE.with(|place| std::ptr::from_ref(place).addr())
}

const LEFT: Error = Error::InvalidUse("this end was left");
const AGAIN: Error = Error::InvalidUse("this thread is in a call of the same end already");
const FORKED: Error =
    Error::InvalidUse("the session is the parent's: this process was forked off it");

impl<E: End> Held<E> {
    pub(crate) fn new(end: E) -> Arc<Held<E>> {
        Arc::new(Held {
            facts: end.facts(),
            end: Mutex::new(Some(end)),
            inside: AtomicUsize::new(0),
            has_homecomers: AtomicBool::new(false),
            lent: AtomicUsize::new(0),
            heir: OnceLock::new(),
            has_ended: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        })
    }

    /// False in a forked child, which may not even wait for the lock: whoever has it may not
    /// be there.
    pub(crate) fn is_here(&self) -> bool {
        self.facts.monitor.is_here()
    }

    pub(crate) fn check_here(&self, py: Python<'_>) -> PyResult<()> {
        match self.is_here() {
            true => Ok(()),
            false => Err(raised(py, FORKED)),
        }
    }

    /// Lets a call of this thread into the end, once no other one is in it.
    #[inline]
    pub(crate) fn enter<'h>(&'h self, py: Python<'_>, limit: Limit) -> PyResult<Call<'h, E>> {
        let end = self.lock(py, limit)?;
        match MutexGuard::try_map(end, Option::as_mut) {
            Ok(end) => Ok(Call::new(self, end)),
            Err(_) => Err(raised(py, LEFT)),
        }
    }

    /// The end itself, once no call is in it; there is none any more then.
    pub(crate) fn take(&self, py: Python<'_>) -> PyResult<E> {
        let end = self.lock(py, Limit::Forever)?.take();
        end.ok_or_else(|| raised(py, LEFT))
    }

    #[inline]
    fn lock(&self, py: Python<'_>, limit: Limit) -> PyResult<MutexGuard<'_, Option<E>>> {
        self.check_here(py)?;
        match self.end.try_lock() {
            Some(end) => Ok(end),
            None => self.wait_for_others(py, limit),
        }
    }

    #[cold]
    fn wait_for_others(&self, py: Python<'_>, limit: Limit) -> PyResult<MutexGuard<'_, Option<E>>> {
        if self.inside.load(Ordering::Relaxed) == this_thread() {
            return Err(raised(py, AGAIN));
        }
        wait(py, limit, |until| match until {
            Some(until) => self.end.try_lock_until(until).ok_or(Error::TimedOut),
            None => Ok(self.end.lock()),
        })
    }

    /// Python has one more block of this end.
    pub(crate) fn lend(&self) {
        self.lent.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn lent(&self) -> usize {
        self.lent.load(Ordering::Relaxed)
    }

    /// A block that was lent is on its way home.
    pub(crate) fn take_home(&self) {
        self.lent.fetch_sub(1, Ordering::Relaxed);
        self.bring_home();
    }

    /// A block is on its way home.
    fn bring_home(&self) {
        // As in `welcome`: either this finds the heir, or `leave_to` what is on its way.
        fence(Ordering::SeqCst);
        if let Some(heir) = self.heir.get() {
            return heir.bring_home();
        }
        self.has_homecomers.store(true, Ordering::SeqCst);
        self.welcome();
    }

    /// Brings home what is on its way, unless a call is in the end, which does it then.
    #[inline]
    fn welcome(&self) {
        loop {
            // Pairs with itself in another thread, as the top of this file says.
            fence(Ordering::SeqCst);
            if !self.has_homecomers.load(Ordering::Relaxed) {
                return;
            }
            let Some(end) = self.end.try_lock() else {
                return;
            };
            // Acquire: what has set it, and pushed a block before, is seen.
            self.has_homecomers.swap(false, Ordering::AcqRel);
            if let Some(end) = &*end {
                end.bring_home();
            }
        }
    }

    /// Another end has the blocks from now on.
    pub(crate) fn leave_to(&self, heir: &Arc<Held<E>>) {
        // Nobody rejoins twice with success.
        if self.heir.set(Arc::clone(heir)).is_ok() {
            fence(Ordering::SeqCst);
            heir.bring_home();
        }
    }

    /// Gives the session up. Waits for nobody: a call that waits in the end fails with it.
    pub(crate) fn abort(&self, py: Python<'_>, reason: &str, code: u32) -> PyResult<()> {
        self.check_here(py)?;
        self.is_over.store(true, Ordering::Relaxed);
        py.detach(|| self.facts.monitor.abort_with(code, reason));
        Ok(())
    }

    /// Whether there is no end any more; not while a call is in it.
    pub(crate) fn is_left(&self) -> bool {
        self.end.try_lock().is_some_and(|end| end.is_none())
    }

    /// Lets go of the end, once no call is in it.
    pub(crate) fn leave(&self, py: Python<'_>) -> PyResult<()> {
        let end = self.lock(py, Limit::Forever)?.take();
        py.detach(|| drop(end));
        Ok(())
    }

    /// The same for who is collected: no call is in the end, and none comes.
    pub(crate) fn drop_end(&self) {
        if self.is_here() {
            let end = self.end.lock().take();
            drop(end);
        }
    }
}

/// Why a session is given up because of an exception.
pub(crate) fn reason(kind: &Bound<'_, PyType>, value: Option<&Bound<'_, PyAny>>) -> String {
    let kind = kind
        .name()
        .map_or_else(|_| String::new(), |name| name.to_string());
    let text = value
        .and_then(|value| value.str().ok())
        .map(|text| text.to_string());
    match text {
        Some(text) if !text.is_empty() => format!("{kind}: {text}"),
        _ => kind,
    }
}

/// A call that is in the end.
pub(crate) struct Call<'h, E: End> {
    // In this order: who leaves, looks afterwards whether a block is on its way.
    end: MappedMutexGuard<'h, E>,
    left: Left<'h, E>,
}

impl<'h, E: End> Call<'h, E> {
    fn new(held: &'h Held<E>, end: MappedMutexGuard<'h, E>) -> Call<'h, E> {
        held.inside.store(this_thread(), Ordering::Relaxed);
        Call {
            end,
            left: Left(held),
        }
    }

    /// Lets the end wait, until it has something or `limit` has passed.
    pub(crate) fn wait<T: Send>(
        &mut self,
        py: Python<'_>,
        limit: Limit,
        mut step: impl FnMut(&E, Option<Instant>) -> Result<T, Error> + Send,
    ) -> PyResult<T> {
        let end = &mut *self.end;
        wait(py, limit, |until| {
            // Mutable, since the end is one thread's at a time.
            let end = &mut *end;
            step(end, until)
        })
    }
}

impl<E: End> Deref for Call<'_, E> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.end
    }
}

impl<E: End> Drop for Call<'_, E> {
    fn drop(&mut self) {
        self.left.0.inside.store(0, Ordering::Relaxed);
    }
}

/// Nobody is in the end any more, when this is dropped.
struct Left<'h, E: End>(&'h Held<E>);

impl<E: End> Drop for Left<'_, E> {
    fn drop(&mut self) {
        self.0.welcome();
    }
}
