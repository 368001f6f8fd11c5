//! Where a source has nothing but zeros: by the system's word, and by looking.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use crate::sys;

/// The next data of a regular file at or after `here`; from `end` on, if a hole lasts
/// until there. A hole to the end is believed only if all that the system says about it
/// fits together: what is taken for one is not read.
pub(super) fn next_data(file: &File, here: u64, end: u64) -> io::Result<Range<u64>> {
    for _ in 0..2 {
        if let Some(data) = sys::next_data(file, here)? {
            return Ok(data.start.max(here)..data.end);
        }
    }
    if !sys::is_in_hole(file, here)? {
        return Ok(here..u64::MAX);
    }
    // Not beyond where it ends by now.
    let end = sys::facts(file)?.len.min(end).max(here);
    match has_data(file, here.max(end.saturating_sub(LOOKED_AT))..end)? {
        false => Ok(end..u64::MAX),
        true => Err(io::Error::other(
            "its file system says that there is no more data, but there is; --sparse=never reads everything",
        )),
    }
}

/// How much of the end of a hole is read, to see whether it is one: tmpfs, for one, does
/// not tell of data just before the largest offset that a file can have.
const LOOKED_AT: u64 = 64 << 10;

fn has_data(mut file: &File, range: Range<u64>) -> io::Result<bool> {
    file.seek(SeekFrom::Start(range.start))?;
    let mut bytes = Vec::new();
    file.take(range.end - range.start).read_to_end(&mut bytes)?;
    Ok(!is_zero(&bytes))
}

/// Pieces of this size, from their own multiples on, become holes if they are all
/// zeros: what file systems usually allocate.
const ZEROS_BYTES: usize = 4096;

/// How far `bytes` are alike, all zeros or none: how many, and whether they are zeros.
pub(super) fn run(bytes: &[u8]) -> (usize, bool) {
    let mut pieces = bytes.chunks(ZEROS_BYTES).map(is_zero);
    let Some(first) = pieces.next() else {
        return (0, false);
    };
    let alike = 1 + pieces.take_while(|&zero| zero == first).count();
    (bytes.len().min(alike * ZEROS_BYTES), first)
}

fn is_zero(bytes: &[u8]) -> bool {
    // Words at a time, where the compiler can see them.
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_of_whole_pieces_and_end_with_the_bytes() {
        let mut bytes = vec![0; 3 * ZEROS_BYTES + 10];
        assert_eq!(run(&bytes), (bytes.len(), true));
        bytes[2 * ZEROS_BYTES - 1] = 1;
        assert_eq!(run(&bytes), (ZEROS_BYTES, true));
        assert_eq!(run(&bytes[ZEROS_BYTES..]), (ZEROS_BYTES, false));
        assert_eq!(run(&bytes[2 * ZEROS_BYTES..]), (ZEROS_BYTES + 10, true));
        assert_eq!(run(b"x"), (1, false));
        assert_eq!(run(b""), (0, false));
    }
}
