//! An index in memory of the newest records, which are not in the archive yet.
//!
//! Commits know nothing of it: it catches up before each search, and about once a second in between, so that there is
//! little to catch up with.

use std::collections::HashMap;

use crate::keyring::Keyring;
use crate::store::archive::seal::Span;
use crate::store::archive::terms::{Bits, Query, Term, Terms};
use crate::store::{AuditRecord, Store, StoreError};

/// The index.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// The first record in it; zero while there is none.
    first: u64,
    /// The record after the last in it.
    next: u64,
    /// Moments of each [`WINDOW`] records.
    spans: Vec<Span>,
    terms: HashMap<Term, Vec<u32>>,
    hashes: Terms,
}

/// Records that are read together: from one to before another.
pub(super) type Window = (u64, u64);

impl Tail {
    /// Takes in what is new, and lets go of what the archive has. Of very many records only the newest are taken in.
    pub(super) async fn catch_up(&mut self, store: &dyn Store, keyring: &Keyring) -> Result<(), StoreError> {
        let through = store.archive().map_or(0, |archive| archive.through());
        self.let_go(through);
        let head = store.status().audit_sequence;
        if self.next == 0 || self.next <= through || head.saturating_sub(self.next) > MOST {
            *self = Self::default();
            self.first = (through + 1).max((head + 1).saturating_sub(MOST));
            self.next = self.first;
        }
        let mut terms = Vec::new();
        while self.next <= head {
            let page = store.audit(self.next, PAGE).await?;
            if page.is_empty() {
                break;
            }
            for record in &page {
                self.add(keyring, record, &mut terms);
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// The first record in it.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The record after the last in it.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Stretches of records of which some may match, oldest first, and those that may; `None` for all.
    pub(super) fn windows(&self, query: &Query) -> (Vec<Window>, Option<Bits>) {
        let count = usize::try_from(self.next - self.first).unwrap_or(usize::MAX);
        let candidates = query.candidates(count, |term, bits| {
            for number in self.terms.get(&term).into_iter().flatten() {
                bits.insert(*number as usize);
            }
            Ok::<(), std::convert::Infallible>(())
        });
        let Ok(candidates) = candidates;
        let wanted = |(window, span): &(usize, &Span)| {
            let first = window * WINDOW;
            span.meets(query.since, query.until)
                && candidates.as_ref().is_none_or(|bits| bits.meets(first, first + WINDOW))
        };
        let windows = self.spans.iter().enumerate().filter(wanted).map(|(window, _)| {
            let first = self.first + (window * WINDOW) as u64;
            (first, (first + WINDOW as u64).min(self.next))
        });
        (windows.collect(), candidates)
    }

    fn add(&mut self, keyring: &Keyring, record: &AuditRecord, terms: &mut Vec<Term>) {
        let Some(number) = record.sequence.checked_sub(self.first) else {
            return;
        };
        let Ok(position) = u32::try_from(number) else { return };
        let at = self.hashes.of(keyring, record, terms);
        let window = position as usize / WINDOW;
        while self.spans.len() <= window {
            self.spans.push(Span::EMPTY);
        }
        if let Some(span) = self.spans.get_mut(window) {
            span.include(at);
        }
        for term in terms.iter() {
            self.terms.entry(*term).or_default().push(position);
        }
        self.next = record.sequence + 1;
    }

    /// Forgets whole windows up to a record, once it is worth it.
    fn let_go(&mut self, through: u64) {
        let windows = usize::try_from((through + 1).saturating_sub(self.first)).unwrap_or(usize::MAX) / WINDOW;
        let windows = windows.min(self.spans.len());
        if windows * WINDOW < WORTH || self.next <= through {
            return;
        }
        self.spans.drain(..windows);
        let gone = u32::try_from(windows * WINDOW).unwrap_or(u32::MAX);
        self.first += u64::from(gone);
        self.terms.retain(|_, numbers| {
            let kept = numbers.partition_point(|number| *number < gone);
            numbers.drain(..kept);
            numbers.iter_mut().for_each(|number| *number -= gone);
            numbers.shrink_to_fit();
            !numbers.is_empty()
        });
    }
}

/// How many records are read, and told by their moments, together.
pub(super) const WINDOW: usize = 64;

/// Most records in the index. There are more only while the archive is behind.
const MOST: u64 = 262_144;

/// From how many records on it is worth to let go of them.
const WORTH: usize = 16_384;

const PAGE: usize = 1000;
