//! Policies: checking, explaining, comparing, replaying, keeping and taking back.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::admin::api::{
    ApiError, DiffReport, DiffRequest, ExplainRequest, Explanation, PolicyReport, ReplayLine, ReplayRequest,
    RollbackReport, SentPolicies, VersionFiles, VersionView,
};
use crate::audit::Audit;
use crate::engine::BoxFuture;

/// Policies: checking, explaining, comparing, replaying, keeping and taking back.
pub trait PolicyTools: Send + Sync {
    /// Checks policies without taking them: those on disk, or those that are given.
    fn policy_check(&self, sent: Option<SentPolicies>) -> BoxFuture<'_, Result<PolicyReport, ApiError>>;

    /// Decides a login that nobody makes, and says why.
    fn policy_explain(&self, request: ExplainRequest) -> BoxFuture<'_, Result<Explanation, ApiError>>;

    /// The versions that are kept, the newest first.
    fn policy_versions(&self) -> BoxFuture<'_, Result<Vec<VersionView>, ApiError>>;

    /// One of them with its files.
    fn policy_version(&self, number: u64) -> BoxFuture<'_, Result<VersionFiles, ApiError>>;

    /// What tells two sets of policies apart.
    fn policy_diff(&self, request: DiffRequest) -> BoxFuture<'_, Result<DiffReport, ApiError>>;

    /// Decides logins of the past by other policies. The first line comes before much has been done, so that what is wrong
    /// with the request is known at once; the last one is the report, or an error. It ends when nobody listens any more.
    fn policy_replay(
        &self,
        request: ReplayRequest,
        audit: Arc<Audit>,
        lines: mpsc::Sender<ReplayLine>,
    ) -> BoxFuture<'_, ()>;

    /// Puts a version back into the folder and in force, for an operator of that name, who is audited.
    fn policy_rollback(&self, number: u64, by: String) -> BoxFuture<'_, Result<RollbackReport, ApiError>>;
}
