//! Batches that were decided but are not on disk yet, and the state that decides the next ones.

use std::collections::HashMap;
use std::sync::Arc;

use ::sled::IVec;
use tokio::sync::oneshot;

use super::super::ledger::Head;
use super::super::{AuditRecord, StoreError};
use super::format;

/// What a key holds after a group is written.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    /// The revision that wrote or removed it.
    pub(super) written: u64,
    /// Encoded octets; `None` when it was removed.
    pub(super) octets: Option<IVec>,
}

impl Slot {
    /// The version a batch must expect.
    pub(super) fn version(&self) -> u64 {
        if self.octets.is_some() { self.written } else { 0 }
    }
}

/// Who waits until a group is durable.
pub(super) type Waiter = oneshot::Sender<Result<(), StoreError>>;

/// Batches that are written to disk together.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) slots: HashMap<IVec, Slot>,
    pub(super) audit: Vec<AuditRecord>,
    /// Keys of the store's own, with encoded octets, or `None` to remove them.
    pub(super) own: Vec<(IVec, Option<IVec>)>,
    /// The head after the last batch.
    pub(super) head: Head,
    /// Those who wait until it is durable.
    pub(super) waiters: Vec<Waiter>,
    /// Room it takes of what may wait, see [`super::ROOM`].
    pub(super) weight: usize,
}

impl Group {
    pub(super) fn is_empty(&self) -> bool {
        self.weight == 0 && self.waiters.is_empty()
    }

    /// The group as one change of the tree: atomic, whatever happens meanwhile.
    pub(super) fn to_batch(&self) -> ::sled::Batch {
        let mut batch = ::sled::Batch::default();
        for (key, slot) in &self.slots {
            match &slot.octets {
                Some(octets) => batch.insert(key.clone(), octets.clone()),
                None => batch.remove(key.clone()),
            }
        }
        for (key, octets) in &self.own {
            match octets {
                Some(octets) => batch.insert(key.clone(), octets.clone()),
                None => batch.remove(key.clone()),
            }
        }
        format::pack_audit(&self.audit, |key, value| batch.insert(key, value));
        batch.insert(format::HEAD, format::encode_head(&self.head));
        batch
    }
}

/// Whether the writer must be notified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Rest {
    /// It is at work and looks for more by itself.
    #[default]
    Awake,
    /// It waits for something to write.
    Idle,
    /// It has something to write that nobody waits for, and gives it time to become more.
    Lingering,
}

/// What the next batch is decided against, besides the tree.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Where the store stands, all pending batches included.
    pub(super) head: Head,
    /// Decided, visible, not yet taken by the writer.
    pub(super) pending: Group,
    /// Being written, or what could not be written.
    pub(super) writing: Option<Arc<Group>>,
    /// How many wait for what is being written.
    pub(super) in_flight: usize,
    /// How many groups have reached the tree and left `writing`.
    pub(super) retired: u64,
    /// What the writer is doing.
    pub(super) rest: Rest,
    /// Why nothing can be written any more.
    pub(super) failed: Option<StoreError>,
    /// No further commits.
    pub(super) closing: bool,
}

impl State {
    /// What is known of a key without the tree.
    pub(super) fn slot(&self, key: &[u8]) -> Option<&Slot> {
        self.pending
            .slots
            .get(key)
            .or_else(|| self.writing.as_ref().and_then(|group| group.slots.get(key)))
    }

    /// All slots that are not known to be in the tree, newer ones last.
    pub(super) fn slots(&self) -> impl Iterator<Item = (&IVec, &Slot)> {
        self.writing
            .iter()
            .flat_map(|group| &group.slots)
            .chain(&self.pending.slots)
    }

    /// All audit records that are not known to be in the tree, in order.
    pub(super) fn audit(&self) -> impl Iterator<Item = &AuditRecord> {
        self.writing
            .iter()
            .flat_map(|group| &group.audit)
            .chain(&self.pending.audit)
    }

    /// Whether the writer must be woken for what was added just now; if so, the caller has to.
    pub(super) fn wake(&mut self) -> bool {
        let wake = match self.rest {
            Rest::Awake => false,
            Rest::Idle => true,
            Rest::Lingering => !self.pending.waiters.is_empty(),
        };
        if wake {
            self.rest = Rest::Awake;
        }
        wake
    }

    /// Why a commit is refused, if it is.
    pub(super) fn refusal(&self) -> Option<StoreError> {
        let closed = || self.closing.then(|| StoreError("it is closed".into()));
        self.failed.clone().or_else(closed)
    }
}
