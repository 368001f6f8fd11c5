//! Sessions seen from outside. A file of its own, since on Windows only the first few
//! sessions of a process are found.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

use std::thread;

use brigade::{Member, Options, Role, Seat, Session, join, join_both_ways, sessions};

/// The session whose processes greet with `greeting`.
fn find(greeting: &[u8]) -> Option<Session> {
    let is_here = |member: Option<&Member>| member.is_some_and(|m| m.greeting() == greeting);
    let mut here = sessions()
        .unwrap()
        .into_iter()
        .filter(|session| is_here(session.reader()) || is_here(session.writer()));
    let first = here.next();
    assert!(here.next().is_none());
    first
}

#[test]
fn who_looks_from_outside_sees_a_session_from_its_first_process_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let name = format!("{}/n", directory.path().display());
    let greeting = name.as_bytes();
    let options = Options::new()
        .block_size(8)
        .block_count(3)
        .greeting(greeting);
    assert!(find(greeting).is_none());

    let seat = Seat::take(&name, &options).unwrap();
    let alone = find(greeting).unwrap();
    assert!(alone.reader().is_some() && alone.writer().is_none());

    let host = thread::spawn(move || seat.wait());
    let second = join(&name, &options).unwrap();
    let (Role::Reader(reader), Role::Writer(writer)) = (host.join().unwrap().unwrap(), second)
    else {
        panic!("the first is the Reader");
    };
    for tag in 0..2 {
        reader.empty_block().unwrap().send(3, tag).unwrap();
    }
    drop(writer.data_block().unwrap().unwrap());
    reader.monitor().set_figure(1, 17);

    let pair = find(greeting).unwrap();
    assert_eq!((pair.block_size(), pair.block_count()), (8, 3));
    assert_eq!(pair.blocks_under_way(), 1);
    let delivered = pair.delivered();
    assert_eq!((delivered.blocks, delivered.bytes), (1, 3));
    assert_eq!(pair.reader().unwrap().figures()[1], 17);
    assert_eq!(pair.writer().unwrap().process_id(), std::process::id());

    drop((reader, writer));
    assert!(find(greeting).is_none());
}

#[test]
fn of_a_session_of_both_ways_each_way_is_seen_for_itself() {
    let directory = tempfile::tempdir().unwrap();
    let name = format!("{}/n", directory.path().display());
    let options = Options::new().block_size(8).greeting(name.as_bytes());
    let (other, same) = (name.clone(), options.clone());
    let second = thread::spawn(move || join_both_ways(&other, &same).unwrap());
    let here = join_both_ways(&name, &options).unwrap();
    let there = second.join().unwrap();
    for _ in 0..3 {
        here.reader.empty_block().unwrap().send(1, 0).unwrap();
    }
    there.reader.empty_block().unwrap().send(1, 0).unwrap();

    let is_here = |member: &Member| member.greeting() == name.as_bytes();
    let mut under_way: Vec<u64> = brigade::sessions()
        .unwrap()
        .iter()
        .filter(|session| session.reader().is_some_and(is_here))
        .inspect(|session| assert!(session.writer().is_some_and(is_here)))
        .map(|session| session.blocks_under_way())
        .collect();
    under_way.sort_unstable();
    assert_eq!(under_way, [1, 3]);
}
