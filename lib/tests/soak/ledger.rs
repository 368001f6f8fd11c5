//! What the processes write down, so that it outlives them: files beside the session.

use std::fs::{self, File};
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Mutex;

use crate::LANES;

/// What was drained in all, also twice.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) blocks: u64,
    pub(crate) bytes: u64,
}

impl Progress {
    pub(crate) fn read(directory: &Path) -> Progress {
        let mut bytes = [0; 16];
        match File::open(directory.join("progress")).and_then(|mut f| f.read_exact(&mut bytes)) {
            Ok(()) => {
                let (numbers, _) = bytes.as_chunks::<8>();
                Progress {
                    blocks: u64::from_ne_bytes(numbers[0]),
                    bytes: u64::from_ne_bytes(numbers[1]),
                }
            }
            // Nothing was drained yet.
            Err(_) => Progress::default(),
        }
    }

    /// The number of the last pair, 0 before the first.
    pub(crate) fn read_epoch(directory: &Path) -> u64 {
        match fs::read_to_string(directory.join("epoch")) {
            Ok(text) => text.parse().unwrap(),
            Err(error) if error.kind() == ErrorKind::NotFound => 0,
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn write_epoch(directory: &Path, epoch: u64) {
        // In one step: the next Writer may read it just when this one is killed.
        let new = directory.join("epoch.new");
        fs::write(&new, epoch.to_string()).unwrap();
        fs::rename(new, directory.join("epoch")).unwrap();
    }
}

/// The Writer's: how far it has come.
pub(crate) struct ProgressFile {
    file: File,
    so_far: Progress,
}

impl ProgressFile {
    pub(crate) fn go_on(directory: &Path) -> ProgressFile {
        ProgressFile {
            so_far: Progress::read(directory),
            file: open(directory, "progress"),
        }
    }

    pub(crate) fn count(&mut self, len: usize) {
        self.so_far.blocks += 1;
        self.so_far.bytes += len as u64;
        if self.so_far.blocks.is_multiple_of(32) {
            self.write();
        }
    }

    pub(crate) fn write(&mut self) {
        let Progress { blocks, bytes } = self.so_far;
        let bytes = [blocks.to_ne_bytes(), bytes.to_ne_bytes()].concat();
        self.file.seek(SeekFrom::Start(0)).unwrap();
        self.file.write_all(&bytes).unwrap();
    }
}

fn open(directory: &Path, name: &str) -> File {
    let path = directory.join(name);
    let mut options = File::options();
    options.write(true).create(true).truncate(false);
    options.open(path).unwrap()
}

/// The Writer's: the tags of the blocks that it has drained in this session, each written
/// before the block is given back. All its threads share the file: not every system
/// appends as a whole.
pub(crate) struct Drained(Mutex<File>);

impl Drained {
    /// Of a new session.
    pub(crate) fn begin(directory: &Path) -> Drained {
        Drained(Mutex::new(File::create(directory.join("drained")).unwrap()))
    }

    pub(crate) fn write(&self, tags: impl Iterator<Item = u64>) {
        let bytes: Vec<u8> = tags.flat_map(u64::to_ne_bytes).collect();
        self.0.lock().unwrap().write_all(&bytes).unwrap();
    }

    pub(crate) fn for_each(directory: &Path, mut see: impl FnMut(u64)) {
        let Ok(file) = File::open(directory.join("drained")) else {
            return;
        };
        let mut file = BufReader::new(file);
        let mut tag = [0; 8];
        loop {
            match file.read_exact(&mut tag) {
                Ok(()) => see(u64::from_ne_bytes(tag)),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// The Reader's: how many blocks of each lane may have been sent, each written before; and,
/// as the last number, how many of the borrowed ones were, written after.
pub(crate) struct Sending(File);

/// As read.
pub(crate) type Sent = [u64; LANES + 1];

impl Sending {
    /// Of a new process.
    pub(crate) fn begin(directory: &Path) {
        let zeros = [0; size_of::<Sent>()];
        fs::write(directory.join("sending"), zeros).unwrap();
    }

    pub(crate) fn open(directory: &Path) -> Sending {
        Sending(open(directory, "sending"))
    }

    pub(crate) fn write(&mut self, index: usize, number: u64) {
        self.0.seek(SeekFrom::Start(8 * index as u64)).unwrap();
        self.0.write_all(&number.to_ne_bytes()).unwrap();
    }

    pub(crate) fn read(directory: &Path) -> Sent {
        let bytes = fs::read(directory.join("sending")).unwrap();
        let (numbers, _) = bytes.as_chunks::<8>();
        std::array::from_fn(|index| u64::from_ne_bytes(numbers[index]))
    }
}

/// The test's word that all kills have been, and that enough was sent.
pub(crate) fn say_enough(directory: &Path) {
    File::create(directory.join("enough")).unwrap();
}

pub(crate) fn is_enough(directory: &Path) -> bool {
    directory.join("enough").exists()
}
