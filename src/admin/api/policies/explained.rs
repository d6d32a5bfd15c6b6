//! `POST /v1/policy/explain`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::super::{Factor, Operation, Outline, Protocol, moment};
use super::tree::{Branch, Strokes};
use crate::clock::Timestamp;
use crate::engine::policy::{self, ExplainedCondition, ExplainedRule};
use crate::engine::request::Transport;

/// `POST /v1/policy/explain`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// Login name.
    pub user: String,
    /// RADIUS client or LDAP listener, by name.
    pub client: String,
    /// `radius` or `ldap`; by the client's kind when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// What for; a login when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// The network source; the client's first address when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// The moment; now when absent.
    #[serde(default, with = "moment::option", skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// How messages travel; as the client's kind has it when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// The RADIUS listener; the only one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// NAS-Identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nas_identifier: Option<String>,
    /// Called-Station-Id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called_station: Option<String>,
    /// Calling-Station-Id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calling_station: Option<String>,
    /// The proofs at hand; when absent it is not said whether they are enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<Vec<Factor>>,
}

/// How a login would be decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// `allow` or `deny`.
    pub decision: String,
    /// The rule that decides.
    pub rule: Option<String>,
    /// What was asked about.
    pub login: At,
    /// Every rule looked at, with each condition's value.
    pub tree: policy::Explanation,
    /// The sets of proofs of which one is enough; none where nobody is let in.
    pub proofs: Vec<Alternative>,
    /// Whether the proofs at hand are enough, where some were named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enough: Option<bool>,
    /// What keeps the person out besides.
    pub held_back: Vec<HeldBack>,
    /// What else there is to know.
    pub notes: Vec<String>,
    /// What is asked, in which order and in which words, and which workflows can follow.
    pub outline: Outline,
    /// All of it for people.
    pub text: String,
}

/// What an explanation is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct At {
    /// The login name as it is read.
    pub user: String,
    /// The entry's distinguished name, where the directory has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dn: Option<String>,
    /// RADIUS client or LDAP listener.
    pub client: String,
    /// The service.
    pub service: String,
    /// The directory.
    pub directory: String,
    /// The protocol.
    pub protocol: Protocol,
    /// How messages travel.
    pub transport: Transport,
    /// The network source.
    pub source: IpAddr,
    /// What for.
    pub operation: Operation,
    /// The moment.
    #[serde(with = "moment")]
    pub at: Timestamp,
}

/// A set of proofs that is enough.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alternative {
    /// Each of them is needed.
    pub proofs: Vec<Proof>,
    /// Whether all of them are at hand, where it was said what is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
}

/// A proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Which.
    pub kind: Factor,
    /// Whether it is at hand, where it was said what is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_hand: Option<bool>,
    /// Whether the person has one enrolled, for those that are enrolled here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolled: Option<bool>,
}

/// Something that keeps a person out whatever the rules say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBack {
    /// The word for it in the audit.
    pub word: String,
    /// What it is.
    pub text: String,
}

impl Explanation {
    /// All of it as a tree.
    pub fn branch(&self) -> Branch {
        let At {
            user, client, source, ..
        } = &self.login;
        let verdict = match (self.decision.as_str(), self.enough) {
            ("allow", Some(true)) => "let in with these proofs",
            ("allow", _) => "let in, once it is proven",
            (_, Some(false)) if self.held_back.is_empty() && !self.proofs.is_empty() => {
                "refused: these proofs are not enough"
            }
            (_, _) => "refused",
        };
        let mut branches = vec![self.login.branch()];
        let rules = self.tree.steps.iter().map(rule).collect();
        branches.push(Branch::new("rules, in order", rules));
        branches.push(self.decided());
        if !self.held_back.is_empty() {
            let reasons = self.held_back.iter().map(|held| Branch::leaf(&*held.text)).collect();
            branches.push(Branch::new("besides, they are kept out", reasons));
        }
        branches.extend(self.notes.iter().map(|note| Branch::leaf(&**note)));
        branches.extend(self.outlined());
        Branch::new(format!("{user} at {client} from {source}: {verdict}"), branches)
    }

    /// The tree as text, for whoever is no terminal.
    pub fn in_ascii(&self) -> String {
        self.branch().draw(Strokes::Ascii)
    }

    fn decided(&self) -> Branch {
        let text = match &self.tree.decided_by {
            Some(rule) => format!("=> {} (by rule \"{rule}\")", self.tree.ruling),
            None => format!("=> {}", self.tree.ruling),
        };
        let mut branches: Vec<Branch> = self.proofs.iter().map(Alternative::branch).collect();
        if !self.tree.reply.is_empty() {
            let lines = self.tree.reply.iter().map(|line| Branch::leaf(&**line)).collect();
            branches.push(Branch::new("reply", lines));
        }
        Branch::new(text, branches)
    }

    fn outlined(&self) -> Vec<Branch> {
        let steps = |steps: &[crate::engine::outline::AskedFor]| -> Vec<Branch> {
            let numbered = steps.iter().enumerate();
            numbered
                .map(|(index, step)| Branch::leaf(format!("{}. {step}", index + 1)))
                .collect()
        };
        let mut branches = Vec::new();
        if !self.outline.asked.is_empty() {
            branches.push(Branch::new("Asked for, in order:", steps(&self.outline.asked)));
        }
        branches.extend(self.outline.notes.iter().map(|note| Branch::leaf(&**note)));
        for following in &self.outline.follows {
            let (when, workflow, rule) = (&following.when, &following.workflow, &following.rule);
            let mut below = steps(&following.steps);
            below.push(Branch::leaf(format!("=> {}", following.ends)));
            let text = format!("Then, {when}: workflow \"{workflow}\" (by rule \"{rule}\")");
            branches.push(Branch::new(text, below));
        }
        branches
    }
}

impl At {
    fn branch(&self) -> Branch {
        let mut branches = vec![
            format!("{} over {}, at {}", self.protocol, self.transport, self.at),
            format!("service {}, directory {}", self.service, self.directory),
        ];
        branches.extend(self.dn.iter().map(|dn| format!("entry {dn}")));
        Branch::new(
            self.operation.to_string(),
            branches.into_iter().map(Branch::leaf).collect(),
        )
    }
}

impl Alternative {
    fn branch(&self) -> Branch {
        let words: Vec<&str> = self.proofs.iter().map(|proof| proof.kind.word()).collect();
        let missing: Vec<&str> = self
            .proofs
            .iter()
            .filter(|proof| proof.at_hand == Some(false))
            .map(|proof| proof.kind.word())
            .collect();
        let absent: Vec<&str> = self
            .proofs
            .iter()
            .filter(|proof| proof.enrolled == Some(false))
            .map(|proof| proof.kind.word())
            .collect();
        let mut text = match self.met {
            Some(true) => format!("+ {}: enough", words.join(" and ")),
            Some(false) => format!("- {}: {} missing", words.join(" and "), missing.join(" and ")),
            None => words.join(" and "),
        };
        if !absent.is_empty() {
            text.push_str(&format!(" (not enrolled: {})", absent.join(", ")));
        }
        Branch::leaf(text)
    }
}

fn rule(step: &ExplainedRule) -> Branch {
    let mark = if step.matched { "applies" } else { "passed over" };
    let conditions = step.conditions.iter().map(condition).collect();
    Branch::new(format!("rule \"{}\" ({}): {mark}", step.name, step.place), conditions)
}

fn condition(condition: &ExplainedCondition) -> Branch {
    let mark = if condition.favours { "+" } else { "-" };
    let unless = if condition.unless { "unless " } else { "" };
    let value = condition.value.as_deref().unwrap_or("(not known)");
    Branch::leaf(format!(
        "{mark} {unless}{}: {} [{value}]",
        condition.condition, condition.holds
    ))
}
