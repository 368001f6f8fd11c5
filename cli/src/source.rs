//! Where the bytes come from.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::failure::Failure;
use crate::plan::Place;

/// An open source.
pub(crate) struct Source {
    file: File,
    path: PathBuf,
    /// A read gives less than asked for only at the end.
    regular: bool,
    size: Option<u64>,
    ended: bool,
}

impl Source {
    /// Whether opening `place` returns at once: a fifo waits for its writer.
    pub(crate) fn opens_at_once(place: &Place) -> bool {
        match place {
            Place::Standard => true,
            // One that cannot be looked at fails at once, too.
            Place::Path(path) => std::fs::metadata(path).map_or(true, |m| m.is_file()),
        }
    }

    pub(crate) fn open(place: &Place) -> Result<Source, Failure> {
        let (opened, path) = match place {
            Place::Standard => (standard_input(), PathBuf::from("standard input")),
            Place::Path(path) => (File::open(path), path.clone()),
        };
        let mut file = opened.map_err(|error| Failure::io("open", &path, &error))?;
        let metadata = file
            .metadata()
            .map_err(|error| Failure::io("look at", &path, &error))?;
        if metadata.is_dir() {
            let error = io::Error::from(io::ErrorKind::IsADirectory);
            return Err(Failure::io("read", &path, &error));
        }
        let regular = metadata.is_file();
        if regular {
            // A hint; reading works without it.
            let advice = rustix::fs::Advice::Sequential;
            let _ = rustix::fs::fadvise(&file, 0, None, advice);
        }
        Ok(Source {
            size: known_size(&mut file, &metadata),
            file,
            path,
            regular,
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
        let mut filled = 0;
        while filled < block.len() && !self.ended {
            if filled > 0 && !self.regular && !self.is_ready()? {
                break;
            }
            match self.file.read(&mut block[filled..]) {
                Ok(0) => self.ended = true,
                Ok(len) => filled += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Somebody else set this pipe to non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.poll(None)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Whether a read would return at once.
    fn is_ready(&self) -> io::Result<bool> {
        self.poll(Some(&Timespec::default()))
    }

    fn poll(&self, timeout: Option<&Timespec>) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.file, PollFlags::IN)];
        let ready = rustix::io::retry_on_intr(|| poll(&mut fds, timeout))?;
        Ok(ready > 0)
    }
}

/// A file of its own for standard input: unbuffered, unlike std's.
pub(crate) fn standard_input() -> io::Result<File> {
    standard_if_open(io::stdin().as_fd().try_clone_to_owned()?.into())
}

/// Rust's runtime puts the null device, open for both, in the place of a standard
/// stream that was closed. To copy from or to that would lose everything without a
/// word; who means the null device redirects to it, and opens it for one.
pub(crate) fn standard_if_open(file: File) -> io::Result<File> {
    use rustix::fs::OFlags;
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let metadata = file.metadata()?;
    let number = metadata.rdev();
    let number = (rustix::fs::major(number), rustix::fs::minor(number));
    let is_null = metadata.file_type().is_char_device() && number == (1, 3);
    let access = rustix::fs::fcntl_getfl(&file)? & OFlags::RWMODE;
    if is_null && access == OFlags::RDWR {
        return Err(rustix::io::Errno::BADF.into());
    }
    Ok(file)
}

/// Of a regular file its length, of a block device its capacity.
fn known_size(file: &mut File, metadata: &std::fs::Metadata) -> Option<u64> {
    use std::os::unix::fs::FileTypeExt;
    let size = if metadata.is_file() {
        // From where standard input may have been moved to.
        let position = file.stream_position().ok()?;
        metadata.len().saturating_sub(position)
    } else if metadata.file_type().is_block_device() {
        let position = file.stream_position().ok()?;
        let end = file.seek(SeekFrom::End(0)).ok()?;
        file.seek(SeekFrom::Start(position)).ok()?;
        end - position
    } else {
        return None;
    };
    // Files that are made up as they are read (in /proc) say that they are empty.
    (size > 0).then_some(size)
}
