//! What crates that programs use today make of the same: one process copies bytes into
//! the link, the other copies them out. In words and figures as of the benchmark itself:
//!
//! ```text
//! brigade-rivals measure iceoryx2|ipc-channel SIZE COUNT
//! ```
//!
//! prints the seconds per block, from the first that came to the last.

use std::hint::black_box;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

mod iceoryx;
mod ipc;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["measure", rival, size, count] => {
            let took = measure(rival, size.parse()?, count.parse()?)?;
            println!("{:e}", took.as_secs_f64() / count.parse::<f64>()?);
            Ok(())
        }
        ["child", rival, name, size, count] => fill(rival, name, size.parse()?, count.parse()?),
        _ => Err("brigade-rivals measure RIVAL SIZE COUNT".into()),
    }
}

fn measure(rival: &str, size: usize, count: u64) -> Outcome<Duration> {
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

/// Copies `count` blocks out; `next` hands each to what it is given.
fn copy_out(
    size: usize,
    count: u64,
    mut next: impl FnMut(&mut dyn FnMut(&[u8])) -> Outcome<()>,
) -> Outcome<Duration> {
    let mut out = vec![0u8; size];
    let mut start = None;
    for _ in 0..count {
        next(&mut |block| {
            start.get_or_insert_with(Instant::now);
            out.copy_from_slice(block);
            black_box(&out);
        })?;
    }
    let start: Instant = start.ok_or("nothing came")?;
    Ok(start.elapsed())
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
