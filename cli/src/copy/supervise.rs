//! Watches over this process's half, and makes one outcome of all that can happen
//! to it: an end, a signal, the partner's death. What it says of that is in [`saying`];
//! of a copy that does not move it says who is [`stuck`].

mod saying;
mod stuck;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use brigade::{Monitor, Partner, Side};

use crate::copy::child::{self, Ahead, Word};
use crate::copy::half::{self, Event};
use crate::copy::partners::{RESTARTS, successor_command};
use crate::copy::reading;
use crate::failure::{Exit, Failure, Loss, reason};
use crate::outcome::Report;
use crate::request::endpoint::Endpoint;
use crate::request::plan::Plan;
use crate::sys;
use crate::talk::agreement::Step;
use crate::talk::greeting::Greeting;
use crate::talk::wire;
use crate::tell::progress::{Progress, Vacancy};
use crate::tell::{json as event, output};
use crate::tree::SUBTREE_BYTES;
use crate::units;
use crate::writer::gate::CommitGate;
use stuck::Stuck;

/// How long a half that should stop may take to do so by itself, with its own
/// words for what happened. It may be stuck in the system; a second is promised.
const GRACE: Duration = Duration::from_millis(400);

/// The same for a half that has yet to see that its partner came, and went.
const CHILD_GRACE: Duration = Duration::from_millis(200);

/// How often the bar is drawn.
const TICK: Duration = Duration::from_millis(100);

/// How often an event tells of progress.
const EVENT_EVERY: Duration = Duration::from_secs(1);

/// How often the partner gets to know how long this half has waited for it.
const WAITED_EVERY: Duration = Duration::from_millis(500);

/// A half that is stuck says so itself; this much later, its partner does.
const PARTNERS_GRACE: Duration = Duration::from_millis(500);

/// A half that waits for another partner ends the wait by itself; this much later it is
/// taken for stuck.
const STUCK_GRACE: Duration = Duration::from_secs(1);

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
    /// Events, and no text.
    pub(crate) json: bool,
}

/// What is known of this half so far.
pub(crate) struct Supervisor<'p> {
    plan: &'p Plan,
    voice: Voice,
    gate: Arc<CommitGate>,
    events: Receiver<Event>,
    side: Option<Side>,
    monitor: Option<Monitor>,
    paired: bool,
    /// How many partners there were, with the present one; what became of that.
    partners: u64,
    partner: Option<u32>,
    /// The Reader has asked the present Writer whether the copy begins.
    asked: bool,
    agreed: bool,
    can_be_replaced: bool,
    /// It died, and its place is held for another one.
    lost: Option<Lost>,
    /// This process takes the place of one that died.
    takes_place: bool,
    /// Somebody has come to take that place, and the two may yet agree.
    meets_another: bool,
    /// The wait for that, and what keeps it from beginning again.
    waiting: Option<Monitor>,
    given_up: Arc<AtomicBool>,
    all_sent: bool,
    /// When both were there.
    started: Option<Instant>,
    /// How much there is to copy, if that is known; `None` until the source was looked at,
    /// and the Writer asked.
    size: Option<Option<u64>>,
    /// The Writer's answer: whether the copy begins.
    begins: Option<bool>,
    /// What is on disk stays if the copy fails.
    keeps: bool,
    /// Where the copy began, for this half.
    before: u64,
    /// The lower limit of both halves, in bytes a second.
    limit_rate: Option<u64>,
    /// Where the data comes from and goes to, as far as either half has said.
    names: String,
    /// What was told last of how far it is, and when.
    told: (Progress, Instant),
    /// How far it was when it moved last, and when that was.
    moved: (Progress, Instant),
    /// How long it had no partner, since one had died; and how long the Reader and the Writer
    /// had waited for each other in the pairs before this one.
    alone: Duration,
    waited: [Duration; 2],
    /// What the first one of these waits for before it joins.
    word: Option<Word>,
    child: ChildState,
    /// How many this process has started.
    children: u32,
    /// The second process has ended: until when this half may still find that it
    /// had joined before, and why it ended.
    pair_by: Option<Instant>,
    /// What ended the copy, if it was not this half's own end; and until when
    /// that may still speak.
    stopped: Option<(Failure, Instant)>,
}

/// A partner that died.
struct Lost {
    /// The how manieth it was.
    number: u64,
    failure: Failure,
    since: Instant,
    /// How far the two had come, once somebody else was met.
    progress: Option<Progress>,
}

/// The process that --both started.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ChildState {
    None,
    Running(u32),
    Ended(Option<i32>),
}

/// Does this process's half of `plan`. The exit status.
pub(crate) fn run(plan: Plan, voice: Voice) -> u8 {
    // First of all: what follows is done while that process starts.
    let ahead = voice
        .both
        .then(|| child::start_ahead(&plan, Side::Writer, RESTARTS));
    let (sender, events) = channel();
    let gate = Arc::new(CommitGate::default());
    let given_up = Arc::default();
    let word = match start_threads(&plan, ahead, &gate, &given_up, sender) {
        Ok(word) => word,
        Err(failure) => {
            output::last_words(&failure);
            return failure.code;
        }
    };
    let mut supervisor = Supervisor {
        plan: &plan,
        voice,
        gate,
        events,
        side: None,
        monitor: None,
        paired: false,
        partners: 0,
        partner: None,
        asked: false,
        agreed: false,
        can_be_replaced: true,
        lost: None,
        takes_place: false,
        waiting: None,
        meets_another: false,
        given_up,
        all_sent: false,
        started: None,
        size: None,
        begins: None,
        keeps: false,
        before: 0,
        limit_rate: plan.settings.limit_rate,
        names: names(plan.names()),
        told: (Progress::default(), Instant::now()),
        moved: (Progress::default(), Instant::now()),
        alone: Duration::ZERO,
        waited: [Duration::ZERO; 2],
        word,
        child: ChildState::None,
        children: 0,
        pair_by: None,
        stopped: None,
    };
    supervisor.say_start();
    let result = supervisor.supervise();
    output::end_of_progress();
    match result {
        Ok(report) => {
            supervisor.say_done(&report);
            supervisor.wait_for_child("done");
            0
        }
        Err(failure) => {
            let code = supervisor.exit_code(&failure);
            let failure = supervisor.with_writer_s_end(failure);
            let failure = supervisor.with_what_is_kept(failure);
            supervisor.say_failure(&failure, code);
            code
        }
    }
}

/// What listens for signals, and the half itself. The word that the process of --both waits for.
fn start_threads(
    plan: &Plan,
    ahead: Option<Result<Ahead, Failure>>,
    gate: &Arc<CommitGate>,
    given_up: &Arc<AtomicBool>,
    sender: Sender<Event>,
) -> Result<Option<Word>, Failure> {
    let tell = {
        let sender = sender.clone();
        move |interruption| {
            let _ = sender.send(Event::Interruption(interruption));
        }
    };
    let interruptions = sys::hold_interruptions(tell)
        .map_err(|error| Failure::system("watch for signals", &error))?;
    let word = ahead.map(|ahead| ahead?.watch(&sender));
    let told = word.as_ref().and_then(|word| word.as_ref().ok()).cloned();
    let (plan, gate, given_up) = (plan.clone(), Arc::clone(gate), Arc::clone(given_up));
    let run = move || {
        let run = || half::run(&plan, word, &gate, &sender, &given_up);
        let result =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or_else(|_| {
                let message = "the copy was ended by an internal error";
                Err(Failure::new(Exit::Failed, message))
            });
        let _ = sender.send(Event::Done(result));
    };
    let thread = std::thread::Builder::new().name("half".into());
    let started = thread.spawn(run);
    started.map_err(|error| Failure::system("start a thread", &error))?;
    // Beside what the half does: to ask takes as long as to start it.
    interruptions.tell_all_but(ignored());
    Ok(told)
}

fn ignored() -> sys::Ignored {
    sys::ignored_interruptions().unwrap_or_else(|error| {
        let why = reason(&error);
        output::warn(&format!(
            "warning: cannot tell which signals this process was started to ignore ({why}); any of them ends the copy"
        ));
        sys::Ignored::default()
    })
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
                    self.stop(self.child_ended_early());
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
        let tick = self.tick();
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        let stop = self.stopped.as_ref().map(|(_, deadline)| left(*deadline));
        let pair = self.pair_by.map(left);
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
                let (plan, settings) = (self.plan, &self.plan.settings);
                self.say_verbose(|| {
                    format!(
                        "joined as {} ({} blocks of {} bytes, name {})",
                        side, settings.blocks, settings.block_size, plan.name
                    )
                });
            }
            Event::Waiting => self.say_waiting(),
            Event::Paired { number, monitor } => self.pair(number, monitor),
            Event::Agreement(step) => self.agree(step),
            Event::AllSent => self.all_sent = true,
            Event::PartnerGone(number, failure) => self.note_gone(number, failure),
            Event::Lost(number, failure) => self.lose(number, &failure),
            Event::Held(monitor) => {
                if let Some((failure, _)) = &self.stopped {
                    monitor.abort(&failure.message);
                }
                self.waiting = Some(monitor);
            }
            Event::NotTaken(failure) => {
                self.await_another();
                self.say_not_taken(&failure);
            }
            Event::Unwatched(failure) => self.stop(failure),
            Event::ChildStarted(id) => {
                self.child = ChildState::Running(id);
                self.children += 1;
            }
            Event::ChildEnded(id, code) if self.child == ChildState::Running(id) => {
                self.child = ChildState::Ended(code);
                self.pair_by = Some(Instant::now() + CHILD_GRACE);
            }
            // Another one has its place.
            Event::ChildEnded(..) => {}
            Event::Interruption(interruption) => {
                self.stop(Failure::interrupted(interruption));
            }
            Event::Done(_) => {}
        }
    }

    /// What was there is no work of this copy.
    fn note_before(&mut self, offset: u64) {
        self.before = offset;
        self.told.0.read = offset;
    }

    /// The halves have come so far.
    fn agree(&mut self, step: Step) {
        self.moved.1 = Instant::now();
        match step {
            Step::Asked { size } => {
                self.size = Some(size);
                self.asked = true;
                self.tell_paired();
            }
            Step::Answered {
                begins,
                offset,
                can_be_replaced,
                keeps,
            } => {
                self.begins = Some(begins);
                self.keeps = keeps;
                if self.partners == 1 {
                    self.note_before(offset);
                }
                self.agreed = true;
                self.can_be_replaced = can_be_replaced;
                self.go_on(begins, offset);
            }
            Step::GoesOn { offset } => {
                self.note_before(offset);
                self.say_where(step);
            }
            Step::StartsOver(_) | Step::Unused { .. } => self.say_where(step),
        }
    }

    /// A partner has come.
    fn pair(&mut self, number: u64, monitor: Monitor) {
        self.paired = true;
        self.keep_progress();
        self.partners = number;
        self.meets_another = self.lost.is_some();
        self.asked = false;
        self.agreed = false;
        self.begins = None;
        self.all_sent = false;
        let now = Instant::now();
        self.started.get_or_insert(now);
        self.told.1 = now;
        self.moved.1 = now;
        if let Some(partner) = monitor.partner() {
            self.meet(&partner);
            self.say_verbose(|| format!("the partner is {partner}"));
            self.partner = Some(partner.process_id());
        }
        if let Some((failure, _)) = &self.stopped {
            monitor.abort(&failure.message);
        }
        self.monitor = Some(monitor);
        self.waiting = None;
    }

    /// The half takes what its partner had sent, and then finds by itself that it is gone.
    fn note_gone(&mut self, number: u64, failure: Failure) {
        let came_later = self.partners > 1 && !self.agreed;
        let may_go_on = match failure.loss {
            Some(Loss::Died) => !self.agreed || self.can_be_replaced,
            _ => came_later,
        };
        let takes_over =
            self.plan.settings.takeover.is_some() && self.restarts_left() != Some(0) && may_go_on;
        match (number == self.partners, takes_over, failure.loss) {
            (false, ..) => {}
            (true, false, _) => self.give_grace(failure),
            (true, true, Some(Loss::Died)) if !came_later => self.lose(number, &failure),
            (true, true, _) => self.await_another(),
        }
    }

    /// Of the pair that is over, before the figures are those of another one.
    fn keep_progress(&mut self) {
        let progress = self.progress();
        if let (Some(progress), Some(lost)) = (progress, &mut self.lost)
            && lost.number == self.partners
        {
            self.waited = [progress.reader_waited, progress.writer_waited];
            lost.progress = Some(progress);
        }
    }

    /// With --both, how many times another partner may still be started.
    fn restarts_left(&self) -> Option<u32> {
        let most = match (self.voice.both, self.plan.started_by_both) {
            (true, _) => RESTARTS + 1,
            (false, true) => self.plan.restarts,
            (false, false) => return None,
        };
        Some(most.saturating_sub(self.children))
    }

    /// Who came is no more, and the half is to meet the next one.
    fn await_another(&mut self) {
        self.meets_another = false;
        self.moved.1 = Instant::now();
    }

    /// The place of the partner of that `number` is held for another one.
    fn lose(&mut self, number: u64, failure: &Failure) {
        if self.lost.is_some() || number != self.partners {
            return;
        }
        self.lost = Some(Lost {
            number,
            failure: failure.clone(),
            since: Instant::now(),
            progress: None,
        });
        self.meets_another = false;
        // Its own process does not speak any more.
        self.voice.started_by_both = false;
        let side = self.side.unwrap_or(Side::Reader).other();
        let limit = self.plan.settings.takeover.unwrap_or_default();
        // With --both, nobody need type anything.
        let command = match (self.restarts_left(), &self.monitor) {
            (None, Some(monitor)) => Some(successor_command(self.plan, side, monitor)),
            _ => None,
        };
        if self.speaks_json() {
            let command = command.as_deref();
            return output::event(event::lost(side, self.partner, limit, command));
        }
        let how = match command {
            Some(command) => {
                let limit = units::duration(limit);
                format!("its place is held for {limit}; run: {command}")
            }
            None if self.is_silent() => return,
            None => "another one is started".to_owned(),
        };
        // Nobody would know what to do if it were not said with --quiet.
        self.say(&format!("{}; {how}", failure.message));
    }

    /// The two have agreed: where the copy goes on, if it does.
    fn go_on(&mut self, begins: bool, offset: u64) {
        // It may have died since it answered.
        let partners = self.partners;
        let lost = self.lost.take_if(|lost| lost.number < partners);
        let was_lost = lost.is_some();
        self.alone += lost.map_or(Duration::ZERO, |lost| lost.since.elapsed());
        let own = self.side.unwrap_or(Side::Reader);
        let side = own.other();
        let taken = match (was_lost, self.takes_place && self.partners == 1) {
            (true, _) => Some((side, self.partner)),
            (false, true) => Some((own, Some(std::process::id()))),
            (false, false) => None,
        };
        if let Some((side, process)) = taken
            && self.speaks_json()
        {
            let taken = event::taken_over(side, process, self.partners, offset);
            output::event(taken);
        }
        if self.is_silent() || !begins {
            return;
        }
        if was_lost {
            let process = match self.partner {
                // It lives where this process cannot see it.
                None | Some(0) => "another process".to_owned(),
                Some(process) => format!("process {process}"),
            };
            self.say(&format!(
                "{process} has taken the {side}'s place; the copy goes on at byte {offset}"
            ));
        } else if taken.is_some() || offset > 0 && self.lost.is_none() {
            self.say(&format!("the copy goes on at byte {offset}"));
        }
    }

    /// What the partner has said of itself.
    fn meet(&mut self, partner: &Partner) {
        let greeting = Greeting::decode(partner.greeting());
        self.takes_place = greeting.lost.is_some() && greeting.lost == self.side;
        let limits = [self.limit_rate, greeting.limit_rate];
        self.limit_rate = limits.into_iter().flatten().min();
        let [source, destination] = self.plan.names();
        self.names = names([
            source.or(greeting.source),
            destination.or(greeting.destination),
        ]);
    }

    /// The first reason counts, but that a signal to both processes may have
    /// reached the other one first.
    fn stop(&mut self, failure: Failure) {
        self.given_up.store(true, Ordering::Relaxed);
        if let Some(monitor) = self.waiting.take() {
            monitor.abort(&failure.message);
        }
        let failure = match self.all_sent {
            true => failure.remark(&reading::may_be_complete(self.plan)),
            false => failure,
        };
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

    /// The half takes what its partner had sent, and then finds by itself that it is
    /// gone; unless it is stuck.
    fn give_grace(&mut self, failure: Failure) {
        let deadline = Instant::now() + GRACE;
        self.stopped.get_or_insert((failure, deadline));
    }

    /// A half that was told to stop can only repeat that, or what the partner made
    /// of it; but one that failed by itself knows more than its partner, which may
    /// have heard of it already.
    fn which(&mut self, own: Failure) -> Failure {
        match self.stopped.take() {
            Some((failure, _)) if own.already_reported => failure,
            Some((failure, _)) if own.is_partners() && !failure.is_partners() => failure,
            _ => own,
        }
    }

    /// If it has failed by itself, it has said why.
    fn child_ended_early(&self) -> Failure {
        let failure = Failure::new(Exit::Partner, "the second process ended before it joined");
        match self.child {
            ChildState::Ended(Some(1..)) if !self.voice.json => failure.reported(),
            _ => failure,
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

    /// With --both, nobody else tells that the destination is complete all the same.
    fn with_writer_s_end(&self, failure: Failure) -> Failure {
        match self.child {
            ChildState::Ended(Some(0)) if self.begins == Some(true) => {
                failure.remark("the writer has completed the copy")
            }
            _ => failure,
        }
    }

    /// What the user can do with what was written so far.
    fn with_what_is_kept(&self, failure: Failure) -> Failure {
        let is_told = failure.message.contains(GO_ON);
        match self.gate.kept_bytes() {
            Some(bytes) if !is_told => failure.remark(&what_is_kept(bytes)),
            // Only the writer knows how much that is; and says it, if it can. What was on
            // disk a moment ago may not be noted yet.
            None if self.keeps
                && self.side == Some(Side::Reader)
                && self.progress().is_some_and(|progress| {
                    progress.done >= SUBTREE_BYTES && !progress.all_read
                })
                && failure.loss != Some(Loss::GaveUp)
                && !is_told =>
            {
                failure.remark(&format!(
                    "if the writer has noted any of it as on disk, {GO_ON}"
                ))
            }
            _ => failure,
        }
    }

    /// With --both, the second process has ended and cleaned up when this one ends.
    fn wait_for_child(&mut self, reason: &str) {
        if let Some(word) = &self.word {
            word.withdraw();
        }
        // It may itself be stuck, and give up after its own grace.
        let deadline = Instant::now() + GRACE + CHILD_GRACE;
        while let ChildState::Running(id) = self.child {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(Event::ChildEnded(ended, code)) if ended == id => {
                    self.child = ChildState::Ended(code);
                }
                Ok(Event::Seated { monitor, .. }) => monitor.abort(reason),
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }

    /// How far it is, once there are two.
    fn progress(&self) -> Option<Progress> {
        let (side, monitor) = (self.side?, self.monitor.as_ref()?);
        let progress = Progress::of(side, monitor);
        let [reader_waited, writer_waited] = self.waited;
        Some(Progress {
            elapsed: self.started?.elapsed(),
            size: self.size.flatten(),
            before: self.before,
            blocks: self.plan.settings.blocks as u64,
            limit_rate: self.limit_rate,
            on_disk: self.plan.settings.sync
                && !matches!(self.plan.destination, Some(Endpoint::Standard)),
            reader_waited: progress.reader_waited + reader_waited,
            writer_waited: progress.writer_waited + writer_waited,
            alone: self.alone,
            ..progress
        })
    }

    /// What is shown of it: while a place is held, how far the two had come, and how long it
    /// is held yet; while somebody is here for it, how much of that this one has looked at.
    fn shown(&self) -> Option<Progress> {
        let Some(lost) = &self.lost else {
            return self.progress();
        };
        let side = self.side?.other();
        let then = lost.progress.clone().or_else(|| self.progress())?;
        let limit = self.plan.settings.takeover.unwrap_or_default();
        let left = limit.saturating_sub(lost.since.elapsed());
        let (vacancy, written) = match (self.meets_another, side) {
            (false, _) => (Vacancy::Held(left), then.written),
            (true, Side::Reader) => (Vacancy::Met, then.written),
            (true, Side::Writer) => (Vacancy::Met, self.progress()?.written),
        };
        Some(Progress {
            elapsed: self.started?.elapsed(),
            vacancy: Some((side, vacancy)),
            written,
            ..then
        })
    }

    /// What is due from time to time; when to come again.
    fn tick(&mut self) -> Option<Duration> {
        let timeout = self.plan.settings.timeout;
        let every = [
            Some(WAITED_EVERY),
            self.voice.bar.then_some(TICK),
            self.speaks_json().then_some(EVENT_EVERY),
            timeout.map(|timeout| (timeout / 4).clamp(TICK / 10, TICK)),
        ];
        let every = every.into_iter().flatten().min()?;
        let Some(progress) = self.progress() else {
            // Until then there is nothing to be late for.
            return None;
        };
        if let Some(monitor) = &self.monitor {
            wire::set_waited(monitor);
        }
        let is_told = self.size.is_some();
        let shown = self.shown().filter(|_| is_told);
        if let Some(shown) = &shown
            && self.speaks_json()
            && self.told.1.elapsed() >= EVENT_EVERY
        {
            self.tell_progress(shown);
        }
        if let Some(shown) = shown
            && self.voice.bar
        {
            output::progress(shown);
        }
        if progress.has_moved_since(&self.moved.0) {
            self.moved = (progress.clone(), Instant::now());
        }
        match (&self.lost, timeout) {
            (Some(_), _) if !self.meets_another => self.lose_patience(),
            (_, Some(timeout)) => self.time_out(timeout, progress),
            (_, None) => {}
        }
        Some(every)
    }

    fn tell_progress(&mut self, progress: &Progress) {
        let (earlier, since) = &self.told;
        let bytes = progress.read.saturating_sub(earlier.read);
        let rate = bytes as f64 / since.elapsed().as_secs_f64().max(1e-9);
        output::event_of_progress(&event::progress(progress, rate));
        self.told = (progress.clone(), Instant::now());
    }

    /// Ends both if nothing has moved for `timeout`.
    fn time_out(&mut self, timeout: Duration, progress: Progress) {
        let stuck = match self.asked && self.begins.is_none() {
            true => Stuck::deciding(&progress, self.plan),
            false => Stuck::of(&progress, self.plan),
        };
        let is_own = self.side == Some(stuck.side);
        let limit = timeout
            + if is_own {
                Duration::ZERO
            } else {
                PARTNERS_GRACE
            };
        if self.stopped.is_none() && self.moved.1.elapsed() >= limit {
            let status = if is_own { Exit::Failed } else { Exit::Partner };
            let timeout = units::duration(timeout);
            let message = format!(
                "no progress for {timeout}: {}; a longer --timeout gives it more time",
                stuck.what
            );
            self.stop(Failure::new(status, message));
        }
    }

    /// A half that waits for another partner ends that by itself; but it may be stuck, and
    /// never come to wait.
    fn lose_patience(&mut self) {
        let limit = self.plan.settings.takeover.unwrap_or_default();
        let Some(lost) = &self.lost else {
            return;
        };
        let since = self.moved.1.max(lost.since);
        if self.stopped.is_none() && since.elapsed() >= limit + STUCK_GRACE {
            let stuck = "this half is stuck, and cannot meet another one";
            self.give_grace(lost.failure.clone().remark(stuck));
        }
    }
}

/// What a copy that failed says of what it leaves.
const GO_ON: &str = "the same command with --resume goes on from there";

/// That, of a Writer that knows how much it is.
pub(super) fn what_is_kept(on_disk: u64) -> String {
    format!("{} are kept: {GO_ON}", units::bytes(on_disk))
}

/// "a -> b", or the one that is known.
fn names(ends: [Option<String>; 2]) -> String {
    let known: Vec<String> = ends.into_iter().flatten().collect();
    known.join(" -> ")
}
