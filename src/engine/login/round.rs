//! One round of security questions, the same for everybody: which is asked, what is hashed, what came of it all.
//!
//! What was right travels as one bit for each answer in the sealed dialog. Only a round that is whole is judged, by
//! the records as they are then: rounds that come in at the same time count one after the other.

use std::sync::Arc;

use crate::engine::authenticator::{Kind, KindSet};
use crate::engine::batch::Batch;
use crate::engine::dialog::Dialog;
use crate::engine::facts::Person;
use crate::engine::login::case::Case;
use crate::engine::login::{Attempt, Decision, Effect, Stage, Step};
use crate::engine::questions::answers::{HashJob, decoy_job};
use crate::engine::questions::asking::Asked;
use crate::engine::record::{Answers, UserRecord};
use crate::engine::verdict::{Denial, Outage, Prompt, Verdict};
use crate::engine::workflow::{Answered, At, Course, Start};
use crate::secret::Secret;

/// What an answer comes to.
pub(super) enum Answering {
    /// It has to be hashed first.
    Hash(HashJob),
    /// It cannot be hashed now: too many others wait. The same can be typed again.
    Busy,
    /// Another question follows.
    Next(Answered),
    /// The round is whole; it was right, or nobody's could have been, or it was wrong.
    Whole(Whole),
}

/// A whole round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whole {
    /// As many answers were right as have to be.
    Right,
    /// They were not.
    Wrong,
    /// Nothing would have been right: no answers, locked ones, or other ones than when the round began.
    Void(Denial),
}

impl<'a, 'f> Case<'a, 'f> {
    /// Where a round begins; `None` where no questions are configured.
    pub(super) fn first_question(&self) -> Option<Answered> {
        let round = self.round();
        (!round.is_empty()).then(|| Answered {
            number: 0,
            right: 0,
            round: self.mark(&round),
        })
    }

    /// The wording of the question that a round stands at.
    pub(super) fn question(&self, at: Answered) -> Option<String> {
        let policy = &self.engine.policy;
        let round = self.round();
        let asked = round.get(usize::from(at.number))?;
        let own = match (asked.answer, self.person()) {
            (Some(answer), Some(person)) => answer.wording(&person.key, &self.engine.keyring).ok().flatten(),
            (Some(_) | None, _) => None,
        };
        let voice = policy.texts.voice(&self.request.origin.manner, None);
        let text = own.as_deref();
        Some(voice.write(text.unwrap_or_else(|| asked.question.text(voice.language(), &policy.texts))))
    }

    /// What was typed for the question that a round stands at.
    pub(super) fn answering(&self, at: Answered, typed: &Secret) -> Answering {
        let keyring = &self.engine.keyring;
        let round = self.round();
        let current = round.get(usize::from(at.number)).and_then(|asked| asked.answer);
        let job = match (current, self.person()) {
            (Some(answer), Some(person)) => answer.job(&person.key, typed, keyring),
            (Some(_) | None, _) => decoy_job(typed, keyring),
        };
        let Some(hashed) = self.hashed.filter(|hashed| hashed.salt == job.salt) else {
            return Answering::Hash(job);
        };
        let Some(hash) = hashed.hash else {
            return Answering::Busy;
        };
        let is_right = current.is_some_and(|answer| answer.is(&hash));
        let answered = Answered {
            number: at.number.saturating_add(1),
            right: at.right | u8::from(is_right).checked_shl(at.number.into()).unwrap_or(0),
            round: at.round,
        };
        if usize::from(answered.number) < round.len() {
            return Answering::Next(answered);
        }
        Answering::Whole(self.whole(answered, &round))
    }

    fn whole(&self, answered: Answered, round: &[Asked<'_>]) -> Whole {
        let questions = &self.engine.policy.questions;
        let answers = match (self.blocked, self.person()) {
            (Some(denial), _) => return Whole::Void(denial),
            (None, None) => return Whole::Void(Denial::UnknownUser),
            (None, Some(_)) => self.facts.user.value.answers.as_deref(),
        };
        match answers.filter(|answers| answers.are_defined()) {
            None => Whole::Void(Denial::NotEnrolled),
            Some(answers) if answers.locked => Whole::Void(Denial::AnswersLocked),
            // Fewer answers than are asked: what was asked was nobody's.
            Some(answers) if !answers.count() || round.iter().any(|asked| asked.answer.is_none()) => {
                Whole::Void(Denial::NotEnrolled)
            }
            // Defined anew meanwhile, or another round was right.
            Some(_) if answered.round != self.mark(round) => Whole::Void(Denial::BadDialog),
            Some(_) if answered.right.count_ones() as usize >= questions.correct => Whole::Right,
            Some(_) => Whole::Wrong,
        }
    }

    /// The answer is hashed, and then the request judged once more.
    pub(super) const fn hash(&self, job: HashJob) -> Step<'a> {
        let attempt = Attempt {
            engine: self.engine,
            request: self.request,
            stage: Stage::Hashing { nonce: self.nonce },
        };
        Step::Do(Effect::Hash(job), attempt)
    }

    /// No answer can be hashed now. Nothing is written down of it, so that a flood fills nothing.
    pub(super) fn too_busy(&self) -> Step<'a> {
        Step::Decided(Decision {
            verdict: Verdict::Unavailable(Outage {
                reason: "too many answers to security questions are being checked at once".into(),
            }),
            batch: Batch::default(),
            rule: Some(Arc::clone(&self.rule.name)),
            proven: KindSet::EMPTY,
            reuse: None,
        })
    }

    /// Asks the first question in place of a code. Where none are configured the text stays as it is, and nothing
    /// that is typed is right.
    pub(super) fn begin_round(&self, prompt: &mut Prompt) {
        if let Some(first) = self.first_question() {
            self.ask_in_place(first, prompt);
        }
    }

    fn ask_in_place(&self, at: Answered, prompt: &mut Prompt) {
        if let Some(question) = self.question(at) {
            let manner = &self.request.origin.manner;
            prompt.text = self.engine.policy.texts.voice(manner, None).write(question);
        }
        prompt.echo = false;
        prompt.dialog.course = Some(Course {
            start: Start::Login,
            mark: 0,
            step: 0,
            chosen: None,
            at: At::Factor(at),
            session: None,
            spoilt: false,
        });
    }

    /// What was typed for a question that a rule asks beside other factors.
    pub(super) fn answer_question(self, typed: &Secret, dialog: &Dialog, at: Answered) -> Step<'a> {
        let mut record = self.record();
        if !self.is_current(dialog) {
            return self.refuse(Denial::BadDialog, record);
        }
        let (proven, password) = (dialog.proven, dialog.password.clone());
        match self.answering(at, typed) {
            Answering::Hash(job) => self.hash(job),
            Answering::Busy => self.too_busy(),
            Answering::Next(next) => {
                let mut step = self.challenge(proven, password, record, Some(dialog));
                if let Step::Decided(decision) = &mut step
                    && let Verdict::Challenge(prompt) = &mut decision.verdict
                {
                    self.ask_in_place(next, prompt);
                }
                step
            }
            Answering::Whole(Whole::Right) => {
                self.proceed(proven.with(Kind::Questions), password, record, Some(dialog))
            }
            Answering::Whole(Whole::Wrong) => {
                count_wrong(record.to_mut(), &self);
                self.refuse(Denial::WrongAnswers, record)
            }
            Answering::Whole(Whole::Void(denial)) => self.refuse(denial, record),
        }
    }

    fn round(&self) -> Vec<Asked<'_>> {
        let questions = &self.engine.policy.questions;
        if !questions.are_configured() {
            return Vec::new();
        }
        let answers = self.facts.user.value.answers.as_deref();
        let own = self.person().map(Arc::as_ref).zip(answers);
        questions.round(&self.request.login, own, &self.engine.keyring)
    }

    /// Tells one round from another: of other questions, of answers defined anew, or from before others were right. So
    /// a dialog whose answers were right once lets nobody in a second time.
    fn mark(&self, round: &[Asked<'_>]) -> u32 {
        let mut digest = crc32fast::Hasher::new();
        let answers = self.facts.user.value.answers.as_deref();
        digest.update(&answers.map_or(0, |answers| answers.rounds).to_be_bytes());
        for asked in round {
            digest.update(asked.question.id.as_bytes());
            digest.update(&asked.answer.map_or([0; 16], |answer| answer.salt));
        }
        digest.finalize()
    }

    fn person(&self) -> Option<&Arc<Person>> {
        self.facts.lookup.person()
    }
}

/// A round was wrong: counted, also against the answers themselves. True when that has locked them.
pub(super) fn count_wrong(record: &mut UserRecord, case: &Case<'_, '_>) -> bool {
    let answers = record.answers.as_deref_mut();
    answers.is_some_and(|answers| answers.count_wrong(&case.engine.policy.questions))
}

/// Somebody is through who has answered right: other questions are asked next time. Not before, or questions that
/// change would tell that a round was right.
pub(super) fn count_right(record: &mut UserRecord) {
    if let Some(answers) = &mut record.answers {
        Answers::count_right(answers);
    }
}
