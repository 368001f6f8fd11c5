//! Strangers in the place of what was left, and what fails or dies on the way.

use super::*;

#[test]
fn what_a_stranger_puts_in_the_journal_s_place_is_neither_believed_nor_touched() {
    let content = source(SIZE);
    let place = Place::new();
    place.file("a", &content);
    let precious = place.file("precious", "precious");
    let journal = place.path(JOURNAL);
    type Plant = fn(&Path, &Path);
    let mut plants: Vec<Plant> = vec![
        |precious, journal| std::fs::hard_link(precious, journal).unwrap(),
        |_, journal| std::fs::create_dir(journal).unwrap(),
    ];
    if sys::link("precious", &place.path("link")) {
        plants.push(|_, journal| assert!(sys::link("precious", journal)));
    }
    let has_fifos = std::process::Command::new("mkfifo")
        .arg(place.path("fifo"))
        .status();
    if has_fifos.is_ok_and(|status| status.success()) {
        plants.push(|precious, journal| {
            std::fs::rename(precious.with_file_name("fifo"), journal).unwrap();
        });
    }
    for plant in plants {
        plant(&precious, &journal);
        resume(&place, &[]).expect_line(1, &[JOURNAL, "it is no journal; remove it"]);
        // It is in nobody else's way.
        place.both(&["-q"], "a", "b").expect(0);
        assert_eq!(std::fs::read(&precious).unwrap(), b"precious");
        assert!(std::fs::symlink_metadata(&journal).is_ok());
        let removed = std::fs::remove_file(&journal);
        removed.or_else(|_| std::fs::remove_dir(&journal)).unwrap();
    }
}

/// Where all users may write, as in /tmp, and each may remove only their own.
fn sticky(place: &Place) -> std::path::PathBuf {
    let path = place.path("sticky");
    std::fs::create_dir(&path).unwrap();
    sys::set_mode(&path, 0o1777);
    path
}

const NOBODY: u32 = 65534;

#[test]
fn what_another_user_has_made_is_never_gone_on_with() {
    if !sys::is_root() {
        return;
    }
    let content = source(SIZE);
    let place = Place::new();
    place.file("a", &content);
    let sticky = sticky(&place);
    let [b, partial, journal] =
        ["b", PARTIAL, JOURNAL].map(|name| sticky.join(name).to_str().unwrap().to_owned());
    let theirs = |path: &str| sys::set_owner(path.as_ref(), NOBODY, NOBODY);
    for (name, why) in [
        (&journal, "the journal is another user's"),
        (&partial, "the partial file is another user's"),
    ] {
        broken_off(&place, &[]);
        for (from, to) in [(PARTIAL, &partial), (JOURNAL, &journal)] {
            std::fs::rename(place.path(from), to).unwrap();
        }
        // Of that content it could be true, for all that is known.
        theirs(name);
        let outcome = place.both(&["--resume"], "a", &b).expect(0);
        assert!(outcome.said.contains(why), "{outcome:?}");
        assert!(std::fs::read(&b).unwrap() == content);
        assert!(!Path::new(&journal).exists() && !Path::new(&partial).exists());
    }
    // Another user, who may not remove root's journal, is told; and copies without one.
    std::fs::write(&journal, "root's").unwrap();
    let other = sticky.join("a").to_str().unwrap().to_owned();
    std::fs::write(&other, "theirs").unwrap();
    theirs(&other);
    theirs(&b);
    let copy = |options: &[&str]| {
        let args = [&["--both"], options, &[&other, &b]].concat();
        Half::start(sys::as_nobody(&place, &args)).end()
    };
    let outcome = copy(&["--resume"]).expect(1);
    assert!(outcome.said.contains(JOURNAL), "{outcome:?}");
    copy(&[]).expect(0);
    assert_eq!(std::fs::read(&b).unwrap(), b"theirs");
    assert_eq!(std::fs::read(&journal).unwrap(), b"root's");
}

#[test]
fn another_user_s_reader_neither_goes_on_with_what_was_left_nor_leaves_anything() {
    if !sys::is_root() {
        return;
    }
    let content = source(SIZE);
    let place = Place::new();
    place.file("a", &content);
    let sticky = sticky(&place);
    let name = sticky.join("copy").to_str().unwrap().to_owned();
    let copy = |options: &[&str]| {
        let words = |side: &'static str, user: &'static str, path: &'static str| {
            let args = [&["--as", side, "--name", &name, "--resume"], options].concat();
            let words = [&args[..], &["--allow-user", user, path]].concat();
            words.into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        let reader = words("reader", "root", "a");
        let reader: Vec<&str> = reader.iter().map(String::as_str).collect();
        let reader = Half::start(sys::as_nobody(&place, &reader));
        [
            reader,
            Half::start(place.brigade(words("writer", "nobody", "b"))),
        ]
    };
    broken_off(&place, &[]);
    for half in copy(&[]) {
        let outcome = half.end().expect(0);
        let why = "starts over: the reader is another user's";
        assert!(outcome.said.contains(why), "{outcome:?}");
    }
    expect_whole(&place, &content);
    let [mut reader, mut writer] = copy(&[SLOW]);
    place.wait_for_data();
    assert!(!place.path(JOURNAL).exists());
    reader.kill();
    writer.kill();
}

#[test]
fn a_journal_that_cannot_be_written_any_more_harms_no_copy() {
    let content = source(SIZE);
    for (fault, says) in [
        (
            "fdatasync:error=EIO:when=1",
            "cannot write the journal of b any more",
        ),
        (
            "unlinkat:error=EIO:when=1+",
            "cannot remove .b.brigade-journal",
        ),
    ] {
        let place = Place::new();
        place.file("a", &content);
        let args = ["--both", "--resume", SLOW, "a", "b"];
        // A name in a directory that is held cannot be told by its path.
        let copy = match fault.starts_with("unlinkat") {
            true => sys::with_faults(&place, &[fault], &args),
            false => sys::with_faults_of(&place, JOURNAL, &[fault], &args),
        };
        let Some(copy) = copy else {
            return;
        };
        let outcome = Half::start(copy).end().expect(0);
        assert!(outcome.said.contains(says), "{fault}: {outcome:?}");
        assert!(std::fs::read(place.path("b")).unwrap() == content);
        assert!(!place.path(PARTIAL).exists());
        // What was left is in nobody's way.
        resume(&place, &[]).expect(0);
        expect_whole(&place, &content);
    }
    // One that cannot be made is an error: it was asked for.
    let place = Place::new();
    place.file("a", &content);
    let args = ["--both", "--resume", "a", "b"];
    let fault = "write:error=ENOSPC:when=1";
    let copy = sys::with_faults_of(&place, JOURNAL, &[fault], &args).unwrap();
    let outcome = Half::start(copy).end().expect(1);
    assert!(outcome.said.contains(JOURNAL), "{outcome:?}");
    place.assert_nothing_left();
}

#[test]
fn a_journal_is_written_only_after_the_data_it_speaks_of_is_on_disk() {
    let place = Place::new();
    place.file("a", source(SIZE));
    // There are not that many calls, so none fails; but all of these are logged.
    let faults = [
        "fdatasync:error=EIO:when=65535",
        "write:error=EIO:when=65535",
    ];
    let args = ["--both", "--resume", SLOW, "a", "b"];
    let Some(copy) = sys::with_faults(&place, &faults, &args) else {
        return;
    };
    Half::start(copy).end().expect(0);
    let log = std::fs::read_to_string(place.path("strace")).unwrap();
    // A note is the only write of this length; the first two say nothing.
    let calls: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("= 0") || line.contains(", 4096"))
        .collect();
    let is_note = |line: &&str| line.contains("brigJRNL");
    let notes: Vec<usize> = (0..calls.len())
        .filter(|&at| is_note(&calls[at]))
        .skip(2)
        .collect();
    assert!(!notes.is_empty(), "{log}");
    for at in notes {
        let thread = calls[at].split_whitespace().next().unwrap();
        let own = |line: &&&str| line.starts_with(thread);
        let [before, after] = [
            calls[..at].iter().rev().find(own),
            calls[at + 1..].iter().find(own),
        ];
        // Of the partial file before, of the journal after it.
        for call in [before, after] {
            assert!(call.is_some_and(|call| call.contains("fdatasync")), "{log}");
        }
    }
}

/// Where the Writer dies.
pub(crate) const STEPS: &[&str] = &[
    "about to note",
    "noted",
    "note on disk",
    "left file cut",
    "nothing noted",
    "old journal removed",
    "journal removed",
];

#[test]
fn a_writer_that_dies_at_any_step_of_the_journal_leaves_what_can_be_gone_on_with_or_nothing() {
    let content = source(SIZE);
    for step in STEPS {
        let place = Place::new();
        place.file("a", &content);
        let alive = place.file("alive", "");
        let mut options = vec!["--resume", SLOW];
        match *step {
            "left file cut" => drop(broken_off(&place, &[])),
            "nothing noted" => {
                broken_off(&place, &[]);
                agree_on_other_content(&place);
            }
            "old journal removed" => {
                broken_off(&place, &[]);
                options = vec![];
            }
            "journal removed" => options = vec!["--resume"],
            _ => {}
        }
        let name = place.name();
        let half = |role: &str, path: &str| {
            let args = [&options[..], &["--as", role, "--name", &name, path]].concat();
            place.brigade(args)
        };
        let reader = Half::start(half("reader", "a"));
        let mut writer = half("writer", "b");
        writer.env("BRIGADE_DIE_AT", format!("{step}:1:{}", alive.display()));
        let writer = Half::start(writer).end();
        assert!(!alive.exists(), "{step}: {writer:?}");
        reader.end().expect(4);
        resume(&place, &[]).expect(0);
        expect_whole(&place, &content);
    }
}
