//! How soon the other process knows: when it sleeps, and when it is awake and the two
//! take turns.

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::Outcome;
use crate::figures::{quantile, ratios, spread};
use crate::lines::{self, Message};
use crate::partner;

/// The rivals; a pipe is what the others are measured against. Sockets of this kind are
/// not everywhere.
const WAYS: &[&str] = match cfg!(unix) {
    true => &["pipe", "socket", "blocks", "both", "letters"],
    false => &["pipe", "blocks", "both", "letters"],
};

/// How long a partner has been asleep: long enough for its processor to be idle, too.
const ASLEEP: Duration = Duration::from_millis(2);

/// Messages to a sleeping partner in a round...
const WAKES: u64 = 200;
/// ...and turns taken by two that are awake.
const TURNS: u64 = 100_000;

/// What is measured, and by which way.
pub enum Case {
    /// One way, to a partner that sleeps.
    Wake(String),
    /// There and back, again and again.
    Turns(String),
}

impl Case {
    pub fn named(what: &str) -> Option<Case> {
        match what.split_once('-')? {
            ("wake", way) => Some(Case::Wake(way.to_owned())),
            ("turns", way) => Some(Case::Turns(way.to_owned())),
            _ => None,
        }
    }

    fn name(&self) -> String {
        match self {
            Case::Wake(way) => format!("wake-{way}"),
            Case::Turns(way) => format!("turns-{way}"),
        }
    }
}

pub fn table(rounds: usize) -> Outcome<()> {
    println!(
        "\none way to a partner asleep for 2 ms, {WAKES} times a round; median (least to most)"
    );
    println!(
        "{:>8}  {:>26}  {:>26}  {:>20}  {:>20}",
        "by", "p50", "p99", "p50/pipe", "p99/pipe"
    );
    let wakes = by_turns(rounds, WAKES, |way| Case::Wake(way.to_owned()))?;
    let of = |share| -> Vec<Vec<f64>> {
        let shares = |rounds: &Vec<Vec<f64>>| rounds.iter().map(|r| quantile(r, share)).collect();
        wakes.iter().map(shares).collect()
    };
    let (p50, p99) = (of(0.5), of(0.99));
    for (index, way) in WAYS.iter().enumerate() {
        println!(
            "{way:>8}  {:>26}  {:>26}  {:>20}  {:>20}",
            spread(&p50[index], 1e-6, " us"),
            spread(&p99[index], 1e-6, " us"),
            spread(&ratios(&p50[index], &p50[0]), 1.0, ""),
            spread(&ratios(&p99[index], &p99[0]), 1.0, "")
        );
    }

    println!("\nthere and back, {TURNS} times a round; median (least to most)");
    println!("{:>8}  {:>26}  {:>20}", "by", "a round trip", "of a pipe's");
    let turns = by_turns(rounds, TURNS, |way| Case::Turns(way.to_owned()))?;
    let turns: Vec<Vec<f64>> = turns.into_iter().map(|rounds| rounds.concat()).collect();
    for (index, way) in WAYS.iter().enumerate() {
        println!(
            "{way:>8}  {:>26}  {:>20}",
            spread(&turns[index], 1e-6, " us"),
            spread(&ratios(&turns[index], &turns[0]), 1.0, "")
        );
    }
    Ok(())
}

/// For each way, round by round, what was measured.
fn by_turns(rounds: usize, count: u64, case: impl Fn(&str) -> Case) -> Outcome<Vec<Vec<Vec<f64>>>> {
    let mut measured = vec![Vec::new(); WAYS.len()];
    for _ in 0..rounds {
        for (measured, way) in measured.iter_mut().zip(WAYS) {
            measured.push(measure(&case(way), count)?);
        }
    }
    Ok(measured)
}

/// Seconds: of each wake, or of a turn in the mean.
pub fn measure(case: &Case, count: u64) -> Outcome<Vec<f64>> {
    let (Case::Wake(way) | Case::Turns(way)) = case;
    let (mut line, child) = lines::parent(way, &case.name(), count)?;
    let mut seconds = Vec::new();
    match case {
        Case::Wake(_) => {
            for _ in 0..count {
                let said = line.hear()?;
                seconds.push(since(&said)?);
            }
        }
        Case::Turns(_) => {
            let first = line.hear()?;
            let start = Instant::now();
            line.say(&first)?;
            for _ in 1..count {
                let said = line.hear()?;
                line.say(&said)?;
            }
            seconds.push(start.elapsed().as_secs_f64() / (count - 1) as f64);
        }
    }
    line.end()?;
    partner::wait(child)?;
    Ok(seconds)
}

pub fn child(case: &Case, place: &str, count: u64) -> Outcome<()> {
    let (Case::Wake(way) | Case::Turns(way)) = case;
    let mut line = lines::child(way, place)?;
    for _ in 0..count {
        match case {
            Case::Wake(_) => {
                thread::sleep(ASLEEP);
                line.say(&stamp()?)?;
            }
            Case::Turns(_) => {
                line.say(&[7; size_of::<Message>()])?;
                line.hear()?;
            }
        }
    }
    line.end()
}

/// The time of day: the one clock of the standard library that two processes share.
fn now() -> Outcome<u64> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(since.as_nanos() as u64)
}

fn stamp() -> Outcome<Message> {
    let mut message = [0; size_of::<Message>()];
    message[..8].copy_from_slice(&now()?.to_ne_bytes());
    Ok(message)
}

fn since(stamp: &Message) -> Outcome<f64> {
    let said = u64::from_ne_bytes(stamp[..8].try_into()?);
    Ok(now()?.saturating_sub(said) as f64 * 1e-9)
}
