//! Where the bytes come from.

use std::fs::File;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::plan::Place;
use crate::sys::{self, Facts, Kind};

/// An open source.
pub(crate) struct Source {
    file: File,
    path: PathBuf,
    kind: Kind,
    size: Option<u64>,
    /// Of a disk, what was not read yet: Windows refuses to read beyond the end,
    /// instead of giving less.
    left: u64,
    ended: bool,
}

impl Source {
    /// Whether opening `place` returns at once: a fifo waits for its writer.
    pub(crate) fn opens_at_once(place: &Place) -> bool {
        match place {
            Place::Standard => true,
            // One that cannot be looked at fails at once, too.
            Place::Path(path) => sys::facts_at(path).map_or(true, |found| found.kind == Kind::File),
        }
    }

    pub(crate) fn open(place: &Place) -> Result<Source, Failure> {
        let (opened, path) = match place {
            Place::Standard => (sys::standard_input(), PathBuf::from("standard input")),
            Place::Path(path) => (sys::open_to_read(path), path.clone()),
        };
        let mut file = opened.map_err(|error| Failure::io("open", &path, &error))?;
        let facts = sys::facts(&file).map_err(|error| Failure::io("look at", &path, &error))?;
        match facts.kind {
            Kind::Directory => {
                let error = io::Error::from(io::ErrorKind::IsADirectory);
                return Err(Failure::io("read", &path, &error));
            }
            Kind::File => sys::expect_in_order(&file),
            Kind::Disk | Kind::Stream => {}
        }
        let size = known_size(&mut file, &facts);
        Ok(Source {
            size,
            left: size
                .filter(|_| facts.kind == Kind::Disk)
                .unwrap_or(u64::MAX),
            file,
            path,
            kind: facts.kind,
            ended: false,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Size in bytes, if the source knows it.
    pub(crate) fn size(&self) -> Option<u64> {
        self.size
    }

    /// Reads the next bytes into `block`, 0 at the end: as many as fit, or, from
    /// something that comes bit by bit, what is there. So a slow stream is passed
    /// on without delay, and a fast one in full blocks.
    pub(crate) fn fill(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let len = usize::try_from(self.left).unwrap_or(usize::MAX);
        let len = len.min(block.len());
        let block = &mut block[..len];
        let mut filled = 0;
        while filled < block.len() && !self.ended {
            // A regular file gives less than asked for only at the end.
            if filled > 0 && self.kind != Kind::File && !sys::is_ready(&self.file)? {
                break;
            }
            match sys::read(&self.file, &mut block[filled..]) {
                Ok(0) => self.ended = true,
                Ok(len) => filled += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Somebody else set this pipe to non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    sys::wait_until_ready(&self.file)?;
                }
                Err(error) => return Err(error),
            }
        }
        self.left -= filled as u64;
        Ok(filled)
    }
}

/// Of a regular file its length, of a disk its capacity.
fn known_size(file: &mut File, facts: &Facts) -> Option<u64> {
    let size = match facts.kind {
        Kind::File => {
            // From where standard input may have been moved to.
            let position = file.stream_position().ok()?;
            facts.len.saturating_sub(position)
        }
        Kind::Disk => {
            let position = file.stream_position().ok()?;
            sys::capacity(file)?.saturating_sub(position)
        }
        Kind::Directory | Kind::Stream => return None,
    };
    // Files that are made up as they are read (in /proc) say that they are empty.
    (size > 0).then_some(size)
}
