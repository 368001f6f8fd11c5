//! Detached blocks through the public interface: filled, sent, drained and dropped on any
//! thread, with or without the end that they came from.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

mod common;

use std::collections::BTreeSet;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use brigade::{
    EmptyBlock, Error, Interest, Label, Options, OwnedDataBlock, OwnedEmptyBlock, Reader, Role,
    Seat, Writer, join, wait_any,
};
use common::{LIMIT, bounded};

/// Long enough for another thread to have gone to sleep in a call.
const A_WHILE: Duration = Duration::from_millis(50);

fn pair(block_size: usize, block_count: usize) -> (Reader, Writer) {
    let directory = tempfile::tempdir().unwrap();
    let name = format!("{}/n", directory.path().display());
    let options = Options::new()
        .block_size(block_size)
        .block_count(block_count);
    let seat = Seat::take(&name, &options).unwrap();
    let host = thread::spawn(move || seat.wait().unwrap());
    let second = loop {
        match join(&name, &options) {
            // A busy machine may not have let the host run for half a second.
            Err(Error::TooManyInstances { .. }) => {}
            second => break second.unwrap(),
        }
    };
    match (host.join().unwrap(), second) {
        (Role::Reader(reader), Role::Writer(writer)) => (reader, writer),
        both => panic!("{both:?}"),
    }
}

/// What block `tag` holds: no two blocks are alike, and no two words of one.
fn fill(block: &mut [u8], tag: u64) {
    for (index, word) in block.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&(tag << 32 | index as u64).to_ne_bytes());
    }
}

fn check(block: &[u8], tag: u64) {
    for (index, word) in block.chunks_exact(8).enumerate() {
        let found = u64::from_ne_bytes(word.try_into().unwrap());
        assert_eq!(found, tag << 32 | index as u64);
    }
}

/// Drains everything on this thread and gives the verdict; the tags in order.
fn drain(writer: &Writer) -> Vec<u64> {
    let mut tags = Vec::new();
    while let Some(block) = writer.data_block().unwrap() {
        check(&block, block.tag());
        tags.push(block.tag());
    }
    writer.finish().unwrap();
    tags
}

/// A different wait for each thread and turn, so that blocks come home out of order.
fn dawdle(seed: u64) {
    // Whoever else is busy on the same processor may have it for milliseconds each time.
    let enough = Instant::now() + Duration::from_millis(1);
    for _ in 0..seed.wrapping_mul(2_654_435_761) % 97 {
        if Instant::now() > enough {
            break;
        }
        thread::yield_now();
    }
}

fn invalid_use<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    match result {
        Err(Error::InvalidUse(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn assert_any_thread_may_have<T: Send + Sync + 'static>() {}

#[test]
fn any_thread_may_have_a_detached_block() {
    assert_any_thread_may_have::<OwnedEmptyBlock>();
    assert_any_thread_may_have::<OwnedDataBlock>();
}

#[test]
fn four_threads_drain_out_of_order_and_every_block_is_given_back() {
    bounded(|| {
        const BLOCKS: u64 = 4_000;
        let (reader, writer) = pair(256, 16);
        let reading = thread::spawn(move || {
            for tag in 0..BLOCKS {
                let mut block = reader.empty_block().unwrap();
                fill(&mut block, tag);
                block.send(256, tag).unwrap();
            }
            reader.finish().unwrap()
        });
        let (hand, work) = mpsc::channel::<OwnedDataBlock>();
        let work = Arc::new(Mutex::new(work));
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let work = Arc::clone(&work);
                thread::spawn(move || {
                    let mut seen = Vec::new();
                    loop {
                        let next = work.lock().unwrap().recv();
                        let Ok(block) = next else {
                            return seen;
                        };
                        dawdle(block.tag());
                        check(&block, block.tag());
                        seen.push(block.tag());
                    }
                })
            })
            .collect();
        while let Some(block) = writer.data_block().unwrap() {
            hand.send(block.detach()).unwrap();
        }
        drop(hand);
        let seen = workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap());
        let seen: BTreeSet<u64> = seen.collect();
        assert!(seen.into_iter().eq(0..BLOCKS));
        let given_back = writer.finish().unwrap();
        assert_eq!(
            (given_back.blocks, given_back.bytes),
            (BLOCKS, BLOCKS * 256)
        );
        assert_eq!(reading.join().unwrap(), given_back);
    });
}

#[test]
fn four_threads_fill_and_what_each_sends_arrives_whole_and_in_its_order() {
    bounded(|| {
        const EACH: u64 = 1_000;
        let (reader, writer) = pair(128, 8);
        let draining = thread::spawn(move || drain(&writer));
        let (ask, asked) = mpsc::channel::<mpsc::Sender<OwnedEmptyBlock>>();
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                let ask = ask.clone();
                thread::spawn(move || {
                    let (give, get) = mpsc::channel();
                    for index in 0..EACH {
                        ask.send(give.clone()).unwrap();
                        let mut block: OwnedEmptyBlock = get.recv().unwrap();
                        dawdle(index + worker);
                        let tag = worker << 16 | index;
                        fill(&mut block, tag);
                        block.send(128, tag).unwrap();
                    }
                })
            })
            .collect();
        drop(ask);
        while let Ok(give) = asked.recv() {
            give.send(reader.empty_block().unwrap().detach()).unwrap();
        }
        for worker in workers {
            worker.join().unwrap();
        }
        let delivered = reader.finish().unwrap();
        assert_eq!(delivered.blocks, 4 * EACH);
        let tags = draining.join().unwrap();
        assert_eq!(tags.len() as u64, 4 * EACH);
        for worker in 0..4 {
            let its = tags.iter().filter(|tag| *tag >> 16 == worker);
            assert!(its.map(|tag| tag & 0xffff).eq(0..EACH));
        }
    });
}

#[test]
fn an_end_that_sleeps_is_woken_by_a_block_that_comes_home() {
    bounded(|| {
        let (reader, writer) = pair(64, 1);
        // Put back unsent: the Reader waits for it.
        let block = reader.empty_block().unwrap().detach();
        let worker = thread::spawn(move || {
            thread::sleep(A_WHILE);
            drop(block);
        });
        let mut block = reader.empty_block().unwrap().detach();
        worker.join().unwrap();
        // Sent: the Reader waits for the same block, and passes it on meanwhile.
        let writing = thread::spawn(move || {
            let block = writer.data_block().unwrap().unwrap().detach();
            check(&block, 7);
            // Given back while the Writer waits for more.
            let worker = thread::spawn(move || {
                thread::sleep(A_WHILE);
                drop(block);
            });
            let rest = drain(&writer);
            worker.join().unwrap();
            rest
        });
        let worker = thread::spawn(move || {
            thread::sleep(A_WHILE);
            fill(&mut block, 7);
            block.send(64, 7).unwrap();
        });
        let mut last = reader.empty_block().unwrap();
        worker.join().unwrap();
        fill(&mut last, 8);
        last.send(64, 8).unwrap();
        assert_eq!(reader.finish().unwrap().blocks, 2);
        assert_eq!(writing.join().unwrap(), [8]);
    });
}

#[test]
fn an_end_that_waits_for_a_letter_passes_on_what_other_threads_send() {
    bounded(|| {
        let (reader, writer) = pair(64, 2);
        let mut block = reader.empty_block().unwrap().detach();
        let worker = thread::spawn(move || {
            thread::sleep(A_WHILE);
            fill(&mut block, 3);
            block.send(64, 3).unwrap();
        });
        let writing = thread::spawn(move || {
            // The letter comes only after the block.
            let tag = writer.data_block().unwrap().unwrap().tag();
            writer.post(1, b"got it").unwrap();
            assert!(drain(&writer).is_empty());
            tag
        });
        let letter = reader.letter().unwrap().unwrap();
        assert_eq!(letter.bytes, b"got it");
        worker.join().unwrap();
        reader.finish().unwrap();
        assert_eq!(writing.join().unwrap(), 3);
    });
}

#[test]
fn an_end_that_waits_in_parts_is_woken_by_a_block_that_comes_home() {
    bounded(|| {
        let (reader, writer) = pair(64, 1);
        for _ in 0..20 {
            let block = reader.empty_block().unwrap().detach();
            let worker = thread::spawn(move || {
                dawdle(3);
                drop(block);
            });
            let ends: [(&dyn brigade::Waitable, Interest); 1] = [(&reader, Interest::BLOCKS)];
            assert_eq!(wait_any(&ends, None).unwrap(), [0]);
            worker.join().unwrap();
        }
        // What is sent meanwhile is passed on, and whoever looks again finds no block.
        let mut block = reader.empty_block().unwrap().detach();
        assert!(reader.arm(Interest::BLOCKS).unwrap());
        let worker = thread::spawn(move || {
            fill(&mut block, 2);
            block.send(64, 2).unwrap();
        });
        worker.join().unwrap();
        reader.disarm().unwrap();
        let writing = thread::spawn(move || drain(&writer));
        drop(reader.empty_block().unwrap());
        reader.finish().unwrap();
        assert_eq!(writing.join().unwrap(), [2]);
    });
}

#[test]
fn what_was_sent_is_passed_on_by_who_brings_it_home_and_without_a_wait() {
    bounded(|| {
        let (reader, writer) = pair(8, 2);
        let block = reader.look_for_empty_block().unwrap().unwrap().detach();
        block.send(8, 7).unwrap();
        assert!(writer.look_for_data_block().unwrap().is_none());
        reader.pass_on();
        let block = writer.look_for_data_block().unwrap().unwrap().detach();
        assert_eq!((block.tag(), block.len()), (7, 8));
        drop(block);
        assert_eq!(reader.delivered().blocks, 0);
        writer.pass_on();
        assert_eq!(reader.delivered().blocks, 1);
    });
}

#[test]
fn sessions_of_one_block_pass_it_from_thread_to_thread_without_a_lost_wake() {
    bounded(|| {
        let (reader, writer) = pair(8, 1);
        let (to_fill, filling) = mpsc::channel::<(OwnedEmptyBlock, u64)>();
        let filler = thread::spawn(move || {
            for (mut block, tag) in filling {
                fill(&mut block, tag);
                block.send(8, tag).unwrap();
            }
        });
        let writing = thread::spawn(move || {
            let (to_drain, draining) = mpsc::channel::<OwnedDataBlock>();
            let drainer = thread::spawn(move || {
                for block in draining {
                    check(&block, block.tag());
                }
            });
            while let Some(block) = writer.data_block().unwrap() {
                to_drain.send(block.detach()).unwrap();
            }
            drop(to_drain);
            drainer.join().unwrap();
            writer.finish().unwrap()
        });
        for tag in 0..2_000 {
            let block = reader.empty_block().unwrap();
            to_fill.send((block.detach(), tag)).unwrap();
        }
        drop(to_fill);
        filler.join().unwrap();
        assert_eq!(reader.finish().unwrap().blocks, 2_000);
        assert_eq!(writing.join().unwrap().blocks, 2_000);
    });
}

#[test]
fn a_detached_block_outlives_its_moved_and_dropped_end_and_then_cannot_be_sent() {
    bounded(|| {
        let (reader, writer) = pair(64, 2);
        let mut to_fill = reader.empty_block().unwrap().detach();
        let mut block = reader.empty_block().unwrap();
        fill(&mut block, 5);
        block.send(64, 5).unwrap();
        let drained = writer.data_block().unwrap().unwrap().detach();
        // Moved, box and all, to another thread, and dropped there.
        let ends = Box::new((reader, writer));
        thread::spawn(move || drop(ends)).join().unwrap();
        assert_eq!((drained.tag(), drained.len()), (5, 64));
        check(&drained, 5);
        fill(&mut to_fill, 6);
        check(&to_fill, 6);
        let why = invalid_use(to_fill.send(64, 6));
        assert_eq!(why, "a block sent when its Reader was no more");
        drop(drained);
    });
}

#[test]
fn a_block_sent_between_two_writers_is_refused_and_is_not_among_what_is_sent_again() {
    bounded(|| {
        let (reader, writer) = pair(64, 2);
        let [mut early, mut late] = [(); 2].map(|()| reader.empty_block().unwrap().detach());
        fill(&mut early, 1);
        early.send(64, 1).unwrap();
        drop(writer);
        let unreturned = reader.into_unreturned().unwrap();
        fill(&mut late, 2);
        let why = invalid_use(late.send(64, 2));
        assert!(why.contains("between two Writers"), "{why}");
        let tags: Vec<_> = unreturned.iter().map(|(label, _)| label.tag).collect();
        assert_eq!(tags, [1]);
    });
}

#[test]
fn a_block_sent_after_the_end_of_the_data_is_refused_and_nothing_is_published() {
    bounded(|| {
        let (reader, writer) = pair(64, 3);
        let [late, unsent, mut early] = [(); 3].map(|()| reader.empty_block().unwrap().detach());
        fill(&mut early, 1);
        early.send(64, 1).unwrap();
        reader.close().unwrap();
        let why = invalid_use(late.send(64, 2));
        assert_eq!(
            why,
            "a block sent after the end of the data, or between two Writers"
        );
        drop(unsent);
        // The block is not lost; and one that is detached only now is refused likewise.
        for _ in 0..2 {
            let block = reader.empty_block().unwrap().detach();
            invalid_use(block.send(64, 3));
        }
        let writing = thread::spawn(move || drain(&writer));
        assert_eq!(reader.verdict().unwrap().blocks, 1);
        assert_eq!(writing.join().unwrap(), [1]);
    });
}

#[test]
fn the_first_block_to_be_detached_after_the_end_of_the_data_cannot_be_sent() {
    bounded(|| {
        let (reader, writer) = pair(64, 1);
        reader.close().unwrap();
        invalid_use(reader.empty_block().unwrap().detach().send(64, 0));
        assert!(drain(&writer).is_empty());
        reader.verdict().unwrap();
    });
}

#[test]
fn of_blocks_sent_while_the_reader_closes_exactly_those_arrive_whose_sending_succeeded() {
    bounded(|| {
        for round in 0..100 {
            let (reader, writer) = pair(8, 8);
            let start = Arc::new(Barrier::new(5));
            let senders: Vec<_> = (0..4)
                .map(|sender| {
                    let mut blocks = [(); 2].map(|()| Some(reader.empty_block().unwrap().detach()));
                    let start = Arc::clone(&start);
                    thread::spawn(move || {
                        start.wait();
                        let mut sent = Vec::new();
                        for (index, block) in blocks.iter_mut().enumerate() {
                            let tag = sender * 2 + index as u64;
                            let mut block = block.take().unwrap();
                            fill(&mut block, tag);
                            if block.send(8, tag).is_ok() {
                                sent.push(tag);
                            }
                        }
                        sent
                    })
                })
                .collect();
            start.wait();
            dawdle(round);
            reader.close().unwrap();
            let arrived: BTreeSet<u64> = drain(&writer).into_iter().collect();
            let sent = senders
                .into_iter()
                .flat_map(|sender| sender.join().unwrap());
            let sent: BTreeSet<u64> = sent.collect();
            assert_eq!(arrived, sent);
            assert_eq!(reader.verdict().unwrap().blocks, sent.len() as u64);
        }
    });
}

#[test]
fn eight_threads_read_one_block_while_others_pass() {
    bounded(|| {
        let (reader, writer) = pair(4096, 4);
        let reading = thread::spawn(move || {
            for tag in 0..500 {
                let mut block = reader.empty_block().unwrap();
                fill(&mut block, tag);
                block.send(4096, tag).unwrap();
            }
            reader.finish().unwrap()
        });
        let kept = Arc::new(writer.data_block().unwrap().unwrap().detach());
        let stop = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (kept, stop) = (Arc::clone(&kept), Arc::clone(&stop));
                thread::spawn(move || {
                    let mut looks = 0_u64;
                    while looks == 0 || !stop.load(Ordering::Relaxed) {
                        check(&kept, 0);
                        looks += 1;
                        thread::yield_now();
                    }
                })
            })
            .collect();
        let mut next = 1;
        while let Some(block) = writer.data_block().unwrap() {
            check(&block, next);
            next += 1;
        }
        stop.store(true, Ordering::Relaxed);
        // The last of the nine drops it, on whichever thread that is.
        drop(kept);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(writer.finish().unwrap().blocks, 500);
        assert_eq!(reading.join().unwrap().bytes, 500 * 4096);
    });
}

#[test]
fn a_thread_that_panics_gives_its_block_back_unsent() {
    bounded(|| {
        let (reader, writer) = pair(64, 1);
        let block = reader.empty_block().unwrap().detach();
        let worker = thread::spawn(move || {
            let _block = block;
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        let mut block = reader.empty_block().unwrap();
        assert!(worker.join().is_err());
        fill(&mut block, 1);
        block.send(64, 1).unwrap();
        let writing = thread::spawn(move || {
            let block = writer.data_block().unwrap().unwrap().detach();
            let worker = thread::spawn(move || {
                let _block = block;
                std::panic::resume_unwind(Box::new("on purpose"));
            });
            assert!(worker.join().is_err());
            drain(&writer)
        });
        assert_eq!(reader.finish().unwrap().blocks, 1);
        assert!(writing.join().unwrap().is_empty());
    });
}

#[test]
fn forgotten_blocks_are_never_given_out_again_and_the_reader_ends_all_the_same() {
    bounded(|| {
        let (reader, writer) = pair(64, 3);
        std::mem::forget(reader.empty_block().unwrap().detach());
        let kept = ManuallyDrop::new(reader.empty_block().unwrap().detach());
        let writing = thread::spawn(move || drain(&writer));
        let kept_at = kept.as_ptr();
        for tag in 0..10 {
            let mut block = reader.empty_block().unwrap();
            assert_ne!(block.as_ptr(), kept_at);
            fill(&mut block, tag);
            block.send(64, tag).unwrap();
        }
        assert_eq!(reader.finish().unwrap().blocks, 10);
        assert!(writing.join().unwrap().into_iter().eq(0..10));
    });
}

#[test]
fn the_verdict_says_how_many_blocks_were_never_given_back_detached_or_not() {
    bounded(|| {
        let (reader, writer) = pair(64, 4);
        for tag in 0..4 {
            let mut block = reader.empty_block().unwrap();
            fill(&mut block, tag);
            block.send(64, tag).unwrap();
        }
        reader.close().unwrap();
        let next = || writer.data_block().unwrap().unwrap();
        let on_time = next().detach();
        std::mem::forget(next().detach());
        std::mem::forget(next());
        let held = next().detach();
        assert!(writer.data_block().unwrap().is_none());
        thread::spawn(move || drop(on_time)).join().unwrap();
        let error = writer.finish().unwrap_err();
        assert!(
            matches!(error, Error::NotGivenBack { blocks: 3 }),
            "{error:?}"
        );
        assert_eq!(
            error.to_string(),
            "not all blocks were given back: 3 missing"
        );
        check(&held, 3);
        let Err(Error::PartnerAborted { reason, .. }) = reader.verdict() else {
            panic!("a verdict without all blocks");
        };
        assert_eq!(reason, format!("no verdict: {error}"));
    });
}

#[test]
fn blocks_of_two_sessions_each_come_home_to_their_own() {
    bounded(|| {
        let pairs = [pair(64, 1), pair(64, 1)];
        let blocks = pairs.each_ref().map(|(reader, _)| {
            let block: EmptyBlock<'_> = reader.empty_block().unwrap();
            block.detach()
        });
        let worker = thread::spawn(move || {
            for (tag, mut block) in blocks.into_iter().enumerate().rev() {
                fill(&mut block, tag as u64);
                block.send(64, tag as u64).unwrap();
            }
        });
        worker.join().unwrap();
        for (tag, (reader, writer)) in pairs.into_iter().enumerate() {
            reader.close().unwrap();
            assert_eq!(drain(&writer), [tag as u64]);
            assert_eq!(reader.verdict().unwrap().blocks, 1);
        }
    });
}

#[test]
fn a_detached_block_is_sent_with_a_length_within_it_and_all_of_its_label() {
    bounded(|| {
        let (reader, writer) = pair(64, 1);
        let too_long = reader.empty_block().unwrap().detach();
        invalid_use(too_long.send(65, 0));
        let mut block = reader.empty_block().unwrap().detach();
        fill(&mut block, u64::from(u32::MAX));
        let label = Label {
            kind: u16::MAX,
            tag: u64::from(u32::MAX),
            more: true,
        };
        block.send_as(40, label).unwrap();
        reader.close().unwrap();
        let block = writer.data_block().unwrap().unwrap().detach();
        assert_eq!((block.len(), block.label()), (40, label));
        check(&block, block.tag());
        block.done();
        assert!(drain(&writer).is_empty());
        assert_eq!(reader.verdict().unwrap().bytes, 40);
    });
}

#[test]
fn what_other_threads_sent_is_among_what_was_not_given_back() {
    bounded(|| {
        let (reader, writer) = pair(64, 4);
        let mut blocks = [(); 3].map(|()| reader.empty_block().unwrap().detach());
        for (tag, block) in blocks.iter_mut().enumerate() {
            fill(block, tag as u64);
        }
        let [zero, one, late] = blocks;
        thread::spawn(move || {
            one.send(64, 1).unwrap();
            zero.send(64, 0).unwrap();
        })
        .join()
        .unwrap();
        drop(writer);
        let unreturned = reader.into_unreturned().unwrap();
        let tags = unreturned.iter().map(|(label, bytes)| {
            check(bytes, label.tag);
            label.tag
        });
        assert!(tags.eq([1, 0]));
        invalid_use(late.send(64, 2));
        assert_eq!(unreturned.len(), 2);
    });
}

#[test]
fn what_was_sent_before_the_reader_gave_up_arrives() {
    bounded(|| {
        let (reader, writer) = pair(64, 1);
        let mut block = reader.empty_block().unwrap().detach();
        fill(&mut block, 9);
        let worker = thread::spawn(move || block.send(64, 9).unwrap());
        worker.join().unwrap();
        drop(reader);
        let deadline = Instant::now() + LIMIT;
        let block = writer.data_block_until(deadline).unwrap().unwrap();
        check(&block, 9);
        drop(block);
        assert!(matches!(
            writer.data_block(),
            Err(Error::PartnerAborted { .. })
        ));
    });
}

#[test]
fn what_is_sent_after_the_reader_gave_up_does_not_arrive() {
    bounded(|| {
        let (reader, writer) = pair(64, 1);
        let block = reader.empty_block().unwrap().detach();
        reader.monitor().abort("enough");
        // Whoever has the block need not know yet.
        let _ = block.send(64, 9);
        reader.pass_on();
        assert!(matches!(
            writer.data_block(),
            Err(Error::PartnerAborted { .. })
        ));
    });
}

#[test]
fn a_block_that_was_lent_by_its_number_is_there_once_and_counts_as_held() {
    bounded(|| {
        let (reader, writer) = pair(8, 2);
        let numbers = [0, 1].map(|_| reader.empty_block().unwrap().lend());
        assert!(reader.try_empty_block().unwrap().is_none());
        assert!(reader.lent(2).is_none());
        drop(reader.lent(numbers[0]).unwrap());
        assert!(reader.lent(numbers[0]).is_none());
        // A token is not lent, and what cannot be sent stays lent.
        let block = reader.empty_block().unwrap();
        assert!(reader.lent(numbers[0]).is_none());
        assert!(!reader.send_lent(numbers[0], 1, Label::new(0, 0)));
        assert!(!reader.send_lent(numbers[1], 9, Label::new(0, 0)));
        assert!(reader.send_lent(numbers[1], 3, Label::new(7, 8)));
        assert!(!reader.send_lent(numbers[1], 3, Label::new(7, 8)));
        block.send(8, 9).unwrap();
        reader.close().unwrap();

        let numbers = [0, 1].map(|_| writer.data_block().unwrap().unwrap().lend());
        assert!(writer.data_block().unwrap().is_none());
        let block = writer.lent(numbers[0]).unwrap();
        assert_eq!((block.len(), block.label()), (3, Label::new(7, 8)));
        assert!(writer.lent(numbers[0]).is_none());
        drop(block);
        let error = writer.finish().unwrap_err();
        assert!(
            matches!(error, Error::NotGivenBack { blocks: 1 }),
            "{error}"
        );
    });
}

#[test]
fn a_block_is_at_hand_only_if_no_detached_one_may_have_come_home() {
    bounded(|| {
        let (reader, writer) = pair(8, 1);
        // The first look finds what is there, and what is at hand was looked for.
        let block = reader.empty_block().unwrap();
        assert!(reader.empty_block_at_hand().is_none());
        let detached = block.detach();
        assert!(reader.empty_block_at_hand().is_none());
        detached.send(1, 0).unwrap();
        assert!(reader.try_empty_block().unwrap().is_none());
        let detached = writer.data_block().unwrap().unwrap().detach();
        assert!(writer.data_block_at_hand().is_none());
        drop(detached);
        assert!(writer.try_data_block().unwrap().is_none());
        reader.empty_block().unwrap().send(1, 1).unwrap();
        assert_eq!(writer.data_block().unwrap().unwrap().tag(), 1);
    });
}
