//! What travels with a block beside its bytes.

use crate::region::layout::Sent;

/// What a block is sent with, beside its bytes: all of it the application's. The
/// default is zeros and no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// What kind of block this is, for instance.
    pub kind: u16,
    /// A larger number: an offset, for instance.
    pub tag: u64,
    /// The message goes on in the next block that is sent.
    pub more: bool,
}

impl Label {
    #[inline(always)]
    pub(crate) fn of(sent: Sent) -> Label {
        Label {
            kind: sent.kind,
            tag: sent.tag,
            more: sent.more,
        }
    }

    /// A message of one block.
    #[inline(always)]
    pub fn new(kind: u16, tag: u64) -> Label {
        Label {
            kind,
            tag,
            more: false,
        }
    }
}
