//! A pair: the two regions, the link between their owners, and what both ends do
//! alike.
//!
//! [`Core`] is what all threads share, from taking a seat to the end: the alarm that
//! ends every wait, and why it was rung. [`Pair`] is there once the partner is.
//! [`End`] is one side's half of the traffic, alike for both sides but for the
//! entries' sizes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Delivered, Error, Violation};
use crate::layout::{self, FIGURES, Geometry, REASON_MAX, load_text, printable, store_text};
use crate::memory::{Pool, Region, View};
use crate::monitor::Monitor;
use crate::options::{Partner, Side};
use crate::ring::{self, Barrier, Incoming, Outgoing, Sleeps};
use crate::sys::{self, Wake};

/// How often to look before sleeping: some twenty microseconds, about what a sleep
/// and a wake cost. With 200 looks, a copy of 1 GiB in memory took 1.06 times as
/// long as with 1000.
const SPINS: u32 = 1000;

/// The same with small blocks, where each look lasts longer (`ring::Incoming`
/// lags).
const SPINS_SMALL: u32 = 100;

/// Blocks up to this size, in bytes, take less time to copy than the two ends to
/// tell each other of one.
const SMALL_BLOCK: usize = 4096;

/// What outlives the change from seat to pair, shared by all threads.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) alarm: sys::Alarm,
    state: Mutex<CoreState>,
    paired: Condvar,
}

#[derive(Debug, Default)]
struct CoreState {
    pair: Option<Arc<Pair>>,
    aborted: Option<String>,
    /// Finished, or given up: nothing more will happen.
    over: bool,
    /// What monitors may still ask for when the pair is gone.
    last: Last,
}

/// What monitors see of a pair, or saw when it ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Last {
    pub(crate) partner: Option<Partner>,
    pub(crate) delivered: Delivered,
    /// Blocks that were sent and not given back.
    pub(crate) under_way: u64,
    /// Time that this end has slept, waiting for its partner.
    pub(crate) waited: Duration,
    pub(crate) own_figures: [u64; FIGURES],
    pub(crate) partner_figures: [u64; FIGURES],
}

impl Core {
    pub(crate) fn new() -> Result<Core, Error> {
        Ok(Core {
            alarm: sys::Alarm::new()?,
            state: Mutex::default(),
            paired: Condvar::new(),
        })
    }

    /// A panic while it was held leaves it valid: each use is a single step.
    fn state(&self) -> MutexGuard<'_, CoreState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_paired(&self, pair: &Arc<Pair>) {
        let mut state = self.state();
        if let Some(reason) = &state.aborted {
            pair.post_abort(reason);
        }
        state.pair = Some(Arc::clone(pair));
        self.paired.notify_all();
    }

    pub(crate) fn pair(&self) -> Option<Arc<Pair>> {
        self.state().pair.clone()
    }

    /// Waits until the pair is complete; `None` if the session was over before.
    pub(crate) fn wait_for_pair(&self) -> Result<Option<Arc<Pair>>, Error> {
        let mut state = self.state();
        loop {
            if let Some(reason) = state.aborted.clone() {
                return Err(Error::Aborted { reason });
            }
            if state.over {
                return Ok(None);
            }
            if let Some(pair) = &state.pair {
                return Ok(Some(Arc::clone(pair)));
            }
            let woken = self.paired.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// An error if the session was aborted in this process.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match &self.state().aborted {
            Some(reason) => Err(Error::Aborted {
                reason: reason.clone(),
            }),
            None => Ok(()),
        }
    }

    /// The first reason counts.
    pub(crate) fn abort(&self, reason: &str) {
        let mut state = self.state();
        if state.aborted.is_some() || state.over {
            return;
        }
        state.aborted = Some(reason.to_owned());
        if let Some(pair) = &state.pair {
            pair.post_abort(reason);
        }
        self.alarm.ring();
        self.paired.notify_all();
    }

    fn set_over(&self) {
        self.state().over = true;
        self.alarm.ring();
        self.paired.notify_all();
    }

    /// The end is gone: monitors that live on do not keep the name taken.
    pub(crate) fn release(&self) {
        let mut state = self.state();
        if let Some(pair) = state.pair.take() {
            state.last = pair.last();
        }
    }

    /// How the pair stands, or stood when it ended.
    pub(crate) fn last(&self) -> Last {
        let state = self.state();
        match &state.pair {
            Some(pair) => pair.last(),
            None => state.last.clone(),
        }
    }

    /// Lets the partner know if it broke the protocol.
    pub(crate) fn tell<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error @ Error::ProtocolViolation { .. }) = &result {
            self.abort(&error.to_string());
        }
        result
    }
}

/// The two regions and the link between their owners.
pub(crate) struct Pair {
    pub(crate) side: Side,
    geometry: Geometry,
    pub(crate) own: Arc<Region>,
    pub(crate) peer: Arc<Region>,
    pub(crate) partner: Partner,
    pub(crate) link: sys::Link,
    barrier: Barrier,
    waits: Waits,
}

/// How long this end has slept, and since when it sleeps now, for other threads to
/// see. Of no weight beside the sleep itself.
struct Waits {
    epoch: Instant,
    /// Whole sleeps, in nanoseconds.
    total_ns: AtomicU64,
    /// When this one began, in nanoseconds since `epoch`; 0 while awake.
    since_ns: AtomicU64,
}

impl Waits {
    fn new() -> Waits {
        Waits {
            epoch: Instant::now(),
            total_ns: AtomicU64::new(0),
            since_ns: AtomicU64::new(0),
        }
    }

    fn now_ns(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    fn count<T>(&self, sleep: impl FnOnce() -> T) -> T {
        let since = self.now_ns().max(1);
        self.since_ns.store(since, Ordering::Relaxed);
        let woken = sleep();
        self.since_ns.store(0, Ordering::Relaxed);
        let slept = self.now_ns() - since;
        // One thread at a time waits, so no read-modify-write is needed.
        let total = self.total_ns.load(Ordering::Relaxed) + slept;
        self.total_ns.store(total, Ordering::Relaxed);
        woken
    }

    fn so_far(&self) -> Duration {
        let current = match self.since_ns.load(Ordering::Relaxed) {
            0 => 0,
            since => self.now_ns().saturating_sub(since),
        };
        Duration::from_nanos(self.total_ns.load(Ordering::Relaxed) + current)
    }
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair")
            .field("side", &self.side)
            .field("partner", &self.partner)
            .finish_non_exhaustive()
    }
}

impl Pair {
    pub(crate) fn new(
        side: Side,
        geometry: Geometry,
        own: Arc<Region>,
        peer: Arc<Region>,
        partner: Partner,
        link: sys::Link,
    ) -> Pair {
        let features = |region: &Region| region.control().features.load(Ordering::Relaxed);
        let both = features(&own) & features(&peer);
        let barrier = match both & layout::FEATURE_REMOTE_BARRIER {
            0 => Barrier::Fence,
            _ => Barrier::Remote,
        };
        Pair {
            side,
            geometry,
            own,
            peer,
            partner,
            link,
            barrier,
            waits: Waits::new(),
        }
    }

    /// Publishes why this end gives up, and wakes the partner. The Writer's
    /// verdict, once given, stands.
    pub(crate) fn post_abort(&self, reason: &str) {
        let control = self.own.control();
        let bytes = &reason.as_bytes()[..reason.floor_char_boundary(REASON_MAX)];
        store_text(&control.reason, bytes);
        let status = &control.status.0;
        status
            .reason_len
            .store(bytes.len() as u32, Ordering::Relaxed);
        // Release: whoever sees the state sees the reason.
        let _ = status
            .state
            .fetch_update(Ordering::Release, Ordering::Relaxed, |state| {
                let verdict = self.side == Side::Writer && state == layout::ENDED;
                (!verdict).then_some(layout::ABORTED)
            });
        self.link.hang_up();
    }

    /// Whether the partner has ended (in its own sense); an error if it gave up.
    fn partner_ended(&self) -> Result<bool, Error> {
        let status = &self.peer.control().status.0;
        // Pairs with the Release in `End::end` and `post_abort`.
        match status.state.load(Ordering::Acquire) {
            layout::RUNNING => Ok(false),
            layout::ENDED => Ok(true),
            layout::ABORTED => {
                let len = status.reason_len.load(Ordering::Relaxed);
                let reason = load_text(&self.peer.control().reason, len);
                Err(Error::PartnerAborted {
                    partner: self.partner.clone(),
                    reason: printable(&String::from_utf8_lossy(&reason)),
                    delivered: self.delivered(),
                })
            }
            found => Err(self.violation(Violation::State { found })),
        }
    }

    pub(crate) fn delivered(&self) -> Delivered {
        let writer = match self.side {
            Side::Reader => &self.peer,
            Side::Writer => &self.own,
        };
        let published = &writer.control().published.0;
        Delivered {
            blocks: published.blocks.load(Ordering::Acquire),
            bytes: published.bytes.load(Ordering::Relaxed),
        }
    }

    fn under_way(&self) -> u64 {
        let (reader, writer) = match self.side {
            Side::Reader => (&self.own, &self.peer),
            Side::Writer => (&self.peer, &self.own),
        };
        let blocks = |region: &Region| region.control().published.0.blocks.load(Ordering::Acquire);
        // Looked at first, so that what is sent meanwhile does not make it negative.
        let returned = blocks(writer);
        let under_way = blocks(reader).saturating_sub(returned);
        under_way.min(self.geometry.block_count() as u64)
    }

    fn last(&self) -> Last {
        let figures = |region: &Region| {
            let figures = &region.control().figures.0;
            std::array::from_fn(|index| figures[index].load(Ordering::Relaxed))
        };
        Last {
            partner: Some(self.partner.clone()),
            delivered: self.delivered(),
            under_way: self.under_way(),
            waited: self.waits.so_far(),
            own_figures: figures(&self.own),
            partner_figures: figures(&self.peer),
        }
    }

    fn died(&self) -> Error {
        Error::PartnerDied {
            partner: self.partner.clone(),
            delivered: self.delivered(),
        }
    }

    pub(crate) fn violation(&self, violation: Violation) -> Error {
        Error::ProtocolViolation {
            partner: self.partner.clone(),
            violation,
            delivered: self.delivered(),
        }
    }

    /// What the partner's being gone means: it said why, it died, or the session
    /// is over, which the Writer's verdict makes it.
    pub(crate) fn gone(&self) -> Result<(), Error> {
        let over = match self.side {
            Side::Reader => self.partner_ended()?,
            Side::Writer => {
                self.partner_ended()?;
                let own = &self.own.control().status.0.state;
                own.load(Ordering::Relaxed) == layout::ENDED
            }
        };
        if over { Ok(()) } else { Err(self.died()) }
    }
}

/// How long a call may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// Not at all.
    None,
    /// Until then.
    Until(Instant),
    /// For ever.
    Endless,
}

/// One side's half of the traffic: what it publishes, what it observes, and the
/// blocks. `OUT` and `IN` are the words of an entry in its own and in the
/// partner's queue.
pub(crate) struct End<const OUT: usize, const IN: usize> {
    core: Arc<Core>,
    pair: Arc<Pair>,
    own: View,
    peer: View,
    outgoing: Outgoing<OUT>,
    incoming: Incoming<IN>,
    sleeps: Sleeps,
    barrier: Barrier,
    spins: u32,
    pool: Pool,
}

impl<const OUT: usize, const IN: usize> std::fmt::Debug for End<OUT, IN> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("End")
            .field("pair", &self.pair)
            .field("published", &self.outgoing.published())
            .field("taken", &self.incoming.taken())
            .finish_non_exhaustive()
    }
}

impl<const OUT: usize, const IN: usize> End<OUT, IN> {
    pub(crate) fn new(core: Arc<Core>, pair: Arc<Pair>) -> Self {
        let blocks = match pair.side {
            Side::Reader => &pair.own,
            Side::Writer => &pair.peer,
        };
        // On one processor, spinning only keeps the partner from running.
        let alone = std::thread::available_parallelism().is_ok_and(|n| n.get() == 1);
        let small_blocks = pair.geometry.block_size() <= SMALL_BLOCK;
        let spins = match (alone, small_blocks) {
            (true, _) => 0,
            (false, true) => SPINS_SMALL,
            (false, false) => SPINS,
        };
        End {
            own: View::new(&pair.own, &pair.geometry, OUT),
            peer: View::new(&pair.peer, &pair.geometry, IN),
            outgoing: Outgoing::new(),
            incoming: Incoming::new(small_blocks),
            sleeps: Sleeps::new(),
            barrier: pair.barrier,
            spins,
            pool: Pool::new(blocks, &pair.geometry),
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

    pub(crate) fn published(&self) -> u64 {
        self.outgoing.published()
    }

    pub(crate) fn taken(&self) -> u64 {
        self.incoming.taken()
    }

    /// Publishes `entry`, and wakes the partner if it sleeps.
    #[inline(always)]
    pub(crate) fn publish(&self, entry: [u64; OUT]) {
        self.outgoing
            .publish(self.own.control(), self.own.queue(), entry);
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
        self.pair.link.ring();
    }

    /// The partner's next entry, if there is one; `out` blocks are with it at
    /// most.
    #[inline(always)]
    pub(crate) fn take(&self, out: impl FnOnce() -> u64) -> Result<Option<[u64; IN]>, Error> {
        self.incoming
            .take(self.peer.control(), self.peer.queue(), out)
            .map_err(|violation| self.violation(violation))
    }

    /// Counts the bytes of a block about to be given back.
    #[inline(always)]
    pub(crate) fn count(&self, len: usize) {
        // One writer, so no read-modify-write is needed.
        let bytes = &self.own.control().published.0.bytes;
        bytes.store(
            bytes.load(Ordering::Relaxed) + len as u64,
            Ordering::Relaxed,
        );
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

    /// Looks until there is something, sleeping in between.
    #[cold]
    #[inline(never)]
    pub(crate) fn wait<T>(
        &self,
        patience: Patience,
        look: impl Fn() -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        let deadline = match patience {
            Patience::None => return self.look_once(look),
            Patience::Until(deadline) => Some(deadline),
            Patience::Endless => None,
        };
        // Set before the last look: what a dying partner published is found
        // before its death is reported.
        let gone = std::cell::Cell::new(false);
        self.sleeps.wait(
            self.own.control(),
            self.spins,
            || match look()? {
                None if gone.get() => Err(self.pair.died()),
                found => Ok(found),
            },
            || match self.barrier {
                Barrier::Remote => sys::barrier_remotely(),
                Barrier::Fence => {
                    ring::full_fence();
                    Ok(())
                }
            },
            || match self.sleep(deadline)? {
                Wake::Bell => Ok(()),
                Wake::Gone => {
                    gone.set(true);
                    Ok(())
                }
                Wake::Message => Err(self.violation(Violation::Message)),
                Wake::Alarm => self.core.check(),
                Wake::Timeout => Err(Error::TimedOut),
            },
        )
    }

    fn sleep(&self, deadline: Option<Instant>) -> Result<Wake, Error> {
        let sleep = || self.pair.link.wait(&self.core.alarm, deadline);
        self.pair.waits.count(sleep)
    }

    fn look_once<T>(&self, look: impl Fn() -> Result<Option<T>, Error>) -> Result<T, Error> {
        if let Some(found) = look()? {
            return Ok(found);
        }
        self.core.check()?;
        match self
            .pair
            .link
            .watch(&self.core.alarm, Some(Instant::now()))?
        {
            Wake::Gone => look()?.ok_or_else(|| self.pair.died()),
            _ => Err(Error::TimedOut),
        }
    }

    /// This end's last word: no more data, or the verdict.
    pub(crate) fn end(&self) -> Result<(), Error> {
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
        if self
            .sleeps
            .partner_wants_ring(self.peer.control(), self.barrier)
        {
            self.ring();
        }
        Ok(())
    }

    /// Whether the partner is alive and has not given up.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.core.check()?;
        self.partner_ended()?;
        match self
            .pair
            .link
            .watch(&self.core.alarm, Some(Instant::now()))?
        {
            Wake::Gone => self.core.tell(self.pair.gone()),
            Wake::Message => Err(self.violation(Violation::Message)),
            _ => Ok(()),
        }
    }

    pub(crate) fn abort(&self, reason: &str) {
        self.core.abort(reason);
    }

    /// The session has ended well: dropping this end is no abort any more.
    pub(crate) fn set_over(&self) {
        self.core.set_over();
    }
}

impl<const OUT: usize, const IN: usize> Drop for End<OUT, IN> {
    fn drop(&mut self) {
        let how = if std::thread::panicking() {
            "panicked"
        } else {
            "stopped"
        };
        // Does nothing once the session is over or aborted.
        self.core
            .abort(&format!("it {how} before the end of the session"));
        self.core.release();
    }
}
