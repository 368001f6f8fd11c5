//! The process that sends. It outlives its Writers.

use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use brigade::{EmptyBlock, Error, Label, Options, OwnedEmptyBlock, Reader, Role, Side, join};

use crate::content::{assert_intact, fill, lane_and_index, tag, take_any};
use crate::flat::Flat;
use crate::joining::{Opening, name, options, patiently};
use crate::ledger::{Drained, Sending, is_enough};
use crate::tally::{DRAINED, Tally, UNRETURNED};
use crate::{BATCH, BORROWED, LANES, Task, WORKERS};

/// Blocks that a worker keeps back when it sends, so that they leave in another order.
const KEPT: usize = 3;

pub(crate) fn run(task: &Task) {
    let mut flat = Flat::new("reader");
    let mut session = Session {
        task: task.clone(),
        opening: Opening::default(),
        resent: Vec::new(),
        next: [0; LANES],
    };
    let mut reader = match patiently(|| join(&name(task), &session.options())) {
        Role::Reader(reader) => reader,
        Role::Writer(_) => panic!("not the reader"),
    };
    Sending::begin(&task.directory);
    loop {
        flat.observe();
        match session.send_all(&reader) {
            Ok(()) => return,
            Err(Error::PartnerDied { .. }) => reader = session.survive(reader),
            Err(error) => panic!("{error}"),
        }
    }
}

struct Session {
    task: Task,
    opening: Opening,
    /// Tags of the blocks that were sent again.
    resent: Vec<u64>,
    /// The index of each lane's next block.
    next: [u64; LANES],
}

impl Session {
    fn options(&self) -> Options {
        options(&self.task, Side::Reader).greeting(&self.opening.to_bytes())
    }

    fn send_all(&mut self, reader: &Reader) -> Result<(), Error> {
        let directory = &self.task.directory;
        let [workers @ .., borrowed] = &mut self.next;
        let given_out = thread::scope(|scope| {
            let senders = workers.iter_mut().enumerate().map(|(lane, next)| {
                let (sender, receiver) = mpsc::channel();
                scope.spawn(move || send_owned(lane, next, receiver, directory));
                sender
            });
            // Dropped at the end, they end the workers.
            let senders: Vec<_> = senders.collect();
            give_out(reader, &senders, borrowed, directory)
        });
        given_out?;
        reader.finish()?;
        Ok(())
    }

    /// Accounts for what the dead Writer has left, and sends it to another one.
    fn survive(&mut self, reader: Reader) -> Reader {
        let mut tally = Tally::new(&self.opening, &self.resent, &self.next);
        let delivered = reader.delivered().blocks;
        let mut unreturned = reader.into_unreturned().unwrap();
        assert_eq!(unreturned.len() as u64, tally.sent() as u64 - delivered);
        // It may have said that no more comes just when that Writer died; it sends more to
        // the next one before it says so again.
        unreturned.reopen();
        self.resent.clear();
        for (label, bytes) in unreturned.iter() {
            assert_intact(bytes, label.tag, self.task.block_size);
            assert_eq!(usize::from(label.kind), lane_and_index(label.tag).0);
            tally.see(label.tag, UNRETURNED);
            self.resent.push(label.tag);
        }
        Drained::for_each(&self.task.directory, |tag| tally.see(tag, DRAINED));
        tally.assert_complete();
        self.opening = Opening {
            resent: self.resent.len() as u64,
            next: self.next,
        };
        patiently(|| unreturned.rejoin(&name(&self.task), &self.options()))
    }
}

/// Hands out empty blocks, to the workers and here by turns, until it is enough.
fn give_out(
    reader: &Reader,
    workers: &[Sender<Vec<OwnedEmptyBlock>>],
    next: &mut u64,
    directory: &Path,
) -> Result<(), Error> {
    let mut sending = Sending::open(directory);
    for worker in workers.iter().cycle() {
        let mut owned = Vec::new();
        for _ in 0..BATCH {
            owned.push(reader.empty_block()?.detach());
        }
        worker.send(owned).unwrap();
        let mut borrowed = Vec::new();
        for _ in 0..BATCH / WORKERS {
            borrowed.push(reader.empty_block()?);
        }
        sending.write(BORROWED, *next + borrowed.len() as u64);
        while let Some(block) = take_any(&mut borrowed, *next) {
            send_borrowed(block, *next);
            *next += 1;
        }
        sending.write(LANES, *next);
        if is_enough(directory) {
            break;
        }
    }
    Ok(())
}

fn send_borrowed(mut block: EmptyBlock<'_>, index: u64) {
    let tag = tag(BORROWED, index);
    let len = fill(&mut block, tag);
    block
        .send_as(len, Label::new(BORROWED as u16, tag))
        .unwrap();
}

/// A worker.
fn send_owned(
    lane: usize,
    next: &mut u64,
    batches: Receiver<Vec<OwnedEmptyBlock>>,
    directory: &Path,
) {
    let mut sending = Sending::open(directory);
    let mut held = Vec::new();
    let mut send = |held: &mut Vec<OwnedEmptyBlock>, kept: usize| {
        sending.write(lane, *next + held.len() as u64);
        while held.len() > kept
            && let Some(mut block) = take_any(held, *next)
        {
            let tag = tag(lane, *next);
            let len = fill(&mut block, tag);
            block.send_as(len, Label::new(lane as u16, tag)).unwrap();
            *next += 1;
        }
    };
    for batch in batches {
        held.extend(batch);
        send(&mut held, KEPT);
    }
    send(&mut held, 0);
}
