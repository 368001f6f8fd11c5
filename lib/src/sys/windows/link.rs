//! Doorbell and hang-up (events), and what connects two processes that have joined.
#![expect(unsafe_code, reason = "a registered wait refers to handles beside it")]

use std::os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::objects::{
    GONE, RING, SET_ACCESS, WAIT_ACCESS, create_event, create_unique, open_event, reset, set,
    unique,
};
use super::process::{Process, own_id};
use super::registered::Registered;
use super::wake::{wait_any, wait_for_handles};
use crate::error::Error;
use crate::sys::{Handle, Wake};

/// The doorbell that this process sleeps on, and the event by which it hangs up.
pub(super) struct Bell {
    pub(super) number: u64,
    /// Stays set until the rings are consumed, so that whoever waits for it from
    /// outside takes nothing from this end. For the partner to set.
    ring: OwnedHandle,
    /// Set once, for ever. For the partner to wait for, and for this process.
    gone: OwnedHandle,
}

/// The partner's.
pub(super) struct RemoteBell {
    ring: OwnedHandle,
    gone: OwnedHandle,
}

impl RemoteBell {
    pub(super) fn open(process_id: u32, number: u64) -> Option<RemoteBell> {
        let ring = open_event(&unique(process_id, number, RING), SET_ACCESS)?;
        let gone = open_event(&unique(process_id, number, GONE), WAIT_ACCESS)?;
        Some(RemoteBell { ring, gone })
    }

    pub(super) fn ring(&self) {
        set(&self.ring);
    }
}

impl Bell {
    pub(super) fn new() -> Result<Bell, Error> {
        let (number, (ring, gone)) = create_unique(|number| {
            let create = |what, access| create_event(Some(&unique(own_id(), number, what)), access);
            let Some(ring) = create(RING, SET_ACCESS)? else {
                return Ok(None);
            };
            let gone = create(GONE, WAIT_ACCESS)?;
            Ok(gone.map(|gone| (ring, gone)))
        })?;
        Ok(Bell { number, ring, gone })
    }

    /// The partner's doorbell is to be rung after that.
    pub(super) fn hang_up(&self) {
        set(&self.gone);
        set(&self.ring);
    }
}

impl Drop for Bell {
    /// Whoever was shown it may take this process for its partner already.
    fn drop(&mut self) {
        set(&self.gone);
    }
}

/// What connects two processes that have joined, in one lane.
pub(crate) struct Link {
    // First, since it refers to handles of those below, and is dropped in this order.
    death: OnceLock<Registered>,
    bell: Bell,
    remote_bell: RemoteBell,
    process: Arc<Process>,
}

impl Link {
    pub(super) fn new(bell: Bell, remote_bell: RemoteBell, process: Arc<Process>) -> Link {
        Link {
            death: OnceLock::new(),
            bell,
            remote_bell,
            process,
        }
    }

    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Result<Wake, Error> {
        let [hung_up, gone, died] = self.ends();
        let woken = wait_any(&[hung_up, gone, died, self.bell.ring.as_handle()], deadline)?;
        Ok(match woken {
            None => Wake::Timeout,
            Some(0) => Wake::HungUp,
            Some(1 | 2) => Wake::Gone,
            Some(_) => Wake::Rung,
        })
    }

    pub(crate) fn watch(&self, deadline: Option<Instant>) -> Result<Wake, Error> {
        Ok(match wait_any(&self.ends(), deadline)? {
            None => Wake::Timeout,
            Some(0) => Wake::HungUp,
            Some(_) => Wake::Gone,
        })
    }

    /// What ends the session, this process's own doing first: none of it is ever undone.
    fn ends(&self) -> [BorrowedHandle<'_>; 3] {
        [
            self.bell.gone.as_handle(),
            self.remote_bell.gone.as_handle(),
            self.process.handle.as_handle(),
        ]
    }

    pub(crate) fn consume(&self) -> Result<(), Error> {
        reset(&self.bell.ring);
        if self.death.get().is_none() {
            // Nobody has seen the handle; `wait` looks at the ends themselves.
            return Ok(());
        }
        // The handle stays signalled for good once the session is over. Looked at after
        // the reset: an end that comes later sets the event itself.
        if self.watch(Some(Instant::now()))? != Wake::Timeout {
            set(&self.bell.ring);
        }
        Ok(())
    }

    pub(crate) fn is_partner_dead(&self, deadline: Instant) -> Result<bool, Error> {
        let process = self.process.handle.as_handle();
        Ok(wait_any(&[process], Some(deadline))?.is_some())
    }

    pub(crate) fn ring(&self) {
        self.remote_bell.ring();
    }

    pub(crate) fn nudge(&self) {
        set(&self.bell.ring);
    }

    pub(crate) fn hang_up(&self) {
        self.bell.hang_up();
        // After the event that it finds then.
        self.remote_bell.ring();
    }

    /// The partner's death is the one thing that nobody rings for: from the first call
    /// on, the system does.
    pub(crate) fn handle(&self) -> Result<Handle<'_>, Error> {
        if self.death.get().is_none() {
            let death = self.watch_for_death()?;
            self.death.get_or_init(|| death);
            // What came before may have been consumed. Looked at when `consume` knows of
            // the handle already, so that nothing falls between the two.
            if !matches!(self.watch(Some(Instant::now())), Ok(Wake::Timeout)) {
                set(&self.bell.ring);
            }
        }
        Ok(self.bell.ring.as_handle())
    }

    fn watch_for_death(&self) -> Result<Registered, Error> {
        let (process, ring) = (self.process.handle.as_handle(), self.bell.ring.as_handle());
        // SAFETY: the value is dropped at once or stays in `self`, which owns both handles
        // and drops them later.
        let watched = unsafe { Registered::new(process, ring) };
        watched.map_err(|error| Error::os("watch the partner's process", error))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.hang_up();
    }
}

pub(crate) fn wait_for_links(
    links: &[&Link],
    deadline: Option<Instant>,
) -> Result<Vec<Wake>, Error> {
    let handles: Result<Vec<_>, Error> = links.iter().map(|link| link.handle()).collect();
    let signalled = wait_for_handles(&handles?, deadline)?;
    let wake = |(link, is_signalled): (&&Link, bool)| match is_signalled {
        true => link.wait(Some(Instant::now())),
        false => Ok(Wake::Timeout),
    };
    links.iter().zip(signalled).map(wake).collect()
}
