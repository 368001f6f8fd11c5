//! How long to try to arrive: the half second in which a seat may become free, or its
//! host reachable.

use std::time::{Duration, Instant};

use crate::error::Error;

/// How long a process tries to reach the holder of a name before it says "too
/// many instances": the half second of the first design.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long it tries if there are not two, and the other one is yet to open: a Writer
/// that drains what a lost partner has left, for instance.
const LONGER: Duration = Duration::from_secs(5);

/// How long to pause between two tries.
const PAUSE: Duration = Duration::from_millis(2);

/// The same while it waits for one that is busy. Each try takes the seat for a moment.
const LONGER_PAUSE: Duration = Duration::from_millis(10);

/// What became of an attempt, and of them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrived<T> {
    At(T),
    /// Two processes have the name.
    Full,
    /// One has, at most, and is yet to open.
    Later,
}

/// When an arrival that begins now is over, or after `limit`, if that is longer.
pub(super) fn deadline(limit: Option<Duration>) -> Instant {
    let now = Instant::now();
    let longest = limit.and_then(|limit| now.checked_add(limit.max(PATIENCE)));
    longest.unwrap_or(now + PATIENCE)
}

/// Repeats `attempt` until it finds something or fails, until `deadline` and once more
/// after it, or longer if it says so (protocol J1, J2). `attempt` is told when it ends, and
/// whether it is the last one.
pub(super) fn arrive<T>(
    mut deadline: Instant,
    mut attempt: impl FnMut(Instant, bool) -> Result<Arrived<T>, Error>,
) -> Result<Arrived<T>, Error> {
    let longest = deadline.max(Instant::now() + LONGER);
    loop {
        // Looked at before the attempt, so that one of them is made after it.
        let now = Instant::now();
        let last = now >= deadline;
        let found = attempt(deadline, last)?;
        let pause = match found {
            Arrived::At(_) => return Ok(found),
            Arrived::Later if now < longest => {
                deadline = deadline.max(longest.min(now + PATIENCE));
                LONGER_PAUSE
            }
            _ if last => return Ok(found),
            Arrived::Later => LONGER_PAUSE,
            Arrived::Full => PAUSE,
        };
        std::thread::sleep(pause);
    }
}

#[cfg(all(test, not(loom)))]
#[allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it"
)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_at_once_is_not_waited_for() {
        let found = arrive(deadline(None), |_, _| Ok(Arrived::At(7))).unwrap();
        assert_eq!(found, Arrived::At(7));
    }

    #[test]
    fn one_attempt_is_made_after_the_deadline_and_it_knows() {
        for patience in [Duration::ZERO, Duration::from_millis(20)] {
            let end = Instant::now() + patience;
            let (mut attempts, mut lasts) = (0, 0);
            let found: Arrived<()> = arrive(end, |until, last| {
                assert!(!last || Instant::now() >= end);
                assert_eq!(until, end);
                attempts += 1;
                lasts += u32::from(last);
                Ok(Arrived::Full)
            })
            .unwrap();
            assert_eq!((found, lasts), (Arrived::Full, 1));
            assert!(attempts == 1 || patience > Duration::ZERO, "{attempts}");
            assert!(attempts <= 12, "{attempts} without a pause");
        }
    }

    #[test]
    fn what_is_found_by_the_last_attempt_counts() {
        let found = arrive(Instant::now(), |_, last| {
            Ok(match last {
                true => Arrived::At(7),
                false => Arrived::Full,
            })
        });
        assert_eq!(found.unwrap(), Arrived::At(7));
    }

    #[test]
    fn who_is_busy_is_waited_for_longer_but_not_without_an_end() {
        let start = Instant::now();
        let found: Arrived<()> = arrive(start, |_, _| Ok(Arrived::Later)).unwrap();
        assert_eq!(found, Arrived::Later);
        assert!(start.elapsed() >= LONGER);
        // Once there are two again, the ordinary patience holds.
        let start = Instant::now();
        let mut attempts = 0;
        let found: Arrived<()> = arrive(start, |_, _| {
            attempts += 1;
            Ok(match attempts {
                1 => Arrived::Later,
                _ => Arrived::Full,
            })
        })
        .unwrap();
        assert_eq!(found, Arrived::Full);
        assert!(start.elapsed() >= PATIENCE);
    }

    #[test]
    fn an_error_is_not_tried_again() {
        let mut attempts = 0;
        let failed: Result<Arrived<()>, Error> = arrive(deadline(None), |_, _| {
            attempts += 1;
            Err(Error::TimedOut)
        });
        assert!(matches!(failed, Err(Error::TimedOut)) && attempts == 1);
    }
}
