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
use crate::ring;
use crate::sys;
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

    pub(crate) fn includes(self, other: Interest) -> bool {
        self.0 & other.0 != 0
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
    fn steps(&self) -> &dyn sealed::Wait {
        self.end()
    }
}

impl sealed::Steps for Writer {
    fn steps(&self) -> &dyn sealed::Wait {
        self.end()
    }
}

/// The steps of a wait, which only this crate takes.
mod sealed {
    use super::Interest;
    use crate::error::Error;
    use crate::pair::End;
    use crate::ring::Barrier;
    use crate::sys::Handle;

    pub trait Steps {
        #[doc(hidden)]
        fn steps(&self) -> &dyn Wait;
    }

    pub trait Wait {
        /// Whether a remote barrier has to follow.
        fn announce(&self) -> Result<bool, Error>;
        fn is_ready(&self, interest: Interest) -> bool;
        fn is_gone(&self) -> Result<bool, Error>;
        fn disarm(&self) -> Result<(), Error>;
        fn handle(&self) -> Handle<'_>;
    }

    impl<const OUT: usize, const IN: usize> Wait for End<OUT, IN> {
        fn announce(&self) -> Result<bool, Error> {
            Ok(End::announce(self)? == Barrier::Remote)
        }

        fn is_ready(&self, interest: Interest) -> bool {
            End::is_ready(self, interest)
        }

        fn is_gone(&self) -> Result<bool, Error> {
            End::is_gone(self)
        }

        fn disarm(&self) -> Result<(), Error> {
            End::disarm(self)
        }

        fn handle(&self) -> Handle<'_> {
            End::handle(self)
        }
    }
}

/// Waits until one of several ends has something to look at, of one session or of many;
/// returns which, by their index: none if `deadline` passed, or if there are no ends. A call without waiting (`try_…`)
/// on each of those then finds something, or an error. Ends that were armed are not any more.
///
/// Costs some loads for each end, two system calls in all and, where the system needs it,
/// one more for each group of 63 handles (Windows): a thousand sessions in one thread are
/// no trouble.
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
        .map(|(end, interest)| (end.steps(), *interest))
        .collect();
    if ends.is_empty() {
        return Ok(Vec::new());
    }
    loop {
        let announced = Announced::all(&ends)?;
        let ready = indices(&ends, |end, interest| Ok(end.is_ready(interest)))?;
        if !ready.is_empty() {
            return Ok(ready);
        }
        let handles: Vec<_> = ends.iter().map(|(end, _)| end.handle()).collect();
        let signalled = sys::wait_for_handles(&handles, deadline)?;
        drop(announced);
        let mut signalled = signalled.into_iter();
        let ready = indices(&ends, |end, interest| {
            let is_signalled = signalled.next().unwrap_or(false);
            Ok(end.is_ready(interest) || (is_signalled && end.is_gone()?))
        })?;
        let is_late = || deadline.is_some_and(|deadline| deadline <= Instant::now());
        // Nothing: a ring for an earlier sleep, or for something else than was asked for.
        if !ready.is_empty() || is_late() {
            return Ok(ready);
        }
    }
}

fn indices(
    ends: &[(&dyn Wait, Interest)],
    mut is_wanted: impl FnMut(&dyn Wait, Interest) -> Result<bool, Error>,
) -> Result<Vec<usize>, Error> {
    let mut found = Vec::new();
    for (index, (end, interest)) in ends.iter().enumerate() {
        if is_wanted(*end, *interest)? {
            found.push(index);
        }
    }
    Ok(found)
}

/// Announcements of several ends, withdrawn on every way out.
struct Announced<'a>(&'a [(&'a dyn Wait, Interest)]);

impl<'a> Announced<'a> {
    /// One barrier serves all.
    fn all(ends: &'a [(&'a dyn Wait, Interest)]) -> Result<Announced<'a>, Error> {
        let announced = Announced(ends);
        let mut is_remote = false;
        for (end, _) in ends {
            is_remote |= end.announce()?;
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
            // A ring that cannot be taken only ends the next sleep early.
            let _ = end.disarm();
        }
    }
}
