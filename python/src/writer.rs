//! The end that drains blocks.

use std::iter;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use engine::{DataBlock as Token, Error, Label, Newest, OwnedDataBlock};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyType, PyWeakrefMethods, PyWeakrefReference};

use crate::blocks::DataBlock;
use crate::buffers::{self, Bytes, LONG, Place, Room};
use crate::errors::raised;
use crate::held::{Call, Held, Kept, Sole, reason};
use crate::lock::Mutex;
use crate::monitor::Monitor;
use crate::takeover::Survivor;
use crate::tell;
use crate::wait::{Awaited, Limit, Timeout};

type End = engine::Writer;

/// The end that takes filled blocks, drains them and gives them back.
///
/// As a context manager, it says at the end that all is good if the end of the data was seen; else it gives up.
#[pyclass(frozen, weakref, module = "brigade")]
pub(crate) struct Writer {
    held: Arc<Held<End>>,
    /// What has come of a message whose call did not wait for the rest.
    message: Sole<Vec<u8>>,
    kept_block: Kept<(OwnedDataBlock, usize)>,
    kept_message: Kept<(Label, Vec<u8>)>,
    /// The last block of a loop, if it was seen when the data ended: the loop's variable still
    /// has it.
    last: Mutex<Option<Py<PyWeakrefReference>>>,
}

/// What has become of the next block.
enum Drained {
    /// It was copied, so many bytes, and given back.
    Bytes(usize),
    /// It was not copied yet.
    Not(OwnedDataBlock),
    Nothing,
}

const BLOCK_FIRST: Error = Error::InvalidUse(
    "an interrupted call has kept a block: call data_block or newest_block first",
);
const MESSAGE_FIRST: Error =
    Error::InvalidUse("an interrupted call has kept a message: call message first");

impl Writer {
    pub(crate) fn new(end: End) -> Writer {
        Writer {
            held: Held::new(end),
            message: Sole::new(Vec::new()),
            kept_block: Kept::new(),
            kept_message: Kept::new(),
            last: Mutex::new(None),
        }
    }

    fn enter(&self, py: Python<'_>, limit: Limit) -> PyResult<Call<'_, End>> {
        self.held.enter(py, limit)
    }

    /// The next block, if nothing has to be waited for; `last` is given back before, unless it
    /// is seen: whether it is.
    #[inline]
    fn next_at_once(
        &self,
        py: Python<'_>,
        last: Option<&DataBlock>,
    ) -> PyResult<(Option<DataBlock>, bool)> {
        let Some(call) = self.held.enter_at_once() else {
            let is_back = last.is_none_or(DataBlock::done_if_unseen);
            return Ok((None, is_back));
        };
        let is_back = last.is_none_or(|last| last.done_within(&call));
        if !self.kept_message.is_empty() || !self.kept_block.is_empty() {
            call.pass_on();
            return Ok((None, is_back));
        }
        let found = call.look_for_data_block();
        let found = found.map(|found| found.map(Token::detach));
        let found = found.map_err(|error| raised(py, error))?;
        Ok((
            found.map(|block| DataBlock::new(&self.held, block, 0)),
            is_back,
        ))
    }

    /// Copies the next block to `buffer`, if nothing has to be waited for and the copy is a short
    /// one.
    #[inline]
    fn drain_at_once(&self, py: Python<'_>, buffer: &Bytes<'_>) -> PyResult<Drained> {
        let Some(call) = self.held.enter_at_once() else {
            return Ok(Drained::Nothing);
        };
        if !self.kept_message.is_empty() || !self.kept_block.is_empty() {
            return Ok(Drained::Nothing);
        }
        let found = call.look_for_data_block();
        Ok(match found.map_err(|error| raised(py, error))? {
            None => Drained::Nothing,
            Some(block) if block.len() <= buffer.len() && block.len() < LONG => {
                Drained::Bytes(buffers::drain(py, Place::of(&block), buffer))
            }
            Some(block) => Drained::Not(block.detach()),
        })
    }

    /// Copies a block to `buffer`, outside of the end; how many bytes it had.
    fn drain(
        &self,
        py: Python<'_>,
        (block, skipped): (OwnedDataBlock, usize),
        buffer: &Bytes<'_>,
    ) -> PyResult<usize> {
        if block.len() > buffer.len() {
            self.kept_block.keep((block, skipped));
            return Err(PyValueError::new_err("the block is longer than the buffer"));
        }
        let len = buffers::drain(py, Place::of(&block), buffer);
        drop(block);
        self.held.bring_home();
        Ok(len)
    }

    /// The next block; `None` at the end of the data.
    fn wait_for_block(&self, py: Python<'_>, limit: Limit) -> PyResult<Option<DataBlock>> {
        let found = self.wait_for_owned(py, limit)?;
        Ok(found.map(|found| self.lent(found)))
    }

    /// The same, and how many older ones were passed over for it.
    fn wait_for_owned(
        &self,
        py: Python<'_>,
        limit: Limit,
    ) -> PyResult<Option<(OwnedDataBlock, usize)>> {
        let call = self.enter_for_blocks(py, limit)?;
        if let Some(kept) = self.kept_block.take() {
            return Ok(Some(kept));
        }
        let found = match limit {
            Limit::Not => call.try_data_block(),
            _ => call.look_for_data_block(),
        };
        let found = found.map(|found| found.map(Token::detach));
        let block = match found.map_err(|error| raised(py, error))? {
            Some(block) => Some(block),
            None if call.at_end() => None,
            None if matches!(limit, Limit::Not) => return Err(raised(py, Error::TimedOut)),
            None => {
                let waited = call.wait(py, limit, Awaited::Blocks, |end, until| match until {
                    Some(until) => Ok(end.data_block_until(until)?.map(Token::detach)),
                    None => Ok(end.data_block()?.map(Token::detach)),
                })?;
                return self.taken_after_wait(py, waited.map(|block| (block, 0)));
            }
        };
        Ok(self.taken(block.map(|block| (block, 0))))
    }

    fn enter_for_blocks(&self, py: Python<'_>, limit: Limit) -> PyResult<Call<'_, End>> {
        let call = self.enter(py, limit)?;
        match self.kept_message.is_empty() {
            true => Ok(call),
            false => Err(raised(py, MESSAGE_FIRST)),
        }
    }

    fn wait_for_newest(&self, py: Python<'_>, limit: Limit) -> PyResult<Option<DataBlock>> {
        let call = self.enter_for_blocks(py, limit)?;
        let found = call.try_newest_block();
        let detached = |newest: Newest<'_>| (newest.block.detach(), newest.skipped);
        let found = found.map(|found| found.map(detached));
        let found = found.map_err(|error| raised(py, error))?;
        let kept = iter::from_fn(|| self.kept_block.take());
        let kept = kept.reduce(|(_, before), (newer, skipped)| (newer, before + 1 + skipped));
        call.pass_on();
        let newest = match (found, kept) {
            (Some((newest, skipped)), Some((_, before))) => Some((newest, skipped + before + 1)),
            (None, None) if !call.at_end() => {
                let waited = call.wait(py, limit, Awaited::Blocks, |end, until| {
                    let newest = match until {
                        Some(until) => end.newest_block_until(until)?,
                        None => end.newest_block()?,
                    };
                    Ok(newest.map(detached))
                })?;
                let found = self.taken_after_wait(py, waited)?;
                return Ok(found.map(|found| self.lent(found)));
            }
            (found, kept) => found.or(kept),
        };
        Ok(self.taken(newest).map(|found| self.lent(found)))
    }

    /// The end itself, to go on with another Reader: once all that this one has sent was taken.
    fn take_end(&self, py: Python<'_>) -> PyResult<End> {
        let has_nothing_kept = || match (self.kept_block.is_empty(), self.kept_message.is_empty()) {
            (false, _) => Err(raised(py, BLOCK_FIRST)),
            (_, false) => Err(raised(py, MESSAGE_FIRST)),
            _ => Ok(()),
        };
        self.held.take(py, has_nothing_kept)
    }

    fn taken_after_wait(
        &self,
        py: Python<'_>,
        found: Option<(OwnedDataBlock, usize)>,
    ) -> PyResult<Option<(OwnedDataBlock, usize)>> {
        let found = match found {
            Some(found) => Some(self.kept_block.unless_interrupted(py, found)?),
            None => None,
        };
        Ok(self.taken(found))
    }

    /// A block and how many older ones were passed over for it, or the end.
    fn taken(&self, found: Option<(OwnedDataBlock, usize)>) -> Option<(OwnedDataBlock, usize)> {
        if found.is_none() {
            self.held.has_ended.store(true, Ordering::Relaxed);
        }
        found
    }

    /// The same as Python has it.
    fn lent(&self, (block, skipped): (OwnedDataBlock, usize)) -> DataBlock {
        DataBlock::new(&self.held, block, skipped)
    }
}

#[pymethods]
impl Writer {
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
    fn count_lent(&self) -> usize {
        self.held.lent()
    }

    /// Whether the end of the data was seen.
    #[getter]
    fn at_end(&self) -> bool {
        self.held.has_ended.load(Ordering::Relaxed)
    }

    /// The next block, in the order of sending; None at the end of the data.
    #[pyo3(signature = (timeout=None))]
    fn data_block(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<DataBlock>> {
        self.wait_for_block(py, Limit::new(timeout)?)
    }

    /// Copies the next block to `buffer` and gives it back; how many bytes it had, None at the end of the data.
    /// ValueError if it is longer than `buffer`: the next call gets it then.
    #[pyo3(signature = (buffer, timeout=None))]
    fn recv_into(
        &self,
        buffer: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Option<usize>> {
        let py = buffer.py();
        let timeout = Timeout::new(timeout)?;
        let mut room = Room::new();
        let buffer = room.bytes_to_write(buffer)?;
        let found = match self.drain_at_once(py, &buffer)? {
            Drained::Bytes(len) => return Ok(Some(len)),
            Drained::Not(block) => Some((block, 0)),
            Drained::Nothing => self.wait_for_owned(py, timeout.limit())?,
        };
        let drained = found.map(|found| self.drain(py, found, &buffer));
        drained.transpose()
    }

    /// The newest block; older ones are given back unread.
    #[pyo3(signature = (timeout=None))]
    fn newest_block(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<DataBlock>> {
        self.wait_for_newest(py, Limit::new(timeout)?)
    }

    /// What was sent by `send_message`, or a single block; None at the end of the data. MessageTooLong if it
    /// has more than `max_bytes`. What has come when `timeout` has passed is kept for the next call.
    #[pyo3(signature = (max_bytes, timeout=None))]
    fn message<'py>(
        &self,
        py: Python<'py>,
        max_bytes: usize,
        timeout: Option<f64>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let limit = Limit::new(timeout)?;
        self.held.check_here(py)?;
        let mut message = self.message.take(py, limit)?;
        if let Some((label, whole)) = self.kept_message.take() {
            return tell::message(py, label, &whole).map(Some);
        }
        let whole = &mut *message;
        let call = self.enter(py, limit)?;
        if !self.kept_block.is_empty() {
            return Err(raised(py, BLOCK_FIRST));
        }
        let found = call.wait(py, limit, Awaited::Blocks, |end, until| match until {
            Some(until) => end.message_until(whole, max_bytes, until),
            None => end.message(whole, max_bytes),
        })?;
        // It may be large: it does not stay.
        let whole = std::mem::take(&mut *message);
        let Some(label) = found else {
            self.held.has_ended.store(true, Ordering::Relaxed);
            return Ok(None);
        };
        let (label, whole) = self.kept_message.unless_interrupted(py, (label, whole))?;
        tell::message(py, label, &whole).map(Some)
    }

    fn __iter__(slf: Py<Self>) -> Blocks {
        Blocks {
            writer: slf,
            last: Mutex::new(None),
        }
    }

    /// Says that everything was drained and is good, after the end of the data. NotGivenBack if blocks are
    /// still held, or seen by an array.
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let last = self.last.lock().take();
        if let Some(last) = last
            && let Some(last) = last.bind(py).upgrade_as::<DataBlock>()?
        {
            last.get().done_if_unseen();
        }
        let call = self.enter(py, Limit::Forever)?;
        let delivered = call.finish().map_err(|error| raised(py, error))?;
        self.held.is_over.store(true, Ordering::Relaxed);
        tell::delivered(py, delivered)
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

    /// As `Reader.arm`.
    #[pyo3(signature = (interest=1))]
    fn arm(&self, py: Python<'_>, interest: u8) -> PyResult<bool> {
        self.held.arm(py, interest)
    }

    fn disarm(&self, py: Python<'_>) -> PyResult<()> {
        self.held.disarm(py)
    }

    /// What an application's own loop waits for: a descriptor, on Windows a handle.
    fn fileno(&self, py: Python<'_>) -> PyResult<i64> {
        self.held.fileno(py)
    }

    /// After the Reader was lost, and all that it had sent was taken. This end is left, unless that raises
    /// `InvalidUse`.
    #[pyo3(name = "into_survivor")]
    fn survivor(&self, py: Python<'_>) -> PyResult<Survivor> {
        // What is refused leaves this end as it is.
        self.held.check_lost(py)?;
        let end = self.take_end(py)?;
        let survivor = py.detach(|| end.into_survivor());
        Ok(Survivor::new(survivor.map_err(|error| raised(py, error))?))
    }

    /// As `into_survivor`, of a Reader that is still there, and gets `reason`.
    #[pyo3(signature = (reason, code=0))]
    fn dismiss(&self, py: Python<'_>, reason: &str, code: u32) -> PyResult<Survivor> {
        let end = self.take_end(py)?;
        let survivor = py.detach(|| end.dismiss(code, reason));
        Ok(Survivor::new(survivor.map_err(|error| raised(py, error))?))
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// Finishes the session, or gives it up if something was raised or the data has not ended;
    /// the end is left then.
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
            None if self.at_end() => self.finish(py).map(drop),
            None => self.held.abort(py, "it left before the end of the data", 0),
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
        streams.getattr("ReceiveStream")?.call1((slf,))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.held.drop_end();
    }
}

/// The blocks of a Writer, one after the other, until the end of the data. Each is given back when the next one
/// is asked for, unless its bytes are still seen then.
#[pyclass(frozen, module = "brigade")]
pub(crate) struct Blocks {
    writer: Py<Writer>,
    last: Mutex<Option<Py<DataBlock>>>,
}

#[pymethods]
impl Blocks {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<DataBlock>>> {
        // The lock is let go of before anything is collected.
        let last = self.last.lock().take();
        let writer = self.writer.get();
        let (found, is_back) = writer.next_at_once(py, last.as_ref().map(Py::get))?;
        let block = match found {
            Some(block) => block,
            None => {
                // Still seen: but perhaps not any more when the verdict is given.
                let seen = match last {
                    Some(last) if !is_back => {
                        Some(PyWeakrefReference::new(last.bind(py))?.unbind())
                    }
                    _ => None,
                };
                let Some(block) = writer.wait_for_block(py, Limit::Forever)? else {
                    let another = std::mem::replace(&mut *writer.last.lock(), seen);
                    drop(another);
                    return Ok(None);
                };
                block
            }
        };
        let block = Py::new(py, block)?;
        let another = self.last.lock().replace(block.clone_ref(py));
        drop(another);
        Ok(Some(block))
    }
}
