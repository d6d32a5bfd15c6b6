//! Failures, counted before the check they belong to.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::engine::record::{Failure, Pending, ThrottleRecord};

/// How many failures are allowed within how long. Zero allows any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Failures before someone is refused unheard.
    pub failures: u32,
    /// The window they are counted in.
    pub window: Duration,
}

/// A password try that has not come back after this long never will: it stays counted.
const PENDING_LIFE: Duration = Duration::from_secs(60);

/// Whether another attempt may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Yes.
    Free,
    /// Not before one of the attempts under way has come back.
    Busy,
    /// No: too many failures.
    Over,
}

impl ThrottleRecord {
    /// Whether another attempt may be made now. The challenge that is `answered` by it does not stand in its
    /// way.
    pub fn standing(&self, limit: Limit, answered: Option<u64>, now: Timestamp) -> Standing {
        if limit.failures == 0 {
            return Standing::Free;
        }
        let counted = self.counted(limit.window, answered, now);
        let waiting = self
            .pending
            .iter()
            .filter(|pending| now.since(pending.at) <= PENDING_LIFE)
            .count();
        let allowed = limit.failures as usize;
        if counted >= allowed {
            Standing::Over
        } else if counted + waiting >= allowed {
            Standing::Busy
        } else {
            Standing::Free
        }
    }

    /// Failures within the last `window`, with attempts that never came back and challenges that nobody has answered.
    /// Attempts under way are not among them.
    pub fn counted(&self, window: Duration, answered: Option<u64>, now: Timestamp) -> usize {
        let since = now - window;
        let failed = self.failures.iter().filter(|failure| failure.at > since).count();
        let lost = self
            .pending
            .iter()
            .filter(|pending| pending.at > since && now.since(pending.at) > PENDING_LIFE)
            .count();
        let asked = self
            .challenges
            .iter()
            .filter(|challenge| challenge.at > since && Some(challenge.nonce) != answered)
            .count();
        failed + lost + asked
    }

    /// Counts an attempt that begins now.
    #[must_use]
    pub fn with_pending(mut self, pending: Pending, limit: Limit) -> Self {
        self.prune(limit, pending.at);
        self.pending.push(pending);
        self
    }

    /// Takes back an attempt that could not be judged.
    #[must_use]
    pub fn without_pending(mut self, nonce: u64) -> Self {
        self.pending.retain(|pending| pending.nonce != nonce);
        self
    }

    /// Counts a challenge of an upstream server that goes out.
    #[must_use]
    pub fn with_challenge(mut self, challenge: Pending, limit: Limit) -> Self {
        self.prune(limit, challenge.at);
        self.challenges.push(challenge);
        self
    }

    /// Counts a challenge no longer: what was answered to it is judged.
    #[must_use]
    pub fn without_challenge(mut self, nonce: Option<u64>) -> Self {
        self.challenges.retain(|challenge| Some(challenge.nonce) != nonce);
        self
    }

    /// Counts a failure; `nonce` is the attempt's, if it was pending.
    #[must_use]
    pub fn with_failure(mut self, nonce: Option<u64>, failure: Failure, limit: Limit) -> Self {
        self.pending.retain(|pending| Some(pending.nonce) != nonce);
        self.prune(limit, failure.at);
        self.failures.push(failure);
        let excess = self.failures.len().saturating_sub(limit.failures.max(1) as usize);
        self.failures.drain(..excess);
        self
    }

    /// A success clears the failures, those of codes only if a code was proven: otherwise somebody with
    /// the password could guess codes at one service and clear the count at another. So it is with challenges
    /// that nobody has answered. Attempts still under way stay counted.
    #[must_use]
    pub fn with_success(mut self, nonce: Option<u64>, code_proven: bool) -> Self {
        self.pending.retain(|pending| Some(pending.nonce) != nonce);
        self.failures.retain(|failure| failure.code && !code_proven);
        self.challenges.retain(|_| !code_proven);
        self
    }

    /// Nothing is left to remember.
    pub fn is_clear(&self) -> bool {
        self.failures.is_empty() && self.pending.is_empty() && self.challenges.is_empty()
    }

    /// When the record can be forgotten.
    pub fn expires(&self, limit: Limit) -> Option<Timestamp> {
        let last = self
            .failures
            .iter()
            .map(|failure| failure.at)
            .chain(self.pending.iter().chain(&self.challenges).map(|pending| pending.at))
            .max()?;
        Some(last + limit.window)
    }

    fn prune(&mut self, limit: Limit, now: Timestamp) {
        let since = now - limit.window;
        self.failures.retain(|failure| failure.at > since);
        self.pending.retain(|pending| pending.at > since);
        self.challenges.retain(|challenge| challenge.at > since);
    }
}

/// Failures by source address, in memory: they are about floods, not about anyone's account.
///
/// IPv6 sources count by their /64. At most [`Sources::MAX`] are remembered; when there are more, new
/// ones go uncounted until old ones expire, so that a flood of addresses cannot clear anybody's count.
#[derive(Debug, Default)]
pub struct Sources(Mutex<HashMap<IpAddr, Source>>);

#[derive(Debug, Default)]
struct Source {
    failures: VecDeque<Timestamp>,
    /// When it was last noted that the source is refused unheard, and how often since.
    noted: Option<Timestamp>,
    unheard: u64,
}

/// How often it is noted that a source is refused unheard.
const NOTE_EVERY: Duration = Duration::from_secs(60);

impl Sources {
    /// Most source addresses remembered.
    pub const MAX: usize = 50_000;

    /// Whether `source` is over the limit.
    pub fn is_over(&self, source: IpAddr, limit: Limit, now: Timestamp) -> bool {
        if limit.failures == 0 {
            return false;
        }
        let sources = self.0.lock();
        let since = now - limit.window;
        let recent = |source: &Source| source.failures.iter().filter(|&&at| at > since).count();
        sources
            .get(&prefix(source))
            .is_some_and(|source| recent(source) >= limit.failures as usize)
    }

    /// Counts a failure, unless the source is over its limit already: who is refused unheard guesses
    /// nothing, and the window must come to an end.
    pub fn count(&self, source: IpAddr, limit: Limit, now: Timestamp) {
        if limit.failures == 0 {
            return;
        }
        let mut sources = self.0.lock();
        let since = now - limit.window;
        let source = prefix(source);
        if sources.len() >= Self::MAX && !sources.contains_key(&source) {
            sources.retain(|_, source| source.failures.back().is_some_and(|&at| at > since));
            if sources.len() >= Self::MAX {
                return;
            }
        }
        let failures = &mut sources.entry(source).or_default().failures;
        failures.retain(|&at| at > since);
        if failures.len() < limit.failures as usize {
            failures.push_back(now);
        }
    }
}

impl Sources {
    /// Counts an attempt refused because its source is over the limit. Now and then, once a minute at
    /// most, tells how many there were since it last did: a flood is written down without flooding.
    pub fn refused(&self, source: IpAddr, now: Timestamp) -> Option<u64> {
        let mut sources = self.0.lock();
        let source = sources.get_mut(&prefix(source))?;
        source.unheard += 1;
        if source.noted.is_some_and(|noted| now.since(noted) < NOTE_EVERY) {
            return None;
        }
        source.noted = Some(now);
        Some(std::mem::take(&mut source.unheard))
    }
}

fn prefix(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit {
        failures: 2,
        window: Duration::from_secs(900),
    };

    fn wrong(secs: u64) -> Failure {
        Failure {
            at: at(secs),
            code: false,
        }
    }

    #[test]
    fn a_login_without_a_code_clears_no_failure_of_codes() {
        let code = Failure { code: true, ..wrong(1) };
        let record = ThrottleRecord::default()
            .with_failure(None, wrong(0), LIMIT)
            .with_failure(None, code, LIMIT);
        assert_eq!(record.clone().with_success(None, false).failures, [code]);
        assert!(record.with_success(None, true).is_clear());
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(100_000 + secs)
    }

    #[test]
    fn failures_count_within_the_window() {
        let record = ThrottleRecord::default()
            .with_failure(None, wrong(0), LIMIT)
            .with_failure(None, wrong(10), LIMIT);
        assert_eq!(record.standing(LIMIT, None, at(20)), Standing::Over);
        assert_eq!(record.standing(LIMIT, None, at(900)), Standing::Free);
        assert!(record.with_success(None, false).is_clear());
    }

    #[test]
    fn challenges_count_until_they_are_answered() {
        let challenge = |nonce| Pending { at: at(0), nonce };
        let record = ThrottleRecord::default()
            .with_challenge(challenge(1), LIMIT)
            .with_challenge(challenge(2), LIMIT);
        assert_eq!(record.standing(LIMIT, None, at(1)), Standing::Over);
        assert_eq!(record.standing(LIMIT, Some(2), at(1)), Standing::Free);
        assert_eq!(record.standing(LIMIT, Some(3), at(1)), Standing::Over, "not its own");
        assert_eq!(record.standing(LIMIT, None, at(900)), Standing::Free);
        let settled = record.clone().without_challenge(Some(2));
        assert_eq!(settled.standing(LIMIT, None, at(1)), Standing::Free);
        assert_eq!(record.clone().with_success(None, false), record);
        assert!(record.with_success(None, true).is_clear());
    }

    #[test]
    fn attempts_under_way_count_and_those_that_never_came_back_stay_counted() {
        let pending = |nonce, secs| Pending { at: at(secs), nonce };
        let record = ThrottleRecord::default()
            .with_pending(pending(1, 0), LIMIT)
            .with_pending(pending(2, 0), LIMIT);
        assert_eq!(record.standing(LIMIT, None, at(1)), Standing::Busy);
        assert_eq!(record.standing(LIMIT, None, at(61)), Standing::Over);
        assert_eq!(
            record.clone().without_pending(1).standing(LIMIT, None, at(1)),
            Standing::Free
        );
        assert_eq!(
            record
                .with_failure(Some(1), wrong(1), LIMIT)
                .standing(LIMIT, None, at(1)),
            Standing::Busy
        );
    }

    #[test]
    fn no_limit_is_no_limit() {
        let none = Limit {
            failures: 0,
            window: Duration::from_secs(900),
        };
        let mut record = ThrottleRecord::default();
        for secs in 0..100 {
            record = record.with_failure(None, wrong(secs), none);
        }
        assert_eq!(record.standing(none, None, at(100)), Standing::Free);
        assert_eq!(record.failures.len(), 1, "nothing grows without bound");
    }

    #[test]
    fn sources_count_by_prefix() {
        let sources = Sources::default();
        let (one, other, far) = (
            "2001:db8::1".parse().unwrap(),
            "2001:db8::2".parse().unwrap(),
            "2001:db8:1::1".parse().unwrap(),
        );
        sources.count(one, LIMIT, at(0));
        sources.count(other, LIMIT, at(1));
        assert!(sources.is_over(one, LIMIT, at(2)));
        assert!(!sources.is_over(far, LIMIT, at(2)));
        assert_eq!(sources.refused(one, at(2)), Some(1));
        assert_eq!((sources.refused(one, at(3)), sources.refused(one, at(4))), (None, None));
        assert_eq!(sources.refused(one, at(62)), Some(3));
        assert!(!sources.is_over(one, LIMIT, at(900)), "the first has left the window");
    }
}
