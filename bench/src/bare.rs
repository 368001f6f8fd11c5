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
    /// Where blocks are taken from, if not there: the same, for reading only.
    shown: Option<memmap2::Mmap>,
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
        Ok(Bare {
            memory,
            shown: None,
        })
    }

    /// The same, but that who takes blocks has mapped them for reading only, as with brigade: no
    /// partner can change what is another one's.
    pub fn create_protected(place: &str) -> Outcome<Self> {
        drop(Self::create(place)?);
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(place)?;
        // SAFETY: as above.
        let (memory, shown) = unsafe {
            let head = memmap2::MmapOptions::new().len(HEAD).map_mut(&file)?;
            (head, memmap2::Mmap::map(&file)?)
        };
        touch(&shown);
        Ok(Bare {
            memory,
            shown: Some(shown),
        })
    }

    pub fn open(place: &str) -> Outcome<Self> {
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(place)?;
        // SAFETY: as above.
        let memory = unsafe { memmap2::MmapMut::map_mut(&file)? };
        touch(&memory);
        Ok(Bare {
            memory,
            shown: None,
        })
    }

    fn counter(&self, index: usize) -> &AtomicU64 {
        // SAFETY: within the head, aligned, atomic.
        unsafe { &*self.memory.as_ptr().add(index * 128).cast() }
    }

    /// Where block `index` begins in a mapping of the whole file.
    fn place(index: u64) -> usize {
        let slot = index as usize & (blocks(SIZE) - 1);
        HEAD + slot * SIZE
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
            // SAFETY: all is mapped, and the block is this side's until `filled` is stored.
            unsafe {
                let block = self.memory.as_ptr().add(Self::place(index)).cast_mut();
                data.as_ptr().copy_to_nonoverlapping(block, SIZE);
            }
            filled.store(index + 1, Ordering::Release);
        }
    }

    pub fn drain(&self, out: &mut [u8], count: u64) -> Outcome<f64> {
        let (filled, drained) = (self.counter(0), self.counter(1));
        let start = match &self.shown {
            Some(shown) => shown.as_ptr(),
            None => self.memory.as_ptr(),
        };
        let mut seen = 0;
        let mut clock = Clock::new(count);
        for index in 0..count {
            while index == seen {
                seen = filled.load(Ordering::Acquire);
                spin_loop();
            }
            clock.tick();
            // SAFETY: all is mapped, and the block is this side's until `drained` is stored.
            unsafe {
                let block = start.add(Self::place(index));
                block.copy_to_nonoverlapping(out.as_mut_ptr(), SIZE);
            }
            black_box(&out);
            drained.store(index + 1, Ordering::Release);
        }
        clock.seconds()
    }
}

/// So that nobody waits for its pages later.
fn touch(memory: &[u8]) {
    for page in memory.chunks(4096) {
        black_box(page[0]);
    }
}
