//! Checkpoints and retention.

use super::{Audit, AuditError, Checkpoint, PublicKey};
use crate::clock::Timestamp;
use crate::engine::batch::Batch;
use crate::engine::event::{AuditEvent, Outcome};
use crate::store::archive::seal::{Anchor, Position};
use crate::store::{CommitError, Cut, Durability, StoreError};

/// The action under which checkpoints stand in the audit. The reason of such a record is the checkpoint itself.
pub const CHECKPOINT: &str = "audit.checkpoint";

/// The action of taking old records away.
const PRUNE: &str = "audit.prune";

/// What is to be kept, at least. Whole segments go only, so more is kept than this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Records from this moment on.
    pub since: Timestamp,
    /// So many of the newest.
    pub records: u64,
}

/// What retention took away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// The first record that went.
    pub first: u64,
    /// The last record that went.
    pub last: u64,
    /// Moment of the latest record that went.
    pub latest: Timestamp,
}

/// Who does something to the audit.
#[derive(Clone, Copy, Debug)]
pub struct By<'a> {
    /// The operator, or `portcullis` itself.
    pub actor: &'a str,
    /// `admin` or `server`.
    pub via: &'a str,
    /// When.
    pub now: Timestamp,
}

impl Audit {
    /// The key that checkpoints, seals and anchors are checked with.
    pub fn public_key(&self) -> PublicKey {
        PublicKey::of(&self.keyring)
    }

    /// Signs how far the chain has got: noted elsewhere, it shows later that everything up to now is still there and
    /// unaltered. `None` while the audit is empty.
    ///
    /// # Errors
    /// When the store cannot be read, or a record does not follow on the one before: then `audit verify` tells more.
    pub async fn checkpoint(&self, now: Timestamp) -> Result<Option<Checkpoint>, AuditError> {
        let mut position = self.position.lock().await;
        let archived = self
            .store
            .archive()
            .map_or_else(Position::default, |archive| archive.last());
        if archived.sequence > position.sequence {
            *position = archived;
        }
        loop {
            let page = self.store.audit(position.sequence + 1, PAGE).await?;
            if page.is_empty() {
                break;
            }
            for record in &page {
                if !position.follow(&self.keyring, record) {
                    let text = format!(
                        "record {} does not follow on record {}",
                        record.sequence, position.sequence
                    );
                    return Err(StoreError(text).into());
                }
            }
            tokio::task::yield_now().await;
        }
        Ok((position.sequence > 0).then(|| Checkpoint::sign(&self.keyring, *position, now)))
    }

    /// Writes a checkpoint into the audit itself, so that every copy of the audit has it. Gives the record's number.
    ///
    /// # Errors
    /// As [`Audit::checkpoint`], and when the store cannot be written to.
    pub async fn write_checkpoint(&self, now: Timestamp) -> Result<Option<u64>, AuditError> {
        let Some(checkpoint) = self.checkpoint(now).await? else {
            return Ok(None);
        };
        let by = By {
            actor: "portcullis",
            via: "server",
            now,
        };
        let batch = Batch {
            audit: vec![by.event(CHECKPOINT, checkpoint.to_string())],
            ..Batch::default()
        };
        let committed = self.store.commit(batch, Durability::Durable).await;
        committed.map_err(|error| match error {
            CommitError::Conflict => StoreError(error.to_string()),
            CommitError::Unavailable(error) => error,
        })?;
        Ok(Some(self.store.status().audit_sequence))
    }

    /// What would go if no more than this had to be kept; nothing when no whole segment is old enough.
    pub fn prunable(&self, keep: &Retention) -> Option<Pruned> {
        let archive = self.store.archive()?;
        let newest = self.store.status().audit_sequence.saturating_sub(keep.records);
        let (last, latest) = archive.prunable(keep.since, newest)?;
        Some(Pruned {
            first: archive.anchor().map_or(0, |anchor| anchor.last.sequence) + 1,
            last,
            latest,
        })
    }

    /// Takes away what need not be kept. The audit says so, and a signed anchor stays from which the rest of the
    /// chain goes on.
    ///
    /// # Errors
    /// When an export is under way, or the store fails.
    pub async fn prune(&self, keep: &Retention, by: By<'_>) -> Result<Option<Pruned>, AuditError> {
        let Some(pruned) = self.prunable(keep) else {
            return Ok(None);
        };
        let reason = format!(
            "records {} to {} taken away, the latest of {}",
            pruned.first, pruned.last, pruned.latest
        );
        let cut = Cut {
            through: pruned.last,
            latest: pruned.latest,
            event: by.event(PRUNE, reason),
        };
        self.store.prune_audit(cut).await?;
        Ok(Some(pruned))
    }

    /// What retention has left of the records that are gone.
    pub fn anchor(&self) -> Option<Anchor> {
        self.store.archive()?.anchor()
    }
}

impl By<'_> {
    fn event(&self, action: &str, reason: String) -> AuditEvent {
        AuditEvent {
            at: self.now,
            action: action.into(),
            actor: self.actor.into(),
            target: None,
            via: self.via.into(),
            client: None,
            source: None,
            rule: None,
            factors: Vec::new(),
            outcome: Outcome::Accept,
            reason: Some(reason),
            context: None,
        }
    }
}

const PAGE: usize = 1000;
