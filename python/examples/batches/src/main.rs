//! Record batches for `../batches.py`, which reads them where they lie.
//!
//! ```text
//! pip install pyarrow
//! cargo run --manifest-path python/examples/batches/Cargo.toml my-batches &
//! python python/examples/batches.py my-batches
//! ```
//!
//! The blocks, one after the other, are a stream in Arrow's IPC format. It is cut where its
//! messages end: the first block has the schema, and each other one a whole record batch.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema};
use brigade::{EmptyBlock, Options, Reader, Side};

type Outcome<T> = Result<T, Box<dyn Error>>;

const ROWS: i64 = 10_000_000;

/// So many go into a block, with their names: these have no more than 8 bytes.
const ROWS_OF_A_BATCH: i64 = 32_768;
const BLOCK_SIZE: usize = 1 << 20;

fn main() -> ExitCode {
    let outcome = match std::env::args().nth(1) {
        Some(name) => run(&name),
        None => Err("usage: batches NAME".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("batches: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str) -> Outcome<()> {
    let options = Options::new().block_size(BLOCK_SIZE).side(Side::Reader);
    let role = brigade::join(name, &options)?;
    let reader = role.into_reader().ok_or("it is no Reader")?;
    send_batches(&reader)?;
    println!("sent {ROWS} rows: {}", reader.finish()?);
    Ok(())
}

fn send_batches(reader: &Reader) -> Outcome<()> {
    // So the consumer knows what it should find.
    let schema = Schema::new(vec![
        Field::new("number", DataType::Int64, false),
        Field::new("half", DataType::Float64, false),
        Field::new("name", DataType::Utf8, false),
    ])
    .with_metadata([("rows".to_owned(), ROWS.to_string())]);
    let schema = Arc::new(schema);
    let blocks = Blocks {
        reader,
        block: None,
        len: 0,
    };
    let mut stream = StreamWriter::try_new(blocks, &schema)?;
    stream.get_mut().send(0)?;
    for first in (0..ROWS).step_by(ROWS_OF_A_BATCH as usize) {
        let numbers = first..ROWS.min(first + ROWS_OF_A_BATCH);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(numbers.clone())),
            Arc::new(Float64Array::from_iter_values(
                numbers.clone().map(|number| number as f64 / 2.0),
            )),
            Arc::new(StringArray::from_iter_values(
                numbers.map(|number| number.to_string()),
            )),
        ];
        stream.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
        stream.get_mut().send(first as u64)?;
    }
    Ok(())
}

/// Where the stream is written: into a block, until that is sent.
struct Blocks<'r> {
    reader: &'r Reader,
    block: Option<EmptyBlock<'r>>,
    len: usize,
}

impl Blocks<'_> {
    /// Ends the block.
    fn send(&mut self, tag: u64) -> Outcome<()> {
        let block = self.block.take().ok_or("nothing was written")?;
        block.send(std::mem::take(&mut self.len), tag)?;
        Ok(())
    }
}

impl Write for Blocks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.is_none() {
            self.block = Some(self.reader.empty_block().map_err(io::Error::other)?);
        }
        let block = self.block.as_deref_mut().unwrap_or_default();
        // None, if the block is full: a batch must fit into one.
        let written = (&mut block[self.len..]).write(bytes)?;
        self.len += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
