//! Small blocks, of which the partner is told several at a time.

use std::cell::Cell;
use std::time::Instant;

use crate::block::{DataBlock, EmptyBlock};
use crate::error::Error;
use crate::reader::Reader;
use crate::region::Block;
use crate::writer::Writer;

/// Which blocks are kept back: all but each `most`-th that is passed on.
#[derive(Debug)]
struct Keeping {
    most: u64,
    /// How many blocks the end had passed on when the last ones were let go.
    since: Cell<u64>,
}

impl Keeping {
    fn new(most: usize, appended: u64) -> Keeping {
        Keeping {
            most: most as u64,
            since: Cell::new(appended),
        }
    }

    /// `block`, so that it is kept back if it is not the one that makes the batch full;
    /// `appended` were passed on before it.
    #[inline(always)]
    fn mark(&self, block: Block, appended: u64) -> Block {
        if appended - self.since.get() >= self.most {
            self.since.set(appended);
        }
        match appended - self.since.get() + 1 < self.most {
            true => block.in_batch(),
            false => block,
        }
    }
}

/// Empty blocks that are sent several at a time: made by [`Reader::batch`].
///
/// Dropped, it sends what it has kept back, which never blocks.
#[derive(Debug)]
pub struct SendBatch<'r> {
    reader: &'r Reader,
    keeping: Keeping,
}

impl Reader {
    /// For small blocks: what is sent with blocks of the batch, the Writer gets several at a
    /// time, with one store and one wake for up to `most` of them. So it costs less, and comes
    /// later. With more than a quarter of the pool in a batch, the two ends rather take turns
    /// than work side by side: large blocks, of which there are few, are better off without.
    ///
    /// What is kept back goes when there are `most` of it, when this end has to wait (for an
    /// empty block, for instance: a batch may be larger than the pool), when a call that does
    /// not wait finds nothing, with [`SendBatch::pass_on`], when a block is sent that is not
    /// of a batch, with [`Reader::close`], and when the batch is dropped. A batch that is
    /// forgotten ([`std::mem::forget`]) leaves it for the other ways. Blocks arrive in the
    /// order of sending, however they were sent.
    ///
    /// `most` should be a small part of the pool, so that both ends have something to do:
    /// with blocks of 64 bytes, more than 32 gains nothing.
    ///
    /// # Example
    ///
    /// ```
    /// # fn main() -> Result<(), brigade::Error> {
    /// # let name = format!("brigade-batch-{}", std::process::id());
    /// # let options = brigade::Options::new().block_size(64).block_count(128);
    /// # let seat = brigade::Seat::take(&name, &options)?;
    /// # let writer = std::thread::spawn(move || -> Result<u64, brigade::Error> {
    /// #     let role = loop {
    /// #         match brigade::join(&name, &options) {
    /// #             Err(brigade::Error::TooManyInstances { .. }) => {}
    /// #             joined => break joined?,
    /// #         }
    /// #     };
    /// #     let writer = role.into_writer().ok_or(brigade::Error::InvalidUse("the reader"))?;
    /// let mut sum = 0;
    /// let batch = writer.batch(32);
    /// while let Some(block) = batch.data_block()? {
    ///     sum += u64::from(block[0]);
    /// }
    /// # drop(batch);
    /// #     writer.finish()?;
    /// #     Ok(sum)
    /// # });
    /// # let reader = seat.wait()?.into_reader().ok_or(brigade::Error::InvalidUse("the writer"))?;
    /// let batch = reader.batch(32);
    /// for number in 0..100 {
    ///     let mut block = batch.empty_block()?;
    ///     block[0] = number;
    ///     block.send(1, 0)?;
    /// }
    /// drop(batch);
    /// reader.finish()?;
    /// # let sum = writer.join().map_err(|_| brigade::Error::InvalidUse("panicked"))??;
    /// # assert_eq!(sum, 4950);
    /// # Ok(())
    /// # }
    /// ```
    pub fn batch(&self, most: usize) -> SendBatch<'_> {
        SendBatch {
            reader: self,
            keeping: Keeping::new(most, self.end().appended()),
        }
    }
}

impl SendBatch<'_> {
    /// As [`Reader::empty_block`]. The block is as any other; only what it is sent with may be
    /// kept back. If it is [detached](EmptyBlock::detach), it is not in the batch any more.
    ///
    /// # Errors
    ///
    /// As there.
    #[inline(always)]
    pub fn empty_block(&self) -> Result<EmptyBlock<'_>, Error> {
        self.reader.empty_block().map(|block| self.mark(block))
    }

    /// As [`Reader::empty_block_until`].
    ///
    /// # Errors
    ///
    /// As there.
    #[inline(always)]
    pub fn empty_block_until(&self, deadline: Instant) -> Result<EmptyBlock<'_>, Error> {
        let block = self.reader.empty_block_until(deadline);
        block.map(|block| self.mark(block))
    }

    /// As [`Reader::try_empty_block`]. If there is none now, what was kept back is sent.
    ///
    /// # Errors
    ///
    /// As there.
    #[inline(always)]
    pub fn try_empty_block(&self) -> Result<Option<EmptyBlock<'_>>, Error> {
        let block = self.reader.try_empty_block()?;
        Ok(block.map(|block| self.mark(block)))
    }

    /// Sends what was kept back. Never blocks.
    pub fn pass_on(&self) {
        self.reader.pass_on();
    }

    #[inline(always)]
    fn mark<'b>(&'b self, token: EmptyBlock<'b>) -> EmptyBlock<'b> {
        let appended = self.reader.end().appended();
        let block = self.keeping.mark(token.into_block(), appended);
        self.reader.token(block)
    }
}

impl Drop for SendBatch<'_> {
    fn drop(&mut self) {
        self.pass_on();
    }
}

/// Filled blocks that are given back several at a time: made by [`Writer::batch`].
///
/// Dropped, it gives back what it has kept, which never blocks.
#[derive(Debug)]
pub struct ReceiveBatch<'w> {
    writer: &'w Writer,
    keeping: Keeping,
}

impl Writer {
    /// For small blocks: blocks of the batch that were dropped, the Reader gets back several at
    /// a time, up to `most`. For when it gets what was kept, how large `most` should be, and
    /// an example, see [`Reader::batch`]: here, too, all is given back before this end waits.
    pub fn batch(&self, most: usize) -> ReceiveBatch<'_> {
        ReceiveBatch {
            writer: self,
            keeping: Keeping::new(most, self.end().appended()),
        }
    }
}

impl ReceiveBatch<'_> {
    /// As [`Writer::data_block`]. The block is as any other; only that it is given back may be
    /// kept from the Reader for a while. If it is [detached](DataBlock::detach), it is not in
    /// the batch any more.
    ///
    /// # Errors
    ///
    /// As there.
    #[inline(always)]
    pub fn data_block(&self) -> Result<Option<DataBlock<'_>>, Error> {
        let block = self.writer.data_block()?;
        Ok(block.map(|block| self.mark(block)))
    }

    /// As [`Writer::data_block_until`].
    ///
    /// # Errors
    ///
    /// As there.
    #[inline(always)]
    pub fn data_block_until(&self, deadline: Instant) -> Result<Option<DataBlock<'_>>, Error> {
        let block = self.writer.data_block_until(deadline)?;
        Ok(block.map(|block| self.mark(block)))
    }

    /// As [`Writer::try_data_block`]. If there is none now, what was kept is given back.
    ///
    /// # Errors
    ///
    /// As there.
    #[inline(always)]
    pub fn try_data_block(&self) -> Result<Option<DataBlock<'_>>, Error> {
        let block = self.writer.try_data_block()?;
        Ok(block.map(|block| self.mark(block)))
    }

    /// Gives back what was kept. Never blocks.
    pub fn pass_on(&self) {
        self.writer.pass_on();
    }

    #[inline(always)]
    fn mark<'b>(&'b self, token: DataBlock<'b>) -> DataBlock<'b> {
        let appended = self.writer.end().appended();
        let block = self.keeping.mark(token.into_block(), appended);
        DataBlock {
            writer: self.writer,
            block,
        }
    }
}

impl Drop for ReceiveBatch<'_> {
    fn drop(&mut self) {
        self.pass_on();
    }
}
