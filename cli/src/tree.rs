//! BLAKE3 of what comes in order, which another process can go on with: the hash is a tree,
//! and what stands for a whole part of it is 32 bytes.
//!
//! ```text
//!             root                    the hash, as b3sum prints it
//!           /      \
//!       merged      \                 what stands for several subtrees
//!      /      \      \
//! subtree  subtree  subtree           16 MiB each, but for the last one
//! ```
//!
//! Whether a subtree is the root depends on what comes after it, so the one that is whole is
//! kept until something does.

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};
use blake3::{Hash, Hasher};

/// What a subtree holds. Work that is lost is done again from its beginning.
pub(crate) const SUBTREE_BYTES: u64 = 16 << 20;

/// The hash of all bytes so far.
pub(crate) struct Tree {
    /// Of the whole subtrees before `last`: those of as many subtrees, powers of two, as the
    /// binary digits of their number, the largest first.
    merged: Vec<ChainingValue>,
    last: Option<ChainingValue>,
    /// How many subtrees were ended: `last`, and all before it.
    ended: u64,
    present: Hasher,
    /// Up to all bytes of a subtree: whether it is the last one is not known until then.
    present_bytes: u64,
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

    /// `merged` stands for `before` subtrees.
    fn at(before: u64, merged: Vec<ChainingValue>) -> Tree {
        let mut tree = Tree {
            merged,
            last: None,
            ended: before,
            present: Hasher::new(),
            present_bytes: 0,
        };
        tree.begin_subtree();
        tree
    }

    fn begin_subtree(&mut self) {
        self.present = Hasher::new();
        self.present.set_input_offset(self.ended * SUBTREE_BYTES);
        self.present_bytes = 0;
    }

    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.present_bytes == SUBTREE_BYTES {
                self.end_subtree();
            }
            let room = usize::try_from(SUBTREE_BYTES - self.present_bytes);
            let (piece, rest) = bytes.split_at(bytes.len().min(room.unwrap_or(usize::MAX)));
            self.present.update(piece);
            self.present_bytes += piece.len() as u64;
            bytes = rest;
        }
    }

    /// More comes after the present subtree.
    fn end_subtree(&mut self) {
        if let Some(last) = self.last.replace(self.present.finalize_non_root()) {
            merge(&mut self.merged, self.ended, last);
        }
        self.ended += 1;
        self.begin_subtree();
    }

    /// How many subtrees are whole by now.
    pub(crate) fn subtrees(&self) -> u64 {
        self.ended + self.present_bytes / SUBTREE_BYTES
    }

    /// What stands for them; `None` if there is none yet, or none since this tree was begun
    /// again.
    pub(crate) fn begun(&self) -> Option<Begun> {
        let mut merged = self.merged.clone();
        let last = match (self.last, self.present_bytes == SUBTREE_BYTES) {
            (last, false) => last?,
            (last, true) => {
                if let Some(last) = last {
                    merge(&mut merged, self.ended, last);
                }
                self.present.finalize_non_root()
            }
        };
        Some(Begun {
            subtrees: self.subtrees(),
            merged: Some(merged),
            last,
        })
    }

    /// The hash of all bytes.
    pub(crate) fn finalize(&self) -> Hash {
        let mut merged = self.merged.clone();
        if let Some(last) = self.last {
            merge(&mut merged, self.ended, last);
        }
        let Some((first, others)) = merged.split_first() else {
            return self.present.finalize();
        };
        let right = self.present.finalize_non_root();
        let right = others.iter().rfold(right, |right, left| {
            merge_subtrees_non_root(left, &right, Mode::Hash)
        });
        merge_subtrees_root(first, &right, Mode::Hash)
    }
}

/// Adds the `number`th subtree, counted from 1, to those before it. Something comes after
/// it, so none of what is made here is the root.
fn merge(merged: &mut Vec<ChainingValue>, number: u64, last: ChainingValue) {
    let mut value = last;
    for _ in 0..number.trailing_zeros() {
        if let Some(left) = merged.pop() {
            value = merge_subtrees_non_root(&left, &value, Mode::Hash);
        }
    }
    merged.push(value);
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
