//! How near brigade comes to the limit, which is a bare ring: two processes, a
//! counter each, spinning, no way to sleep, no way to die, nothing checked. A
//! pipe stands for what programs use today.
//!
//! One process copies bytes into blocks, the other copies them out. The rivals
//! take turns within each round; the ratios are taken round by round.
//!
//! ```text
//! cargo run --release --manifest-path bench/Cargo.toml -- [ROUNDS [BLOCK_SIZE...]]
//! ```

use std::hint::{black_box, spin_loop};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use brigade::{Options, Role, Side};

/// Block sizes in bytes, and how many bytes a run moves.
const CASES: [(usize, u64); 4] = [
    (64, 1 << 30),
    (4 << 10, 4 << 30),
    (64 << 10, 8 << 30),
    (1 << 20, 8 << 30),
];

/// The pool, for both rings: as the default of brigade.
const POOL: usize = 4 << 20;

/// At most this many blocks, so that the queues, too, stay in the cache.
const BLOCKS_MAX: usize = 1024;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("child") => child(&args[1], &args[2], args[3].parse()?, args[4].parse()?),
        Some(rounds) => {
            let sizes: Result<Vec<usize>, _> = args[1..].iter().map(|size| size.parse()).collect();
            parent(rounds.parse()?, &sizes?)
        }
        None => parent(7, &[]),
    }
}

/// Measures with blocks of `sizes`, or of all sizes.
fn parent(rounds: usize, sizes: &[usize]) -> Outcome<()> {
    println!("{rounds} rounds, the three in turn; median (least to most)");
    println!(
        "{:>8}  {:>24}  {:>24}  {:>24}  {:>20}  {:>20}",
        "block", "bare ring", "brigade", "pipe", "brigade/bare", "brigade/pipe"
    );
    let chosen = |size: &usize| sizes.is_empty() || sizes.contains(size);
    for (size, total) in CASES.into_iter().filter(|(size, _)| chosen(size)) {
        let count = total / size as u64;
        let mut rates = [const { Vec::new() }; 3];
        for _ in 0..rounds {
            for (rates, rival) in rates.iter_mut().zip(["bare", "brigade", "pipe"]) {
                // A pipe is slower: a smaller share, and the rate is as good.
                let count = if rival == "pipe" { count / 8 } else { count };
                let took = run(rival, size, count)?;
                rates.push(count as f64 / took.as_secs_f64());
            }
        }
        let [bare, brigade, pipe] = &rates;
        let ratio =
            |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a / b).collect() };
        let show = |rates: &[f64]| {
            // Small blocks are a matter of how many, large ones of how much.
            let (scale, unit) = match size {
                64 => (1e6, "M/s"),
                _ => (1e9 / size as f64, "GB/s"),
            };
            spread(rates, scale, unit)
        };
        println!(
            "{size:>8}  {:>24}  {:>24}  {:>24}  {:>20}  {:>20}",
            show(bare),
            show(brigade),
            show(pipe),
            spread(&ratio(brigade, bare), 1.0, ""),
            spread(&ratio(brigade, pipe), 1.0, "")
        );
    }
    Ok(())
}

fn spread(values: &[f64], scale: f64, unit: &str) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let [least, median, most] = [0, sorted.len() / 2, sorted.len() - 1].map(|i| sorted[i] / scale);
    format!("{median:.2} {unit} ({least:.2} to {most:.2})")
}

fn blocks(size: usize) -> usize {
    (POOL / size).min(BLOCKS_MAX)
}

/// Calls a function whose block size is a constant, so that the compiler knows
/// how much is copied and neither ring pays for finding out.
macro_rules! with_size {
    ($size:expr, $function:ident($($argument:expr),*)) => {
        match $size {
            64 => $function::<64>($($argument),*),
            4096 => $function::<4096>($($argument),*),
            65536 => $function::<65536>($($argument),*),
            1048576 => $function::<1048576>($($argument),*),
            _ => Err("no such block size".into()),
        }
    };
}

fn run(rival: &str, size: usize, count: u64) -> Outcome<Duration> {
    with_size!(size, run_sized(rival, count))
}

fn child(rival: &str, place: &str, size: usize, count: u64) -> Outcome<()> {
    with_size!(size, child_sized(rival, place, count))
}

/// Starts the child, which fills, and drains here; from the first block to the
/// last.
fn run_sized<const SIZE: usize>(rival: &str, count: u64) -> Outcome<Duration> {
    let size = SIZE;
    let place = memory_directory().join(format!("brigade-bench-{}", std::process::id()));
    let place = place.display().to_string();
    let mut out = vec![0u8; size];
    let took;
    match rival {
        "bare" => {
            let ring = Bare::<SIZE>::create(&place)?;
            let mut child = spawn(rival, &place, size, count)?;
            took = ring.drain(&mut out, count);
            child.wait()?;
            std::fs::remove_file(&place)?;
        }
        "brigade" => {
            let mut child = spawn(rival, &place, size, count)?;
            let options = options(size).side(Side::Writer);
            let Role::Writer(writer) = brigade::join(&place, &options)? else {
                return Err("not the writer".into());
            };
            let mut start = None;
            while let Some(block) = writer.data_block()? {
                start.get_or_insert_with(Instant::now);
                out[..SIZE].copy_from_slice(&block[..SIZE]);
                black_box(&out);
            }
            took = start.ok_or("nothing came")?.elapsed();
            assert_eq!(writer.finish()?.blocks, count);
            child.wait()?;
            // On Windows there is none.
            let _ = std::fs::remove_file(format!("{place}.lock"));
        }
        _ => {
            let mut child = spawn(rival, &place, size, count)?;
            let mut pipe = child.stdout.take().ok_or("no pipe")?;
            pipe.read_exact(&mut out)?;
            let start = Instant::now();
            for _ in 1..count {
                pipe.read_exact(&mut out)?;
                black_box(&out);
            }
            took = start.elapsed();
            child.wait()?;
        }
    }
    Ok(took)
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

fn options(size: usize) -> Options {
    Options::new().block_size(size).block_count(blocks(size))
}

fn spawn(rival: &str, place: &str, size: usize, count: u64) -> Outcome<Child> {
    Ok(Command::new(std::env::current_exe()?)
        .args(["child", rival, place, &size.to_string(), &count.to_string()])
        .stdout(Stdio::piped())
        .spawn()?)
}

fn child_sized<const SIZE: usize>(rival: &str, place: &str, count: u64) -> Outcome<()> {
    let size = SIZE;
    let data = vec![7u8; size];
    match rival {
        "bare" => Bare::<SIZE>::open(place)?.fill(&data, count),
        "brigade" => {
            let options = options(size).side(Side::Reader);
            let Role::Reader(reader) = brigade::join(place, &options)? else {
                return Err("not the reader".into());
            };
            for index in 0..count {
                let mut block = reader.empty_block()?;
                block[..SIZE].copy_from_slice(&black_box(&data)[..SIZE]);
                block.send(size, index)?;
            }
            reader.finish()?;
        }
        _ => {
            let mut out = std::io::stdout().lock();
            for _ in 0..count {
                out.write_all(black_box(&data))?;
            }
        }
    }
    Ok(())
}

/// The limit. Two counters, each on its own lines, each end with a cached copy of
/// the other's; blocks in the order of the ring.
struct Bare<const SIZE: usize> {
    memory: memmap2::MmapMut,
}

const HEAD: usize = 4096;

impl<const SIZE: usize> Bare<SIZE> {
    fn create(place: &str) -> Outcome<Self> {
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(place)?;
        file.set_len((HEAD + SIZE * blocks(SIZE)) as u64)?;
        // SAFETY: the file is this benchmark's own; both sides keep to the ring.
        let mut memory = unsafe { memmap2::MmapMut::map_mut(&file)? };
        memory.fill(0);
        Ok(Bare { memory })
    }

    fn open(place: &str) -> Outcome<Self> {
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(place)?;
        // SAFETY: as above.
        let memory = unsafe { memmap2::MmapMut::map_mut(&file)? };
        for page in memory.chunks(4096) {
            black_box(page[0]);
        }
        Ok(Bare { memory })
    }

    fn counter(&self, index: usize) -> &AtomicU64 {
        // SAFETY: within the head, aligned, atomic.
        unsafe { &*self.memory.as_ptr().add(index * 128).cast() }
    }

    fn block(&self, index: u64) -> *mut u8 {
        let slot = index as usize & (blocks(SIZE) - 1);
        // SAFETY: `slot` is below the number of blocks.
        unsafe { self.memory.as_ptr().add(HEAD + slot * SIZE).cast_mut() }
    }

    fn fill(&self, data: &[u8], count: u64) {
        let (filled, drained) = (self.counter(0), self.counter(1));
        let room = blocks(SIZE) as u64;
        let mut seen = 0;
        for index in 0..count {
            while index - seen == room {
                seen = drained.load(Ordering::Acquire);
                spin_loop();
            }
            let data = black_box(data);
            // SAFETY: the block is this side's until `filled` is stored.
            unsafe {
                data.as_ptr()
                    .copy_to_nonoverlapping(self.block(index), SIZE)
            };
            filled.store(index + 1, Ordering::Release);
        }
    }

    fn drain(&self, out: &mut [u8], count: u64) -> Duration {
        let (filled, drained) = (self.counter(0), self.counter(1));
        let mut seen = 0;
        let mut start = None;
        for index in 0..count {
            while index == seen {
                seen = filled.load(Ordering::Acquire);
                spin_loop();
            }
            start.get_or_insert_with(Instant::now);
            // SAFETY: the block is this side's until `drained` is stored.
            unsafe {
                self.block(index)
                    .copy_to_nonoverlapping(out.as_mut_ptr(), SIZE)
            };
            black_box(&out);
            drained.store(index + 1, Ordering::Release);
        }
        start.map_or(Duration::ZERO, |start| start.elapsed())
    }
}
