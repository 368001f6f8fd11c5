//! Why a copy failed: one line for the user, and the exit status.

use std::fmt;
use std::io;
use std::path::Path;

use brigade::Error;

use crate::sys::{self, Interruption};
use crate::tell::{json as event, output};

/// Exit status, as `--help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Failed = 1,
    Usage = 2,
    TooManyInstances = 3,
    Partner = 4,
    NoPartner = 5,
    SourceChanged = 6,
}

/// Why a copy failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) message: String,
    /// This half was told to stop; whoever told it knows why.
    pub(crate) is_echo: bool,
}

impl Failure {
    pub(crate) fn new(status: Status, message: impl Into<String>) -> Failure {
        Failure {
            code: status as u8,
            message: message.into(),
            is_echo: false,
        }
    }

    /// The system refused something: "cannot OPERATION PATH: REASON".
    pub(crate) fn io(operation: &str, path: &Path, error: &io::Error) -> Failure {
        let message = format!("cannot {operation} {}: {}", path.display(), reason(error));
        Failure::new(Status::Failed, message)
    }

    pub(crate) fn interrupted(interruption: Interruption) -> Failure {
        Failure {
            code: interruption.code,
            message: format!("interrupted ({})", interruption.name),
            is_echo: false,
        }
    }

    /// The same with a remark at the end.
    pub(crate) fn remark(mut self, remark: &str) -> Failure {
        self.message.push_str("; ");
        self.message.push_str(remark);
        self
    }

    /// The last words of a process that did not get as far as to have a half.
    pub(crate) fn say(&self) {
        match output::is_json() {
            true => output::event(event::failed(self, self.code)),
            false => output::line(format!("brigade: {}", self.message)),
        }
    }

    pub(crate) fn is_interruption(&self) -> bool {
        self.code > 128
    }

    /// Whether it is the partner's doing that the copy failed.
    pub(crate) fn is_partners(&self) -> bool {
        self.code == Status::Partner as u8
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let status = match &error {
            Error::TooManyInstances { .. } => Status::TooManyInstances,
            Error::PartnerDied { .. }
            | Error::PartnerAborted { .. }
            | Error::ProtocolViolation { .. } => Status::Partner,
            Error::NoPartner { .. } | Error::NotAnswering { .. } => Status::NoPartner,
            Error::InvalidOption(_) => Status::Usage,
            _ => Status::Failed,
        };
        let message = match &error {
            Error::TooManyInstances { .. } => {
                "too many instances: two processes are already at this copy".to_owned()
            }
            Error::NoPartner { waited } => {
                let waited = humantime::format_duration(round(*waited));
                format!("no partner came within {waited}")
            }
            Error::Os { operation, source } => {
                format!("cannot {operation}: {}", reason(source))
            }
            Error::OutOfMemory { needed, available } => format!(
                "a pool of {} does not fit into memory ({} available); \
                 choose a smaller --block-size or --blocks",
                crate::tell::progress::bytes(*needed),
                crate::tell::progress::bytes(*available),
            ),
            _ => error.to_string(),
        };
        Failure {
            is_echo: matches!(error, Error::Aborted { .. }),
            ..Failure::new(status, message)
        }
    }
}

/// To whole milliseconds: what a reader can use.
fn round(duration: std::time::Duration) -> std::time::Duration {
    std::time::Duration::from_millis(duration.as_millis() as u64)
}

/// The system's reason without the number, as other programs show it.
pub(crate) fn reason(error: &io::Error) -> String {
    if sys::is_in_use(error) {
        return "another process has it open".to_owned();
    }
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
