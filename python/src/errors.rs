//! The library's errors as Python's exceptions, whose classes are in `brigade/_errors.py`.

use engine::{Error, Refusal};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyModule;

use crate::tell;

/// The exception for `error`.
#[cold]
pub(crate) fn raised(py: Python<'_>, error: Error) -> PyErr {
    // What is in the way of making it is then what is raised.
    exception(py, &error).map_or_else(|failure| failure, PyErr::from_value)
}

/// What nobody sees in Python: that a name keeps a block.
const STILL_SEEN: &str =
    "; a variable, an array or a memoryview has them still: `del` it before the end";

fn class_name(error: &Error) -> &'static str {
    match error {
        Error::TooManyInstances { .. } => "TooManyInstances",
        Error::NotAnswering { .. } => "NotAnswering",
        Error::NoPartner { .. } => "NoPartner",
        Error::TimedOut => "TimedOut",
        Error::PartnerDied { .. } => "PartnerDied",
        Error::PartnerAborted { .. } => "PartnerAborted",
        Error::ProtocolViolation { .. } => "ProtocolViolation",
        Error::Aborted { .. } => "Aborted",
        Error::InvalidUse(_) => "InvalidUse",
        Error::InvalidOption(_) => "InvalidOption",
        Error::OutOfMemory { .. } => "OutOfMemory",
        Error::Unsupported { .. } => "Unsupported",
        Error::Os { .. } => "Os",
        Error::NotPrivate { .. } => "NotPrivate",
        Error::MessageTooLong { .. } => "MessageTooLong",
        Error::NotGivenBack { .. } => "NotGivenBack",
        Error::InvitationOver => "InvitationOver",
        Error::Refused { .. } => "Refused",
        _ => "Error",
    }
}

fn exception<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    static ERRORS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let errors = ERRORS.get_or_try_init(py, || {
        PyModule::import(py, "brigade._errors").map(Bound::unbind)
    })?;
    // None of them has code of its own for this: see `tell::record`.
    let class = errors.bind(py).getattr(class_name(error))?;
    let text = error.to_string();
    let made = match error {
        // As Python's own: the number first.
        Error::Os { source, .. } => class.call1((source.raw_os_error(), text))?,
        Error::NotGivenBack { .. } => class.call1((text + STILL_SEEN,))?,
        _ => class.call1((text,))?,
    };
    made.setattr("number", error.code())?;
    match error {
        Error::PartnerDied { partner, delivered }
        | Error::ProtocolViolation {
            partner, delivered, ..
        } => {
            made.setattr("partner", tell::partner(py, partner)?)?;
            made.setattr("delivered", tell::delivered(py, *delivered)?)?;
        }
        Error::PartnerAborted {
            partner,
            code,
            reason,
            delivered,
        } => {
            made.setattr("partner", tell::partner(py, partner)?)?;
            made.setattr("delivered", tell::delivered(py, *delivered)?)?;
            made.setattr("reason", reason)?;
            made.setattr("code", code)?;
        }
        Error::Aborted { code, reason } => {
            made.setattr("reason", reason)?;
            made.setattr("code", code)?;
        }
        Error::Refused {
            reason: Refusal::OtherProcess { process_id },
            ..
        } => made.setattr("process_id", process_id)?,
        _ => {}
    }
    Ok(made)
}
