//! The same by tasks of Tokio: against threads that block, and against Tokio's pipes.

use std::hint::black_box;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use brigade::{Options, Side};
use brigade_tokio::{AsyncReader, AsyncWriter};
use tokio::runtime::{Builder, Runtime};

use crate::Outcome;
use crate::buffer::Buffer;
use crate::clock::Clock;
use crate::figures::{quantile, quartiles, ratios, spread};
use crate::lines::Message;
use crate::partner;
use crate::throughput::{options, rates, show};

/// How long both have been asleep.
const ASLEEP: Duration = Duration::from_millis(2);

/// Questions and answers in a round.
const QUESTIONS: u64 = 200;

pub fn all(rounds: usize) -> Outcome<()> {
    throughput(rounds, &[4096, 64 << 10, 1 << 20])?;
    latency(rounds)
}

pub fn throughput(rounds: usize, sizes: &[usize]) -> Outcome<()> {
    println!("{rounds} rounds, in turn; median (least to most), and ratios with quartiles");
    println!(
        "{:>8}  {:>24}  {:>24}  {:>24}  {:>22}  {:>22}",
        "block",
        "threads",
        "one-thread tasks",
        "several threads'",
        "one/threads",
        "several/threads"
    );
    for &size in sizes {
        let [threads, one, several] = rates(rounds, ["brigade", "task", "task-multi"], size)?;
        println!(
            "{size:>8}  {:>24}  {:>24}  {:>24}  {:>22}  {:>22}",
            show(&threads, size),
            show(&one, size),
            show(&several, size),
            quartiles(&ratios(&one, &threads)),
            quartiles(&ratios(&several, &threads)),
        );
    }
    Ok(())
}

fn latency(rounds: usize) -> Outcome<()> {
    println!("\nthere and back, both asleep for 2 ms, {QUESTIONS} times a round; of medians");
    let mut medians = [const { Vec::new() }; 2];
    for _ in 0..rounds {
        for (medians, way) in medians.iter_mut().zip([Way::Pipe, Way::Blocks]) {
            medians.push(quantile(&ask(way, QUESTIONS)?, 0.5));
        }
    }
    let [pipe, blocks] = medians;
    println!(
        "pipe {}, blocks {}, blocks/pipe {}",
        spread(&pipe, 1e-6, " us"),
        spread(&blocks, 1e-6, " us"),
        quartiles(&ratios(&blocks, &pipe))
    );
    Ok(())
}

fn runtime(rival: &str) -> Outcome<Runtime> {
    let mut builder = match rival {
        "task-multi" => Builder::new_multi_thread(),
        _ => Builder::new_current_thread(),
    };
    Ok(builder.enable_io().build()?)
}

pub fn fill<const SIZE: usize>(rival: &str, place: &str, data: &[u8], count: u64) -> Outcome<()> {
    let (place, data) = (place.to_owned(), data.to_vec());
    let runtime = runtime(rival)?;
    let task = runtime.spawn(async move {
        let options = options(SIZE).side(Side::Reader);
        let role = brigade_tokio::join(&place, &options).await?;
        let mut reader = role.into_reader().ok_or(brigade::Error::TimedOut)?;
        for index in 0..count {
            let mut block = reader.empty_block().await?;
            block[..SIZE].copy_from_slice(&black_box(&data)[..SIZE]);
            reader.send_block(block, SIZE, index)?;
        }
        reader.finish().await
    });
    runtime.block_on(task)??;
    Ok(())
}

pub fn drain<const SIZE: usize>(rival: &str, place: &str, count: u64) -> Outcome<f64> {
    let child = partner::spawn(rival, place, SIZE, count)?;
    let runtime = runtime(rival)?;
    let writer = partner::join_as_writer(place, options(SIZE))?;
    let task = runtime.spawn(async move {
        let mut writer = AsyncWriter::new(writer)?;
        let mut out = Buffer::new(0, SIZE);
        let mut clock = Clock::new(count);
        while let Some(block) = writer.data_block().await? {
            clock.tick();
            out[..SIZE].copy_from_slice(&block[..SIZE]);
            black_box(&out);
        }
        Ok::<_, brigade::Error>((clock.seconds().ok(), writer.finish()?))
    });
    let (seconds, delivered) = runtime.block_on(task)??;
    assert_eq!(delivered.blocks, count);
    partner::wait(child)?;
    seconds.ok_or("not enough came".into())
}

/// How a question gets there, and the answer back.
#[derive(Clone, Copy)]
pub enum Way {
    Pipe,
    Blocks,
}

impl Way {
    pub fn named(what: &str) -> Option<Way> {
        match what {
            "asked-pipe" => Some(Way::Pipe),
            "asked-blocks" => Some(Way::Blocks),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Way::Pipe => "asked-pipe",
            Way::Blocks => "asked-blocks",
        }
    }
}

/// A session of both ways, with one block in each.
fn one_block() -> Options {
    Options::new()
        .block_size(size_of::<Message>())
        .block_count(1)
}

/// Seconds that each question took to be answered.
pub fn ask(way: Way, count: u64) -> Outcome<Vec<f64>> {
    let place = partner::place();
    let child = partner::spawn(way.name(), &place, 0, count)?;
    let runtime = runtime("task")?;
    match way {
        Way::Pipe => runtime.block_on(pipe::ask(child, count, ASLEEP)),
        Way::Blocks => runtime.block_on(ask_by_blocks(child, &place, count)),
    }
}

pub fn child(way: Way, place: &str, count: u64) -> Outcome<()> {
    let runtime = runtime("task")?;
    match way {
        Way::Pipe => runtime.block_on(pipe::answer(count)),
        Way::Blocks => runtime.block_on(answer_by_blocks(place, count)),
    }
}

async fn ask_by_blocks(child: Child, place: &str, count: u64) -> Outcome<Vec<f64>> {
    let both = brigade_tokio::join_both_ways(place, &one_block()).await?;
    let _ = std::fs::remove_file(format!("{place}.lock"));
    let (mut reader, mut writer) = (both.reader, both.writer);
    let mut seconds = Vec::new();
    for _ in 0..count {
        thread::sleep(ASLEEP);
        let start = Instant::now();
        say(&mut reader, &[7; size_of::<Message>()]).await?;
        black_box(hear(&mut writer).await?);
        seconds.push(start.elapsed().as_secs_f64());
    }
    end(reader, writer).await?;
    partner::wait(child)?;
    Ok(seconds)
}

async fn answer_by_blocks(place: &str, count: u64) -> Outcome<()> {
    let both = brigade_tokio::join_both_ways(place, &one_block()).await?;
    let (mut reader, mut writer) = (both.reader, both.writer);
    for _ in 0..count {
        let question = hear(&mut writer).await?;
        say(&mut reader, &question).await?;
    }
    end(reader, writer).await
}

async fn say(reader: &mut AsyncReader, message: &Message) -> Outcome<()> {
    let mut block = reader.empty_block().await?;
    block.copy_from_slice(message);
    Ok(reader.send_block(block, message.len(), 0)?)
}

async fn hear(writer: &mut AsyncWriter) -> Outcome<Message> {
    let block = writer.data_block().await?.ok_or("an early end")?;
    let message = (&*block).try_into()?;
    drop(block);
    writer.get_ref().pass_on();
    Ok(message)
}

async fn end(mut reader: AsyncReader, mut writer: AsyncWriter) -> Outcome<()> {
    reader.close()?;
    if writer.data_block().await?.is_some() {
        return Err("more than was to come".into());
    }
    writer.finish()?;
    reader.verdict().await?;
    Ok(())
}

#[cfg(unix)]
mod pipe {
    use std::os::fd::{AsFd, OwnedFd};
    use std::process::Child;
    use std::thread;
    use std::time::{Duration, Instant};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::unix::pipe::{Receiver, Sender};

    use crate::lines::Message;
    use crate::{Outcome, partner};

    pub async fn ask(mut child: Child, count: u64, pause: Duration) -> Outcome<Vec<f64>> {
        let from = OwnedFd::from(child.stdout.take().ok_or("no pipe")?);
        let to = OwnedFd::from(child.stdin.take().ok_or("no pipe")?);
        let (mut from, mut to) = (Receiver::from_owned_fd(from)?, Sender::from_owned_fd(to)?);
        let mut message: Message = [7; size_of::<Message>()];
        let mut seconds = Vec::new();
        for _ in 0..count {
            thread::sleep(pause);
            let start = Instant::now();
            to.write_all(&message).await?;
            from.read_exact(&mut message).await?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        partner::wait(child)?;
        Ok(seconds)
    }

    pub async fn answer(count: u64) -> Outcome<()> {
        let from = std::io::stdin().as_fd().try_clone_to_owned()?;
        let to = std::io::stdout().as_fd().try_clone_to_owned()?;
        let (mut from, mut to) = (Receiver::from_owned_fd(from)?, Sender::from_owned_fd(to)?);
        let mut message: Message = [0; size_of::<Message>()];
        for _ in 0..count {
            from.read_exact(&mut message).await?;
            to.write_all(&message).await?;
        }
        Ok(())
    }
}

#[cfg(not(unix))]
mod pipe {
    use std::process::Child;
    use std::time::Duration;

    use crate::Outcome;

    pub async fn ask(_: Child, _: u64, _: Duration) -> Outcome<Vec<f64>> {
        Err("Tokio has such pipes on Unix only".into())
    }

    pub async fn answer(_: u64) -> Outcome<()> {
        Err("Tokio has such pipes on Unix only".into())
    }
}
