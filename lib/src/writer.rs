//! The end that drains blocks.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::block::{DataBlock, Label, Newest};
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
pub struct Writer {
    end: End<RETURNED_WORDS, SENT_WORDS>,
    /// The block that was taken last says that its message goes on.
    is_within_message: Cell<bool>,
    /// A message of which only a part has come.
    begun: Cell<Option<Begun>>,
    /// The end of data was seen.
    drained: Cell<bool>,
    /// What streams have left of their blocks: of one block, if there is one stream at a
    /// time. While there is any, the end is paused: no block is taken.
    rests: RefCell<VecDeque<Rest>>,
}

/// A message of which only a part has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    pub(crate) label: Label,
    /// Bytes of it, in the vector that was given.
    pub(crate) len: usize,
    /// How many blocks were taken by then.
    pub(crate) taken: u64,
}

/// What is left of a block that a stream drains.
#[derive(Debug)]
pub(crate) struct Rest {
    block: Block,
    drained: usize,
}

impl Rest {
    fn whole(block: DataBlock<'_>) -> Rest {
        Rest {
            block: block.into_block(),
            drained: 0,
        }
    }

    /// The first `len` bytes of it are not needed any more.
    pub(crate) fn drain(&mut self, len: usize) {
        let left = self.block.len() - self.drained;
        self.drained += len.min(left);
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("end", &self.end)
            .field("drained", &self.drained)
            .finish_non_exhaustive()
    }
}

impl Writer {
    pub(crate) fn new(core: Arc<Core>, pair: Arc<Pair>) -> Writer {
        Writer {
            end: End::new(core, pair),
            is_within_message: Cell::new(false),
            begun: Cell::new(None),
            drained: Cell::new(false),
            rests: RefCell::default(),
        }
    }

    #[inline(always)]
    pub(crate) fn end(&self) -> &End<RETURNED_WORDS, SENT_WORDS> {
        &self.end
    }

    /// Gives `block` back; in a forked child there is nothing to give back.
    #[inline(always)]
    pub(crate) fn give_back(&self, block: Block) {
        if self.end.is_here() {
            let is_in_batch = block.is_in_batch();
            self.end.count(block.len());
            let number = self.end.pool().give_back(block);
            self.end.pass([number as u64], is_in_batch);
        }
    }

    /// What a block that is here was sent with.
    #[inline(always)]
    pub(crate) fn label(&self, block: &Block) -> Label {
        Label::of(self.end.pool().sent(block))
    }

    /// Whether the block that was taken last says that its message goes on.
    pub(crate) fn is_within_message(&self) -> bool {
        self.is_within_message.get()
    }

    /// A message of which a part has come; what is set, the next call takes.
    pub(crate) fn begun_message(&self) -> &Cell<Option<Begun>> {
        &self.begun
    }

    /// The process at the other end.
    pub fn partner(&self) -> &Partner {
        self.end.partner()
    }

    /// Which pair of its session this is: 1 in a new session, and one more for each process
    /// that has taken a lost one's place. Of two processes the first to come decides it, so
    /// to the second it is that one's word.
    pub fn epoch(&self) -> u64 {
        self.end.numbers().epoch
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
    /// the call has to wait. [`Error::InvalidUse`] if a stream was dropped in the middle of
    /// a block: its rest is for the next stream.
    #[inline(always)]
    pub fn data_block(&self) -> Result<Option<DataBlock<'_>>, Error> {
        match self.at_hand() {
            None => self.wait(None),
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
        match self.at_hand() {
            None => self.wait(Some(deadline)),
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
        match self.at_hand() {
            None => self.look_once(),
            block => Ok(block),
        }
    }

    /// Gives back the [detached](DataBlock::detach) blocks that other threads are done with, as
    /// every call does that looks for something, and those that a [batch](Writer::batch) has
    /// kept. For who makes none of those calls for a while.
    #[inline]
    pub fn pass_on(&self) {
        self.end.pass_on();
    }

    /// The newest of the blocks that have been sent, for who wants to know how things stand
    /// and not how they came to: older ones that lie there are given back unread (and count
    /// as delivered). Waits if there is none; `None` at the end of the data.
    ///
    /// A Reader that finds no empty block has no place for a newer one: let the pool have
    /// more blocks than are sent while one is looked at.
    ///
    /// # Errors
    ///
    /// As [`Writer::data_block`].
    pub fn newest_block(&self) -> Result<Option<Newest<'_>>, Error> {
        self.data_block()?
            .map(|block| self.newer(block))
            .transpose()
    }

    /// As [`Writer::newest_block`], but waits no longer than `deadline`.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::TimedOut`].
    pub fn newest_block_until(&self, deadline: Instant) -> Result<Option<Newest<'_>>, Error> {
        let block = self.data_block_until(deadline)?;
        block.map(|block| self.newer(block)).transpose()
    }

    /// As [`Writer::newest_block`], but does not wait: `None` also if there is none now.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn try_newest_block(&self) -> Result<Option<Newest<'_>>, Error> {
        let block = self.try_data_block()?;
        block.map(|block| self.newer(block)).transpose()
    }

    /// The newest block from `block` on.
    pub(crate) fn newer<'w>(&'w self, mut block: DataBlock<'w>) -> Result<Newest<'w>, Error> {
        // No more than could be there when the call began: a fast Reader goes on sending.
        for skipped in 0..self.block_count() {
            self.end.set_urgent();
            match self.look()? {
                Some(newer) => block = newer,
                None => return Ok(Newest { block, skipped }),
            }
        }
        let skipped = self.block_count();
        Ok(Newest { block, skipped })
    }

    /// Whether the end of the data was seen: all blocks were taken, and none will come.
    pub fn at_end(&self) -> bool {
        self.drained.get()
    }

    /// The next block, if the last look has found it: as fast as can be. Everything else,
    /// what is wrong too, is left to [`Writer::look`].
    #[inline(always)]
    pub(crate) fn at_hand(&self) -> Option<DataBlock<'_>> {
        self.end.bring_home();
        let entry = self.end.peek()?;
        let block = self.end.pool().arrive(entry).ok()?;
        self.end.advance();
        Some(self.token(block, entry))
    }

    /// For interfaces to other languages, as
    /// [`Reader::empty_block_at_hand`](crate::Reader::empty_block_at_hand).
    #[doc(hidden)]
    #[inline(always)]
    pub fn data_block_at_hand(&self) -> Option<DataBlock<'_>> {
        match self.end.pool().has_detached() || self.end.pool().is_foreign() {
            true => None,
            false => self.at_hand(),
        }
    }

    /// What [`Writer::data_block`] does before it waits, as
    /// [`Reader::look_for_empty_block`](crate::Reader::look_for_empty_block): `None` is not
    /// the end.
    #[doc(hidden)]
    #[inline]
    pub fn look_for_data_block(&self) -> Result<Option<DataBlock<'_>>, Error> {
        match self.at_hand() {
            None => self.look(),
            block => Ok(block),
        }
    }

    /// The block that was lent with this number ([`DataBlock::lend`]); `None` if none is.
    #[doc(hidden)]
    #[inline(always)]
    pub fn lent(&self, number: usize) -> Option<DataBlock<'_>> {
        let block = self.end.pool().take_lent_data(number)?;
        Some(DataBlock {
            writer: self,
            block,
        })
    }

    #[inline(always)]
    fn token(&self, block: Block, entry: [u64; SENT_WORDS]) -> DataBlock<'_> {
        self.is_within_message.set(Sent::from_words(entry).more);
        DataBlock {
            writer: self,
            block,
        }
    }

    #[cold]
    #[inline(never)]
    fn wait(&self, deadline: Option<Instant>) -> Result<Option<DataBlock<'_>>, Error> {
        match self.look()? {
            None => self.end.wait(deadline, || self.look_again()),
            block => Ok(block),
        }
    }

    #[cold]
    #[inline(never)]
    fn look_once(&self) -> Result<Option<DataBlock<'_>>, Error> {
        match self.look()? {
            None => Ok(self.end.look_once(|| self.look_again())?.flatten()),
            block => Ok(block),
        }
    }

    fn look(&self) -> Result<Option<DataBlock<'_>>, Error> {
        self.end.check_here()?;
        self.end.bring_home();
        // All but those that are here.
        let out = || {
            let here = self.end.taken() - self.end.published();
            self.end.block_count() as u64 - here
        };
        let Some(entry) = self.end.take(out)? else {
            return Ok(None);
        };
        self.end
            .prefetch(|entry| self.end.pool().prefetch_to_read(entry));
        let arrived = self.end.pool().arrive(entry);
        let block = arrived.map_err(|violation| self.end.violation(violation))?;
        Ok(Some(self.token(block, entry)))
    }

    /// `Some(None)` at the end of the data.
    pub(crate) fn look_again(&self) -> Result<Option<Option<DataBlock<'_>>>, Error> {
        if self.end.is_paused() {
            return self.refuse_with_rest();
        }
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
    /// [`Error::InvalidUse`] if the end of the data has not been seen;
    /// [`Error::NotGivenBack`] if blocks were not given back: some are still held, by
    /// another thread perhaps, or were forgotten ([`std::mem::forget`]); the Reader is told
    /// that there is no verdict;
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
        self.end.pass_on();
        let blocks = self.end.taken() - self.end.appended();
        if blocks != 0 {
            let error = Error::NotGivenBack { blocks };
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
        self.abort_with(0, reason);
    }

    /// As [`Writer::abort`], with a number of the application's choice, for a
    /// Reader that does something about it.
    pub fn abort_with(self, code: u32, reason: &str) {
        // What other threads are done with, was given back: as when it is dropped.
        self.end.pass_on();
        self.end.abort_with(code, reason);
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
    ///         sleep_on(end.handle()?); // poll(2), a reactor, WaitForSingleObject
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

    /// For who lets several threads take turns in one end: waits until a look would find something
    /// that one of them waits for, or an error. As every wait, it may be cut short
    /// ([`Monitor::cut_wait_short`]).
    #[doc(hidden)]
    pub fn wait_until(&self, interest: Interest, deadline: Option<Instant>) -> Result<(), Error> {
        self.end.wait_for(interest, deadline)
    }

    /// What becomes readable (on Windows: signalled) when there may be something to look
    /// at while this end is armed: something that was waited for has come, or the partner
    /// has left or died, or this process has given up. For `poll`, `epoll`, or a runtime's
    /// reactor; nothing may be read from or written to it. It is this end's own, the same in
    /// each call, and valid as long as the end. The first call makes it: who never asks has
    /// one descriptor less.
    ///
    /// # Errors
    ///
    /// What the system says, a limit of descriptors, say; [`Error::InvalidUse`] in a forked
    /// child.
    pub fn handle(&self) -> Result<Handle<'_>, Error> {
        self.end.handle()
    }

    /// Posts a letter to the Reader: at most [`LETTER_MAX`](crate::LETTER_MAX) bytes, with a
    /// number of the application's choice. Waits as long as
    /// [`LETTERS`](crate::LETTERS) of them lie unread. Letters arrive in the order of
    /// posting, but not in any order with the blocks. A Reader that waits for the verdict
    /// takes none: use a deadline where it may.
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
    /// [`Writer::have_letters_ended`] tells the two apart.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn try_letter(&self) -> Result<Option<Letter>, Error> {
        let found = self.end.look_once(|| self.end.take_letter())?;
        Ok(found.flatten())
    }

    /// Whether it was seen that no letter can come any more: the partner has ended, and all
    /// of its letters were taken.
    pub fn have_letters_ended(&self) -> bool {
        self.end.have_letters_ended()
    }

    /// A [`std::io::Read`] and [`std::io::BufRead`] over the blocks' bytes, one after the
    /// other. It begins with what a stream before it has left of a block.
    pub fn stream(&self) -> ReceiveStream<&Writer> {
        ReceiveStream::new(self)
    }

    /// As [`Writer::stream`], with the Writer in it: it can be sent to another thread, kept
    /// anywhere, and finished. Dropped unfinished, it gives up, as the Writer does.
    pub fn into_stream(self) -> ReceiveStream<Writer> {
        ReceiveStream::new(self)
    }

    /// What a stream has left of a block, or else all of the next one.
    pub(crate) fn next_rest(&self) -> Result<Option<Rest>, Error> {
        let mut rests = self.rests.borrow_mut();
        let Some(rest) = rests.pop_front() else {
            return Ok(self.data_block()?.map(Rest::whole));
        };
        self.end.set_paused(!rests.is_empty());
        Ok(Some(rest))
    }

    /// For the next stream.
    pub(crate) fn keep_rest(&self, rest: Rest) {
        self.end.set_paused(true);
        self.rests.borrow_mut().push_back(rest);
    }

    /// Gives the block back if nothing is left of it.
    pub(crate) fn unless_drained(&self, rest: Rest) -> Option<Rest> {
        if rest.drained < rest.block.len() {
            return Some(rest);
        }
        drop(DataBlock {
            writer: self,
            block: rest.block,
        });
        None
    }

    pub(crate) fn bytes_of<'b>(&'b self, rest: &'b Rest) -> &'b [u8] {
        &self.end.pool().bytes(&rest.block)[rest.drained..]
    }

    #[cold]
    #[inline(never)]
    fn refuse_with_rest<T>(&self) -> Result<T, Error> {
        self.end
            .refuse_use("a stream has left a part of a block, which the next stream begins with")
    }
}
