//! A process and one that it starts, without a name.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

mod common;

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use brigade::{
    BothWays, Error, Options, Reader, Refusal, Role, Seat, Side, Writer, accept, accept_both_ways,
    invite, invite_both_ways,
};
use common::{bounded, invalid_use, send};

/// What the started process is to do.
const TASK: &str = "BRIGADE_INVITE_TASK";
/// And with what: a number.
const NUMBER: &str = "BRIGADE_INVITE_NUMBER";

fn options() -> Options {
    let options = Options::new().block_size(64).block_count(2);
    options.wait(Duration::from_secs(30))
}

/// No end of patience, and a pool whose allocation is given some seconds more.
fn for_ever() -> Options {
    let options = Options::new().block_size(1 << 20).block_count(64);
    options.wait(Duration::MAX)
}

fn command(task: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "the_process_that_other_tests_start"])
        .env(TASK, task)
        .stdout(Stdio::null());
    command
}

#[test]
fn the_process_that_other_tests_start() {
    let Ok(task) = std::env::var(TASK) else {
        return;
    };
    let number = || std::env::var(NUMBER).unwrap().parse().unwrap();
    match task.as_str() {
        "drain" => drain(&writer_of(accept(&options()).unwrap())),
        "fill" => fill(&reader_of(accept(&options()).unwrap())),
        "echo" => {
            let BothWays { reader, writer, .. } = accept_both_ways(&options()).unwrap();
            while let Some(block) = writer.data_block().unwrap() {
                send(&reader, &block, block.tag() + 1);
            }
            reader.close().unwrap();
            writer.finish().unwrap();
            reader.verdict().unwrap();
        }
        "want both ways" => {
            let reason = reason_of(accept_both_ways(&options()).unwrap_err());
            assert_eq!(reason, Refusal::OtherWays);
        }
        "wait for ever" => drain(&writer_of(accept(&for_ever()).unwrap())),
        "end" => {}
        "stay" => thread::sleep(Duration::from_secs(60)),
        "accept twice" => {
            let writer = writer_of(accept(&options()).unwrap());
            invalid_use(accept(&options()));
            drain(&writer);
        }
        "have a child that accepts" => {
            let writer = writer_of(accept(&options()).unwrap());
            assert!(command("find no invitation").status().unwrap().success());
            drain(&writer);
        }
        "find no invitation" => {
            invalid_use(accept(&options()));
        }
        "expect" => drain(&writer_of(
            accept(&options().expect_process(number())).unwrap(),
        )),
        "be refused" => {
            let error = accept(&options().expect_process(number())).unwrap_err();
            let reason = reason_of(error);
            assert!(matches!(reason, Refusal::OtherProcess { .. }), "{reason:?}");
        }
        "want other blocks" => {
            let reason = reason_of(accept(&options().block_count(3)).unwrap_err());
            assert!(
                matches!(reason, Refusal::OtherGeometry { block_count: 2, .. }),
                "{reason:?}"
            );
        }
        "join and die" => {
            let _writer = writer_of(accept(&options()).unwrap());
            std::process::exit(7);
        }
        "find nobody" => {
            let error = accept(&options()).unwrap_err();
            assert!(matches!(error, Error::InvitationOver), "{error:?}");
        }
        task => panic!("there is no task {task}"),
    }
}

fn reason_of(error: Error) -> Refusal {
    match error {
        Error::Refused { reason, .. } => reason,
        error => panic!("{error:?}"),
    }
}

/// That who invited learned why the child would not join, by the number of the reason.
fn assert_was_refused(error: &Error, number: i32) {
    // Of a process that has ended, not even its last words are left on Windows.
    let is_gone = cfg!(windows) && matches!(error, Error::InvitationOver);
    assert!(is_gone || error.code() == 100 + number, "{error:?}");
}

fn reader_of(role: Role) -> Reader {
    match role {
        Role::Reader(reader) => reader,
        role => panic!("{role:?}"),
    }
}

fn writer_of(role: Role) -> Writer {
    match role {
        Role::Writer(writer) => writer,
        role => panic!("{role:?}"),
    }
}

fn fill(reader: &Reader) {
    for tag in 0..10 {
        send(reader, b"water", tag);
    }
    reader.finish().unwrap();
}

fn drain(writer: &Writer) {
    for tag in 0..10 {
        let block = writer.data_block().unwrap().unwrap();
        assert_eq!((&*block, block.tag()), (&b"water"[..], tag));
    }
    assert!(writer.data_block().unwrap().is_none());
    writer.finish().unwrap();
}

fn start(options: &Options, command: &mut Command) -> (Child, Seat) {
    invite(options).unwrap().spawn(command).unwrap()
}

fn assert_succeeds(mut child: Child) {
    assert!(child.wait().unwrap().success());
}

#[test]
fn who_invites_is_the_reader_and_who_is_invited_the_writer() {
    bounded(|| {
        let (child, seat) = start(&options(), &mut command("drain"));
        assert!(seat.is_first());
        assert_eq!(seat.side(), Side::Reader);
        let reader = reader_of(seat.wait().unwrap());
        assert_eq!(reader.partner().process_id(), child.id());
        assert!(reader.partner().is_own_user());
        fill(&reader);
        assert_succeeds(child);
    });
}

#[test]
fn who_invites_can_be_the_writer() {
    bounded(|| {
        let (child, seat) = start(&options().side(Side::Writer), &mut command("fill"));
        drain(&writer_of(seat.wait().unwrap()));
        assert_succeeds(child);
    });
}

#[test]
fn both_can_wait_beyond_what_a_clock_can_count() {
    bounded(|| {
        let (child, seat) = start(&for_ever(), &mut command("wait for ever"));
        fill(&reader_of(seat.wait().unwrap()));
        assert_succeeds(child);
    });
}

#[test]
fn no_place_for_names_is_needed_and_a_command_can_be_used_again() {
    bounded(|| {
        let mut command = command("drain");
        for variable in ["TMPDIR", "XDG_RUNTIME_DIR", "TEMP", "TMP"] {
            command.env(variable, "/nowhere/at/all");
        }
        command.env_remove("HOME");
        for _ in 0..2 {
            let (child, seat) = start(&options(), &mut command);
            fill(&reader_of(seat.wait().unwrap()));
            assert_succeeds(child);
        }
    });
}

#[test]
fn two_invitations_at_once_lead_each_to_its_own() {
    bounded(|| {
        let (left, right) = (invite(&options()).unwrap(), invite(&options()).unwrap());
        let (right, right_seat) = right.spawn(&mut command("drain")).unwrap();
        let (left, left_seat) = left.spawn(&mut command("drain")).unwrap();
        let work = |child: Child, seat: Seat| {
            let reader = reader_of(seat.wait().unwrap());
            assert_eq!(reader.partner().process_id(), child.id());
            fill(&reader);
            assert_succeeds(child);
        };
        let right = thread::spawn(move || work(right, right_seat));
        work(left, left_seat);
        right.join().unwrap();
    });
}

#[test]
fn data_goes_both_ways_by_one_invitation() {
    bounded(|| {
        let invitation = invite_both_ways(&options()).unwrap();
        let (child, seat) = invitation.spawn(&mut command("echo")).unwrap();
        let BothWays {
            reader,
            writer,
            is_first,
        } = seat.wait_both_ways().unwrap();
        assert!(is_first);
        for tag in 0..10 {
            send(&reader, b"water", tag);
            let block = writer.data_block().unwrap().unwrap();
            assert_eq!((&*block, block.tag()), (&b"water"[..], tag + 1));
        }
        reader.close().unwrap();
        assert!(writer.data_block().unwrap().is_none());
        writer.finish().unwrap();
        reader.verdict().unwrap();
        assert_succeeds(child);
    });
}

#[test]
fn one_way_and_both_ways_do_not_fit_by_invitation_either() {
    bounded(|| {
        let (child, seat) = start(&options(), &mut command("want both ways"));
        assert_was_refused(&seat.wait().unwrap_err(), 4);
        assert_succeeds(child);
        // Nor does a seat of the one give an end of the other.
        let (child, seat) = start(&options(), &mut command("find nobody"));
        invalid_use(seat.wait_both_ways());
        assert_succeeds(child);
        let both = invite_both_ways(&options()).unwrap();
        let (child, seat) = both.spawn(&mut command("find nobody")).unwrap();
        invalid_use(seat.wait());
        assert_succeeds(child);
    });
}

#[test]
fn a_child_that_ends_before_it_has_joined_ends_the_wait() {
    bounded(|| {
        let (child, seat) = start(&options(), &mut command("end"));
        let error = seat.wait().unwrap_err();
        assert!(matches!(error, Error::InvitationOver), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("has ended, or has let go of it"), "{text}");
        assert_succeeds(child);
    });
}

#[test]
fn a_child_that_never_joins_is_waited_for_as_long_as_the_caller_says() {
    bounded(|| {
        let (mut child, seat) = start(
            &options().wait(Duration::from_millis(100)),
            &mut command("stay"),
        );
        let error = seat.wait().unwrap_err();
        assert!(matches!(error, Error::NoPartner { .. }), "{error:?}");
        child.kill().unwrap();
        child.wait().unwrap();
        // Or until another thread has enough of it.
        let (mut child, seat) = start(&options(), &mut command("stay"));
        let monitor = seat.monitor();
        let waiting = thread::spawn(move || seat.wait());
        monitor.abort_with(3, "no patience");
        let error = waiting.join().unwrap().unwrap_err();
        assert!(matches!(error, Error::Aborted { code: 3, .. }), "{error:?}");
        child.kill().unwrap();
        child.wait().unwrap();
    });
}

#[test]
fn a_child_that_dies_after_it_has_joined_is_found_dead() {
    bounded(|| {
        let (mut child, seat) = start(&options(), &mut command("join and die"));
        let reader = reader_of(seat.wait().unwrap());
        let error = reader.finish().unwrap_err();
        assert!(matches!(error, Error::PartnerDied { .. }), "{error:?}");
        assert_eq!(child.wait().unwrap().code(), Some(7));
    });
}

#[test]
fn an_invitation_is_accepted_once_and_not_by_a_child_of_who_accepted_it() {
    bounded(|| {
        for task in ["accept twice", "have a child that accepts"] {
            let (child, seat) = start(&options(), &mut command(task));
            fill(&reader_of(seat.wait().unwrap()));
            assert_succeeds(child);
        }
    });
}

#[test]
fn a_process_that_was_not_invited_finds_no_invitation_whatever_its_environment_says() {
    bounded(|| {
        for value in [None, Some(""), Some("0:1"), Some("99:7"), Some("nonsense")] {
            let mut command = command("find no invitation");
            if let Some(value) = value {
                command.env("BRIGADE_INVITATION", value);
            }
            assert!(command.status().unwrap().success());
        }
    });
}

#[test]
fn an_invitation_that_is_dropped_or_whose_seat_is_leaves_the_child_with_nobody() {
    bounded(|| {
        let (child, seat) = start(&options(), &mut command("find nobody"));
        drop(seat);
        assert_succeeds(child);
        drop(invite(&options()).unwrap());
        let nothing = invite(&options()).unwrap();
        let error = nothing.spawn(&mut Command::new("no such program"));
        assert!(matches!(error, Err(Error::Os { .. })), "{error:?}");
    });
}

#[test]
fn a_child_that_does_not_fit_ends_the_wait_and_both_know_why() {
    bounded(|| {
        let (child, seat) = start(&options(), &mut command("want other blocks"));
        assert_was_refused(&seat.wait().unwrap_err(), 3);
        assert_succeeds(child);
    });
}

#[test]
fn a_child_can_expect_a_certain_process_and_meets_no_other() {
    bounded(|| {
        let own = std::process::id();
        let mut expecting = command("expect");
        expecting.env(NUMBER, own.to_string());
        let (child, seat) = start(&options(), &mut expecting);
        fill(&reader_of(seat.wait().unwrap()));
        assert_succeeds(child);

        let mut expecting = command("be refused");
        expecting.env(NUMBER, (own + 1).to_string());
        for ends_first in [false, true] {
            let (mut child, seat) = start(&options(), &mut expecting);
            if ends_first {
                child.wait().unwrap();
            }
            assert_was_refused(&seat.wait().unwrap_err(), 6);
            assert_succeeds(child);
        }
    });
}
