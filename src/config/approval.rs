//! `[[approval]]`: what operators may not do alone.

use std::time::Duration;

use serde::Deserialize;

use crate::engine::approval::{About, Action, Approver, Rule};
use crate::engine::facts::normalise_dn;

/// Actions that take an approval, about whom, and whose.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Approval {
    /// Words of actions.
    pub action: Vec<String>,
    /// About whom.
    #[serde(default, rename = "for")]
    pub about: Whom,
    /// The group, with `for = "group"`.
    #[serde(default)]
    pub group: Option<String>,
    /// The end of distinguished names, with `for = "below"`.
    #[serde(default)]
    pub dn_suffix: Option<String>,
    /// Who approves, one after the other.
    pub levels: Vec<Level>,
    /// How long a request lives, from being asked to being used: 1 minute to 30 days.
    #[serde(default = "life", with = "crate::document::span")]
    pub life: Duration,
}

/// About whom.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Whom {
    /// Everybody.
    #[default]
    Everybody,
    /// Privileged people.
    Privileged,
    /// The members of a group.
    Group,
    /// A part of the directory.
    Below,
}

/// One level.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Level {
    /// Who.
    pub by: By,
    /// The group, with `by = "group"`.
    #[serde(default)]
    pub group: Option<String>,
}

/// Who approves.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// The person's manager.
    Manager,
    /// The manager's manager.
    ManagerOfManager,
    /// The members of a group.
    Group,
    /// The manager, or the members of the group of `[approvals]`.
    ManagerOrGroup,
}

impl Approval {
    /// The same for the engine; what is at fault is left out.
    pub fn rule(&self) -> Rule {
        let named = |name: &Option<String>| normalise_dn(name.as_deref().unwrap_or_default());
        let level = |level: &Level| match level.by {
            By::Manager => Approver::Manager,
            By::ManagerOfManager => Approver::ManagersManager,
            By::Group => Approver::Group(named(&level.group)),
            By::ManagerOrGroup => Approver::ManagerOrGroup,
        };
        Rule {
            actions: self.action.iter().filter_map(|word| Action::parse(word)).collect(),
            about: match self.about {
                Whom::Everybody => About::Everybody,
                Whom::Privileged => About::Privileged,
                Whom::Group => About::Group(named(&self.group)),
                Whom::Below => About::Below(named(&self.dn_suffix)),
            },
            levels: self.levels.iter().map(level).collect(),
            life: self.life,
        }
    }
}

const fn life() -> Duration {
    Rule::DEFAULT_LIFE
}
