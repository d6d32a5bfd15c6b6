//! What people and operators ask to have approved, and what is said to it.

use tracing::warn;

use super::relation::{Voucher, Vouching};
use super::view::{RequestView, SecondHolders};
use super::warrant::refusal;
use super::{AccountError, Accounts, Actor, Relation, Subject, event, stated};
use crate::clock::{self, Timestamp};
use crate::engine::approval::{Action, Approver, Deed, RequestId, RequestRecord, Stand, Word};
use crate::engine::batch::{Batch, Change, Key, Version, Versioned};
use crate::engine::operator::account_of;
use crate::engine::record::{decode, encode};

/// An operator's answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// It may be, with the reason; may be empty.
    Approve(&'a str),
    /// It may not, with the reason; may be empty.
    Deny(&'a str),
}

/// What an operator asks for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What.
    pub action: Action,
    /// Why: not empty, on one line.
    pub reason: String,
    /// With which parameters, in the order of their names.
    pub parameters: Vec<(String, String)>,
}

/// Which requests are listed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// Only those that this operator has made.
    pub of: Option<&'a str>,
    /// Only those that wait for this operator's approval.
    pub for_whom: Option<&'a str>,
    /// Also those that are over, as long as they are kept.
    pub over: bool,
    /// At most so many.
    pub limit: usize,
}

impl Accounts {
    /// Requests that wait or are approved and not used yet, the oldest first.
    ///
    /// # Errors
    /// When the store cannot be read, or for those that somebody may approve, a directory.
    pub async fn requests(&self, wanted: Wanted<'_>, now: Timestamp) -> Result<Vec<RequestView>, AccountError> {
        let mut open: Vec<(RequestId, RequestRecord)> = Vec::new();
        let most = if wanted.for_whom.is_some() {
            MOST_ASKED
        } else {
            wanted.limit
        };
        self.each_request(|id, record| {
            let stand = record.stand(now);
            let listed = match stand {
                Stand::Waiting(_) => true,
                Stand::Approved => wanted.for_whom.is_none(),
                Stand::Denied | Stand::Cancelled | Stand::Used => wanted.over && wanted.for_whom.is_none(),
                Stand::Expired => false,
            };
            if listed && now < record.expires && wanted.of.is_none_or(|name| record.asked_by().account == name) {
                open.push((id, record));
            }
            if open.len() >= most.saturating_mul(2).max(PAGE) {
                keep_oldest(&mut open, most);
            }
        })
        .await?;
        keep_oldest(&mut open, most);
        let mut views = Vec::new();
        for (id, record) in open {
            if views.len() >= wanted.limit {
                break;
            }
            if let Some(operator) = wanted.for_whom
                && !self.may_approve(operator, &record, now).await?
            {
                continue;
            }
            views.push(RequestView::of(id, &record, now));
        }
        Ok(views)
    }

    /// One request, and who may approve it at the level that it waits for.
    ///
    /// # Errors
    /// [`AccountError::NoSuchRequest`].
    pub async fn request(&self, id: &str, now: Timestamp) -> Result<(RequestView, SecondHolders), AccountError> {
        let (id, found) = self.find_open(id, now).await?;
        let record = found.value;
        let mut second = SecondHolders {
            manager: None,
            group: None,
        };
        if let Some((_, approver)) = level(&record, now) {
            let subject = self.subject_of(&record).await?;
            let approvers = std::slice::from_ref(approver);
            let asked_by = record.asked_by().account;
            second = self
                .second_holders(&subject, approvers, &asked_by)
                .await
                .unwrap_or(second);
        }
        Ok((RequestView::of(id, &record, now), second))
    }

    /// Asks for something that takes an approval.
    ///
    /// # Errors
    /// [`AccountError::NoApprovalNeeded`]; [`AccountError::NobodySecond`] when a level could be approved by nobody;
    /// someone who has left the directory; [`AccountError::TooManyRequests`].
    pub async fn ask(&self, subject: &Subject, ask: &Ask, by: Actor<'_>) -> Result<RequestView, AccountError> {
        subject.present()?;
        let reason = stated(&ask.reason)?;
        if reason.is_empty() {
            return Err(AccountError::Invalid(
                "a request needs a reason: who approves it reads it".into(),
            ));
        }
        let long = |text: &String| text.len() > Deed::LONGEST_PARAMETER;
        if ask.parameters.len() > Deed::MOST_PARAMETERS
            || ask.parameters.iter().any(|(name, text)| long(name) || long(text))
        {
            return Err(AccountError::Invalid(
                "a request has at most 32 parameters of 1000 octets".into(),
            ));
        }
        let Some(rule) = self.approval_rule(ask.action, subject) else {
            return Err(AccountError::NoApprovalNeeded(ask.action, subject.login.clone()));
        };
        for approver in &rule.levels {
            self.second_holders(subject, std::slice::from_ref(approver), by.name)
                .await?;
        }
        let mine = Wanted {
            of: Some(account_of(by.name)),
            limit: MOST_OPEN,
            ..Wanted::default()
        };
        if self.requests(mine, by.now).await?.len() >= MOST_OPEN {
            return Err(AccountError::TooManyRequests(by.name.to_owned()));
        }
        let deed = Deed {
            action: ask.action,
            asked_by: self.who(by.name, subject).await?,
            reason: reason.to_owned(),
            parameters: ask.parameters.clone(),
            digest: Deed::digest(&self.keyring, ask.action, &ask.parameters),
        };
        let record = RequestRecord::deed(deed, &subject.key, &subject.login, by.now, &rule);
        for _ in 0..super::RETRIES {
            let id = RequestId::of(&self.keyring, u64::from_be_bytes(clock::random()), by.now);
            let mut batch = Batch::default();
            let put = Change::Put(encode(&record), Some(record.expires));
            batch.replace(Key::request(id), Version::default(), put);
            let view = RequestView::of(id, &record, by.now);
            let what = format!(
                "{}: {} {id}{}: {reason}",
                subject.login,
                ask.action,
                told(&ask.parameters)
            );
            batch.audit.push(event("request.ask", by, Some(subject), &what));
            if self.commit(batch).await? {
                self.tell_approvers(id, &record, subject).await;
                return Ok(view);
            }
        }
        Err(AccountError::Busy(subject.login.clone()))
    }

    /// Whom an open request is about, and what the operator is to it: who may approve it is [`Relation::Second`].
    ///
    /// # Errors
    /// [`AccountError::NoSuchRequest`]; [`AccountError::Decided`] when it waits for nobody; when the directory cannot be
    /// asked.
    pub async fn find_request(&self, id: &str, by: Actor<'_>) -> Result<(Subject, Relation), AccountError> {
        let (id, found) = self.find_open(id, by.now).await?;
        let subject = self.subject_of(&found.value).await?;
        let (_, relation, _) = self.voucher(id, &found.value, &subject, by).await?;
        Ok((subject, relation))
    }

    /// Says yes or no to a request that waits. Whether the operator may is asked before ([`Accounts::find_request`]), and
    /// for a yes again for the level that it waits for when that is written.
    ///
    /// # Errors
    /// [`AccountError::NoSuchRequest`], [`AccountError::Decided`], [`AccountError::NotGood`];
    /// [`AccountError::Invalid`] for a reason that is too long or has control characters.
    pub async fn decide_request(
        &self,
        subject: &Subject,
        id: &str,
        answer: Answer<'_>,
        by: Actor<'_>,
    ) -> Result<RequestView, AccountError> {
        let (Answer::Approve(reason) | Answer::Deny(reason)) = answer;
        let reason = stated(reason)?;
        for _ in 0..super::RETRIES {
            let (id, mut found) = self.find_open(id, by.now).await?;
            let record = &mut found.value;
            if record.user != subject.key {
                return Err(AccountError::NoSuchRequest(id.to_string()));
            }
            let mut word = Word {
                by: self.who(by.name, subject).await?,
                instead_of: None,
                at: by.now,
                reason: reason.to_owned(),
            };
            let mut batch = Batch::default();
            let said = match answer {
                Answer::Approve(_) => {
                    let (level, relation, voucher) = self.voucher(id, record, subject, by).await?;
                    let Some(voucher) = voucher else {
                        return Err(AccountError::NotAsked(id.to_string(), relation));
                    };
                    word.by = voucher.who;
                    word.instead_of = voucher.instead_of;
                    batch.expect.extend(voucher.rests_on);
                    record.approve(level, word.clone()).map(|()| "request.approve")
                }
                Answer::Deny(_) => record.deny(word.clone()).map(|()| "request.deny"),
            };
            let action = said.map_err(|refused| refusal(id, refused))?;
            let change = Change::Put(encode(record), Some(record.expires));
            batch.replace(Key::request(id), found.version, change);
            let what = decided(id, record, &word);
            batch.audit.push(event(action, by, Some(subject), &what));
            if self.commit(batch).await? {
                self.tell_approvers(id, record, subject).await;
                return Ok(RequestView::of(id, record, by.now));
            }
        }
        Err(AccountError::Busy(subject.login.clone()))
    }

    /// Who asked takes a request back.
    ///
    /// # Errors
    /// [`AccountError::NoSuchRequest`], [`AccountError::Decided`], [`AccountError::NotGood`] for somebody else's.
    pub async fn cancel_request(&self, id: &str, reason: &str, by: Actor<'_>) -> Result<RequestView, AccountError> {
        let reason = stated(reason)?;
        for _ in 0..super::RETRIES {
            let (id, mut found) = self.find_open(id, by.now).await?;
            let subject = self.subject_of(&found.value).await?;
            let record = &mut found.value;
            let word = Word {
                by: self.who(by.name, &subject).await?,
                instead_of: None,
                at: by.now,
                reason: reason.to_owned(),
            };
            record.cancel(word.clone()).map_err(|refused| refusal(id, refused))?;
            let mut batch = Batch::default();
            let change = Change::Put(encode(record), Some(record.expires));
            batch.replace(Key::request(id), found.version, change);
            let what = decided(id, record, &word);
            batch.audit.push(event("request.cancel", by, Some(&subject), &what));
            if self.commit(batch).await? {
                return Ok(RequestView::of(id, record, by.now));
            }
        }
        Err(AccountError::Busy(id.to_owned()))
    }

    /// What the operator is to a request that waits, and how they vouch for it.
    async fn voucher(
        &self,
        id: RequestId,
        record: &RequestRecord,
        subject: &Subject,
        by: Actor<'_>,
    ) -> Result<(usize, Relation, Option<Voucher>), AccountError> {
        let Some((level, approver)) = level(record, by.now) else {
            return Err(AccountError::Decided(id.to_string(), record.stand(by.now).word()));
        };
        let vouching = Vouching {
            action: record.action(),
            approvers: std::slice::from_ref(approver),
            apart: &record.parties(),
            now: by.now,
        };
        let (relation, voucher) = self.stand(by.name, subject, vouching).await?;
        Ok((level, relation, voucher))
    }

    async fn may_approve(&self, operator: &str, record: &RequestRecord, now: Timestamp) -> Result<bool, AccountError> {
        let by = Actor { name: operator, now };
        let subject = match self.subject_of(record).await {
            Ok(subject) => subject,
            // They may have left the directory; that is nobody's to approve.
            Err(AccountError::NoSuchUser(_)) => return Ok(false),
            Err(error) => return Err(error),
        };
        let (_, relation, _) = self.voucher(RequestId::default(), record, &subject, by).await?;
        Ok(relation == Relation::Second)
    }

    /// Whom a request is about.
    pub(super) async fn subject_of(&self, record: &RequestRecord) -> Result<Subject, AccountError> {
        self.known_as(record.user.clone(), &record.login).await
    }

    pub(super) async fn find_open(
        &self,
        id: &str,
        now: Timestamp,
    ) -> Result<(RequestId, Versioned<RequestRecord>), AccountError> {
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

    /// Visits all requests that the store still has. One whose record is damaged is left out.
    async fn each_request(&self, mut visit: impl FnMut(RequestId, RequestRecord)) -> Result<(), AccountError> {
        let mut after: Option<Key> = None;
        loop {
            let page = self.store.scan(Key::REQUESTS, after.as_ref(), PAGE).await?;
            let full = page.len() == PAGE;
            after = page.last().map(|(key, _)| key.clone());
            for (key, octets) in page {
                let Some(id) = key.request_id() else { continue };
                match decode(&octets) {
                    Ok(record) => visit(id, record),
                    Err(error) => {
                        let error: &dyn std::error::Error = &error;
                        warn!(request = %id, error, "a request's record is unusable; left out");
                    }
                }
            }
            if !full {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    }
}

/// The level that a request waits for, and who may approve there.
pub(super) fn level(record: &RequestRecord, now: Timestamp) -> Option<(usize, &Approver)> {
    match record.stand(now) {
        Stand::Waiting(level) => Some((level, record.levels.get(level)?)),
        Stand::Approved | Stand::Denied | Stand::Cancelled | Stand::Used | Stand::Expired => None,
    }
}

fn keep_oldest(requests: &mut Vec<(RequestId, RequestRecord)>, most: usize) {
    requests.sort_by_key(|(_, record)| record.asked);
    requests.truncate(most);
}

/// What was said, for the audit.
fn decided(id: RequestId, record: &RequestRecord, word: &Word) -> String {
    let said = match (record.words.len(), record.levels.len()) {
        (_, 1) => String::new(),
        (done, all) => format!(", {done} of {all} levels"),
    };
    let because = if word.reason.is_empty() {
        String::new()
    } else {
        format!(": {}", word.reason)
    };
    format!(
        "{}: {} {id} by {}{said}{because}",
        record.login,
        record.action(),
        word.speaker()
    )
}

fn told(parameters: &[(String, String)]) -> String {
    parameters
        .iter()
        .map(|(name, value)| format!(" {name}={value}"))
        .collect()
}

/// Requests read at once.
const PAGE: usize = 1000;

/// Most requests that are looked at for somebody who wants to know which of them wait for them: each may ask a
/// directory.
const MOST_ASKED: usize = 200;

/// Most requests that one operator may have open.
const MOST_OPEN: usize = 100;

#[cfg(test)]
mod tests;
