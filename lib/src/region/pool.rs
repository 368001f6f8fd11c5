//! The pool: which blocks are here, and tokens for those that are.

use std::cell::{Cell, OnceCell};
use std::io::{self, Write};
use std::sync::{Arc, Weak};

use super::access::Access;
use super::blocks::{Block, Blocks};
use super::copies::Copies;
use super::detached::{Detached, Home};
use super::mapped::Region;
use crate::error::Violation;
use crate::region::layout::{Geometry, SENT_WORDS, Sent};
use crate::returns::Errand;
use crate::sys::{Link, Origin};

/// Where a block is, as this process knows it. One word, as it is stored for every block
/// that passes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place(u64);

impl Place {
    /// Here, and nobody uses it.
    const SPARE: Place = Place(u64::MAX);
    /// Here, as a [`Block`], or as one that is [`Detached`].
    const HELD: Place = Place(u64::MAX - 1);
    /// Here, and lent out by its number, to who cannot have a token.
    const LENT: Place = Place(u64::MAX - 2);

    /// With the partner, or on its way to or from it; `order` blocks were passed on before.
    #[inline(always)]
    fn partner(order: u64) -> Place {
        Place(order)
    }

    /// How many were passed on before it, if it is with the partner.
    #[inline(always)]
    fn order(self) -> Option<u64> {
        (self.0 < Place::LENT.0).then_some(self.0)
    }
}

/// What this process knows of a block: what it stores of each that passes lies together.
#[derive(Clone)]
struct Slot {
    place: Cell<Place>,
    /// What it was sent with last, if it ever was. The entry in the queue does not do: it may
    /// be overwritten before the block is back.
    sent: Cell<[u64; SENT_WORDS]>,
}

/// The blocks, and where each of them is.
pub(crate) struct Pool {
    blocks: Blocks,
    slots: Box<[Slot]>,
    /// A stack of the blocks whose place is `Spare`: the first `spare_count`.
    spare: Box<[Cell<u16>]>,
    spare_count: Cell<usize>,
    /// Only if the region is of another user's.
    copies: Option<Copies>,
    /// Where detached blocks come home to; made for the first of them.
    home: OnceCell<Arc<Home>>,
    /// Blocks that were detached and have not come home.
    detached: Cell<usize>,
    /// The end sleeps, or is about to.
    asleep: Cell<bool>,
    /// Nothing is sent any more.
    closed: Cell<bool>,
}

impl Pool {
    /// The blocks in `region`, a Reader's; all of them spare if the region is
    /// this process's own, all with the partner otherwise. With `is_foreign` their bytes
    /// are never trusted to stay as they are.
    ///
    /// # Panics
    ///
    /// If the region has a pool already, or is too small.
    pub(crate) fn new<A: Access>(
        region: &Region<A>,
        geometry: &Geometry,
        is_foreign: bool,
    ) -> Pool {
        let blocks = Blocks::of(region, geometry);
        let count = blocks.count();
        let (place, spare_count) = match blocks.are_own() {
            true => (Place::SPARE, count),
            false => (Place::partner(0), 0),
        };
        let slot = Slot {
            place: Cell::new(place),
            sent: Cell::default(),
        };
        // Block 0 on top, so that it is the first to be taken.
        let spare = (0..count).rev().map(|number| Cell::new(number as u16));
        Pool {
            blocks,
            slots: vec![slot; count].into(),
            spare: spare.collect(),
            spare_count: Cell::new(spare_count),
            copies: is_foreign.then(|| Copies::new(count)),
            home: OnceCell::new(),
            detached: Cell::new(0),
            asleep: Cell::new(false),
            closed: Cell::new(false),
        }
    }

    /// The pool itself, for another end of this region, whose link is `link`; in its place
    /// stays one without blocks.
    ///
    /// If it was `closed`, it stays so: its end has said that no more data will come.
    pub(crate) fn hand_over(&mut self, closed: bool, link: impl FnOnce() -> Weak<Link>) -> Pool {
        let nothing = Pool {
            blocks: self.blocks.none(),
            slots: Box::default(),
            spare: Box::default(),
            spare_count: Cell::new(0),
            copies: None,
            home: OnceCell::new(),
            detached: Cell::new(0),
            asleep: Cell::new(false),
            closed: Cell::new(true),
        };
        let pool = std::mem::replace(self, nothing);
        pool.set_awake();
        pool.closed.set(closed);
        if let Some(home) = pool.home.get() {
            home.hand_over(closed, link());
        }
        pool
    }

    pub(crate) fn block_size(&self) -> usize {
        self.blocks.size()
    }

    /// Whether a block is here and unused.
    pub(crate) fn has_spare(&self) -> bool {
        self.spare_count.get() > 0
    }

    /// A block that is here and unused, with its full length.
    #[inline(always)]
    pub(crate) fn take_spare(&self) -> Option<Block> {
        let top = self.spare_count.get().checked_sub(1)?;
        self.spare_count.set(top);
        let number = usize::from(self.spare[top].get());
        self.slots[number].place.set(Place::HELD);
        Some(Block::new(number, self.block_size()))
    }

    /// What is known of block `number`, if the partner has it to hand over.
    #[inline(always)]
    fn theirs(&self, number: u64) -> Result<&Slot, Violation> {
        let slot = self
            .slots
            .get(usize::try_from(number).unwrap_or(usize::MAX))
            .ok_or(Violation::BlockNumber { found: number })?;
        match slot.place.get().order() {
            Some(_) => Ok(slot),
            None => Err(Violation::BlockNotTheirs { block: number }),
        }
    }

    /// The block `number`, a Reader's, which the partner says that it gives back; with its
    /// full length.
    #[inline(always)]
    pub(crate) fn come_back(&self, number: u64) -> Result<Block, Violation> {
        self.theirs(number)?.place.set(Place::HELD);
        Ok(Block::new(number as usize, self.block_size()))
    }

    /// The block that the partner, a Reader, says that it sends with `entry`.
    #[inline(always)]
    pub(crate) fn arrive(&self, entry: [u64; SENT_WORDS]) -> Result<Block, Violation> {
        let sent = Sent::from_words(entry);
        let (number, len) = (usize::from(sent.block), sent.len as usize);
        let slot = self.theirs(number as u64)?;
        if len > self.block_size() {
            let (found, most) = (len as u64, self.block_size() as u64);
            return Err(Violation::Length { found, most });
        }
        slot.place.set(Place::HELD);
        slot.sent.set(entry);
        if let Some(copies) = &self.copies {
            copies.renew(number);
        }
        Ok(Block::new(number, len))
    }

    /// The block that the partner gives back with `number` will be filled soon.
    pub(crate) fn prefetch_to_fill(&self, number: u64) {
        // Where the partner breaks the rules, it may be any, and who takes it is told. With the
        // partner, by this end's own record, is only what has no token any more.
        if self.theirs(number).is_ok() {
            self.blocks.prefetch_to_store(number as usize);
        }
    }

    /// The block that the partner sends with `entry` will be read soon.
    pub(crate) fn prefetch_to_read(&self, entry: [u64; SENT_WORDS]) {
        let number = Sent::from_words(entry).block.into();
        self.blocks.prefetch_to_load(number);
    }

    /// What `block` was sent with last: the partner's word, if it is a Writer's.
    #[inline(always)]
    pub(crate) fn sent(&self, block: &Block) -> Sent {
        Sent::from_words(self.slots[block.number()].sent.get())
    }

    /// The blocks that the partner had when it was lost, as they were sent; and how many
    /// were sent before each. Only for a Reader's own; to be used up.
    pub(crate) fn recall(&self) -> impl Iterator<Item = (u64, Block)> {
        let recalled = |(number, slot): (usize, &Slot)| {
            let order = slot.place.get().order()?;
            let len = Sent::from_words(slot.sent.get()).len as usize;
            (len <= self.block_size()).then(|| {
                slot.place.set(Place::HELD);
                (order, Block::new(number, len))
            })
        };
        self.slots.iter().enumerate().filter_map(recalled)
    }

    /// Gives `block`, a Reader's, up, because it is sent with `entry`, after `order` others.
    #[inline(always)]
    pub(crate) fn send(&self, block: Block, entry: [u64; SENT_WORDS], order: u64) {
        let slot = &self.slots[block.number()];
        slot.place.set(Place::partner(order));
        slot.sent.set(entry);
    }

    /// Gives `block`, a Writer's, up, because it is given back. Its number.
    #[inline(always)]
    pub(crate) fn give_back(&self, block: Block) -> usize {
        // In which order is nobody's question here.
        self.slots[block.number()].place.set(Place::partner(0));
        block.number()
    }

    /// Gives `block` up, because it is not used after all.
    #[inline(always)]
    pub(crate) fn put_back(&self, block: Block) {
        self.slots[block.number()].place.set(Place::SPARE);
        let count = self.spare_count.get();
        self.spare[count].set(block.number() as u16);
        self.spare_count.set(count + 1);
    }

    /// Lends `block` out by its number, in exchange for its token.
    #[inline(always)]
    pub(crate) fn lend(&self, block: Block) -> usize {
        self.slots[block.number()].place.set(Place::LENT);
        block.number()
    }

    /// What is known of block `number`, if it is lent out: it is not any more.
    #[inline(always)]
    fn lent(&self, number: usize) -> Option<&Slot> {
        let slot = self.slots.get(number)?;
        let is_lent = slot.place.get() == Place::LENT;
        is_lent.then(|| {
            slot.place.set(Place::HELD);
            slot
        })
    }

    /// The block `number`, a Reader's, if it is lent out; with its full length.
    #[inline(always)]
    pub(crate) fn take_lent(&self, number: usize) -> Option<Block> {
        self.lent(number)?;
        Some(Block::new(number, self.block_size()))
    }

    /// The block `number`, a Writer's, if it is lent out; as it was sent.
    #[inline(always)]
    pub(crate) fn take_lent_data(&self, number: usize) -> Option<Block> {
        let sent = Sent::from_words(self.lent(number)?.sent.get());
        // It was checked when the block arrived.
        Some(Block::new(number, sent.len as usize))
    }

    /// The bytes of `block`.
    #[inline(always)]
    pub(crate) fn bytes<'b>(&'b self, block: &'b Block) -> &'b [u8] {
        match &self.copies {
            None => self.blocks.bytes(block),
            Some(copies) => self.copied_bytes(copies, block),
        }
    }

    #[cold]
    #[inline(never)]
    fn copied_bytes<'b>(&'b self, copies: &'b Copies, block: &'b Block) -> &'b [u8] {
        copies.get(block, self.blocks.words(block))
    }

    /// The bytes of `block`, as many as `to` has room for. How many they are.
    pub(crate) fn copy_to(&self, block: &Block, to: &mut [u8]) -> usize {
        let fixed = self.bytes_if_fixed(block);
        self.blocks.copy_to(block, fixed, to)
    }

    /// Writes the bytes of `block` to `to`.
    pub(crate) fn write_to(&self, block: &Block, to: &mut impl Write) -> io::Result<()> {
        let fixed = self.bytes_if_fixed(block);
        self.blocks.write_to(block, fixed, to)
    }

    /// The bytes of `block`, if there are any that nobody changes.
    fn bytes_if_fixed<'b>(&'b self, block: &'b Block) -> Option<&'b [u8]> {
        match &self.copies {
            None => Some(self.blocks.bytes(block)),
            Some(copies) => copies.made(block),
        }
    }

    /// The bytes of `block`, to be filled. Only for a Reader's own blocks.
    #[inline(always)]
    pub(crate) fn bytes_mut<'b>(&'b self, block: &'b mut Block) -> &'b mut [u8] {
        self.blocks.bytes_mut(block)
    }

    /// Lets `block` go to any thread; `link` is what wakes this end when it comes home.
    pub(crate) fn detach(
        &self,
        mut block: Block,
        link: impl FnOnce() -> Weak<Link>,
        origin: Origin,
    ) -> Detached {
        let home = self.home.get_or_init(|| {
            let home = Home::new(self.blocks.clone(), link(), origin);
            if self.closed.get() {
                home.returns().close();
            }
            Arc::new(home)
        });
        self.detached.set(self.detached.get() + 1);
        if self.asleep.get() {
            home.returns().sleep();
        }
        let copy = self.copies.as_ref().map(|copies| copies.take(&mut block));
        // In no batch any more.
        let block = Block::new(block.number(), block.len());
        Detached::new(block, Arc::clone(home), copy)
    }

    /// The block of `detached`, if it is one of this pool's.
    pub(crate) fn attach(&self, detached: &mut Detached) -> Option<Block> {
        let block = detached.take_out(self.home.get()?)?;
        self.detached.set(self.detached.get() - 1);
        Some(block)
    }

    /// Whether blocks are seen as copies.
    #[inline(always)]
    pub(crate) fn is_foreign(&self) -> bool {
        self.copies.is_some()
    }

    /// Whether any block was detached and has not come home.
    #[inline(always)]
    pub(crate) fn has_detached(&self) -> bool {
        self.detached.get() != 0
    }

    /// The blocks that have come home since, with what is to be done with each; to be used
    /// up.
    pub(crate) fn take_home(&self) -> impl Iterator<Item = (Block, Errand)> {
        let home = self.home.get();
        let taken = home.map(|home| home.returns().take(self.asleep.get()));
        taken.into_iter().flatten().map(|(number, errand)| {
            self.detached.set(self.detached.get() - 1);
            (Block::new(number, self.block_size()), errand)
        })
    }

    /// The end is about to sleep: after the next [`Pool::take_home`], a block that comes
    /// home wakes it.
    pub(crate) fn set_asleep(&self) {
        self.asleep.set(true);
    }

    pub(crate) fn set_awake(&self) {
        self.asleep.set(false);
        if let Some(home) = self.home.get() {
            home.returns().wake();
        }
    }

    /// Whether nothing is sent any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// No detached block is sent any more, but for those on their way home.
    pub(crate) fn close_home(&self) {
        self.closed.set(true);
        if let Some(home) = self.home.get() {
            home.returns().close();
        }
    }

    /// The end is no more.
    pub(crate) fn leave_home(&self) {
        if let Some(home) = self.home.get() {
            home.returns().leave();
        }
    }
}

#[cfg(all(test, not(loom)))]
#[allow(
    clippy::unwrap_used,
    unsafe_code,
    reason = "a test says what it expects by unwrapping it, and plays a partner that breaks the rules"
)]
mod tests {
    use super::*;
    use crate::region::access::Own;
    use crate::region::blocks::PIECE;
    use crate::returns::{Refused, UNSENT};
    use crate::sys::Memory;

    const SIZE: usize = 3 * PIECE + 5;

    fn pool(is_foreign: bool) -> Pool {
        let geometry = Geometry::new(SIZE, 2).unwrap();
        let memory = Memory::create(geometry.reader_region_size()).unwrap();
        let region: Region<Own> = Region::own(memory).unwrap();
        Pool::new(&region, &geometry, is_foreign)
    }

    /// Block `number` comes from the partner.
    fn arrive(pool: &Pool, number: usize, len: usize) -> Block {
        pool.slots[number].place.set(Place::partner(0));
        let sent = Sent {
            block: number as u16,
            kind: 0,
            len: len as u32,
            more: false,
            tag: 0,
        };
        pool.arrive(sent.to_words()).unwrap()
    }

    /// What a partner does that breaks the rules.
    fn change(pool: &Pool, number: usize, value: u8) {
        // SAFETY: the blocks of a test's own region.
        unsafe {
            let block = Block::new(number, SIZE);
            let start = pool.blocks.start(&block);
            start.write_bytes(value, SIZE);
        }
    }

    fn copied(pool: &Pool, block: &Block) -> Vec<u8> {
        let mut bytes = vec![0; SIZE + 1];
        let len = pool.copy_to(block, &mut bytes);
        bytes.truncate(len);
        bytes
    }

    fn written(pool: &Pool, block: &Block) -> Vec<u8> {
        let mut bytes = Vec::new();
        pool.write_to(block, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_foreign_block_that_was_seen_does_not_change_until_it_comes_again() {
        let pool = pool(true);
        for (len, value) in [(SIZE, 1), (3, 2), (0, 3), (PIECE, 4), (PIECE + 9, 5)] {
            change(&pool, 1, value);
            let block = arrive(&pool, 1, len);
            let expected = vec![value; len];
            assert_eq!(pool.bytes(&block), expected);
            change(&pool, 1, 0xff);
            assert_eq!(pool.bytes(&block), expected);
            assert_eq!(copied(&pool, &block), expected);
            assert_eq!(written(&pool, &block), expected);
            pool.give_back(block);
        }
    }

    #[test]
    fn a_foreign_block_that_was_not_seen_is_copied_anew_each_time_and_whole() {
        let pool = pool(true);
        for len in [SIZE, 0, 1, 8, PIECE - 1, PIECE, 2 * PIECE + 7] {
            let block = arrive(&pool, 0, len);
            for value in [1, 2] {
                change(&pool, 0, value);
                assert_eq!(copied(&pool, &block), vec![value; len]);
                assert_eq!(written(&pool, &block), vec![value; len]);
            }
            let mut short = [0; 7];
            assert_eq!(pool.copy_to(&block, &mut short), len.min(7));
            pool.give_back(block);
        }
    }

    #[test]
    fn a_detached_foreign_block_keeps_what_was_seen_of_it_and_else_is_copied_when_seen() {
        let pool = pool(true);
        for was_seen in [true, false] {
            change(&pool, 1, 1);
            let block = arrive(&pool, 1, 3);
            if was_seen {
                assert_eq!(pool.bytes(&block), [1; 3]);
            }
            let origin = Origin::here().unwrap();
            let mut detached = pool.detach(block, Weak::new, origin);
            change(&pool, 1, 2);
            let expected = if was_seen { [1; 3] } else { [2; 3] };
            let mut copied = [0; 3];
            assert_eq!(detached.copy_to(&mut copied), 3);
            assert_eq!(copied, expected);
            assert_eq!(detached.bytes(), expected);
            change(&pool, 1, 3);
            assert_eq!(detached.bytes(), expected);
            detached.put([1, 3]);
            let (block, errand) = pool.take_home().next().unwrap();
            assert_eq!(errand, [1, 3]);
            pool.give_back(block);
            // The next one in the same place is another one.
            let block = arrive(&pool, 1, 2);
            assert_eq!(pool.bytes(&block), [3; 2]);
            pool.give_back(block);
        }
    }

    #[test]
    fn a_detached_block_of_a_pool_that_was_handed_over_is_sent_only_if_that_was_not_closed() {
        for closed in [false, true] {
            let mut old = pool(false);
            let block = old.take_spare().unwrap();
            let origin = Origin::here().unwrap();
            let mut detached = old.detach(block, Weak::new, origin);
            old.close_home();
            assert_eq!(detached.send([0, 0]), Err(Refused::Closed));
            let new = old.hand_over(closed, Weak::new);
            assert_eq!(detached.send([0, 0]).is_err(), closed);
            detached.put(UNSENT);
            // Sent or put back, it comes home to the new one, and once.
            let home: Vec<_> = new.take_home().map(|(block, _)| block.number()).collect();
            assert_eq!(home, [0]);
            assert!(!new.has_detached());
        }
    }

    #[test]
    fn what_is_fetched_ahead_stays_as_it_is_and_need_not_be_a_block() {
        let pool = pool(false);
        let block = pool.take_spare().unwrap();
        let number = block.number() as u64;
        change(&pool, block.number(), 9);
        for number in [number, 2, 1 << 16, u64::MAX] {
            pool.prefetch_to_fill(number);
        }
        assert_eq!(pool.bytes(&block), [9; SIZE]);
        pool.send(block, [0, 0], 0);
        pool.prefetch_to_fill(number);
        pool.prefetch_to_read([number, 0]);
        pool.prefetch_to_read([u64::MAX, 0]);
        let block = pool.come_back(number).unwrap();
        assert_eq!(pool.bytes(&block), [9; SIZE]);
    }

    #[test]
    fn only_a_foreign_block_is_copied_to_be_seen() {
        for is_foreign in [false, true] {
            let pool = pool(is_foreign);
            let block = arrive(&pool, 1, SIZE);
            let is_shared = pool.bytes(&block).as_ptr() == pool.blocks.start(&block).as_ptr();
            assert_eq!(is_shared, !is_foreign);
            assert_eq!(copied(&pool, &block), pool.bytes(&block));
            assert_eq!(written(&pool, &block), pool.bytes(&block));
            pool.give_back(block);
        }
    }
}
