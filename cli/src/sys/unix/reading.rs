//! What is asked of a source.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

pub(crate) fn expect_in_order(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Sequential);
}

pub(crate) fn capacity(mut file: &File) -> io::Result<Option<u64>> {
    let position = file.stream_position()?;
    let end = file.seek(SeekFrom::End(0))?;
    // Left at its end, it would be read, or written, from there.
    file.seek(SeekFrom::Start(position))?;
    Ok(Some(end))
}

pub(crate) fn read(mut file: &File, block: &mut [u8]) -> io::Result<usize> {
    file.read(block)
}

pub(crate) fn read_at(file: &File, block: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, block, offset)
}

/// From Linux 6.14 on: what was not in the cache before is not afterwards
/// (`RWF_DONTCACHE`, linux/fs.h).
pub(crate) fn read_past_cache(file: &File, block: &mut [u8]) -> io::Result<usize> {
    use rustix::io::{Errno, ReadWriteFlags};
    const DONT_CACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);
    /// From where the file's position is, which moves on.
    const HERE: u64 = u64::MAX;
    let mut parts = [io::IoSliceMut::new(block)];
    match rustix::io::preadv2(file, &mut parts, HERE, DONT_CACHE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Err(io::ErrorKind::Unsupported.into()),
        read => Ok(read?),
    }
}

pub(crate) fn next_data(file: &File, position: u64) -> io::Result<Option<Range<u64>>> {
    use rustix::io::Errno;
    let seek = |from| rustix::fs::seek(file, from);
    let start = match seek(rustix::fs::SeekFrom::Data(position)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::NOTSUP | Errno::NOSYS) => return Ok(Some(0..u64::MAX)),
        Err(error) => return Err(error.into()),
    };
    match seek(rustix::fs::SeekFrom::Hole(start)) {
        Ok(end) => Ok(Some(start..end)),
        // It was cut meanwhile.
        Err(Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn is_in_hole(file: &File, position: u64) -> io::Result<bool> {
    use rustix::io::Errno;
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(position)) {
        Ok(hole) => Ok(hole == position),
        Err(Errno::NXIO) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What the kernel itself writes as it is read, by their numbers in linux/magic.h:
/// sysfs, proc, debugfs, tracefs, securityfs, configfs, cgroup and cgroup2.
const MADE_UP: [i64; 8] = [
    0x6265_6572,
    0x9fa0,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0x6265_6570,
    0x0027_e0eb,
    0x6367_7270,
];

pub(crate) fn may_lie_about_size(file: &File) -> io::Result<bool> {
    let found = rustix::fs::fstatfs(file)?;
    #[allow(
        clippy::useless_conversion,
        reason = "of fewer bits on other processors"
    )]
    Ok(MADE_UP.contains(&i64::from(found.f_type)))
}
