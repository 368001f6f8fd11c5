//! Waits in parts, by the handle, and for several ends at once.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

mod common;

use std::thread;
use std::time::{Duration, Instant};

use brigade::{Error, Interest, Options, Reader, Role, Waitable, Writer, join, wait_any};
use common::bounded;

fn small() -> Options {
    Options::new().block_size(64).block_count(2)
}

fn pair(options: &Options) -> (Reader, Writer) {
    let directory = tempfile::tempdir().unwrap();
    let name = format!("{}/n", directory.path().display());
    let (second, same) = (name.clone(), options.clone());
    let other = thread::spawn(move || join(&second, &same).unwrap());
    match (join(&name, options).unwrap(), other.join().unwrap()) {
        (Role::Reader(reader), Role::Writer(writer))
        | (Role::Writer(writer), Role::Reader(reader)) => (reader, writer),
        roles => panic!("{roles:?}"),
    }
}

fn send(reader: &Reader, text: &[u8]) {
    let mut block = reader.empty_block().unwrap();
    block[..text.len()].copy_from_slice(text);
    block.send(text.len(), 0).unwrap();
}

fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_millis(20))
}

fn wait(end: &dyn Waitable, interest: Interest, deadline: Option<Instant>) -> bool {
    !wait_any(&[(end, interest)], deadline).unwrap().is_empty()
}

#[test]
fn what_is_there_already_is_not_slept_for() {
    bounded(|| {
        let (reader, writer) = pair(&small());
        assert!(!reader.arm(Interest::BLOCKS).unwrap(), "all are empty");
        assert!(!reader.arm(Interest::ROOM).unwrap());
        assert!(writer.arm(Interest::BLOCKS).unwrap());
        writer.disarm().unwrap();
        send(&reader, b"water");
        assert!(!writer.arm(Interest::BLOCKS).unwrap());
        assert!(writer.arm(Interest::LETTERS).unwrap());
        writer.disarm().unwrap();
        reader.post(0, b"letter").unwrap();
        assert!(!writer.arm(Interest::LETTERS).unwrap());
        send(&reader, b"more");
        assert!(reader.arm(Interest::BLOCKS).unwrap(), "none is empty");
        reader.disarm().unwrap();
        drop(writer.data_block().unwrap());
        assert!(!reader.arm(Interest::BLOCKS).unwrap());
        assert!(reader.arm(Interest::VERDICT).unwrap());
    });
}

#[test]
fn each_thing_that_an_end_may_wait_for_wakes_it_and_nothing_else_does() {
    bounded(|| {
        let (reader, writer) = pair(&small());
        let all = Interest::BLOCKS | Interest::LETTERS;
        assert!(!wait(&writer, all, soon()));
        let until_woken = |interest| wait(&writer, interest, None);
        thread::scope(|scope| {
            let other = scope.spawn(move || {
                let pause = || thread::sleep(Duration::from_millis(20));
                pause();
                reader.post(7, b"letter").unwrap();
                pause();
                send(&reader, b"water");
                pause();
                for _ in 0..brigade::LETTERS {
                    reader.letter().unwrap().unwrap();
                }
                reader.close().unwrap();
                reader
            });
            // The letter is not what this waits for, but what comes after it.
            assert!(until_woken(Interest::BLOCKS));
            assert_eq!(&*writer.try_data_block().unwrap().unwrap(), b"water");
            assert!(until_woken(Interest::LETTERS));
            assert_eq!(writer.try_letter().unwrap().unwrap().kind, 7);
            while writer.try_post(0, b"").unwrap() {}
            assert!(until_woken(Interest::ROOM));
            assert!(until_woken(Interest::BLOCKS));
            assert!(writer.try_data_block().unwrap().is_none() && writer.at_end());
            let reader = other.join().unwrap();
            assert!(!wait(&reader, Interest::VERDICT, soon()));
            writer.finish().unwrap();
            assert!(wait(&reader, Interest::VERDICT, None));
            assert!(reader.try_verdict().unwrap().is_some());
        });
    });
}

#[test]
fn a_partner_that_gives_up_is_something_to_look_at_whatever_was_waited_for() {
    let interests = [
        Interest::BLOCKS,
        Interest::LETTERS,
        Interest::ROOM,
        Interest::VERDICT,
    ];
    for interest in interests {
        bounded(move || {
            let (reader, writer) = pair(&small());
            // So that neither an empty block nor room is there.
            while let Some(block) = reader.try_empty_block().unwrap() {
                block.send(0, 0).unwrap();
            }
            while reader.try_post(0, b"").unwrap() {}
            assert!(reader.arm(interest).unwrap());
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(20));
                writer.abort("enough");
            });
            assert!(wait(&reader, interest, None));
            let error = reader.try_empty_block().unwrap_err();
            assert!(matches!(error, Error::PartnerAborted { .. }), "{error:?}");
            // And it stays so.
            assert!(wait(&reader, interest, None));
        });
    }
}

#[test]
fn an_abort_in_this_process_ends_a_wait_for_several() {
    bounded(|| {
        let (reader, _writer) = pair(&small());
        let (_reader, writer) = pair(&small());
        let monitor = writer.monitor();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            monitor.abort("enough");
        });
        let ends: [(&dyn Waitable, Interest); 2] =
            [(&reader, Interest::LETTERS), (&writer, Interest::BLOCKS)];
        assert_eq!(wait_any(&ends, None).unwrap(), [1]);
        let error = writer.try_data_block().unwrap_err();
        assert!(matches!(error, Error::Aborted { .. }), "{error:?}");
    });
}

#[test]
fn one_wait_serves_many_sessions_and_says_which() {
    bounded(|| {
        const PAIRS: usize = 100;
        let (readers, writers): (Vec<_>, Vec<_>) = (0..PAIRS).map(|_| pair(&small())).unzip();
        let feeding = thread::spawn(move || {
            for round in 0..3 {
                for index in (0..PAIRS).map(|index| (index * 37 + round) % PAIRS) {
                    let text = (index as u64).to_le_bytes();
                    send(&readers[index], &text);
                }
            }
            for reader in &readers {
                reader.close().unwrap();
            }
            for reader in &readers {
                assert_eq!(reader.verdict().unwrap().blocks, 3);
            }
        });
        let mut open: Vec<usize> = (0..PAIRS).collect();
        while !open.is_empty() {
            let ends: Vec<(&dyn Waitable, Interest)> = open
                .iter()
                .map(|&index| (&writers[index] as _, Interest::BLOCKS))
                .collect();
            let ready = wait_any(&ends, None).unwrap();
            assert!(!ready.is_empty());
            for index in ready.into_iter().map(|place| open[place]) {
                let writer = &writers[index];
                let first = writer.try_data_block().unwrap();
                assert!(first.is_some() || writer.at_end(), "nothing to look at");
                if let Some(block) = first {
                    assert_eq!(*block, (index as u64).to_le_bytes());
                }
            }
            open.retain(|&index| !writers[index].at_end());
        }
        for writer in &writers {
            writer.finish().unwrap();
        }
        feeding.join().unwrap();
    });
}

#[test]
fn a_block_that_is_detached_once_its_end_is_armed_makes_the_handle_ready_when_it_comes_home() {
    bounded(|| {
        let (reader, writer) = pair(&Options::new().block_size(64).block_count(1));
        send(&reader, b"water");
        let block = writer.try_data_block().unwrap().unwrap();
        assert!(writer.arm(Interest::BLOCKS).unwrap());
        let block = block.detach();
        thread::spawn(move || drop(block)).join().unwrap();
        system::sleep_on(writer.handle().unwrap());
        writer.disarm().unwrap();
        // Given back by this.
        assert!(writer.try_data_block().unwrap().is_none());
        let block = reader.empty_block().unwrap();
        assert!(reader.arm(Interest::BLOCKS).unwrap());
        let block = block.detach();
        let sent = thread::spawn(move || block.send(1, 0));
        system::sleep_on(reader.handle().unwrap());
        reader.disarm().unwrap();
        assert!(reader.try_empty_block().unwrap().is_none());
        sent.join().unwrap().unwrap();
        assert_eq!(writer.data_block().unwrap().unwrap().len(), 1);
    });
}

#[test]
fn to_wait_for_nobody_returns_at_once() {
    assert!(wait_any(&[], None).unwrap().is_empty());
}

/// With nothing but the handle and the steps, as a reactor does it.
#[test]
fn a_loop_of_the_callers_own_over_the_handle_loses_nothing() {
    bounded(|| {
        const BLOCKS: u64 = 20_000;
        let (reader, writer) = pair(&small());
        let feeding = thread::spawn(move || {
            for number in 0..BLOCKS {
                let mut block = reader.empty_block().unwrap();
                block[..8].copy_from_slice(&number.to_le_bytes());
                block.send(8, 0).unwrap();
                if number % 1000 == 0 {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            reader.finish().unwrap();
        });
        let mut expected = 0;
        while !writer.at_end() {
            while let Some(block) = writer.try_data_block().unwrap() {
                assert_eq!(*block, u64::to_le_bytes(expected));
                expected += 1;
            }
            if !writer.at_end() && writer.arm(Interest::BLOCKS).unwrap() {
                system::sleep_on(writer.handle().unwrap());
                writer.disarm().unwrap();
            }
        }
        assert_eq!(expected, BLOCKS);
        writer.finish().unwrap();
        feeding.join().unwrap();
    });
}

#[cfg(unix)]
mod system {
    use rustix::event::{PollFd, PollFlags, poll};

    pub(super) fn sleep_on(handle: brigade::Handle<'_>) {
        let mut fds = [PollFd::from_borrowed_fd(handle, PollFlags::IN)];
        poll(&mut fds, None).unwrap();
    }
}

#[cfg(windows)]
mod system {
    #![allow(unsafe_code, reason = "the system's interface is all unsafe functions")]

    use std::os::windows::io::AsRawHandle;
    use windows_sys::Win32::System::Threading::{INFINITE, WaitForSingleObject};

    pub(super) fn sleep_on(handle: brigade::Handle<'_>) {
        // SAFETY: the handle is open as long as it is borrowed.
        let woken = unsafe { WaitForSingleObject(handle.as_raw_handle(), INFINITE) };
        assert_eq!(woken, 0);
    }
}

#[test]
fn a_wait_that_is_cut_short_returns_as_if_its_time_had_passed() {
    bounded(|| {
        let (reader, writer) = pair(&small());
        let monitor = writer.monitor();
        // Before it, and while it sleeps.
        monitor.cut_wait_short();
        assert!(matches!(writer.data_block(), Err(Error::TimedOut)));
        let waiting = thread::spawn(move || {
            let found = writer.data_block().map(|_| ());
            (writer, found)
        });
        thread::sleep(Duration::from_millis(50));
        monitor.cut_wait_short();
        let (writer, found) = waiting.join().unwrap();
        assert!(matches!(found, Err(Error::TimedOut)));
        // What is there, is found all the same; and nothing is left of it.
        monitor.cut_wait_short();
        send(&reader, b"water");
        assert_eq!(&*writer.data_block().unwrap().unwrap(), b"water");
        monitor.cut_wait_short();
        assert!(matches!(writer.letter(), Err(Error::TimedOut)));
        reader.close().unwrap();
        assert!(writer.data_block().unwrap().is_none());
    });
}

#[test]
fn one_wait_ends_with_whatever_several_wait_for() {
    bounded(|| {
        let (reader, writer) = pair(&small());
        let either = Interest::BLOCKS | Interest::LETTERS;
        let waited = writer.wait_until(either, soon());
        assert!(matches!(waited, Err(Error::TimedOut)));
        let writer = thread::scope(|threads| {
            let waiting = threads.spawn(move || {
                writer.wait_until(either, None).unwrap();
                writer
            });
            thread::sleep(Duration::from_millis(50));
            reader.post(1, b"a letter").unwrap();
            waiting.join().unwrap()
        });
        let waited = writer.wait_until(Interest::BLOCKS, soon());
        assert!(matches!(waited, Err(Error::TimedOut)));
        assert_eq!(writer.try_letter().unwrap().unwrap().bytes, b"a letter");
        send(&reader, b"water");
        writer.wait_until(either, None).unwrap();
        assert_eq!(&*writer.try_data_block().unwrap().unwrap(), b"water");
        drop(reader);
        // The caller's look says what has failed.
        writer.wait_until(either, None).unwrap();
        assert!(writer.try_data_block().is_err());
    });
}
