//! A password tried by the directory, or something asked of an upstream server: what its answer comes to.

use std::borrow::Cow;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::dictionary::Pair;
use crate::engine::authenticator::{Kind, KindSet};
use crate::engine::batch::Batch;
use crate::engine::dialog::MAX_ROUNDS;
use crate::engine::event::{AuditEvent, Outcome};
use crate::engine::facts::{Facts, Person};
use crate::engine::login::challenge::with_challenge;
use crate::engine::login::enrol::GRACE;
use crate::engine::login::open::reason;
use crate::engine::login::outcome::{
    LAST_LOGIN_STEP, asks_for_code, event, expect_grants, expect_user, explained, grant, locks, one_too_many, prompt,
    write_grant, write_throttle, write_user,
};
use crate::engine::login::round::count_right;
use crate::engine::login::upstream::Asked;
use crate::engine::login::{Decision, Engine, Step};
use crate::engine::policy::{Audit, Requirement, Rule, Subject, Terms, Who};
use crate::engine::record::{Failure, Pending, ThrottleRecord, UserRecord};
use crate::engine::request::{AuthnRequest, Capability};
use crate::engine::reuse::{self, Reused};
use crate::engine::throttle::Limit;
use crate::engine::verdict::{Denial, Grant, Outage, Prompt, Verdict};
use crate::secret::Secret;

/// What was tried, by whom, on what terms.
pub(super) struct Tried<'a, 'f> {
    pub(super) engine: &'a Engine,
    pub(super) request: &'a AuthnRequest,
    pub(super) facts: &'f Facts,
    pub(super) person: Arc<Person>,
    pub(super) rule: &'a Rule,
    pub(super) terms: &'a Terms,
    /// What of the terms has to be typed.
    pub(super) requirement: &'a Requirement,
    pub(super) limit: Limit,
    pub(super) proven: KindSet,
    pub(super) nonce: u64,
    pub(super) spent: Option<Box<(UserRecord, UserRecord)>>,
    pub(super) guessed: bool,
    /// What stands in for a code.
    pub(super) reused: Option<Reused>,
    pub(super) asked: Option<Asked>,
    /// What upstream servers said is to be passed on.
    pub(super) passed: Vec<Pair>,
    /// The password that was tried, where it is needed again if it must be changed.
    pub(super) held: Option<Secret>,
    /// Why a factor was out of reach that the rule lets go of then.
    pub(super) opened: Option<Arc<str>>,
    /// Whether the person's open request for an approval was granted, and is used up.
    pub(super) approved: bool,
    pub(super) now: Timestamp,
}

impl<'a> Tried<'a, '_> {
    pub(super) fn right(self) -> Step<'a> {
        if self.must_change() {
            return self.outdated(Denial::PasswordMustChange);
        }
        let proven = self.proven.with(Kind::Password);
        self.advance(proven, None)
    }

    /// Whether an operator wants the password changed first. Not where another server judges it: nobody could change
    /// it here.
    fn must_change(&self) -> bool {
        self.facts.user.value.must_change.is_some()
            && self.facts.password_by.is_none()
            && self.request.new_password().is_none()
    }

    /// Something more was proven; `held` is a password that was typed and not tried yet.
    pub(super) fn advance(self, proven: KindSet, held: Option<Secret>) -> Step<'a> {
        if self.facts.is_denied(self.now) {
            // Said while the directory or the upstream was asked.
            return self.barred(Denial::Denied);
        }
        if let Some(reused) = &self.reused
            && !reused.still_stands(self.facts.reused.as_deref(), &self.facts.user.value)
        {
            // Likewise: a token revoked, the entry cleared.
            return self.barred(Denial::ReuseOver);
        }
        let requirement = self.requirement;
        if requirement.is_met(proven) {
            return match self.request.new_password() {
                Some(new) => self.change(proven, None, new),
                None => match self.further(proven) {
                    Some(step) => step,
                    None => self.grant(proven),
                },
            };
        }
        if self.is_open(proven) {
            return self.grant(proven);
        }
        if let Some(enrol) = self.lacks_a_first_token(proven) {
            return match enrol.grace(self.now) {
                Some(_) => self.grant(proven),
                None => self.enrol(proven),
            };
        }
        if let Some(password) = held.as_ref().filter(|_| requirement.wants_only_password(proven)) {
            return self.try_password(proven, password.clone());
        }
        if self.lacks_silent_approval(proven) {
            return self.look_for_approval(proven);
        }
        if !self.may_ask() {
            return self.barred(Denial::ClientCannotAsk);
        }
        if self.terms.hides_password() && held.is_none() && self.passed.is_empty() {
            return self.ask_more(proven);
        }
        // Nothing is settled yet, so earlier failures stay counted.
        let mut batch = Batch::default();
        self.end_attempt(&mut batch);
        if !self.passed.is_empty() {
            // Left out, they could be what limits the access.
            let detail = "what the upstream says is to be passed on, but another question follows: ask it last";
            return self.rejected(Denial::ReplyAttribute, Some(detail), batch);
        }
        let prompt = self.prompt(proven, held);
        self.decided(Verdict::Challenge(prompt), batch, proven)
    }

    fn grant(self, proven: KindSet) -> Step<'a> {
        let mut batch = Batch::default();
        if one_too_many(self.facts, self.terms, self.now) || !self.rule_still_decides() {
            return self.barred(Denial::SessionLimit);
        }
        let codes = match self.reused {
            // Given before, and counted then.
            Some(_) => KindSet::EMPTY,
            None => proven.codes(),
        };
        let fresh = match self.reused {
            Some(reused) => proven.without(reused.kinds),
            None => proven,
        };
        let reminder = self.reminder(proven);
        let grant = match grant(self.terms, self.request, &self.person, self.nonce, &self.passed, fresh) {
            Ok(grant) => Grant {
                message: reminder.clone().or(grant.message),
                ..grant
            },
            Err(error) => {
                self.end_attempt(&mut batch);
                return self.rejected(Denial::ReplyAttribute, Some(&error.to_string()), batch);
            }
        };
        let login = (self.nonce, self.now);
        write_grant(&mut batch, self.engine, self.request, self.facts, &self.person, login);
        self.throttle(&mut batch, |record, nonce| {
            record.with_success(Some(nonce), codes.clears_codes())
        });
        let mut record = self.judged_record();
        let due = |last| self.now.since(last) >= LAST_LOGIN_STEP;
        if self.facts.user.version.0 > 0 && (!codes.is_empty() || record.last_login.is_none_or(due)) {
            record.to_mut().last_login = Some(self.now);
        }
        if proven.has(Kind::Questions) {
            count_right(record.to_mut());
        }
        let written = match &record {
            Cow::Borrowed(_) => false,
            Cow::Owned(record) => write_user(&mut batch, &self.person, &self.facts.user, record),
        };
        // A spent code is written down whatever the rule says, and so made durable before the answer.
        let opened = self.opened.as_deref().map(reason);
        if self.terms.audit == Audit::All || !codes.is_empty() || opened.is_some() {
            let reason = self.reused.map(|_| reuse::WORD).or(reminder.map(|_| GRACE));
            batch
                .audit
                .push(self.event(proven, Outcome::Accept, opened.as_deref().or(reason)));
        }
        let change = self.remembered(proven, &record);
        if !written && (!batch.is_empty() || self.reused.is_some()) {
            expect_user(&mut batch, &self.person, &self.facts.user);
        }
        self.decided(Verdict::Accept(grant), batch, proven).with_reuse(change)
    }

    /// What a login leaves for later ones.
    fn remembered(&self, proven: KindSet, record: &UserRecord) -> Option<reuse::Change> {
        if let Some(reused) = &self.reused {
            return Some(reused.used(&self.person, &self.request.origin));
        }
        self.terms.reuse.filter(|_| self.opened.is_none())?;
        // What proved it may have been revoked while the directory was asked.
        let judged_by = self.spent.as_deref().map(|(_, after)| reuse::mark(after));
        if judged_by.is_some_and(|mark| mark != reuse::mark(record)) {
            return None;
        }
        let rule = (&self.rule.name, self.terms);
        let keyring = &self.engine.keyring;
        let entry = reuse::entry(self.request, &self.person, rule, proven, record, keyring, self.now)?;
        Some(reuse::Change::Remember(Box::new(entry)))
    }

    /// What a refusal means for codes that count for longer than one login.
    fn after_refusal(&self, denial: Denial) -> Option<reuse::Change> {
        if !self.engine.policy.reuses() {
            return None;
        }
        let over = locks(&self.facts.throttle.value, Some(self.nonce), self.limit, self.now);
        reuse::after_refusal(denial, over, self.reused.is_some(), &self.person, &self.request.origin)
    }

    /// Where rules ask how many sessions there are: whether the rule still is the one that decides. Others may
    /// have logged in as the person while the password was tried.
    fn rule_still_decides(&self) -> bool {
        let Some(sessions) = &self.facts.sessions else {
            return true;
        };
        let subject = Subject {
            login: &self.request.login,
            origin: &self.request.origin,
            person: Who::Known(&self.person),
            operation: self.request.purpose.operation(),
            sessions: Some(sessions.count(self.now)),
            known: self.facts.known(self.engine.settings.limit.window, self.now),
            now: self.now,
        };
        let decides = self.engine.policy.ruling(&subject);
        decides.is_some_and(|rule| std::ptr::eq(rule, self.rule))
    }

    /// The record without a guess that was none: what was typed only looked like a code.
    pub(super) fn judged_record(&self) -> Cow<'_, UserRecord> {
        // A code that was right stays spent, whatever else was guessed.
        let record = match self
            .before_judging()
            .filter(|_| self.guessed && self.proven.codes().is_empty())
        {
            // It was the password after all, and only looked like a code.
            Some(before) => Cow::Owned(before.clone()),
            None => Cow::Borrowed(&self.facts.user.value),
        };
        self.without_used_approval(record)
    }

    pub(super) fn prompt(&self, proven: KindSet, held: Option<Secret>) -> Prompt {
        let before = self.request.dialog.as_ref();
        let person = (!proven.is_empty()).then_some(self.person.as_ref());
        let text = asks_for_code(self.engine, self.request, self.terms, person);
        let prompt = prompt(self.engine, self.request, text, proven, held, before, self.now);
        let useful = self.requirement.useful_codes(proven);
        let mut prompt = with_challenge(prompt, self.engine, self.request, useful, self.nonce);
        if self.requirement.asks_questions(proven)
            && let Ok((case, _)) = self.engine.case(self.request, self.facts, self.now, self.nonce)
        {
            case.begin_round(&mut prompt);
        }
        prompt
    }

    /// Whether the client can be sent another challenge.
    pub(super) fn may_ask(&self) -> bool {
        let dialog = self.request.dialog.as_ref();
        match self.request.capability {
            Capability::Dialog => dialog.is_none_or(|dialog| dialog.round < MAX_ROUNDS),
            Capability::SingleChallenge => dialog.is_none(),
            Capability::Append(_) | Capability::None => false,
        }
    }

    pub(super) fn wrong(self) -> Step<'a> {
        let mut batch = Batch::default();
        self.count_failure(&mut batch);
        self.refused(Denial::WrongPassword, batch)
    }

    /// The directory knows the password but does not let the person in.
    pub(super) fn barred(self, denial: Denial) -> Step<'a> {
        let mut batch = Batch::default();
        self.end_attempt(&mut batch);
        if self.hides() {
            return self.deceive(denial, batch);
        }
        if denial == Denial::SessionLimit {
            expect_grants(&mut batch, self.facts, &self.person);
        }
        // What a directory says of an account: who was tried before their time does not hear it.
        let of_account = matches!(
            denial,
            Denial::Locked | Denial::Disabled | Denial::PasswordExpired | Denial::PasswordMustChange
        );
        match of_account {
            true => self.refused(denial, batch),
            false => self.rejected(denial, None, batch),
        }
    }

    /// An outage counts against nobody, and gives a right code back: no answer has told that it was right.
    /// A wrong one was judged without the directory, and stays counted.
    pub(super) fn unavailable(self, reason: String) -> Step<'a> {
        let mut batch = Batch::default();
        if self.guessed {
            self.count_failure(&mut batch);
        } else {
            // A challenge that was answered can be answered again, and so stays counted.
            self.throttle_unsettled(&mut batch, ThrottleRecord::without_pending);
        }
        if let Some(before) = self.before_judging().filter(|_| !self.guessed) {
            write_user(&mut batch, &self.person, &self.facts.user, before);
        }
        self.give_back_challenge(&mut batch);
        batch
            .audit
            .push(self.event(KindSet::EMPTY, Outcome::Unavailable, Some(&reason)));
        self.decided(Verdict::Unavailable(Outage { reason }), batch, KindSet::EMPTY)
    }

    pub(super) fn rejected(self, denial: Denial, detail: Option<&str>, mut batch: Batch) -> Step<'a> {
        let event = self.event(self.proven, Outcome::Reject, Some(denial.word()));
        batch.audit.push(explained(event, detail));
        let proven = self.proven;
        let change = self.after_refusal(denial);
        self.decided(Verdict::Reject(denial), batch, proven).with_reuse(change)
    }

    /// The record as it was before codes were judged, if nobody has changed it since.
    pub(super) fn before_judging(&self) -> Option<&UserRecord> {
        let (before, after) = self.spent.as_deref()?;
        (self.facts.user.value == *after).then_some(before)
    }

    /// The attempt is over and settles nothing; a code guessed on the way counts.
    pub(super) fn end_attempt(&self, batch: &mut Batch) {
        if self.guessed {
            self.count_failure(batch);
        } else {
            self.throttle(batch, ThrottleRecord::without_pending);
        }
    }

    pub(super) fn count_failure(&self, batch: &mut Batch) {
        let failure = Failure {
            at: self.now,
            code: self.guessed || self.asked.as_ref().is_some_and(Asked::is_code),
        };
        self.throttle(batch, |record, nonce| {
            record.with_failure(Some(nonce), failure, self.limit)
        });
    }

    /// A challenge goes out, and counts until it is answered: sending it may have rung somebody up. It takes
    /// the place of the one that was `answered`.
    pub(super) fn count_challenge(&self, batch: &mut Batch, answered: Option<u64>) {
        let challenge = Pending {
            at: self.now,
            nonce: self.nonce,
        };
        let failure = self.guessed.then_some(Failure {
            at: self.now,
            code: true,
        });
        self.throttle_unsettled(batch, |record, nonce| {
            let record = match failure {
                Some(failure) => record.with_failure(Some(nonce), failure, self.limit),
                None => record.without_pending(nonce),
            };
            record.without_challenge(answered).with_challenge(challenge, self.limit)
        });
    }

    /// Changes what is counted; the challenge that was answered is settled by it.
    pub(super) fn throttle(&self, batch: &mut Batch, change: impl FnOnce(ThrottleRecord, u64) -> ThrottleRecord) {
        let answered = self.asked.as_ref().and_then(Asked::challenge);
        self.throttle_unsettled(batch, |record, nonce| change(record.without_challenge(answered), nonce));
    }

    fn throttle_unsettled(&self, batch: &mut Batch, change: impl FnOnce(ThrottleRecord, u64) -> ThrottleRecord) {
        if self.limit.failures > 0 {
            let changed = change(self.facts.throttle.value.clone(), self.nonce);
            write_throttle(batch, &self.person, &self.facts.throttle, &changed, self.limit);
        }
    }

    pub(super) fn event(&self, proven: KindSet, outcome: Outcome, reason: Option<&str>) -> AuditEvent {
        event(
            self.request,
            Some(&self.person),
            Some(&self.rule.name),
            proven,
            outcome,
            reason,
            self.now,
        )
    }

    pub(super) fn decided(self, verdict: Verdict, batch: Batch, proven: KindSet) -> Step<'a> {
        Step::Decided(Decision {
            verdict,
            batch,
            rule: Some(Arc::clone(&self.rule.name)),
            proven,
            reuse: None,
        })
    }
}
