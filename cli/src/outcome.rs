//! What a copy that succeeded has done.

use std::time::Duration;

/// A copy that succeeded.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) bytes: u64,
    /// How many of these were holes, which were not read, or zeros not written.
    pub(crate) holes: u64,
    /// So many of them were there before this half came.
    pub(crate) before: u64,
    pub(crate) took: Duration,
    pub(crate) on_disk: bool,
    /// The hash of all data, if it was asked for.
    pub(crate) digest: Option<[u8; 32]>,
    /// The destination stays as it is, as was asked for: the Writer's words for it.
    pub(crate) kept: Option<String>,
}

impl Report {
    /// Bytes in a second.
    pub(crate) fn rate(&self) -> f64 {
        self.rate_without(Duration::ZERO)
    }

    /// The same, if so much of the time does not count.
    pub(crate) fn rate_without(&self, pause: Duration) -> f64 {
        let took = self.took.saturating_sub(pause);
        (self.bytes - self.before) as f64 / took.as_secs_f64().max(1e-9)
    }

    pub(crate) fn kept(words: String) -> Report {
        Report {
            bytes: 0,
            holes: 0,
            before: 0,
            took: Duration::ZERO,
            on_disk: false,
            digest: None,
            kept: Some(words),
        }
    }
}
