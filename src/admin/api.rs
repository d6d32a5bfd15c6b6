//! What goes over the admin socket: requests and answers of `/v1/…`, stable JSON.
//!
//! Moments are RFC 3339 in UTC, spans are whole seconds with a name that says so. Fields may be added
//! within a version, so readers skip what they do not know; requests with unknown fields are refused.

mod answers;
mod clients;
mod delegations;
mod delivery;
mod ending;
mod health;
mod helpdesk;
mod keys;
mod operators;
mod passcodes;
mod policies;
mod reports;
mod requests;
mod reuse;
mod sessions;
mod trail;
mod upkeep;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::secret::Secret;

pub use crate::accounts::view::{
    AccountView, AnswersView, ApiTokenIssued, ApiTokenView, AskView, AskedView, DefinedAnswers, DefinedView,
    DelegationView, Denied, DenyView, DirectoryView, Enrolled, FailureView, Found, GrantView, Issued, Kind, LevelView,
    ManagerView, OfflineEnrolled, OfflineResponse, PasscodeState, PasscodeView, QuestionView, QuestionWord,
    QuestionsView, RecoveryCodes, Released, RequestView, Resynced, SecondHolders, StateView, TokenView, Unlocked,
    UserRow, UserView, VerifiedUser, moment,
};
pub use crate::accounts::view::{
    Forced, GroupDenialView, GroupDenied, InDirectory, JobFailure, JobProgress, JobState, JobView, LoginView,
    MustChangeView, PasswordReset, Switched, Unregistered,
};
pub use crate::audit::export;
pub use crate::audit::offline::{Attestation, Attested, verify_export};
pub use crate::audit::{AuditLine, Broken, Checkpoint, Head, PublicKey, Stretch, Tampering, Verification, Verified};
pub use crate::engine::authenticator::Kind as Factor;
pub use crate::engine::event::Outcome;
pub use crate::engine::outline::Outline;
pub use crate::engine::record::Algorithm;
pub use crate::engine::request::Transport;
pub use crate::engine::{Operation, Protocol};
pub use answers::{AnswerGiven, AnswerSaid, AskRequest, DefineAnswersRequest, QuestionsRequest, VerifyUserRequest};
pub use delivery::{DeliveryStatus, DeliveryTestRequest, DeliveryTested};
pub use ending::{Asked, AskedReport, AskedSession, EndRequest, RefreshRequest};
pub use helpdesk::{Action, Named, Whom};
pub use helpdesk::{
    BulkLine, BulkRequest, BulkSummary, ForceRequest, GroupDenyReport, GroupDenyRequest, GroupUndenyRequest, JobRef,
    ScheduleRequest, ScheduledAction, Sighted, SwitchReport, UnlockRequest, UnregisterRequest,
};

pub use clients::{
    ClientRef, ClientRow, ClientView, Finding, ForgetRequest, Forgotten, Grade, LearnedView, StrangerView, TestReport,
    TroubleView,
};

pub use crate::policies::replay::{Changed, Effect, RuleEffect};
pub use crate::stream::StreamStatus;
pub use delegations::{DelegateRequest, DelegationRef, DelegationsRequest};
pub use health::{NodeStatus, PartTested, PartsTested, TestRequest};
pub use keys::{EnrolKeyRequest, ImportKeysRequest, ImportedKey, MachineRef, RespondRequest};
pub use operators::{
    ApiTokenRef, ApiTokensRequest, IssueApiTokenRequest, OperatorList, OperatorRow, OperatorView,
    RegenerateApiTokenRequest, Role, Scope,
};
pub use passcodes::{IssueRequest, PasscodesRequest, ReleaseRequest, RevokePasscodeRequest};
pub use policies::{
    Alternative, At, Branch, DiffReport, DiffRequest, ExplainRequest, Explanation, HeldBack, MAX_POLICIES,
    PolicyChange, PolicyReport, PolicySource, Proof, ReplayLine, ReplayProgress, ReplayReport, ReplayRequest,
    RollbackReport, RollbackRequest, SentPolicies, Strokes, VersionFile, VersionFiles, VersionRequest, VersionView,
};
pub use reports::{By, Report, ReportKind, ReportRequest, ReportRow};
pub use requests::{NewRequest, REQUEST_HEADER, RefuseRequest, RequestRef, RequestReport, RequestsRequest};
pub use reuse::{ClearReuseRequest, ReuseCleared, ReuseList, ReuseRequest, ReuseView};
pub use sessions::{SessionList, SessionRef, SessionView, SessionsRequest};
pub use trail::{AuditOrder, AuditRequest, CheckpointView, PruneReport, PruneRequest, VerifyRequest};
pub use upkeep::{BackupRequest, ImportToken, ImportTokensRequest, ImportedToken};

/// Where the socket is unless configured otherwise.
pub const DEFAULT_SOCKET: &str = "/run/portcullis/admin.sock";

/// The header in which an operator's own code confirms a request.
pub const CONFIRM_HEADER: &str = "portcullis-confirm";

/// Most octets of a request's body.
pub const MAX_REQUEST: usize = 64 * 1024;

/// Every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{error}")]
pub struct ApiError {
    /// What went wrong.
    pub error: String,
    /// The kind of failure, which the HTTP status and the CLI's exit code follow from.
    pub kind: ErrorKind,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The request is not one: HTTP 400.
    Invalid,
    /// Nobody is known to have sent it: 401.
    Unauthenticated,
    /// The caller may not do that: 403.
    Denied,
    /// The same request with a code of the caller's own may be done: 428 (RFC 6585 section 3).
    Confirm,
    /// Too many wrong ones came from there: 429 (RFC 6585 section 4).
    Throttled,
    /// There is no such thing: 404.
    NotFound,
    /// It cannot be done as things are: 409.
    Refused,
    /// The configuration or the policies have faults: 422.
    Faulty,
    /// Something needed is out of reach: 503.
    Unavailable,
    /// A defect of ours, or damage: 500.
    Internal,
}

impl ApiError {
    /// An error without a remedy.
    pub fn new(kind: ErrorKind, error: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            kind,
            remedy: None,
        }
    }

    /// With what to do about it.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl ErrorKind {
    /// The HTTP status for it.
    pub const fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Unauthenticated => 401,
            Self::Denied => 403,
            Self::Confirm => 428,
            Self::Throttled => 429,
            Self::NotFound => 404,
            Self::Refused => 409,
            Self::Faulty => 422,
            Self::Unavailable => 503,
            Self::Internal => 500,
        }
    }
}

/// Names one person: `?user=…&directory=…`, or the same in a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserRef {
    /// Login name, distinguished name, or key.
    pub user: String,
    /// The directory to ask; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
}

/// `GET /v1/users`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FindRequest {
    /// A login name, or a part of one.
    pub text: String,
    /// The directory to ask; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Most rows, up to 1000; 50 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// `POST /v1/user/deny`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenyRequest {
    /// Whom.
    pub user: String,
    /// The directory to ask; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// When it ends by itself; only when it is lifted, if absent.
    #[serde(default, with = "moment::option", skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Why: one line of at most 500 octets.
    pub reason: String,
}

/// What came of a denial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DenyReport {
    /// The denial, which stands whatever became of the rest.
    #[serde(flatten)]
    pub denied: Denied,
    /// LDAP connections that the person was bound on, closed now.
    pub connections: usize,
    /// The person's sessions, and what came of asking their clients to end them.
    pub sessions: AskedReport,
    /// Why nobody could be asked, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_asked: Option<String>,
}

/// `POST /v1/user/undeny`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UndenyRequest {
    /// Whom.
    pub user: String,
    /// The directory to ask; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Why, for the audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /v1/token/enrol`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    /// Whose.
    pub user: String,
    /// The directory to ask; all when absent.
    #[serde(default)]
    pub directory: Option<String>,
    /// `totp` (the default), `hotp` or `ocra`.
    #[serde(default)]
    pub kind: Kind,
    /// `sha1` (the default), `sha256`, `sha512`; for OCRA the suite follows from it, and its digits.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// 6 (the default) to 8.
    #[serde(default = "six")]
    pub digits: u8,
    /// 30 (the default) or 60 seconds, for TOTP.
    #[serde(default = "thirty")]
    pub period: u16,
    /// First counter, for HOTP.
    #[serde(default)]
    pub counter: u64,
    /// A given seed in base32; a random one when absent.
    #[serde(default)]
    pub seed: Option<Secret>,
    /// An `otpauth://` URI that says all of the above, in their place.
    #[serde(default)]
    pub uri: Option<Secret>,
    /// Name; `token-N` when absent.
    #[serde(default)]
    pub label: Option<String>,
    /// Whose token it is, as apps show it; `Portcullis` when absent.
    #[serde(default)]
    pub issuer: Option<String>,
}

const fn six() -> u8 {
    6
}

const fn thirty() -> u16 {
    30
}

/// `POST /v1/token/revoke`, `/enable`, `/disable`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRef {
    /// Whose.
    pub user: String,
    /// The directory to ask; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Number or name.
    pub token: String,
}

/// `POST /v1/token/rename`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenameTokenRequest {
    /// Whose.
    pub user: String,
    /// The directory to ask; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Number or name.
    pub token: String,
    /// The name from now on.
    pub label: String,
}

/// `POST /v1/token/resync`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResyncRequest {
    /// Whose.
    pub user: String,
    /// The directory to ask; all when absent.
    #[serde(default)]
    pub directory: Option<String>,
    /// Number or name.
    pub token: String,
    /// A code.
    pub first: Secret,
    /// The code after it.
    pub second: Secret,
}

/// `GET /v1/status`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusRequest {
    /// Ask every directory server, upstream, delivery and collector now.
    #[serde(default)]
    pub probe: bool,
}

/// How everything is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Version of the program.
    pub version: String,
    /// The node's name.
    pub node: String,
    /// Process number.
    pub pid: u32,
    /// When it started.
    #[serde(with = "moment")]
    pub started: Timestamp,
    /// Path of the configuration.
    pub config: String,
    /// When the configuration was last read.
    #[serde(with = "moment")]
    pub loaded: Timestamp,
    /// Policies in force.
    pub policies: PolicySummary,
    /// The nodes that serve together; this one alone when there is no other.
    #[serde(default)]
    pub nodes: Vec<NodeStatus>,
    /// RADIUS and LDAP listeners.
    pub listeners: Vec<ListenerStatus>,
    /// Directories and their servers.
    pub directories: Vec<DirectoryStatus>,
    /// Upstream RADIUS servers.
    #[serde(default)]
    pub upstreams: Vec<UpstreamStatus>,
    /// How codes reach people.
    #[serde(default)]
    pub deliveries: Vec<DeliveryStatus>,
    /// Collectors of the audit.
    #[serde(default)]
    pub streams: Vec<StreamStatus>,
    /// The store.
    pub store: StoreStatus,
    /// Open sessions.
    #[serde(default)]
    pub sessions: usize,
}

impl StatusReport {
    /// Whether everything works: a server that logins go to, in each directory, a store to write to, deliveries
    /// that took their last message, and collectors that take the audit.
    pub fn is_healthy(&self) -> bool {
        self.store.error.is_none()
            && self.listeners.iter().all(|listener| listener.error.is_none())
            && self
                .directories
                .iter()
                .all(|directory| directory.servers.is_empty() || directory.servers.iter().any(|server| server.healthy))
            && self
                .upstreams
                .iter()
                .all(|upstream| upstream.servers.iter().any(|server| server.healthy))
            && self.deliveries.iter().all(|delivery| delivery.error.is_none())
            && self.streams.iter().all(|stream| stream.error.is_none())
            && self.nodes.iter().all(|node| node.error.is_none())
    }
}

/// Policies in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicySummary {
    /// Folder.
    pub path: String,
    /// Rules in all files.
    pub rules: usize,
    /// Names one state of the files.
    pub version: String,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// Configured name.
    pub name: String,
    /// `radius`, `radius+tcp`, `radsec`, `ldaps`, `ldap+starttls`, `ldap`, `metrics`, `admin+tls`.
    pub kind: String,
    /// Address and port.
    pub address: String,
    /// Requests being worked on, or connections.
    pub active: u64,
    /// When its certificate, or an authority or list that it verifies clients with, ends: the first of them.
    #[serde(default, with = "moment::option")]
    pub certificate_ends: Option<Timestamp>,
    /// Why it does not listen.
    #[serde(default)]
    pub error: Option<String>,
}

/// A directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DirectoryStatus {
    /// Configured name.
    pub name: String,
    /// `ldap`, `local` or `radius`.
    pub kind: String,
    /// Servers in order of preference.
    pub servers: Vec<ServerStatus>,
    /// Attempts waiting for a connection.
    pub queue: usize,
    /// Longest life of a connection, in seconds, where there are any.
    #[serde(default)]
    pub max_connection_age_s: Option<u64>,
}

/// A server of a directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// URL or path.
    pub address: String,
    /// Whether it takes work: all of it, or what no better server takes.
    pub healthy: bool,
    /// `healthy`; `returning`: it answers again, but another server is preferred for a while; `given-up`.
    #[serde(default)]
    pub state: String,
    /// Since when.
    #[serde(default, with = "moment::option")]
    pub since: Option<Timestamp>,
    /// When it is tried next, unless it is healthy.
    #[serde(default, with = "moment::option")]
    pub next_try: Option<Timestamp>,
    /// How often it was given up.
    #[serde(default)]
    pub given_up: u64,
    /// Milliseconds of the last exchange.
    pub latency_ms: Option<f64>,
    /// When it answered last.
    #[serde(default, with = "moment::option")]
    pub last: Option<Timestamp>,
    /// Open connections for look-ups and for trying passwords.
    pub connections: usize,
    /// Connections of LDAP clients that are relayed.
    #[serde(default)]
    pub relayed: usize,
    /// The last error.
    pub error: Option<String>,
}

/// Other RADIUS servers that judge passwords or a factor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpstreamStatus {
    /// Configured name.
    pub name: String,
    /// Servers in order of preference.
    pub servers: Vec<UpstreamServerStatus>,
}

/// A server of an upstream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpstreamServerStatus {
    /// Address and port.
    pub address: String,
    /// How packets travel there.
    pub transport: String,
    /// Whether new questions go there.
    pub healthy: bool,
    /// Milliseconds of the last answer.
    pub latency_ms: Option<f64>,
    /// When it answered last.
    #[serde(default, with = "moment::option")]
    pub last: Option<Timestamp>,
    /// Questions in flight.
    pub in_flight: usize,
    /// Replies that proved nothing.
    pub unproven: u64,
    /// The last error.
    pub error: Option<String>,
}

/// The store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// `sled` or `memory`.
    pub kind: String,
    /// Where.
    pub location: String,
    /// Revision of the last batch.
    pub revision: u64,
    /// Last audit record.
    pub audit_sequence: u64,
    /// Octets on disk.
    pub size: u64,
    /// Batches waiting to be made durable.
    pub queue: usize,
    /// The last error, while writing fails.
    pub error: Option<String>,
}

/// `POST /v1/reload`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// What is different now, one line each; empty when nothing is.
    pub changes: Vec<String>,
    /// Changes in the file that wait for a restart.
    pub needs_restart: Vec<String>,
    /// Which policies were in force, and which are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyChange>,
    /// What works but is probably not meant.
    pub warnings: Vec<FaultLine>,
}

/// One fault of a file, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultLine {
    /// Works, but probably not as meant.
    pub warning: bool,
    /// The file.
    pub file: String,
    /// From 1; zero when the whole file is meant.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// The key, as a dotted path.
    pub key: String,
    /// What is wrong, and what to do.
    pub message: String,
}
