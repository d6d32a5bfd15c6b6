//! The thread that brings into the tree what is in the journal.
//!
//! The tree is written seldom: what was written many times is written once, and audit records lie together
//! in large values. It is done in small batches, because sled lets nobody read while it applies one, and
//! because its log must be synced often, see [`BATCH_OCTETS`]; the head comes last. A tree that was left
//! in between is no harm: the journal holds everything above its head still.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ::sled::IVec;

use super::super::StoreError;
use super::format;
use super::group::Group;
use super::shared::{self, Shared};

/// Brings to the tree what is handed over, until the store closes or a write fails.
pub(super) fn run(shared: &Shared) {
    while let Some(group) = next_group(shared) {
        let applied = catch_unwind(AssertUnwindSafe(|| apply(shared, &group)))
            .unwrap_or_else(|panic| Err(shared::panicked(panic.as_ref())));
        match applied {
            Ok(()) => retire(shared, &group),
            Err(error) => shared.fail(error),
        }
    }
    shared.progress.send_modify(|progress| progress.done = true);
}

/// Waits for something to be handed over, and sees to it that nothing waits for that long; `None` when
/// the writer has ended and nothing is left to do.
fn next_group(shared: &Shared) -> Option<Arc<Group>> {
    let mut state = shared.state.lock();
    loop {
        if state.failed.is_some() {
            while !state.written_out {
                shared.tree_work.wait(&mut state);
            }
            return None;
        }
        state.wanted |= state.written_out;
        if state.hand_over() {
            // The writer may wait for the journal's other file.
            shared.work.notify_one();
        }
        if let Some(group) = &state.applying {
            return Some(Arc::clone(group));
        }
        if state.written_out {
            return None;
        }
        if state.settled.is_empty() {
            shared.tree_work.wait(&mut state);
        } else if shared.tree_work.wait_for(&mut state, PATIENCE).timed_out() {
            state.wanted = true;
        }
    }
}

/// Brings a group into the tree and that to disk.
fn apply(shared: &Shared, group: &Group) -> Result<(), StoreError> {
    let failed = |error: &dyn std::fmt::Display| shared.cannot_write(error);
    let mut snapshots = shared.snapshots.lock();
    snapshots.retain(|undo| undo.strong_count() > 0);
    for undo in snapshots.iter().filter_map(Weak::upgrade) {
        undo.keep(group, &shared.db).map_err(|error| failed(&error))?;
    }
    write(&shared.db, &shared.file, group).map_err(|error| failed(&error))
}

/// Writes a group and syncs it, in batches that each keep readers waiting for a moment only.
pub(super) fn write(db: &::sled::Db, file: &File, group: &Group) -> ::sled::Result<()> {
    let mut entries: Vec<(IVec, Option<IVec>)> = Vec::with_capacity(group.slots.len());
    format::pack_audit(&group.audit, |key, value| entries.push((key, Some(value))));
    let slots = group.slots.iter();
    entries.extend(slots.map(|(key, slot)| (key.clone(), slot.octets.clone())));
    // Neighbours lie on the same pages.
    entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let mut batch = ::sled::Batch::default();
    let mut octets = 0;
    for (key, value) in entries {
        octets += PER_ENTRY + key.len() + value.as_ref().map_or(0, |value| value.len());
        match value {
            Some(value) => batch.insert(key, value),
            None => batch.remove(key),
        }
        if octets >= BATCH_OCTETS {
            write_batch(db, file, std::mem::take(&mut batch))?;
            octets = 0;
        }
    }
    batch.insert(format::HEAD, format::encode_head(&group.head));
    write_batch(db, file, batch)
}

/// Sled's `flush` writes its log without a barrier; only `sync_data` makes the disk keep it.
fn write_batch(db: &::sled::Db, file: &File, batch: ::sled::Batch) -> ::sled::Result<()> {
    db.apply_batch(batch)?;
    db.flush()?;
    Ok(file.sync_data()?)
}

/// Lets go of a group that is in the tree, on disk.
fn retire(shared: &Shared, group: &Group) {
    {
        let mut state = shared.state.lock();
        state.applying = None;
        state.retired += 1;
        shared.room.add_permits(group.weight);
    }
    let revision = group.head.revision;
    shared.progress.send_modify(|progress| progress.stored = revision);
    shared::warn_of_tip(shared.tip.lock().note_stored(revision));
}

/// How long what is in the journal waits for more before it goes to the tree.
const PATIENCE: Duration = Duration::from_secs(1);

/// How much goes to the tree between two syncs: about a millisecond's work.
///
/// Sled's log goes round in segments of 512 KiB. A segment is written over when all its pages were written
/// anew a full segment or more before; sled takes these for safe then, though it never synced them. So
/// they must be synced before its log has grown by a segment: with its overheads, this is half of one.
const BATCH_OCTETS: usize = 64 * 1024;

/// What an entry costs besides its octets.
const PER_ENTRY: usize = 512;
