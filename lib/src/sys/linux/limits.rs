//! What the system allows this process, and how to say which limit was reached.

use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use crate::error::Error;

/// The error for a call that failed, which names the limit that may be the reason.
pub(in crate::sys) fn failed(operation: impl Into<String>, errno: Errno) -> Error {
    let operation = operation.into();
    let source = io::Error::from(errno);
    match hint(errno) {
        Some(hint) => Error::os(format!("{operation} ({hint})"), source),
        None => Error::os(operation, source),
    }
}

fn hint(errno: Errno) -> Option<&'static str> {
    match errno {
        Errno::MFILE => Some("the limit of open files is reached; raise it: ulimit -n"),
        Errno::NFILE => Some("this machine's limit of open files is reached: fs.file-max"),
        Errno::NOMEM if getrlimit(Resource::As).current.is_some() => {
            Some("the limit of address space may be reached; raise it: ulimit -v")
        }
        _ => None,
    }
}

/// Shared memory counts as a file. To make one beyond the limit is answered with a
/// signal that kills, so it has to be asked before.
pub(in crate::sys) fn check_file_size(size: u64) -> Result<(), Error> {
    match getrlimit(Resource::Fsize).current {
        Some(limit) if size > limit => {
            let operation = format!(
                "create {size} bytes of shared memory (it counts as a file, and the limit of a \
                 file's size is {limit} bytes; raise it with ulimit -f, or choose smaller or \
                 fewer blocks)"
            );
            Err(Error::os(operation, Errno::FBIG))
        }
        _ => Ok(()),
    }
}
