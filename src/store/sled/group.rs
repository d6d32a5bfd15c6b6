//! Batches that were decided but are not in the tree yet, and the state that decides the next ones.

use std::collections::HashMap;
use std::sync::Arc;

use ::sled::IVec;
use tokio::sync::oneshot;

use super::super::ledger::Head;
use super::super::{AuditRecord, StoreError};

/// What a key holds after a group.
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
    /// The head after the last batch.
    pub(super) head: Head,
    /// Those who wait until it is durable.
    pub(super) waiters: Vec<Waiter>,
    /// Room it takes of what may wait for the tree.
    pub(super) weight: usize,
}

impl Group {
    pub(super) fn is_empty(&self) -> bool {
        self.weight == 0 && self.waiters.is_empty()
    }

    /// Takes in a group that came after this one.
    pub(super) fn merge(&mut self, later: Self) {
        self.slots.extend(later.slots);
        self.audit.extend(later.audit);
        self.head = later.head;
        self.waiters.extend(later.waiters);
        self.weight += later.weight;
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

/// What the next batch is decided against, besides the tree. A batch goes from `pending` to `writing`,
/// `settled`, `applying`, and then to the tree; newer ones are before older ones.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Where the store stands, all pending batches included.
    pub(super) head: Head,
    /// Decided, visible, not yet taken by the writer.
    pub(super) pending: Group,
    /// Being written to the journal, or what could not be written.
    pub(super) writing: Option<Arc<Group>>,
    /// In the journal, thus durable; not yet on the way to the tree.
    pub(super) settled: Group,
    /// Being brought into the tree, or what could not be.
    pub(super) applying: Option<Arc<Group>>,
    /// How many wait for what is being written.
    pub(super) in_flight: usize,
    /// How many groups have reached the journal.
    pub(super) journalled: u64,
    /// How many times the tree was handed what had settled. The journal changes files with it.
    pub(super) handed: u64,
    /// How many times what had been handed over was in the tree, on disk, and left `applying`.
    pub(super) retired: u64,
    /// What has settled is to go to the tree as soon as that can take it.
    pub(super) wanted: bool,
    /// The last revision that was handed over.
    pub(super) handed_up_to: u64,
    /// Everything up to this revision is to go to the tree as soon as that can take it.
    pub(super) checkpoint: u64,
    /// The journal's file in use holds so much that nothing is added before a hand-over.
    pub(super) full: bool,
    /// What the writer is doing.
    pub(super) rest: Rest,
    /// The writer has ended.
    pub(super) written_out: bool,
    /// Why nothing can be written any more.
    pub(super) failed: Option<StoreError>,
    /// No further commits.
    pub(super) closing: bool,
}

impl State {
    /// What is known of a key without the tree.
    pub(super) fn slot(&self, key: &[u8]) -> Option<&Slot> {
        let newest_first = [
            Some(&self.pending),
            self.writing.as_deref(),
            Some(&self.settled),
            self.applying.as_deref(),
        ];
        newest_first
            .into_iter()
            .flatten()
            .find_map(|group| group.slots.get(key))
    }

    /// All slots that are not known to be in the tree, newer ones last.
    pub(super) fn slots(&self) -> impl Iterator<Item = (&IVec, &Slot)> {
        self.oldest_first().flat_map(|group| &group.slots)
    }

    /// All audit records that are not known to be in the tree, from a sequence number on, in order.
    pub(super) fn audit(&self, from: u64) -> impl Iterator<Item = &AuditRecord> {
        self.oldest_first().flat_map(move |group| {
            let start = group.audit.partition_point(|record| record.sequence < from);
            group.audit.get(start..).unwrap_or_default()
        })
    }

    fn oldest_first(&self) -> impl Iterator<Item = &Group> {
        let groups = [
            self.applying.as_deref(),
            Some(&self.settled),
            self.writing.as_deref(),
            Some(&self.pending),
        ];
        groups.into_iter().flatten()
    }

    /// Hands what has settled to the tree, if that is wanted and possible now; tells whether it did. Not
    /// while a group is being written: all that stands in a file of the journal goes together, so that
    /// the file is free afterwards.
    pub(super) fn hand_over(&mut self) -> bool {
        let possible = self.writing.is_none() && self.applying.is_none() && !self.settled.is_empty();
        let due = self.wanted || self.checkpoint > self.handed_up_to;
        if !due || !possible {
            return false;
        }
        let next = Group {
            // It will become about as large: spare it the growing.
            slots: HashMap::with_capacity(self.settled.slots.len()),
            ..Group::default()
        };
        self.handed += 1;
        self.handed_up_to = self.settled.head.revision;
        self.applying = Some(Arc::new(std::mem::replace(&mut self.settled, next)));
        self.wanted = false;
        self.full = false;
        true
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
