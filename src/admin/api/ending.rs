//! Requests about open sessions that their clients are asked for, and what came of them.

use serde::{Deserialize, Serialize};

/// `POST /v1/session/end`: the sessions of `user`, or the one called `session`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndRequest {
    /// Whose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The directory to ask; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Name of a session, or its Acct-Session-Id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// At this client only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

/// `POST /v1/session/refresh`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefreshRequest {
    /// Whose; everybody's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The directory to ask; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// At this client only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

/// What came of asking about sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedReport {
    /// One for each session, in the order of their names.
    pub sessions: Vec<AskedSession>,
    /// Whether there are more sessions, which were left alone.
    pub more: bool,
}

/// What came of asking about one session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedSession {
    /// The session's name.
    pub session: String,
    /// Key of the person, where known.
    pub user: Option<String>,
    /// Login name.
    pub login: String,
    /// The RADIUS client.
    pub client: String,
    /// What the client was asked.
    pub asked: Asked,
    /// Why that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// `acknowledged`, `gone` (the client has no such session; closed here), `refused`, `no-answer`, `unsent`,
    /// `unsupported`; `unchanged` and `undecided` when there was nothing to ask.
    pub outcome: String,
    /// What there is to say about it; empty when nothing is.
    pub detail: String,
}

/// What a client is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    /// To end the session.
    Disconnect,
    /// To change what it allows.
    Change,
    /// Nothing.
    Nothing,
}

impl Asked {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Disconnect => "disconnect",
            Self::Change => "change",
            Self::Nothing => "nothing",
        }
    }
}

impl AskedSession {
    /// Whether what was wanted is done, or nothing had to be.
    pub fn is_done(&self) -> bool {
        matches!(self.outcome.as_str(), "acknowledged" | "gone" | "unchanged")
    }
}

impl AskedReport {
    /// Whether what was wanted is done for every session.
    pub fn is_done(&self) -> bool {
        !self.more && self.sessions.iter().all(AskedSession::is_done)
    }
}
