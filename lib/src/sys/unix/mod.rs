//! What POSIX systems have in common: see the contract in `sys/mod.rs`. What is one
//! system's own is in its folder, which this one knows as `kernel`.
//!
//! | Contract | Here |
//! |---|---|
//! | the name's first seat | `flock` on `NAME.lock`: given back by the kernel at death |
//! | a second's claim to it | likewise, on `NAME.claim` |
//! | reaching the holder | a `SOCK_SEQPACKET` socket `NAME.sock`, bound only under that lock |
//! | the peer's identity | what the kernel recorded for the socket; of an invited process, what it says of each message |
//! | death | a descriptor of the partner's process, and the socket's hang-up |
//!
//! Nothing is left when a session is over. After a kill there may be: `NAME.lock` and
//! `NAME.claim`, empty files, and `NAME.sock`, if the holder was killed while it waited. The
//! next host of that name removes them.

pub(super) mod channel;
pub(super) mod discard;
pub(super) mod invitation;
pub(super) mod link;
pub(super) mod lock;
pub(super) mod names;
pub(super) mod rendezvous;
pub(super) mod users;

#[cfg(all(test, not(loom)))]
mod tests;
