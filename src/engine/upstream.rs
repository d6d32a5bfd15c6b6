//! Other RADIUS servers that judge what is typed, as the engine sees them: questions, answers, and what has
//! to be remembered while a challenge of theirs waits for its answer.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dictionary::Pair;
use crate::engine::authenticator::KindSet;
use crate::engine::record::Record;
use crate::secret::Secret;

/// One question to an upstream server: one Access-Request.
#[derive(Clone, Debug)]
pub struct Question {
    /// The configured name of the upstream.
    pub upstream: Arc<str>,
    /// The person's login name, as their directory writes it: not as it was typed, so that it names the
    /// same person there.
    pub user: String,
    /// What was typed, never empty.
    pub typed: Secret,
    /// The challenge that it answers.
    pub challenge: Option<Awaiting>,
    /// NAS-Identifier of the client that asks us.
    pub nas_identifier: Option<String>,
    /// Calling-Station-Id, as the client sent it.
    pub calling_station: Option<String>,
}

/// A challenge that waits for its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awaiting {
    /// The server that asked, which is the only one to know.
    pub server: String,
    /// Its State (RFC 2865 section 5.24).
    pub state: Vec<u8>,
}

/// What an upstream server says.
#[derive(Clone, Debug)]
pub enum Answer {
    /// What was typed is right; with the attributes of the Access-Accept that are to be passed on.
    Accept(Vec<Pair>),
    /// It is wrong.
    Reject,
    /// It wants to know more.
    Challenge(Challenge),
    /// No server could be reached, or none said anything. The text says why, for logs.
    OutOfReach(String),
    /// No answer for another reason: none that is proven, or one that cannot be used. The text says why, for logs.
    Unavailable(String),
}

/// A question that an upstream server wants asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// One line without control characters, at most 120 characters. Empty when the server gave no text.
    pub text: String,
    /// Whether the answer may be shown while it is typed.
    pub echo: bool,
    /// To be sent back with the answer.
    pub awaiting: Awaiting,
}

/// What the store keeps of a challenge until its answer comes. Used once; expires with the dialog.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamRecord {
    /// The configured name of the upstream.
    pub upstream: String,
    /// The server that asked.
    pub server: String,
    /// Its State, sealed to [`UpstreamRecord::place`].
    pub state: Vec<u8>,
    /// What the right answer proves.
    pub proves: KindSet,
}

impl UpstreamRecord {
    /// The place that State is sealed to.
    pub fn place(id: u64) -> Vec<u8> {
        format!("upstream/{id:016x}").into_bytes()
    }
}

impl Record for UpstreamRecord {
    const FORMAT: u8 = 1;

    fn from_older(_: u8, _: &[u8]) -> Option<postcard::Result<Self>> {
        None
    }
}
