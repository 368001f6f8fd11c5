//! Copies that are broken off, and gone on with.

mod enemies;
mod power;

use std::io::Write;
use std::path::Path;
use std::time::Duration;

pub(crate) use enemies::STEPS;

use crate::harness::{Half, Outcome, PARTIAL, Place, SOON, noise, sys, wait_until};

const MIB: usize = 1 << 20;

/// What is compared, and noted, at a time.
const SUBTREE: usize = 16 * MIB;

/// Enough for several notes, of which there is one in a second at most.
const SIZE: usize = 9 * SUBTREE + 12_345;

/// So that a copy lasts for some of them.
const SLOW: &str = "--limit-rate=30M";

const JOURNAL: &str = ".b.brigade-journal";
const SLOT: usize = 4096;

const GOES_ON: &str = "goes on at";
const STARTS_OVER: &str = "starts over: ";

/// A source of which no two parts are the same.
fn source(len: usize) -> Vec<u8> {
    let mut bytes = noise(MIB).repeat(len.div_ceil(MIB));
    for (number, part) in bytes.chunks_mut(MIB).enumerate() {
        part[..8].copy_from_slice(&number.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Both halves of a copy, each of which can be killed.
fn start(place: &Place, options: &[&str]) -> [Half; 2] {
    let name = place.name();
    let half = |role, path| {
        let args = [&["--as", role, "--name", &name], options, &[path]].concat();
        Half::start(place.brigade(args))
    };
    [half("reader", "a"), half("writer", "b")]
}

fn start_resumed(place: &Place, options: &[&str]) -> [Half; 2] {
    start(place, &[&["--resume"], options].concat())
}

fn resume(place: &Place, options: &[&str]) -> Outcome {
    place.both(&[&["--resume"], options].concat(), "a", "b")
}

/// How many bytes are on disk by the newest slot of a journal, if it says so at all.
fn noted(journal: &Path) -> Option<u64> {
    let newest = slots(journal).into_iter().max();
    newest.map(|(_, bytes)| bytes).filter(|&bytes| bytes > 0)
}

/// Whether two notes were written, so that the writer knows that the first one is on disk.
fn noted_twice(journal: &Path) -> bool {
    let slots = slots(journal);
    slots.len() == 2 && slots.iter().all(|&(_, bytes)| bytes > 0)
}

/// The number of each, and how much it says is on disk.
fn slots(journal: &Path) -> Vec<(u64, u64)> {
    let bytes = std::fs::read(journal).unwrap_or_default();
    let slots = bytes.chunks_exact(SLOT).map(|slot| {
        let number = |at: usize| u64::from_le_bytes(slot[at..at + 8].try_into().unwrap());
        (number(NUMBER_AT), number(SUBTREES_AT) * SUBTREE as u64)
    });
    slots.collect()
}

// Where these are in a slot.
const VERSION_AT: usize = 8;
const NUMBER_AT: usize = 12;
const SUBTREES_AT: usize = 97;
const VALUES_LEN_AT: usize = 105;
const CHECKSUM_AT: usize = SLOT - 32;

/// Leaves a copy of `a` to `b` that was broken off by `kill -9`, and of which something is
/// on disk: how much.
fn broken_off(place: &Place, options: &[&str]) -> u64 {
    // So slow that it is not complete before a busy machine sees the first note.
    broken_off_at(place, "--limit-rate=15M", options)
}

fn broken_off_at(place: &Place, rate: &str, options: &[&str]) -> u64 {
    // On a busy machine it may be complete before it is killed.
    let left = (0..5).find_map(|_| broken_off_once(place, rate, options));
    left.unwrap()
}

/// `None` if it was complete before: then it is removed.
fn broken_off_once(place: &Place, rate: &str, options: &[&str]) -> Option<u64> {
    let journal = place.path(JOURNAL);
    let before = noted(&journal);
    let mut halves = start_resumed(place, &[&[rate, "--quiet"], options].concat());
    let has_more = || noted(&journal).is_some_and(|now| Some(now) != before);
    wait_until("a note", SOON, has_more);
    for half in &mut halves {
        half.kill();
    }
    for half in halves {
        half.end();
    }
    let left = noted(&journal);
    if left.is_none() {
        std::fs::remove_file(place.path("b")).unwrap();
    }
    left
}

/// It is whole, and nothing is left.
#[track_caller]
fn expect_whole(place: &Place, content: &[u8]) {
    assert!(std::fs::read(place.path("b")).unwrap() == content);
    assert!(!place.path(PARTIAL).exists() && !place.path(JOURNAL).exists());
}

/// As `Half::kill`, of both, at some moment of the copy.
fn random_moment(seed: usize) -> Duration {
    let bytes = noise(seed + 8);
    Duration::from_micros(600_000 + 30 * u64::from(u16::from_le_bytes([bytes[0], bytes[1]])))
}

#[test]
fn a_copy_whose_halves_are_killed_again_and_again_is_whole_in_the_end() {
    let content = source(SIZE);
    for (case, options) in [&[][..], &["--verify"]].into_iter().enumerate() {
        let place = Place::new();
        place.file("a", &content);
        // The reader, the writer, or both at once.
        for round in 0..6 {
            let [mut reader, mut writer] = start_resumed(&place, &[options, &[SLOW]].concat());
            std::thread::sleep(random_moment(7 * round + case));
            if round % 3 != 1 {
                reader.kill();
            }
            if round % 3 != 0 {
                writer.kill();
            }
            let outcomes = [reader.end(), writer.end()];
            for outcome in &outcomes {
                // It may have been killed before there was a note.
                let over = outcome.said.matches(STARTS_OVER).count();
                let for_nothing = outcome.said.matches("nothing of the earlier copy").count();
                let no_journal = outcome.said.matches("has left no journal").count();
                assert_eq!(over, for_nothing + no_journal, "{outcome:?}");
            }
            let left = noted(&place.path(JOURNAL)).unwrap_or(0) as usize;
            if left > SIZE / 2 {
                break;
            }
        }
        let left = noted(&place.path(JOURNAL));
        let outcomes = start_resumed(&place, options).map(|half| half.end().expect(0));
        for outcome in &outcomes {
            assert_eq!(
                outcome.said.contains(GOES_ON),
                left.is_some(),
                "{outcome:?}"
            );
        }
        expect_whole(&place, &content);
    }
}

#[test]
fn a_copy_that_is_stopped_or_fails_says_what_it_keeps_and_how_to_go_on() {
    let content = source(SIZE);
    let place = Place::new();
    place.file("a", &content);
    place.file("b", "old");
    // One command, which is told to end: perhaps a moment too early.
    while sys::can_interrupt() && !place.path(PARTIAL).exists() {
        let args = ["--both", "--resume", SLOW, "a", "b"];
        let copy = Half::start(place.brigade(args));
        let journal = place.path(JOURNAL);
        wait_until("a note", SOON, || noted(&journal).is_some());
        std::thread::sleep(Duration::from_millis(100));
        copy.interrupt(&sys::INTERRUPTIONS[0]);
        let outcome = copy.end().expect(sys::INTERRUPTIONS[0].code);
        let words = "if the writer has noted any of it as on disk, the same command with --resume goes on from there";
        assert!(outcome.said.contains(words), "{outcome:?}");
        assert_eq!(std::fs::read(place.path("b")).unwrap(), b"old");
    }
    // Two, of which the one that writes knows how much. Where a note takes long, the next one
    // comes up to ten seconds later.
    let [mut reader, writer] = start_resumed(&place, &["--limit-rate=8M"]);
    if sys::can_interrupt() {
        writer.hear(GOES_ON);
    }
    // What is noted first is kept only once the note itself is on disk.
    wait_until("two notes", SOON, || noted_twice(&place.path(JOURNAL)));
    reader.kill();
    reader.end();
    let writer = writer.end().expect(4);
    let kept = writer
        .said
        .contains("MiB are kept: the same command with --resume");
    assert!(kept, "{writer:?}");
    assert_eq!(std::fs::read(place.path("b")).unwrap(), b"old");
    let outcome = resume(&place, &[]).expect(0);
    let on_disk = outcome
        .said
        .contains(" of 144.0 MiB: the earlier copy had that on disk");
    assert!(outcome.said.contains(GOES_ON) && on_disk, "{outcome:?}");
    assert!(
        outcome.said.contains(" of it before, on disk"),
        "{outcome:?}"
    );
    expect_whole(&place, &content);
    place.assert_only_locks_left();
    // There is nothing to go on with any more.
    let outcome = resume(&place, &[]).expect(0);
    assert!(!outcome.said.contains(GOES_ON), "{outcome:?}");
    assert!(!outcome.said.contains(STARTS_OVER), "{outcome:?}");
}

#[test]
fn without_the_option_what_was_left_is_told_of_and_removed() {
    let content = source(SIZE);
    let place = Place::new();
    place.file("a", &content);
    broken_off(&place, &[]);
    let outcome = place.both(&[], "a", "b").expect(0);
    let told = "starts over, though --resume would have gone on at";
    assert!(outcome.said.contains(told), "{outcome:?}");
    expect_whole(&place, &content);
    // Of another source there is nothing to tell.
    broken_off(&place, &[]);
    place.file("a", "another");
    let outcome = place.both(&[], "a", "b").expect(0);
    assert!(!outcome.said.contains("--resume"), "{outcome:?}");
    expect_whole(&place, b"another");
    // One that is killed leaves no journal.
    place.file("a", &content);
    broken_off(&place, &[]);
    let mut halves = start(&place, &[SLOW]);
    halves[1].hear("though --resume");
    place.wait_for_data();
    // The writer first: when it sees that the reader is gone, it removes what it has made.
    halves.iter_mut().rev().for_each(Half::kill);
    for half in halves {
        half.end();
    }
    assert!(!place.path(JOURNAL).exists());
    let outcome = resume(&place, &[]).expect(0);
    assert!(outcome.said.contains("has left no journal"), "{outcome:?}");
    expect_whole(&place, &content);
}

#[test]
fn with_events_it_is_told_where_the_copy_begins_and_why() {
    let content = source(SIZE);
    let place = Place::new();
    place.file("a", &content);
    let left = broken_off(&place, &[]);
    let outcome = resume(&place, &["--json"]).expect(0);
    let event = format!(r#""offset":{left},"starts_over":null,"message":null,"unused":null"#);
    assert!(outcome.said.contains(&event), "{outcome:?}");
    let event = format!(r#""before":{left}"#);
    assert!(outcome.said.contains(&event), "{outcome:?}");
    broken_off(&place, &[]);
    std::fs::remove_file(place.path(JOURNAL)).unwrap();
    let outcome = resume(&place, &["--json"]).expect(0);
    let event =
        r#""offset":0,"starts_over":"no_journal","message":"the earlier copy has left no journal""#;
    assert!(outcome.said.contains(event), "{outcome:?}");
    let left = broken_off(&place, &[]);
    let outcome = place.both(&["--json"], "a", "b").expect(0);
    let event = format!(r#""offset":0,"starts_over":null,"message":null,"unused":{left}"#);
    assert!(outcome.said.contains(&event), "{outcome:?}");
}

// ---- what is not what it was ----------------------------------------------------

/// A broken-off copy, `change`d, starts over, and says why.
#[track_caller]
fn starts_over(why: &str, change: impl Fn(&Place) -> Vec<&'static str>) {
    let mut content = source(SIZE);
    let place = Place::new();
    place.file("a", &content);
    broken_off(&place, &[]);
    let options = change(&place);
    if std::fs::metadata(place.path("a")).unwrap().len() < SIZE as u64 {
        content.truncate(SIZE - 1);
    }
    let halves = start_resumed(&place, &options).map(|half| half.end().expect(0));
    for half in halves {
        let told = format!("{STARTS_OVER}{why}");
        assert!(half.said.contains(&told), "{why}: {half:?}");
        assert!(!half.said.contains(GOES_ON), "{why}: {half:?}");
    }
    expect_whole(&place, &content);
}

/// Replaces a file by a copy of it, which is another one.
fn replace(path: &Path) {
    let copy = path.with_extension("copy");
    std::fs::copy(path, &copy).unwrap();
    std::fs::rename(copy, path).unwrap();
}

fn set_len(path: &Path, len: usize) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_len(len as u64).unwrap();
}

/// Changes both slots of a journal, whose checksums are right again if `is_sealed`.
fn change_journal(place: &Place, is_sealed: bool, change: impl Fn(&mut [u8])) {
    let path = place.path(JOURNAL);
    let mut journal = std::fs::read(&path).unwrap();
    for slot in journal.chunks_exact_mut(SLOT) {
        change(slot);
        if is_sealed {
            let checksum = blake3::hash(&slot[..CHECKSUM_AT]);
            slot[CHECKSUM_AT..].copy_from_slice(checksum.as_bytes());
        }
    }
    write_in_place(&path, 0, &journal);
}

fn write_in_place(path: &Path, at: u64, bytes: &[u8]) {
    use std::io::Seek;
    let mut file = std::fs::File::options().write(true).open(path).unwrap();
    file.seek(std::io::SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

#[test]
fn another_source_or_state_of_it_starts_over() {
    starts_over("the source was changed since", |place| {
        let path = place.path("a");
        let file = std::fs::File::options().write(true).open(path).unwrap();
        let time = std::time::SystemTime::now() + Duration::from_secs(5);
        file.set_modified(time).unwrap();
        Vec::new()
    });
    starts_over("the source was changed since", |place| {
        set_len(&place.path("a"), SIZE - 1);
        Vec::new()
    });
    starts_over("the earlier copy was of another source", |place| {
        replace(&place.path("a"));
        Vec::new()
    });
}

#[test]
fn another_partial_file_or_content_of_it_starts_over() {
    starts_over("the partial file is not the journal's", |place| {
        replace(&place.path(PARTIAL));
        Vec::new()
    });
    starts_over("the partial file was shortened", |place| {
        set_len(&place.path(PARTIAL), SUBTREE - 1);
        Vec::new()
    });
    starts_over("the partial file has other content by now", |place| {
        let end = noted(&place.path(JOURNAL)).unwrap();
        write_in_place(&place.path(PARTIAL), end - 1, b"x");
        Vec::new()
    });
    starts_over("the earlier copy's partial file is gone", |place| {
        std::fs::remove_file(place.path(PARTIAL)).unwrap();
        Vec::new()
    });
}

#[test]
fn a_journal_that_cannot_be_believed_starts_over() {
    starts_over("the journal is damaged", |place| {
        set_len(&place.path(JOURNAL), 2 * SLOT - 1);
        Vec::new()
    });
    starts_over("the journal is damaged", |place| {
        change_journal(place, false, |slot| slot[SUBTREES_AT] ^= 1);
        Vec::new()
    });
    starts_over(
        "nothing of the earlier copy was noted as on disk",
        |place| {
            set_len(&place.path(JOURNAL), 0);
            Vec::new()
        },
    );
    starts_over("the journal is of another version", |place| {
        change_journal(place, true, |slot| slot[VERSION_AT] += 1);
        Vec::new()
    });
    starts_over("the earlier copy has left no journal", |place| {
        std::fs::remove_file(place.path(JOURNAL)).unwrap();
        Vec::new()
    });
    starts_over(
        "nothing of the earlier copy was noted as on disk",
        |place| {
            change_journal(place, true, |slot| {
                slot[SUBTREES_AT..CHECKSUM_AT].fill(0);
            });
            Vec::new()
        },
    );
}

#[test]
fn other_options_that_matter_start_over() {
    starts_over("the earlier copy was without --verify", |_| {
        vec!["--verify"]
    });
    starts_over("the earlier copy had another --sparse", |_| {
        vec!["--sparse=never"]
    });
}

#[test]
fn the_reader_compares_its_source_too_and_starts_over() {
    starts_over("the source has other content by now", |place| {
        agree_on_other_content(place);
        Vec::new()
    });
}

/// Partial file and journal agree with each other, but not with the source.
fn agree_on_other_content(place: &Place) {
    use blake3::hazmat::HasherExt;
    let end = noted(&place.path(JOURNAL)).unwrap();
    let partial = place.path(PARTIAL);
    write_in_place(&partial, end - 1, b"x");
    let mut last = std::fs::read(&partial).unwrap();
    last.truncate(end as usize);
    let last = last.split_off(end as usize - SUBTREE);
    let mut hash = blake3::Hasher::new();
    hash.set_input_offset(end - SUBTREE as u64);
    let value = hash.update(&last).finalize_non_root();
    change_journal(place, true, |slot| {
        let len = &slot[VALUES_LEN_AT..VALUES_LEN_AT + 2];
        let len = usize::from(u16::from_le_bytes(len.try_into().unwrap()));
        let values = VALUES_LEN_AT + 2;
        if len > 0 {
            slot[values + len - 32..values + len].copy_from_slice(&value);
        }
    });
}

#[test]
fn an_older_journal_and_half_a_journal_are_true_all_the_same() {
    let content = source(SIZE);
    let place = Place::new();
    place.file("a", &content);
    let rate = "--limit-rate=20M";
    let older = broken_off_at(&place, rate, &[]);
    let journal = std::fs::read(place.path(JOURNAL)).unwrap();
    let newer = broken_off_at(&place, rate, &[]);
    assert!(newer > older);
    // The newest slot is torn: the one before it counts.
    let newest = std::fs::read(place.path(JOURNAL)).unwrap();
    let number = |slot: usize| newest[slot * SLOT + NUMBER_AT];
    let last = usize::from(number(1) > number(0));
    write_in_place(
        &place.path(JOURNAL),
        (last * SLOT + CHECKSUM_AT) as u64,
        b"torn",
    );
    let outcome = resume(&place, &["--json"]);
    let expected = format!(r#""offset":{older},"starts_over":null"#);
    assert!(outcome.expect(0).said.contains(&expected));
    expect_whole(&place, &content);
    // As a file system may bring it back.
    broken_off(&place, &[]);
    write_in_place(&place.path(JOURNAL), 0, &journal);
    let outcome = resume(&place, &[]).expect(0);
    let told = format!("{STARTS_OVER}the partial file is not the journal's");
    assert!(outcome.said.contains(&told), "{outcome:?}");
    expect_whole(&place, &content);
}

#[test]
fn what_else_was_asked_for_holds_for_a_copy_that_is_resumed() {
    let content = source(SIZE);
    let place = Place::new();
    place.file("a", &content);
    place.file("b", "old");
    // The source's hash is that of all bytes, and not only of those that were left.
    let hash = format!("--expect-blake3={}", blake3::hash(&content));
    let size = format!("--size={SIZE}");
    broken_off(&place, &["--backup=.old"]);
    let outcome = resume(&place, &["--backup=.old", &hash, &size]).expect(0);
    assert!(outcome.said.contains(GOES_ON), "{outcome:?}");
    assert_eq!(std::fs::read(place.path("b.old")).unwrap(), b"old");
    expect_whole(&place, &content);
    std::fs::remove_file(place.path("b")).unwrap();
    broken_off(&place, &["--no-clobber"]);
    let outcome = resume(&place, &["--no-clobber"]).expect(0);
    assert!(outcome.said.contains(GOES_ON), "{outcome:?}");
    expect_whole(&place, &content);
    // What is not what was expected is not kept.
    broken_off(&place, &[]);
    let wrong = format!("--expect-blake3={}", blake3::hash(b"else"));
    let name = place.name();
    let args = ["--resume", "--name", &name, "--as"];
    let reader = Half::start(place.brigade([&args[..], &["reader", "a"]].concat()));
    let writer = Half::start(place.brigade([&args[..], &["writer", &wrong, "b"]].concat()));
    let writer = writer.end().expect(1);
    assert!(!writer.said.contains("kept"), "{writer:?}");
    reader.end().expect(4);
    assert!(!place.path(PARTIAL).exists() && !place.path(JOURNAL).exists());
}

#[test]
fn holes_are_holes_again_in_a_copy_that_is_resumed() {
    let place = Place::new();
    let mut content = source(SIZE);
    place.file("a", &content[..2 * SUBTREE]);
    // From the end of one subtree until within another, and at the end.
    set_len(&place.path("a"), SIZE);
    let data = 6 * SUBTREE + 5 * MIB..8 * SUBTREE;
    write_in_place(&place.path("a"), data.start as u64, &content[data.clone()]);
    content[2 * SUBTREE..data.start].fill(0);
    content[data.end..].fill(0);
    for options in [&[][..], &["--verify"]] {
        broken_off_at(&place, "--limit-rate=20M", options);
        let outcome = resume(&place, options).expect(0);
        assert!(outcome.said.contains(GOES_ON), "{outcome:?}");
        expect_whole(&place, &content);
        if sys::finds_holes(&place.path("a")) {
            let allocated =
                [place.path("a"), place.path("b")].map(|path| sys::allocated_bytes(&path));
            assert!(allocated[1] <= allocated[0] + MIB as u64, "{allocated:?}");
        }
    }
}

#[test]
fn what_cannot_be_resumed_is_refused_with_the_reason() {
    let place = Place::new();
    place.file("a", "new");
    for (args, code, why) in [
        (&["-", "b"][..], 2, "standard input cannot be read again"),
        (&["a", "-"], 2, "standard output is not kept"),
        (
            &["--no-sync", "a", "b"],
            2,
            "cannot be used with '--no-sync'",
        ),
        (
            &["--in-place", "a", "b"],
            2,
            "cannot be used with '--in-place'",
        ),
        (
            &["a", sys::NULL_DEVICE],
            1,
            "--resume needs a file to write",
        ),
        (
            &[sys::NULL_DEVICE, "b"],
            1,
            "--resume needs a source that is a file",
        ),
    ] {
        let args = [&["--both", "--resume"], args].concat();
        Half::start(place.brigade(args))
            .end()
            .expect_line(code, &[why]);
    }
    // Without it in both commands, the hash could not be gone on with.
    let name = place.name();
    let half = |args: &[&str]| {
        let args = [&["--name", &name, "--verify", "--as"], args].concat();
        Half::start(place.brigade(args))
    };
    let reader = half(&["reader", "a"]);
    let writer = half(&["writer", "--resume", "b"]).end().expect(1);
    assert!(
        writer.said.contains("started without --resume"),
        "{writer:?}"
    );
    reader.end().expect(4);
    // What is too small to be resumed is copied as ever.
    resume(&place, &[]).expect(0);
    expect_whole(&place, b"new");
}

#[test]
fn an_empty_file_is_copied_with_the_option_too() {
    let place = Place::new();
    place.file("a", "");
    place.file("b", "old");
    resume(&place, &[]).expect(0);
    expect_whole(&place, b"");
}

#[test]
fn what_cannot_be_what_was_left_is_to_be_removed() {
    let place = Place::new();
    place.file("a", "new");
    place.file("b", "old");
    let partial = place.path(PARTIAL);
    std::fs::hard_link(place.file("named", "mine"), &partial).unwrap();
    resume(&place, &[]).expect_line(1, &[PARTIAL, "it has another name, too; remove it"]);
    std::fs::remove_file(&partial).unwrap();
    resume(&place, &[]).expect(0);
    assert_eq!(std::fs::read(place.path("named")).unwrap(), b"mine");
    expect_whole(&place, b"new");
}

#[test]
fn two_copies_that_would_resume_the_same_do_not_meet_in_its_files() {
    let content = source(SIZE);
    let place = Place::new();
    place.file("a", &content);
    let left = broken_off(&place, &[]);
    let [first, _writer] = start_resumed(&place, &["--limit-rate=4M"]);
    first.hear(GOES_ON);
    for options in [&["--resume"][..], &[]] {
        let args = [&["--both", "--name=other"], options, &["a", "b"]].concat();
        let second = Half::start(place.brigade(args)).end();
        let is_in_use = second.said.contains("another copy is being written");
        assert!(second.code == Some(1) && is_in_use, "{second:?}");
    }
    assert!(noted(&place.path(JOURNAL)).unwrap() >= left);
}

#[test]
fn who_takes_a_dead_writer_s_place_goes_on_with_its_journal_too() {
    let content = source(SIZE);
    for options in [&[][..], &["--verify"]] {
        let place = Place::new();
        place.file("a", &content);
        let name = place.name();
        let half = |role: &str, path: &str| {
            // Where notes are dear, ten seconds may be between two.
            let args = [
                "--resume",
                "--takeover=60",
                "--limit-rate=10M",
                "--as",
                role,
            ];
            let args = [&args[..], options, &["--name", &name, path]].concat();
            Half::start(place.brigade(args))
        };
        let journal = place.path(JOURNAL);
        let (mut reader, mut writer) = (half("reader", "a"), half("writer", "b"));
        wait_until("a note", SOON, || noted(&journal).is_some());
        writer.kill();
        writer.end();
        let first = noted(&journal);
        let mut writer = half("writer", "b");
        wait_until("another", SOON, || noted(&journal) > first);
        reader.kill();
        writer.kill();
        for half in [reader, writer] {
            half.end();
        }
        let left = noted(&journal).unwrap();
        let outcome = resume(&place, &[options, &["--json"]].concat()).expect(0);
        let event = format!(r#""offset":{left},"starts_over":null"#);
        assert!(outcome.said.contains(&event), "{outcome:?}");
        expect_whole(&place, &content);
    }
}

#[test]
fn a_reader_that_dies_while_it_compares_is_replaced_by_one_that_compares() {
    let content = source(SIZE);
    let place = Place::new();
    place.file("a", &content);
    broken_off(&place, &[]);
    agree_on_other_content(&place);
    let name = place.name();
    let half = |options: &[&str]| {
        let args = ["-v", "--resume", "--takeover=60", "--name", &name, "--as"];
        Half::start(place.brigade([&args[..], options].concat()))
    };
    // It takes seconds to read the last subtree again.
    let mut reader = half(&["reader", "--limit-rate=4M", "a"]);
    let writer = half(&["writer", "b"]);
    reader.hear("the partner is");
    std::thread::sleep(Duration::from_secs(1));
    reader.kill();
    reader.end();
    writer.hear("its place is held");
    let reader = half(&["reader", "a"]).end().expect(0);
    let writer = writer.end().expect(0);
    for half in [reader, writer] {
        let told = half
            .said
            .contains("starts over: the source has other content");
        assert!(told, "{half:?}");
    }
    expect_whole(&place, &content);
}
