//! Bulk data between exactly two processes, through shared memory.
//!
//! Two processes find each other by a name alone. The first to come becomes the
//! [`Reader`], the second the [`Writer`]; a third is refused. They share a fixed
//! pool of blocks: the Reader fills empty blocks and sends them, the Writer drains
//! them and gives them back, like a bucket brigade. No byte is copied on the way
//! from one process to the other, and no system call is made as long as both keep
//! up.
//!
//! [`join()`] is the whole way in, with an example; [`Options`] says how. A process and
//! one that it starts need no name: [`invite`] and [`accept`].
//!
//! # Who owns a block when
//!
//! At the start the Reader owns all blocks. [`Reader::empty_block`] gives one out
//! as an [`EmptyBlock`], bytes to be filled; [`EmptyBlock::send`] passes it on;
//! [`Writer::data_block`] gives it out as a [`DataBlock`], bytes to be read, in the
//! order of sending; dropped, it goes back. Either end may hold several blocks at
//! once and pass them on in any order. An `EmptyBlock` that is dropped unsent is
//! empty again.
//!
//! A block can be detached from its end ([`EmptyBlock::detach`], [`DataBlock::detach`]). Then
//! any thread may fill and send it, or drain and drop it, and it outlives the end. It comes
//! home through its end, which passes it on in its next call; an end that waits is woken for
//! it. A detached block costs some 50 ns more at each end.
//!
//! Small blocks cost less in a batch ([`Reader::batch`], [`Writer::batch`]), in which the partner
//! is told of several at a time. The blocks are as any others.
//!
//! What travels with a block beside its bytes is its [`Label`]. A message of any length goes
//! in several blocks ([`Reader::send_message`], [`Writer::message`]); a stream of bytes takes no
//! notice of blocks at all ([`Reader::stream`], [`Writer::stream`], and `into_stream`); and who
//! wants only the latest state takes the [newest block](Writer::newest_block).
//!
//! # What blocks
//!
//! Joining waits for the partner; `empty_block` waits for an empty block,
//! `data_block` for data, [`Reader::verdict`] for the verdict, `letter` for a letter, and `post`
//! for room for one. Each has variants that wait until a deadline (`_until`) or not at all
//! (`try_`). Sending, giving back, [`Reader::close`] and the Writer's
//! [`finish`](Writer::finish) never block. A wait spins for some microseconds and
//! then sleeps without using the processor.
//!
//! Who sleeps by other means, in `poll` or a runtime's reactor, arms an end and waits for
//! its one handle: [`Reader::arm`], [`Writer::arm`]. [`wait_any`] waits for many ends at once.
//! Tasks of asynchronous runtimes poll: [`Readiness`] is what a runtime gives for that, and the
//! crate `brigade-tokio` is all of it for Tokio.
//!
//! # Letters
//!
//! Beside the blocks, each end can post small messages of the application to the other:
//! [`Reader::post`], [`Writer::letter`], and the other way round. They arrive in the order of
//! posting, but may overtake blocks.
//!
//! # The end
//!
//! [`Reader::close`] says that no more data will come. The Writer then drains what
//! is left, gets `None`, does what may still fail, and gives its verdict with
//! [`Writer::finish`], which lets the Reader's [`verdict`](Reader::verdict) return. So both
//! know whether the whole transfer succeeded, and a Reader of little data is still there
//! when the second process comes late. [`Reader::finish`] is both steps in one: two
//! processes with a session each way close both before they wait for either verdict.
//!
//! # Failure and death
//!
//! Either end may give up with a reason ([`Reader::abort`], [`Writer::abort`],
//! [`Monitor::abort`], or by being dropped): the partner gets the reason as
//! [`Error::PartnerAborted`]. If the partner's process dies, by whatever means, the
//! call that waits returns [`Error::PartnerDied`] within milliseconds, after all
//! blocks that were sent before have been received; nothing has to be cleaned up.
//! What a Reader had sent and not got back, it can then have again
//! ([`Reader::into_unreturned`]), and go on with another Writer, to which that comes first
//! ([`Unreturned::rejoin`]); a Writer that has taken all that its Reader had sent can go on with
//! another one likewise ([`Writer::into_survivor`], [`Survivor::rejoin`]). A thread that is stuck
//! elsewhere (reading a silent source) notices neither: let another thread sit in
//! [`Monitor::watch`].
//!
//! With [`Options::takeover`], the end that is left keeps its place meanwhile: whoever joins
//! comes second and gets the lost one's side, and nobody comes between. [`Reader::epoch`] and
//! [`Writer::epoch`] tell a newcomer that it has taken somebody's place; [`Writer::dismiss`] and
//! [`Reader::dismiss`] send one away that is not fit.
//!
//! # Trust
//!
//! Both processes must be of one user, or of two that allow each other
//! ([`Options::allow_user`]), by the system's word. Each can write only its
//! own region of memory, the other's it maps read-only; every value read from there
//! is checked, and what cannot be is an [`Error::ProtocolViolation`]. A broken
//! partner can stop the transfer and send wrong data, but can do no other harm.
//!
//! One thing the system cannot enforce: that a Reader leaves a block alone after it has
//! sent it. What another user could still change is therefore never shown as a `&[u8]`: a
//! [`DataBlock`] from such a Reader gives a private copy. A Reader of this process's own user is
//! trusted to keep the rule; if its program breaks it on purpose, a slice changes while it is
//! looked at, and Rust defines nothing any more. (Such a program could as well attach a debugger.)
//!
//! # Threads
//!
//! [`Reader`] and [`Writer`] are `Send` and not `Sync`: each belongs to one thread at a time.
//! So do the borrowed blocks, [`EmptyBlock`] and [`DataBlock`], and the streams. Blocks that are
//! detached, [`Monitor`], [`Options`], [`Partner`], [`Letter`] and [`Error`] are `Send` and `Sync`.
//! A child made by `fork` inherits copies that do nothing: calls fail, and what it
//! drops changes nothing; the session stays its parent's.
//!
//! # Facts and figures
//!
//! | What | How much |
//! |---|---|
//! | memory of a session | the pool, each block rounded up to 64 bytes, or to 4096 if it has 4096 or more; and 40 KiB with 24 bytes for each block, whose number is rounded up to a power of two. The Reader's process allocates the pool, and both map it |
//! | alignment of a block | 64 bytes; 4096 if the block has 4096 bytes or more, as direct I/O wants |
//! | bytes of an `EmptyBlock` | what was in the block the last time, not zeros; after sending, only the first `len` bytes are shown to the Writer, which could look at the rest (it maps all of the pool): clear what must stay secret |
//! | descriptors (Linux) | four for each end: the own region (for [`sessions`]), the partner's doorbell, the own one, and the socket that tells of its leaving; one more for the host's lock file, for the second's if it [keeps its place](Options::takeover), for a partner of another user, and for the handle once somebody [asked for it](Reader::handle); and one for the partner's process, shared by all sessions with it |
//! | `wait_any` | 0.2 µs for each end, of a thousand; nothing for ends that are ready at once but some loads |
//! | `try_` that finds something | no system call; from 12 ns, and what a cache line takes from one processor to the other |
//! | `try_` that finds nothing | one system call, to see whether the partner is alive: some 2 µs |
//! | `check` | one system call: some 1 µs |
//! | a letter, posted and taken | no system call; 0.14 µs |
//! | longest name | on Linux, the socket's path has 107 bytes at most: directory, name and `.sock` |
//!
//! # Systems
//!
//! Linux 5.4 or later: a plain name lives in `$XDG_RUNTIME_DIR/brigade`, or else in
//! `/tmp/brigade-UID`, as an empty lock file (two if the second [keeps its
//! place](Options::takeover)), which vanishes with the session, and a
//! socket, which vanishes when the pair is complete. After a kill they stay, until the
//! next process of that name.
//!
//! Windows 10 or later: a name lives in the login session's namespace of objects
//! (`Local\`), as a semaphore and what belongs to it, all of which vanish with the
//! processes. Processes of one user in two login sessions (a service and a desktop,
//! say) do not meet.

#[cfg(not(target_pointer_width = "64"))]
compile_error!(
    "brigade needs a 64-bit target: the sizes and counters in shared memory have 64 bits, and \
     each is stored and loaded in one piece"
);

mod batch;
mod block;
mod error;
mod inspect;
mod join;
mod lag;
mod letters;
mod messages;
mod monitor;
mod options;
mod pair;
mod poll;
mod reader;
mod refusal;
mod region;
mod returns;
mod ring;
mod steps;
mod stream;
mod survivor;
mod sys;
mod unreturned;
mod wait;
mod writer;

pub use crate::batch::{ReceiveBatch, SendBatch};
pub use crate::block::{DataBlock, EmptyBlock, Label, Newest, OwnedDataBlock, OwnedEmptyBlock};
pub use crate::error::{Delivered, Error, Violation};
pub use crate::inspect::{Member, Session, sessions};
pub use crate::join::{
    BothWays, Invitation, Role, Seat, accept, accept_both_ways, invite, invite_both_ways, join,
    join_both_ways, prepare,
};
pub use crate::letters::Letter;
pub use crate::monitor::Monitor;
pub use crate::options::{Options, Partner, Side};
pub use crate::poll::Readiness;
pub use crate::reader::Reader;
pub use crate::refusal::Refusal;
pub use crate::region::layout::{
    BLOCK_COUNT_MAX, BLOCK_SIZE_MAX, FIGURES, GREETING_MAX, LETTER_MAX, LETTERS,
};
#[doc(hidden)]
pub use crate::steps::at_step;
pub use crate::stream::{ReceiveStream, SendStream};
pub use crate::survivor::Survivor;
pub use crate::sys::Handle;
pub use crate::unreturned::Unreturned;
pub use crate::wait::{Interest, Waitable, wait_any};
pub use crate::writer::Writer;

/// Bytes of memory that this process may still take, by the machine and its control groups, if
/// that is known.
#[doc(hidden)]
pub fn available_memory() -> Option<u64> {
    sys::available_memory()
}

/// The example in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
