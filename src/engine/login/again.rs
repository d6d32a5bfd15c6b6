//! Requests of a workflow that are sent again after their answer was lost with the memory of the process that gave
//! it. What they proved is spent, and what they did is done: they are answered alike, and neither is done again.
//!
//! The person's record knows the last request that proved or ended something ([`Helped::packet`]).

use crate::engine::Given;
use crate::engine::dialog::Dialog;
use crate::engine::login::Step;
use crate::engine::login::case::Case;
use crate::engine::login::course::{Position, SESSION_LIFE, Walk};
use crate::engine::record::{Ended, Helped};
use crate::engine::texts::Text;
use crate::engine::workflow::{At, Course};
use crate::secret::Secret;

impl<'a, 'f> Case<'a, 'f> {
    /// The answer to a request that has been answered before; nothing when it has not.
    pub(super) fn answered_before(&self, typed: &Secret, dialog: Option<&Dialog>) -> Option<Step<'a>> {
        let helped = self.facts.user.value.helped.as_ref()?;
        let known = helped
            .packet
            .filter(|_| self.now < helped.until && self.blocked.is_none());
        if known? != fingerprint(self, typed)? {
            return None;
        }
        // Only a step of a workflow has one before it: a passcode and a login lead to its beginning.
        let course = dialog.and_then(|dialog| dialog.course.clone());
        let course = course.filter(|course| !matches!(course.at, At::SecondPart(_) | At::Factor(_)));
        let own = |course: &Course| course.start == helped.start && course.session.is_none_or(|id| id == helped.id);
        if !course.as_ref().is_none_or(own) {
            return None;
        }
        let (mut walk, answered) = match course {
            Some(course) => {
                let position = Position {
                    course,
                    proven: helped.proven,
                    password: None,
                };
                (Walk::at(*self, position, self.record())?, true)
            }
            None => (Walk::new(*self, helped.start, self.record())?, false),
        };
        walk.position.proven = helped.proven;
        walk.position.password = dialog.and_then(|dialog| dialog.password.clone());
        walk.position.course.session = helped.open.then_some(helped.id);
        Some(match (helped.ended, answered) {
            (Some(ended), _) => walk.told_again(ended),
            (None, true) => walk.next().go(),
            (None, false) => walk.go(),
        })
    }
}

impl<'a> Walk<'a, '_> {
    /// Something was proven with this request, before the session is opened or within it.
    pub(super) fn remember_request(&mut self) {
        let packet = self.fingerprint();
        let (proven, course) = (self.position.proven, &self.position.course);
        let helped = Helped {
            id: self.case.nonce,
            start: course.start,
            until: self.case.now + SESSION_LIFE,
            failures: 0,
            packet,
            proven,
            replaces_factor: false,
            open: false,
            ended: None,
        };
        match (&mut self.record.to_mut().helped, course.session) {
            (Some(helped), Some(_)) => (helped.packet, helped.proven) = (packet, proven),
            (before, _) => *before = Some(helped),
        }
    }

    /// The session is over: this request ended it.
    pub(super) fn ended(&mut self, ended: Ended) {
        let packet = self.fingerprint();
        if let Some(helped) = &mut self.record.to_mut().helped {
            (helped.packet, helped.ended) = (packet, Some(ended));
        }
    }

    /// By what the request is known when it is sent again.
    pub(super) fn fingerprint(&self) -> Option<[u8; 16]> {
        match &self.case.request.given {
            Given::Typed(typed) => fingerprint(&self.case, typed),
            Given::Response(_) | Given::Proven(_) => None,
        }
    }
}

/// The text that told the end.
pub(super) const fn text_of(ended: Ended) -> Text {
    match ended {
        Ended::PasswordChanged => Text::PasswordChanged,
        Ended::PasswordNotChanged => Text::PasswordNotChanged,
        Ended::Unlocked => Text::Unlocked,
        Ended::Enrolled => Text::Enrolled,
        Ended::Done => Text::Done,
    }
}

/// By what a request is known when it is sent again: who knows it knows what was typed.
fn fingerprint(case: &Case<'_, '_>, typed: &Secret) -> Option<[u8; 16]> {
    let origin = &case.request.origin;
    let packet = origin.manner.packet?;
    let parts = [&packet[..], origin.client.as_bytes(), &[0], typed.expose()].concat();
    let digest = case
        .engine
        .keyring
        .digest_code(b"request", &zeroize::Zeroizing::new(parts));
    digest.first_chunk::<16>().copied()
}
