//! Hashes what a file holds, with a thread for each processor.
//!
//! ```text
//! one thread      read ─ hash ─ add       read ─ hash ─ add
//! another one          read ─ hash ─ add       read ─ hash ─ add
//! ```
//!
//! Pieces are begun in order, so that a disk is read from its beginning to its end, and are
//! added in order: a thread has one piece at a time.

use std::fs::File;
use std::io;
use std::num::NonZero;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::sys;
use crate::tree::{PIECE_BYTES, Tree, piece_at};

/// Nothing reads faster than that many hash.
const THREADS_MAX: usize = 32;

/// How far a file is read.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    /// To that offset, unless it ends before.
    Offset(u64),
    /// To its end, which should be there.
    End(u64),
}

/// Adds to `tree`, which ends with a subtree, what `file` holds from there on. `show` gets to
/// know up to where.
pub(crate) fn add(
    tree: Tree,
    file: &File,
    until: Until,
    show: impl Fn(u64) + Sync,
) -> io::Result<Tree> {
    add_by(processors(), tree, file, until, show)
}

/// The same by so many threads at most.
fn add_by(
    threads: u64,
    tree: Tree,
    file: &File,
    until: Until,
    show: impl Fn(u64) + Sync,
) -> io::Result<Tree> {
    let begin = tree.end();
    let (end, expected) = match until {
        Until::Offset(end) => (end, end),
        Until::End(expected) => (u64::MAX, expected),
    };
    let work = Work {
        file,
        end,
        show,
        state: Mutex::new(State {
            next: Some(begin).filter(|&begin| begin < end),
            turn: begin,
            tree,
            error: None,
        }),
        changed: Condvar::new(),
    };
    let pieces = expected.saturating_sub(begin).div_ceil(PIECE_BYTES as u64);
    thread::scope(|scope| {
        for _ in 1..threads.min(pieces) {
            let thread = thread::Builder::new().name("hash".into());
            // Fewer do it, too.
            if thread.spawn_scoped(scope, || work.run()).is_err() {
                break;
            }
        }
        work.run();
    });
    let state = work.state.into_inner();
    let State { tree, error, .. } = state.unwrap_or_else(PoisonError::into_inner);
    error.map_or(Ok(tree), Err)
}

/// Those that this process may use.
fn processors() -> u64 {
    let found = thread::available_parallelism().map_or(1, NonZero::get);
    found.min(THREADS_MAX) as u64
}

struct Work<'f, S> {
    file: &'f File,
    end: u64,
    show: S,
    state: Mutex<State>,
    /// `turn`, or `error`.
    changed: Condvar,
}

struct State {
    /// Where the piece begins that is read next; `None` if no more will be.
    next: Option<u64>,
    /// Where the piece begins that is added next.
    turn: u64,
    tree: Tree,
    error: Option<io::Error>,
}

impl<S: Fn(u64) + Sync> Work<'_, S> {
    fn run(&self) {
        let mut buffer = vec![0; PIECE_BYTES];
        while let Some(at) = self.next() {
            let left = usize::try_from(self.end - at).unwrap_or(usize::MAX);
            let wanted = left.min(PIECE_BYTES);
            match read(self.file, &mut buffer[..wanted], at) {
                Ok(len) => {
                    if len < wanted {
                        self.state().next = None;
                    }
                    self.hash(at, &buffer[..len]);
                }
                Err(error) => self.fail(error),
            }
        }
    }

    fn next(&self) -> Option<u64> {
        let mut state = self.state();
        let at = state.next?;
        let next = at.checked_add(PIECE_BYTES as u64);
        state.next = next.filter(|&next| next < self.end);
        Some(at)
    }

    fn hash(&self, at: u64, bytes: &[u8]) {
        let mut piece = piece_at(at);
        piece.update(bytes);
        let mut state = self.state();
        while state.turn != at && state.error.is_none() {
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        state.tree.add_piece(at, piece, bytes);
        state.turn += PIECE_BYTES as u64;
        self.changed.notify_all();
        (self.show)(state.tree.end());
    }

    fn fail(&self, error: io::Error) {
        let mut state = self.state();
        state.next = None;
        state.error.get_or_insert(error);
        self.changed.notify_all();
    }

    /// Valid even if a thread panicked with it: then this one's caller does, too.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As many bytes as there are from `at` on, if they are not more than fit.
fn read(file: &File, block: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match sys::read_at(file, &mut block[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(len) => filled += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::HashSet;
    use std::io::Write;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::tree::SUBTREE_BYTES;

    const SUBTREE: usize = SUBTREE_BYTES as usize;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at ^ at >> 8 ^ at >> 16) as u8).collect()
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn a_file_has_the_hash_of_its_bytes_by_however_many_threads() {
        for len in [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * SUBTREE + 70_000] {
            let all = bytes(len);
            let file = file(&all);
            let end = len as u64;
            // More may come than was expected; the end may be nowhere near.
            let ends = [Until::Offset(end), Until::End(end), Until::End(1)];
            for (until, threads) in ends.into_iter().flat_map(|until| [(until, 1), (until, 5)]) {
                let shown = AtomicU64::new(0);
                let show = |at| shown.store(at, Ordering::Relaxed);
                let tree = add_by(threads, Tree::new(), &file, until, show).unwrap();
                assert_eq!(tree.finalize(), blake3::hash(&all), "{len} by {threads}");
                assert_eq!((tree.end(), shown.into_inner()), (end, end));
            }
            let until = Until::Offset(end / 2);
            let tree = add_by(3, Tree::new(), &file, until, |_| {}).unwrap();
            assert_eq!(tree.finalize(), blake3::hash(&all[..len / 2]));
            // One that was cut.
            let until = Until::Offset(end + SUBTREE_BYTES);
            let tree = add_by(3, Tree::new(), &file, until, |_| {}).unwrap();
            assert_eq!(tree.end(), end);
        }
    }

    #[test]
    fn several_threads_hash_where_there_are_several_processors() {
        let len = 64 * PIECE_BYTES;
        let file = file(&bytes(len));
        let start = Instant::now();
        let threads = || {
            let seen = Mutex::new(HashSet::new());
            // Who has hashed a piece is who shows it.
            let show = |_| {
                seen.lock().unwrap().insert(thread::current().id());
            };
            add(Tree::new(), &file, Until::End(len as u64), show).unwrap();
            seen.into_inner().unwrap().len() as u64
        };
        // On a busy machine, one may be done with all before another one begins.
        while threads() < processors().min(2) {
            assert!(start.elapsed() < Duration::from_secs(60));
        }
    }

    #[test]
    fn a_tree_that_has_begun_goes_on_with_a_file() {
        let all = bytes(3 * SUBTREE + 7);
        let file = file(&all);
        let until = Until::Offset(2 * SUBTREE_BYTES);
        let begun = add_by(2, Tree::new(), &file, until, |_| {}).unwrap();
        let begun = begun.begun().unwrap();
        let tree = Tree::before_last_of(&begun);
        let tree = add_by(2, tree, &file, Until::End(0), |_| {}).unwrap();
        assert_eq!(tree.finalize(), blake3::hash(&all));
        let tree = Tree::before_last_of(&begun);
        let again = add_by(2, tree, &file, until, |_| {}).unwrap();
        assert!(begun.agrees_with(&again));
    }

    #[test]
    fn what_cannot_be_read_is_an_error_however_many_threads_there_are() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let mut file = File::create(&path).unwrap();
        file.write_all(&bytes(9 * PIECE_BYTES)).unwrap();
        for threads in [1, 5] {
            let until = Until::End(9 * PIECE_BYTES as u64);
            let tree = add_by(threads, Tree::new(), &file, until, |_| {});
            assert!(tree.is_err());
        }
    }
}
