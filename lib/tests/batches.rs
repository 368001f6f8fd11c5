//! Blocks that are passed on several at a time, through the public interface.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

mod common;

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Instant;

use brigade::{Delivered, Error, Interest, Reader, SendBatch, Writer, wait_any};
use common::{LIMIT, bounded, drain, pair, partner_aborted, send, soon};

/// Sends `tag`, as a block of eight bytes, with `batch`.
fn add(batch: &SendBatch<'_>, tag: u64) {
    let deadline = Instant::now() + LIMIT;
    let mut block = batch.empty_block_until(deadline).unwrap();
    block[..8].copy_from_slice(&tag.to_le_bytes());
    block.send(8, tag).unwrap();
}

/// The tags of what is there now.
fn there(writer: &Writer) -> Vec<u64> {
    let mut tags = Vec::new();
    while let Some(block) = writer.try_data_block().unwrap() {
        assert_eq!(*block, block.tag().to_le_bytes());
        tags.push(block.tag());
    }
    tags
}

/// How many blocks are empty now.
fn count_empty(reader: &Reader) -> usize {
    let mut held = Vec::new();
    while let Some(block) = reader.try_empty_block().unwrap() {
        held.push(block);
    }
    held.len()
}

#[test]
fn what_is_sent_arrives_when_the_batch_is_full_and_in_order() {
    bounded(|| {
        let (reader, writer) = pair(8, 8);
        let batch = reader.batch(3);
        for first in [0, 3] {
            for tag in first..first + 2 {
                add(&batch, tag);
                assert_eq!(there(&writer), []);
            }
            add(&batch, first + 2);
            assert_eq!(there(&writer), [first, first + 1, first + 2]);
        }
        add(&batch, 6);
        drop(batch);
        assert_eq!(there(&writer), [6]);
    });
}

#[test]
fn a_batch_of_none_or_one_keeps_nothing_back() {
    bounded(|| {
        let (reader, writer) = pair(8, 4);
        for most in [0, 1] {
            let (sending, receiving) = (reader.batch(most), writer.batch(most));
            for tag in 0..9 {
                add(&sending, tag);
                let block = receiving.try_data_block().unwrap().unwrap();
                assert_eq!(block.tag(), tag);
                drop(block);
                assert_eq!(reader.delivered().blocks % 9, (tag + 1) % 9);
            }
        }
    });
}

type ReadersWay = fn(&Reader, SendBatch<'_>);
type WritersWay = fn(&Writer);

/// Each way in which a Reader lets go of what its batch has kept, given 2 of 4 blocks.
const READERS_WAYS: [(&str, ReadersWay); 12] = [
    ("drop", |_, batch| drop(batch)),
    ("pass on", |_, batch| batch.pass_on()),
    ("the reader's own", |reader, _| reader.pass_on()),
    ("wait in vain", |_, batch| {
        let _held = [(); 2].map(|()| batch.empty_block().unwrap());
        let waited = batch.empty_block_until(soon()).map(drop);
        assert!(matches!(waited, Err(Error::TimedOut)), "{waited:?}");
    }),
    ("look in vain", |_, batch| {
        let _held = [(); 2].map(|()| batch.empty_block().unwrap());
        assert!(batch.try_empty_block().unwrap().is_none());
    }),
    ("wait for a letter", |reader, _| {
        assert!(matches!(reader.letter_until(soon()), Err(Error::TimedOut)));
    }),
    ("look for a letter", |reader, _| {
        assert!(reader.try_letter().unwrap().is_none());
    }),
    ("arm", |reader, _| {
        reader.arm(Interest::LETTERS).unwrap();
        reader.disarm().unwrap();
    }),
    ("wait for any", |reader, _| {
        let ends: [(&dyn brigade::Waitable, _); 1] = [(reader, Interest::LETTERS)];
        assert!(wait_any(&ends, Some(soon())).unwrap().is_empty());
    }),
    ("forget, and send", |reader, batch| {
        mem::forget(batch);
        send(reader, &2u64.to_le_bytes(), 2);
    }),
    ("send beside it", |reader, batch| {
        send(reader, &2u64.to_le_bytes(), 2);
        mem::forget(batch);
    }),
    ("forget, and close", |reader, batch| {
        mem::forget(batch);
        reader.close().unwrap();
    }),
];

#[test]
fn whatever_a_reader_does_that_may_take_time_lets_go_of_what_was_kept_back() {
    bounded(|| {
        for (way, act) in READERS_WAYS {
            let (reader, writer) = pair(8, 4);
            let batch = reader.batch(100);
            add(&batch, 0);
            add(&batch, 1);
            assert_eq!(there(&writer), []);
            act(&reader, batch);
            assert_eq!(there(&writer)[..2], [0, 1], "{way}");
        }
    });
}

#[test]
fn whatever_a_writer_does_that_may_take_time_gives_back_what_was_kept() {
    let ways: [(&str, WritersWay); 6] = [
        ("pass on", |writer| writer.pass_on()),
        ("wait in vain", |writer| {
            assert!(matches!(
                writer.data_block_until(soon()),
                Err(Error::TimedOut)
            ));
        }),
        ("look in vain", |writer| {
            assert!(writer.try_data_block().unwrap().is_none());
        }),
        ("wait for a letter", |writer| {
            assert!(matches!(writer.letter_until(soon()), Err(Error::TimedOut)));
        }),
        ("arm", |writer| {
            writer.arm(Interest::BLOCKS).unwrap();
            writer.disarm().unwrap();
        }),
        ("wait for any", |writer| {
            let ends: [(&dyn brigade::Waitable, _); 1] = [(writer, Interest::BLOCKS)];
            assert!(wait_any(&ends, Some(soon())).unwrap().is_empty());
        }),
    ];
    bounded(move || {
        for (way, act) in ways {
            let (reader, writer) = pair(8, 4);
            for tag in 0..3 {
                send(&reader, &[1; 8][..tag as usize + 1], tag);
            }
            let batch = writer.batch(100);
            for _ in 0..3 {
                drop(batch.data_block().unwrap());
            }
            assert_eq!(reader.delivered(), Delivered::default());
            assert_eq!(writer.delivered(), Delivered::default());
            assert_eq!(count_empty(&reader), 1);
            act(&writer);
            let all = Delivered {
                blocks: 3,
                bytes: 6,
            };
            assert_eq!(reader.delivered(), all, "{way}");
            assert_eq!(writer.delivered(), all, "{way}");
            assert_eq!(count_empty(&reader), 4, "{way}");
            drop(batch);
            assert_eq!(reader.delivered(), all, "{way}");
        }
    });
}

#[test]
fn a_full_or_dropped_batch_of_a_writer_is_given_back() {
    bounded(|| {
        let (reader, writer) = pair(8, 4);
        for tag in 0..3 {
            send(&reader, &[1; 8], tag);
        }
        let batch = writer.batch(2);
        for given_back in [0, 2, 2] {
            drop(batch.data_block().unwrap());
            assert_eq!(reader.delivered().blocks, given_back);
        }
        drop(batch);
        assert_eq!(reader.delivered().blocks, 3);
    });
}

#[test]
fn batches_larger_than_the_pool_neither_lose_a_block_nor_wait_for_each_other() {
    for (size, blocks, sent, received) in [
        (8, 1, 100, 100),
        (8, 2, 3, 100),
        (64, 3, 100, 2),
        (64, 128, 32, 32),
        (64, 128, 1000, 1000),
        (72, 128, 32, 1),
        (5000, 4, 1, 7),
    ] {
        bounded(move || {
            // Through a small pool, each few take a turn of the processor, which others share.
            let count = 10_000.min(1000 * blocks as u64);
            let (reader, writer) = pair(size, blocks);
            let filling = thread::spawn(move || {
                let batch = reader.batch(sent);
                for tag in 0..count {
                    add(&batch, tag);
                }
                // Closed with some of it kept back.
                let delivered = reader.finish_until(Instant::now() + LIMIT).unwrap();
                assert_eq!((delivered.blocks, delivered.bytes), (count, 8 * count));
            });
            let batch = writer.batch(received);
            let deadline = Instant::now() + LIMIT;
            for tag in 0..count {
                let block = batch.data_block_until(deadline).unwrap().unwrap();
                assert_eq!((block.tag(), &*block), (tag, &tag.to_le_bytes()[..]));
            }
            assert!(batch.data_block_until(deadline).unwrap().is_none());
            writer.finish().unwrap();
            drop(batch);
            filling.join().unwrap();
        });
    }
}

#[test]
fn blocks_held_together_are_sent_and_given_back_in_any_order() {
    bounded(|| {
        let (reader, writer) = pair(8, 4);
        let batch = reader.batch(4);
        let mut held: Vec<_> = (0..4).map(|_| batch.empty_block().unwrap()).collect();
        for (tag, at) in [2, 0, 1].into_iter().enumerate() {
            let mut block = held.remove(at);
            block.copy_from_slice(&tag.to_le_bytes());
            block.send(8, tag as u64).unwrap();
        }
        // Unsent, it is empty again.
        held.clear();
        drop(held);
        drop(batch);
        let batch = writer.batch(4);
        let mut held: Vec<_> = (0..3)
            .map(|tag: u64| {
                let block = batch.data_block().unwrap().unwrap();
                assert_eq!((block.tag(), &*block), (tag, &tag.to_le_bytes()[..]));
                block
            })
            .collect();
        held.swap(0, 2);
        held.clear();
        drop(held);
        drop(batch);
        assert_eq!(count_empty(&reader), 4);
    });
}

#[test]
fn two_batches_of_one_end_keep_the_order_whichever_is_dropped_first() {
    bounded(|| {
        let (reader, writer) = pair(8, 8);
        let (one, other) = (reader.batch(100), reader.batch(100));
        add(&one, 0);
        add(&other, 1);
        add(&one, 2);
        assert_eq!(there(&writer), []);
        drop(one);
        assert_eq!(there(&writer), [0, 1, 2]);
        add(&other, 3);
        assert_eq!(there(&writer), []);
        drop(other);
        assert_eq!(there(&writer), [3]);
        // No batch is left, so nothing is kept back.
        send(&reader, &4u64.to_le_bytes(), 4);
        assert_eq!(there(&writer), [4]);
    });
}

#[test]
fn a_panic_in_a_batch_loses_nothing() {
    bounded(|| {
        let (reader, writer) = pair(8, 4);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let batch = reader.batch(100);
            add(&batch, 0);
            add(&batch, 1);
            let _unsent = batch.empty_block().unwrap();
            panic!("in the middle");
        }));
        assert!(panicked.is_err());
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let batch = writer.batch(100);
            for tag in 0..2 {
                let block = batch.data_block().unwrap().unwrap();
                assert_eq!(block.tag(), tag);
                assert!(tag == 0, "in the middle");
            }
        }));
        assert!(panicked.is_err());
        assert_eq!(reader.delivered().blocks, 2);
        assert_eq!(count_empty(&reader), 4);
    });
}

#[test]
fn what_a_forgotten_batch_has_kept_arrives_before_the_reader_is_seen_to_be_gone() {
    bounded(|| {
        let (reader, writer) = pair(8, 4);
        let batch = reader.batch(100);
        add(&batch, 0);
        add(&batch, 1);
        mem::forget(batch);
        drop(reader);
        for tag in 0..2 {
            assert_eq!(writer.data_block().unwrap().unwrap().tag(), tag);
        }
        partner_aborted(writer.data_block());
    });
}

#[test]
fn what_a_forgotten_batch_has_kept_is_no_block_that_the_verdict_misses() {
    bounded(|| {
        let (reader, writer) = pair(8, 4);
        send(&reader, &[1; 8], 0);
        reader.close().unwrap();
        let batch = writer.batch(100);
        drop(batch.data_block().unwrap());
        mem::forget(batch);
        assert!(writer.data_block().unwrap().is_none());
        assert_eq!(writer.finish().unwrap().blocks, 1);
        assert_eq!(reader.verdict().unwrap().blocks, 1);
    });
}

#[test]
fn nothing_that_was_kept_back_follows_a_readers_abort() {
    bounded(|| {
        let (reader, writer) = pair(8, 4);
        let batch = reader.batch(100);
        add(&batch, 0);
        reader.monitor().abort("enough");
        batch.pass_on();
        drop(batch);
        assert_eq!(partner_aborted(writer.data_block()), "enough");
    });
}

#[test]
fn what_was_kept_back_when_the_writer_was_lost_is_among_what_is_sent_again() {
    bounded(|| {
        let (reader, writer) = pair(8, 4);
        send(&reader, &7u64.to_le_bytes(), 7);
        let batch = reader.batch(100);
        add(&batch, 8);
        add(&batch, 9);
        writer.abort("no room");
        mem::forget(batch);
        let unreturned = reader.into_unreturned().unwrap();
        let found: Vec<_> = unreturned
            .iter()
            .map(|(label, bytes)| (label.tag, bytes.to_vec()))
            .collect();
        let expected = [7, 8, 9].map(|tag: u64| (tag, tag.to_le_bytes().to_vec()));
        assert_eq!(found, expected);
    });
}

#[test]
fn a_detached_block_is_in_no_batch_and_lets_go_of_what_is() {
    bounded(|| {
        let (reader, writer) = pair(8, 4);
        let batch = reader.batch(100);
        add(&batch, 0);
        let mut owned = batch.empty_block().unwrap().detach();
        owned.copy_from_slice(&1u64.to_le_bytes());
        let attached = reader.attach(owned).unwrap();
        attached.send(8, 1).unwrap();
        assert_eq!(there(&writer), [0, 1]);
        mem::forget(batch);

        send(&reader, &[1; 8], 2);
        let batch = writer.batch(100);
        let owned = batch.data_block().unwrap().unwrap().detach();
        drop(owned);
        writer.pass_on();
        assert_eq!(reader.delivered().blocks, 3);
        mem::forget(batch);
        reader.close().unwrap();
        assert_eq!(drain(&writer), []);
    });
}
