//! Write-back that starts early: a thread that syncs what was written so far,
//! again and again, while more is written. So the sync at the end has little left
//! to do, and progress can be shown of what is really on disk.

use std::fs::File;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Syncing less at a time would cost more in flushes than it gains. What is written while a
/// sync lasts is the next one's, so on a slow disk more than this is synced at a time.
const STEP_BYTES: u64 = 4 << 20;

/// But what comes slowly should not take for ever to be on disk.
const STEP_TIME: Duration = Duration::from_secs(1);

/// The thread, as seen by the one that writes. Dropped, it is left to itself: it
/// may be stuck in the system, and the copy has failed anyway.
pub(crate) struct Syncer {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    written: u64,
    /// `written` when the thread was notified last.
    noted: u64,
    synced: u64,
    stop: bool,
    error: Option<io::Error>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Syncer {
    /// Starts the thread for `file`; `report` is called with the range of bytes that
    /// were synced, before which all are on disk.
    pub(crate) fn start(
        file: File,
        report: impl FnMut(u64, u64) + Send + 'static,
    ) -> io::Result<Syncer> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let thread = std::thread::Builder::new().name("sync".into()).spawn({
            let shared = Arc::clone(&shared);
            move || sync_on(&shared, &file, report)
        })?;
        Ok(Syncer {
            shared,
            thread: Some(thread),
        })
    }

    /// Says that `written` bytes were written in all.
    ///
    /// # Errors
    ///
    /// What an earlier sync failed with: the system tells only once.
    pub(crate) fn written(&self, written: u64) -> io::Result<()> {
        let mut state = self.shared.state();
        if let Some(error) = state.error.take() {
            return Err(error);
        }
        // Woken for every block, the thread would only get in the way.
        let due = state.noted == state.synced || written - state.noted >= STEP_BYTES;
        state.written = written;
        if due {
            state.noted = written;
            self.shared.changed.notify_one();
        }
        Ok(())
    }

    /// Ends the thread, after what it is at.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.shared.state().stop = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        match self.shared.state().error.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.shared.state().stop = true;
        self.shared.changed.notify_one();
    }
}

fn sync_on(shared: &Shared, file: &File, mut report: impl FnMut(u64, u64)) {
    loop {
        let mut state = shared.state();
        let mut overdue = false;
        while !state.stop && !overdue && state.written - state.synced < STEP_BYTES {
            // With nothing to sync, no time of the processor is used.
            if state.written == state.synced {
                let woken = shared.changed.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
            } else {
                let woken = shared.changed.wait_timeout(state, STEP_TIME);
                let timeout;
                (state, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
                overdue = timeout.timed_out();
            }
        }
        if state.stop {
            return;
        }
        let (synced, written) = (state.synced, state.written);
        drop(state);
        if let Err(error) = file.sync_data() {
            shared.state().error = Some(error);
            return;
        }
        report(synced, written);
        let mut state = shared.state();
        state.synced = written;
        state.noted = state.noted.max(written);
    }
}
