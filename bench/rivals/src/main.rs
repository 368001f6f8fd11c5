//! What crates that programs use today make of the same: one process copies bytes into
//! the link, the other copies them out. In words and figures as of the benchmark itself:
//!
//! ```text
//! brigade-rivals measure iceoryx2|ipc-channel SIZE COUNT
//! ```
//!
//! prints the seconds per block, of the last third.

use std::hint::black_box;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

mod iceoryx;
mod ipc;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["measure", rival, size, count] => {
            println!("{:e}", measure(rival, size.parse()?, count.parse()?)?);
            Ok(())
        }
        ["child", rival, name, size, count] => fill(rival, name, size.parse()?, count.parse()?),
        _ => Err("brigade-rivals measure RIVAL SIZE COUNT".into()),
    }
}

/// Seconds for each block.
fn measure(rival: &str, size: usize, count: u64) -> Outcome<f64> {
    match rival {
        "iceoryx2" => iceoryx::drain(size, count),
        "ipc-channel" => ipc::drain(size, count),
        _ => Err("no such rival".into()),
    }
}

fn fill(rival: &str, name: &str, size: usize, count: u64) -> Outcome<()> {
    match rival {
        "iceoryx2" => iceoryx::fill(name, size, count),
        _ => ipc::fill(name, size, count),
    }
}

/// The other process, which copies bytes in.
fn spawn(rival: &str, name: &str, size: usize, count: u64) -> Outcome<Child> {
    Ok(Command::new(std::env::current_exe()?)
        .args(["child", rival, name, &size.to_string(), &count.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?)
}

const PAGE: usize = 4096;

/// Room for `size` bytes of the program's own, which lie as those of the others.
fn new_bytes(size: usize) -> Vec<u8> {
    vec![7; size + 2 * PAGE]
}

fn middle_of_a_page(memory: &mut [u8], size: usize) -> &mut [u8] {
    let start = memory.as_ptr().align_offset(PAGE) + PAGE / 2;
    &mut memory[start..][..size]
}

/// Copies `count` blocks out, of which the last third is timed; `next` hands each to what it is given.
fn copy_out(
    size: usize,
    count: u64,
    mut next: impl FnMut(&mut dyn FnMut(&[u8])) -> Outcome<()>,
) -> Outcome<f64> {
    let mut memory = new_bytes(size);
    let out = middle_of_a_page(&mut memory, size);
    let untimed = count / 3 * 2;
    let mut start = Instant::now();
    for index in 0..count {
        next(&mut |block| {
            if index == untimed {
                start = Instant::now();
            }
            out.copy_from_slice(block);
            black_box(&*out);
        })?;
    }
    Ok(start.elapsed().as_secs_f64() / (count - untimed) as f64)
}

fn tell(mut to: impl Write) -> Outcome<()> {
    to.write_all(b"!")?;
    Ok(to.flush()?)
}

fn wait_for(mut from: impl Read) -> Outcome<()> {
    Ok(from.read_exact(&mut [0])?)
}

/// The child has done its part without an error.
fn wait(mut child: Child) -> Outcome<()> {
    match child.wait()?.success() {
        true => Ok(()),
        false => Err("the child failed".into()),
    }
}
