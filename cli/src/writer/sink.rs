//! The Writer's work: from blocks into the destination.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use brigade::{Monitor, Writer, at_step};

use crate::failure::{Exit, Failure};
use crate::hashing::{self, Until};
use crate::metadata::{Metadata, Teller};
use crate::rate::Limiter;
use crate::request::args::When;
use crate::request::plan::Plan;
use crate::request::settings::Settings;
use crate::sys;
use crate::talk::agreement::Begin;
use crate::talk::pieces::nonsense;
use crate::talk::source_facts::SourceFacts;
use crate::talk::trailer::Trailer;
use crate::talk::wire;
use crate::tree::{Begun, SUBTREE_BYTES, Tree};
use crate::visible;
use crate::writer::destination::Destination;
use crate::writer::journaling::{Keeper, Marks, Sampler};
use crate::writer::skip_rule::{LastLook, SkipRule};
use crate::writer::syncer::Syncer;

/// What is written where a hole cannot be.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// As this half knows it.
pub(super) const SOURCE: &str = "the source";

/// How often what the old file has is asked for again, if it changes all the time.
const ATTRIBUTES_TRIES: u32 = 3;

/// What was written.
pub(crate) struct Drained {
    pub(crate) bytes: u64,
    pub(crate) holes: u64,
    /// Where it began.
    pub(crate) before: u64,
    pub(crate) on_disk: bool,
    pub(crate) digest: Option<[u8; 32]>,
}

/// This half's figures, as the Reader of the moment sees them: set from two threads.
#[derive(Clone)]
struct Figures(Arc<Mutex<Monitor>>);

impl Figures {
    fn of(writer: &Writer) -> Figures {
        Figures(Arc::new(Mutex::new(writer.monitor())))
    }

    fn set(&self, index: usize, value: u64) {
        self.monitor().set_figure(index, value);
    }

    /// Valid even if a thread panicked with it.
    fn monitor(&self) -> MutexGuard<'_, Monitor> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on another Reader sees them, as they are.
    fn show(&self, writer: &Writer) {
        let mut monitor = self.monitor();
        let figures = monitor.figures();
        *monitor = writer.monitor();
        for (index, value) in figures.into_iter().enumerate() {
            monitor.set_figure(index, value);
        }
    }
}

/// A destination, and all that goes on while it is written.
pub(super) struct Sink<'p> {
    settings: &'p Settings,
    destination: Destination,
    syncer: Option<Syncer>,
    /// Where the journal may note something, if there is one.
    marks: Option<Arc<Marks>>,
    /// Of the subtrees that it notes; the Reader tells what stands for them, if it hashes all.
    sampler: Option<Sampler>,
    figures: Figures,
    /// Whether what is on disk should leave the cache.
    spares_cache: bool,
    /// Of all that came, where it is expected to be another's, or cannot be read again.
    hash: Option<Tree>,
    limiter: Limiter,
    /// Whose word it is what the Reader tells of its source.
    teller: Teller,
    /// Bytes that will come, if that is known.
    size: Option<u64>,
    /// Bytes of the source that the destination has, holes among them.
    written: u64,
    skipped: u64,
    before: u64,
    /// What the Reader told last of the hash so far.
    begun: Option<Begun>,
}

impl<'p> Sink<'p> {
    /// Goes on after the first `written` bytes.
    pub(super) fn new(
        plan: &'p Plan,
        mut destination: Destination,
        size: Option<u64>,
        written: u64,
        writer: &Writer,
    ) -> Result<Sink<'p>, Failure> {
        let settings = &plan.settings;
        let is_hashed =
            settings.expected.digest.is_some() || settings.verify && !destination.can_read_again();
        // It may take long, and the Reader waits for an answer.
        let monitor = writer.monitor();
        let show = |hashed| monitor.set_figure(wire::WRITTEN, hashed);
        let hash = is_hashed.then(|| destination.hash_of_first(written, show));
        let hash = hash.transpose();
        let hash = hash.map_err(|error| Failure::io("read again", destination.path(), &error))?;
        Ok(Sink {
            settings,
            spares_cache: settings.spares_cache(size),
            hash,
            destination,
            syncer: None,
            marks: None,
            sampler: None,
            figures: Figures::of(writer),
            teller: Teller::of(writer.partner()),
            limiter: Limiter::new(settings.limit_rate),
            size,
            written,
            skipped: 0,
            before: written,
            begun: None,
        })
    }

    /// Whether nothing was written yet.
    pub(super) fn is_empty(&self) -> bool {
        self.written == 0
    }

    fn syncs(&self) -> bool {
        self.settings.sync && self.destination.can_sync()
    }

    fn start_syncing(&self, mut keeper: Option<Keeper>) -> io::Result<Syncer> {
        let figures = self.figures.clone();
        let cached = match self.spares_cache {
            true => Some(self.destination.handle()?),
            false => None,
        };
        Syncer::start(self.destination.handle()?, move |from, to| {
            figures.set(wire::ON_DISK, to);
            if let Some(keeper) = &mut keeper {
                keeper.on_disk(to);
            }
            if let Some(file) = &cached {
                sys::forget_cached(file, from, Some(to - from));
            }
        })
    }

    pub(super) fn data(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Failure> {
        if offset != self.written {
            let due = self.written;
            return Err(nonsense(&format!("byte {offset} where byte {due} is due")));
        }
        let end = self.end_after(bytes.len() as u64)?;
        self.settings.expected.check_so_far(SOURCE, end)?;
        self.write(bytes)
    }

    /// The Reader goes on at `offset`: where it was told to, or at 0, if what was left is of
    /// no use to it. That is this copy's own from now on.
    pub(super) fn begin_at(&mut self, offset: u64) -> Result<(), Failure> {
        if offset != self.written {
            self.destination.start_over()?;
            self.written = offset;
            self.before = offset;
            self.hash = self.hash.take().map(|_| Tree::new());
        }
        self.destination.adopt()?;
        if self.syncer.is_none() && self.syncs() {
            if self.destination.resumed().begun.is_some() {
                self.figures.set(wire::ON_DISK, self.written);
            }
            let marks = Marks::new(self.written > 0);
            let keeper = self.destination.journal_keeper(&marks);
            if keeper.is_some() {
                self.sampler = (!self.settings.verify).then(|| Sampler::new(&marks));
                self.marks = Some(marks);
            }
            let started = self.start_syncing(keeper);
            self.syncer = Some(started.map_err(|error| self.failed("sync", &error))?);
        }
        Ok(())
    }

    /// Goes on with another Reader; where that begins.
    pub(super) fn meet(&mut self, writer: &Writer) -> Begin {
        self.figures.show(writer);
        self.teller = Teller::of(writer.partner());
        let resumed = self.destination.resumed();
        // Until a Reader has compared it with its source.
        let left = resumed.begun.as_ref().filter(|_| self.syncer.is_none());
        // Another user's word is not enough to go on with it.
        let partial = self.destination.which_file();
        Begin {
            offset: self.written,
            begun: left.or(self.begun.as_ref()).cloned(),
            partial: partial.filter(|_| self.teller == Teller::OwnUser),
            old: self.destination.old(),
            options: Some(self.settings.mark()),
            journal: self.marks.is_some() || self.destination.has_journal(),
            resumes: left.is_some(),
            starts_over: resumed.starts_over,
            unused: resumed.unused,
            ..Begin::default()
        }
    }

    /// What stands for `subtrees` of the hash of what has come.
    pub(super) fn begun(&mut self, subtrees: u64, bytes: &[u8]) -> Result<(), Failure> {
        let begun = Begun::decode(subtrees, bytes)
            .filter(|begun| begun.subtrees() <= self.written / SUBTREE_BYTES);
        let begun = begun.ok_or_else(|| nonsense("a hash of what has not come"))?;
        if let Some(marks) = &self.marks
            && self.sampler.is_none()
            && marks.is_due()
        {
            marks.set(begun.clone(), Duration::ZERO);
        }
        self.begun = Some(begun);
        Ok(())
    }

    pub(super) fn hole(&mut self, len: u64) -> Result<(), Failure> {
        let end = self.end_after(len)?;
        self.settings.expected.check_so_far(SOURCE, end)?;
        if self.settings.sparse != When::Never {
            let skipped = self.destination.skip(len, self.size);
            if skipped.map_err(|error| self.failed("write to", &error))? {
                self.hash_zeros(len);
                self.sample_zeros(len);
                self.written = end;
                self.skipped += len;
                return self.note();
            }
        }
        while self.written < end {
            let len = (end - self.written).min(ZEROS.len() as u64);
            self.write(&ZEROS[..len as usize])?;
        }
        Ok(())
    }

    fn hash_zeros(&mut self, len: u64) {
        let Some(hash) = &mut self.hash else {
            return;
        };
        let mut left = len;
        while left > 0 {
            let zeros = left.min(ZEROS.len() as u64);
            hash.update(&ZEROS[..zeros as usize]);
            left -= zeros;
            // It may take long.
            let written = self.written + len - left;
            self.figures.set(wire::WRITTEN, written);
        }
    }

    /// As `hash_zeros`, for the journal.
    fn sample_zeros(&mut self, len: u64) {
        let Some(sampler) = &mut self.sampler else {
            return;
        };
        sampler.written(self.written, len, |tree, range| {
            let mut left = range.end - range.start;
            while left > 0 {
                let zeros = left.min(ZEROS.len() as u64);
                tree.update(&ZEROS[..zeros as usize]);
                left -= zeros;
            }
        });
    }

    /// Where `len` more bytes end: no file can be longer than what a partner may tell.
    fn end_after(&self, len: u64) -> Result<u64, Failure> {
        let end = self.written.checked_add(len);
        end.filter(|&end| i64::try_from(end).is_ok())
            .ok_or_else(|| nonsense("more than a file can hold"))
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), Failure> {
        while !bytes.is_empty() {
            let most = bytes.len().min(self.destination.at_once());
            let (piece, rest) = bytes.split_at(self.limiter.piece(most));
            let written = self.destination.write(piece);
            written.map_err(|error| self.failed("write to", &error))?;
            if let Some(hash) = &mut self.hash {
                hash.update(piece);
            }
            if let Some(sampler) = &mut self.sampler {
                sampler.written(self.written, piece.len() as u64, |tree, range| {
                    tree.update(&piece[range.start as usize..range.end as usize]);
                });
            }
            self.written += piece.len() as u64;
            self.note()?;
            self.limiter.pace(piece.len());
            bytes = rest;
        }
        Ok(())
    }

    /// Tells how far it is.
    fn note(&self) -> Result<(), Failure> {
        self.figures.set(wire::WRITTEN, self.written);
        let Some(syncer) = &self.syncer else {
            self.figures.set(wire::ON_DISK, self.written);
            return Ok(());
        };
        let noted = syncer.written(self.written);
        noted.map_err(|error| self.failed("sync", &error))
    }

    /// All is there: checks it, and makes it the destination.
    pub(super) fn finish(
        mut self,
        trailer: &Trailer,
        facts: &SourceFacts,
        last_check: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<Drained, Failure> {
        self.check_told(facts)?;
        let received = self.hash.take().map(|hash| hash.finalize());
        let checked = self.check(received.as_ref());
        checked.inspect_err(|_| self.destination.set_wrong())?;
        let ended = self.destination.end(self.written);
        ended.map_err(|error| self.failed("write to", &error))?;
        if let Some(syncer) = self.syncer.take() {
            let synced = syncer.finish();
            synced.map_err(|error| self.failed("sync", &error))?;
        }
        let digest = match self.settings.verify {
            true => {
                let verified = self.verify(trailer.digest()?, received);
                Some(verified.inspect_err(|_| self.destination.set_wrong())?)
            }
            false => received.map(blake3::Hash::into),
        };
        let metadata = trailer.metadata()?;
        let sync = self.syncs();
        self.finish_file(&metadata, sync)?;
        let last_look = LastLook {
            rule: SkipRule::of(self.settings),
            modified: metadata.modified_at_end.or(facts.modified),
        };
        let cached = self.destination.handle().ok().filter(|_| self.spares_cache);
        at_step("about to take the name");
        self.destination.commit(sync, last_look, last_check)?;
        at_step("complete");
        if let Some(file) = cached {
            sys::forget_cached(&file, 0, None);
        }
        self.figures.set(wire::ON_DISK, self.written);
        if sync {
            self.figures.set(wire::ALL_ON_DISK, 1);
        }
        wire::set_waited(&self.figures.monitor());
        Ok(Drained {
            bytes: self.written,
            holes: self.skipped,
            before: self.before,
            on_disk: sync,
            digest,
        })
    }

    /// That it is as much as the Reader had told of.
    fn check_told(&self, facts: &SourceFacts) -> Result<(), Failure> {
        match facts.size.filter(|_| facts.whole) {
            Some(size) if self.written < size => Err(nonsense(&format!(
                "{} bytes, and not the {size} that it had told of",
                self.written
            ))),
            _ => Ok(()),
        }
    }

    /// That all is what was expected.
    fn check(&self, received: Option<&blake3::Hash>) -> Result<(), Failure> {
        let expected = self.settings.expected;
        expected.check_end(SOURCE, self.written)?;
        match received {
            Some(received) => expected.check_digest(SOURCE, received),
            None => Ok(()),
        }
    }

    /// Gives the file its attributes, and puts it on disk with them. That may take long;
    /// what the old file has may be changed meanwhile.
    fn finish_file(&mut self, metadata: &Metadata, sync: bool) -> Result<(), Failure> {
        for _ in 0..ATTRIBUTES_TRIES {
            let preserve = self.settings.preserve;
            self.destination.finish(metadata, self.teller, preserve)?;
            if sync {
                let synced = self.destination.sync();
                synced.map_err(|error| self.failed("sync", &error))?;
            }
            let changed = self.destination.old_has_changed();
            if !changed.map_err(|error| self.failed("look at", &error))? {
                break;
            }
        }
        Ok(())
    }

    /// Compares what the destination holds with what the Reader has read.
    fn verify(
        &mut self,
        expected: [u8; blake3::OUT_LEN],
        received: Option<blake3::Hash>,
    ) -> Result<[u8; blake3::OUT_LEN], Failure> {
        let found = match received.filter(|_| !self.destination.can_read_again()) {
            Some(received) => received,
            None => {
                let hashed = self.hash_again();
                hashed.map_err(|error| self.failed("read again", &error))?
            }
        };
        if found == expected {
            return Ok(expected);
        }
        let message = format!(
            "{} is not what was read: its BLAKE3 hash is {found}, the source's is {}",
            visible::name(self.destination.path()),
            blake3::Hash::from(expected)
        );
        Err(Failure::new(Exit::Failed, message))
    }

    fn hash_again(&self) -> io::Result<blake3::Hash> {
        // A file has an end of its own, which should be where the data's is.
        let until = match self.destination.is_file() {
            true => Until::End(self.written),
            false => Until::Offset(self.written),
        };
        let file = self.destination.read_again()?;
        let show = |verified| self.figures.set(wire::WRITTEN, self.written + verified);
        let hash = hashing::add(Tree::new(), &file, until, show)?;
        Ok(hash.finalize())
    }

    fn failed(&self, what: &str, error: &io::Error) -> Failure {
        Failure::io(what, self.destination.path(), error)
    }
}
