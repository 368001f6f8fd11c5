//! A host that outlives its plugins: it starts one, asks it questions, and starts another
//! when it crashes.
//!
//!     cargo run -p brigade --example plugin_host -- 20
//!
//! The plugin is this program itself, started once more and invited: no name is needed. It
//! gets each question in a block and answers by a letter. One question crashes it.
#![allow(clippy::print_stdout, reason = "a program that tells what it does")]

use std::error::Error;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use brigade::{Options, Reader};

/// The question that no plugin survives.
const CRASHES: u64 = 7;

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1).as_deref() {
        Some("plugin") => plugin(),
        Some(questions) => host(questions.parse()?),
        None => host(20),
    }
}

fn options() -> Options {
    // A question is small. Wait: for a plugin that hangs before it has joined.
    let options = Options::new().block_size(4096).block_count(2);
    options.wait(Duration::from_secs(60))
}

fn host(questions: u64) -> Result<(), Box<dyn Error>> {
    let (mut plugin, mut crashed) = (Plugin::start()?, 0);
    for question in 0..questions {
        let asked = Instant::now();
        match plugin.ask(question) {
            Ok(answer) => assert_eq!(answer, question.pow(2)),
            Err(error @ brigade::Error::PartnerDied { .. }) => {
                println!("question {question}: {error} ({:?})", asked.elapsed());
                println!("its exit status: {}", plugin.process.wait()?);
                plugin = Plugin::start()?;
                crashed += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    plugin.reader.finish()?;
    assert!(plugin.process.wait()?.success());
    assert_eq!(crashed, u64::from(questions > CRASHES));
    println!("{questions} questions asked, {crashed} without an answer");
    Ok(())
}

/// A plugin's process, and the session with it.
struct Plugin {
    process: Child,
    reader: Reader,
}

impl Plugin {
    fn start() -> Result<Plugin, Box<dyn Error>> {
        let mut command = Command::new(std::env::current_exe()?);
        let (process, seat) = brigade::invite(&options())?.spawn(command.arg("plugin"))?;
        let reader = seat.wait()?.into_reader();
        let reader = reader.ok_or("who invites is the Reader")?;
        Ok(Plugin { process, reader })
    }

    /// A plugin that dies is an error within milliseconds, one that hangs within a minute.
    fn ask(&self, question: u64) -> Result<u64, brigade::Error> {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut block = self.reader.empty_block_until(deadline)?;
        block[..8].copy_from_slice(&question.to_le_bytes());
        block.send(8, 0)?;
        match self.reader.letter_until(deadline)? {
            Some(answer) => Ok(number(&answer.bytes)),
            None => unreachable!("there is no verdict before the end of the data"),
        }
    }
}

fn plugin() -> Result<(), Box<dyn Error>> {
    let role = brigade::accept(&options())?;
    let writer = role.into_writer().ok_or("who was invited is the Writer")?;
    while let Some(block) = writer.data_block()? {
        let question = number(&block);
        if question == CRASHES {
            std::process::abort();
        }
        writer.post(0, &question.pow(2).to_le_bytes())?;
    }
    writer.finish()?;
    Ok(())
}

/// The number in the first eight bytes; 0 if there are fewer, so that nothing that a
/// partner sends makes this process panic.
fn number(bytes: &[u8]) -> u64 {
    bytes
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
