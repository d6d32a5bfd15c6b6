//! Packets that get no answer, and connections that are closed: counted each time, noted with their client,
//! logged at most once in a while for each reason.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tracing::warn;

use crate::clock::Timestamp;
use crate::metrics::Metrics;
use crate::quiet::Quiet;
use crate::radius::client::{Client, Unsound};
use crate::radius::observed::Strangers;

/// Why a packet gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its source is no client.
    UnknownClient,
    /// It is no RADIUS packet, or an attribute is structurally wrong.
    Malformed,
    /// Its code is not one that is answered here.
    UnexpectedCode,
    /// We have sent it to an upstream ourselves.
    ProxyLoop,
    /// Its integrity does not suffice.
    Unsound(Unsound),
    /// Too many requests are being judged.
    Overload,
    /// The reply could not be sent.
    SendFailed,
    /// A connection of which we want no more, for this reason.
    Closed(Closing),
}

/// Why a connection is closed from our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// As many connections are open as may be.
    TooMany,
    /// Its source has as many as it may.
    TooManyOfSource,
    /// Its source opens them faster than it may.
    TooFast,
    /// As many handshakes are under way as may be.
    TooManyHandshakes,
    /// No TLS came about.
    Handshake,
    /// The client does not speak the version of RADIUS that is wanted (RFC 9765 section 3.3).
    Version,
    /// A Length field that no packet has: where the next packet begins cannot be known.
    Length,
    /// It ended within a packet.
    Truncated,
    /// A packet took too long to come.
    SlowPacket,
    /// The client does not take its replies.
    SlowReader,
    /// A request came with the identifier or token of one that is not answered yet.
    Repeated,
    /// It was idle.
    Idle,
    /// Its client is configured no more, or its certificate trusted no more.
    Removed,
    /// The server stops, or the client sends no more, and what was under way took too long.
    Unfinished,
}

impl Reason {
    pub(in crate::radius) const ALL: [Self; 24] = [
        Self::UnknownClient,
        Self::Malformed,
        Self::UnexpectedCode,
        Self::ProxyLoop,
        Self::Unsound(Unsound::BadMessageAuthenticator),
        Self::Unsound(Unsound::MissingMessageAuthenticator),
        Self::Unsound(Unsound::UnsignedProxyState),
        Self::Unsound(Unsound::BadRequestAuthenticator),
        Self::Overload,
        Self::SendFailed,
        Self::Closed(Closing::TooMany),
        Self::Closed(Closing::TooManyOfSource),
        Self::Closed(Closing::TooFast),
        Self::Closed(Closing::TooManyHandshakes),
        Self::Closed(Closing::Handshake),
        Self::Closed(Closing::Version),
        Self::Closed(Closing::Length),
        Self::Closed(Closing::Truncated),
        Self::Closed(Closing::SlowPacket),
        Self::Closed(Closing::SlowReader),
        Self::Closed(Closing::Repeated),
        Self::Closed(Closing::Idle),
        Self::Closed(Closing::Removed),
        Self::Closed(Closing::Unfinished),
    ];

    /// The stable word for metrics and logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::UnknownClient => "unknown-client",
            Self::Malformed => "malformed",
            Self::UnexpectedCode => "unexpected-code",
            Self::ProxyLoop => "proxy-loop",
            Self::Unsound(Unsound::BadMessageAuthenticator) => "bad-message-authenticator",
            Self::Unsound(Unsound::MissingMessageAuthenticator) => "missing-message-authenticator",
            Self::Unsound(Unsound::UnsignedProxyState) => "unsigned-proxy-state",
            Self::Unsound(Unsound::BadRequestAuthenticator) => "bad-request-authenticator",
            Self::Overload => "overload",
            Self::SendFailed => "send-failed",
            Self::Closed(Closing::TooMany) => "too-many-connections",
            Self::Closed(Closing::TooManyOfSource) => "too-many-connections-of-one-source",
            Self::Closed(Closing::TooFast) => "connections-too-fast",
            Self::Closed(Closing::TooManyHandshakes) => "too-many-handshakes",
            Self::Closed(Closing::Handshake) => "tls-handshake",
            Self::Closed(Closing::Version) => "version",
            Self::Closed(Closing::Length) => "bad-length",
            Self::Closed(Closing::Truncated) => "truncated",
            Self::Closed(Closing::SlowPacket) => "slow-packet",
            Self::Closed(Closing::SlowReader) => "slow-reader",
            Self::Closed(Closing::Repeated) => "identifier-in-use",
            Self::Closed(Closing::Idle) => "idle",
            Self::Closed(Closing::Removed) => "client-removed",
            Self::Closed(Closing::Unfinished) => "unfinished",
        }
    }

    /// The same for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::UnknownClient => "no [[client]] has this address",
            Self::Malformed => "no well-formed RADIUS packet",
            Self::UnexpectedCode => "a kind of packet that is not answered here",
            Self::ProxyLoop => "sent by us to an upstream, and come back",
            Self::Unsound(Unsound::BadMessageAuthenticator) => "bad Message-Authenticator",
            Self::Unsound(Unsound::MissingMessageAuthenticator) => "missing Message-Authenticator",
            Self::Unsound(Unsound::UnsignedProxyState) => "Proxy-State without Message-Authenticator",
            Self::Unsound(Unsound::BadRequestAuthenticator) => "bad Request Authenticator in accounting",
            Self::Overload => "too many requests at once",
            Self::SendFailed => "the reply could not be sent",
            Self::Closed(Closing::TooMany) => "as many connections as the listener takes",
            Self::Closed(Closing::TooManyOfSource) => "as many connections as one source may have",
            Self::Closed(Closing::TooFast) => "connections opened faster than one source may",
            Self::Closed(Closing::TooManyHandshakes) => "as many handshakes under way as the listener takes",
            Self::Closed(Closing::Handshake) => "no TLS connection came about",
            Self::Closed(Closing::Version) => "another version of RADIUS than the one agreed on",
            Self::Closed(Closing::Length) => "a Length field that no packet has",
            Self::Closed(Closing::Truncated) => "a connection that ended within a packet",
            Self::Closed(Closing::SlowPacket) => "a packet that took too long to come",
            Self::Closed(Closing::SlowReader) => "replies that the client does not take",
            Self::Closed(Closing::Repeated) => "an identifier or token that was in use",
            Self::Closed(Closing::Idle) => "an idle connection",
            Self::Closed(Closing::Removed) => {
                "a client that is configured no more, or whose certificate is not trusted any more"
            }
            Self::Closed(Closing::Unfinished) => "a connection that was not done in time",
        }
    }
}

/// Counts drops of one listener.
#[derive(Debug)]
pub(in crate::radius) struct Drops {
    metrics: Metrics,
    strangers: Arc<Strangers>,
    lines: [Quiet; Reason::ALL.len()],
}

impl Drops {
    pub(in crate::radius) fn new(metrics: Metrics, strangers: Arc<Strangers>) -> Self {
        Self {
            metrics,
            strangers,
            lines: [Quiet::default(); Reason::ALL.len()],
        }
    }

    /// Counts a packet from `source` that gets no answer, or a connection; `detail` says more, without
    /// secrets.
    pub(in crate::radius) fn count(
        &mut self,
        reason: Reason,
        source: SocketAddr,
        client: Option<&Client>,
        detail: &dyn std::fmt::Display,
        (now, at): (Instant, Timestamp),
    ) {
        self.metrics.drop("radius", reason.word());
        match client {
            Some(client) => client.seen.dropped(reason, source.ip(), at),
            None if reason == Reason::UnknownClient => self.strangers.note(source.ip(), at),
            None => {}
        }
        if let Some(unlogged) = self.due(reason, now) {
            let client = client.map(|client| &*client.name);
            let what = match reason {
                Reason::Closed(_) => "connection closed",
                Reason::UnknownClient
                | Reason::Malformed
                | Reason::UnexpectedCode
                | Reason::ProxyLoop
                | Reason::Unsound(_)
                | Reason::Overload
                | Reason::SendFailed => "packet dropped",
            };
            warn!(reason = reason.word(), %source, client, %detail, unlogged, "{what}");
        }
    }

    /// Whether a line may be written now, and how many were left out since the last.
    fn due(&mut self, reason: Reason, now: Instant) -> Option<u64> {
        let place = Reason::ALL.iter().position(|&known| known == reason)?;
        self.lines.get_mut(place)?.due(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn one_line_in_a_while_for_each_reason() {
        let mut drops = Drops::new(Metrics::default(), Arc::default());
        let start = clock::monotonic();
        assert_eq!(drops.due(Reason::Malformed, start), Some(0));
        assert_eq!(drops.due(Reason::Malformed, start + Quiet::SPAN / 2), None);
        assert_eq!(drops.due(Reason::Overload, start + Quiet::SPAN / 2), Some(0));
        assert_eq!(drops.due(Reason::Malformed, start + Quiet::SPAN), Some(1));
    }

    #[test]
    fn every_reason_has_a_place_and_a_word_of_its_own() {
        let mut drops = Drops::new(Metrics::default(), Arc::default());
        let now = clock::monotonic();
        let words: std::collections::HashSet<_> = Reason::ALL.iter().map(|reason| reason.word()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        assert!(Reason::ALL.iter().all(|&reason| drops.due(reason, now) == Some(0)));
    }
}
