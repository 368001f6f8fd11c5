//! BLAKE3 of what comes in order, which another process can go on with: the hash is a tree,
//! and what stands for a whole part of it is 32 bytes.
//!
//! ```text
//!             root                    the hash, as b3sum prints it
//!           /      \
//!       merged      \                 what stands for several subtrees
//!      /      \      \
//! subtree  subtree  subtree           16 MiB each, but for the last one
//!                    /    \
//!                 piece  piece        what one thread hashes at a time
//! ```
//!
//! Whether a part is the root depends on what comes after it, so the one that is whole is
//! kept until something does.

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};
use blake3::{Hash, Hasher};

/// What a subtree holds. Work that is lost is done again from its beginning.
pub(crate) const SUBTREE_BYTES: u64 = 16 << 20;

/// What a piece of a subtree holds.
pub(crate) const PIECE_BYTES: usize = 256 << 10;

const PIECES: u64 = SUBTREE_BYTES / PIECE_BYTES as u64;

/// The hash of all bytes so far.
pub(crate) struct Tree {
    /// The whole subtrees before the present one.
    subtrees: Parts,
    /// The whole pieces of the present subtree before the present one.
    pieces: Parts,
    present: Hasher,
    /// Up to all bytes of a piece: whether it is the last one is not known until then.
    present_bytes: usize,
}

/// Whole parts of one size, with something after them, so that none is the root.
#[derive(Default)]
struct Parts {
    number: u64,
    /// Of those before `last`: what stands for as many, powers of two, as the binary digits
    /// of their number, the largest first.
    merged: Vec<ChainingValue>,
    last: Option<ChainingValue>,
}

/// What stands for the whole subtrees of a [`Tree`], to begin again from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Begun {
    /// How many these are, one at least.
    subtrees: u64,
    /// Of all but the last; `None` if they were not hashed.
    merged: Option<Vec<ChainingValue>>,
    last: ChainingValue,
}

impl Tree {
    pub(crate) fn new() -> Tree {
        Tree::at(0, Vec::new())
    }

    /// One that goes on where the last subtree of `begun` begins: that one is to be read
    /// again, and is the same if [`Tree::begun`] says the same then.
    /// Where those before it were not hashed, it has no hash of all bytes.
    pub(crate) fn before_last_of(begun: &Begun) -> Tree {
        let merged = begun.merged.clone();
        Tree::at(begun.subtrees - 1, merged.unwrap_or_default())
    }

    /// One of the `number`th subtree alone, counted from 1: see [`Begun::last_alone`].
    pub(crate) fn of_subtree(number: u64) -> Tree {
        Tree::at(number - 1, Vec::new())
    }

    /// `merged` stands for `number` subtrees.
    fn at(number: u64, merged: Vec<ChainingValue>) -> Tree {
        Tree {
            subtrees: Parts {
                number,
                merged,
                last: None,
            },
            pieces: Parts::default(),
            present: piece_at(number * SUBTREE_BYTES),
            present_bytes: 0,
        }
    }

    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.present_bytes == PIECE_BYTES {
                self.end_piece();
                self.present = piece_at(self.end());
            }
            let room = PIECE_BYTES - self.present_bytes;
            let (some, rest) = bytes.split_at(bytes.len().min(room));
            self.present.update(some);
            self.present_bytes += some.len();
            bytes = rest;
        }
    }

    /// As [`Tree::update`] with the next bytes, a piece at most, which begin at `offset`; `piece`
    /// has hashed them by [`piece_at`] that place.
    pub(crate) fn add_piece(&mut self, offset: u64, piece: Hasher, bytes: &[u8]) {
        let begins = matches!(self.present_bytes, 0 | PIECE_BYTES) && self.end() == offset;
        if !begins {
            return self.update(bytes);
        }
        if bytes.is_empty() {
            return;
        }
        if self.present_bytes == PIECE_BYTES {
            self.end_piece();
        }
        self.present = piece;
        self.present_bytes = bytes.len();
    }

    /// More comes after the present piece.
    fn end_piece(&mut self) {
        self.pieces.add(self.present.finalize_non_root());
        self.present_bytes = 0;
        if self.pieces.number == PIECES {
            let whole = std::mem::take(&mut self.pieces).all();
            whole.into_iter().for_each(|whole| self.subtrees.add(whole));
        }
    }

    /// Where the next byte lies.
    pub(crate) fn end(&self) -> u64 {
        let pieces = self.pieces.number * PIECE_BYTES as u64;
        self.subtrees.number * SUBTREE_BYTES + pieces + self.present_bytes as u64
    }

    /// How many subtrees are whole by now.
    pub(crate) fn subtrees(&self) -> u64 {
        self.end() / SUBTREE_BYTES
    }

    /// What stands for them; `None` if there is none yet, or none since this tree was begun
    /// again.
    pub(crate) fn begun(&self) -> Option<Begun> {
        let subtrees = self.subtrees();
        let is_whole = subtrees > self.subtrees.number;
        let (merged, last) = match is_whole {
            true => {
                let present = self.present.finalize_non_root();
                let last = self.pieces.all().iter().rfold(present, merge_two);
                (self.subtrees.all(), last)
            }
            false => (self.subtrees.merged.clone(), self.subtrees.last?),
        };
        Some(Begun {
            subtrees,
            merged: Some(merged),
            last,
        })
    }

    /// The hash of all bytes.
    pub(crate) fn finalize(&self) -> Hash {
        let before = [self.subtrees.all(), self.pieces.all()].concat();
        let Some((first, others)) = before.split_first() else {
            return self.present.finalize();
        };
        let right = self.present.finalize_non_root();
        let right = others.iter().rfold(right, merge_two);
        merge_subtrees_root(first, &right, Mode::Hash)
    }
}

/// What hashes the piece that begins at `offset`.
pub(crate) fn piece_at(offset: u64) -> Hasher {
    let mut piece = Hasher::new();
    piece.set_input_offset(offset);
    piece
}

fn merge_two(right: ChainingValue, left: &ChainingValue) -> ChainingValue {
    merge_subtrees_non_root(left, &right, Mode::Hash)
}

impl Parts {
    fn add(&mut self, value: ChainingValue) {
        self.merged = self.all();
        self.last = Some(value);
        self.number += 1;
    }

    /// What stands for all of them: powers of two, the largest first.
    fn all(&self) -> Vec<ChainingValue> {
        let mut merged = self.merged.clone();
        let Some(mut value) = self.last else {
            return merged;
        };
        for _ in 0..self.number.trailing_zeros() {
            if let Some(left) = merged.pop() {
                value = merge_two(value, &left);
            }
        }
        merged.push(value);
        merged
    }
}

impl Begun {
    /// How many subtrees it stands for.
    pub(crate) fn subtrees(&self) -> u64 {
        self.subtrees
    }

    /// Whether it stands for all of them, and not for the last one alone.
    pub(crate) fn is_whole(&self) -> bool {
        self.merged.is_some()
    }

    /// The same for the last one alone.
    pub(crate) fn last_alone(self) -> Begun {
        let merged = self.merged.filter(|_| self.subtrees == 1);
        Begun { merged, ..self }
    }

    /// Whether `tree` has come to the end of the same subtrees, and they are the same, as far
    /// as both know them.
    pub(crate) fn agrees_with(&self, tree: &Tree) -> bool {
        tree.begun().is_some_and(|found| {
            let merged = self.merged.is_none() || self.merged == found.merged;
            merged && (self.subtrees, self.last) == (found.subtrees, found.last)
        })
    }

    /// Where they end.
    pub(crate) fn end(&self) -> u64 {
        self.subtrees * SUBTREE_BYTES
    }

    /// Where the last of them begins.
    pub(crate) fn last_begins_at(&self) -> u64 {
        (self.subtrees - 1) * SUBTREE_BYTES
    }

    /// All but their number: 32 bytes for each value, the last subtree's at the end.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.merged.as_deref().unwrap_or_default().concat();
        bytes.extend(self.last);
        bytes
    }

    /// `None` if there cannot be as many subtrees, or they are not told by these bytes.
    pub(crate) fn decode(subtrees: u64, bytes: &[u8]) -> Option<Begun> {
        let before = subtrees.checked_sub(1)?;
        if subtrees > i64::MAX as u64 / SUBTREE_BYTES {
            return None;
        }
        let (values, rest) = bytes.as_chunks::<{ blake3::OUT_LEN }>();
        let (last, merged) = values.split_last()?;
        let is_whole = merged.len() == before.count_ones() as usize;
        (rest.is_empty() && (is_whole || merged.is_empty())).then(|| Begun {
            subtrees,
            merged: is_whole.then(|| merged.to_vec()),
            last: *last,
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const SUBTREE: usize = SUBTREE_BYTES as usize;
    /// Of no piece that is hashed at once is it a multiple.
    const PIECE: usize = 1_000_003;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at ^ (at >> 11)) as u8).collect()
    }

    fn hashed(mut tree: Tree, bytes: &[u8]) -> Tree {
        for piece in bytes.chunks(PIECE) {
            tree.update(piece);
        }
        tree
    }

    #[test]
    fn the_hash_is_the_one_of_all_bytes_at_once() {
        let all = bytes(9 * SUBTREE + 1);
        let mut lens = vec![0, 1, 1023, 1024, 1025, 5 * SUBTREE + 70_000];
        for subtrees in [1, 2, 3, 8] {
            let len = subtrees * SUBTREE;
            lens.extend([len - 1, len, len + 1]);
        }
        for len in lens {
            let bytes = &all[..len];
            let expected = blake3::hash(bytes);
            assert_eq!(hashed(Tree::new(), bytes).finalize(), expected, "{len}");
        }
        let mut at_once = Tree::new();
        at_once.update(&all);
        assert_eq!(at_once.finalize(), blake3::hash(&all));
    }

    #[test]
    fn pieces_make_the_same_hash_also_after_one_that_was_no_whole_one() {
        let all = bytes(SUBTREE + 3 * PIECE_BYTES);
        for first in [PIECE_BYTES, 70_000, 0] {
            let mut tree = Tree::new();
            let (first, rest) = all.split_at(first);
            let ends = (1..).map(|number| number * PIECE_BYTES as u64);
            let pieces = std::iter::once(first).chain(rest.chunks(PIECE_BYTES));
            for (at, piece) in std::iter::once(0).chain(ends).zip(pieces) {
                let mut hasher = piece_at(at);
                hasher.update(piece);
                tree.add_piece(at, hasher, piece);
            }
            assert_eq!(tree.finalize(), blake3::hash(&all));
            assert_eq!(tree.begun(), hashed(Tree::new(), &all).begun());
        }
    }

    #[test]
    fn another_tree_goes_on_from_the_last_whole_subtree() {
        let all = bytes(9 * SUBTREE + 5);
        for len in [
            SUBTREE,
            SUBTREE + 1,
            2 * SUBTREE,
            3 * SUBTREE + 7,
            8 * SUBTREE,
        ] {
            let begun = hashed(Tree::new(), &all[..len]).begun().unwrap();
            assert_eq!(begun.subtrees() as usize, len / SUBTREE);
            let told = Begun::decode(begun.subtrees(), &begun.encode()).unwrap();
            assert_eq!(told, begun);
            let from = told.last_begins_at() as usize;
            let tree = hashed(Tree::before_last_of(&told), &all[from..len]);
            assert_eq!(tree.begun().unwrap(), begun);
            let tree = hashed(tree, &all[len..]);
            assert_eq!(tree.finalize(), blake3::hash(&all), "{len}");
            assert_eq!(tree.begun(), hashed(Tree::new(), &all).begun());
        }
    }

    #[test]
    fn a_subtree_that_is_not_the_same_is_noticed_when_it_was_read_again() {
        let mut all = bytes(3 * SUBTREE);
        let begun = hashed(Tree::new(), &all).begun().unwrap();
        all[2 * SUBTREE + 1] ^= 1;
        let again = hashed(Tree::before_last_of(&begun), &all[2 * SUBTREE..]);
        assert_ne!(again.begun().unwrap(), begun);
        assert!(!begun.agrees_with(&again));
    }

    #[test]
    fn the_last_subtree_alone_can_be_compared_but_stands_for_no_other() {
        let all = bytes(3 * SUBTREE + 7);
        let whole = hashed(Tree::new(), &all).begun().unwrap();
        let alone = hashed(Tree::of_subtree(3), &all[2 * SUBTREE..3 * SUBTREE]);
        let alone = alone.begun().unwrap().last_alone();
        assert_eq!(alone, whole.clone().last_alone());
        assert!(whole.is_whole() && !alone.is_whole());
        let told = Begun::decode(3, &alone.encode()).unwrap();
        assert_eq!(told, alone);
        for at in [SUBTREE, 3 * SUBTREE - 1] {
            let mut changed = all.clone();
            changed[at] ^= 1;
            let again = hashed(
                Tree::before_last_of(&told),
                &changed[2 * SUBTREE..3 * SUBTREE],
            );
            assert_eq!(told.agrees_with(&again), at < 2 * SUBTREE);
        }
        // Of a single one there is no other.
        let first = hashed(Tree::of_subtree(1), &all[..SUBTREE])
            .begun()
            .unwrap();
        assert!(first.clone().last_alone().is_whole());
        assert_eq!(hashed(Tree::new(), &all[..SUBTREE]).begun(), Some(first));
    }

    #[test]
    fn nothing_stands_for_less_than_a_subtree_and_what_cannot_be_is_none() {
        let tree = hashed(Tree::new(), &bytes(SUBTREE - 1));
        assert_eq!((tree.subtrees(), tree.begun()), (0, None));
        let value = [0; blake3::OUT_LEN];
        let two = [value, value].concat();
        assert!(Begun::decode(2, &two).is_some());
        for (subtrees, bytes) in [
            (0, &value[..]),
            (1, &two),
            (2, &two[1..]),
            (1, &[]),
            (u64::MAX, &two),
            (1 + (1 << 39), &two),
        ] {
            assert_eq!(Begun::decode(subtrees, bytes), None, "{subtrees}");
        }
    }
}
