//! Named steps, at each of which a test can let a process die.
//!
//! Only in debug builds; in others a step is nothing. The environment variable
//! `BRIGADE_DIE_AT` says `STEP:COUNT:FILE`: who passes STEP for the COUNTth time dies at
//! once, as by `kill -9`, if it could remove FILE. So of several processes with one
//! environment only one dies.

/// The process passes `step`.
#[inline(always)]
pub fn at_step(step: &str) {
    #[cfg(all(debug_assertions, not(loom)))]
    armed::pass(step);
    #[cfg(not(all(debug_assertions, not(loom))))]
    let _ = step;
}

#[cfg(all(debug_assertions, not(loom)))]
mod armed {
    use std::path::PathBuf;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use crate::sys;

    struct Death {
        step: String,
        count: u64,
        file: PathBuf,
        passed: AtomicU64,
    }

    static DEATH: OnceLock<Option<Death>> = OnceLock::new();

    pub(super) fn pass(step: &str) {
        let Some(death) = DEATH.get_or_init(planned) else {
            return;
        };
        if step != death.step {
            return;
        }
        let passed = death.passed.fetch_add(1, Ordering::Relaxed) + 1;
        if passed == death.count && std::fs::remove_file(&death.file).is_ok() {
            sys::die();
        }
    }

    fn planned() -> Option<Death> {
        let words = std::env::var("BRIGADE_DIE_AT").ok()?;
        let mut words = words.splitn(3, ':');
        Some(Death {
            step: words.next()?.to_owned(),
            count: words.next()?.parse().ok()?,
            file: words.next()?.into(),
            passed: AtomicU64::new(0),
        })
    }
}
