//! What comes after everything is proven, before somebody is let in: the workflow that starts with a login.

use std::borrow::Cow;

use crate::clock::Timestamp;
use crate::engine::authenticator::KindSet;
use crate::engine::event::Outcome;
use crate::engine::login::case::Case;
use crate::engine::login::course::Walk;
use crate::engine::login::tried::Tried;
use crate::engine::login::{Engine, Step};
use crate::engine::policy::Terms;
use crate::engine::questions::answers::due;
use crate::engine::record::UserRecord;
use crate::engine::request::{AuthnRequest, Capability, Operation};
use crate::engine::workflow::{Start, Task};

impl<'a> Case<'a, '_> {
    /// Goes on to it, if it has anything to do for this person.
    pub(super) fn further(self, proven: KindSet, record: &UserRecord) -> Option<Step<'a>> {
        if self.blocked.is_some() || !has_more(self.engine, self.request, self.terms, record, self.now) {
            return None;
        }
        let record = match *record == self.facts.user.value {
            true => self.record(),
            false => Cow::Owned(record.clone()),
        };
        let mut walk = Walk::new(self, Start::Login, record)?;
        walk.position.proven = proven;
        walk.enter(false);
        walk.note(
            Operation::Login.action(),
            Outcome::Restricted,
            Some(Start::Login.word()),
        );
        Some(walk.go())
    }
}

impl<'a> Tried<'a, '_> {
    /// The same, once the password was right.
    pub(super) fn further(&self, proven: KindSet) -> Option<Step<'a>> {
        let record = &self.facts.user.value;
        if !self.passed.is_empty() || !has_more(self.engine, self.request, self.terms, record, self.now) {
            return None;
        }
        let (case, _) = self.engine.case(self.request, self.facts, self.now, self.nonce).ok()?;
        if !std::ptr::eq(case.rule, self.rule) {
            return None;
        }
        case.further(proven, &self.judged_record())
    }
}

/// Whether the workflow has a step that is not passed over, for a client that can ask it.
fn has_more(engine: &Engine, request: &AuthnRequest, terms: &Terms, record: &UserRecord, now: Timestamp) -> bool {
    if request.capability != Capability::Dialog
        || request.operation() != Operation::Login
        || request.new_password().is_some()
    {
        return false;
    }
    let workflow = engine.policy.workflows.of(Start::Login, &terms.workflows);
    workflow.is_some_and(|workflow| {
        workflow.steps.iter().any(|step| match step {
            Task::Answers => {
                let questions = &engine.policy.questions;
                let is_due = due(record.answers.as_deref(), questions, now).is_some();
                is_due && (request.origin.encrypted() || questions.unprotected)
            }
            Task::Prove(_)
            | Task::Factors
            | Task::Questions
            | Task::Choose(_)
            | Task::NewPassword
            | Task::Unlock
            | Task::Enrol => true,
        })
    })
}
