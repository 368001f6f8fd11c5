//! The end that fills blocks, for tasks.

use std::future::poll_fn;
use std::task::{Context, Poll};

use brigade::{
    Delivered, EmptyBlock, Error, Interest, Label, Letter, Monitor, OwnedEmptyBlock, Partner,
    Reader,
};

use crate::signal::Watched;
use crate::stream::{Filling, SendStream};

/// A [`Reader`] for tasks: it takes empty blocks, fills them and sends them.
///
/// It is a [`Sink`](crate::Sink) of [filled blocks](crate::Filled), and one of buffers, each of
/// which is copied into a block. Dropped before [`AsyncReader::verdict`] has succeeded, it tells
/// the Writer that it gave up.
#[derive(Debug)]
pub struct AsyncReader {
    end: Watched<Reader>,
    /// A block that a sink has asked for and not used.
    pub(crate) reserved: Option<OwnedEmptyBlock>,
    /// What a stream has taken and not sent.
    pub(crate) filling: Option<Filling>,
}

impl AsyncReader {
    /// Lets the runtime wait for `reader`, wherever that came from.
    ///
    /// # Errors
    ///
    /// What the system says, a limit of descriptors, say; then the Reader is dropped.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime, and if that has no I/O (both on Unix).
    pub fn new(reader: Reader) -> Result<AsyncReader, Error> {
        Ok(AsyncReader {
            end: Watched::new(reader)?,
            reserved: None,
            filling: None,
        })
    }

    /// The library's end, to go on with another Writer after a death, for instance
    /// ([`Reader::into_unreturned`]).
    pub fn into_inner(mut self) -> Reader {
        // As when the stream is dropped; what fails is found by whoever goes on.
        let _ = self.send_filling();
        self.end.into_end()
    }

    /// The library's end, for what does not wait. Its calls that wait block the thread, and those
    /// that arm it ([`Reader::arm`]) disturb what tasks wait for.
    pub fn get_ref(&self) -> &Reader {
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

    /// What the Writer has given back so far, by its word.
    pub fn delivered(&self) -> Delivered {
        self.end.end().delivered()
    }

    /// An empty block, as soon as there is one: see [`Reader::empty_block`].
    ///
    /// Cancel-safe. While this process holds *all* blocks, it waits until one of them is dropped or
    /// sent.
    ///
    /// # Errors
    ///
    /// As there; [`Error::Os`] if the runtime is shut down.
    pub async fn empty_block(&mut self) -> Result<OwnedEmptyBlock, Error> {
        poll_fn(|cx| self.poll_empty_block(cx)).await
    }

    /// As [`AsyncReader::empty_block`], from within a `poll` function.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn poll_empty_block(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<OwnedEmptyBlock, Error>> {
        if let Some(block) = self.reserved.take() {
            return Poll::Ready(Ok(block));
        }
        self.end.poll(cx, |reader, signal, cx| {
            let block = reader.poll_empty_block(signal, cx);
            block.map_ok(EmptyBlock::detach)
        })
    }

    /// As [`AsyncReader::empty_block`], but does not wait: `None` if there is none now.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn try_empty_block(&mut self) -> Result<Option<OwnedEmptyBlock>, Error> {
        match self.reserved.take() {
            None => Ok(self.end.end().try_empty_block()?.map(EmptyBlock::detach)),
            reserved => Ok(reserved),
        }
    }

    /// Sends the first `len` bytes of `block`, with a number of the application's choice: see
    /// [`EmptyBlock::send`]. It goes at once, after all that were sent before. Never waits.
    ///
    /// # Errors
    ///
    /// As there; [`Error::InvalidUse`] for a block of another Reader.
    pub fn send_block(
        &mut self,
        block: OwnedEmptyBlock,
        len: usize,
        tag: u64,
    ) -> Result<(), Error> {
        self.send_block_as(block, len, Label::new(0, tag))
    }

    /// As [`AsyncReader::send_block`], with all that can travel with a block.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn send_block_as(
        &mut self,
        block: OwnedEmptyBlock,
        len: usize,
        label: Label,
    ) -> Result<(), Error> {
        self.send_filling()?;
        // What other tasks have sent before.
        self.end.end().pass_on();
        match self.end.end().attach(block) {
            Ok(block) => block.send_as(len, label),
            Err(_) => Err(Error::InvalidUse("a block of another reader's")),
        }
    }

    /// Sends what a stream has taken.
    pub(crate) fn send_filling(&mut self) -> Result<(), Error> {
        match self.filling.take() {
            None => Ok(()),
            Some(Filling { block, len, offset }) => self.send_block(block, len, offset),
        }
    }

    /// Says that no more data will come: see [`Reader::close`]. Never waits.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn close(&mut self) -> Result<(), Error> {
        self.send_filling()?;
        self.reserved = None;
        self.end.end().close()
    }

    /// Waits, after [`AsyncReader::close`], until the Writer has drained everything and given its
    /// verdict: see [`Reader::verdict`].
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn verdict(&mut self) -> Result<Delivered, Error> {
        if self.filling.is_some() {
            return Err(Error::InvalidUse(
                "a stream was forgotten before the end of the data",
            ));
        }
        self.end
            .wait(|reader, signal, cx| reader.poll_verdict(signal, cx))
            .await
    }

    /// [`AsyncReader::close`] and [`AsyncReader::verdict`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn finish(&mut self) -> Result<Delivered, Error> {
        self.close()?;
        self.verdict().await
    }

    /// Posts a letter to the Writer, as soon as there is room for it: see [`Reader::post`].
    ///
    /// Cancel-safe: not posted if it is dropped before it is ready.
    ///
    /// # Errors
    ///
    /// As there; [`Error::Os`] if the runtime is shut down.
    pub async fn post(&mut self, kind: u16, bytes: &[u8]) -> Result<(), Error> {
        self.end
            .wait(|reader, signal, cx| reader.poll_post(kind, bytes, signal, cx))
            .await
    }

    /// The Writer's next letter; `None` if it has given its verdict and none is left.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// As [`Reader::letter`]; [`Error::Os`] if the runtime is shut down.
    pub async fn letter(&mut self) -> Result<Option<Letter>, Error> {
        self.end
            .wait(|reader, signal, cx| reader.poll_letter(signal, cx))
            .await
    }

    /// Waits until a call that does not wait (`try_…`, here and by [`AsyncReader::get_ref`]) would
    /// find something that `interest` asks for: to wait for blocks and letters at once, say. If
    /// that is blocks, a sink that was ready is not any more: the block that it had is found.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// As [`AsyncReader::empty_block`].
    pub async fn ready(&mut self, interest: Interest) -> Result<(), Error> {
        if interest | Interest::BLOCKS == interest {
            // So that whichever call looks for it finds it.
            self.reserved = None;
        }
        self.end
            .wait(|reader, signal, cx| reader.poll_interest(interest, signal, cx))
            .await
    }

    /// Waits until the session is over, and for nothing else: for `select!`, beside a source that
    /// may be silent for long. See [`Monitor::watch`].
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// As there; [`Error::Os`] if the runtime is shut down.
    pub async fn watch(&mut self) -> Result<(), Error> {
        self.end
            .wait(|reader, signal, cx| reader.poll_end(signal, cx))
            .await
    }

    /// Gives up: the Writer gets `reason` (cut to 1024 bytes) as [`Error::PartnerAborted`].
    pub fn abort(self, reason: &str) {
        self.abort_with(0, reason);
    }

    /// As [`AsyncReader::abort`], with a number of the application's choice.
    pub fn abort_with(self, code: u32, reason: &str) {
        self.into_inner().abort_with(code, reason);
    }

    /// A [`tokio::io::AsyncWrite`] that fills and sends blocks.
    pub fn stream(&mut self) -> SendStream<&mut AsyncReader> {
        SendStream::new(self)
    }

    /// As [`AsyncReader::stream`], with the Reader in it. Dropped unfinished, it gives up, as the
    /// Reader does.
    pub fn into_stream(self) -> SendStream<AsyncReader> {
        SendStream::new(self)
    }
}
