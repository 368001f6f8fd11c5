//! Both ends in one thread: what a block takes without another process, which can be counted
//! exactly (instructions, system calls). `bench/tests/counts.rs` does.

use std::hint::black_box;
use std::thread;

use brigade::{Interest, Options, Reader, Role, Seat, Side, Writer, join};

use crate::Outcome;
use crate::partner;

const SIZE: usize = 64;

/// Blocks that are sent before they are taken.
const BLOCKS: usize = 16;

/// Sends and takes [`BLOCKS`] blocks so often.
pub fn run(what: &str, times: u64) -> Outcome<()> {
    let (reader, writer) = pair()?;
    let (data, mut out) = ([7; SIZE], [0; SIZE]);
    let turn: fn(&Reader, &Writer, &[u8; SIZE], &mut [u8; SIZE]) -> Outcome<()> = match what {
        "blocks" => blocks,
        "detached" => detached,
        "asleep" => asleep,
        _ => return Err("no such way".into()),
    };
    for _ in 0..times {
        turn(&reader, &writer, &data, &mut out)?;
    }
    reader.close()?;
    assert!(writer.data_block()?.is_none());
    writer.finish()?;
    reader.verdict()?;
    Ok(())
}

fn pair() -> Outcome<(Reader, Writer)> {
    let place = partner::place();
    let options = Options::new().block_size(SIZE).block_count(BLOCKS);
    let seat = Seat::take(&place, &options.clone().side(Side::Reader))?;
    let host = thread::spawn(move || seat.wait());
    let second = join(&place, &options)?;
    let host = host.join().map_err(|_| "the host's thread failed")??;
    match (host, second) {
        (Role::Reader(reader), Role::Writer(writer)) => Ok((reader, writer)),
        _ => Err("not as was asked for".into()),
    }
}

fn blocks(
    reader: &Reader,
    writer: &Writer,
    data: &[u8; SIZE],
    out: &mut [u8; SIZE],
) -> Outcome<()> {
    send(reader, data)?;
    take(writer, out)
}

fn send(reader: &Reader, data: &[u8; SIZE]) -> Outcome<()> {
    for tag in 0..BLOCKS {
        let mut block = reader.empty_block()?;
        block[..SIZE].copy_from_slice(black_box(data));
        block.send(SIZE, tag as u64)?;
    }
    Ok(())
}

fn take(writer: &Writer, out: &mut [u8; SIZE]) -> Outcome<()> {
    for _ in 0..BLOCKS {
        let block = writer.data_block()?.ok_or("the data ended")?;
        out.copy_from_slice(&block[..SIZE]);
        black_box(&*out);
    }
    Ok(())
}

fn detached(
    reader: &Reader,
    writer: &Writer,
    data: &[u8; SIZE],
    out: &mut [u8; SIZE],
) -> Outcome<()> {
    for tag in 0..BLOCKS {
        let mut block = reader.empty_block()?.detach();
        block[..SIZE].copy_from_slice(black_box(data));
        block.send(SIZE, tag as u64)?;
    }
    // Who looks next would do this.
    reader.pass_on();
    for _ in 0..BLOCKS {
        let block = writer.data_block()?.ok_or("the data ended")?.detach();
        out.copy_from_slice(&block[..SIZE]);
        black_box(&*out);
    }
    writer.pass_on();
    Ok(())
}

/// As [`blocks`], but each time the Writer has said before that it sleeps.
fn asleep(
    reader: &Reader,
    writer: &Writer,
    data: &[u8; SIZE],
    out: &mut [u8; SIZE],
) -> Outcome<()> {
    assert!(writer.arm(Interest::BLOCKS)?);
    send(reader, data)?;
    writer.disarm()?;
    take(writer, out)
}
