//! Both ends as streams of bytes.

use std::io;

use crate::block::{DataBlock, EmptyBlock};
use crate::error::Error;
use crate::reader::Reader;
use crate::writer::Writer;

/// A [`std::io::Write`] over a [`Reader`]: made by [`Reader::stream`].
///
/// Blocks are sent when full and at `flush`, tagged with their offset in the
/// stream. Dropped, it sends what was not flushed: that never blocks.
#[derive(Debug)]
pub struct SendStream<'r> {
    reader: &'r Reader,
    block: Option<EmptyBlock<'r>>,
    filled: usize,
    offset: u64,
}

impl<'r> SendStream<'r> {
    pub(crate) fn new(reader: &'r Reader) -> SendStream<'r> {
        SendStream {
            reader,
            block: None,
            filled: 0,
            offset: 0,
        }
    }

    /// Sends what is in the block that is being filled.
    fn send(&mut self) -> Result<(), Error> {
        let Some(block) = self.block.take() else {
            return Ok(());
        };
        block.send(self.filled, self.offset)?;
        let unsent = self.reader.unsent_bytes();
        unsent.set(unsent.get() - self.filled as u64);
        self.offset += self.filled as u64;
        self.filled = 0;
        Ok(())
    }
}

impl Drop for SendStream<'_> {
    fn drop(&mut self) {
        // Fails only for a length beyond the block, which `write` does not make. If it
        // did, `Reader::finish` would find bytes that were not sent.
        let _ = self.send();
    }
}

impl io::Write for SendStream<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        let block = match &mut self.block {
            Some(block) => block,
            None => self.block.insert(self.reader.empty_block()?),
        };
        let room = &mut block[self.filled..];
        let len = room.len().min(data.len());
        room[..len].copy_from_slice(&data[..len]);
        let full = len == room.len();
        self.filled += len;
        let unsent = self.reader.unsent_bytes();
        unsent.set(unsent.get() + len as u64);
        if full {
            self.send()?;
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(self.send()?)
    }
}

/// A [`std::io::Read`] over a [`Writer`]: made by [`Writer::stream`].
#[derive(Debug)]
pub struct ReceiveStream<'w> {
    writer: &'w Writer,
    block: Option<DataBlock<'w>>,
    drained: usize,
}

impl<'w> ReceiveStream<'w> {
    pub(crate) fn new(writer: &'w Writer) -> ReceiveStream<'w> {
        ReceiveStream {
            writer,
            block: None,
            drained: 0,
        }
    }
}

impl io::Read for ReceiveStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(block) = &self.block {
                let left = &block[self.drained..];
                if !left.is_empty() {
                    let len = left.len().min(buffer.len());
                    buffer[..len].copy_from_slice(&left[..len]);
                    self.drained += len;
                    return Ok(len);
                }
            }
            self.drained = 0;
            self.block = None;
            match self.writer.data_block()? {
                Some(block) => self.block = Some(block),
                None => return Ok(0),
            }
        }
    }
}
