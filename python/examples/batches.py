"""Arrow record batches from another process, here one in Rust, read where they lie.

    pip install pyarrow
    cargo run --manifest-path python/examples/batches/Cargo.toml my-batches &
    python python/examples/batches.py my-batches

Each block has one message of a stream in Arrow's IPC format: the first the schema, each other one a record
batch. A batch refers to its block, which goes back when the batch and all that was made of it are gone.
"""

import sys

import brigade
import pyarrow as pa
import pyarrow.compute as pc


def lies_in(batch: pa.RecordBatch, block: pa.Buffer) -> bool:
    """Whether no byte of the batch was copied out of the block."""
    buffers = [buffer for column in batch.columns for buffer in column.buffers() if buffer is not None]
    start, end = block.address, block.address + block.size
    return all(start <= buffer.address <= buffer.address + buffer.size <= end for buffer in buffers)


def consume(writer: brigade.Writer) -> None:
    first = writer.data_block()
    if first is None:
        raise EOFError("there is no schema")
    schema = pa.ipc.read_schema(pa.py_buffer(first))
    first.done()
    rows = total = 0
    for block in writer:
        message = pa.py_buffer(block)
        batch = pa.ipc.read_record_batch(message, schema)
        assert lies_in(batch, message), "the batch was copied"
        assert batch["name"][0].as_py() == str(block.tag)
        rows += batch.num_rows
        total += pc.sum(batch["number"]).as_py()
    promised = int(schema.metadata[b"rows"])
    assert (rows, total) == (promised, promised * (promised - 1) // 2)
    print(f"batches: {rows} rows, the sum of their numbers is {total}")


if len(sys.argv) != 2:
    sys.exit("batches.py NAME")
with brigade.join(sys.argv[1], side="writer", block_size=1 << 20) as writer:
    consume(writer)
