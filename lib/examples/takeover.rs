//! A copy in which either process may be killed: whoever is started next takes its place.
//!
//! In two terminals the same command, which copies 1000 MiB and waits 50 ms after each block.
//! Kill either with Ctrl-C or worse, and start it again, as often as you like.
//!
//!     cargo run -p brigade --example takeover -- my-copy 1000 copy.bin 50
//!
//! The blocks that a dead Writer had are sent again by the Reader. A dead Reader's successor
//! is told by the Writer where to go on, in a letter.
#![allow(clippy::print_stdout, reason = "a program that tells what it does")]

use std::error::Error;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::thread::sleep;
use std::time::Duration;

use brigade::{Options, Reader, Role, Seat, Writer};

const BLOCK: usize = 64 << 10;

/// How long a dead one's place is kept.
const LIMIT: Duration = Duration::from_secs(60);

/// What is copied, and under which name.
struct Copy<'a> {
    name: &'a str,
    end: u64,
    file: &'a str,
    pause: Duration,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, mib, file, pause_ms] = &arguments[..] else {
        return Err("takeover NAME MIB FILE PAUSE_MS".into());
    };
    let copy = Copy {
        name,
        end: mib.parse::<u64>()? << 20,
        file,
        pause: Duration::from_millis(pause_ms.parse()?),
    };
    let seat = Seat::take(name, &options())?;
    println!("the {}", seat.side());
    match seat.wait()? {
        Role::Reader(reader) => copy.fill(reader),
        Role::Writer(writer) => copy.drain(writer),
    }
}

/// The side is what is left.
fn options() -> Options {
    let options = Options::new().block_size(BLOCK).block_count(8);
    options.wait(LIMIT).takeover(LIMIT)
}

impl Copy<'_> {
    fn fill(&self, mut reader: Reader) -> Result<(), Box<dyn Error>> {
        let letter = reader.letter()?.ok_or("no word of where to begin")?;
        let mut offset = u64::from_le_bytes(letter.bytes[..].try_into()?);
        println!("pair {}: from byte {offset} on", reader.epoch());
        loop {
            match self.send_from(&reader, &mut offset) {
                Ok(()) => break,
                Err(error @ brigade::Error::PartnerDied { .. }) => {
                    let mut unreturned = reader.into_unreturned()?;
                    println!("{error}; {} blocks are sent again", unreturned.len());
                    reader = unreturned.rejoin(self.name, &options())?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        println!("all was written");
        Ok(())
    }

    fn send_from(&self, reader: &Reader, offset: &mut u64) -> Result<(), brigade::Error> {
        while *offset < self.end {
            let mut block = reader.empty_block()?;
            block.copy_from_slice(&content(*offset));
            block.send(BLOCK, *offset)?;
            *offset += BLOCK as u64;
        }
        reader.finish()?;
        Ok(())
    }

    fn drain(&self, mut writer: Writer) -> Result<(), Box<dyn Error>> {
        // What the last Writer wrote is kept.
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.file)?;
        let mut written = 0;
        loop {
            println!("pair {}: {written} bytes are written", writer.epoch());
            writer.post(0, &u64::to_le_bytes(written))?;
            match self.write_all(&writer, &mut file, &mut written) {
                Ok(()) => break,
                Err(error) => match error.downcast_ref::<brigade::Error>() {
                    Some(brigade::Error::PartnerDied { .. }) => {
                        println!("{error}");
                        let mut survivor = writer.into_survivor()?;
                        writer = survivor.rejoin(self.name, &options())?;
                    }
                    _ => return Err(error),
                },
            }
        }
        file.sync_all()?; // before the verdict
        writer.finish()?;
        println!("all was written");
        Ok(())
    }

    fn write_all(
        &self,
        writer: &Writer,
        file: &mut File,
        written: &mut u64,
    ) -> Result<(), Box<dyn Error>> {
        while let Some(block) = writer.data_block()? {
            file.seek(SeekFrom::Start(block.tag()))?;
            file.write_all(&block)?;
            // All before it was written by this process, or given back by another.
            *written = block.tag() + block.len() as u64;
            sleep(self.pause);
        } // given back here, once it is in the file
        Ok(())
    }
}

/// What belongs at `offset`.
fn content(offset: u64) -> [u8; BLOCK] {
    std::array::from_fn(|index| ((offset + index as u64) % 251) as u8)
}
