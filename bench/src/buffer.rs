//! Memory of a program's own, which blocks are copied from and to.

use std::ops::{Deref, DerefMut};

/// Blocks lie at the start of a page; what is copied from and to them, in the middle of one. How fast a
/// processor copies depends on how the two lie in their pages (16 KiB: 0.32 to 0.72 microseconds), and each
/// program's heap would have another say in that.
const PAGE: usize = 4096;

pub struct Buffer {
    memory: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// `len` bytes of `value`.
    pub fn new(value: u8, len: usize) -> Buffer {
        let mut memory = vec![value; len + 2 * PAGE];
        let start = memory.as_ptr().align_offset(PAGE) + PAGE / 2;
        memory.truncate(start + len);
        Buffer { memory, start }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..]
    }
}
