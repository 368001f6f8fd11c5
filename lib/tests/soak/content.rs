//! What is in a block: all of it follows from the block's tag.

use crate::LANES;

/// The tag of a lane's block number `index`.
pub(crate) fn tag(lane: usize, index: u64) -> u64 {
    (lane as u64) << 56 | index
}

/// Lane and index.
pub(crate) fn lane_and_index(tag: u64) -> (usize, u64) {
    let lane = (tag >> 56) as usize;
    assert!(lane < LANES, "a tag that nobody sends: {tag:#x}");
    (lane, tag & ((1 << 56) - 1))
}

/// A number that looks like chance (splitmix64).
pub(crate) fn scramble(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// Takes any of `items`.
pub(crate) fn take_any<T>(items: &mut Vec<T>, seed: u64) -> Option<T> {
    let len = items.len() as u64;
    (len > 0).then(|| items.swap_remove((scramble(seed) % len) as usize))
}

/// Whole words: of a large block nearly all, of a small one at least half.
fn len(tag: u64, block_size: usize) -> usize {
    let words = block_size / 8;
    let missing = scramble(tag) as usize % (words / 2).min(8);
    (words - missing) * 8
}

fn words(tag: u64) -> impl Iterator<Item = [u8; 8]> {
    let first = scramble(!tag);
    (first..=u64::MAX).chain(0..).map(u64::to_ne_bytes)
}

/// Fills a block that is to be sent under `tag`; returns how much of it is to be sent.
pub(crate) fn fill(block: &mut [u8], tag: u64) -> usize {
    let len = len(tag, block.len());
    let (blank, _) = block[..len].as_chunks_mut::<8>();
    for (blank, word) in blank.iter_mut().zip(words(tag)) {
        *blank = word;
    }
    len
}

pub(crate) fn assert_intact(bytes: &[u8], tag: u64, block_size: usize) {
    assert_eq!(bytes.len(), len(tag, block_size), "length of {tag:#x}");
    let (found, rest) = bytes.as_chunks::<8>();
    assert!(rest.is_empty());
    let intact = found
        .iter()
        .zip(words(tag))
        .all(|(found, word)| *found == word);
    assert!(intact, "the bytes of {tag:#x}");
}
