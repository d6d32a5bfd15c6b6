//! Policies: checking, explaining, comparing, replaying, keeping and taking back.

mod check;
mod explain;
mod replay;
mod rollback;

use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::{error, warn};

use crate::admin::api::{
    ApiError, DiffReport, DiffRequest, ErrorKind, ExplainRequest, Explanation, PolicyReport, PolicySource, ReplayLine,
    ReplayRequest, RollbackReport, SentPolicies, VersionFile, VersionFiles, VersionView,
};
use crate::admin::control::PolicyTools;
use crate::audit::Audit;
use crate::causes::in_full;
use crate::clock;
use crate::document::Faults;
use crate::engine::BoxFuture;
use crate::policies::diff::Difference;
use crate::policies::files::PolicyFiles;
use crate::policies::versions::{InForce, Version, VersionError, Why, short};
use crate::server::Node;
use crate::server::control::faulty;

/// What stands for the process itself where an operator would be named.
pub(super) const PROCESS: &str = "portcullis";

impl PolicyTools for Node {
    fn policy_check(&self, sent: Option<SentPolicies>) -> BoxFuture<'_, Result<PolicyReport, ApiError>> {
        Box::pin(self.check_policies(sent))
    }

    fn policy_explain(&self, request: ExplainRequest) -> BoxFuture<'_, Result<Explanation, ApiError>> {
        Box::pin(self.explain(request))
    }

    fn policy_versions(&self) -> BoxFuture<'_, Result<Vec<VersionView>, ApiError>> {
        Box::pin(async {
            let versions = self.versions.list().await.map_err(unkept)?;
            let in_force = self.in_force(&versions);
            Ok(versions
                .into_iter()
                .rev()
                .map(|version| view(version, in_force))
                .collect())
        })
    }

    fn policy_version(&self, number: u64) -> BoxFuture<'_, Result<VersionFiles, ApiError>> {
        Box::pin(async move {
            let in_force = self.in_force(&self.versions.list().await.map_err(unkept)?);
            let (version, files) = self.version(number, Path::new("")).await?;
            Ok(VersionFiles {
                version: view(version, in_force),
                files: files.to_files(),
            })
        })
    }

    fn policy_diff(&self, request: DiffRequest) -> BoxFuture<'_, Result<DiffReport, ApiError>> {
        Box::pin(async move {
            let (old, old_files) = self.source(request.old).await?;
            let (new, new_files) = self.source(request.new).await?;
            let compared = move || Difference::between(&old_files, &new_files);
            let Difference { rules, files } = in_background(compared).await?;
            Ok(DiffReport { old, new, rules, files })
        })
    }

    fn policy_replay(
        &self,
        request: ReplayRequest,
        audit: Arc<Audit>,
        lines: mpsc::Sender<ReplayLine>,
    ) -> BoxFuture<'_, ()> {
        Box::pin(self.replay(request, audit, lines))
    }

    fn policy_rollback(&self, number: u64, by: String) -> BoxFuture<'_, Result<RollbackReport, ApiError>> {
        Box::pin(async move { self.roll_back(number, &by).await })
    }
}

impl Node {
    /// Keeps the policies in force as a version, unless the newest version is the same. Returns its number. That it
    /// cannot be kept undoes nothing: it is logged.
    pub(super) async fn keep_version(&self, by: &str, why: Why) -> Option<u64> {
        let (files, config) = (self.policy_files.load_full(), self.config.load_full());
        let in_force = InForce {
            files: &files,
            rules: self.verifier.engine().policy.rules.len(),
            by,
            at: clock::now(),
            why,
        };
        match self.versions.keep(in_force, config.policies.keep_versions, &[]).await {
            Ok((version, _)) => Some(version.number),
            Err(error @ VersionError::TooLarge { .. }) => {
                warn!("the policies in force are not kept as a version: {error}");
                None
            }
            Err(error) => {
                error!(
                    error = in_full(&error),
                    "the policies in force are not kept as a version"
                );
                None
            }
        }
    }

    /// Keeps the version that the process starts with, and says which it is, for the audit.
    pub(super) async fn policies_at_start(&self) -> String {
        let digest = self.policy_files.load().digest();
        match self.keep_version(PROCESS, Why::Start).await {
            Some(number) => format!("policies {digest} (version {number})"),
            None => format!("policies {digest}"),
        }
    }

    /// The number of the version in force, if it is kept.
    fn in_force(&self, versions: &[Version]) -> Option<u64> {
        let digest = self.policy_files.load().digest();
        let newest = versions.iter().rev().find(|version| version.digest == digest);
        newest.map(|version| version.number)
    }

    async fn version(&self, number: u64, folder: &Path) -> Result<(Version, PolicyFiles), ApiError> {
        self.versions.read(number, folder, clock::now()).await.map_err(unkept)
    }

    /// Policies that a request names, and what they are called.
    async fn source(&self, source: PolicySource) -> Result<(String, PolicyFiles), ApiError> {
        match (source.version, source.sent, source.folder) {
            (Some(number), None, false) => {
                let (version, files) = self.version(number, Path::new("")).await?;
                Ok((format!("version {number} ({})", version.short()), files))
            }
            (None, Some(sent), false) => {
                let files = taken(sent)?;
                Ok((files.folder().display().to_string(), files))
            }
            (None, None, true) => {
                let files = self.files_on_disk().await?;
                Ok((files.folder().display().to_string(), files))
            }
            (None, None, false) => {
                let files = self.policy_files.load();
                Ok((
                    format!("in force ({})", short(&files.digest())),
                    PolicyFiles::clone(&files),
                ))
            }
            (_, _, _) => {
                let error = "of `version`, `sent` and `folder` only one can be given";
                Err(ApiError::new(ErrorKind::Invalid, error))
            }
        }
    }

    /// The files in the configured folder as they are now.
    async fn files_on_disk(&self) -> Result<PolicyFiles, ApiError> {
        let config = self.config.load_full();
        let read = move || {
            let mut faults = Faults::default();
            let files = PolicyFiles::read(&config.policies.path, &mut faults);
            (files, faults)
        };
        let (files, faults) = in_background(read).await?;
        if faults.any_errors() {
            return Err(faulty(&faults));
        }
        Ok(files)
    }
}

/// Files that a caller has read.
fn taken(sent: SentPolicies) -> Result<PolicyFiles, ApiError> {
    let path = sent.path;
    PolicyFiles::taken(Path::new(&path), sent.files)
        .map_err(|error| ApiError::new(ErrorKind::Faulty, format!("{path}: {error}")))
}

/// What takes its time, apart from the runtime.
async fn in_background<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| ApiError::new(ErrorKind::Internal, error.to_string()))
}

fn unkept(error: VersionError) -> ApiError {
    let (kind, remedy) = match &error {
        VersionError::None(_) => (
            ErrorKind::NotFound,
            "`portcullis policy versions` lists those that are kept",
        ),
        VersionError::Sealed(..) => (
            ErrorKind::Refused,
            "start the server with the key file that it was kept under; versions from now on can be read",
        ),
        VersionError::TooLarge { .. } => (ErrorKind::Refused, "keep such files under version control instead"),
        VersionError::Busy => (ErrorKind::Unavailable, "try again"),
        VersionError::Record(_) | VersionError::Damaged(_) => (
            ErrorKind::Internal,
            "`portcullis audit verify` tells whether the store was tampered with",
        ),
        VersionError::Store(_) => (ErrorKind::Unavailable, "see `portcullis status` and the server's log"),
    };
    ApiError::new(kind, in_full(&error)).with_remedy(remedy)
}

fn view(version: Version, in_force: Option<u64>) -> VersionView {
    let (why, of) = match version.why {
        Why::Start => ("start", None),
        Why::Reload => ("reload", None),
        Why::Rollback(number) => ("rollback", Some(number)),
    };
    let file = |(name, octets): (String, u64)| VersionFile { name, octets };
    VersionView {
        version: version.number,
        digest: version.digest,
        by: version.by,
        at: version.at,
        why: why.to_owned(),
        of,
        in_force: in_force == Some(version.number),
        rules: version.rules,
        files: version.files.into_iter().map(file).collect(),
    }
}
