//! One side's half of the letters: see `crate::letters`.

use super::End;
use crate::error::Error;
use crate::letters::Letter;
use crate::region::layout::LETTER_MAX;
use crate::steps::at_step;

impl<const OUT: usize, const IN: usize> End<OUT, IN> {
    /// Posts a letter; false if there is no room for it.
    pub(crate) fn post(&self, kind: u16, bytes: &[u8]) -> Result<bool, Error> {
        if bytes.len() > LETTER_MAX {
            return Err(Error::InvalidUse("the letter is longer than LETTER_MAX"));
        }
        self.can_publish("a letter after the end")?;
        let (own, slots) = (self.own.control(), self.own.letters());
        let posted = self
            .outbox
            .post(own, slots, self.peer.control(), kind, bytes)
            .map_err(|violation| self.violation(violation))?;
        if posted {
            at_step("letter posted");
            self.ring_if_wanted();
        }
        Ok(posted)
    }

    /// As [`End::post`], for a look: an error, too, if nobody will make room.
    pub(crate) fn post_or_find_why_not(
        &self,
        kind: u16,
        bytes: &[u8],
    ) -> Result<Option<()>, Error> {
        let ended = self.partner_ended();
        match (self.post(kind, bytes)?, ended) {
            (true, _) => Ok(Some(())),
            (false, Ok(_)) => Ok(None),
            (false, Err(error)) => Err(error),
        }
    }

    /// The partner's next letter, for a look: `Some(None)` if none can come any more.
    pub(crate) fn take_letter(&self) -> Result<Option<Option<Letter>>, Error> {
        self.check_here()?;
        // The state first: a letter posted before it changed is then found.
        let ended = self.partner_ended();
        let (own, slots) = (self.own.control(), self.peer.letters());
        let letter = self
            .inbox
            .take(own, self.peer.control(), slots)
            .map_err(|violation| self.violation(violation))?;
        match (letter, ended) {
            (Some(letter), _) => {
                self.rang_at.set(None);
                // The partner may wait for room.
                self.ring_if_wanted();
                Ok(Some(Some(letter)))
            }
            (None, Ok(true)) => {
                self.letters_ended.set(true);
                Ok(Some(None))
            }
            (None, Ok(false)) => Ok(None),
            (None, Err(error)) => Err(error),
        }
    }

    /// Whether it was seen that no letter can come any more.
    pub(crate) fn have_letters_ended(&self) -> bool {
        self.letters_ended.get()
    }
}
