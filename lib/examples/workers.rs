//! A backup whose second process compresses with four threads. Blocks are detached, so that
//! any thread may have one; each is given back as soon as it is compressed, in whatever order
//! that comes.
//!
//! ```text
//! workers NAME     # twice: the first fills, the second compresses
//! ```
//!
//! The second process unpacks what it has kept and compares it with what the first says that
//! it sent. Only then it gives its verdict; so the exit status of both says whether the
//! backup is good.
#![allow(clippy::print_stdout, reason = "a program that says how it went")]

use std::error::Error;
use std::process::ExitCode;
use std::sync::{Mutex, mpsc};
use std::thread;

use brigade::{Options, OwnedDataBlock, Reader, Role, Writer, join};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const WORKERS: usize = 4;

/// How much the first process has to back up, in bytes; not a whole number of blocks.
const SOURCE_SIZE: u64 = (16 << 20) + 12_345;

const BLOCK_SIZE: usize = 256 * 1024;

/// Kind of the letter that says what was sent.
const DIGEST: u16 = 1;

fn main() -> ExitCode {
    let outcome = match std::env::args().nth(1) {
        Some(name) => run(&name),
        None => Err("usage: workers NAME, twice".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("workers: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One of the two processes.
fn run(name: &str) -> Outcome<()> {
    match join(name, &Options::new().block_size(BLOCK_SIZE).block_count(16))? {
        Role::Reader(reader) => send_source(&reader),
        Role::Writer(writer) => back_up(writer),
    }
}

// ---- the first process ----------------------------------------------------------------

fn send_source(reader: &Reader) -> Outcome<()> {
    let (mut offset, mut digest) = (0, Digest::new());
    while offset < SOURCE_SIZE {
        let mut block = reader.empty_block()?;
        let len = (SOURCE_SIZE - offset).min(BLOCK_SIZE as u64) as usize;
        read_source(&mut block[..len], offset);
        digest.add(&block[..len]);
        block.send(len, offset)?;
        offset += len as u64;
    }
    reader.post(DIGEST, &digest.0.to_le_bytes())?;
    println!("sent {}", reader.finish()?);
    Ok(())
}

/// What a file would hold: lines of text.
fn read_source(to: &mut [u8], offset: u64) {
    for (index, byte) in to.iter_mut().enumerate() {
        let position = offset + index as u64;
        let (line, column) = (position / 64, position % 64);
        *byte = match column {
            63 => b'\n',
            0..16 => b'0' + (line.wrapping_mul(2_654_435_761) >> (2 * column)) as u8 % 10,
            _ => b'a' + (line % 7 + column / 5) as u8,
        };
    }
}

// ---- the second process ---------------------------------------------------------------

fn back_up(writer: Writer) -> Outcome<()> {
    let checked = compress_all(&writer).and_then(|pieces| check(&writer, pieces));
    match checked {
        Ok(packed_size) => {
            let received = writer.finish()?;
            println!("kept {received} as {packed_size} bytes");
            Ok(())
        }
        Err(error) => {
            writer.abort(&format!("the backup is not good: {error}"));
            Err(error)
        }
    }
}

/// A compressed block: where in the source it begins, and its bytes.
type Piece = (u64, Vec<u8>);

fn compress_all(writer: &Writer) -> Outcome<Vec<Piece>> {
    let (hand, work) = mpsc::channel();
    let work = Mutex::new(work);
    let pieces = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| scope.spawn(|| compress(&work)))
            .collect();
        // This thread waits for data; while it does, whoever is done with a block wakes it to
        // give that back.
        while let Some(block) = writer.data_block()? {
            hand.send(block.detach())?;
        }
        drop(hand);
        let mut pieces = Vec::new();
        for worker in workers {
            pieces.extend(worker.join().map_err(|_| "a worker panicked")??);
        }
        Outcome::Ok(pieces)
    })?;
    Ok(pieces)
}

/// One worker: all that it compressed.
fn compress(work: &Mutex<mpsc::Receiver<OwnedDataBlock>>) -> Outcome<Vec<Piece>> {
    let mut pieces = Vec::new();
    loop {
        let next = work.lock().map_err(|_| "another worker panicked")?.recv();
        let Ok(block) = next else {
            return Ok(pieces);
        };
        pieces.push((block.tag(), lz4_flex::compress(&block)));
        // Given back here, by this thread.
        drop(block);
    }
}

/// Unpacks everything; the size that it had packed.
fn check(writer: &Writer, mut pieces: Vec<Piece>) -> Outcome<usize> {
    pieces.sort_unstable_by_key(|(offset, _)| *offset);
    let (mut end, mut digest, mut packed_size) = (0, Digest::new(), 0);
    for (offset, packed) in pieces {
        if offset != end {
            return Err(format!("after {end} bytes comes byte {offset}").into());
        }
        let unpacked = lz4_flex::decompress(&packed, BLOCK_SIZE)?;
        digest.add(&unpacked);
        end += unpacked.len() as u64;
        packed_size += packed.len();
    }
    let letter = writer
        .letter()?
        .ok_or("the first process posted no digest")?;
    if letter.kind != DIGEST || letter.bytes != digest.0.to_le_bytes() {
        return Err("what was unpacked is not what was sent".into());
    }
    Ok(packed_size)
}

/// FNV-1a: enough to see a block that is missing, doubled or torn.
struct Digest(u64);

impl Digest {
    fn new() -> Digest {
        Digest(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}
