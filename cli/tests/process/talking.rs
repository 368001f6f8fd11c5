//! What the halves tell each other before and after the data, and decide by it: with
//! both files as they are by then. `docs/copy-protocol.md` is what is tested here.

use std::fs::File;
use std::io::Seek;
use std::path::Path;
use std::time::{Duration, SystemTime};

use brigade::{Error, Label, Options, Reader, Role, Side, Writer};

use crate::harness::{
    ANSWER, ASK, GREETING, Half, Outcome, PARTIAL, Place, SOON, noise, sys, wait_until,
};

// Kinds of blocks, as the program has them.
const DATA: u16 = 0;
const HOLE: u16 = 1;
const METADATA: u16 = 2;

const BEGIN: &[u8] = br#"{"answer":"begin"}"#;
const KEEP: &[u8] = br#"{"answer":"keep","because":"it_exists","destination":"b"}"#;
const KEEP_AS_NEWER: &[u8] =
    br#"{"answer":"keep","because":"source_is_not_newer","destination":"b"}"#;

/// Long enough for a half that does what it should not.
const A_WHILE: Duration = Duration::from_millis(200);

fn set_modified(path: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(time).unwrap();
}

fn content(place: &Place, name: &str) -> String {
    std::fs::read_to_string(place.path(name)).unwrap()
}

// ---- while one half waits ---------------------------------------------------------------

/// A copy of `a` to `b`, with `change` between the start of `first` and that of the other
/// half. How both ended.
fn changed_while_waiting(
    place: &Place,
    option: &str,
    first: &str,
    change: impl FnOnce(),
) -> [Outcome; 2] {
    let name = place.name();
    let start = |side: &str| {
        let path = if side == "reader" { "a" } else { "b" };
        Half::start(place.brigade(["--as", side, "--name", &name, option, path]))
    };
    let second = if first == "reader" {
        "writer"
    } else {
        "reader"
    };
    let first = start(first);
    first.hear("waiting");
    change();
    let ends = [start(second).end(), first.end()];
    place.assert_nothing_left();
    ends
}

#[test]
fn update_goes_by_both_files_as_they_are_when_both_halves_are_there() {
    for first in ["reader", "writer"] {
        for (changed, expected) in [("a", "new"), ("b", "old")] {
            let place = Place::new();
            // The other way round before than after.
            let (a, b) = (place.file("a", "new"), place.file("b", "old"));
            set_modified(&a, if changed == "a" { 10 } else { 20 });
            set_modified(&b, 15);
            let later = |seconds| set_modified(&place.path(changed), seconds);
            for outcome in changed_while_waiting(&place, "-u", first, || later(30)) {
                let said = outcome.expect(0).said;
                assert_eq!(said.contains("kept"), changed == "b", "{said}");
            }
            assert_eq!(content(&place, "b"), expected, "{changed}, {first} first");
        }
    }
}

#[test]
fn no_clobber_goes_by_the_destination_as_it_is_when_both_halves_are_there() {
    for first in ["reader", "writer"] {
        for comes in [true, false] {
            let place = Place::new();
            place.file("a", "new");
            let b = place.path("b");
            if !comes {
                place.file("b", "old");
            }
            let change = || match comes {
                true => drop(place.file("b", "old")),
                false => std::fs::remove_file(&b).unwrap(),
            };
            for outcome in changed_while_waiting(&place, "-n", first, change) {
                let said = outcome.expect(0).said;
                assert_eq!(said.contains("it exists"), comes, "{said}");
            }
            assert_eq!(content(&place, "b"), if comes { "old" } else { "new" });
        }
    }
}

#[test]
fn a_source_that_is_another_file_by_then_is_the_source() {
    let place = Place::new();
    place.file("a", "before");
    let change = || {
        let after = place.file("after", "after");
        std::fs::rename(after, place.path("a")).unwrap();
    };
    for outcome in changed_while_waiting(&place, "--no-sync", "reader", change) {
        outcome.expect(0);
    }
    assert_eq!(content(&place, "b"), "after");
}

// ---- while the copy runs ----------------------------------------------------------------

/// So much that a copy at [`RATE`] is not over before something has changed.
const SIZE: usize = 4 << 20;
const RATE: &str = "--limit-rate=4M";

#[test]
fn a_destination_that_became_newer_while_the_copy_ran_is_kept_and_update_fails() {
    for existed in [true, false] {
        let place = Place::new();
        let a = place.file("a", noise(SIZE));
        set_modified(&a, 20);
        if existed {
            set_modified(&place.file("b", "old"), 10);
        }
        let copy = Half::start(place.brigade(["--both", RATE, "-u", "a", "b"]));
        place.wait_for_data();
        // The same file, if there was one.
        std::fs::write(place.path("b"), "another's").unwrap();
        let what = if existed { "was changed" } else { "came" };
        let what = format!("it {what} while this copy ran");
        copy.end().expect_line(1, &[&what, "is kept"]);
        assert_eq!(content(&place, "b"), "another's");
        place.assert_nothing_left();
    }
}

#[test]
fn update_compares_with_the_source_as_it_was_at_the_end() {
    let place = Place::new();
    let (a, b) = (place.file("a", noise(SIZE)), place.file("b", "old"));
    set_modified(&a, 20);
    set_modified(&b, 10);
    let args = ["--both", RATE, "-u", "--allow-changes", "a", "b"];
    let copy = Half::start(place.brigade(args));
    place.wait_for_data();
    set_modified(&b, 30);
    set_modified(&a, 40);
    copy.end().expect(0);
    assert!(std::fs::read(&b).unwrap() == noise(SIZE));
}

// ---- partners that do otherwise -----------------------------------------------------------

fn options(side: Side, greeting: &[u8]) -> Options {
    Options::new().side(side).wait(SOON).greeting(greeting)
}

fn join_as_writer(name: &str, greeting: &[u8]) -> Writer {
    match brigade::join(name, &options(Side::Writer, greeting)).unwrap() {
        Role::Writer(writer) => writer,
        Role::Reader(_) => unreachable!("it asked to be the writer"),
    }
}

fn join_as_reader(name: &str, greeting: &[u8]) -> Reader {
    match brigade::join(name, &options(Side::Reader, greeting)).unwrap() {
        Role::Reader(reader) => reader,
        Role::Writer(_) => unreachable!("it asked to be the reader"),
    }
}

fn start_half(place: &Place, side: &str, path: &str) -> Half {
    let half = Half::start(place.brigade(["--as", side, "--name", &place.name(), path]));
    half.hear("waiting");
    half
}

#[test]
fn two_builds_that_speak_different_protocols_refuse_each_other() {
    for (greeting, version) in [
        (&b""[..], 1),
        (b"size=3\nname=x", 1),
        (b"protocol=x\n", 1),
        (b"protocol=2\nsize=3\nname=x", 2),
        (b"protocol=3\nname=x", 3),
    ] {
        let refusal = format!(
            "the other half speaks copy protocol {version}, this one 4; \
             use the same version of brigade for both"
        );
        let place = Place::new();
        place.file("a", "new");
        place.file("b", "old");
        let reader = start_half(&place, "reader", "a");
        let writer = join_as_writer(&place.name(), greeting);
        reader.end().expect_line(1, &[&refusal]);
        let heard = writer.data_block().map(drop).unwrap_err().to_string();
        assert!(heard.contains(&refusal), "{heard}");
        drop(writer);
        let writer = start_half(&place, "writer", "b");
        let reader = join_as_reader(&place.name(), greeting);
        writer.end().expect_line(1, &[&refusal]);
        let heard = reader.finish().unwrap_err().to_string();
        assert!(heard.contains(&refusal), "{heard}");
        assert_eq!(content(&place, "b"), "old");
        place.assert_nothing_left();
    }
}

/// The Reader's facts, which are its question.
fn hear(writer: &Writer) -> String {
    let letter = writer.letter().unwrap().unwrap();
    assert_eq!(letter.kind, ASK);
    String::from_utf8(letter.bytes).unwrap()
}

/// Takes all that comes, and says that it is good.
fn drain(writer: &Writer) {
    while writer.data_block().unwrap().is_some() {}
    writer.finish().unwrap();
}

/// What its partner gave up with.
fn reason(error: Error) -> String {
    let text = error.to_string();
    match error {
        Error::PartnerAborted { reason, .. } => reason,
        _ => unreachable!("it did not give up, but: {text}"),
    }
}

#[test]
fn nothing_of_a_source_is_read_before_the_writer_has_agreed() {
    let place = Place::new();
    let mut input = File::open(place.file("a", noise(1 << 20))).unwrap();
    let mut command = place.brigade(["--as", "reader", "--name", &place.name(), "-"]);
    command.stdin(input.try_clone().unwrap());
    let reader = Half::start(command);
    let writer = join_as_writer(&place.name(), GREETING);
    let facts = hear(&writer);
    assert!(facts.contains(r#""size":1048576"#), "{facts}");
    std::thread::sleep(A_WHILE);
    assert_eq!(input.stream_position().unwrap(), 0);
    assert!(writer.try_data_block().unwrap().is_none());
    writer.abort("no room");
    reader.end().expect_line(4, &["failed: no room"]);
    assert_eq!(input.stream_position().unwrap(), 0);
}

#[test]
fn a_kept_destination_is_an_end_like_any_other() {
    let place = Place::new();
    place.file("a", "new");
    place.file("b", "old");
    let reader = start_half(&place, "reader", "a");
    let writer = join_as_writer(&place.name(), GREETING);
    hear(&writer);
    writer.post(ANSWER, KEEP).unwrap();
    assert!(writer.data_block().unwrap().is_none());
    writer.finish().unwrap();
    reader.end().expect_line(0, &["kept b: it exists"]);

    let writer = start_writer(&place, &["-n"]);
    let reader = join_as_reader(&place.name(), GREETING);
    reader.post(ASK, b"{}").unwrap();
    let answer = reader.letter().unwrap().unwrap();
    assert_eq!((answer.kind, &answer.bytes[..]), (ANSWER, KEEP));
    reader.finish().unwrap();
    writer.end().expect_line(0, &["kept b: it exists"]);
    assert_eq!(content(&place, "b"), "old");
    place.assert_nothing_left();
}

#[test]
fn giving_up_is_a_failure_whatever_was_said_before() {
    let place = Place::new();
    place.file("a", "new");
    place.file("b", "old");
    for answer in [BEGIN, KEEP, KEEP_AS_NEWER] {
        let reader = start_half(&place, "reader", "a");
        let writer = join_as_writer(&place.name(), GREETING);
        hear(&writer);
        writer.post(ANSWER, answer).unwrap();
        writer.abort("kept after all");
        reader.end().expect_line(4, &["failed: kept after all"]);
    }
    let writer = start_writer(&place, &["-n"]);
    let reader = join_as_reader(&place.name(), GREETING);
    reader.post(ASK, b"{}").unwrap();
    reader.letter().unwrap().unwrap();
    reader.abort("a changed");
    writer.end().expect_line(4, &["failed: a changed"]);
    assert_eq!(content(&place, "b"), "old");
    place.assert_nothing_left();
}

#[test]
fn a_source_that_changes_after_it_was_told_is_not_kept_as_older() {
    let place = Place::new();
    let a = place.file("a", "new");
    let reader = start_half(&place, "reader", "a");
    let writer = join_as_writer(&place.name(), GREETING);
    hear(&writer);
    std::fs::write(a, "newer").unwrap();
    writer.post(ANSWER, KEEP_AS_NEWER).unwrap();
    reader.end().expect_line(6, &["a changed"]);
    let heard = reason(writer.data_block().map(drop).unwrap_err());
    assert!(heard.contains("a changed"), "{heard}");
}

#[test]
fn nor_if_the_writer_gives_up_at_once() {
    for _ in 0..20 {
        let place = Place::new();
        let a = place.file("a", "new");
        let reader = start_half(&place, "reader", "a");
        let writer = join_as_writer(&place.name(), GREETING);
        hear(&writer);
        std::fs::write(a, "newer").unwrap();
        writer.post(ANSWER, KEEP_AS_NEWER).unwrap();
        writer.abort("kept b: the source is not newer");
        reader.end().expect_line(6, &["a changed"]);
    }
}

fn start_writer(place: &Place, options: &[&str]) -> Half {
    let name = place.name();
    let args = [options, &["--as", "writer", "--name", &name, "b"]].concat();
    let half = Half::start(place.brigade(args));
    half.hear("waiting");
    half
}

/// A real Writer fails with `what` because of what a Reader does, and keeps what is there.
fn a_reader_that(options: &[&str], does: impl FnOnce(&Reader), what: &str) {
    let place = Place::new();
    place.file("b", "old");
    let writer = start_writer(&place, options);
    let reader = join_as_reader(&place.name(), GREETING);
    does(&reader);
    let heard = reason(reader.finish().unwrap_err());
    assert!(heard.contains(what), "{what}: {heard}");
    writer.end().expect_line(4, &["the reader sent", what]);
    assert_eq!(content(&place, "b"), "old");
    place.assert_nothing_left();
}

fn send(reader: &Reader, kind: u16, bytes: &[u8]) {
    // The Writer may have given up already, which the end of the test looks at.
    let Ok(mut block) = reader.empty_block() else {
        return;
    };
    block[..bytes.len()].copy_from_slice(bytes);
    block.send_as(bytes.len(), Label::new(kind, 0)).unwrap();
}

#[test]
fn a_reader_that_asks_nothing_or_nonsense_is_refused() {
    a_reader_that(&[], |_| (), "nothing of its source");
    for bytes in [&b""[..], b"{", b"[]", b"{} {}", br#"{"size":-1}"#, b"\xff"] {
        let ask = |reader: &Reader| reader.post(ASK, bytes).unwrap();
        a_reader_that(&[], ask, "facts that make no sense");
    }
    for kind in [0, ANSWER, u16::MAX] {
        let ask = |reader: &Reader| reader.post(kind, b"{}").unwrap();
        let what = format!("a letter of kind {kind}, which has no place");
        a_reader_that(&[], ask, &what);
    }
}

#[test]
fn a_reader_that_asks_twice_or_a_thousand_times_is_refused() {
    for options in [&[][..], &["-n"]] {
        for times in [2, 1000] {
            let ask = |reader: &Reader| {
                for _ in 0..times {
                    // There may be no room, or nobody.
                    let _ = reader.try_post(ASK, b"{}");
                }
            };
            a_reader_that(options, ask, "a letter after its question");
        }
    }
}

#[test]
fn a_reader_that_sends_data_before_it_has_an_answer_is_refused() {
    for options in [&[][..], &["-n"]] {
        let hasten = |reader: &Reader| {
            send(reader, DATA, b"1");
            reader.post(ASK, b"{}").unwrap();
        };
        a_reader_that(options, hasten, "data before it had an answer");
    }
    let say_nothing = |reader: &Reader| send(reader, DATA, b"1");
    a_reader_that(&[], say_nothing, "nothing of its source");
}

#[test]
fn a_reader_that_sends_what_has_no_place_is_refused() {
    let answered = |reader: &Reader| {
        reader.post(ASK, b"{}").unwrap();
        reader.letter().unwrap().unwrap();
    };
    let unknown = |reader: &Reader| {
        answered(reader);
        send(reader, 4, b"1");
    };
    a_reader_that(&[], unknown, "a block of kind 4, which has no place");
    // The destination is kept.
    for kind in [DATA, METADATA] {
        let persist = |reader: &Reader| {
            answered(reader);
            send(reader, kind, b"1");
        };
        let what = format!("a block of kind {kind}, which has no place");
        a_reader_that(&["-n"], persist, &what);
    }
    a_reader_that(&[], answered, "metadata that makes no sense");
}

#[test]
fn a_reader_that_sends_less_than_it_had_told_of_is_refused_unless_it_may_have_less() {
    let water = |reader: &Reader, facts: &[u8]| {
        reader.post(ASK, facts).unwrap();
        reader.letter().unwrap().unwrap();
        send(reader, DATA, b"water");
        send(reader, METADATA, b"{}");
    };
    let less = |reader: &Reader| water(reader, br#"{"size":6,"whole":true}"#);
    a_reader_that(&[], less, "5 bytes, and not the 6 that it had told of");
    for facts in [&br#"{"size":6}"#[..], br#"{"size":5,"whole":true}"#] {
        let place = Place::new();
        let writer = start_writer(&place, &[]);
        let reader = join_as_reader(&place.name(), GREETING);
        water(&reader, facts);
        reader.finish().unwrap();
        writer.end().expect(0);
    }
}

/// A real Reader fails with `what` because of what a Writer does once it has heard it.
fn a_writer_that(does: impl FnOnce(&Writer), what: &str) {
    let place = Place::new();
    place.file("a", "new");
    let reader = start_half(&place, "reader", "a");
    let writer = join_as_writer(&place.name(), GREETING);
    hear(&writer);
    does(&writer);
    reader.end().expect_line(4, &["the writer sent", what]);
    place.assert_nothing_left();
}

#[test]
fn a_writer_that_answers_nonsense_is_left() {
    for bytes in [&b""[..], b"{", b"{}", br#"{"answer":"keep"}"#, b"\xff"] {
        let answer = |writer: &Writer| {
            writer.post(ANSWER, bytes).unwrap();
            let heard = reason(writer.data_block().map(drop).unwrap_err());
            assert!(heard.contains("makes no sense"), "{heard}");
        };
        a_writer_that(answer, "an answer that makes no sense");
    }
    let other = |writer: &Writer| writer.post(ASK, BEGIN).unwrap();
    a_writer_that(other, "a letter of kind 1, which has no place");
}

#[test]
fn a_writer_that_answers_twice_or_a_thousand_times_is_not_believed() {
    for (first, second) in [(BEGIN, KEEP), (KEEP, BEGIN), (BEGIN, BEGIN)] {
        for times in [1, 999] {
            let answer = |writer: &Writer| {
                writer.post(ANSWER, first).unwrap();
                for _ in 0..times {
                    // There may be no room.
                    writer.try_post(ANSWER, second).unwrap();
                }
                drain(writer);
            };
            a_writer_that(answer, "a letter after its answer");
        }
    }
}

#[test]
fn an_answer_that_comes_before_the_question_is_one_or_a_failure() {
    let place = Place::new();
    place.file("a", "new");
    let reader = start_half(&place, "reader", "a");
    let writer = join_as_writer(&place.name(), GREETING);
    // It may have asked by now, which nobody can know.
    writer.post(ANSWER, KEEP).unwrap();
    match writer.data_block() {
        Ok(end) => {
            assert!(end.is_none());
            writer.finish().unwrap();
            reader.end().expect_line(0, &["kept b: it exists"]);
        }
        Err(error) => {
            let what = "an answer before it was asked";
            assert!(reason(error).contains(what));
            reader.end().expect_line(4, &["the writer sent", what]);
        }
    }
}

#[test]
fn options_that_need_both_halves_are_refused_before_anything_is_read() {
    let place = Place::new();
    place.file("b", "old");
    for option in ["--verify", "--preserve"] {
        let name = place.name();
        let mut command = place.brigade(["--as", "reader", "--name", &name, "-"]);
        command.stdin(std::process::Stdio::piped());
        let mut reader = Half::start(command);
        // Open, and silent.
        let input = reader.input();
        let writer = ["--as", "writer", "--name", &name, option, "b"];
        let writer = Half::start(place.brigade(writer)).end();
        assert!(writer.said.contains(option), "{writer:?}");
        writer.expect(1);
        reader.end().expect(4);
        drop(input);
        assert_eq!(content(&place, "b"), "old");
    }
}

#[test]
fn blocks_of_a_byte_carry_the_conversation_too() {
    let place = Place::new();
    place.file("a", "water");
    for blocks in ["1", "3"] {
        let args = ["--both", "--block-size=1", "--blocks", blocks, "a", "b"];
        let args = [&["-p", "--verify"], &args[..]].concat();
        Half::start(place.brigade(args)).end().expect(0);
        assert_eq!(content(&place, "b"), "water");
        std::fs::remove_file(place.path("b")).unwrap();
    }
}

#[test]
fn each_half_lets_the_other_know_within_a_second_how_long_it_has_waited() {
    let place = Place::new();
    let mut command = place.brigade(["--both", "--json", "-", "b"]);
    command.stdin(std::process::Stdio::piped());
    let mut copy = Half::start(command);
    // Open, and silent: the writer waits all the time, and has nothing to show or to tell.
    let input = copy.input();
    // Unless it had no turn, on a busy machine: then a later event says it.
    let is_told = || {
        let said = copy.said();
        let whole = said
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        let mut events = whole.map(|line| serde_json::from_str(line).unwrap());
        events.any(|event: serde_json::Value| {
            let [elapsed, waited] = ["elapsed", "writer_waited"].map(|key| event[key].as_f64());
            elapsed.is_some_and(|elapsed| elapsed > 2.0 && waited.unwrap() > elapsed - 1.0)
        })
    };
    wait_until("how long it has waited", SOON, is_told);
    drop(input);
    copy.end().expect(0);
}

// ---- what is known beforehand ---------------------------------------------------------------

/// A copy of a stream of `water` to `b`, with `option` given to the half that is called
/// `told`, or to both of --both. How the half that was told ended.
fn expecting(place: &Place, told: &str, options: &[&str]) -> Outcome {
    place.file("b", "old");
    let name = place.name();
    let mut args = vec![vec!["--as", "reader", "--name", &name, "-"]];
    match told {
        "both" => args = vec![vec!["--both", "-", "b"]],
        _ => args.push(vec!["--as", "writer", "--name", &name, "b"]),
    }
    let told = if told == "writer" { 1 } else { 0 };
    args[told].splice(0..0, options.iter().copied());
    let mut halves: Vec<Half> = args
        .into_iter()
        .map(|args| {
            let mut command = place.brigade(args);
            command.stdin(std::process::Stdio::piped());
            Half::start(command)
        })
        .collect();
    halves[0].feed(b"water".to_vec());
    let mut ends: Vec<Outcome> = halves.into_iter().map(Half::end).collect();
    place.assert_nothing_left();
    ends.swap_remove(told)
}

#[test]
fn a_size_or_hash_that_is_not_the_expected_one_fails_and_keeps_the_old_destination() {
    let right = blake3::hash(b"water").to_hex();
    let wrong = blake3::hash(b"wate").to_hex();
    for told in ["reader", "writer", "both"] {
        for (options, parts) in [
            (["--size", "6"], ["ended after 5 bytes", "the 6 of --size"]),
            (["--size", "4"], ["has more than the 4 bytes", "--size"]),
            (["--size", "0"], ["has more than the 0 bytes", "--size"]),
            (["--expect-blake3", &wrong], [&*right, &*wrong]),
        ] {
            let place = Place::new();
            let outcome = expecting(&place, told, &options).expect(1);
            assert!(
                parts.iter().all(|part| outcome.said.contains(part)),
                "{outcome:?}"
            );
            assert_eq!(content(&place, "b"), "old", "{told} {options:?}");
        }
        let place = Place::new();
        let options = ["--size", "5", "--expect-blake3", &right, "--verify"];
        // --verify needs both halves, so it is for --both alone.
        let len = if told == "both" { 5 } else { 4 };
        let said = expecting(&place, told, &options[..len]).expect(0).said;
        // Standard input is not read again, the destination is, if that is asked for.
        assert_eq!(said.contains("verified: BLAKE3"), len == 5, "{said}");
        assert_eq!(content(&place, "b"), "water");
    }
}

#[test]
fn a_source_that_says_another_size_is_refused_before_anything_is_read() {
    let place = Place::new();
    place.file("a", "water");
    place.file("b", "old");
    let both = Half::start(place.brigade(["--both", "--size=1K", "a", "b"]));
    both.end()
        .expect_line(1, &["a has 5 bytes", "the 1024 of --size"]);
    assert_eq!(content(&place, "b"), "old");
    for (option, what) in [("--size=x", "not a size"), ("--expect-blake3=7", "64 hex")] {
        let both = Half::start(place.brigade(["--both", option, "a", "b"]));
        both.end().expect_line(2, &[what]);
    }
}

#[test]
fn a_hash_is_expected_of_holes_as_of_zeros() {
    let place = Place::new();
    let a = File::create(place.path("a")).unwrap();
    a.set_len(3 << 20).unwrap();
    let hash = blake3::hash(&vec![0; 3 << 20]).to_hex();
    let [writer, reader] =
        changed_while_waiting(&place, &format!("--expect-blake3={hash}"), "reader", || ());
    writer.expect(0);
    reader.expect(0);
    assert_eq!(std::fs::metadata(place.path("b")).unwrap().len(), 3 << 20);
}

// ---- copies that begin in the middle ------------------------------------------------------

#[test]
fn a_reader_sends_from_where_the_writer_says_and_hashes_all() {
    let place = Place::new();
    place.file("a", "water and wine");
    let name = place.name();
    let reader = Half::start(place.brigade(["--as", "reader", "--name", &name, "--verify", "a"]));
    let writer = join_as_writer(&name, GREETING);
    hear(&writer);
    let begin = br#"{"answer":"begin","offset":10}"#;
    writer.post(ANSWER, begin).unwrap();
    let block = writer.data_block().unwrap().unwrap();
    assert_eq!(
        (block.kind(), block.tag(), &block[..]),
        (DATA, 10, &b"wine"[..])
    );
    drop(block);
    let metadata = writer.data_block().unwrap().unwrap();
    assert_eq!(metadata.kind(), METADATA);
    drop(metadata);
    let digest = writer.data_block().unwrap().unwrap();
    assert_eq!(&digest[..], blake3::hash(b"water and wine").as_bytes());
    drop(digest);
    drain(&writer);
    reader.end().expect(0);
}

#[test]
fn a_reader_that_cannot_begin_where_the_writer_says_gives_up() {
    let stream: &[u8] = b"-";
    for (source, offset) in [(&b"a"[..], 6), (stream, 1)] {
        let place = Place::new();
        place.file("a", "water");
        let source = std::str::from_utf8(source).unwrap();
        let mut command = place.brigade(["--as", "reader", "--name", &place.name(), source]);
        command.stdin(std::process::Stdio::piped());
        let mut reader = Half::start(command);
        reader.feed(b"water".to_vec());
        let writer = join_as_writer(&place.name(), GREETING);
        hear(&writer);
        let begin = format!(r#"{{"answer":"begin","offset":{offset}}}"#);
        writer.post(ANSWER, begin.as_bytes()).unwrap();
        let heard = reason(writer.data_block().map(drop).unwrap_err());
        assert!(heard.contains("cannot read"), "{heard}");
        reader.end().expect(1);
    }
}

/// The facts of one that goes on where a Writer was that has told `answer`, perhaps after
/// `all`.
fn going_on(offset: u64, answer: &[u8], all: bool) -> String {
    let answer: serde_json::Value = serde_json::from_slice(answer).unwrap();
    let goes_on = serde_json::json!({
        "offset": offset,
        "partial": answer["partial"],
        "old": answer["old"],
        "options": answer["options"],
        "all": all,
    });
    serde_json::json!({ "goes_on": goes_on }).to_string()
}

fn send_at(reader: &Reader, kind: u16, tag: u64, bytes: &[u8]) {
    let mut block = reader.empty_block().unwrap();
    block[..bytes.len()].copy_from_slice(bytes);
    block.send_as(bytes.len(), Label::new(kind, tag)).unwrap();
}

/// A Writer that has got `water` and was killed then: what it had answered.
fn killed_after_water(place: &Place) -> Vec<u8> {
    let mut writer = start_writer(place, &["--no-sync"]);
    let reader = join_as_reader(&place.name(), GREETING);
    reader.post(ASK, b"{}").unwrap();
    let answer = reader.letter().unwrap().unwrap().bytes;
    send_at(&reader, DATA, 0, b"water");
    place.wait_for_data();
    writer.kill();
    let lost = reader.letter().map(drop);
    assert!(matches!(lost, Err(Error::PartnerDied { .. })), "{lost:?}");
    answer
}

#[test]
fn a_writer_goes_on_with_what_a_killed_one_left() {
    let place = Place::new();
    place.file("b", "old");
    let answer = killed_after_water(&place);
    let writer = start_writer(&place, &["--no-sync"]);
    let reader = join_as_reader(&place.name(), GREETING);
    // What was not given back is there before the question.
    send_at(&reader, DATA, 3, b"er");
    reader
        .post(ASK, going_on(3, &answer, false).as_bytes())
        .unwrap();
    let again = reader.letter().unwrap().unwrap().bytes;
    assert!(again.starts_with(br#"{"answer":"begin","offset":3,"#));
    send_at(&reader, DATA, 5, b" and wine");
    send_at(&reader, METADATA, 0, b"{}");
    reader.finish().unwrap();
    writer.end().expect(0);
    assert_eq!(content(&place, "b"), "water and wine");
    place.assert_only_locks_left();
}

fn wait_until_written(reader: &Reader, bytes: u64) {
    const WRITTEN: usize = 3;
    let monitor = reader.monitor();
    let is_written = || monitor.partner_figures()[WRITTEN] == bytes;
    wait_until("it is written", SOON, is_written);
}

#[test]
fn a_disk_is_gone_on_with_and_never_complete_before() {
    let place = Place::new();
    let image = place.file("image", [0xff; 8192]);
    let Some(disk) = sys::disk(&image) else {
        return;
    };
    let start = || {
        let name = place.name();
        let half = Half::start(place.brigade(["--as", "writer", "--name", &name, disk.path()]));
        half.hear("waiting");
        half
    };
    let mut writer = start();
    let reader = join_as_reader(&place.name(), GREETING);
    reader.post(ASK, b"{}").unwrap();
    let answer = reader.letter().unwrap().unwrap().bytes;
    send_at(&reader, DATA, 0, b"water");
    wait_until_written(&reader, 5);
    writer.kill();
    drop(reader);
    let writer = start();
    let reader = join_as_reader(&place.name(), GREETING);
    let facts = going_on(5, &answer, true);
    reader.post(ASK, facts.as_bytes()).unwrap();
    let again = reader.letter().unwrap().unwrap().bytes;
    assert!(again.starts_with(br#"{"answer":"begin","offset":5,"#));
    send_at(&reader, DATA, 5, b" and wine");
    send_at(&reader, METADATA, 0, b"{}");
    reader.finish().unwrap();
    writer.end().expect(0);
    let found = std::fs::read(disk.path()).unwrap();
    assert_eq!(&found[..14], b"water and wine");
    assert!(found[14..].iter().all(|&byte| byte == 0xff));
}

#[test]
fn a_hole_at_the_end_of_a_file_in_place_is_there_for_the_next_writer_too() {
    let all = [&b"water"[..], &[0; 70_000]].concat();
    let hash = format!("--expect-blake3={}", blake3::hash(&all));
    for options in [&["--in-place", "--no-sync"][..], &["--in-place", &hash]] {
        let place = Place::new();
        place.file("b", "old");
        let mut writer = start_writer(&place, options);
        let reader = join_as_reader(&place.name(), GREETING);
        reader.post(ASK, b"{}").unwrap();
        let answer = reader.letter().unwrap().unwrap().bytes;
        send_at(&reader, DATA, 0, b"water");
        send_at(&reader, HOLE, 70_000, b"");
        wait_until_written(&reader, all.len() as u64);
        writer.kill();
        drop(reader);
        let facts = going_on(all.len() as u64, &answer, false);
        let b = File::options().write(true).open(place.path("b")).unwrap();
        // What was skipped is part of it already; less is another file, or one that was cut.
        assert_eq!(b.metadata().unwrap().len(), all.len() as u64);
        b.set_len(5).unwrap();
        assert!(refusal(&place, options, &facts).contains("it was shortened"));
        b.set_len(all.len() as u64).unwrap();
        let writer = start_writer(&place, options);
        let reader = join_as_reader(&place.name(), GREETING);
        reader.post(ASK, facts.as_bytes()).unwrap();
        reader.letter().unwrap().unwrap();
        send_at(&reader, METADATA, 0, b"{}");
        reader.finish().unwrap();
        writer.end().expect(0);
        assert!(std::fs::read(place.path("b")).unwrap() == all);
    }
}

/// A Writer that is asked with `facts`: why it does not go on.
fn refusal(place: &Place, options: &[&str], facts: &str) -> String {
    let writer = start_writer(place, options);
    let reader = join_as_reader(&place.name(), GREETING);
    reader.post(ASK, facts.as_bytes()).unwrap();
    let heard = reason(reader.letter().map(drop).unwrap_err());
    writer.end().expect(1);
    heard
}

#[test]
fn what_a_killed_writer_left_is_gone_on_with_by_nobody_who_was_asked_for_something_else() {
    let place = Place::new();
    let answer = killed_after_water(&place);
    let refused = |options: &[&str], facts: String, what: &str| {
        let heard = refusal(&place, options, &facts);
        assert!(heard.contains(what), "{heard}");
        let left = std::fs::read(place.path(PARTIAL)).unwrap();
        assert_eq!(left, b"water");
    };
    let facts = || going_on(5, &answer, false);
    refused(&["--no-sync", "--sparse=always"], facts(), "other options");
    let longer = going_on(6, &answer, false);
    refused(&["--no-sync"], longer, "it was shortened");
}

/// What a Writer answered that wrote another file.
fn with_other(answer: &[u8], field: &str, change: impl Fn(&mut serde_json::Value)) -> Vec<u8> {
    let mut answer: serde_json::Value = serde_json::from_slice(answer).unwrap();
    change(&mut answer["partial"][field]);
    serde_json::to_vec(&answer).unwrap()
}

#[test]
fn another_file_is_not_gone_on_with_though_it_has_the_name_and_the_number_of_the_one_written() {
    let place = Place::new();
    let answer = killed_after_water(&place);
    let number = with_other(&answer, "identity", |identity| {
        identity[1] = (identity[1].as_u64().unwrap() + 1).into();
    });
    // As another copy's, that has got the number of one that was removed.
    let born = with_other(&answer, "born", |born| {
        born["seconds"] = (born["seconds"].as_i64().unwrap() - 1).into();
    });
    for other in [number, born] {
        let heard = refusal(&place, &["--no-sync"], &going_on(5, &other, false));
        assert!(heard.contains("not the file that was written"), "{heard}");
        assert_eq!(std::fs::read(place.path(PARTIAL)).unwrap(), b"water");
    }
}

#[test]
fn a_destination_is_complete_if_the_writer_that_died_had_all_and_gave_it_its_one_name() {
    let place = Place::new();
    let answer = killed_after_water(&place);
    let (partial, b) = (place.path(PARTIAL), place.path("b"));
    let refused = |offset, all, what: &str| {
        let heard = refusal(&place, &["--no-sync"], &going_on(offset, &answer, all));
        assert!(heard.contains(what), "{heard}");
        assert_eq!(content(&place, "b"), "water");
    };
    // Where a name that is taken can be no other file's in one step, it may have two.
    std::fs::hard_link(&partial, &b).unwrap();
    refused(5, false, "it has another name, too");
    refused(
        5,
        true,
        &format!("{PARTIAL} is the same file; remove that name"),
    );
    // Somebody renamed it.
    std::fs::remove_file(&partial).unwrap();
    refused(5, false, "it is gone");
    refused(3, true, "it is gone");
    std::fs::hard_link(&b, place.path("c")).unwrap();
    refused(5, true, "it has another name, too");
    std::fs::remove_file(place.path("c")).unwrap();
    let writer = start_writer(&place, &["--no-sync"]);
    let reader = join_as_reader(&place.name(), GREETING);
    reader
        .post(ASK, going_on(5, &answer, true).as_bytes())
        .unwrap();
    let kept = reader.letter().unwrap().unwrap().bytes;
    let kept = String::from_utf8(kept).unwrap();
    assert!(kept.contains("it_is_complete"), "{kept}");
    reader.finish().unwrap();
    writer.end().expect(0);
    assert_eq!(content(&place, "b"), "water");
}

#[test]
fn a_destination_that_others_replaced_removed_or_made_meanwhile_is_not_the_old_one() {
    for is_old in [true, false] {
        let place = Place::new();
        if is_old {
            place.file("b", "old");
        }
        let answer = killed_after_water(&place);
        let refused = |what: &str| {
            let facts = going_on(5, &answer, false);
            let heard = refusal(&place, &["--no-sync"], &facts);
            assert!(heard.contains(what), "{heard}");
            assert_eq!(std::fs::read(place.path(PARTIAL)).unwrap(), b"water");
        };
        let other = place.file("other", "another's");
        std::fs::rename(other, place.path("b")).unwrap();
        match is_old {
            true => refused("another file took its name"),
            false => refused("it came while this copy ran"),
        }
        assert_eq!(content(&place, "b"), "another's");
        if is_old {
            std::fs::remove_file(place.path("b")).unwrap();
            refused("it was removed while this copy ran");
            assert!(!place.path("b").exists());
        }
    }
}
