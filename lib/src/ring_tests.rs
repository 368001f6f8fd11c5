//! The queues in one thread: any sequence of operations against a plain model, and
//! what a partner that breaks the rules leads to.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

use std::cell::RefCell;
use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::region::as_theirs;
use crate::region::layout::{RETURNED_WORDS, SENT_WORDS, Sent};

fn queue(blocks: usize, words: usize) -> Vec<AtomicU64> {
    let entries = blocks.next_power_of_two();
    (0..entries * words).map(|_| AtomicU64::new(0)).collect()
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    /// Reader: takes an empty block, if there is one.
    TakeEmpty,
    /// Reader: gives one of the blocks it holds up, unsent.
    DropUnsent(usize),
    /// Reader: sends one of the blocks it holds.
    Send(usize),
    /// Writer: takes the next block, if there is one.
    TakeData,
    /// Writer: gives one of the blocks it holds back.
    GiveBack(usize),
    /// Reader: from here on, what it sends is published, or kept back.
    KeepSent(bool),
    /// Writer: from here on, what it gives back is published, or kept back.
    KeepReturned(bool),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        2 => Just(Operation::TakeEmpty),
        1 => any::<usize>().prop_map(Operation::DropUnsent),
        4 => any::<usize>().prop_map(Operation::Send),
        3 => Just(Operation::TakeData),
        3 => any::<usize>().prop_map(Operation::GiveBack),
        1 => any::<bool>().prop_map(Operation::KeepSent),
        1 => any::<bool>().prop_map(Operation::KeepReturned),
    ]
}

/// Both ends over plain memory, and beside them where each block is by the model.
struct Bench {
    blocks: usize,
    reader: Control<Own>,
    writer: Control<Own>,
    sent_queue: Vec<AtomicU64>,
    returned_queue: Vec<AtomicU64>,
    sender: Outgoing<SENT_WORDS>,
    receiver: Incoming<SENT_WORDS>,
    giver: Outgoing<RETURNED_WORDS>,
    regainer: Incoming<RETURNED_WORDS>,

    keeps_sent: bool,
    kept_sent: Vec<Sent>,
    keeps_returned: bool,
    kept_returned: Vec<u16>,

    spare: Vec<u16>,
    filling: Vec<u16>,
    sent: VecDeque<Sent>,
    draining: Vec<Sent>,
    returned: VecDeque<u16>,
    next_tag: u64,
}

impl Bench {
    fn new(blocks: usize, small_blocks: bool, most_seen: u64) -> Bench {
        let lag = || Lag::new(if small_blocks { 64 } else { 1 << 20 }, blocks, false);
        Bench {
            blocks,
            reader: Control::for_test(),
            writer: Control::for_test(),
            sent_queue: queue(blocks, SENT_WORDS),
            returned_queue: queue(blocks, RETURNED_WORDS),
            sender: Outgoing::new(),
            receiver: Incoming::new(lag(), most_seen),
            giver: Outgoing::new(),
            regainer: Incoming::new(lag(), most_seen),
            keeps_sent: false,
            kept_sent: Vec::new(),
            keeps_returned: false,
            kept_returned: Vec::new(),
            spare: (0..blocks as u16).collect(),
            filling: Vec::new(),
            sent: VecDeque::new(),
            draining: Vec::new(),
            returned: VecDeque::new(),
            next_tag: 1,
        }
    }

    fn run(&mut self, operation: Operation) {
        match operation {
            Operation::TakeEmpty => self.take_empty(),
            Operation::DropUnsent(pick) => {
                let block = pick_from(&mut self.filling, pick);
                self.spare.extend(block);
            }
            Operation::Send(pick) => self.send(pick),
            Operation::TakeData => self.take_data(),
            Operation::GiveBack(pick) => self.give_back(pick),
            Operation::KeepSent(keeps) => {
                self.keeps_sent = keeps;
                self.publish_sent();
            }
            Operation::KeepReturned(keeps) => {
                self.keeps_returned = keeps;
                self.publish_returned();
            }
        }
        self.check();
    }

    fn take_empty(&mut self) {
        let block = self.spare.pop().or_else(|| {
            let out = || self.sender.published() - self.regainer.taken();
            let found = self.regainer.take(
                as_theirs::control(&self.writer),
                as_theirs::queue(&self.returned_queue),
                out,
            );
            let found = found.unwrap().map(|[block]| block as u16);
            assert_eq!(found, self.returned.pop_front());
            found
        });
        self.filling.extend(block);
    }

    fn send(&mut self, pick: usize) {
        let Some(block) = pick_from(&mut self.filling, pick) else {
            return;
        };
        // No two entries alike, so that one that was overwritten is noticed.
        let sent = Sent {
            block,
            kind: self.next_tag as u16,
            more: false,
            len: self.next_tag as u32,
            tag: self.next_tag,
        };
        self.next_tag += 1;
        self.sender.prefetch(&self.sent_queue, pick % 7);
        self.sender.append(&self.sent_queue, sent.to_words());
        self.kept_sent.push(sent);
        self.publish_sent();
    }

    fn publish_sent(&mut self) {
        if !self.keeps_sent {
            self.sender.publish(&self.reader);
            self.sent.extend(self.kept_sent.drain(..));
        }
    }

    fn take_data(&mut self) {
        let here = self.receiver.taken() - self.giver.published();
        let out = || self.blocks as u64 - here;
        let found = self.receiver.take(
            as_theirs::control(&self.reader),
            as_theirs::queue(&self.sent_queue),
            out,
        );
        let found = found.unwrap().map(Sent::from_words);
        assert_eq!(found, self.sent.pop_front());
        let is_ready = self.receiver.is_ready(as_theirs::control(&self.reader));
        assert_eq!(is_ready, !self.sent.is_empty());
        self.draining.extend(found);
    }

    fn give_back(&mut self, pick: usize) {
        let Some(sent) = pick_from(&mut self.draining, pick) else {
            return;
        };
        let entry = [u64::from(sent.block)];
        self.giver.prefetch(&self.returned_queue, pick % 17);
        self.giver.append(&self.returned_queue, entry);
        self.kept_returned.push(sent.block);
        self.publish_returned();
    }

    fn publish_returned(&mut self) {
        if !self.keeps_returned {
            self.giver.publish(&self.writer);
            self.returned.extend(self.kept_returned.drain(..));
        }
    }

    fn check(&self) {
        let out = self.sender.published() - self.regainer.taken();
        let draining = self.draining.len() + self.kept_returned.len();
        let away = self.sent.len() + draining + self.returned.len();
        assert_eq!(out, away as u64, "what the Reader believes is out");
        let here = self.receiver.taken() - self.giver.published();
        assert_eq!(here, draining as u64, "what the Writer has");
        assert!(self.sent.len() <= self.blocks && self.returned.len() <= self.blocks);
        let filling = self.filling.len() + self.kept_sent.len();
        let all = away + self.spare.len() + filling;
        assert_eq!(all, self.blocks, "each block is in exactly one place");
    }
}

fn pick_from<T>(items: &mut Vec<T>, pick: usize) -> Option<T> {
    (!items.is_empty()).then(|| items.remove(pick % items.len()))
}

proptest! {
    #[test]
    fn any_sequence_of_operations_does_what_a_plain_model_does(
        blocks in 1usize..=5,
        small_blocks in any::<bool>(),
        most_seen in prop_oneof![1u64..=3, Just(u64::MAX)],
        operations in prop::collection::vec(operation(), 0..400),
    ) {
        let mut bench = Bench::new(blocks, small_blocks, most_seen);
        for operation in operations {
            bench.run(operation);
        }
    }

    #[test]
    fn a_count_is_accepted_exactly_if_the_partner_can_have_that_many(
        taken in 0u64..100,
        out in 0u64..=5,
        found in prop_oneof![0u64..120, any::<u64>()],
    ) {
        let (peer, queue) = (Control::for_test(), queue(8, 1));
        let incoming = Incoming::<1>::new(Lag::new(1 << 20, 8, false), u64::MAX);
        for count in 1..=taken {
            peer.published.0.blocks.store(count, Ordering::Relaxed);
            prop_assert!(incoming.take(as_theirs::control(&peer), as_theirs::queue(&queue), || 1).unwrap().is_some());
        }
        peer.published.0.blocks.store(found, Ordering::Relaxed);
        let taking = incoming.take(as_theirs::control(&peer), as_theirs::queue(&queue), || out);
        if (taken..=taken + out).contains(&found) {
            prop_assert_eq!(taking.unwrap().is_some(), found > taken);
        } else {
            let (least, most) = (taken, taken + out);
            prop_assert_eq!(taking, Err(Violation::Count { found, least, most }));
        }
    }
}

#[test]
fn many_blocks_arrive_in_order_across_the_bounds_of_the_queue() {
    let blocks = 96;
    let mut bench = Bench::new(blocks, false, u64::MAX);
    // Bursts of each size, so that each begins elsewhere in the queue.
    for burst in 1..=blocks {
        for operation in [
            Operation::TakeEmpty,
            Operation::Send(0),
            Operation::TakeData,
            Operation::GiveBack(burst),
        ] {
            for _ in 0..burst {
                bench.run(operation);
            }
        }
    }
    assert_eq!(bench.next_tag - 1, (blocks * (blocks + 1) / 2) as u64);
}

#[test]
fn what_the_counter_covers_is_gone_through_in_steps_without_loading_it_again() {
    let (peer, queue) = (Control::for_test(), queue(8, 1));
    let incoming = Incoming::<1>::new(Lag::new(64, 8, false), 3);
    let take = || incoming.take(as_theirs::control(&peer), as_theirs::queue(&queue), || 8);
    peer.published.0.blocks.store(7, Ordering::Relaxed);
    assert!(take().unwrap().is_some());
    // A breach, if it was looked at.
    peer.published.0.blocks.store(100, Ordering::Relaxed);
    for (left, is_first) in [
        (2, true),
        (1, false),
        (0, false),
        (2, true),
        (1, false),
        (0, false),
    ] {
        assert_eq!(incoming.has_just_looked(), is_first);
        let seen = incoming.seen(as_theirs::queue(&queue));
        assert_eq!(seen.len(), left);
        assert!(incoming.is_ready(as_theirs::control(&peer)));
        assert!(take().unwrap().is_some());
    }
    assert!(incoming.has_just_looked());
    assert!(take().is_err());
}

#[test]
fn a_count_that_goes_back_is_a_violation_that_names_it() {
    let (peer, queue) = (Control::for_test(), queue(4, 1));
    let incoming = Incoming::<1>::new(Lag::new(1 << 20, 8, false), u64::MAX);
    peer.published.0.blocks.store(2, Ordering::Relaxed);
    for _ in 0..2 {
        assert!(
            incoming
                .take(as_theirs::control(&peer), as_theirs::queue(&queue), || 4)
                .unwrap()
                .is_some()
        );
    }
    peer.published.0.blocks.store(1, Ordering::Relaxed);
    let expected = Violation::Count {
        found: 1,
        least: 2,
        most: 6,
    };
    assert_eq!(
        incoming.take(as_theirs::control(&peer), as_theirs::queue(&queue), || 4),
        Err(expected)
    );
}

#[test]
fn a_count_too_far_ahead_is_a_violation_and_nothing_is_taken() {
    let (peer, queue) = (Control::for_test(), queue(4, 1));
    let incoming = Incoming::<1>::new(Lag::new(1 << 20, 8, false), u64::MAX);
    peer.published.0.blocks.store(3, Ordering::Relaxed);
    let expected = Violation::Count {
        found: 3,
        least: 0,
        most: 2,
    };
    assert_eq!(
        incoming.take(as_theirs::control(&peer), as_theirs::queue(&queue), || 2),
        Err(expected)
    );
    assert_eq!(incoming.taken(), 0);
}

#[test]
fn the_partner_wants_to_be_rung_once_for_each_of_its_sleeps() {
    let (peer, sleeps) = (Control::for_test(), Sleeps::new());
    for barrier in [Barrier::Fence, Barrier::Remote] {
        for sleep in [1, 2, 3] {
            peer.asleep.0.store(0, Ordering::Relaxed);
            assert!(
                !sleeps.partner_wants_ring(as_theirs::control(&peer), barrier),
                "it is awake"
            );
            peer.asleep.0.store(sleep, Ordering::Relaxed);
            assert!(
                sleeps.partner_wants_ring(as_theirs::control(&peer), barrier),
                "it sleeps"
            );
            assert!(
                !sleeps.partner_wants_ring(as_theirs::control(&peer), barrier),
                "it was rung"
            );
        }
    }
}

#[test]
fn a_wait_announces_each_sleep_by_a_new_number_and_withdraws_it_however_it_ends() {
    let (own, sleeps) = (Control::for_test(), Sleeps::new());
    let asleep = || own.asleep.0.load(Ordering::Relaxed);
    let numbers = RefCell::new(Vec::new());
    let found = sleeps.wait(
        &own,
        || Ok::<_, ()>((numbers.borrow().len() == 3).then_some("found")),
        || Ok(()),
        || Ok(()),
        || {
            numbers.borrow_mut().push(asleep());
            Ok(())
        },
    );
    assert_eq!((found, asleep()), (Ok("found"), 0));
    let failed = sleeps.wait(
        &own,
        || Ok(None::<()>),
        || Ok(()),
        || Ok(()),
        || {
            numbers.borrow_mut().push(asleep());
            Err("failed")
        },
    );
    assert_eq!((failed, asleep()), (Err("failed"), 0));
    // What the third sleep left to be found was found without a fourth number.
    assert_eq!(*numbers.borrow(), [1, 2, 3, 4]);
}

#[test]
fn a_wait_looks_again_after_the_barrier_and_before_it_sleeps() {
    let (own, sleeps) = (Control::for_test(), Sleeps::new());
    let published = Cell::new(false);
    let found = sleeps.wait(
        &own,
        || Ok::<_, &str>(published.get().then_some(())),
        || Ok(()),
        || {
            published.set(true);
            Ok(())
        },
        || Err("slept"),
    );
    assert_eq!(found, Ok(()));
}

#[test]
fn rings_are_consumed_before_each_announcement_and_not_between_a_wake_and_its_look() {
    let (own, sleeps) = (Control::for_test(), Sleeps::new());
    let log = RefCell::new(Vec::new());
    let looks = Cell::new(0);
    let found = sleeps.wait(
        &own,
        || {
            log.borrow_mut().push("look");
            looks.set(looks.get() + 1);
            Ok::<_, ()>((looks.get() == 4).then_some(()))
        },
        || {
            log.borrow_mut().push("consume");
            assert_eq!(own.asleep.0.load(Ordering::Relaxed), looks.get() / 2);
            Ok(())
        },
        || Ok(()),
        || {
            log.borrow_mut().push("sleep");
            Ok(())
        },
    );
    assert_eq!(found, Ok(()));
    let turn = ["consume", "look", "sleep", "look"];
    assert_eq!(*log.borrow(), [turn, turn].concat());
}

#[test]
fn an_end_that_was_woken_does_not_lag() {
    let (peer, queue) = (Control::for_test(), queue(8, SENT_WORDS));
    let (peer, queue) = (as_theirs::control(&peer), as_theirs::queue(&queue));
    let incoming = Incoming::<SENT_WORDS>::new(Lag::new(64, 2, false), u64::MAX);
    incoming.set_urgent();
    assert!(incoming.found_last() >= lag::MANY);
    // Nothing was there; the next look is one of many.
    assert_eq!(incoming.take(peer, queue, || 0), Ok(None));
    assert_eq!(incoming.found_last(), 0);
}
