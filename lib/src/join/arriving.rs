//! How long to try to arrive: the half second in which a seat may become free, or its
//! host reachable.

use std::time::{Duration, Instant};

use crate::error::Error;

/// How long a process tries to reach the holder of a name before it says "too
/// many instances": the half second of the first design.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long to pause between two tries.
const PAUSE: Duration = Duration::from_millis(2);

/// When an arrival that begins now is over.
pub(super) fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

/// Repeats `attempt` until it finds something or fails; `None` if it found nothing until
/// `deadline`, nor once more after it (protocol J1, J2). `attempt` is told whether it is
/// the last one.
pub(super) fn arrive<T>(
    deadline: Instant,
    mut attempt: impl FnMut(bool) -> Result<Option<T>, Error>,
) -> Result<Option<T>, Error> {
    loop {
        // Looked at before the attempt, so that one of them is made after it.
        let last = Instant::now() >= deadline;
        let found = attempt(last)?;
        if found.is_some() || last {
            return Ok(found);
        }
        std::thread::sleep(PAUSE);
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
        let found = arrive(deadline(), |_| Ok(Some(7))).unwrap();
        assert_eq!(found, Some(7));
    }

    #[test]
    fn one_attempt_is_made_after_the_deadline_and_it_knows() {
        for patience in [Duration::ZERO, Duration::from_millis(20)] {
            let end = Instant::now() + patience;
            let (mut attempts, mut lasts) = (0, 0);
            let found: Option<()> = arrive(end, |last| {
                assert!(!last || Instant::now() >= end);
                attempts += 1;
                lasts += u32::from(last);
                Ok(None)
            })
            .unwrap();
            assert_eq!((found, lasts), (None, 1));
            assert!(attempts == 1 || patience > Duration::ZERO, "{attempts}");
            assert!(attempts <= 12, "{attempts} without a pause");
        }
    }

    #[test]
    fn what_is_found_by_the_last_attempt_counts() {
        let found = arrive(Instant::now(), |last| Ok(last.then_some(7))).unwrap();
        assert_eq!(found, Some(7));
    }

    #[test]
    fn an_error_is_not_tried_again() {
        let mut attempts = 0;
        let failed: Result<Option<()>, Error> = arrive(deadline(), |_| {
            attempts += 1;
            Err(Error::TimedOut)
        });
        assert!(matches!(failed, Err(Error::TimedOut)) && attempts == 1);
    }
}
