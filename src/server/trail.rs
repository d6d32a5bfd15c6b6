//! The audit as a whole: checkpoints and retention, as time goes by.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::Node;
use crate::audit::{Audit, By, Filter, Retention};
use crate::causes::in_full;
use crate::clock::{self, Timestamp};

/// Keeps the audit's index up to date, and writes checkpoints and takes old records away when it is time.
pub(super) async fn keep(node: Arc<Node>, audit: Arc<Audit>, shutdown: CancellationToken) {
    let mut checkpoint = last_checkpoint(&audit).await;
    let mut look = clock::monotonic();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(CATCH_UP) => {}
        }
        if let Err(error) = audit.catch_up().await {
            warn!(
                error = in_full(&error),
                "the newest records of the audit are not indexed"
            );
        }
        if clock::monotonic() < look {
            continue;
        }
        look = clock::monotonic() + LOOK;
        write_checkpoint(&node, &audit, &mut checkpoint).await;
        prune(&node, &audit).await;
    }
}

/// The last checkpoint in the audit: its record and its moment.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    sequence: u64,
    at: Timestamp,
}

async fn last_checkpoint(audit: &Audit) -> Last {
    let filter = Filter {
        action: Some(crate::audit::CHECKPOINT.into()),
        ..Filter::default()
    };
    let found = audit
        .last(&filter, 1)
        .await
        .ok()
        .and_then(|mut found| found.records.pop());
    found.map_or_else(Last::default, |line| Last {
        sequence: line.sequence,
        at: line.at,
    })
}

async fn write_checkpoint(node: &Node, audit: &Audit, last: &mut Last) {
    let now = clock::now();
    let new = node.store.status().audit_sequence.saturating_sub(last.sequence);
    let due = now.since(last.at) >= node.config.load().audit.checkpoint_every;
    if new == 0 || !due && new < MOST_UNSIGNED {
        return;
    }
    match audit.write_checkpoint(now).await {
        Ok(Some(sequence)) => *last = Last { sequence, at: now },
        Ok(None) => {}
        Err(error) => error!(
            error = in_full(&error),
            "no checkpoint of the audit; run `portcullis audit verify`"
        ),
    }
}

async fn prune(node: &Node, audit: &Audit) {
    let config = node.config.load_full();
    let Some(keep) = config.audit.keep else { return };
    let now = clock::now();
    let keep = Retention {
        since: now - keep,
        records: config.audit.keep_records,
    };
    let by = By {
        actor: "portcullis",
        via: "server",
        now,
    };
    match audit.prune(&keep, by).await {
        Ok(Some(pruned)) => info!(
            first = pruned.first,
            last = pruned.last,
            "old records of the audit taken away"
        ),
        Ok(None) => {}
        Err(error) => warn!(error = in_full(&error), "old records of the audit stay"),
    }
}

/// How often the index of the newest records is brought up to date.
const CATCH_UP: Duration = Duration::from_secs(1);

/// How often it is looked whether something is due.
const LOOK: Duration = Duration::from_mins(1);

/// After how many records there is a checkpoint before its time.
const MOST_UNSIGNED: u64 = 100_000;
