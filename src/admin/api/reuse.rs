//! `/v1/reuse`: codes that count for longer than one login.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::moment;
use crate::clock::Timestamp;

/// `GET /v1/reuse`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReuseRequest {
    /// Of this person only: login name, distinguished name, or key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The directory to ask for the person; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Most rows, up to 1000 (the default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// `POST /v1/reuse/clear`: of one person, or with `all` of everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClearReuseRequest {
    /// Whose: login name, distinguished name, or key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The directory to ask for the person; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Everybody's.
    #[serde(default)]
    pub all: bool,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReuseList {
    /// What counts now, the oldest first.
    pub reused: Vec<ReuseView>,
    /// Whether there is more.
    pub more: bool,
}

/// A code that counts for an application and a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReuseView {
    /// Key of the person.
    pub user: String,
    /// The login name.
    pub login: String,
    /// The LDAP listener.
    pub client: String,
    /// The network source.
    pub source: IpAddr,
    /// Kinds of code that were given.
    pub kinds: Vec<String>,
    /// The rule that lets them count.
    pub rule: String,
    /// When they were given.
    #[serde(with = "moment")]
    pub given: Timestamp,
    /// From then on they count no more.
    #[serde(with = "moment")]
    pub until: Timestamp,
}

/// What was cleared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReuseCleared {
    /// How many counted until now.
    pub cleared: usize,
}
