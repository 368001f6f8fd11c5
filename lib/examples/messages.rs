//! Messages: many small ones, several to a block, and large ones, of several blocks each.
//!
//! Run it twice with the same name: the first sends, the second receives.
//!
//!     cargo run -p brigade --release --example messages -- my-messages 1000000
//!
//! Small messages are written to a stream, each after its length: so one block, and one wake
//! of the partner, serves thousands of them. A large one needs no frame of its own.
#![allow(clippy::print_stdout, reason = "a program that tells what it does")]

use std::error::Error;
use std::io::{BufRead, Read, Write};
use std::time::Instant;

use brigade::{Label, Options, Reader, Role, Writer};

/// Sizes of the large messages: nothing, some bytes, a block, and several blocks.
const LARGE: [usize; 5] = [0, 100, 64 << 10, (64 << 10) + 1, 5 << 20];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or("messages NAME [COUNT]")?;
    let count = arguments
        .next()
        .map_or(Ok(1_000_000), |text| text.parse())?;
    match brigade::join(&name, &Options::new().block_size(64 << 10))? {
        Role::Reader(reader) => {
            send_small(&reader, count)?;
            send_large(&reader)?;
            println!("sent: {}", reader.finish()?);
        }
        Role::Writer(writer) => {
            receive_small(&writer)?;
            receive_large(&writer)?;
            println!("received: {}", writer.finish()?);
        }
    }
    Ok(())
}

fn send_small(reader: &Reader, count: u64) -> Result<(), Box<dyn Error>> {
    let mut stream = reader.stream();
    writeln!(stream, "{count} small messages")?;
    for number in 0..count {
        let message = number.to_string();
        stream.write_all(&(message.len() as u32).to_le_bytes())?;
        stream.write_all(message.as_bytes())?;
        // Where a message must arrive at once: stream.flush()?
    }
    stream.flush()?;
    Ok(())
}

fn receive_small(writer: &Writer) -> Result<(), Box<dyn Error>> {
    let mut stream = writer.stream();
    let mut header = String::new();
    stream.read_line(&mut header)?;
    let count: u64 = header.split(' ').next().unwrap_or_default().parse()?;
    let (start, mut message) = (Instant::now(), Vec::new());
    for number in 0..count {
        let mut len = [0; 4];
        stream.read_exact(&mut len)?;
        // The partner's word: bounded before it is used.
        let len = u32::from_le_bytes(len).min(1000) as usize;
        message.resize(len, 0);
        stream.read_exact(&mut message)?;
        assert_eq!(message, number.to_string().as_bytes());
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    println!("received: {count} small messages, {rate:.0} a second");
    Ok(())
}

fn send_large(reader: &Reader) -> Result<(), Box<dyn Error>> {
    for (number, size) in LARGE.into_iter().enumerate() {
        reader.send_message(Label::new(1, number as u64), &large(size))?;
    }
    Ok(())
}

fn receive_large(writer: &Writer) -> Result<(), Box<dyn Error>> {
    let (mut message, mut received) = (Vec::new(), 0);
    while let Some(label) = writer.message(&mut message, 16 << 20)? {
        assert_eq!(label, Label::new(1, received as u64));
        assert!(message == large(LARGE[received]));
        received += 1;
    }
    assert_eq!(received, LARGE.len());
    println!("received: {received} large messages");
    Ok(())
}

/// A message of `size` bytes.
fn large(size: usize) -> Vec<u8> {
    (0..size).map(|offset| (offset % 251) as u8).collect()
}
