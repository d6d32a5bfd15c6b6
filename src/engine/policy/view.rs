//! A subject as conditions see it, with what several of them ask computed once.

use std::cell::OnceCell;
use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::engine::account::AccountState;
use crate::engine::facts::Person;
use crate::engine::policy::{Privileged, Subject, Who, bare_name};
use crate::engine::record::UserRecord;

/// What is known of a person besides their entry. What is absent is missing: it lets nobody in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// The directory's word on the account, where it was asked
    /// ([`Policy::asks_credential`](crate::engine::policy::Policy::asks_credential)).
    pub account: Option<&'a AccountState>,
    /// The person's record.
    pub record: Option<&'a UserRecord>,
    /// Failures that are counted against the person now.
    pub failures: Option<usize>,
}

/// The names of all groups that rules ask about, numbered.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups(HashMap<String, usize, RandomState>);

/// Of the numbered groups, those that somebody is in.
type Membership = [u64; WORDS];

impl Groups {
    /// The number of a name, which is a new one for a new name.
    pub(super) fn number(&mut self, name: &str) -> usize {
        let next = self.0.len();
        *self.0.entry(name.to_owned()).or_insert(next)
    }

    fn of(&self, person: &Person) -> Membership {
        let mut membership = [0; WORDS];
        let mut note = |name: &str| {
            if let Some(number) = self.0.get(name)
                && let Some(word) = membership.get_mut(number / BITS)
            {
                *word |= 1 << (number % BITS);
            }
        };
        for group in &person.groups {
            note(group);
            if let Some(bare) = bare_name(group) {
                note(bare);
            }
        }
        membership
    }
}

/// A subject with what is computed of it for the first condition that asks.
pub struct View<'s> {
    /// The subject.
    pub(super) subject: &'s Subject<'s>,
    class: &'s Privileged,
    groups: &'s Groups,
    membership: OnceCell<Membership>,
    privileged: OnceCell<bool>,
}

impl<'s> View<'s> {
    /// Looks at `subject` with what a policy knows of groups and of privileged people.
    pub(super) const fn new(subject: &'s Subject<'s>, class: &'s Privileged, groups: &'s Groups) -> Self {
        Self {
            subject,
            class,
            groups,
            membership: OnceCell::new(),
            privileged: OnceCell::new(),
        }
    }

    /// Whether `person` is in the group with this number; `None` where it has too high a number to be kept.
    pub(super) fn is_member(&self, person: &Person, number: usize) -> Option<bool> {
        let membership = self.membership.get_or_init(|| self.groups.of(person));
        let word = membership.get(number / BITS)?;
        Some(word & (1 << (number % BITS)) != 0)
    }

    /// Whether `person` is privileged.
    pub(super) fn is_privileged(&self, person: &Person) -> bool {
        *self.privileged.get_or_init(|| self.class.includes(person))
    }

    /// What `look` finds of the person; `None` for somebody who is not there.
    pub(super) fn person<T>(&self, look: impl FnOnce(&'s Person) -> T) -> Option<T> {
        match self.subject.person {
            Who::Known(person) => Some(look(person)),
            Who::Decoy => None,
        }
    }
}

const BITS: usize = 64;
/// Room for 2,048 names of groups. Those of more are compared one by one.
const WORDS: usize = 32;
