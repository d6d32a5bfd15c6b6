//! Policy: ordered rules, those that deny before all others; the first match wins, and the default is to deny.
//!
//! Rules are read from `policies/*.toml` ([`parse`]), compiled once, and evaluated without allocation.
//! Deciding and explaining judge the same conditions in the same way, so they always agree.

pub mod check;
mod condition;
mod enrol;
mod index;
mod names;
mod parse;
mod privileged;
mod reply;
mod requirement;
mod schedule;
mod state;
mod template;
#[cfg(test)]
mod tests;
mod view;
mod written;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::document::{Fault, Spot};
use crate::engine::authenticator::{Kind, KindSet};
use crate::engine::delivery::Routes;
use crate::engine::facts::Person;
use crate::engine::questions::Questions;
use crate::engine::request::{LoginName, Operation, Origin, Protocol};
use crate::engine::texts::Texts;
use crate::engine::throttle::Limit;
use crate::engine::workflow::Workflows;

pub use condition::{Condition, GroupList, Holds, ManagerList, WrittenFilter, is_group};
pub use enrol::{Enrol, Grace};
pub use index::Rules;
pub use names::{Names, Patterns};
pub use parse::{check_workflows, parse};
pub use privileged::Privileged;
pub use reply::{Reply, Unreplied, refused};
pub use requirement::{Order, Requirement};
pub use schedule::{Span, Window};
pub use state::{Credential, Enrolment};
pub use template::{Template, Unfilled};
pub use view::{Known, View};

use condition::bare_name;

/// All rules, in order.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The rules, in the order in which they are tried.
    pub rules: Rules,
    /// Hexadecimal digest of the files that the rules were read from.
    pub digest: String,
    /// How dialogs go on, step by step.
    pub workflows: Workflows,
    /// What is said in them.
    pub texts: Texts,
    /// How codes reach people.
    pub routes: Routes,
    /// The security questions.
    pub questions: Questions,
    /// Who is privileged.
    pub privileged: Privileged,
    /// See [`Policy::most_sessions`].
    most_sessions: usize,
    /// See [`Policy::reuses`].
    reuses: bool,
    /// See [`Policy::approves`].
    approves: bool,
    /// See [`Policy::asks_credential`].
    asks_credential: bool,
    /// See [`Policy::asks_manager`].
    asks_manager: AsksManager,
    /// Warnings that hold from a moment on.
    dated: Vec<(Timestamp, Fault)>,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name, unique over all files.
    pub name: Arc<str>,
    /// Where it stands: `file:line`.
    pub place: String,
    /// Where its name stands.
    pub spot: Spot,
    /// All of these must hold. Those come first that cost least to judge.
    pub when: Vec<Condition>,
    /// None of these may hold.
    pub unless: Vec<Condition>,
    /// Where the conditions stand, those of `when` first.
    pub spots: Vec<Spot>,
    /// What it says of those it matches.
    pub ruling: Ruling,
}

/// A condition of a rule, with its place.
#[derive(Clone, Copy, Debug)]
pub struct Clause<'r> {
    /// The condition.
    pub condition: &'r Condition,
    /// Where it stands.
    pub spot: &'r Spot,
}

/// What rules ask of people's managers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum AsksManager {
    /// Nothing.
    #[default]
    No,
    /// The distinguished name, which the entry has.
    Dn,
    /// The login name, which the manager's own entry has.
    Login,
}

/// What a rule says.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "rules are few, and made once")]
pub enum Ruling {
    /// Refused.
    Deny,
    /// Let in with these proofs.
    Require(Terms),
}

/// The terms on which somebody is let in.
#[derive(Clone, Debug)]
pub struct Terms {
    /// What has to be proven.
    pub requirement: Requirement,
    /// What has to be proven for a new password: the same where the rule says that it is about password
    /// changes, otherwise only what the old password is a part of.
    pub change: Requirement,
    /// Whether a code or the password is judged first.
    pub order: Order,
    /// The limit of failures, where the rule sets its own.
    pub user_failures: Option<u32>,
    /// Most open sessions of the person, the one that the login opens included.
    pub max_sessions: Option<usize>,
    /// How long codes count for later binds of the same application, source and password.
    pub reuse: Option<Duration>,
    /// Which verdicts are written to the audit.
    pub audit: Audit,
    /// The upstream that judges the factor `radius`; set wherever the requirement has it.
    pub upstream: Option<Arc<str>>,
    /// The text that asks for a code, where the rule has its own. At most 120 characters.
    pub prompt: Option<Arc<str>>,
    /// The workflows that are followed in place of those named after what they start with.
    pub workflows: Vec<Arc<str>>,
    /// The text that people are let in with.
    pub message: Option<Template>,
    /// What an Access-Accept carries besides.
    pub reply: Reply,
    /// What becomes of people who have never had a second factor; they are refused where it says nothing.
    pub enrol: Option<Enrol>,
    /// Whether the key of a new token may be shown over transports that are not encrypted.
    pub enrol_unprotected: bool,
    /// Whether it is for accounts, listed one by one, that are let in with their password alone.
    pub exempt: bool,
    /// Why people are let in without what [`Terms::REACHED`] proves, where that is out of reach. They wait where it
    /// says nothing.
    pub fail_open: Option<Arc<str>>,
}

/// Which verdicts of a rule are written to the audit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Audit {
    /// All.
    #[default]
    All,
    /// Refusals and outages only: for accounts that bind many times a second.
    Failures,
}

impl Terms {
    /// What is proven by something that can be out of reach, besides the directory.
    pub const REACHED: KindSet = KindSet::SENT.with(Kind::Radius);

    /// What has to be proven for `operation`.
    pub const fn requirement_for(&self, operation: Operation) -> &Requirement {
        match operation {
            Operation::Login | Operation::Recovery => &self.requirement,
            Operation::PasswordChange => &self.change,
        }
    }

    /// Whether a wrong password is answered as a right one, and refused at the end: something is asked for by which a
    /// right password would be known.
    pub fn hides_password(&self) -> bool {
        self.requirement.kinds().has_any(KindSet::OUT_OF_BAND)
    }

    /// The limit in force: the rule's own count of failures, or the configured one.
    pub fn limit(&self, configured: Limit) -> Limit {
        Limit {
            failures: self.user_failures.unwrap_or(configured.failures),
            ..configured
        }
    }

    /// The text that a person is let in with: of several the first, on one line of at most 120 characters.
    pub fn message(&self, person: &Person) -> Option<String> {
        let text = self.message.as_ref()?.fill(person).ok()?.into_iter().next()?;
        let line: String = text
            .chars()
            .filter(|letter| !letter.is_control())
            .take(MAX_PROMPT)
            .collect();
        (!line.is_empty()).then_some(line)
    }
}

/// Who and what a policy is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The name as canonicalised.
    pub login: &'a LoginName,
    /// Where the request came from.
    pub origin: &'a Origin,
    /// The person.
    pub person: Who<'a>,
    /// What for.
    pub operation: Operation,
    /// Open sessions of the person, where they were counted.
    pub sessions: Option<usize>,
    /// What else is known of the person.
    pub known: Known<'a>,
    /// When.
    pub now: Timestamp,
}

/// The person that a policy is asked about.
#[derive(Clone, Copy, Debug)]
pub enum Who<'a> {
    /// As the directory describes them.
    Known(&'a Person),
    /// Nobody: asked what someone who exists would most likely be asked, so that the conversation does
    /// not tell. Conditions on the person count as met. The end of it is always a refusal.
    Decoy,
}

impl Policy {
    /// Takes rules as they stand in the files.
    fn new(rules: Vec<Rule>, digest: String) -> Self {
        let rules = Rules::new(rules);
        let conditions = || {
            rules
                .iter()
                .flat_map(Rule::conditions)
                .map(|(_, clause)| clause.condition)
        };
        let sessions = |condition: &Condition| {
            let Condition::Sessions(least) = condition else {
                return None;
            };
            Some(*least)
        };
        let manager = |condition: &Condition| {
            let Condition::Manager(list) = condition else {
                return AsksManager::No;
            };
            match list.asks_login() {
                true => AsksManager::Login,
                false => AsksManager::Dn,
            }
        };
        let terms = || rules.iter().filter_map(Rule::terms);
        let limits = terms().filter_map(|terms| terms.max_sessions);
        let most_sessions = conditions().filter_map(sessions).chain(limits).max().unwrap_or(0);
        let reuses = terms().any(|terms| terms.reuse.is_some());
        let approves = terms().any(|terms| terms.requirement.kinds().has(Kind::Approval));
        let asks_credential = conditions().any(|condition| matches!(condition, Condition::Credential(_)));
        let asks_manager = conditions().map(manager).max().unwrap_or_default();
        Self {
            most_sessions,
            reuses,
            approves,
            asks_credential,
            asks_manager,
            rules,
            digest,
            workflows: Workflows::default(),
            texts: Texts::default(),
            routes: Routes::default(),
            questions: Questions::default(),
            privileged: Privileged::default(),
            dated: Vec::new(),
        }
    }

    /// What works, but at `now` not any more as it was meant.
    pub fn outdated(&self, now: Timestamp) -> impl Iterator<Item = Fault> {
        let begun = self.dated.iter().filter(move |(from, _)| *from <= now);
        begun.map(|(_, fault)| fault.clone())
    }

    /// The largest number of somebody's sessions that any rule asks about: counting further tells nothing.
    /// Zero when none asks; then they are not counted.
    pub const fn most_sessions(&self) -> usize {
        self.most_sessions
    }

    /// Whether any rule lets codes count for longer than one login. Where none does, nothing is looked for.
    pub const fn reuses(&self) -> bool {
        self.reuses
    }

    /// Whether any rule takes an approval. Where none does, none is looked for.
    pub const fn approves(&self) -> bool {
        self.approves
    }

    /// Whether any rule asks for the state of people's accounts. Where none does, the directory is not asked.
    pub const fn asks_credential(&self) -> bool {
        self.asks_credential
    }

    /// What rules ask of people's managers.
    pub const fn asks_manager(&self) -> AsksManager {
        self.asks_manager
    }

    /// Whether any rule asks for the listener.
    pub fn asks_listener(&self) -> bool {
        let mut conditions = self.rules.iter().flat_map(Rule::conditions);
        conditions.any(|(_, clause)| matches!(clause.condition, Condition::Listener(_)))
    }

    /// `subject` as the conditions of this policy see it.
    pub const fn view<'s>(&'s self, subject: &'s Subject<'s>) -> View<'s> {
        View::new(subject, &self.privileged, &self.rules.groups)
    }

    /// The first rule that matches; `None` means refused.
    pub fn decide(&self, subject: &Subject<'_>) -> Option<&Rule> {
        let view = self.view(subject);
        self.rules
            .candidates(&subject.origin.service)
            .find(|rule| rule.matches(&view))
    }

    /// The same for a subject that may be a service account: its own rule stands behind those that deny.
    pub fn ruling<'r>(&'r self, subject: &Subject<'r>) -> Option<&'r Rule> {
        match &subject.origin.service_account {
            Some(own) if !self.bars_account(subject) => Some(own),
            Some(_) | None => self.decide(subject),
        }
    }

    /// Whether a service account is refused: the first rule that matches denies, and says of whom. A rule that
    /// denies everybody stands for the default, which is meant for whoever no rule speaks of.
    pub fn bars_account(&self, subject: &Subject<'_>) -> bool {
        let told = |rule: &Rule| rule.denies() && !rule.denies_everybody();
        self.decide(subject).is_some_and(told)
    }

    /// The rule that somebody unknown to the policy is asked by: the first that asks for a code of those
    /// that anybody might come to, or the first at all. None when everybody would be refused. The
    /// conversation then tells nothing; the end of it is a refusal.
    pub fn decoy(&self, subject: &Subject<'_>) -> Option<&Rule> {
        self.decoy_that(subject, |terms| {
            terms.requirement_for(subject.operation).fewest_codes() > 0
        })
    }

    /// The same with another preference.
    pub fn decoy_that(&self, subject: &Subject<'_>, preferred: impl Fn(&Terms) -> bool) -> Option<&Rule> {
        let nobody = Subject {
            person: Who::Decoy,
            ..*subject
        };
        let mut first = None;
        let view = self.view(&nobody);
        for rule in self
            .rules
            .candidates(&subject.origin.service)
            .filter(|rule| rule.matches(&view))
        {
            match &rule.ruling {
                Ruling::Deny => break,
                Ruling::Require(terms) if preferred(terms) => return Some(rule),
                Ruling::Require(_) => first = first.or(Some(rule)),
            }
        }
        first
    }

    /// The attributes of directory entries that rules ask about, and that rules and routes take values from, in lower case, each once.
    pub fn attributes(&self) -> BTreeSet<&str> {
        let given = self.rules.iter().filter_map(Rule::terms).flat_map(|terms| {
            let message = terms.message.iter().flat_map(Template::attributes);
            terms.reply.attributes().chain(message)
        });
        let conditions = self.rules.iter().flat_map(Rule::conditions);
        let asked = conditions.flat_map(|(_, clause)| clause.condition.attributes());
        given.chain(asked).chain(self.routes.attributes()).collect()
    }

    /// The same decision with every rule and condition looked at on the way to it.
    pub fn explain(&self, subject: &Subject<'_>) -> Explanation {
        let view = self.view(subject);
        let mut steps = Vec::new();
        for rule in &self.rules {
            let step = rule.explain(&view);
            let matched = step.matched;
            steps.push(step);
            if matched {
                break;
            }
        }
        if let Some(rule) = self.ruling(subject) {
            return Explanation {
                decided_by: Some(rule.name.to_string()),
                ruling: rule.ruling.to_string(),
                reply: rule.explain_reply(subject),
                steps,
            };
        }
        Explanation {
            decided_by: None,
            ruling: "deny (no rule matches)".into(),
            reply: Vec::new(),
            steps,
        }
    }
}

impl Rule {
    /// The rule for a service account: its password, and nothing that stands in for it or comes besides.
    pub fn service_account(name: &str, audit: Audit, user_failures: Option<u32>) -> Self {
        Self {
            name: format!("service account {name}").into(),
            place: String::new(),
            spot: Spot::default(),
            when: Vec::new(),
            unless: Vec::new(),
            spots: Vec::new(),
            ruling: Ruling::Require(Terms {
                requirement: Requirement::password(),
                change: Requirement::password(),
                order: Order::default(),
                user_failures,
                max_sessions: None,
                reuse: None,
                audit,
                upstream: None,
                prompt: None,
                workflows: Vec::new(),
                message: None,
                reply: Reply::default(),
                enrol: None,
                enrol_unprotected: false,
                exempt: true,
                fail_open: None,
            }),
        }
    }

    /// Whether the rule applies.
    pub fn matches(&self, view: &View<'_>) -> bool {
        self.when
            .iter()
            .all(|condition| self.favours(false, condition.holds(view)))
            && self
                .unless
                .iter()
                .all(|condition| self.favours(true, condition.holds(view)))
    }

    /// Its conditions, and of each whether it stands under `unless`.
    pub fn conditions(&self) -> impl Iterator<Item = (bool, Clause<'_>)> {
        let when = self.when.iter().map(|condition| (false, condition));
        let all = when.chain(self.unless.iter().map(|condition| (true, condition)));
        all.zip(&self.spots)
            .map(|((unless, condition), spot)| (unless, Clause { condition, spot }))
    }

    /// The terms on which it lets people in, if it does.
    pub const fn terms(&self) -> Option<&Terms> {
        match &self.ruling {
            Ruling::Deny => None,
            Ruling::Require(terms) => Some(terms),
        }
    }

    fn explain(&self, view: &View<'_>) -> ExplainedRule {
        let explained = |(unless, clause): (bool, Clause<'_>)| {
            let condition = clause.condition;
            let holds = condition.holds(view);
            ExplainedCondition {
                unless,
                condition: condition.to_string(),
                value: condition.value(view),
                holds,
                favours: self.favours(unless, holds),
            }
        };
        let conditions: Vec<ExplainedCondition> = self.conditions().map(explained).collect();
        ExplainedRule {
            name: self.name.to_string(),
            place: self.place.clone(),
            ruling: self.ruling.to_string(),
            matched: conditions.iter().all(|condition| condition.favours),
            conditions,
        }
    }

    /// What an Access-Accept by this rule would carry.
    fn explain_reply(&self, subject: &Subject<'_>) -> Vec<String> {
        let (Ruling::Require(terms), Protocol::Radius) = (&self.ruling, subject.origin.protocol) else {
            return Vec::new();
        };
        let (mut lines, message) = match subject.person {
            Who::Decoy => (
                terms.reply.written(),
                terms.message.as_ref().map(|template| template.to_string()),
            ),
            Who::Known(person) => match terms.reply.pairs(person, &[]) {
                Ok(pairs) => (pairs.iter().map(ToString::to_string).collect(), terms.message(person)),
                Err(error) => return vec![format!("refused all the same: {error}")],
            },
        };
        lines.extend(message.map(|text| format!("Reply-Message = {text:?}")));
        lines
    }

    /// Whether it refuses.
    pub const fn denies(&self) -> bool {
        matches!(self.ruling, Ruling::Deny)
    }

    /// Whether it refuses everybody, and so stands for the default.
    pub fn denies_everybody(&self) -> bool {
        self.denies() && self.when.is_empty() && self.unless.is_empty()
    }

    /// Whether the rule can still apply after one of its conditions. A missing datum never lets a rule allow, and
    /// always lets it deny.
    const fn favours(&self, unless: bool, holds: Holds) -> bool {
        match holds {
            Holds::Yes => !unless,
            Holds::No => unless,
            Holds::Missing => self.denies(),
            Holds::Assumed => !self.denies(),
        }
    }
}

impl fmt::Display for Ruling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deny => f.write_str("deny"),
            Self::Require(terms) => {
                write!(f, "require {}", terms.requirement)?;
                match terms.max_sessions {
                    Some(1) => f.write_str(", one session at most"),
                    Some(most) => write!(f, ", {most} sessions at most"),
                    None => Ok(()),
                }?;
                match terms.reuse {
                    Some(reuse) => write!(f, ", code reused for {}", span(reuse)),
                    None => Ok(()),
                }?;
                match &terms.enrol {
                    Some(enrol) => write!(f, "; {enrol}"),
                    None => Ok(()),
                }?;
                match terms.enrol_unprotected {
                    true => f.write_str("; keys are shown without encryption as well"),
                    false => Ok(()),
                }?;
                match &terms.fail_open {
                    Some(why) => write!(f, "; open where that is out of reach ({why})"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// A span of time as rules write it: `10m`, `1h 30m`.
fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let parts = [(seconds / 3600, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    parts
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// How a decision came about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The rule that decided; none means the default, deny.
    pub decided_by: Option<String>,
    /// What it says.
    pub ruling: String,
    /// What an Access-Accept would carry, each as `Name = value`.
    pub reply: Vec<String>,
    /// Every rule looked at, in order.
    pub steps: Vec<ExplainedRule>,
}

/// One rule on the way to a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedRule {
    /// The rule.
    pub name: String,
    /// `file:line`.
    pub place: String,
    /// What it says.
    pub ruling: String,
    /// Whether it applied.
    pub matched: bool,
    /// Its conditions.
    pub conditions: Vec<ExplainedCondition>,
}

/// One condition of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedCondition {
    /// Whether it stands under `unless`.
    pub unless: bool,
    /// As written.
    pub condition: String,
    /// The value it was compared with; none when the datum is missing.
    pub value: Option<String>,
    /// Whether it holds.
    pub holds: Holds,
    /// Whether the rule can still apply.
    pub favours: bool,
}

/// Longest prompt, in characters.
pub const MAX_PROMPT: usize = 120;
