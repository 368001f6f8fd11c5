//! What the journal of a copy says, as bytes: how much of the partial file is on disk, and
//! of which source, for a later process to go on from there (`--resume`).
//!
//! ```text
//! 0     slot 0: record, zeros, checksum
//! 4096  slot 1
//! 8192
//! ```
//!
//! The two slots are written by turns, so whatever a crash makes of one, the other one is
//! whole. Of those whose checksum is right, the one of the highest number counts.

use crate::metadata::Stamp;
use crate::request::args::When;
use crate::sys::Identity;
use crate::tree::Begun;

/// A block of most disks and file systems: what one slot's writing may tear is never the
/// other's.
pub(super) const SLOT_BYTES: usize = 4096;

pub(super) const JOURNAL_BYTES: usize = 2 * SLOT_BYTES;

const MAGIC: [u8; 8] = *b"brigJRNL";

/// A journal of another version says nothing.
const VERSION: u32 = 1;

/// BLAKE3 of what is before it in the slot.
const CHECKSUM_AT: usize = SLOT_BYTES - blake3::OUT_LEN;

/// In the place of nanoseconds: there is no such time.
const NO_TIME: u32 = u32::MAX;

/// All that a slot says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) source: Source,
    pub(super) partial: Partial,
    /// What becomes of holes.
    pub(super) sparse: When,
    /// What of the partial file is on disk: so many subtrees, from its beginning.
    pub(super) on_disk: Option<Begun>,
}

/// Which file is copied, in which state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// What of it outlives a restart of the machine.
    pub(super) identity: Identity,
    pub(super) size: u64,
    pub(super) modified: Option<Stamp>,
    pub(super) changed: Option<Stamp>,
}

/// Which file is the partial one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Partial {
    pub(super) identity: Identity,
    /// The number of a file that is gone may be another's soon.
    pub(super) born: Option<Stamp>,
}

/// Why a journal says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    OtherVersion,
    Damaged,
}

impl Record {
    /// As the slot that is written as the `number`th.
    pub(super) fn encode(&self, number: u64) -> Vec<u8> {
        let mut slot = Vec::with_capacity(SLOT_BYTES);
        slot.extend(MAGIC);
        slot.extend(VERSION.to_le_bytes());
        slot.extend(number.to_le_bytes());
        put_identity(&mut slot, self.source.identity);
        slot.extend(self.source.size.to_le_bytes());
        put_time(&mut slot, self.source.modified);
        put_time(&mut slot, self.source.changed);
        put_identity(&mut slot, self.partial.identity);
        put_time(&mut slot, self.partial.born);
        slot.push(match self.sparse {
            When::Auto => 0,
            When::Always => 1,
            When::Never => 2,
        });
        let values = self.on_disk.as_ref().map(Begun::encode);
        let values = values.unwrap_or_default();
        let subtrees = self.on_disk.as_ref().map_or(0, Begun::subtrees);
        slot.extend(subtrees.to_le_bytes());
        slot.extend((values.len() as u16).to_le_bytes());
        slot.extend(values);
        slot.resize(CHECKSUM_AT, 0);
        let checksum = blake3::hash(&slot);
        slot.extend(checksum.as_bytes());
        slot
    }

    /// What the last slot says that is whole, and its number.
    pub(super) fn decode(journal: &[u8]) -> Result<(u64, Record), Unreadable> {
        if journal.len() != JOURNAL_BYTES {
            return Err(Unreadable::Damaged);
        }
        let mut newest = Err(Unreadable::Damaged);
        for slot in journal.chunks(SLOT_BYTES) {
            match decode_slot(slot) {
                // Who wrote it may have meant more by it than can be known here.
                Err(Unreadable::OtherVersion) => return Err(Unreadable::OtherVersion),
                Ok(found) if newest.as_ref().is_ok_and(|(number, _)| *number > found.0) => {}
                Ok(found) => newest = Ok(found),
                Err(Unreadable::Damaged) => {}
            }
        }
        newest
    }
}

fn decode_slot(slot: &[u8]) -> Result<(u64, Record), Unreadable> {
    let (record, checksum) = slot.split_at(CHECKSUM_AT);
    if blake3::hash(record).as_bytes() != checksum || record[..8] != MAGIC {
        return Err(Unreadable::Damaged);
    }
    let mut left = Left(&record[8..]);
    if left.u32() != Some(VERSION) {
        return Err(Unreadable::OtherVersion);
    }
    left.record().ok_or(Unreadable::Damaged)
}

/// What is left of a slot.
struct Left<'s>(&'s [u8]);

impl Left<'_> {
    fn take<const LEN: usize>(&mut self) -> Option<[u8; LEN]> {
        let (taken, left) = self.0.split_first_chunk()?;
        self.0 = left;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn identity(&mut self) -> Option<Identity> {
        Some((self.u64()?, self.u64()?))
    }

    /// A time that is not there is one, too; so what is missing here is all of it.
    fn time(&mut self) -> Option<Option<Stamp>> {
        let seconds = self.take().map(i64::from_le_bytes)?;
        let nanoseconds = self.u32()?;
        let stamp = Stamp {
            seconds,
            nanoseconds,
        };
        Some((nanoseconds != NO_TIME).then_some(stamp))
    }

    fn record(&mut self) -> Option<(u64, Record)> {
        let number = self.u64()?;
        let record = Record {
            source: Source {
                identity: self.identity()?,
                size: self.u64()?,
                modified: self.time()?,
                changed: self.time()?,
            },
            partial: Partial {
                identity: self.identity()?,
                born: self.time()?,
            },
            sparse: match self.u8()? {
                0 => When::Auto,
                1 => When::Always,
                2 => When::Never,
                _ => return None,
            },
            on_disk: self.on_disk()?,
        };
        let end = record.on_disk.as_ref().map_or(0, Begun::end);
        (end <= record.source.size).then_some((number, record))
    }

    /// That nothing is on disk is no lack, either.
    fn on_disk(&mut self) -> Option<Option<Begun>> {
        let subtrees = self.u64()?;
        let len = self.take().map(u16::from_le_bytes)?;
        let values = self.0.get(..usize::from(len))?;
        match (subtrees, values) {
            (0, []) => Some(None),
            _ => Begun::decode(subtrees, values).map(Some),
        }
    }
}

fn put_identity(slot: &mut Vec<u8>, (device, number): Identity) {
    slot.extend(device.to_le_bytes());
    slot.extend(number.to_le_bytes());
}

fn put_time(slot: &mut Vec<u8>, time: Option<Stamp>) {
    let none = Stamp {
        seconds: 0,
        nanoseconds: NO_TIME,
    };
    let time = time.unwrap_or(none);
    slot.extend(time.seconds.to_le_bytes());
    slot.extend(time.nanoseconds.to_le_bytes());
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::tree::SUBTREE_BYTES;
    use proptest::prelude::*;

    /// All that there can be.
    const SUBTREES_MAX: u64 = i64::MAX as u64 / SUBTREE_BYTES;

    fn begun(subtrees: u64, is_whole: bool) -> Option<Begun> {
        let before = subtrees.checked_sub(1)?;
        let values = match is_whole {
            true => before.count_ones() as usize + 1,
            false => 1,
        };
        let values: Vec<u8> = (0..values * blake3::OUT_LEN).map(|at| at as u8).collect();
        Some(Begun::decode(subtrees, &values).unwrap())
    }

    fn record(subtrees: u64, is_whole: bool) -> Record {
        Record {
            source: Source {
                identity: (0, 77),
                size: subtrees * SUBTREE_BYTES + 5,
                modified: Some(Stamp {
                    seconds: -3,
                    nanoseconds: 999_999_999,
                }),
                changed: None,
            },
            partial: Partial {
                identity: (u64::MAX, 1),
                born: Some(Stamp {
                    seconds: 1 << 40,
                    nanoseconds: 0,
                }),
            },
            sparse: When::Never,
            on_disk: begun(subtrees, is_whole),
        }
    }

    /// Of the records of these numbers, the second one in slot 1.
    fn journal(records: [(u64, &Record); 2]) -> Vec<u8> {
        let slots = records.map(|(number, record)| record.encode(number));
        slots.concat()
    }

    /// A slot whose checksum is right, whatever it says.
    fn sealed(mut slot: Vec<u8>) -> Vec<u8> {
        let checksum = blake3::hash(&slot[..CHECKSUM_AT]);
        slot[CHECKSUM_AT..].copy_from_slice(checksum.as_bytes());
        slot
    }

    #[test]
    fn the_newest_slot_counts_in_whichever_place_it_is() {
        let (older, newer) = (record(7, false), record(SUBTREES_MAX, true));
        for numbers in [[1, 2], [u64::MAX - 1, u64::MAX]] {
            let [old, new] = numbers;
            let expected = Ok((new, newer.clone()));
            let journals = [
                journal([(old, &older), (new, &newer)]),
                journal([(new, &newer), (old, &older)]),
            ];
            for journal in journals {
                assert_eq!(Record::decode(&journal), expected);
            }
        }
    }

    #[test]
    fn a_slot_of_another_version_says_so_and_its_fellow_is_not_believed() {
        let old = record(7, false);
        let mut other = record(8, false).encode(2);
        other[8..12].copy_from_slice(&(VERSION + 1).to_le_bytes());
        let journals = [
            [sealed(other.clone()), old.encode(1)].concat(),
            [old.encode(1), sealed(other.clone())].concat(),
        ];
        for journal in journals {
            assert_eq!(Record::decode(&journal), Err(Unreadable::OtherVersion));
        }
        // Torn, it is nothing at all.
        let torn = [old.encode(1), other].concat();
        assert_eq!(Record::decode(&torn), Ok((1, old)));
    }

    #[test]
    fn what_cannot_be_is_damaged_though_its_checksum_is_right() {
        let good = record(3, false);
        let mut beyond = good.clone();
        beyond.source.size = 3 * SUBTREE_BYTES - 1;
        let slots = journal([(2, &beyond), (1, &good)]);
        assert_eq!(Record::decode(&slots), Ok((1, good)));
        assert_eq!(
            Record::decode(&[0; JOURNAL_BYTES]),
            Err(Unreadable::Damaged)
        );
    }

    proptest! {
        #[test]
        fn a_record_survives(
            numbers in prop::array::uniform4(any::<u64>()),
            times in prop::array::uniform3(any::<Option<(i64, u32)>>()),
            (subtrees, is_whole) in (0..=SUBTREES_MAX, any::<bool>()),
            (sparse, number) in (0..3_usize, any::<u64>()),
        ) {
            let times = times.map(|time| time.map(|(seconds, nanoseconds)| Stamp {
                seconds,
                nanoseconds: nanoseconds % 1_000_000_000,
            }));
            let [modified, changed, born] = times;
            let (identity, size) = ((numbers[0], numbers[1]), subtrees * SUBTREE_BYTES);
            let record = Record {
                source: Source { identity, size, modified, changed },
                partial: Partial { identity: (numbers[2], numbers[3]), born },
                sparse: [When::Auto, When::Always, When::Never][sparse],
                on_disk: begun(subtrees, is_whole),
            };
            let slot = record.encode(number);
            prop_assert_eq!(slot.len(), SLOT_BYTES);
            prop_assert_eq!(decode_slot(&slot), Ok((number, record)));
        }

        /// As a crash, or a broken disk, leaves it.
        #[test]
        fn of_a_slot_that_was_torn_nothing_is_believed_and_its_fellow_stays(
            at in 0..SLOT_BYTES, bits in 1..=255_u8, cut in any::<bool>(), first in any::<bool>(),
        ) {
            let (older, newer) = (record(7, false), record(9, true));
            let mut torn = newer.encode(2);
            // What was in the place before is one older still.
            let before = record(5, false).encode(0);
            match cut {
                true => torn[at..].copy_from_slice(&before[at..]),
                false => torn[at] ^= bits,
            }
            prop_assume!(torn != newer.encode(2));
            let whole = older.encode(1);
            let journal = match first {
                true => [torn, whole].concat(),
                false => [whole, torn].concat(),
            };
            prop_assert_eq!(Record::decode(&journal), Ok((1, older)));
        }

        #[test]
        fn bytes_of_any_kind_and_number_are_no_journal(
            bytes in prop::collection::vec(any::<u8>(), 0..3 * SLOT_BYTES),
            len in 0..JOURNAL_BYTES,
        ) {
            prop_assert_eq!(Record::decode(&bytes), Err(Unreadable::Damaged));
            let one = record(1, true);
            let whole = journal([(1, &one), (2, &one)]);
            prop_assert_eq!(Record::decode(&whole[..len]), Err(Unreadable::Damaged));
        }

        /// Neither a panic nor more than there is.
        #[test]
        fn whatever_a_slot_says_it_is_looked_at_first(
            bytes in prop::collection::vec(any::<u8>(), CHECKSUM_AT - 12),
            flips in prop::collection::vec((12..400_usize, any::<u8>()), 0..8),
        ) {
            let start = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
            let slot = sealed([start, bytes, vec![0; 32]].concat());
            let _ = decode_slot(&slot);
            let mut slot = record(4, true).encode(4);
            for (at, byte) in flips {
                slot[at] = byte;
            }
            if let Ok((_, found)) = decode_slot(&sealed(slot)) {
                prop_assert!(found.on_disk.map_or(0, |begun| begun.end()) <= found.source.size);
            }
        }
    }
}
