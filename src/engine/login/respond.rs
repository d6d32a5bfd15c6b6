//! A response to a challenge, CHAP or MS-CHAPv2: it proves one thing, and nothing can be asked after it.

use std::borrow::Cow;
use std::sync::Arc;

use crate::engine::authenticator::{self, Context, Judgement, Kind, KindSet, passcode};
use crate::engine::dialog::Dialog;
use crate::engine::facts::Lookup;
use crate::engine::login::case::Case;
use crate::engine::login::tried::Tried;
use crate::engine::login::{Effect, Step};
use crate::engine::record::UserRecord;
use crate::engine::response::{MsChapSuccess, Response, ResponseOutcome};
use crate::engine::verdict::{Denial, Verdict};
use crate::keyring::KeyError;

impl<'a, 'f> Case<'a, 'f> {
    /// Judges a response: as one to an issued passcode from the facts, as one to the password by the directory.
    pub(super) fn response(mut self, response: &Response, dialog: Option<&Dialog>) -> Step<'a> {
        let mut record = Cow::Borrowed(&self.facts.user.value);
        let refused = match (dialog, self.blocked) {
            (_, Some(denial)) => Some(denial),
            // The answer to a question of ours is typed.
            (Some(_), None) => Some(Denial::BadDialog),
            (None, None) => None,
        };
        if let Some(denial) = refused {
            return self.refuse(denial, record);
        }
        let requirement = self.requirement;
        let password = requirement.is_met(KindSet::of(Kind::Password));
        let code = KindSet::of(Kind::Passcode);
        if requirement.is_met(code) {
            match self.judge_as_passcode(response, &mut record) {
                Err(error) => return self.broken(&error),
                Ok(ResponseOutcome::Right(success)) => return with_success(self.accept(code, record), success),
                Ok(ResponseOutcome::Wrong) if password => self.guessed = true,
                Ok(ResponseOutcome::Wrong) => return self.refuse_code(Judgement::Wrong, code, record),
                Ok(ResponseOutcome::Impossible | ResponseOutcome::Unknown) => {}
            }
        }
        // An upstream server is asked with passwords only.
        if password && self.facts.password_by.is_none() {
            return self.try_response(response, record);
        }
        let one_would_do = requirement.alternatives().iter().any(|kinds| kinds.len() == 1);
        let enrolled = authenticator::any_enrolled(code, &record, self.now);
        let denial = match one_would_do {
            false => Denial::MethodOneProof,
            true if requirement.is_met(code) && !enrolled => Denial::NotEnrolled,
            true => Denial::MethodImpossible,
        };
        self.refuse(denial, record)
    }

    fn judge_as_passcode(
        &self,
        response: &Response,
        record: &mut Cow<'_, UserRecord>,
    ) -> Result<ResponseOutcome, KeyError> {
        let Lookup::Found(person) = &self.facts.lookup else {
            return Ok(ResponseOutcome::Unknown);
        };
        let context = Context {
            user: &person.key,
            keyring: &self.engine.keyring,
            now: self.now,
            sent: None,
        };
        passcode::judge_response(response, record.to_mut(), &context)
    }

    /// Has the directory judge it, counted first as every try of a password is.
    fn try_response(self, response: &Response, record: Cow<'f, UserRecord>) -> Step<'a> {
        let Lookup::Found(person) = &self.facts.lookup else {
            return self.refuse(Denial::UnknownUser, record);
        };
        let (reserve, attempt) = self.reserve(person, KindSet::EMPTY, record, None);
        let effect = Effect::VerifyResponse {
            person: Arc::clone(person),
            response: response.clone(),
            reserve,
        };
        Step::Do(effect, attempt)
    }
}

impl<'a> Tried<'a, '_> {
    /// Goes on with what the directory says of a response.
    pub(super) fn responded(self, outcome: ResponseOutcome) -> Step<'a> {
        match outcome {
            ResponseOutcome::Right(success) => with_success(self.right(), success),
            ResponseOutcome::Wrong | ResponseOutcome::Unknown => self.wrong(),
            // The directory has nothing to say, so the passcode was meant.
            ResponseOutcome::Impossible if self.guessed => self.barred(Denial::WrongCode),
            ResponseOutcome::Impossible => self.barred(Denial::MethodImpossible),
        }
    }
}

/// Gives who is let in what MS-CHAPv2 has for the client.
fn with_success(mut step: Step<'_>, success: Option<Arc<MsChapSuccess>>) -> Step<'_> {
    if let Step::Decided(decision) = &mut step
        && let Verdict::Accept(grant) = &mut decision.verdict
    {
        grant.ms_chap = success;
    }
    step
}
