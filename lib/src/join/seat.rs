//! A place in a session: that of the host, or that of the second.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Role;
use super::arriving;
use super::both_ways::BothWays;
use super::host::{Door, Host, Showing};
use super::intent::{Again, Intent};
use super::invitation::check_invited;
use super::second::join_host;
use crate::error::Error;
use crate::monitor::Monitor;
use crate::options::{Options, Side};
use crate::pair::{Core, Pair};
use crate::reader::Reader;
use crate::sys::{self, Arrival};
use crate::writer::Writer;

/// A place in a session: the role is settled, the partner may be yet to come.
///
/// Dropped, it gives the place up.
#[derive(Debug)]
pub struct Seat {
    /// One for each lane, linked to each other.
    cores: Vec<Arc<Core>>,
    side: Side,
    wait: Option<Duration>,
    /// Taken by [`Seat::wait`].
    stage: Option<Stage>,
}

/// Where the name of a session would be, in the error of one that has none.
const INVITED: &str = "(an invitation)";

/// What becomes an end.
pub(crate) type Lane = (Arc<Core>, Arc<Pair>);

enum Stage {
    /// Host: the partner is yet to come.
    Host(Box<Host>),
    /// Second: the pair is complete, in each lane.
    Second(Vec<Arc<Pair>>),
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Stage::Host(_) => "Host",
            Stage::Second(_) => "Second",
        })
    }
}

impl Seat {
    /// Takes a place in the session `name`: the first, or the second beside the
    /// process that holds the first. Takes half a second at most, unless that
    /// process was reached but is slow to answer: then five seconds, and longer if
    /// the pool is of gigabytes.
    ///
    /// A process that took the first place should call [`Seat::wait`] soon: only
    /// there are others answered.
    ///
    /// # Errors
    ///
    /// As [`join`](crate::join()), but for [`Error::NoPartner`].
    pub fn take(name: &str, options: &Options) -> Result<Seat, Error> {
        Seat::take_again(name, options, None)
    }

    /// The same for an end that was in a pair already.
    pub(crate) fn take_again(
        name: &str,
        options: &Options,
        again: Option<Again>,
    ) -> Result<Seat, Error> {
        let intent = Intent::new(options, again)?;
        let place = sys::Name::parse(name)?;
        let cores = new_cores(options.ways)?;
        let deadline = arriving::deadline();
        let guests = intent.guests.clone();
        let mut arriving = sys::Arriving::new(&place, &guests)?;
        // What it wants goes to whichever it becomes.
        let mut intent = Some(intent);
        let seat = arriving::arrive(deadline, |last| {
            match (arriving.attempt(deadline, last)?, &intent) {
                (Some(Arrival::Host(host)), Some(_)) => {
                    let door = Door::Named(*host);
                    let showing = intent.take().map(Showing::new).transpose()?;
                    Ok(showing
                        .map(|showing| Seat::of_host(Host::new(door, showing), &cores, options)))
                }
                (Some(Arrival::Second(channel)), Some(intent)) => {
                    // `None` if the host took another, or died.
                    let pairs = join_host(channel, &cores[0], intent, name, Duration::ZERO)?;
                    Ok(pairs.map(|pairs| Seat::of_second(pairs, &cores, options)))
                }
                _ => Ok(None),
            }
        })?;
        seat.ok_or_else(|| Error::TooManyInstances { name: name.into() })
    }

    /// Takes the place in the session to which the process that started this one invited it
    /// ([`invite`](crate::invite)), or whoever passed that on to it.
    ///
    /// # Errors
    ///
    /// As [`accept`](crate::accept()).
    pub fn accept(options: &Options) -> Result<Seat, Error> {
        check_invited(options)?;
        let intent = Intent::new(options, None)?;
        let cores = new_cores(options.ways)?;
        let patience = options.wait.unwrap_or_default();
        let since = Instant::now();
        let pairs = match sys::accept()? {
            Some(channel) => join_host(channel, &cores[0], &intent, INVITED, patience)?,
            None => None,
        };
        match pairs {
            Some(pairs) => Ok(Seat::of_second(pairs, &cores, options)),
            None => {
                let waited = since.elapsed();
                Err(Error::NoPartner { waited })
            }
        }
    }

    pub(super) fn of_host(host: Host, cores: &[Arc<Core>], options: &Options) -> Seat {
        Seat {
            cores: cores.to_vec(),
            side: host.side(),
            wait: options.wait,
            stage: Some(Stage::Host(Box::new(host))),
        }
    }

    fn of_second(pairs: Vec<Pair>, cores: &[Arc<Core>], options: &Options) -> Seat {
        let pairs = set_paired(cores, pairs);
        Seat {
            cores: cores.to_vec(),
            side: pairs[0].side,
            wait: options.wait,
            stage: Some(Stage::Second(pairs)),
        }
    }

    /// The first lane's, which ends all.
    fn core(&self) -> &Arc<Core> {
        &self.cores[0]
    }

    /// What this process is.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Whether the partner is still to come, so that [`Seat::wait`] will wait.
    pub fn is_first(&self) -> bool {
        matches!(self.stage, Some(Stage::Host(_)))
    }

    /// A second handle, for other threads, on this seat and on what becomes of it. Of a
    /// session of both ways that is the first lane, and all as long as that is not over:
    /// each of the two ends has a monitor of its own.
    pub fn monitor(&self) -> Monitor {
        Monitor::new(self.core())
    }

    /// Waits for the partner, if it is not here yet.
    ///
    /// Processes that do not fit (another user, another version, another
    /// geometry) are told so, and the wait goes on.
    ///
    /// # Errors
    ///
    /// [`Error::NoPartner`] after [`Options::wait`]; [`Error::Aborted`] after
    /// [`Monitor::abort`].
    pub fn wait(mut self) -> Result<Role, Error> {
        const TWO: Error = Error::InvalidUse("a session of both ways has two ends");
        // Before anybody is met: the seat is given up then.
        if self.cores.len() != 1 {
            return Err(TWO);
        }
        let Ok([lane]) = <[_; 1]>::try_from(self.meet()?) else {
            return Err(TWO);
        };
        Ok(role(lane))
    }

    /// As [`Seat::wait`], for a seat that [`invite_both_ways`](crate::invite_both_ways) led
    /// to.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::InvalidUse`] for another seat.
    pub fn wait_both_ways(mut self) -> Result<BothWays, Error> {
        const ONE: Error = Error::InvalidUse("a session of one way has one end");
        if self.cores.len() != 2 {
            return Err(ONE);
        }
        let is_first = self.is_first();
        let ends = <[_; 2]>::try_from(self.meet()?).map(|lanes| lanes.map(role));
        match ends {
            Ok([Role::Reader(reader), Role::Writer(writer)])
            | Ok([Role::Writer(writer), Role::Reader(reader)]) => Ok(BothWays {
                reader,
                writer,
                is_first,
            }),
            _ => Err(ONE),
        }
    }

    /// Waits for the partner: each lane's core and pair.
    pub(crate) fn meet(&mut self) -> Result<Vec<Lane>, Error> {
        self.core().check_here()?;
        let pairs = match self.stage.take() {
            Some(Stage::Second(pairs)) => pairs,
            Some(Stage::Host(host)) => {
                let met = host.wait(self.core(), self.wait);
                // Whoever watches would else wait for a partner that nobody lets in.
                let met = met.inspect_err(|error| self.core().abort(&error.to_string()));
                set_paired(&self.cores, met?)
            }
            None => return Err(Error::InvalidUse("the seat was given up")),
        };
        Ok(self.cores.iter().cloned().zip(pairs).collect())
    }

    /// Gives the place up and, if the partner is here, tells it why.
    pub fn abort(self, reason: &str) {
        self.abort_with(0, reason);
    }

    /// As [`Seat::abort`], with a number of the application's choice.
    pub fn abort_with(self, code: u32, reason: &str) {
        self.core().abort_with(code, reason);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Not if it became an end, which has taken over.
        if self.stage.is_some() {
            self.core().abort("it gave up its place");
            for core in &self.cores {
                core.release();
            }
        }
    }
}

/// One for each lane.
pub(super) fn new_cores(ways: usize) -> Result<Vec<Arc<Core>>, Error> {
    let first = Arc::new(Core::new()?);
    match ways {
        1 => Ok(vec![first]),
        _ => Ok(vec![Arc::clone(&first), first.second_lane()?]),
    }
}

fn set_paired(cores: &[Arc<Core>], pairs: Vec<Pair>) -> Vec<Arc<Pair>> {
    let pairs: Vec<_> = pairs.into_iter().map(Arc::new).collect();
    for (core, pair) in cores.iter().zip(&pairs) {
        core.set_paired(pair);
    }
    pairs
}

fn role((core, pair): Lane) -> Role {
    match pair.side {
        Side::Reader => Role::Reader(Reader::new(core, pair)),
        Side::Writer => Role::Writer(Writer::new(core, pair)),
    }
}
