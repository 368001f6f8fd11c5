//! One end of a session whose other end may be of another language: `end reader|writer NAME [STOP]`.
//!
//! end.c and end.py are the same program, and say the same. With STOP it stops once so many blocks
//! were sent, or drained, until it gets a line: to be killed there, or while its partner is.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program of a test, which says what it found"
)]

use std::fmt::{self, Display, Formatter};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use engine::{Delivered, Error, Label, Letter, Options, Reader, Role, Side, Writer};

const SIZE: usize = 1000;
const COUNT: u64 = 1000;
const LIMIT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let side = match arguments[0].as_str() {
        "reader" => Side::Reader,
        _ => Side::Writer,
    };
    let stop = arguments.get(2).map(|text| text.parse().unwrap());
    let mut blocks = Sum::new();
    match run(side, &arguments[1], stop, &mut blocks) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let delivered = match error {
                Error::PartnerDied { delivered, .. } => delivered.blocks,
                _ => 0,
            };
            println!("blocks: {blocks}");
            println!("error: {}, delivered: {delivered}", error.code());
            ExitCode::FAILURE
        }
    }
}

fn run(side: Side, name: &str, stop: Option<u64>, blocks: &mut Sum) -> Result<(), Error> {
    let options = Options::new().block_size(SIZE).block_count(8);
    match engine::join(name, &options.wait(LIMIT).side(side))? {
        Role::Reader(reader) => send_all(&reader, stop, blocks),
        Role::Writer(writer) => drain_all(&writer, stop, blocks),
    }
}

fn send_all(reader: &Reader, stop: Option<u64>, blocks: &mut Sum) -> Result<(), Error> {
    let mut posted = Sum::new();
    for number in 0..COUNT {
        stop_at(number, stop);
        let len = (number * 379) as usize % (SIZE + 1);
        let mut block = reader.empty_block_until(deadline())?;
        block[..len].copy_from_slice(&content(number, len));
        let label = Label {
            tag: number.wrapping_mul(0x9E37_79B9_7F4A_7C15),
            kind: (number * 257) as u16,
            more: number % 3 == 1,
        };
        blocks.add(label, &block[..len]);
        block.send_as(len, label)?;
        if number % 100 == 99 {
            let letter = letter(number);
            reader.post_until(letter.kind, &letter.bytes, deadline())?;
            posted.add_letter(&letter);
        }
    }
    reader.close()?;
    let mut heard = Sum::new();
    while let Some(letter) = reader.letter_until(deadline())? {
        heard.add_letter(&letter);
    }
    tell(blocks, &posted, &heard, reader.verdict_until(deadline())?);
    Ok(())
}

fn drain_all(writer: &Writer, stop: Option<u64>, blocks: &mut Sum) -> Result<(), Error> {
    let mut posted = Sum::new();
    while let Some(block) = writer.data_block_until(deadline())? {
        blocks.add(block.label(), &block);
        drop(block);
        if blocks.count.is_multiple_of(100) {
            let letter = letter(blocks.count);
            writer.post_until(letter.kind, &letter.bytes, deadline())?;
            posted.add_letter(&letter);
        }
        stop_at(blocks.count, stop);
    }
    let mut heard = Sum::new();
    while let Some(letter) = writer.letter_until(deadline())? {
        heard.add_letter(&letter);
    }
    tell(blocks, &posted, &heard, writer.finish()?);
    Ok(())
}

fn tell(blocks: &Sum, posted: &Sum, heard: &Sum, delivered: Delivered) {
    println!("blocks: {blocks}\nposted: {posted}\nheard: {heard}");
    println!("delivered: {}, {} bytes", delivered.blocks, delivered.bytes);
}

fn stop_at(number: u64, stop: Option<u64>) {
    if stop == Some(number) {
        println!("stopped");
        std::io::stdin().read_line(&mut String::new()).unwrap();
    }
}

fn deadline() -> Instant {
    Instant::now() + LIMIT
}

fn content(number: u64, len: usize) -> Vec<u8> {
    (0..len)
        .map(|index| (7 * number as usize + 3 * index) as u8)
        .collect()
}

fn letter(number: u64) -> Letter {
    Letter {
        kind: number as u16,
        bytes: content(number, number as usize % 1017),
    }
}

/// What has passed, as a number of things, a number of bytes, and a checksum (FNV-1a).
struct Sum {
    count: u64,
    bytes: usize,
    hash: u64,
}

impl Sum {
    fn new() -> Sum {
        Sum {
            count: 0,
            bytes: 0,
            hash: 0xCBF2_9CE4_8422_2325,
        }
    }

    fn add(&mut self, label: Label, data: &[u8]) {
        self.count += 1;
        self.bytes += data.len();
        let (tag, kind) = (label.tag.to_le_bytes(), label.kind.to_le_bytes());
        for part in [&tag[..], &kind, &[u8::from(label.more)], data] {
            for &byte in part {
                self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
            }
        }
    }

    fn add_letter(&mut self, letter: &Letter) {
        self.add(Label::new(letter.kind, 0), &letter.bytes);
    }
}

impl Display for Sum {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let Sum { count, bytes, hash } = self;
        write!(to, "{count}, {bytes} bytes, {hash:016x}")
    }
}
