//! What a destination gets beside its data: of its source what was asked for, and else
//! of the file that it replaces.

use std::fs::{File, FileTimes};
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::harness::{Half, Place, noise, skip, sys};

const BLOCK: usize = 256 * 1024;

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
        place
            .both(&["--preserve=timestamps"], "a", destination)
            .expect(0);
        expect_kept(destination, expected);
        let expected = set_times(&a);
        for half in place.twice(&["-p", "a", destination]) {
            half.end().expect(0);
        }
        expect_kept(destination, expected);
        // Otherwise they are those of the copy.
        let [old, _] = set_times(&a);
        place.both(&["--preserve=mode"], "a", destination).expect(0);
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
        place.both(&["-p"], "a", destination).expect(0);
        assert_eq!(sys::whole_mode(&place.path(destination)), 0o4776);
    }
    place.both(&[], "a", "plain").expect(0);
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
        let told = place.both(&["--preserve=mode"], "a", destination).expect(0);
        assert_eq!((sys::owner(&b), sys::whole_mode(&b)), ((0, 0), 0o751));
        assert!(told.said.contains("cannot keep the special mode bits of"));
        place.both(&["-p"], "a", destination).expect(0);
        assert_eq!(
            (sys::owner(&b), sys::whole_mode(&b)),
            ((1234, 4321), 0o6751)
        );
        // And what the old one had stays, without being asked for.
        place.both(&[], "a", destination).expect(0);
        assert_eq!((sys::owner(&b), sys::whole_mode(&b)), ((1234, 4321), 0o751));
        std::fs::remove_file(&b).unwrap();
        place.file("old", "old");
    }
    place.both(&["--preserve=ownership"], "a", "c").expect(0);
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
    place
        .both(&["--preserve=all"], "a", sys::NULL_DEVICE)
        .expect(0);
    let mut stream = Half::start(place.brigade(["--both", "--preserve=all", "a", "-"]));
    stream.collect_output();
    assert_eq!(stream.end().expect(0).output, b"water");
    if let Some(before) = before {
        assert_eq!(sys::whole_mode(sys::NULL_DEVICE.as_ref()), before);
    }
}

#[test]
fn a_hidden_file_stays_hidden_and_a_new_one_is_not() {
    let place = Place::new();
    let a = place.file("a", "new");
    if !sys::hide(&place.file("b", "old")) || !sys::hide(&a) {
        return;
    }
    for options in [&[][..], &["-p"], &["--preserve=all"]] {
        for (destination, is_hidden) in [("b", true), ("c", false)] {
            let path = place.path(destination);
            place.both(options, "a", destination).expect(0);
            assert_eq!(std::fs::read(&path).unwrap(), b"new");
            assert_eq!(
                sys::is_hidden(&path),
                is_hidden,
                "{options:?} {destination}"
            );
        }
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
        place.both(options, "a", "b").expect(0);
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
        place.both(&tiny, "a", "b").expect(0);
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
    let copy = |option: &str| place.both(&[option, "-q"], "a", b.to_str().unwrap());
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

#[test]
fn what_the_old_file_has_is_kept_also_where_there_is_no_proc() {
    if !sys::is_root() {
        return;
    }
    let place = Place::new();
    place.file("a", "new");
    let b = place.file("b", "old");
    if !sys::set_attribute(&b, "user.own", b"own") {
        return;
    }
    sys::set_mode(&b, 0o640);
    let args = ["a", "b"];
    let hidden = || sys::surrounded(&place, "mount -t tmpfs none /proc", &args);
    let (Some(one), Some(other)) = (hidden(), hidden()) else {
        return;
    };
    for half in [one, other].map(Half::start) {
        half.end().expect(0);
    }
    assert_eq!(std::fs::read(&b).unwrap(), b"new");
    assert_eq!(sys::whole_mode(&b), 0o640);
    assert_eq!(sys::attribute(&b, "user.own").unwrap(), b"own");
}

/// The owner and user 1234 may read and write, the group may not, though with this
/// list the mode looks as if it could: 0660.
fn list_without_group() -> Vec<u8> {
    sys::list(&[
        (0x01, 6, u32::MAX),
        (0x02, 6, 1234),
        (0x04, 0, u32::MAX),
        (0x10, 6, u32::MAX),
        (0x20, 0, u32::MAX),
    ])
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
        place.both(options, "a", "b").expect(0);
        let b = place.path("b");
        assert_eq!(sys::attribute(&b, sys::ACCESS_LIST).as_ref(), Some(&list));
        assert_eq!(sys::whole_mode(&b), 0o660);
        // The old file's own stays, since the mode alone would let in the group.
        place.both(&["--preserve=xattr"], "plain", "b").expect(0);
        assert_eq!(sys::attribute(&b, sys::ACCESS_LIST).as_ref(), Some(&list));
        // Until that of a source is wanted which has none.
        place.both(&["--preserve=acl,mode"], "plain", "b").expect(0);
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
    place.both(&[], "a", "d").expect(0);
    let b = directory.join("a");
    assert!(sys::attribute(&b, sys::ACCESS_LIST).is_some());
    place.both(&["-p"], "a", "d").expect(0);
    assert_eq!(sys::attribute(&b, sys::ACCESS_LIST), None);
    place.both(&[], "a", "d").expect(0);
    assert_eq!(sys::attribute(&b, sys::ACCESS_LIST), None);
}

/// Files get what the directory hands down, which grants all that is here.
fn list_to_hand_down(group: u16, others: u16, with_names: bool) -> Vec<u8> {
    let [named, mask] = [(0x02, 7, 1234), (0x10, 7, u32::MAX)];
    let [user, group, others] =
        [(0x01, 7), (0x04, group), (0x20, others)].map(|(kind, given)| (kind, given, u32::MAX));
    match with_names {
        true => sys::list(&[user, named, group, mask, others]),
        false => sys::list(&[user, group, others]),
    }
}

#[test]
fn what_a_directory_hands_down_takes_the_umask_s_place_as_for_every_new_file() {
    let place = Place::new();
    let a = place.file("a", "new");
    let [directory, b] = ["d", "d/b"].map(|name| place.path(name));
    std::fs::create_dir(&directory).unwrap();
    let copy = |options: &[&str]| {
        let args = [&["--both"], options, &["a", "d/b"]].concat();
        Half::start(sys::with_umask(&place, 0o077, &args))
            .end()
            .expect(0);
        let found = (sys::whole_mode(&b), sys::attribute(&b, sys::ACCESS_LIST));
        std::fs::remove_file(&b).unwrap();
        found
    };
    for list in [
        list_to_hand_down(7, 7, true),
        list_to_hand_down(5, 0, true),
        list_to_hand_down(7, 7, false),
        list_to_hand_down(5, 0, false),
    ] {
        if !sys::set_attribute(&directory, sys::INHERITED_LIST, &list) {
            return;
        }
        for mode in [0o664, 0o640, 0o777, 0o600] {
            sys::set_mode(&a, mode);
            let c = directory.join("c");
            sys::make_file(&c, mode);
            let expected = (sys::whole_mode(&c), sys::attribute(&c, sys::ACCESS_LIST));
            std::fs::remove_file(&c).unwrap();
            for options in [&[][..], &["--preserve=timestamps,xattr"], &["--in-place"]] {
                assert_eq!(copy(options), expected, "{mode:o} {options:?} {list:?}");
            }
            for options in ["-p", "--preserve=mode", "--preserve=all"] {
                assert_eq!(copy(&[options]), (mode, None), "{mode:o} {options}");
            }
        }
    }
    let plain = ["--both", "a", "b"];
    sys::set_mode(&a, 0o664);
    Half::start(sys::with_umask(&place, 0o027, &plain))
        .end()
        .expect(0);
    assert_eq!(sys::whole_mode(&place.path("b")), 0o640);
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
    let copy = |option: &str| place.both(&[option, "-q"], "a", b.to_str().unwrap());
    let what = ["cannot keep the access list of"];
    copy("--preserve=acl").expect_line(1, &what);
    assert!(!b.exists());
    for option in ["-p", "--preserve=all"] {
        copy(option).expect_line(0, &what);
        assert_eq!(sys::whole_mode(&b), 0o600);
        std::fs::remove_file(&b).unwrap();
    }
}
