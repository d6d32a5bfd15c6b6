//! All rules in the order in which they are tried, and which of them may apply to whom, found without looking at all.

use std::ops::Deref;

use crate::engine::policy::names::{compare, letters};
use crate::engine::policy::view::Groups;
use crate::engine::policy::{Condition, Names, Rule, Ruling};

/// All rules, in the order in which they are tried: those that deny first, and last those that deny everybody.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    list: Vec<Rule>,
    index: Index,
    /// The groups that they ask about.
    pub(super) groups: Groups,
}

impl Rules {
    /// Takes rules as they stand in the files.
    pub(super) fn new(mut list: Vec<Rule>) -> Self {
        list.sort_by_key(|rule| match rule.ruling {
            Ruling::Deny if rule.denies_everybody() => 2,
            Ruling::Deny => 0,
            Ruling::Require(_) => 1,
        });
        let mut groups = Groups::default();
        for rule in &mut list {
            for condition in rule.when.iter_mut().chain(&mut rule.unless) {
                if let Condition::Group(list) = condition {
                    list.number(&mut groups);
                }
            }
        }
        Self {
            index: Index::new(&list),
            list,
            groups,
        }
    }

    /// Each rule, to be completed by what only the configuration knows. Its conditions must stay as they are.
    pub fn each_mut(&mut self) -> std::slice::IterMut<'_, Rule> {
        self.list.iter_mut()
    }

    /// Those that may apply at `service`.
    pub(super) fn candidates(&self, service: &str) -> impl Iterator<Item = &Rule> {
        let places = self.index.candidates(service).iter();
        places.filter_map(|place| self.list.get(*place))
    }
}

impl Deref for Rules {
    type Target = [Rule];

    fn deref(&self) -> &[Rule] {
        &self.list
    }
}

impl<'r> IntoIterator for &'r Rules {
    type Item = &'r Rule;
    type IntoIter = std::slice::Iter<'r, Rule>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

/// The places of rules by the service that they are for.
#[derive(Clone, Debug, Default)]
struct Index {
    /// In lower case and in order, each with the rules that may apply there, in theirs.
    services: Vec<(String, Box<[usize]>)>,
    /// Those that may apply anywhere else.
    elsewhere: Box<[usize]>,
}

impl Index {
    /// Sorts rules, in the order in which they are tried.
    fn new(rules: &[Rule]) -> Self {
        let folded = |name: &str| letters(name).collect::<String>();
        let mut names: Vec<String> = rules
            .iter()
            .filter_map(services)
            .flat_map(Names::iter)
            .map(folded)
            .collect();
        names.sort_unstable();
        names.dedup();
        if names.len().saturating_mul(rules.len()) > LARGEST {
            return Self {
                services: Vec::new(),
                elsewhere: (0..rules.len()).collect(),
            };
        }
        let places = |fits: &dyn Fn(&Rule) -> bool| -> Box<[usize]> {
            let fitting = rules.iter().enumerate().filter(|(_, rule)| fits(rule));
            fitting.map(|(place, _)| place).collect()
        };
        let of = |name: String| {
            let rules = places(&|rule| services(rule).is_none_or(|names| names.contains(&name)));
            (name, rules)
        };
        Self {
            elsewhere: places(&|rule| services(rule).is_none()),
            services: names.into_iter().map(of).collect(),
        }
    }

    /// The places of all rules that may apply at `service`.
    fn candidates(&self, service: &str) -> &[usize] {
        let found = self.services.binary_search_by(|(name, _)| compare(name, service));
        let found = found.ok().and_then(|at| self.services.get(at));
        found.map_or(&self.elsewhere, |(_, rules)| rules)
    }
}

/// The services that a rule is for; every one where it names none.
fn services(rule: &Rule) -> Option<&Names> {
    rule.when.iter().find_map(|condition| {
        let Condition::Service(names) = condition else {
            return None;
        };
        Some(names)
    })
}

/// Most places kept; for a policy of more services and rules every rule is looked at.
const LARGEST: usize = 1 << 20;
