//! `/v1/sessions`, `/v1/session`: what accounting tells of open sessions.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::moment;
use crate::clock::Timestamp;

/// `GET /v1/sessions`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionsRequest {
    /// Of this person only: login name, distinguished name, or key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The directory to ask for the person; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Of this RADIUS client only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Most rows, up to 1000 (the default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// `GET /v1/session`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionRef {
    /// Its name, `client/nas/identifier`, or its Acct-Session-Id where no other session has the same.
    pub session: String,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionList {
    /// Open sessions.
    pub sessions: Vec<SessionView>,
    /// Whether there are more.
    pub more: bool,
}

/// An open session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionView {
    /// Its name, `client/nas/identifier`.
    pub name: String,
    /// The login name.
    pub login: String,
    /// Key of the person, where known.
    pub user: Option<String>,
    /// Name of the RADIUS client.
    pub client: String,
    /// Its service name.
    pub service: String,
    /// The NAS: NAS-Identifier, else its address.
    pub nas: String,
    /// Acct-Session-Id.
    pub id: String,
    /// Acct-Multi-Session-Id.
    pub multi_id: Option<String>,
    /// User-Name as the NAS sends it.
    pub user_name: Option<String>,
    /// When it began.
    #[serde(with = "moment")]
    pub started: Timestamp,
    /// Whether its begin was reported; otherwise `started` is reckoned from an update.
    pub start_seen: bool,
    /// When it was last heard of.
    #[serde(with = "moment")]
    pub heard: Timestamp,
    /// When its client said that it ends it; absent for most.
    #[serde(default, with = "moment::option", skip_serializing_if = "Option::is_none")]
    pub ending: Option<Timestamp>,
    /// How long it has lasted, as the NAS last said, else by the clock.
    pub seconds: u64,
    /// Octets from the person.
    pub octets_in: u64,
    /// Octets to the person.
    pub octets_out: u64,
    /// Packets from the person.
    pub packets_in: u32,
    /// Packets to the person.
    pub packets_out: u32,
    /// Framed-IP-Address.
    pub address: Option<IpAddr>,
    /// Framed-IPv6-Address or Framed-IPv6-Prefix.
    pub address6: Option<String>,
    /// Calling-Station-Id.
    pub calling_station: Option<String>,
    /// Called-Station-Id.
    pub called_station: Option<String>,
    /// NAS-Port.
    pub port: Option<u32>,
    /// NAS-Port-Id.
    pub port_id: Option<String>,
    /// Where the last report came from.
    pub source: IpAddr,
    /// Whether it came encrypted.
    pub encrypted: bool,
}
