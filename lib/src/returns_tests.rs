#![allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it"
)]

use super::*;
use proptest::prelude::*;

const BLOCKS: usize = 5;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Pushes this block, if it is out.
    Put(usize),
    Send(usize),
    Take,
    TakeAndSleep,
    Sleep,
    Wake,
    Close,
    Leave,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..BLOCKS).prop_map(Step::Put),
        8 => (0..BLOCKS).prop_map(Step::Send),
        3 => Just(Step::Take),
        3 => Just(Step::TakeAndSleep),
        1 => Just(Step::Sleep),
        1 => Just(Step::Wake),
        1 => Just(Step::Close),
        1 => Just(Step::Leave),
    ]
}

/// What the list is to be, in plain words.
#[derive(Default)]
struct Model {
    pushed: Vec<(usize, Errand)>,
    asleep: bool,
    closed: bool,
    gone: bool,
}

impl Model {
    fn push(&mut self, number: usize, errand: Errand) -> bool {
        self.pushed.push((number, errand));
        std::mem::take(&mut self.asleep)
    }

    fn send(&mut self, number: usize, errand: Errand) -> Result<bool, Refused> {
        match (self.gone, self.closed) {
            (true, _) => Err(Refused::Gone),
            (false, true) => Err(Refused::Closed),
            (false, false) => Ok(self.push(number, errand)),
        }
    }
}

proptest! {
    #[test]
    fn any_sequence_of_steps_does_what_a_plain_model_does(
        steps in prop::collection::vec(step(), 0..100)
    ) {
        let returns = Returns::new(BLOCKS);
        let mut model = Model::default();
        for (index, step) in steps.into_iter().enumerate() {
            let errand = [index as u64, u64::MAX - index as u64];
            let is_out = |model: &Model, number| model.pushed.iter().all(|(other, _)| *other != number);
            match step {
                Step::Put(number) if is_out(&model, number) => {
                    prop_assert_eq!(returns.put(number, errand), model.push(number, errand));
                }
                Step::Send(number) if is_out(&model, number) => {
                    prop_assert_eq!(returns.send(number, errand), model.send(number, errand));
                }
                Step::Put(_) | Step::Send(_) => {}
                Step::Sleep => {
                    returns.sleep();
                    model.asleep = true;
                }
                Step::Take | Step::TakeAndSleep => {
                    let sleep = matches!(step, Step::TakeAndSleep);
                    // A take that finds nothing leaves all as it is.
                    model.asleep = sleep || model.asleep && model.pushed.is_empty();
                    let taken: Vec<_> = returns.take(sleep).collect();
                    prop_assert_eq!(taken, std::mem::take(&mut model.pushed));
                }
                Step::Wake => {
                    returns.wake();
                    model.asleep = false;
                }
                Step::Close => {
                    returns.close();
                    model.closed = true;
                }
                Step::Leave => {
                    returns.leave();
                    model.gone = true;
                }
            }
        }
    }
}

#[test]
fn the_list_holds_the_largest_block_number() {
    let returns = Returns::new(crate::BLOCK_COUNT_MAX);
    let last = crate::BLOCK_COUNT_MAX - 1;
    for number in [last, 0, 1] {
        assert!(!returns.put(number, [number as u64, 7]));
    }
    let taken: Vec<_> = returns.take(false).collect();
    assert_eq!(taken, [(last, [last as u64, 7]), (0, [0, 7]), (1, [1, 7])]);
    assert_eq!(returns.take(false).count(), 0);
}

#[test]
fn what_four_threads_push_is_all_taken_and_in_order_for_each_thread() {
    const THREADS: usize = 4;
    const EACH: usize = 5_000;
    let returns = Returns::new(THREADS * EACH);
    let taken = std::thread::scope(|scope| {
        let pushing: Vec<_> = (0..THREADS)
            .map(|thread| {
                let returns = &returns;
                scope.spawn(move || {
                    for index in 0..EACH {
                        let number = thread * EACH + index;
                        assert!(!returns.put(number, [thread as u64, index as u64]));
                    }
                })
            })
            .collect();
        let mut taken = Vec::new();
        while taken.len() < THREADS * EACH {
            let before = taken.len();
            taken.extend(returns.take(false));
            let is_done = pushing.iter().all(|thread| thread.is_finished());
            if is_done && taken.len() == before {
                taken.extend(returns.take(false));
                break;
            }
        }
        taken
    });
    assert_eq!(taken.len(), THREADS * EACH);
    let mut next = [0; THREADS];
    for (number, [thread, index]) in taken {
        assert_eq!(number, thread as usize * EACH + index as usize);
        assert_eq!(index, next[thread as usize]);
        next[thread as usize] += 1;
    }
}
