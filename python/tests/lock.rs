//! The lock that calls of several threads take turns by, without an interpreter.
#![allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it"
)]
#![expect(dead_code, reason = "what its users need is not all tested here")]

#[path = "../src/lock.rs"]
mod lock;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use lock::{Mutex, MutexGuard, lock_again};

/// Who has had the lock, once it was left for one that waited.
fn turns() -> Vec<&'static str> {
    let lock = Mutex::new(());
    let (tell, told) = channel();
    thread::scope(|threads| {
        let mine = lock.lock();
        let (lock, waiter) = (&lock, tell.clone());
        threads.spawn(move || turn(lock, "who waited", &waiter));
        thread::sleep(Duration::from_millis(50));
        MutexGuard::unlock_fair(mine);
        turn(lock, "who left", &tell);
    });
    drop(tell);
    told.iter().collect()
}

/// Who has had the lock, once it was left for one of two: who waited for another turn, and who came later.
fn turns_again() -> Vec<&'static str> {
    let lock = Mutex::new(());
    let (tell, told) = channel();
    thread::scope(|threads| {
        let mine = lock.lock();
        let (lock, first, second) = (&lock, tell.clone(), tell.clone());
        threads.spawn(move || {
            let _mine = lock_again(lock, None);
            first.send("who was there before").unwrap();
        });
        thread::sleep(Duration::from_millis(20));
        threads.spawn(move || turn(lock, "who came", &second));
        thread::sleep(Duration::from_millis(20));
        MutexGuard::unlock_fair(mine);
    });
    drop(tell);
    told.iter().collect()
}

fn turn(lock: &Mutex<()>, who: &'static str, tell: &Sender<&'static str>) {
    let _mine = lock.lock();
    tell.send(who).unwrap();
}

#[test]
fn it_is_handed_to_who_waited_and_not_to_who_comes_back_first() {
    // On a busy machine, who shall wait may not have begun to.
    let mut fair = (0..20).filter(|_| turns() == ["who waited", "who left"]);
    assert!(fair.nth(9).is_some());
}

#[test]
fn who_comes_goes_before_who_waits_for_another_turn() {
    // On a busy machine, who shall wait may not have begun to.
    let mut fair = (0..20).filter(|_| turns_again() == ["who came", "who was there before"]);
    assert!(fair.nth(9).is_some());
}

#[test]
fn who_waits_for_another_turn_is_not_passed_over_for_ever() {
    let (lock, had_turn) = (&Mutex::new(()), &AtomicBool::new(false));
    thread::scope(|threads| {
        let mine = lock.lock();
        threads.spawn(|| {
            let _mine = lock_again(lock, None);
            had_turn.store(true, Ordering::Relaxed);
        });
        drop(mine);
        // There is always one that has just come.
        for _ in 0..2 {
            threads.spawn(|| {
                let mut turns = 0;
                while !had_turn.load(Ordering::Relaxed) {
                    let mine = lock.lock();
                    thread::sleep(Duration::from_millis(2));
                    drop(mine);
                    turns += 1;
                    assert!(turns < 500, "it was passed over {turns} times");
                }
            });
        }
    });
}

#[test]
fn who_waits_for_long_is_not_passed_over_for_ever() {
    let lock = Mutex::new(());
    let mut mine = lock.lock();
    thread::scope(|threads| {
        let waiter = threads.spawn(|| drop(lock.lock()));
        let mut turns = 0;
        // Free for a moment too short to wake in, and taken for a time in which it wakes.
        while !waiter.is_finished() {
            MutexGuard::unlocked(&mut mine, || ());
            thread::sleep(Duration::from_millis(2));
            turns += 1;
            assert!(turns < 500, "it was passed over {turns} times");
        }
        drop(mine);
    });
}

#[test]
fn a_deadline_holds_and_leaves_nothing_behind() {
    let lock = Mutex::new(());
    let mine = lock.lock();
    thread::scope(|threads| {
        let late = threads.spawn(|| {
            let until = Instant::now() + Duration::from_millis(20);
            lock.try_lock_until(until).is_none()
        });
        assert!(late.join().unwrap());
    });
    MutexGuard::unlock_fair(mine);
    assert!(lock.try_lock().is_some());
}
