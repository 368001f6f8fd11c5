//! What cannot work is refused in one line, and nothing is touched.

use std::path::Path;

use crate::harness::{Half, Place, native, sys};

/// What `args` are refused with, and that nothing changed.
#[track_caller]
fn assert_refused(place: &Place, args: &[&str], code: i32, parts: &[&str]) {
    let before = listing(place.root());
    Half::start(place.brigade(args))
        .end()
        .expect_line(code, parts);
    assert_eq!(listing(place.root()), before);
}

fn listing(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (
                path.display().to_string(),
                std::fs::read(&path).unwrap_or_default(),
            )
        })
        .collect();
    found.sort();
    found
}

#[test]
fn a_file_is_not_copied_onto_itself_by_whatever_name() {
    let place = Place::new();
    let a = place.file("a", "water");
    std::fs::hard_link(&a, place.path("hard")).unwrap();
    let mut others = vec!["a", "./a", "hard", "."];
    if sys::link("a", &place.path("soft")) {
        others.push("soft");
    }
    for other in others {
        for both in [&["--both"][..], &[]] {
            let args = [both, &["a", other]].concat();
            assert_refused(&place, &args, 1, &["are the same file"]);
        }
    }
}

#[test]
fn a_directory_is_no_source_and_no_destination_without_a_name() {
    let place = Place::new();
    std::fs::create_dir(place.path("d")).unwrap();
    place.file("a", "water");
    assert_refused(&place, &["--both", "d", "b"], 1, &["is a directory"]);
    assert_refused(
        &place,
        &["--both", "a", "new/"],
        1,
        &["new/", "ot a directory"],
    );
    std::fs::create_dir(place.path("d/a")).unwrap();
    let parts = [&native("d/a"), "s a directory"];
    assert_refused(&place, &["--both", "a", "d"], 1, &parts);
    let name = place.name();
    assert_refused(
        &place,
        &["--both", "--name", &name, "-", "d"],
        1,
        &["no name"],
    );
}

#[test]
fn words_that_make_no_sense_are_usage_errors_in_one_line() {
    let place = Place::new();
    place.file("a", "water");
    for (args, parts) in [
        (&["--bogus", "a", "b"][..], &["--bogus", "--help"][..]),
        (&["--block-size", "big", "a", "b"], &["big", "--block-size"]),
        (&["--block-size", "0", "a", "b"], &["block size", "0"]),
        (
            &["--block-size", "2G", "a", "b"],
            &["block size", "2147483648"],
        ),
        (&["--blocks", "0", "a", "b"], &["number of blocks", "0"]),
        (&["--blocks", "-1", "a", "b"], &["-1"]),
        (&["--wait", "soon", "a", "b"], &["soon", "--wait"]),
        (&["--as", "boss", "a", "b"], &["boss"]),
        (&["--both", "--as", "reader", "a", "b"], &["--both", "--as"]),
        (&["--as", "reader", "a"], &["--name"]),
        (&["--name", "", "a", "b"], &["name"]),
        (&["--name", "x/", "a", "b"], &["name"]),
        (&["--timeout", "0", "a", "b"], &["--timeout", "more than 0"]),
        (&["", "b"], &["a path is empty"]),
        (&["a", ""], &["a path is empty"]),
        (&["-r", "a", "b"], &["tar -c DIR | brigade"]),
        (&["-a", "a", "b"], &["tar -c DIR | brigade"]),
        (&["-f", "a", "b"], &["not needed", "--no-clobber"]),
        (&["--bothh", "a", "b"], &["did you mean --both?"]),
        (
            &["--as", "reade", "--name=x", "a"],
            &["did you mean reader?"],
        ),
        (&["--backup=numbered", "a", "b"], &["--backup=.old"]),
        (&["--backup=t", "a", "b"], &["--backup=.old"]),
        (&["a"], &["DESTINATION"]),
        (&["a", "b", "c"], &["c"]),
        (&[], &["PATH"]),
    ] {
        assert_refused(&place, args, 2, parts);
    }
}

#[test]
fn a_path_on_another_machine_is_told_how_to_get_there() {
    let place = Place::new();
    let parts = ["on one machine", "| ssh HOST 'brigade --both - FILE'"];
    assert_refused(&place, &["--both", "host:dir/a", "b"], 1, &parts);
}

#[test]
fn a_missing_directory_is_told_with_what_makes_it() {
    let place = Place::new();
    place.file("a", "water");
    let destination = native("no/d/b");
    let parts = ["its directory is missing: mkdir -p", &native("no/d")];
    assert_refused(&place, &["--both", "a", &destination], 1, &parts);
}

#[test]
fn pools_that_differ_are_told_with_what_to_type() {
    let place = Place::new();
    place.file("a", "water");
    let first = Half::start(place.brigade(["--block-size=1M", "--blocks=3", "a", "b"]));
    first.hear("waiting");
    let parts = ["run: brigade ... --block-size 1048576 --blocks 3"];
    Half::start(place.brigade(["a", "b"]))
        .end()
        .expect_line(1, &parts);
}

#[test]
fn a_pool_beyond_memory_is_refused_before_the_system_kills_for_it() {
    let place = Place::new();
    place.file("a", "water");
    let args = [
        "--both",
        "--block-size",
        "1G",
        "--blocks",
        "65536",
        "a",
        "b",
    ];
    assert_refused(&place, &args, 1, &["64.0 TiB", "does not fit into memory"]);
}

#[test]
fn help_and_version_are_no_errors() {
    let place = Place::new();
    for (option, part) in [("--help", "Exit status"), ("--version", "brigade ")] {
        let mut half = Half::start(place.brigade([option]));
        half.collect_output();
        let outcome = half.end().expect(0);
        assert!(String::from_utf8(outcome.output).unwrap().contains(part));
    }
}
