//! The end that drains blocks.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use crate::block::{DataBlock, Label};
use crate::error::{Delivered, Error};
use crate::letters::Letter;
use crate::monitor::Monitor;
use crate::options::Partner;
use crate::pair::{Core, End, Pair};
use crate::region::Block;
use crate::region::layout::{RETURNED_WORDS, SENT_WORDS, Sent};
use crate::stream::ReceiveStream;
use crate::sys::Handle;
use crate::wait::Interest;

/// The end that takes filled blocks, drains them and gives them back.
///
/// Dropped before [`Writer::finish`] has succeeded, it tells the Reader that it
/// gave up.
#[derive(Debug)]
pub struct Writer {
    end: End<RETURNED_WORDS, SENT_WORDS>,
    /// For each block that is here, what it was sent with.
    labels: Box<[Cell<Label>]>,
    /// The end of data was seen.
    drained: Cell<bool>,
}

impl Writer {
    pub(crate) fn new(core: Arc<Core>, pair: Arc<Pair>) -> Writer {
        let end = End::new(core, pair);
        Writer {
            labels: vec![Cell::new(Label::default()); end.block_count()].into(),
            end,
            drained: Cell::new(false),
        }
    }

    #[inline(always)]
    pub(crate) fn end(&self) -> &End<RETURNED_WORDS, SENT_WORDS> {
        &self.end
    }

    /// What a block that is here was sent with.
    #[inline(always)]
    pub(crate) fn label(&self, block: &Block) -> Label {
        self.labels[block.number()].get()
    }

    /// The process at the other end.
    pub fn partner(&self) -> &Partner {
        self.end.partner()
    }

    /// A second handle on this session, for other threads.
    pub fn monitor(&self) -> Monitor {
        self.end.monitor()
    }

    /// Size of each block in bytes.
    pub fn block_size(&self) -> usize {
        self.end.pool().block_size()
    }

    /// Number of blocks in the pool.
    pub fn block_count(&self) -> usize {
        self.end.block_count()
    }

    /// What was given back so far.
    pub fn delivered(&self) -> Delivered {
        self.end.delivered()
    }

    /// The next filled block, in the order in which they were sent; `None` at the
    /// end of the data. Several may be held at once, and given back (dropped) in
    /// any order.
    ///
    /// # Errors
    ///
    /// [`Error::PartnerDied`] and [`Error::PartnerAborted`], after all blocks sent
    /// before; [`Error::ProtocolViolation`]; [`Error::Aborted`]. Noticed only when
    /// the call has to wait.
    #[inline(always)]
    pub fn data_block(&self) -> Result<Option<DataBlock<'_>>, Error> {
        match self.look()? {
            None => self.end.wait(None, || self.look_again()),
            block => Ok(block),
        }
    }

    /// As [`Writer::data_block`], but waits no longer than `deadline`.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::TimedOut`].
    #[inline(always)]
    pub fn data_block_until(&self, deadline: Instant) -> Result<Option<DataBlock<'_>>, Error> {
        match self.look()? {
            None => self.end.wait(Some(deadline), || self.look_again()),
            block => Ok(block),
        }
    }

    /// As [`Writer::data_block`], but does not wait: `None` also if there is none now.
    /// [`Writer::at_end`] tells the two apart.
    ///
    /// # Errors
    ///
    /// As there.
    #[inline(always)]
    pub fn try_data_block(&self) -> Result<Option<DataBlock<'_>>, Error> {
        match self.look()? {
            None => Ok(self.end.look_once(|| self.look_again())?.flatten()),
            block => Ok(block),
        }
    }

    /// Whether the end of the data was seen: all blocks were taken, and none will come.
    pub fn at_end(&self) -> bool {
        self.drained.get()
    }

    #[inline(always)]
    fn look(&self) -> Result<Option<DataBlock<'_>>, Error> {
        // All but those that are here.
        let out = || {
            let here = self.end.taken() - self.end.published();
            self.end.block_count() as u64 - here
        };
        let Some(words) = self.end.take(out)? else {
            return Ok(None);
        };
        let sent = Sent::from_words(words);
        let arrived = self.end.pool().arrive(sent.block.into(), sent.len as usize);
        let block = arrived.map_err(|violation| self.end.violation(violation))?;
        self.labels[block.number()].set(Label {
            kind: sent.kind,
            tag: sent.tag,
            more: sent.more,
        });
        Ok(Some(DataBlock {
            writer: self,
            block,
        }))
    }

    /// `Some(None)` at the end of the data.
    fn look_again(&self) -> Result<Option<Option<DataBlock<'_>>>, Error> {
        // The state first: what was sent before it changed is then found by the look.
        let ended = self.end.partner_ended();
        match (self.look()?, ended) {
            (Some(block), _) => Ok(Some(Some(block))),
            (None, Ok(false)) => Ok(None),
            (None, Ok(true)) => {
                self.drained.set(true);
                Ok(Some(None))
            }
            (None, Err(error)) => Err(error),
        }
    }

    /// The verdict: everything was drained and is good. The Reader's
    /// [`finish`](crate::Reader::finish) returns.
    ///
    /// The Reader cannot object any more, so first do what may still fail (sync
    /// a file, for instance), and [`check`](Writer::check) whether it is alive if
    /// that matters. Never blocks.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUse`] if the end of the data has not been seen, or if a block was
    /// not given back (by [`std::mem::forget`], say): the Reader is told that there is
    /// no verdict;
    /// [`Error::PartnerAborted`] if the Reader gave up in the meantime;
    /// [`Error::Aborted`].
    pub fn finish(&self) -> Result<Delivered, Error> {
        if !self.drained.get() {
            return self.end.refuse_use("the end of the data has not been seen");
        }
        if self.end.has_ended() {
            return self.end.refuse_use("the verdict was given before");
        }
        // The Reader could not take the verdict: it waits for every block.
        if self.end.taken() != self.end.published() {
            let error = Error::InvalidUse("a block was taken and never given back");
            self.end.abort(&format!("no verdict: {error}"));
            return Err(error);
        }
        self.end.partner_ended()?;
        self.end.end()?;
        self.end.set_over();
        Ok(self.delivered())
    }

    /// Whether the Reader is alive and has not given up, as far as can be known
    /// now. Costs a system call.
    ///
    /// # Errors
    ///
    /// As [`Writer::data_block`].
    pub fn check(&self) -> Result<(), Error> {
        self.end.check()
    }

    /// Gives up: the Reader gets `reason` (cut to 1024 bytes) as
    /// [`Error::PartnerAborted`].
    pub fn abort(self, reason: &str) {
        self.end.abort(reason);
    }

    /// The first two steps of a wait, for those that sleep by other means: says that this
    /// end is about to sleep, and looks once more. True: wait until [`Writer::handle`] is
    /// readable, then [`Writer::disarm`], and look by calls that do not wait (`try_…`).
    /// False: look now; this end is not armed.
    ///
    /// To be armed lasts until [`Writer::disarm`], or a call that waits; calls that do not
    /// wait leave it as it is. Several interests are combined with `|`.
    ///
    /// # Errors
    ///
    /// What the system says. A session that has failed is something to look at.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn sleep_on(handle: brigade::Handle<'_>) {}
    /// # fn main() -> Result<(), brigade::Error> {
    /// # let end: brigade::Writer = unimplemented!();
    /// loop {
    ///     while let Some(block) = end.try_data_block()? {
    ///         // …
    ///     }
    ///     if end.arm(brigade::Interest::BLOCKS)? {
    ///         sleep_on(end.handle()); // poll(2), a reactor, WaitForSingleObject
    ///         end.disarm()?;
    ///     }
    /// }
    /// # }
    /// ```
    pub fn arm(&self, interest: Interest) -> Result<bool, Error> {
        self.end.arm(interest)
    }

    /// Ends what [`Writer::arm`] began, and makes the handle unreadable again, unless the
    /// session is over.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn disarm(&self) -> Result<(), Error> {
        self.end.disarm()
    }

    /// What becomes readable (on Windows: signalled) when there may be something to look
    /// at while this end is armed: something that was waited for has come, or the partner
    /// has left or died, or this process has given up. For `poll`, `epoll`, or a runtime's
    /// reactor; nothing may be read from or written to it. On Windows, whoever waits for
    /// it takes the signal. It is this end's own, and valid as long as the end.
    pub fn handle(&self) -> Handle<'_> {
        self.end.handle()
    }

    /// Posts a letter to the Reader: at most [`LETTER_MAX`](crate::LETTER_MAX) bytes, with a
    /// number of the application's choice. Waits as long as
    /// [`LETTERS`](crate::LETTERS) of them lie unread. Letters arrive in the order of
    /// posting, but not in any order with the blocks.
    ///
    /// # Errors
    ///
    /// As [`Writer::data_block`]; [`Error::InvalidUse`] if the letter is too long, or
    /// after [`Writer::finish`].
    pub fn post(&self, kind: u16, bytes: &[u8]) -> Result<(), Error> {
        let look = || self.end.post_or_find_why_not(kind, bytes);
        self.end.wait(None, look)
    }

    /// As [`Writer::post`], but waits no longer than `deadline`.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::TimedOut`].
    pub fn post_until(&self, kind: u16, bytes: &[u8], deadline: Instant) -> Result<(), Error> {
        let look = || self.end.post_or_find_why_not(kind, bytes);
        self.end.wait(Some(deadline), look)
    }

    /// As [`Writer::post`], but does not wait: false if there is no room for the letter now.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn try_post(&self, kind: u16, bytes: &[u8]) -> Result<bool, Error> {
        let look = || self.end.post_or_find_why_not(kind, bytes);
        Ok(self.end.look_once(look)?.is_some())
    }

    /// The Reader's next letter; `None` if it has said that nothing more will come, and none
    /// is left.
    ///
    /// # Errors
    ///
    /// As [`Writer::data_block`], after all letters that were posted before.
    pub fn letter(&self) -> Result<Option<Letter>, Error> {
        self.end.wait(None, || self.end.take_letter())
    }

    /// As [`Writer::letter`], but waits no longer than `deadline`.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::TimedOut`].
    pub fn letter_until(&self, deadline: Instant) -> Result<Option<Letter>, Error> {
        self.end.wait(Some(deadline), || self.end.take_letter())
    }

    /// As [`Writer::letter`], but does not wait: `None` also if there is none now.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn try_letter(&self) -> Result<Option<Letter>, Error> {
        let found = self.end.look_once(|| self.end.take_letter())?;
        Ok(found.flatten())
    }

    /// A [`std::io::Read`] over the blocks' bytes, one after the other.
    pub fn stream(&self) -> ReceiveStream<'_> {
        ReceiveStream::new(self)
    }
}
