//! How fast blocks pass from one thread to another through the public interface:
//! joined, filled, drained and given back as between two processes.
//!
//! Run with `cargo bench -p brigade -- --quick`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a measurement stops at the first thing that goes wrong"
)]

use std::hint::black_box;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use brigade::{Label, Options, Reader, Role, Seat, Writer, join};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Kind of the last block of a measurement.
const LAST: u16 = 1;

fn pair(block_size: usize, block_count: usize) -> (Reader, Writer) {
    let directory = tempfile::tempdir().unwrap();
    let name = format!("{}/bench", directory.path().display());
    let options = Options::new()
        .block_size(block_size)
        .block_count(block_count);
    let seat = Seat::take(&name, &options).unwrap();
    let host = thread::spawn(move || seat.wait().unwrap());
    let second = join(&name, &options).unwrap();
    match (host.join().unwrap(), second) {
        (Role::Reader(reader), Role::Writer(writer)) => (reader, writer),
        both => panic!("{both:?}"),
    }
}

/// Reads a byte of each cache line, so that the data has really come over.
fn touch(bytes: &[u8]) -> u64 {
    bytes.iter().step_by(64).map(|byte| u64::from(*byte)).sum()
}

fn drain(writer: Writer, drained: &mpsc::Sender<()>) {
    while let Some(block) = writer.data_block().unwrap() {
        black_box(touch(&block));
        if block.kind() == LAST {
            drained.send(()).unwrap();
        }
    }
    writer.finish().unwrap();
}

/// The time from the first of `blocks` until the last was drained.
fn pass(reader: &Reader, blocks: u64, drained: &mpsc::Receiver<()>) -> Duration {
    let since = Instant::now();
    for index in 0..blocks {
        let mut block = reader.empty_block().unwrap();
        block.fill(index as u8);
        let kind = if index + 1 == blocks { LAST } else { 0 };
        let label = Label::new(kind, index);
        block.send_as(reader.block_size(), label).unwrap();
    }
    drained.recv().unwrap();
    since.elapsed()
}

fn blocks_through_the_ring(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring");
    // Many small blocks, so that a burst outlasts a sleep and a wake; of the large
    // ones, as many as the cache holds.
    for (name, block_size, block_count) in [("64 B", 64, 1024), ("64 KiB", 64 * 1024, 16)] {
        let (reader, writer) = pair(block_size, block_count);
        let (sender, drained) = mpsc::channel();
        let draining = thread::spawn(move || drain(writer, &sender));
        group.throughput(Throughput::Bytes(block_size as u64));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|blocks| pass(&reader, blocks, &drained));
        });
        reader.finish().unwrap();
        draining.join().unwrap();
    }
    group.finish();
}

criterion_group!(benches, blocks_through_the_ring);
criterion_main!(benches);
