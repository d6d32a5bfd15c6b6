//! How packets travel, and what that means for their integrity.

use std::fmt;

use crate::engine::Transport;

/// How a packet travels between a client and us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Datagrams (RFC 2865 section 2.4).
    Udp,
    /// A TCP connection without TLS (RFC 6613).
    Tcp,
    /// RADIUS over TLS (RFC 6614): packets as over UDP, signed with a secret that is no secret.
    Tls,
    /// RADIUS/1.1 over TLS (RFC 9765): no MD5 anywhere, values travel as they are.
    Tls11,
}

impl Channel {
    /// The same as conditions and the audit see it.
    pub const fn transport(self) -> Transport {
        match self {
            Self::Udp => Transport::Udp,
            Self::Tcp => Transport::Tcp,
            Self::Tls | Self::Tls11 => Transport::Tls,
        }
    }

    /// Whether nobody on the way can read or change packets.
    pub const fn encrypted(self) -> bool {
        match self {
            Self::Udp | Self::Tcp => false,
            Self::Tls | Self::Tls11 => true,
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Tls11 => "tls (RADIUS/1.1)",
        })
    }
}
