//! What the Reader makes of its source: holes, sizes that lie, changes, and its pace.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Half, Outcome, Place, noise, skip, sys};

fn both(place: &Place, args: &[&str]) -> Outcome {
    Half::start(place.brigade([&["--both"], args].concat())).end()
}

// ---- holes ----------------------------------------------------------------------------

#[test]
fn a_file_of_a_tebibyte_with_next_to_nothing_in_it_is_copied_at_once() {
    const SIZE: u64 = 1 << 40;
    const AT: u64 = SIZE / 2 + 4096;
    let place = Place::new();
    let a = File::create(place.path("a")).unwrap();
    if a.set_len(SIZE).is_err() || sys::allocated_bytes(&place.path("a")) > 1 << 20 {
        return skip("files take room for what was not written here");
    }
    if !sys::finds_holes(&place.path("a")) {
        return;
    }
    let mut a = a;
    a.seek(SeekFrom::Start(AT)).unwrap();
    a.write_all(b"water").unwrap();
    drop(a);
    both(&place, &["a", "b"]).expect(0);
    let mut b = File::open(place.path("b")).unwrap();
    assert_eq!(b.metadata().unwrap().len(), SIZE);
    assert!(sys::allocated_bytes(&place.path("b")) < 1 << 20);
    let mut found = [0; 7];
    b.seek(SeekFrom::Start(AT - 1)).unwrap();
    b.read_exact(&mut found).unwrap();
    assert_eq!(&found, b"\0water\0");
}

/// Small pieces of data, each with a hole behind it.
fn sieve(path: &Path) -> Vec<u8> {
    const EACH: usize = 128 << 10;
    const PIECES: usize = 128;
    let mut file = File::create(path).unwrap();
    let mut content = vec![0; EACH * PIECES];
    for (n, part) in content.chunks_mut(EACH).enumerate() {
        let data = noise(if n % 2 == 0 { 4096 } else { 32 << 10 });
        part[..data.len()].copy_from_slice(&data);
        file.seek(SeekFrom::Start((n * EACH) as u64)).unwrap();
        file.write_all(&data).unwrap();
    }
    file.set_len(content.len() as u64).unwrap();
    file.sync_all().unwrap();
    content
}

#[test]
fn a_copy_with_holes_takes_no_more_room_than_that_of_cp_on_any_file_system() {
    for kind in ["xfs", "ext4", "btrfs", "tmpfs"] {
        let Some(mounted) = sys::mounted(kind) else {
            continue;
        };
        let place = Place::new();
        let root = mounted.path();
        let content = sieve(&root.join("a"));
        let paths = ["a", "by-cp", "b"].map(|name| root.join(name));
        let [a, by_cp, b] = paths.each_ref().map(|path| path.to_str().unwrap());
        let mut cp = std::process::Command::new("cp");
        let copied = cp.args(["--sparse=auto", a, by_cp]).status();
        if !copied.is_ok_and(|status| status.success()) {
            return skip("no cp that knows holes here");
        }
        let room = |path: &str| {
            let file = File::options().write(true).open(path).unwrap();
            file.sync_all().unwrap();
            sys::allocated_bytes(path.as_ref())
        };
        let most = room(by_cp) * 105 / 100;
        for options in [&["--no-sync"][..], &["--verify"]] {
            both(&place, &[options, &[a, b]].concat()).expect(0);
            assert!(std::fs::read(b).unwrap() == content, "{kind}");
            assert!(room(b) <= most, "{kind}: {} and {most}", room(b));
        }
        // How much will come is not known.
        let mut command = place.brigade(["--both", "--sparse=always", "-", b]);
        command.stdin(std::process::Stdio::piped());
        let mut copy = Half::start(command);
        copy.feed(content.clone());
        copy.end().expect(0);
        assert!(std::fs::read(b).unwrap() == content, "{kind}");
        assert!(room(b) <= most, "{kind}: {} and {most}", room(b));
    }
}

#[test]
fn a_file_as_long_as_files_can_be_is_copied_with_its_end() {
    const MOST: u64 = i64::MAX as u64;
    for kind in ["xfs", "btrfs", "tmpfs"] {
        let Some(mounted) = sys::mounted(kind) else {
            continue;
        };
        let place = Place::new();
        let [a, b] = ["a", "b"].map(|name| mounted.path().join(name));
        for (size, end) in [(MOST, &b""[..]), (MOST - 6, b"water")] {
            let mut file = File::create(&a).unwrap();
            file.set_len(size).unwrap();
            let at = size - end.len() as u64;
            file.seek(SeekFrom::Start(at)).unwrap();
            file.write_all(end).unwrap();
            let outcome = both(&place, &[a.to_str().unwrap(), b.to_str().unwrap()]);
            if outcome.code == Some(1) && outcome.said.contains("says that there is no more data") {
                skip(&format!("{kind} does not tell of data at that offset"));
                continue;
            }
            outcome.expect(0);
            let mut copied = File::open(&b).unwrap();
            assert_eq!(copied.metadata().unwrap().len(), size, "{kind}");
            let mut found = vec![0; end.len()];
            copied.seek(SeekFrom::Start(at)).unwrap();
            copied.read_exact(&mut found).unwrap();
            assert_eq!(found, end, "{kind}");
        }
    }
}

#[test]
fn files_that_are_holes_alone_have_their_size_again() {
    let place = Place::new();
    for size in [1, 4095, 4096, (1 << 20) + 1] {
        let a = File::create(place.path("a")).unwrap();
        a.set_len(size).unwrap();
        for options in [&["a", "b"][..], &["--verify", "--sparse=never", "a", "b"]] {
            both(&place, options).expect(0);
            let b = std::fs::read(place.path("b")).unwrap();
            assert!(b == vec![0; size as usize], "{size}");
        }
    }
}

#[test]
fn zeros_become_holes_only_if_always_was_asked_for() {
    let place = Place::new();
    const ZEROS: usize = 1 << 20;
    // Zeros that begin and end in the middle of a block, and of a page.
    let pieces = [
        noise(5000),
        vec![0; ZEROS],
        noise(3),
        vec![0; ZEROS],
        noise(1 << 18),
    ];
    let content = pieces.concat();
    place.file("a", &content);
    let allocated = |options: &[&str]| {
        both(&place, &[options, &["--verify", "a", "b"]].concat()).expect(0);
        assert!(std::fs::read(place.path("b")).unwrap() == content);
        sys::allocated_bytes(&place.path("b"))
    };
    let usual = allocated(&[]);
    if sys::allocated_bytes(&place.path("a")) < content.len() as u64 {
        return skip("the file system makes holes by itself");
    }
    assert!(usual >= content.len() as u64, "{usual}");
    let always = allocated(&["--sparse=always"]);
    assert!(always < 1 << 19, "{always}");
}

#[test]
fn standard_input_that_was_moved_is_copied_from_there_holes_and_all() {
    let place = Place::new();
    let mut content = vec![0; 1 << 20];
    content[..8].copy_from_slice(b"01234567");
    content[1 << 19..(1 << 19) + 5].copy_from_slice(b"water");
    let mut a = File::create(place.path("a")).unwrap();
    a.set_len(content.len() as u64).unwrap();
    for at in [0, 1 << 19] {
        a.seek(SeekFrom::Start(at)).unwrap();
        a.write_all(&content[at as usize..at as usize + 8]).unwrap();
    }
    let mut input = File::open(place.path("a")).unwrap();
    input.seek(SeekFrom::Start(5)).unwrap();
    let mut command = place.brigade(["--both", "--verify", "-", "b"]);
    command.stdin(input);
    Half::start(command).end().expect(0);
    assert!(std::fs::read(place.path("b")).unwrap() == content[5..]);
}

// ---- sizes that lie ---------------------------------------------------------------------

#[test]
fn a_file_whose_size_is_a_lie_is_read_to_its_end() {
    if sys::LYING_FILES.is_empty() {
        return skip("no file lies about its size here");
    }
    let place = Place::new();
    for file in sys::LYING_FILES {
        both(&place, &[file, "b"]).expect(0);
        let b = std::fs::read(place.path("b")).unwrap();
        assert!(b == std::fs::read(file).unwrap(), "{file}");
    }
}

// ---- changes ----------------------------------------------------------------------------

/// So large that a copy at [`RATE`] is not over before its source has changed.
const SIZE: usize = 4 << 20;
const RATE: &str = "--limit-rate=4M";

/// What `change` does to `a` in the middle of a copy.
fn changed(place: &Place, options: &[&str], change: impl FnOnce(&Path)) -> Outcome {
    let a = place.file("a", noise(SIZE));
    place.file("b", "old");
    let copy = Half::start(place.brigade([&["--both", RATE, "a", "b"], options].concat()));
    place.wait_for_data();
    change(&a);
    copy.end()
}

#[test]
fn a_source_that_changes_is_noticed_and_the_old_destination_stays() {
    let write = |a: &Path, bytes: &[u8]| {
        let mut file = OpenOptions::new().write(true).open(a).unwrap();
        file.write_all(bytes).unwrap();
    };
    type Change<'a> = (&'a str, &'a dyn Fn(&Path));
    let changes: [Change<'_>; 5] = [
        ("and has 1048576", &|a| {
            let file = OpenOptions::new().write(true).open(a).unwrap();
            file.set_len(1 << 20).unwrap();
        }),
        ("it had 4194304 bytes", &|a| {
            let mut file = OpenOptions::new().append(true).open(a).unwrap();
            file.write_all(b"more").unwrap();
        }),
        ("it was written to", &|a| write(a, b"other")),
        ("another file has its name", &|a| {
            // Made before: in between, `a` is a name of nothing.
            let other = a.with_file_name("other");
            std::fs::write(&other, "other").unwrap();
            std::fs::rename(a, a.with_file_name("older")).unwrap();
            std::fs::rename(other, a).unwrap();
        }),
        ("it was removed", &|a| {
            std::fs::rename(a, a.with_file_name("older")).unwrap();
        }),
    ];
    for (what, change) in changes {
        let place = Place::new();
        let outcome = changed(&place, &[], change);
        outcome.expect_line(
            6,
            &["a changed while it was copied", what, "--allow-changes"],
        );
        assert_eq!(std::fs::read(place.path("b")).unwrap(), b"old", "{what}");
        place.assert_nothing_left();
    }
}

#[test]
fn a_change_of_mode_alone_is_a_change() {
    if !sys::has_modes() {
        return skip("files have no modes here");
    }
    let place = Place::new();
    changed(&place, &[], |a| sys::set_mode(a, 0o600)).expect_line(6, &["mode"]);
}

#[test]
fn both_halves_know_that_the_source_changed() {
    let place = Place::new();
    place.file("a", noise(SIZE));
    place.file("b", "old");
    let name = place.name();
    let start = |side| Half::start(place.brigade(["--as", side, "--name", &name, RATE, "a", "b"]));
    let (reader, writer) = (start("reader"), start("writer"));
    place.wait_for_data();
    place.file("a", "short");
    reader.end().expect_line(6, &["reader", "a changed"]);
    writer.end().expect_line(4, &["the reader", "a changed"]);
    assert_eq!(std::fs::read(place.path("b")).unwrap(), b"old");
}

#[test]
fn changes_can_be_accepted_and_a_source_that_shrinks_just_ends() {
    let place = Place::new();
    let outcome = changed(&place, &["--allow-changes"], |a| {
        let file = OpenOptions::new().write(true).open(a).unwrap();
        file.set_len(1 << 20).unwrap();
    });
    outcome.expect(0);
    let b = std::fs::read(place.path("b")).unwrap();
    assert!(b.len() < SIZE);
    assert!(b[..] == noise(SIZE)[..b.len()]);
}

#[test]
fn a_source_that_grows_for_ever_ends_at_the_size_that_it_had() {
    let place = Place::new();
    let over = Arc::new(AtomicBool::new(false));
    let outcome = changed(&place, &["--allow-changes"], |a| {
        let mut file = OpenOptions::new().append(true).open(a).unwrap();
        let over = Arc::clone(&over);
        std::thread::spawn(move || {
            // More than the copy may read, but not more than the disk has.
            for _ in 0..4096 {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                file.write_all(&[0; 16 << 10]).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    });
    over.store(true, Ordering::Relaxed);
    outcome.expect(0);
    assert!(std::fs::read(place.path("b")).unwrap() == noise(SIZE));
}

#[test]
fn what_comes_before_the_partner_is_no_change() {
    let place = Place::new();
    let a = place.file("a", "wat");
    let reader = Half::start(place.brigade(["a", "b"]));
    reader.hear("waiting");
    let mut file = OpenOptions::new().append(true).open(a).unwrap();
    file.write_all(b"er").unwrap();
    drop(file);
    Half::start(place.brigade(["a", "b"])).end().expect(0);
    reader.end().expect(0);
    assert_eq!(std::fs::read(place.path("b")).unwrap(), b"water");
}

// ---- the cache ----------------------------------------------------------------------------

#[test]
fn what_is_read_stays_out_of_the_cache_if_asked_for() {
    const LEN: u64 = 48 << 20;
    let place = Place::new();
    let a = place.file("a", noise(LEN as usize));
    for (option, is_cached) in [("always", false), ("auto", true), ("never", true)] {
        if !sys::drop_from_cache(&a) {
            return skip("what is in the cache cannot be seen here");
        }
        both(&place, &["--direct", option, "a", "b"]).expect(0);
        let Some(cached) = sys::cached_bytes(&a) else {
            return;
        };
        let limit = if is_cached { LEN * 9 / 10 } else { LEN / 4 };
        assert_eq!(cached > limit, is_cached, "{option}: {cached}");
    }
}

// ---- the rate -----------------------------------------------------------------------------

#[test]
fn a_limit_of_the_rate_holds_and_data_comes_smoothly() {
    let place = Place::new();
    place.file("a", noise(1 << 20));
    let mut command = place.brigade(["--both", "--limit-rate=1M", "a", "-"]);
    command.stdout(std::process::Stdio::piped());
    let mut copy = Half::start(command);
    let mut output = copy.output();
    let (mut buffer, mut pieces, mut content) = (vec![0; 1 << 20], 0, Vec::new());
    let mut since = None;
    while let Ok(len @ 1..) = output.read(&mut buffer) {
        since.get_or_insert_with(Instant::now);
        pieces += 1;
        content.extend_from_slice(&buffer[..len]);
    }
    let took = since.unwrap().elapsed();
    copy.end().expect(0);
    assert!(content == noise(1 << 20));
    assert!(took >= Duration::from_millis(700), "{took:?}");
    // Not just the four blocks.
    assert!(pieces > 8, "{pieces}");
}

// ---- systems that tell less than there is ---------------------------------------------------

#[test]
fn a_source_that_ends_before_its_size_is_a_failure_even_if_changes_are_accepted() {
    for option in ["-q", "--allow-changes"] {
        let place = Place::new();
        place.file("a", noise(1 << 20));
        place.file("b", "old");
        let args = ["--both", option, "a", "b"];
        let Some(command) = sys::with_faults_of(&place, "a", &["read:retval=0:when=3"], &args)
        else {
            return;
        };
        let outcome = Half::start(command).end();
        outcome.expect_line(1, &["a ended after 524288 bytes", "it has 1048576"]);
        assert_eq!(std::fs::read(place.path("b")).unwrap(), b"old");
        place.assert_nothing_left();
    }
}

#[test]
fn data_that_the_system_denies_is_copied_or_the_copy_fails() {
    const PIECE: u64 = 1 << 20;
    let place = Place::new();
    let mut a = File::create(place.path("a")).unwrap();
    // A hole, data, a hole, data, a hole.
    a.set_len(5 * PIECE).unwrap();
    for at in [PIECE, 3 * PIECE] {
        a.seek(SeekFrom::Start(at)).unwrap();
        a.write_all(&noise(PIECE as usize)).unwrap();
    }
    drop(a);
    let content = std::fs::read(place.path("a")).unwrap();
    for denied in 1..12 {
        place.file("b", "old");
        let fault = format!("lseek:error=ENXIO:when={denied}");
        let args = ["--both", "a", "b"];
        let Some(command) = sys::with_faults_of(&place, "a", &[&fault], &args) else {
            return;
        };
        let outcome = Half::start(command).end();
        let b = std::fs::read(place.path("b")).unwrap();
        match outcome.code {
            Some(0) => assert!(b == content, "{fault}"),
            _ => assert_eq!(b, b"old", "{fault}: {outcome:?}"),
        }
        place.assert_nothing_left();
    }
}
