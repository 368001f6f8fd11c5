//! The end that fills blocks.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use engine::{EmptyBlock as Token, Error, Label};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::blocks::EmptyBlock;
use crate::buffers::{Bytes, LONG, Room};
use crate::errors::raised;
use crate::held::{Call, Held, Sole, reason};
use crate::monitor::Monitor;
use crate::takeover::Unreturned;
use crate::tell;
use crate::wait::{Awaited, Limit, Timeout};

type End = engine::Reader;

/// The end that takes empty blocks, fills them and sends them.
///
/// As a context manager, it finishes the session, or gives it up with what was raised.
#[pyclass(frozen, weakref, module = "brigade")]
pub(crate) struct Reader {
    held: Arc<Held<End>>,
    /// The calls that send what may be several blocks.
    sending: Sole<()>,
}

impl Reader {
    pub(crate) fn new(end: End) -> Reader {
        Reader {
            held: Held::new(end),
            sending: Sole::new(()),
        }
    }

    pub(crate) fn held(&self) -> &Arc<Held<End>> {
        &self.held
    }

    fn enter(&self, py: Python<'_>, limit: Limit) -> PyResult<Call<'_, End>> {
        self.held.enter(py, limit)
    }

    fn wait_for_block(&self, py: Python<'_>, limit: Limit) -> PyResult<EmptyBlock> {
        let call = self.enter(py, limit)?;
        let found = match limit {
            Limit::Not => call.try_empty_block(),
            _ => call.look_for_empty_block(),
        };
        let found = found.map(|found| found.map(Token::detach));
        let block = match found.map_err(|error| raised(py, error))? {
            Some(block) => block,
            None if matches!(limit, Limit::Not) => return Err(raised(py, Error::TimedOut)),
            None => call.wait(py, limit, Awaited::Blocks, |end, until| match until {
                Some(until) => end.empty_block_until(until).map(Token::detach),
                None => end.empty_block().map(Token::detach),
            })?,
        };
        Ok(EmptyBlock::new(&self.held, block))
    }

    /// [`Reader::send_pieces`] of what fits into a block, if nothing has to be waited for and the copy
    /// is a short one; whether it is sent.
    #[inline]
    fn send_at_once(&self, py: Python<'_>, data: &Bytes<'_>, label: Label) -> PyResult<bool> {
        if data.len() >= LONG || !self.held.is_here() {
            return Ok(false);
        }
        let (Some(_sole), Some(call)) = (self.sending.take_at_once(), self.held.enter_at_once())
        else {
            return Ok(false);
        };
        let sent = call.look_for_empty_block().and_then(|found| match found {
            Some(mut block) => {
                data.copy_to(0, &mut block[..data.len()]);
                block.send_as(data.len(), label).map(|()| true)
            }
            None => Ok(false),
        });
        sent.map_err(|error| raised(py, error))
    }

    /// Copies the bytes of `data` from `from` on, as many as fit, to a block, and sends it;
    /// how many these are.
    fn send_piece(
        &self,
        py: Python<'_>,
        limit: Limit,
        data: &Bytes<'_>,
        from: usize,
        label: Label,
    ) -> PyResult<usize> {
        let send = |mut block: Token<'_>| {
            let len = block.len().min(data.len() - from);
            data.copy_to(from, &mut block[..len]);
            let more = label.more || from + len < data.len();
            block.send_as(len, Label { more, ..label }).map(|()| len)
        };
        let call = self.enter(py, limit)?;
        if data.len() - from < LONG {
            let found = call.look_for_empty_block();
            if let Some(block) = found.map_err(|error| raised(py, error))? {
                return send(block).map_err(|error| raised(py, error));
            }
        }
        call.wait(py, limit, Awaited::Blocks, |end, until| match until {
            Some(until) => send(end.empty_block_until(until)?),
            None => send(end.empty_block()?),
        })
    }

    fn send_pieces(
        &self,
        py: Python<'_>,
        limit: Limit,
        data: &Bytes<'_>,
        label: Label,
    ) -> PyResult<()> {
        self.held.check_here(py)?;
        let _sole = self.sending.take(py, limit)?;
        let mut from = 0;
        loop {
            let sent = self.send_piece(py, limit, data, from, label);
            if sent.is_err() && from > 0 {
                // The Writer would take what comes next for the rest of it.
                let monitor = &self.held.facts.monitor;
                monitor.abort("it stopped in the middle of a message");
            }
            from += sent?;
            if from == data.len() {
                return Ok(());
            }
        }
    }

    fn close_and_wait<'py>(
        &self,
        py: Python<'py>,
        limit: Limit,
        closes: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let call = self.enter(py, limit)?;
        if closes {
            call.close().map_err(|error| raised(py, error))?;
            self.held.has_ended.store(true, Ordering::Relaxed);
        }
        let found = match call.try_verdict().map_err(|error| raised(py, error))? {
            Some(found) => found,
            None if matches!(limit, Limit::Not) => return Err(raised(py, Error::TimedOut)),
            None => call.wait(py, limit, Awaited::Verdict, |end, until| match until {
                Some(until) => end.verdict_until(until),
                None => end.verdict(),
            })?,
        };
        self.held.is_over.store(true, Ordering::Relaxed);
        tell::delivered(py, found)
    }
}

#[pymethods]
impl Reader {
    #[getter]
    fn block_size(&self) -> usize {
        self.held.facts.block_size
    }

    #[getter]
    fn block_count(&self) -> usize {
        self.held.facts.block_count
    }

    /// 1 in a new session, and one more for each process that has taken a lost one's place.
    #[getter]
    fn epoch(&self) -> u64 {
        self.held.facts.epoch
    }

    #[getter]
    fn partner<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        tell::partner(py, &self.held.facts.partner)
    }

    #[getter]
    fn monitor(&self) -> Monitor {
        Monitor::new(&self.held.facts.monitor)
    }

    #[getter]
    fn delivered<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        tell::delivered(py, self.held.facts.monitor.delivered())
    }

    /// How many blocks this process has in hand: not sent, given back or collected yet.
    #[getter(held)]
    fn lent(&self) -> usize {
        self.held.lent()
    }

    /// Whether it was said that no more data will come.
    #[getter]
    fn closed(&self) -> bool {
        self.held.has_ended.load(Ordering::Relaxed)
    }

    /// The next empty block. While this process holds all blocks, none can come.
    #[pyo3(signature = (timeout=None))]
    fn empty_block(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<EmptyBlock> {
        self.wait_for_block(py, Limit::new(timeout)?)
    }

    /// Sends a copy of `data` in one block; ValueError if it is longer.
    #[pyo3(signature = (data, *, tag=0, kind=0, more=false, timeout=None))]
    fn send(
        &self,
        data: &Bound<'_, PyAny>,
        tag: u64,
        kind: u16,
        more: bool,
        timeout: Option<f64>,
    ) -> PyResult<()> {
        let py = data.py();
        let timeout = Timeout::new(timeout)?;
        let mut room = Room::new();
        let data = room.bytes_of(data)?;
        if data.len() > self.block_size() {
            return Err(PyValueError::new_err("the data is longer than a block"));
        }
        let label = Label { kind, tag, more };
        match self.send_at_once(py, &data, label)? {
            true => Ok(()),
            false => self.send_pieces(py, timeout.limit(), &data, label),
        }
    }

    /// Sends a copy of `data` in as many blocks as it needs. If that stops in the middle, by `timeout` say,
    /// the session is given up.
    #[pyo3(signature = (data, *, tag=0, kind=0, timeout=None))]
    fn send_message(
        &self,
        data: &Bound<'_, PyAny>,
        tag: u64,
        kind: u16,
        timeout: Option<f64>,
    ) -> PyResult<()> {
        let py = data.py();
        let limit = Limit::new(timeout)?;
        let mut room = Room::new();
        let data = room.bytes_of(data)?;
        self.send_pieces(py, limit, &data, Label::new(kind, tag))
    }

    /// Says that no more data will come. Does not wait for the Writer.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let call = self.enter(py, Limit::Forever)?;
        call.close().map_err(|error| raised(py, error))?;
        self.held.has_ended.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Waits, after `close`, until the Writer has said that it has got everything.
    #[pyo3(signature = (timeout=None))]
    fn verdict<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Bound<'py, PyAny>> {
        self.close_and_wait(py, Limit::new(timeout)?, false)
    }

    /// `close` and `verdict`.
    #[pyo3(signature = (timeout=None))]
    fn finish<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Bound<'py, PyAny>> {
        self.close_and_wait(py, Limit::new(timeout)?, true)
    }

    /// Raises PartnerDied or PartnerAborted, if it is so.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.held.check(py)
    }

    /// Gives up: the partner gets `reason`, and calls of other threads that wait fail with Aborted.
    #[pyo3(signature = (reason="it was aborted", code=0))]
    fn abort(&self, py: Python<'_>, reason: &str, code: u32) -> PyResult<()> {
        self.held.abort(py, reason, code)
    }

    /// Posts a letter of at most 1016 bytes; waits while 16 lie unread.
    #[pyo3(signature = (data, kind=0, timeout=None))]
    fn post(&self, data: &Bound<'_, PyAny>, kind: u16, timeout: Option<f64>) -> PyResult<()> {
        self.held.post(data, kind, timeout)
    }

    /// The partner's next letter; None if none will come any more.
    #[pyo3(signature = (timeout=None))]
    fn letter<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<f64>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.held.letter(py, timeout)
    }

    /// For who sleeps by other means. True: wait until `fileno` is readable, then `disarm`, and look by calls
    /// with `timeout=0`. False: look now.
    #[pyo3(signature = (interest=1))]
    fn arm(&self, py: Python<'_>, interest: u8) -> PyResult<bool> {
        self.held.arm(py, interest)
    }

    fn disarm(&self, py: Python<'_>) -> PyResult<()> {
        self.held.disarm(py)
    }

    /// The descriptor for `arm`, on Windows the handle. Nothing may be read from it.
    fn fileno(&self, py: Python<'_>) -> PyResult<i64> {
        self.held.fileno(py)
    }

    /// After the Writer was lost: what was sent and not given back. This end is left, unless that raises
    /// `InvalidUse`.
    #[pyo3(name = "into_unreturned")]
    fn unreturned(&self, py: Python<'_>) -> PyResult<Unreturned> {
        // What is refused leaves this end as it is.
        self.held.check_lost(py)?;
        let end = self.held.take(py, || Ok(()))?;
        let unreturned = py.detach(|| end.into_unreturned());
        let unreturned = unreturned.map_err(|error| raised(py, error))?;
        Ok(Unreturned::new(&self.held, unreturned))
    }

    /// As `into_unreturned`, of a Writer that is still there, and gets `reason`.
    #[pyo3(signature = (reason, code=0))]
    fn dismiss(&self, py: Python<'_>, reason: &str, code: u32) -> PyResult<Unreturned> {
        let end = self.held.take(py, || Ok(()))?;
        let unreturned = py.detach(|| end.dismiss(code, reason));
        let unreturned = unreturned.map_err(|error| raised(py, error))?;
        Ok(Unreturned::new(&self.held, unreturned))
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// Finishes the session, or gives it up if something was raised; the end is left then.
    fn __exit__(
        &self,
        py: Python<'_>,
        kind: Option<Bound<'_, PyType>>,
        value: Option<Bound<'_, PyAny>>,
        _traceback: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        if !self.held.is_here() || self.held.is_left() {
            return Ok(());
        }
        let finished = match kind {
            Some(kind) => self.held.abort(py, &reason(&kind, value.as_ref()), 0),
            None if self.held.is_over.load(Ordering::Relaxed) => Ok(()),
            None => self.close_and_wait(py, Limit::Forever, true).map(drop),
        };
        if let Err(error) = &finished {
            self.held
                .abort(py, &reason(&error.get_type(py), Some(error.value(py))), 0)?;
        }
        self.held.leave(py)?;
        finished
    }

    fn stream<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let streams = slf.py().import("brigade._streams")?;
        streams.getattr("SendStream")?.call1((slf,))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.held.drop_end();
    }
}
