//! A request that a rule lets in on terms: what is asked, judged, and answered.

use std::borrow::Cow;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::engine::authenticator::{self, Context, Judgement, Kind, KindSet};
use crate::engine::batch::Batch;
use crate::engine::dialog::{Dialog, MAX_ROUNDS};
use crate::engine::event::{AuditEvent, Outcome};
use crate::engine::facts::{Facts, Lookup, Person};
use crate::engine::login::ask::hides;
use crate::engine::login::challenge::with_challenge;
use crate::engine::login::outcome::{
    CLOCK_LEEWAY, asks_for_code, event, expect_grants, expect_user, explained, grant, locks, name_digest, one_too_many,
    prompt, write_grant, write_throttle, write_user,
};
use crate::engine::login::round::count_right;
use crate::engine::login::upstream::Asked;
use crate::engine::login::{Attempt, Decision, Effect, Engine, Stage, Step};
use crate::engine::policy::{Order, Requirement, Rule, Terms};
use crate::engine::questions::answers::Hashed;
use crate::engine::record::{Failure, Pending, UserRecord};
use crate::engine::request::{AuthnRequest, Capability, Given};
use crate::engine::reuse::{self, Held, Reused};
use crate::engine::throttle::{Limit, Standing};
use crate::engine::verdict::{Denial, Verdict};
use crate::engine::workflow::At;
use crate::keyring::KeyError;
use crate::secret::Secret;

/// A request that a rule lets in on terms.
#[derive(Clone, Copy)]
pub(super) struct Case<'a, 'f> {
    pub(super) engine: &'a Engine,
    pub(super) request: &'a AuthnRequest,
    pub(super) facts: &'f Facts,
    pub(super) rule: &'a Rule,
    pub(super) terms: &'a Terms,
    /// What of the terms has to be typed.
    pub(super) requirement: &'a Requirement,
    /// What was proven without being typed.
    pub(super) held: KindSet,
    pub(super) limit: Limit,
    pub(super) blocked: Option<Denial>,
    /// What was typed has been judged as a code already, and was wrong: whatever follows, it counts.
    pub(super) guessed: bool,
    /// What stands in for a code.
    pub(super) reused: Option<Reused>,
    /// What came of hashing the answer that was typed, once it has been hashed.
    pub(super) hashed: Option<Hashed>,
    pub(super) now: Timestamp,
    pub(super) nonce: u64,
}

impl<'a, 'f> Case<'a, 'f> {
    /// Judges what was given.
    pub(super) fn begin(self, standing: Standing) -> Step<'a> {
        match (self.blocked, standing) {
            (None, Standing::Busy) => return Step::Wait,
            // Whoever nothing could be enough of is barred; it need not be found out at the end.
            (Some(denial), _) if self.terms.requirement_for(self.request.operation()).is_impossible() => {
                return self.refuse(denial, self.record());
            }
            (None | Some(_), _) => {}
        }
        if let (Given::Typed(typed), Some(dialog)) = (&self.request.given, &self.request.dialog)
            && let Some(step) = self.answered_before(typed, Some(dialog))
        {
            return step;
        }
        match (&self.request.given, &self.request.dialog) {
            (Given::Proven(kind), _) => self.proven(*kind),
            (
                Given::Typed(typed),
                Some(
                    dialog @ Dialog {
                        course: Some(course), ..
                    },
                ),
            ) => match course.at {
                At::Factor(at) => self.answer_question(typed, dialog, at),
                At::Asked | At::SecondPart(_) | At::Repeat(_) | At::Enrolling(_) | At::Answer(_) | At::Define(_) => {
                    self.walk(typed, dialog, course)
                }
            },
            (Given::Typed(_), None) if self.request.asks_for_help() => self.recover(),
            // Nothing that is typed or computed would be enough.
            (Given::Typed(_) | Given::Response(_), _) if !self.can_be_typed() => self.without_certificate(),
            (Given::Typed(typed), Some(dialog)) if self.new_password().is_some() => self.renew(typed, dialog),
            (Given::Typed(typed), Some(dialog)) => self.answer(typed, dialog),
            (Given::Typed(typed), None) => self.opening(typed),
            (Given::Response(response), dialog) => self.response(response, dialog.as_ref()),
        }
    }

    /// Whether anything that is typed or computed could be enough.
    fn can_be_typed(&self) -> bool {
        let requirement = self.terms.requirement_for(self.request.operation());
        requirement.beside(self.held).is_some()
    }

    /// The first field of a conversation.
    pub(super) fn opening(mut self, typed: &Secret) -> Step<'a> {
        let requirement = self.requirement;
        let instead = requirement.codes_instead_of_password();
        let mut record = self.record();
        if let Some(step) = self.opening_to_change(typed, &mut record) {
            return step;
        }
        let mut without_code = Denial::MissingCode;
        match self.hold() {
            Held::Nothing => {}
            Held::Password(password, reused) => {
                self.reused = Some(reused);
                return self.try_password(self.held.union(reused.kinds), password, record);
            }
            // As long as the password alone can be right, it can be guessed: that counts.
            Held::AnotherPassword => without_code = Denial::WrongPassword,
            Held::TooLate => return self.refuse(Denial::ReuseOver, record),
        }
        if !instead.is_empty() {
            let judged = match self.judge(typed, instead, &mut record) {
                Ok(judged) => judged,
                Err(error) => return self.broken(&error),
            };
            match judged {
                (Judgement::Right, Some(kind)) => return self.proceed(self.held.with(kind), None, record, None),
                // What cannot be a password was a code, and wrong.
                (judgement, _) if !requirement.takes_password() && !instead.has(Kind::Radius) => {
                    return self.refuse_code(judgement, instead, record);
                }
                (judgement, _) => self.guessed |= matches!(judgement, Judgement::Wrong | Judgement::Replayed),
            }
        }
        if requirement.wants_only_password(self.held) || self.wants_silent_approval(self.held) {
            return self.try_password(self.held, typed.clone(), record);
        }
        if self.tries_at_once() {
            return self.try_at_once(typed, record);
        }
        if instead.has(Kind::Radius) {
            return self.ask_factor(typed, self.held, None, record);
        }
        match self.request.capability {
            Capability::SingleChallenge if requirement.fewest_codes() > 1 => {
                self.refuse(Denial::ClientCannotAsk, record)
            }
            // A change is itself the try of the password, and so comes last.
            Capability::Dialog | Capability::SingleChallenge if self.new_password().is_some() => {
                self.challenge(KindSet::EMPTY, Some(typed.clone()), record, None)
            }
            Capability::Dialog | Capability::SingleChallenge => match self.terms.order {
                Order::CodeFirst => self.challenge(self.held, Some(typed.clone()), record, None),
                Order::PasswordFirst => self.try_password(self.held, typed.clone(), record),
            },
            Capability::Append(split) => match split.cut(typed) {
                Some((password, code)) => self.code(&code, self.held, Some(password), record, None),
                None => self.refuse(without_code, record),
            },
            Capability::None => self.refuse(Denial::ClientCannotAsk, record),
        }
    }

    /// The person's record as it was read.
    pub(super) const fn record(&self) -> Cow<'f, UserRecord> {
        Cow::Borrowed(&self.facts.user.value)
    }

    /// Holds what was typed against what the person has proven here before, if anything.
    fn hold(&self) -> Held {
        match (&self.facts.reused, self.blocked) {
            (Some(entry), None) => {
                let record = &self.facts.user.value;
                let keyring = &self.engine.keyring;
                let terms = (self.terms, self.requirement);
                reuse::hold(entry, self.request, terms, record, keyring, self.now)
            }
            (Some(_) | None, _) => Held::Nothing,
        }
    }

    /// An answer within a dialog.
    pub(super) fn answer(self, typed: &Secret, dialog: &Dialog) -> Step<'a> {
        let record = Cow::Borrowed(&self.facts.user.value);
        if !self.is_current(dialog) {
            return self.refuse(Denial::BadDialog, record);
        }
        if let Some(id) = dialog.asking {
            return self.answer_upstream(typed, dialog, id);
        }
        if let Some(id) = self.is_about_approval(typed, dialog) {
            return self.answer_approval(id, dialog);
        }
        if self.terms.hides_password() {
            return self.answer_asked(typed, dialog);
        }
        self.code(typed, dialog.proven, dialog.password.clone(), record, Some(dialog))
    }

    /// Whether a dialog is about this name, and has not expired.
    pub(super) fn is_current(&self, dialog: &Dialog) -> bool {
        dialog.user == name_digest(self.request)
            && self.now < dialog.expires
            && dialog.started <= self.now + CLOCK_LEEWAY
    }

    /// Judges a code that stands beside a password or follows a challenge.
    pub(super) fn code(
        mut self,
        typed: &Secret,
        proven: KindSet,
        password: Option<Secret>,
        mut record: Cow<'f, UserRecord>,
        dialog: Option<&Dialog>,
    ) -> Step<'a> {
        let useful = self.requirement.useful_codes(proven);
        match self.judge(typed, useful, &mut record) {
            Ok((Judgement::Right, Some(kind))) => self.proceed(proven.with(kind), password, record, dialog),
            Ok((judgement, _)) if useful.has(Kind::Radius) => {
                self.guessed = matches!(judgement, Judgement::Wrong | Judgement::Replayed);
                self.ask_factor(typed, proven, password, record)
            }
            Ok((judgement, _)) => self.refuse_code(judgement, useful, record),
            Err(error) => self.broken(&error),
        }
    }

    /// Something was proven: let in, try the password, or ask for more.
    pub(super) fn proceed(
        self,
        proven: KindSet,
        password: Option<Secret>,
        record: Cow<'f, UserRecord>,
        dialog: Option<&Dialog>,
    ) -> Step<'a> {
        let requirement = self.requirement;
        if requirement.is_met(proven) {
            return match self.new_password() {
                Some(new) => self.change(proven, None, new, record),
                None => self.accept(proven, record),
            };
        }
        if let Some(password) = password.as_ref().filter(|_| requirement.wants_only_password(proven)) {
            return self.try_password(proven, password.clone(), record);
        }
        if let Some(password) = password.as_ref().filter(|_| self.wants_silent_approval(proven)) {
            return self.try_password(proven, password.clone(), record);
        }
        match self.request.capability {
            Capability::Dialog if dialog.is_none_or(|dialog| dialog.round < MAX_ROUNDS) => {
                if self.terms.hides_password() {
                    return self.ask_more(proven, record);
                }
                self.challenge(proven, password, record, dialog)
            }
            Capability::Dialog | Capability::SingleChallenge | Capability::Append(_) | Capability::None => {
                self.refuse(Denial::ClientCannotAsk, record)
            }
        }
    }

    /// Judges `typed`, unless the person is barred anyway.
    pub(super) fn judge(
        &self,
        typed: &Secret,
        wanted: KindSet,
        record: &mut Cow<'_, UserRecord>,
    ) -> Result<(Judgement, Option<Kind>), KeyError> {
        let (Lookup::Found(person), None, Some(text)) = (&self.facts.lookup, self.blocked, typed.expose_str()) else {
            return Ok((Judgement::NotApplicable, None));
        };
        let context = self.context(person);
        authenticator::judge(text, wanted, record.to_mut(), &context)
    }

    /// What codes of a person are judged with.
    pub(super) fn context<'p>(&'p self, person: &'p Person) -> Context<'p> {
        Context {
            user: &person.key,
            keyring: &self.engine.keyring,
            now: self.now,
            sent: self.request.dialog.as_ref().and_then(|dialog| dialog.sent),
        }
    }

    pub(super) fn try_password(self, proven: KindSet, password: Secret, record: Cow<'f, UserRecord>) -> Step<'a> {
        if password.is_empty() {
            return self.refuse(Denial::Malformed, record);
        }
        if let Some(new) = self.new_password() {
            return self.change(proven, Some(password), new, record);
        }
        let by = self.facts.password_by.clone();
        let (Lookup::Found(person), None) = (&self.facts.lookup, self.blocked) else {
            return self.pretend(password, by, None, record);
        };
        if let Some(upstream) = by {
            let asked = Asked::password(upstream);
            return self.ask_upstream(person, asked, proven, password, record);
        }
        let (reserve, mut attempt) = self.reserve(person, proven, record, None);
        attempt.hold(&password);
        let effect = Effect::VerifyPassword {
            person: Arc::clone(person),
            password,
            reserve,
        };
        Step::Do(effect, attempt)
    }

    /// Does what would be done for somebody who may be let in, as far as time can tell.
    /// `opens` is a password that would be tried where the upstream is out of reach.
    pub(super) fn pretend(
        self,
        password: Secret,
        by: Option<Arc<str>>,
        opens: Option<Secret>,
        record: Cow<'f, UserRecord>,
    ) -> Step<'a> {
        let denial = self.blocked.unwrap_or(Denial::UnknownUser);
        let hides = denial != Denial::SourceThrottled && hides(self.request, self.terms, self.requirement, self.held);
        if !hides
            && !matches!(
                denial,
                Denial::UnknownUser | Denial::Policy | Denial::Denied | Denial::NotThemselves
            )
        {
            // Someone locked out is refused without a word to the directory.
            return self.refuse(denial, record);
        }
        let stage = Stage::Pretending {
            rule: self.rule,
            denial,
            nonce: self.nonce,
            then: None,
            opens,
        };
        let attempt = Attempt {
            engine: self.engine,
            request: self.request,
            stage,
        };
        Step::Do(Effect::VerifyNobody { password, by }, attempt)
    }

    /// Counts a try by the directory before it is made, and writes what judging codes has changed.
    pub(super) fn reserve(
        &self,
        person: &Arc<Person>,
        proven: KindSet,
        record: Cow<'_, UserRecord>,
        asked: Option<Asked>,
    ) -> (Batch, Attempt<'a>) {
        let mut reserve = Batch::default();
        if self.limit.failures > 0 {
            let pending = Pending {
                at: self.now,
                nonce: self.nonce,
            };
            let counted = self.facts.throttle.value.clone().with_pending(pending, self.limit);
            write_throttle(&mut reserve, person, &self.facts.throttle, &counted, self.limit);
        }
        let spent = self
            .write_user(&mut reserve, person, &record)
            .then(|| Box::new((self.facts.user.value.clone(), record.into_owned())));
        let stage = Stage::Trying {
            person: Arc::clone(person),
            rule: self.rule,
            terms: self.terms,
            proven,
            nonce: self.nonce,
            spent,
            guessed: self.guessed,
            reused: self.reused,
            asked,
            passed: Vec::new(),
            held: None,
            opened: None,
        };
        let attempt = Attempt {
            engine: self.engine,
            request: self.request,
            stage,
        };
        (reserve, attempt)
    }

    pub(super) fn accept(self, proven: KindSet, record: Cow<'f, UserRecord>) -> Step<'a> {
        self.accept_with(proven, record, None)
    }

    /// Lets somebody in; `opened` says why without a factor that the rule lets go of, and what has to be written then.
    pub(super) fn accept_with(
        self,
        proven: KindSet,
        mut record: Cow<'f, UserRecord>,
        opened: Option<(String, Batch)>,
    ) -> Step<'a> {
        let (Lookup::Found(person), None) = (&self.facts.lookup, self.blocked) else {
            return self.refuse(self.blocked.unwrap_or(Denial::UnknownUser), record);
        };
        if one_too_many(self.facts, self.terms, self.now) {
            return self.refuse(Denial::SessionLimit, record);
        }
        if opened.is_none()
            && let Some(step) = self.further(proven, &record)
        {
            return step;
        }
        let grant = match grant(self.terms, self.request, person, self.nonce, &[], proven) {
            Ok(grant) => grant,
            Err(error) => return self.refuse_saying(Denial::ReplyAttribute, Some(&error.to_string()), record),
        };
        record.to_mut().last_login = Some(self.now);
        if proven.has(Kind::Questions) {
            count_right(record.to_mut());
        }
        let (reason, mut batch) = opened.map_or((None, Batch::default()), |(why, batch)| (Some(why), batch));
        let login = (self.nonce, self.now);
        write_grant(&mut batch, self.engine, self.request, self.facts, person, login);
        if !self.write_user(&mut batch, person, &record) {
            expect_user(&mut batch, person, &self.facts.user);
        }
        if self.limit.failures > 0 {
            let cleared = self
                .facts
                .throttle
                .value
                .clone()
                .with_success(None, proven.clears_codes());
            write_throttle(&mut batch, person, &self.facts.throttle, &cleared, self.limit);
        }
        let event = event(
            self.request,
            Some(person),
            Some(&self.rule.name),
            proven,
            Outcome::Accept,
            reason.as_deref(),
            self.now,
        );
        // Whatever the rule says: a spent code is written down, and so made durable, before the answer.
        batch.audit.push(event);
        Step::Decided(Decision {
            verdict: Verdict::Accept(grant),
            batch,
            rule: Some(Arc::clone(&self.rule.name)),
            proven,
            reuse: None,
        })
    }

    pub(super) fn challenge(
        self,
        proven: KindSet,
        password: Option<Secret>,
        record: Cow<'f, UserRecord>,
        dialog: Option<&Dialog>,
    ) -> Step<'a> {
        let mut batch = Batch::default();
        if let Lookup::Found(person) = &self.facts.lookup {
            self.write_user(&mut batch, person, &record);
            if self.guessed {
                self.count_failure(&mut batch, person, Denial::WrongCode);
                batch.audit.push(self.rejection(Denial::WrongCode));
            }
        }
        let rule = Some(Arc::clone(&self.rule.name));
        let person = self
            .facts
            .lookup
            .person()
            .filter(|_| !proven.is_empty())
            .map(Arc::as_ref);
        let text = asks_for_code(self.engine, self.request, self.terms, person);
        let prompt = prompt(self.engine, self.request, text, proven, password, dialog, self.now);
        let useful = self.requirement.useful_codes(proven);
        let mut prompt = with_challenge(prompt, self.engine, self.request, useful, self.nonce);
        if self.requirement.asks_questions(proven) {
            self.begin_round(&mut prompt);
        }
        Step::Decided(Decision {
            verdict: Verdict::Challenge(prompt),
            batch,
            rule,
            proven,
            reuse: None,
        })
    }

    /// Refuses a code; the failure counts if the code could have been a guess.
    pub(super) fn refuse_code(self, judgement: Judgement, wanted: KindSet, record: Cow<'f, UserRecord>) -> Step<'a> {
        let denial = match judgement {
            Judgement::Replayed => Denial::CodeReplayed,
            Judgement::Wrong | Judgement::Right => Denial::WrongCode,
            Judgement::NotApplicable if authenticator::any_enrolled(wanted, &self.facts.user.value, self.now) => {
                Denial::WrongCode
            }
            Judgement::NotApplicable => Denial::NotEnrolled,
        };
        self.refuse(self.blocked.unwrap_or(denial), record)
    }

    pub(super) fn refuse(self, denial: Denial, record: Cow<'f, UserRecord>) -> Step<'a> {
        self.refuse_saying(denial, None, record)
    }

    /// Refuses, with more than the word of the denial for the audit.
    fn refuse_saying(self, denial: Denial, detail: Option<&str>, record: Cow<'f, UserRecord>) -> Step<'a> {
        let denial = self.reason(denial);
        let mut batch = Batch::default();
        let mut reuse = None;
        let person = self.facts.lookup.person();
        if let Some(person) = person {
            reuse = self.after_refusal(denial, person);
            self.write_user(&mut batch, person, &record);
            if denial.is_guess() || self.guessed {
                self.count_failure(&mut batch, person, denial);
            }
            if denial == Denial::SessionLimit {
                expect_grants(&mut batch, self.facts, person);
            }
        }
        // A source that is refused unheard must not fill the audit: the verifier notes it now and then.
        if denial != Denial::SourceThrottled {
            batch.audit.push(explained(self.rejection(denial), detail));
        }
        Step::Decided(Decision {
            verdict: Verdict::Reject(denial),
            batch,
            rule: Some(Arc::clone(&self.rule.name)),
            proven: KindSet::EMPTY,
            reuse,
        })
    }

    pub(super) fn count_failure(&self, batch: &mut Batch, person: &Person, denial: Denial) {
        if self.limit.failures == 0 || self.blocked.is_some() {
            return;
        }
        let failure = Failure {
            at: self.now,
            code: denial != Denial::WrongPassword,
        };
        let counted = self
            .facts
            .throttle
            .value
            .clone()
            .with_failure(None, failure, self.limit);
        write_throttle(batch, person, &self.facts.throttle, &counted, self.limit);
    }

    /// What a refusal means for codes that count for longer than one login.
    fn after_refusal(&self, denial: Denial, person: &Person) -> Option<reuse::Change> {
        if !self.engine.policy.reuses() {
            return None;
        }
        let throttle = &self.facts.throttle.value;
        let over = self.blocked.is_none() && locks(throttle, None, self.limit, self.now);
        reuse::after_refusal(denial, over, self.reused.is_some(), person, &self.request.origin)
    }

    pub(super) fn rejection(&self, denial: Denial) -> AuditEvent {
        let person = self.facts.lookup.person().map(Arc::as_ref);
        let (rule, outcome) = (Some(&*self.rule.name), Outcome::Reject);
        event(
            self.request,
            person,
            rule,
            KindSet::EMPTY,
            outcome,
            Some(denial.word()),
            self.now,
        )
    }

    pub(super) fn broken(self, error: &KeyError) -> Step<'a> {
        self.engine
            .outage(self.request, Some(self.rule), error.to_string(), self.now)
    }

    /// Writes the person's record if judging changed it.
    #[allow(clippy::ptr_arg, reason = "whether it was changed is what is asked")]
    pub(super) fn write_user(&self, batch: &mut Batch, person: &Person, record: &Cow<'_, UserRecord>) -> bool {
        match record {
            // Nothing was judged by it.
            Cow::Borrowed(_) => false,
            Cow::Owned(record) => write_user(batch, person, &self.facts.user, record),
        }
    }
}
