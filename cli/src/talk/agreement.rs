//! What comes before the first byte: the Reader tells what its source is, the Writer
//! looks at its destination and decides, and only then the source is read. Each posts
//! one letter, but for a Writer that has a hash to go on from, and no more until the end.
//!
//! ```text
//! Reader                                        Writer
//!   opens the source
//!   ASK, with the facts ────────────────────────> opens the destination, decides
//!   waits for a letter  <──────────────────────── ANSWER: begin; or keep, and why
//!                       <──────────────────────── SUBTREES, if the answer speaks of any
//! ```

use brigade::{LETTER_MAX, Partner, Reader, Writer};
use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure};
use crate::metadata::null_as_absent;
use crate::talk::greeting::{self, Greeting};
use crate::talk::object;
use crate::talk::pieces;
use crate::talk::source_facts::{FILE_BYTES_MAX, SourceFacts};
use crate::talk::which_file::WhichFile;
use crate::talk::wire;
use crate::tree::{Begun, SUBTREE_BYTES};

/// What the Writer makes of the facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum Answer {
    /// The copy begins.
    Begin(Begin),
    /// The destination stays as it is, and no data will be taken.
    Keep {
        because: Because,
        /// Which one it is, as it can be shown.
        destination: String,
    },
}

/// Where a copy begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Begin {
    /// The first byte that the Reader sends; what is before it has been written.
    #[serde(deserialize_with = "null_as_absent")]
    pub(crate) offset: u64,
    /// Which file is written, if it gets its name at the end.
    pub(crate) partial: Option<WhichFile>,
    /// Which file it replaces then, if one is there.
    pub(crate) old: Option<WhichFile>,
    /// What this Writer was asked for, to tell it from others: see `Settings::mark`.
    pub(crate) options: Option<String>,
    /// How many whole subtrees of the hash are before `offset` for which a letter follows.
    #[serde(deserialize_with = "null_as_absent")]
    pub(crate) subtrees: u64,
    /// What that letter says.
    #[serde(skip)]
    pub(crate) begun: Option<Begun>,
    /// The Writer keeps a journal.
    #[serde(deserialize_with = "null_as_absent")]
    pub(crate) journal: bool,
    /// What is before `offset` was written by an earlier copy: the Reader compares it with its
    /// source, and says by a letter whether it goes on there.
    #[serde(deserialize_with = "null_as_absent")]
    pub(crate) resumes: bool,
    /// Why it does not go on with what an earlier copy has left.
    pub(crate) starts_over: Option<StartsOver>,
    /// So much of that could have been gone on from, but was not asked for.
    pub(crate) unused: Option<u64>,
}

/// Why nothing is gone on with of what a copy has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StartsOver {
    NoJournal,
    JournalIsNone,
    JournalIsAnothers,
    JournalIsOfAnotherVersion,
    JournalIsDamaged,
    /// It says that nothing is on disk.
    NothingIsOnDisk,
    PartialIsGone,
    PartialIsAnothers,
    PartialCannotBeLocked,
    PartialIsAnotherFile,
    PartialWasShortened,
    PartialWasChanged,
    SourceIsAnotherFile,
    SourceWasChanged,
    /// Though nothing else shows it.
    SourceHasOtherContent,
    SparseIsOther,
    NotHashed,
    ReaderIsAnothers,
}

impl StartsOver {
    /// What the user gets to hear of it, from both halves.
    pub(crate) fn words(self) -> &'static str {
        match self {
            StartsOver::NoJournal => "the earlier copy has left no journal",
            StartsOver::JournalIsNone => "what has the journal's name is none",
            StartsOver::JournalIsAnothers => "the journal is another user's",
            StartsOver::JournalIsOfAnotherVersion => "the journal is of another version",
            StartsOver::JournalIsDamaged => "the journal is damaged",
            StartsOver::NothingIsOnDisk => "nothing of the earlier copy was noted as on disk",
            StartsOver::PartialIsGone => "the earlier copy's partial file is gone",
            StartsOver::PartialIsAnothers => "the partial file is another user's",
            StartsOver::PartialCannotBeLocked => "the partial file cannot be locked",
            StartsOver::PartialIsAnotherFile => "the partial file is not the journal's",
            StartsOver::PartialWasShortened => "the partial file was shortened",
            StartsOver::PartialWasChanged => "the partial file has other content by now",
            StartsOver::SourceIsAnotherFile => "the earlier copy was of another source",
            StartsOver::SourceWasChanged => "the source was changed since",
            StartsOver::SourceHasOtherContent => "the source has other content by now",
            StartsOver::SparseIsOther => "the earlier copy had another --sparse",
            StartsOver::NotHashed => "the earlier copy was without --verify",
            StartsOver::ReaderIsAnothers => "the reader is another user's",
        }
    }
}

/// Where the Reader goes on.
#[derive(Debug, Serialize, Deserialize)]
struct GoesOnAt {
    offset: u64,
}

/// Why a destination stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Because {
    ItExists,
    SourceIsNotNewer,
    /// The Writer before this one died when it had its name already.
    ItIsComplete,
}

impl Because {
    /// What the user gets to hear of it, from both halves.
    pub(crate) fn words(self, destination: &str) -> String {
        let why = match self {
            Because::ItExists => "it exists",
            Because::SourceIsNotNewer => "the source is not newer",
            Because::ItIsComplete => {
                return format!("{destination} is complete: so the writer left it that died");
            }
        };
        format!("kept {destination}: {why}")
    }
}

impl Answer {
    fn encode(&self) -> Vec<u8> {
        // What consists of words can always be encoded.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// As a letter. A long path loses its end.
    fn encode_cut(mut self) -> Vec<u8> {
        let mut encoded = self.encode();
        while encoded.len() > LETTER_MAX
            && let Answer::Keep { destination, .. } = &mut self
        {
            // Each character takes a byte at least.
            let excess = (encoded.len() - LETTER_MAX).div_ceil(JSON_BYTES_MAX);
            let left = destination.len().saturating_sub(excess);
            destination.truncate(destination.floor_char_boundary(left));
            encoded = self.encode();
        }
        encoded
    }

    /// `None` if it is no JSON, or no answer.
    fn decode(bytes: &[u8]) -> Option<Answer> {
        let mut answer: Answer = object::decode(bytes)?;
        match &mut answer {
            Answer::Keep { destination, .. } => *destination = greeting::shown(destination),
            Answer::Begin(begin) if begin.cannot_be() => return None,
            Answer::Begin(_) => {}
        }
        Some(answer)
    }
}

impl Begin {
    /// Where it begins, as far as that is known by now: see [`Step::Answered`].
    pub(crate) fn known_offset(&self) -> u64 {
        match self.resumes {
            true => 0,
            false => self.offset,
        }
    }

    /// What its user should hear of it, once the Reader has said that it begins at `offset`.
    pub(crate) fn steps(&self, offset: u64) -> impl Iterator<Item = Step> + use<> {
        let resumed = self.resumes.then_some(match offset {
            0 => Step::StartsOver(StartsOver::SourceHasOtherContent),
            _ => Step::GoesOn { offset },
        });
        let steps = [
            resumed,
            self.starts_over.map(Step::StartsOver),
            self.unused.map(|bytes| Step::Unused { bytes }),
        ];
        steps.into_iter().flatten()
    }

    /// Whether it begins where no file does, or before a subtree that should be whole.
    fn cannot_be(&self) -> bool {
        let whole = self.offset / SUBTREE_BYTES;
        self.offset > FILE_BYTES_MAX || self.subtrees > whole || self.resumes && self.subtrees == 0
    }
}

/// The most that JSON makes of a byte: `\u0000`.
const JSON_BYTES_MAX: usize = 6;

/// How far the two have come, for who watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The source was looked at. How much it has, if it knows; the answer is the Writer's.
    Asked { size: Option<u64> },
    /// And given.
    Answered {
        begins: bool,
        /// Where it begins; 0 if that is not known before the Reader has looked.
        offset: u64,
        /// Another process could take the partner's place, should that die.
        can_be_replaced: bool,
        /// What is written is kept if the copy fails.
        keeps: bool,
    },
    /// It goes on with what an earlier copy has left, at this byte.
    GoesOn { offset: u64 },
    /// It cannot, for this reason.
    StartsOver(StartsOver),
    /// It could have gone on at this byte, but was not asked to.
    Unused { bytes: u64 },
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
pub(crate) fn ask(reader: &Reader, facts: &SourceFacts) -> Result<Answer, Failure> {
    if reader.try_letter()?.is_some() {
        return Err(not_from_a_writer("an answer before it was asked"));
    }
    reader.post(wire::ASK, &facts.encode())?;
    let Some(letter) = reader.letter()? else {
        return Err(not_from_a_writer("no answer"));
    };
    let mut answer = match letter.kind {
        wire::ANSWER => Answer::decode(&letter.bytes)
            .ok_or_else(|| not_from_a_writer("an answer that makes no sense"))?,
        kind => return Err(not_from_a_writer(&no_such_letter(kind))),
    };
    if let Answer::Begin(begin) = &mut answer
        && begin.subtrees > 0
    {
        begin.begun = Some(hear_of_subtrees(reader, begin.subtrees)?);
    }
    Ok(answer)
}

/// What stands for the subtrees of which the answer speaks.
fn hear_of_subtrees(reader: &Reader, subtrees: u64) -> Result<Begun, Failure> {
    let letter = reader.letter()?;
    let letter = letter.filter(|letter| letter.kind == wire::SUBTREES);
    letter
        .and_then(|letter| Begun::decode(subtrees, &letter.bytes))
        .ok_or_else(|| not_from_a_writer("no hash to go on from"))
}

/// The Reader has compared its source with what an earlier copy has left.
pub(crate) fn go_on(reader: &Reader, offset: u64) -> Result<(), Failure> {
    // What consists of a number can always be encoded.
    let letter = serde_json::to_vec(&GoesOnAt { offset }).unwrap_or_default();
    Ok(reader.post(wire::GOES_ON, &letter)?)
}

/// Where the Reader goes on that was told to do so at `offset`: there, or at 0.
pub(crate) fn hear_where(writer: &Writer, offset: u64) -> Result<u64, Failure> {
    let letter = writer.letter()?;
    let letter = letter.filter(|letter| letter.kind == wire::GOES_ON);
    let told = letter.and_then(|letter| object::decode(&letter.bytes));
    let told = told.map(|GoesOnAt { offset }| offset);
    told.filter(|&told| told == offset || told == 0)
        .ok_or_else(|| pieces::nonsense("no place where it goes on"))
}

/// When there is a verdict, all letters are there that the Writer has posted.
pub(crate) fn check_that_no_more_was_answered(reader: &Reader) -> Result<(), Failure> {
    match reader.try_letter()? {
        None => Ok(()),
        Some(_) => Err(not_from_a_writer("a letter after its answer")),
    }
}

/// The Reader's facts, which are its question.
pub(crate) fn hear(writer: &Writer) -> Result<SourceFacts, Failure> {
    let Some(letter) = writer.letter()? else {
        return Err(pieces::nonsense("nothing of its source"));
    };
    match letter.kind {
        wire::ASK => SourceFacts::decode(&letter.bytes)
            .ok_or_else(|| pieces::nonsense("facts that make no sense")),
        kind => Err(pieces::nonsense(&no_such_letter(kind))),
    }
}

/// Whatever has come by now was sent before there was an answer.
pub(crate) fn check_that_nothing_came(writer: &Writer) -> Result<(), Failure> {
    match writer.try_data_block()? {
        None => Ok(()),
        Some(_) => Err(pieces::nonsense("data before it had an answer")),
    }
}

/// The Writer has decided.
pub(crate) fn answer(writer: &Writer, mut answer: Answer) -> Result<(), Failure> {
    let begun = match &mut answer {
        Answer::Begin(begin) => {
            // A file of which more subtrees must be told is not hashed again from there.
            begin
                .begun
                .take_if(|begun| begun.encode().len() > LETTER_MAX);
            begin.subtrees = begin.begun.as_ref().map_or(0, Begun::subtrees);
            begin.begun.take()
        }
        Answer::Keep { .. } => None,
    };
    writer.post(wire::ANSWER, &answer.encode_cut())?;
    match begun {
        Some(begun) => Ok(writer.post(wire::SUBTREES, &begun.encode())?),
        None => Ok(()),
    }
}

/// At the end of the data, all letters are there that the Reader has posted.
pub(crate) fn check_that_no_more_was_asked(writer: &Writer) -> Result<(), Failure> {
    match writer.try_letter()? {
        None => Ok(()),
        Some(_) => Err(pieces::nonsense("a letter after its question")),
    }
}

fn no_such_letter(kind: u16) -> String {
    format!("a letter of kind {kind}, which has no place here")
}

/// What a Writer that keeps to the protocol does not send.
fn not_from_a_writer(what: &str) -> Failure {
    Failure::new(Exit::Partner, format!("the writer sent {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(destination: &str) -> Answer {
        Answer::Keep {
            because: Because::SourceIsNotNewer,
            destination: destination.to_owned(),
        }
    }

    #[test]
    fn an_answer_survives_the_way_and_a_later_one_may_say_more() {
        let begin = Answer::Begin(Begin {
            offset: FILE_BYTES_MAX,
            partial: Some(WhichFile::longest()),
            old: Some(WhichFile::longest()),
            options: Some("0123456789abcdef".to_owned()),
            subtrees: FILE_BYTES_MAX / SUBTREE_BYTES,
            begun: None,
            journal: true,
            resumes: true,
            starts_over: Some(StartsOver::JournalIsOfAnotherVersion),
            unused: Some(FILE_BYTES_MAX),
        });
        for answer in [begin, kept("b"), kept("ü\"\\")] {
            let encoded = answer.clone().encode_cut();
            assert_eq!(Answer::decode(&encoded), Some(answer));
        }
        for more in [
            &br#"{"answer":"begin"}"#[..],
            br#"{"answer":"begin","because":7,"x":null}"#,
            br#"{"answer":"begin","offset":null,"partial":null,"subtrees":null}"#,
        ] {
            let begin = Answer::Begin(Begin::default());
            assert_eq!(Answer::decode(more), Some(begin));
        }
    }

    #[test]
    fn an_answer_fits_into_a_letter_however_long_the_path_is() {
        for part in ["a", "ü", "\"", "\u{1}", "🎉\n"] {
            let path = part.repeat(5000);
            let encoded = kept(&path).encode_cut();
            assert!(encoded.len() <= LETTER_MAX);
            let whole = greeting::shown(&path);
            let is_cut = Answer::decode(&encoded).is_some_and(|answer| {
                matches!(answer, Answer::Keep { destination, .. }
                    if destination.len() > 100 && whole.starts_with(&destination))
            });
            assert!(is_cut, "{part:?}");
        }
    }

    #[test]
    fn what_is_no_answer_is_none() {
        for bytes in [
            &b""[..],
            b"{}",
            br#"["begin"]"#,
            br#"{"answer":"perhaps"}"#,
            br#"{"answer":"keep"}"#,
            br#"{"answer":"keep","because":"it_rains","destination":"b"}"#,
            br#"{"answer":"begin"} {}"#,
            br#"{"answer":"begin","offset":9223372036854775808}"#,
            br#"{"answer":"begin","offset":16777215,"subtrees":1}"#,
            br#"{"answer":"begin","offset":16777216,"resumes":true}"#,
            b"\xff",
        ] {
            assert_eq!(Answer::decode(bytes), None);
        }
    }
}
