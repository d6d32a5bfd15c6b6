//! Proofs: of one kind out of several, whether or not the person has it, or of whatever is enrolled.

use std::ops::ControlFlow;

use crate::engine::authenticator::{self, Judgement, Kind, KindSet};
use crate::engine::event::Outcome;
use crate::engine::login::Step;
use crate::engine::login::course::{Turn, Walk};
use crate::engine::texts::Text;
use crate::secret::Secret;

/// The second factors that are typed as they are.
const FACTORS: KindSet = KindSet::of(Kind::Totp)
    .with(Kind::Hotp)
    .with(Kind::RecoveryCode)
    .with(Kind::YubicoOtp)
    .with(Kind::Ocra);

fn set(kinds: &[Kind]) -> KindSet {
    kinds.iter().fold(KindSet::EMPTY, |set, kind| set.with(*kind))
}

impl<'a, 'f> Walk<'a, 'f> {
    pub(super) fn ask_proof(self, kinds: &[Kind]) -> Step<'a> {
        self.ask_for_code(Text::RecoveryCode, set(kinds))
    }

    /// Right or wrong, the next step follows: which proof was wrong is not told.
    pub(super) fn take_proof(mut self, kinds: &[Kind], typed: &Secret) -> Turn<'a, 'f> {
        let wanted = set(kinds);
        match self.judge(typed, wanted) {
            Ok((Judgement::Right, Some(kind))) => {
                self.position.proven = self.position.proven.with(kind);
                self.remember_request();
            }
            Ok((judgement, _)) => {
                let denial = self.miss(judgement, wanted);
                let action = self.position.course.start.operation().action();
                self.note(action, Outcome::Reject, Some(denial.word()));
                self.position.course.spoilt = true;
            }
            Err(error) => return ControlFlow::Break(self.outage(error.to_string())),
        }
        ControlFlow::Continue(self)
    }

    /// Asks whoever has a second factor for it. A passcode that was issued in place of a lost one stands for it.
    pub(super) fn ask_factor(self) -> Turn<'a, 'f> {
        let replaced = self.record.helped.as_ref().is_some_and(|helped| helped.replaces_factor);
        let proven = !self
            .position
            .proven
            .without(KindSet::of(Kind::Passcode))
            .codes()
            .is_empty();
        if replaced || proven || !authenticator::any_enrolled(FACTORS, &self.record, self.case.now) {
            return ControlFlow::Continue(self);
        }
        ControlFlow::Break(self.ask_enrolled())
    }

    /// The session is open: what is asked for may tell what they have.
    fn ask_enrolled(self) -> Step<'a> {
        let has = |kind: &Kind| authenticator::any_enrolled(KindSet::of(*kind), &self.record, self.case.now);
        let enrolled: Vec<Kind> = FACTORS.iter().filter(has).collect();
        self.ask_for_code(Text::Factor, set(&enrolled))
    }

    /// A wrong one is asked for again while the session has tries left.
    pub(super) fn take_factor(mut self, typed: &Secret) -> Turn<'a, 'f> {
        match self.judge(typed, FACTORS) {
            Ok((Judgement::Right, Some(kind))) => {
                self.position.proven = self.position.proven.with(kind);
                self.remember_request();
                ControlFlow::Continue(self)
            }
            Ok((judgement, _)) => {
                let denial = self.miss(judgement, FACTORS);
                if !self.has_tries() {
                    return ControlFlow::Break(self.refuse(denial));
                }
                let action = self.position.course.start.operation().action();
                self.note(action, Outcome::Reject, Some(denial.word()));
                ControlFlow::Break(self.ask_enrolled())
            }
            Err(error) => ControlFlow::Break(self.outage(error.to_string())),
        }
    }
}
