//! Rules and workflows that ask security questions: what cannot be, and what should not.

use crate::config::Config;
use crate::document::{Fault, Faults, Severity};
use crate::engine::authenticator::{Kind, KindSet};
use crate::engine::policy::{Policy, Requirement, Rule, Ruling};
use crate::engine::workflow::{Start, Task};

/// Finds rules that questions are the only proof of, and those that ask questions that there are none of or that
/// nobody comes to.
pub(super) fn check(config: &Config, policy: &Policy, faults: &mut Faults) {
    let mut say = |severity, text: String| {
        faults.0.push(Fault {
            severity,
            file: config.policies.path.clone(),
            line: 0,
            column: 0,
            key: String::new(),
            message: text,
        });
    };
    for rule in &policy.rules {
        let Ruling::Require(terms) = &rule.ruling else {
            continue;
        };
        if let Some((severity, text)) = fault_of(rule, &terms.requirement, policy) {
            say(severity, text);
        }
    }
    let asks = policy
        .workflows
        .of(Start::Recover, &[])
        .is_some_and(|workflow| workflow.steps.contains(&Task::Questions));
    let client = config.clients.iter().find(|client| client.recover.0.is_some());
    if let Some(client) = client.filter(|_| asks && !policy.questions.are_configured()) {
        let text = format!(
            "client \"{}\" has `recover`, but there is no questions.toml, so that nobody gets past the step `questions` \
             of the workflow; write the questions, or a workflow recover.toml without that step",
            client.name
        );
        say(Severity::Warning, text);
    }
}

fn fault_of(rule: &Rule, requirement: &Requirement, policy: &Policy) -> Option<(Severity, String)> {
    let questions = KindSet::of(Kind::Questions);
    let asking = || {
        requirement
            .alternatives()
            .iter()
            .filter(|kinds| kinds.has(Kind::Questions))
    };
    let named = |text: &str| format!("rule \"{}\" ({}) {text}", rule.name, rule.place);
    if asking().next().is_none() {
        return None;
    }
    if !policy.questions.are_configured() {
        let text = "asks for \"questions\", but there is no questions.toml";
        return Some((Severity::Error, named(text)));
    }
    if asking().any(|kinds| *kinds == questions) {
        return Some(if policy.questions.only_proof {
            let text = "takes questions as the only proof: whoever knows the answers has the account";
            (Severity::Warning, named(text))
        } else {
            let text = "takes questions as the only proof; require another beside them, or say only_proof = true in \
                        questions.toml";
            (Severity::Error, named(text))
        });
    }
    let unreached = asking().any(|kinds| !requirement.asks_questions(kinds.without(questions)));
    unreached.then(|| {
        let text = "has a code that could be typed in place of \"questions\", and so never asks them";
        (Severity::Warning, named(text))
    })
}
