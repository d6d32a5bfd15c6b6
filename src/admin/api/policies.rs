//! `/v1/policy/…`.

mod explained;
mod tree;

use serde::{Deserialize, Serialize};

use super::{FaultLine, ReloadReport, moment};
use crate::clock::Timestamp;
use crate::policies::diff::{FileChange, RuleChange};
use crate::policies::files::PolicyFile;
use crate::policies::replay::{Changed, Counts, RuleEffect};

pub use explained::{Alternative, At, ExplainRequest, Explanation, HeldBack, Proof};
pub use tree::{Branch, Strokes};

/// Most octets of the body of a request that carries policy files.
pub const MAX_POLICIES: usize = 4 << 20;

/// `POST /v1/policy/check`: `null` for the files of the running server, or files that the caller has read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentPolicies {
    /// The folder that they are from, for messages.
    pub path: String,
    /// The files.
    pub files: Vec<PolicyFile>,
}

/// The answer to `POST /v1/policy/check`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyReport {
    /// Folder.
    pub path: String,
    /// Files read, in order.
    pub files: Vec<String>,
    /// Rules in all files.
    pub rules: usize,
    /// Workflows by name, those that are built in as well.
    pub workflows: Vec<String>,
    /// Languages that there are prompts in.
    pub languages: Vec<String>,
    /// Everything that is wrong.
    pub faults: Vec<FaultLine>,
}

/// Which policies a reload found in force, and which it put in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyChange {
    /// Digest of the files before.
    pub before: String,
    /// Digest of the files now.
    pub after: String,
    /// The number of the version in force, where it could be kept.
    pub version: Option<u64>,
}

impl ReloadReport {
    /// What a reload did, in one line, for the audit.
    pub fn summary(&self) -> String {
        let changes = match self.changes.as_slice() {
            [] => "configuration and policies are as they were".to_owned(),
            changes => changes.join("; "),
        };
        match &self.policy {
            Some(policy) => format!("{changes}; {policy}"),
            None => changes,
        }
    }
}

impl std::fmt::Display for PolicyChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.before == self.after {
            true => write!(f, "policies {}", self.after)?,
            false => write!(f, "policies {} -> {}", self.before, self.after)?,
        }
        match self.version {
            Some(version) => write!(f, " (version {version})"),
            None => Ok(()),
        }
    }
}

/// A version of the policies, as `GET /v1/policy/versions` lists them, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionView {
    /// Its number.
    pub version: u64,
    /// SHA-256 over all files, in hexadecimal.
    pub digest: String,
    /// The operator who put it in force, or `portcullis` for the process itself.
    pub by: String,
    /// When.
    #[serde(with = "moment")]
    pub at: Timestamp,
    /// `start`, `reload` or `rollback`.
    pub why: String,
    /// The version that a rollback put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// Whether it is in force.
    pub in_force: bool,
    /// Rules in all files.
    pub rules: u64,
    /// Its files.
    pub files: Vec<VersionFile>,
}

/// A file of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionFile {
    /// Its name below the folder of the policies.
    pub name: String,
    /// Its length.
    pub octets: u64,
}

/// `GET /v1/policy/version`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionRequest {
    /// The number.
    pub version: u64,
}

/// A version with its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionFiles {
    /// The version.
    pub version: VersionView,
    /// What its files say.
    pub files: Vec<PolicyFile>,
}

/// Policies that are compared: of these three, the one that is given; without any, those in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySource {
    /// A version that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Files that the caller has read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<SentPolicies>,
    /// The files in the folder of the running server.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub folder: bool,
}

/// `POST /v1/policy/diff`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiffRequest {
    /// The older side.
    #[serde(default)]
    pub old: PolicySource,
    /// The newer side.
    #[serde(default)]
    pub new: PolicySource,
}

/// What tells two sets of policies apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffReport {
    /// Which is the older side.
    pub old: String,
    /// Which is the newer side.
    pub new: String,
    /// Rules, in the order of the newer side.
    pub rules: Vec<RuleChange>,
    /// Files.
    pub files: Vec<FileChange>,
}

/// `POST /v1/policy/rollback`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// The version to put back.
    pub version: u64,
}

/// What a rollback did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackReport {
    /// The version that was put back.
    pub version: u64,
    /// Where the files are that were in the folder and in no version, if there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
    /// What the reload did.
    pub reload: ReloadReport,
}

/// `POST /v1/policy/replay`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayRequest {
    /// The policies to try.
    pub policies: SentPolicies,
    /// Logins from this moment on.
    #[serde(with = "moment")]
    pub since: Timestamp,
    /// Logins before this moment; all up to now when absent.
    #[serde(default, with = "moment::option", skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Logins by this name only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// One line of the answer to `POST /v1/policy/replay`: how far it is, and at the end what came out, or why nothing did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplayLine {
    /// How far it is.
    Progress(ReplayProgress),
    /// What came out.
    Report(Box<ReplayReport>),
    /// Why nothing did.
    Error(super::ApiError),
}

/// How far a replay is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayProgress {
    /// Audit records looked at.
    pub records: u64,
    /// Audit records that there are to look at, as far as it is known.
    pub of: u64,
}

/// What a replay came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayReport {
    /// The policies in force.
    pub old: String,
    /// The policies that were tried.
    pub new: String,
    /// From this moment on.
    #[serde(with = "moment")]
    pub since: Timestamp,
    /// Before this moment.
    #[serde(with = "moment")]
    pub until: Timestamp,
    /// How many there are of what.
    pub counts: Counts,
    /// What each pair of rules comes to.
    pub rules: Vec<RuleEffect>,
    /// People for whom something changes, those who lose access first.
    pub people: Vec<Changed>,
    /// Whether there are more people than are told one by one.
    pub more: bool,
    /// What else there is to know.
    pub notes: Vec<String>,
}
