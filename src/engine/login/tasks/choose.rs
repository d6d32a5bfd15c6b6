//! A choice of what comes next: "1 unlock  2 new password:".

use std::ops::ControlFlow;

use crate::engine::login::Step;
use crate::engine::login::course::{Turn, Walk};
use crate::engine::texts::Text;
use crate::engine::workflow::{Action, At};
use crate::secret::Secret;

impl<'a, 'f> Walk<'a, 'f> {
    /// Asks, unless there is one way only.
    pub(super) fn ask_choice(mut self, actions: &[Action]) -> Turn<'a, 'f> {
        match actions {
            [] => ControlFlow::Continue(self),
            [only] => {
                self.position.course.chosen = Some(*only);
                self.begin_task(&only.task())
            }
            several => ControlFlow::Break(self.ask_which(several)),
        }
    }

    /// What is no option's number is asked again.
    pub(super) fn take_choice(mut self, actions: &[Action], typed: &Secret) -> Turn<'a, 'f> {
        let number = typed.expose_str().and_then(|text| text.trim().parse::<usize>().ok());
        let chosen = number.and_then(|number| actions.get(number.checked_sub(1)?));
        let Some(action) = chosen else {
            return ControlFlow::Break(self.ask_which(actions));
        };
        self.position.course.chosen = Some(*action);
        self.position.course.at = At::Asked;
        self.begin_task(&action.task())
    }

    fn ask_which(self, actions: &[Action]) -> Step<'a> {
        let options: Vec<String> = actions
            .iter()
            .enumerate()
            .map(|(index, action)| format!("{} {}", index + 1, self.text(action.text(), &[])))
            .collect();
        self.ask(Text::Choose, &[("options", &options.join("  "))], true, At::Asked)
    }
}
