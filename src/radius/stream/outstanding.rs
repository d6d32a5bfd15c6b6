//! Which requests of a connection are not answered yet.

use std::collections::HashSet;

use crate::radius::channel::Channel;
use crate::radius::packet::Packet;

/// What tells the requests of one connection apart: the identifier, for each code, or the Token of RADIUS/1.1
/// (RFC 9765 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Identifier { code: u8, identifier: u8 },
    Token([u8; 4]),
}

impl Key {
    pub(super) fn new(packet: &Packet<'_>, channel: Channel) -> Self {
        match channel {
            Channel::Udp | Channel::Tcp | Channel::Tls => Self::Identifier {
                code: packet.code(),
                identifier: packet.identifier(),
            },
            Channel::Tls11 => Self::Token(packet.token()),
        }
    }
}

/// Requests that are not answered yet; bounded by what bounds those.
#[derive(Debug, Default)]
pub(super) struct Outstanding(HashSet<Key>);

impl Outstanding {
    /// Remembers a request; false when one with its key is not answered yet. There are no retransmissions
    /// over TCP (RFC 6613 section 2.6.1), so that is an error.
    pub(super) fn begin(&mut self, key: Key) -> bool {
        self.0.insert(key)
    }

    /// Forgets a request that was answered, or will not be.
    pub(super) fn end(&mut self, key: Key) {
        self.0.remove(&key);
    }
}
