//! How to join, as Python says it: by keywords.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use engine::{Options, Side};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::buffers::Room;
use crate::wait::duration;

/// What was chosen; see `brigade/_records.py`.
pub(crate) fn options(chosen: Option<&Bound<'_, PyDict>>) -> PyResult<Options> {
    let mut options = Options::new();
    for (name, value) in chosen.into_iter().flatten() {
        let name: String = name.extract()?;
        options = with(options, &name, &value)?;
    }
    Ok(options)
}

fn with(options: Options, name: &str, value: &Bound<'_, PyAny>) -> PyResult<Options> {
    if value.is_none() {
        // As if it was not given; but these always have a value.
        return match name {
            "side" | "timeout" | "takeover" | "expect_process" => Ok(options),
            _ => Err(PyTypeError::new_err(format!("{name} is None"))),
        };
    }
    Ok(match name {
        "side" => options.side(side(&value.extract::<String>()?)?),
        "block_size" => options.block_size(value.extract()?),
        "block_count" => options.block_count(value.extract()?),
        "timeout" => match duration(value.extract()?)? {
            Some(limit) => options.wait(limit),
            None => options,
        },
        "takeover" => options.takeover(duration(value.extract()?)?.unwrap_or(Duration::MAX)),
        "greeting" => options.greeting(&Room::new().bytes_of(value)?.to_vec()),
        "expect_process" => options.expect_process(value.extract()?),
        "allow_users" => {
            let users: Vec<String> = value.extract()?;
            let allow = |options: Options, user: &String| options.allow_user(user);
            users.iter().fold(options, allow)
        }
        _ => {
            let text = format!("there is no option {name:?}");
            return Err(PyTypeError::new_err(text));
        }
    })
}

fn side(name: &str) -> PyResult<Side> {
    match name {
        "reader" => Ok(Side::Reader),
        "writer" => Ok(Side::Writer),
        _ => Err(PyValueError::new_err(
            "a side is either \"reader\" or \"writer\"",
        )),
    }
}

/// A session's name, which may be a path.
pub(crate) fn name(name: PathBuf) -> PyResult<String> {
    let no_text = |_: OsString| PyValueError::new_err("the name is not text");
    name.into_os_string().into_string().map_err(no_text)
}
