//! What a Reader knows of the blocks of one session, once its Writer has died.

use std::collections::BTreeMap;

use crate::LANES;
use crate::content::lane_and_index;
use crate::joining::Opening;

/// The Writer wrote down that it has drained it.
pub(crate) const DRAINED: u8 = 1;

/// It was sent, and is not given back.
pub(crate) const UNRETURNED: u8 = 2;

/// For each block that was sent in the session, where it was seen.
pub(crate) struct Tally {
    /// Sent before, to another Writer, and in this session again.
    resent: BTreeMap<u64, u8>,
    start: [u64; LANES],
    lanes: [Vec<u8>; LANES],
}

impl Tally {
    /// Of a session that began with `opening` and the blocks in `resent`, and has come to
    /// `next`.
    pub(crate) fn new(opening: &Opening, resent: &[u64], next: &[u64; LANES]) -> Tally {
        Tally {
            resent: resent.iter().map(|tag| (*tag, 0)).collect(),
            start: opening.next,
            lanes: std::array::from_fn(|lane| vec![0; (next[lane] - opening.next[lane]) as usize]),
        }
    }

    pub(crate) fn sent(&self) -> usize {
        self.resent.len() + self.lanes.iter().map(Vec::len).sum::<usize>()
    }

    pub(crate) fn see(&mut self, tag: u64, mark: u8) {
        let (lane, index) = lane_and_index(tag);
        let seen = match index.checked_sub(self.start[lane]) {
            Some(place) => self.lanes[lane].get_mut(place as usize),
            None => self.resent.get_mut(&tag),
        };
        let seen = seen.unwrap_or_else(|| panic!("{tag:#x} was not sent"));
        assert_eq!(*seen & mark, 0, "{tag:#x} seen twice ({mark})");
        *seen |= mark;
    }

    /// That nothing was lost: it was drained, or is there to be sent again.
    pub(crate) fn assert_complete(&self) {
        for (tag, seen) in &self.resent {
            assert_ne!(*seen, 0, "{tag:#x} is lost");
        }
        for (lane, seen) in self.lanes.iter().enumerate() {
            let lost = seen.iter().position(|seen| *seen == 0);
            assert_eq!(lost, None, "of lane {lane}, after {}", self.start[lane]);
        }
    }
}
