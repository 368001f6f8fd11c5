//! The calls that both ends have.

use std::time::Instant;

use engine::{Error, Handle, Interest, Letter, Reader, Writer};
use pyo3::prelude::*;

use crate::buffers::Room;
use crate::errors::raised;
use crate::held::{Facts, Held};
use crate::tell;
use crate::wait::{self, Awaited, Limit};

/// A Reader or a Writer: what the library's two have by the same names.
pub(crate) trait End: Send {
    fn pass_on(&self);
    fn facts(&self) -> Facts;
    fn check(&self) -> Result<(), Error>;
    fn check_lost(&self) -> Result<(), Error>;
    fn try_post(&self, kind: u16, bytes: &[u8]) -> Result<bool, Error>;
    fn post_until(&self, kind: u16, bytes: &[u8], until: Option<Instant>) -> Result<(), Error>;
    fn try_letter(&self) -> Result<Option<Letter>, Error>;
    fn letter_until(&self, until: Option<Instant>) -> Result<Option<Letter>, Error>;
    fn have_letters_ended(&self) -> bool;
    fn wait_until(&self, interest: Interest, until: Option<Instant>) -> Result<(), Error>;
    fn arm(&self, interest: Interest) -> Result<bool, Error>;
    fn disarm(&self) -> Result<(), Error>;
    fn handle(&self) -> Result<Handle<'_>, Error>;
}

macro_rules! end {
    ($end:ty) => {
        impl End for $end {
            fn pass_on(&self) {
                <$end>::pass_on(self);
            }

            fn facts(&self) -> Facts {
                Facts {
                    block_size: self.block_size(),
                    block_count: self.block_count(),
                    epoch: self.epoch(),
                    partner: self.partner().clone(),
                    monitor: self.monitor(),
                }
            }

            fn check(&self) -> Result<(), Error> {
                <$end>::check(self)
            }

            fn check_lost(&self) -> Result<(), Error> {
                <$end>::check_lost(self)
            }

            fn try_post(&self, kind: u16, bytes: &[u8]) -> Result<bool, Error> {
                <$end>::try_post(self, kind, bytes)
            }

            fn post_until(
                &self,
                kind: u16,
                bytes: &[u8],
                until: Option<Instant>,
            ) -> Result<(), Error> {
                match until {
                    Some(until) => <$end>::post_until(self, kind, bytes, until),
                    None => self.post(kind, bytes),
                }
            }

            fn try_letter(&self) -> Result<Option<Letter>, Error> {
                <$end>::try_letter(self)
            }

            fn letter_until(&self, until: Option<Instant>) -> Result<Option<Letter>, Error> {
                match until {
                    Some(until) => <$end>::letter_until(self, until),
                    None => self.letter(),
                }
            }

            fn have_letters_ended(&self) -> bool {
                <$end>::have_letters_ended(self)
            }

            fn wait_until(&self, interest: Interest, until: Option<Instant>) -> Result<(), Error> {
                <$end>::wait_until(self, interest, until)
            }

            fn arm(&self, interest: Interest) -> Result<bool, Error> {
                <$end>::arm(self, interest)
            }

            fn disarm(&self) -> Result<(), Error> {
                <$end>::disarm(self)
            }

            fn handle(&self) -> Result<Handle<'_>, Error> {
                <$end>::handle(self)
            }
        }
    };
}

end!(Reader);
end!(Writer);

impl<E: End> Held<E> {
    /// What a call finds that does not wait.
    fn ask<T>(&self, py: Python<'_>, ask: impl FnOnce(&E) -> Result<T, Error>) -> PyResult<T> {
        let call = self.enter(py, Limit::Forever)?;
        ask(&call).map_err(|error| raised(py, error))
    }

    pub(crate) fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.ask(py, E::check)
    }

    pub(crate) fn check_lost(&self, py: Python<'_>) -> PyResult<()> {
        self.ask(py, E::check_lost)
    }

    pub(crate) fn post(
        &self,
        data: &Bound<'_, PyAny>,
        kind: u16,
        timeout: Option<f64>,
    ) -> PyResult<()> {
        let py = data.py();
        let limit = Limit::new(timeout)?;
        let data = Room::new().bytes_of(data)?.to_vec();
        let call = self.enter(py, limit)?;
        let is_posted = call.try_post(kind, &data);
        if is_posted.map_err(|error| raised(py, error))? {
            return Ok(());
        }
        let post = |end: &E, until| end.post_until(kind, &data, until);
        call.wait(py, limit, Awaited::Room, post)
    }

    pub(crate) fn letter<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<f64>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let limit = Limit::new(timeout)?;
        let call = self.enter(py, limit)?;
        if let Some(kept) = self.kept_letter.take() {
            return tell::letter(py, kept).map(Some);
        }
        let found = match call.try_letter().map_err(|error| raised(py, error))? {
            None if !call.have_letters_ended() => {
                let waited = call.wait(py, limit, Awaited::Letters, E::letter_until)?;
                waited
                    .map(|letter| self.kept_letter.unless_interrupted(py, letter))
                    .transpose()?
            }
            found => found,
        };
        found.map(|letter| tell::letter(py, letter)).transpose()
    }

    pub(crate) fn arm(&self, py: Python<'_>, interest: u8) -> PyResult<bool> {
        let interest = wait::interest(interest)?;
        self.ask(py, |end| end.arm(interest))
    }

    pub(crate) fn disarm(&self, py: Python<'_>) -> PyResult<()> {
        self.ask(py, E::disarm)
    }

    pub(crate) fn fileno(&self, py: Python<'_>) -> PyResult<i64> {
        self.ask(py, |end| end.handle().map(wait::raw))
    }
}
