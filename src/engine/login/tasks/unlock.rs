//! Unlocking, without a new password: the directory's lock, and our own count of failures.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::engine::account::{Changed, PasswordChange};
use crate::engine::event::Outcome;
use crate::engine::login::course::{CameTo, Turn, Walk};
use crate::engine::login::{Effect, Step};
use crate::engine::verdict::Denial;

const ACTION: &str = "user.unlock";

impl<'a, 'f> Walk<'a, 'f> {
    pub(super) fn unlock(self) -> Step<'a> {
        let Some(person) = self.person().map(Arc::clone) else {
            return self.refuse(Denial::UnknownUser);
        };
        self.perform(|reserve| Effect::Change {
            person,
            change: PasswordChange::Unlock,
            reserve,
        })
    }

    pub(super) fn unlocked(mut self, changed: Changed) -> Turn<'a, 'f> {
        let denial = match changed {
            // A directory that knows no locks has none; our own went when the session was opened.
            Changed::Done | Changed::Unsupported => {
                self.note(ACTION, Outcome::Accept, None);
                self.came_to = Some(CameTo::Unlocked);
                return ControlFlow::Continue(self);
            }
            Changed::Unavailable(reason) | Changed::Lost(reason) => return ControlFlow::Break(self.outage(reason)),
            Changed::Forbidden(why) => {
                self.note(ACTION, Outcome::Reject, Some(&why));
                Denial::ChangeForbidden
            }
            Changed::WrongPassword | Changed::Refused(_) => Denial::ChangeForbidden,
            Changed::Locked => Denial::Locked,
            Changed::Disabled => Denial::Disabled,
            Changed::Unknown => Denial::UnknownUser,
        };
        ControlFlow::Break(self.refuse(denial))
    }
}
