//! What must hold of `[privileged]`.

use super::Reader;
use crate::config::Config;

impl Reader<'_, '_, '_> {
    /// An empty name would be nobody's, or end every distinguished name.
    pub(super) fn privileged(&mut self, config: &Config) {
        for (key, list) in config.privileged.lists() {
            for (index, name) in list.iter().enumerate() {
                if name.trim().is_empty() {
                    self.error(&["privileged", key, &index.to_string()], "is empty; remove it");
                }
            }
        }
    }
}
