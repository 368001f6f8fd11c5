//! The queues and the way to sleep under loom: every order in which two threads
//! can run and every value that a load may return, up to a bound on preemptions.
//!
//! Run with
//!
//! ```text
//! RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test -p brigade --lib --release model
//! ```
//!
//! What is modelled: the doorbell is a flag under a lock (a ring is remembered, as
//! an eventfd remembers it); the remote barrier is a fence on both sides, since
//! that is all that it promises. A lost wake is a deadlock, which loom reports. A
//! block's bytes are a [`UnsafeCell`], so that loom reports every access that is not
//! ordered after the partner's last one.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::undocumented_unsafe_blocks,
    reason = "a test; and loom checks each access to a cell, which is what the cells are for"
)]

use std::cell::RefCell;
use std::convert::Infallible;
use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::{Condvar, Mutex};

use super::*;
use crate::region::as_theirs;
use crate::region::layout::{ENDED, RETURNED_WORDS, RUNNING, SENT_WORDS, Sent};

/// What `sleep` and `ring` come down to.
struct Bell {
    rung: Mutex<bool>,
    woken: Condvar,
}

impl Bell {
    fn new() -> Bell {
        Bell {
            rung: Mutex::new(false),
            woken: Condvar::new(),
        }
    }

    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.woken.notify_one();
    }

    fn sleep(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.woken.wait(rung).unwrap();
        }
    }

    fn consume(&self) {
        *self.rung.lock().unwrap() = false;
    }
}

/// One end's region and doorbell.
struct Region {
    control: Control<Own>,
    queue: Vec<AtomicU64>,
    bell: Bell,
}

impl Region {
    fn new(blocks: usize, words: usize) -> Region {
        let entries = blocks.next_power_of_two();
        Region {
            control: Control::for_test(),
            queue: (0..entries * words).map(|_| AtomicU64::new(0)).collect(),
            bell: Bell::new(),
        }
    }
}

/// How the sleeper keeps its announcement apart from its last look.
#[derive(Clone, Copy)]
enum Sleeper {
    Fences,
    /// Likewise, by the steps of a wait.
    Steps,
    /// The mistake that the model must find.
    Forgets,
}

struct World {
    reader: Region,
    writer: Region,
    blocks: Vec<UnsafeCell<u64>>,
    messages: u64,
    sleeper: Sleeper,
    /// Both ends publish when they have so much kept back, and before they wait.
    batch: u64,
}

// SAFETY: whether the threads' uses of the cells are ordered is what loom checks.
unsafe impl Sync for World {}

impl World {
    fn new(blocks: usize, messages: u64, sleeper: Sleeper) -> World {
        World {
            reader: Region::new(blocks, SENT_WORDS),
            writer: Region::new(blocks, RETURNED_WORDS),
            blocks: (0..blocks).map(|_| UnsafeCell::new(0)).collect(),
            messages,
            sleeper,
            batch: 1,
        }
    }

    fn in_batches(self, batch: u64) -> World {
        World { batch, ..self }
    }
}

/// One end as `session::End` has it, over a [`World`].
struct End<'w, const OUT: usize, const IN: usize> {
    world: &'w World,
    own: &'w Region,
    peer: &'w Region,
    outgoing: Outgoing<OUT>,
    incoming: Incoming<IN>,
    sleeps: Sleeps,
    /// The last sleep ended by a ring, which was not consumed yet.
    rung: Cell<bool>,
}

impl<'w, const OUT: usize, const IN: usize> End<'w, OUT, IN> {
    fn new(world: &'w World, own: &'w Region, peer: &'w Region) -> Self {
        End {
            world,
            own,
            peer,
            outgoing: Outgoing::new(),
            incoming: Incoming::new(Lag::new(1 << 20, 2, false), 1),
            sleeps: Sleeps::new(),
            rung: Cell::new(false),
        }
    }

    fn ring_if_wanted(&self) {
        let peer = &self.peer.control;
        if self
            .sleeps
            .partner_wants_ring(as_theirs::control(peer), Barrier::Fence)
        {
            self.peer.bell.ring();
        }
    }

    fn pass(&self, entry: [u64; OUT]) {
        self.outgoing.append(&self.own.queue, entry);
        if self.outgoing.appended() - self.published() >= self.world.batch {
            self.publish();
        }
    }

    fn published(&self) -> u64 {
        self.outgoing.published()
    }

    fn publish(&self) {
        self.outgoing.publish(&self.own.control);
        self.ring_if_wanted();
    }

    fn publish_kept(&self) {
        if self.outgoing.appended() != self.published() {
            self.publish();
        }
    }

    fn take(&self, out: u64) -> Option<[u64; IN]> {
        self.incoming
            .take(
                as_theirs::control(&self.peer.control),
                as_theirs::queue(&self.peer.queue),
                || out,
            )
            .unwrap()
    }

    fn end(&self) {
        self.publish_kept();
        let state = &self.own.control.status.0.state;
        state
            .compare_exchange(RUNNING, ENDED, Ordering::Release, Ordering::Relaxed)
            .unwrap();
        self.ring_if_wanted();
    }

    fn partner_ended(&self) -> bool {
        let state = &self.peer.control.status.0.state;
        state.load(Ordering::Acquire) == ENDED
    }

    fn wait<T>(&self, look: impl Fn() -> Option<T>) -> T {
        self.publish_kept();
        let sleep = || {
            self.own.bell.sleep();
            self.rung.set(true);
            Ok::<_, Infallible>(())
        };
        self.try_wait(look, sleep).unwrap()
    }

    /// As somebody waits who has nothing but the steps and the handle.
    fn wait_by_steps<T>(&self, look: impl Fn() -> Option<T>) -> T {
        loop {
            if let Some(found) = look() {
                return found;
            }
            if self.arm() {
                self.own.bell.sleep();
                self.sleeps.withdraw(&self.own.control);
                self.own.bell.consume();
            }
        }
    }

    /// As `pair::End::arm`.
    fn arm(&self) -> bool {
        self.publish_kept();
        if self.rung.replace(false) {
            self.own.bell.consume();
        }
        self.sleeps.announce(&self.own.control);
        full_fence();
        let peer = as_theirs::control(&self.peer.control);
        if self.partner_ended() || self.incoming.is_ready(peer) {
            self.sleeps.withdraw(&self.own.control);
            return false;
        }
        self.rung.set(true);
        true
    }

    fn try_wait<T, E>(
        &self,
        look: impl Fn() -> Option<T>,
        sleep: impl FnMut() -> Result<(), E>,
    ) -> Result<T, E> {
        let barrier = || {
            if !matches!(self.world.sleeper, Sleeper::Forgets) {
                full_fence();
            }
            Ok(())
        };
        let consume = || {
            if self.rung.replace(false) {
                self.own.bell.consume();
            }
            Ok(())
        };
        self.sleeps
            .wait(&self.own.control, || Ok(look()), consume, barrier, sleep)
    }
}

/// What is sent as message `index`, in a block's bytes and in its tag.
fn payload(index: u64) -> u64 {
    100 + index
}

/// The Reader of `session` and `reader`, without the system: fills and sends every
/// message, ends, and waits for the verdict.
fn run_reader(world: &World) {
    let end = End::<SENT_WORDS, RETURNED_WORDS>::new(world, &world.reader, &world.writer);
    let spare = RefCell::new((0..world.blocks.len() as u64).collect::<Vec<_>>());
    let out = || end.published() - end.incoming.taken();
    for index in 0..world.messages {
        let look = || {
            let spare = spare.borrow_mut().pop();
            spare.or_else(|| end.take(out()).map(|[block]| block))
        };
        let block = look().unwrap_or_else(|| end.wait(look));
        world.blocks[block as usize].with_mut(|bytes| unsafe { *bytes = payload(index) });
        let sent = Sent {
            block: block as u16,
            kind: 0,
            more: false,
            len: 8,
            tag: payload(index),
        };
        end.pass(sent.to_words());
    }
    end.end();
    end.wait(|| {
        let ended = end.partner_ended();
        while let Some([block]) = end.take(out()) {
            spare.borrow_mut().push(block);
        }
        ended.then_some(())
    });
    // The verdict comes after the last block was given back, so all are here.
    assert_eq!(spare.borrow().len(), world.blocks.len());
}

/// The Writer, likewise: drains every message and gives its block back; the end of
/// data must come after the last of them; then the verdict.
fn run_writer(world: &World) {
    let end = End::<RETURNED_WORDS, SENT_WORDS>::new(world, &world.writer, &world.reader);
    let out = || {
        let here = end.incoming.taken() - end.published();
        world.blocks.len() as u64 - here
    };
    let mut index = 0;
    loop {
        let look = || {
            let ended = end.partner_ended();
            match end.take(out()) {
                Some(words) => Some(Some(Sent::from_words(words))),
                None => ended.then_some(None),
            }
        };
        let found = match world.sleeper {
            Sleeper::Steps => end.wait_by_steps(look),
            _ => end.wait(look),
        };
        let Some(sent) = found else {
            break;
        };
        assert_eq!(sent.tag, payload(index), "out of order");
        let bytes = world.blocks[usize::from(sent.block)].with(|bytes| unsafe { *bytes });
        assert_eq!(bytes, payload(index), "a block's bytes are not those sent");
        index += 1;
        end.pass([sent.block.into()]);
    }
    assert_eq!(index, world.messages, "the end came before the last block");
    end.end();
}

/// In words. A control page of loom's atomics is too large for loom's own choice.
const STACK_SIZE: usize = 1 << 15;

fn spawn(run: impl FnOnce() + Send + 'static) -> loom::thread::JoinHandle<()> {
    let builder = loom::thread::Builder::new();
    builder.stack_size(STACK_SIZE).spawn(run).unwrap()
}

fn explore(preemptions: usize, world: impl Fn() -> World + Copy + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        let pair = spawn(move || {
            let world = Arc::new(world());
            let writer = spawn({
                let world = Arc::clone(&world);
                move || run_writer(&world)
            });
            run_reader(&world);
            writer.join().unwrap();
        });
        pair.join().unwrap();
    });
}

#[test]
fn model_two_blocks_pass_three_messages_in_order_and_no_wake_is_lost() {
    explore(3, || World::new(2, 3, Sleeper::Fences));
}

#[test]
fn model_with_one_block_both_ends_sleep_in_turn_and_no_wake_is_lost() {
    explore(4, || World::new(1, 2, Sleeper::Fences));
}

#[test]
fn model_the_end_of_data_is_seen_only_after_the_last_block() {
    explore(4, || World::new(2, 1, Sleeper::Fences));
}

#[test]
fn model_the_end_of_an_empty_session_is_seen_by_a_sleeper() {
    explore(6, || World::new(1, 0, Sleeper::Fences));
}

#[test]
fn model_who_waits_by_steps_loses_no_wake() {
    explore(2, || World::new(2, 3, Sleeper::Steps));
    explore(3, || World::new(1, 2, Sleeper::Steps));
    explore(4, || World::new(1, 0, Sleeper::Steps));
}

#[test]
fn model_what_is_kept_back_is_published_before_a_wait_and_no_wake_is_lost() {
    explore(3, || World::new(2, 3, Sleeper::Fences).in_batches(2));
    // Larger than the pool.
    explore(2, || World::new(2, 3, Sleeper::Fences).in_batches(3));
    explore(3, || World::new(1, 2, Sleeper::Fences).in_batches(2));
    explore(2, || World::new(2, 3, Sleeper::Steps).in_batches(3));
}

/// How a sleep would have gone.
#[derive(Debug, PartialEq)]
enum Slept {
    WithRing,
    Lost,
}

/// Whether there is an order of things in which one message is published, nobody
/// rings, and the partner would sleep all the same.
fn a_wake_can_be_lost(sleeper: Sleeper) -> bool {
    // Not loom's: it collects what happened in all the executions.
    let lost = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let found = Arc::clone(&lost);
    loom::model(move || {
        let lost = Arc::clone(&found);
        let whole = spawn(move || {
            let world = Arc::new(World::new(1, 1, sleeper));
            let publisher = spawn({
                let world = Arc::clone(&world);
                move || {
                    End::<SENT_WORDS, RETURNED_WORDS>::new(&world, &world.reader, &world.writer)
                        .pass([0; SENT_WORDS]);
                }
            });
            let end = End::<RETURNED_WORDS, SENT_WORDS>::new(&world, &world.writer, &world.reader);
            let mut publisher = Some(publisher);
            // Still announced then, so that whoever publishes now has to ring.
            let sleep = || -> Result<(), Slept> {
                publisher.take().unwrap().join().unwrap();
                match *world.writer.bell.rung.lock().unwrap() {
                    true => Err(Slept::WithRing),
                    false => Err(Slept::Lost),
                }
            };
            let found = end.try_wait(|| end.take(1), sleep);
            if found == Err(Slept::Lost) {
                lost.store(true, Ordering::Relaxed);
            }
        });
        whole.join().unwrap();
    });
    lost.load(Ordering::Relaxed)
}

#[test]
fn model_a_wake_is_lost_without_the_sleepers_barrier_and_never_with_it() {
    // The first line shows that the model can see what the others rule out.
    assert!(a_wake_can_be_lost(Sleeper::Forgets));
    assert!(!a_wake_can_be_lost(Sleeper::Fences));
}
