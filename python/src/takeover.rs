//! Going on with another partner, once one is lost.

use std::path::PathBuf;
use std::sync::Arc;

use engine::{Error, Label, Monitor, Options};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::raised;
use crate::held::Held;
use crate::joining::join_in_thread;
use crate::lock::Mutex;
use crate::options;
use crate::reader::Reader;
use crate::tell;
use crate::writer::Writer;

const BUSY: Error = Error::InvalidUse("another call for the same object has not returned");

/// What a call has to itself, which no other one waits for.
struct Sole<T>(Arc<Mutex<T>>);

impl<T: Send + 'static> Sole<T> {
    fn new(inside: T) -> Sole<T> {
        Sole(Arc::new(Mutex::new(inside)))
    }

    fn with<R>(&self, py: Python<'_>, use_it: impl FnOnce(&mut T) -> R) -> PyResult<R> {
        match self.0.try_lock() {
            Some(mut inside) => Ok(use_it(&mut inside)),
            None => Err(raised(py, BUSY)),
        }
    }

    /// Lets a thread `join`, which an interrupted call does not wait for: the next one may find
    /// it busy.
    fn join<E: Send + 'static>(
        &self,
        py: Python<'_>,
        join: impl FnOnce(&mut T, &dyn Fn(Monitor)) -> Result<E, Error> + Send + 'static,
    ) -> PyResult<E> {
        let inside = Arc::clone(&self.0);
        join_in_thread(py, move |seated| match inside.try_lock() {
            Some(mut inside) => join(&mut inside, seated),
            None => Err(BUSY),
        })
    }
}

fn asked(name: PathBuf, options: Option<&Bound<'_, PyDict>>) -> PyResult<(String, Options)> {
    Ok((options::name(name)?, options::options(options)?))
}

/// What a Reader has sent and its lost Writer has not given back: it may have been drained, and is sent again to
/// the next one. With the option `takeover`, this keeps the Reader's place as long as it lives.
#[pyclass(frozen, weakref, module = "brigade")]
pub(crate) struct Unreturned {
    unreturned: Sole<engine::Unreturned>,
    /// That of the Reader that was.
    held: Arc<Held<engine::Reader>>,
}

impl Unreturned {
    pub(crate) fn new(
        held: &Arc<Held<engine::Reader>>,
        unreturned: engine::Unreturned,
    ) -> Unreturned {
        Unreturned {
            unreturned: Sole::new(unreturned),
            held: Arc::clone(held),
        }
    }
}

#[pymethods]
impl Unreturned {
    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.unreturned.with(py, |unreturned| unreturned.len())
    }

    /// Copies of the blocks, in the order of sending.
    fn messages<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let copied = self.unreturned.with(py, |unreturned| {
            let copy = |(label, bytes): (Label, &[u8])| (label, bytes.to_vec());
            unreturned.iter().map(copy).collect::<Vec<_>>()
        })?;
        let told = |(label, bytes): (Label, Vec<u8>)| tell::message(py, label, &bytes);
        copied.into_iter().map(told).collect()
    }

    /// Drops the blocks before the one with this number in `messages`: they are not sent again.
    fn keep_from(&self, py: Python<'_>, first: usize) -> PyResult<()> {
        self.unreturned.with(py, |unreturned| {
            let mut index = 0;
            unreturned.retain(|_, _| {
                index += 1;
                index > first
            });
        })
    }

    #[getter]
    fn closed(&self, py: Python<'_>) -> PyResult<bool> {
        self.unreturned
            .with(py, |unreturned| unreturned.is_closed())
    }

    /// More data will come after all.
    fn reopen(&self, py: Python<'_>) -> PyResult<()> {
        self.unreturned.with(py, |unreturned| unreturned.reopen())
    }

    /// Joins another Writer, as `join` does, to which these blocks are sent first. If it fails, it can be
    /// called again.
    #[pyo3(signature = (name, **options))]
    fn rejoin(
        &self,
        py: Python<'_>,
        name: PathBuf,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Reader> {
        let (name, options) = asked(name, options)?;
        let reader = self.unreturned.join(py, move |unreturned, seated| {
            unreturned.rejoin_with(&name, &options, seated)
        })?;
        let reader = Reader::new(reader);
        self.held.leave_to(reader.held());
        Ok(reader)
    }
}

/// What is left of a Writer that has lost its Reader. With the option `takeover`, this keeps the Writer's place
/// as long as it lives.
#[pyclass(frozen, weakref, module = "brigade")]
pub(crate) struct Survivor {
    survivor: Sole<engine::Survivor>,
}

impl Survivor {
    pub(crate) fn new(survivor: engine::Survivor) -> Survivor {
        let survivor = Sole::new(survivor);
        Survivor { survivor }
    }
}

#[pymethods]
impl Survivor {
    /// Joins another Reader, as `join` does. If it fails, it can be called again.
    #[pyo3(signature = (name, **options))]
    fn rejoin(
        &self,
        py: Python<'_>,
        name: PathBuf,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Writer> {
        let (name, options) = asked(name, options)?;
        let writer = self.survivor.join(py, move |survivor, seated| {
            survivor.rejoin_with(&name, &options, seated)
        })?;
        Ok(Writer::new(writer))
    }
}
