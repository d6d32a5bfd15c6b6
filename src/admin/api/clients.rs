//! `/v1/clients`, `/v1/client…`: RADIUS clients, what was learned of them, and what went wrong.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::moment;
use crate::clock::Timestamp;

/// `GET /v1/client`, `POST /v1/client/test`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientRef {
    /// Configured name.
    pub client: String,
}

/// `POST /v1/client/forget`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForgetRequest {
    /// Name of the client, also of one that is no longer configured.
    pub client: String,
    /// Only this address of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
}

/// What was forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// The addresses of which something had been learned.
    pub addresses: Vec<IpAddr>,
}

/// A RADIUS client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRow {
    /// Configured name.
    pub name: String,
    /// Addresses and prefixes.
    pub addresses: Vec<String>,
    /// Service name for policies.
    pub service: String,
    /// The directory of its users.
    pub directory: String,
    /// `dialog`, `single-challenge`, `append`, `none`.
    pub profile: String,
    /// `yes`, `auto`, `no`.
    pub require_message_authenticator: String,
    /// `yes`, `auto`, `no`.
    pub limit_proxy_state: String,
    /// Whether replies carry a Message-Authenticator.
    pub send_message_authenticator: bool,
    /// What its addresses were seen to do, where something is `auto`.
    pub learned: Vec<LearnedView>,
    /// Requests that came through since the server started; retransmissions do not count.
    pub requests: u64,
    /// When the last packet came through, since the server started.
    #[serde(with = "moment::option")]
    pub last_seen: Option<Timestamp>,
    /// Packets that got no answer, since the server started.
    pub dropped: u64,
    /// What went wrong last.
    pub last_trouble: Option<TroubleView>,
}

/// What an address of a client was seen to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnedView {
    /// The address.
    pub address: IpAddr,
    /// `signs`: it has sent a valid Message-Authenticator and must go on. `plain`: its first request had
    /// neither that nor Proxy-State. `unsigned-proxy`: its first request was an unsigned one with Proxy-State.
    pub habit: String,
    /// Since when that is known.
    #[serde(with = "moment::option")]
    pub since: Option<Timestamp>,
}

/// Something that went wrong with a client's packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TroubleView {
    /// When it happened last.
    #[serde(with = "moment")]
    pub last: Timestamp,
    /// When it happened first, of the times that are remembered.
    #[serde(with = "moment")]
    pub first: Timestamp,
    /// How often.
    pub times: u64,
    /// Where the packets came from.
    pub source: IpAddr,
    /// Whether the client got no answer, rather than an Access-Reject.
    pub dropped: bool,
    /// What it was.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
    /// Who was logging in the last time, as the packet says.
    pub user: Option<String>,
}

/// A RADIUS client and what went wrong with its packets lately, latest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientView {
    /// The client.
    #[serde(flatten)]
    pub client: ClientRow,
    /// At most 16 kinds of trouble, of those since the server started.
    pub troubles: Vec<TroubleView>,
}

/// `GET /v1/clients/unknown`: an address that sent packets and is no client's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrangerView {
    /// The address.
    pub address: IpAddr,
    /// Packets from it, of those that are remembered.
    pub packets: u64,
    /// When the first of them came.
    #[serde(with = "moment")]
    pub first: Timestamp,
    /// When the last came.
    #[serde(with = "moment")]
    pub last: Timestamp,
}

/// What `POST /v1/client/test` found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestReport {
    /// One line for everything that was looked at.
    pub findings: Vec<Finding>,
}

impl TestReport {
    /// Whether nothing is at fault.
    pub fn is_sound(&self) -> bool {
        !self.findings.iter().any(|finding| finding.grade == Grade::Fault)
    }
}

/// Something that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How it is.
    pub grade: Grade,
    /// What was looked at.
    pub about: String,
    /// What was found.
    pub text: String,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// As it should be.
    Good,
    /// Could not be told from here.
    Untold,
    /// Works, but weaker or otherwise than it could.
    Warning,
    /// Does not work.
    Fault,
}
