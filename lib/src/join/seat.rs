//! A place in a session: that of the host, or that of the second.

use std::sync::Arc;
use std::time::Duration;

use super::Role;
use super::arriving;
use super::both_ways::BothWays;
use super::host::Host;
use super::second::join_host;
use super::terms::{check_user, lanes, new_region, refuse, unused_number};
use crate::error::Error;
use crate::monitor::Monitor;
use crate::options::{Options, Side};
use crate::pair::{Core, Pair};
use crate::reader::Reader;
use crate::region::layout::{GREETING_MAX, Geometry};
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

/// What becomes an end.
type Lane = (Arc<Core>, Arc<Pair>);

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
        let geometry = Geometry::new(options.block_size, options.block_count)?;
        if options.greeting.len() > GREETING_MAX {
            let found = options.greeting.len();
            return Err(Error::InvalidOption(format!(
                "the greeting has {found} bytes, {GREETING_MAX} are the most"
            )));
        }
        check_memory(&geometry)?;
        let place = sys::Name::parse(name)?;
        let guests: Result<Vec<_>, _> = options
            .guests
            .iter()
            .map(|user| sys::User::parse(user))
            .collect();
        let guests = guests?;
        let cores = new_cores(options.ways)?;
        let deadline = arriving::deadline();
        let mut arriving = sys::Arriving::new(&place, &guests)?;
        let seat = arriving::arrive(deadline, |last| {
            match arriving.attempt(deadline, last)? {
                Some(Arrival::Host(host)) => {
                    Seat::of_host(*host, &cores, geometry, options, guests.clone()).map(Some)
                }
                Some(Arrival::Second(channel)) => {
                    check_user(&channel, &guests).or_else(|refused| refuse(&channel, refused))?;
                    // `None` if the host took another, or died.
                    let pairs = join_host(channel, &cores[0], &geometry, options, name)?;
                    Ok(pairs.map(|pairs| Seat::of_second(pairs, &cores, options)))
                }
                None => Ok(None),
            }
        })?;
        seat.ok_or_else(|| Error::TooManyInstances { name: name.into() })
    }

    fn of_host(
        host: sys::Host,
        cores: &[Arc<Core>],
        geometry: Geometry,
        options: &Options,
        guests: Vec<sys::User>,
    ) -> Result<Seat, Error> {
        let side = options.side.unwrap_or(Side::Reader);
        let session = unused_number();
        let own: Result<Vec<_>, _> = lanes(side, options.ways)
            .map(|(lane, side)| new_region(lane, side, &geometry, &options.greeting, session))
            .collect();
        let host = Host {
            host,
            own: own?,
            geometry,
            guests,
        };
        Ok(Seat {
            cores: cores.to_vec(),
            side,
            wait: options.wait,
            stage: Some(Stage::Host(Box::new(host))),
        })
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

    /// A second handle, for other threads, on this seat and on what becomes of it.
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
        let Ok([lane]) = <[_; 1]>::try_from(self.meet()?) else {
            return Err(Error::InvalidUse("a session of both ways has two ends"));
        };
        Ok(role(lane))
    }

    /// As [`Seat::wait`], where data goes both ways.
    pub(super) fn into_both_ways(mut self) -> Result<BothWays, Error> {
        let is_first = self.is_first();
        let ends = <[_; 2]>::try_from(self.meet()?).map(|lanes| lanes.map(role));
        match ends {
            Ok([Role::Reader(reader), Role::Writer(writer)])
            | Ok([Role::Writer(writer), Role::Reader(reader)]) => Ok(BothWays {
                reader,
                writer,
                is_first,
            }),
            _ => Err(Error::InvalidUse("a session of one way has one end")),
        }
    }

    /// Waits for the partner: each lane's core and pair.
    fn meet(&mut self) -> Result<Vec<Lane>, Error> {
        let pairs = match self.stage.take() {
            Some(Stage::Second(pairs)) => pairs,
            Some(Stage::Host(host)) => {
                let met = host.wait(self.core(), self.side, self.wait);
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
fn new_cores(ways: usize) -> Result<Vec<Arc<Core>>, Error> {
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

/// The system would rather kill a process than refuse it memory, so what cannot
/// fit is refused here.
fn check_memory(geometry: &Geometry) -> Result<(), Error> {
    let needed = geometry.reader_region_size() + geometry.writer_region_size();
    match sys::available_memory() {
        Some(available) if needed > available => Err(Error::OutOfMemory { needed, available }),
        _ => Ok(()),
    }
}
