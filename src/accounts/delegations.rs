//! What somebody may approve, handed to somebody else for a while.

use tracing::warn;

use super::view::DelegationView;
use super::{AccountError, Accounts, Actor, event, look_up, parse_name, stated};
use crate::clock::{self, Timestamp};
use crate::engine::approval::{DelegationRecord, RequestId, Scope, Who};
use crate::engine::batch::{Batch, Change, Key, Version};
use crate::engine::facts::{Lookup, UserKey};
use crate::engine::operator::account_of;
use crate::engine::record::{decode, encode};

/// A delegation to be made.
#[derive(Clone, Debug)]
pub struct DelegationWish {
    /// To whom: a local account.
    pub to: String,
    /// In which matters.
    pub scope: Scope,
    /// When it ends.
    pub until: Timestamp,
    /// Why: not empty, on one line.
    pub reason: String,
}

impl Accounts {
    /// Hands what the operator may approve to somebody else. It gives no more than the operator has at the time it is
    /// used, and never what was handed to them.
    ///
    /// # Errors
    /// [`AccountError::Invalid`], for oneself, for a name that no directory knows, and for an end that is past or too far.
    pub async fn delegate(&self, wish: &DelegationWish, by: Actor<'_>) -> Result<DelegationView, AccountError> {
        let reason = stated(&wish.reason)?;
        if reason.is_empty() {
            return Err(AccountError::Invalid("a delegation needs a reason".into()));
        }
        let longest = self.surroundings.four_eyes().longest_delegation;
        if wish.until <= by.now {
            return Err(AccountError::Invalid(format!("{} is past", wish.until)));
        }
        if wish.until > by.now + longest {
            let hours = longest.as_secs() / 3600;
            return Err(AccountError::Invalid(format!(
                "a delegation lasts {hours} hours at most"
            )));
        }
        let own = self.people_behind(account_of(by.name)).await?;
        let other = self.people_behind(&wish.to).await?;
        if wish.to == account_of(by.name) || own.iter().any(|key| other.contains(key)) {
            return Err(AccountError::Invalid("nobody hands anything to themselves".into()));
        }
        if other.is_empty() {
            let what = format!(
                "no directory knows `{}`: only people whom one knows approve anything",
                wish.to
            );
            return Err(AccountError::Invalid(what));
        }
        if self.delegations_to(&wish.to, by.now).await?.len() >= DelegationRecord::MOST {
            let most = DelegationRecord::MOST;
            return Err(AccountError::Invalid(format!(
                "`{}` has {most} delegations, the most there can be",
                wish.to
            )));
        }
        let record = DelegationRecord {
            from: Who {
                account: account_of(by.name).to_owned(),
                key: own.into_iter().next(),
            },
            to: wish.to.clone(),
            scope: wish.scope.clone(),
            reason: reason.to_owned(),
            made: by.now,
            expires: wish.until,
        };
        for _ in 0..super::RETRIES {
            let id = RequestId::of(&self.keyring, u64::from_be_bytes(clock::random()), by.now);
            let mut batch = Batch::default();
            let put = Change::Put(encode(&record), Some(record.expires));
            batch.replace(Key::delegation(&record.to, id), Version::default(), put);
            let scope = record.scope.words().join(" ");
            let what = format!("{id} to {} until {}: {scope}: {reason}", record.to, record.expires);
            batch.audit.push(event("delegation.grant", by, None, &what));
            if self.commit(batch).await? {
                return Ok(DelegationView::of(id, &record));
            }
        }
        Err(AccountError::Busy(wish.to.clone()))
    }

    /// Delegations that count at `now`, by their ends, of one operator or of all.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn delegations(&self, of: Option<&str>, now: Timestamp) -> Result<Vec<DelegationView>, AccountError> {
        let mut views: Vec<DelegationView> = Vec::new();
        for (key, record) in self.all_delegations(now).await? {
            let Some(id) = key.delegation_id() else { continue };
            if of.is_none_or(|name| record.from.account == name || record.to == name) {
                views.push(DelegationView::of(id, &record));
            }
        }
        views.sort_by_key(|view| view.expires);
        Ok(views)
    }

    /// Ends a delegation: from then on nothing is approved by it.
    ///
    /// # Errors
    /// [`AccountError::NoSuchDelegation`].
    pub async fn end_delegation(&self, id: &str, by: Actor<'_>) -> Result<DelegationView, AccountError> {
        let missing = || AccountError::NoSuchDelegation(id.to_owned());
        let wanted = RequestId::parse(id).ok_or_else(missing)?;
        let all = self.all_delegations(by.now).await?;
        let found = all.into_iter().find(|(key, _)| key.delegation_id() == Some(wanted));
        let (key, record) = found.ok_or_else(missing)?;
        let mut batch = Batch::default();
        // Nothing changes one: it is there or it is not, and taking it away twice does no harm.
        batch.write.push((key, Change::Delete));
        let what = format!("{wanted} of {} to {}", record.from.account, record.to);
        batch.audit.push(event("delegation.end", by, None, &what));
        self.commit(batch).await?;
        Ok(DelegationView::of(wanted, &record))
    }

    /// Delegations to one account that count at `now`, with what a change that rests on one has to expect.
    pub(super) async fn delegations_to(
        &self,
        account: &str,
        now: Timestamp,
    ) -> Result<Vec<(Key, Version, DelegationRecord)>, AccountError> {
        let prefix = Key::delegations_to(account);
        // One that has expired is there until it is swept.
        let page = self.store.scan(&prefix, None, 4 * DelegationRecord::MOST).await?;
        let keys: Vec<Key> = page.into_iter().map(|(key, _)| key).collect();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.store.read(&keys, now).await?;
        let mut live = Vec::new();
        for (key, found) in keys.into_iter().zip(found) {
            let Some(octets) = found.value else { continue };
            if let Some(record) = read(&key, &octets).filter(|record| now < record.expires && record.to == account) {
                live.push((key, found.version, record));
            }
        }
        Ok(live)
    }

    /// All delegations that count at `now`.
    pub(super) async fn all_delegations(&self, now: Timestamp) -> Result<Vec<(Key, DelegationRecord)>, AccountError> {
        let mut all = Vec::new();
        let mut after: Option<Key> = None;
        loop {
            let page = self.store.scan(Key::DELEGATIONS, after.as_ref(), PAGE).await?;
            let full = page.len() == PAGE;
            after = page.last().map(|(key, _)| key.clone());
            for (key, octets) in page {
                let record = read(&key, &octets).filter(|record| now < record.expires);
                all.extend(record.map(|record| (key, record)));
            }
            if !full || all.len() >= MOST {
                return Ok(all);
            }
        }
    }

    /// Keys of the people whom directories know by the name of a local account.
    async fn people_behind(&self, account: &str) -> Result<Vec<UserKey>, AccountError> {
        let Ok(login) = parse_name(account) else {
            return Ok(Vec::new());
        };
        let mut keys = Vec::new();
        for (directory, lookup) in look_up(self.chosen(None)?, &login).await {
            match lookup {
                Lookup::Found(person) => keys.push(person.key.clone()),
                Lookup::Unknown | Lookup::Ambiguous => {}
                Lookup::Unavailable(reason) => return Err(AccountError::DirectoryUnavailable(directory, reason)),
            }
        }
        Ok(keys)
    }
}

/// A delegation whose record is damaged gives nothing.
fn read(key: &Key, octets: &[u8]) -> Option<DelegationRecord> {
    match decode(octets) {
        Ok(record) => Some(record),
        Err(error) => {
            let id = key.delegation_id().map(|id| id.to_string());
            let error: &dyn std::error::Error = &error;
            warn!(
                delegation = id,
                error, "a delegation's record is unusable; it does not count"
            );
            None
        }
    }
}

/// Delegations read at once.
const PAGE: usize = 1000;

/// Most delegations looked at.
const MOST: usize = 100_000;
