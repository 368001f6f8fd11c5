//! What the Writer makes of more than data: what the source has beside it, holes, and
//! the hash of it all.

use std::fs::{File, FileTimes};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use brigade::{Options, Role, Side};

use crate::harness::{Half, Outcome, Place, SOON, noise, skip, sys};

const BLOCK: usize = 256 * 1024;

#[track_caller]
fn both(place: &Place, options: &[&str], source: &str, destination: &str) -> Outcome {
    let args = [&["--both"], options, &[source, destination]].concat();
    Half::start(place.brigade(args)).end()
}

fn time(seconds: u64, nanoseconds: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds)
}

/// Modified and read last at two moments long ago.
fn set_times(path: &Path) -> [SystemTime; 2] {
    let times = [
        time(981_173_106, 123_456_700),
        time(981_173_107, 765_432_100),
    ];
    let file = File::options().write(true).open(path).unwrap();
    let set = FileTimes::new()
        .set_modified(times[0])
        .set_accessed(times[1]);
    file.set_times(set).unwrap();
    times
}

fn times(path: &Path) -> [SystemTime; 2] {
    let metadata = std::fs::metadata(path).unwrap();
    [metadata.modified().unwrap(), metadata.accessed().unwrap()]
}

// ---- mode, timestamps, ownership --------------------------------------------

#[test]
fn timestamps_are_kept_to_the_nanosecond_in_new_files_and_old_ones() {
    let place = Place::new();
    let a = place.file("a", noise(BLOCK + 1));
    place.file("old", "old");
    let compared = match sys::looking_is_no_access() {
        true => 2,
        false => 1,
    };
    let expect_kept = |destination: &str, expected: [SystemTime; 2]| {
        let found = times(&place.path(destination));
        assert_eq!(found[..compared], expected[..compared]);
    };
    for destination in ["new", "old"] {
        let expected = set_times(&a);
        both(&place, &["--preserve=timestamps"], "a", destination).expect(0);
        expect_kept(destination, expected);
        let expected = set_times(&a);
        for half in place.twice(&["-p", "a", destination]) {
            half.end().expect(0);
        }
        expect_kept(destination, expected);
        // Otherwise they are those of the copy.
        let [old, _] = set_times(&a);
        both(&place, &["--preserve=mode"], "a", destination).expect(0);
        assert!(times(&place.path(destination))[0] > old);
    }
}

#[test]
fn the_mode_is_kept_in_old_files_too_and_without_the_mask() {
    if !sys::has_modes() {
        return skip("files have no modes here");
    }
    let place = Place::new();
    sys::set_mode(&place.file("a", "new"), 0o4776);
    sys::set_mode(&place.file("old", "old"), 0o600);
    for destination in ["new", "old"] {
        both(&place, &["-p"], "a", destination).expect(0);
        assert_eq!(sys::whole_mode(&place.path(destination)), 0o4776);
    }
    both(&place, &[], "a", "plain").expect(0);
    assert_eq!(sys::whole_mode(&place.path("plain")) & 0o7002, 0);
}

#[test]
fn the_owner_is_kept_and_special_bits_only_with_it() {
    if !sys::is_root() {
        return;
    }
    let place = Place::new();
    let a = place.file("a", "new");
    sys::set_owner(&a, 1234, 4321);
    sys::set_mode(&a, 0o6751);
    place.file("old", "old");
    for destination in ["new", "old"] {
        let b = place.path(destination);
        both(&place, &["--preserve=mode"], "a", destination).expect(0);
        assert_eq!((sys::owner(&b), sys::whole_mode(&b)), ((0, 0), 0o751));
        both(&place, &["-p"], "a", destination).expect(0);
        assert_eq!(
            (sys::owner(&b), sys::whole_mode(&b)),
            ((1234, 4321), 0o6751)
        );
        // And what the old one had stays, without being asked for.
        both(&place, &[], "a", destination).expect(0);
        assert_eq!((sys::owner(&b), sys::whole_mode(&b)), ((1234, 4321), 0o751));
        std::fs::remove_file(&b).unwrap();
        place.file("old", "old");
    }
    both(&place, &["--preserve=ownership"], "a", "c").expect(0);
    assert_eq!(sys::owner(&place.path("c")), (1234, 4321));
}

#[test]
fn who_may_not_keep_the_owner_is_warned_and_gets_no_special_bits() {
    if !sys::is_root() {
        return;
    }
    let place = Place::new();
    let a = place.file("a", "new");
    sys::set_owner(&a, 1234, 65534);
    sys::set_mode(&a, 0o6755);
    let expected = set_times(&a);
    // Warnings are heard even from a process that is quiet.
    let args = ["--both", "-q", "-p", "--name", &place.name(), "a", "b"];
    let outcome = Half::start(sys::as_nobody(&place, &args)).end();
    outcome.expect_line(
        0,
        &[
            "warning: cannot keep the owner of",
            "b: Operation not permitted",
        ],
    );
    let b = place.path("b");
    assert_eq!(
        (sys::owner(&b), sys::whole_mode(&b)),
        ((65534, 65534), 0o755)
    );
    assert_eq!(times(&b), expected);
}

#[test]
fn what_is_written_in_place_keeps_nothing_of_the_source() {
    let place = Place::new();
    let a = place.file("a", "water");
    set_times(&a);
    let before = sys::has_modes().then(|| sys::whole_mode(sys::NULL_DEVICE.as_ref()));
    both(&place, &["--preserve=all"], "a", sys::NULL_DEVICE).expect(0);
    let mut stream = Half::start(place.brigade(["--both", "--preserve=all", "a", "-"]));
    stream.collect_output();
    assert_eq!(stream.end().expect(0).output, b"water");
    if let Some(before) = before {
        assert_eq!(sys::whole_mode(sys::NULL_DEVICE.as_ref()), before);
    }
}

// ---- what only its user may read until it is there ----------------------------

#[test]
fn the_partial_file_is_its_user_s_alone_though_others_may_read_the_destination() {
    if !sys::has_modes() {
        return skip("files have no modes here");
    }
    let place = Place::new();
    sys::set_mode(&place.file("b", "old"), 0o666);
    for left_over in [false, true] {
        let partial = place.path(".b.brigade-partial");
        let mut stranger = None;
        if left_over {
            sys::set_mode(&place.file(".b.brigade-partial", "secret"), 0o666);
            stranger = Some(File::open(&partial).unwrap());
        }
        let mut copy = place.begin(&[]);
        let mut input = copy.input();
        input.write_all(b"new").unwrap();
        while std::fs::read(&partial).unwrap_or_default() != b"new" {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(sys::whole_mode(&partial), 0o600);
        if let Some(mut stranger) = stranger {
            // Who opened it before sees nothing of the new data.
            let mut seen = String::new();
            stranger.read_to_string(&mut seen).unwrap();
            assert_eq!(seen, "secret");
        }
        drop(input);
        copy.end().expect(0);
        assert_eq!(sys::whole_mode(&place.path("b")), 0o666);
    }
}

// ---- extended attributes and access lists ---------------------------------------

#[test]
fn extended_attributes_are_kept_if_asked_for_and_the_old_file_s_in_any_case() {
    let place = Place::new();
    let a = place.file("a", "new");
    let large = noise(2000);
    if !sys::set_attribute(&a, "user.large", &large) {
        return;
    }
    sys::set_attribute(&a, "user.small", b"1");
    for (options, expected) in [
        (&["--preserve=xattr"][..], Some(&large)),
        (&["--preserve=all"], Some(&large)),
        (&["-p"], None),
        (&[], None),
    ] {
        let b = place.file("b", "old");
        sys::set_attribute(&b, "user.own", b"own");
        sys::set_attribute(&b, "user.small", b"old");
        both(&place, options, "a", "b").expect(0);
        assert_eq!(sys::attribute(&b, "user.large").as_ref(), expected);
        assert_eq!(sys::attribute(&b, "user.own").unwrap(), b"own");
        let small = sys::attribute(&b, "user.small").unwrap();
        assert_eq!(
            small,
            if expected.is_some() {
                b"1" as &[u8]
            } else {
                b"old"
            }
        );
        std::fs::remove_file(&b).unwrap();
        // Pieces larger than a block.
        let tiny = [&["--block-size=100"], options].concat();
        both(&place, &tiny, "a", "b").expect(0);
        assert_eq!(sys::attribute(&b, "user.large").as_ref(), expected);
        std::fs::remove_file(&b).unwrap();
    }
}

#[test]
fn where_no_extended_attributes_can_be_it_is_an_error_or_with_all_a_warning() {
    let Some(mounted) = sys::mounted("ramfs") else {
        return;
    };
    let place = Place::new();
    let a = place.file("a", "new");
    if !sys::set_attribute(&a, "user.x", b"1") {
        return;
    }
    let b = mounted.path().join("b");
    std::fs::write(&b, "old").unwrap();
    let copy = |option: &str| both(&place, &[option, "-q"], "a", b.to_str().unwrap());
    let what = [
        "cannot keep the extended attributes of",
        "user.x",
        "not supported",
    ];
    copy("--preserve=xattr").expect_line(1, &what);
    assert_eq!(std::fs::read(&b).unwrap(), b"old");
    assert_eq!(std::fs::read_dir(mounted.path()).unwrap().count(), 1);
    copy("--preserve=all").expect_line(0, &what);
    assert_eq!(std::fs::read(&b).unwrap(), b"new");
}

#[test]
fn what_the_old_file_has_is_not_lost_because_it_cannot_be_read() {
    let place = Place::new();
    let b = place.file("b", "old");
    place.file("a", "new");
    if !sys::set_attribute(&b, "user.own", b"own") {
        return;
    }
    for calls in ["flistxattr,listxattr", "fgetxattr,getxattr"] {
        for error in ["EIO", "ENOMEM"] {
            let fault = format!("{calls}:error={error}");
            let Some(copy) = sys::with_faults(&place, &[&fault], &["--both", "-q", "a", "b"])
            else {
                return;
            };
            let outcome = Half::start(copy).end().expect(1);
            assert!(outcome.said.contains("cannot write to"), "{outcome:?}");
            assert_eq!(std::fs::read(&b).unwrap(), b"old", "{fault}");
            assert_eq!(sys::attribute(&b, "user.own").unwrap(), b"own");
            place.assert_nothing_left();
        }
        // Where files have none, there is nothing to lose.
        let fault = format!("{calls}:error=EOPNOTSUPP");
        let copy = sys::with_faults(&place, &[&fault], &["--both", "a", "c"]).unwrap();
        Half::start(copy).end().expect(0);
        std::fs::remove_file(place.path("c")).unwrap();
    }
}

/// The owner and user 1234 may read and write, the group may not, though with this
/// list the mode looks as if it could: 0660.
fn list_without_group() -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] = [
        (1, 6, u32::MAX),
        (2, 6, 1234),
        (4, 0, u32::MAX),
        (0x10, 6, u32::MAX),
        (0x20, 0, u32::MAX),
    ];
    let entry = |(kind, permissions, id): (u16, u16, u32)| {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
        bytes
    };
    let entries = entries.into_iter().flat_map(entry);
    2_u32.to_le_bytes().into_iter().chain(entries).collect()
}

#[test]
fn access_lists_are_kept_if_asked_for_and_the_old_file_s_otherwise() {
    let place = Place::new();
    let [a, plain] = ["a", "plain"].map(|name| place.file(name, "new"));
    let list = list_without_group();
    if !sys::set_attribute(&a, sys::ACCESS_LIST, &list) {
        return;
    }
    sys::set_mode(&plain, 0o640);
    for options in [&["--preserve=acl"][..], &["-p"], &["--preserve=all"]] {
        both(&place, options, "a", "b").expect(0);
        let b = place.path("b");
        assert_eq!(sys::attribute(&b, sys::ACCESS_LIST).as_ref(), Some(&list));
        assert_eq!(sys::whole_mode(&b), 0o660);
        // The old file's own stays, since the mode alone would let in the group.
        both(&place, &["--preserve=xattr"], "plain", "b").expect(0);
        assert_eq!(sys::attribute(&b, sys::ACCESS_LIST).as_ref(), Some(&list));
        // Until that of a source is wanted which has none.
        both(&place, &["--preserve=acl,mode"], "plain", "b").expect(0);
        assert_eq!(sys::attribute(&b, sys::ACCESS_LIST), None);
        assert_eq!(sys::whole_mode(&b), 0o640);
        std::fs::remove_file(&b).unwrap();
    }
}

#[test]
fn what_a_directory_hands_down_is_for_new_files_that_keep_nothing() {
    let place = Place::new();
    let directory = place.path("d");
    std::fs::create_dir(&directory).unwrap();
    if !sys::set_attribute(&directory, sys::INHERITED_LIST, &list_without_group()) {
        return;
    }
    place.file("a", "new");
    both(&place, &[], "a", "d").expect(0);
    let b = directory.join("a");
    assert!(sys::attribute(&b, sys::ACCESS_LIST).is_some());
    both(&place, &["-p"], "a", "d").expect(0);
    assert_eq!(sys::attribute(&b, sys::ACCESS_LIST), None);
    both(&place, &[], "a", "d").expect(0);
    assert_eq!(sys::attribute(&b, sys::ACCESS_LIST), None);
}

#[test]
fn a_list_that_cannot_be_kept_lets_nobody_in_whom_it_kept_out() {
    let Some(mounted) = sys::mounted("ramfs") else {
        return;
    };
    let place = Place::new();
    let a = place.file("a", "new");
    if !sys::set_attribute(&a, sys::ACCESS_LIST, &list_without_group()) {
        return;
    }
    let b = mounted.path().join("b");
    let copy = |option: &str| both(&place, &[option, "-q"], "a", b.to_str().unwrap());
    let what = ["cannot keep the access list of"];
    copy("--preserve=acl").expect_line(1, &what);
    assert!(!b.exists());
    for option in ["-p", "--preserve=all"] {
        copy(option).expect_line(0, &what);
        assert_eq!(sys::whole_mode(&b), 0o600);
        std::fs::remove_file(&b).unwrap();
    }
}

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
                both(&usual, options, "a", b.to_str().unwrap()).expect(0);
                assert!(std::fs::read(&b).unwrap() == content, "{b:?}");
                sys::allocated_bytes(&b)
            };
            let allocated = copy(&["--verify"]);
            assert!(allocated < 2 << 20, "{allocated} bytes in {b:?}");
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
    both(&place, &options, "a", disk.path()).expect(0);
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
        both(&place, &["--verify"], "a", "b").expect(0);
        both(
            &place,
            &["--verify", "--no-sync", "--block-size=7K"],
            "a",
            "c",
        )
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
    for option in ["--verify", "-p"] {
        let writer = start("writer", &[], "c");
        writer.hear("waiting");
        start("reader", &[option], "a").end().expect(0);
        writer.end().expect(0);
    }
}

// ---- a Reader that cannot be trusted ------------------------------------------------

// Kinds of blocks, as the program has them.
const DATA: u16 = 0;
const HOLE: u16 = 1;
const METADATA: u16 = 2;
const DIGEST: u16 = 3;

/// A Writer of `b`, with these options, whose Reader sends `blocks` of kind, tag and
/// bytes, and then ends. How the Writer ends, and what the Reader hears of it.
fn told(options: &[&str], blocks: &[(u16, u64, &[u8])]) -> (Place, Outcome, String) {
    let place = Place::new();
    place.file("b", "old");
    let name = place.name();
    let args = [&["--as", "writer", "--name", &name], options, &["b"]].concat();
    let writer = Half::start(place.brigade(args));
    writer.hear("waiting");
    let options = Options::new()
        .side(Side::Reader)
        .wait(Duration::from_secs(20));
    let Role::Reader(reader) = brigade::join(&name, &options).unwrap() else {
        unreachable!("it asked to be the reader");
    };
    let sent = blocks.iter().try_for_each(|(kind, tag, bytes)| {
        let mut block = reader.empty_block()?;
        block[..bytes.len()].copy_from_slice(bytes);
        block.send_kind(bytes.len(), *kind, *tag)
    });
    let ended = sent.and_then(|()| reader.finish().map(drop));
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
        (&[], vec![(9, 0, b"1")], "kind 9, which is unknown"),
        (
            &["-p"],
            vec![(METADATA, 1, b"{}")],
            "a piece that does not belong",
        ),
        (&["-p"], vec![(METADATA, 0, b"{")], "no JSON"),
        (
            &[],
            (0..5)
                .map(|n| (METADATA, n * BLOCK as u64, &piece[..]))
                .collect(),
            "a piece that does not belong",
        ),
        (&["--verify"], vec![(DIGEST, 0, b"short")], "half a hash"),
        (
            &[],
            vec![(DIGEST, 0, &piece[..33])],
            "a piece that does not belong",
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
        both(&place, &["--direct", option], "a", option).expect(0);
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
