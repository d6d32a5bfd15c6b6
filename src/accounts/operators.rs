//! Operators as people of the directories: who they are there, whom they manage, what they prove.

use super::relation::Account;
use super::resolve::look_up;
use super::{AccountError, Accounts, Actor, Subject};
use crate::clock::Timestamp;
use crate::engine::authenticator::{Kind, KindSet};
use crate::engine::facts::Lookup;
use crate::engine::operator::account_of;
use crate::engine::record::TokenKind;
use crate::engine::request::LoginName;
use crate::secret::Secret;

/// Codes that an operator confirms something with: those of tokens. What helpdesk hands out is none of them.
const OWN_CODES: KindSet = KindSet::of(Kind::Totp).with(Kind::Hotp).with(Kind::YubicoOtp);

impl Accounts {
    /// Those whom the directories know by the name of an operator's account: in `directory`, or in all.
    ///
    /// # Errors
    /// When a directory cannot be asked, or has several entries of that name.
    pub async fn people_of(&self, operator: &str, directory: Option<&str>) -> Result<Vec<Subject>, AccountError> {
        let account = account_of(operator);
        let Ok(login) = LoginName::parse(account) else {
            return Ok(Vec::new());
        };
        let mut people = Vec::new();
        for (directory, lookup) in look_up(self.chosen(directory)?, &login).await {
            match lookup {
                Lookup::Found(person) => people.push(Subject {
                    key: person.key.clone(),
                    login: person.login.clone(),
                    person: Some(person),
                    warrant: None,
                }),
                Lookup::Unknown => {}
                Lookup::Ambiguous => {
                    let what = format!("several entries of directory `{directory}`");
                    return Err(AccountError::Ambiguous(account.to_owned(), what));
                }
                Lookup::Unavailable(reason) => return Err(AccountError::DirectoryUnavailable(directory, reason)),
            }
        }
        Ok(people)
    }

    /// Whether the operator is the person's manager, as the person's directory says.
    ///
    /// # Errors
    /// When the directory cannot be asked.
    pub async fn manages(&self, operator: &str, subject: &Subject) -> Result<bool, AccountError> {
        let Some(person) = &subject.person else {
            return Ok(false);
        };
        let manager = match self.account(operator, subject).await? {
            Account::Known(manager) => manager,
            Account::Themselves | Account::Nobody => return Ok(false),
        };
        let theirs = self.manager_of(person).await?;
        Ok(theirs.is_some_and(|theirs| theirs.key == manager.key))
    }

    /// Whether a person is privileged. Of somebody who has left the directory only the name can tell.
    pub fn is_privileged(&self, subject: &Subject) -> bool {
        let class = &self.surroundings.policy().privileged;
        match &subject.person {
            Some(person) => class.includes(person),
            None => class.users.iter().any(|user| user.eq_ignore_ascii_case(&subject.login)),
        }
    }

    /// Somebody of whom a list has the key, as their directory describes them now.
    ///
    /// # Errors
    /// When neither a record nor the store can say who that is, or the directory cannot be asked.
    pub async fn person_of_key(&self, key: &str) -> Result<Subject, AccountError> {
        self.resolve(key, None).await
    }

    /// Whether somebody has a token whose codes confirm what they do as an operator. One that is switched off is one as
    /// well: too many wrong codes switch it off, and must not end what they were guessed for.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn can_confirm(&self, subject: &Subject, now: Timestamp) -> Result<bool, AccountError> {
        let ((record, _), _) = self.load(subject, now).await?;
        Ok(record.tokens.iter().any(|token| match token.kind {
            TokenKind::Totp { .. } | TokenKind::Hotp { .. } | TokenKind::YubicoOtp { .. } => true,
            TokenKind::Ocra { .. } => false,
        }))
    }

    /// Judges the code by which an operator, who is `subject`, confirms a request. A right one is spent, a wrong one
    /// counts as at a login, durably before the answer.
    ///
    /// # Errors
    /// [`AccountError::LockedOut`] after too many failures, when nothing is judged;
    /// [`AccountError::NothingToVerify`] when there is no token.
    pub async fn confirm(&self, subject: &Subject, code: &Secret, by: Actor<'_>) -> Result<bool, AccountError> {
        let verified = self
            .judge_code(subject, code, OWN_CODES, "operator.confirm", by)
            .await?;
        Ok(verified.matched)
    }
}

#[cfg(test)]
mod tests {
    use crate::accounts::TokenWish;
    use crate::accounts::Which;
    use crate::accounts::fixture::{CAROL, Fixture, NOW};

    #[tokio::test]
    async fn a_token_that_is_switched_off_still_has_a_code_asked_for() {
        let site = Fixture::new();
        let ben = site.subject("ben").await;
        assert!(!site.accounts.can_confirm(&ben, NOW).await.unwrap());
        site.accounts.enrol(&ben, &TokenWish::default(), CAROL).await.unwrap();
        assert!(site.accounts.can_confirm(&ben, NOW).await.unwrap());
        let which = Which::parse("1");
        site.accounts.switch_token(&ben, &which, false, CAROL).await.unwrap();
        assert!(site.accounts.can_confirm(&ben, NOW).await.unwrap());
        site.accounts.revoke_token(&ben, &which, CAROL).await.unwrap();
        assert!(!site.accounts.can_confirm(&ben, NOW).await.unwrap());
    }
}
