//! A place in a session: that of the host, or that of the second.

use std::sync::Arc;
use std::time::Duration;

use super::Role;
use super::arriving;
use super::host::Host;
use super::second::join_host;
use super::terms::{check_user, new_region, refuse, unused_number};
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
    core: Arc<Core>,
    side: Side,
    wait: Option<Duration>,
    /// Taken by [`Seat::wait`].
    stage: Option<Stage>,
}

enum Stage {
    /// Host: the partner is yet to come.
    Host(Box<Host>),
    /// Second: the pair is complete.
    Second(Arc<Pair>),
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
        let core = Arc::new(Core::new()?);
        let deadline = arriving::deadline();
        let mut arriving = sys::Arriving::new(&place, &guests)?;
        let seat = arriving::arrive(deadline, |last| {
            match arriving.attempt(deadline, last)? {
                Some(Arrival::Host(host)) => {
                    Seat::of_host(*host, &core, geometry, options, guests.clone()).map(Some)
                }
                Some(Arrival::Second(channel)) => {
                    check_user(&channel, &guests).or_else(|refused| refuse(&channel, refused))?;
                    // `None` if the host took another, or died.
                    let pair = join_host(channel, &core, &geometry, options, name)?;
                    Ok(pair.map(|pair| Seat::of_second(pair, &core, options)))
                }
                None => Ok(None),
            }
        })?;
        seat.ok_or_else(|| Error::TooManyInstances { name: name.into() })
    }

    fn of_host(
        host: sys::Host,
        core: &Arc<Core>,
        geometry: Geometry,
        options: &Options,
        guests: Vec<sys::User>,
    ) -> Result<Seat, Error> {
        let side = options.side.unwrap_or(Side::Reader);
        let host = Host {
            host,
            own: new_region(side, &geometry, &options.greeting, unused_number())?,
            geometry,
            guests,
        };
        Ok(Seat {
            core: Arc::clone(core),
            side,
            wait: options.wait,
            stage: Some(Stage::Host(Box::new(host))),
        })
    }

    fn of_second(pair: Pair, core: &Arc<Core>, options: &Options) -> Seat {
        let pair = Arc::new(pair);
        core.set_paired(&pair);
        Seat {
            core: Arc::clone(core),
            side: pair.side,
            wait: options.wait,
            stage: Some(Stage::Second(pair)),
        }
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
        Monitor::new(&self.core)
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
        let pair = match self.stage.take() {
            Some(Stage::Second(pair)) => pair,
            Some(Stage::Host(host)) => {
                let met = host.wait(&self.core, self.side, self.wait);
                // Whoever watches would else wait for a partner that nobody lets in.
                let met = met.inspect_err(|error| self.core.abort(&error.to_string()));
                let pair = Arc::new(met?);
                self.core.set_paired(&pair);
                pair
            }
            None => return Err(Error::InvalidUse("the seat was given up")),
        };
        let core = Arc::clone(&self.core);
        Ok(match self.side {
            Side::Reader => Role::Reader(Reader::new(core, pair)),
            Side::Writer => Role::Writer(Writer::new(core, pair)),
        })
    }

    /// Gives the place up and, if the partner is here, tells it why.
    pub fn abort(self, reason: &str) {
        self.abort_with(0, reason);
    }

    /// As [`Seat::abort`], with a number of the application's choice.
    pub fn abort_with(self, code: u32, reason: &str) {
        self.core.abort_with(code, reason);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Not if it became an end, which has taken over.
        if self.stage.is_some() {
            self.core.abort("it gave up its place");
            self.core.release();
        }
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
