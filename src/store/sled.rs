//! A store in a sled database on the local disk.
//!
//! A commit is decided at once, under a short lock: the versions it expects are compared with what
//! pending batches and the tree hold, it gets the next revision, its audit records are linked, and from
//! then on every reader sees it. One thread, the writer, takes all that is pending as one change of the
//! tree, flushes it, syncs the file, and answers everybody who waits for durability. While it does that,
//! the next group fills. So the cost of a sync is shared by all who wait, and no commit that only has to
//! be visible waits for the disk or for another thread.
//!
//! `docs/decisions/0002-sled-store.md` tells why.

mod archiver;
mod check;
mod format;
mod group;
mod hold;
mod load;
mod open;
mod shared;
mod snapshot;
mod tip;
mod writer;

use std::path::Path;
use std::sync::Arc;

use ::sled::IVec;
use parking_lot::Mutex;

pub use self::archiver::Archiving;
pub(super) use self::format::PRUNED;
pub(super) use self::hold::Hold;
pub(super) use self::load::Loader;
pub use self::open::OpenError;
pub(super) use self::open::{exists, sync_folder};
use self::shared::{Shared, unreadable};
use self::snapshot::TreeSnapshot;
use super::archive::Archive;
use super::archive::seal::Anchor;
use super::ledger;
use super::{AuditRecord, CommitError, Cut, Durability, Found, Page, Snapshot, Store, StoreError, StoreStatus};
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
    writer: Option<std::thread::JoinHandle<()>>,
    /// Looks for damage; absent where all was looked at before.
    checker: Option<std::thread::JoinHandle<()>>,
    archiver: Option<std::thread::JoinHandle<()>>,
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
    /// Reads some of the records, so that damage shows now, and the rest on a thread of its own, which tells the log
    /// and [`StoreStatus::error`]. Blocks; call it before serving, or on a thread of its own.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong and what to do.
    pub fn open(path: &Path, cache_bytes: u64, keyring: Arc<Keyring>) -> Result<Arc<Self>, OpenError> {
        Self::open_with(path, cache_bytes, keyring, Archiving::default())
    }

    /// As [`SledStore::open`], with settings of when audit records go to the archive.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong and what to do.
    pub fn open_with(
        path: &Path,
        cache_bytes: u64,
        keyring: Arc<Keyring>,
        archiving: Archiving,
    ) -> Result<Arc<Self>, OpenError> {
        let mut opened = open::open(path, cache_bytes, &keyring)?;
        let unchecked = opened.unchecked.take();
        let (shared, tip) = Shared::new(path, opened, keyring);
        let shared = Arc::new(shared);
        let writing = Arc::clone(&shared);
        let writer = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer::run(&writing, tip))
            .map_err(|error| OpenError::Io(path.to_owned(), error))?;
        let io_error = |error| OpenError::Io(path.to_owned(), error);
        let checker = unchecked.map(|from| check::rest(Arc::clone(&shared), from));
        let checker = checker.transpose().map_err(io_error)?;
        let working = Arc::clone(&shared);
        let archiver = std::thread::Builder::new()
            .name("store-archiver".into())
            .spawn(move || archiver::run(&working, archiving))
            .map_err(|error| OpenError::Io(path.to_owned(), error))?;
        Ok(Arc::new(Self {
            shared,
            writer: Some(writer),
            checker,
            archiver: Some(archiver),
            swept: Mutex::default(),
        }))
    }
}

impl SledStore {
    /// The last revision that is known to be on disk of the store in a folder, without opening it.
    ///
    /// # Errors
    /// When that is not to be found.
    pub(super) fn revision(path: &Path) -> Result<u64, OpenError> {
        open::revision(path)
    }

    /// Whether the store in a folder was written with this key.
    ///
    /// # Errors
    /// When that is not to be found out.
    pub(super) fn is_of(path: &Path, keyring: &Arc<Keyring>) -> Result<bool, OpenError> {
        match open::open(path, 1 << 20, keyring) {
            Ok(_) => Ok(true),
            Err(OpenError::WrongKey { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        self.shared.begin_close();
        if let Some(archiver) = &self.archiver {
            archiver.thread().unpark();
        }
        let threads = [self.archiver.take(), self.writer.take(), self.checker.take()];
        for thread in threads.into_iter().flatten() {
            // They catch panics; there is nothing to learn from their end.
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
        let from = from.max(1);
        if from > self.shared.archive.through() {
            let page = self.shared.audit(from, limit);
            return Box::pin(std::future::ready(page));
        }
        let shared = Arc::clone(&self.shared);
        Box::pin(blocking(move || shared.audit(from, limit)))
    }

    fn archive(&self) -> Option<Arc<Archive>> {
        Some(Arc::clone(&self.shared.archive))
    }

    fn prune_audit(&self, cut: Cut) -> BoxFuture<'_, Result<Anchor, StoreError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(blocking(move || {
            if shared.archive.is_pinned() {
                return Err(StoreError("an export is under way; try again when it is done".into()));
            }
            let last = shared.archive.end_of(cut.through)?;
            let anchor = Anchor::sign(&shared.keyring, last, cut.latest, cut.event.at, cut.event.actor.clone());
            archiver::prune(&shared, anchor.clone(), &cut.event)?;
            Ok(anchor)
        }))
    }

    fn sweep(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<usize, StoreError>> {
        Box::pin(self.sweep_some(now, limit))
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Box<dyn Snapshot>, StoreError>> {
        Box::pin(async {
            self.shared.settle().await?;
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
            // The sender lives in `shared`, so waiting cannot fail.
            let _ = self.shared.done.subscribe().wait_for(|done| *done).await;
            let failed = self.shared.state.lock().failed.clone();
            failed.map_or(Ok(()), Err)
        })
    }
}

/// Does work that may wait for the disk where that holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(StoreError(error.to_string())))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn put(name: &str) -> Batch {
        Batch {
            write: vec![(Key::from_octets(name.as_bytes()), Change::Put(b"1".to_vec(), None))],
            ..Batch::default()
        }
    }

    fn waiting(store: &SledStore) -> usize {
        store.status().queue
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn commits_share_syncs_and_visible_ones_need_none() {
        let folder = tempfile::tempdir().unwrap();
        let keyring = Arc::new(Keyring::from_root(&[1; 32]));
        let store = SledStore::open(&folder.path().join("store"), 1 << 20, keyring).unwrap();

        // Holds the writer up before it changes the tree.
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (ready, is_held) = tokio::sync::oneshot::channel();
        let shared = Arc::clone(&store.shared);
        let holder = std::thread::spawn(move || {
            let snapshots = shared.snapshots.lock();
            ready.send(()).unwrap();
            held.recv().unwrap();
            drop(snapshots);
        });
        is_held.await.unwrap();

        let commits: Vec<_> = (0..32)
            .map(|number| {
                let store = Arc::clone(&store);
                tokio::spawn(async move { store.commit(put(&format!("u/{number}")), Durability::Durable).await })
            })
            .collect();
        while waiting(&store) < 32 {
            tokio::task::yield_now().await;
        }
        store.commit(put("u/visible"), Durability::Visible).await.unwrap();
        let found = store
            .read(&[Key::from_octets(b"u/visible")], Timestamp::default())
            .await
            .unwrap();
        assert_eq!(found[0].value.as_deref(), Some(&b"1"[..]));
        assert_eq!(waiting(&store), 32);

        release.send(()).unwrap();
        holder.join().unwrap();
        for commit in commits {
            commit.await.unwrap().unwrap();
        }
        // The first one may have been alone; all others came while that one was held up.
        assert!(store.shared.state.lock().retired <= 2);
    }
}
