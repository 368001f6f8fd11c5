//! brigade: a copy by two processes through shared memory.
//!
//! From what was typed comes what is meant ([`request`]); a thread of its own does this
//! process's half ([`copy`]), as [`reader`] or as [`writer`], while the main thread
//! watches. The halves [`talk`]; what users hear of it is in [`tell`]. What is asked of
//! the system goes through [`sys`]. Nothing imports what imports it.

mod copy;
mod failure;
mod hashing;
mod metadata;
mod outcome;
mod rate;
mod reader;
mod request;
mod sys;
mod talk;
mod tell;
mod tree;
mod units;
mod visible;
mod writer;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;

use crate::copy::supervise::{self, Voice};
use crate::failure::{Exit, Failure};
use crate::request::args::{Args, When};
use crate::request::plan::Plan;
use crate::request::{manual, misuse};
use crate::tell::{output, status};

fn main() -> ExitCode {
    // Before there are threads.
    brigade::prepare();
    let umask = sys::umask();
    output::watch_panics();
    let ended = run(umask);
    output::drain();
    ended
}

/// Files that one process has open at most, with some to spare.
const OPEN_FILES: u64 = 32;

fn check_limits() -> Result<(), Failure> {
    match sys::open_files_max() {
        Some(max) if max < OPEN_FILES => Err(Failure::new(
            Exit::Failed,
            format!(
                "this process may have {max} files open (ulimit -n), and needs up to {OPEN_FILES}: \
                 run: ulimit -n {OPEN_FILES}"
            ),
        )),
        _ => Ok(()),
    }
}

fn run(umask: u32) -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return say_usage(&error),
    };
    output::start(args.json);
    if let Err(error) = sys::survive_limits() {
        return give_up(&Failure::system("watch for signals", &error));
    }
    if let Some(printed) = print_document(&args) {
        return printed;
    }
    if let Some(name) = &args.status {
        return end(status::run(name));
    }
    let plan = match check_limits().and_then(|()| Plan::new(&args, umask)) {
        Ok(plan) => plan,
        Err(failure) => return give_up(&failure),
    };
    let bar = match args.progress {
        _ if args.json => false,
        When::Auto => !args.quiet && std::io::stderr().is_terminal(),
        When::Always => true,
        When::Never => false,
    };
    let voice = Voice {
        quiet: args.quiet,
        verbose: args.verbose,
        bar,
        started_by_both: args.started_by_both,
        both: args.both,
        json: args.json,
    };
    ExitCode::from(supervise::run(plan, voice))
}

fn give_up(failure: &Failure) -> ExitCode {
    output::last_words(failure);
    ExitCode::from(failure.code)
}

fn end<T>(ended: Result<T, Failure>) -> ExitCode {
    match ended {
        Ok(_) => ExitCode::SUCCESS,
        Err(failure) => give_up(&failure),
    }
}

/// The manual page or completions, if they were asked for.
fn print_document(args: &Args) -> Option<ExitCode> {
    let mut text = Vec::new();
    let made = match args.completions {
        _ if args.man => manual::man(&mut text),
        Some(shell) => manual::completions(shell, &mut text),
        None => return None,
    };
    // It is made in memory, where nothing can fail.
    let text = made.map(|()| String::from_utf8_lossy(&text).into_owned());
    Some(end(output::print(&text.unwrap_or_default())))
}

/// Help and version, in colours where they can be seen.
fn print_help(error: &clap::Error) -> ExitCode {
    let text = error.render();
    let is_colourless = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let text = match std::io::stdout().is_terminal() && !is_colourless {
        true => text.ansi().to_string(),
        false => text.to_string(),
    };
    end(output::print(&text))
}

/// An error in one line, like every other.
fn say_usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return print_help(error);
    }
    // What was typed is not known as a whole, but perhaps by whom.
    output::start(std::env::args_os().any(|word| word == "--json"));
    give_up(&Failure::new(Exit::Usage, misuse::explain(error)))
}
