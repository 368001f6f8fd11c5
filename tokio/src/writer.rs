//! The end that drains blocks, for tasks.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use brigade::{
    DataBlock, Delivered, Error, Interest, Letter, Monitor, OwnedDataBlock, Partner, Writer,
};
use futures_core::Stream;

use crate::signal::Watched;
use crate::stream::{ReceiveStream, Rest};

/// A [`Writer`] for tasks: it takes filled blocks, drains them and gives them back.
///
/// It is a [`Stream`] of blocks, which ends after an error. Dropped before
/// [`AsyncWriter::finish`] has succeeded, it tells the Reader that it gave up.
#[derive(Debug)]
pub struct AsyncWriter {
    end: Watched<Writer>,
    /// What streams of bytes have left of a block.
    pub(crate) rest: Option<Rest>,
    /// As a stream of blocks, it has told of an error.
    has_failed: bool,
}

impl AsyncWriter {
    /// Lets the runtime wait for `writer`, wherever that came from.
    ///
    /// # Errors
    ///
    /// What the system says, a limit of descriptors, say; then the Writer is dropped.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime, and if that has no I/O (both on Unix).
    pub fn new(writer: Writer) -> Result<AsyncWriter, Error> {
        Ok(AsyncWriter {
            end: Watched::new(writer)?,
            rest: None,
            has_failed: false,
        })
    }

    /// The library's end, to go on with another Reader after a death, for instance
    /// ([`Writer::into_survivor`]). What a stream has left of a block is given back unread.
    pub fn into_inner(self) -> Writer {
        self.end.into_end()
    }

    /// The library's end, for what does not wait. Its calls that wait block the thread, and those
    /// that arm it ([`Writer::arm`]) disturb what tasks wait for.
    pub fn get_ref(&self) -> &Writer {
        self.end.end()
    }

    /// The process at the other end.
    pub fn partner(&self) -> &Partner {
        self.end.end().partner()
    }

    /// A second handle on this session, for other tasks and threads.
    pub fn monitor(&self) -> Monitor {
        self.end.end().monitor()
    }

    /// Size of each block in bytes.
    pub fn block_size(&self) -> usize {
        self.end.end().block_size()
    }

    /// What was given back so far.
    pub fn delivered(&self) -> Delivered {
        self.end.end().delivered()
    }

    /// The next block of data, in the order of sending; `None` at the end of the data: see
    /// [`Writer::data_block`].
    ///
    /// Cancel-safe: a future that is dropped has taken no block.
    ///
    /// # Errors
    ///
    /// As there, after all blocks that were sent before; [`Error::Os`] if the runtime is shut
    /// down; [`Error::InvalidUse`] as long as a stream has left a part of a block.
    pub async fn data_block(&mut self) -> Result<Option<OwnedDataBlock>, Error> {
        poll_fn(|cx| self.poll_data_block(cx)).await
    }

    /// As [`AsyncWriter::data_block`], from within a `poll` function.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn poll_data_block(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<OwnedDataBlock>, Error>> {
        self.refuse_with_rest()?;
        self.end.poll(cx, |writer, signal, cx| {
            let block = writer.poll_data_block(signal, cx);
            block.map_ok(|block| block.map(DataBlock::detach))
        })
    }

    /// As [`AsyncWriter::data_block`], but does not wait: `None` also if there is none now.
    /// [`AsyncWriter::at_end`] tells the two apart.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn try_data_block(&mut self) -> Result<Option<OwnedDataBlock>, Error> {
        self.refuse_with_rest()?;
        Ok(self.end.end().try_data_block()?.map(DataBlock::detach))
    }

    /// The newest block, and how many older ones were given back unread for it; `None` at the end
    /// of the data: see [`Writer::newest_block`].
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// As [`AsyncWriter::data_block`].
    pub async fn newest_block(&mut self) -> Result<Option<(OwnedDataBlock, usize)>, Error> {
        self.refuse_with_rest()?;
        let wait = self.end.wait(|writer, signal, cx| {
            let newest = writer.poll_newest_block(signal, cx);
            newest.map_ok(|newest| newest.map(|found| (found.block.detach(), found.skipped)))
        });
        wait.await
    }

    /// Whether the end of the data was seen: all blocks were taken, and none will come.
    pub fn at_end(&self) -> bool {
        self.end.end().at_end()
    }

    fn refuse_with_rest(&self) -> Result<(), Error> {
        match self.rest {
            None => Ok(()),
            Some(_) => Err(Error::InvalidUse(
                "a stream has left a part of a block, which the next stream begins with",
            )),
        }
    }

    /// The verdict: everything was drained and is good. See [`Writer::finish`]. Never waits.
    ///
    /// # Errors
    ///
    /// As there: [`Error::NotGivenBack`], for instance, while another task has a block.
    pub fn finish(&mut self) -> Result<Delivered, Error> {
        self.end.end().finish()
    }

    /// Posts a letter to the Reader, as soon as there is room for it: see [`Writer::post`].
    ///
    /// Cancel-safe: not posted if it is dropped before it is ready.
    ///
    /// # Errors
    ///
    /// As there; [`Error::Os`] if the runtime is shut down.
    pub async fn post(&mut self, kind: u16, bytes: &[u8]) -> Result<(), Error> {
        self.end
            .wait(|writer, signal, cx| writer.poll_post(kind, bytes, signal, cx))
            .await
    }

    /// The Reader's next letter; `None` if it has said that nothing more will come, and none is
    /// left.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// As [`Writer::letter`]; [`Error::Os`] if the runtime is shut down.
    pub async fn letter(&mut self) -> Result<Option<Letter>, Error> {
        self.end
            .wait(|writer, signal, cx| writer.poll_letter(signal, cx))
            .await
    }

    /// Waits until a call that does not wait (`try_…`, here and by [`AsyncWriter::get_ref`]) would
    /// find something that `interest` asks for: to wait for blocks and letters at once, say. At the
    /// end of the data it does not wait for blocks.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// As [`AsyncWriter::data_block`].
    pub async fn ready(&mut self, interest: Interest) -> Result<(), Error> {
        if interest | Interest::BLOCKS == interest {
            self.refuse_with_rest()?;
        }
        self.end
            .wait(|writer, signal, cx| writer.poll_interest(interest, signal, cx))
            .await
    }

    /// Waits until the session is over, and for nothing else: for `select!`, while the blocks that
    /// were taken are worked on for long, say. See [`Monitor::watch`].
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// As there; [`Error::Os`] if the runtime is shut down.
    pub async fn watch(&mut self) -> Result<(), Error> {
        self.end
            .wait(|writer, signal, cx| writer.poll_end(signal, cx))
            .await
    }

    /// Gives up: the Reader gets `reason` (cut to 1024 bytes) as [`Error::PartnerAborted`].
    pub fn abort(self, reason: &str) {
        self.abort_with(0, reason);
    }

    /// As [`AsyncWriter::abort`], with a number of the application's choice.
    pub fn abort_with(self, code: u32, reason: &str) {
        self.into_inner().abort_with(code, reason);
    }

    /// A [`tokio::io::AsyncRead`] and [`tokio::io::AsyncBufRead`] over the blocks' bytes, one
    /// after the other. It begins with what a stream before it has left of a block.
    pub fn stream(&mut self) -> ReceiveStream<&mut AsyncWriter> {
        ReceiveStream::new(self)
    }

    /// As [`AsyncWriter::stream`], with the Writer in it. Dropped unfinished, it gives up, as the
    /// Writer does.
    pub fn into_stream(self) -> ReceiveStream<AsyncWriter> {
        ReceiveStream::new(self)
    }
}

impl Stream for AsyncWriter {
    type Item = Result<OwnedDataBlock, Error>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<OwnedDataBlock, Error>>> {
        if self.has_failed {
            return Poll::Ready(None);
        }
        let block = ready!(self.poll_data_block(cx)).transpose();
        self.has_failed = matches!(block, Some(Err(_)));
        Poll::Ready(block)
    }
}
