//! Audit records: who did what to whom, from where, by which rule, with what outcome. No secrets.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// One record of the audit. Serialised as JSON, which is what the chain covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditEvent {
    /// When it was decided.
    pub at: Timestamp,
    /// What happened: `login`, `token.enrol`, `passcode.issue`, `user.unlock`, `policy.reload`, …
    pub action: String,
    /// Who did it: the login name as canonicalised, or the operator.
    pub actor: String,
    /// The person it was done to: key of their record, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The protocol or `admin`.
    pub via: String,
    /// The RADIUS client or LDAP listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The network source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// The policy rule that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Authenticators proven.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub factors: Vec<String>,
    /// What came of it.
    pub outcome: Outcome,
    /// Why, as a stable word (`wrong-code`, `throttled`, …) or a short text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What came of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Let in, or done.
    Accept,
    /// Let in to change the password, and for nothing else.
    Restricted,
    /// Refused.
    Reject,
    /// Could not be judged, because something it needs was out of reach.
    Unavailable,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Accept => "accept",
            Self::Restricted => "restricted",
            Self::Reject => "reject",
            Self::Unavailable => "unavailable",
        })
    }
}
