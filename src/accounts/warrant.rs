//! What takes an approval before an operator does it, and the request that it is done under: spent with the change.

use std::sync::Arc;

use super::{AccountError, Accounts, Actor, Subject, event};
use crate::engine::approval::{Action, Deed, Refused, RequestId, RequestRecord, Rule, Stand, Word, rule_for};
use crate::engine::batch::{Batch, Change, Key};
use crate::engine::record::encode;

/// What an operator is about to do to a person, as far as approvals go.
#[derive(Clone, Copy, Debug)]
pub struct Doing<'a> {
    /// What.
    pub action: Action,
    /// With which parameters, in the order of their names.
    pub parameters: &'a [(String, String)],
    /// The request that they do it under.
    pub request: Option<&'a str>,
}

/// The approved request that something is done under. It is spent in the batch that does it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warrant {
    id: RequestId,
    action: Action,
    digest: [u8; 32],
}

impl Accounts {
    /// Whether the operator may do something to a person now: because it takes no approval, or because the request that
    /// they name was approved for it. The answer is the person, with the request to be spent by the change.
    ///
    /// # Errors
    /// [`AccountError::NeedsApproval`] without a request; why the request is good for nothing.
    pub async fn warranted(
        &self,
        mut subject: Subject,
        doing: Doing<'_>,
        by: Actor<'_>,
    ) -> Result<Subject, AccountError> {
        if self.approval_rule(doing.action, &subject).is_none() {
            return Ok(subject);
        }
        let Some(id) = doing.request else {
            return Err(AccountError::NeedsApproval(doing.action, subject.login));
        };
        let (id, found) = self.find_open(id, by.now).await?;
        let warrant = Warrant {
            id,
            action: doing.action,
            digest: Deed::digest(&self.keyring, doing.action, doing.parameters),
        };
        self.used(&warrant, &subject, found.value, by).await?;
        subject.warrant = Some(Arc::new(warrant));
        Ok(subject)
    }

    /// The rule that wants an approval of `action` on `subject`.
    pub fn approval_rule(&self, action: Action, subject: &Subject) -> Option<Rule> {
        let four_eyes = self.surroundings.four_eyes();
        let policy = self.surroundings.policy();
        rule_for(&four_eyes.rules, action, subject.person.as_deref(), &policy.privileged).cloned()
    }

    /// Spends the request that something is done to `subject` under, in the batch that does it; what is done under none
    /// is left as it is. For each try of the batch: the request is read again.
    ///
    /// # Errors
    /// When the request is good for it no more.
    pub(super) async fn spend(&self, subject: &Subject, batch: &mut Batch, by: Actor<'_>) -> Result<(), AccountError> {
        let Some(warrant) = &subject.warrant else {
            return Ok(());
        };
        let (id, found) = self.find_open(&warrant.id.to_string(), by.now).await?;
        let used = self.used(warrant, subject, found.value, by).await?;
        let change = Change::Put(encode(&used), Some(used.expires));
        batch.replace(Key::request(id), found.version, change);
        let agreed: Vec<String> = used.words.iter().map(Word::speaker).collect();
        let what = format!(
            "{}: {id} ({}), approved by {}",
            used.login,
            used.action(),
            agreed.join(", ")
        );
        batch.audit.push(event("request.use", by, Some(subject), &what));
        Ok(())
    }

    /// Spends it at once, for what is done outside the store: it may be done once at most, also when that fails.
    ///
    /// # Errors
    /// When the request is good for it no more, or the store fails.
    pub async fn spend_at_once(&self, mut subject: Subject, by: Actor<'_>) -> Result<Subject, AccountError> {
        for _ in 0..super::RETRIES {
            let mut batch = Batch::default();
            self.spend(&subject, &mut batch, by).await?;
            if batch.is_empty() || self.commit(batch).await? {
                subject.warrant = None;
                return Ok(subject);
            }
        }
        Err(AccountError::Busy(subject.login))
    }

    /// Everybody who agreed to what is done to `subject`, and who asked for it.
    ///
    /// # Errors
    /// When the request has gone.
    pub(super) async fn parties(
        &self,
        subject: &Subject,
        by: Actor<'_>,
    ) -> Result<Vec<crate::engine::approval::Who>, AccountError> {
        match &subject.warrant {
            Some(warrant) => Ok(self.find_open(&warrant.id.to_string(), by.now).await?.1.value.parties()),
            None => Ok(Vec::new()),
        }
    }

    /// The request as it is once `warrant` is used.
    async fn used(
        &self,
        warrant: &Warrant,
        subject: &Subject,
        mut request: RequestRecord,
        by: Actor<'_>,
    ) -> Result<RequestRecord, AccountError> {
        let word = Word {
            by: self.who(by.name, subject).await?,
            instead_of: None,
            at: by.now,
            reason: String::new(),
        };
        request
            .spend(warrant.action, &subject.key, &warrant.digest, word)
            .map_err(|refused| refusal(warrant.id, refused))?;
        let now = self.approval_rule(warrant.action, subject);
        if now.is_some_and(|rule| rule.levels != request.levels) {
            return Err(AccountError::OtherLevels(warrant.id.to_string()));
        }
        Ok(request)
    }
}

/// What the engine refuses, in the words of accounts.
pub(super) fn refusal(id: RequestId, refused: Refused) -> AccountError {
    match refused {
        Refused::Over(Stand::Expired) => AccountError::NoSuchRequest(id.to_string()),
        Refused::Over(stand) => AccountError::Decided(id.to_string(), stand.word()),
        Refused::OtherLevel
        | Refused::Party
        | Refused::Again
        | Refused::NotTheirs
        | Refused::NotApproved
        | Refused::OtherMatter => AccountError::NotGood(id.to_string(), refused),
    }
}
