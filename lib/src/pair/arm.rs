//! The steps of a wait that somebody else sleeps for: see `crate::wait`.

use std::time::Instant;

use super::End;
use super::end::execute_barrier;
use crate::error::Error;
use crate::region::layout;
use crate::ring::Barrier;
use crate::sys::{Handle, Link};
use crate::wait::Interest;

impl<const OUT: usize, const IN: usize> End<OUT, IN> {
    /// Says that this end is about to sleep; the barrier that has to follow.
    pub(crate) fn announce(&self) -> Result<Barrier, Error> {
        self.check_here()?;
        self.publish_kept();
        self.consume()?;
        self.sleeps.announce(self.own.control());
        self.pool.set_asleep();
        Ok(self.barrier)
    }

    /// Takes the announcement back, and the rings with it: the handle is not readable any
    /// more, unless the session is over.
    pub(crate) fn disarm(&self) -> Result<(), Error> {
        self.check_here()?;
        self.withdraw();
        self.pair.link.consume()
    }

    /// Takes the announcement back. A ring for it may come yet, and ends the next sleep
    /// early. Does nothing in a forked child.
    pub(crate) fn withdraw(&self) {
        if self.is_here() {
            self.polled.set(Interest::NOTHING);
            self.sleeps.withdraw(self.own.control());
            self.pool.set_awake();
            self.incoming.set_urgent();
        }
    }

    /// Announces and looks: whether to sleep on the handle.
    pub(crate) fn arm(&self, interest: Interest) -> Result<bool, Error> {
        let barrier = self.announce()?;
        let executed = execute_barrier(barrier);
        if executed.is_ok() && !self.is_ready(interest) {
            // A ring for an earlier sleep may come yet, so the next one looks for it.
            self.rung.set(true);
            return Ok(true);
        }
        self.withdraw();
        executed.map(|()| false)
    }

    /// Whether a look would find something that `interest` asks for, or a failure.
    pub(crate) fn is_ready(&self, interest: Interest) -> bool {
        self.bring_home();
        // The state first, as in every look.
        let state = self.peer.control().status.0.state.load_acquire();
        let is_over = state != layout::RUNNING;
        let peer = self.peer.control();
        let blocks = || is_over || self.pool.has_spare() || self.incoming.is_ready(peer);
        // What cannot be is found by the call that looks.
        let letters = || is_over || self.inbox.is_waiting(peer).unwrap_or(true);
        let room = || state == layout::ABORTED || self.outbox.has_room(peer).unwrap_or(true);
        (interest.includes(Interest::BLOCKS) && blocks())
            || (interest.includes(Interest::LETTERS) && letters())
            || (interest.includes(Interest::ROOM) && room())
            || (interest.includes(Interest::VERDICT) && is_over)
    }

    /// Waits until a look would find something that `interest` asks for, or a failure.
    pub(crate) fn wait_for(
        &self,
        interest: Interest,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        self.check_here()?;
        self.wait(deadline, || Ok(self.is_ready(interest).then_some(())))
    }

    pub(crate) fn handle(&self) -> Result<Handle<'_>, Error> {
        self.check_here()?;
        self.pair.link.handle()
    }

    pub(crate) fn link(&self) -> &Link {
        &self.pair.link
    }
}
