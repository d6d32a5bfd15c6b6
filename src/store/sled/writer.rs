//! The thread that makes groups of batches durable: it appends them to the journal.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::super::StoreError;
use super::group::{Group, Rest, State, Waiter};
use super::shared::{self, Shared};

/// Writes groups until the store closes or a write fails.
pub(super) fn run(shared: &Shared) {
    while let Some(taken) = next_group(shared) {
        let revision = taken.group.head.revision;
        let written = catch_unwind(AssertUnwindSafe(|| {
            let mut journal = shared.journal.lock();
            journal.write(&taken.group, taken.handed)?;
            Ok(journal.used())
        }));
        let written = match written {
            Ok(written) => written.map_err(|error: std::io::Error| shared.cannot_write(&error)),
            Err(panic) => Err(shared::panicked(panic.as_ref())),
        };
        answer(taken.waiters, written.as_ref().map(|_| ()));
        match written {
            Ok(used) => {
                settle(shared, taken.group, used);
                shared::warn_of_tip(shared.tip.lock().note_durable(revision));
            }
            Err(error) => shared.fail(error),
        }
    }
    shared::warn_of_tip(shared.tip.lock().sync());
    shared.state.lock().written_out = true;
    shared.tree_work.notify_one();
}

/// A group to write.
struct Taken {
    group: Arc<Group>,
    waiters: Vec<Waiter>,
    /// [`State::handed`] by then.
    handed: u64,
}

/// Takes what is pending, and waits for it if need be; `None` when the store closes or has failed.
fn next_group(shared: &Shared) -> Option<Taken> {
    let mut state = shared.state.lock();
    let mut lingered = false;
    while state.failed.is_none() {
        if state.full {
            shared.work.wait(&mut state);
            continue;
        }
        if !state.pending.waiters.is_empty() || state.closing || lingered {
            return take(&mut state);
        }
        if state.pending.is_empty() {
            state.rest = Rest::Idle;
            shared.work.wait(&mut state);
        } else {
            state.rest = Rest::Lingering;
            lingered = shared.work.wait_for(&mut state, LINGER).timed_out();
        }
        state.rest = Rest::Awake;
    }
    None
}

fn take(state: &mut State) -> Option<Taken> {
    if state.pending.is_empty() {
        return None;
    }
    let mut group = std::mem::take(&mut state.pending);
    group.head = state.head;
    let waiters = std::mem::take(&mut group.waiters);
    let group = Arc::new(group);
    state.writing = Some(Arc::clone(&group));
    state.in_flight = waiters.len();
    Some(Taken {
        group,
        waiters,
        handed: state.handed,
    })
}

fn answer(waiters: Vec<Waiter>, written: Result<(), &StoreError>) {
    for waiter in waiters {
        // Whoever waited may have gone: a dropped request.
        let _ = waiter.send(written.map_err(StoreError::clone));
    }
}

/// Puts a group that is in the journal with those that wait for the tree, and hands these over when they
/// are many. `used` is how much stands in the journal's file.
fn settle(shared: &Shared, group: Arc<Group>, used: u64) {
    let mut state = shared.state.lock();
    state.in_flight = 0;
    state.journalled += 1;
    state.writing = None;
    let Some(group) = Arc::into_inner(group) else {
        // Only the state and the writer hold a group that is being written.
        drop(state);
        return shared.fail(StoreError("a group was lost".into()));
    };
    let first = state.settled.is_empty();
    state.settled.merge(group);
    state.full = used >= FULL_OCTETS;
    state.wanted |= state.settled.weight >= ENOUGH || used >= ENOUGH_OCTETS;
    let handed = state.hand_over();
    drop(state);
    if first || handed {
        shared.tree_work.notify_one();
    }
}

/// How long a group that nobody waits for may wait for company.
const LINGER: Duration = Duration::from_millis(20);

/// How much goes to the tree without waiting for more, in units of room.
const ENOUGH: usize = shared::ROOM / 4;

/// The same, as octets in the journal: small groups take more there than they weigh.
const ENOUGH_OCTETS: u64 = 8 * 1024 * 1024;

/// How much goes into a file of the journal; a last group may go beyond.
const FULL_OCTETS: u64 = 16 * 1024 * 1024;
