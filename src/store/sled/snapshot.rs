//! A look at the whole tree as of one moment while it goes on changing.
//!
//! Sled has none. So while one is open, the writer keeps what it overwrites in the part that was not
//! read yet, and the reader puts that back over what it finds.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use ::sled::IVec;
use parking_lot::Mutex;

use super::super::archive::Pin;
use super::super::{Entry, Head, Record, Snapshot, StoreError};
use super::format::{self, AFTER_AUDIT, ARCHIVE, HEAD, PRUNED};
use super::group::Group;
use super::shared::{Shared, guarded, unreadable};
use crate::engine::BoxFuture;
use crate::engine::batch::{Key, Version};

/// What an open snapshot must know of changes.
#[derive(Debug, Default)]
pub(super) struct Undo {
    state: Mutex<UndoState>,
}

#[derive(Debug, Default)]
struct UndoState {
    /// Everything was read.
    done: bool,
    /// All keys up to this one were read.
    read: Option<IVec>,
    /// What the others held before they were overwritten; `None` for nothing.
    before: BTreeMap<IVec, Option<IVec>>,
}

impl Undo {
    /// Keeps what a group is about to overwrite. Its audit records and the head do not matter: they are
    /// told by their numbers.
    pub(super) fn keep(&self, group: &Group, db: &::sled::Db) -> ::sled::Result<()> {
        let mut state = self.state.lock();
        if state.done {
            return Ok(());
        }
        for key in group.slots.keys() {
            if state.read.as_ref().is_some_and(|read| key <= read) || state.before.contains_key(key) {
                continue;
            }
            let octets = db.get(key)?;
            state.before.insert(key.clone(), octets);
        }
        Ok(())
    }

    /// Puts back what a piece of the tree held, and lets the writer forget that part. `last` is the last
    /// key of the piece, `None` at the end of the tree.
    fn restore(&self, piece: Vec<(IVec, IVec)>, last: Option<IVec>) -> BTreeMap<IVec, IVec> {
        let mut state = self.state.lock();
        let later = match &last {
            Some(last) => {
                let mut later = state.before.split_off(last);
                if let Some(octets) = later.remove(last) {
                    state.before.insert(last.clone(), octets);
                }
                later
            }
            None => BTreeMap::new(),
        };
        let before = std::mem::replace(&mut state.before, later);
        state.done = last.is_none();
        state.read = last;
        drop(state);
        let mut merged: BTreeMap<_, _> = piece.into_iter().collect();
        for (key, octets) in before {
            match octets {
                Some(octets) => merged.insert(key, octets),
                None => merged.remove(&key),
            };
        }
        merged
    }
}

/// An open snapshot of the tree.
pub(super) struct TreeSnapshot {
    shared: Arc<Shared>,
    undo: Arc<Undo>,
    head: Head,
    /// The next audit record to give; none when all were given.
    audit: Option<u64>,
    last: Option<IVec>,
    done: bool,
    /// Retention must not take away what was not read yet.
    _pin: Pin,
}

impl TreeSnapshot {
    /// Opens a snapshot of what is in the tree.
    pub(super) fn open(shared: Arc<Shared>) -> Result<Self, StoreError> {
        let undo = Arc::new(Undo::default());
        let pin = shared.archive.pin();
        let mut snapshots = shared.snapshots.lock();
        let octets = guarded(|| shared.db.get(HEAD))?;
        let head = octets.and_then(|octets| format::decode_head(&octets).ok().flatten());
        let head = head.ok_or_else(|| StoreError("its head does not read".into()))?;
        snapshots.push(Arc::downgrade(&undo));
        drop(snapshots);
        Ok(Self {
            shared,
            undo,
            head,
            audit: Some(0),
            last: None,
            done: false,
            _pin: pin,
        })
    }

    /// The next audit records; before the first what retention has left of those that are gone.
    async fn audit(&mut self, from: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        if from == 0 {
            let anchor = self.shared.archive.anchor();
            let gone = anchor.as_ref().map_or(0, |anchor| anchor.last.sequence);
            self.audit = Some(gone + 1);
            if let Some(anchor) = anchor {
                return Ok(vec![Entry::Record(Record {
                    key: Key::from_octets(PRUNED),
                    version: Version(0),
                    expires: None,
                    value: anchor.encode(),
                })]);
            }
        }
        let from = from.max(1);
        let shared = Arc::clone(&self.shared);
        let read = tokio::task::spawn_blocking(move || shared.audit(from, limit)).await;
        let mut records = read.unwrap_or_else(|error| Err(StoreError(error.to_string())))?;
        if records.first().is_some_and(|record| record.sequence != from) {
            return Err(StoreError(
                "audit records were taken away while it was being read".into(),
            ));
        }
        records.retain(|record| record.sequence <= self.head.audit_sequence);
        self.audit = records.last().map(|record| record.sequence + 1);
        Ok(records.into_iter().map(Entry::Audit).collect())
    }

    fn piece(&mut self, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        while entries.is_empty() && !self.done {
            let start = self.last.as_deref().unwrap_or(AFTER_AUDIT);
            let start = match &self.last {
                Some(_) => Bound::Excluded(start),
                None => Bound::Included(start),
            };
            let range = self.shared.db.range::<&[u8], _>((start, Bound::Unbounded));
            let piece: Vec<_> = guarded(|| range.take(limit.max(1)).collect::<Result<_, _>>())?;
            self.last = piece.last().map(|(key, _)| key.clone());
            self.done = self.last.is_none();
            for (key, octets) in self.undo.restore(piece, self.last.clone()) {
                Self::decode(&key, &octets, &mut entries).ok_or_else(unreadable)?;
            }
        }
        Ok(entries)
    }

    fn decode(key: &[u8], octets: &[u8], entries: &mut Vec<Entry>) -> Option<()> {
        if [HEAD, ARCHIVE, PRUNED].contains(&key) {
            return Some(());
        }
        let record = format::decode(octets)?;
        entries.push(Entry::Record(Record {
            key: Key::from_octets(key),
            version: Version(record.version),
            expires: record.expires,
            value: record.value.to_vec(),
        }));
        Some(())
    }
}

impl Snapshot for TreeSnapshot {
    fn head(&self) -> &Head {
        &self.head
    }

    fn next(&mut self, limit: usize) -> BoxFuture<'_, Result<Vec<Entry>, StoreError>> {
        Box::pin(async move {
            if let Some(from) = self.audit {
                let piece = self.audit(from, limit.max(1)).await?;
                if !piece.is_empty() {
                    return Ok(piece);
                }
            }
            self.piece(limit)
        })
    }
}
