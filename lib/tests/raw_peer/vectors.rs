//! The vectors of the protocol's document, played against the real library: what is stored
//! or sent comes from the document's tables, what must follow is here. What only one system
//! has is in that system's file.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use brigade::{Error, LETTERS, Reader, Role, Side, Violation, Writer, join};

use super::{
    ABORTED, AT_PUBLISHED, AT_QUEUE, AT_REASON, AT_STATE, BLOCK_COUNT, Place, READER,
    READER_REGION, Raw, Region, WRITER, bounded, fire_at_reader, fire_at_writer, offer, options,
    real_reader, real_writer_that_sees, region_size, send_all, soon, system, violation,
};

/// A line of the document's tables.
pub(super) struct Row {
    cells: Vec<&'static str>,
}

impl Row {
    pub(super) fn id(&self) -> &'static str {
        self.cells[0]
    }

    /// What must follow, in the document's words.
    fn outcome(&self) -> &'static str {
        self.cells[self.cells.len() - 1]
    }

    /// Where the bytes are stored, where the line says so.
    pub(super) fn offsets(&self) -> Vec<usize> {
        let parse = |cell: &&str| cell.split(", ").map(|at| at.parse().ok()).collect();
        self.cells.iter().find_map(parse).unwrap_or_default()
    }

    /// The bytes that the line shows, each for itself; those with an ellipsis are filled up
    /// with zeros to a word.
    pub(super) fn bytes(&self) -> Vec<Vec<u8>> {
        let spans = self
            .cells
            .iter()
            .flat_map(|cell| cell.split('`').skip(1).step_by(2));
        spans.filter_map(parse_bytes).collect()
    }

    /// The number that the outcome ends with.
    pub(super) fn number(&self) -> u16 {
        let (_, number) = self.outcome().rsplit_once(' ').unwrap();
        number.parse().unwrap()
    }
}

fn parse_bytes(text: &str) -> Option<Vec<u8>> {
    let (digits, is_cut) = match text.strip_suffix(" …") {
        Some(digits) => (digits, true),
        None => (text, false),
    };
    let bytes = digits.split(' ').map(|byte| u8::from_str_radix(byte, 16));
    let mut bytes = bytes.collect::<Result<Vec<_>, _>>().ok()?;
    if is_cut {
        bytes.resize(8, 0);
    }
    Some(bytes)
}

pub(super) fn document() -> Vec<Row> {
    let page = include_str!("../../../docs/protocol.md");
    let rows = page.lines().filter_map(|line| {
        let cells: Vec<_> = line
            .strip_prefix("| V")?
            .split('|')
            .map(str::trim)
            .collect();
        cells[0].parse::<u32>().ok()?;
        // The id with its letter.
        let id = &line[2..3 + cells[0].len()];
        let cells = [&[id], &cells[1..cells.len() - 1]].concat();
        Some(Row { cells })
    });
    rows.collect()
}

/// Its id, the outcome in the document's words, and what plays it.
pub(super) type Vector = (&'static str, &'static str, fn(&Row));

impl Region {
    fn store(&self, offset: usize, bytes: &[u8]) {
        match bytes.len() {
            8 => self.put(offset, u64::from_ne_bytes(bytes.try_into().unwrap())),
            4 => self.put32(offset, u32::from_ne_bytes(bytes.try_into().unwrap())),
            len => {
                let mut word = self.bytes(offset, 8);
                word[..len].copy_from_slice(bytes);
                self.store(offset, &word);
            }
        }
    }
}

/// Runs those vectors of `ours` that are in the document, each with its line.
#[track_caller]
pub(super) fn play(ours: &'static [Vector]) {
    let document = document();
    for (id, outcome, act) in ours {
        let row = document.iter().find(|row| row.id() == *id);
        let row = row.unwrap_or_else(|| panic!("{id} is not in the document"));
        assert_eq!(
            row.outcome(),
            *outcome,
            "{id} has another outcome in the document"
        );
        eprintln!("{id}");
        act(row);
    }
}

#[test]
fn each_vector_for_the_head_of_a_region_has_its_outcome() {
    bounded(|| play(HEADS));
}

#[test]
fn each_vector_for_a_readers_region_has_its_outcome() {
    bounded(|| play(READERS));
}

#[test]
fn each_vector_for_a_writers_region_has_its_outcome() {
    bounded(|| play(WRITERS));
}

#[test]
fn each_vector_for_either_end_has_its_outcome() {
    bounded(|| play(EITHER));
}

#[test]
fn each_vector_for_this_system_alone_has_its_outcome() {
    bounded(|| play(system::VECTORS));
}

#[test]
fn the_vectors_of_the_document_and_those_that_are_played_are_the_same() {
    let written: Vec<_> = document().iter().map(Row::id).collect();
    let lists = [HEADS, READERS, WRITERS, EITHER, system::VECTORS];
    let played = lists
        .iter()
        .flat_map(|list| list.iter())
        .map(|vector| vector.0);
    let mut known: Vec<_> = played.chain(system::NO_VECTORS.iter().copied()).collect();
    known.sort_by_key(|id| id[1..].parse::<u32>().unwrap());
    assert_eq!(written, known);
}

// ---- the head of a region -------------------------------------------------------------

const HEADS: &[Vector] = &[
    ("V12", "refusal 7", |row| refused(row, true)),
    ("V13", "refusal 2", |row| refused(row, true)),
    ("V14", "refusal 7", |row| refused(row, true)),
    ("V15", "refusal 7", |row| refused(row, true)),
    ("V16", "refusal 3", |row| refused(row, true)),
    ("V17", "refusal 3", |row| refused(row, true)),
    ("V18", "paired", paired),
    ("V19", "paired; the greeting has 1024 bytes", paired),
    ("V20", "refusal 7", |row| {
        let at = row.offsets()[0];
        refused_by_host(row.number(), |region| region.put(at, !region.get(at)));
    }),
    ("V21", "refusal 7", |row| refused(row, false)),
    ("V22", "refusal 4", |row| refused(row, true)),
    ("V23", "refusal 7", |row| refused(row, true)),
    ("V24", "refusal 7", |row| {
        for len in [region_size(WRITER) + 4096, region_size(WRITER) - 4096] {
            let shown = || {
                let region = Region::new(len);
                region.fill_head(WRITER);
                region
            };
            host_refuses(row.number(), |_| shown());
            second_refuses(row.number(), shown());
        }
    }),
];

/// Each of the line's bytes, in a region that is right otherwise.
fn refused(row: &Row, also_by_second: bool) {
    let (at, all) = (row.offsets()[0], row.bytes());
    assert!(!all.is_empty());
    for bytes in all {
        refused_by_host(row.number(), |region| region.store(at, &bytes));
        if also_by_second {
            let region = Region::of(WRITER);
            region.store(at, &bytes);
            second_refuses(row.number(), region);
        }
    }
}

fn refused_by_host(number: u16, change: impl Fn(&Region)) {
    host_refuses(number, |host| {
        let region = Region::of(WRITER);
        region.copy_numbers(host);
        change(&region);
        region
    });
}

/// And pairs with the next joiner.
fn host_refuses(number: u16, shown: impl Fn(&Region) -> Region) {
    let place = Place::new();
    let host = place.real_host(Side::Reader);
    let refused = place.refusal(|channel, hosts| offer(channel, &shown(hosts)));
    assert_eq!(refused.0, number);
    place.assert_real_pair_works(host);
}

fn second_refuses(number: u16, shown: Region) {
    let place = Place::new();
    let (host, guest) = (place.raw_host(), place.real_guest());
    let channel = host.accept();
    offer(&channel, &shown);
    assert_eq!(channel.receive_refusal().0, number);
    match guest.join().unwrap().unwrap_err() {
        Error::Refused { reason, .. } => assert_eq!(reason.number(), number),
        error => panic!("{error:?}"),
    }
}

fn paired(row: &Row) {
    for hosting in [true, false] {
        let own = Region::of(READER);
        own.store(row.offsets()[0], &row.bytes()[0]);
        let greeting = match row.id() {
            "V19" => 1024,
            _ => 0,
        };
        let (writer, raw) = real_writer_that_sees(own, hosting);
        assert_eq!(writer.partner().greeting().len(), greeting);
        raw.put_sent(0, 0, 1, 0, 0);
        raw.publish(1);
        assert_eq!(writer.data_block_until(soon()).unwrap().unwrap().len(), 1);
    }
}

// ---- regions in a pair ----------------------------------------------------------------

/// A real end that a raw one attacks.
pub(super) trait Attacked: Sized {
    /// With nothing to take but what the raw one has.
    fn pair(hosting: bool) -> (Self, Raw);
    /// Looks for a block, and lets go of it.
    fn look(&self, deadline: Instant) -> Result<(), Error>;
    fn letter(&self) -> Result<(), Error>;
    fn post(&self) -> Result<(), Error>;
    fn fire(seed: u64);
}

impl Attacked for Writer {
    fn pair(hosting: bool) -> (Writer, Raw) {
        real_writer_that_sees(Region::of(READER), hosting)
    }

    fn look(&self, deadline: Instant) -> Result<(), Error> {
        self.data_block_until(deadline).map(drop)
    }

    fn letter(&self) -> Result<(), Error> {
        self.letter_until(soon()).map(drop)
    }

    fn post(&self) -> Result<(), Error> {
        self.post_until(0, b"letter", soon())
    }

    fn fire(seed: u64) {
        fire_at_writer(seed);
    }
}

impl Attacked for Reader {
    /// All blocks were sent.
    fn pair(hosting: bool) -> (Reader, Raw) {
        let (reader, raw) = real_reader(hosting);
        send_all(&reader);
        (reader, raw)
    }

    fn look(&self, deadline: Instant) -> Result<(), Error> {
        self.empty_block_until(deadline).map(drop)
    }

    fn letter(&self) -> Result<(), Error> {
        self.letter_until(soon()).map(drop)
    }

    fn post(&self) -> Result<(), Error> {
        self.post_until(0, b"letter", soon())
    }

    fn fire(seed: u64) {
        fire_at_reader(seed);
    }
}

/// With a host and with a second, each time for itself.
pub(super) fn with_both<E: Attacked>(test: impl Fn(E, &Raw)) {
    for hosting in [true, false] {
        let (end, raw) = E::pair(hosting);
        test(end, &raw);
    }
}

#[track_caller]
pub(super) fn assert_breach<T: Debug>(raw: &Raw, result: Result<T, Error>) -> Violation {
    let found = violation(result);
    raw.assert_was_told("broke the protocol");
    found
}

pub(super) fn store_all(raw: &Raw, offsets: &[usize], bytes: &[Vec<u8>]) {
    assert_eq!(offsets.len(), bytes.len());
    for (at, bytes) in offsets.iter().zip(bytes) {
        raw.own.store(*at, bytes);
    }
    raw.ring();
}

/// Each of the line's bytes at its one offset is a breach to who looks for a block.
fn each_is_a_breach<E: Attacked>(row: &Row) {
    for bytes in row.bytes() {
        with_both(|end: E, raw| {
            store_all(raw, &row.offsets(), std::slice::from_ref(&bytes));
            assert_breach(raw, end.look(soon()));
        });
    }
}

/// Each of the line's entries, with the count that the line ends with.
fn each_entry_is_a_breach<E: Attacked>(row: &Row) {
    let bytes = row.bytes();
    let (count, entries) = bytes.split_last().unwrap();
    assert!(!entries.is_empty());
    for entry in entries {
        with_both(|end: E, raw| {
            store_all(raw, &row.offsets(), &[entry.clone(), count.clone()]);
            assert_breach(raw, end.look(soon()));
        });
    }
}

const READERS: &[Vector] = &[
    ("V25", "breach", each_is_a_breach::<Writer>),
    ("V26", "breach after two blocks", |row| {
        with_both(|writer: Writer, raw| {
            raw.put_sent(0, 0, 1, 0, 0);
            raw.put_sent(1, 1, 1, 0, 0);
            let [two, one] = <[_; 2]>::try_from(row.bytes()).unwrap();
            store_all(raw, &row.offsets(), &[two]);
            for _ in 0..2 {
                drop(writer.data_block_until(soon()).unwrap().unwrap());
            }
            store_all(raw, &row.offsets(), &[one]);
            assert_breach(raw, writer.look(soon()));
        });
    }),
    ("V27", "breach", each_entry_is_a_breach::<Writer>),
    ("V28", "breach", each_entry_is_a_breach::<Writer>),
    ("V29", "a block of 64 bytes with MORE", |row| {
        with_both(|writer: Writer, raw| {
            store_all(raw, &row.offsets(), &row.bytes());
            let block = writer.data_block_until(soon()).unwrap().unwrap();
            assert_eq!((block.len(), block.more()), (64, true));
        });
    }),
    (
        "V30",
        "one block, then a breach; the first keeps its label",
        |row| {
            with_both(|writer: Writer, raw| {
                raw.own.put(AT_QUEUE + 8, 11);
                raw.own.put(AT_QUEUE + 24, 21);
                store_all(raw, &row.offsets(), &row.bytes());
                let block = writer.data_block_until(soon()).unwrap().unwrap();
                assert_breach(raw, writer.look(soon()));
                assert_eq!((block.len(), block.tag()), (1, 11));
            });
        },
    ),
    ("V31", "breach", each_is_a_breach::<Writer>),
    (
        "V32",
        "aborted, with a reason of 1024 bytes",
        aborted::<Writer>,
    ),
    ("V34", "breach", posted::<Writer>),
    ("V35", "breach", too_long_a_letter::<Writer>),
    ("V36", "breach at the next letter", taken::<Writer>),
    ("V37", "an error or data, never a crash", fired_at::<Writer>),
];

const WRITERS: &[Vector] = &[
    ("V38", "breach", |row| {
        for bytes in row.bytes() {
            for hosting in [true, false] {
                let (reader, raw) = real_reader(hosting);
                store_all(&raw, &row.offsets(), std::slice::from_ref(&bytes));
                // What it has itself comes first.
                let _held = held(&reader, BLOCK_COUNT);
                assert_breach(&raw, reader.look(soon()));
            }
        }
    }),
    ("V39", "breach", each_entry_is_a_breach::<Reader>),
    ("V40", "one block, then a breach", |row| {
        with_both(|reader: Reader, raw| {
            store_all(raw, &row.offsets(), &row.bytes());
            let _held = held(&reader, 1);
            assert_breach(raw, reader.look(soon()));
        });
    }),
    ("V41", "breach", |row| {
        for hosting in [true, false] {
            let (reader, raw) = real_reader(hosting);
            reader
                .empty_block_until(soon())
                .unwrap()
                .send(1, 0)
                .unwrap();
            let _held = held(&reader, BLOCK_COUNT - 1);
            store_all(&raw, &row.offsets(), &row.bytes());
            assert_breach(&raw, reader.look(soon()));
        }
    }),
    ("V42", "breach", |row| {
        each_is_a_breach::<Reader>(row);
        // All is back, but the end was not said.
        let (reader, raw) = real_reader(true);
        reader
            .empty_block_until(soon())
            .unwrap()
            .send(1, 0)
            .unwrap();
        raw.put_returned(0, 0);
        raw.own.put(AT_PUBLISHED, 1);
        let _held = held(&reader, BLOCK_COUNT);
        store_all(&raw, &row.offsets(), &row.bytes());
        assert_breach(&raw, reader.look(soon()));
    }),
    ("V43", "breach", |row| {
        with_both(|reader: Reader, raw| {
            reader.close().unwrap();
            store_all(raw, &row.offsets(), &row.bytes());
            let found = assert_breach(raw, reader.verdict_until(soon()));
            assert_eq!(found, Violation::EarlyVerdict);
        });
    }),
    ("V44", "breach", each_is_a_breach::<Reader>),
    ("V45", "the same", |_| {
        for row in document() {
            match row.id() {
                "V32" => aborted::<Reader>(&row),
                "V34" => posted::<Reader>(&row),
                "V35" => too_long_a_letter::<Reader>(&row),
                "V36" => taken::<Reader>(&row),
                "V37" => fired_at::<Reader>(&row),
                // V33, whose rings one system alone counts, is played there for both.
                _ => {}
            }
        }
    }),
];

fn held(reader: &Reader, count: u64) -> Vec<brigade::EmptyBlock<'_>> {
    let blocks = (0..count).map(|_| reader.empty_block_until(soon()).unwrap());
    blocks.collect()
}

fn aborted<E: Attacked>(row: &Row) {
    with_both(|end: E, raw| {
        store_all(raw, &row.offsets(), &row.bytes());
        match end.look(soon()).unwrap_err() {
            Error::PartnerAborted { reason, .. } => assert_eq!(reason.chars().count(), 1024),
            error => panic!("{error:?}"),
        }
    });
}

fn posted<E: Attacked>(row: &Row) {
    for bytes in row.bytes() {
        with_both(|end: E, raw| {
            store_all(raw, &row.offsets(), std::slice::from_ref(&bytes));
            assert_breach(raw, end.letter());
        });
    }
}

fn too_long_a_letter<E: Attacked>(row: &Row) {
    with_both(|end: E, raw| {
        store_all(raw, &row.offsets(), &row.bytes());
        assert_breach(raw, end.letter());
    });
}

fn taken<E: Attacked>(row: &Row) {
    let [beyond, five, back] = <[_; 3]>::try_from(row.bytes()).unwrap();
    let post = |end: &E, count| (0..count).for_each(|_| end.post().unwrap());
    with_both(|end: E, raw| {
        post(&end, LETTERS);
        store_all(raw, &row.offsets(), std::slice::from_ref(&beyond));
        assert_breach(raw, end.post());
    });
    with_both(|end: E, raw| {
        post(&end, LETTERS);
        store_all(raw, &row.offsets(), std::slice::from_ref(&five));
        post(&end, 5);
        store_all(raw, &row.offsets(), std::slice::from_ref(&back));
        assert_breach(raw, end.post());
    });
}

fn fired_at<E: Attacked>(_: &Row) {
    (1..=20).for_each(E::fire);
}

// ---- either, in a pair ----------------------------------------------------------------

const EITHER: &[Vector] = &[
    ("V47", "no deadline is missed", |_| {
        rung_without_end::<Writer>();
        rung_without_end::<Reader>();
    }),
    (
        "V49",
        "the partner has died, after all that was published",
        |_| hung_up(),
    ),
    (
        "V50",
        "the old region stays as it was, but for ABORTED and a reason (D13, E19)",
        |_| assert_old_region_stays(),
    ),
];

fn rung_without_end<E: Attacked>() {
    let (end, raw) = E::pair(true);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let raw = raw;
            while !over.load(Ordering::Relaxed) {
                raw.ring();
            }
        });
        let since = Instant::now();
        let looked = end.look(since + Duration::from_millis(50));
        let took = since.elapsed();
        over.store(true, Ordering::Relaxed);
        assert!(matches!(looked, Err(Error::TimedOut)), "{looked:?}");
        assert!(took < Duration::from_secs(10), "{took:?}");
    });
}

fn hung_up() {
    let has_died = |looked: Result<(), Error>| {
        let error = looked.unwrap_err();
        assert!(matches!(error, Error::PartnerDied { .. }), "{error:?}");
    };
    for hosting in [true, false] {
        let (writer, raw) = Writer::pair(hosting);
        raw.put_sent(0, 0, 1, 0, 0);
        raw.own.put(AT_PUBLISHED, 1);
        drop(raw);
        drop(writer.data_block_until(soon()).unwrap().unwrap());
        has_died(writer.look(soon()));
        let (reader, raw) = Reader::pair(hosting);
        raw.put_returned(0, 0);
        raw.own.put(AT_PUBLISHED, 1);
        drop(raw);
        let _held = held(&reader, 1);
        has_died(reader.look(soon()));
    }
}

fn assert_old_region_stays() {
    for hosting in [true, false] {
        let (reader, raw) = Reader::pair(hosting);
        let Raw { link, peer, .. } = raw;
        drop(link);
        let error = reader.finish_until(soon()).unwrap_err();
        assert!(matches!(error, Error::PartnerDied { .. }), "{error:?}");
        let mut unreturned = reader.into_unreturned().unwrap();
        // But for the word that this end has left.
        let rest = || {
            let parts = [(0, AT_STATE), (AT_STATE + 128, AT_REASON)];
            let head = parts.map(|(from, to)| peer.bytes(from, to - from));
            let after = AT_REASON + 1024;
            (head, peer.bytes(after, READER_REGION - after))
        };
        let before = rest();
        let place = Place::new();
        let name = place.name.clone();
        let writer =
            thread::spawn(
                move || match join(&name, &options().side(Side::Writer)).unwrap() {
                    Role::Writer(writer) => {
                        while writer.data_block_until(soon()).unwrap().is_some() {}
                        writer.finish().unwrap().blocks
                    }
                    role => panic!("{role:?}"),
                },
            );
        let reader = unreturned.rejoin(&place.name, &options()).unwrap();
        reader.verdict_until(soon()).unwrap();
        assert_eq!(writer.join().unwrap(), BLOCK_COUNT);
        assert_eq!(peer.get32(AT_STATE), ABORTED);
        assert!(before == rest(), "the old region has changed");
    }
}
