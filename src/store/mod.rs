//! The store: versioned reads and atomic compare-and-swap batches, durable when they say so.
//!
//! Written so that a networked store fits without changing callers: everything is asynchronous,
//! versions are revisions of the whole store, and a batch either applies whole or reports a conflict.

pub mod archive;
pub mod export;
mod ledger;
pub mod memory;
pub mod rekey;
mod replace;
pub mod schema;
pub mod sled;

use std::sync::Arc;

pub use ledger::Head;

use self::archive::Archive;
use self::archive::seal::Anchor;
use crate::clock::Timestamp;
use crate::engine::BoxFuture;
use crate::engine::batch::{Batch, Key, Version, Versioned};
use crate::engine::event::AuditEvent;

/// Octets stored under a key; `None` for a key that does not exist or has expired.
pub type Found = Versioned<Option<Vec<u8>>>;

/// Keys with their values, in key order.
pub type Page = Vec<(Key, Vec<u8>)>;

/// When a commit counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// As soon as every other reader sees it. Made durable no later than any commit after it.
    Visible,
    /// When it survives a power cut.
    Durable,
}

/// Why a commit did not happen. In either case nothing of the batch was or will be applied, except
/// that after [`CommitError::Unavailable`] it may have been.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A key was not at its expected version: load again, decide again.
    #[error("the records changed meanwhile")]
    Conflict,
    /// The store cannot be written to.
    #[error(transparent)]
    Unavailable(#[from] StoreError),
}

/// The store cannot do its work.
#[derive(Clone, Debug, thiserror::Error)]
#[error("store: {0}")]
pub struct StoreError(pub String);

/// One record of the audit chain, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Position in the chain, from 1.
    pub sequence: u64,
    /// Link: [`crate::keyring::Keyring::audit_link`] over the previous link (32 zero octets before the
    /// first), the sequence number and `body`.
    pub link: [u8; 32],
    /// The [`AuditEvent`] as JSON, exactly the octets that the link covers.
    pub body: Vec<u8>,
}

impl AuditRecord {
    /// The event, or why the body does not read.
    ///
    /// # Errors
    /// What serde says of the JSON.
    pub fn event(&self) -> Result<AuditEvent, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }
}

/// How the store is doing, for `status`.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct StoreStatus {
    /// `sled` or `memory`.
    pub kind: String,
    /// Where it is.
    pub location: String,
    /// Revision of the last applied batch.
    pub revision: u64,
    /// Sequence number of the last audit record.
    pub audit_sequence: u64,
    /// Size on disk, in octets.
    pub size: u64,
    /// Batches waiting to be made durable.
    pub queue: usize,
    /// The last error, while writing fails.
    pub error: Option<String>,
}

/// One thing in a [`Snapshot`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A key with what is stored under it.
    Record(Record),
    /// A record of the audit chain.
    Audit(AuditRecord),
}

/// A key with all that is stored under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key.
    pub key: Key,
    /// The revision that wrote it.
    pub version: Version,
    /// When it stops to exist, if it does.
    pub expires: Option<Timestamp>,
    /// Its value.
    pub value: Vec<u8>,
}

/// Everything in the store as of one revision, read piece by piece while the store goes on working.
pub trait Snapshot: Send {
    /// Which moment this is.
    fn head(&self) -> &Head;

    /// The next piece: at least one entry, and not many more than `limit`; none at the end. Audit
    /// records come in order of their sequence numbers.
    fn next(&mut self, limit: usize) -> BoxFuture<'_, Result<Vec<Entry>, StoreError>>;
}

/// What retention takes away.
#[derive(Clone, Debug)]
pub struct Cut {
    /// The last record of it, with which a stretch of the archive ends.
    pub through: u64,
    /// Moment of the latest record that goes.
    pub latest: Timestamp,
    /// What is written to the audit of it: who does it, and when.
    pub event: AuditEvent,
}

/// A store. All implementations pass one battery of tests (`tests/store.rs`).
///
/// Keys under `a/` and `m/` belong to the store and cannot be written by a batch.
pub trait Store: Send + Sync {
    /// Reads several keys, in order, each with its version. A key that has expired by `now` but was not
    /// swept yet has no value and the version of its last write, so that it can be replaced. The keys
    /// are not read at one instant: a batch that rests on several must expect the versions of all.
    fn read<'a>(&'a self, keys: &'a [Key], now: Timestamp) -> BoxFuture<'a, Result<Vec<Found>, StoreError>>;

    /// Applies a batch if every expectation holds; the answer is the store's new revision, which is the
    /// version of all keys written. Appended audit records get the next sequence numbers and links. A
    /// future that is dropped before it is done may or may not have applied its batch.
    ///
    /// # Errors
    /// [`CommitError::Conflict`] when an expectation does not hold. [`CommitError::Unavailable`] when the
    /// store cannot be written to, is closed, or the batch breaks a limit (key or value too long, a key
    /// of the store's own); once a write to disk has failed, every commit is answered so until restart.
    fn commit(&self, batch: Batch, durability: Durability) -> BoxFuture<'_, Result<Version, CommitError>>;

    /// Up to `limit` keys and values under `prefix`, in key order, after `after`. Expired keys appear
    /// until they are swept.
    fn scan<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<&'a Key>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, StoreError>>;

    /// Up to `limit` audit records from sequence number `from` on, in order.
    fn audit(&self, from: u64, limit: usize) -> BoxFuture<'_, Result<Vec<AuditRecord>, StoreError>>;

    /// Where its older audit records are, if they lie apart. [`Store::audit`] reads them too.
    fn archive(&self) -> Option<Arc<Archive>> {
        None
    }

    /// Takes the oldest audit records away, up to the end of a stretch of the archive, and leaves a signed anchor
    /// from which the rest of the chain goes on. The event is appended to the audit together with it.
    ///
    /// # Errors
    /// [`StoreError`] for a store without an archive, while an export is under way, or when the disk fails.
    fn prune_audit(&self, cut: Cut) -> BoxFuture<'_, Result<Anchor, StoreError>> {
        drop(cut);
        let error = StoreError("this kind of store has no archive that records could be taken from".into());
        Box::pin(std::future::ready(Err(error)))
    }

    /// Removes up to `limit` keys under [`Key::EXPIRING`] that have expired by `now`; returns how many
    /// went. A call may look at a part of the keys only and go on from there the next time.
    fn sweep(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<usize, StoreError>>;

    /// Everything as of one revision that includes all commits answered before this call.
    fn snapshot(&self) -> BoxFuture<'_, Result<Box<dyn Snapshot>, StoreError>>;

    /// How it is doing.
    fn status(&self) -> StoreStatus;

    /// Makes everything durable and refuses further commits.
    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}
