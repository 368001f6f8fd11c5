//! The Writer's half of the conversation: it hears what the source is, decides, and takes
//! all that comes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use brigade::{Error, Partner, Writer, at_step};

use crate::failure::{Exit, Failure};
use crate::request::endpoint::Endpoint;
use crate::request::plan::Plan;
use crate::request::settings::{Preserve, Settings};
use crate::talk::agreement::{self, Answer, Because, Begin, Step};
use crate::talk::greeting::Greeting;
use crate::talk::pieces::unexpected;
use crate::talk::source_facts::{GoesOn, SourceFacts};
use crate::talk::trailer::{Trailer, started_with, started_without};
use crate::talk::wire;
use crate::visible;
use crate::writer::destination::Destination;
use crate::writer::gate::CommitGate;
use crate::writer::partial::Left;
use crate::writer::resume::{self, Resuming};
use crate::writer::rights::NewMode;
use crate::writer::sink::{self, Drained, Sink};
use crate::writer::skip_rule::SkipRule;
use crate::writer::target::{SourceSize, Target};

/// Permissions that a new file is asked for with, if the source says none.
const DEFAULT_MODE: u32 = 0o666;

/// What became of a destination.
pub(crate) enum Received {
    /// It stays as it is, as was asked for: what the user gets to hear.
    Kept(String),
    Whole(Drained),
}

/// A Writer's half of a copy, with one Reader after the other, if these die.
pub(crate) struct Receiving<'p> {
    plan: &'p Plan,
    place: &'p Endpoint,
    gate: &'p Arc<CommitGate>,
    /// Once it was decided that the copy begins: what the first Reader told of the source
    /// that something was written of.
    begun: Option<(SourceFacts, Sink<'p>)>,
    /// Which Reader that was.
    first: Option<Partner>,
}

impl<'p> Receiving<'p> {
    pub(crate) fn new(plan: &'p Plan, place: &'p Endpoint, gate: &'p Arc<CommitGate>) -> Self {
        Receiving {
            plan,
            place,
            gate,
            begun: None,
            first: None,
        }
    }

    /// Agrees with the Reader on whether the copy begins, writes all that comes, and makes
    /// it the destination. `tell` gets to know how far they have come to agree. If it fails
    /// because the Reader is lost, it can be called again with another one.
    pub(crate) fn receive(
        &mut self,
        writer: &Writer,
        tell: impl Fn(Step),
    ) -> Result<Received, Failure> {
        let received = self.receive_all(writer, tell);
        if received.is_err() {
            // The next Reader may be another one, and its source, too.
            self.begun.take_if(|(_, sink)| sink.is_empty());
        }
        received
    }

    fn receive_all(&mut self, writer: &Writer, tell: impl Fn(Step)) -> Result<Received, Failure> {
        agreement::check_version(writer.partner()).map_err(Failure::unfit)?;
        let facts = agreement::hear(writer).map_err(Failure::unfit)?;
        at_step("question heard");
        if let Some((first, _)) = &self.begun {
            self.check_same_user(writer).map_err(Failure::unfit)?;
            check_same_source(first, &facts)?;
            check_options(&self.plan.settings, &facts).map_err(Failure::unfit)?;
        }
        tell(Step::Asked {
            size: facts.size.or(self.plan.settings.expected.size),
        });
        if self.plan.settings.resume {
            facts.check_resumable(sink::SOURCE)?;
        }
        let begin = match &mut self.begun {
            Some((_, sink)) => sink.meet(writer),
            None => match self.begin(writer, &facts)? {
                Ok(begin) => begin,
                Err((because, path)) => {
                    if because == Because::ItIsComplete && self.plan.settings.sync {
                        writer.monitor().set_figure(wire::ALL_ON_DISK, 1);
                    }
                    return keep(writer, &facts, because, &path, tell);
                }
            },
        };
        let told = begin.clone();
        agreement::answer(writer, Answer::Begin(begin))?;
        tell(Step::Answered {
            begins: true,
            offset: told.known_offset(),
            can_be_replaced: facts.identity.is_some() && facts.size.is_some(),
            keeps: told.journal,
        });
        let offset = match told.resumes {
            true => agreement::hear_where(writer, told.offset)?,
            false => told.offset,
        };
        if let Some((_, sink)) = &mut self.begun {
            sink.begin_at(offset)?;
        }
        told.steps(offset).for_each(tell);
        self.drain(writer)
    }

    /// Opens the destination; or why it stays as it is, and which one that is.
    fn begin(
        &mut self,
        writer: &Writer,
        facts: &SourceFacts,
    ) -> Result<Result<Begin, (Because, PathBuf)>, Failure> {
        let decision = decide(self.plan, self.place, self.gate, writer, facts)?;
        if facts.goes_on.is_none() {
            agreement::check_that_nothing_came(writer)?;
        }
        let destination = match decision {
            Decision::Keep(because, path) => return Ok(Err((because, path))),
            Decision::Begin(destination) => *destination,
        };
        let offset = match &facts.goes_on {
            Some(goes_on) => goes_on.offset,
            None => destination.resumed().offset(),
        };
        let sink = Sink::new(self.plan, destination, facts.size, offset, writer)?;
        self.first = Some(writer.partner().clone());
        let (_, sink) = self.begun.insert((facts.clone(), sink));
        Ok(Ok(sink.meet(writer)))
    }

    /// One that was let in might say of its source what it has only seen from outside.
    fn check_same_user(&self, writer: &Writer) -> Result<(), Failure> {
        let first = self.first.as_ref().map(Partner::user).unwrap_or_default();
        let user = writer.partner().user();
        if user == first {
            return Ok(());
        }
        let message = format!(
            "cannot go on with this reader: it is user {user}, and the one that died was {first}"
        );
        Err(Failure::new(Exit::Failed, message))
    }

    fn drain(&mut self, writer: &Writer) -> Result<Received, Failure> {
        let mut trailer = Trailer::default();
        let Some((facts, sink)) = &mut self.begun else {
            return Err(unexpected(wire::DATA));
        };
        while let Some(block) = writer.data_block()? {
            let (kind, tag) = (block.kind(), block.tag());
            match kind {
                wire::DATA => sink.data(tag, &block)?,
                wire::HOLE => sink.hole(tag)?,
                wire::SUBTREE if facts.subtrees => sink.begun(tag, &block)?,
                _ if trailer.add(kind, tag, &block)? => {}
                _ => return Err(unexpected(kind)),
            }
        }
        agreement::check_that_no_more_was_asked(writer)?;
        let Some((facts, sink)) = self.begun.take() else {
            return Err(unexpected(wire::DATA));
        };
        let last_check = || match writer.check() {
            // It had sent everything, and nobody but the user misses it.
            Err(Error::PartnerDied { .. }) => Ok(()),
            checked => Ok(checked?),
        };
        let drained = sink.finish(&trailer, &facts, last_check)?;
        Ok(Received::Whole(drained))
    }
}

/// Nothing is taken, and both know why.
fn keep(
    writer: &Writer,
    facts: &SourceFacts,
    because: Because,
    path: &Path,
    tell: impl Fn(Step),
) -> Result<Received, Failure> {
    let destination = visible::name(path);
    let words = because.words(&destination);
    let kept = Answer::Keep {
        because,
        destination,
    };
    agreement::answer(writer, kept)?;
    tell(Step::Answered {
        begins: false,
        offset: 0,
        can_be_replaced: true,
        keeps: false,
    });
    expect_nothing(writer, facts)?;
    Ok(Received::Kept(words))
}

/// What is written already is of the first Reader's source, as that was then.
fn check_same_source(first: &SourceFacts, facts: &SourceFacts) -> Result<(), Failure> {
    let failed = |why: &str| {
        let message = format!("cannot go on with this reader: {why}");
        Err(Failure::new(Exit::Failed, message).unfit())
    };
    if first.identity.is_none() || first.identity != facts.identity {
        return failed("its source is another one than when the copy began");
    }
    // Before what ends the copy: what may be but another option, and another reader has right.
    if first.options != facts.options || first.size.is_some() != facts.size.is_some() {
        return failed("it was started with other options");
    }
    let times = |facts: &SourceFacts| (facts.size, facts.modified, facts.changed);
    if times(first) != times(facts) {
        // No other Reader finds it as it was.
        let message =
            "the source has changed since the copy began, so no reader can go on; copy it again";
        return Err(Failure::new(Exit::SourceChanged, message));
    }
    Ok(())
}

/// What is made of the Reader's facts.
enum Decision {
    Begin(Box<Destination>),
    Keep(Because, PathBuf),
}

fn decide(
    plan: &Plan,
    place: &Endpoint,
    gate: &Arc<CommitGate>,
    writer: &Writer,
    facts: &SourceFacts,
) -> Result<Decision, Failure> {
    let settings = &plan.settings;
    check_options(settings, facts)?;
    settings.expected.check_told(sink::SOURCE, facts.size)?;
    let is_own_user = writer.partner().is_own_user();
    if facts.goes_on.is_some() && !is_own_user {
        let user = writer.partner().user();
        let message = format!(
            "the reader is user {user}: only with a reader of its own user does a writer take the place of one that died"
        );
        return Err(Failure::new(Exit::Failed, message));
    }
    let left = facts.goes_on.as_ref();
    let left = left.map(|goes_on| what_is_left(settings, goes_on, writer));
    let left = left.transpose()?;
    let Endpoint::Path(path) = place else {
        if settings.resume {
            return Err(resume::refused("standard output"));
        }
        if left.is_some() {
            return Err(cannot_go_on("standard output"));
        }
        return Ok(Decision::Begin(Box::new(Destination::standard()?)));
    };
    let name = Greeting::decode(writer.partner().greeting()).name;
    let mut target = Target::find(path, name.as_deref(), &settings.on_existing())?;
    if target.path != *path && !is_own_user {
        check_guest_s_name(&target, &writer.partner().user())?;
        target.must_be_new = true;
    }
    if let Some(goes_on) = &facts.goes_on
        && target.is_complete(goes_on, settings)?
    {
        return Ok(Decision::Keep(Because::ItIsComplete, target.path));
    }
    let rule = match &facts.goes_on {
        // It was asked before anything came, and is asked again at the end.
        Some(_) => SkipRule::Never,
        None => SkipRule::of(settings),
    };
    let found = target.facts();
    if let Some(because) = found.and_then(|found| rule.why_kept(found, facts.modified)) {
        return Ok(Decision::Keep(because, target.path));
    }
    let new_mode = NewMode {
        asked: facts.mode.unwrap_or(DEFAULT_MODE),
        umask: plan.umask,
    };
    let size = SourceSize {
        bytes: facts.size,
        allocated: facts.allocated,
    };
    let monitor = writer.monitor();
    let resuming = resume::source_of(facts).map(|source| Resuming {
        source,
        settings,
        is_guest: !is_own_user,
        monitor: &monitor,
    });
    let resuming = resuming.as_ref();
    let destination = Destination::open(target, size, new_mode, settings, left, resuming, gate)?;
    Ok(Decision::Begin(Box::new(destination)))
}

/// What the Writer has left whose place this one takes.
fn what_is_left(settings: &Settings, goes_on: &GoesOn, writer: &Writer) -> Result<Left, Failure> {
    if goes_on.options.as_ref() != Some(&settings.mark()) {
        let run = Greeting::decode(writer.partner().greeting()).run;
        let same = match run {
            Some(run) => format!("run: {run}"),
            None => "run the same command".to_owned(),
        };
        let message = format!("the writer that died was started with other options; {same}");
        return Err(Failure::new(Exit::Failed, message));
    }
    let file = goes_on.partial;
    let file = file.ok_or_else(|| cannot_go_on("what the writer that died wrote"))?;
    Ok(Left {
        file,
        offset: goes_on.offset,
        may_be_given_away: settings.preserve.ownership,
        old: goes_on.old,
    })
}

fn cannot_go_on(what: &str) -> Failure {
    let message = format!("nobody can go on with {what}: what was written cannot be found again");
    Failure::new(Exit::Failed, message)
}

/// The Reader has heard that its destination is kept, and says that nothing will come.
fn expect_nothing(writer: &Writer, facts: &SourceFacts) -> Result<(), Failure> {
    while let Some(block) = writer.data_block()? {
        // What the Writer before had not given back was sent again before it could answer.
        if facts.goes_on.is_none() {
            return Err(unexpected(block.kind()));
        }
    }
    agreement::check_that_no_more_was_asked(writer)
}

/// In a directory, the Reader's word names the file. Another user's must not be one that
/// programs look for there, nor one that is taken.
fn check_guest_s_name(target: &Target, user: &str) -> Result<(), Failure> {
    let name = target.path.file_name().unwrap_or_default();
    let why = match target.facts() {
        Some(_) => "it exists",
        None if name.as_encoded_bytes().starts_with(b".") => "it begins with a dot",
        None => return Ok(()),
    };
    let path = visible::name(&target.path);
    let message = format!(
        "the reader is user {user}, who may not choose {path}: {why}; name the destination file yourself"
    );
    Err(Failure::new(Exit::Failed, message))
}

/// The two processes may have been started by hand, with different options.
fn check_options(settings: &Settings, facts: &SourceFacts) -> Result<(), Failure> {
    if settings.verify && !facts.digest {
        return Err(started_without("--verify"));
    }
    // The Reader would say that it was verified, or its user believe that all was kept.
    if facts.digest && !settings.verify {
        return Err(started_with("--verify"));
    }
    if facts.metadata && settings.preserve == Preserve::default() {
        return Err(started_with("--preserve"));
    }
    // What is there already would be lost, against what was typed.
    let told = |saver: &str| facts.for_writer.iter().any(|told| told == saver);
    let missed = settings.savers(false).into_iter().find(|saver| told(saver));
    missed.map_or(Ok(()), |saver| Err(started_with(saver)))?;
    if settings.verify && settings.resume && !facts.subtrees {
        return Err(started_without("--resume"));
    }
    if settings.preserve != Preserve::default() && !facts.metadata {
        return Err(started_without("--preserve"));
    }
    if settings.preserve.xattr && !facts.attributes {
        return Err(started_without("--preserve=xattr"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Loss;

    #[test]
    fn a_reader_that_may_only_have_other_options_does_not_end_the_copy() {
        let first = SourceFacts {
            size: Some(1),
            identity: Some((1, 2)),
            options: Some("some".to_owned()),
            ..SourceFacts::default()
        };
        let told = |facts: SourceFacts| {
            let failure = check_same_source(&first, &facts).err();
            failure.map(|told| (told.code, told.loss, told.message.contains("other options")))
        };
        let other_options = [
            SourceFacts {
                size: Some(2),
                options: Some("others".to_owned()),
                ..first.clone()
            },
            SourceFacts {
                size: None,
                ..first.clone()
            },
        ];
        for facts in other_options {
            let unfit = (Exit::Failed as u8, Some(Loss::Unfit), true);
            assert_eq!(told(facts), Some(unfit));
        }
        let changed = told(SourceFacts {
            size: Some(2),
            ..first.clone()
        });
        assert_eq!(changed, Some((Exit::SourceChanged as u8, None, false)));
    }
}
