//! Asking for a line of the processor's cache before it is needed. Nothing but the time that
//! later accesses take depends on it, and nothing happens where it is not known how.
#![allow(
    unsafe_code,
    reason = "instructions that the standard library does not offer, on one processor of many"
)]

/// The size of a line, in bytes.
pub(crate) const LINE_SIZE: usize = 64;

/// Fetches the line of `at`, to be stored to: away from the processor that has it now, so that
/// the stores do not wait for that, one after the other.
#[inline(always)]
pub(crate) fn to_store<T>(at: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: fails for no address, accesses nothing, and does nothing on a processor without it.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) at, options(nostack, preserves_flags));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = at;
}

/// Fetches the line of `at`, to be loaded from.
#[inline(always)]
pub(crate) fn to_load<T>(at: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prefetcht0 [{}]", in(reg) at, options(nostack, preserves_flags));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = at;
}
