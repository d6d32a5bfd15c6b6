//! What other policies would have decided of logins that were: each is decided by the policies in force and by the others,
//! and held against what the audit says became of it.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::accounts::view::moment;
use crate::clock::Timestamp;
use crate::engine::authenticator::{Kind, KindSet};
use crate::engine::event::Outcome;
use crate::engine::policy::{Condition, Policy, Ruling, Subject, Terms};

/// What a login comes to under a policy.
#[derive(Clone, Copy, Debug)]
pub enum Reached<'p> {
    /// Refused, by a rule or because none is about it.
    Denied(Option<&'p str>),
    /// Let in with proofs.
    LetIn(&'p str, &'p Terms),
    /// It depends on what nobody has written down, by this rule.
    Unknown(&'p str),
}

/// What becomes of a login with the other policies, compared with those in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Refused, where it is let in now.
    Loses,
    /// Let in, where it is refused now.
    Gains,
    /// What was proven is enough now, and would not be any more.
    NeedsMore,
    /// Other proofs are asked for, and what was proven would be enough of them too.
    StillEnough,
    /// Other proofs are asked for. What was proven is not known, or not enough now either.
    OtherProofs,
    /// The same by another rule.
    OtherRule,
    /// The same.
    Same,
}

impl Effect {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Loses => "loses access",
            Self::Gains => "gains access",
            Self::NeedsMore => "needs other proofs",
            Self::StillEnough => "other proofs, enough",
            Self::OtherProofs => "other proofs",
            Self::OtherRule => "by another rule",
            Self::Same => "same",
        }
    }
}

/// Decides a login that was.
pub fn decide<'p>(policy: &'p Policy, doubtful: bool, subject: &Subject<'p>) -> Reached<'p> {
    if doubtful && let Some(rule) = doubt(policy, subject) {
        return Reached::Unknown(rule);
    }
    match policy.ruling(subject).map(|rule| (&*rule.name, &rule.ruling)) {
        None => Reached::Denied(None),
        Some((name, Ruling::Deny)) => Reached::Denied(Some(name)),
        Some((name, Ruling::Require(terms))) if terms.requirement_for(subject.operation).is_impossible() => {
            Reached::Denied(Some(name))
        }
        Some((name, Ruling::Require(terms))) => Reached::LetIn(name, terms),
    }
}

/// Whether any rule asks about what the audit does not say and the directory may not say any more.
pub fn is_doubtful(policy: &Policy) -> bool {
    let conditions = policy
        .rules
        .iter()
        .flat_map(|rule| rule.when.iter().chain(&rule.unless));
    conditions.into_iter().any(is_of_the_moment)
}

/// The first rule on the way to the decision that applies or not by what is not known.
fn doubt<'p>(policy: &'p Policy, subject: &Subject<'p>) -> Option<&'p str> {
    let explained = policy.explain(subject);
    for (rule, step) in policy.rules.iter().zip(&explained.steps) {
        let conditions = rule.when.iter().chain(&rule.unless).zip(&step.conditions);
        let (mut open, mut against) = (false, false);
        for (condition, told) in conditions {
            match is_of_the_moment(condition) {
                true => open = true,
                false => against |= !told.favours,
            }
        }
        if open && !against {
            return Some(&rule.name);
        }
    }
    None
}

/// Whether a condition asks about how things were at the moment of the login.
fn is_of_the_moment(condition: &Condition) -> bool {
    match condition {
        Condition::Sessions(_) | Condition::Failures(_) | Condition::Credential(_) | Condition::Enrolment(_) => true,
        Condition::Operation(_)
        | Condition::Protocol(_)
        | Condition::Transport(_)
        | Condition::Listener(_)
        | Condition::Application(_)
        | Condition::CalledStation(_)
        | Condition::CallingStation(_)
        | Condition::Date(_)
        | Condition::SsoManaged(_)
        | Condition::Privileged(_)
        | Condition::Manager(_)
        | Condition::Attribute { .. }
        | Condition::Filter(_)
        | Condition::Service(_)
        | Condition::Client(_)
        | Condition::Directory(_)
        | Condition::Source(_)
        | Condition::Encrypted(_)
        | Condition::NasIdentifier(_)
        | Condition::Time(_)
        | Condition::User(_)
        | Condition::Group(_)
        | Condition::DnSuffix(_) => false,
    }
}

/// A login that the audit tells of.
#[derive(Clone, Debug)]
pub struct Recorded<'a> {
    /// Who.
    pub user: &'a str,
    /// The client or listener.
    pub client: &'a str,
    /// When.
    pub at: Timestamp,
    /// What came of it.
    pub outcome: Outcome,
    /// The word for why not.
    pub reason: Option<&'a str>,
    /// What was proven.
    pub proven: KindSet,
}

/// The authenticators that a record names.
pub fn proven(factors: &[String]) -> KindSet {
    let kinds = Kind::ALL
        .into_iter()
        .filter(|kind| factors.iter().any(|word| word == kind.word()));
    kinds.fold(KindSet::EMPTY, KindSet::with)
}

/// What has come out so far. Its size is bounded by [`Tally::MOST`].
#[derive(Debug, Default)]
pub struct Tally {
    /// How many there are of what.
    pub counts: Counts,
    groups: HashMap<Group, Changed>,
}

/// How many there are of what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Audit records looked at.
    pub records: u64,
    /// Logins, password changes and recoveries among them.
    pub logins: u64,
    /// Decided by both policies.
    pub decided: u64,
    /// Decided alike.
    pub same: u64,
    /// Decided alike, by another rule.
    pub other_rule: u64,
    /// Refused where they are let in now.
    pub loses: u64,
    /// Let in where they are refused now.
    pub gains: u64,
    /// Proven enough for now, and not enough any more.
    pub needs_more: u64,
    /// Proven enough for either, though other proofs are asked for.
    pub still_enough: u64,
    /// Other proofs are asked for, and it is not known what would have been proven.
    pub other_proofs: u64,
    /// What could not be decided, and why.
    pub undecidable: Undecidable,
    /// What became of logins then, where the policies in force decide otherwise now.
    pub since_then: SinceThen,
}

/// Logins that could not be decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undecidable {
    /// The record does not say where the login came from.
    pub no_context: u64,
    /// The name was nobody's then.
    pub nobody: u64,
    /// The person is not in the directory any more, or the name is somebody else's.
    pub gone: u64,
    /// The directory is not configured any more, or could not be asked.
    pub unreachable: u64,
    /// A rule asks about how things were at that moment.
    pub unknown: u64,
}

/// Logins that the policies in force decide otherwise than was decided then: policies, groups or people have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinceThen {
    /// Let in then, refused now.
    pub now_refused: u64,
    /// Refused by policy then, let in now.
    pub now_let_in: u64,
    /// Let in then with proofs that are not enough now.
    pub now_more: u64,
}

/// What is counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Group {
    user: String,
    effect: Effect,
    old_rule: Option<String>,
    new_rule: Option<String>,
}

/// A person for whom something changes, by one pair of rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The login name.
    pub user: String,
    /// What becomes of the logins.
    pub effect: Effect,
    /// The rule that decides now; none where no rule is about them.
    pub old_rule: Option<String>,
    /// The rule that would decide.
    pub new_rule: Option<String>,
    /// What is asked for now.
    pub old_proofs: Option<String>,
    /// What would be asked for.
    pub new_proofs: Option<String>,
    /// Clients and listeners, a few of them.
    pub clients: Vec<String>,
    /// Logins.
    pub logins: u64,
    /// Those of them that were let in then.
    pub accepted: u64,
    /// The first of them.
    #[serde(with = "moment")]
    pub first: Timestamp,
    /// The last of them.
    #[serde(with = "moment")]
    pub last: Timestamp,
}

/// What a change from one rule to another comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleEffect {
    /// What becomes of the logins.
    pub effect: Effect,
    /// The rule that decides now.
    pub old_rule: Option<String>,
    /// The rule that would decide.
    pub new_rule: Option<String>,
    /// People.
    pub people: u64,
    /// Logins.
    pub logins: u64,
}

impl Tally {
    /// Most people and pairs of rules that are told one by one; further ones are counted only.
    pub const MOST: usize = 10_000;

    /// Most clients named for one of them.
    const CLIENTS: usize = 5;

    /// Counts a login.
    pub fn count(&mut self, login: &Recorded<'_>, subject: &Subject<'_>, old: Reached<'_>, new: Reached<'_>) {
        if matches!(old, Reached::Unknown(_)) || matches!(new, Reached::Unknown(_)) {
            self.counts.undecidable.unknown += 1;
            return;
        }
        self.counts.decided += 1;
        self.since_then(login, subject, old);
        let effect = effect(login, subject, old, new);
        let count = match effect {
            Effect::Same => &mut self.counts.same,
            Effect::OtherRule => &mut self.counts.other_rule,
            Effect::Loses => &mut self.counts.loses,
            Effect::Gains => &mut self.counts.gains,
            Effect::NeedsMore => &mut self.counts.needs_more,
            Effect::StillEnough => &mut self.counts.still_enough,
            Effect::OtherProofs => &mut self.counts.other_proofs,
        };
        *count += 1;
        if !matches!(effect, Effect::Same | Effect::OtherRule) {
            self.note(login, subject, effect, old, new);
        }
    }

    fn since_then(&mut self, login: &Recorded<'_>, subject: &Subject<'_>, old: Reached<'_>) {
        let then = &mut self.counts.since_then;
        match (login.outcome, old) {
            (Outcome::Accept | Outcome::Restricted, Reached::Denied(_)) => then.now_refused += 1,
            (Outcome::Accept, Reached::LetIn(_, terms))
                if !terms.requirement_for(subject.operation).is_met(login.proven) && !in_grace(terms, login) =>
            {
                then.now_more += 1;
            }
            (Outcome::Reject, Reached::LetIn(..)) if login.reason == Some("policy") => then.now_let_in += 1,
            (_, _) => {}
        }
    }

    fn note(
        &mut self,
        login: &Recorded<'_>,
        subject: &Subject<'_>,
        effect: Effect,
        old: Reached<'_>,
        new: Reached<'_>,
    ) {
        let group = Group {
            user: login.user.to_owned(),
            effect,
            old_rule: old.rule(),
            new_rule: new.rule(),
        };
        let full = self.groups.len() >= Self::MOST;
        if full && !self.groups.contains_key(&group) {
            return;
        }
        let changed = self.groups.entry(group.clone()).or_insert_with(|| Changed {
            user: group.user,
            effect,
            old_rule: group.old_rule,
            new_rule: group.new_rule,
            old_proofs: old.proofs(subject),
            new_proofs: new.proofs(subject),
            clients: Vec::new(),
            logins: 0,
            accepted: 0,
            first: login.at,
            last: login.at,
        });
        changed.logins += 1;
        changed.accepted += u64::from(matches!(login.outcome, Outcome::Accept | Outcome::Restricted));
        changed.first = changed.first.min(login.at);
        changed.last = changed.last.max(login.at);
        if changed.clients.len() < Self::CLIENTS && !changed.clients.iter().any(|client| client == login.client) {
            changed.clients.push(login.client.to_owned());
        }
    }

    /// People for whom something changes, those who lose first, and what each pair of rules comes to.
    pub fn changes(self) -> (Vec<Changed>, Vec<RuleEffect>) {
        let mut changes: Vec<Changed> = self.groups.into_values().collect();
        changes.sort_by(|one, other| {
            let key = |changed: &Changed| (changed.effect, changed.new_rule.clone(), changed.old_rule.clone());
            (key(one), &one.user).cmp(&(key(other), &other.user))
        });
        let mut rules: Vec<RuleEffect> = Vec::new();
        for changed in &changes {
            let same = |rule: &&mut RuleEffect| {
                (rule.effect, &rule.old_rule, &rule.new_rule) == (changed.effect, &changed.old_rule, &changed.new_rule)
            };
            match rules.last_mut().filter(same) {
                Some(rule) => {
                    rule.people += 1;
                    rule.logins += changed.logins;
                }
                None => rules.push(RuleEffect {
                    effect: changed.effect,
                    old_rule: changed.old_rule.clone(),
                    new_rule: changed.new_rule.clone(),
                    people: 1,
                    logins: changed.logins,
                }),
            }
        }
        (changes, rules)
    }
}

impl Reached<'_> {
    fn rule(&self) -> Option<String> {
        match self {
            Self::Denied(rule) => rule.map(ToOwned::to_owned),
            Self::LetIn(rule, _) | Self::Unknown(rule) => Some((*rule).to_owned()),
        }
    }

    fn proofs(&self, subject: &Subject<'_>) -> Option<String> {
        match self {
            Self::LetIn(_, terms) => Some(terms.requirement_for(subject.operation).to_string()),
            Self::Denied(_) | Self::Unknown(_) => None,
        }
    }
}

fn effect(login: &Recorded<'_>, subject: &Subject<'_>, old: Reached<'_>, new: Reached<'_>) -> Effect {
    let (before, after) = match (old, new) {
        (Reached::LetIn(..), Reached::Denied(_)) => return Effect::Loses,
        (Reached::Denied(_), Reached::LetIn(..)) => return Effect::Gains,
        (Reached::LetIn(_, before), Reached::LetIn(_, after)) => (before, after),
        (Reached::Denied(_) | Reached::Unknown(_), _) | (_, Reached::Unknown(_)) => {
            return if old.rule() == new.rule() {
                Effect::Same
            } else {
                Effect::OtherRule
            };
        }
    };
    let operation = subject.operation;
    let (wanted, wants) = (before.requirement_for(operation), after.requirement_for(operation));
    let alike = wanted.alternatives().len() == wants.alternatives().len()
        && wanted
            .alternatives()
            .iter()
            .all(|set| wants.alternatives().contains(set));
    if alike {
        return if old.rule() == new.rule() {
            Effect::Same
        } else {
            Effect::OtherRule
        };
    }
    if login.outcome != Outcome::Accept {
        return Effect::OtherProofs;
    }
    let enough = |terms: &Terms| terms.requirement_for(operation).is_met(login.proven) || in_grace(terms, login);
    match (enough(before), enough(after)) {
        (true, true) => Effect::StillEnough,
        (true, false) => Effect::NeedsMore,
        (false, _) => Effect::OtherProofs,
    }
}

/// Whether the password alone was enough then because the person had never enrolled anything.
fn in_grace(terms: &Terms, login: &Recorded<'_>) -> bool {
    login.reason == Some("enrol-grace")
        && terms
            .enrol
            .as_ref()
            .is_some_and(|enrol| enrol.grace(login.at).is_some())
        && login.proven.has(Kind::Password)
}
