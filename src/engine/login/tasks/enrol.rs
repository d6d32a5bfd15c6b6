//! Enrolling a token: its key is shown, and two consecutive codes of it confirm it. Until then nothing is kept of
//! it here: it travels in the sealed dialog.
//!
//! Where a passcode opened the session in place of a lost factor, the new token takes the place of those there are:
//! they are switched off, for an operator to look at. Otherwise it is one more.

use std::ops::ControlFlow;
use std::time::Duration;

use crate::engine::authenticator::Kind;
use crate::engine::authenticator::enrolling::{Enrolling, Typed};
use crate::engine::event::Outcome;
use crate::engine::login::Step;
use crate::engine::login::course::{CameTo, Turn, Walk};
use crate::engine::login::enrol::{has_never_enrolled, may_enrol};
use crate::engine::record::{TokenKind, UserRecord};
use crate::engine::texts::Text;
use crate::engine::verdict::{Denial, Verdict};
use crate::engine::workflow::{At, Start};
use crate::secret::Secret;

/// How long somebody may take to type a key into an app, and to wait for its codes.
const STEP_LIFE: Duration = Duration::from_secs(5 * 60);

impl<'a, 'f> Walk<'a, 'f> {
    /// Shows a new key, where the transport hides it from others and there is room for a token.
    pub(super) fn ask_enrolment(self) -> Step<'a> {
        if let Err(denial) = may_enrol(self.case.terms, self.case.request) {
            return self.refuse(denial);
        }
        if self.record.tokens.len() >= UserRecord::MAX_TOKENS {
            return self.refuse(Denial::TooManyTokens);
        }
        let key = (self.case.engine.draw)();
        self.ask_for_a_code(Enrolling::new(key))
    }

    /// Takes a code. A wrong one is asked for again while the session has tries left.
    pub(super) fn take_enrolment(mut self, typed: &Secret) -> Turn<'a, 'f> {
        let At::Enrolling(enrolling) = self.position.course.at.clone() else {
            return ControlFlow::Break(self.refuse(Denial::BadDialog));
        };
        if self.is_late() {
            return ControlFlow::Break(self.refuse(Denial::EnrolledMeanwhile));
        }
        match enrolling.judge(typed.expose_str().unwrap_or_default(), self.case.now) {
            Typed::First(half) => ControlFlow::Break(self.ask_for_a_code(half)),
            Typed::Confirmed(last_step) => self.confirm(&enrolling, last_step),
            Typed::Missed { again, guess: false } => ControlFlow::Break(self.ask_for_a_code(again)),
            Typed::Missed { again, guess: true } => {
                let denial = Denial::WrongCode;
                self.count(denial);
                if !self.has_tries() {
                    return ControlFlow::Break(self.refuse(denial));
                }
                let action = self.position.course.start.operation().action();
                self.note(action, Outcome::Reject, Some(denial.word()));
                ControlFlow::Break(self.ask_for_a_code(again))
            }
        }
    }

    /// Whether somebody who was to enrol for the first time has done so meanwhile.
    fn is_late(&self) -> bool {
        self.position.course.start == Start::Enrol
            && !has_never_enrolled(&self.record, self.case.requirement, self.case.now)
    }

    fn ask_for_a_code(self, enrolling: Enrolling) -> Step<'a> {
        let text = match enrolling.is_half_confirmed() {
            false => self.text(Text::EnrolKey, &[("key", &enrolling.key().shown())]),
            true => self.text(Text::EnrolNext, &[]),
        };
        let (now, over) = (self.case.now, self.record.helped.as_ref().map(|helped| helped.until));
        let mut step = self.ask_in_words(text, true, At::Enrolling(enrolling));
        if let (Step::Decided(decision), Some(over)) = (&mut step, over)
            && let Verdict::Challenge(prompt) = &mut decision.verdict
        {
            let expires = &mut prompt.dialog.expires;
            *expires = (*expires).max(now + STEP_LIFE).min(over);
        }
        step
    }

    /// Both codes were right: the key becomes a token.
    fn confirm(mut self, enrolling: &Enrolling, last_step: u64) -> Turn<'a, 'f> {
        let Some(person) = self.person() else {
            return ControlFlow::Break(self.refuse(Denial::UnknownUser));
        };
        let replaces = self.record.helped.as_ref().is_some_and(|helped| helped.replaces_factor);
        let context = self.case.context(person);
        let mut record = self.record.into_owned();
        let off = match replaces {
            true => switch_off(&mut record),
            false => Vec::new(),
        };
        let enrolled = enrolling.enrol(last_step, &mut record, &context);
        let what = enrolled.map(|token| token.map(|token| format!("totp token {} `{}`", token.id, token.label)));
        if let Some(helped) = &mut record.helped {
            // Once: another one that is enrolled in the same session leaves this one alone.
            helped.replaces_factor = false;
        }
        self.record = std::borrow::Cow::Owned(record);
        match what {
            Ok(Some(what)) => {
                self.position.proven = self.position.proven.with(Kind::Totp);
                self.note("token.enrol", Outcome::Accept, Some(&what));
                for what in &off {
                    self.note("token.disable", Outcome::Accept, Some(what));
                }
                self.came_to = Some(CameTo::Enrolled);
                ControlFlow::Continue(self)
            }
            Ok(None) => {
                self.record = self.case.record();
                ControlFlow::Break(self.refuse(Denial::TooManyTokens))
            }
            Err(error) => {
                self.record = self.case.record();
                ControlFlow::Break(self.outage(error.to_string()))
            }
        }
    }
}

/// Switches the TOTP tokens off that can still be used, and names them for the audit.
fn switch_off(record: &mut UserRecord) -> Vec<String> {
    let used = |kind: TokenKind| matches!(kind, TokenKind::Totp { .. });
    let tokens = record.tokens.iter_mut();
    tokens
        .filter(|token| !token.disabled && used(token.kind))
        .map(|token| {
            token.disabled = true;
            format!("token {} `{}`: replaced", token.id, token.label)
        })
        .collect()
}
