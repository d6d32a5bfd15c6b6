//! Operators: who they are, what they may do, how they prove it.

use crate::admin::control::OperatorBook;
use crate::admin::operator::{Book, Verb};
use crate::config::Config;
use crate::document::{Document, Faults};
use crate::server::Node;

impl OperatorBook for Node {
    fn book(&self) -> Book {
        let config = self.config.load();
        Book {
            admin: config.admin.clone(),
            entries: config.operators.clone(),
        }
    }
}

/// Checks the verbs that the configuration lists.
pub(super) fn check(config: &Config, document: &Document<'_>, faults: &mut Faults) {
    for (index, operator) in config.operators.iter().enumerate() {
        for (position, word) in operator.verbs.iter().enumerate() {
            let (index, position) = (index.to_string(), position.to_string());
            let path = ["operator", &index, "verbs", &position];
            let scoped = !operator.scope.is_everybody();
            match Verb::parse(word) {
                None => {
                    let text = format!("there is no verb \"{word}\"; docs/cli.md lists them");
                    faults.0.push(document.fault(&path, text));
                }
                Some(verb) if scoped && !verb.manner().is_about_people() => {
                    let text = format!("\"{word}\" is not about people: it goes with no scope");
                    faults.0.push(document.fault(&path, text));
                }
                Some(_) => {}
            }
        }
    }
}
