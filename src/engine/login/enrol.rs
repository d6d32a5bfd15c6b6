//! People who have never had a second factor, under a rule that says what becomes of them (`enrol`).
//!
//! Where that leads on from the password alone, to be let in for the time being or to enrol, the password is tried
//! as soon as it is typed. Whoever typed a wrong one, or the name of nobody, is asked for a code as everybody with a
//! token is, with the same dialog, and refused at the end.

use std::borrow::Cow;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::engine::authenticator::{self, Kind, KindSet};
use crate::engine::batch::Batch;
use crate::engine::event::Outcome;
use crate::engine::facts::Lookup;
use crate::engine::login::case::Case;
use crate::engine::login::course::Walk;
use crate::engine::login::tried::Tried;
use crate::engine::login::{Attempt, Decision, Effect, Stage, Step};
use crate::engine::policy::{Enrol, Order, Requirement, Rule, Terms};
use crate::engine::record::{Token, UserRecord};
use crate::engine::request::{AuthnRequest, Capability, Operation};
use crate::engine::texts::Text;
use crate::engine::verdict::{Denial, Prompt, Verdict};
use crate::engine::workflow::Start;
use crate::secret::Secret;

/// The word in the audit for a login with the password alone.
pub(super) const GRACE: &str = "enrol-grace";

impl<'a, 'f> Case<'a, 'f> {
    /// Whether what was typed first is tried as the password before anything else is asked.
    ///
    /// Of the names of nobody it is every other one, always the same: how long the answer takes then tells of no
    /// name whether it is somebody's.
    pub(super) fn tries_at_once(&self) -> bool {
        let Some(enrol) = &self.terms.enrol else { return false };
        let ordinary = asks(self.request) && self.terms.order == Order::PasswordFirst;
        let login = self.request.operation() == Operation::Login && self.new_password().is_none();
        let leads_on = enrol.grace(self.now).is_some() || may_enrol(self.terms, self.request).is_ok();
        if ordinary || !login || !leads_on || self.blocked == Some(Denial::SourceThrottled) {
            return false;
        }
        match &self.facts.lookup {
            Lookup::Found(_) => has_never_enrolled(&self.facts.user.value, self.requirement, self.now),
            Lookup::Unknown | Lookup::Ambiguous => {
                let name = self.request.login.as_str().as_bytes();
                let mark = self.engine.keyring.digest_typed(&[b"tried at once", name]);
                mark.first().is_some_and(|octet| octet % 2 == 0)
            }
            Lookup::Unavailable(_) => false,
        }
    }

    /// Tries it, or does as much for somebody who cannot be let in.
    pub(super) fn try_at_once(self, typed: &Secret, record: Cow<'f, UserRecord>) -> Step<'a> {
        if !asks(self.request) {
            // No code is asked for afterwards, whatever comes of it.
            return self.try_password(self.held, typed.clone(), record);
        }
        if let (Lookup::Found(_), None) = (&self.facts.lookup, self.blocked) {
            let mut step = self.try_password(self.held, typed.clone(), record);
            if let Step::Do(_, attempt) = &mut step {
                attempt.keep(typed);
            }
            return step;
        }
        let Step::Decided(Decision {
            verdict: Verdict::Challenge(prompt),
            ..
        }) = self.challenge(self.held, Some(typed.clone()), record, None)
        else {
            return self.refuse(self.blocked.unwrap_or(Denial::UnknownUser), self.record());
        };
        let stage = Stage::Pretending {
            rule: self.rule,
            denial: self.blocked.unwrap_or(Denial::UnknownUser),
            nonce: self.nonce,
            then: Some(Box::new(prompt)),
            opens: None,
        };
        let attempt = Attempt {
            engine: self.engine,
            request: self.request,
            stage,
        };
        let effect = Effect::VerifyNobody {
            password: typed.clone(),
            by: self.facts.password_by.clone(),
        };
        Step::Do(effect, attempt)
    }

    /// The reason of a refusal: for somebody who would have to enrol first, why that is not possible here.
    pub(super) fn reason(&self, denial: Denial) -> Denial {
        let lacks = matches!(
            denial,
            Denial::NotEnrolled | Denial::MissingCode | Denial::ClientCannotAsk
        );
        let (Some(_), Lookup::Found(_), None, true) = (&self.terms.enrol, &self.facts.lookup, self.blocked, lacks)
        else {
            return denial;
        };
        if !has_never_enrolled(&self.facts.user.value, self.requirement, self.now) {
            return denial;
        }
        may_enrol(self.terms, self.request).err().unwrap_or(denial)
    }
}

impl Attempt<'_> {
    /// Keeps the password that is tried before its time.
    fn keep(&mut self, password: &Secret) {
        if let Stage::Trying { held, .. } = &mut self.stage {
            *held = Some(password.clone());
        }
    }
}

/// Asks for a code, once as much time is spent as trying a password takes.
pub(super) fn ask_all_the_same<'a>(prompt: Prompt, rule: &Rule) -> Step<'a> {
    let proven = prompt.dialog.proven;
    Step::Decided(Decision {
        verdict: Verdict::Challenge(prompt),
        batch: Batch::default(),
        rule: Some(Arc::clone(&rule.name)),
        proven,
        reuse: None,
    })
}

impl<'a> Tried<'a, '_> {
    /// Whether nothing is missing but a token, and the person has never had one: the rule says what becomes of them.
    pub(super) fn lacks_a_first_token(&self, proven: KindSet) -> Option<&'a Enrol> {
        let enrol = self.terms.enrol.as_ref()?;
        let login = self.request.operation() == Operation::Login && self.request.new_password().is_none();
        let lacks = login
            && proven.has(Kind::Password)
            && !self.requirement.is_met(proven)
            && self.requirement.is_met(proven.with(Kind::Totp))
            && has_never_enrolled(&self.facts.user.value, self.requirement, self.now);
        lacks.then_some(enrol)
    }

    /// What somebody is told who is let in for the time being.
    pub(super) fn reminder(&self, proven: KindSet) -> Option<String> {
        let grace = self.lacks_a_first_token(proven)?.grace(self.now)?;
        let manner = &self.request.origin.manner;
        let voice = self.engine.policy.texts.voice(manner, Some(&self.person));
        Some(match &grace.reminder {
            Some(own) => voice.write(&**own),
            None => voice.say(Text::EnrolReminder, &[("until", &grace.written)]),
        })
    }

    /// The password is right, and what comes next is to enrol.
    pub(super) fn enrol(self, proven: KindSet) -> Step<'a> {
        if !self.passed.is_empty() {
            let mut batch = Batch::default();
            self.end_attempt(&mut batch);
            let detail = "what the upstream says is to be passed on, but the person enrols first";
            return self.rejected(Denial::ReplyAttribute, Some(detail), batch);
        }
        let case = match self.engine.case(self.request, self.facts, self.now, self.nonce) {
            Ok((case, _)) if case.blocked.is_none() && std::ptr::eq(case.rule, self.rule) => case,
            Ok((case, _)) => return self.barred(case.blocked.unwrap_or(Denial::Policy)),
            Err(_) => return self.barred(Denial::Policy),
        };
        if let Err(denial) = may_enrol(self.terms, self.request) {
            return self.barred(denial);
        }
        let record = match self.judged_record() {
            Cow::Owned(record) => Cow::Owned(record),
            Cow::Borrowed(_) => case.record(),
        };
        let Some(mut walk) = Walk::new(case, Start::Enrol, record) else {
            return self.barred(Denial::NotEnrolled);
        };
        walk.position.proven = proven;
        walk.record.to_mut().login.clone_from(&self.person.login);
        walk.enter(false);
        walk.note(
            Operation::Login.action(),
            Outcome::Restricted,
            Some(Start::Enrol.word()),
        );
        walk.go()
    }

    /// The password that was tried before its time.
    fn at_once(&self) -> Option<&Secret> {
        self.terms.enrol.as_ref()?;
        let early = asks(self.request)
            && self.terms.order == Order::CodeFirst
            && self.request.dialog.is_none()
            && !self.requirement.is_met(self.proven.with(Kind::Password));
        self.held.as_ref().filter(|_| early)
    }

    /// Refuses; who was tried before their time is not told, but asked for a code.
    pub(super) fn refused(self, denial: Denial, batch: Batch) -> Step<'a> {
        if self.hides() {
            return self.deceive(denial, batch);
        }
        let Some(password) = self.at_once().cloned() else {
            return self.rejected(denial, None, batch);
        };
        let mut prompt = self.prompt(self.proven, Some(password));
        prompt.untold = Some(denial);
        let mut step = self.rejected(denial, None, batch);
        if let Step::Decided(decision) = &mut step {
            decision.verdict = Verdict::Challenge(prompt);
        }
        step
    }
}

impl Walk<'_, '_> {
    /// Whether everything is proven that the rule asks for, at the end of a workflow that somebody came to who had
    /// not proven it before.
    pub(super) fn is_enough(&self) -> bool {
        match self.position.course.start {
            Start::Enrol | Start::Expired | Start::Login => self.case.requirement.is_met(self.position.proven),
            // What these take is their own.
            Start::Passcode | Start::Recover => true,
        }
    }
}

/// Whether nothing is known of a second factor of the person's, now or ever.
pub(super) fn has_never_enrolled(record: &UserRecord, requirement: &Requirement, now: Timestamp) -> bool {
    let wanted = requirement.useful_codes(KindSet::EMPTY);
    !record.ever_enrolled
        && record.tokens.iter().all(Token::is_of_machine)
        && record.recovery.is_empty()
        && !authenticator::any_enrolled(wanted, record, now)
}

/// Whether a key can be shown to whoever sent the request.
///
/// # Errors
/// Why not.
pub(super) fn may_enrol(terms: &Terms, request: &AuthnRequest) -> Result<(), Denial> {
    match request.capability {
        Capability::Dialog if request.origin.encrypted() || terms.enrol_unprotected => Ok(()),
        Capability::Dialog => Err(Denial::EnrolUnprotected),
        Capability::SingleChallenge | Capability::Append(_) | Capability::None => Err(Denial::EnrolElsewhere),
    }
}

/// Whether people are asked for a code after the password, rather than to type it behind it.
const fn asks(request: &AuthnRequest) -> bool {
    matches!(request.capability, Capability::Dialog | Capability::SingleChallenge)
}
