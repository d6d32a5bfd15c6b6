//! Packets that get no answer, and connections that are closed: counted each time, logged at most once in a
//! while for each reason.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tracing::warn;

use crate::metrics::Metrics;
use crate::radius::client::Unsound;

/// Why a packet gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::radius) enum Reason {
    /// Its source is no client.
    UnknownClient,
    /// It is no RADIUS packet, or an attribute is structurally wrong.
    Malformed,
    /// Its code is not one that is answered here.
    UnexpectedCode,
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
pub(in crate::radius) enum Closing {
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
    const ALL: [Self; 22] = [
        Self::UnknownClient,
        Self::Malformed,
        Self::UnexpectedCode,
        Self::Unsound(Unsound::BadMessageAuthenticator),
        Self::Unsound(Unsound::MissingMessageAuthenticator),
        Self::Unsound(Unsound::UnsignedProxyState),
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
    pub(in crate::radius) const fn word(self) -> &'static str {
        match self {
            Self::UnknownClient => "unknown-client",
            Self::Malformed => "malformed",
            Self::UnexpectedCode => "unexpected-code",
            Self::Unsound(Unsound::BadMessageAuthenticator) => "bad-message-authenticator",
            Self::Unsound(Unsound::MissingMessageAuthenticator) => "missing-message-authenticator",
            Self::Unsound(Unsound::UnsignedProxyState) => "unsigned-proxy-state",
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
}

/// Counts drops of one listener.
#[derive(Debug)]
pub(in crate::radius) struct Drops {
    metrics: Metrics,
    lines: [Line; Reason::ALL.len()],
}

#[derive(Clone, Copy, Debug, Default)]
struct Line {
    last: Option<Instant>,
    unlogged: u64,
}

/// Between two lines about the same reason.
const QUIET: Duration = Duration::from_secs(10);

impl Drops {
    pub(in crate::radius) fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            lines: [Line::default(); Reason::ALL.len()],
        }
    }

    /// Counts a packet from `source` that gets no answer, or a connection; `detail` says more, without
    /// secrets.
    pub(in crate::radius) fn count(
        &mut self,
        reason: Reason,
        source: SocketAddr,
        client: Option<&str>,
        detail: &dyn std::fmt::Display,
        now: Instant,
    ) {
        self.metrics.drop("radius", reason.word());
        if let Some(unlogged) = self.due(reason, now) {
            let what = match reason {
                Reason::Closed(_) => "connection closed",
                Reason::UnknownClient
                | Reason::Malformed
                | Reason::UnexpectedCode
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
        let line = self.lines.get_mut(place)?;
        if line
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < QUIET)
        {
            line.unlogged += 1;
            return None;
        }
        line.last = Some(now);
        Some(std::mem::take(&mut line.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn one_line_in_a_while_for_each_reason() {
        let mut drops = Drops::new(Metrics::default());
        let start = clock::monotonic();
        assert_eq!(drops.due(Reason::Malformed, start), Some(0));
        assert_eq!(drops.due(Reason::Malformed, start + QUIET / 2), None);
        assert_eq!(drops.due(Reason::Overload, start + QUIET / 2), Some(0));
        assert_eq!(drops.due(Reason::Malformed, start + QUIET), Some(1));
    }

    #[test]
    fn every_reason_has_a_place_and_a_word_of_its_own() {
        let mut drops = Drops::new(Metrics::default());
        let now = clock::monotonic();
        let words: std::collections::HashSet<_> = Reason::ALL.iter().map(|reason| reason.word()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        assert!(Reason::ALL.iter().all(|&reason| drops.due(reason, now) == Some(0)));
    }
}
