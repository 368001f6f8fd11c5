//! An end that has lost its partner, on its way to the next one.

use std::time::{Duration, Instant};

use super::intent::{Again, Numbers};
use super::seat::{Lane, Seat};
use crate::error::Error;
use crate::monitor::Monitor;
use crate::options::{Options, Side};
use crate::pair::{Core, Hold};
use crate::region::Region;
use crate::region::access::Own;
use crate::region::layout::Geometry;
use crate::steps::at_step;
use crate::sys::Origin;

/// What of an end goes on when its partner is lost, beside blocks.
#[derive(Debug)]
pub(crate) struct Lone {
    side: Side,
    geometry: Geometry,
    /// Of the pair that it was in.
    numbers: Numbers,
    since: Instant,
    /// Of the name.
    hold: Option<Hold>,
    origin: Origin,
    /// It is in the next pair.
    has_met: bool,
}

impl Lone {
    pub(crate) fn new(core: &Core, side: Side, geometry: Geometry, numbers: Numbers) -> Lone {
        Lone {
            side,
            geometry,
            numbers,
            since: Instant::now(),
            hold: core.take_hold(),
            origin: core.origin(),
            has_met: false,
        }
    }

    /// What `options` mean for it; an error if it cannot join with them, or any more.
    pub(crate) fn options(&self, options: &Options) -> Result<Options, Error> {
        if !self.origin.is_here() {
            return Err(crate::pair::forked());
        }
        if self.has_met {
            return Err(Error::InvalidUse("it has rejoined before"));
        }
        let (size, count) = (self.geometry.block_size(), self.geometry.block_count());
        if (options.block_size, options.block_count) != (size, count) {
            return Err(Error::InvalidOption(format!(
                "the session has {count} blocks of {size} bytes"
            )));
        }
        if options.side.is_some_and(|side| side != self.side) {
            let text = format!("the {} joins again", self.side);
            return Err(Error::InvalidOption(text));
        }
        Ok(Options {
            side: Some(self.side),
            ways: 1,
            wait: self.limit(options),
            ..options.clone()
        })
    }

    /// How long to wait for the next partner.
    fn limit(&self, options: &Options) -> Option<Duration> {
        let left = options
            .takeover
            .map(|limit| limit.saturating_sub(self.since.elapsed()));
        [options.wait, left].into_iter().flatten().min()
    }

    /// Meets the next partner, by `options` that were checked, and shows it `region` if
    /// that may be shown again. Once it has its place, `seated` is told.
    pub(crate) fn meet(
        &mut self,
        name: &str,
        options: &Options,
        region: Option<Region<Own>>,
        seated: impl FnOnce(Monitor),
    ) -> Result<Lane, Error> {
        at_step("about to go on");
        let numbers = self.numbers;
        let again = Again { numbers, region };
        let mut seat = Seat::take_again(name, options, Some(again), &mut self.hold, drop)?;
        seated(seat.monitor());
        let lanes = seat.meet()?;
        let [lane] = <[_; 1]>::try_from(lanes)
            .map_err(|_| Error::InvalidUse("an end goes on in one lane"))?;
        self.has_met = true;
        // The next pair has it.
        self.hold = None;
        Ok(lane)
    }
}
