//! What each process shows the other, and whether it fits.

use std::time::Duration;

use super::intent::{Intent, Numbers};
use crate::error::Error;
use crate::options::{Partner, Side};
use crate::pair::Pair;
use crate::refusal::{Refusal, Refused};
use crate::region::Region;
use crate::region::access::{Own, Theirs};
use crate::region::layout::{self, Control, Geometry, load_text};
use crate::sys;

/// How fast a process allocates its region, at the least, in bytes a second: with
/// a large pool, the limits above grow by the time for that.
const ALLOCATION_RATE: u64 = 64 << 20;

pub(super) fn allocation_limit(geometry: &Geometry) -> Duration {
    Duration::from_secs(geometry.reader_region_size() / ALLOCATION_RATE)
}

/// Which of a session's lanes a region is of, from 0, and of how many.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Lane {
    pub(super) number: usize,
    pub(super) ways: usize,
}

/// The lanes of a session of `ways`, and this process's side in each, if it has `first` in
/// the first.
pub(super) fn lanes(first: Side, ways: usize) -> impl Iterator<Item = (Lane, Side)> {
    [first, first.other()]
        .into_iter()
        .take(ways)
        .enumerate()
        .map(move |(number, side)| (Lane { number, ways }, side))
}

/// What a region's head says of its owner; for the comparison and the message.
/// These fields keep their place in every version of the protocol.
#[derive(PartialEq)]
struct Terms {
    magic: u64,
    version: u32,
    stamp: u64,
    block_size: u64,
    block_count: u64,
}

impl Terms {
    fn of(control: &Control<Theirs>) -> Terms {
        Terms {
            magic: control.magic.load_acquire(),
            version: control.version.load(),
            stamp: control.stamp.load(),
            block_size: control.block_size.load(),
            block_count: control.block_count.load(),
        }
    }

    fn ours(geometry: &Geometry) -> Terms {
        Terms {
            magic: layout::MAGIC,
            version: layout::VERSION,
            stamp: layout::STAMP,
            block_size: geometry.block_size() as u64,
            block_count: geometry.block_count() as u64,
        }
    }

    /// In what respect these, the partner's, are not `ours`.
    fn differ(&self, ours: &Terms) -> Option<Refusal> {
        let (version, block_size, block_count) = (self.version, self.block_size, self.block_count);
        if self == ours {
            None
        } else if self.magic != ours.magic {
            Some(Refusal::Malformed)
        } else if version != ours.version {
            Some(Refusal::OtherVersion { version })
        } else if self.stamp != ours.stamp {
            Some(Refusal::Malformed)
        } else {
            Some(Refusal::OtherGeometry {
                block_size,
                block_count,
            })
        }
    }
}

impl std::fmt::Display for Terms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.magic != layout::MAGIC {
            return write!(f, "is not brigade");
        }
        let (version, size, count) = (self.version, self.block_size, self.block_count);
        write!(
            f,
            "has protocol version {version} and {count} blocks of {size} bytes"
        )?;
        if self.version == layout::VERSION && self.stamp != layout::STAMP {
            write!(f, " in layout {:#x}", self.stamp)?;
        }
        Ok(())
    }
}

/// Whether the region that `channel`'s peer shows is of the same version and geometry.
fn check_terms(
    channel: &sys::Channel,
    region: &Region<Theirs>,
    geometry: &Geometry,
) -> Result<(), Refused> {
    let theirs = Terms::of(region.control());
    let ours = Terms::ours(geometry);
    let Some(reason) = theirs.differ(&ours) else {
        return Ok(());
    };
    let text = format!(
        "the two processes do not fit: process {} {ours}, process {} {theirs}",
        std::process::id(),
        channel.peer().process_id,
    );
    Err(Refused::new(reason, text))
}

/// Whether the region that `channel`'s peer shows for `lane` fits otherwise; its side, or
/// why not.
pub(super) fn check_peer(
    channel: &sys::Channel,
    region: &Region<Theirs>,
    lane: Lane,
    geometry: &Geometry,
) -> Result<Side, Refused> {
    let (ways, number) = (region.control().ways.load(), region.control().lane.load());
    if ways as usize != lane.ways {
        return Err(other_ways());
    }
    if number as usize != lane.number {
        return Err(malformed(channel, "a region of another lane"));
    }
    let role = region.control().role.load();
    let side =
        Side::from_role(role).ok_or_else(|| malformed(channel, "a role that does not exist"))?;
    if region.memory().size() != side.region_size(geometry) {
        return Err(malformed(channel, "a region of the wrong size"));
    }
    Ok(side)
}

pub(super) fn check_sides(own: Side, theirs: Side) -> Result<(), Refused> {
    if own != theirs {
        return Ok(());
    }
    let text = format!("both processes want to be the {own}");
    Err(Refused::new(Refusal::SameSide, text))
}

/// The refusal for two lanes beside one.
pub(super) fn other_ways() -> Refused {
    let text = "the two processes do not fit: one wants data to go both ways, the other one way";
    Refused::new(Refusal::OtherWays, text)
}

/// Tells the peer, and this process, why they do not pair.
pub(super) fn refuse<T>(channel: &sys::Channel, refused: Refused) -> Result<T, Error> {
    channel.refuse(refused.reason.number(), &refused.text);
    Err(refused.into())
}

/// The first page of each region of an offer, one for each of this process's lanes.
/// `None` if one is not even that.
pub(super) fn heads(
    channel: &sys::Channel,
    memories: Vec<sys::Memory>,
    intent: &Intent,
) -> Result<Option<Vec<Region<Theirs>>>, Refused> {
    let heads: Option<Vec<_>> = memories.into_iter().map(Region::theirs).collect();
    let Some(heads) = heads else {
        return Ok(None);
    };
    // In another version there may be other lanes.
    for head in &heads {
        check_terms(channel, head, &intent.geometry)?;
    }
    match heads.len() == intent.options.ways {
        true => Ok(Some(heads)),
        false => Err(other_ways()),
    }
}

/// The numbers of the pair that the regions with these heads are of.
pub(super) fn numbers(
    channel: &sys::Channel,
    heads: &[Region<Theirs>],
) -> Result<Numbers, Refused> {
    let mut all = heads.iter().map(|head| Numbers::of(head.control()));
    let first = all.next();
    match first {
        Some(numbers) if all.all(|other| other == numbers) => Ok(numbers),
        _ => Err(malformed(channel, "regions of two pairs")),
    }
}

/// Whether the regions with these heads are of this pair, and not an answer to what was
/// shown to somebody else, or earlier (protocol J13).
pub(super) fn check_numbers(
    channel: &sys::Channel,
    heads: &[Region<Theirs>],
    ours: Numbers,
) -> Result<(), Refused> {
    for head in heads {
        let theirs = Numbers::of(head.control());
        if theirs != ours {
            return Err(malformed(
                channel,
                &format!("{theirs}, which is not {ours}"),
            ));
        }
    }
    Ok(())
}

fn malformed(channel: &sys::Channel, what: &str) -> Refused {
    let id = channel.peer().process_id;
    Refused::malformed(format!("process {id} shows {what}"))
}

/// All of the regions of which these are the first pages.
pub(super) fn whole(heads: &[Region<Theirs>]) -> Result<Option<Vec<Region<Theirs>>>, Error> {
    let mut regions = Vec::new();
    for head in heads {
        match Region::theirs(head.memory().whole()?) {
            Some(region) => regions.push(region),
            None => return Ok(None),
        }
    }
    Ok(Some(regions))
}

/// One pair for each lane.
pub(super) fn pairs(
    channel: sys::Channel,
    first: Side,
    geometry: Geometry,
    own: Vec<Region<Own>>,
    peers: Vec<Region<Theirs>>,
) -> Result<Vec<Pair>, Error> {
    let partners: Vec<_> = lanes(first, own.len())
        .zip(&peers)
        .map(|((_, side), peer)| partner(&channel, peer, side))
        .collect();
    let links = channel.into_links()?;
    if links.len() != own.len() {
        return Err(Error::InvalidUse("each lane has a link"));
    }
    let parts = own.into_iter().zip(peers).zip(partners).zip(links);
    Ok(lanes(first, parts.len())
        .zip(parts)
        .map(|((_, side), (((own, peer), partner), link))| {
            Pair::new(side, geometry, own, peer, partner, link)
        })
        .collect())
}

/// The process at the other end of `channel`, which shows `region`.
fn partner(channel: &sys::Channel, region: &Region<Theirs>, own_side: Side) -> Partner {
    let control = region.control();
    let len = control.greeting_len.load();
    Partner {
        side: own_side.other(),
        peer: channel.peer().clone(),
        greeting: load_text(&control.greeting, len),
    }
}
