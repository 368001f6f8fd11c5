//! The limit: a bare ring. Two counters, each on its own lines, each end with a cached
//! copy of the other's; blocks in the order of the ring. Both ends spin; neither can
//! sleep or die, and nothing is checked.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Outcome;
use crate::clock::Clock;
use crate::throughput::blocks;

pub struct Bare<const SIZE: usize> {
    memory: memmap2::MmapMut,
}

const HEAD: usize = 4096;

impl<const SIZE: usize> Bare<SIZE> {
    pub fn create(place: &str) -> Outcome<Self> {
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(place)?;
        file.set_len((HEAD + SIZE * blocks(SIZE)) as u64)?;
        // SAFETY: the file is this benchmark's own; both sides keep to the ring.
        let mut memory = unsafe { memmap2::MmapMut::map_mut(&file)? };
        memory.fill(0);
        Ok(Bare { memory })
    }

    pub fn open(place: &str) -> Outcome<Self> {
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(place)?;
        // SAFETY: as above.
        let memory = unsafe { memmap2::MmapMut::map_mut(&file)? };
        for page in memory.chunks(4096) {
            black_box(page[0]);
        }
        Ok(Bare { memory })
    }

    fn counter(&self, index: usize) -> &AtomicU64 {
        // SAFETY: within the head, aligned, atomic.
        unsafe { &*self.memory.as_ptr().add(index * 128).cast() }
    }

    fn block(&self, index: u64) -> *mut u8 {
        let slot = index as usize & (blocks(SIZE) - 1);
        // SAFETY: `slot` is below the number of blocks.
        unsafe { self.memory.as_ptr().add(HEAD + slot * SIZE).cast_mut() }
    }

    pub fn fill(&self, data: &[u8], count: u64) {
        let (filled, drained) = (self.counter(0), self.counter(1));
        let room = blocks(SIZE) as u64;
        let mut seen = 0;
        for index in 0..count {
            while index - seen == room {
                seen = drained.load(Ordering::Acquire);
                spin_loop();
            }
            let data = black_box(data);
            // SAFETY: the block is this side's until `filled` is stored.
            unsafe {
                data.as_ptr()
                    .copy_to_nonoverlapping(self.block(index), SIZE)
            };
            filled.store(index + 1, Ordering::Release);
        }
    }

    pub fn drain(&self, out: &mut [u8], count: u64) -> Outcome<f64> {
        let (filled, drained) = (self.counter(0), self.counter(1));
        let mut seen = 0;
        let mut clock = Clock::new(count);
        for index in 0..count {
            while index == seen {
                seen = filled.load(Ordering::Acquire);
                spin_loop();
            }
            clock.tick();
            // SAFETY: the block is this side's until `drained` is stored.
            unsafe {
                self.block(index)
                    .copy_to_nonoverlapping(out.as_mut_ptr(), SIZE)
            };
            black_box(&out);
            drained.store(index + 1, Ordering::Release);
        }
        clock.seconds()
    }
}
