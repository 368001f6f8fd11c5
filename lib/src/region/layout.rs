//! What lies where in shared memory: the bytes that `docs/protocol.md`
//! specifies, and nothing that runs.
//!
//! Each process owns one region, which it alone can write. A region opens with
//! one [`Control`] page of the same shape on both sides; the letters and a queue follow; in
//! the Reader's region the blocks come last.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64};

use std::sync::atomic::Ordering;

#[cfg(not(loom))]
use super::access::Theirs;
use super::access::{Access, Own, ReadOnlyU64};
use crate::error::Error;

/// First eight bytes of each region.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"brigade\0");

/// Version of the protocol. Any change to the bytes, to their meaning or to the
/// order of the steps is a new version.
pub(crate) const VERSION: u32 = 2;

/// Catches what a version number cannot: another byte order, or a build whose
/// structures came out differently. Bytes 0x01 to 0x04 in the processor's own
/// order, then the sizes of a control page and of a queue word.
pub(crate) const STAMP: u64 = 0x0102_0304_0000_0000 | (CONTROL_SIZE as u64) << 8 | 8;

/// Size of a [`Control`], and the alignment of the blocks.
pub(crate) const CONTROL_SIZE: usize = 4096;

/// How much of a [`Control`] who looks from outside needs: all before the reason.
pub(crate) const SHOWN: usize = std::mem::offset_of!(Control<Own>, reason);

/// Longest greeting, in bytes: it lives in the control page.
pub const GREETING_MAX: usize = 1024;

/// Longest reason of an abort that reaches the partner, in bytes.
pub(crate) const REASON_MAX: usize = 1024;

/// How many numbers of progress each end can show the other.
pub const FIGURES: usize = 4;

/// Longest letter, in bytes: with its head, it fills a slot of 1024.
pub const LETTER_MAX: usize = LETTER_SIZE - 8;

/// How many letters may lie unread with either end.
pub const LETTERS: usize = 16;

/// Size of a letter's slot.
const LETTER_SIZE: usize = 1024;

/// The same in words.
pub(crate) const LETTER_WORDS: usize = LETTER_SIZE / 8;

/// Where the queue begins: behind the control page and the letters.
pub(crate) const QUEUE_OFFSET: usize = CONTROL_SIZE + LETTERS * LETTER_SIZE;

/// Most blocks in a pool: their numbers travel in 16 bits.
pub const BLOCK_COUNT_MAX: usize = 1 << 16;

/// Largest block, in bytes: lengths travel in 32 bits, and 1 GiB is already far
/// beyond where larger blocks gain anything.
pub const BLOCK_SIZE_MAX: usize = 1 << 30;

/// `Control::state`: data is still moving.
pub(crate) const RUNNING: u32 = 0;
/// `Control::state`: from the Reader, no more blocks will come; from the
/// Writer, the verdict: everything was drained and is good.
pub(crate) const ENDED: u32 = 1;
/// `Control::state`: this end gave up; the reason says why.
pub(crate) const ABORTED: u32 = 2;

/// `Control::role`
pub(crate) const ROLE_READER: u32 = 1;
/// `Control::role`
pub(crate) const ROLE_WRITER: u32 = 2;

/// `Control::features`: this process is registered for, and can issue, a memory
/// barrier on every registered process. Only if both ends say so may publishing
/// go without a fence.
pub(crate) const FEATURE_REMOTE_BARRIER: u32 = 1;

/// A value alone on its 128 bytes: processors fetch cache lines in pairs, and
/// what one side writes must not slow down the other side's own values.
#[repr(C, align(128))]
pub(crate) struct Line<T>(pub(crate) T);

/// The first page of a region. Each field has one writer, the region's owner;
/// the partner maps it read-only and trusts none of it.
///
/// `A` is who looks: only the owner can store. All fields are atomics, since the partner may read while the owner writes;
/// only `published`, `asleep` and `state` carry ordering, the others are
/// published by one of them or are fixed before the region is shared.
#[repr(C, align(4096))]
pub(crate) struct Control<A: Access> {
    // -- fixed before the region is shown to the partner ----------------------
    /// [`MAGIC`]
    pub(crate) magic: A::U64,
    /// [`VERSION`]
    pub(crate) version: A::U32,
    /// [`ROLE_READER`] or [`ROLE_WRITER`]
    pub(crate) role: A::U32,
    /// [`STAMP`]
    pub(crate) stamp: A::U64,
    /// Usable bytes of a block.
    pub(crate) block_size: A::U64,
    /// Number of blocks.
    pub(crate) block_count: A::U64,
    /// Bits, `FEATURE_*`.
    pub(crate) features: A::U32,
    /// Bytes used of `greeting`.
    pub(crate) greeting_len: A::U32,
    /// A number that the two regions of a session, and no others, have in common: for
    /// who looks from outside. The host chooses it.
    pub(crate) session: A::U64,
    /// Which pair of the session this region belongs to: 1, and one more each time that a
    /// partner was replaced. With `session` it tells what is shared with this partner
    /// from all that is late.
    pub(crate) epoch: A::U64,
    /// How many lanes the session has: 2 if data goes both ways.
    pub(crate) ways: A::U32,
    /// The lane that this region is of, from 0.
    pub(crate) lane: A::U32,
    /// Zero.
    pub(crate) reserved: [A::U64; 7],

    // -- changing ---------------------------------------------------------------
    /// What the owner has handed over.
    pub(crate) published: Line<Published<A>>,
    /// 0 while the owner is awake; while it sleeps, or is about to, the number
    /// of this sleep, for which it wants its doorbell rung once.
    pub(crate) asleep: Line<A::U64>,
    /// How the owner stands.
    pub(crate) status: Line<Status<A>>,
    /// Progress in numbers of the application's choice; relaxed.
    pub(crate) figures: Line<[A::U64; FIGURES]>,
    /// How far the letters have come.
    pub(crate) letters: Line<Mail<A>>,

    // -- text, eight bytes to a word, zero-padded -----------------------------
    /// Fixed, like the head.
    pub(crate) greeting: [A::U64; GREETING_MAX / 8],
    /// Published by `state`.
    pub(crate) reason: [A::U64; REASON_MAX / 8],
}

/// What an end has handed over so far.
#[repr(C)]
pub(crate) struct Published<A: Access> {
    /// Blocks sent (Reader) or given back (Writer). Stored with Release after the
    /// queue entry (and, for the Reader, the block) was written; acquired by the
    /// partner.
    pub(crate) blocks: A::U64,
    /// Sum of the lengths of the blocks given back (Writer; the Reader leaves it
    /// zero): for messages only, relaxed.
    pub(crate) bytes: A::U64,
}

/// How an end stands, and why.
#[repr(C)]
pub(crate) struct Status<A: Access> {
    /// [`RUNNING`], then [`ENDED`] or [`ABORTED`]; the Reader's ENDED may still
    /// become ABORTED, the Writer's is final. Stored with Release after the last
    /// `published` or after `reason`; loaded with Acquire.
    pub(crate) state: A::U32,
    /// Bytes used of `reason`.
    pub(crate) reason_len: A::U32,
    /// The application's number for the reason; 0 if it gave none.
    pub(crate) reason_code: A::U32,
}

/// How far the letters have come, in both directions: the two counters of which the
/// region's owner is the writer.
#[repr(C)]
pub(crate) struct Mail<A: Access> {
    /// Letters that the owner has posted. Stored with Release after the letter was
    /// written; acquired by the partner.
    pub(crate) posted: A::U64,
    /// Letters of the partner's that the owner has taken. Stored with Release after the
    /// letter was read; acquired by the partner, which may use its slot again.
    pub(crate) taken: A::U64,
}

// loom's atomics are larger than the machine's, so the bytes are asserted only
// without it.
#[cfg(not(loom))]
const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(size_of::<Control<Own>>() == CONTROL_SIZE);
    assert!(offset_of!(Control<Own>, magic) == 0);
    assert!(offset_of!(Control<Own>, version) == 8);
    assert!(offset_of!(Control<Own>, role) == 12);
    assert!(offset_of!(Control<Own>, stamp) == 16);
    assert!(offset_of!(Control<Own>, block_size) == 24);
    assert!(offset_of!(Control<Own>, block_count) == 32);
    assert!(offset_of!(Control<Own>, features) == 40);
    assert!(offset_of!(Control<Own>, greeting_len) == 44);
    assert!(offset_of!(Control<Own>, session) == 48);
    assert!(offset_of!(Control<Own>, epoch) == 56);
    assert!(offset_of!(Control<Own>, ways) == 64);
    assert!(offset_of!(Control<Own>, lane) == 68);
    assert!(offset_of!(Control<Own>, published) == 128);
    assert!(offset_of!(Control<Own>, asleep) == 256);
    assert!(offset_of!(Control<Own>, status) == 384);
    assert!(offset_of!(Control<Own>, figures) == 512);
    assert!(offset_of!(Status<Own>, reason_len) == 4);
    assert!(offset_of!(Status<Own>, reason_code) == 8);
    assert!(offset_of!(Control<Own>, letters) == 640);
    assert!(offset_of!(Mail<Own>, taken) == 8);
    assert!(offset_of!(Control<Own>, greeting) == 768);
    assert!(offset_of!(Control<Own>, reason) == 1792);
    // The partner's view is the same bytes.
    assert!(size_of::<Control<Theirs>>() == CONTROL_SIZE);
    assert!(offset_of!(Control<Theirs>, reason) == 1792);
};

/// One end's view of its queue entries: what a sent block carries. Two words.
pub(crate) const SENT_WORDS: usize = 2;
/// A block given back is its number alone. One word.
pub(crate) const RETURNED_WORDS: usize = 1;

/// What travels with a sent block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) block: u16,
    pub(crate) kind: u16,
    pub(crate) len: u32,
    /// The message goes on in the next block.
    pub(crate) more: bool,
    pub(crate) tag: u64,
}

/// The bit of a length that says "more": no block has 2^31 bytes.
const MORE: u32 = 1 << 31;

impl Sent {
    /// Bits 0–30 the length, 31 whether there is more, 32–47 the block's number, 48–63
    /// the kind; then the tag.
    #[inline(always)]
    pub(crate) fn to_words(self) -> [u64; SENT_WORDS] {
        let more = u64::from(self.more) << 31;
        let what =
            u64::from(self.len) | more | u64::from(self.block) << 32 | u64::from(self.kind) << 48;
        [what, self.tag]
    }

    /// The inverse of [`Sent::to_words`], for any words: checking comes later.
    #[inline(always)]
    pub(crate) fn from_words([what, tag]: [u64; SENT_WORDS]) -> Sent {
        Sent {
            len: what as u32 & !MORE,
            more: what as u32 & MORE != 0,
            block: (what >> 32) as u16,
            kind: (what >> 48) as u16,
            tag,
        }
    }
}

/// The one thing that both ends must have chosen alike: how large and how many
/// the blocks are. Everything else about a region's shape follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    block_size: usize,
    block_count: usize,
}

impl Geometry {
    pub(crate) fn new(block_size: usize, block_count: usize) -> Result<Geometry, Error> {
        let range = |what: &str, value: usize, max: usize| {
            if (1..=max).contains(&value) {
                return Ok(());
            }
            Err(Error::InvalidOption(format!(
                "{what} is {value}, but must be from 1 to {max}"
            )))
        };
        range("the block size in bytes", block_size, BLOCK_SIZE_MAX)?;
        range("the number of blocks", block_count, BLOCK_COUNT_MAX)?;
        Ok(Geometry {
            block_size,
            block_count,
        })
    }

    pub(crate) fn block_size(&self) -> usize {
        self.block_size
    }

    pub(crate) fn block_count(&self) -> usize {
        self.block_count
    }

    /// Distance from one block to the next: whole cache lines for small blocks,
    /// whole pages (which direct I/O wants) for those of a page or more.
    pub(crate) fn stride(&self) -> usize {
        let unit = if self.block_size < 4096 { 64 } else { 4096 };
        self.block_size.next_multiple_of(unit)
    }

    /// Entries in each queue: a power of two, so that finding one is a mask,
    /// and at least one for each block, so that no queue can overflow.
    pub(crate) fn queue_len(&self) -> usize {
        self.block_count.next_power_of_two()
    }

    /// Where the blocks begin in the Reader's region.
    pub(crate) fn blocks_offset(&self) -> usize {
        (QUEUE_OFFSET + self.queue_len() * SENT_WORDS * 8).next_multiple_of(CONTROL_SIZE)
    }

    /// Size of the Reader's region: about 2^46 bytes at the most.
    pub(crate) fn reader_region_size(&self) -> u64 {
        let blocks = self.stride() as u64 * self.block_count as u64;
        (self.blocks_offset() as u64 + blocks).next_multiple_of(CONTROL_SIZE as u64)
    }

    /// Size of the Writer's region.
    pub(crate) fn writer_region_size(&self) -> u64 {
        let queue = self.queue_len() * RETURNED_WORDS * 8;
        (QUEUE_OFFSET + queue).next_multiple_of(CONTROL_SIZE) as u64
    }
}

/// Stores text as both regions hold it: eight bytes to a word.
pub(crate) fn store_text(words: &[AtomicU64], bytes: &[u8]) {
    for (word, chunk) in words.iter().zip(bytes.chunks(8)) {
        let mut value = [0; 8];
        value[..chunk.len()].copy_from_slice(chunk);
        word.store(u64::from_ne_bytes(value), Ordering::Relaxed);
    }
}

/// The first `len` bytes of such text, or as many as there are.
pub(crate) fn load_text(words: &[ReadOnlyU64], len: u32) -> Vec<u8> {
    let len = (len as usize).min(words.len() * 8);
    let mut bytes: Vec<u8> = words[..len.div_ceil(8)]
        .iter()
        .flat_map(|word| word.load().to_ne_bytes())
        .collect();
    bytes.truncate(len);
    bytes
}

/// A peer's words, fit to be printed: no control characters, one line.
pub(crate) fn printable(text: &str) -> String {
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(clean).collect()
}

impl Control<Own> {
    /// Makes all that changes zero again, for another partner.
    pub(crate) fn clear(&self) {
        let relaxed = Ordering::Relaxed;
        self.published.0.blocks.store(0, relaxed);
        self.published.0.bytes.store(0, relaxed);
        self.asleep.0.store(0, relaxed);
        self.status.0.state.store(RUNNING, relaxed);
        self.status.0.reason_len.store(0, relaxed);
        self.status.0.reason_code.store(0, relaxed);
        self.letters.0.posted.store(0, relaxed);
        self.letters.0.taken.store(0, relaxed);
        for word in self.figures.0.iter().chain(&self.reason) {
            word.store(0, relaxed);
        }
    }
}

/// A control page for tests and the model checker, in ordinary memory.
#[cfg(test)]
impl Control<Own> {
    pub(crate) fn for_test() -> Control<Own> {
        let word = |_| AtomicU64::new(0);
        Control {
            magic: AtomicU64::new(MAGIC),
            version: AtomicU32::new(VERSION),
            role: AtomicU32::new(0),
            stamp: AtomicU64::new(STAMP),
            block_size: AtomicU64::new(0),
            block_count: AtomicU64::new(0),
            features: AtomicU32::new(0),
            greeting_len: AtomicU32::new(0),
            session: AtomicU64::new(0),
            epoch: AtomicU64::new(1),
            ways: AtomicU32::new(1),
            lane: AtomicU32::new(0),
            reserved: std::array::from_fn(word),
            published: Line(Published {
                blocks: AtomicU64::new(0),
                bytes: AtomicU64::new(0),
            }),
            asleep: Line(AtomicU64::new(0)),
            status: Line(Status {
                state: AtomicU32::new(RUNNING),
                reason_len: AtomicU32::new(0),
                reason_code: AtomicU32::new(0),
            }),
            figures: Line(std::array::from_fn(word)),
            letters: Line(Mail {
                posted: AtomicU64::new(0),
                taken: AtomicU64::new(0),
            }),
            greeting: std::array::from_fn(word),
            reason: std::array::from_fn(word),
        }
    }
}

#[cfg(all(test, not(loom)))]
#[allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it"
)]
mod tests {
    use super::*;

    #[test]
    fn what_travels_with_a_block_survives_packing() {
        for sent in [
            Sent {
                block: 0,
                kind: 0,
                len: 0,
                more: false,
                tag: 0,
            },
            Sent {
                block: u16::MAX,
                kind: u16::MAX,
                len: !MORE,
                more: true,
                tag: u64::MAX,
            },
            Sent {
                block: 1,
                kind: 2,
                len: 3,
                more: true,
                tag: 4,
            },
        ] {
            assert_eq!(Sent::from_words(sent.to_words()), sent);
        }
    }

    #[test]
    fn a_geometry_out_of_range_is_refused_and_says_the_range() {
        for (size, count) in [
            (0, 1),
            (1, 0),
            (BLOCK_SIZE_MAX + 1, 1),
            (1, BLOCK_COUNT_MAX + 1),
        ] {
            let error = Geometry::new(size, count).unwrap_err();
            assert!(error.to_string().contains("must be from 1 to"), "{error}");
        }
    }

    #[test]
    fn blocks_lie_on_whole_lines_or_pages_behind_the_queue() {
        let small = Geometry::new(1, 5).unwrap();
        assert_eq!((small.stride(), small.queue_len()), (64, 8));
        assert_eq!(small.blocks_offset(), 24576);
        assert_eq!(small.reader_region_size(), 24576 + 4096);
        assert_eq!(small.writer_region_size(), 24576);
        let large = Geometry::new(5000, 3).unwrap();
        assert_eq!(large.stride(), 8192);
        assert_eq!(large.reader_region_size(), 24576 + 3 * 8192);
    }
}
