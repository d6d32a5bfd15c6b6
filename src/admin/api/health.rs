//! `/v1/test`, and the nodes of a status

use serde::{Deserialize, Serialize};

use super::{Grade, moment};
use crate::clock::Timestamp;

/// A node of those that serve together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Where it is reached by the others; of the one that answers, its admin socket.
    pub address: String,
    /// `single`: it serves alone.
    pub role: String,
    /// `self` for the one that answers.
    pub connection: String,
    /// When it was heard of last.
    #[serde(with = "moment")]
    pub last: Timestamp,
    /// Milliseconds of the last exchange with it.
    pub latency_ms: Option<f64>,
    /// Changes that wait to be made durable.
    pub queue: usize,
    /// What is wrong with it.
    #[serde(default)]
    pub error: Option<String>,
}

/// `POST /v1/test`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestRequest {
    /// The part's name, or `kind:name` where several have it; all parts when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What came of trying.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartsTested {
    /// Each part.
    pub parts: Vec<PartTested>,
}

impl PartsTested {
    /// Whether nothing is at fault.
    pub fn is_sound(&self) -> bool {
        !self.parts.iter().any(|part| part.grade == Grade::Fault)
    }
}

/// What came of trying one part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartTested {
    /// `listener`, `directory`, `upstream`, `delivery`, `stream` or `store`.
    pub kind: String,
    /// Its configured name.
    pub name: String,
    /// Where it is.
    pub address: String,
    /// How it is.
    pub grade: Grade,
    /// Milliseconds that trying it took.
    pub took_ms: f64,
    /// What was tried, and what came of it.
    pub text: String,
    /// What to do, where it is at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}
