//! The two regions of shared memory: what lies where, and the only places where its
//! bytes become Rust references.

pub(crate) mod access;
mod blocks;
mod copies;
mod detached;
pub(crate) mod layout;
mod mapped;
mod pool;
pub(crate) mod prefetch;

pub(crate) use blocks::Block;
pub(crate) use detached::Detached;
#[cfg(test)]
pub(crate) use mapped::as_theirs;
pub(crate) use mapped::{Region, View};
pub(crate) use pool::Pool;
