//! The operating system, behind one contract.
//!
//! A back end offers the items below under these names and signatures, and the
//! rest of the crate uses nothing else of the system. It **translates**: it turns
//! each item into system calls. It **decides** nothing: who may join, what a
//! value in shared memory means and what a death leads to is `join`'s and `pair`'s affair.
//! A further back end can be written from this page and `docs/protocol.md` alone.
//!
//! In all items:
//!
//! - MUST name, in an error, the operation and the object it was tried on, and
//!   read the system's reason before any clean-up can change it.
//! - MUST keep every object in an owning type made on the line after the call,
//!   so that no way out leaks, and MUST NOT let a child process inherit one.
//! - MUST leave nothing behind when the process is killed, but for the objects
//!   that the back end's own text names as harmless.
//! - `deadline: None` means for ever. A deadline in the past still polls once.
//! - No wait may use processor time while nothing happens, but for a look each second.
//! - MUST NOT panic where the system has a limit (threads, descriptors, memory): an
//!   error names it.
//!
//! | Item | Contract |
//! |---|---|
//! | `Memory::create(size)` | a new region, zeroed, *allocated* (a later access can not fail for want of memory), mapped writable; the system MUST keep the partner from writing it and anyone from resizing it |
//! | `Memory::{start, len, is_writable}` | the mapping: page-aligned, of fixed length, valid as long as the value lives |
//! | `Memory::{size, whole}` | of a region that a [`Message`] brought, which MUST be allocated by its maker, but of which no more than the first page need be mapped: its size, which is fixed; all of it, mapped for reading |
//! | `available_memory()` | bytes that could be allocated now, if known |
//! | `Name::parse(text)` | a checked name; names that the system folds together MUST be equal; error if it cannot be one |
//! | `Arriving::new(name, guests, has_claims, claim)` | a process of this user on its way to a name, which `guests` may meet there; if it becomes the host, whether it shows that it outlives its second; its own `claim` to the seat, if it has one |
//! | `Arriving::attempt(deadline, last)` | tries once to take the name's seat, and once to reach whoever holds it: [`Arrival`], or `None` if neither could be done now; MAY wait for the holder until `deadline`. MUST NOT keep the seat if another process has a claim to it, and looks for that after it got the seat |
//! | `Claim::take(name, guests)` | the claim of a second to the name's seat, until dropped or death; `None` if another process has it |
//! | `Seat::is_of(name)`, `Claim::is_of(name)` | whether it is this name's |
//! | `Host::again(name, seat, guests, has_claims)` | reachable again, with a seat that was kept; `None` if that is none any more: to arrive anew |
//! | `Host::seat()` | its seat, to be kept when the host ends |
//! | `Host::next(alarm, deadline)` | the next process that wants to join; MUST keep this host reachable, and its seat the name's, or say why it is not, whatever others do to the objects that stand for the name |
//! | `Host::close()` | nobody else can reach this host any more; gives the seat that keeps the name taken until dropped, or until death |
//! | `Channel::peer()` | user and process at the other end, by the system's word, never by the peer's; an invited process is known from its offer on, and is the spawned child of this user until then: who joins MUST look again after each offer |
//! | `Channel::offer(lanes)` | shows one region for each lane of the session, one or two, with all that the link of each lane needs, which it makes; false if the peer has left; MUST NOT block |
//! | `Channel::{refuse, admit}` | the other two messages of joining (protocol, J7 to J14); `admit` is false if the peer has left; MUST NOT block |
//! | `Channel::receive(alarm, deadline)` | the next [`Message`]; an offer has one region or two; what the peer sends MUST NOT be able to block this process, now or when it lets go of it |
//! | `Channel::into_links()` | what is left of a channel when both have joined: one link for each lane that both have shown, in order, each with doorbells of its own; they share the partner's process handle |
//! | `Link::wait(deadline)` | sleeps until one of the following holds or the deadline passed; does NOT consume. `HungUp` if this process has hung up, else `Gone` if the partner hung up or died, each again on every later call; else `Rung`; may wake early. One thread at a time, which is also the one that consumes |
//! | `Link::consume()` | takes the rings that are there. Called before an end announces that it sleeps, and only if there may be one: so it is not on the way of a wake |
//! | `Link::watch(deadline)` | `wait` without rings; any thread, any number, beside a `wait`; a look if the deadline is in the past |
//! | `Link::ring()` | wakes the partner's `wait`, now or when it next waits; MUST NOT block, whatever the partner does |
//! | `Link::nudge()` | rings this process's own doorbell; any thread |
//! | `Link::is_partner_dead(deadline)` | whether the system says that the partner's process has ended, by `deadline`; false, and at once, where it cannot tell |
//! | `Link::hang_up()` | makes every wait of the partner return `Gone`, and every own one `HungUp`, now and later; what was stored in shared memory before MUST be visible to the partner then; idempotent; to drop the `Link` is to hang up |
//! | `Link::handle()` | for the application's own loop: ready (readable, signalled) as long as `wait` would not sleep; the same in each call, and what it takes of the system, only the first call takes; error if it cannot be had |
//! | `wait_for_links(links, deadline)` | of each what its `wait` would say now, as soon as one would not sleep; `Timeout` for one that would, and for all once the deadline passed; any number of links, any of them twice, no polling; error if the system has a limit |
//! | `Alarm::{new, ring}` | wakes all that were given this alarm (`Host::next`, `Channel::receive`), now and later, in this process; only while joining |
//! | `Origin::{here, is_here}` | the process in which something is made; whether it is this one, or this one was forked off it: costs a load; a back end whose system has no fork always says yes |
//! | `Invitation::new()` | the two ends of a channel, in this process |
//! | `Invitation::spawn(command)` | starts `command` with one end, of which [`INVITATION`] tells it; the child and the channel to it, for which this process is the host; `command` is as it was before, and no other child inherits anything |
//! | `accept()` | the channel that this process was invited to, as its second; none if the inviting process is gone; `InvalidUse` if there is no invitation or it was taken |
//! | `can_barrier_remotely()` | whether `barrier_remotely` works from, and reaches, this process; called before the partner learns that it does |
//! | `barrier_remotely()` | when it returns, every running thread of every process for which `can_barrier_remotely` said yes has executed a full barrier since the call; and so has the caller |
//! | `observe(seen)` | for who looks from outside: calls `seen` with the process's id and a copy of the first page of each region that a process of this user owns; what has ended or may not be seen is left out, and any other error is one; for each region it takes as long, however many there are |
//! | `User::{own, parse, as_number, is_certain}`, `User: Eq + Display` | an identity, shown by name and number; from either; `Unsupported` if users cannot meet here; false if it may stand for several users |
//!
//! When the partner dies, by whatever means: its stores up to then stay visible;
//! this end's mapping of its region stays valid; `wait` and `watch` return `Gone`
//! within milliseconds, even if a child of the partner lives on.
//!
//! In a forked child, to drop any of these values MUST change nothing that its parent or
//! the partner could notice: it closes the child's copies, and no more.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as kernel;

#[cfg(unix)]
mod unix;
#[cfg(all(unix, debug_assertions, not(loom)))]
pub(crate) use kernel::process::die;
#[cfg(unix)]
pub(crate) use kernel::{
    available::available_memory,
    inspect::observe,
    memory::Memory,
    origin::Origin,
    wake::{Alarm, barrier_remotely, can_barrier_remotely},
};
#[cfg(unix)]
pub(crate) use unix::{
    channel::Channel,
    link::Link,
    lock::{Claim, Seat},
    names::Name,
    rendezvous::{Arriving, Host},
    users::User,
};
#[cfg(unix)]
pub(crate) use unix::{
    invitation::{Invitation, accept},
    link::wait_for_links,
};

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(crate) use windows::{
    Alarm, Arriving, Channel, Claim, Host, Invitation, Link, Memory, Name, Origin, Seat, User,
    accept, available_memory, barrier_remotely, can_barrier_remotely, observe, wait_for_links,
};

#[cfg(all(windows, debug_assertions, not(loom)))]
pub(crate) use windows::die;

/// What an application's own loop waits for.
#[cfg(unix)]
pub type Handle<'a> = std::os::fd::BorrowedFd<'a>;
/// What an application's own loop waits for.
#[cfg(windows)]
pub type Handle<'a> = std::os::windows::io::BorrowedHandle<'a>;

/// The environment variable that tells a child of its invitation.
pub(crate) const INVITATION: &str = "BRIGADE_INVITATION";

#[cfg(not(any(target_os = "linux", windows)))]
compile_error!("brigade has back ends for Linux and Windows; see lib/src/sys/mod.rs");

/// What `Arriving::attempt` found.
pub(crate) enum Arrival {
    /// The name was free; it is this process's now.
    Host(Box<Host>),
    /// Its holder is reachable: a channel to it.
    Second(Channel),
    /// There are not two, and the other one is yet to open: worth some more patience.
    Later,
}

/// What came over a channel.
pub(crate) enum Message {
    /// The peer shows its regions, one for each lane: one or two.
    Offer(Vec<Memory>),
    /// The peer will not pair with this process; the reason's number and its words,
    /// untrusted.
    Refused(u16, String),
    /// The host took this process as its partner.
    Admitted,
    /// The peer closed the channel or died.
    HungUp,
    /// Nothing that the protocol knows; what is wrong with it.
    Malformed(&'static str),
}

/// Why a wait returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// The doorbell was rung.
    Rung,
    /// The partner hung up or died.
    Gone,
    /// This process hung up.
    HungUp,
    /// The partner sent a message, which it has no reason to.
    #[cfg_attr(
        windows,
        expect(dead_code, reason = "nothing can be sent there any more")
    )]
    Message,
    /// The deadline has passed.
    Timeout,
}

/// Who is at the other end of a channel.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) user: User,
    /// As seen from this process; 0 if it cannot be seen from here.
    pub(crate) process_id: u32,
}

impl Peer {
    /// Whether its user is surely this process's own.
    pub(crate) fn is_own_user(&self) -> bool {
        self.user == User::own() && self.user.is_certain()
    }
}
