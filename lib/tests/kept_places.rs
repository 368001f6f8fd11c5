//! With `Options::takeover`: a survivor's place is kept, and nobody comes between. With real
//! processes, which are killed at every stage.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

mod common;

use std::thread;
use std::time::Duration;

use brigade::{Error, Reader, Role, Seat, Side, Writer, join};
use common::other::{self, Other, keeping, options};
use common::{bounded, send};
use tempfile::TempDir;

fn place() -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let name = format!("{}/n", directory.path().display());
    (directory, name)
}

#[test]
fn the_process_that_other_tests_start() {
    other::run();
}

/// Who is killed: the first to come or the second, and on which side.
#[derive(Clone, Copy, Debug)]
struct Death {
    host_dies: bool,
    dead: Side,
}

const DEATHS: [Death; 4] = {
    const fn of(host_dies: bool, dead: Side) -> Death {
        Death { host_dies, dead }
    }
    [
        of(true, Side::Reader),
        of(true, Side::Writer),
        of(false, Side::Reader),
        of(false, Side::Writer),
    ]
};

/// A pair of processes, both of which keep their places; and one block has passed.
fn pair_of(name: &str, death: Death) -> (Other, Other) {
    let (first, second) = match death.host_dies {
        true => (death.dead, death.dead.other()),
        false => (death.dead.other(), death.dead),
    };
    let first = Other::keeping(name, &first.to_string());
    first.expect("first");
    let second = Other::keeping(name, &second.to_string());
    second.expect("second");
    for one in [&first, &second] {
        one.expect("paired 1");
    }
    let (mut dying, mut survivor) = match death.host_dies {
        true => (first, second),
        false => (second, first),
    };
    let (reader, writer) = match death.dead {
        Side::Reader => (&mut dying, &mut survivor),
        Side::Writer => (&mut survivor, &mut dying),
    };
    reader.ask("send", "sent");
    writer.ask("take", "took 0");
    // Of two more, the Writer has one when it dies.
    if death.dead == Side::Writer {
        reader.ask("send", "sent");
        reader.ask("send", "sent");
        writer.ask("hold", "holds");
    }
    (dying, survivor)
}

/// The survivor has paired with `newcomer`, who took the dead one's place: what the dead one
/// had not given back comes again, and all ends well.
#[track_caller]
fn assert_taken_over(survivor: &mut Other, newcomer: &mut Other, death: Death) {
    newcomer.expect("second");
    newcomer.expect("paired 2");
    survivor.expect("paired 2");
    let (reader, writer) = match death.dead {
        Side::Reader => (newcomer, survivor),
        Side::Writer => (survivor, newcomer),
    };
    if death.dead == Side::Writer {
        writer.ask("take", "took 1");
        writer.ask("take", "took 2");
    }
    reader.ask("send", "sent");
    let tag = if death.dead == Side::Writer { 3 } else { 0 };
    writer.ask("take", &format!("took {tag}"));
    reader.tell("finish");
    writer.ask("finish", "finished");
    reader.expect("finished");
}

#[track_caller]
fn assert_empty(directory: &TempDir) {
    let left = std::fs::read_dir(directory.path()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn end(mut others: Vec<Other>) {
    for other in &mut others {
        other.child.wait().unwrap();
    }
}

#[test]
fn a_newcomer_that_comes_before_the_survivor_has_moved_gets_the_dead_ones_place() {
    for death in DEATHS {
        let (directory, name) = place();
        let (mut dying, mut survivor) = pair_of(&name, death);
        dying.kill();
        survivor.ask("lose", "lost");
        // Without a side of its own, it takes what is left.
        let mut newcomer = Other::keeping(&name, "any");
        // Longer than it would try to reach a pair.
        thread::sleep(Duration::from_millis(900));
        survivor.ask("go on", "going on");
        assert_taken_over(&mut survivor, &mut newcomer, death);
        end(vec![survivor, newcomer]);
        assert_empty(&directory);
    }
}

#[test]
fn a_newcomer_that_comes_while_the_survivor_moves_or_after_it_gets_the_dead_ones_place() {
    for death in DEATHS {
        for pause_ms in [0, 0, 1, 2, 4, 8, 300] {
            let (directory, name) = place();
            let (mut dying, mut survivor) = pair_of(&name, death);
            dying.kill();
            survivor.tell("go on");
            if pause_ms > 0 {
                thread::sleep(Duration::from_millis(pause_ms));
            }
            let mut newcomer = Other::keeping(&name, "any");
            survivor.expect("going on");
            assert_taken_over(&mut survivor, &mut newcomer, death);
            end(vec![survivor, newcomer]);
            assert_empty(&directory);
        }
    }
}

#[test]
fn a_newcomer_that_waits_already_when_the_partner_dies_gets_its_place() {
    for death in DEATHS {
        let (directory, name) = place();
        let (mut dying, mut survivor) = pair_of(&name, death);
        survivor.tell("lose");
        let mut newcomer = Other::keeping(&name, "any");
        dying.kill();
        survivor.expect("lost");
        survivor.ask("go on", "going on");
        // On a busy machine it came too early, was refused, and comes again.
        let mut heard = newcomer.hear();
        while heard.starts_with("refused") {
            newcomer = Other::keeping(&name, "any");
            heard = newcomer.hear();
        }
        assert_eq!(heard, "second");
        newcomer.expect("paired 2");
        survivor.expect("paired 2");
        drop((survivor, newcomer));
        drop(Seat::take(&name, &options()).unwrap());
        assert_empty(&directory);
    }
}

#[test]
fn of_two_newcomers_one_gets_the_place_and_a_third_is_refused_later_too() {
    for death in DEATHS {
        let (directory, name) = place();
        let (mut dying, mut survivor) = pair_of(&name, death);
        dying.kill();
        let newcomers = [(); 2].map(|()| Other::keeping(&name, "any"));
        survivor.ask("go on", "going on");
        let heard = [0, 1].map(|index| newcomers[index].hear());
        let wins = usize::from(heard[1] == "second");
        assert_eq!(heard[wins], "second");
        assert!(heard[1 - wins].starts_with("refused 1"), "{heard:?}");
        newcomers[wins].expect("paired 2");
        survivor.expect("paired 2");
        let error = join(&name, &options()).unwrap_err();
        assert!(matches!(error, Error::TooManyInstances { .. }), "{error:?}");
        drop((survivor, newcomers));
        drop(Seat::take(&name, &options()).unwrap());
        assert_empty(&directory);
    }
}

#[test]
fn beside_a_newcomer_that_keeps_no_place_a_third_is_refused_at_once() {
    for death in DEATHS {
        let (directory, name) = place();
        let (mut dying, mut survivor) = pair_of(&name, death);
        dying.kill();
        survivor.ask("go on", "going on");
        let newcomer = Other::start(&name, "any", false);
        newcomer.expect("second");
        newcomer.expect("paired 2");
        survivor.expect("paired 2");
        // The pair is whole: there is nobody to wait for.
        let error = join(&name, &options()).unwrap_err();
        assert!(matches!(error, Error::TooManyInstances { .. }), "{error:?}");
        drop((survivor, newcomer));
        drop(Seat::take(&name, &options()).unwrap());
        assert_empty(&directory);
    }
}

#[test]
fn several_takeovers_follow_each_other_whoever_dies() {
    let (directory, name) = place();
    let death = DEATHS[0];
    let (mut dying, mut survivor) = pair_of(&name, death);
    for epoch in 2..8 {
        dying.kill();
        survivor.ask("lose", "lost");
        let newcomer = Other::keeping(&name, "any");
        survivor.ask("go on", "going on");
        newcomer.expect("second");
        for one in [&survivor, &newcomer] {
            one.expect(&format!("paired {epoch}"));
        }
        // In turn: sometimes the one dies that has outlived the last.
        (dying, survivor) = match epoch % 2 {
            0 => (survivor, newcomer),
            _ => (newcomer, survivor),
        };
    }
    drop((dying, survivor));
    drop(Seat::take(&name, &options()).unwrap());
    assert_empty(&directory);
}

#[test]
fn when_the_survivor_dies_too_the_next_pair_is_a_new_one_and_no_file_is_left() {
    for death in DEATHS {
        for is_waiting in [false, true] {
            let (directory, name) = place();
            let (mut dying, mut survivor) = pair_of(&name, death);
            dying.kill();
            if is_waiting {
                survivor.ask("go on", "going on");
                // It has its door open, or is about to.
                thread::sleep(Duration::from_millis(20));
            }
            survivor.kill();
            let (one, mut other) = pair_of(&name, death);
            other.tell("stop");
            let mut one = one;
            one.tell("stop");
            end(vec![one, other]);
            assert_empty(&directory);
        }
    }
}

#[test]
fn a_newcomer_that_does_not_fit_is_told_so_and_the_survivor_waits_on() {
    for death in DEATHS {
        let (_directory, name) = place();
        let (mut dying, mut survivor) = pair_of(&name, death);
        dying.kill();
        survivor.ask("go on", "going on");
        let error = join(&name, &options().block_count(5)).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
        let same_side = options().side(death.dead.other());
        let error = join(&name, &same_side).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
        let mut newcomer = Other::start(&name, "any", false);
        assert_taken_over(&mut survivor, &mut newcomer, death);
    }
}

#[test]
fn a_survivor_whose_rejoin_fails_keeps_its_place_until_it_is_dropped() {
    bounded(|| {
        for host_dies in [true, false] {
            let (directory, name) = place();
            let mut writer = {
                let dead = Side::Reader;
                let (mut other, writer) = beside(&name, Death { host_dies, dead });
                other.kill();
                writer
            };
            let Role::Writer(lost) = &mut writer else {
                panic!("not the writer");
            };
            let error = lost.data_block().unwrap_err();
            assert!(matches!(error, Error::PartnerDied { .. }), "{error:?}");
            let Role::Writer(writer) = writer else {
                panic!("not the writer");
            };
            let mut survivor = writer.into_survivor().unwrap();
            let impatient = keeping().wait(Duration::from_millis(20));
            for _ in 0..2 {
                let error = survivor.rejoin(&name, &impatient).unwrap_err();
                assert!(matches!(error, Error::NoPartner { .. }), "{error:?}");
            }
            let error = join(&name, &options()).unwrap_err();
            assert!(is_refused_for_now(&error), "{error:?}");
            let newcomer = Other::keeping(&name, "any");
            let writer = survivor.rejoin(&name, &keeping()).unwrap();
            newcomer.expect("second");
            assert_eq!(writer.epoch(), 2);
            // One that is not fit, and is sent away, makes room for the next.
            let mut survivor = writer.dismiss(7, "another source").unwrap();
            drop(newcomer);
            let error = join(&name, &options()).unwrap_err();
            assert!(is_refused_for_now(&error), "{error:?}");
            drop(survivor.rejoin(&name, &keeping().wait(Duration::ZERO)));
            drop(survivor);
            let seat = Seat::take(&name, &options()).unwrap();
            assert!(seat.is_first());
            drop(seat);
            assert_empty(&directory);
        }
    });
}

/// Nobody else gets the place, but who comes learns no more than that.
fn is_refused_for_now(error: &Error) -> bool {
    matches!(
        error,
        Error::NotAnswering { .. } | Error::TooManyInstances { .. }
    )
}

/// This process's end of a pair with another process, which is to die.
fn beside(name: &str, death: Death) -> (Other, Role) {
    let own = keeping().side(death.dead.other());
    let dead = death.dead.to_string();
    match death.host_dies {
        true => {
            let other = Other::keeping(name, &dead);
            other.expect("first");
            let role = join(name, &own).unwrap();
            other.expect("paired 1");
            (other, role)
        }
        false => {
            let seat = Seat::take(name, &own).unwrap();
            let other = Other::keeping(name, &dead);
            let role = seat.wait().unwrap();
            other.expect("second");
            other.expect("paired 1");
            (other, role)
        }
    }
}

#[test]
fn who_is_dismissed_hears_why_and_what_it_had_goes_to_the_next() {
    bounded(|| {
        let (_directory, name) = place();
        let death = Death {
            host_dies: false,
            dead: Side::Writer,
        };
        let (mut other, role) = beside(&name, death);
        let Role::Reader(reader) = role else {
            panic!("not the reader");
        };
        send(&reader, &0u64.to_le_bytes(), 0);
        other.ask("hold", "holds");
        other.kill();
        let mut unreturned = reader.into_unreturned().unwrap();
        let next = name.clone();
        let unfit = thread::spawn(move || join(&next, &keeping()).unwrap());
        let reader = unreturned.rejoin(&name, &keeping()).unwrap();
        let Role::Writer(unfit) = unfit.join().unwrap() else {
            panic!("not the writer");
        };
        let detached = unfit.data_block().unwrap().unwrap().detach();
        let mut unreturned = reader.dismiss(7, "not the right disk").unwrap();
        let error = unfit.data_block().unwrap_err();
        match error {
            Error::PartnerAborted { code, reason, .. } => {
                assert_eq!((code, &*reason), (7, "not the right disk"));
            }
            error => panic!("{error:?}"),
        }
        drop(unfit);
        assert_eq!(unreturned.len(), 1);
        let mut newcomer = Other::keeping(&name, "any");
        let reader = unreturned.rejoin(&name, &keeping()).unwrap();
        assert_eq!(reader.epoch(), 3);
        newcomer.expect("second");
        newcomer.expect("paired 3");
        newcomer.ask("take", "took 0");
        assert_eq!(*detached, 0u64.to_le_bytes());
        newcomer.tell("finish");
        reader.finish().unwrap();
        newcomer.expect("finished");
    });
}

/// The ends of a pair in this process, both of which keep their places.
fn pair_here(name: &str) -> (Reader, Writer) {
    let seat = Seat::take(name, &keeping().side(Side::Reader)).unwrap();
    let host = thread::spawn(move || seat.wait());
    let second = join(name, &keeping()).unwrap();
    match (host.join().unwrap().unwrap(), second) {
        (Role::Reader(reader), Role::Writer(writer)) => (reader, writer),
        both => panic!("not a reader and a writer: {both:?}"),
    }
}

#[test]
fn two_that_have_lost_each_other_and_live_may_meet_again() {
    bounded(|| {
        let (directory, name) = place();
        let (reader, writer) = pair_here(&name);
        send(&reader, &7u64.to_le_bytes(), 7);
        let mut unreturned = reader.dismiss(0, "once more").unwrap();
        drop(writer.data_block().unwrap().unwrap());
        writer.data_block().unwrap_err();
        let mut survivor = writer.into_survivor().unwrap();
        let other = name.clone();
        let reader = thread::spawn(move || unreturned.rejoin(&other, &keeping()).unwrap());
        let writer = survivor.rejoin(&name, &keeping()).unwrap();
        let reader = reader.join().unwrap();
        assert_eq!((reader.epoch(), writer.epoch()), (2, 2));
        reader.close().unwrap();
        // It was taken, which the Reader had not heard.
        assert_eq!(writer.data_block().unwrap().unwrap().tag(), 7);
        assert!(writer.data_block().unwrap().is_none());
        writer.finish().unwrap();
        reader.verdict().unwrap();
        assert_empty(&directory);
    });
}

#[test]
fn who_goes_on_under_another_name_lets_go_of_the_first() {
    bounded(|| {
        for reader_goes_on in [true, false] {
            let (directory, name) = place();
            let elsewhere = format!("{name}2");
            let (reader, writer) = pair_here(&name);
            let other = elsewhere.clone();
            // Whoever comes first there.
            let side = if reader_goes_on {
                Side::Writer
            } else {
                Side::Reader
            };
            let newcomer = thread::spawn(move || join(&other, &keeping().side(side)).unwrap());
            let role = match reader_goes_on {
                true => {
                    drop(writer);
                    let mut unreturned = reader.into_unreturned().unwrap();
                    Role::Reader(unreturned.rejoin(&elsewhere, &keeping()).unwrap())
                }
                false => {
                    drop(reader);
                    let mut survivor = writer.into_survivor().unwrap();
                    let options = keeping();
                    Role::Writer(survivor.rejoin(&elsewhere, &options).unwrap())
                }
            };
            let seat = Seat::take(&name, &options()).unwrap();
            assert!(seat.is_first());
            drop((role, newcomer.join().unwrap(), seat));
            assert_empty(&directory);
        }
    });
}

#[test]
fn a_watcher_that_hears_of_the_loss_first_does_not_give_the_place_up() {
    bounded(|| {
        let (directory, name) = place();
        let (reader, writer) = pair_here(&name);
        let watching = [reader.monitor(), writer.monitor()];
        let watchers = watching.map(|monitor| thread::spawn(move || monitor.watch()));
        drop(reader);
        for watcher in watchers {
            watcher.join().unwrap().unwrap_err();
        }
        let mut survivor = writer.into_survivor().unwrap();
        let other = name.clone();
        let newcomer = thread::spawn(move || join(&other, &keeping()).unwrap());
        // From another thread, too.
        let thread = thread::spawn(move || {
            let writer = survivor.rejoin(&name, &keeping()).unwrap();
            (survivor, writer)
        });
        let (survivor, writer) = thread.join().unwrap();
        assert_eq!(writer.epoch(), 2);
        drop((survivor, newcomer.join().unwrap()));
        drop(writer);
        assert_empty(&directory);
    });
}

/// A process that the kernel does not let run.
#[cfg(unix)]
mod stopped {
    use rustix::process::{Pid, Signal, kill_process};

    use super::*;

    fn signal(other: &Other, signal: Signal) {
        let process = Pid::from_raw(other.child.id() as i32).unwrap();
        kill_process(process, signal).unwrap();
    }

    #[test]
    fn while_a_survivor_is_stopped_newcomers_are_refused_and_then_it_goes_on() {
        for death in DEATHS {
            let (directory, name) = place();
            let (mut dying, mut survivor) = pair_of(&name, death);
            signal(&survivor, Signal::STOP);
            dying.kill();
            let error = join(&name, &options()).unwrap_err();
            assert!(matches!(error, Error::NotAnswering { .. }), "{error:?}");
            signal(&survivor, Signal::CONT);
            survivor.ask("go on", "going on");
            let mut newcomer = Other::keeping(&name, "any");
            assert_taken_over(&mut survivor, &mut newcomer, death);
            end(vec![survivor, newcomer]);
            assert_empty(&directory);
        }
    }

    #[test]
    fn one_that_waits_for_a_stopped_survivor_is_met_when_that_runs_again() {
        for death in DEATHS {
            let (_directory, name) = place();
            let (mut dying, mut survivor) = pair_of(&name, death);
            signal(&survivor, Signal::STOP);
            dying.kill();
            survivor.tell("go on");
            let mut newcomer = Other::keeping(&name, "any");
            thread::sleep(Duration::from_millis(900));
            signal(&survivor, Signal::CONT);
            survivor.expect("going on");
            assert_taken_over(&mut survivor, &mut newcomer, death);
        }
    }

    #[test]
    fn a_joiner_that_is_stopped_with_the_claim_keeps_others_out_only_as_long_as_it_lives() {
        let (directory, name) = place();
        let claim = directory.path().join("n.claim");
        // Whoever has the lock of the file, before it is admitted.
        let file = std::fs::File::create(&claim).unwrap();
        file.try_lock().unwrap();
        let seat = Seat::take(&name, &keeping());
        assert!(matches!(seat, Err(Error::NotAnswering { .. })), "{seat:?}");
        drop(file);
        let seat = Seat::take(&name, &keeping().side(Side::Reader)).unwrap();
        let host = thread::spawn(move || seat.wait());
        let file = std::fs::File::create(&claim).unwrap();
        file.try_lock().unwrap();
        let error = join(&name, &keeping()).unwrap_err();
        assert!(matches!(error, Error::TooManyInstances { .. }), "{error:?}");
        // Who does not want it is let in.
        let Role::Writer(second) = join(&name, &options()).unwrap() else {
            panic!("not the writer");
        };
        drop((second, host.join().unwrap().unwrap(), file));
    }
}
