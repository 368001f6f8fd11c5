//! What is told beside the data goes in pieces, as large as a block.

use brigade::{Label, Reader};

use crate::failure::{Exit, Failure};

/// Sends `bytes` in as many blocks of `kind` as it takes; the tag is the offset.
pub(crate) fn send(reader: &Reader, kind: u16, bytes: &[u8]) -> Result<(), Failure> {
    let mut offset = 0;
    for piece in bytes.chunks(reader.block_size()) {
        let mut block = reader.empty_block()?;
        block[..piece.len()].copy_from_slice(piece);
        block.send_as(piece.len(), Label::new(kind, offset))?;
        offset += piece.len() as u64;
    }
    Ok(())
}

/// Adds the piece at `offset` to those before it: they come one after the other, and are
/// no more than `len_max` bytes in all.
pub(crate) fn add(
    all: &mut Vec<u8>,
    offset: u64,
    piece: &[u8],
    len_max: usize,
) -> Result<(), Failure> {
    if offset != all.len() as u64 || piece.len() > len_max - all.len() {
        return Err(nonsense("a piece that does not belong there"));
    }
    all.extend_from_slice(piece);
    Ok(())
}

/// What a Reader that keeps to the protocol does not send.
pub(crate) fn nonsense(what: &str) -> Failure {
    Failure::new(Exit::Partner, format!("the reader sent {what}"))
}

/// The same of a block that is of no use here.
pub(crate) fn unexpected(kind: u16) -> Failure {
    nonsense(&format!("a block of kind {kind}, which has no place here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_follow_each_other_and_end_at_the_limit() {
        let mut all = Vec::new();
        assert!(add(&mut all, 0, b"ab", 3).is_ok());
        for (offset, piece) in [(0, &b"c"[..]), (1, b"c"), (3, b"c"), (2, b"cd")] {
            assert!(add(&mut all, offset, piece, 3).is_err());
        }
        assert!(add(&mut all, 2, b"c", 3).is_ok());
        assert!(add(&mut all, 3, b"d", 3).is_err());
        assert_eq!(all, b"abc");
    }
}
