//! Answers to security questions: defined for a person, looked at without the answers, locked and taken away.

use zeroize::Zeroizing;

use super::view::{AnswersView, DefinedAnswers, DefinedView, QuestionsView};
use super::{AccountError, Accounts, Actor, Subject};
use crate::clock::{self, Timestamp};
use crate::engine::questions::Questions;
use crate::engine::questions::answers::{HashJob, NewAnswer, Prepared, due};
use crate::engine::record::{Answer, Answers, UserRecord};
use crate::hashing;

/// How answers are defined.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefineWish {
    /// Whether answers that there are may be replaced.
    pub replace: bool,
    /// Look only: nothing is hashed or stored.
    pub check: bool,
}

/// What an operator does to a person's answers besides defining them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswersChange {
    /// They count no more until they are unlocked; who has none cannot define any.
    Lock,
    /// They count again.
    Unlock,
    /// They count no more until they are defined anew.
    MustUpdate,
    /// They still are right: the interval of reconfirmation begins anew.
    Reconfirm,
    /// They are gone, and with them what was counted against them.
    Unregister,
}

impl AnswersChange {
    /// The action in the audit.
    pub const fn action(self) -> &'static str {
        match self {
            Self::Lock => "answers.lock",
            Self::Unlock => "answers.unlock",
            Self::MustUpdate => "answers.must-update",
            Self::Reconfirm => "answers.reconfirm",
            Self::Unregister => "answers.unregister",
        }
    }
}

impl Accounts {
    /// The question policy in force, in a language.
    pub fn questions(&self, language: Option<&str>) -> QuestionsView {
        let policy = self.surroundings.policy();
        QuestionsView::of(&policy.questions, language, &policy.texts)
    }

    /// Defines a person's answers, all together or none: the rules of the question policy hold as in a dialog.
    ///
    /// # Errors
    /// [`AccountError::BadAnswers`] for the first thing that is wrong with them, [`AccountError::AnswersDefined`]
    /// where others would have to be replaced, [`AccountError::Overloaded`] when too much waits to be hashed.
    pub async fn define_answers(
        &self,
        subject: &Subject,
        given: &[NewAnswer],
        wish: DefineWish,
        by: Actor<'_>,
    ) -> Result<DefinedAnswers, AccountError> {
        subject.present()?;
        let policy = self.surroundings.policy();
        let questions = configured(&policy.questions)?;
        let prepared = questions
            .prepare(given, &subject.login, &subject.key, &self.keyring, clock::random)
            .map_err(|bad| AccountError::BadAnswers(subject.login.clone(), bad))?;
        let ((record, _), _) = self.load(subject, by.now).await?;
        let replaced = may_define(subject, &record, wish)?;
        let told = |replaced, stored| DefinedAnswers {
            user: subject.key.to_string(),
            login: subject.login.clone(),
            answers: given.len(),
            replaced,
            stored,
        };
        if wish.check {
            return Ok(told(replaced, false));
        }
        let mut answers = Vec::with_capacity(prepared.len());
        for one in prepared {
            answers.push(hashed(one).await?);
        }
        let replaced = self
            .change("answers.define", subject, by, |record| {
                let replaced = may_define(subject, record, wish)?;
                record
                    .answers
                    .get_or_insert_default()
                    .define(answers.clone(), questions, by.now);
                let how = if replaced { ", in place of others" } else { "" };
                Ok((replaced, format!("{} answers{how}", answers.len())))
            })
            .await?;
        Ok(told(replaced, true))
    }

    /// What there is to see of a person's answers: which questions, since when, and whether they count.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn answers(&self, subject: &Subject, now: Timestamp) -> Result<AnswersView, AccountError> {
        let ((record, _), _) = self.load(subject, now).await?;
        Ok(self.answers_view(subject, &record, now))
    }

    /// Locks, unlocks, or takes away a person's answers, or has them defined anew.
    ///
    /// # Errors
    /// [`AccountError::NoAnswers`] where there are none; only a lock is for everybody.
    pub async fn change_answers(
        &self,
        subject: &Subject,
        change: AnswersChange,
        by: Actor<'_>,
    ) -> Result<AnswersView, AccountError> {
        self.change(change.action(), subject, by, |record| {
            let none = || AccountError::NoAnswers(subject.login.clone());
            let count = match change {
                AnswersChange::Lock => {
                    let answers = record.answers.get_or_insert_default();
                    answers.lock();
                    answers.answers.len()
                }
                AnswersChange::Unlock => {
                    let answers = record.answers.as_deref_mut().ok_or_else(none)?;
                    answers.unlock();
                    answers.answers.len()
                }
                AnswersChange::MustUpdate => {
                    let answers = defined(record.answers.as_deref_mut()).ok_or_else(none)?;
                    answers.require_update();
                    answers.answers.len()
                }
                AnswersChange::Reconfirm => {
                    let answers = defined(record.answers.as_deref_mut()).ok_or_else(none)?;
                    answers.confirmed = by.now;
                    answers.answers.len()
                }
                AnswersChange::Unregister => record.answers.take().ok_or_else(none)?.answers.len(),
            };
            let view = self.answers_view(subject, record, by.now);
            Ok((view, format!("{count} answers")))
        })
        .await
    }

    fn answers_view(&self, subject: &Subject, record: &UserRecord, now: Timestamp) -> AnswersView {
        let policy = self.surroundings.policy();
        let none = Answers::default();
        let answers = record.answers.as_deref().unwrap_or(&none);
        let view = |answer: &Answer| DefinedView {
            question: answer.question.clone(),
            kind: policy.questions.find(&answer.question).map(|found| found.kind.into()),
        };
        AnswersView {
            user: subject.key.to_string(),
            login: subject.login.clone(),
            defined: answers.answers.iter().map(view).collect(),
            confirmed: answers.are_defined().then_some(answers.confirmed),
            usable: answers.count(),
            locked: answers.locked,
            failures: answers.failures,
            due: due(record.answers.as_deref(), &policy.questions, now).map(|due| due.word().to_owned()),
        }
    }
}

/// The slow hash of one answer, in the process's pool.
pub(super) async fn slow_hash(job: HashJob) -> Result<[u8; 32], AccountError> {
    hashing::pool().answer(job).await.ok_or(AccountError::Overloaded)
}

/// The questions of a policy that has any.
pub(super) fn configured(questions: &Questions) -> Result<&Questions, AccountError> {
    if questions.are_configured() {
        Ok(questions)
    } else {
        Err(AccountError::NoQuestions)
    }
}

async fn hashed(prepared: Prepared) -> Result<Answer, AccountError> {
    let hash = Zeroizing::new(slow_hash(prepared.job.clone()).await?);
    Ok(prepared.finish(*hash))
}

/// Whether answers take the place of others, if they may.
fn may_define(subject: &Subject, record: &UserRecord, wish: DefineWish) -> Result<bool, AccountError> {
    let replaces = record.answers.as_deref().is_some_and(Answers::are_defined);
    if replaces && !wish.replace {
        return Err(AccountError::AnswersDefined(subject.login.clone()));
    }
    Ok(replaces)
}

fn defined(answers: Option<&mut Answers>) -> Option<&mut Answers> {
    answers.filter(|answers| answers.are_defined())
}

#[cfg(test)]
pub(super) mod tests;
