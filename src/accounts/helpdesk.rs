//! What helpdesk does to one account: in the directory, in our own record, or in both.
//!
//! What is done in a directory cannot be taken back, and so the audit has durably who asked for it before the directory
//! is asked; a second record says what came of it.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::resolve::directory_of;
use super::view::{Forced, InDirectory, PasswordReset, Switched, Unlocked, Unregistered};
use super::{AccountError, Accounts, Actor, RETRIES, Subject};
use crate::clock;
use crate::directory::Directory;
use crate::engine::account::{AccountChange, Changed};
use crate::engine::batch::Key;
use crate::engine::event::Outcome;
use crate::engine::generated;
use crate::engine::record::{ForcedChange, UserRecord};
use crate::secret::Secret;

/// What is to be unlocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnlockWish {
    /// Our own lock after too many failures.
    pub profile: bool,
    /// The directory's lock.
    pub account: bool,
    /// The answers to security questions.
    pub answers: bool,
}

/// Why a directory did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", told(.login, .directory, .came))]
pub struct NotDone {
    /// Whose account it is.
    pub login: String,
    /// The directory.
    pub directory: String,
    /// What came of it; never [`Changed::Done`].
    pub came: Changed,
}

fn told(login: &str, directory: &str, came: &Changed) -> String {
    match came {
        Changed::Done => format!("directory `{directory}` has done it for `{login}`"),
        Changed::WrongPassword => format!("directory `{directory}` did not take the password of `{login}`"),
        Changed::Refused(why) => format!("directory `{directory}` did not take the new password of `{login}`: {why}"),
        Changed::Locked => format!("the account of `{login}` is locked in directory `{directory}`"),
        Changed::Disabled => format!("the account of `{login}` is disabled in directory `{directory}`"),
        Changed::Forbidden(why) => format!("directory `{directory}` does not allow it for `{login}`: {why}"),
        Changed::Unsupported => format!("directory `{directory}` has no such thing"),
        Changed::Unknown => format!("directory `{directory}` has no entry of `{login}` any more"),
        Changed::Unavailable(why) => format!("directory `{directory}` cannot be asked: {why}"),
        Changed::Lost(why) => format!(
            "directory `{directory}` was asked and did not answer: it may have been done for `{login}` or not: {why}"
        ),
    }
}

impl Accounts {
    /// Sets a password that is made up, and has it changed at the next login. The answer holds it, this once.
    ///
    /// # Errors
    /// [`AccountError::NotDone`] with what the directory says; after [`Changed::Lost`] it may have been set.
    pub async fn reset_password(&self, subject: &Subject, by: Actor<'_>) -> Result<PasswordReset, AccountError> {
        let directory = self.changeable(subject)?;
        let new = self.made_up();
        // Before the directory: a password that is known to two must not let in for longer than to change it.
        let before = self
            .hold_to_change(subject, "user.reset", by, "password asked for")
            .await?;
        let change = AccountChange::Reset {
            new: &new,
            must_change: true,
        };
        let came = directory.change(subject.present()?, change).await;
        self.came_to("user.reset", subject, by, directory.name(), &came).await?;
        if came != Changed::Done {
            if !matches!(came, Changed::Lost(_)) {
                self.put_back(subject, before, by).await?;
            }
            return Err(not_done(subject, directory.name(), came));
        }
        self.surroundings.changed(&subject.key);
        Ok(PasswordReset {
            user: subject.key.to_string(),
            login: subject.login.clone(),
            password: Zeroizing::new(new.expose_str().unwrap_or_default().to_owned()),
            must_change: true,
        })
    }

    /// Has the password changed at the next login, or not any more: in our own record, and in the directory where it
    /// has such a thing. That the directory could not be told is part of the answer: here it holds all the same.
    ///
    /// # Errors
    /// When another server judges the passwords; when the store fails.
    pub async fn force_change(&self, subject: &Subject, wanted: bool, by: Actor<'_>) -> Result<Forced, AccountError> {
        let directory = self.changeable(subject)?;
        let (word, forced) = match wanted {
            true => ("at the next login", Some(forced(by))),
            false => ("not any more", None),
        };
        let changed = self
            .change("user.must-change", subject, by, |record| {
                let changed = record.must_change.is_some() != wanted;
                record.must_change.clone_from(&forced);
                Ok((changed, word.to_owned()))
            })
            .await?;
        let told = self
            .tell(subject, &directory, AccountChange::MustChange(wanted), by)
            .await?;
        Ok(Forced {
            user: subject.key.to_string(),
            login: subject.login.clone(),
            must_change: wanted,
            changed,
            directory: told,
        })
    }

    /// Lets the account log in at its directory, or not any more.
    ///
    /// # Errors
    /// [`AccountError::NotDone`] with what the directory says.
    pub async fn switch_account(
        &self,
        subject: &Subject,
        enabled: bool,
        by: Actor<'_>,
    ) -> Result<Switched, AccountError> {
        let directory = self.directory_of(subject)?;
        let action = if enabled { "user.enable" } else { "user.disable" };
        let what = format!("{}: asked of directory {}", subject.login, directory.name());
        self.note(action, by, Some(subject), Outcome::Accept, &what).await?;
        let came = directory
            .change(subject.present()?, AccountChange::Enabled(enabled))
            .await;
        self.came_to(action, subject, by, directory.name(), &came).await?;
        if came != Changed::Done {
            return Err(not_done(subject, directory.name(), came));
        }
        self.surroundings.changed(&subject.key);
        Ok(Switched {
            user: subject.key.to_string(),
            login: subject.login.clone(),
            enabled,
        })
    }

    /// Takes away all that a person has enrolled: tokens, machines, recovery codes, answers, the live passcode, codes
    /// on their way. That they once had a second factor stays known, so that the password alone lets nobody in, nor
    /// enrols anything; unless they are to be `as_new`. A denial stays, and so does a password that is to be changed.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn unregister(
        &self,
        subject: &Subject,
        as_new: bool,
        by: Actor<'_>,
    ) -> Result<Unregistered, AccountError> {
        self.change("user.unregister", subject, by, |record| {
            let gone = std::mem::take(record);
            let answers = gone.answers.as_ref().is_some_and(|answers| !answers.answers.is_empty());
            let (machines, tokens): (Vec<_>, Vec<_>) = gone.tokens.iter().partition(|token| token.is_of_machine());
            let taken = Unregistered {
                user: subject.key.to_string(),
                login: subject.login.clone(),
                tokens: tokens.len(),
                machines: machines.len(),
                recovery_codes: gone.recovery.len(),
                answers,
                passcode: gone.passcode.is_some(),
                as_new,
            };
            *record = UserRecord {
                login: subject.login.clone(),
                ever_enrolled: gone.ever_enrolled && !as_new,
                last_login: gone.last_login,
                next_token: gone.next_token,
                denied: gone.denied,
                must_change: gone.must_change,
                ..UserRecord::default()
            };
            let what = format!(
                "{} tokens, {} machines, {} recovery codes{}{}{}",
                taken.tokens,
                taken.machines,
                taken.recovery_codes,
                if answers { ", the answers" } else { "" },
                if taken.passcode { ", the passcode" } else { "" },
                if as_new { "; may enrol as if never enrolled" } else { "" },
            );
            Ok((taken, what))
        })
        .await
    }

    /// Ends the locks that are wished for. That the directory could not end its own is part of the answer.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn unlock_all(
        &self,
        subject: &Subject,
        wish: UnlockWish,
        by: Actor<'_>,
    ) -> Result<Unlocked, AccountError> {
        let mut unlocked = match wish.profile {
            true => self.unlock(subject, by).await?,
            false => Unlocked {
                user: subject.key.to_string(),
                login: subject.login.clone(),
                ..Unlocked::default()
            },
        };
        if wish.answers {
            unlocked.answers = self.unlock_answers(subject, by).await?;
        }
        let directory = self.directory_of(subject).ok();
        unlocked.account = match directory.filter(|_| wish.account) {
            None => None,
            Some(directory) => {
                let what = format!("{}: asked of directory {}", subject.login, directory.name());
                self.note("user.unlock", by, Some(subject), Outcome::Accept, &what)
                    .await?;
                Some(self.tell(subject, &directory, AccountChange::Unlock, by).await?)
            }
        };
        Ok(unlocked)
    }

    /// Whether there were answers that were locked.
    async fn unlock_answers(&self, subject: &Subject, by: Actor<'_>) -> Result<bool, AccountError> {
        let ((record, _), _) = self.load(subject, by.now).await?;
        if !record.answers.as_ref().is_some_and(|answers| answers.locked) {
            return Ok(false);
        }
        self.change_answers(subject, super::AnswersChange::Unlock, by).await?;
        Ok(true)
    }

    /// The directory of somebody who is in it.
    fn directory_of(&self, subject: &Subject) -> Result<Arc<dyn Directory>, AccountError> {
        subject.present()?;
        let mut directories = self.chosen(Some(directory_of(subject.key.as_str())))?;
        Ok(directories.swap_remove(0))
    }

    /// The same where the directory itself judges passwords.
    pub(super) fn changeable(&self, subject: &Subject) -> Result<Arc<dyn Directory>, AccountError> {
        let directory = self.directory_of(subject)?;
        match directory.password_by() {
            None => Ok(directory),
            Some(upstream) => Err(AccountError::Invalid(format!(
                "the passwords of directory `{}` are judged by the upstream `{upstream}`; have them changed there",
                directory.name()
            ))),
        }
    }

    /// Has the directory do something that holds here already, or need not. Only what went wrong is noted.
    pub(super) async fn tell(
        &self,
        subject: &Subject,
        directory: &Arc<dyn Directory>,
        change: AccountChange<'_>,
        by: Actor<'_>,
    ) -> Result<InDirectory, AccountError> {
        let came = directory.change(subject.present()?, change).await;
        let told = match &came {
            Changed::Done => return Ok(InDirectory::Done),
            Changed::Unsupported => return Ok(InDirectory::Unsupported),
            Changed::WrongPassword
            | Changed::Refused(_)
            | Changed::Locked
            | Changed::Disabled
            | Changed::Forbidden(_)
            | Changed::Unknown
            | Changed::Unavailable(_)
            | Changed::Lost(_) => told(&subject.login, directory.name(), &came),
        };
        let action = format!("user.{}", change.word());
        self.note(&action, by, Some(subject), outcome(&came), &told).await?;
        Ok(InDirectory::Failed(told))
    }

    /// Writes down what came of what a directory was asked for.
    async fn came_to(
        &self,
        action: &str,
        subject: &Subject,
        by: Actor<'_>,
        directory: &str,
        came: &Changed,
    ) -> Result<(), AccountError> {
        let what = told(&subject.login, directory, came);
        self.note(action, by, Some(subject), outcome(came), &what).await
    }

    /// Has the password changed at the next login; what was wanted before comes back.
    async fn hold_to_change(
        &self,
        subject: &Subject,
        action: &str,
        by: Actor<'_>,
        what: &str,
    ) -> Result<Option<ForcedChange>, AccountError> {
        self.change(action, subject, by, |record| {
            let before = record.must_change.replace(forced(by));
            Ok((before, what.to_owned()))
        })
        .await
    }

    /// Takes back what [`Accounts::hold_to_change`] did, unless it is another's word by now.
    async fn put_back(
        &self,
        subject: &Subject,
        before: Option<ForcedChange>,
        by: Actor<'_>,
    ) -> Result<(), AccountError> {
        for _ in 0..RETRIES {
            let ((mut record, version), _) = self.load(subject, by.now).await?;
            if record.must_change != Some(forced(by)) {
                return Ok(());
            }
            record.must_change.clone_from(&before);
            let mut batch = crate::engine::batch::Batch::default();
            let change = crate::engine::batch::Change::Put(crate::engine::record::encode(&record), None);
            batch.replace(Key::user(&subject.key), version, change);
            if self.commit(batch).await? {
                return Ok(());
            }
        }
        Err(AccountError::Busy(subject.login.clone()))
    }

    /// A new password of the configured shape.
    fn made_up(&self) -> Secret {
        let shape = self.surroundings.generated_passwords();
        loop {
            let random = Zeroizing::new(clock::random::<256>());
            if let Some(made) = generated::password(random.as_slice(), shape) {
                return made;
            }
        }
    }
}

pub(super) fn forced(by: Actor<'_>) -> ForcedChange {
    ForcedChange {
        by: by.name.to_owned(),
        at: by.now,
    }
}

fn not_done(subject: &Subject, directory: &str, came: Changed) -> AccountError {
    AccountError::NotDone(Box::new(NotDone {
        login: subject.login.clone(),
        directory: directory.to_owned(),
        came,
    }))
}

/// For the audit: an outage is no refusal.
const fn outcome(came: &Changed) -> Outcome {
    match came {
        Changed::Done => Outcome::Accept,
        Changed::Unavailable(_) | Changed::Lost(_) => Outcome::Unavailable,
        Changed::WrongPassword
        | Changed::Refused(_)
        | Changed::Locked
        | Changed::Disabled
        | Changed::Forbidden(_)
        | Changed::Unsupported
        | Changed::Unknown => Outcome::Reject,
    }
}

#[cfg(test)]
mod tests;
