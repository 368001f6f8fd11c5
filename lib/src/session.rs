//! Two processes becoming a pair, and what both ends of a pair share.
//!
//! ```text
//! Seat::take ── first ──> Host ── wait: offer, check, admit ──┐
//!           └── second ─> check, offer, wait to be admitted ──┴─> Pair ─> Reader or Writer
//! ```
//!
//! [`Core`] is what outlives that change: the alarm that ends every wait, and why
//! it was rung. [`Pair`] is the two regions and the link. [`End`] is one side's
//! half of the traffic, alike for both sides but for the entries' sizes.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Delivered, Error, Violation};
use crate::layout::{
    self, AtomicU64, Control, FIGURES, GREETING_MAX, Geometry, REASON_MAX, ROLE_READER, ROLE_WRITER,
};
use crate::memory::{Pool, Region, View};
use crate::reader::Reader;
use crate::ring::{self, Barrier, Incoming, Outgoing, Sleeps};
use crate::sys::{self, Arrival, Message, Wake};
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

/// How often to look before sleeping: a few microseconds, about what a sleep and
/// a wake cost.
const SPINS: u32 = 200;

/// Blocks up to this size, in bytes, take less time to copy than the two ends to
/// tell each other of one.
const SMALL_BLOCK: usize = 4096;

/// Blocks of 256 KiB are large enough that waking up for one costs little...
const DEFAULT_BLOCK_SIZE: usize = 256 * 1024;
/// ...and sixteen of them keep both sides busy while the pool stays in the
/// processor's cache.
const DEFAULT_BLOCK_COUNT: usize = 16;

/// What a process does in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Fills blocks from a source.
    Reader,
    /// Drains blocks into a destination.
    Writer,
}

impl Side {
    /// The partner's.
    pub fn other(self) -> Side {
        match self {
            Side::Reader => Side::Writer,
            Side::Writer => Side::Reader,
        }
    }

    fn role(self) -> u32 {
        match self {
            Side::Reader => ROLE_READER,
            Side::Writer => ROLE_WRITER,
        }
    }

    fn from_role(role: u32) -> Option<Side> {
        match role {
            ROLE_READER => Some(Side::Reader),
            ROLE_WRITER => Some(Side::Writer),
            _ => None,
        }
    }

    fn region_size(self, geometry: &Geometry) -> u64 {
        match self {
            Side::Reader => geometry.reader_region_size(),
            Side::Writer => geometry.writer_region_size(),
        }
    }
}

/// How to join: see each method. The defaults fit bulk data.
#[derive(Clone, Debug)]
pub struct Options {
    block_size: usize,
    block_count: usize,
    wait: Option<Duration>,
    greeting: Vec<u8>,
    side: Option<Side>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            block_size: DEFAULT_BLOCK_SIZE,
            block_count: DEFAULT_BLOCK_COUNT,
            wait: None,
            greeting: Vec::new(),
            side: None,
        }
    }
}

impl Options {
    /// The defaults: 16 blocks of 256 KiB, an empty greeting, a side by arrival,
    /// and patience without end.
    pub fn new() -> Options {
        Options::default()
    }

    /// Size of a block in bytes, 1 to [`BLOCK_SIZE_MAX`](crate::BLOCK_SIZE_MAX).
    /// Both processes must choose the same.
    pub fn block_size(mut self, bytes: usize) -> Options {
        self.block_size = bytes;
        self
    }

    /// Number of blocks, 1 to [`BLOCK_COUNT_MAX`](crate::BLOCK_COUNT_MAX). Both
    /// processes must choose the same. With one block, the two ends take turns.
    pub fn block_count(mut self, count: usize) -> Options {
        self.block_count = count;
        self
    }

    /// How long the first process waits for the second; for ever without it.
    pub fn wait(mut self, limit: Duration) -> Options {
        self.wait = Some(limit);
        self
    }

    /// Bytes that the partner gets to see when it has joined, at most
    /// [`GREETING_MAX`]: the source's size, for instance.
    pub fn greeting(mut self, bytes: &[u8]) -> Options {
        self.greeting = bytes.to_vec();
        self
    }

    /// This process's side, whether it comes first or second. Without it the
    /// first is the Reader, and the second what the first is not: so if one
    /// process has a fixed side, the other should have the other.
    pub fn side(mut self, side: Side) -> Options {
        self.side = Some(side);
        self
    }
}

/// What this process became.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "made once for each session; boxing would only get in the way"
)]
pub enum Role {
    /// It fills blocks.
    Reader(Reader),
    /// It drains blocks.
    Writer(Writer),
}

/// The process at the other end.
#[derive(Clone, Debug)]
pub struct Partner {
    side: Side,
    peer: sys::Peer,
    greeting: Vec<u8>,
}

impl Partner {
    /// What it does: the opposite of this process.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Its process id as seen from this process, by the system's word; 0 if it
    /// lives where this process cannot see (another container, for instance).
    pub fn process_id(&self) -> u32 {
        self.peer.process_id
    }

    /// Its user, by the system's word: name and number.
    pub fn user(&self) -> String {
        self.peer.user.to_string()
    }

    /// What it gave to [`Options::greeting`]: its word alone.
    pub fn greeting(&self) -> &[u8] {
        &self.greeting
    }
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
/// but not an environment (containers, for instance); the files made there are
/// empty or vanish, and their names begin with the path.
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
        let core = Arc::new(Core::new()?);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match sys::arrive(&place, deadline)? {
                Arrival::First(host) => {
                    let side = options.side.unwrap_or(Side::Reader);
                    let own = new_region(side, &geometry, &options.greeting)?;
                    let first = First {
                        host,
                        own,
                        geometry,
                    };
                    return Ok(Seat {
                        core,
                        side,
                        wait: options.wait,
                        stage: Some(Stage::First(Box::new(first))),
                    });
                }
                Arrival::Second(channel) => {
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
        Monitor {
            core: Arc::clone(&self.core),
        }
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

fn new_region(side: Side, geometry: &Geometry, greeting: &[u8]) -> Result<Arc<Region>, Error> {
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

fn store_text(words: &[AtomicU64], bytes: &[u8]) {
    for (word, chunk) in words.iter().zip(bytes.chunks(8)) {
        let mut value = [0; 8];
        value[..chunk.len()].copy_from_slice(chunk);
        word.store(u64::from_ne_bytes(value), Ordering::Relaxed);
    }
}

fn load_text(words: &[AtomicU64], len: u32) -> Vec<u8> {
    let mut bytes: Vec<u8> = words
        .iter()
        .flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes())
        .collect();
    bytes.truncate(len as usize);
    bytes
}

/// A peer's words, fit to be printed: no control characters, one line.
fn printable(text: &str) -> String {
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(clean).collect()
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
fn check_user(channel: &sys::Channel) -> Result<(), String> {
    let (own, theirs) = (sys::User::own(), &channel.peer().user);
    if own == *theirs {
        return Ok(());
    }
    Err(format!(
        "the two processes must be of one user: process {} is of {own}, process {} of {theirs}",
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

/// The second process's way in (protocol J2, J4, J6). `None` if the host went away
/// or took another.
fn join_host(
    channel: sys::Channel,
    core: &Core,
    geometry: &Geometry,
    options: &Options,
    name: &str,
) -> Result<Option<Pair>, Error> {
    if let Err(reason) = check_user(&channel) {
        return refuse(&channel, reason);
    }
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
    let own = new_region(own_side, geometry, &options.greeting)?;
    let bell = sys::Bell::new()?;
    if channel.offer(own.memory(), &bell).is_err() {
        return Ok(None);
    }
    let Message::Admitted = answer()? else {
        return Ok(None);
    };
    let partner = Pair::partner(&channel, &peer, own_side);
    let link = channel.into_link(bell, remote_bell, None);
    Ok(Some(Pair::new(
        own_side, *geometry, own, peer, partner, link,
    )))
}

impl First {
    /// The first process's side of joining (protocol J1, J3, J5).
    fn wait(self, core: &Core, side: Side, limit: Option<Duration>) -> Result<Pair, Error> {
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
            let partner = Pair::partner(&channel, &peer, side);
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
        if let Err(reason) = check_user(channel) {
            return refuse(channel, reason);
        }
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

/// What outlives the change from seat to pair, shared by all threads.
#[derive(Debug)]
pub(crate) struct Core {
    alarm: sys::Alarm,
    state: Mutex<CoreState>,
    paired: Condvar,
}

#[derive(Debug, Default)]
struct CoreState {
    pair: Option<Arc<Pair>>,
    aborted: Option<String>,
    /// Finished, or given up: nothing more will happen.
    over: bool,
}

impl Core {
    fn new() -> Result<Core, Error> {
        Ok(Core {
            alarm: sys::Alarm::new()?,
            state: Mutex::default(),
            paired: Condvar::new(),
        })
    }

    /// A panic while it was held leaves it valid: each use is a single step.
    fn state(&self) -> MutexGuard<'_, CoreState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_paired(&self, pair: &Arc<Pair>) {
        let mut state = self.state();
        if let Some(reason) = &state.aborted {
            pair.post_abort(reason);
        }
        state.pair = Some(Arc::clone(pair));
        self.paired.notify_all();
    }

    fn pair(&self) -> Option<Arc<Pair>> {
        self.state().pair.clone()
    }

    /// An error if the session was aborted in this process.
    fn check(&self) -> Result<(), Error> {
        match &self.state().aborted {
            Some(reason) => Err(Error::Aborted {
                reason: reason.clone(),
            }),
            None => Ok(()),
        }
    }

    /// The first reason counts.
    pub(crate) fn abort(&self, reason: &str) {
        let mut state = self.state();
        if state.aborted.is_some() || state.over {
            return;
        }
        state.aborted = Some(reason.to_owned());
        if let Some(pair) = &state.pair {
            pair.post_abort(reason);
        }
        self.alarm.ring();
        self.paired.notify_all();
    }

    fn set_over(&self) {
        self.state().over = true;
        self.alarm.ring();
        self.paired.notify_all();
    }

    /// The end is gone: monitors that live on do not keep the name taken.
    fn release(&self) {
        self.state().pair = None;
    }

    /// Lets the partner know if it broke the protocol.
    fn tell<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error @ Error::ProtocolViolation { .. }) = &result {
            self.abort(&error.to_string());
        }
        result
    }
}

/// The two regions and the link between their owners.
pub(crate) struct Pair {
    side: Side,
    geometry: Geometry,
    own: Arc<Region>,
    peer: Arc<Region>,
    partner: Partner,
    link: sys::Link,
    barrier: Barrier,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair")
            .field("side", &self.side)
            .field("partner", &self.partner)
            .finish_non_exhaustive()
    }
}

impl Pair {
    fn new(
        side: Side,
        geometry: Geometry,
        own: Arc<Region>,
        peer: Arc<Region>,
        partner: Partner,
        link: sys::Link,
    ) -> Pair {
        let features = |region: &Region| region.control().features.load(Ordering::Relaxed);
        let both = features(&own) & features(&peer);
        let barrier = match both & layout::FEATURE_REMOTE_BARRIER {
            0 => Barrier::Fence,
            _ => Barrier::Remote,
        };
        Pair {
            side,
            geometry,
            own,
            peer,
            partner,
            link,
            barrier,
        }
    }

    fn partner(channel: &sys::Channel, region: &Region, own_side: Side) -> Partner {
        let control = region.control();
        let len = control.greeting_len.load(Ordering::Relaxed);
        Partner {
            side: own_side.other(),
            peer: channel.peer().clone(),
            greeting: load_text(&control.greeting, len),
        }
    }

    /// Publishes why this end gives up, and wakes the partner. The Writer's
    /// verdict, once given, stands.
    fn post_abort(&self, reason: &str) {
        let control = self.own.control();
        let bytes = &reason.as_bytes()[..reason.floor_char_boundary(REASON_MAX)];
        store_text(&control.reason, bytes);
        let status = &control.status.0;
        status
            .reason_len
            .store(bytes.len() as u32, Ordering::Relaxed);
        // Release: whoever sees the state sees the reason.
        let _ = status
            .state
            .fetch_update(Ordering::Release, Ordering::Relaxed, |state| {
                let verdict = self.side == Side::Writer && state == layout::ENDED;
                (!verdict).then_some(layout::ABORTED)
            });
        self.link.hang_up();
    }

    /// Whether the partner has ended (in its own sense); an error if it gave up.
    fn partner_ended(&self) -> Result<bool, Error> {
        let status = &self.peer.control().status.0;
        // Pairs with the Release in `End::end` and `post_abort`.
        match status.state.load(Ordering::Acquire) {
            layout::RUNNING => Ok(false),
            layout::ENDED => Ok(true),
            layout::ABORTED => {
                let len = status.reason_len.load(Ordering::Relaxed);
                let reason = load_text(&self.peer.control().reason, len);
                Err(Error::PartnerAborted {
                    partner: self.partner.clone(),
                    reason: printable(&String::from_utf8_lossy(&reason)),
                    delivered: self.delivered(),
                })
            }
            found => Err(self.violation(Violation::State { found })),
        }
    }

    fn delivered(&self) -> Delivered {
        let writer = match self.side {
            Side::Reader => &self.peer,
            Side::Writer => &self.own,
        };
        let published = &writer.control().published.0;
        Delivered {
            blocks: published.blocks.load(Ordering::Acquire),
            bytes: published.bytes.load(Ordering::Relaxed),
        }
    }

    fn died(&self) -> Error {
        Error::PartnerDied {
            partner: self.partner.clone(),
            delivered: self.delivered(),
        }
    }

    fn violation(&self, violation: Violation) -> Error {
        Error::ProtocolViolation {
            partner: self.partner.clone(),
            violation,
            delivered: self.delivered(),
        }
    }

    /// What the partner's being gone means: it said why, it died, or the session
    /// is over, which the Writer's verdict makes it.
    fn gone(&self) -> Result<(), Error> {
        let over = match self.side {
            Side::Reader => self.partner_ended()?,
            Side::Writer => {
                self.partner_ended()?;
                let own = &self.own.control().status.0.state;
                own.load(Ordering::Relaxed) == layout::ENDED
            }
        };
        if over { Ok(()) } else { Err(self.died()) }
    }
}

/// How long a call may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// Not at all.
    None,
    /// Until then.
    Until(Instant),
    /// For ever.
    Endless,
}

/// One side's half of the traffic: what it publishes, what it observes, and the
/// blocks. `OUT` and `IN` are the words of an entry in its own and in the
/// partner's queue.
pub(crate) struct End<const OUT: usize, const IN: usize> {
    core: Arc<Core>,
    pair: Arc<Pair>,
    own: View,
    peer: View,
    outgoing: Outgoing<OUT>,
    incoming: Incoming<IN>,
    sleeps: Sleeps,
    barrier: Barrier,
    spins: u32,
    pool: Pool,
}

impl<const OUT: usize, const IN: usize> std::fmt::Debug for End<OUT, IN> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("End")
            .field("pair", &self.pair)
            .field("published", &self.outgoing.published())
            .field("taken", &self.incoming.taken())
            .finish_non_exhaustive()
    }
}

impl<const OUT: usize, const IN: usize> End<OUT, IN> {
    pub(crate) fn new(core: Arc<Core>, pair: Arc<Pair>) -> Self {
        let blocks = match pair.side {
            Side::Reader => &pair.own,
            Side::Writer => &pair.peer,
        };
        // On one processor, spinning only keeps the partner from running.
        let alone = std::thread::available_parallelism().is_ok_and(|n| n.get() == 1);
        End {
            own: View::new(&pair.own, &pair.geometry, OUT),
            peer: View::new(&pair.peer, &pair.geometry, IN),
            outgoing: Outgoing::new(),
            incoming: Incoming::new(pair.geometry.block_size() <= SMALL_BLOCK),
            sleeps: Sleeps::new(),
            barrier: pair.barrier,
            spins: if alone { 0 } else { SPINS },
            pool: Pool::new(blocks, &pair.geometry),
            core,
            pair,
        }
    }

    pub(crate) fn partner(&self) -> &Partner {
        &self.pair.partner
    }

    pub(crate) fn monitor(&self) -> Monitor {
        Monitor {
            core: Arc::clone(&self.core),
        }
    }

    pub(crate) fn block_count(&self) -> usize {
        self.pair.geometry.block_count()
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(crate) fn published(&self) -> u64 {
        self.outgoing.published()
    }

    pub(crate) fn taken(&self) -> u64 {
        self.incoming.taken()
    }

    /// Publishes `entry`, and wakes the partner if it sleeps.
    #[inline(always)]
    pub(crate) fn publish(&self, entry: [u64; OUT]) {
        self.outgoing
            .publish(self.own.control(), self.own.queue(), entry);
        if self
            .sleeps
            .partner_wants_ring(self.peer.control(), self.barrier)
        {
            self.ring();
        }
    }

    /// Out of line, like all that the fast path does not do: what remains is
    /// small enough to be inlined where it is used, and the tokens stay in
    /// registers.
    #[cold]
    #[inline(never)]
    fn ring(&self) {
        self.pair.link.ring();
    }

    /// The partner's next entry, if there is one; `out` blocks are with it at
    /// most.
    #[inline(always)]
    pub(crate) fn take(&self, out: impl FnOnce() -> u64) -> Result<Option<[u64; IN]>, Error> {
        self.incoming
            .take(self.peer.control(), self.peer.queue(), out)
            .map_err(|violation| self.violation(violation))
    }

    /// Counts the bytes of a block about to be given back.
    #[inline(always)]
    pub(crate) fn count(&self, len: usize) {
        // One writer, so no read-modify-write is needed.
        let bytes = &self.own.control().published.0.bytes;
        bytes.store(
            bytes.load(Ordering::Relaxed) + len as u64,
            Ordering::Relaxed,
        );
    }

    pub(crate) fn delivered(&self) -> Delivered {
        self.pair.delivered()
    }

    pub(crate) fn partner_ended(&self) -> Result<bool, Error> {
        self.core.tell(self.pair.partner_ended())
    }

    /// Tells the partner of its breach, and makes the error.
    #[cold]
    #[inline(never)]
    pub(crate) fn violation(&self, violation: Violation) -> Error {
        let error = self.pair.violation(violation);
        self.core.abort(&error.to_string());
        error
    }

    /// Looks until there is something, sleeping in between.
    #[cold]
    #[inline(never)]
    pub(crate) fn wait<T>(
        &self,
        patience: Patience,
        look: impl Fn() -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        let deadline = match patience {
            Patience::None => return self.look_once(look),
            Patience::Until(deadline) => Some(deadline),
            Patience::Endless => None,
        };
        // Set before the last look: what a dying partner published is found
        // before its death is reported.
        let gone = std::cell::Cell::new(false);
        self.sleeps.wait(
            self.own.control(),
            self.spins,
            || match look()? {
                None if gone.get() => Err(self.pair.died()),
                found => Ok(found),
            },
            || match self.barrier {
                Barrier::Remote => sys::barrier_remotely(),
                Barrier::Fence => {
                    ring::full_fence();
                    Ok(())
                }
            },
            || match self.pair.link.wait(&self.core.alarm, deadline)? {
                Wake::Bell => Ok(()),
                Wake::Gone => {
                    gone.set(true);
                    Ok(())
                }
                Wake::Message => Err(self.violation(Violation::Message)),
                Wake::Alarm => self.core.check(),
                Wake::Timeout => Err(Error::TimedOut),
            },
        )
    }

    fn look_once<T>(&self, look: impl Fn() -> Result<Option<T>, Error>) -> Result<T, Error> {
        if let Some(found) = look()? {
            return Ok(found);
        }
        self.core.check()?;
        match self
            .pair
            .link
            .watch(&self.core.alarm, Some(Instant::now()))?
        {
            Wake::Gone => look()?.ok_or_else(|| self.pair.died()),
            _ => Err(Error::TimedOut),
        }
    }

    /// This end's last word: no more data, or the verdict.
    pub(crate) fn end(&self) -> Result<(), Error> {
        // Release: whoever sees the state sees the last `published`.
        let state = &self.own.control().status.0.state;
        let swapped = state.compare_exchange(
            layout::RUNNING,
            layout::ENDED,
            Ordering::Release,
            Ordering::Relaxed,
        );
        if swapped.is_err() {
            return self.core.check();
        }
        if self
            .sleeps
            .partner_wants_ring(self.peer.control(), self.barrier)
        {
            self.ring();
        }
        Ok(())
    }

    /// Whether the partner is alive and has not given up.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.core.check()?;
        self.partner_ended()?;
        match self
            .pair
            .link
            .watch(&self.core.alarm, Some(Instant::now()))?
        {
            Wake::Gone => self.core.tell(self.pair.gone()),
            Wake::Message => Err(self.violation(Violation::Message)),
            _ => Ok(()),
        }
    }

    pub(crate) fn abort(&self, reason: &str) {
        self.core.abort(reason);
    }

    /// The session has ended well: dropping this end is no abort any more.
    pub(crate) fn set_over(&self) {
        self.core.set_over();
    }
}

impl<const OUT: usize, const IN: usize> Drop for End<OUT, IN> {
    fn drop(&mut self) {
        let how = if std::thread::panicking() {
            "panicked"
        } else {
            "stopped"
        };
        // Does nothing once the session is over or aborted.
        self.core
            .abort(&format!("it {how} before the end of the session"));
        self.core.release();
    }
}

/// A second handle on a session, for other threads: it sees the partner's fate,
/// shows and reads progress, and can give up.
///
/// A thread that is stuck outside the library (reading a silent source, say)
/// cannot notice that its partner died; one that sits in [`Monitor::watch`] can.
#[derive(Clone, Debug)]
pub struct Monitor {
    core: Arc<Core>,
}

impl Monitor {
    /// Ends the session from this side: the partner gets `reason` (cut to 1024
    /// bytes) as [`Error::PartnerAborted`], and each call of this process that
    /// waits, or would wait, fails with [`Error::Aborted`]. Calls that need not
    /// wait still succeed. Only the first reason counts; after the end of the
    /// session nothing happens.
    pub fn abort(&self, reason: &str) {
        self.core.abort(reason);
    }

    /// Waits until the session is over. May be called by several threads.
    ///
    /// # Errors
    ///
    /// [`Error::PartnerDied`], [`Error::PartnerAborted`], [`Error::Aborted`]: how
    /// it ended, if it did not end well.
    pub fn watch(&self) -> Result<(), Error> {
        let Some(pair) = self.wait_for_pair()? else {
            return Ok(());
        };
        match pair.link.watch(&self.core.alarm, None)? {
            Wake::Alarm => self.core.check(),
            Wake::Message => self.core.tell(Err(pair.violation(Violation::Message))),
            _ => self.core.tell(pair.gone()),
        }
    }

    /// `None` if the session was over before.
    fn wait_for_pair(&self) -> Result<Option<Arc<Pair>>, Error> {
        let mut state = self.core.state();
        loop {
            if let Some(reason) = state.aborted.clone() {
                return Err(Error::Aborted { reason });
            }
            if state.over {
                return Ok(None);
            }
            if let Some(pair) = &state.pair {
                return Ok(Some(Arc::clone(pair)));
            }
            let woken = self.core.paired.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The partner, once it is here.
    pub fn partner(&self) -> Option<Partner> {
        self.core.pair().map(|pair| pair.partner.clone())
    }

    /// What has passed through the session so far.
    pub fn delivered(&self) -> Delivered {
        self.core
            .pair()
            .map_or(Delivered::default(), |pair| pair.delivered())
    }

    /// Shows the partner one of [`FIGURES`] numbers of progress, whose meaning is
    /// the application's. Without a partner, nothing happens.
    ///
    /// # Panics
    ///
    /// If `index` is not below [`FIGURES`].
    pub fn set_figure(&self, index: usize, value: u64) {
        assert!(index < FIGURES);
        if let Some(pair) = self.core.pair() {
            pair.own.control().figures.0[index].store(value, Ordering::Relaxed);
        }
    }

    /// This process's own numbers, each as last set; zeros before.
    pub fn figures(&self) -> [u64; FIGURES] {
        self.load_figures(|pair| &pair.own)
    }

    /// The partner's numbers, each as last set there; zeros before.
    pub fn partner_figures(&self) -> [u64; FIGURES] {
        self.load_figures(|pair| &pair.peer)
    }

    fn load_figures(&self, region: impl Fn(&Pair) -> &Arc<Region>) -> [u64; FIGURES] {
        self.core.pair().map_or([0; FIGURES], |pair| {
            let figures = &region(&pair).control().figures.0;
            std::array::from_fn(|index| figures[index].load(Ordering::Relaxed))
        })
    }
}
