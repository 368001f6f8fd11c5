//! About what a copy by two processes must do at all: a file is read, and as much is written to another
//! one, both at once, and nothing goes from one to the other; or a program starts another one, and that ends.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use nix::fcntl::{FallocateFlags, fallocate};
use nix::libc::O_DIRECT;

use crate::Outcome;

/// What O_DIRECT asks of memory, on any disk.
const ALIGNMENT: usize = 4096;

/// How the bytes go.
pub enum Way {
    /// Past the cache, by two threads for each: one, four and eight took as long, or longer (1 GiB:
    /// 1.30, 1.34, 1.45 s, and 1.24).
    Direct,
    /// Through it, by one thread for each.
    Cached,
    /// The same, and nobody waits until it is durable.
    Unsynced,
}

impl Way {
    pub fn named(what: &str) -> Outcome<Way> {
        match what {
            "direct" => Ok(Way::Direct),
            "cached" => Ok(Way::Cached),
            "unsynced" => Ok(Way::Unsynced),
            _ => Err("direct, cached or unsynced".into()),
        }
    }
}

/// Reads all of `source`, and writes as much to `copy`, a new file.
pub fn copy(source: &str, copy: &str, way: &Way) -> Outcome<()> {
    let (flags, threads, piece) = match way {
        Way::Direct => (O_DIRECT, 2, 1 << 20),
        Way::Cached => (0, 1, 1 << 20),
        Way::Unsynced => (0, 1, 256 << 10),
    };
    let is_durable = !matches!(way, Way::Unsynced);
    let mut options = File::options();
    options.custom_flags(flags);
    let source = options.read(true).open(source)?;
    let copy = options
        .read(false)
        .write(true)
        .create_new(true)
        .open(copy)?;
    let len = source.metadata()?.len();
    if len == 0 || len % piece as u64 != 0 {
        return Err(format!("{len} bytes, not whole pieces").into());
    }
    if is_durable {
        fallocate(&copy, FallocateFlags::empty(), 0, len.try_into()?)?;
    }
    let [to_read, to_write] = [const { AtomicU64::new(0) }; 2];
    thread::scope(|scope| {
        let readers = (0..threads).map(|_| {
            scope.spawn(|| {
                each(&to_read, len, piece, |piece, at| {
                    source.read_exact_at(piece, at)
                })
            })
        });
        let writers = (0..threads).map(|_| {
            scope.spawn(|| {
                each(&to_write, len, piece, |piece, at| {
                    copy.write_all_at(piece, at)
                })
            })
        });
        let all: Vec<_> = readers.chain(writers).collect();
        all.into_iter().try_for_each(|thread| {
            thread.join().map_err(|_| "a thread failed")??;
            Outcome::Ok(())
        })
    })?;
    if is_durable {
        copy.sync_all()?;
    }
    Ok(())
}

/// Starts `program`, and waits for its end.
pub fn start(program: &str, args: &[&str]) -> Outcome<()> {
    let status = Command::new(program)
        .args(args)
        .stdout(Stdio::null())
        .status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{program}: {status}").into()),
    }
}

/// Does it with each piece that nobody else has done. The bytes are random.
fn each(
    next: &AtomicU64,
    len: u64,
    piece: usize,
    does: impl Fn(&mut [u8], u64) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut memory = vec![0; piece + ALIGNMENT];
    File::open("/dev/urandom")?.read_exact(&mut memory)?;
    let start = memory.as_ptr().align_offset(ALIGNMENT);
    let piece = &mut memory[start..][..piece];
    loop {
        let at = next.fetch_add(piece.len() as u64, Ordering::Relaxed);
        if at >= len {
            return Ok(());
        }
        // No page as another one, which a disk might keep once.
        for (page, number) in piece.chunks_mut(ALIGNMENT).zip(at..) {
            page[..8].copy_from_slice(&number.to_ne_bytes());
        }
        does(piece, at)?;
    }
}
