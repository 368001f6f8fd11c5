//! Which process something was made in: told by a page that a fork wipes.
#![expect(unsafe_code, reason = "a page of memory that the kernel changes")]

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags};

use crate::error::Error;

/// Where this process's number is; null until it is asked for first. Never unmapped.
static WORD: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());

/// The number of the next process that asks for one. A forked child has its own copy,
/// which is beyond all that its forebears have used.
static NEXT: AtomicU32 = AtomicU32::new(1);

/// The process in which something was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    word: &'static AtomicU32,
    number: u32,
}

impl Origin {
    pub(crate) fn here() -> Result<Origin, Error> {
        let word = word()?;
        let number = match word.load(Ordering::Relaxed) {
            // Never asked for, or wiped by the fork that this process began with.
            0 => {
                let fresh = NEXT.fetch_add(1, Ordering::Relaxed);
                let relaxed = Ordering::Relaxed;
                match word.compare_exchange(0, fresh, relaxed, relaxed) {
                    Ok(_) => fresh,
                    Err(number) => number,
                }
            }
            number => number,
        };
        Ok(Origin { word, number })
    }

    /// Whether it was this process; false in a child that was forked off it.
    #[inline(always)]
    pub(crate) fn is_here(self) -> bool {
        self.word.load(Ordering::Relaxed) == self.number
    }
}

fn word() -> Result<&'static AtomicU32, Error> {
    let mut word = WORD.load(Ordering::Acquire);
    if word.is_null() {
        let made = new_page()?;
        word = match WORD.compare_exchange(word, made, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => made,
            Err(others) => {
                // SAFETY: exactly what `new_page` mapped, and nobody has seen it.
                let _ = unsafe { rustix::mm::munmap(made.cast(), PAGE_SIZE) };
                others
            }
        };
    }
    // SAFETY: it comes from `new_page`, is never unmapped once it is in `WORD`, and an
    // atomic may change under a shared reference.
    Ok(unsafe { &*word })
}

/// Rounded up to a page by the kernel.
const PAGE_SIZE: usize = 4096;

fn new_page() -> Result<*mut AtomicU32, Error> {
    let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: a new mapping at an address of the kernel's choice.
    let page = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), PAGE_SIZE, access, flags) };
    let page = page.map_err(|errno| Error::os("map a page of memory", errno))?;
    // SAFETY: exactly what was just mapped, and it is still all zeros.
    let advised = unsafe { rustix::mm::madvise(page, PAGE_SIZE, Advice::LinuxWipeOnFork) };
    advised.map_err(|errno| Error::Unsupported {
        needed: "tell a forked child from its parent (MADV_WIPEONFORK, since Linux 4.14)",
        source: errno.into(),
    })?;
    Ok(page.cast())
}
