//! brigade: a copy by two processes through shared memory.
//!
//! From what was typed ([`args`]) comes what is meant ([`plan`]); a thread of its
//! own does this process's half ([`halves`]) from a [`source`] or into a
//! [`destination`], while the main thread watches ([`supervise`]). What is asked of
//! the system goes through [`sys`].

mod args;
mod destination;
mod documents;
mod durable;
mod failure;
mod greeting;
mod halves;
mod metadata;
mod plan;
mod preserving;
mod progress;
mod rate;
mod reading;
mod settings;
mod source;
mod supervise;
mod sys;
mod wire;
mod writing;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, When};
use crate::plan::Plan;
use crate::supervise::Voice;

fn main() -> ExitCode {
    // Before there are threads.
    brigade::prepare();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return say_usage(&error),
    };
    if let Some(printed) = print_document(&args) {
        return printed;
    }
    let plan = match Plan::new(&args) {
        Ok(plan) => plan,
        Err(failure) => {
            failure::tell!("brigade: {failure}");
            return ExitCode::from(failure.code);
        }
    };
    let bar = match args.progress {
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
    };
    ExitCode::from(supervise::run(plan, voice))
}

/// The manual page or completions, if they were asked for.
fn print_document(args: &Args) -> Option<ExitCode> {
    let mut output = std::io::stdout().lock();
    let printed = match args.completions {
        _ if args.man => documents::man(&mut output),
        Some(shell) => documents::completions(shell, &mut output),
        None => return None,
    };
    let Err(error) = printed else {
        return Some(ExitCode::SUCCESS);
    };
    failure::tell!(
        "brigade: cannot write to standard output: {}",
        failure::reason(&error)
    );
    Some(ExitCode::from(failure::Status::Failed as u8))
}

/// Help and version as they are; an error in one line, like every other.
fn say_usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    // The first paragraph says what is wrong; the rest is advice and usage.
    let lines = text.lines().take_while(|line| !line.trim().is_empty());
    let what = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    let what = what.strip_prefix("error: ").unwrap_or(&what);
    failure::tell!("brigade: {what}; see --help");
    ExitCode::from(failure::Status::Usage as u8)
}
