//! Waits that a task of a runtime sleeps for: see `crate::poll`.
//!
//! A poll that finds nothing arms the end and asks the runtime to wake the task. The next
//! polls of the same wait find it armed and only look, whatever the task was woken for, until
//! the runtime says that the handle became readable. It says so once, so whoever hears it
//! looks again, and arms anew.
//!
//! Several waits of one task may be pending at once, for blocks and for letters, say. There is
//! one announcement for all, and one word of the runtime's. A poll that has used up either
//! for itself wakes the task, which then polls the others again.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::End;
use super::end::OVER;
use super::patience::Who;
use crate::error::{Error, Violation};
use crate::poll::Readiness;
use crate::sys::Wake;
use crate::wait::Interest;

/// How often a poll finds the handle readable, and nothing of use, before it lets other tasks
/// run. Once is usual: a ring for an earlier sleep, of which the runtime heard later.
const TURNS: u32 = 2;

/// How long the ends of a thread look no more, once one of them has looked for a while and found nothing: a
/// thread with several has other tasks to run. Long enough to poll some twenty; and short, since one that looks
/// in vain may be beside one whose partner keeps up.
const NO_LOOKS: Duration = Duration::from_micros(100);

thread_local! {
    /// Which end of this thread has last looked for a while and found nothing, and when.
    static LOOKED: Cell<Option<(usize, Instant)>> = const { Cell::new(None) };
}

/// The runtime's word on the handle, and whether this poll has used it up.
struct Word<'r, 'c, 'w> {
    readiness: &'r mut dyn Readiness,
    cx: &'c mut Context<'w>,
    is_used: bool,
}

impl Word<'_, '_, '_> {
    /// Ready if the handle became readable. Otherwise the task will be woken.
    fn poll(&mut self) -> Poll<Result<(), Error>> {
        self.readiness.poll_ready(self.cx).map(|told| {
            self.is_used = true;
            told.map_err(failed)
        })
    }
}

fn failed(error: io::Error) -> Error {
    Error::os("wait for the handle of a session", error)
}

impl<const OUT: usize, const IN: usize> End<OUT, IN> {
    /// As [`End::wait`], for a task. `look` finds what `interest` asks for.
    #[cold]
    #[inline(never)]
    pub(crate) fn poll<T>(
        &self,
        interest: Interest,
        readiness: &mut dyn Readiness,
        cx: &mut Context<'_>,
        look: impl Fn() -> Result<Option<T>, Error>,
    ) -> Poll<Result<T, Error>> {
        let others = self.polled.get().without(interest);
        let mut word = Word {
            readiness,
            cx,
            is_used: false,
        };
        let found = self.poll_for(interest, &mut word, look);
        let is_armed = self.polled.get() != Interest::NOTHING;
        let must_wake = match found {
            Poll::Pending => !is_armed,
            Poll::Ready(_) => {
                let is_lost = word.is_used || !is_armed;
                let is_watched = self.watched.replace(false);
                if word.is_used || is_watched {
                    // The word may have been of the partner's death, for which others look
                    // when they arm the end; and who waits for the end of the session has
                    // blocks come home to a sleeper, which this end is no more.
                    self.withdraw();
                } else if is_armed {
                    self.stop_waiting(interest);
                }
                is_watched || (others != Interest::NOTHING && is_lost)
            }
        };
        if must_wake {
            word.cx.waker().wake_by_ref();
        }
        found
    }

    /// Whether a look would find something.
    pub(crate) fn poll_interest(
        &self,
        interest: Interest,
        readiness: &mut dyn Readiness,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        let look = || Ok(self.is_ready(interest).then_some(()));
        self.poll(interest, readiness, cx, look)
    }

    /// If it is pending, the end is armed and the runtime asked; or else the task is to be
    /// woken.
    fn poll_for<T>(
        &self,
        interest: Interest,
        word: &mut Word<'_, '_, '_>,
        look: impl Fn() -> Result<Option<T>, Error>,
    ) -> Poll<Result<T, Error>> {
        let look = || {
            self.bring_home();
            look()
        };
        self.publish_kept();
        let pending = self.polled.get();
        // First, so that it does not end the next sleep.
        if pending != Interest::NOTHING && self.has_rung(word)? {
            self.withdraw();
        }
        if let Some(found) = look()? {
            return Poll::Ready(Ok(found));
        }
        if pending == Interest::NOTHING
            && let Some(found) = self.look_if_alone(look)?
        {
            return Poll::Ready(Ok(found));
        }
        for _ in 0..TURNS {
            if !self.polled.get().includes_all(interest) {
                let is_armed = self.arm(pending | interest)?;
                if is_armed {
                    self.polled.set(pending | interest);
                }
                // The runtime may have told of the partner's end before, and does it once.
                match self.look_and_watch(look)? {
                    (Some(found), _) => return Poll::Ready(Ok(found)),
                    (None, true) => return Poll::Ready(Err(OVER)),
                    // What another one waits for is there.
                    (None, false) if !is_armed => return Poll::Pending,
                    (None, false) => {}
                }
            }
            if !self.has_rung(word)? {
                return Poll::Pending;
            }
            self.withdraw();
        }
        Poll::Pending
    }

    /// As [`End::look_for_a_while`], unless another end of this thread has just done so and found nothing.
    fn look_if_alone<T>(
        &self,
        look: impl Fn() -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        let this = Arc::as_ptr(&self.pair).addr();
        let looked = |(end, when): (usize, Instant)| end != this && when.elapsed() < NO_LOOKS;
        if LOOKED.get().is_some_and(looked) {
            return Ok(None);
        }
        let found = self.look_for_a_while(Who::Task, None, look)?;
        if found.is_none() {
            LOOKED.set(Some((this, Instant::now())));
        }
        Ok(found)
    }

    fn has_rung(&self, word: &mut Word<'_, '_, '_>) -> Result<bool, Error> {
        match word.poll() {
            Poll::Pending => Ok(false),
            Poll::Ready(told) => told.map(|()| true),
        }
    }

    /// What `interest` asks for was found; others still wait, or nobody does.
    fn stop_waiting(&self, interest: Interest) {
        let others = self.polled.get().without(interest);
        match others == Interest::NOTHING {
            true => self.withdraw(),
            false => self.polled.set(others),
        }
    }

    /// Waits for the end of the session and for nothing else, so that the partner has nothing
    /// to ring for. Detached blocks that come home are passed on.
    pub(crate) fn poll_end(
        &self,
        readiness: &mut dyn Readiness,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        self.watched.set(true);
        self.publish_kept();
        let mut others = false;
        for _ in 0..TURNS {
            if let Some(ended) = self.ended().transpose() {
                return Poll::Ready(ended);
            }
            self.pool.set_asleep();
            self.bring_home();
            match readiness.poll_ready(cx) {
                Poll::Pending if others => break,
                Poll::Pending => return Poll::Pending,
                Poll::Ready(told) => {
                    others |= self.polled.get() != Interest::NOTHING;
                    self.disarm()?;
                    told.map_err(failed)?;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// How the session has ended, if it has.
    fn ended(&self) -> Result<Option<()>, Error> {
        // Whoever is told may end the process before this end is dropped.
        self.look_for_end()
            .inspect_err(|_| self.core.give_up_name())
    }

    fn look_for_end(&self) -> Result<Option<()>, Error> {
        self.core.check()?;
        match self.pair.link.watch(Some(Instant::now()))? {
            Wake::Gone => self.core.tell(self.pair.gone()).map(Some),
            Wake::HungUp => self.core.check().map(Some),
            Wake::Message => Err(self.violation(Violation::Message)),
            Wake::Rung | Wake::Timeout => Ok(None),
        }
    }
}
