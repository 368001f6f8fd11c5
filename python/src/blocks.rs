//! Blocks as Python has them: the library's owned ones, whose memory outlives the end, with a
//! count of the views that Python has of them.
#![allow(
    unsafe_code,
    reason = "the two functions of the buffer protocol are declared unsafe"
)]

use std::ffi::c_int;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::{Error, Label, OwnedDataBlock, OwnedEmptyBlock};
use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyType};

use crate::buffers::{self, Bytes, Place, Room};
use crate::errors::raised;
use crate::held::{Call, Held};

const SPENT: Error = Error::InvalidUse("the block was sent or given back");

/// A block, until it is sent or given back, which it is not while Python sees its bytes.
struct Slot<B> {
    inside: Mutex<Inside<B>>,
}

struct Inside<B> {
    block: Option<B>,
    /// How many look at its bytes: views, and copies that are under way.
    views: usize,
    /// A copy to it is under way.
    is_filled: bool,
}

impl<B> Slot<B> {
    fn new(block: B) -> Slot<B> {
        Slot {
            inside: Mutex::new(Inside {
                block: Some(block),
                views: 0,
                is_filled: false,
            }),
        }
    }

    /// A panic while it was held leaves it valid: each use is a single step, and short. Nobody
    /// calls Python with it, which may wait there for the threads that wait here.
    fn lock(&self) -> MutexGuard<'_, Inside<B>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of the block's bytes, which stay there until [`Slot::release`].
    fn hold(&self, py: Python<'_>, place: impl FnOnce(&mut B) -> Place) -> PyResult<Place> {
        let held = {
            let mut inside = self.lock();
            let place = inside.block.as_mut().map(place);
            inside.views += usize::from(place.is_some());
            place
        };
        held.ok_or_else(|| raised(py, SPENT))
    }

    fn release(&self) {
        self.lock().views -= 1;
    }

    /// The block itself, if nobody sees its bytes; `None` if it was taken before.
    fn take(&self) -> PyResult<Option<B>> {
        let mut inside = self.lock();
        match inside.views {
            0 => Ok(inside.block.take()),
            views => Err(PyBufferError::new_err(format!(
                "the block's bytes are still seen by {views} view{} (memoryview, array, ...) \
                 or a copy: let go of that first",
                if views == 1 { "" } else { "s" }
            ))),
        }
    }

    /// As [`Slot::take`]: `None` if somebody sees the block's bytes.
    fn take_if_unseen(&self) -> Option<Option<B>> {
        let mut inside = self.lock();
        (inside.views == 0).then(|| inside.block.take())
    }

    /// The same without a question, when nobody can have a view.
    fn last_block(&mut self) -> Option<B> {
        let inside = self.inside.get_mut();
        let inside = inside.unwrap_or_else(PoisonError::into_inner);
        inside.block.take()
    }

    /// Says that a copy to the block begins, or has ended.
    fn set_filled(&self, is_filled: bool) -> PyResult<()> {
        let mut inside = self.lock();
        if is_filled && inside.is_filled {
            return Err(PyBufferError::new_err(
                "another thread is copying to the same block",
            ));
        }
        inside.is_filled = is_filled;
        Ok(())
    }
}

/// Keeps the bytes of a block where they are, and nobody else copies to it.
struct Filling<'s>(&'s Slot<OwnedEmptyBlock>);

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        // Only to begin can fail.
        let _ = self.0.set_filled(false);
        self.0.release();
    }
}

/// A block to be filled. Its bytes are seen through the buffer protocol, with what was in there the last time.
/// Not sent, it is empty again when it is collected, or at the end of `with`.
#[pyclass(frozen, weakref, module = "brigade")]
pub(crate) struct EmptyBlock {
    slot: Slot<OwnedEmptyBlock>,
    place: Place,
    held: Arc<Held<engine::Reader>>,
}

impl EmptyBlock {
    pub(crate) fn new(held: &Arc<Held<engine::Reader>>, mut block: OwnedEmptyBlock) -> EmptyBlock {
        held.lend();
        EmptyBlock {
            place: Place::of_mut(&mut block),
            slot: Slot::new(block),
            held: Arc::clone(held),
        }
    }

    fn fill(&self, py: Python<'_>, data: &Bytes<'_>, offset: usize) -> PyResult<()> {
        self.slot.hold(py, |_| self.place)?;
        let begun = self.slot.set_filled(true);
        if begun.is_err() {
            self.slot.release();
            return begun;
        }
        let filling = Filling(&self.slot);
        let filled = buffers::fill(py, self.place, offset, data);
        drop(filling);
        filled
    }
}

#[pymethods]
impl EmptyBlock {
    fn __len__(&self) -> usize {
        self.place.len
    }

    /// A block of whatever length is something.
    fn __bool__(&self) -> bool {
        true
    }

    /// Sends the first `length` bytes, or all. Does not wait. BufferError while the bytes are seen, by a
    /// memoryview or an array; InvalidUse if the block was sent before.
    #[pyo3(signature = (length=None, *, tag=0, kind=0, more=false))]
    fn send(
        &self,
        py: Python<'_>,
        length: Option<usize>,
        tag: u64,
        kind: u16,
        more: bool,
    ) -> PyResult<()> {
        self.held.check_here(py)?;
        let len = length.unwrap_or(self.place.len);
        if len > self.place.len {
            return Err(PyValueError::new_err("the length is beyond the block"));
        }
        self.held.check_not_over(py)?;
        let Some(block) = self.slot.take()? else {
            return Err(raised(py, SPENT));
        };
        let sent = block.send_as(len, Label { kind, tag, more });
        self.held.take_home();
        sent.map_err(|error| raised(py, error))
    }

    /// Copies `data` to the block; how many bytes these are.
    #[pyo3(signature = (data, offset=0))]
    fn copy_from(&self, data: &Bound<'_, PyAny>, offset: usize) -> PyResult<usize> {
        let py = data.py();
        self.held.check_here(py)?;
        let mut room = Room::new();
        let data = room.bytes_of(data)?;
        self.fill(py, &data, offset)?;
        Ok(data.len())
    }

    /// It is empty again.
    fn put_back(&self, py: Python<'_>) -> PyResult<()> {
        self.held.check_here(py)?;
        if let Some(block) = self.slot.take()? {
            drop(block);
            self.held.take_home();
        }
        Ok(())
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// Unsent, it is empty again.
    fn __exit__(
        &self,
        py: Python<'_>,
        kind: Option<Bound<'_, PyType>>,
        _value: Option<Bound<'_, PyAny>>,
        _traceback: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let put_back = self.put_back(py);
        // What went wrong first counts; then the block goes when the last view does.
        kind.map_or(put_back, |_| Ok(()))
    }

    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let (py, block) = (slf.py(), slf.get());
        block.held.check_here(py)?;
        let place = block.slot.hold(py, |_| block.place)?;
        let seen = Seen::Empty(slf.unbind());
        // SAFETY: `view` is the protocol's.
        unsafe { buffers::show(View::of(py, seen)?, place, false, view, flags) }
    }

    /// Never called, since the view's owner is another object. But numpy keeps a view at all
    /// only of what has this, and else the block alone.
    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {}
}

impl Drop for EmptyBlock {
    fn drop(&mut self) {
        if let Some(block) = self.slot.last_block() {
            drop(block);
            self.held.take_home();
        }
    }
}

/// A filled block. Its bytes are seen through the buffer protocol, read-only. It is given back when it is
/// collected, if not before.
#[pyclass(frozen, weakref, module = "brigade")]
pub(crate) struct DataBlock {
    slot: Slot<OwnedDataBlock>,
    len: usize,
    label: Label,
    skipped: usize,
    held: Arc<Held<engine::Writer>>,
}

impl DataBlock {
    /// One for which `skipped` older ones were given back unread.
    pub(crate) fn new(
        held: &Arc<Held<engine::Writer>>,
        block: OwnedDataBlock,
        skipped: usize,
    ) -> DataBlock {
        held.lend();
        DataBlock {
            len: block.len(),
            label: block.label(),
            skipped,
            slot: Slot::new(block),
            held: Arc::clone(held),
        }
    }

    fn hold(&self, py: Python<'_>) -> PyResult<Place> {
        self.held.check_here(py)?;
        self.slot.hold(py, |block| Place::of(block))
    }

    /// As [`DataBlock::done_if_unseen`], for who is in the end and looks for another block next.
    pub(crate) fn done_within(&self, call: &Call<'_, engine::Writer>) -> bool {
        let Some(block) = self.slot.take_if_unseen() else {
            return false;
        };
        if let Some(block) = block {
            drop(block);
            self.held.take_home_by(call);
        }
        true
    }

    /// Gives it back, unless its bytes are seen; whether it is back.
    pub(crate) fn done_if_unseen(&self) -> bool {
        let Some(block) = self.slot.take_if_unseen() else {
            return false;
        };
        if let Some(block) = block {
            drop(block);
            self.held.take_home();
        }
        true
    }
}

#[pymethods]
impl DataBlock {
    #[getter]
    fn tag(&self) -> u64 {
        self.label.tag
    }

    #[getter]
    fn kind(&self) -> u16 {
        self.label.kind
    }

    /// Whether the message goes on in the next block.
    #[getter]
    fn more(&self) -> bool {
        self.label.more
    }

    /// How many older blocks were given back unread for this one, by `newest_block`.
    #[getter]
    fn skipped(&self) -> usize {
        self.skipped
    }

    fn __len__(&self) -> usize {
        self.len
    }

    /// A block of whatever length is something.
    fn __bool__(&self) -> bool {
        true
    }

    fn tobytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let place = self.hold(py)?;
        let bytes = buffers::to_bytes(py, place);
        self.slot.release();
        bytes
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.tobytes(py)
    }

    /// Copies as many bytes to `buffer` as it has room for; how many these are.
    fn copy_to(&self, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        let py = buffer.py();
        let mut room = Room::new();
        let buffer = room.bytes_to_write(buffer)?;
        let place = self.hold(py)?;
        let copied = buffers::drain(py, place, &buffer);
        self.slot.release();
        Ok(copied)
    }

    /// Gives the block back. BufferError while its bytes are seen; a second time does nothing.
    fn done(&self, py: Python<'_>) -> PyResult<()> {
        self.held.check_here(py)?;
        if let Some(block) = self.slot.take()? {
            drop(block);
            self.held.take_home();
        }
        Ok(())
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        kind: Option<Bound<'_, PyType>>,
        _value: Option<Bound<'_, PyAny>>,
        _traceback: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let done = self.done(py);
        // What went wrong first counts; then the block goes when the last view does.
        kind.map_or(done, |_| Ok(()))
    }

    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let py = slf.py();
        let place = slf.get().hold(py)?;
        let seen = Seen::Data(slf.unbind());
        // SAFETY: `view` is the protocol's.
        unsafe { buffers::show(View::of(py, seen)?, place, true, view, flags) }
    }

    /// As that of an [`EmptyBlock`].
    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {}
}

impl Drop for DataBlock {
    fn drop(&mut self) {
        if let Some(block) = self.slot.last_block() {
            drop(block);
            self.held.take_home();
        }
    }
}

/// What a buffer's user holds, in place of the block: the block is seen as long as this lives.
/// Some (torch) release the buffer at once, and only keep this.
#[pyclass(frozen, freelist = 32, module = "brigade")]
struct View {
    seen: Seen,
}

enum Seen {
    Empty(Py<EmptyBlock>),
    Data(Py<DataBlock>),
}

impl View {
    /// Of a block that is held.
    fn of(py: Python<'_>, seen: Seen) -> PyResult<Bound<'_, PyAny>> {
        Ok(Bound::new(py, View { seen })?.into_any())
    }
}

impl Drop for View {
    fn drop(&mut self) {
        match &self.seen {
            Seen::Empty(block) => block.get().slot.release(),
            Seen::Data(block) => block.get().slot.release(),
        }
    }
}
