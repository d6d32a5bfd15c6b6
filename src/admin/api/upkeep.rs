//! `/v1/backup…`.

use serde::{Deserialize, Serialize};

/// `POST /v1/backup`: answered by the octets of an export (`docs/operations.md`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {}
