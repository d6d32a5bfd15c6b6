//! Enrolling a token in a dialog: the key is shown, and two consecutive codes confirm it. Until then nothing is
//! stored.

use std::sync::Arc;

use crate::engine::authenticator::enrolling::{Enrolling, Typed};
use crate::engine::authenticator::{Context, Kind, KindSet};
use crate::engine::batch::Batch;
use crate::engine::dialog::Dialog;
use crate::engine::event::{AuditEvent, Outcome};
use crate::engine::facts::Lookup;
use crate::engine::login::case::Case;
use crate::engine::login::enrol::{has_never_enrolled, may_enrol};
use crate::engine::login::outcome::{event, prompt};
use crate::engine::login::tried::Tried;
use crate::engine::login::{Decision, Engine, Step};
use crate::engine::policy::Enrol;
use crate::engine::record::Token;
use crate::engine::request::AuthnRequest;
use crate::engine::texts::Text;
use crate::engine::verdict::{Denial, Prompt, Verdict};
use crate::engine::workflow::{At, Course, Start};

impl<'a> Tried<'a, '_> {
    /// The password is right, and what comes next is to enrol.
    pub(in crate::engine::login) fn enrol(self, enrol: &Enrol, proven: KindSet) -> Step<'a> {
        if let Err(denial) = may_enrol(enrol, self.request) {
            return self.barred(denial);
        }
        let mut batch = Batch::default();
        self.end_attempt(&mut batch);
        let mut prompt = self.prompt(proven, None);
        let course = Course {
            start: Start::Enrol,
            mark: 0,
            step: 0,
            chosen: None,
            at: At::Asked,
            session: None,
            spoilt: false,
        };
        ask(
            self.engine,
            self.request,
            &mut prompt,
            course,
            Enrolling::new((self.engine.draw)()),
        );
        self.decided(Verdict::Challenge(prompt), batch, proven)
    }
}

impl<'a, 'f> Case<'a, 'f> {
    /// A code for a key that is being enrolled.
    pub(in crate::engine::login) fn take_enrolling(
        self,
        typed: &str,
        dialog: &Dialog,
        course: &Course,
        enrolling: &Enrolling,
    ) -> Step<'a> {
        let mut record = self.record();
        let (Lookup::Found(person), None) = (&self.facts.lookup, self.blocked) else {
            return self.refuse(self.blocked.unwrap_or(Denial::UnknownUser), record);
        };
        if !has_never_enrolled(&record, self.requirement, self.now) {
            return self.refuse(Denial::EnrolledMeanwhile, record);
        }
        let context = Context {
            user: &person.key,
            keyring: &self.engine.keyring,
            now: self.now,
        };
        match enrolling.judge(typed, self.now) {
            Typed::First(half) => self.ask_enrolling(dialog, course, half, false),
            Typed::Missed {
                again: Some(again),
                guess,
            } => self.ask_enrolling(dialog, course, again, guess),
            Typed::Missed {
                again: None,
                guess: true,
            } => self.refuse(Denial::WrongCode, record),
            Typed::Missed {
                again: None,
                guess: false,
            } => self.refuse(Denial::MissingCode, record),
            Typed::Confirmed(step) => match enrolling.enrol(step, record.to_mut(), &context) {
                Ok(Some(token)) => {
                    let event = self.enrolled(token);
                    let mut step = self.accept(dialog.proven.with(Kind::Totp), record);
                    if let Step::Decided(decision) = &mut step {
                        decision.batch.audit.insert(0, event);
                    }
                    step
                }
                Ok(None) => self.refuse(Denial::TooManyTokens, self.record()),
                Err(error) => self.broken(&error),
            },
        }
    }

    fn ask_enrolling(self, dialog: &Dialog, course: &Course, enrolling: Enrolling, guess: bool) -> Step<'a> {
        let mut batch = Batch::default();
        let mut prompt = prompt(
            self.engine,
            self.request,
            self.terms,
            dialog.proven,
            None,
            Some(dialog),
            self.now,
        );
        ask(self.engine, self.request, &mut prompt, course.clone(), enrolling);
        if let (true, Lookup::Found(person)) = (guess, &self.facts.lookup) {
            self.count_failure(&mut batch, person, Denial::WrongCode);
            batch.audit.push(self.rejection(Denial::WrongCode));
        }
        Step::Decided(Decision {
            verdict: Verdict::Challenge(prompt),
            batch,
            rule: Some(Arc::clone(&self.rule.name)),
            proven: dialog.proven,
            reuse: None,
        })
    }

    /// The audit record of a new token.
    fn enrolled(&self, token: &Token) -> AuditEvent {
        let person = match &self.facts.lookup {
            Lookup::Found(person) => Some(person.as_ref()),
            Lookup::Unknown | Lookup::Ambiguous | Lookup::Unavailable(_) => None,
        };
        let what = format!("totp token {} `{}`", token.id, token.label);
        let proven = KindSet::of(Kind::Totp);
        let rule = Some(&*self.rule.name);
        AuditEvent {
            action: "token.enrol".into(),
            ..event(
                self.request,
                person,
                rule,
                proven,
                Outcome::Accept,
                Some(&what),
                self.now,
            )
        }
    }
}

fn ask(engine: &Engine, request: &AuthnRequest, prompt: &mut Prompt, course: Course, enrolling: Enrolling) {
    let texts = &engine.policy.texts;
    let language = request.origin.manner.language.as_deref();
    prompt.text = match enrolling.is_half_confirmed() {
        false => texts.say(language, Text::EnrolKey, &[("key", &enrolling.key().shown())]),
        true => texts.say(language, Text::EnrolNext, &[]),
    };
    prompt.echo = true;
    prompt.dialog.course = Some(Course {
        at: At::Enrolling(enrolling),
        ..course
    });
}
