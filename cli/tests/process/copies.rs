//! What is copied arrives, whole and under the right name.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::process::Stdio;
use std::time::Duration;

use crate::harness::{Half, PROMISED, Place, noise, skip, sys};

const BLOCK: usize = 4096;
const BLOCKS: usize = 4;

/// The sizes at which a block or the pool begins or ends.
const SIZES: [usize; 8] = [
    0,
    1,
    BLOCK - 1,
    BLOCK,
    BLOCK + 1,
    BLOCK * BLOCKS - 1,
    BLOCK * BLOCKS,
    BLOCK * BLOCKS + 1,
];

const SMALL: [&str; 5] = ["--no-sync", "--block-size", "4K", "--blocks", "4"];

fn args<'a>(source: &'a str, destination: &'a str) -> Vec<&'a str> {
    [&SMALL[..], &[source, destination]].concat()
}

#[test]
fn files_of_all_sizes_arrive_with_both_and_by_hand() {
    for size in SIZES {
        let place = Place::new();
        let data = noise(size);
        place.file("a", &data);
        let both = [&["--both"][..], &args("a", "b")].concat();
        Half::start(place.brigade(both)).end().expect(0);
        assert!(std::fs::read(place.path("b")).unwrap() == data, "{size}");
        for half in place.twice(&args("a", "c")) {
            half.end().expect(0);
        }
        assert!(std::fs::read(place.path("c")).unwrap() == data, "{size}");
        place.assert_nothing_left();
    }
}

#[test]
fn with_both_a_small_source_gets_no_more_blocks_than_it_fills_and_one_more() {
    let both = ["--both", "--no-sync", "-v"];
    let cases: [(usize, usize, &[&str]); 9] = [
        (0, 2, &[]),
        (1, 2, &[]),
        (256 * 1024, 3, &[]),
        (1024 * 1024 + 1, 6, &[]),
        (5 * 1024 * 1024, 16, &[]),
        (BLOCK + 1, 3, &["--block-size=4K"]),
        // What was asked for, and what another process may join.
        (1, 16, &["--blocks=16"]),
        (1, 16, &["--takeover=1min"]),
        (1, 16, &["--resume"]),
    ];
    for (size, blocks, options) in cases {
        let place = Place::new();
        let data = noise(size);
        place.file("a", &data);
        let both = match options {
            // Which needs what it had on disk.
            ["--resume"] => &["--both", "-v"],
            _ => &both[..],
        };
        let args = [both, options, &["a", "b"]].concat();
        let said = Half::start(place.brigade(args)).end().expect(0).said;
        assert!(said.contains(&format!("({blocks} blocks of ")), "{said}");
        assert!(std::fs::read(place.path("b")).unwrap() == data, "{size}");
        place.assert_nothing_left();
    }
}

#[test]
fn streams_of_all_sizes_arrive_in_files_and_files_in_streams() {
    for size in SIZES {
        let place = Place::new();
        let data = noise(size);
        place.file("a", &data);

        let mut reader = piped(&place, &args("-", "b"), data.clone());
        reader.collect_output();
        let writer = Half::start(place.brigade(args("-", "b")));
        reader.end().expect(0);
        writer.end().expect(0);
        assert!(std::fs::read(place.path("b")).unwrap() == data, "{size}");

        let reader = Half::start(place.brigade(args("a", "-")));
        reader.hear("waiting");
        let mut writer = Half::start(place.brigade(args("a", "-")));
        writer.collect_output();
        reader.end().expect(0);
        assert!(writer.end().expect(0).output == data, "{size}");

        let both = [&["--both"][..], &args("-", "-")].concat();
        let mut both = piped(&place, &both, data.clone());
        both.collect_output();
        assert!(both.end().expect(0).output == data, "{size}");
    }
}

/// A process that is fed `data`, and reads it: it waits for its partner.
fn piped(place: &Place, args: &[&str], data: Vec<u8>) -> Half {
    let mut command = place.brigade(args);
    command.stdin(Stdio::piped());
    let mut half = Half::start(command);
    half.feed(data);
    if !args.contains(&"--both") {
        half.hear("waiting");
    }
    half
}

#[test]
fn the_default_pool_copies_what_ends_near_it() {
    let pool = 16 * 256 * 1024;
    for size in [pool - 1, pool, pool + 1, 5 * pool + 12345] {
        let place = Place::new();
        let data = noise(size);
        place.file("a", &data);
        Half::start(place.brigade(["--both", "a", "b"]))
            .end()
            .expect(0);
        assert!(std::fs::read(place.path("b")).unwrap() == data, "{size}");
    }
}

#[test]
fn three_gibibytes_with_a_hole_arrive() {
    const SIZE: u64 = 3 << 30;
    let place = Place::new();
    if sys::free_bytes(place.root()) < SIZE + (1 << 30) {
        let root = place.root().display();
        return skip(&format!("less than 4 GiB free in {root}"));
    }
    let mut source = File::create(place.path("a")).unwrap();
    source.set_len(SIZE).unwrap();
    for offset in [0, 1 << 30, SIZE - 5] {
        source.seek(SeekFrom::Start(offset)).unwrap();
        source.write_all(b"water").unwrap();
    }
    let both = Half::start(place.brigade(["--both", "--no-sync", "a", "b"]));
    both.end_within(Duration::from_secs(300)).expect(0);
    let [mut a, mut b] = ["a", "b"].map(|name| File::open(place.path(name)).unwrap());
    assert_eq!(b.metadata().unwrap().len(), SIZE);
    let [mut left, mut right] = [(); 2].map(|()| vec![0; 1 << 20]);
    for mebibyte in 0..SIZE >> 20 {
        a.read_exact(&mut left).unwrap();
        b.read_exact(&mut right).unwrap();
        assert!(left == right, "they differ in MiB {mebibyte}");
    }
}

#[test]
fn a_slow_stream_is_passed_on_without_waiting_for_a_full_block() {
    let place = Place::new();
    let mut command = place.brigade(["--both", "-", "-"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    for word in [b"one", b"two"] {
        input.write_all(word).unwrap();
        let mut arrived = [0; 3];
        // A hang here is ended by the test runner's own limit.
        output.read_exact(&mut arrived).unwrap();
        assert_eq!(&arrived, word);
    }
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_directory_as_destination_gets_the_source_s_name_in_every_way_of_running() {
    let place = Place::new();
    place.file("a", "water");
    for (directory, how) in [("d1", "both"), ("d2", "fixed")] {
        std::fs::create_dir(place.path(directory)).unwrap();
        if how == "both" {
            Half::start(place.brigade(["--both", "a", directory]))
                .end()
                .expect(0);
        } else {
            let name = place.name();
            let writer = ["--as", "writer", "--name", &name, directory];
            let writer = Half::start(place.brigade(writer));
            let reader = ["--as", "reader", "--name", &name, "a"];
            Half::start(place.brigade(reader)).end().expect(0);
            writer.end().expect(0);
        }
        let arrived = std::fs::read(place.path(directory).join("a")).unwrap();
        assert_eq!(arrived, b"water");
    }
}

#[test]
fn an_existing_destination_keeps_its_mode_and_a_new_one_gets_the_source_s() {
    if !sys::has_modes() {
        return skip("files have no modes here");
    }
    let place = Place::new();
    sys::set_mode(&place.file("a", "new"), 0o754);
    sys::set_mode(&place.file("b", "old"), 0o600);
    Half::start(place.brigade(["--both", "a", "b"]))
        .end()
        .expect(0);
    assert_eq!(sys::mode(&place.path("b")), 0o600);
    let script = r#"umask 027; exec "$0" --both a c"#;
    let shell = ["-c", script, env!("CARGO_BIN_EXE_brigade")];
    Half::start(place.command("/bin/sh".as_ref(), shell))
        .end()
        .expect(0);
    assert_eq!(sys::mode(&place.path("c")), 0o750);
}

#[test]
fn an_existing_destination_keeps_its_access_list() {
    if !sys::has_access_lists() {
        return skip("files have no access lists here");
    }
    let place = Place::new();
    place.file("a", "new");
    let b = place.file("b", "old");
    let inherited = sys::access_list(&b);
    sys::protect(&b);
    let protected = sys::access_list(&b);
    assert_ne!(protected, inherited);
    Half::start(place.brigade(["--both", "a", "b"]))
        .end()
        .expect(0);
    assert_eq!(std::fs::read(&b).unwrap(), b"new");
    assert_eq!(sys::access_list(&b), protected);
}

#[test]
fn names_in_other_scripts_and_paths_beyond_260_characters_are_copied_between() {
    let place = Place::new();
    let mut directory = place.path("größe 大");
    while directory.as_os_str().len() < 400 {
        directory.push("ein Verzeichnis mit einem recht langen Namen");
    }
    std::fs::create_dir_all(&directory).unwrap();
    let [source, destination] = ["Ω.txt", "ю😀"].map(|name| directory.join(name));
    for content in ["water", "more"] {
        std::fs::write(&source, content).unwrap();
        Half::start(place.brigade(["--both".as_ref(), source.as_os_str(), destination.as_ref()]))
            .end()
            .expect(0);
        assert_eq!(std::fs::read_to_string(&destination).unwrap(), content);
    }
    // The name travels in the greeting.
    let name = place.name();
    let writer = ["--as", "writer", "--name", &name, "."];
    let writer = Half::start(place.brigade(writer));
    let reader = ["--as", "reader", "--name", &name].map(AsRef::as_ref);
    let reader = reader.into_iter().chain([source.as_os_str()]);
    Half::start(place.brigade(reader)).end().expect(0);
    writer.end().expect(0);
    assert_eq!(std::fs::read(place.path("Ω.txt")).unwrap(), b"more");
}

#[test]
fn standard_streams_carry_bytes_and_not_text() {
    let place = Place::new();
    // Ends of lines, the end of a text on Windows, a zero, and what is no UTF-8.
    let data = b"a\r\nb\nc\x1a\r\0\xff\r\r\n\x1a".to_vec();
    let mut both = piped(&place, &["--both", "-", "-"], data.clone());
    both.collect_output();
    assert_eq!(both.end().expect(0).output, data);
}

#[test]
fn a_symbolic_link_stays_one_and_what_it_means_is_replaced() {
    let place = Place::new();
    place.file("a", "new");
    place.file("target", "old");
    if !sys::link("target", &place.path("link")) {
        return;
    }
    Half::start(place.brigade(["--both", "a", "link"]))
        .end()
        .expect(0);
    assert!(
        std::fs::symlink_metadata(place.path("link"))
            .unwrap()
            .is_symlink()
    );
    assert_eq!(std::fs::read(place.path("target")).unwrap(), b"new");
}

#[test]
fn a_fifo_and_a_device_are_written_in_place() {
    let place = Place::new();
    place.file("a", "water");
    let fifo = sys::Fifo::new(&place);
    let both = Half::start(place.brigade(["--both", "a", fifo.path()]));
    assert_eq!(fifo.read(&both), b"water");
    both.end().expect(0);
    Half::start(place.brigade(["--both", "a", sys::NULL_DEVICE]))
        .end()
        .expect(0);
    place.assert_nothing_left();
}

#[test]
fn progress_is_shown_when_asked_for_and_never_into_a_file_by_itself() {
    let place = Place::new();
    place.file("a", noise(3 << 20));
    let drawn = Half::start(place.brigade(["--both", "--progress", "always", "a", "b"]));
    let drawn = drawn.end().expect(0).said;
    assert!(drawn.contains("of 3.0 MiB"), "{drawn:?}");
    let silent = Half::start(place.brigade(["--both", "a", "c"]))
        .end()
        .expect(0)
        .said;
    assert!(
        !silent.contains('\x1b') && silent.lines().count() == 1,
        "{silent:?}"
    );
    assert!(
        silent.contains("3.0 MiB") && silent.contains("on disk"),
        "{silent:?}"
    );
    let quiet = Half::start(place.brigade(["--both", "-q", "a", "d"]))
        .end()
        .expect(0);
    assert_eq!(quiet.said, "");
}

#[test]
fn standard_output_that_does_not_wait_is_waited_for() {
    let Some((output, mut input)) = sys::stream_that_does_not_wait() else {
        return;
    };
    let place = Place::new();
    let data = noise(4 << 20);
    place.file("a", &data);
    let mut command = place.brigade(["--both", "a", "-"]);
    command.stdout(output);
    let both = Half::start_as_it_is(command);
    // It is full long before.
    std::thread::sleep(Duration::from_millis(200));
    let mut copied = vec![0; data.len()];
    input.read_exact(&mut copied).unwrap();
    assert!(copied == data);
    both.end().expect(0);
}

#[test]
fn who_waits_for_standard_output_notices_a_signal() {
    let Some((output, input)) = sys::stream_that_does_not_wait() else {
        return;
    };
    let place = Place::new();
    place.file("a", noise(4 << 20));
    let mut command = place.brigade(["--both", "-v", "a", "-"]);
    command.stdout(output);
    let both = Half::start_as_it_is(command);
    both.hear("the partner is");
    std::thread::sleep(Duration::from_millis(100));
    both.interrupt(&sys::INTERRUPTIONS[0]);
    both.end_within(PROMISED).expect(130);
    drop(input);
}
