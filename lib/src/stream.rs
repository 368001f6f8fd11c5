//! Both ends as streams of bytes.

use std::io;

use crate::reader::{EmptyBlock, Reader};
use crate::writer::{DataBlock, Writer};

/// A [`std::io::Write`] over a [`Reader`]: made by [`Reader::stream`].
///
/// Blocks are sent when full and at `flush`, tagged with their offset in the
/// stream. What is not flushed when this is dropped is not sent.
#[derive(Debug)]
pub struct SendStream<'r> {
    pub(super) reader: &'r Reader,
    pub(super) block: Option<EmptyBlock<'r>>,
    pub(super) filled: usize,
    pub(super) offset: u64,
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
        if full {
            self.flush()?;
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(block) = self.block.take() else {
            return Ok(());
        };
        block.send(self.filled, self.offset)?;
        self.offset += self.filled as u64;
        self.filled = 0;
        Ok(())
    }
}

/// A [`std::io::Read`] over a [`Writer`]: made by [`Writer::stream`].
#[derive(Debug)]
pub struct ReceiveStream<'w> {
    pub(super) writer: &'w Writer,
    pub(super) block: Option<DataBlock<'w>>,
    pub(super) drained: usize,
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
