//! This build against another one: of another commit, say.

use std::process::Command;

use crate::Outcome;
use crate::figures::{median, quartiles, ratios};

/// What is measured, the size of a block, and how many of them: about a tenth of a
/// second each, so that a round is over before the machine has changed.
const CASES: [(&str, usize, u64); 7] = [
    ("brigade", 64, 2 << 20),
    ("brigade", 4 << 10, 1 << 20),
    ("brigade", 64 << 10, 64 << 10),
    ("brigade", 1 << 20, 4 << 10),
    ("turns-blocks", 0, 200_000),
    ("wake-blocks", 0, 50),
    ("wake-letters", 0, 50),
];

/// Prints how many times as long this build takes as the one at `path`.
pub fn compare(path: &str, rounds: usize) -> Outcome<()> {
    let ours = std::env::current_exe()?.display().to_string();
    println!(
        "{rounds} rounds, in turn: times of this build, of {path}; median of the ratios (quartiles)"
    );
    for (what, size, count) in CASES {
        match times([&ours, path], rounds, what, size, count) {
            Ok([ours, theirs]) => println!(
                "{what:>14} {size:>8}  {:>9.3} us  {:>9.3} us  {}",
                median(&ours) * 1e6,
                median(&theirs) * 1e6,
                quartiles(&ratios(&ours, &theirs))
            ),
            // A build may be too old to know it.
            Err(error) => println!("{what:>14} {size:>8}  {error}"),
        }
    }
    Ok(())
}

/// Of both builds, round by round.
fn times(
    builds: [&str; 2],
    rounds: usize,
    what: &str,
    size: usize,
    count: u64,
) -> Outcome<[Vec<f64>; 2]> {
    let mut times = [const { Vec::new() }; 2];
    for round in 0..rounds {
        // Who comes first has neither the better nor the worse of it.
        for build in [round % 2, 1 - round % 2] {
            times[build].push(run(builds[build], what, size, count)?);
        }
    }
    Ok(times)
}

/// The median of what a run of `program` measures, in seconds.
fn run(program: &str, what: &str, size: usize, count: u64) -> Outcome<f64> {
    let output = Command::new(program)
        .args(["measure", what, &size.to_string(), &count.to_string()])
        .output()?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{program} cannot measure {what}: {why}").into());
    }
    let seconds: Result<Vec<f64>, _> = str::from_utf8(&output.stdout)?
        .lines()
        .map(str::parse)
        .collect();
    Ok(median(&seconds?))
}
