//! `/v1/passcode…`: codes that helpdesk issues.

use serde::{Deserialize, Serialize};

/// `POST /v1/passcode/issue`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssueRequest {
    /// For whom.
    pub user: String,
    /// The directory to ask; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// How long it lives, in minutes: 1 to 480; as configured when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minutes: Option<u32>,
    /// Whether CHAP and MS-CHAPv2 are to take it, for which a sealed copy of the code is kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub chap: bool,
    /// Whether it stands in for a second factor that was lost: none is asked for beside it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replaces_factor: bool,
}

/// `POST /v1/passcode/release`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    /// The passcode's identifier.
    pub id: String,
}

/// `GET /v1/passcodes`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasscodesRequest {
    /// Whose; everybody's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The directory to ask; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
}

/// `POST /v1/passcode/revoke`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokePasscodeRequest {
    /// Whose.
    pub user: String,
    /// The directory to ask; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Only the passcode with this identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}
