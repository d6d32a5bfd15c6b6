//! Which actions take an approval, about whom, and whose.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Action;
use crate::engine::facts::{Person, dn_is_under, normalise_dn};
use crate::engine::policy::{Privileged, is_group};

/// Who may approve at one level.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Approver {
    /// The person's manager in the directory.
    Manager,
    /// The manager of the person's manager.
    ManagersManager,
    /// The members of a group: a normalised distinguished name, or its `cn` in small letters.
    Group(String),
    /// The manager, or the members of the group that is configured for all approvals.
    ManagerOrGroup,
}

impl fmt::Display for Approver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manager => f.write_str("the manager"),
            Self::ManagersManager => f.write_str("the manager's manager"),
            Self::Group(group) => write!(f, "a member of {group}"),
            Self::ManagerOrGroup => f.write_str("the manager or a member of the group"),
        }
    }
}

/// A rule: what takes an approval, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What.
    pub actions: Vec<Action>,
    /// About whom.
    pub about: About,
    /// Who approves, in this order; at least one.
    pub levels: Vec<Approver>,
    /// How long a request lives, from being asked to being used.
    pub life: Duration,
}

impl Rule {
    /// Most levels of one rule.
    pub const MOST_LEVELS: usize = 5;
    /// How long a request lives unless configured otherwise.
    pub const DEFAULT_LIFE: Duration = Duration::from_secs(24 * 3600);
    /// The bounds of how long one may live.
    pub const LIVES: std::ops::RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(30 * 24 * 3600);
}

/// Whom a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// Everybody.
    Everybody,
    /// Privileged people.
    Privileged,
    /// The members of a group, written as in [`Approver::Group`].
    Group(String),
    /// Whose distinguished name ends so, normalised.
    Below(String),
}

impl About {
    fn covers(&self, person: Option<&Person>, privileged: bool) -> bool {
        match (self, person) {
            (Self::Everybody, _) => true,
            (Self::Privileged, _) => privileged,
            (Self::Group(group), Some(person)) => person.groups.iter().any(|of| is_group(group, of)),
            (Self::Below(suffix), Some(person)) => dn_is_under(&normalise_dn(&person.dn), suffix),
            (Self::Group(_) | Self::Below(_), None) => false,
        }
    }
}

/// The rule that `action` on `person` is under: the first that names the action and is about them. A privileged person
/// is also under a rule for the action that is about others, if there is none of their own. `None` for `person` is
/// somebody whom no directory knows any more.
pub fn rule_for<'r>(
    rules: &'r [Rule],
    action: Action,
    person: Option<&Person>,
    privileged: &Privileged,
) -> Option<&'r Rule> {
    let privileged = person.is_some_and(|person| privileged.includes(person));
    let named = || rules.iter().filter(|rule| rule.actions.contains(&action));
    let own = named().find(|rule| rule.about.covers(person, privileged));
    own.or_else(|| named().next().filter(|_| privileged))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::facts::UserKey;

    fn person(login: &str, group: &str) -> Person {
        Person {
            key: UserKey::new("main", login),
            directory: "main".into(),
            dn: format!("uid={login},ou=People,dc=example"),
            login: login.into(),
            groups: vec![format!("cn={group},dc=example")],
            attributes: Default::default(),
            enabled: true,
            manager: None,
            sso_managed: None,
        }
    }

    fn rule(actions: &[Action], about: About) -> Rule {
        Rule {
            actions: actions.to_vec(),
            about,
            levels: vec![Approver::Manager],
            life: Rule::DEFAULT_LIFE,
        }
    }

    #[test]
    fn the_first_rule_about_somebody_counts() {
        let rules = [
            rule(&[Action::Passcode], About::Group("finance".into())),
            rule(&[Action::Passcode, Action::Deny], About::Privileged),
            rule(&[Action::Unlock], About::Everybody),
            rule(&[Action::Disable], About::Below("ou=people,dc=example".into())),
            rule(&[Action::Enable], About::Below("ou=machines,dc=example".into())),
        ];
        let privileged = Privileged {
            users: vec!["root".into()],
            ..Privileged::default()
        };
        let found = |action, person: Option<&Person>| {
            let found = rule_for(&rules, action, person, &privileged);
            found.and_then(|found| rules.iter().position(|rule| rule == found))
        };
        let (fay, ana, root) = (
            person("fay", "finance"),
            person("ana", "staff"),
            person("root", "staff"),
        );
        assert_eq!(found(Action::Passcode, Some(&fay)), Some(0));
        assert_eq!(found(Action::Passcode, Some(&ana)), None);
        assert_eq!(found(Action::Passcode, Some(&root)), Some(1));
        assert_eq!(found(Action::Deny, Some(&ana)), None);
        assert_eq!(found(Action::Unlock, Some(&ana)), Some(2));
        assert_eq!(found(Action::Unlock, None), Some(2), "gone from the directory");
        assert_eq!(found(Action::Passcode, None), None);
        assert_eq!(found(Action::Disable, Some(&ana)), Some(3));
        assert_eq!(found(Action::Enable, Some(&ana)), None);
        assert_eq!(
            found(Action::Enable, Some(&root)),
            Some(4),
            "privileged people in any case"
        );
        assert_eq!(found(Action::Unregister, Some(&root)), None);
    }
}
