//! How far a collector has come, kept in the store.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::engine::batch::{Batch, Change, Key};
use crate::engine::record::{BadRecord, Record, decode, encode};
use crate::store::{CommitError, Durability, Store, StoreError};

/// What is kept of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// The first record that the collector may not have read.
    pub(super) next: u64,
}

impl Record for Cursor {
    const FORMAT: u8 = 1;

    fn from_older(_: u8, _: &[u8]) -> Option<postcard::Result<Self>> {
        None
    }
}

/// Why it cannot be told.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("what is kept of the stream does not read")]
    Bad(#[from] BadRecord),
}

/// What is kept of the stream of that name.
pub(super) async fn load(store: &dyn Store, name: &str, now: Timestamp) -> Result<Option<Cursor>, Unread> {
    let found = store.read(&[Key::audit_stream(name)], now).await?;
    let octets = found.into_iter().next().and_then(|found| found.value);
    Ok(octets.as_deref().map(decode::<Cursor>).transpose()?)
}

/// Keeps it, over a power cut.
pub(super) async fn keep(store: &dyn Store, name: &str, cursor: &Cursor) -> Result<(), CommitError> {
    let batch = Batch {
        write: vec![(Key::audit_stream(name), Change::Put(encode(cursor), None))],
        ..Batch::default()
    };
    store.commit(batch, Durability::Durable).await.map(|_| ())
}
