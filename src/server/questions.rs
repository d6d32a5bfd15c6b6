//! Rules and workflows that ask security questions: what cannot be, and what should not.

use crate::config::Config;
use crate::document::{Faults, Severity};
use crate::engine::authenticator::{Kind, KindSet};
use crate::engine::policy::{Policy, Requirement, Ruling};
use crate::engine::workflow::{Start, Task};

/// Finds rules that questions are the only proof of, and those that ask questions that there are none of or that
/// nobody comes to.
pub(super) fn check(config: &Config, policy: &Policy, faults: &mut Faults) {
    for rule in &policy.rules {
        let Ruling::Require(terms) = &rule.ruling else {
            continue;
        };
        if let Some((severity, text)) = fault_of(&terms.requirement, policy) {
            faults.0.push(rule.fault(severity, text));
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
        faults.warn_file(&config.policies.path, text);
    }
}

fn fault_of(requirement: &Requirement, policy: &Policy) -> Option<(Severity, String)> {
    let questions = KindSet::of(Kind::Questions);
    let asking = || {
        requirement
            .alternatives()
            .iter()
            .filter(|kinds| kinds.has(Kind::Questions))
    };
    asking().next()?;
    if !policy.questions.are_configured() {
        let text = "asks for \"questions\", but there is no questions.toml";
        return Some((Severity::Error, text.to_owned()));
    }
    if asking().any(|kinds| *kinds == questions) {
        return Some(if policy.questions.only_proof {
            let text = "takes questions as the only proof: whoever knows the answers has the account";
            (Severity::Warning, text.to_owned())
        } else {
            let text = "takes questions as the only proof; require another beside them, or say only_proof = true in \
                        questions.toml";
            (Severity::Error, text.to_owned())
        });
    }
    let unreached = asking().any(|kinds| !requirement.asks_questions(kinds.without(questions)));
    unreached.then(|| {
        let text = "has a code that could be typed in place of \"questions\", and so never asks them";
        (Severity::Warning, text.to_owned())
    })
}
