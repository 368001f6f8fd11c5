//! The handle on a session for other threads.

use std::time::Instant;

use engine::FIGURES;
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;

use crate::tell;
use crate::wait::{Limit, wait};

/// A second handle on a session, for other threads: no call of it waits for one of the end's.
#[pyclass(frozen, weakref, module = "brigade")]
pub(crate) struct Monitor {
    monitor: engine::Monitor,
}

impl Monitor {
    pub(crate) fn new(monitor: &engine::Monitor) -> Monitor {
        let monitor = monitor.clone();
        Monitor { monitor }
    }
}

#[pymethods]
impl Monitor {
    #[pyo3(signature = (reason="it was aborted", code=0))]
    fn abort(&self, py: Python<'_>, reason: &str, code: u32) {
        py.detach(|| self.monitor.abort_with(code, reason));
    }

    /// Waits until the session is over; raises how, if it did not end well. TimedOut if it goes on.
    #[pyo3(signature = (timeout=None))]
    fn watch(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        wait(
            py,
            Limit::new(timeout)?,
            |until: Option<Instant>| match until {
                Some(until) => self.monitor.watch_until(until),
                None => self.monitor.watch(),
            },
        )
    }

    #[getter]
    fn partner<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let partner = self.monitor.partner();
        partner
            .map(|partner| tell::partner(py, &partner))
            .transpose()
    }

    #[getter]
    fn delivered<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        tell::delivered(py, self.monitor.delivered())
    }

    /// Blocks that are sent and not given back.
    #[getter]
    fn blocks_under_way(&self) -> u64 {
        self.monitor.blocks_under_way()
    }

    /// Seconds that this end has waited for its partner: who waits much is the faster one.
    #[getter]
    fn waited(&self) -> f64 {
        self.monitor.waited().as_secs_f64()
    }

    #[getter]
    fn figures(&self) -> Vec<u64> {
        self.monitor.figures().to_vec()
    }

    #[getter]
    fn partner_figures(&self) -> Vec<u64> {
        self.monitor.partner_figures().to_vec()
    }

    /// Shows the partner one of 4 numbers, whose meaning is the application's.
    fn set_figure(&self, index: usize, value: u64) -> PyResult<()> {
        if index >= FIGURES {
            return Err(PyIndexError::new_err("there is no such figure"));
        }
        self.monitor.set_figure(index, value);
        Ok(())
    }
}
