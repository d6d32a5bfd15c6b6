//! `client.dynamic_authorization`

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::secret::Secret;

/// How a RADIUS client takes Disconnect-Request and CoA-Request (RFC 5176). A client without this table is
/// never sent any.
#[derive(Clone, Debug, Deserialize)]
pub struct DynamicAuthorization {
    /// UDP port.
    #[serde(default = "port")]
    pub port: u16,
    /// Where to, when it is not the address that the client's accounting comes from.
    #[serde(default)]
    pub address: Option<IpAddr>,
    /// The shared secret, when it is not the client's.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// File that holds it.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// How long each try is waited for.
    #[serde(default = "timeout", with = "crate::document::span")]
    pub timeout: Duration,
    /// How often the same request is sent.
    #[serde(default = "tries")]
    pub tries: u32,
    /// Whether requests carry a Message-Authenticator. For old clients that reject it.
    #[serde(default = "super::default::yes")]
    pub message_authenticator: bool,
    /// What names the session to the client, as far as the client's own reports said it.
    #[serde(default = "Identifier::usual")]
    pub attributes: Vec<Identifier>,
}

impl DynamicAuthorization {
    /// The bounds of [`DynamicAuthorization::timeout`].
    pub const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(30);
    /// Most tries.
    pub const MOST_TRIES: u32 = 10;
}

/// An attribute that names a NAS or a session (RFC 5176 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Identifier {
    /// RFC 2865 section 5.1.
    #[serde(rename = "User-Name")]
    UserName,
    /// RFC 2865 section 5.4.
    #[serde(rename = "NAS-IP-Address")]
    NasIpAddress,
    /// RFC 2865 section 5.5.
    #[serde(rename = "NAS-Port")]
    NasPort,
    /// RFC 2865 section 5.8.
    #[serde(rename = "Framed-IP-Address")]
    FramedIpAddress,
    /// RFC 2865 section 5.25; only in Disconnect-Request, where it names: in CoA-Request it would change.
    #[serde(rename = "Class")]
    Class,
    /// RFC 2865 section 5.30.
    #[serde(rename = "Called-Station-Id")]
    CalledStationId,
    /// RFC 2865 section 5.31.
    #[serde(rename = "Calling-Station-Id")]
    CallingStationId,
    /// RFC 2865 section 5.32.
    #[serde(rename = "NAS-Identifier")]
    NasIdentifier,
    /// RFC 2866 section 5.5.
    #[serde(rename = "Acct-Session-Id")]
    AcctSessionId,
    /// RFC 2866 section 5.11.
    #[serde(rename = "Acct-Multi-Session-Id")]
    AcctMultiSessionId,
    /// RFC 2869 section 5.17.
    #[serde(rename = "NAS-Port-Id")]
    NasPortId,
    /// RFC 4372.
    #[serde(rename = "Chargeable-User-Identity")]
    ChargeableUserIdentity,
    /// RFC 3162 section 2.1.
    #[serde(rename = "NAS-IPv6-Address")]
    NasIpv6Address,
    /// RFC 3162 section 2.2.
    #[serde(rename = "Framed-Interface-Id")]
    FramedInterfaceId,
    /// RFC 3162 section 2.3.
    #[serde(rename = "Framed-IPv6-Prefix")]
    FramedIpv6Prefix,
}

impl Identifier {
    /// Every one.
    pub const ALL: [Self; 15] = [
        Self::UserName,
        Self::NasIpAddress,
        Self::NasPort,
        Self::FramedIpAddress,
        Self::Class,
        Self::CalledStationId,
        Self::CallingStationId,
        Self::NasIdentifier,
        Self::AcctSessionId,
        Self::AcctMultiSessionId,
        Self::NasPortId,
        Self::ChargeableUserIdentity,
        Self::NasIpv6Address,
        Self::FramedInterfaceId,
        Self::FramedIpv6Prefix,
    ];

    /// What nearly every client understands. A client refuses a request with an attribute that it does not
    /// (RFC 5176 section 3.5), so less is more.
    pub fn usual() -> Vec<Self> {
        vec![
            Self::UserName,
            Self::NasIpAddress,
            Self::NasIpv6Address,
            Self::NasIdentifier,
            Self::NasPort,
            Self::CallingStationId,
            Self::FramedIpAddress,
            Self::AcctSessionId,
        ]
    }

    /// The attribute's type.
    pub const fn number(self) -> u8 {
        match self {
            Self::UserName => 1,
            Self::NasIpAddress => 4,
            Self::NasPort => 5,
            Self::FramedIpAddress => 8,
            Self::Class => 25,
            Self::CalledStationId => 30,
            Self::CallingStationId => 31,
            Self::NasIdentifier => 32,
            Self::AcctSessionId => 44,
            Self::AcctMultiSessionId => 50,
            Self::NasPortId => 87,
            Self::ChargeableUserIdentity => 89,
            Self::NasIpv6Address => 95,
            Self::FramedInterfaceId => 96,
            Self::FramedIpv6Prefix => 97,
        }
    }

    /// Whether it names a session, and not only the NAS.
    pub const fn names_session(self) -> bool {
        match self {
            Self::NasIpAddress | Self::NasIdentifier | Self::NasIpv6Address => false,
            Self::UserName
            | Self::NasPort
            | Self::FramedIpAddress
            | Self::Class
            | Self::CalledStationId
            | Self::CallingStationId
            | Self::AcctSessionId
            | Self::AcctMultiSessionId
            | Self::NasPortId
            | Self::ChargeableUserIdentity
            | Self::FramedInterfaceId
            | Self::FramedIpv6Prefix => true,
        }
    }
}

/// Assigned to it (RFC 5176 section 2.3).
const fn port() -> u16 {
    3799
}

const fn timeout() -> Duration {
    Duration::from_secs(3)
}

const fn tries() -> u32 {
    3
}
