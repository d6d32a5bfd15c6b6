//! `/v1/audit…`.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::moment;
use crate::clock::Timestamp;
use crate::engine::event::Outcome;

/// `GET /v1/audit`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditRequest {
    /// From this position on, in the order asked for; from its beginning when absent. Not together with `last`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// The last so many that match, oldest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<usize>,
    /// In which order; the oldest first when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<AuditOrder>,
    /// Most records, up to 1000 (the default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Not before.
    #[serde(default, with = "moment::option", skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Before.
    #[serde(default, with = "moment::option", skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Who did it or whom it was done to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The action, or the beginning of it before a dot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The RADIUS client or LDAP listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The policy rule that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The network source: an address, or a network that it lies in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The protocol, or the beginning of it before a slash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// Text anywhere in the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// In which order records are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditOrder {
    /// The oldest first.
    Oldest,
    /// The newest first.
    Newest,
}

impl AuditRequest {
    /// Reads an address or a network.
    pub fn network(text: &str) -> Option<IpNet> {
        let text = text.trim();
        text.parse()
            .ok()
            .or_else(|| text.parse().ok().map(|address: IpAddr| address.into()))
    }
}

/// `GET /v1/audit/verify`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyRequest {
    /// A head noted earlier, `sequence:link`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noted: Option<String>,
    /// A checkpoint noted earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
}

/// `GET /v1/audit/checkpoint`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointView {
    /// The checkpoint; absent while the audit is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// The key it is checked with.
    pub public_key: String,
}

/// `POST /v1/audit/prune`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruneRequest {
    /// Records before this moment may go.
    #[serde(with = "moment")]
    pub before: Timestamp,
    /// Only tell what would go.
    #[serde(default)]
    pub dry_run: bool,
}

/// What went, or would go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneReport {
    /// How many records.
    pub records: u64,
    /// The last of them; zero when there are none.
    pub last: u64,
    /// Moment of the latest of them.
    #[serde(default, with = "moment::option", skip_serializing_if = "Option::is_none")]
    pub latest: Option<Timestamp>,
}
