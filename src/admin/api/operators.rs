//! `/v1/operator…`: who may do what, and API tokens.

use serde::{Deserialize, Serialize};

use super::GrantView;
pub use crate::engine::operator::{Role, Scope};

/// `GET /v1/operator`: who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorView {
    /// The name in the audit: the account's, or `account/name` of an API token.
    pub name: String,
    /// The roles.
    pub grants: Vec<GrantView>,
    /// The words of the verbs that these have, whatever the target.
    pub verbs: Vec<String>,
    /// Whether sensitive verbs take a code: `not-needed`, `needed`, `impossible` where there is no token to take one
    /// from, or `unknown` while a directory cannot be asked.
    pub confirmation: String,
    /// Why the roles may not be all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unresolved: Option<String>,
}

/// `GET /v1/operators`: what the configuration says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorList {
    /// Administrators by `admin.operators` first, then each `[[operator]]`.
    pub operators: Vec<OperatorRow>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorRow {
    /// Whose roles these are: `account`, `unix-group` or `group`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The directory of a group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// The roles.
    pub grants: Vec<GrantView>,
}

/// `GET /v1/operator/tokens`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiTokensRequest {
    /// Of this account; one's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Everybody's.
    #[serde(default)]
    pub all: bool,
}

/// `POST /v1/operator/token/issue`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssueApiTokenRequest {
    /// Its name: up to 64 letters, digits, dots, dashes and underscores.
    pub name: String,
    /// The account that it acts as; one's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// What it may be; each must be a role of the account.
    pub roles: Vec<Role>,
    /// For whom, besides the scope of the account's own role.
    #[serde(default)]
    pub scope: Scope,
    /// The verbs, for `automation`.
    #[serde(default)]
    pub verbs: Vec<String>,
    /// How many seconds it lives; as long as may be when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life_secs: Option<u64>,
}

/// `POST /v1/operator/token/revoke`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiTokenRef {
    /// `account/name`, or `name` of one's own.
    pub token: String,
}

/// `POST /v1/operator/token/regenerate`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegenerateApiTokenRequest {
    /// `account/name`, or `name` of one's own.
    pub token: String,
    /// How many seconds it lives; as long as may be when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life_secs: Option<u64>,
}
