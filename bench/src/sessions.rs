//! Many sessions between the same two processes, in one thread of each.

use std::time::Instant;

use brigade::{Interest, Options, Reader, Waitable, Writer, wait_any};

use crate::Outcome;
use crate::partner;

/// What is measured, for each session.
#[derive(Clone, Copy)]
pub enum Case {
    /// A wait for a block in any of them, when there is none.
    Wait,
    /// A block sent in each, and taken by who waits for all.
    Round,
    /// A look for all sessions of the machine.
    Scan,
}

impl Case {
    pub fn named(what: &str) -> Option<Case> {
        match what {
            "sessions-wait" => Some(Case::Wait),
            "sessions-round" => Some(Case::Round),
            "sessions-scan" => Some(Case::Scan),
            _ => None,
        }
    }
}

fn options() -> Options {
    Options::new().block_size(64).block_count(2)
}

fn names(place: &str, sessions: usize) -> impl Iterator<Item = String> {
    (0..sessions).map(move |index| format!("{place}-{index}"))
}

/// Seconds for each session, `count` times.
pub fn measure(case: Case, what: &str, sessions: usize, count: u64) -> Outcome<Vec<f64>> {
    raise_limit()?;
    let place = partner::place();
    let child = partner::spawn(what, &place, sessions, count)?;
    let writers = names(&place, sessions).map(|name| partner::join_as_writer(&name, options()));
    let writers = writers.collect::<Outcome<Vec<Writer>>>()?;
    let one = || match case {
        Case::Wait => wait(&writers),
        Case::Round => round(&writers),
        Case::Scan => scan(sessions),
    };
    let seconds = (0..count).map(|_| {
        let start = Instant::now();
        one()?;
        Ok(start.elapsed().as_secs_f64() / sessions as f64)
    });
    let seconds = seconds.collect::<Outcome<Vec<f64>>>()?;
    writers[0].post(END, b"")?;
    for writer in &writers {
        assert!(writer.data_block()?.is_none());
        writer.finish()?;
    }
    partner::wait(child)?;
    Ok(seconds)
}

/// Kinds of letters to the child: another round, or no more.
const ROUND: u16 = 1;
const END: u16 = 2;

pub fn child(place: &str, sessions: usize) -> Outcome<()> {
    raise_limit()?;
    let readers = names(place, sessions).map(|name| partner::join_as_reader(&name, options()));
    let readers = readers.collect::<Outcome<Vec<Reader>>>()?;
    while readers[0].letter()?.ok_or("no letters any more")?.kind == ROUND {
        for reader in &readers {
            reader.empty_block()?.send(8, 0)?;
        }
    }
    for reader in &readers {
        reader.close()?;
    }
    for reader in &readers {
        reader.verdict()?;
    }
    Ok(())
}

fn wait(writers: &[Writer]) -> Outcome<()> {
    let ready = wait_any(&interests(writers), Some(Instant::now()))?;
    match ready.is_empty() {
        true => Ok(()),
        false => Err("nothing was sent, and something came".into()),
    }
}

fn round(writers: &[Writer]) -> Outcome<()> {
    writers[0].post(ROUND, b"")?;
    let ends = interests(writers);
    let mut taken = 0;
    while taken < writers.len() {
        for index in wait_any(&ends, None)? {
            while let Some(block) = writers[index].try_data_block()? {
                drop(block);
                taken += 1;
            }
        }
    }
    Ok(())
}

fn interests(writers: &[Writer]) -> Vec<(&dyn Waitable, Interest)> {
    let interest = |writer| (writer as &dyn Waitable, Interest::BLOCKS);
    writers.iter().map(interest).collect()
}

fn scan(sessions: usize) -> Outcome<()> {
    let found = brigade::sessions()?.len();
    match found >= sessions {
        true => Ok(()),
        false => Err(format!("{found} sessions were found of {sessions}").into()),
    }
}

/// Five descriptors a session at most.
#[cfg(unix)]
fn raise_limit() -> Outcome<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

#[cfg(not(unix))]
fn raise_limit() -> Outcome<()> {
    Ok(())
}
