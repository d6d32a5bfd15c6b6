//! A session that is open, judged again: would its person be let in now?

use crate::engine::denials::GroupDenials;
use crate::engine::login::Engine;
use crate::engine::policy::{Rule, Ruling, Subject, Terms, Who};
use crate::engine::record::UserRecord;
use crate::engine::verdict::Denial;

/// What a person's login would come to now, whatever they could prove.
#[derive(Clone, Copy, Debug)]
pub enum Review<'a> {
    /// A refusal; by this rule, if one decided it.
    Out(Denial, Option<&'a Rule>),
    /// Let in by this rule, on these terms.
    In(&'a Rule, &'a Terms),
}

impl Engine {
    /// Judges a person who proved all that was asked when they logged in: rules, a denial, a disabled
    /// account. Failures count against nobody who is in.
    pub fn review(&self, subject: &Subject<'_>, record: &UserRecord, denials: &GroupDenials) -> Review<'_> {
        reviewed(self.policy.decide(subject), subject, record, denials)
    }

    /// The same for who may be a service account, and has its own rule then.
    pub(super) fn review_account<'r>(
        &'r self,
        subject: &Subject<'r>,
        record: &UserRecord,
        denials: &GroupDenials,
    ) -> Review<'r> {
        reviewed(self.policy.ruling(subject), subject, record, denials)
    }
}

fn reviewed<'r>(
    rule: Option<&'r Rule>,
    subject: &Subject<'_>,
    record: &UserRecord,
    denials: &GroupDenials,
) -> Review<'r> {
    let Who::Known(person) = subject.person else {
        return Review::Out(Denial::UnknownUser, None);
    };
    match rule {
        Some(rule) => match &rule.ruling {
            Ruling::Require(_) if record.denial(subject.now).is_some() => Review::Out(Denial::Denied, None),
            Ruling::Require(_) if denials.of(person, subject.now).is_some() => Review::Out(Denial::Denied, None),
            Ruling::Require(_) if !person.enabled => Review::Out(Denial::Disabled, None),
            Ruling::Require(terms) => Review::In(rule, terms),
            Ruling::Deny => Review::Out(Denial::Policy, Some(rule)),
        },
        None => Review::Out(Denial::Policy, None),
    }
}
