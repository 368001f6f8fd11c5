//! A place in a session: that of the host, or that of the second.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Role;
use super::arriving::{self, Arrived};
use super::both_ways::BothWays;
use super::host::{Door, Host, Showing};
use super::intent::{Again, Intent};
use super::invitation::check_invited;
use super::second::{Claiming, Patience, join_host};
use crate::error::Error;
use crate::monitor::Monitor;
use crate::options::{Options, Side};
use crate::pair::{Core, Hold, Pair};
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
const INVITED: &str = "";

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
    /// process has nobody yet but is slow to answer: then five seconds, and longer if
    /// the pool is of gigabytes.
    ///
    /// A process that took the first place should call [`Seat::wait`] soon: only
    /// there are others answered.
    ///
    /// # Errors
    ///
    /// As [`join`](crate::join()), but for [`Error::NoPartner`].
    pub fn take(name: &str, options: &Options) -> Result<Seat, Error> {
        Seat::take_with(name, options, drop)
    }

    /// As [`Seat::take`]; before it begins, `begun` gets a handle for other threads:
    /// [`Monitor::abort`] gives up, here and in [`Seat::wait`]. Once that has returned, this
    /// process becomes the second of no host that comes later; one that has let it in by then
    /// gets [`Error::PartnerAborted`].
    ///
    /// # Errors
    ///
    /// As there, and [`Error::Aborted`].
    pub fn take_with(
        name: &str,
        options: &Options,
        begun: impl FnOnce(Monitor),
    ) -> Result<Seat, Error> {
        Seat::take_again(name, options, None, &mut None, begun)
    }

    /// The same for an end that was in a pair already, and what it still holds of the name:
    /// the seat, too, once it has that.
    pub(crate) fn take_again(
        name: &str,
        options: &Options,
        again: Option<Again>,
        hold: &mut Option<Hold>,
        begun: impl FnOnce(Monitor),
    ) -> Result<Seat, Error> {
        let since = Instant::now();
        let until = match again {
            Some(_) => options.wait.and_then(|limit| since.checked_add(limit)),
            None => None,
        };
        let intent = Intent::new(options, again)?;
        let place = sys::Name::parse(name)?;
        let mut asked = Asked {
            name,
            place: &place,
            cores: new_cores(options.ways)?,
            guests: intent.guests.clone(),
            options,
            intent: Some(intent),
            until,
        };
        begun(Monitor::new(&asked.cores[0]));
        // That of another name is let go.
        if hold.as_ref().is_some_and(|hold| !hold.is_of(&place)) {
            *hold = None;
        }
        if let Some(Hold::Seat(seat)) = hold
            && let Some(host) = asked.host_again(seat)?
        {
            return Ok(host);
        }
        // Whoever has a claim is not the one to give way.
        let claim = match hold {
            Some(Hold::Claim(claim)) => Some(Arc::clone(claim)),
            _ => None,
        };
        let limit = claim.as_ref().and(options.wait);
        let found = asked.arrive(arriving::deadline(limit), claim, hold)?;
        match found {
            Arrived::At(mut seat) => {
                if limit.is_some() {
                    seat.wait = limit.map(|limit| limit.saturating_sub(since.elapsed()));
                }
                Ok(seat)
            }
            Arrived::Full => Err(Error::TooManyInstances { name: name.into() }),
            Arrived::Later => Err(Error::NotAnswering { name: name.into() }),
        }
    }

    /// Takes the place in the session to which the process that started this one invited it
    /// ([`invite`](crate::invite)), or whoever passed that on to it.
    ///
    /// # Errors
    ///
    /// As [`accept`](crate::accept()).
    pub fn accept(options: &Options) -> Result<Seat, Error> {
        Seat::accept_with(options, drop)
    }

    /// As [`Seat::accept`]; before it begins, `begun` gets a handle for other threads, as in
    /// [`Seat::take_with`]. An invitation that was given up is gone.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::Aborted`].
    pub fn accept_with(options: &Options, begun: impl FnOnce(Monitor)) -> Result<Seat, Error> {
        check_invited(options)?;
        let intent = Intent::new(options, None)?;
        let cores = new_cores(options.ways)?;
        begun(Monitor::new(&cores[0]));
        let patience = Patience::AtLeast(options.wait.unwrap_or_default());
        let pairs = match sys::accept()? {
            Some(channel) => join_host(channel, &cores[0], &intent, INVITED, patience, None)?,
            None => None,
        };
        let (pairs, _) = pairs.ok_or(Error::InvitationOver)?;
        Ok(Seat::of_second(pairs, &cores, options))
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
    /// [`Error::NoPartner`] after [`Options::wait`]; [`Error::InvitationOver`] if who was
    /// invited cannot come any more; [`Error::Aborted`] after [`Monitor::abort`].
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

/// A place at a name, as it was asked for.
struct Asked<'a> {
    name: &'a str,
    place: &'a sys::Name,
    cores: Vec<Arc<Core>>,
    guests: Vec<sys::User>,
    options: &'a Options,
    /// What it wants goes to whichever it becomes.
    intent: Option<Intent>,
    /// When an end that goes on has waited long enough.
    until: Option<Instant>,
}

impl Asked<'_> {
    /// The host once more, with the seat that it kept; `None` if that is lost.
    fn host_again(&mut self, seat: &Arc<sys::Seat>) -> Result<Option<Seat>, Error> {
        let outlives = self.options.takeover.is_some();
        let found = arriving::arrive(arriving::deadline(None), |_, last| {
            match sys::Host::again(self.place, seat, &self.guests, outlives) {
                Err(error) if !last && error.is_in_the_way() => Ok(Arrived::Full),
                again => Ok(Arrived::At(again?)),
            }
        })?;
        match found {
            Arrived::At(Some(host)) => self.host(host),
            _ => Ok(None),
        }
    }

    fn host(&mut self, host: sys::Host) -> Result<Option<Seat>, Error> {
        let showing = self.intent.take().map(Showing::new).transpose()?;
        let host = |showing| Host::new(Door::Named(host), showing);
        Ok(showing.map(|showing| Seat::of_host(host(showing), &self.cores, self.options)))
    }

    /// Takes the seat, or reaches whoever has it. With a `claim`, nobody else has one.
    fn arrive(
        &mut self,
        deadline: Instant,
        claim: Option<Arc<sys::Claim>>,
        hold: &mut Option<Hold>,
    ) -> Result<Arrived<Seat>, Error> {
        let outlives = self.options.takeover.is_some();
        let until = self.until;
        let is_late = || until.is_some_and(|until| until <= Instant::now());
        let guests = self.guests.clone();
        let core = Arc::clone(&self.cores[0]);
        let mut arriving = sys::Arriving::new(self.place, &guests, outlives, claim.as_deref())?;
        arriving::arrive(deadline, |deadline, last| {
            core.check()?;
            match arriving.attempt(deadline, last)? {
                Some(Arrival::Host(host)) => {
                    if outlives || hold.is_some() {
                        // In place of a claim, which is let go.
                        *hold = Some(Hold::Seat(Arc::clone(host.seat())));
                    }
                    Ok(self.host(*host)?.map_or(Arrived::Full, Arrived::At))
                }
                Some(Arrival::Second(channel)) => self.second(channel, claim.as_ref(), last),
                Some(Arrival::Later) if is_late() => Err(Error::NotAnswering {
                    name: self.name.into(),
                }),
                Some(Arrival::Later) => Ok(Arrived::Later),
                None => Ok(Arrived::Full),
            }
        })
    }

    fn second(
        &mut self,
        channel: sys::Channel,
        claim: Option<&Arc<sys::Claim>>,
        is_last: bool,
    ) -> Result<Arrived<Seat>, Error> {
        let Some(intent) = &self.intent else {
            return Ok(Arrived::Full);
        };
        let claiming = intent.outlives_pair().then_some(Claiming {
            name: self.place,
            guests: &self.guests,
            claim,
            is_last,
        });
        let core = &self.cores[0];
        let patience = Patience::Until(self.until);
        let joined = join_host(channel, core, intent, self.name, patience, claiming)?;
        // `None` if the host took another, or died.
        let Some((pairs, claim)) = joined else {
            return Ok(Arrived::Full);
        };
        if let Some(claim) = claim {
            core.keep(Hold::Claim(claim), true);
        }
        Ok(Arrived::At(Seat::of_second(
            pairs,
            &self.cores,
            self.options,
        )))
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
