//! Both ends as streams of bytes.

use std::borrow::Borrow;
use std::io::{self, BufRead, Read, Write};

use crate::block::EmptyBlock;
use crate::error::{Delivered, Error};
use crate::reader::Reader;
use crate::region::Block;
use crate::writer::{Rest, Writer};

/// A [`std::io::Write`] over a [`Reader`]: made by [`Reader::stream`], with the Reader only
/// borrowed, or by [`Reader::into_stream`].
///
/// Blocks are sent when full and at `flush`, tagged with their offset in the
/// stream. Dropped, it sends what was not flushed: that never blocks. An
/// [`io::Error`] that it gives has brigade's [`Error`] inside ([`io::Error::get_ref`]).
#[derive(Debug)]
pub struct SendStream<R: Borrow<Reader>> {
    reader: R,
    /// The block that is being filled.
    block: Option<Block>,
    filled: usize,
    offset: u64,
}

impl<R: Borrow<Reader>> SendStream<R> {
    pub(crate) fn new(reader: R) -> SendStream<R> {
        SendStream {
            reader,
            block: None,
            filled: 0,
            offset: 0,
        }
    }

    /// Sends what is left, and finishes the session: see [`Reader::finish`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn finish(mut self) -> Result<Delivered, Error> {
        self.send()?;
        self.reader.borrow().finish()
    }

    /// Sends what is in the block that is being filled.
    fn send(&mut self) -> Result<(), Error> {
        let reader = self.reader.borrow();
        let Some(block) = self.block.take() else {
            return Ok(());
        };
        EmptyBlock { reader, block }.send(self.filled, self.offset)?;
        let unsent = reader.unsent_bytes();
        unsent.set(unsent.get() - self.filled as u64);
        self.offset += self.filled as u64;
        self.filled = 0;
        Ok(())
    }
}

impl<R: Borrow<Reader>> Drop for SendStream<R> {
    fn drop(&mut self) {
        // Fails after the end of the data, and for a length beyond the block, which
        // `write` does not make. `Reader::close` finds bytes that were not sent.
        let _ = self.send();
    }
}

impl<R: Borrow<Reader>> Write for SendStream<R> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        let reader = self.reader.borrow();
        // Else it would take what can never be sent.
        reader.check_open()?;
        let block = match &mut self.block {
            Some(block) => block,
            None => self.block.insert(reader.empty_block()?.into_block()),
        };
        let room = &mut reader.end().pool().bytes_mut(block)[self.filled..];
        let len = room.len().min(data.len());
        room[..len].copy_from_slice(&data[..len]);
        let full = len == room.len();
        self.filled += len;
        let unsent = reader.unsent_bytes();
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

/// A [`std::io::Read`] and [`std::io::BufRead`] over the bytes of a [`Writer`]'s blocks, one
/// after the other: made by [`Writer::stream`], with the Writer only borrowed, or by
/// [`Writer::into_stream`].
///
/// A block is given back when its last byte has been consumed. Dropped in the middle of a
/// block, the stream leaves the rest with the Writer: the next stream begins with it. An
/// [`io::Error`] that it gives has brigade's [`Error`] inside ([`io::Error::get_ref`]).
#[derive(Debug)]
pub struct ReceiveStream<W: Borrow<Writer>> {
    writer: W,
    /// What is left of the block that is being drained.
    rest: Option<Rest>,
}

impl<W: Borrow<Writer>> ReceiveStream<W> {
    pub(crate) fn new(writer: W) -> ReceiveStream<W> {
        ReceiveStream { writer, rest: None }
    }

    /// Gives the verdict, once the end of the stream was seen: see [`Writer::finish`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn finish(self) -> Result<Delivered, Error> {
        self.writer.borrow().finish()
    }
}

impl<W: Borrow<Writer>> Drop for ReceiveStream<W> {
    fn drop(&mut self) {
        if let Some(rest) = self.rest.take() {
            self.writer.borrow().keep_rest(rest);
        }
    }
}

impl<W: Borrow<Writer>> BufRead for ReceiveStream<W> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let writer = self.writer.borrow();
        while self.rest.is_none() {
            match writer.next_rest()? {
                // An empty block is not the end.
                Some(rest) => self.rest = writer.unless_drained(rest),
                None => return Ok(&[]),
            }
        }
        Ok(self.rest.as_ref().map_or(&[], |rest| writer.bytes_of(rest)))
    }

    fn consume(&mut self, len: usize) {
        if let Some(mut rest) = self.rest.take() {
            rest.drain(len);
            self.rest = self.writer.borrow().unless_drained(rest);
        }
    }
}

impl<W: Borrow<Writer>> Read for ReceiveStream<W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let left = self.fill_buf()?;
        let len = left.len().min(buffer.len());
        buffer[..len].copy_from_slice(&left[..len]);
        self.consume(len);
        Ok(len)
    }
}
