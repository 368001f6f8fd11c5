//! What Python is told in records, whose classes are in `brigade/_records.py`.

use engine::{Delivered, Label, Letter, Member, Partner, Session, Side};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyModule, PyTuple};

use crate::errors::raised;

/// A record of class `name`. As `tuple` makes one: no code of Python's runs for it. When the
/// interpreter ends, a thread that runs such code is stopped there (until Python 3.13), in the
/// middle of the calls to it from here, which may not be.
fn record<'py>(
    py: Python<'py>,
    name: &str,
    fields: impl IntoPyObject<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    static RECORDS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let records = RECORDS.get_or_try_init(py, || {
        PyModule::import(py, "brigade._records").map(Bound::unbind)
    })?;
    let class = records.bind(py).getattr(name)?;
    let new = py.get_type::<PyTuple>().getattr("__new__")?;
    new.call1((class, fields.into_bound_py_any(py)?))
}

pub(crate) fn delivered(py: Python<'_>, delivered: Delivered) -> PyResult<Bound<'_, PyAny>> {
    record(py, "Delivered", (delivered.blocks, delivered.bytes))
}

pub(crate) fn side(side: Side) -> &'static str {
    match side {
        Side::Reader => "reader",
        Side::Writer => "writer",
    }
}

pub(crate) fn partner<'py>(py: Python<'py>, partner: &Partner) -> PyResult<Bound<'py, PyAny>> {
    let fields = (
        side(partner.side()),
        partner.process_id(),
        partner.user(),
        partner.user_id(),
        partner.is_own_user(),
        PyBytes::new(py, partner.greeting()),
    );
    record(py, "Partner", fields)
}

pub(crate) fn letter(py: Python<'_>, letter: Letter) -> PyResult<Bound<'_, PyAny>> {
    record(py, "Letter", (letter.kind, PyBytes::new(py, &letter.bytes)))
}

/// Bytes with what they were sent with.
pub(crate) fn message<'py>(
    py: Python<'py>,
    label: Label,
    bytes: &[u8],
) -> PyResult<Bound<'py, PyAny>> {
    let fields = (PyBytes::new(py, bytes), label.tag, label.kind, label.more);
    record(py, "Message", fields)
}

fn member<'py>(py: Python<'py>, member: &Member) -> PyResult<Bound<'py, PyAny>> {
    let fields = (
        member.process_id(),
        PyBytes::new(py, member.greeting()),
        member.figures().to_vec(),
    );
    record(py, "Member", fields)
}

fn session<'py>(py: Python<'py>, session: &Session) -> PyResult<Bound<'py, PyAny>> {
    let told = |who: Option<&Member>| who.map(|who| member(py, who)).transpose();
    let fields = (
        session.block_size(),
        session.block_count(),
        told(session.reader())?,
        told(session.writer())?,
        delivered(py, session.delivered())?,
        session.blocks_under_way(),
    );
    record(py, "Session", fields)
}

/// All sessions of this user's processes on this machine; the processes do not notice.
#[pyfunction]
pub(crate) fn sessions(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyAny>>> {
    let found = py.detach(engine::sessions);
    let found = found.map_err(|error| raised(py, error))?;
    found.iter().map(|found| session(py, found)).collect()
}
