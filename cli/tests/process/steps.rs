//! Each half dies at each named step of the protocol: what becomes of the copy is as
//! docs/reliability.md says, whose table is made here.

use std::fmt::Write;
use std::path::Path;

use crate::harness::Side::{self, Reader, Writer};
use crate::harness::{Half, Outcome, Place, SOON, noise, wait_until};

/// What a death at a step means.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    /// The two were not a pair yet: the other one waits for another partner.
    Waits,
    /// The other half waits for another partner or, if it has let this one in already,
    /// fails; the old destination stays.
    WaitsOrFails,
    /// The other half fails, and the old destination stays.
    OldStays,
    /// The other half fails, and says that the copy may be complete, which it is.
    NewUnknown,
    /// The other half succeeds.
    New,
}

impl Then {
    fn words(self) -> &'static str {
        match self {
            Then::Waits => "the other half waits for another partner",
            Then::WaitsOrFails => {
                "the other half waits for another partner, or fails with 4 if it has let this one in; the old destination stays"
            }
            Then::OldStays => "the other half fails with 4; the old destination stays",
            Then::NewUnknown => {
                "the other half fails with 4 and says that the copy may be complete; it is"
            }
            Then::New => "the other half completes the copy, or has heard that it is",
        }
    }
}

/// A death: at which step, of which half, which is the first to come or not; and when it
/// passes that step for how manieth time.
struct Case {
    step: &'static str,
    side: Side,
    is_first: bool,
    count: u32,
    then: Then,
}

/// Who passes `step` for the `count`th time dies, and `file` goes with it.
#[derive(Clone, Copy)]
struct Death {
    step: &'static str,
    count: u32,
    file: &'static str,
}

/// How each step is told of: what has just happened, or is about to.
const WORDS: &[(&str, &str)] = &[
    ("seat taken", "it is the first, and can be reached"),
    (
        "host reached",
        "it is the second, and has reached the first",
    ),
    ("offer sent", "the first has shown its region"),
    ("offer answered", "the second has shown its region"),
    ("about to admit", "the first has checked the second"),
    ("admitted", "the first has let the second in"),
    ("let in", "the second has heard that it is in"),
    ("letter posted", "its question, or answer, can be read"),
    ("question heard", "the writer knows the source"),
    ("partial file made", "nothing is written yet"),
    ("answer heard", "the reader knows that the copy begins"),
    (
        "entry written",
        "a block is about to be sent, or given back",
    ),
    (
        "published",
        "a block was sent, or given back; its partner is not woken yet",
    ),
    ("asleep", "it is about to sleep"),
    ("woken", "it has slept"),
    ("all sent", "the reader has sent all, and not said so"),
    (
        "about to end",
        "the end of the data, or the verdict, comes next",
    ),
    (
        "ended",
        "the end of the data, or the verdict, was said; its partner is not woken yet",
    ),
    (
        "about to take the name",
        "the new file is whole and on disk",
    ),
    ("older backup set aside", "with --backup"),
    ("backup made", "with --backup, the old file has both names"),
    ("name taken", "the new file has the destination's name"),
    ("complete", "and that is on disk"),
];

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |step, side, is_first, count, then| {
        cases.push(Case {
            step,
            side,
            is_first,
            count,
            then,
        });
    };
    for side in [Reader, Writer] {
        add("seat taken", side, true, 1, Then::Waits);
        add("offer sent", side, true, 1, Then::Waits);
        add("about to admit", side, true, 1, Then::Waits);
        add("admitted", side, true, 1, Then::OldStays);
        add("host reached", side, false, 1, Then::Waits);
        add("offer answered", side, false, 1, Then::WaitsOrFails);
        add("let in", side, false, 1, Then::OldStays);
        for is_first in [true, false] {
            add("letter posted", side, is_first, 1, Then::OldStays);
            for count in [1, 2, 11] {
                add("entry written", side, is_first, count, Then::OldStays);
                add("published", side, is_first, count, Then::OldStays);
            }
            add("asleep", side, is_first, 1, Then::OldStays);
            add("woken", side, is_first, 1, Then::OldStays);
        }
    }
    for is_first in [true, false] {
        add("answer heard", Reader, is_first, 1, Then::OldStays);
        add("all sent", Reader, is_first, 1, Then::OldStays);
        add("about to end", Reader, is_first, 1, Then::OldStays);
        add("ended", Reader, is_first, 1, Then::New);
        add("question heard", Writer, is_first, 1, Then::OldStays);
        add("partial file made", Writer, is_first, 1, Then::OldStays);
        let late = [
            ("about to take the name", Then::OldStays),
            ("older backup set aside", Then::OldStays),
            ("backup made", Then::OldStays),
            ("name taken", Then::NewUnknown),
            ("complete", Then::NewUnknown),
            ("about to end", Then::NewUnknown),
            ("ended", Then::New),
        ];
        for (step, then) in late {
            add(step, Writer, is_first, 1, then);
        }
    }
    cases
}

/// A pair of which one half is to die.
struct Stage<'c> {
    case: &'c Case,
    /// Both were told to replace a dead half.
    takeover: bool,
    place: Place,
    new: Vec<u8>,
}

impl Stage<'_> {
    fn new(case: &Case, takeover: bool) -> Stage<'_> {
        let place = Place::new();
        let new = noise(300_000);
        place.file("a", &new);
        place.file("b", "old");
        place.file("b~", "older");
        Stage {
            case,
            takeover,
            place,
            new,
        }
    }

    fn half(&self, side: Side) -> Half {
        self.start(side, None)
    }

    /// One half of the copy, which may have to die.
    fn start(&self, side: Side, dies: Option<Death>) -> Half {
        let (name, case) = (self.place.name(), self.case);
        let mut args = vec!["--as", side.name(), "--name", &name, "--blocks=4"];
        args.extend(["--block-size=16K", "--backup", "a", "b"]);
        args.extend(Some("--takeover=1m").filter(|_| self.takeover));
        let mut command = self.place.brigade(args);
        if case.step == "asleep" || case.step == "woken" {
            // Whoever dies waits for the other one again and again.
            let slow = ["--limit-rate=1M"];
            command.args(slow.iter().filter(|_| side != case.side));
        }
        if let Some(Death { step, count, file }) = dies {
            let file = self.place.file(file, "");
            let death = format!("{step}:{count}:{}", file.display());
            command.env("BRIGADE_DIE_AT", death);
        }
        Half::start(command)
    }

    /// That one that had to die has.
    fn expect_dead(&self, half: Half, file: &str) {
        let outcome = half.end();
        assert!(!self.place.path(file).exists(), "{outcome:?}");
    }

    fn run(&self) {
        let other = self.kill(None);
        match self.takeover {
            true => self.replace(other),
            false => self.look_at(other),
        }
    }

    /// Lets the one half die; the other one, which may have to die later.
    fn kill(&self, later: Option<Death>) -> Half {
        let Case {
            step,
            side,
            is_first,
            count,
            ..
        } = *self.case;
        let file = "alive";
        let dies = Some(Death { step, count, file });
        let (victim, other) = match is_first {
            true => {
                let victim = self.start(side, dies);
                self.wait_until_first(&victim);
                (victim, self.start(side.other(), later))
            }
            false => {
                let other = self.start(side.other(), later);
                self.wait_until_first(&other);
                (self.start(side, dies), other)
            }
        };
        self.expect_dead(victim, file);
        other
    }

    /// The same command, run again, takes the dead one's place, if it is missed.
    fn replace(&self, other: Half) {
        let Case { side, then, .. } = *self.case;
        let newcomer = (then != Then::New).then(|| self.half(side));
        if let Some(newcomer) = newcomer {
            newcomer.end().expect(0);
        }
        other.end().expect(0);
        self.expect_new();
        let found = std::fs::read(self.place.path("b~")).unwrap();
        assert_eq!(found, b"old");
        self.place.assert_only_locks_left();
        let names = [".brigade-backup", ".brigade-older"];
        self.place.assert_none_ends_in(&names);
    }

    /// Whoever comes next is the second.
    fn wait_until_first(&self, half: &Half) {
        let is_dead = || self.case.is_first && !self.place.path("alive").exists();
        wait_until("the first", SOON, || {
            half.said().contains("waiting for") || is_dead()
        });
    }

    fn look_at(&self, other: Half) {
        let Case { side, then, .. } = *self.case;
        match then {
            Then::Waits => {
                other.hear("waiting for");
                self.half(side).end().expect(0);
                other.end().expect(0);
                return self.expect_new();
            }
            Then::WaitsOrFails => {
                // Whoever waits is joined by this one; else there is a new pair.
                let again = self.half(side);
                let other = other.end();
                if other.code != Some(0) {
                    assert!(other.said.contains("died"), "{other:?}");
                    self.half(side.other()).end().expect(0);
                }
                again.end().expect(0);
                return self.expect_new();
            }
            Then::OldStays => {
                let other = other.end().expect(4);
                assert!(other.said.contains("died"), "{other:?}");
                assert_eq!(std::fs::read(self.place.path("b")).unwrap(), b"old");
            }
            Then::NewUnknown => {
                let other = other.end().expect(4);
                assert!(other.said.contains("may still complete"), "{other:?}");
                self.expect_new();
            }
            Then::New => {
                other.end().expect(0);
                self.expect_new();
            }
        }
        // Nothing is in the way of the next copy.
        let first = self.half(Reader);
        let second = self.half(Writer);
        let _: [Outcome; 2] = [first, second].map(|half| half.end().expect(0));
        self.expect_new();
        self.place.assert_only_locks_left();
    }

    fn expect_new(&self) {
        let found = std::fs::read(self.place.path("b")).unwrap();
        assert!(found == self.new, "{} bytes", found.len());
    }
}

#[test]
fn a_half_that_dies_at_any_step_leaves_what_is_promised_for_that_step() {
    at_each_step(false);
}

#[test]
fn a_half_that_dies_at_any_step_is_replaced_with_takeover_and_both_succeed() {
    at_each_step(true);
}

fn at_each_step(takeover: bool) {
    for case in cases() {
        let (step, side, is_first, count) =
            (case.step, case.side.name(), case.is_first, case.count);
        let order = if is_first { "first" } else { "second" };
        // Told if it fails.
        eprintln!("{side}, {order}: {step} ({count})");
        Stage::new(&case, takeover).run();
    }
}

/// A death in the middle of the copy.
fn in_the_middle(side: Side, is_first: bool) -> Case {
    Case {
        step: "published",
        side,
        is_first,
        count: 9,
        then: Then::OldStays,
    }
}

#[test]
fn one_that_comes_in_a_dead_half_s_place_and_dies_in_turn_is_replaced_as_well() {
    let steps = [
        ("host reached", &[Reader, Writer][..]),
        ("offer answered", &[Reader, Writer]),
        ("let in", &[Reader, Writer]),
        ("letter posted", &[Reader, Writer]),
        ("answer heard", &[Reader]),
        ("question heard", &[Writer]),
        ("entry written", &[Reader, Writer]),
        ("published", &[Reader, Writer]),
        ("all sent", &[Reader]),
        ("about to take the name", &[Writer]),
        ("backup made", &[Writer]),
        ("name taken", &[Writer]),
    ];
    for (step, sides) in steps {
        for side in sides {
            for is_first in [true, false] {
                eprintln!("{}, {is_first}: {step}", side.name());
                let case = in_the_middle(*side, is_first);
                let stage = Stage::new(&case, true);
                let other = stage.kill(None);
                let (count, file) = (1, "second");
                let newcomer = stage.start(*side, Some(Death { step, count, file }));
                stage.expect_dead(newcomer, file);
                stage.replace(other);
            }
        }
    }
}

#[test]
fn if_the_survivor_dies_too_the_next_pair_is_a_new_one() {
    for side in [Reader, Writer] {
        for is_first in [true, false] {
            for step in ["about to go on", "seat taken"] {
                eprintln!("{}, {is_first}: {step}", side.name());
                let case = in_the_middle(side, is_first);
                let stage = Stage::new(&case, true);
                // If it came first, it was there before.
                let count = if step == "seat taken" && !is_first {
                    2
                } else {
                    1
                };
                let file = "survivor";
                let other = stage.kill(Some(Death { step, count, file }));
                stage.expect_dead(other, file);
                assert_eq!(std::fs::read(stage.place.path("b")).unwrap(), b"old");
                stage.replace(stage.half(side.other()));
            }
        }
    }
}

const BEGIN: &str = "<!-- made by steps.rs: -->\n";
const END: &str = "<!-- until here. -->\n";

#[test]
fn the_table_of_steps_in_the_documentation_is_that_of_the_tests() {
    let mut table =
        String::from("| Step | | Reader dies there | Writer dies there |\n|---|---|---|---|\n");
    let cases = cases();
    for (step, words) in WORDS {
        let then = |side| {
            let mut found = cases
                .iter()
                .filter(|case| case.step == *step && case.side == side)
                .map(|case| case.then);
            let first = found.next();
            assert!(found.all(|then| Some(then) == first), "{step}");
            first.map_or("–", Then::words)
        };
        let (reader, writer) = (then(Reader), then(Writer));
        writeln!(table, "| {step} | {words} | {reader} | {writer} |").unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reliability.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (found, after) = rest.split_once(END).unwrap();
    if found != table && std::env::var_os("BRIGADE_WRITE_TABLES").is_some() {
        std::fs::write(&path, [before, BEGIN, &table, END, after].concat()).unwrap();
        return;
    }
    assert_eq!(found, table, "run this test with BRIGADE_WRITE_TABLES=1");
}

#[test]
fn every_step_that_the_code_names_is_one_of_the_table_and_is_died_at() {
    let mut named = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut left = vec![root.join("lib/src"), root.join("cli/src")];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for call in text.split("at_step(\"").skip(1) {
                named.push(call.split('"').next().unwrap().to_owned());
            }
        }
    }
    named.sort();
    named.dedup();
    let cases = cases();
    let mut known: Vec<_> = WORDS.iter().map(|(step, _)| (*step).to_owned()).collect();
    known.retain(|step| cases.iter().any(|case| case.step == step));
    known.push("about to go on".to_owned());
    known.extend(crate::resume::STEPS.iter().map(|step| (*step).to_owned()));
    known.sort();
    assert_eq!(named, known);
}
