//! Audit records: who did what to whom, from where, by which rule, with what outcome. No secrets.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::engine::request::{Origin, Transport};

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
    /// What else conditions of rules can ask of where it came from; for logins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Box<Context>>,
}

/// What the other fields of a record do not say of where a login came from: enough, with the configuration, to decide
/// it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// The directory that was asked.
    pub directory: Arc<str>,
    /// The service name.
    pub service: Arc<str>,
    /// How messages travelled.
    pub transport: Transport,
    /// The listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<Arc<str>>,
    /// The application behind an LDAP listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<Arc<str>>,
    /// NAS-Identifier, at most [`Context::LONGEST`] octets of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nas_identifier: Option<String>,
    /// Called-Station-Id, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called_station: Option<String>,
    /// Calling-Station-Id, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calling_station: Option<String>,
}

impl Context {
    /// Most octets of what a client says; an attribute of RADIUS has no more.
    pub const LONGEST: usize = 253;

    /// Where a login comes from.
    pub fn of(origin: &Origin) -> Box<Self> {
        let said = |text: &Option<String>| {
            let text = text.as_deref()?;
            let end = text.floor_char_boundary(Self::LONGEST);
            text.get(..end).map(ToOwned::to_owned)
        };
        Box::new(Self {
            directory: Arc::clone(&origin.directory),
            service: Arc::clone(&origin.service),
            transport: origin.transport,
            listener: origin.listener.clone(),
            application: origin.application.clone(),
            nas_identifier: said(&origin.nas_identifier),
            called_station: said(&origin.called_station),
            calling_station: said(&origin.calling_station),
        })
    }
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
