//! What is seen of operators and their API tokens.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::moment;
use crate::clock::Timestamp;
use crate::engine::operator::{ApiToken, Grant, Role, Scope};

/// A role with its scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantView {
    /// Which.
    pub role: Role,
    /// For whom: whoever is in all of these; everybody when there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scope: Vec<Scope>,
    /// The verbs, for `automation`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verbs: Vec<String>,
}

impl GrantView {
    /// As it is shown.
    pub fn of(grant: &Grant) -> Self {
        Self {
            role: grant.role,
            scope: grant.within.clone(),
            verbs: grant.verbs.clone(),
        }
    }
}

/// An API token without the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiTokenView {
    /// The account that it acts as.
    pub account: String,
    /// Its name.
    pub name: String,
    /// What it may do at most; less where its account may do less.
    pub grants: Vec<GrantView>,
    /// Who issued it.
    pub issued_by: String,
    /// When it was issued or regenerated.
    #[serde(with = "moment")]
    pub issued: Timestamp,
    /// It is none from then on.
    #[serde(with = "moment")]
    pub expires: Timestamp,
    /// When it was last used, within ten minutes.
    #[serde(default, with = "moment::option", skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Timestamp>,
    /// From where it was used then; absent for the socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_from: Option<IpAddr>,
}

impl ApiTokenView {
    /// As it is shown.
    pub fn of(token: &ApiToken) -> Self {
        Self {
            account: token.account.clone(),
            name: token.name.clone(),
            grants: token.grants.iter().map(GrantView::of).collect(),
            issued_by: token.issued_by.clone(),
            issued: token.issued,
            expires: token.expires,
            last_used: token.last_used.map(|(at, _)| at),
            used_from: token.last_used.and_then(|(_, from)| from),
        }
    }
}

/// An API token just issued, with the token, this once.
#[derive(Clone, Serialize, Deserialize)]
pub struct ApiTokenIssued {
    /// The token.
    pub token: ApiTokenView,
    /// What to send as `Authorization: Bearer …`.
    pub secret: String,
}
