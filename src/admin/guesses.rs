//! Wrong API tokens: how many a source may show, and which of them are written down.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Wrong tokens of each source; bounded in number, and so is what is written down of them.
#[derive(Debug, Default)]
pub struct Guesses(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    sources: HashMap<Option<IpAddr>, Source>,
    /// When the last was written down, and those that were not since.
    written: Option<Instant>,
    unwritten: u64,
}

#[derive(Debug)]
struct Source {
    wrong: u32,
    since: Instant,
}

impl Guesses {
    /// Wrong tokens within [`Guesses::WINDOW`] after which a source is heard no more until it is over.
    pub const MOST: u32 = 20;

    /// See there.
    pub const WINDOW: Duration = Duration::from_secs(5 * 60);

    /// Between two that are written down.
    const PAUSE: Duration = Duration::from_secs(10);

    /// Sources remembered.
    const SOURCES: usize = 16_384;

    /// How long a source has to wait; the admin socket, `None`, never has to.
    pub fn wait(&self, source: Option<IpAddr>, now: Instant) -> Option<Duration> {
        let source = grouped(source?);
        let known = self.0.lock();
        let of = known.sources.get(&Some(source))?;
        let gone = now.saturating_duration_since(of.since);
        (of.wrong >= Self::MOST && gone < Self::WINDOW).then(|| Self::WINDOW.saturating_sub(gone))
    }

    /// Counts a wrong token. Whether it is to be written down, and how many were not since the last.
    pub fn count(&self, source: Option<IpAddr>, now: Instant) -> Option<u64> {
        let source = source.map(grouped);
        let mut known = self.0.lock();
        let is_over = |of: &Source| now.saturating_duration_since(of.since) >= Self::WINDOW;
        if known.sources.len() >= Self::SOURCES && !known.sources.contains_key(&source) {
            known.sources.retain(|_, of| !is_over(of));
            if known.sources.len() >= Self::SOURCES {
                known.sources.clear();
            }
        }
        let of = known.sources.entry(source).or_insert(Source { wrong: 0, since: now });
        if is_over(of) {
            *of = Source { wrong: 0, since: now };
        }
        of.wrong = of.wrong.saturating_add(1);
        let early = known
            .written
            .is_some_and(|at| now.saturating_duration_since(at) < Self::PAUSE);
        if early {
            known.unwritten += 1;
            return None;
        }
        known.written = Some(now);
        Some(std::mem::take(&mut known.unwritten))
    }
}

/// Whoever has one IPv6 address has its /64.
pub(super) fn grouped(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn from(address: &str) -> Option<IpAddr> {
        Some(address.parse().unwrap())
    }

    #[test]
    fn a_source_is_heard_no_more_for_a_while() {
        let guesses = Guesses::default();
        let now = clock::monotonic();
        for _ in 0..Guesses::MOST {
            assert_eq!(guesses.wait(from("2001:db8::1"), now), None);
            guesses.count(from("2001:db8::1"), now);
        }
        assert_eq!(guesses.wait(from("2001:db8::2"), now), Some(Guesses::WINDOW), "one /64");
        assert_eq!(guesses.wait(from("2001:db8:0:1::1"), now), None);
        assert_eq!(guesses.wait(from("192.0.2.1"), now), None);
        let later = now + Guesses::WINDOW;
        assert_eq!(guesses.wait(from("2001:db8::1"), later), None);
        guesses.count(from("2001:db8::1"), later);
        assert_eq!(
            guesses.wait(from("2001:db8::1"), later),
            None,
            "counted from the beginning"
        );
        for _ in 0..100 {
            guesses.count(None, now);
        }
        assert_eq!(guesses.wait(None, now), None, "the socket's accounts are known");
    }

    #[test]
    fn few_are_written_down_and_none_is_forgotten() {
        let guesses = Guesses::default();
        let now = clock::monotonic();
        assert_eq!(guesses.count(from("192.0.2.1"), now), Some(0));
        for _ in 0..7 {
            assert_eq!(guesses.count(from("192.0.2.2"), now + Duration::from_secs(1)), None);
        }
        assert_eq!(guesses.count(from("192.0.2.3"), now + Guesses::PAUSE), Some(7));
    }

    #[test]
    fn sources_are_bounded() {
        let guesses = Guesses::default();
        let now = clock::monotonic();
        for number in 0..40_000_u32 {
            guesses.count(Some(IpAddr::from(number.to_be_bytes())), now);
        }
        assert!(guesses.0.lock().sources.len() <= Guesses::SOURCES);
    }
}
