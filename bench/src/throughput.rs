//! How many blocks a second: one process copies bytes into blocks, the other copies them
//! out.

use std::hint::black_box;
use std::io::{Read, Write};
use std::time::Duration;

use brigade::Options;

use crate::Outcome;
use crate::bare::Bare;
use crate::buffer::Buffer;
use crate::clock::Clock;
use crate::figures::{ratios, spread};
use crate::lines::socket;
use crate::{partner, tasks};

/// Block sizes in bytes.
pub const SIZES: [usize; 4] = [64, 4 << 10, 64 << 10, 1 << 20];

/// The pool, for both rings: as the default of brigade.
const POOL: usize = 4 << 20;

/// At most this many blocks, so that the queues, too, stay in the cache.
const BLOCKS_MAX: usize = 1024;

/// With fewer, the two ends could not work at the same time.
const BLOCKS_MIN: usize = 2;

pub fn blocks(size: usize) -> usize {
    (POOL / size).clamp(BLOCKS_MIN, BLOCKS_MAX)
}

/// How many blocks a run moves: some tenths of a second.
fn count(size: usize) -> u64 {
    let bytes: u64 = match size {
        ..1024 => 1 << 30,
        1024..65536 => 4 << 30,
        _ => 8 << 30,
    };
    bytes / size as u64
}

/// Measures brigade, with and without batches, a bare ring and a pipe with blocks of `sizes`.
pub fn table(rounds: usize, sizes: &[usize]) -> Outcome<()> {
    println!("{rounds} rounds, the four in turn; median (least to most)");
    println!(
        "{:>8}  {:>24}  {:>24}  {:>24}  {:>24}  {:>20}  {:>20}  {:>20}",
        "block",
        "bare ring",
        "brigade",
        "brigade, batch",
        "pipe",
        "brigade/bare",
        "batch/bare",
        "brigade/pipe"
    );
    for &size in sizes {
        let rivals = ["bare", "brigade", "batch", "pipe"];
        let [bare, brigade, batch, pipe] = rates(rounds, rivals, size)?;
        println!(
            "{size:>8}  {:>24}  {:>24}  {:>24}  {:>24}  {:>20}  {:>20}  {:>20}",
            show(&bare, size),
            show(&brigade, size),
            show(&batch, size),
            show(&pipe, size),
            spread(&ratios(&brigade, &bare), 1.0, ""),
            spread(&ratios(&batch, &bare), 1.0, ""),
            spread(&ratios(&brigade, &pipe), 1.0, "")
        );
    }
    Ok(())
}

/// Blocks that any thread may have, against blocks that borrow their end.
pub fn owned_against_borrowed(rounds: usize) -> Outcome<()> {
    println!(
        "\n{:>8}  {:>24}  {:>24}  {:>20}",
        "block", "owned", "borrowed", "owned/borrowed"
    );
    for size in [64, 4096] {
        let [owned, borrowed] = rates(rounds, ["owned", "brigade"], size)?;
        println!(
            "{size:>8}  {:>24}  {:>24}  {:>20}",
            show(&owned, size),
            show(&borrowed, size),
            spread(&ratios(&owned, &borrowed), 1.0, "")
        );
    }
    Ok(())
}

/// Blocks a second of each rival, round by round.
pub fn rates<const RIVALS: usize>(
    rounds: usize,
    rivals: [&str; RIVALS],
    size: usize,
) -> Outcome<[Vec<f64>; RIVALS]> {
    let mut rates = [const { Vec::new() }; RIVALS];
    for _ in 0..rounds {
        for (rates, rival) in rates.iter_mut().zip(rivals) {
            // A pipe is slower: a smaller share, and the rate is as good.
            let share = if rival == "pipe" { 8 } else { 1 };
            rates.push(1.0 / measure(rival, size, count(size) / share)?);
        }
    }
    Ok(rates)
}

pub fn show(rates: &[f64], size: usize) -> String {
    // Small blocks are a matter of how many, large ones of how much.
    let (scale, unit) = match size {
        64 => (1e6, " M/s"),
        _ => (1e9 / size as f64, " GB/s"),
    };
    spread(rates, scale, unit)
}

/// Calls a function whose block size is a constant, so that the compiler knows
/// how much is copied and neither ring pays for finding out.
macro_rules! with_size {
    ($size:expr, $function:ident($($argument:expr),*)) => {
        match $size {
            64 => $function::<64>($($argument),*),
            256 => $function::<256>($($argument),*),
            1024 => $function::<1024>($($argument),*),
            4096 => $function::<4096>($($argument),*),
            16384 => $function::<16384>($($argument),*),
            65536 => $function::<65536>($($argument),*),
            262144 => $function::<262144>($($argument),*),
            1048576 => $function::<1048576>($($argument),*),
            4194304 => $function::<4194304>($($argument),*),
            _ => Err("no such block size".into()),
        }
    };
}

/// Starts the child, which fills, and drains here. Seconds per block, of the last third.
pub fn measure(rival: &str, size: usize, count: u64) -> Outcome<f64> {
    with_size!(size, drain(rival, count))
}

pub fn child(rival: &str, place: &str, size: usize, count: u64) -> Outcome<()> {
    // A new process is often on its parent's processor, and who spins there does not let it go for
    // many milliseconds. Who wakes up gets one that is idle.
    std::thread::sleep(Duration::from_millis(5));
    with_size!(size, fill(rival, place, count))
}

pub fn options(size: usize) -> Options {
    Options::new().block_size(size).block_count(blocks(size))
}

fn drain<const SIZE: usize>(rival: &str, count: u64) -> Outcome<f64> {
    let place = partner::place();
    match rival {
        "bare" => drain_bare(Bare::<SIZE>::create(&place)?, &place, count),
        "bare-protected" => drain_bare(Bare::<SIZE>::create_protected(&place)?, &place, count),
        "brigade" => drain_brigade::<SIZE>(&place, count),
        "batch" => drain_batch::<SIZE>(&place, count),
        "owned" => drain_owned::<SIZE>(&place, count),
        "pipe" => drain_pipe::<SIZE>(&place, count),
        "socket" => drain_socket::<SIZE>(&place, count),
        "task" | "task-multi" => tasks::drain::<SIZE>(rival, &place, count),
        _ => Err("no such rival".into()),
    }
}

fn fill<const SIZE: usize>(rival: &str, place: &str, count: u64) -> Outcome<()> {
    let data = Buffer::new(7, SIZE);
    match rival {
        "bare" => {
            Bare::<SIZE>::open(place)?.fill(&data, count);
            Ok(())
        }
        "brigade" => fill_brigade::<SIZE>(place, &data, count),
        "batch" => fill_batch::<SIZE>(place, &data, count),
        "owned" => fill_owned::<SIZE>(place, &data, count),
        "pipe" => fill_stream(std::io::stdout().lock(), &data, count),
        "socket" => fill_stream(socket::connect(place)?, &data, count),
        "task" | "task-multi" => tasks::fill::<SIZE>(rival, place, &data, count),
        _ => Err("no such rival".into()),
    }
}

fn drain_bare<const SIZE: usize>(ring: Bare<SIZE>, place: &str, count: u64) -> Outcome<f64> {
    let child = partner::spawn("bare", place, SIZE, count)?;
    let seconds = ring.drain(&mut Buffer::new(0, SIZE), count)?;
    std::fs::remove_file(place)?;
    partner::wait(child)?;
    Ok(seconds)
}

fn fill_brigade<const SIZE: usize>(place: &str, data: &[u8], count: u64) -> Outcome<()> {
    let reader = partner::join_as_reader(place, options(SIZE))?;
    for index in 0..count {
        let mut block = reader.empty_block()?;
        block[..SIZE].copy_from_slice(&black_box(data)[..SIZE]);
        block.send(SIZE, index)?;
    }
    reader.finish()?;
    Ok(())
}

fn drain_brigade<const SIZE: usize>(place: &str, count: u64) -> Outcome<f64> {
    let child = partner::spawn("brigade", place, SIZE, count)?;
    let writer = partner::join_as_writer(place, options(SIZE))?;
    let mut out = Buffer::new(0, SIZE);
    let mut clock = Clock::new(count);
    while let Some(block) = writer.data_block()? {
        clock.tick();
        out[..SIZE].copy_from_slice(&block[..SIZE]);
        black_box(&out);
    }
    let seconds = clock.seconds()?;
    assert_eq!(writer.finish()?.blocks, count);
    partner::wait(child)?;
    Ok(seconds)
}

/// How many blocks pass together in batches: of few, fewer, or the two ends would take turns.
fn batch(size: usize) -> usize {
    (blocks(size) / 4).clamp(1, 32)
}

fn fill_batch<const SIZE: usize>(place: &str, data: &[u8], count: u64) -> Outcome<()> {
    let reader = partner::join_as_reader(place, options(SIZE))?;
    let batch = reader.batch(batch(SIZE));
    for index in 0..count {
        let mut block = batch.empty_block()?;
        block[..SIZE].copy_from_slice(&black_box(data)[..SIZE]);
        block.send(SIZE, index)?;
    }
    drop(batch);
    reader.finish()?;
    Ok(())
}

fn drain_batch<const SIZE: usize>(place: &str, count: u64) -> Outcome<f64> {
    let child = partner::spawn("batch", place, SIZE, count)?;
    let writer = partner::join_as_writer(place, options(SIZE))?;
    let mut out = Buffer::new(0, SIZE);
    let mut clock = Clock::new(count);
    let batch = writer.batch(batch(SIZE));
    while let Some(block) = batch.data_block()? {
        clock.tick();
        out[..SIZE].copy_from_slice(&block[..SIZE]);
        black_box(&out);
    }
    let seconds = clock.seconds()?;
    drop(batch);
    assert_eq!(writer.finish()?.blocks, count);
    partner::wait(child)?;
    Ok(seconds)
}

fn fill_owned<const SIZE: usize>(place: &str, data: &[u8], count: u64) -> Outcome<()> {
    let reader = partner::join_as_reader(place, options(SIZE))?;
    for index in 0..count {
        let mut block = reader.empty_block()?.detach();
        block[..SIZE].copy_from_slice(&black_box(data)[..SIZE]);
        block.send(SIZE, index)?;
    }
    reader.finish()?;
    Ok(())
}

fn drain_owned<const SIZE: usize>(place: &str, count: u64) -> Outcome<f64> {
    let child = partner::spawn("owned", place, SIZE, count)?;
    let writer = partner::join_as_writer(place, options(SIZE))?;
    let mut out = Buffer::new(0, SIZE);
    let mut clock = Clock::new(count);
    while let Some(block) = writer.data_block()? {
        clock.tick();
        let block = block.detach();
        out[..SIZE].copy_from_slice(&block[..SIZE]);
        black_box(&out);
    }
    let seconds = clock.seconds()?;
    assert_eq!(writer.finish()?.blocks, count);
    partner::wait(child)?;
    Ok(seconds)
}

fn fill_stream(mut to: impl Write, data: &[u8], count: u64) -> Outcome<()> {
    for _ in 0..count {
        to.write_all(black_box(data))?;
    }
    Ok(())
}

fn drain_stream<const SIZE: usize>(from: &mut impl Read, count: u64) -> Outcome<f64> {
    let mut out = Buffer::new(0, SIZE);
    let mut clock = Clock::new(count);
    for _ in 0..count {
        clock.tick();
        from.read_exact(&mut out)?;
        black_box(&out);
    }
    clock.seconds()
}

fn drain_pipe<const SIZE: usize>(place: &str, count: u64) -> Outcome<f64> {
    let mut child = partner::spawn("pipe", place, SIZE, count)?;
    let mut pipe = child.stdout.take().ok_or("no pipe")?;
    let seconds = drain_stream::<SIZE>(&mut pipe, count)?;
    partner::wait(child)?;
    Ok(seconds)
}

fn drain_socket<const SIZE: usize>(place: &str, count: u64) -> Outcome<f64> {
    let spawn = || partner::spawn("socket", place, SIZE, count);
    let (mut socket, child) = socket::accept(place, spawn)?;
    let seconds = drain_stream::<SIZE>(&mut socket, count)?;
    partner::wait(child)?;
    Ok(seconds)
}
