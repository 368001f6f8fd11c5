//! Whose a destination is, what becomes of others' rights where that cannot be kept, and
//! that no error on the way costs an attribute without a word.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use brigade::{Label, Options, Role, Side};

use crate::harness::{GREETING, Half, PARTIAL, Place, SOON, ask, skip, sys, wait_until};

// Kinds of blocks, as the program has them.
const DATA: u16 = 0;
const METADATA: u16 = 2;

/// Of the old file.
const OLD: (u32, u32) = (1111, 2222);
/// Of who copies onto it.
const COPIER: (u32, u32) = (3333, 4444);

/// A copy onto a file of `OLD` with this mode, by `COPIER`, who is a member of `groups`,
/// too. What owner and mode the file has then.
fn copied_onto(place: &Place, mode: u32, groups: &[u32]) -> ((u32, u32), u32) {
    place.file("a", "new");
    let b = place.path("b");
    sys::set_owner(&b, OLD.0, OLD.1);
    // With a list, this is its mask.
    sys::set_mode(&b, mode);
    let args = ["--both", "--name", &place.name(), "a", "b"];
    let copy = sys::as_user(place, COPIER, groups, &args);
    Half::start(copy).end().expect(0);
    assert_eq!(std::fs::read(&b).unwrap(), b"new");
    (sys::owner(&b), sys::whole_mode(&b))
}

#[test]
fn nobody_gets_in_because_the_owner_or_the_group_could_not_be_kept() {
    if !sys::is_root() {
        return;
    }
    let group_kept = (COPIER.0, OLD.1);
    for (mode, groups, owner, left) in [
        (0o660, &[OLD.1][..], group_kept, 0o660),
        (0o664, &[OLD.1], group_kept, 0o664),
        // The old owner is one of the others now.
        (0o466, &[OLD.1], group_kept, 0o444),
        (0o606, &[], COPIER, 0o600),
        (0o646, &[], COPIER, 0o644),
        (0o666, &[], COPIER, 0o666),
        (0o757, &[], COPIER, 0o755),
    ] {
        let place = Place::new();
        place.file("b", "old");
        let found = copied_onto(&place, mode, groups);
        assert_eq!(found, (owner, left), "{mode:o} {groups:?}");
    }
}

/// User 3333 may read and write, whoever else is not named may do what is given here.
fn list_that_names_the_copier(group: u16, mask: u16, others: u16) -> Vec<u8> {
    sys::list(&[
        (0x01, 6, u32::MAX),
        (0x02, 6, COPIER.0),
        (0x04, group, u32::MAX),
        (0x10, mask, u32::MAX),
        (0x20, others, u32::MAX),
    ])
}

#[test]
fn nobody_gets_in_by_an_access_list_whose_group_could_not_be_kept() {
    if !sys::is_root() {
        return;
    }
    let place = Place::new();
    for (given, left) in [((4, 6, 0), (0, 6, 0)), ((6, 6, 4), (4, 6, 4))] {
        let list = |(group, mask, others)| list_that_names_the_copier(group, mask, others);
        let b = place.file("b", "old");
        if !sys::set_attribute(&b, sys::ACCESS_LIST, &list(given)) {
            return;
        }
        let mode = sys::whole_mode(&b);
        let (owner, _) = copied_onto(&place, mode, &[]);
        assert_eq!(owner, COPIER);
        assert_eq!(sys::attribute(&b, sys::ACCESS_LIST), Some(list(left)));
        std::fs::remove_file(&b).unwrap();
    }
}

/// A stream has neither mode nor list, so the old ones stay. What the mode of a file with
/// a list shows for the group is the list's mask: what anybody named may do at most.
#[test]
fn a_mask_does_not_become_the_group_s_rights() {
    let place = Place::new();
    place.file("a", "new");
    for (options, source) in [
        (&["-p"][..], "-"),
        (&["--preserve=all"], "-"),
        (&["--preserve=acl"], "-"),
        (&["--preserve=acl"], "a"),
    ] {
        let b = place.file("b", "old");
        let list = list_that_names_the_copier(0, 6, 0);
        if !sys::set_attribute(&b, sys::ACCESS_LIST, &list) {
            return;
        }
        place.both(options, source, "b").expect(0);
        let (mode, found) = (sys::whole_mode(&b), sys::attribute(&b, sys::ACCESS_LIST));
        let expected = match source {
            "-" => (0o660, Some(list)),
            _ => (0o600, None),
        };
        assert_eq!((mode, found), expected, "{options:?} {source}");
    }
}

#[test]
fn a_file_that_cannot_be_given_its_owner_for_another_reason_is_an_error() {
    if !sys::is_root() {
        return;
    }
    let place = Place::new();
    place.file("a", "new");
    for (options, error, code) in [
        (&[][..], "EIO", 1),
        (&["-p"], "EDQUOT", 1),
        (&[], "EPERM", 0),
        (&["-p"], "EINVAL", 0),
    ] {
        let b = place.file("b", "old");
        sys::set_owner(&b, OLD.0, OLD.1);
        sys::set_owner(&place.path("a"), 5555, 5555);
        sys::set_mode(&b, 0o660);
        let fault = format!("fchown:error={error}");
        let args = [&["--both", "-q"], options, &["a", "b"]].concat();
        let Some(copy) = sys::with_faults_of(&place, PARTIAL, &[&fault], &args) else {
            return;
        };
        let outcome = Half::start(copy).end().expect(code);
        let (content, owner) = (std::fs::read(&b).unwrap(), sys::owner(&b));
        if code == 1 {
            assert!(
                outcome.said.contains("cannot keep the owner of"),
                "{outcome:?}"
            );
            assert_eq!((&content[..], owner), (&b"old"[..], OLD));
        } else {
            let is_warned = outcome.said.contains("warning: cannot keep the owner of");
            assert_eq!(is_warned, !options.is_empty(), "{outcome:?}");
            assert_eq!((&content[..], owner), (&b"new"[..], (0, 0)));
        }
        place.assert_nothing_left();
        std::fs::remove_file(&b).unwrap();
    }
}

#[test]
fn a_mode_that_is_refused_is_an_error_only_if_it_was_asked_for_or_lets_somebody_in() {
    if !sys::has_modes() {
        return skip("files have no modes here");
    }
    let place = Place::new();
    let a = place.file("a", "new");
    sys::set_mode(&a, 0o640);
    for error in ["EPERM", "EACCES", "EOPNOTSUPP", "EIO"] {
        let fault = format!("fchmod:error={error}");
        let copy = |options: &[&str], destination: &str| {
            let args = [&["--both", "-q"], options, &["a", destination]].concat();
            let copy = sys::with_faults_of(&place, PARTIAL, &[&fault], &args)?;
            Some(Half::start(copy).end())
        };
        for old_mode in [None, Some(0o644)] {
            let b = place.path("b");
            if let Some(mode) = old_mode {
                sys::set_mode(&place.file("b", "old"), mode);
            }
            let Some(asked) = copy(&["-p"], "b") else {
                return;
            };
            let what = ["cannot keep the mode of", "--preserve=ownership,timestamps"];
            asked.expect_line(1, &what);
            let Some(plain) = copy(&[], "b") else {
                return;
            };
            if error == "EIO" {
                plain.expect_line(1, &["cannot keep the mode of"]);
            } else {
                plain.expect_silence(0);
                // As the partial file was made: for this user alone.
                assert_eq!(sys::whole_mode(&b), 0o600);
                std::fs::remove_file(&b).unwrap();
            }
            place.assert_nothing_left();
        }
        let _ = std::fs::remove_file(place.path("b"));
    }
}

#[test]
fn file_systems_that_refuse_modes_and_owners_can_be_copied_to() {
    let place = Place::new();
    let Some(mounted) = sys::mirrored(&place.path("d"), "chmod-deny,chown-deny") else {
        return;
    };
    place.file("a", "new");
    let b = mounted.path().join("b");
    let b = b.to_str().unwrap();
    for _ in 0..2 {
        place.both(&["-q"], "a", b).expect_silence(0);
        assert_eq!(std::fs::read(b).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(mounted.path()).unwrap().count(), 1);
    }
}

#[test]
fn file_systems_that_show_another_owner_can_be_copied_to() {
    let place = Place::new();
    let Some(mounted) = sys::mirrored(&place.path("d"), "force-user=nobody") else {
        return;
    };
    place.file("a", "new");
    let b = mounted.path().join("b");
    // As a killed copy left it.
    std::fs::write(mounted.path().join(".b.brigade-partial"), "half").unwrap();
    for _ in 0..2 {
        place
            .both(&["-q"], "a", b.to_str().unwrap())
            .expect_silence(0);
        assert_eq!(std::fs::read(&b).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(mounted.path()).unwrap().count(), 1);
    }
}

#[test]
fn what_the_old_file_has_at_the_end_of_the_copy_is_kept_and_not_what_it_had() {
    if !sys::has_modes() {
        return skip("files have no modes here");
    }
    let place = Place::new();
    for mode in [0o600, 0o666] {
        let b = place.file("b", "old");
        sys::set_mode(&b, 0o644);
        let mut copy = place.begin(&[]);
        let mut input = copy.input();
        input.write_all(b"new").unwrap();
        place.wait_for_data();
        sys::set_mode(&b, mode);
        let has_attribute = sys::set_attribute(&b, "user.x", b"late");
        let owner = match sys::is_root() {
            true => OLD,
            false => sys::owner(&b),
        };
        sys::set_owner(&b, owner.0, owner.1);
        drop(input);
        copy.end().expect(0);
        assert_eq!(std::fs::read(&b).unwrap(), b"new");
        assert_eq!((sys::owner(&b), sys::whole_mode(&b)), (owner, mode));
        let expected = has_attribute.then(|| b"late".to_vec());
        assert_eq!(sys::attribute(&b, "user.x"), expected);
    }
}

/// What can be kept of a file, and its content.
#[derive(Debug, PartialEq, Eq)]
struct Whole {
    content: Vec<u8>,
    owner: (u32, u32),
    mode: u32,
    modified: SystemTime,
    list: Option<Vec<u8>>,
    attribute: Option<Vec<u8>>,
}

fn whole(path: &Path) -> Whole {
    let found = std::fs::metadata(path).unwrap();
    Whole {
        content: std::fs::read(path).unwrap(),
        owner: sys::owner(path),
        mode: sys::whole_mode(path),
        modified: found.modified().unwrap(),
        list: sys::attribute(path, sys::ACCESS_LIST),
        attribute: sys::attribute(path, "user.x"),
    }
}

/// A file with all that can be kept; false if there can be none.
fn make_whole(place: &Place, name: &str, user: u32) -> bool {
    let path = place.file(name, name);
    let list = list_that_names_the_copier(0, 6, 0);
    if !sys::set_attribute(&path, sys::ACCESS_LIST, &list)
        || !sys::set_attribute(&path, "user.x", name.as_bytes())
    {
        return false;
    }
    sys::set_owner(&path, user, user);
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(user));
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(modified).unwrap();
    true
}

/// Each call that asks for an attribute or sets one fails, at each time that it is made,
/// with each of these errors. All is kept then, or the copy has failed.
#[test]
fn no_error_costs_an_attribute_without_a_word() {
    if !sys::is_root() {
        return;
    }
    const CALLS: [&str; 6] = [
        "statx",
        "flistxattr,listxattr",
        "fgetxattr,getxattr",
        "fsetxattr",
        "fchown",
        "fchmod",
    ];
    let place = Place::new();
    if !make_whole(&place, "a", 1000) {
        return;
    }
    let source = whole(&place.path("a"));
    for call in CALLS {
        for error in ["EIO", "EDQUOT"] {
            // Each thread counts for itself.
            for time in 1..100 {
                make_whole(&place, "b", 2000);
                let b = place.path("b");
                let old = whole(&b);
                let fault = format!("{call}:error={error}:when={time}");
                let args = ["--both", "-q", "-p", "--preserve=xattr", "a", "b"];
                let Some(copy) = sys::with_faults(&place, &[&fault], &args) else {
                    return;
                };
                let outcome = Half::start(copy).end();
                let found = whole(&b);
                match outcome.code {
                    Some(0) => assert_eq!(found, source, "{fault}: {outcome:?}"),
                    _ => assert!(
                        found == old || found == source,
                        "{fault}: {found:?}, {outcome:?}"
                    ),
                }
                std::fs::remove_file(&b).unwrap();
                let traced = std::fs::read_to_string(place.path("strace")).unwrap();
                if !traced.contains("INJECTED") {
                    break;
                }
            }
        }
    }
}

// ---- another user's Reader --------------------------------------------------------

const NOBODY: (u32, u32) = (65534, 65534);

/// What becomes of `a`, whose Reader is nobody's, in the hands of root's Writer of `b`
/// with these options: owner, mode, and what the Writer says.
fn from_guest(place: &Place, options: &[&str], code: i32) -> ((u32, u32), u32, String) {
    let shared = place.path("shared");
    if !shared.exists() {
        std::fs::create_dir(&shared).unwrap();
    }
    sys::set_mode(&shared, 0o1777);
    let name = shared.join("copy").to_str().unwrap().to_owned();
    let half =
        |side, other| ["--as", side, "--name", &name, "--allow-user", other].map(str::to_owned);
    let args = |half: [String; 6], path: &str| {
        let options = options.iter().map(|option| (*option).to_owned());
        let args = half.into_iter().chain(options).chain([path.to_owned()]);
        args.collect::<Vec<String>>()
    };
    let reader = args(half("reader", "0"), "a");
    let reader: Vec<&str> = reader.iter().map(String::as_str).collect();
    let reader = Half::start(sys::as_nobody(place, &reader));
    reader.hear("waiting");
    let writer = Half::start(place.brigade(args(half("writer", "nobody"), "b")));
    let said = writer.end().expect(code).said;
    drop(reader);
    let b = place.path("b");
    match code {
        0 => (sys::owner(&b), sys::whole_mode(&b), said),
        _ => ((0, 0), 0, said),
    }
}

#[test]
fn another_user_s_reader_can_give_the_file_to_that_user_alone_and_no_special_bits() {
    if !sys::is_root() {
        return;
    }
    let place = Place::new();
    let a = place.file("a", "water");
    for (user, owner, cannot) in [
        (1234, (0, 0), "owner"),
        (0, (0, 0), "owner"),
        (NOBODY.0, (NOBODY.0, 0), "group"),
    ] {
        sys::set_owner(&a, user, 1234);
        sys::set_mode(&a, 0o6755);
        let (found, mode, said) = from_guest(&place, &["-p"], 0);
        assert_eq!((found, mode), (owner, 0o755), "{said}");
        for what in [cannot, "special mode bits"] {
            assert!(
                said.contains(&format!("cannot keep the {what} of")),
                "{said}"
            );
        }
        std::fs::remove_file(place.path("b")).unwrap();
    }
    // In an old file's place, the owner is the old one's.
    let b = place.file("b", "old");
    sys::set_owner(&b, OLD.0, OLD.1);
    sys::set_owner(&a, 1234, 1234);
    let (found, ..) = from_guest(&place, &["-p"], 0);
    assert_eq!(found, OLD);
}

#[test]
fn another_user_s_reader_can_set_no_attribute_that_gives_rights() {
    if !sys::is_root() {
        return;
    }
    let place = Place::new();
    let a = place.file("a", "water");
    // cap_net_raw: linux/capability.h.
    let mut capability = [0; 20];
    (capability[3], capability[5]) = (2, 0x20);
    if !sys::set_attribute(&a, "user.x", b"1")
        || !sys::set_attribute(&a, "security.capability", &capability)
    {
        return;
    }
    let what = "security.capability: another user's reader cannot set it";
    let (_, _, said) = from_guest(&place, &["--preserve=xattr"], 1);
    assert!(said.contains(what), "{said}");
    let (_, _, said) = from_guest(&place, &["--preserve=all"], 0);
    assert!(said.contains(what), "{said}");
    let b = place.path("b");
    assert_eq!(sys::attribute(&b, "user.x").unwrap(), b"1");
    assert_eq!(sys::attribute(&b, "security.capability"), None);
    // A user's own may.
    place.both(&["--preserve=xattr"], "a", "c").expect(0);
    let kept = sys::attribute(&place.path("c"), "security.capability");
    assert_eq!(kept.unwrap(), capability);
}

#[test]
fn another_user_s_reader_can_set_no_access_list() {
    if !sys::is_root() {
        return;
    }
    for option in ["--preserve=acl", "--preserve=mode", "--preserve=all"] {
        let place = Place::new();
        let a = place.file("a", "water");
        // Whoever is not named may read; the group may not.
        let list = list_that_names_the_copier(0, 6, 4);
        if !sys::set_attribute(&a, sys::ACCESS_LIST, &list) {
            return;
        }
        let (_, _, said) = from_guest(&place, &[option], 0);
        let what = "access list of";
        assert!(said.contains(what), "{option}: {said}");
        let b = place.path("b");
        assert_eq!(sys::attribute(&b, sys::ACCESS_LIST), None, "{option}");
        assert_eq!(sys::whole_mode(&b) & 0o070, 0, "{option}");
    }
}

#[test]
fn in_place_the_mode_that_is_preserved_takes_special_bits_away() {
    if !sys::has_modes() {
        return skip("files have no modes here");
    }
    let place = Place::new();
    sys::set_mode(&place.file("a", "new"), 0o755);
    let b = place.file("b", "old");
    sys::set_mode(&b, 0o4755);
    let options = ["--in-place", "--preserve=mode"];
    place.both(&options, "a", "b").expect(0);
    assert_eq!(sys::whole_mode(&b), 0o755);
}

#[test]
fn in_place_a_file_of_another_user_needs_no_more_than_to_be_written() {
    if !sys::is_root() {
        return;
    }
    let place = Place::new();
    let a = place.file("a", "new");
    sys::set_mode(&a, 0o644);
    let b = place.file("b", "older");
    sys::set_mode(&b, 0o666);
    if !sys::set_attribute(&a, "user.x", b"1") {
        return;
    }
    let name = place.name();
    let args = [
        "--both",
        "--name",
        &name,
        "--in-place",
        "--preserve=xattr",
        "a",
        "b",
    ];
    Half::start(sys::as_nobody(&place, &args)).end().expect(0);
    assert_eq!(std::fs::read(&b).unwrap(), b"new");
    assert_eq!(sys::attribute(&b, "user.x").unwrap(), b"1");
    assert_eq!(sys::whole_mode(&b), 0o666);
}

#[test]
fn a_reader_that_lies_about_its_source_has_no_file_made_that_acts_as_the_writer() {
    if !sys::is_root() {
        return;
    }
    let place = Place::new();
    sys::set_mode(place.root(), 0o777);
    let name = place.path("copy").to_str().unwrap().to_owned();
    let writer = [
        "--as",
        "writer",
        "--name",
        &name,
        "--allow-user=0",
        "-p",
        "b",
    ];
    let writer = Half::start(sys::as_nobody(&place, &writer));
    writer.hear("waiting");
    let options = Options::new()
        .side(Side::Reader)
        .greeting(GREETING)
        .allow_user("65534")
        .wait(SOON);
    let Role::Reader(reader) = brigade::join(&name, &options).unwrap() else {
        unreachable!("it asked to be the reader");
    };
    let send = |kind, tag, bytes: &[u8]| {
        let mut block = reader.empty_block().unwrap();
        block[..bytes.len()].copy_from_slice(bytes);
        block.send_as(bytes.len(), Label::new(kind, tag)).unwrap();
    };
    ask(&reader, br#"{"metadata":true}"#).unwrap();
    send(DATA, 0, b"evil");
    // Mode 6777, and what would make it the Writer's own file.
    send(METADATA, 0, br#"{"mode":3583,"owner":[65534,65534]}"#);
    reader.finish().unwrap();
    let said = writer.end().expect(0).said;
    assert!(
        said.contains("cannot keep the special mode bits of"),
        "{said}"
    );
    let b = place.path("b");
    assert_eq!(std::fs::read(&b).unwrap(), b"evil");
    assert_eq!((sys::owner(&b), sys::whole_mode(&b)), (NOBODY, 0o777));
}

#[test]
fn a_mode_that_is_changed_while_the_finished_file_is_put_on_disk_holds() {
    if !sys::has_modes() {
        return skip("files have no modes here");
    }
    let place = Place::new();
    place.file("a", "new");
    let b = place.file("b", "old");
    sys::set_mode(&b, 0o644);
    let name = ".b.brigade-partial";
    let slow = ["fsync:delay_enter=1s"];
    let Some(copy) = sys::with_faults_of(&place, name, &slow, &["--both", "-q", "a", "b"]) else {
        return;
    };
    let copy = Half::start(copy);
    let partial = place.path(name);
    wait_until("the mode of the finished file", SOON, || {
        partial.exists() && sys::whole_mode(&partial) == 0o644
    });
    sys::set_mode(&b, 0o600);
    copy.end().expect_silence(0);
    assert_eq!(std::fs::read(&b).unwrap(), b"new");
    assert_eq!(sys::whole_mode(&b), 0o600);
}
