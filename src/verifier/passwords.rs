//! Password changes that the LDAP proxy relays: policy before, the audit after, and what is forgotten.

use std::sync::Arc;

use tracing::info;

use super::{Verifier, account_state, decoded};
use crate::clock::{self, Timestamp};
use crate::engine::batch::{Batch, Change, Key, Versioned};
use crate::engine::event::{AuditEvent, Outcome};
use crate::engine::facts::UserKey;
use crate::engine::policy::Known;
use crate::engine::record::{self, ThrottleRecord, UserRecord};
use crate::engine::relayed::{Permit, RelayedChange, RelayedResult, Target};
use crate::engine::{Denial, Lookup, Outage};
use crate::reuse::Whose;
use crate::store::{CommitError, Durability, StoreError};

impl Verifier {
    /// A password is another one now: nothing that rests on the old one may hold any longer, nor what was
    /// remembered of entries. Called for every change that is known, before its answer leaves.
    pub(super) fn password_changed(&self, directory: &str, user: Option<&UserKey>) {
        if let Some(user) = user {
            self.reuse.forget(Whose::Of(user), clock::now());
        }
        if let Some(directory) = self.directories.load().get(directory) {
            directory.forget_look_ups();
        }
    }

    pub(super) async fn permit_change(&self, change: &RelayedChange) -> Permit {
        let now = clock::now();
        let permit = match self.judge_change(change, now).await {
            Ok(permit) => permit,
            Err(error) => Permit::Unavailable(error.to_string()),
        };
        let denial = match &permit {
            Permit::Granted(_) => return permit,
            Permit::Refused(denial) => *denial,
            Permit::ProveMore(_) => Denial::Policy,
            Permit::Unavailable(why) => {
                log(change, Outcome::Unavailable, why);
                return permit;
            }
        };
        // More may yet be proven: that is judged, and written down, by itself.
        if let Permit::Refused(_) = permit {
            if let Err(error) = self.write_event(change.refusal(denial, now)).await {
                return Permit::Unavailable(error.to_string());
            }
            log(change, Outcome::Reject, denial.word());
        }
        permit
    }

    async fn judge_change(&self, change: &RelayedChange, now: Timestamp) -> Result<Permit, StoreError> {
        let engine = self.engine();
        let user = &change.person.key;
        let most = engine.policy.most_sessions();
        let sessions = if most > 0 {
            Some(self.sessions_of(user, most, now).await?.count(now))
        } else {
            None
        };
        let account = match self.directories.load().get(&*change.person.directory).cloned() {
            Some(directory) => {
                let found = Lookup::Found(Arc::clone(&change.person));
                account_state(engine.policy.asks_credential(), directory.as_ref(), &found).await
            }
            None => Ok(None),
        };
        let account = account.map_err(StoreError)?;
        let keys = [Key::user(user), Key::throttle(user)];
        let mut found = self.store.read(&keys, now).await?.into_iter();
        let record: Versioned<UserRecord> = decoded(found.next())?;
        let throttle: Versioned<ThrottleRecord> = decoded(found.next())?;
        let known = Known {
            account: account.as_deref(),
            record: None,
            failures: Some(throttle.value.counted(engine.settings.limit.window, None, now)),
        };
        Ok(engine.permit(change, (&record.value, &self.denials.load()), known, sessions, now))
    }

    pub(super) async fn change_relayed(
        &self,
        change: &RelayedChange,
        rule: &str,
        result: RelayedResult,
    ) -> Result<(), Outage> {
        let event = change.event(rule, result, clock::now());
        log(change, event.outcome, event.reason.as_deref().unwrap_or_default());
        // Also where it is not known whether it was done.
        if event.outcome != Outcome::Reject {
            let user = match &change.target {
                Target::Known(user) => Some(user),
                Target::Named(_) => None,
            };
            self.password_changed(&change.origin.directory, user);
        }
        let done = event.outcome == Outcome::Accept && change.is_own();
        let written = match done {
            true => self.write_own_change(&change.person.key, event).await,
            false => self
                .write_event(event)
                .await
                .map_err(|error| StoreError(error.to_string())),
        };
        written.map_err(|error| Outage {
            reason: error.to_string(),
        })
    }

    /// Writes down that somebody has changed their own password, and that nobody waits for it any more.
    async fn write_own_change(&self, user: &UserKey, event: AuditEvent) -> Result<(), StoreError> {
        for _ in 0..RETRIES {
            let mut batch = Batch {
                audit: vec![event.clone()],
                ..Batch::default()
            };
            let found = self.store.read(&[Key::user(user)], event.at).await?;
            let Versioned { value, version } = decoded::<UserRecord>(found.into_iter().next())?;
            if value.must_change.is_some() {
                let record = UserRecord {
                    must_change: None,
                    ..value
                };
                let change = Change::Put(record::encode(&record), None);
                batch.replace(Key::user(user), version, change);
            }
            match self.write(batch, Durability::Durable).await {
                Ok(()) => return Ok(()),
                Err(CommitError::Conflict) => {}
                Err(CommitError::Unavailable(error)) => return Err(error),
            }
        }
        Err(StoreError("the records of this person change too fast".into()))
    }

    async fn write_event(&self, event: AuditEvent) -> Result<(), CommitError> {
        let batch = Batch {
            audit: vec![event],
            ..Batch::default()
        };
        self.write(batch, Durability::Durable).await
    }
}

/// Most times that a change is written again because others came first.
const RETRIES: usize = 32;

fn log(change: &RelayedChange, outcome: Outcome, reason: &str) {
    info!(
        protocol = %change.origin.protocol,
        client = %change.origin.client,
        source = %change.origin.source,
        user = %change.login,
        target = %change.target,
        factors = %change.proven,
        %outcome,
        reason,
        "password change, relayed"
    );
}
