//! Searching: the archive by its indexes, the newest records by the one in memory.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::tail::WINDOW;
use super::{Audit, AuditError, AuditLine, Filter, Order, Stretch};
use crate::store::archive::Budget;
use crate::store::archive::terms::{Bits, Query};
use crate::store::{AuditRecord, StoreError};

impl Audit {
    /// Gives records that match, at most `limit`, in the given order and from `from` on in that order; from the
    /// beginning of it without. A request does a bounded amount of work, which is much where the filter says more
    /// than a text: [`Stretch::end`] tells whether it came to the end.
    ///
    /// # Errors
    /// When the store cannot be read. Damage in the archive is told in the answer.
    pub async fn find(
        &self,
        filter: &Filter,
        order: Order,
        from: Option<u64>,
        limit: usize,
    ) -> Result<Stretch, AuditError> {
        let mut search = Search {
            audit: self,
            query: Arc::new(filter.query(&self.keyring)),
            order,
            sink: Sink::new(filter.clone(), limit),
            budget: Budget(WORK),
        };
        search.run(from).await
    }

    /// The records that match from `from` on, oldest first, at most `limit`.
    ///
    /// # Errors
    /// As [`Audit::find`].
    pub async fn search(&self, filter: &Filter, from: u64, limit: usize) -> Result<Stretch, AuditError> {
        self.find(filter, Order::OldestFirst, Some(from.max(1)), limit).await
    }

    /// The last `count` records that match, oldest first, and where new ones will be.
    ///
    /// # Errors
    /// As [`Audit::find`].
    pub async fn last(&self, filter: &Filter, count: usize) -> Result<Stretch, AuditError> {
        let head = self.store.status().audit_sequence;
        let mut last = Stretch {
            next: head + 1,
            end: true,
            ..Stretch::default()
        };
        let mut from = head;
        // Looks far, because nobody is told where to go on.
        for _ in 0..FAR {
            let room = count - last.records.len();
            let found = self.find(filter, Order::NewestFirst, Some(from), room).await?;
            last.records.extend(found.records);
            last.damaged.extend(found.damaged);
            if found.end || last.records.len() >= count {
                break;
            }
            from = found.next;
        }
        last.records.reverse();
        Ok(last)
    }

    /// Brings the index of the newest records up to date, so that a search has less to do.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn catch_up(&self) -> Result<(), AuditError> {
        let mut tail = self.tail.lock().await;
        Ok(tail.catch_up(self.store.as_ref(), &self.keyring).await?)
    }
}

struct Search<'a> {
    audit: &'a Audit,
    query: Arc<Query>,
    order: Order,
    sink: Sink,
    budget: Budget,
}

impl Search<'_> {
    async fn run(&mut self, from: Option<u64>) -> Result<Stretch, AuditError> {
        let through = self.audit.store.archive().map_or(0, |archive| archive.through());
        match self.order {
            Order::OldestFirst => {
                let mut from = from.unwrap_or(1).max(1);
                if from <= through {
                    let ControlFlow::Continue(through) = self.archive(from).await? else {
                        return Ok(self.sink.stretch(0));
                    };
                    from = through + 1;
                }
                let next = self.newest(from, u64::MAX).await?;
                Ok(self.sink.stretch(next.max(from)))
            }
            Order::NewestFirst => {
                let from = from.unwrap_or(u64::MAX);
                if from > through {
                    self.newest(through + 1, from).await?;
                }
                if self.sink.stopped.is_none() && through > 0 {
                    let _ = self.archive(from.min(through)).await?;
                }
                Ok(self.sink.stretch(0))
            }
        }
    }

    /// Searches the archive; gives where it ended then.
    async fn archive(&mut self, from: u64) -> Result<ControlFlow<(), u64>, AuditError> {
        let Some(archive) = self.audit.store.archive() else {
            return Ok(ControlFlow::Continue(0));
        };
        let (query, order, mut budget) = (Arc::clone(&self.query), self.order, self.budget);
        let mut sink = std::mem::take(&mut self.sink);
        let work = move || {
            let outcome = archive.find(&query, order, from, &mut budget, &mut |record| sink.offer(&record));
            (outcome, sink, budget)
        };
        let done = tokio::task::spawn_blocking(work).await;
        let (outcome, sink, budget) = done.map_err(|error| StoreError(error.to_string()))?;
        (self.sink, self.budget) = (sink, budget);
        self.sink.damaged.extend(outcome.flaws);
        Ok(match outcome.stopped_at {
            Some(sequence) => {
                self.sink.stopped = Some(sequence);
                ControlFlow::Break(())
            }
            None => ControlFlow::Continue(outcome.through),
        })
    }

    /// Searches what is not in the archive, from `first` to `last`. Gives the record after the newest looked at.
    async fn newest(&mut self, first: u64, last: u64) -> Result<u64, AuditError> {
        let (windows, candidates, indexed, next) = {
            let mut tail = self.audit.tail.lock().await;
            tail.catch_up(self.audit.store.as_ref(), &self.audit.keyring).await?;
            let (windows, candidates) = tail.windows(&self.query);
            (windows, candidates, tail.first(), tail.next())
        };
        // While the archive is far behind, some records are in no index.
        let plain = (first < indexed).then(|| pages(first, indexed)).into_iter().flatten();
        let indexed_windows = windows.into_iter().map(|window| (window, true));
        let mut all: Vec<_> = plain.map(|window| (window, false)).chain(indexed_windows).collect();
        if self.order == Order::NewestFirst {
            all.reverse();
        }
        let mut looked = 0;
        for ((begin, end), is_indexed) in all {
            if end <= first || begin > last {
                continue;
            }
            let candidates = candidates.as_ref().filter(|_| is_indexed).map(|bits| (indexed, bits));
            let bounds = (begin.max(first), end.min(last.saturating_add(1)));
            if self.window(bounds, candidates).await?.is_break() {
                break;
            }
            looked += 1;
            if looked % YIELD == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok(next)
    }

    async fn window(
        &mut self,
        (begin, end): (u64, u64),
        candidates: Option<(u64, &Bits)>,
    ) -> Result<ControlFlow<()>, AuditError> {
        let edge = match self.order {
            Order::OldestFirst => begin,
            Order::NewestFirst => end.saturating_sub(1),
        };
        if !self.budget.take(COST_OF_WINDOW) {
            self.sink.stopped = Some(edge);
            return Ok(ControlFlow::Break(()));
        }
        let count = usize::try_from(end.saturating_sub(begin)).unwrap_or(usize::MAX);
        let mut records = self.audit.store.audit(begin, count).await?;
        records.retain(|record| record.sequence < end);
        if self.order == Order::NewestFirst {
            records.reverse();
        }
        for record in records {
            let number = |first: u64| usize::try_from(record.sequence.saturating_sub(first)).unwrap_or(usize::MAX);
            if candidates.is_some_and(|(first, bits)| !bits.contains(number(first))) {
                continue;
            }
            if !self.budget.take(1) || self.sink.offer(&record).is_break() {
                self.sink.stopped = Some(record.sequence);
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Cuts records that are in no index into windows.
fn pages(first: u64, end: u64) -> impl Iterator<Item = (u64, u64)> {
    let step = WINDOW as u64;
    (first..end)
        .step_by(WINDOW)
        .map(move |begin| (begin, (begin + step).min(end)))
}

/// Takes what matches.
#[derive(Default)]
struct Sink {
    filter: Filter,
    limit: usize,
    records: Vec<AuditLine>,
    damaged: Vec<String>,
    /// The record that was not looked at any more, or found no room.
    stopped: Option<u64>,
}

impl Sink {
    fn new(filter: Filter, limit: usize) -> Self {
        Self {
            filter,
            limit,
            ..Self::default()
        }
    }

    /// Breaks at a match for which there is no room.
    fn offer(&mut self, record: &AuditRecord) -> ControlFlow<()> {
        let Some(line) = self.filter.pick(record) else {
            return ControlFlow::Continue(());
        };
        if self.records.len() >= self.limit {
            return ControlFlow::Break(());
        }
        self.records.push(line);
        ControlFlow::Continue(())
    }

    /// The answer; `next` where it goes on when nothing is left now.
    fn stretch(&mut self, next: u64) -> Stretch {
        Stretch {
            records: std::mem::take(&mut self.records),
            next: self.stopped.unwrap_or(next),
            end: self.stopped.is_none(),
            damaged: std::mem::take(&mut self.damaged),
        }
    }
}

/// What one request may do, in records looked at: a fraction of a second.
const WORK: u64 = 100_000;

/// What reading some of the newest records costs.
const COST_OF_WINDOW: u64 = 10;

/// After how many windows others get their turn.
const YIELD: usize = 64;

/// How many requests' worth a search for the last records may do.
const FAR: usize = 50;
