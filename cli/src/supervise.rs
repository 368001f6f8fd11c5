//! Watches over this process's half, and makes one outcome of all that can happen
//! to it: an end, a signal, the partner's death.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use brigade::{Monitor, Side};

use crate::destination::Gate;
use crate::failure::{Failure, Status, tell};
use crate::halves::{self, Event, Report};
use crate::plan::Plan;
use crate::progress::Bar;
use crate::sys;
use crate::wire;

/// How long a half that should stop may take to do so by itself, with its own
/// words for what happened. It may be stuck in the system; a second is promised.
const GRACE: Duration = Duration::from_millis(400);

/// The same for a half that has yet to see that its partner came, and went.
const CHILD_GRACE: Duration = Duration::from_millis(200);

/// How often the bar is drawn.
const TICK: Duration = Duration::from_millis(100);

/// How this process speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Voice {
    pub(crate) quiet: bool,
    pub(crate) verbose: bool,
    pub(crate) bar: bool,
    /// The process that started this one speaks for both.
    pub(crate) started_by_both: bool,
    /// This process speaks for both.
    pub(crate) both: bool,
}

/// What is known of this half so far.
pub(crate) struct Supervisor<'p> {
    plan: &'p Plan,
    voice: Voice,
    gate: Arc<Gate>,
    events: Receiver<Event>,
    side: Option<Side>,
    monitor: Option<Monitor>,
    paired: bool,
    all_sent: bool,
    bar: Option<Bar>,
    child: ChildState,
    /// The second process has ended: until when this half may still find that it
    /// had joined before, and why it ended.
    pair_by: Option<Instant>,
    /// What ended the copy, if it was not this half's own end; and until when
    /// that may still speak.
    stopped: Option<(Failure, Instant)>,
}

/// The process that --both started.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ChildState {
    None,
    Running,
    Ended(Option<i32>),
}

/// Does this process's half of `plan`. The exit status.
pub(crate) fn run(plan: Plan, voice: Voice) -> u8 {
    let (sender, events) = channel();
    let gate = Arc::new(Gate::default());
    let watched = sys::watch_interruptions({
        let sender = sender.clone();
        move |interruption| {
            let _ = sender.send(Event::Interruption(interruption));
        }
    });
    if let Err(error) = watched {
        tell!("brigade: cannot watch for signals: {error}");
        return Status::Failed as u8;
    }
    std::thread::spawn({
        let (plan, gate) = (plan.clone(), Arc::clone(&gate));
        move || {
            let run = || halves::run(&plan, voice.both, &gate, &sender);
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
                .unwrap_or_else(|_| {
                    Err(Failure::new(
                        Status::Failed,
                        "internal error: a thread panicked",
                    ))
                });
            let _ = sender.send(Event::Done(result));
        }
    });
    let mut supervisor = Supervisor {
        plan: &plan,
        voice,
        gate,
        events,
        side: None,
        monitor: None,
        paired: false,
        all_sent: false,
        bar: None,
        child: ChildState::None,
        pair_by: None,
        stopped: None,
    };
    let result = supervisor.supervise();
    if let Some(bar) = supervisor.bar.take() {
        bar.clear();
    }
    match result {
        Ok(report) => {
            supervisor.say_done(&report);
            supervisor.wait_for_child("done");
            0
        }
        Err(failure) => {
            supervisor.say_failure(&failure);
            supervisor.exit_code(&failure)
        }
    }
}

impl Supervisor<'_> {
    fn supervise(&mut self) -> Result<Report, Failure> {
        loop {
            match self.next() {
                Some(Event::Done(Ok(report))) => return Ok(report),
                Some(Event::Done(Err(failure))) => return Err(self.which(failure)),
                Some(event) => self.take(event),
                None => {}
            }
            if let Some(pair_by) = self.pair_by
                && Instant::now() >= pair_by
            {
                self.pair_by = None;
                if !self.paired {
                    // Nobody else would notice.
                    let message = "the second process ended before it joined";
                    self.stop(Failure::new(Status::Partner, message));
                }
            }
            if let Some((failure, deadline)) = &self.stopped
                && Instant::now() >= *deadline
            {
                // Stuck, before the point of no return or after it.
                let mut failure = failure.clone();
                if !self.gate.close() {
                    failure = failure
                        .remark("the destination may be replaced already, but not on disk yet");
                    if let Some(monitor) = &self.monitor {
                        monitor.abort(&failure.message);
                    }
                }
                return Err(failure);
            }
        }
    }

    /// The next event; `None` if it is time to draw, or to lose patience.
    fn next(&mut self) -> Option<Event> {
        if let Some(bar) = &self.bar {
            bar.draw(self.done_bytes());
        }
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        let stop = self.stopped.as_ref().map(|(_, deadline)| left(*deadline));
        let pair = self.pair_by.map(left);
        let tick = self.bar.as_ref().map(|_| TICK);
        let received = match [stop, pair, tick].into_iter().flatten().min() {
            // Nothing to do in between: no time of the processor is used.
            None => self.events.recv().map_err(|_| RecvTimeoutError::Timeout),
            Some(timeout) => self.events.recv_timeout(timeout),
        };
        received.ok()
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Seated {
                side,
                monitor,
                is_first,
            } => {
                if let Some((failure, _)) = &self.stopped {
                    monitor.abort(&failure.message);
                }
                self.side = Some(side);
                self.paired = !is_first;
                self.monitor = Some(monitor);
                self.say_verbose(&format!(
                    "joined as {} ({} blocks of {} bytes, name {})",
                    side, self.plan.blocks, self.plan.block_size, self.plan.name
                ));
            }
            Event::Waiting => self.say_waiting(),
            Event::Paired(monitor, size) => {
                self.paired = true;
                if let Some(partner) = monitor.partner() {
                    self.say_verbose(&format!("the partner is {partner}"));
                }
                self.bar = self.voice.bar.then(|| Bar::new(size));
            }
            Event::AllSent => self.all_sent = true,
            Event::PartnerGone(failure) => self.stop(failure),
            Event::ChildStarted => self.child = ChildState::Running,
            Event::ChildEnded(code) => {
                self.child = ChildState::Ended(code);
                self.pair_by = Some(Instant::now() + CHILD_GRACE);
            }
            Event::Interruption(interruption) => {
                let failure = Failure::interrupted(interruption);
                self.stop(match self.all_sent {
                    true => failure
                        .remark("everything was sent, the writer may still complete the copy"),
                    false => failure,
                });
            }
            Event::Done(_) => {}
        }
    }

    /// The first reason counts, but that a signal to both processes may have
    /// reached the other one first.
    fn stop(&mut self, failure: Failure) {
        if let Some((first, _)) = &mut self.stopped {
            if first.is_partners() && failure.is_interruption() {
                *first = failure;
            }
            return;
        }
        // The partner knows its own failure.
        self.gate.unless_committing(|| {
            if let Some(monitor) = &self.monitor {
                monitor.abort(&failure.message);
            }
        });
        self.stopped = Some((failure, Instant::now() + GRACE));
    }

    /// A half that was told to stop can only repeat that, or what the partner made
    /// of it; but one that failed by itself knows more than its partner, which may
    /// have heard of it already.
    fn which(&mut self, own: Failure) -> Failure {
        match self.stopped.take() {
            Some((failure, _)) if own.is_echo || own.is_partners() => failure,
            _ => own,
        }
    }

    /// With --both, the second process's own exit status says more than that it
    /// failed.
    fn exit_code(&mut self, failure: &Failure) -> u8 {
        self.wait_for_child(&failure.message);
        match self.child {
            ChildState::Ended(Some(code @ 1..=255)) if failure.is_partners() => code as u8,
            _ => failure.code,
        }
    }

    /// With --both, the second process has ended and cleaned up when this one ends.
    fn wait_for_child(&mut self, reason: &str) {
        let deadline = Instant::now() + GRACE;
        while self.child == ChildState::Running {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(Event::ChildEnded(code)) => self.child = ChildState::Ended(code),
                Ok(Event::Seated { monitor, .. }) => monitor.abort(reason),
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }

    fn done_bytes(&self) -> u64 {
        let Some(monitor) = &self.monitor else {
            return 0;
        };
        match self.side {
            Some(Side::Writer) => monitor.figures()[wire::DONE],
            _ => monitor.partner_figures()[wire::DONE],
        }
    }

    fn say(&self, message: &str) {
        match self.side {
            Some(side) if !self.voice.both => tell!("brigade: {side}: {message}"),
            _ => tell!("brigade: {message}"),
        }
    }

    fn say_verbose(&self, message: &str) {
        if self.voice.verbose {
            self.say(message);
        }
    }

    fn say_waiting(&self) {
        if self.voice.quiet {
            return;
        }
        let partner = self.side.map_or(Side::Writer, Side::other);
        self.say(&format!(
            "waiting for the {partner}; run next: {}",
            self.plan.partner_command
        ));
    }

    fn say_done(&self, report: &Report) {
        if self.voice.quiet {
            return;
        }
        match &report.kept {
            Some(words) => self.say(words),
            None => self.say(&crate::progress::summary(
                report.bytes,
                report.took,
                report.on_disk,
            )),
        }
    }

    fn say_failure(&self, failure: &Failure) {
        // Once paired, the process that speaks for both has heard it.
        if !(self.voice.started_by_both && self.paired) {
            self.say(&failure.message);
        }
    }
}
