//! `[audit]`: checkpoints, and for how long records are kept.

use std::time::Duration;

use serde::Deserialize;

/// `[audit]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Audit {
    /// For how long records are kept, at least; for ever when absent.
    #[serde(with = "crate::document::span::option")]
    pub keep: Option<Duration>,
    /// How many of the newest records are kept, at least, however old they are.
    pub keep_records: u64,
    /// How often a signed checkpoint is written to the audit, when there are new records.
    #[serde(with = "crate::document::span")]
    pub checkpoint_every: Duration,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            keep: None,
            keep_records: 0,
            checkpoint_every: Duration::from_hours(1),
        }
    }
}
