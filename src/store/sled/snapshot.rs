//! A look at the whole tree as of one moment while it goes on changing.
//!
//! Sled has none. So while one is open, the writer keeps what it overwrites in the part that was not
//! read yet, and the reader puts that back over what it finds.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use ::sled::IVec;
use parking_lot::Mutex;

use super::super::{Entry, Head, Record, Snapshot, StoreError};
use super::format::{self, AUDIT, HEAD};
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
    last: Option<IVec>,
    done: bool,
}

impl TreeSnapshot {
    /// Opens a snapshot of what is in the tree.
    pub(super) fn open(shared: Arc<Shared>) -> Result<Self, StoreError> {
        let undo = Arc::new(Undo::default());
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
            last: None,
            done: false,
        })
    }

    fn piece(&mut self, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        while entries.is_empty() && !self.done {
            let start = self.last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let range = self.shared.db.range::<&IVec, _>((start, Bound::Unbounded));
            let piece: Vec<_> = guarded(|| range.take(limit.max(1)).collect::<Result<_, _>>())?;
            self.last = piece.last().map(|(key, _)| key.clone());
            self.done = self.last.is_none();
            for (key, octets) in self.undo.restore(piece, self.last.clone()) {
                self.decode(&key, &octets, &mut entries).ok_or_else(unreadable)?;
            }
        }
        Ok(entries)
    }

    fn decode(&self, key: &[u8], octets: &[u8], entries: &mut Vec<Entry>) -> Option<()> {
        if key == HEAD {
            return Some(());
        }
        if key.starts_with(AUDIT) {
            let records = format::unpack_audit(key, octets)?;
            let known = records
                .into_iter()
                .filter(|record| record.sequence <= self.head.audit_sequence);
            entries.extend(known.map(Entry::Audit));
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
        let piece = self.piece(limit);
        Box::pin(std::future::ready(piece))
    }
}
