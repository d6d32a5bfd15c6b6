//! Looking for damage.
//!
//! Sled reads a page when it is asked for, and checks its checksum then: a damaged one is an error, never an absent
//! record. So that damage does not wait for the login that meets it, all records but the audit's, of which there may
//! be very many, are read once after every start: the first ones before the store opens, the rest beside its work.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use ::sled::IVec;

use super::format::{self, AFTER_AUDIT, HEAD};
use super::shared::{self, Shared, guarded};

/// Where a check goes on; `None` when all is read.
pub(super) type Rest = Option<IVec>;

/// Reads the first records, none of which can be newer than `revision`.
///
/// # Errors
/// What is damaged.
pub(super) fn first(db: &::sled::Db, revision: u64) -> Result<Rest, String> {
    read(db, Bound::Included(AFTER_AUDIT), AT_OPENING, Some(revision))
}

/// Reads the rest on a thread of its own, which ends with the store. What it finds is logged, and shows in the
/// store's status.
pub(super) fn rest(shared: Arc<Shared>, from: IVec) -> std::io::Result<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name("store-check".into());
    thread.spawn(move || {
        if let Err(reason) = read_on(&shared, from) {
            tracing::error!(
                reason,
                "the store is damaged: whom the damaged records are about cannot log in; restore a backup"
            );
            // One finding is enough.
            let _ = shared.damage.set(reason);
        }
    })
}

fn read_on(shared: &Shared, from: IVec) -> Result<(), String> {
    let mut next = Some(from);
    while let Some(after) = next {
        if shared.state.lock().closing {
            return Ok(());
        }
        let start = crate::clock::monotonic();
        next = read(&shared.db, Bound::Excluded(&*after), AT_ONCE, None)?;
        // Whoever logs in comes first.
        std::thread::sleep(start.elapsed());
    }
    tracing::info!("all records of the store are read once: none is damaged");
    Ok(())
}

fn read(db: &::sled::Db, start: Bound<&[u8]>, most: usize, revision: Option<u64>) -> Result<Rest, String> {
    let sound = |key: &[u8], octets: &[u8]| {
        *key == *HEAD
            || format::decode(octets).is_some_and(|record| revision.is_none_or(|newest| record.version <= newest))
    };
    let work = || {
        let mut last = None;
        for item in db.range::<&[u8], _>((start, Bound::Unbounded)).take(most) {
            let (key, octets) = guarded(|| item).map_err(|error| error.0)?;
            if !sound(&key, &octets) {
                return Err("a record does not read".to_owned());
            }
            last = Some((last.map_or(0, |(count, _)| count) + 1, key));
        }
        Ok(last.and_then(|(count, key)| (count == most).then_some(key)))
    };
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(shared::panicked(panic.as_ref()).0))
}

/// How many records are read before the store opens: a fraction of a second.
const AT_OPENING: usize = 20_000;

/// How many are read at once afterwards.
const AT_ONCE: usize = 256;
