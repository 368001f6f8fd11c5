//! What the program tells: the bar, the report, events, and the copies of others.

use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Half, Outcome, Place, SOON, Stream, noise, skip, sys, wait_until};

fn both(place: &Place, args: &[&str]) -> Half {
    Half::start(place.brigade([&["--both"], args].concat()))
}

// ---- the bar --------------------------------------------------------------------------

#[test]
fn the_bar_shows_both_figures_the_fill_and_a_limit() {
    let place = Place::new();
    place.file("a", noise(4 << 20));
    let copy = both(&place, &["--progress=always", "--limit-rate=2M", "a", "b"]);
    copy.hear("of 4.0 MiB on disk");
    copy.hear("read 1.");
    copy.hear("of 16 blocks full: limited by --limit-rate");
    let said = copy.end().expect(0).said;
    // It is gone at the end, and the report is what stays.
    let (_, last) = said.rsplit_once("\x1b[1A\x1b[J").unwrap();
    assert!(
        last.starts_with("brigade: done: a -> b: 4.0 MiB"),
        "{last:?}"
    );
}

#[test]
fn the_bar_shows_that_the_destination_is_slow_in_either_half() {
    let place = Place::new();
    place.file("a", noise(16 << 20));
    let name = place.name();
    let half = |args: &[&str]| {
        let args = [&["--progress=always", "--name", &name], args].concat();
        Half::start(place.brigade(args))
    };
    let reader = half(&["--as", "reader", "a"]);
    // Whose output is not read.
    let mut writer = half(&["--as", "writer", "-"]);
    for half in [&reader, &writer] {
        half.hear("16 of 16 blocks full: the destination is the bottleneck");
    }
    writer.collect_output();
    reader.end().expect(0);
    assert_eq!(writer.end().expect(0).output.len(), 16 << 20);
}

#[test]
fn without_a_size_the_bar_has_bytes_rate_and_time_but_no_end() {
    let place = Place::new();
    let mut command = place.brigade(["--both", "--progress=always", "-", "b"]);
    command.stdin(Stdio::piped());
    let mut copy = Half::start(command);
    let mut input = copy.input();
    input.write_all(&noise(1 << 20)).unwrap();
    copy.hear("1.0 MiB on disk, ");
    drop(input);
    let said = copy.end().expect(0).said;
    assert!(!said.contains('%') || said.contains("waited"), "{said:?}");
    assert!(!said.contains(" left"), "{said:?}");
}

#[test]
fn a_partner_that_stands_still_is_said_to_be_stalled() {
    let place = Place::new();
    place.file("a", noise(16 << 20));
    let name = place.name();
    let args = ["--as", "writer", "--name", &name, "--limit-rate=2M", "b"];
    let writer = Half::start(place.brigade(args));
    let args = ["--progress=always", "--as", "reader", "--name", &name, "a"];
    let reader = Half::start(place.brigade(args));
    place.wait_for_data();
    reader.hear("/s");
    writer.freeze();
    reader.hear("stalled for 4 s");
    writer.thaw();
}

// ---- the report -----------------------------------------------------------------------

#[test]
fn the_report_says_what_was_copied_how_fast_and_who_was_slow() {
    let place = Place::new();
    let content = noise(3 << 20);
    place.file("a", &content);
    let digest = blake3::hash(&content).to_string();
    // Slow enough that a busy machine makes little difference to it.
    let args = ["--limit-rate=768K", "--verify", "a", "b"];
    let said = both(&place, &args).end().expect(0).said;
    assert_eq!(said.lines().count(), 1, "{said}");
    for part in [
        "done: a -> b: 3.0 MiB in ",
        "/s), on disk",
        &format!("verified: BLAKE3 {digest}"),
        "limited by --limit-rate",
    ] {
        assert!(said.contains(part), "no {part:?} in {said:?}");
    }
    let said = both(&place, &["-v", "a", "b"]).end().expect(0).said;
    let details = said.lines().last().unwrap();
    assert!(
        details.contains("3145728 bytes, of these 0 in holes"),
        "{said}"
    );
    assert!(details.contains("the reader waited"), "{said}");
    assert!(details.contains("the writer waited"), "{said}");
}

#[test]
fn both_halves_report_the_same_of_holes_and_data() {
    let place = Place::new();
    place.file("a", [vec![0; 1 << 20], noise(1 << 20)].concat());
    let name = place.name();
    let half = |side| {
        let args = ["--as", side, "--name", &name, "--verify", "--sparse=always"];
        let paths = if side == "reader" { ["a"] } else { ["b"] };
        Half::start(place.brigade(args.into_iter().chain(paths)))
    };
    let (reader, writer) = (half("reader"), half("writer"));
    let report = |half: Half| {
        let said = half.end().expect(0).said;
        let (_, report) = said.split_once("on disk").unwrap();
        report.to_owned()
    };
    let (reader, writer) = (report(reader), report(writer));
    assert_eq!(reader, writer);
    assert!(reader.contains("1.0 MiB of it holes"), "{reader}");
}

// ---- events ---------------------------------------------------------------------------

fn events(said: &str) -> Vec<Value> {
    let parse =
        |line| serde_json::from_str(line).unwrap_or_else(|_| Value::String(line.to_owned()));
    said.lines().map(parse).collect()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    let kind = |event: &'_ Value| event["event"].as_str().is_some();
    assert!(events.iter().all(kind), "{events:?}");
    let kinds = events.iter().map(|event| event["event"].as_str().unwrap());
    kinds.collect()
}

/// Names and kinds of the fields, without what may be either.
fn shape(event: &Value) -> Vec<(String, String)> {
    let fields = event.as_object().unwrap().iter();
    let kind = |value: &Value| match value {
        Value::Null => "null".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        value => format!("{:?}", value.is_boolean()),
    };
    fields
        .map(|(name, value)| (name.clone(), kind(value)))
        .collect()
}

#[test]
fn events_are_in_order_and_have_the_fields_of_the_documentation() {
    let place = Place::new();
    let content = noise(8 << 20);
    place.file("a", &content);
    let args = ["--json", "--verify", "--limit-rate=2M", "a", "b"];
    let said = both(&place, &args).end().expect(0).said;
    let events = events(&said);
    let mut found = kinds(&events);
    found.dedup();
    assert_eq!(found, ["start", "paired", "progress", "end"]);

    let end = events.last().unwrap();
    assert_eq!(end["exit"], 0);
    assert_eq!(end["bytes"], 8 << 20);
    assert_eq!(end["blake3"], blake3::hash(&content).to_string());
    assert_eq!(end["bottleneck"], "limit");

    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/json.md");
    let page = match std::fs::read_to_string(page) {
        // So it is in a package of this crate.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return skip("the project's documentation is not beside this crate");
        }
        page => page.unwrap(),
    };
    let (_, example) = page.split_once("```json\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let example = self::events(example);
    for event in &events {
        let same = |other: &&Value| other["event"] == event["event"];
        let documented = example.iter().find(same).unwrap();
        assert_eq!(shape(event), shape(documented), "{event}");
    }
}

#[test]
fn whoever_waits_is_told_so_in_an_event() {
    let place = Place::new();
    place.file("a", "water");
    let reader = Half::start(place.brigade(["--json", "a", "b"]));
    reader.hear("\"waiting\"");
    let writer = Half::start(place.brigade(["--json", "a", "b"]));
    let reader = events(&reader.end().expect(0).said);
    assert_eq!(kinds(&reader), ["start", "waiting", "paired", "end"]);
    assert_eq!(reader[1]["role"], "reader");
    assert!(
        reader[1]["partner_command"]
            .as_str()
            .unwrap()
            .ends_with("a b")
    );
    let writer = events(&writer.end().expect(0).said);
    assert_eq!(kinds(&writer), ["start", "paired", "end"]);
    assert_eq!(writer[1]["partner_process"], reader[0]["process"]);
}

#[test]
fn failures_are_events_too_and_nothing_else_is_said() {
    let place = Place::new();
    place.file("a", "water");
    let missing = place.path("missing").join("b");
    let cases: [(&[&str], i32, &str); 5] = [
        (&["--both"], 2, "required"),
        (&["--both", "--nonsense", "a", "b"], 2, "nonsense"),
        (&["--both", "a", "a"], 1, "same"),
        (&["--both", "no", "b"], 1, "no"),
        (&["--both", "a", missing.to_str().unwrap()], 1, "missing"),
    ];
    for (args, code, message) in cases {
        let args = [&["--json"], args].concat();
        let outcome = Half::start(place.brigade(args)).end().expect(code);
        let events = events(&outcome.said);
        assert!(kinds(&events).ends_with(&["end"]), "{outcome:?}");
        let end = events.last().unwrap();
        assert_eq!(end["exit"], code, "{outcome:?}");
        assert!(end["message"].as_str().unwrap().contains(message), "{end}");
    }
}

#[test]
fn a_destination_that_is_kept_and_a_warning_are_events() {
    let place = Place::new();
    place.file("a", "water");
    place.file("b", "old");
    let said = both(&place, &["--json", "-n", "a", "b"])
        .end()
        .expect(0)
        .said;
    let end = events(&said).pop().unwrap();
    assert_eq!((&end["kept"], &end["bytes"]), (&true.into(), &0.into()));
    assert!(end["message"].as_str().unwrap().contains("kept"), "{end}");
    if !sys::is_root() {
        return;
    }
    let place = Place::new();
    place.file("a", "water");
    // Whose owner this user cannot give.
    let mut command = sys::as_nobody(&place, &["--both", "--json", "-p", "a", "b"]);
    command.stdin(Stdio::null());
    let said = Half::start(command).end().expect(0).said;
    let events = events(&said);
    let warning = events.iter().find(|event| event["event"] == "warning");
    let message = warning.unwrap()["message"].as_str().unwrap();
    assert!(message.contains("owner"), "{said}");
    assert_eq!(kinds(&events).last(), Some(&"end"));
}

// ---- from outside ---------------------------------------------------------------------

/// A copy that waits in the middle, until its input is closed.
fn half_way(place: &Place) -> (Half, String) {
    let name = place.name();
    let mut command = place.brigade(["--both", "--name", &name, "-", "b"]);
    command.stdin(Stdio::piped());
    (Half::start(command), name)
}

fn status(place: &Place, args: &[&str]) -> Outcome {
    let mut half = Half::start(place.brigade([&["--status"], args].concat()));
    half.collect_output();
    half.end()
}

fn text(outcome: &Outcome) -> String {
    String::from_utf8(outcome.output.clone()).unwrap()
}

/// What the list has of the copy `name`, once it has read something.
fn listed(place: &Place, name: &str) -> String {
    let since = Instant::now();
    loop {
        let list = text(&status(place, &[]).expect(0));
        if let Some(at) = list.find(name)
            && list[at..].contains("read 5 B")
        {
            return list[at..].lines().take(2).collect::<Vec<_>>().join("\n");
        }
        assert!(since.elapsed() < SOON, "{list}");
    }
}

#[test]
fn a_copy_can_be_seen_from_outside_and_followed_to_its_end() {
    let place = Place::new();
    let (mut copy, name) = half_way(&place);
    let mut input = copy.input();
    input.write_all(b"water").unwrap();
    let found = listed(&place, &name);
    assert!(found.contains(&format!("reader {}", copy.pid())), "{found}");
    assert!(found.contains("- -> "), "{found}");
    assert!(found.contains("of 16 blocks full"), "{found}");

    let mut follower = Half::start(place.brigade(["--status", &name, "--json"]));
    let mut output = follower.output();
    let mut first = [0; 1];
    output.read_exact(&mut first).unwrap();
    drop(input);
    copy.end().expect(0);
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    follower.end().expect(0);
    let events = events(&format!("{{{rest}"));
    assert!(kinds(&events).iter().all(|kind| *kind == "status"));
    assert_eq!(events[0]["read"], 5);
    assert_eq!(events[0]["name"], name);
}

#[test]
fn a_process_that_waits_alone_is_listed_as_such() {
    let place = Place::new();
    place.file("a", "water");
    let name = place.name();
    let reader = Half::start(place.brigade(["--as", "reader", "--name", &name, "a"]));
    reader.hear("waiting");
    let list = text(&status(&place, &[]).expect(0));
    let line = list.lines().find(|line| line.contains(&name)).unwrap();
    let expected = format!(
        "(reader {}, writer not there yet, or another user's)",
        reader.pid()
    );
    assert!(line.contains(&expected), "{line}");
}

#[test]
fn where_nothing_runs_the_list_says_so_and_a_name_is_an_error() {
    let place = Place::new();
    status(&place, &["no such copy"]).expect_line(5, &["no such copy", "--status"]);
    if !sys::is_root() {
        return;
    }
    // Other tests copy as this user.
    let mut half = Half::start(sys::as_nobody(&place, &["--status"]));
    half.collect_output();
    let outcome = half.end().expect(0);
    assert!(text(&outcome).contains("no copy"), "{outcome:?}");
}

// ---- what reaches a terminal ----------------------------------------------------------

/// No orders for a terminal, nothing that turns the direction of reading.
#[track_caller]
fn assert_harmless(text: &str) {
    let is_harmful =
        |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
    assert!(!text.is_empty() && !text.contains(is_harmful), "{text:?}");
}

#[test]
fn a_name_gives_no_orders_to_the_terminal_whoever_typed_it() {
    let place = Place::new();
    let name = sys::HARMFUL_NAME;
    let missing = format!("missing{name}/b");
    place.file("a", "water");
    for (args, code) in [
        (&[name, "b"][..], 1),
        (&["a", &missing], 1),
        (&["a", "b", name], 2),
        (&["--as", name, "a", "b"], 2),
        (&["--name", &missing, "a", "b"], 1),
    ] {
        for options in [&["--both"][..], &["--both", "--json"]] {
            let outcome = Half::start(place.brigade([options, args].concat())).end();
            assert!(
                outcome.code.is_some_and(|found| found >= code),
                "{outcome:?}"
            );
            assert_harmless(&outcome.said);
        }
    }
    let mut command = place.brigade(["--status", name]);
    command.stdin(Stdio::null());
    assert_harmless(&Half::start(command).end().expect(5).said);
}

#[test]
fn a_partner_s_file_name_gives_no_orders_to_the_terminal() {
    let place = Place::new();
    let harmful = sys::HARMFUL_NAME;
    place.file(harmful, "water");
    std::fs::create_dir(place.path("d")).unwrap();
    std::fs::write(place.path("d").join(harmful), "old").unwrap();
    let name = place.name();
    let args = ["--as", "writer", "--name", &name, "-n", "d"];
    let writer = Half::start(place.brigade(args));
    writer.hear("waiting");
    let list = text(&status(&place, &[]).expect(0));
    assert_harmless(&list);
    let args = ["-v", "--as", "reader", "--name", &name, harmful];
    let reader = Half::start(place.brigade(args)).end().expect(0);
    let writer = writer.end().expect(0);
    assert!(writer.said.contains("kept"), "{writer:?}");
    assert_harmless(&writer.said);
    assert_harmless(&reader.said);
}

#[test]
fn the_command_for_the_partner_can_be_typed_whatever_the_names_are() {
    if !sys::has_bash() {
        return;
    }
    let place = Place::new();
    let harmful = sys::HARMFUL_NAME;
    place.file(harmful, "water");
    let reader = Half::start(place.brigade([harmful, "it's b"]));
    reader.hear("run next: ");
    reader.hear("it");
    wait_until("a whole line", SOON, || reader.said().ends_with('\n'));
    let said = reader.said();
    assert_harmless(&said);
    let (_, typed) = said.trim_end().split_once("run next: ").unwrap();
    Half::start(place.command("bash".as_ref(), ["-c", typed]))
        .end()
        .expect(0);
    reader.end().expect(0);
    assert_eq!(std::fs::read(place.path("it's b")).unwrap(), b"water");
}

// ---- standard output that is gone or full ---------------------------------------------

const DOCUMENTS: &[&[&str]] = &[
    &["--man"],
    &["--help"],
    &["--version"],
    &["--completions", "bash"],
    &["--status"],
    &["--status", "--json"],
];

#[test]
fn a_reader_of_documents_that_has_enough_is_no_failure() {
    let place = Place::new();
    let (mut copy, _) = half_way(&place);
    let _input = copy.input();
    for args in DOCUMENTS {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = place.brigade(*args);
        command.stdout(writer);
        let outcome = Half::start_as_it_is(command).end().expect(0);
        assert_eq!(outcome.said, "", "{args:?}");
    }
}

#[test]
fn documents_that_cannot_be_written_are_a_failure() {
    let place = Place::new();
    let (mut copy, _) = half_way(&place);
    let _input = copy.input();
    for args in DOCUMENTS {
        if let Some(full) = sys::FULL_DEVICE {
            let full = std::fs::OpenOptions::new().write(true).open(full).unwrap();
            let mut command = place.brigade(*args);
            command.stdout(full);
            let outcome = Half::start_as_it_is(command).end();
            outcome.expect_line(1, &["cannot write to standard output"]);
        }
        let closed = sys::without(&place, Stream::Output, args);
        let outcome = Half::start_as_it_is(closed).end();
        outcome.expect_line(1, &["cannot write to standard output"]);
    }
}

// ---- nobody listens -------------------------------------------------------------------

/// A pipe that nobody reads, and that is full.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut filler = writer.try_clone().unwrap();
    std::thread::spawn(move || {
        // Until the test is over.
        while filler.write_all(&[b'.'; 4096]).is_ok() {}
    });
    std::thread::sleep(Duration::from_millis(300));
    (reader, writer)
}

#[test]
fn a_standard_error_that_nobody_reads_stops_neither_the_copy_nor_its_end() {
    for options in [&["--json"][..], &["--progress=always"], &["-v"]] {
        let place = Place::new();
        let content = noise(4 << 20);
        place.file("a", &content);
        let (_reader, writer) = full_pipe();
        let args = [&["--both", "--limit-rate=4M"], options, &["a", "b"]].concat();
        let mut command = place.brigade(args);
        command.stderr(writer);
        let mut child = command.spawn().unwrap();
        drop(command);
        let since = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if since.elapsed() > SOON {
                let _ = child.kill();
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(status.code(), Some(0), "{options:?}");
        assert!(std::fs::read(place.path("b")).unwrap() == content);
    }
}
