//! Copies that a power cut has broken off.

use super::*;

/// Cuts the power of a file system of `kind` at `cuts` moments of a copy to it, and resumes
/// the copy after each: how many went on.
fn cut_power(kind: &str, options: &[&str], cuts: usize, seed: usize) -> Option<usize> {
    let content = source(SIZE);
    let place = Place::new();
    place.file("a", &content);
    let powered = sys::powered(kind)?;
    let [b, journal] = ["b", JOURNAL].map(|name| powered.path().join(name));
    let mut old = std::fs::File::create(&b).unwrap();
    old.write_all(b"old").unwrap();
    old.sync_all().unwrap();
    drop(old);
    let path = b.to_str().unwrap().to_owned();
    let args = [&["--both", "--resume", SLOW], options, &["a", &path]].concat();
    let mut copy = Half::start(place.brigade(args));
    let mut certain = Vec::new();
    let mut first = None;
    for number in 0..cuts {
        std::thread::sleep(random_moment(seed + number) / cuts as u32 * 2);
        // What is seen may not be on disk; but what was seen before it is.
        let seen = noted(&journal);
        first = first.or(seen);
        certain.push(seen.is_some() && seen != first);
        powered.cut(number);
    }
    copy.kill();
    copy.end();
    powered.unmount();
    let mut went_on = 0;
    for (number, is_certain) in certain.into_iter().enumerate() {
        powered.mount_cut(number);
        let before = std::fs::read(&b).unwrap();
        assert!(
            before == b"old" || before == content,
            "{} bytes",
            before.len()
        );
        let outcome = place
            .both(&[&["--resume"], options].concat(), "a", &path)
            .expect(0);
        let goes_on = outcome.said.contains(GOES_ON);
        eprintln!(
            "{kind}, cut {number}: {}",
            outcome.said.lines().next().unwrap_or_default()
        );
        assert!(goes_on || !is_certain || before == content, "{outcome:?}");
        went_on += usize::from(goes_on);
        // As it is on disk.
        powered.unmount();
        powered.mount_cut(number);
        assert!(std::fs::read(&b).unwrap() == content, "{outcome:?}");
        powered.unmount();
    }
    Some(went_on)
}

#[test]
fn after_a_power_cut_a_copy_goes_on_or_starts_over_and_is_never_wrong() {
    for (seed, kind) in ["ext4", "xfs", "btrfs"].into_iter().enumerate() {
        cut_power(kind, &[], 3, 100 * seed);
    }
}

#[test]
#[ignore = "takes some minutes"]
fn after_two_hundred_power_cuts_no_copy_is_wrong() {
    let mut went_on = 0;
    for run in 0..20 {
        let kind = ["ext4", "xfs", "btrfs"][run % 3];
        let options: &[&str] = if run % 2 == 0 { &[] } else { &["--verify"] };
        went_on += cut_power(kind, options, 10, 1000 + 10 * run).unwrap_or(0);
    }
    eprintln!("{went_on} of 200 went on");
}

#[test]
fn in_memory_too_a_copy_goes_on_after_a_kill() {
    let Some(mounted) = sys::mounted("tmpfs") else {
        return;
    };
    let content = source(SIZE);
    let place = Place::new();
    place.file("a", &content);
    let path = mounted.path().join("b").to_str().unwrap().to_owned();
    let journal = mounted.path().join(JOURNAL);
    let name = place.name();
    let half = |role: &str, path: &str| {
        let args = ["--resume", SLOW, "--as", role, "--name", &name, path];
        Half::start(place.brigade(args))
    };
    let (reader, mut writer) = (half("reader", "a"), half("writer", &path));
    wait_until("a note", SOON, || noted(&journal).is_some());
    writer.kill();
    writer.end();
    reader.end().expect(4);
    let outcome = place.both(&["--resume"], "a", &path).expect(0);
    assert!(outcome.said.contains(GOES_ON), "{outcome:?}");
    assert!(std::fs::read(&path).unwrap() == content);
}
