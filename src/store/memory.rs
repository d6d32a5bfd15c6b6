//! A store in memory: for tests and for trying things out. Nothing survives the process.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::Mutex;

use super::ledger::{self, Head};
use super::{
    AuditRecord, CommitError, Durability, Entry, Found, Page, Record, Snapshot, Store, StoreError, StoreStatus,
};
use crate::clock::Timestamp;
use crate::engine::BoxFuture;
use crate::engine::batch::{Batch, Change, Key, Version, Versioned};
use crate::keyring::Keyring;

/// A [`Store`] that keeps everything in memory. Every commit is as durable as it gets at once.
#[derive(Debug)]
pub struct MemoryStore {
    keyring: Arc<Keyring>,
    state: Mutex<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    head: Head,
    records: BTreeMap<Vec<u8>, Stored>,
    audit: Vec<AuditRecord>,
    closed: bool,
}

#[derive(Clone, Debug)]
struct Stored {
    version: Version,
    expires: Option<Timestamp>,
    value: Vec<u8>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(keyring: Arc<Keyring>) -> Self {
        let state = State {
            head: Head::new(&keyring),
            ..State::default()
        };
        Self {
            keyring,
            state: Mutex::new(state),
        }
    }

    fn apply(&self, batch: Batch) -> Result<Version, CommitError> {
        let bodies = ledger::check(&batch)?;
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if state.closed {
            return Err(StoreError("it is closed".into()).into());
        }
        let holds = |(key, version): &(Key, Version)| state.version(key) == *version;
        if !batch.expect.iter().all(holds) {
            return Err(CommitError::Conflict);
        }
        state.head.revision += 1;
        let version = Version(state.head.revision);
        for (key, change) in batch.write {
            let key = key.as_octets().to_vec();
            match change {
                Change::Put(value, expires) => {
                    let stored = Stored {
                        version,
                        expires,
                        value,
                    };
                    state.records.insert(key, stored);
                }
                Change::Delete => {
                    state.records.remove(&key);
                }
            }
        }
        for body in bodies {
            let record = state.head.append(&self.keyring, body);
            state.audit.push(record);
        }
        Ok(version)
    }
}

impl State {
    fn version(&self, key: &Key) -> Version {
        self.records
            .get(key.as_octets())
            .map_or_else(Version::default, |stored| stored.version)
    }
}

impl Store for MemoryStore {
    fn read<'a>(&'a self, keys: &'a [Key], now: Timestamp) -> BoxFuture<'a, Result<Vec<Found>, StoreError>> {
        let state = self.state.lock();
        let found = |key: &Key| match state.records.get(key.as_octets()) {
            Some(stored) => Versioned {
                value: (!ledger::expired(stored.expires, now)).then(|| stored.value.clone()),
                version: stored.version,
            },
            None => Found::default(),
        };
        let answer = keys.iter().map(found).collect();
        Box::pin(std::future::ready(Ok(answer)))
    }

    fn commit(&self, batch: Batch, _: Durability) -> BoxFuture<'_, Result<Version, CommitError>> {
        Box::pin(async { self.apply(batch) })
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<&'a Key>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, StoreError>> {
        let start = match after {
            Some(key) if key.as_octets() >= prefix => Bound::Excluded(key.as_octets()),
            Some(_) | None => Bound::Included(prefix),
        };
        let state = self.state.lock();
        let page = state
            .records
            .range::<[u8], _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, stored)| (Key::from_octets(key), stored.value.clone()))
            .collect();
        Box::pin(std::future::ready(Ok(page)))
    }

    fn audit(&self, from: u64, limit: usize) -> BoxFuture<'_, Result<Vec<AuditRecord>, StoreError>> {
        let skip = usize::try_from(from.saturating_sub(1)).unwrap_or(usize::MAX);
        let page = self.state.lock().audit.iter().skip(skip).take(limit).cloned().collect();
        Box::pin(std::future::ready(Ok(page)))
    }

    fn sweep(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<usize, StoreError>> {
        let mut state = self.state.lock();
        let gone: Vec<_> = state
            .records
            .range(Key::EXPIRING.to_vec()..)
            .take_while(|(key, _)| key.starts_with(Key::EXPIRING))
            .filter(|(_, stored)| ledger::expired(stored.expires, now))
            .take(limit)
            .map(|(key, _)| key.clone())
            .collect();
        for key in &gone {
            state.records.remove(key);
            state.head.revision += 1;
        }
        Box::pin(std::future::ready(Ok(gone.len())))
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Box<dyn Snapshot>, StoreError>> {
        let state = self.state.lock().clone();
        let records = state.records.into_iter().map(|(key, stored)| {
            Entry::Record(Record {
                key: Key::from_octets(&key),
                version: stored.version,
                expires: stored.expires,
                value: stored.value,
            })
        });
        let entries = state.audit.into_iter().map(Entry::Audit).chain(records);
        let snapshot = MemorySnapshot {
            head: state.head,
            entries: Box::new(entries),
        };
        Box::pin(std::future::ready(Ok(Box::new(snapshot) as Box<dyn Snapshot>)))
    }

    fn status(&self) -> StoreStatus {
        let state = self.state.lock();
        let size: usize = state
            .records
            .iter()
            .map(|(key, stored)| key.len() + stored.value.len())
            .sum();
        StoreStatus {
            kind: "memory".into(),
            location: "memory".into(),
            revision: state.head.revision,
            audit_sequence: state.head.audit_sequence,
            size: size as u64,
            queue: 0,
            error: None,
        }
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.state.lock().closed = true;
        Box::pin(std::future::ready(Ok(())))
    }
}

struct MemorySnapshot {
    head: Head,
    entries: Box<dyn Iterator<Item = Entry> + Send>,
}

impl Snapshot for MemorySnapshot {
    fn head(&self) -> &Head {
        &self.head
    }

    fn next(&mut self, limit: usize) -> BoxFuture<'_, Result<Vec<Entry>, StoreError>> {
        let piece = self.entries.by_ref().take(limit.max(1)).collect();
        Box::pin(std::future::ready(Ok(piece)))
    }
}
