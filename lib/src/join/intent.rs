//! What this process wants of a session, checked, and what it brings to it.

use std::hash::{BuildHasher, Hasher, RandomState};

use super::terms::{Lane, lanes};
use crate::error::Error;
use crate::options::{Options, Side};
use crate::refusal::{Refusal, Refused};
use crate::region::Region;
use crate::region::access::{Own, Theirs};
use crate::region::layout::{self, Control, GREETING_MAX, Geometry};
use crate::sys;

/// What tells a pair from all others: its session, and which pair of that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) session: u64,
    pub(crate) epoch: u64,
}

impl Numbers {
    /// Those of a session that no other is, as far as chance can see to that.
    pub(super) fn unused() -> Numbers {
        // Seeded by the system, anew in each process.
        let session = RandomState::new().build_hasher().finish();
        Numbers { session, epoch: 1 }
    }

    pub(super) fn of(control: &Control<Theirs>) -> Numbers {
        Numbers {
            session: control.session.load(),
            epoch: control.epoch.load(),
        }
    }

    /// Those of the next pair, in which one partner is another.
    fn next(self) -> Numbers {
        let epoch = self.epoch.wrapping_add(1).max(1);
        Numbers { epoch, ..self }
    }
}

impl std::fmt::Display for Numbers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "epoch {} of session {:016x}", self.epoch, self.session)
    }
}

/// What an end whose partner is lost brings with it.
pub(crate) struct Again {
    /// The numbers of the pair that it was in.
    pub(crate) numbers: Numbers,
    /// A Reader's region, unless the lost Writer may still read there.
    pub(crate) region: Option<Region<Own>>,
}

/// What this process wants of a session, checked, and what it brings to it.
pub(super) struct Intent {
    pub(super) options: Options,
    pub(super) geometry: Geometry,
    pub(super) guests: Vec<sys::User>,
    again: Option<Again>,
}

impl Intent {
    pub(super) fn new(options: &Options, again: Option<Again>) -> Result<Intent, Error> {
        let geometry = Geometry::new(options.block_size, options.block_count)?;
        if options.greeting.len() > GREETING_MAX {
            let found = options.greeting.len();
            return Err(Error::InvalidOption(format!(
                "the greeting has {found} bytes, {GREETING_MAX} are the most"
            )));
        }
        if options.takeover.is_some() && options.ways != 1 {
            return Err(Error::InvalidOption(
                "nobody takes a place over in a session of both ways".into(),
            ));
        }
        let guests = options.guests.iter().map(|user| sys::User::parse(user));
        Ok(Intent {
            options: options.clone(),
            geometry,
            guests: guests.collect::<Result<_, _>>()?,
            again,
        })
    }

    /// Whether it goes on if its partner is lost.
    pub(super) fn outlives_pair(&self) -> bool {
        self.options.takeover.is_some()
    }

    fn kept_region(&self) -> Option<&Region<Own>> {
        self.again.as_ref()?.region.as_ref()
    }

    /// What it chooses for a pair of which it is the host.
    pub(super) fn numbers(&self) -> Numbers {
        match &self.again {
            Some(again) => again.numbers.next(),
            None => Numbers::unused(),
        }
    }

    /// What this process shows, for each lane, if it has `first` in the first.
    pub(super) fn regions(&self, first: Side, numbers: Numbers) -> Result<Vec<Region<Own>>, Error> {
        lanes(first, self.options.ways)
            .map(|(lane, side)| {
                let region = match self.kept_region() {
                    Some(kept) => kept.again(),
                    None => new_region(side, &self.geometry)?,
                };
                self.fill_head(&region, lane, side, numbers);
                Ok(region)
            })
            .collect()
    }

    /// All that is fixed from now on; what will change is zero.
    fn fill_head(&self, region: &Region<Own>, lane: Lane, side: Side, numbers: Numbers) {
        let control = region.control();
        control.clear();
        let relaxed = std::sync::atomic::Ordering::Relaxed;
        control.version.store(layout::VERSION, relaxed);
        control.role.store(side.role(), relaxed);
        control.stamp.store(layout::STAMP, relaxed);
        let (size, count) = (self.geometry.block_size(), self.geometry.block_count());
        control.block_size.store(size as u64, relaxed);
        control.block_count.store(count as u64, relaxed);
        control.session.store(numbers.session, relaxed);
        control.epoch.store(numbers.epoch, relaxed);
        control.ways.store(lane.ways as u32, relaxed);
        control.lane.store(lane.number as u32, relaxed);
        if sys::can_barrier_remotely() {
            let feature = layout::FEATURE_REMOTE_BARRIER;
            control.features.store(feature, relaxed);
        }
        let greeting = &self.options.greeting;
        layout::store_text(&control.greeting, greeting);
        control.greeting_len.store(greeting.len() as u32, relaxed);
        // Whoever sees the magic sees the rest; the message that shows the region to
        // the partner orders it all the same.
        let release = std::sync::atomic::Ordering::Release;
        control.magic.store(layout::MAGIC, release);
    }

    /// Whether this process may join with who is at the other end of `channel`; or why
    /// not.
    pub(super) fn check_who(&self, channel: &sys::Channel) -> Result<(), Refused> {
        self.check_user(channel)?;
        let found = channel.peer().process_id;
        match self.options.expected {
            Some(expected) if expected != found => {
                let text = format!(
                    "process {} expects process {expected}, and not process {found}",
                    std::process::id()
                );
                Err(Refused::new(
                    Refusal::OtherProcess { process_id: found },
                    text,
                ))
            }
            _ => Ok(()),
        }
    }

    fn check_user(&self, channel: &sys::Channel) -> Result<(), Refused> {
        let (own, theirs) = (sys::User::own(), &channel.peer().user);
        if own == *theirs || self.guests.contains(theirs) {
            return Ok(());
        }
        let text = format!(
            "the two processes must be of one user, or each must allow the other's: \
             process {} is of {own}, process {} of {theirs}",
            std::process::id(),
            channel.peer().process_id,
        );
        let user = theirs.to_string();
        Err(Refused::new(Refusal::OtherUser { user }, text))
    }
}

fn new_region(side: Side, geometry: &Geometry) -> Result<Region<Own>, Error> {
    let size = side.region_size(geometry);
    check_memory(size)?;
    let memory = sys::Memory::create(size)?;
    Region::own(memory).ok_or(Error::InvalidUse("a region without a head"))
}

/// To look for so little takes longer than to make it, and whoever lacks it could not have
/// started either.
const NO_QUESTION: u64 = 1 << 20;

/// The system would rather kill a process than refuse it memory, so what cannot
/// fit is refused here: by the one that makes it, since for the other one it is taken already.
fn check_memory(needed: u64) -> Result<(), Error> {
    if needed <= NO_QUESTION {
        return Ok(());
    }
    match sys::available_memory() {
        Some(available) if needed > available => Err(Error::OutOfMemory { needed, available }),
        _ => Ok(()),
    }
}
