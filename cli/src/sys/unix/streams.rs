//! The standard streams, and when they are ready.

use std::fs::File;
use std::io::{self};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

pub(crate) fn standard_input() -> io::Result<File> {
    if_open(io::stdin().as_fd().try_clone_to_owned()?.into())
}

pub(crate) fn standard_output() -> io::Result<File> {
    if_open(io::stdout().as_fd().try_clone_to_owned()?.into())
}

pub(crate) fn forget_standard_input() -> io::Result<()> {
    let null = File::open("/dev/null")?;
    Ok(rustix::stdio::dup2_stdin(null)?)
}

/// Rust's runtime puts the null device, open for both, in the place of a standard
/// stream that was closed. To copy from or to that would lose everything without a
/// word; who means the null device redirects to it, and opens it for one.
fn if_open(file: File) -> io::Result<File> {
    let metadata = file.metadata()?;
    let number = metadata.rdev();
    let number = (rustix::fs::major(number), rustix::fs::minor(number));
    let is_null = metadata.file_type().is_char_device() && number == (1, 3);
    let access = rustix::fs::fcntl_getfl(&file)? & OFlags::RWMODE;
    if is_null && access == OFlags::RDWR {
        return Err(rustix::io::Errno::BADF.into());
    }
    Ok(file)
}

pub(crate) fn is_ready(file: &File) -> io::Result<bool> {
    poll_for_input(file, Some(&Timespec::default()))
}

pub(crate) fn wait_until_ready(file: &File) -> io::Result<()> {
    poll_for_input(file, None).map(drop)
}

pub(crate) fn wait_to_read(file: &File, limit: Duration) -> io::Result<bool> {
    let limit = Timespec {
        tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    poll_for_input(file, Some(&limit))
}

pub(crate) fn wait_to_read_beside(file: &File, other: BorrowedFd<'_>) -> io::Result<()> {
    let mut fds = [
        PollFd::new(file, PollFlags::IN),
        PollFd::from_borrowed_fd(other, PollFlags::IN),
    ];
    rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
    Ok(())
}

pub(crate) fn wait_until_room(file: &File) -> io::Result<()> {
    let mut fds = [PollFd::new(file, PollFlags::OUT)];
    rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
    Ok(())
}

fn poll_for_input(file: &File, timeout: Option<&Timespec>) -> io::Result<bool> {
    let mut fds = [PollFd::new(file, PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| poll(&mut fds, timeout))?;
    Ok(ready > 0)
}
