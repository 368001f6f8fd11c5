//! The system's part: a task is woken when an end's handle becomes readable.
//!
//! A back end offers `Signal::new(handle)`, whose caller sees to it that the handle stays open
//! until the value was dropped. It fails with what the system says, and may panic outside of a
//! runtime. `Signal` is [`brigade::Readiness`], `Send`, `Sync` and `Unpin`. Dropped in a forked
//! child, it MUST change nothing for its parent.
#![expect(unsafe_code, reason = "a signal refers to a handle beside it")]

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use brigade::{Error, Handle, Reader, Writer};
use tokio::task::coop;

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use unix::Signal;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(crate) use windows::Signal;

/// An end and what tells of its handle.
#[derive(Debug)]
pub(crate) struct Watched<E> {
    // In this order when dropped; and `end` is never replaced, since its handle is its own.
    signal: Signal,
    end: E,
}

pub(crate) trait HasHandle {
    /// The same as long as the value lives, and open so long.
    fn handle(&self) -> Result<Handle<'_>, Error>;
}

impl HasHandle for Reader {
    fn handle(&self) -> Result<Handle<'_>, Error> {
        Reader::handle(self)
    }
}

impl HasHandle for Writer {
    fn handle(&self) -> Result<Handle<'_>, Error> {
        Writer::handle(self)
    }
}

impl<E: HasHandle> Watched<E> {
    pub(crate) fn new(end: E) -> Result<Watched<E>, Error> {
        // SAFETY: both stay together, and `end` is dropped last.
        let signal = unsafe { Signal::new(end.handle()?) };
        let signal = signal.map_err(|source| Error::Os {
            operation: "let the runtime wait for the handle of a session".to_owned(),
            source,
        })?;
        Ok(Watched { signal, end })
    }
}

impl<E> Watched<E> {
    pub(crate) fn end(&self) -> &E {
        &self.end
    }

    /// Polls, unless the task has to let others run.
    pub(crate) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&E, &mut Signal, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let budget = ready!(coop::poll_proceed(cx));
        let found = poll(&self.end, &mut self.signal, cx);
        if found.is_ready() {
            budget.made_progress();
        }
        found
    }

    /// Polls until it is ready.
    pub(crate) async fn wait<T>(
        &mut self,
        mut poll: impl FnMut(&E, &mut Signal, &mut Context<'_>) -> Poll<T>,
    ) -> T {
        poll_fn(|cx| self.poll(cx, &mut poll)).await
    }

    pub(crate) fn into_end(self) -> E {
        let Watched { signal, end } = self;
        drop(signal);
        end
    }
}
