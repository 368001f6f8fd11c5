//! What an end's object shares with its blocks: the end, which one call at a time may use.
//!
//! A block that was sent or given back comes home through its end. Whoever lets one come home
//! looks whether a call is in the end; if none is, it brings the block home itself, and if one
//! is, that call does: it looks when it has left the end. Nothing falls between the two: the
//! one stores that a block is on its way and then looks whether the end is free, the other one
//! frees the end and then looks whether a block is on its way, each with a full barrier in
//! between. A call that sleeps is woken by the library.
//!
//! Calls of several threads take turns: who comes while another one waits cuts its wait short and is
//! let in. If it has to wait as well, it does so for both: for whatever one of them waits for, and lets
//! the other one in as soon as there is something. Who has just come goes before those who only wait, and
//! nobody sleeps in the end while one has come.

use std::collections::VecDeque;
use std::ops::{BitOr, Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use engine::{Error, Interest, Letter, Monitor, Partner};
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::both::End;
use crate::errors::raised;
use crate::lock::{MappedMutexGuard, Mutex, MutexGuard, lock_again};
use crate::wait::{Awaited, Limit, SLICE, Slices, wait};

/// What does not change as long as the end lives, and nobody has to wait for.
pub(crate) struct Facts {
    pub(crate) block_size: usize,
    pub(crate) block_count: usize,
    pub(crate) epoch: u64,
    pub(crate) partner: Partner,
    pub(crate) monitor: Monitor,
}

/// An end, as its object and its blocks have it.
pub(crate) struct Held<E> {
    pub(crate) facts: Facts,
    /// `None` once it was left, or has become something else.
    end: Mutex<Option<E>>,
    /// The thread whose call is in the end; 0 if none is.
    inside: AtomicUsize,
    /// How many calls have come and want to be let in.
    newcomers: AtomicUsize,
    /// What the calls wait for that have left for another one's sake and want to be let in again.
    waiters: Waiters,
    /// A block is on its way home.
    has_homecomers: AtomicBool,
    /// How many blocks Python has.
    lent: AtomicUsize,
    pub(crate) kept_letter: Kept<Letter>,
    /// What has the blocks, once another end has taken this one's place.
    heir: OnceLock<Arc<Held<E>>>,
    /// The last word was said: no more data, or that the data has ended.
    pub(crate) has_ended: AtomicBool,
    /// The verdict is there, or this process gave up by itself.
    pub(crate) is_over: AtomicBool,
}

/// What tells the threads of a process apart, and is never 0.
fn this_thread() -> usize {
    thread_local! {
        static PLACE: u8 = const { 0 };
    }
    PLACE.with(|place| std::ptr::from_ref(place).addr())
}

/// How long a call that waits may take to leave, when one comes that does not wait.
const LEAVING: Duration = Duration::from_millis(10);

/// About how long a thread takes to wake up.
const WAKING: Duration = Duration::from_micros(50);

const LEFT: Error = Error::InvalidUse("this end was left");
const AGAIN: Error = Error::InvalidUse("this thread is in a call of the same end already");
const FORKED: Error =
    Error::InvalidUse("the session is the parent's: this process was forked off it");

impl<E: End> Held<E> {
    pub(crate) fn new(end: E) -> Arc<Held<E>> {
        Arc::new(Held {
            facts: end.facts(),
            end: Mutex::new(Some(end)),
            inside: AtomicUsize::new(0),
            newcomers: AtomicUsize::new(0),
            waiters: Waiters::default(),
            has_homecomers: AtomicBool::new(false),
            lent: AtomicUsize::new(0),
            kept_letter: Kept::new(),
            heir: OnceLock::new(),
            has_ended: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        })
    }

    /// False in a forked child, which may not even wait for the lock: whoever has it may not
    /// be there.
    pub(crate) fn is_here(&self) -> bool {
        self.facts.monitor.is_here()
    }

    pub(crate) fn check_here(&self, py: Python<'_>) -> PyResult<()> {
        match self.is_here() {
            true => Ok(()),
            false => Err(raised(py, FORKED)),
        }
    }

    /// That this process has not given the session up.
    #[inline]
    pub(crate) fn check_not_over(&self, py: Python<'_>) -> PyResult<()> {
        match self.is_over.load(Ordering::Relaxed) {
            false => Ok(()),
            true => self.find_over(py),
        }
    }

    #[cold]
    fn find_over(&self, py: Python<'_>) -> PyResult<()> {
        let monitor = &self.facts.monitor;
        match py.detach(|| monitor.watch_until(Instant::now())) {
            Ok(()) | Err(Error::TimedOut) => Ok(()),
            Err(error) => Err(raised(py, error)),
        }
    }

    /// Lets a call of this thread into the end, once no other one is in it.
    #[inline]
    pub(crate) fn enter<'h>(&'h self, py: Python<'_>, limit: Limit) -> PyResult<Call<'h, E>> {
        self.let_in(py, self.lock(py, limit)?)
    }

    /// The same, if no other call is in it; `None` also if something else is in the way.
    #[inline]
    pub(crate) fn enter_at_once(&self) -> Option<Call<'_, E>> {
        if !self.is_here() {
            return None;
        }
        let end = MutexGuard::try_map(self.end.try_lock()?, Option::as_mut);
        end.ok().map(|end| Call::new(self, end))
    }

    #[inline]
    fn let_in<'h>(
        &'h self,
        py: Python<'_>,
        end: MutexGuard<'h, Option<E>>,
    ) -> PyResult<Call<'h, E>> {
        match MutexGuard::try_map(end, Option::as_mut) {
            Ok(end) => Ok(Call::new(self, end)),
            Err(_) => Err(raised(py, LEFT)),
        }
    }

    /// The end itself, once no call is in it; there is none any more then.
    ///
    /// Not if `check` fails, which is asked while no other call is in the end.
    pub(crate) fn take(&self, py: Python<'_>, check: impl FnOnce() -> PyResult<()>) -> PyResult<E> {
        let mut end = self.lock(py, Limit::Forever)?;
        check()?;
        end.take().ok_or_else(|| raised(py, LEFT))
    }

    #[inline]
    fn lock(&self, py: Python<'_>, limit: Limit) -> PyResult<MutexGuard<'_, Option<E>>> {
        self.check_here(py)?;
        match self.end.try_lock() {
            Some(end) => Ok(end),
            None => self.wait_for_others(py, limit.or(LEAVING)),
        }
    }

    #[cold]
    fn wait_for_others(&self, py: Python<'_>, limit: Limit) -> PyResult<MutexGuard<'_, Option<E>>> {
        if self.inside.load(Ordering::Relaxed) == this_thread() {
            return Err(raised(py, AGAIN));
        }
        let mut wants = Some(Wants::new(&self.newcomers));
        self.facts.monitor.cut_wait_short();
        wait(py, limit, |until| {
            let end = match until {
                Some(until) => self.end.try_lock_until(until).ok_or(Error::TimedOut),
                None => Ok(self.end.lock()),
            }?;
            wants.take();
            Ok(end)
        })
    }

    /// Waits until no call is in the end, and nobody else has come for it.
    fn wait_for_another_turn(
        &self,
        py: Python<'_>,
        limit: Limit,
        wants: Wants<'_>,
    ) -> PyResult<MutexGuard<'_, Option<E>>> {
        let mut wants = Some(wants);
        wait(py, limit, |until| {
            let end = lock_again(&self.end, until).ok_or(Error::TimedOut)?;
            wants.take();
            Ok(end)
        })
    }

    /// Waits until all who have come have been let into the end; not for ever.
    fn wait_for_newcomers(&self) {
        let since = Instant::now();
        while self.has_newcomers() {
            match since.elapsed() {
                passed if passed < WAKING => thread::yield_now(),
                // On a busy machine.
                passed if passed < SLICE => thread::sleep(WAKING),
                _ => return,
            }
        }
    }

    fn has_newcomers(&self) -> bool {
        self.newcomers.load(Ordering::SeqCst) > 0
    }

    /// Python has one more block of this end.
    pub(crate) fn lend(&self) {
        self.lent.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn lent(&self) -> usize {
        self.lent.load(Ordering::Relaxed)
    }

    /// A block that was lent is on its way home.
    pub(crate) fn take_home(&self) {
        self.lent.fetch_sub(1, Ordering::Relaxed);
        self.bring_home();
    }

    /// A block that was lent comes home with the next look at the end that has it, which is the
    /// caller's.
    pub(crate) fn take_home_by(&self, _call: &Call<'_, E>) {
        self.lent.fetch_sub(1, Ordering::Relaxed);
    }

    /// A block is on its way home.
    pub(crate) fn bring_home(&self) {
        // As in `welcome`: either this finds the heir, or `leave_to` what is on its way.
        fence(Ordering::SeqCst);
        if let Some(heir) = self.heir.get() {
            return heir.bring_home();
        }
        self.has_homecomers.store(true, Ordering::SeqCst);
        self.welcome();
    }

    /// Brings home what is on its way, unless a call is in the end, which does it then.
    #[inline]
    fn welcome(&self) {
        loop {
            // Pairs with itself in another thread, as the top of this file says.
            fence(Ordering::SeqCst);
            if !self.has_homecomers.load(Ordering::Relaxed) {
                return;
            }
            let Some(end) = self.end.try_lock() else {
                return;
            };
            // Acquire: what has set it, and pushed a block before, is seen.
            self.has_homecomers.swap(false, Ordering::AcqRel);
            if let Some(end) = &*end {
                end.pass_on();
            }
        }
    }

    /// Another end has the blocks from now on.
    pub(crate) fn leave_to(&self, heir: &Arc<Held<E>>) {
        // Nobody rejoins twice with success.
        if self.heir.set(Arc::clone(heir)).is_ok() {
            fence(Ordering::SeqCst);
            heir.bring_home();
        }
    }

    /// Gives the session up. Waits for nobody: a call that waits in the end fails with it.
    pub(crate) fn abort(&self, py: Python<'_>, reason: &str, code: u32) -> PyResult<()> {
        self.check_here(py)?;
        self.is_over.store(true, Ordering::Relaxed);
        py.detach(|| self.facts.monitor.abort_with(code, reason));
        Ok(())
    }

    /// Whether there is no end any more; not while a call is in it.
    pub(crate) fn is_left(&self) -> bool {
        let is_left = self.end.try_lock().is_some_and(|end| end.is_none());
        // As whoever was in the end.
        self.welcome();
        is_left
    }

    /// Lets go of the end, once no call is in it.
    pub(crate) fn leave(&self, py: Python<'_>) -> PyResult<()> {
        let end = self.lock(py, Limit::Forever)?.take();
        py.detach(|| drop(end));
        Ok(())
    }

    /// The same for who is collected: no call is in the end, and none comes.
    pub(crate) fn drop_end(&self) {
        if self.is_here() {
            let end = self.end.lock().take();
            drop(end);
        }
    }
}

/// Why a session is given up because of an exception.
pub(crate) fn reason(kind: &Bound<'_, PyType>, value: Option<&Bound<'_, PyAny>>) -> String {
    let kind = kind
        .name()
        .map_or_else(|_| String::new(), |name| name.to_string());
    let text = value
        .and_then(|value| value.str().ok())
        .map(|text| text.to_string());
    match text {
        Some(text) if !text.is_empty() => format!("{kind}: {text}"),
        _ => kind,
    }
}

/// What calls that consist of several have to themselves, though others are let into the end
/// meanwhile.
pub(crate) struct Sole<T> {
    inside: Mutex<T>,
    /// The thread that has it; 0 if none does.
    owner: AtomicUsize,
}

impl<T: Send> Sole<T> {
    pub(crate) fn new(inside: T) -> Sole<T> {
        Sole {
            inside: Mutex::new(inside),
            owner: AtomicUsize::new(0),
        }
    }

    /// Waits until no other call has it. Not in a forked child.
    pub(crate) fn take(&self, py: Python<'_>, limit: Limit) -> PyResult<Taken<'_, T>> {
        let inside = match self.inside.try_lock() {
            Some(inside) => inside,
            None if self.owner.load(Ordering::Relaxed) == this_thread() => {
                return Err(raised(py, AGAIN));
            }
            None => wait(py, limit, |until| match until {
                Some(until) => self.inside.try_lock_until(until).ok_or(Error::TimedOut),
                None => Ok(self.inside.lock()),
            })?,
        };
        Ok(self.taken(inside))
    }

    /// If no other call has it. Not in a forked child.
    #[inline]
    pub(crate) fn take_at_once(&self) -> Option<Taken<'_, T>> {
        self.inside.try_lock().map(|inside| self.taken(inside))
    }

    #[inline]
    fn taken<'s>(&'s self, inside: MutexGuard<'s, T>) -> Taken<'s, T> {
        let _owner = Inside::new(&self.owner);
        Taken { _owner, inside }
    }
}

/// As long as it is there, no other call has it.
pub(crate) struct Taken<'s, T> {
    _owner: Inside<'s>,
    inside: MutexGuard<'s, T>,
}

impl<T> Deref for Taken<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inside
    }
}

impl<T> DerefMut for Taken<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inside
    }
}

/// What a call had found and could not give: a signal's handler raised an exception, say, and the
/// interpreter drops what the call returns then. It is for the next call. Several threads may have
/// kept something.
pub(crate) struct Kept<T> {
    inside: Mutex<VecDeque<T>>,
    /// Whether there is anything: what every call asks, and hardly ever is.
    is_full: AtomicBool,
}

impl<T> Kept<T> {
    pub(crate) fn new() -> Kept<T> {
        Kept {
            inside: Mutex::new(VecDeque::new()),
            is_full: AtomicBool::new(false),
        }
    }

    #[inline]
    pub(crate) fn take(&self) -> Option<T> {
        match self.is_empty() {
            true => None,
            false => self.take_now(),
        }
    }

    #[cold]
    fn take_now(&self) -> Option<T> {
        let mut inside = self.inside.lock();
        let first = inside.pop_front();
        self.is_full.store(!inside.is_empty(), Ordering::Relaxed);
        first
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        !self.is_full.load(Ordering::Acquire)
    }

    /// `found`, after a wait: unless a handler raises, and then it is kept.
    pub(crate) fn unless_interrupted(&self, py: Python<'_>, found: T) -> PyResult<T> {
        match py.check_signals() {
            Ok(()) => Ok(found),
            Err(raised) => {
                self.keep(found);
                Err(raised)
            }
        }
    }

    pub(crate) fn keep(&self, found: T) {
        let mut inside = self.inside.lock();
        inside.push_back(found);
        self.is_full.store(true, Ordering::Release);
    }
}

/// How many calls wait for each thing that an end may be waited for.
#[derive(Default)]
struct Waiters([AtomicUsize; Awaited::ALL.len()]);

impl Waiters {
    fn of(&self, awaited: Awaited) -> &AtomicUsize {
        &self.0[awaited as usize]
    }

    /// What any of them waits for.
    fn interest(&self) -> Option<Interest> {
        let all = Awaited::ALL.into_iter();
        let waiting = all.filter(|awaited| self.of(*awaited).load(Ordering::SeqCst) > 0);
        waiting.map(Awaited::interest).reduce(BitOr::bitor)
    }
}

/// Somebody wants to be let in, as long as it is there.
struct Wants<'h>(&'h AtomicUsize);

impl Wants<'_> {
    fn new(many: &AtomicUsize) -> Wants<'_> {
        // Before a wait is cut short: who finds that, finds this.
        many.fetch_add(1, Ordering::SeqCst);
        Wants(many)
    }
}

impl Drop for Wants<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// This thread is in the end, or has what is one call's alone, as long as this is there.
struct Inside<'h>(&'h AtomicUsize);

impl Inside<'_> {
    #[inline]
    fn new(inside: &AtomicUsize) -> Inside<'_> {
        inside.store(this_thread(), Ordering::Relaxed);
        Inside(inside)
    }
}

impl Drop for Inside<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// A call that is in the end.
pub(crate) struct Call<'h, E: End> {
    // In this order: while the end is this call's, nobody else says who is inside; and who leaves,
    // looks afterwards whether a block is on its way.
    inside: Inside<'h>,
    end: MappedMutexGuard<'h, E>,
    left: Left<'h, E>,
}

impl<'h, E: End> Call<'h, E> {
    fn new(held: &'h Held<E>, end: MappedMutexGuard<'h, E>) -> Call<'h, E> {
        Call {
            inside: Inside::new(&held.inside),
            end,
            left: Left(held),
        }
    }

    /// Lets the end wait, until it has something or `limit` has passed. Other calls are let in
    /// meanwhile.
    pub(crate) fn wait<T: Send>(
        mut self,
        py: Python<'_>,
        limit: Limit,
        awaited: Awaited,
        mut step: impl FnMut(&E, Option<Instant>) -> Result<T, Error> + Send,
    ) -> PyResult<T> {
        let mut slices = Slices::of(limit);
        loop {
            let others = self.left.0.waiters.interest();
            let until = match self.left.0.has_newcomers() {
                true => Some(Instant::now()),
                false => slices.next(others.is_some()),
            };
            let found = self.step(py, |end| match others {
                None => step(end, until),
                Some(others) => match end.wait_until(awaited.interest() | others, until) {
                    Ok(()) | Err(Error::TimedOut) => step(end, Some(Instant::now())),
                    Err(error) => Err(error),
                },
            });
            match found {
                Err(Error::TimedOut) => slices.pause(py)?,
                found => return found.map_err(|error| raised(py, error)),
            }
            if self.is_wanted() {
                self = self.give_turn(py, limit, awaited)?;
            }
        }
    }

    fn step<T: Send>(
        &mut self,
        py: Python<'_>,
        step: impl FnOnce(&E) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        // Mutable, since the end is one thread's at a time.
        let end = &mut *self.end;
        py.detach(|| {
            let end = &mut *end;
            step(end)
        })
    }

    fn is_wanted(&self) -> bool {
        let held = self.left.0;
        held.has_newcomers() || held.waiters.interest().is_some()
    }

    /// Lets whoever wants it be in the end; then this call is again.
    fn give_turn(self, py: Python<'_>, limit: Limit, awaited: Awaited) -> PyResult<Call<'h, E>> {
        let held = self.left.0;
        let Call { inside, end, left } = self;
        let wants = Wants::new(held.waiters.of(awaited));
        drop(inside);
        match held.has_newcomers() {
            true => drop(end),
            false => MappedMutexGuard::unlock_fair(end),
        }
        drop(left);
        // A newcomer may not be asleep yet, and then nothing keeps the end for it.
        py.detach(|| held.wait_for_newcomers());
        held.let_in(py, held.wait_for_another_turn(py, limit, wants)?)
    }
}

impl<E: End> Deref for Call<'_, E> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.end
    }
}

/// Nobody is in the end any more, when this is dropped.
struct Left<'h, E: End>(&'h Held<E>);

impl<E: End> Drop for Left<'_, E> {
    fn drop(&mut self) {
        self.0.welcome();
    }
}
