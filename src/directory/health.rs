//! Whether a server is trusted with work: when it is given up, when it is tried again, and what it takes
//! to be trusted again. No clock and no chance in here.
//!
//! A server that was given up is tried by one prober and by nobody's login. When it answers it may be used
//! where nothing better is left; where another serves meanwhile, it has to answer several times in a row
//! first, and more often each time it falls over again, so that work does not flap with it.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How a server stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// New work goes there.
    #[default]
    Healthy,
    /// It answers again, but not for long enough: work goes there when no other server is healthy.
    Returning,
    /// No work goes there until it has answered a try.
    GivenUp,
}

impl Standing {
    /// For people and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Returning => "returning",
            Self::GivenUp => "given-up",
        }
    }
}

/// What is known of one server's health.
#[derive(Debug)]
pub(super) struct Health {
    standing: Standing,
    /// Of the standing.
    since: Instant,
    /// Tries in a row that failed since it was given up.
    failed: u32,
    /// Tries in a row that were answered since it returns.
    answered: u32,
    /// How often in a row it fell over soon after it had come back.
    relapses: u32,
    /// When it came back last.
    back: Option<Instant>,
    /// How often it was given up.
    given_up: u64,
    error: Option<String>,
    next_try: Option<Instant>,
}

impl Health {
    /// Healthy until tried.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            standing: Standing::Healthy,
            since: now,
            failed: 0,
            answered: 0,
            relapses: 0,
            back: None,
            given_up: 0,
            error: None,
            next_try: None,
        }
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    pub(super) fn times_given_up(&self) -> u64 {
        self.given_up
    }

    pub(super) fn next_try(&self) -> Option<Instant> {
        self.next_try.filter(|_| self.standing != Standing::Healthy)
    }

    /// Gives it up. Whether it was not given up before. `interval` is the time between tries.
    pub(super) fn give_up(&mut self, now: Instant, interval: Duration, why: &str) -> bool {
        self.error = Some(why.to_owned());
        match self.standing {
            Standing::GivenUp => return false,
            // How many failed stands: it has not really come back.
            Standing::Returning => self.relapses += 1,
            Standing::Healthy => {
                let steady = interval.saturating_mul(STEADY);
                let soon = |back: Instant| now.saturating_duration_since(back) < steady;
                self.relapses = if self.back.is_some_and(soon) {
                    self.relapses + 1
                } else {
                    0
                };
                self.failed = 0;
            }
        }
        self.relapses = self.relapses.min(MOST_RELAPSES);
        self.standing = Standing::GivenUp;
        self.since = now;
        self.answered = 0;
        self.given_up += 1;
        true
    }

    /// A try of a server that had been given up has failed, too.
    pub(super) fn try_failed(&mut self) {
        self.failed = self.failed.saturating_add(1);
    }

    /// A try was answered; its standing before and after.
    pub(super) fn try_answered(&mut self, now: Instant) -> (Standing, Standing) {
        let before = self.standing;
        self.answered = match before {
            Standing::Healthy => return (before, before),
            Standing::Returning => self.answered + 1,
            Standing::GivenUp => 1,
        };
        self.failed = 0;
        self.standing = if self.answered >= FIRST_PROOF << self.relapses {
            self.back = Some(now);
            self.error = None;
            Standing::Healthy
        } else {
            Standing::Returning
        };
        if self.standing != before {
            self.since = now;
        }
        (before, self.standing)
    }

    /// How long until the next try: `interval`, and shorter at first after it was given up.
    pub(super) fn pause(&self, interval: Duration) -> Duration {
        match self.standing {
            Standing::Healthy | Standing::Returning => interval,
            Standing::GivenUp => SECOND_CHANCE.saturating_mul(1 << self.failed.min(16)).min(interval),
        }
    }

    pub(super) fn will_be_tried(&mut self, at: Instant) {
        self.next_try = Some(at);
    }
}

/// How soon a server that was given up is tried for the first time; doubled with every failure.
const SECOND_CHANCE: Duration = Duration::from_millis(250);
/// Answers in a row that a server owes which fell over once; doubled with every relapse.
const FIRST_PROOF: u32 = 2;
/// Relapses that count: no more than 16 answers in a row are asked for.
const MOST_RELAPSES: u32 = 3;
/// Intervals after which falling over is no relapse.
const STEADY: u32 = 12;

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(5);

    fn fallen() -> (Health, Instant) {
        let now = crate::clock::monotonic();
        let mut health = Health::new(now);
        assert!(health.give_up(now, INTERVAL, "gone"));
        (health, now)
    }

    #[test]
    fn tries_become_rarer_up_to_the_interval() {
        let (mut health, _) = fallen();
        let mut pauses = Vec::new();
        for _ in 0..7 {
            pauses.push(health.pause(INTERVAL).as_millis());
            health.try_failed();
        }
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 5000, 5000]);
        for _ in 0..100 {
            health.try_failed();
        }
        assert_eq!(health.pause(INTERVAL), INTERVAL);
        assert_eq!(health.pause(Duration::from_millis(100)).as_millis(), 100);
    }

    #[test]
    fn one_answer_makes_it_usable_and_a_second_one_preferred() {
        let (mut health, now) = fallen();
        assert_eq!(health.try_answered(now), (Standing::GivenUp, Standing::Returning));
        assert_eq!(health.error(), Some("gone"), "told until it is over");
        assert_eq!(health.try_answered(now), (Standing::Returning, Standing::Healthy));
        assert_eq!(health.error(), None);
        assert_eq!(health.try_answered(now), (Standing::Healthy, Standing::Healthy));
    }

    #[test]
    fn who_falls_over_again_owes_more_answers_each_time() {
        let (mut health, now) = fallen();
        let mut owed = Vec::new();
        for _ in 0..6 {
            let mut answers = 1;
            while health.try_answered(now).1 != Standing::Healthy {
                answers += 1;
            }
            owed.push(answers);
            assert!(health.give_up(now, INTERVAL, "again"));
        }
        assert_eq!(owed, [2, 4, 8, 16, 16, 16]);
        // Having been well for a while makes up for it.
        while health.try_answered(now).1 != Standing::Healthy {}
        let later = now + INTERVAL * STEADY;
        health.give_up(later, INTERVAL, "much later");
        health.try_answered(later);
        assert_eq!(health.try_answered(later).1, Standing::Healthy);
    }

    #[test]
    fn falling_over_while_returning_is_a_relapse_and_told_once() {
        let (mut health, now) = fallen();
        assert!(!health.give_up(now, INTERVAL, "another attempt saw it, too"));
        health.try_answered(now);
        assert!(health.give_up(now, INTERVAL, "half back"));
        assert_eq!(health.times_given_up(), 2);
        for _ in 0..3 {
            assert_eq!(health.try_answered(now).1, Standing::Returning);
        }
        assert_eq!(health.try_answered(now).1, Standing::Healthy);
    }
}
