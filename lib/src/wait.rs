//! Waiting in parts, and for several ends at once.
//!
//! A wait has three steps: *announce* that this end is about to sleep, *look* whether
//! there is something, and *sleep* on the handle. [`Reader::arm`] and [`Writer::arm`] are the
//! first two; the third is the caller's: `poll`, a runtime's reactor, or [`wait_any`]. All
//! calls that wait are made of the same steps.

use std::ops::BitOr;
use std::time::Instant;

use crate::error::Error;
use crate::reader::Reader;
use crate::ring::{self, Barrier};
use crate::sys::{self, Wake};
use crate::writer::Writer;
use sealed::Wait;

/// What an end is waited for; combined with `|`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest(u8);

impl Interest {
    /// A block to take: an empty one, or data; for a [`Writer`] also the end of the data.
    pub const BLOCKS: Interest = Interest(1);
    /// A letter of the partner's, or that none can come any more.
    pub const LETTERS: Interest = Interest(2);
    /// Room for a letter to the partner.
    pub const ROOM: Interest = Interest(4);
    /// For a [`Reader`] that has closed: the Writer's verdict.
    pub const VERDICT: Interest = Interest(8);

    pub(crate) const NOTHING: Interest = Interest(0);

    pub(crate) fn includes(self, other: Interest) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn includes_all(self, others: Interest) -> bool {
        self.0 & others.0 == others.0
    }

    pub(crate) fn without(self, other: Interest) -> Interest {
        Interest(self.0 & !other.0)
    }
}

impl BitOr for Interest {
    type Output = Interest;

    fn bitor(self, other: Interest) -> Interest {
        Interest(self.0 | other.0)
    }
}

/// What [`wait_any`] waits for: a [`Reader`] or a [`Writer`].
pub trait Waitable: sealed::Steps {}

impl Waitable for Reader {}
impl Waitable for Writer {}

impl sealed::Steps for Reader {
    fn steps(&self) -> sealed::Waited<'_> {
        sealed::Waited(self.end())
    }
}

impl sealed::Steps for Writer {
    fn steps(&self) -> sealed::Waited<'_> {
        sealed::Waited(self.end())
    }
}

/// The steps of a wait, which only this crate takes.
mod sealed {
    use super::Interest;
    use crate::error::Error;
    use crate::pair::End;
    use crate::ring::Barrier;
    use crate::sys::Link;

    pub trait Steps {
        #[doc(hidden)]
        fn steps(&self) -> Waited<'_>;
    }

    pub struct Waited<'a>(pub(super) &'a dyn Wait);

    pub(crate) trait Wait {
        /// The barrier that has to follow.
        fn announce(&self) -> Result<Barrier, Error>;
        fn is_ready(&self, interest: Interest) -> bool;
        fn withdraw(&self);
        fn disarm(&self) -> Result<(), Error>;
        fn link(&self) -> &Link;
    }

    impl<const OUT: usize, const IN: usize> Wait for End<OUT, IN> {
        fn announce(&self) -> Result<Barrier, Error> {
            End::announce(self)
        }

        fn is_ready(&self, interest: Interest) -> bool {
            End::is_ready(self, interest)
        }

        fn withdraw(&self) {
            End::withdraw(self);
        }

        fn disarm(&self) -> Result<(), Error> {
            End::disarm(self)
        }

        fn link(&self) -> &Link {
            End::link(self)
        }
    }
}

/// Waits until one of several ends has something to look at, of one session or of many;
/// returns which, by their index: none if `deadline` passed, or if there are no ends. A call without waiting (`try_…`)
/// on each of those then finds something, or an error. Ends that were armed are not any more.
///
/// Costs some loads for each end, two system calls in all, one more for each end that has
/// something and, where the system needs it, for each group of 63 handles (Windows): some
/// 0.2 µs for each of a thousand sessions in one thread. It needs no descriptor
/// (Linux). What it waits for may be as many as the limit of descriptors: two for each end,
/// which are open anyway, so that only who lowers the limit later gets an error.
///
/// # Errors
///
/// What the system says. A session that has failed is something to look at.
///
/// # Example
///
/// ```no_run
/// # fn main() -> Result<(), brigade::Error> {
/// # let (first, second): (brigade::Writer, brigade::Writer) = unimplemented!();
/// use brigade::{Interest, wait_any};
///
/// let writers = [first, second];
/// while !writers.iter().all(|writer| writer.at_end()) {
///     let ends: Vec<_> = (writers.iter().filter(|writer| !writer.at_end()))
///         .map(|writer| (writer as _, Interest::BLOCKS))
///         .collect();
///     wait_any(&ends, None)?;
///     for writer in &writers {
///         while let Some(block) = writer.try_data_block()? {
///             println!("{} bytes", block.len());
///         }
///     }
/// }
/// # Ok(()) }
/// ```
pub fn wait_any(
    ends: &[(&dyn Waitable, Interest)],
    deadline: Option<Instant>,
) -> Result<Vec<usize>, Error> {
    let ends: Vec<_> = ends
        .iter()
        .map(|(end, interest)| (end.steps().0, *interest))
        .collect();
    if ends.is_empty() {
        return Ok(Vec::new());
    }
    loop {
        let announced = Announced::all(&ends)?;
        let is_ready = |(end, interest): &(&dyn Wait, Interest)| end.is_ready(*interest);
        let ready: Vec<_> = (0..ends.len())
            .filter(|&index| is_ready(&ends[index]))
            .collect();
        if !ready.is_empty() {
            return Ok(ready);
        }
        let links: Vec<_> = ends.iter().map(|(end, _)| end.link()).collect();
        let wakes = sys::wait_for_links(&links, deadline)?;
        drop(announced);
        let mut ready = Vec::new();
        for (index, (end, wake)) in ends.iter().zip(wakes).enumerate() {
            if is_over(end.0, wake)? || is_ready(end) {
                ready.push(index);
            }
        }
        let is_late = || deadline.is_some_and(|deadline| deadline <= Instant::now());
        // Nothing: a ring for an earlier sleep, or for something else than was asked for.
        if !ready.is_empty() || is_late() {
            return Ok(ready);
        }
    }
}

/// Whether the partner or this process has ended the session, or broken it; takes a ring.
fn is_over(end: &dyn Wait, wake: Wake) -> Result<bool, Error> {
    match wake {
        Wake::Timeout => Ok(false),
        Wake::Rung => end.disarm().map(|()| false),
        Wake::Gone | Wake::HungUp | Wake::Message => Ok(true),
    }
}

/// Announcements of several ends, withdrawn on every way out.
struct Announced<'a>(&'a [(&'a dyn Wait, Interest)]);

impl<'a> Announced<'a> {
    /// One barrier serves all.
    fn all(ends: &'a [(&'a dyn Wait, Interest)]) -> Result<Announced<'a>, Error> {
        let announced = Announced(ends);
        let mut is_remote = false;
        for (end, _) in ends {
            is_remote |= end.announce()? == Barrier::Remote;
        }
        if is_remote {
            sys::barrier_remotely()?;
        }
        ring::full_fence();
        Ok(announced)
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        for (end, _) in self.0 {
            // Rings are taken only where one is known to be: each costs a system call.
            end.withdraw();
        }
    }
}
