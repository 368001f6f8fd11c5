//! A column of Arrow data that lies in the other process's memory: blocks become Arrow buffers
//! without a copy. A buffer keeps its block; when the last one that refers to it is dropped,
//! on whichever thread, the block goes back.
//!
//! ```text
//! arrow NAME     # twice: the first sends a column, the second sums it up
//! ```
#![allow(clippy::print_stdout, reason = "a program that says how it went")]

use std::error::Error;
use std::process::ExitCode;
use std::thread;

use arrow_buffer::{Buffer, ScalarBuffer};
use brigade::{DataBlock, Options, Reader, Role, Writer, join};
use bytes::Bytes;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The column has the numbers from 0 to here.
const ROWS: i64 = 10_000_000;

const BLOCK_SIZE: usize = 1 << 20;

/// Bytes of a number.
const WIDTH: usize = size_of::<i64>();

fn main() -> ExitCode {
    let outcome = match std::env::args().nth(1) {
        Some(name) => run(&name),
        None => Err("usage: arrow NAME, twice".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("arrow: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One of the two processes.
fn run(name: &str) -> Outcome<()> {
    match join(name, &Options::new().block_size(BLOCK_SIZE).block_count(8))? {
        Role::Reader(reader) => send_column(&reader),
        Role::Writer(writer) => sum_up(writer),
    }
}

/// The first process: the numbers in order, each block with the first of its own as its tag.
fn send_column(reader: &Reader) -> Outcome<()> {
    let mut next = 0;
    while next < ROWS {
        let mut block = reader.empty_block()?;
        let rows = (BLOCK_SIZE / WIDTH).min((ROWS - next) as usize);
        let numbers = block.chunks_exact_mut(WIDTH).zip(next..ROWS);
        for (to, number) in numbers {
            to.copy_from_slice(&number.to_ne_bytes());
        }
        block.send(rows * WIDTH, next as u64)?;
        next += rows as i64;
    }
    println!("sent {}", reader.finish()?);
    Ok(())
}

/// The second process: each buffer is summed up on a thread of its own.
fn sum_up(writer: Writer) -> Outcome<()> {
    let sum = thread::scope(|scope| {
        let mut parts = Vec::new();
        while let Some(block) = writer.data_block()? {
            let column = column(block)?;
            parts.push(scope.spawn(move || column.iter().sum::<i64>()));
        }
        let mut sum = 0;
        for part in parts {
            sum += part.join().map_err(|_| "a thread panicked")?;
        }
        Outcome::Ok(sum)
    })?;
    if sum != ROWS * (ROWS - 1) / 2 {
        let error = format!("the sum is {sum}");
        writer.abort(&error);
        return Err(error.into());
    }
    println!("summed up {}", writer.finish()?);
    Ok(())
}

/// The block's numbers, where they lie.
fn column(block: DataBlock<'_>) -> Outcome<ScalarBuffer<i64>> {
    let (start, first) = (block.as_ptr(), block.tag());
    // `Bytes` owns the block, and the buffer owns the `Bytes`: an allocation of its own kind,
    // to Arrow, which drops it when nobody refers to it any more.
    let buffer = Buffer::from(Bytes::from_owner(block.detach()));
    if buffer.as_ptr() != start {
        return Err("the data was copied".into());
    }
    let column = ScalarBuffer::<i64>::from(buffer);
    match column.first() {
        Some(number) if *number as u64 == first => Ok(column),
        _ => Err(format!("the column does not begin with {first}").into()),
    }
}
