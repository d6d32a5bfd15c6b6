//! `/v1/request…`: what people ask to have approved.

use serde::{Deserialize, Serialize};

use super::{RequestView, SecondHolders};

/// `GET /v1/requests`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestsRequest {
    /// Most rows, up to 1000 (the default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// `GET /v1/request`, `POST /v1/request/approve`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestRef {
    /// The request's identifier.
    pub id: String,
}

/// `POST /v1/request/deny`
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
    /// Who may approve it.
    pub approvers: SecondHolders,
}
