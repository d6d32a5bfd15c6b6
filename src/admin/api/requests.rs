//! `/v1/request…`: what people ask to have approved.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{RequestView, SecondHolders};

/// `GET /v1/requests`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestsRequest {
    /// Most rows, up to 1000 (the default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Only those that the operator has made.
    #[serde(default)]
    pub mine: bool,
    /// Only those that wait for the operator's approval.
    #[serde(default)]
    pub for_me: bool,
    /// Also those that were denied, cancelled or used, until they expire.
    #[serde(default)]
    pub all: bool,
}

/// The header that names the request that something is done under.
pub const REQUEST_HEADER: &str = "portcullis-request";

/// `POST /v1/request/new`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRequest {
    /// What for: `passcode`, `token-enrol` …
    pub action: String,
    /// Whom it is about.
    pub user: String,
    /// The directory to ask; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Why: one line of at most 500 octets.
    pub reason: String,
    /// With which parameters, named as in the request that does it.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
}

/// `GET /v1/request`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestRef {
    /// The request's identifier.
    pub id: String,
}

/// `POST /v1/request/approve`, `/deny`, `/cancel`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefuseRequest {
    /// The request's identifier.
    pub id: String,
    /// Why: one line of at most 500 octets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A request, and who may approve it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestReport {
    /// The request.
    #[serde(flatten)]
    pub request: RequestView,
    /// Who may approve it at the level that it waits for.
    pub approvers: SecondHolders,
}
