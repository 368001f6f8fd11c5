//! Waiting as a task of an asynchronous runtime: `poll_…`, with no runtime in it.
//!
//! These are the steps of `crate::wait`, taken in the right order; the runtime's part is a
//! [`Readiness`].

use std::io;
use std::task::{Context, Poll};

use crate::block::{DataBlock, EmptyBlock, Newest};
use crate::error::{Delivered, Error};
use crate::letters::Letter;
use crate::reader::Reader;
use crate::wait::Interest;
use crate::writer::Writer;

/// What a runtime knows of one end's handle ([`Reader::handle`], [`Writer::handle`]): it
/// becomes readable (on Windows: signalled), and a task is woken for it.
///
/// Made once for each end, and dropped before it. For the `poll_…` methods of both ends, which
/// have these rules in common:
///
/// - They are cancel-safe: a block or a letter is taken only by a call that is ready with it.
///   To stop polling costs nothing, at any time.
/// - Of several pending calls on one end, the task that polled last is woken, as everywhere;
///   calls for different things may be pending at once in that task.
/// - A call that would be pending looks for some microseconds first, as all calls that wait do; not if another end
///   of the same thread has just done so and found nothing.
/// - Calls that do not wait (`try_…`) may come in between. [`Reader::arm`], `disarm`, and calls
///   that wait by blocking end what is pending, and wake nobody: they do not go with it.
///
/// # Example
///
/// A task's loop over a Writer; `readiness` is the runtime's:
///
/// ```
/// use std::future::poll_fn;
///
/// use brigade::{Error, Readiness, Writer};
///
/// async fn drain(writer: &Writer, readiness: &mut impl Readiness) -> Result<(), Error> {
///     while let Some(block) = poll_fn(|cx| writer.poll_data_block(readiness, cx)).await? {
///         println!("{} bytes", block.len());
///     }
///     writer.finish().map(drop)
/// }
/// ```
pub trait Readiness {
    /// Ready if the handle became readable since this was last ready, or may have; it is said
    /// once. If it did not, the task of `cx` is woken when it does.
    ///
    /// A runtime that knows only whether the handle is readable now (and does not say so once)
    /// may do that instead: it is made unreadable before it is waited for again.
    ///
    /// # Errors
    ///
    /// If the task cannot be woken: the runtime was shut down, for instance. The call that
    /// polls fails with [`Error::Os`] then.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl Reader {
    /// As [`Reader::empty_block`], for a task.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::Os`] of `readiness`.
    #[inline(always)]
    pub fn poll_empty_block(
        &self,
        readiness: &mut dyn Readiness,
        cx: &mut Context<'_>,
    ) -> Poll<Result<EmptyBlock<'_>, Error>> {
        if let Some(block) = self.at_hand() {
            return Poll::Ready(Ok(self.token(block)));
        }
        let look = || self.look_again();
        self.end().poll(Interest::BLOCKS, readiness, cx, look)
    }

    /// As [`Reader::verdict`], for a task.
    ///
    /// # Errors
    ///
    /// As there. [`Error::Os`] of `readiness` is no verdict: the Writer is told that the
    /// session was given up.
    pub fn poll_verdict(
        &self,
        readiness: &mut dyn Readiness,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Delivered, Error>> {
        self.can_be_judged()?;
        let look = || self.look_for_verdict();
        let verdict = self.end().poll(Interest::VERDICT, readiness, cx, look);
        verdict.map(|verdict| self.settle(verdict))
    }

    /// As [`Reader::letter`], for a task.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::Os`] of `readiness`.
    pub fn poll_letter(
        &self,
        readiness: &mut dyn Readiness,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Letter>, Error>> {
        let look = || self.end().take_letter();
        self.end().poll(Interest::LETTERS, readiness, cx, look)
    }

    /// As [`Reader::post`], for a task: posted when it is ready.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::Os`] of `readiness`.
    pub fn poll_post(
        &self,
        kind: u16,
        bytes: &[u8],
        readiness: &mut dyn Readiness,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        let look = || self.end().post_or_find_why_not(kind, bytes);
        self.end().poll(Interest::ROOM, readiness, cx, look)
    }

    /// Ready if a call that does not wait (`try_…`) would find something that `interest` asks
    /// for. For several things at once.
    ///
    /// # Errors
    ///
    /// As [`Reader::empty_block`], and [`Error::Os`] of `readiness`.
    pub fn poll_interest(
        &self,
        interest: Interest,
        readiness: &mut dyn Readiness,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        self.end().poll_interest(interest, readiness, cx)
    }

    /// As [`Monitor::watch`](crate::Monitor::watch), for a task: what is left to be received or
    /// given back does not matter to it, and the Writer does not notice. What other threads
    /// have done with detached blocks is passed on meanwhile.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::Os`] of `readiness`.
    pub fn poll_end(
        &self,
        readiness: &mut dyn Readiness,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        self.end().poll_end(readiness, cx)
    }
}

impl Writer {
    /// As [`Writer::data_block`], for a task.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::Os`] of `readiness`.
    #[inline(always)]
    pub fn poll_data_block(
        &self,
        readiness: &mut dyn Readiness,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<DataBlock<'_>>, Error>> {
        if let Some(block) = self.at_hand() {
            return Poll::Ready(Ok(Some(block)));
        }
        let look = || self.look_again();
        self.end().poll(Interest::BLOCKS, readiness, cx, look)
    }

    /// As [`Writer::newest_block`], for a task.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::Os`] of `readiness`.
    pub fn poll_newest_block(
        &self,
        readiness: &mut dyn Readiness,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Newest<'_>>, Error>> {
        let found = self.poll_data_block(readiness, cx);
        found.map(|found| found?.map(|block| self.newer(block)).transpose())
    }

    /// As [`Writer::letter`], for a task.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::Os`] of `readiness`.
    pub fn poll_letter(
        &self,
        readiness: &mut dyn Readiness,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Letter>, Error>> {
        let look = || self.end().take_letter();
        self.end().poll(Interest::LETTERS, readiness, cx, look)
    }

    /// As [`Writer::post`], for a task: posted when it is ready.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::Os`] of `readiness`.
    pub fn poll_post(
        &self,
        kind: u16,
        bytes: &[u8],
        readiness: &mut dyn Readiness,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        let look = || self.end().post_or_find_why_not(kind, bytes);
        self.end().poll(Interest::ROOM, readiness, cx, look)
    }

    /// Ready if a call that does not wait (`try_…`) would find something that `interest` asks
    /// for. For several things at once.
    ///
    /// # Errors
    ///
    /// As [`Writer::data_block`], and [`Error::Os`] of `readiness`.
    pub fn poll_interest(
        &self,
        interest: Interest,
        readiness: &mut dyn Readiness,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        self.end().poll_interest(interest, readiness, cx)
    }

    /// As [`Monitor::watch`](crate::Monitor::watch), for a task: what is left to be received or
    /// given back does not matter to it, and the Reader does not notice. What other threads
    /// have done with detached blocks is passed on meanwhile.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::Os`] of `readiness`.
    pub fn poll_end(
        &self,
        readiness: &mut dyn Readiness,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        self.end().poll_end(readiness, cx)
    }
}
