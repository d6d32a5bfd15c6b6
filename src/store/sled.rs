//! A store in a sled database on the local disk.
//!
//! A commit is decided at once, under a short lock: the versions it expects are compared with what
//! pending batches and the tree hold, it gets the next revision, its audit records are linked, and from
//! then on every reader sees it. One thread, the writer, appends all that is pending as one frame to a
//! journal, syncs that, and answers everybody who waits for durability. While it does that, the next group
//! fills. So the cost of a sync is shared by all who wait, and no commit that only has to be visible waits
//! for the disk or for another thread. A second thread brings what is in the journal into the tree, about
//! once a second or when it is much. Opening a store brings there what the journal holds beyond the tree.
//!
//! `docs/decisions/0002-sled-store.md` tells why.

mod format;
mod frame;
mod group;
mod journal;
mod load;
mod open;
mod replay;
mod shared;
mod snapshot;
#[cfg(test)]
mod tests;
mod tip;
mod tree;
mod writer;

use std::path::Path;
use std::sync::Arc;

use ::sled::IVec;
use parking_lot::Mutex;

pub(super) use self::load::Loader;
pub use self::open::OpenError;
pub(super) use self::open::{exists, sync_folder};
use self::shared::{Shared, unreadable};
use self::snapshot::TreeSnapshot;
use super::ledger;
use super::{AuditRecord, CommitError, Durability, Found, Page, Snapshot, Store, StoreError, StoreStatus};
use crate::clock::Timestamp;
use crate::engine::BoxFuture;
use crate::engine::batch::{Batch, Change, Key, Version};
use crate::keyring::Keyring;

/// A [`Store`] in a sled database.
///
/// One process at a time. Dropping it makes everything durable first and may block for as long as the
/// disk takes; [`Store::close`] does the same without blocking.
pub struct SledStore {
    shared: Arc<Shared>,
    threads: Vec<std::thread::JoinHandle<()>>,
    /// Where the last sweep stopped.
    swept: Mutex<Option<IVec>>,
}

impl std::fmt::Debug for SledStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SledStore")
            .field("path", &self.shared.path)
            .finish_non_exhaustive()
    }
}

impl SledStore {
    /// Opens the store in the folder `path`, or makes one if there is none. `cache_bytes` is the memory
    /// for pages of the tree: with a KiB or so for each active user, decisions need not read the disk.
    ///
    /// Reads all records except the audit's once, so that damage shows now: about three seconds for
    /// a million users. Blocks; call it before serving, or on a thread of its own.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong and what to do.
    pub fn open(path: &Path, cache_bytes: u64, keyring: Arc<Keyring>) -> Result<Arc<Self>, OpenError> {
        let opened = open::open(path, cache_bytes, &keyring)?;
        let shared = Arc::new(Shared::new(path, opened, keyring));
        let mut store = Self {
            shared,
            threads: Vec::new(),
            swept: Mutex::default(),
        };
        store.spawn("store-writer", writer::run)?;
        store.spawn("store-tree", tree::run)?;
        Ok(Arc::new(store))
    }

    fn spawn(&mut self, name: &str, run: fn(&Shared)) -> Result<(), OpenError> {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || run(&shared))
            .map_err(|error| OpenError::Io(self.shared.path.clone(), error))?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        self.shared.begin_close();
        for thread in self.threads.drain(..) {
            // The threads catch panics; there is nothing to learn from their end.
            let _ = thread.join();
        }
    }
}

impl Store for SledStore {
    fn read<'a>(&'a self, keys: &'a [Key], now: Timestamp) -> BoxFuture<'a, Result<Vec<Found>, StoreError>> {
        let found = self.shared.read(keys, now);
        Box::pin(std::future::ready(found))
    }

    fn commit(&self, batch: Batch, durability: Durability) -> BoxFuture<'_, Result<Version, CommitError>> {
        Box::pin(self.shared.commit(batch, durability))
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<&'a Key>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, StoreError>> {
        let page = self.shared.scan(prefix, after.map(Key::as_octets), limit);
        let strip = |page: Vec<(IVec, IVec)>| {
            let strip = |(key, octets): (IVec, IVec)| {
                Ok((
                    Key::from_octets(&key),
                    format::decode(&octets).ok_or_else(unreadable)?.value.to_vec(),
                ))
            };
            page.into_iter().map(strip).collect()
        };
        Box::pin(std::future::ready(page.and_then(strip)))
    }

    fn audit(&self, from: u64, limit: usize) -> BoxFuture<'_, Result<Vec<AuditRecord>, StoreError>> {
        let page = self.shared.audit(from.max(1), limit);
        Box::pin(std::future::ready(page))
    }

    fn sweep(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<usize, StoreError>> {
        Box::pin(self.sweep_some(now, limit))
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Box<dyn Snapshot>, StoreError>> {
        Box::pin(async {
            self.shared.checkpoint().await?;
            let snapshot = TreeSnapshot::open(Arc::clone(&self.shared))?;
            Ok(Box::new(snapshot) as Box<dyn Snapshot>)
        })
    }

    fn status(&self) -> StoreStatus {
        self.shared.status()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async {
            self.shared.begin_close();
            self.shared.closed().await
        })
    }
}

impl SledStore {
    /// Goes round the expiring keys once at most, from where the last sweep stopped.
    async fn sweep_some(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let mut gone = 0;
        let mut seen = 0;
        let mut after = self.swept.lock().clone();
        while seen < SWEEP_READS {
            let page = self.shared.scan(Key::EXPIRING, after.as_deref(), SWEEP_PAGE)?;
            let from_start = after.is_none();
            let at_end = page.len() < SWEEP_PAGE;
            for (key, octets) in page {
                if gone == limit {
                    *self.swept.lock() = after;
                    return Ok(gone);
                }
                let record = format::decode(&octets).ok_or_else(unreadable)?;
                if ledger::expired(record.expires, now) && self.remove(&key, record.version).await? {
                    gone += 1;
                }
                seen += 1;
                after = Some(key);
            }
            if at_end {
                after = None;
                if from_start {
                    break;
                }
            }
        }
        *self.swept.lock() = after;
        Ok(gone)
    }

    /// Removes a key unless it was written again meanwhile.
    async fn remove(&self, key: &[u8], version: u64) -> Result<bool, StoreError> {
        let mut batch = Batch::default();
        batch.replace(Key::from_octets(key), Version(version), Change::Delete);
        match self.shared.commit(batch, Durability::Visible).await {
            Ok(_) => Ok(true),
            Err(CommitError::Conflict) => Ok(false),
            Err(CommitError::Unavailable(error)) => Err(error),
        }
    }
}

/// How many keys a sweep looks at together, and in all.
const SWEEP_PAGE: usize = 256;
const SWEEP_READS: usize = 16_384;
