//! The ways by which two processes tell each other something short.

use std::io::{Read, Stdin, Stdout, Write};
use std::process::{Child, ChildStdin, ChildStdout};

use brigade::{BothWays, Options, Reader, Writer};

use crate::Outcome;
use crate::partner;

/// What is said: a cache line.
pub type Message = [u8; 64];

/// One end of such a way. First the child speaks; the parent may answer.
pub trait Line {
    fn say(&mut self, message: &Message) -> Outcome<()>;
    fn hear(&mut self) -> Outcome<Message>;
    /// After all was said.
    fn end(self: Box<Self>) -> Outcome<()>;
}

/// The parent's end; makes the child, too.
pub fn parent(way: &str, what: &str, count: u64) -> Outcome<(Box<dyn Line>, Child)> {
    let place = partner::place();
    let spawn = || partner::spawn(what, &place, 0, count);
    Ok(match way {
        "blocks" => {
            let child = spawn()?;
            let writer = partner::join_as_writer(&place, options())?;
            (Box::new(WriterOfBlocks(writer)), child)
        }
        "both" => {
            let child = spawn()?;
            (Box::new(join_both_ways(&place)?), child)
        }
        "letters" => {
            let child = spawn()?;
            let writer = partner::join_as_writer(&place, options())?;
            (Box::new(WriterOfLetters(writer)), child)
        }
        "pipe" => {
            let mut child = spawn()?;
            let line = ParentPipes {
                from: child.stdout.take().ok_or("no pipe")?,
                to: child.stdin.take().ok_or("no pipe")?,
            };
            (Box::new(line), child)
        }
        _ => {
            let (socket, child) = socket::accept(&place, spawn)?;
            (Box::new(Socket(socket)), child)
        }
    })
}

/// The child's end.
pub fn child(way: &str, place: &str) -> Outcome<Box<dyn Line>> {
    Ok(match way {
        "blocks" => Box::new(ReaderOfBlocks(partner::join_as_reader(place, options())?)),
        "letters" => Box::new(ReaderOfLetters(partner::join_as_reader(place, options())?)),
        "both" => Box::new(join_both_ways(place)?),
        "pipe" => Box::new(ChildPipes {
            from: std::io::stdin(),
            to: std::io::stdout(),
        }),
        _ => Box::new(Socket(socket::connect(place)?)),
    })
}

/// With one block the two ends take turns: that it comes back is the answer.
fn options() -> Options {
    Options::new()
        .block_size(size_of::<Message>())
        .block_count(1)
}

fn message(bytes: &[u8]) -> Outcome<Message> {
    Ok(bytes.try_into()?)
}

struct ReaderOfBlocks(Reader);

impl Line for ReaderOfBlocks {
    fn say(&mut self, message: &Message) -> Outcome<()> {
        let mut block = self.0.empty_block()?;
        block.copy_from_slice(message);
        Ok(block.send(message.len(), 0)?)
    }

    fn hear(&mut self) -> Outcome<Message> {
        message(&self.0.empty_block()?)
    }

    fn end(self: Box<Self>) -> Outcome<()> {
        self.0.finish()?;
        Ok(())
    }
}

struct WriterOfBlocks(Writer);

impl Line for WriterOfBlocks {
    /// The block went back when it was heard.
    fn say(&mut self, _: &Message) -> Outcome<()> {
        Ok(())
    }

    fn hear(&mut self) -> Outcome<Message> {
        message(&self.0.data_block()?.ok_or("an early end")?)
    }

    fn end(self: Box<Self>) -> Outcome<()> {
        end_of_data(self.0)
    }
}

/// Several blocks go each way, so an end cannot know that only one will come.
fn join_both_ways(place: &str) -> Outcome<BothWays> {
    Ok(brigade::join_both_ways(place, &options().block_count(16))?)
}

impl Line for BothWays {
    fn say(&mut self, message: &Message) -> Outcome<()> {
        let mut block = self.reader.empty_block()?;
        block.copy_from_slice(message);
        Ok(block.send(message.len(), 0)?)
    }

    fn hear(&mut self) -> Outcome<Message> {
        message(&self.writer.data_block()?.ok_or("an early end")?)
    }

    fn end(self: Box<Self>) -> Outcome<()> {
        self.reader.close()?;
        end_of_data(self.writer)?;
        self.reader.verdict()?;
        Ok(())
    }
}

struct ReaderOfLetters(Reader);

impl Line for ReaderOfLetters {
    fn say(&mut self, message: &Message) -> Outcome<()> {
        Ok(self.0.post(0, message)?)
    }

    fn hear(&mut self) -> Outcome<Message> {
        message(&self.0.letter()?.ok_or("an early end")?.bytes)
    }

    fn end(self: Box<Self>) -> Outcome<()> {
        self.0.finish()?;
        Ok(())
    }
}

struct WriterOfLetters(Writer);

impl Line for WriterOfLetters {
    fn say(&mut self, message: &Message) -> Outcome<()> {
        Ok(self.0.post(0, message)?)
    }

    fn hear(&mut self) -> Outcome<Message> {
        message(&self.0.letter()?.ok_or("an early end")?.bytes)
    }

    fn end(self: Box<Self>) -> Outcome<()> {
        end_of_data(self.0)
    }
}

fn end_of_data(writer: Writer) -> Outcome<()> {
    if writer.data_block()?.is_some() {
        return Err("more than was to come".into());
    }
    writer.finish()?;
    Ok(())
}

struct ChildPipes {
    from: Stdin,
    to: Stdout,
}

impl Line for ChildPipes {
    fn say(&mut self, message: &Message) -> Outcome<()> {
        self.to.write_all(message)?;
        Ok(self.to.flush()?)
    }

    fn hear(&mut self) -> Outcome<Message> {
        hear_from(&mut self.from)
    }

    fn end(self: Box<Self>) -> Outcome<()> {
        Ok(())
    }
}

struct ParentPipes {
    from: ChildStdout,
    to: ChildStdin,
}

impl Line for ParentPipes {
    fn say(&mut self, message: &Message) -> Outcome<()> {
        Ok(self.to.write_all(message)?)
    }

    fn hear(&mut self) -> Outcome<Message> {
        hear_from(&mut self.from)
    }

    fn end(self: Box<Self>) -> Outcome<()> {
        Ok(())
    }
}

fn hear_from(from: &mut impl Read) -> Outcome<Message> {
    let mut message = [0; size_of::<Message>()];
    from.read_exact(&mut message)?;
    Ok(message)
}

struct Socket(socket::Stream);

impl Line for Socket {
    fn say(&mut self, message: &Message) -> Outcome<()> {
        Ok(self.0.write_all(message)?)
    }

    fn hear(&mut self) -> Outcome<Message> {
        hear_from(&mut self.0)
    }

    fn end(self: Box<Self>) -> Outcome<()> {
        Ok(())
    }
}

#[cfg(unix)]
pub mod socket {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    pub type Stream = UnixStream;

    pub fn accept(place: &str, spawn: impl FnOnce() -> Outcome<Child>) -> Outcome<(Stream, Child)> {
        let listener = UnixListener::bind(place)?;
        let child = spawn()?;
        let (stream, _) = listener.accept()?;
        std::fs::remove_file(place)?;
        Ok((stream, child))
    }

    pub fn connect(place: &str) -> Outcome<Stream> {
        Ok(UnixStream::connect(place)?)
    }
}

/// The standard library knows such sockets on Unix alone.
#[cfg(not(unix))]
pub mod socket {
    use super::*;

    /// None is ever made.
    pub type Stream = std::fs::File;

    pub fn accept(_: &str, _: impl FnOnce() -> Outcome<Child>) -> Outcome<(Stream, Child)> {
        Err("no Unix sockets here".into())
    }

    pub fn connect(_: &str) -> Outcome<Stream> {
        Err("no Unix sockets here".into())
    }
}
