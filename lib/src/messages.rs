//! Messages: bytes of any length, each in as many blocks as it needs.

use crate::block::{DataBlock, Label};
use crate::error::{Error, Violation};
use crate::reader::Reader;
use crate::writer::Writer;

impl Reader {
    /// Sends `bytes` as one message: in as many blocks as they need, and in one if there
    /// are none. All of them get the kind and tag of `label`, and all but the last say
    /// that the message goes on; the last one says what `label` does, so that a message
    /// can also be sent in parts. Waits for empty blocks as [`Reader::empty_block`] does.
    ///
    /// # Errors
    ///
    /// As [`Reader::empty_block`]; [`Error::InvalidUse`] after [`Reader::close`].
    pub fn send_message(&self, label: Label, bytes: &[u8]) -> Result<(), Error> {
        let mut left = bytes;
        loop {
            let mut block = self.empty_block()?;
            let (piece, rest) = left.split_at(left.len().min(block.len()));
            block[..piece.len()].copy_from_slice(piece);
            let more = label.more || !rest.is_empty();
            block.send_as(piece.len(), Label { more, ..label })?;
            left = rest;
            if left.is_empty() {
                return Ok(());
            }
        }
    }
}

impl Writer {
    /// The next message, in place of what is in `message`: the bytes of all its blocks.
    /// Returns kind and tag of its first block; `None` at the end of the data. Waits as
    /// [`Writer::data_block`] does.
    ///
    /// It begins at the beginning of a message: if the block that was taken last says that
    /// its message goes on, then the rest of that is passed over.
    ///
    /// # Errors
    ///
    /// As [`Writer::data_block`]. [`Error::MessageTooLong`] if the message has more than
    /// `max` bytes, and then the next call gives the next message.
    /// [`Error::ProtocolViolation`] if the data ends in the middle of a message.
    pub fn message(&self, message: &mut Vec<u8>, max: usize) -> Result<Option<Label>, Error> {
        message.clear();
        while self.is_within_message() {
            self.next_of_message()?;
        }
        let Some(mut block) = self.data_block()? else {
            return Ok(None);
        };
        let label = Label::new(block.kind(), block.tag());
        loop {
            if block.len() > max - message.len() {
                return Err(Error::MessageTooLong { max });
            }
            block.write_to(message).map_err(no_room)?;
            if !block.more() {
                return Ok(Some(label));
            }
            drop(block);
            block = self.next_of_message()?;
        }
    }

    fn next_of_message(&self) -> Result<DataBlock<'_>, Error> {
        let unfinished = || self.end().violation(Violation::UnfinishedMessage);
        self.data_block()?.ok_or_else(unfinished)
    }
}

/// Writing to a vector fails for nothing that this library knows of.
fn no_room(error: std::io::Error) -> Error {
    Error::os("keep a message", error)
}
