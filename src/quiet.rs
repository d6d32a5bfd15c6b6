//! Log lines about what goes wrong again and again, written now and then: neither a full disk nor a flood of
//! packets may flood the log.

use std::time::{Duration, Instant};

/// Lines about one thing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet {
    last: Option<Instant>,
    unlogged: u64,
}

impl Quiet {
    /// Between two lines.
    pub const SPAN: Duration = Duration::from_secs(10);

    /// Whether a line may be written now, and how many were left out since the last.
    pub fn due(&mut self, now: Instant) -> Option<u64> {
        if self
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < Self::SPAN)
        {
            self.unlogged += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unlogged))
    }
}
