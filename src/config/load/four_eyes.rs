//! What must hold of `[passcodes]` and `[approvals]`.

use super::Reader;
use crate::config::{Approvals, Config, Passcodes};
use crate::engine::facts::normalise_dn;

impl Reader<'_, '_, '_> {
    /// Checks both tables, and brings the names of groups into the form that they are compared in.
    pub(super) fn four_eyes(&mut self, config: &mut Config) {
        if !Passcodes::LIVES.contains(&config.passcodes.life) {
            self.error(&["passcodes", "life"], "must be 1m to 8h");
        }
        if !Approvals::LIVES.contains(&config.approvals.life) {
            self.error(&["approvals", "life"], "must be 30s to 10m");
        }
        let groups = [
            (
                ["passcodes", "second_holder_group"],
                &mut config.passcodes.second_holder_group,
            ),
            (["approvals", "group"], &mut config.approvals.group),
        ];
        for (at, group) in groups {
            let Some(group) = group else { continue };
            *group = normalise_dn(group);
            if group.is_empty() {
                self.error(&at, "is empty; write the group's distinguished name, or its cn");
            }
        }
        if !config.passcodes.four_eyes && config.passcodes.second_holder_group.is_some() {
            self.warn(
                &["passcodes", "second_holder_group"],
                "does nothing without four_eyes = true: passcodes are shown whole to who issues them",
            );
        }
    }
}
