//! Tokens that any thread may have, and that outlive the end that they came from.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::blocks::{Block, Blocks};
use super::copies::{self, Copy};
use crate::returns::{Errand, Refused, Returns};
use crate::sys::{Link, Origin};

/// Where the detached blocks of a pool come home to, and what they keep alive.
pub(super) struct Home {
    blocks: Blocks,
    returns: Returns,
    /// What wakes the end, as long as there is one; changed when another end takes over.
    link: Mutex<Weak<Link>>,
    origin: Origin,
}

impl Home {
    pub(super) fn new(blocks: Blocks, link: Weak<Link>, origin: Origin) -> Home {
        Home {
            returns: Returns::new(blocks.count()),
            blocks,
            link: Mutex::new(link),
            origin,
        }
    }

    pub(super) fn returns(&self) -> &Returns {
        &self.returns
    }

    /// Another end, with `link`, has the blocks from now on; it sends, if it is not `closed`.
    pub(super) fn hand_over(&self, closed: bool, link: Weak<Link>) {
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = link;
        if !closed {
            self.returns.reopen();
        }
    }

    fn nudge(&self) {
        let link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = link.upgrade() {
            link.nudge();
        }
    }
}

/// The right to a block's bytes, with all that they need. To be given up with `put` or
/// `send`; dropped, the block would be nobody's, and stay so.
pub(crate) struct Detached {
    block: Block,
    home: Arc<Home>,
    /// Only if the region is of another user's.
    copy: Option<Copy>,
}

impl Detached {
    pub(super) fn new(block: Block, home: Arc<Home>, copy: Option<Copy>) -> Detached {
        Detached { block, home, copy }
    }

    #[inline(always)]
    pub(crate) fn number(&self) -> usize {
        self.block.number()
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.block.len()
    }

    #[inline(always)]
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.copy {
            None => self.home.blocks.bytes(&self.block),
            Some(copy) => self.copied_bytes(copy),
        }
    }

    #[cold]
    #[inline(never)]
    fn copied_bytes<'b>(&'b self, copy: &'b Copy) -> &'b [u8] {
        copy.get_or_init(|| {
            let mut bytes = vec![0; self.len()];
            copies::load(self.home.blocks.words(&self.block), &mut bytes);
            bytes
        })
    }

    /// As [`Pool::copy_to`](super::Pool::copy_to).
    pub(crate) fn copy_to(&self, to: &mut [u8]) -> usize {
        let fixed = self.bytes_if_fixed();
        self.home.blocks.copy_to(&self.block, fixed, to)
    }

    /// As [`Pool::write_to`](super::Pool::write_to).
    pub(crate) fn write_to(&self, to: &mut impl Write) -> io::Result<()> {
        let fixed = self.bytes_if_fixed();
        self.home.blocks.write_to(&self.block, fixed, to)
    }

    fn bytes_if_fixed(&self) -> Option<&[u8]> {
        match &self.copy {
            None => Some(self.home.blocks.bytes(&self.block)),
            Some(copy) => copy.get().map(Vec::as_slice),
        }
    }

    /// Only for a Reader's blocks.
    #[inline(always)]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.home.blocks.bytes_mut(&mut self.block)
    }

    /// False in a forked child, where there is nobody to come home to.
    pub(crate) fn is_here(&self) -> bool {
        self.home.origin.is_here()
    }

    /// The block, if `home` is where it would come home to: to be taken out there.
    pub(super) fn take_out(&mut self, home: &Arc<Home>) -> Option<Block> {
        match Arc::ptr_eq(&self.home, home) {
            true => self.block.take(),
            false => None,
        }
    }

    /// Lets the block come home; nothing if it has already.
    pub(crate) fn put(&mut self, errand: Errand) {
        if !self.is_here() {
            return;
        }
        if let Some(block) = self.block.take()
            && self.home.returns.put(block.number(), errand)
        {
            self.home.nudge();
        }
    }

    /// Lets the block come home to be sent; if that cannot be, it stays in this token.
    pub(crate) fn send(&mut self, errand: Errand) -> Result<(), Refused> {
        let asleep = self.home.returns.send(self.block.number(), errand)?;
        // Before all else: from here on the block is not this token's.
        self.block.take_out();
        if asleep {
            self.home.nudge();
        }
        Ok(())
    }
}
