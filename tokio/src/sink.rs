//! The Reader as a sink.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use brigade::{Error, Label, OwnedEmptyBlock};
use futures_sink::Sink;

use crate::AsyncReader;

/// A block that was filled, and what it is to be sent with: for the [`Sink`] that an
/// [`AsyncReader`] is.
#[derive(Debug)]
pub struct Filled {
    /// The block, of the Reader that it goes into.
    pub block: OwnedEmptyBlock,
    /// How many of its bytes are to be sent.
    pub len: usize,
    /// What travels with it.
    pub label: Label,
}

impl Filled {
    /// The first `len` bytes of `block`, with a number of the application's choice.
    pub fn new(block: OwnedEmptyBlock, len: usize, tag: u64) -> Filled {
        Filled {
            block,
            len,
            label: Label::new(0, tag),
        }
    }
}

/// Sends at once ([`AsyncReader::send_block_as`]): it is always ready, and has nothing to flush. To
/// close it is [`AsyncReader::close`], which does not wait; the verdict is for
/// [`AsyncReader::verdict`].
impl Sink<Filled> for AsyncReader {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(mut self: Pin<&mut Self>, filled: Filled) -> Result<(), Error> {
        self.send_block_as(filled.block, filled.len, filled.label)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(self.close())
    }
}

/// Copies each buffer into a block of its own, which must have room for it, and sends that. It is
/// ready when there is an empty block. To close it is [`AsyncReader::close`], which does not wait;
/// the verdict is for [`AsyncReader::verdict`].
///
/// The blocks of another session are buffers, too: a whole stream is passed on by
/// `writer.forward(&mut reader)`.
impl<B: AsRef<[u8]>> Sink<B> for AsyncReader {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let block = ready!(self.poll_empty_block(cx))?;
        self.reserved = Some(block);
        Poll::Ready(Ok(()))
    }

    fn start_send(mut self: Pin<&mut Self>, buffer: B) -> Result<(), Error> {
        let bytes = buffer.as_ref();
        if bytes.len() > self.block_size() {
            return Err(Error::InvalidUse("a buffer is longer than a block"));
        }
        let Some(mut block) = self.reserved.take() else {
            return Err(Error::InvalidUse(
                "a sink must be ready before it is sent to",
            ));
        };
        block[..bytes.len()].copy_from_slice(bytes);
        self.send_block(block, bytes.len(), 0)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(self.close())
    }
}
