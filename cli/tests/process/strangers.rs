//! Root copies to where another user exchanges two names all the time.

use std::path::Path;

use crate::harness::{Half, Place, sys};

/// As many copies as one attack needs to be noticed; more with `BRIGADE_ATTACKS`.
fn attacks() -> usize {
    let more = std::env::var("BRIGADE_ATTACKS").ok();
    more.and_then(|more| more.parse().ok()).unwrap_or(60)
}

const NOBODY: u32 = 65534;

/// Root copies to where another user exchanges two names all the time.
struct Attacked {
    place: Place,
    /// What belongs to root, readable to root alone.
    precious: std::path::PathBuf,
}

impl Attacked {
    fn new() -> Attacked {
        let place = Place::new();
        place.file("a", "new");
        std::fs::create_dir(place.path("root")).unwrap();
        let precious = place.file("root/out", "precious");
        sys::set_mode(&precious, 0o600);
        std::fs::create_dir(place.path("sticky")).unwrap();
        sys::set_mode(&place.path("sticky"), 0o1777);
        Attacked { place, precious }
    }

    /// A file of the other user, to whom everything is allowed.
    fn theirs(&self, name: &str) {
        let path = self.place.file(name, "theirs");
        sys::set_mode(&path, 0o666);
        sys::set_owner(&path, NOBODY, NOBODY);
    }

    fn link(&self, target: &Path, name: &str) {
        let path = self.place.path(name);
        assert!(sys::link(target.to_str().unwrap(), &path));
        sys::set_owner_of_link(&path, NOBODY, NOBODY);
    }

    /// Copies again and again, and looks after each whether root's file is as it was.
    fn withstand(&self, one: &str, other: &str, destination: &str, check: impl Fn()) {
        let [one, other] = [one, other].map(|name| self.place.path(name));
        let Some(exchanging) = sys::exchanging(&one, &other) else {
            return;
        };
        for _ in 0..attacks() {
            // It may fail, and it may succeed.
            let args = ["--both", "-q", "--no-sync", "a", destination];
            Half::start(self.place.brigade(args)).end();
            check();
        }
        assert!(exchanging.end() > 100, "nothing was exchanged");
    }

    fn assert_precious(&self) {
        assert_eq!(std::fs::read(&self.precious).unwrap(), b"precious");
        self.assert_roots_own();
    }

    fn assert_roots_own(&self) {
        assert_eq!(sys::owner(&self.precious), (0, 0));
        assert_eq!(sys::whole_mode(&self.precious), 0o600);
    }
}

#[test]
fn a_name_that_is_exchanged_for_a_link_gives_nobody_root_s_file() {
    if !sys::is_root() {
        return;
    }
    let attacked = Attacked::new();
    attacked.theirs("sticky/out");
    attacked.link(&attacked.precious, "sticky/link");
    attacked.withstand("sticky/out", "sticky/link", "sticky/out", || {
        attacked.assert_precious();
    });
}

#[test]
fn a_directory_that_is_exchanged_for_a_link_gives_nobody_root_s_file() {
    if !sys::is_root() {
        return;
    }
    let attacked = Attacked::new();
    std::fs::create_dir(attacked.place.path("sticky/d")).unwrap();
    sys::set_owner(&attacked.place.path("sticky/d"), NOBODY, NOBODY);
    attacked.theirs("sticky/d/out");
    attacked.link(&attacked.place.path("root"), "sticky/link");
    attacked.withstand("sticky/d", "sticky/link", "sticky/d/out", || {
        attacked.assert_precious();
    });
}

#[test]
fn in_another_user_s_directory_a_link_is_followed_but_what_it_leads_to_stays_root_s() {
    if !sys::is_root() {
        return;
    }
    let attacked = Attacked::new();
    // Not sticky: there the system lets root follow that user's links, and so does cp.
    let directory = attacked.place.path("theirs");
    std::fs::create_dir(&directory).unwrap();
    sys::set_owner(&directory, NOBODY, NOBODY);
    attacked.theirs("theirs/out");
    attacked.link(&attacked.precious, "theirs/link");
    attacked.withstand("theirs/out", "theirs/link", "theirs/out", || {
        attacked.assert_roots_own();
    });
}

#[test]
fn a_name_that_is_exchanged_for_a_link_to_a_device_leaves_the_device() {
    if !sys::is_root() {
        return;
    }
    let attacked = Attacked::new();
    let device = attacked.place.path("root/null");
    if !sys::make_null(&device) {
        return;
    }
    for directory in ["sticky", "theirs"] {
        let path = attacked.place.path(directory);
        if directory == "theirs" {
            std::fs::create_dir(&path).unwrap();
            sys::set_owner(&path, NOBODY, NOBODY);
        }
        let [out, link] = ["out", "link"].map(|name| format!("{directory}/{name}"));
        attacked.theirs(&out);
        attacked.link(&device, &link);
        attacked.withstand(&out, &link, &out, || {
            assert!(sys::is_character_device(&device));
        });
    }
}

#[test]
fn root_s_file_is_not_read_through_another_user_s_link_in_a_sticky_directory() {
    if !sys::is_root() {
        return;
    }
    let attacked = Attacked::new();
    attacked.link(&attacked.precious, "sticky/a");
    let args = ["--both", "sticky/a", "sticky/b"];
    let copy = Half::start(attacked.place.brigade(args)).end();
    copy.expect_line(1, &["cannot open", "another user's symbolic link"]);
    assert!(!attacked.place.path("sticky/b").exists());
}
