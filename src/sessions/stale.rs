//! Sessions of which nothing is heard any more.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Open, Pages, Sessions, readable};
use crate::clock::{self, Timestamp};
use crate::engine::batch::{Change, Key, Version};
use crate::engine::record::{self, decode};
use crate::engine::session::{Cause, SessionRecord, Watch, WatchRecord};
use crate::store::{CommitError, Durability, StoreError};

/// How often it is looked for silent sessions.
const EVERY: Duration = Duration::from_secs(60);

/// More time than this between two looks was not watched: down, suspended, or the clock was set.
const ALLOWED: Duration = Duration::from_secs(180);

impl Sessions {
    /// Closes silent sessions until `shutdown`.
    pub async fn watch(&self, shutdown: CancellationToken) {
        let mut pause = Duration::ZERO;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = EVERY;
            match self.sweep(clock::now()).await {
                Ok(0) => {}
                Ok(closed) => info!(closed, "sessions of which nothing was heard any more"),
                Err(error) => warn!(%error, "silent sessions were not looked for"),
            }
        }
    }

    /// Looks once; how many were closed.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn sweep(&self, now: Timestamp) -> Result<usize, StoreError> {
        let settings = self.settings.load_full();
        let watch = self.look(now, settings.longest()).await?;
        let mut closed = 0;
        let mut pages = Pages::under(Key::SESSIONS.to_vec());
        while let Some(page) = pages.next(&*self.store).await? {
            let due = |octets: &[u8]| {
                readable(octets).is_some_and(|session| {
                    let limit = settings.of(&session.client).stale_after;
                    let silent = !limit.is_zero() && watch.silence(session.heard, now) >= limit;
                    silent || session.is_overdue(now) || from_the_future(&session, now)
                })
            };
            let suspects: Vec<_> = page.into_iter().filter(|(_, octets)| due(octets)).collect();
            if suspects.is_empty() {
                continue;
            }
            for open in self.still_open(&suspects, now).await? {
                let limit = settings.of(&open.session.client).stale_after;
                if from_the_future(&open.session, now) {
                    self.hear_now(&open, now).await?;
                } else if open.session.is_overdue(now) {
                    closed += usize::from(self.close(&open, Cause::Ended, now).await?);
                } else if !limit.is_zero() && watch.silence(open.session.heard, now) >= limit {
                    closed += usize::from(self.close(&open, Cause::Stale, now).await?);
                }
            }
        }
        Ok(closed)
    }

    /// Notes that somebody watches.
    async fn look(&self, now: Timestamp, longest: Duration) -> Result<Watch, StoreError> {
        let key = Key::session_watch();
        let found = self.store.read(std::slice::from_ref(&key), now).await?;
        let found = found.into_iter().next().unwrap_or_default();
        let record: Option<WatchRecord> = found
            .value
            .as_deref()
            .map(decode)
            .transpose()
            .map_err(|error| StoreError(error.to_string()))?;
        let mut watch = Watch {
            record: record.unwrap_or_default(),
            allowed: ALLOWED,
        };
        watch.look(now, longest);
        let mut batch = crate::engine::Batch::default();
        batch.replace(key, found.version, Change::Put(record::encode(&watch.record), None));
        match self.store.commit(batch, Durability::Visible).await {
            Ok(Version(_)) => Ok(watch),
            // Another process has looked just now.
            Err(CommitError::Conflict) => Ok(watch),
            Err(CommitError::Unavailable(error)) => Err(error),
        }
    }

    /// A session heard of in the future was stamped by a clock that has been set back since: it would never
    /// become silent.
    async fn hear_now(&self, open: &Open, now: Timestamp) -> Result<(), StoreError> {
        let session = SessionRecord {
            heard: now,
            ..open.session.clone()
        };
        let mut batch = crate::engine::Batch::default();
        let key = Key::session(&session.name());
        batch.replace(key, open.version, Change::Put(record::encode(&session), None));
        self.commit(batch).await.map(|_| ())
    }
}

fn from_the_future(session: &SessionRecord, now: Timestamp) -> bool {
    session.heard > now + ALLOWED
}
