//! How near brigade comes to the limit, and how far it is from what programs use today.
//!
//! The rivals take turns within each round, and ratios are taken round by round: what
//! else the machine does then hits them alike.
//!
//! ```text
//! cargo run --release --manifest-path bench/Cargo.toml -- [ROUNDS [BLOCK_SIZE...]]
//! cargo run --release --manifest-path bench/Cargo.toml -- --against PATH [ROUNDS]
//! cargo run --release --manifest-path bench/Cargo.toml -- --tasks [ROUNDS [BLOCK_SIZE...]]
//! brigade-bench give|take BYTES RATE steady|ON/OFF/FIRST
//! brigade-bench least direct|cached|unsynced SOURCE COPY
//! brigade-bench least start PROGRAM [ARGUMENT...]
//! bench/run [--quick] [--only TABLE...]
//! bench/scale DIRECTORY [GIB...]
//! ```
//!
//! The first measures throughput (with blocks of those sizes) and, without a size,
//! latency; the second compares this build with another one of this benchmark at PATH,
//! which may be that of another commit; the third compares tasks of Tokio with threads, and with
//! Tokio's pipes; the fourth is one end of a pipeline, which gives or takes RATE bytes a second, always
//! or for ON of every ON + OFF milliseconds; the fifth and sixth do the least of what a copy, and two processes,
//! do; `bench/run` puts these and other rivals into one report, and `bench/scale` copies large files and looks at memory and cache.

mod against;
mod alone;
mod bare;
mod buffer;
mod clock;
mod figures;
mod latency;
#[cfg(target_os = "linux")]
mod least;
mod lines;
mod paced;
mod partner;
#[cfg(unix)]
mod report;
mod sessions;
mod tasks;
mod throughput;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A ratio of medians settles slowly: with fewer rounds it is a hint at best.
const ROUNDS: usize = 7;
const ROUNDS_AGAINST: usize = 25;

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["child", what, place, size, count] => child(what, place, size.parse()?, count.parse()?),
        ["measure", what, size, count] => {
            for seconds in measure(what, size.parse()?, count.parse()?)? {
                println!("{seconds:e}");
            }
            Ok(())
        }
        ["alone", what, times] => alone::run(what, times.parse()?),
        ["give", bytes, rate, phases] => paced::give(bytes.parse()?, rate, phases),
        ["take", bytes, rate, phases] => paced::take(bytes.parse()?, rate, phases),
        #[cfg(target_os = "linux")]
        ["least", "start", program, ref args @ ..] => least::start(program, args),
        #[cfg(target_os = "linux")]
        ["least", way, source, copy] => least::copy(source, copy, &least::Way::named(way)?),
        #[cfg(unix)]
        ["report", ref args @ ..] => report::report(args),
        ["--against", path] => against::compare(path, ROUNDS_AGAINST),
        ["--tasks"] => tasks::all(ROUNDS_AGAINST),
        ["--tasks", rounds] => tasks::all(rounds.parse()?),
        ["--tasks", rounds, ref sizes @ ..] => {
            let sizes: Result<Vec<usize>, _> = sizes.iter().map(|size| size.parse()).collect();
            tasks::throughput(rounds.parse()?, &sizes?)
        }
        ["--against", path, rounds] => against::compare(path, rounds.parse()?),
        [] => all(ROUNDS),
        [rounds] => all(rounds.parse()?),
        [rounds, ref sizes @ ..] => {
            let sizes: Result<Vec<usize>, _> = sizes.iter().map(|size| size.parse()).collect();
            throughput::table(rounds.parse()?, &sizes?)
        }
    }
}

fn all(rounds: usize) -> Outcome<()> {
    throughput::table(rounds, &throughput::SIZES)?;
    throughput::owned_against_borrowed(rounds)?;
    latency::table(rounds)
}

/// One run of one rival, with a child process at the other end. For a throughput the
/// seconds per block, for a latency those of each message.
fn measure(what: &str, size: usize, count: u64) -> Outcome<Vec<f64>> {
    if let Some(way) = tasks::Way::named(what) {
        return tasks::ask(way, count);
    }
    if let Some(case) = sessions::Case::named(what) {
        return sessions::measure(case, what, size, count);
    }
    match latency::Case::named(what) {
        Some(case) => latency::measure(&case, count),
        None => Ok(vec![throughput::measure(what, size, count)?]),
    }
}

/// The other end of [`measure`].
fn child(what: &str, place: &str, size: usize, count: u64) -> Outcome<()> {
    if let Some(way) = tasks::Way::named(what) {
        return tasks::child(way, place, count);
    }
    if sessions::Case::named(what).is_some() {
        return sessions::child(place, size);
    }
    match latency::Case::named(what) {
        Some(case) => latency::child(&case, place, count),
        None => throughput::child(what, place, size, count),
    }
}
