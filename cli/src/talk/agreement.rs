//! What comes before the first byte: the Reader tells what its source is, the Writer
//! looks at its destination and decides, and only then the source is read.
//!
//! ```text
//! Reader                                        Writer
//!   opens the source
//!   FACTS, ASK ─────────────────────────────────> opens the destination, decides
//!   holds all empty blocks, so it sleeps          STATE = AGREED, or KEPT and it gives up
//!   until the last one is back  <──────────────── gives ASK back
//!   looks at STATE
//! ```

use brigade::{DataBlock, Label, Monitor, Partner, Reader, Writer};

use crate::failure::{Exit, Failure};
use crate::talk::greeting::Greeting;
use crate::talk::pieces;
use crate::talk::source_facts::SourceFacts;
use crate::talk::wire;

/// What the Writer makes of the facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The copy begins.
    Copy,
    /// The destination stays as it is: since it is there.
    Keep,
    /// Since the source is not newer.
    KeepAsNewer,
}

impl Decision {
    /// What the Writer has shown; `None` if it is nothing that can be.
    pub(crate) fn shown_to(reader: &Monitor) -> Option<Decision> {
        match reader.partner_figures()[wire::STATE] {
            wire::AGREED => Some(Decision::Copy),
            wire::KEPT => Some(Decision::Keep),
            wire::KEPT_AS_NEWER => Some(Decision::KeepAsNewer),
            _ => None,
        }
    }

    /// Shows it, to be seen by the Reader as soon as the question is given back.
    pub(crate) fn show(self, writer: &Monitor) {
        let state = match self {
            Decision::Copy => wire::AGREED,
            Decision::Keep => wire::KEPT,
            Decision::KeepAsNewer => wire::KEPT_AS_NEWER,
        };
        writer.set_figure(wire::STATE, state);
    }
}

/// Refuses a partner that was built for another conversation than this.
pub(crate) fn check_version(partner: &Partner) -> Result<(), Failure> {
    let theirs = Greeting::decode(partner.greeting()).protocol;
    if theirs == wire::PROTOCOL {
        return Ok(());
    }
    let message = format!(
        "the other half speaks copy protocol {theirs}, this one {}; \
         use the same version of brigade for both",
        wire::PROTOCOL
    );
    Err(Failure::new(Exit::Failed, message))
}

/// The Reader tells `facts`, and waits for the Writer to decide.
pub(crate) fn ask(reader: &Reader, facts: &SourceFacts) -> Result<Decision, Failure> {
    let facts = facts.encode();
    pieces::send(reader, wire::FACTS, &facts)?;
    let question = reader.empty_block()?;
    question.send_as(0, Label::new(wire::ASK, facts.len() as u64))?;
    // The last of all blocks is the question.
    let all = (0..reader.block_count()).map(|_| reader.empty_block());
    let all: Result<Vec<_>, _> = all.collect();
    let decision = Decision::shown_to(&reader.monitor());
    match (all, decision) {
        (Ok(_), Some(decision)) => return Ok(decision),
        (Ok(_), None) => {}
        // A Writer that keeps its destination gives up as soon as it has said so.
        (Err(_), Some(decision)) if decision != Decision::Copy => return Ok(decision),
        (Err(error), _) => return Err(error.into()),
    }
    // Why it gave up instead.
    reader.check()?;
    let message = "the writer gave no answer to whether the copy shall begin";
    Err(Failure::new(Exit::Partner, message))
}

/// The Reader's facts, and its question, which is answered when it is given back.
pub(crate) fn hear(writer: &Writer) -> Result<(SourceFacts, DataBlock<'_>), Failure> {
    let mut told = Vec::new();
    loop {
        let Some(block) = writer.data_block()? else {
            return Err(pieces::nonsense("nothing of its source"));
        };
        match block.kind() {
            wire::FACTS => pieces::add(&mut told, block.tag(), &block, wire::FACTS_BYTES_MAX)?,
            wire::ASK if block.tag() == told.len() as u64 => {
                let facts = SourceFacts::decode(&told);
                let facts = facts.ok_or_else(|| pieces::nonsense("facts that make no sense"))?;
                return Ok((facts, block));
            }
            kind => return Err(pieces::unexpected(kind)),
        }
    }
}
