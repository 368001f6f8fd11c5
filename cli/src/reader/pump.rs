//! The Reader's work: from the source into empty blocks.
//!
//! ```text
//! source ── hole ────────────────> empty block of kind HOLE
//!        └─ data ─> block ─ hash ─> DATA
//!                              at the end: unchanged? ─> METADATA, DIGEST
//! ```

use brigade::{Label, Monitor, Reader};

use crate::failure::Failure;
use crate::metadata::Metadata;
use crate::rate::Limiter;
use crate::reader::holes;
use crate::reader::source::Source;
use crate::request::args::When;
use crate::request::plan::Plan;
use crate::request::settings::{Preserve, Settings};
use crate::sys;
use crate::talk::{pieces, wire};
use crate::tree::Tree;

/// What a hole is to the hash.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// What was read and sent.
pub(crate) struct Filled {
    pub(crate) bytes: u64,
    pub(crate) holes: u64,
    pub(crate) digest: Option<[u8; 32]>,
}

/// Sends all of `source`, and then what is told of it.
pub(crate) fn fill(plan: &Plan, reader: &Reader, source: &mut Source) -> Result<Filled, Failure> {
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
        sent: 0,
        holes: 0,
    };
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
    /// Bytes of the source that were sent, holes among them.
    sent: u64,
    holes: u64,
}

impl Pump<'_> {
    /// Sends some more; false at the end.
    fn step(&mut self, source: &mut Source) -> Result<bool, Failure> {
        let at = self.sent;
        let failed = |source: &Source, error| {
            Failure::io("read", source.path(), &error).remark(&format!("at byte {at}"))
        };
        if self.settings.sparse != crate::request::args::When::Never {
            let skipped = source.skip_hole();
            if let Some(len) = skipped.map_err(|error| failed(source, error))? {
                self.hole(len)?;
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

fn hash(hash: &mut Option<Tree>, bytes: &[u8]) {
    if let Some(hash) = hash {
        hash.update(bytes);
    }
}
