//! Where the bytes come from.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use brigade::{Interest, Reader};

use crate::failure::{Exit, Failure, reason};
use crate::metadata::{Metadata, Stamp};
use crate::reader::cache::Cache;
use crate::reader::changes::{Name, what_changed};
use crate::reader::holes;
use crate::request::endpoint::Endpoint;
use crate::request::settings::Settings;
use crate::sys::{self, Facts, FollowLast, Held, Kind, Resolved};
use crate::talk::source_facts::SourceFacts;
use crate::visible;

/// The longest file that can be.
const FILE_BYTES_MAX: u64 = i64::MAX as u64;

/// An open source.
pub(crate) struct Source {
    file: File,
    place: Endpoint,
    path: PathBuf,
    /// When the copy began.
    before: Facts,
    /// Where in the file the copy begins: standard input may have been moved.
    start: u64,
    /// Bytes that the file or disk had from there, when the copy began.
    size: Option<u64>,
    /// There are none, by a file system whose word counts: files that are made up as they
    /// are read (in /proc) say that, too.
    is_empty: bool,
    /// Bytes of the source so far, holes among them.
    offset: u64,
    /// Up to here it is known to be no hole.
    data_until: u64,
    /// A regular file that says less than it has, as in /proc.
    size_lies: bool,
    ended: bool,
    cache: Cache,
    /// Set from another thread: then a stream is not waited for any more.
    interrupt: Option<Arc<AtomicBool>>,
    /// The last read has failed because that was set.
    was_interrupted: bool,
}

/// How long a stream is waited for at a time, by who can be interrupted.
const STREAM_WAIT: Duration = Duration::from_millis(100);

impl Source {
    /// Opens `place`, unless that could wait, as for a fifo, whose writer could notice it,
    /// too: then it can be opened only once it is to be read.
    pub(crate) fn open_at_once(place: &Endpoint) -> Result<Option<Source>, Failure> {
        if let Endpoint::Path(path) = place {
            let found = find(path).map_err(|error| Failure::io("open", path, &error))?;
            if found.facts.kind == Kind::Stream {
                return Ok(None);
            }
        }
        Source::open(place).map(Some)
    }

    pub(crate) fn open(place: &Endpoint) -> Result<Source, Failure> {
        let (opened, path) = match place {
            Endpoint::Standard => (sys::standard_input(), PathBuf::from("standard input")),
            Endpoint::Path(path) => {
                let opened = find(path).and_then(|found| found.open_to_read());
                (opened, path.clone())
            }
        };
        let file = opened.map_err(|error| Failure::io("open", &path, &error))?;
        let facts = sys::facts(&file).map_err(|error| Failure::io("look at", &path, &error))?;
        match facts.kind {
            Kind::Directory => {
                let error = io::Error::from(io::ErrorKind::IsADirectory);
                return Err(Failure::io("read", &path, &error));
            }
            Kind::File => sys::expect_in_order(&file),
            Kind::Disk | Kind::Stream => {}
        }
        let mut source = Source {
            file,
            place: place.clone(),
            path,
            before: facts,
            start: 0,
            size: None,
            is_empty: false,
            offset: 0,
            data_until: 0,
            size_lies: false,
            ended: false,
            cache: Cache::Kept,
            interrupt: None,
            was_interrupted: false,
        };
        source.begin()?;
        Ok(source)
    }

    /// Where it begins and how much it has, from there.
    fn begin(&mut self) -> Result<(), Failure> {
        let failed = |error| Failure::io("look at", &self.path, &error);
        let len = match self.before.kind {
            Kind::File => Some(self.before.len),
            Kind::Disk => sys::capacity(&self.file).map_err(failed)?,
            Kind::Directory | Kind::Stream => None,
        };
        if let Some(len) = len {
            self.start = self.file.stream_position().map_err(failed)?;
            self.size = Some(len.saturating_sub(self.start));
        }
        if self.before.kind == Kind::File && self.size == Some(0) {
            self.is_empty = !sys::may_lie_about_size(&self.file).map_err(failed)?;
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Size in bytes, if the source knows it.
    pub(crate) fn size(&self) -> Option<u64> {
        self.size.filter(|&size| size > 0 || self.is_empty)
    }

    /// What it is, for the Writer to decide by whether the copy begins.
    pub(crate) fn facts(&self) -> SourceFacts {
        let lies = sys::may_lie_about_size(&self.file);
        SourceFacts {
            whole: lies.is_ok_and(|lies| !lies),
            ..SourceFacts::of(&self.before, self.size())
        }
    }

    /// Beside the data, for a destination that should keep it.
    pub(crate) fn metadata(&self, with_attributes: bool) -> Result<Metadata, Failure> {
        if self.before.kind != Kind::File {
            return Ok(Metadata::default());
        }
        let mut metadata = sys::metadata(&self.file)
            .map_err(|error| Failure::io("look at", &self.path, &error))?;
        if with_attributes {
            match sys::attributes(&self.file) {
                Ok(attributes) => metadata.attributes.extend(attributes),
                Err(error) => metadata.attributes_error = Some(reason(&error)),
            }
        }
        Ok(metadata)
    }

    /// Goes on, or back, to `offset`: what is before it was sent. Not everything can.
    pub(crate) fn begin_at(&mut self, offset: u64) -> Result<(), Failure> {
        if self.offset == offset {
            return Ok(());
        }
        let failed = |error| Failure::io("read", &self.path, &error);
        if self.size.is_none_or(|size| size < offset) {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
        let position = SeekFrom::Start(self.start + offset);
        self.file.seek(position).map_err(failed)?;
        self.offset = offset;
        self.cache.begin_at(offset);
        self.data_until = 0;
        self.ended = false;
        Ok(())
    }

    /// Reads so that others' files stay in the cache, if that was asked for.
    pub(crate) fn spare_cache(&mut self, settings: &Settings) {
        if self.before.kind == Kind::File && settings.spares_cache(self.size) {
            self.cache = Cache::Avoided;
        }
    }

    /// How many bytes from here on are a hole, which is passed; `None` if there may
    /// be data, or the end.
    pub(crate) fn skip_hole(&mut self) -> io::Result<Option<u64>> {
        let Some(size) = self.size.filter(|_| self.before.kind == Kind::File) else {
            return Ok(None);
        };
        if self.offset < self.data_until || self.offset >= size {
            return Ok(None);
        }
        let here = self.start + self.offset;
        let data = holes::next_data(&self.file, here, self.start + size)?;
        let hole = (data.start - here).min(size - self.offset);
        self.data_until = data.end.saturating_sub(self.start);
        self.offset += hole;
        let position = SeekFrom::Start(self.start + self.offset);
        self.file.seek(position)?;
        Ok(Some(hole).filter(|&hole| hole > 0))
    }

    /// Reads the next bytes into `block`, 0 at the end: as many as fit, or, from
    /// something that comes bit by bit, what is there. So a slow stream is passed
    /// on without delay, and a fast one in full blocks.
    pub(crate) fn fill(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let left = match self.size {
            Some(size) if !self.size_lies => size - self.offset,
            _ => u64::MAX,
        };
        if left == 0 {
            return self.fill_beyond_size(block);
        }
        // Where a hole begins, reading ends: it need not be read.
        let data = self.data_until.saturating_sub(self.offset);
        let most = if data == 0 { left } else { left.min(data) };
        let len = usize::try_from(most).unwrap_or(usize::MAX).min(block.len());
        let filled = self.read(&mut block[..len])?;
        self.offset += filled as u64;
        self.cache.forget(&self.file, self.start, self.offset);
        Ok(filled)
    }

    /// Whether what was read last ended where a hole begins, or may begin.
    pub(crate) fn is_at_hole(&self) -> bool {
        self.offset == self.data_until
    }

    /// At the end, as the size says: it may lie. A file that has more because it has
    /// grown meanwhile ends here all the same; it could grow for ever.
    fn fill_beyond_size(&mut self, block: &mut [u8]) -> io::Result<usize> {
        if self.before.kind != Kind::File || self.ended {
            return Ok(0);
        }
        // No file has more, and some systems refuse to be asked for it.
        let most = FILE_BYTES_MAX.saturating_sub(self.start + self.offset);
        let len = usize::try_from(most).unwrap_or(usize::MAX).min(block.len());
        let filled = self.read(&mut block[..len])?;
        if filled > 0 && sys::facts(&self.file)?.len != self.before.len {
            self.ended = true;
            return Ok(0);
        }
        self.size_lies = filled > 0;
        self.offset += filled as u64;
        Ok(filled)
    }

    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        if !self.ended {
            self.wait_to_read()?;
        }
        while filled < block.len() && !self.ended {
            // A regular file gives less than asked for only at the end.
            if filled > 0 && self.before.kind != Kind::File && !sys::is_ready(&self.file)? {
                break;
            }
            match self
                .cache
                .read(&self.file, self.offset, &mut block[filled..])
            {
                Ok(0) => self.ended = true,
                Ok(len) => filled += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Somebody else set this pipe to non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && filled > 0 => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match self.heeded() {
                    Some(_) => self.wait_to_read()?,
                    None => sys::wait_until_ready(&self.file)?,
                },
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// From now on, a read that waits for a stream fails when `interrupt` is set, and loses
    /// nothing by that.
    pub(crate) fn heed(&mut self, interrupt: &Arc<AtomicBool>) {
        self.interrupt = Some(Arc::clone(interrupt));
    }

    /// Whether the last read has failed because that was set, and for no other reason.
    pub(crate) fn was_interrupted(&self) -> bool {
        self.was_interrupted
    }

    /// Waits for something to read, or the end; for ever, unless it is to heed somebody.
    fn wait_to_read(&mut self) -> io::Result<()> {
        self.was_interrupted = false;
        let Some(interrupt) = self.heeded() else {
            return Ok(());
        };
        while !sys::wait_to_read(&self.file, STREAM_WAIT)? {
            if interrupt.load(Ordering::Relaxed) {
                self.was_interrupted = true;
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        Ok(())
    }

    fn heeded(&self) -> Option<&AtomicBool> {
        let interrupt = self.interrupt.as_deref();
        interrupt.filter(|_| self.is_stream())
    }

    /// Whether it goes by, as a pipe, and is not there to be read at any time.
    pub(crate) fn is_stream(&self) -> bool {
        self.before.kind == Kind::Stream
    }

    /// Whether a read would return at once.
    pub(crate) fn is_ready(&self) -> bool {
        // What is wrong the read finds out.
        sys::is_ready(&self.file).unwrap_or(true)
    }

    /// Waits until there is something to read, or an empty block, or an end of either.
    pub(crate) fn wait_beside(&self, reader: &Reader) -> Result<(), Failure> {
        let handle = reader.handle()?;
        if reader.arm(Interest::BLOCKS)? {
            let waited = sys::wait_to_read_beside(&self.file, handle);
            reader.disarm()?;
            waited.map_err(|error| Failure::io("wait for", &self.path, &error))?;
        }
        Ok(())
    }

    /// When its content was changed last, by now; for what has such a time.
    pub(crate) fn modified_by_now(&self) -> Result<Option<Stamp>, Failure> {
        if self.before.kind != Kind::File {
            return Ok(None);
        }
        let found = sys::facts(&self.file);
        let found = found.map_err(|error| Failure::io("look at", &self.path, &error))?;
        Ok(found.modified)
    }

    /// That what was read is all that the source says to have. It may be less where sizes
    /// are made up, and of a file that was cut meanwhile, which is a change.
    pub(crate) fn check_whole(&self) -> Result<(), Failure> {
        let Some(size) = self.size.filter(|&size| self.offset < size) else {
            return Ok(());
        };
        let failed = |error| Failure::io("look at", &self.path, &error);
        let by_now = match self.before.kind {
            Kind::File => sys::facts(&self.file).map_err(failed)?.len,
            _ => self.start + size,
        };
        if by_now <= self.start + self.offset
            || sys::may_lie_about_size(&self.file).map_err(failed)?
        {
            return Ok(());
        }
        let (path, offset) = (visible::name(&self.path), self.offset);
        let message = format!(
            "{path} ended after {offset} bytes, though it has {size}: its file system, or disk, gave less than it told"
        );
        Err(Failure::new(Exit::Failed, message))
    }

    /// That what was read is what the source was all the time. Devices and streams
    /// do not tell.
    pub(crate) fn check_unchanged(&self) -> Result<(), Failure> {
        if self.before.kind != Kind::File {
            return Ok(());
        }
        let failed = |error| Failure::io("look at", &self.path, &error);
        let after = sys::facts(&self.file).map_err(failed)?;
        let name = match &self.place {
            Endpoint::Standard => Name::None,
            Endpoint::Path(path) => match find(path) {
                Ok(found) => Name::LeadsTo(found.facts),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Name::Removed,
                Err(error) => return Err(failed(error)),
            },
        };
        let Some(what) = what_changed(&self.before, &after, &name) else {
            return Ok(());
        };
        let message = format!(
            "{} changed while it was copied: {what}; copy it again, or accept what was read with --allow-changes",
            visible::name(&self.path)
        );
        Err(Failure::new(Exit::SourceChanged, message))
    }
}

/// What `path` leads to, held open. As the destination, it is not reached through links
/// that other users left in a directory like /tmp.
fn find(path: &Path) -> io::Result<Held> {
    match sys::resolve(path, FollowLast::Yes)? {
        Resolved::Name(_, Some(found)) | Resolved::Open(found) => Ok(found),
        Resolved::Name(_, None) => Err(sys::not_found()),
        Resolved::Directory(_) => Err(io::ErrorKind::IsADirectory.into()),
    }
}

#[cfg(all(test, unix))]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_stream_is_told_also_when_it_is_to_heed_somebody() {
        use std::io::Write;
        use std::net::{TcpListener, TcpStream};
        use std::os::fd::OwnedFd;

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let opener = path.clone();
        let other = std::thread::spawn(move || File::options().write(true).open(opener).unwrap());
        let mut source = Source::open(&Endpoint::Path(path)).unwrap();
        let mut writer = other.join().unwrap();
        let interrupt = Arc::new(AtomicBool::new(true));
        source.heed(&interrupt);
        let mut block = [0; 8];
        assert!(source.fill(&mut block).is_err() && source.was_interrupted());
        writer.write_all(b"more").unwrap();
        assert_eq!(source.fill(&mut block).unwrap(), 4);
        assert!(!source.was_interrupted());

        // Whoever closes a socket with bytes that were not read resets the connection.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (peer, _) = listener.accept().unwrap();
        stream.write_all(b"unread").unwrap();
        peer.peek(&mut block).unwrap();
        drop(peer);
        source.file = File::from(OwnedFd::from(stream));
        assert!(sys::wait_to_read(&source.file, Duration::from_secs(60)).unwrap());
        let error = source.fill(&mut block).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(!source.was_interrupted());
    }
}
