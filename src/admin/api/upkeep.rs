//! `/v1/backup…`, `/v1/token/import`.

use serde::{Deserialize, Serialize};

use super::{EnrolRequest, TokenView};

/// `POST /v1/backup`: answered by the octets of an export (`docs/operations.md`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {}

/// `POST /v1/token/import`: at most [`ImportTokensRequest::MOST`] tokens of another system.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportTokensRequest {
    /// The tokens.
    pub tokens: Vec<ImportToken>,
    /// Only say what would be refused.
    #[serde(default)]
    pub dry_run: bool,
}

impl ImportTokensRequest {
    /// Most tokens in one request.
    pub const MOST: usize = 100;
}

/// One token, with the state it has where it comes from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportToken {
    /// Whose, and what it is like; its seed must be given, or its URI.
    pub token: EnrolRequest,
    /// Steps that its clock is ahead; for TOTP.
    #[serde(default)]
    pub drift: i16,
    /// Switched off.
    #[serde(default)]
    pub disabled: bool,
}

/// What came of each token of an import, in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportedToken {
    /// Whose.
    pub user: String,
    /// The token; absent after a dry run, and for what was not enrolled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenView>,
    /// The person has it already.
    #[serde(default)]
    pub known: bool,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
