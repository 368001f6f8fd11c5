//! The back end alone: two ends in one process, and processes that were invited.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

use std::os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::card::{Card, LANES, LaneNumbers};
use super::link::Bell;
use super::names::{FIRST, SECOND, SECOND_BELL};
use super::objects::{
    Created, GONE, OLD_BELL, WAIT_ACCESS, create_own_event, create_semaphore, open_event,
    open_semaphore, release, reset, set, unique,
};
use super::process::own_id;
use super::wake::{wait_any, wait_for_handles};
use super::{Alarm, Arriving, Channel, Claim, Host, Invitation, Link, Memory, Name, accept};
use crate::error::Error;
use crate::join::message::Kind;
use crate::region::access::Own;
use crate::region::layout::VERSION;
use crate::sys::{Arrival, INVITATION, Message, Wake};

/// Nothing takes that long.
fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(30))
}

fn now() -> Option<Instant> {
    Some(Instant::now())
}

/// Long enough for another thread to have gone to sleep in a call.
const A_WHILE: Duration = Duration::from_millis(50);

fn region() -> Memory {
    Memory::create(4096).unwrap()
}

// ---- two ends in this process ---------------------------------------------------------

fn unused_name() -> Name {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Name::parse(&format!("sys-tests-{}-{number}", own_id())).unwrap()
}

fn host(name: &Name) -> Host {
    let mut arriving = Arriving::new(name, &[], false, None).unwrap();
    match arriving.attempt(Instant::now(), true).unwrap() {
        Some(Arrival::Host(host)) => *host,
        _ => panic!("the name is taken"),
    }
}

/// Host and second, with nothing said yet.
fn channels() -> (Channel, Channel) {
    let name = unused_name();
    let mut host = host(&name);
    let host = thread::spawn(move || host.next(&Alarm::new().unwrap(), soon()).unwrap());
    let mut arriving = Arriving::new(&name, &[], false, None).unwrap();
    let deadline = soon().unwrap();
    let second = loop {
        if let Some(Arrival::Second(second)) = arriving.attempt(deadline, false).unwrap() {
            break second;
        }
    };
    (host.join().unwrap().unwrap(), second)
}

fn receive(channel: &Channel) -> Message {
    let received = channel.receive(&Alarm::new().unwrap(), soon());
    received.unwrap().unwrap()
}

fn receive_regions(channel: &Channel) -> usize {
    match receive(channel) {
        Message::Offer(regions) => regions.len(),
        Message::HungUp => panic!("it hung up"),
        Message::Malformed(why) => panic!("{why}"),
        _ => panic!("another message"),
    }
}

/// The host's half of joining.
fn admit(host: Channel, lanes: usize) -> Vec<Link> {
    let regions: Vec<_> = (0..lanes).map(|_| region()).collect();
    host.offer(&regions.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(receive_regions(&host), lanes);
    assert!(host.admit().unwrap());
    host.into_links().unwrap()
}

/// The second's.
fn follow(second: Channel) -> Vec<Link> {
    let lanes = receive_regions(&second);
    let regions: Vec<_> = (0..lanes).map(|_| region()).collect();
    second.offer(&regions.iter().collect::<Vec<_>>()).unwrap();
    assert!(matches!(receive(&second), Message::Admitted));
    second.into_links().unwrap()
}

fn links(lanes: usize) -> Vec<(Link, Link)> {
    let (host, second) = channels();
    let second = thread::spawn(move || follow(second));
    let host = admit(host, lanes);
    host.into_iter().zip(second.join().unwrap()).collect()
}

fn link() -> (Link, Link) {
    links(1).pop().unwrap()
}

fn is_signalled(handle: BorrowedHandle<'_>) -> bool {
    wait_any(&[handle], now()).unwrap().is_some()
}

#[test]
fn two_threads_that_ring_each_other_in_turn_never_lose_a_ring() {
    let (one, other) = link();
    let answers = |link: &Link| {
        for _ in 0..500 {
            assert_eq!(link.wait(soon()).unwrap(), Wake::Rung);
            link.consume().unwrap();
            link.ring();
        }
    };
    one.ring();
    thread::scope(|scope| {
        scope.spawn(|| answers(&one));
        scope.spawn(|| answers(&other));
    });
    assert_eq!(other.wait(soon()).unwrap(), Wake::Rung);
    assert_eq!(one.wait(now()).unwrap(), Wake::Timeout);
}

#[test]
fn a_ring_lasts_until_it_is_consumed_however_many_wait_for_it() {
    let (one, other) = link();
    assert!(!is_signalled(other.handle().unwrap()));
    one.ring();
    one.ring();
    for _ in 0..3 {
        assert!(is_signalled(other.handle().unwrap()));
        assert_eq!(other.wait(soon()).unwrap(), Wake::Rung);
    }
    assert_eq!(other.watch(now()).unwrap(), Wake::Timeout);
    other.consume().unwrap();
    assert!(!is_signalled(other.handle().unwrap()));
    assert_eq!(other.wait(now()).unwrap(), Wake::Timeout);
}

#[test]
fn a_hang_up_ends_all_waits_of_both_ends_and_nothing_consumes_it() {
    let (one, other) = link();
    thread::scope(|scope| {
        let waits = [
            scope.spawn(|| one.wait(soon()).unwrap()),
            scope.spawn(|| one.watch(soon()).unwrap()),
            scope.spawn(|| other.wait(soon()).unwrap()),
            scope.spawn(|| other.watch(soon()).unwrap()),
            scope.spawn(|| other.watch(soon()).unwrap()),
        ];
        thread::sleep(A_WHILE);
        one.hang_up();
        one.hang_up();
        let woken = waits.map(|wait| wait.join().unwrap());
        assert_eq!(woken[..2], [Wake::HungUp; 2]);
        assert_eq!(woken[2..], [Wake::Gone; 3]);
    });
    for link in [&one, &other] {
        for _ in 0..2 {
            assert!(is_signalled(link.handle().unwrap()));
            link.consume().unwrap();
        }
    }
    other.hang_up();
    assert_eq!(other.wait(now()).unwrap(), Wake::HungUp);
}

#[test]
fn a_handle_that_is_asked_for_after_the_end_was_consumed_is_signalled() {
    let (one, other) = link();
    one.hang_up();
    for link in [&one, &other] {
        link.consume().unwrap();
        assert!(is_signalled(link.handle().unwrap()));
    }
}

#[test]
fn to_drop_a_link_is_to_hang_up() {
    let (one, other) = link();
    assert!(!is_signalled(other.handle().unwrap()));
    drop(one);
    assert!(is_signalled(other.handle().unwrap()));
    assert_eq!(other.wait(soon()).unwrap(), Wake::Gone);
}

#[test]
fn a_nudge_wakes_the_own_wait_and_nobody_else() {
    let (one, other) = link();
    thread::scope(|scope| {
        let wait = scope.spawn(|| one.wait(soon()).unwrap());
        thread::sleep(A_WHILE);
        one.nudge();
        assert_eq!(wait.join().unwrap(), Wake::Rung);
    });
    assert!(is_signalled(one.handle().unwrap()));
    one.consume().unwrap();
    assert_eq!(one.wait(now()).unwrap(), Wake::Timeout);
    assert_eq!(other.wait(now()).unwrap(), Wake::Timeout);
}

#[test]
fn each_of_two_lanes_has_a_doorbell_and_a_hang_up_of_its_own() {
    let [first, second] = <[_; 2]>::try_from(links(2)).ok().unwrap();
    first.0.ring();
    assert_eq!(second.1.wait(now()).unwrap(), Wake::Timeout);
    assert_eq!(first.1.wait(now()).unwrap(), Wake::Rung);
    second.1.hang_up();
    assert_eq!(first.0.wait(now()).unwrap(), Wake::Timeout);
    assert_eq!(second.0.wait(now()).unwrap(), Wake::Gone);
}

#[test]
fn who_leaves_after_it_was_admitted_has_hung_up() {
    let (host, second) = channels();
    let regions = [region(), region()];
    host.offer(&[&regions[0]]).unwrap();
    assert_eq!(receive_regions(&second), 1);
    second.offer(&[&regions[1]]).unwrap();
    assert_eq!(receive_regions(&host), 1);
    assert!(host.admit().unwrap());
    let link = host.into_links().unwrap().pop().unwrap();
    assert!(!is_signalled(link.handle().unwrap()));
    drop(second);
    assert!(is_signalled(link.handle().unwrap()));
    assert_eq!(link.wait(soon()).unwrap(), Wake::Gone);
}

#[test]
fn an_offer_to_a_process_that_left_says_so() {
    let (host, second) = channels();
    drop(second);
    assert!(!host.offer(&[&region()]).unwrap());
}

#[test]
fn a_host_opens_again_though_one_that_came_before_has_its_bell_open() {
    let name = unused_name();
    let host = host(&name);
    let _slow = open_semaphore(&name.bell()).unwrap();
    let seat = host.close();
    for _ in 0..2 {
        let host = Host::again(&name, &seat, &[], true).unwrap().unwrap();
        drop(host.close());
    }
}

#[test]
fn who_does_not_get_in_is_told_whether_the_host_is_yet_to_open() {
    let name = unused_name();
    let arrive = |last| {
        let mut arriving = Arriving::new(&name, &[], false, None).unwrap();
        arriving.attempt(Instant::now(), last).unwrap()
    };
    let host = host(&name);
    assert!(arrive(false).is_none());
    assert!(matches!(arrive(true), Some(Arrival::Later)));
    let claim = Claim::take(&name, &[]).unwrap();
    assert!(arrive(true).is_none(), "its second's place is kept");
    drop(claim);
    let seat = host.close();
    assert!(arrive(true).is_none(), "it has a second");
    let host = Host::again(&name, &seat, &[], false).unwrap().unwrap();
    assert!(matches!(arrive(true), Some(Arrival::Later)));
    drop(host);
    assert!(arrive(true).is_none(), "it has given up");
}

#[test]
fn a_process_makes_one_offer() {
    let (_host, second) = channels();
    let region = region();
    assert!(second.offer(&[&region]).unwrap());
    assert!(second.offer(&[&region]).is_err());
}

/// Letters of a second that is made by hand, and the host that it reached.
struct ByHand {
    name: Name,
    letters: Card<Own>,
    _bell: OwnedHandle,
    host: Channel,
}

impl ByHand {
    fn new() -> ByHand {
        let name = unused_name();
        let mut host = host(&name);
        let hosting = name.letters(1, FIRST);
        let host = thread::spawn(move || host.next(&Alarm::new().unwrap(), soon()).unwrap());
        while Card::open(&hosting).is_none() {
            thread::sleep(Duration::from_millis(2));
        }
        let Created::New(bell) = create_semaphore(&name.letters(1, SECOND_BELL)).unwrap() else {
            panic!("not new");
        };
        let letters = Card::create(&name.letters(1, SECOND)).unwrap().unwrap();
        release(&open_semaphore(&name.bell()).unwrap());
        ByHand {
            name,
            letters,
            _bell: bell,
            host: host.join().unwrap().unwrap(),
        }
    }

    fn offer(&self, index: usize, lanes: [LaneNumbers; LANES]) -> Message {
        self.letters.write(index, Kind::Offer, lanes, "");
        receive(&self.host)
    }
}

/// What nobody has.
const UNUSED: u64 = 1 << 40;

#[test]
fn an_offer_whose_second_lane_is_not_there_or_that_comes_again_is_malformed() {
    let (region, bell) = (region(), Bell::new().unwrap());
    let good = [region.number, bell.number];
    for bad in [
        [UNUSED, bell.number],
        [region.number, UNUSED],
        [0, 1],
        [1, 0],
    ] {
        let offered = ByHand::new().offer(0, [good, bad]);
        assert!(matches!(offered, Message::Malformed(_)), "{bad:?}");
    }
    let second = ByHand::new();
    let offered = second.offer(0, [good, good]);
    assert!(matches!(offered, Message::Offer(regions) if regions.len() == 2));
    let offered = second.offer(1, [good, good]);
    assert!(matches!(offered, Message::Malformed(_)));
}

// ---- version 1 ------------------------------------------------------------------------

#[test]
fn a_process_of_version_1_finds_what_it_looks_for_before_the_version() {
    let second = ByHand::new();
    let regions = [region(), region()];
    second.host.offer(&regions.each_ref()).unwrap();
    let shown = Card::open(&second.name.letters(1, FIRST)).unwrap();
    let [region, bell] = shown.lanes(0)[0];
    assert_eq!(region, regions[0].number);
    let name = |what| unique(own_id(), bell, what);
    assert!(open_semaphore(&name(OLD_BELL)).is_some());
    assert!(open_event(&name(GONE), WAIT_ACCESS).is_some());
}

#[test]
fn of_an_offer_of_another_version_the_region_is_shown_and_it_cannot_be_admitted() {
    let second = ByHand::new();
    second.letters.version.store(VERSION - 1, Ordering::Relaxed);
    let region = region();
    let offered = second.offer(0, [[region.number, UNUSED], [7, 7]]);
    assert!(matches!(offered, Message::Offer(regions) if regions.len() == 1));
    assert!(!second.host.admit().unwrap());
}

// ---- many handles ---------------------------------------------------------------------

fn events(count: usize) -> Vec<OwnedHandle> {
    (0..count).map(|_| create_own_event().unwrap()).collect()
}

/// The indices of those that are signalled.
fn ready(events: &[OwnedHandle], deadline: Option<Instant>) -> Vec<usize> {
    let handles: Vec<_> = events.iter().map(AsHandle::as_handle).collect();
    let found = wait_for_handles(&handles, deadline).unwrap();
    assert_eq!(found.len(), events.len());
    (0..found.len()).filter(|index| found[*index]).collect()
}

#[test]
fn a_hundred_handles_are_waited_for_at_once() {
    for count in [1, 63, 64, 65, 100, 200] {
        let events = events(count);
        let until = Some(Instant::now() + A_WHILE);
        assert_eq!(ready(&events, until), [0; 0]);
        assert!(until < now(), "returned early");
        for index in [0, count / 2, count - 1] {
            let woken = thread::scope(|scope| {
                let wait = scope.spawn(|| ready(&events, soon()));
                thread::sleep(A_WHILE);
                set(&events[index]);
                wait.join().unwrap()
            });
            assert_eq!(woken, [index]);
            reset(&events[index]);
        }
        for event in &events {
            set(event);
        }
        assert_eq!(ready(&events, soon()).len(), count);
        assert_eq!(ready(&events, now()).len(), count);
    }
}

#[test]
fn one_handle_may_be_waited_for_twice_and_none_until_the_deadline() {
    let event = create_own_event().unwrap();
    let both = [event.as_handle(); 2];
    assert_eq!(wait_for_handles(&both, now()).unwrap(), [false; 2]);
    set(&event);
    assert_eq!(wait_for_handles(&both, soon()).unwrap(), [true; 2]);
    let until = Some(Instant::now() + A_WHILE);
    assert_eq!(wait_for_handles(&[], until).unwrap(), [false; 0]);
    assert!(until < now(), "returned early");
}

// ---- invited processes ----------------------------------------------------------------

/// The environment variable that tells the process that a test starts what to do.
const TASK: &str = "BRIGADE_SYS_TEST_TASK";

/// Says nothing, and waits to be killed.
const IDLE: &str = "idle";
/// Ends at once.
const LEAVE: &str = "leave";
/// Joins, answers each ring with one, and waits to be killed.
const ANSWER: &str = "answer";
/// Has another process join in its place, and waits for it.
const PASS_ON: &str = "pass on";
/// Ends well if it was not invited, and is told so each time.
const UNINVITED: &str = "uninvited";

fn command(task: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let test = "sys::windows::tests::the_process_that_other_tests_start";
    command.args([test, "--exact", "--ignored", "--nocapture"]);
    command.env(TASK, task).stdout(Stdio::null());
    command
}

#[test]
#[ignore = "other tests start it as a process of its own"]
fn the_process_that_other_tests_start() {
    match std::env::var(TASK).unwrap().as_str() {
        IDLE => loop {
            thread::park();
        },
        ANSWER => {
            let links = follow(accept().unwrap().unwrap());
            assert!(matches!(accept(), Err(Error::InvalidUse(_))));
            while links[0].wait(None).unwrap() == Wake::Rung {
                links[0].consume().unwrap();
                links[0].ring();
            }
        }
        PASS_ON => assert!(command(ANSWER).status().unwrap().success()),
        UNINVITED => {
            for _ in 0..2 {
                let error = accept().err().unwrap().to_string();
                assert!(error.contains("not started by an invitation"), "{error}");
            }
        }
        LEAVE => {}
        task => panic!("{task}"),
    }
}

/// A child that is killed when dropped.
struct Killed(Child);

impl Killed {
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn invite(task: &str) -> (Killed, Channel) {
    let invitation = Invitation::new().unwrap();
    let (child, channel) = invitation.spawn(&mut command(task)).unwrap();
    assert_eq!(channel.peer().process_id, child.id());
    (Killed(child), channel)
}

fn assert_answers(link: &Link) {
    link.ring();
    assert_eq!(link.wait(soon()).unwrap(), Wake::Rung);
    link.consume().unwrap();
}

#[test]
fn an_invited_process_joins_and_answers_in_both_lanes() {
    let (mut child, channel) = invite(ANSWER);
    let links = admit(channel, 2);
    assert_eq!(links.len(), 2);
    assert_answers(&links[0]);
    drop(links);
    assert!(child.0.wait().unwrap().success());
}

#[test]
fn a_process_that_an_invited_one_starts_may_join_in_its_place() {
    let (mut child, channel) = invite(PASS_ON);
    let region = region();
    channel.offer(&[&region]).unwrap();
    assert_eq!(receive_regions(&channel), 1);
    assert_ne!(channel.peer().process_id, child.0.id());
    assert!(channel.admit().unwrap());
    let links = channel.into_links().unwrap();
    assert_answers(&links[0]);
    drop(links);
    assert!(child.0.wait().unwrap().success());
}

#[test]
fn an_invited_process_that_ends_before_it_joins_has_hung_up() {
    let (_child, channel) = invite(LEAVE);
    channel.offer(&[&region()]).unwrap();
    assert!(matches!(receive(&channel), Message::HungUp));
}

#[test]
fn an_invited_process_that_never_joins_is_waited_for_until_the_deadline() {
    let (mut child, channel) = invite(IDLE);
    channel.offer(&[&region()]).unwrap();
    let until = Some(Instant::now() + A_WHILE);
    let received = channel.receive(&Alarm::new().unwrap(), until).unwrap();
    assert!(received.is_none() && until < now());
    child.kill();
    assert!(matches!(receive(&channel), Message::HungUp));
}

#[test]
fn an_alarm_ends_the_wait_for_an_invited_process() {
    let (_child, channel) = invite(IDLE);
    let alarm = Alarm::new().unwrap();
    alarm.ring();
    assert!(channel.receive(&alarm, soon()).unwrap().is_none());
}

#[test]
fn a_process_that_was_not_invited_is_told_so_whatever_the_variable_says() {
    for told in [None, Some(""), Some("12"), Some("x"), Some("4294967292")] {
        let mut command = command(UNINVITED);
        if let Some(told) = told {
            command.env(INVITATION, told);
        }
        assert!(command.status().unwrap().success(), "{told:?}");
    }
}

#[test]
fn a_command_that_was_invited_once_starts_a_process_that_is_not_the_next_time() {
    let mut command = command(UNINVITED);
    let invitation = Invitation::new().unwrap();
    let (child, _channel) = invitation.spawn(&mut command).unwrap();
    drop(Killed(child));
    assert!(command.status().unwrap().success());
}

#[test]
fn a_partner_that_was_killed_while_nobody_waited_is_gone_for_who_waits_then() {
    let (mut child, channel) = invite(ANSWER);
    let link = admit(channel, 1).pop().unwrap();
    child.kill();
    assert_eq!(link.watch(soon()).unwrap(), Wake::Gone);
    assert_eq!(link.wait(now()).unwrap(), Wake::Gone);
    link.consume().unwrap();
    let handles = [link.handle().unwrap()];
    assert_eq!(wait_for_handles(&handles, soon()).unwrap(), [true]);
}

#[test]
fn a_partners_death_signals_the_handle_and_stays() {
    let (mut child, channel) = invite(ANSWER);
    let link = admit(channel, 1).pop().unwrap();
    assert!(!is_signalled(link.handle().unwrap()));
    child.kill();
    let handles = [link.handle().unwrap()];
    for _ in 0..3 {
        assert_eq!(wait_for_handles(&handles, soon()).unwrap(), [true]);
        assert_eq!(link.wait(soon()).unwrap(), Wake::Gone);
        link.consume().unwrap();
    }
}
