//! Password changes that a directory is asked for on somebody's own connection, where it decides by its own access
//! rules: whether policy lets them be asked for, and what the audit says of them.

use std::fmt;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::engine::authenticator::KindSet;
use crate::engine::denials::GroupDenials;
use crate::engine::event::{AuditEvent, Outcome};
use crate::engine::facts::{Person, UserKey};
use crate::engine::login::Engine;
use crate::engine::policy::{Known, Subject, Who};
use crate::engine::record::UserRecord;
use crate::engine::request::{LoginName, Operation, Origin};
use crate::engine::review::Review;
use crate::engine::verdict::Denial;

/// A change of a password, of their own or somebody else's, that somebody who is bound asks the directory for.
#[derive(Clone, Debug)]
pub struct RelayedChange {
    /// Who asks.
    pub person: Arc<Person>,
    /// The name they bound with.
    pub login: LoginName,
    /// What they proved then.
    pub proven: KindSet,
    /// Where it comes from.
    pub origin: Origin,
    /// Whose password it is.
    pub target: Target,
}

/// Whose password somebody asks to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// This person's.
    Known(UserKey),
    /// Nobody's that is known; the name as it was sent.
    Named(String),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(user) => user.fmt(f),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// Whether the directory may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permit {
    /// Yes, by this rule.
    Granted(Arc<str>),
    /// The rule asks for more than was proven.
    ProveMore(Arc<str>),
    /// No.
    Refused(Denial),
    /// Could not be judged. The text says why, for logs.
    Unavailable(String),
}

/// What the directory made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayedResult {
    /// This resultCode (RFC 4511 appendix A).
    Code(i32),
    /// It did not answer: whether it was done is not known.
    Lost,
}

impl RelayedResult {
    /// For the audit: an outage is no refusal.
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::Code(0) => Outcome::Accept,
            // busy, unavailable
            Self::Code(51 | 52) | Self::Lost => Outcome::Unavailable,
            Self::Code(_) => Outcome::Reject,
        }
    }

    fn reason(self) -> Option<String> {
        match self {
            Self::Code(0) => None,
            Self::Code(code) => Some(format!("the directory answered {code}")),
            Self::Lost => Some("the directory did not answer".into()),
        }
    }
}

impl Engine {
    /// Judges by the rules for password changes; `known`, but for the record, and `sessions` as in [`Subject`].
    pub fn permit(
        &self,
        change: &RelayedChange,
        (record, denials): (&UserRecord, &GroupDenials),
        known: Known<'_>,
        sessions: Option<usize>,
        now: Timestamp,
    ) -> Permit {
        let subject = Subject {
            login: &change.login,
            origin: &change.origin,
            person: Who::Known(&change.person),
            operation: Operation::PasswordChange,
            sessions,
            known: Known {
                record: Some(record),
                ..known
            },
            now,
        };
        match self.review_account(&subject, record, denials) {
            Review::Out(denial, _) => Permit::Refused(denial),
            // Whoever is bound in the directory need not give a password for it again.
            Review::In(rule, terms) if terms.change.is_met(change.proven) => Permit::Granted(Arc::clone(&rule.name)),
            Review::In(_, terms) if terms.change.is_impossible() => Permit::Refused(Denial::Policy),
            Review::In(rule, _) => Permit::ProveMore(Arc::clone(&rule.name)),
        }
    }
}

impl RelayedChange {
    /// Whether it is their own password.
    pub fn is_own(&self) -> bool {
        matches!(&self.target, Target::Known(user) if *user == self.person.key)
    }

    /// The audit record of what came of it.
    pub fn event(&self, rule: &str, result: RelayedResult, now: Timestamp) -> AuditEvent {
        self.record(Some(rule), result.outcome(), result.reason(), now)
    }

    /// The audit record of a refusal.
    pub fn refusal(&self, denial: Denial, now: Timestamp) -> AuditEvent {
        self.record(None, Outcome::Reject, Some(denial.word().to_owned()), now)
    }

    fn record(&self, rule: Option<&str>, outcome: Outcome, reason: Option<String>, at: Timestamp) -> AuditEvent {
        AuditEvent {
            at,
            action: Operation::PasswordChange.action().into(),
            actor: self.login.to_string(),
            target: Some(self.target.to_string()),
            via: self.origin.protocol.to_string(),
            client: Some(self.origin.client.to_string()),
            source: Some(self.origin.source),
            rule: rule.map(ToOwned::to_owned),
            factors: self.proven.iter().map(|kind| kind.to_string()).collect(),
            outcome,
            reason,
            context: None,
        }
    }
}
