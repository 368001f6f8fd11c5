//! What the Writer makes of more than data: holes, the hash of it all, and what a Reader
//! tells that cannot be trusted.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use brigade::{Label, Options, Role, Side};

use crate::harness::{GREETING, Half, Outcome, Place, SOON, ask, noise, sys};

const BLOCK: usize = 256 * 1024;

// ---- holes ------------------------------------------------------------------------

/// 16 MiB with little in it: noise at 4 MiB, and at `end`.
fn sparse_file(path: &Path, end: bool) -> Vec<u8> {
    const SIZE: usize = 16 << 20;
    let mut content = vec![0; SIZE];
    let mut file = File::create(path).unwrap();
    file.set_len(SIZE as u64).unwrap();
    let last = if end { SIZE - BLOCK } else { 8 << 20 };
    for offset in [4 << 20, last] {
        content[offset..offset + BLOCK].copy_from_slice(&noise(BLOCK));
        file.seek(SeekFrom::Start(offset as u64)).unwrap();
        file.write_all(&noise(BLOCK)).unwrap();
    }
    content
}

#[test]
fn holes_are_holes_again_on_every_file_system() {
    let usual = Place::new();
    sparse_file(&usual.path("a"), false);
    if !sys::finds_holes(&usual.path("a")) {
        return;
    }
    let mut directories = vec![usual.root().to_owned()];
    let mounted = ["tmpfs", "xfs", "btrfs", "ext4"].map(sys::mounted);
    directories.extend(mounted.iter().flatten().map(sys::Mounted::path));
    for directory in directories {
        for end in [false, true] {
            let content = sparse_file(&usual.path("a"), end);
            let b = directory.join("b");
            let copy = |options: &[&str]| {
                usual.both(options, "a", b.to_str().unwrap()).expect(0);
                assert!(std::fs::read(&b).unwrap() == content, "{b:?}");
                sys::allocated_bytes(&b)
            };
            // A hole also ends a block that could have more.
            for option in ["--verify", "--block-size=4M"] {
                let allocated = copy(&[option]);
                assert!(allocated < 2 << 20, "{option}: {allocated} bytes in {b:?}");
            }
            let allocated = copy(&["--sparse=never"]);
            assert!(allocated >= 16 << 20, "{allocated} bytes in {b:?}");
        }
    }
}

#[test]
fn a_writer_that_shall_fill_holes_does_so_whatever_the_reader_was_told() {
    let place = Place::new();
    let content = sparse_file(&place.path("a"), false);
    let name = place.name();
    let writer = ["--as", "writer", "--name", &name, "--sparse=never", "b"];
    let writer = Half::start(place.brigade(writer));
    Half::start(place.brigade(["--as", "reader", "--name", &name, "a"]))
        .end()
        .expect(0);
    writer.end().expect(0);
    let b = place.path("b");
    assert!(std::fs::read(&b).unwrap() == content);
    assert!(sys::allocated_bytes(&b) >= 16 << 20);
}

#[test]
fn holes_are_zeros_in_streams_and_in_a_file_that_is_standard_output() {
    let place = Place::new();
    let content = sparse_file(&place.path("a"), false);
    let mut stream = Half::start(place.brigade(["--both", "a", "-"]));
    stream.collect_output();
    assert!(stream.end().expect(0).output == content);
    // Something else is there already.
    let b = place.file("b", vec![0xff; 16 << 20]);
    let mut command = place.brigade(["--both", "a", "-"]);
    command.stdout(File::options().write(true).open(&b).unwrap());
    Half::start_as_it_is(command).end().expect(0);
    assert!(std::fs::read(&b).unwrap() == content);
}

#[test]
fn holes_overwrite_what_is_on_a_disk_and_a_disk_is_verified() {
    let place = Place::new();
    let image = place.file("image", vec![0xff; 32 << 20]);
    let Some(disk) = sys::disk(&image) else {
        return;
    };
    let content = sparse_file(&place.path("a"), false);
    let options = ["--verify", "--preserve=all", "--backup", "--direct=always"];
    place.both(&options, "a", disk.path()).expect(0);
    let mut found = Vec::new();
    File::open(disk.path())
        .unwrap()
        .read_to_end(&mut found)
        .unwrap();
    let (copied, beyond) = found.split_at(content.len());
    assert!(copied == content);
    assert!(beyond.iter().all(|&byte| byte == 0xff));
}

// ---- verification -------------------------------------------------------------------

/// A copy that was fed one half, which is in the partial file by now.
fn half_way(place: &Place, data: &[u8], options: &[&str]) -> Half {
    let mut copy = place.begin(options);
    let mut input = copy.input();
    let first = data[..data.len() / 2].to_vec();
    let len = first.len() as u64;
    input.write_all(&first).unwrap();
    let partial = place.path(".b.brigade-partial");
    while std::fs::metadata(&partial).unwrap().len() < len {
        std::thread::sleep(Duration::from_millis(1));
    }
    let rest = data[data.len() / 2..].to_vec();
    let mut other = File::options().write(true).open(&partial).unwrap();
    other.write_all(b"corrupted").unwrap();
    std::thread::spawn(move || input.write_all(&rest));
    copy
}

#[test]
fn what_is_not_on_disk_as_it_was_read_does_not_become_the_destination() {
    let place = Place::new();
    let data = noise(4 << 20);
    let mut corrupted = data.clone();
    corrupted[..9].copy_from_slice(b"corrupted");
    place.file("b", "old");
    let outcome = half_way(&place, &data, &["--verify"]).end().expect(1);
    for part in [
        "b is not what was read".to_owned(),
        blake3::hash(&data).to_string(),
        blake3::hash(&corrupted).to_string(),
    ] {
        assert!(outcome.said.contains(&part), "{part} {outcome:?}");
    }
    assert_eq!(std::fs::read(place.path("b")).unwrap(), b"old");
    place.assert_nothing_left();
    // Nobody else would notice.
    half_way(&place, &data, &[]).end().expect(0);
    assert!(std::fs::read(place.path("b")).unwrap() == corrupted);
}

#[test]
fn what_is_verified_is_good_in_files_and_streams_of_all_sizes() {
    for size in [0, 1, BLOCK, 5 * BLOCK + 1] {
        let place = Place::new();
        let data = noise(size);
        place.file("a", &data);
        place.both(&["--verify"], "a", "b").expect(0);
        place
            .both(&["--verify", "--no-sync", "--block-size=7K"], "a", "c")
            .expect(0);
        for half in place.twice(&["--verify", "a", "d"]) {
            half.end().expect(0);
        }
        for destination in ["b", "c", "d"] {
            assert!(std::fs::read(place.path(destination)).unwrap() == data);
        }
        let mut stream = Half::start(place.brigade(["--both", "--verify", "a", "-"]));
        stream.collect_output();
        assert!(stream.end().expect(0).output == data);
    }
}

#[test]
fn halves_that_were_started_with_different_options_say_which_one_lacks_what() {
    let place = Place::new();
    place.file("a", "new");
    place.file("b", "old");
    let name = place.name();
    let start = |role: &str, option: &[&str], path: &str| {
        let half = [&["--as", role, "--name", &name], option, &[path]].concat();
        Half::start(place.brigade(half))
    };
    for (option, lacks) in [("--verify", "--verify"), ("-p", "--preserve")] {
        let writer = start("writer", &[option], "b");
        writer.hear("waiting");
        let reader = start("reader", &[], "a").end();
        let what = [&format!("the reader was started without {lacks}")[..]];
        writer.end().expect_line(1, &what);
        reader.expect_line(4, &what);
        assert_eq!(std::fs::read(place.path("b")).unwrap(), b"old");
    }
    for (option, has) in [("--verify", "--verify"), ("-p", "--preserve")] {
        let writer = start("writer", &[], "b");
        writer.hear("waiting");
        let reader = start("reader", &[option], "a").end();
        let what = [&format!("the reader was started with {has}, the writer without")[..]];
        writer.end().expect_line(1, &what);
        reader.expect_line(4, &what);
        assert_eq!(std::fs::read(place.path("b")).unwrap(), b"old");
    }
}

// ---- a Reader that cannot be trusted ------------------------------------------------

// Kinds of blocks, as the program has them.
const DATA: u16 = 0;
const HOLE: u16 = 1;
const METADATA: u16 = 2;
const DIGEST: u16 = 3;

/// It has all that a Writer with these options asks for, and no more.
fn source(options: &[&str]) -> String {
    let verify = options.contains(&"--verify");
    let preserve = options
        .iter()
        .any(|option| option.starts_with("-p") || option.starts_with("--p"));
    format!(r#"{{"digest":{verify},"metadata":{preserve},"attributes":{preserve}}}"#)
}

/// A Writer of `b`, with these options, whose Reader sends `blocks` of kind, tag and
/// bytes, and then ends. How the Writer ends, and what the Reader hears of it.
fn told(options: &[&str], blocks: &[(u16, u64, &[u8])]) -> (Place, Outcome, String) {
    let place = Place::new();
    place.file("b", "old");
    let name = place.name();
    let args = [&["--as", "writer", "--name", &name], options, &["b"]].concat();
    let writer = Half::start(place.brigade(args));
    writer.hear("waiting");
    let source = source(options);
    let options = Options::new()
        .side(Side::Reader)
        .greeting(GREETING)
        .wait(Duration::from_secs(20));
    let Role::Reader(reader) = brigade::join(&name, &options).unwrap() else {
        unreachable!("it asked to be the reader");
    };
    let sent = || {
        ask(&reader, source.as_bytes())?;
        blocks.iter().try_for_each(|(kind, tag, bytes)| {
            let mut block = reader.empty_block()?;
            block[..bytes.len()].copy_from_slice(bytes);
            block.send_as(bytes.len(), Label::new(*kind, *tag))
        })
    };
    let ended = sent().and_then(|()| reader.finish().map(drop));
    let heard = ended.map_or_else(|error| error.to_string(), |()| "success".to_owned());
    (place, writer.end(), heard)
}

#[test]
fn what_a_reader_cannot_mean_is_its_failure_and_leaves_the_old_destination() {
    let piece = vec![b' '; BLOCK];
    let most = i64::MAX as u64;
    for (options, blocks, what) in [
        (
            &[][..],
            vec![(HOLE, u64::MAX, &[][..])],
            "more than a file can hold",
        ),
        (&[], vec![(HOLE, most, &[]), (HOLE, 1, &[])], "can"),
        (
            &[],
            vec![(DATA, 0, b"1"), (HOLE, u64::MAX, &[])],
            "more than a file can hold",
        ),
        (&[], vec![(DATA, 1, b"1")], "byte 1 where byte 0 is due"),
        (&[], vec![(9, 0, b"1")], "kind 9, which has no place"),
        (
            &["-p"],
            vec![(METADATA, 1, b"{}")],
            "a piece that does not belong",
        ),
        (
            &["-p"],
            vec![(METADATA, 0, b"{")],
            "metadata that makes no sense",
        ),
        (
            &[],
            (0..5)
                .map(|n| (METADATA, n * BLOCK as u64, &piece[..]))
                .collect(),
            "a piece that does not belong",
        ),
        (
            &["--verify"],
            vec![(DIGEST, 0, b"short")],
            "no hash, or half of one",
        ),
        (
            &[],
            vec![(DIGEST, 0, &piece[..33])],
            "a piece that does not belong",
        ),
        (
            &["-p"],
            vec![(DATA, 0, b"1")],
            "metadata that makes no sense",
        ),
        (
            &["--preserve=timestamps"],
            vec![(
                METADATA,
                0,
                br#"{"modified":{"seconds":0,"nanoseconds":4000000000}}"#,
            )],
            "a time that cannot be",
        ),
    ] {
        let (place, outcome, heard) = told(options, &blocks);
        assert!(matches!(outcome.code, Some(4 | 1)), "{outcome:?}");
        assert!(outcome.said.contains(what), "{what}: {outcome:?}");
        assert!(heard.contains(what), "{what}: {heard}");
        assert_eq!(std::fs::read(place.path("b")).unwrap(), b"old");
        place.assert_nothing_left();
    }
}

#[test]
fn a_hash_that_is_another_s_is_a_failure_of_this_half() {
    let hash = [7; 32];
    let blocks = [
        (DATA, 0, &b"new"[..]),
        (DIGEST, 0, &hash[..20]),
        (DIGEST, 20, &hash[20..]),
    ];
    let (place, outcome, heard) = told(&["--verify"], &blocks);
    outcome.expect_line(1, &["b is not what was read", &"07".repeat(32)]);
    assert!(heard.contains(&"07".repeat(32)), "{heard}");
    assert_eq!(std::fs::read(place.path("b")).unwrap(), b"old");
}

#[test]
fn what_the_source_s_system_does_not_have_is_no_error() {
    let (place, outcome, heard) = told(
        &["--preserve=all"],
        &[
            (DATA, 0, b"new"),
            (METADATA, 0, b"{"),
            (METADATA, 1, br#""unknown":1}"#),
        ],
    );
    outcome.expect(0);
    assert_eq!(heard, "success");
    assert_eq!(std::fs::read(place.path("b")).unwrap(), b"new");
}

#[test]
fn attributes_that_the_reader_could_not_read_are_an_error_or_with_all_a_warning() {
    let told_of = br#"{"attributes_error":"user.x: Permission denied"}"#;
    let blocks = [(DATA, 0, &b"new"[..]), (METADATA, 0, &told_of[..])];
    let (_, outcome, _) = told(&["--preserve=xattr"], &blocks);
    outcome.expect_line(1, &["b: user.x: Permission denied"]);
    let (_, outcome, _) = told(&["--preserve=all"], &blocks);
    let said = outcome.expect(0).said;
    let warning = said.lines().find(|line| line.contains("warning")).unwrap();
    assert!(warning.ends_with("b: user.x: Permission denied"), "{said}");
}

// ---- the cache -----------------------------------------------------------------------

#[test]
fn data_leaves_the_cache_only_if_asked_for_or_large() {
    let place = Place::new();
    const SIZE: u64 = 48 << 20;
    place.file("a", noise(SIZE as usize));
    for (option, is_cached) in [("never", true), ("auto", true), ("always", false)] {
        let b = place.path(option);
        place.both(&["--direct", option], "a", option).expect(0);
        let Some(cached) = sys::cached_bytes(&b) else {
            return;
        };
        let limit = if is_cached { SIZE * 9 / 10 } else { SIZE / 10 };
        assert_eq!(cached > limit, is_cached, "{option}: {cached}");
    }
}

// ---- the rate -------------------------------------------------------------------------

#[test]
fn a_writer_s_own_limit_holds_and_its_progress_is_smooth() {
    let place = Place::new();
    place.file("a", noise(1 << 20));
    let name = place.name();
    let started = Instant::now();
    let writer = ["--as", "writer", "--name", &name, "--limit-rate=1M", "b"];
    let writer = Half::start(place.brigade(writer));
    writer.hear("waiting");
    let reader = Half::start(place.brigade(["--as", "reader", "--name", &name, "a"]));
    let partial = place.path(".b.brigade-partial");
    let mut seen = std::collections::BTreeSet::new();
    while !place.path("b").exists() {
        seen.extend(std::fs::metadata(&partial).map(|found| found.len()));
        assert!(started.elapsed() < SOON);
        std::thread::sleep(Duration::from_millis(5));
    }
    reader.end().expect(0);
    writer.end().expect(0);
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(800), "{took:?}");
    // Not just the four blocks.
    assert!(seen.len() > 8, "{seen:?}");
}
