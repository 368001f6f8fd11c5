//! [brigade] for Tokio: bulk data between exactly two processes, through shared memory.
//!
//! [`join()`] makes two processes a pair, by a name alone; the first becomes the
//! [`AsyncReader`], which fills and sends blocks, the second the [`AsyncWriter`], which drains
//! them. What a session is, who owns a block when, and what its end and a death mean, the
//! [library](brigade) says; here its waits are futures. One of the two processes may as well use the
//! library itself, or C.
//!
//! # Blocks
//!
//! Blocks are the library's own that are detached ([`OwnedEmptyBlock`], [`OwnedDataBlock`]): they
//! may be held over an `await` and given to other tasks and threads. Dropped, or sent by another task
//! ([`OwnedEmptyBlock::send`]), they pass through their end, which is woken for it while a task
//! waits there, and otherwise passes them on in its next call. [`AsyncReader::send_block`] sends
//! at once, and never waits.
//!
//! No byte is copied but by [`Sink`]s of buffers and by [streams of bytes](AsyncReader::stream).
//!
//! # Waiting
//!
//! An end that has nothing at hand looks for 20 µs at most (and not at all if another one of the same thread
//! has just done so and found nothing), then announces that it sleeps and waits for its one [handle](brigade::Reader::handle): in the runtime's reactor on Linux, by
//! a registered wait of the system's on Windows. No thread but one of the runtime's pool for
//! joining, no timer, and no queue: what waits in between are the blocks, of which there
//! are as many as [`Options::block_count`](brigade::Options::block_count) says. Two ends in one task, or a thousand, wait as any other
//! futures do.
//!
//! An end that never has to wait lets other tasks run from time to time, by Tokio's
//! [budget](tokio::task::coop).
//!
//! # Cancelling
//!
//! All futures here are cancel-safe: dropped before it is ready, one has taken no block and no letter,
//! and posted none; so they may be used in `select!` again and again. Dropped, [`join()`] gives its place up, and
//! [`wait`] that of its seat.
//!
//! # The end, failure and death
//!
//! As in the library: [`AsyncReader::close`] and [`AsyncReader::verdict`] (or both:
//! [`finish`](AsyncReader::finish)), [`AsyncWriter::finish`]. An end that is dropped before has given
//! up, and its partner is told so; also when it is dropped with its task, by the shutdown of the runtime,
//! for instance. A partner's death is an error from the call that waits, after all that was sent
//! before; [`AsyncReader::watch`] and [`AsyncWriter::watch`] wait for nothing else.
//! [`AsyncReader::into_inner`] and [`AsyncWriter::into_inner`] lead to what can go on with another
//! partner.
//!
//! # Runtimes
//!
//! An end belongs to the runtime in which it was made, like a socket of Tokio's; on Unix, that needs
//! I/O enabled. For other runtimes, [`brigade::Readiness`] and the `poll_…` methods beside it are what
//! this crate is made of.

mod join;
mod reader;
mod signal;
mod sink;
mod stream;
mod writer;

pub use brigade::{self, Error, Interest, Label, Letter, Options, OwnedDataBlock, OwnedEmptyBlock};
#[doc(no_inline)]
pub use futures_core::Stream;
#[doc(no_inline)]
pub use futures_sink::Sink;

pub use crate::join::{
    BothWays, Role, accept, accept_both_ways, join, join_both_ways, wait, wait_both_ways,
};
pub use crate::reader::AsyncReader;
pub use crate::sink::Filled;
pub use crate::stream::{ReceiveStream, SendStream};
pub use crate::writer::AsyncWriter;

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
