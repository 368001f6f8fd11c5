//! The end that fills blocks.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Instant;

use crate::error::{Delivered, Error, Violation};
use crate::monitor::Monitor;
use crate::options::Partner;
use crate::pair::{Core, End, Pair, Patience};
use crate::region::Block;
use crate::region::layout::{RETURNED_WORDS, SENT_WORDS, Sent};
use crate::stream::SendStream;

/// The end that takes empty blocks, fills them and sends them.
///
/// Dropped before [`Reader::finish`] has succeeded, it tells the Writer that it
/// gave up.
#[derive(Debug)]
pub struct Reader {
    end: End<SENT_WORDS, RETURNED_WORDS>,
    /// Bytes that streams have taken and not sent.
    unsent_bytes: Cell<u64>,
}

impl Reader {
    pub(crate) fn new(core: Arc<Core>, pair: Arc<Pair>) -> Reader {
        Reader {
            end: End::new(core, pair),
            unsent_bytes: Cell::new(0),
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

    /// What the Writer has given back so far, by its word.
    pub fn delivered(&self) -> Delivered {
        self.end.delivered()
    }

    /// An empty block, as soon as there is one; several may be held at once.
    /// While this process holds *all* blocks none can come, and the call waits
    /// for ever: see [`Reader::try_empty_block`].
    ///
    /// # Errors
    ///
    /// [`Error::PartnerDied`], [`Error::PartnerAborted`],
    /// [`Error::ProtocolViolation`], [`Error::Aborted`]. Noticed only when the
    /// call has to wait.
    #[inline(always)]
    pub fn empty_block(&self) -> Result<EmptyBlock<'_>, Error> {
        self.next(Patience::Endless)
    }

    /// As [`Reader::empty_block`], but waits no longer than `deadline`.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::TimedOut`].
    #[inline(always)]
    pub fn empty_block_until(&self, deadline: Instant) -> Result<EmptyBlock<'_>, Error> {
        self.next(Patience::Until(deadline))
    }

    /// As [`Reader::empty_block`], but does not wait.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::TimedOut`] if there is none now.
    #[inline(always)]
    pub fn try_empty_block(&self) -> Result<EmptyBlock<'_>, Error> {
        self.next(Patience::None)
    }

    #[inline(always)]
    fn next(&self, patience: Patience) -> Result<EmptyBlock<'_>, Error> {
        let block = match self.look()? {
            Some(block) => block,
            None => self.wait(patience)?,
        };
        Ok(EmptyBlock {
            reader: self,
            block,
        })
    }

    #[inline(always)]
    fn look(&self) -> Result<Option<Block>, Error> {
        match self.end.pool().take_spare() {
            None => self.take_back(),
            spare => Ok(spare),
        }
    }

    /// A block that the Writer gave back.
    #[inline(always)]
    fn take_back(&self) -> Result<Option<Block>, Error> {
        let out = || self.end.published() - self.end.taken();
        let Some([number]) = self.end.take(out)? else {
            return Ok(None);
        };
        let arrived = self.end.pool().arrive(number, self.block_size());
        let block = arrived.map_err(|violation| self.end.violation(violation))?;
        Ok(Some(block))
    }

    #[cold]
    #[inline(never)]
    fn wait(&self, patience: Patience) -> Result<Block, Error> {
        self.end.wait(patience, || {
            // The state first: what was given back before it changed is then
            // found by the look.
            let ended = self.end.partner_ended();
            match (self.look()?, ended) {
                (Some(block), _) => Ok(Some(block)),
                (None, Ok(false)) => Ok(None),
                (None, Ok(true)) => Err(self.end.violation(Violation::EarlyVerdict)),
                (None, Err(error)) => Err(error),
            }
        })
    }

    /// Says that no more data will come, and waits until the Writer has drained
    /// everything and given its verdict. Returns what was delivered.
    ///
    /// # Errors
    ///
    /// As [`Reader::empty_block`]. [`Error::InvalidUse`] if a stream of this Reader took
    /// bytes and was neither flushed nor dropped (by [`std::mem::forget`], say). If this
    /// fails, the Writer is told (if it lives) that the session was given up.
    pub fn finish(self) -> Result<Delivered, Error> {
        self.finish_with(Patience::Endless)
    }

    /// As [`Reader::finish`], but waits no longer than `deadline`.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::TimedOut`]; the session is over then, too.
    pub fn finish_until(self, deadline: Instant) -> Result<Delivered, Error> {
        self.finish_with(Patience::Until(deadline))
    }

    fn finish_with(self, patience: Patience) -> Result<Delivered, Error> {
        if self.unsent_bytes.get() != 0 {
            let error = Error::InvalidUse("a stream took bytes that were never sent");
            self.end.abort(&format!("not all was sent: {error}"));
            return Err(error);
        }
        // There is nothing yet that a verdict could be about.
        if self.end.partner_ended()? {
            return Err(self.end.violation(Violation::EarlyVerdict));
        }
        self.end.end()?;
        let verdict = self.end.wait(patience, || {
            let ended = self.end.partner_ended();
            while let Some(block) = self.take_back()? {
                self.end.pool().put_back(block);
            }
            if !ended? {
                return Ok(None);
            }
            match self.end.published() == self.end.taken() {
                true => Ok(Some(())),
                false => Err(self.end.violation(Violation::EarlyVerdict)),
            }
        });
        match verdict {
            Ok(()) => self.end.set_over(),
            Err(ref error) => self.end.abort(&format!("no verdict: {error}")),
        }
        verdict.map(|()| self.delivered())
    }

    /// Whether the Writer is alive and has not given up, as far as can be known
    /// now. Costs a system call.
    ///
    /// # Errors
    ///
    /// As [`Reader::empty_block`].
    pub fn check(&self) -> Result<(), Error> {
        self.end.check()
    }

    /// Gives up: the Writer gets `reason` (cut to 1024 bytes) as
    /// [`Error::PartnerAborted`].
    pub fn abort(self, reason: &str) {
        self.end.abort(reason);
    }

    /// A [`std::io::Write`] that fills and sends blocks.
    pub fn stream(&self) -> SendStream<'_> {
        SendStream::new(self)
    }

    /// Bytes that streams have taken and not sent: changed by the streams.
    pub(crate) fn unsent_bytes(&self) -> &Cell<u64> {
        &self.unsent_bytes
    }
}

/// A block to be filled: its bytes are those of a `&mut [u8]`, with what was in
/// there the last time. Dropped unsent, it is empty again.
#[derive(Debug)]
pub struct EmptyBlock<'r> {
    reader: &'r Reader,
    block: Block,
}

impl EmptyBlock<'_> {
    /// Sends the first `len` bytes, with a number of the application's choice
    /// (an offset, for instance). Never blocks.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUse`] if `len` is beyond the block; nothing is sent then.
    #[inline(always)]
    pub fn send(self, len: usize, tag: u64) -> Result<(), Error> {
        self.send_kind(len, 0, tag)
    }

    /// As [`EmptyBlock::send`], with a second, smaller number: what kind of
    /// block this is, for instance. `send` gives 0.
    ///
    /// # Errors
    ///
    /// As there.
    #[inline(always)]
    pub fn send_kind(mut self, len: usize, kind: u16, tag: u64) -> Result<(), Error> {
        let reader = self.reader;
        if len > reader.block_size() {
            return Err(Error::InvalidUse("the length sent is beyond the block"));
        }
        let Some(block) = self.block.take() else {
            return Ok(());
        };
        let sent = Sent {
            block: reader.end.pool().depart(block) as u16,
            kind,
            len: len as u32,
            tag,
        };
        reader.end.publish(sent.to_words());
        Ok(())
    }
}

impl Deref for EmptyBlock<'_> {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        self.reader.end.pool().bytes(&self.block)
    }
}

impl DerefMut for EmptyBlock<'_> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.reader.end.pool().bytes_mut(&mut self.block)
    }
}

impl Drop for EmptyBlock<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.reader.end.pool().put_back(block);
        }
    }
}
