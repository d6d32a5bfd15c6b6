//! What helpdesk does to accounts, one or many, now or later.

use serde::{Deserialize, Serialize};

use super::{AskedReport, moment};
pub use crate::accounts::jobs::{Action, Named, Whom};

use crate::accounts::view::{GroupDenied, JobView, Switched};
use crate::clock::Timestamp;

/// `POST /v1/user/unlock`: the directory's lock and our own when nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnlockRequest {
    /// Whom.
    pub user: String,
    /// The directory to ask; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// The directory's lock.
    #[serde(default)]
    pub account: bool,
    /// Our own lock.
    #[serde(default)]
    pub profile: bool,
    /// The answers to security questions.
    #[serde(default)]
    pub answers: bool,
}

/// `POST /v1/user/must-change`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForceRequest {
    /// Whom.
    pub user: String,
    /// The directory to ask; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Not any more.
    #[serde(default)]
    pub undo: bool,
}

/// `POST /v1/user/unregister`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnregisterRequest {
    /// Whom.
    pub user: String,
    /// The directory to ask; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Whether they may enrol as if they had never had a second factor.
    #[serde(default)]
    pub as_new: bool,
}

/// What came of switching an account off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SwitchReport {
    /// The account.
    #[serde(flatten)]
    pub switched: Switched,
    /// LDAP connections that the person was bound on, closed now.
    pub connections: usize,
    /// The person's sessions, and what came of asking their clients to end them.
    pub sessions: AskedReport,
    /// Why nobody could be asked, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_asked: Option<String>,
}

/// `POST /v1/users/must-change`. The answer is one JSON object a line: with `dry_run` a [`Sighted`] for each, otherwise
/// the [`JobView`] again and again until it is over; a [`BulkLine::Summary`] or that of the job that is over is the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BulkRequest {
    /// The directory.
    pub directory: String,
    /// A filter (RFC 4515), beside the directory's own.
    pub filter: String,
    /// Members of this group only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Those who have a second factor only, or those who have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolled: Option<bool>,
    /// Only tell who would be meant.
    #[serde(default)]
    pub dry_run: bool,
}

/// One line of what came of a [`BulkRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BulkLine {
    /// Somebody whom the filter has found.
    Person(Sighted),
    /// The end of a dry run.
    Summary(BulkSummary),
    /// How the job stands.
    Job(JobView),
}

/// Somebody whom a filter has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighted {
    /// Login name; the distinguished name where nobody could log in by it.
    pub login: String,
    /// Distinguished name.
    pub dn: String,
    /// Why not, if the person is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
}

/// What a dry run has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkSummary {
    /// How many are meant.
    pub meant: u64,
    /// How many the filter found besides.
    pub left_out: u64,
    /// Why not all were looked at, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// `POST /v1/schedule`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleRequest {
    /// When.
    #[serde(with = "moment")]
    pub at: Timestamp,
    /// What.
    pub action: ScheduledAction,
}

/// What can be scheduled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduledAction {
    /// Many are to change their passwords.
    ForceChanges(BulkRequest),
    /// One person is to.
    ForceChange(super::UserRef),
    /// An account is to be switched off.
    Disable(super::UserRef),
    /// A person is to be kept out.
    Deny(super::DenyRequest),
    /// The members of a group are.
    DenyGroup(GroupDenyRequest),
}

/// `GET /v1/job`, `POST /v1/schedule/cancel`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRef {
    /// Number.
    pub job: u64,
}

/// `POST /v1/group/deny`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupDenyRequest {
    /// Distinguished name of the group, or its `cn`.
    pub group: String,
    /// The directory; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// When it ends by itself; only when it is lifted, if absent.
    #[serde(default, with = "moment::option", skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Why: one line of at most 500 octets.
    pub reason: String,
}

/// `POST /v1/group/undeny`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupUndenyRequest {
    /// Distinguished name of the group, or its `cn`, as it was denied.
    pub group: String,
    /// The directory, as it was denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Why, for the audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What came of denying a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupDenyReport {
    /// The denial, which stands whatever became of the rest.
    #[serde(flatten)]
    pub denied: GroupDenied,
    /// LDAP connections of members, closed now.
    pub connections: usize,
    /// The members' sessions, and what came of asking their clients to end them.
    pub sessions: AskedReport,
    /// Why nobody could be asked, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_asked: Option<String>,
}
