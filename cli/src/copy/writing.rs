//! The Writer's half.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use brigade::Seat;

use crate::copy::child;
use crate::copy::half::{Event, missing};
use crate::copy::partners::Partners;
use crate::copy::supervise::what_is_kept;
use crate::failure::{Failure, Loss};
use crate::outcome::Report;
use crate::request::endpoint::Endpoint;
use crate::request::plan::Plan;
use crate::sys::{self, FollowLast};
use crate::writer::gate::CommitGate;
use crate::writer::receive::{Received, Receiving};

pub(super) fn write(
    plan: &Plan,
    gate: &Arc<CommitGate>,
    seat: Seat,
    events: &Sender<Event>,
    mut partners: Partners<'_>,
) -> Result<Report, Failure> {
    let place = plan
        .destination
        .as_ref()
        .ok_or_else(|| missing("DESTINATION"))?;
    // What is wrong with the directory should not wait for a partner.
    if let Err(failure) = check_directory(place) {
        seat.abort(&failure.message);
        return Err(failure);
    }
    if seat.is_first() {
        if plan.started_by_both {
            return Err(child::first_has_ended());
        }
        let _ = events.send(Event::Waiting);
    }
    let writer = seat.wait()?.into_writer();
    let mut writer = writer.ok_or_else(|| missing("role"))?;
    let started = Instant::now();
    let mut receiving = Receiving::new(plan, place, gate);
    loop {
        partners.met(&writer.monitor());
        let failure = match receiving.receive(&writer, |step| partners.step(step)) {
            Ok(received) => {
                // Nothing was changed, or the destination is complete: that stands,
                // whatever has become of the Reader since it was looked at last.
                let _ = writer.finish();
                return Ok(report(received, started));
            }
            Err(failure) => failure,
        };
        if !partners.may_go_on(&failure) {
            let failure = partners.end(failure);
            let failure = match gate.kept_bytes() {
                Some(bytes) => failure.remark(&what_is_kept(bytes)),
                None => failure,
            };
            writer.abort(&failure.message);
            return Err(failure);
        }
        let survivor = match failure.loss {
            Some(Loss::Unfit) => writer.dismiss(0, &partners.to_unfit(&failure)),
            _ => writer.into_survivor(),
        };
        let mut survivor = survivor.map_err(|_| failure.clone())?;
        writer = partners.next(failure, |options, seated| {
            survivor.rejoin_with(&plan.name, options, seated)
        })?;
    }
}

fn report(received: Received, started: Instant) -> Report {
    match received {
        Received::Kept(words) => Report::kept(words),
        Received::Whole(drained) => Report {
            bytes: drained.bytes,
            holes: drained.holes,
            before: drained.before,
            took: started.elapsed(),
            on_disk: drained.on_disk,
            digest: drained.digest,
            kept: None,
        },
    }
}

fn is_missing(directory: &Path) -> bool {
    let found = sys::resolve(directory, FollowLast::Yes);
    found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        && !directory.as_os_str().is_empty()
}

fn check_directory(place: &Endpoint) -> Result<(), Failure> {
    let Endpoint::Path(path) = place else {
        return Ok(());
    };
    let found = sys::resolve(path, FollowLast::Yes);
    let Err(error) = found else {
        return Ok(());
    };
    let failure = Failure::io("create", path, &error);
    Err(match path.parent() {
        // Not so if it is a link that leads nowhere.
        Some(directory)
            if error.kind() == std::io::ErrorKind::NotFound && is_missing(directory) =>
        {
            let command = sys::quoted(directory.as_os_str());
            failure.remark(&format!("its directory is missing: mkdir -p {command}"))
        }
        _ => failure,
    })
}
