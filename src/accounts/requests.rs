//! What people ask to have approved, and what is said to it.

use super::view::{RequestView, SecondHolders};
use super::{AccountError, Accounts, Actor, Relation, Subject, event};
use crate::clock::Timestamp;
use crate::engine::approval::{RequestId, RequestRecord, State, Word};
use crate::engine::batch::{Batch, Change, Key, Versioned};
use crate::engine::record::{Deny, decode, encode};

/// An operator's answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// It may be.
    Approve,
    /// It may not, with the reason; may be empty.
    Deny(&'a str),
}

impl Accounts {
    /// Open requests and those decided but not used yet, the oldest first, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn requests(&self, limit: usize, now: Timestamp) -> Result<Vec<RequestView>, AccountError> {
        let mut open = Vec::new();
        let mut after: Option<Key> = None;
        loop {
            let page = self.store.scan(Key::REQUESTS, after.as_ref(), PAGE).await?;
            let full = page.len() == PAGE;
            after = page.last().map(|(key, _)| key.clone());
            for (key, octets) in page {
                let Some(id) = key.request_id() else { continue };
                let record: RequestRecord =
                    decode(&octets).map_err(|error| AccountError::BadRecord(id.to_string(), error))?;
                if now < record.expires {
                    open.push(RequestView::of(id, &record));
                }
            }
            if !full || open.len() >= limit {
                break;
            }
        }
        open.sort_by_key(|request| request.asked);
        open.truncate(limit);
        Ok(open)
    }

    /// One request, and who may approve it.
    ///
    /// # Errors
    /// [`AccountError::NoSuchRequest`].
    pub async fn request(&self, id: &str, now: Timestamp) -> Result<(RequestView, SecondHolders), AccountError> {
        let (id, found) = self.find_open(id, now).await?;
        let view = RequestView::of(id, &found.value);
        let group = self.surroundings.four_eyes().approvers;
        let subject = self.by_key(&view.id, found.value.user).await?;
        let nobody = SecondHolders {
            manager: None,
            group: group.clone(),
        };
        let second = self.second_holders(&subject, group.as_deref(), "").await;
        Ok((view, second.unwrap_or(nobody)))
    }

    /// Who makes a request, and what the operator is to them: who may approve it is [`Relation::Second`].
    ///
    /// # Errors
    /// [`AccountError::NoSuchRequest`]; when the directory cannot be asked.
    pub async fn find_request(&self, id: &str, by: Actor<'_>) -> Result<(Subject, Relation), AccountError> {
        let (id, found) = self.find_open(id, by.now).await?;
        let subject = self.by_key(&id.to_string(), found.value.user).await?;
        let group = self.surroundings.four_eyes().approvers;
        let relation = self
            .relation_as_second(by.name, &subject, None, group.as_deref())
            .await?;
        Ok((subject, relation))
    }

    /// Decides a request that nobody has decided yet. Whether the operator may is asked before
    /// ([`Accounts::find_request`]).
    ///
    /// # Errors
    /// [`AccountError::NoSuchRequest`], [`AccountError::Decided`], [`AccountError::Invalid`] for a reason that is too
    /// long or has control characters.
    pub async fn decide_request(
        &self,
        subject: &Subject,
        id: &str,
        answer: Answer<'_>,
        by: Actor<'_>,
    ) -> Result<RequestView, AccountError> {
        let word = |reason: &str| Word {
            by: by.name.to_owned(),
            at: by.now,
            reason: reason.to_owned(),
        };
        let (action, state) = match answer {
            Answer::Approve => ("request.approve", State::Approved(word(""))),
            Answer::Deny(reason) if reason.len() > Deny::MAX_REASON || reason.chars().any(char::is_control) => {
                let most = Deny::MAX_REASON;
                let what = format!("a reason is one line of at most {most} octets");
                return Err(AccountError::Invalid(what));
            }
            Answer::Deny(reason) => ("request.deny", State::Denied(word(reason.trim()))),
        };
        for _ in 0..super::RETRIES {
            let (id, mut found) = self.find_open(id, by.now).await?;
            let record = &mut found.value;
            if record.state != State::Pending {
                return Err(AccountError::Decided(id.to_string(), record.state.word()));
            }
            if record.user != subject.key {
                return Err(AccountError::NoSuchRequest(id.to_string()));
            }
            record.state = state.clone();
            let mut batch = Batch::default();
            let change = Change::Put(encode(record), Some(record.expires));
            batch.replace(Key::request(id), found.version, change);
            let what = format!("{}: {} {id} by {}", record.login, record.action.word(), record.client);
            batch.audit.push(event(action, by, Some(subject), &what));
            if self.commit(batch).await? {
                return Ok(RequestView::of(id, record));
            }
        }
        Err(AccountError::Busy(subject.login.clone()))
    }

    async fn find_open(&self, id: &str, now: Timestamp) -> Result<(RequestId, Versioned<RequestRecord>), AccountError> {
        let missing = || AccountError::NoSuchRequest(id.to_owned());
        let id = RequestId::parse(id).ok_or_else(missing)?;
        let found = self.store.read(&[Key::request(id)], now).await?.into_iter().next();
        let Some(Versioned {
            value: Some(octets),
            version,
        }) = found
        else {
            return Err(missing());
        };
        let value = decode(&octets).map_err(|error| AccountError::BadRecord(id.to_string(), error))?;
        Ok((id, Versioned { value, version }))
    }
}

/// Requests read at once.
const PAGE: usize = 1000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::accounts::fixture::{Fixture, NOW};
    use crate::engine::approval::Action;
    use crate::engine::record::UserRecord;
    use crate::store::{Durability, Store as _};

    use super::*;

    const BEN: Actor<'static> = Actor { name: "ben", now: NOW };

    async fn ask(site: &Fixture, login: &str, nonce: u64) -> String {
        let subject = site.subject(login).await;
        let id = RequestId::of(&site.keyring, nonce, NOW);
        let record = RequestRecord {
            action: Action::Login,
            user: subject.key.clone(),
            login: login.to_owned(),
            client: "vpn".into(),
            service: "vpn".into(),
            source: "192.0.2.1".parse().unwrap(),
            calling_station: None,
            asked: NOW,
            expires: NOW + Duration::from_secs(300),
            state: State::Pending,
        };
        let user = UserRecord {
            login: login.to_owned(),
            approval: Some(id),
            ..UserRecord::default()
        };
        let mut batch = Batch::default();
        let put = Change::Put(encode(&record), Some(record.expires));
        batch.write.push((Key::request(id), put));
        batch
            .write
            .push((Key::user(&subject.key), Change::Put(encode(&user), None)));
        site.store.commit(batch, Durability::Durable).await.unwrap();
        id.to_string()
    }

    #[tokio::test]
    async fn a_request_is_decided_once() {
        let site = Fixture::new();
        site.main.set_manager("ana", "ben");
        let first = ask(&site, "ana", 1).await;
        let second = ask(&site, "carol", 2).await;
        let open = site.accounts.requests(10, NOW).await.unwrap();
        assert_eq!(open.len(), 2);
        assert_eq!(site.accounts.requests(1, NOW).await.unwrap().len(), 1);

        let (ana, relation) = site.accounts.find_request(&first.to_lowercase(), BEN).await.unwrap();
        assert_eq!((ana.login.as_str(), relation), ("ana", Relation::Second));
        let (carol, relation) = site.accounts.find_request(&second, BEN).await.unwrap();
        assert_eq!(relation, Relation::Other);
        let (view, approvers) = site.accounts.request(&first, NOW).await.unwrap();
        assert_eq!(
            (view.state.as_str(), approvers.manager.as_deref()),
            ("pending", Some("ben"))
        );

        let approve = || site.accounts.decide_request(&ana, &first, Answer::Approve, BEN);
        let approved = approve().await.unwrap();
        assert_eq!(
            (approved.state.as_str(), approved.by.as_deref()),
            ("approved", Some("ben"))
        );
        assert!(matches!(approve().await, Err(AccountError::Decided(..))));
        let denied = site
            .accounts
            .decide_request(&carol, &second, Answer::Deny("no"), BEN)
            .await
            .unwrap();
        assert_eq!(
            (denied.state.as_str(), denied.reason.as_deref()),
            ("denied", Some("no"))
        );
        assert_eq!(site.audited().await, ["request.approve accept", "request.deny accept"]);
    }

    #[tokio::test]
    async fn what_is_over_is_not_decided() {
        let site = Fixture::new();
        let id = ask(&site, "ana", 1).await;
        let ana = site.subject("ana").await;
        let late = Actor {
            now: NOW + Duration::from_secs(300),
            ..BEN
        };
        assert!(site.accounts.requests(10, late.now).await.unwrap().is_empty());
        for (id, by) in [(id.as_str(), late), ("ZZZZZZ", BEN), ("no", BEN)] {
            let decided = site.accounts.decide_request(&ana, id, Answer::Approve, by).await;
            assert!(matches!(decided, Err(AccountError::NoSuchRequest(_))), "{id}");
        }
        let ben = site.subject("ben").await;
        let foreign = site.accounts.decide_request(&ben, &id, Answer::Approve, BEN).await;
        assert!(foreign.is_err(), "it is ana's");
        let long = "x".repeat(501);
        let refused = site.accounts.decide_request(&ana, &id, Answer::Deny(&long), BEN).await;
        assert!(matches!(refused, Err(AccountError::Invalid(_))));
    }

    #[tokio::test]
    async fn approved_or_denied_but_never_both() {
        let site = Fixture::new();
        for nonce in 0..20 {
            let id = ask(&site, "ana", nonce).await;
            let ana = site.subject("ana").await;
            let (one, other) = tokio::join!(
                site.accounts.decide_request(&ana, &id, Answer::Approve, BEN),
                site.accounts.decide_request(&ana, &id, Answer::Deny(""), BEN)
            );
            assert!(one.is_ok() != other.is_ok());
        }
    }
}
