//! Defining answers to security questions: one after the other, each held against the policy as it comes in, stored
//! together once all are in.
//!
//! Only for somebody who has proven who they are. Until the last is in, the answers wait hashed in the person's record
//! as a draft; the sealed dialog has no more of them than short keyed digests, by which two that are the same are found.

use std::ops::ControlFlow;

use crate::engine::event::Outcome;
use crate::engine::login::Step;
use crate::engine::login::course::{Turn, Walk};
use crate::engine::questions::answers::{NewAnswer, Refusal, due, prepare_one};
use crate::engine::questions::asking::local_name;
use crate::engine::questions::normalise::normalise;
use crate::engine::questions::{Question, QuestionKind};
use crate::engine::record::{Answer, Draft};
use crate::engine::texts::Text;
use crate::engine::verdict::Denial;
use crate::engine::workflow::{At, Defining};
use crate::secret::Secret;

const ACTION: &str = "answers.define";

impl<'a, 'f> Walk<'a, 'f> {
    /// Asks for the first answer, if any are to be defined: after a login those that are due, otherwise whoever has
    /// chosen to. Passed over where a lock bars them, and over a transport that they must not cross.
    pub(super) fn ask_answers(self) -> Turn<'a, 'f> {
        let questions = &self.case.engine.policy.questions;
        let answers = self.record.answers.as_deref();
        let is_due = due(answers, questions, self.case.now).is_some();
        let is_wanted = match self.position.course.chosen {
            Some(_) => questions.are_configured() && answers.is_none_or(|answers| !answers.locked),
            None => is_due,
        };
        let is_safe = self.case.request.origin.encrypted() || questions.unprotected;
        if !is_wanted || !is_safe {
            return ControlFlow::Continue(self);
        }
        let first = Defining {
            draft: self.case.nonce,
            marks: Vec::new(),
        };
        ControlFlow::Break(self.ask_new_answer(first, None))
    }

    pub(super) fn take_new_answer(mut self, typed: &Secret) -> Turn<'a, 'f> {
        let At::Define(at) = self.position.course.at.clone() else {
            return ControlFlow::Break(self.refuse(Denial::BadDialog));
        };
        let Some(person) = self.person() else {
            return ControlFlow::Break(self.refuse(Denial::UnknownUser));
        };
        let engine = self.case.engine;
        let questions = &engine.policy.questions;
        let wanted = self.wanted();
        let Some(question) = wanted.get(at.marks.len()) else {
            return ControlFlow::Break(self.refuse(Denial::BadDialog));
        };
        let new = NewAnswer {
            question: question.id.to_string(),
            own: None,
            answer: typed.clone(),
        };
        let mark = self.mark(&at, typed);
        let checked = questions.check(&new, self.case.request.login.as_str(), []);
        match checked {
            Ok(()) if at.marks.contains(&mark) => {
                return ControlFlow::Break(self.ask_new_answer(at, Some(Refusal::Duplicate)));
            }
            Ok(()) => {}
            Err(refusal) => return ControlFlow::Break(self.ask_new_answer(at, Some(refusal))),
        }
        let salt = salt(&self, &at);
        let prepared = prepare_one(&new, &person.key, &engine.keyring, salt);
        let hash = match self.case.hashed.filter(|hashed| hashed.salt == salt) {
            None => return ControlFlow::Break(self.case.hash(prepared.job)),
            Some(hashed) => hashed.hash,
        };
        let Some(hash) = hash else {
            return ControlFlow::Break(self.case.too_busy());
        };
        let Some(mut answers) = self.drafted(&at) else {
            return ControlFlow::Break(self.refuse(Denial::BadDialog));
        };
        answers.push(prepared.finish(hash));
        if answers.len() < wanted.len() {
            let draft = Draft { id: at.draft, answers };
            self.record.to_mut().answers.get_or_insert_default().draft = Some(draft);
            let mut next = at;
            next.marks.push(mark);
            return ControlFlow::Break(self.ask_new_answer(next, None));
        }
        let stored = self.record.to_mut().answers.get_or_insert_default();
        let kept = stored.answers.iter().filter(|answer| {
            let question = questions.find(&answer.question);
            question.is_some_and(|question| is_kept(question.kind))
        });
        answers.extend(kept.cloned().collect::<Vec<_>>());
        stored.define(answers, questions, self.case.now);
        self.note(ACTION, Outcome::Accept, None);
        ControlFlow::Continue(self)
    }

    /// The answers that are in already; `None` when another dialog has begun to define them meanwhile.
    fn drafted(&self, at: &Defining) -> Option<Vec<Answer>> {
        if at.marks.is_empty() {
            return Some(Vec::new());
        }
        let draft = self.record.answers.as_deref()?.draft.as_ref()?;
        let drafted = draft.answers.get(..at.marks.len())?;
        (draft.id == at.draft).then(|| drafted.to_vec())
    }

    fn wanted(&self) -> Vec<&'a Question> {
        let engine = self.case.engine;
        let name = local_name(&self.case.request.login);
        engine.policy.questions.to_define(name, &engine.keyring)
    }

    fn ask_new_answer(self, at: Defining, refusal: Option<Refusal>) -> Step<'a> {
        let wanted = self.wanted();
        let Some(question) = wanted.get(at.marks.len()) else {
            return self.refuse(Denial::BadDialog);
        };
        let question = question.text(self.voice().language(), &self.case.engine.policy.texts);
        let text = match refusal {
            Some(refusal) => {
                let reason = self.reason(refusal);
                self.text(Text::AnswerRefused, &[("reason", &reason), ("question", question)])
            }
            None => {
                let number = (at.marks.len() + 1).to_string();
                let count = wanted.len().to_string();
                let values = [("number", &*number), ("count", &*count), ("question", question)];
                self.text(Text::DefineAnswer, &values)
            }
        };
        self.ask_in_words(text, false, At::Define(at))
    }

    fn reason(&self, refusal: Refusal) -> String {
        let (text, length) = match refusal {
            Refusal::TooShort(least) => (Text::AnswerTooShort, least),
            Refusal::TooLong(most) => (Text::AnswerTooLong, most),
            Refusal::Blocked => (Text::AnswerBlocked, 0),
            Refusal::InQuestion => (Text::AnswerInQuestion, 0),
            Refusal::LoginName => (Text::AnswerLoginName, 0),
            Refusal::Duplicate | Refusal::AnsweredTwice => (Text::AnswerDuplicate, 0),
            // The dialog asks no such question.
            Refusal::NoSuchQuestion | Refusal::Wording => (Text::ReasonUnspecified, 0),
        };
        self.text(text, &[("length", &length.to_string())])
    }

    /// By what an answer is known again within the dialog.
    fn mark(&self, at: &Defining, typed: &Secret) -> [u8; 4] {
        let answer = normalise(typed.expose_str().unwrap_or_default());
        let parts = [&b"answer"[..], &at.draft.to_be_bytes(), answer.as_bytes()];
        first(self.case.engine.keyring.digest_typed(&parts))
    }
}

/// Unlike any other, and the same when the request is judged once more.
fn salt(walk: &Walk<'_, '_>, at: &Defining) -> [u8; 16] {
    let number = [u8::try_from(at.marks.len()).unwrap_or(u8::MAX)];
    let parts = [
        &b"salt"[..],
        &at.draft.to_be_bytes(),
        &number,
        &walk.case.nonce.to_be_bytes(),
    ];
    first(walk.case.engine.keyring.digest_typed(&parts))
}

fn first<const N: usize>(digest: [u8; 32]) -> [u8; N] {
    digest.first_chunk::<N>().copied().unwrap_or([0; N])
}

/// What a dialog does not ask for stays as it was defined.
const fn is_kept(kind: QuestionKind) -> bool {
    match kind {
        QuestionKind::UserDefined | QuestionKind::Helpdesk => true,
        QuestionKind::Mandatory | QuestionKind::Optional => false,
    }
}
