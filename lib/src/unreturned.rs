//! What was sent and not given back, once the Writer is gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::block::Label;
use crate::error::Error;
use crate::join::Lone;
use crate::monitor::Monitor;
use crate::options::Options;
use crate::pair::{Core, Pair};
use crate::reader::Reader;
use crate::region::access::Own;
use crate::region::{Block, Region};

/// What a [`Reader`] has sent and its Writer has not given back, in the order of sending:
/// made by [`Reader::into_unreturned`].
///
/// The Writer may have drained some of it before it died: it has not said so. Whoever
/// sends it again must be able to get it twice.
///
/// With [`Options::takeover`] it keeps the Reader's place under the name, whatever
/// [`Unreturned::rejoin`] comes to; dropped, it gives it up, and whoever joins then begins a
/// session.
#[derive(Debug)]
pub struct Unreturned {
    reader: Reader,
    blocks: Vec<(Block, Label)>,
    /// The end of the data had been said.
    closed: bool,
    lone: Lone,
    /// Somebody may read the region who was let in and never became the partner.
    may_be_read: bool,
    /// The Writer went without a word: its process has ended, or is about to.
    is_ending: bool,
}

/// How long a process may take to end after its sockets were closed. Some milliseconds as
/// a rule; long enough for a busy machine.
const ENDING_LIMIT: Duration = Duration::from_secs(1);

impl Unreturned {
    /// Recalls what the Writer had when it was lost.
    fn new(reader: Reader, closed: bool, lone: Lone, is_ending: bool) -> Unreturned {
        let pool = reader.end().pool();
        let mut blocks: Vec<_> = pool.recall().collect();
        blocks.sort_unstable_by_key(|(order, _)| *order);
        let labelled = |(_, block): (u64, Block)| {
            let label = Label::of(pool.sent(&block));
            (block, label)
        };
        Unreturned {
            blocks: blocks.into_iter().map(labelled).collect(),
            closed,
            lone,
            may_be_read: false,
            is_ending,
            reader,
        }
    }

    /// What each block was sent with, and its bytes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Label, &[u8])> {
        let pool = self.reader.end().pool();
        self.blocks
            .iter()
            .map(|(block, label)| (*label, pool.bytes(block)))
    }

    /// Joins another Writer under `name`, as [`join`](crate::join()) does, and waits for it:
    /// the Reader goes on with it. What was not given back is sent again first, in the same
    /// order; if the Reader was [closed](Reader::close), it is closed again after that.
    /// Nothing of the old session comes through any more, whatever of the old Writer's
    /// process lives on. It waits for [`Options::wait`] at most, and no longer than what is left
    /// of [`Options::takeover`]. If the Reader was in the first place of the session and did
    /// not keep it by that, the name is free from now on.
    ///
    /// `options` must have the same blocks; the [side](Options::side) is the Reader's. The
    /// two processes are a new pair: counts ([`Reader::delivered`]), letters, figures and
    /// messages begin anew. The new Writer knows by [`Writer::epoch`] that it has taken
    /// somebody's place, and this process by [`Reader::epoch`] that it has met one that did.
    ///
    /// The blocks stay where they are, if the old Writer's process has ended (one that was
    /// just killed is waited for, a second at most): then a
    /// detached [`OwnedEmptyBlock`](crate::OwnedEmptyBlock) still belongs to the Reader. If
    /// that process lives, having given up or hung up, it may still read there, and the
    /// blocks are copied to new memory; a block that is detached then can only be dropped.
    /// Until this returns, none can be sent: what another thread sends in between is
    /// [refused](crate::OwnedEmptyBlock::send), and its bytes are lost.
    ///
    /// [`Writer::epoch`]: crate::Writer::epoch
    ///
    /// # Errors
    ///
    /// As [`join`](crate::join()), and [`Error::InvalidOption`] for other blocks. Nothing is
    /// lost then: it can be called again. [`Error::InvalidUse`] if it has succeeded before.
    pub fn rejoin(&mut self, name: &str, options: &Options) -> Result<Reader, Error> {
        self.rejoin_with(name, options, drop)
    }

    /// As [`Unreturned::rejoin`]; once this process has its place, and before the partner is
    /// there, `seated` gets a handle on it for other threads: [`Monitor::abort`] ends the wait.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::Aborted`]: it can be called again.
    pub fn rejoin_with(
        &mut self,
        name: &str,
        options: &Options,
        seated: impl FnOnce(Monitor),
    ) -> Result<Reader, Error> {
        let options = self.lone.options(options)?;
        // Else a monitor could still store into what the next partner sees.
        self.reader.end().leave("it goes on with another writer");
        let region = self.kept_region()?;
        let keeps = region.is_some();
        let met = self.lone.meet(name, &options, region, seated);
        let (core, pair) =
            met.inspect_err(|error| self.may_be_read |= !is_before_admission(error))?;
        let reader = match keeps {
            true => self.send_again(core, pair)?,
            false => self.send_copies(core, pair)?,
        };
        self.blocks.clear();
        if self.closed {
            // Whatever the new partner does, it is there to be found by the next call.
            reader.end().end()?;
        }
        Ok(reader)
    }

    /// The old region, if nobody can look at its blocks any more.
    fn kept_region(&mut self) -> Result<Option<Region<Own>>, Error> {
        let end = self.reader.end();
        let mut deadline = Instant::now();
        // Once: one that hung up and lives does not hold up each call.
        if std::mem::take(&mut self.is_ending) {
            deadline += ENDING_LIMIT;
        }
        let is_alone = !self.may_be_read && end.is_partner_dead(deadline)?;
        Ok(is_alone.then(|| end.own_region()))
    }

    /// In the same region, where the bytes are already.
    fn send_again(&mut self, core: Arc<Core>, pair: Arc<Pair>) -> Result<Reader, Error> {
        let reader = Reader::in_place_of(&mut self.reader, self.closed, core, pair);
        for (block, label) in self.blocks.drain(..) {
            let len = block.len();
            reader.token(block).send_as(len, label)?;
        }
        Ok(reader)
    }

    fn send_copies(&self, core: Arc<Core>, pair: Arc<Pair>) -> Result<Reader, Error> {
        let reader = Reader::new(core, pair);
        // What a stream has lost is lost here, too.
        reader.unsent_bytes().set(self.reader.unsent_bytes().get());
        for (label, bytes) in self.iter() {
            let mut block = reader.empty_block()?;
            block[..bytes.len()].copy_from_slice(bytes);
            block.send_as(bytes.len(), label)?;
        }
        Ok(reader)
    }

    /// Drops the blocks for which `keep` is false: they are not sent again. They are told
    /// in the order of sending, with what each was sent with and its bytes.
    pub fn retain(&mut self, mut keep: impl FnMut(Label, &[u8]) -> bool) {
        let pool = self.reader.end().pool();
        let is_dropped = |(block, label): &mut (Block, Label)| !keep(*label, pool.bytes(block));
        for (block, _) in self.blocks.extract_if(.., is_dropped) {
            pool.put_back(block);
        }
    }

    /// Whether the Reader was [closed](Reader::close), so that [`Unreturned::rejoin`] closes
    /// it again.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// The data has not ended after all: [`Unreturned::rejoin`] does not close the Reader,
    /// and more may be sent.
    pub fn reopen(&mut self) {
        self.closed = false;
    }

    /// How many blocks these are.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether all was given back.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }
}

impl Reader {
    /// What was sent and not given back, after the Writer has died, given up or hung up:
    /// to be kept, or sent to another one.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUse`] if the Writer is still there, if it has given its verdict (so
    /// all was given back), or if this process gave up before the Writer was found dead.
    /// [`Error::ProtocolViolation`] if what it gave back cannot be. The Reader is dropped
    /// then.
    pub fn into_unreturned(self) -> Result<Unreturned, Error> {
        self.check_lost()?;
        let closed = self.end().pool().is_closed();
        self.end().close_home();
        self.take_all_back()?;
        let lone = self.end().lone();
        let is_ending = matches!(self.end().partner_ended(), Ok(false));
        Ok(Unreturned::new(self, closed, lone, is_ending))
    }

    /// For who must not lose the Reader to a call that refuses: an error if it is one for
    /// which [`Reader::into_unreturned`] would be refused as invalid use.
    #[doc(hidden)]
    pub fn check_lost(&self) -> Result<(), Error> {
        self.end().find_lost()
    }

    /// As [`Reader::into_unreturned`], but it is this process that leaves the Writer, though
    /// that is still there: one that came in a lost one's place and is not fit for it, for
    /// instance. The Writer gets `reason` (cut to 1024 bytes) and `code`, a number of the
    /// application's choice, as [`Error::PartnerAborted`]. What it may have drained since, it
    /// has not said. If all was given back and the Reader was [closed](Reader::close), a
    /// verdict may be on its way that comes too late to be seen here: the Writer then takes
    /// the session for ended well, though this process goes on.
    ///
    /// A process that does not hear of it, because it is stopped for instance, still has
    /// what [`Options::takeover`] gave it. So long newcomers that have that option, too, are
    /// refused with [`Error::TooManyInstances`]; and if the one that was sent away had the
    /// first place, `rejoin` under the same name waits, and fails with that, too.
    ///
    /// # Errors
    ///
    /// As there, but for a Writer that is still there, and whatever this process gave up
    /// before.
    pub fn dismiss(self, code: u32, reason: &str) -> Result<Unreturned, Error> {
        let end = self.end();
        end.check_here()?;
        end.check_no_verdict()?;
        let closed = end.pool().is_closed();
        end.close_home();
        let lone = end.dismiss(code, reason);
        self.take_all_back()?;
        // It may have come meanwhile.
        end.check_no_verdict()?;
        Ok(Unreturned::new(self, closed, lone, false))
    }
}

/// Whether nobody was let in before joining failed with `error`. A host that did not answer
/// may have let this process in just when that had waited long enough.
fn is_before_admission(error: &Error) -> bool {
    matches!(
        error,
        Error::TooManyInstances { .. }
            | Error::NoPartner { .. }
            | Error::Refused { .. }
            | Error::InvalidOption(_)
            | Error::OutOfMemory { .. }
            | Error::NotPrivate { .. }
    )
}
