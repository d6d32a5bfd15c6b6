//! The thread that moves audit records from the tree to the archive.
//!
//! First the file with the records is complete and durable, then readers are sent there, then the tree notes how far
//! the archive goes, and only then the records leave the tree, a few at a time so that no commit waits long. Cut off
//! anywhere, the records are in the tree, or in the archive as the tree has noted it, or in both.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ::sled::IVec;

use super::super::StoreError;
use super::super::archive::seal::{Position, Seal};
use super::super::archive::{MAX_RECORDS, Writer};
use super::format;
use super::shared::{Shared, guarded, unreadable};
use crate::clock;
use crate::engine::event::AuditEvent;

/// When records go to the archive.
#[derive(Clone, Copy, Debug)]
pub struct Archiving {
    /// Records that go together, up to 65,536. Fewer when they are very long.
    pub segment: u64,
    /// Newest records that stay in the database.
    pub stay: u64,
    /// From what age on they go also when they are fewer, so that retention can take them.
    pub oldest: Duration,
    /// How often it is looked.
    pub look: Duration,
}

impl Default for Archiving {
    fn default() -> Self {
        Self {
            segment: MAX_RECORDS,
            stay: 4096,
            oldest: Duration::from_hours(31 * 24),
            look: Duration::from_millis(500),
        }
    }
}

/// Why records did not go.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("the store closes")]
    Closing,
    #[error("record {0} of the audit is not what was written; run `portcullis audit verify`")]
    Tampered(u64),
    #[error("cannot write to the archive: {0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// Moves records until the store closes.
pub(super) fn run(shared: &Shared, settings: Archiving) {
    if let Err(error) = clear(shared) {
        tracing::warn!(%error, "archived records of the audit stay in the database");
    }
    let mut aged = clock::monotonic();
    let mut told = false;
    loop {
        if is_closing(shared) {
            return;
        }
        let waiting = waiting(shared);
        let full = waiting >= settings.segment + settings.stay;
        let mut due = full;
        if !full && waiting > 0 && clock::monotonic() >= aged {
            aged = clock::monotonic() + AGE_LOOK;
            due = is_old(shared, settings.oldest);
        }
        if !due {
            std::thread::park_timeout(settings.look);
            continue;
        }
        let hurry = waiting >= settings.segment * BACKLOG;
        match archive(shared, settings, hurry) {
            Ok(()) => told = false,
            Err(Stop::Closing) => return,
            Err(stop) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::error!(error = %stop, "the audit is not archived");
                }
                std::thread::park_timeout(settings.look.max(RETRY));
            }
        }
    }
}

/// Moves a segment's worth.
fn archive(shared: &Shared, settings: Archiving, hurry: bool) -> Result<(), Stop> {
    let seal = write(shared, settings, hurry)?;
    shared.archive.take_in(&seal);
    shared.maintain(vec![noted(&seal.last)], Vec::new())?;
    tracing::debug!(
        first = seal.first(),
        last = seal.last.sequence,
        "audit records archived"
    );
    clear(shared)?;
    Ok(())
}

/// What the tree notes of how far the archive goes.
pub(super) fn noted(position: &Position) -> (IVec, Option<IVec>) {
    let octets = format::encode(&position.encode(), None);
    (IVec::from(format::ARCHIVE), Some(IVec::from(octets)))
}

/// Writes the file.
fn write(shared: &Shared, settings: Archiving, hurry: bool) -> Result<Seal, Stop> {
    let mut writer = shared.archive.begin()?;
    let mut after = format::audit_key(writer.last().sequence + 1);
    let room = |writer: &Writer, more: u64| writer.count() + more <= settings.segment && writer.has_room(more);
    // Aside from the pauses this takes a processor half a second. Logins come first.
    let mut begun = clock::monotonic();
    'records: loop {
        if is_closing(shared) {
            return Err(Stop::Closing);
        }
        let range = shared.db.range(&*after..format::AFTER_AUDIT).take(PAGE);
        let page: Vec<_> = guarded(|| range.collect::<Result<_, _>>())?;
        let at_end = page.len() < PAGE;
        for (key, octets) in page {
            let records = format::unpack_audit(&key, &octets).ok_or_else(unreadable)?;
            // What lies under one key goes together, so that no key is left half gone. A restored or very full
            // group can be longer than a segment that was set to be short.
            if writer.count() > 0 && !room(&writer, records.len() as u64) {
                break 'records;
            }
            for record in &records {
                if !writer.push(&shared.keyring, record)? {
                    return Err(Stop::Tampered(record.sequence));
                }
            }
            after = format::audit_key(writer.last().sequence + 1);
        }
        if at_end {
            break;
        }
        if !hurry {
            std::thread::sleep(begun.elapsed().min(LONGEST_PAUSE));
            begun = clock::monotonic();
        }
    }
    if writer.count() == 0 {
        return Err(StoreError("its audit records are not where they should be".into()).into());
    }
    Ok(writer.finish(&shared.keyring, clock::now())?)
}

/// Removes from the tree what is in the archive.
fn clear(shared: &Shared) -> Result<(), StoreError> {
    loop {
        let end = format::audit_key(shared.archive.through() + 1);
        let range = shared.db.range(format::AUDIT..&*end).take(REMOVED_TOGETHER);
        let gone: Vec<_> = guarded(|| {
            range
                .map(|item| item.map(|(key, _)| (key, None)))
                .collect::<Result<_, _>>()
        })?;
        if gone.is_empty() {
            return Ok(());
        }
        shared.maintain(gone, Vec::new())?;
    }
}

/// Takes records away: the audit says so, and the anchor is durable before the first file goes.
pub(super) fn prune(
    shared: &Arc<Shared>,
    anchor: super::super::archive::seal::Anchor,
    event: &AuditEvent,
) -> Result<(), StoreError> {
    let body = serde_json::to_vec(event).map_err(|error| StoreError(error.to_string()))?;
    let octets = format::encode(&anchor.encode(), None);
    let own = (IVec::from(format::PRUNED), Some(IVec::from(octets)));
    shared.maintain(vec![own], vec![body])?;
    let failed = |error| StoreError(format!("files of the audit that should go are still there: {error}"));
    shared.archive.let_go(anchor).map_err(failed)
}

/// How many records on disk wait to be archived.
fn waiting(shared: &Shared) -> u64 {
    let state = shared.state.lock();
    let newest = state.audit().next().map(|record| record.sequence - 1);
    newest
        .unwrap_or(state.head.audit_sequence)
        .saturating_sub(shared.archive.through())
}

/// Whether the oldest record that waits is older than that.
fn is_old(shared: &Shared, age: Duration) -> bool {
    let first = shared.audit(shared.archive.through() + 1, 1).unwrap_or_default();
    let event = first.first().and_then(|record| record.event().ok());
    event.is_some_and(|event| clock::now().since(event.at) > age)
}

fn is_closing(shared: &Shared) -> bool {
    shared.state.lock().refusal().is_some()
}

/// How many keys are read, and removed, together.
const PAGE: usize = 64;
const REMOVED_TOGETHER: usize = 256;

/// Longest pause between two pages.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// From how many segments' worth on it does not spare others.
const BACKLOG: u64 = 3;

/// How often it is looked whether records are old.
const AGE_LOOK: Duration = Duration::from_mins(10);

/// When it is tried again after a failure, at the earliest.
const RETRY: Duration = Duration::from_secs(60);
