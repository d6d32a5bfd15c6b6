//! Whether a caller is who they say, for helpdesk: by a code or by answers to security questions, judged and
//! counted as at a login. The operator learns only whether it is right.

use super::answers::{configured, slow_hash};
use super::view::{AskView, AskedView, VerifiedUser};
use super::{AccountError, Accounts, Actor, Loaded, RETRIES, Subject, event};
use crate::engine::authenticator::{self, Context, Judgement, Kind, KindSet};
use crate::engine::batch::{Batch, Change, Key};
use crate::engine::event::{AuditEvent, Outcome};
use crate::engine::facts::Person;
use crate::engine::questions::Questions;
use crate::engine::questions::asking::Asked;
use crate::engine::record::{Answers, Failure, UserRecord, encode};
use crate::engine::request::LoginName;
use crate::engine::throttle::Standing;
use crate::secret::Secret;

/// The action in the audit.
const ACTION: &str = "user.verify";

/// Codes that tell a helpdesk who is calling. Passcodes are none of them: they come from helpdesk, and one that is
/// typed there would be spent for nothing.
const CODES: KindSet = KindSet::of(Kind::Totp)
    .with(Kind::Hotp)
    .with(Kind::RecoveryCode)
    .with(Kind::YubicoOtp);

/// A caller's answer to one question.
#[derive(Clone, Debug)]
pub struct SaidAnswer {
    /// The question's name.
    pub question: String,
    /// What the caller said.
    pub answer: Secret,
}

impl Accounts {
    /// Judges a caller's code. A right one is spent, a wrong one counts, durably before the answer.
    ///
    /// # Errors
    /// [`AccountError::LockedOut`] after too many failures, when nothing is judged;
    /// [`AccountError::NothingToVerify`] when the person has nothing that shows codes.
    pub async fn verify_code(
        &self,
        subject: &Subject,
        code: &Secret,
        by: Actor<'_>,
    ) -> Result<VerifiedUser, AccountError> {
        self.judge_code(subject, code, CODES, ACTION, by).await
    }

    /// The same for codes of `kinds`, as `action` in the audit.
    pub(super) async fn judge_code(
        &self,
        subject: &Subject,
        code: &Secret,
        kinds: KindSet,
        action: &str,
        by: Actor<'_>,
    ) -> Result<VerifiedUser, AccountError> {
        let context = Context {
            user: &subject.key,
            keyring: &self.keyring,
            now: by.now,
            sent: None,
        };
        for _ in 0..RETRIES {
            let loaded = self.heard(subject, action, by).await?;
            let mut record = loaded.0.0.clone();
            if !authenticator::any_enrolled(kinds, &record, by.now) {
                return Err(AccountError::NothingToVerify(
                    subject.login.clone(),
                    "token or recovery code",
                ));
            }
            let typed = code.expose_str().unwrap_or_default();
            let (judgement, kind) = authenticator::judge(typed, kinds, &mut record, &context)?;
            let proven = kind.filter(|_| judgement == Judgement::Right);
            let event = match (judgement, proven) {
                (Judgement::Right, Some(kind)) => told(action, subject, kind, true, "", by),
                (Judgement::Replayed, _) => told(action, subject, Kind::Totp, false, ": code-replayed", by),
                (Judgement::Right | Judgement::Wrong | Judgement::NotApplicable, _) => {
                    told(action, subject, Kind::Totp, false, ": wrong-code", by)
                }
            };
            if self.settle(subject, &loaded, &record, event, by).await? {
                return Ok(verified(subject, proven.is_some()));
            }
        }
        Err(AccountError::Busy(subject.login.clone()))
    }

    /// What to ask a caller, in a language: helpdesk's own questions first, and the person's own, then others of
    /// theirs, always the same until they are answered right.
    ///
    /// # Errors
    /// When the person has too few answers, or they do not count.
    pub async fn verification_questions(
        &self,
        subject: &Subject,
        language: Option<&str>,
        by: Actor<'_>,
    ) -> Result<AskView, AccountError> {
        let person = subject.present()?;
        let policy = self.surroundings.policy();
        let questions = configured(&policy.questions)?;
        let ((record, _), _) = self.load(subject, by.now).await?;
        let answers = usable(subject, &record)?;
        let round = self.round(subject, person, questions, answers)?;
        let mut asked = Vec::with_capacity(round.len());
        for one in &round {
            let own = one
                .answer
                .map(|answer| answer.wording(&subject.key, &self.keyring))
                .transpose()?
                .flatten();
            asked.push(AskedView {
                question: one.question.id.to_string(),
                text: own.unwrap_or_else(|| {
                    one.question
                        .text(language.unwrap_or_default(), &policy.texts)
                        .to_owned()
                }),
            });
        }
        Ok(AskView {
            user: subject.key.to_string(),
            login: subject.login.clone(),
            questions: asked,
            correct: questions.correct,
        })
    }

    /// Judges a caller's answers, all together, to just the questions of
    /// [`Accounts::verification_questions`]. A wrong round counts against the person and against the answers,
    /// durably before the answer.
    ///
    /// # Errors
    /// As there; [`AccountError::LockedOut`] after too many failures, when nothing is judged;
    /// [`AccountError::Overloaded`] when too much waits to be hashed.
    pub async fn verify_answers(
        &self,
        subject: &Subject,
        said: &[SaidAnswer],
        by: Actor<'_>,
    ) -> Result<VerifiedUser, AccountError> {
        let person = subject.present()?;
        let policy = self.surroundings.policy();
        let questions = configured(&policy.questions)?;
        let mut hashes: Vec<Hashed> = Vec::new();
        for _ in 0..RETRIES {
            let loaded = self.heard(subject, ACTION, by).await?;
            let record = &loaded.0.0;
            let answers = usable(subject, record)?;
            let round = self.round(subject, person, questions, answers)?;
            let pairs = matching(&round, said)?;
            let mut right = 0;
            for (asked, said) in pairs {
                let Some(answer) = asked.answer else { continue };
                let known = hashes
                    .iter()
                    .find(|known| known.question == answer.question && known.salt == answer.salt);
                let hash = match known {
                    Some(known) => known.hash,
                    None => {
                        let hash = slow_hash(answer.job(&subject.key, &said.answer, &self.keyring)).await?;
                        hashes.push(Hashed {
                            question: answer.question.clone(),
                            salt: answer.salt,
                            hash,
                        });
                        hash
                    }
                };
                right += usize::from(answer.is(&hash));
            }
            let matched = right >= questions.correct;
            let mut changed = record.clone();
            let mut locks = false;
            if let Some(answers) = &mut changed.answers {
                if matched {
                    answers.count_right();
                } else {
                    locks = answers.count_wrong(questions);
                }
            }
            let why = match (matched, locks) {
                (true, _) => "",
                (false, true) => ": wrong-answers, locked now",
                (false, false) => ": wrong-answers",
            };
            let event = told(ACTION, subject, Kind::Questions, matched, why, by);
            if self.settle(subject, &loaded, &changed, event, by).await? {
                return Ok(verified(subject, matched));
            }
        }
        Err(AccountError::Busy(subject.login.clone()))
    }

    /// The person's records, unless they are locked out: then nothing is judged, which is audited.
    async fn heard(&self, subject: &Subject, action: &str, by: Actor<'_>) -> Result<Loaded, AccountError> {
        let loaded = self.load(subject, by.now).await?;
        match loaded.1.0.standing(self.surroundings.limit(), None, by.now) {
            Standing::Free => Ok(loaded),
            // As many attempts are under way as failures are left.
            Standing::Busy => Err(AccountError::Busy(subject.login.clone())),
            Standing::Over => {
                let what = format!("{}: throttled", subject.login);
                self.note(action, by, Some(subject), Outcome::Reject, &what).await?;
                Err(AccountError::LockedOut(subject.login.clone()))
            }
        }
    }

    /// Writes what judging has changed, with a failure if it is one; false on a conflict. A match clears no
    /// failures: no password was proven.
    async fn settle(
        &self,
        subject: &Subject,
        loaded: &Loaded,
        record: &UserRecord,
        event: AuditEvent,
        by: Actor<'_>,
    ) -> Result<bool, AccountError> {
        let ((before, version), (throttle, throttle_version)) = loaded;
        let limit = self.surroundings.limit();
        let mut batch = Batch::default();
        let key = Key::user(&subject.key);
        if before == record {
            batch.expect.push((key, *version));
        } else {
            batch.replace(key, *version, Change::Put(encode(record), None));
        }
        let key = Key::throttle(&subject.key);
        if event.outcome == Outcome::Accept || limit.failures == 0 {
            batch.expect.push((key, *throttle_version));
        } else {
            let failure = Failure { at: by.now, code: true };
            let counted = throttle.clone().with_failure(None, failure, limit);
            let change = Change::Put(encode(&counted), counted.expires(limit));
            batch.replace(key, *throttle_version, change);
        }
        batch.audit.push(event);
        self.commit(batch).await
    }

    /// The questions for a caller.
    fn round<'a>(
        &self,
        subject: &Subject,
        person: &Person,
        questions: &'a Questions,
        answers: &'a Answers,
    ) -> Result<Vec<Asked<'a>>, AccountError> {
        let desk = questions
            .questions
            .iter()
            .filter(|question| !questions.is_asked(question.kind));
        let mut round: Vec<Asked<'a>> = desk
            .filter_map(|question| {
                let answer = Some(answers.of(&question.id)?);
                Some(Asked { question, answer })
            })
            .collect();
        let login =
            LoginName::parse(&subject.login).map_err(|error| AccountError::BadName(subject.login.clone(), error))?;
        let others = questions.round(&login, Some((person, answers)), &self.keyring);
        round.extend(others.into_iter().filter(|asked| asked.answer.is_some()));
        round.truncate(questions.ask);
        if round.len() < questions.correct {
            return Err(AccountError::NothingToVerify(
                subject.login.clone(),
                "set of answers that is large enough",
            ));
        }
        Ok(round)
    }
}

/// What was computed of one answer, so that it need not be again after a conflict.
struct Hashed {
    question: String,
    salt: [u8; 16],
    hash: [u8; 32],
}

/// The person's answers, if they count.
fn usable<'r>(subject: &Subject, record: &'r UserRecord) -> Result<&'r Answers, AccountError> {
    let login = || subject.login.clone();
    let answers = record.answers.as_deref().filter(|answers| answers.are_defined());
    let answers = answers.ok_or_else(|| AccountError::NoAnswers(login()))?;
    if answers.locked {
        return Err(AccountError::AnswersLocked(login()));
    }
    if answers.must_update {
        return Err(AccountError::AnswersOutdated(login()));
    }
    Ok(answers)
}

/// What was said to each of the questions asked; each just once.
fn matching<'a, 's>(
    round: &[Asked<'a>],
    said: &'s [SaidAnswer],
) -> Result<Vec<(Asked<'a>, &'s SaidAnswer)>, AccountError> {
    let pairs: Option<Vec<_>> = round
        .iter()
        .map(|asked| {
            let mut answers = said.iter().filter(|said| *said.question == *asked.question.id);
            Some((*asked, answers.next().filter(|_| answers.next().is_none())?))
        })
        .collect();
    pairs
        .filter(|pairs| pairs.len() == said.len())
        .ok_or_else(|| AccountError::Invalid("these are not the questions to ask: have them shown again".into()))
}

fn told(action: &str, subject: &Subject, kind: Kind, matched: bool, why: &str, by: Actor<'_>) -> AuditEvent {
    let word = if matched { "match" } else { "no match" };
    let event = event(action, by, Some(subject), &format!("{}: {word}{why}", subject.login));
    if matched {
        AuditEvent {
            factors: vec![kind.to_string()],
            ..event
        }
    } else {
        AuditEvent {
            outcome: Outcome::Reject,
            ..event
        }
    }
}

fn verified(subject: &Subject, matched: bool) -> VerifiedUser {
    VerifiedUser {
        user: subject.key.to_string(),
        login: subject.login.clone(),
        matched,
    }
}

#[cfg(test)]
mod tests;
