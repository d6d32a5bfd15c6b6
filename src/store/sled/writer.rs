//! The thread that brings groups of batches to disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::super::StoreError;
use super::group::{Group, Rest, Waiter};
use super::shared::{self, Shared};
use super::tip::Tip;

/// How long a group that nobody waits for may wait for company.
const LINGER: Duration = Duration::from_millis(20);

/// How long a group that follows on a large one waits to grow as large: a flush wakes all of sled's
/// threads, so under load a few large groups cost much less than many small ones.
const GATHER: Duration = Duration::from_micros(1000);

/// From how many waiters on a group counts as large.
const LARGE: usize = 8;

/// Writes groups until the store closes or a write fails.
pub(super) fn run(shared: &Shared, mut tip: Tip) {
    let mut last = 0;
    while let Some((group, waiters)) = next_group(shared, last) {
        last = waiters.len();
        let written = catch_unwind(AssertUnwindSafe(|| write(shared, &group)))
            .unwrap_or_else(|panic| Err(shared::panicked(panic.as_ref())));
        let failed = written.is_err();
        finish(shared, &group, waiters, written);
        if failed {
            break;
        }
        if let Err(error) = tip.write(&group.head) {
            tracing::warn!(%error, "cannot note how far the store has got");
        }
    }
    if let Err(error) = tip.sync() {
        tracing::warn!(%error, "cannot note how far the store has got");
    }
    shared.done.send_replace(true);
}

/// Takes what is pending, and waits for it if need be; `None` when the store closes. `last` is how many
/// waited for the group before.
fn next_group(shared: &Shared, last: usize) -> Option<(Arc<Group>, Vec<Waiter>)> {
    let mut state = shared.state.lock();
    if last >= LARGE && state.pending.waiters.len() < last && !state.closing {
        // Nobody notifies a writer that is awake, so this waits its time out.
        shared.work.wait_for(&mut state, GATHER);
    }
    let mut lingered = false;
    while state.pending.waiters.is_empty() && !state.closing && !lingered {
        if state.pending.is_empty() {
            state.rest = Rest::Idle;
            shared.work.wait(&mut state);
        } else {
            state.rest = Rest::Lingering;
            lingered = shared.work.wait_for(&mut state, LINGER).timed_out();
        }
        state.rest = Rest::Awake;
    }
    if state.pending.is_empty() {
        return None;
    }
    let mut group = std::mem::take(&mut state.pending);
    group.head = state.head;
    let waiters = std::mem::take(&mut group.waiters);
    let group = Arc::new(group);
    state.writing = Some(Arc::clone(&group));
    state.in_flight = waiters.len();
    Some((group, waiters))
}

/// Brings a group to disk. Sled's `flush` writes its log without a barrier; only `sync_data` makes the
/// disk keep it.
fn write(shared: &Shared, group: &Group) -> Result<(), StoreError> {
    let failed =
        |error: &dyn std::fmt::Display| StoreError(format!("cannot write to {}: {error}", shared.path.display()));
    shared.apply(group).map_err(|error| failed(&error))?;
    shared.db.flush().map_err(|error| failed(&error))?;
    shared.file.sync_data().map_err(|error| failed(&error))
}

/// Lets go of a written group and answers those who wait. After a failure the group stays, because its
/// batches were visible already, and nothing follows.
fn finish(shared: &Shared, group: &Group, waiters: Vec<Waiter>, written: Result<(), StoreError>) {
    let mut abandoned = Vec::new();
    {
        let mut state = shared.state.lock();
        state.in_flight = 0;
        match &written {
            Ok(()) => {
                state.writing = None;
                state.retired += 1;
                shared.room.add_permits(group.weight);
            }
            Err(error) => {
                tracing::error!(%error, "the store refuses all commits until restart");
                state.failed = Some(error.clone());
                abandoned = std::mem::take(&mut state.pending.waiters);
                shared.room.close();
            }
        }
    }
    for waiter in waiters.into_iter().chain(abandoned) {
        // Whoever waited may have gone: a dropped request.
        let _ = waiter.send(written.clone());
    }
}
