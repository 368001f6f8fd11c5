//! Finding the other process, which may just have been killed and started again.

use std::thread;
use std::time::{Duration, Instant};

use brigade::{Error, Options, Side};

use crate::{LANES, LIMIT, Task};

/// What a Reader says of a session before it: how many blocks are sent again first, and the
/// index of each lane's next block after that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) resent: u64,
    pub(crate) next: [u64; LANES],
}

impl Opening {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let numbers = [&[self.resent][..], &self.next].concat();
        numbers.into_iter().flat_map(u64::to_ne_bytes).collect()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Opening {
        let (numbers, _) = bytes.as_chunks::<8>();
        let numbers: Vec<u64> = numbers.iter().map(|n| u64::from_ne_bytes(*n)).collect();
        Opening {
            resent: numbers[0],
            next: numbers[1..].try_into().unwrap(),
        }
    }
}

pub(crate) fn name(task: &Task) -> String {
    format!("{}/session", task.directory.display())
}

pub(crate) fn options(task: &Task, side: Side) -> Options {
    let options = Options::new()
        .block_size(task.block_size)
        .block_count(task.block_count)
        .side(side)
        .wait(LIMIT);
    match task.takeover {
        true => options.takeover(LIMIT),
        false => options,
    }
}

/// Repeats `join` while the partner is still busy with one that has died.
pub(crate) fn patiently<T>(mut join: impl FnMut() -> Result<T, Error>) -> T {
    let since = Instant::now();
    loop {
        match join() {
            Ok(joined) => return joined,
            Err(Error::TooManyInstances { .. } | Error::NotAnswering { .. }) => {
                assert!(since.elapsed() < LIMIT, "the name stays taken");
                thread::sleep(Duration::from_millis(10));
            }
            // It was killed while the two were joining.
            Err(Error::PartnerDied { .. }) => {}
            Err(error) => panic!("joining: {error}"),
        }
    }
}
