//! `--status`: the copies of this user, as a third process sees them that only looks.

use std::time::{Duration, Instant};

use brigade::{Member, Session, Side};
use serde_json::{Value, json};

use crate::failure::{Exit, Failure};
use crate::talk::greeting::Greeting;
use crate::tell::json as event;
use crate::tell::output::{self, Listener};
use crate::tell::progress::Progress;
use crate::units::bytes;

/// A rate takes two looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// How often a copy is looked at that is followed.
const EVERY: Duration = Duration::from_secs(1);

/// One copy, at one moment.
struct Seen {
    name: String,
    reader: Option<u32>,
    writer: Option<u32>,
    source: String,
    destination: String,
    /// Whose place is held for another process.
    lost: Option<Side>,
    progress: Progress,
    at: Instant,
}

/// Lists all, or follows that of `name` until it ends.
pub(crate) fn run(name: &str) -> Result<(), Failure> {
    match name {
        "" => list(),
        name => follow(name),
    }
}

fn list() -> Result<(), Failure> {
    let before = look()?;
    if !before.is_empty() {
        std::thread::sleep(BETWEEN_LOOKS);
    }
    let now = look()?;
    if now.is_empty() && !output::is_json() {
        output::print_lines(&["brigade: no copy of this user is running".to_owned()])?;
    }
    for seen in &now {
        let earlier = before.iter().find(|earlier| earlier.is_same(seen));
        if seen.print(earlier)? == Listener::IsGone {
            break;
        }
    }
    Ok(())
}

fn follow(name: &str) -> Result<(), Failure> {
    let find = || -> Result<Option<Seen>, Failure> {
        Ok(look()?.into_iter().find(|seen| seen.name == name))
    };
    let Some(mut earlier) = find()? else {
        let message = format!("no copy named {name} is running; --status without a name lists all");
        return Err(Failure::new(Exit::NoPartner, message));
    };
    let mut listener = earlier.print(None)?;
    while listener == Listener::Listens {
        std::thread::sleep(EVERY);
        let Some(seen) = find()?.filter(|seen| seen.is_same(&earlier)) else {
            return Ok(());
        };
        listener = seen.print(Some(&earlier))?;
        earlier = seen;
    }
    Ok(())
}

fn look() -> Result<Vec<Seen>, Failure> {
    let sessions = brigade::sessions()?;
    let mut seen: Vec<Seen> = sessions.iter().filter_map(Seen::of).collect();
    seen.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(seen)
}

impl Seen {
    /// `None` if it is another program's.
    fn of(session: &Session) -> Option<Seen> {
        let greeting = |member: Option<&Member>| {
            member.map_or_else(Greeting::default, |member| {
                Greeting::decode(member.greeting())
            })
        };
        let figures = |member: Option<&Member>| member.map(Member::figures).unwrap_or_default();
        let (reader, writer) = (session.reader(), session.writer());
        let (fills, drains) = (greeting(reader), greeting(writer));
        // While one is missing, only the other knows how far they were.
        let so_far = match (reader, writer) {
            (Some(_), Some(_)) => None,
            _ => fills.so_far.or(drains.so_far),
        };
        let progress = match so_far {
            Some(so_far) => Progress::of_so_far(so_far),
            None => Progress::of_figures(figures(reader), figures(writer)),
        };
        Some(Seen {
            name: fills.session.or(drains.session)?,
            reader: reader.map(Member::process_id),
            writer: writer.map(Member::process_id),
            source: fills.source.or(drains.source).unwrap_or("?".to_owned()),
            destination: drains
                .destination
                .or(fills.destination)
                .unwrap_or("?".to_owned()),
            lost: fills.lost.or(drains.lost),
            progress: Progress {
                size: fills.size.or(drains.size),
                blocks_full: session.blocks_under_way(),
                blocks: session.block_count() as u64,
                ..progress
            },
            at: Instant::now(),
        })
    }

    fn is_same(&self, other: &Seen) -> bool {
        self.name == other.name
            && [self.reader, self.writer]
                .iter()
                .zip([other.reader, other.writer])
                .any(|(one, other)| one.is_some() && *one == other)
    }

    fn print(&self, earlier: Option<&Seen>) -> Result<Listener, Failure> {
        let rate = earlier.map(|earlier| {
            let passed = (self.at - earlier.at).as_secs_f64().max(1e-9);
            (self.progress.read.saturating_sub(earlier.progress.read) as f64 / passed) as u64
        });
        match output::is_json() {
            true => output::print_event(&event::status(self.to_json(rate))),
            false => output::print_lines(&self.to_text(rate)),
        }
    }

    fn to_json(&self, rate: Option<u64>) -> Value {
        let mut fields = event::figures(&self.progress);
        if let Some(fields) = fields.as_object_mut() {
            // When it began is not told.
            fields.remove("elapsed");
        }
        fields["name"] = json!(self.name);
        fields["reader_process"] = json!(self.reader);
        fields["writer_process"] = json!(self.writer);
        fields["waiting_for_new"] = json!(self.waits_for_new().map(|side| side.to_string()));
        fields["source"] = json!(self.source);
        fields["destination"] = json!(self.destination);
        fields["bytes_per_second"] = json!(rate);
        fields
    }

    /// The half that died, if nobody has its place yet.
    fn waits_for_new(&self) -> Option<Side> {
        let is_empty = |side: &Side| match side {
            Side::Reader => self.reader.is_none(),
            Side::Writer => self.writer.is_none(),
        };
        self.lost.filter(is_empty)
    }

    fn to_text(&self, rate: Option<u64>) -> Vec<String> {
        let process = |side: Side, id: Option<u32>| match id {
            Some(id) => id.to_string(),
            None if self.lost == Some(side) => "died".to_owned(),
            // Another user's cannot be seen.
            None => "not there yet, or another user's".to_owned(),
        };
        let mut who = format!(
            "{}: {} -> {} (reader {}, writer {})",
            self.name,
            self.source,
            self.destination,
            process(Side::Reader, self.reader),
            process(Side::Writer, self.writer)
        );
        if let Some(side) = self.waits_for_new() {
            who += &format!(", waiting for a new {side}");
        }
        let progress = &self.progress;
        let is_complete = self.reader.is_some() && self.writer.is_some();
        if !is_complete && self.waits_for_new().is_none() {
            return vec![who];
        }
        let size = progress
            .size
            .map_or(String::new(), |size| format!(" of {}", bytes(size)));
        let rate = rate.map_or(String::new(), |rate| format!(", {}/s", bytes(rate)));
        let verified = match progress.verified() {
            0 => String::new(),
            verified => format!(", verified {}", bytes(verified)),
        };
        let figures = format!(
            "  read {}, done {}{size}{verified}{rate}, {} of {} blocks full",
            bytes(progress.read),
            bytes(progress.done),
            progress.blocks_full,
            progress.blocks
        );
        vec![who, figures]
    }
}
