//! Packets that get no answer: counted each time, noted with their client, logged at most once in a while
//! for each reason.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::warn;

use crate::clock::Timestamp;
use crate::metrics::Metrics;
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
    /// Its integrity does not suffice.
    Unsound(Unsound),
    /// Too many requests are being judged.
    Overload,
    /// The reply could not be sent.
    SendFailed,
}

impl Reason {
    pub(in crate::radius) const ALL: [Self; 8] = [
        Self::UnknownClient,
        Self::Malformed,
        Self::UnexpectedCode,
        Self::Unsound(Unsound::BadMessageAuthenticator),
        Self::Unsound(Unsound::MissingMessageAuthenticator),
        Self::Unsound(Unsound::UnsignedProxyState),
        Self::Overload,
        Self::SendFailed,
    ];

    /// The stable word for metrics and logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::UnknownClient => "unknown-client",
            Self::Malformed => "malformed",
            Self::UnexpectedCode => "unexpected-code",
            Self::Unsound(Unsound::BadMessageAuthenticator) => "bad-message-authenticator",
            Self::Unsound(Unsound::MissingMessageAuthenticator) => "missing-message-authenticator",
            Self::Unsound(Unsound::UnsignedProxyState) => "unsigned-proxy-state",
            Self::Overload => "overload",
            Self::SendFailed => "send-failed",
        }
    }

    /// The same for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::UnknownClient => "no [[client]] has this address",
            Self::Malformed => "no well-formed RADIUS packet",
            Self::UnexpectedCode => "a kind of packet that is not answered here",
            Self::Unsound(Unsound::BadMessageAuthenticator) => "bad Message-Authenticator",
            Self::Unsound(Unsound::MissingMessageAuthenticator) => "missing Message-Authenticator",
            Self::Unsound(Unsound::UnsignedProxyState) => "Proxy-State without Message-Authenticator",
            Self::Overload => "too many requests at once",
            Self::SendFailed => "the reply could not be sent",
        }
    }
}

/// Counts drops of one listener.
#[derive(Debug)]
pub(in crate::radius) struct Drops {
    metrics: Metrics,
    strangers: Arc<Strangers>,
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
    pub(in crate::radius) fn new(metrics: Metrics, strangers: Arc<Strangers>) -> Self {
        Self {
            metrics,
            strangers,
            lines: [Line::default(); Reason::ALL.len()],
        }
    }

    /// Counts a packet from `source` that gets no answer; `detail` says more, without secrets.
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
            warn!(reason = reason.word(), %source, client, %detail, unlogged, "packet dropped");
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
        let mut drops = Drops::new(Metrics::default(), Arc::default());
        let start = clock::monotonic();
        assert_eq!(drops.due(Reason::Malformed, start), Some(0));
        assert_eq!(drops.due(Reason::Malformed, start + QUIET / 2), None);
        assert_eq!(drops.due(Reason::Overload, start + QUIET / 2), Some(0));
        assert_eq!(drops.due(Reason::Malformed, start + QUIET), Some(1));
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
