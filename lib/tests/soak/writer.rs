//! The process that drains. It outlives its Readers.

use std::ops::Deref;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use brigade::{Error, Label, OwnedDataBlock, Role, Side, Writer, join};

use crate::content::{assert_intact, lane_and_index, scramble, take_any};
use crate::flat::Flat;
use crate::joining::{Opening, name, options, patiently};
use crate::ledger::{Drained, Progress, ProgressFile, Sending};
use crate::{BATCH, BORROWED, LANES, Task, WORKERS};

pub(crate) fn run(task: &Task) {
    let mut flat = Flat::new("writer");
    let mut next = pair(task);
    loop {
        let writer = next;
        note_pair(task, writer.epoch());
        let drained = Drained::begin(&task.directory);
        flat.observe();
        let mut arrivals = Arrivals::new(Opening::from_bytes(writer.partner().greeting()));
        match drain_all(&writer, task, &drained, &mut arrivals) {
            Ok(()) => {
                let delivered = writer.finish().unwrap();
                assert_eq!(delivered.blocks, arrivals.count);
                return;
            }
            Err(Error::PartnerDied { .. }) => arrivals.assert_all_came(&task.directory),
            Err(error) => panic!("{error}"),
        }
        next = match task.takeover {
            true => survive(writer, task),
            false => {
                drop(writer);
                pair(task)
            }
        };
    }
}

/// Goes on with another Reader.
fn survive(writer: Writer, task: &Task) -> Writer {
    let mut survivor = writer.into_survivor().unwrap();
    let options = options(task, Side::Writer);
    patiently(|| survivor.rejoin(&name(task), &options))
}

/// Where the dead are replaced, all are in one session: each pair has a higher number than
/// those before.
fn note_pair(task: &Task, epoch: u64) {
    let before = Progress::read_epoch(&task.directory);
    match task.takeover {
        true => assert!(epoch > before, "{epoch} after {before}"),
        false => assert!(epoch >= 1),
    }
    Progress::write_epoch(&task.directory, epoch);
}

fn pair(task: &Task) -> Writer {
    let options = options(task, Side::Writer);
    match patiently(|| join(&name(task), &options)) {
        Role::Writer(writer) => writer,
        Role::Reader(_) => panic!("not the writer"),
    }
}

/// In what order blocks have come.
struct Arrivals {
    count: u64,
    /// How many are still to be sent again.
    resent: u64,
    /// Of each lane, the least index that can still be sent again...
    least: [u64; LANES],
    /// ...and the index of the next that is new.
    next: [u64; LANES],
}

impl Arrivals {
    fn new(opening: Opening) -> Arrivals {
        Arrivals {
            count: 0,
            resent: opening.resent,
            least: [0; LANES],
            next: opening.next,
        }
    }

    fn arrived(&mut self, label: Label) {
        let (lane, index) = lane_and_index(label.tag);
        assert_eq!(usize::from(label.kind), lane);
        self.count += 1;
        let (least, next) = (&mut self.least[lane], &mut self.next[lane]);
        if self.resent > 0 {
            self.resent -= 1;
            assert!((*least..*next).contains(&index), "{label:?} sent again");
            *least = index + 1;
        } else {
            assert_eq!(index, *next, "next of lane {lane}");
            *next += 1;
        }
    }

    /// Of a Reader that has died: all that it has sent, and no more.
    fn assert_all_came(&self, directory: &Path) {
        let sent = Sending::read(directory);
        for (came, most) in self.next.iter().zip(sent) {
            assert!(*came <= most, "{came} came, and {most} were sent");
        }
        let (came, least) = (self.next[BORROWED], sent[LANES]);
        assert!(came >= least, "{came} came, and {least} were sent");
    }
}

/// Takes all blocks, and has them drained by the workers and here, by chance. Whatever ends
/// it, all are drained then.
fn drain_all(
    writer: &Writer,
    task: &Task,
    drained: &Drained,
    arrivals: &mut Arrivals,
) -> Result<(), Error> {
    let mut progress = ProgressFile::go_on(&task.directory);
    let ended = thread::scope(|scope| {
        let senders = (0..WORKERS).map(|_| {
            let (sender, receiver) = mpsc::channel();
            scope.spawn(move || drain_owned(receiver, task, drained));
            sender
        });
        // Dropped at the end, they end the workers.
        let senders: Vec<_> = senders.collect();
        hand_on(writer, &senders, task, drained, |label, len| {
            arrivals.arrived(label);
            progress.count(len);
        })
    });
    progress.write();
    ended
}

fn hand_on(
    writer: &Writer,
    workers: &[Sender<Vec<OwnedDataBlock>>],
    task: &Task,
    drained: &Drained,
    mut arrived: impl FnMut(Label, usize),
) -> Result<(), Error> {
    let mut owned = Vec::new();
    let mut borrowed = Vec::new();
    let mut workers = workers.iter().cycle();
    let ended = loop {
        let block = match writer.data_block() {
            Ok(Some(block)) => block,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        arrived(block.label(), block.len());
        match scramble(block.tag() + 1).is_multiple_of(LANES as u64) {
            true => borrowed.push((block.tag(), block)),
            false => owned.push(block.detach()),
        }
        if borrowed.len() == BATCH {
            drain(&mut borrowed, drained, task);
        }
        if owned.len() == BATCH
            && let Some(worker) = workers.next()
        {
            worker.send(std::mem::take(&mut owned)).unwrap();
        }
    };
    drain(&mut borrowed, drained, task);
    if let Some(worker) = workers.next() {
        worker.send(owned).unwrap();
    }
    ended
}

/// A worker.
fn drain_owned(batches: Receiver<Vec<OwnedDataBlock>>, task: &Task, drained: &Drained) {
    for batch in batches {
        let mut blocks = batch
            .into_iter()
            .map(|block| (block.tag(), block))
            .collect();
        drain(&mut blocks, drained, task);
    }
}

/// Checks blocks, writes down that they were drained, and gives them back in any order.
fn drain<B: Deref<Target = [u8]>>(blocks: &mut Vec<(u64, B)>, drained: &Drained, task: &Task) {
    for (tag, block) in blocks.iter() {
        assert_intact(block, *tag, task.block_size);
    }
    drained.write(blocks.iter().map(|(tag, _)| *tag));
    while let Some((_, block)) = take_any(blocks, blocks.len() as u64) {
        drop(block);
    }
}
