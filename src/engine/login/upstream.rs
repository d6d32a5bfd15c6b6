//! What upstream RADIUS servers judge: the password in place of the directory, or a factor of its own.
//!
//! A question is counted before it is asked, as a try of a password is. A challenge goes to the claimant,
//! its State to the store; the answer goes to the server that asked, once.

use std::borrow::Cow;
use std::sync::Arc;

use crate::engine::authenticator::{Kind, KindSet};
use crate::engine::batch::{Batch, Change, Key, Version};
use crate::engine::dialog::Dialog;
use crate::engine::facts::{Lookup, Person};
use crate::engine::login::case::Case;
use crate::engine::login::outcome::write_user;
use crate::engine::login::tried::Tried;
use crate::engine::login::{Attempt, Effect, Stage, Step};
use crate::engine::record::{self, UserRecord};
use crate::engine::request::AuthnRequest;
use crate::engine::texts;
use crate::engine::upstream::{Answer, Awaiting, Challenge, Question, UpstreamRecord};
use crate::engine::verdict::{Denial, Verdict};
use crate::secret::Secret;

/// What an upstream server was asked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    upstream: Arc<str>,
    /// What the right answer proves.
    pub(super) kind: Kind,
    /// A password that was typed at the beginning and is to be tried once this is right.
    pub(super) held: Option<Secret>,
    /// The challenge that was answered, taken out of the store.
    answered: Option<(u64, UpstreamRecord)>,
}

impl Asked {
    /// Asked to judge the password.
    pub(super) fn password(upstream: Arc<str>) -> Self {
        Self {
            upstream,
            kind: Kind::Password,
            held: None,
            answered: None,
        }
    }

    /// The challenge that was answered.
    pub(super) fn challenge(&self) -> Option<u64> {
        self.answered.as_ref().map(|(id, _)| *id)
    }

    /// Whether a wrong answer was a wrong code.
    pub(super) fn is_code(&self) -> bool {
        self.kind != Kind::Password
    }
}

impl<'a, 'f> Case<'a, 'f> {
    /// Asks the rule's upstream about what was typed as a factor; `held` is a password to be tried after it.
    pub(super) fn ask_factor(
        self,
        typed: &Secret,
        proven: KindSet,
        held: Option<Secret>,
        record: Cow<'f, UserRecord>,
    ) -> Step<'a> {
        let Some(upstream) = self.terms.upstream.clone() else {
            let reason = "the rule names no upstream".to_owned();
            return self.engine.outage(self.request, Some(self.rule), reason, self.now);
        };
        let (Lookup::Found(person), None) = (&self.facts.lookup, self.blocked) else {
            let opens = held.filter(|_| self.terms.fail_open.is_some());
            return self.pretend(typed.clone(), Some(upstream), opens, record);
        };
        let asked = Asked {
            upstream,
            kind: Kind::Radius,
            held,
            answered: None,
        };
        self.ask_upstream(person, asked, proven, typed.clone(), record)
    }

    /// Passes an answer on to the server that asked for it.
    pub(super) fn answer_upstream(self, typed: &Secret, dialog: &Dialog, id: u64) -> Step<'a> {
        let record = Cow::Borrowed(&self.facts.user.value);
        let challenged = &self.facts.challenged;
        let kind = challenged.value.proves.iter().next();
        let upstream = match kind {
            Some(Kind::Password) => self.facts.password_by.as_ref(),
            Some(Kind::Radius) => self.terms.upstream.as_ref(),
            Some(
                Kind::Totp
                | Kind::Hotp
                | Kind::RecoveryCode
                | Kind::Passcode
                | Kind::Certificate
                | Kind::Sasl
                | Kind::YubicoOtp
                | Kind::EmailCode
                | Kind::GatewayCode
                | Kind::Approval
                | Kind::Ocra
                | Kind::Questions,
            )
            | None => None,
        };
        let upstream = upstream.filter(|upstream| ***upstream == *challenged.value.upstream);
        let (Some(kind), Some(upstream), Version(1..)) = (kind, upstream, challenged.version) else {
            // It expired, was answered already, or the configuration has changed meanwhile.
            return self.refuse(self.blocked.unwrap_or(Denial::BadDialog), record);
        };
        let (Lookup::Found(person), None) = (&self.facts.lookup, self.blocked) else {
            return self.refuse(self.blocked.unwrap_or(Denial::UnknownUser), record);
        };
        let asked = Asked {
            upstream: Arc::clone(upstream),
            kind,
            held: dialog.password.clone(),
            answered: Some((id, challenged.value.clone())),
        };
        self.ask_upstream(person, asked, dialog.proven, typed.clone(), record)
    }

    /// Counts the attempt, and asks.
    pub(super) fn ask_upstream(
        self,
        person: &Arc<Person>,
        asked: Asked,
        proven: KindSet,
        typed: Secret,
        record: Cow<'f, UserRecord>,
    ) -> Step<'a> {
        let mut question = question(self.request, person, &asked.upstream, typed);
        let answered = asked.answered.as_ref().map(|(id, challenged)| {
            question.challenge = self
                .engine
                .keyring
                .open(&UpstreamRecord::place(*id), &challenged.state)
                .ok()
                .map(|state| Awaiting {
                    server: challenged.server.clone(),
                    state: state.expose().to_vec(),
                });
            (*id, question.challenge.is_some())
        });
        if let Some((_, false)) = answered {
            return self.refuse(Denial::BadDialog, record);
        }
        let (mut reserve, attempt) = self.reserve(person, proven, record, Some(asked));
        if let Some((id, _)) = answered {
            reserve.replace(Key::upstream(id), self.facts.challenged.version, Change::Delete);
        }
        Step::Do(Effect::AskUpstream { question, reserve }, attempt)
    }
}

impl<'a> Tried<'a, '_> {
    /// Goes on with what the upstream server says.
    pub(super) fn answered(mut self, answer: Answer) -> Step<'a> {
        let Some(asked) = &mut self.asked else {
            return self.unavailable("an upstream server answers that was not asked".into());
        };
        let kind = asked.kind;
        match answer {
            Answer::Accept(passed) => {
                self.passed.extend(passed);
                let held = asked.held.take();
                let proven = self.proven.with(kind);
                self.advance(proven, held)
            }
            Answer::Reject if kind == Kind::Password => self.wrong(),
            Answer::Reject => {
                let mut batch = Batch::default();
                self.count_failure(&mut batch);
                self.rejected(Denial::WrongCode, None, batch)
            }
            Answer::Challenge(challenge) => self.pass_on(challenge),
            Answer::OutOfReach(reason) => self.out_of_reach(reason),
            Answer::Unavailable(reason) => self.unavailable(reason),
        }
    }

    /// The password, once the factor is right: within the same attempt, which is counted already.
    pub(super) fn try_password(self, proven: KindSet, password: Secret) -> Step<'a> {
        if let Some(new) = self.request.new_password() {
            return self.change(proven, Some(password), new);
        }
        let by = self.facts.password_by.clone();
        let (request, person) = (self.request, Arc::clone(&self.person));
        let (reserve, mut attempt) = self.go_on(proven, by.clone().map(Asked::password));
        let effect = match by {
            Some(upstream) => Effect::AskUpstream {
                question: question(request, &person, &upstream, password),
                reserve,
            },
            None => {
                attempt.hold(&password);
                Effect::VerifyPassword {
                    person,
                    password,
                    reserve,
                }
            }
        };
        Step::Do(effect, attempt)
    }

    /// The same attempt goes on with something else to be done, perhaps by another server that is `asked`.
    pub(super) fn go_on(self, proven: KindSet, asked: Option<Asked>) -> (Batch, Attempt<'a>) {
        let mut reserve = Batch::default();
        if self.asked.as_ref().is_some_and(|asked| asked.answered.is_some()) {
            // The challenge is settled; the attempt goes on.
            self.throttle(&mut reserve, |record, _| record);
        }
        let record = self.judged_record();
        write_user(&mut reserve, &self.person, &self.facts.user, &record);
        let stage = Stage::Trying {
            person: Arc::clone(&self.person),
            rule: self.rule,
            terms: self.terms,
            proven,
            nonce: self.nonce,
            spent: self.spent.filter(|_| !self.guessed),
            guessed: false,
            reused: self.reused,
            asked,
            passed: self.passed,
            held: None,
            opened: self.opened,
        };
        let attempt = Attempt {
            engine: self.engine,
            request: self.request,
            stage,
        };
        (reserve, attempt)
    }

    /// The upstream's challenge becomes ours.
    fn pass_on(mut self, challenge: Challenge) -> Step<'a> {
        if !self.may_ask() {
            // Nobody will answer it, but it may have rung somebody up all the same.
            let mut batch = Batch::default();
            self.count_challenge(&mut batch, self.asked.as_ref().and_then(Asked::challenge));
            return self.rejected(Denial::ClientCannotAsk, None, batch);
        }
        let Some(asked) = self.asked.take() else {
            return self.unavailable("an upstream server asks that was not asked".into());
        };
        let mut batch = Batch::default();
        self.count_challenge(&mut batch, asked.challenge());
        let mut prompt = self.prompt(self.proven, asked.held);
        if !challenge.text.is_empty() {
            prompt.text = texts::shown(challenge.text, &self.request.origin.manner);
        }
        prompt.echo = challenge.echo;
        prompt.dialog.asking = Some(self.nonce);
        let kept = UpstreamRecord {
            upstream: asked.upstream.to_string(),
            server: challenge.awaiting.server,
            state: self
                .engine
                .keyring
                .seal(&UpstreamRecord::place(self.nonce), &challenge.awaiting.state),
            proves: KindSet::of(asked.kind),
        };
        let change = Change::Put(record::encode(&kept), Some(prompt.dialog.expires));
        batch.replace(Key::upstream(self.nonce), Version::default(), change);
        let proven = self.proven;
        self.decided(Verdict::Challenge(prompt), batch, proven)
    }

    /// After an outage the challenge can be answered again.
    pub(super) fn give_back_challenge(&self, batch: &mut Batch) {
        let answered = self.asked.as_ref().and_then(|asked| asked.answered.as_ref());
        if let (Some((id, challenged)), Some(dialog)) = (answered, &self.request.dialog) {
            let change = Change::Put(record::encode(challenged), Some(dialog.expires));
            batch.replace(Key::upstream(*id), self.facts.challenged.version, change);
        }
    }
}

fn question(request: &AuthnRequest, person: &Person, upstream: &Arc<str>, typed: Secret) -> Question {
    Question {
        upstream: Arc::clone(upstream),
        user: person.login.clone(),
        typed,
        challenge: None,
        nas_identifier: request.origin.nas_identifier.clone(),
        calling_station: request.origin.calling_station.clone(),
    }
}
