//! The child process at the other end, and where the two meet.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use brigade::{Options, Reader, Side, Writer};

use crate::Outcome;

/// A path for this process's rivals.
pub fn place() -> String {
    let name = format!("brigade-bench-{}", std::process::id());
    memory_directory().join(name).display().to_string()
}

/// Where files are in memory; where there is no such place, where the system caches
/// them.
fn memory_directory() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    match memory.is_dir() {
        true => memory,
        false => std::env::temp_dir(),
    }
}

pub fn spawn(what: &str, place: &str, size: usize, count: u64) -> Outcome<Child> {
    Ok(Command::new(std::env::current_exe()?)
        .args(["child", what, place, &size.to_string(), &count.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?)
}

/// The child has done its part without an error.
pub fn wait(mut child: Child) -> Outcome<()> {
    match child.wait()?.success() {
        true => Ok(()),
        false => Err("the child failed".into()),
    }
}

/// The child's end of a session.
pub fn join_as_reader(place: &str, options: Options) -> Outcome<Reader> {
    let role = brigade::join(place, &options.side(Side::Reader))?;
    role.into_reader().ok_or("not the reader".into())
}

/// This process's end.
pub fn join_as_writer(place: &str, options: Options) -> Outcome<Writer> {
    let role = brigade::join(place, &options.side(Side::Writer))?;
    // Left by a path that is not in a directory of brigade's; on Windows there is none.
    let _ = std::fs::remove_file(format!("{place}.lock"));
    role.into_writer().ok_or("not the writer".into())
}
