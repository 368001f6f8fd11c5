//! The second process of --both.

use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Sender;

use crate::copy::half::Event;
use crate::failure::Failure;
use crate::request::endpoint::Endpoint;
use crate::request::plan::Plan;
use crate::sys;

/// Starts the Writer as the user would, and tells when it has ended.
pub(crate) fn start(plan: &Plan, events: &Sender<Event>) -> Result<(), Failure> {
    let program = sys::own_program().map_err(|error| {
        let way_out = "run the same command twice, without --both";
        Failure::io(
            "find the program of this process,",
            sys::OWN_PROGRAM.as_ref(),
            &error,
        )
        .remark(way_out)
    })?;
    let started = command(plan, program).spawn();
    let child = started.map_err(|error| Failure::system("start the second process", &error))?;
    let watched = wait_for(child, events.clone());
    watched.map_err(|error| Failure::system("start a thread", &error))?;
    let _ = events.send(Event::ChildStarted);
    Ok(())
}

fn command(plan: &Plan, mut command: Command) -> Command {
    command.args(["--as", "writer", "--started-by-both"]);
    match plan.json {
        true => command.arg("--json"),
        false => command.args(["--quiet", "--progress", "never"]),
    };
    command.arg(format!("--name={}", plan.name));
    command.args(plan.settings.words());
    command.arg("--");
    match &plan.destination {
        Some(Endpoint::Path(path)) => command.arg(path),
        _ => command.arg("-"),
    };
    command.stdin(Stdio::null());
    command
}

/// Left to itself if no thread can be had: it ends with the session.
fn wait_for(mut child: Child, events: Sender<Event>) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("child".into());
    let started = thread.spawn(move || {
        // Without a status it was ended from outside, or cannot be asked.
        let code = child.wait().ok().and_then(|status| status.code());
        let _ = events.send(Event::ChildEnded(code));
    });
    started.map(drop)
}
