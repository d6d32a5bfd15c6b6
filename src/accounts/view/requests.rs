//! Requests and delegations, as operators see them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::moment;
use crate::clock::Timestamp;
use crate::engine::approval::{DelegationRecord, End, Matter, RequestId, RequestRecord, Word};

/// What somebody asks to have approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestView {
    /// Its identifier.
    pub id: String,
    /// What is to be allowed: `login`, `passcode` …
    pub action: String,
    /// Key of the person it is about.
    pub user: String,
    /// Their login name.
    pub login: String,
    /// Who asks.
    #[serde(default)]
    pub asked_by: String,
    /// Why, for what operators ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// With which parameters, each `name=value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<String>,
    /// For logins, the RADIUS client or LDAP listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Its service name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The network source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// Calling-Station-Id, as the client says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calling_station: Option<String>,
    /// When it was asked for.
    #[serde(with = "moment")]
    pub asked: Timestamp,
    /// Nothing comes of it from then on.
    #[serde(with = "moment")]
    pub expires: Timestamp,
    /// `pending`, `approved`, `denied`, `cancelled`, `used`, `expired`
    pub state: String,
    /// The levels, in order, each with who approved.
    #[serde(default)]
    pub levels: Vec<LevelView>,
    /// Who decided, or said the last word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When.
    #[serde(default, with = "moment::option", skip_serializing_if = "Option::is_none")]
    pub decided: Option<Timestamp>,
    /// Why, where they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One level of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelView {
    /// Who may approve.
    pub who: String,
    /// Who did: `ben`, or `ben for ana`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When.
    #[serde(default, with = "moment::option", skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Why, where they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What somebody may approve in another's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegationView {
    /// Its identifier.
    pub id: String,
    /// In whose place.
    pub from: String,
    /// Who acts.
    pub to: String,
    /// In which matters, as it is written.
    pub scope: Vec<String>,
    /// Why.
    pub reason: String,
    /// When it was made.
    #[serde(with = "moment")]
    pub made: Timestamp,
    /// When it ends by itself.
    #[serde(with = "moment")]
    pub expires: Timestamp,
}

impl RequestView {
    pub(in crate::accounts) fn of(id: RequestId, record: &RequestRecord, now: Timestamp) -> Self {
        let end = record.end.as_ref().map(|end| match end {
            End::Denied(word) | End::Cancelled(word) | End::Used(word) => word,
        });
        let last = end.or(record.words.last());
        let (place, deed) = match &record.matter {
            Matter::Login(place) => (Some(place), None),
            Matter::Deed(deed) => (None, Some(deed)),
        };
        Self {
            id: id.to_string(),
            action: record.action().word().to_owned(),
            user: record.user.to_string(),
            login: record.login.clone(),
            asked_by: record.asked_by().account,
            why: deed.map(|deed| deed.reason.clone()),
            parameters: deed.map(|deed| written(&deed.parameters)).unwrap_or_default(),
            client: place.map(|place| place.client.clone()),
            service: place.map(|place| place.service.clone()),
            source: place.map(|place| place.source),
            calling_station: place.and_then(|place| place.calling_station.clone()),
            asked: record.asked,
            expires: record.expires,
            state: record.stand(now).word().to_owned(),
            levels: levels(record),
            by: last.map(Word::speaker),
            decided: last.map(|word| word.at),
            reason: last.and_then(said),
        }
    }
}

fn written(parameters: &[(String, String)]) -> Vec<String> {
    parameters
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

fn levels(record: &RequestRecord) -> Vec<LevelView> {
    let words = record.words.iter().map(Some).chain(std::iter::repeat(None));
    let levels = record.levels.iter().zip(words);
    levels
        .map(|(level, word)| LevelView {
            who: level.to_string(),
            by: word.map(Word::speaker),
            at: word.map(|word| word.at),
            reason: word.and_then(said),
        })
        .collect()
}

fn said(word: &Word) -> Option<String> {
    Some(word.reason.clone()).filter(|reason| !reason.is_empty())
}

impl DelegationView {
    pub(in crate::accounts) fn of(id: RequestId, record: &DelegationRecord) -> Self {
        Self {
            id: id.to_string(),
            from: record.from.account.clone(),
            to: record.to.clone(),
            scope: record.scope.words(),
            reason: record.reason.clone(),
            made: record.made,
            expires: record.expires,
        }
    }
}
