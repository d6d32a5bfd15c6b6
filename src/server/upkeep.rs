//! Copies of the store.

use tokio::sync::Semaphore;

use crate::admin::api::{ApiError, ErrorKind};
use crate::admin::control::{Backup, Upkeep};
use crate::engine::BoxFuture;
use crate::server::{Node, parts};
use crate::store::export;

/// What changes while a copy is made is kept until it is: several at once would keep it several times.
static ONE_AT_A_TIME: Semaphore = Semaphore::const_new(1);

impl Upkeep for Node {
    fn backup(&self) -> BoxFuture<'_, Result<Backup, ApiError>> {
        Box::pin(async {
            let Ok(turn) = ONE_AT_A_TIME.try_acquire() else {
                let error = ApiError::new(ErrorKind::Refused, "another backup is being made");
                return Err(error.with_remedy("wait for it"));
            };
            let stream = export::stream(self.store.as_ref(), turn).await;
            let stream = stream.map_err(|error| ApiError::new(ErrorKind::Unavailable, parts::describe(error)))?;
            Ok(Backup {
                revision: stream.head.revision,
                audit_sequence: stream.head.audit_sequence,
                pieces: stream.pieces,
            })
        })
    }
}
