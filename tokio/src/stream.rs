//! Both ends as streams of bytes.

use std::borrow::BorrowMut;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use brigade::{Delivered, Error, OwnedDataBlock, OwnedEmptyBlock};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use crate::{AsyncReader, AsyncWriter};

/// A block that a stream fills: kept by the Reader, so that no byte is lost whatever becomes of
/// the stream.
#[derive(Debug)]
pub(crate) struct Filling {
    pub(crate) block: OwnedEmptyBlock,
    pub(crate) len: usize,
    /// Of its first byte, in the stream.
    pub(crate) offset: u64,
}

/// What a stream has left of a block: kept by the Writer, for the next stream.
#[derive(Debug)]
pub(crate) struct Rest {
    block: OwnedDataBlock,
    drained: usize,
}

impl Rest {
    fn bytes(&self) -> &[u8] {
        &self.block[self.drained..]
    }
}

/// An [`AsyncWrite`] over an [`AsyncReader`]: made by [`AsyncReader::stream`], with the Reader
/// only borrowed, or by [`AsyncReader::into_stream`].
///
/// Blocks are sent when full, at `flush` and `shutdown`, and by what is sent after them; tagged with their offset in the stream.
/// Dropped, it sends what was not flushed: that never waits. To shut it down is
/// [`AsyncReader::close`], which does not wait either; the verdict is for [`SendStream::finish`].
/// An [`io::Error`] that it gives has brigade's [`Error`] inside ([`io::Error::get_ref`]).
#[derive(Debug)]
pub struct SendStream<R: BorrowMut<AsyncReader>> {
    reader: R,
    offset: u64,
}

impl<R: BorrowMut<AsyncReader>> SendStream<R> {
    pub(crate) fn new(reader: R) -> SendStream<R> {
        SendStream { reader, offset: 0 }
    }

    /// Sends what is left, and finishes the session: see [`AsyncReader::finish`].
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn finish(&mut self) -> Result<Delivered, Error> {
        self.reader.borrow_mut().finish().await
    }
}

impl<R: BorrowMut<AsyncReader>> Drop for SendStream<R> {
    fn drop(&mut self) {
        // Fails after the end of the data, when there is nothing to send.
        let _ = self.reader.borrow_mut().send_filling();
    }
}

impl<R: BorrowMut<AsyncReader> + Unpin> AsyncWrite for SendStream<R> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let SendStream { reader, offset } = &mut *self;
        let reader = reader.borrow_mut();
        // Else it would take what can never be sent.
        reader.get_ref().check_open()?;
        if reader.filling.is_none() {
            let block = ready!(reader.poll_empty_block(cx))?;
            let (len, offset) = (0, *offset);
            reader.filling = Some(Filling { block, len, offset });
        }
        let Some(filling) = &mut reader.filling else {
            return Poll::Ready(Ok(0));
        };
        let room = &mut filling.block[filling.len..];
        let len = room.len().min(data.len());
        let is_full = len == room.len();
        room[..len].copy_from_slice(&data[..len]);
        filling.len += len;
        *offset += len as u64;
        if is_full {
            reader.send_filling()?;
        }
        Poll::Ready(Ok(len))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(self.reader.borrow_mut().send_filling()?))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(self.reader.borrow_mut().close()?))
    }
}

/// An [`AsyncRead`] and [`AsyncBufRead`] over the bytes of an [`AsyncWriter`]'s blocks, one after
/// the other: made by [`AsyncWriter::stream`], with the Writer only borrowed, or by
/// [`AsyncWriter::into_stream`].
///
/// A block is given back when its last byte has been consumed. Dropped in the middle of a block,
/// the stream leaves the rest with the Writer: the next stream begins with it. An [`io::Error`]
/// that it gives has brigade's [`Error`] inside ([`io::Error::get_ref`]).
#[derive(Debug)]
pub struct ReceiveStream<W: BorrowMut<AsyncWriter>> {
    writer: W,
}

impl<W: BorrowMut<AsyncWriter>> ReceiveStream<W> {
    pub(crate) fn new(writer: W) -> ReceiveStream<W> {
        ReceiveStream { writer }
    }

    /// Gives the verdict, once the end of the stream was seen: see [`AsyncWriter::finish`]. Never
    /// waits.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn finish(&mut self) -> Result<Delivered, Error> {
        self.writer.borrow_mut().finish()
    }
}

impl<W: BorrowMut<AsyncWriter> + Unpin> AsyncBufRead for ReceiveStream<W> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let writer = self.get_mut().writer.borrow_mut();
        while writer.rest.is_none() {
            match ready!(writer.poll_data_block(cx))? {
                None => return Poll::Ready(Ok(&[])),
                // An empty block is not the end.
                Some(block) if block.is_empty() => {}
                Some(block) => writer.rest = Some(Rest { block, drained: 0 }),
            }
        }
        Poll::Ready(Ok(writer.rest.as_ref().map_or(&[], Rest::bytes)))
    }

    fn consume(self: Pin<&mut Self>, len: usize) {
        let writer = self.get_mut().writer.borrow_mut();
        let Some(rest) = &mut writer.rest else {
            return;
        };
        rest.drained += len.min(rest.bytes().len());
        if rest.bytes().is_empty() {
            writer.rest = None;
            writer.get_ref().pass_on();
        }
    }
}

impl<W: BorrowMut<AsyncWriter> + Unpin> AsyncRead for ReceiveStream<W> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let left = ready!(self.as_mut().poll_fill_buf(cx))?;
        let len = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..len]);
        self.consume(len);
        Poll::Ready(Ok(()))
    }
}
