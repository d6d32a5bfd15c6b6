//! Replies held back until their time has come.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// Things that wait, earliest first, bounded in number.
#[derive(Debug)]
pub(in crate::radius) struct Delayed<T> {
    heap: BinaryHeap<Waiting<T>>,
    capacity: usize,
}

impl<T> Delayed<T> {
    pub(in crate::radius) fn new(capacity: usize) -> Self {
        Self {
            heap: BinaryHeap::new(),
            capacity,
        }
    }

    /// Holds `item` until `due`.
    ///
    /// # Errors
    /// Gives `item` back when too many are held already: it must go out at once.
    pub(in crate::radius) fn hold(&mut self, due: Instant, item: T) -> Result<(), T> {
        if self.heap.len() >= self.capacity {
            return Err(item);
        }
        self.heap.push(Waiting { due, item });
        Ok(())
    }

    /// When the next one is due.
    pub(in crate::radius) fn next_due(&self) -> Option<Instant> {
        self.heap.peek().map(|waiting| waiting.due)
    }

    /// Takes one whose time has come.
    pub(in crate::radius) fn pop(&mut self, now: Instant) -> Option<T> {
        if self.next_due()? > now {
            return None;
        }
        self.heap.pop().map(|waiting| waiting.item)
    }

    /// Takes one whether or not its time has come.
    pub(in crate::radius) fn pop_early(&mut self) -> Option<T> {
        self.heap.pop().map(|waiting| waiting.item)
    }

    pub(in crate::radius) fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

/// Moves a delay by up to a tenth either way, as `random` says, so that its end tells nothing exact.
pub(in crate::radius) fn jittered(delay: Duration, random: u16) -> Duration {
    let span = delay / 5;
    delay - span / 2 + span * u32::from(random) / u32::from(u16::MAX)
}

/// Sleeps until `due`; for ever when there is nothing to wait for.
pub(in crate::radius) async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

#[derive(Debug)]
struct Waiting<T> {
    due: Instant,
    item: T,
}

/// Ordered by time alone, the earliest greatest: [`BinaryHeap`] gives the greatest first.
impl<T> Ord for Waiting<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.due.cmp(&self.due)
    }
}

impl<T> PartialOrd for Waiting<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Waiting<T> {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl<T> Eq for Waiting<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn earliest_first_and_bounded() {
        let start = clock::monotonic();
        let after = |secs| start + Duration::from_secs(secs);
        let mut delayed = Delayed::new(2);
        delayed.hold(after(2), "b").unwrap();
        delayed.hold(after(1), "a").unwrap();
        assert_eq!(delayed.hold(after(1), "c"), Err("c"));
        assert_eq!(delayed.next_due(), Some(after(1)));
        assert_eq!(delayed.pop(start), None);
        assert_eq!(delayed.pop(after(1)), Some("a"));
        assert_eq!(delayed.pop(after(1)), None);
        assert_eq!(delayed.pop_early(), Some("b"));
        assert!(delayed.is_empty());
    }

    #[test]
    fn jitter_stays_within_a_tenth() {
        let second = Duration::from_secs(1);
        assert_eq!(jittered(second, 0), Duration::from_millis(900));
        assert_eq!(jittered(second, u16::MAX), Duration::from_millis(1100));
        assert_eq!(jittered(Duration::ZERO, 77), Duration::ZERO);
    }
}
