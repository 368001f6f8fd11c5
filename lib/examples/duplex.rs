//! Questions and answers: both ways in one session, several questions on the way at once,
//! and one thread that waits for both.
//!
//! Run it twice with the same name: the first answers, the second asks.
//!
//!     cargo run -p brigade --release --example duplex -- my-service 100000
#![allow(clippy::print_stdout, reason = "a program that tells what it does")]

use std::error::Error;
use std::time::{Duration, Instant};

use brigade::{BothWays, Interest, Options, Reader, Waitable, Writer, wait_any};

/// Not more than blocks in the pool: so whoever answers always finds an empty block.
const UNANSWERED: u64 = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or("duplex NAME [QUESTIONS]")?;
    let questions = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let options = Options::new().block_size(4096).block_count(8);
    let ends = brigade::join_both_ways(&name, &options)?;
    match ends.is_first {
        true => answer(&ends),
        false => ask(&ends, questions),
    }
}

/// Answers each number with its square, under the question's tag.
fn answer(ends: &BothWays) -> Result<(), Box<dyn Error>> {
    while let Some(question) = ends.writer.data_block()? {
        let square = number(&question)?.pow(2);
        send(ends.reader.empty_block()?, square, question.tag())?;
    }
    ends.writer.finish()?;
    let answered = ends.reader.finish()?.blocks;
    println!("{answered} questions answered");
    Ok(())
}

fn ask(ends: &BothWays, questions: u64) -> Result<(), Box<dyn Error>> {
    let (mut asked, mut answered, mut most) = (0, 0, 0);
    let start = Instant::now();
    while answered < questions {
        while asked < questions.min(answered + UNANSWERED) {
            let Some(block) = ends.reader.try_empty_block()? else {
                break;
            };
            send(block, asked, asked)?;
            asked += 1;
        }
        most = most.max(asked - answered);
        while let Some(answer) = ends.writer.try_data_block()? {
            assert_eq!(number(&answer)?, answer.tag().pow(2));
            answered += 1;
        }
        if ends.writer.at_end() {
            return Err("the other process has stopped answering".into());
        }
        let can_ask = asked < questions.min(answered + UNANSWERED);
        if answered < questions {
            wait(&ends.reader, &ends.writer, can_ask)?;
        }
    }
    let each = start.elapsed() / questions.max(1) as u32;
    println!("{answered} answers, {each:?} each, up to {most} questions on the way");
    end(ends)
}

/// Waits for an answer, and for room for a question if there is one.
fn wait(reader: &Reader, writer: &Writer, can_ask: bool) -> Result<(), Box<dyn Error>> {
    let mut waiting: Vec<(&dyn Waitable, _)> = vec![(writer, Interest::BLOCKS)];
    if can_ask {
        waiting.push((reader, Interest::BLOCKS));
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    match wait_any(&waiting, Some(deadline))?.is_empty() {
        true => Err("no answer for a minute".into()),
        false => Ok(()),
    }
}

fn end(ends: &BothWays) -> Result<(), Box<dyn Error>> {
    ends.reader.close()?; // no more questions
    assert!(ends.writer.data_block()?.is_none(), "no more answers");
    ends.writer.finish()?;
    ends.reader.verdict()?;
    Ok(())
}

fn send(mut block: brigade::EmptyBlock, number: u64, tag: u64) -> Result<(), brigade::Error> {
    block[..8].copy_from_slice(&number.to_le_bytes());
    block.send(8, tag)
}

fn number(bytes: &[u8]) -> Result<u64, Box<dyn Error>> {
    Ok(u64::from_le_bytes(bytes.try_into()?))
}
