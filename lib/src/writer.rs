//! The end that drains blocks.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use crate::error::{Delivered, Error};
use crate::monitor::Monitor;
use crate::options::Partner;
use crate::pair::{Core, End, Pair, Patience};
use crate::region::Block;
use crate::region::layout::{RETURNED_WORDS, SENT_WORDS, Sent};
use crate::stream::ReceiveStream;

/// The end that takes filled blocks, drains them and gives them back.
///
/// Dropped before [`Writer::finish`] has succeeded, it tells the Reader that it
/// gave up.
#[derive(Debug)]
pub struct Writer {
    end: End<RETURNED_WORDS, SENT_WORDS>,
    /// For each block that is here, its kind and tag.
    labels: Box<[Cell<(u16, u64)>]>,
    /// The end of data was seen.
    drained: Cell<bool>,
}

impl Writer {
    pub(crate) fn new(core: Arc<Core>, pair: Arc<Pair>) -> Writer {
        let end = End::new(core, pair);
        Writer {
            labels: vec![Cell::new((0, 0)); end.block_count()].into(),
            end,
            drained: Cell::new(false),
        }
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
        self.next(Patience::Endless)
    }

    /// As [`Writer::data_block`], but waits no longer than `deadline`.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::TimedOut`].
    #[inline(always)]
    pub fn data_block_until(&self, deadline: Instant) -> Result<Option<DataBlock<'_>>, Error> {
        self.next(Patience::Until(deadline))
    }

    /// As [`Writer::data_block`], but does not wait.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::TimedOut`] if there is none now.
    #[inline(always)]
    pub fn try_data_block(&self) -> Result<Option<DataBlock<'_>>, Error> {
        self.next(Patience::None)
    }

    #[inline(always)]
    fn next(&self, patience: Patience) -> Result<Option<DataBlock<'_>>, Error> {
        match self.look()? {
            None => self.wait(patience),
            block => Ok(block),
        }
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
        self.labels[block.number()].set((sent.kind, sent.tag));
        Ok(Some(DataBlock {
            writer: self,
            block,
        }))
    }

    #[cold]
    #[inline(never)]
    fn wait(&self, patience: Patience) -> Result<Option<DataBlock<'_>>, Error> {
        self.end.wait(patience, || {
            // The state first: what was sent before it changed is then found by
            // the look.
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
        })
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
    pub fn finish(self) -> Result<Delivered, Error> {
        if !self.drained.get() {
            return Err(Error::InvalidUse("the end of the data has not been seen"));
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

    /// A [`std::io::Read`] over the blocks' bytes, one after the other.
    pub fn stream(&self) -> ReceiveStream<'_> {
        ReceiveStream::new(self)
    }
}

/// A filled block: its bytes are those of a `&[u8]`. Dropped, it is given back.
///
/// The bytes are the Reader's to write: they stay as they are as long as the
/// Reader keeps the protocol, which its process cannot be forced to.
#[derive(Debug)]
pub struct DataBlock<'w> {
    writer: &'w Writer,
    block: Block,
}

impl DataBlock<'_> {
    /// The number that the block was sent with.
    #[inline(always)]
    pub fn tag(&self) -> u64 {
        self.writer.labels[self.block.number()].get().1
    }

    /// The second number that the block was sent with; 0 if none was given.
    #[inline(always)]
    pub fn kind(&self) -> u16 {
        self.writer.labels[self.block.number()].get().0
    }

    /// Gives the block back, as dropping it does. Never blocks.
    #[inline(always)]
    pub fn done(self) {}
}

impl Deref for DataBlock<'_> {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        self.writer.end.pool().bytes(&self.block)
    }
}

impl Drop for DataBlock<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.writer.end.count(block.len());
            let number = self.writer.end.pool().depart(block);
            self.writer.end.publish([number as u64]);
        }
    }
}
