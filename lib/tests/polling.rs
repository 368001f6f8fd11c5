//! Waits that are polled, by a runtime that says once that the handle became readable.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

mod common;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use brigade::{Error, Interest, Options, Readiness, Seat, join, wait_any};
use common::{bounded, invalid_use, pair, partner_aborted, patiently, send, soon};

/// Wakes that a task got.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the test lets the runtime say next: `Some` once, then that it has nothing to say.
#[derive(Default)]
struct Said(Option<io::Result<()>>);

impl Said {
    fn rung() -> Said {
        Said(Some(Ok(())))
    }
}

impl Readiness for Said {
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.take().map_or(Poll::Pending, Poll::Ready)
    }
}

/// A task's context, and how often it was woken.
struct Task {
    wakes: Arc<Wakes>,
    waker: Waker,
}

impl Task {
    fn new() -> Task {
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        Task { wakes, waker }
    }

    fn cx(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
    }

    /// Since the last time.
    fn wakes(&self) -> usize {
        self.wakes.0.swap(0, Ordering::Relaxed)
    }
}

#[track_caller]
fn ready<T>(poll: Poll<Result<T, Error>>) -> T {
    match poll {
        Poll::Ready(found) => found.unwrap(),
        Poll::Pending => panic!("pending"),
    }
}

/// Whether the system says so, by a wait that takes nothing.
macro_rules! is_readable {
    ($end:expr) => {
        system::is_readable($end.handle().unwrap())
    };
}

#[test]
fn a_poll_that_is_pending_has_taken_nothing_and_the_handle_tells_of_what_comes() {
    bounded(|| {
        let (reader, writer) = pair(8, 2);
        let (task, mut silent) = (Task::new(), Said::default());
        let poll = writer.poll_data_block(&mut silent, &mut task.cx());
        assert!(poll.is_pending());
        assert!(!is_readable!(writer));
        send(&reader, b"water", 7);
        assert!(is_readable!(writer));
        // Whatever the task was woken for: nothing is asked of the runtime's word.
        let block = ready(writer.poll_data_block(&mut silent, &mut task.cx())).unwrap();
        assert_eq!((&*block, block.tag()), (&b"water"[..], 7));
        drop(block);
        let mut said = Said::rung();
        // That word was of the ring for what has come.
        let poll = writer.poll_data_block(&mut said, &mut task.cx());
        assert!(poll.is_pending() && said.0.is_none() && task.wakes() == 0);
        assert!(!is_readable!(writer));
        send(&reader, b"", 8);
        assert!(is_readable!(writer));
        ready(writer.poll_data_block(&mut silent, &mut task.cx())).unwrap();
    });
}

#[test]
fn what_stops_polling_costs_the_partner_one_ring_and_loses_nothing() {
    bounded(|| {
        let (reader, writer) = pair(8, 4);
        let (task, mut silent) = (Task::new(), Said::default());
        let poll = writer.poll_data_block(&mut silent, &mut task.cx());
        assert!(poll.is_pending());
        for tag in 0..4 {
            send(&reader, &u64::to_le_bytes(tag), tag);
        }
        // By another way of waiting, and by polls again.
        assert_eq!(writer.data_block().unwrap().unwrap().tag(), 0);
        for tag in 1..4 {
            let block = ready(writer.poll_data_block(&mut silent, &mut task.cx()));
            assert_eq!(block.unwrap().tag(), tag);
        }
        // It is not armed any more, so nobody rings.
        writer.disarm().unwrap();
        send(&reader, b"", 4);
        assert!(!is_readable!(writer));
    });
}

#[test]
fn of_two_that_wait_the_one_that_uses_up_the_ring_of_the_other_wakes_the_task() {
    bounded(|| {
        let (reader, writer) = pair(8, 2);
        let (task, mut said) = (Task::new(), Said::default());
        assert!(writer.poll_letter(&mut said, &mut task.cx()).is_pending());
        let poll = writer.poll_data_block(&mut said, &mut task.cx());
        assert!(poll.is_pending());
        send(&reader, b"water", 0);
        assert_eq!(task.wakes(), 0);
        // The letters' poll gets the word that was of the block.
        said = Said::rung();
        assert!(writer.poll_letter(&mut said, &mut task.cx()).is_pending());
        assert_eq!(task.wakes(), 1);
        ready(writer.poll_data_block(&mut said, &mut task.cx())).unwrap();
        // Likewise if it finds something itself.
        assert!(writer.poll_letter(&mut said, &mut task.cx()).is_pending());
        let poll = writer.poll_data_block(&mut said, &mut task.cx());
        assert!(poll.is_pending());
        reader.post(0, b"letter").unwrap();
        send(&reader, b"water", 0);
        task.wakes();
        said = Said::rung();
        ready(writer.poll_letter(&mut said, &mut task.cx())).unwrap();
        assert_eq!(task.wakes(), 1);
        ready(writer.poll_data_block(&mut said, &mut task.cx())).unwrap();
    });
}

#[test]
fn what_one_finds_leaves_the_other_waiting() {
    bounded(|| {
        let (reader, writer) = pair(8, 2);
        let (task, mut silent) = (Task::new(), Said::default());
        assert!(writer.poll_letter(&mut silent, &mut task.cx()).is_pending());
        for tag in 0..2 {
            // Found at once, and then after a wait that both had begun.
            if tag == 1 {
                let poll = writer.poll_data_block(&mut silent, &mut task.cx());
                assert!(poll.is_pending());
            }
            send(&reader, b"water", tag);
            ready(writer.poll_data_block(&mut silent, &mut task.cx())).unwrap();
        }
        // Woken it is by the ring for the block, of which the runtime has yet to tell.
        assert_eq!(task.wakes(), 0);
        reader.post(0, b"letter").unwrap();
        assert!(is_readable!(writer));
        ready(writer.poll_letter(&mut silent, &mut task.cx())).unwrap();
    });
}

#[test]
fn the_end_of_the_session_is_found_though_the_runtime_has_told_of_it_before() {
    bounded(|| {
        let (reader, writer) = pair(8, 1);
        let task = Task::new();
        send(&reader, b"water", 0);
        let poll = reader.poll_empty_block(&mut Said::default(), &mut task.cx());
        assert!(poll.is_pending());
        writer.abort("enough");
        for mut said in [Said::rung(), Said::default(), Said::default()] {
            let poll = reader.poll_empty_block(&mut said, &mut task.cx());
            assert!(matches!(
                poll,
                Poll::Ready(Err(Error::PartnerAborted { .. }))
            ));
            let poll = reader.poll_end(&mut said, &mut task.cx());
            assert!(matches!(
                poll,
                Poll::Ready(Err(Error::PartnerAborted { .. }))
            ));
        }
    });
}

#[test]
fn an_end_that_one_poll_was_told_of_is_found_by_another_that_waited_before() {
    bounded(|| {
        let (reader, _writer) = pair(8, 1);
        let (task, mut silent) = (Task::new(), Said::default());
        send(&reader, b"water", 0);
        let poll = reader.poll_empty_block(&mut silent, &mut task.cx());
        assert!(poll.is_pending());
        reader.monitor().abort("enough");
        let poll = reader.poll_letter(&mut Said::rung(), &mut task.cx());
        assert!(matches!(poll, Poll::Ready(Err(Error::Aborted { .. }))));
        assert!(task.wakes() > 0);
        let poll = reader.poll_empty_block(&mut silent, &mut task.cx());
        assert!(matches!(poll, Poll::Ready(Err(Error::Aborted { .. }))));
    });
}

#[test]
fn a_poll_for_what_cannot_come_any_more_is_no_wait_for_ever() {
    bounded(|| {
        let (reader, writer) = pair(8, 1);
        let (task, mut silent) = (Task::new(), Said::default());
        reader.close().unwrap();
        assert!(
            reader
                .poll_verdict(&mut silent, &mut task.cx())
                .is_pending()
        );
        assert!(writer.data_block().unwrap().is_none());
        writer.finish().unwrap();
        assert_eq!(
            ready(reader.poll_verdict(&mut silent, &mut task.cx())).blocks,
            0
        );
        // Both are over: there is nobody whose letters these could be.
        let letter = ready(reader.poll_letter(&mut silent, &mut task.cx()));
        assert!(letter.is_none());
        ready(reader.poll_end(&mut silent, &mut task.cx()));
        match writer.poll_post(0, b"", &mut silent, &mut task.cx()) {
            Poll::Ready(refused) => {
                invalid_use(refused);
            }
            Poll::Pending => panic!("pending"),
        }
    });
}

#[test]
fn whoever_is_told_by_a_poll_that_the_session_failed_finds_the_name_free() {
    bounded(|| {
        let directory = tempfile::tempdir().unwrap();
        let name = format!("{}/n", directory.path().display());
        let options = Options::new();
        let seat = Seat::take(&name, &options).unwrap();
        let host = thread::spawn(move || seat.wait());
        let second = patiently(|| join(&name, &options));
        let reader = host.join().unwrap().unwrap().into_reader().unwrap();
        second.into_writer().unwrap().abort("no more");
        let (task, mut silent) = (Task::new(), Said::default());
        match reader.poll_end(&mut silent, &mut task.cx()) {
            Poll::Ready(ended) => assert_eq!(partner_aborted(ended), "no more"),
            Poll::Pending => panic!("pending"),
        }
        assert!(Seat::take(&name, &options).unwrap().is_first());
        drop(reader);
    });
}

#[test]
fn who_waits_for_the_end_alone_is_not_rung_for_blocks() {
    bounded(|| {
        let (reader, writer) = pair(8, 2);
        let (task, mut silent) = (Task::new(), Said::default());
        assert!(writer.poll_end(&mut silent, &mut task.cx()).is_pending());
        send(&reader, b"water", 0);
        reader.post(0, b"letter").unwrap();
        assert!(!is_readable!(writer));
        let monitor = writer.monitor();
        monitor.abort("enough");
        assert!(is_readable!(writer));
        let poll = writer.poll_end(&mut Said::rung(), &mut task.cx());
        assert!(matches!(poll, Poll::Ready(Err(Error::Aborted { .. }))));
    });
}

#[test]
fn a_wait_for_the_end_that_uses_up_a_ring_wakes_the_task_for_the_others() {
    bounded(|| {
        let (reader, writer) = pair(8, 2);
        let (task, mut said) = (Task::new(), Said::default());
        let poll = writer.poll_data_block(&mut said, &mut task.cx());
        assert!(poll.is_pending());
        send(&reader, b"water", 0);
        said = Said::rung();
        assert!(writer.poll_end(&mut said, &mut task.cx()).is_pending());
        assert!(task.wakes() > 0);
        ready(writer.poll_data_block(&mut said, &mut task.cx())).unwrap();
        // And the other way round.
        assert!(writer.poll_end(&mut said, &mut task.cx()).is_pending());
        let poll = writer.poll_data_block(&mut said, &mut task.cx());
        assert!(poll.is_pending());
        send(&reader, b"water", 0);
        task.wakes();
        said = Said::rung();
        ready(writer.poll_data_block(&mut said, &mut task.cx())).unwrap();
        assert!(task.wakes() > 0);
    });
}

#[test]
fn a_runtime_that_cannot_wake_the_task_is_an_error() {
    bounded(|| {
        let (reader, writer) = pair(8, 1);
        let task = Task::new();
        let broken = || Said(Some(Err(io::ErrorKind::Other.into())));
        let poll = writer.poll_data_block(&mut broken(), &mut task.cx());
        assert!(matches!(poll, Poll::Ready(Err(Error::Os { .. }))));
        let poll = writer.poll_end(&mut broken(), &mut task.cx());
        assert!(matches!(poll, Poll::Ready(Err(Error::Os { .. }))));
        // The session goes on.
        send(&reader, b"water", 0);
        assert!(writer.data_block().unwrap().is_some());
    });
}

#[test]
fn a_block_that_comes_home_wakes_the_end_that_a_task_waits_for() {
    bounded(|| {
        let (reader, writer) = pair(8, 1);
        let (task, mut silent) = (Task::new(), Said::default());
        send(&reader, b"water", 0);
        let block = writer.data_block().unwrap().unwrap().detach();
        let poll = writer.poll_data_block(&mut silent, &mut task.cx());
        assert!(poll.is_pending());
        std::thread::spawn(move || drop(block)).join().unwrap();
        assert!(is_readable!(writer));
        let poll = writer.poll_data_block(&mut Said::rung(), &mut task.cx());
        assert!(poll.is_pending());
        assert!(reader.try_empty_block().unwrap().is_some());
    });
}

#[test]
fn who_waits_for_the_end_alone_passes_on_what_other_threads_are_done_with() {
    bounded(|| {
        let (reader, writer) = pair(8, 1);
        let (task, mut silent) = (Task::new(), Said::default());
        // They are done with it during the wait...
        let block = reader.empty_block().unwrap().detach();
        assert!(reader.poll_end(&mut silent, &mut task.cx()).is_pending());
        let sending = std::thread::spawn(move || block.send(8, 1));
        sending.join().unwrap().unwrap();
        assert!(is_readable!(reader));
        let poll = reader.poll_end(&mut Said::rung(), &mut task.cx());
        assert!(poll.is_pending() && task.wakes() == 0);
        assert!(!is_readable!(reader));
        let block = writer.try_data_block().unwrap().unwrap().detach();
        assert!(writer.poll_end(&mut silent, &mut task.cx()).is_pending());
        std::thread::spawn(move || drop(block)).join().unwrap();
        assert!(is_readable!(writer));
        let poll = writer.poll_end(&mut Said::rung(), &mut task.cx());
        assert!(poll.is_pending() && task.wakes() == 0);
        assert!(!is_readable!(writer));
        // ...and before it.
        let block = reader.try_empty_block().unwrap().unwrap().detach();
        block.send(8, 2).unwrap();
        assert!(reader.poll_end(&mut silent, &mut task.cx()).is_pending());
        let block = writer.try_data_block().unwrap().unwrap().detach();
        drop(block);
        assert!(writer.poll_end(&mut silent, &mut task.cx()).is_pending());
        assert!(reader.try_empty_block().unwrap().is_some());
    });
}

#[test]
fn a_wait_that_is_ready_wakes_the_task_for_one_for_the_end_which_then_passes_blocks_on() {
    bounded(|| {
        let (reader, writer) = pair(8, 2);
        let (task, mut silent) = (Task::new(), Said::default());
        assert!(writer.poll_end(&mut silent, &mut task.cx()).is_pending());
        let poll = writer.poll_data_block(&mut silent, &mut task.cx());
        assert!(poll.is_pending());
        send(&reader, b"water", 0);
        let block = ready(writer.poll_data_block(&mut silent, &mut task.cx()));
        let block = block.unwrap().detach();
        assert_eq!(task.wakes(), 1);
        assert!(
            writer
                .poll_end(&mut Said::rung(), &mut task.cx())
                .is_pending()
        );
        assert!(!is_readable!(writer));
        std::thread::spawn(move || drop(block)).join().unwrap();
        assert!(is_readable!(writer));
        assert!(
            writer
                .poll_end(&mut Said::rung(), &mut task.cx())
                .is_pending()
        );
        assert!(!is_readable!(writer));
        // If the one for the end was dropped, the task is woken once for nothing; and after
        // that, nobody rings for a block that comes home.
        for (tag, wakes) in [(1, 1), (2, 0)] {
            send(&reader, b"water", tag);
            let block = ready(writer.poll_data_block(&mut silent, &mut task.cx()));
            let block = block.unwrap().detach();
            assert_eq!(task.wakes(), wakes);
            std::thread::spawn(move || drop(block)).join().unwrap();
            assert!(!is_readable!(writer));
        }
    });
}

#[test]
fn what_others_have_sent_goes_when_it_is_passed_on_and_a_block_that_is_attached_at_once() {
    bounded(|| {
        let (reader, writer) = pair(8, 3);
        let (other, _writer) = pair(8, 1);
        let [first, second] = [(); 2].map(|()| reader.empty_block().unwrap().detach());
        first.send(0, 1).unwrap();
        assert!(writer.try_data_block().unwrap().is_none());
        reader.pass_on();
        let block = writer.try_data_block().unwrap().unwrap().detach();
        assert_eq!(block.tag(), 1);
        let second = other.attach(second).unwrap_err();
        reader.attach(second).unwrap().send(0, 2).unwrap();
        assert_eq!(writer.try_data_block().unwrap().unwrap().tag(), 2);
        // One that is attached and not sent is empty again, and no other than before.
        let third = reader.empty_block().unwrap().detach();
        drop(reader.attach(third).unwrap());
        drop(block);
        writer.pass_on();
        let all: Vec<_> = std::iter::from_fn(|| reader.try_empty_block().unwrap()).collect();
        assert_eq!(all.len(), 3);
        drop(all);
        // To give up passes it on, too, as to drop the end does.
        let last = reader.empty_block().unwrap().detach();
        last.send(0, 3).unwrap();
        reader.abort("enough");
        assert_eq!(writer.data_block().unwrap().unwrap().tag(), 3);
        partner_aborted(writer.data_block());
    });
}

#[test]
fn what_a_poll_has_begun_is_over_when_another_wait_was_made() {
    bounded(|| {
        let (reader, writer) = pair(8, 2);
        let (task, mut silent) = (Task::new(), Said::default());
        for round in 0..3 {
            let poll = writer.poll_data_block(&mut silent, &mut task.cx());
            assert!(poll.is_pending());
            match round {
                0 => drop(writer.data_block_until(soon()).unwrap_err()),
                1 => {
                    let ends: [(&dyn brigade::Waitable, Interest); 1] =
                        [(&writer, Interest::LETTERS)];
                    assert!(wait_any(&ends, Some(soon())).unwrap().is_empty());
                }
                _ => writer.disarm().unwrap(),
            }
            // So the next poll arms it again.
            let poll = writer.poll_data_block(&mut silent, &mut task.cx());
            assert!(poll.is_pending());
            send(&reader, b"water", 0);
            assert!(is_readable!(writer));
            ready(writer.poll_data_block(&mut silent, &mut task.cx())).unwrap();
        }
    });
}

#[cfg(unix)]
mod system {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    pub(super) fn is_readable(handle: brigade::Handle<'_>) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(handle, PollFlags::IN)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&at_once)).unwrap() == 1
    }
}

#[cfg(windows)]
mod system {
    #![allow(unsafe_code, reason = "the system's interface is all unsafe functions")]

    use std::os::windows::io::AsRawHandle;
    use windows_sys::Win32::System::Threading::WaitForSingleObject;

    pub(super) fn is_readable(handle: brigade::Handle<'_>) -> bool {
        // SAFETY: the handle is open as long as it is borrowed.
        unsafe { WaitForSingleObject(handle.as_raw_handle(), 0) == 0 }
    }
}
