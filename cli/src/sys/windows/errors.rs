//! The system's errors, by their number.

use std::io::{self};

pub(super) fn system_error(code: u32) -> io::Error {
    io::Error::from_raw_os_error(code as i32)
}

pub(super) fn is_code(error: &io::Error, code: u32) -> bool {
    error.raw_os_error() == Some(code as i32)
}
