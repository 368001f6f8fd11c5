//! What a supervisor says of its half, and what it tells as events.

use brigade::{Monitor, Side};

use super::Supervisor;
use crate::failure::{Failure, Loss};
use crate::outcome::Report;
use crate::talk::agreement::Step;
use crate::tell::{json as event, output, progress};
use crate::units;

impl Supervisor<'_> {
    pub(super) fn say_not_taken(&self, failure: &Failure) {
        match self.speaks_json() {
            true => output::event(event::warning(&failure.message)),
            false if self.is_silent() => {}
            false => self.say(&format!("{}; still waiting for another", failure.message)),
        }
    }

    pub(super) fn speaks_json(&self) -> bool {
        self.voice.json && !self.voice.started_by_both
    }

    /// Says nothing in text but why it failed.
    pub(super) fn is_silent(&self) -> bool {
        self.voice.quiet || self.voice.json || self.voice.started_by_both
    }

    pub(super) fn say_start(&self) {
        if self.speaks_json() {
            output::event(event::start(self.plan, self.voice.both));
        }
    }

    pub(super) fn say(&self, message: &str) {
        match self.side {
            Some(side) if !self.voice.both => output::line(format!("brigade: {side}: {message}")),
            _ => output::line(format!("brigade: {message}")),
        }
    }

    /// What is made only to be said: to name a user takes a look into a file, or longer.
    pub(super) fn say_verbose(&self, message: impl FnOnce() -> String) {
        if self.voice.verbose {
            self.say(&message());
        }
    }

    /// Where the copy begins, if an earlier one has left something.
    pub(super) fn say_where(&self, step: Step) {
        if self.speaks_json() {
            event::begins(step).into_iter().for_each(output::event);
        }
        if self.is_silent() {
            return;
        }
        let words = match step {
            Step::GoesOn { offset } => {
                let size = self.size.flatten().map(units::bytes);
                let of = size.map(|size| format!(" of {size}")).unwrap_or_default();
                let on_disk = units::bytes(offset);
                format!("goes on at {on_disk}{of}: the earlier copy had that on disk")
            }
            Step::StartsOver(why) => format!("starts over: {}", why.words()),
            Step::Unused { bytes } => {
                let bytes = units::bytes(bytes);
                format!("starts over, though --resume would have gone on at {bytes}")
            }
            Step::Asked { .. } | Step::Answered { .. } => return,
        };
        self.say(&words);
    }

    pub(super) fn say_waiting(&self) {
        let side = self.side.unwrap_or(Side::Reader);
        let command = &self.plan.partner_command;
        if self.speaks_json() {
            output::event(event::waiting(side, command));
        } else if !self.is_silent() {
            let partner = side.other();
            self.say(&format!("waiting for the {partner}; run next: {command}"));
        }
    }

    pub(super) fn tell_paired(&self) {
        if self.speaks_json() {
            let side = self.side.unwrap_or(Side::Reader);
            let partner = self.monitor.as_ref().and_then(Monitor::partner);
            output::event(event::paired(side, partner.as_ref(), self.size.flatten()));
        }
    }

    pub(super) fn say_done(&self, report: &Report) {
        let progress = self.progress().unwrap_or_default();
        if self.speaks_json() {
            output::event(event::done(report, &progress));
        }
        if self.is_silent() {
            return;
        }
        if let Some(words) = &report.kept {
            return self.say(words);
        }
        self.say(&progress::summary(&self.names, report, &progress));
        self.say_verbose(|| progress::details(report, &progress));
    }

    pub(super) fn say_failure(&self, failure: &Failure, code: u8) {
        // Once paired, the process that speaks for both has heard it, unless it is the one
        // that died.
        let is_heard =
            self.voice.started_by_both && self.paired && failure.loss != Some(Loss::Died);
        if is_heard || failure.already_reported {
            return;
        }
        match self.voice.json {
            true => output::event(event::failed(failure, code)),
            false => self.say(&failure.message),
        }
    }
}
