//! The bytes that Python sees: what a block's views are, and what is copied from and to the
//! buffers of others.
//!
//! The buffer protocol hands out addresses, and Python's programs may write to them from
//! several threads at once, as to any `bytearray` or array. So nothing here makes a reference to bytes
//! that others can see: they are copied by their address.
#![allow(
    unsafe_code,
    reason = "the buffer protocol is made of addresses, which its rules keep valid"
)]

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr;

use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Copies of at least so many bytes let other threads run meanwhile: some microseconds.
pub(crate) const LONG: usize = 128 * 1024;

/// Where a view of somebody else's bytes is written to: in a caller's frame, and not moved from there.
pub(crate) struct Room(MaybeUninit<ffi::Py_buffer>);

/// The bytes of somebody else's object, as long as it is held.
pub(crate) struct Bytes<'r> {
    view: &'r mut ffi::Py_buffer,
}

// SAFETY: it is an address and a length; nothing is done to the view but in `drop`, which has the interpreter.
unsafe impl Sync for Bytes<'_> {}

impl Room {
    pub(crate) fn new() -> Room {
        Room(MaybeUninit::uninit())
    }

    /// The bytes of `object`, whatever they mean: they must lie together.
    #[inline]
    pub(crate) fn bytes_of(&mut self, object: &Bound<'_, PyAny>) -> PyResult<Bytes<'_>> {
        self.get(object, ffi::PyBUF_SIMPLE)
    }

    /// The same, to be written to.
    #[inline]
    pub(crate) fn bytes_to_write(&mut self, object: &Bound<'_, PyAny>) -> PyResult<Bytes<'_>> {
        self.get(object, ffi::PyBUF_WRITABLE)
    }

    /// Asks for no more than where the bytes are: what type and shape they have, numpy would have to
    /// write down for each view.
    #[inline]
    fn get(&mut self, object: &Bound<'_, PyAny>, flags: c_int) -> PyResult<Bytes<'_>> {
        let view = self.0.as_mut_ptr();
        // SAFETY: there is room for a view, which is filled in if, and only if, this gives 0.
        if unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), view, flags) } != 0 {
            return Err(refused(object, PyErr::fetch(object.py())));
        }
        // SAFETY: it was filled in. It stays where it is until it is released: `self` is borrowed.
        let view = unsafe { self.0.assume_init_mut() };
        Ok(Bytes { view })
    }
}

/// Why `object` does not give its bytes, in the same words whatever it is; else as it says itself.
#[cold]
fn refused(object: &Bound<'_, PyAny>, error: PyErr) -> PyErr {
    match PyUntypedBuffer::get(object) {
        Err(none) => none,
        Ok(buffer) if !buffer.is_c_contiguous() => {
            PyBufferError::new_err("the bytes do not lie together")
        }
        Ok(buffer) if buffer.readonly() => PyBufferError::new_err("the bytes cannot be written to"),
        Ok(_) => error,
    }
}

impl Drop for Bytes<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the view was filled in, and is released once.
        Python::attach(|_| unsafe { ffi::PyBuffer_Release(self.view) });
    }
}

impl Bytes<'_> {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        // Never below zero.
        self.view.len as usize
    }

    #[inline]
    fn start(&self) -> *mut u8 {
        self.view.buf.cast()
    }

    /// A copy of them.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len()];
        self.copy_to(0, &mut bytes);
        bytes
    }

    /// Copies those from `from` on, as many as `to` has room for.
    ///
    /// # Panics
    ///
    /// If there are not so many.
    pub(crate) fn copy_to(&self, from: usize, to: &mut [u8]) {
        assert!(from <= self.len() && to.len() <= self.len() - from);
        // SAFETY: the buffer has `len` bytes, which its owner keeps where they are as long as
        // the buffer is not released; `to` is this function's alone.
        unsafe { ptr::copy(self.start().add(from), to.as_mut_ptr(), to.len()) }
    }
}

/// Where a block's bytes are, as long as the block is held.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    start: *mut u8,
    pub(crate) len: usize,
}

// SAFETY: it is an address; what is done with it is `copy`'s and `show`'s affair.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

impl Place {
    pub(crate) fn of(bytes: &[u8]) -> Place {
        Place {
            start: bytes.as_ptr().cast_mut(),
            len: bytes.len(),
        }
    }

    pub(crate) fn of_mut(bytes: &mut [u8]) -> Place {
        Place {
            start: bytes.as_mut_ptr(),
            len: bytes.len(),
        }
    }
}

/// Where bytes are copied from and to.
struct Way {
    from: *const u8,
    to: *mut u8,
    len: usize,
}

// SAFETY: both ends are kept where they are by who copies.
unsafe impl Sync for Way {}

impl Way {
    fn go(&self) {
        // SAFETY: both ends have `len` bytes and are valid until the caller returns. They may
        // overlap: a block may be copied to itself.
        unsafe { ptr::copy(self.from, self.to, self.len) }
    }

    fn go_and_let_others_run(&self, py: Python<'_>) {
        match self.len < LONG {
            true => self.go(),
            false => py.detach(|| self.go()),
        }
    }
}

/// Copies `data` to `place`, from `offset` on. The caller holds the block, and has made sure
/// that it may be written to.
pub(crate) fn fill(py: Python<'_>, place: Place, offset: usize, data: &Bytes<'_>) -> PyResult<()> {
    if offset > place.len || data.len() > place.len - offset {
        return Err(PyValueError::new_err("the data is longer than the block"));
    }
    let way = Way {
        from: data.start(),
        to: place.start.wrapping_add(offset),
        len: data.len(),
    };
    way.go_and_let_others_run(py);
    Ok(())
}

/// Copies as many bytes from `place` to `buffer` as that has room for; how many these are. The
/// caller holds the block.
pub(crate) fn drain(py: Python<'_>, place: Place, buffer: &Bytes<'_>) -> usize {
    let way = Way {
        from: place.start,
        to: buffer.start(),
        len: place.len.min(buffer.len()),
    };
    way.go_and_let_others_run(py);
    way.len
}

/// A copy of the bytes in `place`. The caller holds the block.
pub(crate) fn to_bytes(py: Python<'_>, place: Place) -> PyResult<Bound<'_, PyBytes>> {
    PyBytes::new_with(py, place.len, |bytes| {
        // SAFETY: the block is held, and `bytes` are new and as many.
        unsafe { ptr::copy_nonoverlapping(place.start, bytes.as_mut_ptr(), place.len) }
        Ok(())
    })
}

/// Lets Python see `place`, which stays as long as `owner` lives: the view has a reference to
/// that. It is filled in if, and only if, this succeeds.
///
/// # Safety
///
/// `view` is the buffer protocol's: to be written to.
pub(crate) unsafe fn show(
    owner: Bound<'_, PyAny>,
    place: Place,
    is_read_only: bool,
    view: *mut ffi::Py_buffer,
    flags: c_int,
) -> PyResult<()> {
    let py = owner.py();
    let len = place.len as ffi::Py_ssize_t;
    let start = place.start.cast();
    let read_only = c_int::from(is_read_only);
    // SAFETY: `view` is the caller's; the bytes stay where they are as long as `owner` lives,
    // which the view keeps alive.
    let failed =
        unsafe { ffi::PyBuffer_FillInfo(view, owner.as_ptr(), start, len, read_only, flags) } != 0;
    match failed {
        true => Err(PyErr::fetch(py)),
        false => Ok(()),
    }
}
