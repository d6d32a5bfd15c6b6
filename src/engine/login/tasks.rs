//! The steps of workflows, one file for each kind: how it is asked for, and what becomes of what is typed.

mod answers;
mod choose;
mod enrol;
mod new_password;
mod prove;
mod questions;
mod unlock;

use std::ops::ControlFlow;

use crate::engine::login::Evidence;
use crate::engine::login::course::{Turn, Walk};
use crate::engine::verdict::Denial;
use crate::engine::workflow::Task;
use crate::secret::Secret;

impl<'a, 'f> Walk<'a, 'f> {
    /// Asks for a step, or does it where there is nothing to ask.
    pub(super) fn begin_task(self, task: &Task) -> Turn<'a, 'f> {
        match task {
            Task::Prove(kinds) => ControlFlow::Break(self.ask_proof(kinds)),
            Task::Factors => self.ask_factor(),
            Task::Choose(actions) => self.ask_choice(actions),
            Task::NewPassword => ControlFlow::Break(self.ask_new_password()),
            Task::Unlock => ControlFlow::Break(self.unlock()),
            Task::Enrol => ControlFlow::Break(self.ask_enrolment()),
            Task::Questions => self.ask_questions(),
            Task::Answers => self.ask_answers(),
        }
    }

    /// Takes what was typed for the step.
    pub(super) fn take(self, typed: &Secret) -> Turn<'a, 'f> {
        let Some(task) = self.task() else {
            return ControlFlow::Break(self.refuse(Denial::BadDialog));
        };
        match task.as_ref() {
            Task::Prove(kinds) => self.take_proof(kinds, typed),
            Task::Factors => self.take_factor(typed),
            Task::Choose(actions) => self.take_choice(actions, typed),
            Task::NewPassword => self.take_new_password(typed),
            // Nothing is asked for it.
            Task::Unlock => ControlFlow::Break(self.refuse(Denial::BadDialog)),
            Task::Enrol => self.take_enrolment(typed),
            Task::Questions => self.take_answer(typed),
            Task::Answers => self.take_new_answer(typed),
        }
    }

    /// Hears what came of what the step wanted done.
    pub(super) fn evidence(self, evidence: Evidence) -> Turn<'a, 'f> {
        let task = self.task();
        match (task.as_deref(), evidence) {
            (Some(Task::NewPassword), Evidence::Changed(changed)) => self.password_changed(changed),
            (Some(Task::Unlock), Evidence::Changed(changed)) => self.unlocked(changed),
            (
                _,
                Evidence::Password(_)
                | Evidence::Response(_)
                | Evidence::Upstream(_)
                | Evidence::Changed(_)
                | Evidence::Delivered(_)
                | Evidence::Hashed(_),
            ) => ControlFlow::Break(self.outage("an answer came that nothing was asked for".into())),
        }
    }
}
