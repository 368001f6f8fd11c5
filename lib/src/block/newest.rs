//! The newest filled block.

use super::DataBlock;

/// The newest block, and what was passed over for it: see
/// [`Writer::newest_block`](crate::Writer::newest_block).
#[derive(Debug)]
pub struct Newest<'w> {
    /// The block.
    pub block: DataBlock<'w>,
    /// How many older ones were given back unread.
    pub skipped: usize,
}
