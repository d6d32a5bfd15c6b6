//! Security questions: one round of them, the same number and texts for everybody, judged once it is whole.
//!
//! They add no assurance: answers can be found out. What they prove counts beside another proof.

use std::ops::ControlFlow;

use crate::engine::authenticator::Kind;
use crate::engine::event::Outcome;
use crate::engine::login::Step;
use crate::engine::login::course::{Turn, Walk};
use crate::engine::login::round::{Answering, Whole, count_wrong};
use crate::engine::verdict::Denial;
use crate::engine::workflow::{Answered, At};
use crate::secret::Secret;

impl<'a, 'f> Walk<'a, 'f> {
    /// Where no questions are configured nobody is asked, and nobody gets through.
    pub(super) fn ask_questions(mut self) -> Turn<'a, 'f> {
        match self.case.first_question() {
            Some(first) => ControlFlow::Break(self.ask_question(first)),
            None => {
                self.position.course.spoilt = true;
                ControlFlow::Continue(self)
            }
        }
    }

    pub(super) fn take_answer(mut self, typed: &Secret) -> Turn<'a, 'f> {
        let At::Answer(at) = self.position.course.at else {
            return ControlFlow::Break(self.refuse(Denial::BadDialog));
        };
        let whole = match self.case.answering(at, typed) {
            Answering::Hash(job) => return ControlFlow::Break(self.case.hash(job)),
            Answering::Busy => return ControlFlow::Break(self.case.too_busy()),
            Answering::Next(next) => return ControlFlow::Break(self.ask_question(next)),
            Answering::Whole(whole) => whole,
        };
        let denial = match whole {
            // What was wrong before has been counted, and no answer can tell anything any more.
            Whole::Right | Whole::Wrong if self.position.course.spoilt => return ControlFlow::Continue(self),
            Whole::Right => {
                self.position.proven = self.position.proven.with(Kind::Questions);
                return ControlFlow::Continue(self);
            }
            Whole::Wrong => {
                count_wrong(self.record.to_mut(), &self.case);
                Denial::WrongAnswers
            }
            Whole::Void(denial) => denial,
        };
        self.count(denial);
        if denial != Denial::SourceThrottled {
            let action = self.position.course.start.operation().action();
            self.note(action, Outcome::Reject, Some(denial.word()));
        }
        self.position.course.spoilt = true;
        ControlFlow::Continue(self)
    }

    fn ask_question(self, at: Answered) -> Step<'a> {
        match self.case.question(at) {
            Some(question) => self.ask_in_words(question, false, At::Answer(at)),
            // The policy is another one than when the round began.
            None => self.refuse(Denial::BadDialog),
        }
    }
}
