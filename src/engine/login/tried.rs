//! A password tried by the directory: what its answer comes to.

use std::borrow::Cow;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::engine::authenticator::{Kind, KindSet};
use crate::engine::batch::Batch;
use crate::engine::event::{AuditEvent, Outcome};
use crate::engine::facts::{Facts, Person};
use crate::engine::login::outcome::{
    LAST_LOGIN_STEP, event, expect_user, explained, grant, prompt, write_throttle, write_user,
};
use crate::engine::login::{Decision, Engine, Step};
use crate::engine::policy::{Audit, Rule, Terms};
use crate::engine::record::{Failure, ThrottleRecord, UserRecord};
use crate::engine::request::AuthnRequest;
use crate::engine::throttle::Limit;
use crate::engine::verdict::{Denial, Outage, Verdict};

/// A password tried by the directory.
pub(super) struct Tried<'a, 'f> {
    pub(super) engine: &'a Engine,
    pub(super) request: &'a AuthnRequest,
    pub(super) facts: &'f Facts,
    pub(super) person: Arc<Person>,
    pub(super) rule: &'a Rule,
    pub(super) terms: &'a Terms,
    pub(super) limit: Limit,
    pub(super) proven: KindSet,
    pub(super) nonce: u64,
    pub(super) spent: Option<Box<(UserRecord, UserRecord)>>,
    pub(super) guessed: bool,
    pub(super) now: Timestamp,
}

impl<'a> Tried<'a, '_> {
    pub(super) fn right(self) -> Step<'a> {
        if self.facts.user.value.denial(self.now).is_some() {
            // Said while the directory was asked.
            return self.barred(Denial::Denied);
        }
        let proven = self.proven.with(Kind::Password);
        let mut batch = Batch::default();
        if !self.terms.requirement.is_met(proven) {
            // Password first: nothing is settled yet, so earlier failures stay counted.
            self.end_attempt(&mut batch);
            let prompt = prompt(self.engine, self.request, self.terms, proven, None, None, self.now);
            return self.decided(Verdict::Challenge(prompt), batch, proven);
        }
        let grant = match grant(self.terms, self.request, &self.person) {
            Ok(grant) => grant,
            Err(error) => {
                self.end_attempt(&mut batch);
                return self.rejected(Denial::ReplyAttribute, Some(&error.to_string()), batch);
            }
        };
        let codes = self.proven;
        self.throttle(&mut batch, |record, nonce| {
            record.with_success(Some(nonce), !codes.is_empty())
        });
        let mut record = Cow::Borrowed(&self.facts.user.value);
        if let Some(before) = self.before_judging().filter(|_| self.guessed) {
            // It was the password after all, and only looked like a code.
            record = Cow::Owned(before.clone());
        }
        let due = |last| self.now.since(last) >= LAST_LOGIN_STEP;
        if self.facts.user.version.0 > 0 && (!codes.is_empty() || record.last_login.is_none_or(due)) {
            record.to_mut().last_login = Some(self.now);
        }
        let written = match &record {
            Cow::Borrowed(_) => false,
            Cow::Owned(record) => write_user(&mut batch, &self.person, &self.facts.user, record),
        };
        // A spent code is written down whatever the rule says, and so made durable before the answer.
        if self.terms.audit == Audit::All || !codes.is_empty() {
            batch.audit.push(self.event(proven, Outcome::Accept, None));
        }
        if !written && !batch.is_empty() {
            expect_user(&mut batch, &self.person, &self.facts.user);
        }
        self.decided(Verdict::Accept(grant), batch, proven)
    }

    pub(super) fn wrong(self) -> Step<'a> {
        let mut batch = Batch::default();
        self.count_failure(&mut batch);
        self.rejected(Denial::WrongPassword, None, batch)
    }

    /// The directory knows the password but does not let the person in.
    pub(super) fn barred(self, denial: Denial) -> Step<'a> {
        let mut batch = Batch::default();
        self.end_attempt(&mut batch);
        self.rejected(denial, None, batch)
    }

    /// An outage counts against nobody, and gives a right code back: no answer has told that it was right.
    /// A wrong one was judged without the directory, and stays counted.
    pub(super) fn unavailable(self, reason: String) -> Step<'a> {
        let mut batch = Batch::default();
        self.end_attempt(&mut batch);
        if let Some(before) = self.before_judging().filter(|_| !self.guessed) {
            write_user(&mut batch, &self.person, &self.facts.user, before);
        }
        batch
            .audit
            .push(self.event(KindSet::EMPTY, Outcome::Unavailable, Some(&reason)));
        self.decided(Verdict::Unavailable(Outage { reason }), batch, KindSet::EMPTY)
    }

    fn rejected(self, denial: Denial, detail: Option<&str>, mut batch: Batch) -> Step<'a> {
        let event = self.event(self.proven, Outcome::Reject, Some(denial.word()));
        batch.audit.push(explained(event, detail));
        let proven = self.proven;
        self.decided(Verdict::Reject(denial), batch, proven)
    }

    /// The record as it was before codes were judged, if nobody has changed it since.
    fn before_judging(&self) -> Option<&UserRecord> {
        let (before, after) = self.spent.as_deref()?;
        (self.facts.user.value == *after).then_some(before)
    }

    /// The attempt is over and settles nothing; a code guessed on the way counts.
    fn end_attempt(&self, batch: &mut Batch) {
        if self.guessed {
            self.count_failure(batch);
        } else {
            self.throttle(batch, ThrottleRecord::without_pending);
        }
    }

    fn count_failure(&self, batch: &mut Batch) {
        let failure = Failure {
            at: self.now,
            code: self.guessed,
        };
        self.throttle(batch, |record, nonce| {
            record.with_failure(Some(nonce), failure, self.limit)
        });
    }

    fn throttle(&self, batch: &mut Batch, change: impl FnOnce(ThrottleRecord, u64) -> ThrottleRecord) {
        if self.limit.failures > 0 {
            let changed = change(self.facts.throttle.value.clone(), self.nonce);
            write_throttle(batch, &self.person, &self.facts.throttle, &changed, self.limit);
        }
    }

    fn event(&self, proven: KindSet, outcome: Outcome, reason: Option<&str>) -> AuditEvent {
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

    fn decided(self, verdict: Verdict, batch: Batch, proven: KindSet) -> Step<'a> {
        Step::Decided(Decision {
            verdict,
            batch,
            rule: Some(Arc::clone(&self.rule.name)),
            proven,
        })
    }
}
