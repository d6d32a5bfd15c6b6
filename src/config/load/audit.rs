//! What must hold of `[audit]`.

use std::time::Duration;

use super::Reader;
use crate::config::Config;

impl Reader<'_, '_, '_> {
    /// A slip of the unit must not take away what was meant to stay.
    pub(super) fn audit(&mut self, config: &Config) {
        let audit = &config.audit;
        if audit.keep.is_some_and(|keep| keep < SHORTEST_KEEP) {
            self.error(
                &["audit", "keep"],
                "must be a day or more, such as `400d`; leave it out to keep all records",
            );
        }
        if audit.keep.is_none() && audit.keep_records > 0 {
            self.error(
                &["audit", "keep_records"],
                "says nothing without `keep`: all records are kept",
            );
        }
        if !(SHORTEST_CHECKPOINT..=LONGEST_CHECKPOINT).contains(&audit.checkpoint_every) {
            self.error(&["audit", "checkpoint_every"], "must be from 1 minute to 7 days");
        }
    }
}

const SHORTEST_KEEP: Duration = Duration::from_hours(24);
const SHORTEST_CHECKPOINT: Duration = Duration::from_mins(1);
const LONGEST_CHECKPOINT: Duration = Duration::from_hours(7 * 24);
