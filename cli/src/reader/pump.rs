//! The Reader's work: from the source into empty blocks.
//!
//! ```text
//! source ── hole ────────────────> empty block of kind HOLE
//!        └─ data ─> block ─ hash ─> DATA, SUBTREE
//!                              at the end: unchanged? ─> METADATA, DIGEST
//! ```
//!
//! A copy that begins in the middle has a hash, too: of the source it reads again what
//! comes after all but the last of the whole subtrees that it was told of.

use std::io;
use std::ops::Range;

use brigade::{EmptyBlock, Error, Label, Monitor, Reader};

use crate::failure::{Exit, Failure};
use crate::metadata::Metadata;
use crate::rate::Limiter;
use crate::reader::ahead::{Ahead, Next};
use crate::reader::holes;
use crate::reader::nap::Blocks;
use crate::reader::source::Source;
use crate::request::args::When;
use crate::request::plan::Plan;
use crate::request::settings::{Preserve, Settings};
use crate::sys;
use crate::talk::agreement::{self, Begin};
use crate::talk::{pieces, wire};
use crate::tree::{Begun, Tree};

/// What a hole is to the hash.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// What is read at a time: of a block that is larger, it shows how far it is. So is what was
/// sent before.
const READ_AT_ONCE: usize = 256 * 1024;

/// What was read and sent.
pub(crate) struct Filled {
    pub(crate) bytes: u64,
    pub(crate) holes: u64,
    /// Where it began.
    pub(crate) before: u64,
    pub(crate) digest: Option<[u8; 32]>,
}

/// Sends a source; with one Writer after the other, if these die.
pub(crate) struct Pump<'p> {
    settings: &'p Settings,
    limiter: Limiter,
    source_words: String,
    metadata: Metadata,
    hash: Option<Tree>,
    /// Bytes that are in the hash: there may be more than were sent.
    hashed: u64,
    /// The Writer gets to know what to go on from, and has heard of so many subtrees.
    tells_subtrees: bool,
    told_subtrees: u64,
    /// What was read before there was a block for it.
    ahead: Ahead,
    /// What comes before that, and was not sent yet.
    unsent: Unsent,
    /// Bytes of the source that were sent, holes among them.
    sent: u64,
    /// And that were read, as was shown last.
    read: u64,
    holes: u64,
    before: u64,
    all_sent: bool,
}

/// What comes next in the source, if that was read or passed already.
#[derive(Default)]
struct Unsent {
    hole: u64,
    /// What was read to be searched for zeros, and where in it the rest begins and ends.
    bytes: Vec<u8>,
    rest: Range<usize>,
}

/// The Writer of the moment.
struct To<'r> {
    reader: &'r Reader,
    blocks: Blocks<'r>,
    monitor: Monitor,
}

impl<'p> Pump<'p> {
    /// For `source`, before any of it is read. Among the data comes, if `tells_subtrees`,
    /// what stands for these.
    pub(crate) fn new(
        plan: &'p Plan,
        source: &mut Source,
        tells_subtrees: bool,
    ) -> Result<Pump<'p>, Failure> {
        let settings = &plan.settings;
        source.spare_cache(settings);
        // Before reading changes when it was read last.
        let metadata = match settings.preserve == Preserve::default() {
            true => Metadata::default(),
            false => source.metadata(settings.preserve.xattr)?,
        };
        let bytes = match settings.sparse {
            When::Always => vec![0; settings.block_size],
            When::Auto | When::Never => Vec::new(),
        };
        Ok(Pump {
            settings,
            limiter: Limiter::new(settings.limit_rate),
            source_words: plan.source_words(),
            metadata,
            hash: settings.is_hashed().then(Tree::new),
            hashed: 0,
            tells_subtrees,
            told_subtrees: 0,
            ahead: Ahead::new(settings.reads_ahead && source.is_stream()),
            unsent: Unsent {
                bytes,
                ..Unsent::default()
            },
            sent: 0,
            read: 0,
            holes: 0,
            before: 0,
            all_sent: false,
        })
    }

    /// How many bytes were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// What was sent, if that was all.
    pub(crate) fn filled(&self) -> Option<Filled> {
        self.all_sent.then(|| Filled {
            bytes: self.sent,
            holes: self.holes,
            before: self.before,
            digest: self.hash.as_ref().map(|hash| hash.finalize().into()),
        })
    }

    /// Goes to where the copy begins, with the hash of what is before: where `begin` says, or
    /// to the first byte, if the source is not what an earlier copy has left.
    pub(crate) fn begin(
        &mut self,
        source: &mut Source,
        begin: &Begin,
        reader: &Reader,
    ) -> Result<(), Failure> {
        let offset = begin.offset;
        if offset == 0 {
            return Ok(());
        }
        let begun = begin.begun.as_ref();
        if self.hash.is_some() || begun.is_some() {
            match self.read_again(source, offset, begun, &To::of(reader))? {
                Ok(tree) => {
                    self.hash = self.hash.take().map(|_| tree);
                    self.hashed = offset;
                }
                Err(_) if begin.resumes => {
                    source.begin_at(0)?;
                    return agreement::go_on(reader, 0);
                }
                Err(at) => return Err(self.is_another(at)),
            }
        }
        source.begin_at(offset)?;
        self.sent = offset;
        self.before = offset;
        match begin.resumes {
            true => agreement::go_on(reader, offset),
            false => Ok(()),
        }
    }

    /// Sends all of `source` that was not sent, and then what is told of it.
    pub(crate) fn fill(&mut self, source: &mut Source, reader: &Reader) -> Result<(), Failure> {
        let to = To::of(reader);
        self.told_subtrees = 0;
        self.show(&to);
        while self.step(source, &to)? {}
        to.monitor.set_figure(wire::ALL_READ, 1);
        source.check_whole()?;
        let expected = self.settings.expected;
        expected.check_end(&self.source_words, self.sent)?;
        if !self.settings.allow_changes {
            source.check_unchanged()?;
        }
        let digest = self.hash.as_ref().map(Tree::finalize);
        if let Some(digest) = &digest {
            expected.check_digest(&self.source_words, digest)?;
        }
        self.metadata.modified_at_end = source.modified_by_now()?;
        let metadata = self.metadata.clone();
        let metadata = metadata.encode(wire::METADATA_BYTES_MAX, sys::is_access_list);
        pieces::send(reader, wire::METADATA, &metadata)?;
        if let Some(digest) = digest.filter(|_| self.settings.verify) {
            pieces::send(reader, wire::DIGEST, digest.as_bytes())?;
        }
        wire::set_waited(&to.monitor);
        self.all_sent = true;
        Ok(())
    }

    /// The hash of all before `offset`; or where the source is not what `begun` stands for.
    fn read_again(
        &mut self,
        source: &mut Source,
        offset: u64,
        begun: Option<&Begun>,
        to: &To<'_>,
    ) -> Result<Result<Tree, u64>, Failure> {
        // What stands for one subtree alone is not enough for a hash of all.
        let known = begun.filter(|begun| begun.is_whole() || self.hash.is_none());
        let mut tree = known.map_or_else(Tree::new, Tree::before_last_of);
        let mut at = known.map_or(0, Begun::last_begins_at);
        source.begin_at(at)?;
        let mut buffer = vec![0; READ_AT_ONCE];
        while at < offset {
            let left = usize::try_from(offset - at).unwrap_or(usize::MAX);
            let most = self.limiter.piece(left.min(buffer.len()));
            let len = source.fill(&mut buffer[..most]);
            let len = len.map_err(|error| read_failed(source, at, &error))?;
            if len == 0 {
                return Ok(Err(at));
            }
            tree.update(&buffer[..len]);
            at += len as u64;
            if begun.is_some_and(|begun| {
                tree.subtrees() == begun.subtrees() && !begun.agrees_with(&tree)
            }) {
                return Ok(Err(at));
            }
            // It may take long.
            to.monitor.set_figure(wire::READ, at);
            to.reader.check()?;
            self.limiter.pace(len);
        }
        Ok(Ok(tree))
    }

    fn is_another(&self, at: u64) -> Failure {
        let message = format!(
            "{} is not what was copied so far: it differs before byte {at}",
            self.source_words
        );
        Failure::new(Exit::SourceChanged, message)
    }

    /// Sends some more; false at the end.
    fn step(&mut self, source: &mut Source, to: &To<'_>) -> Result<bool, Failure> {
        self.send_unsent(source, to)?;
        let at = self.sent;
        let failed = |source: &Source, error| read_failed(source, at, &error);
        if self.settings.sparse != When::Never {
            let skipped = source.skip_hole();
            if let Some(len) = skipped.map_err(|error| failed(source, error))? {
                self.unsent.hole = len;
                self.send_unsent(source, to)?;
                return Ok(true);
            }
        }
        let (len, unpaced) = match self.unsent.bytes.is_empty() {
            true => {
                let mut block = self.empty_block(source, to)?;
                let (len, unpaced) = self.take(source, &mut block, to)?;
                if len > 0 {
                    self.check_more(len)?;
                    self.hash(&block[..len]);
                    block.send_as(len, Label::new(wire::DATA, self.sent))?;
                    to.blocks.count(len);
                    self.note(len as u64, to);
                }
                (len, unpaced)
            }
            false => {
                let mut bytes = std::mem::take(&mut self.unsent.bytes);
                let taken = self.take(source, &mut bytes, to);
                self.unsent.bytes = bytes;
                let (len, unpaced) = taken?;
                self.check_more(len)?;
                self.unsent.rest = 0..len;
                self.send_unsent(source, to)?;
                (len, unpaced)
            }
        };
        self.tell_subtrees(source, to)?;
        self.limiter.pace(unpaced);
        Ok(len > 0)
    }

    /// The next bytes into `block`: how many they are, and of these, how many the limiter does
    /// not know of.
    fn take(
        &mut self,
        source: &mut Source,
        block: &mut [u8],
        to: &To<'_>,
    ) -> Result<(usize, usize), Failure> {
        if let Some(taken) = self.ahead.take(block) {
            return Ok((self.unless_lost(source, taken, to)?, 0));
        }
        let most = self.limiter.piece(block.len());
        let at_once = match source.is_stream() {
            // It gives what is there, and might have to be waited for after that.
            true => most,
            false => READ_AT_ONCE,
        };
        let mut len = 0;
        while len < most {
            let piece = at_once.min(most - len);
            let read = source.fill(&mut block[len..len + piece]);
            let read = self.unless_lost(source, read, to)?;
            len += read;
            if read < piece || source.is_at_hole() {
                break;
            }
            self.show_read(self.sent + len as u64, to);
        }
        Ok((len, len))
    }

    /// An empty block, as soon as there is one. Meanwhile the source may be read ahead.
    fn empty_block<'r>(
        &mut self,
        source: &mut Source,
        to: &To<'r>,
    ) -> Result<EmptyBlock<'r>, Failure> {
        let mut is_first = true;
        loop {
            match self.ahead.next() {
                Next::Wait => return Ok(to.blocks.empty()?),
                Next::WaitUntil(deadline) => match to.reader.empty_block_until(deadline) {
                    Err(Error::TimedOut) => {}
                    waited => return Ok(waited?),
                },
                Next::Read => {
                    if let Some(block) = to.reader.try_empty_block()? {
                        return Ok(block);
                    }
                    match source.is_ready() {
                        true => self.read_ahead(source, to),
                        false => source.wait_beside(to.reader)?,
                    }
                }
            }
            self.ahead.look(is_first, || to.reader.delivered().bytes);
            is_first = false;
        }
    }

    fn read_ahead(&mut self, source: &mut Source, to: &To<'_>) {
        let most = self.limiter.piece(usize::MAX);
        let len = self.ahead.read(source, most);
        self.show(to);
        self.limiter.pace(len);
    }

    /// What came of a read, which also ends when the Writer is lost.
    fn unless_lost(
        &self,
        source: &Source,
        read: io::Result<usize>,
        to: &To<'_>,
    ) -> Result<usize, Failure> {
        read.or_else(|error| {
            if source.was_interrupted() {
                to.reader.check()?;
            }
            Err(read_failed(source, self.sent, &error))
        })
    }

    /// What was read, or passed, and not sent: zeros as holes, and what is between them as
    /// data.
    fn send_unsent(&mut self, source: &mut Source, to: &To<'_>) -> Result<(), Failure> {
        if self.unsent.hole > 0 {
            self.send_hole(self.unsent.hole, source, to)?;
            self.unsent.hole = 0;
        }
        while !self.unsent.rest.is_empty() {
            let rest = self.unsent.rest.clone();
            let (len, is_zero) = holes::run(&self.unsent.bytes[rest.clone()]);
            match is_zero {
                true => self.send_hole(len as u64, source, to)?,
                false => {
                    let mut block = self.empty_block(source, to)?;
                    let bytes = std::mem::take(&mut self.unsent.bytes);
                    let run = &bytes[rest.start..rest.start + len];
                    block[..len].copy_from_slice(run);
                    self.hash(run);
                    self.unsent.bytes = bytes;
                    block.send_as(len, Label::new(wire::DATA, self.sent))?;
                    to.blocks.count(len);
                    self.note(len as u64, to);
                }
            }
            self.unsent.rest.start += len;
        }
        self.tell_subtrees(source, to)
    }

    fn send_hole(&mut self, len: u64, source: &mut Source, to: &To<'_>) -> Result<(), Failure> {
        let end = self.sent + len;
        while self.hash.is_some() && self.hashed < end {
            let zeros = (end - self.hashed).min(ZEROS.len() as u64);
            self.hash(&ZEROS[..zeros as usize]);
            // It may take long.
            self.show_read(self.hashed + self.ahead.len() as u64, to);
            to.reader.check()?;
        }
        let block = self.empty_block(source, to)?;
        block.send_as(0, Label::new(wire::HOLE, len))?;
        self.holes += len;
        self.note(len, to);
        Ok(())
    }

    fn hash(&mut self, bytes: &[u8]) {
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
            self.hashed += bytes.len() as u64;
        }
    }

    /// What stands for the whole subtrees by now, if there are more than the Writer knows.
    /// It is not missed where blocks are too small for it: then another Reader begins with
    /// the hash of the first byte.
    fn tell_subtrees(&mut self, source: &mut Source, to: &To<'_>) -> Result<(), Failure> {
        let Some(tree) = self.hash.as_ref().filter(|_| self.tells_subtrees) else {
            return Ok(());
        };
        let subtrees = tree.subtrees();
        if subtrees == self.told_subtrees {
            return Ok(());
        }
        self.told_subtrees = subtrees;
        let begun = tree.begun().map(|begun| begun.encode());
        let Some(begun) = begun.filter(|begun| begun.len() <= to.reader.block_size()) else {
            return Ok(());
        };
        let mut block = self.empty_block(source, to)?;
        block[..begun.len()].copy_from_slice(&begun);
        Ok(block.send_as(begun.len(), Label::new(wire::SUBTREE, subtrees))?)
    }

    /// That `len` more are not too many.
    fn check_more(&self, len: usize) -> Result<(), Failure> {
        let bytes = self.sent + len as u64;
        self.settings
            .expected
            .check_so_far(&self.source_words, bytes)
    }

    fn note(&mut self, len: u64, to: &To<'_>) {
        self.sent += len;
        self.show(to);
    }

    /// How far it is.
    fn show(&mut self, to: &To<'_>) {
        self.show_read(self.sent + self.ahead.len() as u64, to);
        to.monitor.set_figure(wire::HOLES, self.holes);
    }

    /// Of what was read, some may be sent later, and is not less for that.
    fn show_read(&mut self, read: u64, to: &To<'_>) {
        self.read = self.read.max(read);
        to.monitor.set_figure(wire::READ, self.read);
    }
}

impl To<'_> {
    fn of(reader: &Reader) -> To<'_> {
        To {
            reader,
            blocks: Blocks::of(reader),
            monitor: reader.monitor(),
        }
    }
}

fn read_failed(source: &Source, at: u64, error: &io::Error) -> Failure {
    Failure::io("read", source.path(), error).remark(&format!("at byte {at}"))
}
