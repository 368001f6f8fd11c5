//! Asking for a line of the processor's cache before it is needed. Nothing but the time that
//! later accesses take depends on it, and nothing happens where it is not known how.
//!
//! A store to a line that the partner's processor has waits in the store buffer until the line
//! comes, and all later stores wait behind it. So the lines of several blocks are asked for at
//! once. There is an instruction for that, but not every processor (AMD's Zen 4) takes the line
//! away from the other one for it: a store does. So who prefetches to store also stores there
//! what is there already.
#![allow(
    unsafe_code,
    reason = "instructions that the standard library does not offer, on one processor of many"
)]

/// The size of a line, in bytes.
pub(crate) const LINE_SIZE: usize = 64;

/// Blocks of up to so many lines are fetched ahead. For a larger one, the processor itself sees
/// what will come.
const LINES_OF_A_BLOCK: usize = 4;

/// About how many lines are fetched at a time: enough to be on their way together, and few
/// enough for what follows not to wait for long.
const LINES: usize = 24;

/// For how many blocks of `block_size` bytes the lines, and some of a queue, are fetched at a
/// time: of the second to the last, since the first is used at once. `None` if blocks are too
/// large.
pub(crate) fn blocks_at_a_time(block_size: usize) -> Option<u64> {
    let lines = block_size.div_ceil(LINE_SIZE);
    (lines <= LINES_OF_A_BLOCK).then(|| LINES.div_ceil(lines + 1) as u64)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_larger_blocks_fewer_are_fetched_at_a_time_and_of_large_ones_none() {
        let sizes = [1, 64, 65, 128, 256, 257];
        let fetched = [Some(12), Some(12), Some(8), Some(8), Some(5), None];
        assert_eq!(sizes.map(blocks_at_a_time), fetched);
    }
}
