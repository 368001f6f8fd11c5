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

use brigade::{Label, Monitor, Reader};

use crate::failure::{Exit, Failure};
use crate::metadata::Metadata;
use crate::rate::Limiter;
use crate::reader::holes;
use crate::reader::source::Source;
use crate::request::args::When;
use crate::request::plan::Plan;
use crate::request::settings::{Preserve, Settings};
use crate::sys;
use crate::talk::agreement::Begin;
use crate::talk::{pieces, wire};
use crate::tree::{Begun, Tree};

/// What a hole is to the hash.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// What is read at a time that was sent before.
const READ_AGAIN_AT_ONCE: usize = 256 * 1024;

/// What was read and sent.
pub(crate) struct Filled {
    pub(crate) bytes: u64,
    pub(crate) holes: u64,
    pub(crate) digest: Option<[u8; 32]>,
}

/// Sends all of `source` from where `begin` says, and then what is told of it; among the
/// data, if `tells_subtrees`, what stands for these.
pub(crate) fn fill(
    plan: &Plan,
    reader: &Reader,
    source: &mut Source,
    begin: &Begin,
    tells_subtrees: bool,
) -> Result<Filled, Failure> {
    let settings = &plan.settings;
    source.spare_cache(settings);
    // Before reading changes when it was read last.
    let mut metadata = match settings.preserve == Preserve::default() {
        true => Metadata::default(),
        false => source.metadata(settings.preserve.xattr)?,
    };
    let is_hashed = settings.verify || settings.expected.digest.is_some();
    let mut pump = Pump {
        settings,
        reader,
        monitor: reader.monitor(),
        limiter: Limiter::new(settings.limit_rate),
        source_words: plan.source_words(),
        hash: is_hashed.then(Tree::new),
        staged: match settings.sparse {
            When::Always => vec![0; reader.block_size()],
            When::Auto | When::Never => Vec::new(),
        },
        tells_subtrees,
        told_subtrees: 0,
        sent: 0,
        holes: 0,
    };
    pump.begin(source, begin)?;
    while pump.step(source)? {}
    pump.monitor.set_figure(wire::ALL_READ, 1);
    source.check_whole()?;
    let expected = settings.expected;
    expected.check_end(&pump.source_words, pump.sent)?;
    if !settings.allow_changes {
        source.check_unchanged()?;
    }
    let digest = pump.hash.take().map(|hash| hash.finalize());
    if let Some(digest) = &digest {
        expected.check_digest(&pump.source_words, digest)?;
    }
    metadata.modified_at_end = source.modified_by_now()?;
    let metadata = metadata.encode(wire::METADATA_BYTES_MAX, sys::is_access_list);
    pieces::send(reader, wire::METADATA, &metadata)?;
    if let Some(digest) = digest.filter(|_| settings.verify) {
        pieces::send(reader, wire::DIGEST, digest.as_bytes())?;
    }
    wire::set_waited(&pump.monitor);
    Ok(Filled {
        bytes: pump.sent,
        holes: pump.holes,
        digest: digest.map(blake3::Hash::into),
    })
}

/// All that goes on while the source is read.
struct Pump<'p> {
    settings: &'p Settings,
    reader: &'p Reader,
    monitor: Monitor,
    limiter: Limiter,
    source_words: String,
    hash: Option<Tree>,
    /// What was read, if it is to be searched for zeros.
    staged: Vec<u8>,
    /// The Writer gets to know what to go on from, and has heard of so many subtrees.
    tells_subtrees: bool,
    told_subtrees: u64,
    /// Bytes of the source that were sent, holes among them.
    sent: u64,
    holes: u64,
}

impl Pump<'_> {
    /// Goes to where the copy begins, with the hash of what is before.
    fn begin(&mut self, source: &mut Source, begin: &Begin) -> Result<(), Failure> {
        let offset = begin.offset;
        if offset == 0 {
            return Ok(());
        }
        let begun = begin.begun.as_ref();
        if self.hash.is_some() || begun.is_some() {
            let tree = self.read_again(source, offset, begun)?;
            self.hash = self.hash.take().map(|_| tree);
        }
        source.begin_at(offset)?;
        self.told_subtrees = begun.map_or(0, Begun::subtrees);
        self.note(offset);
        Ok(())
    }

    /// The hash of all before `offset`.
    fn read_again(
        &mut self,
        source: &mut Source,
        offset: u64,
        begun: Option<&Begun>,
    ) -> Result<Tree, Failure> {
        let mut tree = begun.map_or_else(Tree::new, Tree::before_last_of);
        let mut at = begun.map_or(0, Begun::last_begins_at);
        source.begin_at(at)?;
        let mut buffer = vec![0; READ_AGAIN_AT_ONCE];
        while at < offset {
            let left = usize::try_from(offset - at).unwrap_or(usize::MAX);
            let most = self.limiter.piece(left.min(buffer.len()));
            let len = source.fill(&mut buffer[..most]);
            let len = len.map_err(|error| read_failed(source, at, &error))?;
            if len == 0 {
                return Err(self.is_another(at));
            }
            tree.update(&buffer[..len]);
            at += len as u64;
            if begun.is_some_and(|begun| {
                tree.subtrees() == begun.subtrees() && tree.begun().as_ref() != Some(begun)
            }) {
                return Err(self.is_another(at));
            }
            // It may take long.
            self.monitor.set_figure(wire::READ, at);
            self.reader.check()?;
            self.limiter.pace(len);
        }
        Ok(tree)
    }

    fn is_another(&self, at: u64) -> Failure {
        let message = format!(
            "{} is not what was copied so far: it differs before byte {at}",
            self.source_words
        );
        Failure::new(Exit::SourceChanged, message)
    }

    /// Sends some more; false at the end.
    fn step(&mut self, source: &mut Source) -> Result<bool, Failure> {
        let at = self.sent;
        let failed = |source: &Source, error| read_failed(source, at, &error);
        if self.settings.sparse != crate::request::args::When::Never {
            let skipped = source.skip_hole();
            if let Some(len) = skipped.map_err(|error| failed(source, error))? {
                self.hole(len)?;
                self.tell_subtrees()?;
                return Ok(true);
            }
        }
        let len = match self.staged.is_empty() {
            true => {
                let mut block = self.reader.empty_block()?;
                let most = self.limiter.piece(block.len());
                let len = source.fill(&mut block[..most]);
                let len = len.map_err(|error| failed(source, error))?;
                if len > 0 {
                    self.check_more(len)?;
                    hash(&mut self.hash, &block[..len]);
                    block.send_as(len, Label::new(wire::DATA, self.sent))?;
                    self.note(len as u64);
                }
                len
            }
            false => {
                let mut staged = std::mem::take(&mut self.staged);
                let most = self.limiter.piece(staged.len());
                let len = source.fill(&mut staged[..most]);
                let len = len.map_err(|error| failed(source, error))?;
                self.check_more(len)?;
                self.send_runs(&staged[..len])?;
                self.staged = staged;
                len
            }
        };
        self.tell_subtrees()?;
        self.limiter.pace(len);
        Ok(len > 0)
    }

    /// Zeros as holes, and what is between them as data.
    fn send_runs(&mut self, mut bytes: &[u8]) -> Result<(), Failure> {
        while !bytes.is_empty() {
            let (len, is_zero) = holes::run(bytes);
            let (run, rest) = bytes.split_at(len);
            if is_zero {
                self.hole(len as u64)?;
            } else {
                let mut block = self.reader.empty_block()?;
                block[..len].copy_from_slice(run);
                hash(&mut self.hash, run);
                block.send_as(len, Label::new(wire::DATA, self.sent))?;
                self.note(len as u64);
            }
            bytes = rest;
        }
        Ok(())
    }

    fn hole(&mut self, len: u64) -> Result<(), Failure> {
        if self.hash.is_some() {
            let mut left = len;
            while left > 0 {
                let zeros = left.min(ZEROS.len() as u64);
                hash(&mut self.hash, &ZEROS[..zeros as usize]);
                left -= zeros;
                // It may take long.
                let read = self.sent + len - left;
                self.monitor.set_figure(wire::READ, read);
                self.reader.check()?;
            }
        }
        let block = self.reader.empty_block()?;
        block.send_as(0, Label::new(wire::HOLE, len))?;
        self.holes += len;
        self.monitor.set_figure(wire::HOLES, self.holes);
        self.note(len);
        Ok(())
    }

    /// What stands for the whole subtrees by now, if there are more than the Writer knows.
    /// It is not missed where blocks are too small for it: then another Reader begins with
    /// the hash of the first byte.
    fn tell_subtrees(&mut self) -> Result<(), Failure> {
        let Some(tree) = self.hash.as_ref().filter(|_| self.tells_subtrees) else {
            return Ok(());
        };
        let subtrees = tree.subtrees();
        if subtrees == self.told_subtrees {
            return Ok(());
        }
        self.told_subtrees = subtrees;
        let begun = tree.begun().map(|begun| begun.encode());
        let Some(begun) = begun.filter(|begun| begun.len() <= self.reader.block_size()) else {
            return Ok(());
        };
        let mut block = self.reader.empty_block()?;
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

    fn note(&mut self, len: u64) {
        self.sent += len;
        self.monitor.set_figure(wire::READ, self.sent);
    }
}

fn read_failed(source: &Source, at: u64, error: &std::io::Error) -> Failure {
    Failure::io("read", source.path(), error).remark(&format!("at byte {at}"))
}

fn hash(hash: &mut Option<Tree>, bytes: &[u8]) {
    if let Some(hash) = hash {
        hash.update(bytes);
    }
}
