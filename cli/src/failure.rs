//! Why a copy failed: one line for the user, and the exit status.

use std::fmt;
use std::io;
use std::path::Path;

use brigade::{Error, Refusal};

use crate::sys::{self, Interruption};
use crate::units::{bytes, duration};
use crate::visible;

/// Exit status, as `--help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
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
    pub(crate) already_reported: bool,
    /// Another partner may do better.
    pub(crate) loss: Option<Loss>,
}

/// What is wrong with a partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Its process ended.
    Died,
    /// It gave up.
    GaveUp,
    /// It is not the one that this half needs.
    Unfit,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure {
            code: exit as u8,
            message: message.into(),
            already_reported: false,
            loss: None,
        }
    }

    /// The system refused something: "cannot OPERATION PATH: REASON".
    pub(crate) fn io(operation: &str, path: &Path, error: &io::Error) -> Failure {
        let message = format!(
            "cannot {operation} {}: {}",
            visible::name(path),
            reason(error)
        );
        Failure::new(Exit::Failed, message)
    }

    /// The same of what has no path, a thread or another process.
    pub(crate) fn system(operation: &str, error: &io::Error) -> Failure {
        let message = format!("cannot {operation}: {}", reason(error));
        Failure::new(Exit::Failed, message)
    }

    pub(crate) fn interrupted(interruption: Interruption) -> Failure {
        Failure {
            code: interruption.code,
            message: format!("interrupted ({})", interruption.name),
            already_reported: false,
            loss: None,
        }
    }

    /// The same, if the user has heard of it from another process.
    pub(crate) fn reported(mut self) -> Failure {
        self.already_reported = true;
        self
    }

    /// The same with a remark at the end.
    pub(crate) fn remark(mut self, remark: &str) -> Failure {
        self.message.push_str("; ");
        self.message.push_str(remark);
        self
    }

    /// The same, if it is the partner that does not fit, unless that is lost anyway.
    pub(crate) fn unfit(mut self) -> Failure {
        self.loss = self.loss.or(Some(Loss::Unfit));
        self
    }

    pub(crate) fn is_interruption(&self) -> bool {
        self.code > 128
    }

    /// Whether it is the partner's doing that the copy failed.
    pub(crate) fn is_partners(&self) -> bool {
        self.code == Exit::Partner as u8
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let exit = match &error {
            Error::TooManyInstances { .. } => Exit::TooManyInstances,
            Error::PartnerDied { .. }
            | Error::PartnerAborted { .. }
            | Error::ProtocolViolation { .. } => Exit::Partner,
            Error::NoPartner { .. } | Error::NotAnswering { .. } => Exit::NoPartner,
            Error::InvalidOption(_) => Exit::Usage,
            _ => Exit::Failed,
        };
        let message = match &error {
            Error::TooManyInstances { .. } => {
                "too many instances: two processes are already at this copy".to_owned()
            }
            Error::NoPartner { waited } => {
                format!("no partner came within {}", duration(*waited))
            }
            Error::Os { operation, source } => {
                format!("cannot {operation}: {}", reason(source))
            }
            Error::OutOfMemory { needed, available } => format!(
                "a pool of {} does not fit into memory ({} available); \
                 choose a smaller --block-size or --blocks",
                bytes(*needed),
                bytes(*available),
            ),
            _ => error.to_string(),
        };
        let failure = Failure {
            already_reported: matches!(error, Error::Aborted { .. }),
            loss: match &error {
                Error::PartnerDied { .. } => Some(Loss::Died),
                Error::PartnerAborted { .. } => Some(Loss::GaveUp),
                Error::ProtocolViolation { .. } => Some(Loss::Unfit),
                _ => None,
            },
            ..Failure::new(exit, message)
        };
        match &error {
            Error::Os { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                failure.remark(ELSEWHERE)
            }
            Error::Refused {
                reason:
                    Refusal::OtherGeometry {
                        block_size,
                        block_count,
                    },
                ..
            } => failure.remark(&their_pool(*block_size, *block_count)),
            _ => failure,
        }
    }
}

/// Where the pools differ: what to type to have the partner's.
fn their_pool(size: u64, count: u64) -> String {
    format!("both commands need the same: run: brigade ... --block-size {size} --blocks {count}")
}

/// What the library writes to is the place where two processes meet.
const ELSEWHERE: &str = "name a place that can be written: --name=/DIRECTORY/NAME in both \
                         commands, or XDG_RUNTIME_DIR";

/// The system's reason without the number, as other programs show it, and the limit
/// that was in the way.
pub(crate) fn reason(error: &io::Error) -> String {
    if sys::is_in_use(error) {
        return "another process has it open".to_owned();
    }
    let text = error.to_string();
    let text = match text.rfind(" (os error ") {
        Some(end) => &text[..end],
        None => &text,
    };
    match sys::limit_behind(error) {
        Some(limit) => format!("{text} ({limit})"),
        None => text.to_owned(),
    }
}
