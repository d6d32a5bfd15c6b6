//! The store: versioned reads and atomic compare-and-swap batches, durable when they say so.
//!
//! Written so that a networked store fits without changing callers: everything is asynchronous,
//! versions are revisions of the whole store, and a batch either applies whole or reports a conflict.

pub mod memory;
pub mod sled;

use crate::clock::Timestamp;
use crate::engine::BoxFuture;
use crate::engine::batch::{Batch, Key, Version, Versioned};
use crate::engine::event::AuditEvent;

/// Octets stored under a key; `None` for a key that does not exist or has expired.
pub type Found = Versioned<Option<Vec<u8>>>;

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

/// A store. Both implementations pass one battery of tests.
pub trait Store: Send + Sync {
    /// Reads several keys, in order, each with its version.
    fn read<'a>(&'a self, keys: &'a [Key], now: Timestamp) -> BoxFuture<'a, Result<Vec<Found>, StoreError>>;

    /// Applies a batch if every expectation holds. Appended audit records get the next sequence
    /// numbers and links.
    fn commit(&self, batch: Batch, durability: Durability) -> BoxFuture<'_, Result<Version, CommitError>>;

    /// Up to `limit` keys and values under `prefix`, in key order, after `after`.
    fn scan<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<&'a Key>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(Key, Vec<u8>)>, StoreError>>;

    /// Up to `limit` audit records from sequence number `from` on.
    fn audit(&self, from: u64, limit: usize) -> BoxFuture<'_, Result<Vec<AuditRecord>, StoreError>>;

    /// Removes up to `limit` expired keys; returns how many went.
    fn sweep(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<usize, StoreError>>;

    /// How it is doing.
    fn status(&self) -> StoreStatus;

    /// Makes everything durable and refuses further commits.
    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}
