//! `/v1/token/…-yubico` and `/v1/offline/…`: keys that type, and machines that cannot reach us.

use serde::{Deserialize, Serialize};

use super::TokenView;
use crate::secret::Secret;

/// `POST /v1/token/enrol-yubico`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolKeyRequest {
    /// Whose.
    pub user: String,
    /// The directory to ask; all when absent.
    #[serde(default)]
    pub directory: Option<String>,
    /// Public identity in modhex, 12 symbols.
    pub public: String,
    /// Private identity in hexadecimal, 12 digits.
    pub private: Secret,
    /// AES key in hexadecimal, 32 digits.
    pub key: Secret,
    /// A code that the key has just typed, to check that it is that key.
    #[serde(default)]
    pub code: Option<Secret>,
    /// Name; `token-N` when absent.
    #[serde(default)]
    pub label: Option<String>,
}

/// `POST /v1/token/import-yubico`: each key as by [`EnrolKeyRequest`]. At most [`ImportKeysRequest::MOST`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportKeysRequest {
    /// The keys.
    pub keys: Vec<EnrolKeyRequest>,
    /// Only say what would be refused.
    #[serde(default)]
    pub dry_run: bool,
}

impl ImportKeysRequest {
    /// Most keys in one request.
    pub const MOST: usize = 100;
}

/// What came of each key of an import, in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportedKey {
    /// Whose.
    pub user: String,
    /// Public identity in modhex.
    pub public: String,
    /// The token; absent after a dry run, and for what was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenView>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// `POST /v1/offline/enrol`, `/v1/offline/revoke`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineRef {
    /// Whose.
    pub user: String,
    /// The directory to ask; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// The machine: 1 to 64 letters, digits, `.`, `_`, `-`.
    pub machine: String,
}

/// `POST /v1/offline/respond`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RespondRequest {
    /// To whom.
    pub user: String,
    /// The directory to ask; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Eight digits, or what the QR code says.
    pub challenge: String,
    /// The machine; may be absent where the challenge says it, or the person has only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
}
