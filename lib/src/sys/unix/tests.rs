//! Channels and links as `join` and `pair` use them, between two threads and between two
//! processes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::channel::{Channel, new_pair};
use super::discard::Socket;
use super::invitation::{Invitation, accept};
use super::link::{Link, poll_until, wait_for_links};
use super::users::User;
use crate::error::Error;
use crate::sys::kernel::memory::Memory;
use crate::sys::kernel::wake::Alarm;
use crate::sys::{Handle, INVITATION, Message, Wake};

/// Far longer than anything here takes.
fn late() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(60))
}

fn now() -> Option<Instant> {
    Some(Instant::now())
}

fn memory() -> Memory {
    Memory::create(8192).unwrap()
}

/// A host's and a second's, of this process.
fn channels() -> (Channel, Channel) {
    let (one, other) = new_pair().unwrap();
    let host = Channel::to_second(Socket::new(one).unwrap()).unwrap();
    let second = Channel::to_host(Socket::new(other).unwrap()).unwrap();
    (host, second)
}

fn receive(channel: &Channel) -> Message {
    let alarm = Alarm::new().unwrap();
    channel.receive(&alarm, late()).unwrap().unwrap()
}

fn received_lanes(channel: &Channel) -> usize {
    match receive(channel) {
        Message::Offer(lanes) => lanes.len(),
        Message::Malformed(why) => panic!("{why}"),
        _ => panic!("no offer"),
    }
}

/// The links of a host and of its second, of so many lanes.
fn links(lanes: usize) -> (Vec<Link>, Vec<Link>) {
    let (host, second) = channels();
    let memories: Vec<_> = (0..lanes).map(|_| memory()).collect();
    let shown: Vec<_> = memories.iter().collect();
    assert!(host.offer(&shown).unwrap());
    assert_eq!(received_lanes(&second), lanes);
    assert!(second.offer(&shown).unwrap());
    assert_eq!(received_lanes(&host), lanes);
    assert!(host.admit().unwrap());
    assert!(matches!(receive(&second), Message::Admitted));
    (host.into_links().unwrap(), second.into_links().unwrap())
}

fn one_link() -> (Link, Link) {
    let (mut host, mut second) = links(1);
    (host.remove(0), second.remove(0))
}

fn is_readable(handle: Handle<'_>) -> bool {
    let [events] = poll_until([(handle, PollFlags::IN)], now()).unwrap();
    !events.is_empty()
}

#[test]
fn a_ring_stays_until_it_is_consumed_and_is_the_other_ends_alone() {
    let (one, other) = one_link();
    one.ring();
    one.ring();
    for _ in 0..2 {
        assert_eq!(other.wait(late()).unwrap(), Wake::Rung);
        assert!(is_readable(other.handle().unwrap()));
    }
    other.consume().unwrap();
    assert_eq!(other.wait(now()).unwrap(), Wake::Timeout);
    assert!(!is_readable(other.handle().unwrap()));
    assert_eq!(one.wait(now()).unwrap(), Wake::Timeout);
    // Nothing there is consumed as well.
    other.consume().unwrap();
    other.nudge();
    assert_eq!(other.watch(now()).unwrap(), Wake::Timeout);
    assert_eq!(other.wait(late()).unwrap(), Wake::Rung);
}

#[test]
fn a_hang_up_ends_the_waits_of_both_ends_for_good() {
    let (one, other) = one_link();
    let handles = [one.handle().unwrap(), other.handle().unwrap()];
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| one.wait(None).unwrap());
        let watches = scope.spawn(|| one.watch(None).unwrap());
        let waits_there = scope.spawn(|| other.wait(None).unwrap());
        std::thread::sleep(Duration::from_millis(20));
        one.hang_up();
        assert_eq!(waits.join().unwrap(), Wake::HungUp);
        assert_eq!(watches.join().unwrap(), Wake::HungUp);
        assert_eq!(waits_there.join().unwrap(), Wake::Gone);
    });
    one.hang_up();
    other.ring();
    for _ in 0..2 {
        assert_eq!(one.wait(None).unwrap(), Wake::HungUp);
        assert_eq!(one.watch(None).unwrap(), Wake::HungUp);
        assert_eq!(other.wait(None).unwrap(), Wake::Gone);
        assert_eq!(other.watch(None).unwrap(), Wake::Gone);
        assert!(handles.into_iter().all(is_readable));
    }
    other.hang_up();
    assert_eq!(other.wait(None).unwrap(), Wake::HungUp);
}

#[test]
fn a_link_that_is_dropped_has_hung_up() {
    let (one, other) = one_link();
    drop(one);
    assert_eq!(other.wait(None).unwrap(), Wake::Gone);
}

#[test]
fn of_two_lanes_each_has_a_doorbell_and_a_hang_up_of_its_own() {
    let (host, second) = links(2);
    for (here, there) in [(&host, &second), (&second, &host)] {
        here[1].ring();
        assert_eq!(there[1].wait(late()).unwrap(), Wake::Rung);
        assert_eq!(there[0].wait(now()).unwrap(), Wake::Timeout);
        there[1].consume().unwrap();
        here[0].ring();
        assert_eq!(there[0].wait(late()).unwrap(), Wake::Rung);
        assert_eq!(there[1].wait(now()).unwrap(), Wake::Timeout);
        there[0].consume().unwrap();
    }
    for lane in [1, 0] {
        second[lane].hang_up();
        assert_eq!(host[lane].wait(late()).unwrap(), Wake::Gone);
        assert_eq!(second[lane].wait(late()).unwrap(), Wake::HungUp);
        if lane == 1 {
            assert_eq!(host[0].wait(now()).unwrap(), Wake::Timeout);
            assert_eq!(second[0].wait(now()).unwrap(), Wake::Timeout);
        }
    }
}

#[test]
fn where_the_two_show_different_numbers_of_lanes_there_are_links_for_what_both_have() {
    let (host, second) = channels();
    let (first, further) = (memory(), memory());
    assert!(host.offer(&[&first, &further]).unwrap());
    assert_eq!(received_lanes(&second), 2);
    assert!(second.offer(&[&first]).unwrap());
    assert_eq!(received_lanes(&host), 1);
    assert_eq!(host.into_links().unwrap().len(), 1);
    assert_eq!(second.into_links().unwrap().len(), 1);
}

#[test]
fn an_offer_to_one_who_has_left_is_no_error() {
    let (host, second) = channels();
    drop(second);
    assert!(!host.offer(&[&memory()]).unwrap());
    assert!(matches!(receive(&host), Message::HungUp));
}

#[test]
fn a_wait_ends_at_its_deadline_and_not_before() {
    let (one, other) = one_link();
    let since = Instant::now();
    let until = Some(since + Duration::from_millis(30));
    assert_eq!(other.wait(until).unwrap(), Wake::Timeout);
    assert!(since.elapsed() >= Duration::from_millis(30));
    drop(one);
}

#[test]
fn what_each_of_many_links_has_is_told_at_once() {
    let links: Vec<_> = (0..100).map(|_| one_link()).collect();
    // One of them twice.
    let others: Vec<_> = links.iter().map(|(_, other)| other).collect();
    let others = [&others[..], &[others[3]]].concat();
    assert_eq!(
        wait_for_links(&others, now()).unwrap(),
        [Wake::Timeout; 101]
    );
    links[3].0.ring();
    links[5].1.nudge();
    links[97].0.hang_up();
    links[98].1.hang_up();
    let mut expected = [Wake::Timeout; 101];
    for place in [3, 5, 100] {
        expected[place] = Wake::Rung;
    }
    (expected[97], expected[98]) = (Wake::Gone, Wake::HungUp);
    for _ in 0..2 {
        assert_eq!(wait_for_links(&others, late()).unwrap(), expected);
    }
    links[3].1.consume().unwrap();
    assert_eq!(
        wait_for_links(&others[..5], now()).unwrap(),
        [Wake::Timeout; 5]
    );
}

#[test]
fn the_handle_of_a_link_is_made_by_who_asks_first_and_knows_what_came_before() {
    let (one, other) = one_link();
    one.ring();
    let handle = other.handle().unwrap();
    assert!(is_readable(handle));
    assert_eq!(other.handle().unwrap().as_raw_fd(), handle.as_raw_fd());
    other.consume().unwrap();
    assert!(!is_readable(handle));
    one.hang_up();
    assert!(is_readable(handle));
    let (one, other) = one_link();
    one.hang_up();
    assert!(is_readable(one.handle().unwrap()) && is_readable(other.handle().unwrap()));
}

// ---- by invitation --------------------------------------------------------------------

/// The variable that says what an invited process does.
const TASK: &str = "BRIGADE_TEST_TASK";

fn invited(program: &[&str], task: &str) -> Command {
    let own = std::env::current_exe().unwrap();
    let mut command = match program {
        [] => Command::new(&own),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(&own);
            command
        }
    };
    command
        .args(["sys::unix::tests::the_invited_process", "--exact"])
        .env(TASK, task)
        .stdout(Stdio::null());
    command
}

#[test]
fn the_invited_process() {
    let Ok(task) = std::env::var(TASK) else {
        return;
    };
    match task.as_str() {
        "join" => be_second(),
        "leave" => {}
        "not invited" => {
            assert!(std::env::var(INVITATION).is_err());
            assert!(matches!(accept(), Err(Error::InvalidUse(_))));
        }
        "no socket" => assert!(why_not().contains("is no socket")),
        "another socket" => assert!(why_not().contains("another type")),
        "not for this one" => assert!(matches!(accept(), Err(Error::InvalidUse(_)))),
        task => panic!("there is no task {task}"),
    }
}

fn why_not() -> &'static str {
    match accept() {
        Err(Error::InvalidUse(why)) => why,
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("accepted"),
    }
}

#[test]
fn a_file_or_another_socket_that_has_the_invitations_number_is_none_and_is_said_to_be_none() {
    let file = OwnedFd::from(tempfile::tempfile().unwrap());
    let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let inherited = [
        ("no socket", file),
        ("another socket", stream.into()),
        ("another socket", udp.into()),
    ];
    for (task, fd) in inherited {
        let number = rustix::fs::fstat(&fd).unwrap().st_ino;
        let mut command = invited(&[], task);
        // As its input.
        command.env(INVITATION, format!("0:{number}")).stdin(fd);
        assert!(command.status().unwrap().success(), "{task}");
    }
}

fn be_second() {
    let channel = accept().unwrap().unwrap();
    let parent = std::os::unix::process::parent_id();
    let host = channel.peer().process_id;
    assert!(host == parent || std::env::var("BRIGADE_TEST_WRAPPED").is_ok());
    assert_eq!(channel.peer().user, User::own());
    assert!(matches!(accept(), Err(Error::InvalidUse(_))));
    let lanes = received_lanes(&channel);
    let memories: Vec<_> = (0..lanes).map(|_| memory()).collect();
    assert!(channel.offer(&memories.iter().collect::<Vec<_>>()).unwrap());
    assert!(matches!(receive(&channel), Message::Admitted));
    let links = channel.into_links().unwrap();
    for link in &links {
        assert_eq!(link.wait(late()).unwrap(), Wake::Rung);
        link.consume().unwrap();
        link.ring();
    }
    assert_eq!(links[0].wait(late()).unwrap(), Wake::Gone);
}

/// Becomes the pair of whom `command` starts; its process id as the kernel tells it.
fn be_host(command: &mut Command, lanes: usize) -> (std::process::Child, Vec<Link>, u32) {
    let (child, channel) = Invitation::new().unwrap().spawn(command).unwrap();
    assert_eq!(channel.peer().process_id, child.id());
    let memories: Vec<_> = (0..lanes).map(|_| memory()).collect();
    assert!(channel.offer(&memories.iter().collect::<Vec<_>>()).unwrap());
    assert_eq!(received_lanes(&channel), lanes);
    assert_eq!(channel.peer().user, User::own());
    let process_id = channel.peer().process_id;
    assert!(channel.admit().unwrap());
    let links = channel.into_links().unwrap();
    for link in &links {
        link.ring();
        assert_eq!(link.wait(late()).unwrap(), Wake::Rung);
        link.consume().unwrap();
    }
    (child, links, process_id)
}

#[test]
fn an_invited_process_becomes_the_second_with_one_lane_or_two() {
    for lanes in [1, 2] {
        let (mut child, links, process_id) = be_host(&mut invited(&[], "join"), lanes);
        assert_eq!(process_id, child.id());
        drop(links);
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn an_invitation_that_a_child_passes_on_is_of_who_accepts_it_and_its_death_is_seen() {
    let mut command = invited(&["sh", "-c", "\"$0\" \"$@\"; read wait"], "join");
    command
        .env("BRIGADE_TEST_WRAPPED", "1")
        .stdin(Stdio::piped());
    let (mut child, links, process_id) = be_host(&mut command, 1);
    assert_ne!(process_id, child.id());
    let process = rustix::process::Pid::from_raw(process_id.cast_signed()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
    // Though the child, which lives, has the socket open, too.
    assert_eq!(links[0].wait(late()).unwrap(), Wake::Gone);
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn an_invited_process_that_leaves_without_accepting_is_missed() {
    let invitation = Invitation::new().unwrap();
    let (mut child, channel) = invitation.spawn(&mut invited(&[], "leave")).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(matches!(receive(&channel), Message::HungUp));
    assert!(!channel.offer(&[&memory()]).unwrap());
}

#[test]
fn a_command_invites_once_and_other_children_inherit_nothing() {
    let mut command = invited(&[], "leave");
    let invitation = Invitation::new().unwrap();
    let (mut first, channel) = invitation.spawn(&mut command).unwrap();
    first.wait().unwrap();
    command.env(TASK, "not invited");
    assert!(command.status().unwrap().success());
    // A variable that was passed on too far leads to a descriptor of something else.
    let null = std::fs::File::open("/dev/null").unwrap();
    let fd = null.as_raw_fd();
    let mut stale = invited(&[], "not for this one");
    for text in [&format!("{fd}:1"), "0:1", "99:1", "-1:0", "x", ""] {
        assert!(stale.env(INVITATION, text).status().unwrap().success());
    }
    drop((null, channel));
}

#[test]
fn a_program_that_cannot_be_started_is_an_error_that_names_it() {
    let mut command = Command::new("/nowhere/no-such-program");
    let failed = Invitation::new().unwrap().spawn(&mut command);
    let Err(error) = failed.map(drop) else {
        panic!("started");
    };
    assert!(error.to_string().contains("no-such-program"), "{error}");
}
