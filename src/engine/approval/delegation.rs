//! What somebody may approve, handed to somebody else for a while.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Action, Who};
use crate::clock::Timestamp;
use crate::engine::facts::{Person, dn_is_under, normalise_dn};
use crate::engine::policy::is_group;
use crate::engine::record::Record;

/// A delegation, as the store keeps it until it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegationRecord {
    /// In whose place. What they may approve is asked each time anew.
    pub from: Who,
    /// Who acts: the local account.
    pub to: String,
    /// In which matters.
    pub scope: Scope,
    /// Why.
    pub reason: String,
    /// When it was made.
    pub made: Timestamp,
    /// It counts no more from then on.
    pub expires: Timestamp,
}

impl DelegationRecord {
    /// The longest delegation unless configured otherwise.
    pub const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
    /// The bounds of what can be configured.
    pub const LENGTHS: std::ops::RangeInclusive<Duration> =
        Duration::from_secs(3600)..=Duration::from_secs(365 * 24 * 3600);
    /// Most delegations to one account at a time.
    pub const MOST: usize = 50;

    /// Whether it is good for `action` on `person` at `now`.
    pub fn covers(&self, action: Action, person: &Person, now: Timestamp) -> bool {
        now < self.expires && self.scope.covers(action, person)
    }
}

/// In which matters a delegation counts: all conditions together. One that has none counts in all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// These actions; any when empty.
    pub actions: Vec<Action>,
    /// Members of one of these groups, written as in policies; anybody when empty.
    pub groups: Vec<String>,
    /// Whose distinguished names end in one of these, normalised; anybody when empty.
    pub below: Vec<String>,
}

impl Scope {
    /// Most conditions of each kind.
    pub const MOST: usize = 32;

    /// Whether it includes `action` on `person`.
    pub fn covers(&self, action: Action, person: &Person) -> bool {
        let member = |group: &String| person.groups.iter().any(|of| is_group(group, of));
        let dn = normalise_dn(&person.dn);
        (self.actions.is_empty() || self.actions.contains(&action))
            && (self.groups.is_empty() || self.groups.iter().any(member))
            && (self.below.is_empty() || self.below.iter().any(|suffix| dn_is_under(&dn, suffix)))
    }

    /// It in the words that it is written in on the command line.
    pub fn words(&self) -> Vec<String> {
        let actions = self.actions.iter().map(|action| format!("action={action}"));
        let groups = self.groups.iter().map(|group| format!("group={group}"));
        let below = self.below.iter().map(|suffix| format!("below={suffix}"));
        let words: Vec<String> = actions.chain(groups).chain(below).collect();
        if words.is_empty() {
            vec![Self::ALL.to_owned()]
        } else {
            words
        }
    }

    /// Reads such words; `action=` and its kin may list several, actions between commas.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse<'w>(words: impl IntoIterator<Item = &'w str>) -> Result<Self, String> {
        let mut scope = Self::default();
        let (mut all, mut any) = (false, false);
        for word in words {
            any = true;
            match word.trim().split_once('=') {
                None if word.trim() == Self::ALL => all = true,
                Some(("action", actions)) => {
                    for action in actions.split(',') {
                        let read = Action::parse(action.trim());
                        let known = || Action::ALL.map(Action::word).join(", ");
                        scope.actions.push(
                            read.ok_or_else(|| {
                                format!("there is no action `{}`; there are {}", action.trim(), known())
                            })?,
                        );
                    }
                }
                Some((kind @ ("group" | "below"), name)) => {
                    let name = normalise_dn(name);
                    if name.is_empty() || name.len() > Self::LONGEST_NAME {
                        return Err(format!("`{word}` names nothing"));
                    }
                    if kind == "group" {
                        &mut scope.groups
                    } else {
                        &mut scope.below
                    }
                    .push(name);
                }
                None | Some(_) => {
                    return Err(format!(
                        "`{word}` is no scope; write action=ACTION[,ACTION], group=NAME, below=DN, or all"
                    ));
                }
            }
        }
        if !any {
            return Err("a delegation needs a scope: what it is for, or all".into());
        }
        if all && scope != Self::default() {
            return Err("`all` goes with no other scope".into());
        }
        if [scope.actions.len(), scope.groups.len(), scope.below.len()]
            .iter()
            .any(|count| *count > Self::MOST)
        {
            return Err(format!("a scope has at most {} conditions of a kind", Self::MOST));
        }
        Ok(scope)
    }

    /// The word for no condition.
    const ALL: &'static str = "all";
    /// Longest name of a group or a part of the directory, in octets.
    const LONGEST_NAME: usize = 1000;
}

impl Record for DelegationRecord {
    const FORMAT: u8 = 1;

    fn from_older(_: u8, _: &[u8]) -> Option<postcard::Result<Self>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::facts::UserKey;

    #[test]
    fn scopes_are_read_back_as_they_are_written() {
        for words in [
            &["all"][..],
            &[
                "action=passcode,unlock",
                "group=CN=Sales, DC=example",
                "below=OU=Sales,DC=example",
            ],
        ] {
            let scope = Scope::parse(words.iter().copied()).unwrap();
            let written = scope.words();
            assert_eq!(Scope::parse(written.iter().map(String::as_str)), Ok(scope));
        }
        for wrong in [
            &[][..],
            &["passcode"],
            &["action=everything"],
            &["group="],
            &["all", "action=login"],
        ] {
            assert!(Scope::parse(wrong.iter().copied()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn all_conditions_count_together() {
        let ana = Person {
            key: UserKey::new("main", "1"),
            directory: "main".into(),
            dn: "uid=ana,ou=Sales,dc=example".into(),
            login: "ana".into(),
            groups: vec!["cn=staff,dc=example".into()],
            attributes: Default::default(),
            enabled: true,
            manager: None,
            sso_managed: None,
        };
        let covers = |words: &[&str], action| Scope::parse(words.iter().copied()).unwrap().covers(action, &ana);
        assert!(covers(&["all"], Action::Login));
        assert!(covers(
            &["action=passcode", "group=staff", "below=ou=sales,dc=example"],
            Action::Passcode
        ));
        assert!(!covers(&["action=passcode"], Action::Unlock));
        assert!(!covers(&["group=leads"], Action::Unlock));
        assert!(covers(&["group=leads", "group=staff"], Action::Unlock));
        assert!(!covers(&["group=staff", "below=ou=finance,dc=example"], Action::Unlock));
    }
}
