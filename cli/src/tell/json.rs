//! What happens, for other programs: JSON as `docs/json.md` describes it.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::failure::Failure;
use crate::outcome::Report;
use crate::request::endpoint::Endpoint;
use crate::request::plan::Plan;
use crate::talk::agreement::{StartsOver, Step};
use crate::tell::progress::{Bottleneck, Progress, bottleneck, place_of};
use brigade::{Partner, Side};

/// An event of `kind` with `fields`, and when it was.
fn event(kind: &str, fields: Value) -> Value {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap_or_default().as_secs_f64();
    let mut event = json!({ "event": kind, "time": now });
    if let (Some(event), Value::Object(fields)) = (event.as_object_mut(), fields) {
        event.extend(fields);
    }
    event
}

pub(crate) fn start(plan: &Plan, both: bool) -> Value {
    let shown = |end: &Option<Endpoint>| end.as_ref().map(Endpoint::shown);
    event(
        "start",
        json!({
            "process": std::process::id(),
            "name": plan.name,
            "source": shown(&plan.source),
            "destination": shown(&plan.destination),
            "block_size": plan.settings.block_size,
            "blocks": plan.settings.blocks,
            "both": both,
        }),
    )
}

pub(crate) fn waiting(side: Side, partner_command: &str) -> Value {
    let fields = json!({ "role": role(side), "partner_command": partner_command });
    event("waiting", fields)
}

pub(crate) fn paired(side: Side, partner: Option<&Partner>, size: Option<u64>) -> Value {
    event(
        "paired",
        json!({
            "role": role(side),
            "partner_process": partner.map(Partner::process_id),
            "size": size,
        }),
    )
}

/// The partner died, and its place is held: for who types `command`, or another process that
/// is started without.
pub(crate) fn lost(
    lost: Side,
    process: Option<u32>,
    wait: Duration,
    command: Option<&str>,
) -> Value {
    let fields = json!({
        "role": role(lost),
        "process": process,
        "wait_seconds": seconds(wait),
        "command": command,
    });
    event("lost", fields)
}

/// A process has taken the place of one that died: another one, or this one.
pub(crate) fn taken_over(taken: Side, process: Option<u32>, number: u64, offset: u64) -> Value {
    let fields = json!({
        "role": role(taken),
        "process": process,
        "partners": number,
        "goes_on_at": offset,
    });
    event("taken_over", fields)
}

/// Where the copy begins; `None` for what is no such step.
pub(crate) fn begins(step: Step) -> Option<Value> {
    let (offset, because, unused) = match step {
        Step::GoesOn { offset } => (offset, None, None),
        Step::StartsOver(why) => (0, Some(why), None),
        Step::Unused { bytes } => (0, None, Some(bytes)),
        Step::Asked { .. } | Step::Answered { .. } => return None,
    };
    let fields = json!({
        "offset": offset,
        "starts_over": because,
        "message": because.map(StartsOver::words),
        "unused": unused,
    });
    Some(event("resume", fields))
}

pub(crate) fn progress(progress: &Progress, bytes_per_second: f64) -> Value {
    let mut fields = figures(progress);
    fields["bytes_per_second"] = (bytes_per_second.round() as u64).into();
    event("progress", fields)
}

/// Also those of a session that is seen from outside.
pub(crate) fn figures(progress: &Progress) -> Value {
    json!({
        "elapsed": seconds(progress.elapsed),
        "size": progress.size,
        "read": progress.read,
        "holes": progress.holes,
        "written": progress.written,
        "done": progress.done,
        "verified": progress.verified(),
        "blocks_full": progress.blocks_full,
        "blocks": progress.blocks,
        "reader_waited": seconds(progress.reader_waited),
        "writer_waited": seconds(progress.writer_waited),
    })
}

pub(crate) fn status(fields: Value) -> Value {
    event("status", fields)
}

pub(crate) fn warning(text: &str) -> Value {
    event("warning", json!({ "message": text }))
}

pub(crate) fn done(report: &Report, progress: &Progress) -> Value {
    let bottleneck = bottleneck(report, progress).map(|found| match found {
        Bottleneck::Limit => "limit",
        Bottleneck::Half(side, _) => place_of(side),
    });
    event(
        "end",
        json!({
            "exit": 0,
            "message": report.kept,
            "kept": report.kept.is_some(),
            "bytes": report.bytes,
            "before": report.before,
            "holes": report.holes,
            "took": seconds(report.took),
            "alone": seconds(progress.alone),
            "bytes_per_second": report.rate().round() as u64,
            "on_disk": report.on_disk,
            "blake3": report.digest.map(|digest| blake3::Hash::from(digest).to_string()),
            "reader_waited": seconds(progress.reader_waited),
            "writer_waited": seconds(progress.writer_waited),
            "bottleneck": bottleneck,
        }),
    )
}

pub(crate) fn failed(failure: &Failure, code: u8) -> Value {
    event("end", json!({ "exit": code, "message": failure.message }))
}

fn role(side: Side) -> String {
    side.to_string()
}

/// To the millisecond.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}
