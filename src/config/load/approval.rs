//! What must hold of `[[approval]]`.

use super::Reader;
use crate::config::approval::{Approval, By, Whom};
use crate::config::{Config, DeliveryKind};
use crate::engine::approval::{Action, Approver, DelegationRecord, Rule};

impl Reader<'_, '_, '_> {
    /// Checks all of them, and what `[approvals]` says of notices and delegations.
    pub(super) fn approvals(&mut self, config: &Config) {
        if !DelegationRecord::LENGTHS.contains(&config.approvals.longest_delegation) {
            self.error(&["approvals", "longest_delegation"], "must be 1h to 8760h");
        }
        if let Some(name) = &config.approvals.notify {
            let named = config.deliveries.iter().find(|delivery| delivery.name == *name);
            match named.map(|delivery| delivery.kind) {
                Some(DeliveryKind::Smtp) => {}
                Some(DeliveryKind::Http) => self.error(
                    &["approvals", "notify"],
                    format!("[[delivery]] \"{name}\" is no mail server; notices go by mail alone"),
                ),
                None => self.error(
                    &["approvals", "notify"],
                    format!("there is no [[delivery]] named \"{name}\""),
                ),
            }
        }
        for (index, approval) in config.approval.iter().enumerate() {
            let index = index.to_string();
            self.approval(&index, approval);
            self.levels(&index, approval, config);
        }
    }

    fn approval(&mut self, index: &str, approval: &Approval) {
        let at = |key: &'static str| ["approval", index, key];
        if approval.action.is_empty() {
            self.error(&at("action"), format!("names no action; there are {}", askable()));
        }
        for (place, word) in approval.action.iter().enumerate() {
            if !Action::parse(word).is_some_and(Action::can_be_asked_for) {
                let path = ["approval", index, "action", &place.to_string()];
                self.error(
                    &path,
                    format!("`{word}` is no action that operators ask for; there are {}", askable()),
                );
            }
        }
        if !Rule::LIVES.contains(&approval.life) {
            self.error(&at("life"), "must be 1m to 720h");
        }
        let named = |name: &Option<String>| name.as_ref().is_some_and(|name| !name.trim().is_empty());
        for (whom, key, name) in [
            (Whom::Group, "group", &approval.group),
            (Whom::Below, "dn_suffix", &approval.dn_suffix),
        ] {
            match (approval.about == whom, name) {
                (true, name) if !named(name) => {
                    self.error(&at("for"), format!("needs `{key}` beside it"));
                }
                (false, Some(_)) => self.error(&at(key), "does nothing without the `for` that it belongs to"),
                (true | false, _) => {}
            }
        }
    }

    fn levels(&mut self, index: &str, approval: &Approval, config: &Config) {
        let at = ["approval", index, "levels"];
        if approval.levels.is_empty() || approval.levels.len() > Rule::MOST_LEVELS {
            let most = Rule::MOST_LEVELS;
            self.error(&at, format!("wants 1 to {most} levels, such as {{ by = \"manager\" }}"));
        }
        for (place, level) in approval.levels.iter().enumerate() {
            let place = place.to_string();
            let by = ["approval", index, "levels", &place, "by"];
            let named = level.group.as_ref().is_some_and(|group| !group.trim().is_empty());
            match level.by {
                By::Group if !named => self.error(&by, "needs `group` beside it"),
                By::Manager | By::ManagerOfManager | By::ManagerOrGroup if level.group.is_some() => {
                    self.error(
                        &["approval", index, "levels", &place, "group"],
                        "goes with by = \"group\" alone",
                    );
                }
                By::ManagerOrGroup if config.approvals.group.is_none() => {
                    self.warn(&by, "there is no group in [approvals]: only managers approve");
                }
                By::Group | By::Manager | By::ManagerOfManager | By::ManagerOrGroup => {}
            }
        }
        // Nobody approves twice: what only one person can fill is filled once.
        let levels = approval.rule().levels;
        for one in [Approver::Manager, Approver::ManagersManager] {
            if levels.iter().filter(|level| **level == one).count() > 1 {
                self.error(&at, format!("{one} is one person, and nobody approves at two levels"));
            }
        }
    }
}

fn askable() -> String {
    let words = Action::ALL.into_iter().filter(|action| action.can_be_asked_for());
    words.map(Action::word).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use crate::config::load::tests::{GOOD, load};
    use crate::engine::approval::{About, Action, Approver};

    fn with(text: &str) -> Result<Vec<crate::engine::approval::Rule>, Vec<String>> {
        let (config, warnings) = load(&format!("{GOOD}\n{text}"))?;
        assert!(warnings.0.is_empty(), "{warnings}");
        Ok(config.approval.iter().map(super::Approval::rule).collect())
    }

    #[test]
    fn rules_are_read() {
        let rules = with(
            "[[approval]]\naction = [\"passcode\", \"token-revoke\"]\nfor = \"privileged\"\nlife = \"2h\"\n\
             levels = [{ by = \"manager\" }, { by = \"group\", group = \"CN=Leads, DC=example\" }]\n\
             [[approval]]\naction = [\"unlock\"]\nfor = \"below\"\ndn_suffix = \"OU=Finance,DC=example\"\n\
             levels = [{ by = \"manager-of-manager\" }]\n",
        )
        .unwrap();
        assert_eq!(rules[0].actions, [Action::Passcode, Action::TokenRevoke]);
        assert_eq!(rules[0].about, About::Privileged);
        assert_eq!(rules[0].life.as_secs(), 7200);
        assert_eq!(
            rules[0].levels,
            [Approver::Manager, Approver::Group("cn=leads,dc=example".into())]
        );
        assert_eq!(rules[1].about, About::Below("ou=finance,dc=example".into()));
        assert_eq!(rules[1].levels, [Approver::ManagersManager]);
        assert_eq!(rules[1].life.as_secs(), 24 * 3600);
    }

    #[test]
    fn faults_have_their_places() {
        let manager = "levels = [{ by = \"manager\" }]\n";
        for (text, fault) in [
            (
                format!("[[approval]]\naction = [\"login\"]\n{manager}"),
                "17:11: approval[0].action[0]: `login` is no action",
            ),
            (
                format!("[[approval]]\naction = []\n{manager}"),
                "17:10: approval[0].action: names no action",
            ),
            (
                format!("[[approval]]\naction = [\"deny\"]\nfor = \"group\"\n{manager}"),
                "18:7: approval[0].for: needs `group` beside it",
            ),
            (
                format!("[[approval]]\naction = [\"deny\"]\ngroup = \"leads\"\n{manager}"),
                "18:9: approval[0].group: does nothing",
            ),
            (
                format!("[[approval]]\naction = [\"deny\"]\nlife = \"1s\"\n{manager}"),
                "18:8: approval[0].life: must be 1m to 720h",
            ),
            (
                "[[approval]]\naction = [\"deny\"]\nlevels = []\n".into(),
                "18:10: approval[0].levels: wants 1 to 5 levels",
            ),
            (
                "[[approval]]\naction = [\"deny\"]\nlevels = [{ by = \"group\" }]\n".into(),
                "18:18: approval[0].levels[0].by: needs `group` beside it",
            ),
            (
                "[[approval]]\naction = [\"deny\"]\nlevels = [{ by = \"manager\" }, { by = \"manager\" }]\n".into(),
                "18:10: approval[0].levels: the manager is one person",
            ),
            (
                "[approvals]\nlongest_delegation = \"1m\"\n".into(),
                "17:22: approvals.longest_delegation: must be 1h to 8760h",
            ),
            (
                "[approvals]\nnotify = \"mail\"\n".into(),
                "17:10: approvals.notify: there is no [[delivery]] named \"mail\"",
            ),
        ] {
            let faults = with(&text).unwrap_err();
            assert_eq!(faults.len(), 1, "{faults:?}");
            let found = faults[0].strip_prefix("portcullis.toml:").unwrap();
            assert!(found.starts_with(fault), "{found}");
        }
    }
}
