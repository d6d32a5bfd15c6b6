//! `/v1/report`

use serde::{Deserialize, Serialize};

use super::moment;
use crate::clock::Timestamp;

pub use crate::reports::{By, Kind as ReportKind, Report, Row as ReportRow};

/// `GET /v1/report`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportRequest {
    /// What about.
    pub kind: ReportKind,
    /// Not before.
    #[serde(default, with = "moment::option", skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Before.
    #[serde(default, with = "moment::option", skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// What to count by; what is usual for the kind when absent. Not with `enrolment`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<By>,
    /// Of one directory, for `enrolment`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Members of this group of that directory only, for `enrolment`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}
