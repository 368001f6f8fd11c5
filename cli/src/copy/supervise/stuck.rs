//! Which half a copy that does not move waits for.

use brigade::Side;

use crate::request::plan::Plan;
use crate::tell::progress::Progress;

/// The half that the other one waits for, and what it is at.
pub(super) struct Stuck {
    pub(super) side: Side,
    pub(super) what: String,
}

impl Stuck {
    /// The Reader waits to hear whether the copy begins.
    pub(super) fn deciding(progress: &Progress, plan: &Plan) -> Stuck {
        let destination = plan.destination_words();
        let what = match progress.written {
            0 => format!("the writer is stuck opening {destination}"),
            // What was written there before.
            read => {
                format!("the writer is stuck reading again what is in {destination} at byte {read}")
            }
        };
        Stuck {
            side: Side::Writer,
            what,
        }
    }

    pub(super) fn of(progress: &Progress, plan: &Plan) -> Stuck {
        let (source, destination) = (plan.source_words(), plan.destination_words());
        let (read, written) = (progress.read, progress.written);
        match progress.blocks_full {
            // All that was read has been written.
            0 if !progress.all_read => Stuck {
                side: Side::Reader,
                what: format!("the reader is stuck reading {source} at byte {read}"),
            },
            0 => Stuck {
                side: Side::Writer,
                what: format!("the writer is stuck completing {destination} ({written} bytes)"),
            },
            _ => Stuck {
                side: Side::Writer,
                what: format!("the writer is stuck writing to {destination} at byte {written}"),
            },
        }
    }
}
