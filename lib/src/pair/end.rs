//! One side's half of the traffic.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Pair;
use super::patience::{Patience, Who};
use super::shared::{Core, forked};
use crate::error::{Delivered, Error, Violation};
use crate::join::{Lone, Numbers};
use crate::lag::Lag;
use crate::letters::{Inbox, Outbox};
use crate::monitor::Monitor;
use crate::options::{Partner, Side};
use crate::region::access::{Own, Theirs};
use crate::region::layout;
use crate::region::prefetch;
use crate::region::{Block, Detached, Pool, Region, View};
use crate::returns::UNSENT;
use crate::ring::{self, Barrier, Incoming, Outgoing, Sleeps};
use crate::steps::at_step;
use crate::sys::{self, Origin, Wake};
use crate::wait::Interest;

/// One side's half of the traffic: what it publishes, what it observes, and the
/// blocks. `OUT` and `IN` are the words of an entry in its own and in the
/// partner's queue.
pub(crate) struct End<const OUT: usize, const IN: usize> {
    pub(super) core: Arc<Core>,
    pub(super) pair: Arc<Pair>,
    pub(super) own: View<Own>,
    pub(super) peer: View<Theirs>,
    outgoing: Outgoing<OUT>,
    pub(super) incoming: Incoming<IN>,
    /// Bytes of the blocks given back, published or not (Writer).
    returned_bytes: Cell<u64>,
    /// Blocks are fetched some at a time.
    prefetches: bool,
    pub(super) outbox: Outbox,
    pub(super) inbox: Inbox,
    pub(super) sleeps: Sleeps,
    pub(super) barrier: Barrier,
    patience: Patience,
    pub(super) pool: Pool,
    /// Entries that were taken when the partner was last rung.
    pub(super) rang_at: Cell<Option<u64>>,
    pub(super) letters_ended: Cell<bool>,
    /// There may be a ring to consume.
    pub(super) rung: Cell<bool>,
    /// What pending polls wait for; if anything, this end is armed for all of it.
    pub(super) polled: Cell<Interest>,
    /// A pending poll waits for the end of the session. Nothing is armed for it, but blocks
    /// that come home wake it.
    pub(super) watched: Cell<bool>,
    origin: Origin,
}

impl<const OUT: usize, const IN: usize> std::fmt::Debug for End<OUT, IN> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("End")
            .field("pair", &self.pair)
            .field("appended", &self.outgoing.appended())
            .field("taken", &self.incoming.taken())
            .finish_non_exhaustive()
    }
}

impl<const OUT: usize, const IN: usize> End<OUT, IN> {
    pub(crate) fn new(core: Arc<Core>, pair: Arc<Pair>) -> Self {
        let pool = match pair.side {
            Side::Reader => Pool::new(&pair.own, &pair.geometry, false),
            Side::Writer => {
                let is_foreign = !pair.partner.is_own_user();
                Pool::new(&pair.peer, &pair.geometry, is_foreign)
            }
        };
        End::with_pool(core, pair, pool)
    }

    /// An end that has the blocks of another one, in the same region; if that was `closed`,
    /// other threads send nothing more.
    pub(crate) fn in_place_of(
        other: &mut Self,
        closed: bool,
        core: Arc<Core>,
        pair: Arc<Pair>,
    ) -> Self {
        let link = || Arc::downgrade(&pair.link);
        let pool = other.pool.hand_over(closed, link);
        End::with_pool(core, pair, pool)
    }

    fn with_pool(core: Arc<Core>, pair: Arc<Pair>, pool: Pool) -> Self {
        let (block_size, block_count) = (pair.geometry.block_size(), pair.geometry.block_count());
        let fetched = prefetch::blocks_at_a_time(block_size);
        let has_one_processor = core.has_one_processor();
        let lag = Lag::new(block_size, block_count, has_one_processor);
        End {
            own: View::new(&pair.own, &pair.geometry, OUT),
            peer: View::new(&pair.peer, &pair.geometry, IN),
            outgoing: Outgoing::new(),
            returned_bytes: Cell::new(0),
            prefetches: fetched.is_some(),
            incoming: Incoming::new(lag, fetched.unwrap_or(u64::MAX)),
            outbox: Outbox::default(),
            inbox: Inbox::default(),
            sleeps: Sleeps::new(),
            barrier: pair.barrier,
            patience: Patience::new(has_one_processor),
            pool,
            rang_at: Cell::new(None),
            letters_ended: Cell::new(false),
            rung: Cell::new(false),
            polled: Cell::new(Interest::NOTHING),
            watched: Cell::new(false),
            origin: core.origin(),
            core,
            pair,
        }
    }

    pub(crate) fn partner(&self) -> &Partner {
        &self.pair.partner
    }

    pub(crate) fn monitor(&self) -> Monitor {
        Monitor::new(&self.core)
    }

    pub(crate) fn block_count(&self) -> usize {
        self.pair.geometry.block_count()
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Blocks passed on, by batches also that the partner does not know of yet.
    #[inline(always)]
    pub(crate) fn appended(&self) -> u64 {
        self.outgoing.appended()
    }

    /// Blocks passed on of which the partner knows.
    pub(crate) fn published(&self) -> u64 {
        self.outgoing.published()
    }

    pub(crate) fn taken(&self) -> u64 {
        self.incoming.taken()
    }

    /// False in a forked child: the session is its parent's, and it may touch nothing.
    #[inline(always)]
    pub(crate) fn is_here(&self) -> bool {
        self.origin.is_here()
    }

    /// [`End::is_here`], as an error.
    #[inline(always)]
    pub(crate) fn check_here(&self) -> Result<(), Error> {
        match self.is_here() {
            true => Ok(()),
            false => Err(forked()),
        }
    }

    /// Writes `entry`; if it is not one of a batch, publishes it and all before it. Not in a
    /// forked child.
    #[inline(always)]
    pub(crate) fn pass(&self, entry: [u64; OUT], is_in_batch: bool) {
        self.outgoing.append(self.own.queue(), entry);
        if !is_in_batch {
            self.publish();
        }
    }

    /// Publishes what was written, and wakes the partner if it sleeps.
    #[inline(always)]
    fn publish(&self) {
        // A Writer's, as entries of one word are.
        if OUT == layout::RETURNED_WORDS {
            let bytes = &self.own.control().published.0.bytes;
            bytes.store(self.returned_bytes.get(), Ordering::Relaxed);
        }
        self.outgoing.publish(self.own.control());
        at_step("published");
        self.ring_if_wanted();
    }

    /// Publishes what batches have kept back.
    #[cold]
    #[inline(never)]
    pub(crate) fn publish_kept(&self) {
        if self.appended() == self.published() || !self.is_here() {
            return;
        }
        match self.pair.side == Side::Writer || self.is_running() {
            true => self.publish(),
            // Nothing follows a Reader's last word.
            false => self.outgoing.forget_kept(),
        }
    }

    /// Lets the partner have all that it can: what other threads have passed on, and what
    /// batches have kept back.
    pub(crate) fn pass_on(&self) {
        self.bring_home();
        self.publish_kept();
    }

    /// After everything that the partner may wait for.
    #[inline(always)]
    pub(super) fn ring_if_wanted(&self) {
        if self
            .sleeps
            .partner_wants_ring(self.peer.control(), self.barrier)
        {
            self.ring();
        }
    }

    /// Out of line, like all that the fast path does not do: what remains is
    /// small enough to be inlined where it is used, and the tokens stay in
    /// registers.
    #[cold]
    #[inline(never)]
    fn ring(&self) {
        self.rang_at.set(Some(self.incoming.taken()));
        // The partner may be waiting for this very processor.
        self.incoming.set_urgent();
        self.pair.link.ring();
    }

    /// Lets `block` go to any thread.
    pub(crate) fn detach(&self, block: Block) -> Detached {
        let link = || Arc::downgrade(&self.pair.link);
        self.pool.detach(block, link, self.origin)
    }

    /// Does what other threads want done with the detached blocks that have come home. At
    /// each look, whatever it is for.
    #[inline(always)]
    pub(crate) fn bring_home(&self) {
        if self.pool.has_detached() {
            self.bring_home_now();
        }
    }

    #[cold]
    #[inline(never)]
    fn bring_home_now(&self) {
        if !self.is_here() {
            return;
        }
        for (block, errand) in self.pool.take_home() {
            match self.pair.side {
                // Nothing follows this end's last word: after a verdict or an abort.
                Side::Reader if errand == UNSENT || !self.is_running() => {
                    self.pool.put_back(block);
                    continue;
                }
                Side::Reader => self.pool.send(block, errand, self.appended()),
                Side::Writer => {
                    self.count(errand[1] as usize);
                    self.pool.give_back(block);
                }
            }
            self.pass(std::array::from_fn(|word| errand[word]), false);
        }
    }

    /// From here on no other thread sends; what it has sent, is sent.
    pub(crate) fn close_home(&self) {
        self.pool.close_home();
        self.pass_on();
    }

    /// The partner's next entry, if there is one; `out` blocks are with it at
    /// most. Not in a forked child.
    #[inline(always)]
    pub(crate) fn take(&self, out: impl FnOnce() -> u64) -> Result<Option<[u64; IN]>, Error> {
        self.incoming
            .take(self.peer.control(), self.peer.queue(), out)
            .map_err(|violation| self.violation(violation))
    }

    /// If blocks are small: fetches those that this look has found beside the one that was
    /// taken, by `fetch`, and the lines of the own queue in which they will be passed on.
    pub(crate) fn prefetch(&self, fetch: impl Fn([u64; IN])) {
        if !self.prefetches || !self.incoming.has_just_looked() {
            return;
        }
        let seen = self.incoming.seen(self.peer.queue());
        // What has come alone is used at once, and would only wait for this.
        if seen.len() == 0 {
            return;
        }
        self.outgoing.prefetch(self.own.queue(), seen.len());
        seen.for_each(fetch);
    }

    /// The next look does not lag, as it may be one of many in a call that does not wait.
    pub(crate) fn set_urgent(&self) {
        self.incoming.set_urgent();
    }

    /// Whether [`End::take`] would take something, or is paused.
    pub(crate) fn has_incoming(&self) -> bool {
        self.incoming.is_ready(self.peer.control())
    }

    /// The partner's next entry, if it is at hand: without a look at what the partner has
    /// published since. It is left there, for [`End::advance`] or [`End::take`]. None in a
    /// forked child.
    #[inline(always)]
    pub(crate) fn peek(&self) -> Option<[u64; IN]> {
        match self.is_here() {
            true => self.incoming.peek(self.peer.queue()),
            false => None,
        }
    }

    /// Takes the entry that was peeked at.
    #[inline(always)]
    pub(crate) fn advance(&self) {
        self.incoming.advance();
    }

    /// From here on [`End::take`] takes nothing, or all again.
    pub(crate) fn set_paused(&self, paused: bool) {
        self.incoming.set_paused(paused);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.incoming.is_paused()
    }

    /// Counts the bytes of a block about to be given back.
    #[inline(always)]
    pub(crate) fn count(&self, len: usize) {
        let bytes = &self.returned_bytes;
        bytes.set(bytes.get() + len as u64);
    }

    pub(crate) fn delivered(&self) -> Delivered {
        self.pair.delivered()
    }

    pub(crate) fn partner_ended(&self) -> Result<bool, Error> {
        self.core.tell(self.pair.partner_ended())
    }

    /// Tells the partner of its breach, and makes the error.
    #[cold]
    #[inline(never)]
    pub(crate) fn violation(&self, violation: Violation) -> Error {
        let error = self.pair.violation(violation);
        self.core.abort(&error.to_string());
        error
    }

    /// Looks until there is something, sleeping in between, until `deadline`.
    #[cold]
    #[inline(never)]
    pub(crate) fn wait<T>(
        &self,
        deadline: Option<Instant>,
        look: impl Fn() -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        self.publish_kept();
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return self.look_too_late(look);
        }
        // Set before the last look: what a dying partner published is found
        // before its death is reported.
        let gone = Cell::new(false);
        // Likewise: a partner may ring without a pause, and the deadline holds.
        let late = Cell::new(false);
        let look = || {
            self.bring_home();
            match look()? {
                None if gone.get() => Err(self.pair.died()),
                None if late.get() || self.pair.is_cut_short() => Err(Error::TimedOut),
                found => Ok(found),
            }
        };
        if let Some(found) = self.look_for_a_while(Who::Thread, deadline, look)? {
            return Ok(found);
        }
        self.polled.set(Interest::NOTHING);
        let found = self.sleeps.wait(
            self.own.control(),
            look,
            || self.consume(),
            || {
                self.pool.set_asleep();
                execute_barrier(self.barrier)
            },
            || match self.sleep(deadline)? {
                Wake::Rung => {
                    self.rung.set(true);
                    self.incoming.set_urgent();
                    late.set(deadline.is_some_and(|deadline| deadline <= Instant::now()));
                    Ok(())
                }
                Wake::Gone => {
                    gone.set(true);
                    Ok(())
                }
                Wake::Message => Err(self.violation(Violation::Message)),
                Wake::HungUp => self.core.check().and(Err(OVER)),
                Wake::Timeout => {
                    late.set(true);
                    Ok(())
                }
            },
        );
        self.pool.set_awake();
        found
    }

    /// A wait whose deadline has passed: neither spins nor sleeps.
    fn look_too_late<T>(&self, look: impl Fn() -> Result<Option<T>, Error>) -> Result<T, Error> {
        // Who wants this wait to return has what it wants.
        self.pair.is_cut_short();
        match self.look_and_watch(look)? {
            (Some(found), _) => Ok(found),
            (None, false) => Err(Error::TimedOut),
            (None, true) => Err(OVER),
        }
    }

    /// Takes the rings that are there, if there may be any.
    pub(super) fn consume(&self) -> Result<(), Error> {
        match self.rung.replace(false) {
            true => self.pair.link.consume(),
            false => Ok(()),
        }
    }

    /// Before it sleeps, an end looks for about as long as that would cost.
    pub(super) fn look_for_a_while<T>(
        &self,
        who: Who,
        deadline: Option<Instant>,
        look: impl Fn() -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        let has_just_rung = self.rang_at.get() == Some(self.incoming.taken());
        let who = if has_just_rung { Who::HasRung } else { who };
        self.patience.look(who, deadline, look)
    }

    fn sleep(&self, deadline: Option<Instant>) -> Result<Wake, Error> {
        let sleep = || {
            at_step("asleep");
            self.pair.link.wait(deadline)
        };
        let woken = self.pair.waits.count(sleep);
        at_step("woken");
        woken
    }

    /// Looks, without waiting; an error if there is nothing and the partner is gone.
    #[cold]
    #[inline(never)]
    pub(crate) fn look_once<T>(
        &self,
        look: impl Fn() -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        self.look_and_watch(look).map(|(found, _)| found)
    }

    /// As [`End::look_once`]; and whether nothing can come any more, since the session is over.
    pub(super) fn look_and_watch<T>(
        &self,
        look: impl Fn() -> Result<Option<T>, Error>,
    ) -> Result<(Option<T>, bool), Error> {
        self.pass_on();
        if let Some(found) = look()? {
            return Ok((Some(found), false));
        }
        self.core.check()?;
        match self.pair.link.watch(Some(Instant::now()))? {
            // What a dying partner published comes before its death.
            Wake::Gone => match look()? {
                None => Err(self.pair.died()),
                found => Ok((found, false)),
            },
            Wake::Message => Err(self.violation(Violation::Message)),
            woken => Ok((None, woken == Wake::HungUp)),
        }
    }

    #[inline(always)]
    fn state(&self) -> u32 {
        self.own.control().status.0.state.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(crate) fn is_running(&self) -> bool {
        self.state() == layout::RUNNING
    }

    /// Whether this end has said its last word.
    pub(crate) fn has_ended(&self) -> bool {
        self.state() == layout::ENDED
    }

    /// An error once this end has said its last word, or has given up.
    #[inline(always)]
    pub(crate) fn can_publish(&self, if_ended: &'static str) -> Result<(), Error> {
        self.check_here()?;
        match self.is_running() {
            true => Ok(()),
            false => self.refuse_use(if_ended),
        }
    }

    /// This end's last word: no more data, or the verdict.
    pub(crate) fn end(&self) -> Result<(), Error> {
        self.check_here()?;
        self.close_home();
        at_step("about to end");
        // Release: whoever sees the state sees the last `published`.
        let state = &self.own.control().status.0.state;
        let swapped = state.compare_exchange(
            layout::RUNNING,
            layout::ENDED,
            Ordering::Release,
            Ordering::Relaxed,
        );
        if swapped.is_err() {
            return self.core.check();
        }
        at_step("ended");
        self.ring_if_wanted();
        Ok(())
    }

    /// What the caller did wrong; but if the session was aborted in this process, then that.
    #[cold]
    #[inline(never)]
    pub(crate) fn refuse_use<T>(&self, why: &'static str) -> Result<T, Error> {
        self.core.check()?;
        Err(Error::InvalidUse(why))
    }

    /// Whether the partner is alive and has not given up.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.core.check()?;
        self.partner_ended()?;
        match self.pair.link.watch(Some(Instant::now()))? {
            Wake::Gone => self.core.tell(self.pair.gone()),
            Wake::Message => Err(self.violation(Violation::Message)),
            _ => Ok(()),
        }
    }

    /// The session cannot go on.
    pub(crate) fn give_up_name(&self) {
        self.core.give_up_name();
    }

    /// Gives the session up, and lets nobody in this process reach its region any more.
    /// The other lane shall find out itself what became of the partner.
    pub(crate) fn leave(&self, why: &str) {
        self.core.abort_lane(0, why);
        self.core.give_up_name();
        self.core.release();
    }

    /// Gives this pair up, and what goes on without the partner.
    pub(crate) fn dismiss(&self, code: u32, reason: &str) -> Lone {
        let lone = self.lone();
        self.core.abort_with(code, reason);
        lone
    }

    /// Whether the system says that the partner's process has ended, by `deadline`.
    pub(crate) fn is_partner_dead(&self, deadline: Instant) -> Result<bool, Error> {
        self.pair.link.is_partner_dead(deadline)
    }

    /// This end's own region, for another pair.
    pub(crate) fn own_region(&self) -> Region<Own> {
        self.pair.own.again()
    }

    /// What goes on without the partner.
    pub(crate) fn lone(&self) -> Lone {
        let pair = &self.pair;
        Lone::new(&self.core, pair.side, pair.geometry, self.numbers())
    }

    /// Which pair this is.
    pub(crate) fn numbers(&self) -> Numbers {
        let control = self.own.control();
        Numbers {
            session: control.session.load(Ordering::Relaxed),
            epoch: control.epoch.load(Ordering::Relaxed),
        }
    }

    /// Nothing, if the partner is lost: it died, gave up or hung up.
    pub(crate) fn find_lost(&self) -> Result<(), Error> {
        self.check_here()?;
        if self.has_partner_given_up()? || self.pair.was_found_dead() {
            return Ok(());
        }
        match self.pair.link.watch(Some(Instant::now()))? {
            // Its last word came before that, and perhaps after the look at it.
            Wake::Gone => self.has_partner_given_up().map(drop),
            Wake::HungUp => Err(Error::InvalidUse("this process gave up before its partner")),
            _ => Err(Error::InvalidUse("the partner is still there")),
        }
    }

    fn has_partner_given_up(&self) -> Result<bool, Error> {
        match self.pair.partner_ended() {
            Err(Error::PartnerAborted { .. }) => Ok(true),
            Err(error) => Err(error),
            Ok(true) if self.pair.side == Side::Reader => Err(VERDICT_GIVEN),
            // A Reader that has said that no more will come is missed until the verdict.
            Ok(_) => Ok(false),
        }
    }

    /// An error if the partner has given its verdict: then nobody goes on without it.
    pub(crate) fn check_no_verdict(&self) -> Result<(), Error> {
        match self.pair.partner_ended() {
            Ok(true) if self.pair.side == Side::Reader => Err(VERDICT_GIVEN),
            _ => Ok(()),
        }
    }

    pub(crate) fn abort(&self, reason: &str) {
        self.core.abort(reason);
    }

    pub(crate) fn abort_with(&self, code: u32, reason: &str) {
        self.core.abort_with(code, reason);
    }

    /// The session has ended well: dropping this end is no abort any more.
    pub(crate) fn set_over(&self) {
        self.core.set_over();
    }
}

/// The sleeper's half of the barrier, between its announcement and its last look.
pub(crate) fn execute_barrier(barrier: Barrier) -> Result<(), Error> {
    match barrier {
        Barrier::Remote => sys::barrier_remotely(),
        Barrier::Fence => {
            ring::full_fence();
            Ok(())
        }
    }
}

/// The session has ended well.
const VERDICT_GIVEN: Error = Error::InvalidUse("the partner has given its verdict");

/// What to wait for when nothing more can come.
pub(super) const OVER: Error = Error::InvalidUse("the session is over");

impl<const OUT: usize, const IN: usize> Drop for End<OUT, IN> {
    fn drop(&mut self) {
        // What other threads sent while they could, was sent; but nothing after the end.
        self.pool.leave_home();
        if self.is_running() {
            self.pass_on();
        }
        let how = if std::thread::panicking() {
            "panicked"
        } else {
            "stopped"
        };
        let reason = format!("it {how} before the end of the session");
        // Does nothing once the session is over or aborted.
        match self.find_lost().is_ok() {
            // The other lane shall find out itself what became of the partner.
            true => {
                self.core.abort_lane(0, &reason);
            }
            false => self.core.abort(&reason),
        };
        self.core.release();
    }
}
