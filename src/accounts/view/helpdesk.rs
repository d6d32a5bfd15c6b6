//! What helpdesk gets to see of what it does.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::moment;
use crate::accounts::jobs::{Action, JobRecord, Progress, State};
use crate::clock::Timestamp;
use crate::engine::event::Outcome;
use crate::engine::record::ForcedChange;

/// A password that was made up and set. It is shown this once.
#[derive(Clone, Serialize, Deserialize)]
pub struct PasswordReset {
    /// Key of the person.
    pub user: String,
    /// Login name of the person.
    pub login: String,
    /// The password.
    #[serde(with = "wiped")]
    pub password: Zeroizing<String>,
    /// Whether it has to be changed at the next login: always.
    pub must_change: bool,
}

/// Text that is overwritten when it is dropped.
mod wiped {
    use serde::{Deserialize, Deserializer, Serializer};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(text: &Zeroizing<String>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
        String::deserialize(deserializer).map(Zeroizing::new)
    }
}

/// What came of having a password changed at the next login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forced {
    /// Key of the person.
    pub user: String,
    /// Login name of the person.
    pub login: String,
    /// Whether it is to be changed.
    pub must_change: bool,
    /// Whether that was otherwise before.
    pub changed: bool,
    /// Whether the directory knows.
    pub directory: InDirectory,
}

/// What came of telling a directory what holds here already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InDirectory {
    /// It has done it too.
    Done,
    /// It has no such thing.
    Unsupported,
    /// It has not, for this reason.
    Failed(String),
}

/// An account that was switched on or off in its directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switched {
    /// Key of the person.
    pub user: String,
    /// Login name of the person.
    pub login: String,
    /// Whether it is on now.
    pub enabled: bool,
}

/// What was taken away from somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unregistered {
    /// Key of the person.
    pub user: String,
    /// Login name of the person.
    pub login: String,
    /// Tokens.
    pub tokens: usize,
    /// Keys of machines that cannot reach us.
    pub machines: usize,
    /// Unused recovery codes.
    pub recovery_codes: usize,
    /// Whether there were answers to security questions.
    pub answers: bool,
    /// Whether there was a live passcode.
    pub passcode: bool,
    /// Whether it is forgotten that the person had a second factor.
    pub as_new: bool,
}

/// An operator's word that a password is to be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MustChangeView {
    /// The operator.
    pub by: String,
    /// When.
    #[serde(with = "moment")]
    pub at: Timestamp,
}

impl MustChangeView {
    pub(in crate::accounts) fn of(forced: &ForcedChange) -> Self {
        Self {
            by: forced.by.clone(),
            at: forced.at,
        }
    }
}

/// One login.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoginView {
    /// When.
    #[serde(with = "moment")]
    pub at: Timestamp,
    /// What came of it.
    pub outcome: Outcome,
    /// Why, where there is something to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The RADIUS client or LDAP listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The network source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// What was proven.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub factors: Vec<String>,
}

/// A denial of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupDenialView {
    /// The group, as it is compared.
    pub group: String,
    /// The directory; all when absent.
    #[serde(default)]
    pub directory: Option<String>,
    /// When it ends by itself; only when it is lifted, if absent.
    #[serde(with = "moment::option")]
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: String,
    /// Who denied it.
    pub by: String,
    /// When.
    #[serde(with = "moment")]
    pub at: Timestamp,
}

/// A group that is denied now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupDenied {
    /// The denial.
    #[serde(flatten)]
    pub denial: GroupDenialView,
    /// Whether it replaces one that was in force.
    pub replaced: bool,
}

/// Something to be done later, or by and by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobView {
    /// Number.
    pub job: u64,
    /// The operator whom it is done for.
    pub by: String,
    /// When it was asked for.
    #[serde(with = "moment")]
    pub asked: Timestamp,
    /// When it is to be done.
    #[serde(with = "moment")]
    pub at: Timestamp,
    /// What is to be done.
    pub action: Action,
    /// How it stands.
    pub state: JobState,
    /// How far it is.
    pub progress: JobProgress,
    /// When it was over.
    #[serde(with = "moment::option")]
    pub ended: Option<Timestamp>,
    /// Why it was not done, or not to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// Its time has not come.
    Waiting,
    /// It is being done.
    Running,
    /// It is done.
    Done,
    /// It was not done, or not to the end.
    Failed,
    /// An operator did not want it any more.
    Cancelled,
}

impl JobState {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more comes of it.
    pub const fn is_over(self) -> bool {
        match self {
            Self::Waiting | Self::Running => false,
            Self::Done | Self::Failed | Self::Cancelled => true,
        }
    }
}

/// How far a job is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobProgress {
    /// People it is done with.
    pub done: u64,
    /// People it is not about.
    pub skipped: u64,
    /// People it could not be done with, or not in the directory.
    pub failed: u64,
    /// The first hundred of them.
    pub failures: Vec<JobFailure>,
}

/// Somebody a job could not be done with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFailure {
    /// Login name, or distinguished name.
    pub who: String,
    /// Why.
    pub why: String,
}

impl JobView {
    pub(in crate::accounts) fn of(record: &JobRecord, live: Option<&Progress>) -> Self {
        let (state, error) = match &record.state {
            State::Waiting => (JobState::Waiting, None),
            State::Running => (JobState::Running, None),
            State::Done => (JobState::Done, None),
            State::Failed(why) => (JobState::Failed, Some(why.clone())),
            State::Cancelled(by) => (JobState::Cancelled, Some(format!("cancelled by {by}"))),
        };
        let runs = matches!(state, JobState::Running | JobState::Cancelled);
        let progress = live.filter(|_| runs).unwrap_or(&record.progress);
        Self {
            job: record.number,
            by: record.by.clone(),
            asked: record.asked,
            at: record.at,
            action: record.action.clone(),
            state,
            progress: JobProgress {
                done: progress.done,
                skipped: progress.skipped,
                failed: progress.failed,
                failures: progress
                    .failures
                    .iter()
                    .map(|(who, why)| JobFailure {
                        who: who.clone(),
                        why: why.clone(),
                    })
                    .collect(),
            },
            ended: record.ended,
            error,
        }
    }
}
