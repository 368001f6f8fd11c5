//! A Reader that outlives its Writer: whenever that is killed, the next one gets what had
//! not been given back, and the copy goes on.
//!
//! In one terminal, 1000 MiB to copy; in the other, the file to copy to. Kill the second
//! with Ctrl-C or worse, and start it again.
//!
//!     cargo run -p brigade --example restart -- my-copy fill 1000
//!     cargo run -p brigade --example restart -- my-copy drain copy.bin 50
//!
//! A Writer that dies may have drained what it did not give back: so blocks can come twice.
//! Here each says where in the file it belongs, and twice is as good as once.
#![allow(clippy::print_stdout, reason = "a program that tells what it does")]

use std::error::Error;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::thread::sleep;
use std::time::Duration;

use brigade::{Options, Reader, Side, Unreturned, Writer};

const BLOCK: usize = 64 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [name, "fill", mib] => fill(name, mib.parse()?),
        [name, "drain", file, pause] => drain(name, file, pause.parse()?),
        _ => Err("restart NAME fill MIB, or restart NAME drain FILE PAUSE_MS".into()),
    }
}

fn options(side: Side) -> Options {
    Options::new().block_size(BLOCK).block_count(8).side(side)
}

fn fill(name: &str, mib: usize) -> Result<(), Box<dyn Error>> {
    let mut offsets = (0..mib << 20).step_by(BLOCK);
    let mut reader = join_as_reader(name)?;
    let mut restarts = 0;
    loop {
        match send_all(&reader, &mut offsets) {
            Ok(()) => break,
            Err(error @ brigade::Error::PartnerDied { .. }) => {
                println!("{error}");
                reader = go_on(reader.into_unreturned()?, name)?;
                restarts += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    println!("all was written, after {restarts} restarts");
    Ok(())
}

/// Sends what is left, and waits for the verdict on all of it.
fn send_all(
    reader: &Reader,
    offsets: &mut impl Iterator<Item = usize>,
) -> Result<(), brigade::Error> {
    // The block first: an offset that was taken must be sent.
    loop {
        let mut block = reader.empty_block()?;
        let Some(offset) = offsets.next() else {
            break;
        };
        block.copy_from_slice(&content(offset));
        block.send(BLOCK, offset as u64)?;
    }
    reader.finish()?;
    Ok(())
}

/// Waits for the next Writer, which first gets what the last one had.
fn go_on(mut unreturned: Unreturned, name: &str) -> Result<Reader, brigade::Error> {
    println!("{} blocks are sent again", unreturned.len());
    unreturned.rejoin(name, &options(Side::Reader))
}

fn join_as_reader(name: &str) -> Result<Reader, Box<dyn Error>> {
    let role = brigade::join(name, &options(Side::Reader))?;
    role.into_reader().ok_or("not the reader".into())
}

fn drain(name: &str, path: &str, pause_ms: u64) -> Result<(), Box<dyn Error>> {
    let role = brigade::join(name, &options(Side::Writer))?;
    let writer = role.into_writer().ok_or("not the writer")?;
    write_all(&writer, path, Duration::from_millis(pause_ms))?;
    writer.finish()?;
    println!("all was written");
    Ok(())
}

fn write_all(writer: &Writer, path: &str, pause: Duration) -> Result<(), Box<dyn Error>> {
    // What the last Writer wrote is kept.
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .append(false)
        .write(true)
        .open(path)?;
    while let Some(block) = writer.data_block()? {
        file.seek(SeekFrom::Start(block.tag()))?;
        file.write_all(&block)?;
        sleep(pause);
    } // given back here, once it is in the file
    file.sync_all()?; // before the verdict
    Ok(())
}

/// What belongs at `offset`.
fn content(offset: usize) -> [u8; BLOCK] {
    std::array::from_fn(|index| ((offset + index) % 251) as u8)
}
