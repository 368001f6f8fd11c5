//! Halves of different users, and in different containers.

use crate::harness::{Half, Place, skip, sys};

/// Where all users may write, as in /tmp.
fn shared(place: &Place) -> String {
    let path = place.path("shared");
    std::fs::create_dir(&path).unwrap();
    sys::set_mode(&path, 0o1777);
    path.to_str().unwrap().to_owned()
}

#[test]
fn two_users_that_allow_each_other_copy_from_one_to_the_other() {
    if !sys::is_root() {
        return;
    }
    for reader_is_root in [true, false] {
        let place = Place::new();
        let shared = shared(&place);
        place.file("a", "water");
        let (name, b) = (format!("{shared}/copy"), format!("{shared}/b"));
        let start = |is_root: bool, side: &str, path: &str| {
            let other = if is_root { "nobody" } else { "0" };
            let args = ["--as", side, "--name", &name, "--allow-user", other, path];
            Half::start(match is_root {
                true => place.brigade(args),
                false => sys::as_nobody(&place, &args),
            })
        };
        let reader = start(reader_is_root, "reader", "a");
        reader.hear("waiting");
        let own = if reader_is_root { "0" } else { "65534" };
        assert!(
            reader.said().contains(&format!("--allow-user={own} ")),
            "{}",
            reader.said()
        );
        start(!reader_is_root, "writer", &b).end().expect(0);
        reader.end().expect(0);
        assert_eq!(std::fs::read(&b).unwrap(), b"water");
        let writer = if reader_is_root { 65534 } else { 0 };
        assert_eq!(sys::owner(b.as_ref()).0, writer);
    }
}

#[test]
fn a_user_that_only_one_half_allows_is_refused() {
    if !sys::is_root() {
        return;
    }
    let place = Place::new();
    let shared = shared(&place);
    place.file("a", "water");
    let (name, b) = (format!("{shared}/copy"), format!("{shared}/b"));
    let reader = [
        "--as",
        "reader",
        "--name",
        &name,
        "--allow-user=nobody",
        "a",
    ];
    let reader = Half::start(place.brigade(reader));
    reader.hear("waiting");
    let writer = sys::as_nobody(&place, &["--as", "writer", "--name", &name, &b]);
    let outcome = Half::start(writer).end().expect(1);
    assert!(outcome.said.contains("root"), "{outcome:?}");
    let writer = ["--as", "writer", "--name", &name, "--allow-user=nobody", &b];
    Half::start(place.brigade(writer)).end().expect(0);
    reader.end().expect(0);
}

#[test]
fn a_user_that_does_not_exist_is_an_error_that_names_it() {
    if !sys::is_root() {
        return;
    }
    let place = Place::new();
    place.file("a", "water");
    let name = place.name();
    let args = ["--both", "--name", &name, "--allow-user=no one", "a", "b"];
    let outcome = Half::start(place.brigade(args)).end();
    assert!(matches!(outcome.code, Some(1 | 2)), "{outcome:?}");
    assert!(outcome.said.contains("no one"), "{outcome:?}");
}

#[test]
fn processes_in_two_containers_meet_in_a_directory_that_they_share() {
    if !sys::is_root() {
        return;
    }
    let place = Place::new();
    let shared = shared(&place);
    place.file("a", "water");
    let name = format!("{shared}/copy");
    let reader = ["--as", "reader", "--name", &name, "a"];
    let reader = Half::start(place.brigade(reader));
    reader.hear("waiting");
    // Namespaces of its own for mounts, users and processes; the directory is
    // elsewhere there.
    let script = r#"
        mount --bind "$1" /mnt || exit 99
        exec "$0" --as writer --name /mnt/copy /mnt/b
    "#;
    let namespaces = ["--mount", "--user", "--map-root-user", "--pid", "--fork"];
    let shell = ["sh", "-c", script, env!("CARGO_BIN_EXE_brigade"), &shared];
    let args = namespaces.iter().chain(&shell);
    let outcome = Half::start(place.command("unshare".as_ref(), args)).end();
    if outcome.code == Some(99) || outcome.said.contains("unshare") {
        return skip("no namespaces can be made here");
    }
    outcome.expect(0);
    reader.end().expect(0);
    assert_eq!(std::fs::read(format!("{shared}/b")).unwrap(), b"water");
}

#[test]
fn another_user_s_reader_cannot_have_a_file_made_that_makes_others_act_as_its_owner() {
    if !sys::is_root() {
        return;
    }
    const SET_USER_ID: u32 = 0o4755;
    for reader_is_root in [false, true] {
        let place = Place::new();
        let shared = shared(&place);
        let [name, a, b] = ["copy", "a", "b"].map(|file| format!("{shared}/{file}"));
        std::fs::write(&a, "water").unwrap();
        sys::set_mode(a.as_ref(), SET_USER_ID);
        let reader = ["--as=reader", "--name", &name, "-p"];
        let reader = match reader_is_root {
            true => place.brigade([&reader[..], &["--allow-user=nobody", &a]].concat()),
            false => sys::as_nobody(&place, &[&reader[..], &["--allow-user=0", &a]].concat()),
        };
        let reader = Half::start(reader);
        reader.hear("waiting");
        let writer = ["--as=writer", "--name", &name, "--allow-user=nobody"];
        let writer = Half::start(place.brigade([&writer[..], &["-p", &b]].concat()));
        writer.end().expect(0);
        reader.end().expect(0);
        let expected = if reader_is_root { SET_USER_ID } else { 0o755 };
        assert_eq!(sys::whole_mode(b.as_ref()), expected);
    }
}

#[test]
fn a_guest_chooses_no_name_that_is_taken_or_hidden() {
    if !sys::is_root() {
        return;
    }
    for (name_of_a, taken, why) in [
        ("a", false, None),
        ("a", true, Some("it exists")),
        (".bashrc", false, Some("it begins with a dot")),
    ] {
        let place = Place::new();
        let shared = shared(&place);
        let home = place.path("home");
        std::fs::create_dir(&home).unwrap();
        let copied = home.join(name_of_a);
        if taken {
            std::fs::write(&copied, "old").unwrap();
        }
        let [name, a] = ["copy", name_of_a].map(|file| format!("{shared}/{file}"));
        std::fs::write(&a, "water").unwrap();
        let reader = ["--as=reader", "--name", &name, "--allow-user=0", &a];
        let reader = Half::start(sys::as_nobody(&place, &reader));
        reader.hear("waiting");
        let writer = [
            "--as=writer",
            "--name",
            &name,
            "--allow-user=nobody",
            "home",
        ];
        let outcome = Half::start(place.brigade(writer)).end();
        let Some(why) = why else {
            outcome.expect(0);
            reader.end().expect(0);
            assert_eq!(std::fs::read(&copied).unwrap(), b"water");
            continue;
        };
        outcome.expect_line(1, &[why, "65534", "name the destination file yourself"]);
        reader.end().expect(4);
        match taken {
            true => assert_eq!(std::fs::read(&copied).unwrap(), b"old"),
            false => assert!(!copied.exists()),
        }
    }
}

#[test]
fn a_name_that_another_user_has_and_a_directory_that_others_cannot_write_say_what_to_do() {
    if !sys::is_root() {
        return;
    }
    let place = Place::new();
    place.file("a", "water");
    let shared = shared(&place);
    let name = format!("{shared}/copy");
    let reader =
        Half::start(place.brigade(["--as", "reader", "--name", &name, "--wait", "5", "a"]));
    reader.hear("waiting");
    let writer = |name: &str| {
        let args = ["--as", "writer", "--name", name, "b"];
        Half::start(sys::as_nobody(&place, &args)).end()
    };
    let what = ["in use by user root (0)", "choose another name", "allow"];
    writer(&name).expect_line(1, &what);
    reader.end().expect(5);
    sys::set_mode(&place.path("shared"), 0o755);
    let what = ["Permission denied", "a directory where both processes"];
    writer(&format!("{shared}/other")).expect_line(1, &what);
}
