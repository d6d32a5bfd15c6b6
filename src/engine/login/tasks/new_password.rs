//! A new password, typed twice; the directory has the last word on it, which is told in plain words.
//!
//! What was typed first travels as a keyed digest only. Three that are not taken end the session.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::engine::account::{Changed, PasswordChange, PasswordRefusal};
use crate::engine::event::Outcome;
use crate::engine::login::course::{CameTo, Turn, Walk};
use crate::engine::login::{Effect, Step};
use crate::engine::record::Ended;
use crate::engine::texts::Text;
use crate::engine::verdict::Denial;
use crate::engine::workflow::{At, Start};
use crate::secret::Secret;

const ACTION: &str = "password.change";

impl<'a, 'f> Walk<'a, 'f> {
    pub(super) fn ask_new_password(self) -> Step<'a> {
        if self.is_kept_from_change() {
            return self.refuse(Denial::Policy);
        }
        let text = match (self.position.course.start, self.because) {
            (_, Some(because)) => because,
            (Start::Passcode, None) if self.position.course.chosen.is_none() => Text::PasscodeAccepted,
            (Start::Expired, None) => Text::PasswordExpired,
            (Start::Passcode | Start::Login | Start::Recover | Start::Enrol, None) => Text::NewPassword,
        };
        self.ask(text, &[], false, At::Asked)
    }

    pub(super) fn take_new_password(mut self, typed: &Secret) -> Turn<'a, 'f> {
        let At::Repeat(expected) = self.position.course.at else {
            let digest = self.digest(typed);
            return ControlFlow::Break(self.ask(Text::RepeatPassword, &[], false, At::Repeat(digest)));
        };
        if !Secret::new(expected).matches(&self.digest(typed)) {
            return ControlFlow::Break(self.once_more(Text::PasswordsDiffer, None));
        }
        let Some(person) = self.person().map(Arc::clone).filter(|_| !self.is_kept_from_change()) else {
            return ControlFlow::Break(self.refuse(Denial::Policy));
        };
        let new = typed.clone();
        let change = match self.position.password.clone() {
            Some(_) if self.case.facts.password_by.is_some() => {
                return ControlFlow::Break(self.refuse(Denial::ChangeUnsupported));
            }
            Some(old) => PasswordChange::Own { old, new },
            None => PasswordChange::Reset { new },
        };
        // Counted before, so that tries at the same time are counted too.
        self.count_in_session();
        ControlFlow::Break(self.perform(|reserve| Effect::Change {
            person,
            change,
            reserve,
        }))
    }

    pub(super) fn password_changed(mut self, changed: Changed) -> Turn<'a, 'f> {
        let denial = match changed {
            Changed::Done => {
                self.uncount_in_session();
                self.note(ACTION, Outcome::Accept, None);
                self.position.password = None;
                self.record.to_mut().must_change = None;
                self.came_to = Some(CameTo::PasswordChanged);
                return ControlFlow::Continue(self);
            }
            Changed::Refused(refusal) => return ControlFlow::Break(self.refused(refusal)),
            Changed::Unavailable(reason) => {
                self.uncount_in_session();
                return ControlFlow::Break(self.outage(reason));
            }
            Changed::Lost(reason) => {
                // Perhaps it is set. It must not be set a second time.
                self.record.to_mut().helped = None;
                return ControlFlow::Break(self.outage(reason));
            }
            Changed::WrongPassword => Denial::WrongPassword,
            Changed::Locked => Denial::Locked,
            Changed::Disabled => Denial::Disabled,
            Changed::Forbidden(why) => {
                self.note(ACTION, Outcome::Reject, Some(&why));
                Denial::ChangeForbidden
            }
            Changed::Unsupported => Denial::ChangeUnsupported,
            Changed::Unknown => Denial::UnknownUser,
        };
        self.count(denial);
        ControlFlow::Break(self.refuse(denial))
    }

    fn refused(mut self, refusal: PasswordRefusal) -> Step<'a> {
        let denial = Denial::NewPassword(refusal);
        self.note(ACTION, Outcome::Reject, Some(denial.word()));
        // Counted before it was tried.
        self.uncount_in_session();
        let reason = match refusal {
            PasswordRefusal::TooShort => Text::ReasonTooShort,
            PasswordRefusal::TooLong => Text::ReasonTooLong,
            PasswordRefusal::UsedBefore => Text::ReasonUsedBefore,
            PasswordRefusal::TooSoon => Text::ReasonTooSoon,
            PasswordRefusal::TooSimple => Text::ReasonTooSimple,
            PasswordRefusal::Unspecified => Text::ReasonUnspecified,
        };
        self.once_more(Text::PasswordRefused, Some(reason))
    }

    /// Asks for another while the session has tries left.
    fn once_more(mut self, text: Text, reason: Option<Text>) -> Step<'a> {
        if !self.count_in_session() {
            return self.close(Ended::PasswordNotChanged);
        }
        match reason.map(|reason| self.text(reason, &[])) {
            Some(reason) => self.ask(text, &[("reason", &reason)], false, At::Asked),
            None => self.ask(text, &[], false, At::Asked),
        }
    }

    fn digest(&self, typed: &Secret) -> [u8; 12] {
        let context = [
            b"new-password/",
            &self.position.course.session.unwrap_or_default().to_be_bytes()[..],
        ]
        .concat();
        let digest = self.case.engine.keyring.digest_code(&context, typed.expose());
        let mut short = [0; 12];
        short.copy_from_slice(digest.first_chunk::<12>().unwrap_or(&[0; 12]));
        short
    }
}
