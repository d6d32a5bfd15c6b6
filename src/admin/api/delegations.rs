//! `/v1/delegation…`: what somebody may approve, handed to somebody else.

use serde::{Deserialize, Serialize};

use super::moment;
use crate::clock::Timestamp;

/// `GET /v1/delegations`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelegationsRequest {
    /// Only those from and to the operator.
    #[serde(default)]
    pub mine: bool,
}

/// `POST /v1/delegation/add`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelegateRequest {
    /// To whom: a local account.
    pub to: String,
    /// In which matters: `all`, or any of `action=ACTION[,ACTION]`, `group=NAME`, `below=DN`.
    pub scope: Vec<String>,
    /// When it ends.
    #[serde(with = "moment")]
    pub until: Timestamp,
    /// Why: one line of at most 500 octets.
    pub reason: String,
}

/// `POST /v1/delegation/end`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelegationRef {
    /// The delegation's identifier.
    pub id: String,
}
