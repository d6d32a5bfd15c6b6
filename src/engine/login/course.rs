//! A dialog that follows a workflow: what somebody types for the step they stand at, what comes next, how it ends.
//!
//! Until everything is proven, everybody is asked the same; what was wrong is only noted in the sealed dialog. Then
//! a session is opened in the person's record ([`Helped`]): it ends with the workflow, after ten minutes, or after
//! three failures, and with it every sealed dialog that belongs to it.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::engine::authenticator::{self, Judgement, Kind, KindSet};
use crate::engine::batch::Batch;
use crate::engine::dialog::Dialog;
use crate::engine::event::{AuditEvent, Outcome};
use crate::engine::facts::{Facts, Lookup, Person};
use crate::engine::login::again::text_of;
use crate::engine::login::case::Case;
use crate::engine::login::challenge;
use crate::engine::login::change::takes_passcode;
use crate::engine::login::outcome::{
    event, expect_grants, expect_user, grant, one_too_many, prompt, write_grant, write_throttle, write_user,
};
use crate::engine::login::round::count_right;
use crate::engine::login::{Attempt, Decision, Effect, Engine, Evidence, Stage, Step};
use crate::engine::record::{Ended, Failure, Helped, Pending, ThrottleRecord, UserRecord};
use crate::engine::request::AuthnRequest;
use crate::engine::texts::{Text, Voice};
use crate::engine::verdict::{Closed, Denial, Outage, Verdict};
use crate::engine::workflow::{At, Course, End, Start, Task, Workflow};
use crate::keyring::KeyError;
use crate::secret::Secret;

/// How long somebody may help themselves once they have proven who they are.
pub(super) const SESSION_LIFE: Duration = Duration::from_secs(10 * 60);

/// Wrong codes and new passwords that are not taken until a session is over.
pub(super) const MAX_FAILURES: u8 = 3;

/// Most challenges of one workflow.
const MAX_ROUNDS: u8 = 30;

/// What a step comes to: the next one, or an answer.
pub(super) type Turn<'a, 'f> = ControlFlow<Step<'a>, Walk<'a, 'f>>;

/// Somebody on their way through a workflow.
pub(super) struct Walk<'a, 'f> {
    pub(super) case: Case<'a, 'f>,
    pub(super) workflow: &'a Workflow,
    /// The person's record, as the answer will leave it.
    pub(super) record: Cow<'f, UserRecord>,
    /// Their failures, as the answer will leave them.
    throttle: ThrottleRecord,
    events: Vec<AuditEvent>,
    pub(super) position: Position,
    /// What the last step came to, if it changed something.
    pub(super) came_to: Option<CameTo>,
    /// What a new password is asked for with, if there is a reason for it.
    pub(super) because: Option<Text>,
    /// The challenge that is shown to an offline token, if one is.
    challenge: Option<u64>,
    /// What was found wrong with this request, where the dialog goes on without a word of it.
    untold: Option<Denial>,
}

/// Where somebody stands, and what they bring along.
#[derive(Clone, Debug)]
pub(super) struct Position {
    pub(super) course: Course,
    pub(super) proven: KindSet,
    /// The password that is to be changed, found right by the directory.
    pub(super) password: Option<Secret>,
}

/// What a step changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CameTo {
    /// The password.
    PasswordChanged,
    /// The account is unlocked.
    Unlocked,
    /// A token is enrolled.
    Enrolled,
}

impl<'a, 'f> Case<'a, 'f> {
    /// The word for a forgotten password was typed: everybody is asked the same from now on.
    pub(super) fn recover(self) -> Step<'a> {
        let record = self.record();
        let Some(walk) = Walk::new(self, Start::Recover, record) else {
            return self.refuse(self.blocked.unwrap_or(Denial::Policy), self.record());
        };
        walk.go()
    }

    /// A passcode was right: `record` has it no more. It opens a session.
    pub(super) fn passcode_used(self, record: Cow<'f, UserRecord>) -> Step<'a> {
        let spent = self.facts.user.value.passcode.as_ref();
        let replaces_factor = spent.is_some_and(|passcode| passcode.replaces_factor);
        let Some(mut walk) = Walk::new(self, Start::Passcode, record) else {
            return self.refuse(Denial::Policy, self.record());
        };
        walk.position.proven = KindSet::of(Kind::Passcode);
        walk.enter(replaces_factor);
        walk.note("passcode.use", Outcome::Restricted, None);
        walk.go()
    }

    /// The first half of a passcode, or what looks like one: everybody is asked for the other.
    pub(super) fn first_part(self, first: String) -> Step<'a> {
        let record = self.record();
        let Some(walk) = Walk::new(self, Start::Passcode, record) else {
            return self.refuse(self.blocked.unwrap_or(Denial::Policy), self.record());
        };
        walk.ask(Text::SecondPart, &[], false, At::SecondPart(first))
    }

    /// What was typed for the step that `dialog` stands at.
    pub(super) fn walk(self, typed: &Secret, dialog: &Dialog, course: &Course) -> Step<'a> {
        let Some(mut walk) = Walk::resumed(self, dialog, course) else {
            return self.refuse(self.blocked.unwrap_or(Denial::BadDialog), self.record());
        };
        match (self.blocked, course.session) {
            (Some(denial), Some(_)) => return walk.refuse(denial),
            // Noticed now, told at the end.
            (Some(_), None) => walk.position.course.spoilt = true,
            (None, _) => {}
        }
        if let At::SecondPart(first) = &course.at {
            return walk.second_part(first, typed);
        }
        match walk.take(typed) {
            ControlFlow::Continue(walk) => walk.next().go(),
            ControlFlow::Break(step) => step,
        }
    }
}

impl<'a> Attempt<'a> {
    /// Goes on once what a step wanted done is done.
    pub(super) fn walk_on(
        engine: &'a Engine,
        request: &'a AuthnRequest,
        (position, nonce): (Position, u64),
        evidence: Evidence,
        facts: &Facts,
        now: Timestamp,
    ) -> Step<'a> {
        let case = match engine.case(request, facts, now, nonce) {
            Ok((case, _)) => case,
            Err(step) => return *step,
        };
        let Some(mut walk) = Walk::at(case, position, case.record()) else {
            return case.refuse(Denial::BadDialog, case.record());
        };
        walk.throttle = walk.throttle.without_pending(nonce);
        match walk.evidence(evidence) {
            ControlFlow::Continue(walk) => match (walk.case.blocked, walk.position.course.session) {
                // Said while the directory was asked.
                (Some(denial), Some(_)) => walk.refuse(denial),
                (Some(_) | None, _) => walk.next().go(),
            },
            ControlFlow::Break(step) => step,
        }
    }
}

impl<'a, 'f> Walk<'a, 'f> {
    /// At the beginning of the workflow that follows from `start`; `None` when there is none.
    pub(super) fn new(case: Case<'a, 'f>, start: Start, record: Cow<'f, UserRecord>) -> Option<Self> {
        let workflow = case.engine.policy.workflows.of(start, &case.terms.workflows)?;
        let course = Course {
            start,
            mark: workflow.mark,
            step: 0,
            chosen: None,
            at: At::Asked,
            session: None,
            spoilt: case.blocked.is_some(),
        };
        let position = Position {
            course,
            proven: KindSet::EMPTY,
            password: None,
        };
        Self::at(case, position, record)
    }

    /// Where a dialog stands, if it is this person's, has not expired, and its session goes on.
    fn resumed(case: Case<'a, 'f>, dialog: &Dialog, course: &Course) -> Option<Self> {
        let own = case.is_current(dialog);
        let helped = case.facts.user.value.helped.as_ref();
        let goes_on = course.session.is_none_or(|id| {
            helped.is_some_and(|helped| helped.goes_on(id, case.now) && helped.failures < MAX_FAILURES)
        });
        if !own || !goes_on {
            return None;
        }
        let position = Position {
            course: course.clone(),
            proven: dialog.proven,
            password: dialog.password.clone(),
        };
        Self::at(case, position, case.record())
    }

    pub(super) fn at(case: Case<'a, 'f>, position: Position, record: Cow<'f, UserRecord>) -> Option<Self> {
        let workflows = &case.engine.policy.workflows;
        let workflow = workflows.of(position.course.start, &case.terms.workflows)?;
        (workflow.mark == position.course.mark).then(|| Self {
            workflow,
            record,
            throttle: case.facts.throttle.value.clone(),
            events: Vec::new(),
            position,
            came_to: None,
            because: None,
            challenge: None,
            untold: None,
            case,
        })
    }

    /// The step it stands at.
    pub(super) fn task(&self) -> Option<Cow<'a, Task>> {
        match self.position.course.chosen {
            Some(action) => Some(Cow::Owned(action.task())),
            None => self.workflow.step(self.position.course.step).map(Cow::Borrowed),
        }
    }

    /// The step after this one.
    pub(super) fn next(mut self) -> Self {
        let course = &mut self.position.course;
        course.step = course.step.saturating_add(1);
        course.chosen = None;
        course.at = At::Asked;
        self
    }

    /// Goes on from here: asks for the first step that has something to ask, or ends.
    pub(super) fn go(mut self) -> Step<'a> {
        loop {
            let Some(task) = self.task() else {
                return self.end();
            };
            if !task.proves() && self.position.course.session.is_none() {
                if let Some(denial) = self.missing() {
                    return self.refuse(denial);
                }
                self.enter(false);
                self.note(self.position.course.start.word(), Outcome::Restricted, None);
            }
            match self.begin_task(&task) {
                ControlFlow::Continue(walk) => self = walk.next(),
                ControlFlow::Break(step) => return step,
            }
        }
    }

    /// What stands between a person and the session, after all that was to be proven.
    fn missing(&self) -> Option<Denial> {
        match (&self.case.facts.lookup, self.case.blocked) {
            (Lookup::Found(_) | Lookup::Unknown | Lookup::Ambiguous | Lookup::Unavailable(_), Some(denial)) => {
                Some(denial)
            }
            (Lookup::Unknown | Lookup::Ambiguous | Lookup::Unavailable(_), None) => Some(Denial::UnknownUser),
            (Lookup::Found(_), None) if self.position.course.spoilt || self.position.proven.is_empty() => {
                Some(Denial::NotProven)
            }
            (Lookup::Found(_), None) => None,
        }
    }

    /// Opens the session. What was proven for it clears the failures that it was proven in spite of.
    pub(super) fn enter(&mut self, replaces_factor: bool) {
        let packet = self.fingerprint();
        self.position.course.session = Some(self.case.nonce);
        self.record.to_mut().helped = Some(Helped {
            id: self.case.nonce,
            start: self.position.course.start,
            until: self.case.now + SESSION_LIFE,
            failures: 0,
            packet,
            proven: self.position.proven,
            replaces_factor,
            open: true,
            ended: None,
        });
        if self.position.proven.has(Kind::Questions) {
            count_right(self.record.to_mut());
        }
        let codes = self.position.proven.clears_codes();
        self.throttle = std::mem::take(&mut self.throttle).with_success(Some(self.case.nonce), codes);
    }

    /// The other half of a passcode.
    fn second_part(mut self, first: &str, typed: &Secret) -> Step<'a> {
        if !takes_passcode(self.case.terms) {
            // Another rule decides than when the first half was typed.
            let denial = self.case.blocked.unwrap_or(Denial::Policy);
            return self.refuse(denial);
        }
        let second = typed.expose_str().unwrap_or_default();
        let whole = Secret::new(format!("{first}{second}"));
        let judged = self.judge(&whole, KindSet::of(Kind::Passcode));
        match judged {
            Ok((Judgement::Right, _)) => self.case.passcode_used(self.record),
            Ok((judgement, _)) => {
                let denial = self.miss(judgement, KindSet::of(Kind::Passcode));
                self.refuse(denial)
            }
            Err(error) => self.outage(error.to_string()),
        }
    }

    /// Judges `typed` as a code, unless the person is barred anyway.
    pub(super) fn judge(&mut self, typed: &Secret, wanted: KindSet) -> Result<(Judgement, Option<Kind>), KeyError> {
        self.case.judge(typed, wanted, &mut self.record)
    }

    /// Notes that something was wrong, and counts it if it was a guess. Whoever was asked, a record is written.
    pub(super) fn miss(&mut self, judgement: Judgement, wanted: KindSet) -> Denial {
        let enrolled = authenticator::any_enrolled(wanted, &self.case.facts.user.value, self.case.now);
        let denial = match (&self.case.facts.lookup, self.case.blocked, judgement) {
            (_, Some(denial), _) => denial,
            (Lookup::Unknown | Lookup::Ambiguous | Lookup::Unavailable(_), None, _) => Denial::UnknownUser,
            (Lookup::Found(_), None, Judgement::Replayed) => Denial::CodeReplayed,
            (Lookup::Found(_), None, Judgement::NotApplicable) if !enrolled => Denial::NotEnrolled,
            (Lookup::Found(_), None, Judgement::NotApplicable | Judgement::Wrong | Judgement::Right) => {
                Denial::WrongCode
            }
        };
        self.count(denial);
        denial
    }

    /// Counts a failure, if `denial` is one.
    pub(super) fn count(&mut self, denial: Denial) {
        self.untold = Some(denial);
        if denial.is_guess() && self.case.blocked.is_none() && self.case.limit.failures > 0 {
            let failure = Failure {
                at: self.case.now,
                code: denial != Denial::WrongPassword,
            };
            self.throttle = std::mem::take(&mut self.throttle).with_failure(None, failure, self.case.limit);
        }
        if self.position.course.session.is_some() && denial.is_guess() {
            self.count_in_session();
        }
    }

    /// One failure more of those after which the session is over. Whether it goes on.
    pub(super) fn count_in_session(&mut self) -> bool {
        let Some(helped) = &mut self.record.to_mut().helped else {
            return false;
        };
        helped.failures = helped.failures.saturating_add(1);
        helped.failures < MAX_FAILURES
    }

    /// Takes back what [`Walk::count_in_session`] counted.
    pub(super) fn uncount_in_session(&mut self) {
        if let Some(helped) = &mut self.record.to_mut().helped {
            helped.failures = helped.failures.saturating_sub(1);
        }
    }

    /// Whether the session has failures left.
    pub(super) fn has_tries(&self) -> bool {
        let helped = self.record.helped.as_ref();
        helped.is_some_and(|helped| helped.failures < MAX_FAILURES)
    }

    /// An audit record: `action` came to `outcome`.
    pub(super) fn note(&mut self, action: &str, outcome: Outcome, reason: Option<&str>) {
        let rule = Some(&*self.case.rule.name);
        let proven = self.position.proven;
        let mut event = event(
            self.case.request,
            self.person().map(|person| person.as_ref()),
            rule,
            proven,
            outcome,
            reason,
            self.case.now,
        );
        action.clone_into(&mut event.action);
        self.events.push(event);
    }

    pub(super) fn person(&self) -> Option<&'f Arc<Person>> {
        self.case.facts.lookup.person()
    }

    /// A text as it is told to this claimant.
    pub(super) fn text(&self, text: Text, values: &[(&str, &str)]) -> String {
        self.voice().say(text, values)
    }

    /// How this claimant is spoken to: in a language of their own once they have proven who they are. Before that
    /// it would tell that they exist.
    pub(super) fn voice(&self) -> Voice<'a> {
        let person = self.person().filter(|_| self.position.course.session.is_some());
        let manner = &self.case.request.origin.manner;
        let texts = &self.case.engine.policy.texts;
        texts.voice(manner, person.map(|person| person.as_ref()))
    }

    /// Asks for the step it stands at.
    pub(super) fn ask(self, text: Text, values: &[(&str, &str)], echo: bool, at: At) -> Step<'a> {
        let text = self.text(text, values);
        self.ask_in_words(text, echo, at)
    }

    /// Asks for one of the `useful` codes: as `text` says, or with a challenge where an offline token would do.
    pub(super) fn ask_for_code(mut self, text: Text, useful: KindSet) -> Step<'a> {
        if !useful.has(Kind::Ocra) {
            return self.ask(text, &[], true, At::Asked);
        }
        let id = self.case.nonce;
        self.challenge = Some(id);
        let words = challenge::text(self.case.engine, self.case.request, useful, id);
        self.ask_in_words(words, true, At::Asked)
    }

    /// Asks for the step it stands at with a text of its own.
    pub(super) fn ask_in_words(mut self, text: String, echo: bool, at: At) -> Step<'a> {
        let text = self.voice().write(text);
        let before = self.case.request.dialog.as_ref();
        if before.is_some_and(|before| before.round >= MAX_ROUNDS) {
            return self.refuse(Denial::BadDialog);
        }
        self.position.course.at = at;
        let Case {
            engine, request, now, ..
        } = self.case;
        let Position {
            course,
            proven,
            password,
        } = self.position.clone();
        let mut prompt = prompt(engine, request, text, proven, password, before, now);
        prompt.echo = echo;
        prompt.untold = self.untold;
        if let Some(helped) = self.record.helped.as_ref().filter(|_| course.session.is_some()) {
            // The session has a life of its own.
            prompt.dialog.expires = (now + engine.settings.lifetime.step).min(helped.until);
        }
        prompt.dialog.course = Some(course);
        prompt.dialog.sent = self.challenge;
        self.decide(Verdict::Challenge(prompt))
    }

    /// Has something done before it goes on; what changed so far is written before. [`Walk::evidence`] hears of it.
    pub(super) fn perform(mut self, effect: impl FnOnce(Batch) -> Effect) -> Step<'a> {
        if self.case.limit.failures > 0 && self.person().is_some() {
            let pending = Pending {
                at: self.case.now,
                nonce: self.case.nonce,
            };
            self.throttle = std::mem::take(&mut self.throttle).with_pending(pending, self.case.limit);
        }
        let stage = Stage::Walking {
            position: Box::new(self.position.clone()),
            nonce: self.case.nonce,
        };
        let attempt = Attempt {
            engine: self.case.engine,
            request: self.case.request,
            stage,
        };
        Step::Do(effect(self.batch()), attempt)
    }

    /// Every step is done.
    fn end(mut self) -> Step<'a> {
        let ended = match self.came_to {
            Some(CameTo::PasswordChanged) => Ended::PasswordChanged,
            Some(CameTo::Unlocked) => Ended::Unlocked,
            Some(CameTo::Enrolled) => Ended::Enrolled,
            None => Ended::Done,
        };
        match (self.workflow.end, self.came_to) {
            (End::Accept, _) if self.is_enough() => {
                self.ended(ended);
                self.let_in()
            }
            (End::Accept, None) => {
                self.ended(ended);
                self.refuse(Denial::NotEnrolled)
            }
            (End::Accept, Some(_)) | (End::Reject, _) => self.close(ended),
        }
    }

    fn let_in(mut self) -> Step<'a> {
        let Some(person) = self.person() else {
            return self.refuse(Denial::UnknownUser);
        };
        let Case {
            request,
            facts,
            terms,
            nonce,
            now,
            engine,
            ..
        } = self.case;
        if one_too_many(facts, terms, now) {
            return self.refuse(Denial::SessionLimit);
        }
        let grant = match grant(terms, request, person, nonce, &[], self.position.proven) {
            Ok(grant) => grant,
            Err(error) => return self.refuse_saying(Denial::ReplyAttribute, &error.to_string()),
        };
        self.record.to_mut().last_login = Some(now);
        let codes = self.position.proven.clears_codes();
        self.throttle = std::mem::take(&mut self.throttle).with_success(Some(nonce), codes);
        self.note(request.operation().action(), Outcome::Accept, None);
        let mut step = self.decide(Verdict::Accept(grant));
        if let Step::Decided(decision) = &mut step {
            write_grant(&mut decision.batch, engine, request, facts, person, (nonce, now));
        }
        step
    }

    /// The end of the dialog, told to somebody who has proven who they are. The session is over.
    pub(super) fn close(mut self, ended: Ended) -> Step<'a> {
        self.ended(ended);
        self.told_again(ended)
    }

    /// The same to who has been told before. Who was let in then is told what came of it, and not let in twice.
    pub(super) fn told_again(self, ended: Ended) -> Step<'a> {
        let Some(person) = self.person().map(Arc::clone) else {
            return self.refuse(Denial::UnknownUser);
        };
        let text = text_of(ended);
        let closed = Closed {
            person,
            text: self.text(text, &[]),
            word: text.key(),
        };
        self.decide(Verdict::Closed(closed))
    }

    /// Refuses.
    pub(super) fn refuse(mut self, denial: Denial) -> Step<'a> {
        if denial != Denial::SourceThrottled {
            self.note(
                self.case.request.operation().action(),
                Outcome::Reject,
                Some(denial.word()),
            );
        }
        let (facts, person) = (self.case.facts, self.person());
        let mut step = self.decide(Verdict::Reject(denial));
        if let (Step::Decided(decision), Some(person), Denial::SessionLimit) = (&mut step, person, denial) {
            expect_grants(&mut decision.batch, facts, person);
        }
        step
    }

    fn refuse_saying(mut self, denial: Denial, detail: &str) -> Step<'a> {
        let reason = format!("{}: {detail}", denial.word());
        self.note(self.case.request.operation().action(), Outcome::Reject, Some(&reason));
        self.decide(Verdict::Reject(denial))
    }

    /// It cannot be said: an outage counts against nobody, and the same can be typed again.
    pub(super) fn outage(mut self, reason: String) -> Step<'a> {
        self.note(
            self.case.request.operation().action(),
            Outcome::Unavailable,
            Some(&reason),
        );
        self.decide(Verdict::Unavailable(Outage { reason }))
    }

    fn decide(self, verdict: Verdict) -> Step<'a> {
        let rule = Some(Arc::clone(&self.case.rule.name));
        let proven = self.position.proven;
        Step::Decided(Decision {
            verdict,
            batch: self.batch(),
            rule,
            proven,
            reuse: None,
        })
    }

    /// What the answer rests on and leaves behind.
    fn batch(self) -> Batch {
        let mut batch = Batch::default();
        if let Some(person) = self.person() {
            let before = &self.case.facts.user;
            let written = match &self.record {
                Cow::Borrowed(_) => false,
                Cow::Owned(record) => write_user(&mut batch, person, before, record),
            };
            if !written {
                expect_user(&mut batch, person, before);
            }
            if self.case.limit.failures > 0 {
                let before = &self.case.facts.throttle;
                write_throttle(&mut batch, person, before, &self.throttle, self.case.limit);
            }
        }
        batch.audit = self.events;
        batch
    }
}
