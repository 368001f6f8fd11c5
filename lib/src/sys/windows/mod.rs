//! The back end for Windows 10 and later: see the contract in `sys/mod.rs`.
//!
//! | Contract | Here |
//! |---|---|
//! | `Memory` | named section on the paging file, which others may open for reading only |
//! | the name's first seat | named semaphore, 0 of 1: whoever creates it is the first |
//! | reaching the holder | taking that semaphore's count, which the holder releases when it is ready |
//! | messages | letters in sections, one for each direction |
//! | the peer's identity | the owner of what it created; its process by number and time of creation |
//! | doorbell, alarm | events, which stay set until they are consumed, or for good |
//! | death | process handle; an event for hanging up |
//! | `Link::handle()` | the doorbell, which all that ends a session sets, too |
//! | an invitation | section with a name that nobody can guess, whose handle the child inherits |
//! | remote barrier | none |
//!
//! Nothing is left after a kill: the system removes each object with its last
//! handle. The count of the semaphore, which a killed process does not give back, is
//! the holder's to release again (`Host::next`).

mod card;
mod channel;
mod inspect;
mod invitation;
mod link;
mod memory;
mod names;
mod objects;
mod process;
mod registered;
mod rendezvous;
mod users;
mod wake;

pub(crate) use channel::Channel;
pub(crate) use inspect::observe;
pub(crate) use invitation::{Invitation, accept};
pub(crate) use link::{Link, wait_for_links};
pub(crate) use memory::{Memory, available_memory};
pub(crate) use names::Name;
#[cfg(all(debug_assertions, not(loom)))]
pub(crate) use process::die;
pub(crate) use rendezvous::{Arriving, Claim, Host, Seat};
pub(crate) use users::User;
pub(crate) use wake::{Alarm, Origin, barrier_remotely, can_barrier_remotely};

#[cfg(all(test, not(loom)))]
mod tests;
