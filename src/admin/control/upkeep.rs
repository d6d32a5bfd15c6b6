//! Copies of the store.

use std::io;

use tokio::sync::mpsc;

use crate::admin::api::ApiError;
use crate::engine::BoxFuture;

/// Copies of the store.
pub trait Upkeep: Send + Sync {
    /// Begins a copy of the whole store as of now, while logins go on; one at a time.
    fn backup(&self) -> BoxFuture<'_, Result<Backup, ApiError>>;
}

/// A copy on its way.
#[derive(Debug)]
pub struct Backup {
    /// Revision of the store that it is made at.
    pub revision: u64,
    /// The last audit record in it.
    pub audit_sequence: u64,
    /// Its octets, in the format of exports.
    pub pieces: mpsc::Receiver<io::Result<Vec<u8>>>,
}
