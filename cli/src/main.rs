//! brigade: a copy by two processes through shared memory.
//!
//! From what was typed ([`args`]) comes what is meant ([`plan`]); a thread of its
//! own does this process's half ([`halves`]) from a [`source`] or into a
//! [`destination`], while the main thread watches ([`supervise`]).

mod args;
mod destination;
mod durable;
mod failure;
mod greeting;
mod halves;
mod plan;
mod progress;
mod source;
mod supervise;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, When};
use crate::plan::Plan;
use crate::supervise::Voice;

fn main() -> ExitCode {
    // Exits with 2, and one line, if they make no sense.
    let args = Args::parse();
    let plan = match Plan::new(&args) {
        Ok(plan) => plan,
        Err(failure) => {
            eprintln!("brigade: {failure}");
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
