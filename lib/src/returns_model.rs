//! The way home of detached blocks under loom, as the ring is in `ring_model.rs`: two
//! threads have a block each, and an end takes them, sleeping in between as
//! `pair::End::wait` does. A lost wake is a deadlock, which loom reports.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::undocumented_unsafe_blocks,
    reason = "a test; and loom checks each access to a cell, which is what the cells are for"
)]

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::{Condvar, Mutex};
use loom::thread;

use super::*;

/// What `nudge` and the sleep come down to: a nudge is remembered.
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
        *rung = false;
    }
}

/// An end's half that other threads see, and the bytes of its blocks.
struct World {
    returns: Returns,
    bell: Bell,
    blocks: Vec<UnsafeCell<u64>>,
}

// SAFETY: whether the threads' uses of the cells are ordered is what loom checks.
unsafe impl Sync for World {}
unsafe impl Send for World {}

impl World {
    fn new(blocks: usize) -> World {
        World {
            returns: Returns::new(blocks),
            bell: Bell::new(),
            blocks: (0..blocks).map(|_| UnsafeCell::new(0)).collect(),
        }
    }

    /// As a worker: fills the block and gives it up.
    fn fill_and_put(&self, number: usize) {
        self.fill(number);
        if self.returns.put(number, errand(number)) {
            self.bell.ring();
        }
    }

    /// Whether it was sent; if not, the block is put back.
    fn fill_and_send(&self, number: usize) -> bool {
        self.fill(number);
        let sent = self.returns.send(number, errand(number));
        let nudge = match sent {
            Ok(nudge) => nudge,
            Err(Refused::Closed | Refused::Gone) => self.returns.put(number, UNSENT),
        };
        if nudge {
            self.bell.ring();
        }
        sent.is_ok()
    }

    fn fill(&self, number: usize) {
        self.blocks[number].with_mut(|bytes| unsafe { *bytes += 1 });
    }

    /// As the end: what was pushed; the bytes must be those of the worker.
    fn take(&self, asleep: bool, taken: &mut Vec<(usize, Errand)>) {
        for (number, errand) in self.returns.take(asleep) {
            let bytes = self.blocks[number].with(|bytes| unsafe { *bytes });
            assert_eq!(bytes, 1, "a block's bytes are not those of the worker");
            taken.push((number, errand));
        }
    }

    /// Takes until there are `count`, sleeping in between.
    fn wait_for(&self, count: usize) -> Vec<(usize, Errand)> {
        self.wait(count, true)
    }

    /// Without `says_so`, the mistake that the model must find.
    fn wait(&self, count: usize, says_so: bool) -> Vec<(usize, Errand)> {
        let mut taken = Vec::new();
        self.take(false, &mut taken);
        while taken.len() < count {
            self.take(says_so, &mut taken);
            if taken.len() < count {
                self.bell.sleep();
            }
        }
        self.returns.wake();
        taken
    }
}

fn errand(number: usize) -> Errand {
    [number as u64, 100 + number as u64]
}

fn explore(preemptions: usize, run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(run);
}

fn spawn<T: 'static>(
    world: &Arc<World>,
    run: impl FnOnce(&World) -> T + 'static,
) -> thread::JoinHandle<T> {
    let world = Arc::clone(world);
    thread::spawn(move || run(&world))
}

#[test]
fn model_blocks_of_two_threads_come_home_whole_and_no_wake_is_lost() {
    explore(4, || {
        let world = Arc::new(World::new(2));
        let workers = [0, 1].map(|number| spawn(&world, move |world| world.fill_and_put(number)));
        let mut taken = world.wait_for(2);
        taken.sort_unstable();
        assert_eq!(taken, [(0, errand(0)), (1, errand(1))]);
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn model_a_wake_is_lost_if_the_end_does_not_say_that_it_sleeps() {
    explore(3, || {
        let world = Arc::new(World::new(1));
        let worker = spawn(&world, |world| world.fill_and_put(0));
        world.wait(1, false);
        worker.join().unwrap();
    });
}

#[test]
fn model_a_block_that_is_let_go_by_an_end_about_to_sleep_wakes_it() {
    explore(4, || {
        let world = Arc::new(World::new(1));
        // Armed while nothing was out, so nothing was taken then.
        world.returns.sleep();
        let worker = spawn(&world, |world| world.fill_and_put(0));
        world.bell.sleep();
        let mut taken = Vec::new();
        world.take(true, &mut taken);
        assert_eq!(taken, [(0, errand(0))]);
        worker.join().unwrap();
    });
}

#[test]
fn model_what_one_thread_pushed_in_order_is_taken_in_order() {
    explore(2, || {
        let world = Arc::new(World::new(3));
        let two = spawn(&world, |world| {
            world.fill_and_put(1);
            world.fill_and_put(0);
        });
        let one = spawn(&world, |world| world.fill_and_put(2));
        let mut taken = world.wait_for(3);
        taken.retain(|(number, _)| *number != 2);
        assert_eq!(taken, [(1, errand(1)), (0, errand(0))]);
        two.join().unwrap();
        one.join().unwrap();
    });
}

#[test]
fn model_a_block_that_came_home_and_went_out_again_comes_home_again() {
    explore(3, || {
        let world = Arc::new(World::new(2));
        let other = spawn(&world, |world| world.fill_and_put(1));
        let first = spawn(&world, |world| world.fill_and_put(0));
        let mut taken = world.wait_for(1);
        // Out again, while the other thread may be between its look at the head and its
        // change of it.
        let again = taken[0].0;
        world.blocks[again].with_mut(|bytes| unsafe { *bytes = 0 });
        world.fill_and_put(again);
        taken.extend(world.wait_for(3 - taken.len()));
        assert_eq!(taken.len(), 3);
        assert_eq!(
            taken.iter().filter(|(number, _)| *number == again).count(),
            2
        );
        other.join().unwrap();
        first.join().unwrap();
    });
}

#[test]
fn model_what_was_sent_before_the_end_is_taken_and_the_sender_of_the_rest_is_told() {
    explore(3, || {
        let world = Arc::new(World::new(2));
        let workers = [0, 1].map(|number| spawn(&world, move |world| world.fill_and_send(number)));
        world.returns.close();
        let mut before = Vec::new();
        world.take(false, &mut before);
        // Whatever comes from now on would be after the end.
        let after = match before.len() {
            2 => Vec::new(),
            len => world.wait_for(2 - len),
        };
        assert!(after.iter().all(|(_, errand)| *errand == UNSENT));
        let sent = workers.map(|worker| worker.join().unwrap());
        for (number, sent) in sent.into_iter().enumerate() {
            assert_eq!(before.contains(&(number, errand(number))), sent);
        }
        assert_eq!(before.len() + after.len(), 2, "a block was lost");
    });
}

#[test]
fn model_the_end_of_the_end_is_seen_by_whoever_comes_later() {
    explore(5, || {
        let world = Arc::new(World::new(1));
        let worker = spawn(&world, |world| world.fill_and_send(0));
        world.returns.leave();
        let mut taken = Vec::new();
        world.take(false, &mut taken);
        let sent = worker.join().unwrap();
        let found = taken.contains(&(0, errand(0)));
        assert_eq!(found, sent);
    });
}
