//! `[[upstream]]`: other RADIUS servers that judge passwords or a factor.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::config::same_secret;
use crate::secret::Secret;

/// Servers that judge the same people, in order of preference.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Upstream {
    /// Name that directories and rules refer to.
    pub name: String,
    /// The servers, most wanted first.
    pub servers: Vec<UpstreamServer>,
    /// Longest time for one server's answer, all tries included: 1 s to 50 s.
    #[serde(default = "timeout", with = "crate::document::span")]
    pub timeout: Duration,
    /// Datagrams with one question, spread over `timeout`.
    #[serde(default = "tries")]
    pub tries: u32,
    /// How often each server is asked for its status (RFC 5997); zero never asks.
    #[serde(default = "status_interval", with = "crate::document::span")]
    pub status_interval: Duration,
    /// Whether replies must carry a Message-Authenticator.
    #[serde(default = "yes")]
    pub require_message_authenticator: bool,
    /// NAS-Identifier to send; when absent that of the client that asks us, or `portcullis`.
    #[serde(default)]
    pub nas_identifier: Option<String>,
    /// Whether the client's Calling-Station-Id is passed on.
    #[serde(default = "yes")]
    pub calling_station: bool,
    /// Attributes of its Access-Accept that are passed on to the client, by their names.
    #[serde(default)]
    pub pass_reply: Vec<String>,
    /// Questions to one server at once.
    #[serde(default = "in_flight")]
    pub in_flight: usize,
    /// Questions that wait for others to be answered; more are turned away as unavailable.
    #[serde(default = "queue")]
    pub queue: usize,
}

/// One server.
#[derive(Clone, Debug, Deserialize)]
pub struct UpstreamServer {
    /// Address and port.
    pub address: SocketAddr,
    /// How packets travel there.
    #[serde(default)]
    pub transport: UpstreamTransport,
    /// The shared secret; over TLS `radsec` when absent.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// File that holds the shared secret.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// PEM file of the own certificate chain.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// PEM file of its private key.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// PEM file of the authorities that the server's certificate is verified against; the system's when
    /// absent.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// SHA-256 fingerprint of the server's certificate, instead of authorities and name.
    #[serde(default)]
    pub fingerprint: Option<String>,
    /// Name to verify the certificate for, instead of the address.
    #[serde(default)]
    pub server_name: Option<String>,
    /// Version of RADIUS over TLS.
    #[serde(default)]
    pub radius_version: RadiusVersion,
}

/// How packets travel to a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamTransport {
    /// Datagrams.
    #[default]
    Udp,
    /// TLS.
    Tls,
}

/// The version of RADIUS over TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum RadiusVersion {
    /// What the server chooses.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// RADIUS/1.0 (RFC 6614).
    #[serde(rename = "1.0")]
    V1_0,
    /// RADIUS/1.1 (RFC 9765).
    #[serde(rename = "1.1")]
    V1_1,
}

/// As for [`crate::config::LdapDirectory`].
impl PartialEq for UpstreamServer {
    fn eq(&self, other: &Self) -> bool {
        same_secret(self.secret.as_ref(), other.secret.as_ref()) && format!("{self:?}") == format!("{other:?}")
    }
}

/// `kind = "radius"`: a directory without entries, whose people are whoever an upstream knows.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct RadiusDirectory {
    /// Name that clients refer to.
    pub name: String,
    /// The upstream that judges passwords.
    pub upstream: String,
    /// What names of people look like.
    #[serde(default)]
    pub names: Names,
}

/// What names look like where nobody lists them. One form, so that nobody has two names: what is kept under one
/// (failures, tokens, a denial) would not count under the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Names {
    /// `ana`
    #[default]
    Plain,
    /// `ana@example.org`
    Principal,
    /// `EXAMPLE\ana`
    Domain,
}

fn timeout() -> Duration {
    Duration::from_secs(6)
}

fn tries() -> u32 {
    3
}

fn status_interval() -> Duration {
    Duration::from_secs(30)
}

fn in_flight() -> usize {
    256
}

fn queue() -> usize {
    256
}

fn yes() -> bool {
    true
}
