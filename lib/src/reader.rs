//! The end that fills blocks.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use crate::block::{EmptyBlock, Label, OwnedEmptyBlock};
use crate::error::{Delivered, Error, Violation};
use crate::letters::Letter;
use crate::monitor::Monitor;
use crate::options::Partner;
use crate::pair::{Core, End, Pair};
use crate::region::Block;
use crate::region::layout::{RETURNED_WORDS, SENT_WORDS, Sent};
use crate::stream::SendStream;
use crate::sys::Handle;
use crate::wait::Interest;

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

    /// One that has the blocks of `other`, in the same region; see [`End::in_place_of`].
    pub(crate) fn in_place_of(
        other: &mut Reader,
        closed: bool,
        core: Arc<Core>,
        pair: Arc<Pair>,
    ) -> Reader {
        Reader {
            end: End::in_place_of(&mut other.end, closed, core, pair),
            unsent_bytes: other.unsent_bytes.clone(),
        }
    }

    #[inline(always)]
    pub(crate) fn end(&self) -> &End<SENT_WORDS, RETURNED_WORDS> {
        &self.end
    }

    /// Sends `block`. Not in a forked child.
    #[inline(always)]
    pub(crate) fn send(&self, block: Block, len: usize, label: Label) {
        let sent = Sent {
            block: block.number() as u16,
            kind: label.kind,
            len: len as u32,
            more: label.more,
            tag: label.tag,
        };
        let (entry, is_in_batch) = (sent.to_words(), block.is_in_batch());
        self.end.pool().send(block, entry, self.end.appended());
        self.end.pass(entry, is_in_batch);
    }

    /// Out of line, and by value: a token that is dropped where a panic passes through does
    /// not have to lie in memory for that.
    #[cold]
    #[inline(never)]
    pub(crate) fn put_back(&self, block: Block) {
        self.end.pool().put_back(block);
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
        match self.at_hand() {
            Some(block) => Ok(self.token(block)),
            None => self.wait(None),
        }
    }

    /// As [`Reader::empty_block`], but waits no longer than `deadline`.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::TimedOut`].
    #[inline(always)]
    pub fn empty_block_until(&self, deadline: Instant) -> Result<EmptyBlock<'_>, Error> {
        match self.at_hand() {
            Some(block) => Ok(self.token(block)),
            None => self.wait(Some(deadline)),
        }
    }

    /// As [`Reader::empty_block`], but does not wait: `None` if there is none now.
    ///
    /// # Errors
    ///
    /// As there.
    #[inline(always)]
    pub fn try_empty_block(&self) -> Result<Option<EmptyBlock<'_>>, Error> {
        match self.at_hand() {
            Some(block) => Ok(Some(self.token(block))),
            None => self.look_once(),
        }
    }

    /// For interfaces to other languages: what [`Reader::empty_block`] does first, which calls
    /// nothing and finds nothing wrong. It may find nothing where there is a block.
    #[doc(hidden)]
    #[inline(always)]
    pub fn empty_block_at_hand(&self) -> Option<EmptyBlock<'_>> {
        if self.end.pool().has_detached() {
            return None;
        }
        self.at_hand().map(|block| self.token(block))
    }

    /// What [`Reader::empty_block`] does before it waits, without a system call: it does not
    /// ask whether the Writer is alive.
    #[doc(hidden)]
    #[inline]
    pub fn look_for_empty_block(&self) -> Result<Option<EmptyBlock<'_>>, Error> {
        match self.at_hand() {
            Some(block) => Ok(Some(self.token(block))),
            None => Ok(self.look()?.map(|block| self.token(block))),
        }
    }

    /// Sends the block that was lent with this number ([`EmptyBlock::lend`]), if nothing is in
    /// the way of it; if not, nothing has happened, and [`EmptyBlock::send_as`] says what it is.
    #[doc(hidden)]
    #[inline(always)]
    pub fn send_lent(&self, number: usize, len: usize, label: Label) -> bool {
        let can_be = len <= self.block_size() && self.end.is_here() && self.end.is_running();
        if !can_be {
            return false;
        }
        match self.end.pool().take_lent(number) {
            Some(block) => {
                self.send(block, len, label);
                true
            }
            None => false,
        }
    }

    /// The block that was lent with this number ([`EmptyBlock::lend`]); `None` if none is.
    #[doc(hidden)]
    #[inline(always)]
    pub fn lent(&self, number: usize) -> Option<EmptyBlock<'_>> {
        let block = self.end.pool().take_lent(number)?;
        Some(self.token(block))
    }

    /// For streams, which take bytes before they send them: an error if they could not be sent,
    /// since the end of the data was said or the session given up.
    #[doc(hidden)]
    pub fn check_open(&self) -> Result<(), Error> {
        let end = &self.end;
        end.can_publish("bytes written after the end of the data")
    }

    #[inline(always)]
    pub(crate) fn token(&self, block: Block) -> EmptyBlock<'_> {
        EmptyBlock {
            reader: self,
            block,
        }
    }

    /// The next block that was given back, if the last look has found it: as fast as can be.
    /// Everything else, what is wrong too, is left to [`Reader::look`].
    #[inline(always)]
    pub(crate) fn at_hand(&self) -> Option<Block> {
        self.end.bring_home();
        let [number] = self.end.peek()?;
        let block = self.end.pool().come_back(number).ok()?;
        self.end.advance();
        Some(block)
    }

    #[cold]
    #[inline(never)]
    fn wait(&self, deadline: Option<Instant>) -> Result<EmptyBlock<'_>, Error> {
        match self.look()? {
            Some(block) => Ok(self.token(block)),
            None => self.end.wait(deadline, || self.look_again()),
        }
    }

    #[cold]
    #[inline(never)]
    fn look_once(&self) -> Result<Option<EmptyBlock<'_>>, Error> {
        match self.look()? {
            Some(block) => Ok(Some(self.token(block))),
            None => self.end.look_once(|| self.look_again()),
        }
    }

    fn look(&self) -> Result<Option<Block>, Error> {
        self.end.check_here()?;
        self.end.bring_home();
        match self.end.pool().take_spare() {
            None => {
                let back = self.take_back()?;
                self.end
                    .prefetch(|[number]| self.end.pool().prefetch_to_fill(number));
                Ok(back)
            }
            spare => Ok(spare),
        }
    }

    /// A block that the Writer gave back.
    fn take_back(&self) -> Result<Option<Block>, Error> {
        let out = || self.end.published() - self.end.taken();
        let Some([number]) = self.end.take(out)? else {
            return Ok(None);
        };
        let back = self.end.pool().come_back(number);
        let block = back.map_err(|violation| self.end.violation(violation))?;
        Ok(Some(block))
    }

    pub(crate) fn look_again(&self) -> Result<Option<EmptyBlock<'_>>, Error> {
        // The state first: what was given back before it changed is then
        // found by the look.
        let ended = self.end.partner_ended();
        match (self.look()?, ended) {
            (Some(block), _) => Ok(Some(self.token(block))),
            (None, Ok(false)) => Ok(None),
            (None, Ok(true)) => Err(self.end.violation(Violation::EarlyVerdict)),
            (None, Err(error)) => Err(error),
        }
    }

    /// The same block, a token of this end again, so that what is sent goes at once: the inverse
    /// of [`EmptyBlock::detach`]. A block of another Reader is given back as it is.
    ///
    /// # Errors
    ///
    /// The block, if it is not this Reader's, or this process was forked off the Reader's.
    pub fn attach(&self, mut block: OwnedEmptyBlock) -> Result<EmptyBlock<'_>, OwnedEmptyBlock> {
        if !self.end.is_here() {
            return Err(block);
        }
        match self.end.pool().attach(block.detached()) {
            Some(attached) => Ok(self.token(attached)),
            None => Err(block),
        }
    }

    /// Sends what other threads have sent with [detached](EmptyBlock::detach) blocks, as every
    /// call does that looks for something, and sends what a [batch](Reader::batch) has kept
    /// back. For who makes none of those calls for a while.
    #[inline]
    pub fn pass_on(&self) {
        self.end.pass_on();
    }

    /// Says that no more data will come: neither blocks nor letters can be sent after
    /// it. Never blocks; the Writer drains what is left. May be called again, to no
    /// effect.
    ///
    /// # Errors
    ///
    /// [`Error::PartnerAborted`], [`Error::ProtocolViolation`], [`Error::Aborted`].
    /// [`Error::InvalidUse`] if a stream of this Reader took bytes and was neither flushed
    /// nor dropped (by [`std::mem::forget`], say): then the Writer is told that the session
    /// was given up.
    pub fn close(&self) -> Result<(), Error> {
        if self.end.has_ended() {
            return Ok(());
        }
        if self.unsent_bytes.get() != 0 {
            let error = Error::InvalidUse("a stream took bytes that were never sent");
            self.end.abort(&format!("not all was sent: {error}"));
            return Err(error);
        }
        // There is nothing yet that a verdict could be about.
        if self.end.partner_ended()? {
            return Err(self.end.violation(Violation::EarlyVerdict));
        }
        self.end.end()
    }

    /// Waits, after [`Reader::close`], until the Writer has drained everything and given
    /// its verdict. Returns what was delivered.
    ///
    /// # Errors
    ///
    /// As [`Reader::empty_block`]: the Writer is told then (if it lives) that the session
    /// was given up. [`Error::InvalidUse`] before [`Reader::close`].
    pub fn verdict(&self) -> Result<Delivered, Error> {
        self.can_be_judged()?;
        let verdict = self.end.wait(None, || self.look_for_verdict());
        self.settle(verdict)
    }

    /// As [`Reader::verdict`], but waits no longer than `deadline`.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::TimedOut`]; the session goes on then.
    pub fn verdict_until(&self, deadline: Instant) -> Result<Delivered, Error> {
        self.can_be_judged()?;
        let verdict = self.end.wait(Some(deadline), || self.look_for_verdict());
        self.settle(verdict)
    }

    /// As [`Reader::verdict`], but does not wait: `None` if there is none yet.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn try_verdict(&self) -> Result<Option<Delivered>, Error> {
        self.can_be_judged()?;
        match self.end.look_once(|| self.look_for_verdict()) {
            Ok(None) => Ok(None),
            Ok(Some(())) => self.settle(Ok(())).map(Some),
            Err(error) => self.settle(Err(error)).map(Some),
        }
    }

    pub(crate) fn can_be_judged(&self) -> Result<(), Error> {
        match self.end.has_ended() {
            true => Ok(()),
            false => self
                .end
                .refuse_use("there is no verdict before the end of the data"),
        }
    }

    pub(crate) fn look_for_verdict(&self) -> Result<Option<()>, Error> {
        let ended = self.end.partner_ended();
        self.take_all_back()?;
        if !ended? {
            return Ok(None);
        }
        match self.end.published() == self.end.taken() {
            true => Ok(Some(())),
            false => Err(self.end.violation(Violation::EarlyVerdict)),
        }
    }

    /// All that the Writer has given back so far.
    pub(crate) fn take_all_back(&self) -> Result<(), Error> {
        self.end.check_here()?;
        self.end.set_urgent();
        while let Some(block) = self.take_back()? {
            self.end.pool().put_back(block);
            self.end.set_urgent();
        }
        Ok(())
    }

    pub(crate) fn settle(&self, verdict: Result<(), Error>) -> Result<Delivered, Error> {
        match &verdict {
            Ok(()) => self.end.set_over(),
            Err(Error::TimedOut) => {}
            // There is nobody to tell; and an end of the other lane is to find it, too.
            Err(Error::PartnerDied { .. } | Error::PartnerAborted { .. }) => {
                self.end.give_up_name();
            }
            Err(error) => self.end.abort(&format!("no verdict: {error}")),
        }
        verdict.map(|()| self.delivered())
    }

    /// [`Reader::close`] and [`Reader::verdict`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn finish(&self) -> Result<Delivered, Error> {
        self.close()?;
        self.verdict()
    }

    /// [`Reader::close`] and [`Reader::verdict_until`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn finish_until(&self, deadline: Instant) -> Result<Delivered, Error> {
        self.close()?;
        self.verdict_until(deadline)
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
        self.abort_with(0, reason);
    }

    /// As [`Reader::abort`], with a number of the application's choice, for a
    /// Writer that does something about it.
    pub fn abort_with(self, code: u32, reason: &str) {
        // What other threads have sent before, was sent: as when it is dropped.
        self.end.pass_on();
        self.end.abort_with(code, reason);
    }

    /// The first two steps of a wait, for those that sleep by other means: says that this
    /// end is about to sleep, and looks once more. True: wait until [`Reader::handle`] is
    /// readable, then [`Reader::disarm`], and look by calls that do not wait (`try_…`).
    /// False: look now; this end is not armed.
    ///
    /// To be armed lasts until [`Reader::disarm`], or a call that waits; calls that do not
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
    /// # let end: brigade::Reader = unimplemented!();
    /// loop {
    ///     while let Some(block) = end.try_empty_block()? {
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

    /// Ends what [`Reader::arm`] began, and makes the handle unreadable again, unless the
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

    /// Posts a letter to the Writer: at most [`LETTER_MAX`](crate::LETTER_MAX) bytes, with a
    /// number of the application's choice. Waits as long as
    /// [`LETTERS`](crate::LETTERS) of them lie unread. Letters arrive in the order of
    /// posting, but not in any order with the blocks.
    ///
    /// # Errors
    ///
    /// As [`Reader::empty_block`]; [`Error::InvalidUse`] if the letter is too long, or
    /// after [`Reader::close`].
    pub fn post(&self, kind: u16, bytes: &[u8]) -> Result<(), Error> {
        let look = || self.end.post_or_find_why_not(kind, bytes);
        self.end.wait(None, look)
    }

    /// As [`Reader::post`], but waits no longer than `deadline`.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::TimedOut`].
    pub fn post_until(&self, kind: u16, bytes: &[u8], deadline: Instant) -> Result<(), Error> {
        let look = || self.end.post_or_find_why_not(kind, bytes);
        self.end.wait(Some(deadline), look)
    }

    /// As [`Reader::post`], but does not wait: false if there is no room for the letter now.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn try_post(&self, kind: u16, bytes: &[u8]) -> Result<bool, Error> {
        let look = || self.end.post_or_find_why_not(kind, bytes);
        Ok(self.end.look_once(look)?.is_some())
    }

    /// The Writer's next letter; `None` if it has given its verdict and none is left.
    ///
    /// # Errors
    ///
    /// As [`Reader::empty_block`], after all letters that were posted before.
    pub fn letter(&self) -> Result<Option<Letter>, Error> {
        self.end.wait(None, || self.end.take_letter())
    }

    /// As [`Reader::letter`], but waits no longer than `deadline`.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::TimedOut`].
    pub fn letter_until(&self, deadline: Instant) -> Result<Option<Letter>, Error> {
        self.end.wait(Some(deadline), || self.end.take_letter())
    }

    /// As [`Reader::letter`], but does not wait: `None` also if there is none now.
    /// [`Reader::have_letters_ended`] tells the two apart.
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

    /// A [`std::io::Write`] that fills and sends blocks.
    pub fn stream(&self) -> SendStream<&Reader> {
        SendStream::new(self)
    }

    /// As [`Reader::stream`], with the Reader in it: it can be sent to another thread, kept
    /// anywhere, and finished. Dropped unfinished, it gives up, as the Reader does.
    pub fn into_stream(self) -> SendStream<Reader> {
        SendStream::new(self)
    }

    /// Bytes that streams have taken and not sent: changed by the streams.
    pub(crate) fn unsent_bytes(&self) -> &Cell<u64> {
        &self.unsent_bytes
    }
}
