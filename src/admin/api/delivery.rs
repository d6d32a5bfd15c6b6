//! `/v1/delivery…`: how codes reach people.

use serde::{Deserialize, Serialize};

use super::moment;
use crate::clock::Timestamp;

/// How codes reach people, and how that is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeliveryStatus {
    /// Configured name.
    pub name: String,
    /// `smtp` or `http`.
    pub kind: String,
    /// The factor that its codes prove.
    pub serves: String,
    /// Server or gateway.
    pub target: String,
    /// Messages on their way or waiting.
    pub under_way: usize,
    /// Messages taken since the server started.
    pub sent: u64,
    /// Messages not taken since the server started.
    pub failed: u64,
    /// When the last one was tried.
    #[serde(with = "moment::option")]
    pub last: Option<Timestamp>,
    /// How long it took, in milliseconds.
    pub latency_ms: Option<f64>,
    /// Why nothing can be sent.
    pub error: Option<String>,
}

/// `POST /v1/delivery/test`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliveryTestRequest {
    /// Configured name.
    pub delivery: String,
    /// Where to send a code that proves nothing.
    pub to: String,
}

/// What came of a test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryTested {
    /// The destination as it was used.
    pub to: String,
    /// Whether the message was taken.
    pub sent: bool,
    /// What the server said, or why it was not.
    pub answer: String,
}
