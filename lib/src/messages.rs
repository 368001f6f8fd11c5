//! Messages: bytes of any length, each in as many blocks as it needs.

use std::time::Instant;

use crate::block::{DataBlock, Label};
use crate::error::{Error, Violation};
use crate::reader::Reader;
use crate::writer::{Begun, Writer};

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
    /// its message goes on, then the rest of that is passed over. But a message of which
    /// [`Writer::message_until`] has put the beginning into `message` is gone on with.
    ///
    /// # Errors
    ///
    /// As [`Writer::data_block`]. [`Error::MessageTooLong`] if the message has more than
    /// `max` bytes, and then the next call gives the next message.
    /// [`Error::ProtocolViolation`] if the data ends in the middle of a message.
    pub fn message(&self, message: &mut Vec<u8>, max: usize) -> Result<Option<Label>, Error> {
        self.next_message(message, max, None)
    }

    /// As [`Writer::message`], but waits no longer than `deadline`.
    ///
    /// What has come of a message by then stays in `message`: the next call for one goes on
    /// with it, and has to be given the same `message`, unless another block was taken
    /// meanwhile. If `message` has another length than it had then, the rest of what had
    /// begun is passed over, and the next message is taken.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::TimedOut`].
    pub fn message_until(
        &self,
        message: &mut Vec<u8>,
        max: usize,
        deadline: Instant,
    ) -> Result<Option<Label>, Error> {
        self.next_message(message, max, Some(deadline))
    }

    fn next_message(
        &self,
        message: &mut Vec<u8>,
        max: usize,
        deadline: Option<Instant>,
    ) -> Result<Option<Label>, Error> {
        let label = match self.take_begun(message.len()) {
            Some(label) => label,
            None => match self.begin_message(message, max, deadline)? {
                Some(label) => label,
                None => return Ok(None),
            },
        };
        while self.is_within_message() {
            match self.next_of_message(deadline) {
                Ok(block) => keep(&block, message, max)?,
                Err(error) => {
                    if matches!(error, Error::TimedOut) {
                        self.begun_message().set(Some(Begun {
                            label,
                            len: message.len(),
                            taken: self.end().taken(),
                        }));
                    }
                    return Err(error);
                }
            }
        }
        Ok(Some(label))
    }

    /// The label of the message of which a part has come, if no block was taken since, and
    /// as many bytes as came are in the vector.
    fn take_begun(&self, len: usize) -> Option<Label> {
        let begun = self.begun_message().take()?;
        let goes_on = begun.taken == self.end().taken() && begun.len == len;
        goes_on.then_some(begun.label)
    }

    fn begin_message(
        &self,
        message: &mut Vec<u8>,
        max: usize,
        deadline: Option<Instant>,
    ) -> Result<Option<Label>, Error> {
        message.clear();
        while self.is_within_message() {
            self.next_of_message(deadline)?;
        }
        let Some(block) = self.next_by(deadline)? else {
            return Ok(None);
        };
        keep(&block, message, max)?;
        Ok(Some(Label::new(block.kind(), block.tag())))
    }

    fn next_by(&self, deadline: Option<Instant>) -> Result<Option<DataBlock<'_>>, Error> {
        match deadline {
            Some(deadline) => self.data_block_until(deadline),
            None => self.data_block(),
        }
    }

    fn next_of_message(&self, deadline: Option<Instant>) -> Result<DataBlock<'_>, Error> {
        let unfinished = || self.end().violation(Violation::UnfinishedMessage);
        self.next_by(deadline)?.ok_or_else(unfinished)
    }
}

/// Adds the bytes of `block` to `message`, if there is room for them.
fn keep(block: &DataBlock<'_>, message: &mut Vec<u8>, max: usize) -> Result<(), Error> {
    // It may be less than what another call took.
    if block.len() > max.saturating_sub(message.len()) {
        return Err(Error::MessageTooLong { max });
    }
    block.write_to(message).map_err(no_room)
}

/// Writing to a vector fails for nothing that this library knows of.
fn no_room(error: std::io::Error) -> Error {
    Error::os("keep a message", error)
}
