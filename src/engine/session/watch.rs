//! How long a session has been silent, reckoned over the time in which anybody listened.
//!
//! A server that was down, a machine that was suspended and a clock that was set all look alike: between
//! one look and the next lies more time than there should. No session could have been heard in it, so it
//! counts against none.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// When it was watched. Kept over restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchRecord {
    /// The last look; none before the first.
    pub last: Option<Timestamp>,
    /// Stretches in which nobody watched, oldest first, each from and to.
    pub gaps: Vec<(Timestamp, Timestamp)>,
}

/// When it was watched, and how that is judged.
#[derive(Clone, Debug)]
pub struct Watch {
    /// What is kept.
    pub record: WatchRecord,
    /// More time than this between two looks was not watched.
    pub allowed: Duration,
}

/// Most stretches remembered; the shortest goes when there are more.
const MAX_GAPS: usize = 64;

impl Watch {
    /// Looks again. `longest` is the longest silence that anybody asks about: gaps before it are forgotten.
    pub fn look(&mut self, now: Timestamp, longest: Duration) {
        let record = &mut self.record;
        if let Some(last) = record.last.filter(|last| now.since(*last) > self.allowed) {
            record.gaps.push((last, now));
        }
        record.last = Some(now);
        // A gap that ends in the future was seen by a clock that has been set back since. One that everything
        // asked about has outlived counts no more.
        let gaps = std::mem::take(&mut record.gaps);
        let past: Vec<_> = gaps.into_iter().filter(|(_, to)| *to <= now).collect();
        record.gaps.clone_from(&past);
        let kept = past
            .into_iter()
            .filter(|(_, to)| self.silence(*to, now) <= longest)
            .collect();
        let record = &mut self.record;
        record.gaps = kept;
        if record.gaps.len() > MAX_GAPS {
            let shortest = record
                .gaps
                .iter()
                .enumerate()
                .min_by_key(|(_, (from, to))| to.since(*from));
            if let Some((at, _)) = shortest {
                record.gaps.remove(at);
            }
        }
    }

    /// How long something last heard of at `heard` has been silent while somebody watched.
    pub fn silence(&self, heard: Timestamp, now: Timestamp) -> Duration {
        let unwatched: Duration = self
            .record
            .gaps
            .iter()
            .map(|(from, to)| (*to).min(now).since((*from).max(heard)))
            .sum();
        now.since(heard).saturating_sub(unwatched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn at(minutes: u64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + minutes * 60)
    }

    fn mins(minutes: u64) -> Duration {
        Duration::from_secs(minutes * 60)
    }

    fn watched(looks: impl IntoIterator<Item = u64>) -> Watch {
        let mut watch = Watch {
            record: WatchRecord::default(),
            allowed: mins(3),
        };
        for look in looks {
            watch.look(at(look), DAY);
        }
        watch
    }

    #[test]
    fn silence_is_time_since_while_somebody_watches() {
        let watch = watched(0..=100);
        assert_eq!(watch.silence(at(10), at(100)), mins(90));
        assert_eq!(watch.silence(at(200), at(100)), Duration::ZERO);
    }

    #[test]
    fn time_that_nobody_watched_counts_against_nobody() {
        let watch = watched((0..=10).chain(1010..=1020));
        assert_eq!(watch.silence(at(5), at(1020)), mins(15));
        assert_eq!(watch.silence(at(1012), at(1020)), mins(8));
    }

    #[test]
    fn a_clock_set_back_forgets_the_gap_it_made() {
        let mut watch = watched((0..=10).chain([500_000]));
        watch.look(at(11), DAY);
        assert!(watch.record.gaps.is_empty());
        watch.look(at(12), DAY);
        assert_eq!(watch.silence(at(2), at(12)), mins(10));
    }

    #[test]
    fn gaps_are_forgotten_and_bounded() {
        let watch = watched((0..=10).chain(20..=5000));
        assert!(watch.record.gaps.is_empty(), "longer ago than anybody asks");
        let watch = watched((0..1000).map(|number| number * 10));
        assert!(watch.record.gaps.len() <= MAX_GAPS);
    }
}
