//! `[[audit_stream]]`: audit records sent to a collector as they are written.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// One collector.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct AuditStream {
    /// Its name, in status and logs. What it has been sent is kept under this name.
    pub name: String,
    /// What it is sent.
    pub kind: StreamKind,
    /// Host and port.
    pub server: String,
    /// How it is sent.
    #[serde(default)]
    pub transport: StreamTransport,
    /// Lets records travel unencrypted to a collector that is not on this machine.
    #[serde(default)]
    pub allow_plaintext: bool,
    /// PEM file of the authorities that the collector's certificate is verified against; the system's when absent.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Name to verify the certificate for; the host of `server` when absent.
    #[serde(default)]
    pub server_name: Option<String>,
    /// PEM file of our own certificate chain, for collectors that ask for one.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// PEM file of its private key.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// Where a stream of this name begins that never was before.
    #[serde(default)]
    pub from: StreamStart,
    /// Whether records count as sent only once the collector has answered the end of their connection with its own:
    /// only then it has certainly read them.
    #[serde(default = "super::default::yes")]
    pub confirm: bool,
    /// Longest time for connecting, for writing, and for the collector's end of a connection: 1 s to 60 s.
    #[serde(default = "timeout", with = "crate::document::span")]
    pub timeout: Duration,
    /// Syslog: the facility.
    #[serde(default)]
    pub facility: Facility,
    /// Syslog: the number behind `@` in the name of the structured data (RFC 5424 section 7.2.2).
    #[serde(default = "enterprise")]
    pub enterprise: u32,
}

impl AuditStream {
    /// Host and port of `server`: `host:port` or `[::1]:port`.
    pub fn host_and_port(&self) -> Option<(&str, u16)> {
        let (host, port) = self.server.rsplit_once(':')?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bare {
            Some(address) => address,
            // An address of IPv6 without its brackets and a port are not told apart.
            None if host.contains(':') => return None,
            None => host,
        };
        let port = port.parse().ok().filter(|port| *port != 0)?;
        (!host.is_empty() && !host.contains(char::is_whitespace)).then_some((host, port))
    }
}

/// What a collector is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamKind {
    /// Messages of RFC 5424.
    Syslog,
    /// One JSON object a line, as `portcullis audit tail --jsonl` prints them.
    Json,
}

impl StreamKind {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Syslog => "syslog",
            Self::Json => "json",
        }
    }
}

/// How records travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamTransport {
    /// TLS (RFC 5425).
    #[default]
    Tls,
    /// TCP (RFC 6587), neither encrypted nor protected.
    Tcp,
    /// UDP (RFC 5426), neither encrypted nor protected, and lost without anybody's notice.
    Udp,
}

impl StreamTransport {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Where a new stream begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamStart {
    /// With the first record that there is.
    #[default]
    Beginning,
    /// With the next record.
    Now,
}

/// Syslog's facilities for security, and those for local use (RFC 5424 section 6.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Facility {
    /// Security and authorization.
    Auth = 4,
    /// The same, private.
    #[default]
    Authpriv = 10,
    /// Log audit.
    Audit = 13,
    /// Local use 0.
    Local0 = 16,
    /// Local use 1.
    Local1 = 17,
    /// Local use 2.
    Local2 = 18,
    /// Local use 3.
    Local3 = 19,
    /// Local use 4.
    Local4 = 20,
    /// Local use 5.
    Local5 = 21,
    /// Local use 6.
    Local6 = 22,
    /// Local use 7.
    Local7 = 23,
}

const fn timeout() -> Duration {
    Duration::from_secs(10)
}

/// Reserved for documentation (RFC 5612).
const fn enterprise() -> u32 {
    32_473
}
