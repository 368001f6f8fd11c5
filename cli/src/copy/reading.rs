//! The Reader's half.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Sender;
use std::time::Instant;

use brigade::{Reader, Seat, Unreturned, at_step};

use crate::copy::child::Word;
use crate::copy::half::{Event, JOIN_IT, missing};
use crate::copy::partners::Partners;
use crate::failure::{Exit, Failure, Loss};
use crate::outcome::Report;
use crate::reader::pump::{Filled, Pump};
use crate::reader::source::Source;
use crate::request::endpoint::Endpoint;
use crate::request::plan::Plan;
use crate::request::settings::Preserve;
use crate::talk::agreement::{self, Answer, Because, Begin, Step};
use crate::talk::source_facts::{GoesOn, SourceFacts};
use crate::talk::wire;

pub(super) fn read(
    plan: &Plan,
    word: Option<Result<Word, Failure>>,
    seat: Seat,
    events: &Sender<Event>,
    mut partners: Partners<'_>,
) -> Result<Report, Failure> {
    let place = plan.source.as_ref().ok_or_else(|| missing("SOURCE"))?;
    if let Err(failure) = prepare(plan, place, word, &seat, events) {
        seat.abort(&failure.message);
        return Err(failure);
    }
    let reader = seat.wait()?.into_reader();
    let mut reader = reader.ok_or_else(|| missing("role"))?;
    let started = Instant::now();
    let mut sending = Sending::new(plan, place);
    loop {
        let is_lost = partners.met(&reader.monitor());
        let sent = sending.send(&reader, &partners, &is_lost);
        let failure = match sent.and_then(|sent| end(sent, started, &reader, events)) {
            Ok(report) => return Ok(report),
            Err(failure) => failure,
        };
        if !partners.may_go_on(&failure) {
            let failure = partners.end(failure);
            // The partner's own failure is no news to it, and this does nothing.
            reader.abort(&failure.message);
            return Err(sending.last_words(failure));
        }
        let unreturned = match failure.loss {
            Some(Loss::Unfit) => reader.dismiss(0, &partners.to_unfit(&failure)),
            _ => reader.into_unreturned(),
        };
        let mut unreturned = unreturned.map_err(|_| sending.last_words(failure.clone()))?;
        sending.take_back(&mut unreturned, partners.has_agreed())?;
        let next = partners.next(failure, |options, seated| {
            unreturned.rejoin_with(&plan.name, options, seated)
        });
        reader = next.map_err(|failure| sending.last_words(failure))?;
    }
}

/// What need not wait for the partner, above all what is wrong with the source.
fn prepare(
    plan: &Plan,
    place: &Endpoint,
    word: Option<Result<Word, Failure>>,
    seat: &Seat,
    events: &Sender<Event>,
) -> Result<(), Failure> {
    // It is opened anew when the Writer is there: it may be another one by then.
    let source = Source::open_at_once(place)?;
    if plan.settings.resume {
        let facts = source.as_ref().map(Source::facts).unwrap_or_default();
        facts.check_resumable(&plan.source_words())?;
    }
    if let Some(word) = word {
        if !seat.is_first() {
            let message = format!("the writer is at this copy already; {JOIN_IT}");
            return Err(Failure::new(Exit::Failed, message));
        }
        word?.tell();
    } else if seat.is_first() {
        if plan.started_by_both {
            let message = "the writer ended before this process took the reader's place";
            return Err(Failure::new(Exit::Partner, message).reported());
        }
        let _ = events.send(Event::Waiting);
    }
    Ok(())
}

/// What was sent once the Writer had decided.
enum Sent {
    Whole(Filled),
    /// The destination is kept: what the user gets to hear of it.
    Nothing(String),
}

/// Says that nothing more will come, and waits for the verdict.
fn end(
    sent: Sent,
    started: Instant,
    reader: &Reader,
    events: &Sender<Event>,
) -> Result<Report, Failure> {
    at_step("all sent");
    let monitor = reader.monitor();
    monitor.set_figure(wire::ALL_READ, wire::ALL_SENT);
    let filled = match sent {
        Sent::Whole(filled) => filled,
        Sent::Nothing(words) => {
            reader.finish()?;
            agreement::check_that_no_more_was_answered(reader)?;
            return Ok(Report::kept(words));
        }
    };
    let _ = events.send(Event::AllSent);
    reader.finish()?;
    agreement::check_that_no_more_was_answered(reader)?;
    Ok(Report {
        bytes: filled.bytes,
        holes: filled.holes,
        before: filled.before,
        took: started.elapsed(),
        on_disk: monitor.partner_figures()[wire::ALL_ON_DISK] != 0,
        digest: filled.digest,
        kept: None,
    })
}

/// What a Reader can tell that has no verdict, though it has sent everything.
pub(super) fn may_be_complete(plan: &Plan) -> String {
    format!(
        "everything was sent, so the writer may still complete the copy: \
         look at {} and at the writer's exit status",
        plan.destination_words()
    )
}

/// A source on its way, to one Writer after the other.
struct Sending<'p> {
    plan: &'p Plan,
    place: &'p Endpoint,
    /// Once the copy has begun.
    begun: Option<Begun<'p>>,
}

struct Begun<'p> {
    facts: SourceFacts,
    /// Until it is needed no more: an open file is in the way where its other name is to be
    /// replaced, on some systems.
    source: Option<Source>,
    pump: Pump<'p>,
    /// What a Reader before this one has sent was read again, as far as is needed.
    is_at_offset: bool,
    /// What the last Writer answered that agreed.
    begin: Begin,
    /// The first byte that is not known to be written.
    offset: u64,
    /// A Writer that died had given back all, and heard of the end.
    all: bool,
    /// A Writer that died had completed the copy.
    is_complete: bool,
}

impl<'p> Sending<'p> {
    fn new(plan: &'p Plan, place: &'p Endpoint) -> Sending<'p> {
        Sending {
            plan,
            place,
            begun: None,
        }
    }

    /// Tells what the source is, and sends it if the copy shall begin, or go on.
    fn send(
        &mut self,
        reader: &Reader,
        partners: &Partners<'_>,
        is_lost: &Arc<AtomicBool>,
    ) -> Result<Sent, Failure> {
        agreement::check_version(reader.partner()).map_err(Failure::unfit)?;
        let answered = match &mut self.begun {
            Some(begun) => {
                begun.check_unchanged(self.plan)?;
                begun.ask_again(reader, partners)?
            }
            None => self.ask(reader, partners)?,
        };
        if let Some(words) = answered {
            return Ok(Sent::Nothing(words));
        }
        let Some(begun) = &mut self.begun else {
            return Err(missing("source"));
        };
        if let Some(filled) = begun.pump.filled().filter(|_| begun.is_complete) {
            return Ok(Sent::Whole(filled));
        }
        let Some(source) = &mut begun.source else {
            return Err(missing("source"));
        };
        if !begun.is_at_offset {
            begun.pump.begin(source, &begun.begin, reader)?;
            begun.is_at_offset = true;
        }
        let takeover = self.plan.settings.takeover.is_some();
        if takeover {
            source.heed(is_lost);
        }
        begun.pump.fill(source, reader)?;
        if !takeover {
            begun.source = None;
        }
        let filled = begun.pump.filled();
        filled.map(Sent::Whole).ok_or_else(|| missing("end"))
    }

    /// Asks the first Writer that answers. What the user gets to hear if the destination is
    /// kept.
    fn ask(&mut self, reader: &Reader, partners: &Partners<'_>) -> Result<Option<String>, Failure> {
        let (plan, settings) = (self.plan, &self.plan.settings);
        let opened = Source::open_at_once(self.place)?;
        let mut facts = SourceFacts {
            digest: settings.verify,
            metadata: settings.preserve != Preserve::default(),
            attributes: settings.preserve.xattr,
            subtrees: settings.is_hashed() && (settings.takeover.is_some() || settings.resume),
            for_writer: settings
                .savers(true)
                .into_iter()
                .map(str::to_owned)
                .collect(),
            options: Some(settings.mark()),
            ..opened.as_ref().map(Source::facts).unwrap_or_default()
        };
        // One that is cut meanwhile is taken as it is then.
        facts.whole &= !settings.allow_changes;
        if settings.resume {
            facts.check_resumable(&plan.source_words())?;
        }
        let expected = settings.expected;
        expected.check_told(&plan.source_words(), facts.size)?;
        facts.size = facts.size.or(expected.size);
        partners.step(Step::Asked { size: facts.size });
        let answer = agreement::ask(reader, &facts).map_err(Failure::unfit)?;
        at_step("answer heard");
        partners.step(answered(&answer));
        let begin = match answer {
            Answer::Begin(begin) => begin,
            Answer::Keep {
                because,
                destination,
            } => {
                if let (Because::SourceIsNotNewer, Some(source)) = (because, &opened) {
                    // It may be newer than what was told.
                    source.check_unchanged()?;
                }
                return Ok(Some(because.words(&destination)));
            }
        };
        let mut source = match opened {
            Some(source) => source,
            None => Source::open(self.place)?,
        };
        let mut pump = Pump::new(plan, &mut source, facts.subtrees)?;
        // Another Writer finds what an earlier copy has left as this one did, and is asked as
        // this one was. What a Reader that died has sent is known from here on.
        let is_at_offset = begin.resumes;
        let offset = match is_at_offset {
            true => {
                pump.begin(&mut source, &begin, reader)?;
                pump.sent()
            }
            false => begin.offset,
        };
        begin.steps(offset).for_each(|step| partners.step(step));
        self.begun = Some(Begun {
            facts,
            source: Some(source),
            pump,
            is_at_offset,
            offset,
            begin,
            all: false,
            is_complete: false,
        });
        Ok(None)
    }

    /// What the Writer had not given back is sent again, but for what is told at the end:
    /// that is told anew.
    fn take_back(&mut self, unreturned: &mut Unreturned, had_agreed: bool) -> Result<(), Failure> {
        let all = unreturned.is_closed() && unreturned.is_empty();
        let mut bytes = 0;
        unreturned.retain(|label, block| {
            bytes += match label.kind {
                wire::DATA => block.len() as u64,
                wire::HOLE => label.tag,
                _ => return false,
            };
            true
        });
        unreturned.reopen();
        let Some(begun) = &mut self.begun else {
            return Ok(());
        };
        let offset = match begun.is_at_offset {
            true => begun.pump.sent() - bytes,
            false => begun.offset,
        };
        if !had_agreed && offset != begun.offset {
            let message = "a process that came in the writer's place took data and did not agree";
            return Err(Failure::new(Exit::Partner, message));
        }
        begun.offset = offset;
        // One that did not go on changed nothing of that.
        begun.all = all || begun.all && (begun.is_complete || !had_agreed);
        Ok(())
    }

    /// The same, for a copy that may be complete all the same.
    fn last_words(&self, failure: Failure) -> Failure {
        let begun = self.begun.as_ref();
        let all_sent = begun.is_some_and(|begun| begun.pump.filled().is_some());
        match all_sent && failure.loss != Some(Loss::GaveUp) && !failure.already_reported {
            true => failure.remark(&may_be_complete(self.plan)),
            false => failure,
        }
    }
}

fn answered(answer: &Answer) -> Step {
    match answer {
        Answer::Begin(begin) => Step::Answered {
            begins: true,
            offset: begin.known_offset(),
            can_be_replaced: begin.partial.is_some(),
            keeps: begin.journal,
        },
        Answer::Keep { .. } => Step::Answered {
            begins: false,
            offset: 0,
            can_be_replaced: true,
            keeps: false,
        },
    }
}

impl Begun<'_> {
    /// What would be found at the end need not be copied before.
    fn check_unchanged(&self, plan: &Plan) -> Result<(), Failure> {
        match &self.source {
            Some(source) if self.pump.filled().is_none() && !plan.settings.allow_changes => {
                source.check_unchanged()
            }
            _ => Ok(()),
        }
    }

    /// Asks a Writer that is to go on where another one died.
    fn ask_again(
        &mut self,
        reader: &Reader,
        partners: &Partners<'_>,
    ) -> Result<Option<String>, Failure> {
        let facts = SourceFacts {
            goes_on: Some(GoesOn {
                offset: self.offset,
                partial: self.begin.partial,
                old: self.begin.old,
                options: self.begin.options.clone(),
                all: self.all,
            }),
            ..self.facts.clone()
        };
        partners.step(Step::Asked { size: facts.size });
        let answer = agreement::ask(reader, &facts).map_err(Failure::unfit)?;
        at_step("answer heard");
        let is_fit = match &answer {
            Answer::Begin(begin) => begin.offset == self.offset && !begin.resumes,
            Answer::Keep { because, .. } => {
                *because == Because::ItIsComplete && self.pump.filled().is_some()
            }
        };
        if !is_fit {
            let message = "the writer sent an answer that does not fit what was copied so far";
            return Err(Failure::new(Exit::Partner, message).unfit());
        }
        partners.step(answered(&answer));
        // By this Writer's word, whatever the one before it said.
        self.is_complete = matches!(answer, Answer::Keep { .. });
        if let Answer::Begin(begin) = answer {
            // What the Reader before this one has told, who came later cannot know.
            let known = self.begin.begun.take().filter(|_| !self.is_at_offset);
            self.begin = begin;
            self.begin.begun = self.begin.begun.take().or(known);
        }
        Ok(None)
    }
}
