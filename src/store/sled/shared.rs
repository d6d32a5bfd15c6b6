//! Reading, and deciding batches.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};

use ::sled::IVec;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{Semaphore, oneshot, watch};

use super::super::archive::Archive;
use super::super::ledger;
use super::super::{AuditRecord, CommitError, Durability, Found, StoreError, StoreStatus};
use super::format;
use super::group::{Group, Slot, State};
use super::open::Opened;
use super::snapshot::Undo;
use super::tip::Tip;
use crate::clock::Timestamp;
use crate::engine::batch::{Batch, Change, Key, Version, Versioned};
use crate::keyring::Keyring;

/// What the store and its writer share.
pub(super) struct Shared {
    pub(super) path: PathBuf,
    pub(super) keyring: Arc<Keyring>,
    pub(super) db: ::sled::Db,
    pub(super) archive: Arc<Archive>,
    pub(super) file: File,
    pub(super) state: Mutex<State>,
    /// Tells the writer that there is work.
    pub(super) work: Condvar,
    /// Room for batches that wait for the writer, in units of [`UNIT`].
    pub(super) room: Semaphore,
    /// Held while the tree changes, so that snapshots begin between two groups.
    pub(super) snapshots: Mutex<Vec<Weak<Undo>>>,
    pub(super) done: watch::Sender<bool>,
    /// What a look at all records has found.
    pub(super) damage: OnceLock<String>,
}

/// Comes when a commit is durable or has failed.
type Answer = oneshot::Receiver<Result<(), StoreError>>;

/// A batch with all the work done that needs no lock.
struct Prepared {
    expect: Vec<(Key, Version)>,
    /// Keys with encoded octets, `None` to remove.
    write: Vec<(IVec, Option<Vec<u8>>)>,
    audit: Vec<Vec<u8>>,
    weight: u32,
}

impl Shared {
    pub(super) fn new(path: &Path, opened: Opened, keyring: Arc<Keyring>) -> (Self, Tip) {
        let state = State {
            head: opened.head,
            ..State::default()
        };
        let shared = Self {
            path: path.to_owned(),
            keyring,
            db: opened.db,
            archive: Arc::new(opened.archive),
            file: opened.file,
            state: Mutex::new(state),
            work: Condvar::new(),
            room: Semaphore::new(ROOM),
            snapshots: Mutex::default(),
            done: watch::Sender::new(false),
            damage: OnceLock::new(),
        };
        (shared, opened.tip)
    }

    pub(super) fn read(&self, keys: &[Key], now: Timestamp) -> Result<Vec<Found>, StoreError> {
        let found = |key: &Key| {
            let slot = self.state.lock().slot(key.as_octets()).cloned();
            let octets = match slot {
                Some(slot) => slot.octets,
                None if ledger::own(key.as_octets()) => None,
                None => guarded(|| self.db.get(key.as_octets()))?,
            };
            let Some(octets) = octets else {
                return Ok(Found::default());
            };
            let record = format::decode(&octets).ok_or_else(unreadable)?;
            Ok(Versioned {
                value: (!ledger::expired(record.expires, now)).then(|| record.value.to_vec()),
                version: Version(record.version),
            })
        };
        keys.iter().map(found).collect()
    }

    pub(super) async fn commit(&self, batch: Batch, durability: Durability) -> Result<Version, CommitError> {
        let prepared = prepare(batch)?;
        let Ok(room) = self.room.acquire_many(prepared.weight).await else {
            let refusal = self.state.lock().refusal();
            return Err(refusal.unwrap_or_else(stopped).into());
        };
        let (version, durable) = self.decide(prepared, durability)?;
        // The writer gives the room back when the batch is on disk.
        room.forget();
        match durable {
            Some(durable) => match durable.await {
                Ok(Ok(())) => Ok(version),
                Ok(Err(error)) => Err(error.into()),
                Err(_) => Err(stopped().into()),
            },
            None => Ok(version),
        }
    }

    /// Decides a batch: from here on it is visible.
    fn decide(&self, prepared: Prepared, durability: Durability) -> Result<(Version, Option<Answer>), CommitError> {
        let mut guard = loop {
            let (retired, stored) = self.stored_versions(&prepared.expect)?;
            let guard = self.state.lock();
            if let Some(refusal) = guard.refusal() {
                return Err(refusal.into());
            }
            // What a group wrote that retired meanwhile is in no slot any more: look again.
            let current = guard.retired == retired;
            let mut known = true;
            for ((key, expected), stored) in prepared.expect.iter().zip(&stored) {
                match guard.slot(key.as_octets()) {
                    Some(slot) if slot.version() != expected.0 => return Err(CommitError::Conflict),
                    Some(_) => {}
                    None if !current => known = false,
                    None if *stored != expected.0 => return Err(CommitError::Conflict),
                    None => {}
                }
            }
            if known {
                break guard;
            }
        };
        let state = &mut *guard;
        state.head.revision += 1;
        let revision = state.head.revision;
        for (key, octets) in prepared.write {
            let octets = octets.map(|mut octets| {
                format::stamp(&mut octets, revision);
                IVec::from(octets)
            });
            let slot = Slot {
                written: revision,
                octets,
            };
            state.pending.slots.insert(key, slot);
        }
        for body in prepared.audit {
            let record = state.head.append(&self.keyring, body);
            state.pending.audit.push(record);
        }
        state.pending.weight += prepared.weight as usize;
        let durable = match durability {
            Durability::Durable => {
                let (waiter, durable) = oneshot::channel();
                state.pending.waiters.push(waiter);
                Some(durable)
            }
            Durability::Visible => None,
        };
        let wake = state.wake();
        drop(guard);
        if wake {
            self.work.notify_one();
        }
        Ok((Version(revision), durable))
    }

    /// Versions in the tree, and how many groups had retired before.
    fn stored_versions(&self, expect: &[(Key, Version)]) -> Result<(u64, Vec<u64>), StoreError> {
        let retired = self.state.lock().retired;
        let version = |(key, _): &(Key, Version)| match guarded(|| self.db.get(key.as_octets()))? {
            Some(octets) => Ok(format::decode(&octets).ok_or_else(unreadable)?.version),
            None => Ok(0),
        };
        let versions = expect.iter().map(version).collect::<Result<_, StoreError>>()?;
        Ok((retired, versions))
    }

    /// Keys with encoded octets under `prefix`.
    pub(super) fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(IVec, IVec)>, StoreError> {
        let start = match after {
            Some(key) if key >= prefix => Bound::Excluded(key),
            Some(_) | None => Bound::Included(prefix),
        };
        let inside = |key: &[u8]| {
            let begun = match start {
                Bound::Excluded(start) => key > start,
                Bound::Included(_) | Bound::Unbounded => true,
            };
            begun && key.starts_with(prefix)
        };
        // The slots first: what leaves them meanwhile is in the tree by then.
        let mut recent = BTreeMap::new();
        for (key, slot) in self.state.lock().slots().filter(|(key, _)| inside(key)) {
            recent.insert(key.clone(), slot.clone());
        }
        let removed = recent.values().filter(|slot| slot.octets.is_none()).count();
        let end = ledger::after_prefix(prefix);
        let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let foreign = |item: &::sled::Result<(IVec, IVec)>| item.as_ref().is_ok_and(|(key, _)| ledger::own(key));
        let range = self.db.range::<&[u8], _>((start, end)).filter(|item| !foreign(item));
        let range = range.take(limit.saturating_add(removed));
        let stored: BTreeMap<IVec, IVec> = guarded(|| range.collect::<Result<_, _>>())?;
        let mut merged = stored;
        for (key, slot) in recent {
            let stored = merged.get(&key).and_then(|octets| format::decode(octets));
            if stored.is_some_and(|record| record.version > slot.written) {
                continue;
            }
            match slot.octets {
                Some(octets) => merged.insert(key, octets),
                None => merged.remove(&key),
            };
        }
        Ok(merged.into_iter().take(limit).collect())
    }

    /// Audit records from `from` on, out of the archive and the tree. Blocks when `from` is in the archive.
    pub(super) fn audit(&self, from: u64, limit: usize) -> Result<Vec<AuditRecord>, StoreError> {
        let mut page = Vec::new();
        loop {
            let through = self.archive.through();
            let next = page.last().map_or(from, |record: &AuditRecord| record.sequence + 1);
            if next <= through {
                page.extend(self.archive.read(next, limit - page.len())?);
            }
            let next = page.last().map_or(from, |record: &AuditRecord| record.sequence + 1);
            if page.len() >= limit || next <= through {
                return Ok(page);
            }
            let tail = self.tail(next, limit - page.len())?;
            // What goes to the archive meanwhile is missing here: look there.
            if self.archive.through() == through {
                page.extend(tail);
                return Ok(page);
            }
        }
    }

    /// Audit records from `from` on that are not in the archive.
    fn tail(&self, from: u64, limit: usize) -> Result<Vec<AuditRecord>, StoreError> {
        let recent: Vec<_> = {
            let state = self.state.lock();
            state
                .audit()
                .filter(|record| record.sequence >= from)
                .take(limit)
                .cloned()
                .collect()
        };
        let mut page = Vec::new();
        let key = format::audit_key(from);
        // Records that were written together lie under the first one's number.
        let first = guarded(|| self.db.range(format::AUDIT..=&*key).next_back().transpose())?;
        let first = first.map_or(key, |(key, _)| key);
        for item in self.db.range(&*first..format::AFTER_AUDIT) {
            if page.len() >= limit {
                break;
            }
            let (key, octets) = guarded(|| item)?;
            let records = format::unpack_audit(&key, &octets).ok_or_else(unreadable)?;
            page.extend(records.into_iter().filter(|record| record.sequence >= from));
        }
        let next = page.last().map_or(from, |record: &AuditRecord| record.sequence + 1);
        page.extend(recent.into_iter().filter(|record| record.sequence >= next));
        page.truncate(limit);
        Ok(page)
    }

    /// Changes keys of the store's own and appends audit records, and waits until that is durable. Blocks; not for
    /// the runtime.
    pub(super) fn maintain(&self, own: Vec<(IVec, Option<IVec>)>, audit: Vec<Vec<u8>>) -> Result<(), StoreError> {
        let durable = {
            let mut guard = self.state.lock();
            let state = &mut *guard;
            if let Some(refusal) = state.refusal() {
                return Err(refusal);
            }
            state.head.revision += 1;
            for body in audit {
                let record = state.head.append(&self.keyring, body);
                state.pending.audit.push(record);
            }
            state.pending.own.extend(own);
            let (waiter, durable) = oneshot::channel();
            state.pending.waiters.push(waiter);
            state.wake();
            durable
        };
        self.work.notify_one();
        durable.blocking_recv().unwrap_or_else(|_| Err(stopped()))
    }

    /// Changes the tree.
    pub(super) fn apply(&self, group: &Group) -> ::sled::Result<()> {
        let mut snapshots = self.snapshots.lock();
        snapshots.retain(|undo| undo.strong_count() > 0);
        for undo in snapshots.iter().filter_map(Weak::upgrade) {
            undo.keep(group, &self.db)?;
        }
        self.db.apply_batch(group.to_batch())
    }

    /// Waits until everything that is visible now is durable.
    pub(super) async fn settle(&self) -> Result<(), StoreError> {
        let durable = {
            let mut state = self.state.lock();
            if let Some(refusal) = state.failed.clone() {
                return Err(refusal);
            }
            if state.closing || state.pending.is_empty() && state.writing.is_none() {
                None
            } else {
                let (waiter, durable) = oneshot::channel();
                state.pending.waiters.push(waiter);
                state.wake();
                Some(durable)
            }
        };
        match durable {
            Some(durable) => {
                self.work.notify_one();
                durable.await.unwrap_or_else(|_| Err(stopped()))
            }
            None if self.state.lock().closing => {
                let _ = self.done.subscribe().wait_for(|done| *done).await;
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(super) fn begin_close(&self) {
        self.state.lock().closing = true;
        self.work.notify_one();
    }

    pub(super) fn status(&self) -> StoreStatus {
        let size = guarded(|| self.db.size_on_disk()).unwrap_or_default() + self.archive.size();
        let state = self.state.lock();
        StoreStatus {
            kind: "sled".into(),
            location: self.path.display().to_string(),
            revision: state.head.revision,
            audit_sequence: state.head.audit_sequence,
            size,
            queue: state.pending.waiters.len() + state.in_flight,
            error: state
                .failed
                .as_ref()
                .map(|error| error.0.clone())
                .or_else(|| self.damage.get().map(|reason| format!("it is damaged: {reason}"))),
        }
    }
}

fn prepare(batch: Batch) -> Result<Prepared, StoreError> {
    let audit = ledger::check(&batch)?;
    let mut octets: usize = audit.iter().map(|body| body.len() + PER_ENTRY).sum();
    let mut write = Vec::with_capacity(batch.write.len());
    for (key, change) in batch.write {
        let encoded = match change {
            Change::Put(value, expires) => Some(format::encode(&value, expires)),
            Change::Delete => None,
        };
        octets += key.as_octets().len() + encoded.as_ref().map_or(0, Vec::len) + PER_ENTRY;
        write.push((IVec::from(key.as_octets()), encoded));
    }
    let weight = (octets / UNIT + 1).min(ROOM);
    Ok(Prepared {
        expect: batch.expect,
        write,
        audit,
        weight: u32::try_from(weight).unwrap_or(u32::MAX),
    })
}

/// Calls into sled, which panics on some damage, and words its errors.
pub(super) fn guarded<T>(call: impl FnOnce() -> ::sled::Result<T>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(StoreError(error.to_string())),
        Err(panic) => Err(panicked(panic.as_ref())),
    }
}

/// What a panic said.
pub(super) fn panicked(panic: &(dyn Any + Send)) -> StoreError {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    StoreError(format!("the database gave up: {}", text.unwrap_or("no reason given")))
}

/// The writer ended without a reason, which takes a panic outside of sled.
fn stopped() -> StoreError {
    StoreError("its writer has stopped".into())
}

/// A record whose octets make no sense.
pub(super) fn unreadable() -> StoreError {
    StoreError("a record does not read".into())
}

/// The measure of what may wait for the writer, in octets.
const UNIT: usize = 256;

/// How much may wait for the writer: 4 MiB, thousands of ordinary batches. Further commits wait their
/// turn before they are decided, so memory and the size of one change of the tree stay bounded.
const ROOM: usize = 4 * 1024 * 1024 / UNIT;

/// What an entry takes besides its octets.
const PER_ENTRY: usize = 96;
