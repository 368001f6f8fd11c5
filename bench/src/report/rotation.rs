//! Rivals that take turns, round by round.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, killpg};
use nix::sys::time::TimeValLike;
use nix::unistd::{Pid, syncfs};
use serde::Serialize;
use wait_timeout::ChildExt;

use crate::Outcome;

/// The longest that one run may take. None comes near, but on a very busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A limit that has moved by more than this factor within a round has made its ratios
/// worthless.
const MOVED: f64 = 1.5;

/// Runs of the limit, of which the best counts: others may have hindered one.
const LIMIT_RUNS: usize = 3;

/// How one figure of a run is to be shown.
#[derive(Clone, Copy, Serialize)]
pub enum Unit {
    Seconds,
    /// So many bytes took the seconds that the figure is.
    BytesPerSecond(usize),
}

#[derive(Clone, Serialize)]
pub struct Figure {
    pub name: &'static str,
    pub unit: Unit,
    /// Whether ratios of it are shown.
    pub is_compared: bool,
}

/// What is measured, and how.
pub enum Work {
    /// A program that is told how often, as the last argument, and prints seconds; `of`
    /// makes figures of them. With an `aim`, how often is what takes about so long.
    Counted {
        command: Vec<String>,
        count: u64,
        aim: Option<Aim>,
        of: fn(&[f64]) -> Vec<f64>,
    },
    /// A program that prints how many bytes a second.
    Rate { command: Vec<String>, bytes: usize },
    /// A command that is timed, `times` in a row, beginning without the files in `fresh`:
    /// wall time and processor time (all, user, system), for `share` of what is told. What
    /// others have left to be written is written before, and `cold` is not in the cache.
    Timed {
        command: Vec<String>,
        times: u32,
        share: f64,
        fresh: Vec<PathBuf>,
        cold: Vec<PathBuf>,
    },
}

/// How long a run takes, and how often what is counted happens at least: with less there is
/// more chance than speed in a figure.
pub struct Aim {
    pub takes: Duration,
    pub least: u64,
}

pub struct Rival {
    pub name: String,
    pub work: Work,
}

/// One comparison: rivals in rotation.
pub struct Case {
    pub name: String,
    pub figures: Vec<Figure>,
    /// The first is what the others are compared with.
    pub rivals: Vec<Rival>,
    /// Measured at the begin and at the end of each round: has the machine changed meanwhile?
    pub limit: Rival,
}

#[derive(Serialize)]
pub struct Round {
    pub limit_before: f64,
    pub limit_after: f64,
    /// As many as there are figures for each rival, or why there are none.
    pub measured: Vec<Result<Vec<f64>, String>>,
}

impl Round {
    /// Whether the machine was another one at the end.
    pub fn has_moved(&self) -> bool {
        let ratio = self.limit_after / self.limit_before;
        !(1.0 / MOVED..=MOVED).contains(&ratio)
    }
}

/// What came of a [`Case`].
#[derive(Serialize)]
pub struct Measured {
    pub name: String,
    pub figures: Vec<Figure>,
    pub rivals: Vec<String>,
    pub commands: Vec<String>,
    pub limit: String,
    pub rounds: Vec<Round>,
    /// Names, and why.
    pub skipped: Vec<(String, String)>,
}

/// How long to go on: for so many rounds, or until the time is over, but for at least
/// `least`.
#[derive(Clone, Copy)]
pub struct Pace {
    pub rounds: usize,
    pub least: usize,
    pub budget: Duration,
}

/// Measures the cases in turn, so that each meets the machine in all its moods.
pub fn rotate(
    cases: Vec<Case>,
    pace: Pace,
    mut tell: impl FnMut(String),
) -> Outcome<Vec<Measured>> {
    let mut running = Vec::new();
    for case in cases {
        tell(format!("{}: warming up", case.name));
        running.push(warm_up(case)?);
    }
    let start = Instant::now();
    for number in 0..pace.rounds {
        if number >= pace.least && start.elapsed() > pace.budget {
            break;
        }
        tell(format!("round {} of {}", number + 1, pace.rounds));
        for (case, measured) in &mut running {
            measured.rounds.push(round(case, number));
        }
    }
    Ok(running.into_iter().map(|(_, measured)| measured).collect())
}

/// One run of each, which does not count. Who cannot is skipped.
fn warm_up(mut case: Case) -> Outcome<(Case, Measured)> {
    case.limit.warm_up()?;
    let mut skipped = Vec::new();
    case.rivals.retain_mut(|rival| match rival.warm_up() {
        Ok(()) => true,
        Err(error) => {
            skipped.push((rival.name.clone(), error.to_string()));
            false
        }
    });
    let measured = Measured {
        name: case.name.clone(),
        figures: case.figures.clone(),
        rivals: case.rivals.iter().map(|rival| rival.name.clone()).collect(),
        commands: case.rivals.iter().map(|rival| rival.work.shown()).collect(),
        limit: case.limit.work.shown(),
        rounds: Vec::new(),
        skipped,
    };
    Ok((case, measured))
}

fn round(case: &mut Case, number: usize) -> Round {
    let limit_before = case.limit.least();
    let rivals = case.rivals.len();
    let mut measured: Vec<Result<Vec<f64>, String>> = vec![Err(String::new()); rivals];
    for index in order(number, rivals) {
        measured[index] = case.rivals[index]
            .measure()
            .map_err(|error| error.to_string());
    }
    Round {
        limit_before,
        limit_after: case.limit.least(),
        measured,
    }
}

/// Who comes when in round `number`: in twice as many rounds as there are `rivals`, each is at each
/// place, and comes after each other one, equally often (a Latin square after E. J. Williams, 1949, and its
/// mirror image). What one leaves behind, in caches or to be written, is not always the same one's loss.
fn order(number: usize, rivals: usize) -> Vec<usize> {
    // 0, 1, -1, 2, -2 ...
    let step = |turn: usize| match turn % 2 {
        0 => rivals - turn / 2,
        _ => turn.div_ceil(2),
    };
    let order = (0..rivals).map(|turn| (number + step(turn)) % rivals);
    match number / rivals % 2 {
        0 => order.collect(),
        _ => order.rev().collect(),
    }
}

impl Rival {
    /// Twice: the first time it is by a count that was guessed.
    fn warm_up(&mut self) -> Outcome<()> {
        self.measure()?;
        if matches!(self.work, Work::Counted { aim: Some(_), .. }) {
            self.measure()?;
        }
        Ok(())
    }

    /// For a limit: what can be reached now. A run that does not end in time took for ever.
    fn least(&mut self) -> f64 {
        let mut one = || self.measure().map_or(f64::INFINITY, |figures| figures[0]);
        (0..LIMIT_RUNS).map(|_| one()).fold(f64::INFINITY, f64::min)
    }

    fn measure(&mut self) -> Outcome<Vec<f64>> {
        let measured = self.work.measure();
        if let Work::Counted {
            count,
            aim: Some(aim),
            ..
        } = &mut self.work
        {
            // Where others work, too, a process that spins may be a thousand times slower than it
            // was a second before.
            let seconds = measured
                .as_ref()
                .map_or(f64::INFINITY, |figures| figures[0]);
            let wanted = (aim.takes.as_secs_f64() / seconds) as u64;
            *count = wanted.clamp(*count / 16, *count * 4).max(aim.least);
        }
        measured
    }
}

impl Work {
    /// The figures of one run.
    fn measure(&self) -> Outcome<Vec<f64>> {
        match self {
            Work::Counted {
                command, count, of, ..
            } => {
                let mut command = command.clone();
                command.push(count.to_string());
                let output = run(&command)?;
                let seconds: Result<Vec<f64>, _> = output.lines().map(str::parse).collect();
                match seconds?[..] {
                    [] => Err("it printed nothing".into()),
                    ref seconds => Ok(of(seconds)),
                }
            }
            Work::Rate { command, bytes } => {
                let rate: f64 = run(command)?.trim().parse()?;
                Ok(vec![*bytes as f64 / rate])
            }
            Work::Timed {
                command,
                times,
                share,
                fresh,
                cold,
            } => time(command, *times, *share, fresh, cold),
        }
    }
    /// The command, as one may type it.
    pub fn shown(&self) -> String {
        match self {
            Work::Counted { command, count, .. } => format!("{} {count}", quoted(command)),
            Work::Rate { command, .. } | Work::Timed { command, .. } => quoted(command),
        }
    }
}

fn time(
    command: &[String],
    times: u32,
    share: f64,
    fresh: &[PathBuf],
    cold: &[PathBuf],
) -> Outcome<Vec<f64>> {
    let mut sums = [0.0; 4];
    for _ in 0..times {
        for path in fresh {
            remove(path)?;
        }
        for path in cold {
            let file = File::open(path)?;
            posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        }
        let (user, system) = processor_time()?;
        let start = Instant::now();
        run(command)?;
        let wall = start.elapsed().as_secs_f64();
        let (user_after, system_after) = processor_time()?;
        let (user, system) = (user_after - user, system_after - system);
        for (sum, value) in sums.iter_mut().zip([wall, user + system, user, system]) {
            *sum += value;
        }
    }
    Ok(sums.map(|sum| sum / f64::from(times) / share).to_vec())
}

/// Removes the file `path`, and writes what its file system has not written yet.
fn remove(path: &Path) -> Outcome<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    Ok(syncfs(File::open(path.parent().unwrap_or(path))?)?)
}

/// What all child processes so far have taken, in seconds: as user, in the system.
fn processor_time() -> Outcome<(f64, f64)> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: nix::sys::time::TimeVal| time.num_microseconds() as f64 * 1e-6;
    Ok((seconds(usage.user_time()), seconds(usage.system_time())))
}

/// What `command` prints. It must not print much: that is read when it has ended.
fn run(command: &[String]) -> Outcome<String> {
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("{}: {error}", command[0]))?;
    let Some(status) = child.wait_timeout(PATIENCE)? else {
        // Its own children, too.
        killpg(Pid::from_raw(child.id().try_into()?), Signal::SIGKILL)?;
        child.wait()?;
        return Err(format!("not ready after {} s", PATIENCE.as_secs()).into());
    };
    let mut output = String::new();
    child
        .stdout
        .take()
        .ok_or("no output")?
        .read_to_string(&mut output)?;
    if status.success() {
        return Ok(output);
    }
    let mut complaint = String::new();
    child
        .stderr
        .take()
        .ok_or("no output")?
        .read_to_string(&mut complaint)?;
    Err(failure(status, &complaint).into())
}

/// The last line that a program said usually tells most.
fn failure(status: ExitStatus, complaint: &str) -> String {
    match complaint.trim().lines().last() {
        Some(line) => format!("{line} ({status})"),
        None => status.to_string(),
    }
}

fn quoted(command: &[String]) -> String {
    let words = command.iter().map(|word| match word.contains(' ') {
        true => format!("'{word}'"),
        false => word.clone(),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rival_is_at_each_place_and_after_each_other_one_equally_often() {
        for rivals in 1..=9 {
            let mut places = vec![0; rivals * rivals];
            let mut followed = vec![0; rivals * rivals];
            for number in 0..2 * rivals {
                let order = order(number, rivals);
                for (place, rival) in order.iter().enumerate() {
                    places[place * rivals + rival] += 1;
                }
                for pair in order.windows(2) {
                    followed[pair[0] * rivals + pair[1]] += 1;
                }
            }
            assert!(places.iter().all(|&times| times == 2), "{places:?}");
            let pairs = (0..rivals * rivals).filter(|pair| pair / rivals != pair % rivals);
            assert!(
                pairs.clone().all(|pair| followed[pair] == 2),
                "{followed:?}"
            );
        }
    }

    #[test]
    fn a_round_whose_limit_moved_by_more_than_half_is_told_from_others() {
        let moved = |before, after| {
            let round = Round {
                limit_before: before,
                limit_after: after,
                measured: Vec::new(),
            };
            round.has_moved()
        };
        assert!(!moved(1.0, 1.0));
        assert!(!moved(1.0, 1.4));
        assert!(!moved(1.4, 1.0));
        assert!(moved(1.0, 1.6));
        assert!(moved(1.6, 1.0));
    }
}
