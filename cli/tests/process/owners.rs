//! Whose a destination is, what becomes of others' rights where that cannot be kept, and
//! that no error on the way costs an attribute without a word.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::harness::{Half, Place, skip, sys};

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
        let Some(copy) = sys::with_faults(&place, &[&fault], &args) else {
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
            let name = format!(".{destination}.brigade-partial");
            let copy = sys::with_faults_of(&place, &name, &[&fault], &args)?;
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
