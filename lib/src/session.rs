//! Two processes becoming a pair.
//!
//! ```text
//! Seat::take ── first ──> Host ── wait: offer, check, admit ──┐
//!           └── second ─> check, offer, wait to be admitted ──┴─> Pair ─> Reader or Writer
//! ```

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::layout::{self, Control, GREETING_MAX, Geometry, load_text, printable, store_text};
use crate::memory::Region;
use crate::monitor::Monitor;
use crate::options::{Options, Partner, Side};
use crate::pair::{Core, Pair};
use crate::reader::Reader;
use crate::sys::{self, Arrival, Message};
use crate::writer::Writer;

/// How long a process tries to reach the holder of a name before it says "too
/// many instances": the half second of the first design.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long a holder that was reached may take to answer. Far longer than
/// needed, since a busy machine is no reason to refuse the rightful second.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// How long a joining process may keep its host from looking at the next.
const JOINER_LIMIT: Duration = Duration::from_secs(1);

/// How fast a process allocates its region, at the least, in bytes a second: with
/// a large pool, the limits above grow by the time for that.
const ALLOCATION_RATE: u64 = 64 << 20;

/// What this process became.
#[derive(Debug)]
pub enum Role {
    /// It fills blocks.
    Reader(Reader),
    /// It drains blocks.
    Writer(Writer),
}

/// Joins the session `name` and waits for the partner.
///
/// The first process to come becomes the Reader, the second the Writer (unless
/// [`Options::side`] says otherwise); a third is refused with
/// [`Error::TooManyInstances`] after half a second. To do something between
/// learning the role and meeting the partner, use [`Seat::take`] and
/// [`Seat::wait`], which this function calls.
///
/// A plain name is private to the user: each user has names of their own. A name
/// with a path separator in it is a path, for processes that share a directory
/// but not an environment (containers, for instance). The directory must exist. On
/// Linux, files are made there, which are empty or vanish, and whose names begin with
/// the path; on Windows, none.
///
/// # Errors
///
/// [`Error::TooManyInstances`], [`Error::Refused`], [`Error::NoPartner`] after
/// [`Options::wait`], [`Error::InvalidOption`], [`Error::OutOfMemory`], and what
/// the system says.
///
/// # Example
///
/// Two threads stand in for the two processes:
///
/// ```
/// use brigade::{Options, Role};
///
/// # let directory = tempfile::tempdir().unwrap();
/// # let name = format!("{}/example", directory.path().display());
/// # let other = name.clone();
/// # let thread = std::thread::spawn(move || run(&other).unwrap());
/// fn run(name: &str) -> Result<Option<Vec<u8>>, brigade::Error> {
///     match brigade::join(name, &Options::new())? {
///         Role::Reader(reader) => {
///             let mut block = reader.empty_block()?;
///             block[..5].copy_from_slice(b"water");
///             block.send(5, 0)?;
///             reader.finish()?; // waits until the Writer has said that all is well
///             Ok(None)
///         }
///         Role::Writer(writer) => {
///             let mut data = Vec::new();
///             while let Some(block) = writer.data_block()? {
///                 data.extend_from_slice(&block);
///             }
///             writer.finish()?;
///             Ok(Some(data))
///         }
///     }
/// }
/// # let here = run(&name).unwrap();
/// # assert_eq!(here.or(thread.join().unwrap()).unwrap(), b"water");
/// ```
pub fn join(name: &str, options: &Options) -> Result<Role, Error> {
    Seat::take(name, options)?.wait()
}

/// Does ahead of time what joining would do anyway. Nobody needs to call it.
///
/// On Linux, the first joining in a process that has more than one thread takes
/// some ten milliseconds longer than in one that has not: the kernel waits until
/// all processors know that this process takes part in remote barriers (see
/// membarrier(2)). Called at the start of `main`, this spares a program that.
pub fn prepare() {
    sys::can_barrier_remotely();
}

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
    /// First: the partner is yet to come.
    First(Box<First>),
    /// Second: the pair is complete.
    Second(Arc<Pair>),
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Stage::First(_) => "First",
            Stage::Second(_) => "Second",
        })
    }
}

struct First {
    host: sys::Host,
    own: Arc<Region>,
    geometry: Geometry,
    guests: Vec<sys::User>,
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
    /// As [`join`], but for [`Error::NoPartner`].
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
        let deadline = Instant::now() + PATIENCE;
        loop {
            match sys::arrive(&place, &guests, deadline)? {
                Arrival::First(host) => {
                    let side = options.side.unwrap_or(Side::Reader);
                    let session = unused_number();
                    let own = new_region(side, &geometry, &options.greeting, session)?;
                    let first = First {
                        host,
                        own,
                        geometry,
                        guests,
                    };
                    return Ok(Seat {
                        core,
                        side,
                        wait: options.wait,
                        stage: Some(Stage::First(Box::new(first))),
                    });
                }
                Arrival::Second(channel) => {
                    check_user(&channel, &guests).or_else(|reason| refuse(&channel, reason))?;
                    if let Some(pair) = join_host(channel, &core, &geometry, options, name)? {
                        let pair = Arc::new(pair);
                        core.set_paired(&pair);
                        return Ok(Seat {
                            core,
                            side: pair.side,
                            wait: options.wait,
                            stage: Some(Stage::Second(pair)),
                        });
                    }
                    // The host took another, or died: see what there is now.
                    if Instant::now() >= deadline {
                        return Err(too_many(name));
                    }
                }
                Arrival::Full => return Err(too_many(name)),
            }
        }
    }

    /// What this process is.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Whether the partner is still to come, so that [`Seat::wait`] will wait.
    pub fn is_first(&self) -> bool {
        matches!(self.stage, Some(Stage::First(_)))
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
            Some(Stage::First(first)) => {
                let pair = Arc::new(first.wait(&self.core, self.side, self.wait)?);
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
        self.core.abort(reason);
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

fn too_many(name: &str) -> Error {
    Error::TooManyInstances { name: name.into() }
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

fn allocation_limit(geometry: &Geometry) -> Duration {
    Duration::from_secs(geometry.reader_region_size() / ALLOCATION_RATE)
}

/// A number that no other session has, as far as chance can see to that.
fn unused_number() -> u64 {
    // Seeded by the system, anew in each process.
    RandomState::new().build_hasher().finish()
}

fn new_region(
    side: Side,
    geometry: &Geometry,
    greeting: &[u8],
    session: u64,
) -> Result<Arc<Region>, Error> {
    let memory = sys::Memory::create(side.region_size(geometry))?;
    let region = Region::new(memory).ok_or(Error::InvalidUse("a region without a head"))?;
    let control = region.control();
    let relaxed = Ordering::Relaxed;
    control.version.store(layout::VERSION, relaxed);
    control.role.store(side.role(), relaxed);
    control.stamp.store(layout::STAMP, relaxed);
    let (size, count) = (geometry.block_size(), geometry.block_count());
    control.block_size.store(size as u64, relaxed);
    control.block_count.store(count as u64, relaxed);
    control.session.store(session, relaxed);
    if sys::can_barrier_remotely() {
        let feature = layout::FEATURE_REMOTE_BARRIER;
        control.features.store(feature, relaxed);
    }
    store_text(&control.greeting, greeting);
    control.greeting_len.store(greeting.len() as u32, relaxed);
    // Whoever sees the magic sees the rest; the message that shows the region to
    // the partner orders it all the same.
    control.magic.store(layout::MAGIC, Ordering::Release);
    Ok(region)
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
    fn of(control: &Control) -> Terms {
        Terms {
            magic: control.magic.load(Ordering::Acquire),
            version: control.version.load(Ordering::Relaxed),
            stamp: control.stamp.load(Ordering::Relaxed),
            block_size: control.block_size.load(Ordering::Relaxed),
            block_count: control.block_count.load(Ordering::Relaxed),
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

/// Whether the region that `channel`'s peer shows fits; its side, or why not, in
/// words that are right in both processes.
fn check_peer(
    channel: &sys::Channel,
    region: &Region,
    geometry: &Geometry,
) -> Result<Side, String> {
    let theirs = Terms::of(region.control());
    let ours = Terms::ours(geometry);
    if theirs != ours {
        return Err(format!(
            "the two processes do not fit: process {} {ours}, process {} {theirs}",
            std::process::id(),
            channel.peer().process_id,
        ));
    }
    let malformed = |what| format!("process {} shows {what}", channel.peer().process_id);
    let role = region.control().role.load(Ordering::Relaxed);
    let side = Side::from_role(role).ok_or_else(|| malformed("a role that does not exist"))?;
    if region.memory().len() as u64 != side.region_size(geometry) {
        return Err(malformed("a region of the wrong size"));
    }
    Ok(side)
}

/// Whether `channel`'s peer is a user that may join; or why not.
fn check_user(channel: &sys::Channel, guests: &[sys::User]) -> Result<(), String> {
    let (own, theirs) = (sys::User::own(), &channel.peer().user);
    if own == *theirs || guests.contains(theirs) {
        return Ok(());
    }
    Err(format!(
        "the two processes must be of one user, or each must allow the other's: \
         process {} is of {own}, process {} of {theirs}",
        std::process::id(),
        channel.peer().process_id,
    ))
}

fn check_sides(own: Side, theirs: Side) -> Result<(), String> {
    if own != theirs {
        return Ok(());
    }
    Err(format!("both processes want to be the {own}"))
}

/// Tells the peer, and this process, why they do not pair.
fn refuse<T>(channel: &sys::Channel, reason: String) -> Result<T, Error> {
    channel.refuse(&reason);
    Err(Error::Refused(reason))
}

/// The second process's way in (protocol J2, J4, J6), once the host's user was
/// checked. `None` if the host went away or took another.
fn join_host(
    channel: sys::Channel,
    core: &Core,
    geometry: &Geometry,
    options: &Options,
    name: &str,
) -> Result<Option<Pair>, Error> {
    let limit = ANSWER_LIMIT + allocation_limit(geometry);
    let answer = || match channel.receive(&core.alarm, Some(Instant::now() + limit))? {
        None => Err(Error::NotAnswering { name: name.into() }),
        Some(Message::Refused(reason)) => Err(Error::Refused(printable(&reason))),
        Some(Message::Malformed(why)) => {
            let id = channel.peer().process_id;
            refuse(&channel, format!("process {id} cannot be joined: {why}"))
        }
        Some(message) => Ok(message),
    };
    let Message::Offer(memory, remote_bell) = answer()? else {
        return Ok(None);
    };
    let Some(peer) = Region::new(memory) else {
        return Ok(None);
    };
    let own_side = match check_peer(&channel, &peer, geometry).and_then(|theirs| {
        let own = options.side.unwrap_or(theirs.other());
        check_sides(own, theirs).map(|()| own)
    }) {
        Ok(side) => side,
        Err(reason) => return refuse(&channel, reason),
    };
    let session = peer.control().session.load(Ordering::Relaxed);
    let own = new_region(own_side, geometry, &options.greeting, session)?;
    let bell = sys::Bell::new()?;
    if channel.offer(own.memory(), &bell).is_err() {
        return Ok(None);
    }
    let Message::Admitted = answer()? else {
        return Ok(None);
    };
    let partner = partner(&channel, &peer, own_side);
    let link = channel.into_link(bell, remote_bell, None);
    Ok(Some(Pair::new(
        own_side, *geometry, own, peer, partner, link,
    )))
}

impl First {
    /// The first process's side of joining (protocol J1, J3, J5).
    fn wait(mut self, core: &Core, side: Side, limit: Option<Duration>) -> Result<Pair, Error> {
        let since = Instant::now();
        // A limit beyond what a clock can count is no limit.
        let deadline = limit.and_then(|limit| since.checked_add(limit));
        loop {
            let Some(channel) = self.host.next(&core.alarm, deadline)? else {
                core.check()?;
                let waited = since.elapsed();
                return Err(Error::NoPartner { waited });
            };
            let bell = sys::Bell::new()?;
            // Whatever is wrong with one joiner is no reason to stop waiting for
            // the right one; it has been told.
            let Ok(Some((peer, remote_bell))) = self.consider(&channel, core, side, &bell) else {
                continue;
            };
            let partner = partner(&channel, &peer, side);
            let seat = self.host.close();
            let link = channel.into_link(bell, remote_bell, Some(seat));
            return Ok(Pair::new(
                side,
                self.geometry,
                self.own,
                peer,
                partner,
                link,
            ));
        }
    }

    /// Admits the process at the other end of `channel`, or refuses it.
    fn consider(
        &self,
        channel: &sys::Channel,
        core: &Core,
        side: Side,
        bell: &sys::Bell,
    ) -> Result<Option<(Arc<Region>, sys::RemoteBell)>, Error> {
        check_user(channel, &self.guests).or_else(|reason| refuse(channel, reason))?;
        channel.offer(self.own.memory(), bell)?;
        let limit = Instant::now() + JOINER_LIMIT + allocation_limit(&self.geometry);
        match channel.receive(&core.alarm, Some(limit))? {
            Some(Message::Offer(memory, remote_bell)) => {
                let Some(peer) = Region::new(memory) else {
                    return Ok(None);
                };
                let fits = check_peer(channel, &peer, &self.geometry);
                if let Err(reason) = fits.and_then(|theirs| check_sides(side, theirs)) {
                    return refuse(channel, reason);
                }
                channel.admit()?;
                Ok(Some((peer, remote_bell)))
            }
            Some(Message::Malformed(why)) => refuse(channel, why.to_string()),
            _ => Ok(None),
        }
    }
}

/// The process at the other end of `channel`, which shows `region`.
fn partner(channel: &sys::Channel, region: &Region, own_side: Side) -> Partner {
    let control = region.control();
    let len = control.greeting_len.load(Ordering::Relaxed);
    Partner {
        side: own_side.other(),
        peer: channel.peer().clone(),
        greeting: load_text(&control.greeting, len),
    }
}
